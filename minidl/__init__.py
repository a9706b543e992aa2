"""minidl: a deep-learning framework small enough to read, built in the notebooks of `course/`.

`from minidl import nn, optim, data, train`; each is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .engine.intercept import no_grad, replaced
from .engine.ops import where
from .engine.random import manual_seed
from .engine.shapes import concatenate, stack
from .engine.tensor import Tensor, grad, tensor

if TYPE_CHECKING:
    from . import data, distributed, engine, estimators, graph, io, nn, optim, train
    from .graph.compiled import compile

__version__ = "0.1.0"
__all__ = [
    "Tensor",
    "compile",
    "concatenate",
    "data",
    "distributed",
    "engine",
    "estimators",
    "grad",
    "graph",
    "io",
    "manual_seed",
    "nn",
    "no_grad",
    "optim",
    "replaced",
    "stack",
    "tensor",
    "train",
    "where",
]
_ROOMS = {"data", "distributed", "engine", "estimators", "graph", "io", "nn", "optim", "train"}

if not TYPE_CHECKING:  # a type checker knows the rooms from above, and that there are no others

    def __getattr__(name):
        if name == "compile":
            return import_module(".graph.compiled", __name__).compile
        if name in _ROOMS:
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
