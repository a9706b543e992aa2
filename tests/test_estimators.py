"""Estimators: scikit-learn's own contract, then what it does not ask: exactness, losses."""

import io
import pickle
import sys
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial

import joblib
import numpy as np
import pytest
import scipy.sparse
from conftest import DEVICES
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from minidl import Tensor, nn, optim
from minidl.data import ArrayDataset, split
from minidl.engine import random
from minidl.estimators import _OPTIMIZERS, MinidlClassifier, MinidlRegressor

SMALL = {"hidden": (8,), "epochs": 4, "random_state": 0}
IRIS = load_iris()
FLOWERS = StandardScaler().fit_transform(IRIS.data)
NAMES = IRIS.target_names[IRIS.target]  # strings
PLANE = make_regression(90, 4, n_targets=2, noise=1.0, random_state=0)


def dropped(n_in, n_out):
    """A network that draws random numbers while it trains."""
    return nn.Sequential(nn.Linear(n_in, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, n_out))


def weights(estimator):
    return np.concatenate([t.numpy().ravel() for _, t in estimator.model_.tensors()])


@pytest.mark.slow
@parametrize_with_checks(
    [kind(device=device) for kind in (MinidlClassifier, MinidlRegressor) for device in DEVICES]
)
def test_scikit_learns_contract(estimator, check):
    check(estimator)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "minidl.estimators")
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(ImportError, match=r'pip install "minidl\[sklearn\]"'):
        import minidl.estimators  # noqa: F401


# --- in scikit-learn's tools -----------------------------------------------------------------


def test_pipeline_and_grid_search_with_names_for_labels(device):
    network = MinidlClassifier(**SMALL | {"epochs": 20}, device=device)
    pipe = make_pipeline(StandardScaler(), network)
    grid = {"minidlclassifier__hidden": [(), (16,)], "minidlclassifier__lr": [1e-6, 0.02]}
    search = GridSearchCV(pipe, grid, cv=3).fit(IRIS.data, NAMES)
    assert search.best_params_["minidlclassifier__lr"] == 0.02 and search.best_score_ > 0.9
    assert search.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert set(search.predict(IRIS.data)) == {*IRIS.target_names}
    p = search.predict_proba(IRIS.data)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    np.testing.assert_array_equal(search.classes_[p.argmax(axis=1)], search.predict(IRIS.data))


def test_as_accurate_as_scikit_learns_own_network():
    x, y = load_breast_cancer(return_X_y=True)

    def score(network):
        return cross_val_score(make_pipeline(StandardScaler(), network), x, y, cv=5).mean()

    theirs = MLPClassifier((32,), max_iter=200, tol=0.02, random_state=0)
    assert score(MinidlClassifier((32,), epochs=30, random_state=0)) > score(theirs) - 0.01


@pytest.mark.parametrize("shape", [(90,), (90, 1), (90, 2)])
def test_the_regressor_returns_the_shape_of_y_in_its_unit(shape, device):
    x, y = PLANE[0], PLANE[1][:, : shape[1] if len(shape) > 1 else 1].reshape(shape)
    found = MinidlRegressor(epochs=60, lr=0.01, random_state=0, device=device).fit(x, y)
    assert found.predict(x).shape == shape and found.score(x, y) > 0.98
    other = clone(found).fit(x, 1000 * y + 5)
    np.testing.assert_allclose(other.predict(x), 1000 * found.predict(x) + 5, rtol=1e-6)
    np.testing.assert_allclose(other.loss_curve_, found.loss_curve_, rtol=1e-9)


def test_a_constant_y_is_learnt():
    found = MinidlRegressor(epochs=150, lr=0.01, random_state=0).fit(PLANE[0], np.full(90, 0.1))
    np.testing.assert_allclose(found.predict(PLANE[0]), 0.1, atol=0.1)


# --- random numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(8,), dropped])
def test_a_random_state_decides_all_and_the_global_generator_is_left_alone(hidden):
    found = []
    for seed in (1, 2):
        random.manual_seed(seed)
        random.generator().random(3)
        before = random.random_state()
        found.append(MinidlClassifier(**SMALL | {"hidden": hidden}).fit(FLOWERS, NAMES))
        found[-1].partial_fit(FLOWERS, NAMES)
        assert random.random_state() == before
    np.testing.assert_array_equal(*map(weights, found))
    assert found[0].loss_curve_ == found[1].loss_curve_
    other = clone(found[0]).set_params(random_state=1).fit(FLOWERS, NAMES)
    assert (weights(other) != weights(found[0])).any(), "the weights are the same"


def test_order_and_dropout_depend_on_the_random_state_and_the_epoch():
    module = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Linear(50, 1))
    still = {"optimizer": "SGD", "lr": 0.0, "epochs": 3}  # so a loss tells of the masks alone
    x, y = np.ones((20, 4)), np.zeros(20)
    curves = [
        MinidlRegressor(module, **still, random_state=i).fit(x, y).partial_fit(x, y) for i in (0, 1)
    ]
    assert len({round(loss, 9) for found in curves for loss in found.loss_curve_}) == 8
    line = nn.Linear(4, 3)
    found = [MinidlClassifier(line, epochs=1, random_state=i).fit(FLOWERS, NAMES) for i in (0, 1)]
    assert (weights(found[0]) != weights(found[1])).any(), "the weights are the same"


def test_the_global_generator_is_left_alone_when_fitting_fails():
    before = random.random_state()
    with pytest.raises(
        ValueError, match=r"optimizer: expected one of .*RMSProp.* got 'Adma'; did you mean 'Adam'"
    ):
        MinidlClassifier(optimizer="Adma").fit(FLOWERS, NAMES)
    assert random.random_state() == before


def test_threads_do_not_disturb_each_other():
    def fit(seed):
        return weights(MinidlClassifier(dropped, epochs=3, random_state=seed).fit(FLOWERS, NAMES))

    with ThreadPoolExecutor(4) as pool:
        for together, alone in zip(pool.map(fit, range(4)), map(fit, range(4)), strict=True):
            np.testing.assert_array_equal(together, alone)


# --- going on --------------------------------------------------------------------------------


def test_fit_is_so_many_partial_fits(device):
    whole = MinidlClassifier(**SMALL, device=device).fit(FLOWERS, NAMES)
    parts = MinidlClassifier(**SMALL, device=device)
    for n in range(1, 5):
        parts.partial_fit(FLOWERS, NAMES, classes=IRIS.target_names)
        assert parts.n_iter_ == n == len(parts.loss_curve_)
    np.testing.assert_array_equal(weights(parts), weights(whole))
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.fit(FLOWERS, NAMES).n_iter_ == 4  # fit begins anew
    np.testing.assert_array_equal(weights(parts), weights(whole))


def test_partial_fit_with_a_part_of_the_classes_and_after_stopping_early(device):
    found = MinidlClassifier(**SMALL, device=device)
    found.partial_fit(FLOWERS[:50], NAMES[:50], None, np.unique(NAMES))
    assert found.predict_proba(FLOWERS).shape == (150, 3)
    found.set_params(early_stopping=True, patience=1, lr=10.0, epochs=30).fit(FLOWERS, NAMES)
    n = found.n_iter_
    assert n < 30
    before = weights(found)
    assert found.partial_fit(FLOWERS, NAMES).n_iter_ == n + 1
    assert (weights(found) != before).any(), "the weights are as before"


@pytest.mark.parametrize("mmap", [None, "r"])
def test_a_file_of_joblib_goes_on_where_it_was(tmp_path, mmap, device):
    found = MinidlRegressor(**SMALL, device=device).fit(*PLANE)
    joblib.dump(found, tmp_path / "model.joblib")
    copy = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap)
    np.testing.assert_array_equal(copy.predict(PLANE[0]), found.predict(PLANE[0]))
    np.testing.assert_array_equal(
        weights(copy.partial_fit(*PLANE)), weights(found.partial_fit(*PLANE))
    )


def from_elsewhere(model):
    """As if from a process that had made many tensors: the numbers are soon given here again."""
    for i, (_, part) in enumerate(model.tensors()):
        part.number = part.detach().number + 20 + i


def test_a_module_is_copied_and_trained_from_its_weights(device):
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
    before = module.state_dict()
    found = MinidlClassifier(module, epochs=3, random_state=0)
    plain = weights(found.fit(FLOWERS, NAMES))
    assert found.hidden is module and found.model_ is not module
    assert not [(k, a) for k, a in before.items() if not bool((module.state_dict()[k] == a).all())]
    from_elsewhere(module)  # as in a worker of GridSearchCV(n_jobs=2)
    np.testing.assert_array_equal(weights(clone(found).fit(FLOWERS, NAMES)), plain)


@pytest.mark.parametrize("kind", [MinidlClassifier, MinidlRegressor])
@pytest.mark.parametrize("made", [False, True], ids=["given", "made"])
def test_a_network_of_a_device_is_trained_on_the_cpu(kind, made, device):
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
    y = IRIS.target if kind is MinidlClassifier else np.eye(3)[IRIS.target]
    modules = deepcopy(module), deepcopy(module).to(device)
    here, there = (
        kind((lambda n_in, n_out, m=m: deepcopy(m)) if made else m, epochs=3, random_state=0)
        for m in modules
    )
    here, there = (found.fit(FLOWERS, y) for found in (here, there))
    for _ in range(2):
        assert {t.device for _, t in there.model_.tensors()} == {"cpu"}
        np.testing.assert_array_equal(weights(there), weights(here))
        np.testing.assert_array_equal(there.predict(FLOWERS), here.predict(FLOWERS))
        if kind is MinidlClassifier:
            p = [found.predict_proba(FLOWERS) for found in (here, there)]
            np.testing.assert_array_equal(*p)
        here, there = (found.partial_fit(FLOWERS, y) for found in (here, there))
    assert there.loss_curve_ == here.loss_curve_ and there.n_iter_ == 5


class Elsewhere(pickle.Unpickler):
    """Loads as a machine does that has the CPU alone."""

    def find_class(self, module, name):
        if module.partition(".")[0] in ("standin", "cupy"):
            raise ModuleNotFoundError(f"No module named {module!r}")
        return super().find_class(module, name)


@pytest.mark.parametrize("kind", [MinidlClassifier, MinidlRegressor])
def test_an_estimator_on_a_device_is_the_one_on_the_cpu(kind, device):
    y = IRIS.target if kind is MinidlClassifier else np.eye(3)[IRIS.target]
    here, there = (kind(**SMALL, device=d).fit(FLOWERS, y) for d in ("cpu", device))
    tolerance = {"cpu": 0, "standin": 0, "cuda": 1e-4}[device]
    for _ in range(2):
        assert {t.device for _, t in there.model_.tensors()} == {device}
        np.testing.assert_allclose(weights(there), weights(here), tolerance, tolerance)
        a, b = (found._outputs(FLOWERS) for found in (there, here))
        assert type(a) is np.ndarray
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        again = Elsewhere(io.BytesIO(pickle.dumps(there))).load()
        assert {t.device for _, t in again.model_.tensors()} == {"cpu"}
        np.testing.assert_allclose(again._outputs(FLOWERS), b, tolerance, tolerance)
        there, here = again.partial_fit(FLOWERS, y), here.partial_fit(FLOWERS, y)
    there.set_params(device="cpu").partial_fit(FLOWERS, y)
    assert {t.device for _, t in there.model_.tensors()} == {"cpu"}
    np.testing.assert_allclose(
        weights(there), weights(here.partial_fit(FLOWERS, y)), tolerance, tolerance
    )


@pytest.mark.parametrize("kind", [MinidlClassifier, MinidlRegressor])
def test_what_is_pickled_is_loaded_where_the_device_is_not(kind, device):
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(device)
    y = IRIS.target if kind is MinidlClassifier else np.eye(3)[IRIS.target]
    found = kind(module, epochs=2, random_state=0).fit(FLOWERS, y)
    again = Elsewhere(io.BytesIO(pickle.dumps(found))).load()
    np.testing.assert_array_equal(again.predict(FLOWERS), found.predict(FLOWERS))
    for estimator in again, found:
        estimator.partial_fit(FLOWERS, y)
    np.testing.assert_array_equal(weights(again), weights(found))
    np.testing.assert_array_equal(weights(again.fit(FLOWERS, y)), weights(found.fit(FLOWERS, y)))


def test_early_stopping_keeps_the_best_weights():
    found = MinidlClassifier(epochs=200, lr=0.1, early_stopping=True, patience=3, random_state=3)
    found.set_params(validation_fraction=0.2).fit(FLOWERS, IRIS.target)
    curve = found.validation_curve_
    assert found.n_iter_ == len(curve) == len(found.loss_curve_) == np.argmin(curve) + 1 + 3 < 200
    (x, y), _ = (
        part[:] for part in split(ArrayDataset(FLOWERS, IRIS.target), 0.2, seed=found._seed)
    )
    loss = log_loss(y, found.predict_proba(x), labels=[0, 1, 2])
    assert len(x) == 30 and loss == pytest.approx(min(curve), rel=1e-9)
    found.set_params(early_stopping=False, epochs=2).fit(FLOWERS, NAMES)
    assert found.validation_curve_ is None and found.n_iter_ == 2


# --- losses and weights, against PyTorch -------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", [MinidlClassifier, MinidlRegressor])
def test_weighted_training_is_that_of_pytorch(torch, kind, dtype):
    x, rng = FLOWERS.astype(dtype), np.random.default_rng(0)
    w = rng.integers(0, 4, 150).astype(dtype)
    y = IRIS.target if kind is MinidlClassifier else rng.normal(3.0, 2.0, (150, 3))
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype=dtype)
    ours = kind(module, lr=0.01, weight_decay=0.1, optimizer="AdamW", batch_size=150, epochs=5)
    ours.fit(x, y, sample_weight=w)

    mean = np.average(y, axis=0, weights=w)
    scale = np.sqrt(np.average((y - mean) ** 2, axis=0, weights=w))
    target = torch.tensor(y if y.ndim == 1 else ((y - mean) / scale).astype(dtype))
    p = [torch.tensor(a.copy(), requires_grad=True) for a in module.state_dict().values()]
    optimizer = torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)
    losses = []
    for _ in range(5):
        out = torch.tanh(torch.tensor(x) @ p[0] + p[1]) @ p[2] + p[3]
        if kind is MinidlClassifier:
            each = torch.nn.functional.cross_entropy(out, target, reduction="none")
        else:
            each = ((out - target) ** 2).mean(1)
        loss = (torch.tensor(w) * each).sum() / w.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    tolerance = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(ours.loss_curve_, losses, tolerance)
    expected = np.concatenate([a.detach().numpy().ravel() for a in p])
    assert weights(ours).dtype == dtype
    np.testing.assert_allclose(weights(ours), expected, tolerance, tolerance)


def test_a_weight_counts_copies_in_small_batches_too():
    w = np.where(IRIS.target == 0, 0.0, 1.0)
    some, rest = MinidlClassifier(**SMALL), MinidlClassifier(**SMALL)
    some.fit(FLOWERS, IRIS.target, sample_weight=w)
    np.testing.assert_array_equal(
        weights(some), weights(rest.fit(FLOWERS[50:], IRIS.target[50:], 7.0))
    )
    heavy = MinidlClassifier(epochs=30, random_state=0).fit(FLOWERS, NAMES, 1 + 50 * w)
    light = clone(heavy).fit(FLOWERS, NAMES)
    assert heavy.predict_proba(FLOWERS)[:, 0].mean() < light.predict_proba(FLOWERS)[:, 0].mean()


# --- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, made",
    [
        ({"hidden": 5}, "Linear(4, 5) ReLU() Linear(5, 3)"),
        ({"hidden": ()}, "Linear(4, 3)"),
        ({"hidden": [5, np.int64(2)], "activation": "Tanh"},
         "Linear(4, 5) Tanh() Linear(5, 2) Tanh() Linear(2, 3)"),
        ({"activation": partial(nn.LeakyReLU, 0.2), "hidden": (2,)},
         "Linear(4, 2) LeakyReLU(0.2) Linear(2, 3)"),
        ({"hidden": dropped}, "Linear(4, 8) ReLU() Dropout(0.3) Linear(8, 3)"),
    ],
)  # fmt: skip
def test_networks(settings, made):
    found = MinidlClassifier(epochs=1, **settings).fit(FLOWERS, NAMES)
    assert " ".join(map(repr, found.model_)) == made


@pytest.mark.parametrize(
    "given, kind", [("SGD", optim.SGD), (optim.AdamW, optim.AdamW), ("RMSProp", optim.RMSProp)]
)
def test_optimisers(given, kind):
    found = MinidlClassifier(optimizer=given, lr=0.05, epochs=30, random_state=0)
    assert found.fit(FLOWERS, NAMES).score(FLOWERS, NAMES) > 0.9
    assert type(found._trainer.optimizer) is kind and found._trainer.optimizer.lr == 0.05
    momentum = partial(optim.SGD, momentum=0.9)
    found.set_params(optimizer=momentum, weight_decay=0.01).fit(FLOWERS, NAMES)
    assert (found._trainer.optimizer.momentum, found._trainer.optimizer.weight_decay) == (0.9, 0.01)


@pytest.mark.parametrize(
    "settings, complaint",
    [
        ({"epochs": 0}, "epochs == 0, must be >= 1"),
        ({"batch_size": 0}, "batch_size == 0, must be >= 1"),
        (
            {"activation": "rleu"},
            r"activation: expected one of \['GELU', .*'Tanh'.*got 'rleu'; did you mean 'ReLU'",
        ),
        (
            {"hidden": lambda n_in, n_out: nn.Linear(n_in, 1)},
            r"gives \(1, 1\) .* expected \(1, 3\)",
        ),
        ({"hidden": nn.Linear(5, 3)}, r"Linear\(5, 3\): expected x of shape"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "held out == 0, must be >= 1"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "training data gives no batch"),
        ({"early_stopping": True, "validation_fraction": 2.0}, r"fraction must be in \[0, 1\]"),
    ],
)
def test_bad_settings_are_named_when_fitting(settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        MinidlClassifier(**settings).fit(FLOWERS, NAMES)


def test_bad_data():
    found = MinidlClassifier(**SMALL)
    with pytest.raises(NotFittedError):
        found.predict(FLOWERS)
    with pytest.raises(ValueError, match=r"labels \{'rose'\} are not among classes_"):
        found.partial_fit(FLOWERS[:2], ["setosa", "rose"], classes=["setosa", "virginica"])
    found.fit(FLOWERS, NAMES)
    with pytest.raises(ValueError, match=r"labels \{'rose'\} are not among classes_"):
        found.partial_fit(FLOWERS, NAMES, classes=["rose", *IRIS.target_names])
    with pytest.raises(ValueError, match=r"labels \{7\} are not among"):
        found.partial_fit(FLOWERS, np.full(150, 7), classes=[7])
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        found.fit(FLOWERS, NAMES, np.full(150, -1.0))
    line = MinidlRegressor(**SMALL).fit(*PLANE)
    with pytest.raises(ValueError, match="1 features, but StandardScaler is expecting 2"):
        line.partial_fit(PLANE[0], PLANE[1][:, 0])
    with pytest.raises(FloatingPointError, match="the loss became"), np.errstate(all="ignore"):
        line.set_params(optimizer="SGD", lr=1e30).fit(*PLANE)


def test_edges():
    one = MinidlClassifier(**SMALL).fit([[1.0, 2.0]], ["only"])
    assert one.predict([[5.0, 5.0]]).tolist() == ["only"]
    assert one.predict_proba([[5.0, 5.0]]).tolist() == [[1.0]]
    assert MinidlRegressor(**SMALL).fit([[1.0]], [2.0]).predict([[1.0]]).shape == (1,)
    assert isinstance(one.model_(Tensor(np.ones((1, 2)))), Tensor)  # the fitted Module is plain


# ---- compiled steps


def test_a_long_fit_is_compiled_and_ends_in_the_same_bits(monkeypatch):
    settings = SMALL | {"epochs": 50, "optimizer": "AdamW", "early_stopping": True}
    compiled = MinidlClassifier(**settings).fit(FLOWERS, NAMES)
    assert compiled._trainer.compiled.programs
    monkeypatch.setattr("minidl.estimators.EXACT", False)
    eager = MinidlClassifier(**settings).fit(FLOWERS, NAMES)
    assert eager._trainer.compiled is None
    np.testing.assert_array_equal(weights(compiled), weights(eager))
    assert compiled.loss_curve_ == eager.loss_curve_
    assert compiled.validation_curve_ == eager.validation_curve_


def test_short_fits_and_networks_of_others_are_not_compiled():
    def relu():
        return nn.ReLU()

    for settings in (
        {"epochs": 4},
        {"hidden": dropped},
        {"activation": relu},
        {"hidden": nn.Linear(4, 3)},
    ):
        fitted = MinidlClassifier(**SMALL | {"epochs": 50} | settings).fit(FLOWERS, NAMES)
        assert fitted._trainer.compiled is None


def test_a_compiled_estimator_is_pickled_and_goes_on(tmp_path):
    fitted = MinidlClassifier(**SMALL | {"epochs": 50}).fit(FLOWERS, NAMES)
    joblib.dump(fitted, tmp_path / "fitted")
    again = joblib.load(tmp_path / "fitted")
    np.testing.assert_array_equal(weights(again), weights(fitted))
    assert not again._trainer.compiled.programs
    for estimator in fitted, again:
        estimator.partial_fit(FLOWERS, NAMES)
    np.testing.assert_array_equal(weights(again), weights(fitted))


# ---- targets and inputs that are not for these estimators

LABELS = np.random.default_rng(0).integers(0, 2, (20, 3))
COLUMNS = {
    "lists": LABELS.tolist(),
    "floats": LABELS.astype(float),
    "booleans": LABELS.astype(bool),
    "sparse": scipy.sparse.csr_matrix(LABELS),
    "a sparse array": scipy.sparse.coo_array(LABELS),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_sample_may_have_several_labels(kind, method):
    X = np.random.default_rng(1).standard_normal((20, 2))
    plain, other = (
        getattr(MinidlClassifier((4,), epochs=3, random_state=0), method)(X, y)
        for y in (LABELS, COLUMNS[kind])
    )
    np.testing.assert_array_equal(weights(other), weights(plain))
    assert other.classes_.tolist() == [0, 1, 2]
    p, y = other.predict_proba(X), other.predict(X)
    assert p.shape == y.shape == (20, 3) and y.dtype == int
    np.testing.assert_array_equal(y, p > 0.5)


def test_several_labels_are_learnt_as_scikit_learns_network_learns_them():
    """And as well by parts, where each part is seen often."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4))
    y = (X @ rng.standard_normal((4, 3)) > 0.5).astype(int)
    theirs = MLPClassifier((16,), max_iter=100, tol=0.0, random_state=0, learning_rate_init=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.fit(X, y).score(X, y)
    ours = MinidlClassifier((16,), epochs=100, lr=0.01, random_state=0).fit(X, y)
    assert expected > 0.9 and ours.score(X, y) > expected - 0.03
    parts = MinidlClassifier((16,), lr=0.01, random_state=0)
    for _ in range(100):
        for half in (slice(0, 150), slice(150, 300)):
            parts.partial_fit(X[half], y[half], classes=[0, 1, 2])
    assert parts.score(X, y) > expected - 0.03
    assert parts.n_iter_ == 200


def test_the_loss_of_several_labels_is_pytorchs(torch):
    X = FLOWERS.astype(np.float64)
    y = np.random.default_rng(0).integers(0, 2, (150, 3))
    w = np.random.default_rng(1).random(150) + 0.1
    module = nn.Linear(4, 3).to(dtype="float64")
    still = {"optimizer": "sgd", "lr": 0.0, "epochs": 1, "batch_size": 150}
    (found,) = MinidlClassifier(module, **still).fit(X, y, w).loss_curve_
    out = torch.tensor(X @ module.weight.numpy() + module.bias.numpy())
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        out, torch.tensor(y, dtype=torch.float64), reduction="none"
    )
    assert found == pytest.approx((each.sum(1).numpy() * w).mean() / w.mean(), rel=1e-9)


@pytest.mark.parametrize("y", [LABELS * [1, 2, 3], LABELS + 0.5], ids=["classes", "numbers"])
def test_a_classifier_says_what_to_do_with_other_columns(y):
    X = np.random.default_rng(1).standard_normal((20, 2))
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"y of shape \(20, 3\) is .*MultiOutputClassifier"):
            getattr(MinidlClassifier((4,), epochs=1), method)(X, y)


def test_what_the_message_about_columns_says_works():
    from sklearn.multioutput import MultiOutputClassifier

    X = np.random.default_rng(1).standard_normal((20, 2))
    y = LABELS * [1, 2, 3]
    assert MultiOutputClassifier(MinidlClassifier((4,), epochs=1)).fit(X, y).predict(X).shape == (
        20, 3,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"is sparse, expected an array: y\.toarray\(\)"):
        MinidlRegressor((4,), epochs=1).fit(X, COLUMNS["sparse"])
    y = COLUMNS["sparse"].toarray()
    assert MinidlRegressor((4,), epochs=1).fit(X, y).predict(X).shape == (20, 3)


def test_labels_that_do_not_fit_the_first_ones():
    X = np.random.default_rng(1).standard_normal((20, 2))
    several = MinidlClassifier((4,), epochs=1).fit(X, LABELS)
    single = MinidlClassifier((4,), epochs=1).fit(X, LABELS[:, 0])
    for model, y in (several, LABELS[:, :2]), (several, LABELS[:, 0]), (single, LABELS):
        with pytest.raises(ValueError, match=r"y of shape \(20.*\) does not fit the classes_ \["):
            model.partial_fit(X, y)


# ---- X on disk, and sparse


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix"])
@pytest.mark.parametrize("model", [MinidlClassifier(**SMALL), MinidlRegressor(**SMALL)], ids=str)
@pytest.mark.parametrize("stopping", [False, True])
def test_a_sparse_X_gives_what_a_dense_one_does(kind, model, stopping):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((90, 5)) * (rng.random((90, 5)) < 0.3)
    y, w = (X[:, 0] > 0).astype(int), rng.integers(0, 3, 90)
    sparse = getattr(scipy.sparse, kind)(X)
    model = clone(model).set_params(early_stopping=stopping, validation_fraction=0.3)
    dense = clone(model).fit(X, y, w).partial_fit(X, y)
    found = clone(model).fit(sparse, y, w).partial_fit(sparse, y)
    np.testing.assert_array_equal(weights(found), weights(dense))
    np.testing.assert_array_equal(found.predict(sparse), dense.predict(X))
    assert found.validation_curve_ == dense.validation_curve_


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_sparse_X_is_never_dense_as_a_whole():
    """640 MB, if it were.  A batch of 256 rows is 41 MB, and four are there at most: one is
    predicted, two wait in the loader's queue, one is being made; so five are too many."""
    X = scipy.sparse.random_array((4000, 20_000), density=1e-4, rng=0).tocsr()
    y = np.arange(4000) % 2
    model = MinidlClassifier((2,), epochs=1, batch_size=20, optimizer="sgd", early_stopping=True)
    batch = 256 * 20_000 * 8
    assert peak(lambda: model.fit(X, y)) < 5 * batch
    assert peak(lambda: model.predict(X)) < 5 * batch


def test_an_X_on_disk_is_not_copied(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (8192, 1024))
    X[:, 0] = np.arange(8192) % 2
    X.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    y = np.arange(8192) % 2
    w = np.where(np.arange(8192) < 100, 0.0, 1.0)
    model = MinidlClassifier((2,), epochs=1, batch_size=16, optimizer="sgd", early_stopping=True)
    assert peak(lambda: model.fit(X, y, w)) < X.nbytes / 4
    assert peak(lambda: model.predict(X)) < X.nbytes / 4


# ---- names, a warm start, weights of classes


@pytest.mark.parametrize("name", ["relu", "RELU", "ReLU", "leakyrelu", "GELU", "tanh", "sigmoid"])
def test_an_activation_in_small_letters_or_large(name):
    found = MinidlClassifier((4,), epochs=1, activation=name).fit(FLOWERS, NAMES)
    assert type(found.model_[1]).__name__.lower() == name.lower()


@pytest.mark.parametrize(
    "name, kind", [("adam", optim.Adam), ("sgd", optim.SGD), ("ADAMW", optim.AdamW)]
)
def test_an_optimizer_in_small_letters_or_large(name, kind):
    found = MinidlClassifier((4,), epochs=1, optimizer=name).fit(FLOWERS, NAMES)
    assert type(found._trainer.optimizer) is kind


def test_every_optimizer_has_its_name():
    kinds = {c for c in vars(optim).values() if isinstance(c, type)}
    kinds = {c for c in kinds if issubclass(c, optim.Optimizer) and c is not optim.Optimizer}
    assert {*_OPTIMIZERS.values()} == kinds


@pytest.mark.parametrize("kind", [MinidlClassifier, MinidlRegressor])
def test_a_warm_start_goes_on(kind):
    y = IRIS.target if kind is MinidlClassifier else np.eye(3)[IRIS.target]
    warm = kind(**SMALL, warm_start=True).fit(FLOWERS, y)
    cold = kind(**SMALL).fit(FLOWERS, y)
    before, model = weights(warm), warm.model_
    np.testing.assert_array_equal(before, weights(cold))
    warm.set_params(lr=0.0, optimizer="sgd").fit(FLOWERS, y)
    assert warm.model_ is model and warm.n_iter_ == len(warm.loss_curve_) == 8
    np.testing.assert_array_equal(weights(warm), before)
    losses = warm.set_params(lr=0.01, optimizer="adam", epochs=40).fit(FLOWERS, y).loss_curve_
    assert len(losses) == 48 and losses[-1] < losses[7] / 2
    np.testing.assert_array_equal(weights(cold.fit(FLOWERS, y)), before)
    with pytest.raises(ValueError, match="features"):
        warm.fit(FLOWERS[:, :2], y)


def test_classes_that_count_the_same():
    """Few samples of one kind, in the middle of many of another."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.standard_normal((190, 2)), rng.standard_normal((10, 2)) + 1.5]
    y = np.r_[np.zeros(190), np.ones(10)]
    model = MinidlClassifier((8,), epochs=60, lr=0.01, random_state=0)
    plain = clone(model).fit(X, y)
    balanced = clone(model).set_params(class_weight="balanced").fit(X, y)
    assert balanced.predict(X)[190:].mean() > plain.predict(X)[190:].mean() + 0.2
    each = clone(model).fit(X, y, np.where(y, 10.0, 10 / 19))
    np.testing.assert_allclose(weights(balanced), weights(each), rtol=1e-9)
    some = clone(model).set_params(class_weight={0.0: 1.0, 1.0: 19.0}).fit(X, y)
    np.testing.assert_allclose(weights(some), weights(each), rtol=1e-6)
    some.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"class_weight='balanced' needs .* as in fit"):
        balanced.partial_fit(X, y)
    with pytest.raises(ValueError, match="needs one label for each sample"):
        balanced.fit(X, np.c_[y, y].astype(int))


def test_targets_that_are_missing_are_named_and_labels_may_be_words():
    X = np.random.default_rng(1).standard_normal((20, 2))
    missing = np.r_[np.nan, LABELS[1:, 0]]
    for model in (MinidlClassifier((4,), epochs=1), MinidlRegressor((4,), epochs=1)):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            model.fit(X, missing)
    words = np.array(["no", "yes"])[LABELS[:, 0]]
    for y in (words, words.astype(object), words.tolist()):
        assert {*MinidlClassifier((4,), epochs=1).fit(X, y).predict(X)} <= {"no", "yes"}
    with pytest.warns(UserWarning, match="column-vector y"):
        one = MinidlClassifier((4,), epochs=1).fit(X, LABELS[:, :1])
    assert one.predict(X).shape == (20,)


def test_partial_fit_after_early_stopping_trains():
    X = np.random.default_rng(1).standard_normal((60, 2))
    y = (X[:, 0] > 0).astype(int)
    stopping = {"early_stopping": True, "patience": 1, "random_state": 0}
    model = MinidlClassifier((4,), epochs=50, lr=0.3, **stopping).fit(X, y)
    assert (n := model.n_iter_) < 50
    assert model.partial_fit(X, y).n_iter_ == n + 1
    assert len(model.loss_curve_) == len(model.validation_curve_) == n + 1


@pytest.mark.parametrize("size, error", [("auto", TypeError), (0, ValueError)])
def test_the_size_of_a_batch_is_a_whole_number(size, error):
    with pytest.raises(error, match="batch_size"):
        MinidlClassifier(batch_size=size).fit(np.eye(4), [0, 1, 0, 1])
    with pytest.raises(error, match="batch_size"):
        MinidlClassifier(batch_size=size).partial_fit(np.eye(4), [0, 1, 0, 1])
