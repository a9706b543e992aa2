"""Runs of elementwise calls as one kernel each, for a GPU: they pass over memory once, not often.

The one rule of this file: a kernel is text, in C, that does for one element what its lines do for
all, each rounded to its own type.

Explained in course/22.
"""

import numpy as np

from . import backend
from .costs import is_view
from .trace import Line, Value, call, flat

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
MOVES = {"astype": "{0}", "copy": "{0}", "copyto": "{1}", "where": "{0} ? {1} : {2}"}
CHEAP = {"add", "subtract", "multiply", "divide", "negative", "sqrt", "maximum", "minimum",
         "astype", *COMPARISONS}  # fmt: skip
FILLS = {"zeros": "0", "ones": "1"}


def pattern(line):
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


def reads(line):
    """The Values whose elements a line needs."""
    return [v for v in flat(line.args[line.function == "copyto" :]) if isinstance(v, Value)]


def meets_itself(line, apart):
    """Whether a line reads other elements of what it changes: y += y[::-1]."""
    there = [v for v in reads(line) if v.base is line.out.base and v is not line.out]
    return bool(line.into) and not all(apart(v, line.out) for v in there)


def _type(dtype):
    """The type in which C computes with elements of `dtype`."""
    return "float" if dtype.name == "float16" else C[dtype.name]


def _number(v, dtype):
    """A number as C writes it."""
    if dtype.kind != "f":
        return f"({int(v)})" if dtype.itemsize < 8 else f"({int(v)}LL)"
    f = "" if dtype.itemsize == 8 else "f"
    text = f"{float(dtype.type(v) if dtype.itemsize < 8 else v)!r}{f}"
    for odd, same in (("nan", f"0.0{f} / 0.0{f}"), ("inf", f"1.0{f} / 0.0{f}")):
        text = text.replace(f"{odd}{f}", f"({same})")
    return f"({text})" if text[0] == "-" or "/" in text else text


def _operand(v, dtype, names):
    """The C of an operand as an element of `dtype`."""
    if not isinstance(v, Value):
        return _number(v, dtype)
    if _is_number(v):
        return _number(backend.array_module(v.data).asnumpy(v.data).item(), dtype)
    text, half = names[v], "float16"
    if v.dtype is None and dtype.name == half:  # a number, which NumPy rounds first
        text = f"(float16)(float){text}"
    own = None if v.dtype is None else v.dtype.name
    if own == half and dtype.name != half:
        text = f"(float){text}"
    return text if own == dtype.name != half else f"({_type(dtype)}){text}"


def _is_number(v):
    """Whether a constant is one number, which can stand in the text."""
    return v.kind == "constant" and v.dtype is not None and v.size == 1


def _statement(line, names, name):
    """The C that computes a line's result for one element, as `name`."""
    f, dtype = line.function, line.out.dtype
    kinds = [dtype] * len(line.args)
    if f in COMPARISONS:
        both = [(v.dtype or 1.0) if isinstance(v, Value) else v for v in line.args]
        kinds = [np.result_type(*both)] * 2
    elif f == "where":
        kinds[0] = np.dtype(bool)
    needed = [] if f in FILLS else line.args[:1] if f == "astype" else line.args
    args = [
        "" if f == "copyto" and i == 0 else _operand(v, kind, names)
        for i, (v, kind) in enumerate(zip(needed, kinds))
    ]
    text = pattern(line).format(*args, f="f" if _type(dtype) == "float" else "")
    text = f"(float16)({text})" if dtype.name == "float16" else text
    return f"const {C[dtype.name]} {name} = {text};"


class Kernel(Line):
    """Lines that run as one.  outs: the results that others need; the rest never reach memory."""

    __slots__ = ("lines", "outs")

    def __init__(self, lines, outs):
        made, read = set(), {}
        for line in lines:
            read |= dict.fromkeys(v for v in reads(line) if v not in made and not _is_number(v))
            made.add(line.out)
        super().__init__("kernel", tuple(read), {}, outs[0])
        self.lines, self.outs = lines, outs

    @property
    def fresh(self):
        made = [line.out for line in self.lines if not line.into]
        return [v for v in self.outs if v in made]

    def parts(self):
        return self.lines

    def replaced(self, new):
        return Kernel([line.replaced(new) for line in self.lines], self.outs)

    def text(self):
        """What an ElementwiseKernel is made of: (what it takes, what it gives, its C, a name)."""
        names = {v: f"x{i}" for i, v in enumerate(self.args)}
        kinds = [v.dtype.name if v.dtype is not None else "float64" for v in self.args]
        takes = ", ".join(f"{kind} {names[v]}" for v, kind in zip(self.args, kinds))
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
        self.lines, self.views, self.fresh, self.reads, self.writes = [], [], set(), {}, {}

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
    views, found, written = {}, {}, graph.written()
    for line in graph.lines:
        out, base = line.out, line.out.base
        if base not in written or not is_view(line) or line.function == "empty" or not base.size:
            continue
        if base not in views:  # an array of that layout, without its memory
            steps, step = [0] * len(base.shape), base.dtype.itemsize
            for axis in reversed(base.order):
                steps[axis], step = step, step * base.shape[axis]
            one = np.empty(1, base.dtype)
            views[base] = np.lib.stride_tricks.as_strided(one, base.shape, steps)
        views[out] = call(np, line.function, (views[line.args[0]], *line.args[1:]), line.options)
        begin, end = np.lib.array_utils.byte_bounds(views[out])
        origin = backend.address(views[base])
        found[out] = begin - origin, end - origin
    return found


def with_recomputed(graph):
    """On a GPU, what is cheap and small, such as the means of rows, is computed by each element
    that needs it, not by a kernel of its own.  To the bit.
    """
    if not hasattr(graph.xp, "ElementwiseKernel"):
        return graph
    written, makers, lines = graph.written(), {}, []

    def add(line, depth=0):
        new = {}
        for v in reads(line) if pattern(line) and depth < 4 else ():
            if v in makers and v.shape != line.out.shape:
                new[v] = Value(np.broadcast_to(np.empty((), v.dtype), line.out.shape))
                add(Line(makers[v].function, makers[v].args, {}, new[v]), depth + 1)
        lines.append(line.replaced(new) if new else line)

    for line in graph.lines:
        add(line)
        alone = not line.into and not {line.out.base, *(v.base for v in reads(line))} & written
        if alone and line.function in CHEAP and pattern(line):
            makers[line.out] = line
    return graph.changed(lines)


def with_kernels(graph):
    """On a GPU, elementwise calls on arrays of one shape are one kernel, also where other calls
    stand between that have nothing to do with them.

    A kernel rounds each line as it would be rounded alone (--fmad=false), and changes no bit.
    """
    if not hasattr(graph.xp, "ElementwiseKernel"):
        return graph
    groups, runs, bounds = [], {}, _bounds(graph)  # runs: shape -> _Run

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
        shape, joins = line.out.shape, pattern(line) and not meets_itself(line, apart)
        if is_view(line):
            run = next((r for r in runs.values() if line.out.base in r.fresh), None)
            run.views.append(line) if run else groups.append([line])
            continue
        for s in [s for s, run in runs.items() if run.must_end(line, joins and s == shape, apart)]:
            end(s)
        if joins:
            runs.setdefault(shape, _Run()).add(line)
        else:
            groups.append([line])
    for s in list(runs):
        end(s)
    readers = {v.base: {None} for v in graph.ends()}
    for group in groups:
        for line in group:
            for v in [*line.inputs(), *[line.out] * line.into]:
                readers.setdefault(v.base, set()).add(line)
    return graph.changed([line for group in groups for line in _fused(group, readers)])


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
