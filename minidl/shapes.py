"""Operations that add up, spread out and move elements: pairs that are each other's gradient.

The one rule of this file: a pair of operations whose gradients are one another stand together;
sum and broadcast_to, getitem and scatter, and those that undo themselves: reshape, transpose.
How rules are written is said at the head of ops.py.

Explained in course/07 (sum to transpose) and course/08 (the rest).
"""

from .tensor import ARRAY, primitive


@primitive
def sum(xp, a, *, axis=None, keepdims=False):
    """The sum of a over `axis` (an int, a tuple of them, or None for all)"""
    return a.sum(axis=axis, keepdims=keepdims)


@sum.gradient
def _(g, y, a, *, axis=None, keepdims=False):
    return (broadcast_to(keep(g, a, axis), shape=a.shape),)


def keep(r, a, axis):
    """A reduction's result `r` with the reduced axes of `a` kept as axes of length 1."""
    axes = range(len(a.shape)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = [i % len(a.shape) for i in axes]
    return reshape(r, shape=tuple(1 if i in axes else n for i, n in enumerate(a.shape)))


@primitive
def broadcast_to(xp, a, *, shape):
    """a repeated along its axes of length 1 until it has `shape`"""
    return xp.broadcast_to(a, shape)


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
        return (xp.ones(len(a), dtype=a.dtype) @ a).reshape(shape)
    return a.sum(axis=axes).reshape(shape)


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
    """The axes of a in the order `axes` (reversed if None)"""
    return a.transpose(axes)


@transpose.gradient
def _(g, y, a, *, axes=None):
    back = (
        None if axes is None else tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))
    )
    return (transpose(g, axes=back),)


@primitive
def getitem(xp, a, *indices, key):
    """a[key], where the arrays of the index are inputs and stand as ARRAY in `key`"""
    return a[_fill(key, indices)]


@getitem.gradient
def _(g, y, a, *indices, key):
    return (scatter(g, *indices, key=key, shape=a.shape),)


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
    return (getitem(g, *indices, key=key),)


def _fill(key, indices):
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


def stack(arrays, axis=0):
    """The arrays, all of one shape, along a new `axis`."""
    shape = list(arrays[0].shape)
    shape.insert(axis % (len(shape) + 1), 1)
    return concatenate(*(reshape(a, shape=tuple(shape)) for a in arrays), axis=axis)
