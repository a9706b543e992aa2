"""New tensors: filled, counted, drawn, joined."""

import numpy as np
import pytest

import minidl
from minidl import Tensor, tensor

FILLED = {"zeros": np.zeros, "ones": np.ones}
DRAWN = ["rand", "randn"]


@pytest.mark.parametrize("name", [*FILLED, *DRAWN])
@pytest.mark.parametrize("shape", [(2, 3), ((2, 3),), ([2, 3],), (), (0, 3), (4,)])
def test_a_shape_is_numbers_or_a_tuple(name, shape, device):
    x = getattr(minidl, name)(*shape, device=device)
    wanted = tuple(shape[0]) if shape and not isinstance(shape[0], int) else shape
    assert (x.shape, x.dtype, x.device) == (wanted, "float32", device)
    assert (x.requires_grad, x.op) == (False, None)
    if name in FILLED:
        np.testing.assert_array_equal(x.numpy(), FILLED[name](wanted))


@pytest.mark.parametrize("name", [*FILLED, *DRAWN])
def test_type_gradient_and_likeness(name, device):
    make, like = getattr(minidl, name), getattr(minidl, f"{name}_like")
    x = make(2, 3, dtype="float64", device=device, requires_grad=True)
    (x * x).sum().backward()
    assert (x.dtype, x.grad.dtype, x.grad.device) == ("float64", "float64", device)
    y = like(x, requires_grad=True)
    assert (y.shape, y.dtype, y.device, y.requires_grad) == ((2, 3), "float64", device, True)
    assert not like(x).requires_grad


def test_filled_with_whole_numbers_and_truths():
    assert (
        minidl.zeros(2, dtype="int64").dtype == "int64"
        and minidl.ones(2, dtype=bool).all().item() is True
    )
    assert minidl.ones_like(tensor([1, 2])).dtype == "int64"
    for mistake in (lambda: minidl.rand(2, dtype="int64"), lambda: minidl.randn_like(tensor([1]))):
        with pytest.raises(TypeError, match="random numbers are floating-point, not int64"):
            mistake()


def test_draws_come_from_the_one_generator(device):
    minidl.manual_seed(3)
    first = [minidl.rand(5, device=device).numpy(), minidl.randn(5, device=device).numpy()]
    minidl.manual_seed(3)
    again = [minidl.rand(5, device=device).numpy(), minidl.randn(5, device=device).numpy()]
    np.testing.assert_array_equal(first, again)
    assert (minidl.rand(5, device=device).numpy() != again[0]).any(), "drawn twice the same"
    many = minidl.rand(10_000, device=device).numpy()
    assert many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.02


@pytest.mark.parametrize("draw", [lambda x: minidl.randn(3), minidl.rand_like, minidl.randn_like])
def test_a_compiled_function_draws_anew(draw):
    step = minidl.compile(lambda x: x + draw(x))
    x = minidl.zeros(3)
    minidl.manual_seed(4)
    found = [step(x).numpy() for _ in range(3)]
    minidl.manual_seed(4)
    expected = [(x + draw(x)).numpy() for _ in range(3)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "args, dtype",
    [((5,), "int64"), ((2, 8, 3), "int64"), ((0.5, 3), "float32"), ((1, 2, 0.25), "float32"),
     ((0,), "int64"), ((3, 0, -1), "int64")],
)  # fmt: skip
def test_arange(args, dtype, device):
    x = minidl.arange(*args, device=device)
    assert (x.dtype, x.device) == (dtype, device)
    np.testing.assert_array_equal(x.numpy(), np.arange(*args))
    assert minidl.arange(3, dtype="float32", requires_grad=True).requires_grad


def test_concatenate_and_stack_take_a_list(device):
    x, y = tensor([[1.0, 2.0]], device=device), tensor([[3.0, 4.0]], device=device)
    assert minidl.concatenate([x, y]).shape == (2, 2) == minidl.stack([x, y], 1)[0].shape
    assert minidl.concatenate((x, y), axis=1).numpy().tolist() == [[1, 2, 3, 4]]
    for name in ("concatenate", "stack"):
        join = getattr(minidl, name)
        for mistake in (
            lambda join=join: join(x, y),
            lambda join=join: join(x),
            lambda join=join: join([]),
            lambda join=join: join([x, y], "1"),
            lambda join=join: join(x, axis=1),
        ):
            with pytest.raises(TypeError, match=rf"{name}: expected a list .* {name}\(\[a, b\], a"):
                mistake()
        with pytest.raises(TypeError, match=rf"{name}\(\) has no argument 'dim': write axis="):
            join([x, y], dim=1)
        with pytest.raises(TypeError, match=r"it is called .*\(arrays, axis=0\)"):
            join(x, y, x)
        assert str(join.__doc__).startswith("The arrays of a list")


def test_what_a_shape_cannot_be_is_said():
    for shape in ((-1,), (2.0,), ("a",)):
        with pytest.raises((TypeError, ValueError)):
            minidl.zeros(*shape)
    with pytest.raises(ValueError, match='expected "cpu" or "cuda"'):
        minidl.zeros(2, device="gpu")
    assert isinstance(minidl.zeros(2), Tensor)
