"""The verdict on a notebook, decided outside the learner's process.

For each task a child process runs the submission's cells and is asked for its answers; this
process draws the inputs, knows what is right, and compares plain arrays.  The cells that the
exercise itself gives are taken from the solution's notebook, never from the submission.
"""

import builtins
import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from .task import HERE, NotGiven, Verdict, draw, judge, tasks

SOLUTIONS = HERE.parent.parent / "solutions"
MEMORY = 4 << 30  # bytes of address space
START = 60.0  # seconds for the imports and cells of a notebook


class Broken(Exception):
    """The child broke off, was too slow, or sent what no answer can be."""


def cells(path):
    """Triples (grade id or "", whether it is a locked test, source) of a notebook's code cells."""
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    found = []
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "code":
            meta = cell.get("metadata", {}).get("nbgrader", {})
            source = cell.get("source", "")
            source = source if isinstance(source, str) else "".join(source)
            found.append((meta.get("grade_id", ""), bool(meta.get("grade")), source))
    return found


def lesson_of(path):
    return Path(path).name.partition("_")[0]


def answer_id(task_id):
    """The nbgrader id of the cell that answers a task: 07.1 -> answer-07-1."""
    return f"answer-{task_id.replace('.', '-')}"


def cells_for(task, submission, given):
    """The sources to run for one task: what the exercise gives, then the learner's cells.

    An answer to another task runs only if this task needs it, so its faults stay its own.
    """
    mine = {answer_id(i) for i in (task.id, *task.needs)}
    pristine = [source for grade_id, test, source in given if not grade_id and not test]
    theirs = [
        source
        for grade_id, test, source in submission
        if not test and (not grade_id.startswith("answer-") or grade_id in mine)
        and source not in pristine
    ]  # fmt: skip
    return pristine + theirs


class Child:
    """A process that holds one submission's answer to one task."""

    def __init__(self, task, sources):
        self.folder = tempfile.TemporaryDirectory(prefix="grading-")
        self.process = subprocess.Popen(
            [sys.executable, "-B", str(HERE / "child.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=self.folder.name, start_new_session=True, preexec_fn=_limit,
            env={"PATH": os.defpath, "HOME": self.folder.name, "MPLBACKEND": "agg",
                 "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        )  # fmt: skip
        self.buffer = b""
        self.deadline = time.monotonic() + START
        drive = (HERE / f"drive_{task.lesson}.py").read_text(encoding="utf-8")
        self.send(cells=sources, drive=drive, function=task.drive.__name__, name=task.name)

    def send(self, arrays=(), **head):
        head["arrays"] = [(a.dtype.str, list(a.shape)) for a in arrays]
        data = json.dumps(head).encode() + b"\n" + b"".join(a.tobytes() for a in arrays)
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
        except OSError:
            raise Broken("the process ended") from None

    def _more(self):
        left = self.deadline - time.monotonic()
        stdout = self.process.stdout
        if left <= 0 or not select.select([stdout], [], [], left)[0]:
            raise Broken("it took too long")
        block = os.read(stdout.fileno(), 1 << 16)
        if not block:
            raise Broken("the process ended")
        self.buffer += block

    def receive(self, most):
        """The head and arrays of a reply of at most `most` bytes of arrays."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > 1 << 16:
                raise Broken("its reply makes no sense")
            self._more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        try:
            head = json.loads(line)
            places = [(np.dtype(code), tuple(map(int, shape))) for code, shape in head["arrays"]]
        except Exception:
            raise Broken("its reply makes no sense") from None
        sizes = []
        for dtype, shape in places:
            size = dtype.itemsize
            for n in shape:
                size *= n
            sizes.append(size)
            if dtype.kind not in "biuf" or min(shape, default=0) < 0 or len(shape) > 32:
                raise Broken("its reply is no array of numbers")
        if sum(sizes) > most:
            raise Broken(f"its reply claims {sum(sizes)} bytes; at most {most} can be right")
        while len(self.buffer) < sum(sizes):
            self._more()
        arrays = []
        for (dtype, shape), size in zip(places, sizes):
            arrays.append(np.frombuffer(self.buffer[:size], dtype).reshape(shape))
            self.buffer = self.buffer[size:]
        return head, arrays

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self.process.wait()
        self.folder.cleanup()


def _limit():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 << 20, 10 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def ask(task, sources, cases):
    """The results of one submission's answer on all cases, as `task.judge` takes them."""
    child = Child(task, sources)
    results = []
    try:
        head, _ = child.receive(0)
        if not head.get("there"):
            return [NotGiven("not answered yet")] * len(cases)
        child.deadline = time.monotonic() + task.seconds
        for _, arrays in cases:
            arrays = [np.asarray(a) for a in arrays]
            child.send(arrays)
            most = 100_000 + 4 * sum(a.nbytes for a in arrays)
            head, found = child.receive(most)
            results.append(_error(head) if "error" in head else found)
    except Broken as error:
        results += [error] * (len(cases) - len(results))
    finally:
        child.close()
    return results


def _error(head):
    """The exception that a child reported, of the nearest kind that Python itself knows."""
    text = str(head.get("text", ""))[:200]
    for name in head.get("kinds", []):
        kind = getattr(builtins, str(name), None)
        if kind is NotImplementedError:
            return NotGiven("not answered yet")
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(text)
            except TypeError:
                continue
    return RuntimeError(text)


def grade(path, *, seed=None):
    """The verdicts on the notebook at `path`, one for each task of its lesson.

    seed: of the inputs; None: one that nobody knows before.
    """
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    lesson = lesson_of(path)
    given = cells(next(SOLUTIONS.glob(f"{lesson}_*.ipynb")))
    submission = cells(path)
    found = []
    for task in tasks(lesson).values():
        cases = draw(task, seed)
        results = ask(task, cells_for(task, submission, given), cases)
        found.append(judge(task, cases, results))
    return found


def control(lesson):
    """Whether the solution gets full points; grading that cannot say so says nothing."""
    verdicts = grade(next(SOLUTIONS.glob(f"{lesson}_*.ipynb")))
    return all(isinstance(v, Verdict) and v.points == v.task.points for v in verdicts)
