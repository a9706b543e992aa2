"""The trainer: it learns, weighs, accumulates, reports, stops, and resumes to the bit."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import io, nn, optim
from minidl.data import ArrayDataset, DataLoader, datasets, split
from minidl.engine import devices, ops
from minidl.engine.tensor import Tensor, tensor
from minidl.graph.passes import EXACT
from minidl.nn import functional as F
from minidl.train import (
    AverageWeights,
    Callback,
    Checkpoint,
    CSVLog,
    Trainer,
    accuracy,
    find_rate,
    top5,
)
from minidl.train.metrics import LOSSES, METRICS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def spiral_trainer(dropout=0.1, **options):
    minidl.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.Tanh(), nn.Dropout(dropout), nn.Linear(32, 3)
    )  # dropout, so that the random state matters
    optimizer = optim.Adam(model.parameters(), 0.02)
    return Trainer(model, optimizer, F.cross_entropy, [accuracy], **options)


def exact(device):
    """Options of a `spiral_trainer` that goes on to the bit: dropout on the CPU alone, for of the
    random numbers of a device a checkpoint keeps the seed only."""
    return {"device": device, "dropout": 0.1 if device == "cpu" else 0.0}


def linear_trainer(loss="mse", **options):
    """One layer without dropout and SGD, so that a step is easily computed by hand."""
    minidl.manual_seed(2)
    model = nn.Linear(2, 3)
    return Trainer(model, optim.SGD(model.parameters(), 0.1), loss, **options)


SPIRALS = datasets.spirals(300)
X, LABELS = (a[:20] for a in SPIRALS.arrays)


def loader(batch_size=32):
    def jitter(batch, rng):
        x, *rest = batch
        return x + 0.01 * rng.standard_normal(x.shape).astype("f"), *rest

    return DataLoader(SPIRALS, batch_size, shuffle=True, seed=5, transform=jitter)


def weights(trainer):
    return np.concatenate([t.numpy().ravel() for _, t in trainer.model.tensors()])


def test_it_learns_and_keeps_a_history(device):
    trainer = spiral_trainer(device=device)
    assert trainer.evaluate(SPIRALS)["accuracy"] < 0.6
    history = trainer.fit(SPIRALS, SPIRALS, 40, batch_size=32, progress=False)
    assert set(history) == {"loss", "accuracy", "valid_loss", "valid_accuracy"}
    assert not [values for values in history.values() if len(values) != 40]
    found = trainer.evaluate(SPIRALS)
    assert found["accuracy"] > 0.95
    assert np.isclose(found["loss"], history["valid_loss"][-1])
    assert trainer.predict(SPIRALS).shape == trainer.predict(SPIRALS.arrays[0]).shape == (300, 3)
    labels = trainer.predict(SPIRALS).argmax(1)
    assert np.isclose((labels == SPIRALS.arrays[1]).mean(), found["accuracy"])


def test_prediction_takes_arrays_wherever_they_are(device):
    trainer = spiral_trainer(device=device)
    y, x = trainer.predict(SPIRALS), tensor(SPIRALS.arrays[0])
    assert isinstance(y, np.ndarray)
    for same in (x, x.data, x.to(device), x.to(device).data):
        np.testing.assert_array_equal(trainer.predict(same), y)


def test_means_are_over_samples_not_batches(device):
    trainer = spiral_trainer(device=device)
    whole = trainer.evaluate(SPIRALS, batch_size=300)
    parts = trainer.evaluate(SPIRALS, batch_size=77)
    assert not [k for k in whole if not np.isclose(whole[k], parts[k], rtol=1e-5)]
    still = linear_trainer("cross_entropy", metrics=["accuracy"], device=device)
    still.optimizer.lr = 0.0
    history = still.fit(SPIRALS, SPIRALS, batch_size=77, progress=False)
    for name in ("loss", "accuracy"):
        assert np.isclose(history[name][0], history[f"valid_{name}"][0], rtol=1e-5)


# ---- compiled steps


@pytest.mark.parametrize("options", [{}, {"class_weight": [1.0, 2.0, 0.5]}])
def test_compiled_steps_end_in_the_same_weights(options, device):
    found = []
    for compile in (False, True):
        trainer = spiral_trainer(compile=compile, clip_norm=0.5, device=device)
        average = AverageWeights(0.9)
        history = trainer.fit(
            SPIRALS, SPIRALS, 3, batch_size=64, progress=False, callbacks=[average], **options
        )
        found.append((weights(trainer), *history.values()))
    for eager, compiled in zip(*found):
        np.testing.assert_allclose(compiled, eager, rtol=2e-4, atol=1e-6)


def test_a_compiled_run_resumes_to_the_bit(tmp_path, device):
    def run(epochs, **options):
        trainer = spiral_trainer(compile=True, **exact(device))
        keep = Checkpoint(tmp_path / "run")
        trainer.fit(loader(), epochs=epochs, progress=False, callbacks=[keep], **options)
        return weights(trainer)

    whole = run(4)
    (tmp_path / "run").unlink()
    run(2)
    np.testing.assert_array_equal(run(4, resume=tmp_path / "run"), whole)


def test_what_a_compiled_trainer_refuses(device):
    for options in ({"accumulate": 2}, {"mixed_precision": True}):
        with pytest.raises(ValueError, match="goes with neither accumulate nor mixed_precision"):
            spiral_trainer(compile=True, **options)
    trainer = spiral_trainer(compile=True, device=device)
    data = ArrayDataset(np.full((8, 2), np.nan, "f"), np.zeros(8, int))
    with pytest.raises(FloatingPointError, match=r"loss became nan \(epoch 1, batch 1\); compile="):
        trainer.fit(data, progress=False)


@pytest.mark.parametrize("compile", [False, True])
def test_gradients_from_before_do_not_count(compile):
    plain, other = (linear_trainer("cross_entropy", compile=compile) for _ in range(2))
    for _ in range(2):
        for p in other.model.parameters():
            p.grad = Tensor(np.ones(p.shape, "f"))
        plain.train_step((X, LABELS))
        other.train_step((X, LABELS))
    np.testing.assert_array_equal(weights(other), weights(plain))


def test_a_weight_of_each_sample_is_not_taken_for_an_input():
    """The arrays are the same: (x, labels, weights), or (x, another input, labels)."""
    found = []
    for compile in (False, True):
        trainer = of(WithNumber, loss="mse", compile=compile)
        labels, number = np.zeros(20, "f"), np.ones(20, "f")
        trainer.train_step((X, number, labels))
        trainer.fit(
            ArrayDataset(X, number, labels), batch_size=20, progress=False, sample_weight=True
        )
        found.append(weights(trainer))
        assert not compile or "def " in trainer.compiled.source
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


# ---- losses and metrics


def test_losses_and_metrics_by_name(device):
    assert {"cross_entropy", "nll", "mse", "l1", "huber", "bce_with_logits"} <= LOSSES.keys()
    assert LOSSES["huber"] is F.huber
    assert not [name for name in LOSSES if name.startswith("_")]
    trainer = linear_trainer("huber", metrics=["mae", F.mse, "mse"], device=device)
    target = np.zeros((20, 3), "f")
    found = trainer.evaluate(ArrayDataset(X, target))
    assert set(found) == {"loss", "mae", "mse"}
    y = trainer.predict(X)
    assert np.isclose(found["mae"], abs(y).mean()) and np.isclose(found["mse"], (y**2).mean())
    assert np.isclose(found["loss"], F.huber(tensor(y), target).item())
    assert linear_trainer(metrics="mae").metrics == linear_trainer(metrics=["mae"]).metrics
    with pytest.raises(
        ValueError, match=r"metrics: .* one of \['accuracy', 'mae', 'mse', 'top5'\]"
    ):
        linear_trainer(metrics=["acuracy"])
    with pytest.raises(
        ValueError, match=r"loss: .* one of \['bce', 'bce_with_logits', .* got 'ce'"
    ):
        linear_trainer("ce")


def test_accuracy_of_classes_and_of_yes_and_no(device):
    def share(y, labels):
        return accuracy(tensor(np.asarray(y, "f")).to(device), tensor(labels).to(device))

    y = [[1, 3, 2], [5, 1, 2], [0, 0, 9], [7, 8, 8]]
    assert share(y, np.array([1, 0, 0, 1])) == 0.75, "the first of equal ones counts"
    assert share(y, np.eye(3)[[1, 0, 0, 1]]) == 0.75, "probabilities of classes"
    assert share([y], np.array([[1, 0, 0, 1]])) == 0.75, "a label for each step"
    assert share([3, -1, 0, 2], np.array([1, 0, 1, 0])) == 0.5
    assert share([[3], [-1], [0], [2]], np.array([[1.0], [0.0], [0.0], [0.0]])) == 0.75


def test_top5_agrees_with_a_sort(device):
    rng = np.random.default_rng(0)
    for shape in [(40,), (6, 7)]:
        y, labels = rng.normal(size=(*shape, 9)).astype("f"), rng.integers(9, size=shape)
        y[..., 8] = -np.inf
        best = np.argsort(-y, axis=-1)[..., :5]
        expected = (best == labels[..., None]).any(-1).mean()
        assert np.isclose(
            METRICS["top5"](tensor(y).to(device), tensor(labels).to(device)), expected
        )
    assert top5(tensor([[1.0, 2.0, 3.0]]), tensor([0])) == 1.0, "less than five classes"


# ---- weights


def by_hand(weight, x=X, labels=LABELS):
    """The weights after one SGD step of `linear_trainer` in float64, by the formula."""
    w, b = (a.astype(float) for a in linear_trainer().model.state_dict().values())
    if w.shape == (3, 2):
        w = w.T
    y = x @ w + b
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    g = (p - np.eye(3)[labels]) * np.asarray(weight)[:, None] / len(x)
    return w - 0.1 * x.T @ g, b - 0.1 * g.sum(0)


def after(trainer):
    w, b = (t.numpy() for _, t in trainer.model.tensors())
    return (w.T if w.shape == (3, 2) else w), b


RNG = np.random.default_rng(3)
EACH = RNG.uniform(0, 2, size=20)
BY_CLASS = np.array([0.5, 3.0, 0.0])


@pytest.mark.parametrize(
    "options, weight",
    [
        ({"sample_weight": EACH}, EACH),
        ({"class_weight": BY_CLASS}, BY_CLASS[LABELS]),
        ({"class_weight": {2: 0, 0: 0.5, 1: 3}}, BY_CLASS[LABELS]),
        ({"sample_weight": EACH.tolist(), "class_weight": [*BY_CLASS]}, EACH * BY_CLASS[LABELS]),
    ],
)
def test_weights_are_factors_of_the_loss(options, weight, device):
    data = ArrayDataset(X, LABELS)
    for batch_size, accumulate in [(20, 1), (6, 4)]:
        trainer = linear_trainer("cross_entropy", accumulate=accumulate, device=device)
        history = trainer.fit(
            data, data, batch_size=batch_size, progress=False, **options
        )  # fmt: skip
        for a, b in zip(after(trainer), by_hand(weight)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        start = linear_trainer("cross_entropy")
        log_p = F.log_softmax(tensor(start.predict(X))).numpy()
        losses = -log_p[np.arange(20), LABELS]
        assert np.isclose(history["loss"][0], (weight * losses).mean(), rtol=1e-5)
        found = trainer.evaluate(data)["loss"]
        assert np.isclose(history["valid_loss"][0], found), "validation has no weights"


def test_weights_that_come_with_the_data(device):
    weighted = DataLoader(ArrayDataset(X, LABELS, EACH), 20)
    trainer = linear_trainer("cross_entropy", metrics=["accuracy"], device=device)
    trainer.fit(weighted, progress=False, sample_weight=True, class_weight=BY_CLASS)
    for a, b in zip(after(trainer), by_hand(EACH * BY_CLASS[LABELS])):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_weight_for_each_label_of_a_sequence_and_of_yes_and_no(device):
    labels = LABELS.reshape(5, 4)
    trainer = linear_trainer("cross_entropy", device=device)
    trainer.fit(
        ArrayDataset(X.reshape(5, 4, 2), labels), batch_size=5, progress=False,
        class_weight=BY_CLASS, sample_weight=EACH[:5],
    )  # fmt: skip
    for a, b in zip(after(trainer), by_hand(np.repeat(EACH[:5], 4) * BY_CLASS[LABELS])):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), 0.1)
    trainer = Trainer(model, optimizer, "bce_with_logits", device=device)
    yes = (LABELS > 0).astype("f")[:, None]
    before = trainer.predict(X)
    found = trainer.fit(
        ArrayDataset(X, yes), batch_size=20, progress=False, class_weight={0: 1.0, 1: 5.0}
    )  # fmt: skip
    losses = np.logaddexp(0, before) - before * yes
    assert np.isclose(found["loss"][0], (losses * (1 + 4 * yes)).mean(), rtol=1e-5)


def test_a_weight_of_two_counts_as_two_copies(device):
    twice, once = (linear_trainer("cross_entropy", device=device) for _ in range(2))
    copies = np.r_[np.arange(20), np.arange(10)]
    twice.fit(ArrayDataset(X[copies], LABELS[copies]), batch_size=30, progress=False)
    weight = 20 / 30 * np.where(np.arange(20) < 10, 2, 1)
    once.fit(ArrayDataset(X, LABELS), batch_size=20, progress=False, sample_weight=weight)
    np.testing.assert_allclose(weights(once), weights(twice), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"sample_weight": EACH[:19]},
            r"each sample of a data set, got shape \(19,\) for .* length 20",
        ),
        ({"sample_weight": 2.0}, r"got shape \(\) for a"),
        ({"class_weight": {0: 1.0, 1: 2.0}}, r"class_weight has nothing for \{2\}, only for"),
        ({"class_weight": [1.0, 2.0]}, r"class_weight has nothing for \{2\}, only for \[0, 1\]"),
        ({"epochs": 0}, "fit: epochs must be a whole number from 1, got 0"),
        ({"epochs": 1.5}, r"fit: epochs must be a whole number from 1, got 1\.5"),
        ({"valid": 1}, r"valid: .* the share .* in \(0, 1\).*, got 1; .* epochs=10"),
        ({"valid": 1.5}, r"the share .* in \(0, 1\).*, got 1\.5"),
        ({"valid": 0.0}, r"the share .* in \(0, 1\).*, got 0\.0"),
        ({"valid": np.float32(1.0)}, r"the share .* in \(0, 1\).*, got .*1\.0"),
        ({"valid": True}, r"the share .* in \(0, 1\).*, got True"),
        ({"valid": 0.01}, "the validation data gives no batch"),
        ({"valid": 0.99}, "the training data gives no batch"),
        ({"valid": ArrayDataset(X[:0], LABELS[:0])}, "the validation data gives no batch"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_what_fit_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        linear_trainer("cross_entropy").fit(ArrayDataset(X, LABELS), progress=False, **options)


def test_what_is_no_data_is_refused():
    trainer = linear_trainer("cross_entropy")
    with pytest.raises(ValueError, match="for a DataLoader of length 5; elsewhere, weights are"):
        trainer.fit(DataLoader(ArrayDataset(X, LABELS), 4), sample_weight=EACH, progress=False)
    with pytest.raises(ValueError, match=r"a share, 0\.2, .* not of a DataLoader"):
        trainer.fit(DataLoader(SPIRALS), 0.2, progress=False)
    for use in (trainer.fit, trainer.evaluate):
        with pytest.raises(ValueError, match=r"\(inputs ..., target\).*got shapes \[\(20, 2\)\]"):
            use(DataLoader(ArrayDataset(X), 20))
    assert trainer.predict(DataLoader(ArrayDataset(X), 20)).shape == (20, 3), "inputs alone"
    for data in (ArrayDataset(X[:0], LABELS[:0]), DataLoader(SPIRALS, 301, drop_last=True)):
        for use in (trainer.evaluate, trainer.predict, trainer.fit):
            with pytest.raises(ValueError, match="gives no batch"):
                use(data)
    for use in (trainer.fit, trainer.evaluate):
        with pytest.raises(ValueError, match="gives no batch"):
            use(X[:0], LABELS[:0])
    with pytest.raises(ValueError, match="gives no batch"):
        trainer.predict(X[:0])
    emptied = DataLoader(SPIRALS, transform=lambda batch, rng: tuple(a[:0] for a in batch))
    with pytest.raises(ValueError, match=r"not empty; got shapes \[\(0, 2\), \(0,\)\]"):
        trainer.fit(emptied, progress=False)


def test_a_pair_in_the_place_of_the_inputs_is_told_from_two_inputs():
    trainer = linear_trainer("cross_entropy")
    for x, y in (((X, LABELS), (X, LABELS)), ([X, X], LABELS), ({"a": X}, LABELS)):
        with pytest.raises(
            TypeError, match=r"Linear takes \(x\), a batch has [12] inputs, of shapes"
        ):
            trainer.fit(x, y, progress=False)
    assert trainer.optimizer.steps == 0
    trainer.fit({"x": X}, LABELS, progress=False)


def test_float_labels_are_told():
    for target in (LABELS.astype("f4"), LABELS != 0):
        with pytest.raises(TypeError, match=r'labels must be integers, .*y\.astype\("int64"\)'):
            linear_trainer("cross_entropy").fit(X, target, progress=False)


def test_a_loss_without_weights_is_named():
    def plain(y, labels):
        return F.cross_entropy(y, labels)

    trainer = linear_trainer(plain)
    trainer.fit(ArrayDataset(X, LABELS), progress=False)
    for options in ({"sample_weight": EACH}, {"class_weight": BY_CLASS}):
        with pytest.raises(
            TypeError, match=r"a loss with an argument `sample_weight`, got .*plain"
        ):
            trainer.fit(ArrayDataset(X, LABELS), progress=False, **options)


def test_what_a_trainer_is_not_made_of():
    model = nn.Linear(2, 3)
    for optimizer in ("adam", optim.Adam):
        with pytest.raises(ValueError, match=r"expected an optimizer such as optim\.Adam"):
            Trainer(model, optimizer, "mse")
    with pytest.raises(ValueError, match="accumulate must be a whole number from 1, got 0"):
        linear_trainer(accumulate=0)
    for wrong in ([AverageWeights], AverageWeights, print):
        with pytest.raises(TypeError, match=r"callbacks must be Callbacks, .* got \[<"):
            linear_trainer().fit(SPIRALS, callbacks=wrong)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("validation_data", "write valid="),
        ("validation_split", "write valid="),
        ("verbose", "write progress="),
        ("initial_epoch", "write resume="),
        ("shuffle", r"data\.DataLoader\(dataset, shuffle=False\)"),
        ("epoch", "it has x, y, epochs"),
        ("anything", "it has x, y, epochs"),
    ],
)
def test_an_argument_of_keras_is_told_minidls_name(name, hint):
    with pytest.raises(TypeError, match=rf"has no argument {name!r}: .*{hint}"):
        linear_trainer().fit(SPIRALS, **{name: 1})


@pytest.mark.parametrize("compile", [False, True])
def test_what_a_loss_must_give_is_said(compile):
    for loss, kind, complaint in [
        (
            lambda y, t: float(((y - t) ** 2).mean().data),
            TypeError,
            r"got a float of shape \(\); compute it of",
        ),
        (lambda y, t: ((y - t) ** 2).data.mean(), TypeError, "got a float32"),
        (lambda y, t: None, TypeError, "got a NoneType"),
        (lambda y, t: ((y - t) ** 2).mean(1), TypeError, r"of shape \(20,\); .* end it with .mean"),
    ]:
        data = ArrayDataset(X, np.zeros((20, 3), "f"))
        if compile and kind is TypeError and "float" in complaint:
            continue  # asking for a value while recording has an error of its own
        trainer = linear_trainer(loss, compile=compile)
        with pytest.raises(kind, match=f"the loss must be a Tensor with one element.*{complaint}"):
            trainer.fit(data, progress=False)
        with pytest.raises(kind, match="the loss must be a Tensor with one element"):
            trainer.evaluate(data)


def test_a_function_that_makes_schedules_is_no_schedule():
    model = nn.Linear(2, 3)
    for maker in (optim.cosine, optim.warmup, optim.one_cycle, optim.step_decay):
        with pytest.raises(
            TypeError, match=r"schedule: expected .*optim\.cosine\(1000\), got <func"
        ):
            Trainer(model, optim.SGD(model.parameters(), schedule=maker), "mse")
    trainer = linear_trainer()
    trainer.fit(ArrayDataset(X, np.zeros((20, 3), "f")), progress=False)
    trainer.optimizer.schedule = optim.cosine
    with pytest.raises(TypeError, match="schedule: expected"):
        trainer.fit(ArrayDataset(X, np.zeros((20, 3), "f")), progress=False)


def test_a_share_is_held_out(device):
    valid, train = split(SPIRALS, 0.3, seed=4)
    whole = spiral_trainer(device=device)
    whole.fit(train, valid, 2, seed=4, progress=False)
    held = spiral_trainer(device=device)
    held.fit(SPIRALS, 0.3, 2, seed=4, progress=False)
    np.testing.assert_array_equal(weights(held), weights(whole))
    assert held.history == whole.history
    weight = np.full(300, 0.5)
    held.fit(SPIRALS, 0.3, 3, seed=4, progress=False, sample_weight=weight)
    found = held.evaluate(valid)
    assert np.isclose(found["loss"], held.history["valid_loss"][-1], rtol=1e-6)


# ---- what belongs together


def test_an_optimizer_of_another_model_is_refused():
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    before = {p: p.data for p in model.parameters()}
    for parameters in (other.parameters(), deepcopy(model).parameters()):
        with pytest.raises(ValueError, match=r"none of its parameters is the model's"):
            Trainer(model, optim.SGD(parameters), "mse")
    both = optim.SGD([*model.parameters(), *other.parameters()])
    with pytest.raises(ValueError, match=r"its parameters 2, 3 of 4 are another's"):
        Trainer(model, both, "mse")
    assert not [p for p, a in before.items() if p.data is not a]
    with pytest.raises(TypeError, match="a Trainer trains a Module, got function"):
        Trainer(lambda x: x, both, "mse")


def test_an_optimizer_of_a_part_trains_that_part(device):
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3))
    body = model[0].weight.numpy().copy()
    head = model[2].weight.numpy().copy()
    trainer = Trainer(model, optim.SGD(model[2].parameters(), 0.1), "cross_entropy", device=device)
    trainer.fit(ArrayDataset(X, LABELS), progress=False)
    np.testing.assert_array_equal(model[0].weight.numpy(), body)
    assert (model[2].weight.numpy() != head).any(), "the head was not trained"


def test_what_is_exchanged_later_is_noticed(device):
    data = ArrayDataset(X, LABELS)

    def copied(trainer):
        trainer.model = deepcopy(trainer.model)

    def replaced(trainer):
        trainer.model.head = nn.Linear(2, 3)

    def other_optimizer(trainer):
        trainer.optimizer = optim.SGD(nn.Linear(2, 3).parameters())

    for change in (copied, replaced, other_optimizer):
        model = nn.Module()
        model.head = nn.Linear(2, 3)
        model.forward = lambda x, model=model: model.head(x)
        trainer = Trainer(model, optim.SGD(model.parameters()), "cross_entropy", device=device)
        trainer.fit(data, progress=False)
        change(trainer)
        with pytest.raises(ValueError, match="the optimizer does not fit the model"):
            trainer.fit(data, progress=False)
        if change is not replaced:
            with pytest.raises(ValueError, match="the optimizer does not fit the model"):
                trainer.train_step((X, LABELS))


def test_a_copied_or_moved_trainer_trains_its_own_model(device):
    trainer = linear_trainer("cross_entropy")
    other = deepcopy(trainer)
    other.model.to(device)
    other.device = device
    other.fit(ArrayDataset(X, LABELS), progress=False)
    assert (weights(other) != weights(trainer)).any(), "two trainers ended alike"
    np.testing.assert_array_equal(weights(trainer), weights(linear_trainer()))


def test_metrics_of_one_name_are_refused():
    def named(name):
        def metric(y, labels):
            return 0.5

        metric.__name__ = name
        return metric

    one, two = named("score"), named("score")
    some = partial(accuracy)
    for metrics, complaint in [
        ([one, two], "two are called 'score'"),
        (["accuracy", named("accuracy")], "two are called 'accuracy'"),
        ([lambda y, t: 0.0, lambda y, t: 1.0], "two are called '<lambda>'"),
        ([some], r"partial\(.* cannot be called None"),
        ([named("loss")], "cannot be called 'loss'"),
        ({"loss": one}, "cannot be called 'loss'"),
        ({"epoch": one}, "cannot be called 'epoch'"),
        ({"valid_accuracy": one}, "cannot be called 'valid_accuracy'"),
        ({1: one}, "cannot be called 1"),
        ({"a": "acuracy"}, "one of"),
    ]:
        with pytest.raises(ValueError, match=f"metrics: .*{complaint}"):
            linear_trainer(metrics=metrics)
    trainer = linear_trainer("cross_entropy", metrics={"one": one, "two": two, "third": some})
    found = trainer.evaluate(ArrayDataset(X, LABELS))
    assert found["one"] == found["two"] == 0.5 and set(found) == {"loss", "one", "two", "third"}
    assert set(linear_trainer(metrics={"best": "mae"}).metrics) == {"best"}
    assert set(linear_trainer(metrics=[one, one, "mse", F.mse]).metrics) == {"score", "mse"}
    with pytest.raises(ValueError, match="expected a function or one of"):
        linear_trainer(metrics={"a": 3})


# ---- modes


def modes(trainer):
    return [m.training for _, m in trainer.model.modules()]


def test_evaluation_puts_the_modes_back(device):
    trainer = spiral_trainer(device=device)
    trainer.model[3].eval()
    expected = [True, True, True, True, False]
    assert modes(trainer) == expected
    assert (trainer.predict(X) == trainer.predict(X)).all(), "no dropout"
    assert trainer.evaluate(SPIRALS) == trainer.evaluate(SPIRALS)
    assert modes(trainer) == expected
    for use in (trainer.predict, trainer.evaluate):
        with pytest.raises(ValueError, match=r"Linear.*expected x"):
            use(ArrayDataset(np.ones((3, 5), "f"), LABELS[:3]))
        assert modes(trainer) == expected
    trainer.fit(SPIRALS, SPIRALS, progress=False)
    assert modes(trainer) == [True] * 5
    trainer.model.eval()
    trainer.predict(X)
    assert modes(trainer) == [False] * 5


@pytest.mark.parametrize("compile", [False, True])
def test_threads_predict_and_evaluate_with_a_model_in_training(compile):
    trainer = spiral_trainer(0.5, compile=compile)
    trainer.fit(SPIRALS, progress=False)
    y, found = trainer.predict(X), trainer.evaluate(SPIRALS)
    wrong = []

    def work(number):
        for _ in range(60):
            if number % 2:
                wrong.extend([] if (trainer.predict(X, batch_size=7) == again).all() else ["y"])
            else:
                wrong.extend([] if trainer.evaluate(SPIRALS) == found else ["evaluate"])
            nn.summary(trainer.model, X)

    again = trainer.predict(X, batch_size=7)
    np.testing.assert_allclose(again, y, rtol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert not wrong
    assert modes(trainer) == [True] * 5


# ---- what predict takes for inputs


class Sum(nn.Module):
    """A model of two inputs, the second of which may have a default."""

    def __init__(self):
        self.layer = nn.Linear(2, 3)

    def forward(self, x, other):
        return self.layer(x + other)


class Optional(Sum):
    def forward(self, x, other=None, *, scale=1.0):
        return self.layer(x if other is None else x + other) * scale


class WithNumber(Sum):
    def forward(self, x, number=1.0):
        return self.layer(x)[:, 0] * number * 3.0


class Any(Sum):
    def forward(self, *inputs):
        return self.layer(sum(inputs))


def of(kind, loss="cross_entropy", **options):
    minidl.manual_seed(0)
    model = kind()
    return Trainer(model, optim.SGD(model.parameters()), loss, **options)


def test_a_data_set_of_inputs_alone_is_predicted_on(device):
    trainer = linear_trainer("cross_entropy", device=device)
    expected = trainer.predict(X)
    for data in (ArrayDataset(X), DataLoader(ArrayDataset(X), 7), (X,), [X], tensor(X),
                 ArrayDataset(X, LABELS), DataLoader(ArrayDataset(X, LABELS), 7),
                 [(x, 0) for x in X], [(x,) for x in X]):  # fmt: skip
        np.testing.assert_allclose(trainer.predict(data), expected, rtol=1e-5)


def test_several_inputs_are_predicted_on(device):
    trainer = of(Sum, device=device)
    expected = trainer.predict((X, X))
    assert expected.shape == (20, 3)
    for data in (ArrayDataset(X, X), ArrayDataset(X, X, LABELS), [X, tensor(X).to(device)],
                 DataLoader(ArrayDataset(X, X, LABELS), 7)):  # fmt: skip
        np.testing.assert_allclose(trainer.predict(data), expected, rtol=1e-5)
    assert abs(expected - of(Optional, device=device).predict(X)).max() > 0.01


def test_predict_does_not_guess_what_the_inputs_are():
    cases = [
        (
            nn.Linear,
            (X, LABELS, LABELS),
            r"Linear takes \(x.*\), in training no inputs, a batch has 3 arrays",
        ),
        (Sum, (X,), r"Sum takes \(x, other\), in training no inputs, a batch has 1 arrays"),
        (Sum, (X, X, LABELS, X), r"shapes \[\(20, 2\), \(20, 2\), \(20,\), \(20, 2\)\]"),
        (Optional, (X, X), r"Optional takes \(x, other=None.* Give the inputs alone, predict\(x\)"),
        (Any, (X, LABELS), r"Any takes \(\*inputs\)"),
    ]
    for kind, arrays, complaint in cases:
        trainer = linear_trainer() if kind is nn.Linear else of(kind)
        with pytest.raises(ValueError, match=complaint):
            trainer.predict(ArrayDataset(*arrays))
    assert of(Optional).predict(ArrayDataset(X)).shape == (20, 3)
    assert of(Optional).predict(ArrayDataset(X, X, LABELS)).shape == (20, 3)


@pytest.mark.parametrize("compile", [False, True])
def test_predict_takes_as_many_inputs_as_training(tmp_path, compile):
    for kind in (Optional, Any):
        one, two = of(kind, compile=compile), of(kind, compile=compile)
        one.fit(ArrayDataset(X, LABELS, EACH), progress=False, sample_weight=True)
        two.fit(ArrayDataset(X, X, LABELS), progress=False)
        np.testing.assert_array_equal(one.predict(ArrayDataset(X, LABELS)), one.predict(X))
        both = two.predict((X, X))
        np.testing.assert_array_equal(two.predict(ArrayDataset(X, X)), both)
        np.testing.assert_array_equal(two.predict(ArrayDataset(X, X, LABELS)), both)
        two.save(tmp_path / "two")
        again = of(kind)
        again.load(tmp_path / "two")
        np.testing.assert_array_equal(again.predict(ArrayDataset(X, X)), both)
        with pytest.raises(ValueError, match="in training 2 inputs, a batch has 1"):
            again.predict(ArrayDataset(X))


def test_predict_wants_tensors():
    class Array(Optional):
        def forward(self, x):
            return x, super().forward(x).numpy()

    with pytest.raises(TypeError, match=r"expected of the model a Tensor .* got a ndarray of"):
        of(Array).predict(X)


def test_predict_of_one_sample_says_how():
    """A sample (2,) would count as two samples of one number each."""
    trainer = linear_trainer()
    with pytest.raises(TypeError, match=r"of shape \(3,\) for 2 samples; .* x\[None\]"):
        trainer.predict(X[0])
    assert trainer.predict(X[0][None]).shape == (1, 3)
    for wrong in ([X[0], X[1]], (X, LABELS)):
        with pytest.raises(TypeError, match=r"takes \(x\), a batch has 2 .*np\.stack\(samples\)"):
            trainer.predict(wrong)


def test_bytes_are_not_taken_where_floats_were_trained_on(tmp_path, device):
    """An image as Pillow gives it holds numbers to 255, the network knows such to 1."""
    trainer = linear_trainer("cross_entropy", device=device)
    trainer.fit(X, LABELS, progress=False)
    whole = np.arange(40).reshape(20, 2)
    expected = trainer.predict(whole.astype("float32"))
    np.testing.assert_allclose(trainer.predict(whole), expected, rtol=1e-5)  # as lists are
    trainer.save(tmp_path / "run")
    again = linear_trainer("cross_entropy", device=device)
    assert again.predict(whole.astype("uint8")).shape == (
        20,
        3,
    )  # nobody knows what it was trained on
    again.load(tmp_path / "run")
    for one, use in product(
        (trainer, again),
        (
            lambda one, x: one.predict(x),
            lambda one, x: one.evaluate(x, LABELS),
            lambda one, x: one.evaluate(ArrayDataset(x, LABELS)),
            lambda one, x: one.fit(X, LABELS, valid=(x, LABELS), progress=False),
        ),
    ):
        with pytest.raises(ValueError, match=r"expected floats, as training .* x / 255"):
            use(one, whole.astype("uint8"))
    of_bytes = linear_trainer("cross_entropy", device=device)
    of_bytes.fit(whole.astype("uint8"), LABELS, progress=False)
    of_bytes.predict(whole.astype("uint8"))


def test_a_gap_in_x_is_told_of(device):
    trainer = linear_trainer("cross_entropy", device=device)
    gap = X.copy()
    gap[3] = np.nan
    with pytest.warns(UserWarning, match="predict: 3 of the outputs are nan; has x gaps") as told:
        found = trainer.predict(gap)
    assert told[0].filename == __file__
    np.testing.assert_array_equal(np.isnan(found).all(axis=1), np.arange(20) == 3)


# ---- a second fit


def test_a_second_fit_trains_as_many_epochs_more(device):
    once, twice = (spiral_trainer(0.0, device=device) for _ in range(2))
    once.fit(loader(), SPIRALS, 5, progress=False)
    twice.fit(loader(), SPIRALS, 2, progress=False)
    history = twice.fit(loader(), SPIRALS, 3, progress=False)
    assert twice.epoch == 5 and history is twice.history
    np.testing.assert_array_equal(weights(once), weights(twice))
    assert once.history == twice.history


def test_a_resume_goes_on_to_all_epochs_and_a_fit_after_it_trains_more(tmp_path, capsys):
    path = tmp_path / "run"
    first = spiral_trainer()
    first.fit(SPIRALS, epochs=2, progress=False, callbacks=[Checkpoint(path)], resume=path)
    second = spiral_trainer()
    second.fit(SPIRALS, epochs=2, resume=path)
    assert second.epoch == 2
    assert "nothing to train: 2 epochs of 2 are done" in capsys.readouterr().out
    second.fit(SPIRALS, epochs=2, progress=False)
    third = spiral_trainer()
    third.load(path)
    third.fit(SPIRALS, epochs=2, progress=False)
    assert second.epoch == third.epoch == 4
    np.testing.assert_array_equal(weights(second), weights(third))
    fresh = spiral_trainer()
    for epochs in (2, 4):
        fresh.fit(SPIRALS, epochs=epochs - fresh.epoch, progress=False, resume=tmp_path / "none")
    assert (weights(fresh) == weights(second)).all(), "nothing to resume: so many more"


def test_an_interrupted_epoch_is_ended_first():
    whole, parts = spiral_trainer(0.0), spiral_trainer(0.0)
    whole.fit(loader(), epochs=3, progress=False)
    with pytest.raises(KeyboardInterrupt):
        parts.fit(loader(), epochs=3, progress=False, callbacks=[Interrupt(1, 4)])
    parts.fit(loader(), epochs=2, progress=False)
    assert parts.epoch == 3
    np.testing.assert_array_equal(weights(parts), weights(whole))


def test_a_history_has_a_number_for_each_epoch_whatever_was_validated(tmp_path):
    trainer = spiral_trainer()
    trainer.fit(SPIRALS, epochs=2, progress=False)
    trainer.fit(SPIRALS, SPIRALS, epochs=1, progress=False, callbacks=[CSVLog(tmp_path / "log")])
    trainer.fit(SPIRALS, epochs=1, progress=False, callbacks=[Checkpoint(tmp_path / "run")])
    assert [math.isnan(v) for v in trainer.history["valid_loss"]] == [True, True, False, True]
    assert {len(values) for values in trainer.history.values()} == {4}
    assert len((tmp_path / "log").read_text(encoding="utf-8").splitlines()) == 4
    other = spiral_trainer()
    other.load(tmp_path / "run")
    np.testing.assert_equal(other.history, trainer.history)


# ---- accumulation and mixed precision


@pytest.mark.parametrize("accumulate, batch_size, last", [(2, 10, 20), (3, 7, 1), (5, 4, 20)])
def test_accumulated_batches_are_one_large_batch(accumulate, batch_size, last, device):
    n = accumulate * batch_size
    data = SPIRALS[: 2 * n + last]
    large = linear_trainer("cross_entropy", metrics=["accuracy"], clip_norm=0.5, device=device)
    parts = linear_trainer(
        "cross_entropy", metrics=["accuracy"], clip_norm=0.5, device=device, accumulate=accumulate
    )
    for trainer, size in [(large, n), (parts, batch_size)]:
        trainer.fit(DataLoader(ArrayDataset(*data), size), epochs=2, progress=False)
    assert large.optimizer.steps == parts.optimizer.steps == 2 * math.ceil((2 * n + last) / n)
    a, b = ([t.numpy() for _, t in trainer.model.tensors()] for trainer in (large, parts))
    assert not [(x, y) for x, y in zip(a, b, strict=True) if not np.allclose(x, y, atol=1e-6)]
    for name, values in large.history.items():
        np.testing.assert_allclose(values, parts.history[name], rtol=1e-5, atol=1e-8)


def test_a_step_of_ones_own(device):
    one, two = (linear_trainer("cross_entropy", device=device) for _ in range(2))
    found = one.train_step((X, LABELS))
    again = two.train_step((X[:15], LABELS[:15]), (X[15:], LABELS[15:]))
    np.testing.assert_allclose(weights(one), weights(two), rtol=1e-5, atol=1e-6)
    assert np.isclose(found["loss"], again["loss"]) and set(found) == {"loss"}


def test_mixed_precision_learns_as_well(device):
    plain = spiral_trainer(device=device)
    mixed = spiral_trainer(device=device, mixed_precision=True, clip_norm=5.0)
    for trainer in (plain, mixed):
        trainer.fit(SPIRALS, SPIRALS, 12, batch_size=32, progress=False)
    assert abs(plain.history["valid_loss"][-1] - mixed.history["valid_loss"][-1]) < 0.05
    assert not [p for p in mixed.model.parameters() if p.dtype != np.float32]
    assert mixed.predict(SPIRALS).dtype == np.float32
    y = plain.predict(SPIRALS)
    mixed.model.load_state_dict(
        {k: devices.to_numpy(a) for k, a in plain.model.state_dict().items()}
    )
    assert (mixed.predict(SPIRALS) == y).all(), "only training is in half precision"


def test_a_scaled_step_that_overflows_is_skipped_not_an_error(device):
    for options in ({}, {"clip_norm": 1.0}):
        trainer = linear_trainer(
            "cross_entropy", mixed_precision=True, device=device, **options
        )  # fmt: skip
        trainer.scaler.factor = 2.0**30
        start = weights(trainer)
        trainer.fit(ArrayDataset(X, LABELS), batch_size=20, progress=False)
        np.testing.assert_array_equal(weights(trainer), start)
        assert trainer.scaler.factor == 2.0**29
        assert trainer.optimizer.steps == 0
        trainer.fit(ArrayDataset(X, LABELS), epochs=30, batch_size=20, progress=False)
        assert (weights(trainer) != start).any(), "nothing was trained"
        assert trainer.history["loss"][-1] < 1.1


# ---- saving and resuming


class Interrupt(Callback):
    """Ends the run, as Ctrl-C would, at one batch of one epoch."""

    def __init__(self, epoch, batch):
        self.at = epoch, batch

    def on_batch_end(self, trainer):
        if (trainer.epoch, trainer.batch) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch, batch", [(0, 1), (1, 4), (2, 10)])
def test_resume_is_exact_wherever_it_was_interrupted(tmp_path, epoch, batch, device):
    whole = spiral_trainer(**exact(device))
    whole.fit(loader(), SPIRALS, 4, progress=False)
    path = tmp_path / "run.safetensors"
    first = spiral_trainer(**exact(device))
    with pytest.raises(KeyboardInterrupt):
        first.fit(
            loader(), SPIRALS, 4, progress=False,
            callbacks=[Checkpoint(path, every=3), Interrupt(epoch, batch)],
        )  # fmt: skip
    minidl.manual_seed(99)
    second = spiral_trainer(**exact(device))
    second.fit(loader(), SPIRALS, 4, progress=False, callbacks=[Checkpoint(path)], resume=path)
    np.testing.assert_array_equal(weights(whole), weights(second))
    assert whole.history == second.history
    third = spiral_trainer(**exact(device))
    third.fit(loader(), SPIRALS, 4, progress=False, resume=path)
    assert (weights(whole) == weights(third)).all(), "a finished run is not trained further"


def uneven(rng):
    """A sampler that makes the batches: from 2 to 9 of them, another number in each epoch."""
    return np.array_split(rng.permutation(300), rng.integers(2, 10))


class Counts(Callback):
    """Notes how many batches an epoch was said to have, and how many it had."""

    def __init__(self):
        self.said, self.had = [], []

    def on_epoch_begin(self, trainer):
        self.said.append(trainer.n_batches)

    def on_batch_end(self, trainer):
        last = trainer.batch

        def on_epoch_end(_):
            self.had.append(last)

        self.on_epoch_end = on_epoch_end


@pytest.mark.parametrize("start", [0, 3])
def test_an_epoch_has_as_many_batches_as_its_own_sampler_makes(start, tmp_path, device):
    """And what happens at its last batch happens there; also where a loader was used before."""

    def run(path, *more, **options):
        trainer, counts = spiral_trainer(**exact(device)), Counts()
        loader = DataLoader(SPIRALS, sampler=uneven, seed=2)
        loader.epoch = start  # of a loop before; an epoch of training has its own number
        callbacks = [counts, AverageWeights(0.9), Checkpoint(path, every=1), *more]
        trainer.fit(loader, SPIRALS, 5, progress=False, callbacks=callbacks, **options)
        return trainer, counts

    path = tmp_path / "run"
    whole, counts = run(tmp_path / "whole")
    expected = [len(uneven(np.random.default_rng([2, epoch]))) for epoch in range(5)]
    assert counts.said == counts.had == expected and len(set(expected)) > 2
    for epoch, n in enumerate(expected):
        path.unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            run(path, Interrupt(epoch, n))
        again, _ = run(path, resume=path)
        np.testing.assert_array_equal(weights(again), weights(whole), err_msg=f"from {epoch}")
        assert again.history == whole.history


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_resume_is_exact_with_everything_at_once(tmp_path, mixed_precision, device):
    def run(path, *more):
        trainer = spiral_trainer(
            accumulate=2, mixed_precision=mixed_precision, clip_norm=1.0, **exact(device)
        )  # fmt: skip
        if mixed_precision:
            trainer.scaler.factor, trainer.scaler.every = 2.0**22, 4  # it changes soon, both ways
        path = tmp_path / path
        trainer.fit(
            SPIRALS, 0.2, 3, batch_size=32, progress=False, resume=path, class_weight=[1, 2, 0.5],
            sample_weight=np.linspace(0, 2, 300),
            callbacks=[Checkpoint(path, every=1), AverageWeights(0.9), *more],
        )  # fmt: skip
        return trainer

    whole = run("whole.safetensors")
    for at in [(0, 2), (1, 6), (2, 8)]:  # two batches to an update, eight to an epoch
        path = f"run{at}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            run(path, Interrupt(*at))
        again = run(path)
        np.testing.assert_array_equal(weights(again), weights(whole))
        assert again.history == whole.history
        if mixed_precision:
            assert again.scaler.state_dict() == whole.scaler.state_dict()
            assert whole.scaler.factor != 2.0**22


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"mixed_precision": True}, {"compile": EXACT}])
@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
def test_a_run_goes_on_on_another_device(tmp_path, back, options, device):
    """To the bit where the other device is NumPy too, as the stand-in is."""
    one, two = (device, "cpu") if back else ("cpu", device)
    whole, first, second = (
        spiral_trainer(dropout=0.0, clip_norm=1.0, device=d, **options) for d in (one, one, two)
    )

    def fit(trainer, *more, **resume):
        callbacks = [AverageWeights(0.9), Checkpoint(tmp_path / "run", every=3), *more]
        trainer.fit(loader(), SPIRALS, 3, progress=False, callbacks=callbacks, **resume)

    fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(first, Interrupt(1, 4))
    fit(second, resume=tmp_path / "run")
    assert {t.device for _, t in second.model.tensors()} == {two}
    tolerance = 0.02 if device == "cuda" else 0.0
    np.testing.assert_allclose(weights(second), weights(whole), tolerance, tolerance)
    for name, values in whole.history.items():
        np.testing.assert_allclose(second.history[name], values, tolerance)


KILLED = """
    import os, signal, sys
    sys.path[:0] = [{tests!r}, {root!r}]
    from test_trainer import *

    class Kill(Callback):
        def on_batch_end(self, trainer):
            if (trainer.epoch, trainer.batch) == (1, 8):
                os.kill(os.getpid(), getattr(signal, "SIGKILL", 9))  # on Windows any number ends it

    trainer = spiral_trainer()
    callbacks = [Checkpoint({path!r}, every=3)] + ([Kill()] if sys.argv[1] == "kill" else [])
    trainer.fit(SPIRALS, epochs=3, batch_size=32, progress=False, callbacks=callbacks,
                resume={path!r})
    print(weights(trainer).tobytes().hex())
"""


@pytest.mark.slow
def test_a_run_killed_in_the_middle_of_an_epoch_ends_in_the_same_bits(tmp_path):
    def run(path, how):
        code = KILLED.format(tests=str(HERE), root=str(ROOT), path=str(path))
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), how], capture_output=True, text=True
        )

    whole = run(tmp_path / "whole.safetensors", "run")
    assert whole.returncode == 0, whole.stderr
    killed = run(tmp_path / "killed.safetensors", "kill")
    assert killed.returncode == (9 if os.name == "nt" else -signal.SIGKILL)
    _, metadata = io.load(tmp_path / "killed.safetensors")
    place = json.loads(metadata["minidl.trainer"])
    assert (place["epoch"], place["batch"]) == (1, 6), "the last checkpoint is inside an epoch"
    resumed = run(tmp_path / "killed.safetensors", "run")
    assert resumed.stdout == whole.stdout and len(whole.stdout) > 1000


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    io.save(tmp_path / "a", {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="holds arrays, but no training state"):
        spiral_trainer().load(tmp_path / "a")
    other = nn.Sequential(nn.Linear(2, 3))
    Trainer(other, optim.SGD(other.parameters()), F.mse).save(tmp_path / "b")
    with pytest.raises(ValueError, match="does not fit Sequential"):
        spiral_trainer().load(tmp_path / "b")


# ---- groups of parameters, and the rate


def grouped_trainer(schedule=None, own=None, **options):
    """A body with a rate and a decay of its own, and a head."""
    minidl.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 3))
    body = {"params": model[0].parameters(), "lr": 0.002, "weight_decay": 0.1}
    if own is not None:
        body["schedule"] = own
    groups = [body, {"params": model[2].parameters()}]
    optimizer = optim.SGD(groups, 0.02, momentum=0.9, schedule=schedule)
    return Trainer(model, optimizer, "cross_entropy", ["accuracy"], **options)


@pytest.mark.parametrize(
    "options", [{}, {"compile": True}, {"accumulate": 2}, {"mixed_precision": True}]
)
def test_groups_train_as_an_optimiser_for_each_would(options, device):
    trainer = grouped_trainer(optim.step_decay(3, 0.5), clip_norm=1.0, device=device, **options)
    start = weights(trainer)
    trainer.fit(SPIRALS, epochs=2, progress=False)

    class Both(optim.Optimizer):
        """The two in one, by hand."""

        def __init__(self, model):
            super().__init__(model.parameters(), 0.02)
            rate = {"momentum": 0.9, "schedule": optim.step_decay(3, 0.5)}
            self.two = (
                optim.SGD(model[0].parameters(), 0.002, weight_decay=0.1, **rate),
                optim.SGD(model[2].parameters(), 0.02, **rate),
            )

        def step(self):
            for one in self.two:
                one.step()
            self.steps += 1

    other = grouped_trainer(clip_norm=1.0, device=device, **options | {"compile": False})
    other.optimizer = Both(other.model)
    other.fit(SPIRALS, epochs=2, progress=False)
    assert (weights(other) != start).any(), "nothing was trained"
    np.testing.assert_allclose(weights(trainer), weights(other), rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("compile", [False, EXACT])
@pytest.mark.parametrize("groups", [False, True])
def test_a_checkpoint_brings_back_each_rate(tmp_path, groups, compile):
    """Also one that was changed while the run went on, and what a group has of its own."""

    class Lower(Callback):
        def on_epoch_end(self, trainer):
            trainer.optimizer.lr *= 0.5
            if groups and trainer.epoch == 1:
                trainer.optimizer.groups[0].lr = 0.01

    def run(path, *more):
        if groups:
            trainer = grouped_trainer(optim.cosine(100), compile=compile)
        else:
            trainer = spiral_trainer(compile=compile)
        trainer.fit(
            loader(), SPIRALS, 4, progress=False, resume=tmp_path / path,
            callbacks=[Checkpoint(tmp_path / path, every=1), Lower(), *more],
        )  # fmt: skip
        return trainer

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("part", Interrupt(2, 5))
    again = run("part")
    np.testing.assert_array_equal(weights(again), weights(whole))
    assert again.history == whole.history
    rates = [one.lr for one in (again.optimizer, *again.optimizer.groups)]
    assert rates == [one.lr for one in (whole.optimizer, *whole.optimizer.groups)]
    assert rates[0] == 0.02 / 16 and rates[1:] == ([0.01 / 8, 0.02 / 16] if groups else [])


def test_the_finder_scales_the_rates_of_groups_and_asks_no_schedule(device):
    def found(**options):
        trainer = grouped_trainer(device=device, **options)
        return find_rate(trainer, SPIRALS, steps=8, lowest=1e-3), trainer

    plain, trainer = found()
    with_schedules, _ = found(schedule=optim.cosine(3), own=optim.step_decay(1, 0.1))
    assert with_schedules == plain and len(plain["rate"]) == 8
    assert [one.lr for one in trainer.optimizer.groups] == [0.002, 0.02]

    class Own(Callback):
        def on_epoch_begin(self, trainer):
            trainer.optimizer.lr *= 0.5

    trainer.fit(SPIRALS, epochs=2, progress=False, callbacks=[Own()])
    np.testing.assert_allclose([one.lr for one in trainer.optimizer.groups], [0.0005, 0.005])


def test_a_group_with_what_makes_schedules_is_refused():
    with pytest.raises(TypeError, match="schedule: expected a function"):
        grouped_trainer(own=optim.cosine)


# ---- a loss that is not finite


def diverging(device, loss=None, rate=0.1, data=None):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3))
    optimizer = optim.SGD(model.parameters(), rate)
    trainer = Trainer(model, optimizer, loss or F.cross_entropy, device=device)
    trainer.fit(data or SPIRALS, epochs=3, progress=False)


def log_of_negative(y, labels):
    return ops.log(y - 100).mean()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_loss_that_becomes_nan_stops_and_names_the_operation(device):
    with pytest.raises(FloatingPointError) as caught:
        diverging(device, log_of_negative)
    assert "the loss became nan at step 0 (epoch 1, batch 1)" in str(caught.value)
    assert "the operation 'log' on shapes (64, 3) first produced it" in str(caught.value)
    with pytest.raises(FloatingPointError, match=r"parameter '0\.weight' was no longer finite"):
        diverging(device, lambda y, t: (y * y).sum() * 1e18, rate=1e30)
    broken = ArrayDataset(np.full((64, 2), np.nan, "f"), np.zeros(64, int))
    with pytest.raises(FloatingPointError, match=r"'matmul'|an input"):
        diverging(device, data=broken)


def test_clipping(device):
    clipped = spiral_trainer(clip_norm=1e-3, device=device)
    start = weights(clipped)
    clipped.optimizer = optim.SGD(clipped.model.parameters(), 1.0)
    clipped.train_step(SPIRALS[:64])
    assert 0.9e-3 < np.linalg.norm(weights(clipped) - start) < 1.1e-3


# ---- the learning-rate finder


def test_the_finder_goes_through_the_rates_and_stops_when_the_loss_explodes(device):
    trainer = linear_trainer(device=device)
    targets = X @ np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]], "f")
    found = find_rate(
        trainer, ArrayDataset(X, targets), lowest=1e-4, highest=1e5, steps=91, batch_size=7
    )
    rates, losses = found["rate"], found["loss"]
    assert len(rates) == len(losses) < 91
    np.testing.assert_allclose(rates[:11:10], [1e-4, 1e-3], rtol=1e-5, atol=1e-8)
    best = rates[int(np.argmin(losses))]
    assert 0.1 < best < 100 and rates[-1] > best and losses[-1] > 4 * losses[0] * 0.7
    assert max(losses[:-1]) <= min(losses) + 3 * losses[0]
    trainer.optimizer.schedule = optim.cosine(2)
    again = find_rate(
        trainer, ArrayDataset(X, targets), lowest=1e-4, highest=1e5, steps=91, batch_size=7
    )
    assert again == found, "the rates are those that it says, whatever the schedule"
    slow = find_rate(trainer, ArrayDataset(X, targets), highest=1e-5)
    assert len(slow["rate"]) == 100 and slow["rate"][0] == pytest.approx(1e-6)


@pytest.mark.parametrize("compile", [EXACT, {"passes": EXACT}, {}])
def test_passes_or_options_of_compile(compile):
    eager, compiled = linear_trainer(), linear_trainer(compile=compile)
    for trainer in (eager, compiled):
        trainer.fit(X, X @ np.ones((2, 3), "float32"), progress=False)
    assert (compiled.compiled is None) == (compile == {})
    np.testing.assert_allclose(weights(compiled), weights(eager), rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"mixed_precision": True}, {"compile": True}])
def test_the_finder_leaves_all_as_it_was(options, device):
    def run(search):
        trainer = spiral_trainer(**options, **exact(device))
        trainer.optimizer.schedule = optim.cosine(100)
        trainer.fit(SPIRALS, epochs=1, progress=False)
        if search:
            found = find_rate(trainer, SPIRALS, steps=12)
            np.testing.assert_allclose(
                found["rate"], np.geomspace(1e-6, 1, 12)[: len(found["rate"])], rtol=1e-5, atol=1e-8
            )
        trainer.fit(SPIRALS, epochs=2, progress=False)
        return trainer

    plain, searched = run(False), run(True)
    np.testing.assert_array_equal(weights(plain), weights(searched))
    assert plain.history == searched.history
    assert searched.optimizer.steps == 15 and searched.optimizer.lr == 0.02


def test_the_finder_ends_where_the_loss_is_no_longer_finite(device):
    trainer = linear_trainer(lambda y, target: (y * y).sum() * 1e18, device=device)
    found = find_rate(trainer, ArrayDataset(X, X), lowest=1e30, highest=1e32, steps=4)
    assert len(found["rate"]) == len(found["loss"]) == 1


def test_the_finder_needs_a_range():
    for options in ({"lowest": 0.0}, {"lowest": 1.0, "highest": 0.1}, {"steps": 1}):
        with pytest.raises(ValueError, match="expected 0 < lowest < highest"):
            find_rate(linear_trainer(), SPIRALS, **options)


@pytest.mark.parametrize(
    "y, labels",
    [
        (np.ones((3, 1)), np.ones(3)),
        (np.ones(3), np.ones((3, 1))),
        (np.eye(3), np.array([[0], [1], [2]])),
        (np.eye(3), np.array(0)),
    ],
)
@pytest.mark.parametrize("metric", [accuracy, top5])
def test_metrics_refuse_shapes_that_would_only_broadcast(metric, y, labels):
    if metric is top5 and y.shape[1:] in ((), (1,)):
        y = np.ones((3, 7))
        labels = np.zeros((3, 1), int)
    with pytest.raises(ValueError, match=r"labels of shape .* belong to outputs .*, got"):
        metric(Tensor(y), Tensor(labels))


@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_that_one_thread_trains_is_not_evaluated_by_another(compiled):
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    data = ArrayDataset(x, np.zeros(64, int))
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.0), "cross_entropy", compile=compiled)
    expected, found = trainer.predict(x), []

    class Look(Callback):
        def on_batch_end(self, trainer):
            if found:
                return
            with ThreadPoolExecutor(1) as pool:  # another thread, in the middle of an epoch
                for look in (lambda: trainer.predict(x), lambda: trainer.evaluate(data)):
                    with pytest.raises(RuntimeError, match=r"another thread trains .*deepcopy"):
                        pool.submit(look).result(60)
                found.append(pool.submit(lambda: deepcopy(model).eval()(Tensor(x))).result(60))
            np.testing.assert_array_equal(trainer.predict(x), expected, "this thread may")

    trainer.fit(data, epochs=2, progress=False, callbacks=[Look()])
    np.testing.assert_array_equal(found[0].numpy(), expected)
    np.testing.assert_array_equal(trainer.predict(x), expected)
    with nn.evaluating(model), pytest.raises(RuntimeError, match="evaluates or trains this model"):
        trainer.fit(data, progress=False)
    trainer.fit(data, progress=False)


# ---- a loader's threads end with what iterates over it


def loader_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("minidl-loader")]


def broken(*_):
    """A loss, metric or layer that fails at its second call."""
    broken.calls += 1
    if broken.calls == 2:
        raise broken.error


class Broken(nn.Module):
    def forward(self, x):
        broken()
        return x


class BrokenCallback(Callback):
    def on_batch_end(self, trainer):
        broken()


def breaking(place):
    """A trainer, and its callbacks, of which one part fails."""

    def loss(y, target):
        broken()
        return F.cross_entropy(y, target)

    def metric(y, target):
        broken()
        return 0.0

    parts = [nn.Linear(2, 3)]
    if place == "model":
        parts.append(Broken())
    trainer = Trainer(
        model := nn.Sequential(*parts), optim.SGD(model.parameters()),
        loss if place == "loss" else "cross_entropy", [metric] if place == "metric" else [],
    )  # fmt: skip
    return trainer, [BrokenCallback()] if place == "callback" else []


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt("broken")])
@pytest.mark.parametrize(
    "use, places",
    [
        ("fit", ["callback", "loss", "metric", "model"]),
        ("evaluate", ["loss", "metric", "model"]),
        ("predict", ["model"]),
        ("find_rate", ["loss", "model"]),
    ],
)
def test_no_thread_of_a_loader_outlives_an_exception(use, places, error):
    for place in places:
        assert loader_threads() == []
        trainer, callbacks = breaking(place)
        slow = DataLoader(SPIRALS, 10, workers=2)
        broken.calls, broken.error = 0, error
        with pytest.raises(type(error), match="broken") as caught:
            if use == "fit":
                trainer.fit(slow, SPIRALS, callbacks=callbacks, progress=False)
            elif use == "find_rate":
                find_rate(trainer, slow)
            else:
                getattr(trainer, use)(slow)
        assert caught.traceback and loader_threads() == [], (use, place)


def test_no_thread_of_a_loader_outlives_a_search_that_ends_early():
    trainer = linear_trainer(lambda y, t: (y * y).sum() * 1e3)
    losses = find_rate(trainer, DataLoader(SPIRALS, 10, workers=2), highest=1e3)["loss"]
    assert len(losses) < 100 and loader_threads() == []


def test_accuracy_of_probabilities_is_refused():
    """It takes logits: all probabilities are above 0, so each would count as 1."""
    model = nn.Sequential(nn.Linear(2, 1), nn.Sigmoid())
    with pytest.raises(ValueError, match=r"accuracy takes logits.*bce_with_logits"):
        Trainer(model, optim.SGD(model.parameters(), lr=0.1), "bce", "accuracy")


def test_accuracy_of_several_labels_a_sample_is_refused():
    y = tensor(np.eye(3, dtype="float32"))
    assert accuracy(y, tensor(np.eye(3, dtype="float32"))) == 1.0
    with pytest.raises(ValueError, match=r"several labels a sample.*metric of your own"):
        accuracy(y, tensor(np.ones((3, 3), "float32")))
    with pytest.raises(ValueError, match="several labels a sample"):
        accuracy(y, tensor(np.array([[1.0, 0, 0], [0, 1, 0], [1, 1, 0]], "float32")))


def test_a_state_of_another_optimiser_is_refused_and_changes_nothing(tmp_path):
    saved = spiral_trainer()
    saved.fit(SPIRALS, progress=False)
    saved.save(tmp_path / "adam.safetensors")
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 3))
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), F.cross_entropy)
    before = weights(trainer)
    with pytest.raises(ValueError, match="saved with another optimiser than this SGD"):
        trainer.load(tmp_path / "adam.safetensors")
    np.testing.assert_array_equal(weights(trainer), before)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_accuracy_beside_a_loss_for_numbers_is_refused(loss):
    """It would say 1.0 of any two positive numbers; rows with one 1 each are classes there too."""
    model = nn.Linear(2, 1)
    trainer = Trainer(model, optim.SGD(model.parameters()), loss, ["accuracy"])
    for numbers in (LABELS[:, None].astype("float32"), (LABELS[:, None] > 0).astype("float32")):
        with pytest.raises(ValueError, match="accuracy is for classes, and the loss for numbers"):
            trainer.fit(X, numbers, progress=False)
    trainer = Trainer(model, optim.SGD(model.parameters()), {"a": loss}, {"a": "accuracy"})
    with pytest.raises(ValueError, match="the loss for numbers"):
        trainer.step.trainer.metrics["a_accuracy"](*[{"a": tensor(X[:, :1])}] * 2)
    rows, trainer = np.eye(3, dtype="float32")[LABELS], linear_trainer(loss, metrics=["accuracy"])
    found = trainer.evaluate(X, rows)["accuracy"]
    assert found == accuracy(tensor(trainer.predict(X)), tensor(LABELS)) and 0 < found < 1


def test_accuracy_of_numbers_is_refused():
    y = tensor([[0.5], [2.0]])
    for numbers in ([[3.0], [4.0]], [[0.0], [-1.0]], [[1.0], [np.nan]]):
        with pytest.raises(ValueError, match="labels are 0 or 1"):
            accuracy(y, tensor(numbers))
    assert accuracy(y, tensor([[0.0], [0.9]])) == 0.5, "probabilities, by the nearer"
    assert accuracy(y, tensor([[0.4], [0.6]])) == 0.5


def test_accuracy_of_arrays_and_lists():
    y, labels = np.float32([[1, 3], [2, 0]]), np.array([1, 1])
    assert accuracy(y, labels) == accuracy(y.tolist(), labels.tolist()) == 0.5
    assert accuracy(y, np.eye(2)[labels]) == 0.5
    assert accuracy(tensor(y), labels) == 0.5


@pytest.mark.parametrize("how", [{}, {"compile": True}])
def test_a_metric_that_gives_many_numbers_is_refused(how):
    metrics = {"hits": lambda y, t: y.argmax(1) == t}
    trainer = linear_trainer("cross_entropy", metrics=metrics, **how)
    with pytest.raises(TypeError, match=r"metrics: 'hits' must give one number .* \(20,\)"):
        trainer.fit(X, LABELS, progress=False)


def test_metrics_may_be_set_later():
    trainer = linear_trainer("cross_entropy", metrics=None)
    assert trainer.fit(X, LABELS, progress=False).keys() == {"loss"}
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        trainer.metrics = ["acuracy"]
    trainer.metrics = ["accuracy"]
    assert trainer.evaluate(X, LABELS).keys() == {"loss", "accuracy"}


def test_a_loss_that_is_not_finite_says_what_may_help():
    trainer = linear_trainer("cross_entropy")
    trainer.optimizer.lr = 1e30
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(FloatingPointError, match=r"learning rate .* a tenth of it"),
    ):
        trainer.fit(1e6 * X, LABELS, epochs=50, progress=False)


def test_a_forward_without_return_is_named():
    class Silent(nn.Linear):
        def forward(self, x):
            super().forward(x)

    with pytest.raises(TypeError, match=r"got a NoneType: .* ends without return"):
        model = Silent(2, 3)
        trainer = Trainer(model, optim.SGD(model.parameters()), "cross_entropy")
        trainer.fit(X, LABELS, progress=False)


def test_the_weights_of_a_checkpoint_are_loaded_by_a_trainer(tmp_path):
    trainer = linear_trainer("cross_entropy")
    trainer.fit(X, LABELS, progress=False)
    trainer.save(tmp_path / "run.safetensors")
    arrays, _ = io.load(tmp_path / "run.safetensors")
    before = weights(trainer).copy()
    with pytest.raises(ValueError, match=r"a Trainer's checkpoint; trainer\.load\(path\)"):
        trainer.model.load_state_dict(arrays)
    np.testing.assert_array_equal(weights(trainer), before)
