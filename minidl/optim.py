"""Optimisers: from a parameter and its gradient to the next parameter.

The one rule of this file: an optimiser writes one `update`, in operators and operations only, for
one parameter; so the same lines run on arrays, and can be traced into a graph.  Nothing is
changed in place: a step gives each parameter a new array.  A group of parameters with options of
its own is an optimiser of its own, and the one it belongs to says when it steps.

Explained in course/10.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from . import advice
from .engine import devices, intercept
from .engine.ops import maximum, minimum, sqrt
from .engine.tensor import Tensor
from .nn.functional import check_share
from .nn.module import Module

Schedule = Callable[[int], float]  # from the number of steps done to a factor of the rate
Parameters = Iterable[Tensor] | Iterable[Mapping[str, Any]]  # those, or groups of them


class Optimizer:
    """What all optimisers share: parameters, the rate, the state, the step.

    parameters: the Tensors to change, as `Module.parameters` lists them, each once; or groups of
    them, dicts with "params", such a list, and what is otherwise for these: "lr", "schedule" and
    whatever else the optimiser takes, such as "weight_decay".  lr >= 0: the learning rate.
    schedule: None, or a function from the number of steps done (0, 1, ...) to a factor of lr.
    options: what else a group may have; a subclass hands on all that it takes.

    groups: for each group an optimiser of this kind, whose attributes can be set like any other's
    (`optimizer.groups[0].lr = 0.1`); [] if none were given.  PyTorch has dicts, and always one at
    least.  An attribute of the whole that is set goes on to the groups that have none of their own.
    parameters, state: those of all groups, one after the other; the state has for each parameter a
    dict slot -> Tensor.
    """

    elementwise = True  # whether `update` looks at each element alone; then all can be one array
    slots: tuple[str, ...] = ()  # the arrays kept for each parameter, of its shape, at first zeros

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        advice.constructors(cls)

    def __init__(
        self,
        parameters: Parameters,
        lr: float,
        *,
        schedule: Schedule | None = None,
        **options: Any,
    ) -> None:
        given = _listed(parameters)
        self.groups: list[Optimizer] = []
        if any(isinstance(group, Mapping) for group in given):
            common = options | {"lr": lr, "schedule": schedule}
            self.groups = [self._group(i, group, common) for i, group in enumerate(given)]
            given = [p for group in self.groups for p in group.parameters]
        _check_numbers(lr=lr)
        if not (schedule is None or callable(schedule)):
            raise TypeError(f"schedule: expected a function from the number of steps done to a "
                            f"factor of lr, such as optim.cosine(1000), got {schedule!r:.60}; a "
                            "rate that stays is lr=")  # fmt: skip
        self.parameters: list[Tensor] = _checked(given)
        vars(self)["lr"], self.schedule, self.steps = lr, schedule, 0
        self.state: list[dict[str, Tensor]] = [
            state for group in self.groups for state in group.state
        ] or [{} for _ in self.parameters]

    def _group(self, i, group, options):
        """The optimiser of group i, a dict; options: what holds where it says nothing."""
        kind, takes = type(self).__name__, inspect.signature(type(self)).parameters
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(
                f"{kind}: group {i} must be a dict with 'params', a list of parameters, got "
                f"{group!r:.60}"
            )
        if kept := takes.keys() - options - {"parameters"}:
            raise TypeError(
                f"{kind} takes no groups: its __init__ must give super().__init__ also "
                f"{', '.join(f'{name}={name}' for name in sorted(kept))}"
            )
        own = options | group
        found = type(self)(own.pop("params"), **own)
        found._follows = options.keys() - group - {"lr"}
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "learning_rate":
            raise AttributeError(f"{type(self).__name__}: the learning rate is called lr")
        super().__setattr__(name, value)
        for group in vars(self).get("groups", ()):
            if name in group._follows:
                setattr(group, name, value)

    @property
    def lr(self) -> float:
        """The learning rate.  Where it is set, those of the groups change in proportion, so a rate
        of their own stays so many times as large.
        """
        return vars(self)["lr"]

    @lr.setter
    def lr(self, lr: float) -> None:
        _check_numbers(lr=lr)
        if self.groups and not self.lr:
            raise ValueError("lr was 0, to which no rate has a proportion; set groups[i].lr")
        for group in self.groups:
            group.lr *= lr / self.lr
        vars(self)["lr"] = lr

    __getattr__ = advice.of_object("Optimizer")

    def rate(self, ahead: int = 0) -> float:
        """The learning rate of the next step, or of the one `ahead` steps after it."""
        if not self.schedule:
            return self.lr
        return self.lr * self.schedule(self.steps + ahead)

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        """The next value of parameter p with gradient g; each subclass writes its own.

        p, g: arrays of one shape.  state: dict slot -> array; `update` sets each slot to a new
        array.  t: the step's number, from 1.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Give every parameter that has a gradient its next value."""
        trace = intercept.modes.tracing
        ahead = trace.after.count(self._count) if trace else 0
        t = intercept.fresh(lambda: self.steps + ahead + 1)
        calls = [group._call(ahead) for group in self.groups or [self]]
        if trace:
            trace.update(calls, t)
            calls = []
        for group, jobs, lr in calls:
            for p, state in jobs:
                arrays = {slot: kept.data for slot, kept in state.items()}
                p.data = group.update(p.data, p.grad.data, arrays, lr, t)
                for slot, kept in state.items():
                    kept.data = arrays[slot]
        intercept.effect(self._count)

    def _call(self, ahead):
        """What a step of this one, without groups, needs: itself, pairs (parameter, state) of what
        has a gradient, the rate.  ahead: how many steps come before it.
        """
        jobs = [(p, state) for p, state in zip(self.parameters, self.state) if p.grad is not None]
        for p, state in jobs:
            self._prepare(p, state)
        return self, jobs, intercept.fresh(lambda: self.rate(ahead))

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
        for one in (self, *self.groups):
            one.steps += 1

    def zero_grad(self) -> None:
        """Forget the gradients, before the next backward adds new ones."""
        if intercept.modes.tracing:
            intercept.modes.tracing.zeroed |= {id(p) for p in self.parameters}
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """A dict of copies: "steps", the number done, "lr", this one's rate and then the groups',
        and "i.slot" for what parameter i keeps.
        """
        rates = [one.lr for one in (self, *self.groups)]
        found = {"steps": np.asarray(self.steps), "lr": np.asarray(rates, dtype=np.float64)}
        for i, state in enumerate(self.state):
            found |= {f"{i}.{slot}": kept.data.copy() for slot, kept in state.items()}
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave.  Raises ValueError, changing nothing, if it misfits.

        The rates too, if they are there, as in PyTorch: set what is to be another afterwards.
        Other options and schedules, which PyTorch loads or keeps elsewhere, stay those that this
        one was made with.
        """
        state = dict(state)
        if "steps" not in state:
            raise ValueError("this is no optimiser's state: 'steps' is missing")
        steps, every = int(state.pop("steps")), (self, *self.groups)
        rates = np.asarray(state.pop("lr", [one.lr for one in every])).tolist()
        if len(rates) != len(every):
            raise ValueError(
                f"this state is of {len(rates) - 1} groups, this optimiser has {len(self.groups)}"
            )
        if steps and self.slots and not state:
            raise ValueError(f"this state is of an optimiser that keeps nothing beside its rate, "
                             f"such as SGD without momentum; {type(self).__name__} keeps "
                             f"{', '.join(self.slots)}")  # fmt: skip
        slots = [group.slots for group in self.groups or [self] for _ in group.parameters]
        new = [{} for _ in self.parameters]
        for path, array in state.items():
            i, _, slot = path.partition(".")
            if not i.isdigit() or int(i) >= len(new) or slot not in slots[int(i)]:
                raise ValueError(f"{type(self).__name__} has no state {path!r}")
            p = self.parameters[int(i)]
            if tuple(array.shape) != p.shape:
                raise ValueError(f"state {path!r} has shape {array.shape}, parameter {i} {p.shape}")
            new[int(i)][slot] = devices.to_device(array, p.device).copy()
        for one, lr in zip(every, rates):
            one.steps, vars(one)["lr"] = steps, lr
        for mine, loaded in zip(self.state, new):
            for slot, kept in mine.items():  # the Tensors stay: a compiled step holds them
                kept.data = loaded.pop(slot) if slot in loaded else 0 * kept.data
            mine |= {slot: Tensor(array) for slot, array in loaded.items()}


def _check_numbers(**numbers):
    """Raise ValueError unless each of the numbers, called by their names, is finite and >= 0."""
    for name, number in numbers.items():
        if intercept.modes.tracing and devices.is_array(number):
            continue  # an argument of a compiled function, known when that is called
        if not (isinstance(number, (int, float, np.number)) and 0 <= number < math.inf):
            raise ValueError(f"{name} must be a finite number, 0 or more, got {number!r}")


advice.methods(Optimizer)


def _listed(parameters):
    """What an optimiser was given, as a list."""
    if isinstance(parameters, (Tensor, Module, Mapping, str)) or not isinstance(
        parameters, Iterable
    ):
        raise TypeError("an optimiser takes a list of parameters; pass model.parameters(), not a "
                        f"{type(parameters).__name__}")  # fmt: skip
    return list(parameters)


def _checked(found):
    """A list of parameters, if they are leaves, each there once; else an error."""
    places = {}  # parameter -> its place in the list
    if not found:
        raise ValueError("an optimiser needs parameters, got none; pass model.parameters()")
    for i, p in enumerate(found):
        if not (isinstance(p, Tensor) and p.requires_grad and p.op is None):
            raise TypeError(
                "an optimiser takes leaves with requires_grad=True; pass model.parameters(), or, "
                "where some are frozen, [p for p in model.parameters() if p.requires_grad]; got, "
                f"at place {i}, {p!r:.60}"
            )
        if p in places:
            raise ValueError(f"parameter {i}, of shape {p.shape}, is parameter {places[p]} again, "
                             "and would be changed twice in a step; give each once")  # fmt: skip
        places[p] = i
    return found


def decay_groups(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: `weight_decay` for what has two axes or more, none for the rest.

    So matrices, kernels and embeddings decay; biases and the scales of norms, which a pull to 0
    keeps from their job, do not.  As nanoGPT and timm do it; minGPT leaves embeddings out too:
    write the groups for that.  A group that would be empty is left out.
    `optim.AdamW(optim.decay_groups(model.parameters(), 0.1), lr=0.001)`
    """
    found = _checked(_listed(parameters))
    weights, rest = [p for p in found if p.ndim > 1], [p for p in found if p.ndim <= 1]
    return [
        {"params": group, "weight_decay": decay}
        for group, decay in ((weights, weight_decay), (rest, 0.0))
        if group
    ]


class SGD(Optimizer):
    """Stochastic gradient descent: each step goes lr times against the gradient of a batch.

    momentum in [0, 1): the share of the last velocity that is kept (Polyak 1964).  nesterov: the
    gradient's own share is taken ahead along the velocity (Nesterov 1983; in the form of Sutskever
    et al. 2013); needs momentum > 0.  weight_decay >= 0: this times the parameter is added to its
    gradient.
    """

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(
            parameters, lr, schedule=schedule, momentum=momentum, nesterov=nesterov,
            weight_decay=weight_decay,
        )  # fmt: skip
        check_share("SGD", "momentum", momentum)
        _check_numbers(weight_decay=weight_decay)
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
        parameters: Parameters,
        lr: float = 0.01,
        *,
        decay: float = 0.99,
        eps: float = 1e-8,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(parameters, lr, schedule=schedule, decay=decay, eps=eps)
        check_share("RMSProp", "decay", decay)
        _check_numbers(eps=eps)
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

    decoupled = False  # whether decay is taken off p, not added to its gradient
    slots = ("mean", "square")

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(
            parameters, lr, schedule=schedule, betas=betas, eps=eps, weight_decay=weight_decay
        )
        if np.shape(betas) != (2,):
            raise ValueError(f"betas: expected two shares, betas=(0.9, 0.999), got {betas!r}")
        for beta in betas:
            check_share(type(self).__name__, "each of betas", beta)
        _check_numbers(eps=eps, weight_decay=weight_decay)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, p: Any, g: Any, state: dict[str, Any], lr: float, t: int) -> Any:
        if self.decoupled:
            p = (1 - lr * self.weight_decay) * p
        elif self.weight_decay:
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

    decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: float = 0.001,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(
            parameters, lr, schedule=schedule, betas=betas, eps=eps, weight_decay=weight_decay
        )


# ---- clipping


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients together so that their common length is at most `max_norm`.

    The length is that of all elements of all gradients in one vector.  Returns what it was before,
    a Tensor with one element.  A parameter that is listed twice counts once.
    Pascanu et al. 2013, algorithm 1.
    """
    _check_numbers(max_norm=max_norm)
    with_grad = [p for p in dict.fromkeys(parameters) if p.grad is not None]
    norm = sqrt(sum((p.grad.data * p.grad.data).sum() for p in with_grad))
    factor = minimum(max_norm / (norm + 1e-6), 1.0)
    for p in with_grad:
        p.grad = Tensor(p.grad.data * factor)
    return Tensor(devices.array_module(norm).asarray(norm))


def clip_grad_value(parameters: Iterable[Tensor], limit: float) -> None:
    """Cut each element of each gradient to [-limit, limit]."""
    _check_numbers(limit=limit)
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor(minimum(maximum(p.grad.data, -limit), limit))


# ---- schedules: functions from the number of steps done to a factor of the learning rate


def step_decay(every: int, factor: float = 0.1) -> Schedule:
    """A schedule: 1, and from each `every` steps on `factor` times what it was."""

    def share(step):
        _check_steps("step_decay: every", every)
        return factor ** (step // every)

    return share


def cosine(total: int, last: float = 0.0) -> Schedule:
    """A schedule: half a cosine from 1 down to `last` over `total` steps, then `last`.

    Loshchilov and Hutter 2017.
    """

    def share(step):
        _check_steps("cosine: total", total)
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1)))

    return share


def _check_steps(what, n):
    """Raise ValueError unless a number of steps is above 0; not before a schedule is asked, so that
    `schedule=cosine` without its brackets is told apart.
    """
    if not n > 0:
        raise ValueError(f"{what} must be above 0, a number of steps, got {n!r}")


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


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
