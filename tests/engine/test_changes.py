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
    with pytest.raises(RuntimeError, match="was changed since"):
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


OTHERS = {
    "detached": lambda x: x.detach(),
    "the array": lambda x: x.data,
    "numpy": lambda x: x.numpy(),
    "reversed": lambda x: x.detach()[::-1],
    "itself": lambda x: x,
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("sign", ["*=", "+=", "/="])
def test_a_change_by_what_lies_in_the_same_memory(name, sign):
    """The gradient is that of the plain operation with the numbers as they were."""

    def of(leaf, in_place):
        x = leaf * 1.0
        other = OTHERS[name](x)
        if in_place and sign == "*=":
            x *= other
        elif in_place and sign == "+=":
            x += other
        elif in_place:
            x /= other
        else:
            kept = x if other is x else minidl.tensor(np.array(getattr(other, "data", other)))
            x = {"*=": x * kept, "+=": x + kept, "/=": x / kept}[sign]
        return x

    def gradient(in_place):
        leaf = minidl.tensor([2.0, 3.0], requires_grad=True)
        y = of(leaf, in_place)
        y.sum().backward()
        return y.numpy(), leaf.grad.numpy()

    for found, wanted in zip(gradient(True), gradient(False), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_what_an_operation_made_is_checked_as_any_leaf_is():
    w = minidl.tensor([2.0, 3.0]) * 1
    w.requires_grad = True
    y = (w * w).sum()
    w.data = w.data - 1
    with pytest.raises(RuntimeError, match="was changed since"):
        y.backward()
    with pytest.raises(TypeError, match=r"\.data must be an array"):
        w.data = w - 0.1
    with pytest.raises(ValueError, match=r"\.grad must be None or a Tensor of shape \(2,\)"):
        w.grad = np.zeros(7)


@pytest.mark.parametrize("kind", ["int64", "bool", "complex128"])
def test_only_real_numbers_have_gradients(kind):
    data = np.ones(3, kind)
    with pytest.raises(TypeError, match="only tensors of real floating-point numbers"):
        minidl.tensor(data, requires_grad=True)
    x = minidl.tensor(data)
    with pytest.raises(TypeError, match="only tensors of real floating-point numbers"):
        x.requires_grad = True
