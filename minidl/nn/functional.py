"""Functions composed of operations: activations, softmax, convolution, pooling, norms, losses.

The one rule of this file: no gradient is written here, because each function is made of
operations that have theirs.

Explained in course/09 (gelu, leaky_relu), course/10 (softmax, losses), course/13 (dropout, norms),
course/14 (convolution, pooling) and course/17 (attention).
"""

import math
from functools import wraps
from numbers import Real
from typing import Literal, TypeVar

import numpy as np

from .. import advice
from ..engine import intercept, ops, reductions
from ..engine.devices import array_module
from ..engine.ops import cast, swap, where
from ..engine.shapes import (
    conv,
    from_windows,
    getitem,
    max_windows,
    reshape,
    scatter,
    transpose,
    windows,
)
from ..engine.tensor import ARRAY, Tensor, array_of
from ..gpu.doubts import doubt

Values = TypeVar("Values", Tensor, np.ndarray)  # what is made of a Tensor is one, else an array
Size = int | tuple[int, int]  # one number for both, or (H, W)
Loss = TypeVar("Loss")
Reduction = Literal["mean", "sum", "none"]


def check_share(owner: str, name: str, share: float) -> None:
    """Raise ValueError unless `share`, the argument `name` of `owner`, is in [0, 1)."""
    if not isinstance(share, Real) or not 0 <= share < 1:
        raise ValueError(f"{owner}: {name} must be in [0, 1), got {share!r}")


def gelu(x: Values) -> Values:
    """x times the probability that a standard normal number is below x, element by element.

    x of any shape, which stays.  The form with tanh, within 0.0005 of the exact one.  Hendrycks and
    Gimpel 2016, section 2.
    """
    return ops.gelu(x)


def leaky_relu(x: Values, slope: float = 0.01) -> Values:
    """x where it is positive, else slope * x; slope in [0, 1), x of any shape."""
    check_share("leaky_relu", "slope", slope)
    return ops.maximum(x, slope * x)


def softmax(x: Values, axis: int = -1) -> Values:
    """Probabilities, positive and with sum 1 along `axis`: exp(x) / sum(exp(x)).

    x of any shape, which stays.
    """
    return reductions.softmax(x, axis=axis)


def log_softmax(x: Values, axis: int = -1) -> Values:
    """The logarithm of `softmax`; exact also where softmax itself would round to 0.

    x of any shape, which stays.
    """
    return x - reductions.logsumexp(x, axis=axis)


def dropout(x: Values, p: float = 0.5, training: bool = True) -> Values:
    """x with each element set to 0 with probability p, and the others divided by 1 - p.

    So the mean stays.  p in [0, 1); x of any shape, which stays.  Unless `training`, the result is
    x itself.  Srivastava et al. 2014; they scale in evaluation instead.
    """
    check_share("dropout", "p", p)
    if not training or p == 0:
        return x
    return x * (ops.bernoulli(x, p=1 - p) * (1 / (1 - p)))


# ---- convolution and pooling: images (N, C, H, W); a size is one number or a pair (H, W)


def pair(size: Size) -> tuple[int, int]:
    """(size, size) of a number; a pair as a tuple."""
    return (size, size) if isinstance(size, int | np.integer) else tuple(size)


def _padding(padding):
    """The pair (rows, columns); raises ValueError if one is negative."""
    if len(pair(padding)) != 2:
        raise ValueError(f"padding is one number or a pair (rows, columns), got {padding}")
    padding = pair(padding)
    if min(padding) < 0:
        raise ValueError(f"padding must not be negative, got {padding}")
    return padding


def pad(x: Values, padding: Size) -> Values:
    """x (N, C, H, W) with zeros around it -> (N, C, H + 2 * rows, W + 2 * columns).

    padding: how many rows are added above and below, and how many columns on each side; one number
    for both, or a pair.  Raises ValueError if one is negative.  PyTorch's `pad` takes (left, right,
    above, below), and with a pair adds columns alone.
    """
    rows, columns = _padding(padding)
    if not rows and not columns:
        return x
    if x.ndim != 4:
        raise ValueError(f"pad: expected images (N, C, H, W), got shape {x.shape}")
    n, c, h, w = x.shape
    x = transpose(x, axes=(1, 2, 3, 0))  # (N, C, H, W) -> (C, H, W, N), as windows like it
    key = slice(None), slice(rows, rows + h), slice(columns, columns + w)
    y = scatter(x, key=key, shape=(c, h + 2 * rows, w + 2 * columns, n))
    return transpose(y, axes=(3, 0, 1, 2))  # (C, H, W, N) -> (N, C, H, W)


def conv2d(
    x: Values,
    w: Values,
    b: Values | None = None,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Values:
    """For each filter of w, the sum of its products with every window of x, plus b.

    x (N, C, H, W), w (F, C / groups, KH, KW), b (F,) -> (N, F, OH, OW), where OH =
    (H + 2 padding - dilation (KH - 1) - 1) // stride + 1, and OW likewise.
    stride: how far one window lies from the next; dilation: how far one element of a window from
    the next.  groups: C channels and F filters are cut into so many groups; the filters of one see
    the channels of the same one only.  Raises ValueError where the shapes do not fit.
    Fukushima 1980; LeCun et al. 1989.
    """
    stride, dilation = pair(stride), pair(dilation)
    if len(x.shape) != 4 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"conv2d: x {x.shape} must be (N, C, H, W) with C = {w.shape[1]} x {groups} groups, "
            f"for weights {w.shape}, of which {groups} groups can be made"
        )
    how = {"stride": stride, "padding": _padding(padding), "dilation": dilation, "groups": groups}
    if b is None:
        return conv(x, w, **how)
    return conv(x, w, b, **how)


def _plus_bias(y, b):
    """y (N, F, OH, OW) plus b (F,), if there is one."""
    return y if b is None else y + reshape(b, shape=(-1, 1, 1))  # (F,) -> (F, 1, 1)


def conv_transpose2d(
    x: Values,
    w: Values,
    b: Values | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
) -> Values:
    """Each element of x times w, laid out `stride` apart; where they overlap they add up; plus b.

    The gradient of `conv2d` for its x is this of the gradient for its result, so shapes go the
    other way.  x (N, C, H, W), w (C, F, KH, KW), b (F,) -> (N, F, OH, OW), where OH =
    (H - 1) stride - 2 padding + KH + output_padding, and OW likewise.
    padding: how many rows and columns are cut off at each side; output_padding: how many are added
    below and on the right.  Raises ValueError where the shapes do not fit.
    Dumoulin and Visin 2016, section 4.
    """
    if len(x.shape) != 4 or x.shape[1] != w.shape[0]:
        raise ValueError(f"conv_transpose2d: x {x.shape} must be (N, {w.shape[0]}, H, W)")
    (n, c, *places), (filters, *size) = x.shape, w.shape[1:]
    flat = reshape(x, shape=(n, c, math.prod(places)))  # (N, C, H, W) -> (N, C, H W)
    w = swap(reshape(w, shape=(c, -1)))  # (C, F, KH, KW) -> (C, F KH KW) -> (F KH KW, C)
    spread = w @ flat  # (F KH KW, C) @ (N, C, H W) -> (N, F KH KW, H W)
    spread = reshape(spread, shape=(n, filters, *size, *places))  # -> (N, F, KH, KW, H, W)
    steps, more = pair(stride), pair(output_padding)
    full = [(m - 1) * s + k + o for m, s, k, o in zip(places, steps, size, more)]
    y = from_windows(spread, shape=(n, filters, *full), stride=steps)
    rows, columns = (slice(cut, n - cut) for cut, n in zip(pair(padding), full))
    return _plus_bias(y[:, :, rows, columns], b)


def conv1d(
    x: Values,
    w: Values,
    b: Values | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Values:
    """`conv2d` along one axis: x (N, C, T), w (F, C / groups, K), b (F,) -> (N, F, OT).

    OT = (T + 2 padding - dilation (K - 1) - 1) // stride + 1.
    """
    if len(x.shape) != 3:
        raise ValueError(f"conv1d: x must be (N, C, T), got shape {x.shape}")
    options = {"stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation)}
    x = reshape(x, shape=(*x.shape[:2], 1, x.shape[2]))  # (N, C, T) -> (N, C, 1, T)
    w = reshape(w, shape=(*w.shape[:2], 1, w.shape[2]))  # (F, C / G, K) -> (F, C / G, 1, K)
    y = conv2d(x, w, b, groups=groups, **options)
    return reshape(y, shape=(*y.shape[:2], y.shape[3]))  # (N, F, 1, OT) -> (N, F, OT)


def max_pool2d(x: Values, size: Size, stride: Size | None = None, padding: Size = 0) -> Values:
    """The largest element of each window of `size`: (N, C, H, W) -> (N, C, OH, OW).

    OH = (H + 2 padding - size) // stride + 1, and OW likewise; stride: default the size, so that
    windows do not overlap.  What padding adds is never the largest.
    """
    if padding:
        ones = array_module(array_of(x)).ones(x.shape, dtype=bool)
        x = where(pad(ones, padding), pad(x, padding), -math.inf)
    return max_windows(x, size=pair(size), stride=pair(size if stride is None else stride))


def avg_pool2d(x: Values, size: Size, stride: Size | None = None, padding: Size = 0) -> Values:
    """The mean of each window of `size`: (N, C, H, W) -> (N, C, OH, OW).

    The zeros of the padding are included.  OH, OW and stride: as in `max_pool2d`.
    """
    size, stride = pair(size), pair(size if stride is None else stride)
    seen = windows(pad(x, padding), size=size, stride=stride)  # (N, C, KH, KW, OH, OW)
    return seen.sum(axis=(2, 3)) * (1 / math.prod(size))  # (N, C, OH, OW)


# ---- norms


def standardise(x: Values, axis: int | tuple[int, ...], *, eps: float = 1e-5) -> Values:
    """x minus its mean over `axis`, divided by its standard deviation; the shape stays.

    eps > 0 is added to the variance, so that the division is possible where x is constant.
    """
    return reductions.standardise(x, axis=axis, eps=eps)


def rms_norm(x: Values, *, eps: float = 1e-5) -> Values:
    """x divided by the root of the mean of its squares over the last axis; the shape stays.

    eps > 0 is added to the mean, so that zeros stay zeros.  Zhang and Sennrich 2019.
    """
    return x / ops.sqrt((x * x).mean(-1, keepdims=True) + eps)  # (..., n) / (..., 1)


# ---- attention


def attention(q: Values, k: Values, v: Values, mask: Tensor | np.ndarray | None = None) -> Values:
    """For each query the mean of the values, weighed by how well their keys fit it.

    q (..., T, D), k (..., S, D), v (..., S, E) -> (..., T, E).  mask: what broadcasts to
    (..., T, S), booleans, False where a query must not look, or floats that are added to the
    scores, as in PyTorch (0, and -inf where it must not look).  A query that may look nowhere gets
    zeros.  Raises TypeError for a mask of integers, ValueError where shapes do not fit.
    Vaswani et al. 2017, equation 1.
    """
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(f"attention: q {q.shape}, k {k.shape}, v {v.shape}: D or S do not agree")
    # The scores are divided by sqrt(D), so each factor by its root: float16 keeps more that way.
    root = q.shape[-1] ** -0.25
    scores = (q * root) @ swap(k * root)  # (..., T, D) @ (..., D, S) -> (..., T, S)
    if mask is not None:
        check_mask("attention", mask, scores.shape)
        if mask.dtype.kind == "b":
            mask = where(mask, 0.0, -math.inf)
        scores = scores + cast(mask, dtype=scores.dtype)
    return softmax(scores) @ v  # (..., T, S) @ (..., S, E) -> (..., T, E)


def check_mask(name: str, mask: Tensor | np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise unless a mask is booleans or floats (TypeError) that broadcast to `shape` (ValueError).

    name: of what was given the mask, with which the error begins.
    """
    kind = getattr(mask, "dtype", None)
    if kind is None or kind.kind not in "bf":
        raise TypeError(
            f"{name}: a mask is booleans, True where a query may look, or floats that are added to "
            f"the scores, got {kind or type(mask).__name__}; numbers as truths: mask != 0"
        )
    last = shape[len(shape) - len(mask.shape) :]
    if len(last) < len(mask.shape) or any(n not in (1, m) for n, m in zip(mask.shape, last)):
        raise ValueError(f"{name}: the mask {mask.shape} must broadcast to {shape}")


# ---- losses: (output, target) -> the mean over the batch, with one element
# sample_weight: None, or numbers, one for each sample (N,) or for each label, by which the errors
# are multiplied before the mean (as in Keras: the sum is divided by their number, not weight).
# reduction: "mean", "sum", or "none", which gives the errors one by one.


def _loss(f: Loss) -> Loss:
    """Decorator: the loss f, which refuses `weight`, as that is something else in PyTorch."""

    @wraps(f)
    def loss(*args, **options):
        if "weight" in options:
            raise TypeError(
                f"{f.__name__} has no argument `weight`: sample_weight= has a number for each "
                "sample; class_weight=, of cross_entropy and nll, one for each class (PyTorch's "
                "weight)"
            )
        for given in args[:2]:
            if not hasattr(given, "shape"):
                raise TypeError(
                    f"{f.__name__}: expected Tensors or arrays, got a {type(given).__name__}: "
                    "minidl.tensor(...) makes one of numbers; None is what a forward gives that "
                    "ends without return"
                )
        return f(*args, **options)

    return loss


@_loss
def mse(
    y: Values,
    target: Values,
    *,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
) -> Values:
    """The mean of (y - target)**2; y and target of one shape (N, ...)."""
    _same_shape("mse", y, target)
    error = y - target
    return _reduced(error * error, reduction, sample_weight)


@_loss
def l1(
    y: Values,
    target: Values,
    *,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
) -> Values:
    """The mean of |y - target|; y and target of one shape (N, ...)."""
    _same_shape("l1", y, target)
    return _reduced(ops.abs(y - target), reduction, sample_weight)


@_loss
def huber(
    y: Values,
    target: Values,
    *,
    delta: float = 1.0,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
) -> Values:
    """The mean of error**2 / 2 where |error| <= delta, and of delta (|error| - delta / 2) beyond.

    error = y - target; y and target of one shape (N, ...).  Beyond delta the gradient no longer
    grows, so a few targets that are far off do not decide everything.  delta > 0.  Huber 1964.
    """
    _same_shape("huber", y, target)
    if not delta > 0:
        raise ValueError(f"huber: delta must be above 0, got {delta}")
    error = ops.abs(y - target)
    inner = ops.minimum(error, delta)
    return _reduced(inner * (error - 0.5 * inner), reduction, sample_weight)


@_loss
def bce_with_logits(
    logits: Values,
    target: Values,
    *,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
) -> Values:
    """The mean of binary cross-entropy with the probabilities sigmoid(logits).

    logits and target of one shape (N, ...); target: probabilities in [0, 1], usually 0 or 1.
    Computed from softplus, so nothing overflows.
    """
    _same_shape("bce_with_logits", logits, target)
    if target.dtype != logits.dtype:
        target = cast(target, dtype=logits.dtype)
    return _reduced(ops.softplus(logits) - logits * target, reduction, sample_weight)


@_loss
def bce(
    p: Values,
    target: Values,
    *,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
) -> Values:
    """The mean of binary cross-entropy with the probabilities p.

    p and target of one shape (N, ...), both in [0, 1]; ValueError where p is not.  Where a model
    gives logits, `bce_with_logits` is exact at all of them and this is not: 1e-12 is added to what
    the logarithm is taken of (6e-8 in float16), so an error is at most 27.6, and the gradient
    finite.  PyTorch cuts errors at 100, and gradients as here.
    """
    _same_shape("bce", p, target)
    intercept.effect(_check_probabilities, array_of(p))
    target = cast(target, dtype=p.dtype)
    least = max(1e-12, float(np.finfo(p.dtype).smallest_subnormal))
    errors = target * ops.log(p + least) + (1 - target) * ops.log((1 - p) + least)
    return _reduced(-errors, reduction, sample_weight)


def _check_probabilities(p):
    message = "bce: probabilities must be in [0, 1]; of logits there is bce_with_logits"
    doubt(array_module(p), ((p < 0) | (p > 1)).any(), message)


@_loss
def cross_entropy(
    logits: Values,
    target: Values,
    *,
    smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
    class_weight: Values | None = None,
) -> Values:
    """The mean of -log(probability of the label), with probabilities softmax(logits).

    logits (..., K); target: labels (...), integers in [0, K), or the probability of each class,
    (..., K), as `images.mixup` makes them.  The classes are the last axis (in PyTorch the second).
    smoothing in [0, 1]: this share of each target is spread evenly over all K classes (Szegedy et
    al. 2016, section 7).
    ignore_index: a label, in [0, K) or not, whose errors are 0 and do not count in the mean, such
    as -100 for padding; None: there is none (in PyTorch it is -100 if nothing is said).
    sample_weight: numbers (N,), or of the shape of the labels, that the errors are multiplied by;
    the sum is divided by the number of labels.
    class_weight: K numbers, PyTorch's `weight`: the errors are multiplied by that of their class;
    with labels as target, the sum is divided by the sum of the labels' weights.
    """
    if smoothing or target.shape == logits.shape or target.shape != logits.shape[:-1]:
        options = {"smoothing": smoothing, "ignore_index": ignore_index, "reduction": reduction}
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        return nll(log_softmax(logits), target, **options, **weights)
    labels, counted = _counted(target, ignore_index)
    errors, of_label = reductions.label_loss(logits, labels), None  # (...), in one operation
    if class_weight is not None:
        of_label = getitem(_of_classes(class_weight, logits), labels, key=(ARRAY,))  # (...)
        errors = errors * of_label
    return _reduced(errors, reduction, sample_weight, of_label, counted)


@_loss
def nll(
    log_probabilities: Values,
    target: Values,
    *,
    smoothing: float = 0.0,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    sample_weight: Values | None = None,
    class_weight: Values | None = None,
) -> Values:
    """The mean of -log_probabilities at the labels: `cross_entropy` of what is log_softmax already.

    log_probabilities (..., K); target and options as in `cross_entropy`.
    """
    shape, dtype = log_probabilities.shape, log_probabilities.dtype
    if not shape or target.shape not in (shape[:-1], shape):
        raise ValueError(
            f"cross-entropy: outputs {shape} need labels of shape {shape[:-1]}, or probabilities "
            f"of shape {shape}, got {target.shape}"
        )
    if not 0 <= smoothing <= 1:
        raise ValueError(f"cross-entropy: smoothing must be in [0, 1], got {smoothing}")
    labels = target.shape != shape
    if ignore_index is not None and not labels:
        raise ValueError("cross-entropy: ignore_index is a label, and the target is probabilities")
    counted = of_label = None
    if labels:
        target, counted = _counted(target, ignore_index)
        target = ops.one_hot(target, classes=shape[-1], dtype=dtype)  # (...) -> (..., K)
    else:
        target = cast(target, dtype=dtype)
    if class_weight is not None:
        class_weight = _of_classes(class_weight, log_probabilities)
        log_probabilities = log_probabilities * class_weight
        if labels:
            of_label = (target * class_weight).sum(-1)  # (..., K) -> (...)
    if smoothing:
        target = (1 - smoothing) * target + smoothing / shape[-1]
    errors = -(log_probabilities * target).sum(-1)  # (..., K) -> (...)
    return _reduced(errors, reduction, sample_weight, of_label, counted)


def _counted(labels, ignored):
    """The labels, 0 where they are to be ignored, and whether each counts; None: all do."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f'labels must be integers, got {labels.dtype}: y.astype("int64"); '
                        "probabilities of all classes have the shape of the outputs")  # fmt: skip
    if ignored is None:
        return labels, None
    counted = ops.not_equal(labels, ignored)
    return where(counted, labels, 0), counted


def _of_classes(weight, outputs):
    """Weights of classes (K,), checked, in the type of the outputs (..., K)."""
    if getattr(weight, "shape", None) != outputs.shape[-1:]:
        raise ValueError(
            f"class_weight: outputs {outputs.shape} need an array of {outputs.shape[-1]} numbers, "
            f"one for each class, got {weight!r:.60}"
        )
    return cast(weight, dtype=outputs.dtype)


def _reduced(errors, reduction, weight=None, of_label=None, counted=None):
    """The errors (N, ...), each times its weight: (N,), or of as many axes as fit; reduced.

    of_label: None, or by what the errors (...) are multiplied already, so that a mean is that of
    the weights.  counted: None, or which of them count.
    """
    if counted is not None:
        errors = where(counted, errors, 0.0)
        if of_label is None:
            of_label = 1.0
        of_label = of_label * cast(counted, dtype=errors.dtype)
    if weight is not None:
        if weight.shape != errors.shape[: len(weight.shape)]:
            raise ValueError(
                f"a sample_weight of shape {weight.shape} does not fit errors {errors.shape}"
            )
        ones = (1,) * (len(errors.shape) - len(weight.shape))
        weight = reshape(weight, shape=(*weight.shape, *ones))  # (N,) -> (N, 1, ...)
        errors = errors * cast(weight, dtype=errors.dtype)
    if reduction == "none":
        return errors
    if reduction == "sum":
        return errors.sum()
    if reduction != "mean":
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return errors.mean() if of_label is None else errors.mean() / of_label.mean()


def _same_shape(name, y, target):
    """Broadcasting (N, 1) against (N,) would give a loss of N * N errors, and no complaint."""
    if y.shape != target.shape:
        told = f"{name}: output {y.shape} and target {target.shape} must have one shape"
        if y.size == target.size:
            told += f"; write target.reshape{y.shape}"
        raise ValueError(told)


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
