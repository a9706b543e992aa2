"""The mutants of `mutation.py`: how they are made and drawn, and what becomes of them in a project
of a few lines, in a process of its own, since a process with threads is not to be forked."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("coverage", reason="waits for coverage")
pytest.importorskip("resource", reason="a system without fork")

import mutants
import mutation

TOY = '''"""A toy."""
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from os import path as never

LIMIT = 3


def total(xs: list[int], start=0) -> list[int]:  # the sum
    """All of them."""
    n = start
    for x in xs:
        n += x  # one more
    return n


def larger(a, b):
    if a > b:
        return a
    return b


def waits(n):
    while n > 0:
        n -= 1
    return n


def unseen(x):
    return x + 1
'''
TESTS = """
from toy.sums import LIMIT, larger, total, waits


def test_total():
    assert total([1, 2, 4]) == 7


def test_larger():
    assert [larger(1, 2), larger(2, 1), larger(2, 2)] == [2, 2, 2]


def test_waits():
    assert waits(3) == 0


def test_limit():
    assert LIMIT == 3
"""
FILE = "toy/sums.py"


@pytest.fixture
def toy(tmp_path):
    for name, text in {FILE: TOY, "tests/test_sums.py": TESTS, "pyproject.toml": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def every(root):
    """All mutants of the toy."""
    places = list(mutants.changeable(root, FILE))
    return [m for place in places for new in place.others if (m := mutants.made(place, new))]


# --- how they are made ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, function, line",
    [
        ("if a > b: -> if (a >= b):", "larger", 19),
        ("if a > b: -> if (not a > b):", "larger", 19),
        ("n += x # one more -> n -= x # one more", "total", 14),
        ("n += x # one more -> pass # one more", "total", 14),
        ("for x in xs: -> for x in (list(xs)[1:]):", "total", 13),
        ("return b -> return a", "larger", 21),
        ("LIMIT = 3 -> LIMIT = 4", "", 7),
        (
            "def total(xs: list[int], start=0) -> list[int]: # the sum -> "
            "def total(xs: list[int], start=1) -> list[int]: # the sum",
            "total",
            10,
        ),
    ],
)
def test_what_can_be_changed(toy, change, function, line):
    found = [m for m in every(toy) if m.change == change]
    assert [(m.function, m.line) for m in found] == [(function, line)]


def test_a_mutant_differs_in_one_place_and_keeps_the_rest(toy):
    lines = TOY.splitlines()
    for m in every(toy):
        new = m.source.splitlines()
        first = next(i for i, (a, b) in enumerate(zip(lines, new)) if a != b)
        rest = lines[first + 1 :]
        if "break" not in m.change and len(new) == len(lines):
            assert new[first + 1 :] == rest, m
        compile(m.source, FILE, "exec")
    assert len({m.source for m in every(toy)}) > 20


def test_types_and_what_checkers_read_are_left_alone(toy):
    assert not [m for m in every(toy) if "never" in m.change or "list[int" not in m.source]
    assert not [m for m in every(toy) if m.source.count("list[int]") != 2]


def test_a_seed_draws_the_same_and_no_place_twice(toy):
    drawn = [mutants.drawn(toy, [FILE], 10, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 10
    assert len(mutants.drawn(toy, [FILE], 1000, 0)) < len(every(toy))


def test_all_of_minidl_that_is_named_is_there(tmp_path):
    project = mutation.Project(mutation.ROOT, mutation.PARTS, tmp_path)
    missing = [part for part in mutation.PARTS if not list(mutation.ROOT.glob(part))]
    missing += [tests for tests in mutation.PARTS.values() if not (mutation.ROOT / tests).exists()]
    assert missing == []
    assert {"minidl/engine/ops.py", "minidl/train/trainer.py"} <= set(project.parts)


def test_what_is_explained_is_still_there():
    for (file, function, change), why in mutation.reasons().items():
        source = re.sub(r"\s+", " ", (mutation.ROOT / file).read_text(encoding="utf-8"))
        assert change.partition(" -> ")[0] in source, f"{file}: {change}"
        assert (why and f"def {function.rpartition('.')[2]}(" in source) or not function


@pytest.mark.parametrize("k, n, low, high", [(0, 10, 0, 0.2775), (8, 10, 0.4902, 0.9433)])
def test_interval(k, n, low, high):
    """Beside the figures of Newcombe, 1998, and of scipy.stats.binomtest."""
    assert mutation.wilson(k, n) == pytest.approx((low, high), abs=1e-4)


# --- what becomes of them ------------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
import mutants, mutation
root, work, wanted = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
mutation.SECONDS = 0.5
project = mutation.Project(root, {"toy/*.py": "tests"}, work, copies=2)
places = list(mutants.changeable(root, "toy/sums.py"))
every = [m for place in places for new in place.others if (m := mutants.made(place, new))]
chosen = [next(m for m in every if m.change == change) for change in wanted]
notes = mutation.Notes.opened(root / "notes", {"sources": "", "tests": ""})
project.prepare()
project.check()
mutation.run(project, chosen, notes, tell=lambda line: None)
print(*mutation.report(project, chosen, notes, {}), sep="\\n")
"""


def run(toy, wanted):
    """What a run says of some mutants of the toy, and its notes: number -> what failed."""
    path = Path(__file__).resolve().parent
    with tempfile.TemporaryDirectory() as work:
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(path)!r})" + RUN,
             str(toy), work, json.dumps(wanted)],
            capture_output=True, text=True, encoding="utf-8",
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (toy / "notes").read_text(encoding="utf-8").splitlines()[1:]
    found = {}
    for entry in map(json.loads, lines):
        found.setdefault(entry["number"], []).append(entry["failed"])
    return done.stdout, found


KNOWN = {
    "n += x # one more -> n -= x # one more": "tests/test_sums.py::test_total",
    "LIMIT = 3 -> LIMIT = 4": "tests/test_sums.py::test_limit",
    "n -= 1 -> pass": "late",
    "if a > b: -> if (a >= b):": None,  # equal
    "return x + 1 -> return (x - 1)": None,  # run by no test
}


@pytest.mark.slow
def test_the_verdict_and_a_run_that_goes_on(toy):
    said, found = run(toy, list(KNOWN))
    for i, (change, expected) in enumerate(KNOWN.items()):
        noticed = [failed for failed in found[i] if failed]
        assert [text[: len(expected or "")] for text in noticed] == [expected] * bool(expected), (
            change
        )
    assert "killed: 3 of 5, 60.0 %, 95 % interval 23.1 to 88.2" in said
    assert said.count("toy/sums.py:") == 2
    assert (toy / FILE).read_text(encoding="utf-8") == TOY

    notes = (toy / "notes").read_text(encoding="utf-8").splitlines(keepends=True)
    (toy / "notes").write_text("".join(notes[:3]) + '{"number": 2, "fai', encoding="utf-8")
    again, same = run(toy, list(KNOWN))
    assert (again, same) == (said, found)


@pytest.mark.slow
def test_a_project_whose_tests_fail_is_told(toy):
    (toy / "tests" / "test_sums.py").write_text(TESTS.replace("== 7", "== 8"), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"without any mutant: tests: .*test_total"):
        run(toy, list(KNOWN))


def test_a_run_that_is_not_over_counts_those_that_survived_so_far(toy):
    project = mutation.Project(toy, {"toy/*.py": "tests"}, toy)
    drawn = mutants.drawn(toy, [FILE], 6, 0)
    notes = mutation.Notes.opened(toy / "notes", {"tests": ""})
    for number, rounds in enumerate(
        [["a test"], ["late, status 27"], [None], [None, None], [None]]
    ):
        for failed in rounds:
            notes.add(number, failed)
    why = {(drawn[4].file, drawn[4].function, drawn[4].change): "equal"}
    rows = [" ".join(row.split()) for row in mutation.report(project, drawn, notes, why)]
    assert rows[2:5] == [
        "all 1 1 1 2 1",
        "killed: 2 of 5, 40.0 %, 95 % interval 11.8 to 76.9",
        "or explained: 3 of 5, 60.0 %, 95 % interval 23.1 to 88.2",
    ]
    assert ["is to come" in row for row in rows[5:]] == [True, False]


def test_notes_of_another_run_are_refused(tmp_path):
    head = {"seed": 0, "sources": "a", "tests": "a"}
    mutation.Notes.opened(tmp_path / "notes", head).add(0, None)
    mutation.Notes.opened(tmp_path / "notes", head).add(1, "a test")
    assert mutation.Notes.opened(tmp_path / "notes", head).found == {0: [None], 1: ["a test"]}
    with pytest.raises(SystemExit, match="of another run"):
        mutation.Notes.opened(tmp_path / "notes", head | {"sources": "b"})
    new = head | {"tests": "b"}
    with pytest.raises(SystemExit, match="--survivors"):
        mutation.Notes.opened(tmp_path / "notes", new)
    kept = mutation.Notes.opened(tmp_path / "notes", new, survivors=True)
    assert kept.found == {1: ["a test"]}
    assert mutation.Notes.opened(tmp_path / "notes", new).found == {1: ["a test"]}
