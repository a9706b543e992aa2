"""The one door to arrays: which module an array belongs to, devices, random numbers.

The one rule of this file: whatever differs between NumPy and CuPy stands here, and only here is
CuPy imported.  Other files are given the array module as `xp`: xp.exp(a), never np.exp(a).

Explained in course/07.
"""

import ctypes
import os
import sys
import threading
from contextlib import contextmanager
from functools import partial
from itertools import chain

import numpy as np

NUMBERS = {bool, int, float, complex}  # these belong to any module
ARRAYS = {np.ndarray: np}  # array type -> the module whose functions take it
_devices = {"cpu": np}  # device name -> module
_generators = {}  # device name -> random generator
_copiers = {}  # module name -> the stream that copies to its device
_leaving = []  # (event, pinned memory): what must stay until a copy is done
_doubts = {}  # module name -> message -> whether it must be raised, an array of that device
_seed = 0


def _keep_what_is_freed():
    """Tell glibc to keep freed memory, up to 1 GB, for the next array.

    A tape keeps its results alive, so each would live in fresh pages, which cost far more than the
    arithmetic: without this, training takes up to twice as long (docs/decisions.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: bytes that may stay free at the end of the heap
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD: arrays up to this size lie in the heap


_keep_what_is_freed()


class _Modes(threading.local):
    """The documented modes, one set for each thread."""

    recording = True  # off inside `no_grad`
    record = None  # the graph that is being recorded, if any


modes = _Modes()


def add_device(name, module, array_type):
    """Make the array library `module`, whose arrays are `array_type`, known as device `name`.

    `module` offers NumPy's functions under NumPy's names, `asnumpy(a)` to bring an array back,
    and `random.default_rng(seed)`.  CuPy does; so does the stand-in device of the tests.
    """
    _devices[name] = module
    ARRAYS[array_type] = module


def array_module(*arrays):
    """Return the module that all `arrays` belong to; Python and NumPy scalars belong anywhere.

    Raises TypeError when two arrays live on different devices, or when one is no array at all.
    """
    found = None
    for a in arrays:
        if type(a) in NUMBERS:
            continue
        module = ARRAYS.get(type(a)) or _module_of_other(a)
        if found and module and module is not found:
            names = " and ".join(sorted({found.__name__, module.__name__}))
            raise TypeError(f"arrays live on different devices: {names}; move one with .to(device)")
        found = module or found
    return found or np


def _module_of_other(a):
    """The module of a scalar (None: any), or of a subclass of ndarray, or an error."""
    if isinstance(a, (bool, int, float, complex, np.generic)):
        return None
    if sys.modules.get("cupy"):
        _cupy()
    for kind, module in ARRAYS.items():
        if isinstance(a, kind):
            return module
    way = ".numpy() gives one" if hasattr(a, "numpy") else "minidl.tensor(...) makes one"
    raise TypeError(f"expected an array or a number, got {type(a).__name__}: {a!r:.60}; {way}")


def memory(a):
    """A number for the memory that array `a` lies in, the same for all its views."""
    a = plain(a)
    while getattr(a, "base", None) is not None and is_array(a.base):
        a = a.base
    return id(a) if isinstance(a, np.ndarray) or not is_array(a) else address(a)


def address(a):
    """Where the memory of array `a` begins, a number of bytes in its device's memory."""
    return a.ctypes.data if isinstance(a, np.ndarray) else a.data.ptr


def imported(module):
    """The lines of Python that make the array module known as `np`, NumPy itself as `numpy`."""
    if module is np:
        return ["import numpy as np"]
    if module.__name__ == "cupy":
        return ["import cupy as np", "import numpy"]
    name = next(name for name, m in _devices.items() if m is module)
    found = [f"np = device_module({name!r})"]
    return ["import numpy", "from minidl.backend import device_module", "", *found]


def python_numbers(inputs):
    """`inputs` with Python's numbers for NumPy's, which would turn float32 into float64."""
    return [i.item() if isinstance(i, np.generic) else i for i in inputs]


def repeated(xp, a, shape):
    """`a` broadcast to `shape`, a view; of one number it is made here, sooner than by NumPy."""
    if xp is np and a.size == 1 and a.ndim <= len(shape):
        return np.ndarray(shape, a.dtype, a, strides=(0,) * len(shape))
    return xp.broadcast_to(a, shape)


def require(fits, error):
    """Raise `error` unless `fits`."""
    if not fits:
        raise error


def is_array(a):
    """Whether `a` is an array of a known device."""
    return type(a) in ARRAYS or isinstance(a, tuple(ARRAYS))


def device_module(device):
    """The array module of a device name: "cpu", or "cuda" with CuPy and a GPU.

    Raises ValueError for an unknown name and RuntimeError when there is no usable GPU.
    """
    if device == "cuda" and device not in _devices:
        if not (status := cuda_status()).startswith("available"):
            raise RuntimeError(f"device 'cuda' cannot be used: {status}")
        _cupy()
    if device not in _devices:
        raise ValueError(f"unknown device {device!r}; expected one of {sorted(_devices)} or 'cuda'")
    return _devices[device]


def device_of(a):
    """The name of the device that array `a` lives on."""
    module = array_module(a)
    return next(name for name, m in _devices.items() if m is module)


def to_device(a, device):
    """Copy array `a` to `device`; an array that is there already is returned as it is."""
    module = device_module(device)
    if array_module(a) is module:
        return a
    moved, arrive = _send(module, to_numpy(a))
    arrive()
    return moved


def _send(module, a):
    """The NumPy array `a` on the device of `module`; a function that has the device wait for it.

    To a GPU it is copied from pinned memory, by a stream of its own, and the host goes on.  The
    copy waits for all that was asked of the GPU before, for its memory may be in use until then.
    """
    try:
        if not hasattr(module, "cuda") or not a.size:
            return module.asarray(a), lambda: None
        import cupyx

        if module.__name__ not in _copiers:
            _copiers[module.__name__] = module.cuda.Stream(non_blocking=True)
        copier = _copiers[module.__name__]
        a = np.asarray(a, a.dtype.newbyteorder("="))
        try:
            pinned = cupyx.empty_pinned(a.shape, a.dtype)
        except RuntimeError:  # the host has no memory left that can be pinned
            return module.asarray(a), lambda: None
        work = module.cuda.get_current_stream()
        pinned[...] = a
        copier.wait_event(work.record())
        with copier:
            moved = module.empty(a.shape, a.dtype)
            moved.set(pinned, stream=copier)
        done = copier.record()
    except MemoryError as error:
        raise explained(error, f"moving {a.nbytes:,} bytes to {module.__name__}", [a]) from error
    _leaving[:] = [(event, kept) for event, kept in _leaving if not event.done]
    _leaving.append((done, pinned))
    return moved, partial(work.wait_event, done)


def ahead(batches, device):
    """The batches, tuples of arrays, on `device`; the next is sent before each is given, so that
    copying it and computing with this one go on side by side.
    """
    module, before = device_module(device), None
    for batch in chain(batches, [None]):
        sent = None if batch is None else [_send(module, to_numpy(a)) for a in batch]
        if before is not None:
            for _, arrive in before:
                arrive()
            yield tuple(a for a, _ in before)
        before = sent


def explained(error, what, arrays, attrs=()):
    """The same kind of error, with what was done and on which shapes.

    Where memory ran out, devices give back what they keep for the next array (CuPy's pool).
    """
    for module in _devices.values():
        if isinstance(error, MemoryError) and hasattr(module, "get_default_memory_pool"):
            module.get_default_memory_pool().free_all_blocks()
    given = " and ".join(str(getattr(a, "shape", a)) for a in arrays)
    given += " with " * bool(attrs) + ", ".join(f"{k}={attrs[k]}" for k in attrs)
    kinds = ValueError, IndexError, TypeError, MemoryError
    kind = next(k for k in kinds if isinstance(error, k))
    return kind(f"{what}: cannot work on shapes {given}: {error}")


def to_numpy(a):
    """The values of `a` as a NumPy array; no copy if it is one.

    From another device the answers to its doubts come along: see `doubt`.
    """
    module = array_module(a)
    if module is np:
        return np.asarray(a)
    doubts = _doubts.pop(module.__name__, {})
    if doubts and a.size == 1 and a.dtype.kind == "f":  # a loss: one transfer for all
        values = [module.asarray(v).reshape(()).astype("f8") for v in (a, *doubts.values())]
        found, *wrong = module.asnumpy(module.stack(values))
        found = np.asarray(found, a.dtype).reshape(a.shape)
    else:
        found = module.asnumpy(a)
        wrong = module.asnumpy(module.stack([*doubts.values()])) if doubts else ()
    for message, is_wrong in zip(doubts, wrong):
        if is_wrong:
            raise ValueError(message)
    return found


def doubt(wrong, message):
    """Raise ValueError with `message` if `wrong`, one truth value, on whatever device it lies.

    To ask another device would make it and the host wait for each other.  So it is asked with the
    next values that the host takes from there, and raises then.
    """
    module = array_module(wrong)
    if module is not np:
        kept = _doubts.setdefault(module.__name__, {})
        kept[message] = kept[message] | wrong if message in kept else wrong
    elif wrong:
        raise ValueError(message)


def _cupy():
    import cupy

    add_device("cuda", cupy, cupy.ndarray)
    return cupy


def cuda_status():
    """One sentence: "available: ...", or why no GPU can be used."""
    try:
        import cupy
    except ImportError:
        return 'CuPy is not installed; pip install "minidl[gpu]"'
    try:  # CuPy imports without a GPU too, so the driver is asked
        count = cupy.cuda.runtime.getDeviceCount()
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode() if count else ""
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} is installed, but the driver answers: {error}"
    return f"available: {count} x {name}, CuPy {cupy.__version__}" if count else "no GPU was found"


def replayed(xp):
    """A decorator for a function that only asks the GPU of `xp` to work on arrays that stay where
    they are: its second call is captured as a CUDA graph, which all others launch as a whole.
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


def nccl(rank, size, host=None, port=None):
    """CuPy's communicator of `size` processes, this being number `rank`: see `distributed.nccl`.

    From here on this process uses the GPU of that number, among those of its machine.
    """
    cupy = device_module("cuda")
    import cupyx.distributed  # which loads cupy.cuda.nccl, as cupy itself does not

    if not cupy.cuda.nccl.available:
        raise RuntimeError(
            "several GPUs need the NCCL library, which CuPy did not find: "
            "pip install nvidia-nccl-cu13 (for CUDA 12: nvidia-nccl-cu12)"
        )
    _copiers.clear()  # a stream and a generator belong to the GPU on which they were made
    _generators.pop(cupy.__name__, None)
    cupy.cuda.Device(rank % cupy.cuda.runtime.getDeviceCount()).use()
    return cupyx.distributed.init_process_group(size, rank, host=host, port=port)


def manual_seed(seed):
    """Start the random numbers of every device again from `seed`, an integer from 0."""
    global _seed
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"expected a seed, an integer from 0, got {seed!r:.60}")
    _seed = int(seed)
    _generators.clear()


def generator(xp=np):
    """The random generator (NumPy's `Generator` interface) of the device whose module is `xp`."""
    if xp.__name__ not in _generators:
        _generators[xp.__name__] = xp.random.default_rng(_seed)
    return _generators[xp.__name__]


def random_state():
    """The state of the CPU's generator, a dict of plain numbers and strings (for checkpoints)."""
    return {"seed": _seed, "cpu": generator().bit_generator.state}


def set_random_state(state):
    """Put back what `random_state` gave; other devices start again from the seed."""
    manual_seed(state["seed"])
    generator().bit_generator.state = state["cpu"]


@contextmanager
def no_grad():
    """Inside, results are not recorded and have `requires_grad` False.  Also a decorator."""
    before, modes.recording = modes.recording, False
    try:
        yield
    finally:
        modes.recording = before


def asked(function):
    """The number function(): while a graph is recorded, one that is asked for at each run."""
    return modes.record.number(function) if modes.record else function()


def effect(function, *args):
    """function(*args), called for what it does: again at each run of a recorded graph."""
    return modes.record.effect(function, *args) if modes.record else function(*args)


def plain(a):
    """`a` itself, or the array behind one that is being recorded."""
    return a.array if modes.record and hasattr(a, "array") else a
