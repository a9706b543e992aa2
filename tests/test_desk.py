"""A learner's own copies: made, brought up to date, and never lost."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from test_project import ROOT

from course import build, desk
from course.desk import Desk

ANSWER = {"nbgrader": {"grade_id": "answer-00-1", "solution": True}}


def notebook(*cells):
    """A notebook of pairs (kind, text) or triples with metadata; ids by place, as build.py's."""
    made = v4.new_notebook()
    for i, (kind, source, *metadata) in enumerate(cells, 1):
        make = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
        cell = make(source, metadata=metadata[0] if metadata else {})
        cell["id"] = f"c{i:02}"
        made.cells.append(cell)
    return made


FIRST = [
    ("markdown", "# Zero [source](../minidl/io.py), [lesson](../course/00_a.ipynb)"),
    ("markdown", "*Predict:*"),
    ("code", "import numpy as np"),
    ("code", "def f(x):\n    ...", ANSWER),
    ("markdown", "run `python -m grading exercises/00_a.ipynb`"),
]


@pytest.fixture
def root(tmp_path):
    """A repository with one lesson and one exercise."""
    for folder in desk.FOLDERS:
        (tmp_path / folder).mkdir()
        publish(tmp_path, FIRST, folder)
    return tmp_path


def publish(root, cells, folder="exercises"):
    nbformat.write(notebook(*cells), root / folder / "00_a.ipynb")


def lay_out(root):
    return list(Desk(root).lay_out())


def edit(path, changes, add=()):
    """What JupyterLab saves: other text in the cells numbered, and cells added after a number."""
    mine = nbformat.read(path, as_version=4)
    for number, text in changes.items():
        mine.cells[number].source = text
        if mine.cells[number].cell_type == "code":
            mine.cells[number].outputs = [v4.new_output("stream", text="1\n")]
            mine.cells[number].execution_count = 7
    for after, text in add:
        mine.cells.insert(after + 1, v4.new_code_cell(text))
    mine.metadata["language_info"] = {"name": "python", "version": "3.11"}
    nbformat.write(mine, path)


def texts(path):
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def test_copies_are_made_with_their_links_moved(root):
    assert lay_out(root) == []
    for folder in desk.FOLDERS:
        found = texts(root / "my" / folder / "00_a.ipynb")
        assert found[0] == "# Zero [source](../../minidl/io.py), [lesson](../course/00_a.ipynb)"
        assert found[-1] == "run `python -m grading my/exercises/00_a.ipynb`"
        assert found[1:4] == [cell[1] for cell in FIRST[1:4]]


def test_a_copy_is_as_jupyterlab_saves_it(root):
    """What it would add when it opens a copy, it would call a change that is not saved."""
    from jupyter_client.kernelspec import get_kernel_spec

    # Elsewhere: who has imported ipykernel is taken for a notebook, by tqdm too.
    ask = "import json; from ipykernel.ipkernel import IPythonKernel as K; "
    ask += "print(json.dumps(K.language_info))"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, check=True).stdout
    path = root / "course" / "00_a.ipynb"
    published = nbformat.read(path, as_version=4)
    published.cells[2].metadata["jupyter"] = {"outputs_hidden": True}
    nbformat.write(published, path)
    lay_out(root)
    copy = nbformat.read(root / "my/course/00_a.ipynb", as_version=4)
    assert copy.metadata.language_info == json.loads(said)
    assert copy.metadata.kernelspec.display_name == get_kernel_spec("python3").display_name
    assert copy.metadata.kernelspec.keys() == {"display_name", "language", "name"}
    assert [c.metadata.get("collapsed", False) for c in copy.cells[1:4]] == [False, True, False]


def test_what_is_written_stays_when_nothing_is_new(root):
    lay_out(root)
    path = root / "my/exercises/00_a.ipynb"
    edit(path, {3: "def f(x):\n    return x"})
    before = path.read_bytes()
    assert lay_out(root) == []
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_copy_without_a_word_is_exchanged(root):
    lay_out(root)
    path = root / "my/exercises/00_a.ipynb"
    edit(path, {2: FIRST[2][1]})  # run, not changed
    publish(root, [*FIRST, ("code", "progress()")])
    (told,) = lay_out(root)
    assert "my/exercises/00_a.ipynb was exchanged" in told
    assert texts(path)[-1] == "progress()"
    assert lay_out(root) == []


NEWER = [
    ("markdown", "# Zero, second edition"),
    ("code", "import math"),
    ("markdown", "*Predict:*"),
    ("code", "import numpy as np\nimport heapq"),
    ("code", "def f(x, y):\n    ...", ANSWER),
    ("markdown", "the end"),
]


def test_a_newer_version_is_put_beside_with_all_that_was_written(root):
    lay_out(root)
    path = root / "my/exercises/00_a.ipynb"
    edit(
        path,
        {1: "*Predict:* it is 3", 2: "import numpy as np\nimport os", 3: "def f(x):\n    return x"},
        add=[(3, "f(2)")],
    )
    before = path.read_bytes()
    publish(root, NEWER)
    (told,) = lay_out(root)
    assert "my/exercises/00_a_new.ipynb" in told and "rename it to 00_a.ipynb" in told
    assert path.read_bytes() == before
    assert texts(root / "my/exercises/00_a_new.ipynb") == [
        "# Zero, second edition",
        "import math",
        "*Predict:* it is 3",
        f"# {desk.CARRIED}\nimport numpy as np\nimport os",
        "import numpy as np\nimport heapq",
        "def f(x):\n    return x",
        "f(2)",
        "the end",
    ]


def test_the_newer_version_is_not_written_twice(root):
    """The learner may be at work in it already."""
    lay_out(root)
    path, beside = (root / f"my/exercises/00_a{end}.ipynb" for end in ("", "_new"))
    edit(path, {3: "def f(x):\n    return x"})
    publish(root, NEWER)
    lay_out(root)
    edit(beside, {5: "mine"})
    before = beside.read_bytes()
    publish(root, [*NEWER, ("code", "third")])
    (told,) = lay_out(root)
    assert "stays as it is" in told
    assert beside.read_bytes() == before
    beside.replace(path)
    lay_out(root)
    assert {"def f(x):\n    return x", "mine", "third"} <= set(texts(beside))


def test_a_copy_whose_origin_is_unknown_is_all_the_learners(root):
    """Copied by hand, or .versions was deleted: every text that is not in the newer one stays."""
    path = root / "my/exercises/00_a.ipynb"
    path.parent.mkdir(parents=True)
    answer = "def f(x):\n    return 1"
    nbformat.write(notebook(("markdown", "mine"), ("code", answer, ANSWER)), path)
    (told,) = lay_out(root)
    assert "there is a newer version" in told
    found = texts(root / "my/exercises/00_a_new.ipynb")
    assert "mine" in found and answer in found


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"cells": 3}'])
def test_what_cannot_be_read_stays_and_is_told(root, damage):
    lay_out(root)
    path = root / "my/exercises/00_a.ipynb"
    path.write_text(damage, encoding="utf-8")
    (told,) = lay_out(root)
    assert "cannot be read" in told and "delete it to start anew" in told
    assert path.read_text(encoding="utf-8") == damage


def tagged(*names):
    return {"tags": list(names)}


TURNS = [
    ("markdown", "**Your turn.** Twice."),
    ("code", "def f(x):\n    return ...", tagged("your-turn")),
    ("code", "turn(f, 4)", tagged("check")),
    ("markdown", "**Predict.** More?\n\n*Your prediction:* ........"),
    ("code", "print(3)"),
    ("code", "def f(x):\n    return ...", tagged("your-turn")),
]


def test_answers_and_predictions_survive_and_new_tags_come(root):
    """Of two blank cells with one text, each keeps its own answer; a tag alone is a new version."""
    publish(root, TURNS, "course")
    lay_out(root)
    path = root / "my/course/00_a.ipynb"
    one, two = "def f(x):\n    return 2 * x", "def f(x):\n    return 3 * x"
    edit(path, {1: one, 3: "**Predict.** More?\n\n*Your prediction:* yes", 5: two}, [(1, "f(3)")])
    newer = [*TURNS]
    newer[2] = (*newer[2][:2], tagged("check", "hide-input") | {"jupyter": {"source_hidden": True}})
    newer[4] = (*newer[4][:2], tagged("hide-output") | {"jupyter": {"outputs_hidden": True}})
    publish(root, newer, "course")
    (told,) = lay_out(root)
    assert "newer version" in told
    found = nbformat.read(root / "my/course/00_a_new.ipynb", as_version=4).cells
    assert [c.source for c in found] == [
        *(TURNS[0][1], one, "f(3)", TURNS[2][1]),
        *("**Predict.** More?\n\n*Your prediction:* yes", "print(3)", two),
    ]
    assert found[1].metadata == tagged("your-turn")
    assert found[3].metadata == newer[2][2]
    assert found[5].metadata == newer[4][2] | {"collapsed": True}  # so JupyterLab says it twice


def test_a_tag_alone_exchanges_a_copy_without_a_word(root):
    publish(root, TURNS, "course")
    lay_out(root)
    publish(root, [*TURNS[:4], (*TURNS[4], tagged("hide-output")), TURNS[5]], "course")
    (told,) = lay_out(root)
    assert "was exchanged" in told
    found = nbformat.read(root / "my/course/00_a.ipynb", as_version=4).cells
    assert found[4].metadata == tagged("hide-output")


def test_the_style_of_figures_lies_beside_the_lessons(root):
    style, mine = root / "course/course.mplstyle", root / "my/course/course.mplstyle"
    for text in ("font.size: 11", "font.size: 12"):
        style.write_text(text, encoding="utf-8")
        lay_out(root)
        assert mine.read_text(encoding="utf-8") == text
    mine.write_text("font.size: 30", encoding="utf-8")
    style.write_text("font.size: 13", encoding="utf-8")
    lay_out(root)
    assert mine.read_text(encoding="utf-8") == "font.size: 30"  # the learner's


def test_what_is_begun_is_what_was_written_in_or_cannot_be_read(root):
    for name in "01_b", "02_c":
        shutil.copy(root / "exercises/00_a.ipynb", root / f"exercises/{name}.ipynb")
    lay_out(root)
    assert list(Desk(root).begun()) == []
    mine = root / "my/exercises"
    edit(mine / "01_b.ipynb", {2: FIRST[2][1]})  # run, not changed
    assert list(Desk(root).begun()) == []
    edit(mine / "00_a.ipynb", {3: "def f(x):\n    return x"})
    (mine / "02_c.ipynb").write_text("{", encoding="utf-8")
    assert list(Desk(root).begun()) == [mine / "00_a.ipynb", mine / "02_c.ipynb"]
    for name in "00_a", "02_c":
        (mine / f"{name}.ipynb").unlink()
    (root / "my/.versions").rename(root / "my/elsewhere")  # what they were made from is unknown
    assert list(Desk(root).begun()) == [mine / "01_b.ipynb"]


# --- the start page


def start(root, points="{}"):
    (root / "my/exercises/.progress.json").write_text(points, encoding="utf-8")
    Desk(root).lay_start()
    return (root / "my/start.md").read_text(encoding="utf-8")


def test_the_start_page_tells_what_is_done_and_what_comes_next(root):
    head = "# 00 · How does | it work?\n\n**Minutes** 90, exercises 40."
    publish(root, [("markdown", head)], "course")
    about = {"nbgrader": {"grade_id": "check-00-1", "points": 3}}
    publish(root, [("code", "check()", about)])
    shutil.copy(root / "course/00_a.ipynb", root / "course/01_b.ipynb")
    shutil.copy(root / "course/00_a.ipynb", root / "course/02_damaged.ipynb")
    lay_out(root)
    (root / "course/02_damaged.ipynb").write_text("{", encoding="utf-8")
    text = start(root)
    link = "[How does / it work?](course/00_a.ipynb)"
    assert f"Next: lesson 00, {link}" in text
    assert f"| 00 | {link} | 90 + 40 | [00](exercises/00_a.ipynb) | 0 of 3 | **next** |" in text
    assert text.count("not written yet") == 25 and "| 27 | Does yours work? |" in text
    assert "| 02 | [What can a toolbox do?](course/02_damaged.ipynb) |" in text
    assert "| 2 of 3 | **next** |" in start(root, '{"00.1": 2}')
    done = start(root, '{"00.1": 30, "09.9": 1}')
    assert "| 3 of 3 | done |" in done and "Next: lesson 01" in done
    for damage in ("", "{", "[]", '{"00.1": []}', '{"00.1": NaN}', "[" * 10**5, '{"00.1": -5}'):
        assert "| 0 of 3 | **next** |" in start(root, damage)
    (root / "my/start.md").write_text("mine", encoding="utf-8")
    assert start(root) == text


def opening(monkeypatch, **environment):
    """The command that opens JupyterLab where these variables are set, and its environment."""
    for name in (*desk.SCREENS, "JUPYTER_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return desk.lab()


def test_make_course_opens_the_start_page(monkeypatch):
    """With make and without it, as README says, on every system: by one command."""
    assert "desk.py --open" in (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("desk.py --open") == 3 and "-m jupyterlab" not in readme
    command, _ = opening(monkeypatch)
    assert "--LabApp.default_url=/lab/tree/my/start.md" in command
    (place,) = [flag.split("=")[-1] for flag in command if "static_custom_path=" in flag]
    assert "PlaceholderText" in (Path(place) / "custom.css").read_text(encoding="utf-8")


def test_without_a_screen_nothing_is_opened_in_one(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert "--no-browser" in opening(monkeypatch)[0]
    assert "--no-browser" not in opening(monkeypatch, DISPLAY=":0")[0]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "--no-browser" not in opening(monkeypatch)[0]


def test_settings_of_ones_own_stay(monkeypatch):
    _, environment = opening(monkeypatch, JUPYTER_CONFIG_PATH="/mine")
    places = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert places == [str(ROOT / "course" / "lab"), "/mine"]


def test_the_start_page_is_shown_as_it_reads():
    settings = (ROOT / "course/lab/labconfig/default_setting_overrides.json").read_text(
        encoding="utf-8"
    )
    viewers = json.loads(settings)["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"]
    assert viewers == {"markdown": "Markdown Preview"}  # rendered, without a click


# --- the course's own notebooks -------------------------------------------------------------


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The repository's notebooks laid out elsewhere, the package beside them."""
    root = tmp_path_factory.mktemp("a learner")
    for folder in desk.FOLDERS:
        (root / folder).mkdir()
        for path in (ROOT / folder).glob("*.ipynb"):
            shutil.copy(path, root / folder)
    assert list(Desk(root).lay_out()) == []
    return root


def test_each_link_leads_somewhere(here):
    for path in sorted((here / "my").glob("*/*.ipynb")):
        for target in re.findall(r"\]\((\.\.?/[^)#]+)", "\n".join(texts(path))):
            in_clone = (ROOT / "my" / path.parent.name / target).resolve()
            assert in_clone.exists() or (path.parent / target).exists(), f"{path.name}: {target}"


def test_git_does_not_see_it():
    done = subprocess.run(
        ["git", "check-ignore", "my/exercises/00_arrays.ipynb"], cwd=ROOT, capture_output=True
    )
    if done.returncode == 128:
        pytest.skip("this is no clone of git")
    assert done.returncode == 0


@pytest.mark.slow
def test_an_answer_is_checked_and_remembered_there(here):
    """check, hint and progress in a copy, whose answers are the solution's."""
    path = here / "my/exercises/07_tensor.ipynb"
    mine = nbformat.read(path, as_version=4)
    right = {
        cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source
        for cell in nbformat.read(ROOT / "solutions/07_tensor.ipynb", as_version=4).cells
    }
    for cell in mine.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name.startswith("answer-"):
            cell.source = right[name]
    mine.cells.append(v4.new_code_cell('hint("07.1")'))
    build.Client(mine, resources={"metadata": {"path": str(path.parent)}}).execute()
    said = "".join(o.get("text", "") for c in mine.cells for o in c.get("outputs", []))
    assert "07.1 hint 1 of 3" in said
    points = json.loads((path.parent / ".progress.json").read_text(encoding="utf-8"))
    assert sorted(points) == ["07.1", "07.2", "07.3", "07.4"]


@pytest.mark.slow
def test_quotations_are_live_there(here):
    """The first quoting cell of lesson 07, edited in the copy, changes what the package does."""
    path = here / "my/course/07_tensor.ipynb"
    cells = [
        v4.new_code_cell("%load_ext course.live"),
        v4.new_code_cell(
            "# minidl/engine/ops.py: mul\n@primitive\ndef mul(xp, a, b):\n    return a + b\n"
        ),
        v4.new_code_cell("import minidl\nprint((minidl.tensor(2.0) * 3.0).item())"),
    ]
    lesson = v4.new_notebook(cells=cells)
    build.Client(lesson, resources={"metadata": {"path": str(path.parent)}}).execute()
    assert lesson.cells[-1].outputs[0]["text"] == "5.0\n"


@pytest.mark.slow
def test_the_lessons_helpers_are_found_there(here):
    shutil.copy(ROOT / "course" / desk.STYLE, here / "course")
    list(Desk(here).lay_out())
    source = "from course.lesson import show\nimport matplotlib.pyplot as plt\n"
    source += 'plt.style.use("course.mplstyle")\nprint(plt.rcParams["figure.dpi"])'
    lesson = v4.new_notebook(cells=[v4.new_code_cell(source)])
    build.Client(lesson, resources={"metadata": {"path": str(here / "my/course")}}).execute()
    assert lesson.cells[0].outputs[-1]["text"] == "100.0\n"


@pytest.mark.slow
def test_a_teachers_panels_are_off():
    """What `make course` starts with: no Formgrader, no Validate button, no question about news."""
    lab = ROOT / "course/lab"
    done = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"],
        env=os.environ | {"JUPYTER_CONFIG_PATH": str(lab)},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert "disabled" in next(line for line in said.splitlines() if "@jupyter/nbgrader" in line)
    panels = json.loads((lab / "jupyter_server_config.d/nbgrader.json").read_text(encoding="utf-8"))
    assert set(panels["ServerApp"]["jpserver_extensions"].values()) == {False}
    news = json.loads(
        (lab / "labconfig/default_setting_overrides.json").read_text(encoding="utf-8")
    )
    assert news["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
