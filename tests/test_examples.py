"""The examples, run small as a reader runs them, and the pieces whose figures a page quotes."""

import importlib.util
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl import io, nn
from minidl.data import ArrayDataset, datasets
from minidl.engine import random

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NEEDS = {  # module, whose it is, the extra that installs it
    "server": ("uvicorn", "starlette", "serve"),
    "cluster_search": ("dask", "dask", "cluster"),
}


def load(name):
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, folder, *options):
    """What an example prints, run in a process of its own."""
    command = [sys.executable, EXAMPLES / f"{name}.py", *options, "--out", folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def names():
    return load("names_lstm")


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_help_begins_with_the_first_line(path):
    if path.stem in NEEDS:
        module, name, extra = NEEDS[path.stem]
        pytest.importorskip(module, reason=f"waits for {name} (pip install -e '.[{extra}]')")
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first = path.read_text(encoding="utf-8").partition("\n")[0].strip('"')
    assert first in " ".join(done.stdout.split())


# --- on each device: in this process, which knows the stand-in ---------------------------------

IMAGES = {"fashion_mnist": (784,), "fashion_cnn": (1, 28, 28)}


def run_here(name, folder, monkeypatch, *options):
    """The example, run by its `main` on little data; and the models that it made."""
    example, made = load(name), []

    def images(**_):
        rng = np.random.default_rng(0)
        return [ArrayDataset(rng.random((n, *IMAGES[name]), "f"), rng.integers(0, 10, n))
                for n in (200, 50)]  # fmt: skip

    def remembered(make):
        return lambda *args, **given: made.append(make(*args, **given)) or made[-1]

    model = "Speller" if name == "names_lstm" else "Trainer"
    monkeypatch.setattr(example, model, remembered(getattr(example, model)))
    if name == "names_lstm":
        parts = [part[:n] for part, n in zip(example.read(), (200, 20, 20))]
        monkeypatch.setattr(example, "read", lambda: parts)
    if name == "tiny_gpt":
        write = example.GPT.generate

        def write_little(model, ids, n, **given):
            return write(model, ids[:2], 9, **given)

        monkeypatch.setattr(example.GPT, "generate", write_little)
    monkeypatch.setattr(datasets, "fashion_mnist", images)
    monkeypatch.setattr(sys, "argv", [name, *options, f"--out={folder}"])
    example.main()
    return made[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fashion_mnist", "fashion_cnn", "tiny_gpt"])
def test_an_example_runs_on_a_device_and_goes_on_on_the_cpu(
    name, tmp_path, device, monkeypatch, capsys
):
    small = ["--characters=2000"] if name == "tiny_gpt" else []
    for epochs, home in (1, device), (2, "cpu"):
        options = f"--epochs={epochs}", f"--device={home}", *small
        trainer = run_here(name, tmp_path, monkeypatch, *options)
        assert {t.device for _, t in trainer.model.tensors()} == {home}
        assert trainer.epoch == epochs == len(trainer.history["valid_loss"])
        np.testing.assert_array_equal(np.isfinite(trainer.history["valid_loss"]), True)
        assert f"curves are in {tmp_path}" in capsys.readouterr().out.replace("and checkpoint ", "")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_names_lstm_runs_on_a_device(tmp_path, device, monkeypatch, capsys):
    options = "--epochs=1", "--hidden=8", f"--device={device}"
    model = run_here("names_lstm", tmp_path, monkeypatch, *options)
    assert {t.device for _, t in model.tensors()} == {device}
    assert re.search(r"LSTM +\d+\.\d\d +\d+\.\d\d\n", capsys.readouterr().out)
    assert (tmp_path / "curves.png").stat().st_size > 10_000


# --- names_lstm.py ---------------------------------------------------------------------------


@pytest.mark.slow
def test_names_lstm_runs(tmp_path):
    out = run("names_lstm", tmp_path, "--epochs", "1", "--hidden", "8")
    assert re.search(r"counting, 4 back +\d\.\d\d +\d\.\d\d\nLSTM +\d+\.\d\d +\d+\.\d\d\n", out)
    assert re.search(
        r"female: \d+% of 1000 names .*\n  .+\nmale: \d+% of 1000 names .*\n  .+\n", out
    )
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_no_test_name_is_read_in_training(names):
    parts = names.read()
    assert [len(part) for part in parts] == [4395, 549, 550]
    spelled = [{tuple(row[1:]) for row in part} for part in parts]
    assert not spelled[0] & spelled[1] and not (spelled[0] | spelled[1]) & spelled[2]


def test_padding_changes_nothing(names, device):
    model = names.Speller(8).to(device).eval()
    rows = [names.VOCABULARY.encode(["male", *name, "."]) for name in ("jo", "maximilian", "al")]
    n = [len(row) - 1 for row in rows]
    alone = [names.loss(model, [row]).item() for row in rows]
    assert names.loss(model, rows).item() == pytest.approx(np.average(alone, weights=n), rel=1e-5)


@pytest.mark.slow
def test_it_learns_a_name_by_heart(names, device):
    model = names.Speller(32).to(device)
    anna = [names.VOCABULARY.encode(["female", *"anna."])] * 64
    history = names.train(model, anna, anna, epochs=100, rng=np.random.default_rng(0))
    assert history["training"][0] > 20 and history["training"][-1] < 1.1
    assert names.write(model, "female", 100, np.random.default_rng(0)).count("anna") > 70


def test_the_same_seed_gives_the_same_names(names, device):
    rows, valid, _ = names.read()
    found = []
    for _ in range(2):
        random.manual_seed(3)
        model, rng = names.Speller(8).to(device), np.random.default_rng(3)
        history = names.train(model, rows[:200], valid[:20], 2, rng)
        found.append((history, names.write(model, "male", 5, rng)))
    assert found[0] == found[1]


def test_letters_are_drawn_as_the_model_gives_them(names, device):
    model, n = names.Speller(8).to(device), 4000
    p, _ = names.next_token(model, np.array([[names.VOCABULARY.numbers["male"]]]))
    p = p[0, 0, len(names.KINDS) :] / p[0, 0, len(names.KINDS) :].sum()
    first = [name[:1] for name in names.write(model, "male", n, np.random.default_rng(0))]
    found = np.array([first.count(letter) for letter in [*names.LETTERS, ""]]) / n
    np.testing.assert_allclose(found, p, atol=0.02)


def test_counting_one_back_by_hand(names):
    """Rows female a a . and male a b . , one token back, discount 1/2."""
    rows = [names.VOCABULARY.encode(row) for row in (["female", *"aa."], ["male", *"ab."])]
    a, b, end = names.VOCABULARY.encode("ab.")
    followed = names.count(rows, 1)
    assert followed[(a,)] == {a: 1, b: 1, end: 1}
    assert followed[()] == {a: 3, end: 2, b: 1}  # how many tokens they came after
    even = 1 / 27
    p_a, p_end = ((n - 0.5 + 0.5 * 3 * even) / 6 for n in (3, 2))
    logs = [
        math.log(0.5 + 0.5 * p_a),  # a after female, the only one seen
        math.log((0.5 + 0.5 * 3 * p_a) / 3),  # a after a
        math.log((0.5 + 0.5 * 3 * p_end) / 3),  # . after a
    ]
    got = names.counted_perplexity(followed, rows[:1], 1, 0.5)
    assert got == pytest.approx(math.exp(-sum(logs) / 3))


@pytest.mark.parametrize("n", [1, 3, 4])
def test_the_counted_probabilities_sum_to_one(names, n):
    rows, _, test = names.read()
    followed, row = names.count(rows, n), test[0]
    for i in range(1, len(row)):

        def likelihood(row, i=i):
            return names.counted_perplexity(followed, [row], n, 0.8) ** (1 - len(row))

        ways = range(len(names.KINDS), len(names.VOCABULARY))
        before = likelihood(row[:i]) if i > 1 else 1.0
        assert sum(likelihood([*row[:i], token]) for token in ways) == pytest.approx(before)


# --- grid_search.py --------------------------------------------------------------------------


@pytest.mark.slow
def test_grid_search_runs(tmp_path):
    out = run("grid_search", tmp_path, "--rounds", "1", "--epochs", "2")
    lines = re.findall(r"^[\d-]+, 0\.\d+ +(0\.\d{4}) ± .* s +(0\.\d{4}) ± .* s$", out, re.M)
    whole = re.findall(r"accuracy (0\.\d{4}) over the whole grid", out)
    assert len(lines) == 6
    np.testing.assert_allclose(np.mean(np.float64(lines), axis=0), np.float64(whole), atol=1e-4)
    assert re.search(r"time of MLPClassifier: \d+\.\d\d", out)
    assert (tmp_path / "grid.png").stat().st_size > 10_000


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_points_are_named_in_the_order_of_the_search():
    grid = load("grid_search")
    X, y = np.random.default_rng(0).normal(size=(160, 2)), np.arange(160) % 2
    for classifier, hidden, rate in grid.candidates(1, 0).values():
        tried = grid.search(classifier, hidden, rate, X, y, 2).cv_results_["params"]
        widths = ["-".join(map(str, point[f"net__{hidden}"])) for point in tried]
        rates = [point[f"net__{rate}"] for point in tried]
        assert [f"{a}, {b}" for a, b in zip(widths, rates)] == grid.points()


# --- eight_bits.py -----------------------------------------------------------------------------


def test_eight_bits_compares_files_with_the_models(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    example = load("eight_bits")
    monkeypatch.setattr(sys, "argv", ["eight_bits", f"--runs={tmp_path}", f"--out={tmp_path}"])
    rng = np.random.default_rng(0)
    parts = [ArrayDataset(rng.random((n, 1, 28, 28), "f"), rng.integers(0, 10, n)) for n in (9, 60)]
    monkeypatch.setattr(datasets, "fashion_mnist", lambda **_: parts)
    text = datasets.prose()[:9000]
    monkeypatch.setattr(datasets, "prose", lambda: text)
    monkeypatch.setattr(example, "CONTEXT", 8)
    encoding = example.BytePairEncoding.train(text[:8100], 512)
    with pytest.raises(SystemExit, match=r"is not there: run examples/fashion_cnn\.py first"):
        example.main()
    models = {
        "fashion_cnn": example.fashion_cnn.network(),
        "tiny_gpt": nn.GPT(len(encoding), 8, width=128, heads=4, layers=3),
    }
    for name, model in models.items():
        (tmp_path / name).mkdir()
        state = {f"model.{path}": a for path, a in model.state_dict().items()}
        io.save(tmp_path / name / "checkpoint.safetensors", state)
    example.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [[float(cell) for cell in line] for line in lines if line[0] in ("32", "8")]
    assert [row[0] for row in rows] == [32, 8, 32, 8]
    for bits, ours, theirs, apart, size in rows:
        np.testing.assert_allclose(ours, theirs, rtol=0.02, err_msg=f"{bits}, {apart}, {size}")
        assert apart < 1e-3
    assert rows[1][4] < 0.4 * rows[0][4] and rows[3][4] < 0.6 * rows[2][4], "smaller files"
