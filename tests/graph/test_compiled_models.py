"""The models of the examples and of lessons 03 to 07 give compiled what they give without.

After each step all is compared: losses, gradients, parameters, running statistics, the optimiser's
state, and what the model answers in evaluation.  Bit for bit with the passes that reorder no sums;
with all passes to 1e-5 of each number, and of the largest of its array (`static.compare`).
"""

import sys
from itertools import pairwise
from unittest.mock import MagicMock

import numpy as np
import pytest
from static import EXACT, PASSES, compare, contents, equal, play
from test_examples import load

import minidl
from minidl import Tensor, estimators, grad, nn, optim, tensor
from minidl.data import ArrayDataset, datasets
from minidl.engine.ops import where
from minidl.engine.shapes import stack
from minidl.nn import functional as F
from minidl.nn import transformer
from minidl.train import Trainer


def batches(draw):
    """Six batches of draw(rng), a tuple of arrays; the fourth and the last lack a sample."""
    found = [draw(np.random.default_rng(i)) for i in range(6)]
    return [tuple(a[:-1] for a in b) if i in (3, 5) else b for i, b in enumerate(found)]


def samples(n, *shape, classes=3, dtype="float32"):
    def draw(rng):
        return rng.standard_normal((n, *shape)).astype(dtype), rng.integers(0, classes, n)

    return draw


# ---- the examples' models, small, each with the optimiser and the schedule of its example


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
    model, schedule = nn.Sequential(*layers), optim.warmup(2, optim.cosine(6))
    return model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9, schedule=schedule)


def fashion_cnn():
    model, schedule = load("fashion_cnn").network(), optim.one_cycle(6)
    return model, optim.AdamW(model.parameters(), 0.004, weight_decay=0.01, schedule=schedule)


def tiny_gpt():
    model = transformer.GPT(9, 6, width=16, heads=4, layers=3, dropout=0.1)
    schedule = optim.one_cycle(6, peak_at=0.1)
    optimizer = optim.AdamW(model.parameters(), 0.002, weight_decay=0.1, schedule=schedule)
    return without_noise(model), optimizer


def without_noise(model):
    """A bias of attention's keys changes no result: its gradient is rounding, of which Adam makes
    whole steps.  So it stays what it is.
    """
    for name, p in model.named_parameters():
        p.requires_grad = not name.endswith("key.bias")
    return model


def ids(rng):
    return tuple(rng.integers(0, 9, (2, 3, 6)))


def names_lstm():
    model, schedule = load("names_lstm").Speller(8), optim.one_cycle(6)
    return model, optim.AdamW(model.parameters(), 0.008, weight_decay=0.05, schedule=schedule)


def spelled(model, tokens, following, row, place):
    """`names_lstm.loss`, given the arrays that it makes of its rows."""
    logits, _ = model(tokens)
    return F.cross_entropy(logits[row, place], following[row, place])


def spellings():
    """Padded names, each time in another order, so that as many letters are real."""
    found = []
    for i in range(6):
        rng = np.random.default_rng(i)
        lengths = rng.permutation([3, 7] if i in (3, 5) else [3, 7, 5])  # after the first token
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
    return estimators._softmax_loss(model(x), target)


def with_weights(rng):
    """Samples, and labels one-hot beside their weights, as the estimator gives them."""
    x, labels = samples(6, 5, dtype="float64")(rng)
    return x, np.column_stack([np.eye(3)[labels], rng.random(6)])


EXAMPLES = {
    "fashion_mnist": (taught(fashion_mnist), batches(samples(4, 12))),
    "fashion_cnn": (taught(fashion_cnn), batches(samples(4, 1, 28, 28, classes=10))),
    "tiny_gpt": (taught(tiny_gpt, clip=1.0), batches(ids)),
    "names_lstm": (taught(names_lstm, spelled, clip=1.0), spellings()),
    "grid_search": (taught(grid_search, weighed), batches(with_weights)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_models_of_the_examples(name, device):
    compare(*EXAMPLES[name], device=device)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_cnn", "tiny_gpt", "names_lstm"])
def test_dropout_draws_anew_at_each_step(name, device):
    """One batch at rate 0: masks differ from step to step, and not between the twins."""
    make, calls = EXAMPLES[name]

    def still(wrap):
        step, parts = make(wrap)
        parts[1].lr = 0.0
        return step, parts

    losses = [seen["result 0"].item() for seen in play(still, calls[:1] * 4, device=device)]
    assert len(set(losses)) == 4
    compare(still, calls[:1] * 4, device=device)


def test_the_loss_of_names_is_that_of_the_example():
    names, (tokens, following, *real) = load("names_lstm"), spellings()[0]
    model, rows = names.Speller(8).eval(), [[*a, b[-1]] for a, b in zip(tokens, following)]
    rows = [row[: 1 + (real[0] == i).sum()] for i, row in enumerate(rows)]
    assert spelled(model, tokens, following, *real).item() == names.loss(model, rows).item()


def test_names_are_written_by_a_compiled_model(device):
    """Letter after letter, each from the state that the last one left."""
    names = load("names_lstm")
    model = names.Speller(8).to(device)
    first = minidl.compile(lambda tokens: model(tokens))
    later = minidl.compile(lambda tokens, *state: model(tokens, state))

    class Compiled:
        modules = model.modules

        def __call__(self, tokens, state):
            tokens = tensor(tokens, device=device)
            return later(tokens, *state) if state else first(tokens)

    for kind in names.KINDS:
        slow, fast = (
            names.write(m, kind, 20, np.random.default_rng(0), longest=6)
            for m in (model, Compiled())
        )
        assert fast == slow


# ---- the examples themselves, on little data, with Trainer(compile=True)

IMAGES = {"fashion_mnist": (784,), "fashion_cnn": (1, 28, 28)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "fashion_cnn", "tiny_gpt"])
def test_an_example_ends_alike_with_a_compiled_trainer(name, device, tmp_path, monkeypatch):
    """Two epochs, whose last batch is smaller; texts and pictures are left out."""

    def images(**_):
        draw, rng = samples(300, *IMAGES[name], classes=10), np.random.default_rng(0)
        return ArrayDataset(*draw(rng)), ArrayDataset(*draw(rng))

    def run(folder, passes=None):
        example, made = load(name), []

        def trainer(model, *args, **options):
            made[:] = [Trainer(without_noise(model), *args, **options, compile=passes or False)]
            return made[0]

        example.Trainer, example.plot_history = trainer, MagicMock()
        example.write = lambda *args, seed: ["text"]
        options = ["--epochs=2", f"--device={device}", f"--out={tmp_path / folder}"]
        if name == "tiny_gpt":
            small = device == "standin"  # which asks NumPy for one exp, or tanh, at a time
            example.CONTEXT = 8 if small else example.CONTEXT
            options += ["--characters=700" if small else "--characters=6000"]
        monkeypatch.setattr(datasets, "fashion_mnist", images)
        monkeypatch.setattr(sys, "argv", [name, *options])
        example.main()
        history = {name: np.array(values) for name, values in made[0].history.items()}
        parts = made[0].model, made[0].optimizer
        return contents([history, *(part.state_dict() for part in parts)], [])

    expected = run("eager")
    rtol = 1e-3 if device == "cuda" else 0  # the order of sums by index, over many steps
    equal([run("exact", EXACT)], [expected], rtol)
    equal([run("all", PASSES)], [expected], max(rtol, 1e-5))


# ---- lessons 03 to 07: their steps, in Tensors


def perceptron(wrap):
    """Lesson 03: a sample at a time; and its two layers of such units, for XOR."""
    w, b = tensor([0.0, 0.0]), tensor(0.0)

    def decide(x, w, b):
        return where(x @ w + b > 0, 1.0, 0.0)

    def learn(x, label):
        change = label - decide(x, w, b)
        w.data, b.data = (w + change * x).data, (b + change).data
        return change

    def two_layers(x):
        ones = tensor([1.0, 1.0], device=x.device)
        either, both = decide(x, ones, -0.5), decide(x, ones, -1.5)
        return decide(stack([either, both], axis=1), tensor([1.0, -1.0], device=x.device), -0.5)

    learn, answer, xor = wrap(learn), wrap(lambda x: decide(x, w, b)), wrap(two_layers)

    def one_pass(x, labels):
        return [learn(x[n], labels[n]) for n in range(len(x))], answer(x), xor(x)

    return one_pass, [w, b]


def descent(wrap):
    """Lesson 04: a line by momentum, with its gradient worked out by hand."""
    w, b, v_w, v_b = (tensor(np.zeros(shape)) for shape in [3, (), 3, ()])

    def step(x, t):
        error = x @ w + b - t
        g_w, g_b = 2 * x.T @ error / len(t), 2 * error.mean()
        v_w.data, v_b.data = (0.9 * v_w + g_w).data, (0.9 * v_b + g_b).data
        w.data, b.data = (w - 0.05 * v_w).data, (b - 0.05 * v_b).data
        return (error**2).mean(), g_w, g_b

    step, answer = wrap(step), wrap(lambda x: x @ w + b)
    return lambda x, t: (step(x, t), answer(x)), [w, b, v_w, v_b]


def softmax_regression(wrap):
    """Lesson 05: with a penalty; its answers at a temperature."""
    w, b = tensor(np.zeros((4, 3))), tensor(np.zeros(3))

    def log_softmax(scores):
        shifted = scores - scores.max(axis=1, keepdims=True)
        return shifted - shifted.exp().sum(axis=1, keepdims=True).log()

    def step(x, targets):
        log_p = log_softmax(x @ w + b)
        g = (log_p.exp() - targets) / len(x)
        w.data, b.data = (w - (x.T @ g + 0.1 * w)).data, (b - g.sum(axis=0)).data
        return -(targets * log_p).sum() / len(x)

    step, answer = wrap(step), wrap(lambda x: log_softmax((x @ w + b) / 2.5).exp())
    return lambda x, targets: (step(x, targets), answer(x)), [w, b]


def network(sizes, dtype, loss, rate, in_place=False):
    """Lessons 06 and 07: two layers; a step, the gradient for the input, answers.

    in_place: whether a step changes the arrays themselves, as lesson 07 does.
    """

    def forward(x, w1, b1, w2, b2):
        return (x @ w1 + b1).tanh() @ w2 + b2

    def make(wrap):
        rng, p = np.random.default_rng(0), []
        for n_in, n_out in pairwise(sizes):
            p += [rng.normal(size=(n_in, n_out)), np.zeros(n_out)]
        p = [tensor(a, dtype=dtype, requires_grad=True) for a in p]

        def step(x, target):
            for a in p:
                a.grad = None
            found = loss(forward(x, *p), target)
            found.backward()
            for a in p:
                if in_place:
                    a.data -= rate * a.grad.data
                else:
                    a.data = a.data - rate * a.grad.data
            return found

        def look(x, target):
            x = Tensor(x.data, requires_grad=True)
            return grad(loss(forward(x, *p), target), x)

        def answer(x):
            with minidl.no_grad():
                return forward(x, *p)

        step, look, answer = wrap(step), wrap(look), wrap(answer)
        return lambda x, target: (step(x, target), look(x, target), answer(x)), p

    return make


def of_two(scores, labels):
    """Lesson 06: the surprise, for scores (N, 1) and labels 0 and 1."""
    return (1 + (scores[:, 0] * (1 - 2 * labels)).exp()).log().mean()


def of_many(scores, targets):
    """Lesson 07: cross-entropy, for scores (N, K) and one-hot labels."""
    shifted = scores - scores.detach().max(axis=1, keepdims=True)
    log_total = shifted.exp().sum(axis=1, keepdims=True).log()
    return ((log_total - shifted) * targets).sum() / len(targets)


def one_hot(n, *shape, dtype="float64"):
    def draw(rng):
        x, labels = samples(n, *shape, dtype=dtype)(rng)
        return x, np.eye(3, dtype=dtype)[labels]

    return draw


LESSONS = {
    "03": (perceptron, batches(lambda rng: (rng.normal(size=(5, 2)), rng.integers(0, 2, 5)))),
    "04": (descent, batches(lambda rng: (rng.normal(size=(5, 3)), rng.normal(size=5)))),
    "05": (softmax_regression, batches(one_hot(5, 4))),
    "06": (
        network((2, 8, 1), "float64", of_two, 1.0),
        batches(samples(6, 2, classes=2, dtype="float64")),
    ),
    "07": (network((16, 8, 3), "float32", of_many, 0.5), batches(one_hot(6, 16, dtype="float32"))),
    "07, in place": (
        network((16, 8, 3), "float32", of_many, 0.5, in_place=True),
        batches(one_hot(6, 16, dtype="float32")),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_models_of_the_lessons(name, device):
    compare(*LESSONS[name], device=device)
