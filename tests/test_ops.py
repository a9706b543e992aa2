"""Every primitive, from one table: derivatives to second order, PyTorch, odd shapes, devices."""

import itertools

import numpy as np
import pytest

import minidl
from minidl import backend, ops, shapes
from minidl.tensor import ARRAY, Tensor, primitives, tensor


def rows(*, low=-2.0, high=2.0, apart=0.0):
    """A maker of inputs in [low, high], whose pairs keep `apart` from each other and from 0."""

    def make(rng, *sizes):
        found = []
        for size in sizes:
            x = rng.uniform(low, high, size)
            if apart:
                x = np.round(x / apart) * apart + 0.5 * apart + rng.uniform(-0.1, 0.1, size) * apart
            found.append(x)
        if apart and len(found) == 2:
            found[1] = found[1] + 0.37 * apart
        return [np.asarray(x) for x in found]

    return make


anything, positive, apart = rows(), rows(low=0.3, high=2.0), rows(apart=0.25)
ONE, TWO, BROADCAST = [(3, 4)], [(3, 4), (3, 4)], [(2, 3, 4), (3, 1)]
PICK = np.array([2, 0, 2])

# name, function of arrays or Tensors, the same in PyTorch, shapes, inputs
TABLE = [
    ("add", lambda a, b: a + b, lambda t, a, b: a + b, BROADCAST, anything),
    ("sub", lambda a, b: a - b, lambda t, a, b: a - b, BROADCAST, anything),
    ("mul", lambda a, b: a * b, lambda t, a, b: a * b, BROADCAST, anything),
    ("div", lambda a, b: a / b, lambda t, a, b: a / b, BROADCAST, positive),
    ("neg", lambda a: -a, lambda t, a: -a, ONE, anything),
    ("pow", lambda a, b: a**b, lambda t, a, b: a**b, BROADCAST, positive),
    ("pow", lambda a: a**3, lambda t, a: a**3, ONE, anything),
    ("pow", lambda a: 2.5**a, lambda t, a: 2.5**a, ONE, anything),
    ("matmul", lambda a, b: a @ b, lambda t, a, b: a @ b, [(3, 4), (4, 2)], anything),
    ("exp", ops.exp, lambda t, a: a.exp(), ONE, anything),
    ("log", ops.log, lambda t, a: a.log(), ONE, positive),
    ("sqrt", ops.sqrt, lambda t, a: a.sqrt(), ONE, positive),
    ("sin", ops.sin, lambda t, a: a.sin(), ONE, anything),
    ("cos", ops.cos, lambda t, a: a.cos(), ONE, anything),
    ("tanh", ops.tanh, lambda t, a: a.tanh(), ONE, anything),
    ("sigmoid", ops.sigmoid, lambda t, a: a.sigmoid(), ONE, anything),
    ("softplus", ops.softplus, lambda t, a: t.nn.functional.softplus(a), ONE, anything),
    ("relu", ops.relu, lambda t, a: a.relu(), ONE, apart),
    ("abs", ops.abs, lambda t, a: a.abs(), ONE, apart),
    ("maximum", ops.maximum, lambda t, a, b: t.maximum(a, b), TWO, apart),
    ("minimum", ops.minimum, lambda t, a, b: t.minimum(a, b), TWO, apart),
    ("where", lambda a, b: ops.where(a < b, a * a, b * b),
     lambda t, a, b: t.where(a < b, a * a, b * b), TWO, apart),
    ("cast", lambda a: ops.cast(a, dtype="float64"), lambda t, a: a.double(), ONE, anything),
    ("sum", lambda a: shapes.sum(a), lambda t, a: a.sum(), ONE, anything),
    ("sum", lambda a: shapes.sum(a, axis=1), lambda t, a: a.sum(1), ONE, anything),
    ("sum", lambda a: shapes.sum(a, axis=(0, -1), keepdims=True),
     lambda t, a: a.sum((0, -1), keepdim=True), [(2, 3, 4)], anything),
    ("max", lambda a: ops.max(a, axis=-1), lambda t, a: a.amax(-1), ONE, apart),
    ("max", lambda a: ops.max(a, axis=0, keepdims=True),
     lambda t, a: a.amax(0, keepdim=True), ONE, apart),
    ("broadcast_to", lambda a: shapes.broadcast_to(a, shape=(2, 3, 4)),
     lambda t, a: a.broadcast_to(2, 3, 4), [(3, 1)], anything),
    ("sum_to", lambda a: shapes.sum_to(a, shape=(3, 1)),
     lambda t, a: a.sum((0, 2)).reshape(3, 1), [(2, 3, 4)], anything),
    ("sum_to", lambda a: shapes.sum_to(a, shape=(4,)), lambda t, a: a.sum(0), ONE, anything),
    ("reshape", lambda a: shapes.reshape(a, shape=(2, -1)),
     lambda t, a: a.reshape(2, -1), ONE, anything),
    ("transpose", lambda a: shapes.transpose(a, axes=(1, -1, 0)),
     lambda t, a: a.permute(1, -1, 0), [(2, 3, 4)], anything),
    ("transpose", lambda a: shapes.transpose(a), lambda t, a: a.T, ONE, anything),
    ("getitem", lambda a: shapes.getitem(a, key=(slice(None, None, 2), 1)),
     lambda t, a: a[::2, 1], ONE, anything),
    ("scatter", lambda a: shapes.scatter(a, key=(slice(None, None, 2),), shape=(5, 4)),
     lambda t, a: t.zeros(5, 4, dtype=a.dtype).index_copy(0, t.tensor([0, 2, 4]), a),
     ONE, anything),
    ("concatenate", lambda a, b: shapes.concatenate(a, b, a, axis=-1),
     lambda t, a, b: t.cat([a, b, a], -1), [(3, 4), (3, 2)], anything),
    ("logsumexp", ops.logsumexp, lambda t, a: a.logsumexp(-1, keepdim=True), ONE, anything),
    ("logsumexp", lambda a: ops.logsumexp(a, axis=(0, 1)),
     lambda t, a: a.logsumexp((0, 1), keepdim=True), ONE, anything),
]  # fmt: skip
IDS = [f"{i}-{row[0]}" for i, row in enumerate(TABLE)]
every = pytest.mark.parametrize("name, f, g, sizes, make", TABLE, ids=IDS)
WITHOUT_GRADIENT = set(
    "equal not_equal less less_equal sign argmax one_hot bernoulli normal".split()
)


def weigh(f, arrays, seed=7):
    """A function of flat numbers with one result: f's elements, each times a fixed weight."""
    weights = None

    def scalar(*inputs):
        nonlocal weights
        y = f(*inputs)
        if weights is None:
            weights = np.random.default_rng(seed).uniform(0.5, 1.5, y.shape)
        return (y * weights).sum()

    return scalar


def differences(f, arrays, step):
    """Central differences of the scalar function f for each element of each array."""
    found = []
    for k, a in enumerate(arrays):
        slopes = np.zeros(a.shape)
        for i in np.ndindex(*a.shape):
            ends = []
            for sign in (1, -1):
                moved = [x.copy() for x in arrays]
                moved[k][i] += sign * step
                ends.append(float(f(*moved)))
            slopes[i] = (ends[0] - ends[1]) / (2 * step)
        found.append(slopes)
    return found


def leaves(arrays, device="cpu"):
    return [tensor(a, requires_grad=True, device=device) for a in arrays]


def close(a, b, tolerance):
    a = a.numpy() if isinstance(a, Tensor) else a
    b = np.asarray(b)
    assert a.shape == b.shape, (a.shape, b.shape)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_the_table_holds_every_primitive():
    assert {row[0] for row in TABLE} | WITHOUT_GRADIENT == set(primitives)
    assert {name for name, op in primitives.items() if op.rule is None} == WITHOUT_GRADIENT


@every
def test_first_derivatives_are_those_of_central_differences(name, f, g, sizes, make):
    arrays = make(np.random.default_rng(1), *sizes)
    scalar = weigh(lambda *x: f(*x) * f(*x), arrays)
    found = minidl.grad(scalar(*(xs := leaves(arrays))), xs)
    for a, b in zip(found, differences(lambda *x: scalar(*map(tensor, x)).item(), arrays, 1e-5)):
        close(a, b, 1e-7)


@every
def test_second_derivatives_are_those_of_central_differences(name, f, g, sizes, make):
    arrays = make(np.random.default_rng(2), *sizes)
    scalar = weigh(lambda *x: f(*x) * f(*x), arrays)
    rng = np.random.default_rng(3)
    directions = [rng.uniform(0.5, 1.5, a.shape) for a in arrays]

    def slope(*inputs):
        """The derivative along `directions`, itself made of recorded operations."""
        xs = [x if isinstance(x, Tensor) else tensor(x, requires_grad=True) for x in inputs]
        first = minidl.grad(scalar(*xs), xs, create_graph=True)
        total = 0.0
        for d, direction in zip(first, directions):
            total = total + (d * direction).sum()
        return total

    xs = leaves(arrays)
    for a, b in zip(
        minidl.grad(slope(*xs), xs), differences(lambda *x: slope(*x).item(), arrays, 1e-5)
    ):
        close(a, b, 1e-6)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-5)])
@every
def test_value_and_gradients_are_pytorchs(name, f, g, sizes, make, dtype, tolerance, torch):
    arrays = [a.astype(dtype) for a in make(np.random.default_rng(4), *sizes)]
    ours, theirs = leaves(arrays), [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = f(*ours), g(torch, *theirs)
    close(y, z.detach().numpy(), tolerance)
    weights = np.random.default_rng(5).uniform(-1, 1, y.shape).astype(y.dtype)
    y.backward(weights)
    z.backward(torch.tensor(weights))
    for a, b in zip(ours, theirs):
        assert a.grad.dtype == a.dtype == dtype
        close(a.grad, b.grad.numpy(), tolerance)


def odd(a):
    """The same numbers in memory that is not contiguous: every other element, axes reversed."""
    wide = np.repeat(a.T, 2, axis=0)[::2].T if a.ndim else a
    assert a.ndim < 2 or min(a.shape) < 2 or not wide.flags.c_contiguous
    return wide


@every
def test_every_device_gives_the_same(name, f, g, sizes, make, device):
    arrays = make(np.random.default_rng(6), *sizes)

    def run(place, inputs):
        xs = leaves(inputs, place)
        y = f(*xs)
        assert y.device == place
        first = minidl.grad((y * y).sum(), xs, create_graph=True)
        total = sum((d * d).sum() for d in first)
        second = minidl.grad(total, xs) if total.requires_grad else []
        plain = minidl.grad(f(*xs).sum(), xs)
        return [x.numpy() for x in (y, *first, *second, *plain)]

    expected = run("cpu", arrays)
    for a, b in zip(run(device, arrays), expected):
        close(a, b, 1e-10)
    for a, b in zip(run(device, [odd(a) for a in arrays]), expected):
        close(a, b, 1e-10)


ELEMENTWISE = [row for row in TABLE if row[0] in (
    "add sub mul div neg pow exp log sqrt sin cos tanh sigmoid softplus relu abs maximum minimum "
    "where cast").split()]  # fmt: skip
PAIRS = [((), ()), ((), (3,)), ((0,), (1,)), ((2, 0), (2, 1)), ((1,), (1, 1)), ((4, 1), (1, 3))]


@pytest.mark.parametrize("name, f, g, sizes, make", ELEMENTWISE)
def test_empty_and_0d_and_broadcast_inputs(name, f, g, sizes, make, device):
    for pair in PAIRS:
        arrays = make(np.random.default_rng(8), *pair[: len(sizes)])
        xs = leaves(arrays, device)
        y = f(*xs)
        assert y.shape == np.broadcast_shapes(*pair[: len(sizes)])
        y.sum().backward()
        for x in xs:
            assert x.grad.shape == x.shape and x.grad.device == device
        if y.size:
            cells = differences(lambda *a: f(*map(tensor, a)).sum().item(), arrays, 1e-5)
            for x, expected in zip(xs, cells):
                close(x.grad, expected, 1e-6)


def test_reductions_and_shapes_of_empty_and_0d_inputs(device):
    for shape in [(), (0,), (0, 3), (2, 0)]:
        x = tensor(np.ones(shape), requires_grad=True, device=device)
        for y in (x.sum(), x.reshape(-1) if x.size else x.reshape(*shape), x.transpose(), x * 1):
            (g,) = minidl.grad(y.sum(), x)
            close(g, np.ones(shape), 0)
    assert np.isnan(tensor(np.ones((0,)), device=device).mean().item())
    with pytest.raises(ValueError, match="max: cannot work on shapes"):
        tensor(np.ones((0,)), device=device).max()


MATRICES = [(4,), (3, 4), (2, 3, 4), (5, 1, 3, 4), (1, 4), (0, 4)]
RIGHT = [(4,), (4, 2), (2, 4, 2), (5, 2, 4, 2), (4, 0)]


@pytest.mark.parametrize("left, right", [*itertools.product(MATRICES, RIGHT)])
def test_matmul_of_vectors_matrices_and_batches(left, right, device, torch):
    rng = np.random.default_rng(9)
    arrays = [rng.standard_normal(left), rng.standard_normal(right)]
    try:
        expected = np.matmul(*arrays)
    except ValueError:
        with pytest.raises(ValueError, match="matmul: cannot work on shapes"):
            tensor(arrays[0]) @ tensor(arrays[1])
        return
    xs = leaves(arrays, device)
    y = xs[0] @ xs[1]
    close(y, expected, 1e-12)
    ts = [torch.tensor(a, requires_grad=True) for a in arrays]
    z = ts[0] @ ts[1]
    weights = rng.standard_normal(expected.shape)
    y.backward(tensor(weights, device=device))
    z.backward(torch.tensor(weights))
    for x, t in zip(xs, ts):
        close(x.grad, t.grad.numpy(), 1e-12)


KEYS = [
    0, -1, slice(1, None), slice(None, None, -1), None, Ellipsis, (Ellipsis, 1), (slice(None), 2),
    [0, 0, 2], PICK, (PICK, PICK), (slice(None), PICK), (None, PICK), np.array([True, False, True]),
    [], (PICK[:, None], PICK), (1, Ellipsis, PICK),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_getitem_and_its_gradient(key, device):
    a = np.random.default_rng(10).standard_normal((3, 4))
    plain = np.asarray(key, dtype=int) if isinstance(key, list) else key
    expected = np.zeros_like(a)
    np.add.at(expected, plain, 2 * a[plain])

    def there(part):
        return tensor(part, device=device).data if isinstance(part, np.ndarray) else part

    here = tuple(map(there, key)) if isinstance(key, tuple) else there(key)
    if device != "cpu" and isinstance(key, list):
        here = tensor(plain, dtype=np.int64, device=device)  # a list would make a NumPy array
    x = tensor(a, requires_grad=True, device=device)
    y = x[here]
    close(y, a[plain], 0)
    (g,) = minidl.grad((y * y).sum(), x, create_graph=True)
    close(g, expected, 1e-12)
    (again,) = minidl.grad((g * g).sum() * 0.5, x)
    count = np.zeros_like(a)
    np.add.at(count, plain, 1)
    close(again, 4 * count * count * a, 1e-12)


def test_index_arrays_are_inputs_of_the_record():
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x[tensor([2, 2])]
    assert y.attrs == {"key": (ARRAY,)} and len(y.inputs) == 2


def test_ties_share_the_gradient(device):
    def grad(f, *arrays):
        xs = leaves([np.array(a, float) for a in arrays], device)
        return [g.numpy().tolist() for g in minidl.grad(f(*xs).sum(), xs)]

    assert grad(lambda a: a.max(), [3, 1, 3, 3]) == [[1 / 3, 0, 1 / 3, 1 / 3]]
    assert grad(ops.maximum, [1, 2], [1, 1]) == [[0.5, 1], [0.5, 0]]
    assert grad(ops.minimum, [1, 2], [1, 1]) == [[0.5, 0], [0.5, 1]]
    assert grad(ops.relu, [0, 1, -1]) == [[0, 1, 0]]
    assert grad(ops.abs, [0, 1, -1]) == [[0, 1, -1]]
    assert grad(lambda a, b: a**b, [0, 2], [2, 1]) == [[0, 1], [0, 2 * np.log(2)]]


def test_large_numbers_do_not_overflow(device):
    x = tensor(np.array([-1e4, 0, 1e4]), requires_grad=True, device=device)
    with np.errstate(all="raise", under="ignore"):
        for f, value, slope in [
            (ops.sigmoid, [0, 0.5, 1], [0, 0.25, 0]),
            (ops.softplus, [0, np.log(2), 1e4], [0, 0.5, 1]),
            (ops.logsumexp, [1e4], [0, 0, 1]),
        ]:
            y = f(x)
            close(y, value, 1e-12)
            close(minidl.grad(y.sum(), x)[0], slope, 1e-12)
    empty_row = tensor(np.full((1, 3), -np.inf), device=device)
    with np.errstate(divide="ignore"):
        assert ops.logsumexp(empty_row).item() == -np.inf


def test_float32_stays_float32(device):
    x = tensor([[1.0, 2.0]], requires_grad=True, device=device)
    for other in (2.0, 3, True, np.float64(2.5), np.int64(2)):
        for y in (x + other, other * x, x / other, x**other, other - x, ops.maximum(x, other)):
            assert y.dtype == "float32", (other, y)
            assert minidl.grad(y.sum(), x)[0].dtype == "float32"
    wide = x.astype("float64") * 2.0
    assert wide.dtype == "float64"
    assert minidl.grad(wide.sum(), x)[0].dtype == "float32"


def test_comparisons_make_masks_without_a_record(device):
    x = tensor([1.0, 2.0, 3.0], requires_grad=True, device=device)
    for mask, expected in [
        (x == 2, [0, 1, 0]), (x != 2, [1, 0, 1]), (x < 2, [1, 0, 0]),
        (x <= 2, [1, 1, 0]), (x > 2, [0, 0, 1]), (x >= 2, [0, 1, 1]),
    ]:  # fmt: skip
        assert mask.dtype == bool and not mask.requires_grad and mask.op is None
        assert mask.numpy().tolist() == [bool(e) for e in expected]
    assert ops.argmax(x).item() == 2
    assert ops.sign(x - 2).numpy().tolist() == [-1, 0, 1]


def test_one_hot_and_its_complaints(device):
    labels = tensor([2, 0], device=device)
    assert ops.one_hot(labels, classes=3).numpy().tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(ValueError, match=r"in \[0, 2\), got 0 to 2"):
        ops.one_hot(labels, classes=2)
    with pytest.raises(TypeError, match="must be integers, got float32"):
        ops.one_hot(tensor([1.0], device=device), classes=2)


def test_draws_are_seeded_and_have_their_distribution(device):
    like = tensor(np.zeros((200, 200)), device=device)
    for draw, mean, spread in [
        (lambda: ops.bernoulli(like, p=0.3), 0.3, np.sqrt(0.21)),
        (lambda: ops.normal(like), 0.0, 1.0),
    ]:
        backend.manual_seed(3)
        first, second = draw(), draw()
        backend.manual_seed(3)
        again = draw()
        assert first.dtype == "float64" and first.device == device
        assert (first.numpy() == again.numpy()).all()
        assert (first.numpy() != second.numpy()).any()
        assert abs(first.numpy().mean() - mean) < 5 * spread / 200
        assert abs(first.numpy().std() - spread) < 0.02


def test_stack_joins_along_a_new_axis(device):
    xs = leaves([np.arange(3.0), np.arange(3.0) + 3], device)
    for axis in (0, 1, -1):
        y = minidl.stack(xs, axis=axis)
        close(y, np.stack([x.numpy() for x in xs], axis=axis), 0)
    for g in minidl.grad((y * y).sum(), xs):
        assert g.shape == (3,)
