"""minidl: a deep-learning framework small enough to read, built in the notebooks of `course/`."""

from . import ops, reductions, shapes
from .backend import manual_seed, no_grad
from .compiled import compile
from .ops import where
from .seams import replaced
from .shapes import concatenate, stack
from .tensor import Tensor, grad, tensor

__version__ = "0.1.0"
__all__ = [
    "Tensor",
    "compile",
    "concatenate",
    "grad",
    "manual_seed",
    "no_grad",
    "ops",
    "reductions",
    "replaced",
    "shapes",
    "stack",
    "tensor",
    "where",
]
