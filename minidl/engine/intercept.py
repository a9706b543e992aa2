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

    While it runs, the handler outside (`as` names it, or None) is in force: `op(*inputs, **attrs)`
    goes on.  An operator between bare arrays is no operation.  After JAX's autodidax.
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
    """The number function(): of a recorded run, one that is asked for at each run."""
    if modes.record:
        return modes.record.number(function)
    return function()


def effect(function, *args):
    """function(*args), called for what it does: of a recorded run, again at each run."""
    if modes.record:
        return modes.record.effect(function, *args)
    return function(*args)


def plain(a):
    """The array `a`: of a recorded run, the one behind it, which holds numbers."""
    if modes.record and hasattr(a, "array"):
        return a.array
    return a


def captured(x):
    """The array of the Tensor x: of a recorded run, the one whose calls are written down."""
    if modes.record:
        return modes.record.capture(x)
    return x.data
