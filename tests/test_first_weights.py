"""The first weights of every layer have PyTorch's distribution, to the exact bound.

The one rule of this file: each parameter is drawn until there are thousands of numbers, and these
are compared with what the docstring says (a largest distance of distribution functions, after
Kolmogorov and Smirnov) and, where PyTorch has the layer, with as many of PyTorch's.  Seeds are
fixed, so a test that passes passes always.
"""

import math
from collections import defaultdict

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import init, recurrent, transformer

N = 4000  # numbers of each parameter, at least
LIMIT = 2.2  # times sqrt(1/n + 1/m): what chance alone exceeds once in 8,000 times


class Uniform:
    """Even in [-bound, bound]."""

    def __init__(self, bound):
        self.bound = bound

    def below(self, a):
        """The share of numbers below a."""
        return np.clip((a + self.bound) / (2 * self.bound), 0, 1)


class Normal:
    """With mean 0 and this deviation."""

    bound = math.inf

    def __init__(self, deviation):
        self.deviation = deviation

    def below(self, a):
        return np.array([0.5 * math.erfc(-x / self.deviation / math.sqrt(2)) for x in a])


def wide(n):
    """What most of PyTorch's layers begin with: uniform in ±1/sqrt(n)."""
    return Uniform(1 / math.sqrt(n))


def linear(prefix, n_in):
    return {f"{prefix}weight": wide(n_in), f"{prefix}bias": wide(n_in)}


def recurrence(n_hidden, layers=("_l0",)):
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
    return {f"{name}{layer}": wide(n_hidden) for name in names for layer in layers}


ONES, ZEROS = 1.0, 0.0
NORM = {"weight": ONES, "bias": ZEROS}
BOTH = "_l0", "_l0_reverse", "_l1", "_l1_reverse"

# name: (ours, PyTorch's or None, what each parameter and buffer is: a distribution or a number)
LAYERS = {
    "Linear": (lambda: nn.Linear(12, 40), lambda t: t.Linear(12, 40), linear("", 12)),
    "Linear, narrow": (lambda: nn.Linear(40, 12), lambda t: t.Linear(40, 12), linear("", 40)),
    "Linear, no bias": (
        lambda: nn.Linear(20, 30, bias=False), lambda t: t.Linear(20, 30, bias=False),
        {"weight": wide(20)},
    ),
    "Conv1d": (lambda: nn.Conv1d(4, 32, 5), lambda t: t.Conv1d(4, 32, 5), linear("", 4 * 5)),
    "Conv1d, groups": (
        lambda: nn.Conv1d(16, 32, 3, groups=4), lambda t: t.Conv1d(16, 32, 3, groups=4),
        linear("", 16 / 4 * 3),
    ),
    "Conv2d": (
        lambda: nn.Conv2d(4, 32, (3, 2)), lambda t: t.Conv2d(4, 32, (3, 2)), linear("", 4 * 3 * 2)
    ),
    "Conv2d, groups": (
        lambda: nn.Conv2d(16, 32, 3, groups=8), lambda t: t.Conv2d(16, 32, 3, groups=8),
        linear("", 16 / 8 * 3 * 3),
    ),
    "Conv2d, depthwise": (
        lambda: nn.Conv2d(32, 32, 3, groups=32), lambda t: t.Conv2d(32, 32, 3, groups=32),
        linear("", 3 * 3),
    ),
    "ConvTranspose2d, wider": (
        lambda: nn.ConvTranspose2d(4, 32, 3), lambda t: t.ConvTranspose2d(4, 32, 3),
        linear("", 32 * 3 * 3),
    ),
    "ConvTranspose2d, narrower": (
        lambda: nn.ConvTranspose2d(32, 8, (3, 2)), lambda t: t.ConvTranspose2d(32, 8, (3, 2)),
        linear("", 8 * 3 * 2),
    ),
    "Embedding": (
        lambda: nn.Embedding(30, 8), lambda t: t.Embedding(30, 8), {"weight": Normal(1)}
    ),
    "RMSNorm": (lambda: nn.RMSNorm(5), lambda t: t.RMSNorm(5), {"weight": ONES}),
    "LayerNorm": (lambda: nn.LayerNorm(5), lambda t: t.LayerNorm(5), NORM),
    "GroupNorm": (lambda: nn.GroupNorm(2, 6), lambda t: t.GroupNorm(2, 6), NORM),
    "BatchNorm": (
        lambda: nn.BatchNorm(5), lambda t: t.BatchNorm1d(5),
        NORM | {"running_mean": ZEROS, "running_var": ONES},
    ),
    "RNN": (lambda: recurrent.RNN(7, 30), lambda t: t.RNN(7, 30), recurrence(30)),
    "LSTM": (lambda: recurrent.LSTM(40, 10), lambda t: t.LSTM(40, 10), recurrence(10)),
    "GRU, two layers, both ways": (
        lambda: recurrent.GRU(40, 10, 2, bidirectional=True),
        lambda t: t.GRU(40, 10, 2, bidirectional=True),
        recurrence(10, BOTH),
    ),
    # Its parts start as any Linear, not as PyTorch's.
    "MultiHeadAttention": (
        lambda: transformer.MultiHeadAttention(16, 4), None,
        linear("query.", 16) | linear("key.", 16) | linear("value.", 16) | linear("out.", 16),
    ),
    "TransformerBlock": (
        lambda: transformer.TransformerBlock(16, 4), None,
        {f"norm{i}.{name}": value for i in (1, 2) for name, value in NORM.items()}
        | linear("mlp.0.", 16) | linear("mlp.2.", 64)
        | {f"attention.{part}.{name}": wide(16) for part in ("query", "key", "value", "out")
           for name in ("weight", "bias")},
    ),
}  # fmt: skip


def numbers(make, get, parts):
    """Name -> at least N numbers of each parameter, of as many layers as it takes."""
    found, n = defaultdict(list), dict.fromkeys(parts, 0)
    while min(n.values()) < N:
        for name, a in get(make()).items():
            if name in n and n[name] < N:
                found[name].append(a.reshape(-1).copy())
                n[name] += a.size
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def distance(a, below):
    """The largest distance of the distribution function of `a` from below(a), after Kolmogorov."""
    a = np.sort(a)
    steps = np.arange(len(a) + 1) / len(a)
    expected = below(a)
    return max(np.abs(steps[1:] - expected).max(), np.abs(steps[:-1] - expected).max())


def between(a, b):
    """The largest distance of the distribution functions of two samples, after Smirnov."""
    every = np.sort(np.concatenate([a, b]))
    shares = (np.searchsorted(np.sort(x), every, "right") / len(x) for x in (a, b))
    return np.abs(np.subtract(*shares)).max()


def drawn_as(a, wanted, name):
    """`a` is what `wanted` says: a number, or draws of a distribution, up to its very bound."""
    assert a.dtype == np.float32, f"{name} is {a.dtype}"
    if isinstance(wanted, float):
        np.testing.assert_array_equal(a, wanted, err_msg=name)
        return
    found, limit = distance(a, wanted.below), LIMIT / math.sqrt(len(a))
    assert found < limit, f"{name}: {found:.3f} from its distribution, {limit:.3f} are allowed"
    if wanted.bound < math.inf:
        least, most = a.min() / wanted.bound, a.max() / wanted.bound
        assert -1 - 1e-6 <= least < -0.99, f"{name}: its least is {least} bounds"
        assert 0.99 < most <= 1 + 1e-6, f"{name}: its largest is {most} bounds"


def alike(a, b, name):
    """Two samples of one distribution, which reach equally far."""
    found, limit = between(a, b), LIMIT * math.sqrt(1 / len(a) + 1 / len(b))
    assert found < limit, f"{name}: {found:.3f} from PyTorch's distribution, {limit:.3f} allowed"


@pytest.mark.parametrize("name", LAYERS)
def test_first_weights_are_drawn_as_the_docstring_says(name):
    make, _, parts = LAYERS[name]
    assert set(make().state_dict()) == set(parts)
    for part, a in numbers(make, lambda layer: layer.state_dict(), parts).items():
        drawn_as(a, parts[part], f"{name}: {part}")


@pytest.mark.parametrize("name", [name for name, (_, theirs, _) in LAYERS.items() if theirs])
def test_first_weights_are_drawn_as_pytorchs(name, torch):
    make, theirs, parts = LAYERS[name]
    torch.manual_seed(1)
    ours = numbers(make, lambda layer: layer.state_dict(), parts)
    expected = numbers(
        lambda: theirs(torch.nn),
        lambda layer: {k: t.numpy() for k, t in layer.state_dict().items()},
        parts,
    )
    for part, a in ours.items():
        if isinstance(parts[part], float):
            np.testing.assert_array_equal(expected[part], parts[part], err_msg=part)
        alike(a, expected[part], f"{name}: {part}")
        drawn_as(expected[part], parts[part], f"PyTorch's {name}: {part}")


def test_a_gpt_is_drawn_as_its_docstring_says():
    layers, parts = 2, {}
    model = transformer.GPT(30, 8, width=16, heads=2, layers=layers)
    for path in model.state_dict():
        if "norm" in path:
            parts[path] = NORM[path.rpartition(".")[2]]
        elif path.endswith("bias"):
            parts[path] = ZEROS
        else:  # what is added to x has a deviation of its own
            added = path.endswith(("attention.out.weight", "mlp.2.weight"))
            parts[path] = Normal(0.02 / math.sqrt(2 * layers) if added else 0.02)
    assert sum(isinstance(p, Normal) and p.deviation < 0.02 for p in parts.values()) == 2 * layers

    def make():
        return transformer.GPT(30, 8, width=16, heads=2, layers=layers)

    for part, a in numbers(make, lambda layer: layer.state_dict(), parts).items():
        drawn_as(a, parts[part], f"GPT: {part}")


def test_a_seed_draws_every_layer_again_and_no_two_parts_alike():
    for name, (make, _, parts) in LAYERS.items():
        minidl.manual_seed(3)
        first, next_one = make().state_dict(), make().state_dict()
        minidl.manual_seed(3)
        for part, a in make().state_dict().items():
            np.testing.assert_array_equal(a, first[part], err_msg=f"{name}: {part}")
            if not isinstance(parts[part], float):
                assert (a != next_one[part]).mean() > 0.9, f"{name}: {part} is drawn once for all"
        draws = [a.reshape(-1)[:5] for part, a in first.items() if parts[part] not in (ONES, ZEROS)]
        for i, a in enumerate(draws):
            for b in draws[:i]:
                assert (a != b).any(), f"{name}: two parameters are the same draws"


# ---- by name

DRAWS = {
    "glorot_uniform": lambda t: t.xavier_uniform_,
    "glorot_normal": lambda t: t.xavier_normal_,
    "he_uniform": lambda t: lambda w: t.kaiming_uniform_(w, nonlinearity="relu"),
    "he_normal": lambda t: lambda w: t.kaiming_normal_(w, nonlinearity="relu"),
}
SHAPES = [(12, 40), (40, 12), (16, 6, 3, 2), (6, 16, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", DRAWS)
def test_draws_by_name_are_pytorchs(how, shape, torch):
    torch.manual_seed(1)
    theirs = shape[::-1] if len(shape) == 2 else shape  # a Linear's weight is turned there

    def one():
        return {"w": DRAWS[how](torch.nn.init)(torch.empty(theirs)).numpy()}

    ours = numbers(lambda: {"w": init.draw(shape, how)}, dict, {"w": 0})["w"]
    expected = numbers(one, dict, {"w": 0})["w"]
    alike(ours, expected, f"{how} {shape}")
    if how.endswith("uniform"):
        np.testing.assert_allclose(abs(ours).max(), abs(expected).max(), rtol=0.01, err_msg=how)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", [name for name in init.NAMES if name != "orthogonal"])
def test_draws_by_name_are_drawn_as_the_paper_says(how, shape):
    n_in, n_out = shape[:2] if len(shape) == 2 else shape[1::-1]
    field = math.prod(shape[2:])
    variance = {
        "lecun": 1 / (n_in * field), "glorot": 2 / ((n_in + n_out) * field),
        "he": 2 / (n_in * field),
    }[how.split("_")[0]]  # fmt: skip
    uniform = how.endswith("uniform")
    wanted = Uniform(math.sqrt(3 * variance)) if uniform else Normal(math.sqrt(variance))
    ours = numbers(lambda: {"w": init.draw(shape, how)}, dict, {"w": 0})["w"]
    drawn_as(ours, wanted, f"{how} {shape}")


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_orthogonal_draws_are_pytorchs_all_rotations_alike(shape, torch):
    """Each element alone, the determinant's sign, and a product of two: a sign that is left as
    the factorisation gives it shows in the first, one that is chosen by it in the second."""
    torch.manual_seed(1)
    n = 800
    ours = np.stack([init.draw(shape, "orthogonal") for _ in range(n)])
    theirs = np.stack(
        [torch.nn.init.orthogonal_(torch.empty(shape)).numpy() for _ in range(n)]
    )  # fmt: skip
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    for i in np.ndindex(shape):
        alike(ours[:, *i], theirs[:, *i], f"element {i}")
        assert abs(ours[:, *i].mean()) < 4 / math.sqrt(n), f"element {i} leans to one side"
    alike(ours[:, 0, 0] * ours[:, 1, 1], theirs[:, 0, 0] * theirs[:, 1, 1], "a product")
    if shape == (3, 3):
        right = (np.linalg.det(ours) > 0).mean()
        assert abs(right - 0.5) < 2 / math.sqrt(n), f"{right:.2f} of them keep right hands right"


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("how", ["he_normal", "orthogonal", 0.5])
def test_initialise_keeps_every_type_and_device(how, dtype, device):
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm(4),
        nn.Linear(4, 3),
        recurrent.GRU(3, 2),
        nn.Embedding(3, 2),
    ).to(device, dtype)
    before = {path: (t.dtype, t.device, t.shape) for path, t in model.tensors()}
    init.initialise(model, how)
    for path, t in model.tensors():
        assert (t.dtype, t.device, t.shape) == before[path], path
        assert t.dtype == dtype, path
