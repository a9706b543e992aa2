"""Functions composed of operations: activations, softmax, convolution, pooling, norms, losses.

The one rule of this file: no gradient is written here, because each function is made of
operations that have theirs.

Explained in course/10 (softmax, losses), course/13 (dropout, norms), course/14 (convolution,
pooling) and course/17 (attention).
"""

import math
from functools import wraps

from .. import advice
from ..engine import ops, reductions
from ..engine.devices import array_module
from ..engine.ops import cast, swap, where
from ..engine.shapes import from_windows, getitem, max_windows, reshape, scatter, transpose, windows
from ..engine.tensor import ARRAY, Tensor


def gelu(x):
    """x weighed by the chance that a standard normal number is below it, x of any shape.

    The form with tanh, within 0.0005 of the exact one.  Hendrycks and Gimpel 2016, section 2.
    """
    return ops.gelu(x)


def leaky_relu(x, *, slope=0.01):
    """x where it is positive, else slope * x; slope in [0, 1), x of any shape."""
    return ops.maximum(x, slope * x)


def softmax(x, *, axis=-1):
    """Probabilities, positive and with sum 1 along `axis`: exp(x) / sum(exp(x))."""
    return reductions.softmax(x, axis=axis)


def log_softmax(x, *, axis=-1):
    """The logarithm of softmax; exact where softmax itself would round to 0."""
    return x - reductions.logsumexp(x, axis=axis)


def dropout(x, *, p=0.5, training=True):
    """In training, each element becomes 0 with probability p, and the rest is divided by 1 - p.

    p in [0, 1).  Srivastava et al. 2014, "inverted", so that evaluation changes nothing.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be in [0, 1), got {p}")
    if not training or p == 0:
        return x
    return x * (ops.bernoulli(x, p=1 - p) * (1 / (1 - p)))


# ---- convolution and pooling: images (N, C, H, W); a size is one number or a pair (H, W)


def pair(size):
    """(size, size) of a number; a pair as it is."""
    return (size, size) if isinstance(size, int) else tuple(size)


def pad(x, padding):
    """x (N, C, H, W) with zeros around it: `padding` rows above and below, columns on each side."""
    (h, w), (height, width) = pair(padding), x.shape[-2:]
    if not h and not w:
        return x
    if min(h, w) < 0:
        raise ValueError(f"padding must not be negative, got {padding}")
    key, shape = (slice(None), slice(h, h + height), slice(w, w + width)), x.shape
    x = transpose(x, axes=(1, 2, 3, 0))  # (N, C, H, W) -> (C, H, W, N), as windows like it
    y = scatter(x, key=key, shape=(shape[1], height + 2 * h, width + 2 * w, shape[0]))
    return transpose(y, axes=(3, 0, 1, 2))  # (C, H, W, N) -> (N, C, H, W)


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """The sum of products of `w` with every window of x (Fukushima 1980; LeCun et al. 1989).

    x (N, C, H, W), w (F, C / groups, KH, KW), b (F,) -> (N, F, OH, OW), where OH =
    (H + 2 padding - dilation (KH - 1) - 1) // stride + 1.  groups: channels and filters are cut
    into so many parts that do not meet.
    """
    stride, dilation = pair(stride), pair(dilation)
    if len(x.shape) != 4 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"conv2d: x {x.shape} must be (N, C, H, W) with C = {w.shape[1]} x {groups} groups, "
            f"for weights {w.shape}, of which {groups} groups can be made"
        )
    n, filters = x.shape[0], w.shape[0]
    seen = windows(pad(x, padding), size=w.shape[2:], stride=stride, dilation=dilation)
    places = seen.shape[4:]
    k = math.prod(w.shape[1:])
    seen = transpose(seen, axes=(1, 2, 3, 4, 5, 0))  # (N, C, KH, KW, OH, OW) -> (C, ..., OW, N)
    y = reshape(w, shape=(groups, filters // groups, k)) @ reshape(seen, shape=(groups, k, -1))
    y = reshape(y, shape=(filters, *places, n))  # (G, F / G, OH OW N) -> (F, OH, OW, N)
    y = transpose(y, axes=(3, 0, 1, 2))  # (F, OH, OW, N) -> (N, F, OH, OW)
    return y if b is None else y + reshape(b, shape=(filters, 1, 1))


def conv_transpose2d(x, w, b=None, *, stride=1, padding=0, output_padding=0):
    """What conv2d's gradient does to x: each element spreads `w` over a window; overlaps add up.

    x (N, C, H, W), w (C, F, KH, KW), b (F,) -> (N, F, OH, OW), where OH = (H - 1) stride
    - 2 padding + KH + output_padding.  Dumoulin and Visin 2016, section 4.
    """
    if len(x.shape) != 4 or x.shape[1] != w.shape[0]:
        raise ValueError(f"conv_transpose2d: x {x.shape} must be (N, {w.shape[0]}, H, W)")
    (n, c, *places), (filters, *size) = x.shape, w.shape[1:]
    stride, more, cut = pair(stride), pair(output_padding), pair(padding)
    spread = swap(reshape(w, shape=(c, -1))) @ reshape(x, shape=(n, c, -1))  # (N, F KH KW, H W)
    spread = reshape(spread, shape=(n, filters, *size, *places))
    full = [(m - 1) * s + k + o for m, s, k, o in zip(places, stride, size, more)]
    y = from_windows(spread, shape=(n, filters, *full), stride=stride)
    y = y[:, :, cut[0] : full[0] - cut[0], cut[1] : full[1] - cut[1]]
    return y if b is None else y + reshape(b, shape=(filters, 1, 1))


def conv1d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    """conv2d along one axis: x (N, C, T), w (F, C / groups, K), b (F,) -> (N, F, OT)."""
    if len(x.shape) != 3:
        raise ValueError(f"conv1d: x must be (N, C, T), got shape {x.shape}")
    options = {"stride": (1, stride), "padding": (0, padding), "dilation": (1, dilation)}
    x, w = (reshape(a, shape=(*a.shape[:2], 1, a.shape[2])) for a in (x, w))  # one row
    y = conv2d(x, w, b, groups=groups, **options)
    return reshape(y, shape=(*y.shape[:2], y.shape[3]))


def max_pool2d(x, size, *, stride=None, padding=0):
    """The largest element of each window: (N, C, H, W) -> (N, C, OH, OW).  stride: default size."""
    if padding:  # what was added must never win
        ones = array_module(x.data if isinstance(x, Tensor) else x).ones(x.shape, dtype=bool)
        x = where(pad(ones, padding), pad(x, padding), -math.inf)
    return max_windows(x, size=pair(size), stride=pair(size if stride is None else stride))


def avg_pool2d(x, size, *, stride=None, padding=0):
    """The mean of each window, zeros of the padding included: (N, C, H, W) -> (N, C, OH, OW)."""
    size, stride = pair(size), pair(size if stride is None else stride)
    seen = windows(pad(x, padding), size=size, stride=stride)  # (N, C, KH, KW, OH, OW)
    return seen.sum(axis=(2, 3)) * (1 / math.prod(size))


# ---- norms


def standardise(x, axis, *, eps=1e-5):
    """x minus its mean over `axis`, divided by its standard deviation; eps > 0 keeps off 0."""
    return reductions.standardise(x, axis=axis, eps=eps)


def rms_norm(x, *, eps=1e-5):
    """x divided by the root mean square of its last axis (Zhang and Sennrich 2019)."""
    return x / ops.sqrt((x * x).mean(-1, keepdims=True) + eps)


# ---- attention


def attention(q, k, v, *, mask=None):
    """For each query the mean of the values, weighed by how well their keys fit it.

    q (..., T, D), k (..., S, D), v (..., S, E) -> (..., T, E).  mask: what broadcasts to
    (..., T, S), booleans, False where a query must not look, or floats that are added to the
    scores, as in PyTorch (0, and -inf where it must not look).  A query that may look nowhere gets
    zeros.  Raises TypeError for a mask of integers.  Vaswani et al. 2017, equation 1.
    """
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError(f"attention: q {q.shape}, k {k.shape}, v {v.shape}: D or S do not agree")
    root = q.shape[-1] ** -0.25  # of the scale of both; so float16 keeps more
    scores = (q * root) @ swap(k * root)  # (..., T, S)
    if mask is not None:
        check_mask("attention", mask, scores.shape)
        added = where(mask, 0.0, -math.inf) if mask.dtype.kind == "b" else mask
        scores = scores + cast(added, dtype=scores.dtype)
    return softmax(scores) @ v


def check_mask(name, mask, shape):
    """Raise unless a mask is booleans or floats that broadcast to `shape`."""
    kind = getattr(mask, "dtype", None)
    if kind is None or kind.kind not in "bf":
        raise TypeError(
            f"{name}: a mask is booleans, True where a query may look, or floats that are added to "
            f"the scores, got {kind or type(mask).__name__}; numbers as truths: mask != 0"
        )
    last = shape[len(shape) - len(mask.shape) :]
    if len(last) < len(mask.shape) or any(n not in (1, m) for n, m in zip(mask.shape, last)):
        raise ValueError(f"{name}: the mask {mask.shape} must broadcast to {shape}")


# ---- losses: (output, target) -> the mean over the batch, a Tensor with one element
# sample_weight: None, or numbers, one for each sample (N,) or for each label, by which the errors
# are multiplied before the mean (as in Keras: the sum is divided by their number, not weight).


def _loss(f):
    """Decorator: the loss f, which refuses `weight`, as that is something else in PyTorch."""

    @wraps(f)
    def loss(*args, **options):
        if "weight" in options:
            raise TypeError(
                f"{f.__name__} has no argument `weight`: sample_weight= has a number for each "
                "sample; class_weight=, of cross_entropy and nll, one for each class (PyTorch's "
                "weight)"
            )
        return f(*args, **options)

    return loss


@_loss
def mse(y, target, *, sample_weight=None):
    """The mean of (y - target)**2; both of one shape."""
    _same_shape("mse", y, target)
    error = y - target
    return _mean(error * error, sample_weight)


@_loss
def l1(y, target, *, sample_weight=None):
    """The mean of |y - target|; both of one shape."""
    _same_shape("l1", y, target)
    return _mean(ops.abs(y - target), sample_weight)


@_loss
def huber(y, target, *, delta=1.0, sample_weight=None):
    """Half the squared error up to `delta`, a straight line beyond; both of one shape.

    Huber 1964.  Outliers pull with constant force.
    """
    _same_shape("huber", y, target)
    error = ops.abs(y - target)
    inner = ops.minimum(error, delta)
    return _mean(inner * (error - 0.5 * inner), sample_weight)


@_loss
def bce_with_logits(logits, target, *, sample_weight=None):
    """The mean of binary cross-entropy with probabilities sigmoid(logits); one shape.

    target: probabilities in [0, 1], usually 0 or 1.  Made of softplus, so nothing overflows.
    """
    _same_shape("bce_with_logits", logits, target)
    if isinstance(target, Tensor) and target.dtype != logits.dtype:
        target = cast(target, dtype=logits.dtype)
    return _mean(ops.softplus(logits) - logits * target, sample_weight)


@_loss
def cross_entropy(logits, target, *, smoothing=0.0, sample_weight=None, class_weight=None):
    """The mean of -log(probability of the label), with probabilities softmax(logits).

    logits (..., K); target: labels (...), integers in [0, K), or the probability of each class,
    (..., K), as `images.mixup` makes them.  The classes are the last axis (in PyTorch the second).
    smoothing in [0, 1]: this share of each target is spread evenly over all K classes (Szegedy et
    al. 2016, section 7).
    sample_weight: numbers (N,), or of the shape of the labels, that the errors are multiplied by;
    the sum is divided by the number of labels.
    class_weight: K numbers, PyTorch's `weight`: the errors are multiplied by that of their class;
    with labels as target, the sum is divided by the sum of the labels' weights.
    """
    if smoothing or target.shape == logits.shape or target.shape != logits.shape[:-1]:
        weights = {"sample_weight": sample_weight, "class_weight": class_weight}
        return nll.__wrapped__(log_softmax(logits), target, smoothing=smoothing, **weights)
    errors = reductions.label_loss(logits, target)  # (...), the same in one operation
    if class_weight is None:
        return _mean(errors, sample_weight)
    of_label = getitem(_of_classes(class_weight, logits), target, key=(ARRAY,))  # (...)
    return _mean(errors * of_label, sample_weight) / of_label.mean()


@_loss
def nll(log_probabilities, target, *, smoothing=0.0, sample_weight=None, class_weight=None):
    """The mean of -log_probabilities at the labels; all as in `cross_entropy`."""
    shape, dtype = log_probabilities.shape, log_probabilities.dtype
    if not shape or target.shape not in (shape[:-1], shape):
        raise ValueError(
            f"cross-entropy: outputs {shape} need labels of shape {shape[:-1]}, or probabilities "
            f"of shape {shape}, got {target.shape}"
        )
    if not 0 <= smoothing <= 1:
        raise ValueError(f"cross-entropy: smoothing must be in [0, 1], got {smoothing}")
    labels = target.shape != shape
    if labels:
        target = ops.one_hot(target, classes=shape[-1], dtype=dtype)  # (..., K)
    else:
        target = cast(target, dtype=dtype)
    total = None  # the mean weight of the labels
    if class_weight is not None:
        class_weight = _of_classes(class_weight, log_probabilities)
        log_probabilities = log_probabilities * class_weight
        if labels:
            total = (target * class_weight).sum(-1).mean()
    if smoothing:
        target = (1 - smoothing) * target + smoothing / shape[-1]
    loss = -shape[-1] * _mean(log_probabilities * target, sample_weight)  # summed over the classes
    return loss if total is None else loss / total


def _of_classes(weight, outputs):
    """Weights of classes, checked, in the type of the outputs (..., K)."""
    if getattr(weight, "shape", None) != outputs.shape[-1:]:
        raise ValueError(
            f"class_weight: outputs {outputs.shape} need an array of {outputs.shape[-1]} numbers, "
            f"one for each class, got {weight!r:.60}"
        )
    return cast(weight, dtype=outputs.dtype)


def _mean(errors, weight):
    """The mean of the errors (N, ...), each times its weight: (N,), or of as many axes as fit."""
    if weight is not None:
        if weight.shape != errors.shape[: len(weight.shape)]:
            raise ValueError(
                f"a sample_weight of shape {weight.shape} does not fit errors {errors.shape}"
            )
        ones = (1,) * (len(errors.shape) - len(weight.shape))
        errors = errors * reshape(cast(weight, dtype=errors.dtype), shape=weight.shape + ones)
    return errors.mean()


def _same_shape(name, y, target):
    """Broadcasting (N, 1) against (N,) would give a loss of N * N errors, and no complaint."""
    if y.shape != target.shape:
        raise ValueError(
            f"{name}: output {y.shape} and target {target.shape} must have one shape; reshape one"
        )


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
