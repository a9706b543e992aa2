"""Recording: arrays that compute as ever, and write down each call that is made with them.

The one rule of this file: a record is a list of NumPy calls in the order in which they happened.
While it is made, Tensors hold `Traced` arrays; so whatever works on any device can be recorded:
operations, gradients, updates, random draws, running statistics.

Explained in course/20.
"""

import math
import operator
import threading

import numpy as np

from . import backend

VIEWS = {"reshape", "transpose", "getitem", "broadcast_to"}  # these may give the same memory
DRAWS = {"random", "standard_normal"}
ELSEWHERE = {"add.reduce": "sum", "maximum.reduce": "max"}  # CuPy's maximum has no reduce
PLACED = {"copyto", "add.at"}  # these change their first argument
NUMBERS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
           "divide": operator.truediv, "power": operator.pow}  # fmt: skip
_here = threading.local()  # .record: the Record that this thread writes


class Value:
    """An array, or a Python number, in a record: its shape and type, not its elements.

    kind: "input" (given at each run), "state" (the data of Tensors, kept from run to run),
    "constant", "number" (asked for at each run) or "made" (by a line).  data: the Tensor of a
    state, or the list of those it is made of; the array of a constant; the function that gives a
    number.  base: the Value whose memory this is a part of, itself if it owns its memory.
    order: its axes in the order of memory, the slowest first.
    """

    __slots__ = ("base", "data", "dtype", "kind", "name", "order", "shape")

    def __init__(self, array, kind="made", *, base=None, data=None, name=None):
        self.shape, self.dtype = getattr(array, "shape", ()), getattr(array, "dtype", None)
        self.kind, self.base, self.data, self.name = kind, base or self, data, name
        self.order = layout(array) if backend.is_array(array) else ()

    size = property(lambda self: int(np.prod(self.shape)))
    nbytes = property(lambda self: self.size * self.dtype.itemsize if self.dtype else 0)

    def in_order(self):
        """Whether its elements lie in memory in the order of the axes, if it owns its memory."""
        axes = [i for i in self.order if self.shape[i] > 1]
        return axes == sorted(axes)

    def __repr__(self):
        return f"{self.name or self.kind}: {self.dtype}{list(self.shape)}"


class Line:
    """One call, out = function(*args, **options); `into` says that out was there before."""

    __slots__ = ("args", "function", "into", "options", "out")

    def __init__(self, function, args, options, out, into=False):
        self.function, self.args, self.options = function, args, options
        self.out, self.into = out, into

    outs = property(lambda self: [self.out])
    fresh = property(lambda self: [] if self.into else [self.out], doc="Those of outs it makes.")

    def parts(self):
        """The lines that run as this one: itself, but of a kernel several."""
        return [self]

    def inputs(self):
        """The Values that the call reads."""
        return [v for v in flat(self.args) if isinstance(v, Value)]

    def effect(self):
        """Whether it must run although nobody needs its result: a check, or a random draw."""
        return callable(self.function) or self.function in DRAWS

    def replaced(self, new):
        """This line with new[v] in place of each Value v that it reads and `new` has."""
        args = mapped(self.args, lambda v: new.get(v, v) if isinstance(v, Value) else v)
        return Line(self.function, args, self.options, self.out, self.into)


def layout(a):
    """The axes of an array in the order of memory, the slowest first."""
    return tuple(sorted(range(a.ndim), key=lambda i: -a.strides[i] if a.shape[i] > 1 else 0))


def flat(parts):
    """The leaves of nested tuples, lists and dicts."""
    parts = list(parts.values()) if isinstance(parts, dict) else parts
    if not isinstance(parts, (tuple, list)):
        return [parts]
    return [leaf for part in parts for leaf in flat(part)]


def mapped(parts, change):
    """Nested tuples, lists and dicts with each leaf changed."""
    if isinstance(parts, (tuple, list)):
        parts, kind = [mapped(part, change) for part in parts], type(parts)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)  # a named tuple, or not
    if isinstance(parts, dict):
        return {key: mapped(part, change) for key, part in parts.items()}
    return change(parts)


def call(xp, function, args, options):
    """What a line's call gives, on arrays of the module `xp`."""
    if callable(function):
        return function(*args, **options)
    if function in ("reshape", "transpose", "copy", "astype"):
        return getattr(args[0], function)(*args[1:])
    if function == "getitem":
        return args[0][args[1]]
    if function == "copyto":
        return xp.copyto(*args, casting="unsafe")
    if function in DRAWS:
        return getattr(backend.generator(xp), function)(*args, **options)
    function = function if xp is np else ELSEWHERE.get(function, function)
    first, _, second = function.partition(".")  # a function of NumPy, or a ufunc's reduce or at
    found = getattr(xp, first)
    return (getattr(found, second) if second else found)(*args, **options)


class Traced:
    """An array whose operators and methods are written down.

    array: what it holds now.  value: its Value in the record.
    """

    __slots__ = ("array", "value")
    __hash__ = None

    def __init__(self, array, value):
        self.array, self.value = array, value

    shape = property(lambda self: getattr(self.array, "shape", ()))
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    dtype = property(lambda self: self.array.dtype)
    T = property(lambda self: self.transpose())

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        if out is None and ufunc.nin == 2:  # a NumPy array to the left of an operator
            return write(ufunc.__name__, *inputs)
        raise TypeError(
            "NumPy cannot compute with what is being recorded: use minidl's operations, and change "
            "in place the .data of such Tensors only that an operation here has used before"
        )

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return write("getitem", self, key)

    def __setitem__(self, key, new):
        parts = key if isinstance(key, tuple) else (key,)
        if not any(part is Ellipsis for part in parts):
            parts = *parts, ...  # an element is a place in memory too, not a number
        place = self[parts]
        if place.size and place.value.base is not self.value.base:
            raise RuntimeError(
                "while a graph is recorded, only slices and single elements are written in place, "
                "no places that an array picks: choose with minidl.where"
            )
        same = isinstance(new, Traced) and _same_memory(new.array, place.array)
        if not same:  # it is, after y[i] += x
            write("copyto", place, new, into=place)

    def reshape(self, *shape):
        return write("reshape", self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes):
        return write("transpose", self, axes[0] if len(axes) == 1 else axes or None)

    def sum(self, axis=None, keepdims=False):
        return write("add.reduce", self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return write("maximum.reduce", self, axis=axis, keepdims=keepdims)

    def astype(self, dtype, copy=True):
        return write("astype", self, np.dtype(dtype)) if copy or dtype != self.dtype else self

    def copy(self):
        return write("copy", self)

    def _value(self, *_):
        raise RuntimeError(
            "the value of a tensor was asked for while a graph was recorded (an `if` or `while` on "
            "it, .item(), .numpy(), float(), print): the record would keep the answer of this one "
            "run. Return the tensor and look at it outside, choose with minidl.where, or do not "
            "compile this function"
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
    real = backend.is_array(a.array) and a.dtype.kind == "f" and type(b) in (int, float)
    if real and b in (2, 0.5):
        return write("multiply", a, a) if b == 2 else write("sqrt", a)
    return write("power", a, b)


Traced.__pow__ = _power


def _same_memory(a, b):
    here, there = backend.address(a), backend.address(b)
    return (here, a.shape, a.strides) == (there, b.shape, b.strides)


def write(function, *args, into=None, **options):
    """Compute function(*args, **options), write the call down, and return the Traced result."""
    record = getattr(_here, "record", None)
    if record is None:
        raise RuntimeError("this tensor was made while a graph was recorded; it has no value now")
    arrays = mapped(args, lambda a: a.array if isinstance(a, Traced) else a)
    values = mapped(args, record.value)
    numbers = all(isinstance(a, (bool, int, float)) for a in arrays)
    on_host = numbers and isinstance(getattr(np, str(function), None), np.ufunc)
    xp = np if on_host else record.xp
    if into is not None:
        out = {} if function in PLACED else {"out": into.array}
        call(xp, function, arrays, options | out)
        record.lines.append(Line(function, values, options, into.value, into=True))
        return into
    if numbers and function in NUMBERS:
        result = NUMBERS[function](*arrays)
    else:
        result = call(xp, function, arrays, options)
    if isinstance(result, np.generic) and numbers:
        result = result.item()  # Python numbers stay what they are, as in Primitive
    base = None
    if isinstance(result, np.generic) or backend.is_array(result):
        if function in VIEWS and xp.may_share_memory(result, arrays[0]):
            base = args[0].value.base
        else:
            result = xp.asarray(result)
            if not result.transpose(layout(result)).flags.c_contiguous:
                result = result.copy("C")  # planned memory has no holes
    out = Value(result, base=base)
    record.lines.append(Line(function, values, options, out))
    return Traced(result, out)


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

    finfo = staticmethod(np.finfo)
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


backend.add_device("trace", _Module(), Traced)
