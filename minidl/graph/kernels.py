"""Runs of elementwise calls as one kernel each, for a GPU: they pass over memory once, not often.

The one rule of this file: a kernel is text, in C, that does for one element what its lines do for
all, each rounded to its own type.

Explained in course/22.
"""

from collections.abc import Callable

import numpy as np

from ..engine import devices
from .lines import Graph, Line, Value, call, is_view, renewed, values

MOST = 24  # arrays that a kernel takes and gives: CUDA hands over 4 KB of arguments
C = {"bool": "bool", "uint8": "unsigned char", "int16": "short", "int32": "int",
     "int64": "long long", "float16": "float16", "float32": "float",
     "float64": "double"}  # fmt: skip

# function -> C of its operands {0} and {1}, which have the type of the result; {f} is the f of the
# names of float's functions (expf).  As in NumPy, NaN stays NaN.
ANY_NUMBER = {"add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}",
              "negative": "-{0}"}  # fmt: skip
FLOATS = ANY_NUMBER | {
    "divide": "{0} / {1}", "power": "pow{f}({0}, {1})", "absolute": "fabs{f}({0})",
    "maximum": "{0} >= {1} || {0} != {0} ? {0} : {1}",
    "minimum": "{0} <= {1} || {0} != {0} ? {0} : {1}",
    "sign": "{0} != {0} ? {0} : ({0} > 0) - ({0} < 0)",
    **{name: name + "{f}({0})" for name in ("exp", "expm1", "log", "log1p", "sqrt", "sin", "cos",
                                            "tanh", "floor", "ceil")},
}  # fmt: skip
TRUTHS = {"bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "invert": "!{0}"}
COMPARISONS = {"equal": "{0} == {1}", "not_equal": "{0} != {1}", "less": "{0} < {1}",
               "less_equal": "{0} <= {1}", "greater": "{0} > {1}",
               "greater_equal": "{0} >= {1}"}  # fmt: skip
MOVES = {"astype": "{0}", "copy": "{0}", "copyto": "{0}", "where": "{0} ? {1} : {2}"}
CHEAP = {"add", "subtract", "multiply", "divide", "negative", "sqrt", "maximum", "minimum",
         "astype", *COMPARISONS}  # fmt: skip
FILLS = {"zeros": "0", "ones": "1"}


def pattern(line: Line) -> str | None:
    """The C of an elementwise line with {0}, {1} for its operands; None if it is none."""
    f, kind = line.function, line.out.dtype
    kinds = [v.dtype for v in reads(line) if v.dtype is not None]
    if not isinstance(f, str) or any(k is None or k.name not in C for k in (kind, *kinds)):
        return None
    if f in FILLS or line.options:
        return FILLS.get(f)
    if f in MOVES:
        return MOVES[f]
    if f in COMPARISONS:
        return COMPARISONS[f] if kind.kind == "b" else None
    if line.into and any(k not in (kind, np.dtype(bool)) for k in kinds):
        return None  # it is computed in another type first
    return {"f": FLOATS, "b": TRUTHS, "i": ANY_NUMBER}.get(kind.kind, {}).get(f)


def reads(line: Line) -> list[Value]:
    """The Values whose elements a line needs; copyto needs none of its first argument."""
    if line.function == "copyto":
        return values(line.args[1:])
    return values(line.args)


def meets_itself(line: Line, apart: Callable[[Value, Value], bool]) -> bool:
    """Whether a line reads other elements of what it changes: y += y[::-1]."""
    there = [v for v in reads(line) if v.base is line.out.base and v is not line.out]
    return line.into and not all(apart(v, line.out) for v in there)


def _type(dtype):
    """The type in which C computes with elements of `dtype`."""
    return "float" if dtype.name == "float16" else C[dtype.name]


def _number(v, dtype):
    """A number as C writes it; a sign or a quotient stands in brackets."""
    if dtype.kind != "f":
        return f"({int(v)})" if dtype.itemsize < 8 else f"({int(v)}LL)"
    v = float(dtype.type(v))  # rounded to the type
    mark = "" if dtype.itemsize == 8 else "f"
    if np.isnan(v):
        return f"(0.0{mark} / 0.0{mark})"
    if np.isinf(v):
        return f"({np.sign(v)}{mark} / 0.0{mark})"
    return f"({v!r}{mark})" if np.signbit(v) else f"{v!r}{mark}"


def _operand(v, dtype, names):
    """The C of an operand as an element of `dtype`."""
    if not isinstance(v, Value):
        return _number(v, dtype)
    if _is_number(v):
        return _number(devices.array_module(v.data).asnumpy(v.data).item(), dtype)
    text = names[v]
    own = getattr(v.dtype, "name", "number")
    wanted = dtype.name
    if own == "float16" and wanted != "float16":
        text = f"(float){text}"
    if own == "number" and wanted == "float16":  # NumPy rounds the number first
        text = f"(float16)(float){text}"
    if own == wanted != "float16":
        return text
    return f"({_type(dtype)}){text}"


def _is_number(v):
    """Whether a constant is one number, which can stand in the text."""
    return v.kind == "constant" and v.dtype is not None and v.size == 1


def _statement(line, names, name):
    """The C that computes a line's result for one element, as `name`."""
    dtype = line.out.dtype
    suffixes = {"float": "f"}
    text = pattern(line).format(*_operands(line, names), f=suffixes.get(_type(dtype), ""))
    if dtype.name == "float16":
        text = f"(float16)({text})"
    return f"const {C[dtype.name]} {name} = {text};"


def _operands(line, names):
    """The C of a line's operands, each in the type in which NumPy would take it."""
    f, args = line.function, line.args
    args = {"copyto": args[1:], "astype": args[:1], "zeros": (), "ones": ()}.get(f, args)
    kinds = [line.out.dtype] * len(args)
    if f in COMPARISONS:
        kinds = [np.result_type(*map(_kind, args))] * 2
    if f == "where":
        kinds[0] = np.dtype(bool)
    return [_operand(v, kind, names) for v, kind in zip(args, kinds)]


def _kind(v):
    """What decides the type in which operands are compared: a type, or a Python number."""
    if isinstance(v, Value):
        return v.dtype or 1.0
    return v


class Kernel(Line):
    """Lines that run as one.  outs: the results that others need; the rest never reach memory."""

    __slots__ = ("lines", "outs")

    def __init__(self, lines: list[Line], outs: list[Value]):
        made, read = set(), {}
        for line in lines:
            read |= dict.fromkeys(v for v in reads(line) if v not in made and not _is_number(v))
            made.add(line.out)
        super().__init__("kernel", tuple(read), {}, outs[0])
        self.lines = lines
        self.outs = outs

    @property
    def fresh(self):
        made = [line.out for line in self.lines if not line.into]
        return [v for v in self.outs if v in made]

    def parts(self):
        return self.lines

    def replaced(self, new):
        lines = [line.replaced(new) for line in self.lines]
        return Kernel(lines, [renewed(v, new) for v in self.outs])

    def text(self) -> tuple[str, str, list[str], str]:
        """What an ElementwiseKernel is made of: (what it takes, what it gives, its C, a name)."""
        names = {v: f"x{i}" for i, v in enumerate(self.args)}
        takes = ", ".join(f"{v.dtype or np.dtype(float)} {names[v]}" for v in self.args)
        gives = ", ".join(f"{v.dtype.name} y{i}" for i, v in enumerate(self.outs))
        body = []
        for i, line in enumerate(self.lines):
            body.append(_statement(line, names, f"t{i}"))
            names[line.out] = f"t{i}"
        # Given last: a result may lie where an argument lies.
        body += [f"y{i} = {names[v]};" for i, v in enumerate(self.outs)]
        name = "_".join(dict.fromkeys(line.function for line in self.lines))
        return takes, gives, body, f"{name[:40]}_kernel"


class _Run:
    """Lines on arrays of one shape that a kernel may do, and the views of what they make.

    reads, writes: base -> the Values with that base that the lines read and write.
    """

    def __init__(self):
        self.lines, self.views = [], []
        self.reads, self.writes = {}, {}
        self.fresh = set()  # what the lines make

    def add(self, line):
        self.lines.append(line)
        self.writes.setdefault(line.out.base, set()).add(line.out)
        for v in reads(line):
            self.reads.setdefault(v.base, set()).add(v)
        if not line.into:
            self.fresh.add(line.out)

    def must_end(self, line, joins, apart):
        """Whether the run must be done before `line`, which `joins` it or comes after it.

        One that joins may read and write what the run does: of each its own element, not others.
        """

        def meets(values, v):
            there = values.get(v.base, ())
            return any(not (joins and u is v) and not apart(u, v) for u in there)

        written = [line.out] if line.into else []
        after = any(meets(self.writes, v) for v in [*reads(line), *written])
        return after or any(meets(self.reads, v) for v in written)


def _bounds(graph):
    """Value -> the bytes (begin, end) of its base in which it lies, for bases that lines change."""
    written = graph.written()
    views, found = {}, {}
    for line in graph.lines:
        out, base = line.out, line.out.base
        if base not in written or not is_view(line) or line.function == "empty" or not base.size:
            continue
        if base not in views:
            views[base] = _without_memory(base)
        views[out] = call(np, line.function, (views[line.args[0]], *line.args[1:]), line.options)
        begin, end = np.lib.array_utils.byte_bounds(views[out])
        origin = devices.address(views[base])
        found[out] = begin - origin, end - origin
    return found


def _without_memory(v):
    """An array of the layout of v that must be neither read nor written."""
    steps, step = [0] * len(v.shape), v.dtype.itemsize
    for axis in reversed(v.order):
        steps[axis] = step
        step *= v.shape[axis]
    return np.lib.stride_tricks.as_strided(np.empty(1, v.dtype), v.shape, steps)


def with_recomputed(graph: Graph) -> Graph:
    """On a GPU, what is cheap and small, such as the means of rows, is computed by each element
    that needs it, not by a kernel of its own.  To the bit.
    """
    if not hasattr(graph.xp, "ElementwiseKernel"):
        return graph
    written = graph.written()
    makers, lines = {}, []

    def add(line, depth=0):
        """Append a line, and before it those that compute what it needs once for each element."""
        new = {}
        if pattern(line) and depth < 4:
            for v in reads(line):
                if v in makers and v.shape != line.out.shape:
                    new[v] = Value(np.broadcast_to(np.empty((), v.dtype), line.out.shape))
                    add(Line(makers[v].function, makers[v].args, {}, new[v]), depth + 1)
        lines.append(line.replaced(new))

    for line in graph.lines:
        add(line)
        alone = not line.into and not line.bases() & written
        if alone and line.function in CHEAP and pattern(line):
            makers[line.out] = line
    return graph.changed(lines)


def with_kernels(graph: Graph) -> Graph:
    """On a GPU, elementwise calls on arrays of one shape are one kernel, also where other calls
    stand between that have nothing to do with them.

    A kernel rounds each line as it would be rounded alone (--fmad=false), and changes no bit.
    """
    if not hasattr(graph.xp, "ElementwiseKernel"):
        return graph
    readers = _readers(graph)
    groups = _grouped(graph)
    return graph.changed([line for group in groups for line in _fused(group, readers)])


def _readers(graph):
    """Base or Value -> the lines that read it; None stands for the end of the run."""
    readers = {v.base: {None} for v in graph.ends()}
    for line in graph.lines:
        touched = line.inputs()
        if line.into:
            touched.append(line.out)
        for v in touched:
            readers.setdefault(v.base, set()).add(line)
    return readers


def _grouped(graph):
    """The lines in lists, each of which a kernel may do, or of one line that it may not."""
    groups = []
    runs = {}  # shape -> the _Run that lines of this shape join
    bounds = _bounds(graph)

    def end(shape):
        run = runs.pop(shape)
        groups.extend([run.lines, *([view] for view in run.views)])

    def apart(u, v):
        """Whether two Values of one base have no byte in common."""
        if u not in bounds or v not in bounds:
            return False
        (begin, end), (first, last) = bounds[u], bounds[v]
        return end <= first or last <= begin

    for line in graph.lines:
        shape = line.out.shape
        if is_view(line):
            run = next((r for r in runs.values() if line.out.base in r.fresh), None)
            if run is None:
                groups.append([line])
            else:
                run.views.append(line)
            continue
        joins = pattern(line) and not meets_itself(line, apart)
        for s, run in list(runs.items()):
            if run.must_end(line, joins and s == shape, apart):
                end(s)
        if joins:
            runs.setdefault(shape, _Run()).add(line)
        else:
            groups.append([line])
    for s in list(runs):
        end(s)
    return groups


def _fused(lines, readers):
    """The lines as one kernel, or, if that takes too many arrays, as several."""
    if len(lines) == 1:
        return lines
    needed = (
        line.out for line in lines
        if line.into or readers.get(line.out, set()).difference(lines)
    )  # fmt: skip
    kernel = Kernel(lines, [*dict.fromkeys(needed)] or [lines[-1].out])
    if len(kernel.args) + len(kernel.outs) <= MOST:
        return [kernel]
    half = len(lines) // 2
    return _fused(lines[:half], readers) + _fused(lines[half:], readers)
