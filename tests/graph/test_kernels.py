"""A kernel gives what its lines give, bit for bit, and runs hold together what belongs together."""

import random
import shutil
import subprocess
from itertools import product
from types import SimpleNamespace

import in_c
import numpy as np
import pytest
from standin import StandinArray, Stream, standin
from static import drawn, learning
from test_source import proof

import minidl
from minidl import Tensor, nn, optim, tensor
from minidl.engine import devices, ops
from minidl.graph.kernels import (  # fmt: skip
    ANY_NUMBER,
    COMPARISONS,
    FLOATS,
    MOST,
    TRUTHS,
    Kernel,
    pattern,
)
from minidl.graph.lines import Line, Value, call, is_view
from minidl.graph.passes import EXACT
from minidl.nn import recurrent, transformer
from minidl.train import Trainer

pytestmark = pytest.mark.skipif(not in_c.COMPILER, reason="waits for a C compiler")
ODD = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-30, -7e4, np.inf, -np.inf, np.nan]


def values(dtype):
    """Two arrays in which each odd number meets each."""
    if np.dtype(dtype).kind != "f":
        odd = [0, 1] if dtype == "bool" else [0, 1, 2, 5, 100]
        odd += [-1, -7] if np.dtype(dtype).kind == "i" else []
    else:
        odd = ODD
    a, b = np.array(list(product(odd, odd))).T
    return a.astype(dtype), b.astype(dtype)


def run(lines, outs):
    """A Kernel of lines on the arrays that their Values hold in `data`; what it gives."""
    kernel = Kernel(lines, outs)
    takes, gives, body, name = kernel.text()
    made = [StandinArray(np.zeros(v.shape, v.dtype)) for v in outs]
    function = standin.ElementwiseKernel(
        takes, gives, "\n".join(body), name, no_return=True, options=("--fmad=false",)
    )
    function(*(v.data for v in kernel.args), *made)
    return [a._a for a in made]


def given(a):
    """A Value that holds an array, or a number that is asked for at each run."""
    if isinstance(a, float):
        return Value(a, "number", data=a)
    return Value(a, "input", data=StandinArray(a))


def same(found, expected):
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(found, expected)
    if expected.dtype.kind == "f":
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


TYPES = {"f": ["float16", "float32", "float64"], "i": ["int16", "int32", "int64"],
         "u": ["uint8"], "b": ["bool"]}  # fmt: skip
CASES = {(f, t) for f in FLOATS for t in TYPES["f"]} | {(f, "bool") for f in TRUTHS}
CASES |= {(f, t) for f in ANY_NUMBER for t in TYPES["i"]}
CASES |= {(f, t) for f in COMPARISONS for kind in "fiub" for t in TYPES[kind]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("f, dtype", sorted(CASES))
def test_every_function_of_odd_numbers(f, dtype):
    a, b = values(dtype)
    arrays = (a, b)[: getattr(np, f).nin]
    expected = getattr(np, f)(*arrays)
    line = Line(f, tuple(map(given, arrays)), {}, Value(expected))
    assert pattern(line)
    (found,) = run([line], [line.out])
    if f in ("maximum", "minimum"):  # of 0.0 and -0.0 either may be the larger
        found, expected = found + 0, expected + 0
    same(found, expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind, new", [*product([t for k in "fiub" for t in TYPES[k]], repeat=2)])
def test_every_conversion(kind, new):
    a = values(kind)[0]
    a = a[np.isfinite(a) & (a >= (-50 if new[0] != "u" else 0))] if kind[0] == "f" else a
    a = a[a >= 0] if new[0] == "u" else a
    a = np.clip(a, None, 200) if "8" in new or "16" in new else a
    line = Line("astype", (given(a), np.dtype(new)), {}, Value(a.astype(new)))
    same(run([line], [line.out])[0], a.astype(new))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("number", [2, 3, 1.5, -0.0, 1e-8, 0.1, np.inf, -np.inf, np.nan])
def test_numbers_in_the_text_are_the_numbers_meant(number, dtype):
    a = np.array([0.25, 1.0, 3.0, 1e3], dtype)
    for f in ("multiply", "subtract", "less", *["power"] * (number != 2)):
        with np.errstate(all="ignore"):
            expected = getattr(np, f)(a, number)
        line = Line(f, (given(a), number), {}, Value(expected))
        same(run([line], [line.out])[0], expected)


def test_numbers_that_are_asked_for_and_arrays_of_one_number():
    a, one = drawn(3, 4), standin.asarray(np.array([[0.1]], "f"))
    x, rate = given(a), given(0.1)
    first = Line("multiply", (rate, x), {}, Value(np.float32(0.1) * a))
    second = Line("add", (first.out, Value(one._a, "constant", data=one)), {}, Value(a))
    third = Line("where", (given(a > 0), second.out, 2.0), {}, Value(a))
    (found,) = run([first, second, third], [third.out])
    same(found, np.where(a > 0, np.float32(0.1) * a + np.float32(0.1), np.float32(2)))


def test_a_half_inside_a_kernel_brings_its_header(device):
    """CuPy includes that of float16 where an argument has that type."""
    step = minidl.compile(lambda x: ops.cast(ops.cast(x, dtype="float16"), dtype="float32") * 3)
    x = drawn(3, 4)
    for _ in range(2):
        found = step(tensor(x, device=device))
    np.testing.assert_array_equal(found.numpy(), x.astype("float16").astype("float32") * 3)
    assert step.source.count("float16.cuh") == (device != "cpu")


def test_a_result_may_lie_where_an_argument_lies():
    a, b = (StandinArray(drawn(5, seed=i)) for i in range(2))
    x, y = (Value(v._a, "input", data=v) for v in (a, b))
    lines = [Line("add", (x, y), {}, Value(a._a)), Line("subtract", (x, y), {}, Value(a._a))]
    expected = a._a + b._a, a._a - b._a
    takes, gives, body, name = Kernel(lines, [lines[0].out, lines[1].out]).text()
    function = in_c.ElementwiseKernel(
        takes, gives, "\n".join(body), name, no_return=True, options=("--fmad=false",)
    )
    function(a, b, a, b)
    same(a._a, expected[0])
    same(b._a, expected[1])


def test_what_is_no_kernel():
    a, c = given(drawn(3)), given(np.ones(3, complex))
    out = Value(drawn(3))
    assert pattern(Line("add", (a, a), {}, out))
    for line in (
        Line("add", (a, c), {}, Value(c.data._a)),  # a type that it does not know
        Line("add", (a, given(np.arange(3.0))), {}, out, into=True),  # in float64 first
        Line("add", (a, a), {"where": a}, out),
        Line("remainder", (a, a), {}, out),
        Line(call, (a,), {}, out),
    ):
        assert pattern(line) is None
    bools = given(np.ones(3, bool))
    assert pattern(Line("greater", (a, a), {}, Value(np.ones(3, bool))))
    assert pattern(Line("greater", (a, a), {}, Value(drawn(3)))) is None  # 0.0 and 1.0
    assert pattern(Line("add", (bools, bools), {}, Value(np.ones(3, bool)))) is None


# ---- which lines become one


def fused(function, *arrays):
    """The calls of a compiled function on the stand-in, kernels as lists of functions."""
    compiled = minidl.compile(function)
    for _ in range(2):
        found = compiled(*(tensor(a, device="standin") for a in arrays))
    expected = function(*(tensor(a, device="standin") for a in arrays))
    for x, y in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected))):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-6)
    return calls(compiled)


def calls(compiled):
    lines = [line for line in compiled.program.graph.lines if not is_view(line)]
    names = [[part.function for part in line.parts()] for line in lines]
    return [name if len(name) > 1 else name[0] for name in names]


A, B = drawn(3, 4), drawn(4, 3, seed=1)
TALL = drawn(3, 1, seed=2)


@pytest.mark.parametrize(
    "function, expected",
    [
        (lambda x, z: (x * 2 + 1).exp(), [["multiply", "add", "exp"]]),
        (lambda x, z: x.exp(), ["exp"]),
        # What stands between, and has nothing to do with it, does not part a run.
        (lambda x, z: (x * 2, z @ x, x * 2 + 1), ["matmul", ["multiply", "add"]]),
        # What needs a result of the run does, and so does a result of other shape that it needs.
        (lambda x, z: (x * 2 + 1) @ z + x[:, :1] * 3,
         [["multiply", "add"], "matmul", ["multiply", "add"]]),
        (lambda x, z: (y := (x * 2).exp()) / y.sum(1, keepdims=True),
         [["multiply", "exp"], "add.reduce", "divide"]),
        # What is cheap and small is computed again for each element that needs it.
        (lambda x, z: x - x.sum(1, keepdims=True) * 0.25, ["add.reduce", ["multiply", "subtract"]]),
        (lambda x, z: ((m := x.sum(1, keepdims=True) * 0.25 + 1) * x, z @ m @ m.T),
         ["add.reduce", ["multiply", "add"], "matmul", "matmul", ["multiply", "add", "multiply"]]),
        (lambda x, z: x * (x.sum(1, keepdims=True) * 0.1).exp(),
         ["add.reduce", ["multiply", "exp"], "multiply"]),
        # Two shapes are two runs that grow side by side.
        (lambda x, z: ((x * 2).exp(), (z * 3).exp()), [["multiply", "exp"], ["multiply", "exp"]]),
        # Other elements of what the run makes are there only when it has run.
        (lambda x, z: (y := x[:, :3] * 2 + 1) + y.T, [["multiply", "add"], "add"]),
        (lambda x, z: (y := x * 2 + 1) * y[::-1] * 3, [["multiply", "add"], ["multiply"] * 2]),
    ],
)  # fmt: skip
def test_runs(function, expected):
    assert fused(function, A, B) == expected


# ---- what is changed in place


def zeros(x):
    return devices.array_module(x.data).zeros_like(x.data)


def added(x):
    y = zeros(x)
    y += x.data
    y += x.data * 2
    return Tensor(y * y), Tensor(y)


def side_by_side(x):
    """Rows that have nothing in common may be written at once."""
    y = zeros(x)
    y[0] = x.data[1] * 2
    y[1] = x.data[0] + 1
    y[2] = y[1] * y[0]
    return Tensor(y)


def one_after_the_other(x):
    """Rows that meet may not: each element needs one that another thread writes."""
    y = zeros(x)
    y[1:] += x.data[1:] * 2
    y[:-1] += y[1:] * 3
    y[1:] *= y[:-1]
    return Tensor(y)


def turned(x):
    y = zeros(x)
    y += x.data
    y[...] = y[::-1] * 2
    y[:, ::2] = y[:, 1::2] + 1
    return Tensor(y)


def read_before_and_after(x):
    y = zeros(x)
    y += x.data
    before = y * 2
    y += 1.0
    after = y * 2
    y *= before
    return Tensor(before), Tensor(after), Tensor(y), Tensor(before + after + y)


def read_elsewhere_before(x):
    """A sum and a product of what it was stand between."""
    y = zeros(x)
    y += x.data
    total, product = y.sum(), y @ y.T
    y += x.data * 2
    return Tensor(total), Tensor(product), Tensor(y), Tensor(y.sum())


def mirrored(x):
    """Each element needs one that this very line changes, so it is no kernel."""
    y = zeros(x)
    y += x.data
    y += y[::-1]
    y[1:] *= y[:-1]
    y[:2] += y[2:]
    return Tensor(y * 2 + 1)


def small_that_changes(x):
    """The mean is that of before the change, wherever it is needed."""
    total = x.data.sum(1, keepdims=True)
    mean = total * 0.25
    total += 1.0
    return Tensor(x.data - mean), Tensor(total * x.data)


def of_another_type(x):
    y = zeros(x)
    y[...] = x.data.astype("float64") * 0.1
    y[0] = x.data[0] > 0
    return Tensor(y + x.data)


@pytest.mark.parametrize(
    "function, expected",
    [
        (added, [["zeros", "add", "multiply", "add", "multiply"]]),
        (side_by_side, ["zeros", ["multiply", "copyto", "add", "copyto"], ["multiply", "copyto"]]),
        (one_after_the_other, None),
        (turned, None),
        (read_before_and_after, None),
        (read_elsewhere_before, None),
        (of_another_type, None),
        (mirrored, None),
        (small_that_changes, None),
    ],
)
def test_what_changes_in_place(function, expected):
    compiled = minidl.compile(function)
    for i in range(3):
        x = drawn(3, 4, seed=i)
        found = compiled(tensor(x, device="standin"))
        expected_now = minidl.compile(function, passes=())(tensor(x))
        pairs = zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected_now)))
        for a, b in pairs:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
    kernels = [line for line in compiled.program.graph.lines if isinstance(line, Kernel)]
    assert kernels
    if expected:
        assert calls(compiled) == expected


VIEWS = [
    lambda u: u[: len(u) // 2],
    lambda u: u[len(u) // 2 :],
    lambda u: u[::-1],
    lambda u: u[:, ::-1],
    lambda u: u[:, : u.shape[1] // 2 + 1],
    lambda u: u[1:2],
    lambda u: u.transpose(1, 0),
]


def changes(seed):
    """A random function that changes arrays and views of them, and what it made of x."""

    def function(x):
        rng, xp = random.Random(seed), devices.array_module(x.data)
        arrays = [x.data * 1.0, xp.tanh(x.data), zeros(x)]
        for _ in range(rng.randrange(4, 22)):
            u, v = rng.choice(arrays), rng.choice(arrays)
            v = v if v.shape == u.shape else 0.25
            kind = rng.choice(
                ["new", "new", "add", "multiply", "set", "view", "view", "mean", "half"]
            )
            if kind == "new":
                arrays.append(u - v)
            elif kind == "add":
                u += v
            elif kind == "multiply":
                u *= v
            elif kind == "set":
                u[...] = v * 1.5
            elif kind == "view":
                arrays.append(rng.choice(VIEWS)(u))
            elif kind == "mean":
                arrays.append(u - u.sum(axis=1, keepdims=True) * 0.25)
            else:
                arrays.append(u.astype("float16").astype("float32"))
        return [Tensor(a * 1.0) for a in arrays]

    return function


@pytest.mark.slow
@pytest.mark.parametrize("some", range(8))
def test_random_changes_in_place(some):
    kernels = 0
    for seed in range(20 * some, 20 * some + 20):
        compiled = minidl.compile(changes(seed), passes=EXACT)
        for i in range(2):
            x = drawn(2 + seed % 3, 4, seed=i)
            found = compiled(tensor(x, device="standin"))
            for a, b in zip(found, changes(seed)(tensor(x)), strict=True):
                np.testing.assert_array_equal(a.numpy(), b.numpy(), f"seed {seed}")
        proof(compiled.program.plan)
        kernels += compiled.source.count("ElementwiseKernel")
    assert kernels > 20


def test_only_what_others_need_reaches_memory():
    compiled = minidl.compile(lambda x: (((y := (x * 2).exp()) + 1).tanh(), y.sum()))
    for x in (A, A + 1):
        compiled(tensor(x, device="standin"))
    (kernel,) = (line for line in compiled.program.graph.lines if isinstance(line, Kernel))
    assert [part.function for part in kernel.parts()] == ["multiply", "exp", "add", "tanh"]
    assert len(kernel.outs) == 2 and len(kernel.args) == 1
    assert len(compiled.program.plan.places) == 3, "exp, tanh and the sum"


def test_a_run_of_too_many_arrays_is_several():
    arrays = [drawn(3, seed=i) for i in range(MOST + 4)]
    calls = fused(lambda *xs: sum(xs[1:], start=xs[0] * 2), *arrays)
    assert [len(call) for call in calls] == [14, 14]
    outs = fused(lambda x: tuple((x * i).exp() for i in range(2, MOST + 2)), A)
    assert len(outs) == 2 and sum(map(len, outs)) == 2 * MOST


def training(device):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)).to(device)
    optimizer = optim.Adam(model.parameters(), 0.01)

    step = minidl.compile(learning(model, optimizer))
    for _ in range(2):
        step(tensor(A, device=device), tensor([0, 1, 2], device=device))
    return step


def test_an_update_is_one_kernel_and_kernels_are_printed_with_the_rest():
    step = training("standin")
    kernels = [line for line in step.program.graph.lines if isinstance(line, Kernel)]
    adam = kernels[-1]
    assert len(adam.outs) == 3 and {v.kind for v in adam.args} == {"state", "made"}
    assert not [v for v in adam.outs if step.program.plan.home(v).kind != "state"]
    assert step.source.count(" = np.ElementwiseKernel(") == len({str(k.text()) for k in kernels})
    assert step.source.index("ElementwiseKernel") < step.source.index("def make(")
    cpu = training("cpu")
    assert "Kernel" not in cpu.source and cpu.flops <= step.flops < 1.1 * cpu.flops
    assert len(step.program.text.body) < 0.6 * len(cpu.program.text.body)


def test_equal_kernels_stand_once():
    compiled = minidl.compile(lambda x, z: ((x * 2).exp(), (z * 2).exp()))
    compiled(tensor(A, device="standin"), tensor(B, device="standin"))
    assert compiled.source.count("ElementwiseKernel") == 1
    assert compiled.source.count("multiply_exp_kernel(") == 2


# ---- CUDA graphs


class Reader(nn.Module):
    def __init__(self):
        self.embed, self.lstm = nn.Embedding(5, 4), recurrent.LSTM(4, 6, 2)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(6, 5)

    def forward(self, x):
        return self.last(self.drop(self.lstm(self.embed(x))[0]))


GRAPHS = {
    "layer norm": lambda: nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 5)),
    "LSTM": Reader,
    "GPT": lambda: transformer.GPT(5, 8, 12, 3, 1, dropout=0.1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_a_replayed_step_is_the_step(name, monkeypatch):
    """Losses and weights after six steps with a schedule, dropout, and a state that is loaded."""
    tokens = np.random.default_rng(0).integers(0, 5, (6, 2, 8))
    seen = []
    for cuda_graph in (False, True):
        minidl.manual_seed(0)
        model = GRAPHS[name]().to("standin")
        batches = [tensor(t, device="standin") for t in tokens]
        monkeypatch.setattr(standin, "cuda", SimpleNamespace(Stream=Stream), raising=False)
        optimizer = optim.Adam(model.parameters(), 0.02, schedule=optim.step_decay(2, 0.5))
        step = minidl.compile(learning(model, optimizer), cuda_graph=cuda_graph)
        losses = []
        for i, x in enumerate(batches):
            losses.append(step(x, batches[i - 1]).item())
            if i == 3:
                p = model.parameters()[0]
                p.data = standin.asarray(p.data._a * 0.5)
        seen.append([losses, *(p.numpy() for p in model.parameters())])
        monkeypatch.delattr(standin, "cuda")
    for a, b in zip(*seen):
        np.testing.assert_array_equal(a, b)
    pieces = step.source.count("@replayed(np)")
    assert pieces == step.source.count("def piece") > 0
    body = step.source[step.source.index("def step(") :]
    assert not [i for i in range(pieces) if f"        piece{i}()\n" not in body]


def test_a_piece_takes_no_name_of_the_user_s(monkeypatch):
    def function(x):
        piece0 = x.sum(0)
        piece1 = piece0 * 2
        return (piece1 + 1).exp().sum(), piece1

    x = tensor(A, device="standin")
    monkeypatch.setattr(standin, "cuda", SimpleNamespace(Stream=Stream), raising=False)
    step = minidl.compile(function, cuda_graph=True, passes=())
    for _ in range(4):
        np.testing.assert_allclose(step(x)[1].numpy(), 2 * A.sum(0), rtol=1e-6)
    assert "def piece0_():" in step.source


def test_a_trainer_takes_the_options_of_compile(monkeypatch):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    trainer = Trainer(
        model, optim.SGD(model.parameters(), 0.1), "cross_entropy", device="standin",
        compile={"cuda_graph": True},
    )  # fmt: skip
    batch = standin.asarray(A), standin.asarray(np.array([0, 1, 2]))
    monkeypatch.setattr(standin, "cuda", SimpleNamespace(Stream=Stream), raising=False)
    losses = [trainer.train_step(batch)["loss"] for _ in range(5)]
    assert losses == sorted(losses)[::-1] and "@replayed(np)" in trainer.compiled.source


def test_what_a_piece_may_hold():
    """Nothing that allocates, multiplies matrices, or reads inputs and numbers."""
    step = minidl.compile(
        lambda x, z: (((y := (z * 2 + x).sum(0)) + 1) * y.exp(), minidl.where(z > 0, y, z)),
        cuda_graph=True,
    )
    step(tensor(A, device="standin"), tensor(A, device="standin"))
    inside = [s for s in step.source.splitlines() if s.startswith(" " * 8)]
    pieces = step.source[: step.source.index("def step(")]
    assert "np.sum" not in pieces and "np.where" not in pieces and inside
    with pytest.raises(ValueError, match="cuda_graph=True is for arrays on a GPU"):
        minidl.compile(lambda x: x * 2, cuda_graph=True)(A)


CUDA = """#include <cuda_fp16.h>
struct float16 {
    half h;
    __device__ float16(float v) : h(v) {}
    __device__ operator float() const { return h; }
};
"""


def through_nvidias_compiler(folder):
    """Compile the texts that this process has made and has not tried yet, and return the errors."""
    texts = [t for t in dict.fromkeys(in_c.ElementwiseKernel.made) if t not in tried]
    tried.update(texts)
    if not texts:
        return ""
    text = CUDA
    for i, (takes, gives, body, name) in enumerate(texts):
        const, out = in_c.parameters(takes), in_c.parameters(gives)
        kinds = in_c.TYPES | {"bool": "bool", "float16": "float16"}
        places = [(n, f"const {kinds[k.name]}") for n, k in const]
        places += [(n, kinds[k.name]) for n, k in out]
        arguments = ", ".join(f"{kind} *p_{n}" for n, kind in places)
        names = "".join(f"{kind} &{n} = p_{n}[threadIdx.x];\n" for n, kind in places)
        first = f" {name}(" not in text  # under its own name, which must not be C's
        text += f'extern "C" __global__ void {name}' if first else f"__global__ void {name}_{i}"
        text += f"({arguments}) {{\n{names}{body}\n}}\n"
    path = folder / "kernels.cu"
    path.write_text(text, encoding="utf-8")
    command = ["nvcc", "-ptx", "-arch=sm_90", "-fmad=false", "-o", str(folder / "out"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr or f"nvcc ended with {done.returncode}" if done.returncode else ""


tried = set()


@pytest.fixture(scope="module", autouse=True)
def _the_others_are_cuda_too(request, tmp_path_factory):
    """When several processes share the tests, each has made texts that the test below never saw."""
    yield
    if shutil.which("nvcc") and request.config.option.markexpr != "not slow":
        assert through_nvidias_compiler(tmp_path_factory.mktemp("cuda")) == ""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("nvcc"), reason="there is no nvcc here")
def test_kernels_are_cuda(tmp_path):
    """All texts that the tests above have made go through NVIDIA's own compiler."""
    training("standin")
    x = given(drawn(2).astype("float16"))
    line = Line("exp", (x,), {}, Value(drawn(2).astype("float16")))
    Kernel([line], [line.out]).text()
    assert through_nvidias_compiler(tmp_path) == ""


def test_a_number_in_the_text_is_no_argument():
    x, number = given(drawn(3, 4)), Value(np.array([[0.5]], "f"), "constant", data=0.5)
    line = Line("multiply", (x, number), {}, Value(drawn(3, 4)))
    assert Kernel([line], [line.out]).args == (x,)
