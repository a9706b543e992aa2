"""Train a small convolutional network on Fashion-MNIST to at least 92 % test accuracy.

    python examples/fashion_cnn.py [--epochs 10] [--device cuda] [--out FOLDER]

Draws the curves to runs/fashion_cnn/curves.png and keeps a checkpoint beside them, from which it
goes on when it is run again.
"""

import argparse
from pathlib import Path

from minidl import nn, optim
from minidl.data import DataLoader, datasets, images
from minidl.engine import random
from minidl.nn import functional as F
from minidl.train import Checkpoint, Trainer, accuracy, plot_history


def network():
    def block(n_in, n_out):
        return [
            nn.Conv2d(n_in, n_out, 3, padding=1),
            nn.BatchNorm(n_out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    return nn.Sequential(
        *block(1, 16),  # (N, 1, 28, 28) -> (N, 16, 14, 14)
        *block(16, 32),  # -> (N, 32, 7, 7)
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion_cnn"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    random.manual_seed(0)
    train, test = datasets.fashion_mnist(fallback=True)
    loader = DataLoader(train, 128, shuffle=True, transform=images.augment(images.flip))
    model = network()
    print(nn.summary(model, train[:1][0]))
    schedule = optim.one_cycle(options.epochs * len(loader))
    optimizer = optim.AdamW(model.parameters(), lr=0.004, weight_decay=0.01, schedule=schedule)
    trainer = Trainer(
        model, optimizer, F.cross_entropy, metrics=[accuracy], device=options.device
    )  # fmt: skip
    checkpoint = options.out / "checkpoint.safetensors"
    history = trainer.fit(
        loader, test, options.epochs, callbacks=[Checkpoint(checkpoint)], resume=checkpoint
    )
    plot_history(history, options.out / "curves.png")
    print(f"test accuracy {trainer.evaluate(test)['accuracy']:.4f}; curves are in {options.out}")


if __name__ == "__main__":
    main()
