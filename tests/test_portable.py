"""What macOS and Windows ask of the files here, as far as it can be checked on another system:
encodings, names, modules that only Unix has, and what stands in where Unix's signals are missing.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = "minidl exercises course benchmarks examples tests".split()
PROGRAMS = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.is_file()
)
UNIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def source(path):
    return path.read_text(encoding="utf-8")


# ---- text


def without_encoding(tree):
    """Lines that open a file of text in whatever encoding the system prefers: cp1252 on Windows."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        name = called.rpartition(".")[2]
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in ("read_text", "write_text"):
            given = len(node.args) > (name == "write_text")
        elif called in ("open", "io.open", "os.fdopen", "gzip.open") or name == "open_text":
            mode = named.get("mode", node.args[1] if len(node.args) > 1 else None)
            given = isinstance(mode, ast.Constant) and "b" in mode.value
            given = given or (called == "gzip.open" and mode is None)
        else:
            continue
        if not given and "encoding" not in named and None not in named:
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_is_read_and_written_in_a_named_encoding(folder):
    found = {}
    for path in PROGRAMS:
        if name_of(path).startswith(f"{folder}/"):
            found[name_of(path)] = list(without_encoding(ast.parse(source(path))))
    assert len(found) > 3
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line, found",
    [
        ("open(path)", 1),
        ("open(path, 'w', newline='')", 1),
        ("open(path, mode='a')", 1),
        ("open(path, 'rb')", 0),
        ("open(path, encoding='utf-8')", 0),
        ("open(path, **options)", 0),
        ("os.fdopen(there)", 1),
        ("Image.open(path)", 0),
        ("gzip.open(path)", 0),
        ("gzip.open(path, 'rt')", 1),
        ("path.read_text()", 1),
        ("path.read_text('utf-8')", 0),
        ("path.write_text(text)", 1),
        ("path.write_text(text, encoding='utf-8')", 0),
        ("path.read_bytes()", 0),
    ],
)
def test_an_encoding_that_is_not_named_is_noticed(line, found):
    assert len(list(without_encoding(ast.parse(line)))) == found


def code_cells(path):
    """The code of a notebook's cells, lines for IPython left out."""
    for cell in json.loads(source(path))["cells"]:
        if cell["cell_type"] == "code":
            lines = "".join(cell["source"]).splitlines()
            yield "\n".join("" if re.match(r"\s*[%!]", line) else line for line in lines)


def test_cells_that_name_no_encoding_write_and_read_ascii():
    """A lesson may write a file in the simplest way where no system would spell it differently."""
    found = {}
    for path in sorted([*(ROOT / "course").glob("*.ipynb"), *(ROOT / "solutions").glob("*.ipynb")]):
        for text in code_cells(path):
            if list(without_encoding(ast.parse(text))) and not text.isascii():
                found[path.name] = text
    assert found == {}
    assert (ROOT / "course/trained/18_gpt.log").read_bytes().isascii(), "lesson 18 reads it so"


# ---- names and line ends

RESERVED = {"con", "prn", "aux", "nul"} | {f"{n}{i}" for n in ("com", "lpt") for i in range(10)}


def names():
    """Names, from the root on, of what this project is made of: what git holds, or all there is."""
    listed = ["git", "ls-files", "-z"]
    if (ROOT / ".git").exists() and shutil.which("git"):
        done = subprocess.run(listed, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        return [name for name in done.stdout.split("\0") if name]
    tops = [ROOT / folder for folder in (*FOLDERS, "docs", "solutions", ".ci", ".github")]
    found = [path for top in tops for path in sorted(top.rglob("*"))]
    return [name_of(path) for path in (*sorted(ROOT.glob("*.*")), *found) if path.is_file()]


def wrong_names(found):
    """Names that Windows refuses, or that it and macOS take for one another."""
    seen = {}
    for name in found:
        for part in name.split("/"):
            if re.search(r'[<>:"|?*\\\x00-\x1f]', part) or part[-1] in " .":
                yield f"{name}: {part!r} holds what Windows refuses"
            if part.partition(".")[0].lower() in RESERVED:
                yield f"{name}: {part!r} is a device of Windows"
        if not name.isascii():
            yield f"{name}: macOS may spell it differently"
        if seen.setdefault(name.lower(), name) != name:
            yield f"{name} is {seen[name.lower()]} where case does not count"
        if len(name) > 120:
            yield f"{name} is too long below a folder of a user of Windows"


def test_every_system_can_hold_the_files():
    found = [name for name in names() if "__pycache__" not in name]
    assert {"README.md", "minidl/engine/ops.py", ".ci/run"} <= set(found)
    assert list(wrong_names(found)) == [], "a name that Windows or macOS takes otherwise"
    assert not [name for name in found if (ROOT / name).is_symlink()]


@pytest.mark.parametrize(
    "found, n",
    [
        (["a/b.py", "a/c.py"], 0),
        (["a/b:c.py"], 1),
        (["a/aux.py"], 1),
        (["docs/Readme.md", "docs/README.md"], 1),
        (["a /b"], 1),
        (["größe.md"], 1),
        (["a/" * 70], 1),
    ],
)
def test_a_name_that_some_system_refuses_is_noticed(found, n):
    assert len(list(wrong_names(name.strip("/") for name in found))) == n


def test_git_gives_every_system_the_same_line_ends():
    """A page's checksums, and the comparison of a lesson with the package, are of bytes."""
    assert "* text=auto eol=lf" in source(ROOT / ".gitattributes").splitlines()
    text = [path for path in (ROOT / "minidl").rglob("*") if path.suffix in (".py", ".js", ".css")]
    assert [name_of(path) for path in text if b"\r" in path.read_bytes()] == []


# ---- what only Unix has


def imports_of_unix(tree):
    """Modules of Unix that a file needs as soon as it is imported."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in UNIX_ONLY)
        elif isinstance(node, ast.ImportFrom) and node.module in UNIX_ONLY:
            yield node.module
        elif not isinstance(node, (ast.Try, ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = ast.iter_child_nodes(node)
            waiting += [child for child in inside if isinstance(child, ast.stmt)]


def test_no_file_needs_a_module_of_unix_to_be_imported():
    found = {name_of(path): list(imports_of_unix(ast.parse(source(path)))) for path in PROGRAMS}
    assert {name: modules for name, modules in found.items() if modules} == {}
    guarded = "try:\n    import grp\nexcept ImportError:\n    grp = None"
    example = ast.parse(f"import os, pwd\nif x:\n    import fcntl\n{guarded}")
    assert set(imports_of_unix(example)) == {"pwd", "fcntl"}


# This process without what Windows lacks, so far as Python lets it be taken away.  `os.name` and
# paths stay Unix's: pathlib makes no path of Windows elsewhere.
OTHERS = """if True:  # what others wrote is imported as this system has it
    import asyncio, concurrent.futures.process, multiprocessing.context, webbrowser
    import nbformat, IPython, matplotlib.pyplot, tqdm.auto
"""
LIKE_WINDOWS = f"""if True:
    import ctypes, os, signal, subprocess, sys, tempfile, threading, numpy
    for name in {sorted(UNIX_ONLY)}:
        sys.modules[name] = None  # an import of it raises ImportError
    for name in ("SIGALRM SIGPROF SIGVTALRM SIGHUP SIGUSR1 SIGXFSZ SIGSTOP setitimer "
                 "getitimer pause").split():
        delattr(signal, name)
    for name in ("fork killpg setsid getuid geteuid mkfifo sysconf uname sched_getaffinity "
                 "memfd_create getpgid nice wait3 wait4 statvfs chown").split():
        if hasattr(os, name):  # macOS lacks some too
            delattr(os, name)
    sys.platform = "win32"
"""


def like_windows(code):
    """What a program prints in which the names that Windows lacks are gone."""
    done = subprocess.run(
        [sys.executable, "-c", OTHERS + LIKE_WINDOWS + code, LIKE_WINDOWS],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


EVERY_MODULE = """
    import importlib, pathlib
    root = pathlib.Path.cwd()
    for folder, place in ("minidl", root), ("grading", root / "exercises"):
        for path in sorted((place / folder).rglob("*.py")):
            name = ".".join(path.relative_to(place).with_suffix("").parts)
            if not name.endswith("__main__") and name not in ("grading.child", "minidl.estimators"):
                importlib.import_module(name.removesuffix(".__init__"))
    print(len([name for name in sys.modules if name.startswith(("minidl", "grading"))]))
"""


@pytest.mark.slow
def test_everything_is_imported_without_what_windows_lacks():
    pytest.importorskip("onnx", reason="waits for onnx (pip install -e '.[onnx]')")
    pytest.importorskip("IPython", reason="waits for IPython (pip install -e '.[learn]')")
    assert int(like_windows(EVERY_MODULE)) > 90


TRAINS_AND_GRADES = """
    import numpy as np
    from minidl import nn, optim
    from minidl.data import ArrayDataset, DataLoader
    from minidl.nn import functional as F
    from minidl.train import Trainer
    x = np.eye(8, dtype="float32").repeat(4, 0)
    data = ArrayDataset(x, x.argmax(1))
    model = nn.Linear(8, 8)
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.3), loss=F.cross_entropy)
    history = trainer.fit(DataLoader(data, 8, workers=2), epochs=5, progress=False)
    print(history["loss"][0] > history["loss"][-1])

    from grading import sandbox
    from grading.audit import verdict_on
    from grading.task import find
    from grading.verdict import grade

    def nothing(path):
        raise FileNotFoundError(path)

    # There is no /proc, and what runs the submission lacks the same.
    sandbox._read = nothing
    child = sys.argv[1] + "    import runpy; runpy.run_path(sys.argv[1], None, '__main__')"
    words = [sys.executable, "-P", "-B", "-c", child, str(sandbox.HERE / "child.py")]
    sandbox.command = lambda *_: (words, ())
    task = find("07.1")
    print(verdict_on(task, task.right[0]).points == task.points)
    print(sandbox.available(), sum(v.points for v in grade("solutions/07_tensor.ipynb", seed=1)))
"""


@pytest.mark.slow
def test_a_network_is_trained_and_a_notebook_graded_without_what_windows_lacks():
    """Limits are then those of the clock, in the process that asks; there is no sandbox."""
    pytest.importorskip("IPython", reason="waits for IPython (pip install -e '.[learn]')")
    assert like_windows(TRAINS_AND_GRADES).split() == ["True", "True", "False", "13.0"]


# ---- what is printed where the system's encoding is small


def test_a_name_that_the_terminal_cannot_spell_is_printed_as_an_escape(tmp_path):
    """On Windows what goes into a file or a pipe is cp1252."""
    path = tmp_path / "学生_07.ipynb"
    path.write_text("{", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; os.environ['X'] = ''\n"
         "sys.stdout.reconfigure(encoding='cp1252'); sys.stderr.reconfigure(encoding='cp1252')\n"
         "from grading.__main__ import main; sys.exit(main(sys.argv[1:]))", str(path)],
        cwd=ROOT, capture_output=True,
    )  # fmt: skip
    assert b"Traceback" not in done.stderr and done.returncode == 1, done.stderr
    assert b"\\u5b66\\u751f_07.ipynb" in done.stdout


@pytest.mark.slow
def test_what_a_submission_prints_is_spelled_whatever_the_system_prefers(monkeypatch, tmp_path):
    from test_grading import answers

    from grading import sandbox
    from grading.task import find
    from grading.verdict import grade

    small = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    before = sandbox.environment
    monkeypatch.setattr(sandbox, "environment", lambda home: before(home) | small)
    task = find("07.1")
    head, body = textwrap.dedent(task.right[0]).strip().split("\n", 1)
    path = answers(tmp_path, "07", {"07.1": f"{head}\n    print('ŷ → 学生')\n{body}"})
    found = {v.task.id: v.points for v in grade(path, seed=1, walls=False)}
    assert found["07.1"] == task.points
