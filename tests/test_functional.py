"""Activations, softmax and losses: against PyTorch, on every device, and with bad input."""

import numpy as np
import pytest

from minidl import functional as F
from minidl import tensor

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
    assert not y.numpy()[0, 0].any() and y.numpy()[0, 1:].all()
    assert np.isfinite(q.grad.numpy()).all()


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
