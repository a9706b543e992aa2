"""The transformer: attention by several heads, the block around it, and GPT, which writes on.

The one rule of this file: no module remembers what it read; a cache is a list that the caller owns.

Explained in course/17 (attention) and course/18 (GPT).
"""

import math
from typing import Any

import numpy as np

from ..engine import devices, intercept, random
from ..engine.ops import normal, where
from ..engine.shapes import concatenate
from ..engine.tensor import Tensor, tensor
from . import functional as F
from .layers import GELU, Dropout, Embedding, LayerNorm, Linear, Module, Sequential, check_cut
from .module import evaluating

Mask = Tensor | np.ndarray


class MultiHeadAttention(Module):
    """`functional.attention` by several heads, each with its own width / heads columns of q, k, v.

    Vaswani et al. 2017, section 3.2.2.  Its parts start as any Linear.  nn.MultiheadAttention of
    PyTorch has query, key, value transposed, as rows of in_proj_weight, and its masks inverted.
    """

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        check_cut(self, "a width of {} cannot be cut into {} heads of one width", heads, width)
        self.heads, self.depth = heads, width // heads
        layers = (Linear(width, width, bias=bias) for _ in range(4))
        self.query, self.key, self.value, self.out = layers

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        causal: bool = False,
        mask: Mask | None = None,
        key_mask: Mask | None = None,
        cache: list[Tensor] | None = None,
    ) -> Tensor:
        """x (N, T, D), with keys and values of x or of context (N, S, D) -> (N, T, D).

        causal: the last query sees all keys, and each query before it sees one key less.
        mask: which query may look at which key, (T, S), or with four axes what broadcasts to
        (N, heads, T, S): booleans, True where it may look, or floats that are added to the scores.
        key_mask: booleans (N, S), False at keys that no query may look at, such as padding.
        cache: a list of the keys and values that were there before x, at first []; those of x are
        added to it, so that the next call needs only what is new.
        """
        source = x if context is None else context
        q = self._split(self.query(x))  # (N, heads, T, D/heads)
        k = self._split(self.key(source))  # (N, heads, S, D/heads)
        v = self._split(self.value(source))
        if cache and context is None:
            k, v = (concatenate(old, new, axis=2) for old, new in zip(cache, (k, v)))
        if cache is not None:
            cache[:] = k, v
        shape = (*q.shape[:3], k.shape[2])  # (N, heads, T, S)
        mask = self._joined(mask, key_mask, causal, shape, devices.array_module(q.data))
        y = F.attention(q, k, v, mask=mask)
        y = y.transpose(0, 2, 1, 3)  # (N, heads, T, D/heads) -> (N, T, heads, D/heads)
        return self.out(y.reshape(x.shape))  # (N, T, heads, D/heads) -> (N, T, D)

    def _split(self, x):
        """x (N, T, D) -> (N, heads, T, D/heads)."""
        x = x.reshape(*x.shape[:2], self.heads, self.depth)  # (N, T, D) -> (N, T, heads, D/heads)
        return x.transpose(0, 2, 1, 3)  # (N, T, heads, D/heads) -> (N, heads, T, D/heads)

    def _joined(self, mask, key_mask, causal, shape, xp):
        """One mask for all that `forward` was told, or None; shape (N, heads, T, S)."""
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
            mask = _both(mask, key_mask[:, None, None])  # (N, S) -> (N, 1, 1, S)
        if causal:
            t, s = shape[2:]
            mask = _both(mask, xp.tri(t, s, s - t, dtype=bool))  # (T, S)
        return mask


def _both(mask, seen):
    """A mask, or None, that hides also where the booleans `seen` are False."""
    if mask is None:
        return seen
    return mask * seen if mask.dtype.kind == "b" else where(seen, mask, -math.inf)


class TransformerBlock(Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x)).

    x (N, T, width); the shape stays.  dropout in [0, 1): of what is added to x.  As PyTorch's
    TransformerEncoderLayer with norm_first=True and GELU's tanh form, which drops out in more
    places.
    """

    def __init__(self, width: int, heads: int, *, dropout: float = 0.0) -> None:
        self.norm1, self.attention = LayerNorm(width), MultiHeadAttention(width, heads)
        self.norm2, self.dropout = LayerNorm(width), Dropout(dropout)
        self.mlp = Sequential(Linear(width, 4 * width), GELU(), Linear(4 * width, width))

    def forward(self, x: Tensor, **options: Any) -> Tensor:
        """x (N, T, width), which stays.  options: causal, masks and cache of MultiHeadAttention."""
        x = x + self.dropout(self.attention(self.norm1(x), **options))
        return x + self.dropout(self.mlp(self.norm2(x)))


class GPT(Module):
    """Logits of what follows each token: ids (N, T) in [0, n_tokens) -> (N, T, n_tokens).

    context: the largest T.  width: the numbers for each token, cut into `heads` by attention;
    layers: how many blocks; dropout in [0, 1).
    As GPT-2 (Radford et al. 2019, section 2.3): positions that are learned, a norm at the end, and
    the embedding, transposed, as output layer.  Weights start normal with deviation 0.02, those
    whose result is added to x with 0.02 / sqrt(2 * layers); biases start at 0.
    """

    def __init__(
        self,
        n_tokens: int,
        context: int,
        width: int,
        heads: int,
        layers: int,
        *,
        dropout: float = 0.0,
    ) -> None:
        self.tokens, self.positions = Embedding(n_tokens, width), Embedding(context, width)
        self.blocks = [TransformerBlock(width, heads, dropout=dropout) for _ in range(layers)]
        self.norm, self.dropout = LayerNorm(width), Dropout(dropout)
        for path, p in self.named_parameters():
            if "norm" not in path:
                added = path.endswith(("out.weight", "mlp.2.weight"))
                deviation = 0.02 / (2 * layers) ** 0.5 if added else 0.02
                p.data = (deviation if p.ndim == 2 else 0.0) * normal(p.data)

    def forward(
        self, ids: Tensor | np.ndarray, *, cache: list[list[Tensor]] | None = None
    ) -> Tensor:
        """The logits (N, T, n_tokens) for ids (N, T).

        cache: a list with one list for each block, at first []; ids follow what it holds, and what
        they need is added to it.  Raises ValueError where the ids do not fit into the context.
        """
        start = cache[0][0].shape[2] if cache and cache[0] else 0  # how many ids came before
        context = self.positions.n
        end = start + ids.shape[-1]
        if len(ids.shape) != 2 or not start < end <= context:
            raise ValueError(f"GPT: ids {ids.shape} must be (N, T > 0) and end at {end} within the "
                             f"context of {context}; cut them: ids[:, -{context}:]")  # fmt: skip
        x = self.dropout(self.tokens(ids) + self.positions.weight[start:end])  # (N, T, width)
        for block, kept in zip(self.blocks, cache or [None] * len(self.blocks)):
            x = block(x, causal=True, cache=kept)
        # (N, T, width) @ (width, n_tokens) -> (N, T, n_tokens)
        return self.norm(x) @ self.tokens.weight.T

    @intercept.no_grad()
    def generate(self, ids: Any, n: int, **options: Any) -> np.ndarray:
        """ids (N, T) and n columns more, each drawn by `sample` from what follows; a NumPy array.

        ids: integers in [0, n_tokens), as lists or an array.  options: those of `sample`.  In
        evaluation.  Of what was read the keys and values are kept, so each new token costs the
        work for one.  When `context` is full, the newer half of it is read again as the beginning.
        """
        ids = devices.to_numpy(tensor(ids).data)
        context = self.positions.n
        half = (context + 1) // 2
        start = None  # the place in ids where the context begins, always a multiple of half
        with evaluating(self):
            for end in range(ids.shape[-1], ids.shape[-1] + n):
                first = half * max(0, -(-(end - context) // half))  # rounded up
                if first != start:
                    start = read = first
                    cache = [[] for _ in self.blocks]
                logits = self(tensor(ids[..., read:], device=self.norm.weight.device), cache=cache)
                read = end
                new = sample(logits[:, -1].numpy(), **options)
                ids = np.concatenate([ids, new[:, None]], axis=1)  # (N, T), (N, 1) -> (N, T + 1)
        return ids


def sample(
    logits: np.ndarray,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """One integer for each row of logits (N, K), drawn from softmax(logits / temperature) -> (N,).

    temperature >= 0: the lower, the more often the most probable is drawn; at 0 always.
    top_k >= 1: only the k most probable can be drawn; None: all.  top_p in (0, 1]: of these only
    the fewest whose probabilities sum to top_p or more (Holtzman et al. 2020).
    rng: NumPy's, default minidl's.  Raises ValueError for numbers outside these ranges.
    """
    if temperature < 0 or not 0 < top_p <= 1 or (top_k is not None and top_k < 1):
        raise ValueError(f"sample: expected temperature >= 0, top_k >= 1 and top_p in (0, 1], "
                         f"got {temperature}, {top_k} and {top_p}")  # fmt: skip
    order = np.argsort(-logits, axis=1, kind="stable")[:, : top_k if temperature else 1]
    p = np.take_along_axis(logits, order, axis=1).astype(np.float64)  # the most probable first
    p = np.exp((p - p[:, :1]) / (temperature or 1))  # at most 1: it cannot overflow
    before = p.cumsum(axis=1) - p  # (N, K), the sum of those that are more probable
    p[before >= top_p * p.sum(axis=1, keepdims=True)] = 0  # (N, K) -> (N, 1): they are enough
    rng = random.generator() if rng is None else rng
    return np.array([rng.choice(i, p=q / q.sum()) for i, q in zip(order, p)], dtype=np.int64)
