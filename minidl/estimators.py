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
    from sklearn.utils import check_random_state, check_scalar, column_or_1d
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError('estimators need scikit-learn: pip install "minidl[sklearn]"') from error

from . import advice, nn, optim
from .data.loader import ArrayDataset, DataLoader, Subset, split
from .engine import devices, ops, random
from .graph.passes import EXACT
from .nn import functional as F
from .train.callbacks import EarlyStopping
from .train.metrics import meant
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
    activation: the name of one of `nn`, such as "relu", in small letters or large; or a class or
        function () -> Module.
    optimizer: likewise of `optim`, such as "adam"; or a class or function (parameters, lr) ->
        Optimizer.
    lr: the learning rate.
    weight_decay: None leaves the optimizer its own.
    batch_size: samples in a batch.
    epochs: how many times all samples are seen in `fit`, at most.
    early_stopping: whether a share of the samples is held out, training stops when their loss has
        not improved for `patience` epochs, and the best weights are kept.
    validation_fraction: that share, in (0, 1).
    warm_start: whether `fit` goes on with the network of the fit before, with a new optimizer, so
        that a new `lr` counts; else it makes a new network.
    random_state: None, a seed, or a RandomState, as everywhere in scikit-learn.
    device: "cpu" or "cuda".  What is pickled is on the CPU, and goes to the device when it is
        trained further.

    X (N, n_in) may be a sparse matrix of SciPy, which becomes arrays a batch at a time; an array on
    disk (np.load with mmap_mode) is not copied either.
    Computes in the type of X, float32 or float64.
    Fitted: model_, a Module; n_iter_, epochs run; loss_curve_, the loss of each;
    validation_curve_, that of the held-out samples, or None.
    """

    if TYPE_CHECKING:  # what fitting sets
        model_: nn.Module
        n_iter_: int
        loss_curve_: list[float]
        validation_curve_: list[float] | None

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
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ):
        self.hidden, self.activation, self.optimizer, self.lr = hidden, activation, optimizer, lr
        self.weight_decay, self.batch_size, self.epochs = weight_decay, batch_size, epochs
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.patience, self.warm_start = patience, warm_start
        self.random_state, self.device = random_state, device

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a network on X (N, n_in) and y; returns self.

        sample_weight (N,): a sample of weight 2 counts as two copies, of weight 0 as none; exactly
        where one batch holds all samples, else on average.
        """
        check_scalar(self.epochs, "epochs", (int, np.integer), min_val=1)
        new = not (self.warm_start and hasattr(self, "model_"))
        return self._train(X, y, sample_weight, new=new, epochs=self.epochs)

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
        check_scalar(self.batch_size, "batch_size", (int, np.integer), min_val=1)
        dtype = [np.float64, np.float32] if new else self._dtype
        options = {"dtype": dtype, "accept_sparse": "csr", "multi_output": True}
        X, y = validate_data(self, X, y, reset=new, **options)
        y = self._checked(y)
        weight = _check_sample_weight(weight, X, ensure_non_negative=True)
        rows = np.flatnonzero(weight)  # what counts for nothing is not seen, and X not copied
        y, weight = y[rows], weight[rows]
        target = self._encode(y, weight, new, classes)  # (n, n_out)
        weight = self._weighed(y, weight, epochs)
        # The weights are one column more: (N, n_out + 1).
        table = np.zeros((X.shape[0], target.shape[1] + 1), X.dtype)
        table[rows] = np.column_stack([target, weight / weight.mean()])
        train = Subset(ArrayDataset(X, table), rows)
        with _lock, ExitStack() as after:
            after.callback(random.set_random_state, random.random_state())
            if new or epochs:
                self._build(X, target.shape[1], (epochs or 0) * len(rows), new)
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

    def _weighed(self, y, weight, epochs):
        """The weights of the samples, with all that counts."""
        return weight

    def _build(self, X, n_out, seen, new):
        """Make `model_`, unless it is there, and its trainer, for samples like X, so many."""
        if new:
            self._seed = int(check_random_state(self.random_state).randint(2**31))
            random.manual_seed(self._seed)
            model = self._network(X.shape[1], n_out)
        else:
            model = self.model_
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        make = _named("optimizer", self.optimizer, _OPTIMIZERS)
        optimizer = make(model.parameters(), self.lr, **decay)
        # Compiled where all is the package's own, so to the same bits, and where it pays.
        ours = isinstance(self.activation, str) and isinstance(self.optimizer, str)
        pays = seen >= 100 * self.batch_size
        steps = EXACT if ours and pays and not callable(self.hidden) else False
        model = model.to(self.device, X.dtype)
        trainer = Trainer(model, optimizer, self._loss, device=self.device, compile=steps)
        if (found := trainer.predict(ArrayDataset(X[:1])).shape) != (1, n_out):
            raise ValueError(f"the network gives {found} for one sample, expected {(1, n_out)}")
        if not new:
            trainer.epoch, trainer.history = self._trainer.epoch, self._trainer.history
        self.model_, self._trainer, self._dtype = model, trainer, X.dtype

    def _network(self, n_in, n_out):
        if isinstance(self.hidden, nn.Module):
            return deepcopy(self.hidden)
        if callable(self.hidden):
            return self.hidden(n_in, n_out)
        widths = [n_in, *np.atleast_1d(self.hidden).tolist(), n_out]
        activation = _named("activation", self.activation, _ACTIVATIONS)
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]
        return nn.Sequential(*layers[:-1])  # no activation after the last layer

    def _outputs(self, X):
        """What the network gives for X, an array (N, n_out)."""
        check_is_fitted(self)
        options = {"dtype": self._dtype, "accept_sparse": "csr"}
        return self._trainer.predict(ArrayDataset(validate_data(self, X, reset=False, **options)))

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn is told: X may be sparse, a classifier's sample have several labels."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if tags.classifier_tags is not None:
            tags.classifier_tags.multi_label = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled, all of it on the CPU."""
        state = super().__getstate__()
        if isinstance(self.hidden, nn.Module):
            state = state | {"hidden": deepcopy(self.hidden).to("cpu")}
        if "_trainer" in state and self._trainer.device != "cpu":
            trainer = _on("cpu", deepcopy(self._trainer))
            state = state | {"_trainer": trainer, "model_": trainer.model}
        return state


_ACTIVATIONS = {c.__name__: c for c in (nn.GELU, nn.LeakyReLU, nn.ReLU, nn.Sigmoid, nn.Tanh)}
_OPTIMIZERS = {c.__name__: c for c in (optim.Adam, optim.AdamW, optim.RMSProp, optim.SGD)}


def _named(kind, given, known):
    """What has this name, in small letters or large, among `known`; what is no name, as it is."""
    if not isinstance(given, str):
        return given
    for name, found in known.items():
        if name.lower() == given.lower():
            return found
    line = advice.instead({"optimizer": "optim"}.get(kind, "nn"), given)
    raise ValueError(
        f"{kind}: expected one of {[*known]}, in small letters or large, or a class or function of "
        f"your own, got {given!r}{line or meant(given, known)}"
    )


def _on(device, trainer):
    """The trainer, moved to `device` with its model and its optimizer's states."""
    trainer.device, trainer.model = device, trainer.model.to(device)
    for state in trainer.optimizer.state:
        for kept in state.values():
            kept.data = devices.to_device(kept.data, device)
    return trainer


class MinidlClassifier(ClassifierMixin, MinidlEstimator):
    """A classifier: softmax and cross-entropy.  Its settings are those of MinidlEstimator, and
    class_weight: None; or a factor of the loss for the samples of each class, as a dict; or
        "balanced": such factors that all classes count the same, in `fit`.

    y (N,): a label for each sample, a number or a word.  y (N, K) of 0 and 1, also sparse: for each
    sample and each label whether it has it.  Such labels are independent of each other: sigmoids
    and binary cross-entropy, summed over the labels, as in scikit-learn's MLPClassifier.
    Fitted, besides: classes_, the labels in order; of y (N, K) the numbers of the columns.
    """

    classes_: Any

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
        warm_start: bool = False,
        class_weight: str | dict[Any, float] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ):
        super().__init__(
            hidden, activation=activation, optimizer=optimizer, lr=lr, weight_decay=weight_decay,
            batch_size=batch_size, epochs=epochs, early_stopping=early_stopping,
            validation_fraction=validation_fraction, patience=patience, warm_start=warm_start,
            random_state=random_state, device=device,
        )  # fmt: skip
        self.class_weight = class_weight

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """The probability of each class, (N, K), in the order of `classes_`.  X (N, n_in).

        Where a sample may have several labels, each is the probability that it has this one.
        """
        y = self._outputs(X)
        if self._several:
            return ops.sigmoid(y)
        return F.softmax(y)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label of the most probable class, (N,); or, where a sample may have several labels,
        1 for each that is more probable than not, else 0, (N, K).  X (N, n_in).
        """
        y = self._outputs(X)
        if self._several:
            return (y > 0).astype(int)
        return self.classes_[y.argmax(axis=1)]  # (N, K) -> (N,)

    def _checked(self, y):
        kind = type_of_target(y)
        if kind == "multilabel-indicator":
            return y.toarray() if hasattr(y, "toarray") else y
        if y.shape[1:] not in [(), (1,)]:
            raise ValueError(
                f"y of shape {y.shape} is {kind}, expected a label for each sample, (N,), or for "
                "each sample and each label 0 or 1, (N, K).  A column for each of several "
                "questions: sklearn.multioutput.MultiOutputClassifier(MinidlClassifier())"
            )
        return column_or_1d(y, warn=True)

    def _encode(self, y, weight, new, classes):
        check_classification_targets(y)
        several = y.ndim == 2
        named = np.arange(y.shape[1]) if several else np.unique(y if classes is None else classes)
        if new:
            self._several, self.classes_ = several, named
        if several != self._several or (several and len(named) != len(self.classes_)):
            raise ValueError(f"y of shape {y.shape} does not fit the classes_ {self.classes_}")
        if several:
            return y
        if unknown := {*y.tolist(), *named.tolist()} - {*self.classes_.tolist()}:
            raise ValueError(f"labels {unknown} are not among classes_, {self.classes_}")
        return y[:, None] == self.classes_  # (N, 1) and (K,) -> (N, K), one-hot

    def _weighed(self, y, weight, epochs):
        if self.class_weight is None:
            return weight
        if self._several or (isinstance(self.class_weight, str) and not epochs):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs one label for each sample, and all of "
                "them where it is to be balanced, as in fit; for partial_fit give a dict, such as "
                'compute_class_weight("balanced", ...) of sklearn.utils.class_weight makes'
            )
        return weight * compute_sample_weight(self.class_weight, y)

    @property
    def _loss(self):
        if self._several:
            return _sigmoid_loss
        return _softmax_loss


def _softmax_loss(y, target):
    weight, labels = target[:, -1:], target[:, :-1]  # (N, 1) and (N, K)
    return -(weight * labels * F.log_softmax(y)).sum() / len(y)


def _sigmoid_loss(y, target):
    weight, labels = target[:, -1:], target[:, :-1]  # (N, 1) and (N, K)
    return (weight * (ops.softplus(y) - labels * y)).sum() / len(y)


class MinidlRegressor(MultiOutputMixin, RegressorMixin, MinidlEstimator):
    """A regressor: squared error.  Its settings are those of MinidlEstimator.

    y (N,) or (N, M) is standardised inside; so are the losses in `loss_curve_`.
    """

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The predicted y, (N,) or (N, M) as in `fit`.  X (N, n_in)."""
        y = self._outputs(X).astype(np.float64)
        y = self._scaler.inverse_transform(y)
        return y.reshape(len(y), *self._shape)  # (N, 1) -> (N,), or (N, M)

    def _checked(self, y):
        if hasattr(y, "toarray"):
            raise ValueError(f"y of shape {y.shape} is sparse, expected an array: y.toarray()")
        return y

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
