"""The verdict on a notebook, decided outside the learner's process.

For each task a child process runs the submission's cells and is asked for its answers; this
process draws the inputs, knows what is right, and compares plain values.  The cells that the
exercise itself gives are taken from the solution's notebook, never from the submission.
"""

import builtins
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

from . import sandbox
from .child import PATIENCE, frame, unpack
from .judge import Broken, NotGiven, expected, judge
from .task import find, notebook, sheet, tasks

START = 30.0  # seconds of processor time for the imports and cells of a notebook
LARGEST = 20 << 20  # bytes of a submission


class Unreadable(Exception):
    """A submission that is no notebook."""


def cells(path):
    """Triples (grade id or "", whether it is a locked test, source) of a notebook's code cells."""
    path = Path(path)
    try:
        if path.is_symlink() or not path.is_file():
            raise Unreadable("it is no ordinary file")
        if path.stat().st_size > LARGEST:
            raise Unreadable(f"it has {path.stat().st_size:,} bytes; {LARGEST:,} are read at most")
        found = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                meta = cell.get("metadata", {}).get("nbgrader", {})
                source = "".join(cell["source"])
                found.append((str(meta.get("grade_id", "")), bool(meta.get("grade")), source))
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise Unreadable(f"it is no notebook: {type(error).__name__}: {error}"[:200]) from None


def lesson_of(path):
    """The number of the lesson whose exercise the file `path` is by its name, or None."""
    numbers = re.findall(r"(?:^|[^0-9])(\d\d)_", Path(path).name)
    return next((n for n in reversed(numbers) if notebook_exists(n)), None)


@cache
def notebook_exists(lesson):
    try:
        return bool(tasks(lesson)) and bool(notebook(lesson))
    except (ImportError, FileNotFoundError):
        return False


def answer_id(task_id):
    """The nbgrader id of the cell that answers a task: 07.1 -> answer-07-1."""
    return f"answer-{task_id.replace('.', '-')}"


def cells_for(task, submission, given, theirs=()):
    """Pairs (source, whether the exercise gave it) to run for one task.

    First what the exercise gives, then the learner's cells; an answer to another task runs only
    if this task needs it, so its faults stay its own.  theirs: ids of needed tasks whose answer
    is replaced by a right one.
    """
    mine = {answer_id(i) for i in (task.id, *task.needs) if i not in theirs}
    pristine = [source for grade_id, test, source in given if not grade_id and not test]
    lent = [textwrap.dedent(find(i).right[0]) for i in theirs]
    own = [
        source
        for grade_id, test, source in submission
        if not test and (not grade_id.startswith("answer-") or grade_id in mine)
        and source not in pristine
    ]  # fmt: skip
    return [(source, True) for source in pristine + lent] + [(source, False) for source in own]


class Child:
    """A process that holds one submission's answer to one task."""

    def __init__(self, task, walls):
        self.folder = tempfile.TemporaryDirectory(prefix="grading-")
        program, keep = sandbox.command(task.closed, walls)
        try:
            self.process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=self.folder.name, start_new_session=True, pass_fds=keep,
                env=sandbox.environment(self.folder.name),
                preexec_fn=sandbox.limits(task.memory, int(START + task.seconds) + 1),
            )  # fmt: skip
        finally:
            for fd in keep:
                os.close(fd)
        self.blocks, self.buffer = queue.Queue(4), b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self.allow(START)

    def allow(self, seconds):
        """From now on it may use so many seconds of processor time, by the clock PATIENCE times."""
        self.most = sandbox.seconds_used(self.process.pid) + seconds
        self.deadline = time.monotonic() + PATIENCE * seconds

    def _left(self):
        """It cannot have used up its time before so many seconds from now."""
        by_clock = self.deadline - time.monotonic()
        return min(by_clock, self.most - sandbox.seconds_used(self.process.pid))

    def _read(self):
        """A thread that hands on what comes, at most a little ahead; ends with the process."""
        with contextlib.suppress(OSError, ValueError):
            while block := os.read(self.process.stdout.fileno(), 1 << 16):
                self.blocks.put(block)
        self.blocks.put(b"")

    def send(self, **head):
        try:
            self.process.stdin.write(frame(**head))
            self.process.stdin.flush()
        except OSError:
            raise Broken("the process ended") from None

    def _more(self):
        block = None
        while block is None:
            try:
                block = self.blocks.get(timeout=max(0.01, self._left()))
            except queue.Empty:
                if self._left() <= 0:
                    raise Broken("it took too long; does every loop end?") from None
        if not block:
            raise Broken("the process ended (a crash, an exit, or too much memory)")
        self.buffer += block

    def receive(self, most=1 << 16):
        """The reply, a dict, with its value unpacked; it may have `most` bytes."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > most:
                raise Broken("its reply makes no sense")
            self._more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        left = most

        def read(n):
            nonlocal left
            left -= n
            if left < 0:
                raise Broken(f"its result is too large: {most - left:,} bytes and more")
            while len(self.buffer) < n:
                self._more()
            block, self.buffer = self.buffer[:n], self.buffer[n:]
            return block

        try:
            head = json.loads(line)
            if "value" in head:
                head["value"] = unpack(head["value"], read)
            return head
        except Broken:
            raise
        except Exception:
            raise Broken("its reply makes no sense") from None

    def close(self):
        kill = getattr(os, "killpg", None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(self.process.pid, signal.SIGKILL) if kill else self.process.kill()
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        while self.reader.is_alive():  # it may wait for room, and ends with the process
            with contextlib.suppress(queue.Empty):
                self.blocks.get(timeout=0.01)
        self.process.stdout.close()
        self.folder.cleanup()


def ask(task, sources, seed, walls):
    """The results of one submission's answer on all cases, as `judge` takes them."""
    cases, right = expected(task, seed)
    child, results = Child(task, walls), []
    try:
        child.send(
            cells=sources, sent=task.source_sent, drive=task.drive.__name__, name=task.name,
            closed=task.closed,
        )  # fmt: skip
        if not child.receive().get("there"):
            return [NotGiven("not answered yet")] * len(cases)
        child.allow(task.seconds)
        for (_, arguments), value in zip(cases, right):
            child.send(value=arguments)
            value = None if isinstance(value, Exception) else value
            size = len(frame(value=(value, value, arguments)))  # as `Task.ask` answers
            reply = child.receive(most=(1 << 16) + 4 * size)
            results.append(_error(reply["error"]) if "error" in reply else reply.get("value"))
    except Broken as error:
        results += [error] * (len(cases) - len(results))
    finally:
        child.close()
    return results


def _error(told):
    """The exception that a child reported, of the nearest kind that Python itself knows."""
    told = told if isinstance(told, dict) else {}
    text = str(told.get("text", ""))[:200]
    found = RuntimeError(text)
    for name in map(str, told.get("kinds", [])):
        kind = getattr(builtins, name, None)
        if kind is NotImplementedError:
            return NotGiven("not answered yet")
        if isinstance(kind, type) and issubclass(kind, Exception):
            with contextlib.suppress(TypeError):
                found = kind(text)
                break
    found.line = str(told.get("line", ""))[:200]
    return found


def grade(path, *, seed=None, walls=None, jobs=1):
    """The verdicts on the notebook at `path`, one for each task of its lesson.

    seed: of the inputs; None: one that nobody knows before.  walls: whether each task runs inside
    bubblewrap; None: where there is one.  jobs: tasks at a time.
    Raises Unreadable when the file is no notebook.
    """
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    walls = sandbox.available() if walls is None else walls
    lesson = lesson_of(path)
    given, submission = cells(notebook(lesson)), cells(path)

    def one(task, lent=()):
        return judge(task, seed, ask(task, cells_for(task, submission, given, lent), seed, walls))

    with ThreadPoolExecutor(jobs) as pool:
        found = {v.task.id: v for v in pool.map(one, tasks(lesson).values())}
    for i, verdict in found.items():
        # What an answer builds on may be wrong; that costs its own points, not these.
        lent = [
            n for n in verdict.task.needs if n in found and found[n].points < sheet(lesson)[n][1]
        ]
        if lent and verdict.text:
            again = one(verdict.task, lent)
            if again.points > verdict.points:
                note = f"Judged with a right {', '.join(lent)} in place of yours."
                text = f"{again.text}\n  {note}" if again.text else ""
                found[i] = replace(again, text=text)
    return list(found.values())


def control(lesson, *, walls=None, jobs=1):
    """Raise RuntimeError unless the solution, a known-good submission, gets full points."""
    for verdict in grade(notebook(lesson), walls=walls, jobs=jobs):
        if verdict.text:
            raise RuntimeError(
                f"the known-good control for lesson {lesson} does not get full points, so nothing "
                f"is graded; task {verdict.task.id}: {verdict.text}"
            )
