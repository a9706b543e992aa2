"""Tensor: leaves, the walk back, when a graph is freed, and what bad input is told."""

import copy
import gc
import operator
import pickle
import re
import subprocess
import sys
import threading
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minidl
from minidl import nn
from minidl.engine import devices, ops, reductions, shapes
from minidl.engine.intercept import intercepted
from minidl.engine.tensor import (  # fmt: skip
    Primitive,
    Tensor,
    handlers,
    primitive,
    primitives,
    tensor,
    without_gradient,
)
from minidl.train import debug


def leaf(values, device=None, dtype="float64"):
    return tensor(values, dtype=dtype, device=device, requires_grad=True)


def values(x):
    return None if x is None else x.numpy().tolist()


# ---- a tensor by itself


def test_made_of_what_and_of_which_type():
    assert tensor(1.5).dtype == "float32"
    assert tensor([[1.0, 2.0]]).dtype == "float32"
    assert tensor([]).dtype == "float32"
    assert tensor([1, 2]).dtype == "int64"
    assert tensor([True]).dtype == "bool"
    assert tensor(np.float64(1)).dtype == "float64"
    assert tensor(np.ones(2)).dtype == "float64"
    assert tensor(np.ones(2), dtype="float32").dtype == "float32"
    assert tensor([1, 2], dtype="float64").dtype == "float64"
    assert tensor(tensor([1, 2])).dtype == "int64"


def test_is_a_copy_and_a_leaf(device):
    source = np.ones(3)
    x = tensor(source, device=device)
    source[0] = 5
    assert values(x) == [1, 1, 1]
    again = tensor(leaf([2.0], device) * 2)
    assert (again.requires_grad, again.op, again.device) == (False, None, device)
    copied = tensor(x)
    copied.data[0] = 7.0
    assert values(x) == [1, 1, 1]


def test_properties(device):
    x = tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device=device)
    assert (x.shape, x.ndim, x.size, x.dtype, x.device) == ((2, 3), 2, 6, "float32", device)
    assert x.T.shape == (3, 2)
    assert len(x) == 2
    assert [values(row) for row in x] == [[1, 2, 3], [4, 5, 6]]
    assert x.grad is None
    assert {x: "usable as a key"}[x]


def test_repr(device):
    x = leaf([1.0, 2.0], device)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x + 1) == "tensor([2., 3.], from add)"
    assert repr(x.detach()) == "tensor([1., 2.])"
    assert repr(tensor(3)) == "tensor(3)"
    assert repr(tensor([[1], [2]])) == "tensor([[1],\n        [2]])"
    assert repr(ops.add) == "<primitive add>"


def test_as_a_number(device):
    x = tensor([[2.5]], device=device)
    assert x.item() == 2.5
    assert type(x.item()) is float
    assert float(x) == 2.5
    assert type(tensor(3, device=device).item()) is int
    assert bool(tensor(1.0, device=device)) is True
    assert bool(tensor([0], device=device)) is False
    with pytest.raises(ValueError, match=r"item: expected one element, got shape \(2,\)"):
        tensor([1, 2], device=device).item()
    with pytest.raises(ValueError, match=r"\(2,\) has not one truth value; .any\(\) or"):
        bool(tensor([1, 2], device=device))
    with pytest.raises(TypeError, match="0-d"):
        len(tensor(1, device=device))


def test_numpy_shares_memory_on_the_cpu_and_copies_elsewhere(device):
    x = tensor([1.0, 2.0], device=device)
    x.numpy()[0] = 5
    assert values(x) == ([5, 2] if device == "cpu" else [1, 2])


def test_detach_forgets_the_history_and_shares_memory(device):
    x = leaf([1.0, 2.0], device)
    y = (x * 2).detach()
    assert (y.requires_grad, y.op, y.inputs) == (False, None, ())
    z = x.detach()
    z.data[0] = 9.0
    assert values(x) == [9, 2]


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_a_copy_is_a_leaf_of_its_own(copied):
    a = tensor([2.0, 3.0], requires_grad=True)
    (a * a).sum().backward()
    b = copied(a)
    assert b.grad is None and b.op is None and b.requires_grad and b.number != a.number
    a.grad = None
    (b * (a * a)).sum().backward()  # through both: the gradients must not meet
    assert a.grad.numpy().tolist() == [8, 18] and b.grad.numpy().tolist() == [4, 9]
    from minidl.nn import Linear

    layer = copied(Linear(2, 3))
    assert layer(a).shape == (3,) and len(layer.parameters()) == 2


def test_to_another_device_and_back(device):
    x = leaf([1.0, 2.0])
    y = x.to(device)
    assert (y.device, values(y), y.requires_grad, y.op) == (device, [1, 2], True, None)
    assert y.to(device) is y
    assert values(y.to("cpu")) == [1, 2]


def test_numpy_array_and_tensor(device):
    array = devices.to_device(np.array([1.0, 2.0]), device)
    x = leaf([3.0, 5.0], device)
    for y, expected in [
        *[(array + x, [4, 7]), (x + array, [4, 7]), (array - x, [-2, -3]), (array * x, [3, 10])],
        *[(array / x, [1 / 3, 0.4]), (array @ x, 13), (array**x, [1, 32]), (array < x, [True] * 2)],
        *[(np.float64(2) * x, [6, 10]), (np.float64(2) - x, [-1, -3]), (np.int64(1) + x, [4, 6])],
    ]:
        assert isinstance(y, Tensor)
        assert y.device == device
        np.testing.assert_allclose(values(y), expected, rtol=1e-15)
    assert values(minidl.grad((array * x).sum(), x)[0]) == [1, 2]


def test_functions_of_numpy_refuse_a_tensor():
    """They would make an array of objects, one Tensor in each place."""
    x, array = leaf([3.0, 5.0]), np.ones(2)
    for mistake in (
        lambda: np.exp(x),
        lambda: np.add(x, array),
        lambda: np.add(array, x, out=array),
        lambda: np.add.reduce(x),
        lambda: operator.iadd(array, x.detach()),
    ):
        with pytest.raises(TypeError, match="does not compute with Tensors: use the operators"):
            mistake()


@pytest.mark.parametrize("sign", "+ - * / ** @ // % & | == != < <= > >=".split())
@pytest.mark.parametrize("kind", [np.ndarray, np.generic])
def test_an_array_may_stand_on_the_left_of_an_operator(sign, kind):
    array, other = np.array([3, 5, 2]), np.array([2, 3, 2])
    if kind is np.generic and sign != "@":
        array = array[0]
    found = eval(f"a {sign} b", {"a": array, "b": tensor(other)})
    assert isinstance(found, Tensor)
    np.testing.assert_array_equal(found.numpy(), eval(f"a {sign} b", {"a": array, "b": other}))


def test_size_is_one_of_pythons_numbers():
    """One of another kind, that could be called, would make float32 float64."""
    x = tensor(np.ones((2, 3), "float32"))
    assert type(x.size) is int and (x * x.size).dtype == (x.data * x.size).dtype == "float32"


def test_a_whole_number_is_an_index(device):
    i = tensor(2, device=device)
    assert ["a", "b", "c"][i] == "c" and list(range(i)) == [0, 1] and int(tensor([2.7])) == 2
    with pytest.raises(TypeError, match="cannot be interpreted as an integer"):
        ["a"][tensor(0.0)]


# --- methods that are made of operations ---------------------------------------------------

METHODS = {
    "x.min()": "x.amin()",
    "x.min(1)": "x.amin(1)",
    "x.min((0, 2), keepdims=True)": "x.amin((0, 2), keepdim=True)",
    "x.var()": "x.var(correction=0)",
    "x.var(1, ddof=1)": "x.var(1, correction=1)",
    "x.var((0, 2), keepdims=True)": "x.var((0, 2), correction=0, keepdim=True)",
    "x.std(-1)": "x.std(-1, correction=0)",
    "x.std(0, True, ddof=1)": "x.std(0, keepdim=True)",
    "x.clip(-0.5, 0.7)": "x.clamp(-0.5, 0.7)",
    "x.clip(0)": "x.clamp(min=0)",
    "x.clip(high=0.0)": "x.clamp(max=0)",
    "abs(x)": "abs(x)",
    "x.abs()": "x.abs()",
    "x.sigmoid()": "x.sigmoid()",
    "x.relu()": "x.relu()",
    "x.sin() + x.cos()": "x.sin() + x.cos()",
}


# The same with NumPy's arrays, where it has another name for it or none.
OF_ARRAYS = {
    "x.clip(0)": "np.maximum(x, 0)",
    "x.clip(high=0.0)": "np.minimum(x, 0)",
    "x.abs()": "np.where(x < 0, -x, x)",
    "x.sigmoid()": "1 / (1 + np.exp(-x))",
    "x.relu()": "x * (x > 0)",
    "x.sin() + x.cos()": "np.sin(x) + np.cos(x)",
}
MORE = [
    "x.sum()", "x.sum(1)", "x.sum((0, 2), True)", "x.mean()", "x.mean(1)", "x.mean(-1, True)",
    "x.max()", "x.max(1)", "x.max(0, True)", "x.max((0, 2), keepdims=True)", "x.min(1, True)",
    "x.std()", "x.std((0, 2), True)", "x.var(2, True, ddof=2)", "x.argmax()", "x.argmax(1, True)",
    "x.argmin(2)", "x.argmin(0, True)", "(x > 1).any(1)", "(x > 1).any(0, True)", "(x > 1).any()",
    "(x > -1).all(1)", "(x > -1).all(0, True)", "(x > -1).all()", "x.reshape(4, 6)",
    "x.reshape((8, -1))",
    "x.transpose()", "x.transpose(2, 0, 1)", "x.transpose((1, 0, 2))", "x.T", "x.astype(int)",
    "x.astype('float32')", "x[1]", "x[:, 1:, ::2]", "x[..., -1]", "x[[0, 1], [2, 0]]",
]  # fmt: skip


@pytest.mark.parametrize("ours", [*METHODS, *MORE])
def test_methods_equal_numpy(ours, device):
    a = np.random.default_rng(3).normal(size=(2, 3, 4))
    a.flat[:2] = 0.7, -0.5  # at the limits of clip
    found = eval(ours, {"x": tensor(a, device=device)})
    theirs = OF_ARRAYS.get(ours, ours).replace(", True", ", keepdims=True")
    expected = eval(theirs, {"x": a, "np": np})
    assert (found.device, found.dtype) == (device, expected.dtype)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, strict=True)


@pytest.mark.parametrize("ours", METHODS)
def test_methods_equal_pytorch(ours, torch):
    a = np.random.default_rng(3).normal(size=(2, 3, 4))
    a.flat[:2] = 0.7, -0.5  # at the limits of clip
    x, t = tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    y, expected = eval(ours, {"x": x}), eval(METHODS[ours], {"x": t})
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-12)
    (g,) = minidl.grad((y * y).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((expected * expected).sum(), t, create_graph=True)
    np.testing.assert_allclose(g.numpy(), h.detach().numpy(), rtol=1e-9, atol=1e-12)
    second, third = minidl.grad((g * g).sum(), x), torch.autograd.grad((h * h).sum(), t)
    np.testing.assert_allclose(second[0].numpy(), third[0].numpy(), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("ours", METHODS)
def test_methods_are_the_same_on_every_device_and_compiled(ours, device):
    def slope(x):
        y = eval(ours, {"x": x})
        return y, minidl.grad((y * y).sum(), x)[0]

    rng = np.random.default_rng(4)
    step = minidl.compile(slope)
    for _ in range(2):  # the second time, it is the compiled one that runs
        a = rng.normal(size=(2, 3, 4)).astype("float32")
        expected = slope(leaf(a))
        for f in (slope, step):
            found = f(tensor(a, device=device, requires_grad=True))
            for one, other in zip(found, expected):
                assert (one.device, one.dtype) == (device, "float32")
                np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def test_methods_pass_the_gradient_check():
    x = np.random.default_rng(5).normal(size=(3, 4))
    for ours in METHODS:
        if "(0, 2)" not in ours:
            minidl.gradcheck(lambda x, ours=ours: eval(ours, {"x": x}), x)


def test_any_all_argmax_and_argmin(device):
    x = tensor([[0.0, 5.0, 5.0], [-1.0, -1.0, 2.0]], device=device)
    assert x.argmax().item() == 1 and x.argmax(1).numpy().tolist() == [1, 2]
    assert x.argmin(1).numpy().tolist() == [0, 0] and x.argmin(0, True).shape == (1, 3)
    assert [bool((x > 2).any()), bool((x > 9).any()), bool((x > -2).all())] == [True, False, True]
    assert (x > 0).all(0).numpy().tolist() == [False, False, True]
    small = tensor(np.array([0, 5, 250], "uint8"), device=device)
    assert (small.min().item(), small.argmin().item()) == (0, 0)


def test_the_variance_of_too_few_is_nan(device):
    assert np.isnan(tensor([1.0], device=device).var(ddof=1).item())
    empty = tensor(np.zeros((0, 2), "float32"), device=device)
    np.testing.assert_array_equal(empty.std(0).numpy(), [np.nan, np.nan])
    assert tensor([1.0], device=device).var().item() == 0
    for keepdims, shape in ((False, (0,)), (True, (0, 1))):
        assert empty.var(1, keepdims).shape == shape


def test_whole_numbers_and_truth_values(device):
    a, b = tensor([7, -7, 5], device=device), tensor([2, 2, 3], device=device)
    assert (a // b).numpy().tolist() == [3, -4, 1] and (a % 3).numpy().tolist() == [1, 2, 2]
    assert ((a > 0) & (b > 2)).numpy().tolist() == [False, False, True]
    assert (~(a > 0) | (b > 2)).numpy().tolist() == [False, True, True]
    assert (True & (a > 0)).dtype == bool and (10 % b).numpy().tolist() == [0, 0, 1]
    for mistake in (lambda: a % 0.5, lambda: (a * 1.0) // 2, lambda: 7.5 % b):
        with pytest.raises(TypeError, match="// and % are for whole numbers"):
            mistake()
    with pytest.raises(TypeError, match="bit_and"):
        (a * 1.0) & b


def test_mean_of_nothing_is_nan(device):
    for axis in (None, 0, 1):
        with np.errstate(invalid="ignore"):
            y = tensor(np.zeros((0, 3)), device=device).mean(axis)
        assert y.shape == np.zeros((0, 3)).sum(axis).shape
        np.testing.assert_array_equal(np.isnan(y.numpy()), True)


# ---- backward


def test_gradient_lands_in_the_leaves(device):
    x, w, fixed = (
        leaf([1.0, 2.0], device),
        leaf([3.0, 4.0], device),
        tensor([5.0, 6.0], device=device),
    )
    inner = x * w
    (inner * fixed).sum().backward()
    assert (values(x.grad), values(w.grad)) == ([15, 24], [5, 12])
    assert (inner.grad, fixed.grad) == (None, None)
    assert (x.grad.dtype, x.grad.device, x.grad.requires_grad) == ("float64", device, False)


def test_gradients_add_up(device):
    x = leaf([1.0, 2.0], device)
    (x * 2).sum().backward()
    first = x.grad
    (x * 3).sum().backward()
    assert values(x.grad) == [5, 5]
    assert values(first) == [2, 2], "the earlier gradient is a value of its own"


def test_a_variable_used_twice(device):
    x = leaf([1.0, 3.0], device)
    y = x * x + x
    (y * y + x).sum().backward()
    a = np.array([1.0, 3.0])
    np.testing.assert_allclose(values(x.grad), 2 * (a * a + a) * (2 * a + 1) + 1)


def test_one_input_twice_in_one_operation():
    x = leaf([1.0, 2.0])
    minidl.concatenate([x, x * 1, x]).backward(np.arange(6.0))
    assert values(x.grad) == [0 + 2 + 4, 1 + 3 + 5]


def test_a_leaf_is_its_own_result(device):
    x = leaf([[2.0]], device)
    x.backward()
    assert values(x.grad) == [[1]]


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_given_gradient(kind, device):
    x = leaf([1.0, 2.0], device)
    g = devices.to_device(np.array([10.0, 100.0]), device)
    (x * x).backward(Tensor(g) if kind == "tensor" else g)
    assert values(x.grad) == [20, 400]


def test_given_gradient_as_a_list():
    x = leaf([1.0, 2.0], dtype="float32")
    (x * x).backward([10.0, 100.0])
    assert (values(x.grad), x.grad.dtype) == ([20, 400], "float32")


def test_gradients_do_not_alias(device):
    """`add` hands one array on to both inputs; adding to one gradient must not change another."""
    x, w = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    g = tensor([1.0, 1.0], dtype="float64", device=device)
    y = x + w
    y.backward(g, retain_graph=True)
    kept = w.grad
    y.backward(g, retain_graph=True)
    (x * 5).sum().backward()
    assert (values(x.grad), values(w.grad)) == ([7, 7], [2, 2])
    assert (values(kept), values(g)) == ([1, 1], [1, 1])


@pytest.mark.slow
def test_a_chain_of_100_000_operations(device):
    x = y = leaf(1.0, device)
    for _ in range(100_000):
        y = y + 1.0
    y.backward()
    assert (y.item(), x.grad.item()) == (100_001, 1)


def test_a_chain_of_100_000_operations_is_dropped_without_a_walk():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    first = weakref.ref(y.inputs[0])
    del y
    assert first() is None
    assert x.grad is None


def test_a_diamond_repeated_is_walked_once():
    """Forty times y + y: a walk along every path would take 2**40 steps."""
    x = y = leaf(1.0)
    for _ in range(40):
        y = y + y
    y.backward()
    assert x.grad.item() == 2**40


def test_retain_graph(device):
    x = leaf([1.0, 2.0], device)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert values(x.grad) == [4, 8]
    with pytest.raises(RuntimeError, match=r"record .*'sum' was freed .*retain_graph=True"):
        y.backward()


def test_create_graph(device):
    x = leaf([1.0, 2.0], device)
    (x**3).sum().backward(create_graph=True)
    first, x.grad = x.grad, None
    assert first.requires_grad
    first.sum().backward()
    assert (values(first), values(x.grad)) == ([3, 12], [6, 12])


def test_create_graph_without_retaining_it():
    x = leaf(2.0)
    y = x * x
    y.backward(create_graph=True, retain_graph=False)
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()


def test_third_derivative(device):
    x = leaf([0.5, 1.0], device)
    y = ops.sin(x)
    for expected in (np.cos, lambda a: -np.sin(a), lambda a: -np.cos(a)):
        (y,) = minidl.grad(y.sum(), x, create_graph=True)
        np.testing.assert_allclose(values(y), expected(np.array([0.5, 1.0])), rtol=1e-14)


def test_backward_is_not_recorded_unless_asked(device):
    x = leaf([1.0], device)
    (x * x).backward()
    assert (x.grad.requires_grad, x.grad.op) == (False, None)


def test_an_integer_result_asks_for_no_gradient(device):
    x = leaf([1.5, 2.5], device)
    whole = x.astype("int64")
    assert (whole.requires_grad, whole.op) == (False, None)
    (x * whole).sum().backward()
    assert values(x.grad) == [1, 2]


def test_widths_meet_at_a_leaf(device):
    """A float64 result of a float32 leaf; integers and booleans on the way ask for nothing."""
    x = leaf([1.0, 2.0], device, dtype="float32")
    wide = tensor([3.0, 4.0], dtype="float64", device=device)
    whole = tensor([2, 2], device=device)
    y = x * wide * whole
    assert y.dtype == "float64"
    y.sum().backward()
    assert (values(x.grad), x.grad.dtype) == ([6, 8], "float32")


# ---- grad


def test_grad_leaves_dot_grad_alone(device):
    x, w = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    to_x, to_w = minidl.grad((x * w).sum(), [x, w])
    assert (values(to_x), values(to_w), x.grad, w.grad) == ([3, 4], [1, 2], None, None)


def test_grad_of_several_outputs(device):
    x = leaf([1.0, 2.0], device)
    outputs = [(x * 2).sum(), (x * x).sum()]
    assert values(minidl.grad(outputs, x, retain_graph=True)[0]) == [4, 6]
    given = [tensor(1.0, device=device), tensor(10.0, device=device)]
    assert values(minidl.grad(outputs, x, given)[0]) == [22, 42]
    assert values(minidl.grad((x * x, x), x, [x, x])[0]) == [3, 10]


def test_grad_of_one_output_twice():
    x = leaf(3.0)
    y = x * x
    assert minidl.grad([y, y], x)[0].item() == 12


def test_grad_for_a_result_on_the_way(device):
    x = leaf([1.0, 2.0], device)
    y = x * x
    to_y, to_x = minidl.grad((y * y).sum(), [y, x])
    assert (values(to_y), values(to_x)) == ([2, 8], [4, 32])


def test_grad_for_what_was_not_used(device):
    x, unused = leaf([1.0, 2.0], device), leaf([[1.0], [2.0]], device, dtype="float32")
    to_unused, to_x = minidl.grad((x * x).sum(), [unused, x])
    assert (values(to_unused), to_unused.dtype, to_unused.device) == ([[0], [0]], "float32", device)
    assert values(to_x) == [2, 4]


def test_grad_for_one_input_asked_twice():
    x = leaf(3.0)
    assert [g.item() for g in minidl.grad(x * x, [x, x])] == [6, 6]


def test_grad_wants_a_gradient_for_each_output():
    x = leaf(3.0)
    with pytest.raises(ValueError, match="argument"):
        minidl.grad([x * 1, x * 2, x * 3], x, [x, x])


# ---- no_grad, replaced


def test_no_grad_as_context_and_decorator():
    x = leaf(2.0)

    @minidl.no_grad()
    def double(x):
        return x * 2

    with minidl.no_grad():
        inside = x * 2
        with minidl.no_grad():
            pass
        still = x * 2
    for y in (inside, still, double(x), double(x)):
        assert (y.requires_grad, y.op, y.inputs, y.item()) == (False, None, (), 4)
    assert (x * 2).requires_grad


def test_no_grad_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), minidl.no_grad():
        raise ZeroDivisionError
    assert (leaf(2.0) * 2).requires_grad


def test_no_grad_belongs_to_a_thread():
    x, found = leaf(2.0), []

    def work():
        found.append((x * 2).requires_grad)
        with minidl.no_grad():
            inside.set()
            leave.wait(10)

    inside, leave = threading.Event(), threading.Event()
    with minidl.no_grad():
        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(10)
    found.append((x * 2).requires_grad)
    leave.set()
    thread.join()
    assert found == [True, True]


def test_backward_inside_no_grad():
    x = leaf(2.0)
    y = x * x
    with minidl.no_grad():
        y.backward()
    assert x.grad.item() == 4


def test_a_failing_rule_leaves_recording_on():
    def fails(g, y, a):
        raise ZeroDivisionError

    x = leaf(2.0)
    with minidl.replaced("exp", gradient=fails), pytest.raises(ZeroDivisionError):
        x.exp().backward()
    assert (x * x).requires_grad


def test_replaced():
    x = leaf([1.0, 2.0])
    before = ops.exp.forward, ops.exp.rule
    with minidl.replaced("exp", forward=lambda xp, a: a * 10) as op:
        assert op is ops.exp
        y = x.exp()
        assert values(y) == [10, 20]
    with minidl.replaced("exp", gradient=lambda g, y, a: (g * 7,)):
        assert values(minidl.grad(x.exp().sum(), x)[0]) == [7, 7]
        np.testing.assert_allclose(values(x.exp()), np.exp([1, 2]))
    assert (ops.exp.forward, ops.exp.rule) == before


def test_replaced_puts_back_after_an_error():
    before = ops.exp.forward
    with pytest.raises(ZeroDivisionError), minidl.replaced("exp", forward=lambda xp, a: 1 / 0):
        leaf(1.0).exp()
    assert ops.exp.forward is before


def test_only_wanted_gradients_are_computed():
    called = []

    def rule(g, y, a, b):
        return lambda: called.append("a") or g * b, lambda: called.append("b") or g * a

    x, fixed = leaf(2.0), tensor(3.0)
    with minidl.replaced("mul", gradient=rule):
        (fixed * x).backward()
        (2.0 * x).backward()
    assert called == ["b", "a"], "2.0 * x is x * 2.0"


# ---- intercepted


def naming(seen, mark=""):
    """A handler that goes on, and leaves the operation's name in `seen`."""

    def handler(op, inputs, attrs):
        seen.append(mark + op.name)
        return op(*inputs, **attrs)

    return handler


def test_intercepted_sees_every_operation_and_goes_on(device):
    x, seen = leaf([1.0, 2.0], device), []
    with intercepted(naming(seen)) as outer:
        y = (x * x).sum(axis=0) + np.float64(1)
    assert outer is None and not handlers
    y.backward()
    assert (seen, y.item(), values(x.grad)) == (["mul", "sum", "add"], 6, [2, 4])


def test_intercepted_gets_inputs_and_attributes_and_gives_the_result():
    x = leaf([[1.0, 2.0]])
    with intercepted(lambda op, inputs, attrs: (op, inputs, attrs)):
        op, inputs, attrs = x.sum(axis=1)
    assert op is primitives["sum"] and inputs[0] is x
    assert (len(inputs), attrs) == (1, {"axis": 1, "keepdims": False})


def test_intercepted_from_the_inside_out():
    x, seen = leaf(1.0), []
    with intercepted(naming(seen, "outer ")):
        with intercepted(naming(seen, "inner ")) as outer:
            x.exp()
            assert outer is not None
        x.log()
    x.sqrt()
    assert seen == ["inner exp", "outer exp", "outer log"]


def test_a_handler_may_use_operations_of_its_own():
    x = leaf([4.0])
    with intercepted(lambda op, inputs, attrs: (x + 1).log()):
        assert values(x * 100) == values((x + 1).log()) == pytest.approx([np.log(5)])


def test_intercepted_ends_with_an_error():
    def fails(op, inputs, attrs):
        raise ZeroDivisionError

    seen = []
    with intercepted(naming(seen)):
        with pytest.raises(ZeroDivisionError), intercepted(fails):
            leaf(2.0) * 2
        leaf(2.0) * 2
    assert seen == ["mul"] and not handlers


def test_intercepted_belongs_to_a_thread():
    x, seen = leaf(2.0), []
    with intercepted(naming(seen)):
        thread = threading.Thread(target=lambda: x * 2)
        thread.start()
        thread.join()
    assert seen == []


def test_intercepted_sees_a_backward_pass_that_is_recorded():
    x, seen = leaf(2.0), []
    y = x * x * x
    with intercepted(naming(seen)):
        (g,) = minidl.grad(y, x, create_graph=True)
    assert seen.count("mul") == 4 and g.item() == 12
    assert minidl.grad(g, x)[0].item() == 12


# ---- a graph is freed with its last result


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def garbage():
    """What of minidl only the collector frees; what other tests left behind is not asked about."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        places = [getattr(one, "__module__", None) or "" for one in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    return [place for place in places if str(place).partition(".")[0] == "minidl"]


def network(x):
    """A result, and weak references to all that it was made of."""
    parts = [x]
    parts.append(parts[-1] @ parts[-1])
    parts.append(parts[-1][0:1, [0, 1]])
    parts.append((parts[-1] - parts[-1].max(1, True)).exp())
    parts.append(minidl.concatenate([parts[-1], parts[1]]))
    parts.append(ops.maximum(parts[-1], 0.5) ** 2)
    parts.append(reductions.logsumexp(parts[-1]))
    result = parts[-1].mean()
    return result, [weakref.ref(part) for part in parts[1:]]


def alive(references):
    return [ref() for ref in references if ref() is not None]


def test_a_cycle_of_tensors_is_noticed(collector_off):
    x = leaf([1.0])
    x.grad = x
    del x
    assert garbage() == ["minidl.engine.tensor"]


@pytest.mark.slow
def test_a_graph_dies_with_its_result(collector_off):
    y, references = network(leaf([[1.0, 2.0], [3.0, 4.0]]))
    assert len(alive(references)) == len(references)
    del y
    assert alive(references) == []
    assert garbage() == []


@pytest.mark.slow
def test_a_graph_dies_as_backward_passes(collector_off):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    y, references = network(x)
    y.backward()
    assert alive(references) == []
    assert y.inputs is None
    del y
    assert garbage() == []


@pytest.mark.slow
def test_a_graph_dies_after_a_recorded_backward(collector_off):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    y, references = network(x)
    (g,) = minidl.grad(y, x, create_graph=True)
    references.append(weakref.ref(g))
    (g * g).sum().backward()
    del y, g
    assert alive(references) == []
    x.grad = None
    assert garbage() == []


def test_a_graph_dies_after_an_error(collector_off):
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    y, references = network(x)
    try:
        (y * x).backward()
    except RuntimeError:
        del y
    assert alive(references) == []


def test_gradients_die_as_backward_passes(collector_off):
    """All but the newest, or the way back would take as much memory as the way there."""
    seen, left = [], []

    def spy(g, y, a):
        left.append(len(alive(seen[:-1])))
        seen.append(weakref.ref(g))
        return (g * (1 - y * y),)

    y = x = leaf([0.1, 0.2])
    with minidl.replaced("tanh", gradient=spy):
        for _ in range(5):
            y = y.tanh()
        y.sum().backward()
    assert left == [0] * 5
    assert x.grad is not None


# ---- broadcasting

SHAPES = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3)


@pytest.mark.parametrize("name", ["add", "mul"])
@given(shapes=SHAPES, seed=st.integers(0, 99))
def test_gradients_have_the_shapes_of_the_inputs(name, shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(shape) for shape in shapes.input_shapes)
    w = rng.standard_normal(shapes.result_shape)
    x, z = leaf(a), leaf(b)
    y = primitives[name](x, z)
    assert y.shape == shapes.result_shape
    gradients = minidl.grad(y, [x, z], w)
    wide = (w, w) if name == "add" else (w * b, w * a)
    for found, expected, shape in zip(gradients, wide, shapes.input_shapes):
        extra = w.ndim - len(shape)
        expected = expected.sum(tuple(range(extra)))
        ones = tuple(i for i, n in enumerate(shape) if n == 1)
        expected = expected.sum(ones, keepdims=True)
        assert found.shape == shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@given(
    shapes=hnp.mutually_broadcastable_shapes(
        signature="(n,k),(k,m)->(n,m)", max_dims=2, min_side=0, max_side=3
    )
)
def test_matmul_broadcasts_as_numpy_does(shapes):
    a, b = (np.random.default_rng(0).standard_normal(shape) for shape in shapes.input_shapes)
    x, z = leaf(a), leaf(b)
    y = x @ z
    np.testing.assert_allclose(y.numpy(), a @ b, rtol=1e-12, atol=1e-12)
    to_x, to_z = minidl.grad(y.sum(), [x, z])
    assert (to_x.shape, to_z.shape) == (a.shape, b.shape)


# ---- bad input


def test_integers_have_no_gradients():
    with pytest.raises(TypeError, match=r"this holds int64; use .astype\('float32'\) first"):
        tensor([1, 2], requires_grad=True)
    with pytest.raises(TypeError, match="holds bool"):
        tensor([True], requires_grad=True)


def test_backward_on_more_than_one_element():
    with pytest.raises(RuntimeError, match=r"one element, this one has shape \(2,\); reduce it"):
        (leaf([1.0, 2.0]) * 2).backward()


def test_backward_without_a_record():
    x = leaf([1.0])
    with minidl.no_grad():
        unrecorded = x * 2
    for y in (tensor([1.0]), tensor([1.0]) * 2, x.detach(), unrecorded, x > 0):
        with pytest.raises(RuntimeError, match=r"no record to go back through.*requires_grad=True"):
            y.backward()
        with pytest.raises(RuntimeError, match="no record"):
            minidl.grad(y, x)


def test_backward_through_a_freed_part():
    x = leaf(1.0)
    shared = x * 2
    (shared * 3).backward()
    with pytest.raises(RuntimeError, match="'mul' was freed by an earlier backward"):
        (shared + 1).backward()


def test_a_gradient_of_the_wrong_shape():
    y = leaf([1.0, 2.0]) * 2
    for wrong in (tensor([1.0]), np.ones((2, 1)), 1.0):
        with pytest.raises(ValueError, match=r"gradient has shape \(.*\), the tensor \(2,\)"):
            y.backward(wrong)


def test_grad_of_what_is_no_tensor():
    with pytest.raises(TypeError, match="expected a Tensor to go back from, got float"):
        minidl.grad([1.0], leaf(1.0))


def test_mixed_devices_are_both_named():
    here, there = leaf([1.0]), leaf([1.0], "standin")
    for mix in (
        lambda: here + there,
        lambda: there @ here,
        lambda: minidl.concatenate([here, there]),
        lambda: here + there.data,
        lambda: there * here.data,
        lambda: here[tensor([0], device="standin")],
    ):
        with pytest.raises(TypeError, match=r"numpy and standin; move one with .to\(device\)"):
            mix()


def test_a_gradient_from_another_device():
    y = leaf([1.0, 2.0]) * 2
    with pytest.raises(TypeError, match="numpy and standin"):
        y.backward(tensor([1.0, 1.0], device="standin"))


def test_only_numbers_make_a_tensor():
    for wrong in (None, "abc", [leaf(1.0), leaf(2.0)], [[1.0], None]):
        with pytest.raises((TypeError, ValueError)):
            tensor(wrong)


def test_a_tensor_without_axes_has_no_items():
    with pytest.raises(TypeError, match="0-d"):
        list(tensor(1.0))
    with pytest.raises(IndexError, match=r"getitem: .* \(\)"):
        tensor(1.0)[0]


def test_an_error_of_numpy_is_explained_whatever_its_class():
    with pytest.raises(TypeError, match=r"add: cannot work on shapes \(1,\) and 1"):
        Tensor(np.array(["a"])) + 1


def test_unknown_operation_to_replace():
    with (
        pytest.raises(KeyError, match=r"no operation is called 'expp'; there are .*'exp'"),
        minidl.replaced("expp"),
    ):
        pass


def test_lists_are_no_operands():
    x = leaf([1.0, 2.0])
    for mistake in (lambda: x * [1.0, 2.0], lambda: [1.0, 2.0] - x, lambda: ops.exp([1.0])):
        with pytest.raises(TypeError, match=r"got list: \[1.0.*minidl.tensor\(...\)"):
            mistake()
    with pytest.raises(TypeError, match="got NoneType"):
        x * None


def test_an_unknown_device():
    with pytest.raises(ValueError, match='unknown device \'gpu\'; expected "cpu" or "cuda"'):
        tensor([1.0], device="gpu")
    with pytest.raises(ValueError, match="unknown device"):
        leaf([1.0]).to("gpu")


def test_reshape_and_transpose_name_what_they_were_given():
    x = leaf(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"reshape: .*\(2, 3\) with shape=\(4, 2\)"):
        x.reshape(4, 2)
    with pytest.raises(ValueError, match=r"transpose: .*\(2, 3\) with axes=\(0, 0\)"):
        x.transpose(0, 0)
    with pytest.raises(ValueError, match=r"sum: .*\(2, 3\) with axis=2"):
        x.sum(2)
    with pytest.raises(ValueError, match=r"max: .*\(0, 3\)"):
        leaf(np.ones((0, 3))).max(0)


def test_misfitting_shapes_name_the_operation_and_both():
    for name, wrong in [("add", (2, 4)), ("mul", (2,)), ("matmul", (2, 3)), ("maximum", (3, 3))]:
        with pytest.raises(ValueError) as caught:
            primitives[name](leaf(np.ones((2, 3))), leaf(np.ones(wrong)))
        assert str(caught.value).startswith(f"{name}: cannot work on shapes (2, 3) and {wrong}")


def test_pieces_of_a_number_add_up():
    for f in (
        lambda x: x[None] + x * 2 + x * 3,
        lambda x: x * 2 + x * 3 + x[None],
        lambda x: x[None] + x[..., None] + x * 4,
    ):
        x = tensor(2.0, requires_grad=True)
        assert minidl.grad(f(x).sum(), x)[0].item() == 6


@pytest.mark.parametrize(
    "weight, others",
    [
        ((6, 5), (3, 6)),
        ((5, 6), (6, 3)),
        ((3, 6, 5), (2, 6)),
        ((6, 1), (3, 6)),
        ((4, 3), (2, 3, 5)),
    ],
    ids=["x @ w", "w @ x", "batch of w", "narrow", "batch of x"],
)
def test_products_of_a_weight_that_is_used_often(weight, others, device):
    """The walk that is recorded multiplies each alone; the other joins what may wait."""
    rng = np.random.default_rng(0)
    w = tensor(rng.standard_normal(weight), requires_grad=True, device=device)
    xs = [tensor(rng.standard_normal(others), device=device) for _ in range(10)]
    left = others[-1] == weight[-2]
    loss = sum(((x @ w if left else w @ x) ** 2).sum() for x in xs)
    (alone,) = minidl.grad(loss, w, create_graph=True)
    (joined,) = minidl.grad(loss, w)
    np.testing.assert_allclose(joined.numpy(), alone.numpy(), rtol=1e-12)


def test_sums_in_place_change_nothing_that_others_hold(device):
    x = tensor(np.arange(6.0), requires_grad=True, device=device)
    y = x[1:4] + x[2:5] + x[:3] * x[3:] + (x + x)[:3]
    given = tensor(np.ones(3), device=device)
    y.backward(given)
    np.testing.assert_array_equal(x.grad.numpy(), [5, 7, 9, 2, 2, 2])
    assert given.numpy().tolist() == [1, 1, 1]


# ---- in place


def test_a_parameter_is_changed_where_it_is(device):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).to(device)
    before, parts = model.state_dict(), model.parameters()
    arrays = [p.data for p in parts]
    x = tensor(np.ones((4, 3), "f"), device=device)
    model(x).sum().backward()
    with minidl.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    assert [id(p) for p in model.parameters()] == [id(q) for q in parts]
    assert [id(p.data) for p in parts] == [id(a) for a in arrays]
    for path, p in model.named_parameters():
        expected = devices.to_numpy(before[path]) - np.float32(0.1) * p.grad.numpy()
        np.testing.assert_array_equal(p.numpy(), expected)
        assert p.requires_grad and p.op is None


CHANGES = {
    "+=": (operator.iadd, operator.add),
    "-=": (operator.isub, operator.sub),
    "*=": (operator.imul, operator.mul),
    "/=": (operator.itruediv, operator.truediv),
    "**=": (operator.ipow, operator.pow),
    "@=": (operator.imatmul, operator.matmul),
}


@pytest.mark.parametrize("how", CHANGES)
def test_every_name_and_every_view_sees_a_change(how, device):
    change, same = CHANGES[how]
    x = tensor([[1.0, 2.0], [3.0, 4.0]], device=device)
    y = tensor([[2.0, 1.0], [0.5, 3.0]], device=device)
    alias, row, turned, apart = x, x[0], x.T, x.detach()
    expected = same(x, y).numpy()
    x = change(x, y)
    assert x is alias and x.dtype == "float32" and not x.requires_grad
    for found in (x, apart, turned.T):
        np.testing.assert_array_equal(found.numpy(), expected)
    np.testing.assert_array_equal(row.numpy(), expected[0])


@pytest.mark.parametrize("how", CHANGES)
def test_a_recorded_change_has_the_gradient_of_the_plain_operation(how, device):
    change, same = CHANGES[how]
    found = []
    for f in (change, same):
        w = leaf([[1.0, 2.0], [3.0, 4.0]], device)
        v = leaf([[2.0, 1.0], [0.5, 3.0]], device)
        y = w * 0.3
        alias = y
        y = f(y, v)
        assert (y is alias) == (f is change)
        y = f(y, y)
        found.append([y, *minidl.grad((y * y).sum(), [w, v])])
    for a, b in zip(*found):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_a_sum_of_losses(device):
    w = leaf([1.0, 2.0], device)
    total, zero = 0, tensor(0.0, dtype="float64", device=device)
    for k in range(3):
        total += (k * w * w).sum()
        zero += (k * w * w).sum()
    for loss in (total, zero):
        np.testing.assert_array_equal(minidl.grad(loss, w)[0].numpy(), [6, 12])


def test_a_type_stays_when_a_recorded_tensor_is_changed():
    w, v = leaf([1.0], dtype="float32"), leaf([2.0], dtype="float64")
    y = w * 1
    y += v
    y.sum().backward()
    assert (y.dtype, w.grad.dtype, v.grad.dtype) == ("float32", "float32", "float64")


def test_where_a_change_would_lose_a_gradient_it_raises(device):
    def leaf_outside(w, x):
        w -= x

    def element_of_a_leaf(w, x):
        w[0] = 1.0

    def element_of_a_result(w, x):
        y = w * 2
        y[0] = 1.0

    def element_gets_a_result(w, x):
        x[0] = w[1]

    def part_of_another(w, x):
        x[0] += w[0]

    def view_of_a_result(w, x):
        y = (w * 2).reshape(1, 3)
        y += 1

    def result_without_record(w, x):
        y = w * 2
        with minidl.no_grad():
            y += 1

    for wrong in (leaf_outside, element_of_a_leaf, element_of_a_result, element_gets_a_result,
                  part_of_another, view_of_a_result, result_without_record):  # fmt: skip
        w, x = leaf([1.0, 2.0, 3.0], device), tensor(np.arange(3.0), device=device)
        with pytest.raises(RuntimeError, match=r"x = \.\.\.|minidl\.where"):
            wrong(w, x)
        assert values(w) == [1, 2, 3] and values(x) == [0, 1, 2], wrong.__name__


def test_a_backward_through_what_was_changed_raises(device):
    def a_leaf(w, x, y):
        with minidl.no_grad():
            w *= 2

    def data(w, x, y):
        x += 1

    def an_element(w, x, y):
        x[1] = 7

    def a_view(w, x, y):
        part = x[1:]
        part *= 2

    def the_result(w, x, y):
        y += 1
        return y * y, False

    def what_it_is_made_of(w, x, y):
        z = y * y
        y += 1
        return z, True

    for change in (a_leaf, data, an_element, a_view, what_it_is_made_of, the_result):
        w, x = leaf([1.0, 2.0, 3.0], device), tensor(np.arange(3.0), device=device)
        y = w * x
        y, wrong = change(w, x, y) or (y, True)
        if wrong:
            with pytest.raises(RuntimeError, match=r"result of mul.* was changed since"):
                y.sum().backward()
            assert w.grad is None, change.__name__
        else:
            y.sum().backward()
            assert values(w.grad) == [0, 6, 28]
        (w * x).sum().backward()  # made after the change


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), (2, 0, 2)])
def test_where_there_is_nothing_there_is_nothing_to_change(shape, compiled, device):
    """NumPy gives such an array steps of 0, as one that was broadcast has."""

    def change(x):
        y = x * 1.0
        y += 1.0
        y[...] = 2.0
        part = y[..., :1]
        part += y.sum()
        return y

    x = minidl.zeros(*shape, device=device)
    assert (minidl.compile(change) if compiled else change)(x).shape == shape
    minidl.zeros(*shape, device=device, requires_grad=True).sum().backward()


def test_a_change_that_does_not_fit_changes_nothing(device):
    cases = [
        (lambda x: operator.iadd(x, np.ones((2, 3))), TypeError if device != "cpu" else ValueError),
        (lambda x: operator.iadd(x, tensor(np.ones((2, 3)), device=device)), ValueError),
        (lambda x: operator.imatmul(x, x), ValueError),
        (lambda x: operator.iadd(x, [1.0, 2.0, 3.0]), TypeError),
        (lambda x: operator.iadd(x, 1j), TypeError),
        (lambda x: operator.setitem(x, 0, [1.0, 2.0]), TypeError),
        (lambda x: operator.setitem(x, slice(2), tensor(np.ones(3), device=device)), ValueError),
        (lambda x: operator.setitem(x, 5, 1.0), IndexError),
        (lambda x: operator.setitem(x, 0, None), TypeError),
    ]
    for change, error in cases:
        x = tensor([1.0, 2.0, 3.0], device=device)
        with pytest.raises(error):
            change(x)
        assert values(x) == [1, 2, 3]
    whole = tensor([1, 2], device=device)
    for change in (lambda: operator.itruediv(whole, 2), lambda: operator.setitem(whole, 0, 0.5)):
        with pytest.raises(TypeError, match="int64 cannot hold float64"):
            change()
    assert values(whole) == [1, 2]
    spread = shapes.broadcast_to(tensor([1.0], device=device), shape=(3,))
    with pytest.raises(RuntimeError, match="one place in memory"):
        spread[0] = 5.0


def test_elements_are_written_like_numpys(device):
    a = np.arange(12.0).reshape(3, 4)
    x, i = tensor(a, device=device), tensor([0, 2], device=device)
    x[1] = 5
    x[0, 1] = tensor(7.0, device=device)
    x[:, 3] += 1
    x[i] *= 2
    x[x > 9] = 0
    x[2][0] = 3  # into a view
    a[1], a[0, 1] = 5, 7
    a[:, 3] += 1
    a[[0, 2]] *= 2
    a[a > 9] = 0
    a[2, 0] = 3
    np.testing.assert_array_equal(x.numpy(), a)


def test_gradients_are_changed_one_at_a_time(device):
    """A rule may give one array to several: a change of one gradient must not reach another."""
    a, b = leaf([1.0, 2.0], device), leaf([3.0, 4.0], device)
    given = tensor(np.ones(2), device=device)
    for create_graph in (False, True):
        for y, g in (((a + b).sum(), None), (a + b, given), ((a + b).reshape(1, 2)[0], given)):
            a.grad = b.grad = None
            y.backward(g, create_graph=create_graph)
            with minidl.no_grad():
                a.grad *= 3
                a.grad[0] = 9
            assert (values(a.grad), values(b.grad), values(given)) == ([9, 3], [1, 1], [1, 1])
    first, second = minidl.grad((a + b).sum(), [a, b])
    first /= 2
    assert (values(first), values(second)) == ([0.5, 0.5], [1, 1])


def test_only_arrays_become_data_and_only_fitting_tensors_grad(device):
    p = nn.Parameter(tensor([1.0, 2.0], device=device))
    p.grad = tensor([1.0, 1.0], device=device)
    for wrong in (p - 0.1 * p.grad, p.data - 0.1 * p.grad, [1.0, 2.0], 0.5, None):
        for x in (p, tensor([1.0, 2.0], device=device)):
            with pytest.raises(TypeError, match=r"\.data must be an array, got .*no_grad\(\)"):
                x.data = wrong
            assert values(x) == [1, 2]
    for wrong in (p.data, 1.0, tensor([1.0], device=device), [1.0, 1.0]):
        with pytest.raises(ValueError, match=r"None or a Tensor of shape \(2,\), got"):
            p.grad = wrong
    assert values(p.grad) == [1, 1]
    p.data = p.data - 0.1 * p.grad.data
    np.testing.assert_allclose(p.numpy(), [0.9, 1.9], rtol=1e-6)
    number = leaf(2.0)
    number.data = number.data - 0.5  # a NumPy scalar
    with minidl.no_grad():
        number -= 0.5
    assert number.item() == 1


def test_in_place_in_a_compiled_function(device):
    def step(x):
        nonlocal w
        w.grad = None
        y = w * x
        y += x
        loss = 0
        for part in (y, y * y):
            loss += part.sum()
        loss.backward()
        w.grad *= 0.5
        with minidl.no_grad():
            w -= 0.01 * w.grad
            count[0] += 1
            count[1:] *= 2
        return loss

    found = []
    for run in (lambda f: f, minidl.compile):
        w = leaf([1.0, 2.0, 3.0], device)
        count = tensor([0.0, 1.0, 1.0], device=device)
        f = run(step)
        losses = [f(tensor([1.0, 2.0, 4.0 + k], dtype="float64", device=device)) for k in range(4)]
        found.append([*losses, w, count])
    for a, b in zip(*found):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12)
    assert values(count) == [4, 16, 16]


def test_a_compiled_function_says_what_it_cannot_write(device):
    x, i = tensor([1.0, 2.0, 3.0], device=device), tensor([0, 1], device=device)
    w, outside = leaf([1.0], device), tensor(np.zeros(1), device=device)

    def picked(y):
        x[i] = 0.0
        return x + y

    def recorded(y):
        total = outside
        total += (w * y).sum()
        return total

    with pytest.raises(RuntimeError, match=r"only slices and single elements"):
        minidl.compile(picked)(tensor(1.0, device=device))
    with pytest.raises(RuntimeError, match=r"not made in the function that is compiled"):
        minidl.compile(recorded)(tensor(np.ones(1), device=device))
    assert values(x) == [1, 2, 3] and values(outside) == [0] and outside.op is None


# ---- own operations


def test_a_rule_gives_a_gradient_for_each_input():
    def f(xp, a, b):
        return a * b

    op = Primitive(f)
    w = leaf([1.0, 2.0])
    for wrong, got in [
        (lambda g, y, a, b: (g * b,), "gave 1, where 2"),
        (lambda g, y, a, b: (g * b, g * a, None), "gave 3, where 2"),
        (lambda g, y, a, b: g * b, "gave ndarray, where 2"),
        (lambda g, y, a, b: None, "gave NoneType, where 2"),
        (lambda g, y, a, b: (part for part in (g, g)), "gave generator, where 2"),
        (lambda g, y, a, b: (g[:1], g * a), r"gave ndarray of shape \(1,\) .* shape \(2,\)"),
        (lambda g, y, a, b: (1.0, g * a), "gave float of shape"),
        (lambda g, y, a, b: (lambda: g[None, :1].T, None), r"gave ndarray of shape \(1, 1\)"),
    ]:
        op.gradient(wrong)
        for inputs in ((w, w), (w, leaf([3.0, 4.0])), (w, 2.0)):
            for create_graph in (False, True):
                with pytest.raises(RuntimeError, match=r"the gradient rule of f " + got.replace(
                    "ndarray", "(ndarray|Tensor)"
                )):  # fmt: skip
                    op(*inputs).sum().backward(create_graph=create_graph)
    op.gradient(lambda g, y, a, b: [g * b, lambda: g * a])
    assert values(minidl.grad(op(w, w).sum(), w)[0]) == [2, 4]


def test_a_gradient_of_a_turned_shape_is_refused():
    def turned(xp, a):
        return a.T

    op = Primitive(turned)
    op.gradient(lambda g, y, a: (g,))
    with pytest.raises(RuntimeError, match=r"of turned gave .* shape \(3, 2\) for .* \(2, 3\)"):
        op(leaf(np.ones((2, 3)))).sum().backward()


def test_without_a_rule_a_walk_back_raises_unless_this_is_said(device):
    def f(xp, a):
        return a * 2

    w = leaf([1.0], device)
    op = Primitive(f)
    with pytest.raises(RuntimeError, match=r"operation f has no gradient rule.*without_gradient"):
        (op(w).sum() + w.sum()).backward()
    assert op(w).requires_grad and not op(w.detach()).requires_grad
    op = without_gradient(op)
    (op(w).sum() + w.sum()).backward()
    assert values(w.grad) == [1]
    with debug.stop_at_nan(), pytest.raises(RuntimeError, match=r"gave (ndarray|StandinArray)"):
        op.gradient(lambda g, y, a: g)
        op(w).sum().backward()


def test_names_are_not_taken_over_unawares():
    def add(xp, a, b):
        return a - b

    with pytest.raises(
        ValueError, match=r"add already, of minidl.engine.ops: .* minidl.replaced\('add'"
    ):
        primitive(add)
    assert (tensor(1.0) + 1).item() == 2

    def mine(xp, a):
        return a

    first = primitive(mine)
    try:
        assert primitive(mine) is primitives["mine"] is not first, "a cell that runs twice"
        mine.__module__ = "another"
        with pytest.raises(ValueError, match=f"mine already, of another|of {__name__}"):
            primitive(types.FunctionType(mine.__code__, globals(), "mine"))
    finally:
        del primitives["mine"]


# ---- NumPy


FUNCTIONS = {
    "asarray": np.asarray,
    "stack": lambda t: np.stack([t, t]),
    "concatenate": lambda t: np.concatenate((t, t), axis=1),
    "array of several": lambda t: np.array([t, t]),
    "dot": lambda t: np.dot(t, t),
    "mean": lambda t: np.mean(t, axis=0),
    "sum": np.sum,
    "max": lambda t: np.max(t),
    "argmax": np.argmax,
    "where": lambda t: np.where(t, t, 0),
    "transpose": np.transpose,
    "reshape": lambda t: np.reshape(t, (4,)),
    "norm": np.linalg.norm,
    "isclose": lambda t: np.isclose(t, t),
    "split": lambda t: np.stack(np.split(t, 2)),
    "by keyword": lambda t: np.clip(t, 0, a_max=t),
    "float64": lambda t: np.asarray(t, dtype="float64"),
    "assigned": lambda t: operator.setitem(a := np.zeros((2, 2)), slice(None), t) or a,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_sees_numbers_or_says_that_the_gradient_would_be_lost(name, device):
    f, a = FUNCTIONS[name], np.array([[1.0, 2.0], [3.0, 4.0]], "f")
    found = f(tensor(a, device=device))
    assert type(found) in (np.ndarray, np.float32, np.int64) and found.dtype != object
    np.testing.assert_array_equal(found, f(a), strict=True)
    w = leaf(a, device)
    for lost in (w, w * 2):
        with pytest.raises(TypeError, match=r"lose the gradient .*minidl.stack.*\.detach"):
            f(lost)
    np.testing.assert_array_equal(f((w * 1).detach()), f(a.astype("d")), strict=True)


def test_numpy_saves_numbers(tmp_path):
    np.save(tmp_path / "t.npy", tensor([1.0, 2.0]))
    assert np.load(tmp_path / "t.npy", allow_pickle=False).tolist() == [1, 2]
    np.savez(tmp_path / "t.npz", t=tensor([1, 2]))
    assert np.load(tmp_path / "t.npz", allow_pickle=False)["t"].dtype == "int64"
    with pytest.raises(TypeError, match="lose the gradient"):
        np.save(tmp_path / "w.npy", leaf([1.0]))


def test_an_array_of_a_tensor_is_a_copy_where_one_is_asked_for():
    x = tensor([1.0, 2.0])
    assert np.asarray(x) is x.data or np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(x, dtype="int64", copy=False)


def test_an_array_to_the_left_still_asks_the_tensor():
    w = leaf([1.0, 2.0])
    for y in (np.ones(2) + w, np.ones(2) @ w, np.float32(2) * w, np.ones(2) == w):
        assert isinstance(y, Tensor)
    with pytest.raises(TypeError):
        np.exp(w)


def test_numpy_is_told_while_a_graph_is_recorded(device):
    f = minidl.compile(lambda x: tensor(np.mean(x)))
    with pytest.raises(RuntimeError, match="asked for while a graph was traced"):
        f(tensor([1.0, 2.0], device=device))


def test_a_rule_that_gives_a_number_is_named():
    """For an input without axes a number looks right, and is no array."""

    @minidl.engine.tensor.primitive
    def same_for_now(xp, a):
        return a * 1

    @same_for_now.gradient
    def _(g, y, a):
        return (1.0,)

    try:
        with pytest.raises(RuntimeError, match="same_for_now gave float of shape None"):
            same_for_now(tensor(2.0, requires_grad=True)).backward()
    finally:
        del minidl.engine.intercept.primitives["same_for_now"]


def test_all_methods_work_where_nothing_else_of_minidl_was_imported():
    """`tensor([1.0]).max()` was a KeyError until somebody imported nn."""
    asked = set(
        re.findall(
            r'primitives\["(\w+)"\]',
            Path(sys.modules["minidl.engine.tensor"].__file__).read_text(encoding="utf-8"),
        )
    )
    assert {"max", "getitem", "sum_to"} <= asked
    program = (
        "import minidl; from minidl.engine.tensor import primitives; print(*primitives);"
        "minidl.tensor([1.0, 2.0]).max()"
    )
    known = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert not known.returncode, known.stderr
    assert asked <= set(known.stdout.split())


@pytest.mark.parametrize("value, dtype", [(200, "int8"), (-1, "uint8"), (2**40, "int32")])
def test_numbers_that_a_type_cannot_hold_are_refused(value, dtype):
    """As an array of int64 first they would begin again at the other end."""
    with pytest.raises(OverflowError, match="out of bounds"):
        tensor([value], dtype=dtype)


def test_what_is_no_number_is_none_with_a_dtype_either():
    for wrong in (["3"], [None], ["3", 4]):
        with pytest.raises(TypeError, match="made of numbers"):
            tensor(wrong, dtype="int64")
    assert tensor([1, 2], dtype="float32").dtype == "float32"
    assert tensor([3.7], dtype="int64").numpy().tolist() == [3], "as in NumPy"
    assert tensor(np.int64([200]), dtype="int8").numpy().tolist() == [-56], "of an array, too"


def test_rows_of_several_lengths_are_refused():
    with pytest.raises(ValueError, match=r"rows .* one length, got \[\[1, 2\], \[3\]\]; data\.pad"):
        tensor([[1, 2], [3]])
    with pytest.raises(ValueError, match="rows of a nested list"):
        tensor([[1, 2], [3]], dtype="int64")


def test_a_product_of_shapes_that_do_not_fit_says_which_axes():
    x = tensor(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"matmul: .* \(4, 3\) and \(4, 3\): the last axis"):
        x @ x


def test_no_grad_without_brackets():
    with pytest.raises(TypeError, match=r"it is called no_grad\(\)"):

        @minidl.no_grad
        def f(x):
            return x
