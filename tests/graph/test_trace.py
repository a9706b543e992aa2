"""What a trace holds, and what it refuses; after an error all is as before."""

import cProfile
import sys
import threading
from collections import namedtuple

import numpy as np
import pytest
from static import contents, drawn, equal

import minidl
from minidl import Tensor, nn, optim, tensor
from minidl.engine import devices, intercept, ops, random
from minidl.engine.tensor import handlers
from minidl.graph.lines import Value, layout, mapped
from minidl.graph.trace import trace
from minidl.graph.traced import Traced
from minidl.nn import functional as F

ASKED = "the value of a tensor was asked for while a graph was traced"


def lines(function, *arrays, device="cpu"):
    graph = trace(function, [tensor(a, device=device) for a in arrays]).graph()
    return str(graph).splitlines()


# ---- traps

TRAPS = {
    "if": lambda y: y if y > 0 else -y,
    "if on elements": lambda y: y if (y > 0).sum() else -y,
    "while": lambda y: [y for _ in iter(lambda: bool(y < 0), False)],
    "not": lambda y: not y,
    "and": lambda y: y and 2,
    "item": lambda y: y.item(),
    "float": lambda y: float(y),
    "int": lambda y: int(y.data),
    "round": lambda y: range(y.data),
    "numpy": lambda y: y.numpy(),
    "array": lambda y: np.asarray(y.data),
    "print": lambda y: print(y),
    "repr": lambda y: repr(y),
    "format": lambda y: f"{y.data:.3f}",
    "string": lambda y: f"{y}",
    "list": lambda y: y.data.tolist(),
    "iter": lambda y: list(y.data),
    "any": lambda y: y.data.any(),
    "all": lambda y: (y.data == 0).all(),
    "max of two": lambda y: max(y, 0),
    "sorted": lambda y: sorted([y, y + 1]),
    "index": lambda y: [1, 2, 3][y.astype("int64").data],
}


def network(device):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Dropout(0.3), nn.Linear(4, 1))
    model.to(device)
    optimizer = optim.Adam(model.parameters(), 0.1)
    optimizer.zero_grad()
    model(tensor(drawn(5, 3), device=device)).sum().backward()
    optimizer.step()
    return model, optimizer


def everything(model, optimizer):
    """All that a trace touches, to compare before and after."""
    modes = intercept.modes.recording, intercept.modes.tracing, sys.getprofile()
    arrays = [t.data for _, t in model.tensors()]
    seen = contents([], [model, optimizer])  # `.grad` is not put back after an error
    return {k: v for k, v in seen.items() if "grad" not in k}, (modes, dict(handlers)), arrays


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("late", [False, True])
def test_a_value_that_is_asked_for(name, late, device):
    """Before or after the step was made: an error that says why, and nothing has changed."""
    model, optimizer = network(device)
    batch = tensor(drawn(5, 3), device=device)

    def step(x, asks=True):
        y = model(x).sum()
        if not late and asks:
            TRAPS[name](y)
        optimizer.zero_grad()
        (y * y).backward()
        optimizer.step()
        if late and asks:
            TRAPS[name](y)
        return y

    before, modes, arrays = everything(model, optimizer)
    compiled = minidl.compile(step)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=ASKED):
            compiled(batch)
        after, modes_after, arrays_after = everything(model, optimizer)
        equal([after], [before])
        assert modes == modes_after and not compiled.programs
        assert not [(a, b) for a, b in zip(arrays, arrays_after) if a is not b]
    again = minidl.compile(lambda x: step(x, asks=False))
    minidl.manual_seed(1)
    found = [again(batch).item() for _ in range(3)]
    for i, part in enumerate((model, optimizer)):
        part.load_state_dict({k[2:]: v for k, v in before.items() if k[0] == str(i)})
    minidl.manual_seed(1)
    expected = [step(batch, asks=False).item() for _ in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_message_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"Return the tensor .* choose with minidl\.where"):
        minidl.compile(lambda x: x.sum().item())(drawn(3))


def test_an_exception_in_the_middle(device):
    model, optimizer = network(device)
    before, modes, _ = everything(model, optimizer)

    def step(x):
        with minidl.no_grad():
            model(x)
            optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()
        raise KeyError("in the middle")

    compiled = minidl.compile(step)
    with pytest.raises(KeyError, match="in the middle"):
        compiled(tensor(drawn(5, 3), device=device))
    after, modes_after, _ = everything(model, optimizer)
    assert modes == modes_after and not compiled.programs
    equal([after], [before])
    with pytest.raises(ValueError, match=r"matmul: cannot work on shapes \(3, 4\)"):
        minidl.compile(lambda x: x @ x)(tensor(drawn(3, 4), device=device))


def test_a_compiled_function_inside_another():
    inner = minidl.compile(lambda x: x * 2)
    outer = minidl.compile(lambda x: inner(x) + 1)
    for i in range(3):
        np.testing.assert_array_equal(outer(drawn(3) * i).numpy(), drawn(3) * i * 2 + 1)
    np.testing.assert_array_equal(inner(drawn(3)).numpy(), drawn(3) * 2)
    assert intercept.modes.tracing is None


def test_a_tensor_that_was_kept_from_a_trace(device):
    x, seen = tensor(drawn(3), device=device), []

    def f(x):
        y = x * 2
        seen.append(y)
        return y + 1

    f = minidl.compile(f)
    f(x)
    for use in (lambda y: y + 1, lambda y: y.sum(), lambda y: y[0], lambda y: y.data * 2):
        with pytest.raises(RuntimeError, match="made while a graph was traced"):
            use(seen[0])
    with pytest.raises(RuntimeError, match="was asked for while a graph was traced"):
        seen[0].numpy()
    np.testing.assert_allclose(f(x * 3).numpy(), drawn(3) * 6 + 1, rtol=1e-6)


def test_labels_out_of_range_raise_at_every_run():
    run = minidl.compile(lambda logits, labels: F.cross_entropy(logits, labels))
    good, bad = np.array([0, 2]), np.array([0, 3])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"must be in \[0, 3\), got 0 to 3"):
            run(drawn(2, 3), bad)
    for _ in range(2):
        run(drawn(2, 3), good)
        with pytest.raises(ValueError, match=r"must be in \[0, 3\), got 0 to 3"):
            run(drawn(2, 3), bad)
    pick = nn.Embedding(4, 2)
    run = minidl.compile(lambda ids: pick(ids).sum())
    for _ in range(3):
        run(good)
        with pytest.raises(ValueError, match=r"Embedding\(.*ids must be in \[0, 4\), got -1 to 2"):
            run(good - np.array([1, 0]))


def test_other_threads_do_not_see_a_trace():
    """While one thread traces, another computes as ever."""
    started, done, found = threading.Event(), threading.Event(), []
    shared = tensor(drawn(3))

    def traced(x):
        y = x * 2
        started.set()
        assert done.wait(10)
        return y

    def compute():
        assert started.wait(10)
        found.append((tensor(drawn(3)) * 3 + shared).sum().item())
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    minidl.compile(traced)(drawn(3))
    thread.join()
    np.testing.assert_allclose(found, [(drawn(3) * 4).sum()], rtol=1e-5)


# ---- what is written down


def test_a_trace_is_a_list_of_calls():
    w = tensor(drawn(3, 2), requires_grad=True)

    def f(x):
        hidden = x @ w
        loss = hidden.exp().sum()
        return minidl.grad(loss, w)

    text = lines(f, drawn(4, 3))
    assert text[0].startswith("hidden") and " = matmul(x" in text[0]
    assert [t.split(" = ")[1].split("(")[0] for t in text] == [
        "matmul", "exp", "add.reduce",  # and back:
        "ones", "broadcast_to", "multiply", "transpose", "matmul",
    ]  # fmt: skip
    assert sum("loss" in t.split(" = ")[0] for t in text) == 1


@pytest.mark.parametrize(
    "function, written",
    [
        (lambda a: a + 1, "add"), (lambda a: 1 - a, "subtract"), (lambda a: a / 2, "divide"),
        (lambda a: 2**a, "power"), (lambda a: a @ a, "matmul"), (lambda a: -a, "negative"),
        (lambda a: abs(a), "absolute"), (lambda a: a == 1, "equal"),
        (lambda a: a != 1, "not_equal"),
        (lambda a: a < 1, "less"), (lambda a: a <= 1, "less_equal"), (lambda a: a > 1, "greater"),
        (lambda a: a >= 1, "greater_equal"), (lambda a: ~(a < 1), "invert"),
        (lambda a: (a < 1) & (a > 0), "bitwise_and"), (lambda a: (a < 1) | (a > 0), "bitwise_or"),
        (lambda a: a.T, "transpose"), (lambda a: a.transpose(1, 0), "transpose"),
        (lambda a: a.transpose((1, 0)), "transpose"), (lambda a: a.transpose(), "transpose"),
        (lambda a: a.reshape(9), "reshape"), (lambda a: a.reshape((-1, 1)), "reshape"),
        (lambda a: a[1:, None], "getitem"), (lambda a: a[a.astype("int64") * 0], "getitem"),
        (lambda a: a.sum(0), "add.reduce"), (lambda a: a.max(axis=(0, 1)), "maximum.reduce"),
        (lambda a: a.astype("float64"), "astype"), (lambda a: a.copy(), "copy"),
        (lambda a: a.astype("float32", copy=False) + 0, "add"),
    ],
)  # fmt: skip
def test_operators_of_arrays_are_functions_of_numpy(function, written, device):
    """The same value, shape and type as NumPy's own operator gives, and one more line."""
    seen = []

    def f(x):
        seen.append(Tensor(function(x.data)))
        assert (x.data.ndim, x.data.size, len(x.data)) == (2, 9, 3)
        return seen[-1]

    a = drawn(3, 3)
    written_down = trace(f, [tensor(a, device=device)])
    assert written_down.lines[-1].function == written
    found, expected = written_down.first.numpy(), np.asarray(function(a))
    np.testing.assert_allclose(found, expected, rtol=1e-6 if device == "cuda" else 0)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    out = written_down.lines[-1].out
    assert (out.shape, out.dtype) == (expected.shape, expected.dtype)
    compiled = minidl.compile(f)
    compiled(tensor(a, device=device))
    found = compiled(tensor(a + 1, device=device)).numpy()
    equal([{"": found}], [{"": np.asarray(function(a + 1))}], 0 if device != "cuda" else 1e-6)


def test_arrays_that_are_changed_in_place(device):
    """y[key] = a, y[key] += a, y += a, add.at: each one line, that says what it changes."""

    def f(x):
        xp = devices.array_module(x.data)
        y = xp.zeros_like(x.data)
        y[1:] = x.data[1:]
        y[0] += x.data[1]
        y += x.data
        y *= 2
        y[:, 1] = 0.5
        xp.add.at(y, rows, x.data)
        return Tensor(y)

    def expected(a):
        y = np.zeros_like(a)
        y[1:] = a[1:]
        y[0] += a[1]
        y += a
        y *= 2
        y[:, 1] = 0.5
        np.add.at(y, np.array([0, 2, 0]), a)
        return y

    rows = devices.to_device(np.array([0, 2, 0]), device)
    text = [line.split(" <- ") for line in lines(f, drawn(3, 3), device=device)]
    assert [line[1].split("(")[0] for line in text if line[1:]] == [
        "copyto", "add", "add", "multiply", "copyto", "add.at"
    ]  # fmt: skip
    f = minidl.compile(f)
    for i in range(4):
        a = drawn(3, 3, seed=i)
        found = f(tensor(a, device=device)).numpy()
        np.testing.assert_allclose(found, expected(a), rtol=1e-6)


def test_numbers_stay_numbers(device):
    """What is computed of numbers alone is a number, asked for anew at each run."""
    asked = iter(range(1, 9))

    def f(x):
        n = intercept.fresh(lambda: next(asked))
        rate = 0.5 ** (n + 1) / (1 - 2 * n)
        assert isinstance(rate.array, float)
        return x * rate + ops.sqrt(rate * rate)

    f, a = minidl.compile(f), drawn(3)
    for n in range(1, 6):
        rate = 0.5 ** (n + 1) / (1 - 2 * n)
        found = f(tensor(a, device=device)).numpy()
        assert found.dtype == "float32"
        np.testing.assert_allclose(found, a * rate + abs(rate), rtol=1e-6)


def test_values_know_whose_memory_they_are(device):
    def f(x):
        whole = x.exp()
        return whole.T, whole[1:].reshape(2, 4)[:, 1:], whole.T.reshape(12), whole * 1

    found = trace(f, [tensor(drawn(3, 4), device=device)])
    turned, part, flat, product = found.result
    whole = found.lines[0].out
    assert whole.base is whole and turned.base is part.base is whole
    assert flat.base is flat and product.base is product  # a reshape that had to copy
    assert (whole.size, whole.nbytes, whole.in_order()) == (12, 48, True)
    assert turned.order == (1, 0) and not turned.in_order()
    assert repr(whole) == "whole: float32[3, 4]"


def test_layout_and_mapped():
    a = np.empty((2, 3, 4))
    assert layout(a) == (0, 1, 2) and layout(a.transpose(2, 0, 1)) == (1, 2, 0)
    parts = {"a": [1, (2, 3)], "b": 4}
    assert mapped(parts, lambda n: n * 10) == {"a": [10, (20, 30)], "b": 40}
    pair = namedtuple("Pair", "a b")
    assert mapped([pair(1, [2])], lambda n: -n) == [pair(-1, [-2])]
    assert Value(3.0).dtype is None and Value(3.0).nbytes == 0


def test_traced_arrays_refuse_numpy():
    """A function of NumPy that is called by its own name is an error, not a constant."""

    def f(x):
        assert isinstance(x.data, Traced)
        return Tensor(np.exp(x.data))

    with pytest.raises((RuntimeError, TypeError)):
        minidl.compile(f)(drawn(3))


def test_bare_arrays_of_tensors_outside_are_refused_where_they_would_mislead(device):
    w, x = (tensor(drawn(3), device=device) for _ in range(2))

    def in_place(x):
        w.data -= (w * x).data

    said = "change in place the" if device == "cpu" else "as a bare array|Unsupported type"
    with pytest.raises(TypeError if device == "cpu" else (RuntimeError, TypeError), match=said):
        minidl.compile(in_place)(x)

    def constant(x):
        w.data = w.data - (w * x).data

    with pytest.raises(RuntimeError, match="as a bare array"):
        minidl.compile(constant)(x)
    assert w.device == device


def test_a_left_array_may_stand_before_an_operator():
    a = drawn(3)
    run = minidl.compile(lambda x: Tensor(a - x.data))
    for x in drawn(3), drawn(3) + 1:
        np.testing.assert_array_equal(run(x).data, a - x)


def test_trace_goes_on_under_a_profiler():
    with cProfile.Profile():
        run = minidl.compile(lambda x: x * 2)
        run(drawn(3))
    np.testing.assert_array_equal(run(drawn(3)).data, drawn(3) * 2)


def test_constants_types_and_draws_on_the_device(device):
    def f(x):
        xp = devices.array_module(x.data)
        assert xp.float32 is np.float32 and xp.finfo("float32").max > 1e38 and xp.pi == np.pi
        both = xp.ones_like(x.data) + xp.asarray([1.0, 2.0, 3.0], dtype="float32")
        draws = random.generator(xp).random(x.shape, dtype=np.float32)
        return Tensor(both * x.data + draws)

    f, found = minidl.compile(f), []
    minidl.manual_seed(5)
    found = [f(tensor(drawn(2, 3, seed=i), device=device)).numpy() for i in range(3)]
    rng = devices.device_module(device).random.default_rng(5)
    for i, a in enumerate(found):
        draws = devices.to_numpy(rng.random((2, 3), np.float32))
        expected = np.array([2, 3, 4], "f") * drawn(2, 3, seed=i) + draws
        np.testing.assert_allclose(a, expected, rtol=1e-5)


@pytest.mark.parametrize("pick", [lambda x: x > 0, lambda x: (slice(None), x[0] > 0)])
def test_a_mask_that_is_computed_is_refused(pick, device):
    """One element that it takes would be spread over as many as it took when this was traced."""
    x = tensor([[3.0, -1.0, 5.0]], device=device)
    with pytest.raises(RuntimeError, match=r"x\[mask\] .* fixed shapes.*minidl\.where"):
        minidl.compile(lambda x: x[pick(x)].sum())(x)


def test_a_mask_that_stays_is_taken(device):
    mask = np.array([True, False, True])
    bare = devices.to_device(mask, device)
    function = minidl.compile(lambda x: x[bare].sum())
    for values in ([3.0, -1.0, 5.0], [-3.0, -1.0, 5.0]):
        x = tensor(values, device=device)
        assert function(x).item() == values[0] + values[2]
        assert minidl.compile(lambda x: x[[0, 2]].sum())(x).item() == values[0] + values[2]
    outside = tensor(mask, device=device)  # its data may be others at the next run
    with pytest.raises(RuntimeError, match=r"x\[mask\]"):
        minidl.compile(lambda x: x[outside].sum())(x)
