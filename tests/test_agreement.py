"""The notebook's `check` and the verdict outside: one answer, one verdict, both ways."""

import json
import os
import random
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest
from test_grading import ROOT

import grading
from grading import agreement, verdict
from grading.task import find, lessons, tasks

TASKS = [task for lesson in lessons() for task in tasks(lesson).values()]
HOW_MANY = 24
pytestmark = pytest.mark.slow


def everything():
    """Pairs (task, source) of all right variants and all of the bank's mistakes."""
    for task in TASKS:
        for source in task.right:
            yield task, source
        for _, source in task.bank():
            yield task, source


def chosen():
    """Some of them, drawn with the seed AGREEMENT_SEED; all with AGREEMENT_SEED=all."""
    seed = os.environ.get("AGREEMENT_SEED", "0")
    every = list(everything())
    return every if seed == "all" else random.Random(seed).sample(every, HOW_MANY)


def test_both_ways_give_one_verdict():
    found = []
    for task, source in chosen():
        verdicts = agreement.both_ways(task, source)
        if not agreement.same(verdicts):
            found.append((task.id, source, *verdicts))
    assert not found


def one(task_id, source, **changes):
    """Both verdicts on an answer, which have to say the same; the first of them."""
    task = replace(find(task_id), **changes)
    verdicts = agreement.both_ways(task, textwrap.dedent(source))
    assert agreement.same(verdicts), verdicts
    return verdicts[0]


UNBROADCAST = textwrap.dedent(find("07.1").right[0])


# --- what a notebook may do and the verdict follows -----------------------------------------


def graded(tmp_path, lesson, edit, seed=4):
    """Points by the verdict on the solution, edited by edit(dict grade id -> cell, cells)."""
    source = next((ROOT / "solutions").glob(f"{lesson}_*.ipynb"))
    book = json.loads(source.read_text(encoding="utf-8"))
    named = {c["metadata"].get("nbgrader", {}).get("grade_id", ""): c for c in book["cells"]}
    edit(named, book["cells"])
    path = tmp_path / source.name
    path.write_text(json.dumps(book), encoding="utf-8")
    return {v.task.id: (v.points, v.text) for v in verdict.grade(path, seed=seed)}


def put(source, **more):
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": []} | more


def full(found):
    """Those that did not get full points."""
    return {i: said for i, said in found.items() if said[0] < find(i).points}


def before(text):
    """An edit that puts a source before the answer to 07.1, in its cell."""

    def edit(named, book):
        cell = named["answer-07-1"]
        cell["source"] = textwrap.dedent(text) + "\n" + "".join(cell["source"])

    return edit


def inside(text):
    """An edit that begins the answer to 07.1 with some lines."""

    def edit(named, book):
        cell = named["answer-07-1"]
        lines = "".join(cell["source"]).split("\n")
        lines[1:1] = textwrap.indent(textwrap.dedent(text).strip(), "    ").split("\n")
        cell["source"] = "\n".join(lines)

    return edit


FORMS = {
    "help": before("print?\nlen??"),
    "a command": before("!ls -l"),
    "what a command says": before("x = !ls\nprint(x, x.n, x.s)"),
    "time": before("r = %time 3 + 4\nassert r == 7\n%time y = 2\nassert y == 2"),
    "timeit in an if": before(
        "if True:\n    %timeit -n 1 sum([1])\n    %time z = 5\nassert z == 5"),
    "plots": before(
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nfig, ax = plt.subplots()\n"
        "ax.plot([1, 2])\nplt.show()"),
    "await": before(
        "import asyncio\nawait asyncio.sleep(0)\nx = await asyncio.sleep(0, 3)\nassert x == 3"),
    "the shell": before("ip = get_ipython()\nip.run_line_magic('matplotlib', 'inline')\n"
                        "ip.system('ls')\nname = ip.__class__.__name__"),
    "display": before(
        "from IPython.display import display, Markdown, clear_output\nimport IPython\n"
        "display(Markdown('x'))\nclear_output(wait=True)\nIPython.display.HTML('x')"),
    "a cell's time": lambda named, book: named["answer-07-1"].update(
        source="%%time\n" + "".join(named["answer-07-1"]["source"])),
    "a cell's capture": lambda named, book: named["answer-07-1"].update(
        source="%%capture out\n" + "".join(named["answer-07-1"]["source"])),
    "a form in the answer": inside("x = !ls\n%time 1\nget_ipython()\nr = %time len(shape)\n"
                                   "assert r == len(shape)"),
    "a file of its own": lambda named, book: book.insert(2, put("%%writefile mine.py\ntwo = 2")) or
        before("import mine\nassert mine.two == 2")(named, book),
    "strict numbers": before("np.seterr(all='raise')"),
    "strict warnings": before("import warnings\nwarnings.simplefilter('error')"),
    "output": inside("print('x' * 10**5)"),
    "a check that fails": before("check('07.1', lambda g, shape: g)"),
    "an edited first cell": lambda named, book: book[1].update(
        source="import math, functools\n" + "".join(book[1]["source"])) or
        before("math.pi; functools.cache")(named, book),
    "an edited first cell with more": lambda named, book: book[1].update(
        source="import numpy as np, scipy, math\nimport pandas as pd\nfrom sklearn import svm\n"
        "from grading import check, hint, progress\nimport heapq") or
        before("math.pi")(named, book),
    "a first cell that is gone": lambda named, book: book.pop(1),
    "a first cell that is no code": lambda named, book: book[1].update(cell_type="markdown"),
    "checks that are gone": lambda named, book: [
        book.remove(cell) for name, cell in named.items() if name.startswith("check")],
    "a check of another name": lambda named, book: (
        named["answer-07-1"].update(
            source="".join(named["answer-07-1"]["source"]).replace("def unbroadcast", "def mine")),
        named["check-07-1"].update(source="check('07.1', mine)\nunbroadcast = mine")),
    "answers in one cell": lambda named, book: (
        named["answer-07-1"].update(source="".join(named["answer-07-1"]["source"]) + "\n\n" +
                                    "".join(named["answer-07-2"]["source"])),
        named["answer-07-2"].update(source="")),
    "an answer at the end": lambda named, book: book.append(
        put("".join(named["answer-07-4"]["source"]))) or named["answer-07-4"].update(source=""),
    "a wrong try after the right one": lambda named, book: book.append(
        put("def unbroadcast(g, shape): return g\ncheck('07.1', unbroadcast)")),
    "a helper of one name in two cells": lambda named, book: (
        named["answer-07-1"].update(source="def helper(g): return g.sum(axis=0)\n" +
            "".join(named["answer-07-1"]["source"]).replace("g = g.sum(axis=0)", "g = helper(g)")),
        named["answer-07-4"].update(source="def helper(a): return None\n" +
            "".join(named["answer-07-4"]["source"]))),
    "an error in a cell": lambda named, book: book.insert(2, put("1 / 0")),
    "a class of its own": before(
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int"),
    "an exit": lambda named, book: book.insert(2, put("import sys\nsys.exit()\n")),
    "annotations": before("from __future__ import annotations"),
    "a thread": before("import threading\nt = threading.Thread(target=print)\nt.start(); t.join()"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_runs_in_the_notebook_runs_for_the_verdict(form, tmp_path, monkeypatch):
    few = {i: t for i, t in tasks("07").items() if i != "07.3"}  # which takes a second
    monkeypatch.setattr(verdict, "tasks", lambda lesson: few)
    assert not full(graded(tmp_path, "07", FORMS[form]))


def test_imports_and_helpers_of_other_answers(tmp_path):
    def softmax(named, book):
        cell = named["answer-05-2"]
        assert "softmax" not in cell["source"]
        lines = "".join(cell["source"]).split("\n")
        at = next(i for i, line in enumerate(lines) if line.startswith("def "))
        lines.insert(at + 1, "    softmax(np.ones((2, 2)), 1)")
        cell["source"] = "\n".join(lines)

    assert not full(graded(tmp_path, "05", softmax))

    def counter(named, book):
        first, third = named["answer-01-1"], named["answer-01-3"]
        first["source"] = "from collections import Counter\n" + "".join(first["source"])
        third["source"] = "Counter()\n" + "".join(third["source"])

    assert not full(graded(tmp_path, "01", counter))

    def math(named, book):
        book[1]["source"] = "import math\n" + "".join(book[1]["source"])
        named["answer-00-1"]["source"] = "math.pi\n" + "".join(named["answer-00-1"]["source"])

    assert not full(graded(tmp_path, "00", math))


def test_two_processes_where_there_is_one(tmp_path):
    def parallel(named, book):
        cell = named["answer-02-3"]
        text = "".join(cell["source"])
        cell["source"] = text.replace("return_estimator=True", "return_estimator=True, n_jobs=2")
        assert "n_jobs" in cell["source"]

    assert not full(graded(tmp_path, "02", parallel))


def test_a_slow_answer_gets_its_points_both_ways():
    few = lambda rng: list(find("07.1").cases(rng))[:3]  # noqa: E731
    slow = UNBROADCAST.replace(
        "    while g.ndim", "    import time; time.sleep(0.7)\n    while g.ndim"
    )
    assert one("07.1", slow, cases=few, seconds=1.0).points == 2
    stuck = UNBROADCAST.replace("    while", "    while True: pass\n    while", 1)
    found = one("07.1", stuck, cases=few, seconds=1.0)
    assert found.points == 0 and "longer than 1 seconds; does every loop end?" in found.text


@pytest.mark.parametrize(
    "source",
    [
        "from collections import namedtuple\nPair = namedtuple('Pair', 'a b')\n"
        "def matmul_gradient(g, a, b): return Pair(*RIGHT(g, a, b))",
        "def matmul_gradient(g, a, b): return list(RIGHT(g, a, b))",
        "def matmul_gradient(g, a, b):\n    r = RIGHT(g, a, b)\n"
        "    a[...] = 0; b[...] = 0; g[...] = 0\n    return r",
        "def matmul_gradient(g, a, b): return (x for x in RIGHT(g, a, b))",
        "def matmul_gradient(g, a, b): return [[x] * 99 for x in RIGHT(g, a, b)]",
        "def matmul_gradient(g, a, b): return 10**400",
        "def matmul_gradient(g, a, b): return {1: a, np.int64(2): b}",
        "def matmul_gradient(g, a, b): return a + 1j, b",
        "def matmul_gradient(g, a, b): raise ValueError('\\ud800')",
        "def matmul_gradient(g, a, b): raise NotImplementedError",
        "def matmul_gradient(g, a, b): return np.full(3, 'x')",
        "def matmul_gradient(g, a, b): return None",
        "import sys\ndef matmul_gradient(g, a, b): sys.exit()",
        "def matmul_gradient(g, a): return 1",
        "1 / 0",
    ],
)  # fmt: skip
def test_odd_answers_get_one_verdict_both_ways(source):
    right = textwrap.dedent(find("07.2").right[0]).replace("matmul_gradient", "RIGHT")
    one("07.2", f"{right}\n{source}")


# --- nothing of the judgement beside the answer ---------------------------------------------

FRAMES = """
import gc, sys
def seen():
    found, frame = set(), sys._getframe(1)
    while frame is not None:
        found |= {*frame.f_locals, *frame.f_globals}
        frame = frame.f_back
    for thing in gc.get_objects():
        if callable(thing) and hasattr(thing, '__name__'):
            found.add(str(thing.__name__))
    return sorted(w for w in found if any(part in str(w) for part in WORDS))
WORDS = 'expected', 'reference', 'judge', 'examine', 'bottom', 'bowl', 'vote_of_three', 'verdict'
"""


@pytest.mark.parametrize("task_id", ["02.1", "03.4", "04.4", "07.3", "07.4"])
def test_frames_lead_to_nothing_of_the_judgement(task_id):
    task = find(task_id)
    body = f"def {task.name}(*arguments): raise ValueError(str(seen()))"
    submitted = agreement.with_answer(task, FRAMES + body)
    text = agreement.outside(task, submitted, seed=1).text
    inside = text.partition("ValueError: ")[2].partition("]")[0] + "]"
    assert inside in ("[]", "['vote_of_three']"), text


def test_an_answer_in_place_is_compared_with_what_it_was_given():
    source = """
        import gc, sys
        def separable(x, labels):
            frame = sys._getframe(1)
            while frame is not None:
                for thing in frame.f_locals.values():
                    if isinstance(thing, np.ndarray):
                        thing[...] = 0
                frame = frame.f_back
            for thing in gc.get_objects():
                if isinstance(thing, tuple):
                    for part in thing:
                        if isinstance(part, np.ndarray) and part.flags.writeable:
                            part[...] = 0
            return "inseparable", np.ones(len(labels))
    """
    task = find("03.4")
    source = textwrap.dedent(source).replace("separable(x", f"{task.name}(x", 1)
    found = agreement.outside(task, agreement.with_answer(task, source), seed=1)
    assert found.points < task.points / 2


def test_what_an_answer_changes_is_seen():
    source = find("05.1").right[0]
    name = find("05.1").name
    wrapped = textwrap.dedent(source).replace(f"def {name}", "def right")
    wrapped += (
        f"\ndef {name}(scores, axis):\n    p = right(scores, axis)\n    scores += 1\n    return p"
    )
    assert one("05.1", wrapped).points < find("05.1").points


# --- what the notebook says of it -----------------------------------------------------------


def test_check_says_what_will_be_closed(capsys):
    space = {"np": np, "__name__": "__main__"}
    source = "import scipy.special as sp\n" + UNBROADCAST.replace("def unb", "def own_unb")
    source += "\ndef unbroadcast(g, shape):\n    sp; return own_unbroadcast(g, shape)"
    exec(source, space)
    grading.check("07.1", space["unbroadcast"])
    said = capsys.readouterr().out
    assert "scipy cannot be imported while this task is graded" in said
    assert "2 of 2 points" in said
    exec(UNBROADCAST, space)
    grading.check("07.1", space["unbroadcast"])
    assert "cannot be imported" not in capsys.readouterr().out
    exec("def unbroadcast(g, shape):\n    import scipy.stats\n    return 1", space)
    with pytest.raises(grading.notebook.NotRightYet):
        grading.check("07.1", space["unbroadcast"])
    assert "scipy cannot be imported" in capsys.readouterr().out
    exec("from sklearn.svm import SVC\ndef unbroadcast(g, shape):\n    return SVC", space)
    with pytest.raises(grading.notebook.NotRightYet):
        grading.check("07.1", space["unbroadcast"])
    assert "sklearn cannot be imported" in capsys.readouterr().out


def test_a_wrong_retry_takes_no_points_away(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    grading.notebook._points.clear()
    grading.check("07.1", find("07.1").compile(UNBROADCAST))
    with pytest.raises(grading.notebook.NotRightYet):
        grading.check("07.1", lambda g, shape: g)
    grading.progress("07")
    assert capsys.readouterr().out.splitlines()[-1] == "2 of 13 points"


def test_cells_without_end_do_not_keep_the_grader(tmp_path, monkeypatch):
    few = {"07.1": tasks("07")["07.1"]}
    monkeypatch.setattr(verdict, "tasks", lambda lesson: few)
    monkeypatch.setattr(verdict, "ALL_CELLS", 1.0)
    busy = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"

    def edit(named, book):
        book[:] = book[:5] + [put(busy)] * 500 + book[5:]

    began = time.monotonic()
    assert not full(graded(tmp_path, "07", edit))
    assert time.monotonic() - began < 120


def test_a_notebook_whose_process_ends_again_and_again_says_so(tmp_path, monkeypatch):
    few = {i: t for i, t in tasks("07").items() if i in ("07.1", "07.2")}
    monkeypatch.setattr(verdict, "tasks", lambda lesson: few)
    monkeypatch.setattr(verdict, "RESTARTS", 3)

    def edit(named, book):
        at = book.index(named["answer-07-2"])
        book[at:at] = [put("import os; os._exit(1)")] * 5

    found = graded(tmp_path, "07", edit)
    assert found["07.1"][0] == 2 and found["07.2"][0] == 0
    assert "process ended 3 times, and what came then was not run" in found["07.2"][1]
