"""Files of ONNX: onnxruntime runs them as minidl does, at sizes that the export has not seen; what
is read back computes the same and can be trained."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as runtime
import pytest
from test_layers import LAYERS
from test_ops import STEPS, TABLE

import minidl
from minidl import nn, optim, tensor
from minidl.engine import intercept
from minidl.graph.lines import flat
from minidl.nn import functional as F
from minidl.nn.module import Module
from minidl.onnx import LAYERS as RULES
from minidl.onnx import OPERATIONS, export, exporter, load

RNG = np.random.default_rng(0)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ids(*shape, n=11):
    return RNG.integers(0, n, shape)


def run(path, *inputs):
    """What onnxruntime gives."""
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: np.asarray(x) for i, x in zip(session.get_inputs(), inputs)})


def minidls(model, inputs):
    model.eval()
    with minidl.no_grad():
        found = model(*map(tensor, inputs))
    return [np.asarray(y.numpy() if hasattr(y, "numpy") else y) for y in flat(found)]


def check(path, model, examples, axes, *others):
    """Export, and compare what onnxruntime and what is read back give with minidl's own."""
    export(model, path, *examples, axes=axes)
    back = load(path)
    for inputs in (examples, *others):
        expected = minidls(model, inputs)
        for found in run(path, *inputs), minidls(back, inputs):
            for y, e in zip(found, expected, strict=True):
                assert (y.shape, y.dtype) == (e.shape, e.dtype)
                np.testing.assert_allclose(y, e, rtol=1e-5, atol=1e-5)
    return [node.op_type for node in onnx.load(path).graph.node]


def shaken(model):
    """The model with other parameters and statistics than those it starts with."""
    for path, part in model.tensors():
        part.data = RNG.uniform(0.5, 1.5, part.shape).astype(np.float32)
        if "var" not in path:
            part.data = part.data * RNG.choice([-1, 1], part.shape).astype(np.float32)
    return model


# ---- layers and models

SINGLE = {"Conv1d", "Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d", "LayerNorm", "GroupNorm",
          "BatchNorm"}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, tmp_path):
    make, _, shape = LAYERS[name]
    model, path = shaken(make()), str(tmp_path / "a.onnx")
    x = numbers(*shape)
    kinds = check(path, model, [x], ("N",), [x[:1]], [numbers(7, *shape[1:])])
    assert len(kinds) == 1 or type(model).__name__ not in SINGLE, kinds


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(6, 6, 3, padding=1), nn.GELU()), nn.Dropout(0.3), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(6 * 7 * 7, 10),
    )  # fmt: skip


class Reader(Module):
    """Embedding, LSTM with lengths, the last state, a linear layer."""

    def __init__(self, kind=nn.LSTM):
        self.letters, self.lstm, self.out = nn.Embedding(11, 5), kind(5, 6, 2), nn.Linear(6, 3)

    def forward(self, letters, lengths):
        _, state = self.lstm(self.letters(letters), None, lengths)
        return self.out((state[0] if isinstance(state, tuple) else state)[-1])


class Several(Module):
    """A dict of outputs, a mean over a length that varies, and a mask made of it."""

    def __init__(self):
        self.attention, self.norm = nn.MultiHeadAttention(8, 2), nn.RMSNorm(8)

    def forward(self, x, context):
        y = self.norm(self.attention(x, context))
        return {"mean": y.mean(1), "first": y[:, 0], "last": y[:, -1], "all": y[:, 1:, None, ::2]}


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), ("N",),
            lambda n, t: [numbers(n, 4)]),
    "cnn": (cnn, ("N",), lambda n, t: [numbers(n, 1, 28, 28)]),
    "cnn of any size": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.LeakyReLU(0.2), nn.GlobalAvgPool2d()
        ),
        ("N", None, "H", "W"), lambda n, t: [numbers(n, 3, t + 3, t + 5)],
    ),
    **{f"{kind.__name__}, {both}": (
        lambda kind=kind, both=both: kind(3, 4, n_layers=2, bidirectional=both),
        ("N", "T"), lambda n, t: [numbers(n, t, 3)],
    ) for kind in (nn.RNN, nn.GRU, nn.LSTM) for both in (False, True)},
    "reader": (Reader, [("N", "T"), ("N",)],
               lambda n, t: [ids(n, t), RNG.integers(1, min(t, 4) + 1, n)]),
    "gru reader": (lambda: Reader(nn.GRU), [("N", "T"), ("N",)],
                   lambda n, t: [ids(n, t), RNG.integers(1, min(t, 4) + 1, n)]),
    "gpt": (lambda: nn.GPT(11, 9, 16, 4, 2), ("N", "T"), lambda n, t: [ids(n, t)]),
    "cnn in eight bits": (lambda: nn.quantize(cnn()), ("N",), lambda n, t: [numbers(n, 1, 28, 28)]),
    "gpt in eight bits": (lambda: nn.quantize(nn.GPT(11, 9, 16, 4, 2)), ("N", "T"),
                          lambda n, t: [ids(n, t)]),
    "strides and groups in eight bits": (
        lambda: nn.quantize(
            nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=1, dilation=2, groups=2)
        ), ("N",), lambda n, t: [numbers(n, 4, 9, 8)],
    ),
    "several": (Several, [("N", "T"), ("N", "S")],
                lambda n, t: [numbers(n, t, 8), numbers(n, t + 2, 8)]),
    # Those that are square, of one length, or two apart, in the example alone.
    "a square image": (lambda: One(sides), ("N", None, "H", "W"),
                       lambda n, t: [numbers(n, 3, t, 7 if t == 7 else t + 2)]),
    "an image of 6 by 8": (lambda: One(sides), ("N", None, "H", "W"),
                           lambda n, t: [numbers(n, 3, t - 1, 8 if t == 7 else t + 3)]),
    "halves and quarters of an image": (
        lambda: nn.Sequential(*[nn.Conv2d(2, 2, 3, stride=2, padding=1)] * 3,
                              One(lambda x: (x, x.max(2), x.reshape(x.shape[0], -1)))),
        ("N", None, "H", "W"), lambda n, t: [numbers(n, 2, 9 * t + 1, 64 if t == 7 else 7 * t)],
    ),
    "two texts of one length": (
        lambda: One(lambda a, b: (a.mean(1) + b.mean(1), a * b.shape[1], b * (a.shape[1] + 1))),
        [("N", "T"), ("N", "S")],
        lambda n, t: [numbers(n, t, 8), numbers(n, 7 if t == 7 else t + 3, 8)],
    ),
}  # fmt: skip


def sides(x):
    """What depends on one of an image's sides, or on both."""
    return {
        "over H": x.mean(2), "over W": x.mean(3), "W": x * x.shape[3], "H": x * (x.shape[2] + 2),
        "rows": x.reshape(x.shape[0] * x.shape[2], -1), "all": x.mean((2, 3)),
        "padded": F.pad(x, (1, 0)).mean(2),
        "columns": x.transpose(3, 0, 1, 2).reshape(x.shape[3], -1),
    }  # fmt: skip


@pytest.mark.parametrize("lengths", [(6, 6), (6, 8), (4, 4), (7, 5), (28, 28), (32, 33), (9, 9, 9)])
def test_no_axis_is_taken_for_another(lengths):
    """Neither its trial sizes for those of another, times a number, plus a number, nor a product's;
    and a quarter of an axis differs between the trials where it can."""
    x = np.zeros((2, *lengths))
    sizes = exporter._sizes([("x", x, ["N", *"ABC"[: len(lengths)]])])
    products = [np.prod(pair, axis=0) for pair in itertools.combinations(sizes.values(), 2)]
    for a, b in itertools.combinations([*map(np.array, sizes.values()), *products], 2):
        assert np.linalg.matrix_rank(np.stack([a, b, np.ones(3)])) == 3, (a, b)
    for axis, three in [*sizes.items()][1:]:
        assert max(three) == lengths["ABC".index(axis)]
        assert max(three) < 9 or len({n // 4 for n in three}) > 1


def test_axes_that_are_too_short_to_be_told_apart_are_refused(tmp_path):
    model = One(lambda x: x.mean(1))
    with pytest.raises(
        ValueError, match=r"axis C has length 4, too few to tell .* or name it None"
    ):
        export(model, tmp_path / "a.onnx", numbers(2, 5, 4, 4), axes=[*"NABC"])


@pytest.mark.parametrize("name", MODELS)
def test_models_at_sizes_that_were_not_tried(name, tmp_path):
    make, axes, inputs = MODELS[name]
    minidl.manual_seed(1)
    model, path = make(), str(tmp_path / "a.onnx")
    kinds = check(path, model, inputs(4, 7), axes, inputs(1, 9), inputs(6, 4), inputs(3, 8))
    assert kinds.count("Trilu") <= 1, "the mask of all blocks is one"


def test_the_files_are_small_and_their_names_are_the_models(tmp_path):
    path = str(tmp_path / "a.onnx")
    model = cnn()
    kinds = check(path, model, [numbers(2, 1, 28, 28)], ("N",))
    assert kinds == ["Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Gelu", "Add",
                     "AveragePool", "Flatten", "MatMul", "Add"]  # fmt: skip
    graph = onnx.load(path).graph
    assert {i.name for i in graph.initializer} == {path for path, _ in model.tensors()}
    (x,), (y,) = graph.input, graph.output
    assert (x.name, y.name) == ("x", "output")
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["N", 1, 28, 28]
    weights = sum(part.data.nbytes for _, part in model.tensors())
    assert (tmp_path / "a.onnx").stat().st_size < weights + 4000


def test_weights_in_eight_bits_have_no_sign(tmp_path):
    """With one, onnxruntime adds up wrongly on some processors: not on those of every tester."""
    export(nn.quantize(cnn()), tmp_path / "a.onnx", numbers(2, 1, 28, 28))
    types = {i.name: i.data_type for i in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert [types[name] for name in ("0.weight", "8.weight")] == [onnx.TensorProto.UINT8] * 2


def test_the_largest_sums_in_eight_bits_are_not_cut_off(tmp_path):
    model, path = nn.Sequential(nn.quantize(nn.Sequential(nn.Linear(4, 2)))), tmp_path / "a.onnx"
    model[0][0].weight.data = np.full((4, 2), 127, np.int8) * np.int8([1, -1])
    export(model, path, np.ones((2, 4), "f"))
    (weight,) = [w for w in onnx.load(path).graph.initializer if w.name == "0.0.weight"]
    assert onnx.numpy_helper.to_array(weight).tolist() == [[255, 1]] * 4
    check(path, model, [np.ones((3, 4), "f")], ("N",))


def test_a_weight_that_is_shared_is_written_once(tmp_path):
    path = str(tmp_path / "a.onnx")
    check(path, nn.GPT(11, 8, 16, 4, 1), [ids(2, 8)], ("N", "T"))
    assert [i.name for i in onnx.load(path).graph.initializer].count("tokens.weight") == 1


# ---- operations

# Those that only the way back, a loss or a draw needs, or that layers have rules for.
WITHOUT = {
    "conv_to_x", "conv_to_w", "to_first", "from_first", "sum_to", "windows", "from_windows", "lstm",
    "label_loss", "mod", "byte_scale", "in_bytes", "bernoulli", "uniform", "normal",
}  # fmt: skip


class One(Module):
    def __init__(self, function):
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def test_each_operation_has_a_rule_or_a_reason():
    assert {*intercept.primitives} >= {*OPERATIONS}
    ours = {
        name
        for name, op in intercept.primitives.items()
        if str(op.forward.__module__).startswith("minidl")
    }
    assert ours - {*OPERATIONS} == WITHOUT


def label(case):
    shapes = [s for s in case.inputs if isinstance(s, tuple)]
    return f"{case.name} {shapes} {case.attrs}"


@pytest.mark.parametrize("case", [c for c in TABLE + STEPS if c.name not in WITHOUT], ids=label)
def test_operations(case, tmp_path):
    op = intercept.primitives[case.name]
    inputs = [
        RNG.uniform(case.low, case.high, s).astype(np.float32)
        if isinstance(s, tuple)
        else np.asarray(s)
        for s in case.inputs
    ]
    if case.name == "scatter" and len(inputs) > 1:
        with pytest.raises(
            NotImplementedError, match=r"scatter .* places that are given by an array"
        ):
            export(One(lambda *x: op(*x, **case.attrs)), tmp_path / "a", *inputs, axes=())
        return
    check(str(tmp_path / "a.onnx"), One(lambda *x: op(*x, **case.attrs)), inputs, ())


FUNCTIONS = {
    "a number on either side": lambda x: 2 / (1 - x * 0.5) ** 2 + 3,
    "a size as a number": lambda x: x * x.shape[1] + x.shape[0],
    "softmax and its logarithm": lambda x: F.softmax(x) + F.log_softmax(x, 1),
    "an index from the end": lambda x: x[:, -1] + x[:, -2, None, :].sum(1),
    "ellipsis": lambda x: x[..., 1],
    "a row of another": lambda x: x[:, np.array([1, 0, 1])],
    "stack": lambda x: minidl.stack([x, 2 * x], axis=1),
    "the larger half": lambda x: minidl.where(x > 0, x, x.mean()),
    "flat and back": lambda x: (x.reshape(-1, x.shape[-1]) * 2).reshape(x.shape),
    "merged": lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]),
    "a mask of places": lambda x: x * (np.arange(x.shape[1]) > -1)[:, None].astype("f4"),
    "padded": lambda x: F.pad(x[:, None], (1, 2)),
    "whole numbers": lambda x: x.argmax(-1) + 1,
    "the last by its number": lambda x: x[:, x.shape[1] - 1] + x[:, x.shape[1] - 2 :].sum(1),
    "a sum of truths": lambda x: (x > 0).sum(1),
    "a sum of small whole numbers": lambda x: x.astype("int32").sum((0, 2)),
    "a constant, and itself": lambda x: (tensor(np.arange(3.0)), x),
    "ones of its length": lambda x: x + np.ones((x.shape[1], 1), np.float32),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, tmp_path):
    f = FUNCTIONS[name]
    check(str(tmp_path / "a.onnx"), One(f), [numbers(2, 6, 3)], ("N", "T"), [numbers(5, 9, 3)],
          [numbers(1, 4, 3)])  # fmt: skip


# ---- what cannot be exported


class Doubled(nn.Linear):
    def forward(self, x):
        return F.avg_pool2d(x.reshape(-1, 1, 2, 2), 2)


@pytest.mark.parametrize("model, axes, error, words", [
    (lambda: nn.Sequential(nn.ReLU(), Doubled(4, 4)), ("N",), NotImplementedError,
     r"the operation windows in 1 \(Doubled\) has no rule for ONNX: use layers .*AvgPool2d.* or"),
    (lambda: One(lambda x: sum(x[:, t] for t in range(x.shape[1]))), ("N", "T"), ValueError,
     r"the model makes \[.*\] operations where the sizes are .*, and from the operation getitem in "
     r"the model \(One\) on they differ: .*None in `axes`"),
    (lambda: nn.Sequential(nn.ReLU(), One(lambda x: x.exp() if len(x) > 2 else x.tanh())),
     ("N",), ValueError, r"from the operation tanh in 1 \(One\) on they differ"),
    (lambda: nn.Sequential(*[nn.Conv2d(4, 4, 3, stride=2, padding=1)] * 3, One(sides)),
     ("N", None, "H", "W"), ValueError, r"it depends on a number that is \[4, 4, 3\]"),
    (lambda: One(lambda x: (x, next(iter(x)) if len(x) > 2 else 1)), ("N",), ValueError, "differ"),
    (lambda: One(lambda x: x[: len(x) // 2] if len(x) > 4 else x), ("N",), ValueError, "differ"),
    (lambda: One(lambda x: x * tensor(np.asarray(x.numpy()) ** 2)), ("N",), ValueError,
     r"the operation mul in the model \(One\): it depends on an array of shape"),
    (lambda: nn.Sequential(nn.Linear(4, 2)), ("N", "T"), ValueError, "the axis T of .* None"),
    (lambda: F.relu if False else 3, ("N",), TypeError, "export: expected a Module, got int"),
    (lambda: nn.Linear(4, 2), ("N", None, None, "W"), ValueError, "x has 2 axes"),
])  # fmt: skip
def test_what_cannot_be_exported(model, axes, error, words, tmp_path):
    x = numbers(3, 4)
    if "axis T" in words:
        x = numbers(3, 2, 4)
    if "H" in axes:
        x = numbers(3, 4, 31, 31)
    with pytest.raises(error, match=words):
        export(model(), tmp_path / "a.onnx", x, axes=axes)
    assert not [*tmp_path.iterdir()]


def test_a_cell_of_ones_own_is_not_taken_for_the_layer(tmp_path):
    class Slow(nn.RNN):
        def step(self, from_both, h):
            return (h + 0.1 * from_both,)

    model, path = Slow(3, 4), str(tmp_path / "a.onnx")
    kinds = check(path, model, [numbers(2, 5, 3)], ("N",), [numbers(4, 5, 3)])
    assert "RNN" not in kinds


def test_the_model_is_left_as_it_was(tmp_path):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4), nn.Dropout(0.5))
    before, state = (
        {k: v.copy() for k, v in model.state_dict().items()},
        minidl.engine.random.random_state(),
    )
    export(model, tmp_path / "a.onnx", numbers(3, 4))
    assert minidl.engine.random.random_state() == state and model[2].training
    for name, a in model.state_dict().items():
        np.testing.assert_array_equal(a, before[name])


# ---- what is read


def test_what_was_read_is_trained_and_written_again(tmp_path):
    minidl.manual_seed(0)
    model, path = Reader(), str(tmp_path / "a.onnx")
    inputs = [ids(8, 6), RNG.integers(1, 4, 8)]
    labels = tensor(ids(8, n=3))
    export(model, path, *inputs, axes=[("N", "T"), ("N",)])
    state = minidl.engine.random.random_state()
    back = load(path)
    losses = []
    optimizer = optim.Adam(back.parameters(), 0.05)
    for _ in range(40):
        loss = F.cross_entropy(back(*inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert minidl.engine.random.random_state() == state, "nothing is drawn"
    export(back, str(tmp_path / "b.onnx"))
    np.testing.assert_allclose(
        run(str(tmp_path / "b.onnx"), *inputs)[0], back(*inputs).numpy(), atol=1e-5
    )
    assert abs(run(path, *inputs)[0] - back(*inputs).numpy()).max() > 0.1, "the first file stays"


def test_gradients_go_through_what_was_read(tmp_path):
    model, path = cnn(), str(tmp_path / "a.onnx")
    export(model, path, numbers(2, 1, 28, 28))
    back, x = load(path), tensor(numbers(3, 1, 28, 28), requires_grad=True)
    model.eval()
    ours, theirs = (minidl.grad((m(x) ** 2).sum(), [x, *m.parameters()]) for m in (model, back))
    assert [f"weights.{p}" for p, _ in model.named_parameters()] == [
        p for p, _ in back.named_parameters()
    ]
    for g, e in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-4, atol=1e-4)


def changed(path, change):
    file = onnx.load(path)
    change(file)
    onnx.save(file, path)


@pytest.mark.parametrize("content", [b"", b"no file of ONNX", None])
def test_what_is_no_file_is_refused(content, tmp_path):
    path = tmp_path / "a.onnx"
    export(nn.Linear(4, 2), path, numbers(3, 4))
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(ValueError, match="is no valid file of ONNX"):
        load(path)


def test_a_file_that_was_changed_by_hand_is_checked_before_anything_runs(tmp_path):
    path = str(tmp_path / "a.onnx")
    export(nn.Linear(4, 2), path, numbers(3, 4))

    def other_name(file):
        file.graph.node[0].input[0] = "nobody"

    changed(path, other_name)
    with pytest.raises(ValueError, match=r"is no valid file of ONNX: .*nobody"):
        load(path)
    export(nn.Linear(4, 2), path, numbers(3, 4))

    def other_operator(file):
        file.graph.node[1].op_type = "Asinh"
        del file.graph.node[1].input[1]

    changed(path, other_operator)
    with pytest.raises(NotImplementedError, match="cannot read: Asinh; each is an entry in"):
        load(path)
    with pytest.raises(TypeError, match=r"the model takes \['x'\], got 2 inputs"):
        export(nn.Linear(4, 2), path, numbers(3, 4))
        load(path)(1, 2)


# Layers that are made of operations and of other layers.
MADE = {
    nn.Linear, nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.RMSNorm, nn.Residual,
    nn.Sequential, nn.MultiHeadAttention, nn.TransformerBlock, nn.GPT,
}  # fmt: skip


def test_every_layer_has_a_rule_or_is_made_of_what_has():
    classes = {kind for kind in vars(nn).values() if isinstance(kind, type)}
    public = {kind for kind in classes if issubclass(kind, Module)} - {Module}
    assert public - MADE == {*RULES}


def test_the_lines_of_the_page_run(tmp_path, monkeypatch, capsys):
    page = Path(__file__).resolve().parent.parent / "docs" / "ship.md"
    monkeypatch.chdir(tmp_path)
    there = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        exec(code, there)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["gpt.onnx", "model.onnx", "small.onnx"]
    assert "weights.0.weight" in capsys.readouterr().out
    (words,) = re.findall(r"`python -c \"(.*?)\"`", page.read_text("utf-8"))
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "LayerNormalization" in done.stdout.split()


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    for call in (
        lambda: export(nn.Linear(4, 2), tmp_path / "b.onnx", numbers(3, 4)),
        lambda: load(tmp_path / "a.onnx"),
    ):
        with pytest.raises(ImportError, match=r'pip install "minidl\[onnx\]"'):
            call()


def foreign(path, nodes, inputs, outputs, arrays=(), version=21, producer="another"):
    """A file as others may write it: nodes (kind, inputs, outputs, attributes), inputs and outputs
    name -> (type, shape), arrays name -> array."""
    helper = onnx.helper
    made = [helper.make_node(kind, given, results, **more) for kind, given, results, more in nodes]
    infos = [
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in some.items()]
        for some in (inputs, outputs)
    ]
    weights = [onnx.numpy_helper.from_array(a, name) for name, a in dict(arrays).items()]
    graph = helper.make_graph(made, "graph", *infos, weights)
    opset = [helper.make_opsetid("", version)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10, producer_name=producer)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)  # of the outputs


FLOAT, WHOLE = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
X = np.array([[-7, 8, 0], [5, -9, 3]])


@pytest.mark.parametrize(
    "kind, kinds, given, more",
    [
        ("Div", (WHOLE, WHOLE, WHOLE), [X, np.array([[2, 3, 4], [-2, 2, -3]])], {}),
        ("Div", (FLOAT, FLOAT, FLOAT), [numbers(2, 3), numbers(2, 3)], {}),
        ("Pow", (WHOLE, FLOAT, WHOLE), [X, np.full((2, 3), 2, "f")], {}),
        ("Pow", (FLOAT, WHOLE, FLOAT), [numbers(2, 3), np.full((2, 3), 3)], {}),
        ("ReduceSum", (WHOLE, None, WHOLE), [X], {"keepdims": 0}),
        ("ReduceMean", (FLOAT, None, FLOAT), [numbers(2, 3)], {"keepdims": 1}),
        ("ReduceSum", (FLOAT, None, FLOAT), [numbers(2, 3)], {"noop_with_empty_axes": 1}),
        ("ReduceMean", (FLOAT, None, FLOAT), [numbers(2, 3)], {"noop_with_empty_axes": 1}),
        ("Max", (FLOAT, FLOAT, FLOAT), [numbers(2, 3)] * 2 + [numbers(2, 3)], {}),
        ("Min", (FLOAT, FLOAT, FLOAT), [numbers(2, 3)] * 2 + [numbers(2, 3)], {}),
        ("Sum", (FLOAT, FLOAT, FLOAT), [numbers(2, 3)] * 2 + [numbers(2, 3)], {}),
        ("Clip", (FLOAT, FLOAT, FLOAT), [numbers(2, 3)], {}),
        ("Softmax", (FLOAT, None, FLOAT), [numbers(2, 3)], {"axis": 0}),
        *[
            ("Trilu", (FLOAT, WHOLE, FLOAT), [np.full((3, 4), fill, "f"), np.array(k)], more)
            for fill, k, more in [(-np.inf, 1, {}), (np.inf, 0, {"upper": 0}), (np.nan, -1, {})]
        ],
        ("Trilu", (WHOLE, WHOLE, WHOLE), [X, np.array(1)], {"upper": 0}),
    ],
)
def test_operators_of_others_at_their_edges(tmp_path, kind, kinds, given, more):
    first, second, result = kinds
    names = [f"x{i}" for i in range(len(given))]
    inputs = {
        name: (first if i == 0 else second, [None] * np.ndim(a))
        for i, (name, a) in enumerate(zip(names, given))
    }
    path = tmp_path / "one.onnx"
    foreign(path, [(kind, names, ["y"], more)], inputs, {"y": (result, None)})
    expected = run(path, *given)[0]
    found = load(path)(*given).numpy()
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_axes_that_are_there_and_empty(tmp_path):
    for noop in 0, 1:
        path = tmp_path / f"{noop}.onnx"
        foreign(
            path, [("ReduceSum", ["x", "axes"], ["y"], {"noop_with_empty_axes": noop})],
            {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, None)}, {"axes": np.zeros(0, np.int64)},
        )  # fmt: skip
        x = numbers(2, 3)
        np.testing.assert_allclose(load(path)(x).numpy(), run(path, x)[0], rtol=1e-6, atol=1e-6)


def test_operators_of_a_version_with_another_meaning_are_refused(tmp_path):
    path = tmp_path / "old.onnx"
    foreign(
        path, [("Softmax", ["x"], ["y"], {"axis": 1})], {"x": (FLOAT, [2, 3, 4])},
        {"y": (FLOAT, None)}, version=11,
    )  # fmt: skip
    with pytest.raises(NotImplementedError, match=r"version 11 .* 13 on"):
        load(path)


def test_lengths_that_are_fixed_in_a_file_are_held_to(tmp_path):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    export(model, tmp_path / "model.onnx", numbers(2, 1, 8, 8))
    again = load(tmp_path / "model.onnx")
    again(numbers(5, 1, 8, 8))
    for wrong in numbers(5, 1, 9, 9), numbers(1, 8, 8), numbers(5, 2, 8, 8):
        with pytest.raises(ValueError, match=r"x: the file takes the shape \(any, 1, 8, 8\), got"):
            again(wrong)


class Parts(Module):
    """A parameter of one number, a buffer, a constant, and a layer of one output."""

    def __init__(self):
        self.scale = nn.Parameter(np.ones(1, "f"))
        self.mean = tensor(np.arange(3, dtype="f"))
        self.linear = nn.Linear(3, 1)

    def forward(self, x):
        return self.linear((x - self.mean) * self.scale) + np.full(4, 0.5, "f")


def test_all_that_was_trained_is_trained_and_nothing_else(tmp_path):
    model = Parts()
    export(model, tmp_path / "parts.onnx", numbers(2, 3))
    again = load(tmp_path / "parts.onnx")
    paths = [path for path, _ in again.named_parameters()]
    assert sorted(paths) == [f"weights.{path}" for path, _ in sorted(model.named_parameters())]
    assert "weights.mean" in again.state_dict()
    optimizer = optim.Adam(again.parameters(), 0.1)
    x = numbers(50, 3)
    y = x.sum(1, keepdims=True) + 7
    losses = []
    for _ in range(600):
        loss = ((again(tensor(x))[:, :1] - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 1e-2 < losses[0]
    np.testing.assert_array_equal(again.state_dict()["weights.mean"], [0, 1, 2])


def test_of_a_file_of_others_what_stands_where_weights_stand_is_trained(tmp_path):
    arrays = {
        "onnx::MatMul_7": numbers(3, 1), "linear.bias": numbers(1), "val_16": numbers(2, 3),
        "mean": numbers(3), "count": np.arange(3), "norm.running_mean": numbers(3),
        "norm.running_var": numbers(3) ** 2, "norm.weight": numbers(3), "norm.bias": numbers(3),
    }  # fmt: skip
    norm = [f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    nodes = [
        ("BatchNormalization", ["x", *norm], ["a"], {}),
        ("Add", ["a", "val_16"], ["b"], {}),
        ("MatMul", ["b", "onnx::MatMul_7"], ["c"], {}),
        ("Add", ["c", "linear.bias"], ["y"], {}),
    ]
    path = tmp_path / "other.onnx"
    foreign(path, nodes, {"x": (FLOAT, [2, 3])}, {"y": (FLOAT, None)}, arrays)
    again = load(path)
    found = {path.removeprefix("weights.") for path, _ in again.named_parameters()}
    assert found == {"onnx::MatMul_7", "linear.bias", "norm.weight", "norm.bias"}
    x = numbers(2, 3)
    np.testing.assert_allclose(again(x).numpy(), run(path, x)[0], rtol=1e-5)


@pytest.mark.parametrize("function", [
    lambda x: x * float(x.numpy().max()), lambda x: x + tensor(x.numpy() * 2),
    lambda x: x / (1 + x.numpy().std()),
])  # fmt: skip
@pytest.mark.parametrize("fill", [0, 1, 2.5])
def test_no_value_of_the_example_becomes_a_constant(function, fill, tmp_path):
    """Also where the example is the same everywhere, as in np.zeros."""
    with pytest.raises(ValueError, match=r"the operation \w+ in the model \(One\): it depends on"):
        export(One(function), tmp_path / "a.onnx", np.full((2, 6), fill, "f"), axes=("N", "T"))


def test_what_is_detached_is_no_constant(tmp_path):
    def f(x):
        y = (x * 2).detach()
        return x.detach() + y, y.tanh().numpy(), x.astype("int64"), x

    model = One(f)
    export(model, tmp_path / "a.onnx", np.zeros((2, 3), "f"))
    x = numbers(5, 3)
    for y, e in zip(run(tmp_path / "a.onnx", x), minidls(model, [x]), strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-6)


class Named(Module):
    """Parameters whose names an input, an output and operations' results would have too."""

    def __init__(self, *names):
        for i, name in enumerate(names):
            setattr(self, name, nn.Parameter(numbers(3) + 3 * i))

    def forward(self, x):
        y = (x + 1) * 2
        for _, part in self.named_parameters():
            y = y * part + part
        return {"output": y, "x": y.tanh(), "y": y + 1}


@pytest.mark.parametrize("names", [["x"], ["output", "y"], ["add", "mul"], ["mul_2", "N", "tanh"],
                                   ["x_2", "x"], ["constant", "_size"]])  # fmt: skip
def test_no_name_stands_for_two_things(names, tmp_path):
    model, path = Named(*names), str(tmp_path / "a.onnx")
    check(path, model, [numbers(2, 3)], ("N",), [numbers(5, 3)])
    graph = onnx.load(path).graph
    assert [x.name for x in graph.input] == ["x"]
    assert [y.name for y in graph.output] == ["output", "x_2", "y"]
    stored = {i.name for i in graph.initializer}
    assert {*names} - {"x", "x_2", "output", "y"} <= stored
    assert len(load(path).parameters()) == len(names)


def test_parts_in_parts_of_a_result_are_all_there(tmp_path):
    class Deep(Module):
        def __init__(self):
            self.lstm = nn.LSTM(3, 4)

        def forward(self, x):
            y, (h, c) = self.lstm(x)
            return {"y": y, "state": (h, c), "more": {"sum": y.sum(1), "none": None}, "T": len(x)}

    x, path = numbers(2, 5, 3), str(tmp_path / "a.onnx")
    export(Deep(), path, x, axes=("N", "T"))
    names = [y.name for y in onnx.load(path).graph.output]
    assert names == ["y", "state_0", "state_1", "more_sum", "T"]
    model, x = Deep(), numbers(4, 7, 3)
    export(model, path, numbers(2, 5, 3), axes=("N", "T"))
    expected = model(tensor(x))
    for y, e in zip(run(path, x), [y for y in flat(expected) if y is not None], strict=True):
        np.testing.assert_allclose(
            y, np.asarray(e.numpy() if hasattr(e, "numpy") else e), atol=1e-5
        )


class Twice(Module):
    """Gives a result twice, one that a later output needs, and its input."""

    def __init__(self):
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        y = self.linear(x)
        return y, y, y, y.tanh(), x


def test_a_result_that_is_given_twice(tmp_path):
    model, x = Twice(), numbers(2, 3)
    export(model, tmp_path / "twice.onnx", x)
    found = run(tmp_path / "twice.onnx", x)
    assert len(found) == 5
    for a, b in zip(model(tensor(x)), found):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-5, atol=1e-6)


def test_what_a_file_uses_and_minidl_has_not_is_said(tmp_path):
    path = tmp_path / "pool.onnx"
    shapes = {"x": (FLOAT, [1, 1, 4, 4])}, {"y": (FLOAT, None), "i": (WHOLE, None)}
    foreign(path, [("MaxPool", ["x"], ["y", "i"], {"kernel_shape": [2, 2]})], *shapes)
    with pytest.raises(NotImplementedError, match=r"uses 2 of its results, minidl\.onnx has 1"):
        load(path)
    for more in {"ceil_mode": 1}, {"dilations": [2, 2]}, {"auto_pad": "SAME_UPPER"}:
        node = ("MaxPool", ["x"], ["y"], {"kernel_shape": [2, 2], **more})
        foreign(path, [node], shapes[0], {"y": (FLOAT, None)})
        with pytest.raises(NotImplementedError, match=r"MaxPool.* more than minidl"):
            load(path)
    foreign(
        path, [("Dropout", ["x", "", "on"], ["y"], {})], shapes[0], {"y": (FLOAT, None)},
        {"on": np.array(True)},
    )  # fmt: skip
    with pytest.raises(NotImplementedError, match=r"Dropout .* draws"):
        load(path)
    with pytest.raises(TypeError, match="an example of each input"):
        export(nn.Linear(2, 2), path)


def test_a_recurrent_layer_without_biases(tmp_path):
    w, r = numbers(1, 12, 2), numbers(1, 12, 3)
    path = tmp_path / "lstm.onnx"
    foreign(
        path, [("LSTM", ["x", "w", "r"], ["y"], {"hidden_size": 3})],
        {"x": (FLOAT, ["T", "N", 2])}, {"y": (FLOAT, None)}, {"w": w, "r": r},
    )  # fmt: skip
    x = numbers(4, 2, 2)
    np.testing.assert_allclose(load(path)(x).numpy(), run(path, x)[0], rtol=1e-5, atol=1e-5)
    foreign(
        path, [("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], {"hidden_size": 3})],
        {"x": (FLOAT, ["T", "N", 2])}, {"y": (FLOAT, None)}, {"w": w, "r": r, "p": numbers(1, 9)},
    )  # fmt: skip
    with pytest.raises(NotImplementedError, match="peepholes"):
        load(path)


@pytest.mark.parametrize("kind, words, arrays, more, why", [
    ("Pad", ["x", "p", "v"], {"p": np.ones(8, int), "v": np.array(3, "f")}, {}, "zeros on all"),
    ("Pad", ["x", "p"], {"p": np.ones(8, int)}, {"mode": "reflect"}, "zeros on all"),
    ("Gelu", ["x"], {}, {}, "the form with tanh"),
    ("AveragePool", ["x"], {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, "its padding"),
    ("MaxPool", ["x"], {}, {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}, "between the sides"),
    ("Conv", ["x", "w"], {"w": np.ones((2, 4, 3, 3), "f")}, {"pads": [1, 0, 0, 0]}, "the sides"),
    ("ConvTranspose", ["x", "w"], {"w": np.ones((4, 1, 2, 2), "f")}, {"group": 4}, "one group"),
])  # fmt: skip
def test_what_cannot_be_run_is_refused_when_it_is_read(tmp_path, kind, words, arrays, more, why):
    path = tmp_path / "one.onnx"
    shapes = {"x": (FLOAT, [2, 4, 6, 6])}, {"y": (FLOAT, None)}
    foreign(path, [(kind, words, ["y"], more)], *shapes, arrays)
    run(path, numbers(2, 4, 6, 6))  # onnxruntime can
    with pytest.raises(NotImplementedError, match=rf"the node 'y', {kind} with .*{why}"):
        load(path)


def recurrent(path, kind, gates, **attributes):
    """A file with one recurrent layer, as others may write it."""
    helper = onnx.helper
    shapes = {"w": (1, gates * 3, 2), "r": (1, gates * 3, 3), "b": (1, 2 * gates * 3)}
    weights = [onnx.numpy_helper.from_array(numbers(*s), name) for name, s in shapes.items()]
    node = helper.make_node(kind, ["x", *shapes], ["y"], hidden_size=3, **attributes)
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", ["T", "N", 2]), ("y", ["T", 1, "N", 3]))
    )
    graph = helper.make_graph([node], "graph", [x], [y], weights)
    opset = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


@pytest.mark.parametrize(
    "kind, gates, attributes, known",
    [
        ("LSTM", 4, {}, True),
        ("LSTM", 4, {"activations": ["Sigmoid", "Tanh", "Tanh"], "input_forget": 0}, True),
        ("LSTM", 4, {"activations": ["Tanh", "Tanh", "Tanh"]}, False),
        ("LSTM", 4, {"activations": ["Sigmoid", "Sigmoid", "Sigmoid"]}, False),
        ("LSTM", 4, {"clip": 0.5}, False),
        ("GRU", 3, {"activations": ["Sigmoid", "Tanh"], "linear_before_reset": 1}, True),
        ("GRU", 3, {"activations": ["Tanh", "Sigmoid"], "linear_before_reset": 1}, False),
        ("GRU", 3, {}, False),
        ("LSTM", 4, {"direction": "reverse"}, False),
        ("RNN", 1, {"direction": "reverse"}, False),
        ("RNN", 1, {"activations": ["Tanh"]}, True),
        ("RNN", 1, {"activations": ["Relu"]}, False),
    ],
)
def test_what_is_written_out_is_read_only_where_it_is_the_standard(
    tmp_path, kind, gates, attributes, known
):
    path = tmp_path / "layer.onnx"
    recurrent(path, kind, gates, **attributes)
    if not known:
        words = "more than minidl|linear_before_reset is 0|backwards only"
        with pytest.raises(NotImplementedError, match=words):
            load(path)
        return
    x = numbers(4, 2, 2)
    np.testing.assert_allclose(load(path)(x).numpy(), run(path, x)[0], rtol=1e-5, atol=1e-5)


def test_an_operator_of_another_domain_is_not_taken_for_onnxs(tmp_path):
    helper, path = onnx.helper, tmp_path / "other.onnx"
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    x, y = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N"]) for name in ("x", "y")
    )
    opset = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "graph", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    with pytest.raises((NotImplementedError, ValueError), match=r"com\.microsoft"):
        load(path)


def test_an_example_of_floats_gets_the_type_of_the_parameters(tmp_path):
    model, path = nn.Linear(3, 2), tmp_path / "m.onnx"
    x = np.random.default_rng(0).standard_normal((4, 3))  # float64
    export(model, path, x)
    (y,) = run(path, x.astype("float32"))
    np.testing.assert_allclose(y, model(tensor(x.astype("float32"))).numpy(), rtol=1e-5)


def test_an_example_of_another_kind_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"onnx refuses .* They are x int64"):
        export(nn.Linear(3, 2), tmp_path / "m.onnx", np.ones((4, 3), "int64"))
    assert not (tmp_path / "m.onnx").exists()


def test_arguments_in_another_order_are_named(tmp_path):
    x, model = np.ones((4, 3), "float32"), nn.Linear(3, 2)
    with pytest.raises(TypeError, match=r"a path in second place, export\(model, path, x\[:2\]\)"):
        export(model, x, tmp_path / "m.onnx")
    with pytest.raises(TypeError, match="of an estimator it is model_"):
        export(minidl.estimators.MinidlClassifier(), tmp_path / "m.onnx", x)


def test_what_numpy_computes_on_the_way_is_named(tmp_path):
    class Scaled(nn.Linear):
        def forward(self, x):
            return super().forward(x) * float(x.numpy().mean())

    x = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    with pytest.raises(ValueError, match=r"\.numpy\(\), \.item\(\), .* operations of Tensors"):
        export(Scaled(3, 2), tmp_path / "m.onnx", x)
