"""Data sets and the loader: every batch exact, no thread left behind."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import closing
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import (
    ArrayDataset,
    DataLoader,
    Subset,
    balanced,
    pad_collate,
    pad_sequence,
    split,
    text,
    weighted,
)

# Without a thread, twice said; with one and with several.
HOW = [
    {"workers": 0}, {"prefetch": 0}, {"prefetch": 1}, {}, {"prefetch": 5},
    {"workers": 3, "prefetch": 1}, {"workers": 4, "prefetch": 2},
]  # fmt: skip
by_all = pytest.mark.parametrize("how", HOW, ids=str)


def numbers(n=23):
    """Samples that show their own index: x (n, 2), y (n,)."""
    index = np.arange(n)
    return ArrayDataset(np.stack([index, -index], 1).astype(np.float32), index)


def shaken(batch, rng):
    """A transform that draws, and takes a time that differs from batch to batch."""
    time.sleep(0.002 * (int(batch[1][0]) % 3))
    x, y = batch
    return x + rng.standard_normal(x.shape).astype(np.float32), y


def same(batches, others):
    batches, others = list(batches), list(others)
    assert len(batches) == len(others)
    for batch, other in zip(batches, others):
        assert len(batch) == len(other)
        for a, b in zip(batch, other):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def threads_of(how):
    """How many threads a loader with these options has."""
    return how.get("workers", 1) if how.get("prefetch", 2) else 0


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("minidl")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert threads() == []


class Squares:
    """A data set that is no ArrayDataset: item i is (an array, a number)."""

    def __len__(self):
        return 7

    def __getitem__(self, i):
        assert type(i) is int
        if not 0 <= i < 7:
            raise IndexError(i)
        return np.full((2, 3), i, dtype=np.float32), i * i


# --- data sets -----------------------------------------------------------------------------


def test_array_dataset_gives_tuples():
    dataset = ArrayDataset([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [0, 1, 0], classes=["a", "b"])
    assert len(dataset) == 3
    assert dataset.classes == ["a", "b"]
    assert [a.shape for a in dataset.arrays] == [(3, 2), (3,)]
    x, y = dataset[2]
    assert x.tolist() == [5, 6] and y == 0
    x, y = dataset[1:]
    assert x.tolist() == [[3, 4], [5, 6]] and y.tolist() == [1, 0]
    x, y = dataset[np.array([2, 0, 2])]
    assert x[:, 0].tolist() == [5, 1, 5] and y.tolist() == [0, 0, 0]
    assert ArrayDataset([1, 2]).classes is None
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    "arrays, lengths",
    [((), r"\[\]"), (([1, 2], [1, 2, 3]), r"\[2, 3\]"), (([1, 2], 5), r"\[2, None\]")],
)
def test_arrays_of_different_lengths_are_refused(arrays, lengths):
    with pytest.raises(ValueError, match=f"one length.*{lengths}"):
        ArrayDataset(*arrays)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(0, 60), fraction=st.floats(0, 1), seed=st.integers(0, 5))
def test_split_is_disjoint_and_complete(n, fraction, seed):
    dataset = ArrayDataset(np.arange(n), np.arange(n) * 2, classes=["c"])
    first, second = split(dataset, fraction, seed=seed)
    assert len(first) == round(fraction * n)
    assert sorted([*first[:][0], *second[:][0]]) == list(range(n))
    for part in (first, second):
        np.testing.assert_array_equal(part[:][1], part[:][0] * 2)
        assert part.classes == ["c"]
    same([first[:], second[:]], [part[:] for part in split(dataset, fraction, seed=seed)])


def test_split_is_shuffled_by_its_seed():
    orders = [split(numbers(50), 0.5, seed=seed)[0][:][1].tolist() for seed in range(3)]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != orders[1] != orders[2]


@by_all
def test_an_array_on_disk_stays_there(tmp_path, how):
    """16 MB on disk; a data set of them, its parts and all batches never take a tenth of that."""
    path = tmp_path / "x.npy"
    x = np.lib.format.open_memmap(path, "w+", np.float32, (4096, 1024))
    x[:, 0] = np.arange(4096)
    x.flush()
    mapped = np.load(path, mmap_mode="r")
    y = np.arange(4096)
    tracemalloc.start()
    try:
        dataset = ArrayDataset(mapped, y)
        assert np.shares_memory(dataset.arrays[0], mapped)
        assert np.shares_memory(dataset[100:200][0], mapped)
        for part in (dataset, *split(dataset, 0.3), Subset(dataset, np.arange(100))):
            for batch, labels in DataLoader(part, 16, shuffle=True, **how):
                assert not np.shares_memory(batch, mapped), "a transform may write to its batch"
                np.testing.assert_array_equal(batch[:, 0], labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 10


@pytest.mark.parametrize("given", [np.zeros(4), (np.zeros(4), np.ones(4)), DataLoader([(1, 2)])])
def test_split_refuses_what_is_no_data_set(given):
    what = type(given).__name__
    with pytest.raises(ValueError, match=rf"such as ArrayDataset\(x, y\).*got {what} and 0\.5"):
        split(given, 0.5)


class Watched(Squares):
    """Remembers which samples were read."""

    def __init__(self):
        self.read = []

    def __getitem__(self, i):
        self.read.append(i)
        return super().__getitem__(i)


def test_split_of_any_data_set_reads_nothing():
    watched = Watched()
    first, second = split(watched, 0.4, seed=1)
    assert (len(first), len(second), watched.read) == (3, 4, [])
    assert first.classes is None
    drawn = np.hstack([y for part in (first, second) for _, y in DataLoader(part, 2)])
    assert sorted(drawn) == [i * i for i in range(7)]
    assert sorted(watched.read) == list(range(7)), "each is read once"
    pairs = [(i, 10 * i) for i in range(10)]  # a list will do
    parts = split(pairs, 0.3)
    assert sorted(part[k] for part in parts for k in range(len(part))) == pairs


def test_a_subset_is_the_samples_in_its_order():
    for dataset in (numbers(7), [(x, y) for x, y in zip(*numbers(7).arrays)]):
        subset = Subset(dataset, [5, 0, 5, 2])
        assert len(subset) == 4
        x, y = subset[3]
        assert x.tolist() == [2, -2] and y == 2
        assert subset[-1][1] == 2
        for index, wanted in [
            (slice(None), [5, 0, 5, 2]), (slice(1, 3), [0, 5]), (np.array([3, 0]), [2, 5]),
            ([1], [0]),
        ]:  # fmt: skip
            x, y = subset[index]
            assert y.tolist() == wanted and x[:, 1].tolist() == [-i for i in wanted]
        again = Subset(subset, [3, 1])
        assert again[:][1].tolist() == [2, 0]
        assert [y.tolist() for _, y in DataLoader(again, 2)] == [[2, 0]]
        with pytest.raises(IndexError):
            subset[4]
    assert Subset(ArrayDataset([1, 2], classes=["a", "b"]), [0]).classes == ["a", "b"]
    assert len(Subset(numbers(7), [])) == 0


def test_a_subset_of_arrays_is_read_a_batch_at_a_time():
    asked = []

    class Noted(ArrayDataset):
        def __getitem__(self, index):
            asked.append(len(index))
            return super().__getitem__(index)

    part = Subset(Subset(Noted(np.arange(20)), np.arange(3, 18)), np.arange(10))
    same(DataLoader(part, 4), [(np.arange(a, b),) for a, b in ((3, 7), (7, 11), (11, 13))])
    assert asked == [4, 4, 2]


@pytest.mark.parametrize("indices", [[7], [-1], [0.5], [True] * 7], ids=str)
def test_what_a_subset_cannot_be_made_of(indices):
    with pytest.raises(ValueError, match=r"Subset: expected indices in \[0, 7\), got \["):
        Subset(numbers(7), indices)


@by_all
def test_a_subset_of_samples_that_fail_names_the_sample(how):
    class Broken(Squares):
        def __getitem__(self, i):
            raise OSError(f"no file {i}.png")

    with pytest.raises(RuntimeError, match=r"\(sample 0\) failed: OSError: no file 5.png"):
        list(DataLoader(Subset(Broken(), [5, 1]), 2, **how))


@pytest.mark.parametrize("kind", ["csr_matrix", "csr_array", "csc_array", "coo_array"])
def test_a_sparse_matrix_becomes_arrays_where_it_is_asked_for(kind):
    sparse = pytest.importorskip("scipy.sparse")
    x = np.random.default_rng(0).integers(-1, 2, (9, 4)).astype(np.float32)
    dataset, dense = ArrayDataset(getattr(sparse, kind)(x), np.arange(9)), ArrayDataset(x, range(9))
    assert len(dataset) == 9
    for index in (0, -1, np.int64(3), slice(2, 5), np.array([8, 0, 8]), [1], slice(0, 0)):
        same([dataset[index]], [dense[index]])
    same(DataLoader(dataset, 4, shuffle=True), DataLoader(dense, 4, shuffle=True))
    for part, other in zip(split(dataset, 0.3), split(dense, 0.3)):
        same(DataLoader(part, 2), DataLoader(other, 2))
        same([part[:]], [other[:]])
    with pytest.raises(ValueError, match=r"one length.*\[9, 8\]"):
        ArrayDataset(getattr(sparse, kind)(x), np.arange(8))


def test_a_sparse_matrix_is_never_dense_as_a_whole():
    """320 MB as an array, in batches of 160 kB."""
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random_array((2000, 40_000), density=1e-4, dtype=np.float32, rng=0).tocsr()
    tracemalloc.start()
    try:
        first, second = split(ArrayDataset(x, np.arange(2000)), 0.1)
        total = sum(batch.sum() for part in (first, second) for batch, _ in DataLoader(part, 1))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.isclose(total, x.sum(), rtol=1e-4)
    assert peak < 5e6


def test_samples_of_different_shapes_are_no_arrays():
    with pytest.raises(ValueError, match="differ in shape: pad_collate"):
        ArrayDataset([[1, 2], [3]], [0, 1])


@pytest.mark.parametrize("fraction", [-0.1, 1.5, 200, float("nan"), [0.8, 0.2], "0.8", None])
def test_split_refuses_what_is_no_fraction(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\], got"):
        split(numbers(), fraction)


# --- what a batch holds --------------------------------------------------------------------


@by_all
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n, size", [(23, 5), (20, 5), (3, 5), (1, 1), (0, 4), (5, 5)])
def test_batches_in_order(n, size, drop_last, how):
    loader = DataLoader(numbers(n), size, drop_last=drop_last, **how)
    index = list(range(n))
    expected = [index[i : i + size] for i in range(0, n, size)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == size]
    batches = list(loader)
    assert len(loader) == len(batches) == len(expected)
    assert [y.tolist() for _, y in batches] == expected
    assert not [(x, y) for x, y in batches if not np.array_equal(x[:, 1], -y)]


@by_all
def test_shuffled_by_seed_and_epoch(how):
    loader = DataLoader(numbers(), 5, shuffle=True, seed=3, **how)
    for epoch in range(3):
        order = np.random.default_rng([3, epoch]).permutation(23)
        assert np.concatenate([y for _, y in loader]).tolist() == order.tolist()


def test_the_epoch_advances_when_an_iterator_is_exhausted():
    loader = DataLoader(numbers(), 5, shuffle=True)
    for _ in loader:
        break
    assert loader.epoch == 0, "an epoch that was broken off is not done"
    first = list(loader)
    assert loader.epoch == 1
    same(first, loader.batches(0))
    assert loader.epoch == 1, "batches() leaves the count alone"
    loader.epoch = 7
    same(loader, loader.batches(7))
    assert loader.epoch == 8


@pytest.mark.parametrize("dataset", [numbers(), Squares()], ids=["arrays", "other"])
@pytest.mark.parametrize("transform", [None, shaken])
def test_batch_k_is_the_same_wherever_one_starts_and_whoever_makes_it(dataset, transform):
    if transform is shaken and isinstance(dataset, Squares):
        dataset = ArrayDataset(*map(np.stack, zip(*[Squares()[i] for i in range(7)])))

    def loader(how):
        return DataLoader(dataset, 3, shuffle=True, seed=1, transform=transform, **how)

    for epoch in (0, 4):
        whole = list(loader({"workers": 0}).batches(epoch))
        for how in HOW:
            for start in range(len(whole) + 1):
                same(loader(how).batches(epoch, start), whole[start:])


def test_batches_before_the_start_are_not_drawn():
    drawn = []

    class Watched(Squares):
        def __getitem__(self, i):
            drawn.append(i)
            return super().__getitem__(i)

    list(DataLoader(Watched(), 2).batches(0, start=2))
    assert drawn == [4, 5, 6]


def test_every_batch_draws_its_own_numbers():
    draws = []
    loader = DataLoader(
        numbers(6), 2, seed=5, transform=lambda batch, rng: draws.append(rng.random()) or batch
    )
    list(loader), list(loader)
    assert len(set(draws)) == 6
    # To NumPy the seeds [5, 1] and [5, 1, 0] are one; the order must not come from the same draws.
    assert np.random.default_rng([5, 1]).random() == np.random.default_rng([5, 1, 0]).random()
    assert not {np.random.default_rng([5, epoch]).random() for epoch in (0, 1)} & set(draws)


def test_a_transform_cannot_change_the_data_set():
    dataset = numbers(4)

    def spoil(batch, rng):
        batch[0][:] = 99
        return batch

    list(DataLoader(dataset, 4, transform=spoil))
    same([dataset.arrays], [numbers(4).arrays])


def test_samples_of_other_data_sets_are_stacked():
    batches = list(DataLoader(Squares(), 3))
    assert [(x.shape, y.shape) for x, y in batches] == [((3, 2, 3), (3,))] * 2 + [((1, 2, 3), (1,))]
    assert batches[0][0].dtype == np.float32
    assert np.concatenate([y for _, y in batches]).tolist() == [i * i for i in range(7)]
    pairs = [(i, float(i)) for i in range(4)]  # a list will do
    assert [y.tolist() for _, y in DataLoader(pairs, 2)] == [[0, 1], [2, 3]]


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, low", [("batch_size", 1), ("workers", 0), ("prefetch", 0), ("seed", 0)]
)
def test_numbers_that_are_too_small_or_none(name, low):
    for wrong in (low - 1, 2.5, "3", None):
        message = f"{name} must be at least {low}, an integer, got {wrong!r}"
        with pytest.raises(ValueError, match=message):
            DataLoader(numbers(), **{name: wrong})
    DataLoader(numbers(), **{name: np.int64(low)})


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_outside_the_epoch_is_refused_at_once(start):
    with pytest.raises(ValueError, match=rf"start must be in \[0, 5\], got {start}"):
        DataLoader(numbers(), 5).batches(0, start)


@by_all
def test_an_error_says_where_and_keeps_its_cause(how):
    def fail(batch, rng):
        if batch[1][0] == 6:
            raise KeyError("no such picture")
        return batch

    loader = DataLoader(numbers(20), 6, transform=fail, **how)
    loader.epoch, seen = 4, []
    with pytest.raises(RuntimeError) as caught:
        for _, y in loader:
            seen.append(y[0])
    assert seen == [0], "the batches before the wrong one arrive"
    assert str(caught.value) == (
        "batch 1 of epoch 4 (samples 6, 7, 8, 9, 10, ...) failed: KeyError: 'no such picture'"
    )
    assert isinstance(caught.value.__cause__, KeyError)
    assert loader.epoch == 4


@by_all
@pytest.mark.parametrize(
    "samples, message",
    [
        ([(1,), np.zeros(3)], r"\(sample 1\) failed: TypeError: items are tuples.*ndarray"),
        ([(1, 2), (3,)], r"\(samples 0, 1\) failed: ValueError"),
        ([(np.zeros(2), 0), (np.zeros(3), 0)], r"\(samples 0, 1\).*ValueError.*same shape"),
    ],
    ids=["no tuple", "tuples of two lengths", "two shapes"],
)
def test_samples_that_cannot_be_stacked(samples, message, how):
    with pytest.raises(RuntimeError, match=message):
        list(DataLoader(samples, 2, **how))


def test_a_pair_of_arrays_is_no_data_set():
    for wrong in ((np.zeros((4, 2)), np.zeros(4)), np.zeros(4), 3, None):
        kind = type(wrong).__name__
        with pytest.raises(TypeError, match=rf"such as ArrayDataset\(x, y\), .*, got a {kind}"):
            DataLoader(wrong)
    with pytest.raises(RuntimeError, match=r"items are tuples \(see ArrayDataset\), got .*ndarray"):
        list(DataLoader([np.zeros(4)]))


@by_all
def test_an_error_names_the_very_sample(how):
    class Folder(Squares):
        def __getitem__(self, i):
            if i in (4, 5):
                raise OSError(f"no file {i}.png")
            return super().__getitem__(i)

    seen = []
    with pytest.raises(RuntimeError) as caught:
        for _, y in DataLoader(Folder(), 3, **how):
            seen.append(y.tolist())
    assert seen == [[0, 1, 4]]
    assert str(caught.value) == "batch 1 of epoch 0 (sample 4) failed: OSError: no file 4.png"
    assert isinstance(caught.value.__cause__, OSError)


@by_all
def test_an_error_in_collate_or_transform_names_the_samples(how):
    def fail(samples, rng=None):
        raise ArithmeticError("no")

    message = r"batch 0 of epoch 0 \(samples 0, 1, 2\) failed: ArithmeticError: no"
    for name in ("collate", "transform"):
        with pytest.raises(RuntimeError, match=message):
            list(DataLoader(Squares(), 3, **{name: fail}, **how))


@by_all
def test_stop_iteration_in_a_transform_does_not_end_the_epoch_in_silence(how):
    def stop(batch, rng):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(numbers(), 5, transform=stop, **how))


@by_all
def test_an_exit_asked_for_in_a_transform_arrives(how):
    def leave(batch, rng):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(DataLoader(numbers(), 5, transform=leave, **how))


# --- the thread ----------------------------------------------------------------------------


@by_all
def test_as_many_threads_as_are_asked_for(how):
    n = threads_of(how)
    together = threading.Barrier(max(n, 1))

    def meet(batch, rng):
        if batch[1][0] < 5 * n:  # so many batches are made at once
            together.wait(10)
        return batch

    batches = iter(DataLoader(numbers(60), 5, transform=meet, **how))
    next(batches)
    assert len(threads()) == n
    batches.close()
    assert threads() == []


@pytest.mark.parametrize("workers, prefetch", [(1, 1), (1, 3), (3, 2)])
def test_the_threads_are_only_so_far_ahead(workers, prefetch):
    made = []
    loader = DataLoader(
        numbers(200), 5, workers=workers, prefetch=prefetch,
        transform=lambda batch, rng: made.append(1) or batch,
    )  # fmt: skip
    batches = loader.batches(0)
    next(batches)
    expected, deadline = 1 + workers * prefetch, time.monotonic() + 10
    while len(made) < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(made) == expected, "one is taken, the others wait"
    batches.close()


def test_order_does_not_depend_on_which_thread_is_first():
    """Batch 0 is not made before batch 1 is."""
    later = threading.Event()

    def wait(batch, rng):
        if batch[1][0] == 0:
            assert later.wait(10)
        later.set()
        return batch

    batches = DataLoader(numbers(20), 5, transform=wait, workers=2)
    assert [y[0] for _, y in batches] == [0, 5, 10, 15]


def test_it_works_while_the_reader_does():
    """While the reader uses a batch, the next one is made: it waits for that, however long."""

    def made_meanwhile(prefetch, seconds):
        made, found = [], []

        def transform(batch, rng):
            made.append(1)
            return batch

        for i, _ in enumerate(DataLoader(numbers(40), 5, transform=transform, prefetch=prefetch)):
            until = time.monotonic() + seconds
            while len(made) < min(i + 2, 8) and time.monotonic() < until:
                time.sleep(0.001)
            found.append(len(made) > i + 1)
        return found

    assert made_meanwhile(2, 60) == [True] * 7 + [False], "of the last there is no next one"
    assert made_meanwhile(0, 0.01) == [False] * 8


@by_all
def test_breaking_out_stops_the_threads(how):
    for _ in DataLoader(numbers(1000), 5, **how):
        break
    assert threads() == []


def test_breaking_out_leaves_what_waits_unmade():
    made = []

    def slow(batch, rng):
        made.append(1)
        time.sleep(0.005)
        return batch

    for _ in DataLoader(numbers(1000), 5, transform=slow, prefetch=150):
        break
    assert len(made) < 100


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a job in the background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@by_all
def test_an_interrupt_stops_the_threads(how, interruptible):
    """Ctrl-C while the reader waits for a batch."""
    n = threads_of(how)
    together, never = threading.Barrier(max(n, 1)), threading.Event()

    def interrupt(batch, rng):
        number = batch[1][0] // 5
        if number < n:
            together.wait(10)  # so all threads are there when the interrupt comes
        elif number == 20:
            if os.name == "posix":  # the whole process, as a terminal does
                os.kill(os.getpid(), signal.SIGINT)
            else:  # where os.kill ends it
                signal.raise_signal(signal.SIGINT)
            never.wait(0.2)
        return batch

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for _, y in DataLoader(numbers(1000), 5, transform=interrupt, **how):
            seen.append(y[0] // 5)
    assert seen == [*range(len(seen))] and len(seen) <= 20
    assert threads() == []


def test_an_error_in_the_loop_stops_the_thread():
    def run():
        for _ in DataLoader(numbers(1000), 5):
            raise ArithmeticError

    with pytest.raises(ArithmeticError) as caught:
        run()
    del caught
    gc.collect()
    assert threads() == []


def test_an_iterator_that_is_dropped_stops_its_thread():
    batches = DataLoader(numbers(1000), 5).batches(0)
    next(batches)
    assert len(threads()) == 1
    del batches
    assert threads() == []


@by_all
@pytest.mark.parametrize("whole_loader", [True, False])
def test_closing_ends_the_threads_though_the_error_is_kept(how, whole_loader):
    """As in a Trainer: the traceback of an error that a notebook keeps holds the iterator."""
    loader = DataLoader(numbers(1000), 5, **how)
    batches = iter(loader) if whole_loader else loader.batches(0)
    with pytest.raises(ArithmeticError) as caught, closing(batches):
        for _ in batches:
            raise ArithmeticError
    assert caught.value.__traceback__ is not None
    assert threads() == []
    assert next(batches, None) is None, "a closed iterator has no batch"
    assert loader.epoch == 0


@by_all
def test_an_iterator_that_was_never_asked_can_be_closed(how):
    DataLoader(numbers(), 5, **how).batches(0).close()


def test_closing_waits_for_no_more_than_the_batches_being_made():
    """The thread is in the middle of batch 1, and of what waits behind it nothing is begun."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def slow(batch, rng):
        if batch[1][0] == 5:
            begun.set()
            go_on.wait(10)
        made.append(batch[1][0])
        return batch

    batches = DataLoader(numbers(1000), 5, transform=slow, prefetch=50).batches(0)
    next(batches)
    assert begun.wait(10)
    threading.Timer(0.1, go_on.set).start()
    batches.close()
    assert threads() == [] and made == [0, 5]


def test_an_iterator_that_was_never_asked_starts_none():
    batches = DataLoader(numbers(1000), 5).batches(0)
    assert threads() == []
    del batches


def test_the_collector_may_run_inside_the_thread(monkeypatch):
    """An iterator in a cycle, found by the collector while the thread is at work."""
    wrong, dropped = [], threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", wrong.append)

    def transform(batch, rng):
        if batch[1][0] == 5:
            dropped.wait(10)
            gc.collect()
        return batch

    class Holder:
        pass

    gc.disable()
    try:
        holder = Holder()
        holder.me = holder
        holder.batches = DataLoader(numbers(1000), 5, transform=transform, prefetch=1).batches(0)
        next(holder.batches)
        (thread,) = threads()
        del holder
        dropped.set()
        thread.join(5)
    finally:
        gc.enable()
    assert not thread.is_alive()
    assert wrong == []


@pytest.mark.parametrize("pause", [0, 0.3])
def test_a_program_may_end_with_an_iterator_in_hand(pause):
    code = (
        "import time, numpy as np\n"
        "from minidl.data import ArrayDataset, DataLoader\n"
        f"slow = lambda batch, rng: time.sleep({pause}) or batch\n"
        "batches = iter(DataLoader(ArrayDataset(np.arange(100)), 2, transform=slow))\n"
        "print(next(batches)[0].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1]\n", "")


def test_resuming_with_several_workers_and_another_sampler():
    def loader(workers):
        sampler = balanced([0] * 20 + [1] * 3)
        return DataLoader(numbers(), 4, sampler=sampler, seed=2, transform=shaken, workers=workers)

    whole = list(loader(0).batches(3))
    for start in range(len(whole)):
        same(loader(3).batches(3, start), whole[start:])


# --- the order -----------------------------------------------------------------------------


def drawn(loader, epochs=1):
    return np.concatenate([y for _ in range(epochs) for _, y in loader])


def test_balanced_makes_all_classes_as_likely():
    labels = np.array([*"aaaaaaaaaaaaaaaaabbc" * 50])  # 17 : 2 : 1
    loader = DataLoader(numbers(1000), 64, sampler=balanced(labels), seed=1)
    found = drawn(loader, epochs=12)
    assert len(found) == 12_000
    _, counts = np.unique(labels[found], return_counts=True)
    # Binomial, so within 4 standard deviations of a third.
    assert abs(counts / 12_000 - 1 / 3).max() < 4 * (2 / 9 / 12_000) ** 0.5
    assert len(np.unique(found[labels[found] == "c"])) == 50, "each of a class is drawn"
    epochs = [drawn(loader).tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_weighted_draws_as_pytorchs_sampler_does(torch):
    """The same shares, of which PyTorch's are drawn too: chi-squared of the two tables."""
    weights = np.array([0, 1, 2, 3, 0.5, 1.5])
    n = 6000
    ours = np.concatenate([weighted(weights)(np.random.default_rng(i)) for i in range(n // 6)])
    torch.manual_seed(0)
    theirs = [*torch.utils.data.WeightedRandomSampler(torch.tensor(weights), n)]
    a, b = (np.bincount(d, minlength=6) for d in (ours, theirs))
    assert a.sum() == b.sum() == n and a[0] == b[0] == 0
    assert ((a - b)[1:] ** 2 / (a + b)[1:]).sum() < 18.5  # 4 degrees of freedom, p = 0.001
    expected = n * weights / weights.sum()
    assert ((a - expected)[1:] ** 2 / expected[1:]).sum() < 18.5


def test_a_sampler_may_be_any_function():
    def backwards(rng):
        return range(22, -1, -2)

    loader = DataLoader(numbers(), 5, sampler=backwards)
    assert [y.tolist() for _, y in loader] == [[22, 20, 18, 16, 14], [12, 10, 8, 6, 4], [2, 0]]
    assert len(loader) == 3
    loader = DataLoader(numbers(), 5, sampler=backwards, drop_last=True)
    assert len(loader) == 2 == len(list(loader))


@by_all
def test_a_sampler_may_make_the_batches(how):
    lengths = np.random.default_rng(0).integers(1, 9, 23)
    sampler = partial(text.batches_by_length, lengths, 4)
    loader = DataLoader(numbers(), sampler=sampler, seed=3, **how)
    assert len(loader) == 6
    for epoch in (0, 1):
        expected = list(sampler(np.random.default_rng([3, epoch])))
        assert [y.tolist() for _, y in loader] == [b.tolist() for b in expected]
        same(loader.batches(epoch, 2), [numbers()[b] for b in expected[2:]])


@pytest.mark.parametrize(
    "found, shown",
    [
        ([0, 23], r"\[ 0 23\]"), ([-1, 2], r"\[-1  2\]"), ([0.5], r"\[0\.5\]"), ([], r"\[\]"),
        ([True, False], "True"), ([[0, 1], [99]], "99"), ([[0], []], r"\[0\.\]"),
    ],
)  # fmt: skip
def test_a_sampler_that_gives_no_indices(found, shown):
    loader = DataLoader(numbers(), sampler=lambda rng: found)
    for use in (len, list):
        with pytest.raises(ValueError, match=r"expected indices in \[0, 23\), got .*" + shown):
            use(loader)


def test_what_cannot_be_a_sampler():
    message = "sampler must be a function rng -> indices, in place of shuffle; got "
    with pytest.raises(ValueError, match=message + "ndarray, shuffle=False"):
        DataLoader(numbers(), sampler=np.arange(23))
    with pytest.raises(ValueError, match=message + "function, shuffle=True"):
        DataLoader(numbers(), shuffle=True, sampler=balanced([0, 1]))


@pytest.mark.parametrize(
    "weights", [[], [0, 0], [1, -1], [1, np.nan], [1, np.inf], [[1, 2]], 3], ids=str
)
def test_weights_that_cannot_be_drawn_from(weights):
    with pytest.raises(ValueError, match=r"weights must be \(N,\), finite, none negative"):
        weighted(weights)


def test_an_empty_data_set_has_no_batch():
    for n, options in [(0, {}), (0, {"shuffle": True}), (3, {"drop_last": True})]:
        loader = DataLoader(numbers(n), 4, **options)
        assert len(loader) == 0 and list(loader) == []


# --- sequences -----------------------------------------------------------------------------


ragged = st.lists(st.lists(st.integers(-5, 5), max_size=7), max_size=6)


@given(ragged, st.integers(-2, 2))
def test_each_sequence_begins_its_row(sequences, value):
    y, lengths = pad_sequence(sequences, value=value)
    longest = max(map(len, sequences), default=0)
    assert y.shape == (len(sequences), longest) and y.dtype == lengths.dtype == np.int64
    assert lengths.tolist() == [len(s) for s in sequences]
    assert y.tolist() == [[*s, *[value] * (longest - len(s))] for s in sequences]


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3)], ids=str)
def test_pad_sequence_is_pytorchs(torch, dtype, shape):
    sequences = [
        np.random.default_rng(n).uniform(0, 9, (n, *shape)).astype(dtype) for n in (2, 5, 1)
    ]
    y, lengths = pad_sequence(sequences, value=7)
    tensors = [torch.tensor(s) for s in sequences]
    theirs = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=7)
    np.testing.assert_array_equal(y, theirs.numpy())
    assert y.dtype == (dtype if dtype.startswith("float") else np.int64)
    assert lengths.tolist() == [2, 5, 1]


def test_sequences_that_differ_in_more_than_length():
    with pytest.raises(ValueError, match="must match exactly"):
        pad_sequence([np.zeros((2, 3)), np.zeros((2, 4))])
    with pytest.raises(TypeError, match="no len"):
        pad_sequence([1, 2])


SENTENCES = [([5, 6, 7], [1, 0, 1], 2.0), ([8], [1], 0.5), ([], [], 1.0), ([9, 9], [0, 1], 4.0)]


@by_all
def test_pad_collate(how):
    loader = DataLoader(SENTENCES, 2, collate=partial(pad_collate, value=-1), **how)
    expected = [
        ([[5, 6, 7], [8, -1, -1]], [3, 1], [[1, 0, 1], [1, -1, -1]], [2.0, 0.5]),
        ([[-1, -1], [9, 9]], [0, 2], [[-1, -1], [0, 1]], [1.0, 4.0]),
    ]
    same(loader, [[np.array(a) for a in batch] for batch in expected])


def test_pad_collate_of_batches_of_similar_length():
    samples = [(list(range(n)), n) for n in [3, 9, 1, 8, 2, 7]]
    sampler = partial(text.batches_by_length, [n for _, n in samples], 2)
    for x, lengths, y in DataLoader(
        samples, sampler=sampler, collate=partial(pad_collate, value=0)
    ):
        assert lengths.tolist() == y.tolist() and x.shape == (2, lengths.max())
        assert lengths.max() - lengths.min() <= 5
        for row, n in zip(x, lengths):
            assert row.tolist() == [*range(n)] + [0] * (len(row) - n)


def test_tokens_are_padded_with_what_is_said_or_not_at_all():
    """0 is a token of most vocabularies, of one with `unknown` that for all unknown words."""
    vocabulary = text.Vocabulary("a b a c".split(), unknown="<unk>", special=["<pad>"])
    samples = [(vocabulary.encode(words), 1) for words in (["a", "b"], ["c"])]
    with pytest.raises(
        RuntimeError, match=r"ValueError: .* pad_sequence\(ids, value=vocabulary.numbers"
    ):
        list(DataLoader(samples, collate=pad_collate))
    collate = partial(pad_collate, value=vocabulary.numbers["<pad>"])
    x, _, _ = next(iter(DataLoader(samples, collate=collate)))
    assert vocabulary.decode(x[1]) == ["c", "<pad>"]
    with pytest.raises(ValueError, match="may be tokens"):
        pad_sequence([np.array([1, 2], np.uint8), [3]])
    assert pad_sequence([[1.5, 2.5], [3.5]])[0].tolist() == [[1.5, 2.5], [3.5, 0.0]]
    assert pad_sequence([[1, 2], [3, 4]])[0].tolist() == [[1, 2], [3, 4]], "nothing is filled up"


@pytest.mark.parametrize(
    "sequences, value, message",
    [
        ([[1, 2], [3]], 0.5, r"a value to pad with that int64 can hold, got 0\.5"),
        ([[1, 2], [3]], np.nan, "int64 can hold, got nan"),
        ([[1, 2], [3]], np.inf, "int64 can hold, got inf"),
        ([np.array([1, 2], np.uint8), np.array([3], np.uint8)], 0.5, "int64 can hold"),
        ([[True, False], [True]], -1, "bool can hold, got -1"),
        ([np.float16([1, 2]), np.float16([3])], 1e6, "float16 can hold, got 1000000"),
        ([np.float16([1, 2]), np.float16([3])], 1e-10, "float16 can hold, got 1e-10"),
        ([np.array([2**63], np.uint64), np.array([], np.uint64)], 0, "numbers that int64 can hold"),
    ],
    ids=str,
)
def test_what_the_array_cannot_hold_is_refused(sequences, value, message):
    with pytest.raises(ValueError, match=f"expected {message}|expected a value.*{message}"):
        pad_sequence(sequences, value=value)


@pytest.mark.parametrize(
    "sequences, value, expected",
    [
        ([np.array([1, 2], np.uint8), np.array([3], np.uint8)], -1, [[1, 2], [3, -1]]),
        ([[1, 2], [3]], 4.0, [[1, 2], [3, 4]]),
        ([[True, True], [True]], False, [[True, True], [True, False]]),
        ([[True, True], [True]], None, [[True, True], [True, False]]),
        ([[0.5, 2.0], [3.0]], -np.inf, [[0.5, 2.0], [3.0, -np.inf]]),
        ([[[1, 2], [3, 4]], [[5, 6]]], [7, 8], [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
    ],
    ids=str,
)
def test_what_it_can_hold_is_exact(sequences, value, expected):
    assert pad_sequence(sequences, value=value)[0].tolist() == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_value_to_pad_with_may_be_rounded(dtype):
    y, _ = pad_sequence([np.array([1, 2], dtype), np.array([3], dtype)], value=0.1)
    assert y.dtype == dtype and y[1, 1] == dtype(0.1)
    y, _ = pad_sequence([np.array([1, 2], dtype), np.array([3], dtype)], value=np.nan)
    assert np.isnan(y[1, 1])


def test_pad_collate_says_which_samples():
    with pytest.raises(RuntimeError, match=r"samples 0, 1\) failed: TypeError: .*no len"):
        list(DataLoader([(1, 2), (3, 4)], collate=pad_collate))


def test_collate_takes_the_items_of_an_array_dataset_too():
    def rows(samples):
        return [y for _, y in samples], len(samples)

    assert list(DataLoader(numbers(5), 3, collate=rows)) == [([0, 1, 2], 3), ([3, 4], 2)]


def test_stacking_is_pytorchs_default(torch):
    ours = list(DataLoader(Squares(), 3))
    theirs = list(torch.utils.data.DataLoader(Squares(), 3))
    same(ours, [[a.numpy() for a in batch] for batch in theirs])


def test_samples_of_several_forms_are_not_padded_into_one_batch():
    with pytest.raises(ValueError, match="shorter"):
        pad_collate([([1, 2], 0), ([3],)])


@pytest.mark.parametrize("transform", [None, shaken])
def test_rows_of_a_batch_are_those_of_the_whole_batch(transform):
    """What one process of several reads; what a transform draws belongs to the whole batch."""
    read = []

    class Told(ArrayDataset):
        def __getitem__(self, i):
            read.extend(np.atleast_1d(i).tolist())
            return super().__getitem__(i)

    def batches(**rows):
        data = DataLoader(Told(*numbers(8).arrays), 4, seed=1, workers=0, transform=transform)
        return [*data.batches(0, **rows)]

    whole = batches()
    read.clear()
    same(batches(rows=lambda n: slice(1, n, 2)), [[a[1::2] for a in batch] for batch in whole])
    assert read == ([1, 3, 5, 7] if transform is None else [0, 1, 2, 3, 4, 5, 6, 7])
