"""Optimisers: from a parameter and its gradient to the next parameter.

The one rule of this file: an optimiser writes one `update`, in operators and operations only, for
one parameter; so the same lines run on arrays, and can be recorded into a graph.  Nothing is
changed in place: a step gives each parameter a new array.

Explained in course/10.
"""

import math

from . import advice
from .engine import devices, intercept
from .engine.ops import maximum, minimum, sqrt
from .engine.tensor import Tensor
from .nn.module import Module


class Optimizer:
    """What all optimisers share: parameters, the rate, the state, the step.

    parameters: the Tensors to change, as `Module.parameters` lists them, each once.  lr: the
    learning rate.  schedule: None, or a function from the number of steps done (0, 1, ...) to a
    factor of lr.
    """

    elementwise = True  # whether `update` looks at each element alone; then all can be one array
    slots = ()  # names of the arrays kept for each parameter, each of its shape, at first zeros

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        advice.constructors(cls)

    def __init__(self, parameters, lr, *, schedule=None):
        self.parameters = _checked(parameters)
        if lr < 0:
            raise ValueError(f"lr must not be negative, got {lr}")
        self.lr, self.schedule, self.steps = lr, schedule, 0
        self.state = [{} for _ in self.parameters]

    __getattr__ = advice.of_object("Optimizer")

    def rate(self, ahead=0):
        """The learning rate of the next step, or `ahead` steps after it."""
        return self.lr * (self.schedule(self.steps + ahead) if self.schedule else 1.0)

    def update(self, p, g, state, lr, t):
        """The next value of parameter p with gradient g; each subclass writes its own.

        state: dict slot -> array; `update` sets each slot to a new array.  t: the step's number,
        from 1.
        """
        raise NotImplementedError

    def step(self):
        """Give every parameter that has a gradient its next value."""
        ahead = intercept.modes.tracing.after.count(self._count) if intercept.modes.tracing else 0
        lr = intercept.fresh(lambda: self.rate(ahead))
        t = intercept.fresh(lambda: self.steps + ahead + 1)
        jobs = [(p, state) for p, state in zip(self.parameters, self.state) if p.grad is not None]
        for p, state in jobs:
            a = intercept.untraced(p.data)
            for slot in self.slots:
                if slot not in state:
                    state[slot] = Tensor(devices.array_module(a).zeros_like(a))
                elif type(kept := intercept.untraced(state[slot].data)) is not type(a):  # p moved
                    state[slot].data = devices.to_device(kept, devices.device_of(a))
        if intercept.modes.tracing:
            intercept.modes.tracing.update(self, jobs, lr, t)
            jobs = []
        for p, state in jobs:
            arrays = {slot: kept.data for slot, kept in state.items()}
            p.data = self.update(p.data, p.grad.data, arrays, lr, t)
            for slot, kept in state.items():
                kept.data = arrays[slot]
        intercept.effect(self._count)

    def _count(self):
        self.steps += 1

    def zero_grad(self):
        """Forget the gradients, before the next backward adds new ones."""
        if intercept.modes.tracing:
            intercept.modes.tracing.zeroed |= {id(p) for p in self.parameters}
        for p in self.parameters:
            p.grad = None

    def state_dict(self):
        """A dict "steps" and "parameter number.slot" -> array."""
        found = {"steps": devices.np.asarray(self.steps)}
        for i, state in enumerate(self.state):
            found |= {f"{i}.{slot}": kept.data.copy() for slot, kept in state.items()}
        return found

    def load_state_dict(self, state):
        """Take back what `state_dict` gave.  Raises ValueError when it does not fit."""
        state = dict(state)
        if "steps" not in state:
            raise ValueError("this is no optimiser's state: 'steps' is missing")
        steps, new = int(state.pop("steps")), [{} for _ in self.parameters]
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


def _checked(parameters):
    """The parameters as a list.  Raises where they are not leaves, each once."""
    if isinstance(parameters, (Tensor, Module, dict)):
        raise TypeError("an optimiser takes a list of parameters; pass model.parameters(), not a "
                        f"{type(parameters).__name__}")  # fmt: skip
    found, places = list(parameters), {}
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
    """Gradient descent on batches.

    momentum in [0, 1): share of the last velocity that is kept (Polyak 1964).  nesterov: look
    ahead along the velocity (Nesterov 1983; in the form of Sutskever et al. 2013).
    weight_decay >= 0: this times the parameter is added to its gradient.
    """

    def __init__(
        self, parameters, lr=0.01, *, momentum=0.0, nesterov=False, weight_decay=0.0, schedule=None
    ):
        super().__init__(parameters, lr, schedule=schedule)
        if nesterov and not momentum:
            raise ValueError("nesterov looks ahead along the velocity: it needs momentum > 0")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay
        self.slots = ("velocity",) if momentum else ()

    def update(self, p, g, state, lr, t):
        if self.weight_decay:
            g = g + self.weight_decay * p
        if self.momentum:
            v = state["velocity"] = self.momentum * state["velocity"] + g
            g = g + self.momentum * v if self.nesterov else v
        return p - lr * g


class RMSProp(Optimizer):
    """Each step divided by the root of a running mean of squared gradients.

    Tieleman and Hinton 2012, lecture 6e.  decay in [0, 1): what the running mean keeps.
    """

    slots = ("square",)

    def __init__(self, parameters, lr=0.01, *, decay=0.99, eps=1e-8, schedule=None):
        super().__init__(parameters, lr, schedule=schedule)
        self.decay, self.eps = decay, eps

    def update(self, p, g, state, lr, t):
        s = state["square"] = self.decay * state["square"] + (1 - self.decay) * (g * g)
        return p - lr * g / (sqrt(s) + self.eps)


class Adam(Optimizer):
    """Running means of the gradient and of its square, both corrected for their start at zero.

    Kingma and Ba 2015, algorithm 1.  betas: what the two means keep, each in [0, 1).
    weight_decay >= 0: this times the parameter is added to its gradient.
    The correction counts the optimiser's steps.  PyTorch counts those of each parameter: a layer
    that is unfrozen late begins with smaller steps there; give it an optimiser of its own.
    """

    slots = ("mean", "square")

    def __init__(
        self, parameters, lr=0.001, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, schedule=None
    ):
        super().__init__(parameters, lr, schedule=schedule)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay

    def update(self, p, g, state, lr, t):
        if self.weight_decay:
            g = g + self.weight_decay * p
        beta1, beta2 = self.betas
        m = state["mean"] = beta1 * state["mean"] + (1 - beta1) * g
        s = state["square"] = beta2 * state["square"] + (1 - beta2) * (g * g)
        # The corrections are numbers: m / (1 - beta1**t) and s / (1 - beta2**t), taken together.
        rate = lr / (1 - beta1**t)
        return p - rate * m / (sqrt(s) * (1 / sqrt(1 - beta2**t)) + self.eps)


class AdamW(Adam):
    """Adam with weight decay beside the gradient, not inside it.

    Loshchilov and Hutter 2019, algorithm 2: each step also takes lr * weight_decay * p off p.
    options: betas, eps and schedule, as in Adam.
    """

    def __init__(self, parameters, lr=0.001, *, weight_decay=0.01, **options):
        super().__init__(parameters, lr, **options)
        self.decoupled_decay = weight_decay

    def update(self, p, g, state, lr, t):
        return super().update((1 - lr * self.decoupled_decay) * p, g, state, lr, t)


# ---- clipping


def clip_grad_norm(parameters, max_norm):
    """Scale all gradients together so that their common length is at most `max_norm`.

    Returns the length before, a Tensor with one element.  Pascanu et al. 2013, algorithm 1.
    """
    with_grad = [p for p in dict.fromkeys(parameters) if p.grad is not None]
    norm = sqrt(sum((p.grad.data * p.grad.data).sum() for p in with_grad))
    factor = minimum(max_norm / (norm + 1e-6), 1.0)
    for p in with_grad:
        p.grad = Tensor(p.grad.data * factor)
    return Tensor(devices.array_module(norm).asarray(norm))


def clip_grad_value(parameters, limit):
    """Cut each element of each gradient to [-limit, limit]."""
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor(minimum(maximum(p.grad.data, -limit), limit))


# ---- schedules: functions from the number of steps done to a factor of the learning rate


def step_decay(every, factor=0.1):
    """Times `factor` after each `every` steps."""
    return lambda step: factor ** (step // every)


def cosine(total, last=0.0):
    """Half a cosine from 1 down to `last` over `total` steps (Loshchilov and Hutter 2017)."""
    return lambda step: last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1)))


def warmup(steps, then=None):
    """A straight line up to 1 over `steps` steps, then the schedule `then` from its start."""

    def factor(step):
        if step < steps:
            return (step + 1) / steps
        return then(step - steps) if then else 1.0

    return factor


def one_cycle(total, *, start=0.04, last=1e-4, peak_at=0.3):
    """Up from `start` to 1 and down to `last`, both along a cosine (Smith and Topin 2018).

    peak_at: the share of the `total` steps after which the factor is 1.
    """
    peak = max(1, round(total * peak_at))

    def factor(step):
        if step < peak:
            return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / peak))
        return cosine(max(1, total - peak), last)(step - peak)

    return factor


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
