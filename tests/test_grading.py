"""The grader graded: the bank, the notebook's tools, and submissions that attack it."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import grading
from grading import audit, notebook, verdict
from grading.task import compile_answer, draw, lessons, name_mistake, run, tasks

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "07_tensor.ipynb"
EXERCISE = ROOT / "exercises" / "07_tensor.ipynb"
TASKS = [task for lesson in lessons() for task in tasks(lesson).values()]
WRONG = [(task, i) for task in TASKS for i in range(len(task.wrong))]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_the_audit_finds_no_fault(task):
    assert list(audit.faults(task)) == []


@pytest.mark.parametrize("task, i", WRONG, ids=lambda part: getattr(part, "id", part))
def test_every_wrong_answer_loses_points_and_is_named_for_any_seed(task, i):
    sentence, source = task.wrong[i]
    for seed in (1, 2):
        found = audit.verdict_on(task, source, seed)
        assert found.points < task.points and sentence in found.text


def test_the_audit_notices_a_weak_task():
    from dataclasses import replace

    weak = replace(TASKS[0], cases=lambda rng: TASKS[0].cases(rng)[:1])
    assert any("a wrong answer passes" in fault for fault in audit.faults(weak))
    assert any("needs 5" in fault for fault in audit.faults(replace(TASKS[0], right=())))


def test_an_unknown_mistake_gets_no_name():
    task = TASKS[0]
    answer = compile_answer("def unbroadcast(g, shape): return np.zeros(shape) + 0.5", task.name)
    cases = draw(task, 0)
    assert name_mistake(task, cases, [run(task, answer, c) for _, c in cases]) is None


# --- in the notebook -----------------------------------------------------------------------


def right_answer(task):
    return compile_answer(task.right[0], task.name)


def test_check_says_the_points_or_the_smallest_failing_input(capsys):
    task = TASKS[0]
    grading.check("07.1", right_answer(task))
    assert capsys.readouterr().out == "07.1 Undo broadcasting: 2 of 2 points\n"
    with pytest.raises(notebook.NotRightYet) as caught:
        grading.check("07.1", lambda g, shape: g)
    text = str(caught.value)
    assert "points\naxes of length 1:" in text or "points\na single number:" in text
    assert "expected" in text and "got" in text and "shape (" in text
    with pytest.raises(notebook.NotRightYet, match="not answered yet"):
        grading.check("07.1", blank)
    with pytest.raises(TypeError, match="wants the function unbroadcast"):
        grading.check("07.1", 3)
    with pytest.raises(KeyError, match=r"no task '99\.9'; there are 07\.1"):
        grading.check("99.9", blank)


def blank(*arrays):
    raise NotImplementedError


def test_check_leaves_the_learners_arrays_and_exceptions_alone():
    def broken(g, shape):
        raise ZeroDivisionError("mine")

    with pytest.raises(notebook.NotRightYet, match="it raised ZeroDivisionError: mine"):
        grading.check("07.1", broken)


def test_hints_come_one_by_one(capsys):
    notebook._hinted.clear()
    for n in (1, 2, 3, 3):
        grading.hint("07.2")
        out = capsys.readouterr().out
        assert out.count("07.2 hint") == n
    assert out.count("of 3:") == 3


def test_progress_counts(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    notebook._points.clear()
    grading.check("07.1", right_answer(TASKS[0]))
    capsys.readouterr()
    grading.progress("07")
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "2 of 13 points" and len(out.splitlines()) == 5


# --- the verdict ---------------------------------------------------------------------------


def submission(path, **answers):
    """A copy of the solution in which the answer to task 07.k is replaced by source ak."""
    book = json.loads(SOLUTION.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        key = f"a{grade_id[-1:]}" if grade_id.startswith("answer-") else None
        if key in answers:
            cell["source"] = textwrap.dedent(answers[key])
    if "extra" in answers:
        book["cells"].insert(
            1, {"cell_type": "code", "metadata": {}, "source": answers["extra"], "outputs": []}
        )
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


def points(path):
    return {v.task.id: v.points for v in verdict.grade(path, seed=5)}


FULL = {"07.1": 2, "07.2": 3, "07.3": 4, "07.4": 4}


def test_the_solution_gets_everything_and_a_blank_nothing():
    assert points(SOLUTION) == FULL
    assert points(EXERCISE) == dict.fromkeys(FULL, 0)


def test_the_seed_changes_the_inputs():
    for task in TASKS:
        a, b = (draw(task, seed) for seed in (0, 1))
        assert str(a) == str(draw(task, 0)) and str(a) != str(b)


BANK = "def unbroadcast(g, shape):\n"
ATTACKS = {
    "endless loop": BANK + "    while True: pass",
    "stubborn loop": BANK + "    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass",
    "sys.exit": BANK + "    import sys; sys.exit(0)",
    "os._exit": BANK + "    import os; os._exit(0)",
    "crash": BANK + "    import ctypes; ctypes.string_at(0)",
    "syntax error": BANK + "    return (",
    "error in the cell": "1 / 0",
    "memory hog": BANK + "    return np.ones(10**10)",
    "objects equal to everything": "class Any:\n    def __eq__(self, other): return True\n"
    "    def __array__(self, *a, **k): return self\n    shape = ()\n" + BANK + "    return Any()",
    "a fake score": BANK + "    print('07.1: 2 of 2 points'); return np.array('2 of 2')",
    "megabytes of output": BANK + "    print('x' * 10**8); return g",
    "import of the package": BANK
    + "    from minidl.shapes import sum_to; return sum_to(g, shape=shape)",
    "import of the grader": BANK + "    from grading.tasks_07 import unbroadcast_reference as r\n"
    "    return r(g, np.array(shape))[0]",
    "a huge reply": BANK + "    return np.zeros((3000, 3000))",
    "a forged reply": "import os\n" + BANK + "    for fd in range(3, 20):\n        try:\n"
    "            os.write(fd, b'{\"arrays\": [[\"<f8\", [700000000000]]]}\\n')\n"
    "        except OSError: pass\n    return g",
    "replaced NumPy": "np.allclose = np.array_equal = lambda *a, **k: True\n"
    + BANK
    + "    return g",
    "a kept random seed": BANK + "    return np.zeros(shape)",
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_own_task_alone(attack, tmp_path, monkeypatch):
    for task in TASKS:
        object.__setattr__(task, "seconds", 5.0)
    began = time.monotonic()
    found = points(submission(tmp_path / "07_x.ipynb", a1=ATTACKS[attack]))
    assert time.monotonic() - began < 60
    assert found["07.1"] < FULL["07.1"], "no points for an attack beyond what it answers rightly"
    assert {k: found[k] for k in ("07.3", "07.4")} == {k: FULL[k] for k in ("07.3", "07.4")}


def test_deleted_and_overwritten_tests_change_nothing(tmp_path):
    book = json.loads(SOLUTION.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            cell["source"] = "pass"
    path = tmp_path / "07_x.ipynb"
    path.write_text(json.dumps(book), encoding="utf-8")
    assert points(path) == FULL
    edited = "import grading\ngrading.check = print"
    wrong = submission(path, a3=TASKS[2].wrong[0][1], extra=edited)
    assert points(wrong)["07.3"] < 4


def test_helpers_in_cells_of_their_own_are_kept(tmp_path):
    path = submission(
        tmp_path / "07_x.ipynb", extra="def add_up(g, i): return g.sum(axis=i, keepdims=True)",
        a1=BANK + "    while g.ndim > len(shape): g = g.sum(0)\n"
        "    for i, n in enumerate(shape):\n"
        "        g = add_up(g, i) if n == 1 else g\n    return g",
    )  # fmt: skip
    assert points(path) == FULL


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "grading", *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{ROOT}/exercises"},
    )  # fmt: skip


def test_the_command_and_its_exit_codes(tmp_path):
    done = command(SOLUTION, "--json", tmp_path / "out.json")
    assert done.returncode == 0 and done.stdout.endswith("13 of 13 points\n")
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["points"] for row in report[str(SOLUTION)]] == [2, 3, 4, 4]
    partial = command(submission(tmp_path / "07_p.ipynb", a3=TASKS[2].wrong[0][1]), "--seed", 3)
    assert partial.returncode == 1
    assert "gradients overwrite instead of adding up" in partial.stdout
    (tmp_path / "07_q.ipynb").write_text("{")
    assert command(tmp_path / "07_q.ipynb").returncode == 2
    assert command("audit").stdout.endswith("wrong answers caught and named\n")


def test_a_grader_that_cannot_grade_its_own_solution_says_so(monkeypatch, capsys):
    from grading import __main__ as program

    monkeypatch.setattr(program, "control", lambda lesson: False)
    monkeypatch.setattr(sys, "argv", ["grading", str(SOLUTION)])
    assert program.main() == 2
    assert "solution of lesson 07 does not get full points" in capsys.readouterr().err


def test_show_and_empty_arrays():
    from grading.task import show

    assert show(np.zeros((0, 2))) == "[], shape (0, 2)"
    assert show(np.zeros((4, 4))) == "an array of shape (4, 4)"
