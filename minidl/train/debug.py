"""Where a run goes wrong: the operation that made a NaN, the layers where signals die or explode.

The one rule of this file: it only looks, so a run that is watched ends in the same bits.

Explained in course/13.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from types import FunctionType
from typing import TYPE_CHECKING

import numpy as np

from ..engine.devices import array_module
from ..engine.gradients import Piece, Product
from ..engine.intercept import intercepted
from ..engine.tensor import Primitive, Tensor, grad
from ..graph.drawing import figure_of, saved
from ..nn.module import Module, watched

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from typing import Any

    from matplotlib.figure import Figure

# Operations that only move elements or choose among them; any other computes with all it is given.
MOVES = set("where getitem scatter reshape transpose concatenate broadcast_to cast".split())


def _held(x):
    """ "NaN" or "infinity" if a number in x is one, the former before the latter; else ""."""
    if isinstance(x, (Piece, Product)):
        x = x.whole()
    a = x.data if isinstance(x, Tensor) else x
    xp = array_module(a)
    if xp.isfinite(a).all():
        return ""
    return "NaN" if xp.isnan(a).any() else "infinity"


def _made(x, op, inputs):
    """What `_held` finds in x, if it is the fault of `op`, which made x of `inputs`; or ""."""
    found = _held(x)
    passes = found == "infinity" or (op is not None and op.name in MOVES)
    if found and passes and any(map(_held, inputs)):
        return ""
    return found


def _with_shapes(op, inputs):
    shapes = " and ".join(str(getattr(x, "shape", x)) for x in inputs)
    return f"the operation {op.name!r} on shapes {shapes}"


@contextmanager
def stop_at_nan(model: Module | None = None) -> Iterator[None]:
    """Inside, the first operation that makes a NaN or an infinity raises FloatingPointError.

    It names the operation, the layer of `model`, the shapes, and whether it was on the way back.
    An infinity may come out of an operation that was given one: a mask's -inf is meant, and its
    softmax is finite.  A NaN may come only out of `MOVES`, which made nothing themselves.  In a
    gradient neither may be.
    """
    layers = [""]  # where the operation that runs is, the innermost layer last

    def around(path, module, run):
        layers.append(f" in {path or 'the model'} ({type(module).__name__})")
        try:
            return run()
        finally:
            layers.pop()

    def handler(op, inputs, attrs):
        place = f"{_with_shapes(op, inputs)}{layers[-1]} made"
        y = op(*inputs, **attrs)
        if fault := _made(y, op, inputs):
            raise FloatingPointError(f"{place} {fault}")
        if isinstance(y, Tensor) and y.op is not None:
            y.op = _with_its_rule_checked(y.op, f"on the way back, {place}")
        return y

    watch = nullcontext() if model is None else watched(model, around)
    with watch, intercepted(handler), np.errstate(all="ignore"):
        yield


def _with_its_rule_checked(op, place):
    """The same operation, whose gradients raise FloatingPointError, saying `place`, if not finite.

    A gradient that is given as a function is checked when it is computed.
    """

    def checked(share):
        if type(share) is FunctionType:
            share = share()
        if share is not None and (fault := _held(share)):
            raise FloatingPointError(f"{place} {fault}")
        return share

    def rule(*given, **attrs):
        shares = op.rule(*given, **attrs)
        if type(shares) not in (tuple, list):
            return shares  # which the walk refuses
        return [lambda share=share: checked(share) for share in shares]

    twin = Primitive(op.forward)
    twin.rule = rule
    return twin


def origin(loss: Tensor, model: Module) -> str:
    """A sentence: which operation first made a number that is not finite, in `loss`'s record."""
    seen = {}
    waiting = [loss]
    while waiting:
        x = waiting.pop()
        if isinstance(x, Tensor) and x.number not in seen:
            seen[x.number] = x
            waiting += x.inputs or ()
    names = {p: f"parameter {name!r}" for name, p in model.named_parameters()}
    for _, x in sorted(seen.items()):  # in the order in which they were made
        inputs = x.inputs or ()
        if not _made(x, x.op, inputs):
            continue
        if x.op is not None:
            return f"{_with_shapes(x.op, inputs)} first produced it"
        if x in names:
            found = f"{names[x]} was no longer finite after the last step"
            return f"{found}; lower the learning rate or clip the gradients"
        return f"an input of shape {x.shape} was not finite; check the data"
    return "no operation in its record produced it; look at what the loss computes outside"


def statistics(
    model: Module, loss: Callable[[Any, Tensor], Tensor], *batch: Tensor | np.ndarray
) -> list[dict[str, Any]]:
    """How a batch goes through each layer that is differentiated: a list of dicts, in order.

    loss: a function (output, target) -> Tensor with one element.
    batch: inputs ..., target, on the model's device.

    Each dict has
        layer: its path and its kind;
        mean, std: of its output;
        zeros: the share of its output that is 0;
        gradient: the standard deviation of the gradient of its output;
        weights: that of the gradient of its first parameter, or nan where it has none.
    Modules that hold others are left out.  Buffers and `.grad` stay as they are.
    """
    calls = []  # (name, output, the first parameter or None)
    before = model.state_dict()

    def around(path, module, run):
        y = run()
        first = y[0] if isinstance(y, tuple) else y
        if first.requires_grad and not any(isinstance(p, Module) for _, p in module.parts()):
            p = next(iter(module.parameters()), None)
            calls.append((f"{path} ({type(module).__name__})", first, p))
        return y

    *inputs, target = (x if isinstance(x, Tensor) else Tensor(x) for x in batch)
    with watched(model, around):
        value = loss(model(*inputs), target)
    wanted = [x for _, *pair in calls for x in pair if x is not None]
    gradients = iter(grad(value, wanted))
    model.load_state_dict(before)  # only now: a walk back wants all as it was in the forward pass
    return [
        {
            "layer": layer,
            "mean": float(y.numpy().mean(dtype=float)),
            "std": _std(y),
            "zeros": float((y.numpy() == 0).mean()),
            "gradient": _std(next(gradients)),
            "weights": math.nan if p is None else _std(next(gradients)),
        }
        for layer, y, p in calls
    ]


def _std(x):
    """The standard deviation in float64, where the square of a small gradient is not 0."""
    return float(np.std(x.numpy(), dtype=float))


def plot_statistics(
    rows: list[dict[str, Any]], path: str | os.PathLike[str] | None = None
) -> Figure:
    """A picture of `statistics` by layer, deviations on a log scale, where a slope shows at once.

    Gradients that shrink towards the left vanish; that grow, explode.  Returns matplotlib's
    figure, saved to `path` if given.  Needs matplotlib: pip install "minidl[course]".
    """
    figure = figure_of("plot_statistics", figsize=(11, 3.6))
    log = {"yscale": "log"}
    panels = (
        ({"std": "o-"}, log),
        ({"zeros": "o-"}, {"ylim": (-0.02, 1)}),
        ({"gradient": "o-", "weights": "s"}, log),
    )
    for axes, (marks, options) in zip(figure.subplots(1, 3), panels):
        axes.set(**options)
        nothing = math.nan if options is log else 0.0  # a log scale has no place for 0
        for name, mark in marks.items():
            axes.plot([row[name] or nothing for row in rows], mark, label=name)
        axes.set_xticks(range(len(rows)), [row["layer"] for row in rows], rotation=90)
        axes.legend()
    return saved(figure, path)
