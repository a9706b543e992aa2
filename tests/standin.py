"""A device that is as strict as a GPU: its arrays refuse NumPy's functions and NumPy's arrays.

CuPy behaves so, and code that passes here has no hidden way through NumPy.  A module object,
`module`, offers NumPy's functions for these arrays; results are never NumPy scalars.
"""

import types

import numpy as np


def unwrap(x):
    """The NumPy array inside `x`, also inside lists and tuples; a bare ndarray is an error."""
    if isinstance(x, StandinArray):
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'> on the stand-in device")
    if isinstance(x, (list, tuple)):
        return type(x)(unwrap(part) for part in x)
    return x


def wrap(x):
    if isinstance(x, (np.ndarray, np.generic)):
        return StandinArray(np.asarray(x))
    if isinstance(x, (list, tuple)) and any(isinstance(part, np.ndarray) for part in x):
        return type(x)(wrap(part) for part in x)
    return x


class StandinArray:
    """Holds an ndarray and lets nobody at it but this module."""

    __hash__ = None

    def __init__(self, a):
        self._a = a

    def _refuse(self, *args, **options):
        raise TypeError("implicit conversion of a stand-in array to NumPy is not allowed")

    __array__ = __array_ufunc__ = __array_function__ = _refuse

    shape = property(lambda self: self._a.shape)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    dtype = property(lambda self: self._a.dtype)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    T = property(lambda self: wrap(self._a.T))

    def __len__(self):
        return len(self._a)

    def __bool__(self):
        return bool(self._a)

    def __int__(self):
        return int(self._a)

    def __float__(self):
        return float(self._a)

    def __repr__(self):
        return f"standin({self._a!r})"

    def __getitem__(self, key):
        return wrap(self._a[unwrap(key)])

    def __setitem__(self, key, value):
        self._a[unwrap(key)] = unwrap(value)

    def item(self):
        return self._a.item()

    def tolist(self):
        return self._a.tolist()


def _method(name):
    def method(self, *args, **options):
        found = getattr(self._a, name)
        options = {k: unwrap(v) for k, v in options.items()}
        return wrap(found(*(unwrap(a) for a in args), **options))

    return method


for _name in "sum max min mean argmax reshape transpose astype copy ravel all any".split():
    setattr(StandinArray, _name, _method(_name))
for _name in (
    "add radd sub rsub mul rmul truediv rtruediv pow rpow matmul rmatmul neg "
    "eq ne lt le gt ge and or invert".split()
):
    setattr(StandinArray, f"__{_name}__", _method(f"__{_name}__"))


class _Function:
    """A NumPy function that takes and gives stand-in arrays; `.at` of a ufunc likewise."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **options):
        options = {k: unwrap(v) for k, v in options.items()}
        return wrap(self.function(*(unwrap(a) for a in args), **options))

    def at(self, *args):
        self.function.at(*(unwrap(a) for a in args))


class _Generator:
    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def random(self, *args, **options):
        return wrap(self._rng.random(*args, **options))

    def standard_normal(self, *args, **options):
        return wrap(self._rng.standard_normal(*args, **options))


class _Module(types.ModuleType):
    def __getattr__(self, name):
        found = getattr(np, name)
        return _Function(found) if callable(found) and not isinstance(found, type) else found


def _take(a, dtype=None, copy=None):
    inner = a._a if isinstance(a, StandinArray) else a
    return StandinArray(np.array(inner, dtype=dtype))


module = _Module("standin")
module.array = module.asarray = _take
module.asnumpy = lambda a: a._a.copy()
module.random = types.SimpleNamespace(default_rng=_Generator)
