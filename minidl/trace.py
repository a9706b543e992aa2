"""Recording: arrays that compute as ever, and write down each call that is made with them.

The one rule of this file: a record is a list of NumPy calls in the order in which they happened.
Inside `Record.run` tensors hold `Traced` arrays, so whatever works on any device can be recorded:
operations, gradients, updates, random draws, running statistics.

Explained in course/20.
"""

import operator
import threading

import numpy as np

from . import backend
from .seams import intercepted
from .tensor import Tensor

VIEWS = {"reshape", "transpose", "getitem", "broadcast_to"}  # these may give the same memory
NUMBERS = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
           "divide": operator.truediv, "power": operator.pow}  # fmt: skip
PLACED = {"copyto", "add.at"}  # these change their first argument
_here = threading.local()  # .record: the Record that this thread writes


class Value:
    """An array, or a Python number, in a record: its shape and type, not its elements.

    kind: "input" (given at each run), "state" (a Tensor's data, kept from run to run), "constant",
    "number" (asked for at each run) or "made" (by a line).  data: the Tensor of a state, the array
    of a constant, the function that gives a number.  base: the value whose memory this is a part
    of, itself if it owns its memory.
    """

    __slots__ = ("base", "data", "dtype", "kind", "name", "order", "shape")

    def __init__(self, array, kind="made", name="", base=None, data=None):
        self.shape, self.dtype = np.shape(array), getattr(array, "dtype", None)
        self.kind, self.name, self.base, self.data = kind, name, base or self, data
        self.order = layout(array) if isinstance(array, np.ndarray) else ()

    size = property(lambda self: int(np.prod(self.shape)))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)

    def __repr__(self):
        return f"{self.name or self.kind}: {self.dtype}{list(self.shape)}"


class Line:
    """One call, out = function(*args, **options); `into` says that out was there before."""

    __slots__ = ("args", "function", "into", "options", "out")

    def __init__(self, function, args, options, out, into=False):
        self.function, self.args, self.options = function, args, options
        self.out, self.into = out, into

    def inputs(self):
        """The Values that the call reads."""
        return [v for v in flat(self.args) if isinstance(v, Value)]

    def replaced(self, new):
        """This line with `new(value)` in place of each Value that it reads."""
        args = mapped(self.args, lambda v: new(v) if isinstance(v, Value) else v)
        return Line(self.function, args, self.options, self.out, self.into)


def flat(parts):
    """The leaves of nested tuples and lists."""
    if not isinstance(parts, (tuple, list)):
        return [parts]
    return [leaf for part in parts for leaf in flat(part)]


def mapped(parts, change):
    """Nested tuples, lists and dicts with each leaf changed."""
    if isinstance(parts, (tuple, list)):
        return type(parts)(mapped(part, change) for part in parts)
    if isinstance(parts, dict):
        return {k: mapped(part, change) for k, part in parts.items()}
    return change(parts)


def call(function, args, options):
    """What a line's call gives, on arrays."""
    if function in ("reshape", "transpose", "copy", "astype"):
        return getattr(args[0], function)(*args[1:])
    if function == "getitem":
        return args[0][args[1]]
    if function == "copyto":
        return np.copyto(*args, casting="unsafe")
    if function == "add.at":
        return np.add.at(*args)
    if callable(function):
        return function(*args, **options)
    if function in ("random", "standard_normal"):
        return getattr(backend.generator(), function)(*args, **options)
    if function.startswith("reduce "):
        return getattr(np, function[7:]).reduce(args[0], **options)
    return getattr(np, function)(*args, **options)


class Traced:
    """An array whose operators and methods are recorded."""

    __slots__ = ("array", "value")
    __array_ufunc__ = __hash__ = None

    def __init__(self, array, value):
        self.array, self.value = array, value

    shape = property(lambda self: np.shape(self.array))
    ndim = property(lambda self: np.ndim(self.array))
    size = property(lambda self: np.size(self.array))
    dtype = property(lambda self: self.array.dtype)
    T = property(lambda self: self.transpose())

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        return write("getitem", self, key)

    def __setitem__(self, key, new):
        place = self[key]
        if not (
            isinstance(new, Traced) and _same_memory(new.array, place.array)
        ):  # after y[i] += x
            write("copyto", place, new, into=place)

    def reshape(self, *shape):
        return write("reshape", self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes):
        return write("transpose", self, axes[0] if len(axes) == 1 else axes or None)

    def sum(self, axis=None, keepdims=False):
        return write("reduce add", self, axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims=False):
        return write("reduce maximum", self, axis=axis, keepdims=keepdims)

    def astype(self, dtype, copy=True):
        return write("astype", self, np.dtype(dtype)) if copy or dtype != self.dtype else self

    def copy(self):
        return write("copy", self)

    def _value(self, *_):
        raise RuntimeError(
            "the value of a tensor was asked for while a graph is recorded (an `if` or `while` on "
            "it, .item(), .numpy(), float(), print): the record would keep the answer of this one "
            "run. Return the tensor and look at it outside, choose with minidl.where, or do not "
            "compile this function"
        )

    __bool__ = __int__ = __float__ = __index__ = __iter__ = item = tolist = __array__ = _value
    __repr__ = __str__ = __format__ = _value


def current():
    """The Record that this thread writes."""
    if getattr(_here, "record", None) is None:
        raise RuntimeError("this array belongs to a recording that has ended; it has no values")
    return _here.record


def layout(a):
    """The axes of an array in the order of memory, the slowest first."""
    return tuple(sorted(range(a.ndim), key=lambda i: -a.strides[i] if a.shape[i] > 1 else 0))


def _same_memory(a, b):
    a, b = a.__array_interface__, b.__array_interface__
    return all(a[k] == b[k] for k in ("data", "shape", "strides"))


def _operators():
    ufuncs = {
        "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "power",
        "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    }  # fmt: skip
    for name, ufunc in ufuncs.items():
        setattr(Traced, f"__{name}__", lambda a, b, f=ufunc: write(f, a, b))
        setattr(Traced, f"__r{name}__", lambda a, b, f=ufunc: write(f, b, a))
        setattr(Traced, f"__i{name}__", lambda a, b, f=ufunc: write(f, a, b, into=a))
    compare = {"eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal",
               "gt": "greater", "ge": "greater_equal"}  # fmt: skip
    for name, ufunc in compare.items():
        setattr(Traced, f"__{name}__", lambda a, b, f=ufunc: write(f, a, b))
    for name, ufunc in {"neg": "negative", "invert": "invert", "abs": "absolute"}.items():
        setattr(Traced, f"__{name}__", lambda a, f=ufunc: write(f, a))


_operators()


def write(function, *args, into=None, **options):
    """Compute function(*args, **options), write the call down, and return the Traced result."""
    record = current()
    arrays = mapped(args, lambda a: a.array if isinstance(a, Traced) else a)
    if function in NUMBERS and all(isinstance(a, (bool, int, float)) for a in arrays):
        out = NUMBERS[function](*arrays)
        record.lines.append(Line(function, mapped(args, record.value), options, Value(out)))
        return Traced(out, record.lines[-1].out)
    values = mapped(args, record.value)
    if into is not None:
        call(function, arrays, options if function in PLACED else options | {"out": into.array})
        record.lines.append(Line(function, values, options, into.value, into=True))
        return into
    result = call(function, arrays, options)
    first = args[0] if args else None
    if isinstance(result, np.generic) and all(isinstance(a, (bool, int, float)) for a in arrays):
        result = result.item()  # Python numbers stay what they are, as in Primitive
    if result is None:
        record.lines.append(Line(function, values, options, Value(None)))
        return None
    view = function in VIEWS and np.may_share_memory(result, first.array)
    if not view and not isinstance(result, (bool, int, float)):
        result = np.asarray(result)
        if not result.transpose(layout(result)).flags.c_contiguous:
            result = result.copy("C")  # planned memory has no holes
    out = Value(result, base=first.value.base if view else None)
    record.lines.append(Line(function, values, options, out))
    return Traced(result, out)


class _Module:
    """NumPy's functions, recorded: the array module of Traced arrays."""

    __name__ = "trace"
    special = {"abs": "absolute"}

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(np, name)
        if isinstance(found, type) or not callable(found):
            return found
        name = self.special.get(name, name)
        return lambda *args, out=None, **options: write(name, *args, into=out, **options)

    def asarray(self, a, dtype=None):
        return a if isinstance(a, Traced) else write("array", a, dtype=dtype)

    def zeros_like(self, a):
        return write("zeros", a.shape, dtype=a.dtype)

    def ones_like(self, a):
        return write("ones", a.shape, dtype=a.dtype)

    def asnumpy(self, a):
        return a._value()

    class add:
        def __new__(cls, a, b):
            return write("add", a, b)

        @staticmethod
        def at(y, key, a):
            write("add.at", y, key, a, into=y)

    class random:
        @staticmethod
        def default_rng(seed):
            return _Draws()


class _Draws:
    """The random generator of Traced arrays: at each run it draws from the CPU's."""

    def random(self, shape, dtype):
        return write("random", shape, dtype=dtype)

    def standard_normal(self, shape, dtype):
        return write("standard_normal", shape, dtype=dtype)


backend.add_device("trace", _Module(), Traced)


def _split(tensors, array):
    """Parts of one long array, of the shapes of `tensors`."""
    ends = np.cumsum([t.size for t in tensors]).tolist()
    return [array[b - t.size : b].reshape(t.shape) for t, b in zip(tensors, ends)]


class Record:
    """A run written down: its lines, and where its inputs come from and its results go.

    lines: the Lines.  inputs: the Values of the function's arguments.  states: Tensors that were
    there before, with their Values.  updates: pairs (state's Value, the Value it has at the end).
    grads: pairs (Tensor, Value) of the gradients left behind.  result: what the function returned,
    Values in place of Tensors.
    """

    def __init__(self):
        self.lines, self.inputs, self.states, self.numbers = [], [], {}, []
        self.blocks, self.block_updates = [], []
        self.constants, self.began = {}, Tensor(np.empty(0)).number

    def value(self, a):
        """The Value of an argument; what is no array stays as it is."""
        if isinstance(a, Traced):
            return a.value
        if not isinstance(a, np.ndarray):
            return a
        if id(a) not in self.constants:
            self.constants[id(a)] = Value(a, "constant", data=a)
        return self.constants[id(a)]

    def capture(self, tensor):
        """The Traced data of a Tensor that was not made by an operation of this record."""
        if not isinstance(tensor.data, Traced):
            value = Value(tensor.data, "state", data=tensor)
            self.states[id(tensor)] = tensor, tensor.data, value
            tensor.data = Traced(tensor.data, value)
        return tensor.data

    def effect(self, function, *args):
        """Call function(*args), now and at each run."""
        if any(isinstance(a, Traced) for a in args):
            return write(function, *args)
        return function(*args)

    def number(self, function):
        """The number function(), asked for again at each run."""
        result = function()
        self.numbers.append(Value(result, "number", data=function))
        return Traced(result, self.numbers[-1])

    def update(self, optimizer, jobs, lr, t):
        """What Optimizer.step does; where elements do not meet, all parameters as one array."""
        groups = {}
        for i, (p, _) in enumerate(jobs):
            groups.setdefault(p.dtype if optimizer.elementwise else i, []).append(jobs[i])
        for group in groups.values():
            if len(group) == 1:
                join, split = (lambda tensors: self.capture(tensors[0])), (lambda ts, a: [a])
                gradient = group[0][0].grad.data
            else:
                join, split = self.block, _split
                flat_ones = tuple(p.grad.data.reshape(-1) for p, _ in group)
                gradient = write("concatenate", flat_ones)
            parameters = [p for p, _ in group]
            kept = {slot: [state[slot] for _, state in group] for slot in optimizer.slots}
            arrays = {slot: join(tensors) for slot, tensors in kept.items()}
            new = optimizer.update(join(parameters), gradient, arrays, lr, t)
            for tensors, array in [(parameters, new), *((kept[s], arrays[s]) for s in kept)]:
                for tensor, part in zip(tensors, split(tensors, array)):
                    tensor.data = part
                if len(group) > 1:
                    block = next(b for b in self.blocks if b.data[0] is tensors[0])
                    self.block_updates.append((block, array.value))

    def block(self, tensors):
        """One array of all elements of `tensors`, which become parts of it."""
        parts = [self.capture(t) for t in tensors]
        array = np.concatenate([part.array.reshape(-1) for part in parts])
        block = Value(array, "state", data=list(tensors))
        for t in tensors:
            self.states[id(t)][2].base = block
        self.blocks.append(block)
        return Traced(array, block)

    def handle(self, op, inputs, attrs):
        """What an operation does while this record is written: its Tensors are captured."""
        for x in inputs:
            if isinstance(x, Tensor) and x.op is None:
                self.capture(x)
        return op(*inputs, **attrs)

    def run(self, function, args):
        """Write down function(*args), args being Tensors; the run itself has its usual effects."""
        if getattr(_here, "record", None):
            raise RuntimeError("a function that is being recorded called a compiled one")
        for x in args:
            self.inputs.append(Value(x.data, "input"))
        inside = [Tensor(Traced(x.data, v)) for x, v in zip(args, self.inputs)]
        _here.record, backend.modes.record = self, self
        done = False
        try:
            with intercepted(self.handle):
                result = function(*inside)
            done = True
        finally:
            _here.record = backend.modes.record = None
            self.finish(done)
        self.result = mapped(result, self._returned)
        return mapped(result, lambda r: Tensor(r.data.array) if isinstance(r, Tensor) else r)

    def _returned(self, r):
        if isinstance(r, Tensor):
            return self.value(r.data)
        return r

    def finish(self, done):
        """Give the captured Tensors their arrays: the new ones, or the old after an error."""
        self.updates, self.grads = list(self.block_updates), []
        whole = {id(t) for block, _ in self.block_updates for t in block.data}
        for tensor, before, value in self.states.values():
            after, grad = tensor.data, tensor.grad
            if done and after.value is not value and id(tensor) not in whole:
                self.updates.append((value, after.value))
            elif (
                tensor.number > self.began and after.value is value
            ):  # made inside, and never changed
                value.kind, value.data = "constant", before
            tensor.data = after.array if done else before
            if grad is not None and isinstance(grad.data, Traced):
                self.grads.append((tensor, grad.data.value))
                tensor.grad = Tensor(grad.data.array) if done else None
