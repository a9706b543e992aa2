"""`minidl.compile`: a function that is recorded once, and run as NumPy source afterwards.

The one rule of this file: a compiled function does to Tensors what the function itself would do.

Explained in course/20.
"""

import builtins
import inspect
import weakref

import numpy as np

from . import backend
from .graph import PASSES, Graph
from .module import Module
from .record import Record
from .source import Plan, Source
from .tensor import Tensor
from .trace import Value, mapped

_owned = weakref.WeakValueDictionary()  # id -> array: the memory of states of all programs


class Program:
    """A recorded function for one signature.

    source: the NumPy that runs.  graph: its lines.  memory: the bytes that its arrays take, without
    states, inputs and constants.
    """

    def __init__(self, record, passes=PASSES):
        self.before = str(Graph(record))
        self.graph = Graph(record)
        for change in passes:
            self.graph = change(self.graph)
        self.plan = Plan(self.graph)
        self.text = Source(self.plan)
        self.source, self.memory = self.text.text, self.plan.size
        space = {}
        exec(builtins.compile(self.source, "<minidl.compile>", "exec"), space)
        self.kept, self.arrays = [], {}
        given = [self._state(v) if v.kind == "state" else v.data for v in self.text.given]
        self.given = given
        self.step = space["make"](_Draws(), *given)
        self.grads = [(tensor, Tensor(v.data)) for tensor, v in self.graph.grads]

    def __call__(self, arrays):
        for tensor, array in self.kept:
            if tensor.data is not array:  # someone gave it new values
                np.copyto(array, tensor.data)
                tensor.data = array
        found, grads = self.step(*arrays, *(v.data() for v in self.graph.numbers))
        for (tensor, kept), g in zip(self.grads, grads):
            kept.data = g
            tensor.grad = kept
        found = iter(found)
        return mapped(
            self.graph.result, lambda v: Tensor(next(found)) if isinstance(v, Value) else v
        )

    def _state(self, v):
        """The memory of a state: what another program made for it, or its own."""
        if v in self.arrays:
            return self.arrays[v]
        if v.base is not v:  # a part of a joined state
            self._state(v.base)
            return v.data.data
        tensors = v.data if isinstance(v.data, list) else [v.data]
        arrays = [t.data for t in tensors]
        mine = all(_owned.get(id(a)) is a for a in arrays)
        if not isinstance(v.data, list):
            self.arrays[v] = arrays[0] if mine else np.array(arrays[0], order="C")
            self._keep(v.data, self.arrays[v])
            return self.arrays[v]
        block = arrays[0].base if mine else None
        if block is None or not _lies_in(arrays, block):
            block, mine = np.concatenate([a.reshape(-1) for a in arrays]), False
        end = 0
        for t, a in zip(tensors, arrays):
            start, end = end, end + a.size
            self._keep(t, a if mine else block[start:end].reshape(a.shape))
        self.arrays[v] = block
        return block

    def _keep(self, tensor, array):
        _owned[id(array)] = tensor.data = array
        self.kept.append((tensor, array))


def _lies_in(arrays, block):
    """Whether `arrays` are the parts of `block`, one after the other."""
    place = block.__array_interface__["data"][0]
    for a in arrays:
        if a.__array_interface__["data"][0] != place:
            return False
        place += a.nbytes
    return place == block.__array_interface__["data"][0] + block.nbytes


class _Draws:
    """The CPU's random generator, asked for at each draw, for `manual_seed` makes a new one."""

    def __getattr__(self, name):
        return getattr(backend.generator(), name)


def _modules(function):
    """The modules that a function refers to, whose `training` is part of a signature."""
    inner = getattr(function, "__func__", function)
    found = [getattr(function, "__self__", None), function]
    if hasattr(inner, "__code__"):
        cells = inspect.getclosurevars(inner)
        found += [*cells.nonlocals.values(), *cells.globals.values()]
    roots = [m for x in found for m in (x, getattr(x, "model", None)) if isinstance(m, Module)]
    return list({id(m): m for root in roots for _, m in root.modules()}.values())


class Compiled:
    """What `minidl.compile` makes of a function."""

    def __init__(self, function, passes):
        self.function, self.passes, self.programs = function, passes, {}
        self.modules = _modules(function)
        self.__doc__ = function.__doc__

    def __call__(self, *args):
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        key = tuple((a.shape, a.dtype.char) for a in arrays), backend.modes.recording
        key += tuple(module.training for module in self.modules)
        program = self.programs.get(key)
        if program is not None:
            return program(arrays)
        record = Record(self.function, [Tensor(a) for a in arrays])
        self.programs[key] = Program(record, self.passes)
        return record.first

    @property
    def program(self):
        """The Program of the last signature that was recorded."""
        return list(self.programs.values())[-1]

    source = property(lambda self: self.program.source)


def compile(function, *, passes=PASSES):
    """`function` of Tensors or arrays, recorded at its first call for each signature (shapes,
    types, modes), simplified, and run from then on as one piece of NumPy source.

    A whole training step may be one function: gradients, optimiser, running statistics, random
    draws and schedules are recorded with it.  What is not an operation (print, an if on a value)
    happens at recording only; asking for a value raises RuntimeError.  Tensors from outside are
    read anew at each run, bare arrays are constants.  Results and `.grad` are as without compiling;
    parameters and states keep one array each, which runs change in place (`state_dict` copies).
    passes: functions Graph -> Graph, applied in turn.
    """
    return Compiled(function, passes)
