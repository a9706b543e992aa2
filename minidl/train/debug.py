"""Where a run goes wrong: the operation that made a NaN, the layers where signals die or explode.

The one rule of this file: it only looks, so a run that is watched ends in the same bits.

Explained in course/12.
"""

import math
from contextlib import contextmanager, nullcontext
from types import FunctionType

import numpy as np

from ..engine.devices import array_module
from ..engine.gradients import Piece, Product
from ..engine.intercept import intercepted
from ..engine.tensor import Primitive, Tensor, grad
from ..nn.module import Module, watched

# Operations that only move elements or choose among them; any other computes with all it is given.
MOVES = set("where getitem scatter reshape transpose concatenate broadcast_to cast".split())


def _fault(x, op=None, inputs=()):
    """What x holds, "NaN" or "infinity", by the fault of `op`, which made it of `inputs`; or ""."""

    def worst(x):
        x = x.whole() if isinstance(x, (Piece, Product)) else x
        a = x.data if isinstance(x, Tensor) else x
        xp = array_module(a)
        return "" if xp.isfinite(a).all() else "NaN" if xp.isnan(a).any() else "infinity"

    found = worst(x)
    passes = found == "infinity" or (op is not None and op.name in MOVES)
    return "" if found and passes and any(map(worst, inputs)) else found


def _named(op, inputs):
    shapes = " and ".join(str(getattr(x, "shape", x)) for x in inputs)
    return f"the operation {op.name!r} on shapes {shapes}"


@contextmanager
def stop_at_nan(model=None):
    """Inside, the first operation that makes a NaN or an infinity raises FloatingPointError.

    It names the operation, the layer of `model`, the shapes, and whether it was on the way back.
    An infinity passes if an input had one: a mask's -inf is meant, and its softmax is finite.  A
    NaN passes only through `MOVES`, a gradient that is not finite never.
    """
    layers = [""]

    def around(path, module, run):
        layers.append(f" in {path or 'the model'} ({type(module).__name__})")
        try:
            return run()
        finally:
            layers.pop()

    def handler(op, inputs, attrs):
        place = f"{_named(op, inputs)}{layers[-1]} made"

        def checked(share):
            share = share() if type(share) is FunctionType else share
            if share is not None and (fault := _fault(share)):
                raise FloatingPointError(f"on the way back, {place} {fault}")
            return share

        def each(shares):
            if type(shares) not in (tuple, list):
                return shares  # which the walk refuses
            return [lambda share=share: checked(share) for share in shares]

        y = op(*inputs, **attrs)
        if fault := _fault(y, op, inputs):
            raise FloatingPointError(f"{place} {fault}")
        if isinstance(y, Tensor) and y.op is not None:  # the same operation, with its rule checked
            rule, y.op = y.op.rule, Primitive(y.op.forward)
            y.op.rule = lambda *given, **attrs: each(rule(*given, **attrs))
        return y

    watch = nullcontext() if model is None else watched(model, around)
    with watch, intercepted(handler), np.errstate(all="ignore"):
        yield


def origin(loss, model):
    """A sentence: which operation first made a number that is not finite, in `loss`'s record."""
    seen, waiting = {}, [loss]
    while waiting:
        x = waiting.pop()
        if isinstance(x, Tensor) and x.number not in seen:
            seen[x.number] = x
            waiting += x.inputs or ()
    names = {p: f"parameter {name!r}" for name, p in model.named_parameters()}
    for _, x in sorted(seen.items()):  # in the order in which they were made
        if not _fault(x, x.op, x.inputs or ()):
            continue
        if x.op is not None:
            return f"{_named(x.op, x.inputs or ())} first produced it"
        if x in names:
            found = f"{names[x]} was no longer finite after the last step"
            return f"{found}; lower the learning rate or clip the gradients"
        return f"an input of shape {x.shape} was not finite; check the data"
    return "no operation in its record produced it; look at what the loss computes outside"


def statistics(model, loss, *batch):
    """How a batch goes through each layer that is differentiated: a list of dicts, in order.

    batch: inputs ..., target, where the model is; loss(output, target) -> one element.  In a
    dict: layer (path and kind); mean, std, zeros (a share) of its output; gradient, weights: std
    of the gradients of its output and of its first parameter (or nan).  Modules that hold others
    are left out.  Buffers and `.grad` stay.
    """
    calls, before = [], model.state_dict()

    def around(path, module, run):
        y = run()
        first = y[0] if isinstance(y, tuple) else y
        if first.requires_grad and not any(isinstance(p, Module) for _, p in module.parts()):
            calls.append((f"{path} ({type(module).__name__})", first, *module.parameters()[:1]))
        return y

    def std(x):  # in float64, where the square of a small gradient is not 0
        return float(np.std(x.numpy(), dtype=float))

    *inputs, target = (x if isinstance(x, Tensor) else Tensor(x) for x in batch)
    with watched(model, around):
        value = loss(model(*inputs), target)
    gradients = map(std, grad(value, [x for _, *tensors in calls for x in tensors]))
    model.load_state_dict(before)  # only now: a walk back wants all as it was in the forward pass
    rows = []
    for layer, y, *p in calls:
        a, g, w = y.numpy(), next(gradients), next(gradients) if p else math.nan
        row = {"layer": layer, "mean": float(a.mean(dtype=float)), "std": std(y)}
        rows.append(row | {"zeros": float((a == 0).mean()), "gradient": g, "weights": w})
    return rows


def plot_statistics(rows, path=None):
    """A picture of `statistics` by layer, deviations on a log scale, where a slope shows at once.

    Gradients that shrink towards the left vanish; that grow, explode.  Returns matplotlib's
    figure, saved to `path` if given.  Needs matplotlib: pip install "minidl[course]".
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the plot needs matplotlib: pip install "minidl[course]"') from error
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = ("std",), ("zeros",), ("gradient", "weights")
    for axes, names in zip(figure.subplots(1, 3), panels):
        nothing = 0 if "zeros" in names else math.nan  # which a log scale leaves out
        axes.set(**({"ylim": (-0.02, 1)} if "zeros" in names else {"yscale": "log"}))
        for name, mark in zip(names, ("o-", "s")):
            axes.plot([row[name] or nothing for row in rows], mark, label=name)
        axes.set_xticks(range(len(rows)), [row["layer"] for row in rows], rotation=90)
        axes.legend()
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
