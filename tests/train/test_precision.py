"""Half precision: which operations get which type, training in it, and the scale of the loss."""

import json
from functools import partial

import numpy as np
import pytest

import minidl
from minidl import nn, optim, tensor
from minidl.engine import ops
from minidl.engine.intercept import intercepted
from minidl.engine.tensor import Tensor, primitives
from minidl.nn import LSTM
from minidl.nn import functional as F
from minidl.train.precision import HALF, SINGLE, LossScaler, autocast


def leaf(values, device="cpu", dtype="float32"):
    return tensor(values, dtype=dtype, device=device, requires_grad=True)


def rand(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("f")


# ---- autocast

LAYERS = {
    "linear": (lambda: nn.Linear(4, 3), (2, 4)),
    "conv2d": (lambda: nn.Conv2d(4, 3, 2, padding=1), (2, 4, 5, 5)),
    "conv1d, no bias": (lambda: nn.Conv1d(4, 3, 2, bias=False), (2, 4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 2, stride=2), (2, 4, 3, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_multiply_give_half_and_get_single_gradients(name, device):
    make, shape = LAYERS[name]
    layer, x = make().to(device), leaf(rand(*shape), device)
    wide = layer(x)
    with autocast():
        y = layer(x)
    assert (y.dtype, wide.dtype) == ("float16", "float32")
    np.testing.assert_allclose(y.numpy(), wide.numpy(), atol=5e-3)
    narrow, exact = (minidl.grad((z * z).sum(), [x, *layer.parameters()]) for z in (y, wide))
    for g, expected in zip(narrow, exact):
        assert (g.dtype, g.device) == ("float32", device)
        np.testing.assert_allclose(g.numpy(), expected.numpy(), atol=0.03, rtol=0.02)


def test_attention_and_recurrence(device):
    q, k, v = (leaf(rand(2, 5, 4) + i, device) for i in range(3))
    mask = tensor(np.tri(5, dtype=bool), device=device)
    lstm = LSTM(4, 3).to(device)
    with autocast():
        y = F.attention(q, k, v, mask=mask)
        z, _ = lstm(q)
        total = F.mse(z, v[:, :, :3]) + y.sum()
    assert (y.dtype, total.dtype) == ("float16", "float32")
    np.testing.assert_allclose(y.numpy(), F.attention(q, k, v, mask=mask).numpy(), atol=0.01)
    np.testing.assert_allclose(z.numpy(), lstm(q)[0].numpy(), atol=0.01)
    total.backward()
    assert not [p for p in (q, k, v, *lstm.parameters()) if p.grad.dtype != "float32"]


def test_what_loses_in_half_computes_in_single(device):
    x = leaf([0.5, 2.0], device, "float16")
    with autocast():
        for name in SINGLE - {"pow", "div", "label_loss"}:
            attrs = {"axis": -1, "eps": 1e-5} if name == "standardise" else {}
            assert primitives[name](x, **attrs).dtype == "float32", name
        for y in (x**2, x / 3, x * x, F.softmax(x), ops.softplus(x), x.mean()):
            assert y.dtype == "float32"
        for y in (x + 1, x * 2.0, x * tensor([1.0, 2.0], dtype="float16", device=device), -x):
            assert y.dtype == "float16"
        for y in (ops.relu(x), x.tanh(), x.reshape(2, 1), x[0], x.max()):
            assert y.dtype == "float16"
    assert x.exp().dtype == "float16"


@pytest.mark.parametrize("loss", [F.mse, F.l1, F.huber, F.bce_with_logits, F.cross_entropy])
def test_losses_and_norms_are_single(loss, device):
    x, w = leaf(rand(3, 4), device), leaf(rand(4, 4), device)
    target = [0, 3, 1] if loss is F.cross_entropy else np.abs(rand(3, 4)) % 1
    target = tensor(target, device=device)
    with autocast():
        value = loss(x @ w, target)
        for norm in F.rms_norm, partial(F.standardise, axis=-1), F.gelu:
            y = norm(300 * (x @ w))
            assert y.dtype == "float32", "300**2 is too large for float16"
            np.testing.assert_array_equal(np.isfinite(y.numpy()), True)
            (dx,) = minidl.grad(y.sum(), x)
            np.testing.assert_array_equal(np.isfinite(dx.numpy()), True)
    assert value.dtype == "float32"
    assert value.item() == pytest.approx(loss(x @ w, target).item(), abs=0.01)


def test_other_types_are_left_alone(device):
    x, whole = leaf([[1.0, 2.0]], device, "float64"), tensor([[1], [2]], device=device)
    with autocast():
        assert (x @ x.T).dtype == "float64"
        assert (whole.T @ whole).dtype == whole.dtype
        assert x.exp().dtype == "float64" and whole.sum().dtype == whole.dtype
        assert (whole + leaf(1.0, device)).numpy().tolist() == [[2], [3]]
        one = tensor([1], dtype="int32", device=device)
        assert (one + leaf([[0.5]], device)).item() == 1.5
        # As many axes: no bias, but a residual, which stays as wide as it is.
        y = leaf([[1.0]], device, "float16") + leaf([[1.0]], device)
        assert y.dtype == "float32"


def test_autocast_ends_and_never_makes_float64(device):
    model, kinds = (
        nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2)),
        set(),
    )
    model, x = model.to(device), tensor(rand(5, 3), device=device)
    labels = tensor([0, 1, 1, 0, 0], device=device)

    def spy(op, inputs, attrs):
        y = op(*inputs, **attrs)
        kinds.add(str(y.dtype))
        return y

    with intercepted(spy), autocast():
        loss = F.cross_entropy(model(x), labels)
        minidl.grad(loss, model.parameters(), create_graph=True)
    assert kinds <= {"float16", "float32", "bool"}
    assert model(x).dtype == "float32"


def test_second_derivatives_under_autocast(device):
    x = leaf([[0.5, -1.0]], device)
    with autocast():
        y = ((x @ x.T) ** 2).sum()  # |x|**4, whose gradient is 4 |x|**2 x
        (g,) = minidl.grad(y, x, create_graph=True)
        (h,) = minidl.grad(g.sum(), x)
    np.testing.assert_allclose(g.numpy(), 4 * 1.25 * x.numpy(), rtol=2e-3)
    a = x.numpy()[0]
    np.testing.assert_allclose(h.numpy()[0], 8 * a * a.sum() + 5, rtol=3e-3)


def test_the_lists_agree_with_pytorchs(torch):
    """In spirit: what PyTorch runs in bfloat16, and what in float32, on the CPU."""
    x = torch.rand(3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.nn.functional.linear(x, x, x[0]).dtype == torch.bfloat16
        y = x @ x
        functional = torch.nn.functional
        assert functional.mse_loss(y, y).dtype == torch.float32
        assert (y + y).dtype == functional.relu(y).dtype == torch.bfloat16
        assert (y + x).dtype == torch.float32
    assert "matmul" in HALF and "add" not in HALF | SINGLE
    z = leaf(rand(3, 3), dtype="float16")
    with autocast():
        assert F.mse(z, z).dtype == (z + leaf(rand(3, 3))).dtype == "float32"
        assert (z + z).dtype == ops.relu(z).dtype == "float16"


def test_a_type_that_numpy_does_not_know(device):
    message = r"cast: .* dtype=float12: data type 'float12' not understood"
    with pytest.raises(TypeError, match=message), autocast("float12"):
        leaf([[1.0]], device) @ leaf([[1.0]], device)


# ---- training


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 3)), (60, 8)


def cnn():
    parts = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(36, 3)), (60, 1, 6, 6)


@pytest.mark.parametrize("make", [mlp, cnn])
def test_training_reaches_the_same_loss(make, device):
    losses = []
    for half in False, True:
        minidl.manual_seed(0)
        model, shape = make()
        model, x = model.to(device), tensor(rand(*shape), device=device)
        labels = tensor(x.numpy().reshape(60, -1)[:, :3].argmax(1), device=device)
        optimizer, scaler = optim.SGD(model.parameters(), 0.1, momentum=0.9), LossScaler()
        found = []
        for _ in range(40):
            optimizer.zero_grad()
            if half:
                with autocast():
                    loss = F.cross_entropy(model(x), labels)
                scaler.scale(loss).backward()
                assert not [p for p in optimizer.parameters if p.grad.dtype != "float32"]
                scaler.step(optimizer)
            else:
                loss = F.cross_entropy(model(x), labels)
                loss.backward()
                optimizer.step()
            found.append(loss.item())
        losses.append(found)
        assert not [p for p in model.parameters() if p.dtype != "float32"]
    assert losses[0][-1] < 0.25 * losses[0][0]
    np.testing.assert_allclose(losses[1][:10], losses[0][:10], rtol=0.05)
    assert losses[1][-1] == pytest.approx(losses[0][-1], abs=0.05)


# ---- LossScaler


def step(p, scaler, gradient, optimizer):
    """One step at the point where the loss is gradient * p."""
    optimizer.zero_grad()
    scaler.scale((p * gradient).sum()).backward()
    return scaler.step(optimizer)


def test_a_small_gradient_survives(device):
    p, moved = leaf([[1.0]], device), []
    for scaler in LossScaler(1.0), LossScaler():
        with autocast():
            y = (p @ leaf([[1.0]], device)).sum() * 1e-8
        p.grad = None
        scaler.scale(y).backward()
        scaler.unscale(optim.SGD([p], 1.0))
        moved.append(p.grad.item())
    assert moved[0] == 0
    assert moved[1] == pytest.approx(1e-8, rel=1e-3)


def test_an_overflow_is_skipped_and_the_scale_halves(device):
    p = leaf([1.0, 2.0], device)
    optimizer, scaler = optim.SGD([p], 1.0), LossScaler(8.0)
    for bad in np.inf, np.nan:
        before, factor = p.data, scaler.factor
        with np.errstate(invalid="ignore"):
            assert step(p, scaler, bad, optimizer) is False
        assert p.data is before and optimizer.steps == 0 and scaler.factor == factor / 2
    assert step(p, scaler, 0.25, optimizer) is True
    assert p.numpy().tolist() == [0.75, 1.75] and optimizer.steps == 1


def test_the_scale_grows_after_good_steps_in_a_row(device):
    p = leaf([1.0], device)
    optimizer, scaler = optim.SGD([p], 0.0), LossScaler(4.0, growth=4.0, backoff=0.25, every=3)
    seen = []
    for gradient in (1, 1, np.inf, 1, 1, 1, 1, 1, 1, np.inf, np.inf, np.inf):
        step(p, scaler, gradient, optimizer)
        seen.append(scaler.factor)
    assert seen == [4, 4, 1, 1, 1, 4, 4, 4, 16, 4, 1, 1]


def test_unscaled_once_for_clipping(device):
    p, q = leaf([3.0, 4.0], device), leaf([1.0], device)
    optimizer, scaler = optim.SGD([p, q], 1.0), LossScaler(2.0**20)
    scaler.scale((p * p).sum() * 0.5).backward()
    scaler.unscale(optimizer)
    scaler.unscale(optimizer)
    assert p.grad.numpy().tolist() == [3, 4] and p.grad.dtype == "float32" and q.grad is None
    assert optim.clip_grad_norm(optimizer.parameters, 2.5).item() == pytest.approx(5)
    assert scaler.step(optimizer)
    np.testing.assert_allclose(p.numpy(), [1.5, 2], rtol=1e-5)
    assert step(p, scaler, 1.0, optimizer) and p.grad.numpy().tolist() == [1, 1]


def test_the_state_goes_through_json(device):
    p = leaf([1.0], device)
    optimizer = optim.SGD([p], 0.0)
    scaler, other = LossScaler(4.0, every=2), LossScaler(every=2)
    step(p, scaler, 1.0, optimizer)
    other.load_state_dict(json.loads(json.dumps(scaler.state_dict())))
    assert other.state_dict() == scaler.state_dict() == {"scale": 4.0, "good": 1}
    step(p, other, 1.0, optimizer)
    assert other.factor == 8
    other.load_state_dict({"scale": np.asarray(2.0), "good": np.asarray(1)})
    assert other.state_dict() == {"scale": 2.0, "good": 1}
    assert isinstance(scaler.scale(p.sum()), Tensor)


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_a_number_that_is_added_to_half_leaves_it_half(shape, device):
    half = leaf(rand(*shape), device, "float16")
    with autocast():
        assert (half + 1.5).dtype == "float16"
        bias = leaf(rand(*shape[1:]), device)
        assert (half + bias).dtype == "float16", "a bias has fewer axes"
        assert (half + leaf(rand(*shape), device)).dtype == "float32", "this is no bias"
