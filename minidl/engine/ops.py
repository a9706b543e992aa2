"""Every operation the engine knows, with its gradient beside it.

The one rule of this file: `forward(xp, *arrays, **attrs)` sees arrays; a gradient rule is written
in operators and in the primitives of this file, so it works on arrays and on Tensors alike, and
can be differentiated again.  No rule mentions broadcasting: the engine undoes it.

In a rule, g is dL/dy, y the result, and the rest the operation's inputs.  A gradient written as
`lambda: ...` is computed only if somebody wants it.

Explained in course/07 (arithmetic) and course/08 (the rest).
"""

import math
from typing import Any

import numpy as np

from ..gpu.doubts import doubt
from .devices import array_module
from .gradients import Product
from .intercept import effect
from .random import generator
from .shapes import reshape, transpose
from .tensor import primitive, without_gradient

# ---- arithmetic


@primitive
def add(xp, a, b):
    """a + b"""
    return a + b


@add.gradient
def _(g, y, a, b):
    return g, g


@primitive
def sub(xp, a, b):
    """a - b"""
    return a - b


@sub.gradient
def _(g, y, a, b):
    return g, lambda: -g


@primitive
def mul(xp, a, b):
    """a * b, element by element"""
    return a * b


@mul.gradient
def _(g, y, a, b):
    return lambda: g * b, lambda: g * a


@primitive
def div(xp, a, b):
    """a / b"""
    return a / b


@div.gradient
def _(g, y, a, b):
    return lambda: g / b, lambda: -g * y / b


@primitive
def neg(xp, a):
    """-a"""
    return -a


@neg.gradient
def _(g, y, a):
    return (-g,)


@primitive
def pow(xp, a, b):
    """a to the power of b"""
    return a**b


@pow.gradient
def _(g, y, a, b):
    # Adding 1 where b (or a) is 0 keeps 0**-1 (or log(0)) out; the product is 0 there anyway.
    return (
        lambda: g * b * a ** (b - 1 + equal(b, 0)),
        lambda: g * y * log(a + equal(a, 0)),
    )


@primitive
def matmul(xp, a, b):
    """The matrix product a @ b; leading axes are batches and broadcast.

    a (..., n, k), b (..., k, m) -> (..., n, m); a 1-d operand is a row or a column.
    """
    if a.ndim > 2 and b.ndim == 2:  # one product of tall matrices instead of a batch of small
        # (rows, k) @ (k, m) -> (rows, m) -> (..., n, m)
        return (_tall(a) @ b).reshape(*a.shape[:-1], b.shape[-1])
    return a @ b  # (..., n, k) @ (..., k, m) -> (..., n, m)


@matmul.gradient
def _(g, y, a, b):
    if len(a.shape) == 1 or len(b.shape) == 1:
        return _matmul_vector_gradient(g, a, b)
    if len(a.shape) > 2 and len(b.shape) == 2:
        # to a: (..., n, m) @ (m, k) -> (..., n, k); to b: (k, rows) @ (rows, m) -> (k, m)
        return lambda: matmul(g, swap(b)), lambda: swap(_tall(a)) @ _tall(g)
    if len(a.shape) == len(b.shape) == 2:
        # to a: (n, m) @ (m, k) -> (n, k); to b: (k, n) @ (n, m) -> (k, m)
        return lambda: Product(g, swap(b)), lambda: Product(swap(a), g)
    # to a: (..., n, m) @ (..., m, k) -> (..., n, k); to b: (..., k, n) @ (..., n, m) -> (..., k, m)
    return lambda: g @ swap(b), lambda: swap(a) @ g


def _matmul_vector_gradient(g, a, b):
    """As above, where a vector counts as a matrix of one row (a) or one column (b)."""
    row = a if len(a.shape) > 1 else reshape(a, shape=(1, *a.shape))  # (k,) -> (1, k)
    column = b if len(b.shape) > 1 else reshape(b, shape=(*b.shape, 1))  # (k,) -> (k, 1)
    batch = row.shape[:-2] or column.shape[:-2]
    g = reshape(g, shape=(*batch, row.shape[-2], column.shape[-1]))  # -> (..., n, m)
    to_b = swap(row) @ g  # (..., k, n) @ (..., n, m) -> (..., k, m)
    if len(b.shape) == 1:
        to_b = reshape(to_b, shape=to_b.shape[:-1])  # (..., k, 1) -> (..., k)
    return g @ swap(column), to_b  # (..., n, m) @ (..., m, k) -> (..., n, k)


def _tall(a):
    """The matrices of a batch one below the other: (..., n, k) -> (all rows, k)."""
    return reshape(a, shape=(math.prod(a.shape[:-1]), a.shape[-1]))


def swap(a: Any) -> Any:
    """The last two axes of `a`, an array or a Tensor, exchanged: (..., n, m) -> (..., m, n)."""
    n = len(a.shape)
    if n == 2:
        return a.T  # (n, m) -> (m, n)
    return transpose(a, axes=(*range(n - 2), n - 1, n - 2))  # (..., n, m) -> (..., m, n)


# ---- whole numbers and truth values, which have no gradient


@without_gradient
@primitive
def bit_and(xp, a, b):
    """a & b: of truth values, where both hold; of whole numbers, bit by bit"""
    return xp.bitwise_and(a, b)


@without_gradient
@primitive
def bit_or(xp, a, b):
    """a | b: of truth values, where one holds or both; of whole numbers, bit by bit"""
    return xp.bitwise_or(a, b)


@without_gradient
@primitive
def invert(xp, a):
    """~a: of truth values, where a does not hold; of whole numbers, bit by bit"""
    return xp.invert(a)


@without_gradient
@primitive
def floor_div(xp, a, b):
    """a // b, of whole numbers"""
    _check_whole(a, b)
    return xp.floor_divide(a, b)


@without_gradient
@primitive
def mod(xp, a, b):
    """a % b, of whole numbers: what a // b leaves, with the sign of b"""
    _check_whole(a, b)
    return xp.remainder(a, b)


def _check_whole(a, b):
    kinds = {np.dtype(getattr(x, "dtype", type(x))).kind for x in (a, b)}
    if not kinds <= set("biu"):
        raise TypeError("// and % are for whole numbers, and have no gradient; of other numbers, "
                        "NumPy's of .detach().numpy()")  # fmt: skip


# ---- functions of one element


@primitive
def exp(xp, a):
    """e to the power of a"""
    return xp.exp(a)


@exp.gradient
def _(g, y, a):
    return (g * y,)


@primitive
def log(xp, a):
    """The natural logarithm of a"""
    return xp.log(a)


@log.gradient
def _(g, y, a):
    return (g / a,)


@primitive
def sqrt(xp, a):
    """The square root of a"""
    return xp.sqrt(a)


@sqrt.gradient
def _(g, y, a):
    return (g / (2 * y),)


@primitive
def sin(xp, a):
    """The sine of a, in radians"""
    return xp.sin(a)


@sin.gradient
def _(g, y, a):
    return (g * cos(a),)


@primitive
def cos(xp, a):
    """The cosine of a, in radians"""
    return xp.cos(a)


@cos.gradient
def _(g, y, a):
    return (-g * sin(a),)


@primitive
def tanh(xp, a):
    """The hyperbolic tangent of a"""
    return xp.tanh(a)


@tanh.gradient
def _(g, y, a):
    return (g * (1 - y * y),)


@primitive
def sigmoid(xp, a):
    """1 / (1 + exp(-a)), by way of tanh, which cannot overflow"""
    return 0.5 * xp.tanh(0.5 * a) + 0.5


@sigmoid.gradient
def _(g, y, a):
    return (g * y * (1 - y),)


@primitive
def softplus(xp, a):
    """log(1 + exp(a)); the larger of 0 and a is taken out first, so exp cannot overflow"""
    return xp.maximum(a, 0) + xp.log1p(xp.exp(-xp.abs(a)))


@softplus.gradient
def _(g, y, a):
    return (g * sigmoid(a),)


@primitive
def gelu(xp, a):
    """a times the chance that a standard normal draw is below a, in the form with tanh.

    Hendrycks and Gimpel 2016.
    """
    return a * _below(a, xp.tanh)


@gelu.gradient
def _(g, y, a):
    p = _below(a, tanh)  # y = a p, and p' = 2 p (1 - p) u', where u is what tanh is taken of
    return (g * (p + y * (1 - p) * (2 * _ROOT + 6 * 0.044715 * _ROOT * (a * a))),)


_ROOT = math.sqrt(2 / math.pi)


def _below(a, tanh):
    """About the chance that a standard normal draw is below a."""
    return 0.5 + 0.5 * tanh(a * (_ROOT + 0.044715 * _ROOT * (a * a)))


@primitive
def relu(xp, a):
    """a where it is positive, else 0"""
    return xp.maximum(a, 0)


@relu.gradient
def _(g, y, a):
    return (g * less(0, y),)


@primitive
def abs(xp, a):
    """The absolute value of a; its gradient at 0 is 0"""
    return xp.abs(a)


@abs.gradient
def _(g, y, a):
    return (g * sign(a),)


@primitive
def maximum(xp, a, b):
    """The larger of a and b; where they are equal, each gets half of the gradient"""
    return xp.maximum(a, b)


@maximum.gradient
def _(g, y, a, b):
    return (
        lambda: g * less(b, a) + 0.5 * (g * equal(a, b)),
        lambda: g * less(a, b) + 0.5 * (g * equal(a, b)),
    )


@primitive
def minimum(xp, a, b):
    """The smaller of a and b; where they are equal, each gets half of the gradient"""
    return xp.minimum(a, b)


@minimum.gradient
def _(g, y, a, b):
    return (
        lambda: g * less(a, b) + 0.5 * (g * equal(a, b)),
        lambda: g * less(b, a) + 0.5 * (g * equal(a, b)),
    )


@primitive
def where(xp, condition, a, b):
    """a where `condition` holds, else b, element by element; the three broadcast to one shape."""
    if condition is True or condition is False:
        condition = xp.asarray(condition)
    return xp.where(condition, a, b)


@where.gradient
def _(g, y, condition, a, b):
    return None, lambda: where(condition, g, 0.0), lambda: where(condition, 0.0, g)


@primitive
def cast(xp, a, *, dtype):
    """a with elements of type `dtype`"""
    return a.astype(dtype)


@cast.gradient
def _(g, y, a, *, dtype):
    return (cast(g, dtype=a.dtype),)


# ---- masks and draws: operations all the same, so that rules can use them on Tensors, and whoever
# intercepts operations sees them; each says that it has no gradient, for without a word that is an
# error on the way back


@without_gradient
@primitive
def equal(xp, a, b):
    """Where a == b"""
    return xp.equal(a, b)


@without_gradient
@primitive
def not_equal(xp, a, b):
    """Where a != b"""
    return xp.not_equal(a, b)


@without_gradient
@primitive
def less(xp, a, b):
    """Where a < b"""
    return xp.less(a, b)


@without_gradient
@primitive
def less_equal(xp, a, b):
    """Where a <= b"""
    return xp.less_equal(a, b)


@without_gradient
@primitive
def sign(xp, a):
    """-1, 0 or 1: the sign of a"""
    return xp.sign(a)


@without_gradient
@primitive
def one_hot(xp, labels, *, classes, dtype="float32"):
    """labels (...) of integers in [0, classes) -> (..., classes), 1 at the label, else 0"""
    check_labels(classes, labels)
    # (..., 1) == (classes,) -> (..., classes)
    return (labels[..., None] == xp.arange(classes)).astype(dtype)


def check_labels(classes: int, labels: Any) -> None:
    """Raise TypeError unless the array `labels` holds integers, ValueError unless in [0, classes).

    While `compile` traces, the second is asked again at each later run.
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"class indices must be integers, got {labels.dtype}")
    effect(check_range, labels, classes, "class indices")


def check_range(ids: Any, n: int, what: str) -> None:
    """Raise ValueError unless all of the array `ids` are in [0, n); what: what they are, for words.

    Nobody waits for another device than the CPU: it answers with the next values brought from it.
    """
    message = f"{what} must be in [0, {n})"
    if not isinstance(ids, np.ndarray):
        wrong = ((ids < 0) | (ids >= n)).any()
        doubt(array_module(ids), wrong, f"{message}, but some of an earlier batch were not")
    elif ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < n:
        raise ValueError(f"{message}, got {int(ids.min())} to {int(ids.max())}")


@without_gradient
@primitive
def bernoulli(xp, like, *, p):
    """Draws of the shape, type and device of `like`: 1 with probability p, else 0"""
    return (generator(xp).random(like.shape, dtype=np.float32) < p).astype(like.dtype)


@without_gradient
@primitive
def uniform(xp, like):
    """Draws of the shape, type and device of `like`, uniform in [0, 1)"""
    return generator(xp).random(like.shape, dtype=np.float32).astype(like.dtype)


@without_gradient
@primitive
def normal(xp, like):
    """Standard normal draws of the shape, type and device of `like`"""
    return generator(xp).standard_normal(like.shape, dtype=np.float32).astype(like.dtype)
