"""From a planned graph to source: the NumPy that computes it.

The one rule of this file: what runs is what `print(step.source)` shows, plain NumPy that needs no
more of minidl than the checks it calls.

Explained in course/20.
"""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from ..engine import devices
from .kernels import meets_itself
from .lines import DRAWS, ELSEWHERE, VIEWS, Value, values
from .memory import Plan, elementwise

RESERVED = {*"np numpy rng memory make step float bool replayed".split()}  # names that it uses
QUIET = {"zeros", "ones", "copyto"}  # besides what is elementwise, these allocate nothing
WRITTEN = {"add.at": "np.add.at({given})", "zeros": "{y}.fill(0)", "ones": "{y}.fill(1)",
           "copyto": "{y}[...] = {b}", "astype": "{y}[...] = {a}", "copy": "{y}[...] = {a}",
           "reshape": "{y}.reshape({shape})[...] = {a}"}  # fmt: skip
SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}


def imported(module: ModuleType) -> list[str]:
    """The lines of Python that make the array module known as `np`, NumPy itself as `numpy`."""
    if module is np:
        return ["import numpy as np"]
    if module.__name__ == "cupy":
        return ["import cupy as np", "import numpy"]
    name = next(name for name, m in devices._devices.items() if m is module)
    found = [f"np = device_module({name!r})"]
    return ["import numpy", "from minidl.engine.devices import device_module", "", *found]


class Source:
    """A planned graph as text.

    text: a module with one function, make(rng, *given), which returns the function that runs.
    given: the states and constants that `make` takes, in order.  body: the lines that run;
    costs: the Line that each came from, or None.
    cuda_graph: lines in a row are captured together, if they neither allocate nor read inputs and
    numbers.  Matrix products are not: CuPy refuses that.
    """

    def __init__(self, plan: Plan, cuda_graph: bool = False):
        self.plan, self.graph = plan, plan.graph
        self.on_cpu = self.graph.xp is np
        self.names = {}  # Value -> its name
        functions = {line.function.__name__ for line in self.graph.lines if callable(line.function)}
        self.used = functions | RESERVED  # names that are taken
        self.inside = set()  # Values that exist only while it runs: inputs, numbers, their views
        self.shared = {}  # numbers as arrays: (how it is written, type) -> its Value
        self.kernels = {}  # what a kernel is made of -> its name, and its text
        self.imports, self.given = set(), []
        self.setup, self.body, self.costs = [], [], []
        for v in [*self.graph.inputs, *self.graph.numbers]:
            self._call(v, "x" if v.kind == "input" else "n")
            self.inside.add(v)
        for line in self.graph.lines:
            self._line(line)
        pieces = self._captured() if cuda_graph else []
        for state, v in self.graph.updates.items():
            if self.name(v) != self.name(state):  # else its new value lies there already
                self._write(f"{self.name(state)}[...] = {self.name(v)}")
        self.text = self._whole(pieces)

    # ---- names and other arguments

    def _call(self, v, prefix):
        """Name v after the user's variable, or by a letter for its kind and a number."""
        name = v.name
        if not name or name in self.used:
            name = f"{prefix}{len(self.names)}"
        self.names[v] = self._free(name)
        return self.names[v]

    def _free(self, name):
        """`name`, or the next that nothing has."""
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    def name(self, v: object) -> str:
        """The text of an argument; arrays that have no name yet get one, and their memory."""
        if isinstance(v, Value):
            if v not in self.names:
                self._introduce(v)
            return self.names[v]
        if isinstance(v, tuple):
            comma = "," if len(v) == 1 else ""
            return f"({self._names(v)}{comma})"
        if isinstance(v, list):
            return f"[{self._names(v)}]"
        if isinstance(v, (np.dtype, type)):
            name = np.dtype(v).name
            return name if name == "bool" else f"np.{name}"
        if isinstance(v, (np.generic, float)) and not math.isfinite(v):
            return f"float('{float(v)}')"
        if isinstance(v, np.generic):
            v = v.item()
        return repr(v)

    def _names(self, parts):
        return ", ".join(map(self.name, parts))

    def _introduce(self, v):
        """Name an array when it is first used, and say where it comes from."""
        if v.kind == "made":
            self._buffer(v)
            return
        name = self._call(v, v.kind[0])
        if v in self.shared.values():
            self.setup.append(f"{name} = np.array({self._names((v.data.item(), v.dtype))})")
        else:
            self.given.append(v)

    def _buffer(self, v):
        """An array in planned memory: a place of its own, or that of the array it takes over."""
        home = self.plan.home(v)
        if home is v:
            self.setup.append(f"{self._call(v, 'v')} = {self._place(v)}")
            return
        # The same array: CuPy copies an operand that merely lies where `out` lies.
        known = self.name(home)
        if home.kind == "state" or not v.name:
            self.names[v] = known
        else:
            self.setup.append(f"{self._call(v, 'v')} = {known}")

    def _place(self, v):
        """The text that cuts an array out of the memory."""
        offset, _ = self.plan.places[v]
        flat = f"memory[{offset}:{offset + v.nbytes}].view({self.name(v.dtype)})"
        if v.in_order():
            return f"{flat}.reshape({self.name(v.shape)})"
        lengths = tuple(v.shape[i] for i in v.order)  # as they lie in memory, the slowest first
        back = tuple(np.argsort(v.order).tolist())
        return f"{flat}.reshape({self.name(lengths)}).transpose({self.name(back)})"

    # ---- lines

    def _write(self, text, line=None):
        self.body.append(text)
        self.costs.append(line)

    def _line(self, line):
        """Write one line: views into the setup, if their base is there, all else into the body."""
        f, out = line.function, line.out
        if f == "kernel":
            self._write(self._kernel(line), line)
        elif isinstance(f, str) and out.dtype is None:
            self.inside.add(out)
            self._write(f"{self._call(out, 'n')} = {self._of_numbers(line)}", line)
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

    def _of_numbers(self, line):
        """Arithmetic of Python numbers, which stays with Python."""
        f = line.function
        if f in SIGNS:
            a, b = map(self.name, line.args)
            return f"{a} {SIGNS[f]} {b}"
        host = "np" if self.on_cpu else "numpy"
        return f"float({host}.{f}({self._names(line.args)}))"

    def _view(self, line):
        a, b = line.args
        if line.function == "getitem":
            return f"{self.name(a)}[{self._key(b)}]"
        if line.function == "broadcast_to":
            return f"np.broadcast_to({self.name(a)}, {self.name(b)})"
        return f"{self.name(a)}.{line.function}({self.name(b)})"

    def _key(self, key):
        """The text of an index."""
        parts = key if isinstance(key, tuple) else (key,)
        return ", ".join(map(self._index, parts)) or "()"

    def _index(self, part):
        if part is Ellipsis:
            return "..."
        if not isinstance(part, slice):
            return self.name(part)
        ends = [part.start, part.stop, part.step]
        if part.step in (None, 1):
            ends = ends[:2]
        return ":".join("" if n is None else str(n) for n in ends)

    def _computed(self, line):
        """The statement that computes a line's result into its memory."""
        f, out, args = line.function, line.out, self._with_arrays(line)
        if callable(f):
            self.imports.add(f"from {f.__module__} import {f.__name__}")
            return f"{f.__name__}({self._names(args)})"
        y = self.name(out)
        options = "".join(f", {k}={self.name(v)}" for k, v in line.options.items())
        given = self._names(args) + options
        if f in DRAWS:
            return f"rng.{f}({given}, out={y})"
        if f == "getitem":
            return f"{y}[...] = {self.name(args[0])}[{self._key(args[1])}]"
        if f in WRITTEN:
            shape = getattr(args[0], "shape", None)
            a, b = self.name(args[0]), self.name(args[-1])
            return WRITTEN[f].format(y=y, a=a, b=b, given=given, shape=shape)
        called, takes_out = self._function(line)
        if takes_out:
            return f"np.{called}({given}, out={y})"
        return f"{y}[...] = np.{called}({given})"

    def _function(self, line):
        """The name of the function that computes a line, and whether it takes `out`."""
        f, out = line.function, line.out
        matrices = all(isinstance(a, Value) and len(a.shape) in (1, 2) for a in line.args)
        if f == "matmul" and matrices and out.dtype.kind == "f" and out.in_order():
            return "dot", True  # the same product, found a microsecond sooner
        ufunc = isinstance(getattr(np, f.partition(".")[0], None), np.ufunc)
        takes_out = ufunc or f in ("dot", "concatenate", "argmax")
        if not self.on_cpu:
            f = ELSEWHERE.get(f, f)
        return f, takes_out

    def _with_arrays(self, line):
        """The arguments; numbers that meet arrays become arrays: NumPy is faster then."""
        f, args = line.function, line.args
        kinds = {a.dtype for a in args if isinstance(a, Value) and a.dtype is not None}
        if not self.on_cpu or not isinstance(f, str) or len(args) != 2 or len(kinds) != 1:
            return args
        (kind,) = kinds
        if kind.kind != "f" or not isinstance(getattr(np, f, None), np.ufunc):
            return args
        return tuple(self._shared(a, kind) for a in args)

    def _shared(self, a, dtype):
        """A Python number as a 0-d array, one for all places of use; all else as it is."""
        if type(a) not in (int, float):
            return a
        key = repr(a), dtype  # 0.0 and -0.0 are equal, but not the same
        if key not in self.shared:
            array = np.array(a, dtype)
            self.shared[key] = Value(array, "constant", data=array)
        return self.shared[key]

    def _kernel(self, line):
        """The call of a kernel; those that do the same are one, whose text stands once."""
        takes, gives, body, wish = line.text()
        key = takes, gives, *body
        if key not in self.kernels:
            name = self._free(wish)
            self.kernels[key] = name, _kernel_text(name, takes, gives, body)
        name, _ = self.kernels[key]
        return f"{name}({self._names([*line.args, *line.outs])})"

    # ---- CUDA graphs

    def _captured(self):
        """Move lines that may be captured out of the body, which calls piece0(), piece1() ... in
        their place; (name, lines) of each.
        """
        pieces = []
        run = []
        pairs = [*zip(self.body, self.costs), (None, None)]  # the last ends the last run
        self.body, self.costs = [], []
        for text, line in pairs:
            if line is not None and self._may_be_captured(line):
                run.append((text, line))
                continue
            if len(run) > 1:
                name = self._free(f"piece{len(pieces)}")
                pieces.append((name, [text for text, _ in run]))
                run = [(f"{name}()", None)]
            for one in run:
                self._write(*one)
            run = []
            if text is not None:
                self._write(text, line)
        if pieces:
            self.imports.add("from minidl.gpu.streams import replayed")
        return pieces

    def _may_be_captured(self, line):
        """Whether a line neither allocates nor reads what is new at each run."""
        if self.inside & {line.out, *line.inputs()}:
            return False
        if line.function == "where" or not (elementwise(line) or line.function in QUIET):
            return False
        return not meets_itself(line, lambda u, v: False)  # CuPy copies such an operand

    # ---- the whole

    def _whole(self, pieces) -> str:
        """The text of the module."""
        graph = self.graph
        results = "".join(
            f"{self.name(v)}, " if v.dtype is None else f"{self.name(v)}.copy(), "
            for v in values(graph.result)
        )
        grads = "".join(f"{self.name(v)}, " for _, v in graph.grads)
        inputs = self._names([*graph.inputs, *graph.numbers])
        step = [f"def step({inputs}):", *_indented(self.body)]
        step.append(f"    return ({results}), ({grads})")
        make = [f"memory = np.empty({self.plan.size}, np.uint8)", *self.setup]
        for name, lines in pieces:
            make += ["", "@replayed(np)", f"def {name}():", *_indented(lines)]
        make += ["", *step, "", "return step"]
        given = ", ".join(["rng", *(self.names[v] for v in self.given)])
        kernels = [text for _, text in self.kernels.values()]
        head = [*imported(graph.xp), *sorted(self.imports), "", *kernels, ""]
        return "\n".join([*head, f"def make({given}):", *_indented(make), ""])


def _indented(lines):
    return [f"    {line}" if line else "" for line in lines]


def _kernel_text(name, takes, gives, body):
    """The text that makes a kernel."""
    lines = "".join(f"    {text}\n" for text in body)
    preamble = ""
    if any("float16" in text for text in body) and "float16" not in takes + gives:
        preamble = """\n    preamble='#include "cupy/float16.cuh"',"""  # else CuPy includes it
    return (
        f'{name} = np.ElementwiseKernel(\n    "{takes}",\n    "{gives}",\n'
        f'    """\n{lines}    """,\n'
        f'    "{name}", no_return=True, options=("--fmad=false",),{preamble}\n)\n'
    )
