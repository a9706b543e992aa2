"""Operations that add up, spread out and move elements: pairs that are each other's gradient.

The one rule of this file: a pair of operations whose gradients are one another stand together;
sum and broadcast_to, getitem and scatter, windows and from_windows, and those that undo
themselves: reshape, transpose.
How rules are written is said at the head of ops.py.

Explained in course/07 (sum to transpose), course/14 (windows) and course/08 (the rest).
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .devices import repeated
from .gradients import Piece
from .intercept import untraced
from .tensor import ARRAY, primitive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .tensor import Axes, Operand, Tensor


@primitive
def sum(xp, a, *, axis=None, keepdims=False):
    """The sum of a over `axis` (an int, a tuple of them, or None for all)"""
    # (N, T, K), axis 1 -> (N, K), or with keepdims (N, 1, K)
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
    return a.reshape(shape)  # (N, T, D), for shape (N, -1) -> (N, T D)


@reshape.gradient
def _(g, y, a, *, shape):
    return (reshape(g, shape=a.shape),)  # (N, T D) -> (N, T, D)


@primitive
def transpose(xp, a, *, axes=None):
    """The axes of a in the order `axes` (reversed if None): (N, T, D), axes (1, 0, 2) -> (T, N, D).

    Raises ValueError for an order that changes nothing: it would be PyTorch's swap, misread.
    """
    if axes is not None and not _reorder(axes, a.ndim):
        raise ValueError(
            f"the axes are all {a.ndim} in another order, not two to swap, got {(*axes,)}; to swap "
            f"two, exchange them in {(*range(a.ndim),)}: for a matrix .T or .transpose(1, 0)"
        )
    return a.transpose(axes)  # (N, T, D), axes (1, 0, 2) -> (T, N, D)


@transpose.gradient
def _(g, y, a, *, axes=None):
    # Reversed axes are reversed again; else the axis that went to place i comes back from there.
    back = axes and tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))
    return (transpose(g, axes=back),)  # (T, N, D) -> (N, T, D)


def _reorder(axes, n):
    """Whether `axes` are n, in another order than they have (one axis has no other)."""
    return len(axes) == n and (n < 2 or [i % n for i in axes] != [*range(n)])


@primitive
def getitem(xp, a, *indices, key):
    """a[key], of the shape that NumPy gives it: a (N, D) at [0] -> (D,).

    The arrays of the index are inputs, `indices`; in `key`, ARRAY stands where each of them was.
    """
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
    """The arrays joined along `axis`: (N, D) and (M, D), axis 0 -> (N + M, D)"""
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


# ---- convolution: x (N, C, H, W), w (F, C / G, KH, KW) and what is shaped as the result, g
# (N, F, OH, OW), meet in one sum of products, linear in each.  So there are three operations, and
# the gradients of each are the two others.  The windows of x, KH KW times as large as x, are never
# all there: they are made for a few rows of the result at a time, forwards and again backwards.

BAND = 1 << 20  # bytes: windows that are there at the same time take about this, for the cache,
BANDS = 32  # or this share of all, if that is more: a compiled step has lines for each


@primitive
def conv(xp, x, w, *b, stride, padding, dilation, groups):
    """For each filter of w the sum of its products with every window of x, plus b, if given.

    b (F,) -> (N, F, OH, OW); G = groups; each size a pair (H, W).  See nn.functional.conv2d.
    """
    places = _places(_padded(x.shape, padding), w.shape[2:], stride, dilation)
    kind = np.result_type(*(a.dtype for a in (x, w, *b)))
    y = _samples_last(xp.empty, (len(x), len(w), *places), kind)
    flat = _flat(y, groups)  # of the same memory
    rows = _by_group(w, groups)
    for band in _bands(x, x.shape, w.shape[2:], y.shape, stride, dilation):
        seen = _seen(xp, x, band, w.shape[2:], stride, padding, dilation, groups)
        # (G, F / G, K) @ (G, K, n OW N) -> (G, F / G, n OW N)
        xp.matmul(rows, seen, out=flat[:, :, band.columns])
    for bias in b:
        y += bias.reshape(-1, 1, 1)  # (F,) -> (F, 1, 1)
    return y


@conv.gradient
def _(g, y, x, w, *b, **how):
    to_x, to_w = _to_x(g, x, w, how), _to_w(x, g, w, how)
    return to_x, to_w, *(lambda: g.sum((0, 2, 3)) for _ in b)  # (N, F, OH, OW) -> (F,)


@primitive
def conv_to_x(xp, g, w, *, shape, stride, padding, dilation, groups):
    """Each element of g times its filter in w, added up where the filter had seen `shape`."""
    size, padded = w.shape[2:], _padded(shape, padding)
    y = _samples_last(xp.zeros, padded, np.result_type(g.dtype, w.dtype))
    flat = _flat(g, groups)
    columns = _by_group(w, groups).transpose(0, 2, 1)  # (G, F / G, K) -> (G, K, F / G)
    for band in _bands(g, shape, size, g.shape, stride, dilation):
        # (G, K, F / G) @ (G, F / G, n OW N) -> (G, K, n OW N)
        spread = columns @ flat[:, :, band.columns]
        # (G, K, n OW N) -> (C, KH, KW, n, OW, N)
        spread = spread.reshape(shape[1], *size, band.rows, g.shape[3], shape[0])
        part = y[:, :, band.top : band.bottom]
        for i, j, key in _elements(size, stride, dilation, spread.shape[3:5]):
            part[key] += spread[:, i, j].transpose(3, 0, 1, 2)  # (C, n, OW, N) -> (N, C, n, OW)
    rows, left = padding
    return y[:, :, rows : rows + shape[2], left : left + shape[3]]


@conv_to_x.gradient
def _(g, y, g_before, w, *, shape, **how):
    return lambda: conv(g, w, **how), _to_w(g, g_before, w, how)


@primitive
def conv_to_w(xp, x, g, *, size, stride, padding, dilation, groups):
    """For each element of a filter of `size` the sum of g times what that element saw of x.

    x (N, C, H, W), g (N, F, OH, OW), size (KH, KW) -> (F, C / G, KH, KW); G = groups.
    """
    flat = _flat(g, groups)
    w = 0
    for band in _bands(x, x.shape, size, g.shape, stride, dilation):
        seen = _seen(xp, x, band, size, stride, padding, dilation, groups)
        # (G, F / G, n OW N) @ (G, n OW N, K) -> (G, F / G, K)
        w = w + flat[:, :, band.columns] @ seen.transpose(0, 2, 1)
    return w.reshape(g.shape[1], -1, *size)  # (G, F / G, K) -> (F, C / G, KH, KW)


@conv_to_w.gradient
def _(g, y, x, g_before, *, size, **how):
    return _to_x(g_before, x, g, how), lambda: conv(x, g, **how)


def _to_x(g, x, w, how):
    return lambda: conv_to_x(g, w, shape=x.shape, **how)


def _to_w(x, g, w, how):
    return lambda: conv_to_w(x, g, size=w.shape[2:], **how)


class _Band(NamedTuple):
    """Some rows of a convolution's result, how many and as columns of `_flat`, and the rows of the
    padded x that they see: from top to before bottom.
    """

    rows: int
    columns: slice
    top: int
    bottom: int


def _bands(a, shape, size, result, stride, dilation):
    """The bands of a result (N, F, OH, OW) for x of `shape`, where the array a lives; off the
    CPU one, for a GPU is slow to begin, and sees to its cache itself.
    """
    samples, _, height, width = result
    elements = samples * shape[1] * math.prod((*size, height, width))
    n = 1
    if isinstance(untraced(a), np.ndarray):
        n = max(1, min(BANDS, height, 4 * elements // BAND))
    for first, last in itertools.pairwise(height * i // n for i in range(n + 1)):
        bottom = (last - 1) * stride[0] + dilation[0] * (size[0] - 1) + 1
        columns = slice(first * width * samples, last * width * samples)
        yield _Band(last - first, columns, first * stride[0], bottom)


def _seen(xp, x, band, size, stride, padding, dilation, groups):
    """The windows of x that lie in a band: (G, K, n OW N)."""
    rows, left = padding
    top, bottom = band.top - rows, band.bottom - rows  # in x, which may have no such rows
    first = max(top, 0)
    last = max(min(bottom, x.shape[2]), first)
    part = x[:, :, first:last]
    if rows or left:
        whole = *x.shape[:2], bottom - top, x.shape[3] + 2 * left
        part = _samples_last(xp.zeros, whole, x.dtype)
        part[:, :, first - top : last - top, left : left + x.shape[3]] = x[:, :, first:last]
    seen = windows(part, size=size, stride=stride, dilation=dilation)
    seen = seen.transpose(1, 2, 3, 4, 5, 0)  # (N, C, KH, KW, n, OW) -> (C, KH, KW, n, OW, N)
    return seen.reshape(groups, x.shape[1] * math.prod(size) // groups, -1)  # -> (G, K, n OW N)


def _padded(shape, padding):
    """The shape (N, C, H + 2 rows, W + 2 columns)."""
    if len(shape) != 4:
        return shape  # which `_places` refuses
    return *shape[:2], shape[2] + 2 * padding[0], shape[3] + 2 * padding[1]


def _flat(y, groups):
    """(N, F, OH, OW) -> (G, F / G, OH OW N), a view where the samples are last in memory."""
    samples, filters, *places = y.shape
    y = y.transpose(1, 2, 3, 0)  # (N, F, OH, OW) -> (F, OH, OW, N)
    return y.reshape(groups, filters // groups, math.prod(places) * samples)


def _by_group(w, groups):
    """(F, C / G, KH, KW) -> (G, F / G, K), K = C / G KH KW."""
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


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
    """The elements of x (shaped as a) where each window of a has its maximum y first.

    x, a (N, C, H, W), y (N, C, OH, OW) -> (N, C, OH, OW).
    """
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
