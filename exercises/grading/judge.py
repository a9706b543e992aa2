"""How answers are judged: compared, described in words, and the mistake named.

The one rule of this file: a judgement compares plain values (`child.plain`) with operators alone,
so nothing that an answer brings with it, and no function it replaced, has a say.
"""

import contextlib
import copy
import inspect
import signal
import threading
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from .child import complaint, plain
from .task import Task, draw


class NotGiven(Exception):
    """Stands for an answer that was left blank."""


class Broken(Exception):
    """Stands for answers that never came: the process ended, was too slow, or spoke nonsense."""


@dataclass(frozen=True)
class Verdict:
    """points of task.points, the groups of cases that passed or failed, and a text for the
    learner (empty when all is right), with the named mistake, if it is a known one."""

    task: Task
    points: float
    text: str = ""
    mistake: str = ""
    passed: list = field(default_factory=list)
    failed: list = field(default_factory=list)

    def record(self):
        """The verdict as JSON can hold it; docs/grading.md tells the fields."""
        t = self.task
        return {
            "task": t.id, "title": t.title, "points": self.points, "of": t.points,
            "passed": self.passed, "failed": self.failed, "mistake": self.mistake,
            "text": self.text,
        }  # fmt: skip


def run(task, answer, arguments):
    """The plain value that `answer` gives on one case, or the exception that it raises."""
    try:
        with _limited(task.seconds), np.errstate(all="ignore"):
            return plain(task.drive(answer, *copy.deepcopy(arguments)))
    except NotImplementedError:
        return NotGiven("not answered yet")
    except Exception as error:
        if line := complaint(error)["line"]:
            error.line = line
        return error


def run_all(task, answer, cases):
    """The result of `answer` on each case; after one that took too long, no other is tried."""
    results = []
    for _, arguments in cases:
        late = results and isinstance(results[-1], TimeoutError)
        results.append(results[-1] if late else run(task, answer, arguments))
    return results


@contextlib.contextmanager
def _limited(seconds):
    """Raises TimeoutError after so long, where Python can: not on Windows, nor in a thread."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() != threading.main_thread():
        yield
        return

    def too_long(*_):
        raise TimeoutError(f"it took longer than {seconds:g} seconds; does every loop end?")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@lru_cache(maxsize=256)
def expected(task, seed):
    """The cases of `task` for a seed, and for each what is right."""
    cases = draw(task, seed)
    return cases, [_right(task, arguments) for _, arguments in cases]


def _right(task, arguments):
    try:
        with np.errstate(all="ignore"):
            return plain(task.reference(*copy.deepcopy(arguments)))
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError) as error:
        return error


@lru_cache(maxsize=256)
def mistakes(task, seed):
    """Pairs of a sentence that names a mistake, and the results that it leads to."""
    cases = expected(task, seed)[0]
    found = []
    for sentence, source in task.bank():
        found.append((sentence, run_all(task, task.compile(source), cases)))
    return found


def agree(task, expected, got):
    """Whether two results are the same: equal values, or errors of one kind."""
    if isinstance(expected, Exception) or isinstance(got, Exception):
        return isinstance(got, type(expected)) and not isinstance(got, (NotGiven, Broken))
    a = numbers(expected)
    if a is not None:
        b = numbers(got)
        return b is not None and a.shape == b.shape and bool(_close(task, a, b).all())
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and expected.keys() == got.keys()
            and all(agree(task, value, got[key]) for key, value in expected.items())
        )
    if isinstance(expected, (tuple, list)):
        if isinstance(got, np.ndarray) and got.ndim:
            got = list(got)
        return (
            isinstance(got, (tuple, list))
            and len(got) == len(expected)
            and all(agree(task, a, b) for a, b in zip(expected, got))
        )
    return type(expected) is type(got) and expected == got


def numbers(value):
    """`value` as an array, or None where it is not made of numbers alone."""
    if isinstance(value, (bool, int, float, np.ndarray)):
        return np.asarray(value)
    if isinstance(value, (tuple, list)):
        if not value:
            return np.zeros(0)
        parts = [numbers(v) for v in value]
        if all(p is not None and p.shape == parts[0].shape for p in parts):
            return np.asarray(parts)
    return None


def _close(task, a, b):
    with np.errstate(all="ignore"):
        if a.dtype.kind == "b" or b.dtype.kind == "b":
            a, b = a * 1, b * 1
        near = (abs(a - b) <= task.atol + task.rtol * abs(a)) & (abs(a) < np.inf)
    return near | (a == b) | ((a != a) & (b != b))


def judge(task, seed, results):
    """The verdict on `results`, one for each case: plain values or exceptions."""
    cases, right = expected(task, seed)
    good = [agree(task, e, r) for e, r in zip(right, results, strict=True)]
    groups = {}
    for (group, _), ok in zip(cases, good):
        groups[group] = groups.get(group, True) and ok
    passed = [group for group, ok in groups.items() if ok]
    failed = [group for group, ok in groups.items() if not ok]
    if not failed:
        return Verdict(task, task.points, passed=passed)
    if any(isinstance(r, NotGiven) for r in results):
        return Verdict(task, 0.0, "not answered yet", failed=list(groups))
    points = min(int(2 * task.points * len(passed) / len(groups)) / 2, task.points - 0.5)
    worst = min(
        (i for i, ok in enumerate(good) if not ok),
        # Small, but with something in it: an empty array shows little.
        key=lambda i: sum(_size(a) for a in cases[i][1]),
    )
    text = describe(task, cases[worst], right[worst], results[worst])
    mistake = name_mistake(task, seed, results)
    if mistake:
        text += f"\n  This is what you get when {mistake}."
    text += f"\n  Right on: {', '.join(passed) or 'nothing yet'}.\n  Wrong on: {', '.join(failed)}."
    return Verdict(task, points, text, mistake, passed, failed)


def name_mistake(task, seed, results):
    """The sentence of the wrong answer that gives these same results, or an empty string."""
    if any(isinstance(r, Broken) for r in results):
        return ""
    for sentence, theirs in mistakes(task, seed):
        if all(agree(task, mine, r) for mine, r in zip(theirs, results)):
            return sentence
    return ""


# ---- in words


def describe(task, case, right, got):
    """The case, what was expected and what came, in a few short lines."""
    group, arguments = case
    names = list(inspect.signature(task.reference).parameters)
    names += [f"input {i + 1}" for i in range(len(names), len(arguments))]
    wide = max(map(len, ["expected", *names]))
    lines = [f"{group}:"]

    def line(label, text):
        lines.append(f"  {label:{wide}}  " + text.replace("\n", "\n" + " " * (wide + 4)))

    for name, argument in zip(names, arguments):
        line(name, show(argument))
    if isinstance(right, Exception):
        line("expected", f"{type(right).__name__} is raised")
    else:
        line("expected", show(right))
    if isinstance(got, Broken):
        line("got", f"nothing: {got}")
    elif isinstance(got, Exception):
        line("got", f"{type(got).__name__}: {str(got)[:200]}")
        if getattr(got, "line", ""):
            line("", f"raised in {got.line}")
    else:
        line("got", show(got))
        if not isinstance(right, Exception) and (apart := difference(task, right, got)):
            line("", apart)
    return "\n".join(lines)


def difference(task, right, got):
    """The largest difference of two results and where it is, in words; empty if not to be had."""
    if isinstance(right, dict) and isinstance(got, dict):
        for key in [*right, *(key for key in got if key not in right)]:
            if key not in right or key not in got:
                return f"the key {key!r} {'is missing' if key in right else 'is too many'}"
            if not agree(task, right[key], got[key]):
                return f"at the key {key!r}: {difference(task, right[key], got[key]) or 'differs'}"
    several = isinstance(right, (tuple, list)) and isinstance(got, (tuple, list))
    a, b = numbers(right), numbers(got)
    if several and (a is None or any(isinstance(r, np.ndarray) for r in right)):
        if len(right) != len(got):
            return f"{len(right)} results are expected, {len(got)} came"
        for i, (r, g) in enumerate(zip(right, got)):
            if not agree(task, r, g):
                inside = difference(task, r, g)
                return f"result {i + 1}: {inside}" if inside else f"result {i + 1} differs"
    if a is None or b is None or not a.size:
        return ""
    if a.shape != b.shape:
        return f"shape {a.shape} is expected, {b.shape} came"
    with np.errstate(all="ignore"):
        apart = np.where(_close(task, a, b), -1, abs(a * 1.0 - b))
    if not a.ndim:
        return f"difference {float(apart):.3g}"
    where = np.unravel_index(np.argmax(np.where(apart == apart, apart, np.inf)), a.shape)
    place = ", ".join(map(str, map(int, where)))
    few = f"; {int((apart != -1).sum())} of {a.size} differ" if a.size > 1 else ""
    return f"largest difference {apart[where]:.3g}, at [{place}]{few}"


def show(value):
    """A value in a line or a few; a large array by its shape and first elements."""
    if isinstance(value, (tuple, list)):  # NumPy's single numbers as Python writes them
        value = type(value)(
            v.item() if isinstance(v, np.ndarray) and not v.ndim else v for v in value
        )
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return f"{value.item():.6g}" if value.dtype.kind == "f" else str(value.item())
        if value.size > 40:
            first = ", ".join(f"{x:.4g}" for x in value.ravel()[:4].tolist())
            return f"an array of shape {value.shape}: {first}, ..."
        text = np.array2string(value, precision=4, separator=", ", max_line_width=80)
        return f"{text}, shape {value.shape}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
        return "\n".join(f"{i + 1}: " + show(v).replace("\n", "\n   ") for i, v in enumerate(value))
    text = repr(value)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"


def _size(argument):
    if isinstance(argument, np.ndarray):
        return argument.size or 100
    if isinstance(argument, dict):
        return sum(_size(v) for v in argument.values())
    if isinstance(argument, (tuple, list, str)):
        return sum(_size(v) for v in argument) if not isinstance(argument, str) else len(argument)
    return 1
