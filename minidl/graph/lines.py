"""What is traced: Values, the Lines that make them, and the Graph that holds both.

The one rule of this file: a Graph is never changed.  Whoever wants another makes it, by `changed`,
and the old one, its Lines and its Values stay as they were.  So a pass can be tried, printed and
compared, and one graph be compiled as often as one likes.

Explained in course/20.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np

from ..engine import devices, random

VIEWS = {"reshape", "transpose", "getitem", "broadcast_to"}  # these may give the same memory
DRAWS = {"random", "standard_normal"}
PLACED = {"copyto", "add.at"}  # these change their first argument
ELSEWHERE = {"add.reduce": "sum", "maximum.reduce": "max"}  # CuPy's maximum has no reduce


class Value:
    """An array, or a Python number, in a trace: its shape and type, not its elements.

    kind: "input" (given at each run), "state" (the data of Tensors, kept from run to run),
    "constant", "number" (asked for at each run) or "made" (by a line).  data: the Tensor of a
    state, or the list of those it is made of; the array of a constant; the function that gives a
    number.  base: the Value whose memory this is a part of, itself if it owns its memory.
    order: its axes in the order of memory, the slowest first.  name: what a reader calls it.
    """

    __slots__ = ("base", "data", "dtype", "kind", "name", "order", "shape")

    def __init__(
        self,
        array: Any,
        kind: str = "made",
        *,
        base: Value | None = None,
        data: Any = None,
        name: str | None = None,
    ):
        self.shape = getattr(array, "shape", ())
        self.dtype = getattr(array, "dtype", None)
        self.order = layout(array) if devices.is_array(array) else ()
        self.kind, self.data, self.name = kind, data, name
        self.base = base or self

    size = property(lambda self: int(np.prod(self.shape)))
    nbytes = property(lambda self: self.size * self.dtype.itemsize if self.dtype else 0)

    def in_order(self) -> bool:
        """Whether its elements lie in memory in the order of the axes, if it owns its memory."""
        axes = [i for i in self.order if self.shape[i] > 1]
        return axes == sorted(axes)

    def within(self, base: Value) -> Value:
        """A Value like this one that is a part of `base`."""
        new = copy(self)
        new.base = base
        return new

    def __repr__(self):
        return f"{self.name or self.kind}: {self.dtype}{list(self.shape)}"


@dataclass(eq=False, slots=True)
class Line:
    """One call, out = function(*args, **options); `into` says that out was there before."""

    function: str | Callable
    args: tuple
    options: dict
    out: Value
    into: bool = False

    outs = property(lambda self: [self.out])
    fresh = property(lambda self: [] if self.into else [self.out], doc="Those of outs it makes.")

    def parts(self) -> list[Line]:
        """The lines that run as this one: itself, but of a kernel several."""
        return [self]

    def inputs(self) -> list[Value]:
        """The Values that the call reads."""
        return values(self.args)

    def bases(self) -> set[Value]:
        """The arrays that the call touches: whose memory it reads or writes."""
        return {v.base for v in [*self.outs, *self.inputs()]}

    def effect(self) -> bool:
        """Whether it must run although nobody needs its result: a check, or a random draw."""
        return callable(self.function) or self.function in DRAWS

    def replaced(self, new: dict[Value, Value]) -> Line:
        """This line with new[v] in place of each Value v that `new` has."""
        args, out = renewed(self.args, new), renewed(self.out, new)
        return Line(self.function, args, self.options, out, self.into)


@dataclass(kw_only=True)
class Graph:
    """Lines, and what surrounds them.

    inputs: the Values of the Tensors and floats in the function's arguments.
    numbers: the Values of Python numbers that are asked for at each run.
    updates: dict state -> the Value that it has at the end.
    result: what the function returned, with Values in place of Tensors.
    asks: for each Value of the result, whether the function's own Tensor would have a way back;
    None if it is no Tensor.
    grads: pairs (Tensor, or number of an argument, Value) of gradients that are left in `.grad`.
    zeroed: ids of Tensors that have no `.grad` any more when theirs is left, for the function sets
    it to None before: so a run's gradient replaces the old one.  Others' gradients add up.
    stepped: Tensors whose gradients an optimiser used although the function had not set them to
    None: gradients from before the call would count.
    after: functions to call after each run.
    settings: the `Settings` that were read while it was traced, or None.
    xp: the array module.
    """

    inputs: list[Value]
    xp: ModuleType
    lines: list[Line] = field(default_factory=list)
    numbers: list[Value] = field(default_factory=list)
    updates: dict[Value, Value] = field(default_factory=dict)
    grads: list[tuple] = field(default_factory=list)
    after: list[Callable] = field(default_factory=list)
    zeroed: set[int] = field(default_factory=set)
    stepped: list = field(default_factory=list)
    asks: list[bool | None] = field(default_factory=list)
    settings: Any = None
    result: Any = None

    def ends(self) -> list[Value]:
        """The Values that are needed when the last line has run."""
        return [*values(self.result), *self.updates.values(), *(v for _, v in self.grads)]

    def parts(self) -> list[Line]:
        """The lines, those of a kernel one by one."""
        return [part for line in self.lines for part in line.parts()]

    def written(self) -> set[Value]:
        """The bases that some line changes after they were made."""
        return {line.out.base for line in self.parts() if line.into}

    def changed(self, lines: list[Line], new: dict[Value, Value] | None = None) -> Graph:
        """This graph with other lines, and with new[v] in place of each Value v that `new` has.

        What was a view of a replaced array becomes a view of the array in its place.
        """
        new = dict(new or {})
        kept = []
        for line in lines:
            for out in line.outs:
                base = renewed(out.base, new).base
                if base is not out.base and out not in new:
                    new[out] = out.within(base)
            kept.append(line.replaced(new))
        return replace(self, lines=kept).ending(new)

    def ending(self, new: dict[Value, Value]) -> Graph:
        """This graph with new[v] in place of each Value v that is needed at the end."""
        return replace(
            self,
            result=renewed(self.result, new),
            updates=renewed(self.updates, new),
            grads=[(tensor, renewed(v, new)) for tensor, v in self.grads],
        )

    def __str__(self):
        names = {}

        def name(v):
            if not isinstance(v, Value):
                return repr(v)
            return names.setdefault(v, f"{v.name or v.kind}{len(names)}")

        def said(line):
            args = ", ".join(map(str, flat(mapped(line.args, name))))
            sign = "<-" if line.into else "="
            return f"{name(line.out)} {sign} {line.function}({args})"

        return "\n".join(map(said, self.parts()))


def renewed(parts: Any, new: dict[Value, Value]) -> Any:
    """Nested tuples, lists and dicts with new[v] in place of each Value v that `new` has."""
    return with_values(parts, lambda v: new.get(v, v))


def layout(a: Any) -> tuple[int, ...]:
    """The axes of an array in the order of memory, the slowest first."""
    return tuple(sorted(range(a.ndim), key=lambda i: -a.strides[i] if a.shape[i] > 1 else 0))


def flat(parts: Any) -> list:
    """The leaves of nested tuples, lists and dicts."""
    if isinstance(parts, dict):
        parts = list(parts.values())
    if not isinstance(parts, (tuple, list)):
        return [parts]
    return [leaf for part in parts for leaf in flat(part)]


def values(parts: Any) -> list[Value]:
    """The Values in nested tuples, lists and dicts."""
    return [v for v in flat(parts) if isinstance(v, Value)]


def mapped(parts: Any, change: Callable) -> Any:
    """Nested tuples, lists and dicts with each leaf changed."""
    if isinstance(parts, dict):
        return {key: mapped(part, change) for key, part in parts.items()}
    if not isinstance(parts, (tuple, list)):
        return change(parts)
    kind = type(parts)
    leaves = [mapped(part, change) for part in parts]
    return kind(*leaves) if hasattr(kind, "_fields") else kind(leaves)  # a named tuple, or not


def with_values(parts: Any, change: Callable[[Value], Any]) -> Any:
    """Nested tuples, lists and dicts with each Value changed."""
    return mapped(parts, lambda v: change(v) if isinstance(v, Value) else v)


def call(xp: ModuleType, function: str | Callable, args: tuple, options: dict) -> Any:
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
        return getattr(random.generator(xp), function)(*args, **options)
    if xp is not np:
        function = ELSEWHERE.get(function, function)
    name, _, method = function.partition(".")  # a function of NumPy, or a ufunc's reduce or at
    found = getattr(xp, name)
    return (getattr(found, method) if method else found)(*args, **options)


def is_view(line: Line) -> bool:
    """Whether a line only gives memory that is there another shape, or a name."""
    seen = line.function in VIEWS and line.out.base is not line.out and not line.into
    return seen or line.function == "empty"
