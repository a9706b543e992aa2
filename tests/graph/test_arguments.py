"""Arguments and results of a compiled function are those of the function, whatever holds them."""

from collections import namedtuple

import numpy as np
import pytest
from static import drawn

import minidl
from minidl import Tensor, nn, optim, tensor
from minidl.engine import devices
from minidl.graph.compiled import MANY
from minidl.nn import functional as F

Pair = namedtuple("Pair", "first second")


def array(i, *shape):
    return drawn(*(shape or (3, 4)), seed=i)


def summed(batch):
    return sum(part.sum() for part in batch)


# name -> (function, i -> its arguments at call i (positional, by keyword), programs after 4 calls)
CASES = {
    "a keyword": (lambda x, y: x - 2 * y, lambda i: ((), {"x": array(i), "y": array(i + 9)}), 1),
    "keywords and positions": (
        lambda x, y=1.0, z=None: x * y if z is None else x * y + z,
        lambda i: ((array(i),), {"z": array(i + 3)}),
        1,
    ),
    "keywords, not always": (
        lambda x, y=None: x * 2 if y is None else x * y,
        lambda i: ((array(i),), {"y": array(i + 3)} if i % 2 else {}),
        2,
    ),
    "a dict": (
        lambda d: d["a"] @ d["b"].T,
        lambda i: (({"a": array(i), "b": array(-i + 9)},), {}),
        1,
    ),
    "dicts of lists of tuples": (
        lambda d: d["in"][0][1] + d["in"][1] * d["out"],
        lambda i: (({"in": [(array(i), array(i + 1)), array(i + 2)], "out": array(i + 3)},), {}),
        1,
    ),
    "a list": (summed, lambda i: (([array(i), array(i + 1, 2), array(i + 2, 5, 1)],), {}), 1),
    "a list that grows": (summed, lambda i: (([array(i)] * (i // 2 + 1),), {}), 2),
    "a named tuple": (
        lambda p: p.first * p.second,
        lambda i: ((Pair(array(i), array(i + 5)),), {}),
        1,
    ),
    "a float": (lambda x, s: x * s + s / 2 - s**3, lambda i: ((array(i), 0.5 + i), {}), 1),
    "a float to the left": (
        lambda x, s: s * x - s + (s - x) / s,
        lambda i: ((array(i), 1.5 + i), {}),
        1,
    ),
    "a float compared": (
        lambda x, s: minidl.where(x > s, x, s),
        lambda i: ((array(i), i / 2), {}),
        1,
    ),
    "floats alone": (lambda a, b: (a * b, a + 1, a), lambda i: ((2.0 + i, 3.0 * i), {}), 1),
    "a float in a dict": (lambda x, o: x * o["by"], lambda i: ((array(i), {"by": 1.0 * i}), {}), 1),
    "np.float32": (lambda x, s: x * s, lambda i: ((array(i), np.float32(i + 0.5)), {}), 1),
    "np.float64": (lambda x, s: s * x + s, lambda i: ((array(i), np.float64(i + 0.5)), {}), 1),
    "an int": (lambda x, n: x.sum(n) * n, lambda i: ((array(i), i % 2), {}), 2),
    "an int that repeats": (
        lambda x, n: sum(x**k for k in range(n)),
        lambda i: ((array(i),), {"n": 3}),
        1,
    ),
    "np.int64": (lambda x, n: x[n] * 2, lambda i: ((array(i), np.int64(i % 3)), {}), 3),
    "1, 1.0 and True": (
        lambda x, n: (x < 0) * n,
        lambda i: ((array(i), [1, True, 1.0, 1][i]), {}),
        3,
    ),
    "a truth value": (
        lambda x, last: x[-1] if last else x[0],
        lambda i: ((array(i), i > 1), {}),
        2,
    ),
    "a text": (
        lambda x, how="sum": getattr(x, how)(),
        lambda i: ((array(i), ["sum", "mean"][i % 2]), {}),
        2,
    ),
    "None": (lambda x, y: x if y is None else x + y, lambda i: ((array(i), None), {}), 1),
    "results by name": (
        lambda x, s: {"loss": x.sum() * s, "both": (x, [s, {"n": 3, "what": "text"}])},
        lambda i: ((array(i), 1.0 * i), {}),
        1,
    ),
    "a named tuple of results": (lambda x: Pair(x, x * 2), lambda i: ((array(i),), {}), 1),
    "the arguments themselves": (
        lambda *a, **k: (a, k),
        lambda i: ((array(i), 1.0 * i, 7), {"b": [array(i)]}),
        1,
    ),
}


def leaves(found, path="result"):
    """Pairs (path, leaf) of nested results, and the types of what holds them."""
    if isinstance(found, dict):
        return [pair for k, v in found.items() for pair in leaves(v, f"{path}.{k}")]
    if isinstance(found, (list, tuple)):
        inner = [pair for i, v in enumerate(found) for pair in leaves(v, f"{path}.{i}")]
        return [(path, type(found).__name__), *inner]
    return [(path, found)]


def same(found, expected):
    for (path, a), (other, b) in zip(leaves(found), leaves(expected), strict=True):
        assert path == other
        assert type(a) is type(b), f"{path}: {type(a).__name__}, not {type(b).__name__}"
        if isinstance(b, Tensor):
            assert (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device), path
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, err_msg=path)
        else:
            assert a == (pytest.approx(b) if isinstance(b, float) else b), path


def placed(parts, device):
    """Nested arguments with Tensors on a device in place of arrays."""
    if isinstance(parts, dict):
        return {k: placed(v, device) for k, v in parts.items()}
    if isinstance(parts, (list, tuple)):
        kind = getattr(parts, "_make", type(parts))
        return kind([placed(v, device) for v in parts])
    return tensor(parts, device=device) if isinstance(parts, np.ndarray) else parts


@pytest.mark.parametrize("name", CASES)
def test_arguments_of_all_kinds(name, device):
    function, given, programs = CASES[name]
    compiled = minidl.compile(function)
    for i in [0, 1, 2, 3, 1]:
        args, options = placed(given(i), device)
        same(compiled(*args, **options), function(*args, **options))
        if i == 3:
            assert len(compiled.programs) == programs


def test_a_step_with_a_weight_that_rises_and_a_batch_by_name(device):
    """A dict of arrays and a float, as in a variational autoencoder; one program."""
    found = []
    for wrap in (lambda f: f, minidl.compile):
        minidl.manual_seed(0)
        model = nn.Linear(4, 2).to(device)
        optimizer = optim.Adam(model.parameters(), 0.01)

        def step(batch, *, beta, model=model, optimizer=optimizer):
            y = model(batch["x"])
            loss = F.cross_entropy(y, batch["label"]) + beta * (y * y).mean()
            loss.backward()
            optim.clip_grad_norm(model.parameters(), beta)
            optimizer.step()
            optimizer.zero_grad()
            return {"loss": loss, "beta": beta}

        step = wrap(step)
        losses = []
        for i in range(5):
            batch = placed({"x": array(i), "label": np.array([0, 1, i % 2])}, device)
            losses.append(step(batch, beta=0.1 + 0.2 * i))
        assert [r["beta"] for r in losses] == [0.1 + 0.2 * i for i in range(5)]
        found.append([r["loss"].item() for r in losses])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    assert len(step.programs) == 1


@pytest.mark.filterwarnings("ignore:.* got float64")  # said once in a process
@pytest.mark.parametrize("kind", ["float64", "float32", "float16"])
def test_an_array_of_another_type_beside_a_float32_model(kind):
    model = nn.Linear(4, 2)
    f = minidl.compile(lambda x: model(x))
    for i in range(3):
        x = array(i).astype(kind)
        same(f(x), model(x))


def test_gradients_of_tensors_in_a_dict(device):
    f = minidl.compile(lambda d, by: ((d["a"] * d["b"][0]).sum() * by).backward())
    for i in range(1, 4):
        a, b = (tensor(array(k), requires_grad=True, device=device) for k in (i, i + 5))
        f({"a": a, "b": [b]}, 2.0 * i)
        np.testing.assert_allclose(a.grad.numpy(), 2 * i * b.numpy(), rtol=1e-6)
        np.testing.assert_allclose(b.grad.numpy(), 2 * i * a.numpy(), rtol=1e-6)


def test_a_float_that_decides_something_is_refused():
    f = minidl.compile(lambda x, p: F.dropout(x, p=p))
    with pytest.raises(RuntimeError, match=r"A float that is given as an argument.*partial"):
        f(array(0), 0.5)
    with pytest.raises(RuntimeError, match="asked for"):
        minidl.compile(lambda x, s: x * 2 if s > 1 else x)(array(0), 2.0)


def test_a_learning_rate_is_set_outside():
    model = nn.Linear(4, 2)
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x, lr):
        optimizer.lr = lr
        model(x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    with pytest.raises(RuntimeError, match="set it before the call"):
        minidl.compile(step)(array(0), 0.5)


@pytest.mark.parametrize("given", [object(), {1, 2}, len, 1j])
def test_what_is_no_argument_is_refused(given):
    f = minidl.compile(lambda x, what: x)
    for what in (given, [given], {"a": given}):
        with pytest.raises(TypeError, match=rf"got a {type(given).__name__}: use it as a variable"):
            f(array(0), what)


def test_many_trace_are_warned_of_once():
    f = minidl.compile(lambda x, n: x * n)
    for n in range(MANY - 1):
        f(array(0), n)
    with pytest.warns(
        UserWarning, match=rf"<lambda>.* was traced {MANY} times.*as a float"
    ) as seen:
        f(array(0), MANY)
    assert seen[0].filename == __file__
    f(array(0), MANY + 1)
    f(array(0), 1.0 * MANY)


def test_two_threads_halve_what_is_in_a_dict_and_share_a_float():
    found = []
    for options in ({}, {"threads": 2}):
        minidl.manual_seed(1)
        model = nn.Linear(4, 3)
        optimizer = optim.SGD(model.parameters(), 0.1)

        def step(batch, weight, model=model, optimizer=optimizer):
            loss = F.cross_entropy(model(batch["x"]), batch["y"]) * weight
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return {"loss": loss, "weight": weight}

        step = minidl.compile(step, **options)
        for i in range(4):
            result = step({"x": array(i, 8, 4), "y": np.arange(8) % 3}, 0.5 * i)
            assert result["weight"] == 0.5 * i
        found.append(model.state_dict())
    for path, a in found[0].items():
        np.testing.assert_allclose(found[1][path], a, rtol=1e-4, atol=1e-6, err_msg=path)


def test_a_profile_of_a_call_with_names_and_floats():
    f = minidl.compile(lambda d, by: (d["x"] * by).exp())
    f({"x": array(0)}, by=2.0)
    assert {row["line"].split("(")[0] for row in f.profile({"x": array(1)}, by=3.0)} == {
        "np.multiply",
        "np.exp",
    }
    with pytest.raises(ValueError, match="no call with such arguments"):
        f.profile({"x": array(1, 2, 2)}, by=3.0)


def test_a_compiled_function_inside_another_gets_all_kinds_too():
    inner = minidl.compile(lambda d, s, how: d["x"] * s if how == "times" else d["x"] + s)
    outer = minidl.compile(
        lambda x, s: inner({"x": x}, s, how="times") + inner({"x": x}, s, how="plus")
    )
    for i in range(3):
        x = array(i)
        np.testing.assert_allclose(outer(x, 2.0 * i).numpy(), x * 2 * i + x + 2 * i, rtol=1e-5)


def test_a_bare_array_that_is_returned_is_one_at_each_call(device):
    f = minidl.compile(lambda x: (x * 2).data)
    for i in range(3):
        y = f(tensor(array(i), device=device))
        np.testing.assert_array_equal(devices.to_numpy(y), 2 * array(i))
