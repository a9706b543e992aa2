"""Layers: modules that own parameters, and those that only compute.

The one rule of this file: a layer checks and stores what it is told, and `forward` calls one
function of functional.py, or one operation.  Parameters are drawn as PyTorch draws them.

Explained in course/09, course/13 (norms, dropout), course/14 (convolution, pooling) and
course/18 (embedding).
"""

import math
import warnings
from typing import Any

import numpy as np

from ..engine import intercept, ops, random
from ..engine.checks import check_whole
from ..engine.tensor import Tensor, array_of
from . import functional as F
from .functional import Size
from .module import Module, Parameter, Sequential, as_tensor


def _uniform(shape, bound):
    draws = random.generator().random(shape, dtype=np.float32)
    return (2 * draws - 1) * np.float32(bound)


def _weight_and_bias(shape, n_out, fan_in, bias):
    """A weight of `shape` and a bias (n_out,), or None for it, uniform in ±1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in)
    weight = Parameter(_uniform(shape, bound))
    return weight, Parameter(_uniform((n_out,), bound)) if bias else None


# ---- what a layer checks: the numbers that it is told, and the shape of x


def check_counts(layer: Module, **counts: int) -> None:
    """Raise ValueError unless each of `counts` is a whole number from 1.  layer: who was told."""
    check_whole(type(layer).__name__, **counts)


def check_cut(layer: Module, what: str, parts: int, *numbers: int) -> None:
    """Raise ValueError unless each of `numbers` can be cut into so many equal parts.

    what: a sentence for the error with {} where the numbers and then the parts stand.
    """
    if parts < 1 or any(n % parts for n in numbers):
        raise ValueError(f"{type(layer).__name__}: {what.format(*numbers, parts)}")


_DOUBLE = np.dtype("float64")
_said = []  # whether a layer has warned of float64: once is enough


def check_type(layer: Module, x: Any, weight: Tensor) -> None:
    """Warn, once in a process, if x is float64 and the layer's weight is not.

    The result, and all that is made of it, would be float64: twice the time and the memory.
    """
    if x.dtype == _DOUBLE and weight.dtype != _DOUBLE and not _said:
        warnings.warn(
            f"{layer!r} got float64 and has weights of {weight.dtype}, so it computes in float64, "
            'which takes twice the time: give it x.astype("float32"); or, where float64 is meant, '
            'model.to(dtype="float64").  This is said once.',
            stacklevel=2,
        )
        _said.append(True)


def _check_sizes(layer, **sizes):
    """Raise ValueError unless each of `sizes` is a whole number, or a pair of them: from 1, and
    for a padding from 0.
    """
    if sizes["padding"] == "same":
        raise ValueError(f"{type(layer).__name__}: padding must be numbers, got 'same', which is "
                         "size // 2 for an odd size")  # fmt: skip
    for name, size in sizes.items():
        for n in size if isinstance(size, (tuple, list)) else [size]:
            check_whole(type(layer).__name__, int("padding" not in name), **{name: n})


def _check_images(layer, x):
    """Raise ValueError unless x is (N, C, H, W)."""
    if x.ndim != 4:
        raise ValueError(f"{layer!r}: expected x (N, C, H, W), got {x.shape}; one is x[None]")


def _check_last(layer, x, n):
    """Raise ValueError unless x is (..., n)."""
    if x.shape[-1:] != (n,):
        raise ValueError(f"{layer!r}: expected x of shape (..., {n}), got {x.shape}")
    check_type(layer, x, layer.weight)


def _check_channels(layer, x, n, *axes):
    """Raise ValueError unless x is (N, n, *axes).  axes: their names; if none, any may follow."""
    if x.ndim < 2 or x.shape[1] != n or len(axes) not in (0, x.ndim - 2):
        shape = ", ".join(["N", str(n), *(axes or ["..."])])
        raise ValueError(f"{layer!r}: expected x ({shape}), got {x.shape}; one sample is x[None]")
    check_type(layer, x, layer.weight)


class _Layer(Module):
    """A module that is given one x: a Tensor, or what `tensor` makes one of, such as a list."""

    def __call__(self, x: Any, *more: Any, **options: Any) -> Tensor:
        return super().__call__(as_tensor(x), *more, **options)


class Linear(_Layer):
    """x @ weight + bias.  x (..., n_in) -> (..., n_out); weight (n_in, n_out), bias (n_out,).

    PyTorch keeps the transpose, (n_out, n_in).  Both start uniform in ±1/sqrt(n_in), as there.
    """

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        check_counts(self, n_in=n_in, n_out=n_out)
        self.n_in, self.n_out = n_in, n_out
        self.weight, self.bias = _weight_and_bias((n_in, n_out), n_out, n_in, bias)

    def forward(self, x: Tensor) -> Tensor:
        _check_last(self, x, self.n_in)
        y = x @ self.weight  # (..., n_in) @ (n_in, n_out) -> (..., n_out)
        return y if self.bias is None else y + self.bias

    def extra(self) -> str:
        bias = ", bias=False" if self.bias is None else ""
        return f"{self.n_in}, {self.n_out}{bias}"


class Flatten(_Layer):
    """All axes but the first made one.  x (N, ...) -> (N, product of the rest)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # (N, ...) -> (N, product)


class ReLU(_Layer):
    """max(x, 0), element by element; the shape stays."""

    forward = staticmethod(ops.relu)


class GELU(_Layer):
    """`functional.gelu`, element by element; the shape stays."""

    forward = staticmethod(F.gelu)


class Tanh(_Layer):
    """The hyperbolic tangent, element by element; the shape stays."""

    forward = staticmethod(ops.tanh)


class Sigmoid(_Layer):
    """1 / (1 + exp(-x)), element by element; the shape stays."""

    forward = staticmethod(ops.sigmoid)


class LeakyReLU(_Layer):
    """x where it is positive, else slope * x; slope in [0, 1), the shape stays."""

    def __init__(self, slope: float = 0.01) -> None:
        F.check_share("LeakyReLU", "slope", slope)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, slope=self.slope)

    def extra(self) -> str:
        return f"{self.slope}"


class Dropout(_Layer):
    """`functional.dropout`: in training, each element is 0 with probability p; the shape stays.

    p in [0, 1).  In evaluation x stays as it is.
    """

    def __init__(self, p: float = 0.5) -> None:
        F.check_share("Dropout", "p", p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, p=self.p, training=self.training)

    def extra(self) -> str:
        return f"{self.p}"


# ---- convolution and pooling

# The options of a convolution and what each is if nothing is said; `repr` shows the others.
_DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0}


class _Convolution(_Layer):
    """What the layers of convolution share: weight (A, B, *size), bias (n_out,) and options.

    Both start uniform in ±1/sqrt(B * the product of size).
    """

    def __init__(
        self, n_in: int, n_out: int, shape: tuple[int, ...], bias: bool, **options: Any
    ) -> None:
        _check_sizes(self, **options)
        self.n_in, self.n_out, self.size = n_in, n_out, shape[2:]
        self.options = options
        self.weight, self.bias = _weight_and_bias(shape, n_out, math.prod(shape[1:]), bias)

    def extra(self) -> str:
        changed = [f", {k}={v}" for k, v in self.options.items() if v != _DEFAULTS[k]]
        return f"{self.n_in}, {self.n_out}, {self.size}" + "".join(changed)

    def _check(self, n_in, n_out, groups):
        check_counts(self, n_in=n_in, n_out=n_out, groups=groups)
        check_cut(self, "{} and {} channels cannot be cut into {} groups", groups, n_in, n_out)


class Conv2d(_Convolution):
    """`functional.conv2d` with weights of its own.  x (N, n_in, H, W) -> (N, n_out, OH, OW).

    size, stride, padding, dilation: a number, or a pair (H, W).  weight (n_out, n_in / groups,
    KH, KW) and bias (n_out,) start uniform in ±1/sqrt(n_in / groups * KH * KW), as in PyTorch.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._check(n_in, n_out, groups)
        shape = n_out, n_in // groups, *F.pair(size)
        super().__init__(
            n_in, n_out, shape, bias, stride=stride, padding=padding, dilation=dilation,
            groups=groups,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n_in, "H", "W")
        return F.conv2d(x, self.weight, self.bias, **self.options)


class Conv1d(_Convolution):
    """`functional.conv1d` with weights of its own.  x (N, n_in, T) -> (N, n_out, OT).

    weight (n_out, n_in / groups, K) and bias (n_out,) start uniform in
    ±1/sqrt(n_in / groups * K), as in PyTorch.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int | tuple[int],
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self._check(n_in, n_out, groups)
        shape = n_out, n_in // groups, F.pair(size)[0]
        super().__init__(
            n_in, n_out, shape, bias, stride=stride, padding=padding, dilation=dilation,
            groups=groups,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n_in, "T")
        return F.conv1d(x, self.weight, self.bias, **self.options)


class ConvTranspose2d(_Convolution):
    """`functional.conv_transpose2d` with weights of its own, which makes images larger.

    x (N, n_in, H, W) -> (N, n_out, OH, OW).  size, stride, padding, output_padding: a number, or a
    pair (H, W).  weight (n_in, n_out, KH, KW) and bias (n_out,) start uniform in
    ±1/sqrt(n_out * KH * KW), as in PyTorch.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        *,
        bias: bool = True,
    ) -> None:
        self._check(n_in, n_out, groups=1)
        super().__init__(
            n_in, n_out, (n_in, n_out, *F.pair(size)), bias, stride=stride, padding=padding,
            output_padding=output_padding,
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n_in, "H", "W")
        return F.conv_transpose2d(x, self.weight, self.bias, **self.options)


class MaxPool2d(_Layer):
    """`functional.max_pool2d`: the largest element of each window.

    x (N, C, H, W) -> (N, C, OH, OW).  size, stride, padding: a number, or a pair (H, W); stride:
    default the size.
    """

    function = staticmethod(F.max_pool2d)

    def __init__(self, size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        if stride is None:
            stride = size
        _check_sizes(self, size=size, stride=stride, padding=padding)
        self.size, self.options = size, {"stride": stride, "padding": padding}

    def forward(self, x: Tensor) -> Tensor:
        _check_images(self, x)
        return self.function(x, self.size, **self.options)

    def extra(self) -> str:
        return f"{self.size}"


class AvgPool2d(MaxPool2d):
    """`functional.avg_pool2d`: the mean of each window.

    x (N, C, H, W) -> (N, C, OH, OW).  Options: as MaxPool2d's.
    """

    function = staticmethod(F.avg_pool2d)


class GlobalAvgPool2d(_Layer):
    """The mean of each channel.  x (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        _check_images(self, x)
        return x.mean((2, 3))  # (N, C, H, W) -> (N, C)


# ---- norms, embedding, residuals


class _Norm(_Layer):
    """What the norms share: weight (n,), which starts at 1, and eps, which is added to a square."""

    def __init__(self, n: int, eps: float = 1e-5) -> None:
        check_counts(self, n=n)
        self.n, self.eps = n, eps
        self.weight = Parameter(np.ones(n, dtype=np.float32))

    def extra(self) -> str:
        return f"{self.n}"


class RMSNorm(_Norm):
    """`functional.rms_norm` times weight (n,), which starts at 1.  x (..., n); the shape stays."""

    def forward(self, x: Tensor) -> Tensor:
        _check_last(self, x, self.n)
        return F.rms_norm(x, eps=self.eps) * self.weight


class _Standardised(_Norm):
    """What the layers that standardise share: weight (n,), which starts at 1, bias (n,), at 0."""

    def __init__(self, n: int, eps: float = 1e-5) -> None:
        super().__init__(n, eps)
        self.bias = Parameter(np.zeros(n, dtype=np.float32))


class LayerNorm(_Standardised):
    """`functional.standardise` over the last axis, then times weight (n,), plus bias (n,).

    x (..., n); the shape stays.  weight starts at 1, bias at 0.  Ba, Kiros and Hinton 2016.
    """

    def forward(self, x: Tensor) -> Tensor:
        _check_last(self, x, self.n)
        return F.standardise(x, -1, eps=self.eps) * self.weight + self.bias


class GroupNorm(_Standardised):
    """Each sample's channels standardised in `groups` groups, then times weight, plus bias.

    x (N, n, ...); the shape stays.  weight (n,) starts at 1, bias (n,) at 0.  Wu and He 2018.
    """

    def __init__(self, groups: int, n: int, eps: float = 1e-5) -> None:
        super().__init__(n, eps=eps)
        check_counts(self, groups=groups)
        check_cut(self, "{} channels cannot be cut into {} groups", groups, n)
        self.groups = groups

    def extra(self) -> str:
        return f"{self.groups}, {self.n}"

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n)
        rest = math.prod(x.shape[1:]) // self.groups
        y = x.reshape(x.shape[0], self.groups, rest)  # (N, n, ...) -> (N, groups, rest)
        y = F.standardise(y, -1, eps=self.eps).reshape(x.shape)  # -> (N, n, ...)
        return _by_channel(y, self.weight, self.bias)


class BatchNorm(_Standardised):
    """Each channel standardised over the batch, then times weight, plus bias.

    x (N, n) or (N, n, ...); the shape stays.  weight (n,) starts at 1, bias (n,) at 0.
    In training with the batch's mean and variance.  In evaluation with running_mean and
    running_var (n,), which each training step moves: to (1 - momentum) times what they were, plus
    momentum times the batch's; momentum in [0, 1].  Raises ValueError where a batch has one value
    for a channel.
    Ioffe and Szegedy 2015.  One class where PyTorch has BatchNorm1d, 2d and 3d.
    """

    def __init__(self, n: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(n, eps=eps)
        self.momentum = momentum
        self.running_mean = Tensor(np.zeros(n, dtype=np.float32))
        self.running_var = Tensor(np.ones(n, dtype=np.float32))

    def forward(self, x: Tensor) -> Tensor:
        _check_channels(self, x, self.n)
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + self.eps)
            return _by_channel(x, scale, self.bias - self.running_mean * scale)
        axes = (0, *range(2, x.ndim))  # all but the channels
        self._move_statistics(x.detach(), axes)
        return _by_channel(F.standardise(x, axes, eps=self.eps), self.weight, self.bias)

    def _move_statistics(self, x, axes):
        count = x.size // self.n
        if count < 2:
            raise ValueError(f"{self!r}: one value for a channel has no variance; x is {x.shape}")
        mean = x.mean(axes, keepdims=True)  # (N, n, ...) -> (1, n, 1, ...)
        error = x - mean
        var = (error * error).sum(axes) * (1 / (count - 1))  # (N, n, ...) -> (n,)
        mean = mean.reshape(self.n)  # (1, n, 1, ...) -> (n,)
        for running, new in (self.running_mean, mean), (self.running_var, var):
            running.data = ((1 - self.momentum) * running + self.momentum * new).data


def _by_channel(x, weight, bias):
    """x (N, n, ...) times weight (n,), plus bias (n,)."""
    shape = (-1, *(1 for _ in x.shape[2:]))
    return x * weight.reshape(shape) + bias.reshape(shape)  # (n,) -> (n, 1, ...), both


class Embedding(_Layer):
    """A row of numbers for each integer.  ids (...) in [0, n) -> (..., width).

    weight (n, width) starts as standard normal draws.  Raises TypeError for ids that are no
    integers, ValueError for those outside [0, n).
    """

    def __init__(self, n: int, width: int) -> None:
        check_counts(self, n=n, width=width)
        self.n, self.width = n, width
        draws = random.generator().standard_normal((n, width), dtype=np.float32)
        self.weight = Parameter(draws)

    def forward(self, ids: Tensor | np.ndarray) -> Tensor:
        if ids.dtype.kind not in "iu":
            raise TypeError(f"{self!r}: expected integers, got {ids.dtype}")
        intercept.effect(ops.check_range, array_of(ids), self.n, f"{self!r}: ids")
        return self.weight[ids]

    def extra(self) -> str:
        return f"{self.n}, {self.width}"


class Residual(_Layer, Sequential):
    """x plus what its modules make of x, which must keep the shape (He et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)
