"""The training loop: fit, evaluate, predict, save and load; and the finder of a learning rate.

The one rule of this file: whatever the rest of a run depends on is in one checkpoint (weights,
optimiser, random state, place in the epoch, sums so far, callbacks), so a run that was killed
and resumed ends in the same bits as one that was not.

Explained in course/12.
"""

from __future__ import annotations

import json
import math
import os
from contextlib import closing, nullcontext, suppress
from copy import copy, deepcopy
from inspect import Parameter, signature
from itertools import count, islice
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from .. import advice, io, optim
from ..data.loader import ArrayDataset, DataLoader
from ..engine import devices, intercept, random
from ..engine.checks import check_whole
from ..engine.tensor import Tensor
from ..nn.module import Module, evaluating, training
from .ahead import ahead
from .callbacks import Callback, Checkpoint, CSVLog, HistoryPlot, Progress
from .metrics import LOSSES, by_name, called, meant, takes_weight
from .precision import LossScaler
from .steps import EagerStep, make_step, mean, measure, tensors
from .weights import prepared, weigher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Never

    from numpy.typing import ArrayLike

    from ..distributed import Group
    from ..graph.compiled import Compiled
    from .metrics import Metric

_WRITERS = Progress, Checkpoint, CSVLog, HistoryPlot
_PLACE = "epoch", "batch", "seen", "logs", "history", "stopped", "n_inputs"  # in a checkpoint
_KERAS = {  # arguments of Keras's fit, and what they are called here
    "x": "train",
    "y": "train, as in fit(ArrayDataset(x, y))",
    "validation_data": "valid",
    "validation_split": "valid, a share of the training data",
    "verbose": "progress",
    "initial_epoch": "resume, a checkpoint",
    "shuffle": "train, as in DataLoader(data, shuffle=False)",
}


class Trainer:
    """Trains a model in Keras's manner.

    model: the Module, which is moved to `device`.
    optimizer: of parameters of this model.  They may be some of them; the others stay.
    loss: a function (output, target) -> Tensor with one element, the mean over the batch; or the
        name of one of `nn.functional`, such as "cross_entropy".
    metrics: functions (output, target) -> float, each a mean over the batch, or their names
        ("accuracy", "top5", "mae", "mse"): one, a list, or a dict name -> function.
    device: "cpu" or "cuda"; batches are sent there.
    clip_norm: None, or the length to which all gradients together are cut; see
        `optim.clip_grad_norm`.
    accumulate: how many batches make one update, as one large batch would.
    mixed_precision: whether products are in float16 in training; see `precision`.
    compile: False, or True: run each step as source, see `minidl.compile`; or the passes to use,
        or a dict of its options.  It goes with neither `accumulate` nor `mixed_precision`.
    group: None, or the processes that train together, a `distributed.Group`.  Each makes the same
        Trainer, calls its methods alike, and works on its part of every batch.

    Attributes: history, a dict name -> list with a number for each epoch, nan where there was
    none; epoch, how many epochs are done; compiled, the compiled step, or None.

    Raises ValueError where the optimizer holds what is not the model's, also when one of both was
    exchanged since; where two metrics have one name, or one has the name of something else.
    Several threads may call `predict` and `evaluate` of one Trainer, but not while another is in
    `fit`: RuntimeError.  Two may train two models.
    """

    __getattr__ = advice.of_object("Trainer")

    @advice.advised
    def __init__(
        self,
        model: Module,
        optimizer: optim.Optimizer,
        loss: str | Callable[..., Tensor],
        metrics: str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric] = (),
        *,
        device: str = "cpu",
        clip_norm: float | None = None,
        accumulate: int = 1,
        mixed_precision: bool = False,
        compile: bool | Sequence[Callable[..., Any]] | dict[str, Any] = False,
        group: Group | None = None,
    ):
        if not isinstance(model, Module):
            raise TypeError(f"a Trainer trains a Module, got {type(model).__name__}")
        if not isinstance(optimizer, optim.Optimizer):
            raise ValueError("expected an optimizer such as optim.Adam(model.parameters()), got "
                             f"{optimizer!r}")  # fmt: skip
        check_whole("Trainer", accumulate=accumulate)
        if compile and (mixed_precision or accumulate > 1):
            raise ValueError("compile=True goes with neither accumulate nor mixed_precision")
        _check_that_they_belong_together(model, optimizer)
        self.metrics = by_name(metrics)
        self.loss = called("loss", loss, LOSSES)
        self.model, self.optimizer, self.device = model.to(device), optimizer, device
        self.clip_norm, self.accumulate, self.group = clip_norm, accumulate, group
        self.scaler = LossScaler() if mixed_precision else None
        if group:
            group.start(self.model)
        self.step = make_step(self, compile)
        self.history: dict[str, list[float]] = {}
        self.callbacks: list[Callback] = []
        self.epoch = 0  # the one that runs
        self.n_epochs = self.n_batches = 0  # how many there will be; of the epoch that runs
        self.batch = 0  # how many batches of it are done
        self.logs: dict[str, float] = {}  # the means over these batches
        self.seen = 0  # how many samples these are
        self.stopped = False  # whether a callback ended the run
        self.n_inputs = None  # how many arrays of a batch were inputs, in training
        self._checked, self._modules = (None, None), []  # see `_begin_step`

    @property
    def compiled(self) -> Compiled | None:
        """The compiled step, whose `source` can be read, or None."""
        return self.step.compiled

    def fit(
        self,
        train: DataLoader | ArrayDataset | Any,
        valid: DataLoader | ArrayDataset | Any | float | None = None,
        epochs: int = 1,
        *,
        batch_size: int = 64,
        seed: int = 0,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool = True,
        resume: str | os.PathLike[str] | None = None,
        sample_weight: ArrayLike | bool | None = None,
        class_weight: ArrayLike | Mapping[int, float] | None = None,
        **unknown: Never,
    ) -> dict[str, list[float]]:
        """Train for `epochs` epochs more; return the history, to which each call adds.

        Epochs are counted on, and a learning rate's schedule and random numbers go on where they
        were.  An epoch that was interrupted is ended first, and counts as one.

        train: a DataLoader, or a data set, which is shuffled and cut into batches.
        valid: None; or a DataLoader or data set to validate on after each epoch; or the share of
            `train`, in (0, 1), that is drawn at random and held out for it.
        epochs: how many, from 1.
        batch_size: of data that is no DataLoader.
        seed: of the order of batches, and of what is held out.
        callbacks: one, or several, in the order in which they are told; a Checkpoint comes last.
        progress: whether `Progress` is among them.
        resume: a checkpoint to go on from, exactly, until `epochs` are done in all.  A path that
            does not exist yet is no error, so the same command starts and resumes.
        sample_weight: a factor of the training loss for each sample, (N,); or True: it is the last
            array of the data.
        class_weight: such a factor for each class, (K,) or a dict.  (In Keras these factors count
            in validation too.)

        Raises FloatingPointError, naming the operation, when the loss is no longer finite.
        """
        _refuse(unknown)
        check_whole("fit", epochs=epochs)
        train, valid = prepared(train, _checked_valid(valid), sample_weight, seed)
        loader = _loader(train, batch_size, "training ", shuffle=True, seed=seed)
        valid = None if valid is None else _loader(valid, batch_size, "validation ")
        weigh = weigher(sample_weight is not None, class_weight)
        if weigh and not takes_weight(self.loss):
            raise TypeError("sample_weight and class_weight need a loss with an argument "
                            f"`sample_weight`, got {self.loss!r}")  # fmt: skip
        self.callbacks = self._all_callbacks(callbacks, progress)
        self._tell("renew")
        self.stopped, self.n_epochs = False, self.epoch + epochs
        if resume is not None and os.path.exists(resume):
            self.load(resume)
            self.n_epochs = epochs
        self._checked = None, None
        with training(self.model):
            self._tell("on_train_begin")
            try:
                while self.epoch < self.n_epochs and not self.stopped:
                    self._train_epoch(loader, weigh)
                    self._end_epoch(valid)
            finally:
                self._tell("on_train_end")
        return self.history

    def _all_callbacks(self, callbacks, progress):
        """The callbacks of this process in the order in which they are told."""
        if isinstance(callbacks, Callback):
            callbacks = [callbacks]
        callbacks = list(callbacks)
        if not all(isinstance(c, Callback) for c in callbacks):
            raise TypeError(f"callbacks must be Callbacks, such as Progress(), got {callbacks!r}")
        if progress:
            callbacks.insert(0, Progress())
        if self.group and self.group.rank:  # the first process says and writes all
            callbacks = [c for c in callbacks if not isinstance(c, _WRITERS)]
        # Checkpoints last, so that they hold what the other callbacks did.
        return sorted(callbacks, key=lambda c: isinstance(c, Checkpoint))

    def _train_epoch(self, loader, weigh):
        """What is left of this epoch."""
        loader.epoch = self.epoch
        self.n_batches = len(loader)
        self._tell("on_epoch_begin")
        # However this ends, the loader's threads end with it.
        with closing(_batches(loader, [self.epoch], self.batch)) as batches:
            if self.group:
                batches = map(self.group.part, batches)
            if self.device != "cpu" and not weigh:  # weights are worked out on the host
                batches = ahead(batches, self.device)
            while some := list(islice(batches, self.accumulate)):
                found = self.train_step(*some, weigh=weigh)
                n = sum(len(batch[0]) for batch in some)
                if n:
                    self.logs = mean([(self.logs, self.seen), (found, n)])
                self.seen += n
                self.batch += len(some)
                self._tell("on_batch_end")

    def _end_epoch(self, valid):
        """Validate, and add the epoch's numbers to the history."""
        if self.group:
            logs = dict.fromkeys(["loss", *self.metrics], 0.0) | self.logs
            self.logs = self.group.average_numbers(logs, self.seen, self.device)
        if valid is not None:
            found = self.evaluate(valid)
            self.logs |= {f"valid_{name}": value for name, value in found.items()}
        # Every list of the history is as long as the others.
        done = max(map(len, self.history.values()), default=0)
        for name in self.history | self.logs:
            before = self.history.setdefault(name, [math.nan] * done)
            before.append(self.logs.get(name, math.nan))
        self.epoch += 1
        self.batch = self.seen = 0
        self._tell("on_epoch_end")

    def train_step(
        self, *batches: Sequence[Any], weigh: Callable[..., Any] | None = None
    ) -> dict[str, float]:
        """One update from a batch (inputs ..., target), or from several as if they were one.

        weigh: None, or a function batch -> (batch, weight of each sample).
        Returns a dict name -> mean over all samples.
        """
        try:
            self._begin_step()
            weighed = [weigh(batch) if weigh else (batch, None) for batch in batches]
            # A scaled gradient may overflow: the scaler then skips the update.
            with np.errstate(over="ignore", invalid="ignore") if self.scaler else nullcontext():
                found = self.step(weighed)
        except Exception as error:
            if self.group:  # the other processes do not wait for this one
                self.group.fail(self.model, error)
            raise
        self.n_inputs = len(weighed[0][0]) - 1
        return found

    def _begin_step(self):
        """Put the model into training, whose modules are looked up once for each fit."""
        model, optimizer = self._checked
        if model is not self.model or optimizer is not self.optimizer:
            _check_that_they_belong_together(self.model, self.optimizer)
            self._modules = [module for _, module in self.model.modules()]
            self._checked = self.model, self.optimizer
        for module in self._modules:
            module.training = True

    def evaluate(
        self, data: DataLoader | ArrayDataset | Any, *, batch_size: int = 256
    ) -> dict[str, float]:
        """The loss and metrics over all of `data` (a DataLoader or a data set), as a dict."""
        measured = []
        loader = _loader(data, batch_size)
        with evaluating(self.model), intercept.no_grad(), closing(_batches(loader)) as batches:
            for batch in batches:
                _, found = measure(self, batch)
                measured.append((found, len(batch[0])))
        return mean(measured)

    def predict(
        self,
        data: ArrayLike | Tensor | Sequence[ArrayLike | Tensor] | DataLoader | ArrayDataset | Any,
        *,
        batch_size: int = 256,
    ) -> np.ndarray:
        """The model's outputs for all of `data`, one NumPy array, in the order of its batches.

        data: an array of inputs; or a tuple of arrays, the inputs of a model that takes several; or
            a DataLoader or data set.  Of its arrays the first are the inputs, as many as in
            training, or else as the model's `forward` takes; one more is the target, and left out.

        Raises ValueError where that does not say which are the inputs.
        """
        if isinstance(data, Tensor) or devices.is_array(data):
            data = (data,)
        arrays = _arrays(data)
        if arrays:
            data = ArrayDataset(*arrays)
        outputs = []
        loader = _loader(data, batch_size)
        with evaluating(self.model), intercept.no_grad(), closing(_batches(loader)) as batches:
            for batch in batches:
                n = len(arrays) or self._count_inputs(batch)
                y = self.model(*tensors(self, batch, 1)[:n])
                if not isinstance(y, Tensor):
                    raise TypeError("predict: expected a Tensor from the model for each batch, got "
                                    f"a {type(y).__name__}")  # fmt: skip
                outputs.append(y.numpy())
        return np.concatenate(outputs)  # (n, ...) of each batch -> (N, ...)

    def _count_inputs(self, batch):
        """How many arrays of a batch are the inputs: see `predict`."""
        least, most = _n_taken(self.model.forward)
        if self.n_inputs is not None:
            least = most = self.n_inputs
        n = len(batch)
        fitting = [k for k in (n, n - 1) if k and least <= k <= most]
        if len(fitting) == 1:
            return fitting[0]
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(
            f"predict: {type(self.model).__name__} takes {takes} inputs, a batch has {n} arrays, "
            f"of shapes {[np.shape(a) for a in batch]}: which are inputs, is the last the target? "
            "Give the inputs alone, predict(x) or predict((x1, x2))"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that the rest of the run depends on to `path`, a safetensors file."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        place = {name: getattr(self, name) for name in _PLACE}
        place |= {"lr": self.optimizer.lr, "random": random.random_state()}
        place["scaler"] = self.scaler and self.scaler.state_dict()
        for callback, name, key in self._kept():
            value = getattr(callback, name)
            if isinstance(value, dict):
                parts[key] = value
            else:
                place[key] = value
        arrays = {f"{part}.{k}": a for part, state in parts.items() for k, a in state.items()}
        io.save(path, arrays, {"minidl.trainer": json.dumps(place)})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go back to the state that `save` wrote.  Raises ValueError when it does not fit."""
        arrays, metadata = io.load(path)
        if "minidl.trainer" not in metadata:
            raise ValueError(f"{path} holds arrays, but no training state; did Trainer save it?")
        place = json.loads(metadata["minidl.trainer"])
        parts = {"model": {}}
        for whole_name, array in arrays.items():
            part, _, name = whole_name.partition(".")
            parts.setdefault(part, {})[name] = array
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        for callback, name, key in self._kept():
            if key in parts | place:
                setattr(callback, name, (parts | place)[key])
        for name in _PLACE:
            if name in place:
                setattr(self, name, place[name])
        if self.scaler and place["scaler"]:
            self.scaler.load_state_dict(place["scaler"])
        self.optimizer.lr = place["lr"]
        random.set_random_state(place["random"])

    def _kept(self):
        """(callback, attribute, its name in a checkpoint) for all that callbacks keep."""
        for c in self.callbacks:
            i = [other for other in self.callbacks if type(other) is type(c)].index(c)
            yield from ((c, name, f"{type(c).__name__}-{i}-{name}") for name in c.kept)

    def _tell(self, event):
        for callback in self.callbacks:
            getattr(callback, event)(self)


# ---- what is checked


def _check_that_they_belong_together(model, optimizer):
    """Raise if the optimizer changes what is not the model's, or its schedule gives no number."""
    mine = {id(part) for _, part in model.tensors()}
    others = [i for i, p in enumerate(optimizer.parameters) if id(p) not in mine]
    n = len(optimizer.parameters)
    which = f"its parameters {', '.join(map(str, others))} of {n} are"
    if len(others) == n:
        which = "none of its parameters is the model's; they are"
    if others:
        raise ValueError(
            f"the optimizer does not fit the model: {which} another's, of a copy, or replaced "
            "since; make the optimizer from model.parameters(), and keep all that the loss trains "
            "in the model"
        )
    if optimizer.schedule:
        factor = optimizer.schedule(optimizer.steps)
        if not isinstance(factor, (Real, Tensor, np.ndarray)):
            raise TypeError(
                "schedule: expected a function from the number of steps done to a factor of lr, "
                f"such as optim.cosine(1000), got {optimizer.schedule!r}, which gives "
                f"{factor!r:.60}"
            )


advice.methods(Trainer)


def _refuse(unknown):
    """Raise TypeError for arguments that `fit` does not have, with the name that it is here."""
    for name in unknown:
        known = signature(Trainer.fit).parameters
        hint = meant(name, known) or f": {advice.keyword(name, known)}"
        if name in _KERAS:
            hint = f"; here it is called {_KERAS[name]}"
        raise TypeError(f"fit() got an unexpected keyword argument {name!r}{hint}")


def _checked_valid(valid):
    """`valid` as fit takes it, a share as a float."""
    if not isinstance(valid, (Real, np.generic)):
        return valid
    if isinstance(valid, (bool, np.bool_)) or not 0 < valid < 1:
        raise ValueError(
            "valid: expected data to validate on, or the share of the training data in (0, 1) that "
            f"is held out, got {valid!r}; a number of epochs has a name, epochs=10"
        )
    return float(valid)


def _n_taken(function):
    """The smallest and the largest number of arrays that `function` takes by position."""
    parameters = signature(function).parameters.values()
    kinds = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    places = [p for p in parameters if p.kind in kinds]
    many = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is Parameter.empty for p in places)
    return least, math.inf if many else len(places)


# ---- what is iterated over


def _arrays(data):
    """The NumPy arrays of a tuple or list of arrays; of anything else none."""
    several = isinstance(data, (tuple, list)) and len(data)
    if not several or not all(isinstance(a, Tensor) or devices.is_array(a) for a in data):
        return []
    return [a.numpy() if isinstance(a, Tensor) else devices.to_numpy(a) for a in data]


def _loader(data, batch_size, which="", **options):
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size, **options)
    if not len(loader):
        raise ValueError(f"the {which}data gives no batch: it is empty, or smaller than a batch")
    return loader


def _batches(loader, epochs=(0,), start=0):
    """The batches of some epochs; a generator, so that it can be closed, and the loader's with it.

    start: the first batch's number in its epoch.
    """
    for epoch in epochs:
        yield from loader.batches(epoch, start)


def find_rate(
    trainer: Trainer,
    data: DataLoader | ArrayDataset | Any,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    batch_size: int = 64,
) -> dict[str, list[float]]:
    """The loss at rising learning rates, {"rate": [...], "loss": [...]}; `plot_history` draws it.

    Each of `steps` rates, from `lowest` to `highest`, even on a log scale, has one update on the
    next batch; the trial ends when the loss explodes (Smith 2017, section 3.3).  Take a rate where
    it still falls steeply.
    Nothing is changed: a copy is trained, and the random state put back.
    Raises ValueError unless 0 < lowest < highest and there are 2 steps or more.
    """
    if not 0 < lowest < highest or steps < 2:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest}, {highest}; 2 steps or more")
    before = random.random_state()
    trial = copy(trainer)
    parts = deepcopy((trainer.model, trainer.optimizer, trainer.scaler))
    trial.model, trial.optimizer, trial.scaler = parts
    trial.group = None  # each process tries alone, and finds the same
    trial.step = EagerStep(trial)  # a compiled one trains the trainer's own model
    trial.optimizer.schedule = None
    rates, losses = [], []
    loader = _loader(data, batch_size, shuffle=True)
    quiet = np.errstate(over="ignore", invalid="ignore")
    with closing(_batches(loader, count())) as batches, suppress(FloatingPointError), quiet:
        for rate in np.geomspace(lowest, highest, steps).tolist():
            trial.optimizer.lr = rate
            losses.append(trial.train_step(next(batches))["loss"])
            rates.append(rate)
            if losses[-1] > min(losses) + 3 * abs(losses[0]):
                break
    random.set_random_state(before)
    return {"rate": rates, "loss": losses}
