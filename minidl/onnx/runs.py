"""Three runs of a model, written down, and what differs between them.

The one rule of this file: what differs is a Length, that is a size that the inputs have or what is
made of sizes, or a pattern, that is an array made of a size; else the model cannot be exported.

Explained in course/25.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np

from ..engine import intercept
from ..engine.tensor import array_of, tensor
from ..graph.lines import flat, mapped
from ..nn.module import Module, evaluating, watched

# ---- sizes


@dataclass(frozen=True)
class Length:
    """A whole number that depends on the inputs' sizes: factor times those of `axes`, plus offset.

    axes: names such as ("N", "T").
    """

    factor: int
    axes: tuple[str, ...]
    offset: int = 0

    def __str__(self):
        factor = "" if self.factor == 1 else f"{self.factor} * "
        offset = f" + {self.offset}" if self.offset else ""
        return factor + " * ".join(self.axes) + offset


class Varies(Exception):
    """What was found in three runs fits no constant and no Length."""


def length_of(numbers, sizes):
    """The simplest Length that is `numbers` in the three runs, whose sizes are given by name."""
    found = []
    for n in (1, 2):
        for axes in itertools.combinations(sizes, n):
            bases = [math.prod(some) for some in zip(*(sizes[axis] for axis in axes))]
            # Of one axis from how it grows, of a product from the first run.
            factor = numbers[0] // bases[0]
            if n == 1:
                factor = (numbers[1] - numbers[0]) // (bases[1] - bases[0])
            offset = numbers[0] - factor * bases[0]
            if factor > 0 and all(a == factor * b + offset for a, b in zip(numbers, bases)):
                found.append(Length(factor, axes, offset))
    if not found:
        raise Varies(f"a number that is {numbers} where the sizes are {sizes}")
    return min(found, key=lambda length: (abs(length.offset), length.factor))


def merged(three, sizes):
    """What is the same in three runs as it is, each number that is not as a Length."""
    first = three[0]
    if isinstance(first, (tuple, list)) and len({len(part) for part in three}) == 1:
        return type(first)(merged(parts, sizes) for parts in zip(*three))
    if isinstance(first, slice):
        ends = zip(*((s.start, s.stop, s.step) for s in three))
        return slice(*(merged(end, sizes) for end in ends))
    if isinstance(first, dict):
        return {key: merged([part[key] for part in three], sizes) for key in first}
    if all(part is first or part == first for part in three):
        return first
    if all(isinstance(part, (int, np.integer)) for part in three):
        return length_of([int(part) for part in three], sizes)
    raise Varies(f"something that is {three}")


# ---- a run, written down


@dataclass(frozen=True)
class Source:
    """Where a value of a run is from.

    kind: "input", "result", "parameter" or "constant"; or "pattern", a constant that varies.
    key: the input's number; the call's and the result's; the path; the array; the Pattern.
    """

    kind: str
    key: Any


@dataclass
class Call:
    """One operation or layer of a run.

    what: the operation's name, or the layer.  inputs: the Source of each, or None.
    attrs: all that decides the result besides.  results: the arrays that came.
    place: in which layer it was.  shapes: of the results, with Lengths where they vary.
    """

    what: str | Module
    inputs: list[Any]
    attrs: dict[str, Any]
    results: list[np.ndarray]
    place: str
    shapes: list[tuple[Any, ...]] = field(default_factory=list)

    @property
    def name(self):
        if isinstance(self.what, str):
            return self.what
        return type(self.what).__name__


class Run:
    """The calls of one run of a model, in order."""

    def __init__(self, model, inputs, layers):
        self.layers = layers  # the classes that are one call, whatever they are made of
        self.calls, self.places, self.kept = [], [""], []
        self.sources = {id(p): Source("parameter", path) for path, p in model.tensors()}
        given = [None if x is None else tensor(x) for x in inputs]
        for i, x in enumerate(x for x in given if x is not None):
            self._come(x, Source("input", i))
        self.inside = False  # a layer that has a rule
        with (
            evaluating(model), watched(model, self._around), intercept.no_grad(),
            intercept.intercepted(self._operation),
        ):  # fmt: skip
            self.outputs = model(*given)
        self.results = [self.source(y) for y in flat(self.outputs)]
        self.kept.append(given)

    def _come(self, x, source):
        """Remember where a Tensor and its array are from, the first time."""
        self.sources[id(x)] = source
        self.sources.setdefault(id(array_of(x)), source)
        self.kept.append((x, array_of(x)))

    def source(self, x):
        """The Source of x; None for None."""
        self.kept.append(x)  # as long as it is there, no other has its id
        if x is None:
            return None
        array = array_of(x)  # what is detached shares it
        found = self.sources.get(id(x)) or self.sources.get(id(array))
        return found or Source("constant", np.asarray(array))

    def _add(self, what, inputs, attrs, found):
        sources = mapped(inputs, self.source)
        for j, y in enumerate(flat(found)):
            self._come(y, Source("result", (len(self.calls), j)))
        results = [array_of(y) for y in flat(found)]
        self.calls.append(Call(what, list(sources), attrs, results, self.places[-1]))

    def _operation(self, op, inputs, attrs):
        y = op(*inputs, **attrs)
        if not self.inside:
            self._add(op.name, inputs, (op.forward.__kwdefaults__ or {}) | attrs, y)
        return y

    def _around(self, path, module, run):
        self.places.append(f"{path or 'the model'} ({type(module).__name__})")
        try:
            if self.inside or kind_of(module, self.layers) is None:
                return run()
            self.inside = True
            try:
                found = run()
            finally:
                self.inside = False
            options = signature(module.forward).bind(*run.args, **run.keywords).arguments
            self._add(module, list(options.values()), {"names": [*options]}, found)
            return found
        finally:
            self.places.pop()


def kind_of(module, layers):
    """The class among `layers` that this module is; None for one that computes otherwise."""
    for kind in type(module).__mro__:
        if kind in layers:
            return kind
        if {"forward", "step", "function"} & {*vars(kind)}:
            return None
    return None


def aligned(runs, sizes):
    """The calls of three runs as one list, with Lengths where they differ."""
    rows = itertools.zip_longest(*(run.calls for run in runs))
    for calls in rows:
        if len({call and (call.name, call.place) for call in calls}) > 1:
            counts, first = [len(run.calls) for run in runs], next(filter(None, calls))
            raise ValueError(
                f"the model makes {counts} operations where the sizes are {sizes}, and from "
                f"{told(first)} on they differ: a loop that is as long as an axis cannot be "
                "exported with this axis dynamic; name it None in `axes`"
            )
        first = calls[0]
        try:
            first.attrs = merged([call.attrs for call in calls], sizes)
            first.inputs = [_input(parts, sizes) for parts in zip(*(c.inputs for c in calls))]
        except Varies as error:
            raise ValueError(
                f"{told(first)}: it depends on {error}, and not on sizes alone, so it cannot be "
                "written into a file; what Python or NumPy computes from the inputs (.numpy(), "
                ".item(), float()) varies with them: compute it with operations of Tensors"
            ) from None
        results = zip(*(call.results for call in calls))
        first.shapes = [_shape([a.shape for a in three], sizes) for three in results]
    return runs[0].calls


def results_of(runs, sizes):
    """The Sources of what the model gives."""
    try:
        return [_input(three, sizes) for three in zip(*(run.results for run in runs), strict=True)]
    except (ValueError, Varies):
        raise ValueError(
            "the model gives other outputs where its inputs have other sizes"
        ) from None


def _shape(three, sizes):
    """A shape of three; a length that is made of sizes otherwise than a Length has a name alone."""
    found = []
    for lengths in zip(*three):
        try:
            found.append(merged(lengths, sizes))
        except Varies:
            found.append(Length(1, (f"unknown_{next(_unknown)}",)))
    return tuple(found)


_unknown = itertools.count()


def told(call):
    """Words for an operation and where it was, for an error."""
    return f"the operation {call.name} in {call.place or 'the model'}"


def _input(three, sizes):
    """One Source of three, or a list of several."""
    first = three[0]
    if isinstance(first, (tuple, list)):
        return [_input(parts, sizes) for parts in zip(*three)]
    if any(source is None or source.kind != "constant" for source in three):
        return merged(three, sizes)
    arrays = [source.key for source in three]
    if len({a.shape for a in arrays}) == 1 and all((a == arrays[0]).all() for a in arrays):
        return first
    return Source("pattern", pattern_of(arrays, sizes))


@dataclass(frozen=True)
class Pattern:
    """What makes an array that differs between runs.

    kind: "number", the `length` itself; "share", 1 / length; "full" of `fill`; "range", 0 1 2 ...;
    "triangle", 1 below and on the diagonal that ends at the lower right, else 0.
    """

    kind: str
    shape: tuple[Any, ...]
    dtype: np.dtype
    length: Length | None = None
    fill: Any = None


def pattern_of(arrays: list[np.ndarray], sizes: dict[str, tuple[int, ...]]) -> Pattern:
    """The Pattern that these arrays, one of each run, have in common.  Raises Varies."""
    first, shape = arrays[0], merged([a.shape for a in arrays], sizes)
    if not first.shape:
        return _number([a.item() for a in arrays], first.dtype, sizes)
    if all((a == first.flat[0]).all() for a in arrays):
        return Pattern("full", shape, first.dtype, fill=first.flat[0])
    if first.ndim == 1 and all((a == np.arange(len(a))).all() for a in arrays):
        return Pattern("range", shape, first.dtype)
    if first.ndim == 2 and all((a == _triangle(*a.shape)).all() for a in arrays):
        return Pattern("triangle", shape, first.dtype)
    raise Varies(f"an array of shape {shape} that is other than zeros, ones, a range, a triangle")


def _triangle(height, width):
    return np.tri(height, width, width - height)


def _number(numbers, dtype, sizes):
    whole = [round(1 / (abs(number) or math.inf)) for number in numbers]
    if all(abs(number * n - 1) < 1e-6 for number, n in zip(numbers, whole)):
        return Pattern("share", (), dtype, length_of(whole, sizes))
    if all(float(number).is_integer() for number in numbers):
        return Pattern("number", (), dtype, length_of([int(number) for number in numbers], sizes))
    raise Varies(f"a number that is {numbers}")
