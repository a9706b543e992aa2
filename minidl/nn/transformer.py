"""The transformer: attention by several heads, the block around it, and GPT, which writes on.

The one rule of this file: no module remembers what it read; a cache is a list that the caller owns.

Explained in course/17 (attention) and course/18 (GPT).
"""

import math

import numpy as np

from ..engine import devices, intercept, random
from ..engine.ops import normal, where
from ..engine.shapes import concatenate
from ..engine.tensor import tensor
from . import functional as F
from .layers import GELU, Dropout, Embedding, LayerNorm, Linear, Module, Sequential
from .module import evaluating


class MultiHeadAttention(Module):
    """`functional.attention` by several heads, each with its own width / heads columns of q, k, v.

    Vaswani et al. 2017, section 3.2.2.  Its parts start as any Linear.  nn.MultiheadAttention of
    PyTorch has query, key, value transposed, as rows of in_proj_weight, and its masks inverted.
    """

    def __init__(self, width, heads, *, bias=True):
        if heads < 1 or width % heads:
            raise ValueError(f"a width of {width} cannot be cut into {heads} heads of one width")
        self.heads, self.depth = heads, width // heads
        layers = (Linear(width, width, bias=bias) for _ in range(4))
        self.query, self.key, self.value, self.out = layers

    def forward(self, x, context=None, *, causal=False, mask=None, key_mask=None, cache=None):
        """x (N, T, D), with keys and values of x or of context (N, S, D) -> (N, T, D).

        causal: the last query sees all keys, each before it one less.
        mask: which query may look at which key, (T, S), or with four axes what broadcasts to
        (N, heads, T, S): booleans, True where it may look, or floats that are added to the scores.
        key_mask: booleans (N, S), False at keys that no query may look at, such as padding.
        cache: [], or the keys and values before those of x, which it takes up.
        """
        source = x if context is None else context
        pairs = (self.query, x), (self.key, source), (self.value, source)
        q, k, v = (f(a).reshape(*a.shape[:2], self.heads, self.depth) for f, a in pairs)
        q, k, v = (a.transpose(0, 2, 1, 3) for a in (q, k, v))  # (N, heads, T or S, depth)
        if cache and context is None:
            k, v = (concatenate(old, new, axis=2) for old, new in zip(cache, (k, v)))
        if cache is not None:
            cache[:] = k, v
        shape = (*q.shape[:3], k.shape[2])  # (N, heads, T, S)
        mask = self._joined(mask, key_mask, causal, shape, devices.array_module(q.data))
        y = F.attention(q, k, v, mask=mask).transpose(0, 2, 1, 3)  # (N, T, heads, depth)
        return self.out(y.reshape(x.shape))

    def _joined(self, mask, key_mask, causal, shape, xp):
        """One mask for all that `forward` was told, or None; shape (N, heads, T, S)."""
        seen = []
        if mask is not None:
            F.check_mask(f"{self!r}, mask", mask, shape)
            if mask.ndim not in (2, 4):
                raise ValueError(
                    f"{self!r}: a mask is (T, S) or (N, heads, T, S), here {shape}, got "
                    f"{mask.shape}; say which axis is meant, mask[:, None] or mask[None]"
                )
        if key_mask is not None:
            if key_mask.shape != (shape[0], shape[3]) or key_mask.dtype.kind != "b":
                raise ValueError(
                    f"{self!r}: a key_mask is booleans (N, S), here {(shape[0], shape[3])}, got "
                    f"{key_mask.dtype} {key_mask.shape}"
                )
            seen.append(key_mask[:, None, None])  # (N, S) -> (N, 1, 1, S)
        if causal:
            t, s = shape[2:]
            seen.append(xp.tri(t, s, s - t, dtype=bool))  # (T, S)
        if not seen:
            return mask
        seen = seen[0] if len(seen) == 1 else seen[0] * seen[1]
        if mask is None:
            return seen
        return mask * seen if mask.dtype.kind == "b" else where(seen, mask, -math.inf)


class TransformerBlock(Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)); takes attention's causal, masks and cache.

    x (N, T, width); the shape stays.  dropout in [0, 1): of what is added to x.  As PyTorch's
    TransformerEncoderLayer with norm_first=True and GELU's tanh form, which drops out more.
    """

    def __init__(self, width, heads, *, dropout=0.0):
        self.norm1, self.attention = LayerNorm(width), MultiHeadAttention(width, heads)
        self.norm2, self.dropout = LayerNorm(width), Dropout(dropout)
        self.mlp = Sequential(Linear(width, 4 * width), GELU(), Linear(4 * width, width))

    def forward(self, x, **options):
        x = x + self.dropout(self.attention(self.norm1(x), **options))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(Module):
    """Logits of what follows each token: ids (N, T) in [0, n_tokens) -> (N, T, n_tokens).

    context: the largest T.  As GPT-2 (Radford et al. 2019, section 2.3): learned positions, a last
    norm, the embedding transposed as output layer; weights normal with deviation 0.02, those whose
    result is added to x with 0.02 / sqrt(2 * layers), biases 0.
    """

    def __init__(self, n_tokens, context, width, heads, layers, *, dropout=0.0):
        self.tokens, self.positions = Embedding(n_tokens, width), Embedding(context, width)
        self.blocks = [TransformerBlock(width, heads, dropout=dropout) for _ in range(layers)]
        self.norm, self.dropout = LayerNorm(width), Dropout(dropout)
        for path, p in self.named_parameters():
            if "norm" not in path:
                added = 2 * layers if path.endswith(("out.weight", "mlp.2.weight")) else 1
                p.data = (0.02 / added**0.5 if p.ndim == 2 else 0.0) * normal(p.data)

    def forward(self, ids, *, cache=None):
        """cache: a list with one for each block, at first []; ids follow what it holds."""
        start, context = cache[0][0].shape[2] if cache and cache[0] else 0, self.positions.n
        end = start + ids.shape[-1]
        if len(ids.shape) != 2 or not start < end <= context:
            raise ValueError(f"GPT: ids {ids.shape} must be (N, T > 0) and end at {end} within the "
                             f"context of {context}; cut them: ids[:, -{context}:]")  # fmt: skip
        x = self.dropout(self.tokens(ids) + self.positions.weight[start:end])  # (N, T, width)
        for block, kept in zip(self.blocks, cache or [None] * len(self.blocks)):
            x = block(x, causal=True, cache=kept)
        return self.norm(x) @ self.tokens.weight.T

    @intercept.no_grad()
    def generate(self, ids, n, **options):
        """ids (N, T) with n more columns, a NumPy array; options: `sample`'s.  In evaluation.

        A token costs one place's work; when `context` is full, its newer half begins it anew.
        """
        ids, start, half = devices.to_numpy(tensor(ids).data), None, (self.positions.n + 1) // 2
        with evaluating(self):
            for end in range(ids.shape[-1], ids.shape[-1] + n):
                first = half * max(0, -(-(end - self.positions.n) // half))  # by the place alone
                if first != start:
                    start, read, cache = first, first, [[] for _ in self.blocks]
                logits = self(tensor(ids[..., read:], device=self.norm.weight.device), cache=cache)
                new = sample(logits[:, -1].numpy(), **options)
                ids, read = np.concatenate([ids, new[:, None]], axis=1), end
        return ids


def sample(logits, *, temperature=1.0, top_k=None, top_p=1.0, rng=None):
    """One integer for each row of logits (N, K), NumPy, drawn from softmax(logits / temperature).

    temperature 0: the most probable.  top_k: of so many only, the most probable; of these, top_p in
    (0, 1]: of the fewest that sum to top_p or more (Holtzman et al. 2020).  rng: default minidl's.
    """
    if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(f"sample: expected temperature >= 0, top_k >= 1 and top_p in (0, 1], "
                         f"got {temperature}, {top_k} and {top_p}")  # fmt: skip
    order = np.argsort(-logits, axis=1, kind="stable")[:, : top_k if temperature else 1]
    p = np.take_along_axis(logits, order, axis=1).astype(np.float64)  # the most probable first
    p = np.exp((p - p[:, :1]) / (temperature or 1))  # at most 1: it cannot overflow
    p[p.cumsum(axis=1) - p >= top_p * p.sum(axis=1, keepdims=True)] = 0  # those before are enough
    rng = random.generator() if rng is None else rng
    return np.array([rng.choice(i, p=q / q.sum()) for i, q in zip(order, p)], dtype=np.int64)
