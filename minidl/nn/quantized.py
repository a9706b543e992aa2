"""Weights in eight bits: a quarter of the memory, for models that are used and no longer trained.

The one rule of this file: a weight is a whole number from -127 to 127 times the scale of its
output; inputs are written so when they come, with one scale for all of them.

Explained in course/25.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np

from ..engine.ops import cast
from ..engine.tensor import Tensor, primitive, without_gradient
from . import functional as F
from .layers import Conv2d, Linear, _check_channels, _check_last, _Layer
from .module import Module

_EXACT = 2**24  # up to here float32 holds every whole number


@without_gradient
@primitive
def byte_scale(xp, x):
    """The step between two neighbours of 256 numbers that reach from min(x, 0) to max(x, 0), ()."""
    below, above = xp.maximum(-x, 0).max(), xp.maximum(x, 0).max()  # (...) -> ()
    step = (above + below) / 255
    return xp.where(step > 0, step, 1).astype(x.dtype)


@without_gradient
@primitive
def in_bytes(xp, x, scale):
    """x (...) / scale () as whole numbers, of 256 neighbours, 0 among them; type and shape stay.

    As ONNX's DynamicQuantizeLinear writes them, less its zero point.
    """
    zero = xp.rint(xp.maximum(-x, 0).max() / scale)  # (...) -> (); in [0, 255]
    return xp.clip(xp.rint(x / scale) + zero, 0, 255) - zero


def _eight_bits(weight, axis):
    """A weight as int8 and the scales of its outputs, which lie along `axis`: (D, K) and (K,)."""
    rest = tuple(i for i in range(weight.ndim) if i != axis)
    largest = abs(weight).max(axis=rest, keepdims=True)  # (D, K) -> (1, K)
    scale = np.where(largest > 0, largest, 1) / np.float32(127)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1)  # (1, K) -> (K,)


class _Quantized(_Layer):
    """What both layers share: weight, int8; scale, one for each output; bias, or None."""

    axis: int  # of the outputs in the weight

    def __init__(self, layer: Linear | Conv2d) -> None:
        weight, scale = _eight_bits(layer.weight.numpy(), self.axis)
        self.weight, self.scale, self.bias = Tensor(weight), Tensor(scale), None
        if layer.bias is not None:
            self.bias = Tensor(layer.bias.numpy())
        self.n_in, self.n_out, self.options = layer.n_in, layer.n_out, getattr(layer, "options", {})
        self.to(layer.weight.device)

    def _parts(self, x):
        """x and the weight as whole numbers in a type that holds their sums, and x's scale."""
        if x.requires_grad:
            raise RuntimeError(
                f"{self!r} has no way back: where x is written in whole numbers the "
                "slope is 0; ask for gradients of the model before quantize"
            )
        scale = byte_scale(x)
        terms = self.weight.size // self.n_out
        dtype = np.float64 if 255 * 127 * terms >= _EXACT else np.float32
        return cast(in_bytes(x, scale), dtype=dtype), cast(self.weight, dtype=dtype), scale

    def extra(self) -> str:
        return f"{self.n_in}, {self.n_out}"


class QuantizedLinear(_Quantized):
    """A Linear whose weight is in eight bits, made from one.  x (..., n_in) -> (..., n_out)."""

    axis = 1

    def forward(self, x: Tensor) -> Tensor:
        _check_last(self, x, self.n_in)
        q, w, scale = self._parts(x)
        y = cast(q @ w, dtype=x.dtype) * (scale * self.scale)  # (..., n_in) @ (n_in, n_out)
        if self.bias is None:
            return y
        return y + self.bias


class QuantizedConv2d(_Quantized):
    """A Conv2d whose weight is in eight bits, made from one.

    x (N, n_in, H, W) -> (N, n_out, OH, OW).
    """

    axis = 0

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n_in, "H", "W")
        q, w, scale = self._parts(x)
        y = cast(F.conv2d(q, w, **self.options), dtype=x.dtype)
        y = y * (scale * self.scale).reshape(-1, 1, 1)  # (n_out,) -> (n_out, 1, 1)
        if self.bias is None:
            return y
        return y + self.bias.reshape(-1, 1, 1)  # (n_out,) -> (n_out, 1, 1)


_KINDS = {Linear: QuantizedLinear, Conv2d: QuantizedConv2d}


def quantize(model: Module) -> Module:
    """A copy of `model`, in evaluation, in which each Linear and Conv2d has weights of eight bits.

    Each weight is off by at most half a scale, which is the largest weight of its output by 127.
    So the file is a quarter as large; onnxruntime is quicker with it, and minidl is not, for NumPy
    has no quick product of whole numbers.  It cannot be trained: its parameters ask for no
    gradient, and RuntimeError is raised where x does.  The model itself stays.
    Raises ValueError for a model with nothing to quantise.
    Symmetric, by output, dynamic: Jacob et al. 2018; PyTorch's quantize_dynamic.
    """
    if not isinstance(model, Module):
        raise TypeError(f"quantize: expected a Module, got {type(model).__name__}")
    found = _changed(deepcopy(model), {})
    if not any(isinstance(part, _Quantized) for _, part in found.modules()):
        raise ValueError(
            f"quantize: {type(model).__name__} holds no Linear or Conv2d; quantise a model before "
            "it is exported, for what onnx.load reads has neither"
        )
    for p in found.parameters():
        p.requires_grad = False
    return found.eval()


def _changed(part: Any, known: dict[Any, Module]) -> Any:
    """The part with all layers in it changed, in place where it is a module, a list or a dict.

    known: each module that was met -> what it became, so that a shared one stays shared.
    """
    if isinstance(part, tuple):
        return tuple(_changed(inner, known) for inner in part)
    if isinstance(part, list):
        part[:] = [_changed(inner, known) for inner in part]
    elif isinstance(part, dict):
        part.update({key: _changed(inner, known) for key, inner in part.items()})
    elif isinstance(part, Module) and part not in known:
        known[part] = part
        if type(part) in _KINDS:
            known[part] = _KINDS[type(part)](part)
        for name, inner in [*vars(part).items()]:
            if isinstance(inner, (Module, list, tuple, dict)):
                setattr(part, name, _changed(inner, known))
    return known.get(part, part) if isinstance(part, Module) else part
