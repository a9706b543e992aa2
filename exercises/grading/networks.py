"""The networks that are trained on a learner's pieces: small, in float64, the same each time.

Float64, because that is what the tasks promised their answers.  Each network calls `tell(loss)`
after every step, and gives a dict of what else it has to say.

The one rule of this file: what a network does is decided by its seed alone, so that the same
network on the package's pieces gives the same losses to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

import minidl
from minidl import data, nn, optim, tensor
from minidl.data import datasets, images, loader, text
from minidl.graph import passes
from minidl.nn import functional as F
from minidl.nn import init, module
from minidl.train import Trainer, callbacks, precision


@dataclass(frozen=True)
class Network:
    """name: in the report.  run(tell).  only: ids of the pieces that it is for; None: all."""

    name: str
    run: Callable
    only: tuple | None = None

    def takes(self, task_id):
        """Whether a piece is swapped in while this network trains."""
        return self.only is None or task_id in self.only


class Digits(nn.Module):
    """Images (N, 1, 8, 8) -> scores (N, 10): two convolutions, a residual block, a layer."""

    def __init__(self):
        self.first, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm(8)
        self.pool, self.second = nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)
        inside = nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 64, bias=False)
        self.block = nn.Residual(*inside)
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(64, 10))

    def forward(self, x):
        x = self.pool(self.norm(self.first(x)).relu())  # (N, 8, 8, 8) -> (N, 8, 4, 4)
        x = self.second(x).relu().max(2)  # (N, 16, 4, 4) -> (N, 16, 4), the largest of each column
        x = x.reshape(len(x), 64)
        return self.head(self.block(x))


def cnn(tell):
    """Digits, 120 steps: augmented, smoothed labels, a validation that may stop it."""
    minidl.manual_seed(0)
    both = datasets.digits()[:]
    x, y = both[0].reshape(-1, 1, 8, 8).astype(np.float64), both[1]
    x = x / x.max()
    model = Digits().to(dtype="float64")
    for part in (model.block, model.head):
        init.initialise(part, "he_uniform")
        for p in part.parameters():  # the last bit of a float32 decides nothing
            p.data = p.data.round(3)
    table = module.summary(model.head, np.zeros((1, 64)))

    def loss(scores, labels):
        found = F.cross_entropy(scores, labels, smoothing=0.1)
        if model.training:
            losses.append(found.item())
        return found

    class Tell(callbacks.Callback):
        def on_batch_end(self, trainer):
            tell(losses[-1])

    losses = []
    optimizer = optim.RMSProp(model.parameters(), 0.005, decay=0.9)
    trainer = Trainer(model, optimizer, loss, "accuracy", clip_norm=2.0)
    batches = loader.DataLoader(
        loader.ArrayDataset(x[:1200], y[:1200]), 30, shuffle=True, workers=0,
        transform=lambda batch, rng: (images.crop(batch[0], rng, size=8, padding=1), batch[1]),
    )  # fmt: skip
    watch = [Tell(), callbacks.ReduceOnPlateau(1, factor=0.5), callbacks.EarlyStopping(2)]
    trainer.fit(batches, epochs=3, valid=(x[1200:], y[1200:]), callbacks=watch, progress=False)
    with minidl.no_grad():
        p = F.softmax(model.eval()(tensor(x[1200:])), axis=1).numpy()
    right = (p.argmax(axis=1) == y[1200:]).mean()
    return {
        "right on 597 digits that it was not trained on": f"{100 * right:.0f} %",
        "how sure it is, on average": f"{100 * p.max(axis=1).mean():.0f} %",
        "its loss on them after the last epoch": f"{trainer.history['valid_loss'][-1]:.3f}",
        "parameters of its last layer": table.splitlines()[-1].split()[0],
    }


CODE = set("|=*`{}[]")  # signs that prose has none of


def prose():
    """Paragraphs of Python's own help, without lists and code."""
    parts = [p.replace("\n", " ").strip() for p in datasets.prose().split("\n\n")]
    kept = [
        p for p in parts if p[:1].isupper() and p.endswith(".") and not set(p) & set("|=*`{}[]")
    ]
    return "\n".join(kept)


def gpt(tell):
    """A GPT of two blocks, 60 steps on byte pairs of prose, and what it writes."""
    minidl.manual_seed(0)
    corpus = prose()[:16_000]
    encoding = text.BytePairEncoding.train(corpus[:5_000], 256 + 48)
    ids = np.array(encoding.encode(corpus))
    context, batch = 24, 8
    rows = np.stack([ids[i : i + context + 1] for i in range(0, len(ids) - context, 5)])
    rows = rows[: 60 * batch]
    model = nn.GPT(len(encoding), context, 32, 2, 2, dropout=0.05).to(dtype="float64")
    optimizer = optim.AdamW(
        optim.decay_groups(model.parameters(), 0.1), 0.01,
        schedule=optim.warmup(6, optim.cosine(len(rows) // batch)),
    )  # fmt: skip
    batches = data.DataLoader(data.ArrayDataset(rows), batch, shuffle=True, workers=0)
    for (chosen,) in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(chosen[:, :-1]), tensor(chosen[:, 1:]))
        loss.backward()
        optim.clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        tell(loss.item())
    start = encoding.encode("The ")
    written = model.generate([start], 60, temperature=0.8, top_k=40, top_p=0.95)
    return {"it writes": " ".join(encoding.decode(written[0]).split())}


class Reader(nn.Module):
    """Padded names (N, T), lengths (N,) -> scores (N, 2): an LSTM, and an RNN over its outputs."""

    def __init__(self):
        self.letters = nn.Embedding(27, 8)
        self.lstm, self.rnn, self.out = nn.LSTM(8, 12), nn.RNN(12, 12), nn.Linear(12, 2)

    def forward(self, ids, lengths):
        y, _ = self.lstm(self.letters(ids), lengths=lengths)
        _, last = self.rnn(y, lengths=lengths)
        return self.out(last[0])


def names(tell):
    """First names, 30 steps: of a woman or of a man?"""
    minidl.manual_seed(0)
    women, men = datasets.names()
    women, men = women[:300], men[:300]
    rows = [(np.array([ord(c) - 96 for c in n]), k) for k, g in enumerate((women, men)) for n in g]
    model = Reader().to(dtype="float64")
    optimizer = optim.AdamW(model.parameters(), 0.01)
    batches = loader.DataLoader(
        rows, 20, shuffle=True, workers=0,
        collate=lambda samples: loader.pad_collate(samples, value=0),
    )  # fmt: skip
    for ids, lengths, kinds in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tensor(ids), lengths), tensor(kinds))
        loss.backward()
        optimizer.step()
        tell(loss.item())
    return {}


def small(*sizes):
    """A chain of linear layers with tanh between them, in float64."""
    minidl.manual_seed(0)
    parts = [p for a, b in pairwise(sizes) for p in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*parts[:-1])


def curve(n=40):
    """A sine to be learned: x, y (N, 1)."""
    x = np.linspace(-1, 1, n)[:, None]
    return x, np.sin(3 * x)


def compiled(tell):
    """A step of training, recorded, cleaned by two passes, and run as source."""
    model, (x, y) = small(1, 8, 1).to(dtype="float64"), curve()
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x, y):
        optimizer.zero_grad()
        error = model(x) - y
        again = model(x) - y  # what the second pass finds
        loss = (error * again).mean()
        loss.backward()
        optimizer.step()
        return loss

    fast = minidl.compile(step, passes=[passes.without_dead, passes.without_repeats])
    for _ in range(10):
        tell(fast(tensor(x), tensor(y)).item())
    return {}


def halves(tell):
    """Products in sixteen bits, with a loss that is scaled."""
    model, (x, y) = small(1, 8, 1), curve()
    x, y = x.astype(np.float32), y.astype(np.float32)
    optimizer = optim.SGD(model.parameters(), 0.1)
    scaler = precision.LossScaler(2.0**10, every=4)
    for _ in range(10):
        optimizer.zero_grad()
        with precision.autocast():
            loss = F.mse(model(tensor(x)), tensor(y))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        tell(loss.item())
    return {}


def deep(tell):
    """Twelve layers, of whose results only some are kept."""
    model, (x, y) = small(1, 6, 6, 6, 6, 6, 1).to(dtype="float64"), curve()
    optimizer = optim.SGD(model.parameters(), 0.2)
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse(module.checkpoint(model, tensor(x)), tensor(y))
        loss.backward()
        optimizer.step()
        tell(loss.item())
    return {}


class Larger(nn.Module):
    """Images (N, 1, 4, 4) -> (N, 1, 8, 8)."""

    def __init__(self):
        self.up = nn.ConvTranspose2d(1, 4, 2, stride=2)
        self.mix = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x):
        return self.mix(self.up(x).relu())


def drawing(tell):
    """Small digits made large again."""
    minidl.manual_seed(0)
    x = datasets.digits()[:40][0].reshape(-1, 1, 8, 8).astype(np.float64)
    x = x / x.max()
    model = Larger().to(dtype="float64")
    optimizer = optim.SGD(model.parameters(), 0.5)
    for _ in range(10):
        optimizer.zero_grad()
        loss = F.mse(model(tensor(x[:, :, ::2, ::2])), tensor(x))
        loss.backward()
        optimizer.step()
        tell(loss.item())
    return {}


NETWORKS = (
    Network("CNN", cnn),
    Network("GPT", gpt),
    Network("names", names),
    Network("drawing", drawing, ("14.4",)),
    Network("compiled step", compiled, ("20.1", "20.2")),
    Network("sixteen bits", halves, ("22.2",)),
    Network("deep chain", deep, ("22.4",)),
)
