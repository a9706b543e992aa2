"""A device that refuses what CuPy refuses, for machines without a GPU.

Its arrays hold a NumPy array that nobody else may touch: NumPy's functions do not take them,
and its functions and operators do not take NumPy's arrays.  Reductions give arrays without
axes, never scalars.  Transfers are counted.  conftest.py makes it known as the device "standin".
"""

import functools
import operator
from collections import Counter
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import in_c
import numpy as np

SCALARS = (bool, int, float, complex, np.generic)


transfers = Counter()  # "in", "out" -> how often values went from the host to the device, or back


@contextmanager
def counted():
    """The transfers inside the `with`, a Counter."""
    before, found = Counter(transfers), Counter()
    yield found
    found.update(transfers - before)


captured = None  # the calls of a CUDA graph while it is captured


def _unless_captured(what, run, quiet):
    """run(), or while a graph is captured: keep it for later, if it is `quiet`, as CuPy would."""
    if captured is None:
        return run()
    if not quiet:
        raise NotImplementedError(f"{what} during stream capture is unsupported")
    captured.append(run)
    return None


class Stream:
    """A stream of the stand-in, which is there to capture."""

    def __init__(self, non_blocking):
        assert non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        global captured
        captured, left = None, captured
        assert left is None

    def begin_capture(self):
        global captured
        captured = []

    def end_capture(self):
        global captured
        calls, captured = captured, None
        return SimpleNamespace(launch=lambda: [call() for call in calls])


def _wrap(a):
    """Arrays and NumPy scalars as StandinArrays, also inside tuples and lists."""
    if isinstance(a, (tuple, list)):
        return type(a)(_wrap(part) for part in a)
    return StandinArray(np.asarray(a)) if isinstance(a, (np.ndarray, np.generic)) else a


def _unwrap(a):
    """StandinArrays as NumPy arrays, also inside tuples and lists; bare arrays are refused."""
    if isinstance(a, (tuple, list)):
        return type(a)(_unwrap(part) for part in a)
    if isinstance(a, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return a._a if isinstance(a, StandinArray) else a


def _guarded(function):
    """`function` of NumPy as a function of StandinArrays."""

    def call(*args, **kwargs):
        if isinstance(function, np.ufunc) and any(isinstance(a, (list, tuple)) for a in args):
            raise TypeError(f"Unsupported type <class 'list'> for {function.__name__}")
        given = _unwrap(args), {k: _unwrap(v) for k, v in kwargs.items()}
        name = getattr(function, "__name__", "")
        if unknown := kwargs.keys() & {"where", "initial", "mode"}:
            raise TypeError(f"{name}: CuPy takes no argument {unknown}")
        out = kwargs.get("out")
        apart = out is None or not any(  # else CuPy copies the operand first: it allocates
            isinstance(a, StandinArray) and a is not out and np.may_share_memory(a._a, out._a)
            for a in args
        )
        quiet = name == "fill" or (isinstance(function, np.ufunc) and "out" in kwargs and apart)
        run = lambda: _wrap(function(*given[0], **given[1]))  # noqa: E731
        return _unless_captured(name, run, quiet and name != "matmul")

    if isinstance(function, np.ufunc):
        call.at = _guarded(function.at)
        if function in (np.add, np.multiply):  # as in CuPy
            call.reduce = _guarded(function.reduce)
    return call


class StandinArray:
    """An array of the stand-in device."""

    __slots__ = ("__weakref__", "_a")
    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, a):
        self._a = a

    data = property(lambda self: SimpleNamespace(ptr=self._a.ctypes.data))  # as CuPy's

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed; use asnumpy(a)")

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} does not take arrays of the stand-in device")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self._a, name)
        return _guarded(value) if callable(value) else _wrap(value)

    def _out(self):
        """The array behind, for the host to look at."""
        transfers["out"] += 1
        return self._a

    def item(self):
        return self._out().item()

    def tolist(self):
        return self._out().tolist()

    def __getitem__(self, key):
        key = key[0] if isinstance(key, tuple) and len(key) == 1 else key
        if isinstance(key, StandinArray) and key.dtype.kind in "iu" and len(self):
            key = key.astype("int64") % len(self)  # as in CuPy, what is too large wraps around
        return _wrap(self._a[_unwrap(key)])

    def __setitem__(self, key, value):
        place, value = _unwrap(key), _unwrap(value)
        _unless_captured("setitem", lambda: self._a.__setitem__(place, value), True)

    def __len__(self):
        return len(self._a)

    def __bool__(self):
        return bool(self._out())

    def __int__(self):
        return int(self._out())

    def __float__(self):
        return float(self._out())

    def __iter__(self):
        return iter(_wrap(list(self._a)))

    def __repr__(self):
        return f"standin.{self._a!r}"

    def __format__(self, spec):
        return format(self._a, spec)

    def __str__(self):
        return str(self._a)


def _binary(name):
    """The operator `name` (say "add") of StandinArray, by what `operator` has under that name."""

    def method(self, other):
        if not isinstance(other, (StandinArray, np.ndarray, *SCALARS)):
            return NotImplemented
        y = getattr(operator, name)(self._a, _unwrap(other))
        return self if y is self._a else _wrap(y)

    def swapped(self, other):
        if not isinstance(other, (np.ndarray, *SCALARS)):
            return NotImplemented
        return _wrap(getattr(operator, name)(_unwrap(other), self._a))

    return method, swapped


def _unary(name):
    return lambda self: _wrap(getattr(operator, name)(self._a))


for _name in "add sub mul truediv floordiv mod pow matmul and_ or_ xor".split():
    _plain = _name.rstrip("_")
    _method, _swapped = _binary(_name)
    setattr(StandinArray, f"__{_plain}__", _method)
    setattr(StandinArray, f"__r{_plain}__", _swapped)
    setattr(StandinArray, f"__i{_plain}__", _binary(f"i{_plain}")[0])
for _name in "eq ne lt le gt ge".split():
    setattr(StandinArray, f"__{_name}__", _binary(_name)[0])
for _name in "neg pos abs invert".split():
    setattr(StandinArray, f"__{_name}__", _unary(_name))


class _Generator:
    """NumPy's random generator, whose draws are StandinArrays."""

    def __init__(self, seed):
        self._generator = np.random.default_rng(seed)

    def __getattr__(self, name):
        return _guarded(getattr(self._generator, name))


class _Module(ModuleType):
    """NumPy's names: functions are guarded, types and constants are what they are."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(np, name)
        return value if isinstance(value, type) or not callable(value) else _guarded(value)


def _transfer(a, dtype=None, *, copy=True):
    """A new StandinArray of a NumPy array, a number or nested lists."""
    transfers["in"] += not isinstance(a, StandinArray)
    return StandinArray(np.array(a._a if isinstance(a, StandinArray) else a, dtype=dtype))


def _as_array(a, dtype=None):
    """As `_transfer`, but a StandinArray that is right already is returned as it is."""
    same = isinstance(a, StandinArray) and (dtype is None or a.dtype == dtype)
    return a if same else _transfer(a, dtype)


standin = _Module("standin", __doc__)


def _where(condition, *args):
    if not isinstance(condition, StandinArray):
        raise AttributeError(f"{type(condition).__name__!r} object has no attribute 'astype'")
    return _guarded(np.where)(condition, *args)


standin.ndarray = StandinArray
standin.where = _where  # as in CuPy
standin.array = _transfer
standin.take = _guarded(functools.partial(np.take, mode="wrap"))  # as in CuPy
standin.asarray = _as_array
standin.asnumpy = lambda a: a._out().copy()
standin.random = ModuleType("standin.random")
standin.random.default_rng = _Generator
if in_c.COMPILER:  # else compiled steps run line by line

    class ElementwiseKernel(in_c.ElementwiseKernel):
        def __call__(self, *args):
            _unless_captured(
                "a kernel", lambda: super(ElementwiseKernel, self).__call__(*args), True
            )

    standin.ElementwiseKernel = ElementwiseKernel
