"""A run of a function, written down: where its inputs come from, and where its results go.

The one rule of this file: what is traced is seen by the thread that traces, and by no other.  To
all others a Tensor holds its plain array throughout: the old one, and afterwards the new one, or
after an error still the old one.

Explained in course/20.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from ..engine import devices, intercept, random
from ..engine.intercept import intercepted
from ..engine.tensor import Primitive, Tensor, array_of, result
from .lines import Graph, Value, flat, mapped
from .settings import Settings
from .traced import Traced, plain, write

INPUT = (Tensor, float)  # arguments that are given anew at each run
tracing = threading.RLock()  # held while a function is traced: one thread at a time writes


def _by_thread(slot):
    """The property `slot` of a Tensor that is being traced: one thing for the thread that
    traces it, another for the rest.
    """
    own = getattr(Tensor, slot)  # what reads and writes the Tensor itself

    def state(self):
        ours = intercept.modes.tracing
        return ours and ours.states.get(id(self))

    def get(self):
        mine = state(self)
        if mine is None:
            return own.__get__(self)
        return getattr(mine, slot)

    def put(self, new):
        mine = state(self)
        if mine is None:
            own.__set__(self, new)
        else:
            setattr(mine, slot, new)

    return property(get, put)


class _Recorded:
    """What a Tensor's class is mixed with while it is traced."""

    __slots__ = ()
    data, grad = _by_thread("data"), _by_thread("grad")

    def __reduce_ex__(self, protocol):  # a copy that another thread makes meanwhile is ordinary
        make, _, *rest = super().__reduce_ex__(protocol)
        return make, (_unmixed(type(self)),), *rest


@cache
def _mixed(kind):
    return type(kind.__name__, (_Recorded, kind), {"__slots__": ()})


def _unmixed(kind):
    return kind.__bases__[1]


@dataclass
class State:
    """A Tensor from outside while it is traced.

    before: its array.  value: the Value of that.  data, grad: what the tracing thread sees as
    the Tensor's own.  inside: whether it was made while this was traced.
    """

    tensor: Tensor
    before: object
    value: Value
    data: Traced
    inside: bool
    grad: Tensor | None = None


@dataclass(kw_only=True)
class Trace(Graph):
    """A run written down, by `trace`: a Graph, and what its Tensors are until it is done.

    states: id of a Tensor from outside -> its State.  first_update: None, or, where an optimiser
    steps for the first time, (number of lines before that, the gradients that it uses, Traced).
    first: what the function returned at this run, as its caller gets it.
    """

    function: object
    began: int  # Tensors with a larger number are made inside
    settings: Settings = field(default_factory=Settings)
    placed: bool  # whether an argument says on which device
    had: dict  # ids of Tensors that the function is known to leave gradients in -> the gradient now
    states: dict = field(default_factory=dict)
    constants: dict = field(default_factory=dict)  # id of a bare array -> its Value
    outside: set = field(default_factory=set)  # ids of the arrays of Tensors made before
    blocks: dict = field(default_factory=dict)  # ids of Tensors updated as one -> (array, parts)
    first_update: tuple | None = None
    frame: object = None  # that of the traced function, whose variables give names
    first: object = None

    def graph(self) -> Graph:
        """The Graph of this run, without the Tensors that it was made with."""
        return Graph(**{part.name: getattr(self, part.name) for part in fields(Graph)})

    # What the rest of minidl calls while `intercept.modes.tracing` is this trace.

    def capture(self, tensor):
        """The Traced data of a Tensor that no operation of this trace made."""
        if not isinstance(tensor.data, Traced):
            self._take(tensor)
        return tensor.data

    def _take(self, tensor):
        array = tensor.data
        if not self.placed:  # without arrays given, a function runs where its Tensors are
            self.xp = devices.array_module(array)
        if not self.made(tensor):
            self.outside.add(id(array))
        if tensor.grad is None and self.had.get(id(tensor)) is not None:
            self.zeroed.add(id(tensor))
        value = Value(array, "state", data=tensor)
        state = State(tensor, array, value, Traced(array, value), self.made(tensor))
        if tensor.grad is not None and tensor.grad.number > self.began:  # it was left inside
            state.grad = tensor.grad
            tensor.grad = None
        self.states[id(tensor)] = state
        tensor.__class__ = _mixed(type(tensor))

    def made(self, tensor):
        """Whether a Tensor was made while this was traced."""
        state = self.states.get(id(tensor))
        if state is not None:
            return state.inside
        return tensor.number > self.began

    def fresh(self, function):
        """The number function(), asked for again at each run."""
        number = function()
        if isinstance(number, Traced):
            raise RuntimeError(
                "a number that each run asks for anew, such as a learning rate, was made of an "
                "argument of the compiled function: set it before the call, not inside"
            )
        value = Value(number, "number", data=function)
        self.numbers.append(value)
        return Traced(number, value)

    def effect(self, function, *args):
        """Call function(*args), now and at each run; without arguments, after the run."""
        if not args:
            self.after.append(function)
            return None
        if any(isinstance(a, Traced) for a in args):
            return write(function, *args)
        return function(*args)

    def update(self, calls, t):
        """What Optimizer.step does.  Where elements do not meet, all parameters are one array:
        then an update takes a few calls, not a few for each parameter.
        """
        found = []
        for optimizer, jobs, lr in calls:
            self.settings.note(optimizer)
            for p, _ in jobs:
                if id(p) not in self.zeroed:
                    self.stepped.append(p)
                    if _PLAIN_GRAD.__get__(p) is not None:
                        raise EarlierGradients
            for group in _groups(optimizer, jobs):
                parameters = [p for p, _ in group]
                slots = {slot: [state[slot] for _, state in group] for slot in optimizer.slots}
                p = self._joined(parameters)
                state = {slot: self._joined(tensors) for slot, tensors in slots.items()}
                g = _one([p.grad.data for p in parameters])
                found.append((optimizer, lr, parameters, slots, p, g, state))
        if self.first_update is None:
            self.first_update = len(self.lines), [g for *_, g, _ in found]
        for optimizer, lr, parameters, slots, p, g, state in found:
            new = optimizer.update(p, g, state, lr, t)
            self._divide(parameters, new)
            for slot, tensors in slots.items():
                self._divide(tensors, state[slot])

    def value(self, a):
        """The Value of an argument; what is no array stays as it is."""
        if isinstance(a, Traced):
            return a.value
        if not devices.is_array(a):
            return a
        found = self.constants.setdefault(id(a), Value(a, "constant", data=a))
        if self.outside & self.constants.keys():
            raise RuntimeError(
                "the .data of a Tensor from outside stands beside one that is traced, as a bare "
                "array, which would be a constant: use the Tensor itself, in an operation"
            )
        return found

    # Parameters as one array.

    def _joined(self, tensors):
        """One array of all elements of `tensors`, which become parts of one state."""
        parts = [self.capture(t) for t in tensors]
        if len(parts) == 1:
            return parts[0]
        whole, known = self.blocks.get(_ids(tensors), (None, []))
        if len(known) == len(parts) and all(a is b for a, b in zip(parts, known)):
            return whole
        values = [self.states[id(t)].value for t in tensors]
        if any(part.value is not value.base for part, value in zip(parts, values)):
            return _one(parts)  # changed before
        block = self.xp.concatenate([part.array.reshape(-1) for part in parts])  # (all elements,)
        whole = Value(block, "state", data=list(tensors))
        for value in values:
            value.base = whole
        return Traced(block, whole)

    def _divide(self, tensors, array):
        """Give `tensors` the new array that `_joined` made of them."""
        if len(tensors) == 1:
            tensors[0].data = array
            return
        for t, end in zip(tensors, accumulate(t.size for t in tensors)):
            t.data = array[end - t.size : end].reshape(t.shape)  # (elements,) -> (..., n)
        whole = self.states[id(tensors[0])].value.base
        if isinstance(whole.data, list) and _ids(whole.data) == _ids(tensors):
            self.updates[whole] = array.value
            self.blocks[_ids(tensors)] = array, [t.data for t in tensors]

    # The steps of `trace`.

    def handle(self, op, inputs, attrs):
        """An operation while this trace is written: Tensors from outside are captured."""
        if self.frame is None:
            self.frame = _frame(self.function)
            if self.frame:
                self.settings.note_variables(self.frame)
        for x in inputs:
            if isinstance(x, Tensor) and x.op is None:
                self.capture(x)
        if any(isinstance(x, (Tensor, Traced)) for x in inputs):
            inputs = [self._constant(x) for x in inputs]
        return op(*inputs, **attrs)

    def _constant(self, x):
        """A bare array as a Traced one; all else as it is."""
        if devices.is_array(x) and not isinstance(x, Traced):
            return Traced(x, self.value(x))
        return x

    def returned(self, found):
        """What the function gave, with Values in place of Tensors."""
        for r in flat(found):
            if isinstance(r, Tensor) and r.op is None:
                self.capture(r)
        made = [r for r in flat(found) if isinstance(r, (Tensor, Traced))]
        self.asks = [getattr(r, "requires_grad", None) for r in made]
        return mapped(
            found, lambda r: self.value(array_of(r)) if isinstance(r, (Tensor, Traced)) else r
        )

    def name(self):
        """Give Values the names of the traced function's variables."""
        variables = self.frame.f_locals if self.frame else {}
        for name, x in variables.items():
            if isinstance(x, Tensor) and isinstance(x.data, Traced):
                x.data.value.name = name

    def release(self, kept):
        """Make Tensors from outside ordinary again, and note which end as other Values.

        kept: whether they keep the new arrays, and get their gradients.
        """
        self.frame = None
        parts = {id(a) for _, known in self.blocks.values() for a in known}
        for state in self.states.values():
            tensor, after = state.tensor, state.data.value
            tensor.__class__ = _unmixed(type(tensor))
            if after is state.value and state.inside:  # and never changed
                after.kind, after.data = "constant", state.before
            if after is not state.value and id(state.data) not in parts:
                self.updates[state.value] = after
            if kept and after is not state.value:
                tensor.data = state.data.array
            if kept and id(tensor) in self.zeroed:
                tensor.grad = None
            if state.grad is not None and isinstance(state.grad.data, Traced):
                self.grads.append((tensor, state.grad.data.value))
                if kept:
                    _add_gradient(tensor, state.grad.data.array)


def inputs(args: Any) -> list[Tensor | float]:
    """The Tensors and floats in arguments, which are given anew at each run."""
    return [x for x in flat(args) if isinstance(x, INPUT)]


def trace(
    function: Callable,
    args: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    *,
    leaves: Sequence[Tensor] = (),
    dry: bool = False,
) -> Trace:
    """Call function(*args, **options) and write down what it does: a Trace.

    leaves: Tensors that it is known to leave gradients in.  dry: the call leaves no trace, as if it
    had not been made.
    """
    args, options = list(args), dict(options or {})
    given = inputs((args, options))
    arrays = [x.data for x in given if isinstance(x, Tensor)]
    found = Trace(
        function=function,
        xp=devices.array_module(*arrays),
        placed=bool(arrays),
        inputs=[Value(array_of(x), "input") for x in given],
        began=Tensor(np.empty(0)).number,
        had={id(t): t.grad for t in leaves},
    )
    inside = [_inside(x, v) for x, v in zip(given, found.inputs)]
    rest = iter(inside)
    args, options = mapped((args, options), lambda x: next(rest) if isinstance(x, INPUT) else x)
    draws = random.random_state()
    kept = False
    try:
        with _writing(found):
            given_back = function(*args, **options)
            found.result = found.returned(given_back)
            found.name()
        kept = not dry
    finally:
        found.release(kept)
        if not kept:
            random.set_random_state(draws)
    found.settings.settle()
    found.first = mapped(given_back, _untraced)
    left = [(i, x.grad.data) for i, x in enumerate(inside) if getattr(x, "grad", None) is not None]
    found.grads += [(i, g.value) for i, g in left]
    if kept:
        for i, g in left:
            _add_gradient(given[i], g.array)
        for effect in found.after:
            effect()
    return found


def _inside(x, value):
    """What the function gets for an input: something Traced, in a Tensor if it is one."""
    traced = Traced(array_of(x), value)
    if isinstance(x, Tensor):
        return Tensor(traced, requires_grad=x.requires_grad)
    return traced


@contextmanager
def _writing(found):
    """Inside, this thread writes the Trace `found`."""
    intercept.modes.tracing = found
    try:
        with intercepted(found.handle):
            yield
    finally:
        intercept.modes.tracing = None


def _frame(function):
    """The frame in which `function` runs now, or None.  It outlives the call, and so do the
    variables in it, as in a debugger that looks at them afterwards.
    """
    code = getattr(function, "__code__", None)
    frame = sys._getframe()
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def _ids(tensors):
    return tuple(map(id, tensors))


def _groups(optimizer, jobs):
    """The jobs (parameter, state) that may be done as one: those of a type, if elements do not
    meet in an update.
    """
    groups = {}
    for i, (p, state) in enumerate(jobs):
        groups.setdefault(p.dtype if optimizer.elementwise else i, []).append((p, state))
    return list(groups.values())


def _one(arrays):
    """All elements of several Traced arrays in one; a single array stays as it is."""
    if len(arrays) == 1:
        return arrays[0]
    return write("concatenate", tuple(a.reshape(-1) for a in arrays))  # (all elements,)


def _add_gradient(tensor, array):
    """Leave a gradient in a Tensor's `.grad`, as `backward` does."""
    new = Tensor(array.copy())
    tensor.grad = new if tensor.grad is None else tensor.grad + new


def _untraced(r):
    """A result as the caller gets it: a copy, for it may lie in a state that later runs change."""
    if not isinstance(r, (Tensor, Traced)):
        return r
    found = plain(array_of(r))
    if devices.is_array(found):
        found = found.copy()
    return as_result(found, getattr(r, "requires_grad", None))


def as_result(array: Any, asks: bool | None) -> Any:
    """A Tensor that a compiled function gives.  asks: whether it would have a record otherwise;
    then a walk back through it raises, for what happened inside is not known.  None says that it
    is no Tensor, but a bare array or a number.
    """
    if asks is None:
        return array
    if asks:
        return result(array, _COMPILED, (), {})
    return result(array)


def _compiled(xp):
    """What stands for all that happened inside a compiled function."""


def _no_way_back(g, y):
    raise RuntimeError(
        "what a compiled function gives has no record of what happened inside, so gradients cannot "
        "go back through it: call backward inside the function that is compiled, on the loss"
    )


_COMPILED = Primitive(_compiled)
_COMPILED.rule = _no_way_back
_PLAIN_GRAD = Tensor.grad  # reads what a Tensor itself holds, also while it is traced


class EarlierGradients(Exception):
    """The function uses gradients from before its call, which a trace does not know."""
