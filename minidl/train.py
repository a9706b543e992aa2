"""The training loop: fit, evaluate, predict, and the callbacks that watch it.

The one rule of this file: whatever the rest of a run depends on is in one checkpoint (weights,
optimiser, random state, place in the epoch, sums so far, callbacks), so a run that was killed
and resumed ends in the same bits as one that was not.

Explained in course/12.
"""

import json
import math
import os
import sys
import time

import numpy as np

from . import backend, io, optim
from .data import ArrayDataset, DataLoader
from .ops import argmax
from .tensor import Tensor


def accuracy(y, labels):
    """The share of rows of y (N, K) whose largest element is at the label; labels (N,)."""
    right = argmax(y, axis=-1) == labels
    return float(right.data.sum()) / max(right.size, 1)


class Trainer:
    """Trains a model in Keras's manner.

    loss: a function (output, target) -> Tensor with one element, the mean over the batch.
    metrics: functions (output, target) -> float, each a mean over the batch; reported by name.
    device: where the model is moved and the batches follow.  clip_norm: None, or the length to
    which all gradients together are cut (`optim.clip_grad_norm`).
    history: a dict name -> list with a number for each epoch.
    """

    def __init__(self, model, optimizer, loss, metrics=(), *, device="cpu", clip_norm=None):
        self.model, self.optimizer, self.loss = model.to(device), optimizer, loss
        self.metrics, self.device, self.clip_norm = list(metrics), device, clip_norm
        self.history, self.logs, self.callbacks = {}, {}, []
        self.epoch = self.batch = 0  # the epoch that runs, the batches of it that are done
        self.sums, self.stopped = {}, False

    def fit(
        self, train, valid=None, epochs=1, *, batch_size=64, seed=0, callbacks=(), progress=True,
        resume=None,
    ):  # fmt: skip
        """Train until `epochs` epochs are done in all; return the history.

        train, valid: a DataLoader, or a data set, which is shuffled (train) and cut into batches
        of `batch_size`.  progress: a bar (tqdm), or a line for each epoch where tqdm is missing.
        resume: a checkpoint to go on from, exactly; a path that does not exist yet is no error,
        so the same command starts and resumes.
        Raises FloatingPointError, naming the operation, when the loss is no longer finite.
        """
        loader = train
        if not isinstance(train, DataLoader):
            loader = DataLoader(train, batch_size, shuffle=True, seed=seed)
        if not len(loader):
            raise ValueError("fit: the training data gives no batch")
        shown = [Progress()] if progress else []
        # Checkpoints last, so that they hold what the other callbacks did.
        self.callbacks = sorted([*shown, *callbacks], key=lambda c: isinstance(c, Checkpoint))
        if resume is not None and os.path.exists(resume):
            self.load(resume)
        self.n_batches, self.n_epochs = len(loader), epochs
        self._tell("on_train_begin")
        try:
            while self.epoch < epochs and not self.stopped:
                self._tell("on_epoch_begin")
                for batch in loader.batches(self.epoch, start=self.batch):
                    self._add(self.train_step(batch), len(batch[0]))
                    self.batch += 1
                    self.logs = self._means()
                    self._tell("on_batch_end")
                if valid is not None:
                    found = self.evaluate(valid, batch_size=batch_size)
                    self.logs |= {f"valid_{name}": value for name, value in found.items()}
                for name, value in self.logs.items():
                    self.history.setdefault(name, []).append(value)
                self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}
                loader.epoch = self.epoch
                self._tell("on_epoch_end")
        finally:
            self._tell("on_train_end")
        return self.history

    def train_step(self, batch):
        """One step on a batch (inputs ..., target); returns a dict name -> mean over the batch."""
        *inputs, target = self._tensors(batch)
        self.model.train()
        self.optimizer.zero_grad()
        y = self.model(*inputs)
        loss = self.loss(y, target)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss became {value} at step {self.optimizer.steps} (epoch {self.epoch + 1}, "
                f"batch {self.batch + 1}): {origin(loss, self.model)}"
            )
        loss.backward()
        if self.clip_norm is not None:
            optim.clip_grad_norm(self.optimizer.parameters, self.clip_norm)
        self.optimizer.step()
        return {"loss": value} | self._measure(y, target)

    def evaluate(self, data, *, batch_size=256):
        """The loss and metrics over all of `data` (a DataLoader or a data set), as a dict."""
        before, self.sums = self.sums, {}
        try:
            for batch in self._batches(data, batch_size):
                *inputs, target = self._tensors(batch)
                y = self._run(inputs)
                with backend.no_grad():
                    loss = self.loss(y, target).item()
                self._add({"loss": loss} | self._measure(y, target), len(batch[0]))
            return self._means()
        finally:
            self.sums = before

    def predict(self, data, *, batch_size=256):
        """The model's outputs for all of `data`, one NumPy array.

        data: an array of inputs, or a DataLoader or data set, whose target is left out.
        """
        if isinstance(data, (np.ndarray, Tensor)):
            data = ArrayDataset(
                data.numpy() if isinstance(data, Tensor) else data, np.empty(len(data))
            )
        found = [
            self._run(self._tensors(batch[:-1])).numpy()
            for batch in self._batches(data, batch_size)
        ]
        return np.concatenate(found)

    def save(self, path):
        """Write all that the rest of the run depends on to `path`, a safetensors file."""
        arrays = {f"model.{k}": a for k, a in self.model.state_dict().items()}
        arrays |= {f"optimizer.{k}": a for k, a in self.optimizer.state_dict().items()}
        kept = []
        for i, callback in enumerate(c for c in self.callbacks if hasattr(c, "state")):
            numbers, weights = callback.state()
            kept.append([type(callback).__name__, numbers])
            arrays |= {f"callback{i}.{k}": a for k, a in weights.items()}
        place = {
            "epoch": self.epoch, "batch": self.batch, "sums": self.sums, "stopped": self.stopped,
            "history": self.history, "random": backend.random_state(), "callbacks": kept,
        }  # fmt: skip
        io.save(path, arrays, {"minidl.trainer": json.dumps(place)})

    def load(self, path):
        """Go back to the state that `save` wrote.  Raises ValueError when it does not fit."""
        arrays, metadata = io.load(path)
        if "minidl.trainer" not in metadata:
            raise ValueError(
                f"{path} holds arrays, but no training state; was it saved by Trainer?"
            )
        place = json.loads(metadata["minidl.trainer"])

        def part(prefix):
            return {k[len(prefix) :]: a for k, a in arrays.items() if k.startswith(prefix)}

        self.model.load_state_dict(part("model."))
        self.optimizer.load_state_dict(part("optimizer."))
        mine = [c for c in self.callbacks if hasattr(c, "state")]
        for i, (callback, (name, numbers)) in enumerate(zip(mine, place["callbacks"])):
            if type(callback).__name__ == name:
                callback.set_state(numbers, part(f"callback{i}."))
        self.epoch, self.batch, self.sums = place["epoch"], place["batch"], place["sums"]
        self.history, self.stopped = place["history"], place["stopped"]
        backend.set_random_state(place["random"])

    def _tell(self, event):
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _batches(self, data, batch_size):
        loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size)
        return loader.batches(0)

    def _tensors(self, batch):
        return [Tensor(backend.to_device(a, self.device)) for a in batch]

    def _run(self, inputs):
        self.model.eval()
        with backend.no_grad():
            return self.model(*inputs)

    def _measure(self, y, target):
        with backend.no_grad():
            return {metric.__name__: float(metric(y, target)) for metric in self.metrics}

    def _add(self, values, n):
        """Add a batch of n samples to the sums, from which `_means` takes the means."""
        for name, value in (values | {"": 1.0}).items():
            self.sums[name] = self.sums.get(name, 0.0) + value * n

    def _means(self):
        return {k: v / self.sums[""] for k, v in self.sums.items() if k}


def origin(loss, model):
    """A sentence: which operation first made a number that is not finite, in `loss`'s record."""
    seen, waiting = {}, [loss]
    while waiting:
        x = waiting.pop()
        if isinstance(x, Tensor) and x.number not in seen:
            seen[x.number] = x
            waiting += x.inputs or ()
    for _, x in sorted(seen.items()):  # in the order in which they were made
        if x.dtype.kind != "f" or np.isfinite(backend.to_numpy(x.data)).all():
            continue
        if x.op is not None:
            shapes = " and ".join(str(getattr(i, "shape", i)) for i in x.inputs)
            return f"the operation {x.op.name!r} on shapes {shapes} first produced it"
        for name, p in model.named_parameters():
            if p is x:
                return (
                    f"parameter {name!r} was no longer finite after the last step; "
                    "lower the learning rate or clip the gradients"
                )
        return f"an input of shape {x.shape} was not finite; check the data"
    return "no operation in its record produced it; look at what the loss computes outside"


class Callback:
    """Watches a training run; a subclass writes the events it needs.

    One that must survive a resume also writes `state() -> (numbers, arrays)`, both dicts, the
    first of what JSON can hold, and `set_state(numbers, arrays)`.
    """

    def on_train_begin(self, trainer):
        """Before the first epoch."""

    def on_epoch_begin(self, trainer):
        """Before the first batch of an epoch (or the first after a resume)."""

    def on_batch_end(self, trainer):
        """After each step; trainer.logs has the means of the epoch so far."""

    def on_epoch_end(self, trainer):
        """After each epoch; trainer.logs has its means, with those of the validation data."""

    def on_train_end(self, trainer):
        """After the last epoch, or when an error ends the run."""


class Progress(Callback):
    """A bar for each epoch, in a terminal or a notebook; without tqdm a line for each epoch."""

    def on_epoch_begin(self, trainer):
        self.bar, self.began = None, time.perf_counter()
        try:
            from tqdm.auto import tqdm
        except ImportError:
            return
        self.bar = tqdm(
            total=trainer.n_batches, initial=trainer.batch, unit="batch", file=sys.stdout,
            desc=f"epoch {trainer.epoch + 1}/{trainer.n_epochs}", mininterval=0.2,
        )  # fmt: skip

    def on_batch_end(self, trainer):
        if self.bar is not None:
            if trainer.batch % 10 == 0:
                self.bar.set_postfix_str(_line(trainer.logs), refresh=False)
            self.bar.update()

    def on_epoch_end(self, trainer):
        if self.bar is not None:
            self.bar.set_postfix_str(_line(trainer.logs))
            self.bar.close()
            self.bar = None
        else:
            seconds = time.perf_counter() - self.began
            print(
                f"epoch {trainer.epoch}/{trainer.n_epochs}: {_line(trainer.logs)}, {seconds:.0f} s"
            )

    def on_train_end(self, trainer):
        if getattr(self, "bar", None) is not None:
            self.bar.close()


def _line(logs):
    return ", ".join(f"{name} {value:.4f}" for name, value in logs.items())


class EarlyStopping(Callback):
    """Ends training when `monitor` has not improved for `patience` epochs.

    monitor: a name in the history; smaller is better unless `largest`.  The model then gets back
    the weights of its best epoch.
    """

    def __init__(self, patience=3, *, monitor="valid_loss", largest=False):
        self.patience, self.monitor, self.largest = patience, monitor, largest
        self.best, self.waited, self.weights = None, 0, {}

    def on_epoch_end(self, trainer):
        if self.monitor not in trainer.logs:
            raise ValueError(f"no {self.monitor!r} to watch; there are {sorted(trainer.logs)}")
        value = trainer.logs[self.monitor] * (-1 if self.largest else 1)
        if self.best is None or value < self.best:
            self.best, self.waited, self.weights = value, 0, trainer.model.state_dict()
        else:
            self.waited += 1
            trainer.stopped = self.waited >= self.patience

    def on_train_end(self, trainer):
        if self.weights and sys.exception() is None:
            trainer.model.load_state_dict(self.weights)

    def state(self):
        return {"best": self.best, "waited": self.waited}, self.weights

    def set_state(self, numbers, arrays):
        self.best, self.waited, self.weights = numbers["best"], numbers["waited"], arrays


class Checkpoint(Callback):
    """Saves the run to `path` after each epoch and, if `every` is given, each `every` batches."""

    def __init__(self, path, *, every=None):
        self.path, self.every = path, every

    def on_batch_end(self, trainer):
        if self.every and trainer.batch % self.every == 0 and trainer.batch < trainer.n_batches:
            trainer.save(self.path)

    def on_epoch_end(self, trainer):
        trainer.save(self.path)


def plot_history(history, path=None):
    """Curves of the history, loss left and metrics right; saved to `path` if given.

    Returns matplotlib's figure.  Needs matplotlib: pip install "minidl[course]".
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot_history needs matplotlib: pip install "minidl[course]"') from error
    losses = [name for name in history if name.endswith("loss")]
    panels = [group for group in (losses, [k for k in history if k not in losses]) if group]
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name in names:
            epochs = range(1, len(history[name]) + 1)
            axes.plot(epochs, history[name], marker=".", label=name.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.set_ylabel(names[0].replace("_", " "))
        axes.legend()
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
