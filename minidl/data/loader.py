"""Data sets and the loader that turns them into batches while the network computes.

The one rule of this file: what a batch holds is a function of (seed, epoch, number of the batch)
and of nothing else, so a run can go on from any batch exactly, whatever the threads do.

Explained in course/11.
"""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import PathLike
from threading import current_thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import advice


class Dataset(Protocol):
    """What a DataLoader reads: an ArrayDataset, a list of tuples, or a class of your own with these
    two methods.
    """

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def __getitem__(self, index: int, /) -> tuple[Any, ...]:
        """The sample `index`, in [0, len(dataset)): a tuple of arrays or numbers."""
        ...


class ArrayDataset:
    """A data set of arrays whose first axis counts the samples, such as x (N, ...) and y (N,).

    dataset[i] is the tuple of the arrays' elements i; i may be a slice or an array of indices too.
    By custom the last array is the target.  The arrays are not copied, so that one on disk, from
    np.load(path, mmap_mode="r"), stays there: a batch reads no more than its own samples.
    classes: the names of the classes, label k being classes[k], or None.
    Raises ValueError unless all arrays have the same length.
    """

    def __init__(self, *arrays: ArrayLike, classes: Sequence[str] | None = None) -> None:
        try:
            self.arrays = tuple(np.asarray(a) for a in arrays)
        except ValueError as error:
            raise ValueError(f"{error} For samples that differ in shape: pad_collate") from error
        self.classes = classes
        lengths = [next(iter(a.shape), None) for a in self.arrays]  # None: a number has none
        if not lengths or None in lengths or len(set(lengths)) != 1:
            raise ValueError(f"arrays of one length are needed, got lengths {lengths}")

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.arrays[0])

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> tuple[Any, ...]:
        return tuple(a[index] for a in self.arrays)


def split(
    dataset: ArrayDataset, fraction: float, *, seed: int = 0
) -> tuple[ArrayDataset, ArrayDataset]:
    """Two data sets: a share of the samples, drawn at random by `seed`, and all the others.

    fraction: how large the first is, in [0, 1].  Both are copies in memory.
    """
    if not isinstance(dataset, ArrayDataset) or not 0 <= fraction <= 1:
        raise ValueError("split: dataset must be an ArrayDataset, fraction must be in [0, 1], got "
                         f"{type(dataset).__name__} and {fraction}")  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(dataset))
    n = round(fraction * len(dataset))
    return (
        ArrayDataset(*dataset[order[:n]], classes=dataset.classes),
        ArrayDataset(*dataset[order[n:]], classes=dataset.classes),
    )


def prepared(train, valid, weight, seed):
    """Trainer.fit's data: `train` with the weights as its last array, and what to validate on.

    weight: None, True (the weights are there already), or a number for each sample, (N,).
    valid: a float is a share of `train` to be held out, without its weights; anything else is
    returned as it is.
    """
    if weight is not None and weight is not True:
        weight = np.asarray(weight)
        if not isinstance(train, ArrayDataset) or weight.shape != (len(train),):
            raise ValueError(
                "sample_weight: expected a number for each sample of an ArrayDataset, got shape "
                f"{weight.shape} for a {type(train).__name__} of length {len(train)}; elsewhere, "
                "weights are the last array of the data set, and sample_weight=True"
            )
        train = ArrayDataset(*train.arrays, weight, classes=train.classes)
    if isinstance(valid, float):
        valid, train = split(train, valid, seed=seed)
        arrays = valid.arrays
        if weight is not None:
            arrays = arrays[:-1]
        valid = ArrayDataset(*arrays)
    return train, valid


def weigher(given, by_class):
    """A function batch -> (batch, weight of each sample), or None where nothing has a weight.

    given: whether the last array of a batch is its weights.  by_class: None, or a weight for each
    class, a dict or a list.  Where both are there, they are multiplied.
    """
    if not given and by_class is None:
        return None
    if by_class is not None and not isinstance(by_class, dict):
        by_class = dict(enumerate(by_class))

    def weigh(batch):
        weight = 1.0
        if given:
            *batch, weight = batch
        if by_class is not None:
            classes, which = np.unique(batch[-1], return_inverse=True)
            if missing := set(classes.tolist()) - by_class.keys():
                raise ValueError(f"class_weight has nothing for {missing}, only for {[*by_class]}")
            of_class = np.array([by_class[k] for k in classes.tolist()])
            of_label = of_class[which.reshape(batch[-1].shape)]  # (N,) or (N, T)
            weight = (of_label.T * weight).T  # a sample's weight counts for all its labels
        return [*batch], np.asarray(weight, np.float32)

    return weigh


def read_csv(
    path: str | PathLike[str],
    *,
    target: str,
    features: Iterable[str] | None = None,
    classes: Iterable[str] | None = None,
    numeric: bool = False,
    delimiter: str = ",",
) -> ArrayDataset:
    """The data set in a CSV file, whose first line names the columns: x (N, D) and y (N,).

    features: the columns of x, in this order; default: all but `target`.  Read as float32.
    target: the column of y.  It holds words, and y says which of `classes` (default: all its words,
    sorted) each is, as int64; or, with `numeric`, numbers, read as float32.
    Raises ValueError, which names line and column, for a cell that is empty or does not fit.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restval="")
        names = reader.fieldnames or []
        rows = [(reader.line_num, row) for row in reader]
    others = [name for name in names if name != target]
    features = others if features is None else [*features]
    if not rows or not features or target in features or not {target, *features} <= {*names}:
        raise ValueError(f"{path}: expected rows with features {features} and a target {target!r}, "
                         f"got {len(rows)} rows with columns {names}")  # fmt: skip
    if wide := [line for line, row in rows if None in row]:
        raise ValueError(f"{path}, line {wide[0]}: more cells than the {len(names)} columns")

    def column(name, convert, expected):
        for line, row in rows:
            try:
                value = convert(row[name])
                if not math.isfinite(value):
                    raise ValueError
            except ValueError:
                raise ValueError(f"{path}, line {line}, column {name!r}: expected {expected}, got "
                                 f"{row[name]!r}") from None  # fmt: skip
            yield value

    # (D, N) -> (N, D)
    x = np.array([[*column(name, float, "a number")] for name in features], np.float32).T
    if numeric:
        y = np.array([*column(target, float, "a number")], np.float32)
        return ArrayDataset(x, y)
    classes = [*(classes or sorted({row[target] for _, row in rows} - {""}))]
    y = np.array([*column(target, classes.index, f"one of {classes}")], np.int64)
    return ArrayDataset(x, y, classes=classes)


def pad_sequence(
    sequences: Iterable[ArrayLike], *, value: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T, ...) of different lengths T as one array (N, longest T, ...), and their lengths
    (N,).

    Each sequence stands at the beginning of its row, `value` behind it.  Integers become int64.
    value: default 0.0 for floats.  For integers it must be said, as any number may be a token's:
    vocabulary.numbers["<pad>"], or any if only the first `lengths` of a row are looked at.
    Raises ValueError for a value that the array's type cannot hold, such as 0.5 among integers.
    PyTorch's function of this name does the same with batch_first=True, but for the lengths.
    """
    sequences = [np.asarray(s) for s in sequences]
    if numbers := [s for s in sequences if s.ndim == 0]:
        raise TypeError(f"expected sequences, got {numbers[0]}, which has no length")
    lengths = np.array([len(s) for s in sequences], np.int64)
    joined = np.concatenate([s for s in sequences if len(s)] or [np.empty(0, np.int64)])
    if joined.dtype.kind in "iu":
        joined = _kept(joined, np.int64, "numbers")
        if value is None and len(set(lengths.tolist())) > 1:
            raise ValueError(
                "integers to be padded may be tokens, and 0 one of them: say what to fill up with, "
                'pad_sequence(ids, value=vocabulary.numbers["<pad>"]), or with '
                "partial(pad_collate, value=...)"
            )
    fill = _kept(np.asarray(0 if value is None else value), joined.dtype, "a value to pad with")
    y = np.full((len(lengths), lengths.max(initial=0), *joined.shape[1:]), fill)
    y[np.arange(y.shape[1]) < lengths[:, None]] = joined  # row after row
    return y, lengths


def _kept(a, dtype, what):
    """`a` as this dtype, refused where that would change it by more than rounding."""
    with np.errstate(all="ignore"):
        found = a.astype(dtype)
    if found.dtype.kind in "fc":
        same = np.allclose(found, a, rtol=1e-3, atol=0, equal_nan=True)
    else:
        same = np.array_equal(found, a)
    if not same:
        raise ValueError(f"expected {what} that {np.dtype(dtype)} can hold, got {a}")
    return found


def pad_collate(
    samples: Sequence[tuple[ArrayLike, ...]], *, value: float | None = None
) -> tuple[np.ndarray, ...]:
    """A DataLoader's collate for samples (sequence, ...) of different lengths: the batch
    (x (N, T), lengths (N,), ...).

    x holds the sequences as `pad_sequence` lays them out, filled up with `value`.  Further columns
    of the samples follow: sequences are padded likewise, numbers become an array (N,).
    For tokens: collate=functools.partial(pad_collate, value=vocabulary.numbers["<pad>"]).
    """
    first, *others = zip(*samples, strict=True)
    rest = [pad_sequence(c, value=value)[0] if np.ndim(c[0]) else np.stack(c) for c in others]
    return *pad_sequence(first, value=value), *rest


def weighted(weights: ArrayLike) -> Callable[[np.random.Generator], np.ndarray]:
    """A DataLoader's sampler: N indices, each drawn anew, sample i in proportion to weights[i].

    weights (N,): finite, none negative, not all 0; else ValueError.
    """
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not (weights >= 0).all() or not 0 < weights.sum() < math.inf:
        raise ValueError(f"weights must be (N,), finite, none negative, not all 0, got {weights}")
    return lambda rng: rng.choice(len(weights), len(weights), p=weights / weights.sum())


def balanced(labels: ArrayLike) -> Callable[[np.random.Generator], np.ndarray]:
    """A DataLoader's sampler: N indices, drawn so that every class of `labels` (N,) is as likely as
    any other, however many samples it has.
    """
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return weighted(1 / counts[which])


class DataLoader:
    """Batches of a data set, as tuples of NumPy arrays: each `for` loop over it is one epoch.

    dataset: an ArrayDataset, or what has a length and whose items are tuples of arrays or numbers.
    batch_size: samples in a batch.  The last batch of an epoch has the rest.
    drop_last: leave out the last batch if it is smaller than the others.
    shuffle: the samples in a new order in every epoch, which depends on seed and epoch alone.
    sampler: in place of shuffle, a function of a random generator that gives the epoch's order: an
    array of indices, as `balanced` and `weighted` make it, or a list of such arrays, one for each
    batch, as `batches_by_length` does; batch_size and drop_last do not count then.
    collate: a function from a list of samples to a batch; default: stacks them.
    transform: a function (batch, rng) -> batch, with a random generator of the batch's own, which
    depends on seed, epoch and the number of the batch alone.
    workers: how many threads make batches while the network computes; with several, dataset,
    collate and transform are called by all of them at once.
    prefetch: how many batches ahead each of them is at most.  If one of both is 0, there is no
    thread.  Threads end with the epoch, or when the iterator is closed or collected.
    Raises RuntimeError, from the error, where a batch cannot be made; it names batch and samples.

    epoch: the number of the next `for` loop's epoch.  A loop that is left early does not count.
    """

    @advice.advised
    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        sampler: Callable[[np.random.Generator], Iterable[int | np.ndarray]] | None = None,
        collate: Callable[[list[Any]], tuple[Any, ...]] | None = None,
        transform: Callable[[tuple[Any, ...], np.random.Generator], tuple[Any, ...]] | None = None,
        workers: int = 1,
        prefetch: int = 2,
    ) -> None:
        for name, number, low in (
            ("batch_size", batch_size, 1), ("seed", seed, 0),
            ("workers", workers, 0), ("prefetch", prefetch, 0),
        ):  # fmt: skip
            if not isinstance(number, int | np.integer) or number < low:
                raise ValueError(f"{name} must be at least {low}, an integer, got {number!r}")
        if sampler is not None and (shuffle or not callable(sampler)):
            raise ValueError("sampler must be a function rng -> indices, in place of shuffle; got "
                             f"{type(sampler).__name__}, shuffle={shuffle}")  # fmt: skip
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.sampler = sampler
        self.collate = collate
        self.transform = transform
        self.workers = workers
        self.prefetch = prefetch
        self.epoch = 0

    def __len__(self) -> int:
        """How many batches the next epoch has."""
        return len(self._plan(self.epoch))

    def __iter__(self) -> Generator[tuple[np.ndarray, ...], None, None]:
        yield from self.batches(self.epoch)
        self.epoch += 1

    def batches(self, epoch: int, start: int = 0) -> Generator[tuple[np.ndarray, ...], None, None]:
        """An iterator over the batches of `epoch` from number `start` on; none before it is made.

        `self.epoch` stays what it is.  close() ends the threads, as does dropping the iterator;
        contextlib.closing does so however a loop is left.  Raises ValueError unless start is in
        [0, number of batches].
        """
        jobs = [(epoch, number, chosen) for number, chosen in enumerate(self._plan(epoch))]
        if not 0 <= start <= len(jobs):
            raise ValueError(f"start must be in [0, {len(jobs)}], got {start}")
        if ahead := self.workers * self.prefetch:
            return _ahead(self._make, jobs[start:], self.workers, ahead)
        return (self._make(*job) for job in jobs[start:])

    def _plan(self, epoch):
        """The indices of each batch of `epoch`."""
        rng = np.random.default_rng([self.seed, epoch])
        n = len(self.dataset)
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        if self.sampler is not None:
            order = [*self.sampler(rng)]
            every = np.hstack(order or [[]])
            if every.dtype.kind not in "iu" or not 0 <= every.min() <= every.max() < n:
                raise ValueError(f"sampler: expected indices in [0, {n}), got {every}")
            if np.ndim(order[0]):
                return [np.asarray(batch) for batch in order]
        stop = len(order)
        if self.drop_last:
            stop -= self.batch_size - 1  # a batch that begins here or later is too small
        starts = range(0, stop, self.batch_size)
        return [np.asarray(order[i : i + self.batch_size]) for i in starts]

    def _make(self, epoch, number, chosen):
        """The batch with this number, of the samples `chosen`."""
        more = ", ..." if len(chosen) > 5 else ""
        all_of_them = f"samples {', '.join(map(str, chosen[:5]))}{more}"
        where = all_of_them
        try:
            if self.collate is None and isinstance(self.dataset, ArrayDataset):
                batch = self.dataset[chosen]
            else:
                samples = []
                for i in chosen.tolist():
                    where = f"sample {i}"
                    sample = self.dataset[i]
                    if not isinstance(sample, tuple):
                        raise TypeError(f"items are tuples (see ArrayDataset), got {type(sample)}")
                    samples.append(sample)
                where = all_of_them
                batch = (self.collate or _stacked)(samples)
            if self.transform is None:
                return batch
            # From 1: to NumPy a seed that ends in 0 is the one without it, which drew the order.
            return self.transform(batch, np.random.default_rng([self.seed, epoch, number + 1]))
        except Exception as error:
            raise RuntimeError(f"batch {number} of epoch {epoch} ({where}) failed: "
                               f"{type(error).__name__}: {error}") from error  # fmt: skip


def _stacked(samples):
    return tuple(np.stack(column) for column in zip(*samples, strict=True))


def _ahead(make, jobs, workers, room):
    """make(*job) for each job in order, by threads that are at most `room` results ahead.

    The threads end with the jobs, or when this generator is closed or collected.
    """
    jobs = iter(jobs)
    pool = ThreadPoolExecutor(workers, "minidl-loader")
    try:
        waiting = deque(pool.submit(make, *job) for job in islice(jobs, room))
        while waiting:
            batch = waiting.popleft()
            waiting.extend(pool.submit(make, *job) for job in islice(jobs, 1))
            yield batch.result()
    finally:
        # Where the collector ends this generator inside a thread, that cannot wait for itself.
        inside = current_thread().name.startswith("minidl-loader")
        pool.shutdown(wait=not inside, cancel_futures=True)
