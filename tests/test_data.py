"""Data sets and the loader: every batch exact, no thread left behind."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.data import ArrayDataset, DataLoader, split

ROOMS = [0, 1, 2, 5]


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


def threads():
    return [t for t in threading.enumerate() if t.name == "minidl-prefetch"]


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
    assert sorted([*first.arrays[0], *second.arrays[0]]) == list(range(n))
    for part in (first, second):
        np.testing.assert_array_equal(part.arrays[1], part.arrays[0] * 2)
        assert part.classes == ["c"]
    same([first.arrays, second.arrays], [p.arrays for p in split(dataset, fraction, seed=seed)])


def test_split_is_shuffled_by_its_seed():
    orders = [split(numbers(50), 0.5, seed=seed)[0].arrays[1].tolist() for seed in range(3)]
    assert orders[0] != sorted(orders[0])
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("fraction", [-0.1, 1.5, 200, float("nan")])
def test_split_refuses_what_is_no_fraction(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
        split(numbers(), fraction)


# --- what a batch holds --------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", ROOMS)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("n, size", [(23, 5), (20, 5), (3, 5), (1, 1), (0, 4), (5, 5)])
def test_batches_in_order(n, size, drop_last, prefetch):
    loader = DataLoader(numbers(n), size, drop_last=drop_last, prefetch=prefetch)
    index = list(range(n))
    expected = [index[i : i + size] for i in range(0, n, size)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == size]
    batches = list(loader)
    assert len(loader) == len(batches) == len(expected)
    assert [y.tolist() for _, y in batches] == expected
    assert all(np.array_equal(x[:, 1], -y) for x, y in batches)


@pytest.mark.parametrize("prefetch", ROOMS)
def test_shuffled_by_seed_and_epoch(prefetch):
    loader = DataLoader(numbers(), 5, shuffle=True, seed=3, prefetch=prefetch)
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

    def loader(prefetch):
        return DataLoader(dataset, 3, shuffle=True, seed=1, transform=transform, prefetch=prefetch)

    for epoch in (0, 4):
        whole = list(loader(0).batches(epoch))
        for prefetch in ROOMS:
            for start in range(len(whole) + 1):
                same(loader(prefetch).batches(epoch, start), whole[start:])


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


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_is_at_least_one(size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {size}"):
        DataLoader(numbers(), size)


def test_prefetch_is_not_negative():
    with pytest.raises(ValueError, match="prefetch must be at least 0, got -1"):
        DataLoader(numbers(), prefetch=-1)


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_outside_the_epoch_is_refused_at_once(start):
    with pytest.raises(ValueError, match=rf"start must be in \[0, 5\], got {start}"):
        DataLoader(numbers(), 5).batches(0, start)


@pytest.mark.parametrize("prefetch", ROOMS)
def test_an_error_says_where_and_keeps_its_cause(prefetch):
    def fail(batch, rng):
        if batch[1][0] == 6:
            raise KeyError("no such picture")
        return batch

    loader = DataLoader(numbers(20), 6, transform=fail, prefetch=prefetch)
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


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize(
    "samples, message",
    [
        ([np.zeros(3), np.zeros(3)], r"samples 0, 1\) failed: TypeError: a sample must be a tuple"),
        ([(1, 2), (3,)], "ValueError"),
        ([(np.zeros(2), 0), (np.zeros(3), 0)], "ValueError.*same shape"),
    ],
    ids=["no tuple", "tuples of two lengths", "two shapes"],
)
def test_samples_that_cannot_be_stacked(samples, message, prefetch):
    with pytest.raises(RuntimeError, match=message):
        list(DataLoader(samples, 2, prefetch=prefetch))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_stop_iteration_in_a_transform_does_not_end_the_epoch_in_silence(prefetch):
    def stop(batch, rng):
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(numbers(), 5, transform=stop, prefetch=prefetch))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_exit_asked_for_in_a_transform_arrives(prefetch):
    def leave(batch, rng):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(DataLoader(numbers(), 5, transform=leave, prefetch=prefetch))


# --- the thread ----------------------------------------------------------------------------


def test_one_thread_for_prefetching_and_none_without():
    batches = iter(DataLoader(numbers(200), 5, prefetch=2))
    next(batches)
    (thread,) = threads()
    assert thread.daemon
    batches.close()
    batches = iter(DataLoader(numbers(), 5, prefetch=0))
    next(batches)
    assert threads() == []


@pytest.mark.parametrize("room", [1, 3])
def test_the_thread_is_only_so_far_ahead(room):
    made = []
    loader = DataLoader(
        numbers(200), 5, prefetch=room, transform=lambda batch, rng: made.append(1) or batch
    )
    batches = loader.batches(0)
    next(batches)
    expected, deadline = 1 + room + 1, time.monotonic() + 10
    while len(made) < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(made) == expected, "one is taken, the queue is full, one is in hand"
    batches.close()


def test_it_works_while_the_reader_does():
    """Eight batches that take 20 ms to make and 20 to use: less than one after the other."""

    def slow(batch, rng):
        time.sleep(0.02)
        return batch

    def seconds(prefetch):
        start = time.perf_counter()
        for _ in DataLoader(numbers(40), 5, transform=slow, prefetch=prefetch):
            time.sleep(0.02)
        return time.perf_counter() - start

    assert min(seconds(2) for _ in range(3)) < 0.8 * seconds(0)


@pytest.mark.parametrize("room", [1, 2, 100])
def test_breaking_out_stops_the_thread(room):
    for _ in DataLoader(numbers(1000), 5, prefetch=room):
        break
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


def test_an_iterator_that_was_never_asked_starts_none():
    batches = DataLoader(numbers(1000), 5).batches(0)
    assert threads() == []
    del batches


def test_the_collector_may_run_inside_the_thread(monkeypatch):
    """An iterator in a cycle, found by the collector while the thread is at work."""
    wrong, dropped = [], threading.Event()
    monkeypatch.setattr(sys, "unraisablehook", wrong.append)

    def transform(batch, rng):
        if batch[1][0] == 10:
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
