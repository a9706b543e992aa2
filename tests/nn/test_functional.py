"""Activations, softmax and losses: against PyTorch, on every device, and with bad input."""

import numpy as np
import pytest

import minidl
from minidl import tensor
from minidl.engine import ops
from minidl.nn import functional as F

X = np.random.default_rng(0).standard_normal((5, 4))
Y = np.random.default_rng(1).standard_normal((5, 4))
LABELS = np.array([0, 3, 2, 2, 1])
BITS = (Y > 0).astype(float)
SHARES = np.random.default_rng(2).dirichlet(np.ones(4), 5)
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.5, 3.0])
EACH = {"reduction": "none"}
HOLES = np.array([-1, 3, 2, -1, 1])  # labels, of which those that are -1 do not count
PER_CLASS = np.array([0.5, 2.0, 1.0, 3.0])

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

# Of probabilities: those between 0 and 1 that the rows of x become.
SQUASHED = {
    "bce": (
        lambda x: F.bce(ops.sigmoid(x), like(x, BITS)),
        lambda t, x: t.nn.functional.binary_cross_entropy(x.sigmoid(), t.tensor(BITS)),
    ),
    "bce, shares, weighted": (
        lambda x: F.bce(ops.sigmoid(x), like(x, SHARES), sample_weight=like(x, WEIGHTS)),
        lambda t, x: weighted(
            t, t.nn.functional.binary_cross_entropy(x.sigmoid(), t.tensor(SHARES), **EACH)
        ),
    ),
    "bce, each": (
        lambda x: F.bce(ops.sigmoid(x), like(x, BITS), reduction="none"),
        lambda t, x: t.nn.functional.binary_cross_entropy(x.sigmoid(), t.tensor(BITS), **EACH),
    ),
}
for _how in ("sum", "none"):
    for _name, _ours, _theirs, _target in [
        ("mse", F.mse, "mse_loss", Y),
        ("l1", F.l1, "l1_loss", Y),
        ("huber", F.huber, "huber_loss", Y),
        ("bce_with_logits", F.bce_with_logits, "binary_cross_entropy_with_logits", BITS),
        ("cross_entropy", F.cross_entropy, "cross_entropy", LABELS),
        ("cross_entropy of shares", F.cross_entropy, "cross_entropy", SHARES),
    ]:
        CASES[f"{_name}, {_how}"] = (
            lambda x, f=_ours, y=_target, how=_how: f(x, like(x, y), reduction=how),
            lambda t, x, f=_theirs, y=_target, how=_how: getattr(t.nn.functional, f)(
                x, t.tensor(y), reduction=how
            ),
        )
    CASES[f"nll with holes, {_how}"] = (
        lambda x, how=_how: F.nll(F.log_softmax(x), like(x, HOLES), ignore_index=-1, reduction=how),
        lambda t, x, how=_how: t.nn.functional.nll_loss(
            x.log_softmax(-1), t.tensor(HOLES), ignore_index=-1, reduction=how
        ),
    )
for _how in ("mean", "sum", "none"):
    for _more in ("", ", of classes", ", smoothed", ", both"):
        _ours, _theirs = {}, {}
        if _more in (", of classes", ", both"):
            _ours["class_weight"] = _theirs["weight"] = PER_CLASS
        if _more in (", smoothed", ", both"):
            _ours["smoothing"] = _theirs["label_smoothing"] = 0.2
        CASES[f"cross_entropy with holes{_more}, {_how}"] = (
            lambda x, options=_ours, how=_how: F.cross_entropy(
                x, like(x, HOLES), ignore_index=-1, reduction=how,
                **{k: like(x, v) if k == "class_weight" else v for k, v in options.items()},
            ),
            lambda t, x, options=_theirs, how=_how: t.nn.functional.cross_entropy(
                x, t.tensor(HOLES), ignore_index=-1, reduction=how,
                **{k: t.tensor(v) if k == "weight" else v for k, v in options.items()},
            ),
        )  # fmt: skip


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


ALL = CASES | SQUASHED


@pytest.mark.parametrize("case", ALL)
def test_second_derivatives_are_pytorchs_and_those_of_small_steps(case, device, torch):
    f, g = ALL[case]
    w = np.random.default_rng(5).standard_normal((5, 4))

    def first(x):
        y = f(x)
        return minidl.grad((y * y).sum(), [x], create_graph=True)[0]

    x = tensor(X, requires_grad=True, device=device)
    (second,) = minidl.grad((first(x) * like(x, w)).sum(), [x])
    t = torch.tensor(X, requires_grad=True)
    z = g(torch, t)
    (slope,) = torch.autograd.grad((z * z).sum(), [t], create_graph=True)
    (expected,) = torch.autograd.grad((slope * torch.tensor(w)).sum(), [t])
    np.testing.assert_allclose(second.numpy(), expected.numpy(), rtol=1e-8, atol=1e-10)
    ahead, back = (
        first(tensor(X + d * w, requires_grad=True, device=device)).numpy() for d in (1e-6, -1e-6)
    )
    np.testing.assert_allclose(second.numpy(), (ahead - back) / 2e-6, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("case", ALL)
def test_compiled_it_is_the_same(case, device):
    """With other numbers at each call, and their gradient."""
    f = ALL[case][0]

    def both(x):
        x = minidl.Tensor(x.data, requires_grad=True)
        y = f(x)
        return y, minidl.grad((y * y).sum(), [x])[0]

    compiled = minidl.compile(both)
    for scale in (1.0, 0.5, -2.0):
        x = tensor(X * scale, device=device)
        for found, expected in zip(compiled(x), both(x)):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", SQUASHED)
def test_losses_of_probabilities_are_pytorchs(case, device, torch):
    f, g = SQUASHED[case]
    x, t = tensor(X, requires_grad=True, device=device), torch.tensor(X, requires_grad=True)
    y, z = f(x), g(torch, t)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_bce_is_finite_at_0_and_1(dtype, device):
    """Where the answer is right it costs nothing; where it is wrong, much, with a way back."""
    p = tensor(np.array([0, 1, 0, 1], dtype), requires_grad=True, device=device)
    errors = F.bce(p, like(p, np.array([0, 1, 1, 0], dtype)), reduction="none")
    assert errors.dtype == dtype
    most = 27.63 if dtype != "float16" else 16.64
    np.testing.assert_allclose(errors.numpy(), [0, 0, most, most], rtol=1e-3, atol=1e-6)
    if dtype != "float16":
        (slope,) = minidl.grad(errors.sum(), [p], create_graph=True)
        np.testing.assert_allclose(slope.numpy(), [1, -1, -1e12, 1e12], rtol=1e-5)
        (curve,) = minidl.grad(slope.sum(), [p])
        assert np.isfinite(curve.numpy()).all(), curve


def test_bce_refuses_what_is_no_probability():
    target = tensor(BITS)
    for wrong in (Y, BITS * 1.001, -1e-9 * BITS):
        with pytest.raises(ValueError, match=r"bce: probabilities must be in \[0, 1\]; of logits"):
            F.bce(tensor(wrong), target)
    compiled = minidl.compile(F.bce)
    for p in (0.3 * BITS, 0.7 * BITS):
        assert compiled(tensor(p), target).item() == F.bce(tensor(p), target).item()
    with pytest.raises(ValueError, match="bce: probabilities must be in"):
        compiled(tensor(2 * BITS), target)


def test_what_is_ignored_changes_nothing(device):
    """Neither in the value nor in a gradient; not even where label 0, or a class, is impossible."""
    values = X.copy()
    values[0, 0] = values[1, 1] = -np.inf
    keep = HOLES >= 0
    for options in ({}, {"sample_weight": WEIGHTS}):
        x, y = (tensor(a, requires_grad=True, device=device) for a in (values, values[keep]))
        rest = {k: like(x, v[keep]) for k, v in options.items()}
        whole = {k: like(x, v) for k, v in options.items()}
        a = F.cross_entropy(x, like(x, HOLES), ignore_index=-1, **whole)
        b = F.cross_entropy(y, like(x, HOLES[keep]), **rest)
        a.backward()
        b.backward()
        assert a.item() == pytest.approx(b.item(), rel=1e-12)
        np.testing.assert_allclose(x.grad.numpy()[keep], y.grad.numpy(), rtol=1e-12)
        np.testing.assert_array_equal(x.grad.numpy()[~keep], 0)


def test_what_is_ignored_may_be_any_number():
    for dtype in ("uint8", "int32", "int64"):
        labels = np.array([0, 3, 2, 2, 1], dtype)
        found = F.cross_entropy(tensor(X), tensor(labels), ignore_index=2).item()
        keep = labels != 2
        expected = F.cross_entropy(tensor(X[keep]), tensor(labels[keep])).item()
        assert found == pytest.approx(expected, rel=1e-12)
        plain = F.cross_entropy(tensor(X), tensor(labels)).item()
        assert F.cross_entropy(tensor(X), tensor(labels), ignore_index=-100).item() == plain
    none = F.cross_entropy(tensor(X), tensor(np.full(5, 7)), ignore_index=7, reduction="sum")
    assert none.item() == 0
    with pytest.raises(ValueError, match="ignore_index is a label, and the target is prob"):
        F.cross_entropy(tensor(X), tensor(SHARES), ignore_index=1)
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 4\)"):
        F.cross_entropy(tensor(X), tensor(HOLES))


@pytest.mark.parametrize("loss", [F.mse, F.huber, F.bce_with_logits, F.cross_entropy, F.nll])
def test_a_reduction_is_one_of_three(loss):
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'avg'"):
        loss(tensor(X), tensor(SHARES), reduction="avg")


def test_positions_are_pytorchs(torch):
    """Where the order is the same; the rest is given by keyword."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 4, 7, 6), (6, 2, 3, 3), (6,)))
    v, c = rng.standard_normal((4, 6, 3, 3)), rng.standard_normal((3, 5, 5))
    k = rng.standard_normal((6, 5, 3))
    t = torch.nn.functional
    for name, arrays, rest in [
        ("conv2d", (x, w, b), (2, 1, 1, 2)),
        ("conv1d", (c, k, b), (2, 1, 1, 1)),
        ("conv_transpose2d", (x, v, b), (2, 1, 1)),
        ("max_pool2d", (x,), (3, 2, 1)),
        ("avg_pool2d", (x,), (3, 2, 1)),
        ("leaky_relu", (x,), (0.3,)),
        ("softmax", (x,), (1,)),
        ("log_softmax", (x,), (1,)),
        ("dropout", (x,), (0.5, False)),
    ]:
        found = getattr(F, name)(*map(tensor, arrays), *rest)
        expected = getattr(t, name)(*map(torch.tensor, arrays), *rest)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, err_msg=name)
    q = rng.standard_normal((3, 2, 5, 4))
    mask = np.tri(5, dtype=bool)
    found = F.attention(*map(tensor, q), tensor(mask))
    expected = t.scaled_dot_product_attention(*map(torch.tensor, q), torch.tensor(mask))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9)


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


@pytest.mark.parametrize("loss", [F.mse, F.l1, F.huber, F.bce, F.bce_with_logits])
def test_losses_refuse_to_broadcast(loss):
    with pytest.raises(ValueError, match=rf"{loss.__name__}: output \(5, 1\) and target \(5,\)"):
        loss(tensor(np.zeros((5, 1))), tensor(np.zeros(5)))


def test_labels_must_fit_the_logits():
    for wrong in (BITS[:, :3], BITS[:4], LABELS[:4], np.array(1)):
        with pytest.raises(ValueError, match=r"outputs \(5, 4\) need labels of shape \(5,\), or"):
            F.cross_entropy(tensor(X), tensor(wrong))
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 4\), got 0 to 4"):
        F.cross_entropy(tensor(X), tensor(LABELS + (LABELS == 3)))
    with pytest.raises(TypeError, match="labels must be integers, got float64"):
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


@pytest.mark.parametrize(
    "name", ["mse", "l1", "huber", "bce", "bce_with_logits", "cross_entropy", "nll"]
)
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


@pytest.mark.parametrize(
    "loss", ["mse", "l1", "huber", "bce", "bce_with_logits", "nll", "cross_entropy"]
)
def test_losses_of_lists_and_of_nothing_say_so(loss):
    y = tensor([[1.0, 2.0]])
    for given in ((y, [[1.0, 2.0]]), ([[1.0, 2.0]], y), (None, y)):
        wrong = next(type(a).__name__ for a in given if a is not y)
        with pytest.raises(TypeError, match=f"{loss}: expected Tensors or arrays, got a {wrong}"):
            getattr(F, loss)(*given)


@pytest.mark.parametrize("delta", [0, -1, np.nan])
def test_huber_refuses_a_delta_that_is_not_above_0(delta):
    with pytest.raises(ValueError, match="huber: delta must be above 0"):
        F.huber(tensor([1.0]), tensor([2.0]), delta=delta)


def test_a_target_of_another_shape_is_told_how_to_be_given():
    with pytest.raises(ValueError, match=r"write target\.reshape\(3, 1\)"):
        F.mse(tensor([[1.0], [2.0], [3.0]]), tensor([1.0, 2.0, 3.0]))
