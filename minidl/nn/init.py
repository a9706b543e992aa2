"""First weights: drawn by name, or with a variance that is given.

The one rule of this file: draws have mean 0, and a variance that depends on their shape alone.
Layers start as PyTorch's do; `initialise` starts them again in another way.

Explained in course/09.
"""

import math
from typing import TypeVar

import numpy as np

from ..engine.devices import to_device
from ..engine.random import generator
from .layers import Embedding, Module, Parameter, _uniform

Initialised = TypeVar("Initialised", bound=Module)

# The variance for fan-in, the terms of an output's sum, and fan-out, those of an input's gradient.
VARIANCES = {
    "lecun": lambda n_in, n_out: 1 / n_in,  # LeCun et al. 1998, section 4.6
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),  # or Xavier: Glorot, Bengio 2010, equation 12
    "he": lambda n_in, n_out: 2 / n_in,  # or Kaiming: He et al. 2015, equation 10
}
NAMES = ["orthogonal", *(f"{v}_{kind}" for v in VARIANCES for kind in ("normal", "uniform"))]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan-in, fan-out) of weights (n_in, n_out), or of filters (n_out, n_in, ...).

    Fan-in is how many terms are added up for one output, fan-out how many outputs one input enters.
    Raises ValueError for fewer than two axes.
    """
    if len(shape) < 2:
        raise ValueError(f"weights have two axes or more, got shape {tuple(shape)}")
    if len(shape) == 2:
        return shape[0], shape[1]
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def draw(shape: tuple[int, ...], how: str | float) -> np.ndarray:
    """Random numbers of `shape`, float32, from the CPU's generator (`manual_seed`).

    how: one of NAMES, or a number, the variance of normal draws.  Normal draws are not truncated
    (in Keras they are).  "orthogonal" gives rows or columns of length 1 at right angles to each
    other (Saxe et al. 2014).  Raises ValueError for other names and for a negative variance.
    """
    if isinstance(how, str) and how not in NAMES:
        raise ValueError(f"no initialisation is called {how!r}; there are {NAMES}")
    if how == "orthogonal":
        return _orthogonal(shape)
    kind, variance = "normal", how
    if isinstance(how, str):
        family, _, kind = how.partition("_")
        variance = VARIANCES[family](*fans(shape))
    if variance < 0:
        raise ValueError(f"a variance is not negative, got {how}")
    if kind == "uniform":
        return _uniform(shape, math.sqrt(3 * variance))
    return _normal(shape) * np.float32(math.sqrt(variance))


def _normal(shape):
    return generator().standard_normal(shape, dtype=np.float32)


def _orthogonal(shape):
    flat = _normal(shape).reshape(shape[0], -1)  # (n, ...) -> (n, m), m the product of the rest
    wide = flat.shape[0] < flat.shape[1]
    q, r = np.linalg.qr(flat.T if wide else flat)  # (long, short) -> (long, short), (short, short)
    q = q * np.sign(np.diag(r))  # so that all rotations are equally likely
    return (q.T if wide else q).reshape(shape)  # (n, m) -> (n, ...)


def initialise(module: Initialised, how: str | float) -> Initialised:
    """Draw anew all weights inside `module` that have two axes or more, and set biases to 0.

    how: as in `draw`.  Embeddings and the weights of norms stay.  Returns the module.
    """
    for _, layer in module.modules():
        if isinstance(layer, Embedding):
            continue
        for name, p in layer.parts():
            if isinstance(p, Parameter) and p.ndim > 1:
                p.data = to_device(draw(p.shape, how).astype(p.dtype), p.device)
            elif isinstance(p, Parameter) and "bias" in name:
                p.data = 0 * p.data
    return module
