"""Whether a gradient is right: beside central differences, to second order.

Explained in course/08.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import advice
from .engine import devices
from .engine.tensor import Tensor, array_of, grad, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .engine.tensor import Operand


class Worst(NamedTuple):
    """The element at which a gradient and the central difference are furthest apart."""

    order: str
    error: float  # their distance, divided by 1 + the size of the difference
    place: tuple[int, ...]
    number: int  # of the input
    analytic: float
    numeric: float

    def __str__(self) -> str:
        return (
            f"{self.order} derivative: at worst {self.error:.1e} apart, at {self.place} of input "
            f"{self.number}: gradient {self.analytic:.9g}, difference {self.numeric:.9g}"
        )


def gradcheck(
    f: Callable[..., Tensor],
    inputs: Operand | Sequence[Operand],
    *,
    order: int = 2,
    step: float = 1e-5,
    tolerance: float = 1e-5,
) -> str:
    """Compare the gradient of `f(*inputs)` with central differences; give a report, or raise.

    inputs: a Tensor or array, or a list of them; floats are taken as float64 copies, and each
    element is moved by `step` up and down; others stay as they are.  order: 1, or 2, for the
    gradient of the gradient too.  The report names the worst element of each.  A model is checked
    in float64, `model.to(dtype="float64")`.
    Raises ValueError, with the report, where they differ by more than tolerance * (1 + the
    difference), or where f gives something else the second time; TypeError where nothing in
    `inputs` is a float.  PyTorch's gradcheck and gradgradcheck.
    """
    if not isinstance(inputs, (list, tuple)):
        inputs = [inputs]
    inputs = [_leaf(x) for x in inputs]
    if not any(x.requires_grad for x in inputs):
        raise TypeError("gradcheck: none of the inputs holds floating-point numbers")
    function = _weighed(f)
    values = [function(*inputs).item() for _ in range(2)]
    if not np.array_equal(values[:1], values[1:], equal_nan=True):
        raise ValueError("gradcheck: the function gives something else the second time (a draw?)")
    found = []
    for name in ("first", "second")[:order]:
        found.append(_worst(name, function, inputs, step))
        function = _slope(function)
    report = "\n".join(map(str, found))
    if not all(worst.error <= tolerance for worst in found):
        raise ValueError(f"gradcheck: the gradient is wrong, or there is none here\n{report}")
    return report


def _leaf(x):
    """A tensor of the values of x, to differentiate by if they are floats."""
    a = array_of(tensor(x))
    if a.dtype.kind == "f":
        a = a.astype("float64")
    return Tensor(a, requires_grad=a.dtype.kind == "f")


def _weighed(f):
    """The sum of what f gives, each element times a number of its own: one number."""

    def function(*xs):
        y = f(*xs)
        if not isinstance(y, Tensor):
            raise TypeError(f"gradcheck: expected a Tensor of the function, got {type(y).__name__}")
        w = np.random.default_rng(0).uniform(0.5, 1.5, y.shape)
        return (y * tensor(w, device=y.device)).sum()

    return function


def _gradients(function, xs, create_graph):
    """The gradients of function(*xs) for those of xs that ask; zeros where it is constant."""
    y = function(*xs)
    asked = [x for x in xs if x.requires_grad]
    if not y.requires_grad:
        return [x.detach() * 0 for x in asked]
    return grad(y, asked, create_graph=create_graph)


def _slope(function):
    """The weighed sum of the gradients of a function, as a function again."""

    def slope(*xs):
        parts = [_weighed(lambda g=g: g)() for g in _gradients(function, xs, True)]
        return sum(parts[1:], parts[0])

    return slope


def _worst(order, function, inputs, step):
    """The worst element of the gradients of a function at `inputs`."""
    gradients = iter(_gradients(function, inputs, False))
    found = [Worst(order, 0.0, (), 0, 0.0, 0.0)]
    for number, x in enumerate(inputs):
        if not x.requires_grad:
            continue
        analytic = next(gradients).numpy()
        if not analytic.size:
            continue
        numeric = _differences(function, inputs, number, step)
        errors = np.abs(analytic - numeric) / (1 + np.abs(numeric))
        place = np.unravel_index(np.argmax(errors), errors.shape)  # of nan, if there is one
        values = float(errors[place]), tuple(map(int, place)), number
        found.append(Worst(order, *values, float(analytic[place]), float(numeric[place])))
    return max(found, key=lambda worst: np.nan_to_num(worst.error, nan=np.inf))


def _differences(function, inputs, number, step):
    """How the function changes with each element of one input, by central differences."""
    before = inputs[number]
    a = devices.to_numpy(before.data)
    found = np.zeros_like(a)
    for place in np.ndindex(a.shape):
        sides = []
        for moved in (step, -step):
            b = a.copy()
            b[place] += moved
            x = tensor(b, device=before.device, requires_grad=True)
            sides.append(function(*inputs[:number], x, *inputs[number + 1 :]).item())
        found[place] = (sides[0] - sides[1]) / (2 * step)
    return found


advice.functions(__name__)
