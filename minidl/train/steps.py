"""One update of the weights: as it is written, as compiled source, and by a group of processes.

The one rule of this file: a step is called with batches, each beside the weights of its samples,
and gives the means of what it measured.  It reads the trainer's public attributes, and leaves
nothing behind but the model, the optimiser and the loss scaler as they are after the update.

A step has two halves.  A call computes the gradients; `update` makes of them the next weights.
Without a group a call does both.  In a group the processes meet between the halves.

Explained in course/12 and course/23 (groups).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from .. import optim
from ..engine import devices, intercept
from ..engine.tensor import Tensor
from ..graph.compiled import compile
from ..graph.lines import flat, mapped
from ..nn.module import Parameter
from .batches import call, filled, is_nested, n_samples, parts, tensors
from .debug import origin
from .metrics import scalar
from .precision import autocast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..graph.compiled import Compiled
    from .trainer import Trainer

    # Pairs: a batch, see batches.py, and the weights of its samples, (N,), or None.
    Batches = Sequence[tuple[Sequence[Any], Any]]


class EagerStep:
    """A step as it is written: one operation after the other, with half the bits if so wished."""

    compiled: Compiled[..., Any] | None = None

    def __init__(self, trainer: Trainer):
        self.trainer, self.whole = trainer, trainer.group is None

    def __call__(self, batches: Batches) -> dict[str, float]:
        """The means over all samples; the gradients are those of one large batch."""
        trainer = self.trainer
        trainer.optimizer.zero_grad()
        n = sum(n_samples(batch) for batch, _ in batches)
        measured = []
        for batch, weight in batches:
            with autocast() if trainer.scaler else nullcontext():
                loss, found = measure(trainer, batch, weight)
            if not math.isfinite(found["loss"]):
                place = f"step {trainer.optimizer.steps} ({_place(trainer, len(measured))})"
                raise FloatingPointError(f"the loss became {found['loss']} at {place}: "
                                         f"{origin(loss, trainer.model)}; a learning rate that is "
                                         "too high is the usual reason: try a tenth of it, or "
                                         "clip_norm=1.0")  # fmt: skip
            share = loss * (n_samples(batch) / n)
            if trainer.scaler:
                share = trainer.scaler.scale(share)
            share.backward()
            measured.append((found, n_samples(batch)))
        if self.whole:
            self.update()
        return mean(measured)

    def update(self) -> None:
        """Cut the gradients to `clip_norm` and change the weights."""
        scaler = self.trainer.scaler
        if scaler is None:
            _clipped(self.trainer).step()
        else:
            scaler.unscale(self.trainer.optimizer)
            scaler.step(_clipped(self.trainer))


class CompiledStep:
    """A step that `minidl.compile` traces when it is first called, and runs as NumPy source.

    options: those of `compile`.  In a group what is traced ends with the gradients, and the
    update is traced by itself.
    compiled: the compiled function that ran last, or will run first; its `source` can be read.
    """

    def __init__(self, trainer: Trainer, options: dict[str, Any]):
        self.trainer, self.whole, self.options = trainer, trainer.group is None, options
        self.steps: dict[Any, Compiled] = {}  # the form of a batch, and whether it has weights
        self.rest: Compiled[..., None] = compile(self._update, **options)
        self.compiled: Compiled[..., Any] = self._step([None, None], True)

    def __call__(self, batches: Batches) -> dict[str, float]:
        """The means over the samples of the one batch; none is measured where there is none."""
        trainer = self.trainer
        trainer.optimizer.zero_grad()
        if not batches:
            return {}
        ((batch, weight),) = batches
        given = tensors(trainer, batch)
        _, target = parts(given, trainer.loss)
        if weight is not None:
            given = *given, Tensor(devices.to_device(weight, trainer.device))
        form, arrays = [None] * len(given), given
        if is_nested(given):
            form, arrays = mapped(given, lambda _: None), flat(given)
        self.compiled = self._step(form, weight is None)
        loss, y = self.compiled(*arrays)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss became {value} ({_place(trainer)}); "
                                     "compile=False says which operation made it")  # fmt: skip
        return {"loss": value} | numbers(trainer, y, target)

    def update(self) -> None:
        """Cut the gradients to `clip_norm` and change the weights."""
        self.rest(*(p.grad for p in self._trained()))

    def _step(self, form, plain):
        """The step for batches of this form, plain or with weights; each has its function, or the
        weights of samples might be taken for one input more.
        """
        key = repr(form), plain
        if key not in self.steps:
            self.steps[key] = compile(partial(self._traced, form, plain), **self.options)
        return self.steps[key]

    def _trained(self):
        """The parameters that a group leaves a gradient in."""
        parameters = self.trainer.optimizer.parameters
        return [p for p in parameters if p.requires_grad and isinstance(p, Parameter)]

    def _traced(self, form, plain, *arrays):
        """The loss and the outputs of a batch in this form; unless plain, it ends with weights."""
        trainer, weight = self.trainer, None
        _noted(trainer)
        batch = filled(form, arrays)
        if not plain:
            *batch, weight = batch
        loss, y, _ = run(trainer, batch, weight)
        loss.backward()
        if self.whole:
            _clipped(trainer).step()
            trainer.optimizer.zero_grad()
        return loss, y

    def _update(self, *grads):
        _noted(self.trainer)
        self.trainer.optimizer.zero_grad()  # a trace knows of no gradients from before
        for p, g in zip(self._trained(), grads, strict=True):
            p.grad = g
        _clipped(self.trainer).step()
        self.trainer.optimizer.zero_grad()


def make_step(trainer: Trainer, compile: Any) -> Any:
    """The step of a trainer.  compile: see `Trainer`."""
    if not compile:
        step = EagerStep(trainer)
    elif isinstance(compile, dict):
        step = CompiledStep(trainer, compile)
    else:
        step = CompiledStep(trainer, {} if compile is True else {"passes": compile})
    return trainer.group.step(step) if trainer.group else step


# ---- what steps have in common, and evaluation too


def run(trainer: Trainer, batch: Sequence[Any], weight: Any = None) -> tuple[Tensor, Any, Any]:
    """The loss, the outputs and the target of a batch of Tensors.

    Raises TypeError unless the loss is a Tensor with one element.
    """
    inputs, target = parts(batch, trainer.loss)
    y = call(trainer.model, inputs)
    weights = {} if weight is None else {"sample_weight": weight}
    return scalar(trainer.loss(y, target, **weights)), y, target


def measure(
    trainer: Trainer, batch: Sequence[Any], weight: Any = None
) -> tuple[Tensor, dict[str, float]]:
    """The loss for a batch, a Tensor, and a dict of the loss and metrics as numbers."""
    if weight is not None:
        weight = devices.to_device(weight, trainer.device)
    loss, y, target = run(trainer, tensors(trainer, batch), weight)
    with intercept.no_grad():
        found = numbers(trainer, y, target)
    return loss, {"loss": loss.item()} | found


def numbers(trainer: Trainer, y: Any, target: Any) -> dict[str, float]:
    """The metrics of outputs y, by name."""
    found = {name: metric(y, target) for name, metric in trainer.metrics.items()}
    for name, value in found.items():
        if getattr(value, "size", 1) != 1:
            raise TypeError(f"metrics: {name!r} must give one number for a batch, its mean, got "
                            f"shape {value.shape}; end it with .mean()")  # fmt: skip
        found[name] = float(value)
    return found


def mean(measured: Sequence[tuple[dict[str, float], int]]) -> dict[str, float]:
    """The mean, by name, of dicts of numbers, each with how many samples it stands for.

    The names are those of the last; where another lacks one, it counts as 0.  Of nothing: {}.
    """
    if not measured:
        return {}
    total = sum(n for _, n in measured)
    return {k: sum(d.get(k, 0.0) * n for d, n in measured) / total for k in measured[-1][0]}


def _clipped(trainer):
    """The optimizer, whose gradients are cut to `clip_norm`."""
    if trainer.clip_norm is not None:
        optim.clip_grad_norm(trainer.optimizer.parameters, trainer.clip_norm)
    return trainer.optimizer


def _noted(trainer):
    """Let the trace that is written know what it reads of the trainer."""
    if intercept.modes.tracing:
        intercept.modes.tracing.settings.note(trainer, "model", "loss", "optimizer", "clip_norm")


def _place(trainer, done=0):
    return f"epoch {trainer.epoch + 1}, batch {trainer.batch + done + 1}"
