"""A static graph: a recorded function, simplified, its memory planned, written out as NumPy source.

The one rule of this file: a pass is a function Graph -> Graph that changes no result, and what is
run in the end is source that can be read: `print(step.source)`.

Explained in course/20.
"""

import math

import numpy as np

from . import backend
from .tensor import Tensor
from .trace import VIEWS, Line, Record, Value, call, flat, mapped

DRAWS = {"random", "standard_normal"}


class Graph:
    """Lines with what goes in and what comes out; see Record.

    updates: dict state -> the Value it has at the end.  grads: pairs (Tensor, Value).
    """

    def __init__(self, record):
        self.inputs, self.numbers = record.inputs, record.numbers
        self.lines, self.result = record.lines, record.result
        self.updates, self.grads = dict(record.updates), record.grads

    def ends(self):
        """The Values that are needed when the last line has run."""
        results = [v for v in flat(self.result) if isinstance(v, Value)]
        return [*results, *self.updates.values(), *(v for _, v in self.grads)]

    def changed(self, lines, new=None):
        """This graph with other lines, and with new[v] in place of each Value v that `new` has."""
        graph = object.__new__(Graph)
        graph.__dict__.update(self.__dict__)
        new = new or {}

        def final(v):
            while isinstance(v, Value) and v in new:
                v = new[v]
            return v

        graph.lines = [line.replaced(final) for line in lines] if new else lines
        graph.result = mapped(self.result, final)
        graph.updates = {s: final(v) for s, v in self.updates.items()}
        graph.grads = [(t, final(v)) for t, v in self.grads]
        return graph

    def written(self):
        """The bases into which some line writes after they were made."""
        return {line.out.base for line in self.lines if line.into}


# ---- passes


def without_dead(graph):
    """Only the lines on which something at the end depends; random draws stay, for their order."""
    needed, kept = {v.base for v in graph.ends()}, []
    for line in reversed(graph.lines):
        effect = callable(line.function) or line.function in DRAWS
        if line.out.base in needed or effect:
            kept.append(line)
            needed |= {v.base for v in line.inputs()}
    return graph.changed(kept[::-1])


def without_repeats(graph):
    """A call that was made before, on the same values, is not made again."""
    written, seen, new, lines = graph.written(), {}, {}, []
    for line in graph.lines:
        line = line.replaced(lambda v: new.get(v, v))
        pure = line.function not in DRAWS
        bases = {line.out.base, *(v.base for v in line.inputs())}
        if pure and not bases & written:
            key = repr(
                (str(line.function), mapped(line.args, _identity), line.options, line.out.dtype)
            )
            if key in seen:
                new[line.out] = seen[key]
                continue
            seen[key] = line.out
        lines.append(line)
    return graph.changed(lines, new)


def _identity(a):
    return f"value {id(a)}" if isinstance(a, Value) else (type(a).__name__, a)


def with_constants(graph):
    """What depends on constants alone is computed now."""
    written, new, lines = graph.written(), {}, []
    for line in graph.lines:
        line = line.replaced(lambda v: new.get(v, v))
        fixed = all(v.kind == "constant" for v in line.inputs())
        effect = callable(line.function) or line.function in DRAWS
        if fixed and not effect and not {line.out.base, *_bases(line)} & written:
            result = call(line.function, mapped(line.args, _data), line.options)
            new[line.out] = Value(np.asarray(result), "constant", data=np.asarray(result))
        else:
            lines.append(line)
    return graph.changed(lines, new)


def _bases(line):
    return [v.base for v in line.inputs()]


def _data(a):
    return a.data if isinstance(a, Value) else a


def _filled(a):
    """The one number that a constant is full of, or None."""
    if isinstance(a, Value) and a.kind == "constant" and a.size and a.dtype.kind == "f":
        first = a.data.flat[0]
        if (a.data == first).all():
            return first.item()
    return None


def with_algebra(graph):
    """Arithmetic that can be left out or said more cheaply, to the same bit."""
    written, new, lines, made = graph.written(), {}, [], {}
    for line in graph.lines:
        line = line.replaced(lambda v: new.get(v, v))
        if not line.into and not set(_bases(line)) & written:
            same = _simpler(line, made)
            if isinstance(same, Value) and line.out.base not in written:
                new[line.out] = same
                continue
        made[line.out] = line
        lines.append(line)
    return graph.changed(lines, new)


def _simpler(line, made):
    """A Value that is this line's result already, or None; the line itself may become cheaper."""
    f, out, args = line.function, line.out, line.args
    if f in ("multiply", "add", "subtract", "divide", "maximum", "minimum"):
        for i, a in enumerate(args):
            # An array full of one number is that number, unless it gives the result its shape.
            c, other = _filled(a), args[1 - i]
            if c is not None and isinstance(other, Value) and other.shape == out.shape:
                if np.result_type(other.dtype, 1.0) == out.dtype:
                    args = line.args = tuple(c if k == i else b for k, b in enumerate(args))
    if f == "add" and args[0] is args[1]:
        f, args = line.function, line.args = "multiply", (args[0], 2.0)
    if f == "multiply" and args[1] == 2.0 and isinstance(args[0], Value) and args[0] in made:
        inner = made[args[0]]
        if inner.function == "multiply":
            for a, b in (inner.args, inner.args[::-1]):
                if isinstance(a, float) and isinstance(b, Value):  # doubling is exact
                    args = line.args = (2 * a, b)
                    break
    if f == "multiply":
        for a, b in (args, args[::-1]):
            if a == 1 and isinstance(b, Value) and (b.shape, b.dtype) == (out.shape, out.dtype):
                return b
    if f == "add":
        for a, b in (args, args[::-1]):
            if isinstance(b, Value) and b in made and made[b].function == "negative":
                line.function, line.args = "subtract", (a, made[b].args[0])
                break
    if f == "divide" and args[1] == 1 and args[0].dtype == out.dtype:
        return args[0]
    if f == "astype" and args[0].dtype == out.dtype:
        return args[0]
    if f in ("reshape", "broadcast_to") and args[0].shape == out.shape:
        return args[0]
    if f == "transpose":
        axes = _axes(line)
        if axes == tuple(range(len(axes))):
            return args[0]
    return None


def _axes(line):
    n = len(line.args[0].shape)
    return tuple(reversed(range(n))) if line.args[1] is None else tuple(i % n for i in line.args[1])


def with_products(graph):
    """Sums of products of two arrays become products of vectors."""
    written, made, lines = graph.written(), {}, []
    for line in graph.lines:
        if line.function == "reduce add" and line.out.shape == () and not line.into:
            inner = made.get(line.args[0])
            if (
                inner
                and inner.function == "multiply"
                and all(
                    isinstance(a, Value)
                    and a.shape == inner.out.shape
                    and a.dtype == line.out.dtype
                    and a.base not in written
                    for a in inner.args
                )
            ):
                long = []
                for a in inner.args:
                    long.append(Value(np.empty(a.size, a.dtype), base=a.base))
                    lines.append(Line("reshape", (a, -1), {}, long[-1]))
                line = Line("dot", tuple(long), {}, line.out)
        if not line.into:
            made[line.out] = line
        lines.append(line)
    return graph.changed(lines)


def with_joined(graph):
    """Parts that will be concatenated are written where they will lie, and not copied."""
    written, makers = graph.written(), {line.out: line for line in graph.lines}
    ends = {v.base for v in graph.ends()}
    moved, news = {}, {}
    settled = {line.out.base: i for i, line in enumerate(graph.lines) if line.into}  # last written
    for i, line in enumerate(graph.lines):
        if line.function != "concatenate" or line.options.get("axis", 0) != 0:
            continue
        start, parts = 0, []
        for v in line.args[0]:
            base = v.base
            can = (
                base.kind == "made"
                and settled.get(base, -1) < i
                and base not in moved
                and base.size == v.size
                and _ordered(base)
                and _contiguous(v, makers)
                and base in makers
                and makers[base].function not in VIEWS
                and not callable(makers[base].function)
            )
            rows = slice(start, start + v.shape[0])
            start += v.shape[0]
            parts.append((v, base, rows, can))
            if can:
                moved[base] = line.out
        if any(can for *_, can in parts):
            news[line] = parts
    lines, opened = [], set()
    target = {}  # base -> (whole, rows)
    for line, parts in news.items():
        for v, base, rows, can in parts:
            if can:
                target[base] = (line.out, rows, v)
    for line in graph.lines:
        if line.out in target and line.out.base is line.out:
            whole, rows, v = target[line.out]
            if whole not in opened:
                opened.add(whole)
                lines.append(Line("empty", (whole.shape,), {"dtype": whole.dtype}, whole))
            part = Value(np.empty(v.shape, v.dtype), base=whole)
            lines.append(Line("getitem", (whole, rows), {}, part))
            line.out.base = whole
            if part.shape == line.out.shape:
                news_part = part
            lines.append(Line("reshape", (part, line.out.shape), {}, line.out))
            lines.append(Line(line.function, line.args, line.options, line.out, into=True))
            for other in makers:
                pass
            continue
        if line in news:
            for v, base, rows, can in news[line]:
                if not can:
                    if line.out not in opened:
                        opened.add(line.out)
                        lines.append(
                            Line("empty", (line.out.shape,), {"dtype": line.out.dtype}, line.out)
                        )
                    part = Value(np.empty(v.shape, v.dtype), base=line.out)
                    lines.append(Line("getitem", (line.out, rows), {}, part))
                    lines.append(Line("copyto", (part, v), {}, part, into=True))
            continue
        lines.append(line)
    for line in lines:  # views of what has moved belong to the whole
        base = line.out.base
        while base.base is not base:
            base = base.base
        line.out.base = base
    return graph.changed(lines)


def _contiguous(v, makers):
    """Whether v has all elements of its base in their order."""
    while v.base is not v:
        line = makers.get(v)
        if line is None or line.function != "reshape":
            return False
        v = line.args[0]
    return True


PASSES = [without_dead, with_constants, with_algebra, without_repeats, with_algebra,
          with_constants, with_products, without_dead, with_joined]  # fmt: skip


# ---- memory


def elementwise(line):
    """Whether each element of the result needs only the elements at its own place."""
    f = line.function
    return (
        f != "matmul" and isinstance(getattr(np, f, None), np.ufunc)
        if isinstance(f, str)
        else False
    )


class Plan:
    """Where each array of a graph lives: places[base] = (offset in bytes, bytes), or a state.

    A base lives from the line that makes it to the last that reads it (or a view of it); two that
    live at the same time do not share memory (test_graph.py proves it).
    """

    def __init__(self, graph):
        self.graph, self.places, self.homes = graph, {}, {}
        self.lives = self.lifetimes()
        self.put_in_place()
        self.allocate()

    def lifetimes(self):
        """base -> [first line, last line] of all arrays that lines make."""
        lives, end = {}, len(self.graph.lines)
        for i, line in enumerate(self.graph.lines):
            for v in [line.out, *line.inputs()]:
                if v.dtype is not None:
                    lives.setdefault(v.base, [i, i])[1] = i
        for v in self.graph.ends():
            if v.dtype is not None:
                lives.setdefault(v.base, [0, end])[1] = end
        return lives

    def put_in_place(self):
        """homes[base] = the base whose memory it takes over: results of elementwise calls.

        An update is written straight into its state when the state is not read afterwards; any
        other elementwise result goes where an operand dies.
        """
        final = {v: s for s, v in self.graph.updates.items() if v.base is v and v.kind == "made"}
        taken = set()
        for i, line in enumerate(self.graph.lines):
            out = line.out
            if line.into or out.base is not out or out.dtype is None or not elementwise(line):
                continue
            state = final.get(out)
            if state is not None and state not in taken and self._free(state, i, line, out):
                self.homes[out] = state
                taken.add(state)
                self.lives[state][1] = len(self.graph.lines)
                continue
            if state is not None:
                continue
            for v in line.inputs():
                if (
                    v.base is v
                    and v.kind == "made"
                    and v.dtype is not None
                    and self.lives[v][1] == i
                    and v not in taken
                ):
                    if (v.shape, v.dtype, v.order) == (out.shape, out.dtype, out.order):
                        self.homes[out] = v
                        taken.add(v)
                        break

    def _free(self, state, i, line, out):
        """Whether line i may write into the state: it is read there elementwise, or before."""
        last = self.lives.get(state, [0, -1])[1]
        whole = all(v is state or v.base is not state for v in line.inputs())
        return last < i or (
            last == i and whole and (out.shape, out.order) == (state.shape, state.order)
        )

    def allocate(self):
        """Offsets in one block of memory, largest holes first filled by what fits best."""
        groups = {}  # a home -> [first, last, bytes] of all that live there one after the other
        for base, (first, last) in self.lives.items():
            if base.kind != "made" or base.dtype is None:
                continue
            home = base
            while home in self.homes:
                home = self.homes[home]
            if home.kind == "state":
                continue
            group = groups.setdefault(home, [first, last, base.nbytes])
            group[0], group[1] = min(group[0], first), max(group[1], last)
        placed = []  # (first, last, offset, bytes)
        for home, (first, last, n) in sorted(groups.items(), key=lambda g: -g[1][2]):
            n = -(-max(n, 1) // 64) * 64
            offset = 0
            for other in sorted(
                (p for p in placed if p[0] <= last and first <= p[1]), key=lambda p: p[2]
            ):
                if other[2] - offset >= n:
                    break
                offset = max(offset, other[2] + other[3])
            placed.append((first, last, offset, n))
            self.places[home] = offset, n
        self.size = max((o + n for o, n in self.places.values()), default=0)

    def home(self, base):
        while base in self.homes:
            base = self.homes[base]
        return base


# ---- source


UFUNCS = {
    "add",
    "subtract",
    "multiply",
    "divide",
    "maximum",
    "minimum",
    "less",
    "less_equal",
    "equal",
    "greater",
}


def _plain_matrix(a):
    return isinstance(a, Value) and len(a.shape) in (1, 2) and a.dtype.kind == "f"


def _ordered(v):
    """Whether the elements lie in memory in the order of the axes."""
    axes = [i for i in v.order if v.shape[i] > 1]
    return axes == sorted(axes)


class Source:
    """Writes a planned graph as Python."""

    def __init__(self, plan):
        self.plan, self.graph = plan, plan.graph
        self.imports, self.numbers = set(), {}
        self.names, self.setup, self.body, self.given = {}, [], [], []
        self.dynamic = set()  # Values that exist only inside a run: inputs and their views
        for k, v in enumerate(self.graph.inputs):
            self.names[v] = v.name or f"x{k}"
            self.dynamic.add(v)
        for k, v in enumerate(self.graph.numbers):
            self.names[v] = f"n{k}"
            self.dynamic.add(v)
        for line in self.graph.lines:
            self.line(line)
        self.finish()

    def name(self, v):
        """The expression for an argument."""
        if isinstance(v, Value):
            if v not in self.names:
                if v.kind in ("state", "constant"):
                    self.names[v] = f"{v.kind[0]}{len(self.given)}"
                    self.given.append(v)
                else:
                    self.buffer(v)
            return self.names[v]
        if isinstance(v, tuple):
            return "(" + "".join(f"{self.name(a)}, " for a in v) + ")"
        if isinstance(v, list):
            return "[" + ", ".join(map(self.name, v)) + "]"
        if isinstance(v, slice):
            return f"slice({v.start}, {v.stop}, {v.step})"
        if isinstance(v, np.dtype) or isinstance(v, type):
            return f"np.{np.dtype(v).name}" if np.dtype(v) != bool else "bool"
        if isinstance(v, float) and not math.isfinite(v):
            return f"float('{v}')"
        return repr(v)

    def buffer(self, v):
        """Give a name and memory to an array that owns its memory."""
        home = self.plan.home(v)
        if home is not v and home.kind == "state":
            self.names[v] = self.name(home)
            return
        self.names[v] = f"v{len(self.names)}"
        offset, _ = self.plan.places[home]
        self.setup.append(
            f"{self.names[v]} = arena[{offset}:{offset + v.nbytes}].view({self.name(v.dtype)})"
            + (
                f".reshape({self.name(v.shape)})"
                if _ordered(v)
                else f".reshape({self.name(tuple(v.shape[i] for i in v.order))})"
                f".transpose({self.name(tuple(np.argsort(v.order).tolist()))})"
            )
        )

    def line(self, line):
        f, out = line.function, line.out
        if out.dtype is None and not callable(f):  # a number
            self.names[out] = f"n{len(self.names)}"
            self.dynamic.add(out)
            signs = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}
            if f in signs:
                a, b = map(self.name, line.args)
                self.body.append(f"{self.names[out]} = {a} {signs[f]} {b}")
            else:
                self.body.append(f"{self.names[out]} = float(np.{f}({self.args(line)}))")
            return
        if f in VIEWS and out.base is not out:
            self.names[out] = f"w{len(self.names)}"
            text = f"{self.names[out]} = {self.view(line)}"
            if any(v in self.dynamic for v in line.inputs()):
                self.dynamic.add(out)
                self.body.append(text)
            else:
                self.setup.append(text)
            return
        self.body.append(self.written(line))

    def view(self, line):
        a, b = line.args[0], line.args[1]
        if line.function == "getitem":
            return f"{self.name(a)}[{self.key(b)}]"
        if line.function == "broadcast_to":
            return f"np.broadcast_to({self.name(a)}, {self.name(b)})"
        return f"{self.name(a)}.{line.function}({self.name(b)})"

    def key(self, key):
        parts = key if isinstance(key, tuple) else (key,)

        def one(k):
            if k is Ellipsis:
                return "..."
            if isinstance(k, slice):
                return ":".join("" if x is None else str(x) for x in (k.start, k.stop)) + (
                    f":{k.step}" if k.step not in (None, 1) else ""
                )
            return self.name(k)

        return ", ".join(map(one, parts)) or "()"

    def args(self, line):
        return ", ".join(map(self.name, line.args))

    def written(self, line):
        f, args = line.function, line.args
        out = self.name(line.out) if line.out.dtype is not None else ""
        options = "".join(f", {k}={self.name(v)}" for k, v in line.options.items())
        if f == "copyto":
            return f"{out}[...] = {self.name(args[1])}"
        if f == "add.at":
            return f"np.add.at({self.args(line)})"
        if callable(f):
            self.imports.add(f"from {f.__module__} import {f.__name__}")
            return f"{f.__name__}({self.args(line)})"
        if f.startswith("reduce "):
            return f"np.{f[7:]}.reduce({self.name(args[0])}{options}, out={out})"
        if f in DRAWS:
            return f"rng.{f}({self.name(args[0])}{options}, out={out})"
        if f in ("astype", "copy"):
            return f"{out}[...] = {self.name(args[0])}"
        if f == "reshape":
            return f"{out}.reshape({self.name(args[0].shape)})[...] = {self.name(args[0])}"
        if f == "getitem":
            return f"{out}[...] = {self.name(args[0])}[{self.key(args[1])}]"
        if f == "zeros":
            return f"{out}.fill(0)"
        if f == "ones":
            return f"{out}.fill(1)"
        if f == "empty":
            return f"pass  # {out} will be filled"
        if f in ("where", "array", "arange", "transpose"):
            return f"{out}[...] = np.{f}({self.args(line)}{options})"
        if f == "matmul" and all(map(_plain_matrix, (*args, line.out))) and _ordered(line.out):
            f = "dot"
        if f == "maximum" and args[1] == 0:
            args = (args[0], self.constant(np.zeros(line.out.shape, line.out.dtype)))
        if f in UFUNCS and line.out.dtype is not None:
            kind = next(
                (a.dtype for a in args if isinstance(a, Value) and a.dtype is not None), None
            )
            if kind is not None and kind.kind == "f":
                args = tuple(
                    self.constant(np.array(a, kind)) if type(a) in (int, float) else a for a in args
                )
        line = Line(f, args, line.options, line.out)
        if (
            f in ("argmax", "dot")
            or f == "concatenate"
            or isinstance(getattr(np, f, None), np.ufunc)
        ):
            return f"np.{f}({self.args(line)}{options}, out={out})"
        return f"{out}[...] = np.{f}({self.args(line)}{options})"

    def constant(self, a):
        key = (a.shape, a.dtype, a.flat[0].item() if a.size else 0)
        if key not in self.numbers:
            self.numbers[key] = Value(a, "constant", data=a)
        return self.numbers[key]

    def finish(self):
        graph = self.graph
        for state, v in graph.updates.items():
            if self.name(v) != self.name(state):
                self.body.append(f"{self.name(state)}[...] = {self.name(v)}")
        results = [v for v in flat(graph.result) if isinstance(v, Value)]
        back = "".join(f"{self.name(v)}.copy(), " for v in results)
        grads = "".join(f"{self.name(v)}, " for _, v in graph.grads)
        names = ", ".join(self.names[v] for v in [*graph.inputs, *graph.numbers])
        given = ", ".join(self.names[v] for v in self.given)
        self.text = "\n".join(
            ["import numpy as np", *sorted(self.imports), "", "", f"def make(rng{', ' if given else ''}{given}):",
             f"    arena = np.empty({self.plan.size}, np.uint8)",
             *(f"    {t}" for t in self.setup), "",
             f"    def step({names}):", *(f"        {t}" for t in self.body),
             f"        return ({back}), ({grads})", "", "    return step", ""]
        )  # fmt: skip


class _Rng:
    def __getattr__(self, name):
        return getattr(backend.generator(), name)


class Program:
    def __init__(self, record):
        graph = Graph(record)
        for p in PASSES:
            graph = p(graph)
        self.graph = graph
        self.plan = Plan(graph)
        self.written = Source(self.plan)
        self.source = self.written.text
        space = {}
        exec(compile_(self.source), space)
        self.states, arrays, self.memory = [], [], {}
        for v in self.written.given:
            arrays.append(self.state(v) if v.kind == "state" else v.data)
        self.arrays = arrays
        self.step = space["make"](_Rng(), *arrays)
        self.grads = [Tensor(np.empty(0)) for _ in graph.grads]

    def state(self, v):
        """The memory of a state: the one that another program made, or its own."""
        if v in self.memory:
            return self.memory[v]
        if isinstance(v.data, list):
            parts = [t.data for t in v.data]
            block = parts[0].base if all(_owned.get(id(a)) is a for a in parts) else None
            joined = np.concatenate([a.reshape(-1) for a in parts])
            ends = np.cumsum([a.size for a in parts]).tolist()
            fits = (
                block is not None
                and block.shape == joined.shape
                and all(
                    a.__array_interface__["data"][0]
                    == block[e - a.size :].__array_interface__["data"][0]
                    for a, e in zip(parts, ends)
                )
            )
            block = block if fits else joined
            for t, e in zip(v.data, ends):
                array = t.data if fits else block[e - t.size : e].reshape(t.shape)
                self.keep(t, array)
            self.memory[v] = block
            return block
        if v.base is not v:
            self.state(v.base)
            return v.data.data
        array = v.data.data
        self.memory[v] = self.keep(
            v.data, array if _owned.get(id(array)) is array else np.array(array, order="C")
        )
        return self.memory[v]

    def keep(self, tensor, array):
        _owned[id(array)] = tensor.data = array
        self.states.append((tensor, array))
        return array

    def __call__(self, arrays):
        for tensor, array in self.states:
            if tensor.data is not array:
                array[...] = tensor.data
                tensor.data = array
        numbers = [v.data() for v in self.graph.numbers]
        found, grads = self.step(*arrays, *numbers)
        for (tensor, _), kept, g in zip(self.graph.grads, self.grads, grads):
            kept.data = g
            tensor.grad = kept
        found = iter(found)
        return mapped(
            self.graph.result, lambda v: Tensor(next(found)) if isinstance(v, Value) else v
        )


import weakref  # noqa

_owned = weakref.WeakValueDictionary()


def compile_(source):
    return compile(source, "<minidl graph>", "exec")


class Compiled:
    def __init__(self, function):
        self.function, self.programs = function, {}

    def __call__(self, *args):
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        key = tuple((a.shape, a.dtype) for a in arrays)
        program = self.programs.get(key)
        if program is None:
            record = Record()
            result = record.run(self.function, [Tensor(a) for a in arrays])
            self.programs[key] = Program(record)
            return result
        return program(arrays)
