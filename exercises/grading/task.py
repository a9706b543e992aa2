"""A task: cases, an independent reference, a bank of wrong answers; and how answers are judged.

The one rule of this file: a judgement compares plain arrays, shape, kind of element and value,
and trusts nothing that an answer brings with it.
"""

import importlib
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


class NotGiven(Exception):
    """Stands for an answer that was left blank."""


@dataclass(frozen=True)
class Task:
    """One graded task.

    cases(rng) gives a list of (group, arrays): the groups share the points.
    reference(*arrays) gives the list of expected arrays; drive(answer, *arrays) calls the
    learner's function and gives the list of arrays that it answered.
    wrong: pairs (sentence that names the mistake, source of the answer).  right: sources.
    """

    id: str
    title: str
    name: str  # of the function that the learner writes
    points: float
    cases: callable
    reference: callable
    hints: tuple
    wrong: tuple
    right: tuple
    replaces: str = ""  # what it is in the package
    needs: tuple = ()  # tasks whose answers this one may call
    rtol: float = 1e-9
    atol: float = 1e-9
    seconds: float = 20.0  # for all cases, in a process of its own
    drive: callable = field(default=None)

    @property
    def lesson(self):
        return self.id.partition(".")[0]


def lessons():
    """The numbers of the lessons that have tasks, as strings."""
    return sorted(path.stem.removeprefix("tasks_") for path in HERE.glob("tasks_*.py"))


def tasks(lesson):
    """The tasks of a lesson, a dict id -> Task."""
    module = importlib.import_module(f"grading.tasks_{lesson}")
    return {task.id: task for task in module.TASKS}


def find(task_id):
    """The task with this id; raises KeyError, which lists those that exist."""
    lesson = str(task_id).partition(".")[0]
    known = tasks(lesson) if lesson in lessons() else {}
    if task_id not in known:
        every = [i for number in lessons() for i in tasks(number)]
        raise KeyError(f"no task {task_id!r}; there are {', '.join(every)}")
    return known[task_id]


def draw(task, seed):
    """The cases of `task` for a seed: the same on every machine."""
    number = int(task.id.replace(".", ""))
    return task.cases(np.random.default_rng([seed, number]))


def plain(result):
    """What an answer gave, as a list of arrays of numbers; raises TypeError otherwise."""
    found = []
    for part in result:
        try:
            array = np.array(part)
        except Exception as error:
            raise TypeError(f"the answer cannot be read as an array: {error}") from None
        if array.dtype.kind not in "biuf":
            raise TypeError(f"expected numbers, got {type(part).__name__}")
        found.append(array)
    return found


def run(task, answer, arrays):
    """The arrays that `answer` gives on one case, or the exception that it raises."""
    try:
        return plain(task.drive(answer, *(np.array(a) for a in arrays)))
    except NotImplementedError:
        return NotGiven("not answered yet")
    except Exception as error:
        return error


def agree(task, expected, got):
    """Whether two results are the same: two lists of arrays, or two errors of one kind."""
    if isinstance(expected, Exception) or isinstance(got, Exception):
        return type(expected) is type(got)
    return len(expected) == len(got) and all(
        a.shape == b.shape
        and (a.dtype.kind in "fc") == (b.dtype.kind in "fc")
        and bool(np.allclose(a, b, rtol=task.rtol, atol=task.atol, equal_nan=True))
        for a, b in zip(expected, got)
    )


@dataclass(frozen=True)
class Verdict:
    """points of task.points, and a text for the learner (empty when all is right)."""

    task: Task
    points: float
    text: str = ""


def judge(task, cases, results):
    """The verdict on `results`, one for each case: lists of arrays, or exceptions."""
    expected = [plain(task.reference(*(np.array(a) for a in arrays))) for _, arrays in cases]
    right = [agree(task, e, r) for e, r in zip(expected, results)]
    if all(right):
        return Verdict(task, task.points)
    if any(isinstance(r, NotGiven) for r in results):
        return Verdict(task, 0.0, "not answered yet")
    groups = {}
    for (group, _), ok in zip(cases, right):
        groups[group] = groups.get(group, True) and ok
    share = sum(groups.values()) / len(groups)
    points = min(int(2 * task.points * share) / 2, task.points - 0.5)
    worst = min(
        (i for i, ok in enumerate(right) if not ok),
        # Small, but with something in it: an empty array shows little.
        key=lambda i: sum(np.size(a) or 100 for a in cases[i][1]),
    )
    text = describe(cases[worst], expected[worst], results[worst])
    mistake = name_mistake(task, cases, results)
    if mistake:
        text += f"\n  This is what you get when {mistake}."
    failed = ", ".join(group for group, ok in groups.items() if not ok)
    return Verdict(task, points, f"{text}\n  Fails on: {failed}.")


def describe(case, expected, got):
    """The case, what was expected and what came, in a few short lines."""
    group, arrays = case
    lines = [f"{group}:"]
    lines += [f"  input {i + 1}  {show(a)}" for i, a in enumerate(arrays)]
    lines += [f"  expected {show(e)}" for e in expected]
    if isinstance(got, Exception):
        return "\n".join([*lines, f"  but it raised {type(got).__name__}: {str(got)[:200]}"])
    lines += [f"  got      {show(g)}" for g in got]
    if len(got) == len(expected) and all(a.shape == b.shape for a, b in zip(expected, got)):
        with np.errstate(all="ignore"):
            apart = [np.abs(a.astype(float) - b).max() for a, b in zip(expected, got) if a.size]
        lines.append(f"  largest difference {max(apart, default=0):.3g}")
    return "\n".join(lines)


def show(a):
    a = np.asarray(a)
    if a.size > 12:
        return f"an array of shape {a.shape}"
    text = np.array2string(a, precision=4, separator=", ").replace("\n", "")
    return f"{text}, shape {a.shape}"


def compile_answer(source, name):
    """The function `name` that `source` defines, with the names that a notebook has."""
    space = {"np": np}
    exec(compile(textwrap.dedent(source), f"<{name}>", "exec"), space)
    return space[name]


def name_mistake(task, cases, results):
    """The sentence of the wrong answer that gives these same results, or None."""
    for sentence, source in task.wrong:
        answer = compile_answer(source, task.name)
        if all(agree(task, run(task, answer, arrays), r) for (_, arrays), r in zip(cases, results)):
            return sentence
    return None
