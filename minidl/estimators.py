"""A classifier and a regressor for scikit-learn: pipelines, grid searches, cross-validation.

The one rule of this file: a constructor only stores, and fitting sets what ends in an underscore.

Explained in course/24.
"""

from contextlib import ExitStack
from copy import deepcopy
from itertools import pairwise
from threading import RLock

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import check_random_state, check_scalar
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError('estimators need scikit-learn: pip install "minidl[sklearn]"') from error

from . import advice, nn, optim
from .data.loader import ArrayDataset, DataLoader, split
from .engine import devices, random
from .graph.passes import EXACT
from .nn import functional as F
from .train.callbacks import EarlyStopping
from .train.trainer import Trainer

_lock = RLock()  # all threads share one random generator


def _named(name, module):
    """The class of `module` with this name; what can be called is taken as it is."""
    if not callable(name) and not hasattr(module, name):
        raise ValueError(f"{module.__name__} has no {name!r}; give one of its classes or its name")
    return name if callable(name) else getattr(module, name)


class MinidlEstimator(BaseEstimator):
    """What both estimators share; they differ in what targets and outputs mean, and in the loss.

    hidden: a tuple of widths; or a function (n_in, n_out) -> Module; or a Module with n_out
    outputs, of which a copy is trained.  activation, optimizer: a class of `nn`, of `optim`, its
    name, or a function () -> Module, (parameters, lr) -> Optimizer.  weight_decay: None leaves
    the optimizer its own.  early_stopping: hold out the share `validation_fraction`, stop when
    its loss has not improved for `patience` epochs, keep the best weights.  device: "cpu" or
    "cuda"; what is pickled is on the CPU, and goes to the device when it is trained further.
    Computes in the type of X, float32 or float64.  Fitted: model_, a Module; n_iter_, epochs run;
    loss_curve_, the loss of each; validation_curve_, that of the held-out samples, or None.
    """

    @advice.advised
    def __init__(
        self, hidden=(100,), *, activation="ReLU", optimizer="Adam", lr=0.001, weight_decay=None,
        batch_size=64, epochs=100, early_stopping=False, validation_fraction=0.1, patience=10,
        random_state=None, device="cpu",
    ):  # fmt: skip
        self.hidden, self.activation, self.optimizer, self.lr = hidden, activation, optimizer, lr
        self.weight_decay, self.batch_size, self.epochs = weight_decay, batch_size, epochs
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.patience, self.random_state, self.device = patience, random_state, device

    def fit(self, X, y, sample_weight=None):
        """Train a new network on X (N, n_in) and y; returns self.  sample_weight (N,): 2 counts as
        two copies, 0 as none; exactly where one batch holds all samples, else on average.
        """
        check_scalar(self.epochs, "epochs", (int, np.integer), min_val=1)
        return self._train(X, y, sample_weight, new=True, epochs=self.epochs)

    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train one epoch more, holding out none; returns self.  The first call makes the network;
        a classifier's needs `classes`, all labels to come.
        """
        return self._train(X, y, sample_weight, new=not hasattr(self, "model_"), classes=classes)

    def _train(self, X, y, weight, *, new, epochs=None, classes=None):
        """Train a new network or the old for `epochs`, or (None) for one."""
        dtype = [np.float64, np.float32] if new else self._dtype
        several = isinstance(self, MultiOutputMixin)
        if hasattr(y, "toarray") or (not several and np.asarray(y).shape[1:] not in [(), (1,)]):
            raise ValueError(
                f"y of shape {np.shape(y)} is not for a {type(self).__name__}: y must be dense "
                "(y.toarray()), and for a classifier one label for each sample, (N,).  One-hot: "
                "y.argmax(axis=1).  Several labels for each sample: "
                "sklearn.multioutput.MultiOutputClassifier(MinidlClassifier())"
            )
        X, y = validate_data(self, X, y, reset=new, dtype=dtype, multi_output=several)
        weight = _check_sample_weight(weight, X, ensure_non_negative=True)
        X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        target = self._encode(y, weight, new, classes)  # (N, n_out), then a column of weights
        train = ArrayDataset(X, np.column_stack([target, weight / weight.mean()]).astype(X.dtype))

        with _lock, ExitStack() as after:
            after.callback(random.set_random_state, random.random_state())
            if new:
                self._build(X, target.shape[1], (epochs or 0) * len(X))
            trainer, valid, watch = _on(self.device, self._trainer), None, []
            if self.early_stopping and epochs:
                valid, train = split(train, self.validation_fraction, seed=self._seed)
                check_scalar(len(valid), "the number of samples held out", int, min_val=1)
                watch = [EarlyStopping(self.patience)]
            batches = DataLoader(train, self.batch_size, shuffle=True, seed=self._seed, prefetch=0)
            random.manual_seed(self._seed + trainer.epoch + 1)
            trainer.fit(batches, valid, epochs or 1, callbacks=watch, progress=False)
        self.n_iter_, self.loss_curve_ = trainer.epoch, trainer.history["loss"]
        self.validation_curve_ = trainer.history.get("valid_loss")
        return self

    def _build(self, X, n_out, seen):
        """Make `model_` and its trainer, for samples like X, of which it will see so many."""
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        random.manual_seed(self._seed)
        if isinstance(self.hidden, nn.Module):
            model = deepcopy(self.hidden)
        elif callable(self.hidden):
            model = self.hidden(X.shape[1], n_out)
        else:
            widths = [X.shape[1], *np.atleast_1d(self.hidden).tolist(), n_out]
            activation = _named(self.activation, nn)
            layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]
            model = nn.Sequential(*layers[:-1])  # no activation after the last layer
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        optimizer = _named(self.optimizer, optim)(model.parameters(), self.lr, **decay)
        ours = {type(self.activation), type(self.optimizer)} == {str}  # then to the bit the same
        ours = ours and not callable(self.hidden) and not isinstance(self.hidden, nn.Module)
        steps = EXACT if ours and seen >= 100 * self.batch_size else False  # else it does not pay
        model = model.to(self.device, X.dtype)
        trainer = Trainer(model, optimizer, self._loss, device=self.device, compile=steps)
        if (found := trainer.predict(X[:1]).shape) != (1, n_out):
            raise ValueError(f"the network gives {found} for one sample, expected {(1, n_out)}")
        self.model_, self._trainer, self._dtype = model, trainer, X.dtype

    def _outputs(self, X):
        """What the network gives for X, an array (N, n_out)."""
        check_is_fitted(self)
        return self._trainer.predict(validate_data(self, X, reset=False, dtype=self._dtype))

    def __getstate__(self):
        """What is pickled, all of it on the CPU."""
        state = super().__getstate__()
        if isinstance(self.hidden, nn.Module):
            state = state | {"hidden": deepcopy(self.hidden).to("cpu")}
        if "_trainer" in state and self._trainer.device != "cpu":
            trainer = _on("cpu", deepcopy(self._trainer))
            state = state | {"_trainer": trainer, "model_": trainer.model}
        return state


def _on(device, trainer):
    """The trainer, moved to `device` with its model and its optimizer's states."""
    trainer.device, trainer.model = device, trainer.model.to(device)
    for state in trainer.optimizer.state:
        for kept in state.values():
            kept.data = devices.to_device(kept.data, device)
    return trainer


class MinidlClassifier(ClassifierMixin, MinidlEstimator):
    """Softmax and cross-entropy; classes_ lists the labels in order; else as MinidlEstimator."""

    def predict_proba(self, X):
        """The probability of each class, (N, K), in the order of `classes_`."""
        return F.softmax(self._outputs(X))

    def predict(self, X):
        """The label of the most probable class, (N,)."""
        best = self._outputs(X).argmax(axis=1)
        return self.classes_[best]

    def _encode(self, y, weight, new, classes):
        check_classification_targets(y)
        named = np.unique(y if classes is None else classes)
        self.classes_ = named if new else self.classes_
        if unknown := {*y.tolist(), *named.tolist()} - {*self.classes_.tolist()}:
            raise ValueError(f"labels {unknown} are not among classes_, {self.classes_}")
        return y[:, None] == self.classes_  # (N, K), one-hot

    @staticmethod
    def _loss(y, target):
        return -(target[:, -1:] * target[:, :-1] * F.log_softmax(y)).sum() / len(y)


class MinidlRegressor(MultiOutputMixin, RegressorMixin, MinidlEstimator):
    """Squared error; y (N,) or (N, M) is standardised inside, as are losses; else likewise."""

    def predict(self, X):
        """The predicted y, (N,) or (N, M) as in `fit`."""
        y = self._outputs(X).astype(np.float64)
        return self._scaler.inverse_transform(y).reshape(len(y), *self._shape)

    def _encode(self, y, weight, new, classes):
        table = y.reshape(len(y), -1)  # (N,) -> (N, 1)
        if new:
            self._shape, self._scaler = y.shape[1:], StandardScaler().fit(table, None, weight)
        return self._scaler.transform(table)

    @staticmethod
    def _loss(y, target):
        return (target[:, -1:] * (y - target[:, :-1]) ** 2).mean()
