"""Tensor, an array that remembers how it was made; Primitive, the operations that make it.

The one rule of this file: a result points to its inputs, never the other way.  So there are no
cycles, and a record is freed with its last result.

Read `Primitive.apply` first: forward; then `Primitive.shares` and the walk in gradients.py: back.

Explained in course/07.
"""

from __future__ import annotations

from operator import index
from threading import get_ident
from typing import TYPE_CHECKING

import numpy as np

from .. import advice
from ..advice import advised
from . import changes, devices
from .changes import clock
from .devices import ARRAYS, SCALARS, array_module, explained
from .gradients import walk
from .intercept import captured, handlers, modes, primitives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, ClassVar, TypeAlias

    from numpy.typing import ArrayLike, DTypeLike

    from .devices import Array
    from .gradients import Pairs

    Operand: TypeAlias = "Tensor | Array | np.generic | complex"  # what may stand beside a Tensor
    Axes: TypeAlias = "int | tuple[int, ...] | None"  # over which a reduction goes; None: over all

ARRAY: Any = type("ARRAY", (), {"__repr__": lambda self: "ARRAY"})()  # an array's place in an index


def _operator(name: str) -> Callable[[Tensor, Operand], Tensor]:
    """A method of Tensor for `x + y` and the like: the primitive `name` of both."""
    return lambda self, other: quick(primitives[name], self, other)


def _swapped(name: str) -> Callable[[Tensor, Operand], Tensor]:
    """A method of Tensor for `y + x`, where y is no Tensor."""
    return lambda self, other: quick(primitives[name], other, self)


def _in_place(name: str) -> Callable[[Tensor, Operand], Tensor]:
    """A method of Tensor for `x += y` and the like."""
    return lambda self, other: changes.change(self, name, other)


def _function(name: str) -> Callable[[Tensor], Tensor]:
    """A method of Tensor that is the primitive `name` of one operand."""

    def method(self):
        return primitives[name](self)

    method.__doc__ = f"The operation `{name}` of ops.py, element by element."
    return method


class Tensor(advice.Elsewhere):
    """An array that remembers which operation made it, from which inputs.

    data: an array of any shape, on any device.
    requires_grad: whether `backward` shall compute a gradient for it (floating point only).
    grad: None, or after `backward` a Tensor of the same shape: the sum of all gradients so far.
    op, inputs, attrs: its record, that is, the operation that made it, with what arrays, and with
    what keywords; None, () and None for a leaf, a tensor that no recorded operation made.
    number: its place in the order in which tensors are made; data that is assigned gives a new one.

    `x += y` and `x[i] = y` write into x's own array, as in NumPy, so every name and view of x sees
    it; shape, type and device stay.  If x or y has a record, `x += y` gives x that of `x + y`.
    A walk back that needs what was changed since raises RuntimeError.  So do, at once, changes
    for which no gradient could be right: of a leaf with requires_grad outside `no_grad()`, of a
    recorded tensor inside it, of a view, and `x[i] = y` wherever a record is due.
    What is written by way of `.numpy()`, or into the array `.data`, is seen by no check.

    In NumPy's functions (`np.stack([x, y])`) it stands for its array; with requires_grad it
    raises TypeError, for they would lose the gradient: `.detach()` says that this is meant.
    """

    __slots__ = ("__weakref__", "attrs", "data", "grad", "inputs", "number", "op", "requires_grad")
    __hash__ = object.__hash__

    def __init__(self, data: Array, *, requires_grad: bool = False):
        self.number: int = clock()
        self.data: Array = data
        self.grad: Tensor | None = None
        self.op: Primitive | None = None
        self.inputs: tuple[Any, ...] = ()
        self.attrs: dict[str, Any] | None = None
        self.requires_grad: bool = requires_grad

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "data":
            if type(value) not in ARRAYS:
                value = _checked_array(value)
            if hasattr(self, "data"):  # what was made of the old array finds it changed
                self.number = changes.note_change()
                if self.requires_grad:
                    _check_real(value.dtype)
        elif name == "grad" and value is not None:
            _check_grad(self, value)
        elif name == "requires_grad" and value:
            _check_real(self.dtype)
        object.__setattr__(self, name, value)

    def __setstate__(self, state: Any) -> None:
        """Make what was copied or unpickled a leaf, with a number of its own."""
        Tensor.__init__(self, state[1]["data"], requires_grad=state[1]["requires_grad"])

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements, as in NumPy; PyTorch's x.size() is x.shape."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.data.dtype

    @property
    def device(self) -> str:
        """The name of the device that holds the array: "cpu", "cuda", ..."""
        return devices.device_of(self.data)

    @property
    def T(self) -> Tensor:
        """The axes in reversed order."""
        return self.transpose()  # (A, B, C) -> (C, B, A)

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a 0-d tensor has no length and no items; .item() gives its value")
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        values = np.array2string(devices.to_numpy(self.data), separator=", ", prefix="tensor(")
        made = ""
        if self.op is not None:
            made = f", from {self.op.name}"
        elif self.requires_grad:
            made = ", requires_grad=True"
        return f"tensor({values}{made})"

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else str(self)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(f"a tensor of shape {self.shape} has not one truth value; .any() or "
                             ".all() gives one")  # fmt: skip
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        """A whole number, as an index of a list or in range()."""
        return index(self.item())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if self.requires_grad:
            raise TypeError(
                "NumPy would lose the gradient of this tensor, which has requires_grad: compute "
                "with minidl (minidl.stack, .sum(), ...), or take its numbers: .detach().numpy()"
            )
        return np.array(devices.to_numpy(self.data), dtype=dtype, copy=copy)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: Any, options: dict[str, Any]
    ) -> Any:
        options = {name: _for_numpy(value) for name, value in options.items()}
        return function(*_for_numpy(args), **options)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Tensor:
        """What an operator gives that has a NumPy array on its left."""
        name = _FROM_THE_LEFT.get(ufunc.__name__)
        if name is None or method != "__call__" or options or inputs[1] is not self:
            raise TypeError(
                f"np.{ufunc.__name__} does not compute with Tensors: use the operators and methods "
                "of Tensor, x.exp(), x + y, or its numbers, x.detach().numpy()"
            )
        return getattr(self, name)(inputs[0])

    def item(self) -> float:
        """The value of a tensor with one element, as a Python number.

        Raises ValueError if it has another number of elements.
        """
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}")
        return devices.to_numpy(self.data).item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; on the CPU it shares this tensor's memory."""
        return devices.to_numpy(self.data)

    def detach(self) -> Tensor:
        """A leaf with the same values, in the same memory, and without the record."""
        return Tensor(captured(self))

    @advised
    def to(self, device: str) -> Tensor:
        """This tensor on `device`, "cpu" or "cuda"; a new leaf unless it is there already.

        Raises ValueError for an unknown device, RuntimeError where there is no usable GPU.
        """
        if self.device == device:
            return self
        return Tensor(devices.to_device(self.data, device), requires_grad=self.requires_grad)

    def backward(
        self,
        gradient: Operand | None = None,
        *,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Compute the gradient of this tensor for every leaf that it was made of.

        It is added to the leaf's `.grad`.
        gradient: dL/d(self), same shape; may be left out if `self` has one element (then 1).
        retain_graph: keep the record for a second backward (default: as create_graph).
        create_graph: record the backward pass too, so that gradients have gradients.
        Raises RuntimeError for a tensor with no record, or whose record was freed.
        """
        for leaf, g in _gradients([self], [gradient], retain_graph, create_graph, set()):
            leaf.grad = g if leaf.grad is None else leaf.grad + g

    def free(self) -> None:
        """Let go of the inputs of the record, and of the memory that nobody else needs."""
        object.__setattr__(self, "inputs", None)  # past the checks, which take longer than the rest

    # What an operation does stands in ops.py.
    __add__ = __radd__ = _operator("add")
    __mul__ = __rmul__ = _operator("mul")
    __sub__, __rsub__ = _operator("sub"), _swapped("sub")
    __truediv__, __rtruediv__ = _operator("div"), _swapped("div")
    __pow__, __rpow__ = _operator("pow"), _swapped("pow")
    __matmul__, __rmatmul__ = _operator("matmul"), _swapped("matmul")
    # Declared, for in Python's own classes these two give a truth value.
    __eq__: ClassVar[Callable[[Tensor, Operand], Tensor]] = _operator("equal")
    __ne__: ClassVar[Callable[[Tensor, Operand], Tensor]] = _operator("not_equal")
    __lt__, __gt__ = _operator("less"), _swapped("less")
    __le__, __ge__ = _operator("less_equal"), _swapped("less_equal")
    __iadd__, __isub__, __imul__ = _in_place("add"), _in_place("sub"), _in_place("mul")
    __itruediv__, __ipow__, __imatmul__ = _in_place("div"), _in_place("pow"), _in_place("matmul")
    __neg__, exp, log = _function("neg"), _function("exp"), _function("log")
    sqrt, tanh, sigmoid = _function("sqrt"), _function("tanh"), _function("sigmoid")
    sin, cos, relu = _function("sin"), _function("cos"), _function("relu")
    __abs__ = abs = _function("abs")
    __and__ = __rand__ = _operator("bit_and")
    __or__ = __ror__ = _operator("bit_or")
    __invert__ = _function("invert")
    __floordiv__, __rfloordiv__ = _operator("floor_div"), _swapped("floor_div")
    __mod__, __rmod__ = _operator("mod"), _swapped("mod")

    def __getitem__(self, key: Any) -> Tensor:
        arrays, plan = _split_key(key, array_module(self.data))
        return primitives["getitem"](self, *arrays, key=plan)

    def __setitem__(self, key: Any, value: Operand) -> None:
        if self.op is not None or changes.needs_record(self, value):
            raise RuntimeError(
                "x[i] = y writes values, without the record that a gradient needs: join parts "
                "with minidl.where, concatenate or stack; if no gradient is meant, write into a "
                "leaf inside no_grad(), or write y.detach()"
            )
        changes.write(self, key, value)

    @advised
    def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis`: an int, a tuple of them, or None for all axes.

        keepdims: leave the axes that are summed over in the shape, with length 1.
        """
        return primitives["sum"](self, axis=axis, keepdims=keepdims)

    @advised
    def mean(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The mean over `axis`, which is as in `sum`; of no elements it is nan."""
        total = self.sum(axis, keepdims)  # (N, D), axis 1 -> (N,), or with keepdims (N, 1)
        return total * (total.size / (self.size or np.nan))

    @advised
    def max(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The maximum over `axis`, which is as in `sum`; equal maxima share the gradient."""
        return primitives["max"](self, axis=axis, keepdims=keepdims)

    @advised
    def min(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """The minimum over `axis`, which is as in `sum`; equal minima share the gradient."""
        return primitives["min"](self, axis=axis, keepdims=keepdims)

    @advised
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the first maximum along `axis`; None: in x.reshape(-1)."""
        return primitives["argmax"](self, axis=axis, keepdims=keepdims)

    @advised
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The place of the first minimum along `axis`; None: in x.reshape(-1)."""
        return primitives["argmin"](self, axis=axis, keepdims=keepdims)

    @advised
    def any(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Whether an element is not 0, over `axis`, which is as in `sum`."""
        return primitives["any"](self, axis=axis, keepdims=keepdims)

    @advised
    def all(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Whether no element is 0, over `axis`, which is as in `sum`."""
        return primitives["all"](self, axis=axis, keepdims=keepdims)

    @advised
    def var(self, axis: Axes = None, keepdims: bool = False, *, ddof: int = 0) -> Tensor:
        """The mean of the squared distances from the mean over `axis`, which is as in `sum`.

        Divided by the number of elements less ddof.  As in NumPy; PyTorch's has ddof=1.
        """
        error = self - self.mean(axis, keepdims=True)  # (N, D), axis 1: (N, D) - (N, 1)
        total = (error * error).sum(axis, keepdims)  # (N, D) -> (N,), or with keepdims (N, 1)
        count = self.size / (total.size or np.nan)
        return total * (1 / (count - ddof or np.nan))

    @advised
    def std(self, axis: Axes = None, keepdims: bool = False, *, ddof: int = 0) -> Tensor:
        """The square root of `var`; where that is 0, the gradient is not finite."""
        return self.var(axis, keepdims, ddof=ddof).sqrt()  # (N, D), axis 1 -> (N,)

    @advised
    def clip(self, low: Operand | None = None, high: Operand | None = None) -> Tensor:
        """The elements, but low where they are below it, and high where they are above it.

        None: no limit.  At a limit the gradient is that of x, as in PyTorch's clamp.
        """
        y = self
        if low is not None:
            y = primitives["where"](y < low, low, y)
        if high is not None:
            y = primitives["where"](y > high, high, y)
        return y

    @advised
    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """The same elements in another shape, as x.reshape(2, 3) or x.reshape((2, 3)).

        One length may be -1: it becomes what is left of the size.
        """
        return primitives["reshape"](self, shape=listed_shape(shape))

    @advised
    def transpose(self, *axes: int | Sequence[int]) -> Tensor:
        """The axes in the order `axes`, as in NumPy (reversed if none are given).

        PyTorch's transpose(i, j), which swaps two axes, is the order with these two exchanged.
        Raises ValueError for an order that changes nothing: it would be PyTorch's swap, misread.
        """
        return primitives["transpose"](self, axes=listed_shape(axes) or None)

    @advised
    def astype(self, dtype: DTypeLike) -> Tensor:
        """The values converted to `dtype`; whole numbers and truth values have no record."""
        dtype = np.dtype(dtype)
        if dtype.kind not in "fc":
            self = self.detach()  # whole numbers have no gradient
        return primitives["cast"](self, dtype=dtype)


# The operators that may have a NumPy array on their left: its name for them, and Tensor's.
_FROM_THE_LEFT = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
    "power": "__rpow__",
    "matmul": "__rmatmul__",
    "floor_divide": "__rfloordiv__",
    "remainder": "__rmod__",
    "bitwise_and": "__rand__",
    "bitwise_or": "__ror__",
    "equal": "__eq__",
    "not_equal": "__ne__",
    "less": "__gt__",
    "less_equal": "__ge__",
    "greater": "__lt__",
    "greater_equal": "__le__",
}


class _InTheMaking(Tensor):
    """A Tensor whose attributes are set without checks; `result` turns it into an ordinary one."""

    __slots__ = ()
    __setattr__ = object.__setattr__


def result(
    data: Array,
    op: Primitive | None = None,
    inputs: tuple[Any, ...] = (),
    attrs: dict[str, Any] | None = None,
) -> Tensor:
    """A new Tensor of the array `data`; op, inputs, attrs: its record, if it has one."""
    y = object.__new__(_InTheMaking)
    y.data = data
    y.number = clock()
    y.grad = None
    y.op, y.inputs, y.attrs = op, inputs, attrs
    y.requires_grad = op is not None
    y.__class__ = Tensor
    return y


def array_of(x: Any) -> Any:
    """The array that a Tensor holds; anything else as it is.

    It only looks.  Who computes with the array, or writes into it, and not by way of an operation,
    asks `intercept.captured`, so that `compile` notices.
    """
    return x.data if isinstance(x, Tensor) else x


def _checked_array(value):
    """`value`, which must be an array to be a Tensor's data; a NumPy scalar becomes one, 0-d."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if not devices.is_array(value):
        raise TypeError(
            f".data must be an array, got {type(value).__name__}: {value!r:.60}; "
            "minidl.tensor(...) makes a Tensor of numbers; to change one, write into it (with "
            "no_grad(): p -= 0.1 * p.grad), or give the array: p.data = y.data"
        )
    return value


def _check_real(dtype):
    if dtype.kind != "f":
        raise TypeError(
            "only tensors of real floating-point numbers have gradients, this holds "
            f"{dtype}; use .astype('float32') first"
        )


def _check_grad(x, g):
    if not isinstance(g, Tensor) or g.shape != x.shape:
        raise ValueError(
            f".grad must be None or a Tensor of shape {x.shape}, got {type(g).__name__} of shape "
            f"{getattr(g, 'shape', None)}"
        )


def _for_numpy(parts):
    """The arguments of a NumPy function, with a NumPy array in place of each Tensor in them.

    Raises TypeError for a Tensor with requires_grad, as `Tensor.__array__` does.
    """
    if type(parts) in (list, tuple):
        return type(parts)(_for_numpy(part) for part in parts)
    return np.asarray(parts) if isinstance(parts, Tensor) else parts


def listed_shape(numbers: tuple[Any, ...]) -> tuple[int, ...]:
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


@advised
def tensor(
    data: Tensor | ArrayLike,
    *,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
    device: str | None = None,
) -> Tensor:
    """A new Tensor of numbers, nested lists of them, an array, or a Tensor; a leaf, and a copy.

    dtype: default float32 for Python floats, else the data's.  device: "cpu" or "cuda"; default
    the data's.  Raises TypeError for what is not made of numbers, ValueError where rows differ in
    length, OverflowError for a whole number that dtype cannot hold.
    """
    if isinstance(data, Tensor):
        data = data.data
    if not devices.is_array(data):
        given, data = data, _rectangular(data)
        if data.dtype.kind not in "biufc":
            raise TypeError(
                f"a tensor is made of numbers, got {given!r:.60}; join Tensors with minidl.stack"
            )
        if data.dtype == np.float64 and dtype is None and not isinstance(given, np.generic):
            dtype = np.float32
        if data.dtype.kind in "iu":
            data = np.asarray(given, dtype)  # raises where dtype cannot hold one of the numbers
    data = array_module(data).array(data, dtype=dtype)
    if device is not None:
        data = devices.to_device(data, device)
    return Tensor(data, requires_grad=requires_grad)


def _rectangular(data):
    """Nested lists as an array.  Raises ValueError where rows differ in length."""
    try:
        return np.asarray(data)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError("tensor: the rows of a nested list must be of one length, got "
                         f"{data!r:.60}; data.pad_sequence(rows, value=0)[0] fills them up"
                         ) from None  # fmt: skip


class Primitive:
    """An operation that the engine knows: arrays in, one array out, and its gradient rule.

    Positional arguments are its inputs: arrays, Tensors or numbers.  What else decides the result
    is given by keywords, its `attrs`, which are kept with the result.
    """

    def __init__(self, forward: Callable[..., Any]):
        self.name: str = forward.__name__
        self.forward: Callable[..., Any] = forward
        self.rule: Callable[..., Any] | None = self._no_rule  # None: all its gradients are zero
        self.__doc__: str | None = forward.__doc__

    def gradient(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: `rule(g, y, *inputs, **attrs)` gives dL/d(input) for each input, in a tuple.

        g is dL/dy.  A rule is written in operators and primitives only, so that it works on arrays
        and on Tensors.  A gradient may be a function of no arguments, which is called only if
        somebody wants it; None means zero.  An operation whose gradients are all zero says so by
        `without_gradient`; one that has neither raises RuntimeError on the way back.
        """
        self.rule = rule
        return rule

    def _no_rule(self, g, y, *inputs, **attrs):
        raise RuntimeError(
            f"the operation {self.name} has no gradient rule: write one, @{self.name}.gradient; or "
            "put @without_gradient above @primitive, if its gradients are zero, as those of a mask"
        )

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def __call__(self, *inputs: Operand, **attrs: Any) -> Tensor:
        """The result: a Tensor, or an array where no Tensor is among the inputs."""
        return self.apply(_python_scalars(inputs), attrs)

    def apply(self, inputs: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
        """Compute on the arrays inside the tensors, and write down how the result was made."""
        handler = handlers.get(get_ident())
        if handler is not None:  # somebody takes over: intercept.py
            return handler(self, inputs, attrs)
        arrays, tracked, asked = [], False, False
        for x in inputs:
            if isinstance(x, Tensor):
                tracked = True
                asked = asked or x.requires_grad
                x = x.data
            arrays.append(x)
        xp = array_module(*arrays)  # NumPy, or CuPy
        try:
            data = self.forward(xp, *arrays, **attrs)
        except (ValueError, IndexError, TypeError, MemoryError) as error:
            raise explained(error, self.name, arrays, attrs) from error
        if not tracked:  # arrays in, an array out: nothing to remember
            return _scalar_if_scalars(data, arrays)
        if type(data) not in ARRAYS:  # NumPy's sum over all axes is a number
            data = xp.asarray(data)
        if asked and modes.recording and self.rule is not None:
            return result(data, self, inputs, attrs)
        return result(data)

    def shares(self, y: Tensor, g: Any, recorded: bool) -> Pairs:
        """Pairs (x, share): what y's gradient g gives to each of y's inputs that asks for one.

        recorded: computed on Tensors, so that the way back has a record too; else on arrays.
        """
        if y.inputs is None:
            raise RuntimeError(_FREED.format(self.name))
        changes.check_unchanged(y)
        inputs, out = y.inputs, y
        if not recorded:
            inputs, out = tuple(map(array_of, inputs)), y.data
        pairs = []
        try:
            found = self.rule(g, out, *inputs, **y.attrs)
            for x, share in zip(y.inputs, self._one_each(found, inputs)):
                if isinstance(x, Tensor) and x.requires_grad:
                    if callable(share):
                        share = share()
                    if share is not None:
                        pairs.append((x, self._narrowed(share, x.data.shape)))
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
        if wide is None or not _may_widen(shape, wide):
            raise RuntimeError(
                f"the gradient rule of {self.name} gave {type(share).__name__} of shape {wide} for "
                f"an input of shape {shape}: a gradient is an array of the shape of its input"
            )
        return primitives["sum_to"](share, shape=shape)


def _may_widen(shape, wide):
    """Whether broadcasting can make an array of `shape` as wide as `wide`."""
    last = wide[len(wide) - len(shape) :]
    return len(last) == len(shape) and all(n in (1, m) for n, m in zip(shape, last))


_FREED = "the record of this {!r} was freed by an earlier backward; keep it with retain_graph=True"


def _python_scalars(inputs):
    """`inputs`; beside a Tensor, Python's numbers for NumPy's, which would make float32 float64."""
    for x in inputs:
        if (  # one alone is beside no other
            len(inputs) > 1
            and isinstance(x, np.generic)
            and any(isinstance(other, Tensor) for other in inputs)
        ):
            return tuple(x.item() if isinstance(x, np.generic) else x for x in inputs)
    return inputs


def _scalar_if_scalars(data, arrays):
    """Numbers in, a number out: it must not decide the type of what it meets."""
    for a in arrays:
        if type(a) not in SCALARS:
            return data
    return data.item()


def quick(op: Primitive, a: Any, b: Any) -> Any:
    """For speed alone: op(a, b), sooner, where both live on one device or one is a Python number.

    It does what `Primitive.apply` does, in fewer steps, and leaves all else to it.
    """
    x = a.data if isinstance(a, Tensor) else a
    z = b.data if isinstance(b, Tensor) else b
    kind = type(x)
    if kind in SCALARS:
        kind = type(z)
    xp = ARRAYS.get(kind)
    alike = type(z) is kind or type(z) in SCALARS
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


def primitive(forward: Callable[..., Any]) -> Primitive:
    """Decorator: make a Primitive of `forward(xp, *arrays, **attrs) -> array`.

    It is known by its name.  Raises ValueError if another module has an operation of that name;
    the same module may define it again, as does a cell of a notebook that runs twice.
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


def without_gradient(op: Primitive) -> Primitive:
    """Decorator above `@primitive`: the operation's gradients are all zero, as those of a mask."""
    op.rule = None
    return op


@advised
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Operand | Sequence[Operand | None] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> list[Tensor]:
    """The gradients of the sum of `outputs`, a list with one for each of `inputs`.

    No `.grad` is changed.  grad_outputs: for each of the outputs what `gradient` is in `backward`;
    retain_graph and create_graph are as there.  An input that no output depends on gets zeros
    (PyTorch raises, or gives None).
    """
    outputs = _listed(outputs)
    inputs = _listed(inputs)
    if not isinstance(grad_outputs, (list, tuple)):
        grad_outputs = [grad_outputs] * len(outputs)
    targets = {x.number for x in inputs}
    pairs = _gradients(outputs, grad_outputs, retain_graph, create_graph, targets)
    found = {id(x): g for x, g in pairs}
    for x in inputs:
        if id(x) not in found:
            found[id(x)] = Tensor(array_module(x.data).zeros_like(x.data))
    return [found[id(x)] for x in inputs]


def _listed(tensors):
    """A list of what is given: one Tensor, or a sequence of them."""
    if isinstance(tensors, Tensor):
        return [tensors]
    return list(tensors)


def _gradients(outputs, gradients, retain_graph, create_graph, targets):
    """Pairs (tensor, its gradient, a Tensor), from the walk back, whose start is checked here."""
    if retain_graph is None:
        retain_graph = create_graph
    first = [_start(y, g) for y, g in zip(outputs, gradients, strict=True)]
    arrays = [g.data for g in first]
    if not create_graph:
        first = arrays
    found = walk(
        zip(outputs, first), retain_graph=retain_graph, create_graph=create_graph, targets=targets
    )
    for x, g in changes.apart(found, arrays):
        if g.dtype != x.dtype:
            g = primitives["cast"](g, dtype=x.dtype)
        if not isinstance(g, Tensor):
            g = result(_checked_array(g))
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
    captured(g)  # while `compile` traces, one of what it is given
    array_module(y.data, g.data)  # raises unless both live on one device
    if g.shape != y.shape:
        raise ValueError(f"the gradient has shape {g.shape}, the tensor {y.shape}; must agree")
    return g
