"""The PyTorch half: weights carried over, and what a PyTorch user writes where minidl differs.

The one rule of this file: parts have the names that they have in minidl, so that weights are
carried over by name: this module is the `library` of workloads.py, with its nn, optim and the rest.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim  # noqa: F401

from .workloads import OURS, training_step


def step(work, *, channels_last=False, compiled=False, device="cpu", **options):
    """step(x, y) of a workload on PyTorch's tensors, from the same first weights as minidl's.

    channels_last: images lie in memory as (N, H, W, C).  compiled: torch.compile of model and loss.
    options: the optimiser's (fused).
    """
    model, loss, optimizer = work.build(sys.modules[__name__], **options)
    model.load_state_dict(carried(work.build(OURS)[0].state_dict()))
    model.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if work.training:
        return training_step(model, torch.compile(loss) if compiled else loss, optimizer)
    predict = torch.compile(model) if compiled else model
    return torch.inference_mode()(lambda x, y: predict(x))


def carried(state):
    """minidl's state dict as PyTorch's: matrices transposed, attention's q, k and v in one."""
    found = {}
    for name, a in state.items():
        is_table = "tokens" in name or "positions" in name
        name = name.replace(".key.", ".query.").replace(".value.", ".query.")
        found.setdefault(name, []).append(a if is_table or a.ndim != 2 else a.T)
    return {name: torch.tensor(np.concatenate(parts)) for name, parts in found.items()}


def tensors(a, *, channels_last=False):
    """a (steps, ...), NumPy -> a list of tensors, one for each step."""
    layout = torch.channels_last if channels_last and a.ndim == 5 else torch.contiguous_format
    return [torch.tensor(part).contiguous(memory_format=layout) for part in a]


def cross_entropy(logits, y):
    return F.cross_entropy(logits.flatten(0, -2), y.flatten())  # (N, T, K) -> (N T, K)


def LSTM(n_in, n_hidden):
    return nn.LSTM(n_in, n_hidden, batch_first=True)


class Attention(nn.Module):
    """minidl's causal MultiHeadAttention; `query` holds q, k and v, as in nanoGPT."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        n, t, width = x.shape
        parts = self.query(x).view(n, t, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (N, heads, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(n, t, width))


class Block(nn.Module):
    """minidl's TransformerBlock."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm2, gelu = nn.LayerNorm(width), nn.GELU(approximate="tanh")
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), gelu, nn.Linear(4 * width, width))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """minidl's GPT, without a cache."""

    def __init__(self, n_tokens, context, width, heads, layers):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(n_tokens, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        return F.linear(self.norm(self.blocks(x)), self.tokens.weight)
