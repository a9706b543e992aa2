"""Modules: the registry, states, moving, the summary, and layers against PyTorch."""

import numpy as np
import pytest

import minidl
from minidl import nn, tensor


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
    assert len(net.parameters()) == 5 and all(p.requires_grad for p in net.parameters())


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
    assert not np.array_equal(net.state_dict()["first.weight"], state["first.weight"])


@pytest.mark.parametrize(
    "change, complaint",
    [
        (lambda s: s.pop("tied"), "missing: tied"),
        (lambda s: s.update(more=np.zeros(1)), "unknown: more"),
        (
            lambda s: s.update(scale=np.zeros(2)),
            r"scale has shape \(2,\) where the model has \(1,\)",
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
    assert all(net.state_dict()[k] is before[k] for k in before)


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(not m.training for _, m in net.eval().modules())
    assert all(m.training for _, m in net.train().modules())


def test_to_moves_and_converts(device):
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).to(device, dtype="float64")
    assert {p.device for p in net.parameters()} == {device}
    y = net(tensor(np.ones((1, 2)), device=device))
    assert y.device == device and y.dtype == "float64"
    y.sum().backward()
    assert all(p.grad.shape == p.shape for p in net.parameters())


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
    assert (nn.Linear(100, 300).weight.data == first).all()
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
    assert net.training and all("forward" not in vars(m) for _, m in net.modules())
