"""What was changed between a forward and a backward pass is noticed, whoever changed it."""

import numpy as np
import pytest

import minidl
from minidl import nn, optim

WAYS = {
    "a step": lambda p, step: step.step(),
    "data": lambda p, step: setattr(p, "data", p.data - 1),
    "in place": lambda p, step: p.__isub__(1.0),
    "an element": lambda p, step: p.__setitem__((0, 0), 5.0),
    "a state that is loaded": lambda p, step: None,
}


def pending():
    """A model, its optimiser with gradients at hand, and a loss whose record waits."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x = minidl.tensor(np.ones((5, 3), np.float32))
    (model(x) ** 2).sum().backward()
    return model, optimizer, (model(x) ** 2).sum()


@pytest.mark.parametrize("way", WAYS)
def test_a_backward_after_a_change_raises(way):
    model, optimizer, loss = pending()
    with minidl.no_grad():
        WAYS[way](model[2].weight, optimizer)
    if way == "a state that is loaded":
        model.load_state_dict(model.state_dict())
    with pytest.raises(RuntimeError, match="needs for its gradient was changed since"):
        loss.backward()


def test_a_compiled_step_is_a_change_too():
    model, optimizer, _ = pending()

    @minidl.compile
    def step(x):
        loss = (model(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    x = minidl.tensor(np.ones((5, 3), np.float32))
    for _ in range(3):  # the first call records, the others run the source
        loss = (model(x) ** 2).sum()
        step(x)
        with pytest.raises(RuntimeError, match="was changed since"):
            loss.backward()


def test_a_compiled_prediction_is_none():
    model, _, loss = pending()
    predict = minidl.compile(lambda x: model(x))
    for _ in range(3):
        predict(np.ones((2, 3), np.float32))
    loss.backward()


def test_what_is_not_needed_may_change():
    model, optimizer, loss = pending()
    loss.backward()
    optimizer.step()
    model(minidl.tensor(np.ones((1, 3), np.float32))).sum().backward()
