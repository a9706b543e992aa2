"""Activations, softmax and losses: against PyTorch, on every device, and with bad input."""

import numpy as np
import pytest

from minidl import tensor
from minidl.nn import functional as F

X = np.random.default_rng(0).standard_normal((5, 4))
Y = np.random.default_rng(1).standard_normal((5, 4))
LABELS = np.array([0, 3, 2, 2, 1])
BITS = (Y > 0).astype(float)
SHARES = np.random.default_rng(2).dirichlet(np.ones(4), 5)
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.5, 3.0])
EACH = {"reduction": "none"}

CASES = {
    "gelu": (F.gelu, lambda t, x: t.nn.functional.gelu(x, approximate="tanh")),
    "leaky_relu": (F.leaky_relu, lambda t, x: t.nn.functional.leaky_relu(x)),
    "softmax": (F.softmax, lambda t, x: x.softmax(-1)),
    "softmax, axis 0": (lambda x: F.softmax(x, axis=0), lambda t, x: x.softmax(0)),
    "log_softmax": (F.log_softmax, lambda t, x: x.log_softmax(-1)),
    "mse": (lambda x: F.mse(x, like(x, Y)), lambda t, x: t.nn.functional.mse_loss(x, t.tensor(Y))),
    "l1": (lambda x: F.l1(x, like(x, Y)), lambda t, x: t.nn.functional.l1_loss(x, t.tensor(Y))),
    "huber": (
        lambda x: F.huber(x, like(x, Y), delta=0.7),
        lambda t, x: t.nn.functional.huber_loss(x, t.tensor(Y), delta=0.7),
    ),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, like(x, LABELS)),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(LABELS)),
    ),
    "cross_entropy, smoothed": (
        lambda x: F.cross_entropy(x, like(x, LABELS), smoothing=0.1),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(LABELS), label_smoothing=0.1),
    ),
    "cross_entropy, probabilities": (
        lambda x: F.cross_entropy(x, like(x, SHARES), smoothing=0.1),
        lambda t, x: t.nn.functional.cross_entropy(x, t.tensor(SHARES), label_smoothing=0.1),
    ),
    "cross_entropy, weighted": (
        lambda x: F.cross_entropy(x, like(x, LABELS), sample_weight=like(x, WEIGHTS)),
        lambda t, x: weighted(t, t.nn.functional.cross_entropy(x, t.tensor(LABELS), **EACH)),
    ),
    "huber, weighted": (
        lambda x: F.huber(x, like(x, Y), sample_weight=like(x, WEIGHTS)),
        lambda t, x: weighted(t, t.nn.functional.huber_loss(x, t.tensor(Y), **EACH)),
    ),
    "nll": (
        lambda x: F.nll(F.log_softmax(x), like(x, LABELS)),
        lambda t, x: t.nn.functional.nll_loss(x.log_softmax(-1), t.tensor(LABELS)),
    ),
    "bce_with_logits": (
        lambda x: F.bce_with_logits(x, like(x, BITS)),
        lambda t, x: t.nn.functional.binary_cross_entropy_with_logits(x, t.tensor(BITS)),
    ),
}


def like(x, values):
    return tensor(values, device=x.device)


def weighted(torch, losses):
    """The mean of PyTorch's single losses (5, ...), each times its sample's weight."""
    return (losses * torch.tensor(WEIGHTS).reshape(5, *[1] * (losses.ndim - 1))).mean()


@pytest.mark.parametrize("scale", [1.0, 1000.0])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_pytorchs(case, scale, device, torch):
    f, g = CASES[case]
    x = tensor(X * scale, requires_grad=True, device=device)
    t = torch.tensor(X * scale, requires_grad=True)
    y, z = f(x), g(torch, t)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
    y.backward(tensor(np.ones(y.shape) * 0.5 + y.numpy(), device=device))
    z.backward(torch.ones_like(z) * 0.5 + z.detach())
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-10)


def test_cross_entropy_takes_any_axes_before_the_classes():
    x = tensor(X.reshape(5, 1, 4))
    assert np.isclose(
        F.cross_entropy(x, tensor(LABELS[:, None])).item(),
        F.cross_entropy(tensor(X), tensor(LABELS)).item(),
    )


def test_losses_in_float32_stay_float32(device):
    x = tensor(X.astype("f"), requires_grad=True, device=device)
    for loss in (
        F.cross_entropy(x, like(x, LABELS), smoothing=0.1),
        F.huber(x, like(x, Y.astype("f"))),
        F.bce_with_logits(x, like(x, BITS.astype("f"))),
        F.cross_entropy(x, like(x, SHARES), sample_weight=like(x, WEIGHTS)),
        F.mse(x, like(x, Y.astype("f")), sample_weight=like(x, WEIGHTS)),
    ):
        assert loss.dtype == "float32"


def test_an_empty_batch_has_no_mean():
    empty = tensor(np.zeros((0, 4)))
    assert np.isnan(F.cross_entropy(empty, tensor(np.zeros(0, int))).item())
    assert np.isnan(F.mse(empty, empty).item())


@pytest.mark.parametrize("loss", [F.mse, F.l1, F.huber, F.bce_with_logits])
def test_losses_refuse_to_broadcast(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: output \(5, 1\) and target \(5,\)"):
        loss(tensor(np.zeros((5, 1))), tensor(np.zeros(5)))


def test_labels_must_fit_the_logits():
    for wrong in (BITS[:, :3], BITS[:4], LABELS[:4], np.array(1)):
        with pytest.raises(ValueError, match=r"outputs \(5, 4\) need labels of shape \(5,\), or"):
            F.cross_entropy(tensor(X), tensor(wrong))
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 4\), got 0 to 4"):
        F.cross_entropy(tensor(X), tensor(LABELS + (LABELS == 3)))
    with pytest.raises(TypeError, match="class indices must be integers"):
        F.nll(tensor(X), tensor(LABELS.astype(float)))
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 1\], got 10"):
        F.cross_entropy(tensor(X), tensor(LABELS), smoothing=10)


def test_one_hot_rows_are_labels_said_otherwise(device):
    x = tensor(X, device=device)
    rows = like(x, np.eye(4, dtype=int)[LABELS])
    found = F.cross_entropy(x, rows).item(), F.cross_entropy(x, like(x, LABELS)).item()
    assert np.isclose(*found, rtol=1e-14)


def test_impossible_classes_cost_nothing(device):
    """A logit of -inf that is not the label's is a class ruled out, as in PyTorch."""
    x = tensor([[0.0, -np.inf, 0.0]], requires_grad=True, device=device)
    loss = F.cross_entropy(x, tensor([0], device=device))
    loss.backward()
    assert np.isclose(loss.item(), np.log(2))
    np.testing.assert_allclose(x.grad.numpy(), [[-0.5, 0, 0.5]], rtol=1e-6)


def test_a_query_that_may_look_nowhere_gets_zeros(device):
    q = tensor(X.reshape(1, 5, 4), requires_grad=True, device=device)
    mask = like(q, np.tri(5, k=-1, dtype=bool))
    y = F.attention(q, q, q, mask=mask)
    (y * y).sum().backward()
    np.testing.assert_array_equal(y.numpy()[0, 0], 0)
    np.testing.assert_array_equal(y.numpy()[0, 1:] != 0, True)
    np.testing.assert_array_equal(np.isfinite(q.grad.numpy()), True)


def test_weights_may_count_samples_or_single_labels(device):
    x, y = (tensor(a.reshape(5, 2, 2), device=device) for a in (X, Y))
    each = like(x, np.repeat(WEIGHTS, 2).reshape(5, 2))
    assert (
        F.mse(x, y, sample_weight=like(x, WEIGHTS)).item() == F.mse(x, y, sample_weight=each).item()
    )
    with pytest.raises(
        ValueError, match=r"sample_weight of shape \(4,\) does not fit errors \(5, 2, 2\)"
    ):
        F.mse(x, y, sample_weight=like(x, WEIGHTS[:4]))


def test_dropout_keeps_the_mean_and_is_off_in_evaluation(device):
    x = tensor(np.ones((200, 200)), requires_grad=True, device=device)
    y = F.dropout(x, p=0.25)
    assert set(np.unique(y.numpy())) == {0, 1 / 0.75}
    assert abs(y.numpy().mean() - 1) < 0.02
    y.sum().backward()
    assert (x.grad.numpy() == y.numpy()).all(), "the gradient passes where the input passed"
    assert F.dropout(x, p=0.25, training=False) is x
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\), got 1"):
        F.dropout(x, p=1)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64"])
def test_labels_of_any_integer_type(dtype, device):
    """A place in all logits is counted in 64 bits: 300 x 5 do not fit into 8."""
    logits = np.random.default_rng(0).standard_normal((300, 5)).astype("f")
    labels = np.arange(300) % 5
    expected = F.cross_entropy(tensor(logits), tensor(labels)).item()
    found = F.cross_entropy(
        tensor(logits, device=device), tensor(labels.astype(dtype), device=device)
    )
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["labels", "probabilities"])
@pytest.mark.parametrize("shape", [(4,), (5,), (5, 3)], ids=["N == K", "N", "N, T"])
def test_weights_of_classes_are_pytorchs(shape, kind, smoothing, device, torch):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((*shape, 4)), rng.random(4) + 0.1
    target = rng.integers(0, 4, shape) if kind == "labels" else rng.dirichlet(np.ones(4), shape)
    t, their = torch.tensor(x, requires_grad=True), torch.tensor(target)
    z = torch.nn.functional.cross_entropy(
        t.moveaxis(-1, 1), their if kind == "labels" else their.moveaxis(-1, 1),
        weight=torch.tensor(weight), label_smoothing=smoothing,
    )  # fmt: skip
    z.backward()
    for loss in (F.cross_entropy, lambda x, *a, **k: F.nll(F.log_softmax(x), *a, **k)):
        ours = tensor(x, requires_grad=True, device=device)
        y = loss(ours, like(ours, target), smoothing=smoothing, class_weight=like(ours, weight))
        y.backward()
        assert y.item() == pytest.approx(z.item(), rel=1e-12)
        np.testing.assert_allclose(ours.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_weights_of_samples_and_of_classes_go_together(device):
    """Of N == K samples: each kind is taken by its name, and both are multiplied."""
    x, labels = tensor(X[:4], device=device), np.array([0, 3, 2, 2])
    each, of_class = np.array([1.0, 2.0, 0.5, 3.0]), np.array([0.1, 1.0, 5.0, 2.0])
    errors = -F.log_softmax(x).numpy()[np.arange(4), labels]
    by_name = {"sample_weight": like(x, each), "class_weight": like(x, of_class)}
    found = F.cross_entropy(x, like(x, labels), sample_weight=by_name["sample_weight"]).item()
    assert found == pytest.approx((errors * each).mean())
    found = F.cross_entropy(x, like(x, labels), **by_name).item()
    w = of_class[labels]
    assert found == pytest.approx((errors * each * w).sum() / w.sum())


@pytest.mark.parametrize("name", ["mse", "l1", "huber", "bce_with_logits", "cross_entropy", "nll"])
def test_a_weight_without_a_kind_is_refused(name):
    with pytest.raises(TypeError, match=f"{name} has no .*sample_weight=.*class_weight=.*PyTorch"):
        getattr(F, name)(tensor(X), tensor(Y), weight=tensor(WEIGHTS))


def test_weights_of_classes_must_be_one_for_each():
    for wrong in (WEIGHTS, WEIGHTS[:4, None], [1.0, 1.0, 1.0, 1.0]):
        for more in ({}, {"smoothing": 0.1}):
            with pytest.raises(ValueError, match=r"need an array of 4 numbers, one for each class"):
                F.cross_entropy(tensor(X), tensor(LABELS), class_weight=wrong, **more)


MASKS = {
    "booleans (T, S)": np.random.default_rng(3).random((3, 3)) > 0.4,
    "added (T, S)": np.where(np.tri(3, dtype=bool), 0.0, -np.inf),
    "added, any numbers": np.random.default_rng(4).standard_normal((2, 1, 3, 3)),
    "booleans (heads, 1, S)": np.array([[[True, False, True]], [[True, True, False]]]),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_are_those_of_pytorch(case, device, torch):
    mask = MASKS[case] if "booleans (T" not in case else MASKS[case] | np.eye(3, dtype=bool)
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 2, 3, 4))
    ours = [tensor(a, requires_grad=True, device=device) for a in (q, k, v)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    y = F.attention(*ours, mask=tensor(mask, device=device))
    z = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=torch.tensor(mask))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_numbers_that_are_added_have_a_gradient_and_may_hide_all(device):
    q = tensor(X.reshape(1, 5, 4), device=device)
    bias = tensor(np.zeros((5, 5)), requires_grad=True, device=device)
    F.attention(q, q, q, mask=bias).sum().backward()
    assert bias.grad.numpy().any(), "the bias has no gradient"
    hidden = np.where(np.tri(5, k=-1, dtype=bool), 0.0, -np.inf)
    y = F.attention(q, q, q, mask=like(q, hidden)).numpy()
    np.testing.assert_array_equal(y[0, 0], 0 * y[0, 0])
    assert np.isfinite(y).all(), y


def test_a_mask_of_another_type_or_shape_is_refused():
    q = tensor(np.ones((3, 2, 4)))
    for wrong in (np.ones((2, 2), int), tensor([[1, 0], [1, 1]]), [[True, False]] * 2, True):
        with pytest.raises(TypeError, match=r"attention: a mask is booleans.* mask != 0"):
            F.attention(q, q, q, mask=wrong)
    for wrong in (np.ones((4, 3, 2, 2), bool), np.ones((3, 2), bool), np.ones((2, 2, 2))):
        with pytest.raises(ValueError, match=r"the mask .* must broadcast to \(3, 2, 2\)"):
            F.attention(q, q, q, mask=wrong)
