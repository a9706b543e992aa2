"""Three people's first hour: who learns, who teaches a class, who builds something of their own.

Each begins with an empty folder, and does what README.md and docs/ say: commands and programs are
taken from these pages, so a page and its walk cannot drift apart.
"""

import csv
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.request
import venv
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path

import nbformat
import numpy as np
import pytest
from conftest import WAITS
from nbformat import v4
from test_jobs import parts_of
from test_project import EXTRAS, ROOT, Requirement, read

import minidl
from course import build
from grading import sandbox
from minidl.data.images import read_folder
from minidl.nn import functional as F

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="make and bin/ are not those of Windows"),
]
README, PROJECT, GRADING = (read(f"{n}.md") for n in ("README", "docs/project", "docs/grading"))
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
SECONDS = 300  # after which something is held to wait forever; the machine may be busy


def run(*command, cwd, **options):
    """What a program printed; AssertionError if it failed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, **options)
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def said_in(page, command):
    """A command, which the page must name."""
    named = re.findall(r"`([^`\n]+)`", page) + page.splitlines()
    assert any(text.partition("#")[0].strip() == command for text in named), command
    return command


def environment_at(folder, *paths):
    """A virtual environment whose path has these folders; its python."""
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "here.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")
    return folder / "bin" / "python"


# --- who learns, and who teaches -------------------------------------------------------------

AUTHOR = "-c", "user.name=walk", "-c", "user.email=walk@example.org"


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository that holds this one's files as they are now."""
    folder = tmp_path_factory.mktemp("origin") / "minidl"
    if (ROOT / ".git").exists():
        listed = run("git", "ls-files", "-zco", "--exclude-standard", cwd=ROOT).split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
    else:  # no clone: an archive, or a copy
        left = "__pycache__", ".*_cache", ".venv", ".home", "my", "runs", "build", "dist", ".hyp*"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left))
    run("git", "init", "-q", cwd=folder)
    commit(folder)
    return folder


def commit(folder):
    run("git", "add", "-A", cwd=folder)
    run("git", *AUTHOR, "commit", "-qm", "a version", cwd=folder)


@pytest.fixture
def clone(origin, tmp_path):
    """A fresh clone in a path with a space, with an environment as `make course` installs it."""
    (tmp_path / "a person").mkdir()
    said_in(README, "git clone ADDRESS minidl")
    run("git", "clone", "-q", origin, "minidl", cwd=tmp_path / "a person")
    here = tmp_path / "a person" / "minidl"
    environment_at(here / ".venv", here, here / "exercises", sysconfig.get_path("purelib"))
    for shared in "share", "etc":  # JupyterLab's own files
        if (Path(sys.prefix) / shared).exists():
            (here / ".venv" / shared).symlink_to(Path(sys.prefix) / shared)
    (here / ".venv" / ".installed").write_text(str(here), encoding="utf-8")
    return here


def settings(clone):
    """The environment of a person at a shell: no screen, a home of their own."""
    home = clone.parent / "home"
    home.mkdir(exist_ok=True)
    unset = "DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH", "JUPYTER_CONFIG_DIR", "JUPYTER_TOKEN"
    unset += "MAKEFLAGS", "MFLAGS", "MAKELEVEL"  # of the make that runs these tests
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return kept | ONE_THREAD | {"HOME": str(home), "PATH": path}


def fetched(address):
    """The text at an address, also of a server that is about to begin."""
    until = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(address, timeout=SECONDS) as page:
                return page.read().decode()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def make_course(clone):
    """What `make course` says until the address; it is opened there, and Ctrl-C ends it."""
    command = said_in(README, "make course").split()
    process = subprocess.Popen(
        command, cwd=clone, env=settings(clone), text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    alarm = threading.Timer(SECONDS, os.killpg, (process.pid, signal.SIGKILL))
    alarm.start()
    said = ""
    try:
        for line in process.stdout:
            said += line
            if address := re.search(r"http://(localhost|127\.0\.0\.1)\S+start\.md\S*", line):
                page = fetched(address[0])
                assert "JupyterLab" in page and "custom/custom.css" in page
                # What is folded does not show its first line, which may be the answer.
                style = fetched(address[0].replace("lab/tree/my/start.md", "custom/custom.css"))
                assert ".jp-PlaceholderText" in style
                return said
        raise AssertionError(f"no address was printed: {said}")
    finally:
        alarm.cancel()
        os.killpg(process.pid, signal.SIGTERM)
        process.stdout.close()
        process.wait(SECONDS)


@contextmanager
def opened(path):
    """A notebook at work: execute(place) gives what a cell says; at the end it is saved."""
    notebook = nbformat.read(path, as_version=4)
    client = build.Client(
        notebook, timeout=SECONDS, allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )  # fmt: skip

    def execute(place):
        found = client.execute_cell(notebook.cells[place], place)
        text = "".join(o.get("text", "") + "\n".join(o.get("traceback", [])) for o in found.outputs)
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    with client.setup_kernel():
        yield notebook, execute
    nbformat.write(notebook, path)


def answer_place(notebook, task, kind="answer"):
    """The place of the cell in which a task is answered, or checked."""
    name = f"{kind}-{task.replace('.', '-')}"
    cells = notebook.cells
    return next(
        i for i, c in enumerate(cells) if c.metadata.get("nbgrader", {}).get("grade_id") == name
    )


def solutions(lesson):
    """{task: the source of its right answer} of a notebook in solutions/."""
    (path,) = ROOT.glob(f"solutions/{lesson}_*.ipynb")
    found = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if name := re.fullmatch(
            r"answer-(\d\d)-(\d+)", cell.metadata.get("nbgrader", {}).get("grade_id", "")
        ):
            found[f"{name[1]}.{name[2]}"] = cell.source
    return found


WRONG = """def summaries(photo):
    grey = photo.mean(axis=2)
    return grey, grey.mean(axis=1), photo.mean(axis=0)
"""


@pytest.mark.skipif(util.find_spec("jupyterlab") is None, reason=WAITS + "JupyterLab")
def test_a_learners_first_hour(clone, origin, monkeypatch):
    """From the address that `make course` prints to a graded answer, and a newer version."""
    said = make_course(clone)
    assert "No screen here: open the address below" in said
    start = (clone / "my/start.md").read_text(encoding="utf-8")
    lesson, exercise = re.findall(r"\]\(((?:course|exercises)/00_\w+\.ipynb)\)", start)[:2]
    monkeypatch.setenv("PYTHONPATH", f"{clone}{os.pathsep}{clone / 'exercises'}")
    for name in ("HOME", *ONE_THREAD):
        monkeypatch.setenv(name, settings(clone)[name])

    # Two of the lesson's cells are the reader's; the answers stand folded below their checks.
    with opened(clone / "my" / lesson) as (notebook, execute):
        turns = [
            i for i, c in enumerate(notebook.cells) if "your-turn" in c.metadata.get("tags", [])
        ][:2]
        for i in turns:
            assert "..." in notebook.cells[i].source
            shown = re.search(r"```python\n(.*?)```", notebook.cells[i + 2].source, re.DOTALL)
            notebook.cells[i].source = shown[1].strip()
        told = {
            i: execute(i) for i in range(turns[-1] + 2) if notebook.cells[i].cell_type == "code"
        }
    assert not [text for text in told.values() if "Traceback" in text]
    assert not [told[i + 1] for i in turns if {*told[i + 1].split("\n")} - {"", "Right."}]

    # In the exercise a wrong answer is named, a hint helps, a right one gets its points.
    with opened(clone / "my" / exercise) as (notebook, execute):
        first = next(i for i, c in enumerate(notebook.cells) if c.cell_type == "code")
        execute(first)
        answer, checked = (answer_place(notebook, "00.1", kind) for kind in ("answer", "check"))
        notebook.cells += [v4.new_code_cell('hint("00.1")'), v4.new_code_cell('progress("00")')]
        notebook.cells[answer].source = WRONG
        execute(answer)
        told = execute(checked)
        assert "0 of 2 points" in told and "This is what you get when only axis 0" in told
        assert "00.1 hint 1 of 3" in execute(len(notebook.cells) - 2)
        notebook.cells[answer].source = solutions("00")["00.1"]
        execute(answer)
        assert "2 of 2 points" in execute(checked)
        told = execute(len(notebook.cells) - 1)
        assert re.search(r"00\.1 .* 2 of 2", told) and "2 of 14 points" in told

    # What nobody has seen: only what was begun is graded, and missing points are no error.
    told = run(*said_in(README, "make grade").split(), cwd=clone, env=settings(clone))
    assert re.findall(r"my/\S+\.ipynb", told) == [f"my/{exercise}"]
    assert re.search(r"00\.1 .* 2 of 2", told) and told.endswith("2 of 14 points\n")

    # A newer version comes; what was written stays, and stands in the newer one too.
    newer = nbformat.read(origin / exercise, as_version=4)
    newer.cells[0].source += "\n\nA newer version."
    nbformat.write(newer, origin / exercise)
    commit(origin)
    mine = clone / "my" / exercise
    before = mine.read_bytes()
    run(*said_in(README, "git pull").split(), "-q", cwd=clone)
    said = make_course(clone)
    assert f"there is a newer version of my/{exercise}" in said
    assert mine.read_bytes() == before
    beside = nbformat.read(mine.with_name(f"{mine.stem}_new.ipynb"), as_version=4)
    assert beside.cells[0].source.endswith("A newer version.")
    written = beside.cells[answer_place(beside, "00.1")].source
    assert written == solutions("00")["00.1"]
    assert "| 2 of 14 | **next** |" in (clone / "my/start.md").read_text(encoding="utf-8")
    assert not run("git", "status", "--porcelain", cwd=clone)


DISHONEST = """import numpy as np, grading, grading.notebook
np.allclose = np.array_equal = lambda *a, **k: True
check = grading.check = grading.notebook.check = lambda *a, **k: print("14 of 14 points")

class Equal:
    def __eq__(self, other):
        return True
    __array__ = __len__ = lambda self, *a, **k: 0
"""


def hand_in(clone):
    """The three submissions that docs/grading.md tells of."""
    right = solutions("00")
    path = clone / "exercises/00_arrays.ipynb"
    answers = {
        "ann": right,
        "ben": {task: right[task] for task in ("00.1", "00.2")},
        "cleo": {
            "00.1": "summaries = lambda photo: Equal()",
            "00.2": "def distances(a, b):\n    return open('solutions/00_arrays.ipynb').read()",
            "00.3": "stretch = lambda photo: Equal()",
            "00.4": "crop = lambda picture, threshold: Equal()",
            "00.5": "poster = lambda photo, palette: Equal()",
        },
    }
    for student, sources in answers.items():
        notebook = nbformat.read(path, as_version=4)
        for task, source in sources.items():
            notebook.cells[answer_place(notebook, task)].source = source
        if student == "cleo":
            notebook.cells.insert(2, v4.new_code_cell(DISHONEST))
        (clone / "submitted" / student).mkdir(parents=True)
        nbformat.write(notebook, clone / "submitted" / student / path.name)


def test_an_instructors_class_of_three(clone):
    """docs/grading.md, A class of three: its roster, its command, its table."""
    section = GRADING.partition("## A class of three\n")[2].partition("\n## ")[0]
    (roster, totals), (command,) = (
        re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("csv", "sh")
    )
    (clone / "roster.csv").write_text(roster, encoding="utf-8")
    hand_in(clone)
    if not sandbox.available():
        words = re.search(r'`(--without-sandbox "[^`]+")`', GRADING)[1]
        command = f"{command.strip()} {words}"
    run("bash", "-c", command, cwd=clone, env=settings(clone))
    graded = clone / "graded"
    assert (graded / "totals.csv").read_text(encoding="utf-8") == totals
    points = {row["student"]: row["00"] for row in csv.DictReader(io.StringIO(totals))}
    people = {row["student"]: row for row in csv.DictReader(io.StringIO(roster))}
    for name, key, column in ("canvas", "ID", "id"), ("moodle", "Email address", "email"):
        text = (graded / f"{name}.csv").read_text(encoding="utf-8")
        rows = {row[key]: row for row in csv.DictReader(io.StringIO(text))}
        got = {student: rows[person[column]]["Exercises 00"] for student, person in people.items()}
        assert got == points, name
    for student, n in points.items():
        page = (graded / "students" / f"{student}.html").read_text(encoding="utf-8")
        assert f": {n} of 14" in page, student
    assert not run("git", "status", "--porcelain", cwd=clone)


# --- who builds --------------------------------------------------------------------------------


class Project:
    """An empty folder with an environment of its own, in which minidl's wheel was installed."""

    def __init__(self, folder):
        self.folder = folder
        self.python = environment_at(folder / ".venv")
        (self.site,) = folder.glob(".venv/lib/python3*/site-packages")
        self.link("numpy")
        for name, source in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PROJECT, re.DOTALL):
            (folder / name).write_text(source, encoding="utf-8")

    def link(self, *packages):
        """Put packages that are installed here, and what they need, into the environment."""
        found = {}
        for package in packages:
            try:
                parts_of(package, found)
            except metadata.PackageNotFoundError as error:
                pytest.skip(f"{WAITS}{error.name}")
        for path in {path for paths in found.values() for path in paths}:
            if (
                path.exists()
                and path.name != "__pycache__"
                and not (self.site / path.name).exists()
            ):
                (self.site / path.name).symlink_to(path)

    def extra(self, name):
        """What pip install "minidl[name]" would add, which the page must name."""
        assert re.search(rf"`*minidl\[[\w,]*\b{name}\b[\w,]*\]", PROJECT), name
        self.link(*(Requirement(text).name for text in EXTRAS[name]))

    def run(self, *arguments):
        """What python printed with these arguments."""
        unset = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return run(self.python, *arguments, cwd=self.folder, env=unset | ONE_THREAD)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The page's project as far as *Load and use*, for which NumPy is enough."""
    if util.find_spec("hatchling") is None:
        pytest.skip(WAITS + "hatchling (pip install -e '.[test]')")
    if not (Path(sysconfig.get_path("purelib")) / "pip").exists():
        pytest.skip(WAITS + "pip")
    made = Project(tmp_path_factory.mktemp("an empty project"))
    here = "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"
    command = re.search(r"-m (pip wheel .*) CLONE", PROJECT)[1].split()
    command += [*here, "--no-build-isolation", ROOT]
    run(sys.executable, "-m", *dict.fromkeys(command), cwd=made.folder)
    (wheel,) = made.folder.glob("wheels/minidl-*.whl")
    run(sys.executable, "-m", "pip", "--python", made.python, "install", *here, wheel,
        cwd=made.folder)  # fmt: skip
    program = "import minidl, sys; print(minidl.__file__); import grading"
    done = subprocess.run([made.python, "-I", "-c", program], capture_output=True, text=True)
    assert Path(done.stdout.strip()).is_relative_to(made.site)
    assert "No module named 'grading'" in done.stderr
    return made


@pytest.fixture(scope="module")
def with_data(project):
    project.extra("images")
    project.run("make_data.py")
    return project


@pytest.fixture(scope="module")
def exported(with_data):
    """The project with its model of images, and what training it printed."""
    with_data.extra("onnx")
    said = with_data.run("train_images.py")
    return with_data, said


def scores(project, x):
    """What onnxruntime computes with the exported model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(project.folder / "shapes.onnx")
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def accuracy(said):
    return float(re.search(r"'accuracy': ([\d.]+)", said)[1])


def test_a_builders_table_is_learned_saved_and_used(with_data):
    assert accuracy(with_data.run("train_table.py")) >= 0.9
    new = re.search(r"```\n(grams,.*?)```", PROJECT, re.DOTALL)[1]
    (with_data.folder / "new.csv").write_text(new, encoding="utf-8")
    assert with_data.run("use_table.py") == "banana apple\n"


def test_a_builders_images_are_learned_and_exported(exported):
    project, said = exported
    assert accuracy(said) >= 0.85 and said.endswith("bar disc\n")
    assert scores(project, np.zeros((3, 3, 28, 28), "float32")).shape == (3, 2)


def test_a_builders_model_is_served(exported):
    project, _ = exported
    project.extra("serve")
    assert "examples/server.py" in PROJECT
    shutil.copy(ROOT / "examples/server.py", project.folder)
    (arguments,) = re.findall(r"python (server\.py .*) --port 8000", PROJECT)
    with subprocess.Popen(
        [project.python, *arguments.split(), "--port", str(port := free_port())],
        cwd=project.folder, env=os.environ | ONE_THREAD, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            assert "waiting" in fetched(f"{address}/health"), "the server does not answer"
            label, p = project.run("ask.py", address).split(maxsplit=1)
        finally:
            server.terminate()
    x = read_folder(project.folder / "shapes", size=28).arrays[0][-1:]
    expected = F.softmax(minidl.Tensor(scores(project, x))).numpy()[0]
    np.testing.assert_allclose(np.fromstring(p.strip("[]\n"), sep=","), expected, atol=1e-5)
    assert label == ["bar", "disc"][expected.argmax()]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_builders_model_becomes_a_page(exported):
    """What npm fetches is stood in for; that it is fetched, and runs, test_web.py shows."""
    project, _ = exported
    from minidl import web

    for name in web.RUNTIME:
        (project.folder / "runtime" / "dist").mkdir(parents=True, exist_ok=True)
        (project.folder / "runtime" / "dist" / name).write_text("// nothing", encoding="utf-8")
    (arguments,) = re.findall(r"python (-m minidl\.web .*)", PROJECT)
    said = project.run(*arguments.split(), "--runtime", "runtime")
    assert "open it: python -m http.server --directory page 8000" in said
    assert (project.folder / "page" / "model.onnx").stat().st_size > 5000


def test_a_builders_pipeline(with_data):
    with_data.extra("sklearn")
    assert float(with_data.run("pipeline.py")) >= 0.9


def test_every_program_of_the_page_is_run():
    """By name in a test above; what it reads and writes is then there."""
    source = Path(__file__).read_text(encoding="utf-8")
    named = re.findall(r"```python\n(?:# (\w+\.py))?", PROJECT)
    assert len(named) == 6
    assert not [name for name in named if f'"{name}"' not in source]
