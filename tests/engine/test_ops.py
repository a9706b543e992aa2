"""Every operation: one line of a table, from which its checks come."""

import math
from types import FunctionType
from typing import NamedTuple

import numpy as np
import pytest

import minidl
from minidl.engine import devices, ops, reductions, shapes
from minidl.engine.gradients import Piece, Product
from minidl.engine.tensor import ARRAY, Tensor, primitives, tensor
from minidl.nn import recurrent

ALL = slice(None)
ROWS = np.array([2, 0, 2])  # 2 twice: what falls on one place adds up
LABELS = np.array([3, 0, 3])
IMAGE = np.arange(16).reshape(1, 1, 4, 4)
CHOICE = np.array([[True, False, True, False], [False, False, True, True], [True] * 4])
CONV = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
MIXED = {"stride": (2, 1), "padding": (1, 2), "dilation": (2, 2), "groups": 2}


class Case(NamedTuple):
    """One operation on inputs of some shapes, and the same in PyTorch."""

    name: str
    torch: FunctionType  # of the module torch and one of its tensors for each input
    inputs: tuple  # a shape, for numbers to differentiate by, or a fixed array
    low: float = -2.0  # the numbers lie between low and high, differ, and are not 0
    high: float = 2.1
    attrs: dict = {}


def case(name, torch, *inputs, low=-2.0, high=2.1, **attrs):
    return Case(name, torch, inputs, low, high, attrs)


def torch_lstm(t, from_both, c):
    """h and c after an element, in PyTorch's operations."""
    i, f, u, o = from_both.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * u.tanh()
    return t.cat([o.sigmoid() * c.tanh(), c])


TABLE = [
    case("add", lambda t, a, b: a + b, (3, 4), (3, 4)),
    case("sub", lambda t, a, b: a - b, (3, 4), (3, 4)),
    case("mul", lambda t, a, b: a * b, (3, 4), (3, 4)),
    case("div", lambda t, a, b: a / b, (3, 4), (3, 4), low=0.5),
    case("pow", lambda t, a, b: a**b, (3, 4), (3, 4), low=0.5),
    case("maximum", lambda t, a, b: t.maximum(a, b), (3, 4), (3, 4)),
    case("minimum", lambda t, a, b: t.minimum(a, b), (3, 4), (3, 4)),
    case("neg", lambda t, a: -a, (3, 4)),
    case("exp", lambda t, a: a.exp(), (3, 4)),
    case("log", lambda t, a: a.log(), (3, 4), low=0.5),
    case("sqrt", lambda t, a: a.sqrt(), (3, 4), low=0.5),
    case("sin", lambda t, a: a.sin(), (3, 4)),
    case("cos", lambda t, a: a.cos(), (3, 4)),
    case("tanh", lambda t, a: a.tanh(), (3, 4)),
    case("sigmoid", lambda t, a: a.sigmoid(), (3, 4)),
    case("softplus", lambda t, a: t.nn.functional.softplus(a), (3, 4)),
    case("relu", lambda t, a: a.relu(), (3, 4)),
    case("gelu", lambda t, a: t.nn.functional.gelu(a, approximate="tanh"), (3, 4)),
    case("lstm", torch_lstm, (8, 3), (2, 3)),
    case("abs", lambda t, a: a.abs(), (3, 4)),
    case("where", lambda t, c, a, b: t.where(c, a, b), CHOICE, (3, 4), (3, 1)),
    case("cast", lambda t, a: a.double(), (3, 4), dtype=np.dtype("float64")),
    case("sum", lambda t, a: a.sum(), (2, 3, 4)),
    case("sum", lambda t, a: a.sum(1), (2, 3, 4), axis=1),
    case("sum", lambda t, a: a.sum((0, -1)), (2, 3, 4), axis=(0, -1)),
    case("sum", lambda t, a: a.sum(-1, keepdim=True), (2, 3, 4), axis=-1, keepdims=True),
    case("sum", lambda t, a: a.sum(0), (0, 3), axis=0),
    case("sum", lambda t, a: a.sum(1), (0, 3), axis=1),
    case("sum", lambda t, a: a.sum(), ()),
    case("max", lambda t, a: a.amax(), (2, 3, 4)),
    case("max", lambda t, a: a.amax(1), (2, 3, 4), axis=1),
    case("max", lambda t, a: a.amax((0, -1)), (2, 3, 4), axis=(0, -1)),
    case("max", lambda t, a: a.amax(-1, keepdim=True), (2, 3, 4), axis=-1, keepdims=True),
    case("max", lambda t, a: a.amax(1), (0, 3), axis=1),
    case("max", lambda t, a: a.amax(), ()),
    case("min", lambda t, a: a.amin(), (2, 3, 4)),
    case("min", lambda t, a: a.amin((0, -1)), (2, 3, 4), axis=(0, -1)),
    case("min", lambda t, a: a.amin(-1, keepdim=True), (2, 3, 4), axis=-1, keepdims=True),
    case("min", lambda t, a: a.amin(1), (0, 3), axis=1),
    case("logsumexp", lambda t, a: a.logsumexp(-1, keepdim=True), (2, 3, 4)),
    case("logsumexp", lambda t, a: a.logsumexp(0, keepdim=True), (2, 3, 4), axis=0),
    case("logsumexp", lambda t, a: a.logsumexp((0, 2), True), (2, 3, 4), axis=(0, 2)),
    case("logsumexp", lambda t, a: a.logsumexp(-1, keepdim=True), (0, 3)),
    case("broadcast_to", lambda t, a: a.expand(2, 3, 4), (3, 1), shape=(2, 3, 4)),
    case("broadcast_to", lambda t, a: a.expand(2, 3), (), shape=(2, 3)),
    case("broadcast_to", lambda t, a: a.expand(0, 3), (1, 3), shape=(0, 3)),
    case("sum_to", lambda t, a: a.sum((0, 2)).reshape(3, 1), (2, 3, 4), shape=(3, 1)),
    case("sum_to", lambda t, a: a.sum(0), (3, 4), shape=(4,)),
    case("sum_to", lambda t, a: a.sum(0, keepdim=True), (3, 4), shape=(1, 4)),
    case("sum_to", lambda t, a: a.sum(), (3, 4), shape=()),
    case("sum_to", lambda t, a: a.sum(0), (0, 4), shape=(4,)),
    case("reshape", lambda t, a: a.reshape(4, 3), (3, 4), shape=(4, 3)),
    case("reshape", lambda t, a: a.reshape(2, -1), (3, 4), shape=(2, -1)),
    case("reshape", lambda t, a: a.reshape(1, 1), (), shape=(1, 1)),
    case("reshape", lambda t, a: a.reshape(3, 0), (0, 4), shape=(3, 0)),
    case("transpose", lambda t, a: a.permute(2, 1, 0), (2, 3, 4)),
    case("transpose", lambda t, a: a.permute(1, 2, 0), (2, 3, 4), axes=(1, 2, 0)),
    case("transpose", lambda t, a: a.permute(-1, 0, 1), (2, 3, 4), axes=(-1, 0, 1)),
    case("transpose", lambda t, a: a.permute(1, 0), (0, 3)),
    case("transpose", lambda t, a: a, ()),
    case("getitem", lambda t, a: a[1:, ::2], (3, 4), key=(slice(1, None), slice(None, None, 2))),
    case("getitem", lambda t, a, i: a[i], (3, 4), ROWS, key=(ARRAY,)),
    case("scatter", lambda t, a: put(t, a, (3, 4), (ALL, 1)), (3,), key=(ALL, 1), shape=(3, 4)),
    case("scatter", lambda t, a, i: put(t, a, (3, 4), i), (3, 4), ROWS, key=(ARRAY,), shape=(3, 4)),
    case("concatenate", lambda t, *xs: t.cat(xs), (2, 3), (1, 3), (0, 3)),
    case("concatenate", lambda t, *xs: t.cat(xs, -1), (2, 1), (2, 3), axis=-1),
    case("concatenate", lambda t, *xs: t.cat(xs, -2), (2, 1, 3), (2, 2, 3), axis=-2),
    case("windows", lambda t, a: seen(t, a, (2, 3)), (2, 2, 4, 5), size=(2, 3)),
    case("windows", lambda t, a: seen(t, a, (2, 2), (2, 1), (1, 2)), (1, 2, 5, 4),
         size=(2, 2), stride=(2, 1), dilation=(1, 2)),
    case("windows", lambda t, a: seen(t, a, (1, 2)), (0, 2, 2, 2), size=(1, 2)),
    case("from_windows", lambda t, a: folded(t, a, (3, 5)), (1, 2, 2, 2, 2, 4), shape=(1, 2, 3, 5)),
    case("from_windows", lambda t, a: folded(t, a, (5, 5), (2, 3)), (1, 2, 3, 2, 2, 2),
         shape=(1, 2, 5, 5), stride=(2, 3)),
    case("conv", lambda t, x, w: t.nn.functional.conv2d(x, w), (2, 2, 4, 5), (3, 2, 2, 3), **CONV),
    case("conv", lambda t, x, w, b: t.nn.functional.conv2d(x, w, b, **MIXED),
         (2, 4, 5, 4), (2, 2, 2, 3), (2,), **MIXED),
    case("conv_to_x", lambda t, g, w: t.nn.grad.conv2d_input((2, 2, 4, 5), w, g),
         (2, 3, 3, 3), (3, 2, 2, 3), shape=(2, 2, 4, 5), **CONV),
    case("conv_to_x", lambda t, g, w: t.nn.grad.conv2d_input((2, 4, 5, 4), w, g, **MIXED),
         (2, 2, 3, 4), (2, 2, 2, 3), shape=(2, 4, 5, 4), **MIXED),
    case("conv_to_w", lambda t, x, g: t.nn.grad.conv2d_weight(x, (3, 2, 2, 3), g),
         (2, 2, 4, 5), (2, 3, 3, 3), size=(2, 3), **CONV),
    case("conv_to_w", lambda t, x, g: t.nn.grad.conv2d_weight(x, (2, 2, 2, 3), g, **MIXED),
         (2, 4, 5, 4), (2, 2, 3, 4), size=(2, 3), **MIXED),
    case("max_windows", lambda t, a: t.nn.functional.max_pool2d(a, 2), (2, 2, 4, 4),
         size=(2, 2), stride=(2, 2)),
    case("max_windows", lambda t, a: t.nn.functional.max_pool2d(a, (3, 2), (1, 2)), (1, 2, 5, 4),
         size=(3, 2), stride=(1, 2)),
    case("to_first", lambda t, g, a, y: t.nn.functional.max_unpool2d(g, firsts(t, a), 2),
         (1, 1, 2, 2), IMAGE, IMAGE[:, :, 1::2, 1::2], size=(2, 2), stride=(2, 2)),
    case("from_first", lambda t, x, a, y: x.flatten()[firsts(t, a)],
         (1, 1, 4, 4), IMAGE, IMAGE[:, :, 1::2, 1::2], size=(2, 2), stride=(2, 2)),
    case("standardise", lambda t, a: t.nn.functional.layer_norm(a, (4,)),
         (2, 3, 4), axis=-1, eps=1e-5),
    case("standardise", lambda t, a: t.nn.functional.batch_norm(a, None, None, training=True),
         (3, 2, 4), axis=(0, 2), eps=1e-5),
    case("softmax", lambda t, a: a.softmax(-1), (2, 3, 4)),
    case("softmax", lambda t, a: a.softmax(1), (2, 3, 4), axis=1),
    case("softmax", lambda t, a: a.softmax(-1), (0, 3)),
    case("label_loss", lambda t, a, i: t.nn.functional.cross_entropy(a, i, reduction="none"),
         (3, 4), LABELS),
]  # fmt: skip

MATRICES = """
    3 @ 3       2,3 @ 3        3 @ 3,4          2,3 @ 3,4          3 @ 5,3,4      5,2,3 @ 3
    5,2,3 @ 3,4 2,3 @ 5,3,4    5,2,3 @ 5,3,4    5,1,2,3 @ 4,3,2    1,2,3 @ 5,3,4  5,2,3 @ 1,3,4
    4,5,2,3 @ 3 4,5,2,3 @ 3,2  4,5,2,3 @ 5,3,2  4,1,2,3 @ 1,5,3,2  3 @ 4,5,3,2    1,1 @ 1,1
    0,3 @ 3,2   2,0 @ 0,3      0,2,3 @ 3,2      2,3,0 @ 0,4        2,3,4 @ 4,0    0 @ 0
    0,2,3 @ 3   2,0,3 @ 2,3,4  2,3 @ 0,3,4
"""
for _pair in MATRICES.replace(" @ ", "@").split():
    _a, _b = (tuple(int(n) for n in side.split(",")) for side in _pair.split("@"))
    TABLE.append(case("matmul", lambda t, a, b: t.matmul(a, b), _a, _b))

# Operations on single elements take any shapes; the lines for these are made of their first line.
ONE = "neg exp log sqrt sin cos tanh sigmoid softplus relu abs gelu".split()
TWO = "add sub mul div pow maximum minimum".split()
for _case in [c for c in TABLE if c.name in ONE]:
    TABLE += [_case._replace(inputs=(shape,)) for shape in [(), (1,), (0,), (2, 0, 3)]]
for _case in [c for c in TABLE if c.name in TWO]:
    for _shapes in [
        *[((), ()), ((), (3,)), ((2, 1), ()), ((0,), (1,)), ((), (0, 2)), ((2, 0), (1, 1))],
        *[((3, 4), (4,)), ((4,), (3, 4)), ((2, 1), (1, 3)), ((3, 1, 2), (4, 1)), ((1,), (1, 1))],
    ]:
        TABLE.append(_case._replace(inputs=_shapes))

# Constant between the places where they jump: the value is all there is to check.
STEPS = [
    case("equal", lambda t, a, b: a == b, (3, 4), (4,)),
    case("not_equal", lambda t, a, b: a != b, (3, 4), (4,)),
    case("less", lambda t, a, b: a < b, (3, 4), (4,)),
    case("less_equal", lambda t, a, b: a <= b, (3, 4), (4,)),
    case("sign", lambda t, a: a.sign(), (3, 4)),
    case("argmax", lambda t, a: a.argmax(-1), (3, 4)),
    case("argmax", lambda t, a: a.argmax(0), (3, 4), axis=0),
    case("argmax", lambda t, a: a.argmax(), (3, 4), axis=None),
    case("argmax", lambda t, a: a.argmax(0, True), (3, 4), axis=0, keepdims=True),
    case("argmin", lambda t, a: a.argmin(-1), (3, 4)),
    case("argmin", lambda t, a: a.argmin(), (3, 4), axis=None),
    case("any", lambda t, a: a.any(1), CHOICE, axis=1),
    case("any", lambda t, a: a.any(), (3, 4)),
    case("all", lambda t, a: a.all(1, keepdim=True), CHOICE, axis=1, keepdims=True),
    case("all", lambda t, a: a.all(), CHOICE),
    case("bit_and", lambda t, a, b: a & b, CHOICE, ~CHOICE[:1]),
    case("bit_or", lambda t, a, b: a | b, ROWS + 1, LABELS + 1),
    case("invert", lambda t, a: ~a, ~CHOICE),
    case("invert", lambda t, a: ~a, ROWS + 1),
    case("floor_div", lambda t, a, b: a // b, IMAGE - 8, ROWS[:1] + 1),
    case("mod", lambda t, a, b: a % b, IMAGE - 8, LABELS[:1] + 1),
    case("one_hot", lambda t, i: t.nn.functional.one_hot(i, 3).float(), ROWS, classes=3),
    case("byte_scale", lambda t, a: step_of(a), (3, 4)),
    case("byte_scale", lambda t, a: step_of(a), (3, 4), low=0.5),
    case("in_bytes", lambda t, a, s: counted(t, a, s), (3, 4), np.float64(0.017)),
    case("in_bytes", lambda t, a, s: counted(t, a, s), (3, 4), np.float64(0.09)),
]  # fmt: skip
DRAWS = ["bernoulli", "normal", "uniform"]


def step_of(a):
    """A 255th of what lies between the smallest and the largest, 0 among them."""
    return (a.max().clamp(min=0) - a.min().clamp(max=0)) / 255


def counted(t, a, scale):
    """a / scale as whole numbers of 0 to 255, less the one that stands for 0, by PyTorch."""
    zero = (-a.min().clamp(max=0) / scale).round()
    return ((a / scale).round() + zero).clamp(0, 255) - zero


def firsts(t, a):
    """Where each window of 2 x 2 has its first maximum, as PyTorch numbers places."""
    return t.nn.functional.max_pool2d(a.double(), 2, return_indices=True)[1]


def seen(t, a, size, stride=(1, 1), dilation=(1, 1)):
    """The windows of a, by PyTorch's own im2col, which takes no empty batch."""
    n, c, *_ = a.shape
    places = [(m - d * (k - 1) - 1) // s + 1
              for m, k, s, d in zip(a.shape[2:], size, stride, dilation)]  # fmt: skip
    if not n:
        return a.new_zeros((n, c, *size, *places), requires_grad=True) + 0 * a.sum()
    columns = t.nn.functional.unfold(a, size, dilation=dilation, stride=stride)
    return columns.reshape(n, c, *size, *places)


def folded(t, a, shape, stride=(1, 1)):
    n, size = a.shape[0], a.shape[2:4]
    return t.nn.functional.fold(a.reshape(n, -1, a[0, 0, 0, 0].numel()), shape, size, stride=stride)


def put(t, a, shape, key):
    return t.zeros(shape, dtype=a.dtype).index_put(positions(t, shape, key), a, accumulate=True)


def positions(t, shape, key):
    """`key` as one integer tensor for each axis, the only index that index_put takes."""
    numbers = t.arange(int(np.prod(shape))).reshape(shape)[key]
    return t.unravel_index(numbers, shape)


def label(c):
    given = [str(x).replace(" ", "") if isinstance(x, tuple) else "array" for x in c.inputs]
    return "-".join([c.name, *given, *(f"{k}={v}" for k, v in c.attrs.items() if k != "key")])


every_case = pytest.mark.parametrize("c", TABLE, ids=label)
every_step = pytest.mark.parametrize("c", STEPS, ids=label)


def numbers(c, dtype="float64"):
    """The inputs of a case: numbers at equal distances in random order, none equal, none 0.

    So no number lies on a kink, nor so near that a finite difference steps over one.
    """
    sizes = [int(np.prod(x)) for x in c.inputs if isinstance(x, tuple)]
    drawn = np.random.default_rng(1).permutation(np.linspace(c.low, c.high, sum(sizes)))
    parts = iter(np.split(drawn.astype(dtype), np.cumsum(sizes)))
    return [next(parts).reshape(x) if isinstance(x, tuple) else x for x in c.inputs]


def weights(shape, dtype="float64", seed=2):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(dtype)


def on(device, arrays, requires_grad=True):
    """Tensors of `arrays`; the floating-point ones ask for gradients."""
    return [
        tensor(a, device=device, requires_grad=requires_grad and a.dtype.kind == "f")
        for a in arrays
    ]


def apply(c, inputs):
    return primitives[c.name](*inputs, **c.attrs)


def leaves(inputs):
    return [x for x in inputs if x.requires_grad]


def run(c, inputs, *, create_graph=False):
    """The value on `inputs` (Tensors) and the gradients of a weighted sum, as Tensors."""
    y = apply(c, inputs)
    w = tensor(weights(y.shape, y.dtype), device=y.device)
    return y, minidl.grad(y, leaves(inputs), w, create_graph=create_graph)


def differences(f, arrays, step=1e-5):
    """Central differences of f(arrays) -> float, for each floating-point array."""
    found = []
    for i, a in enumerate(arrays):
        if a.dtype.kind != "f":
            continue
        g = np.zeros(a.shape)
        for place in np.ndindex(a.shape):
            values = []
            for sign in (1, -1):
                moved = [b.copy() for b in arrays]
                moved[i][place] += sign * step
                values.append(f(moved))
            g[place] = (values[0] - values[1]) / (2 * step)
        found.append(g)
    return found


def close(found, expected, tolerance):
    """Compare arrays or Tensors: shape, and values by their distance relative to the largest."""
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        a, b = (x.numpy() if isinstance(x, Tensor) else np.asarray(x) for x in (a, b))
        assert a.shape == b.shape
        scale = np.abs(b).max(initial=1.0) if b.dtype.kind == "f" else 1.0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def test_the_table_has_every_operation():
    assert recurrent.lstm.name == "lstm"  # it is known once its file is read
    known = {name for name, op in primitives.items() if op.forward.__module__.startswith("minidl")}
    tested = {c.name for c in TABLE + STEPS} | set(DRAWS)
    assert known - tested == set(), "operations without a line in TABLE"
    assert tested - known == set(), "lines in TABLE for what is no operation"


def test_every_operation_has_a_docstring():
    assert not [name for name, op in primitives.items() if not op.__doc__]
    of_tensors = [name for name in primitives if callable(getattr(Tensor, name, None))]
    assert "exp" in of_tensors
    assert not [name for name in of_tensors if not getattr(Tensor, name).__doc__]


def test_what_works_element_by_element_is_tested_so():
    """A gradient written for one element is asked for empty, 0-d and broadcast arrays, too."""
    single = {c.name for c in TABLE if len(c.inputs) == 1 and not c.attrs}
    single -= {"sum", "max", "min", "reshape", "transpose", "broadcast_to", "sum_to", "softmax"}
    single -= {"logsumexp", "argmax", "getitem", "scatter", "concatenate", "standardise"}
    assert single - set(ONE) == set(), "element by element, and not in ONE"


@every_case
def test_first_derivative(c):
    arrays = numbers(c)
    y, gradients = run(c, on("cpu", arrays))
    w = weights(y.shape)
    expected = differences(lambda moved: (w * apply(c, moved)).sum(), arrays)
    close(gradients, expected, 1e-6)


@every_case
def test_second_derivative(c):
    """The gradient, as a function of the inputs and of the gradient that it is given."""
    arrays = numbers(c)
    arrays.append(weights(apply(c, arrays).shape))

    def projected(moved, *, create_graph=False):
        *inputs, w = on("cpu", moved)
        y = apply(c, inputs)
        first = minidl.grad(y, leaves(inputs), w, create_graph=create_graph)
        total = 0.0
        for i, g in enumerate(first):
            total = total + (g * weights(g.shape, seed=3 + i)).sum()
        return total, [*leaves(inputs), w]

    total, inputs = projected(arrays, create_graph=True)
    expected = differences(lambda moved: projected(moved)[0].item(), arrays)
    close(minidl.grad(total, inputs), expected, 1e-6)


def slow_conv(x, w, *bias, stride, padding, dilation, groups):
    """One number of the result after another."""
    x = np.pad(x, ((0, 0), (0, 0), *((n, n) for n in padding)))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:])]
    places = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], spans, stride)]
    y = np.zeros((len(x), len(w), *places))
    for n, f, i, j in np.ndindex(y.shape):
        first = f // (len(w) // groups) * w.shape[1]
        for c, p, q in np.ndindex(w.shape[1:]):
            at = i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]
            y[n, f, i, j] += x[n, first + c, *at] * w[f, c, p, q]
    return y + (bias[0][:, None, None] if bias else 0)


def slow_windows(a, *, size, stride=(1, 1), dilation=(1, 1)):
    """(N, C, H, W) -> (N, C, *size, places down, places aside), a window after another."""
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, size)]
    places = [(n - k) // s + 1 for n, k, s in zip(a.shape[2:], spans, stride)]
    y = np.zeros((*a.shape[:2], *size, *places))
    for p, q, i, j in np.ndindex(y.shape[2:]):
        at = i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]
        y[:, :, p, q, i, j] = a[:, :, *at]
    return y


def slow_max_windows(a, *, size, stride):
    return slow_windows(a, size=size, stride=stride).max(axis=(2, 3))


def log_softmax(a, axis=-1):
    return a - np.log(np.exp(a).sum(axis=axis, keepdims=True))


# What each operation gives, in NumPy's words or in loops; what is not here has no short ones.
BY_NUMPY = {
    "neg": lambda a: -a, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin,
    "cos": np.cos, "tanh": np.tanh, "abs": np.abs, "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "softplus": lambda a: np.log(1 + np.exp(a)), "relu": lambda a: np.where(a > 0, a, 0),
    "gelu": lambda a: a / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
    "maximum": np.maximum, "minimum": np.minimum, "where": np.where, "matmul": np.matmul,
    "cast": lambda a, dtype: a.astype(dtype), "sum": np.sum, "max": np.max, "min": np.min,
    "logsumexp": lambda a, axis=-1: np.log(np.exp(a).sum(axis, keepdims=True)),
    "broadcast_to": lambda a, shape: np.broadcast_to(a, shape),
    "reshape": lambda a, shape: a.reshape(shape),
    "transpose": lambda a, axes=None: np.transpose(a, axes),
    "concatenate": lambda *xs, axis=0: np.concatenate(xs, axis),
    "conv": slow_conv, "windows": slow_windows, "max_windows": slow_max_windows,
    "standardise": lambda a, axis, eps: (a - a.mean(axis, keepdims=True))
        / np.sqrt(a.var(axis, keepdims=True) + eps),
    "softmax": lambda a, axis=-1: np.exp(log_softmax(a, axis)),
    "label_loss": lambda a, i: -np.array([row[k] for row, k in zip(log_softmax(a), i)]),
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
    "sign": np.sign, "argmax": lambda a, axis=-1, **kept: np.argmax(a, axis, **kept),
    "argmin": lambda a, axis=-1, **kept: np.argmin(a, axis, **kept), "any": np.any, "all": np.all,
    "bit_and": np.bitwise_and, "bit_or": np.bitwise_or, "invert": np.invert,
    "floor_div": np.floor_divide, "mod": np.mod,
    "one_hot": lambda i, classes: np.eye(classes, dtype="float32")[i],
}  # fmt: skip


@pytest.mark.parametrize("c", [c for c in TABLE + STEPS if c.name in BY_NUMPY], ids=label)
def test_equals_numpy(c):
    arrays = numbers(c)
    y, expected = apply(c, on("cpu", arrays)), BY_NUMPY[c.name](*arrays, **c.attrs)
    assert y.dtype == expected.dtype
    close([y], [expected], 1e-12)


def test_a_row_that_is_all_masked_has_no_share(device):
    a = np.array([[0.0, -np.inf], [-np.inf, -np.inf]])
    (x,) = on(device, [a])
    y = primitives["softmax"](x)
    np.testing.assert_array_equal(y.numpy(), [[1, 0], [0, 0]])
    np.testing.assert_array_equal(minidl.grad(y.sum(), x)[0].numpy(), 0)
    (far,) = on(device, [np.array([[1000.0, 1000.0, -1000.0]])])
    np.testing.assert_allclose(primitives["softmax"](far).numpy(), [[0.5, 0.5, 0]])


@pytest.mark.parametrize(["dtype", "tolerance"], [("float64", 1e-12), ("float32", 1e-5)])
@every_case
def test_equals_pytorch(c, dtype, tolerance, torch):
    arrays = numbers(c, dtype)
    y, gradients = run(c, on("cpu", arrays))
    inputs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    expected = c.torch(torch, *inputs)
    close([y], [expected.detach()], tolerance)
    assert y.dtype == expected.detach().numpy().dtype
    expected.backward(torch.tensor(weights(y.shape, y.dtype)))
    close(gradients, [x.grad for x in inputs if x.requires_grad], tolerance)


@pytest.mark.parametrize("create_graph", [False, True], ids=["bare", "recorded"])
@every_case
def test_same_on_every_device(c, create_graph, device):
    arrays = numbers(c)
    expected, its_gradients = run(c, on("cpu", arrays))
    y, gradients = run(c, on(device, arrays), create_graph=create_graph)
    close([y, *gradients], [expected, *its_gradients], 1e-14 if device != "cuda" else 1e-12)
    assert {x.device for x in [y, *gradients]} == {device}


@pytest.mark.parametrize("c", [c for c in TABLE if c.name.startswith("conv")], ids=label)
def test_a_convolution_row_by_row_is_the_same(c, device, monkeypatch):
    expected = apply(c, on(device, numbers(c))).numpy()
    made = []
    monkeypatch.setattr(shapes, "BAND", 1)  # each row of the result is a band
    bands = shapes._bands
    monkeypatch.setattr(shapes, "_bands", lambda *args: made.append([*bands(*args)]) or made[-1])
    np.testing.assert_allclose(apply(c, on(device, numbers(c))).numpy(), expected, rtol=1e-12)
    assert len(made[0]) == (3 if device == "cpu" else 1)


def test_rows_that_see_nothing_but_padding(device, monkeypatch):
    monkeypatch.setattr(shapes, "BAND", 1)
    x, w = on(device, [np.ones((1, 1, 1, 2)), np.full((1, 1, 1, 1), 2.0)])
    y = primitives["conv"](x, w, **CONV | {"padding": (3, 0)})
    g = minidl.grad(y.sum(), [x, w])
    np.testing.assert_array_equal(y.numpy()[0, 0], [[0, 0]] * 3 + [[2, 2]] + [[0, 0]] * 3)
    np.testing.assert_array_equal(g[0].numpy(), [[[[2, 2]]]])
    np.testing.assert_array_equal(g[1].numpy(), [[[[2]]]])


@every_step
def test_steps_are_the_same_on_every_device(c, device):
    arrays = numbers(c)
    y = apply(c, on(device, arrays))
    np.testing.assert_array_equal(y.numpy(), apply(c, arrays), strict=True)
    assert y.device == device


def transposed(a):
    return a.T.copy().T


def strided(a):
    return devices.array_module(a).stack([a, a], axis=-1)[..., 0]


def reverse(a):
    return a[(..., *[slice(None, None, -1)] * a.ndim)]


def backward(a):
    return reverse(reverse(a).copy())


@every_case
def test_any_layout_in_memory(c, device):
    plain = on(device, numbers(c))
    expected, its_gradients = run(c, plain)
    for layout in (transposed, strided, backward):
        inputs = [Tensor(layout(x.data), requires_grad=x.requires_grad) for x in plain]
        y, gradients = run(c, inputs)
        close([y, *gradients], [expected, *its_gradients], 1e-13)


@every_case
def test_float32_stays_float32(c):
    wanted = c.attrs.get("dtype", "float32")
    inputs = on("cpu", numbers(c, "float32"))
    for create_graph in (False, True):
        y, gradients = run(c, inputs, create_graph=create_graph)
        assert y.dtype == wanted
        assert {g.dtype for g in gradients} == {np.dtype("float32")}


@every_case
def test_rule_computes_in_float32(c):
    """`.grad` is converted at the end; a rule that gives float64 is slow all the way there."""
    inputs = numbers(c, "float32")
    y = apply(c, inputs)
    shares = primitives[c.name].rule(weights(y.shape, y.dtype), y, *inputs, **c.attrs)
    for x, share in zip(inputs, shares):
        share = share() if isinstance(share, FunctionType) else share
        share = share.whole() if isinstance(share, (Piece, Product)) else share
        assert share is None or share.dtype == x.dtype


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)], ids=repr)
@pytest.mark.parametrize("name", TWO)
def test_numbers_do_not_widen_float32(name, number, device):
    seen = []

    def spy(g, y, a):
        seen.append(g.dtype)
        return (-g,)

    x = tensor([0.5, 1.5], requires_grad=True, device=device)
    op = primitives[name]
    with minidl.replaced("neg", gradient=spy):
        for y in (op(-x, number), op(number, -x)):
            (g,) = minidl.grad(y.sum(), x)
            assert (y.dtype, g.dtype) == ("float32", "float32")
            assert g.device == device
    assert seen == ["float32"] * 2, "on the way back"


def test_operators_are_these_operations(device):
    x, z = on(device, [np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[2.0, 2.0], [4.0, 1.0]])])
    a, b, k = x.numpy(), z.numpy(), 2
    pairs = [
        *[(x + z, a + b), (x + 2, a + 2), (2 + x, 2 + a), (x - z, a - b), (2 - x, 2 - a)],
        *[(x * z, a * b), (2 * x, 2 * a), (x / z, a / b), (2 / x, 2 / a), (-x, -a)],
        *[(x**z, a**b), (x**2, a**2), (2**x, 2**a), (x @ z, a @ b), (x == z, a == b)],
        *[(x != z, a != b), (x < z, a < b), (x <= z, a <= b), (x > z, a > b), (x >= z, a >= b)],
        *[(k > x, k > a), (k <= x, k <= a), (k == x, k == a), (x.T, a.T), (x.transpose(), a.T)],
        *[(x.sum(0), a.sum(0)), (x.max((0, 1)), a.max()), (x.mean(-1, True), a.mean(-1)[:, None])],
        *[(x.mean(), a.mean()), (x.reshape(4), a.ravel()), (x.reshape((1, -1)), a.reshape(1, 4))],
        *[(x.transpose(1, 0), a.T), (x.transpose([1, 0]), a.T), (x.exp(), np.exp(a))],
        *[(x.log(), np.log(a)), (x.sqrt(), np.sqrt(a)), (x.tanh(), np.tanh(a))],
    ]
    for found, expected in pairs:
        assert found.device == device
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)
    assert x.astype("float32").dtype == "float32"


# ---- kinks and far ends


def test_ties_share_the_gradient(device, torch):
    values = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    for axis in (None, 0, 1, (0, 1)):
        (x,) = on(device, [values])
        (g,) = minidl.grad(x.max(axis).sum(), x)
        reference = torch.tensor(values, requires_grad=True)
        reference.amax(() if axis is None else axis).sum().backward()
        close([g], [reference.grad], 1e-15)


def test_equal_operands_get_half_each(device):
    for name, shares in (("maximum", [0, 0.5, 1]), ("minimum", [1, 0.5, 0])):
        a, b = on(device, [np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])])
        to_a, to_b = minidl.grad(primitives[name](a, b).sum(), [a, b])
        assert to_a.numpy().tolist() == shares
        assert (to_a + to_b).numpy().tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["relu", "abs"])
def test_gradient_at_zero_is_zero(name, device):
    (x,) = on(device, [np.array([-1.0, 0.0, 2.0])])
    (g,) = minidl.grad(primitives[name](x).sum(), x)
    assert g.numpy().tolist() == {"relu": [0, 0, 1], "abs": [-1, 0, 1]}[name]


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 0.0, 1.0, 2.0])
def test_powers_of_zero(exponent, device, torch):
    """To third order: x**2 is x**0 after two derivatives, and 0 times 1/0 would be nan."""
    values = np.array([0.0, -2.0, 3.0])
    (x,) = on(device, [values])
    reference = torch.tensor(values, requires_grad=True)
    y, z = x**exponent, reference**exponent
    for _ in range(3):
        close([y], [z.detach()], 1e-15)
        if not z.requires_grad:
            break
        (y,) = minidl.grad(y.sum(), x, create_graph=True)
        (z,) = torch.autograd.grad(z.sum(), reference, create_graph=True)


def test_gradient_for_the_exponent_of_zero(device):
    a, b = on(device, [np.array([0.0, 2.0]), np.array([3.0, 3.0])])
    (g,) = minidl.grad((a**b).sum(), b)
    np.testing.assert_allclose(g.numpy(), [0.0, 8 * np.log(2)], rtol=1e-15)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "tanh", "logsumexp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_from_zero_nothing_overflows(name, dtype, device, torch):
    values = np.array([[-1e4, 1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4]], dtype)
    (x,) = on(device, [values])
    y = primitives[name](x)
    (g,) = minidl.grad(y.sum(), x)
    c = next(c for c in TABLE if c.name == name)
    reference = torch.tensor(values, requires_grad=True)
    expected = c.torch(torch, reference)
    expected.sum().backward()
    close([y, g], [expected.detach(), reference.grad], 1e-6)


def test_logsumexp_of_nothing_but_minus_infinity(device):
    x = tensor([[-np.inf, -np.inf], [-np.inf, 1.0]], device=device)
    with np.errstate(divide="ignore"):
        y = reductions.logsumexp(x)
    assert y.numpy().tolist() == [[-np.inf], [1.0]]


# ---- products and indices


def test_matmul_of_misfitting_shapes():
    for a, b in [((2, 3), (4, 5)), ((3,), (4,)), ((5, 2, 3), (4, 4)), ((2, 2, 3), (3, 3, 1))]:
        with pytest.raises(ValueError, match="matmul") as caught:
            ops.matmul(*on("cpu", [np.ones(a), np.ones(b)]))
        assert str(a) in str(caught.value)
        assert str(b) in str(caught.value)


KEYS = {
    "int": 1,
    "negative int": -1,
    "ints": (1, 2, 0),
    "slice": slice(1, None),
    "steps": (slice(None, None, -1), slice(3, 0, -2)),
    "empty slice": slice(2, 2),
    "none": (None, 1, None),
    "ellipsis": (..., 0),
    "ellipsis between": (0, ..., None, slice(1, None)),
    "everything": ...,
    "nothing": (),
    "integers": np.array([2, 0, 2, 2]),
    "negative integers": np.array([-1, 2, -1]),
    "matrix of integers": np.array([[0, 1], [1, 1]]),
    "no integers": np.array([], dtype=int),
    "list": [0, 2, 0],
    "empty list": [],
    "two lists": ([0, 1, 0], [3, 3, 3]),
    "pairs": (np.array([0, 1, 0]), np.array([1, 3, 1])),
    "crossed": (np.array([[0], [2]]), np.array([1, 1, 3])),
    "apart": (np.array([0, 0]), slice(None), np.array([1, 1])),
    "after a slice": (slice(1, 3), np.array([3, 3, 0])),
    "with none": (None, np.array([1, 1]), ..., 0),
    "mask": np.arange(24).reshape(3, 4, 2) % 3 == 0,
    "mask of rows": np.array([True, False, True]),
    "mask of nothing": np.zeros((3, 4), dtype=bool),
    "mask and int": (np.array([True, False, True]), 1),
    "list of bools": [True, False, True],
}


@pytest.mark.parametrize("as_tensor", [False, True], ids=["arrays", "tensors"])
@pytest.mark.parametrize("name", KEYS)
def test_getitem(name, as_tensor, device):
    """Against NumPy's indexing, and for the gradient np.add.at; then back through the gradient."""

    def moved(part):
        if not isinstance(part, np.ndarray):
            return part
        return tensor(part, device=device) if as_tensor else devices.to_device(part, device)

    key = KEYS[name]
    values = weights((3, 4, 2))
    (x,) = on(device, [values])
    y = x[tuple(moved(part) for part in key) if isinstance(key, tuple) else moved(key)]
    assert isinstance(y, Tensor)
    w = weights(y.shape)
    expected = np.zeros(values.size)
    np.add.at(expected, np.arange(values.size).reshape(values.shape)[key], w)
    close([y], [values[key]], 1e-15)
    (w,) = on(device, [w])
    (g,) = minidl.grad(y, x, w, create_graph=True)
    close([g], [expected.reshape(values.shape)], 1e-15)
    (back,) = minidl.grad((g * g).sum(), w)
    close([back], [2 * expected.reshape(values.shape)[key]], 1e-15)


@pytest.mark.parametrize(
    "key",
    [
        np.array([3, -1, 3]),
        np.array([3, 255, 3], "uint8"),
        np.arange(300) % 7 == 0,
        np.arange(600).reshape(300, 2) % 7 == 0,
        np.zeros((300, 2), bool),
    ],
    ids=["int", "uint8", "mask of rows", "mask", "mask of nothing"],
)
def test_rows_of_a_table(key, device):
    """A table's gradient is made of a product, if the index is one of integers."""
    values = weights((300, 2))
    (x,), (key_there,) = on(device, [values]), on(device, [key])
    y = x[key_there]
    w = weights(y.shape)
    expected = np.zeros(values.shape)
    np.add.at(expected, key, w)
    close([y], [values[key]], 1e-15)
    (g,) = minidl.grad(y, x, on(device, [w])[0])
    close([g], [expected], 1e-15)


@pytest.mark.parametrize("condition", [True, False])
def test_a_condition_may_be_python_s(condition, device):
    a, b = on(device, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    y = minidl.where(condition, a, b)
    close(
        [y, *minidl.grad(y.sum(), [a, b])],
        [a if condition else b, [condition] * 2, [not condition] * 2],
        0,
    )


def test_getitem_out_of_range_names_the_operation():
    for key in (5, (0, 0, 0, 0), np.array([7])):
        with pytest.raises(IndexError, match=r"getitem.*\(3, 4, 2\)"):
            tensor(weights((3, 4, 2)))[key]


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_stack(axis, device):
    arrays = [weights((2, 3), seed=seed) for seed in range(3)]
    inputs = on(device, arrays)
    y = minidl.stack(inputs, axis)
    w = weights(y.shape)
    gradients = minidl.grad(y, inputs, on(device, [w])[0])
    close([y], [np.stack(arrays, axis)], 1e-15)
    close(gradients, list(np.moveaxis(w, axis, 0)), 1e-15)


def test_concatenate_with_numbers_that_ask_for_no_gradient(device):
    a, b = on(device, [np.ones((2, 2)), np.ones((1, 2))])
    (g,) = minidl.grad((minidl.concatenate([a.detach(), b]) * 3).sum(), b)
    assert g.numpy().tolist() == [[3, 3]]


# ---- operations without a gradient


@every_step
def test_steps_equal_pytorch_and_are_not_recorded(c, torch):
    arrays = numbers(c)
    arrays[-1].flat[0] = arrays[0].flat[0]  # something for `equal` to find
    y = apply(c, on("cpu", arrays))
    expected = c.torch(torch, *(torch.tensor(a) for a in arrays)).numpy()
    np.testing.assert_array_equal(y.numpy(), expected, strict=True)
    assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
    with pytest.raises(RuntimeError, match="no record"):
        y.sum().backward()


def test_steps_stop_the_gradient(device):
    (x,) = on(device, [np.array([-1.0, 2.0])])
    (g,) = minidl.grad((x * (x > 0) + ops.sign(x)).sum(), x)
    assert g.numpy().tolist() == [0, 1]


def test_argmax_is_along_the_last_axis_unless_told(device):
    whole = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    for a in (whole, whole[0], whole[0, 0]):
        np.testing.assert_array_equal(
            reductions.argmax(tensor(a, device=device)).numpy(), a.argmax(-1)
        )


def test_windows_go_on_by_at_least_one(device):
    a = tensor(np.ones((1, 1, 4, 4), "float32"), device=device)
    for options in (
        {"stride": (1, 0)}, {"stride": (0, 1)}, {"dilation": (1, 0)}, {"dilation": (-1, 2)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"stride .* and dilation .* must be at least 1"):
            shapes.windows(a, size=(2, 2), **options)


def test_argmax_gives_the_first_of_equals(device):
    assert reductions.argmax(
        tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]], device=device)
    ).numpy().tolist() == [1, 0]


def test_one_hot(device):
    labels = tensor([[0, 2], [1, 1]], device=device)
    y = ops.one_hot(labels, classes=3)
    assert y.numpy().tolist() == [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]]]
    assert (y.dtype, y.device) == ("float32", device)
    assert ops.one_hot(labels, classes=4, dtype="float64").dtype == "float64"
    assert ops.one_hot(tensor(np.zeros(0, dtype=int), device=device), classes=3).shape == (0, 3)


def test_one_hot_refuses_what_is_no_class(device):
    with pytest.raises(TypeError, match="integers, got float32"):
        ops.one_hot(tensor([0.0, 1.0], device=device), classes=3)
    for wrong, given in (([0, 3], "0 to 3"), ([-1, 2], "-1 to 2")):
        given = f"got {given}" if device == "cpu" else "but some of an earlier batch were not"
        with pytest.raises(ValueError, match=rf"in \[0, 3\), {given}"):
            ops.one_hot(tensor(wrong, device=device), classes=3).numpy()
    assert ops.one_hot(tensor([0], device=device), classes=3).numpy().shape == (1, 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_have_the_mean_and_variance_that_they_say(dtype, device):
    like = tensor(np.zeros((200, 300), dtype), device=device, requires_grad=True)
    for y, mean, variance in [
        (ops.bernoulli(like, p=0.3), 0.3, 0.21),
        (ops.bernoulli(like, p=0.0), 0, 0),
        (ops.bernoulli(like, p=1.0), 1, 0),
        (ops.normal(like), 0, 1),
        (ops.uniform(like), 0.5, 1 / 12),
    ]:
        assert (y.shape, y.dtype, y.device, y.requires_grad) == (like.shape, dtype, device, False)
        assert abs(y.numpy().mean() - mean) < 0.02
        assert abs(y.numpy().var() - variance) < 0.02
    assert set(np.unique(ops.bernoulli(like, p=0.5).numpy())) == {0, 1}


@pytest.mark.parametrize("draw", [ops.normal, ops.uniform, lambda x: ops.bernoulli(x, p=0.5)])
def test_draws_come_again_with_the_seed(draw, device):
    like = tensor(np.zeros(50), device=device)
    minidl.manual_seed(5)
    first, second = draw(like).numpy(), draw(like).numpy()
    minidl.manual_seed(5)
    np.testing.assert_array_equal(draw(like).numpy(), first)
    assert (first != second).any(), "two draws are the same"
    minidl.manual_seed(6)
    assert (draw(like).numpy() != first).any(), "two draws are the same"


@pytest.mark.parametrize("name", [*TWO, "equal", "less", "concatenate"])
def test_misfitting_shapes_are_named(name, device):
    a, b = on(device, [np.ones((2, 3)), np.ones((4, 5))])
    with pytest.raises(ValueError, match=rf"{name}: .*\(2, 3\) and \(4, 5\)"):
        primitives[name](a, b)


def test_an_order_of_axes_changes_something(device):
    x = tensor(np.arange(24.0).reshape(2, 3, 4), device=device)
    matrix = tensor(np.ones((2, 2)), device=device)
    for wrong in (
        lambda: matrix.transpose(0, 1),
        lambda: matrix.transpose((0, 1)),
        lambda: matrix.transpose(-2, -1),
        lambda: minidl.engine.shapes.transpose(matrix, axes=(0, 1)),
        lambda: minidl.engine.shapes.transpose(matrix.data, axes=[0, 1]),
        lambda: minidl.compile(lambda m: m.transpose(0, 1))(matrix),
        lambda: x.transpose(0, 1, 2),
        lambda: x.transpose(1, 2),
        lambda: x.transpose(0),
    ):
        with pytest.raises(
            ValueError, match=r"another order, not two to swap.*\.transpose\(1, 0\)"
        ):
            wrong()
    np.testing.assert_array_equal(x.transpose(0, 2, 1).numpy(), x.numpy().swapaxes(1, 2))
    np.testing.assert_array_equal(x.transpose(-1, 0, 1).numpy(), x.numpy().transpose(2, 0, 1))
    row = tensor(np.arange(3.0), device=device)
    np.testing.assert_array_equal(row.transpose(0).numpy(), row.numpy())
    assert x.sum().transpose().shape == ()
