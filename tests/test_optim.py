"""Optimisers against PyTorch, their states, clipping, schedules."""

import copy
import math
from functools import partial

import numpy as np
import pytest

import minidl
from minidl import nn, optim, tensor
from minidl.engine import devices

START = np.random.default_rng(0).standard_normal((3, 2))
KINDS = {
    "SGD": (lambda p: optim.SGD(p, 0.1), lambda t, p: t.optim.SGD(p, 0.1)),
    "momentum": (
        lambda p: optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
        lambda t, p: t.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01),
    ),
    "Nesterov": (
        lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        lambda t, p: t.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "RMSProp": (lambda p: optim.RMSProp(p, 0.02), lambda t, p: t.optim.RMSprop(p, 0.02)),
    "Adam": (
        lambda p: optim.Adam(p, 0.02, weight_decay=0.1),
        lambda t, p: t.optim.Adam(p, 0.02, weight_decay=0.1),
    ),
    "AdamW": (
        lambda p: optim.AdamW(p, 0.02, betas=(0.8, 0.95), weight_decay=0.1),
        lambda t, p: t.optim.AdamW(p, 0.02, betas=(0.8, 0.95), weight_decay=0.1),
    ),
}


def ravine(x):
    """A long narrow valley with a bend, so that no two optimisers agree."""
    return ((x[:, 0] - 1) ** 2 + 20 * (x[:, 1] - x[:, 0] * x[:, 0]) ** 2).sum() * 0.01


def walk(x, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        ravine(x).backward()
        optimizer.step()
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_pytorchs(kind, device, torch):
    ours, theirs = KINDS[kind]
    x = tensor(START, requires_grad=True, device=device)
    t = torch.tensor(START, requires_grad=True)
    walk(x, ours([x]), 50)
    walk(t, theirs(torch, [t]), 50)
    np.testing.assert_allclose(x.numpy(), t.detach().numpy(), rtol=1e-9)


# ---- against the papers, one number at a time


def sgd(p, gradients, *, lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0):
    v = 0.0
    for g in gradients:
        g += weight_decay * p
        v = momentum * v + g
        p -= lr * (g + momentum * v if nesterov else v)
    return p


def rmsprop(p, gradients, *, lr=0.01, decay=0.99, eps=1e-8):
    s = 0.0
    for g in gradients:
        s = decay * s + (1 - decay) * g**2
        p -= lr * g / (math.sqrt(s) + eps)
    return p


def adam(p, gradients, *, lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, apart=False):
    m = s = 0.0
    for t, g in enumerate(gradients, 1):
        if not apart:
            g += weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        s = betas[1] * s + (1 - betas[1]) * g**2
        step = m / (1 - betas[0] ** t) / (math.sqrt(s / (1 - betas[1] ** t)) + eps)
        p -= lr * step + (lr * weight_decay * p if apart else 0.0)
    return p


def adamw(p, gradients, *, weight_decay=0.01, **options):
    return adam(p, gradients, weight_decay=weight_decay, apart=True, **options)


@pytest.mark.parametrize(
    "ours, paper, options",
    [
        (optim.SGD, sgd, {}),
        (optim.SGD, sgd, {"lr": 0.3, "weight_decay": 0.2}),
        (optim.SGD, sgd, {"momentum": 0.8}),
        (optim.SGD, sgd, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
        (optim.RMSProp, rmsprop, {}),
        (optim.RMSProp, rmsprop, {"lr": 0.3, "decay": 0.7, "eps": 0.1}),
        (optim.Adam, adam, {}),
        (optim.Adam, adam, {"lr": 0.3, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2}),
        (optim.AdamW, adamw, {}),
        (optim.AdamW, adamw, {"lr": 0.3, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.2}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_steps_are_those_of_the_papers(ours, paper, options, device):
    """With what is said and with the defaults; in other words than the optimisers."""
    gradients = np.random.default_rng(1).standard_normal((5, *START.shape))
    x = tensor(START, requires_grad=True, device=device)
    optimizer = ours([x], **options)
    for g in gradients:
        x.grad = tensor(g, device=device)
        optimizer.step()
    wanted = [
        paper(p, list(gs), **options) for p, gs in zip(START.flat, gradients.reshape(5, -1).T)
    ]
    np.testing.assert_allclose(x.numpy().ravel(), wanted, rtol=1e-12)


# ---- against PyTorch: schedules, gradients that are missing, states that are loaded

SCHEDULES = {
    "none": lambda step: 1.0,
    "falling": optim.step_decay(2, 0.5),
    "warm": optim.warmup(3, optim.cosine(9, last=0.1)),
    "stopping": lambda step: float(step % 3 > 0),  # a rate of 0 moves nothing, and decays nothing
}


def split(p, **options):
    """The first of two parameters in a group with options of its own, the second in one without."""
    return [{"params": p[:1], **options}, {"params": p[1:]}]


MORE_KINDS = KINDS | {
    "Nesterov, decay": (
        lambda p: optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.2),
        lambda t, p: t.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.2),
    ),
    "SGD, decay": (
        lambda p: optim.SGD(p, 0.1, weight_decay=0.2),
        lambda t, p: t.optim.SGD(p, 0.1, weight_decay=0.2),
    ),
    "RMSProp, decay": (
        lambda p: optim.RMSProp(p, 0.02, decay=0.7, eps=1e-3),
        lambda t, p: t.optim.RMSprop(p, 0.02, alpha=0.7, eps=1e-3),
    ),
    "Adam, betas": (
        lambda p: optim.Adam(p, 0.02, betas=(0.5, 0.7), eps=1e-2),
        lambda t, p: t.optim.Adam(p, 0.02, betas=(0.5, 0.7), eps=1e-2),
    ),
    "AdamW, much decay": (
        lambda p: optim.AdamW(p, 0.2, weight_decay=1.0),
        lambda t, p: t.optim.AdamW(p, 0.2, weight_decay=1.0),
    ),
    "SGD, groups": (
        lambda p: optim.SGD(split(p, lr=0.3, weight_decay=0.2), 0.1, momentum=0.9),
        lambda t, p: t.optim.SGD(split(p, lr=0.3, weight_decay=0.2), 0.1, momentum=0.9),
    ),
    "SGD, one with momentum": (
        lambda p: optim.SGD(split(p, momentum=0.8, nesterov=True), 0.1),
        lambda t, p: t.optim.SGD(split(p, momentum=0.8, nesterov=True), 0.1),
    ),
    "RMSProp, groups": (
        lambda p: optim.RMSProp(split(p, decay=0.7, eps=1e-3), 0.02),
        lambda t, p: t.optim.RMSprop(split(p, alpha=0.7, eps=1e-3), 0.02),
    ),
    "Adam, groups": (
        lambda p: optim.Adam(split(p, lr=0.1, betas=(0.5, 0.7)), 0.02, weight_decay=0.1),
        lambda t, p: t.optim.Adam(split(p, lr=0.1, betas=(0.5, 0.7)), 0.02, weight_decay=0.1),
    ),
    "AdamW, groups": (
        lambda p: optim.AdamW(split(p, lr=0.1, weight_decay=0.0), 0.02, weight_decay=0.5),
        lambda t, p: t.optim.AdamW(split(p, lr=0.1, weight_decay=0.0), 0.02, weight_decay=0.5),
    ),
}
GROUPED = [kind for kind in MORE_KINDS if "group" in kind or "one with" in kind]
# For each step, which of the two parameters have a gradient.
GRADIENTS = {
    "always": [(1, 1)] * 8,
    "at times": [(1, 1), (1, 0), (0, 1), (1, 1), (1, 0), (1, 0), (1, 1), (0, 0)],
    "late": [(1, 0), (1, 0), (1, 0), (1, 1), (1, 1), (0, 1), (0, 1), (1, 1)],
}
# These count the steps of all parameters together, PyTorch's those of each.
COUNTED = {kind for kind in MORE_KINDS if kind.startswith("Adam")}


class Twins:
    """Two parameters here, and the same two in PyTorch, each pair with its optimiser."""

    def __init__(self, kind, schedule, device, torch, compiled=False):
        ours, theirs = MORE_KINDS[kind]
        starts = START, START[:, ::-1] * 0.5
        self.ours = [tensor(a, requires_grad=True, device=device) for a in starts]
        self.theirs = [torch.tensor(a.copy(), requires_grad=True) for a in starts]
        self.optimizer, self.their_optimizer = ours(self.ours), theirs(torch, self.theirs)
        self.optimizer.schedule = schedule
        self.rates = torch.optim.lr_scheduler.LambdaLR(self.their_optimizer, schedule)
        wrap = minidl.compile if compiled else lambda function: function
        self.runs = {used: wrap(partial(self._here, used)) for used in np.ndindex(2, 2)}
        self.device = device

    def _here(self, used, scale):
        self._step(self.ours, self.optimizer, used, scale)

    @staticmethod
    def _step(parameters, optimizer, used, scale):
        for p in parameters:
            p.grad = None
        for p, wanted in zip(parameters, used):
            if wanted:
                (ravine(p) * scale).backward()
        optimizer.step()

    def step(self, i, used):
        """A step here and there, in which the parameters that are `used` have a gradient."""
        self.runs[used](tensor(1.0 + i, dtype="float64", device=self.device))
        self._step(self.theirs, self.their_optimizer, used, 1.0 + i)
        self.rates.step()

    def compare(self, where):
        for k, (p, q) in enumerate(zip(self.ours, self.theirs)):
            np.testing.assert_allclose(
                p.numpy(), q.detach().numpy(), rtol=1e-9, err_msg=f"{where}: parameter {k}"
            )


def patterns(kind):
    """Names of GRADIENTS for which this optimiser agrees with PyTorch's."""
    return ["always"] if kind in COUNTED else list(GRADIENTS)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", MORE_KINDS)
def test_steps_are_pytorchs_with_schedules_and_missing_gradients(kind, schedule, device, torch):
    for when in patterns(kind):
        twins = Twins(kind, SCHEDULES[schedule], device, torch)
        for i, used in enumerate(GRADIENTS[when]):
            twins.step(i, used)
            twins.compare(f"gradients {when}, step {i}")


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize("kind", [*KINDS, *GROUPED])
def test_compiled_steps_are_pytorchs_with_schedules_and_missing_gradients(kind, device, torch):
    """One compiled function for each set of parameters that have a gradient, taken in turn."""
    when = patterns(kind)[-1]
    twins = Twins(kind, SCHEDULES["falling"], device, torch, compiled=True)
    for i, used in enumerate(GRADIENTS[when] * 2):
        twins.step(i, used)
        twins.compare(f"gradients {when}, step {i}")


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", [*KINDS, *GROUPED])
def test_an_early_state_is_loaded_over_a_later_one_as_in_pytorch(kind, compiled, device, torch):
    """In the early state a parameter that had no gradient yet has no arrays."""
    twins, found = Twins(kind, SCHEDULES["none"], device, torch, compiled), []
    for i, used in enumerate(GRADIENTS[patterns(kind)[-1]]):
        if i in (0, 2, 5):
            there = copy.deepcopy(twins.their_optimizer.state_dict())
            found.append((twins.optimizer.state_dict(), there))
        twins.step(i, used)
    for state, there in found:
        twins.optimizer.load_state_dict(state)
        twins.their_optimizer.load_state_dict(there)
        assert twins.optimizer.steps == int(state["steps"])
        for i in range(2):
            twins.step(i, (1, 1))
            twins.compare(f"{i} steps after the state of step {state['steps']}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_early_state_forgets_all_that_came_later(kind, device):
    """Also a state of before the first step, which has no arrays: all begins at zero again."""
    make = KINDS[kind][0]
    x, y = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    old, new = make([x]), make([y])
    first = old.state_dict()
    walk(x, old, 5)
    old.load_state_dict(first)
    x.data = tensor(START, device=device).data
    for i in range(3):
        walk(x, old, 1)
        walk(y, new, 1)
        np.testing.assert_array_equal(x.numpy(), y.numpy(), err_msg=f"step {i} after loading")
        for slot, a in new.state_dict().items():
            np.testing.assert_array_equal(
                devices.to_numpy(old.state_dict()[slot]), devices.to_numpy(a), err_msg=slot
            )


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_without_gradient_keeps_its_state_too(kind, device):
    x, y = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    optimizer = KINDS[kind][0]([x, y])
    (ravine(x) + ravine(y)).backward()
    optimizer.step()
    before = {k: devices.to_numpy(a) for k, a in optimizer.state_dict().items()}
    place = y.numpy().copy()
    x.grad, y.grad = x.grad, None
    optimizer.step()
    np.testing.assert_array_equal(y.numpy(), place, err_msg="the parameter")
    for slot, a in optimizer.state_dict().items():
        if slot.startswith("1."):
            np.testing.assert_array_equal(devices.to_numpy(a), before[slot], err_msg=slot)
        elif slot.startswith("0."):
            assert (devices.to_numpy(a) != before[slot]).any(), slot
    assert y.grad is None


# ---- states


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_exactly(kind, device):
    make = KINDS[kind][0]
    x = tensor(START, requires_grad=True, device=device)
    optimizer = make([x])
    walk(x, optimizer, 5)
    state, place = optimizer.state_dict(), x.numpy().copy()
    walk(x, optimizer, 5)
    y = tensor(place, requires_grad=True, device=device)
    resumed = make([y])
    resumed.load_state_dict(state)
    np.testing.assert_array_equal(walk(y, resumed, 5).numpy(), x.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_to_a_device_and_back_to_the_bit(kind, device):
    make, states = KINDS[kind][0], []
    first, there, back = (
        make([tensor(START, requires_grad=True, device=d)]) for d in ("cpu", device, "cpu")
    )
    walk(first.parameters[0], first, 5)
    there.load_state_dict(first.state_dict())
    back.load_state_dict(there.state_dict())
    for optimizer, home in (first, "cpu"), (there, device), (back, "cpu"):
        assert {kept.device for kept in optimizer.state[0].values()} <= {home}
        states.append({k: devices.to_numpy(a) for k, a in optimizer.state_dict().items()})
    for state in states[1:]:
        assert state.keys() == states[0].keys() and state["steps"] == 5
        for name, a in states[0].items():
            np.testing.assert_array_equal(state[name], a, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_follows_its_parameters_to_another_device(kind, device):
    x, y = (tensor(START, requires_grad=True) for _ in range(2))
    moved, stayed = KINDS[kind][0]([x]), KINDS[kind][0]([y])
    for home in ("cpu", device, "cpu"):
        x.data, x.grad = devices.to_device(x.data, home), None  # as Module.to
        walk(x, moved, 3)
        walk(y, stayed, 3)
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_float32(kind, device):
    x = tensor(START.astype("f"), requires_grad=True, device=device)
    optimizer = KINDS[kind][0]([x])
    walk(x, optimizer, 2)
    assert x.dtype == "float32"
    assert not [
        (k, a) for k, a in optimizer.state_dict().items() if "." in k and a.dtype != "float32"
    ]


def test_a_step_leaves_the_old_array_alone(device):
    x = tensor(START, requires_grad=True, device=device)
    before = x.data
    walk(x, optim.SGD([x], 0.1, momentum=0.9), 3)
    np.testing.assert_array_equal(devices.to_numpy(before), START)
    assert x.data is not before


def test_parameters_without_gradient_stay(device):
    x, y = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    optimizer = optim.Adam([x, y])
    ravine(x).backward()
    optimizer.step()
    np.testing.assert_array_equal(y.numpy(), START)
    assert "1.mean" not in optimizer.state_dict()


def made(kind, **options):
    return kind(nn.Linear(1, 1).parameters(), **options)


@pytest.mark.parametrize(
    "make, error, complaint",
    [
        (lambda: optim.SGD([]), ValueError, "needs parameters, got none"),
        (lambda: optim.SGD([tensor(START)]), TypeError, "leaves with requires_grad=True"),
        (lambda: made(optim.SGD, lr=-1), ValueError, "lr must be a finite number, 0 or more"),
        (lambda: made(optim.SGD, lr=math.nan), ValueError, "lr must be a finite .*, got nan"),
        (lambda: made(optim.Adam, lr=math.inf), ValueError, "lr must be a finite .*, got inf"),
        (lambda: made(optim.AdamW, lr="fast"), ValueError, "lr must be a finite .*, got 'fast'"),
        (lambda: made(optim.RMSProp, lr=None), ValueError, "lr must be a finite .*, got None"),
        (lambda: made(optim.Adam, eps=-1e-8), ValueError, "eps must be a finite number, 0 or"),
        (lambda: made(optim.RMSProp, eps=math.nan), ValueError, "eps must be a finite number"),
        (lambda: made(optim.SGD, momentum=math.nan), ValueError, r"momentum must be in \[0, 1\)"),
        (lambda: optim.clip_grad_norm([], math.nan), ValueError, "max_norm must be a finite"),
        (lambda: optim.clip_grad_value([], -1), ValueError, "limit must be a finite"),
        (
            lambda: optim.SGD(nn.Linear(1, 1).parameters(), nesterov=True),
            ValueError,
            "momentum > 0",
        ),
        (lambda: made(optim.SGD, momentum=1), ValueError, r"SGD: momentum must be in \[0, 1\)"),
        (lambda: made(optim.RMSProp, decay=-0.1), ValueError, r"RMSProp: decay must be in"),
        (lambda: made(optim.Adam, betas=(0.9,)), ValueError, r"expected two shares, betas=\(0"),
        (lambda: made(optim.Adam, betas=0.9), ValueError, r"expected two shares, betas=\(0"),
        (lambda: made(optim.AdamW, betas=(0.9, 1.5)), ValueError, r"AdamW: each of betas must be"),
        (lambda: made(optim.SGD, weight_decay=-1), ValueError, "weight_decay must be a finite"),
        (lambda: made(optim.AdamW, weight_decay=-1), ValueError, "weight_decay must be a finite"),
    ],
)
def test_bad_input(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()


BEGUN = {"steps": np.array(1), "lr": np.ones(1)}


@pytest.mark.parametrize(
    "state, complaint",
    [
        ({}, "'steps' is missing"),
        ({"steps": np.array(1), "lr": np.ones(3)}, "of 2 groups, this optimiser has 0"),
        (
            {**BEGUN, "0.mean": np.zeros((3, 2))},
            "SGD has no state '0.mean'",
        ),
        (
            {**BEGUN, "7.velocity": np.zeros((3, 2))},
            "no state '7.velocity'",
        ),
        (
            {**BEGUN, "0.velocity": np.zeros(2)},
            r"shape \(2,\), parameter 0 \(3, 2\)",
        ),
        (
            {**BEGUN, "0.velocity": np.zeros((2, 3))},
            r"shape \(2, 3\), parameter 0 \(3, 2\)",
        ),
    ],
)
def test_a_state_that_does_not_fit(state, complaint, device):
    optimizer = optim.SGD([tensor(START, requires_grad=True, device=device)], momentum=0.9)
    with pytest.raises(ValueError, match=complaint):
        optimizer.load_state_dict(state)
    assert optimizer.steps == 0


def test_clipping(device, torch):
    def pair():
        xs = [tensor(START * k, requires_grad=True, device=device) for k in (1, 3)]
        ts = [torch.tensor(START * k, requires_grad=True) for k in (1, 3)]
        for x in (*xs, *ts):
            (x * x).sum().backward()
        return xs, ts

    for limit in (0.5, 1e6):
        xs, ts = pair()
        norm = optim.clip_grad_norm(xs, limit)
        assert np.isclose(norm.item(), torch.nn.utils.clip_grad_norm_(ts, limit).item())
        for x, t in zip(xs, ts):
            np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-6)
    xs, ts = pair()
    optim.clip_grad_value(xs, 0.7)
    torch.nn.utils.clip_grad_value_(ts, 0.7)
    for x, t in zip(xs, ts):
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy())


def test_what_clipping_leaves(device):
    xs = [tensor(np.zeros(n), requires_grad=True, device=device) for n in (2, 1, 2)]
    for limit, wanted in [(6.5, ([1.5, 2], [6.0])), (13.0, ([3, 4], [12])), (99.0, ([3, 4], [12]))]:
        xs[0].grad, xs[1].grad = (tensor(g, device=device) for g in ([3.0, 4.0], [12.0]))
        norm = optim.clip_grad_norm(xs, limit)
        assert (norm.item(), norm.device) == (13.0, xs[0].device)
        for x, g in zip(xs, wanted):
            np.testing.assert_allclose(x.grad.numpy(), g, rtol=1e-6)
    xs[0].grad, xs[1].grad = (tensor(g, device=device) for g in ([-3.0, 0.5], [2.0]))
    optim.clip_grad_value(xs, 2.5)
    assert [x.grad.numpy().tolist() for x in xs[:2]] == [[-2.5, 0.5], [2.0]]
    assert xs[2].grad is None


def test_schedules():
    assert [optim.step_decay(2, 0.5)(s) for s in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    curve = optim.cosine(10, last=0.2)
    assert curve(0) == 1 and math.isclose(curve(5), 0.6) and curve(10) == curve(99) == 0.2
    up = optim.warmup(4, optim.step_decay(1, 0.5))
    assert [up(s) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 0.5]
    cycle = optim.one_cycle(10, start=0.1, last=0.01, peak_at=0.3)
    values = [cycle(s) for s in range(11)]
    assert values[0] == 0.1 and values[3] == 1 and math.isclose(values[10], 0.01)
    assert math.isclose(values[1], 0.1 + 0.9 * 0.25) and math.isclose(values[2], 0.1 + 0.9 * 0.75)
    half = math.cos(math.pi * 2 / 7) / 2
    assert math.isclose(values[5], 0.01 + 0.99 * (0.5 + half))
    usual = optim.one_cycle(100)
    assert [usual(0), usual(30)] == [0.04, 1] and math.isclose(usual(100), 1e-4)
    assert optim.step_decay(2)(2) == 0.1 and optim.cosine(4)(4) == 0
    assert optim.warmup(2)(5) == 1
    assert values[:4] == sorted(values[:4]) and values[3:] == sorted(values[3:], reverse=True)


def test_the_rate_ahead_is_that_of_a_later_step():
    """A compiled function with several steps in it asks for the rates of all before the first."""
    x = tensor(START, requires_grad=True)
    optimizer = optim.SGD([x], 0.5, schedule=optim.step_decay(2, 0.1))
    for done in range(5):
        ahead = [optimizer.rate(k) for k in range(4)]
        np.testing.assert_allclose(
            ahead, [0.5 * 0.1 ** ((done + k) // 2) for k in range(4)], err_msg=f"{done} steps done"
        )
        assert optimizer.rate() == ahead[0]
        walk(x, optimizer, 1)
    assert optim.SGD([x], 0.5).rate(3) == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_several_steps_in_a_compiled_function_count_on(kind, device):
    """Each step has its own number, which Adam corrects its means by."""
    found = []
    for wrap in (lambda function: function, minidl.compile):
        x = tensor(START, requires_grad=True, device=device)
        optimizer = KINDS[kind][0]([x])
        three = wrap(lambda x=x, optimizer=optimizer: walk(x, optimizer, 3).sum())
        three(), three()
        assert optimizer.steps == 6
        found.append(x.numpy())
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_a_schedule_sets_the_rate_of_each_step(device):
    x = tensor(np.array([0.0]), requires_grad=True, device=device)
    optimizer = optim.SGD([x], 1.0, schedule=lambda step: [1, 0.5, 0][step])
    for expected in (-1, -1.5, -1.5):
        optimizer.zero_grad()
        x.sum().backward()
        optimizer.step()
        assert x.item() == expected


# ---- what an optimiser takes


def test_a_parameter_given_twice_is_refused():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"parameter 4, of shape \(3, 2\), is parameter 2 again"):
        optim.SGD([*model.parameters(), *model[1].parameters()])
    with pytest.raises(ValueError, match=r"parameter 1, .* is parameter 0 again"):
        optim.Adam([model[0].weight] * 2)
    equal = nn.Linear(2, 3)
    equal.load_state_dict(model[0].state_dict())
    assert len(optim.SGD([*model.parameters(), *equal.parameters()]).parameters) == 6


def test_what_an_optimiser_is_made_of():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    ours = model.parameters()
    for same in (ours, tuple(ours), iter(ours), (p for p in ours), dict.fromkeys(ours).keys()):
        assert [id(p) for p in optim.SGD(same).parameters] == [id(p) for p in ours]
    for wrong, complaint in [
        (model, "pass model.parameters.*not a Sequential"),
        (nn.Linear(2, 2), "not a Linear"),
        (ours[0], "not a Parameter"),
        (model.parameters, "pass model.parameters.*not a method"),
        (dict(model.named_parameters()), "not a dict"),
        (model.named_parameters(), r"got, at place 0, \('0.weight'"),
        ([*ours, model.state_dict()["0.weight"]], "got, at place 4, array"),
        ([ours], r"got, at place 0, \[Parameter|got, at place 0, \["),
        ([ours[0] * 2], "leaves with requires_grad=True"),
    ]:
        with pytest.raises(TypeError, match=complaint):
            optim.SGD(wrong)


def test_a_gradient_listed_twice_is_clipped_once():
    p = nn.Parameter(np.ones(4))
    p.grad = tensor(np.full(4, 3.0))
    assert optim.clip_grad_norm([p, p], 2.0).item() == pytest.approx(6.0)
    np.testing.assert_allclose(p.grad.numpy(), 1.0, rtol=1e-5)


# ---- groups: each an optimiser of its own


def grouped(**options):
    model = nn.Linear(2, 3)
    first = {"params": [model.weight], **options}
    return model, optim.SGD([first, {"params": [model.bias]}], 0.1, weight_decay=0.01)


def test_groups_have_what_they_say_and_else_what_the_optimiser_has():
    model, optimizer = grouped(lr=0.5, momentum=0.9)
    first, second = optimizer.groups
    assert (first.lr, first.momentum, first.weight_decay) == (0.5, 0.9, 0.01)
    assert (second.lr, second.momentum, second.weight_decay) == (0.1, 0.0, 0.01)
    assert optimizer.parameters == model.parameters()
    assert optim.SGD(model.parameters()).groups == []


def test_a_schedule_of_a_groups_own():
    """In a step both see the same number of steps done; the other group has the common one."""
    model, optimizer = grouped(schedule=lambda step: [1.0, 0.0, 3.0][step])
    optimizer.schedule = optim.step_decay(1, 0.5)
    for expected in [(0.1, 0.1), (0.0, 0.05), (0.3, 0.025)]:
        np.testing.assert_allclose([group.rate() for group in optimizer.groups], expected)
        before = model.weight.numpy().copy(), model.bias.numpy().copy()
        optimizer.weight_decay = 0.0
        model.weight.grad, model.bias.grad = tensor(np.ones((2, 3))), tensor(np.ones(3))
        optimizer.step()
        np.testing.assert_allclose(before[0] - model.weight.numpy(), expected[0], atol=1e-6)
        np.testing.assert_allclose(before[1] - model.bias.numpy(), expected[1], atol=1e-6)


def test_what_is_set_for_all_reaches_the_groups_without_their_own():
    _, optimizer = grouped(lr=0.5, weight_decay=0.3)
    optimizer.weight_decay, optimizer.lr = 0.2, 0.01
    assert [group.weight_decay for group in optimizer.groups] == [0.3, 0.2]
    np.testing.assert_allclose([group.lr for group in optimizer.groups], [0.05, 0.01])
    optimizer.groups[1].lr = 7.0
    assert (optimizer.lr, optimizer.groups[1].lr) == (0.01, 7.0)
    with pytest.raises(ValueError, match="lr must be a finite number, 0 or more, got nan"):
        optimizer.lr = math.nan
    optimizer.lr = 0
    with pytest.raises(ValueError, match=r"lr was 0, .* set groups\[i\]\.lr"):
        optimizer.lr = 0.1
    plain = optim.SGD([optimizer.parameters[0]], 0.0)
    plain.lr = 0.1
    assert plain.rate() == 0.1


def test_rates_are_part_of_the_state_as_in_pytorch():
    _, old = grouped(lr=0.5)
    old.lr, old.steps = 0.05, 3
    _, new = grouped()
    new.load_state_dict(old.state_dict())
    assert [new.lr, *(group.lr for group in new.groups)] == [0.05, 0.25, 0.05]
    assert {new.steps, *(group.steps for group in new.groups)} == {3}
    new.load_state_dict({"steps": 4})  # as it was kept before
    assert [new.steps, new.lr, *(group.lr for group in new.groups)] == [4, 0.05, 0.25, 0.05]
    with pytest.raises(ValueError, match="this state is of 2 groups, this optimiser has 0"):
        optim.SGD(old.parameters).load_state_dict(old.state_dict())


def test_a_copy_of_groups_is_one(device):
    x, y = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    optimizer = optim.Adam(split([x, y], lr=0.5), 0.1)
    walk(x, optimizer, 2)
    twin = copy.deepcopy(optimizer)
    a, _ = twin.parameters
    for p, one in (x, optimizer), (a, twin):
        walk(p, one, 2)
    np.testing.assert_array_equal(a.numpy(), x.numpy())
    assert twin.state[0] is twin.groups[0].state[0] is not optimizer.state[0]
    assert twin.steps == twin.groups[0].steps == 4


def test_a_step_that_forgets_gradients_first_is_traced_where_some_are_left(device):
    x, twin = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    ours, its = optim.SGD([x], 0.1), optim.SGD([twin], 0.1)
    ravine(x).backward()
    step = minidl.compile(lambda: walk(x, ours, 1).sum())
    step()
    assert step.program.stepped == [], "it is taken for one that needs gradients to be gone"
    walk(twin, its, 1)
    np.testing.assert_allclose(x.numpy(), twin.numpy(), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_settings_of_groups_are_not_baked_into_a_compiled_step(threads, device):
    """The twin is never compiled; what is set before each step is set in both."""
    if threads > 1 and device != "cpu":
        pytest.skip("threads share a batch on the CPU only")
    rng = np.random.default_rng(0)
    models = [nn.Linear(3, 2).to(device, "float64") for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    both = []
    for model in models:
        groups = optim.decay_groups(model.parameters(), 0.1)
        both.append(optim.SGD(groups, 0.1, momentum=0.5))

    def step(model, optimizer, x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    compiled = minidl.compile(partial(step, models[0], both[0]), threads=threads)
    changes = [
        lambda one: None,
        lambda one: setattr(one.groups[0], "weight_decay", 0.5),
        lambda one: setattr(one.groups[1], "lr", 0.01),
        lambda one: setattr(one, "momentum", 0.8),
        lambda one: setattr(one.groups[1], "schedule", lambda step: 0.5),
        lambda one: setattr(one, "lr", 0.02),
    ]
    for i, change in enumerate(changes * 2):
        for optimizer in both:
            change(optimizer)
        x = tensor(rng.standard_normal((8, 3)), device=device)
        compiled(x)
        step(models[1], both[1], x)
        for p, q in zip(models[0].parameters(), models[1].parameters()):
            np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-9, err_msg=f"step {i}")


class Sign(optim.Optimizer):
    """What somebody writes, with an option that its base does not hear of."""

    def __init__(self, parameters, lr=0.01, *, cut=0.0, schedule=None):
        super().__init__(parameters, lr, schedule=schedule)
        self.cut = cut


def test_groups_that_are_wrong():
    model = nn.Linear(2, 3)
    w, b = [model.weight], [model.bias]
    for kind, wrong, error, complaint in [
        (optim.SGD, [{"params": w}, model.bias], TypeError, "group 1 must be a dict with 'par"),
        (optim.SGD, [{"lr": 0.1}], TypeError, "group 0 must be a dict with 'params'"),
        (optim.SGD, [{"params": w, "decay": 1}], TypeError, r"SGD\(\) has no argument 'decay'"),
        (optim.SGD, [{"params": w, "lr": math.nan}], ValueError, "lr must be a finite"),
        (optim.SGD, [{"params": []}], ValueError, "needs parameters, got none"),
        (optim.SGD, [{"params": w}, {"params": b + w}], ValueError, "parameter 2, .* parameter 0"),
        (optim.Adam, [{"params": model}], TypeError, "pass model.parameters"),
        (Sign, [{"params": w}], TypeError, r"must give super\(\).__init__ also cut=cut"),
    ]:  # fmt: skip
        with pytest.raises(error, match=complaint):
            kind(wrong)
    assert Sign(w).groups == []


def test_decay_falls_on_weights_only():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.LSTM(4, 3))
    groups = optim.decay_groups(model.parameters(), 0.1)
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    names = {id(p): path for path, p in model.named_parameters()}
    found = [[names[id(p)] for p in group["params"]] for group in groups]
    assert found[0] == ["0.weight", "1.weight", "3.weight_ih_l0", "3.weight_hh_l0"]
    assert found[1] == ["1.bias", "2.weight", "2.bias", "3.bias_ih_l0", "3.bias_hh_l0"]
    assert len(optim.decay_groups([model[1].bias], 0.1)) == 1
    with pytest.raises(TypeError, match=r"pass model\.parameters"):
        optim.decay_groups(model, 0.1)
    optimizer = optim.AdamW(groups, 0.1)
    before = model.state_dict()
    for p in model.parameters():
        p.grad = 0 * p.detach()
    optimizer.step()
    for path, a in model.state_dict().items():
        factor = 0.99 if path in found[0] else 1.0
        np.testing.assert_allclose(a, before[path] * factor, rtol=1e-6, err_msg=path)


def test_a_frozen_parameter_and_another_name_of_the_rate_are_told():
    model = nn.Linear(2, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(AttributeError, match="the learning rate is called lr"):
        optimizer.learning_rate = 0.5
    model.bias.requires_grad = False
    with pytest.raises(TypeError, match=r"if p\.requires_grad\]; got, at place 1"):
        optim.SGD(model.parameters(), lr=0.1)


def test_a_schedule_that_is_no_function():
    with pytest.raises(TypeError, match=r"schedule: expected a function .*, got 0\.1; .* lr="):
        optim.Adam([tensor([1.0], requires_grad=True)], schedule=0.1)


@pytest.mark.parametrize("n", [0, -1])
def test_schedules_over_no_steps_are_refused(n):
    for make in (optim.cosine, optim.step_decay):
        with pytest.raises(ValueError, match=f"{make.__name__}: .* must be above 0, .*, got {n}"):
            make(n)(0)


def test_a_state_that_keeps_nothing_does_not_set_another_kinds_rate():
    p = tensor([1.0], requires_grad=True)
    plain, adam = optim.SGD([p], lr=0.5), optim.Adam([p], lr=0.001)
    (p * p).sum().backward()
    plain.step()
    with pytest.raises(ValueError, match=r"keeps nothing beside its rate, .*; Adam keeps "):
        adam.load_state_dict(plain.state_dict())
    assert adam.lr == 0.001 and adam.steps == 0
    adam.step()
    with pytest.raises(ValueError, match="SGD has no state '0"):
        plain.load_state_dict(adam.state_dict())
    assert plain.lr == 0.5
