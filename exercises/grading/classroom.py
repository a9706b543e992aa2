"""A whole class: all that was handed in, graded in parallel, with a seed that nobody has seen.

The one rule of this file: everything that was handed in has a line; and a submission's result is a
file of its own, written whole or not at all, and named by what it depends on, so a grader that was
killed goes on where it was.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import re
import signal
import stat
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import sandbox
from .gradebook import Rules, write
from .submission import Unreadable, cells, content
from .task import HERE, notebook, tasks
from .text import name_of, printable
from .verdict import UNKNOWN, control, leave, lesson_of, verdicts

# What programs leave in folders; nobody hands it in.
LITTER = {
    ".ipynb_checkpoints", "__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__",
    ".git", ".gitignore", ".progress.json",
}  # fmt: skip


@dataclass(frozen=True)
class HandIn:
    """Something that was handed in.

    file: its path below the student's folder, as text.  lesson: "" if it is of none.  when: its
    time, in seconds since 1970.  problem: why it is not graded.  note: what else is to be known.
    cells, digest: of a notebook that could be read.  newest: whether it is the version that counts.
    """

    student: str
    file: str
    path: Path
    lesson: str = ""
    when: float = 0.0
    problem: str = ""
    note: str = ""
    cells: list = field(default_factory=list, repr=False, compare=False)
    digest: str = ""
    newest: bool = True


# ---- what was handed in


def find(folder, out=None):
    """A list with a HandIn for every file, and for every student's folder without one.

    A student is a folder, or, of a file that is in none, what stands before the exercise's name:
    `alice_07_tensor.ipynb`.  out: a folder of results, which nobody handed in.
    """
    found, students = [], set()
    for entry in _entries(_students(folder)):
        if entry.name in LITTER or entry.name.startswith("._"):
            continue
        if out is not None and os.path.realpath(entry.path) == os.path.realpath(out):
            continue
        if entry.is_dir(follow_symlinks=False):
            student = name_of(entry.path)
            while student in students:  # two names that look the same, one of them in Latin-1
                student += " (another folder)"
            students.add(student)
            found += _of_student(entry, student)
        else:
            found.append(_loose(entry))
    found = _versions(found)
    return sorted(found, key=lambda h: (h.student, h.lesson, h.file))


def _entries(folder):
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _students(folder):
    """The folder that holds the students': below `folder` where an export put one folder on top."""
    while True:
        inside = [e for e in _entries(folder) if e.name not in LITTER]
        if len(inside) != 1 or not inside[0].is_dir(follow_symlinks=False):
            return folder
        try:
            below = [e for e in _entries(inside[0].path) if e.name not in LITTER]
        except OSError:  # it is told of later
            return folder
        folders = [e for e in below if e.is_dir(follow_symlinks=False)]
        lessons = [e for e in folders if re.match(r"\d\d(\D|$)", e.name)]
        if len(folders) < 2 or lessons:
            return folder
        folder = inside[0].path


def _loose(entry):
    """The HandIn of a file that is in no student's folder."""
    name = name_of(entry.path)
    one = _read(HandIn(name, name, Path(entry.path)))
    before = re.match(r"(.*?)[_\- ]*\d\d_", name) if one.lesson else None
    at = name.rfind(f"{one.lesson}_") if one.lesson else -1
    student = name[:at].strip("_- ") if before and at > 0 else ""
    return replace(one, student=student or name.rpartition(".")[0] or name)


def _of_student(entry, student):
    """All HandIns in a student's folder."""
    found, skipped, closed = [], [], []
    for place, folders, files in os.walk(entry.path, onerror=closed.append):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        skipped += [name for name in folders if name in LITTER]
        folders[:] = [name for name in folders if name not in LITTER]
        for name in sorted(files + links):
            if name in LITTER or name.startswith("._"):
                skipped.append(name)
                continue
            path = os.path.join(place, name)
            inside = "/".join(map(name_of, os.path.relpath(path, entry.path).split(os.sep)))
            found.append(_read(HandIn(student, inside, Path(path))))
    for error in closed:
        reason = f"the folder cannot be opened: {error.strerror}"
        found.append(HandIn(student, name_of(error.filename), Path(error.filename), problem=reason))
    if not found:
        reason = "the folder is empty"
        if skipped:
            names = ", ".join(sorted({printable(name) for name in skipped}))
            reason = f"nothing is in the folder but what programs leave there ({names})"
        found.append(HandIn(student, "", Path(entry.path), problem=reason))
    return _shortened(found)


def _shortened(found):
    """The HandIns of a student, with the last of very many files that are none in one line."""
    others = [one for one in found if one.problem and not one.lesson]
    if len(others) <= MOST_LINES:
        return found
    more = others[MOST_LINES:]
    last = HandIn(
        more[0].student, "", more[0].path.parent,
        problem=f"{len(more):,} more files that are no notebooks, from {more[0].file} on",
    )  # fmt: skip
    return [one for one in found if one not in more] + [last]


MOST_LINES = 20  # of one student's files that are no notebooks


def _read(one):
    """The HandIn with what its file holds, or with the reason why it is not graded."""
    ending = one.path.suffix.lower()
    try:
        status = os.lstat(one.path)
        one = replace(one, when=status.st_mtime)
        if stat.S_ISREG(status.st_mode) and ending not in NOTEBOOKS:
            raise Unreadable(OTHERS.get(ending, f"it is no notebook, but {ending or 'a file'}"))
        data = content(one.path)
        if ending not in NOTEBOOKS[:1] and not data.lstrip().startswith(b"{"):
            raise Unreadable("it is no notebook")
        found = cells(data)
    except OSError as error:
        return replace(one, problem=f"it cannot be opened: {error.strerror}")
    except Unreadable as error:
        lesson = lesson_of(one.file) if ending in NOTEBOOKS[:1] else None
        return replace(one, lesson=lesson or "", problem=printable(error))
    lesson = lesson_of(one.file, found)
    digest = hashlib.sha256(data).hexdigest()
    problem = "" if lesson else UNKNOWN
    return replace(one, lesson=lesson or "", problem=problem, cells=found, digest=digest)


# What a notebook's name ends in; after the first, what learning platforms make of it.
NOTEBOOKS = ".ipynb", ".json", ".txt", ""
OTHERS = {
    ".zip": "it is a .zip; unpack it, and grade again",
    ".py": "it is no notebook, but a Python program; hand in the notebook itself",
    ".html": "it is no notebook, but a page made of one; hand in the notebook itself",
    ".pdf": "it is no notebook, but a page made of one; hand in the notebook itself",
}


def _versions(found):
    """Of several notebooks that a student handed in for a lesson the newest counts."""
    groups = {}
    for one in found:
        if one.lesson:
            groups.setdefault((one.student, one.lesson), []).append(one)
    older = {}
    for versions in groups.values():
        *rest, newest = sorted(versions, key=lambda h: (not h.problem, h.when, _natural(h.file)))
        older.update((one.path, newest.file) for one in rest)
    counted = [one for one in found if one.path not in older]
    for one in found:
        if one.path in older:
            note = f"another version: {older[one.path]} is newer and counts"
            note = "" if one.problem else note
            counted.append(replace(one, newest=False, note=note))
    return counted


def _natural(name):
    """A key that puts v9 before v10."""
    return [int(part) if part.isdecimal() else 0 for part in re.split(r"(\d{1,9})", name)], name


# ---- grading


def grade_class(folder, out, *, seed=None, jobs=None, walls=True, rules=None, say=print):
    """Grade all below `folder` into the folder `out`; return the list of results, dicts.

    seed: None: the one that `out` remembers, else a new one.  jobs: submissions at a time.
    rules: gradebook.Rules of the class.  Raises NoSandbox when there must be walls and are none,
    RuntimeError when a control fails.
    """
    if walls:
        sandbox.require()
    rules = rules or Rules()
    found = find(folder, out)
    rules.fit({one.student for one in found})
    if not any(one.cells and one.lesson for one in found):
        for one in found:
            say(f"{one.student}  {one.file}  not graded: {one.problem}")
        raise RuntimeError(f"no exercise's notebook (such as 07_tensor.ipynb) is below {folder}")
    out, jobs = Path(out), jobs or os.cpu_count()
    (out / "results").mkdir(parents=True, exist_ok=True)
    seeds = _seeds(out, seed)
    done, waiting = [], []
    for one in found:
        if one.problem or not one.newest:
            done.append(_result(one, _nothing(one) if one.newest else []))
            continue
        path = out / "results" / f"{_key(one, seeds.first, walls)}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            done.append(_result(one, kept["tasks"], kept["seed"]))
        except (OSError, ValueError, KeyError, TypeError):
            waiting.append((one, path))
    before = sum(1 for one in found if one.newest and not one.problem) - len(waiting)
    if before:
        say(f"{before} of {before + len(waiting)} were graded before")
    done += _graded(waiting, seeds, walls, jobs)
    return write(out, done, rules)


def _graded(waiting, seeds, walls, jobs):
    """The results of what has not been graded yet."""
    for lesson in sorted({one.lesson for one, _ in waiting}):
        control(lesson, walls=walls, jobs=jobs)
    return _by_processes(waiting, seeds, walls, jobs)


def _by_processes(waiting, seeds, walls, jobs):
    """The results; where a process of the grader itself ends, the rest goes on one by one."""
    done, broken = [], []
    with _processes(jobs) as pool:
        futures = {pool.submit(_one, *one, seeds.of(one[0]), walls): one for one in waiting}
        for future in _bar(as_completed(futures), len(futures)):
            try:
                done.append(future.result())
            except BrokenProcessPool:
                broken.append(futures[future])
    if broken and len(waiting) == 1:
        return [_failed(broken[0][0], "its process ended", seeds.of(broken[0][0]))]
    for one in broken:
        done += _by_processes([one], seeds, walls, 1)
    return done


@contextlib.contextmanager
def _processes(jobs):
    """A pool of processes, because judging is Python's own work too: threads would take turns.

    Ctrl-C ends them, and each of them what it has started.
    """
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), initializer=_leave_when_told
    )
    try:
        yield pool
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_when_told():
    """In a process of the pool: Ctrl-C reaches the first process, which tells the others.

    If that one was killed, it tells nobody; so they watch it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(
        target=_leave_after, args=[multiprocessing.parent_process()], daemon=True
    ).start()


def _leave_after(process):
    process.join()
    leave()


def _bar(futures, n):
    from tqdm.auto import tqdm

    return tqdm(futures, total=n, unit="notebook")


@dataclass(frozen=True)
class Seeds:
    """The seed of each submission.

    At first all have the class's.  Once results were given out (`shared` is False), what is new or
    changed gets one of its own, or else a page that was given back would tell the next inputs.
    """

    first: int
    shared: bool

    def of(self, one):
        if self.shared:
            return self.first
        digest = hashlib.sha256(f"{self.first} {one.student} {one.digest}".encode()).digest()
        return int.from_bytes(digest[:4], "little")


def _seeds(out, seed):
    """The class's seed: that given, else that of an earlier run, else a new one."""
    path = out / "seed"
    if seed is None and path.exists():
        seed = int(path.read_text(encoding="utf-8"))
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    save(path, f"{seed}\n")
    return Seeds(seed, not (out / "report.json").exists())


def _key(one, seed, walls):
    """What a result depends on, as a name for its file: the notebook, the seed, the grader."""
    words = f"{seed} {walls} {_grader(one.lesson)} {one.digest} {one.student} {one.file}"
    digest = hashlib.sha256(words.encode()).hexdigest()[:16]
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{one.student}-{one.lesson}")
    return f"{plain[:80]}-{digest}"


def _grader(lesson):
    """A checksum of the grader's own files, the lesson's tasks and its solution."""
    own = [path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("tasks_")]
    files = [*own, HERE / f"tasks_{lesson}.py", notebook(lesson)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _one(one, path, seed, walls):
    """Grade one submission, and keep the result before anything else is done."""
    try:
        rows = [v.record() for v in verdicts(one.lesson, one.cells, seed=seed, walls=walls)]
    except Exception as error:
        return _failed(one, f"{type(error).__name__}: {str(error)[:200]}", seed)
    save(path, json.dumps({"tasks": rows, "seed": seed}, indent=1))
    return _result(one, rows, seed)


def _failed(one, why, seed):
    """The result where the grader fails: ours to mend; with the next run it is tried again."""
    one = replace(one, problem=printable(f"the grader failed here: {why}"))
    return _result(one, _nothing(one), seed)


def _nothing(one):
    """Rows without points, for a notebook of a known lesson that cannot be read."""
    if not one.lesson:
        return []
    return [
        {"task": t.id, "title": t.title, "points": 0.0, "of": t.points, "passed": [],
         "failed": [], "mistake": "", "text": one.problem}
        for t in tasks(one.lesson).values()
    ]  # fmt: skip


def _result(one, rows, seed=None):
    return {
        "student": one.student,
        "lesson": one.lesson,
        "file": one.file,
        "points": sum(row["points"] for row in rows),
        "of": sum(row["of"] for row in rows),
        "problem": one.problem,
        "note": one.note,
        "counts": one.newest and bool(rows),
        "when": one.when,
        "seed": seed,
        "tasks": rows,
    }


def save(path, text):
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
