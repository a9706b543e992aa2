"""New tensors: filled, counted or drawn; joined of several.

The one rule of this file: what is made is float32, on the CPU and asks for no gradient, unless it
is told otherwise; random numbers come from the generator of `manual_seed`.

Explained in course/08.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import advice
from . import ops, shapes
from .devices import device_module
from .tensor import Tensor, listed_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike

    from .tensor import Operand


def zeros(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros, of `shape`: numbers, or a tuple of them."""
    return _filled("zeros", shape, dtype, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones, of `shape`: numbers, or a tuple of them."""
    return _filled("ones", shape, dtype, device, requires_grad)


def rand(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Draws that are uniform in [0, 1), of `shape`: numbers, or a tuple of them."""
    return _drawn(ops.uniform, zeros(*shape, dtype=dtype, device=device), requires_grad)


def randn(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal draws, of `shape`: numbers, or a tuple of them."""
    return _drawn(ops.normal, zeros(*shape, dtype=dtype, device=device), requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    device: str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """The numbers start, start + step, ... below stop; of one number, 0, 1, ... below it.

    dtype: default int64 for whole numbers, else float32.
    """
    if stop is None:
        start, stop = 0, start
    if dtype is None:
        dtype = np.result_type(start, stop, step)
        if dtype.kind == "f":
            dtype = np.float32
    data = device_module(device).arange(start, stop, step, dtype=dtype)
    return Tensor(data, requires_grad=requires_grad)


def zeros_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, type and device of x."""
    return zeros(x.shape, dtype=x.dtype, device=x.device, requires_grad=requires_grad)


def ones_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, type and device of x."""
    return ones(x.shape, dtype=x.dtype, device=x.device, requires_grad=requires_grad)


def rand_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Draws that are uniform in [0, 1), of the shape, type and device of x."""
    return _drawn(ops.uniform, x, requires_grad)


def randn_like(x: Tensor, *, requires_grad: bool = False) -> Tensor:
    """Standard normal draws of the shape, type and device of x."""
    return _drawn(ops.normal, x, requires_grad)


def _filled(name, shape, dtype, device, requires_grad):
    """A leaf of what the array module's function of this name makes."""
    make = getattr(device_module(device), name)
    return Tensor(make(listed_shape(shape), dtype=dtype), requires_grad=requires_grad)


def _drawn(draw, like, requires_grad):
    """A leaf of what `draw` gives; in a compiled function, something else at each run."""
    if like.dtype.kind != "f":
        raise TypeError(f"random numbers are floating-point, not {like.dtype}; convert them after: "
                        'minidl.rand(3).astype("int64")')  # fmt: skip
    y = draw(like)
    y.requires_grad = requires_grad
    return y


def concatenate(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """The arrays of a list joined along `axis`, one of those that they have.

    All have one shape, but for the length of that axis.  PyTorch's cat.
    Raises TypeError for what is no list, ValueError for shapes that do not fit.
    """
    return shapes.concatenate(*_listed("concatenate", arrays, axis), axis=axis)


def stack(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """The arrays of a list, all of one shape, along a new `axis`.

    Raises TypeError for what is no list, ValueError for shapes that do not fit.
    """
    return shapes.stack(_listed("stack", arrays, axis), axis)


def _listed(name, arrays, axis):
    """The arrays, checked."""
    if not isinstance(arrays, (list, tuple)) or not arrays or not isinstance(axis, int):
        got = f"{type(arrays).__name__} and {type(axis).__name__}"
        raise TypeError(
            f"{name}: expected a list of arrays and an axis, {name}([a, b], axis=1), got {got}"
        )
    return arrays


advice.functions(__name__)
