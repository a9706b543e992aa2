"""Operations that add up, spread out and move elements: pairs that are each other's gradient.

The one rule of this file: a pair of operations whose gradients are one another stand together;
sum and broadcast_to, getitem and scatter, windows and from_windows, and those that undo
themselves: reshape, transpose.
How rules are written is said at the head of ops.py.

Explained in course/07 (sum to transpose), course/14 (windows) and course/08 (the rest).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from .devices import repeated
from .gradients import Piece
from .tensor import ARRAY, primitive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .tensor import Axes, Operand, Tensor


@primitive
def sum(xp, a, *, axis=None, keepdims=False):
    """The sum of a over `axis` (an int, a tuple of them, or None for all)"""
    return a.sum(axis=axis, keepdims=keepdims)


@sum.gradient
def _(g, y, a, *, axis=None, keepdims=False):
    if axis is not None:
        g = keep(g, a, axis)
    return (broadcast_to(g, shape=a.shape),)


def keep(r: Any, a: Any, axis: Axes) -> Any:
    """`r`, which came of a by a reduction over `axis`, with these axes put back, of length 1."""
    if axis is None:
        axis = tuple(range(len(a.shape)))
    if not isinstance(axis, tuple):
        axis = (axis,)
    shape = list(a.shape)
    for i in axis:
        shape[i] = 1
    return reshape(r, shape=tuple(shape))  # (N, K), axis 1, of (N, T, K) -> (N, 1, K)


@primitive
def broadcast_to(xp, a, *, shape):
    """a repeated along its axes of length 1 until it has `shape`"""
    return repeated(xp, a, shape)


@broadcast_to.gradient
def _(g, y, a, *, shape):
    return (sum_to(g, shape=a.shape),)


@primitive
def sum_to(xp, a, *, shape):
    """a summed over the axes along which an array of `shape` was repeated to become a's shape"""
    extra = a.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, n in enumerate(shape) if n == 1 and a.shape[i + extra] != 1
    )
    if axes == (0,) and a.ndim == 2 and a.size:  # a product with ones is faster than .sum(0)
        return (xp.ones(len(a), dtype=a.dtype) @ a).reshape(shape)  # (n,) @ (n, m) -> (m,)
    return a.sum(axis=axes).reshape(shape)  # (N, T, K), for shape (T, 1) -> (T,) -> (T, 1)


@sum_to.gradient
def _(g, y, a, *, shape):
    return (broadcast_to(g, shape=a.shape),)


@primitive
def reshape(xp, a, *, shape):
    """The elements of a in `shape`; one length may be -1"""
    return a.reshape(shape)


@reshape.gradient
def _(g, y, a, *, shape):
    return (reshape(g, shape=a.shape),)


@primitive
def transpose(xp, a, *, axes=None):
    """The axes of a in the order `axes` (reversed if None), which must change something"""
    if axes is not None and not _reorder(axes, a.ndim):
        raise ValueError(
            f"the axes are all {a.ndim} in another order, not two to swap, got {(*axes,)}; to swap "
            f"two, exchange them in {(*range(a.ndim),)}: for a matrix .T or .transpose(1, 0)"
        )
    return a.transpose(axes)


@transpose.gradient
def _(g, y, a, *, axes=None):
    # Reversed axes are reversed again; else the axis that went to place i comes back from there.
    back = axes and tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))
    return (transpose(g, axes=back),)


def _reorder(axes, n):
    """Whether `axes` are n, in another order than they have (one axis has no other)."""
    return len(axes) == n and (n < 2 or [i % n for i in axes] != [*range(n)])


@primitive
def getitem(xp, a, *indices, key):
    """a[key], where the arrays of the index are inputs and stand as ARRAY in `key`"""
    return a[_fill(key, indices)]


@getitem.gradient
def _(g, y, a, *indices, key):
    share = Piece(g, key, a.shape)
    if indices:
        share = scatter(g, *indices, key=key, shape=a.shape)
    return share, *(None for _ in indices)


@primitive
def scatter(xp, a, *indices, key, shape):
    """Zeros of `shape` with a added at [key]; what falls on one place adds up"""
    y = xp.zeros(shape, dtype=a.dtype)
    if indices:
        xp.add.at(y, _fill(key, indices), a)
    else:
        y[_fill(key, indices)] = a
    return y


@scatter.gradient
def _(g, y, a, *indices, key, shape):
    return getitem(g, *indices, key=key), *(None for _ in indices)


def _fill(key, indices):
    """The index that was given: `key` with the arrays `indices` back in their places."""
    arrays = iter(indices)
    return tuple(next(arrays) if part is ARRAY else part for part in key)


@primitive
def concatenate(xp, *arrays, axis=0):
    """The arrays joined along `axis`"""
    return xp.concatenate(arrays, axis=axis)


@concatenate.gradient
def _(g, y, *arrays, axis=0):
    shares, start = [], 0
    for a in arrays:
        stop = start + a.shape[axis]
        key = (slice(None),) * (axis % len(y.shape)) + (slice(start, stop),)
        shares.append(getitem(g, key=key))
        start = stop
    return shares


def stack(arrays: Sequence[Operand], axis: int = 0) -> Tensor:
    """The Tensors or arrays, all of one shape, one behind the other along a new `axis`.

    n arrays of shape (a, b): (n, a, b) with axis 0, (a, n, b) with axis 1, (a, b, n) with axis -1.
    """
    shape = list(arrays[0].shape)
    shape.insert(axis % (len(shape) + 1), 1)
    # n times (a, b) -> n times (1, a, b) -> (n, a, b)
    return concatenate(*(reshape(a, shape=tuple(shape)) for a in arrays), axis=axis)


# ---- windows over the last two axes: what convolution and pooling are made of
# In memory the samples lie next to each other, whatever the order of the axes: then each step
# below works on long rows of numbers, and all products of a convolution are one.


@primitive
def windows(xp, a, *, size, stride=(1, 1), dilation=(1, 1)):
    """The elements of every window of `size` that fits into a.

    a (N, C, H, W), size (KH, KW) -> (N, C, KH, KW, OH, OW).  stride: how far one window lies from
    the next; dilation: how far one element of a window from the next.
    """
    places = _places(a.shape, size, stride, dilation)
    y = _samples_last(xp.empty, (*a.shape[:2], *size, *places), a.dtype)
    for i, j, key in _elements(size, stride, dilation, places):
        y[:, :, i, j] = a[key]
    return y


@windows.gradient
def _(g, y, a, *, size, stride=(1, 1), dilation=(1, 1)):
    return (from_windows(g, shape=a.shape, stride=stride, dilation=dilation),)


@primitive
def from_windows(xp, a, *, shape, stride=(1, 1), dilation=(1, 1)):
    """Windows put back to where they were in an array of `shape`; what overlaps adds up.

    a (N, C, KH, KW, OH, OW) -> shape (N, C, H, W).
    """
    y = _samples_last(xp.zeros, shape, a.dtype)
    for i, j, key in _elements(a.shape[2:4], stride, dilation, a.shape[4:]):
        y[key] += a[:, :, i, j]
    return y


@from_windows.gradient
def _(g, y, a, *, shape, stride=(1, 1), dilation=(1, 1)):
    return (windows(g, size=a.shape[2:4], stride=stride, dilation=dilation),)


@primitive
def max_windows(xp, a, *, size, stride):
    """The largest element of every window: (N, C, H, W) -> (N, C, OH, OW)"""
    places = _places(a.shape, size, stride, (1, 1))
    y = _samples_last(xp.empty, (*a.shape[:2], *places), a.dtype)
    for i, j, key in _elements(size, stride, (1, 1), places):
        if i == j == 0:
            y[...] = a[key]
        else:
            xp.maximum(y, a[key], out=y)
    return y


@max_windows.gradient
def _(g, y, a, *, size, stride):
    return (to_first(g, a, y, size=size, stride=stride),)


@primitive
def to_first(xp, g, a, y, *, size, stride):
    """Zeros of a's shape, with g where each window of a has its maximum y; what meets adds up.

    If there are several maxima, as often in images, the first gets it (as in PyTorch).
    """
    moved = _samples_last(xp.empty, g.shape, g.dtype)
    moved[...] = g
    meet = any(step < width for step, width in zip(stride, size))
    found = _samples_last(xp.zeros, a.shape, g.dtype)
    for here, key in _first(xp, a, y, size, stride):
        if meet:
            found[key] += moved * here
        else:
            xp.multiply(moved, here, out=found[key])
    return found


@to_first.gradient
def _(g, y, g_before, a, top, *, size, stride):
    return from_first(g, a, top, size=size, stride=stride), None, None


@primitive
def from_first(xp, x, a, y, *, size, stride):
    """The elements of x (shaped as a) where each window of a has its maximum y first."""
    found = _samples_last(xp.zeros, y.shape, x.dtype)
    for here, key in _first(xp, a, y, size, stride):
        found += x[key] * here
    return found


@from_first.gradient
def _(g, y, x, a, top, *, size, stride):
    return to_first(g, a, top, size=size, stride=stride), None, None


def _first(xp, a, y, size, stride):
    """For each element of a window: where it is the first that equals y, and its index in a."""
    taken = _samples_last(xp.zeros, y.shape, bool)
    for _, _, key in _elements(size, stride, (1, 1), y.shape[2:]):
        here = a[key] == y
        here &= ~taken
        yield here, key
        taken |= here


def _samples_last(make, shape, dtype):
    """make((..., N)) as an array of `shape` (N, ...)."""
    y = make((*shape[1:], shape[0]), dtype=dtype)
    return y.transpose(len(shape) - 1, *range(len(shape) - 1))  # (..., N) -> (N, ...)


def _places(shape, size, stride, dilation):
    """How many windows fit along each of the last two axes."""
    if len(shape) != 4:
        raise ValueError(f"windows: expected an array (N, C, H, W), got shape {shape}")
    if min(*stride, *dilation) < 1:
        raise ValueError(f"stride {stride} and dilation {dilation} must be at least 1")
    spans = [d * (k - 1) + 1 for k, d in zip(size, dilation)]
    if any(k < 1 for k in size) or any(span > n for span, n in zip(spans, shape[2:])):
        raise ValueError(f"a window that spans {tuple(spans)} does not fit into {shape[2:]}")
    return tuple((n - span) // s + 1 for n, span, s in zip(shape[2:], spans, stride))


def _elements(size, stride, dilation, places):
    """For each element (i, j) of a window, the index that picks it in all windows at once."""
    for i, j in itertools.product(*map(range, size)):
        starts = i * dilation[0], j * dilation[1]
        picks = [slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(starts, stride, places)]
        yield i, j, (slice(None), slice(None), *picks)
