"""The one door to arrays: which module an array belongs to, and how it gets from one to another.

The one rule of this file: whatever differs between NumPy and CuPy stands here or in gpu/.  Other
files are given the array module as `xp`: xp.exp(a), never np.exp(a).

Explained in course/07.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

import numpy as np

from .. import advice
from ..gpu import doubts, streams
from .intercept import primitives

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType
    from typing import Any

    Array = np.ndarray  # to a type checker: an array of any device has NumPy's interface
SCALARS = {bool, int, float, complex}  # these belong to any module
ARRAYS: dict[type, ModuleType] = {np.ndarray: np}  # array type -> module whose functions take it
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


def add_device(name: str, module: ModuleType, array_type: type) -> None:
    """Make the array library `module`, whose arrays are `array_type`, known as device `name`.

    `module` offers NumPy's functions under NumPy's names, `asnumpy(a)` to bring an array back,
    and `random.default_rng(seed)`.  CuPy does; so does the stand-in device of the tests.
    """
    _devices[name] = module
    ARRAYS[array_type] = module


def array_module(*arrays: Any) -> ModuleType:
    """The module that all `arrays` belong to, NumPy if none does; scalars belong to any.

    Raises TypeError when two arrays live on different devices, or when one is no array at all.
    """
    found = None
    for a in arrays:
        kind = type(a)
        if kind in SCALARS:
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


def is_array(a: object) -> bool:
    """Whether `a` is an array of a known device."""
    return type(a) in ARRAYS or isinstance(a, tuple(ARRAYS))


def address(a: Any) -> int:
    """Where the memory of array `a` begins: the number of a byte in its device's memory."""
    if isinstance(a, np.ndarray):
        return a.ctypes.data
    return a.data.ptr


def repeated(xp: ModuleType, a: Array, shape: tuple[int, ...]) -> Array:
    """A view of `a`, broadcast to `shape`.

    Where `a` has one element and NumPy holds it, the view is made here: broadcast_to takes longer.
    """
    if xp is np and a.size == 1 and a.ndim <= len(shape):
        return np.ndarray(shape, a.dtype, a, strides=(0,) * len(shape))
    return xp.broadcast_to(a, shape)


# ---- which device, and from one to another


def device_module(device: str) -> ModuleType:
    """The array module of a device name: NumPy of "cpu", CuPy of "cuda".

    Raises ValueError for an unknown name and RuntimeError when there is no usable GPU.
    """
    if device == "cuda" and device not in _devices:
        status = streams.status()
        if not status.startswith("available"):
            raise RuntimeError(f"device 'cuda' cannot be used: {status}")
        _add_cuda()
    if not isinstance(device, str) or device not in _devices:
        raise ValueError(
            f'unknown device {device!r:.60}; expected "cpu" or "cuda" (CUDA_VISIBLE_DEVICES says '
            'which GPU); a type is given so: x.astype("float64"), model.to(dtype="float64")'
        )
    return _devices[device]


def _add_cuda():
    cupy = streams.load()
    add_device("cuda", cupy, cupy.ndarray)


def device_of(a: Array) -> str:
    """The name of the device that array `a` lives on."""
    module = array_module(a)
    return next(name for name, m in _devices.items() if m is module)


def to_device(a: Array, device: str) -> Array:
    """A copy of array `a` on `device`; an array that is there already is returned as it is."""
    module = device_module(device)
    if array_module(a) is module:
        return a
    moved, arrive = send(module, to_numpy(a))
    arrive()
    return moved


def send(module: ModuleType, a: np.ndarray) -> tuple[Array, Callable[[], object]]:
    """(copy, arrive): the NumPy array `a` on the device of `module`, and a function.

    The copy may be on its way still; arrive() has the device wait for it before what it does next.
    """
    try:
        if hasattr(module, "cuda") and a.size:
            return streams.send(module, a)
        return module.asarray(a), lambda: None
    except MemoryError as error:
        raise explained(error, f"moving {a.nbytes:,} bytes to {module.__name__}", [a]) from error


def to_numpy(a: Any) -> np.ndarray:
    """The values of `a` as a NumPy array; no copy if it is one.

    From another device come with it the answers to questions asked there earlier, such as whether
    labels were in range, and may raise ValueError: see gpu/doubts.py.
    """
    xp = array_module(a)
    if xp is np:
        return np.asarray(a)
    return doubts.brought(xp, a)


def explained(
    error: Exception, what: str, arrays: Sequence[Any], attrs: Mapping[str, Any] | None = None
) -> Exception:
    """The error to raise in place of `error`: of its kind, and it says what was done, on what.

    After a MemoryError the devices give back the memory that they keep for later.
    """
    if isinstance(error, MemoryError):
        for module in _devices.values():
            streams.free_memory(module)
    given = " and ".join(str(getattr(a, "shape", a)) for a in arrays)
    if attrs:
        given += " with " + ", ".join(f"{name}={value}" for name, value in attrs.items())
    kinds = ValueError, IndexError, TypeError, MemoryError
    kind = next(kind for kind in kinds if isinstance(error, kind))
    text = str(error)
    if "core dimension" in text:  # of NumPy's matmul
        text = "the last axis of the first must be as long as the last but one of the second"
    if what in primitives and kind is TypeError:
        text = advice.about_arguments(primitives[what].forward, text, attrs or {}) or text
    return kind(f"{what}: cannot work on shapes {given}: {text}")
