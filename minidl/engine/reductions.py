"""Operations along an axis that look at the elements: the largest, and the softmax family.

The one rule of this file: the largest element is taken out first wherever exp follows, so nothing
overflows.  How rules are written is said at the head of ops.py.

Explained in course/08 (max, argmax), course/10 (softmax, losses) and course/13 (standardise).
"""

import math

from .ops import cast, check_labels, equal, exp, one_hot, sqrt
from .shapes import keep, reshape, sum
from .tensor import primitive, without_gradient


@without_gradient
@primitive
def argmax(xp, a, *, axis=-1, keepdims=False):
    """The index of the (first) maximum along `axis`: (N, K), axis 1 -> (N,) in [0, K)"""
    return xp.argmax(a, axis=axis, keepdims=keepdims)


@without_gradient
@primitive
def argmin(xp, a, *, axis=-1, keepdims=False):
    """The index of the (first) minimum along `axis`: (N, K), axis 1 -> (N,) in [0, K)"""
    return xp.argmin(a, axis=axis, keepdims=keepdims)


@without_gradient
@primitive
def any(xp, a, *, axis=None, keepdims=False):
    """Whether an element of a is not 0, over `axis`: (N, K), axis 1 -> (N,)"""
    return xp.any(a, axis=axis, keepdims=keepdims)


@without_gradient
@primitive
def all(xp, a, *, axis=None, keepdims=False):
    """Whether no element of a is 0, over `axis`: (N, K), axis 1 -> (N,)"""
    return xp.all(a, axis=axis, keepdims=keepdims)


@primitive
def max(xp, a, *, axis=None, keepdims=False):
    """The maximum of a over `axis`: (N, K), axis 1 -> (N,); equal maxima share the gradient"""
    # (N, T, K), axis 1 -> (N, K), or with keepdims (N, 1, K)
    return a.max(axis=axis, keepdims=keepdims)


@max.gradient
def _(g, y, a, *, axis=None, keepdims=False):
    mask = cast(equal(a, keep(y, a, axis)), dtype=a.dtype)
    # (N, T, K) times (N, 1, K): g, by how many maxima share it
    return (mask * (keep(g, a, axis) / sum(mask, axis=axis, keepdims=True)),)


@primitive
def min(xp, a, *, axis=None, keepdims=False):
    """The minimum of a over `axis`: (N, K), axis 1 -> (N,); equal minima share the gradient"""
    # (N, T, K), axis 1 -> (N, K), or with keepdims (N, 1, K)
    return xp.min(a, axis=axis, keepdims=keepdims)


min.gradient(max.rule)  # in which y may be either


@primitive
def standardise(xp, a, *, axis, eps):
    """a minus its mean over `axis`, divided by its standard deviation; the shape stays.

    eps is added to the variance, so that the division is possible where a is constant.
    """
    x, scale = _centred(a, axis, eps)
    return x * scale


@standardise.gradient
def _(g, y, a, *, axis, eps):
    scale = _centred(a, axis, eps)[1]
    return ((g - _mean(g, axis) - y * _mean(g * y, axis)) * scale,)


def _centred(a, axis, eps):
    """a minus its mean, and what to multiply it by for a variance of 1."""
    x = a - _mean(a, axis)
    return x, 1 / sqrt(_mean(x * x, axis) + eps)


def _mean(a, axis):
    """The mean over `axis`, which stays as length 1; of no elements it is nan."""
    total = sum(a, axis=axis, keepdims=True)  # (N, T, K), axis 1 -> (N, 1, K)
    return total * (math.prod(total.shape) / (math.prod(a.shape) or math.nan))


@primitive
def softmax(xp, a, *, axis=-1):
    """exp(a) over its sum along `axis`; 0 where a is -inf, even along the whole axis.

    The shape stays.  The maximum is subtracted first, so exp cannot overflow, and the sum is 1 or
    more.
    """
    top = a.max(axis=axis, keepdims=True)  # (N, K), axis 1 -> (N, 1)
    y = xp.exp(a - xp.maximum(top, xp.finfo(a.dtype).min))
    return y / xp.maximum(y.sum(axis=axis, keepdims=True), 1)  # (N, K) / (N, 1)


@softmax.gradient
def _(g, y, a, *, axis=-1):
    return (y * (g - sum(g * y, axis=axis, keepdims=True)),)  # (N, K) - (N, 1)


@primitive
def label_loss(xp, logits, labels):
    """-log(softmax(logits) at the labels): logits (..., K), labels (...) in [0, K) -> (...)."""
    check_labels(logits.shape[-1], labels)
    # (..., K) -> (..., 1), both
    top = xp.maximum(logits.max(axis=-1, keepdims=True), xp.finfo(logits.dtype).min)
    total = xp.log(xp.exp(logits - top).sum(axis=-1, keepdims=True)) + top  # (..., 1)
    # Where the K logits of each label begin in the flat array: (n labels,) -> (...)
    rows = xp.arange(labels.size).reshape(labels.shape) * logits.shape[-1]
    # (..., 1) -> (...), less what stands at the labels: (..., K) -> (all logits,) -> (...)
    return total[..., 0] - xp.take(logits.reshape(-1), rows + labels.astype("int64"))


@label_loss.gradient
def _(g, y, logits, labels):
    wrong = softmax(logits) - one_hot(labels, classes=logits.shape[-1], dtype=logits.dtype)
    return reshape(g, shape=(*g.shape, 1)) * wrong, None  # (...) -> (..., 1), times (..., K)


@primitive
def logsumexp(xp, a, *, axis=-1):
    """log(sum(exp(a))) over `axis`, which stays as length 1: (N, K), axis 1 -> (N, 1).

    The maximum is subtracted first, so exp cannot overflow.
    """
    top = a.max(axis=axis, keepdims=True)  # (N, K), axis 1 -> (N, 1)
    top = xp.where(xp.isfinite(top), top, 0.0).astype(a.dtype)
    return xp.log(xp.exp(a - top).sum(axis=axis, keepdims=True)) + top  # (N, K) -> (N, 1)


@logsumexp.gradient
def _(g, y, a, *, axis=-1):
    return (g * exp(a - y),)
