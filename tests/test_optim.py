"""Optimisers against PyTorch, their states, clipping, schedules."""

import math

import numpy as np
import pytest

from minidl import backend, nn, optim, tensor

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
        states.append({k: backend.to_numpy(a) for k, a in optimizer.state_dict().items()})
    for state in states[1:]:
        assert state.keys() == states[0].keys() and state["steps"] == 5
        for name, a in states[0].items():
            np.testing.assert_array_equal(state[name], a, strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_follows_its_parameters_to_another_device(kind, device):
    x, y = (tensor(START, requires_grad=True) for _ in range(2))
    moved, stayed = KINDS[kind][0]([x]), KINDS[kind][0]([y])
    for home in ("cpu", device, "cpu"):
        x.data, x.grad = backend.to_device(x.data, home), None  # as Module.to
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
        (k, a) for k, a in optimizer.state_dict().items() if k != "steps" and a.dtype != "float32"
    ]


def test_a_step_leaves_the_old_array_alone(device):
    x = tensor(START, requires_grad=True, device=device)
    before = x.data
    walk(x, optim.SGD([x], 0.1, momentum=0.9), 3)
    np.testing.assert_array_equal(backend.to_numpy(before), START)
    assert x.data is not before


def test_parameters_without_gradient_stay(device):
    x, y = (tensor(START, requires_grad=True, device=device) for _ in range(2))
    optimizer = optim.Adam([x, y])
    ravine(x).backward()
    optimizer.step()
    np.testing.assert_array_equal(y.numpy(), START)
    assert "1.mean" not in optimizer.state_dict()


@pytest.mark.parametrize(
    "make, error, complaint",
    [
        (lambda: optim.SGD([]), ValueError, "needs parameters, got none"),
        (lambda: optim.SGD([tensor(START)]), TypeError, "leaves with requires_grad=True"),
        (lambda: optim.SGD(nn.Linear(1, 1).parameters(), -1), ValueError, "must not be negative"),
        (
            lambda: optim.SGD(nn.Linear(1, 1).parameters(), nesterov=True),
            ValueError,
            "momentum > 0",
        ),
    ],
)
def test_bad_input(make, error, complaint):
    with pytest.raises(error, match=complaint):
        make()


@pytest.mark.parametrize(
    "state, complaint",
    [
        ({}, "'steps' is missing"),
        ({"steps": np.array(1), "0.mean": np.zeros((3, 2))}, "SGD has no state '0.mean'"),
        ({"steps": np.array(1), "7.velocity": np.zeros((3, 2))}, "no state '7.velocity'"),
        ({"steps": np.array(1), "0.velocity": np.zeros(2)}, r"shape \(2,\), parameter 0 \(3, 2\)"),
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


def test_schedules():
    assert [optim.step_decay(2, 0.5)(s) for s in range(5)] == [1, 1, 0.5, 0.5, 0.25]
    curve = optim.cosine(10, last=0.2)
    assert curve(0) == 1 and math.isclose(curve(5), 0.6) and curve(10) == curve(99) == 0.2
    up = optim.warmup(4, optim.step_decay(1, 0.5))
    assert [up(s) for s in range(6)] == [0.25, 0.5, 0.75, 1, 1, 0.5]
    cycle = optim.one_cycle(10, start=0.1, last=0.01, peak_at=0.3)
    values = [cycle(s) for s in range(11)]
    assert values[0] == 0.1 and values[3] == 1 and math.isclose(values[10], 0.01)
    assert values[:4] == sorted(values[:4]) and values[3:] == sorted(values[3:], reverse=True)


def test_a_schedule_sets_the_rate_of_each_step(device):
    x = tensor(np.array([0.0]), requires_grad=True, device=device)
    optimizer = optim.SGD([x], 1.0, schedule=lambda step: [1, 0.5, 0][step])
    for expected in (-1, -1.5, -1.5):
        optimizer.zero_grad()
        x.sum().backward()
        optimizer.step()
        assert x.item() == expected
