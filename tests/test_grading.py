"""The grader graded: the bank, the notebook's tools, the verdict outside, and what it writes.

Submissions that attack it, and whole classes, are in test_classroom.py.
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import grading
from grading import audit, child, judge, mutate, notebook, relations, sandbox, verdict
from grading.task import find, lessons, tasks

ROOT = Path(__file__).resolve().parent.parent
SOLUTION = ROOT / "solutions" / "07_tensor.ipynb"
EXERCISE = ROOT / "exercises" / "07_tensor.ipynb"
TASKS = [task for lesson in lessons() for task in tasks(lesson).values()]
# Two of each lesson, so that CI stays below its 45 minutes: which, MINIDL_DRAW says.  The audit
# names the mistakes of all tasks, in this process, and tries whole notebooks of all lessons.
DRAWN = [
    task
    for lesson in lessons()
    for task in random.Random(f"{os.environ.get('MINIDL_DRAW', 0)}, {lesson}").sample(
        [*tasks(lesson).values()], 2
    )
]
LOOPING = [t for t in TASKS if any("while" in source for _, source in t.bank())]
UNBROADCAST = find("07.1")


def ids(task):
    return task.id


# That no task has a fault is not tested here: `make test` runs `python -m grading audit`.


@pytest.mark.slow
@pytest.mark.parametrize("task", DRAWN, ids=ids)
def test_an_error_in_the_learners_notebook_fails_though_the_package_is_right(task, tmp_path):
    sentence, source = next(iter(task.bank()))
    path = answers(tmp_path, task.lesson, {task.id: source})
    found = {v.task.id: v for v in verdict.grade(path, jobs=2)}
    assert found[task.id].points < task.points and found[task.id].mistake == sentence
    assert not [(i, v) for i, v in found.items() if i != task.id and v.points != v.task.points]


def answers(folder, lesson, sources, extra="", name="alice"):
    """A copy of a lesson's solution with other answers: {task id: source}."""
    solution = next((ROOT / "solutions").glob(f"{lesson}_*.ipynb"))
    book = json.loads(solution.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id", "")
        for task_id, source in sources.items():
            if grade_id == verdict.answer_id(task_id):
                cell["source"] = textwrap.dedent(source)
    for source in [extra] if isinstance(extra, str) else extra:
        cell = {"cell_type": "code", "metadata": {}, "source": source, "outputs": []}
        book["cells"].insert(2, cell)
    path = Path(folder, name, solution.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


def test_the_audit_notices_a_weak_task():
    weak = replace(UNBROADCAST, cases=lambda rng: [next(UNBROADCAST.cases(rng))])
    faults = list(audit.faults(weak))
    assert "a wrong answer passes" in "\n".join(faults)
    right = "def unbroadcast(g, shape): return g", "wrong " * 2
    strict = replace(UNBROADCAST, right=right, equal=())
    with pytest.raises(ValueError, match="the first right answer has no"):
        list(audit.faults(strict))
    same = replace(UNBROADCAST, wrong=(("never", "n == 1", "n == 1 "), *UNBROADCAST.wrong[:2]))
    faults = list(audit.faults(same))
    assert "needs 5" in "\n".join(faults)
    assert "a wrong answer passes, seed 0: never" in "\n".join(faults)
    twice = replace(UNBROADCAST, wrong=(("another", *UNBROADCAST.wrong[0][1:]), *UNBROADCAST.wrong))
    assert "not named" in "\n".join(audit.faults(twice))


ROWS = """
def total(x, start):
    rows = []
    for n, row in enumerate(x):
        if n >= start:
            rows.append(row.sum(axis=0) / 2)
    return np.array(rows)
"""


@pytest.mark.parametrize(
    "change",
    [
        "`n > start` in place of `n >= start`",
        "`>` in place of `>=`",
        "`sum` over axis 1 in place of axis 0",
        "`sum` over all axes in place of axis 0",
        "the axis kept or dropped the other way (keepdims)",
        "`*` in place of `/`",
        "3 in place of 2",
        "a step left out (`append`)",
        "a condition turned round",
        "a loop that ends after the first round",
        "the last one left out",
        "`return` inside the loop, after its first round",
        "the result cut to whole numbers",
        "as if `x` held whole numbers",
        "only the first 20 rows of `x` looked at",
        "`x` changed by the call",
        "something kept from one call to the next",
    ],
)
def test_a_mutant_knows_what_it_changed(change):
    found = {words for words, _, _ in mutate.changes(ROWS, "total", {"x": "f"}, "f1")}
    assert change in found or change.startswith("`n >")


def test_each_mutant_differs_in_one_place_and_the_tree_is_put_back():
    programs = [program for _, _, program in mutate.changes(ROWS, "total", {"x": "f"}, "f1")]
    original = ROWS.strip().splitlines()
    assert len(programs) > 40
    inputs = [p for p in programs if "_right" in p or "ndim" in p]
    for program in programs:
        differing = [line for line in program.splitlines() if line not in original]
        assert len(differing) <= 2 or program in inputs, program


def test_no_mutant_exchanges_what_makes_no_difference():
    source = """
def total(x, y):
    a = x + 1
    b = y + 2
    c = max(a, b)
    return abs(a - b) + (a - c) ** 2
"""
    found = [text for words, text, _ in mutate.changes(source, "total", {}, "") if "exch" in words]
    assert not found
    found = [words for words, _, _ in mutate.changes(source, "total", {}, "")]
    assert found.count("two steps in the other order") == 1


def test_an_endless_mutant_is_ended_by_counting():
    endless = "def unbroadcast(g, shape):\n    while True:\n        g = g * 1"
    began = time.process_time()
    found = judge.known_results(UNBROADCAST, 0, endless)
    assert {type(result) for result in found} == {judge.TooLong}
    assert time.process_time() - began < 2


@pytest.mark.slow
@pytest.mark.parametrize("task", LOOPING, ids=ids)
def test_a_known_answer_that_is_stopped_would_not_have_come_to_an_end(task):
    """A learner's answer is not stopped by rounds: one that ends later would have no name."""
    cases = judge.expected(task, seed := 7)[0]
    longest = max(judge._rounds(task, seed, variant) for variant in range(len(task.right)))
    for sentence, source in task.bank():
        for i, result in enumerate(judge.known_results(task, seed, source)):
            if isinstance(result, judge.TooLong) and "while" in source:
                function, counter = judge._known(task, source)
                counter[:] = 0, 7 * longest + 20_000
                again = judge.run(task, function, cases[i][1])
                assert isinstance(again, judge.TooLong), (sentence, cases[i], counter)


def test_the_audit_of_notebooks_alone_notices_what_disagrees(monkeypatch, capsys):
    """In CI's second part the rest would be the same again, number by number."""

    def examined(pool, f, jobs):
        return map(f, jobs)

    monkeypatch.setattr(audit.ProcessPoolExecutor, "map", examined)
    monkeypatch.setattr(audit, "whole", lambda lesson: iter([f"{lesson} is wrong"]))
    monkeypatch.setattr(audit, "faults", lambda *_: pytest.fail("the bank is tried"))
    monkeypatch.setattr(audit, "examine_mutants", lambda *_: pytest.fail("mutants are tried"))
    ways = [SimpleNamespace(points=p, passed=(), failed=(), mistake="") for p in (2, 0)]
    monkeypatch.setattr(audit.agreement, "both_ways", lambda *_: ways)
    n = audit.audit(["00", "--notebooks"])
    told = capsys.readouterr().out
    tasks = len(audit.tasks("00"))
    assert n == 1 + 2 * tasks and "00 is wrong" in told
    assert told.count("the two ways disagree: ") == 2 * tasks
    assert f"{tasks} tasks: a right and a wrong answer of each" in told.splitlines()[-1]
    assert "0 of 0" not in told


def test_the_audit_notices_a_mutant_that_passes():
    def cases(rng):
        yield "a square", np.ones((2, 2)), (2, 2)
        yield "a row in front", np.ones((2, 2)), (2,)

    weak = replace(UNBROADCAST, cases=cases, equal=())
    found = audit.examine_mutants(weak, seeds=2, drawn=None)
    assert found.alive and found.killed and not found.equal
    assert "a mutant passes, all seeds: variant 1" in "\n".join(found.faults(weak))
    mutant = found.alive[0][0]
    excused = replace(weak, equal=((mutant.text, "it is the same"),))
    again = audit.examine_mutants(excused, seeds=2, drawn=None)
    assert mutant not in [m for m, _ in again.alive] and again.equal >= 1
    assert len(audit.examine_mutants(weak, seeds=1, drawn=5).alive) <= 5
    killed = next(m for m in mutate.mutants(weak) if not audit.passes(weak, m.source, 0))
    lying = replace(weak, equal=((killed.text, "so they say"), ("no such text", "neither")))
    found = audit.examine_mutants(lying, seeds=1, drawn=None)
    assert "listed as equal, and fails" in "\n".join(found.faults(lying))
    assert "no mutant is as listed under equal: no such text" in "\n".join(audit.faults(lying, 1))


def test_a_mutant_that_passes_under_some_seeds_is_noticed():
    def cases(rng):
        yield "sometimes", rng.normal(size=(3, int(rng.integers(1, 3)))), (3, 1)

    weak = replace(UNBROADCAST, cases=cases)
    found = audit.examine_mutants(weak, seeds=6, drawn=None)
    assert [seeds for _, seeds in found.alive if 0 < len(seeds) < 6]


def test_the_readme_tells_the_kill_rate():
    n = sum(len(task.wrong) for task in TASKS)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"{n} of {n} wrong answers caught and named" in text


# --- judging -------------------------------------------------------------------------------


A = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "expected, got, same",
    [
        (3.0, 3, True),
        (3, np.float32(3), True),
        (3.0, np.array(3.0), True),
        (3.0, np.array([3.0]), False),
        (3.0, 3.0 + 1e-11, True),
        (3.0, 3.1, False),
        (3.0, "3.0", False),
        (3.0, None, False),
        (True, np.True_, True),
        (True, False, False),
        ([1, 2], np.array([1, 2]), True),
        ([1, 2], (1, 2), True),
        ([1, 2], [2, 1], False),
        ([], (), True),
        ([], np.zeros(0), True),
        (A[0, :0], [], True),
        ((A, A[0, :0]), (A, []), True),
        (A[:0], [], False),
        (A, A.tolist(), True),
        (A, A.T, False),
        (A[:0], A[:0], True),
        (A[:0], A[:, :0], False),
        ((A, A[0]), [A, A[0]], True),
        ((A, A), np.stack([A, A]), True),
        ((A, A[0]), [A, A], False),
        ((A, A[0]), [A], False),
        ("abc", "abc", True),
        ("abc", ["abc"], False),
        (["a", "b"], ("a", "b"), True),
        (["a", "b"], np.array(["a", "b"]), True),
        ({"a": 1, "b": A}, {"b": A, "a": 1.0}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (np.nan, np.nan, True),
        (np.inf, np.inf, True),
        (np.inf, -np.inf, False),
        (None, None, True),
        (ValueError("x"), ValueError("y"), True),
        (ValueError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, ""), True),
        (ValueError("x"), TypeError("x"), False),
        (ValueError("x"), 1.0, False),
        (1.0, ValueError("x"), False),
        (Exception("x"), judge.NotGiven("x"), False),
    ],
)
def test_agree(expected, got, same):
    got = got if isinstance(got, Exception) else child.plain(got)
    assert judge.agree(UNBROADCAST, expected, got) is same


class Any:
    """Equal to everything, and of any shape."""

    shape, dtype, ndim = (), np.dtype(float), 0

    def __eq__(self, other):
        return True

    def __array__(self, *a, **k):
        return self

    __hash__ = None


class Liar(np.ndarray):
    def __sub__(self, other):
        return np.zeros(other.shape)

    __eq__ = __le__ = __array_ufunc__ = lambda *a, **k: True
    __hash__ = None


@pytest.mark.parametrize(
    "thing", [Any(), np.zeros(3).view(Liar), object(), [Any()], {"a": Any()}, lambda: 0, 1 << 9999]
)
def test_what_crosses_is_plain_or_refused(thing):
    try:
        value = child.plain(thing)
    except TypeError as error:
        assert "expected numbers, got" in str(error)
    else:
        assert type(value) in (int, np.ndarray)
        assert not judge.agree(UNBROADCAST, np.ones(3), value)


PLAIN = [
    None, True, 3, -2.5, 2.0, np.nan, "text\n", (), [1, "a", None], {"k": (1, A)}, {1: A[:0]},
    A > 2, np.float32(1.5), np.array(7), np.zeros((0, 3)), np.arange(3)[::-1], A * 1j,
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN)
def test_what_goes_out_comes_back(value):
    back = child.plain(value)
    assert type(back) is (np.ndarray if isinstance(value, np.generic) else type(value))
    assert judge.agree(UNBROADCAST, back, child.plain(value))
    assert repr(back) == repr(value) or isinstance(value, np.generic)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype


def said_of(source, task=UNBROADCAST):
    verdict = audit.verdict_on(task, textwrap.dedent(source))
    assert verdict.points < task.points
    return verdict


def test_an_answer_that_changes_its_inputs_is_told_so():
    verdict = said_of(
        """
        def distances(a, b):
            result = np.sqrt(((a[:, None] - b) ** 2).sum(axis=2))
            a *= 2
            return result""",
        find("00.2"),
    )
    assert "an input may not be changed" in verdict.text and "changed" in verdict.text
    free = replace(find("00.2"), may_change=True)
    assert audit.verdict_on(free, free.right[0]).points == free.points


def test_an_answer_that_keeps_something_is_told_so():
    verdict = said_of(
        """
        calls = []
        def distances(a, b):
            calls.append(a)
            rows = len([c for c in calls if c is a])
            return rows * np.sqrt(((a[:, None] - b) ** 2).sum(axis=2))""",
        find("00.2"),
    )
    assert "nothing may be kept from one call to the next" in verdict.text
    verdict = said_of(
        """
        known = []
        def distances(a, b):
            if any(c is a for c in known):
                raise ValueError("again")
            known.append(a)
            return np.sqrt(((a[:, None] - b) ** 2).sum(axis=2))""",
        find("00.2"),
    )
    assert "ValueError: again" in verdict.text


def test_one_open_branch_costs_its_own_cases():
    verdict = said_of("""
        def unbroadcast(g, shape):
            if g.ndim != len(shape):
                raise NotImplementedError
            for i, n in enumerate(shape):
                g = g.sum(axis=i, keepdims=True) if n == 1 else g
            return g""")
    assert verdict.passed[:1] == ["the same shape"] and verdict.points > 0
    assert "this part is not answered yet" in verdict.text


def test_after_one_that_took_too_long_nothing_is_said_of_the_others():
    cases, _ = judge.expected(UNBROADCAST, 0)
    good = judge.known_results(UNBROADCAST, 0, UNBROADCAST.right[0])
    slow = judge.TooLong("it took too long")
    for rest in ([slow] * (len(cases) - 2), [slow, *[judge.NotRun("")] * (len(cases) - 3)]):
        verdict = judge.judge(UNBROADCAST, 0, good[:2] + rest)
        assert verdict.text.startswith(f"{cases[2][0]}:")
        assert f"Wrong on: {cases[2][0]}.\n  Not tried after that: " in verdict.text


def test_a_loop_that_catches_its_own_end_is_ended(monkeypatch):
    quick = replace(UNBROADCAST, seconds=0.2)

    def stubborn(g, shape):
        while True:
            with contextlib.suppress(Exception):
                g = g + 1

    found = judge.run_all(quick, stubborn, judge.expected(UNBROADCAST, 0)[0])
    assert isinstance(found[0], judge.TooLong) and isinstance(found[1], judge.NotRun)


def test_a_forgotten_return_is_told():
    assert "without a `return`" in said_of("def unbroadcast(g, shape): g.sum()").text


def test_named_tuples_and_dicts_of_other_kinds_are_what_they_hold():
    from collections import Counter, OrderedDict, defaultdict, namedtuple

    pair = namedtuple("pair", "a b")
    assert child.plain(pair(1, [2.0])) == (1, [2.0])
    for kind in (defaultdict(int), Counter(), OrderedDict()):
        kind["x"] = 3
        assert child.plain(kind) == {"x": 3}


def test_a_mistake_that_is_in_no_bank_is_named_by_what_it_changed():
    found = said_of(
        """
        def summaries(photo):
            grey, colour = photo.mean(axis=2), np.zeros(photo.shape[2])
            for k in range(photo.shape[2]):
                colour[k] = photo[:, :, k].mean()
            return grey, grey.sum(axis=1), colour""",
        find("00.1"),
    )
    assert found.mistake == "like the right answer, but with `sum` in place of `mean`"
    assert "You get the same as with a right answer, but with `sum` in place" in found.text


@pytest.mark.parametrize("value", ["0", "None", "np.zeros(3)", "1 / 0", "g"])
def test_an_answer_that_says_nothing_is_not_named_by_machine(value):
    found = said_of(f"def unbroadcast(g, shape): return {value}")
    assert not found.mistake.startswith("like"), found.mistake


RIGHT = np.array([[1.25, -2.0], [3.5, 4.0], [0.5, 9.0]])


@pytest.mark.parametrize(
    "got, words",
    [
        (-RIGHT, "the sign is turned round"),
        (abs(RIGHT), "right but for their signs"),
        (RIGHT**2, "the square of what it should be"),
        (3 * RIGHT, "3 times what it should be"),
        (RIGHT - 0.5, "0.5 too small"),
        (RIGHT.T, "rows and columns are exchanged"),
        (RIGHT[None], "an axis of length 1"),
        (RIGHT[:-1], "the last one is missing"),
        (RIGHT[1:], "the first one is missing"),
        (RIGHT[::-1], "the order is turned round"),
        (RIGHT.ravel(), "another shape"),
        (np.trunc(RIGHT), "cut to whole ones"),
        (RIGHT.round(1), "rounded to 1 digits"),
        (np.where(np.arange(3)[:, None] == 2, 7, RIGHT), "all is right but the last one"),
    ],
)
def test_a_relation_of_results_is_told_if_it_holds_in_all_cases(got, words):
    def same(a, b):
        return judge.agree(UNBROADCAST, a, b)

    assert words in relations.between([(RIGHT, got)] * 2, same)
    assert words in relations.between([((1.0, RIGHT), (1.0, got))] * 2, same)
    assert words not in relations.between([(RIGHT, got), (RIGHT, 5 * RIGHT + 1)], same)


def kinds(*cases):
    """Cases of one input x: (group, x, whether the answer is wrong there)."""
    return [
        relations.Case(group, ("x",), (np.array([x]),), 1.0, "some word", "value" if wrong else "")
        for group, x, wrong in cases
    ]


def test_a_trait_is_told_only_where_it_parts_the_inputs_of_one_kind():
    within = kinds(
        *[(group, x, x < 0) for group in ("small", "large") for x in (-2.0, 3.0, -5.0, 4.0)]
    )
    told = relations.relation(within, judge._same)
    assert told == "it fails on the inputs in which some number is below 0, and on no other"
    between = kinds(*[(f"kind {k}", (-1.0) ** k, k % 2) for k in range(8)])
    assert relations.relation(between, judge._same) == ""


def test_nothing_is_said_of_all_inputs_while_some_were_not_tried():
    one_kind = kinds(*[("small", -2.0, True)] * 2, *[(f"kind {k}", 3.0, False) for k in range(4)])
    assert relations.relation(one_kind, judge._same) == 'it fails on "small" and on nothing else'
    assert relations.relation(one_kind, judge._same, complete=False) == ""
    endless = audit.verdict_on(
        find("02.2"),
        """
        def kmeans(x, centres):
            centres = centres.astype(float)
            while True:
                groups = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
                if x.min() < 0:
                    raise TimeoutError("it goes on for ever")
                new = np.array([x[groups == k].mean(axis=0) for k in range(len(centres))])
                if (new == centres).all():
                    return centres, groups
                centres = new""",
    )
    assert "Not tried after that" in endless.text
    assert not endless.mistake.startswith("it fails on")


def test_an_array_of_no_rows_is_as_good_as_an_empty_list():
    merges, table = find("11.5"), find("08.2")
    assert judge.agree(merges, [], np.zeros((0, 2))) and judge.agree(merges, (), np.zeros(0))
    for got in (np.zeros(()), np.zeros((2, 0)), np.zeros((1, 2)), None, {}, ""):
        assert not judge.agree(merges, [], got)
    assert not judge.agree(table, np.zeros((0, 2)), [])
    assert not judge.agree(table, np.zeros((0, 2)), np.zeros((0, 3)))


def test_empty_results_do_not_say_which_slice_was_meant():
    said = said_of(
        """
        def crop(picture, threshold):
            rows, columns = np.nonzero(picture > threshold)
            if not len(rows):
                return picture[:, :0]
            return picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]""",
        find("00.4"),
    )
    assert said.failed and "slice" not in said.mistake, said.mistake


def test_facts_are_told_of_answers_that_no_bank_and_no_machine_thought_of():
    said = said_of(
        """
        def distances(a, b):
            return 7 * np.sqrt(((a[:, None] - b) ** 2).sum(axis=2))""",
        find("00.2"),
    )
    assert said.mistake == "in each case that fails, each number is 7 times what it should be"
    assert "In each case that fails, each number is 7 times" in said.text
    said = said_of(
        """
        def found(labels, answers, K):
            matrix = np.zeros((K, K))
            for label, answer in zip(labels, answers):
                matrix[label, answer] += 1
            return matrix, 5 * np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)""",
        find("01.1"),
    )
    assert "result 2 alone is wrong: each number is 5 times" in said.mistake
    said = said_of(
        """
        def crop(picture, threshold):
            rows, columns = np.nonzero(picture > threshold)
            top, left = rows.min(initial=999), columns.min()
            return picture[top : rows.max() + 1, left : columns.max() + 1]""",
        find("00.4"),
    )
    assert "no first row" in said.mistake or "ValueError" in said.mistake


def test_what_stands_in_place_of_an_answer_is_told():
    say = judge.nothing_there
    assert say(UNBROADCAST) == "not answered yet"
    assert "SyntaxError: x" in say(UNBROADCAST, error="SyntaxError: x")
    assert "there is `Unbroadcast`" in say(UNBROADCAST, names=["np", "Unbroadcast"])
    assert "there is `unbrodcast`" in say(UNBROADCAST, names=["np", "unbrodcast"])
    assert say(UNBROADCAST, names=["np", "matmul"]) == "not answered yet"
    assert "Esc, then Y" in say(UNBROADCAST, markdown=True)
    assert "no function but int" in say(UNBROADCAST, thing=3)


def test_a_long_list_is_cut_so_that_what_differs_is_seen():
    right, got = list(range(100)), list(range(100))
    got[77] = "x"
    text = judge._beside(got, right)
    assert "76, 'x', 78" in text and "100 in all, shown from place 74" in text
    assert judge._beside([1, 2], [1, 3]) == "[1, 2]"
    where = judge.difference(
        UNBROADCAST, np.arange(50.0), np.where(np.arange(50) == 33, 9, right[:50])
    )
    assert "at [33]: 33 is expected, 9 came; 1 of 50 differ" in where


def test_an_unknown_mistake_gets_no_name():
    found = audit.verdict_on(UNBROADCAST, "def unbroadcast(g, shape): return np.zeros(shape) + 0.5")
    assert found.points < 2 and not found.mistake and "when" not in found.text


def text_of(source, task=UNBROADCAST):
    return audit.verdict_on(task, source).text


def test_the_text_shows_input_expected_got_and_where():
    text = text_of("def unbroadcast(g, shape): return np.full(shape, g.sum())")
    assert text.splitlines()[0] == "axes in front:"
    assert [line[:7].strip() for line in text.splitlines()[1:4]] == ["g", "", "shape"]
    assert "largest difference" in text and "3 of 3 differ" in text and "at [" in text
    assert "This is what you get when" not in text
    text = text_of("def unbroadcast(g, shape): return g.sum(axis=len(g))")
    assert "TypeError: len() of unsized object" in text
    text = text_of("def unbroadcast(g, shape): return g")
    assert "shape () is expected, (2, 2) came" in text
    assert "Right on: the same shape.\n  Wrong on: axes in front" in text
    text = text_of("def matmul_gradient(g, a, b): return g", find("07.2"))
    assert "1: [[" in text and "2: [[" in text
    text = text_of("def matmul_gradient(g, a, b): return a, b, g", find("07.2"))
    assert "2 results are expected, 3 came" in text
    text = text_of("def matmul_gradient(g, a, b): return a * 0, b", find("07.2"))
    assert "result 1: difference" in text or "result 1: largest difference" in text


def test_what_is_not_a_number_is_the_largest_difference():
    right, got = np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 9.0])
    text = judge.difference(UNBROADCAST, right, got)
    assert text == "largest difference nan, at [1]; 2 of 3 differ"


def test_a_difference_in_a_dict_names_the_key():
    def between(got):
        return judge.difference(UNBROADCAST, {"a": 1.0, "b": np.ones(2)}, got)

    assert between({"a": 1.0}) == "the key 'b' is missing"
    assert between({"a": 1.0, "b": [1, 1], "c": 0}) == "the key 'c' is too many"
    assert between({"a": 2.5, "b": [1, 1]}) == "at the key 'a': difference 1.5"


def test_a_large_array_is_shown_by_its_beginning():
    assert judge.show(np.zeros((0, 2))) == "[], shape (0, 2)"
    assert judge.show(np.ones((40, 3))) == "an array of shape (40, 3): 1, 1, 1, 1, ..."
    assert judge.show([np.array(1), np.array(0.5)]) == "[1, 0.5]"
    assert judge.show("x" * 999).endswith("(1001 characters)")


# --- in the notebook -----------------------------------------------------------------------


def right_answer(task):
    return task.compile(task.right[1])


def test_check_says_the_points_or_the_smallest_failing_input(capsys):
    grading.check("07.1", right_answer(UNBROADCAST))
    assert capsys.readouterr().out == "07.1 Undo broadcasting: 2 of 2 points\n"
    with pytest.raises(notebook.NotRightYet) as caught:
        grading.check("07.1", lambda g, shape: g)
    assert str(caught.value).startswith("07.1 Undo broadcasting: 0 of 2 points\na single number:")
    assert caught.value._render_traceback_() == str(caught.value).splitlines()
    with pytest.raises(notebook.NotRightYet, match="not answered yet"):
        grading.check("07.1", blank)
    with pytest.raises(TypeError, match="wants the function unbroadcast"):
        grading.check("07.1", 3)
    with pytest.raises(KeyError, match=r"no task '99\.9'; there are .*07\.1"):
        grading.check("99.9", blank)


def blank(*arrays):
    raise NotImplementedError


def test_check_ends_an_endless_loop(monkeypatch):
    quick = replace(UNBROADCAST, seconds=0.3)
    monkeypatch.setattr(notebook, "find", lambda task_id: quick)

    def endless(g, shape):
        while True:
            pass

    late = r"longer than 0\.3 seconds; does every loop"
    with pytest.raises(notebook.NotRightYet, match=late) as caught:
        grading.check("07.1", endless)
    assert "Wrong on: the same shape.\n  Not tried after that: axes in front" in str(caught.value)


def test_check_leaves_inputs_alone_and_shows_the_learners_error():
    def broken(g, shape):
        g[...] = 0
        raise ZeroDivisionError("mine")

    with pytest.raises(notebook.NotRightYet, match=r"got +ZeroDivisionError: mine"):
        grading.check("07.1", broken)
    grading.check("07.1", right_answer(UNBROADCAST))


def test_hints_come_one_by_one(capsys):
    notebook._hinted.clear()
    for n in (1, 2, 3, 3):
        grading.hint("07.2")
        out = capsys.readouterr().out
        assert out.count("07.2 hint") == n
    assert out.count("of 3:") == 3


def test_progress_counts_and_outlives_the_kernel(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(notebook, "HERE", tmp_path / "grading")
    notebook._points.clear()
    monkeypatch.chdir(ROOT)
    grading.check("07.1", right_answer(UNBROADCAST))
    assert not (ROOT / ".progress.json").exists()
    capsys.readouterr()
    grading.progress("07")
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "2 of 13 points" and len(out.splitlines()) == 5
    monkeypatch.chdir(tmp_path)  # the folder of the exercises
    grading.check("07.1", right_answer(UNBROADCAST))
    notebook._points.clear()
    capsys.readouterr()
    grading.progress()
    assert "2 of " in capsys.readouterr().out.splitlines()[-1]
    (tmp_path / ".progress.json").write_text("[broken", encoding="utf-8")
    grading.progress("07")
    assert capsys.readouterr().out.splitlines()[-1] == "0 of 13 points"


def test_titles_points_and_names_are_those_of_the_notebook():
    for lesson in lessons():
        solution = next((ROOT / "solutions").glob(f"{lesson}_*.ipynb"))
        marked = {}
        for cell in json.loads(solution.read_text(encoding="utf-8"))["cells"]:
            meta = cell["metadata"].get("nbgrader", {})
            if meta.get("grade"):
                marked[meta["grade_id"]] = meta["points"]
        found = {f"check-{t.id.replace('.', '-')}": t.points for t in tasks(lesson).values()}
        assert marked == found


# --- the verdict ---------------------------------------------------------------------------


def points(path, **options):
    return {v.task.id: v.points for v in verdict.grade(path, seed=5, jobs=2, **options)}


FULL = {"07.1": 2, "07.2": 3, "07.3": 4, "07.4": 4}
HEAD = "def unbroadcast(g, shape):\n"


@pytest.mark.slow
def test_without_walls_the_same():
    assert points(SOLUTION, walls=False) == FULL


def test_where_there_are_no_limits_and_no_signals_the_same(monkeypatch):
    monkeypatch.delattr(verdict.os, "killpg", raising=False)
    assert points(SOLUTION, walls=False) == FULL
    monkeypatch.delattr(judge.signal, "SIGALRM", raising=False)
    assert audit.verdict_on(UNBROADCAST, UNBROADCAST.right[0]).points == 2


def test_deleted_and_overwritten_cells_change_nothing(tmp_path):
    path = answers(tmp_path, "07", {})
    book = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade"):
            cell["source"] = "pass"
    path.write_text(json.dumps(book), encoding="utf-8")
    assert points(path) == FULL
    book["cells"] = [c for c in book["cells"] if c["metadata"].get("nbgrader", {}).get("solution")]
    path.write_text(json.dumps(book), encoding="utf-8")
    assert points(path) == FULL


def test_metadata_that_got_lost_changes_nothing(tmp_path):
    path = answers(tmp_path, "07", {})
    book = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        cell["metadata"] = {}
    path.write_text(json.dumps(book), encoding="utf-8")
    assert points(path) == FULL


def test_helpers_magics_and_plots_in_cells_of_their_own(tmp_path):
    extra = (
        "%matplotlib inline\n!ls\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n"
    )
    extra += "display(3)\ndef add_up(g, i): return g.sum(axis=i, keepdims=True)"
    source = HEAD + (
        "    while g.ndim > len(shape): g = g.sum(0)\n"
        "    for i, n in enumerate(shape):\n"
        "        g = add_up(g, i) if n == 1 else g\n    return g"
    )
    assert points(answers(tmp_path, "07", {"07.1": source}, extra)) == FULL


IMPORTED = HEAD + (
    "    import sys; {}\n    from minidl.engine.shapes import sum_to; return sum_to(g, shape=shape)"
)


@pytest.mark.slow
@pytest.mark.skipif(not sandbox.available(), reason="waits for bubblewrap (apt install bubblewrap)")
def test_what_a_task_asks_for_is_not_there(tmp_path):
    source = IMPORTED.format("del sys.meta_path[:-3]")
    found = verdict.grade(answers(tmp_path, "07", {"07.1": source}))[0]
    assert found.points == 0 and "No module named 'minidl'" in found.text


@pytest.mark.slow
def test_what_a_task_asks_for_cannot_be_imported(tmp_path):
    source = IMPORTED.format("pass")
    found = verdict.grade(answers(tmp_path, "07", {"07.1": source}), walls=False)[0]
    assert found.points == 0
    assert "minidl cannot be imported while this task is graded" in found.text, found.text
    assert "line 3 of its cell, `from minidl.engine.shapes import sum_to" in found.text


@pytest.mark.slow
def test_an_answer_that_others_build_on_costs_its_own_points_alone(tmp_path):
    path = answers(tmp_path, "07", {"07.1": HEAD + "    return g"})
    found = {v.task.id: v for v in verdict.grade(path)}
    assert found["07.1"].points < 2 and found["07.2"].points == 3
    source = "def matmul_gradient(g, a, b): return unbroadcast(g @ b, a.shape), b"
    path = answers(tmp_path, "07", {"07.1": HEAD + "    return g", "07.2": source})
    found = {v.task.id: v for v in verdict.grade(path)}
    assert found["07.2"].points < 3


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "grading", *map(str, arguments)],
        capture_output=True, text=True, cwd=ROOT, **options,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_and_its_exit_codes(tmp_path):
    done = command(SOLUTION, "--json", tmp_path / "out.json")
    assert done.returncode == 0 and done.stdout.endswith("13 of 13 points\n"), done.stderr
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["points"] for row in report["notebooks"][0]["tasks"]] == [2, 3, 4, 4]
    sentence, source = next(find("07.3").bank())
    partial = command(answers(tmp_path, "07", {"07.3": source}), "--seed", 3)
    assert partial.returncode == 1, partial.stderr
    assert f"This is what you get when {sentence}." in partial.stdout
    (tmp_path / "07_q.ipynb").write_text("{", encoding="utf-8")
    done = command(tmp_path / "07_q.ipynb")
    assert done.returncode == 1, done.stderr
    assert "not graded: it is no notebook" in done.stdout
    done = command(tmp_path / "07_nowhere.ipynb")
    assert done.returncode == 2, done.stderr
    assert "is not there" in done.stderr
    (tmp_path / "homework.ipynb").write_text("{}", encoding="utf-8")
    done = command(tmp_path / "homework.ipynb")
    assert done.returncode == 1, done.stderr
    assert "it has no list of cells" in done.stdout


@pytest.mark.slow
def test_it_runs_from_the_folder_of_the_exercises(tmp_path):
    python = Path(os.path.relpath(sys.executable, ROOT / "exercises"))
    path = answers(tmp_path, "07", {})
    done = subprocess.run(
        [python, "-m", "grading", path], cwd=ROOT / "exercises", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_grader_that_cannot_grade_its_own_solution_says_so(monkeypatch, capsys):
    from grading import __main__ as program

    monkeypatch.setattr(verdict, "START", 0.0)
    assert program.main([str(SOLUTION)]) == 2
    said = capsys.readouterr()
    assert "known-good control for lesson 07 does not get full points" in said.err and not said.out


@pytest.mark.slow
def test_the_reports_are_as_documented(tmp_path):
    jsonschema = pytest.importorskip("jsonschema", reason="waits for jsonschema")
    schema = json.loads((ROOT / "docs" / "grading.schema.json").read_text(encoding="utf-8"))
    command(EXERCISE, "--json", tmp_path / "out.json")
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "notebooks": [{"file": "x"}]}, schema)
