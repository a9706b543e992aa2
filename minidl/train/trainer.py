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
import sys
import warnings
from collections.abc import Iterable
from contextlib import closing, nullcontext, suppress
from copy import copy, deepcopy
from functools import partial
from itertools import count, islice
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from .. import advice, io, optim
from ..data.loader import ArrayDataset
from ..engine import intercept, random
from ..engine.checks import check_whole
from ..engine.tensor import Tensor
from ..gpu.ahead import ahead
from ..graph.lines import flat
from ..nn.module import Module, evaluating, training
from .batches import (
    are_arrays,
    as_loader,
    balanced_weights,
    check_inputs,
    dataset,
    given,
    inputs_of,
    joined,
    n_samples,
    output,
    parts,
    share,
)
from .callbacks import Callback, Checkpoint, CSVLog, HistoryPlot, Progress
from .metrics import Losses, by_name, loss_of, takes_weight
from .precision import LossScaler
from .steps import EagerStep, make_step, mean, measure
from .weights import prepared, weigher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import ArrayLike

    from ..distributed import Group
    from ..graph.compiled import Compiled
    from .batches import Arrays, Data
    from .metrics import Metric

_WRITERS = Progress, Checkpoint, CSVLog, HistoryPlot
# What a checkpoint holds of a Trainer's own.
_PLACE = (
    "epoch", "batch", "seen", "logs", "history", "stopped", "n_inputs", "kinds", "columns"
)  # fmt: skip


class Trainer:
    """Trains a model in Keras's manner.

    model: the Module, which is moved to `device`.
    optimizer: of parameters of this model.  They may be some of them; the others stay.
    loss: a function (output, target) -> Tensor with one element, the mean over the batch; or the
        name of one of `nn.functional`, such as "cross_entropy".  Or several: a dict, for a model
        and targets that are dicts with the same keys; or a list, for tuples.  A batch that ends
        with an array has then one target for each loss, in their order, at its end.
    metrics: functions (output, target) -> float, each a mean over the batch, or their names
        ("accuracy", "top5", "mae", "mse"): one, a list, or a dict name -> function.  Of several
        losses each is a metric, "kind_loss"; {"kind": "accuracy"} makes "kind_accuracy" of the
        output "kind" (of a list of losses: {0: "accuracy"}).
    loss_weights: factors of several losses, a dict or a list likewise; default 1.
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

    def __setattr__(self, name: str, value: Any) -> None:
        if line := advice.instead("Trainer", name):
            raise AttributeError(f"{type(self).__name__}.{name} = ... would change nothing{line}")
        if name == "metrics" and not isinstance(value, dict):
            value = by_name(value, self.loss)
        super().__setattr__(name, value)

    @advice.advised
    def __init__(
        self,
        model: Module,
        optimizer: optim.Optimizer,
        loss: str | Callable[..., Tensor] | Mapping[str, Any] | Sequence[Any],
        metrics: str | Metric | Iterable[str | Metric] | Mapping[Any, Any] = (),
        *,
        loss_weights: Mapping[Any, float] | Sequence[float] | None = None,
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
        if clip_norm is not None and not (isinstance(clip_norm, Real) and clip_norm > 0):
            raise ValueError(f"clip_norm: expected None or a length above 0, got {clip_norm!r}")
        if compile and (mixed_precision or accumulate > 1):
            raise ValueError("compile=True goes with neither accumulate nor mixed_precision")
        _check_that_they_belong_together(model, optimizer)
        self.loss = loss_of(loss, loss_weights)
        self.metrics = by_name(metrics, self.loss)
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
        self.batch = self.seen = 0  # how many batches of it are done, and how many samples
        self.logs: dict[str, float] = {}  # the means over these batches
        self.stopped = False  # whether a callback ended the run
        self.failed = False  # whether an error did
        self.columns = []  # the names of x's columns in training, of a DataFrame or of read_csv
        self.n_inputs = None  # how many arrays of a batch were inputs, in training
        self.kinds = ""  # of their numbers, a letter each as in dtype.kind
        self._checked, self._modes = (None, None), []  # see `_begin_step`

    @property
    def compiled(self) -> Compiled[..., Any] | None:
        """The compiled step, whose `source` can be read, or None."""
        return self.step.compiled

    def fit(
        self,
        x: Data,
        y: Data | float | None = None,
        epochs: int = 1,
        *,
        valid: Data | float | None = None,
        batch_size: int = 64,
        seed: int = 0,
        callbacks: Callback | Iterable[Callback] = (),
        progress: bool = True,
        resume: str | os.PathLike[str] | None = None,
        sample_weight: ArrayLike | bool | None = None,
        class_weight: ArrayLike | Mapping[int, float] | str | None = None,
    ) -> dict[str, list[float]]:
        """Train for `epochs` epochs more; return the history, to which each call adds.

        Epochs are counted on, and a learning rate's schedule and random numbers go on where they
        were.  An epoch that was interrupted is ended first, and counts as one.

        x, y: arrays of inputs and targets, fit(x, y): NumPy's, Tensors, DataFrames and Series,
            lists of numbers.  Of several inputs a tuple (the model gets them by position) or a
            dict (by keyword); of several targets likewise (the loss gets them as they are).
        x alone: a DataLoader, or a data set, which is shuffled and cut into batches (inputs ...,
            target).  With a data set in first place, the second is `valid`: fit(train, valid).
        epochs: how many, from 1.
        valid: None; or what to validate on after each epoch, a DataLoader, a data set or a tuple
            (x, y) of arrays; or the share of the training data, in (0, 1), that is drawn at random
            and held out for it.
        batch_size: of data that is no DataLoader.
        seed: of the order of batches, and of what is held out.
        callbacks: one, or several, in the order in which they are told; a Checkpoint comes last.
        progress: whether `Progress` is among them.
        resume: a checkpoint to go on from, exactly, until `epochs` are done in all.  A path that
            does not exist yet is no error, so the same command starts and resumes.
        sample_weight: a factor of the training loss for each sample, (N,); or True: it is the last
            array of the data.
        class_weight: such a factor for each class, (K,) or a dict; or "balanced": N samples by K
            times those of the class, as in scikit-learn.  For one loss.  (In Keras these factors
            count in validation too.)

        Floats become the type of the model's parameters when a batch is made, so float64 data do
        not slow a float32 model down; whole numbers stay.
        Frozen parts, which have parameters and none with requires_grad when fit begins, stay in
        evaluation: their batch norm keeps its statistics, their dropout is off.  (As Keras does for
        batch norm; PyTorch's `train` puts them into training.)

        Raises FloatingPointError, naming the operation, when the loss is no longer finite.
        """
        check_whole("fit", epochs=epochs)
        if y is not None and valid is None and not are_arrays(x):
            y, valid = None, y
        train, form = given("fit", x, y)
        self.columns = self._columns("fit", x)
        _check_classes(class_weight, x, y, sample_weight)
        valid_form = form
        if isinstance(valid, (Real, np.generic)):
            valid = share(valid)
        elif valid is not None:
            pair = valid if isinstance(valid, tuple) else (valid,)
            self._columns("valid", pair[0])
            valid, valid_form = given("valid", *pair)
        train, valid = prepared(train, valid, sample_weight, seed)
        loader = as_loader(train, form, batch_size, "training ", shuffle=True, seed=seed)
        if valid is not None:
            valid = as_loader(valid, valid_form, batch_size, "validation ")
        if self.group:
            self.group.check_same_data(loader, valid, self.device)
        weigh = self._weigher(loader, y, sample_weight is not None, class_weight)
        self.callbacks = self._all_callbacks(callbacks, progress)
        self._tell("renew")
        self.stopped, self.n_epochs = False, self.epoch + epochs
        if resume is not None and os.path.exists(resume):
            self.load(resume)
            self._columns("fit", x)
            self.n_epochs = epochs
        self._checked = None, None
        with training(self.model):
            self._tell("on_train_begin")
            outside = sys.exception()  # fit may be called where an error is being handled
            try:
                while self.epoch < self.n_epochs and not self.stopped:
                    self._train_epoch(loader, weigh)
                    self._end_epoch(valid)
            finally:
                self.failed = sys.exception() is not outside
                self._tell("on_train_end")
        return self.history

    def _columns(self, where, x):
        """The names of the columns of x, or of those before; raises unless both are the same."""
        names = [*getattr(x, "columns", [])]
        if names and self.columns and names != self.columns:
            raise ValueError(
                f"{where}: the columns are {names}, in training they were {self.columns}: write "
                "df[trainer.columns], or x.to_numpy() where only the names differ"
            )
        return self.columns or names

    def _weigher(self, loader, y, given, by_class):
        """What gives the samples of a batch their weights, see `weigher`; or None."""
        if by_class is not None and (isinstance(self.loss, Losses) or isinstance(y, (tuple, dict))):
            raise TypeError("class_weight is for one loss and target; else give sample_weight")
        if isinstance(by_class, str):
            if by_class != "balanced":
                raise ValueError(f"class_weight: expected numbers or 'balanced', got {by_class!r}")
            by_class = balanced_weights(loader.dataset, -2 if given else -1)
        weigh = weigher(given, by_class)
        if weigh and not takes_weight(self.loss):
            raise TypeError("sample_weight and class_weight need a loss with an argument "
                            f"`sample_weight`, got {self.loss!r}")  # fmt: skip
        return weigh

    def _all_callbacks(self, callbacks, progress):
        """The callbacks of this process in the order in which they are told."""
        callbacks = [*callbacks] if isinstance(callbacks, Iterable) else [callbacks]
        if not all(isinstance(c, Callback) for c in callbacks):
            raise TypeError("callbacks must be Callbacks, such as EarlyStopping(), with the "
                            f"brackets, got {callbacks!r}")  # fmt: skip
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
        rows = self.group and self.group.rows
        # However this ends, the loader's threads end with it.
        with closing(loader.batches(self.epoch, self.batch, rows)) as batches:
            if self.device != "cpu" and not weigh:  # weights are worked out on the host
                batches = ahead(batches, self.device)
            while some := list(islice(batches, self.accumulate)):
                found = self.train_step(*some, weigh=weigh)
                n = sum(map(n_samples, some))
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
            self.logs |= {f"valid_{name}": v for name, v in self.evaluate(valid).items()}
        # Every list of the history is as long as the others.
        done = max(map(len, self.history.values()), default=0)
        for name in self.history | self.logs:
            values = self.history.setdefault(name, [math.nan] * done)
            values.append(self.logs.get(name, math.nan))
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
        # A scaled gradient may overflow: the scaler then skips the update.
        with (
            np.errstate(over="ignore", invalid="ignore") if self.scaler else nullcontext(),
            self.group.telling(self.model) if self.group else nullcontext(),
        ):
            weighed = [weigh(batch) if weigh else (batch, None) for batch in batches]
            self._begin_step(weighed[0][0])
            return self.step(weighed)

    def _begin_step(self, batch):
        """Put the model into training but for its frozen parts, looked up once for each fit, as is
        how many inputs there are.
        """
        model, optimizer = self._checked
        if model is not self.model or optimizer is not self.optimizer:
            _check_that_they_belong_together(self.model, self.optimizer)
            self._modes = _modes(self.model)
            inputs = parts(batch, self.loss)[0]
            self.n_inputs = len(flat(inputs)) or None
            self.kinds = "".join(a.dtype.kind for a in flat(inputs))
            if self.n_inputs:
                check_inputs(self.model, inputs)
            self._checked = self.model, self.optimizer
        for module, mode in self._modes:
            module.training = mode

    def evaluate(
        self, x: Data, y: Arrays | None = None, *, batch_size: int = 256
    ) -> dict[str, float]:
        """The loss and metrics over all of the data, as a dict.

        x, y: arrays, evaluate(x, y); or x alone, a DataLoader or a data set: see `fit`.
        """
        self._columns("evaluate", x)
        loader = as_loader(*given("evaluate", x, y), batch_size)
        with evaluating(self.model), intercept.no_grad(), closing(loader.batches(0)) as batches:
            return mean([(measure(self, batch)[1], n_samples(batch)) for batch in batches])

    def predict(self, x: Data, *, batch_size: int = 256) -> Any:
        """The model's outputs for all of x, a NumPy array, in the order of its batches; where the
        model gives a tuple or a dict, one of arrays.

        x: inputs alone, as in `fit`: an array, or a tuple or dict of arrays.  Or a DataLoader or
            data set, whose batches are the inputs alone, or with their target, which is left out:
            the inputs are as many arrays as in training, or else as the model's `forward` takes.

        Raises ValueError where that does not say which are the inputs, or where one of several
        outputs has no row for each sample; as `evaluate` does, for bytes where floats were
        trained on.
        Warns where an output is nan, as it is where an input is.
        """
        self._columns("predict", x)
        form, chosen = None, partial(inputs_of, self)
        if are_arrays(x):
            (x, form), chosen = dataset(x), list
        loader = as_loader(x, form, batch_size)
        with evaluating(self.model), intercept.no_grad(), closing(loader.batches(0)) as batches:
            found = joined([output(self, chosen(batch)) for batch in batches])
        if n := sum(map(np.count_nonzero, map(np.isnan, flat(found)))):
            warnings.warn(f"predict: {n} of the outputs are nan; has x gaps?", stacklevel=3)
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that the rest of the run depends on to `path`, a safetensors file."""
        states = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        place = {name: getattr(self, name) for name in _PLACE}
        place["random"] = random.random_state()
        place["scaler"] = self.scaler and self.scaler.state_dict()
        for callback, name, key in self._kept():
            value = getattr(callback, name)
            if isinstance(value, dict):
                states[key] = value
            else:
                place[key] = value
        io.save(
            path,
            {f"{part}.{k}": a for part, state in states.items() for k, a in state.items()},
            {"minidl.trainer": json.dumps(place)},
        )

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go back to the state that `save` wrote.  Raises ValueError when it does not fit."""
        arrays, metadata = io.load(path)
        if "minidl.trainer" not in metadata:
            raise ValueError(f"{path} holds arrays, but no training state; did Trainer save it?")
        place = json.loads(metadata["minidl.trainer"])
        states = {"model": {}}
        for whole_name, array in arrays.items():
            part, _, name = whole_name.partition(".")
            states.setdefault(part, {})[name] = array
        before = self.model.state_dict()
        self.model.load_state_dict(states["model"])
        try:
            self.optimizer.load_state_dict(states["optimizer"])
        except ValueError as error:
            self.model.load_state_dict(before)
            raise ValueError(
                f"{path} was saved with another optimiser than this {type(self.optimizer).__name__}"
                f", or with other parameters: {error}; nothing was changed"
            ) from error
        for holder, name, key in [*self._kept(), *((self, name, name) for name in _PLACE)]:
            if key in states | place:
                setattr(holder, name, (states | place)[key])
        if self.scaler and place["scaler"]:
            self.scaler.load_state_dict(place["scaler"])
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
    if others:
        which = f"its parameters {', '.join(map(str, others))} of {len(optimizer.parameters)} are"
        if len(others) == len(optimizer.parameters):
            which = "none of its parameters is the model's; they are"
        raise ValueError(
            f"the optimizer does not fit the model: {which} another's, of a copy, or replaced "
            "since; make the optimizer from model.parameters(), and keep all that the loss trains "
            "in the model"
        )
    for schedule in {one.schedule for one in (optimizer, *optimizer.groups)} - {None}:
        factor = schedule(optimizer.steps)
        if not isinstance(factor, (Real, Tensor, np.ndarray)):
            raise TypeError(
                "schedule: expected a function from the number of steps done to a factor of lr, "
                f"such as optim.cosine(1000), got {schedule!r}, which gives {factor!r:.60}"
            )


advice.methods(Trainer)


def _check_classes(by_class, x, y, sample_weight):
    """Warn of weights for classes that no sample has, where the labels are there to be read."""
    if y is None or are_arrays(x) is False:
        if not isinstance(x, ArrayDataset):
            return
        y = x.arrays[-2 if sample_weight is True else -1]
    if by_class is None or isinstance(by_class, str) or isinstance(y, (tuple, dict)):
        return
    keys = [*by_class] if isinstance(by_class, dict) else range(len(by_class))
    classes = np.unique(y.numpy() if isinstance(y, Tensor) else y).tolist()
    if more := {*keys} - {*classes}:
        text = f"class_weight: no sample has the class {more}, the classes are {classes}"
        warnings.warn(text, stacklevel=4)


def _modes(model):
    """Pairs (module, whether it trains) of all modules, frozen parts in evaluation: see `fit`."""
    modes = {module: True for _, module in model.modules()}
    for module in [*modes]:
        if {p.requires_grad for p in module.parameters()} == {False}:
            modes |= {inner: False for _, inner in module.modules()}
    return [*modes.items()]


def _endless(loader):
    """The batches of one epoch after the other; whoever closes this closes the loader's too."""
    for epoch in count():
        with closing(loader.batches(epoch)) as batches:
            yield from batches


def find_rate(
    trainer: Trainer,
    x: Data,
    y: Arrays | None = None,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    batch_size: int = 64,
) -> dict[str, list[float]]:
    """The loss at rising learning rates, {"rate": [...], "loss": [...]}; `plot_history` draws it.

    x, y: what to train on, as in `fit`.
    Each of `steps` rates, from `lowest` to `highest`, even on a log scale, has one update on the
    next batch; the trial ends when the loss explodes (Smith 2017, section 3.3).  Take a rate where
    it still falls steeply.
    Nothing is changed: a copy is trained, and the random state put back.
    Raises ValueError unless 0 < lowest < highest and there are 2 steps or more.
    """
    if not 0 < lowest < highest or steps < 2:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest}, {highest}; 2 steps or more")
    before = random.random_state()
    trial, own = copy(trainer), (trainer.model, trainer.optimizer, trainer.scaler)
    trial.model, trial.optimizer, trial.scaler = deepcopy(own)
    trial.group = None  # each process tries alone, and finds the same
    trial.step = EagerStep(trial)  # a compiled one trains the trainer's own model
    for one in (trial.optimizer, *trial.optimizer.groups):
        one.schedule = None
    rates, losses = [], []
    loader = as_loader(*given("find_rate", x, y), batch_size, shuffle=True)
    with (
        closing(_endless(loader)) as batches,
        suppress(FloatingPointError),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        for rate in np.geomspace(lowest, highest, steps).tolist():
            trial.optimizer.lr = rate
            losses.append(trial.train_step(next(batches))["loss"])
            rates.append(rate)
            if losses[-1] > min(losses) + 3 * abs(losses[0]):
                break
    random.set_random_state(before)
    return {"rate": rates, "loss": losses}


advice.functions(__name__)
