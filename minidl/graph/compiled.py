"""`minidl.compile`: a function that is traced once, and run as NumPy source afterwards.

The one rule of this file: a compiled function does to Tensors what the function itself would do,
whichever thread calls it.

Explained in course/20.
"""

from __future__ import annotations

import builtins
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import numpy as np

from .. import advice
from ..engine import devices, intercept, random
from ..engine.changes import mark_changed
from ..engine.tensor import Tensor, array_of, result
from ..nn.module import Module, Parameter, writes
from . import costs, drawing
from .lines import DRAWS, Graph, Value, mapped, with_values
from .memory import Plan
from .passes import PASSES, Pass
from .source import Source
from .trace import EarlierGradients, as_result, inputs, trace, tracing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")  # the parameters of a function, and what it returns
R = TypeVar("R")
WHOLE = (bool, int, str, type(None), np.bool_, np.integer)  # another one has another program
MANY = 50  # traces: then a warning
_OFTEN = (
    "{} was traced {} times, each of which takes as long as many calls: every other shape, whole "
    "number or text among its arguments, and every other setting of a module or optimiser, has a "
    "program of its own; give a number that changes often as a float, or as an array"
)
_owned = weakref.WeakValueDictionary()  # id -> array: the memory of states of all programs


class Program:
    """A traced function for one signature.

    source: the NumPy that runs.  traced_graph, graph: the lines before and after the passes.
    memory: the bytes that its arrays take, without states, inputs and constants; each thread that
    runs it at the same time has as much again.  changes: whether a run leaves anything behind (new
    states, gradients, counts).  stepped: Tensors whose gradients it must not find there before.
    """

    def __init__(self, graph: Graph, passes: Sequence[Pass] = PASSES, cuda_graph: bool = False):
        self.traced_graph = graph
        for change in passes:
            graph = change(graph)
        self.graph = graph
        self.plan = Plan(graph)
        self.text = Source(self.plan, cuda_graph)
        self.source = self.text.text
        self.memory: int = self.plan.size
        self.make = _made(self.source)
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

    def twin(self) -> Program:
        """Another Program that does the same to the same states, in memory of its own: so two
        threads can run one each, and keep what they found.
        """
        twin = copy(self)
        twin.free = [self._step()]
        return twin

    @property
    def before(self) -> str:
        """The lines as they were traced."""
        return str(self.traced_graph)

    def outdated(self) -> bool:
        """Whether a setting is no longer what was read while it was traced."""
        return self.graph.settings is not None and self.graph.settings.changed()

    def fits(self) -> bool:
        """Whether it can run now: no setting is outdated, and each state has the type and device
        that it had.  What someone has assigned to `.data` since is copied into the program's array.
        """
        if self.outdated():
            return False
        for tensor, array in self.kept:
            new = tensor.data
            if new is array:
                continue
            if type(new) is not type(array) or _like(new) != _like(array):
                return False
            array[...] = new
            _hold(tensor, array)
        return True

    def run(self, arrays: Sequence) -> tuple[tuple, tuple]:
        """Pair (results, gradients) for the `arrays` and floats of the arguments.

        The results are copies.  The gradients lie in the program's memory, where the next run
        overwrites them.  Several threads may be in it at once.
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

    def __call__(self, given):
        arrays, grads = self.run([array_of(x) for x in given])
        if self.changed:
            mark_changed(*self.changed)
        for (tensor, _), g in zip(self.graph.grads, grads):
            if isinstance(tensor, int):
                tensor = given[tensor]
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
        block = self.graph.xp.concatenate([a.reshape(-1) for a in arrays])  # (all elements,)
        end = 0
        for t, a in zip(tensors, arrays):
            start, end = end, end + a.size
            self._keep(t, block[start:end].reshape(a.shape))  # (elements,) -> (..., n)
        return block

    def _keep(self, tensor, array):
        _owned[id(array)] = array
        _hold(tensor, array)
        self.kept.append((tensor, array))
        return array


def _hold(tensor, array):
    """tensor.data = array, where it holds the same numbers already: no change that is dated."""
    object.__setattr__(tensor, "data", array)


def _made(source):
    """The function `make` of a program's text."""
    space = {}
    exec(builtins.compile(source, "<minidl.compile>", "exec"), space)
    return space["make"]


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
    whole: the Trace of that.
    """

    changes = True

    def __init__(self, function, args, passes):
        given = inputs(args)
        self.half = _half(given)
        self.blas = _blas()
        gradients, update = _cut(trace(function, *mapped(args, self._low), dry=True))
        first = Program(gradients, passes)
        self.parts = [first, first.twin()]
        self.update = Program(update, passes)
        self.pool = ThreadPoolExecutor(1, "minidl-half")
        _, grads = self._gradients([array_of(x) for x in given])
        self.whole = trace(function, *args)
        self.stepped = self.whole.stepped
        _, wanted = self.whole.first_update
        self.factor = _factor([g.array for g in wanted], *grads)

    def outdated(self) -> bool:
        return self.parts[0].outdated()

    def fits(self) -> bool:
        return self.parts[0].fits() and self.update.fits()

    def _low(self, x):
        """The first half of a Tensor; all else as it is."""
        if not isinstance(x, Tensor):
            return x
        return Tensor(x.data[: self.half], requires_grad=x.requires_grad)

    def _gradients(self, arrays):
        """What both halves return: (results, gradients), each a pair."""
        low, high = list(arrays), list(arrays)
        for i, a in enumerate(arrays):
            if isinstance(a, np.ndarray):
                low[i], high[i] = a[: self.half], a[self.half :]
        with _one_thread(self.blas):
            other = self.pool.submit(self.parts[1].run, high)
            found = [self.parts[0].run(low), other.result()]
        return tuple(zip(*found))

    def __call__(self, given):
        with _halving:
            results, grads = self._gradients([array_of(x) for x in given])
            for a, b in zip(*grads):
                np.add(a, b, out=a)
                np.multiply(a, self.factor, out=a)
            self.update([result(g) for g in grads[0]])
            means = [self._mean(a, b) for a, b in zip(*results)]
            graph = self.parts[0].graph
            return _filled(graph.result, map(as_result, means, graph.asks))

    def _mean(self, low, high):
        """A result of both halves as one of the whole; a number is the same in both."""
        if isinstance(low, float):
            return low
        return np.asarray(self.factor * (low + high), low.dtype)


def _half(given):
    """Half the length that all arrays have.  Raises ValueError where that cannot be."""
    lengths = {len(x.data) if x.ndim else 0 for x in given if isinstance(x, Tensor)}
    if len(lengths) == 1:
        n = lengths.pop()
        if n > 0 and n % 2 == 0:
            return n // 2
        lengths = n
    raise ValueError(f"threads=2 halves all inputs; their lengths are {lengths}, not even")


def _cut(found):
    """A Trace's Graph in two: the lines up to where the gradients are known, and those after,
    which take the gradients as inputs and update with them.

    Raises ValueError where gradients are left, where the update needs anything else of what came
    before, and where random draws would differ from those of the whole batch.
    """
    if found.first_update is None or found.grads:
        raise ValueError(
            "threads=2 needs a step that leaves no gradients: that ends with "
            "optimizer.zero_grad(), and whose arguments have requires_grad=False"
        )
    at, grads = found.first_update
    whole = found.graph()
    before = replace(
        whole, lines=whole.lines[:at], updates={}, after=[], numbers=[],
        grads=[(None, g.value) for g in grads],
    )  # fmt: skip
    given = {g.value: Value(g.array, "input") for g in grads}
    after = replace(whole, inputs=list(given.values()), result=None)
    after = after.changed(whole.lines[at:], given)
    early = {line.out for line in before.lines} | {*whole.inputs}
    late = {v for line in after.lines for v in line.inputs()} | set(after.updates.values())
    if late & early:
        raise ValueError("threads=2: besides gradients, something else crosses to the update")
    if any(line.function in DRAWS for line in whole.lines):
        raise ValueError("threads=2: random draws (dropout) would not be those of one thread")
    return before, after


def _factor(whole, low, high):
    """The number for which factor * (low + high), the gradients of both halves of a batch, is
    `whole`, the batch's: 0.5 where the loss is a mean over the samples, 1 where it is a sum.

    Raises ValueError where it is neither.
    """
    for factor in (0.5, 1.0):
        if all(_equal(g, factor * (a + b)) for g, a, b in zip(whole, low, high)):
            return factor
    raise ValueError("threads=2: the gradients of the halves do not make up the whole's")


def _equal(a, b):
    """Whether b is a but for rounding, of which a product of many terms has more."""
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


class Compiled(Generic[P, R]):
    """What `minidl.compile` makes of a function: called alike, it gives the same.

    function: the one that was given.  passes, threads, cuda_graph: as in `compile`.  programs: dict
    signature -> Program (with two threads: Halves), one for each that was traced.
    """

    def __init__(
        self, function: Callable[P, R], passes: Sequence[Pass], threads: int, cuda_graph: bool
    ):
        if threads not in (1, 2):
            raise ValueError(f"threads must be 1 or 2, got {threads}")
        self.function = function
        self.passes, self.threads, self.cuda_graph = passes, threads, cuda_graph
        self.programs: dict[Any, Program] = {}
        # The modules that it uses, each mode of which has its own program; the last write to one,
        # and the modes then.
        self.modules: list[Module] = []
        self.modes: tuple[object, tuple[bool, ...]] = object(), ()
        # The parameters that it uses: each choice of what is trained has its own program, too.
        self.parameters: list[Parameter] = []
        self.leaves: list[Tensor] = []  # Tensors that the function is known to leave gradients in
        self.traces = 0  # how often it was traced
        self.turn = threading.RLock()  # whose call may change states now
        self.__doc__ = function.__doc__

    def __getstate__(self) -> dict[str, Any]:  # a copy, or what is unpickled, traces anew
        kept = {name: value for name, value in vars(self).items() if name != "turn"}
        return kept | {"programs": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, turn=threading.RLock())

    def __call__(self, *args: P.args, **options: P.kwargs) -> R:
        """What the function gives for these arguments: Tensors, arrays, numbers, texts, None, and
        lists, tuples and dicts of such.  An array arrives as a Tensor.

        Raises TypeError for anything else among them.
        """
        if intercept.modes.tracing:  # inside another compiled function it is a part of that
            return self._plainly(args, options)
        form, given = _split(args, options)
        program = self.programs.get(self._signature(form))
        if program is None:
            return self._traced(args, options)
        if any([p.grad is not None for p in program.stepped]):
            return self._plainly(args, options)  # gradients from before, of which no program knows
        with self.turn if program.changes else nullcontext():
            if program.fits():
                return program(given)
        return self._traced(args, options)

    def _plainly(self, args, options):
        """What the function itself gives."""
        args, options = mapped((args, options), _as_given)
        return self.function(*args, **options)

    def _signature(self, form, grads=None):
        """What must be the same for a program to serve again: the form of the arguments, which
        gradients are there, which modules train, and which parameters.

        grads: what `_grads` said before the call that is traced, if it is over.
        """
        written, modes = self.modes
        if written is not writes.last:
            written = writes.last
            modes = tuple([module.training for module in self.modules])
            self.modes = written, modes
        asks = [p.requires_grad for p in self.parameters]
        if grads is None:
            grads = self._grads()
        return intercept.modes.recording, tuple(form), grads, modes, tuple(asks)

    def _grads(self):
        return tuple([leaf.grad is None for leaf in self.leaves])

    def _traced(self, args, options):
        """The result of a call that traces, or of the plain function where no program can do
        what it does.
        """
        args, options = mapped((args, options), _as_given)
        form, given = _split(args, options)
        self._check(given)
        with tracing, self.turn:
            program = self.programs.get(self._signature(form))
            if program is not None and program.fits():  # another thread has traced meanwhile
                return program(given)
            try:
                return self._trace((args, options), form)
            except EarlierGradients:
                pass
        return self.function(*args, **options)

    def _check(self, given):
        """Raise ValueError where the arguments lie on a device that the options are not for."""
        arrays = [x.data for x in given if isinstance(x, Tensor)]
        xp = devices.array_module(*arrays)
        if self.threads == 2 and xp is not np:
            raise ValueError("threads=2 is for the CPU: a GPU computes in parallel by itself")
        if self.cuda_graph and arrays and xp is np:
            raise ValueError("cuda_graph=True is for arrays on a GPU; move them with .to('cuda')")

    def _trace(self, args, form):
        """The result of a call that is traced; its program is kept."""
        grads = self._grads()
        if self.threads == 2:
            with _halving:
                program = Halves(self.function, args, self.passes)
            found = program.whole
        else:
            program = None
            found = trace(self.function, *args, leaves=self.leaves)
            if all(_like(v) == _like(new) for v, new in found.updates.items()):
                program = Program(found.graph(), self.passes, self.cuda_graph)
        self._note(found)
        key = self._signature(form, grads)
        self.programs.pop(key, None)
        if program is not None:  # else a state became another type: the next call traces again
            self.programs[key] = program
        return found.first

    def _note(self, found):
        """Note what a Trace met on which signatures depend; forget programs that are outdated."""
        met = [state.tensor for state in found.states.values()]
        met = [t for t in met if t.requires_grad or isinstance(t, Parameter)]
        left = [leaf for leaf, _ in found.grads if isinstance(leaf, Tensor)]
        modules = [part for part in found.settings.met if isinstance(part, Module)]
        self.modules = list(dict.fromkeys([*self.modules, *modules]))
        self.modes = object(), ()
        self.traces += 1
        if self.traces == MANY:
            warnings.warn(_OFTEN.format(self.function, MANY), stacklevel=5)
        self.parameters = list(dict.fromkeys([*self.parameters, *met]))
        self.leaves = list(dict.fromkeys([*self.leaves, *left]))
        kept = {key: old for key, old in self.programs.items() if not old.outdated()}
        self.programs = kept

    @property
    def program(self) -> Program:
        """The Program that was traced last; with two threads, that of a half.

        Raises RuntimeError before the first call.
        """
        if not self.programs:
            raise RuntimeError("nothing is traced yet: call the compiled function first")
        last = list(self.programs.values())[-1]
        if isinstance(last, Halves):
            return last.parts[0]
        return last

    @property
    def source(self) -> str:
        """The NumPy that runs, as text."""
        return self.program.source

    @property
    def memory(self) -> int:
        """The bytes that the arrays of a run take, without states, inputs and constants."""
        return self.program.memory

    @property
    def flops(self) -> int:
        """The floating-point operations of a run: see `costs.flops`."""
        return sum(map(costs.flops, self.program.graph.parts()))

    def profile(self, *args: Any, repeats: int = 20, **options: Any) -> costs.Profile:
        """A table of how long each line takes on these arguments, beside what this machine could
        do: see `costs.Profile`.  It runs on copies: parameters, states and random draws stay as
        they are.

        Raises ValueError when no call with such arguments was traced.
        """
        _, given = _split(args, options)
        arrays = [array_of(x) for x in given]
        given = [_like(Value(a)) for a in arrays]
        for program in reversed(self.programs.values()):
            if [_like(v) for v in program.graph.inputs] == given:
                return costs.profile(program, arrays, repeats)
        raise ValueError(f"no call with such arguments is traced yet, call it first: {given}")

    def draw(self, path: str | os.PathLike[str] | None = None) -> Figure:
        """A figure of the graph before and after the passes: see `drawing.draw`."""
        return drawing.draw(self.program.traced_graph, self.program.graph, path)


def _as_given(a):
    """An array as a Tensor that holds it, NumPy's float as Python's; all else as it is."""
    if isinstance(a, np.floating):
        return float(a)
    if devices.is_array(a):
        return result(a)
    return a


def _split(args, options):
    """The arguments in two: (their form, which belongs to the signature, what is given anew at each
    call: the Tensors and floats in them).
    """
    given = []
    form = [_form(a, given) for a in args]
    if options:
        form += "options", _form(options, given)
    return form, given


def _form(a, given):
    """What a signature says of an argument; Tensors and floats in it are appended to `given`."""
    if isinstance(a, Tensor):
        given.append(a)
        array = a.data  # a Tensor's own shape is a call
        return type(array), array.shape, array.dtype.char, a.requires_grad
    if isinstance(a, dict):
        return dict, *[(key, _form(part, given)) for key, part in a.items()]
    if isinstance(a, (list, tuple)):
        return type(a), *[_form(part, given) for part in a]
    if isinstance(a, (float, np.floating)):
        given.append(float(a))
        return float
    if isinstance(a, WHOLE):
        return type(a), a
    if devices.is_array(a):
        return _form(result(a), given)
    raise TypeError(
        "a compiled function takes Tensors, arrays, numbers, texts, None, and lists, tuples and "
        f"dicts of these, got a {type(a).__name__}: use it as a variable of the function"
    )


def compile(
    function: Callable[P, R],
    *,
    passes: Sequence[Pass] = PASSES,
    threads: int = 1,
    cuda_graph: bool = False,
) -> Compiled[P, R]:
    """`function`, which runs as one piece of NumPy source from its second call on.

    The first call of each signature (shapes, types, whole numbers, texts, modes) is traced, and
    simplified.

    A whole training step may be one function: gradients, optimiser, running statistics, random
    draws and schedules are traced with it.  What is not an operation (print, an if on a value)
    happens while it is traced only; asking for a value raises RuntimeError.
    Arguments: Tensors, arrays and floats, which are given anew at each call; other numbers, texts
    and None, which belong to the signature; lists, tuples and dicts of these.
    Tensors from outside are read anew at each run.  Bare arrays and plain variables from there are
    constants: a global number keeps the value that it had when the function was traced, so give
    what changes as an argument, or keep it in a Tensor, a module or an optimiser.
    Where a module or an optimiser has other attributes than when it was traced, it is traced anew.
    Results and `.grad` are as without compiling; parameters and states keep one array each, which
    runs change in place (`state_dict` copies).
    Several threads may call it: at once where a run changes nothing, in turns where it does.
    passes: functions Graph -> Graph, applied in turn.  threads: 1, or 2, each of which then works
    on half of the batch (the first axis of all inputs) with one BLAS thread; see Halves.
    cuda_graph: on a GPU, what runs between matrix products and sums is captured and replayed.
    """
    if not callable(function) or not all(map(callable, passes)):
        raise TypeError(
            "compile: expected a function or a Module, and passes that are functions Graph -> "
            f"Graph, got {function!r:.60} and {passes!r:.60}"
        )
    return Compiled(function, passes, threads, cuda_graph)


advice.functions(__name__)
