"""What walks over modules: watching their calls, and running them twice to save memory."""

import gc
import tracemalloc

import numpy as np
import pytest

import minidl
from minidl import backend, nn, tensor
from minidl.module import checkpoint, watched
from minidl.ops import bernoulli
from minidl.precision import autocast


def block(dtype=None):
    """Everything that makes a second run differ: dropout, running statistics, shared weights."""
    backend.manual_seed(1)
    linear = nn.Linear(6, 6)
    parts = [linear, nn.BatchNorm(6), nn.Tanh(), nn.Dropout(0.3), linear, nn.Dropout(0.5)]
    return nn.Sequential(*parts).to(dtype=dtype)


def run(model, through, x):
    """Output, gradients of the input and of all parameters, running statistics, next draw."""
    backend.manual_seed(2)
    y = through(model, x * 1.5)
    (y * y).sum().backward()
    draw = bernoulli(tensor(np.ones(20)).to(x.device), p=0.5)
    return [y, x.grad, *(p.grad for p in model.parameters()), *model.state_dict().values(), draw]


def plain(module, *inputs):
    return module(*inputs)


def array(x):
    return backend.to_numpy(x.data if isinstance(x, minidl.Tensor) else x)


def halves(module, x):
    for part in nn.Sequential(*list(module)[:3]), nn.Sequential(*list(module)[3:]):
        x = checkpoint(part, x)
    return x


class Nested(nn.Module):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return halves(self.inner, x)


@pytest.mark.parametrize("through", [checkpoint, halves, lambda m, x: checkpoint(Nested(m), x)])
def test_checkpoint_gives_the_same_bits(through, device):
    values = np.random.default_rng(0).standard_normal((5, 6)).astype("f")
    found = []
    for way in plain, through:
        x = tensor(values, requires_grad=True, device=device)
        found.append(run(block().to(device), way, x))
    for expected, got in zip(*found, strict=True):
        np.testing.assert_array_equal(array(got), array(expected))


@pytest.mark.parametrize("retain", [False, True])
def test_checkpoint_goes_back_as_often_as_a_record(retain):
    model, x = block(), tensor(np.ones((3, 6)), dtype="float32", requires_grad=True)
    y = checkpoint(model, x).sum()
    y.backward(retain_graph=retain)
    first, x.grad = x.grad, None
    if not retain:
        with pytest.raises(RuntimeError, match="freed"):
            y.backward()
        return
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), first.numpy())


def test_checkpoint_has_second_and_third_derivatives(device):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    found = []
    for way in plain, checkpoint:
        model = block("float64").to(device)
        x = tensor(a, requires_grad=True, device=device)
        other = tensor(b, device=device)
        backend.manual_seed(2)
        y = way(model, way(nn.Tanh(), x * 2.0)) * other
        for _ in range(3):
            asked = [x, *model.parameters()]
            grads = minidl.grad((y * y).sum(), asked, create_graph=True)
            y = sum((g * g).sum() for g in grads)
        found.append([y, *grads])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(array(got), array(expected), rtol=1e-9, atol=1e-9)


def test_checkpoints_in_a_row_stay_cheap_with_a_recorded_way_back():
    """If one walked back through those below it, twenty would take 2**20 runs."""
    count = []

    class Step(nn.Module):
        def forward(self, x):
            count.append(1)
            return x * x * 0.9

    x = y = tensor(np.ones(2), requires_grad=True)
    for _ in range(20):
        y = checkpoint(Step(), y)
    (g,) = minidl.grad(y.sum(), x, create_graph=True)
    assert len(count) == 40
    (g * g).sum().backward()
    assert len(count) <= 60
    np.testing.assert_array_equal(np.isfinite(x.grad.numpy()), True)


def test_checkpoint_remembers_autocast():
    model, x = nn.Linear(3, 2), tensor(np.ones((4, 3), "f"), requires_grad=True)
    found = []
    for way in plain, checkpoint:
        with autocast():
            y = way(model, x)
        grads = minidl.grad((y * 0.3).sum(), [x, *model.parameters()])
        found.append([y, *grads])
    assert found[0][0].dtype == found[1][0].dtype == "float16"
    for expected, got in zip(*found, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_checkpoint_records_only_what_asks():
    x = tensor(np.ones((2, 3), "f"))
    assert checkpoint(nn.Tanh(), x).op is None
    y = checkpoint(nn.Linear(3, 3), np.ones((2, 3), "f"))
    assert y.requires_grad and y.op.name == "checkpoint"
    with minidl.no_grad():
        assert checkpoint(nn.Linear(3, 3), x).op is None
    frozen = nn.Linear(3, 3)
    frozen.weight.requires_grad = False
    checkpoint(frozen, x).sum().backward()
    assert frozen.weight.grad is None and frozen.bias.grad is not None
    z = tensor(np.ones(3), requires_grad=True)
    (checkpoint(nn.Dropout().eval(), z) * z).sum().backward()  # a module that gives its input
    assert z.grad.numpy().tolist() == [2, 2, 2]
    pair = checkpoint(Both(), z, z * 3)
    assert minidl.grad(pair.sum(), z)[0].numpy().tolist() == [7, 7, 7]


class Both(nn.Module):
    def forward(self, a, b):
        return a + 2 * b


def test_checkpoint_wants_one_tensor():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match=r"checkpoint: expected a Tensor from Pair\(\), got tuple"):
        checkpoint(Pair(), tensor([1.0]))
    with pytest.raises(ValueError, match=r"Linear\(2, 3\): expected x of shape"):
        checkpoint(nn.Linear(2, 3), tensor(np.ones((1, 3))))
    x = checkpoint(nn.Tanh(), tensor(np.ones((0, 3)), requires_grad=True))
    assert minidl.grad(x.sum(), x)[0].shape == (0, 3)


def test_checkpoint_saves_memory():
    def peak(through):
        stack = [nn.Sequential(*(nn.Tanh() for _ in range(10))) for _ in range(10)]
        x = y = tensor(np.ones((100, 1000), "f"), requires_grad=True)
        tracemalloc.start()
        for part in stack:
            y = through(part, y)
        y.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / x.data.nbytes  # in arrays of this size

    # A hundred results, or ten, ten of the part that runs again, and what its gradient needs.
    assert peak(plain) > 100
    assert peak(checkpoint) < 26


@pytest.mark.slow
def test_a_checkpoint_is_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = tensor(np.ones((3, 6), "f"), requires_grad=True)
        model = block()
        with autocast():
            y = checkpoint(model, x * 1.0).sum()
        y.backward()
        del y
        model.to()  # forgets the gradients
        assert gc.collect() == 0
    finally:
        gc.enable()


# ---- watched


def test_watched_goes_around_each_call_and_ends():
    shared = nn.ReLU()
    net, seen = nn.Sequential(nn.Linear(2, 2), shared, nn.Sequential(shared)), []

    def around(path, module, run):
        seen.append(path)
        y = run()
        seen.append(f"/{path}")
        return y

    x = tensor(np.ones((1, 2), "f"))
    with watched(net, around):
        nn.ReLU()(x)  # none of the model's
        y = net(x)
    assert seen == ["", "0", "/0", "1", "/1", "2", "1", "/1", "/2", "/"]
    np.testing.assert_array_equal(net(x).numpy(), y.numpy())
    assert len(seen) == 10


def test_watched_inside_watched_and_with_an_error():
    layer, seen = nn.Linear(2, 2), []
    with (
        watched(layer, lambda path, module, run: seen.append("first") or run()),
        pytest.raises(ValueError, match="expected x"),
        watched(layer, lambda path, module, run: seen.append("second") or run()),
    ):
        layer(tensor(np.ones(3)))
    layer(tensor(np.ones(2, "f")))
    assert sorted(seen) == ["first", "second"]


def test_summary_puts_every_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    net[0].eval()
    nn.summary(net, np.ones((1, 2), "f"))
    assert [m.training for _, m in net.modules()] == [True, False, True]
