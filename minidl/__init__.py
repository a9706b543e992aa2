"""minidl: a deep-learning framework small enough to read, built in the notebooks of `course/`.

`from minidl import nn, optim, data, train`; each is loaded when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import advice
from .engine.intercept import no_grad, replaced
from .engine.making import (
    arange,
    concatenate,
    ones,
    ones_like,
    rand,
    rand_like,
    randn,
    randn_like,
    stack,
    zeros,
    zeros_like,
)
from .engine.ops import where
from .engine.random import manual_seed
from .engine.tensor import Tensor, grad, tensor

if TYPE_CHECKING:
    from . import (
        data,
        distributed,
        engine,
        estimators,
        graph,
        io,
        nn,
        onnx,
        optim,
        pytorch,
        train,
        web,
    )
    from .differences import gradcheck
    from .graph.compiled import compile

__version__ = "1.0.0"
__all__ = [
    "Tensor",
    "arange",
    "compile",
    "concatenate",
    "data",
    "distributed",
    "engine",
    "estimators",
    "grad",
    "gradcheck",
    "graph",
    "io",
    "manual_seed",
    "nn",
    "no_grad",
    "ones",
    "ones_like",
    "onnx",
    "optim",
    "pytorch",
    "rand",
    "rand_like",
    "randn",
    "randn_like",
    "replaced",
    "stack",
    "tensor",
    "train",
    "web",
    "where",
    "zeros",
    "zeros_like",
]
import_module(".engine.reductions", __name__)  # Tensor's methods call its operations
_LATE = {"compile": ".graph.compiled", "gradcheck": ".differences"}
_absent = advice.of_module(__name__)
_ROOMS = set("data distributed engine estimators graph io nn onnx optim pytorch train web".split())

if not TYPE_CHECKING:  # a type checker knows the rooms from above, and that there are no others

    def __getattr__(name):
        if name in _LATE:
            return getattr(import_module(_LATE[name], __name__), name)
        if name in _ROOMS:
            return import_module(f".{name}", __name__)
        return _absent(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
