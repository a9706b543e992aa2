"""Optimisers: from a parameter and its gradient to the next parameter.

The one rule of this file: an optimiser writes one `update`, in operators and operations only, for
one parameter; so the same lines run on arrays, and can be recorded into a graph.  Nothing is
changed in place: a step gives each parameter a new array.

Explained in course/10.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .engine import devices, intercept
from .engine.ops import maximum, minimum, sqrt
from .engine.tensor import Tensor
from .nn.functional import check_share
from .nn.module import Module

Schedule = Callable[[int], float]  # from the number of steps done to a factor of the rate


class Optimizer:
    """What all optimisers share: parameters, the rate, the state, the step.

    parameters: the Tensors to change, as `Module.parameters` lists them, each once.  lr >= 0: the
    learning rate.  schedule: None, or a function from the number of steps done (0, 1, ...) to a
    factor of lr.  state: for each parameter a dict slot -> Tensor.
    """

    elementwise = True  # whether `update` looks at each element alone; then all can be one array
    slots: tuple[str, ...] = ()  # the arrays kept for each parameter, of its shape, at first zeros

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, *, schedule: Schedule | None = None
    ) -> None:
        self.parameters = _checked(parameters)
        _check_not_negative(lr=lr)
        self.lr, self.schedule, self.steps = lr, schedule, 0
        self.state = [{} for _ in self.parameters]

    def rate(self, ahead: int = 0) -> float:
        """The learning rate of the next step, or of the one `ahead` steps after it."""
        factor = 1.0
        if self.schedule:
            factor = self.schedule(self.steps + ahead)
        return self.lr * factor

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        """The next value of parameter p with gradient g; each subclass writes its own.

        p, g: arrays of one shape.  state: dict slot -> array; `update` sets each slot to a new
        array.  t: the step's number, from 1.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Give every parameter that has a gradient its next value."""
        record = intercept.modes.tracing
        ahead = record.after.count(self._count) if record else 0
        lr = intercept.fresh(lambda: self.rate(ahead))
        t = intercept.fresh(lambda: self.steps + ahead + 1)
        jobs = [(p, state) for p, state in zip(self.parameters, self.state) if p.grad is not None]
        for p, state in jobs:
            self._prepare(p, state)
        if record:
            record.update(self, jobs, lr, t)
            jobs = []
        for p, state in jobs:
            arrays = {slot: kept.data for slot, kept in state.items()}
            p.data = self.update(p.data, p.grad.data, arrays, lr, t)
            for slot, kept in state.items():
                kept.data = arrays[slot]
        intercept.effect(self._count)

    def _prepare(self, p, state):
        """Make what is kept for p at its first step, and move it to where p is."""
        a = intercept.untraced(p.data)
        for slot in self.slots:
            if slot not in state:
                state[slot] = Tensor(devices.array_module(a).zeros_like(a))
            kept = intercept.untraced(state[slot].data)
            if type(kept) is not type(a):
                state[slot].data = devices.to_device(kept, devices.device_of(a))

    def _count(self):
        self.steps += 1

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward adds new ones."""
        if intercept.modes.tracing:
            intercept.modes.tracing.zeroed |= {id(p) for p in self.parameters}
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """A dict of copies: "steps", the number done, and "i.slot" for what parameter i keeps."""
        found = {"steps": np.asarray(self.steps)}
        for i, state in enumerate(self.state):
            found |= {f"{i}.{slot}": kept.data.copy() for slot, kept in state.items()}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave.  Raises ValueError, changing nothing, if it misfits."""
        state = dict(state)
        if "steps" not in state:
            raise ValueError("this is no optimiser's state: 'steps' is missing")
        steps = int(state.pop("steps"))
        new = [{} for _ in self.parameters]
        for path, array in state.items():
            i, _, slot = path.partition(".")
            if slot not in self.slots or not i.isdigit() or int(i) >= len(new):
                raise ValueError(f"{type(self).__name__} has no state {path!r}")
            p = self.parameters[int(i)]
            if tuple(array.shape) != p.shape:
                raise ValueError(f"state {path!r} has shape {array.shape}, parameter {i} {p.shape}")
            new[int(i)][slot] = devices.to_device(array, p.device).copy()
        self.steps = steps
        for mine, loaded in zip(self.state, new):
            for slot, kept in mine.items():  # the Tensors stay: a compiled step holds them
                kept.data = loaded.pop(slot) if slot in loaded else 0 * kept.data
            mine |= {slot: Tensor(array) for slot, array in loaded.items()}


def _check_not_negative(**numbers):
    """Raise ValueError unless each of the numbers, called by their names, is 0 or more."""
    for name, number in numbers.items():
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")


def _checked(parameters):
    """The parameters as a list.  Raises where they are not leaves, each once."""
    if isinstance(parameters, (Tensor, Module, dict)):
        raise TypeError("an optimiser takes a list of parameters; pass model.parameters(), not a "
                        f"{type(parameters).__name__}")  # fmt: skip
    found = list(parameters)
    places = {}  # parameter -> its place in the list
    if not found:
        raise ValueError("an optimiser needs parameters, got none; pass model.parameters()")
    for i, p in enumerate(found):
        if not (isinstance(p, Tensor) and p.requires_grad and p.op is None):
            raise TypeError("an optimiser takes leaves with requires_grad=True; pass "
                            f"model.parameters(); got, at place {i}, {p!r:.60}")  # fmt: skip
        if p in places:
            raise ValueError(f"parameter {i}, of shape {p.shape}, is parameter {places[p]} again, "
                             "and would be changed twice in a step; give each once")  # fmt: skip
        places[p] = i
    return found


class SGD(Optimizer):
    """Stochastic gradient descent: each step goes lr times against the gradient of a batch.

    momentum in [0, 1): the share of the last velocity that is kept (Polyak 1964).  nesterov: the
    gradient's own share is taken ahead along the velocity (Nesterov 1983; in the form of Sutskever
    et al. 2013); needs momentum > 0.  weight_decay >= 0: this times the parameter is added to its
    gradient.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, schedule=schedule)
        check_share("SGD", "momentum", momentum)
        _check_not_negative(weight_decay=weight_decay)
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the velocity: it needs momentum > 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        if momentum:
            self.slots = ("velocity",)

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * p
        if not self.momentum:
            return p - lr * g
        v = self.momentum * state["velocity"] + g
        state["velocity"] = v
        if self.nesterov:
            v = g + self.momentum * v
        return p - lr * v


class RMSProp(Optimizer):
    """Each step divided by the root of a running mean of squared gradients.

    decay in [0, 1): the share of the running mean that is kept at each step.  eps > 0 is added to
    the root, so that it is never 0.  Tieleman and Hinton 2012, lecture 6e.
    """

    slots = ("square",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.01,
        *,
        decay: float = 0.99,
        eps: float = 1e-8,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, schedule=schedule)
        check_share("RMSProp", "decay", decay)
        self.decay, self.eps = decay, eps

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        s = self.decay * state["square"] + (1 - self.decay) * (g * g)
        state["square"] = s
        return p - lr * g / (sqrt(s) + self.eps)


class Adam(Optimizer):
    """Steps along a running mean of the gradient, divided by the root of one of its square.

    Both means are corrected for their start at zero.  Kingma and Ba 2015, algorithm 1.
    betas: the shares of the two means that are kept at each step, each in [0, 1).
    weight_decay >= 0: this times the parameter is added to its gradient.
    The correction counts the optimiser's steps.  PyTorch counts those of each parameter: a layer
    that is unfrozen late begins with smaller steps there; give it an optimiser of its own.
    """

    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, schedule=schedule)
        for beta in betas:
            check_share(type(self).__name__, "each of betas", beta)
        _check_not_negative(weight_decay=weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        if self.weight_decay:
            g = g + self.weight_decay * p
        beta1, beta2 = self.betas
        m = beta1 * state["mean"] + (1 - beta1) * g
        s = beta2 * state["square"] + (1 - beta2) * (g * g)
        state["mean"], state["square"] = m, s
        # The corrections are numbers: m / (1 - beta1**t) and s / (1 - beta2**t), taken together.
        rate = lr / (1 - beta1**t)
        return p - rate * m / (sqrt(s) * (1 / sqrt(1 - beta2**t)) + self.eps)


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not inside it.

    Each step also takes lr * weight_decay * p off p, so the decay is not divided by the root of the
    squares.  Loshchilov and Hutter 2019, algorithm 2.  betas, eps and schedule: as in Adam.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, schedule=schedule)
        _check_not_negative(weight_decay=weight_decay)
        self.decoupled_decay = weight_decay

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        return super().update((1 - lr * self.decoupled_decay) * p, g, state, lr, t)


# ---- clipping


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients together so that their common length is at most `max_norm`.

    The length is that of all elements of all gradients in one vector.  Returns what it was before,
    a Tensor with one element.  A parameter that is listed twice counts once.
    Pascanu et al. 2013, algorithm 1.
    """
    with_grad = [p for p in dict.fromkeys(parameters) if p.grad is not None]
    norm = sqrt(sum((p.grad.data * p.grad.data).sum() for p in with_grad))
    factor = minimum(max_norm / (norm + 1e-6), 1.0)
    for p in with_grad:
        p.grad = Tensor(p.grad.data * factor)
    return Tensor(devices.array_module(norm).asarray(norm))


def clip_grad_value(parameters: Iterable[Tensor], limit: float) -> None:
    """Cut each element of each gradient to [-limit, limit]."""
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor(minimum(maximum(p.grad.data, -limit), limit))


# ---- schedules: functions from the number of steps done to a factor of the learning rate


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """A schedule: 1, and from each `every` steps on `factor` times what it was."""
    return lambda step: factor ** (step // every)


def cosine(total: int, last: float = 0.0) -> Schedule:
    """A schedule: half a cosine from 1 down to `last` over `total` steps, then `last`.

    Loshchilov and Hutter 2017.
    """
    return lambda step: last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1)))


def warmup(steps: int, then: Schedule | None = None) -> Schedule:
    """A schedule: a straight line up to 1 over `steps` steps, then `then` from its start, or 1."""

    def factor(step):
        if step < steps:
            return (step + 1) / steps
        return then(step - steps) if then else 1.0

    return factor


def one_cycle(
    total: int, *, start: float = 0.04, last: float = 1e-4, peak_at: float = 0.3
) -> Schedule:
    """A schedule: up from `start` to 1 and down to `last`, both along half a cosine.

    total: how many steps it takes; peak_at: the share of them, in [0, 1], after which it is 1.
    Smith and Topin 2018.
    """
    peak = max(1, round(total * peak_at))

    def factor(step):
        if step < peak:
            return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / peak))
        return cosine(max(1, total - peak), last)(step - peak)

    return factor
