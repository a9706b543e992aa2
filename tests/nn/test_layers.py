"""Modules: the registry, states, moving, the summary, and layers against PyTorch."""

import warnings

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn, tensor
from minidl.nn import functional as F
from minidl.nn import layers, recurrent
from minidl.pytorch import from_torch


class Net(nn.Module):
    """Every way to own a part: attribute, list, buffer, shared parameter."""

    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.rest = [nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2, bias=False))]
        self.scale = tensor([2.0])
        self.tied = self.rest[0].weight
        self.note = "not a part"

    def forward(self, x):
        x = self.first(x)
        for part in self.rest:
            x = part(x)
        return x * self.scale


PATHS = [
    "scale", "tied", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias",
    "rest.1.1.weight",
]  # fmt: skip


def test_state_dict_names_every_parameter_and_buffer():
    net = Net()
    assert list(net.state_dict()) == PATHS
    named = dict(net.named_parameters())
    assert "scale" not in named and "tied" in named and "rest.0.weight" not in named
    assert len(net.parameters()) == 5
    assert not [p for p in net.parameters() if not p.requires_grad]


def test_a_state_is_a_snapshot_and_loads_elsewhere(device):
    net, other = Net(), Net().to(device)
    state = net.state_dict()
    other.load_state_dict(state)
    x = np.ones((2, 3), "f")
    np.testing.assert_allclose(
        other(tensor(x, device=device)).numpy(), net(tensor(x)).numpy(), 1e-6
    )
    for p in net.parameters():
        p.data = p.data + 1
    changed = net.state_dict()["first.weight"] != state["first.weight"]
    assert changed.any(), "the weight is as it was"


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda s: s.pop("tied"), "missing: tied"),
        (lambda s: s.update(more=np.zeros(1)), "unknown: more"),
        (
            lambda s: s.update(scale=np.zeros(2)),
            r"scale has shape \(2,\) where the model has \(1,\)",
        ),
        (
            lambda s: s.update({"first.weight": s["first.weight"].T}),
            r"first\.weight has shape \(4, 3\) where the model has \(3, 4\)",
        ),
        (
            lambda s: s.update({"first.weight": s["first.weight"].reshape(-1)}),
            r"first\.weight has shape \(12,\) where the model has \(3, 4\)",
        ),
        (
            lambda s: s.update({"first.bias": s["first.bias"][:, None]}),
            r"first\.bias has shape \(4, 1\) where the model has \(4,\)",
        ),
        (
            lambda s: s.update({"first.bias": s["first.bias"][:1]}),
            r"first\.bias has shape \(1,\) where the model has \(4,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, complaint):
    net = Net()
    before = net.state_dict()
    state = {k: a + 1 for k, a in before.items()}
    change(state)
    with pytest.raises(ValueError, match=f"does not fit Net: .*{complaint}"):
        net.load_state_dict(state)
    assert not [k for k in before if not (net.state_dict()[k] == before[k]).all()]


def test_train_and_eval_reach_every_module():
    net = Net()
    assert not [name for name, m in net.eval().modules() if m.training]
    assert not [name for name, m in net.train().modules() if not m.training]


def test_to_moves_and_converts(device):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).to(device, dtype="float64")
    assert {p.device for p in net.parameters()} == {device}
    y = net(tensor(np.ones((1, 2)), device=device))
    assert y.device == device and y.dtype == "float64"
    y.sum().backward()
    assert not [p for p in net.parameters() if p.grad.shape != p.shape]


@pytest.mark.parametrize(
    "options", [{}, {"device": "standin"}, {"dtype": "float64"}, {"dtype": "float32"}], ids=str
)
def test_to_forgets_the_gradients(options):
    """They may be of another type or device; and a step that went on would use them."""
    net = Net()
    net(tensor(np.ones((2, 3), "f"))).sum().backward()
    assert [path for path, p in net.named_parameters() if p.grad is None] == []
    net.to(**options)
    assert [path for path, p in net.named_parameters() if p.grad is not None] == []


def test_to_leaves_integers_and_truth_values_their_type():
    net = Net()
    net.count, net.mask = tensor(np.array([3])), tensor(np.array([True]))
    net.to(dtype="float16")
    found = {path: str(t.dtype) for path, t in net.tensors()}
    assert (found.pop("count"), found.pop("mask")) == ("int64", "bool")
    assert set(found.values()) == {"float16"}


def test_a_state_of_another_type_is_converted():
    net = Net()
    state = {path: a.astype("float64") + 1 for path, a in net.state_dict().items()}
    net.load_state_dict(state)
    for path, t in net.tensors():
        np.testing.assert_array_equal(t.numpy(), state[path].astype("f"), err_msg=path, strict=True)


def test_linear_is_pytorchs_with_the_weight_transposed(torch):
    ours, theirs = nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs.load_state_dict(
        {"weight": torch.tensor(ours.weight.data.T), "bias": torch.tensor(ours.bias.data)}
    )
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype("f")
    y, z = ours(tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), atol=1e-6)
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy().T, atol=1e-4)
    np.testing.assert_allclose(ours.bias.grad.numpy(), theirs.bias.grad.numpy(), atol=1e-4)


def test_linear_starts_uniform_within_its_bound_and_by_seed():
    minidl.manual_seed(1)
    first = nn.Linear(100, 300).weight.data
    minidl.manual_seed(1)
    np.testing.assert_array_equal(nn.Linear(100, 300).weight.data, first)
    assert abs(first).max() <= 0.1 and abs(first.mean()) < 0.002
    assert abs(first.std() - 0.1 / np.sqrt(3)) < 0.001


ACTIVATIONS = {
    "ReLU": [0, 0, 2], "LeakyReLU": [-0.01, 0, 2], "Tanh": np.tanh([-1, 0, 2]),
    "Sigmoid": 1 / (1 + np.exp([1, 0, -2])), "GELU": [-0.158808, 0, 1.954598],
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, device):
    y = getattr(nn, name)()(tensor([-1.0, 0.0, 2.0], device=device))
    np.testing.assert_allclose(y.numpy(), ACTIVATIONS[name], atol=1e-6)


def test_flatten_keeps_the_batch():
    assert nn.Flatten()(tensor(np.zeros((2, 3, 4)))).shape == (2, 12)
    assert nn.Flatten()(tensor(np.zeros((0, 3, 4)))).shape == (0, 12)


def test_dropout_only_in_training():
    layer, x = nn.Dropout(0.5), tensor(np.ones((50, 50), "f"))
    assert set(np.unique(layer(x).numpy())) == {0, 2}
    assert layer.eval()(x) is x


def test_sequential_is_a_list_of_modules():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    assert len(net) == 2 and isinstance(net[-1], nn.ReLU)
    assert list(net.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(TypeError, match="part 1 is <function"):
        nn.Sequential(nn.ReLU(), test_flatten_keeps_the_batch)
    assert repr(net) == "Sequential(\n  (0): Linear(2, 3)\n  (1): ReLU()\n)"


def test_errors_name_the_layer():
    with pytest.raises(
        ValueError, match=r"Linear\(4, 3\): expected x .*\(\.\.\., 4\), got \(2, 5\)"
    ):
        nn.Linear(4, 3)(tensor(np.zeros((2, 5), "f")))
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_summary_shows_shapes_and_counts_and_leaves_the_model_as_it_was():
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    lines = nn.summary(net, np.zeros((7, 2, 3), "f")).splitlines()
    assert [line.split() for line in lines[2:6]] == [
        ["0", "Flatten", "(7,", "6)", "0"],
        ["1", "Linear", "(7,", "4)", "28"],
        ["2", "Dropout", "(7,", "4)", "0"],
        ["3", "Linear", "(7,", "2)", "10"],
    ]
    assert lines[-1] == "38 parameters in all"
    assert net.training
    assert not [name for name, m in net.modules() if "forward" in vars(m)]


# Layers, with the shape of an x that fits and one that does not.
TAKES = {
    "Linear": (lambda: nn.Linear(3, 2), (4, 3), (4, 2)),
    "Conv2d": (lambda: nn.Conv2d(3, 2, 1), (1, 3, 2, 2), (3, 2, 2)),
    "Conv1d": (lambda: nn.Conv1d(3, 2, 1), (1, 3, 2), (3, 2)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(3, 2, 1), (1, 3, 2, 2), (1, 2, 2, 2)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (1, 3, 2, 2), (3, 2, 2)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (1, 3, 2, 2), (2, 2)),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, (1, 3, 2, 2), (1, 3, 2, 2, 2)),
    "BatchNorm": (lambda: nn.BatchNorm(3), (4, 3), (4, 2)),
    "GroupNorm": (lambda: nn.GroupNorm(1, 3), (4, 3), (3,)),
    "LayerNorm": (lambda: nn.LayerNorm(3), (4, 3), ()),
    "RMSNorm": (lambda: nn.RMSNorm(3), (4, 3), (3, 4)),
    "LSTM": (lambda: recurrent.LSTM(3, 2), (1, 4, 3), (4, 3)),
    "GRU": (lambda: recurrent.GRU(3, 2), (1, 4, 3), (1, 4, 2)),
    "RNN": (lambda: recurrent.RNN(3, 2), (1, 4, 3), (1, 0, 3)),
    "Flatten": (nn.Flatten, (2, 3, 4), None),
    "ReLU": (nn.ReLU, (4, 3), None),
    "GELU": (nn.GELU, (4, 3), None),
    "LeakyReLU": (nn.LeakyReLU, (4, 3), None),
    "Dropout": (lambda: nn.Dropout(0.0), (4, 3), None),
    "Residual": (lambda: nn.Residual(nn.Linear(3, 3)), (4, 3), None),
    "MultiHeadAttention": (lambda: nn.MultiHeadAttention(4, 2), (1, 3, 4), None),
    "TransformerBlock": (lambda: nn.TransformerBlock(4, 2), (1, 3, 4), None),
}


class Table:
    """What NumPy can make an array of, like a DataFrame."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_a_layer_takes_a_data_frame():
    pandas = pytest.importorskip("pandas", reason="waits for pandas")
    layer, a = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2)), np.eye(3, dtype="f")
    y = layer(pandas.DataFrame(a, columns=list("abc")))
    np.testing.assert_array_equal(y.numpy(), layer(a).numpy())


@pytest.mark.parametrize("name", TAKES)
def test_layers_take_arrays_lists_and_tables(name):
    make, shape, wrong = TAKES[name]
    layer, a = make(), np.random.default_rng(0).random(shape, "f")
    expected, *_ = layer(tensor(a)) if name in ("LSTM", "GRU", "RNN") else [layer(tensor(a))]
    for x in (a, a.tolist(), Table(a)):
        y, *_ = layer(x) if name in ("LSTM", "GRU", "RNN") else [layer(x)]
        assert isinstance(y, minidl.Tensor)
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    for nothing in (None, "abc", {"x": a}):
        with pytest.raises(TypeError, match="a tensor is made of numbers, got"):
            layer(nothing)
    if wrong is not None:
        with pytest.raises(ValueError, match=rf"^{name}\(.*expected x .*, got "):
            layer(np.ones(wrong, "f"))


def test_ids_may_be_lists_too():
    layer = nn.Embedding(5, 2)
    np.testing.assert_array_equal(layer([[1, 4]]).numpy(), layer.weight.numpy()[None, [1, 4]])
    with pytest.raises(TypeError, match=r"Embedding\(5, 2\): expected integers, got float"):
        layer([0.5])
    model = nn.GPT(5, 4, 4, 2, 1).eval()
    ids = [[1, 2, 3]]
    np.testing.assert_array_equal(model(ids).numpy(), model(tensor(ids)).numpy())


def test_positions_of_layers_are_pytorchs(torch):
    """Where the order is the same; what cannot be told apart is a keyword."""
    t = torch.nn
    for ours, theirs, shape in [
        (nn.Conv2d(2, 4, 3, 2, 1, 1, 2, False), t.Conv2d(2, 4, 3, 2, 1, 1, 2, False), (1, 2, 5, 5)),
        (nn.Conv1d(2, 4, 3, 2, 1, 2, 2, True), t.Conv1d(2, 4, 3, 2, 1, 2, 2, True), (1, 2, 9)),
        (nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), t.ConvTranspose2d(2, 4, 3, 2, 1, 1), (1, 2, 5, 5)),
        (nn.MaxPool2d(3, 2, 1), t.MaxPool2d(3, 2, 1), (1, 2, 5, 5)),
        (nn.AvgPool2d(3, 2, 1), t.AvgPool2d(3, 2, 1), (1, 2, 5, 5)),
        (nn.Linear(3, 2, False), t.Linear(3, 2, False), (4, 3)),
        (nn.LayerNorm(3, 0.1), t.LayerNorm(3, 0.1), (4, 3)),
        (nn.RMSNorm(3, 0.1), t.RMSNorm(3, 0.1), (4, 3)),
        (nn.GroupNorm(3, 6, 0.1), t.GroupNorm(3, 6, 0.1), (4, 6)),
        (nn.BatchNorm(3, 0.1, 0.3), t.BatchNorm1d(3, 0.1, 0.3), (4, 3)),
        (nn.LeakyReLU(0.3), t.LeakyReLU(0.3), (4, 3)),
    ]:
        from_torch(ours, theirs)
        x = np.random.default_rng(0).random(shape, "f")
        y, z = ours(x).numpy(), theirs(torch.tensor(x)).detach().numpy()
        np.testing.assert_allclose(y, z, rtol=1e-4, atol=1e-6, err_msg=repr(ours))
        for path, a in ours.state_dict().items():
            if "running" in path:
                np.testing.assert_allclose(a, theirs.state_dict()[path], rtol=1e-5, err_msg=path)
    with pytest.raises(TypeError, match="positional"):
        nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, 1)  # there it would be groups, before bias
    with pytest.raises(TypeError, match="positional"):
        recurrent.LSTM(3, 4, 1, True)  # there it is bias, here there is none without


# --- layers against PyTorch ----------------------------------------------------------------

# name: (ours, PyTorch's, shape of x); parameters have the same names and shapes.
LAYERS = {
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), lambda t: t.Conv2d(4, 6, 3), (2, 4, 6, 5)),
    "conv2d, options": (
        lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=2, groups=2),
        lambda t: t.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), 2, 2),
        (2, 4, 9, 8),
    ),
    "conv2d, depthwise": (
        lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        lambda t: t.Conv2d(4, 4, 3, padding=1, groups=4, bias=False),
        (1, 4, 5, 5),
    ),
    "conv2d, one by one": (lambda: nn.Conv2d(3, 5, 1), lambda t: t.Conv2d(3, 5, 1), (2, 3, 4, 4)),
    "conv2d, one place": (lambda: nn.Conv2d(2, 3, 4), lambda t: t.Conv2d(2, 3, 4), (2, 2, 4, 4)),
    "conv1d": (
        lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
        lambda t: t.Conv1d(4, 6, 3, 2, 1, 2, 2),
        (2, 4, 9),
    ),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 3, 3),
        lambda t: t.ConvTranspose2d(4, 3, 3),
        (2, 4, 3, 4),
    ),
    "conv_transpose2d, options": (
        lambda: nn.ConvTranspose2d(4, 3, (3, 4), stride=(2, 3), padding=1, output_padding=(1, 2)),
        lambda t: t.ConvTranspose2d(4, 3, (3, 4), (2, 3), 1, (1, 2)),
        (2, 4, 3, 4),
    ),
    "max_pool2d": (lambda: nn.MaxPool2d(2), lambda t: t.MaxPool2d(2), (2, 3, 5, 6)),
    "max_pool2d, options": (
        lambda: nn.MaxPool2d((3, 2), stride=(2, 1), padding=1),
        lambda t: t.MaxPool2d((3, 2), (2, 1), 1),
        (2, 3, 6, 5),
    ),
    "avg_pool2d": (
        lambda: nn.AvgPool2d(3, stride=2, padding=1),
        lambda t: t.AvgPool2d(3, 2, 1),
        (2, 3, 6, 5),
    ),
    "layer_norm": (lambda: nn.LayerNorm(5), lambda t: t.LayerNorm(5), (3, 4, 5)),
    "rms_norm": (lambda: nn.RMSNorm(5), lambda t: t.RMSNorm(5, eps=1e-5), (3, 4, 5)),
    "group_norm": (lambda: nn.GroupNorm(2, 6), lambda t: t.GroupNorm(2, 6), (3, 6, 4, 2)),
    "batch_norm": (lambda: nn.BatchNorm(4), lambda t: t.BatchNorm1d(4), (5, 4)),
    "batch_norm, 1d": (lambda: nn.BatchNorm(4), lambda t: t.BatchNorm1d(4), (5, 4, 3)),
    "batch_norm, 2d": (lambda: nn.BatchNorm(4), lambda t: t.BatchNorm2d(4), (5, 4, 3, 2)),
}


def twins(name, torch, device, table=LAYERS):
    """A layer of ours and PyTorch's, in float64, with the same random parameters; and x."""
    ours, theirs, shape = table[name]
    ours, theirs = ours().to(device, "float64"), theirs(torch.nn).double()
    rng = np.random.default_rng(0)
    state = theirs.state_dict()
    for path, part in ours.tensors():
        assert part.shape == tuple(state[path].shape)
        values = rng.uniform(0.5, 1.5, part.shape) * rng.choice([-1, 1], part.shape)
        values = abs(values) if "var" in path else values
        part.data = tensor(values, device=device).data
        state[path].copy_(torch.tensor(values))
    return ours, theirs, rng.standard_normal(shape)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_layers_are_pytorchs_in_value_and_gradients_to_second_order(name, training, device, torch):
    ours, theirs, values = twins(name, torch, device)
    ours.train(training)
    theirs.train(training)
    x, t = tensor(values, requires_grad=True, device=device), torch.tensor(values)
    t.requires_grad_()
    y, z = ours(x), theirs(t)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-11)
    p, q = ours.parameters(), list(theirs.parameters())
    first = minidl.grad((y * y * y).sum(), [x, *p], create_graph=True)
    expected = torch.autograd.grad((z * z * z).sum(), [t, *q], create_graph=True)
    for g, e in zip(first, expected, strict=True):
        np.testing.assert_allclose(g.numpy(), e.detach().numpy(), rtol=1e-8, atol=1e-9)
    second = minidl.grad(sum((g * g).sum() for g in first), [x, *p])
    expected = torch.autograd.grad(sum((g * g).sum() for g in expected), [t, *q])
    for g, e in zip(second, expected, strict=True):
        scale = abs(e).max().item() + 1
        np.testing.assert_allclose(g.numpy() / scale, e.numpy() / scale, rtol=1e-7, atol=1e-9)
    for path, part in ours.tensors():
        np.testing.assert_allclose(part.numpy(), theirs.state_dict()[path].numpy(), rtol=1e-9)


# Options whose default is easily what one gets: (ours, PyTorch's, shape of x).
OPTIONS = {
    "LayerNorm, eps": (
        lambda: nn.LayerNorm(5, eps=0.3), lambda t: t.LayerNorm(5, eps=0.3), (3, 4, 5)
    ),
    "RMSNorm, eps": (lambda: nn.RMSNorm(5, eps=0.3), lambda t: t.RMSNorm(5, eps=0.3), (3, 4, 5)),
    "GroupNorm, eps": (
        lambda: nn.GroupNorm(2, 6, eps=0.3), lambda t: t.GroupNorm(2, 6, eps=0.3), (3, 6, 4)
    ),
    "BatchNorm, eps": (
        lambda: nn.BatchNorm(4, eps=0.3), lambda t: t.BatchNorm1d(4, eps=0.3), (5, 4)
    ),
    "BatchNorm, momentum": (
        lambda: nn.BatchNorm(4, momentum=0.7), lambda t: t.BatchNorm2d(4, momentum=0.7),
        (5, 4, 3, 2),
    ),
    "LeakyReLU, slope": (lambda: nn.LeakyReLU(0.3), lambda t: t.LeakyReLU(0.3), (4, 5)),
    "MaxPool2d, stride": (
        lambda: nn.MaxPool2d(3, stride=1), lambda t: t.MaxPool2d(3, stride=1), (2, 3, 6, 5)
    ),
    "AvgPool2d, pairs": (
        lambda: nn.AvgPool2d((2, 3), stride=(1, 2), padding=(1, 0)),
        lambda t: t.AvgPool2d((2, 3), (1, 2), (1, 0)), (2, 3, 6, 5),
    ),
    "Conv2d, no bias": (
        lambda: nn.Conv2d(3, 4, 2, bias=False), lambda t: t.Conv2d(3, 4, 2, bias=False),
        (2, 3, 6, 5),
    ),
    "Conv1d, no bias": (
        lambda: nn.Conv1d(3, 4, 2, bias=False, padding=2),
        lambda t: t.Conv1d(3, 4, 2, bias=False, padding=2), (2, 3, 6),
    ),
    "ConvTranspose2d, no bias": (
        lambda: nn.ConvTranspose2d(3, 4, 2, bias=False, stride=2),
        lambda t: t.ConvTranspose2d(3, 4, 2, 2, bias=False), (2, 3, 6, 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_pytorchs(name, device, torch):
    """In training, then in evaluation with the statistics that training left."""
    ours, theirs, values = twins(name, torch, device, OPTIONS)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        y, z = ours(tensor(values, device=device)), theirs(torch.tensor(values))
        np.testing.assert_allclose(
            y.numpy(), z.detach().numpy(), rtol=1e-9, atol=1e-11, err_msg=f"training={training}"
        )
        for path, part in ours.tensors():
            np.testing.assert_allclose(
                part.numpy(), theirs.state_dict()[path].numpy(), rtol=1e-9, err_msg=path
            )


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_dropout_drops_the_share_that_it_says(p, device):
    """And what is kept is larger, so that the mean stays."""
    x = tensor(np.ones((200, 200), "f"), device=device)
    y = nn.Dropout(p)(x).numpy()
    assert abs((y == 0).mean() - p) < 0.01, "the share that is dropped"
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-6, err_msg="what is kept")


def slow_conv2d(x, w, stride, padding, dilation, groups):
    """The definition, one product at a time."""
    x = np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    f, c, kh, kw = w.shape
    oh, ow = ((n - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(x.shape[2:], (kh, kw)))
    y = np.zeros((len(x), f, oh, ow))
    for n, o, i, j, k, a, b in np.ndindex(*y.shape, c, kh, kw):
        channel = o // (f // groups) * c + k
        y[n, o, i, j] += (
            w[o, k, a, b] * x[n, channel, i * stride + a * dilation, j * stride + b * dilation]
        )
    return y


@pytest.mark.parametrize("options", [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), (3, 0, 1, 2)])
def test_convolution_is_its_definition(options):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 6, 5)), rng.standard_normal((4, 4 // options[3], 2, 3))
    names = dict(zip(("stride", "padding", "dilation", "groups"), options))
    np.testing.assert_allclose(F.conv2d(x, w, **names), slow_conv2d(x, w, *options), atol=1e-12)


def test_equal_maxima_send_their_gradient_to_the_first(device, torch):
    values = np.random.default_rng(0).integers(0, 2, (2, 2, 6, 6)).astype("f")
    x, t = tensor(values, requires_grad=True, device=device), torch.tensor(values)
    t.requires_grad_()
    nn.MaxPool2d(3, stride=2)(x).sum().backward()
    torch.nn.functional.max_pool2d(t, 3, 2).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), t.grad.numpy())


def test_a_size_may_be_a_number_of_numpys():
    two, x = np.int64(2), tensor(np.arange(16, dtype="f").reshape(1, 1, 4, 4))
    conv = nn.Conv2d(1, 1, two, stride=two, padding=np.int32(1))
    assert conv.weight.shape == (1, 1, 2, 2) and conv(x).shape == (1, 1, 3, 3)
    np.testing.assert_array_equal(nn.MaxPool2d(two)(x).numpy(), nn.MaxPool2d(2)(x).numpy())


def test_pools_of_nothing_and_of_everything(device):
    x = tensor(np.arange(24.0).reshape(1, 2, 3, 4), dtype="float32", device=device)
    np.testing.assert_allclose(nn.GlobalAvgPool2d()(x).numpy(), [[5.5, 17.5]])
    assert nn.MaxPool2d(2)(x[:0]).shape == (0, 2, 1, 2)
    assert nn.Conv2d(2, 3, 2).to(device)(x[:0]).shape == (0, 3, 2, 3)
    with pytest.raises(ValueError, match=r"window that spans \(5, 5\) does not fit into \(3, 4\)"):
        nn.MaxPool2d(5)(x)


@pytest.mark.parametrize(
    "make, shape",
    [
        (lambda: nn.GroupNorm(2, 4), (0, 4, 3, 3)),
        (lambda: nn.ConvTranspose2d(4, 4, 3, padding=1), (0, 4, 3, 3)),
        (lambda: nn.Conv1d(4, 4, 3, padding=1, groups=2), (0, 4, 3)),
        (lambda: nn.LayerNorm(3), (0, 4, 3)),
        (lambda: nn.BatchNorm(4).eval(), (0, 4, 3)),
    ],
)
def test_layers_take_a_batch_without_samples(make, shape, device):
    x = tensor(np.ones(shape, "f"), requires_grad=True, device=device)
    y = make().to(device)(x)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize(
    "layer, shown",
    [
        (nn.Conv2d(4, 6, 3), "Conv2d(4, 6, (3, 3))"),
        (nn.Conv2d(4, 6, 3, padding=1, stride=1), "Conv2d(4, 6, (3, 3), padding=1)"),
        (nn.Conv1d(4, 6, (3,), groups=2), "Conv1d(4, 6, (3,), groups=2)"),
        (nn.ConvTranspose2d(4, 6, (3, 2)), "ConvTranspose2d(4, 6, (3, 2))"),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
         "ConvTranspose2d(4, 6, (3, 3), stride=2, output_padding=1)"),
    ],
)  # fmt: skip
def test_a_convolution_shows_the_options_that_were_given(layer, shown):
    assert repr(layer) == shown


def test_norms_and_convolutions_are_kinds_of_their_own():
    """A check such as isinstance(layer, nn.LayerNorm) means that layer, not its cousins."""
    kinds = [nn.RMSNorm, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm]
    kinds += [nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d]
    assert not [(a, b) for a in kinds for b in kinds if a is not b and issubclass(a, b)]


def test_batch_norm_learns_the_statistics_and_uses_them(device):
    rng, norm = np.random.default_rng(0), nn.BatchNorm(3).to(device)
    for _ in range(200):
        x = rng.normal([1, -2, 0], [1, 3, 0.5], (64, 3)).astype("float32")
        norm(tensor(x, device=device))
    np.testing.assert_allclose(norm.running_mean.numpy(), [1, -2, 0], atol=0.3)
    np.testing.assert_allclose(norm.running_var.numpy(), [1, 9, 0.25], rtol=0.2)
    y = norm.eval()(tensor([[1.0, 1.0, 1.0]], device=device)).numpy()
    np.testing.assert_allclose(y, [[0, 1, 2]], atol=0.3)
    assert [path for path, _ in norm.named_parameters()] == ["weight", "bias"]
    assert len(norm.state_dict()) == 4
    with pytest.raises(ValueError, match="one value for a channel has no variance"):
        norm.train()(tensor([[1.0, 1.0, 1.0]], device=device))


def test_embedding_picks_rows_and_adds_up_their_gradients(device, torch):
    ours, theirs = nn.Embedding(5, 3).to(device), torch.nn.Embedding(5, 3)
    theirs.weight.data = torch.tensor(ours.weight.numpy())
    ids = np.array([[1, 4, 1], [0, 1, 4]])
    y, z = ours(tensor(ids, device=device)), theirs(torch.tensor(ids))
    np.testing.assert_allclose(y.numpy(), z.detach().numpy())
    (y * y).sum().backward()
    (z * z).sum().backward()
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6)
    assert nn.Embedding(5, 3)(np.array([2])).shape == (1, 3)


def test_residual_adds_its_input():
    inner = nn.Linear(3, 3)
    x = tensor(np.ones((2, 3), "f"))
    y = nn.Residual(inner, nn.ReLU())(x)
    np.testing.assert_allclose(y.numpy(), 1 + nn.ReLU()(inner(x)).numpy())


@pytest.mark.parametrize(
    "layer, shape, complaint",
    [
        (lambda: nn.Conv2d(3, 8, 3), (2, 8, 8, 3), r"Conv2d\(3, 8, .*expected x \(N, 3, H, W\)"),
        (lambda: nn.Conv2d(3, 8, 3), (3, 8, 8), "expected x"),
        (lambda: nn.Conv2d(3, 8, 9), (2, 3, 8, 8), "spans .9, 9. does not fit into .8, 8."),
        (lambda: nn.Conv1d(3, 8, 3), (2, 3, 8, 8), r"expected x \(N, 3, T\)"),
        (lambda: nn.ConvTranspose2d(3, 8, 3), (2, 8, 4, 4), "expected x"),
        (lambda: nn.LayerNorm(4), (2, 3), r"LayerNorm\(4\): expected x of shape \(..., 4\)"),
        (lambda: nn.RMSNorm(4), (2, 3), r"RMSNorm\(4\): expected"),
        (lambda: nn.BatchNorm(4), (4,), r"BatchNorm\(4\): expected x \(N, 4, ...\)"),
        (lambda: nn.GroupNorm(2, 4), (2, 3, 4), r"GroupNorm\(2, 4\): expected"),
        (lambda: nn.GroupNorm(3, 4), (), "4 channels cannot be cut into 3 groups"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), (), "3 and 4 channels cannot be cut into 2"),
    ],
)
def test_layers_say_what_they_expect(layer, shape, complaint):
    with pytest.raises(ValueError, match=complaint):
        layer()(tensor(np.ones(shape, "f")))


def test_embedding_says_what_it_expects():
    layer = nn.Embedding(5, 3)
    with pytest.raises(ValueError, match=r"ids must be in \[0, 5\), got -1 to 2"):
        layer(np.array([2, -1]))
    with pytest.raises(TypeError, match="expected integers, got float64"):
        layer(np.array([2.0]))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_pytorchs(causal, device, torch):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 3, n, 4)) for n in (5, 5, 5)]
    ours = [tensor(a, requires_grad=True, device=device) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    mask = np.tri(5, dtype=bool) if causal else None
    y = F.attention(*ours, mask=None if mask is None else tensor(mask, device=device))
    z = torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=causal)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol=1e-10)
    (y * y).sum().backward()
    (z * z).sum().backward()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match=r"attention: q \(2, 4\), k \(2, 3\)"):
        F.attention(np.ones((2, 4)), np.ones((2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: nn.Linear(0, 3), "Linear: n_in must be a whole number from 1, got 0"),
        (lambda: nn.Linear(4, 3.0), r"Linear: n_out must be a whole number from 1, got 3\.0"),
        (lambda: nn.Linear(4, True), "n_out must be a whole number from 1, got True"),
        (lambda: nn.Conv2d(0, 3, 3), "Conv2d: n_in must be"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), "Conv2d: groups must be"),
        (lambda: nn.GroupNorm(0, 4), "GroupNorm: groups must be"),
        (lambda: nn.BatchNorm(0), "BatchNorm: n must be"),
        (lambda: nn.Embedding(5, 0), "Embedding: width must be"),
        (lambda: nn.Dropout(1.0), r"Dropout: p must be in \[0, 1\), got 1\.0"),
        (lambda: nn.LeakyReLU(1.5), r"LeakyReLU: slope must be in \[0, 1\), got 1\.5"),
        (lambda: F.leaky_relu(np.ones(2), 2), "leaky_relu: slope must be in"),
        (lambda: recurrent.LSTM(3, 0), "LSTM: n_hidden must be"),
        (lambda: recurrent.LSTM(3, 2, dropout=1), r"LSTM: dropout must be in \[0, 1\), got 1"),
        (lambda: nn.ConvTranspose2d(4, 0, 3), "ConvTranspose2d: n_out must be"),
        (lambda: recurrent.GRU(3, 4, 0), "GRU: n_layers must be"),
        (lambda: nn.Conv2d(1, 1, 2, stride=0), "Conv2d: stride must be a whole number from 1"),
        (lambda: nn.Conv2d(1, 1, 3, padding="same"), "padding must be numbers, .*size // 2"),
        (lambda: nn.Conv1d(1, 1, 3, padding="valid"), "Conv1d: padding must be a whole number"),
        (lambda: nn.Conv2d(1, 1, 3, dilation=(1, 0.5)), r"dilation must be .* from 1, got 0\.5"),
        (lambda: nn.ConvTranspose2d(1, 1, 2, padding=(0, -1)), "padding must be .* from 0, got -1"),
        (lambda: nn.MaxPool2d(2, padding=-1), "MaxPool2d: padding must be a whole number from 0"),
        (lambda: nn.MaxPool2d("2"), "MaxPool2d: size must be a whole number from 1, got '2'"),
        (lambda: nn.AvgPool2d(2, 0), "AvgPool2d: stride must be a whole number from 1, got 0"),
    ],
)
def test_counts_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: nn.Linear(3, 4), (2, 3)),
        (lambda: nn.Conv2d(3, 4, 1), (2, 3, 4, 4)),
        (lambda: nn.LayerNorm(3), (2, 3)),
        (lambda: nn.BatchNorm(3), (2, 3)),
        (lambda: nn.LSTM(3, 4), (2, 5, 3)),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_float64_in_a_layer_of_float32_is_warned_of_once(layer, shape, compiled, monkeypatch):
    monkeypatch.setattr(layers, "_said", [])
    run, x = layer(), np.ones(shape)
    if compiled:
        run = minidl.compile(run)
    with pytest.warns(UserWarning, match=r'float64 .* give it x.astype\("float32"\)'):
        run(Tensor(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Tensor(x))
        monkeypatch.setattr(layers, "_said", [])
        run(Tensor(x.astype("float32")))
        layer().to(dtype="float64")(Tensor(x))
