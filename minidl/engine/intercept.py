"""The engine's modes, and the ways into it: one operation replaced, all of them intercepted.

The one rule of this file: what is switched on for the length of a `with` is off again at its end.

Explained in course/07 (no_grad, replaced) and course/20 (the rest).
"""

from __future__ import annotations

import contextlib
import threading
from threading import get_ident
from typing import TYPE_CHECKING

from .. import advice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ..graph.trace import Trace
    from .devices import Array
    from .tensor import Primitive, Tensor

    Handler = Callable[[Primitive, tuple[Any, ...], dict[str, Any]], Any]  # op, inputs, attrs

primitives: dict[str, Primitive] = {}  # by name: every operation that there is
handlers: dict[int, Handler] = {}  # by thread: where its operations go, inside `intercepted`


class _Modes(threading.local):
    """The modes of the engine, one set for each thread."""

    recording = True  # whether results get a record, that is, remember how they were made
    tracing: Trace | None = None  # what `minidl.compile` has traced so far of this thread's run


modes: _Modes = _Modes()


@contextlib.contextmanager
def remembering(mode: bool) -> Iterator[None]:
    """Inside, results remember how they were made if `mode` is True, and do not if it is False."""
    before = modes.recording
    modes.recording = mode
    try:
        yield
    finally:
        modes.recording = before


@advice.advised
def no_grad() -> contextlib._GeneratorContextManager[None]:
    """A context in which results do not remember how they were made: `with no_grad(): ...`.

    They have `requires_grad` False.  Also a decorator, as in PyTorch: `@no_grad()`.
    """
    return remembering(False)


@contextlib.contextmanager
def replaced(
    name: str,
    *,
    forward: Callable[..., Any] | None = None,
    gradient: Callable[..., Any] | None = None,
) -> Iterator[Primitive]:
    """A context in which the operation `name` uses another `forward` or `gradient`; gives it.

    forward(xp, *arrays, **attrs) and gradient(g, y, *inputs, **attrs) are written as those in
    ops.py.  So a reader's own answer runs inside the real engine.  Raises KeyError for a name
    that no operation has.
    """
    if name not in primitives:
        raise KeyError(f"no operation is called {name!r}; there are {sorted(primitives)}")
    op = primitives[name]
    before = op.forward, op.rule
    op.forward, op.rule = forward or op.forward, gradient or op.rule
    try:
        yield op
    finally:
        op.forward, op.rule = before


@contextlib.contextmanager
def intercepted(handler: Handler) -> Iterator[Handler | None]:
    """A context in which each operation of this thread gives `handler(op, inputs, attrs)`.

    While the handler runs, operations go to the handler of the `with` around this one, so that
    `op(*inputs, **attrs)` computes as it would have without this handler.  That outer handler, or
    None, is also what `as` gives.  `a + b` of two bare arrays is no operation, and is not seen.
    After JAX's autodidax.
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


# ---- what the rest of minidl says while `compile` traces a run, that is, writes down every call
# that is made on arrays, which is more than the records of Tensors hold (graph/trace.py).
# Meanwhile Tensors hold Traced arrays, each of which has an ordinary one inside.  At any other time
# each of these does what the first sentence of its docstring says.


def fresh(function: Callable[[], float]) -> float:
    """The number function().  While `compile` traces, later runs are made to ask for it anew."""
    return modes.tracing.fresh(function) if modes.tracing else function()


def effect(function: Callable[..., object], *args: Any) -> object:
    """Call function(*args) for what it does, and give what it gives.

    While `compile` traces, later runs are made to call it too: where it stands among the other
    calls, if a Traced array is among `args`; after each run, the first included, if there are none.
    """
    return modes.tracing.effect(function, *args) if modes.tracing else function(*args)


def untraced(a: Any) -> Any:
    """The array `a`.  While `compile` traces, the ordinary array inside a Traced one.

    For who asks only where or how it lies in memory, which no later run need do.
    """
    return a.array if modes.tracing and hasattr(a, "array") else a


def captured(x: Tensor) -> Array:
    """The array of the Tensor x.  While `compile` traces, the Traced array that stands for it.

    So what is done with it is traced.  (`array_of` takes what x holds as it is.)
    """
    return modes.tracing.capture(x) if modes.tracing else x.data
