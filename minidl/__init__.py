"""minidl: a deep-learning framework small enough to read, built in the notebooks of `course/`."""

from . import ops
from .backend import manual_seed, no_grad
from .ops import concatenate, mean, stack, where
from .tensor import Tensor, grad, replaced, tensor

__version__ = "0.1.0"
__all__ = [
    "Tensor",
    "concatenate",
    "grad",
    "manual_seed",
    "mean",
    "no_grad",
    "ops",
    "replaced",
    "stack",
    "tensor",
    "where",
]
