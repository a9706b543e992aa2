"""Data sets and the loader that turns them into batches while the network computes.

The one rule of this file: what a batch holds is a function of (seed, epoch, number of the batch)
and of nothing else, so a run can go on from any batch exactly, whatever the threads do.

Explained in course/11.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from numbers import Real
from threading import current_thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from .. import advice
from ..graph.lines import mapped


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


_SEVERAL = "each array is an argument of its own, ArrayDataset(x1, x2, y)"


class ArrayDataset:
    """A data set of arrays whose first axis counts the samples, such as x (N, ...) and y (N,).

    dataset[i] is the tuple of the arrays' elements i; i may be a slice or an array of indices too.
    By custom the last array is the target.  The arrays are not copied, so that one on disk, from
    np.load(path, mmap_mode="r"), stays there: a batch reads no more than its own samples.  So does
    a sparse matrix of SciPy stay sparse, and only what is asked for becomes an array.
    classes: the names of the classes, label k being classes[k], or None.
    Raises ValueError unless all arrays have the same length.
    """

    def __init__(self, *arrays: ArrayLike, classes: Sequence[str] | None = None) -> None:
        try:
            self.arrays: tuple[Any, ...] = tuple(
                a.tocsr() if hasattr(a, "tocsr") else np.asarray(a) for a in arrays
            )
        except ValueError as error:
            raise ValueError(
                f"{error} For samples that differ in shape: pad_collate; {_SEVERAL}"
            ) from error
        self.classes = classes
        lengths = [next(iter(a.shape), None) for a in self.arrays]  # None: a number has none
        if not lengths or None in lengths or len(set(lengths)) != 1:
            raise ValueError(f"arrays of one length are needed, got lengths {lengths}; {_SEVERAL}")

    __getattr__ = advice.of_object("ArrayDataset")

    def __len__(self) -> int:
        """How many samples there are."""
        return self.arrays[0].shape[0]

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> tuple[Any, ...]:
        return tuple(_rows(a, index) for a in self.arrays)


def _rows(a, index):
    """a[index], as an array also where a (N, D) is sparse."""
    found = a[index]
    if not hasattr(a, "tocsr"):  # as SciPy's are
        return found
    if isinstance(index, int | np.integer):
        return found.toarray().reshape(-1)  # (1, D) -> (D,)
    return found.toarray()


class Subset:
    """Some samples of another data set, which is not copied: a batch reads only its own samples.

    dataset: any, see Dataset.  indices (n,): which, integers in [0, len(dataset)), else ValueError.
    subset[i] is the sample dataset[indices[i]]; of a slice or an array of indices the samples are
    stacked: subset[:] are all its arrays, in memory.  classes: those of `dataset`, if it has any.
    """

    def __init__(self, dataset: Dataset, indices: ArrayLike) -> None:
        indices = np.asarray(indices)
        if indices.size == 0:
            indices = indices.astype(np.int64)  # of an empty list NumPy makes floats
        _check_indices("Subset", indices, len(dataset))
        self.dataset = dataset
        self.indices = indices
        self.classes = getattr(dataset, "classes", None)

    __getattr__ = advice.of_object("Subset")

    def __len__(self) -> int:
        """How many samples there are."""
        return len(self.indices)

    def __getitem__(self, index: int | slice | Sequence[int] | np.ndarray) -> tuple[Any, ...]:
        chosen = self.indices[index]
        if chosen.ndim == 0:
            return self.dataset[chosen.item()]
        if _is_of_arrays(self.dataset):
            return self.dataset[chosen]
        return _stacked([self.dataset[i] for i in chosen.tolist()])


def _is_of_arrays(dataset):
    """Whether a batch of the data set can be had at once, by an array of indices."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, ArrayDataset)


def _check_indices(who, indices, n):
    if indices.dtype.kind not in "iu" or not ((indices >= 0) & (indices < n)).all():
        raise ValueError(f"{who}: expected indices in [0, {n}), got {indices}")


def split(dataset: Dataset, fraction: float, *, seed: int = 0) -> tuple[Subset, Subset]:
    """Two data sets: a share of the samples, drawn at random by `seed`, and all the others.

    dataset: an ArrayDataset, a list of tuples, or one of your own; nothing of it is copied.
    fraction: how large the first part is, in [0, 1].
    `train_test_split` of scikit-learn, `random_split` of PyTorch.
    """
    if not _is_whole(dataset) or not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(
            "split: dataset must be a data set, such as ArrayDataset(x, y), fraction must be in "
            f"[0, 1], got {type(dataset).__name__} and {fraction!r}; it is the share of the first "
            "part, and for three parts one of the two is split again"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    n = round(fraction * len(dataset))
    return Subset(dataset, order[:n]), Subset(dataset, order[n:])


def _is_whole(dataset):
    """Whether it has samples with all their parts: an array, or a tuple of some, has not."""
    return hasattr(dataset, "__getitem__") and not isinstance(dataset, np.ndarray | tuple)


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
        if not _is_whole(dataset):
            raise TypeError(
                "DataLoader: expected a data set, such as ArrayDataset(x, y), or of inputs alone "
                f"ArrayDataset(x), got a {type(dataset).__name__}"
            )
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

    def batches(
        self, epoch: int, start: int = 0, rows: Callable[[int], slice] | None = None
    ) -> Generator[tuple[np.ndarray, ...], None, None]:
        """An iterator over the batches of `epoch` from number `start` on; none before it is made.

        rows: None, or which samples of a batch of n it is to have, a slice rows(n), as
            `distributed.Group.rows`; the others are not read, except where there is a transform,
            whose draws belong to the whole batch, or where none are left; so `collate` gets these
            samples alone.

        `self.epoch` stays what it is.  close() ends the threads, as does dropping the iterator;
        contextlib.closing does so however a loop is left.  Raises ValueError unless start is in
        [0, number of batches].
        """
        jobs = [(epoch, number, chosen, rows) for number, chosen in enumerate(self._plan(epoch))]
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
            _check_indices("sampler", np.hstack(order or [[]]), n)
            if np.ndim(order[0]):
                return [np.asarray(batch) for batch in order]
        stop = len(order)
        if self.drop_last:
            stop -= self.batch_size - 1  # a batch that begins here or later is too small
        starts = range(0, stop, self.batch_size)
        return [np.asarray(order[i : i + self.batch_size]) for i in starts]

    def _make(self, epoch, number, chosen, rows):
        """The batch with this number, of the samples `chosen`, or of those that `rows` leaves."""
        if rows is not None:
            mine = rows(len(chosen))
            if self.transform is not None or not len(chosen[mine]):
                whole = self._make(epoch, number, chosen, None)
                return mapped(whole, lambda a: a[mine])
            chosen = chosen[mine]
        more = ", ..." if len(chosen) > 5 else ""
        all_of_them = f"samples {', '.join(map(str, chosen[:5]))}{more}"
        where = all_of_them
        try:
            if self.collate is None and _is_of_arrays(self.dataset):
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


advice.functions(__name__)
