"""Train a network on the 60,000 images of Fashion-MNIST; draw its curves, save a checkpoint.

    python examples/fashion_mnist.py [--epochs 10] [--device cuda] [--out FOLDER]

Run again after an interruption, it goes on from the checkpoint.
"""

import argparse
from pathlib import Path

from minidl import manual_seed, nn, optim
from minidl.data import datasets
from minidl.nn import functional as F
from minidl.train import Checkpoint, Trainer, accuracy, plot_history


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/fashion_mnist"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.safetensors"

    train, test = datasets.fashion_mnist(flat=True)
    manual_seed(0)
    model = nn.Sequential(
        nn.Linear(784, 256),
        nn.ReLU(),
        nn.Linear(256, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )
    print(nn.summary(model, train[:1][0]))

    steps = options.epochs * -(-len(train) // 128)
    optimizer = optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, schedule=optim.warmup(500, optim.cosine(steps))
    )
    trainer = Trainer(model, optimizer, F.cross_entropy, [accuracy], device=options.device)
    trainer.fit(
        train,
        test,
        epochs=options.epochs,
        batch_size=128,
        callbacks=[Checkpoint(checkpoint, every=100)],
        resume=checkpoint,
    )

    plot_history(trainer.history, options.out / "curves.png")
    found = trainer.evaluate(test)
    print(f"test accuracy {found['accuracy']:.4f}; curves and checkpoint are in {options.out}")


if __name__ == "__main__":
    main()
