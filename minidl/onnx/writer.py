"""A file of ONNX as it is written: nodes, constants, and what a rule is given.

The one rule of this file: what a rule calls a value is its name in the file.

Explained in course/25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.tensor import Tensor, array_of
from ..graph.lines import mapped
from .runs import Length

if TYPE_CHECKING:
    from collections.abc import Callable

PRODUCER = "minidl"
BUFFERS = "minidl.buffers"  # what a file says of itself: the names of arrays that are not trained

# ---- the file, as it is written


def onnx_package():
    """The package onnx; ImportError says how to install it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f'{error}; for files of ONNX pip install "minidl[onnx]"') from error
    return onnx


class Writer:
    """The nodes and constants of a file.  What it calls values are names.

    All that the model gives names to has them first: inputs, outputs, then arrays.
    """

    def __init__(self, model, inputs, sizes, outputs):
        self.onnx = onnx_package()
        self.parts = dict(model.tensors())
        self.places = {id(part): path for path, part in model.modules()}
        self.nodes, self.constants, self.known = [], {}, {}
        self.fixed: list[str] = []  # constants that are not trained
        self.taken: set[str] = set()
        # axis name -> an input that has it, and where
        self.axes = {}
        for name, _, axes in inputs:
            self.taken.add(name)
            for i, axis in enumerate(axes):
                if axis in sizes:
                    self.axes.setdefault(axis, (name, i))
        self.outputs = [self.name(name) for name in outputs]
        first = {id(part): path for path, part in reversed(model.tensors())}  # of a shared one
        self.names = {part: self.name(path) for part, path in first.items()}

    def name(self, wish):
        """`wish`, or if it is taken the same with a number."""
        name, n = wish, 1
        while name in self.taken:
            n += 1
            name = f"{wish}_{n}"
        self.taken.add(name)
        return name

    def constant(self, array, wish="constant"):
        """The value of an array; the same one for the same bits."""
        array = np.asarray(array, order="C")
        key = array.tobytes(), array.shape, array.dtype.str
        if wish != "constant" or key not in self.known:
            self.known[key] = self.name(wish)
            self.constants[self.known[key]] = array
            if wish == "constant":
                self.fixed.append(self.known[key])
        return self.known[key]

    def parameter(self, part, change=np.asarray):
        """The value of one of the model's Tensors, which has its path as name, as it is changed."""
        name = self.names[id(part)]
        if name not in self.constants:
            self.constants[name] = np.asarray(change(array_of(part)), order="C")
            if type(part) is Tensor:
                self.fixed.append(name)
        return name

    def ints(self, *numbers):
        """The value of a list of whole numbers; Lengths among them are computed in the file."""
        if not any(isinstance(n, Length) for n in numbers):
            return self.constant(np.array(numbers, np.int64))
        if len(numbers) == 1:
            return self._computed(numbers[0])
        return self.node("Concat", *(self.ints(n) for n in numbers), axis=0, wish="sizes")

    def _computed(self, length):
        """The value, of shape (1,), of a Length; once."""
        if length not in self.known:
            parts = []
            for axis in length.axes:
                name, i = self.axes[axis]
                parts.append(self.node("Shape", name, start=i, end=i + 1, wish=axis))
            if length.factor != 1:
                parts.append(self.ints(length.factor))
            value = parts[0]
            for part in parts[1:]:
                value = self.node("Mul", value, part, wish="size")
            if length.offset:
                value = self.node("Add", value, self.ints(length.offset), wish="size")
            self.known[length] = value
        return self.known[length]

    def node(self, kind, *inputs, n=1, wish=None, **attrs):
        """The value, or the n values, of a node; the same where there is one that does the same.

        None among the inputs is one left out, None among attrs what ONNX takes if nothing is said.
        """
        attrs = {name: value for name, value in attrs.items() if value is not None}
        inputs = [x or "" for x in inputs]
        key = kind, *inputs, str(attrs)
        if key not in self.known:
            outputs = [self.name(wish or kind.lower()) for _ in range(n)]
            node = self.onnx.helper.make_node(kind, inputs, outputs, outputs[0], **attrs)
            self.nodes.append(node)
            self.known[key] = outputs if n > 1 else outputs[0]
        return self.known[key]

    def rename(self, old, new):
        """Let a value have another name, and tell whether it is a node's and so can have one."""
        if not any(old in node.output for node in self.nodes):
            return False
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]
        return True

    def cast(self, value, dtype):
        """The value with elements of type `dtype`."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.node("Cast", value, to=kind)

    def pattern(self, p, dtype):
        """The value of a Pattern, in this type."""
        if p.kind in ("share", "number"):
            value = self.cast(self.node("Squeeze", self.ints(p.length)), dtype)
            if p.kind == "share":
                value = self.node("Reciprocal", value)
            return value
        if p.kind == "range":
            end = self.node("Squeeze", self.ints(*p.shape))
            numbers = self.constant(np.array(0)), end, self.constant(np.array(1))
            return self.cast(self.node("Range", *numbers), dtype)
        if p.kind == "full":
            return self._full(p.shape, np.array([p.fill], dtype))
        ones = self._full(p.shape, np.ones(1, np.float32))
        height, width = (self.ints(n) for n in p.shape)
        place = self.node("Squeeze", self.node("Sub", width, height))
        return self.cast(self.node("Trilu", ones, place, upper=0), dtype)

    def _full(self, shape, fill):
        fill = self.onnx.numpy_helper.from_array(fill)
        return self.node("ConstantOfShape", self.ints(*shape), value=fill)


@dataclass
class Value:
    """A value of the file: its name, or what gives the name once its type is known."""

    name: str | None
    shape: tuple[Any, ...]
    dtype: np.dtype | None
    make: Callable[[Any], str] | None = None


# Operations on single elements: NumPy takes operands of several types, ONNX of one.
ALIKE = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "neg": "Neg", "pow": "Pow",
    "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "sin": "Sin", "cos": "Cos", "tanh": "Tanh",
    "sigmoid": "Sigmoid", "softplus": "Softplus", "relu": "Relu", "abs": "Abs", "sign": "Sign",
    "maximum": "Max", "minimum": "Min", "where": "Where", "equal": "Equal", "less": "Less",
    "less_equal": "LessOrEqual",
}  # fmt: skip
_COMPARE = "equal", "not_equal", "less", "less_equal"


class Rule:
    """What a rule is given: a call, and the writer.

    x: the names of its inputs.  shapes, dtypes: theirs, with Lengths.  attrs, layer: the call's.
    node, ints, constant: the writer's.
    """

    def __init__(self, writer: Writer, call: Any, values: Any) -> None:
        self.writer, self.call = writer, call
        self.node: Callable[..., Any] = writer.node
        self.ints: Callable[..., str] = writer.ints
        self.constant: Callable[..., str] = writer.constant
        self.attrs, self.layer = call.attrs, call.what
        self.shapes = [v.shape if isinstance(v, Value) else () for v in values]
        self.dtypes = [v.dtype if isinstance(v, Value) else None for v in values]
        wanted = [self._type(v, values) for v in values]
        self.x = [mapped(v, lambda one, t=t: self._name(one, t)) for v, t in zip(values, wanted)]

    def _type(self, value, values):
        """The type that an operand must have, or None: to NumPy they may differ, to ONNX not."""
        name = self.call.name
        if name not in ALIKE and name not in ("not_equal", "floor_div"):
            return None
        if name == "where" and value is values[0]:
            return None
        if name not in _COMPARE:
            return self.call.results[0].dtype
        firm = [v.dtype for v in values if v.make is None or v.shape]
        return np.result_type(*(firm or [v.dtype for v in values]))

    def _name(self, value, dtype):
        if value is None or value.name is None:
            return value and value.make(dtype or value.dtype)
        if dtype is None or value.dtype == dtype:
            return value.name
        return self.writer.cast(value.name, dtype)

    def weight(self, name: str) -> str | None:
        """The value of the layer's own array `name`, or None."""
        part = getattr(self.layer, name)
        if part is None:
            return None
        return self.writer.parameter(part)
