"""One answer, graded both ways: by `check` in its notebook, and by the verdict outside.

The one rule of this file: both ways get the same notebook, up to the task's check, and the same
seed; so any difference is the grader's.
"""

import contextlib
import io
import textwrap
from dataclasses import replace

from . import sandbox
from .judge import NotGiven, expected, judge
from .notebook import judged
from .submission import as_python, cells, content
from .task import notebook
from .verdict import Sitting, best, book, right_cell, workers


def both_ways(task, source, seed=0, walls=None):
    """(the verdict in the notebook, the verdict outside) on the answer whose cell is `source`."""
    submitted = with_answer(task, source)
    return in_notebook(task, submitted, seed), outside(task, submitted, seed, walls)


def same(verdicts):
    """Whether two verdicts say one thing: points, groups and the name of the mistake."""
    one, other = ((v.points, v.passed, v.failed, v.mistake) for v in verdicts)
    return one == other


def with_answer(task, source):
    """The cells of the lesson's notebook, answered rightly, up to the check of this task."""
    found = []
    for cell in cells(content(notebook(task.lesson))):
        if cell.task == task.id and not cell.test:
            cell = replace(cell, source=textwrap.dedent(source))
        found.append(right_cell(cell) if cell.task != task.id else cell)
        if cell.task == task.id and cell.test:
            break
    return found


def in_notebook(task, submitted, seed):
    """The verdict as `check` gives it; the cells run in this process, so they must be trusted."""
    space = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in submitted:
            if cell.code and not cell.test:
                with contextlib.suppress(Exception):
                    exec(compile(as_python(cell.source), "<cell>", "exec"), space)
        answer = space.get(task.name)
        if callable(answer):
            return judged(task, answer, seed)
    return judge(task, seed, [NotGiven("not answered yet")] * len(expected(task, seed)[0]))


def outside(task, submitted, seed, walls=None):
    """The verdict as `python -m grading` gives it."""
    walls = sandbox.available() if walls is None else walls
    sitting = Sitting(book(task.lesson, submitted), {task.id: task}, seed, walls)
    with workers(1) as pool:
        pool.submit(sitting.sit).result()
    return best(sitting, task)
