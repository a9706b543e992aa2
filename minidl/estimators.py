"""A classifier and a regressor for scikit-learn: pipelines, grid searches, cross-validation.

The one rule of this file: a constructor only stores, and fitting sets what ends in an underscore.

Explained in course/24.
"""

from __future__ import annotations

from contextlib import ExitStack
from copy import deepcopy
from itertools import pairwise
from threading import RLock
from typing import TYPE_CHECKING

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
from .train.metrics import called
from .train.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Self

    from numpy.typing import ArrayLike

_lock = RLock()  # all threads share one random generator


class MinidlEstimator(BaseEstimator):
    """What both estimators share; they differ in what targets and outputs mean, and in the loss.

    hidden: a tuple of widths, or one; or a function (n_in, n_out) -> Module; or a Module with n_out
        outputs, of which a copy is trained.
    activation: a class of `nn`, its name, or a function () -> Module.
    optimizer: a class of `optim`, its name, or a function (parameters, lr) -> Optimizer.
    lr: the learning rate.
    weight_decay: None leaves the optimizer its own.
    batch_size: samples in a batch.
    epochs: how many times all samples are seen in `fit`, at most.
    early_stopping: whether a share of the samples is held out, training stops when their loss has
        not improved for `patience` epochs, and the best weights are kept.
    validation_fraction: that share, in (0, 1).
    random_state: None, a seed, or a RandomState, as everywhere in scikit-learn.
    device: "cpu" or "cuda".  What is pickled is on the CPU, and goes to the device when it is
        trained further.

    Computes in the type of X, float32 or float64.
    Fitted: model_, a Module; n_iter_, epochs run; loss_curve_, the loss of each;
    validation_curve_, that of the held-out samples, or None.
    """

    @advice.advised
    def __init__(
        self,
        hidden: int | Sequence[int] | Callable[[int, int], nn.Module] | nn.Module = (100,),
        *,
        activation: str | Callable[[], nn.Module] = "ReLU",
        optimizer: str | Callable[..., optim.Optimizer] = "Adam",
        lr: float = 0.001,
        weight_decay: float | None = None,
        batch_size: int = 64,
        epochs: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ):
        self.hidden, self.activation, self.optimizer, self.lr = hidden, activation, optimizer, lr
        self.weight_decay, self.batch_size, self.epochs = weight_decay, batch_size, epochs
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.patience, self.random_state, self.device = patience, random_state, device

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new network on X (N, n_in) and y; returns self.

        sample_weight (N,): a sample of weight 2 counts as two copies, of weight 0 as none; exactly
        where one batch holds all samples, else on average.
        """
        check_scalar(self.epochs, "epochs", (int, np.integer), min_val=1)
        return self._train(X, y, sample_weight, new=True, epochs=self.epochs)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train one epoch more, holding out no samples; returns self.

        The first call makes the network; a classifier's needs `classes`, all labels to come.
        """
        return self._train(X, y, sample_weight, new=not hasattr(self, "model_"), classes=classes)

    def _train(self, X, y, weight, *, new, epochs=None, classes=None):
        """Train a new network or the old for `epochs`, or (None) for one."""
        X, y, weight = self._validated(X, y, weight, new)
        target = self._encode(y, weight, new, classes)  # (N, n_out)
        # The weights are one column more: (N, n_out + 1).
        table = np.column_stack([target, weight / weight.mean()]).astype(X.dtype)
        train = ArrayDataset(X, table)
        with _lock, ExitStack() as after:
            after.callback(random.set_random_state, random.random_state())
            if new:
                self._build(X, target.shape[1], (epochs or 0) * len(X))
            trainer = _on(self.device, self._trainer)
            valid, watch = None, []
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

    def _validated(self, X, y, weight, new):
        """What is trained on, as arrays: the samples whose weight is not 0."""
        several = isinstance(self, MultiOutputMixin)
        if hasattr(y, "toarray") or (not several and np.asarray(y).shape[1:] not in [(), (1,)]):
            raise ValueError(
                f"y of shape {np.shape(y)} is not for a {type(self).__name__}: y must be dense "
                "(y.toarray()), and for a classifier one label for each sample, (N,).  One-hot: "
                "y.argmax(axis=1).  Several labels for each sample: "
                "sklearn.multioutput.MultiOutputClassifier(MinidlClassifier())"
            )
        dtype = [np.float64, np.float32] if new else self._dtype
        X, y = validate_data(self, X, y, reset=new, dtype=dtype, multi_output=several)
        weight = _check_sample_weight(weight, X, ensure_non_negative=True)
        return X[weight > 0], y[weight > 0], weight[weight > 0]

    def _build(self, X, n_out, seen):
        """Make `model_` and its trainer, for samples like X, of which it will see so many."""
        self._seed = int(check_random_state(self.random_state).randint(2**31))
        random.manual_seed(self._seed)
        model = self._network(X.shape[1], n_out)
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        make = called("optimizer", self.optimizer, _classes(optim, optim.Optimizer))
        optimizer = make(model.parameters(), self.lr, **decay)
        # Compiled where all is the package's own, so to the same bits, and where it pays.
        ours = isinstance(self.activation, str) and isinstance(self.optimizer, str)
        pays = seen >= 100 * self.batch_size
        steps = EXACT if ours and pays and not callable(self.hidden) else False
        model = model.to(self.device, X.dtype)
        trainer = Trainer(model, optimizer, self._loss, device=self.device, compile=steps)
        if (found := trainer.predict(X[:1]).shape) != (1, n_out):
            raise ValueError(f"the network gives {found} for one sample, expected {(1, n_out)}")
        self.model_, self._trainer, self._dtype = model, trainer, X.dtype

    def _network(self, n_in, n_out):
        if isinstance(self.hidden, nn.Module):
            return deepcopy(self.hidden)
        if callable(self.hidden):
            return self.hidden(n_in, n_out)
        widths = [n_in, *np.atleast_1d(self.hidden).tolist(), n_out]
        activation = called("activation", self.activation, _classes(nn, nn.Module))
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]
        return nn.Sequential(*layers[:-1])  # no activation after the last layer

    def _outputs(self, X):
        """What the network gives for X, an array (N, n_out)."""
        check_is_fitted(self)
        return self._trainer.predict(validate_data(self, X, reset=False, dtype=self._dtype))

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, all of it on the CPU."""
        state = super().__getstate__()
        if isinstance(self.hidden, nn.Module):
            state = state | {"hidden": deepcopy(self.hidden).to("cpu")}
        if "_trainer" in state and self._trainer.device != "cpu":
            trainer = _on("cpu", deepcopy(self._trainer))
            state = state | {"_trainer": trainer, "model_": trainer.model}
        return state


def _classes(module, base):
    """The classes of a module that are kinds of `base`, by name."""
    found = vars(module).items()
    return {name: c for name, c in found if isinstance(c, type) and issubclass(c, base)}


def _on(device, trainer):
    """The trainer, moved to `device` with its model and its optimizer's states."""
    trainer.device, trainer.model = device, trainer.model.to(device)
    for state in trainer.optimizer.state:
        for kept in state.values():
            kept.data = devices.to_device(kept.data, device)
    return trainer


class MinidlClassifier(ClassifierMixin, MinidlEstimator):
    """A classifier: softmax and cross-entropy.  Its settings are those of MinidlEstimator.

    Fitted, besides: classes_, the labels in order.
    """

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each class, (N, K), in the order of `classes_`.  X (N, n_in)."""
        return F.softmax(self._outputs(X))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label of the most probable class, (N,).  X (N, n_in)."""
        best = self._outputs(X).argmax(axis=1)  # (N, K) -> (N,)
        return self.classes_[best]

    def _encode(self, y, weight, new, classes):
        check_classification_targets(y)
        named = np.unique(y if classes is None else classes)
        if new:
            self.classes_ = named
        if unknown := {*y.tolist(), *named.tolist()} - {*self.classes_.tolist()}:
            raise ValueError(f"labels {unknown} are not among classes_, {self.classes_}")
        return y[:, None] == self.classes_  # (N, 1) and (K,) -> (N, K), one-hot

    @staticmethod
    def _loss(y, target):
        weight, labels = target[:, -1:], target[:, :-1]  # (N, 1) and (N, K)
        return -(weight * labels * F.log_softmax(y)).sum() / len(y)


class MinidlRegressor(MultiOutputMixin, RegressorMixin, MinidlEstimator):
    """A regressor: squared error.  Its settings are those of MinidlEstimator.

    y (N,) or (N, M) is standardised inside; so are the losses in `loss_curve_`.
    """

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The predicted y, (N,) or (N, M) as in `fit`.  X (N, n_in)."""
        y = self._outputs(X).astype(np.float64)
        y = self._scaler.inverse_transform(y)
        return y.reshape(len(y), *self._shape)  # (N, 1) -> (N,), or (N, M)

    def _encode(self, y, weight, new, classes):
        table = y.reshape(len(y), -1)  # (N,) -> (N, 1)
        if new:
            self._shape, self._scaler = y.shape[1:], StandardScaler().fit(table, None, weight)
        return self._scaler.transform(table)

    @staticmethod
    def _loss(y, target):
        weight, expected = target[:, -1:], target[:, :-1]  # (N, 1) and (N, M)
        return (weight * (y - expected) ** 2).mean()


__getattr__ = advice.of_module(__name__)
