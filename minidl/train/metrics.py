"""Losses and metrics: what a model's outputs are measured by, and the names that they have.

The one rule of this file: a metric is a function (output, target) -> float, a mean over samples.

Explained in course/12.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from inspect import isfunction, signature
from typing import TYPE_CHECKING

from .. import advice
from ..engine.ops import one_hot, where
from ..engine.reductions import argmax
from ..engine.tensor import Tensor, tensor
from ..graph.lines import mapped
from ..nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Metric = Callable[[Tensor, Tensor], Any]  # gives a number, or a Tensor with one element


def accuracy(y: Tensor, labels: Tensor) -> float:
    """The share of samples whose class is the one of the largest output.

    y (..., K) with labels (...), integers in [0, K), or (..., K), probabilities whose
    largest counts.
    y (N,) or (..., 1) is a logit of yes and no, with labels of the same shape, 1 and 0: right if
    it is positive where the label is 1, and not positive where the label is 0.
    Raises ValueError for labels of another shape, for several labels a sample, (..., K) of 0 and 1
    that do not sum to 1, and for numbers beside one logit that are no labels.
    """
    y, labels = (a if isinstance(a, Tensor) else tensor(a) for a in (y, labels))
    if y.shape[1:] == () or y.shape[-1] == 1:
        _check_shapes("accuracy", y, labels, y.shape)
        if not ((labels >= 0) & (labels <= 1)).all():
            raise ValueError("accuracy: beside one output a sample, labels are 0 or 1, not numbers "
                             f"such as {labels.max().item()}: 'mae' and 'mse' measure numbers"
                             )  # fmt: skip
        right = (y > 0) == (labels > 0.5)
    else:
        if labels.shape == y.shape:
            _check_one_class(labels)
            labels = argmax(labels, axis=-1)  # (..., K) -> (...)
        _check_shapes("accuracy", y, labels, y.shape[:-1])
        right = argmax(y, axis=-1) == labels  # (..., K) -> (...)
    return float(right.data.sum()) / max(right.size, 1)


def _of_rows(y: Tensor, labels: Tensor) -> float:
    """`accuracy` beside a loss for numbers, which says of one output a sample nothing about
    classes: it is no logit.  Rows (..., K) with one 1 each are classes there too.

    Raises ValueError for y (N,) or (..., 1).
    """
    if y.shape[1:] == () or y.shape[-1] == 1:
        raise ValueError(
            "metrics: accuracy is for classes, and the loss for numbers: take 'mae'; with labels "
            "0 and 1 take the loss 'bce_with_logits'; with numbers that stand for classes, give a "
            "metric of your own, such as lambda y, t: ((y > 0.5) == (t > 0.5)).mean()"
        )
    return accuracy(y, labels)


def _check_one_class(labels):
    """Raise ValueError unless the labels (..., K) are probabilities: they sum to 1."""
    apart = (labels.sum(-1) - 1.0).data  # (..., K) -> (...)
    if apart.size and float(abs(apart).max()) > 0.01:
        raise ValueError(
            "accuracy: labels (..., K) are the probabilities of the one right class and sum to 1, "
            "these are several labels a sample: give a metric of your own, such as "
            "lambda y, t: ((y > 0) == (t > 0.5)).mean()"
        )


def top5(y: Tensor, labels: Tensor) -> float:
    """The share of samples whose label is among the five largest outputs.

    y (..., K), labels (...), integers in [0, K).  Raises ValueError for labels of another shape.
    """
    _check_shapes("top5", y, labels, y.shape[:-1])
    at_label = one_hot(labels, classes=y.shape[-1], dtype=bool)  # (...) -> (..., K)
    own = where(at_label, y, 0.0).sum(-1, keepdims=True)  # (..., K) -> (..., 1)
    n_larger = (y > own).sum(-1)  # (..., K) -> (...)
    return float((n_larger < 5).data.sum()) / max(labels.size, 1)


def _check_shapes(metric, y, labels, expected):
    if labels.shape != expected:
        raise ValueError(
            f"{metric}: labels of shape {expected} belong to outputs {y.shape}, got "
            f"{labels.shape}; reshape one of them"
        )


def called(kind: str, given: Any, known: Mapping[str, Any]) -> Any:
    """`given` if it is a function or a class, else the one that has this name in `known`.

    kind: what it is for, such as "loss".  Raises ValueError for a name that is not known.
    """
    if callable(given):
        return given
    if not isinstance(given, str) or given not in known:
        raise ValueError(
            f"{kind}: expected a function or one of {sorted(known)}, got {given!r}"
            f"{advice.instead(_PLACES[kind], given) or meant(given, known)}"
        )
    return known[given]


def meant(given: object, known: Iterable[str]) -> str:
    """The end of a sentence that names the nearest of `known`; "" if none is near."""
    small = {name.lower(): name for name in known}
    near = get_close_matches(str(given).lower(), small, n=1)
    return f"; did you mean {small[near[0]]!r}?" if near else ""


def scalar(loss: object) -> Tensor:
    """A loss as it is.  Raises TypeError unless it is a Tensor with one element."""
    if not isinstance(loss, Tensor) or loss.size != 1:
        raise TypeError("the loss must be a Tensor with one element, the mean over the batch, got "
                        f"a {type(loss).__name__} of shape {getattr(loss, 'shape', ())}; compute "
                        "it of the outputs without float(), .item() or .numpy(), and end it with "
                        ".mean()")  # fmt: skip
    return loss


class Losses:
    """Several losses as one: the sum of each, of its own output and target, times its weight.

    losses: a dict, whose keys are those of the dicts that outputs and targets are; or a list, for
        outputs and targets that are tuples or lists of the same length.
    weights: a number for each, a dict or a list likewise; what a dict leaves out is 1.
    """

    def __init__(self, losses: Any, weights: Any):
        self.losses = losses
        self.parts: dict[Any, Any] = {
            key: called("loss", loss, LOSSES) for key, loss in _keyed(losses).items()
        }
        self.weights: dict[Any, float] = dict.fromkeys(self.parts, 1.0) | _keyed(weights)
        fits = isinstance(weights, dict) or len(weights) == len(self.parts)
        if not self.parts or not fits or self.weights.keys() != self.parts.keys():
            raise ValueError("loss_weights: expected a number for each of the losses "
                             f"{[*self.parts]}, got {weights!r}")  # fmt: skip

    def __call__(self, y: Any, target: Any, **options: Any) -> Tensor:
        """The weighted sum.  options: such as the weights of the samples, for each loss."""
        first, *others = [
            self.weights[key] * scalar(self.measured(key, partial(loss, **options), y, target))
            for key, loss in self.parts.items()
        ]
        return sum(others, first)

    def measured(self, key: Any, metric: Metric, y: Any, target: Any) -> Any:
        """A metric, or the loss, of the output with this key.

        Raises ValueError where outputs or targets have not the form of the losses.
        """
        for whole in (y, target):
            if isinstance(self.losses, dict):
                fits = isinstance(whole, dict) and key in whole
            else:
                fits = isinstance(whole, (tuple, list)) and len(whole) == len(self.losses)
            if not fits:
                raise ValueError(
                    f"several losses: outputs and targets must be a {type(self.losses).__name__} "
                    f"with {[*self.parts]}, as the losses, got shapes "
                    f"{mapped(whole, lambda a: getattr(a, 'shape', a))!r:.200}"
                )
        return metric(y[key], target[key])


def _keyed(given):
    """A dict; of a list, with positions as keys."""
    return given if isinstance(given, dict) else dict(enumerate(given))


def takes_weight(function: object) -> bool:
    """Whether it is a function with an argument `sample_weight`; of several losses, whether all
    are.
    """
    losses = getattr(function, "parts", {"loss": function}).values()
    return all(callable(f) and "sample_weight" in signature(f).parameters for f in losses)


_PLACES = {"loss": "nn", "metrics": "train"}  # where advice has their names elsewhere
METRICS = {"accuracy": accuracy, "top5": top5, "mae": functional.l1, "mse": functional.mse}
LOSSES = {name: f for name, f in vars(functional).items() if isfunction(f) and takes_weight(f)}
_TAKEN = "loss", "epoch", "rate"  # names in a history that are no metric's


def loss_of(given: Any, weights: Any) -> Any:
    """The loss of what a Trainer is given for it: a function (output, target, ...) -> Tensor."""
    if isinstance(given, (dict, list, tuple)):
        return Losses(given, weights or {})
    if weights is not None:
        raise ValueError("loss_weights are for several losses, a dict or a list of them")
    return called("loss", given, LOSSES)


def by_name(metrics: Any, loss: Any = None) -> dict[str, Metric]:
    """A dict name -> function of one metric, of a list of them, or of such a dict.

    loss: where it is several `Losses`, each is one metric more, and a dict may have metrics of one
        output under the key of its loss; others are of all outputs, and functions.
    Raises ValueError for an unknown name, and where two have one name in a history or one has the
    name of something else there.
    """
    if metrics is None:
        metrics = []
    if callable(metrics) or isinstance(metrics, str):
        metrics = [metrics]
    if isinstance(metrics, dict):
        pairs = metrics.items()
    else:
        pairs = [(m if isinstance(m, str) else getattr(m, "__name__", None), m) for m in metrics]
    if isinstance(loss, Losses):
        pairs = _of_parts(pairs, loss)
    found = {}
    for name, metric in pairs:
        function = called("metrics", metric, METRICS)
        if not isinstance(name, str) or name in _TAKEN or name.startswith("valid_"):
            raise ValueError(
                f"metrics: {metric!r} cannot be called {name!r} in a history (a string, not one of "
                f"{', '.join(_TAKEN)}, valid_...); give a dict name -> function"
            )
        if found.setdefault(name, function) != function:
            raise ValueError(f"metrics: two are called {name!r}, {found[name]!r} and {function!r}; "
                             "give a dict name -> function")  # fmt: skip
    if loss in (functional.mse, functional.l1, functional.huber):
        found |= {name: _of_rows for name, metric in found.items() if metric is accuracy}
    if loss is functional.bce and accuracy in found.values():
        raise ValueError(
            "metrics: accuracy takes logits, of which more than 0 means 1, and the loss bce "
            "probabilities: leave out the sigmoid and use 'bce_with_logits', or give a metric of "
            "your own, such as lambda y, t: ((y > 0.5) == t).mean()"
        )
    return found


def _of_parts(pairs, several):
    """The pairs (name, metric) of several losses, in which each metric is one of all outputs."""
    found = [(key, "loss", loss) for key, loss in several.parts.items()]
    whole = []
    for key, metric in pairs:
        if key in several.parts:
            of_this = by_name(metric, several.parts[key])
            found += [(key, name, function) for name, function in of_this.items()]
        elif callable(metric):
            whole.append((key, metric))
        else:
            raise ValueError(
                f"metrics: of several losses, say which output {metric!r} is of, as in "
                f"metrics={{{next(iter(several.parts))!r}: 'accuracy'}}"
            )
    return whole + [(f"{k}_{name}", partial(several.measured, k, f)) for k, name, f in found]
