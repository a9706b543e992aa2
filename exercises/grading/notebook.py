"""What the learner sees: check, hint and progress, inside the notebook."""

import contextlib
import json
import os
import types
from pathlib import Path

from . import sandbox
from .judge import expected, judge, run_all
from .remote import Local
from .task import HERE, find, lessons, tasks
from .text import printable

_points = {}  # task id -> points of the last check
_hinted = {}  # task id -> hints shown so far


class NotRightYet(AssertionError):
    """An answer that gets no full points; shown as its text, without a traceback."""

    def _render_traceback_(self):
        return str(self).splitlines()


def check(task_id, answer, *, seed=0):
    """Say how many points `answer` gets; when not all, show the smallest input that fails.

    Raises NotRightYet then, so that tools that run notebooks notice.  The verdict with unseen
    inputs is `python -m grading`.
    """
    task = find(task_id)
    if not callable(answer):
        raise TypeError(f"check: task {task_id} wants the function {task.name}, got {answer!r:.60}")
    verdict = judged(task, answer, seed)
    _remember(task, verdict.points)
    if closed := closed_in(answer, task):
        print(
            f"{task.id}: the verdict of `python -m grading` will differ, for {', '.join(closed)} "
            "cannot be imported while this task is graded."
        )
    line = f"{task.id} {task.title}: {verdict.points:g} of {task.points:g} points"
    if verdict.text:
        raise NotRightYet(f"{line}\n{printable(verdict.text)}")
    print(line)


def judged(task, answer, seed):
    """The verdict on an answer of this process."""
    cases, _ = expected(task, seed)
    return judge(task, seed, run_all(task, Local(answer, task.seconds), cases))


def closed_in(answer, task):
    """Names of packages that an answer uses, itself or through functions of the notebook, and that
    are closed while its task is graded.
    """
    closed, found = {*sandbox.closed(task.opens)}, set()
    seen, waiting = set(), [answer]
    while waiting:
        function = waiting.pop()
        code = getattr(function, "__code__", None)
        if code is None or code in seen:
            continue
        seen.add(code)
        for name in code.co_names:
            used = function.__globals__.get(name)
            if isinstance(used, types.ModuleType):
                name = used.__name__
            elif getattr(used, "__module__", "__main__") != "__main__":
                name = str(used.__module__)
            elif used is not None:
                waiting.append(used)
                continue
            if name.partition(".")[0] in closed:
                found.add(name.partition(".")[0])
    return sorted(found)


def hint(task_id):
    """Show the next of the three hints of a task, and those before it."""
    task = find(task_id)
    _hinted[task_id] = min(_hinted.get(task_id, 0) + 1, len(task.hints))
    for i, text in enumerate(task.hints[: _hinted[task_id]]):
        print(f"{task.id} hint {i + 1} of {len(task.hints)}: {text}")


def progress(lesson=None):
    """A table of all tasks (or those of a lesson, "07") with the points so far, and a picture.

    The picture has a bar for each lesson, or for each task of the one lesson.
    """
    points = _remembered() | _points
    rows = [t for n in lessons() if lesson in (None, n) for t in tasks(n).values()]
    wide = max((len(t.title) for t in rows), default=0)
    for task in rows:
        got = f"{points[task.id]:g}" if task.id in points else "-"
        print(f"{task.id}  {task.title:<{wide}} {got:>4} of {task.points:g}")
    total = sum(points.get(t.id, 0) for t in rows)
    print(f"{total:g} of {sum(t.points for t in rows):g} points")
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        return
    bars = {}
    for task in rows:
        name = f"{task.id} {task.title}" if lesson else f"lesson {task.lesson}"
        got, most = bars.get(name, (0, 0))
        bars[name] = got + points.get(task.id, 0), most + task.points
    _, axes = plt.subplots(figsize=(6, 0.6 + 0.35 * len(bars)), layout="constrained")
    axes.barh(list(bars), [most for _, most in bars.values()], color="0.9")
    axes.barh(list(bars), [got for got, _ in bars.values()], color="#0072B2")
    axes.invert_yaxis()
    axes.set_xlabel("points")
    plt.show()


# Points outlive the kernel in a file beside the exercises, and only there: the solutions, which
# the tests run, must not fill in a learner's table.


def _file():
    here = Path.cwd()
    if here == HERE.parent or here.parts[-2:] == ("my", "exercises"):
        return here / ".progress.json"
    return None


def _remembered():
    try:
        return {
            str(i): float(n) for i, n in json.loads(_file().read_text(encoding="utf-8")).items()
        }
    except (AttributeError, OSError, ValueError, TypeError):
        return {}


def _remember(task, points):
    _points[task.id] = max(points, _points.get(task.id, 0.0))
    path = _file()
    if path is not None:
        best = _remembered()
        for name, n in _points.items():  # another kernel may have got more meanwhile
            _points[name] = best[name] = max(n, best.get(name, 0.0))
        beside = path.with_name(f".progress.json.{os.getpid()}.new")
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps(best), encoding="utf-8")
            beside.replace(path)
