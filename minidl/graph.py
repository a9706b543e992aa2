"""Passes: what is done to a recorded graph before it becomes source.

The one rule of this file: a pass is a function Graph -> Graph.  It changes no result, and nothing
in the Graph that it is given.  Where it is not exact to the bit its docstring says so.

Explained in course/20.
"""

import numpy as np

from .kernels import with_kernels, with_recomputed
from .lines import DRAWS, Line, Value, call, constant, mapped


def without_dead(graph):
    """Only the lines on which something at the end, or a state changed in place, depends; checks
    and random draws stay.
    """
    needed = {v.base for v in graph.ends()}
    needed |= {base for base in graph.written() if base.kind == "state"}
    kept = []
    for line in reversed(graph.lines):
        if line.out.base in needed or line.effect():
            kept.append(line)
            needed |= {v.base for v in line.inputs()}
    return graph.changed(kept[::-1])


def with_constants(graph):
    """What depends on constants alone is computed now."""
    written = graph.written()
    new = {}
    lines = []
    for line in graph.lines:
        line = line.replaced(new)
        fixed = all(v.kind == "constant" for v in line.inputs())
        if fixed and not line.effect() and not line.bases() & written:
            args = mapped(line.args, lambda a: a.data if isinstance(a, Value) else a)
            result = call(graph.xp, line.function, args, line.options)
            new[line.out] = constant(graph.xp.asarray(result))
        else:
            lines.append(line)
    return graph.changed(lines, new)


def without_repeats(graph):
    """A call that was made before, on the same values, is not made again."""
    written = graph.written()
    seen = {}  # what a call is -> its result
    new = {}
    lines = []
    for line in graph.lines:
        line = line.replaced(new)
        if line.function in DRAWS or line.bases() & written:
            lines.append(line)
            continue
        key = _said(line)
        if key in seen:
            new[line.out] = seen[key]
        else:
            seen[key] = line.out
            lines.append(line)
    return graph.changed(lines, new)


def _said(line):
    """What two calls that give the same have in common."""
    args = mapped(line.args, lambda a: id(a) if isinstance(a, Value) else (type(a), a))
    return repr((line.function, args, line.options, line.out.dtype))


def with_products(graph):
    """On the CPU, sums as products, which it does faster: see SUMS.

    The sums are taken in another order: equal but for rounding.
    """
    if graph.xp is not np:
        return graph
    written = graph.written()
    made = {}  # result -> its line, where neither it nor what it was made of changes later
    lines = []
    for line in graph.lines:
        same = None
        if not line.bases() & written:
            made[line.out] = line
            same = _as_product(line, made)
        lines += same or [line]
    return graph.changed(lines)


def _as_product(line, made):
    """What the first rule gives that fits a sum; None if there is none."""
    if line.function != "add.reduce":
        return None
    (a,) = line.args
    if a.dtype.kind != "f" or a.size == 0:
        return None
    return next((same for rule in SUMS if (same := rule(line, made))), None)


# Rules for sums: (line, result -> its line) -> lines that end with the same result, or None.


def sum_of_products(line, made):
    """The sum of all of a * b is the product of a and b as vectors: no a * b is written down."""
    before = made.get(line.args[0])
    if line.out.shape != () or before is None or before.function != "multiply":
        return None
    a, b = before.args
    if not _lies_whole(a) or not _lies_whole(b) or (a.shape, a.dtype) != (b.shape, b.dtype):
        return None
    first, second = _reshaped(a, (a.size,)), _reshaped(b, (b.size,))
    return [first, second, Line("dot", (first.out, second.out), {}, line.out)]


def sum_of_rows(line, made):
    """The sums of the rows of a matrix are its product with ones."""
    (a,) = line.args
    if len(a.shape) != 2 or _axes(line) != [1] or len(line.out.shape) != 1 or not _lies_whole(a):
        return None
    return [Line("dot", (a, _ones(a.shape[1], a)), {}, line.out)]


def sum_of_few(line, made):
    """The sum of all elements, if they are few, is the product of ones with them as a vector."""
    (a,) = line.args
    if line.out.shape != () or not _lies_whole(a) or a.size > 4096:
        return None
    vector = _reshaped(a, (a.size,))
    return [vector, Line("dot", (_ones(a.size, a), vector.out), {}, line.out)]


def sum_of_columns(line, made):
    """The sum over all axes but the last is the product of ones with a table of such rows."""
    (a,) = line.args
    n = len(a.shape)
    if _axes(line) != list(range(n - 1)) or len(line.out.shape) != 1 or not _lies_whole(a):
        return None
    table = _reshaped(a, (a.size // a.shape[-1], a.shape[-1]))  # (..., D) -> (rows, D)
    return [table, Line("dot", (_ones(table.out.shape[0], a), table.out), {}, line.out)]


SUMS = [sum_of_products, sum_of_rows, sum_of_few, sum_of_columns]


def _axes(line):
    """The axes that a sum goes over, none of them negative, in order."""
    n = len(line.args[0].shape)
    axis = line.options.get("axis")
    if axis is None:
        return list(range(n))
    return sorted(i % n for i in np.atleast_1d(axis))


def _lies_whole(v):
    """Whether a Value lies in memory as its axes say, so that a reshape of it is a view."""
    return isinstance(v, Value) and (v.kind == "state" or (v.base is v and v.in_order()))


def _reshaped(v, shape):
    """A line that gives a view of v."""
    return Line("reshape", (v, shape), {}, Value(np.empty(shape, v.dtype), base=v.base))


def _ones(n, like):
    return constant(np.ones(n, like.dtype))


PASSES = (with_constants, without_repeats, with_products, with_recomputed, without_dead,
          with_kernels)  # fmt: skip
EXACT = tuple(p for p in PASSES if p is not with_products)  # those that change no bit
