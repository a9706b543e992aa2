"""What the learner sees: check, hint and progress, inside the notebook."""

from .task import draw, find, judge, lessons, run, tasks

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
    cases = draw(task, seed)
    verdict = judge(task, cases, [run(task, answer, arrays) for _, arrays in cases])
    _points[task.id] = verdict.points
    line = f"{task.id} {task.title}: {verdict.points:g} of {task.points:g} points"
    if verdict.text:
        raise NotRightYet(f"{line}\n{verdict.text}")
    print(line)


def hint(task_id):
    """Show the next of the three hints of a task, and those before it."""
    task = find(task_id)
    _hinted[task_id] = min(_hinted.get(task_id, 0) + 1, len(task.hints))
    for i, text in enumerate(task.hints[: _hinted[task_id]]):
        print(f"{task.id} hint {i + 1} of {len(task.hints)}: {text}")


def progress(lesson=None):
    """A table of all tasks (or those of a lesson, "07") with the points so far, and a picture."""
    rows = [t for n in lessons() if lesson in (None, n) for t in tasks(n).values()]
    for task in rows:
        got = f"{_points[task.id]:g}" if task.id in _points else "-"
        print(f"{task.id}  {task.title:<32} {got:>4} of {task.points:g}")
    total = sum(_points.get(t.id, 0) for t in rows)
    print(f"{total:g} of {sum(t.points for t in rows):g} points")
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        return
    _, axes = plt.subplots(figsize=(6, 0.6 + 0.35 * len(rows)), layout="constrained")
    names = [f"{t.id} {t.title}" for t in rows]
    axes.barh(names, [t.points for t in rows], color="0.9")
    axes.barh(names, [_points.get(t.id, 0) for t in rows], color="C0")
    axes.invert_yaxis()
    axes.set_xlabel("points")
    plt.show()
