"""Tensor, the record of how it came to be, and the walk back through that record.

The one rule of this file: a result points to its inputs, never the other way.  So there are no
cycles, and a graph is freed with its last result.

Explained in course/07.
"""

from heapq import heappop, heappush
from itertools import count
from threading import get_ident
from types import FunctionType

import numpy as np

from . import backend
from .backend import ARRAYS, array_module, modes, require
from .shares import Piece, Product

_new, _clock = object.__new__, count(1).__next__  # tensors are numbered as they are made
_changes = {"latest": 0}  # memory -> when it was last changed in place, as a tensor's number
primitives = {}  # name -> Primitive: where the operators of Tensor find their operation
ARRAY = type("ARRAY", (), {"__repr__": lambda self: "ARRAY"})()  # an array's place in an index
handlers = {}  # thread -> the handler that its operations go to, inside `seams.intercepted`
_WHOLE = "only floating-point tensors have gradients, this holds {}; use .astype('float32') first"
_FREED = "the graph of this {!r} was freed by an earlier backward; keep it with retain_graph=True"


def _operator(name, swapped=False):
    """A method of Tensor that hands itself and another operand to the primitive `name`."""
    if swapped:
        return lambda self, other: primitives[name].apply((other, self), {})
    return lambda self, other: primitives[name].apply((self, other), {})


def _function(name):
    """A method of Tensor that is the primitive `name` of one operand."""

    def method(self):
        return primitives[name](self)

    method.__doc__ = f"The operation `{name}` of ops.py, element by element."
    return method


def _in_place(name):
    """A method of Tensor for `x += y` and the like: x becomes what the primitive `name` gives."""
    return lambda self, other: _changed(self, name, other)


class Tensor:
    """An array that remembers which operation made it, from which inputs.

    data: an array of any shape, on any device.
    requires_grad: whether `backward` shall compute a gradient for it (floating point only).
    grad: None, or after `backward` a Tensor of the same shape: the sum of all gradients so far.

    In place is in place: `x += y`, `x[i] = y` and the like write into x's own array, as in NumPy,
    so every name and every view of x sees the change.  Shape, type and device stay.
    If x or y has a record, `x += y` gives x the record of `x + y`, and a backward through what was
    made of the older x raises RuntimeError.  Where no gradient could be right they raise it at
    once: on a leaf with requires_grad outside `no_grad()`, on a recorded tensor inside it, on a
    part of another tensor's memory (`x[0] += loss`), and for `x[i] = y` wherever a record is due.
    What is written by way of `.data` or `.numpy()` is seen by no check.

    In NumPy's functions (`np.stack([x, y])`) it stands for its numbers; with requires_grad it
    raises TypeError, as they would lose the gradient: `.detach()` says that this is meant.
    """

    __slots__ = ("__weakref__", "attrs", "data", "grad", "inputs", "number", "op", "requires_grad")
    __array_ufunc__ = None  # so that `ndarray + Tensor` asks the Tensor
    __hash__ = object.__hash__

    def __init__(self, data, *, requires_grad=False):
        self.data = np.asarray(data) if isinstance(data, np.generic) else data
        self.grad = self.op = self.attrs = None
        self.inputs = ()
        self.number = _clock()
        self.requires_grad = requires_grad
        if requires_grad and self.data.dtype.kind not in "fc":
            raise TypeError(_WHOLE.format(self.data.dtype))
        if type(self) is Tensor:
            self.__class__ = Leaf

    def __setstate__(self, state):  # what is copied or unpickled is a leaf with a number of its own
        Tensor.__init__(self, state[1]["data"], requires_grad=state[1]["requires_grad"])

    shape = property(lambda self: self.data.shape, doc="The lengths of the axes, a tuple.")
    ndim = property(lambda self: self.data.ndim, doc="The number of axes.")
    size = property(lambda self: self.data.size, doc="The number of elements.")
    dtype = property(lambda self: self.data.dtype, doc="The type of the elements.")
    device = property(lambda self: backend.device_of(self.data), doc='"cpu", "cuda", ...')
    T = property(lambda self: self.transpose(), doc="The axes in reversed order.")

    def __len__(self):
        require(
            self.ndim, TypeError("a 0-d tensor has no length and no items; .item() gives its value")
        )
        return len(self.data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        values = np.array2string(backend.to_numpy(self.data), separator=", ", prefix="tensor(")
        made = f", from {self.op.name}" if self.op else ", requires_grad=True" * self.requires_grad
        return f"tensor({values}{made})"

    def __bool__(self):
        return bool(self.data)

    def __float__(self):
        return float(self.item())

    def __array__(self, dtype=None, copy=None):
        require(
            not self.requires_grad,
            TypeError(
                "NumPy would lose the gradient of this tensor, which has requires_grad: compute "
                "with minidl (minidl.stack, .sum(), ...), or take its numbers: .detach().numpy()"
            ),
        )
        return np.array(backend.to_numpy(self.data), dtype=dtype, copy=copy)

    def __array_function__(self, function, types, args, options):
        return function(*_numbers(args), **{k: _numbers(v) for k, v in options.items()})

    def item(self):
        """The value of a tensor with one element, as a Python number."""
        require(self.size == 1, ValueError(f"item: expected one element, got shape {self.shape}"))
        return backend.to_numpy(self.data).item()

    def numpy(self):
        """The values as a NumPy array; on the CPU it shares this tensor's memory."""
        return backend.to_numpy(self.data)

    def detach(self):
        """The same values (same memory) without their history."""
        return Tensor(_bare(self))

    def to(self, device):
        """This tensor on `device` ("cpu", "cuda"); a new leaf unless it is there already."""
        if self.device == device:
            return self
        return Tensor(backend.to_device(self.data, device), requires_grad=self.requires_grad)

    def backward(self, gradient=None, *, retain_graph=None, create_graph=False):
        """Add to `.grad` of every leaf this tensor came from the gradient of this tensor.

        gradient: dL/d(self), same shape; may be left out if `self` has one element (then 1).
        retain_graph: keep the record for a second backward (default: as create_graph).
        create_graph: record the backward pass too, so that gradients have gradients.
        Raises RuntimeError for a tensor with no record, or whose record was freed.
        """
        for leaf, g in _walk([self], [gradient], retain_graph, create_graph):
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    __add__ = __radd__ = _operator("add")  # what an operation does stands in ops.py
    __mul__ = __rmul__ = _operator("mul")
    __sub__, __rsub__ = _operator("sub"), _operator("sub", swapped=True)
    __truediv__, __rtruediv__ = _operator("div"), _operator("div", swapped=True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", swapped=True)
    __matmul__, __rmatmul__ = _operator("matmul"), _operator("matmul", swapped=True)
    __eq__, __ne__ = _operator("equal"), _operator("not_equal")
    __lt__, __gt__ = _operator("less"), _operator("less", swapped=True)
    __le__, __ge__ = _operator("less_equal"), _operator("less_equal", swapped=True)
    __iadd__, __isub__, __imul__ = map(_in_place, ["add", "sub", "mul"])
    __itruediv__, __ipow__, __imatmul__ = map(_in_place, ["div", "pow", "matmul"])
    __neg__, exp, log, sqrt, tanh = map(_function, "neg exp log sqrt tanh".split())

    def __getitem__(self, key):
        arrays, plan = _split_key(key, array_module(self.data))
        return primitives["getitem"](self, *arrays, key=plan)

    def __setitem__(self, key, value):
        require(
            self.op is None and not _wants_record(self, value),
            RuntimeError(
                "x[i] = y writes numbers, without the record that a gradient needs: join parts "
                "with minidl.where, concatenate or stack; if no gradient is meant, write into a "
                "leaf inside no_grad(), or write y.detach()"
            ),
        )
        parts = key if isinstance(key, tuple) else (key,)
        _write(self, tuple(_bare(part) for part in parts), _bare(value))

    def sum(self, axis=None, keepdims=False):
        """The sum over `axis` (an int, a tuple, or None for all axes)."""
        return primitives["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims=False):
        """The mean over `axis`."""
        total = self.sum(axis, keepdims)
        return total * (total.size / self.size if self.size else float("nan"))

    def max(self, axis=None, keepdims=False):
        """The maximum over `axis`; equal maxima share the gradient."""
        return primitives["max"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape):
        """The same elements in another shape; one length may be -1."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return primitives["reshape"](self, shape=tuple(shape))

    def transpose(self, *axes):
        """The axes in the order `axes`, as in NumPy (reversed if none are given).

        PyTorch's transpose(i, j), which swaps two axes, is the order with these two exchanged.
        Raises ValueError for an order that changes nothing.
        """
        axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return primitives["transpose"](self, axes=tuple(axes) or None)

    def astype(self, dtype):
        """The values converted to `dtype`."""
        dtype = np.dtype(dtype)
        return primitives["cast"](self if dtype.kind in "fc" else self.detach(), dtype=dtype)


class Leaf(Tensor):
    """A Tensor that no operation made: its data and grad may be assigned, so they are checked."""

    __slots__ = ()

    def __setattr__(self, name, value):
        if name == "data" and type(value) not in ARRAYS:
            value = _as_data(value)
        elif name == "grad" and not (
            value is None or (isinstance(value, Tensor) and value.data.shape == self.data.shape)
        ):
            raise ValueError(
                f".grad must be None or a Tensor of shape {self.shape}, got "
                f"{type(value).__name__} of shape {getattr(value, 'shape', None)}"
            )
        object.__setattr__(self, name, value)


def _as_data(value):
    """What `x.data = value` keeps: an array; of a NumPy scalar, as 0-d arithmetic gives it, one."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    require(
        backend.is_array(value),
        TypeError(
            f".data must be an array, got {type(value).__name__}: {value!r:.60}; write into the "
            "tensor (with no_grad(): p -= 0.1 * p.grad), or give the array: p.data = y.data"
        ),
    )
    return value


def _numbers(parts):
    """The arguments of a NumPy function with an array in place of each Tensor."""
    if type(parts) in (list, tuple):
        return type(parts)(_numbers(part) for part in parts)
    return np.asarray(parts) if isinstance(parts, Tensor) else parts


# ---- in place: what is allowed is said in Tensor's docstring


def _changed(x, name, other):
    """x, after `x += other` or the like."""
    recorded, before = _wants_record(x, other), x
    if recorded:
        before = _before(x, name)
    elif x.op is not None:
        raise RuntimeError(
            f"{name} in place, inside no_grad(), on a tensor whose record ({x.op}) would no longer "
            "be right; write x = ..., a new tensor, or change x.detach()"
        )
    y = primitives[name].apply((before, before if other is x else other), {})
    require(
        y.shape == x.shape,
        ValueError(f"{name} in place: {x.shape} cannot become {y.shape}; write x = ..."),
    )
    _write(x, ..., y.data)
    if recorded:
        y = y if y.dtype == x.dtype else primitives["cast"](y, dtype=x.dtype)
        x.op, x.inputs, x.attrs, x.requires_grad = y.op, y.inputs, y.attrs, True
        x.number = _changes["latest"]  # so that what was made of the older x finds it changed
    return x


def _before(x, name):
    """A tensor with the numbers and the record that x has now, before x gets others."""
    require(
        x.op is not None or not x.requires_grad,
        RuntimeError(
            f"{name} in place on a leaf that requires grad, whose gradient would be lost: change a "
            "parameter inside no_grad(), or its p.data; else write x = ..., a new tensor"
        ),
    )
    known = not modes.record or x.op is not None or x.number > modes.record.began
    require(
        known and getattr(backend.plain(x.data), "base", None) is None,
        RuntimeError(
            f"{name} in place with a record, on a tensor that is a view of another, or not made in "
            "the function that is compiled: that would have no record; write x = ..., a new tensor"
        ),
    )
    before = Tensor(x.data.copy(), requires_grad=x.requires_grad)
    before.op, before.inputs, before.attrs, before.number = x.op, x.inputs, x.attrs, x.number
    return before


def _wants_record(x, other):
    """Whether what is made of both must be recorded."""
    return modes.recording and any(isinstance(a, Tensor) and a.requires_grad for a in (x, other))


def _write(x, key, value):
    """Write an array or a number to x[key], and note when x's memory was changed."""
    data = _bare(x)
    array_module(data, value)
    kind = getattr(value, "dtype", None) or np.result_type(data.dtype, value)
    require(
        np.can_cast(kind, data.dtype, "same_kind"),
        TypeError(f"a tensor of {data.dtype} cannot hold {kind}: x.astype({str(kind)!r}) can"),
    )
    require(
        not _overlaps(data),
        RuntimeError(
            "several elements of this tensor are one number in memory, as in what was broadcast: "
            "write into a copy, minidl.tensor(x)"
        ),
    )
    data[key] = value
    _changes[backend.memory(data)] = _changes["latest"] = _clock()


def _bare(x):
    """The array of a Tensor, to be written to; while a graph is recorded, one that is recorded."""
    if not isinstance(x, Tensor):
        return x
    return modes.record.capture(x) if modes.record else x.data


def _overlaps(a):
    """Whether elements of array `a` are one number in memory."""
    steps = getattr(backend.plain(a), "strides", ())
    return 0 in steps and any(step == 0 and n > 1 for step, n in zip(steps, a.shape))


def _split_key(key, xp):
    """Split an index into its arrays, which become inputs, and the rest, which does not change."""
    arrays, plan = [], []
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, list):
            part = xp.asarray(part, dtype=None if part else np.int64)
        is_input = isinstance(part, Tensor) or backend.is_array(part)
        arrays += [part] if is_input else []
        plan.append(ARRAY if is_input else part)
    return arrays, tuple(plan)


def tensor(data, *, dtype=None, requires_grad=False, device=None):
    """Make a Tensor of numbers, nested lists, an array, or a Tensor; always a leaf, a copy.

    dtype: default float32 for Python floats, else the data's.  device: default the data's.
    """
    data = data.data if isinstance(data, Tensor) else data
    if not backend.is_array(data):
        given, data = data, np.asarray(data)
        if data.dtype.kind not in "biufc":
            raise TypeError(
                f"a tensor is made of numbers, got {given!r:.60}; join Tensors with minidl.stack"
            )
        if data.dtype == np.float64 and dtype is None and not isinstance(given, np.generic):
            dtype = np.float32
    data = array_module(data).array(data, dtype=dtype)
    data = data if device is None else backend.to_device(data, device)
    return Tensor(data, requires_grad=requires_grad)


class Primitive:
    """An operation that the engine knows: arrays in, one array out, and its gradient rule.

    Every operation passes `__call__`, where the array module is chosen and the result recorded.
    Positional arguments are arrays, the graph's edges; keywords are kept with the result.
    """

    def __init__(self, forward):
        self.name, self.forward, self.rule = forward.__name__, forward, self._missing
        self.__doc__ = forward.__doc__

    def gradient(self, rule):
        """Decorator: `rule(g, y, *inputs, **attrs)` gives dL/d(input) for each input, in a tuple.

        g is dL/dy.  Operators and primitives only, so that a rule works on arrays and on Tensors.
        A gradient may be a function of no arguments, called only if wanted; None means zero.
        An operation that has none is `without_gradient`; else a walk back that meets it raises.
        """
        self.rule = rule
        return rule

    def _missing(self, g, y, *inputs, **attrs):
        raise RuntimeError(
            f"the operation {self.name} has no gradient rule: write one, @{self.name}.gradient; or "
            "put @without_gradient above @primitive, if its gradients are zero, as those of a mask"
        )

    def shares(self, g, y, record):
        """A gradient for each of y's inputs, as the rule gives them: with a record, or arrays.

        Raises RuntimeError for another number, or if what the rule needs was changed in place.
        """
        if y.number < _changes["latest"]:
            used = [backend.memory(x.data if isinstance(x, Tensor) else x) for x in (y, *y.inputs)]
            require(
                all(_changes.get(memory, 0) <= y.number for memory in used),
                RuntimeError(
                    f"a tensor that {self.name} needs for its gradient was changed in place since: "
                    "go back before it is changed, or write x = ..., a new tensor"
                ),
            )
        inputs = y.inputs
        if not record:
            inputs = [x.data if isinstance(x, Tensor) else x for x in inputs]
        found = self.rule(g, y if record else y.data, *inputs, **y.attrs)
        given = len(found) if type(found) in (tuple, list) else type(found).__name__
        if given != len(inputs):
            raise RuntimeError(
                f"the gradient rule of {self.name} gave {given}, where {len(inputs)} gradients are "
                "due: a tuple with one for each input, in order, None for zero"
            )
        return found

    def __repr__(self):
        return f"<primitive {self.name}>"

    def __call__(self, *inputs, **attrs):
        return self.apply(inputs, attrs)

    def apply(self, inputs, attrs):
        if handlers and (handler := handlers.get(get_ident())):
            return handler(self, inputs, attrs)
        arrays, tracked, wanted = [], False, False
        for x in inputs:
            if isinstance(x, Tensor):
                tracked = True
                if x.requires_grad:
                    wanted = True
                x = x.data
            elif isinstance(x, np.generic) and any(isinstance(i, Tensor) for i in inputs):
                return self.apply(backend.python_numbers(inputs), attrs)
            arrays.append(x)
        kind, n = type(x), len(arrays)
        xp = ARRAYS.get(kind)
        if xp is None or type(arrays[0]) is not kind or n > 2:
            xp = array_module(*arrays)
        try:
            if n == 2 and not attrs:  # as below, but faster where it matters most
                data = self.forward(xp, arrays[0], arrays[1])
            else:
                data = self.forward(xp, *arrays, **attrs)
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise backend.explained(error, self.name, arrays, attrs) from error
        if not tracked:  # numbers in, a number out: it must not decide the type of what it meets
            return data.item() if all(type(a) in (int, float, bool) for a in arrays) else data
        if type(data) is not kind and type(data) not in ARRAYS:
            data = xp.asarray(data)
        y = _new(Tensor)  # Tensor(data) does the same more slowly
        y.data, y.number, y.grad = data, _clock(), None
        y.requires_grad = wanted = wanted and modes.recording and self.rule is not None
        y.op, y.inputs, y.attrs = (self, inputs, attrs) if wanted else (None, (), None)
        return y


def primitive(forward):
    """Decorator: make a Primitive of `forward(xp, *arrays, **attrs) -> array`.

    It is known by its name.  Raises ValueError if another module has an operation of that name;
    one's own may be defined again, as by a cell of a notebook that runs twice.
    """
    known, name = primitives.get(forward.__name__), forward.__name__
    if known and known.forward.__module__ != forward.__module__:
        raise ValueError(
            f"there is an operation {name} already, of {known.forward.__module__}: call yours "
            f"otherwise; or exchange it for a while, with minidl.replaced({name!r}, forward=...), "
            f"or for good, after del minidl.tensor.primitives[{name!r}]"
        )
    op = primitives[name] = Primitive(forward)
    return op


def without_gradient(op):
    """Decorator above `@primitive`: the operation's gradients are all zero, as those of a mask."""
    op.rule = None
    return op


def grad(outputs, inputs, grad_outputs=None, *, retain_graph=None, create_graph=False):
    """The gradients of the sum of `outputs` for each of `inputs`, as a list; `.grad` stays.

    outputs, inputs: a Tensor or a sequence of them.  grad_outputs: as `gradient` of `backward`.
    An input that no output depends on gets zeros (PyTorch raises, or gives None).
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    several = isinstance(grad_outputs, (list, tuple))
    given = grad_outputs if several else [grad_outputs] * len(outputs)
    found = {id(x): g for x, g in _walk(outputs, given, retain_graph, create_graph, inputs)}
    missing = [x for x in inputs if id(x) not in found]
    found |= {id(x): Tensor(array_module(x.data).zeros_like(x.data)) for x in missing}
    return [found[id(x)] for x in inputs]


def _walk(outputs, gradients, retain_graph, create_graph, targets=None):
    """Go from `outputs` back to the leaves (or `targets`); return pairs (tensor, its gradient).

    A result is always made after its inputs, so by falling `number` each tensor's turn comes
    when all its users have sent their share.  `pending`: what `_added` says of the shares so far.
    """
    cast = primitives["cast"]
    wanted = None if targets is None else {x.number for x in targets}
    pending, found, products = _start(outputs, gradients, create_graph), [], {}
    taken = {backend.memory(g.data if create_graph else g): g for _, g, _ in pending.values()}
    queue = sorted(-number for number in pending)
    before, modes.recording = modes.recording, create_graph
    try:
        while queue:
            number = -heappop(queue)
            y, g, own = pending.pop(number)
            if number in products:
                g, own = _added(_joined(products.pop(number)), y, g, own, primitives["matmul"])
            if y.op is None if wanted is None else number in wanted:
                found.append((y, g if g.dtype == y.data.dtype else cast(g, dtype=y.data.dtype)))
            if y.op is None:
                continue
            if y.inputs is None:
                raise RuntimeError(_FREED.format(y.op.name))
            shares = y.op.shares(g, y, create_graph)
            for x, share in zip(y.inputs, shares):
                if not isinstance(x, Tensor) or not x.requires_grad:
                    continue
                if type(share) is FunctionType:
                    share = share()
                if share is None:
                    continue
                if x.number not in pending:
                    heappush(queue, -x.number)
                _, total, own = pending.get(x.number, (x, None, False))
                if type(share) is Product and not create_graph and share.waits:
                    products.setdefault(x.number, []).append(share)
                else:
                    total, own = _added(share, x, total, own, y.op)
                pending[x.number] = x, total, own
            if not (create_graph if retain_graph is None else retain_graph):
                y.inputs = None
        return [(x, _apart(g, taken)) for x, g in found]
    except MemoryError as error:
        raise backend.explained(error, f"the gradient of {y.op.name}", [g]) from error
    finally:
        modes.recording = before


def _apart(g, taken):
    """A gradient as a Tensor that can be changed in place, in memory of its own.

    A rule may give one array to two inputs, or one number, broadcast.  taken: memory -> array.
    """
    a = g.data if isinstance(g, Tensor) else g
    memory = backend.memory(a)
    if memory in taken or _overlaps(a):
        g = primitives["cast"](g, dtype=g.dtype) if isinstance(g, Tensor) else g.copy()
    taken[memory] = a  # kept, so that no other array is given its memory
    return g if isinstance(g, Tensor) else Tensor(g)


def _joined(products):
    """The sum of the products that waited; many are one product, which rounds differently."""
    if len(products) < 8:
        return sum((p.data for p in products[1:]), products[0].data)
    join, (left, right) = primitives["concatenate"], zip(*products)
    return join(*left, axis=1) @ join(*right, axis=0)


def _added(share, x, total, own, op):
    """The sum of x's shares so far and op's; whether it is an array that only the walk knows.

    Such an array is changed in place: a new one for each share would cost more than the addition.
    """
    share = share.data if type(share) is Product else share
    own = own and x.data.ndim > 0 and not modes.recording  # NumPy's sums of 0-d arrays are numbers
    if type(share) is Piece:
        if own:
            total[share.key] += share.data
            return total, True
        share, fresh = primitives["scatter"](share.data, key=share.key, shape=x.data.shape), True
    else:
        fresh = getattr(share, "shape", None) != x.data.shape
        share = _narrowed(share, x, op) if fresh else share
    if total is None:
        return share, fresh
    if not own:
        return total + share, True
    total += share
    return total, True


def _narrowed(share, x, op):
    """A share of another shape than x, added up over the axes along which x was broadcast.

    Raises RuntimeError if x cannot have been broadcast to the shape of the share.
    """
    shape, whole = x.data.shape, getattr(share, "shape", ())
    last = whole[len(whole) - len(shape) :]
    if len(last) != len(shape) or any(n not in (1, m) for n, m in zip(shape, last)):
        raise RuntimeError(
            f"the gradient rule of {op.name} gave {type(share).__name__} of shape {whole} for an "
            f"input of shape {shape}: a gradient is an array of the shape of its input"
        )
    return primitives["sum_to"](share, shape=shape)


def _start(outputs, gradients, create_graph):
    """What a walk begins with, checked: an output's number -> (the output, its gradient)."""
    pending = {}
    for y, g in zip(outputs, gradients, strict=True):
        if not isinstance(y, Tensor):
            raise TypeError(f"expected a Tensor to go back from, got {type(y).__name__}")
        require(
            y.requires_grad,
            RuntimeError(
                "this tensor has no record to go back through: nothing it was made of has "
                "requires_grad=True, or it was made inside no_grad() or by detach()"
            ),
        )
        xp = array_module(y.data)
        if g is None and y.size != 1:
            raise RuntimeError(
                f"backward needs a result with one element, this one has shape {y.shape}; "
                "reduce it (.sum(), .mean()) or pass the gradient of that shape"
            )
        g = xp.ones_like(y.data) if g is None else g
        g = g if isinstance(g, Tensor) else Tensor(xp.asarray(g, dtype=y.dtype))
        _bare(g)  # a given gradient is an input of what is recorded
        array_module(y.data, g.data)
        if g.shape != y.shape:
            raise ValueError(f"the gradient has shape {g.shape}, the tensor {y.shape}; must agree")
        g = g if create_graph else g.data
        pending[y.number] = y, (pending[y.number][1] + g if y.number in pending else g), False
    return pending
