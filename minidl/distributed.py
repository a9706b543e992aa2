"""Several processes that train one network: each works on a part of the batch, gradients meet.

The one rule of this file: all that processes ask of each other is a sum and a copy, so whatever
has these two (NCCL between GPUs, MPI between machines) can carry a Group.

Explained in course/23.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from .engine import devices
from .engine.tensor import Tensor
from .gpu.doubts import doubt
from .gpu.nccl import communicator
from .graph.lines import flat
from .nn.module import Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from .data.loader import DataLoader
    from .graph.compiled import Compiled
    from .nn.module import Module
    from .train.steps import CompiledStep, EagerStep

FAILED = "a process that trains with this one has failed: it says why itself"


class Group:
    """The processes that train together.

    rank: the number of this one, from 0.
    size: how many they are.
    all_reduce(array): changes the array, 1-d, into the sum over all processes.
    broadcast(array): changes it into that of process 0.

    Each process calls the same methods in the same order; each waits there for all others.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        all_reduce: Callable[[Any], object],
        broadcast: Callable[[Any], object],
    ):
        if not 0 <= rank < size:
            raise ValueError(f"expected a rank in [0, {size}), got {rank}")
        self.rank, self.size, self.all_reduce, self.broadcast = rank, size, all_reduce, broadcast

    def __repr__(self) -> str:
        return f"Group(rank={self.rank}, size={self.size})"

    def rows(self, n: int) -> slice:
        """Which of a batch's n samples are this process's; none, if they are too few."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def step(self, step: EagerStep | CompiledStep) -> GroupStep:
        """A Trainer's step as one of this process among the others."""
        return GroupStep(step)

    def start(self, model: Module) -> None:
        """Give every process the weights and buffers that process 0 has."""
        for t in _once(model):
            row = t.data.reshape(-1).copy()  # (a, b, ...) -> (n,)
            self.broadcast(row.view("uint8"))  # bytes, whatever they mean
            t.data = row.reshape(t.shape)  # (n,) -> (a, b, ...)

    def average(self, arrays: Iterable[Any], weight: float = 1.0) -> list[Any]:
        """The means of arrays over all processes.

        arrays: those of this process; each has the same shape and type in all.  Those of one type
            travel as one.
        weight: how much this process counts, from 0; say, its number of samples.

        Raises ValueError where all weights are 0 or a process has failed (see `fail`); on a GPU
        only with the next value that the host takes out.
        """
        arrays = list(arrays)
        if not weight:  # who takes out no loss hears of failures here
            devices.to_numpy(arrays[0].reshape(-1)[:1])  # (a, b, ...) -> (n,) -> (1,)
        found, totals = self._summed(arrays, weight)
        for total in totals:
            doubt(devices.array_module(total), ~(total > 0), FAILED)
        return found

    def average_gradients(self, model: Module, weight: float = 1.0) -> None:
        """Make each gradient the mean over all processes, and each buffer, such as a running mean,
        too: see `average`.  A parameter without a gradient counts as if that were 0.
        """
        for t, a in zip(_floats(model), self.average(_arrays(model), weight)):
            if isinstance(t, Parameter):
                t.grad = Tensor(a)
            else:
                t.data = a

    def average_numbers(
        self, numbers: dict[str, float], weight: float, device: str
    ) -> dict[str, float]:
        """The means of numbers, a dict, over all processes, by way of `device`: see `average`."""
        mine = devices.to_device(np.array([*numbers.values()], float), device)
        (found,) = self.average([mine], weight)
        return dict(zip(numbers, devices.to_numpy(found).tolist()))

    def check_same_data(self, train: DataLoader, valid: DataLoader | None, device: str) -> None:
        """Raises ValueError, in every process, where one has more or fewer samples or batches than
        another: it would wait for a step that the others never make.
        """
        numbers = {"training samples": len(train.dataset), "batches": len(train)}
        if valid is not None:
            numbers["validation samples"] = len(valid.dataset)
        mine = np.array([*numbers.values(), *[0] * (3 - len(numbers))], float)
        first = devices.to_device(mine.copy(), device)
        self.broadcast(first)
        other = (mine != devices.to_numpy(first)).tolist()
        shares = self.average_numbers(dict(enumerate(other)), 1.0, device)
        if any(shares.values()):
            found = ", ".join(f"{n} {name}" for name, n in numbers.items())
            raise ValueError(
                f"the processes have different data; process {self.rank} of {self.size} has "
                f"{found}: give each the whole of the same data, of which it works on its part"
            )

    @contextmanager
    def telling(self, model: Module) -> Iterator[None]:
        """Inside, an error of this process ends the others too, which do not wait for it."""
        try:
            yield
        except Exception as error:
            self.fail(model, error)
            raise

    def fail(self, model: Module, error: BaseException) -> None:
        """What a process calls in place of `average_gradients` before it stops with `error`, so
        that the others stop too and do not wait for it.
        """
        if FAILED not in str(error):  # else they know
            self._summed(_arrays(model), math.nan)

    def _summed(self, arrays, weight):
        """The weighted sums by the sums of weights, in place of `arrays`; those sums, by type."""
        totals = {}
        for kind in dict.fromkeys(a.dtype for a in arrays):
            places = [i for i, a in enumerate(arrays) if a.dtype == kind]
            parts = [arrays[i] for i in places]
            xp = devices.array_module(*parts)
            # (a, b, ...) of each -> (n,) of each -> (all elements and the weight,)
            sums = xp.concatenate([*(a.reshape(-1) for a in parts), xp.ones(1, kind)]) * weight
            self.all_reduce(sums)
            totals[kind], end = sums[-1], 0
            for i, a in zip(places, parts):
                end += a.size
                # (n,) -> (a, b, ...)
                arrays[i] = (sums[end - a.size : end] / totals[kind]).reshape(a.shape)
        return arrays, totals.values()


class GroupStep:
    """A step of one of several processes, each of which works on its part of the batches.

    step: one of those in train/steps.py.  Its gradients become the means over all processes.
    """

    def __init__(self, step: EagerStep | CompiledStep):
        self.step = step

    @property
    def compiled(self) -> Compiled[..., Any] | None:
        """What its step has compiled."""
        return self.step.compiled

    def __call__(self, batches: Sequence[tuple[Sequence[Any], Any]]) -> dict[str, float]:
        """The means over the samples of this process; none where its part is empty."""
        trainer = self.step.trainer
        mine = [(batch, weight) for batch, weight in batches if _n_samples(batch)]
        found = self.step(mine)
        n = sum(_n_samples(batch) for batch, _ in mine)
        trainer.group.average_gradients(trainer.model, n)
        self.step.update()
        return found


def _n_samples(batch):
    return len(flat(batch)[0])


def _floats(model):
    """The parameters that are trained and the buffers of real numbers, a shared one once."""
    found = [t for t in _once(model) if t.dtype.kind == "f"]
    return [t for t in found if t.requires_grad or not isinstance(t, Parameter)]


def _arrays(model):
    """For each of `_floats` its gradient (zeros if it has none) or, of a buffer, its data."""

    def array(t):
        if not isinstance(t, Parameter):
            return t.data
        if t.grad is None:
            return devices.array_module(t.data).zeros_like(t.data)
        return t.grad.data

    return [array(t) for t in _floats(model)]


def _once(model):
    """The parameters and buffers of a model, a shared one once."""
    return list({id(t): t for _, t in model.tensors()}.values())


def nccl(rank: int, size: int, *, host: str | None = None, port: int | None = None) -> Group:
    """The Group of `size` processes with a GPU each, on one machine or several, through NCCL.

    Every process calls it, with ranks from 0; process 0 runs at `host`, where the others find it
    at `port` (CuPy's defaults: this machine, 13333).  The process then uses GPU rank % count.
    Between processes that trust each other only.  Raises RuntimeError without a GPU or NCCL.
    """
    found = communicator(rank, size, host, port)
    return Group(rank, size, lambda a: found.all_reduce(a, a), found.broadcast)


def mpi() -> Group:
    """The Group of the processes that `mpiexec -n SIZE python program.py` has started, through MPI.

    Arrays on a GPU travel by way of the host, and float16 as float32.  From here on an exception
    that nobody catches ends all processes, with its message, as the others would wait for ever;
    where a program calls sys.exit, `mpiexec -n SIZE python -m mpi4py program.py` does the same.
    Raises ImportError without mpi4py or without a library of MPI.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # it has its own name for a library that lacks
        raise ImportError(
            f'{error}; pip install "minidl[mpi]", and where the machine has no MPI of its own, '
            "pip install mpich"
        ) from error
    world = MPI.COMM_WORLD
    say = sys.excepthook

    def end(*error):
        say(*error)
        print(f"process {world.rank} of {world.size} has failed and ends all", file=sys.stderr)
        sys.stderr.flush()
        time.sleep(0.5)  # mpiexec passes words on a little later, and after an end no more
        world.Abort(1)

    def by_way_of_the_host(exchange):
        def run(array):
            mine = devices.to_numpy(array)
            if mine.dtype == np.float16:  # which MPI does not know
                mine = mine.astype(np.float32)
            exchange(mine)
            if mine is not array:
                array[...] = devices.to_device(mine.astype(array.dtype), devices.device_of(array))

        return run

    sys.excepthook = end
    return Group(
        world.rank,
        world.size,
        by_way_of_the_host(lambda a: world.Allreduce(MPI.IN_PLACE, a)),
        by_way_of_the_host(lambda a: world.Bcast(a, 0)),
    )
