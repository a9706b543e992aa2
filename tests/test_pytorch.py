"""Weights from PyTorch and back: every layer, whole models, and all that must be refused."""

import subprocess
import sys

import numpy as np
import pytest
from test_state_dicts import EXAMPLES, IDS, NAMES, make, make_theirs, on_the_host, outputs

from minidl import io, nn, tensor
from minidl.engine import random
from minidl.nn import GPT, GRU, LSTM, RNN, MultiHeadAttention, TransformerBlock
from minidl.pytorch import from_torch, to_torch


def drawn(torch, module):
    """PyTorch's module with parameters and buffers drawn anew, so that none is 0 or 1."""
    with torch.no_grad():
        for t in [*module.parameters(), *module.buffers()]:
            if t.is_floating_point():
                t.copy_(torch.rand_like(t) + 0.1)
    return module.eval()


def load(torch, module, state):
    """The arrays into PyTorch's module, all names and no others."""
    module.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    return module.eval()


def same_weights(a, b):
    one, two = on_the_host(a), on_the_host(b)
    assert one.keys() == two.keys()
    for path in one:
        np.testing.assert_array_equal(one[path], two[path], err_msg=path)


# ---- every layer

SQUARE = [
    ("Linear", dict(n_in=4, n_out=4), (4, 4), {}, (2, 4)),
    *((kind, dict(n_in=4, n_hidden=4, n_layers=2, bidirectional=both), (4, 4, 2),
       dict(bidirectional=both, batch_first=True), (2, 5, 4))
      for kind in ("RNN", "LSTM", "GRU") for both in (False, True)),
    ("Conv2d", dict(n_in=3, n_out=3, size=(3, 3)), (3, 3, 3), {}, (2, 3, 5, 5)),
    ("ConvTranspose2d", dict(n_in=3, n_out=3, size=(3, 3)), (3, 3, 3), {}, (2, 3, 5, 5)),
    ("Conv1d", dict(n_in=3, n_out=3, size=(3,)), (3, 3, 3), {}, (2, 3, 5)),
    ("Embedding", dict(n=7, width=7), (7, 7), {}, IDS),
]  # fmt: skip
EVERY = EXAMPLES + SQUARE


@pytest.mark.parametrize(
    "example", EVERY, ids=NAMES + [f"square {e[0]} {i}" for i, e in enumerate(SQUARE)]
)
def test_every_layer_goes_there_and_back(example, torch, device):
    name, options, arguments, theirs_options, shape = example
    x = shape if name in ("Embedding", "GPT") else np.random.default_rng(0).random(shape, "f")
    theirs = drawn(torch, make_theirs(torch, name, arguments, theirs_options, x))
    ours = make(name, options).to(device)
    for source in (
        theirs,
        theirs.state_dict(),
        {k: a.numpy() for k, a in theirs.state_dict().items()},
    ):
        random.manual_seed(1)
        other = make(name, options).to(device)
        assert from_torch(other, source) is other
        for a, b in zip(*outputs(torch, name, other, theirs, x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    there = load(torch, make_theirs(torch, name, arguments, theirs_options, x), to_torch(ours))
    for a, b in zip(*outputs(torch, name, ours, there, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    same_weights(from_torch(make(name, options).to(device), there), ours)


def test_there_and_back_without_pytorch():
    code = (
        "import sys, numpy as np; from minidl import nn; from minidl.pytorch import *\n"
        "a, b = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm(3)) for _ in range(2))\n"
        "from_torch(b, to_torch(a)); assert 'torch' not in sys.modules\n"
        "assert all((p.data == q.data).all() for p, q in zip(a.parameters(), b.parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- whole models


class Ours(nn.Module):
    """All kinds of places for a layer, with square matrices everywhere."""

    def __init__(self):
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU())
        self.towers = {"a": nn.Linear(4, 4), "b": [nn.Linear(4, 4), nn.LayerNorm(4)]}
        self.blocks = [TransformerBlock(4, 2) for _ in range(2)]
        self.attention = MultiHeadAttention(4, 2, bias=False)
        self.memory = LSTM(4, 4, 2, bidirectional=True)
        self.head = nn.Linear(8, 8, bias=False)
        self.scale, self.shift = nn.Parameter(np.ones(8)), tensor(np.ones((1, 8), "f"))
        self.again = self.towers["a"]

    def forward(self, x):
        x = self.stem(x).mean((3,)).transpose(0, 2, 1)  # (N, 4, H, W) -> (N, H, 4)
        x = self.towers["b"][1](self.towers["b"][0](self.again(self.towers["a"](x))))
        for block in self.blocks:
            x = block(x)
        y, _ = self.memory(self.attention(x))
        return self.head(y) * self.scale + self.shift


def theirs_like_ours(torch):
    from functools import partial

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            t = torch.nn
            gelu = partial(t.functional.gelu, approximate="tanh")
            self.stem = t.Sequential(t.Conv2d(1, 4, 3, padding=1), t.BatchNorm2d(4), t.ReLU())
            self.towers = t.ModuleDict(
                {"a": t.Linear(4, 4), "b": t.ModuleList([t.Linear(4, 4), t.LayerNorm(4)])}
            )
            self.blocks = t.ModuleList(
                t.TransformerEncoderLayer(
                    4, 2, 16, dropout=0.0, activation=gelu, norm_first=True, batch_first=True
                )
                for _ in range(2)
            )
            self.attention = t.MultiheadAttention(4, 2, bias=False, batch_first=True)
            self.memory = t.LSTM(4, 4, 2, bidirectional=True, batch_first=True)
            self.head = t.Linear(8, 8, bias=False)
            self.scale = t.Parameter(torch.ones(8))
            self.register_buffer("shift", torch.ones(1, 8))
            self.again = self.towers["a"]

        def forward(self, x):
            x = self.stem(x).mean(3).transpose(1, 2)
            x = self.towers["b"][1](self.towers["b"][0](self.again(self.towers["a"](x))))
            for block in self.blocks:
                x = block(x)
            y, _ = self.memory(self.attention(x, x, x, need_weights=False)[0])
            return self.head(y) * self.scale + self.shift

    return drawn(torch, Theirs())


def test_a_whole_model_goes_there_and_back(torch, device):
    theirs, x = theirs_like_ours(torch), np.random.default_rng(0).random((2, 1, 5, 6), "f")
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    for source in (theirs, theirs.state_dict()):
        ours = from_torch(Ours().to(device), source).eval()
        y = ours(tensor(x, device=device)).numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    other = load(torch, theirs_like_ours(torch), to_torch(ours))
    for (name, a), b in zip(other.state_dict().items(), theirs.state_dict().values()):
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)


def test_types_that_numpy_has_not_and_tensors_that_ask_for_gradients(torch):
    theirs = torch.nn.Linear(4, 4)
    expected = theirs.weight.detach().to(torch.bfloat16).float().numpy().T
    ours = from_torch(nn.Linear(4, 4), theirs.to(torch.bfloat16))
    np.testing.assert_array_equal(ours.weight.numpy(), expected)
    assert ours.weight.dtype == "float32"
    double = torch.nn.Linear(4, 4).double()
    ours = from_torch(nn.Linear(4, 4).to(dtype="float64"), dict(double.named_parameters()))
    np.testing.assert_array_equal(ours.weight.numpy(), double.weight.detach().numpy().T)
    with torch.no_grad():
        double.weight.zero_()
    assert ours.weight.numpy().any(), "a copy"
    to_torch(ours)["bias"][:] = 7
    assert not (ours.bias.numpy() == 7).any(), "a copy"


def test_a_file_of_pytorchs_goes_by_from_torch(torch, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    torch.manual_seed(0)
    theirs, path = torch.nn.Linear(4, 4), tmp_path / "there.safetensors"
    safetensors.save_model(theirs, path)
    arrays, _ = io.load(path)
    x = np.random.default_rng(0).random((3, 4), "f")
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(
        from_torch(nn.Linear(4, 4), arrays)(tensor(x)).numpy(), expected, 1e-5, 1e-7
    )
    io.save(path, to_torch(nn.Linear(4, 4)))
    safetensors.load_model(theirs, path)


def test_a_layer_derived_from_ours_is_carried_as_ours(torch):
    class Scaled(nn.Linear):
        def __init__(self, n):
            super().__init__(n, n)
            self.scale = nn.Parameter(np.ones(1))

    class Block(TransformerBlock):
        pass

    ours = nn.Sequential(Scaled(4), Block(4, 2))
    state = to_torch(ours)
    np.testing.assert_array_equal(state["0.weight"], ours[0].weight.numpy().T)
    assert {"0.scale", "1.self_attn.in_proj_weight", "1.linear2.bias"} <= state.keys()
    same_weights(from_torch(nn.Sequential(Scaled(4), Block(4, 2)), state), ours)


# ---- what is refused


def model():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), GRU(4, 4), MultiHeadAttention(4, 2))


CHANGES = {
    "missing": (lambda s: s.pop("0.weight"), r"'0\.weight', for 0\.weight, .* got nothing"),
    "unknown": (lambda s: s.update(head=np.ones(1)), r"'head' is unknown here"),
    "turned": (lambda s: s.update({"0.weight": s["0.weight"].T}),
               r"should be float32 \(4, 3\), got float32 \(3, 4\)"),
    "one size": (lambda s: s.update({"0.weight": s["0.weight"].reshape(2, 6)}), r"got .* \(2, 6\)"),
    "one axis": (lambda s: s.update({"0.bias": s["0.bias"][None]}), r"got float32 \(1, 4\)"),
    "a third": (lambda s: s.update({"3.in_proj_weight": np.ones((4, 4), "f")}),
                r"for 3\.query\.weight and 3\.key\.weight and .* \(12, 4\), got float32 \(4, 4\)"),
    "no bias": (lambda s: s.pop("3.in_proj_bias"), r"'3\.in_proj_bias', .* got nothing"),
    "integers": (lambda s: s.update({"0.bias": np.ones(4, "i4")}), r"float32 \(4,\), got int32"),
    "complex": (lambda s: s.update({"0.bias": np.ones(4, "c8")}), r"got complex64"),
    "another direction": (lambda s: s.update({"2.weight_ih_l0_reverse": np.ones((12, 4), "f")}),
                          r"'2\.weight_ih_l0_reverse' is unknown"),
    "no buffer": (lambda s: s.pop("1.running_var"), r"'1\.running_var', .* got nothing"),
    "a count of another": (lambda s: s.update({"0.num_batches_tracked": np.asarray(3)}),
                           r"'0\.num_batches_tracked' is unknown"),
    "no array": (lambda s: s.update({"0.bias": "text"}), r"'0\.bias', .* got <U4"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_changes_nothing(name):
    change, complaint = CHANGES[name]
    ours, state = model(), to_torch(model())
    before = ours.state_dict()
    change(state)
    with pytest.raises(
        ValueError, match=f"does not fit Sequential, so nothing was copied: .*{complaint}"
    ):
        from_torch(ours, state)
    for path, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, before[path], err_msg=path)
    state = to_torch(model())
    state.pop("1.num_batches_tracked")
    from_torch(ours, state)


def test_another_kind_of_layer_is_refused(torch):
    class Conv1D(torch.nn.Module):  # as in GPT-2 of Hugging Face: a Linear whose weight is turned
        def __init__(self, n):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(n, n))
            self.bias = torch.nn.Parameter(torch.zeros(n))

    with pytest.raises(
        ValueError, match="0 is a Linear, there it is a Conv1D, whose arrays or outputs may"
    ):
        from_torch(nn.Sequential(nn.Linear(4, 4)), torch.nn.Sequential(Conv1D(4)))
    with pytest.raises(ValueError, match="the model is a Linear, there it is a Conv1D"):
        from_torch(nn.Linear(4, 4), Conv1D(4))
    with pytest.raises(ValueError, match="is a RNN, there it is a GRU"):
        from_torch(RNN(4, 4), torch.nn.GRU(4, 4))

    for ours, theirs, complaint in [
        (MultiHeadAttention(4, 2), torch.nn.MultiheadAttention(4, 4), "num_heads 2, there it is 4"),
        (nn.GroupNorm(2, 4), torch.nn.GroupNorm(4, 4), "num_groups 2, there it is 4"),
        (RNN(4, 4), torch.nn.RNN(4, 4, nonlinearity="relu"), "nonlinearity tanh, there it is relu"),
        (TransformerBlock(4, 2), torch.nn.TransformerEncoderLayer(4, 2, 16), "norm_first True, th"),
        (TransformerBlock(4, 2), torch.nn.TransformerEncoderLayer(4, 2, 16), "activation gelu, th"),
        (LSTM(4, 4), torch.nn.LSTM(4, 4), "batch_first True, there it is False"),
        (GRU(4, 4), torch.nn.GRU(4, 4), "batch_first True, there it is False"),
        (MultiHeadAttention(4, 2), torch.nn.MultiheadAttention(4, 2), "batch_first True, there"),
        (nn.LayerNorm(4), torch.nn.LayerNorm(4, eps=1e-6), "eps 1e-05, there it is 1e-06"),
        (nn.BatchNorm(4), torch.nn.BatchNorm2d(4, eps=1e-3), "eps 1e-05, there it is 0.001"),
        (nn.RMSNorm(4), torch.nn.RMSNorm(4), "eps 1e-05, there it is None"),
        (nn.Embedding(4, 2), torch.nn.Embedding(4, 2, max_norm=1.0), "max_norm None, there"),
        *((nn.Conv2d(1, 2, 3, **ours), torch.nn.Conv2d(1, 2, 3, **there), complaint)
          for ours, there, complaint in [
            ({}, {"stride": 2}, r"stride 1, there it is \(2, 2\)"),
            ({"stride": (2, 1)}, {"stride": (1, 2)}, r"stride \(2, 1\), there it is \(1, 2\)"),
            ({}, {"padding": 1}, r"padding 0, there it is \(1, 1\)"),
            ({}, {"padding": "same"}, r"padding 0, there it is \[1\. 1\.\]"),
            ({"padding": 1}, {"padding": "valid"}, "padding 1, there it is 0"),
            ({"dilation": 2}, {}, r"dilation 2, there it is \(1, 1\)"),
            ({"padding": 1}, {"padding": 1, "padding_mode": "reflect"}, "padding_mode zeros"),
          ]),
        (nn.Conv1d(1, 2, 3), torch.nn.Conv1d(1, 2, 3, stride=2), r"stride 1, there it is \(2,\)"),
        (nn.ConvTranspose2d(2, 2, 3, stride=2), torch.nn.ConvTranspose2d(2, 2, 3, 2, 0, 1),
         r"output_padding 0, there it is \(1, 1\)"),
        (nn.ConvTranspose2d(2, 2, 3), torch.nn.ConvTranspose2d(2, 2, 3, dilation=2), "dilation 1"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"the model has {complaint}"):
            from_torch(ours, theirs)
        if "groups" not in complaint and "heads" not in complaint:
            from_torch(ours, theirs.state_dict())  # the arrays alone fit

    class Own(torch.nn.Linear):
        pass

    from_torch(nn.Linear(4, 4), Own(4, 4))


@pytest.mark.parametrize(
    "ours, theirs, complaint",
    [
        (nn.ReLU, lambda t: t.GELU(), "0 is a ReLU, there it is a GELU"),
        (nn.Tanh, lambda t: t.Sigmoid(), "0 is a Tanh, there it is a Sigmoid"),
        (nn.GELU, lambda t: t.GELU(), "0 has approximate tanh, there it is none"),
        (nn.LeakyReLU, lambda t: t.LeakyReLU(0.2), "0 has negative_slope 0.01, there it is 0.2"),
        (nn.Flatten, lambda t: t.Flatten(2), "0 has start_dim 1, there it is 2"),
        (lambda: nn.MaxPool2d(2), lambda t: t.MaxPool2d(3), "0 has kernel_size 2, there it is 3"),
        (lambda: nn.MaxPool2d(2), lambda t: t.MaxPool2d(2, 1), "0 has stride 2, there it is 1"),
        (lambda: nn.MaxPool2d(2), lambda t: t.AvgPool2d(2), "a MaxPool2d, there it is a AvgPool2d"),
        (lambda: nn.MaxPool2d(2), lambda t: t.MaxPool2d(2, ceil_mode=True), "0 has ceil_mode Fal"),
        (lambda: nn.AvgPool2d(2, padding=1), lambda t: t.AvgPool2d(2), "0 has padding 1, there"),
        (lambda: nn.AvgPool2d(2), lambda t: t.AvgPool2d(2, count_include_pad=False), "include_pad"),
        (lambda: nn.Dropout(0.5), lambda t: t.ReLU(), "0 is a Dropout, there it is a ReLU"),
    ],
)
def test_layers_without_arrays_are_compared(ours, theirs, complaint, torch):
    model = nn.Sequential(ours(), nn.Linear(2, 2))
    there = torch.nn.Sequential(theirs(torch.nn), torch.nn.Linear(2, 2))
    before = model.state_dict()
    with pytest.raises(ValueError, match=complaint):
        from_torch(model, there)
    np.testing.assert_array_equal(model.state_dict()["1.weight"], before["1.weight"])
    from_torch(model, there.state_dict())


def test_options_that_are_said_otherwise_agree(torch):
    """A number and a pair, a word and a number; what only training asks for may differ."""
    t = torch.nn
    ours = nn.Sequential(
        nn.Conv2d(1, 2, (3, 5), padding=(1, 2)), nn.BatchNorm(2, momentum=0.2), nn.Dropout(0.1),
        nn.MaxPool2d((2, 2)), nn.AvgPool2d(3, stride=(1, 1), padding=1), nn.Dropout(0.3),
        nn.Conv2d(2, 2, 3, stride=(2, 2)), nn.LeakyReLU(), nn.GELU(), nn.Flatten(), nn.Linear(2, 2),
    )  # fmt: skip
    theirs = t.Sequential(
        t.Conv2d(1, 2, (3, 5), padding="same"), t.BatchNorm2d(2), t.Dropout(0.5), t.MaxPool2d(2),
        t.AvgPool2d(3, 1, 1), t.Identity(), t.Conv2d(2, 2, 3, stride=2, padding="valid"),
        t.LeakyReLU(), t.GELU("tanh"), t.Flatten(), t.Linear(2, 2),
    ).eval()  # fmt: skip
    from_torch(ours, theirs).eval()
    x = np.random.default_rng(0).random((3, 1, 6, 6), "f")
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(x).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_own_parameters_that_may_lie_otherwise_must_be_named():
    class Own(nn.Module):
        def __init__(self):
            self.matrix = nn.Parameter(np.arange(9.0).reshape(3, 3))
            self.kept = {
                "row": nn.Parameter(np.ones((1, 1, 3))),
                "wide": nn.Parameter(np.ones((2, 3))),
            }

    for use in (to_torch, lambda m, **same: from_torch(m, {}, **same)):
        with pytest.raises(
            ValueError, match=r"Own has '0\.matrix', whose shape \(3, 3\) does not show"
        ):
            use(nn.Sequential(Own()))
    state = to_torch(nn.Sequential(Own()), same=["0.matrix"])
    np.testing.assert_array_equal(state["0.matrix"], np.arange(9.0).reshape(3, 3))
    same_weights(from_torch(nn.Sequential(Own()), state, same=["0.matrix"]), nn.Sequential(Own()))


def test_arrays_of_one_tensor_must_agree():
    ours = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    for layer in ours:
        layer.weight = ours[0].weight
    state = to_torch(ours)
    from_torch(ours, state)
    state["10.weight"] = state["10.weight"] + 1
    with pytest.raises(
        ValueError, match=r"10\.weight and 0\.weight are one tensor here, and differ"
    ):
        from_torch(ours, state)
    state = {name: a * np.nan for name, a in to_torch(nn.Linear(2, 2)).items()}
    loaded = from_torch(nn.Linear(2, 2), state).weight.numpy()
    np.testing.assert_array_equal(loaded, np.full((2, 2), np.nan))


def test_two_arrays_of_one_name_are_refused():
    block = TransformerBlock(4, 2)
    block.linear1 = nn.Linear(4, 16)
    with pytest.raises(ValueError, match="two arrays of TransformerBlock would have one name"):
        to_torch(block)


@pytest.mark.parametrize("source", ["there.safetensors", 3, [np.ones(2)], None])
def test_what_is_no_state(source):
    with pytest.raises(TypeError, match=r"expected a PyTorch module or its state_dict\(\), got"):
        from_torch(nn.Linear(2, 2), source)


# ---- load_state_dict knows PyTorch's


def test_load_state_dict_refuses_what_is_pytorchs(torch):
    ours = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4))
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    before = ours.state_dict()
    state = theirs.state_dict()
    arrays = {name: a.numpy() for name, a in state.items()}
    mixed = ours.state_dict() | {"1.bias": state["1.bias"]}
    for wrong in (state, arrays, mixed, dict(theirs.named_parameters())):
        with pytest.raises(ValueError, match=r"is PyTorch's, as '.*from_torch\(model, state\)"):
            ours.load_state_dict(wrong)
    for kind, there in (
        (MultiHeadAttention(4, 2), torch.nn.MultiheadAttention(4, 2)),
        (TransformerBlock(4, 2), torch.nn.TransformerEncoderLayer(4, 2, 16)),
        (GPT(5, 4, 4, 2, 1), torch.nn.Sequential(torch.nn.TransformerEncoderLayer(4, 2))),
    ):
        arrays = {name: a.numpy() for name, a in there.state_dict().items()}
        with pytest.raises(ValueError, match="is PyTorch's, as "):
            kind.load_state_dict(arrays)
    with pytest.raises(TypeError, match=r"expected a dict path -> array.*got a Sequential"):
        ours.load_state_dict(theirs)
    for path, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, before[path], err_msg=path)


def test_names_that_a_model_of_ours_has_are_no_sign_of_pytorch():
    own = nn.Module()
    own.in_proj_weight = nn.Parameter(np.ones((2, 2)))
    own.out_proj = nn.Linear(2, 2)
    own.load_state_dict(own.state_dict())
    LSTM(2, 2).load_state_dict(LSTM(2, 2).state_dict())
    nn.BatchNorm(2).load_state_dict(nn.BatchNorm(2).state_dict())
    nn.Linear(2, 2).load_state_dict(dict(nn.Linear(2, 2).tensors()))


@pytest.mark.parametrize(
    "array, complaint",
    [
        (np.ones((4, 3), "f"), r"weight has shape \(4, 3\) .* \(3, 4\) \(turned, as by PyTorch"),
        (np.ones((2, 6), "f"), r"weight has shape \(2, 6\) where the model has \(3, 4\);"),
        (np.ones(12, "f"), r"weight has shape \(12,\)"),
        (np.ones((3, 4), "c8"), "weight has numbers of type complex64, not float32"),
        (np.full((3, 4), "a"), "weight has numbers of type <U1, not float32"),
        ([[1.0] * 4] * 3, "weight is a list, not an array"),
        (None, "weight is a NoneType, not an array"),
    ],
)
def test_a_transposed_weight_is_not_taken_for_its_size(array, complaint):
    layer = nn.Linear(3, 4)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=complaint):
        layer.load_state_dict({"weight": array, "bias": np.full(4, 9, "f")})
    for path in before:
        np.testing.assert_array_equal(layer.state_dict()[path], before[path])
