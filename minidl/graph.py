"""A static graph: a recorded function as a list of lines, and passes that simplify it.

The one rule of this file: a pass is a function Graph -> Graph that changes no result.  Where it is
not exact to the bit its docstring says so.

Explained in course/20.
"""

import math

import numpy as np

from . import backend
from .kernels import with_kernels, with_recomputed
from .trace import DRAWS, Line, Value, call, flat, mapped


class Graph:
    """What a Record holds, without the Tensors that it was made with."""

    def __init__(self, record):
        self.inputs, self.numbers, self.lines = record.inputs, record.numbers, record.lines
        self.updates, self.grads, self.result = record.updates, record.grads, record.result
        self.after, self.zeroed, self.xp = record.after, record.zeroed, record.xp

    def ends(self):
        """The Values that are needed when the last line has run."""
        results = [v for v in flat(self.result) if isinstance(v, Value)]
        return [*results, *self.updates.values(), *(v for _, v in self.grads)]

    def parts(self):
        """The lines, those of a kernel one by one."""
        return [part for line in self.lines for part in line.parts()]

    def changed(self, lines, new=None):
        """This graph with other lines, and with new[v] in place of each Value v that `new` has."""
        graph, new = object.__new__(Graph), new or {}

        def last(v):
            while isinstance(v, Value) and v in new:
                v = new[v]
            return v

        final = {v: last(v) for v in new}
        graph.inputs, graph.numbers, graph.after = self.inputs, self.numbers, self.after
        graph.zeroed, graph.xp = self.zeroed, self.xp
        graph.lines = [line.replaced(final) for line in lines] if new else lines
        for line in graph.lines:  # what was a view of something replaced is a view of the other
            for out in line.outs:
                out.base = final.get(out.base, out.base).base
        graph.result = mapped(self.result, last)
        graph.updates = {state: last(v) for state, v in self.updates.items()}
        graph.grads = [(tensor, last(v)) for tensor, v in self.grads]
        return graph

    def written(self):
        """The bases that some line changes after they were made."""
        return {line.out.base for line in self.parts() if line.into}

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


def without_dead(graph):
    """Only the lines on which something at the end, or a state changed in place, depends; checks
    and random draws stay.
    """
    needed, kept = {v.base for v in graph.ends()}, []
    needed |= {base for base in graph.written() if base.kind == "state"}
    for line in reversed(graph.lines):
        if line.out.base in needed or line.effect():
            kept.append(line)
            needed |= {v.base for v in line.inputs()}
    return graph.changed(kept[::-1])


def without_repeats(graph):
    """A call that was made before, on the same values, is not made again."""
    written, seen, new, lines = graph.written(), {}, {}, []
    for line in graph.lines:
        line = line.replaced(new)
        lines.append(line)
        if line.function in DRAWS or {line.out.base, *_bases(line)} & written:
            continue
        args = mapped(line.args, lambda a: id(a) if isinstance(a, Value) else (type(a), a))
        key = repr((line.function, args, line.options, line.out.dtype))
        if key in seen:
            new[line.out] = seen[key]
            lines.pop()
        seen.setdefault(key, line.out)
    return graph.changed(lines, new)


def _bases(line):
    return {v.base for v in line.inputs()}


def with_constants(graph):
    """What depends on constants alone is computed now."""
    written, new, lines = graph.written(), {}, []
    for line in graph.lines:
        line = line.replaced(new)
        fixed = all(v.kind == "constant" for v in line.inputs())
        if fixed and not line.effect() and not {line.out.base, *_bases(line)} & written:
            args = mapped(line.args, lambda a: a.data if isinstance(a, Value) else a)
            result = graph.xp.asarray(call(graph.xp, line.function, args, line.options))
            new[line.out] = Value(result, "constant", data=result)
        else:
            lines.append(line)
    return graph.changed(lines, new)


def with_algebra(graph):
    """Arithmetic that can be left out or said more cheaply.

    To the bit, but for masks: of finite numbers, where(c, a, -inf) and where(c, a, 0) with a
    constant c become a sum and a product.
    """
    written, new, made, lines = graph.written(), {}, {}, []
    for line in graph.lines:
        line = line.replaced(new)
        if not line.into and not _bases(line) & written:
            for rule in RULES:
                same = rule(line, made)
                if isinstance(same, Value):
                    break
            if isinstance(same, Value) and line.out.base not in written:
                new[line.out] = same
                continue
        if not ({line.out.base} | _bases(line)) & written:  # else it says no more what they hold
            made[line.out] = line
        lines.append(line)
    return graph.changed(lines, new)


# Rules of algebra: (line, the lines so far by what they made) -> a Value that is the result
# already, or None; the line itself may be changed.


def numbers_for_constants(line, made):
    """An array full of one number is that number, unless it gives the result its shape."""
    if line.function not in ("multiply", "add", "subtract", "divide"):
        return
    for i, a in enumerate(line.args):
        other = line.args[1 - i]
        if not (isinstance(a, Value) and a.kind == "constant" and a.size and a.dtype.kind == "f"):
            continue
        fits = isinstance(other, Value) and (other.shape, other.dtype) == (
            line.out.shape,
            line.out.dtype,
        )
        first = a.data.reshape(-1)[0]
        if fits and (a.data == first).all():
            line.args = tuple(first.item() if k == i else b for k, b in enumerate(line.args))


def ones_and_zeros(line, made):
    """a * 1 and a / 1 are a; -b + a is a - b; a + a is 2 a, and 2 (c a) is (2 c) a."""
    f, args, out = line.function, line.args, line.out
    pairs = (
        [(a, b) for a, b in (args, args[::-1]) if isinstance(b, Value)] if len(args) == 2 else []
    )
    if f == "divide" and args[1] == 1 and _alike(args[0], out):
        return args[0]
    if f == "add" and args[0] is args[1] and out.dtype is not None and out.dtype.kind == "f":
        f, args = line.function, line.args = "multiply", (args[0], 2.0)
        pairs = [(2.0, args[0])]
    for a, b in pairs:
        before = made.get(b)
        if f == "multiply" and type(a) in (int, float):
            if a == 1 and _alike(b, out):
                return b
            if a == 2 and before and before.function == "multiply":
                for c, d in (before.args, before.args[::-1]):
                    if type(c) is float and isinstance(d, Value):
                        line.args = (2 * c, d)
        if f == "add" and before and before.function == "negative":
            line.function, line.args = "subtract", (a, before.args[0])
            return None
    return None


def signs(line, made):
    """-(c a) is (-c) a."""
    before = made.get(line.args[0]) if line.function == "negative" else None
    if before and before.function == "multiply":
        for c, a in (before.args, before.args[::-1]):
            if isinstance(c, Value) and c.kind == "constant" and c.dtype == line.out.dtype:
                line.function, line.args = "multiply", (Value(-c.data, "constant", data=-c.data), a)
                return
            if type(c) is float:
                line.function, line.args = "multiply", (-c, a)
                return


def _alike(a, b):
    return isinstance(a, Value) and (a.shape, a.dtype) == (b.shape, b.dtype)


def nothing_to_move(line, made):
    """Conversions to the type, shapes and orders of axes that are there already."""
    f, a, out = line.function, line.args[0] if line.args else None, line.out
    if f in ("astype", "reshape", "broadcast_to") and _alike(a, out):
        return a
    if f == "transpose":
        n = len(a.shape)
        axes = range(n)[::-1] if line.args[1] is None else [i % n for i in line.args[1]]
        if list(axes) == list(range(n)):
            return a
    return None


def masks(line, made):
    """where(c, a, -inf) is a + (0 or -inf), where(c, a, 0) is a * c; each many times faster."""
    if line.function != "where":
        return
    c, a, b = line.args
    if isinstance(c, Value) and c.kind == "constant" and _alike(a, line.out):
        if b == -math.inf:
            mask = backend.array_module(c.data).where(c.data, 0, b).astype(a.dtype)
            line.function, line.args = "add", (a, Value(mask, "constant", data=mask))
        elif type(b) is float and b == 0:
            mask = c.data.astype(a.dtype)
            line.function, line.args = "multiply", (a, Value(mask, "constant", data=mask))


RULES = [numbers_for_constants, ones_and_zeros, signs, nothing_to_move, masks]


def with_products(graph):
    """On the CPU, sums as products, which it does faster: of squares and of columns.

    The sums are taken in another order: equal but for rounding.
    """
    if graph.xp is not np:
        return graph
    written, made, lines = graph.written(), {}, []

    def flat_view(v, shape):
        lines.append(Line("reshape", (v, shape), {}, Value(np.empty(shape, v.dtype), base=v.base)))
        return lines[-1].out

    def whole(v):  # so that a reshape is a view
        mine = isinstance(v, Value) and (v.kind == "state" or (v.base is v and v.in_order()))
        return mine and v.base not in written

    for line in graph.lines:
        a, axis = line.args[0] if line.args else None, line.options.get("axis")
        if line.function == "add.reduce" and not line.into and a.dtype.kind == "f" and a.size:
            before, n = made.get(a) if a.base not in written else None, len(a.shape)
            every = list(range(n)) if axis is None else [i % n for i in np.atleast_1d(axis)]
            if line.out.shape == () and before and before.function == "multiply":
                if all(whole(b) and _alike(b, a) for b in before.args):
                    long = tuple(flat_view(b, (b.size,)) for b in before.args)
                    line = Line("dot", long, {}, line.out)
            elif n == 2 and every == [1] and len(line.out.shape) == 1 and whole(a):
                ones = graph.xp.ones(a.shape[1], a.dtype)
                line = Line("dot", (a, Value(ones, "constant", data=ones)), {}, line.out)
            elif line.out.shape == () and whole(a) and a.size <= 1 << 12:
                ones = graph.xp.ones(a.size, a.dtype)
                long = Value(ones, "constant", data=ones), flat_view(a, (a.size,))
                line = Line("dot", long, {}, line.out)
            elif len(line.out.shape) == 1 and sorted(every) == list(range(n - 1)) and whole(a):
                table = flat_view(a, (a.size // a.shape[-1], a.shape[-1]))
                ones = graph.xp.ones(table.shape[0], a.dtype)
                line = Line("dot", (Value(ones, "constant", data=ones), table), {}, line.out)
        if not line.into:
            made[line.out] = line
        lines.append(line)
    return graph.changed(lines)


def with_joined(graph):
    """Arrays that will be joined by a concatenate are written where they will lie."""
    homes, wholes = _joins(graph)
    lines, opened = [], set()

    def part(whole, rows):
        if whole not in opened:
            opened.add(whole)
            lines.append(Line("empty", (whole.shape,), {"dtype": whole.dtype}, whole))
        shape = (rows.stop - rows.start, *whole.shape[1:])
        out = Value(np.empty(shape, whole.dtype), base=whole)
        lines.append(Line("getitem", (whole, rows), {}, out))
        return out

    for line in graph.lines:
        out = line.out
        if out in homes and not line.into:
            whole, rows = homes[out]
            lines.append(Line("reshape", (part(whole, rows), out.shape), {}, out))
            lines.append(Line(line.function, line.args, line.options, out, into=True))
            out.base = whole
        elif out in wholes:
            for v, rows in wholes[out]:
                if v.base is not out and v.base not in homes:
                    copy = part(out, rows)
                    lines.append(Line("copyto", (copy, v), {}, copy, into=True))
        else:
            lines.append(line)
    for line in lines:  # what was a view of something moved is a view of the whole
        while line.out.base is not line.out.base.base:
            line.out.base = line.out.base.base
    return graph.changed(lines)


def _joins(graph):
    """What can lie inside a concatenate's result: base -> (result, rows); result -> its parts."""
    makers = {line.out: line for line in graph.lines if not line.into}
    settled = {line.out.base: i for i, line in enumerate(graph.lines) if line.into}
    homes, wholes, written = {}, {}, graph.written()

    def movable(v, i):
        base, line = v.base, makers.get(v)
        while line and line.function == "reshape" and v.base is not v:
            v = line.args[0]
            line = makers.get(v)
        maker = makers.get(base)
        return (
            v is base and maker and not maker.effect() and base.in_order() and base not in homes
            and maker.function != "concatenate" and settled.get(base, -1) < i
        )  # fmt: skip

    for i, line in enumerate(graph.lines):
        joins = line.function == "concatenate" and not line.options.get("axis")
        if joins and line.out.in_order() and line.out not in written:
            ends = np.cumsum([v.shape[0] for v in line.args[0]]).tolist()
            parts = [(v, slice(e - v.shape[0], e)) for v, e in zip(line.args[0], ends)]
            found = {v.base: (line.out, rows) for v, rows in parts if movable(v, i)}
            if found and len({v.base for v, _ in parts}) == len(parts):
                homes |= found
                wholes[line.out] = parts
    return homes, wholes


PASSES = (without_dead, with_constants, with_algebra, without_repeats, with_algebra,
          with_constants, with_products, without_dead, with_joined, with_recomputed, without_dead,
          with_kernels)  # fmt: skip
EXACT = tuple(p for p in PASSES if p is not with_products)  # those that change no bit
