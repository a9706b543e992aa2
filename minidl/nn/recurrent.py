"""Recurrent layers: they read a sequence element by element and keep a state.

The one rule of this file: there is one loop over time; a kind of cell is the step it differs in.

Explained in course/16.
"""

from typing import Any

import numpy as np

from ..engine.devices import array_module
from ..engine.intercept import effect
from ..engine.ops import less, sigmoid, tanh, where
from ..engine.shapes import concatenate, stack
from ..engine.tensor import Tensor, primitive
from ..gpu.doubts import doubt
from . import functional as F
from .layers import _uniform, check_counts, check_type
from .module import Module, Parameter, as_tensor

State = Tensor | tuple[Tensor, Tensor]  # h, or of an LSTM (h, c)


class Recurrent(Module):
    """The base of RNN, LSTM and GRU: all but `step`, which says how a cell's states change.

    A kind of cell writes step(from_x, from_h, *states), which gives a tuple of the next states, the
    first of them the output h.  Inside the loop features stand before samples, which makes products
    faster and gates whole blocks.  So the states are (H, N), and (gates * H, N) are
    from_x = (x @ weight_ih + bias_ih).T and from_h = (h.T @ weight_hh + bias_hh).T.
    A kind whose step only needs their sum says apart = False and writes step(from_both, *states);
    the sum is computed as one product.

    n_in: the numbers that x has at each time; n_hidden: those of a state, H; n_layers: how many
    layers, each of which reads the outputs of the one below.  dropout in [0, 1): of the outputs
    between two layers, in training.  bidirectional: each layer also reads backwards, with weights
    of its own.  Parameters have PyTorch's names (weight_ih_l0, bias_hh_l1_reverse) and start, as
    there, uniform in ±1/sqrt(n_hidden); the weights are PyTorch's transposed.
    """

    gates = states = 1  # how many blocks of H columns the weights have; how many states there are
    apart = True
    names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"

    def __init__(
        self,
        n_in: int,
        n_hidden: int,
        n_layers: int = 1,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        check_counts(self, n_in=n_in, n_hidden=n_hidden, n_layers=n_layers)
        F.check_share(type(self).__name__, "dropout", dropout)
        self.n_in, self.n_hidden, self.n_layers, self.dropout = n_in, n_hidden, n_layers, dropout
        self.directions = ("", "_reverse") if bidirectional else ("",)
        width, bound = self.gates * n_hidden, n_hidden**-0.5
        below = n_in  # how many numbers a layer reads at each time
        for layer in range(n_layers):
            shapes = (below, width), (n_hidden, width), (width,), (width,)
            for direction in self.directions:
                for name, shape in zip(self.names, shapes):
                    setattr(self, f"{name}_l{layer}{direction}", Parameter(_uniform(shape, bound)))
            below = n_hidden * len(self.directions)

    def extra(self) -> str:
        return f"{self.n_in}, {self.n_hidden}, {self.n_layers}"

    def __call__(
        self, x: Tensor, state: State | None = None, lengths: Any = None
    ) -> tuple[Tensor, Any]:
        """The outputs and the last state, as `forward` computes them."""
        return super().__call__(as_tensor(x), state, lengths)

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Any = None
    ) -> tuple[Tensor, Any]:
        """x (N, T, D) -> outputs (N, T, H), or (N, T, 2 H) if bidirectional, and the last state.

        state: what to begin with (default zeros), of the last state's shape: (n_layers *
        directions, N, H), for LSTM a pair (h, c) of these.  As PyTorch with batch_first=True.
        lengths: (N,) integers in [1, T], where sequences end in a padded batch (PyTorch packs).
        From there on the state stays, the output is 0, and the padding, even NaN, is not read; the
        reverse direction begins at the last element.  ValueError when shapes or lengths misfit.
        """
        if x.ndim != 3 or x.shape[1] < 1 or x.shape[2] != self.n_in:
            raise ValueError(f"{self!r}: expected x (N, T > 0, {self.n_in}), got {x.shape}")
        check_type(self, x, self.bias_hh_l0)
        begin = iter(self._first_states(x, state))
        real = self._real(x, lengths)
        x = x.transpose(1, 0, 2)  # (N, T, D) -> (T, N, D)
        if real is not None:
            x = where(real.transpose(0, 2, 1), x, 0.0)  # (T, 1, N) -> (T, N, 1)
        ends = []  # the last states of each layer and direction
        for layer in range(self.n_layers):
            if layer > 0:
                x = F.dropout(x, p=self.dropout, training=self.training)
            runs = [self._loop(x, next(begin), real, f"_l{layer}{d}") for d in self.directions]
            x = concatenate(*(y for y, _ in runs), axis=2)  # (T, N, H) each -> (T, N, H or 2 H)
            ends += [end for _, end in runs]
        ends = tuple(stack(s) for s in zip(*ends))  # (N, H) each -> (n_layers * directions, N, H)
        y = x.transpose(1, 0, 2)  # (T, N, H or 2 H) -> (N, T, H or 2 H)
        return y, ends if self.states > 1 else ends[0]

    def _loop(self, x, states, real, place):
        """One layer in one direction over x (T, N, D): its outputs (T, N, H), its last states."""
        weights = [getattr(self, name + place) for name in self.names]
        inputs = self._apart(x, *weights) if self.apart else self._together(x, *weights)
        states = [state.T for state in states]  # (N, H) -> (H, N)
        times, outputs = range(len(x)), [None] * len(x)
        for t in reversed(times) if place.endswith("reverse") else times:
            after = self.step(*inputs(t, states[0]), *states)
            if real is not None:
                after = [where(real[t], new, old) for new, old in zip(after, states)]
            states, outputs[t] = after, after[0]
        y = stack(outputs)  # (H, N) each -> (T, H, N)
        if real is not None:
            y = where(real, y, 0.0)
        # (T, H, N) -> (T, N, H), and each state (H, N) -> (N, H)
        return y.transpose(0, 2, 1), [state.T for state in states]

    def _together(self, x, w_x, w_h, b_x, b_h):
        """What a step gets at time t, from x (T, N, D) and h (H, N) at once: the product of
        [weight_ih, bias, weight_hh] with [x, 1, h].
        """
        last, n, _ = x.shape
        bias = (b_x + b_h).reshape(1, -1)  # (gates * H,) -> (1, gates * H)
        w = concatenate(w_x, bias, w_h).T  # (D + 1 + H, gates * H) -> (gates * H, D + 1 + H)
        one = Tensor(array_module(x.data).ones((last, 1, n), dtype=x.dtype))
        x = concatenate(x.transpose(0, 2, 1), one, axis=1)  # (T, N, D) -> (T, D + 1, N)
        # (gates * H, D + 1 + H) @ (D + 1 + H, N) -> (gates * H, N)
        return lambda t, h: (w @ concatenate(x[t], h),)

    def _apart(self, x, w_x, w_h, b_x, b_h):
        """What a step gets at time t: from x (T, N, D), all times in one product, and from h."""
        last, n, d = x.shape
        b_x, b_h = b_x.reshape(-1, 1), b_h.reshape(-1, 1)  # (gates * H,) -> (gates * H, 1)
        flat = x.reshape(last * n, d).T  # (T, N, D) -> (T * N, D) -> (D, T * N)
        from_x = w_x.T @ flat + b_x  # (gates * H, D) @ (D, T * N) -> (gates * H, T * N)
        from_x = from_x.reshape(len(from_x), last, n)  # (gates * H, T * N) -> (gates * H, T, N)
        w_h = w_h.T  # (H, gates * H) -> (gates * H, H)
        # (gates * H, H) @ (H, N) -> (gates * H, N)
        return lambda t, h: (from_x[:, t], w_h @ h + b_h)

    def _first_states(self, x, state):
        """For each layer and direction its first states, (N, H) each."""
        h = self.bias_hh_l0
        shape = (self.n_layers * len(self.directions), len(x), self.n_hidden)
        if state is None:
            state = [Tensor(array_module(h.data).zeros(shape, dtype=h.dtype))] * self.states
        elif not isinstance(state, (tuple, list)):
            state = [state]
        got = [s.shape for s in state]
        if got != [shape] * self.states:
            raise ValueError(f"{self!r}: expected {self.states} x state {shape}, got {got}")
        return [[s[i] for s in state] for i in range(shape[0])]

    def _real(self, x, lengths):
        """Which elements are no padding, booleans (T, 1, N); None if all are."""
        if lengths is None:
            return None
        n, last, _ = x.shape
        lengths = as_tensor(lengths)
        if lengths.shape != (n,) or lengths.dtype.kind not in "iu":
            raise ValueError(f"{self!r}: expected {n} integer lengths 1 to {last}, got {lengths}")
        effect(_check_lengths, lengths.data, last, repr(self))
        lengths = lengths.to(self.bias_hh_l0.device).reshape(1, n)  # (N,) -> (1, N)
        return stack([less(t, lengths) for t in range(last)])  # (1, N) each -> (T, 1, N)


def _check_lengths(lengths, last, layer):
    got = f", got {lengths}" if isinstance(lengths, np.ndarray) else ""
    message = f"{layer}: expected {len(lengths)} integer lengths 1 to {last}{got}"
    doubt(array_module(lengths), ((lengths < 1) | (lengths > last)).any(), message)


class RNN(Recurrent):
    """The plain recurrent layer: h = tanh(from_x + from_h), as in PyTorch's nn.RNN.  Elman 1990.

    Arguments, shapes and parameters: Recurrent.
    """

    apart = False

    def step(self, from_both: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        return (tanh(from_both),)


class LSTM(Recurrent):
    """The recurrent layer with a memory c, which gates keep, fill and show; PyTorch's nn.LSTM.

    Its state is a pair (h, c).  Arguments, shapes and parameters: Recurrent.
    Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """

    apart = False
    gates, states = 4, 2  # input, forget, candidate, output; h and c

    def step(self, from_both: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        both = lstm(from_both, c)
        return both[: self.n_hidden], both[self.n_hidden :]


@primitive
def lstm(xp, from_both, c):
    """h and c after an element, (2 H, N), of the gates' inputs (4 H, N), and c before, (H, N)"""
    i, f, u, o = _gates(from_both)
    c = f * c + i * u
    return xp.concatenate([o * xp.tanh(c), c])  # (H, N) each -> (2 H, N)


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
    return concatenate(to_i, to_f, to_u, to_o), kept  # (H, N) each -> (4 H, N)


def _gates(both):
    n = both.shape[0] // 4
    i, f, u, o = (both[k * n : (k + 1) * n] for k in range(4))
    return sigmoid(i), sigmoid(f), tanh(u), sigmoid(o)


class GRU(Recurrent):
    """The recurrent layer that mixes the old h with a new one by a gate; PyTorch's nn.GRU.

    Arguments, shapes and parameters: Recurrent.  Cho et al. 2014, equations 5 to 8, but the reset
    gate r weighs from_h, not h, as in PyTorch.
    """

    gates = 3  # reset, update, candidate

    def step(self, from_x: Tensor, from_h: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        n = self.n_hidden
        r, z = (sigmoid(from_x[k : k + n] + from_h[k : k + n]) for k in (0, n))
        new = tanh(from_x[2 * n :] + r * from_h[2 * n :])
        return (new + z * (h - new),)
