"""From a graph to source: where each array lives, and the NumPy that computes it.

The one rule of this file: what runs is what `print(step.source)` shows, plain NumPy that needs no
more of minidl than the checks it calls.

Explained in course/20.
"""

import math

import numpy as np

from . import backend
from .kernels import meets_itself
from .trace import DRAWS, ELSEWHERE, VIEWS, Line, Value, flat, mapped

RESERVED = {*"np numpy rng memory make step float bool replayed".split()}  # names that it uses
QUIET = {"zeros", "ones", "copyto"}  # besides what is elementwise, these allocate nothing
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}


def elementwise(line):
    """Whether each element of the result needs only the elements at its own place."""
    f = line.function
    found = getattr(np, f, None) if isinstance(f, str) and f != "matmul" else None
    return f in ("astype", "copy", "where", "kernel") or isinstance(found, np.ufunc)


def with_copies(graph):
    """What is needed at the end is copied first if it lies where a run writes: in a state that
    changes, or, for a gradient that is left, in any state or input.
    """
    graph = graph.changed(list(graph.lines))
    graph.updates = {state: v for state, v in graph.updates.items() if v is not state}
    left = {v for _, v in graph.grads if v.base.kind in ("state", "input")}
    copies = {}
    for v in graph.ends():
        if v not in copies and (v in left or v.base in graph.updates):
            copies[v] = Value(np.empty(v.shape, v.dtype))
            graph.lines.append(Line("copy", (v,), {}, copies[v]))
    graph.result = mapped(graph.result, lambda v: copies.get(v, v) if isinstance(v, Value) else v)
    graph.updates = {state: copies.get(v, v) for state, v in graph.updates.items()}
    graph.grads = [(tensor, copies.get(v, v)) for tensor, v in graph.grads]
    return graph


class Plan:
    """Where each array of a graph lives, so that memory is used again and stays in the cache.

    lives[base] = [first, last] line that needs it.  homes[base] = the base whose memory it takes
    over.  places[home] = (offset, bytes) in one block of memory of `size` bytes.  Arrays that live
    at the same time share no memory (tests/test_source.py proves it).
    """

    def __init__(self, graph):
        self.graph, self.homes, self.places = with_copies(graph), {}, {}
        self.lives = self._lifetimes()
        self._take_over()
        self._allocate()

    def _lifetimes(self):
        lives, end = {}, len(self.graph.lines)
        for i, line in enumerate(self.graph.lines):
            for v in [*line.outs, *line.inputs()]:
                lives.setdefault(v.base, [i, i])[1] = i
        for v in self.graph.ends():
            lives.setdefault(v.base, [0, end])[1] = end
        return lives

    def _take_over(self):
        """Results of elementwise calls are written where an operand dies, updates into states."""
        updates = self.graph.updates.items()
        final = {v: state for state, v in updates if v.base is v and state.base is state}
        taken = set()
        for i, line in enumerate(self.graph.lines):
            for out in line.fresh:
                if out.base is not out or out.dtype is None or not elementwise(line):
                    continue
                made = [v for v in line.inputs() if v.kind == "made"]
                for v in [final[out]] if out in final else made:
                    alike = (v.shape, v.dtype, v.order) == (out.shape, out.dtype, out.order)
                    others = any(u.base is v and u is not v for u in line.inputs())
                    others |= any(u.base is v for u in line.outs)  # a kernel changes it, too
                    free = v.base is v and v not in taken and self._dead(v, i)
                    if free and alike and not others:
                        self.homes[out] = v
                        taken.add(v)
                        break

    def _dead(self, v, i):
        """Whether nothing after line i needs v's elements as they are before it."""
        last = self.lives.get(v, [0, -1])[1]
        return last <= i if v.kind == "state" else last == i

    def home(self, base):
        """The base in whose memory `base` lies."""
        while base in self.homes:
            base = self.homes[base]
        return base

    def _allocate(self):
        """Give each home a place in one block of memory, the largest first, each the lowest."""
        groups = {}  # home -> [first line, last line, bytes] of all that live there
        for base, (first, last) in self.lives.items():
            home = self.home(base)
            if home.kind == "made" and home.dtype is not None:
                group = groups.setdefault(home, [first, last, base.nbytes])
                group[:2] = min(group[0], first), max(group[1], last)
        placed = []
        for home, (first, last, n) in sorted(groups.items(), key=lambda g: -g[1][2]):
            n, offset = -(-max(n, 1) // 64) * 64, 0
            near = [p for p in placed if p[0] <= last and first <= p[1]]
            for _, _, begin, length in sorted(near, key=lambda p: p[2]):
                if begin - offset >= n:
                    break
                offset = max(offset, begin + length)
            placed.append((first, last, offset, n))
            self.places[home] = offset, n
        self.size = max((offset + n for offset, n in self.places.values()), default=0)


class Source:
    """A planned graph as text.

    text: a module with one function, make(rng, *given), which returns the function that runs.
    given: the states and constants that `make` takes, in order.
    cuda_graph: lines in a row are captured together, if they neither allocate nor read inputs and
    numbers.  Matrix products are not: CuPy refuses that.
    """

    def __init__(self, plan, cuda_graph=False):
        self.plan, self.graph, self.given, self.names = plan, plan.graph, [], {}
        self.setup, self.body, self.imports, self.shared = [], [], set(), {}
        self.kernels = {}  # what a kernel is made of -> its name, and its text
        functions = {line.function.__name__ for line in self.graph.lines if callable(line.function)}
        self.used = functions | RESERVED  # names that are taken
        self.inside = set()  # Values that exist only while it runs: inputs, numbers, their views
        self.costs = []  # the line that each line of the body came from, or None
        for v in [*self.graph.inputs, *self.graph.numbers]:
            self._call(v, "x" if v.kind == "input" else "n")
            self.inside.add(v)
        for line in self.graph.lines:
            self._line(line)
        self._finish(self._captured() if cuda_graph else [])

    def _call(self, v, prefix):
        """Name v after the user's variable, or by a letter for its kind and a number."""
        name = v.name if v.name and v.name not in self.used else f"{prefix}{len(self.names)}"
        while name in self.used:
            name += "_"
        self.used.add(name)
        self.names[v] = name
        return name

    def name(self, v):
        """The text of an argument; arrays that have no name yet get one, and their memory."""
        if isinstance(v, Value):
            if v not in self.names and v.kind == "made":
                self._buffer(v)
            elif v not in self.names:
                self._call(v, v.kind[0])
                if v in self.shared.values():
                    what = ", ".join(map(self.name, (v.shape, v.data.flat[0], v.dtype)))
                    self.setup.append(f"{self.names[v]} = np.full({what})")
                else:
                    self.given.append(v)
            return self.names[v]
        if isinstance(v, tuple):
            return "(" + ", ".join(map(self.name, v)) + ("," if len(v) == 1 else "") + ")"
        if isinstance(v, list):
            return "[" + ", ".join(map(self.name, v)) + "]"
        if isinstance(v, (np.dtype, type)):
            return "bool" if np.dtype(v) == bool else f"np.{np.dtype(v).name}"
        if isinstance(v, (np.generic, float)) and not math.isfinite(v):
            return f"float('{float(v)}')"
        return repr(v.item()) if isinstance(v, np.generic) else repr(v)

    def _buffer(self, v):
        home = self.plan.home(v)
        if home is not v:  # the same array: CuPy copies an operand that merely lies where `out` is
            known = self.name(home)
            if home.kind == "state" or not v.name:
                self.names[v] = known
            else:
                self.setup.append(f"{self._call(v, 'v')} = {known}")
            return
        offset, _ = self.plan.places[home]
        text = f"{self._call(v, 'v')} = memory[{offset}:{offset + v.nbytes}]"
        text += f".view({self.name(v.dtype)})"
        if v.in_order():
            text += f".reshape({self.name(v.shape)})"
        else:
            back = tuple(np.argsort(v.order).tolist())
            text += f".reshape({self.name(tuple(v.shape[i] for i in v.order))})"
            text += f".transpose({self.name(back)})"
        self.setup.append(text)

    def _line(self, line):
        """Write one line: views into the setup, if their base is there, all else into the body."""
        f, out = line.function, line.out
        if f == "kernel":
            self._write(self._kernel(line), line)
        elif isinstance(f, str) and out.dtype is None:
            a = list(map(self.name, line.args))
            host = "np" if self.graph.xp is np else "numpy"
            text = f"float({host}.{f}({', '.join(a)}))"
            text = f"{a[0]} {SIGNS[f]} {a[1]}" if f in SIGNS else text
            self.inside.add(out)
            self._write(f"{self._call(out, 'n')} = {text}", line)
        elif f in VIEWS and out.base is not out and not line.into:
            text = self._view(line)
            text = f"{self._call(out, 'w')} = {text}"
            if self.inside & set(line.inputs()):
                self.inside.add(out)
                self._write(text, line)
            else:
                self.setup.append(text)
        elif f != "empty":
            self._write(self._computed(line), line)

    def _kernel(self, line):
        """The call of a kernel; those that do the same are one, whose text stands once."""
        takes, gives, body, wish = line.text()
        key, n, name = (takes, gives, *body), 1, wish
        while key not in self.kernels and name in self.used:
            name = f"{wish}_{(n := n + 1)}"
        if key not in self.kernels:
            self.used.add(name)
            lines = "".join(f"    {text}\n" for text in body)
            half = any("float16" in text for text in body) and "float16" not in takes + gives
            more = """\n    preamble='#include "cupy/float16.cuh"',""" if half else ""
            self.kernels[key] = name, (
                f'{name} = np.ElementwiseKernel(\n    "{takes}",\n    "{gives}",\n'
                f'    """\n{lines}    """,\n'
                f'    "{name}", no_return=True, options=("--fmad=false",),{more}\n)\n'
            )  # fmt: skip
        name, _ = self.kernels[key]
        return f"{name}({', '.join(map(self.name, [*line.args, *line.outs]))})"

    def _write(self, text, line=None):
        self.body.append(text)
        self.costs.append(line)

    def _view(self, line):
        a, b = line.args
        if line.function == "getitem":
            return f"{self.name(a)}[{self._key(b)}]"
        if line.function == "broadcast_to":
            return f"np.broadcast_to({self.name(a)}, {self.name(b)})"
        return f"{self.name(a)}.{line.function}({self.name(b)})"

    def _key(self, key):
        def one(k):
            if not isinstance(k, slice):
                return "..." if k is Ellipsis else self.name(k)
            ends = ["" if n is None else str(n) for n in (k.start, k.stop, k.step)]
            return ":".join(ends if ends[2] not in ("", "1") else ends[:2])

        return ", ".join(map(one, key if isinstance(key, tuple) else (key,))) or "()"

    def _computed(self, line):
        """The statement that computes a line's result into its memory."""
        f, out, args = line.function, line.out, self._plain(line)
        if callable(f):
            self.imports.add(f"from {f.__module__} import {f.__name__}")
            return f"{f.__name__}({', '.join(map(self.name, args))})"
        y = self.name(out)
        options = "".join(f", {k}={self.name(v)}" for k, v in line.options.items())
        given = ", ".join(map(self.name, args)) + options
        if f in DRAWS:
            return f"rng.{f}({given}, out={y})"
        if f == "add.at":
            return f"np.add.at({given})"
        if f in ("zeros", "ones"):
            return f"{y}.fill({int(f == 'ones')})"
        if f in ("copyto", "astype", "copy"):
            return f"{y}[...] = {self.name(args[f == 'copyto'])}"
        if f == "reshape":
            return f"{y}.reshape({self.name(args[0].shape)})[...] = {self.name(args[0])}"
        if f == "getitem":
            return f"{y}[...] = {self.name(args[0])}[{self._key(args[1])}]"
        matrices = all(isinstance(a, Value) and len(a.shape) in (1, 2) for a in args)
        if f == "matmul" and matrices and out.dtype.kind == "f" and out.in_order():
            f = "dot"  # the same product, found a microsecond sooner
        takes_out = isinstance(getattr(np, f.partition(".")[0], None), np.ufunc)
        f = f if self.graph.xp is np else ELSEWHERE.get(f, f)
        if takes_out or f in ("dot", "concatenate", "argmax"):
            return f"np.{f}({given}, out={y})"
        return f"{y}[...] = np.{f}({given})"

    def _plain(self, line):
        """The arguments; numbers that meet arrays become arrays: NumPy is faster then."""
        f, args = line.function, line.args
        kinds = {a.dtype for a in args if isinstance(a, Value) and a.dtype is not None}
        here = self.graph.xp is np and isinstance(f, str)
        ufunc = here and isinstance(getattr(np, f, None), np.ufunc)
        if not ufunc or len(args) != 2 or len(kinds) != 1 or (kind := kinds.pop()).kind != "f":
            return args
        shape = ()
        if f == "maximum" and line.out.size:  # two whole arrays are compared much faster
            shape = line.out.shape if line.out.nbytes < 1 << 16 else line.out.shape[1:]
        return tuple(self._shared(a, shape, kind) if type(a) in (int, float) else a for a in args)

    def _shared(self, number, shape, dtype):
        key = repr(number), shape, dtype  # 0.0 and -0.0 are equal, but not the same
        if key not in self.shared:
            a = np.full(shape, number, dtype)
            self.shared[key] = Value(a, "constant", data=a)
        return self.shared[key]

    def _captured(self):
        """Move lines that may be captured out of the body, which calls piece0(), piece1() ... in
        their place; (name, lines) of each.
        """
        pieces, run = [], []
        pairs, self.body, self.costs = [*zip(self.body, self.costs), ("", None)], [], []
        for text, line in pairs:
            still = line is not None and not self.inside & {line.out, *line.inputs()}
            still = still and not meets_itself(line, lambda u, v: False)  # CuPy copies an operand
            if still and line.function != "where" and (elementwise(line) or line.function in QUIET):
                run.append((text, line))
                continue
            if len(run) > 1:
                name = f"piece{len(pieces)}"
                while name in self.used:
                    name += "_"
                pieces.append((name, [text for text, _ in run]))
                run = [(f"{name}()", None)]
            for one in [*run, (text, line)] if text else run:
                self._write(*one)
            run = []
        if pieces:
            self.imports.add("from minidl.backend import replayed")
        return pieces

    def _finish(self, pieces):
        graph = self.graph
        for state, v in graph.updates.items():
            if self.name(v) != self.name(state):
                self._write(f"{self.name(state)}[...] = {self.name(v)}")
        results = [v for v in flat(graph.result) if isinstance(v, Value)]
        back = "".join(f"{self.name(v)}" + (".copy(), " if v.dtype else ", ") for v in results)
        grads = "".join(f"{self.name(v)}, " for _, v in graph.grads)
        inputs = ", ".join(self.names[v] for v in [*graph.inputs, *graph.numbers])
        given = "".join(f", {self.names[v]}" for v in self.given)
        arrays = backend.imported(graph.xp)
        kernels = [text for _, text in self.kernels.values()]
        lines = [*arrays, *sorted(self.imports), "", *kernels, "", f"def make(rng{given}):"]
        lines += [f"    memory = np.empty({self.plan.size}, np.uint8)"]
        lines += [f"    {text}" for text in self.setup]
        for name, piece in pieces:
            lines += ["", "    @replayed(np)", f"    def {name}():"]
            lines += [f"        {text}" for text in piece]
        lines += ["", f"    def step({inputs}):", *(f"        {text}" for text in self.body)]
        lines += [f"        return ({back}), ({grads})", "", "    return step", ""]
        self.text = "\n".join(lines)
