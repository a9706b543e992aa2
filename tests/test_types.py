"""What a type checker, and so an editor, says about minidl: every public name has its types.

The checker is basedpyright: `pip install -e '.[types]'`.  Its settings are in pyproject.toml.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import WAITS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent

# What an editor knows of each expression, after HEAD.
HEAD = """
import numpy as np
import minidl
from minidl import nn, optim, train
from minidl.estimators import MinidlClassifier
x = minidl.tensor([[1.0, 2.0]], requires_grad=True)
w = minidl.tensor(np.ones((2, 3), "float32"))
model = minidl.nn.Linear(2, 3)
with minidl.no_grad():
    inside = x + 1
"""
COMPILED = "Compiled[..., Any] | None"
TYPES = [
    ("x", "Tensor"),
    ("minidl.tensor(3)", "Tensor"),
    ("x + 1", "Tensor"),
    ("1 - x", "Tensor"),
    ("np.float32(2) * x", "Tensor"),
    ("x ** 2", "Tensor"),
    ("x @ w", "Tensor"),
    ("-x", "Tensor"),
    ("x > 0", "Tensor"),
    ("0 < x", "Tensor"),
    ("x == w", "Tensor"),
    ("x != w", "Tensor"),
    ("x[0]", "Tensor"),
    ("x[0, :]", "Tensor"),
    ("[row for row in x]", "list[Tensor]"),
    ("x.sum()", "Tensor"),
    ("x.mean(axis=(0, 1), keepdims=True)", "Tensor"),
    ("x.exp()", "Tensor"),
    ("x.T", "Tensor"),
    ("x.reshape(2, 1)", "Tensor"),
    ("x.shape", "tuple[int, ...]"),
    ("x.device", "str"),
    ("x.grad", "Tensor | None"),
    ("x.backward()", "None"),
    ("x.sum().item()", "float"),
    ("minidl.grad(x.sum(), x)", "list[Tensor]"),
    ("minidl.where(x > 0, x, 0.0)", "Tensor"),
    ("minidl.stack([x, x])", "Tensor"),
    ("minidl.concatenate([x, x], axis=1)", "Tensor"),
    ("inside", "Tensor"),
    ("minidl.manual_seed(0)", "None"),
    ("minidl.no_grad()(len)", "(obj: Sized, /) -> int"),
    ("minidl.nn.Linear", "type[Linear]"),  # rooms are loaded late, and known all the same
    ("nn.Linear(2, 3)", "Linear"),
    ("model(x)", "Tensor"),
    ("model.parameters()", "list[Parameter]"),
    ("nn.functional.cross_entropy(model(x), w)", "Tensor"),
    ("optim.SGD(model.parameters(), lr=0.1).step()", "None"),
    ("optim.SGD(model.parameters()).parameters", "list[Tensor]"),
    ("train.Trainer(model, optim.SGD(model.parameters()), 'mse').compiled", COMPILED),
    ("MinidlClassifier().loss_curve_", "list[float]"),
]
# Made for `minidl.compile` and `minidl.onnx` alone, and met by nobody who calls them; and the
# entries of ONNX's tables, functions without a name.
INTERNAL = re.compile(
    r"minidl\.graph\.(?!costs|drawing)\w+\.(?!Compiled\b|compile\b)"
    r"|minidl\.onnx\.(runs|writer)\.(?!Rule\b)|minidl\.onnx\.\w+\._$"
)
MISTAKES = [
    "x + object()",
    "x + 'a'",
    "x @ None",
    "x.sum(axes=1)",
    "x.no_such_method()",
    "x.to(3)",
    "minidl.tensor([1.0], require_grad=True)",
    "minidl.grad(x.sum(), x, 1, True)",
    "minidl.manual_seed('a')",
    "minidl.no_such_name",
    "nn.NoSuchLayer(2, 3)",
]
EXAMPLES = {path.name: path for path in sorted((ROOT / "examples").glob("*.py"))}


def run(*args, cwd):
    """What basedpyright says, from JSON."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    program = shutil.which("basedpyright", path=os.pathsep.join(folders))
    if program is None:
        pytest.skip(WAITS + "basedpyright")
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [program, "--pythonpath", sys.executable, "--outputjson", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=here)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads(done.stdout)


def readme():
    """The examples in Python of README.md."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """File name -> what the checker said of it: triples (line from 0, severity, message)."""
    folder = tmp_path_factory.mktemp("types")
    reveal = "\n".join(f"reveal_type({expression})" for expression, _ in TYPES)
    (folder / "types.py").write_text(HEAD + reveal, encoding="utf-8")
    (folder / "mistakes.py").write_text(HEAD + "\n".join(MISTAKES), encoding="utf-8")
    for i, source in enumerate(readme()):
        (folder / f"readme_{i}.py").write_text(source, encoding="utf-8")
    for name, path in EXAMPLES.items():
        shutil.copy(path, folder / name)
    found = {path.name: [] for path in folder.glob("*.py")}
    shutil.copy(ROOT / "pyproject.toml", folder)
    answer = run("--project", folder, cwd=folder)
    assert answer["summary"]["filesAnalyzed"] == len(found), answer["summary"]
    for d in answer["generalDiagnostics"]:
        where = d["range"]["start"]["line"], d["severity"], d["message"]
        found[Path(d["file"]).name].append(where)
    return found


def errors(found):
    return [f"line {line + 1}: {message}" for line, kind, message in found if kind == "error"]


def test_what_an_editor_knows_of_an_expression(said):
    first = HEAD.count("\n")
    revealed = {}
    for line, kind, message in said["types.py"]:
        if kind == "information":
            revealed[line - first] = re.sub(r'^Type of ".*" is "(.*)"$', r"\1", message)
    wrong = {
        expression: revealed.get(i)
        for i, (expression, kind) in enumerate(TYPES)
        if revealed.get(i) != kind
    }
    assert not wrong


def test_right_uses_have_no_error(said):
    assert errors(said["types.py"]) == []


def test_a_mistake_is_reported(said):
    first = HEAD.count("\n")
    found = {line - first for line, kind, _ in said["mistakes.py"] if kind == "error"}
    assert not [text for i, text in enumerate(MISTAKES) if i not in found]


def test_readme_has_no_type_error(said):
    assert readme(), "README.md has an example in Python"
    assert not [e for i in range(len(readme())) for e in errors(said[f"readme_{i}.py"])]


def test_examples_have_no_type_error(said):
    assert len(EXAMPLES) > 3
    assert [f"{name}: {e}" for name in EXAMPLES for e in errors(said[name])] == []


def unannotated(symbols):
    """Name -> what is missing, for the public names that an annotation fails or is unknown."""
    for symbol in symbols:
        messages = [d["message"] for d in symbol["diagnostics"]]
        missing = [
            m
            for m in messages
            if re.search(r"annotation .*is missing", m)
            or ("missing type annotation" in m and "Unknown" in m)
        ]
        if symbol["isExported"] and missing:
            yield symbol["name"], missing[0].partition("\n")[0]


def test_every_public_name_is_annotated(tmp_path):
    answer = run("--verifytypes", "minidl", "--ignoreexternal", cwd=tmp_path)
    symbols = answer["typeCompleteness"]["symbols"]
    assert len(symbols) > 500, answer["generalDiagnostics"]
    found = dict(unannotated(symbols))
    assert {name: what for name, what in found.items() if not INTERNAL.match(name)} == {}


def test_what_is_not_annotated_is_noticed():
    def symbol(name, message):
        return {"name": name, "isExported": True, "diagnostics": [{"message": message}]}

    inferred = (
        "Type is missing type annotation and could be inferred differently\nInferred type is "
    )
    found = unannotated(
        [
            symbol("minidl.a", 'Type annotation for parameter "x" is missing'),
            symbol("minidl.b", "Return type annotation is missing"),
            symbol("minidl.c", inferred + '"dict[Unknown, Unknown]"'),
            symbol("minidl.d", inferred + '"int"'),
            symbol("minidl.e", 'No docstring found for function "minidl.e"'),
            symbol("minidl.f", 'Type of parameter "x" is partially unknown'),
        ]
    )
    assert [name for name, _ in found] == ["minidl.a", "minidl.b", "minidl.c"]
