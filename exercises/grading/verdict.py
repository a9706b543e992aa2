"""The verdict on a notebook, decided outside the learner's process.

A child process runs the submission's cells in their order; at each cell that checks an answer this
process calls the answer, over a line of plain values, and judges what comes back.  It alone knows
the inputs before they are used, and what is right.

The one rule of this file: whatever a submission does costs the cell or the answer that did it.
"""

import contextlib
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import tempfile
import textwrap
import threading
import time
import weakref
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from . import sandbox
from .child import PATIENCE, SECONDS_PER_CELL, frame
from .judge import Broken, Verdict, expected, judge, nothing_there, run_all
from .remote import CALLS, Caller
from .submission import (
    Cell,
    Unreadable,
    cells,
    checked,
    content,
    lesson_in,
    lesson_named,
    programs,
)  # fmt: skip
from .task import FOLDERS, find, notebook, tasks
from .text import printable

START = 30.0  # seconds of processor time for Python and NumPy to start
SPARE = 2.0  # seconds that a cell may use beyond its limit before its process is ended
ALL_CELLS = 150.0  # seconds of processor time for all cells of a notebook
RESTARTS = 12  # of a submission's process, after which it is not started again
LOOK = 0.05  # seconds between two looks at what a process has used; most replies come before
LINE = 1 << 16  # bytes of a reply, beside its values
ROOM = 1 << 25  # bytes that any result may have; wrong ones are often larger than right ones


class Stopped(BaseException):
    """The one who grades has stopped the grader; no answer's fault, so no Exception."""


_stopping = threading.Event()
_children = weakref.WeakSet()


@contextlib.contextmanager
def workers(jobs):
    """A pool of threads.  Ctrl-C ends the processes that they wait for, so that nobody waits."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit):
        _stop()
        raise
    finally:
        pool.shutdown(wait=not _stopping.is_set(), cancel_futures=True)


def _stop():
    _stopping.set()
    deadline = time.monotonic() + LEAVE
    while (left := [c for c in list(_children) if not c.closed]) and time.monotonic() < deadline:
        for child in left:
            child.kill()
        time.sleep(0.05)


def leave(*_):
    """End this process, and before it those that it has started."""
    _stop()
    os._exit(1)


LEAVE = 3.0  # seconds that are given to the threads to leave


def go_on():
    """After all have stopped, new ones may start."""
    _stopping.clear()


# ---- the process


class Child:
    """A process in which one submission's cells run."""

    def __init__(self, opens, walls, memory):
        if _stopping.is_set():
            raise Stopped
        self.closed = False
        # Windows removes no file that something still holds open.
        self.folder = tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True)
        program, keep = sandbox.command(opens, walls)
        try:
            self.process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                cwd=self.folder.name, start_new_session=True, pass_fds=keep,
                env=sandbox.environment(self.folder.name),
            )  # fmt: skip
        finally:
            sandbox.close(keep)
        _children.add(self)
        self.incoming, self.outgoing, self.buffer = queue.Queue(4), queue.Queue(), b""
        # Threads, because a pipe may be full or empty for ever; both end with the process.
        self.threads = [threading.Thread(target=f, daemon=True) for f in (self._read, self._write)]
        for thread in self.threads:
            thread.start()
        self.known = 0.0  # as `used` said last
        self.allow(START)
        self.send(frame(
            closed=sandbox.closed(opens), memory=memory, disk=sandbox.DISK, seconds=3600
        ))  # fmt: skip

    def allow(self, seconds):
        """From now on it may use so many seconds of processor time, by the clock PATIENCE times."""
        self.most = self.known + seconds
        self.deadline = time.monotonic() + PATIENCE * seconds
        self.look = time.monotonic() + LOOK

    def used(self):
        """Seconds of processor time that it has used."""
        self.known = sandbox.seconds_used(self.process.pid)
        return self.known

    def _left(self):
        """It cannot have used up its time before so many seconds from now."""
        now = time.monotonic()
        if now >= self.look:
            self.used()
            self.look = now + LOOK
        return min(self.deadline - now, self.most - self.known)

    # Each thread closes its own end of the pipe, also if `close` did not wait for it to the end.

    def _read(self):
        with contextlib.suppress(OSError, ValueError), self.process.stdout as pipe:
            while block := os.read(pipe.fileno(), 1 << 16):
                self.incoming.put(block)
        self.incoming.put(b"")

    def _write(self):
        with contextlib.suppress(OSError, ValueError), self.process.stdin as pipe:
            while (data := self.outgoing.get()) is not None:
                pipe.write(data)
                pipe.flush()

    def send(self, data):
        """A message goes out when it is read; one who never reads is late with the reply.

        The reply has to begin with the message's mark, so nobody can write it beforehand.
        """
        self.mark = secrets.token_hex(8).encode()
        self.outgoing.put(self.mark + b" " + data)

    def _more(self):
        block = None
        while block is None:
            if _stopping.is_set():
                raise Stopped
            left = self._left()
            if left <= 0:
                raise Late
            with contextlib.suppress(queue.Empty):
                block = self.incoming.get(timeout=min(0.5, max(0.01, left)))
        if not block:
            raise Broken("the process ended (a crash, an exit, or too much memory)")
        self.buffer += block

    def receive(self, most=LINE):
        """(head, read) of the next message, a dict and a function; it may have `most` bytes."""
        while b"\n" not in self.buffer:
            if len(self.buffer) > most:
                raise Broken("its result is too large, or it wrote where it must not")
            self._more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        left = most - len(line)

        def read(n):
            nonlocal left
            left -= n
            if left < 0:
                raise Broken(f"its result is too large: {most - left:,} bytes and more")
            while len(self.buffer) < n:
                self._more()
            block, self.buffer = self.buffer[:n], self.buffer[n:]
            return block

        mark, _, line = line.partition(b" ")
        try:
            head = json.loads(line) if mark == self.mark else None
        except (ValueError, RecursionError):
            head = None
        if not isinstance(head, dict):
            raise Broken(NONSENSE)
        return head, read

    def ask(self, **head):
        """The reply to a question that has no values, a dict."""
        self.send(frame(**head))
        return self.receive()[0]

    def kill(self):
        """End it and all that it started."""
        group = getattr(os, "killpg", None)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            group(self.process.pid, signal.SIGKILL) if group else self.process.kill()
        self.process.kill()

    def close(self):
        self.kill()
        self.process.wait()
        self.outgoing.put(None)
        reader, writer = self.threads
        deadline = time.monotonic() + LEAVE
        while reader.is_alive() and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):  # it may wait for room
                self.incoming.get(timeout=0.01)
        writer.join(max(0.0, deadline - time.monotonic()))
        # Without walls something that it started may still hold the other ends of the pipes: then
        # the threads stay for as long.
        self.folder.cleanup()
        self.closed = True


NONSENSE = "its reply makes no sense"


class Late(Exception):
    """A process has used up its time."""

    def __str__(self):
        return "it used up its time"


class Remote:
    """The answer in a child process, to be called like a function of this one.

    Not in the main thread: there the judgement's own limit, an alarm, would end a call between
    question and reply.  problem: what ended the process, after which every call raises it.
    """

    def __init__(self, child, seconds, room=0):
        self.child, self.seconds, self.room = child, seconds, room
        self.left, self.caller, self.problem = CALLS * seconds, Caller(), None

    def __call__(self, *arguments, **options):
        if self.problem is not None:
            raise self.problem
        sent = arguments, options
        message = self.caller.message(sent)
        try:
            head, read = self._call(message)
            return self._result(head, read, sent)
        except Late:
            self.problem = self._late()
        except Broken as error:
            self.problem = error
        raise self.problem

    def _call(self, message):
        """(head, read) of the reply; until it comes, functions that were lent are called."""
        before = self.child.known  # between two calls it has nothing to do
        self.child.allow(min(self.seconds, self.left))
        self.child.send(message)
        most = LINE + max(ROOM, 4 * (len(message) + self.room))
        while True:
            head, read = self.child.receive(most)
            if "back" not in head:
                self.left -= self.child.used() - before
                return head, read
            # No more than what was sent to the answer: large arrays could cost this process dear.
            head, read = self._small(head, read, len(message) + 4096)
            self.child.send(self.caller.lend_an_answer(head, read))

    def _small(self, head, read, most):
        left = most

        def some(n):
            nonlocal left
            left -= n
            if left < 0:
                raise Broken("it called a function that it was given with much more than it got")
            return read(n)

        return head, some

    def _result(self, head, read, sent):
        if "error" not in head and "value" not in head:
            raise Broken(NONSENSE)
        try:
            return self.caller.result(head, read, sent)
        except (Broken, Late, Stopped):
            raise
        except Exception as error:
            if "error" in head:
                raise
            raise Broken(NONSENSE) from error

    def _late(self):
        if self.left < self.seconds:
            return TimeoutError(
                f"all calls together took longer than {CALLS * self.seconds:g} seconds"
            )
        return TimeoutError(f"it took longer than {self.seconds:g} seconds; does every loop end?")


# ---- the notebook


@dataclass(frozen=True)
class Book:
    """A submission's cells as they are run.

    sources: as plain Python.  stops: for each cell, the ids of the tasks that it checks.
    answers: id -> number of the cell that answers it.  lost: ids whose answer's cell is no code.
    """

    sources: list
    stops: list
    answers: dict = field(default_factory=dict)
    lost: frozenset = frozenset()


def book(lesson, submitted):
    """The Book of a submission's cells: first what the exercise gives and the submission lacks."""
    pristine = [c.source for c in _given(lesson) if c.code and not c.task]
    code = [c for c in submitted if c.code]
    theirs = {c.source.strip() for c in code}
    lacking = [Cell(source) for source in pristine if source.strip() not in theirs]
    given = {source.strip() for source in pristine}
    run = lacking + code
    stops = []
    for cell in run:
        ids = [] if cell.source.strip() in given else checked(cell.source)
        stops.append([cell.task, *ids] if cell.test else ids)
    answers = {c.task: i for i, c in enumerate(run) if c.task and not c.test}
    lost = {c.task for c in submitted if c.task and not c.test and not c.code}
    return Book(programs(run), stops, answers, frozenset(lost - {*answers}))


def _given(lesson):
    return cells(content(notebook(lesson)))


class Sitting:
    """One submission's cells, run in order, with its answers to some tasks judged on the way.

    Where its process ends, another goes on: without the cell that ended it, and after the answer
    that did.
    """

    def __init__(self, book, chosen, seed, walls, lent=()):
        self.book, self.chosen, self.seed, self.walls, self.lent = book, chosen, seed, walls, lent
        self.skipped, self.errors = set(), {}
        self.asked, self.ended, self.spent = set(), set(), 0.0
        self.gave_up = False
        self.names = []

    def sit(self):
        """For each chosen task the verdicts on its answer, the first one first."""
        self.verdicts = {task_id: [] for task_id in self.chosen}
        for _ in range(RESTARTS):
            if self._through():
                return self.verdicts
        self.gave_up = True
        return self.verdicts

    def _through(self):
        """Whether the end was reached; if not, the process has ended and what did it is noted."""
        opens = next(iter(self.chosen.values())).opens  # the same for all
        memory = max(task.memory for task in self.chosen.values())
        child = Child(opens, self.walls, memory)
        try:
            self._begin(child)
            for number in range(len(self.book.sources)):
                if not self._cell(child, number) or not self._stop(child, number):
                    return False
            return self._end(child)
        finally:
            child.close()

    def _begin(self, child):
        """Wait until the process is there; until then nothing of the submission has run."""
        try:
            child.receive()
            child.used()
        except (Broken, Late) as error:
            raise RuntimeError(f"no process for a submission starts: {error}") from None

    def _cell(self, child, number):
        """Run a cell, unless it ended the process before."""
        if number in self.skipped:
            return True
        if self.spent > ALL_CELLS:
            text = f"the cells before it took longer than {ALL_CELLS:g} seconds together"
            self.errors[number] = {"kinds": [], "text": text}
            return True
        child.allow(SECONDS_PER_CELL + SPARE)
        before, began = child.known, time.monotonic()
        try:
            reply = child.ask(cell=self.book.sources[number], number=number)
            if reply.get("ran") != number:
                raise Broken(NONSENSE)
        except (Broken, Late) as error:
            self.skipped.add(number)
            late = f"the cell took longer than {SECONDS_PER_CELL:g} seconds"
            text = late if isinstance(error, Late) else str(error)
            self.errors[number] = {"kinds": [], "text": text}
            return False
        finally:
            used = child.used() - before
            self.spent += max(used, (time.monotonic() - began) / PATIENCE)
        if isinstance(reply.get("error"), dict):
            self.errors[number] = reply["error"]
        return True

    def _stop(self, child, number):
        """Judge what a cell checks; whether the process is still there."""
        for task_id in self.book.stops[number]:
            if task_id not in self.chosen or (number, task_id) in self.asked:
                continue
            tried = len(self.verdicts[task_id])
            if self._full(task_id) or tried >= MOST_CHECKS or task_id in self.ended:
                continue
            self.asked.add((number, task_id))
            if not self._judge(child, self.chosen[task_id]):
                return False
        return True

    def _end(self, child):
        """Judge again, with all that the notebook defines, what is not right so far."""
        for task_id, task in self.chosen.items():
            if self._full(task_id) or ("end", task_id) in self.asked or task_id in self.ended:
                continue
            self.asked.add(("end", task_id))
            if not self._judge(child, task):
                return False
        return True

    def _full(self, task_id):
        return any(v.points >= v.task.points for v in self.verdicts[task_id])

    def _judge(self, child, task):
        cases, right = expected(task, self.seed)
        try:
            for i in self.lent:
                child.allow(SECONDS_PER_CELL + SPARE)
                child.ask(cell=textwrap.dedent(find(i).right[0]), number=-1)
            child.allow(START)
            reply = child.ask(take=task.id, name=task.name)
        except (Broken, Late) as error:
            problem = error if isinstance(error, Broken) else Broken("it does not reply any more")
            self.verdicts[task.id].append(_judged(task, self.seed, [problem] * len(cases)))
            return False
        if not reply.get("there"):
            self.names = reply.get("names", [])
            return True
        room = max((len(frame(value=v)) for v in right if not isinstance(v, Exception)), default=0)
        remote = Remote(child, task.seconds, room)
        results = run_all(task, remote, cases)
        self.verdicts[task.id].append(_judged(task, self.seed, results))
        if remote.problem is not None:
            self.ended.add(task.id)  # to ask again would take as long again
        return remote.problem is None


MOST_CHECKS = 4  # of one task in one notebook that are judged; the best counts


def _judged(task, seed, results):
    """The verdict on results; whatever they are, one task's judgement ends no other's."""
    try:
        return judge(task, seed, results)
    except Exception as error:
        reason = f"what it gives cannot be compared: {type(error).__name__}: {str(error)[:200]}"
        groups = list(dict.fromkeys(group for group, _ in expected(task, seed)[0]))
        return Verdict(task, 0.0, reason, failed=groups)


# ---- all of it


def answer_id(task_id):
    """nbgrader's id of the cell that answers a task: 07.1 -> answer-07-1."""
    return f"answer-{task_id.replace('.', '-')}"


def lesson_of(path, submitted=()):
    """The number of the lesson whose exercise a notebook is: by its cells, or else its name."""
    return lesson_in(submitted) or lesson_named(path)


def grade(path, *, seed=None, walls=None, jobs=1):
    """The verdicts on the notebook at `path`, one for each task of its lesson.

    seed: of the inputs; None: one that nobody knows before.  walls: whether it runs inside
    bubblewrap; None: where there is one.  jobs: processes at a time.
    Raises Unreadable when the file is no notebook of this course.
    """
    submitted = cells(content(path))
    lesson = lesson_of(path, submitted)
    if lesson is None:
        raise Unreadable(UNKNOWN)
    return verdicts(lesson, submitted, seed=seed, walls=walls, jobs=jobs)


UNKNOWN = (
    "it is no exercise of this course: no cell of it answers or checks a task, and its name is "
    "none of an exercise"
)


def verdicts(lesson, submitted, *, seed=None, walls=None, jobs=1):
    """The verdicts on cells that were handed in for a lesson; see `grade`."""
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    walls = sandbox.available() if walls is None else walls
    run, every = book(lesson, submitted), tasks(lesson)
    groups = defaultdict(dict)  # tasks that open the same packages share a process
    for task in every.values():
        groups[task.opens][task.id] = task
    sittings = [Sitting(run, chosen, seed, walls) for chosen in groups.values()]
    with workers(jobs) as pool:
        list(pool.map(Sitting.sit, sittings))
        found = {i: best(s, t) for s in sittings for i, t in s.chosen.items()}
        again = [s for v in found.values() if (s := _with_lent(run, v, found, seed, walls))]
        list(pool.map(Sitting.sit, again))
    for sitting in again:
        _better_with_lent(found, sitting)
    return [_printable(found[i]) for i in every]


def best(sitting, task):
    """The best of the verdicts on a task: a wrong try loses nothing."""
    tried = sitting.verdicts[task.id]
    best = max(tried, key=lambda v: v.points, default=None)
    if best is None or (not best.points and best.text == OPEN):
        groups = list(dict.fromkeys(group for group, _ in expected(task, sitting.seed)[0]))
        reason = _why_there_is_none(task, sitting) if best is None else OPEN
        return Verdict(task, 0.0, reason, failed=groups)
    return best


OPEN = "not answered yet"


def _why_there_is_none(task, sitting):
    """Why there is no function to judge, in a sentence."""
    if sitting.gave_up:
        return f"the notebook's process ended {RESTARTS} times, and what came then was not run"
    error = sitting.errors.get(sitting.book.answers.get(task.id), {})
    kinds = error.get("kinds")
    kinds = [str(kind) for kind in kinds] if isinstance(kinds, list) else []
    if "NotImplementedError" in kinds:
        return OPEN
    told = ""
    if error:
        kind = f"{kinds[0]}: " if kinds else ""
        line = f" ({str(error.get('line'))[:200]})" if error.get("line") else ""
        told = f"{kind}{str(error.get('text'))[:200]}{line}"
    others = {other.name for other in tasks(task.lesson).values()}
    names = sitting.names if isinstance(sitting.names, list) else []
    names = [str(name) for name in names if name not in others]
    return nothing_there(task, error=told, names=names, markdown=task.id in sitting.book.lost)


def _with_lent(run, verdict, found, seed, walls):
    """A Sitting that judges an answer with right ones in place of the wrong ones it builds on.

    What an answer builds on may be wrong; that costs its own points, not these.  None where there
    is nothing to gain.
    """
    task = verdict.task
    if not verdict.text or verdict.text == OPEN:
        return None
    wrong = [v.task for v in found.values() if v.points < v.task.points and v.task.id != task.id]
    lent = [t.id for t in wrong if t.id in task.needs or _is_used(t.name, run)]
    return Sitting(run, {task.id: task}, seed, walls, lent) if lent else None


def _is_used(name, run):
    """Whether any cell uses a function, other than to define or to check it."""
    text = "\n".join(run.sources)
    used = len(re.findall(rf"\b{name}\b", text))
    return used > len(re.findall(rf"\bdef {name}\b|\bcheck\([^)\n]*\b{name}\b", text))


def _better_with_lent(found, sitting):
    ((task_id, task),) = sitting.chosen.items()
    again = best(sitting, task)
    if again.points > found[task_id].points:
        note = f"Judged with a right {', '.join(sitting.lent)} in place of yours."
        found[task_id] = replace(again, text=f"{again.text}\n  {note}" if again.text else "")


def _printable(verdict):
    return replace(verdict, text=printable(verdict.text), mistake=printable(verdict.mistake))


def control(lesson, *, walls=None, jobs=1):
    """Raise RuntimeError unless a known-good submission gets full points.

    It is the solution, or where that was held back, the exercise with right answers of the bank.
    """
    submitted = [right_cell(cell) for cell in _given(lesson)]
    try:
        found = verdicts(lesson, submitted, walls=walls, jobs=jobs)
        problems = [f"task {v.task.id}: {v.text}" for v in found if v.text]
    except RuntimeError as error:
        problems = [str(error)]
    if problems:
        raise RuntimeError(
            f"the known-good control for lesson {lesson} does not get full points, so nothing is "
            f"graded; {problems[0]}"
        )


def right_cell(cell):
    """The cell with a right answer in it, if it is an answer's and was left open."""
    solved = notebook(cell.task.partition(".")[0]).parent == FOLDERS[0] if cell.task else True
    if solved or cell.test:
        return cell
    return replace(cell, source=textwrap.dedent(find(cell.task).right[0]))
