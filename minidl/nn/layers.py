"""Layers: modules that own parameters, and those that only compute.

The one rule of this file: a layer checks and stores what it is told, and `forward` calls one
function of functional.py, or one operation.  Parameters are drawn as PyTorch draws them.

Explained in course/09, course/13 (norms, dropout), course/14 (convolution, pooling) and
course/18 (embedding).
"""

import math

import numpy as np

from ..engine import intercept, ops, random
from ..engine.tensor import Tensor
from . import functional as F
from .module import Module, Parameter, Sequential
from .module import summary as summary


def _uniform(shape, bound):
    draws = random.generator().random(shape, dtype=np.float32)
    return (2 * draws - 1) * np.float32(bound)


def check_counts(layer, **counts):
    """Raise ValueError unless each of `counts` is a whole number from 1."""
    for name, n in counts.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            kind = type(layer).__name__
            raise ValueError(f"{kind}: {name} must be a whole number from 1, got {n!r}")


def _check_last(layer, x, n):
    if not x.shape or x.shape[-1] != n:
        raise ValueError(f"{layer!r}: expected x of shape (..., {n}), got {x.shape}")


class Linear(Module):
    """x @ weight + bias.  x (..., n_in) -> (..., n_out); weight (n_in, n_out), bias (n_out,).

    PyTorch keeps the transpose, (n_out, n_in).  Both start uniform in ±1/sqrt(n_in), as there.
    """

    def __init__(self, n_in, n_out, *, bias=True):
        check_counts(self, n_in=n_in, n_out=n_out)
        self.n_in, self.n_out = n_in, n_out
        bound = 1 / math.sqrt(n_in)
        self.weight = Parameter(_uniform((n_in, n_out), bound))
        self.bias = Parameter(_uniform((n_out,), bound)) if bias else None

    def forward(self, x):
        _check_last(self, x, self.n_in)
        y = x @ self.weight  # (..., n_out)
        return y if self.bias is None else y + self.bias

    def extra(self):
        return f"{self.n_in}, {self.n_out}" + (", bias=False" if self.bias is None else "")


class Flatten(Module):
    """All axes but the first made one.  x (N, ...) -> (N, product of the rest)."""

    def forward(self, x):
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))  # (N, ...) -> (N, product)


class ReLU(Module):
    """max(x, 0), element by element; the shape stays."""

    forward = staticmethod(ops.relu)


class GELU(Module):
    """`functional.gelu`, element by element; the shape stays."""

    forward = staticmethod(F.gelu)


class Tanh(Module):
    """The hyperbolic tangent, element by element; the shape stays."""

    forward = staticmethod(ops.tanh)


class Sigmoid(Module):
    """1 / (1 + exp(-x)), element by element; the shape stays."""

    forward = staticmethod(ops.sigmoid)


class LeakyReLU(Module):
    """x where positive, else slope * x; the shape stays."""

    def __init__(self, slope=0.01):
        self.slope = slope

    def forward(self, x):
        return F.leaky_relu(x, slope=self.slope)

    def extra(self):
        return f"{self.slope}"


class Dropout(Module):
    """In training, zeroes each element with probability p; `functional.dropout`."""

    def __init__(self, p=0.5):
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x):
        return F.dropout(x, p=self.p, training=self.training)

    def extra(self):
        return f"{self.p}"


# ---- convolution and pooling


class Conv2d(Module):
    """`functional.conv2d` with weights of its own.  x (N, n_in, H, W) -> (N, n_out, OH, OW).

    size, stride, padding, dilation: a number, or a pair (H, W).  weight (n_out, n_in / groups,
    KH, KW) and bias (n_out,) start uniform in ±1/sqrt(n_in / groups * KH * KW).
    """

    axes, function = 2, staticmethod(F.conv2d)

    def __init__(
        self, n_in, n_out, size, *, stride=1, padding=0, dilation=1, groups=1, bias=True
    ):  # fmt: skip
        check_counts(self, n_in=n_in, n_out=n_out, groups=groups)
        if n_in % groups or n_out % groups:
            raise ValueError(f"{n_in} and {n_out} channels cannot be cut into {groups} groups")
        size = (size,) * self.axes if isinstance(size, int) else tuple(size)
        self.n_in, self.n_out, self.size = n_in, n_out, size
        self.options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
        bound = 1 / math.sqrt(n_in // groups * math.prod(size))
        self.weight = Parameter(_uniform((n_out, n_in // groups, *size), bound))
        self.bias = Parameter(_uniform((n_out,), bound)) if bias else None

    def forward(self, x):
        if x.ndim != self.axes + 2 or x.shape[1] != self.n_in:
            axes = "N, {}, H, W" if self.axes == 2 else "N, {}, T"
            raise ValueError(f"{self!r}: expected x ({axes.format(self.n_in)}), got {x.shape}")
        return self.function(x, self.weight, self.bias, **self.options)

    def extra(self):
        changed = [f", {k}={v}" for k, v in self.options.items() if v != (k != "padding")]
        return f"{self.n_in}, {self.n_out}, {self.size}" + "".join(changed)


class Conv1d(Conv2d):
    """As Conv2d, along one axis.  x (N, n_in, T) -> (N, n_out, OT); weight (n_out, ..., K)."""

    axes, function = 1, staticmethod(F.conv1d)


class ConvTranspose2d(Conv2d):
    """`functional.conv_transpose2d`.  x (N, n_in, H, W) -> (N, n_out, OH, OW), larger by stride.

    weight (n_in, n_out, KH, KW), bias (n_out,): uniform in ±1/sqrt(n_out * KH * KW), as PyTorch.
    """

    function = staticmethod(F.conv_transpose2d)

    def __init__(self, n_in, n_out, size, *, stride=1, padding=0, output_padding=0, bias=True):
        super().__init__(n_out, n_in, size, bias=False)
        self.n_in, self.n_out = n_in, n_out
        self.options = dict(stride=stride, padding=padding, output_padding=output_padding)
        bound = 1 / math.sqrt(n_out * math.prod(self.size))
        self.bias = Parameter(_uniform((n_out,), bound)) if bias else None


class MaxPool2d(Module):
    """`functional.max_pool2d`.  (N, C, H, W) -> (N, C, OH, OW); stride: default the size."""

    function = staticmethod(F.max_pool2d)

    def __init__(self, size, *, stride=None, padding=0):
        self.size, self.options = size, {"stride": stride, "padding": padding}

    def forward(self, x):
        return self.function(x, self.size, **self.options)

    def extra(self):
        return f"{self.size}"


class AvgPool2d(MaxPool2d):
    """`functional.avg_pool2d`.  (N, C, H, W) -> (N, C, OH, OW); stride: default the size."""

    function = staticmethod(F.avg_pool2d)


class GlobalAvgPool2d(Module):
    """The mean of each channel.  (N, C, H, W) -> (N, C)."""

    def forward(self, x):
        return x.mean((2, 3))


# ---- norms, embedding, residuals


class RMSNorm(Module):
    """`functional.rms_norm` times weight (n,).  x (..., n); the shape stays."""

    def __init__(self, n, *, eps=1e-5):
        check_counts(self, n=n)
        self.n, self.eps = n, eps
        self.weight = Parameter(np.ones(n, dtype=np.float32))

    def forward(self, x):
        _check_last(self, x, self.n)
        return F.rms_norm(x, eps=self.eps) * self.weight

    def extra(self):
        return f"{self.n}"


class LayerNorm(RMSNorm):
    """`functional.standardise` over the last axis, then times weight (n,), plus bias (n,).

    x (..., n); the shape stays.  Ba, Kiros and Hinton 2016.
    """

    def __init__(self, n, *, eps=1e-5):
        super().__init__(n, eps=eps)
        self.bias = Parameter(np.zeros(n, dtype=np.float32))

    def forward(self, x):
        _check_last(self, x, self.n)
        return F.standardise(x, -1, eps=self.eps) * self.weight + self.bias


class GroupNorm(LayerNorm):
    """Each sample's channels standardised in `groups` groups.  x (N, n, ...); the shape stays.

    weight and bias (n,).  Wu and He 2018.
    """

    def __init__(self, groups, n, *, eps=1e-5):
        super().__init__(n, eps=eps)
        check_counts(self, groups=groups)
        if n % groups:
            raise ValueError(f"GroupNorm: {n} channels cannot be cut into {groups} groups")
        self.groups = groups

    def extra(self):
        return f"{self.groups}, {self.n}"

    def forward(self, x):
        _check_channels(self, x)
        y = x.reshape(x.shape[0], self.groups, -1)  # (N, n, ...) -> (N, G, the rest)
        y = F.standardise(y, -1, eps=self.eps).reshape(x.shape)
        return _by_channel(y, self.weight, self.bias)


class BatchNorm(LayerNorm):
    """Each channel standardised over the batch.  x (N, n) or (N, n, ...); the shape stays.

    In training with the batch's mean and variance; in evaluation with the running ones, buffers
    of shape (n,) that each training step moves by the share `momentum`.  weight, bias (n,).
    Ioffe and Szegedy 2015.  One class where PyTorch has BatchNorm1d, 2d and 3d.
    """

    def __init__(self, n, *, momentum=0.1, eps=1e-5):
        super().__init__(n, eps=eps)
        self.momentum = momentum
        self.running_mean = Tensor(np.zeros(n, dtype=np.float32))
        self.running_var = Tensor(np.ones(n, dtype=np.float32))

    def forward(self, x):
        _check_channels(self, x)
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + self.eps)
            return _by_channel(x, scale, self.bias - self.running_mean * scale)
        axes = (0, *range(2, x.ndim))
        count = x.size // self.n
        if count < 2:
            raise ValueError(f"{self!r}: one value for a channel has no variance; x is {x.shape}")
        mean = x.detach().mean(axes, keepdims=True)
        error = x.detach() - mean
        var = (error * error).sum(axes) * (1 / (count - 1))
        for running, new in (self.running_mean, mean.reshape(self.n)), (self.running_var, var):
            running.data = ((1 - self.momentum) * running + self.momentum * new).data
        return _by_channel(F.standardise(x, axes, eps=self.eps), self.weight, self.bias)


def _check_channels(layer, x):
    if x.ndim < 2 or x.shape[1] != layer.n:
        raise ValueError(f"{layer!r}: expected x (N, {layer.n}, ...), got {x.shape}")


def _by_channel(x, weight, bias):
    """x (N, n, ...) times weight (n,), plus bias (n,)."""
    shape = (-1, *(1 for _ in x.shape[2:]))
    return x * weight.reshape(shape) + bias.reshape(shape)


class Embedding(Module):
    """A row of numbers for each integer.  ids (...) in [0, n) -> (..., width).

    weight (n, width) starts as standard normal draws.
    """

    def __init__(self, n, width):
        check_counts(self, n=n, width=width)
        self.n, self.width = n, width
        draws = random.generator().standard_normal((n, width), dtype=np.float32)
        self.weight = Parameter(draws)

    def forward(self, ids):
        if ids.dtype.kind not in "iu":
            raise TypeError(f"{self!r}: expected integers, got {ids.dtype}")
        data = ids.data if isinstance(ids, Tensor) else ids
        intercept.effect(ops.check_range, data, self.n, f"{self!r}: ids")
        return self.weight[ids]

    def extra(self):
        return f"{self.n}, {self.width}"


class Residual(Sequential):
    """x plus what its modules make of x, which must keep the shape (He et al. 2016)."""

    def forward(self, x):
        return x + super().forward(x)
