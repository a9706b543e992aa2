"""The work that is measured: W1 to W5, each a whole training step, and inference of W2.

The one rule of this file: what is trained is said once, in the names that minidl and PyTorch
share, by functions of the `library`; where the two differ stands in `OURS`, and in `twins.py`,
which is built on this file.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np

import minidl
from minidl import nn, optim
from minidl.data import datasets
from minidl.engine import intercept, random
from minidl.nn import functional as F
from minidl.nn import recurrent, transformer

OURS = SimpleNamespace(
    nn=nn, optim=optim, cross_entropy=F.cross_entropy, LSTM=recurrent.LSTM, GPT=transformer.GPT
)


@dataclass
class Workload:
    """A piece of work: what is trained, on what, and how much arithmetic a step has.

    model(library); optimizer: its class and options; loss(library, model, x, y).  arrays(steps): x
    and y of all batches, (steps, batch, ...), NumPy.  steps: of one turn.  products: see `product`.
    """

    title: str
    model: Callable
    optimizer: tuple
    arrays: Callable
    steps: int
    products: list
    loss: Callable = lambda library, model, x, y: library.cross_entropy(model(x), y)
    training: bool = True

    def build(self, library, **options):
        """Model, loss(model, x, y) and optimiser, the same weights at each call."""
        random.manual_seed(0)
        model, (name, settings) = self.model(library), self.optimizer
        optimizer = getattr(library.optim, name)(model.parameters(), **settings, **options)
        return model, partial(self.loss, library), optimizer

    def minidl_step(self, *, compiled=False, device="cpu", **options):
        """step(x, y) on Tensors -> the loss; for inference the output.

        compiled: through `minidl.compile`, which takes the options.
        """
        model, loss, optimizer = self.build(OURS)
        model.to(device)
        step = training_step(model, loss, optimizer)
        if not self.training:
            step = intercept.no_grad()(lambda x, y: model(x))
        return minidl.compile(step, **options) if compiled else step

    def cost(self):
        """(FLOPs of a step's matrix products, bytes that it must move at least).

        The bytes: operands and results of the products, and of the update, each once.  What is
        done element by element is left out of both.
        """
        flops, elements = map(sum, zip(*self.products))
        if self.training:  # an update reads p, g and the optimiser's arrays, and writes all but g
            model, _, optimizer = self.build(OURS)
            elements += sum(p.size for p in model.parameters()) * (3 + 2 * len(optimizer.slots))
        return flops, 4 * elements


def training_step(model, loss, optimizer):
    """step(x, y) -> loss: forward, backward, update; the same lines for both libraries."""

    def step(x, y):
        value = loss(model, x, y)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value

    return step


def product(rows, n_in, n_out, *, times=1, gradients=2, window=1):
    """Of x (rows, n_in) @ w (n_in, n_out), so many times: (FLOPs, elements read and written).

    gradients: how many of the two the way back computes, each a product of the same cost.  window:
    places that a convolution sees at once; rows are its places, and count once, not by windows.
    """
    work = times * (1 + gradients)
    elements = rows * n_in + window * n_in * n_out + rows * n_out
    return 2 * work * rows * window * n_in * n_out, work * elements


# ---- data


def moons(steps):
    """All 100 points of two moons: x (steps, 100, 2), labels -1 or 1, (steps, 100, 1)."""
    x, y = datasets.moons(100).arrays
    y = (2 * y - 1).astype(np.float32).reshape(100, 1)
    return np.stack([x] * steps), np.stack([y] * steps)


def clothes(steps, *, batch, flat=False):
    """Fashion-MNIST: x (steps, batch, ...), labels (steps, batch)."""
    train, _ = datasets.fashion_mnist(flat=flat, fallback=True)
    picks = np.arange(steps * batch).reshape(steps, batch) % len(train)
    return tuple(a[picks] for a in train.arrays)


def characters(steps, *, batch, length):
    """Prose: x and the character that follows each, both (steps, batch, length) in [0, 64).

    The 63 most frequent characters have a number each, the rest share the last one.
    """
    text = datasets.prose()
    numbers = {c: i for i, (c, _) in enumerate(Counter(text).most_common(63))}
    starts = np.random.default_rng(0).integers(len(text) - length, size=steps * batch)
    ids = [[numbers.get(c, 63) for c in text[i : i + length + 1]] for i in starts]
    ids = np.array(ids).reshape(steps, batch, length + 1)
    return ids[..., :-1].copy(), ids[..., 1:].copy()


# ---- models


def mlp(library, *sizes):
    """Linear layers of these sizes with ReLU between them."""
    nn, layers = library.nn, []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def hinge(library, model, x, y):
    """max(0, 1 - y * score) on average, plus 0.0001 times the sum of squared parameters."""
    penalty = sum((p * p).sum() for p in model.parameters())
    return library.nn.ReLU()(1 - y * model(x)).mean() + 1e-4 * penalty


def cnn(library):
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def lstm(library):
    nn = library.nn

    class CharLSTM(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.lstm = nn.Embedding(64, 64), library.LSTM(64, 256)
            self.out = nn.Linear(256, 64)

        def forward(self, x):
            return self.out(self.lstm(self.tokens(x))[0])  # (N, T) -> (N, T, 64)

    return CharLSTM()


def gpt(library):
    return library.GPT(64, 128, width=128, heads=4, layers=4)


# ---- the table

BLOCK = [  # of GPT, on 16 x 128 rows; attention's masked half is counted as well
    product(2048, 128, 3 * 128), product(128, 32, 128, times=2 * 16 * 4),
    product(2048, 128, 128), product(2048, 128, 512), product(2048, 512, 128),
]  # fmt: skip
WORKLOADS = {
    "W1": Workload(
        "MLP 2-16-16-1, hinge + L2, all 100 points of two moons, SGD",
        lambda library: mlp(library, 2, 16, 16, 1), ("SGD", {"lr": 0.1}), moons, 200,
        [product(100, 2, 16, gradients=1), product(100, 16, 16), product(100, 16, 1)],
        loss=hinge,
    ),
    "W2": Workload(
        "MLP 784-256-128-10, ReLU, cross-entropy, SGD momentum 0.9, batch 128, Fashion-MNIST",
        lambda library: mlp(library, 784, 256, 128, 10), ("SGD", {"lr": 0.05, "momentum": 0.9}),
        partial(clothes, batch=128, flat=True), 100,
        [product(128, 784, 256, gradients=1), product(128, 256, 128), product(128, 128, 10)],
    ),
    "W3": Workload(
        "CNN: conv 1→16 3×3 pad 1, ReLU, max-pool 2, conv 16→32 3×3 pad 1, ReLU, max-pool 2, "
        "linear 1568→128→10, Adam, batch 64",
        cnn, ("Adam", {"lr": 0.001}), partial(clothes, batch=64), 10,
        [product(64 * 28 * 28, 1, 16, window=9, gradients=1),
         product(64 * 14 * 14, 16, 32, window=9), product(64, 1568, 128), product(64, 128, 10)],
    ),
    "W4": Workload(
        "LSTM: vocabulary 64, embedding 64, hidden 256, 64 steps, batch 32, Adam",
        lstm, ("Adam", {"lr": 0.001}), partial(characters, batch=32, length=64), 5,
        [product(2048, 64, 1024), product(32, 256, 1024, times=64), product(2048, 256, 64)],
    ),
    "W5": Workload(
        "GPT: 4 layers, 4 heads, width 128, context 128, vocabulary 64, GELU (tanh), AdamW, "
        "batch 16",
        gpt, ("AdamW", {"lr": 0.001}), partial(characters, batch=16, length=128), 3,
        [*BLOCK * 4, product(2048, 128, 64)],
    ),
}  # fmt: skip
for _batch, _steps in (128, 100), (1, 1000):
    _sizes = pairwise((784, 256, 128, 10))
    WORKLOADS[f"W2 predicts {_batch}"] = replace(
        WORKLOADS["W2"], title=f"inference of W2, batch {_batch}", training=False, steps=_steps,
        arrays=partial(clothes, batch=_batch, flat=True),
        products=[product(_batch, n_in, n_out, gradients=0) for n_in, n_out in _sizes],
    )  # fmt: skip
