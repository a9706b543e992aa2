"""Recording: arrays that compute as ever, and write down each call that is made with them.

The one rule of this file: a trace is a list of NumPy calls in the order in which they happened.
While it is made, Tensors hold `Traced` arrays; so whatever works on any device can be traced:
operations, gradients, updates, random draws, running statistics.

Explained in course/20.
"""

import math
import operator

import numpy as np

from ..engine import devices
from ..engine.intercept import modes
from ..engine.tensor import Tensor
from .lines import PLACED, VIEWS, Line, Value, call, flat, layout, mapped

NUMBERS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
           "divide": operator.truediv, "power": operator.pow}  # fmt: skip


class Traced:
    """An array whose operators and methods are written down.

    array: what it holds now.  value: its Value in the trace.
    """

    __slots__ = ("array", "value")
    __hash__ = None

    def __init__(self, array, value):
        self.array = array
        self.value = value

    shape = property(lambda self: getattr(self.array, "shape", ()))
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    dtype = property(lambda self: self.array.dtype)
    T = property(lambda self: self.transpose())  # (n, ..., m) -> (m, ..., n)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is None and ufunc.nin == 2:  # a NumPy array to the left of an operator
            return write(ufunc.__name__, *inputs)
        raise TypeError(
            "NumPy cannot compute with what is being traced: use minidl's operations, and change "
            "in place the .data of such Tensors only that an operation here has used before"
        )

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        for part in flat(key):
            if isinstance(part, Traced) and part.dtype == bool and part.value.kind != "constant":
                raise RuntimeError(
                    "x[mask] was met while a graph was traced: how many elements a mask takes that "
                    "is a Tensor may be another number at each run, and a graph has fixed "
                    "shapes. Keep all elements, with x * mask or minidl.where(mask, x, 0), and for "
                    "a mean divide by mask.sum(); or do not compile this function"
                )
        return write("getitem", self, key)

    def __setitem__(self, key, new):
        parts = key if isinstance(key, tuple) else (key,)
        if not any(part is Ellipsis for part in parts):
            parts = *parts, ...  # an element is a place in memory too, not a number
        place = self[parts]
        if place.size and place.value.base is not self.value.base:
            raise RuntimeError(
                "while a graph is traced, only slices and single elements are written in place, "
                "no places that an array picks: choose with minidl.where"
            )
        same = isinstance(new, Traced) and _same_memory(new.array, place.array)
        if not same:  # it is, after y[i] += x
            write("copyto", place, new, into=place)

    def reshape(self, *shape):
        if len(shape) == 1:
            shape = shape[0]
        return write("reshape", self, shape)

    def transpose(self, *axes):
        if len(axes) == 1:
            axes = axes[0]
        return write("transpose", self, axes or None)

    def sum(self, axis=None, keepdims=False):
        return write("add.reduce", self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return write("maximum.reduce", self, axis=axis, keepdims=keepdims)

    def astype(self, dtype, copy=True):
        if dtype == self.dtype and not copy:
            return self
        return write("astype", self, np.dtype(dtype))

    def copy(self):
        return write("copy", self)

    def _value(self, *_):
        raise RuntimeError(
            "the value of a tensor was asked for while a graph was traced (an `if` or `while` on "
            "it, .item(), .numpy(), float(), print): the trace would keep the answer of this one "
            "run. Return the tensor and look at it outside, choose with minidl.where, or do not "
            "compile this function. A float that is given as an argument counts as a tensor: one "
            "that decides something belongs into a variable of the function, or functools.partial; "
            "a list of numbers is made an array before, np.array(rows)"
        )

    __bool__ = __int__ = __float__ = __index__ = __iter__ = item = tolist = __array__ = _value
    __repr__ = __str__ = __format__ = any = all = min = _value


def _operators():
    """Give Traced the operators, each of which is a function of NumPy."""
    two = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
           "mod": "remainder", "matmul": "matmul", "and": "bitwise_and",
           "or": "bitwise_or"}  # fmt: skip
    compare = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
               "gt": "greater", "ge": "greater_equal"}  # fmt: skip
    for name, f in two.items():
        setattr(Traced, f"__r{name}__", lambda a, b, f=f: write(f, b, a))
        setattr(Traced, f"__i{name}__", lambda a, b, f=f: write(f, a, b, into=a))
    for name, f in (two | compare).items():
        setattr(Traced, f"__{name}__", lambda a, b, f=f: write(f, a, b))
    for name, f in {"neg": "negative", "invert": "invert", "abs": "absolute"}.items():
        setattr(Traced, f"__{name}__", lambda a, f=f: write(f, a))


_operators()


def _power(a, b):
    """As ** does it for squares and roots, which the function `power` takes by logarithms."""
    real = devices.is_array(a.array) and a.dtype.kind == "f" and type(b) in (int, float)
    if real and b == 2:
        return write("multiply", a, a)
    if real and b == 0.5:
        return write("sqrt", a)
    return write("power", a, b)


Traced.__pow__ = _power


def _same_memory(a, b):
    here, there = devices.address(a), devices.address(b)
    return (here, a.shape, a.strides) == (there, b.shape, b.strides)


def write(function, *args, into=None, **options):
    """Compute function(*args, **options), write the call down, and return the Traced result."""
    if any(isinstance(a, Tensor) for a in args):
        return NotImplemented  # number * tensor is the Tensor's to compute
    trace = modes.tracing
    if trace is None:
        raise RuntimeError("this tensor was made while a graph was traced; it has no value now")
    arrays = mapped(args, plain)
    values = mapped(args, trace.value)
    if into is not None:
        place = {} if function in PLACED else {"out": into.array}
        call(trace.xp, function, arrays, options | place)
        trace.lines.append(Line(function, values, options, into.value, into=True))
        return into
    if all(isinstance(a, (bool, int, float)) for a in arrays):
        result = _of_numbers(trace.xp, function, arrays, options)
    else:
        result = call(trace.xp, function, arrays, options)
    base = None
    if isinstance(result, np.generic) or devices.is_array(result):
        if function in VIEWS and trace.xp.may_share_memory(result, arrays[0]):
            base = args[0].value.base
        else:
            result = _without_holes(trace.xp.asarray(result))
    out = Value(result, base=base)
    trace.lines.append(Line(function, values, options, out))
    return Traced(result, out)


def plain(a):
    """The array behind a Traced one; anything else as it is."""
    return a.array if isinstance(a, Traced) else a


def _of_numbers(xp, function, numbers, options):
    """What a function gives for Python numbers: one of them again, as in Primitive."""
    if function in NUMBERS:
        return NUMBERS[function](*numbers)
    on_host = isinstance(getattr(np, str(function), None), np.ufunc)
    result = call(np if on_host else xp, function, numbers, options)
    return result.item() if isinstance(result, np.generic) else result


def _without_holes(a):
    """An array whose elements fill its memory, in whatever order of axes, as planned memory has."""
    whole = a.transpose(layout(a)).flags.c_contiguous  # (n, ..., m) -> axes by their steps
    return a if whole else a.copy("C")


class _Module:
    """NumPy's functions, written down: the array module of Traced arrays."""

    __name__ = "trace"

    def __getattr__(self, name):
        found = getattr(np, name)
        if name.startswith("_") or isinstance(found, type) or not callable(found):
            return found
        function = _Function()
        function.name = {"abs": "absolute"}.get(name, name)
        return function

    def asarray(self, a, dtype=None):
        return a if isinstance(a, Traced) else write("array", a, dtype=dtype)

    def zeros_like(self, a):
        return write("zeros", a.shape, dtype=a.dtype)

    def ones_like(self, a):
        return write("ones", a.shape, dtype=a.dtype)

    def asnumpy(self, a):
        return a._value()

    random = property(lambda self: self)

    def default_rng(self, seed):
        """The generator of Traced arrays: at each run it draws from the CPU's."""
        draws = _Function()
        draws.random = lambda shape, dtype: write("random", shape, dtype=dtype)
        draws.standard_normal = lambda shape, dtype: write("standard_normal", shape, dtype=dtype)
        return draws


class _Function:
    """A function of NumPy by its name."""

    def __call__(self, *args, out=None, **options):
        return write(self.name, *args, into=out, **options)

    def at(self, y, key, a):
        write(f"{self.name}.at", y, key, a, into=y)


devices.add_device("trace", _Module(), Traced)
