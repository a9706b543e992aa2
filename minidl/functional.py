"""Functions composed of operations: activations, softmax, losses.

The one rule of this file: no gradient is written here, because each function is made of
operations that have theirs.

Explained in course/05 (softmax, cross-entropy), course/10 (losses) and course/13 (dropout).
"""

import math

from .ops import abs, bernoulli, cast, logsumexp, maximum, minimum, one_hot, softplus, tanh
from .ops import exp as _exp
from .tensor import Tensor


def gelu(x):
    """x weighed by the chance that a standard normal number is below it, x of any shape.

    The form with tanh, within 0.0005 of the exact one.  Hendrycks and Gimpel 2016, section 2.
    """
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def leaky_relu(x, *, slope=0.01):
    """x where it is positive, else slope * x; slope in [0, 1), x of any shape."""
    return maximum(x, slope * x)


def softmax(x, *, axis=-1):
    """Probabilities, positive and with sum 1 along `axis`: exp(x) / sum(exp(x))."""
    return _exp(log_softmax(x, axis=axis))


def log_softmax(x, *, axis=-1):
    """The logarithm of softmax; exact where softmax itself would round to 0."""
    return x - logsumexp(x, axis=axis)


def dropout(x, *, p=0.5, training=True):
    """In training, each element becomes 0 with probability p, and the rest is divided by 1 - p.

    p in [0, 1).  Srivastava et al. 2014, "inverted", so that evaluation changes nothing.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be in [0, 1), got {p}")
    if not training or p == 0:
        return x
    return x * (bernoulli(x, p=1 - p) * (1 / (1 - p)))


# ---- losses: (output, target) -> the mean over the batch, a Tensor with one element


def mse(y, target):
    """The mean of (y - target)**2; both of one shape."""
    _same_shape("mse", y, target)
    error = y - target
    return (error * error).mean()


def l1(y, target):
    """The mean of |y - target|; both of one shape."""
    _same_shape("l1", y, target)
    return abs(y - target).mean()


def huber(y, target, *, delta=1.0):
    """Half the squared error up to `delta`, a straight line beyond; both of one shape.

    Huber 1964.  Outliers pull with constant force.
    """
    _same_shape("huber", y, target)
    error = abs(y - target)
    inner = minimum(error, delta)
    return (inner * (error - 0.5 * inner)).mean()


def cross_entropy(logits, labels, *, smoothing=0.0):
    """The mean of -log(probability of the label), with probabilities softmax(logits).

    logits (..., K) of any size, labels (...) integers in [0, K).  The classes are the last
    axis (in PyTorch the second).  smoothing in [0, 1]: this share of each target is spread
    evenly over all K classes (Szegedy et al. 2016, section 7).
    """
    classes = _check_labels("cross_entropy", logits, labels)
    target = one_hot(labels, classes=classes, dtype=logits.dtype)
    if smoothing:
        target = (1 - smoothing) * target + smoothing / classes
    # The targets of a row sum to 1, so its log-softmax needs logsumexp only once.
    total = logsumexp(logits).sum() - (logits * target).sum()
    return total / labels.size if labels.size else total * math.nan


def nll(log_probabilities, labels):
    """The mean of -log_probabilities at the labels; shapes as in `cross_entropy`."""
    classes = _check_labels("nll", log_probabilities, labels)
    target = one_hot(labels, classes=classes, dtype=log_probabilities.dtype)
    total = -(log_probabilities * target).sum()
    return total / labels.size if labels.size else total * math.nan


def bce_with_logits(logits, target):
    """The mean of binary cross-entropy with probabilities sigmoid(logits); one shape.

    target: probabilities in [0, 1], usually 0 or 1.  Made of softplus, so nothing overflows.
    """
    _same_shape("bce_with_logits", logits, target)
    if isinstance(target, Tensor) and target.dtype != logits.dtype:
        target = cast(target, dtype=logits.dtype)
    return (softplus(logits) - logits * target).mean()


def _same_shape(name, y, target):
    """Broadcasting (N, 1) against (N,) would give a loss of N * N errors, and no complaint."""
    if y.shape != target.shape:
        raise ValueError(
            f"{name}: output {y.shape} and target {target.shape} must have one shape; reshape one"
        )


def _check_labels(name, logits, labels):
    if not logits.shape or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"{name}: logits {logits.shape} need labels of shape {logits.shape[:-1]}, "
            f"got {labels.shape}; labels are class indices, not one-hot rows"
        )
    return logits.shape[-1]
