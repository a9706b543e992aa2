"""`minidl.compile`: a function that is recorded once, and run as NumPy source afterwards.

The one rule of this file: a compiled function does to Tensors what the function itself would do,
whichever thread calls it.

Explained in course/20.
"""

import builtins
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from copy import copy

import numpy as np

from . import backend, costs, drawing
from .graph import PASSES, Graph
from .module import Module, held
from .record import Record, recording
from .source import Plan, Source
from .tensor import Tensor
from .trace import DRAWS, Value, mapped

_owned = weakref.WeakValueDictionary()  # id -> array: the memory of states of all programs


class Program:
    """A recorded function for one signature.

    source: the NumPy that runs.  graph: its lines.  memory: the bytes that its arrays take, without
    states, inputs and constants; as often as threads are in it at once.
    changes: whether a run leaves anything behind (new states, gradients, counts).
    """

    def __init__(self, graph, passes=PASSES, cuda_graph=False):
        self.record_graph = self.graph = graph
        for change in passes:
            self.graph = change(self.graph)
        self.plan = Plan(self.graph)
        self.text = Source(self.plan, cuda_graph)
        self.source, self.memory = self.text.text, self.plan.size
        space = {}
        exec(builtins.compile(self.source, "<minidl.compile>", "exec"), space)
        self.kept, self.arrays, self.make = [], {}, space["make"]
        self.given = [self._state(v) if v.kind == "state" else v.data for v in self.text.given]
        written = any(base.kind == "state" for base in self.graph.written())
        ends = self.graph.updates or self.graph.grads or self.graph.after
        self.changes = bool(ends) or written
        self.free = [self._step()]  # functions that no thread runs now, each with its own memory

    def _step(self):
        """The function that runs, with memory of its own, on the states that all share."""
        try:
            return self.make(_Draws(self.graph.xp), *self.given)
        except MemoryError as error:
            what = f"a compiled step, which needs {self.memory:,} bytes at once"
            raise backend.explained(error, what, self.graph.inputs) from error

    def twin(self):
        """The same program on the same states, that gives away none of its memory to this one."""
        twin = copy(self)
        twin.free = [self._step()]
        return twin

    before = property(lambda self: str(self.record_graph))

    def fits(self):
        """Take over the values that states were given; False if one has another type or device."""
        for tensor, array in self.kept:
            if (new := tensor.data) is not array:
                if type(new) is not type(array) or (new.shape, new.dtype) != _like(array):
                    return False
                array[...] = new
                tensor.data = array
        return True

    def run(self, arrays):
        """The results as arrays, copies, and the gradients as they lie in memory, which the next
        run changes.  Several threads may be in it at once.
        """
        try:
            step = self.free.pop()
        except IndexError:  # other threads run all that were made so far
            step = self._step()
        try:
            return step(*arrays, *(v.data() for v in self.graph.numbers))
        except MemoryError as error:
            raise backend.explained(error, "a compiled step", arrays) from error
        finally:
            self.free.append(step)

    def __call__(self, args):
        found, grads = self.run([x.data for x in args])
        for (tensor, _), g in zip(self.graph.grads, grads):
            tensor = args[tensor] if isinstance(tensor, int) else tensor
            if tensor.grad is None or id(tensor) in self.graph.zeroed:
                tensor.grad = Tensor(g.copy())
            else:  # as without compiling, gradients add up until someone forgets them
                tensor.grad = Tensor(tensor.grad.data + g)
        for function in self.graph.after:
            function()
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
            self.arrays[v] = arrays[0] if mine else arrays[0].copy("C")
            self._keep(v.data, self.arrays[v])
            return self.arrays[v]
        block = arrays[0].base if mine else None
        if block is None or not _lies_in(arrays, block):
            block, mine = self.graph.xp.concatenate([a.reshape(-1) for a in arrays]), False
        end = 0
        for t, a in zip(tensors, arrays):
            start, end = end, end + a.size
            self._keep(t, a if mine else block[start:end].reshape(a.shape))
        self.arrays[v] = block
        return block

    def _keep(self, tensor, array):
        _owned[id(array)] = tensor.data = array
        self.kept.append((tensor, array))


def _like(array):
    return array.shape, array.dtype


def _lies_in(arrays, block):
    """Whether `arrays` are the parts of `block`, one after the other."""
    place = backend.address(block)
    for a in arrays:
        if backend.address(a) != place:
            return False
        place += a.nbytes
    return place == backend.address(block) + block.nbytes


class _Draws:
    """A device's random generator, asked for at each draw, for `manual_seed` makes a new one."""

    def __init__(self, xp):
        self.xp = xp

    def __getattr__(self, name):
        return getattr(backend.generator(self.xp), name)


_halving = threading.RLock()  # held while halves run: the number of BLAS threads is the process's


class Halves:
    """A training step on two threads: each computes the gradients of half of the batch.

    Then they meet: the gradients become those of the whole batch, and one thread updates.  The
    results equal those of one thread to rounding: that is checked, on the first batch.
    """

    def __init__(self, function, args, passes):
        n = {len(x.data) if x.ndim else 0 for x in args}
        if len(n) != 1 or (rows := n.pop()) % 2 or not rows:
            raise ValueError(
                f"threads=2 halves all inputs; their lengths are {n or rows}, not even"
            )
        self.half = rows // 2
        halves = [Tensor(x.data[: self.half], requires_grad=x.requires_grad) for x in args]
        record = Record(function, halves, dry=True)
        gradients, update = self._cut(record)
        first = Program(gradients, passes)
        self.parts, self.update = [first, first.twin()], Program(update, passes)
        self.pool = ThreadPoolExecutor(1, "minidl-half")
        self.blas = _blas()
        halves = self._gradients([x.data for x in args])
        whole = Record(function, args)
        self.first, self.scale = whole.first, None
        for scale in (0.5, 1.0):  # a mean over the batch, or a sum
            pairs = zip(whole.meeting[1], *halves[1])
            if all(_equal(g.array, scale * (a + b)) for g, a, b in pairs):
                self.scale = scale
        if self.scale is None:
            raise ValueError("threads=2: the gradients of the halves do not make up the whole's")

    def _cut(self, record):
        """The graph up to where the gradients are known, and the one that updates with them."""
        if record.meeting is None or record.grads:
            raise ValueError(
                "threads=2 needs a step that leaves no gradients: that ends with "
                "optimizer.zero_grad(), and whose arguments have requires_grad=False"
            )
        at, grads = record.meeting
        before, after = Graph(record), Graph(record)
        before.lines, after.lines = record.lines[:at], record.lines[at:]
        before.updates, before.grads, before.after, before.numbers = {}, [], [], []
        before.grads = [(None, g.value) for g in grads]
        after.result = None
        given = {g.value: Value(g.array, "input") for g in grads}
        after = after.changed(after.lines, given)
        after.inputs = list(given.values())
        made = {line.out for line in after.lines}
        early = {line.out for line in before.lines}
        late = {v for line in after.lines for v in line.inputs()} - made
        if late & early or any(v in early for v in after.updates.values()):
            raise ValueError("threads=2: besides gradients, something else crosses to the update")
        if any(line.function in DRAWS for line in record.lines):
            raise ValueError("threads=2: random draws (dropout) would not be those of one thread")
        return before, after

    def fits(self):
        return self.parts[0].fits() and self.update.fits()

    changes = True

    def _gradients(self, arrays):
        """What both halves return: (results, gradients), each a pair."""
        halves = [[a[: self.half] for a in arrays], [a[self.half :] for a in arrays]]
        threads = [(lib, lib.get_num_threads()) for lib in self.blas]
        for lib, _ in threads:
            lib.set_num_threads(1)
        try:
            other = self.pool.submit(self.parts[1].run, halves[1])
            found = [self.parts[0].run(halves[0]), other.result()]
        finally:
            for lib, n in threads:
                lib.set_num_threads(n)
        return tuple(zip(*found))

    def __call__(self, args):
        with _halving:
            return self._run(args)

    def _run(self, args):
        results, grads = self._gradients([x.data for x in args])
        for a, b in zip(*grads):
            np.add(a, b, out=a)
            np.multiply(a, self.scale, out=a)
        self.update([Tensor(g) for g in grads[0]])
        found = iter([Tensor(np.asarray(self.scale * (a + b), a.dtype)) for a, b in zip(*results)])
        graph = self.parts[0].graph
        return mapped(graph.result, lambda v: next(found) if isinstance(v, Value) else v)


def _equal(a, b):
    return np.allclose(a, b, rtol=1e-3, atol=1e-5 * float(np.abs(a).max(initial=0)))


def _blas():
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise ImportError('threads=2 needs threadpoolctl: pip install "minidl[course]"') from error
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _modules(function):
    """The modules that a function refers to, whose `training` is part of a signature."""
    roots = [x for x in held([function], functions=True) if isinstance(x, Module)]
    return list({id(m): m for root in roots for _, m in root.modules()}.values())


class Compiled:
    """What `minidl.compile` makes of a function."""

    def __init__(self, function, passes, threads, cuda_graph):
        if threads not in (1, 2):
            raise ValueError(f"threads must be 1 or 2, got {threads}")
        self.function, self.passes, self.threads, self.programs = function, passes, threads, {}
        self.cuda_graph = cuda_graph
        self.modules, self.leaves = _modules(function), []
        self.turn = threading.RLock()  # whose call may change states now
        self.__doc__ = function.__doc__

    def __getstate__(self):  # a copy, or what is unpickled, records anew
        return {name: value for name, value in vars(self).items() if name != "turn"} | {
            "programs": {}
        }

    def __setstate__(self, state):
        vars(self).update(state, turn=threading.RLock())

    def __call__(self, *args):
        args = [a if isinstance(a, Tensor) else Tensor(a) for a in args]
        if backend.modes.record:  # inside another compiled function: a part of its record
            return self.function(*args)
        arrays = [a.data for a in args]
        if not all(map(backend.is_array, arrays)):
            kinds = [type(a).__name__ for a in arrays]
            raise TypeError(f"a compiled function takes Tensors and arrays, got {kinds}")
        xp = backend.array_module(*arrays)
        if self.threads == 2 and xp is not np:
            raise ValueError("threads=2 is for the CPU: a GPU computes in parallel by itself")
        if self.cuda_graph and arrays and xp is np:
            raise ValueError("cuda_graph=True is for arrays on a GPU; move them with .to('cuda')")
        program = self.programs.get(self._signature(args, xp))
        if program is None:
            return self._recorded(args, xp)
        with self.turn if program.changes else nullcontext():
            if program.fits():
                return program(args)
        return self._recorded(args, xp)

    def _signature(self, args, xp):
        """What must be the same for a record to serve again."""
        key = tuple((a.shape, a.dtype.char, a.requires_grad) for a in args)
        key += (backend.modes.recording, xp.__name__)
        key += tuple(module.training for module in self.modules)
        return key + tuple(x.grad is None for x in self.leaves)

    def _recorded(self, args, xp):
        """The result of a call that records, unless another thread has done so meanwhile."""
        with recording, self.turn:
            key = self._signature(args, xp)
            program = self.programs.get(key)
            if program is not None and program.fits():
                return program(args)
            if self.threads == 2:
                with _halving:
                    self.programs[key] = halves = Halves(self.function, args, self.passes)
                return halves.first
            record = Record(self.function, args, leaves=self.leaves)
            left = (leaf for leaf, _ in record.grads if isinstance(leaf, Tensor))
            self.leaves = list(dict.fromkeys([*self.leaves, *left]))
            self.programs.pop(key, None)
            if all(_like(v) == _like(new) for v, new in record.updates.items()):  # at the next call
                self.programs[key] = Program(Graph(record), self.passes, self.cuda_graph)
            return record.first

    @property
    def program(self):
        """The Program of the last signature that was recorded; with two threads, that of a half."""
        if not self.programs:
            raise RuntimeError("nothing is recorded yet: call the compiled function first")
        last = list(self.programs.values())[-1]
        return last.parts[0] if isinstance(last, Halves) else last

    source = property(lambda self: self.program.source)
    memory = property(lambda self: self.program.memory, doc="Bytes of arrays besides states.")

    @property
    def flops(self):
        """Floating-point operations of a run: see `costs.flops`."""
        return sum(map(costs.flops, self.program.graph.parts()))

    def profile(self, *args, repeats=20):
        """A table of how long each line takes on `args`, beside what this machine could do: see
        `costs.Profile`.  It runs on copies: parameters, states and random draws stay as they are.

        Raises ValueError when no call with such arguments was recorded.
        """
        arrays = [a.data if isinstance(a, Tensor) else a for a in args]
        given = [(a.shape, a.dtype) for a in arrays]
        for program in reversed(self.programs.values()):
            if [(v.shape, v.dtype) for v in program.graph.inputs] == given:
                return costs.profile(program, arrays, repeats)
        raise ValueError(f"no call with such arguments is recorded yet, call it first: {given}")

    def draw(self, path=None):
        """A figure of the graph before and after the passes: see `drawing.draw`."""
        return drawing.draw(self.program.record_graph, self.program.graph, path)


def compile(function, *, passes=PASSES, threads=1, cuda_graph=False):
    """`function` of Tensors or arrays, recorded at its first call for each signature (shapes,
    types, modes), simplified, and run from then on as one piece of NumPy source.

    A whole training step may be one function: gradients, optimiser, running statistics, random
    draws and schedules are recorded with it.  What is not an operation (print, an if on a value)
    happens at recording only; asking for a value raises RuntimeError.  Tensors from outside are
    read anew at each run, bare arrays are constants.  Results and `.grad` are as without
    compiling; parameters and states keep one array each, which runs change in place (`state_dict`
    copies).
    Several threads may call it: at once where a run changes nothing, in turns where it does.
    passes: functions Graph -> Graph, applied in turn.  threads: 1, or 2, each of which then works
    on half of the batch (the first axis of all inputs) with one BLAS thread; see Halves.
    cuda_graph: on a GPU, what runs between matrix products and sums is captured and replayed.
    """
    return Compiled(function, passes, threads, cuda_graph)
