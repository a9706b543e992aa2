"""Ways into the engine for the length of a `with`: one operation exchanged, or all intercepted.

The one rule of this file: at its end the engine is as it was.

Explained in course/07 (replaced) and course/20 (intercepted).
"""

from contextlib import contextmanager
from threading import get_ident

from .tensor import handlers, primitives


@contextmanager
def replaced(name, *, forward=None, gradient=None):
    """Inside, the operation `name` uses another `forward` or another `gradient` rule.

    So a reader's own answer runs inside the real engine.  Raises KeyError for unknown names.
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


@contextmanager
def intercepted(handler):
    """Inside, in this thread, an operation gives what `handler(op, inputs, attrs)` gives.

    While it runs, the handler outside (`as` names it, or None) is in force: `op(*inputs, **attrs)`
    goes on.  An operator between bare arrays is no operation.  After JAX's autodidax.
    """

    def inner(op, inputs, attrs):
        before, handlers[get_ident()] = handlers.get(get_ident()), outer
        try:
            return handler(op, inputs, attrs)
        finally:
            handlers[get_ident()] = before

    outer, handlers[get_ident()] = handlers.get(get_ident()), inner
    try:
        yield outer
    finally:
        del handlers[get_ident()]
        if outer:
            handlers[get_ident()] = outer
