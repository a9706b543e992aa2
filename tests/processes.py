"""Real processes for test_distributed: they meet through pipes, as GPUs meet through NCCL.

`together(n, work, *args)` runs work(group, *args) in n processes and returns what each returned;
`outcomes` does so too, and an exception that one of them raised stands in its place.
"""

import multiprocessing
import traceback
from functools import partial

import numpy as np

from minidl.distributed import Group
from minidl.engine import devices

SECONDS = 300  # after which a test says that processes wait for each other; the machine may be busy


def _exchange(pipes, array, combine):
    """Process 0 makes one array of those of all, and everyone changes `array` into it."""
    xp = devices.array_module(array)
    assert array.ndim == 1 and array.flags.c_contiguous
    mine = array if xp is np else xp.asnumpy(array)
    if isinstance(pipes, list):
        found = combine([mine, *(pipe.recv() for pipe in pipes)])
        for pipe in pipes:
            pipe.send(found)
    else:
        pipes.send(mine)
        found = pipes.recv()
    array[...] = xp.asarray(found)


def _sum(arrays):
    """In the order of the processes."""
    total = arrays[0].copy()
    for a in arrays[1:]:
        assert (a.shape, a.dtype) == (total.shape, total.dtype)
        total += a
    return total


def _first(arrays):
    return arrays[0]


def _process(rank, size, pipes, answer, work, args):
    import conftest  # the stand-in device

    assert conftest.DEVICES
    all_reduce, broadcast = (partial(_exchange, pipes, combine=f) for f in (_sum, _first))
    try:
        found = work(Group(rank, size, all_reduce, broadcast), *args)
    except Exception as error:
        found = type(error)(str(error))
        found.add_note(traceback.format_exc())
    answer.send(found)


def together(n, work, *args):
    """What each of n processes returned; AssertionError if one raised something, with its words."""
    found = outcomes(n, work, *args)
    failed = {rank: one for rank, one in enumerate(found) if isinstance(one, Exception)}
    words = [f"process {rank} of {n} raised {one!r}" for rank, one in failed.items()]
    words += [note for one in failed.values() for note in one.__notes__]
    assert not failed, "\n".join(words)
    return found


def outcomes(n, work, *args):
    """What each of n processes returned or raised; AssertionError if one of them waits forever."""
    context = multiprocessing.get_context("spawn")
    to_others = [context.Pipe() for _ in range(n - 1)]
    answers = [context.Pipe(duplex=False) for _ in range(n)]
    running = []
    for rank in range(n):
        pipes = to_others[rank - 1][1] if rank else [mine for mine, _ in to_others]
        given = (rank, n, pipes, answers[rank][1], work, args)
        running.append(context.Process(target=_process, args=given))
        running[-1].start()
    try:
        found = []
        for rank, (answer, _) in enumerate(answers):
            assert answer.poll(SECONDS), f"process {rank} of {n} waits for another"
            found.append(answer.recv())
        return found
    finally:
        for process in running:
            process.terminate()
            process.join()
