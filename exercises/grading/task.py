"""A task: its cases, an independent reference, hints, and a bank of right and wrong answers.

The one rule of this file: all of a task stands in one place, `tasks_NN.py`, and says nothing that
the notebook says: title, points and the function's name are read from there.
"""

import copy
import importlib
import json
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .child import plain

HERE = Path(__file__).parent
FOLDERS = HERE.parent.parent / "solutions", HERE.parent
HEADING = re.compile(r"^## (\d\d\.\d+) (.+) \(([\d.]+) points?\)$", re.MULTILINE)
CALL = re.compile(r'^check\("(\d\d\.\d+)", (\w+)\)', re.MULTILINE)


def call(answer, *arguments):
    """How an answer is asked, unless its task says otherwise."""
    return answer(*arguments)


def _kept(value):
    """A copy of a result, which the next call cannot change; what has none stays what it is."""
    try:
        return copied(value)
    except Exception:
        return value


def copied(value):
    """A copy of plain values, which share no parts: several times as fast as copy.deepcopy."""
    kind = type(value)
    if kind is int or kind is float or kind is str:
        return value
    if kind is np.ndarray:
        return value.copy()
    if kind is list or kind is tuple:
        return kind(map(copied, value))
    if kind is dict:
        return {key: copied(part) for key, part in value.items()}
    return copy.deepcopy(value)


def _count(value):
    """How many numbers and words an input holds."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, (tuple, list)) else 1


class Stopped(KeyboardInterrupt):
    """Ends an answer that takes too long, as Ctrl-C would: no `except Exception` holds it up."""


class Refused(Exception):
    """What a task says of an answer whose result, or whose ways, it cannot take."""

    no_error = True  # of the learner's own


@dataclass(frozen=True, kw_only=True)
class Task:
    """One graded task; `Task(id="07.3", cases=..., ...)`.

    cases(rng): yields (group, argument, ...); the groups share the points.  Arguments are arrays,
    numbers, strings, None, and tuples, lists and dicts of these.
    reference(*arguments): what is right, or the exception that is; slow, plain, and independent
    of the package.  drive(answer, *arguments): how the learner's function is asked, by default
    `answer(*arguments)`.
    lends(*arguments): objects made once for a case, which `drive` gets behind the answer, at both
    calls the same.
    right: at least two sources of right answers, the first like the solution.
    wrong: (sentence that ends "This is what you get when ...", source), or (sentence, old, new,
    old, new ...): the first right answer with each `old` replaced.
    equal: (text, reason) of mutants that are as right as the original: the text is a part of what
    `mutate.Mutant` has as its text or change.
    needs: ids of tasks whose answers this one may call.  opens: packages to import that are
    otherwise closed.  rtol, atol: |got - expected| <= atol + rtol * |expected|.
    may_change: whether the answer may change its inputs.  twice_up_to: numbers in a case up
    to which it is asked twice; less where an answer is slow by nature.
    seconds: for one call of the answer; all its calls together may take six times as long
    (`remote.CALLS`); every exercise says both.  memory: bytes of address space.
    """

    id: str
    cases: Callable
    reference: Callable
    hints: tuple
    right: tuple
    wrong: tuple
    equal: tuple = ()
    drive: Callable = call
    lends: Callable | None = None
    replaces: str = ""  # what the answer is in the package
    needs: tuple = ()
    opens: tuple = ()
    rtol: float = 1e-7
    atol: float = 1e-9
    may_change: bool = False
    twice_up_to: int = 10_000
    seconds: float = 10.0
    memory: int = 3 << 30

    lesson = property(lambda self: self.id.partition(".")[0])
    title = property(lambda self: sheet(self.lesson)[self.id][0])
    points = property(lambda self: sheet(self.lesson)[self.id][1])
    name = property(lambda self: sheet(self.lesson)[self.id][2])

    def ask(self, answer, *arguments):
        """(first result, second, the inputs afterwards) of an answer that is asked twice.

        It gets the same objects twice, or where it may change them, equal ones.  Inputs of more
        than `twice_up_to` numbers together are given once.
        """
        again = copied(arguments) if self.may_change else arguments
        lent = () if self.lends is None else (self.lends(*arguments),)
        first = _kept(self._drive(answer, *lent, *arguments))
        if sum(map(_count, arguments)) > self.twice_up_to:
            return first, first, () if self.may_change else arguments
        try:
            second = self._drive(answer, *lent, *again)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            second = "raised", f"{type(error).__name__}: {error}"[:200]
        return first, second, () if self.may_change else arguments

    def _drive(self, answer, *arguments):
        """What `drive` gives.  An error of its own, which the answer did not raise, is Refused."""
        raised = []

        def heard(*arguments, **options):
            try:
                return answer(*arguments, **options)
            except BaseException as error:
                raised.append(error)
                raise

        try:
            return self.drive(heard, *arguments)
        except ValueError as error:
            if any(error is known for known in raised):
                raise
            raise Refused(str(error)) from None

    def bank(self):
        """Pairs (sentence, source) of the wrong answers."""
        for sentence, *edits in self.wrong:
            source = edits[0]
            if len(edits) > 1:
                source = self.right[0]
                for old, new in zip(edits[::2], edits[1::2], strict=True):
                    if old not in source:
                        raise ValueError(f"{self.id}: the first right answer has no {old!r}")
                    source = source.replace(old, new)
            yield sentence, source

    def compile(self, source, **more):
        """The function that `source`, a text or a tree, defines, with the answers it may call.

        more: what it finds beside them.
        """
        space = {"np": np, **more}
        for needed in self.needs:
            exec(textwrap.dedent(find(needed).right[0]), space)
        source = textwrap.dedent(source) if isinstance(source, str) else source
        exec(compile(source, f"<{self.name}>", "exec"), space)
        return space[self.name]


def lessons():
    """The numbers of the lessons that have tasks, as strings."""
    return sorted(path.stem.removeprefix("tasks_") for path in HERE.glob("tasks_*.py"))


@cache
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


@cache
def sheet(lesson):
    """What the notebook says of its tasks: a dict id -> (title, points, name of the function)."""
    path = notebook(lesson)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells)
    names = dict(CALL.findall(text))
    found = {i: (title, float(points), names.get(i)) for i, title, points in HEADING.findall(text)}
    if unnamed := [i for i, (_, _, name) in found.items() if not name]:
        raise ValueError(f'{path.name} has no cell check("{unnamed[0]}", ...)')
    return found


def notebook(lesson):
    """The exercise's notebook: the solution, or where that was held back, the exercise."""
    for folder in FOLDERS:
        for path in sorted(folder.glob(f"{lesson}_*.ipynb")):
            return path
    raise FileNotFoundError(f"there is no notebook {lesson}_*.ipynb in solutions/ or exercises/")


def draw(task, seed):
    """The cases of `task` for a seed, a list of (group, arguments): the same on every machine."""
    rng = np.random.default_rng([seed, int(task.id.replace(".", ""))])
    # Plain, so that an answer sees the same in the notebook and outside.
    return [(group, plain(tuple(arguments))) for group, *arguments in task.cases(rng)]
