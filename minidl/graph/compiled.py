"""`minidl.compile`: a function that is recorded once, and run as NumPy source afterwards.

The one rule of this file: a compiled function does to Tensors what the function itself would do,
whichever thread calls it.

Explained in course/20.
"""

import builtins
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace

import numpy as np

from ..engine import devices, intercept, random
from ..engine.changes import mark_changed
from ..engine.tensor import Tensor, result
from ..nn.module import Parameter
from . import costs, drawing
from .lines import DRAWS, Value, with_values
from .memory import Plan
from .passes import PASSES
from .record import EarlierGradients, as_result, record, recording
from .source import Source

_owned = weakref.WeakValueDictionary()  # id -> array: the memory of states of all programs


class Program:
    """A recorded function for one signature.

    source: the NumPy that runs.  graph: its lines.  memory: the bytes that its arrays take, without
    states, inputs and constants; each thread that runs it at the same time has as much again.
    changes: whether a run leaves anything behind (new states, gradients, counts).
    """

    def __init__(self, graph, passes=PASSES, cuda_graph=False):
        self.record_graph = graph
        for change in passes:
            graph = change(graph)
        self.graph = graph
        self.plan = Plan(graph)
        self.text = Source(self.plan, cuda_graph)
        self.source, self.memory = self.text.text, self.plan.size
        self.make = _function(self.source, "make")
        self.kept = []  # pairs (Tensor, the array that it keeps)
        self.arrays = {}  # state -> its array
        self.given = [self._state(v) if v.kind == "state" else v.data for v in self.text.given]
        written = [base for base in graph.written() if base.kind == "state"]
        self.stepped = graph.stepped
        self.changes = bool(graph.updates or graph.grads or graph.after or written)
        changed = {v.base: None for v in [*graph.updates, *written]}
        self.changed = [self.arrays[v] for v in changed if v in self.arrays]
        self.free = [self._step()]  # functions that no thread runs now, each with its own memory

    def _step(self):
        """The function that runs, with memory of its own, on the states that all share."""
        try:
            return self.make(_Draws(self.graph.xp), *self.given)
        except MemoryError as error:
            what = f"a compiled step, which needs {self.memory:,} bytes at once"
            raise devices.explained(error, what, self.graph.inputs) from error

    def twin(self):
        """A second program on the same states, with working memory of its own."""
        twin = copy(self)
        twin.free = [self._step()]
        return twin

    before = property(lambda self: str(self.record_graph))

    def fits(self):
        """If someone assigned `.data` since, copy it into the program's array; False if that cannot
        be, for it has another type or device.
        """
        for tensor, array in self.kept:
            new = tensor.data
            if new is array:
                continue
            if type(new) is not type(array) or _like(new) != _like(array):
                return False
            array[...] = new
            _hold(tensor, array)
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
            raise devices.explained(error, "a compiled step", arrays) from error
        finally:
            self.free.append(step)

    def __call__(self, args):
        arrays, grads = self.run([x.data for x in args])
        if self.changed:
            mark_changed(*self.changed)
        for (tensor, _), g in zip(self.graph.grads, grads):
            if isinstance(tensor, int):
                tensor = args[tensor]
            self._leave(tensor, g)
        for function in self.graph.after:
            function()
        return _filled(self.graph.result, map(as_result, arrays, self.graph.asks))

    def _leave(self, tensor, g):
        """Leave a gradient in `.grad`: they add up until someone forgets them."""
        if tensor.grad is None or id(tensor) in self.graph.zeroed:
            tensor.grad = Tensor(g.copy())
        else:
            tensor.grad = Tensor(tensor.grad.data + g)

    def _state(self, v):
        """The memory of a state: what another program made for it, or its own."""
        if v.base is not v:  # a part of a joined state
            self._state(v.base)
            return v.data.data
        if v not in self.arrays:
            if isinstance(v.data, list):
                self.arrays[v] = self._block(v.data)
            else:
                a = v.data.data
                self.arrays[v] = self._keep(v.data, a if _is_owned(a) else a.copy("C"))
        return self.arrays[v]

    def _block(self, tensors):
        """The memory of a state that is several Tensors, one after the other."""
        arrays = [t.data for t in tensors]
        block = arrays[0].base
        if all(map(_is_owned, arrays)) and block is not None and _lies_in(arrays, block):
            for t, a in zip(tensors, arrays):
                self._keep(t, a)
            return block
        block = self.graph.xp.concatenate([a.reshape(-1) for a in arrays])
        end = 0
        for t, a in zip(tensors, arrays):
            start, end = end, end + a.size
            self._keep(t, block[start:end].reshape(a.shape))
        return block

    def _keep(self, tensor, array):
        _owned[id(array)] = array
        _hold(tensor, array)
        self.kept.append((tensor, array))
        return array


def _hold(tensor, array):
    """tensor.data = array, where it holds the same numbers already: no change that is dated."""
    object.__setattr__(tensor, "data", array)


def _function(source, name):
    """The function `name` of a module's text."""
    space = {}
    exec(builtins.compile(source, "<minidl.compile>", "exec"), space)
    return space[name]


def _filled(result, found):
    """A result with what was found in place of its Values, in order."""
    found = iter(found)
    return with_values(result, lambda v: next(found))


def _like(array):
    return array.shape, array.dtype


def _is_owned(array):
    """Whether a program made this very array for a state."""
    return _owned.get(id(array)) is array


def _lies_in(arrays, block):
    """Whether `arrays` are the parts of `block`, one after the other."""
    place = devices.address(block)
    for a in arrays:
        if devices.address(a) != place:
            return False
        place += a.nbytes
    return place == devices.address(block) + block.nbytes


class _Draws:
    """A device's random generator, asked for at each draw, for `manual_seed` makes a new one."""

    def __init__(self, xp):
        self.xp = xp

    def __getattr__(self, name):
        return getattr(random.generator(self.xp), name)


_halving = threading.RLock()  # held while halves run: the number of BLAS threads is the process's


class Halves:
    """A training step on two threads: each computes the gradients of half of the batch.

    Then they meet: the gradients become those of the whole batch, and one thread updates.  The
    results equal those of one thread to rounding: that is checked, on the first batch.
    """

    changes = True

    def __init__(self, function, args, passes):
        self.half = _half(args)
        self.blas = _blas()
        halves = [Tensor(x.data[: self.half], requires_grad=x.requires_grad) for x in args]
        gradients, update = _cut(record(function, halves, dry=True))
        first = Program(gradients, passes)
        self.parts = [first, first.twin()]
        self.update = Program(update, passes)
        self.pool = ThreadPoolExecutor(1, "minidl-half")
        _, grads = self._gradients([x.data for x in args])
        whole = record(function, args)
        self.first = whole.first
        self.whole = whole
        self.stepped = whole.stepped
        self.scale = _scale([g.array for g in whole.meeting[1]], grads)

    def fits(self):
        return self.parts[0].fits() and self.update.fits()

    def _gradients(self, arrays):
        """What both halves return: (results, gradients), each a pair."""
        low = [a[: self.half] for a in arrays]
        high = [a[self.half :] for a in arrays]
        with _one_thread(self.blas):
            other = self.pool.submit(self.parts[1].run, high)
            found = [self.parts[0].run(low), other.result()]
        return tuple(zip(*found))

    def __call__(self, args):
        with _halving:
            return self._run(args)

    def _run(self, args):
        results, grads = self._gradients([x.data for x in args])
        for a, b in zip(*grads):
            np.add(a, b, out=a)
            np.multiply(a, self.scale, out=a)
        self.update([result(g) for g in grads[0]])
        means = [np.asarray(self.scale * (a + b), a.dtype) for a, b in zip(*results)]
        graph = self.parts[0].graph
        return _filled(graph.result, map(as_result, means, graph.asks))


def _half(args):
    """Half the length that all arguments have."""
    lengths = {len(x.data) if x.ndim else 0 for x in args}
    n = max(lengths, default=0)
    if len(lengths) != 1 or n == 0 or n % 2 == 1:
        found = n if len(lengths) == 1 else lengths
        raise ValueError(f"threads=2 halves all inputs; their lengths are {found}, not even")
    return n // 2


def _cut(record):
    """The graph up to where the gradients are known, and the one that updates with them."""
    if record.meeting is None or record.grads:
        raise ValueError(
            "threads=2 needs a step that leaves no gradients: that ends with "
            "optimizer.zero_grad(), and whose arguments have requires_grad=False"
        )
    at, grads = record.meeting
    whole = record.graph()
    before = replace(
        whole, lines=whole.lines[:at], updates={}, after=[], numbers=[],
        grads=[(None, g.value) for g in grads],
    )  # fmt: skip
    given = {g.value: Value(g.array, "input") for g in grads}
    after = replace(whole, inputs=list(given.values()), result=None)
    after = after.changed(whole.lines[at:], given)
    early = {line.out for line in before.lines}
    late = {v for line in after.lines for v in line.inputs()} | set(after.updates.values())
    if late & early:
        raise ValueError("threads=2: besides gradients, something else crosses to the update")
    if any(line.function in DRAWS for line in whole.lines):
        raise ValueError("threads=2: random draws (dropout) would not be those of one thread")
    return before, after


def _scale(whole, halves):
    """What makes the sum of both halves' gradients the whole batch's: 1/2 if the loss is a mean."""
    for scale in (0.5, 1.0):
        if all(_equal(g, scale * (a + b)) for g, a, b in zip(whole, *halves)):
            return scale
    raise ValueError("threads=2: the gradients of the halves do not make up the whole's")


def _equal(a, b):
    return np.allclose(a, b, rtol=1e-3, atol=1e-5 * float(np.abs(a).max(initial=0)))


def _blas():
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError as error:
        raise ImportError('threads=2 needs threadpoolctl: pip install "minidl[course]"') from error
    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextmanager
def _one_thread(blas):
    """Inside, products take one thread each."""
    before = [lib.get_num_threads() for lib in blas]
    for lib in blas:
        lib.set_num_threads(1)
    try:
        yield
    finally:
        for lib, n in zip(blas, before):
            lib.set_num_threads(n)


class Compiled:
    """What `minidl.compile` makes of a function."""

    def __init__(self, function, passes, threads, cuda_graph):
        if threads not in (1, 2):
            raise ValueError(f"threads must be 1 or 2, got {threads}")
        self.function = function
        self.passes, self.threads, self.cuda_graph = passes, threads, cuda_graph
        self.programs = {}  # signature -> Program, or Halves
        self.modules = []  # those that it called: each of their modes has a record of its own
        self.parameters = []  # and those that it used: so has each choice of what is trained
        self.leaves = []  # Tensors that the function is known to leave gradients in
        self.turn = threading.RLock()  # whose call may change states now
        self.__doc__ = function.__doc__

    def __getstate__(self):  # a copy, or what is unpickled, records anew
        kept = {name: value for name, value in vars(self).items() if name != "turn"}
        return kept | {"programs": {}}

    def __setstate__(self, state):
        vars(self).update(state, turn=threading.RLock())

    def __call__(self, *args):
        args = [a if isinstance(a, Tensor) else result(a) for a in args]
        if intercept.modes.tracing:  # inside another compiled function: a part of its record
            return self.function(*args)
        xp = self._array_module(args)
        program = self.programs.get((self._given(args, xp), self._grads(), self._modes()))
        if program is None:
            return self._recorded(args, xp)
        if any(p.grad is not None for p in program.stepped):  # which a record does not know
            return self.function(*args)
        with self.turn if program.changes else nullcontext():
            if program.fits():
                return program(args)
        return self._recorded(args, xp)

    def _array_module(self, args):
        """The module that the arguments' arrays belong to, checked."""
        arrays = [a.data for a in args]
        if not all(map(devices.is_array, arrays)):
            kinds = [type(a).__name__ for a in arrays]
            raise TypeError(f"a compiled function takes Tensors and arrays, got {kinds}")
        xp = devices.array_module(*arrays)
        if self.threads == 2 and xp is not np:
            raise ValueError("threads=2 is for the CPU: a GPU computes in parallel by itself")
        if self.cuda_graph and arrays and xp is np:
            raise ValueError("cuda_graph=True is for arrays on a GPU; move them with .to('cuda')")
        return xp

    # What must be the same for a record to serve again, in three parts.

    def _given(self, args, xp):
        inputs = tuple((a.shape, a.dtype.char, a.requires_grad) for a in args)
        return inputs, intercept.modes.recording, xp.__name__

    def _grads(self):
        return tuple(leaf.grad is None for leaf in self.leaves)

    def _modes(self):
        asks = [p.requires_grad for p in self.parameters]
        return tuple([module.training for module in self.modules] + asks)

    def _note(self, found):
        """Note the modules and parameters that a record met, on which its signature depends."""
        met = [state.tensor for state in found.states.values()]
        met = [t for t in met if t.requires_grad or isinstance(t, Parameter)]
        self.modules = list(dict.fromkeys([*self.modules, *found.modules]))
        self.parameters = list(dict.fromkeys([*self.parameters, *met]))

    def _recorded(self, args, xp):
        """The result of a call that records, or without recording where that cannot be right."""
        try:
            return self._record(args, xp)
        except EarlierGradients:
            return self.function(*args)

    def _record(self, args, xp):
        """The result of a call that records, unless another thread has done so meanwhile."""
        with recording, self.turn:
            given, grads = self._given(args, xp), self._grads()
            program = self.programs.get((given, grads, self._modes()))
            if program is not None and program.fits():
                return program(args)
            if self.threads == 2:
                with _halving:
                    halves = Halves(self.function, args, self.passes)
                self._note(halves.whole)
                self.programs[given, grads, self._modes()] = halves
                return halves.first
            found = record(self.function, args, leaves=self.leaves)
            self._note(found)
            key = given, grads, self._modes()
            left = [leaf for leaf, _ in found.grads if isinstance(leaf, Tensor)]
            self.leaves = list(dict.fromkeys([*self.leaves, *left]))
            self.programs.pop(key, None)
            if all(_like(v) == _like(new) for v, new in found.updates.items()):  # at the next call
                self.programs[key] = Program(found.graph(), self.passes, self.cuda_graph)
            return found.first

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
