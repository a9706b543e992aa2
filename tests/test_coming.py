"""docs/coming.md: what it says of minidl is run, and what it says of PyTorch where PyTorch is."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import data, nn, optim, train
from minidl.nn import functional as F

PAGE = (Path(__file__).parent.parent / "docs" / "coming.md").read_text(encoding="utf-8")


def blocks(kind):
    """The page's programs of one kind, in order."""
    return re.findall(rf"^```python {kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def rows(title):
    """The cells of the table under a title, row by row."""
    table = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [re.split(r"\s*\|\s*", line)[1:-1] for line in lines[1:]]


def code(cell):
    """The code of a cell, or None."""
    match = re.fullmatch(r"`([^`]+)`", cell)
    return match and match[1]


def test_the_page_has_ten_idioms_in_each_language():
    assert len(re.findall(r"^### \d+\. ", PAGE, re.MULTILINE)) == 10
    kinds = ("torch", "keras", "minidl", "sklearn")
    assert [len(blocks(kind)) for kind in kinds] == [10, 10, 11, 1]
    for text in blocks("torch") + blocks("keras"):
        compile(text, "coming.md", "exec")


def test_the_minidl_column_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = {}
    for text in blocks("minidl"):
        exec(text, there)
    assert there["outputs"].shape == (200, 2)
    assert np.isfinite(there["penalty"].item())
    assert (tmp_path / "run.safetensors").exists()


def test_the_block_for_scikit_learn_runs():
    pytest.importorskip("sklearn", reason="waits for scikit-learn")
    there = {}
    exec(blocks("minidl")[0], there)
    exec(blocks("sklearn")[0], there)
    assert len(there["scores"]) == 2


def test_the_pytorch_column_runs(torch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = {}
    exec(
        "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
        "from torch.utils.data import DataLoader, TensorDataset, random_split\n"
        "x, y = torch.randn(200, 4), torch.arange(200) % 2\n"
        "dataset = TensorDataset(x, y)\n",
        there,
    )
    first = dict(there)
    for text in blocks("torch"):
        there |= {name: first[name] for name in "xy"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(text, there)


# --- the tables ----------------------------------------------------------------------------


def names():
    """What the code in the table of names needs."""
    array = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model(minidl.tensor(array)).sum().backward()
    return {
        "minidl": minidl, "nn": nn, "F": F, "optim": optim, "data": data, "train": train,
        "x": minidl.tensor(array), "mask": minidl.tensor(array > 0), "array": array,
        "labels": np.array([0, 1]), "dataset": data.ArrayDataset(array), "model": model,
        "around": lambda path, module, run: run(),
        "step": lambda x: x, "f": lambda x: x * x, "inputs": [minidl.tensor(array.astype(float))],
    }  # fmt: skip


def test_the_names_of_minidl_are_right():
    found = [code(ours) for _, _, ours in rows("Names") if code(ours)]
    assert len(found) > 25
    for text in found:
        eval(text, names())


def test_the_names_of_pytorch_mean_the_same(torch):
    compared = 0
    for theirs, _, ours in rows("Names"):
        others = "rand", "clip_grad", "compile"
        found = re.match(r"`(x\.|torch\.|\(x|F\.).*\(", theirs)
        if found and not any(word in theirs for word in others):
            x = torch.tensor(names()["array"])
            expected = eval(code(theirs), {"torch": torch, "x": x, "F": torch.nn.functional,
                                           "mask": x > 0})  # fmt: skip
            found = eval(code(ours), names())
            if isinstance(found, minidl.Tensor):
                assert found.dtype == expected.numpy().dtype
                found = found.numpy()
            np.testing.assert_array_equal(found, expected)
            compared += 1
    assert compared > 9


def test_what_means_something_else_does():
    x = minidl.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 6.0]])
    assert (x.size, x.shape) == (6, (2, 3))
    with pytest.raises(ValueError, match="all 2 in another order"):
        x.transpose(0, 1)
    np.testing.assert_array_equal(x.max(1).numpy(), [5, 6])
    np.testing.assert_array_equal(x.argmax(1).numpy(), [1, 2])
    np.testing.assert_allclose(x.std(1).numpy(), x.numpy().std(1), rtol=1e-6)
    np.testing.assert_allclose(x.std(1, ddof=1).numpy(), x.numpy().std(1, ddof=1), rtol=1e-6)
    empty = minidl.zeros(0, 3)
    assert np.isnan(empty.mean().item()) and empty.sum().item() == 0
    with pytest.raises(ValueError):
        empty.max()
    assert minidl.tensor(np.zeros(2)).dtype == "float64"
    assert minidl.tensor([0.5]).dtype == "float32"
    assert nn.Linear(3, 4).weight.shape == (3, 4)
    assert F.pad(minidl.zeros(1, 1, 2, 2), (1, 2)).shape == (1, 1, 4, 6)
    with pytest.raises(ValueError, match="one shape"):
        F.mse(minidl.zeros(3, 1), minidl.zeros(3))
    y = minidl.tensor([1.0], requires_grad=True)
    assert (
        minidl.grad((y * y).sum(), [x_ := minidl.tensor([1.0], requires_grad=True)])[0].item() == 0
    )
    assert x_.grad is None
    assert nn.BatchNorm(3).momentum == 0.1 and optim.RMSProp([y]).decay == 0.99
    batch = minidl.zeros(2, 5, 3)
    outputs, state = nn.GRU(3, 4)(batch)
    assert outputs.shape == (2, 5, 4) and state.shape == (1, 2, 4)


def test_every_row_has_its_cells():
    assert {len(row) for row in rows("What means something else here")} == {3}
    assert {len(row) for row in rows("Names")} == {3}
    assert len(rows("What means something else here")) > 20
    assert {len(row) for row in rows("scikit-learn")} == {2}
