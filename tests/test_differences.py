"""minidl.gradcheck: what it finds, and what it says."""

import re

import numpy as np
import pytest

import minidl
from minidl import nn, tensor
from minidl.engine.tensor import primitive
from minidl.nn import functional as F


@primitive
def wrong_cube(xp, a):
    """The cube, with a gradient that is wrong where a is negative"""
    return a**3


@wrong_cube.gradient
def _(g, y, a):
    return (g * 3 * a * abs(a),)


@primitive
def wrong_slope(xp, a):
    """The cube, with a gradient whose own gradient is wrong"""
    return a**3


@wrong_slope.gradient
def _(g, y, a):
    return (g * 3 * (a * a.detach() if isinstance(a, minidl.Tensor) else a * a),)


X = np.array([[0.5, 1.5], [-0.7, 2.0]])


def test_a_right_gradient_gives_a_report_of_its_worst_element():
    report = minidl.gradcheck(lambda x, y: x.exp() * y + x**3, [X, tensor([2.0, 3.0])])
    first, second = report.splitlines()
    assert first.startswith("first derivative: at worst ")
    assert second.startswith("second derivative: at worst ")
    for line in (first, second):
        assert float(re.search(r"at worst (\S+) apart", line)[1]) < 1e-7
        assert re.search(r"at \([\d, ]+\) of input [01]: gradient \S+, difference \S+$", line)


def test_a_wrong_gradient_raises_and_names_the_place(device):
    x = tensor(X, device=device)
    with pytest.raises(ValueError, match="the gradient is wrong") as caught:
        minidl.gradcheck(wrong_cube, x)
    line = str(caught.value).splitlines()[1]
    assert "at (1, 0) of input 0: gradient -" in line  # -0.7 is the negative one
    values = [float(v) for v in re.findall(r"(?:gradient|difference) (\S+?)(?:,|$)", line)]
    weight = np.random.default_rng(0).uniform(0.5, 1.5, (2, 2))[1, 0]
    np.testing.assert_allclose(values, [-1.47 * weight, 1.47 * weight], rtol=1e-6)


def test_a_wrong_second_derivative_is_found():
    assert minidl.gradcheck(wrong_slope, X, order=1)
    with pytest.raises(ValueError, match="the gradient is wrong") as caught:
        minidl.gradcheck(wrong_slope, X)
    first, second = str(caught.value).splitlines()[1:]
    assert re.search(r"at worst \S+e-\d\d apart", first)
    assert float(re.search(r"at worst (\S+) apart", second)[1]) > 0.1


def test_a_gradient_that_is_missing_is_found():
    with pytest.raises(ValueError, match="or there is none here"):
        minidl.gradcheck(lambda x: x.detach() * 2, X)


def test_what_is_linear_or_constant_is_right():
    assert minidl.gradcheck(lambda x: x.sum(0), X)
    assert minidl.gradcheck(lambda x: (x > 0) * 1.0, X)
    assert minidl.gradcheck(lambda x: x * 2, np.zeros((0, 3)))


def test_whole_numbers_stay_as_they_are():
    logits = np.random.default_rng(1).normal(size=(3, 4))
    assert minidl.gradcheck(F.cross_entropy, [logits, np.array([0, 3, 1])])
    with pytest.raises(TypeError, match="none of the inputs holds floating-point numbers"):
        minidl.gradcheck(lambda x: x, np.array([1, 2]))


def test_a_model_in_float64():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).to(dtype="float64")
    assert minidl.gradcheck(model, X)
    assert minidl.gradcheck(lambda w: F.mse(model(tensor(X)) * w, tensor(X[:, :1])), 2.5)


def test_a_function_that_draws_is_refused():
    with pytest.raises(ValueError, match="something else the second time"):
        minidl.gradcheck(lambda x: F.dropout(x, p=0.5), np.ones(50))


def test_nan_is_no_agreement():
    with pytest.raises(ValueError, match="nan"), np.errstate(all="ignore"):
        minidl.gradcheck(lambda x: (x - 0.5).log(), X)


def test_the_inputs_stay_as_they_were(device):
    x = tensor(X.astype("float32"), device=device, requires_grad=True)
    minidl.gradcheck(lambda x: x * x, [x])
    assert (x.grad, x.dtype, x.device) == (None, "float32", device)
    np.testing.assert_array_equal(x.numpy(), X.astype("float32"))


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="expected a Tensor of the function, got float"):
        minidl.gradcheck(lambda x: x.sum().item(), X)
