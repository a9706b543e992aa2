"""The benchmarks measure the same work: minidl's steps and PyTorch's give the same losses."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import in_c
import numpy as np
import pytest

from benchmarks import growth, memory, race, where
from benchmarks.workloads import WORKLOADS, product
from minidl import Tensor
from minidl.data import ArrayDataset, datasets

# Two batches, the first of them again: losses depend on the update too.
STEPS = (0, 1, 0)
CASES = [(name, {}) for name in WORKLOADS] + [
    ("W1", {"fused": True}), ("W2", {"fused": True}), ("W3", {"fused": True}),
    ("W3", {"channels_last": True}),
]  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """In the place of Fashion-MNIST, which is large and may have to be fetched, noise."""

    def noise(flat, fallback):
        rng = np.random.default_rng(0)
        x = rng.random((400, 784) if flat else (400, 1, 28, 28), dtype=np.float32)
        return ArrayDataset(x, rng.integers(10, size=400)), None

    monkeypatch.setattr(datasets, "fashion_mnist", noise)


def test_only_the_twins_need_pytorch():
    """All else of benchmarks is imported where there is no PyTorch, as on a learner's machine."""
    root = Path(race.__file__).resolve().parent.parent
    needing = {"overhead", "twins"}  # these do nothing but compare with it
    stems = sorted({path.stem for path in (root / "benchmarks").glob("[a-z]*.py")} - needing)
    code = "import sys; sys.modules['torch'] = None\nfrom benchmarks import " + ", ".join(stems)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# From the ground up: a module imports only those before it, at its top or inside a function.
ORDER = """
    workloads twins race memory overhead pictures growth gpu where scaling serving __main__
""".split()
FOLDER = Path(race.__file__).resolve().parent


def imported(source):
    """Dotted names of the modules that `source` imports; of this folder's without the folder."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module not in (None, "benchmarks"):
            yield node.module.removeprefix("benchmarks.")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.name.removeprefix("benchmarks.") for alias in node.names)


def wrong_imports(name, source):
    """Of what module `name` imports from this folder, what does not stand before it in ORDER."""
    return [other for other in imported(source) if other in ORDER[ORDER.index(name) :]]


def test_every_module_has_its_place_in_the_order():
    assert {path.stem for path in FOLDER.glob("*.py")} == {*ORDER, "__init__"}
    assert not ast.parse((FOLDER / "__init__.py").read_text(encoding="utf-8")).body[1:], (
        "only its docstring"
    )


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_one_way(name):
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert wrong_imports(name, source) == []


@pytest.mark.parametrize(
    "name, source, wrong",
    [
        ("twins", "from .workloads import WORKLOADS", []),
        ("twins", "import race_of_others, torch", []),
        ("workloads", "def f():\n    from . import twins", ["twins"]),
        ("workloads", "from .twins import step", ["twins"]),
        ("workloads", "from benchmarks import race, twins", ["race", "twins"]),
        ("workloads", "import benchmarks.race", ["race"]),
        ("workloads", "from benchmarks.race import median", ["race"]),
        ("race", "from .race import median", ["race"]),
    ],
)
def test_the_order_of_imports_is_noticed(name, source, wrong):
    assert wrong_imports(name, source) == wrong


@pytest.mark.parametrize("name, options", CASES)
def test_both_libraries_do_the_same_work(torch, small, name, options):
    from benchmarks import twins

    work = WORKLOADS[name]
    x, y = work.arrays(2)
    ours, theirs = work.minidl_step(), twins.step(work, **options)
    last = options.get("channels_last", False)
    a, b = twins.tensors(x, channels_last=last), twins.tensors(y)
    seen = []
    for i in STEPS:
        loss, twin = ours(Tensor(x[i]), Tensor(y[i])), theirs(a[i], b[i])
        np.testing.assert_allclose(loss.numpy(), twin.detach().numpy(), rtol=1e-4, atol=1e-5)
        seen.append(loss.numpy())
    assert np.any(seen[0] != seen[2]) == work.training


def test_scikit_learn_does_the_work_of_w2(small):
    work = WORKLOADS["W2"]
    x, y = work.arrays(3)
    pytest.importorskip("sklearn", reason="waits for scikit-learn")
    run, step = race.sklearn_run(work, x, y), work.minidl_step()
    losses = [step(Tensor(a), Tensor(b)).item() for a, b in zip(x, y)]
    np.testing.assert_allclose([run(i, i + 1) for i in range(2)], losses[:2], rtol=1e-4)


def test_arithmetic_is_counted():
    flops, elements = product(5, 3, 2, gradients=0)
    assert (flops, elements) == (2 * 5 * 3 * 2, 15 + 6 + 10)
    weights = sum(math.prod(shape) for shape in ((784, 256), (256, 128), (128, 10)))
    for name, batch in ("W2 predicts 128", 128), ("W2 predicts 1", 1):
        assert WORKLOADS[name].cost()[0] == 2 * batch * weights
    # All three products of each layer but the first one's gradient of its input.
    assert WORKLOADS["W2"].cost()[0] == 2 * 128 * (3 * weights - 784 * 256)
    # A window of nine places does nine times the arithmetic of one, on the same image.
    assert product(8, 2, 4, window=9)[0] == 9 * product(8, 2, 4)[0]


def turns(seconds, losses=(1.0, 1.0), steps=(2.0, 1.5)):
    return {"losses": list(steps), "first": 1.0, "turns": [
        {"seconds": s, "loss": loss, "memory": 0} for s, loss in zip(seconds, losses)
    ]}  # fmt: skip


def test_ratios_are_taken_inside_a_round():
    results = {race.BASE: turns([2.0, 9.0]), "minidl": turns([1.0, 3.0])}
    assert race.ratios(results, "minidl") == [2.0, 3.0]
    results["minidl"] = {"missing": "no compiler", "turns": []}
    assert race.ratios(results, "minidl") == [] and math.isnan(race.median([]))


@pytest.mark.parametrize(
    "other, complaint",
    [
        (turns([1, 1]), ""),
        (turns([1, 1], steps=(2.0, 1.51)), "the loss of step 2 is 1.51, PyTorch's 1.5"),
        (turns([1, 1], losses=(1.0, 1.2)), "the loss of turn 2 is 1.2, PyTorch's 1"),
        (turns([1, 1], losses=(math.nan, 1.0)), "the loss of turn 1 is nan, PyTorch's 1"),
        ({"missing": "no compiler", "turns": []}, ""),
    ],
)
def test_other_work_is_noticed(other, complaint):
    assert race.difference({race.BASE: turns([1, 1]), "minidl": other}, "minidl") == complaint


@pytest.mark.slow
def test_a_race_goes_on_without_who_cannot_run():
    names = ["minidl", "no such variant"]
    results = race.race("W1", rounds=2, threads=1, names=names)
    assert results["no such variant"] == {"missing": "'no such variant'", "turns": []}
    found = results["minidl"]
    assert len(found["turns"]) == 2 and len(found["losses"]) == race.CHECKED
    last = [turn["loss"] for turn in found["turns"]]
    assert found["losses"][0] > found["losses"][-1] > last[0] > last[1]


def test_growth_counts_the_arithmetic_of_each_size():
    flops, times = growth.measure([2, 4, 8], lambda n: growth.perceptron(n, 16, 1), rounds=1)
    assert flops[2] - flops[1] == 2 * (flops[1] - flops[0])  # the update is the same for all
    assert {v: len(t) for v, t in times.items()} == {"eager": 3, "compiled": 3}
    assert (
        growth.row("MLP", [2, 4], [10, 30], {"eager": [1, 2]})
        == "| MLP 2 to 4 | 3 (3.00) | 2 (2.00) |"
    )


def test_every_line_of_a_profile_has_a_kind():
    texts = ["np.dot(a, b, out=c)", "np.add.reduce(a, axis=0, out=b)", "np.exp(a, out=b)",
             "w3[...] = w4", "np.concatenate((a, b), axis=1, out=c)"]  # fmt: skip
    assert [where.kind(t) for t in texts] == ["products", "sums", "elementwise", "moves", "moves"]
    assert where.row("W1").startswith("| W1 | ") and where.row("W1").count("|") == 8


# ---- memory


def test_the_record_is_counted_each_memory_once():
    x, w = Tensor(np.ones((4, 5))), Tensor(np.ones((5, 3)), requires_grad=True)
    y = x @ w
    same = y.reshape(3, 4)  # of the same memory
    found = memory.kept((same.exp() + same).sum())
    assert found == {"sum": 8, "add": 96, "exp": 96, "reshape": 96}


def test_memory_is_a_table_and_stays_in_the_page():
    def runs(peak, kept=None):
        return [{"peak": peak, "kept": kept, "loss": 1.0}]

    results = {("W3", "minidl"): runs(6e6, 4e6), ("W3", race.BASE): runs(3e6)}
    rows = [*memory.table(results)][2:]
    assert rows == ["| W3 | minidl | 6 (2.00) | 4 |", "| W3 | PyTorch | 3 (1.00) |  |"]
    page = "# minidl measured\n\n## Memory\n\n| table |\n"
    assert memory.section(page) == "\n## Memory\n\n| table |\n"
    assert memory.section("# minidl measured\n") == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is that of Linux's /proc")
def test_memory_of_training_is_near_what_the_record_keeps(monkeypatch):
    tiny = memory.cnn("", (3, 8, 8), (True, True), 8 * 16 * 16)
    tiny.arrays = lambda steps: memory.pictures(steps, batch=32, size=64)
    monkeypatch.setitem(memory.WORK, "tiny", tiny)
    eager, compiled = (memory.measure("tiny", v) for v in ("minidl", "minidl compiled"))
    assert eager["loss"] == pytest.approx(compiled["loss"], rel=1e-5)
    # The result of the first convolution, its ReLU and its pooling, and of the second: 17 MB.
    assert 10e6 < eager["kept"] < 15e6 and eager["peak"] < 40e6
    assert compiled["kept"] < eager["kept"]


# ---- on a device


@pytest.mark.slow
@pytest.mark.parametrize("name", ["W1", "W3", "W4", "W5"])
def test_a_step_on_a_device_is_the_same_work(name, small, monkeypatch):
    from benchmarks import gpu

    monkeypatch.setattr(in_c, "MANY", 0)

    arrays = gpu.batch(name, 1)
    expected = gpu.ours(name, arrays, "cpu")()
    for options in ({}, gpu.COMPILED):
        step = gpu.ours(name, arrays, "standin", **options)
        assert step() == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(step())


def test_the_race_on_a_device_refuses_other_work(torch):
    from benchmarks import gpu

    arrays = gpu.batch("W1", 2)
    runs = {"minidl": gpu.ours("W1", arrays, "cpu"), "PyTorch": gpu.theirs("W1", arrays, "cpu")}
    found = gpu.race(runs, rounds=2, least=0.0)
    assert {v: len(seconds) for v, seconds in found.items()} == {"minidl": 2, "PyTorch": 2}
    seconds = {"minidl": [1.0, 1.0], "PyTorch": [2.0, 2.0]}
    assert gpu.row("W1", 2, seconds) == "| W1 | 2 | 2e+03 | 2.00 |"
    with pytest.raises(ValueError, match="not the same work"):
        gpu.race({"minidl": lambda: 1.0, "PyTorch": lambda: 1.1}, rounds=1)
