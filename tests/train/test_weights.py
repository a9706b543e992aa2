"""Samples that count more or less, and samples that are held out: of any data set, none copied."""

import tracemalloc

import numpy as np
import pytest

from minidl import nn, optim
from minidl.data import ArrayDataset, DataLoader, Subset, split
from minidl.train import Trainer
from minidl.train.weights import prepared

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3)).astype(np.float32)
Y = RNG.integers(0, 2, 30)
WEIGHT = RNG.random(30)
PAIRS = [(x, y) for x, y in zip(X, Y)]


class Own:
    """A data set of somebody's own, that takes whole numbers alone."""

    def __len__(self):
        return 30

    def __getitem__(self, i):
        assert type(i) is int
        return PAIRS[i]


KINDS = {
    "arrays": ArrayDataset(X, Y),
    "list": PAIRS,
    "own": Own(),
    "part": Subset(ArrayDataset(np.r_[X[::-1], X], np.r_[Y[::-1], Y]), np.arange(30, 60)),
}
by_kind = pytest.mark.parametrize("kind", KINDS)


def batches(dataset):
    return [a.tolist() for batch in DataLoader(dataset, 7) for a in batch]


@by_kind
def test_a_share_is_held_out_of_any_data_set(kind):
    train, valid = prepared(KINDS[kind], 0.2, None, seed=3)
    expected_valid, expected_train = split(ArrayDataset(X, Y), 0.2, seed=3)
    assert batches(train) == batches(expected_train)
    assert batches(valid) == batches(expected_valid)


@by_kind
@pytest.mark.parametrize("valid", [None, 0.4])
def test_weights_go_with_their_samples(kind, valid):
    found = prepared(KINDS[kind], valid, WEIGHT, seed=3)
    expected = prepared(ArrayDataset(X, Y, WEIGHT), valid, True, seed=3)
    for part, other in zip(found, expected):
        if other is not None:
            assert batches(part) == batches(other)
    if valid:
        assert len(next(iter(DataLoader(found[1])))) == 2, "what is held out has no weights"


@by_kind
def test_training_is_the_same_of_any_data_set(kind):
    def trained(dataset):
        model = nn.Linear(3, 2)
        for p in model.parameters():
            p.data[:] = 0.1
        trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), "cross_entropy")
        return trainer.fit(dataset, 0.2, 3, sample_weight=WEIGHT, progress=False)

    assert trained(KINDS[kind]) == trained(ArrayDataset(X, Y))


def test_what_is_no_sample_gets_no_weight():
    train, _ = prepared([[1.0, 2.0], [3.0, 4.0]], None, [1, 1], seed=0)
    with pytest.raises(RuntimeError, match=r"items are tuples \(see ArrayDataset\), got .*list"):
        list(DataLoader(train))
    with pytest.raises(ValueError, match=r"each sample of a data set, got shape \(2,\) for a list"):
        prepared(PAIRS, None, [1, 1], seed=0)


def test_nothing_on_disk_is_copied_on_the_way_into_batches(tmp_path):
    """16 MB on disk: trained on with a share held out and with weights, and predicted from."""
    path = tmp_path / "x.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float32, (4096, 1024))
    x[:, 0] = np.arange(4096) % 2
    x.flush()
    mapped = np.load(path, mmap_mode="r")
    dataset = ArrayDataset(mapped, np.arange(4096) % 2)
    model = nn.Linear(1024, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), "cross_entropy")
    options = {"batch_size": 16, "progress": False}
    trainer.fit(Subset(dataset, np.arange(64)), 0.2, **options, sample_weight=np.ones(64))
    weight = np.ones(4096)
    for use in (
        lambda: trainer.fit(dataset, 0.2, **options),
        lambda: trainer.fit(dataset, **options, sample_weight=weight),
        lambda: trainer.evaluate(dataset, batch_size=16),
        lambda: trainer.predict(mapped, batch_size=16),
        lambda: trainer.predict((mapped,), batch_size=16),
    ):
        tracemalloc.start()
        try:
            use()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < x.nbytes / 10


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_weight_below_zero_or_not_a_number_is_refused(wrong):
    weight = np.where(np.arange(30) == 20, wrong, 1.0)
    model = nn.Linear(3, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), "cross_entropy")
    said = rf"sample_weight.*: expected numbers from 0 on, got {wrong}"
    with pytest.raises(ValueError, match=said):
        trainer.fit(X, Y, epochs=1, sample_weight=weight, progress=False)
    with pytest.raises(ValueError, match=said):
        trainer.fit(ArrayDataset(X, Y, weight), epochs=1, sample_weight=True, progress=False)
    for given in ({0: 1.0, 1: wrong}, [1.0, wrong]):
        with pytest.raises(ValueError, match="class_weight: expected numbers from 0 on"):
            trainer.fit(X, Y, epochs=1, class_weight=given, progress=False)
