"""A model as a file of ONNX, which runs without Python.

The one rule of this file: the model is run three times, on inputs of other sizes, none of which
follows from another.  What differs between the runs is computed in the file from the sizes of its
inputs; what does not is a constant.

Explained in course/25.
"""

from __future__ import annotations

import itertools
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import advice
from ..engine import devices
from ..engine.tensor import array_of, tensor
from ..graph.lines import flat, mapped
from ..io import write_atomically
from ..nn.module import Module
from .reader import Loaded
from .rules import LAYERS, OPERATIONS
from .runs import Length, Run, Source, aligned, kind_of, results_of, told
from .writer import BUFFERS, PRODUCER, Rule, Value, Writer

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

OPSET: int = 21  # of ONNX, from 2024; what runs the file must know it
BATCH = 2, 3, 5  # the sizes of the three runs along the first axis


def export(
    model: Module,
    path: str | os.PathLike[str],
    *inputs: Any,
    axes: Sequence[Sequence[str | None]] | Sequence[str | None] = ("N",),
) -> None:
    """Write `model`, as it is in evaluation, to an ONNX file of version OPSET.

    inputs: an example of each input of `forward`, an array or a Tensor; None for one left out.
        Floats of other types get that of the parameters, as in a Trainer.
    axes: names for the axes of the inputs whose lengths may differ when the file is run, None for
        those that stay: ("N", "T") for all inputs, or such a tuple for each.  The first axis is
        tried with the sizes 2, 3 and 5, each other with three from that of the example, which is
        4 or more, down to about half of it or less.

    The file's inputs have the names of forward's arguments; its outputs are called "output", or
    "output_0", "output_1", ... where the model gives several, or as the keys of a dict, with a
    number behind them where a key holds several.  Parameters have their paths as names.  A name
    that one of these has already gets a number too: "x_2" for a parameter `x` of a model whose
    input is x.  What is drawn at random is left out, as in evaluation; what
    depends on the values of the inputs, such as an `if`, is written as it went for the example, and
    numbers that Python made of fractions among them are refused.
    The file is checked before it is written.  A model that `load` read is written as it was, with
    the weights that it has now.
    Raises NotImplementedError, which names the operation and where it was, for what has no rule,
    and ValueError for what varies otherwise than with sizes, or where the example does not fit.
    """
    if not isinstance(path, str) and not hasattr(path, "__fspath__"):
        raise TypeError(
            f"export: expected a path in second place, export(model, path, x[:2]), got a "
            f"{type(path).__name__}"
        )
    if isinstance(model, Loaded):
        write_atomically(path, [model.content()])
        return
    if not isinstance(model, Module):
        raise TypeError(
            f"export: expected a Module, got {type(model).__name__}; of an estimator it is model_"
        )
    if not inputs:
        raise TypeError("export: give an example of each input, export(model, path, x[:2])")
    names = _names(model, len(inputs))
    given = [(name, _example(model, x)) for name, x in zip(names, inputs) if x is not None]
    described = _described(given, axes)
    sizes = _sizes(described)
    runs = [Run(model, _resized(described, inputs, sizes, i), LAYERS) for i in range(len(BATCH))]
    writer = Writer(model, described, sizes, _output_names(runs[0].outputs))
    known = _write_calls(writer, aligned(runs, sizes), described)
    outputs = _outputs(writer, results_of(runs, sizes), known)
    write_atomically(path, [_content(writer, type(model).__name__, described, outputs)])


def _names(model, n):
    """The names of the first n arguments of `forward`; of *x they are x_0, x_1, ..."""
    found = []
    for name, parameter in signature(model.forward).parameters.items():
        if parameter.kind is Parameter.VAR_POSITIONAL:
            found += [f"{name}_{i}" for i in range(n - len(found))]
        else:
            found.append(name)
    return found[:n]


def _example(model, x):
    """An input as a NumPy array; floats in the type of the model's first parameter of floats."""
    a = devices.to_numpy(array_of(tensor(x)))
    dtypes = [p.dtype for p in model.parameters() if p.dtype.kind == "f"]
    if a.dtype.kind == "f" and dtypes:
        return a.astype(dtypes[0])
    return a


def _described(given, axes):
    """For each input its name, an example, and a name or None for each of its axes."""
    if not axes or isinstance(axes[0], str | None):  # one tuple, for inputs of any number of axes
        most = max(x.ndim for _, x in given)
        axes = [axes[: x.ndim + max(0, len(axes) - most)] for _, x in given]
    if len(axes) != len(given):
        raise ValueError(f"axes: expected one tuple for each of {len(given)} inputs, got {axes}")
    found = []
    for (name, x), row in zip(given, axes):
        if len(row) > x.ndim:
            raise ValueError(f"axes: {name} has {x.ndim} axes, got {row}")
        found.append((name, x, [*row] + [None] * (x.ndim - len(row))))
    return found


def _shape(x, row):
    """The shape of an input, with a Length for each axis that has a name."""
    shape = [*x.shape]
    for i, axis in enumerate(row):
        if axis is not None:
            shape[i] = Length(1, (axis,))
    return tuple(shape)


def _sizes(described):
    """Name of an axis -> its size in each of the three runs."""
    found = {}
    for name, x, row in described:
        for i, axis in enumerate(row):
            if axis is None or axis in found:
                continue
            n = x.shape[i]
            if n < 4 and found:
                raise ValueError(f"the axis {axis} of {name} has length {n}; give an example where "
                                 "it is 4 or more, or name it None, so that it stays")  # fmt: skip
            found[axis] = BATCH
            if len(found) > 1:
                found[axis] = _trial(n, axis, [*found.values()][:-1])
    return found


def _trial(n, axis, others):
    """Three sizes up to n of an axis, none made of which can be taken for one of the others."""
    step = n // 8 | 1  # so large that a quarter of them differs too
    candidates = [n - step * i for i in (0, 2, 3, 1, 4, 5, 6, 7) if n > step * i]
    for three in itertools.permutations(candidates, 3):
        if _told_apart([*others, three]):
            return three
    raise ValueError(
        f"the axis {axis} has length {n}, too few to tell its sizes from those of the other "
        f"{len(others)} axes: give a longer example, or name it None, so that it stays"
    )


def _told_apart(sizes):
    """Whether no size and no product of two grows with another, or as a part of one does."""
    rows = np.array(sizes)  # (axes, 3)
    wholes = [*rows, *(a * b for a, b in itertools.combinations(rows, 2))]
    parts = [rounded(rows / k) for k in (2, 3, 4, 8) for rounded in (np.floor, np.ceil)]
    grow, all_grow = np.diff(wholes), np.diff(np.concatenate([wholes, *parts]))  # (n, 2), (m, 2)
    alike = np.outer(grow[:, 0], all_grow[:, 1]) == np.outer(grow[:, 1], all_grow[:, 0])
    more = abs(all_grow).sum(1) >= abs(grow).sum(1, keepdims=True)  # (m,) and (n, 1) -> (n, m)
    return (alike & more).sum() == len(wholes)  # each grows as itself


def _resized(described, inputs, sizes, run):
    """The inputs of a run: the example with its axes cut, or begun again, to their sizes.

    After the first run fractions are a little larger, so that what is made of their values in
    Python, outside of operations, differs and is refused.
    """
    draws = np.random.default_rng(run)
    found = iter(described)
    arguments = []
    for given in inputs:
        if given is None:
            arguments.append(None)
            continue
        _, x, row = next(found)
        for i, axis in enumerate(row):
            if axis is not None:
                x = np.take(x, np.arange(sizes[axis][run]) % x.shape[i], axis=i)
        if run and x.dtype.kind == "f":
            x = x + draws.uniform(0, 1e-3, x.shape).astype(x.dtype)
        arguments.append(x)
    return arguments


def _write_calls(writer, calls, described):
    """Nodes for all calls; gives a dict: Source -> (value, shape, dtype)."""
    known = {}
    for i, (name, x, row) in enumerate(described):
        known[Source("input", i)] = Value(name, _shape(x, row), x.dtype)
    for i, call in enumerate(calls):
        table, kind = OPERATIONS, call.what
        if isinstance(kind, Module):
            table, kind = LAYERS, kind_of(kind, LAYERS)
        if kind not in table:
            raise NotImplementedError(
                f"{told(call)} has no rule for ONNX: use layers that have one, "
                f"{', '.join(sorted(layer.__name__ for layer in LAYERS))}, or write one, "
                f"@onnx.rule(onnx.OPERATIONS, {call.name!r})"
            )
        found = mapped(call.inputs, lambda source: _value(writer, known, source))
        try:
            result = table[kind](Rule(writer, call, found))
        except (NotImplementedError, TypeError, AttributeError) as error:
            raise NotImplementedError(f"{told(call)} cannot be exported: {error}") from None
        for j, name in enumerate(flat(result)):
            known[Source("result", (i, j))] = Value(name, call.shapes[j], call.results[j].dtype)
    return known


def _value(writer, known, source):
    """The Value of a Source."""
    if source is None or source.kind in ("input", "result"):
        return known.get(source)
    if source.kind == "parameter":
        part = writer.parts[source.key]
        return Value(writer.parameter(part), part.shape, part.dtype)
    p = source.key  # a Pattern, or an array
    if source.kind == "pattern":
        return Value(None, p.shape, p.dtype, lambda t: writer.pattern(p, t))
    return Value(None, p.shape, p.dtype, lambda t: writer.constant(p.astype(t)))


def _output_names(given, name=""):
    """A name for each part of what a model gives: its keys, a number where there are several."""
    if isinstance(given, dict):
        keys = {f"{name}_{key}".lstrip("_"): part for key, part in given.items()}
        return [found for key, part in keys.items() for found in _output_names(part, key)]
    name, n = name or "output", len(flat(given))
    return [name] if n == 1 else [f"{name}_{i}" for i in range(n)]


def _outputs(writer, sources, known):
    """For each output its name, its shape and its type."""
    found, renamed = [], {}
    for outer, source in zip(writer.outputs, sources, strict=True):
        if source is None:
            continue
        value = _value(writer, known, source)
        inner = value.name or value.make(value.dtype)
        if inner not in renamed and writer.rename(inner, outer):
            renamed[inner] = outer
        else:
            copy = writer.onnx.helper.make_node("Identity", [renamed.get(inner, inner)], [outer])
            writer.nodes.append(copy)
        found.append((outer, value.shape, value.dtype))
    return found


def _content(writer, name, described, outputs):
    """The bytes of the file, checked."""
    helper, numpy_helper = writer.onnx.helper, writer.onnx.numpy_helper

    def info(name, shape, dtype):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        lengths = [str(n) if isinstance(n, Length) else int(n) for n in shape]
        return helper.make_tensor_value_info(name, kind, lengths)

    inputs = [info(name, _shape(x, row), x.dtype) for name, x, row in described]
    constants = [numpy_helper.from_array(a, name) for name, a in writer.constants.items()]
    graph = helper.make_graph(writer.nodes, name, inputs, [info(*o) for o in outputs], constants)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name=PRODUCER,
        ir_version=10,
    )
    helper.set_model_props(model, {BUFFERS: "\n".join(writer.fixed)})
    try:
        writer.onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of one of several kinds, all of them onnx's own
        given = ", ".join(f"{name} {x.dtype}" for name, x, _ in described)
        raise ValueError(
            f"export: onnx refuses what would be the file ({error}); are the examples of the types "
            f"that the model is made for? They are {given}"
        ) from error
    return model.SerializeToString()


advice.functions(__name__)
