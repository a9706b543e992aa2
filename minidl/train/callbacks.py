"""Callbacks: what watches a training run, and may show it, stop it, save it or change its course.

The one rule of this file: a callback sees the trainer's public attributes only, and what it has
to remember after a resume, it names in `kept`.

Explained in course/12.
"""

import csv
import sys
import time
from contextlib import suppress
from io import BytesIO
from itertools import count

import numpy as np

from .. import advice
from ..engine import devices


class Callback:
    """Watches a run; a subclass writes the events that it needs, methods that take the trainer.

    renew, when a fit begins, before it loads what it resumes: to forget what another fit left.
    on_train_begin; on_epoch_begin, also where a resumed run goes on; on_batch_end, after each
    update, when trainer.logs has the means of the epoch so far; on_epoch_end, when it has those
    of the validation data too; on_train_end, also when an error ends the run.
    kept: names of attributes that a checkpoint saves, each a number, None, or a dict of arrays.
    """

    kept = ()

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        advice.constructors(cls)


class Progress(Callback):
    """A line for each epoch; while it runs, a bar in its place, where tqdm is installed."""

    bar = None

    def on_train_begin(self, trainer):
        if trainer.stopped or trainer.epoch >= trainer.n_epochs:
            print(f"nothing to train: {trainer.epoch} epochs of {trainer.n_epochs} are done"
                  f"{', and the run was stopped' * trainer.stopped}")  # fmt: skip

    def on_epoch_begin(self, trainer):
        self.name, self.began = f"epoch {trainer.epoch + 1}/{trainer.n_epochs}", time.perf_counter()
        with suppress(ImportError):
            from tqdm.auto import tqdm

            self.bar = tqdm(total=trainer.n_batches, initial=trainer.batch, leave=False)
            self.bar.set_description(self.name)

    def on_batch_end(self, trainer):
        if self.bar is not None:
            self.bar.set_postfix(trainer.logs, refresh=False)
            self.bar.update(trainer.batch - self.bar.n)

    def on_epoch_end(self, trainer):
        self.on_train_end(trainer)
        found = ", ".join(f"{name} {value:.4f}" for name, value in trainer.logs.items())
        print(f"{self.name}: {found}, {time.perf_counter() - self.began:.0f} s")

    def on_train_end(self, trainer):
        if self.bar is not None:
            self.bar.close()


class Monitor(Callback):
    """What those share that ask whether `monitor`, a name in the history, is the best so far.

    largest: whether larger is better; None: for accuracy and top5 it is.  patience: epochs.
    Another fit of the same trainer goes on with the best so far, and waits anew.
    """

    kept, trainer = ("best", "waited"), None

    def __init__(self, patience=3, *, monitor="valid_loss", largest=None):
        largest = monitor.endswith(("accuracy", "top5")) if largest is None else largest
        self.patience, self.monitor, self.sign = patience, monitor, -1 if largest else 1
        self.best, self.waited = None, 0

    def renew(self, trainer):
        if trainer is not self.trainer:
            self.trainer, self.best = trainer, None
        self.waited = 0

    def improved(self, trainer):
        """Whether the epoch that ended is the best so far; else one more is `waited`."""
        if self.monitor not in trainer.logs:
            raise ValueError(f"no {self.monitor!r} to watch; there are {sorted(trainer.logs)}")
        value = self.sign * trainer.logs[self.monitor]
        better = self.best is None or value < self.best
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better


class EarlyStopping(Monitor):
    """Ends training when `monitor` has not improved for `patience` epochs; the model then gets
    back the weights of its best epoch.
    """

    kept, weights = (*Monitor.kept, "weights"), {}

    def renew(self, trainer):
        super().renew(trainer)
        self.weights = {} if self.best is None else self.weights

    def on_epoch_end(self, trainer):
        if self.improved(trainer):
            self.weights = trainer.model.state_dict()
        elif self.waited >= self.patience:
            trainer.stopped = True

    def on_train_end(self, trainer):
        if self.weights and sys.exception() is None:
            trainer.model.load_state_dict(self.weights)


class ReduceOnPlateau(Monitor):
    """Multiplies the learning rate by `factor`, down to `lowest`, when `monitor` has not improved
    for `patience` epochs, and then waits as long again.
    """

    def __init__(self, patience=3, *, factor=0.1, lowest=0.0, **watched):
        super().__init__(patience, **watched)
        self.factor, self.lowest = factor, lowest

    def on_epoch_end(self, trainer):
        if not self.improved(trainer) and self.waited >= self.patience:
            trainer.optimizer.lr = max(trainer.optimizer.lr * self.factor, self.lowest)
            self.waited = 0


class Schedule(Callback):
    """Sets the learning rate of each epoch, counted from 0, to function(epoch)."""

    def __init__(self, function):
        self.function = function

    def on_epoch_begin(self, trainer):
        trainer.optimizer.lr = self.function(trainer.epoch)


class Checkpoint(Monitor):
    """Saves the run to `path` after each epoch and, if `every` is given, each `every` updates.

    best_only: only after epochs in which `monitor` is the best so far.
    """

    def __init__(self, path, *, every=None, best_only=False, **watched):
        super().__init__(**watched)
        self.path, self.every, self.best_only = path, every, best_only

    def on_batch_end(self, trainer):
        n = self.every and self.every * trainer.accumulate
        if n and trainer.batch % n == 0 and trainer.batch < trainer.n_batches:
            trainer.save(self.path)

    def on_epoch_end(self, trainer):
        if not self.best_only or self.improved(trainer):
            trainer.save(self.path)


class AverageWeights(Callback):
    """A moving average of the weights, in the model's place from the last update of each epoch to
    the first of the next; so it is what is validated, and what is there at the end.

    decay in [0, 1): what is kept at each update t; early on, at most (1 + t) / (10 + t).
    """

    kept, average, own, trainer = ("average", "own"), {}, {}, None

    def __init__(self, decay=0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay

    def renew(self, trainer):
        """Begin anew, unless the model still is the average of the last fit."""
        now = trainer.model.state_dict()
        kept = [(devices.to_numpy(a), devices.to_numpy(now[k])) for k, a in self.average.items()
                if trainer is self.trainer and k in now]  # fmt: skip
        if not kept or not all(np.array_equal(a, b) for a, b in kept):
            self.average, self.own = {}, {}
        self.trainer = trainer

    def on_epoch_begin(self, trainer):
        if self.own:
            trainer.model.load_state_dict(self.own)
            self.own = {}

    def on_batch_end(self, trainer):
        t, state = trainer.optimizer.steps, trainer.model.state_dict()
        d = min(self.decay, (1 + t) / (10 + t))
        old = {k: devices.to_device(a, trainer.device) for k, a in self.average.items()} or state
        self.average = {k: d * old[k] + (1 - d) * a for k, a in state.items()}
        if trainer.batch == trainer.n_batches:
            self.own = state
            trainer.model.load_state_dict(self.average)


class CSVLog(Callback):
    """Writes the history to `path`, anew after each epoch, so a resumed run repeats no line."""

    def __init__(self, path):
        self.path = path

    def on_epoch_end(self, trainer):
        rows = [("epoch", *trainer.history), *zip(count(1), *trainer.history.values())]
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


class HistoryPlot(Callback):
    """Draws the history after each epoch: one picture that changes, in a notebook; else `path`."""

    def __init__(self, path=None):
        self.path = path

    def on_train_begin(self, trainer):
        self.name, self.shown = f"history {time.time_ns()}", False  # each run has its own picture

    def on_epoch_end(self, trainer):
        if "IPython" in sys.modules and sys.modules["IPython"].get_ipython():
            from IPython.display import Image, display

            plot_history(trainer.history, picture := BytesIO())
            display(Image(picture.getvalue()), display_id=self.name, update=self.shown)
            self.shown = True
        elif self.path is not None:
            plot_history(trainer.history, self.path)


def plot_history(history, path=None):
    """Curves of the history, or of what `find_rate` gives: losses left, metrics right.

    Saved to `path` if given.  Returns matplotlib's figure; needs pip install "minidl[course]".
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plot_history needs matplotlib: pip install "minidl[course]"') from error
    losses = [name for name in history if name.endswith("loss")]
    others = [name for name in history if name not in (*losses, "rate")]
    panels = [group for group in (losses, others) if group]
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout="constrained")
    for axes, group in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name in group:
            x = history.get("rate", range(1, len(history[name]) + 1))
            axes.plot(x, history[name], marker=".", label=name.replace("_", " "))
        axes.set(xlabel="epoch", ylabel=group[0].replace("_", " "))
        if "rate" in history:
            axes.set(xlabel="learning rate", xscale="log")
        axes.legend()
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
