"""A whole class: every submission in a folder, in parallel, with a seed that nobody has seen.

The one rule of this file: a submission's result is a file of its own, written whole or not at
all, and named by what it depends on; so a grader that was killed goes on where it was.
"""

import csv
import hashlib
import html
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from . import judge, sandbox
from .task import HERE, notebook, tasks
from .verdict import Unreadable, control, grade, lesson_of


@dataclass(frozen=True)
class Submission:
    """One notebook of one student."""

    student: str
    lesson: str
    path: Path


def find(folder):
    """(submissions, paths of notebooks that are no exercise) below `folder`.

    The student is the first folder below it, or, in a flat folder, the file's name before the
    exercise's: `alice_07_tensor.ipynb`.
    """
    found, others = [], []
    for path in sorted(Path(folder).rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue  # checkpoints of Jupyter
        lesson = lesson_of(path)
        if lesson is None:
            others.append(path)
            continue
        before = path.name[: path.name.rindex(f"{lesson}_")].strip("_- ")
        student = inside.parts[0] if len(inside.parts) > 1 else before or path.stem
        found.append(Submission(student, lesson, path))
    return found, others


def grade_class(folder, out, *, seed=None, jobs=None, walls=True, say=print):
    """Grade all below `folder` into the folder `out`; return the list of results, dicts.

    seed: None: the one that `out` remembers, else a new one.  jobs: submissions at a time.
    Raises NoSandbox when there must be walls and are none, RuntimeError when a control fails.
    """
    if walls:
        sandbox.require()
    submissions, others = find(folder)
    if not submissions:
        raise RuntimeError(f"no exercise's notebook (such as 07_tensor.ipynb) is below {folder}")
    out, jobs = Path(out), jobs or os.cpu_count()
    (out / "results").mkdir(parents=True, exist_ok=True)
    seed = _seed(out, seed)
    for path in others:
        say(f"not graded, its name is of no exercise: {path}")
    done, waiting = [], []
    for submission in submissions:
        path = out / "results" / f"{_key(submission, folder, seed, walls)}.json"
        try:
            done.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            waiting.append((submission, path))
    if done:
        say(f"{len(done)} of {len(submissions)} were graded before")
    for lesson in sorted({s.lesson for s, _ in waiting}):
        control(lesson, walls=walls, jobs=jobs)
        for task in tasks(lesson).values():
            judge.mistakes(task, seed)  # once, before the threads ask for it
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_one, *job, seed, walls) for job in waiting]
        try:
            for future in _bar(as_completed(futures), len(futures)):
                done.append(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    done.sort(key=lambda result: (result["student"], result["lesson"], result["file"]))
    _report(out, done)
    return done


def _bar(futures, n):
    from tqdm.auto import tqdm

    return tqdm(futures, total=n, unit="notebook")


def _seed(out, seed):
    """The class's seed: that given, else that of an earlier run, else a new one."""
    path = out / "seed"
    if seed is None and path.exists():
        seed = int(path.read_text())
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    _write(path, f"{seed}\n")
    return seed


def _key(submission, folder, seed, walls):
    """What a result depends on, as a name for its file: the notebook, the seed, the grader."""
    digest = hashlib.sha256(f"{seed} {walls} {_grader(submission.lesson)}".encode())
    try:
        with open(submission.path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        digest.update(str(error).encode())
    inside = str(submission.path.relative_to(folder))
    digest.update(inside.encode())
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', inside)[:80]}-{digest.hexdigest()[:16]}"


def _grader(lesson):
    """A checksum of the grader's own files, the lesson's tasks and its solution."""
    own = [path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("tasks_")]
    files = [*own, HERE / f"tasks_{lesson}.py", notebook(lesson)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _one(submission, path, seed, walls):
    """Grade one submission, and keep the result before anything else is done."""
    problem, rows = "", []
    try:
        rows = [v.record() for v in grade(submission.path, seed=seed, walls=walls)]
    except Unreadable as error:
        problem = str(error)
        rows = [
            {"task": t.id, "title": t.title, "points": 0.0, "of": t.points, "passed": [],
             "failed": [], "mistake": "", "text": problem}
            for t in tasks(submission.lesson).values()
        ]  # fmt: skip
    result = {
        "student": submission.student,
        "lesson": submission.lesson,
        "file": submission.path.name,
        "points": sum(row["points"] for row in rows),
        "of": sum(row["of"] for row in rows),
        "problem": problem,
        "tasks": rows,
    }
    _write(path, json.dumps(result, indent=1))
    return result


def _write(path, text):
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


# ---- what the instructor gets


def _report(out, done):
    _write(out / "report.json", json.dumps({"version": 1, "submissions": done}, indent=1))
    beside = out / ".grades.csv.new"
    with open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow("student lesson file task points of mistake".split())
        for result in done:
            for row in result["tasks"]:
                table.writerow(
                    [result["student"], result["lesson"], result["file"], row["task"],
                     f"{row['points']:g}", f"{row['of']:g}", row["mistake"]]
                )  # fmt: skip
    beside.replace(out / "grades.csv")
    pages = out / "students"
    pages.mkdir(exist_ok=True)
    students = {}
    for result in done:
        students.setdefault(result["student"], []).append(result)
    for student, results in students.items():
        _write(pages / f"{_file_name(student)}.html", page(student, results))


def _file_name(student):
    """A file's name for a student; two students never share one."""
    plain = re.sub(r"[^\w.-]+", "-", student)
    if plain == student:
        return plain
    return f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:6]}"


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }
h2 { margin: 2em 0 .5em } h3 { margin: 1.5em 0 .3em; font-size: 1em }
pre { background: #f4f4f4; padding: .8em; white-space: pre-wrap; margin: 0 }
.full { color: #006d4e } .part { color: #a04800 }
"""


def page(student, results):
    """A student's page: points and feedback for each task; all text from outside is escaped."""
    rows = []
    for result in results:
        rows.append(
            f"<h2>{html.escape(result['file'])}: {result['points']:g} of {result['of']:g}</h2>"
        )
        for row in result["tasks"]:
            kind = "full" if row["points"] == row["of"] else "part"
            rows.append(
                f"<h3>{row['task']} {html.escape(row['title'])}: "
                f'<span class="{kind}">{row["points"]:g} of {row["of"]:g}</span></h3>'
            )
            if row["text"]:
                rows.append(f"<pre>{html.escape(row['text'])}</pre>")
    name = html.escape(student)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{name}</h1>\n" + "\n".join(rows) + "\n</html>\n"
    )
