"""What is fast beside what is plain: the two seams for speed give the same, to the bit; but for
products that are joined, which round in another order.

`quick` stands in for `Primitive.apply` of two operands, `QuickTotal` for `Total`.
"""

import numpy as np
import pytest
from test_ops import TABLE, leaves, numbers, on, weights

import minidl
from minidl import nn, optim, tensor
from minidl.engine import devices, gradients, intercept
from minidl.engine import tensor as engine
from minidl.engine.intercept import primitives
from minidl.nn import functional as F


@pytest.fixture
def plain(monkeypatch):
    """A function that switches the fast texts off."""

    def switch():
        monkeypatch.setattr(engine, "quick", lambda op, a, b: op(a, b))
        monkeypatch.setattr(gradients, "total", gradients.Total)

    return switch


def operated(c, device):
    """An operation by the operators' path, its operands used again: values, first and second
    gradients.
    """
    inputs = on(device, numbers(c))
    op = primitives[c.name]
    if len(inputs) == 2 and not c.attrs:
        y = engine.quick(op, *inputs)
    else:
        y = op(*inputs, **c.attrs)
    w = tensor(weights(y.shape, y.dtype), device=y.device)
    asked = leaves(inputs)
    total = (y * w).sum()
    for x in asked:  # several shares for each: whole, a piece, one that was broadcast
        total = total + (x * x).sum() + x.reshape(-1)[:1].sum() + (x + 1.0).sum()
    first = minidl.grad(total, asked, create_graph=True)
    squares = sum((g * g).sum() for g in first)
    second = minidl.grad(squares, asked, retain_graph=True)
    return [y, *first, *second, *minidl.grad(total, asked)]


@pytest.mark.parametrize("c", TABLE, ids=lambda c: f"{c.name}-{c.inputs}"[:60])
def test_every_operation_is_the_same_without_the_fast_texts(c, plain, device):
    fast = operated(c, device)
    plain()
    slow = operated(c, device)
    for i, (a, b) in enumerate(zip(fast, slow, strict=True)):
        np.testing.assert_array_equal(
            devices.to_numpy(a.data), devices.to_numpy(b.data), err_msg=f"{c.name}: result {i}"
        )


def trained():
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))
    optimizer = optim.Adam(model.parameters())
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = tensor(rng.normal(size=(6, 4)).astype(np.float32))
        loss = F.cross_entropy(model(x), tensor(rng.integers(0, 3, 6)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


def test_training_is_the_same_without_the_fast_texts(plain):
    fast = trained()
    plain()
    for path, a in trained().items():
        np.testing.assert_array_equal(a, fast[path], err_msg=path)


def test_the_fast_texts_are_in_use():
    """A sum of several shares is made in place, which no plain sum is."""
    assert gradients.total is gradients.QuickTotal
    x = tensor([1.0, 2.0])
    total = gradients.QuickTotal(x)
    one = np.ones(2, np.float32)
    with minidl.no_grad():  # as an ordinary walk back is
        for _ in range(3):
            total.add(one)
        kept = total.sum
        total.add(one)
    assert total.sum is kept
    np.testing.assert_array_equal(kept, [4, 4])
    np.testing.assert_array_equal(one, [1, 1])


@pytest.mark.parametrize(
    "left, right, waits",
    [((6, 3), (3, 5), True), ((6, 3), (3, 1), False), ((6, 5), (5, 5), False)],
)
def test_a_product_waits_only_where_it_is_larger_than_its_factors(left, right, waits):
    total = gradients.QuickTotal(tensor(np.zeros((left[0], right[1]), np.float32)))
    rng = np.random.default_rng(0)  # whole numbers: their sums are exact in any order
    pairs = [
        [rng.integers(-9, 9, shape).astype(np.float32) for shape in (left, right)]
        for _ in range(10)
    ]
    with minidl.no_grad():  # as an ordinary walk back is
        for a, b in pairs:
            total.add(gradients.Product(a, b))
        assert len(total.products) == (10 if waits else 0)
        _, found = total.result()
    np.testing.assert_array_equal(found, sum(a @ b for a, b in pairs))
    assert total.products == []


def test_another_forward_alone_leaves_the_gradient():
    x = tensor([2.0, 3.0], requires_grad=True)
    with intercept.replaced("exp", forward=lambda xp, x: 2 * xp.exp(x)):
        y = x.exp().sum()
        (g,) = minidl.grad(y, [x])
    np.testing.assert_allclose(g.numpy(), 2 * np.exp([2.0, 3.0]), rtol=1e-6)
    with intercept.replaced("exp", gradient=lambda g, y, x: (5 * g,)):
        y = x.exp().sum()
        (g,) = minidl.grad(y, [x])
    assert g.numpy().tolist() == [5, 5] and np.isclose(y.item(), np.exp([2.0, 3.0]).sum())


def test_a_gradient_without_memory_says_which_and_of_what():
    def full(g, y, x):
        raise MemoryError("no room")

    x = tensor(np.ones((2, 3)), requires_grad=True)
    with (
        intercept.replaced("exp", gradient=full),
        pytest.raises(MemoryError, match=r"^the gradient of exp: .*no room.*\(2, 3\)|"
                                         r"^the gradient of exp.*\(2, 3\).*no room"),
    ):  # fmt: skip
        x.exp().sum().backward()
