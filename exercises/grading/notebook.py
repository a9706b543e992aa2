"""What a learner calls in the notebook: check, hint, progress.

These help; they do not decide.  `python -m grading FILE` does, outside the notebook's process.
"""

from .task import find, grade, lessons, tasks_of

SEED = 7  # the same inputs at every call, so that a learner can follow a failing one
_points, _hints = {}, {}


def check(task_id, answer):
    """Try `answer` on the task's cases, print what was found, return the points."""
    task = find(task_id)
    report = grade(task, answer, SEED)
    _points[task_id] = report.points
    print(f"{task_id} {task.name}: {report.points} of {task.points} points, {_verdict(report)}")
    if report.text not in ("right", "not answered yet"):
        print(report.text)
    return report.points


def _verdict(report):
    return report.text if report.text in ("right", "not answered yet") else "not right yet"


def hint(task_id):
    """Print the task's next hint, and those before it."""
    task = find(task_id)
    _hints[task_id] = min(_hints.get(task_id, 0) + 1, len(task.hints))
    for i, text in enumerate(task.hints[: _hints[task_id]], 1):
        print(f"Hint {i} of {len(task.hints)}: {text}")


def progress(lesson=None):
    """Print the points of this session and draw them; `lesson` as "07", default: all tried."""
    chosen = [lesson] if lesson else sorted({i.partition(".")[0] for i in _points}) or lessons()
    tasks = [task for each in chosen for task in tasks_of(each).values()]
    for task in tasks:
        state = "" if task.id in _points else "   not tried yet"
        print(f"{task.id}  {task.name:20} {_points.get(task.id, 0):2} of {task.points}{state}")
    total, possible = sum(_points.get(t.id, 0) for t in tasks), sum(t.points for t in tasks)
    print(f"{'':5}  {'together':20} {total:2} of {possible}")
    _draw(tasks)


def _draw(tasks):
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("matplotlib, which draws the picture, comes with the extra minidl[course]")
        return
    names = [f"{t.id} {t.name}" for t in tasks]
    figure, axes = plt.subplots(figsize=(6, 0.4 * len(tasks) + 0.6), layout="constrained")
    axes.barh(names, [t.points for t in tasks], color="0.9")
    axes.barh(names, [_points.get(t.id, 0) for t in tasks])
    axes.invert_yaxis()
    axes.set_xlabel("points")
    plt.show()
