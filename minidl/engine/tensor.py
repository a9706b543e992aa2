"""Tensor, an array that remembers how it was made; Primitive, the operations that make it.

The one rule of this file: a result points to its inputs, never the other way.  So there are no
cycles, and a record is freed with its last result.

Read `Primitive.apply` first: forward; then `Primitive.shares` and the walk in gradients.py: back.

Explained in course/07.
"""

from threading import get_ident

import numpy as np

from . import changes, devices
from .changes import clock
from .devices import ARRAYS, NUMBERS, array_module, explained
from .gradients import walk
from .intercept import captured, handlers, modes, primitives

ARRAY = type("ARRAY", (), {"__repr__": lambda self: "ARRAY"})()  # an array's place in an index


def _operator(name):
    """A method of Tensor for `x + y` and the like: the primitive `name` of both."""
    return lambda self, other: quick(primitives[name], self, other)


def _swapped(name):
    """A method of Tensor for `y + x`, where y is no Tensor."""
    return lambda self, other: quick(primitives[name], other, self)


def _in_place(name):
    """A method of Tensor for `x += y` and the like."""
    return lambda self, other: changes.change(self, name, other)


def _function(name):
    """A method of Tensor that is the primitive `name` of one operand."""

    def method(self):
        return primitives[name](self)

    method.__doc__ = f"The operation `{name}` of ops.py, element by element."
    return method


class Tensor:
    """An array that remembers which operation made it, from which inputs.

    data: an array of any shape, on any device.
    requires_grad: whether `backward` shall compute a gradient for it (floating point only).
    grad: None, or after `backward` a Tensor of the same shape: the sum of all gradients so far.
    op, inputs, attrs: the operation that made it, with what arrays, and with what keywords; None,
    () and None for a leaf.  number: the time at which it was made, or a leaf's data last assigned.

    `x += y` and `x[i] = y` write into x's own array, as in NumPy, so every name and view of x sees
    it; shape, type and device stay.  If x or y has a record, `x += y` gives x that of `x + y`.
    A walk back that needs what was changed since raises RuntimeError.  So do, at once, changes
    for which no gradient could be right: of a leaf with requires_grad outside `no_grad()`, of a
    recorded tensor inside it, of a view, and `x[i] = y` wherever a record is due.
    What is written by way of `.numpy()`, or into the array `.data`, is seen by no check.

    In NumPy's functions (`np.stack([x, y])`) it stands for its numbers; with requires_grad it
    raises TypeError, for they would lose the gradient: `.detach()` says that this is meant.
    """

    __slots__ = ("__weakref__", "attrs", "data", "grad", "inputs", "number", "op", "requires_grad")
    __array_ufunc__ = None  # so that `ndarray + Tensor` asks the Tensor
    __hash__ = object.__hash__

    def __init__(self, data, *, requires_grad=False):
        self.number = clock()
        self.data = data
        self.grad = None
        self.op = None
        self.inputs = ()
        self.attrs = None
        self.requires_grad = requires_grad

    def __setattr__(self, name, value):
        if name == "data":
            if type(value) not in ARRAYS:
                value = _as_array(value)
            if hasattr(self, "data"):  # what was made of the old array finds it changed
                self.number = changes.now()
        elif name == "grad" and value is not None:
            _check_grad(self, value)
        elif name == "requires_grad" and value and self.dtype.kind != "f":
            raise TypeError(
                f"only tensors of real floating-point numbers have gradients, this holds "
                f"{self.dtype}; use .astype('float32') first"
            )
        object.__setattr__(self, name, value)

    def __setstate__(self, state):  # what is copied or unpickled is a leaf with a number of its own
        Tensor.__init__(self, state[1]["data"], requires_grad=state[1]["requires_grad"])

    shape = property(lambda self: self.data.shape, doc="The lengths of the axes, a tuple.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    size = property(lambda self: self.data.size, doc="The number of elements.")
    dtype = property(lambda self: self.data.dtype, doc="The type of the elements.")
    device = property(lambda self: devices.device_of(self.data), doc='"cpu", "cuda", ...')
    T = property(lambda self: self.transpose(), doc="The axes in reversed order.")

    def __len__(self):
        if self.ndim == 0:
            raise TypeError("a 0-d tensor has no length and no items; .item() gives its value")
        return len(self.data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        values = np.array2string(devices.to_numpy(self.data), separator=", ", prefix="tensor(")
        made = ""
        if self.op is not None:
            made = f", from {self.op.name}"
        elif self.requires_grad:
            made = ", requires_grad=True"
        return f"tensor({values}{made})"

    def __bool__(self):
        return bool(self.data)

    def __float__(self):
        return float(self.item())

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise TypeError(
                "NumPy would lose the gradient of this tensor, which has requires_grad: compute "
                "with minidl (minidl.stack, .sum(), ...), or take its numbers: .detach().numpy()"
            )
        return np.array(devices.to_numpy(self.data), dtype=dtype, copy=copy)

    def __array_function__(self, function, types, args, options):
        options = {name: _numbers(value) for name, value in options.items()}
        return function(*_numbers(args), **options)

    def item(self):
        """The value of a tensor with one element, as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}")
        return devices.to_numpy(self.data).item()

    def numpy(self):
        """The values as a NumPy array; on the CPU it shares this tensor's memory."""
        return devices.to_numpy(self.data)

    def detach(self):
        """The same values (same memory) without their history."""
        return Tensor(captured(self))

    def to(self, device):
        """This tensor on `device` ("cpu", "cuda"); a new leaf unless it is there already."""
        if self.device == device:
            return self
        return Tensor(devices.to_device(self.data, device), requires_grad=self.requires_grad)

    def backward(self, gradient=None, *, retain_graph=None, create_graph=False):
        """Add to `.grad` of every leaf this tensor came from the gradient of this tensor.

        gradient: dL/d(self), same shape; may be left out if `self` has one element (then 1).
        retain_graph: keep the record for a second backward (default: as create_graph).
        create_graph: record the backward pass too, so that gradients have gradients.
        Raises RuntimeError for a tensor with no record, or whose record was freed.
        """
        found = _gradients([self], [gradient], retain_graph, create_graph)
        for leaf, g in found:
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    # What an operation does stands in ops.py.
    __add__ = __radd__ = _operator("add")
    __mul__ = __rmul__ = _operator("mul")
    __sub__, __rsub__ = _operator("sub"), _swapped("sub")
    __truediv__, __rtruediv__ = _operator("div"), _swapped("div")
    __pow__, __rpow__ = _operator("pow"), _swapped("pow")
    __matmul__, __rmatmul__ = _operator("matmul"), _swapped("matmul")
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __lt__, __gt__ = _operator("less"), _swapped("less")
    __le__, __ge__ = _operator("less_equal"), _swapped("less_equal")
    __iadd__, __isub__, __imul__ = _in_place("add"), _in_place("sub"), _in_place("mul")
    __itruediv__, __ipow__, __imatmul__ = _in_place("div"), _in_place("pow"), _in_place("matmul")
    __neg__, exp, log = _function("neg"), _function("exp"), _function("log")
    sqrt, tanh = _function("sqrt"), _function("tanh")

    def __getitem__(self, key):
        arrays, plan = _split_key(key, array_module(self.data))
        return primitives["getitem"](self, *arrays, key=plan)

    def __setitem__(self, key, value):
        if self.op is not None or changes.needs_record(self, value):
            raise RuntimeError(
                "x[i] = y writes numbers, without the record that a gradient needs: join parts "
                "with minidl.where, concatenate or stack; if no gradient is meant, write into a "
                "leaf inside no_grad(), or write y.detach()"
            )
        changes.write(self, key, value)

    def sum(self, axis=None, keepdims=False):
        """The sum over `axis` (an int, a tuple, or None for all axes)."""
        return primitives["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        """The mean over `axis`."""
        total = self.sum(axis, keepdims)
        if self.size == 0:
            return total * float("nan")
        return total * (total.size / self.size)

    def max(self, axis=None, keepdims=False):
        """The maximum over `axis`; equal maxima share the gradient."""
        return primitives["max"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape):
        """The same elements in another shape; one length may be -1."""
        return primitives["reshape"](self, shape=_one_tuple(shape))

    def transpose(self, *axes):
        """The axes in the order `axes`, as in NumPy (reversed if none are given).

        PyTorch's transpose(i, j), which swaps two axes, is the order with these two exchanged.
        Raises ValueError for an order that changes nothing: it would be PyTorch's swap, misread.
        """
        return primitives["transpose"](self, axes=_one_tuple(axes) or None)

    def astype(self, dtype):
        """The values converted to `dtype`."""
        dtype = np.dtype(dtype)
        if dtype.kind not in "fc":
            self = self.detach()  # whole numbers have no gradient
        return primitives["cast"](self, dtype=dtype)


class _InTheMaking(Tensor):
    """A Tensor whose attributes are set without checks; `result` turns it into an ordinary one."""

    __slots__ = ()
    __setattr__ = object.__setattr__


def result(data, op=None, inputs=(), attrs=None):
    """A new Tensor of the array `data`; op, inputs, attrs: how it was made, if that is recorded."""
    y = object.__new__(_InTheMaking)
    y.data = data
    y.number = clock()
    y.grad = None
    y.op, y.inputs, y.attrs = op, inputs, attrs
    y.requires_grad = op is not None
    y.__class__ = Tensor
    return y


def array_of(x):
    """The array of a Tensor; anything else as it is."""
    if isinstance(x, Tensor):
        return x.data
    return x


def _as_array(value):
    """What `x.data = value` keeps: an array; of a NumPy scalar, as 0-d arithmetic gives it, one."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if not devices.is_array(value):
        raise TypeError(
            f".data must be an array, got {type(value).__name__}: {value!r:.60}; write into the "
            "tensor (with no_grad(): p -= 0.1 * p.grad), or give the array: p.data = y.data"
        )
    return value


def _check_grad(x, g):
    if not isinstance(g, Tensor) or g.shape != x.shape:
        raise ValueError(
            f".grad must be None or a Tensor of shape {x.shape}, got {type(g).__name__} of shape "
            f"{getattr(g, 'shape', None)}"
        )


def _numbers(parts):
    """The arguments of a NumPy function with an array in place of each Tensor."""
    if type(parts) in (list, tuple):
        return type(parts)(_numbers(part) for part in parts)
    return np.asarray(parts) if isinstance(parts, Tensor) else parts


def _one_tuple(numbers):
    """The numbers of f(2, 3) and of f((2, 3)) alike."""
    if len(numbers) == 1 and isinstance(numbers[0], (tuple, list)):
        return tuple(numbers[0])
    return numbers


def _split_key(key, xp):
    """Split an index into its arrays, which become inputs, and the rest, which does not change."""
    arrays, plan = [], []
    if not isinstance(key, tuple):
        key = (key,)
    for part in key:
        if isinstance(part, list):
            part = xp.asarray(part, dtype=(None if part else np.int64))
        if isinstance(part, Tensor) or devices.is_array(part):
            arrays.append(part)
            part = ARRAY
        plan.append(part)
    return arrays, tuple(plan)


def tensor(data, *, dtype=None, requires_grad=False, device=None):
    """Make a Tensor of numbers, nested lists, an array, or a Tensor; always a leaf, a copy.

    dtype: default float32 for Python floats, else the data's.  device: default the data's.
    """
    if isinstance(data, Tensor):
        data = data.data
    if not devices.is_array(data):
        given, data = data, np.asarray(data)
        if data.dtype.kind not in "biufc":
            raise TypeError(
                f"a tensor is made of numbers, got {given!r:.60}; join Tensors with minidl.stack"
            )
        if data.dtype == np.float64 and dtype is None and not isinstance(given, np.generic):
            dtype = np.float32
    data = array_module(data).array(data, dtype=dtype)
    if device is not None:
        data = devices.to_device(data, device)
    return Tensor(data, requires_grad=requires_grad)


class Primitive:
    """An operation that the engine knows: arrays in, one array out, and its gradient rule.

    Positional arguments are arrays, the graph's edges; keywords are kept with the result.
    """

    def __init__(self, forward):
        self.name = forward.__name__
        self.forward = forward
        self.rule = self._no_rule  # or None: all its gradients are zero
        self.__doc__ = forward.__doc__

    def gradient(self, rule):
        """Decorator: `rule(g, y, *inputs, **attrs)` gives dL/d(input) for each input, in a tuple.

        g is dL/dy.  Operators and primitives only, so that a rule works on arrays and on Tensors.
        A gradient may be a function of no arguments, called only if wanted; None means zero.
        An operation that has none is `without_gradient`; else a walk back that meets it raises.
        """
        self.rule = rule
        return rule

    def _no_rule(self, g, y, *inputs, **attrs):
        raise RuntimeError(
            f"the operation {self.name} has no gradient rule: write one, @{self.name}.gradient; or "
            "put @without_gradient above @primitive, if its gradients are zero, as those of a mask"
        )

    def __repr__(self):
        return f"<primitive {self.name}>"

    def __call__(self, *inputs, **attrs):
        return self.apply(_python_numbers(inputs), attrs)

    def apply(self, inputs, attrs):
        """Compute on the arrays inside the tensors, and write down how the result was made."""
        handler = handlers.get(get_ident())
        if handler is not None:  # somebody takes over: intercept.py
            return handler(self, inputs, attrs)
        arrays = [array_of(x) for x in inputs]
        xp = array_module(*arrays)  # NumPy, or CuPy
        try:
            data = self.forward(xp, *arrays, **attrs)
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise explained(error, self.name, arrays, attrs) from error
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        if not tensors:  # arrays in, an array out: nothing to remember
            return _number_if_numbers(data, arrays)
        if type(data) not in ARRAYS:  # NumPy's sum over all axes is a number
            data = xp.asarray(data)
        asked = any(x.requires_grad for x in tensors)
        if asked and modes.recording and self.rule is not None:
            return result(data, self, inputs, attrs)
        return result(data)

    def shares(self, y, g, recorded):
        """Pairs (x, share): what y's gradient g gives to each of y's inputs that asks for one.

        recorded: computed on Tensors, so that the way back has a record too; else on arrays.
        """
        if y.inputs is None:
            raise RuntimeError(_FREED.format(self.name))
        changes.check_unchanged(y)
        arrays = [array_of(x) for x in y.inputs]
        try:
            if recorded:
                found = self.rule(g, y, *y.inputs, **y.attrs)
            else:
                found = self.rule(g, y.data, *arrays, **y.attrs)
            pairs = []
            for x, share in zip(y.inputs, self._one_each(found, arrays)):
                if isinstance(x, Tensor) and x.requires_grad:
                    if callable(share):
                        share = share()
                    if share is not None:
                        pairs.append((x, self._narrowed(share, x.shape)))
        except MemoryError as error:
            raise explained(error, f"the gradient of {self.name}", [g]) from error
        return pairs

    def _one_each(self, found, inputs):
        """What a rule gave, checked: one gradient for each input."""
        given = len(found) if type(found) in (tuple, list) else type(found).__name__
        if given != len(inputs):
            raise RuntimeError(
                f"the gradient rule of {self.name} gave {given}, where {len(inputs)} gradients are "
                "due: a tuple with one for each input, in order, None for zero"
            )
        return found

    def _narrowed(self, share, shape):
        """A share for an input of `shape`; if that was broadcast, summed over its repetitions."""
        wide = getattr(share, "shape", None)  # a number has none, a Piece has that of x
        if wide == shape:
            return share
        wide = wide or ()
        last = wide[len(wide) - len(shape) :]
        if len(last) != len(shape) or any(n not in (1, m) for n, m in zip(shape, last)):
            raise RuntimeError(
                f"the gradient rule of {self.name} gave {type(share).__name__} of shape {wide} for "
                f"an input of shape {shape}: a gradient is an array of the shape of its input"
            )
        return primitives["sum_to"](share, shape=shape)


_FREED = "the graph of this {!r} was freed by an earlier backward; keep it with retain_graph=True"


def _python_numbers(inputs):
    """`inputs`; beside a Tensor, Python's numbers for NumPy's, which would make float32 float64."""
    if any(isinstance(x, np.generic) for x in inputs) and any(
        isinstance(x, Tensor) for x in inputs
    ):
        return tuple(x.item() if isinstance(x, np.generic) else x for x in inputs)
    return inputs


def _number_if_numbers(data, arrays):
    """Numbers in, a number out: it must not decide the type of what it meets."""
    if all(type(a) in (int, float, bool) for a in arrays):
        return data.item()
    return data


def quick(op, a, b):
    """For speed alone: op(a, b), sooner, where both live on one device or one is a Python number.

    It does what `Primitive.apply` does, in fewer steps, and leaves all else to it.
    """
    x = array_of(a)
    z = array_of(b)
    kind = type(x)
    if kind in NUMBERS:
        kind = type(z)
    xp = ARRAYS.get(kind)
    alike = type(z) is kind or type(z) in NUMBERS
    if xp is None or not alike or handlers:
        return op(a, b)
    try:
        data = op.forward(xp, x, z)
    except (ValueError, IndexError, TypeError, MemoryError):
        return op(a, b)  # which says what is wrong
    if type(data) not in ARRAYS:
        data = xp.asarray(data)
    # What is not its own array was a Tensor.
    asked = (x is not a and a.requires_grad) or (z is not b and b.requires_grad)
    if asked and modes.recording and op.rule is not None:
        return result(data, op, (a, b), {})
    return result(data)


def primitive(forward):
    """Decorator: make a Primitive of `forward(xp, *arrays, **attrs) -> array`.

    It is known by its name.  Raises ValueError if another module has an operation of that name;
    one's own may be defined again, as by a cell of a notebook that runs twice.
    """
    name = forward.__name__
    known = primitives.get(name)
    if known and known.forward.__module__ != forward.__module__:
        raise ValueError(
            f"there is an operation {name} already, of {known.forward.__module__}: call yours "
            f"otherwise; or exchange it for a while, with minidl.replaced({name!r}, forward=...), "
            f"or for good, after del minidl.engine.intercept.primitives[{name!r}]"
        )
    primitives[name] = Primitive(forward)
    return primitives[name]


def without_gradient(op):
    """Decorator above `@primitive`: the operation's gradients are all zero, as those of a mask."""
    op.rule = None
    return op


def grad(outputs, inputs, grad_outputs=None, *, retain_graph=None, create_graph=False):
    """The gradients of the sum of `outputs` for each of `inputs`, as a list; `.grad` stays.

    outputs, inputs: a Tensor or a sequence of them.  grad_outputs: as `gradient` of `backward`.
    An input that no output depends on gets zeros (PyTorch raises, or gives None).
    """
    outputs = _listed(outputs)
    inputs = _listed(inputs)
    if not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs] * len(outputs)
    found = _gradients(outputs, grad_outputs, retain_graph, create_graph, inputs)
    found = {id(x): g for x, g in found}
    for x in inputs:
        if id(x) not in found:
            found[id(x)] = Tensor(array_module(x.data).zeros_like(x.data))
    return [found[id(x)] for x in inputs]


def _listed(tensors):
    """A list of what is given: one Tensor, or a sequence of them."""
    if isinstance(tensors, Tensor):
        return [tensors]
    return list(tensors)


def _gradients(outputs, gradients, retain_graph, create_graph, targets=()):
    """Pairs (tensor, its gradient, a Tensor), from the walk back, whose start is checked here."""
    starts = [_start(y, g) for y, g in zip(outputs, gradients, strict=True)]
    numbers = {x.number for x in targets}
    first = starts
    if not create_graph:
        first = [g.data for g in starts]
    found = walk(
        outputs, first, retain_graph=retain_graph, create_graph=create_graph, targets=numbers
    )
    for x, g in changes.apart(found, [g.data for g in starts]):
        if g.dtype != x.dtype:
            g = primitives["cast"](g, dtype=x.dtype)
        if not isinstance(g, Tensor):
            g = Tensor(g)
        yield x, g


def _start(y, g):
    """The gradient with which the walk begins at y, a Tensor: g, checked, or 1."""
    if not isinstance(y, Tensor):
        raise TypeError(f"expected a Tensor to go back from, got {type(y).__name__}")
    if not y.requires_grad:
        raise RuntimeError(
            "this tensor has no record to go back through: nothing it was made of has "
            "requires_grad=True, or it was made inside no_grad() or by detach()"
        )
    xp = array_module(y.data)
    if g is None:
        if y.size != 1:
            raise RuntimeError(
                f"backward needs a result with one element, this one has shape {y.shape}; "
                "reduce it (.sum(), .mean()) or pass the gradient of that shape"
            )
        g = xp.ones_like(y.data)
    if not isinstance(g, Tensor):
        g = Tensor(xp.asarray(g, dtype=y.dtype))
    captured(g)  # of a recorded run, one of its inputs
    array_module(y.data, g.data)  # raises unless both live on one device
    if g.shape != y.shape:
        raise ValueError(f"the gradient has shape {g.shape}, the tensor {y.shape}; must agree")
    return g
