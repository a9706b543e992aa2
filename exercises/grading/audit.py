"""The grader, graded: solutions, blanks, right variants, and every known wrong answer."""

import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .judge import NotGiven, expected, judge, mistakes, run_all
from .task import find, lessons, notebook, tasks
from .verdict import control, grade


def verdict_on(task, source, seed=0):
    """The verdict on the answer that `source` defines, as `check` would give it."""
    answer = task.compile(source)
    cases, _ = expected(task, seed)
    return judge(task, seed, run_all(task, answer, cases))


def faults(task):
    """Sentences: what the judgement of `task` gets wrong."""
    nothing = [NotGiven("not answered yet")] * len(expected(task, 0)[0])
    if judge(task, 0, nothing).points:
        yield f"{task.id}: a blank answer gets points"
    if len(task.wrong) < 5 or len(task.right) < 2 or len(task.hints) != 3:
        yield f"{task.id}: needs 5 wrong answers, 2 right ones and 3 hints"
    for i, source in enumerate(task.right):
        for seed in range(3):
            verdict = verdict_on(task, source, seed)
            if verdict.text:
                yield f"{task.id}: right variant {i + 1} fails: {verdict.text}"
    for seed in range(3):
        for sentence, results in mistakes(task, seed):
            verdict = judge(task, seed, results)
            if verdict.points >= task.points:
                yield f"{task.id}: a wrong answer passes: {sentence}"
            elif verdict.mistake != sentence:
                yield f"{task.id}: a wrong answer is not named: {sentence}: {verdict.text}"


def whole(lesson):
    """Sentences: what the verdict outside gets wrong of the solution and of a blank notebook."""
    try:
        control(lesson)
    except RuntimeError as error:
        yield str(error)
    with tempfile.TemporaryDirectory() as folder:
        for verdict in grade(blank(lesson, folder)):
            if verdict.points:
                yield f"{verdict.task.id}: the blank notebook gets {verdict.points:g} points"


def blank(lesson, folder):
    """The path of a notebook in `folder` with every answer of a lesson left open."""
    book = json.loads(notebook(lesson).read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("solution"):
            cell["source"] = "raise NotImplementedError"
    path = Path(folder, notebook(lesson).name)
    path.write_text(json.dumps(book), encoding="utf-8")
    return path


def examined(task_id):
    """(line of the table, faults, seconds of the first feedback) of a task."""
    task = find(task_id)
    began = time.perf_counter()
    verdict_on(task, task.wrong[0][-1] if len(task.wrong[0]) == 2 else task.right[0], 99)
    seconds = time.perf_counter() - began
    found = list(faults(task))
    line = (
        f"{task.id}  {task.title:<40} {len(task.wrong):>3} wrong answers, "
        f"{len(task.right)} right variants, {len(found)} faults"
    )
    return line, found, seconds


def listed(lesson):
    """`whole` as a list, which can be sent from one process to another."""
    return list(whole(lesson))


def audit(only=()):
    """Print a table of all tasks and the kill rate; return the number of faults.

    Lessons and tasks are examined by as many processes as there are cores.
    """
    chosen = [n for n in lessons() if n in only or not only]
    everything = {task.id: task for lesson in chosen for task in tasks(lesson).values()}
    found, wrong, slowest = [], 0, (0.0, "")
    with ProcessPoolExecutor() as pool:
        wholes = pool.map(listed, chosen)
        rows = pool.map(examined, everything)
        for task_id, (line, mine, seconds) in zip(everything, rows):
            print(line, flush=True)
            found += mine
            wrong += len(everything[task_id].wrong)
            slowest = max(slowest, (seconds, task_id))
        for faults_of_lesson in wholes:
            found += faults_of_lesson
    print(*found, sep="\n", end="\n" if found else "")
    missed = len({fault for fault in found if "a wrong answer" in fault})
    print(f"slowest first feedback: {slowest[0]:.1f} s ({slowest[1]})")
    print(f"{wrong - missed} of {wrong} wrong answers caught and named")
    return len(found)
