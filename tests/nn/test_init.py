"""First weights: their variance and bounds, PyTorch's where it has them, and what stays."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.engine import devices
from minidl.nn import LSTM, init


@pytest.mark.parametrize("shape", [(300, 500), (64, 32, 5, 5), (200, 100, 3)])
@pytest.mark.parametrize("name", [n for n in init.NAMES if n != "orthogonal"])
def test_names_give_their_variance(name, shape):
    minidl.manual_seed(0)
    n_in, n_out = init.fans(shape)
    wanted = {"lecun": 1 / n_in, "glorot": 2 / (n_in + n_out), "he": 2 / n_in}[name.split("_")[0]]
    w = init.draw(shape, name)
    assert w.shape == shape and w.dtype == np.float32
    assert abs(w.mean()) < 5 * math.sqrt(wanted / w.size)
    assert np.isclose(w.var(), wanted, rtol=0.03)
    if name.endswith("uniform"):
        assert np.isclose(abs(w).max(), math.sqrt(3 * wanted), rtol=1e-3)
    else:
        assert abs(w).max() > 3.5 * math.sqrt(wanted)  # normal draws go further out


@pytest.mark.parametrize("shape", [(20, 30), (8, 4, 3, 3)])
@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal"])
def test_variances_are_pytorchs(name, shape, torch):
    t = torch.empty(shape if len(shape) > 2 else shape[::-1])
    wanted = torch.nn.init.calculate_gain("relu") / math.sqrt(
        torch.nn.init._calculate_correct_fan(t, "fan_in")
    )
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(t)
    assert init.fans(shape) == (fan_in, fan_out)
    if name == "he_normal":
        assert np.isclose(init.VARIANCES["he"](*init.fans(shape)), wanted**2)


def test_a_number_is_a_variance():
    minidl.manual_seed(0)
    assert np.isclose(init.draw((400, 400), 0.25).var(), 0.25, rtol=0.02)
    np.testing.assert_array_equal(init.draw((3, 3), 0), 0)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (8, 3, 2, 2)])
def test_orthogonal_rows_or_columns(shape):
    w = init.draw(shape, "orthogonal").reshape(shape[0], -1)
    small = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(small, np.eye(len(small)), atol=1e-5)


def test_the_same_seed_draws_the_same():
    draws = []
    for _ in range(2):
        minidl.manual_seed(3)
        draws.append(init.draw((5, 5), "he_uniform"))
    np.testing.assert_array_equal(*draws)


def test_initialise_leaves_norms_and_embeddings(device):
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 200), LSTM(200, 3))
    model.to(device)
    before = {k: devices.to_numpy(a) for k, a in model.state_dict().items()}
    assert init.initialise(model, 1.0) is model
    after = {k: devices.to_numpy(a) for k, a in model.state_dict().items()}
    changed = {k for k in before if not np.array_equal(before[k], after[k])}
    assert changed == set(after) - {"0.weight", "1.weight", "1.bias"}
    np.testing.assert_array_equal(after["2.bias"], 0)
    np.testing.assert_array_equal(after["3.bias_hh_l0"], 0)
    assert np.isclose(after["2.weight"].var(), 1, rtol=0.15)
    assert not [name for name, part in model.tensors() if part.device != device]


def test_the_right_variance_keeps_signals_alive():
    """Through 20 ReLU layers: with He's variance the mean square stays; with half, it dies."""
    minidl.manual_seed(0)
    x = minidl.tensor(np.random.default_rng(0).standard_normal((50, 300)).astype("f"))
    found = {}
    for how in ("he_normal", "lecun_normal"):
        layers = [part for _ in range(20) for part in (nn.Linear(300, 300), nn.ReLU())]
        found[how] = float((init.initialise(nn.Sequential(*layers), how)(x) ** 2).mean().item())
    assert 0.1 < found["he_normal"] < 10
    assert found["lecun_normal"] < 1e-5


def test_bad_names_and_shapes():
    with pytest.raises(
        ValueError, match=r"no initialisation is called 'xavier'; there are \['orth"
    ):
        init.draw((3, 3), "xavier")
    with pytest.raises(ValueError, match=r"two axes or more, got shape \(3,\)"):
        init.draw((3,), "he_normal")
    with pytest.raises(ValueError, match=r"a variance is not negative, got -1\.0"):
        init.draw((3, 3), -1.0)
