"""A run of a function, written down: where its inputs come from, and where its results go.

The one rule of this file: what is recorded is seen by the thread that records, and by no other.  To
all others a Tensor holds its plain array throughout: the old one, and afterwards the new one, or
after an error still the old one.

Explained in course/20.
"""

import sys
import threading
from functools import cache
from itertools import accumulate

import numpy as np

from . import backend
from .seams import intercepted
from .tensor import Tensor
from .trace import Traced, Value, _here, flat, mapped, write

recording = threading.RLock()  # held while a function is recorded: one thread at a time writes


def _by_thread(slot):
    """The property `slot` of a Tensor that is being recorded: one thing for the thread that
    records it, another for the rest.
    """
    plain = getattr(Tensor, slot)  # what reads and writes the Tensor itself

    def seen(self):
        record = backend.modes.record
        return record.seen.get(id(self)) if record else None

    def get(self):
        mine = seen(self)
        return plain.__get__(self) if mine is None else mine[slot]

    def put(self, new):
        mine = seen(self)
        if mine is None:
            plain.__set__(self, new)
        else:
            mine[slot] = new

    return property(get, put)


class _Recorded:
    """What a Tensor's class is mixed with while it is recorded."""

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


class Record:
    """A run written down.

    lines: the Lines.  inputs: the Values of the function's arguments.  numbers: those of Python
    numbers that are asked for at each run.  updates: dict state -> the Value it has at the end.
    grads: pairs (Tensor, or number of an argument, Value) of gradients that are left in `.grad`.
    seen: id of a Tensor from outside -> its data and grad, as the thread that records sees them.
    result: what the function returned, Values in place of Tensors.  after: functions to call after
    each run.  meeting: where the first optimiser's step begins: (number of lines before it, the
    gradients as Traced arrays).  leaves: Tensors that the function is known to leave gradients in.
    zeroed: ids of those whose gradients it forgets first; the others' add up from run to run.
    dry: the function leaves no trace, as if it had not been called.
    """

    def __init__(self, function, args, *, leaves=(), dry=False):
        self.lines, self.inputs, self.numbers, self.states = [], [], [], {}
        self.updates, self.grads, self.constants = {}, [], {}
        self.after, self.meeting, self.zeroed = [], None, set()
        self.seen = {}
        self.outside = set()  # ids of the arrays of Tensors that were made before
        self.blocks = {}  # ids of Tensors that an optimiser updates as one -> (array, their parts)
        self.had = {id(t): t.grad for t in leaves}  # to see which are forgotten inside
        self.began = Tensor(np.empty(0)).number  # Tensors with a larger number are made inside
        self.function, self.xp = function, backend.array_module(*(x.data for x in args))
        self.inputs = [Value(x.data, "input") for x in args]
        pairs = zip(args, self.inputs)
        inside = [Tensor(Traced(x.data, v), requires_grad=x.requires_grad) for x, v in pairs]
        _here.record, backend.modes.record = self, self
        profile, random, done = sys.getprofile(), backend.random_state(), False
        watch = sys.setprofile if profile is None or callable(profile) else id  # else: cProfile
        try:
            watch(self._name)
            with intercepted(self._handle):
                found = function(*inside)
                for r in flat(found):
                    if isinstance(r, Tensor) and r.op is None:
                        self.capture(r)
                self.result = mapped(found, self._value)
            done = True
        finally:
            watch(profile)
            _here.record = backend.modes.record = None
            self._finish(done and not dry)
            self.grads += [
                (i, x.grad.data.value) for i, x in enumerate(inside) if done and x.grad is not None
            ]
            if dry:
                backend.set_random_state(random)
        self.dry = dry
        for function in [] if dry else self.after:
            function()
        self.first = mapped(found, _untraced)
        for x, new in zip(args, inside):
            if new.grad is not None and not dry:
                _add_gradient(x, new.grad.data.array)

    def _value(self, r):
        return self.value(r.data) if isinstance(r, Tensor) else r

    # What the rest of minidl calls while `backend.modes.record` is this record.

    def capture(self, tensor):
        """The Traced data of a Tensor that no operation of this record made."""
        if not isinstance(tensor.data, Traced):
            if not self.inputs:
                self.xp = backend.array_module(tensor.data)
            value = Value(tensor.data, "state", data=tensor)
            self.states[id(tensor)] = tensor, tensor.data, value
            if tensor.number < self.began:
                self.outside.add(id(tensor.data))
            if tensor.grad is None and self.had.get(id(tensor)) is not None:
                self.zeroed.add(id(tensor))
            given = tensor.grad is not None and tensor.grad.number > self.began  # inside
            self.seen[id(tensor)] = {
                "data": Traced(tensor.data, value),
                "grad": tensor.grad if given else None,
            }
            if given:
                tensor.grad = None
            tensor.__class__ = _mixed(type(tensor))
        return tensor.data

    def number(self, function):
        """The number function(), asked for again at each run."""
        result = function()
        self.numbers.append(Value(result, "number", data=function))
        return Traced(result, self.numbers[-1])

    def effect(self, function, *args):
        """Call function(*args), now and at each run; without arguments, after the run."""
        if not args:
            self.after.append(function)
            return None
        traced = any(isinstance(a, Traced) for a in args)
        return write(function, *args) if traced else function(*args)

    def update(self, optimizer, jobs, lr, t):
        """What Optimizer.step does.  Where elements do not meet, all parameters are one array:
        then an update takes a few calls, not a few for each parameter.
        """
        groups = {}
        for i, (p, state) in enumerate(jobs):
            groups.setdefault(p.dtype if optimizer.elementwise else i, []).append((p, state))
        found = []
        for group in groups.values():
            tensors = {"": [p for p, _ in group]}
            tensors |= {slot: [state[slot] for _, state in group] for slot in optimizer.slots}
            arrays = {slot: self._joined(ts) for slot, ts in tensors.items()}
            grads = tuple(p.grad.data for p, _ in group)
            if len(group) > 1:
                grads = (write("concatenate", tuple(g.reshape(-1) for g in grads)),)
            found.append((tensors, arrays, *grads))
        self.meeting = self.meeting or (len(self.lines), [g for *_, g in found])
        for tensors, arrays, g in found:
            new = optimizer.update(arrays.pop(""), g, arrays, lr, t)
            for slot, ts in tensors.items():
                self._divide(ts, new if slot == "" else arrays[slot])

    def value(self, a):
        """The Value of an argument; what is no array stays as it is."""
        if isinstance(a, Traced):
            return a.value
        if not backend.is_array(a):
            return a
        found = self.constants.setdefault(id(a), Value(a, "constant", data=a))
        if self.outside & self.constants.keys():
            raise RuntimeError(
                "the .data of a Tensor from outside stands beside one that is recorded, as a bare "
                "array, which would be a constant: use the Tensor itself, in an operation"
            )
        return found

    def _joined(self, tensors):
        """One array of all elements of `tensors`, which become parts of one state."""
        parts = [self.capture(t) for t in tensors]
        if len(parts) == 1:
            return parts[0]
        whole, known = self.blocks.get(tuple(map(id, tensors)), (None, []))
        if len(known) == len(parts) and all(a is b for a, b in zip(parts, known)):
            return whole
        if any(a.value is not self.states[id(t)][2].base for t, a in zip(tensors, parts)):
            return write("concatenate", tuple(a.reshape(-1) for a in parts))  # changed before
        block = self.xp.concatenate([part.array.reshape(-1) for part in parts])
        whole = Value(block, "state", data=list(tensors))
        for t in tensors:
            self.states[id(t)][2].base = whole
        return Traced(block, whole)

    def _divide(self, tensors, array):
        """Give `tensors` the new array that `_joined` made of them."""
        if len(tensors) == 1:
            tensors[0].data = array
            return
        for t, end in zip(tensors, accumulate(t.size for t in tensors)):
            t.data = array[end - t.size : end].reshape(t.shape)
        whole = self.states[id(tensors[0])][2].base
        if isinstance(whole.data, list) and [*map(id, whole.data)] == [*map(id, tensors)]:
            self.updates[whole] = array.value
            self.blocks[tuple(map(id, tensors))] = array, [t.data for t in tensors]

    def _handle(self, op, inputs, attrs):
        """An operation while this record is written: Tensors from outside are captured."""
        for x in inputs:
            if isinstance(x, Tensor) and x.op is None:
                self.capture(x)
        if any(isinstance(x, (Tensor, Traced)) for x in inputs):  # bare arrays are constants
            bare = [backend.is_array(x) and not isinstance(x, Traced) for x in inputs]
            inputs = [Traced(x, self.value(x)) if b else x for x, b in zip(inputs, bare)]
        return op(*inputs, **attrs)

    def _name(self, frame, event, arg):
        """A profile function: Values get the names of the variables of the recorded function."""
        if event == "return" and frame.f_code is getattr(self.function, "__code__", None):
            for name, x in frame.f_locals.items():
                if isinstance(x, Tensor) and isinstance(x.data, Traced):
                    x.data.value.name = name

    def _finish(self, done):
        """Take the Traced arrays out of the Tensors, and note which states end as other Values."""
        parts = {id(a) for _, known in self.blocks.values() for a in known}
        for tensor, before, value in self.states.values():
            tensor.__class__ = _unmixed(type(tensor))
            seen = self.seen.pop(id(tensor))
            after, grad = seen["data"], seen["grad"]
            if after.value is value and tensor.number > self.began:  # made inside, never changed
                value.kind, value.data = "constant", before
            elif after.value is not value and id(after) not in parts:
                self.updates[value] = after.value
            if done and after.value is not value:
                tensor.data = after.array
            if done and id(tensor) in self.zeroed:
                tensor.grad = None
            if grad is not None and isinstance(grad.data, Traced):
                self.grads.append((tensor, grad.data.value))
                if done:
                    _add_gradient(tensor, grad.data.array)


def _add_gradient(tensor, array):
    """Leave a gradient in a Tensor's `.grad`, as `backward` does."""
    new = Tensor(array.copy())
    tensor.grad = new if tensor.grad is None else tensor.grad + new


def _untraced(r):
    """A result as the caller gets it: a copy, for it may lie in a state that later runs change."""
    if not isinstance(r, Tensor):
        return r
    return Tensor((r.data.array if isinstance(r.data, Traced) else r.data).copy())
