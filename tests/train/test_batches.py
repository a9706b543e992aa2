"""Arrays, data sets and batches of any form: they train alike, eager, compiled and in groups."""

import warnings

import numpy as np
import pytest
from test_trainer import Interrupt, after, by_hand, linear_trainer, weights

import minidl
from minidl import distributed, nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.engine.tensor import Tensor, tensor
from minidl.graph.passes import EXACT
from minidl.nn import functional as F
from minidl.train import Checkpoint, ReduceOnPlateau, Trainer, accuracy, find_rate, metrics
from minidl.train.batches import dataset, parts

RNG = np.random.default_rng(7)
X = RNG.normal(size=(40, 2)).astype("f")
OTHER = RNG.normal(size=(40, 3)).astype("f")
KIND = (X[:, 0] > 0).astype(np.int64)
AGE = (X @ [1.0, -2.0]).astype("f")[:, None]
QUIET = {"progress": False}


# ---- one array of inputs and one of targets


def fitted(*data, loss="cross_entropy", compile=False, **options):
    trainer = linear_trainer(loss, metrics=["accuracy"], compile=compile)
    history = trainer.fit(*data, batch_size=7, progress=False, **options)
    return weights(trainer), history


@pytest.mark.parametrize("compile", [False, True])
def test_arrays_train_as_the_data_set_of_them(compile, device):
    labels = RNG.integers(0, 3, 40)
    data = ArrayDataset(X, labels)
    expected, history = fitted(data, data, 2, compile=compile)
    for x, y in [
        (X, labels),
        (tensor(X), tensor(labels)),
        (tensor(X, requires_grad=True), labels),
        (tensor(X).to(device), labels),
        (X.tolist(), labels.tolist()),
        (X.astype("f8"), labels),
    ]:
        found, again = fitted(x, y, 2, valid=(x, y), compile=compile)
        np.testing.assert_array_equal(found, expected)
        assert again == history
    trainer = linear_trainer("cross_entropy", metrics=["accuracy"])
    assert trainer.evaluate(X, labels) == trainer.evaluate(data)
    assert trainer.evaluate(X.tolist(), labels.tolist()) == trainer.evaluate(data)
    y = trainer.predict(X)
    np.testing.assert_array_equal(trainer.predict(X.tolist()), y)
    rates = find_rate(trainer, data, steps=5)
    assert find_rate(trainer, X, labels, steps=5) == rates


def test_a_share_of_arrays_is_held_out_and_samples_have_weights():
    labels, weight = RNG.integers(0, 3, 40), RNG.uniform(0, 2, 40)
    data = ArrayDataset(X, labels)
    for options in ({}, {"sample_weight": weight}, {"class_weight": [1.0, 2.0, 3.0]}):
        expected, history = fitted(data, 0.25, 2, **options)
        found, again = fitted(X, labels, 2, valid=0.25, **options)
        np.testing.assert_array_equal(found, expected)
        assert again == history


def test_frames_and_series_are_arrays():
    pandas = pytest.importorskip("pandas")
    labels = RNG.integers(0, 3, 40)
    expected, history = fitted(X, labels, 2, valid=(X, labels))
    frame = pandas.DataFrame({"a": X[:, 0].astype(float), "b": X[:, 1]}, index=range(100, 140))
    series = pandas.Series(labels, index=range(100, 140))
    found, again = fitted(frame, series, 2, valid=(frame, series))
    np.testing.assert_array_equal(found, expected)
    assert again == history
    trainer = linear_trainer("cross_entropy")
    np.testing.assert_array_equal(trainer.predict(frame), trainer.predict(X))
    assert trainer.evaluate(frame, series) == trainer.evaluate(X, labels)
    mixed = pandas.DataFrame({"a": X[:, 0] > 0, "b": X[:, 1]})
    truths = np.stack([X[:, 0] > 0, X[:, 1]], axis=1)
    np.testing.assert_array_equal(trainer.predict(mixed), trainer.predict(truths))
    words = pandas.DataFrame({"a": X[:, 0], "town": ["Ulm"] * 40})
    with pytest.raises(TypeError, match=r"expected numbers, got column 'town' with .*'Ulm'"):
        trainer.fit(words, series)
    with pytest.raises(TypeError, match="expected numbers, got an array with"):
        trainer.fit(frame, words["town"])


class Types(nn.Module):
    """Notes the types of what it is given."""

    def __init__(self):
        self.layer, self.seen = nn.Linear(2, 3), set()

    def forward(self, x, ids=None):
        self.seen.add((str(x.dtype), str(getattr(ids, "dtype", None))))
        return self.layer(x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_get_the_type_of_the_model_and_whole_numbers_stay(dtype, device):
    seen = []

    def loss(y, target):
        seen.append(str(target.dtype))
        return F.mse(y, target)

    model = Types().to(dtype=dtype)
    trainer = Trainer(model, optim.SGD(model.parameters()), loss, device=device)
    for x in (X.astype("f8"), X.astype("f4"), X.astype("f2")):
        trainer.fit((x, np.arange(40)), np.zeros((40, 3)), **QUIET)
        trainer.evaluate((x, np.arange(40)), np.zeros((40, 3)))
        trainer.train_step((x, np.arange(40), np.zeros((40, 3))))
        assert trainer.predict((x, np.arange(40))).dtype == dtype
    assert model.seen == {(dtype, "int64")} and set(seen) == {dtype}
    assert {str(p.dtype) for p in model.parameters()} == {dtype}


@pytest.mark.parametrize(
    "data, options, error, complaint",
    [
        ((X,), {}, TypeError, r"fit: arrays x come as a pair .*, fit\(x, y\), got None for y"),
        ((X, 0.2), {}, TypeError, r"as a pair with their targets, .* got 0\.2 for y; a data set"),
        ((X, ArrayDataset(X, KIND)), {}, TypeError, r"as a pair .* got <minidl"),
        ((X, KIND[:39]), {}, ValueError, r"one length, got shapes \[\(40, 2\), \(39,\)\]"),
        (([*X], KIND), {}, ValueError, r"one length, got .*np\.stack makes samples one array"),
        (((), KIND), {}, ValueError, "expected arrays of one length"),
        (({}, KIND), {}, ValueError, "expected arrays of one length"),
        ((3.0, KIND), {}, TypeError, "expected arrays, a data set or a DataLoader, got 3.0"),
        ((X, iter(KIND)), {}, TypeError, "expected arrays, a data set or a DataLoader, got <"),
        ((iter(X), None), {}, TypeError, "expected arrays, a data set or a DataLoader, got <"),
        ((["a", "b"], [0, 1]), {}, TypeError, r"expected numbers, got an array with .*'a'"),
        (([[1.0], [1.0, 2.0]], [0, 1]), {}, ValueError, "inhomogeneous"),
        (([(1.0, 2.0)] * 2, [0, 1]), {"valid": 0.5}, TypeError,
         r"a list in first place has its targets, .* a list of tuples is a data set"),
        ((ArrayDataset(X, KIND), KIND), {"valid": 0.5}, TypeError, "no place for y"),
        ((ArrayDataset(X, KIND), KIND), {}, TypeError, r"valid: arrays x come as a pair"),
        ((X, KIND), {"valid": X}, TypeError, r"valid: .* pair with their targets, valid\(x, y\)"),
        ((X, KIND), {"valid": (X, KIND, KIND)}, TypeError, "valid: arrays x come as a pair"),
        ((X, KIND), {"valid": {"x": X}}, TypeError, "valid: arrays x come as a pair"),
        ((X, KIND), {"valid": 2}, ValueError, r"the share .* in \(0, 1\).*, got 2"),
    ],
)  # fmt: skip
def test_what_fit_says_of_arrays_that_it_cannot_use(data, options, error, complaint):
    with pytest.raises(error, match=complaint):
        linear_trainer("cross_entropy").fit(*data, **options, **QUIET)


def test_what_evaluate_and_predict_say():
    trainer = linear_trainer("cross_entropy")
    with pytest.raises(TypeError, match=r"evaluate: arrays x come .* evaluate\(x, y\), got None"):
        trainer.evaluate(X)
    with pytest.raises(TypeError, match=r"evaluate: a ArrayDataset .* no place for y"):
        trainer.evaluate(ArrayDataset(X, KIND), KIND)
    with pytest.raises(TypeError, match="find_rate: arrays x come as a pair"):
        find_rate(trainer, X)
    with pytest.raises(TypeError, match="expected arrays, a data set or a DataLoader, got 'x'"):
        trainer.predict("x")


# ---- several inputs, outputs and targets


class Two(nn.Module):
    """Two inputs; outputs in the form that it is made with."""

    def __init__(self, form):
        self.left, self.right = nn.Linear(2, 4), nn.Linear(3, 4)
        self.drop, self.kind, self.age = nn.Dropout(0.2), nn.Linear(4, 2), nn.Linear(4, 1)
        self.form = form

    def forward(self, x, other):
        h = self.drop((self.left(x) + self.right(other)).tanh())
        kind, age = self.kind(h), self.age(h)
        return {"kind": kind, "age": age} if self.form is dict else (kind, age)


DICTS = {"x": X, "other": OTHER}, {"kind": KIND, "age": AGE}
FLAT = X, OTHER, KIND, AGE


def both(y, target):
    """The loss of `LOSSES` and `WEIGHTS` by hand, of dicts or tuples."""
    if isinstance(y, dict):
        y, target = (y["kind"], y["age"]), (target["kind"], target["age"])
    return F.cross_entropy(y[0], target[0]) + 0.5 * F.mse(y[1], target[1])


def two(form, loss, dropout=0.2, **options):
    minidl.manual_seed(3)
    model = Two(form)
    model.drop.p = dropout
    return Trainer(model, optim.Adam(model.parameters(), 0.01), loss, **options)


LOSSES = {
    dict: {"loss": {"kind": "cross_entropy", "age": "mse"}, "loss_weights": {"age": 0.5}},
    tuple: {"loss": ["cross_entropy", "mse"], "loss_weights": [1.0, 0.5]},
}
METRICS = {dict: {"kind": "accuracy", "age": ["mae"]}, tuple: {0: "accuracy", 1: ["mae"]}}


def collated(form):
    """A loader whose batches have their form from its own collate."""

    def collate(samples):
        x, other, kind, age = (np.stack(column) for column in zip(*samples))
        if form is dict:
            return {"other": other, "x": x}, {"age": age, "kind": kind}
        return (x, other), [kind, age]

    return DataLoader(ArrayDataset(*FLAT), 16, shuffle=True, seed=1, collate=collate)


def plain():
    return DataLoader(ArrayDataset(*FLAT), 16, shuffle=True, seed=1)


@pytest.mark.parametrize("steps", ["eager", "compiled", "accumulated", "halves", "group"])
@pytest.mark.parametrize("form", [dict, tuple])
def test_several_losses_train_as_their_sum_written_by_hand(form, steps, device):
    """The inputs' and targets' form is that of the data, or the last arrays are the targets."""
    options = {
        "eager": {},
        "compiled": {"compile": True},
        "accumulated": {"accumulate": 2},
        "halves": {"mixed_precision": True},
        "group": {"group": distributed.Group(0, 1, lambda a: None, lambda a: None)},
    }[steps]
    by_hand = two(form, both, device=device, clip_norm=1.0, **options)
    by_hand.fit(collated(form), collated(form), 2, **QUIET)
    for data in (collated(form), plain()):
        several = two(
            form, **LOSSES[form], metrics=METRICS[form], device=device, clip_norm=1.0, **options
        )
        history = several.fit(data, data, 2, **QUIET)
        np.testing.assert_allclose(weights(several), weights(by_hand), rtol=1e-4, atol=1e-6)
        kind, age = ("kind", "age") if form is dict else (0, 1)
        names = ["loss", f"{kind}_loss", f"{age}_loss", f"{kind}_accuracy", f"{age}_mae"]
        assert {*history} == {*names, *(f"valid_{name}" for name in names)}
        for before in ("", "valid_"):
            total = [
                a + 0.5 * b
                for a, b in zip(history[f"{before}{kind}_loss"], history[f"{before}{age}_loss"])
            ]
            np.testing.assert_allclose(history[f"{before}loss"], total, rtol=5e-3)
        np.testing.assert_allclose(
            history["valid_loss"], by_hand.history["valid_loss"], rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("compile", [False, True])
def test_arrays_in_dicts_and_tuples_train_alike(compile, device):
    found = []
    for form, x, y in [
        (dict, *DICTS),
        (tuple, (X, OTHER), (KIND, AGE)),
        (tuple, [X, tensor(OTHER)], [KIND, AGE]),
        (tuple, {"other": OTHER, "x": X}, (KIND, AGE)),
    ]:
        trainer = two(form, **LOSSES[form], compile=compile, device=device)
        history = trainer.fit(
            x, y, 2, valid=(x, y), batch_size=16, sample_weight=np.linspace(0, 2, 40), **QUIET
        )
        assert np.isclose(trainer.evaluate(x, y)["loss"], history["valid_loss"][-1])
        held = two(form, **LOSSES[form], compile=compile, device=device)
        held.fit(x, y, 2, valid=0.25, batch_size=16, **QUIET)
        found.append((weights(trainer), weights(held), history["loss"], held.history["valid_loss"]))
    for others in found[1:]:
        for a, b in zip(found[0], others):
            np.testing.assert_array_equal(a, b)
    assert found[0][2][1] < found[0][2][0]


def test_one_loss_gets_outputs_and_targets_as_they_are(device):
    for form, y in [(dict, DICTS[1]), (tuple, (KIND, AGE))]:
        seen = []

        def loss(y, target, seen=seen):
            seen.append((type(y), type(target)))
            return both(y, target)

        def right(y, target):
            y, target = (
                part["kind"] if isinstance(part, dict) else part[0] for part in (y, target)
            )
            return accuracy(y, target)

        trainer = two(form, loss, metrics=[right], device=device)
        history = trainer.fit(DICTS[0], y, 2, valid=(DICTS[0], y), **QUIET)
        assert set(seen) == {(form, form)}
        assert set(history) == {"loss", "right", "valid_loss", "valid_right"}


@pytest.mark.parametrize("compile", [False, EXACT])
@pytest.mark.parametrize("form", [dict, tuple])
def test_a_run_with_several_losses_resumes_to_the_bit(form, compile, tmp_path):
    def run(path, *more):
        trainer = two(form, **LOSSES[form], metrics=METRICS[form], compile=compile)
        keep = Checkpoint(tmp_path / path, every=1)
        x, y = DICTS if form is dict else ((X, OTHER), (KIND, AGE))
        trainer.fit(
            x, y, 3, valid=0.25, batch_size=8, callbacks=[keep, *more], resume=tmp_path / path,
            **QUIET,
        )  # fmt: skip
        return trainer

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("part", Interrupt(1, 2))
    again = run("part")
    np.testing.assert_array_equal(weights(again), weights(whole))
    assert again.history == whole.history


def test_predict_gives_outputs_in_the_models_form(device):
    for form in (dict, tuple):
        trainer = two(form, both, device=device)
        y = trainer.predict((X, OTHER))
        assert type(y) is form
        parts = [*y.values()] if form is dict else y
        assert [part.shape for part in parts] == [(40, 2), (40, 1)]
        data = [
            {"other": tensor(OTHER), "x": X}, [X, OTHER], ArrayDataset(X, OTHER),
            DataLoader(ArrayDataset(X, OTHER), 7), collated(form), ArrayDataset(X, OTHER, KIND),
        ]  # fmt: skip
        order = next(iter(DataLoader(ArrayDataset(np.arange(40)), 40, shuffle=True, seed=1)))[0]
        for given in data:
            again = trainer.predict(given, batch_size=7)
            again = [*again.values()] if form is dict else again
            for a, b in zip(again, parts):
                if isinstance(given, DataLoader) and given.shuffle:
                    b = b[order]
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert isinstance(y[0], np.ndarray)


@pytest.mark.parametrize("trained", [False, True])
def test_predict_leaves_out_one_target_of_each_loss(trained):
    """Of a batch that has as many arrays as the model takes, none is left out."""
    for form in (dict, tuple):
        trainer = two(form, **LOSSES[form])
        if trained:
            trainer.fit(plain(), **QUIET)
        y = trainer.predict((X, OTHER))
        again = trainer.predict(ArrayDataset(*FLAT))
        alone = trainer.predict(ArrayDataset(X, OTHER))
        for key in y if form is dict else (0, 1):
            np.testing.assert_array_equal(again[key], y[key])
            np.testing.assert_array_equal(alone[key], y[key])
        with pytest.raises(ValueError, match=r"Two .* a batch has 3 arrays.*which are inputs"):
            trainer.predict(ArrayDataset(X, OTHER, KIND))


def test_of_several_outputs_each_has_a_row_for_each_sample():
    minidl.manual_seed(0)
    model = nn.LSTM(2, 3)
    trainer = Trainer(model, optim.SGD(model.parameters()), lambda y, t: F.mse(y[0], t))
    with pytest.raises(TypeError, match=r"a row for each sample, got a Tensor .* for 10 samples"):
        trainer.predict(X.reshape(10, 4, 2))


@pytest.mark.parametrize(
    "form, options, complaint",
    [
        (dict, {"loss": []}, r"a number for each of the losses \[\]"),
        (dict, {"loss": {"kind": "mse"}, "loss_weights": {"k": 1.0}}, r"\['kind'\], got .*'k'"),
        (tuple, {"loss": ["mse", "mse"], "loss_weights": [1.0]}, r"\[0, 1\], got \[1\.0\]"),
        (dict, {"loss": "mse", "loss_weights": [1.0]}, "loss_weights are for several losses"),
        (dict, {"loss": {"kind": "ce"}}, "loss: expected a function or one of"),
        (dict, {"loss": {"kind": "mse"}, "metrics": ["accuracy"]},
         r"say which output 'accuracy' is of, as in metrics=\{'kind': 'accuracy'\}"),
        (dict, {"loss": {"kind": "mse"}, "metrics": {"kinds": "accuracy"}}, "say which output"),
        (dict, {"loss": {"kind": "mse"}, "metrics": {"kind_loss": accuracy}}, "two are called"),
    ],
)  # fmt: skip
def test_what_several_losses_are_not_made_of(form, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        two(form, **options)


@pytest.mark.parametrize("compile", [False, True])
def test_what_does_not_match_the_losses_is_said(compile):
    for form, y, loss, complaint in [
        (
            tuple,
            DICTS[1],
            "dict",
            r"a dict with \['kind', 'age'\].*, got shapes \(\(40, 2\), \(40, 1",
        ),
        (dict, (KIND, AGE), "dict", r"a dict with .*, got shapes \(\(40,\), \(40, 1"),
        (dict, {"kind": KIND}, "dict", r"a dict with .*, got shapes \{'kind': \(40,\)\}"),
        (dict, DICTS[1], "list", r"a list with \[0, 1\], .* got shapes \{'kind': "),
        (tuple, (KIND, AGE, AGE), "list", r"a list .*, got shapes \(\(40,\), \(40, 1\), \(40, 1"),
    ]:
        options = LOSSES[dict if loss == "dict" else tuple]
        with pytest.raises(ValueError, match=f"outputs and targets must be {complaint}"):
            two(form, compile=compile, **options).fit(DICTS[0], y, **QUIET)
    lone = two(dict, {"kind": lambda y, t: 0.0})
    with pytest.raises(TypeError, match=r"must be a Tensor with one element.*got a float"):
        lone.fit(DICTS[0], {"kind": KIND}, **QUIET)
    several = two(dict, compile=compile, **LOSSES[dict])
    for weight in ({0: 1.0, 1: 2.0}, "balanced"):
        with pytest.raises(TypeError, match=r"class_weight is for one loss .* sample_weight"):
            several.fit(*DICTS, class_weight=weight, **QUIET)
        with pytest.raises(TypeError, match=r"class_weight is for one loss and target"):
            two(dict, both, compile=compile).fit(*DICTS, class_weight=weight, **QUIET)
    unweighted = two(dict, {"kind": lambda y, t: F.cross_entropy(y, t), "age": "mse"})
    with pytest.raises(TypeError, match="need a loss with an argument `sample_weight`"):
        unweighted.fit(*DICTS, sample_weight=np.ones(40), **QUIET)


# ---- balanced classes


@pytest.mark.parametrize("given", [False, True])
def test_balanced_weights_are_scikit_learns(given, device):
    labels = np.array([0] * 12 + [1] * 5 + [2] * 3)
    each = np.linspace(0.5, 1.5, 20)
    expected = (20 / (3 * np.array([12, 5, 3])))[labels]
    options = {"class_weight": "balanced"}
    if given:
        expected, options = expected * each, options | {"sample_weight": each}
    x = X[:20]
    for data in [(x, labels), (ArrayDataset(x, labels),)]:
        trainer = linear_trainer("cross_entropy", device=device)
        trainer.fit(*data, batch_size=20, **options, **QUIET)
        for a, b in zip(after(trainer), by_hand(expected, x, labels)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    if given:
        return
    for data in ([*zip(x, labels)], DataLoader([*zip(x, labels)], 20)):
        trainer = linear_trainer("cross_entropy", device=device)
        trainer.fit(data, batch_size=20, **options, **QUIET)
        for a, b in zip(after(trainer), by_hand(expected, x, labels)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_balanced_refuses():
    for target, weight, complaint in [
        (AGE, "balanced", "is for targets that are classes, whole numbers, got"),
        (KIND, "balance", "expected numbers or 'balanced', got 'balance'"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            linear_trainer("cross_entropy").fit(X, target, class_weight=weight, **QUIET)


# ---- frozen parts


def frozen_trainer(compile=False, device="cpu"):
    minidl.manual_seed(0)
    body = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm(8), nn.Dropout(0.5))
    model = nn.Sequential(body, nn.Dropout(0.1), nn.BatchNorm(8), nn.Linear(8, 2))
    for p in body.parameters():
        p.requires_grad = False
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    return Trainer(model, optimizer, "cross_entropy", compile=compile, device=device)


def test_a_part_of_which_something_trains_is_in_training():
    model = nn.Sequential(nn.BatchNorm(2), nn.Linear(2, 2))
    model[0].bias.requires_grad = False
    optimizer = optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    Trainer(model, optimizer, "cross_entropy").fit(X, KIND, **QUIET)
    assert model[0].training and model[0].running_mean.numpy().all(), "its statistics stayed"


def test_a_model_of_one_parameter_trains():
    model = nn.Linear(2, 2, bias=False)
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), "cross_entropy")
    before = model.weight.numpy().copy()
    trainer.fit(X, KIND, **QUIET)
    assert (model.weight.numpy() != before).any(), "it did not train"
    assert trainer.predict(X).dtype == np.float32


@pytest.mark.parametrize("compile", [False, True])
def test_a_frozen_part_stays_in_evaluation_while_the_rest_trains(compile, device):
    trainer = frozen_trainer(compile, device)
    body = trainer.model[0]
    before = {k: Tensor(a).numpy().copy() for k, a in trainer.model.state_dict().items()}
    modes = []

    def loss(y, target):
        modes.append([m.training for _, m in trainer.model.modules()])
        return F.cross_entropy(y, target)

    trainer.loss = loss
    trainer.fit(X, KIND, 2, valid=(X, KIND), **QUIET)
    expected = [True, False, False, False, False, True, True, True]
    assert expected in modes and [False] * 8 in modes
    assert [m.training for _, m in trainer.model.modules()] == expected
    state = {k: Tensor(a).numpy() for k, a in trainer.model.state_dict().items()}
    changed = {k for k, a in state.items() if not np.array_equal(a, before[k])}
    assert changed == {k for k in state if k[0] in "23"}, "the body, statistics too, stays"
    for p in body.parameters():
        p.requires_grad = True
    trainer.fit(X, KIND, 1, **QUIET)
    assert [m.training for _, m in trainer.model.modules()] == [True] * 8
    moved = Tensor(trainer.model.state_dict()["0.1.running_mean"]).numpy()
    assert (moved != before["0.1.running_mean"]).any(), "what is no longer frozen stayed"


# ---- what passed in silence, or failed late


def test_weights_of_classes_that_no_sample_has_are_told():
    for weight in ([1.0, 2.0, 3.0, 4.0], {0: 1.0, 1: 1.0, 2: 1.0, "9": 2.0}):
        with pytest.warns(
            UserWarning, match=r"class_weight: no sample has the class .* are \[0, 1\]"
        ):
            linear_trainer("cross_entropy").fit(X, KIND, class_weight=weight, **QUIET)
        with pytest.warns(UserWarning, match="class_weight: no sample has the class") as told:
            linear_trainer("cross_entropy").fit(ArrayDataset(X, KIND), class_weight=weight, **QUIET)
        assert told[0].filename == __file__


def test_columns_are_those_of_training(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X)
    frame.columns = [f"c{i}" for i in range(X.shape[1])]
    trainer = linear_trainer("cross_entropy")
    trainer.fit(frame, KIND, **QUIET)
    expected = trainer.predict(frame)
    np.testing.assert_array_equal(trainer.predict(X), expected)
    turned = frame[[*frame.columns[::-1]]]
    np.testing.assert_array_equal(trainer.predict(turned[trainer.columns]), expected)
    trainer.save(tmp_path / "run")
    later = linear_trainer("cross_entropy")
    later.load(tmp_path / "run")
    assert later.columns == trainer.columns
    for call in (
        lambda: later.predict(turned),
        lambda: linear_trainer("cross_entropy").fit(
            turned, KIND, resume=tmp_path / "run", epochs=2, **QUIET
        ),
        lambda: trainer.fit(frame, KIND, valid=(turned, KIND), **QUIET),
        lambda: trainer.predict(turned),
        lambda: trainer.evaluate(turned, KIND),
        lambda: trainer.fit(turned, KIND, **QUIET),
        lambda: trainer.predict(frame.rename(columns={"c0": "z"})),
    ):
        with pytest.raises(ValueError, match=r"the columns are .* in training they were \['c0'"):
            call()


@pytest.mark.parametrize("length", [-1, 0, "1", float("nan")])
def test_a_length_to_cut_to_is_above_zero(length):
    with pytest.raises(ValueError, match="clip_norm: expected None or a length above 0, got"):
        linear_trainer("cross_entropy", clip_norm=length)


@pytest.mark.parametrize("factor", [2, 1, -0.1, "a", None])
def test_a_plateau_makes_the_rate_smaller(factor):
    with pytest.raises(ValueError, match=r"ReduceOnPlateau: factor must be in \[0, 1\), got"):
        ReduceOnPlateau(factor=factor)


def test_what_a_batch_is_made_of_with_several_losses():
    losses = metrics.Losses(["mse", "l1"], [1.0, 1.0])
    given, first, second = {"x": X}, AGE, 2 * AGE
    assert parts((given, first, second), losses) == ((given,), [first, second])
    assert parts((given, (first, second)), losses) == ((given,), (first, second))
    assert parts((X, AGE), F.mse)[1] is AGE


def test_columns_without_arrays_are_refused_wherever_they_stand():
    for columns in ([X, ()], [(), X], [{}], [X, {}]):
        with pytest.raises(ValueError, match="expected arrays of one length"):
            dataset(*columns)


def test_weights_in_the_data_are_no_classes():
    data = ArrayDataset(X, KIND, np.linspace(0.1, 2, 40))
    trainer = linear_trainer("cross_entropy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.fit(data, sample_weight=True, class_weight={0: 1.0, 1: 2.0}, **QUIET)
    with pytest.warns(UserWarning, match=r"no sample has the class .* the classes are \[0, 1\]"):
        linear_trainer("cross_entropy").fit(
            data, sample_weight=True, class_weight={0: 1.0, 1: 2.0, 2: 2.0}, **QUIET
        )


def test_a_compiled_step_of_a_group_changes_every_weight(device):
    """The update is traced by itself there, and gets each gradient."""
    found = []
    for compile in (False, True):
        group = distributed.Group(0, 1, lambda a: None, lambda a: None)
        trainer = linear_trainer("cross_entropy", group=group, compile=compile, device=device)
        trainer.fit(X, KIND, 2, batch_size=10, **QUIET)
        found.append(weights(trainer))
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-7)
