"""The engine's modes, and the ways into it: one operation replaced, all of them intercepted.

The one rule of this file: what is switched on for the length of a `with` is off again at its end.

Explained in course/07 (no_grad, replaced) and course/20 (the rest).
"""

import threading
from contextlib import contextmanager
from threading import get_ident

primitives = {}  # name -> Primitive: every operation that there is
handlers = {}  # thread -> the handler that its operations go to, inside `intercepted`


class _Modes(threading.local):
    """The modes of the engine, one set for each thread."""

    recording = True  # whether results remember how they were made
    record = None  # the run that is being written down for `minidl.compile`, if any


modes = _Modes()


@contextmanager
def remembering(mode):
    """Inside, results remember how they were made, or not, as the truth value `mode` says."""
    before = modes.recording
    modes.recording = mode
    try:
        yield
    finally:
        modes.recording = before


def no_grad():
    """Inside, results are not recorded and have `requires_grad` False.  Also a decorator."""
    return remembering(False)


@contextmanager
def replaced(name, *, forward=None, gradient=None):
    """Inside, the operation `name` uses another `forward` or another `gradient` rule.

    So a reader's own answer runs inside the real engine.  Raises KeyError for unknown names.
    """
    if name not in primitives:
        raise KeyError(f"no operation is called {name!r}; there are {sorted(primitives)}")
    op = primitives[name]
    before = op.forward, op.rule
    op.forward = forward or op.forward
    op.rule = gradient or op.rule
    try:
        yield op
    finally:
        op.forward, op.rule = before


@contextmanager
def intercepted(handler):
    """Inside, in this thread, an operation gives what `handler(op, inputs, attrs)` gives.

    Inside the handler, operations go to the handler of the `with` around this one, which `as`
    gives, or None: so `op(*inputs, **attrs)` goes on.  An operator between bare arrays is no
    operation.  After JAX's autodidax.
    """
    thread = get_ident()
    outer = handlers.get(thread)

    def inner(op, inputs, attrs):
        before = handlers.get(thread)
        handlers[thread] = outer
        try:
            return handler(op, inputs, attrs)
        finally:
            handlers[thread] = before

    handlers[thread] = inner
    try:
        yield outer
    finally:
        del handlers[thread]
        if outer:
            handlers[thread] = outer


# ---- what the rest of minidl says to a run that is being recorded (graph/record.py).  Where none
# is, each of these does the plain thing.


def asked(function):
    """The number function().  While `compile` records, one that each later run asks for anew."""
    if modes.record:
        return modes.record.number(function)
    return function()


def effect(function, *args):
    """function(*args), called for what it does.  While `compile` records, each later run does it
    again.
    """
    if modes.record:
        return modes.record.effect(function, *args)
    return function(*args)


def plain(a):
    """The array `a`.  While `compile` records, the array of numbers behind a Traced one."""
    if modes.record and hasattr(a, "array"):
        return a.array
    return a


def captured(x):
    """The array of the Tensor x.  While `compile` records, the Traced array that stands for it, so
    that what is done with it is written down.
    """
    if modes.record:
        return modes.record.capture(x)
    return x.data
