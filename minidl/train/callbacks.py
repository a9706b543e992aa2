"""Callbacks: what watches a training run, and may show it, stop it, save it or change its course.

The one rule of this file: a callback sees the trainer's public attributes only, and what it has
to remember after a resume, it names in `kept`.

Explained in course/12.
"""

from __future__ import annotations

import csv
import inspect
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO, StringIO
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from .. import advice
from ..engine import devices
from ..engine.checks import check_whole
from ..graph.drawing import figure_of, saved
from ..io import write_atomically
from ..nn.functional import check_share
from .metrics import meant

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence
    from typing import Any

    from matplotlib.figure import Figure

    from .trainer import Trainer


class Callback:
    """Watches a run; a subclass writes those of the methods below, the events, that it needs.

    kept: names of attributes that a checkpoint saves, each a number, None, or a dict of arrays.
    Raises TypeError for a subclass with a method `on_...` that is none of the events, or that takes
    what Keras gives.
    """

    __getattr__ = advice.of_object("Callback")

    kept: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        advice.constructors(cls)
        events = [name for name in vars(Callback) if name.startswith("on_")]
        for name in vars(cls):
            if name.startswith("on_") and name not in events:
                raise TypeError(f"{cls.__name__}.{name} would never be called; the events are "
                                f"{', '.join(events)}{meant(name, events)}")  # fmt: skip
            if name in events and "logs" in inspect.signature(vars(cls)[name]).parameters:
                raise TypeError(
                    f"{cls.__name__}.{name} is given the trainer alone, not epoch and logs as "
                    f"in Keras: def {name}(self, trainer); these are trainer.epoch and trainer.logs"
                )

    def renew(self, trainer: Trainer) -> None:
        """A fit begins, and has not loaded yet what it resumes: forget what another fit left."""

    def on_train_begin(self, trainer: Trainer) -> None:
        """The first epoch is about to begin."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """An epoch begins, or goes on in the middle where a run is resumed."""

    def on_batch_end(self, trainer: Trainer) -> None:
        """An update is done; trainer.logs has the means of the epoch so far."""

    def on_epoch_end(self, trainer: Trainer) -> None:
        """An epoch is done; trainer.logs has the means of the validation data too."""

    def on_train_end(self, trainer: Trainer) -> None:
        """The run is over, also when an error ends it."""


class Progress(Callback):
    """A line for each epoch; while it runs, a bar in its place, where tqdm is installed and there
    is a terminal or a notebook.  A pipe or a log file gets the lines alone.
    """

    bar = None

    def on_train_begin(self, trainer: Trainer) -> None:
        if trainer.stopped or trainer.epoch >= trainer.n_epochs:
            why = ", and the run was stopped" if trainer.stopped else ""
            print(f"nothing to train: {trainer.epoch} epochs of {trainer.n_epochs} are done{why}")

    def on_epoch_begin(self, trainer: Trainer) -> None:
        self.name, self.began = f"epoch {trainer.epoch + 1}/{trainer.n_epochs}", time.perf_counter()
        if not _in_notebook() and not (sys.stderr and sys.stderr.isatty()):
            return
        with suppress(ImportError):
            from tqdm.auto import tqdm

            self.bar = tqdm(total=trainer.n_batches, initial=trainer.batch, leave=False)
            self.bar.set_description(self.name)

    def on_batch_end(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.set_postfix(trainer.logs, refresh=False)
            self.bar.update(trainer.batch - self.bar.n)

    def on_epoch_end(self, trainer: Trainer) -> None:
        self.on_train_end(trainer)
        found = ", ".join(f"{name} {value:.4f}" for name, value in trainer.logs.items())
        # Not kept in a buffer: a log is read meanwhile.
        print(f"{self.name}: {found}, {time.perf_counter() - self.began:.0f} s", flush=True)

    def on_train_end(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self.bar.close()


def _in_notebook():
    """Whether IPython runs, which can change what it has shown."""
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None


class Monitor(Callback):
    """What those share that ask whether `monitor`, a name in the history, is the best so far.

    patience: how many epochs without a better one are waited for.
    monitor: the name of the number that is watched.
    largest: whether larger is better; None: it is for accuracy and top5, and for no other.
    Another fit of the same trainer goes on with the best so far, and waits anew.
    """

    kept = "best", "waited"
    trainer = None

    def __init__(
        self, patience: int = 3, *, monitor: str = "valid_loss", largest: bool | None = None
    ):
        check_whole(type(self).__name__, 0, patience=patience)
        if largest is None:
            largest = monitor.endswith(("accuracy", "top5"))
        self.patience, self.monitor = patience, monitor
        self.sign = -1 if largest else 1
        self.best, self.waited = None, 0

    def renew(self, trainer: Trainer) -> None:
        if trainer is not self.trainer:
            self.trainer, self.best = trainer, None
        self.waited = 0

    def improved(self, trainer: Trainer) -> bool:
        """Whether the epoch that ended is the best so far; if not, one more is `waited`.

        Raises ValueError where the history has no such name.
        """
        if self.monitor not in trainer.logs:
            raise ValueError(
                f"{type(self).__name__}: no {self.monitor!r} to watch; there are "
                f"{sorted(trainer.logs)}; names with valid_ need data to validate on, "
                "fit(x, y, valid=0.2), and monitor='loss' watches the training loss"
            )
        value = self.sign * trainer.logs[self.monitor]
        better = self.best is None or value < self.best
        self.waited = 0 if better else self.waited + 1
        self.best = value if better else self.best
        return better


class EarlyStopping(Monitor):
    """Ends training when `monitor` has not improved for `patience` epochs; the model then gets
    back the weights of its best epoch.
    """

    kept = *Monitor.kept, "weights"
    weights: dict[str, Any] = {}

    def renew(self, trainer: Trainer) -> None:
        super().renew(trainer)
        if self.best is None:
            self.weights = {}

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.improved(trainer):
            self.weights = trainer.model.state_dict()
        elif self.waited >= self.patience:
            trainer.stopped = True

    def on_train_end(self, trainer: Trainer) -> None:
        if self.weights and not trainer.failed:
            trainer.model.load_state_dict(self.weights)


class ReduceOnPlateau(Monitor):
    """Multiplies the learning rate by `factor`, down to `lowest`, when `monitor` has not improved
    for `patience` epochs, and then waits as long again.
    """

    def __init__(
        self, patience: int = 3, *, factor: float = 0.1, lowest: float = 0.0,
        monitor: str = "valid_loss", largest: bool | None = None,
    ):  # fmt: skip
        super().__init__(patience, monitor=monitor, largest=largest)
        check_share("ReduceOnPlateau", "factor", factor)
        self.factor, self.lowest = factor, lowest

    def on_epoch_end(self, trainer: Trainer) -> None:
        if not self.improved(trainer) and self.waited >= self.patience:
            trainer.optimizer.lr = max(trainer.optimizer.lr * self.factor, self.lowest)
            self.waited = 0


class Schedule(Callback):
    """Sets the learning rate of each epoch, counted from 0, to function(epoch)."""

    def __init__(self, function: Callable[[int], float]):
        self.function = function

    def on_epoch_begin(self, trainer: Trainer) -> None:
        trainer.optimizer.lr = self.function(trainer.epoch)


class Checkpoint(Monitor):
    """Saves the run to `path` after each epoch.

    every: None, or after how many updates it is saved within an epoch too.
    best_only: whether after an epoch only if `monitor` is the best so far.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, every: int | None = None, best_only: bool = False,
        monitor: str = "valid_loss", largest: bool | None = None,
    ):  # fmt: skip
        super().__init__(monitor=monitor, largest=largest)
        if every is not None:
            check_whole("Checkpoint", every=every)
        self.path, self.every, self.best_only = path, every, best_only

    def on_batch_end(self, trainer: Trainer) -> None:
        inside = self.every is not None and trainer.batch < trainer.n_batches
        if inside and trainer.batch % (self.every * trainer.accumulate) == 0:
            trainer.save(self.path)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if not self.best_only or self.improved(trainer):
            trainer.save(self.path)


class AverageWeights(Callback):
    """A moving average of the weights, in the model's place from the last update of each epoch to
    the first of the next; so it is what is validated, and what is there at the end.

    decay in [0, 1): what is kept at each update t; early on, at most (1 + t) / (10 + t).
    """

    kept = "average", "own"
    average: dict[str, Any] = {}  # of all updates so far
    own: dict[str, Any] = {}  # the model's weights, while the average is in their place
    trainer = None

    def __init__(self, decay: float = 0.999):
        check_share("AverageWeights", "decay", decay)
        self.decay = decay

    def renew(self, trainer: Trainer) -> None:
        """Begin anew, unless the model still is the average of the last fit."""
        if trainer is not self.trainer or not _are_same(self.average, trainer.model.state_dict()):
            self.average, self.own = {}, {}
        self.trainer = trainer

    def on_epoch_begin(self, trainer: Trainer) -> None:
        if self.own:
            trainer.model.load_state_dict(self.own)
            self.own = {}

    def on_batch_end(self, trainer: Trainer) -> None:
        t = trainer.optimizer.steps
        decay = min(self.decay, (1 + t) / (10 + t))
        state = trainer.model.state_dict()
        average = {k: devices.to_device(a, trainer.device) for k, a in self.average.items()}
        old = average or state
        self.average = {k: decay * old[k] + (1 - decay) * a for k, a in state.items()}
        if trainer.batch == trainer.n_batches:
            self.own = state
            trainer.model.load_state_dict(self.average)


def _are_same(average, state):
    """Whether the names that both have are there, and name the same numbers in both."""
    shared = [(devices.to_numpy(average[k]), devices.to_numpy(state[k])) for k in average
              if k in state]  # fmt: skip
    return bool(shared) and all(np.array_equal(a, b) for a, b in shared)


class CSVLog(Callback):
    """Writes the history to `path`, anew after each epoch, so a resumed run repeats no line."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path

    def on_epoch_end(self, trainer: Trainer) -> None:
        text = StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(
            [("epoch", *trainer.history), *zip(count(1), *trainer.history.values())]
        )
        write_atomically(self.path, [text.getvalue().encode()])


class HistoryPlot(Callback):
    """Draws the history after each epoch: one picture that changes, in a notebook; else `path`."""

    def __init__(self, path: str | os.PathLike[str] | None = None):
        self.path = path

    def on_train_begin(self, trainer: Trainer) -> None:
        self.name, self.shown = f"history {time.time_ns()}", False  # each run has its own picture

    def on_epoch_end(self, trainer: Trainer) -> None:
        if _in_notebook():
            from IPython.display import Image, display

            picture = BytesIO()
            plot_history(trainer.history, picture)
            display(Image(picture.getvalue()), display_id=self.name, update=self.shown)
            self.shown = True
        elif self.path is not None:
            plot_history(trainer.history, self.path)


def plot_history(
    history: Mapping[str, Sequence[float]], path: str | os.PathLike[str] | BytesIO | None = None
) -> Figure:
    """Curves of the history, or of what `find_rate` gives: losses left, metrics right.

    Saved to `path` if given.  Returns matplotlib's figure; needs pip install "minidl[course]".
    """
    if not isinstance(history, Mapping):
        raise TypeError(f"plot_history: expected a dict such as trainer.history, got {history!r}")
    losses = [name for name in history if name.endswith("loss")]
    others = [name for name in history if name not in (*losses, "rate")]
    panels = [group for group in (losses, others) if group]
    figure = figure_of("plot_history", figsize=(4.5 * len(panels), 3.2))
    for axes, group in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name in group:
            x = history.get("rate", range(1, len(history[name]) + 1))
            axes.plot(x, history[name], marker=".", label=name.replace("_", " "))
        axes.set(xlabel="epoch", ylabel=group[0].replace("_", " "))
        if "rate" in history:
            axes.set(xlabel="learning rate", xscale="log")
        axes.legend()
    return saved(figure, path)


advice.functions(__name__)
