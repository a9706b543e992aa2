"""The GPU by way of CuPy: whether there is one, copies that run beside the work, CUDA graphs.

The one rule of this file: `xp` is CuPy, handed in by whoever already has it.  Only `load` imports
it; `send` needs its companion cupyx.

Explained in course/22.
"""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

_copiers = {}  # module name -> the stream that copies to its device
_leaving = []  # (event, pinned memory): what must stay until a copy is done


def load() -> ModuleType:
    """The module CuPy.  Raises ImportError where it is not installed."""
    import cupy

    return cupy


def status() -> str:
    """One sentence: "available: ..." and which GPUs, or why none can be used."""
    try:
        cupy = load()
    except ImportError:
        return 'CuPy is not installed; pip install "minidl[gpu]"'
    try:  # CuPy imports without a GPU too, so the driver is asked
        count = cupy.cuda.runtime.getDeviceCount()
        name = ""
        if count:
            name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} is installed, but the driver answers: {error}"
    if not count:
        return "no GPU was found"
    return f"available: {count} x {name}, CuPy {cupy.__version__}"


def send(xp: ModuleType, a: np.ndarray) -> tuple[Any, Callable[[], object]]:
    """(copy, arrive): the NumPy array `a` on the GPU of `xp`; arrive() has the GPU wait for it.

    It is copied from pinned memory, by a stream of its own, and the host goes on.  The copy waits
    for all that was asked of the GPU before, for its memory may be in use until then.
    """
    import cupyx

    if xp.__name__ not in _copiers:
        _copiers[xp.__name__] = xp.cuda.Stream(non_blocking=True)
    copier = _copiers[xp.__name__]
    a = np.asarray(a, a.dtype.newbyteorder("="))
    try:
        pinned = cupyx.empty_pinned(a.shape, a.dtype)
    except RuntimeError:  # the host has no memory left that can be pinned
        return xp.asarray(a), lambda: None
    work = xp.cuda.get_current_stream()
    pinned[...] = a
    copier.wait_event(work.record())
    with copier:
        moved = xp.empty(a.shape, a.dtype)
        moved.set(pinned, stream=copier)
    done = copier.record()
    _leaving[:] = [(event, kept) for event, kept in _leaving if not event.done]
    _leaving.append((done, pinned))
    return moved, partial(work.wait_event, done)


def free_memory(xp: ModuleType) -> None:
    """Give back what CuPy keeps for the next array."""
    if hasattr(xp, "get_default_memory_pool"):
        xp.get_default_memory_pool().free_all_blocks()


def replayed(xp: ModuleType) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """A decorator: the function's second call becomes a CUDA graph, which later calls launch.

    The function may do nothing but ask the GPU of `xp` to work on arrays that stay where they are.
    """

    def decorate(function):
        stream = graph = None

        def run():
            nonlocal stream, graph
            if stream is None:  # the first call, in which CuPy compiles its kernels
                stream = xp.cuda.Stream(non_blocking=True)
                return function()
            if graph is None:
                with stream:
                    stream.begin_capture()
                    try:
                        function()
                    finally:
                        captured = stream.end_capture()
                graph = captured
            graph.launch()

        return run

    return decorate
