"""Passes: what is done to a traced graph before it becomes source.

The one rule of this file: a pass is a function Graph -> Graph.  It changes no result, and nothing
in the Graph that it is given.  Where it is not exact to the bit its docstring says so.

Explained in course/20.
"""

from collections.abc import Callable

import numpy as np

from .kernels import with_kernels, with_recomputed
from .lines import DRAWS, Graph, Line, Value, mapped

Pass = Callable[[Graph], Graph]


def without_dead(graph: Graph) -> Graph:
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


def without_repeats(graph: Graph) -> Graph:
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


def with_products(graph: Graph) -> Graph:
    """On the CPU, the sum of all of a * b is the product of a and b as vectors, which is faster:
    a * b is never written down.

    The sum is taken in another order: equal but for rounding.
    """
    if graph.xp is not np:
        return graph
    written = graph.written()
    made = {}  # result -> its line, where neither it nor what it was made of changes later
    lines = []
    for line in graph.lines:
        if not line.bases() & written:
            made[line.out] = line
            lines += _as_product(line, made)
        else:
            lines.append(line)
    return graph.changed(lines)


def _as_product(line, made):
    """The lines in place of one: a product, if it sums up one, else itself."""
    before = made.get(line.args[0]) if line.function == "add.reduce" else None
    if line.out.shape != () or before is None or before.function != "multiply":
        return [line]
    a, b = before.args
    if not _lies_whole(a) or not _lies_whole(b) or (a.shape, a.dtype) != (b.shape, b.dtype):
        return [line]
    first, second = _vector(a), _vector(b)
    return [first, second, Line("dot", (first.out, second.out), {}, line.out)]


def _lies_whole(v):
    """Whether floats lie in memory as their axes say, so that a reshape is a view."""
    whole = isinstance(v, Value) and (v.kind == "state" or (v.base is v and v.in_order()))
    return whole and v.dtype is not None and v.dtype.kind == "f" and v.size > 0


def _vector(v):
    """A line that gives v as a vector, a view."""
    return Line("reshape", (v, (v.size,)), {}, Value(np.empty(v.size, v.dtype), base=v.base))


PASSES = (without_repeats, with_products, with_recomputed, without_dead, with_kernels)
EXACT = tuple(p for p in PASSES if p is not with_products)  # those that change no bit
