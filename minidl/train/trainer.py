"""The training loop: fit, evaluate, predict, save and load; and the finder of a learning rate.

The one rule of this file: whatever the rest of a run depends on is in one checkpoint (weights,
optimiser, random state, place in the epoch, sums so far, callbacks), so a run that was killed
and resumed ends in the same bits as one that was not.

Explained in course/12.
"""

import json
import math
import os
from contextlib import nullcontext, suppress
from copy import copy, deepcopy
from functools import partial
from inspect import Parameter, signature
from itertools import chain, count, islice

import numpy as np

from .. import advice, io, optim
from ..data.loader import ArrayDataset, DataLoader, prepared, weigher
from ..engine import devices, intercept, random
from ..engine.ops import one_hot, where
from ..engine.reductions import argmax
from ..engine.tensor import Tensor
from ..graph import compiled
from ..nn import functional
from ..nn.module import Module, evaluating, training
from .ahead import ahead
from .callbacks import Callback, Checkpoint, CSVLog, HistoryPlot, Progress
from .debug import origin
from .precision import LossScaler, autocast


def accuracy(y, labels):
    """The share of samples whose largest y (..., K) is at the label, in [0, K), or most probable.

    y (N,) or (..., 1) is a logit: right if it is positive where the label is 1, not where it is 0.
    """
    if y.shape[1:] == () or y.shape[-1] == 1:
        _check_shapes("accuracy", y, labels, y.shape)
        right = (y > 0) == (labels > 0.5)
    else:
        if labels.shape == y.shape:
            labels = argmax(labels, axis=-1)
        _check_shapes("accuracy", y, labels, y.shape[:-1])
        right = argmax(y, axis=-1) == labels
    return float(right.data.sum()) / max(right.size, 1)


def top5(y, labels):
    """The share of samples whose label (...) is among the five largest of y (..., K)."""
    _check_shapes("top5", y, labels, y.shape[:-1])
    at_label = one_hot(labels, classes=y.shape[-1], dtype=bool)
    larger = y > where(at_label, y, 0.0).sum(-1, keepdims=True)
    return float((larger.sum(-1) < 5).data.sum()) / max(labels.size, 1)


def _check_shapes(metric, y, labels, expected):
    if labels.shape != expected:
        raise ValueError(
            f"{metric}: labels of shape {expected} belong to outputs {y.shape}, got "
            f"{labels.shape}; reshape one of them"
        )


def _takes_weight(f):
    return callable(f) and "sample_weight" in signature(f).parameters


METRICS = {"accuracy": accuracy, "top5": top5, "mae": functional.l1, "mse": functional.mse}
LOSSES = {name: f for name, f in vars(functional).items() if name[0] != "_" and _takes_weight(f)}


def _named(kind, given, known):
    """`given`, if it is a function, else the one `known` by that name."""
    if not callable(given) and given not in known:
        raise ValueError(f"{kind}: expected a function or one of {sorted(known)}, got {given!r}")
    return given if callable(given) else known[given]


_WRITERS = Progress, Checkpoint, CSVLog, HistoryPlot
_PLACE = "epoch", "batch", "seen", "logs", "history", "stopped", "n_inputs"  # in a checkpoint
_TAKEN = "loss", "epoch", "rate"  # names in a history that are no metric's


def _named_metrics(metrics):
    """A dict name -> function, of one metric, a list or a dict of metrics."""
    if callable(metrics) or isinstance(metrics, str):
        metrics = [metrics]
    if not isinstance(metrics, dict):
        pairs = [(m if isinstance(m, str) else getattr(m, "__name__", None), m) for m in metrics]
    else:
        pairs = metrics.items()
    found = {}
    for name, metric in pairs:
        function = _named("metrics", metric, METRICS)
        if not isinstance(name, str) or name in _TAKEN or name.startswith("valid_"):
            raise ValueError(
                f"metrics: {metric!r} cannot be called {name!r} in a history (a string, not one of "
                f"{', '.join(_TAKEN)}, valid_...); give a dict name -> function"
            )
        if found.setdefault(name, function) != function:
            raise ValueError(f"metrics: two are called {name!r}, {found[name]!r} and {function!r}; "
                             "give a dict name -> function")  # fmt: skip
    return found


def _check_that_they_belong_together(model, optimizer):
    """Raise ValueError if the optimizer changes anything that is not the model's."""
    mine = {id(part) for _, part in model.tensors()}
    others = [i for i, p in enumerate(optimizer.parameters) if id(p) not in mine]
    if not others:
        return
    n = len(optimizer.parameters)
    which = f"its parameters {', '.join(map(str, others))} of {n} are"
    if len(others) == n:
        which = "none of its parameters is the model's; they are"
    raise ValueError(
        f"the optimizer does not fit the model: {which} another's, of a copy, or replaced since; "
        "make the optimizer from model.parameters(), and keep all that the loss trains in the model"
    )


def _n_taken(function):
    """The smallest and the largest number of arrays that `function` takes by position."""
    parameters = signature(function).parameters.values()
    kinds = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
    places = [p for p in parameters if p.kind in kinds]
    many = any(p.kind is Parameter.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is Parameter.empty for p in places)
    return least, math.inf if many else len(places)


class Trainer:
    """Trains a model in Keras's manner.

    optimizer: of parameters of this model: all, or some, and the others stay.
    loss: a function (output, target) -> Tensor with one element, the mean over the batch.
    metrics: functions (output, target) -> float, each a mean over the batch, as a list, or as a
    dict name -> function.  Both also by name: the losses of functional.py, METRICS.
    device: where the model is moved and the batches follow.  clip_norm: None, or the length to
    which all gradients together are cut (`optim.clip_grad_norm`).  accumulate: how many batches
    make an update, as one large batch would.  mixed_precision: train with products in float16.
    compile: run each step as source (`minidl.compile`), True, or the passes to use, or its options
    as a dict; with neither of these two.  group: the processes that train together
    (`distributed.Group`); each makes the same Trainer, calls its methods alike, and works on its
    part of every batch.
    history: a dict name -> list with a number for each epoch, nan where there was none.
    Raises ValueError where the optimizer holds what is not the model's, also when one of both was
    exchanged since; where two metrics have one name, or one has the name of something else.
    Several threads may call `predict` and `evaluate` of one Trainer, but not while another is in
    `fit`: RuntimeError.  Two may train two models.
    """

    __getattr__ = advice.of_object("Trainer")

    @advice.advised
    def __init__(
        self, model, optimizer, loss, metrics=(), *, device="cpu", clip_norm=None, accumulate=1,
        mixed_precision=False, compile=False, group=None,
    ):  # fmt: skip
        if not isinstance(model, Module):
            raise TypeError(f"a Trainer trains a Module, got {type(model).__name__}")
        if compile and (mixed_precision or accumulate > 1):
            raise ValueError("compile=True goes with neither accumulate nor mixed_precision")
        if not isinstance(optimizer, optim.Optimizer) or accumulate < 1:
            raise ValueError("expected an optimizer such as optim.Adam(model.parameters()), got "
                             f"{optimizer!r}; and accumulate from 1, got {accumulate}")  # fmt: skip
        _check_that_they_belong_together(model, optimizer)
        self.metrics = _named_metrics(metrics)
        self.loss, self.device = _named("loss", loss, LOSSES), device
        self.model, self.optimizer = model.to(device), optimizer
        self.clip_norm, self.accumulate = clip_norm, accumulate
        self.scaler, self.group = LossScaler() if mixed_precision else None, group
        if group:
            group.start(self.model)
        options = compile if isinstance(compile, dict) else {"passes": compile}
        make = partial(compiled.compile, **({} if compile is True else options))
        self.compiled = make(self._gradients if group else self._whole_step) if compile else None
        self.updating = make(self._update) if compile and group else None
        self.history, self.logs, self.callbacks, self.trained = {}, {}, [], []
        self.epoch = self.batch = 0  # the epoch that runs, the batches of it that are done
        self.seen, self.stopped = 0, False  # the samples of this epoch that `logs` is the mean of
        self.n_inputs = None  # how many arrays of a batch were inputs, in training
        self._checked, self._modules = (None, None), []  # see `_begin_step`

    @advice.advised
    def fit(
        self, train, valid=None, epochs=1, *, batch_size=64, seed=0, callbacks=(), progress=True,
        resume=None, sample_weight=None, class_weight=None,
    ):  # fmt: skip
        """Train for `epochs` epochs more; return the history, to which each call adds.

        Epochs are counted on, and a learning rate's schedule and random numbers go on where they
        were.  An epoch that was interrupted is ended first, and counts as one.
        train: a DataLoader, or a data set, which is shuffled and cut into batches of `batch_size`.
        valid: likewise, but not shuffled; or the share of `train` in (0, 1), drawn at random, that
        is held out.  progress: whether `Progress` is among the callbacks.
        resume: a checkpoint to go on from, exactly, until `epochs` are done in all; a path that
        does not exist yet is no error, so the same command starts and resumes.
        sample_weight (N,), or True: the last array of the data; class_weight (K,) or a dict:
        factors of the training loss of each sample (Keras: also of validation).
        Raises FloatingPointError, naming the operation, when the loss is no longer finite.
        """
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        train, valid = prepared(train, valid, sample_weight, seed)
        loader = _loader(train, batch_size, "training ", shuffle=True, seed=seed)
        valid = None if valid is None else _loader(valid, batch_size, "validation ")
        weigh = weigher(sample_weight is not None, class_weight)
        if weigh and not _takes_weight(self.loss):
            raise TypeError("sample_weight and class_weight need a loss with an argument "
                            f"`sample_weight`, got {self.loss!r}")  # fmt: skip
        shown = [Progress()] if progress else []
        if self.group and self.group.rank:  # the first process says and writes all
            shown, callbacks = [], [c for c in callbacks if not isinstance(c, _WRITERS)]
        # Checkpoints last, so that they hold what the other callbacks did.
        self.callbacks = sorted([*shown, *callbacks], key=lambda c: isinstance(c, Checkpoint))
        if not all(isinstance(c, Callback) for c in self.callbacks):
            raise TypeError(f"callbacks must be Callbacks, such as Progress(), got {callbacks!r}")
        self._tell("renew")
        self.stopped, self.n_epochs = False, self.epoch + epochs
        if resume is not None and os.path.exists(resume):
            self.load(resume)
            self.n_epochs = epochs
        self._checked = None, None
        with training(self.model):
            self._epochs(loader, valid, weigh)
        return self.history

    def _epochs(self, loader, valid, weigh):
        """The epochs that are left to do."""
        self._tell("on_train_begin")
        try:
            while self.epoch < self.n_epochs and not self.stopped:
                loader.epoch = self.epoch
                self.n_batches = len(loader)
                self._tell("on_epoch_begin")
                batches = loader.batches(self.epoch, self.batch)
                batches = map(self.group.part, batches) if self.group else batches
                if self.device != "cpu" and not weigh:  # weights are worked out on the host
                    batches = ahead(batches, self.device)
                for some in _groups(batches, self.accumulate):
                    try:
                        found = self.train_step(*some, weigh=weigh)
                    except Exception as error:
                        if self.group:
                            self.group.fail(self.model, error)
                        raise
                    n = sum(len(b[0]) for b in some)
                    if n:
                        self.logs = _mean((self.logs, self.seen), (found, n))
                    self.seen, self.batch = self.seen + n, self.batch + len(some)
                    self._tell("on_batch_end")
                if self.group:
                    logs = dict.fromkeys(["loss", *self.metrics], 0.0) | self.logs
                    self.logs = self.group.average_numbers(logs, self.seen, self.device)
                found = {} if valid is None else self.evaluate(valid)
                self.logs |= {f"valid_{name}": value for name, value in found.items()}
                self._remember(self.logs)
                self.epoch, self.batch, self.seen = self.epoch + 1, 0, 0
                self._tell("on_epoch_end")
        finally:
            self._tell("on_train_end")

    def _remember(self, logs):
        """Add an epoch's numbers to the history, in which every list is as long as the others."""
        done = max(map(len, self.history.values()), default=0)
        for name in self.history | logs:
            before = self.history.setdefault(name, [math.nan] * done)
            before.append(logs.get(name, math.nan))

    def _begin_step(self):
        """Put the model into training, whose modules are looked up once for each fit."""
        model, optimizer = self._checked
        if model is not self.model or optimizer is not self.optimizer:
            _check_that_they_belong_together(self.model, self.optimizer)
            self._modules = [module for _, module in self.model.modules()]
            self._checked = self.model, self.optimizer
        for module in self._modules:
            module.training = True

    def train_step(self, *batches, weigh=None):
        """One update from a batch (inputs ..., target), or from several as if they were one.

        weigh: a function batch -> (batch, weight of each sample), or None.
        Returns a dict name -> mean over all samples.
        """
        self._begin_step()
        if self.compiled:
            return self._compiled_step(batches[0], weigh)
        self.optimizer.zero_grad()
        scaler, measured, n = self.scaler, [], sum(len(batch[0]) for batch in batches)
        batches = [batch for batch in batches if len(batch[0])] if self.group else batches
        # A scaled gradient may overflow: the scaler then skips the step, and nothing is wrong.
        with np.errstate(over="ignore", invalid="ignore") if scaler else nullcontext():
            for batch in batches:
                batch, weight = weigh(batch) if weigh else (batch, None)
                with autocast() if scaler else nullcontext():
                    loss, found = self._measure(batch, weight)
                if not math.isfinite(found["loss"]):
                    place = f"epoch {self.epoch + 1}, batch {self.batch + len(measured) + 1}"
                    place = f"{found['loss']} at step {self.optimizer.steps} ({place})"
                    raise FloatingPointError(f"the loss became {place}: {origin(loss, self.model)}")
                loss = loss * (len(batch[0]) / n)
                (scaler.scale(loss) if scaler else loss).backward()
                measured.append((found, len(batch[0])))
                self.n_inputs = len(batch) - 1
            if self.group:
                self.group.average_gradients(self.model, n)
            if scaler:
                scaler.unscale(self.optimizer)
            if self.clip_norm is not None:
                optim.clip_grad_norm(self.optimizer.parameters, self.clip_norm)
            scaler.step(self.optimizer) if scaler else self.optimizer.step()
        return _mean(*measured) if n else {}

    def _compiled_step(self, batch, weigh):
        n, found = len(batch[0]), {}
        if n or not self.group:
            batch, weight = weigh(batch) if weigh else (batch, None)
            self.weighted = weight is not None
            given = self._tensors((*batch, weight) if self.weighted else batch)
            loss, y, *grads = self.compiled(*given)
            value, place = loss.item(), f"epoch {self.epoch + 1}, batch {self.batch + 1}"
            if not math.isfinite(value):
                raise FloatingPointError(
                    f"the loss became {value} ({place}); compile=False says which operation made it"
                )
            self.n_inputs = len(batch) - 1
            target = given[self.n_inputs]
            measured = {name: float(m(y, target)) for name, m in self.metrics.items()}
            found = {"loss": value} | measured
        if self.group:
            for p, g in zip(self.trained, grads if n else ()):
                p.grad = g
            self.group.average_gradients(self.model, n)
            self.trained = [p for p in self.optimizer.parameters if p.grad is not None]
            self.updating(*(p.grad for p in self.trained))
            self.optimizer.zero_grad()
        return found

    def _gradients(self, *tensors):
        """A training step up to the gradients; in a group it gives them, and leaves none."""
        *inputs, target, weight = tensors if self.weighted else (*tensors, None)
        y = self.model(*inputs)
        loss = self.loss(y, target, **({"sample_weight": weight} if self.weighted else {}))
        loss.backward()
        if not self.group:
            return loss, y
        self.trained = [p for p in self.optimizer.parameters if p.grad is not None]
        grads = [p.grad for p in self.trained]
        self.optimizer.zero_grad()
        return loss, y, *grads

    def _update(self, *grads):
        """The rest of it; the gradients of a group are given, for they have met outside."""
        for p, g in zip(self.trained, grads):
            p.grad = g
        if self.clip_norm is not None:
            optim.clip_grad_norm(self.optimizer.parameters, self.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _whole_step(self, *tensors):
        """A training step from the batch to the update, as it is compiled."""
        found = self._gradients(*tensors)
        self._update()
        return found

    def evaluate(self, data, *, batch_size=256):
        """The loss and metrics over all of `data` (a DataLoader or a data set), as a dict."""
        with evaluating(self.model), intercept.no_grad():
            batches = _loader(data, batch_size).batches(0)
            return _mean(*((self._measure(batch)[1], len(batch[0])) for batch in batches))

    def predict(self, data, *, batch_size=256):
        """The model's outputs for all of `data`, one NumPy array, in the order of its batches.

        data: an array of inputs; a tuple of arrays, the inputs of a model that takes several; or a
        DataLoader or data set.  Of its arrays the first are the inputs, as many as in training, or
        else as the model's `forward` takes; one more is the target, and left out.
        Raises ValueError where that does not say which are the inputs.
        """
        if isinstance(data, Tensor) or devices.is_array(data):
            data = (data,)
        arrays = _arrays(data)
        if arrays:
            data = ArrayDataset(*arrays)
        found = []
        with evaluating(self.model), intercept.no_grad():
            for batch in _loader(data, batch_size).batches(0):
                n = len(arrays) or self._count_inputs(batch)
                y = self.model(*self._tensors(batch, 1)[:n])
                if not isinstance(y, Tensor):
                    raise TypeError("predict: expected a Tensor from the model for each batch, got "
                                    f"a {type(y).__name__}")  # fmt: skip
                found.append(y.numpy())
        return np.concatenate(found)

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

    def save(self, path):
        """Write all that the rest of the run depends on to `path`, a safetensors file."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        place = {name: getattr(self, name) for name in _PLACE}
        place |= {"lr": self.optimizer.lr, "random": random.random_state()}
        place["scaler"] = self.scaler and self.scaler.state_dict()
        for callback, name, key in self._kept():
            value = getattr(callback, name)
            (parts if isinstance(value, dict) else place)[key] = value
        arrays = {f"{part}.{k}": a for part, state in parts.items() for k, a in state.items()}
        io.save(path, arrays, {"minidl.trainer": json.dumps(place)})

    def load(self, path):
        """Go back to the state that `save` wrote.  Raises ValueError when it does not fit."""
        arrays, metadata = io.load(path)
        if "minidl.trainer" not in metadata:
            raise ValueError(f"{path} holds arrays, but no training state; did Trainer save it?")
        place, parts = json.loads(metadata["minidl.trainer"]), {"model": {}}
        for path, array in arrays.items():
            part, _, name = path.partition(".")
            parts.setdefault(part, {})[name] = array
        self.model.load_state_dict(parts["model"])
        self.optimizer.load_state_dict(parts["optimizer"])
        for callback, name, key in self._kept():
            if key in parts | place:
                setattr(callback, name, (parts | place)[key])
        for name in [name for name in _PLACE if name in place]:
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
            getattr(callback, event, lambda trainer: None)(self)

    def _tensors(self, batch, least=2):
        if len(batch) < least or not len(batch[0]):
            raise ValueError("a batch must be (inputs ..., target), and not empty; got shapes "
                             f"{[np.shape(a) for a in batch]}")  # fmt: skip
        return [Tensor(devices.to_device(a, self.device)) for a in batch]

    def _measure(self, batch, weight=None):
        """The loss for a batch, a Tensor, and a dict of the loss and metrics as numbers."""
        *inputs, target = self._tensors(batch)
        y = self.model(*inputs)
        weighted = (
            {} if weight is None else {"sample_weight": devices.to_device(weight, self.device)}
        )
        loss = self.loss(y, target, **weighted)
        with intercept.no_grad():
            found = {name: float(metric(y, target)) for name, metric in self.metrics.items()}
        return loss, {"loss": loss.item()} | found


def _arrays(data):
    """The NumPy arrays of a tuple or list of arrays; of anything else none."""
    several = isinstance(data, (tuple, list)) and len(data)
    if not several or not all(isinstance(a, Tensor) or devices.is_array(a) for a in data):
        return []
    return [devices.to_numpy(a.data if isinstance(a, Tensor) else a) for a in data]


def _loader(data, batch_size, which="", **options):
    loader = data if isinstance(data, DataLoader) else DataLoader(data, batch_size, **options)
    if not len(loader):
        raise ValueError(f"the {which}data gives no batch: it is empty, or smaller than a batch")
    return loader


def _groups(batches, n):
    while group := list(islice(batches, n)):
        yield group


def _mean(*measured):
    """The mean, by name, of dicts of numbers, each with the number of samples it stands for."""
    total = sum(n for _, n in measured)
    return {k: sum(d.get(k, 0.0) * n for d, n in measured) / total for k in measured[-1][0]}


def find_rate(trainer, data, *, lowest=1e-6, highest=1.0, steps=100, batch_size=64):
    """The loss at rising learning rates, {"rate": [...], "loss": [...]}; `plot_history` draws it.

    Each of `steps` rates, even on a log scale, has one update on the next batch; the trial ends
    when the loss explodes (Smith 2017, section 3.3).  Take a rate where it still falls steeply.
    Nothing is changed: a copy is trained, and the random state put back.
    """
    if not 0 < lowest < highest or steps < 2:
        raise ValueError(f"expected 0 < lowest < highest, got {lowest}, {highest}; 2 steps or more")
    trial, before, found = copy(trainer), random.random_state(), {"rate": [], "loss": []}
    parts = deepcopy((trainer.model, trainer.optimizer, trainer.scaler))
    trial.model, trial.optimizer, trial.scaler = parts
    trial.compiled = None  # that step trains the trainer's own model
    trial.optimizer.schedule = None
    loader = _loader(data, batch_size, shuffle=True)
    batches = chain.from_iterable(map(loader.batches, count()))
    with suppress(FloatingPointError), np.errstate(over="ignore", invalid="ignore"):
        for rate in np.geomspace(lowest, highest, steps).tolist():
            trial.optimizer.lr = rate
            found["loss"].append(trial.train_step(next(batches))["loss"])
            found["rate"].append(rate)
            if found["loss"][-1] > min(found["loss"]) + 3 * abs(found["loss"][0]):
                break
    random.set_random_state(before)
    return found
