"""Weights in eight bits: how far they are off, which layers change, and what stays."""

import numpy as np
import pytest

import minidl
from minidl import nn, tensor
from minidl.nn.module import Module

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("make", [
    lambda: nn.Linear(40, 7), lambda: nn.Linear(3, 5, bias=False), lambda: nn.Conv2d(4, 6, 3),
    lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=2, groups=2, bias=False),
])  # fmt: skip
def test_a_weight_is_off_by_half_a_scale_and_the_output_by_little(make, device):
    layer = make()
    found = nn.quantize(layer)
    w, scale = layer.weight.numpy(), found.scale.numpy()
    of_output = scale if w.ndim == 2 else scale[:, None, None, None]
    off = abs(found.weight.numpy() * of_output - w)
    assert found.weight.dtype == "int8" and abs(found.weight.numpy()).max() == 127
    assert (off / of_output).max() <= 0.5005, "half a scale"
    assert off.max() > 0
    np.testing.assert_allclose(
        scale * 127, abs(w).max(axis=0 if w.ndim == 2 else (1, 2, 3)), rtol=1e-5
    )
    x = numbers(5, w.shape[0]) if w.ndim == 2 else numbers(2, 4, 9, 8)
    with minidl.no_grad():
        y, e = found.to(device)(tensor(x, device=device)).numpy(), layer(tensor(x)).numpy()
    assert y.shape == e.shape and y.dtype == e.dtype
    # Each of K products is off by half a step of x times w, and half a step of w times x.
    terms = w.size // len(scale)
    bound = terms * (np.ptp(x) / 255 * abs(w).max() + scale.max() * abs(x).max()) / 2
    assert 0 < abs(y - e).max() < bound


def test_whole_numbers_come_out_exactly(device):
    layer = nn.Linear(600, 3)  # more terms than float32 could add up
    layer.weight.data = RNG.integers(-127, 128, (600, 3)).astype(np.float32)
    layer.weight.data[0] = 127
    layer.bias.data = np.float32([1, 2, 3])
    x = RNG.integers(-100, 156, (4, 600)).astype(np.float32)
    x[0, :2] = -100, 155
    with minidl.no_grad():
        y = nn.quantize(layer).to(device)(tensor(x, device=device)).numpy()
    expected = x.astype(np.int64) @ layer.weight.numpy().astype(np.int64) + [1, 2, 3]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "x", [np.zeros((2, 4), "f4"), np.full((2, 4), 3, "f4"), np.full((2, 4), -3, "f4")]
)
def test_constant_inputs(x):
    layer = nn.Linear(4, 3)
    with minidl.no_grad():
        np.testing.assert_allclose(nn.quantize(layer)(x).numpy(), layer(x).numpy(), atol=0.05)


def test_zero_weights_stay_zero():
    layer = nn.Linear(4, 3)
    layer.weight.data[:, 1] = 0
    found = nn.quantize(layer)
    assert found.weight.numpy()[:, 1].tolist() == [0] * 4
    assert found.scale.numpy()[1] > 0


class Nest(Module):
    def __init__(self):
        self.one = nn.Linear(3, 3)
        self.again = self.one
        self.many = [nn.Linear(3, 3), (nn.Tanh(), {"a": nn.Sequential(nn.Linear(3, 3))})]

    def forward(self, x):
        first, (tanh, rest) = self.many
        return rest["a"](tanh(first(self.again(self.one(x)))))


def test_layers_are_changed_wherever_they_stand_and_the_model_stays():
    model = Nest()
    before = {k: v.copy() for k, v in model.state_dict().items()}
    found = nn.quantize(model)
    kinds = [type(m).__name__ for _, m in found.modules()]
    assert kinds.count("QuantizedLinear") >= 3 and "Linear" not in kinds
    assert found.again is found.one, "what is shared stays shared"
    assert not found.training and model.training and type(model.one) is nn.Linear
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(a, before[name])
    with minidl.no_grad():
        np.testing.assert_allclose(found(numbers(5, 3)).shape, (5, 3))


def test_it_is_saved_and_loaded(tmp_path):
    one, two = (
        nn.quantize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))) for _ in "ab"
    )
    minidl.io.save(tmp_path / "a", one.state_dict())
    two.load_state_dict(minidl.io.load(tmp_path / "a")[0])
    x = numbers(5, 4)
    np.testing.assert_array_equal(one(x).numpy(), two(x).numpy())


def test_it_is_not_trained():
    found = nn.quantize(nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3)))
    assert [p.requires_grad for p in found.parameters()] == [False]
    with pytest.raises(RuntimeError, match="no record to go back through"):
        found(np.array([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match=r"QuantizedLinear\(4, 3\) has no way back"):
        found[1](tensor(numbers(2, 4), requires_grad=True))
    with pytest.raises(TypeError, match="quantize: expected a Module, got int"):
        nn.quantize(3)


def test_a_model_with_nothing_to_quantise_is_refused():
    with pytest.raises(ValueError, match="holds no Linear or Conv2d"):
        nn.quantize(nn.Sequential(nn.Tanh()))
