"""The models of the examples and of lessons 03 to 07 give compiled what they give without.

Losses, gradients, parameters, running statistics, the optimiser's state and what the model answers
in evaluation are compared after each step: bit for bit with the passes that reorder no sums, with
all passes to 1e-5 of the largest number of each array (static.compare).
"""

import sys

import numpy as np
import pytest
from static import EXACT, PASSES, compare, equal, play
from test_examples import load

import minidl
from minidl import Tensor, datasets, estimators, grad, nn, optim, tensor, transformer
from minidl import functional as F
from minidl.data import ArrayDataset
from minidl.ops import where
from minidl.shapes import stack


def batches(draw):
    """Six batches of draw(rng), a tuple of arrays; the fourth and the last are smaller."""
    found = [draw(np.random.default_rng(i)) for i in range(6)]
    return [tuple(a[:-1] for a in b) if i in (3, 5) else b for i, b in enumerate(found)]


def samples(n, *shape, classes=3, dtype="float32"):
    def draw(rng):
        return rng.standard_normal((n, *shape)).astype(dtype), rng.integers(0, classes, n)

    return draw


# ---- the examples' models, small, each with its example's optimiser


def cross_entropy(model, x, target):
    return F.cross_entropy(model(x), target)


def taught(build, loss=cross_entropy, clip=None):
    """A training step and then an answer in evaluation, each compiled by itself."""

    def make(wrap):
        model, optimizer = build()

        def train(*batch):
            optimizer.zero_grad()  # here and not at the end, so that gradients are left
            found = loss(model, *batch)
            found.backward()
            norm = optim.clip_grad_norm(optimizer.parameters, clip) if clip else None
            optimizer.step()
            return found, norm

        def predict(x):
            with minidl.no_grad():
                return model(x)

        train, predict = wrap(train), wrap(predict)

        def both(*batch):
            model.train()
            found = train(*batch)
            model.eval()
            return found, predict(batch[0])

        return both, [model, optimizer]

    return make


def fashion_mnist():
    layers = nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    schedule, model = optim.warmup(2, optim.cosine(6)), nn.Sequential(*layers)
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, schedule=schedule)


def fashion_cnn():
    schedule, model = optim.one_cycle(6), load("fashion_cnn").network()
    return model, optim.AdamW(model.parameters(), 0.004, weight_decay=0.01, schedule=schedule)


def tiny_gpt():
    schedule = optim.one_cycle(6, peak_at=0.1)
    model = transformer.GPT(9, 6, width=16, heads=4, layers=3, dropout=0.1)
    return model, optim.AdamW(model.parameters(), lr=0.002, weight_decay=0.1, schedule=schedule)


def names_lstm():
    schedule, model = optim.one_cycle(6), load("names_lstm").Speller(8)
    return model, optim.AdamW(model.parameters(), 0.008, weight_decay=0.05, schedule=schedule)


def spelled(model, tokens, following, row, place):
    """`names_lstm.loss`, given what that makes of the rows."""
    logits, _ = model(tokens)
    return F.cross_entropy(logits[row, place], following[row, place])


def spellings():
    """Names of 4 to 8 tokens in an order that changes, so that sizes stay; two in small batches."""
    found = []
    for i in range(6):
        rng = np.random.default_rng(i)
        lengths = rng.permutation([3, 7] if i in (3, 5) else [3, 7, 5])
        tokens = rng.integers(0, 29, (len(lengths), 8)) * (np.arange(8) <= lengths[:, None])
        real = np.nonzero(np.arange(1, 8) <= lengths[:, None])
        found.append((tokens[:, :-1], tokens[:, 1:], *real))
    return found


def grid_search():
    grid = load("grid_search")
    found = grid.candidates(1, 0)["minidl"][0].set_params(hidden=grid.HIDDEN[-1], lr=0.01)
    found.fit(*samples(8, 5, dtype="float64")(np.random.default_rng(0)))
    return found.model_, found._trainer.optimizer


def weighed(model, x, target):
    return estimators.MinidlClassifier._loss(model(x), target)


def with_weights(rng):
    """Samples, and their labels one-hot beside their weights, as the estimator has them."""
    x, labels = samples(6, 5, dtype="float64")(rng)
    return x, np.column_stack([np.eye(3)[labels], rng.random(6)])


EXAMPLES = {
    "fashion_mnist": (taught(fashion_mnist), batches(samples(4, 12))),
    "fashion_cnn": (taught(fashion_cnn), batches(samples(4, 1, 28, 28))),
    "tiny_gpt": (taught(tiny_gpt, clip=1.0), batches(lambda rng: (*rng.integers(0, 9, (2, 3, 6)),))),
    "names_lstm": (taught(names_lstm, spelled, clip=1.0), spellings()),
    "grid_search": (taught(grid_search, weighed), batches(with_weights)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_models_of_the_examples(name):
    compare(*EXAMPLES[name])


@pytest.mark.parametrize("name", ["fashion_cnn", "tiny_gpt", "names_lstm"])
def test_dropout_draws_anew_at_each_step(name):
    """The same batch at rate 0: only the masks differ, from step to step, not between twins."""
    make, calls = EXAMPLES[name]

    def still(wrap):
        step, parts = make(wrap)
        parts[1].lr = 0.0
        return step, parts

    losses = [seen["result 0"].item() for seen in play(still, calls[:1] * 4)]
    assert len(set(losses)) == 4
    compare(still, calls[:1] * 4)


def test_names_are_written_by_a_compiled_model():
    """Token after token, with the state that the last run gave."""
    names = load("names_lstm")
    model = names.Speller(8)

    class Fast:
        eval = model.eval
        first = staticmethod(minidl.compile(lambda tokens: model(tokens)))
        later = staticmethod(minidl.compile(lambda tokens, *state: model(tokens, state)))

        def __call__(self, tokens, state):
            return self.first(tokens) if state is None else self.later(tokens, *state)

    for kind in names.KINDS:
        slow, fast = (
            names.write(m, kind, 20, np.random.default_rng(0), longest=6) for m in (model, Fast())
        )
        assert slow == fast


# ---- the examples themselves, with Trainer(compile=True)

DATA = {
    "fashion_mnist": lambda n: samples(n, 784, classes=10),
    "fashion_cnn": lambda n: samples(n, 1, 28, 28, classes=10),
}


@pytest.mark.parametrize("name, options", [
    ("fashion_mnist", []), ("fashion_cnn", []), ("tiny_gpt", ["--characters", "2000"]),
])
def test_an_example_ends_alike_with_a_compiled_trainer(name, options, tmp_path, monkeypatch):
    import time
    def run(passes):
        example, made = load(name), []

        def trainer(*args, **kwargs):
            made.append(minidl.train.Trainer(*args, **kwargs, compile=passes is not None))
            if passes is not None:
                made[0].compiled = minidl.compile(made[0]._whole_step, passes=passes)
            return made[0]

        def data(**_):
            rngs = [np.random.default_rng(i) for i in range(2)]
            return [ArrayDataset(*DATA[name](n)(r)) for n, r in zip((300, 64), rngs)]

        example.Trainer = trainer
        example.plot_history = lambda *args: None
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        monkeypatch.setattr(datasets, "fashion_mnist", data)
        monkeypatch.setattr(sys, "argv", [name, "--epochs", "2", "--out", str(folder), *options])
        t = time.time()
        example.main()
        print("TIME", time.time() - t)
        t = made[0]
        return [t.model.state_dict() | t.optimizer.state_dict() | {k: np.array(v) for k, v in t.history.items()}]

    expected = run(None)
    equal(run(EXACT), expected)
    equal(run(PASSES), expected, 1e-4)
