"""Data sets and the loader that turns them into batches while the network computes.

The one rule of this file: what a batch holds is a function of (seed, epoch, number of the batch)
and of nothing else, so a run can go on from any batch exactly, whatever the threads do.

Explained in course/11.
"""

import csv
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, starmap
from threading import current_thread

import numpy as np

from .. import advice


class ArrayDataset:
    """Arrays whose first axis counts the samples: x, y = dataset[i], or a slice, or indices.

    By custom the last array is the target.  classes: the names of the classes, or None.
    """

    def __init__(self, *arrays, classes=None):
        try:
            self.arrays, self.classes = tuple(np.asarray(a) for a in arrays), classes
        except ValueError as error:
            raise ValueError(f"{error} For samples that differ in shape: pad_collate") from error
        lengths = [a.shape[0] if a.ndim else None for a in self.arrays]
        if not lengths or len(set(lengths)) != 1 or None in lengths:
            raise ValueError(f"arrays of one length are needed, got lengths {lengths}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(a[index] for a in self.arrays)


def split(dataset, fraction, *, seed=0):
    """Two ArrayDatasets: a random share, `fraction` in [0, 1], of the samples, and the others."""
    if not isinstance(dataset, ArrayDataset) or not 0 <= fraction <= 1:
        raise ValueError("split: dataset must be an ArrayDataset, fraction must be in [0, 1], got "
                         f"{type(dataset).__name__} and {fraction}")  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(dataset))
    parts = np.split(order, [round(fraction * len(dataset))])
    return tuple(ArrayDataset(*dataset[part], classes=dataset.classes) for part in parts)


def prepared(train, valid, weight, seed):
    """`train` with the weights as its last array, and what to validate on, without."""
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
        valid = ArrayDataset(*valid.arrays[: None if weight is None else -1])
    return train, valid


def weigher(given, by_class):
    """A function batch -> (batch, weight of each sample), or None where nothing has a weight."""
    if not given and by_class is None:
        return None
    if by_class is not None and not isinstance(by_class, dict):
        by_class = dict(enumerate(by_class))

    def weigh(batch):
        *batch, weight = batch if given else (*batch, 1.0)
        if by_class is not None:
            classes, which = np.unique(batch[-1], return_inverse=True)
            if missing := set(classes.tolist()) - by_class.keys():
                raise ValueError(f"class_weight has nothing for {missing}, only for {[*by_class]}")
            of_class = np.array([by_class[k] for k in classes.tolist()])
            weight = (of_class[which.reshape(batch[-1].shape)].T * weight).T
        return batch, np.asarray(weight, np.float32)

    return weigh


def read_csv(path, *, target, features=None, classes=None, numeric=False, delimiter=","):
    """An ArrayDataset of a CSV file, whose first line names the columns.

    x (N, D): the columns `features` (default: all but `target`), float32.  y (N,): the place of
    the word in column `target` among `classes` (default: all its words, sorted), or, if `numeric`,
    the number in it, float32.  Raises ValueError, with line and column, for any other cell.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restval="")
        names, rows = reader.fieldnames or [], [(reader.line_num, row) for row in reader]
    features = [name for name in names if name != target] if features is None else [*features]
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

    x = np.array([[*column(name, float, "a number")] for name in features], np.float32).T
    classes = None if numeric else [*(classes or sorted({row[target] for _, row in rows} - {""}))]
    read = (float, "a number") if numeric else (classes.index, f"one of {classes}")
    y = np.array([*column(target, *read)], np.float32 if numeric else np.int64)
    return ArrayDataset(x, y, classes=classes)


def pad(sequences, *, value=None):
    """Sequences (T, ...) as one array (N, T, ...), filled with `value`, and their lengths (N,).

    value: default 0.0 for floats; for integers, where any number may be a token's, it must be said:
    vocabulary.numbers["<pad>"], or any if only the first `lengths` of a row are looked at.
    """
    lengths = np.array([len(s) for s in sequences], np.int64)
    joined = np.concatenate([s for s in sequences if len(s)] or [np.empty(0, np.int64)])
    dtype = np.int64 if joined.dtype.kind in "iu" else joined.dtype
    if value is None and dtype == np.int64 and len(set(lengths.tolist())) > 1:
        raise ValueError(
            "integers to be padded may be tokens, and 0 one of them: say what to fill up with, "
            'pad(ids, value=vocabulary.numbers["<pad>"]), or with partial(pad_collate, value=...)'
        )
    value = 0 if value is None else value
    y = np.full((len(lengths), lengths.max(initial=0), *joined.shape[1:]), value, dtype)
    y[np.arange(y.shape[1]) < lengths[:, None]] = joined  # row after row
    return y, lengths


def pad_collate(samples, *, value=None):
    """A DataLoader's collate for samples (sequence, ...): (x (N, T), lengths (N,), ...), where x is
    filled up with `value`, as are other columns of sequences; columns of numbers are stacked.

    value: as in `pad`; of tokens, collate=partial(pad_collate, value=vocabulary.numbers["<pad>"]).
    """
    first, *rest = zip(*samples, strict=True)
    rest = [pad(c, value=value)[0] if np.ndim(c[0]) else np.stack(c) for c in rest]
    return *pad(first, value=value), *rest


def weighted(weights):
    """A DataLoader's sampler: N indices, each drawn anew in proportion to `weights` (N,)."""
    weights = np.asarray(weights, np.float64)
    if weights.ndim != 1 or not (weights >= 0).all() or not 0 < weights.sum() < math.inf:
        raise ValueError(f"weights must be (N,), finite, none negative, not all 0, got {weights}")
    return lambda rng: rng.choice(len(weights), len(weights), p=weights / weights.sum())


def balanced(labels):
    """A DataLoader's sampler: N indices, drawn so that each class of `labels` (N,) is as likely."""
    _, which, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return weighted(1 / counts[which])


class DataLoader:
    """Batches of `dataset`, as tuples of NumPy arrays, one epoch for each `for` loop.

    dataset: an ArrayDataset, or anything with a length whose items are tuples of arrays or numbers.
    shuffle: a new order in every epoch.  drop_last: leave out the last batch when it is smaller.
    sampler: in place of shuffle, a function rng -> the epoch's indices, as from `balanced`, or an
    array of indices for each batch, where batch_size and drop_last do not count.
    collate: a function from a list of items to a batch; default: stacks them.
    transform: a function (batch, rng) -> batch; rng is drawn from (seed, epoch, batch number).
    workers, prefetch: so many threads, each of which prepares so many batches ahead; 0: no thread.
    With several, dataset, collate and transform are called by all of them at once.
    When a batch cannot be made, raises RuntimeError from the error, with its place and samples.
    """

    @advice.advised
    def __init__(
        self, dataset, batch_size=32, *, shuffle=False, drop_last=False, seed=0, sampler=None,
        collate=None, transform=None, workers=1, prefetch=2,
    ):  # fmt: skip
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.drop_last, self.seed, self.sampler = drop_last, seed, sampler
        self.collate, self.transform = collate, transform
        self.workers, self.prefetch = workers, prefetch
        self.epoch = 0  # the epoch that the next `for` loop runs
        for name in ("batch_size", "seed", "workers", "prefetch"):
            number, low = getattr(self, name), int(name == "batch_size")
            if not isinstance(number, (int, np.integer)) or number < low:
                raise ValueError(f"{name} must be at least {low}, an integer, got {number!r}")
        if sampler is not None and (shuffle or not callable(sampler)):
            raise ValueError("sampler must be a function rng -> indices, in place of shuffle; got "
                             f"{type(sampler).__name__}, shuffle={shuffle}")  # fmt: skip

    def __len__(self):
        return len(self._plan(self.epoch))

    def __iter__(self):
        yield from self.batches(self.epoch)
        self.epoch += 1

    def batches(self, epoch, start=0):
        """Iterate over the batches of `epoch` from number `start` on, drawing none before."""
        jobs = [(epoch, number, chosen) for number, chosen in enumerate(self._plan(epoch))]
        if not 0 <= start <= len(jobs):
            raise ValueError(f"start must be in [0, {len(jobs)}], got {start}")
        if ahead := self.workers * self.prefetch:
            return _ahead(self._make, jobs[start:], self.workers, ahead)
        return starmap(self._make, jobs[start:])

    def _plan(self, epoch):
        """The indices of each batch of `epoch`."""
        rng, n, size = np.random.default_rng([self.seed, epoch]), len(self.dataset), self.batch_size
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        if self.sampler is not None:
            order = [*self.sampler(rng)]
            every = np.hstack(order or [[]])
            if every.dtype.kind not in "iu" or not 0 <= every.min() <= every.max() < n:
                raise ValueError(f"sampler: expected indices in [0, {n}), got {every}")
            if np.ndim(order[0]):
                return [np.asarray(batch) for batch in order]
        stop = len(order) - size + 1 if self.drop_last else len(order)
        return [np.asarray(order[i : i + size]) for i in range(0, stop, size)]

    def _make(self, epoch, number, chosen):
        every = at = f"samples {', '.join(map(str, chosen[:5]))}{', ...' * (len(chosen) > 5)}"
        try:
            if self.collate is None and isinstance(self.dataset, ArrayDataset):
                batch = self.dataset[chosen]
            else:
                samples = []
                for i in chosen.tolist():
                    at = f"sample {i}"
                    if not isinstance(sample := self.dataset[i], tuple):
                        raise TypeError(f"items are tuples (see ArrayDataset), got {type(sample)}")
                    samples.append(sample)
                at, stacks = every, map(np.stack, zip(*samples, strict=True))
                batch = self.collate(samples) if self.collate else tuple(stacks)
            if self.transform is None:
                return batch
            # From 1: to NumPy a seed that ends in 0 is the one without it, which drew the order.
            return self.transform(batch, np.random.default_rng([self.seed, epoch, number + 1]))
        except Exception as error:
            raise RuntimeError(f"batch {number} of epoch {epoch} ({at}) failed: "
                               f"{type(error).__name__}: {error}") from error  # fmt: skip


def _ahead(make, jobs, workers, room):
    """make(*job) for each job in order, by threads that are at most `room` results ahead."""
    jobs, pool = iter(jobs), ThreadPoolExecutor(workers, "minidl-loader")
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
