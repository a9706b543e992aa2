"""The one door to arrays: which module an array belongs to, and how it gets from one to another.

The one rule of this file: whatever differs between NumPy and CuPy stands here or in gpu/.  Other
files are given the array module as `xp`: xp.exp(a), never np.exp(a).

Explained in course/07.
"""

import ctypes
import os
import sys

import numpy as np

from ..gpu import doubts, streams

NUMBERS = {bool, int, float, complex}  # these belong to any module
ARRAYS = {np.ndarray: np}  # array type -> the module whose functions take it
_devices = {"cpu": np}  # device name -> module


def _keep_what_is_freed():
    """Tell glibc to keep freed memory, up to 1 GB, for the next array.

    A record keeps its results alive, so each would live in fresh pages, which cost far more than
    the arithmetic: without this, training takes up to twice as long (docs/decisions.md).
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: bytes that may stay free at the end of the heap
        mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD: arrays up to this size lie in the heap


_keep_what_is_freed()


# ---- which module


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
        kind = type(a)
        if kind in NUMBERS:
            continue
        module = ARRAYS.get(kind) or _module_of_other(a)
        if module is None or module is found:
            continue
        if found is not None:
            names = " and ".join(sorted({found.__name__, module.__name__}))
            raise TypeError(f"arrays live on different devices: {names}; move one with .to(device)")
        found = module
    return found or np


def _module_of_other(a):
    """The module of a scalar (None: any), or of a subclass of ndarray, or an error."""
    if isinstance(a, (bool, int, float, complex, np.generic)):
        return None
    if sys.modules.get("cupy"):
        _add_cuda()
    for kind, module in ARRAYS.items():
        if isinstance(a, kind):
            return module
    way = "minidl.tensor(...) makes one"
    if hasattr(a, "numpy"):
        way = ".numpy() gives one"
    raise TypeError(f"expected an array or a number, got {type(a).__name__}: {a!r:.60}; {way}")


def is_array(a):
    """Whether `a` is an array of a known device."""
    return type(a) in ARRAYS or isinstance(a, tuple(ARRAYS))


def address(a):
    """Where the memory of array `a` begins, a number of bytes in its device's memory."""
    if isinstance(a, np.ndarray):
        return a.ctypes.data
    return a.data.ptr


def repeated(xp, a, shape):
    """`a` broadcast to `shape`, a view; of one number it is made here, sooner than by NumPy."""
    if xp is np and a.size == 1 and a.ndim <= len(shape):
        return np.ndarray(shape, a.dtype, a, strides=(0,) * len(shape))
    return xp.broadcast_to(a, shape)


# ---- which device, and from one to another


def device_module(device):
    """The array module of a device name: "cpu", or "cuda" with CuPy and a GPU.

    Raises ValueError for an unknown name and RuntimeError when there is no usable GPU.
    """
    if device == "cuda" and device not in _devices:
        status = streams.status()
        if not status.startswith("available"):
            raise RuntimeError(f"device 'cuda' cannot be used: {status}")
        _add_cuda()
    if device not in _devices:
        raise ValueError(f"unknown device {device!r}; expected one of {sorted(_devices)} or 'cuda'")
    return _devices[device]


def _add_cuda():
    cupy = streams.load()
    add_device("cuda", cupy, cupy.ndarray)


def device_of(a):
    """The name of the device that array `a` lives on."""
    module = array_module(a)
    return next(name for name, m in _devices.items() if m is module)


def to_device(a, device):
    """Copy array `a` to `device`; an array that is there already is returned as it is."""
    module = device_module(device)
    if array_module(a) is module:
        return a
    moved, arrive = send(module, to_numpy(a))
    arrive()
    return moved


def send(module, a):
    """The NumPy array `a` on the device of `module`; a function that has the device wait for it."""
    try:
        if hasattr(module, "cuda") and a.size:
            return streams.send(module, a)
        return module.asarray(a), lambda: None
    except MemoryError as error:
        raise explained(error, f"moving {a.nbytes:,} bytes to {module.__name__}", [a]) from error


def to_numpy(a):
    """The values of `a` as a NumPy array; no copy if it is one.

    From another device the answers to its doubts come along: see gpu/doubts.py.
    """
    xp = array_module(a)
    if xp is np:
        return np.asarray(a)
    return doubts.brought(xp, a)


def explained(error, what, arrays, attrs=()):
    """The same kind of error, with what was done and on which shapes."""
    if isinstance(error, MemoryError):
        for module in _devices.values():
            streams.free_memory(module)
    given = " and ".join(str(getattr(a, "shape", a)) for a in arrays)
    if attrs:
        given += " with " + ", ".join(f"{name}={value}" for name, value in attrs.items())
    kinds = ValueError, IndexError, TypeError, MemoryError
    kind = next(kind for kind in kinds if isinstance(error, kind))
    return kind(f"{what}: cannot work on shapes {given}: {error}")
