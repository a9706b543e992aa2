"""Train a small GPT on the prose of Python's own help, until what it writes is made of words.

    python examples/tiny_gpt.py [--epochs 6] [--characters N] [--device cuda] [--out FOLDER]

Draws the curves to runs/tiny_gpt/curves.png and keeps a checkpoint beside them, from which it
goes on when it is run again.
"""

import argparse
from pathlib import Path

import numpy as np

from minidl import manual_seed, nn, optim
from minidl.data import ArrayDataset, DataLoader, datasets
from minidl.data.text import BytePairEncoding, next_token_pairs, words
from minidl.nn import GPT
from minidl.nn import functional as F
from minidl.train import Callback, Checkpoint, Trainer, plot_history

CONTEXT = 64  # tokens, about 140 characters


def letters(text):
    """The words of `text` that are made of letters alone, in lower case."""
    return [word.lower() for word in words(text) if word.isalpha()]


def write(model, encoding, n_texts, *, seed):
    """Texts of 200 tokens that `model` continues a line's end with."""
    start = np.tile(encoding.encode("\n"), (n_texts, 1))
    ids = model.generate(start, 200, temperature=0.8, rng=np.random.default_rng(seed))
    return [encoding.decode(row) for row in ids[:, 1:].tolist()]


class RealWords(Callback):
    """After each epoch, the share of the words in new texts that the training text has too."""

    def __init__(self, encoding, known):
        self.encoding, self.known = encoding, known

    def share(self, texts):
        found = [word for text in texts for word in letters(text)[:-1]]  # the last is cut off
        return sum(word in self.known for word in found) / max(len(found), 1)

    def on_epoch_end(self, trainer):
        texts = write(trainer.model, self.encoding, 16, seed=trainer.epoch)
        trainer.history.setdefault("real words", []).append(self.share(texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--characters", type=int, help="how much of the text to read (default all)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny_gpt"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    manual_seed(0)

    text = datasets.prose()[: options.characters]
    train, valid = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    encoding = BytePairEncoding.train(train, 512)
    data = ArrayDataset(*next_token_pairs(encoding.encode(train), CONTEXT, step=CONTEXT // 2))
    loader = DataLoader(data, 32, shuffle=True)

    model = GPT(len(encoding), CONTEXT, width=128, heads=4, layers=3, dropout=0.1)
    print(nn.summary(model, data[:1][0]))
    schedule = optim.one_cycle(options.epochs * len(loader), peak_at=0.1)  # its start is a warm-up
    optimizer = optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.1, schedule=schedule)
    trainer = Trainer(model, optimizer, F.cross_entropy, clip_norm=1.0, device=options.device)
    real = RealWords(encoding, {*letters(train)})
    checkpoint = options.out / "checkpoint.safetensors"
    print(f"before: {real.share(write(model, encoding, 16, seed=0)):.2f} of the words are real")
    history = trainer.fit(
        loader,
        ArrayDataset(*next_token_pairs(encoding.encode(valid), CONTEXT)),
        options.epochs,
        callbacks=[real, Checkpoint(checkpoint)],
        resume=checkpoint,
    )

    figure = plot_history(history)
    figure.axes[1].axhline(real.share([valid]), color="grey", linestyle=":", label="held-out text")
    figure.axes[1].legend()
    figure.savefig(options.out / "curves.png", dpi=120)
    print(write(model, encoding, 1, seed=0)[0])
    share = real.share(write(model, encoding, 32, seed=0))
    print(f"after: {share:.3f} of the words are real; curves are in {options.out}")


if __name__ == "__main__":
    main()
