"""First weights: by name, or by the variance that they shall have.

The one rule of this file: draws have mean 0, and a variance that depends on their shape alone.
Layers start as PyTorch's do; `initialise` starts them again in another way.

Explained in course/09.
"""

import math

import numpy as np

from ..engine.devices import to_device
from ..engine.random import generator
from .layers import Embedding, Parameter, _uniform

# The variance for fan-in, the terms of an output's sum, and fan-out, those of an input's gradient.
VARIANCES = {
    "lecun": lambda n_in, n_out: 1 / n_in,  # LeCun et al. 1998, section 4.6
    "glorot": lambda n_in, n_out: 2 / (n_in + n_out),  # or Xavier: Glorot, Bengio 2010, equation 12
    "he": lambda n_in, n_out: 2 / n_in,  # or Kaiming: He et al. 2015, equation 10
}
NAMES = ["orthogonal", *(f"{v}_{kind}" for v in VARIANCES for kind in ("normal", "uniform"))]


def fans(shape):
    """(fan-in, fan-out) of weights (n_in, n_out), or of filters (n_out, n_in, ...)."""
    if len(shape) < 2:
        raise ValueError(f"weights have two axes or more, got shape {tuple(shape)}")
    rows, columns = shape[0], shape[1] * math.prod(shape[2:])
    return (rows, columns) if len(shape) == 2 else (columns, rows * math.prod(shape[2:]))


def draw(shape, how):
    """Random numbers of `shape`, float32, from the CPU's generator (`manual_seed`).

    how: one of NAMES, whose normal draws are not truncated (in Keras they are) and whose orthogonal
    weights have rows or columns of length 1 at right angles (Saxe et al. 2014); or a number, the
    variance of normal draws.
    """
    family, _, kind = how.partition("_") if isinstance(how, str) else ("", "", "normal")
    if family and how not in NAMES:
        raise ValueError(f"no initialisation is called {how!r}; there are {NAMES}")
    normal = generator().standard_normal(shape, dtype=np.float32)
    if how == "orthogonal":
        flat = normal.reshape(shape[0], -1)  # (n, ...) -> (n, the rest)
        q, r = np.linalg.qr(flat if len(flat) >= flat.shape[1] else flat.T)
        q = q * np.sign(np.diag(r))  # so that all rotations are equally likely
        return (q if q.shape == flat.shape else q.T).reshape(shape)
    variance = VARIANCES[family](*fans(shape)) if family else how
    if variance < 0:
        raise ValueError(f"a variance is not negative, got {how}")
    if kind == "uniform":
        return _uniform(shape, math.sqrt(3 * variance))
    return normal * np.float32(math.sqrt(variance))


def initialise(module, how):
    """Draw anew all weights inside `module` that have two axes or more, and set biases to 0.

    how: as in `draw`.  Embeddings and the weights of norms stay.  Returns the module.
    """
    for _, layer in module.modules():
        for name, p in layer.parts():
            if not isinstance(p, Parameter) or isinstance(layer, Embedding):
                continue
            if p.ndim > 1:
                p.data = to_device(draw(p.shape, how).astype(p.dtype), p.device)
            elif "bias" in name:
                p.data = 0 * p.data
    return module
