"""What is said of a NaN, of its origin, and of the layers that a batch goes through."""

import sys
from contextlib import nullcontext as nothing

import numpy as np
import pytest

import minidl
from minidl import nn, tensor
from minidl.engine import devices, ops, reductions
from minidl.engine.tensor import handlers
from minidl.nn import LSTM, checkpoint
from minidl.nn import functional as F
from minidl.train.debug import origin, plot_statistics, statistics, stop_at_nan
from minidl.train.precision import autocast


def leaf(values, device="cpu", dtype="float32"):
    return tensor(values, dtype=dtype, device=device, requires_grad=True)


def like(x, values):
    """These values where x is."""
    return tensor(values, device=x.device)


class Log(nn.Module):
    def forward(self, x):
        return x.log()


class Block(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x).exp()


# ---- stop_at_nan: the way there


def test_names_operation_layer_and_shapes(device):
    model = nn.Sequential(nn.ReLU(), Log()).to(device)
    with (
        pytest.raises(
            FloatingPointError,
            match=r"^the operation 'log' on shapes \(2,\) in 1 \(Log\) made infinity$",
        ),
        stop_at_nan(model),
    ):
        model(leaf([1.0, -1.0], device))
    assert not handlers


def test_names_the_innermost_layer_and_shapes(device):
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), Block()).to(device)
    weight, x = model[2].fc.weight, leaf(np.full((4, 3), 3e38), device)
    weight.data = devices.to_device(np.full((3, 2), 2.0, "f"), device)
    message = r"'matmul' on shapes \(4, 3\) and \(3, 2\) in 2.fc \(Linear\) made infinity"
    with pytest.raises(FloatingPointError, match=message), stop_at_nan(model):
        model[2](x)
    weight.data = devices.to_device(np.full((3, 2), 200.0, "f"), device)
    message = r"'exp' on shapes \(4, 2\) in 2 \(Block\) made infinity"
    with pytest.raises(FloatingPointError, match=message), stop_at_nan(model):
        model(leaf(np.ones((4, 3)), device))
    message = r"in the model \(Block\) made inf"
    with pytest.raises(FloatingPointError, match=message), stop_at_nan(model[2]):
        model[2](leaf(np.ones((4, 3)), device))


@pytest.mark.parametrize(
    "run, message",
    [
        (lambda x: x - 1 - x / 0, r"'div' on shapes \(2,\) and 0 made infinity"),
        (lambda x: (x - x) / 0, "'div' on shapes .* made NaN"),
        (lambda x: (x - 5).sqrt(), "'sqrt' on shapes .* made NaN"),
        # An infinity was given, but NaN is never meant.
        (lambda x: ops.where(x > 1.5, x, np.inf) - np.inf, "'sub' .* and inf made NaN"),
        (lambda x: ops.where(x > 1.5, x, -np.inf) * 0, "'mul' .* made NaN"),
        # NaN from outside: found where it is computed with, not where it is moved.
        (lambda x: like(x, [[np.nan, 1.0]]).reshape(2).T[0:1] + x, "'add' .* made NaN"),
        (lambda x: like(x, [np.nan, np.nan]).data * x, "'mul' .* made NaN"),
    ],
)
def test_what_stops(run, message, device):
    with pytest.raises(FloatingPointError, match=message), stop_at_nan():
        run(leaf([1.0, 2.0], device))


def test_no_grad_and_bare_arrays_are_watched_too(device):
    zeros = tensor(np.zeros(2), device=device)
    for run in (lambda: ops.log(zeros.data), lambda: zeros.log()):
        with pytest.raises(FloatingPointError, match="'log'"), stop_at_nan(), minidl.no_grad():
            run()


def test_a_mask_of_infinities_is_meant(device):
    q, k, v = (leaf(np.ones((2, 4, 3)) * (i + 1), device) for i in range(3))
    mask = tensor(np.tri(4, dtype=bool), device=device)
    found = []
    for watch in False, True:
        with stop_at_nan() if watch else nothing():
            y = F.attention(q, k, v, mask=mask)
            found.append([y, *minidl.grad((y * y).sum(), [q, k, v])])
    for expected, got in zip(*found):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())
    with stop_at_nan():  # a query that may look nowhere gets zeros
        np.testing.assert_array_equal(F.attention(q, k, v, mask=mask * 0 == 1).numpy(), 0)


def test_what_is_meant_passes(device):
    x = leaf(np.arange(16.0).reshape(1, 1, 4, 4), device)
    with stop_at_nan():
        y = F.max_pool2d(x - 8, 3, padding=1).sum()
        y = y + reductions.logsumexp(ops.where(x < 4, x, -np.inf), axis=-2).sum()
        y.backward()
        np.testing.assert_array_equal((x < np.inf).numpy(), True)
        whole = tensor([1, 2], device=device)
        assert (whole * 2 == 4).numpy().tolist() == [False, True]
    np.testing.assert_array_equal(np.isfinite(x.grad.numpy()), True)


def test_padding_that_is_not_read_may_be_nan(device):
    x = np.ones((2, 3, 4), "f")
    x[1, 2:] = np.nan
    lstm = LSTM(4, 2).to(device)
    with stop_at_nan(lstm):
        y, _ = lstm(leaf(x, device), lengths=[3, 2])
        y.sum().backward()
    np.testing.assert_array_equal(np.isfinite(lstm.weight_ih_l0.grad.numpy()), True)


# ---- stop_at_nan: the way back


class Root(nn.Module):
    def forward(self, x):
        return x.sqrt()


def test_on_the_way_back(device):
    model = nn.Sequential(nn.ReLU(), Root())
    x = leaf([[4.0, -1.0]], device)
    message = r"^on the way back, the operation 'sqrt' on shapes \(1, 2\) in 1 \(Root\) made inf"
    with stop_at_nan(model):
        y = model(x).sum()
        with pytest.raises(FloatingPointError, match=message):
            y.backward()
    with stop_at_nan(model):
        y = model(x).sum()
        with pytest.raises(FloatingPointError, match=r"^the operation 'div' .* made inf"):
            y.backward(create_graph=True)


def test_only_gradients_that_somebody_wants_are_looked_at(device):
    x = leaf([-2.0, 0.0], device)
    with stop_at_nan():
        (x**2).sum().backward()  # the exponent's gradient would be log(-2)
    assert x.grad.numpy().tolist() == [-4, 0]


def test_watching_changes_no_bit_and_no_name(device):
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.GELU(), nn.Dropout(0.2))
    model, found = model.to(device), []
    for watch in False, True:
        minidl.manual_seed(1)
        x = leaf(np.random.default_rng(0).standard_normal((6, 4)), device)
        with stop_at_nan(model) if watch else nothing():
            y = (model(x) ** 2).sum()
            assert y.op.name == "sum"
            grads = minidl.grad(y, [x, *model.parameters()], create_graph=True)
            y.backward(retain_graph=True)
        found.append([y, *grads, x.grad, *minidl.grad((grads[0] * grads[0]).sum(), x)])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_with_autocast_and_checkpoint(device):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Sequential(Root()))
    model[0].weight.data = np.eye(2, dtype="f")
    model, x = model.to(device), leaf([[4.0, 0.0]], device)
    with stop_at_nan(model), autocast():
        y = checkpoint(model, x).sum()
        with pytest.raises(FloatingPointError, match=r"way back, .*'sqrt' .* in 1\.0 \(Root\)"):
            y.backward()
    with stop_at_nan(model), autocast(), pytest.raises(FloatingPointError, match=r"cast.*made inf"):
        model(leaf([[1e5, 1.0]], device))


# ---- origin


def test_origin(device):
    model = nn.Sequential(nn.Linear(2, 2)).to(device)
    x, mask = leaf([[0.0, 2.0]], device), tensor([[True, False]], device=device)
    with np.errstate(all="ignore"):
        bad = (ops.where(mask, x, -np.inf).max() + x.log() * 0).sum()
        assert origin(bad, model) == "the operation 'log' on shapes (1, 2) first produced it"
        model[0].bias.data = devices.to_device(np.array([1, np.nan], "f"), device)
        assert origin(model(x).sum(), model).startswith("parameter '0.bias' was no longer finite")
        given = leaf([[np.inf, 1.0]], device)
        assert (
            origin(given.sum(), model) == "an input of shape (1, 2) was not finite; check the data"
        )
        assert origin(like(x, 1.0), model).startswith("no operation in its record")


# ---- statistics


def test_statistics_are_what_numpy_says(device):
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(device)
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((6, 2, 2)).astype("f"), rng.integers(0, 3, 6)
    batch = [devices.to_device(a, device) for a in (x, labels)]
    rows = statistics(model, F.cross_entropy, *batch)
    assert [row["layer"] for row in rows] == ["1 (Linear)", "2 (ReLU)", "3 (Linear)"]
    flat = tensor(x.reshape(6, 4), device=device)
    outputs = [model[1](flat)]
    outputs += [model[2](outputs[0])]
    outputs += [model[3](outputs[1])]
    loss = F.cross_entropy(outputs[2], tensor(labels, device=device))
    grads = minidl.grad(loss, [*outputs, model[1].weight, model[3].weight])
    for row, y, g in zip(rows, outputs, grads):
        a = y.numpy()
        expected = a.mean(), a.std(), (a == 0).mean(), g.numpy().std()
        found = [row[name] for name in ("mean", "std", "zeros", "gradient")]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(
        [row["weights"] for row in rows],
        [grads[3].numpy().std(), np.nan, grads[4].numpy().std()],
        rtol=1e-5,
    )
    assert not [p for p in model.parameters() if p.grad is not None]


def test_statistics_leave_the_model_as_it_was_and_follow_every_call(device):
    class Twice(nn.Module):
        def __init__(self):
            self.norm, self.lstm = nn.BatchNorm(3), LSTM(3, 2)

        def forward(self, x):
            y = self.norm(self.norm(x))
            return self.lstm(y.reshape(1, -1, 3))[0]

    model = Twice().to(device)
    before = {path: t.numpy().copy() for path, t in model.tensors()}
    x = np.random.default_rng(0).standard_normal((4, 3)).astype("f")
    batch = (devices.to_device(a, device) for a in (x, np.zeros((1, 4, 2), "f")))
    rows = statistics(model, F.mse, *batch)
    names = ["norm (BatchNorm)", "norm (BatchNorm)", "lstm (LSTM)"]
    assert [row["layer"] for row in rows] == names
    assert not [
        (path, t) for path, t in model.tensors() if not np.array_equal(t.numpy(), before[path])
    ]
    assert model.training


@pytest.mark.parametrize("last", ["inner", "weight"])
def test_a_module_that_holds_another_is_left_out_of_the_statistics(last):
    """Whatever else it holds, before that module or after it."""

    class Holds(nn.Module):
        def __init__(self):
            parts = {"weight": nn.Parameter(np.ones(2, "f")), "inner": nn.Linear(2, 2)}
            for name in sorted(parts, key=lambda name: name == last):
                setattr(self, name, parts[name])

        def forward(self, x):
            return self.inner(x) * self.weight

    rows = statistics(Holds(), F.mse, np.ones((3, 2), "f"), np.zeros((3, 2), "f"))
    assert [row["layer"] for row in rows] == ["inner (Linear)"]


def test_statistics_see_a_gradient_whose_square_is_no_float32(device):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).to(device)
    batch = (devices.to_device(a, device) for a in (np.ones((1, 2), "f"), np.ones(2)))
    rows = statistics(model, lambda y, t: (y * t).sum() * 1e-30, *batch)
    assert 0 < rows[0]["gradient"] < 1e-29


def deep(kind, scale, depth=8):
    """A deep network whose weights have `scale` times the deviation that keeps the signal."""
    minidl.manual_seed(0)
    parts = []
    for _ in range(depth):
        layer = nn.Linear(50, 50)
        layer.weight.data = layer.weight.data * np.float32(scale * np.sqrt(3))
        parts += [layer, kind()]
    return nn.Sequential(*parts)


def test_vanishing_and_exploding_are_seen(device):
    draws = np.random.default_rng(0).standard_normal((2, 40, 50)).astype("f")
    x, target = (devices.to_device(a, device) for a in draws)
    for kind, scale, first in (nn.Tanh, 0.5, 1e-2), (nn.ReLU, 3.0, 1e2):
        rows = statistics(deep(kind, scale).to(device), F.mse, x, target)
        ratio = rows[0]["gradient"] / rows[-1]["gradient"]
        assert ratio < first if first < 1 else ratio > first
        if kind is nn.ReLU:
            assert 0.3 < rows[1]["zeros"] < 0.7 and rows[-1]["std"] > 10 * rows[1]["std"]


def test_plot_statistics(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    batch = np.ones((2, 3), "f"), np.eye(2, dtype="f")
    rows = statistics(model, F.mse, *batch)
    dead = statistics(model, lambda y, target: (y * 0).sum(), *batch)
    assert plot_statistics(dead), "no warning of a log scale without positive values"
    figure = plot_statistics(rows, tmp_path / "rows.png")
    left, middle, right = figure.axes
    assert (tmp_path / "rows.png").stat().st_size > 1000
    assert right.get_yscale() == "log" and middle.get_yscale() == "linear"
    names = left.get_xticklabels()
    assert [t.get_text() for t in names] == ["0 (Linear)", "1 (Tanh)"]
    assert {t.get_rotation() for t in names} == {90}, "long names lie one over the other"
    np.testing.assert_allclose(right.lines[0].get_ydata(), [row["gradient"] for row in rows])
    assert middle.lines[0].get_ydata().tolist() == [0, 0]
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "minidl\[course\]"'):
        plot_statistics(rows)
