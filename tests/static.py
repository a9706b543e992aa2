"""Models and whole training steps that test_compiled and test_source record: one list for both.

A `make(wrap)` builds one anew and gives (step, parts): a function, passed through `wrap`, and the
Tensors, modules and optimisers that it changes.  So the same thing runs eagerly and compiled.
"""

import numpy as np
from test_layers import LAYERS
from test_optim import KINDS

import minidl
from minidl import nn, optim, tensor
from minidl.engine import devices
from minidl.engine.tensor import Tensor
from minidl.graph.lines import flat
from minidl.graph.passes import EXACT, PASSES
from minidl.nn import Module, recurrent, transformer
from minidl.nn import functional as F
from minidl.optim import Optimizer


def learning(model, optimizer):
    """A whole training step of a classifier, to compile."""

    def step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def kept(step):
    """The function that a compiled one is made of: `wrap` for a run without compiling."""
    return step


def contents(found, parts):
    """All numbers that a call has left: its results, and what `parts` hold; copies, by name."""
    seen = {f"result {i}": r for i, r in enumerate(flat(found))}
    for i, part in enumerate(parts):
        if isinstance(part, Optimizer):
            seen |= {f"{i} {k}": v for k, v in part.state_dict().items()}
            continue
        tensors = part.tensors() if isinstance(part, Module) else [("", part)]
        for path, t in tensors:
            seen |= {f"{i} {path}": t, f"{i} {path} grad": t.grad}
    seen = {k: v.data if isinstance(v, Tensor) else v for k, v in seen.items()}
    arrays = {k: v for k, v in seen.items() if devices.is_array(v) or isinstance(v, np.generic)}
    return seen | {k: np.array(devices.to_numpy(v)) for k, v in arrays.items()}


def begun(make, wrap, device):
    """What `make` gives after seed 0, with its parts on a device."""
    minidl.manual_seed(0)
    step, parts = make(wrap)
    for part in parts:
        if isinstance(part, Module):
            part.to(device)
        elif isinstance(part, Tensor):
            part.data = devices.to_device(part.data, device)
        else:  # what an optimiser holds lies beside its parameters, which stand before it
            part.load_state_dict(part.state_dict())
    return step, parts


def play(make, calls, wrap=kept, between=None, device="cpu"):
    """Make it and call it with each of `calls`; what `contents` says after each."""
    step, parts = begun(make, wrap, device)
    seen = []
    for i, arrays in enumerate(calls):
        if between is not None and i:
            between(i, parts)
        found = step(*(a if a is None else tensor(a, device=device) for a in arrays))
        seen.append(contents(found, parts))
    return seen


def exactly(device, rtol=0):
    """The tolerance of what is to be the same to the bit: rtol, but on a card at least 1e-5.

    A card adds up what falls on one place by index in whatever order it comes.
    """
    return max(rtol, 1e-5) if device == "cuda" else rtol


def equal(seen, expected, rtol=0, least=1e-3):
    """Compare two lists that `play` gave: bit for bit, or to rtol of the largest number.

    least: what counts as the largest number where all are smaller.
    """
    for i, (a, b) in enumerate(zip(seen, expected, strict=True)):
        assert a.keys() == b.keys()
        for name, y in b.items():
            x, where = a[name], f"call {i}: {name}"
            if not isinstance(y, np.ndarray):
                assert type(x) is type(y) and x == y, where
                continue
            assert (x.shape, x.dtype) == (y.shape, y.dtype), where
            if rtol == 0 or y.dtype.kind != "f":
                np.testing.assert_array_equal(x, y, where)
            else:
                scale = rtol * np.abs(y[np.isfinite(y)]).max(initial=least)
                np.testing.assert_allclose(x, y, rtol=rtol, atol=scale, err_msg=where)


def compare(make, calls, between=None, rtol=1e-5, device="cpu", exact=0):
    """The call of `make` gives the same without compiling, with exact passes, and with all.

    exact: the tolerance of exact passes, 0 for the same bits.
    """
    expected = play(make, calls, between=between, device=device)
    for passes, tolerance in ((EXACT, exactly(device, exact)), (PASSES, rtol)):
        seen = play(make, calls, lambda f, p=passes: minidl.compile(f, passes=p), between, device)
        # attention's key bias has gradient 0 but for rounding: on a card, another each time
        equal(seen, expected, tolerance, least=1.0 if device == "cuda" else 1e-3)


def programs(make, calls, device="cpu"):
    """Make it, compile it with all passes, call it; pairs (Program, the arrays of a call)."""
    made = []
    step, _ = begun(make, lambda f: made.append(minidl.compile(f)) or made[-1], device)
    found = []
    for arrays in calls:
        known = sum(len(c.programs) for c in made)
        arrays = [devices.to_device(a, device) for a in arrays]
        step(*map(tensor, arrays))
        if sum(len(c.programs) for c in made) > known:
            found += [(c.program, arrays) for c in made[:1]]
    return found


def drawn(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def batches(shape, smaller=True):
    """Three inputs, and one of a smaller batch."""
    found = [(drawn(*shape, seed=i),) for i in range(3)]
    return [*found, (found[0][0][:-1],), found[1]] if smaller and shape[0] > 2 else found


def trained(build, training=True):
    """A step of a layer: gradients for parameters and input, and an update."""

    def make(wrap):
        model = build().train(training)
        optimizer = optim.SGD(model.parameters(), 0.05) if model.parameters() else None

        def step(x):
            if x.dtype.kind == "f":
                x = Tensor(x.data, requires_grad=True)
            if optimizer:
                optimizer.zero_grad()
            y = model(x)
            y = y[0] if isinstance(y, tuple) else y
            loss = (y * y * y).mean()
            if loss.requires_grad:
                loss.backward()
            if optimizer:
                optimizer.step()
            return loss, y, x.grad

        return wrap(step), [model, *([optimizer] if optimizer else [])]

    return make


def classifier(kind, schedule=None, clip=None):
    """A step of a small network under one of test_optim's optimisers."""

    def make(wrap):
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
        optimizer = KINDS[kind][0](model.parameters())
        optimizer.schedule = schedule

        def step(x, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            norm = None
            if clip:
                norm = optim.clip_grad_norm(model.parameters(), clip)
                optim.clip_grad_value(model.parameters(), clip / 3)
            optimizer.step()
            return loss, norm

        return wrap(step), [model, optimizer]

    return make


def written_on(make_model, adam=True):
    """A step of a language model: ids (N, T), of which each place is to say the next."""

    def make(wrap):
        model = make_model()
        optimizer = optim.AdamW(model.parameters(), 0.01)

        def step(ids, following):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(ids), following)
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        return wrap(step), [model, optimizer]

    return make


def labelled(*shape, classes=3):
    return [
        (drawn(*shape, seed=i)[:n], np.random.default_rng(i).integers(0, classes, shape[:1])[:n])
        for i, n in [(0, None), (1, None), (2, None), (0, -1), (3, None)]
    ]


def read(n, length, kinds):
    rngs = [np.random.default_rng(i) for i in range(4)]
    calls = [tuple(r.integers(0, kinds, (2, n, length))) for r in rngs]
    return [*calls, tuple(a[:-1] for a in calls[0])]


class Sequence(Module):
    """A recurrent layer between an embedding and a linear layer, as in W4."""

    def __init__(self, kind, **options):
        self.tokens, self.inner = nn.Embedding(7, 4), kind(4, 5, **options)
        self.out = nn.Linear(5 * len(self.inner.directions), 7)
        self.lengths = None

    def forward(self, ids):
        lengths = self.lengths
        lengths = None if lengths is None else lengths[: len(ids)]
        return self.out(self.inner(self.tokens(ids), lengths=lengths)[0])


def with_lengths(kind, **options):
    def build():
        model = Sequence(kind, **options)
        model.lengths = np.array([5, 2, 3])
        return model

    return build


def gpt(dropout=0.0):
    return transformer.GPT(9, 6, 8, 2, 2, dropout=dropout)


# name: (make, calls)
MODELS = {
    f"{name}, {'training' if training else 'evaluation'}": (
        trained(ours, training), batches(shape)
    ) for name, (ours, _, shape) in LAYERS.items() for training in (True, False)
}  # fmt: skip
for _name in "ReLU GELU Tanh Sigmoid LeakyReLU Dropout Flatten".split():
    MODELS[_name] = trained(getattr(nn, _name)), batches((3, 4, 2))
MODELS |= {
    "Dropout in evaluation": (trained(lambda: nn.Dropout(0.5), False), batches((3, 4))),
    "Dropout in a network": (
        trained(lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 2))),
        batches((3, 4)),
    ),
    "GlobalAvgPool2d": (trained(nn.GlobalAvgPool2d), batches((3, 4, 2, 5))),
    "Linear": (trained(lambda: nn.Linear(4, 3)), batches((3, 4))),
    "Linear, 3-d": (trained(lambda: nn.Linear(4, 3, bias=False)), batches((3, 2, 4))),
    "Embedding": (
        trained(lambda: nn.Embedding(5, 3)),
        [(np.random.default_rng(i).integers(0, 5, (3, 2)),) for i in range(3)],
    ),
    "Residual": (trained(lambda: nn.Residual(nn.Linear(4, 4), nn.ReLU())), batches((3, 4))),
    "float64": (trained(lambda: nn.LayerNorm(4).to(dtype="float64")),
                [(drawn(3, 4, seed=i, dtype="float64"),) for i in range(3)]),
    "block": (
        trained(lambda: transformer.TransformerBlock(8, 2, dropout=0.2)), batches((3, 5, 8))
    ),
    "GPT": (written_on(gpt), read(3, 6, 9)),
    "GPT, dropout": (written_on(lambda: gpt(0.3)), read(3, 6, 9)),
    "CNN": (
        trained(lambda: nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(16, 5), nn.Dropout(0.2), nn.Linear(5, 3))),
        batches((3, 1, 8, 8)),
    ),
}  # fmt: skip
for _kind in (recurrent.RNN, recurrent.LSTM, recurrent.GRU):
    for _options in ({}, {"n_layers": 2, "bidirectional": True, "dropout": 0.2}):
        for _build in (
            lambda k=_kind, o=_options: Sequence(k, **o),
            with_lengths(_kind, **_options),
        ):
            _lengths = "" if "Sequence" in _build.__code__.co_names else ", lengths"
            _name = f"{_kind.__name__}{', two layers' if _options else ''}{_lengths}"
            MODELS[_name] = written_on(_build), read(3, 5, 7)
for _kind in KINDS:
    MODELS[_kind] = classifier(_kind), labelled(4, 5)
    MODELS[f"{_kind}, schedule"] = (
        classifier(_kind, optim.warmup(2, optim.cosine(6))), labelled(4, 5)
    )  # fmt: skip
    MODELS[f"{_kind}, clipped"] = classifier(_kind, clip=0.05), labelled(4, 5)
