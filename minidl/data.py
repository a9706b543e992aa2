"""Data sets and the loader that turns them into batches while the network computes.

The one rule of this file: what a batch holds is a function of (seed, epoch, number of the batch)
and of nothing else, so a run can go on from any batch exactly, whatever the threads do.

Explained in course/11.
"""

import queue
import sys
import threading

import numpy as np


class ArrayDataset:
    """Arrays whose first axis counts the samples: x, y = dataset[i], or a slice, or indices.

    By custom the last array is the target.  classes: the names of the classes, or None.
    """

    def __init__(self, *arrays, classes=None):
        self.arrays = tuple(np.asarray(a) for a in arrays)
        self.classes = classes
        lengths = [a.shape[0] if a.ndim else None for a in self.arrays]
        if not lengths or len(set(lengths)) != 1 or None in lengths:
            raise ValueError(f"arrays of one length are needed, got lengths {lengths}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(a[index] for a in self.arrays)


def split(dataset, fraction, *, seed=0):
    """Two ArrayDatasets: a random share, `fraction` in [0, 1], of the samples, and the others."""
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got {fraction}")
    order = np.random.default_rng(seed).permutation(len(dataset))
    cut = round(fraction * len(dataset))
    return tuple(
        ArrayDataset(*dataset[part], classes=dataset.classes) for part in (order[:cut], order[cut:])
    )


class DataLoader:
    """Batches of `dataset`, as tuples of NumPy arrays, one epoch for each `for` loop.

    dataset: an ArrayDataset, or anything with a length whose items are tuples of arrays or numbers
    of one shape each; these are stacked.
    shuffle: a new order in every epoch, drawn from (seed, epoch).
    drop_last: leave out the last batch when it is smaller.
    transform: a function (batch, rng) -> batch; rng is drawn from (seed, epoch, batch number).
    prefetch: how many batches a second thread prepares ahead; 0: no thread.
    When a batch cannot be made, raises RuntimeError from the error, with the batch's place.
    """

    def __init__(
        self, dataset, batch_size=32, *, shuffle=False, drop_last=False, seed=0, transform=None,
        prefetch=2,
    ):  # fmt: skip
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if prefetch < 0:
            raise ValueError(f"prefetch must be at least 0, got {prefetch}")
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.drop_last, self.seed = drop_last, seed
        self.transform, self.prefetch = transform, prefetch
        self.epoch = 0  # the epoch that the next `for` loop runs

    def __len__(self):
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def __iter__(self):
        yield from self.batches(self.epoch)
        self.epoch += 1

    def batches(self, epoch, start=0):
        """Iterate over the batches of `epoch` from number `start` on, drawing none before."""
        if not 0 <= start <= len(self):
            raise ValueError(f"start must be in [0, {len(self)}], got {start}")
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        jobs = range(start, len(self))

        def make(number):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            try:
                return self._batch(chosen, epoch, number)
            except Exception as error:
                first = ", ".join(map(str, chosen[:5])) + (", ..." if len(chosen) > 5 else "")
                raise RuntimeError(
                    f"batch {number} of epoch {epoch} (samples {first}) failed: "
                    f"{type(error).__name__}: {error}"
                ) from error

        return _ahead(make, jobs, self.prefetch) if self.prefetch else map(make, jobs)

    def _batch(self, chosen, epoch, number):
        if isinstance(self.dataset, ArrayDataset):
            batch = self.dataset[chosen]
        else:
            samples = [self.dataset[int(i)] for i in chosen]
            for sample in samples:
                if not isinstance(sample, tuple):
                    raise TypeError(f"a sample must be a tuple, got {type(sample).__name__}")
            batch = tuple(np.stack(column) for column in zip(*samples, strict=True))
        if self.transform is None:
            return batch
        # From 1, because to NumPy a seed that ends in 0 is the one without it: that of the order.
        return self.transform(batch, np.random.default_rng([self.seed, epoch, number + 1]))


def _ahead(make, jobs, room):
    """make(job) for each job, computed by a thread at most `room` results ahead."""
    ready, stop = queue.Queue(room), threading.Event()

    def put(item):
        while not stop.is_set():  # a reader that has gone must not leave the thread waiting
            try:
                return ready.put(item, timeout=0.05)
            except queue.Full:
                continue

    def work():
        try:
            for job in jobs:
                put((make(job), None))
                if stop.is_set():
                    return
            put(None)
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="minidl-prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            batch, error = item
            if error is not None:
                raise error
            yield batch
    finally:
        stop.set()
        # The collector may end this generator inside the thread itself, or as Python ends.
        if threading.current_thread() is not thread and not sys.is_finalizing():
            thread.join()
