"""Recurrent layers: they read a sequence element by element and keep a state.

The one rule of this file: there is one loop over time; a kind of cell is the step it differs in.

Explained in course/16.
"""

import numpy as np

from ..engine.devices import array_module
from ..engine.intercept import effect
from ..engine.ops import less, sigmoid, tanh, where
from ..engine.shapes import concatenate, stack
from ..engine.tensor import Tensor, primitive, tensor
from ..gpu.doubts import doubt
from . import functional as F
from .layers import _uniform, check_counts
from .module import Module, Parameter


class Recurrent(Module):
    """The base of RNN, LSTM and GRU: all but `step(from_x, from_h, *states)`, which gives the tuple
    of the next states, the first of them the output h.  Inside the loop features stand before
    samples, which makes products faster and gates whole blocks: states are (H, N), and from_x =
    (x @ weight_ih + bias_ih).T and from_h = (h.T @ weight_hh + bias_hh).T are (gates * H, N).  A
    kind that only adds the two says apart = False: its step is `step(from_both, *states)`, and
    their sum is one product.

    dropout in [0, 1): of the outputs between two layers, in training.  bidirectional: each layer
    also reads backwards.  Parameters are PyTorch's by name (weight_ih_l0, bias_hh_l1_reverse) and
    start, uniform in ±1/sqrt(n_hidden); a state dict goes there and back, weights transposed.
    """

    gates = states = 1  # how many blocks of H columns the weights have; how many states there are
    apart = True
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

    def __init__(self, n_in, n_hidden, n_layers=1, *, dropout=0.0, bidirectional=False):
        check_counts(self, n_in=n_in, n_hidden=n_hidden, n_layers=n_layers)
        self.n_in, self.n_hidden, self.n_layers, self.dropout = n_in, n_hidden, n_layers, dropout
        self.directions = ("", "_reverse") if bidirectional else ("",)
        width, bound = self.gates * n_hidden, n_hidden**-0.5
        for layer in range(n_layers):
            below = n_hidden * len(self.directions) if layer else n_in
            shapes = (below, width), (n_hidden, width), (width,), (width,)
            for direction in self.directions:
                for name, shape in zip(self.names, shapes):
                    setattr(self, f"{name}_l{layer}{direction}", Parameter(_uniform(shape, bound)))

    def extra(self):
        return f"{self.n_in}, {self.n_hidden}, {self.n_layers}"

    def forward(self, x, state=None, lengths=None):
        """x (N, T, D) -> outputs (N, T, H), or (N, T, 2 H) if bidirectional, and the last state.

        state: what to begin with (default zeros), of the last state's shape: (n_layers *
        directions, N, H), for LSTM a pair (h, c) of these.  As PyTorch with batch_first=True.
        lengths: (N,) integers in [1, T], where sequences end in a padded batch (PyTorch packs).
        From there on the state stays, the output is 0, and the padding, even NaN, is not read; the
        reverse direction begins at the last element.  ValueError when shapes or lengths misfit.
        """
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != self.n_in:
            raise ValueError(f"{self!r}: expected x (N, T > 0, {self.n_in}), got {x.shape}")
        begin, inside = self._begin(x, state, lengths)
        x = x.transpose(1, 0, 2)  # (N, T, D) -> (T, N, D)
        if inside is not None:  # (T, 1, N), which is how it is used inside the loop
            x = where(inside.transpose(0, 2, 1), x, 0.0)
        ends = []  # the last states of each layer and direction
        for layer in range(self.n_layers):
            x = F.dropout(x, p=self.dropout, training=self.training) if layer else x
            runs = [self._loop(x, begin.pop(0), inside, f"_l{layer}{d}") for d in self.directions]
            x = concatenate(*(y for y, _ in runs), axis=2)
            ends += [end for _, end in runs]
        ends = tuple(stack(s) for s in zip(*ends))
        return x.transpose(1, 0, 2), ends if self.states > 1 else ends[0]

    def _loop(self, x, states, inside, place):
        """One layer in one direction over x (T, N, D): its outputs (T, N, H), its last states."""
        weights = [getattr(self, name + place) for name in self.names]
        inputs = self._apart(x, *weights) if self.apart else self._together(x, *weights)
        states = [state.T for state in states]  # (N, H) -> (H, N)
        outputs, times = [None] * len(x), range(len(x))
        for t in reversed(times) if place.endswith("reverse") else times:
            after = self.step(*inputs(t, states[0]), *states)
            if inside is not None:
                after = [where(inside[t], new, old) for new, old in zip(after, states)]
            states, outputs[t] = after, after[0]
        y = stack(outputs)  # (T, H, N)
        y = y if inside is None else where(inside, y, 0.0)
        return y.transpose(0, 2, 1), [state.T for state in states]

    def _together(self, x, w_x, w_h, b_x, b_h):
        """What a step gets at time t, from x (T, N, D) and h (H, N) at once: the product of
        [weight_ih, bias, weight_hh] with [x, 1, h].
        """
        last, n, _ = x.shape
        w = concatenate(w_x, (b_x + b_h).reshape(1, -1), w_h).T  # (gates * H, D + 1 + H)
        one = Tensor(array_module(x.data).ones((last, 1, n), dtype=x.dtype))
        x = concatenate(x.transpose(0, 2, 1), one, axis=1)  # (T, N, D) -> (T, D + 1, N)
        return lambda t, h: (w @ concatenate(x[t], h),)

    def _apart(self, x, w_x, w_h, b_x, b_h):
        """What a step gets at time t: from x (T, N, D), all times in one product, and from h."""
        last, n, d = x.shape
        from_x = w_x.T @ x.reshape(last * n, d).T + b_x.reshape(-1, 1)  # (gates * H, T * N)
        from_x = from_x.reshape(len(from_x), last, n)  # (gates * H, T, N)
        w_h, b_h = w_h.T, b_h.reshape(-1, 1)
        return lambda t, h: (from_x[:, t], w_h @ h + b_h)

    def _begin(self, x, state, lengths):
        """The first states of each layer and direction; which elements are real, (T, 1, N)."""
        n, last, h = *x.shape[:2], self.bias_hh_l0
        shape = (self.n_layers * len(self.directions), n, self.n_hidden)
        if state is None:
            state = [Tensor(array_module(h.data).zeros(shape, dtype=h.dtype))] * self.states
        state = state if isinstance(state, (tuple, list)) else [state]
        got = [s.shape for s in state]
        if got != [shape] * self.states:
            raise ValueError(f"{self!r}: expected {self.states} x state {shape}, got {got}")
        state = [[s[i] for s in state] for i in range(shape[0])]
        if lengths is None:
            return state, None
        lengths = lengths if isinstance(lengths, Tensor) else tensor(lengths)
        a = lengths.data
        if a.shape != (n,) or a.dtype.kind not in "iu":
            raise ValueError(f"{self!r}: expected {n} integer lengths 1 to {last}, got {lengths}")
        effect(_check_lengths, a, last, repr(self))
        lengths = lengths.to(h.device).reshape(1, n)
        return state, stack([less(t, lengths) for t in range(last)])


def _check_lengths(lengths, last, layer):
    got = f", got {lengths}" if isinstance(lengths, np.ndarray) else ""
    message = f"{layer}: expected {len(lengths)} integer lengths 1 to {last}{got}"
    doubt(array_module(lengths), ((lengths < 1) | (lengths > last)).any(), message)


class RNN(Recurrent):
    """h = tanh(from_x + from_h).  Elman 1990; PyTorch's nn.RNN."""

    apart = False

    def step(self, from_both, h):
        return (tanh(from_both),)


class LSTM(Recurrent):
    """Gates keep, fill and show c.  Hochreiter, Schmidhuber 1997; Gers et al. 2000; nn.LSTM."""

    apart, gates, states = False, 4, 2  # input, forget, candidate, output; h and c

    def step(self, from_both, h, c):
        both = lstm(from_both, c)
        return both[: self.n_hidden], both[self.n_hidden :]


@primitive
def lstm(xp, from_both, c):
    """h and c after an element, (2 H, N), of the gates' inputs (4 H, N), and c before, (H, N)"""
    i, f, u, o = _gates(from_both)
    c = f * c + i * u
    return xp.concatenate([o * xp.tanh(c), c])


@lstm.gradient
def _(g, y, from_both, c):
    n = c.shape[0]
    i, f, u, o = _gates(from_both)
    shown = tanh(y[n:])
    to_shown = g[:n] * o
    to_c = g[n:] + to_shown * (1 - shown * shown)  # by way of c after the element
    filled, kept = to_c * i, to_c * f
    to_i, to_f = filled * u * (1 - i), kept * c * (1 - f)
    to_u, to_o = filled * (1 - u * u), to_shown * shown * (1 - o)
    return concatenate(to_i, to_f, to_u, to_o), kept


def _gates(both):
    n = both.shape[0] // 4
    i, f, u, o = (both[k * n : (k + 1) * n] for k in range(4))
    return sigmoid(i), sigmoid(f), tanh(u), sigmoid(o)


class GRU(Recurrent):
    """Cho et al. 2014, equations 5 to 8, but r weighs from_h, not h, as in PyTorch's nn.GRU."""

    gates = 3  # reset, update, candidate

    def step(self, from_x, from_h, h):
        n = self.n_hidden
        r, z = (sigmoid(from_x[k : k + n] + from_h[k : k + n]) for k in (0, n))
        new = tanh(from_x[2 * n :] + r * from_h[2 * n :])
        return (new + z * (h - new),)
