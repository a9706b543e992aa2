"""How answers are judged: compared, described in words, and the mistake named.

The one rule of this file: a judgement compares plain values (`child.plain`) with operators alone,
so nothing that an answer brings with it, and no function it replaced, has a say.
"""

import contextlib
import difflib
import inspect
import re
import signal
import threading
import time
import warnings
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from . import mutate
from .child import PATIENCE, complaint, plain
from .relations import AGAIN, ALWAYS, Case, relation
from .task import Refused, Stopped, Task, copied, draw


class NotGiven(Exception):
    """Stands for an answer that was left blank."""

    no_error = True  # of the learner's own


class Broken(Exception):
    """Stands for answers that never came: the process ended, was too slow, or spoke nonsense."""

    no_error = True  # of the learner's own


class TooLong(Broken):
    """Stands for an answer that was stopped because it took too long."""


class NotRun(Broken):
    """Stands for the answer to a case that was not tried, because an earlier one went wrong."""


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


# ---- results


def run(task, answer, arguments):
    """What `answer` gives on one case, as `Task.ask` tells, or the exception that it raises."""

    def timed(*arguments, **options):
        with _limited(task.seconds):
            return answer(*arguments, **options)

    try:
        with np.errstate(all="ignore"):
            return plain(task.ask(timed, *copied(arguments)))
    except Stopped:
        return TooLong(f"it took longer than {task.seconds:g} seconds; does every loop end?")
    except TimeoutError as error:
        return TooLong(str(error))
    except SystemExit:
        return Broken("it left Python (exit)")
    except Broken as error:
        return error
    except NotImplementedError:
        return NotGiven("not answered yet")
    except Exception as error:
        if line := complaint(error)["line"]:
            error.line = line
        return error


_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def quiet():
    """Inside, what known answers warn of is nobody's business, and no error where a learner's
    Python makes errors of warnings.  One thread at a time: Python's filters belong to all."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def run_all(task, answer, cases):
    """The result of `answer` on each case; after one that took too long, or that ended the
    process, no other is tried."""
    results = []
    for _, arguments in cases:
        late = results and isinstance(results[-1], Broken)
        results.append(NotRun("not tried") if late else run(task, answer, arguments))
    return results


@contextlib.contextmanager
def _limited(seconds):
    """Raises Stopped after so many seconds of processor time, or PATIENCE times that by the clock.

    Where Python can: not on Windows, nor in a thread.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() != threading.main_thread():
        yield
        return

    def too_long(*_):
        raise Stopped

    kinds = (signal.SIGPROF, signal.ITIMER_PROF, 1), (signal.SIGALRM, signal.ITIMER_REAL, PATIENCE)
    before = [signal.signal(number, too_long) for number, _, _ in kinds]
    for _, timer, times in kinds:
        signal.setitimer(timer, seconds * times)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(kinds, before):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


@lru_cache(maxsize=256)
def expected(task, seed):
    """The cases of `task` for a seed, and for each what is right."""
    cases = draw(task, seed)
    return cases, [_right(task, arguments) for _, arguments in cases]


def _right(task, arguments):
    try:
        with quiet(), np.errstate(all="ignore"):
            return plain(task.reference(*copied(arguments)))
    except (ValueError, TypeError, IndexError, KeyError, ZeroDivisionError) as error:
        return error


@lru_cache(maxsize=4096)
def _known(task, source):
    """The function of a known answer, and the counter of its rounds; None if it defines none."""
    try:
        return mutate.compiled(task, source)
    except Exception:
        return None


@lru_cache(maxsize=4096)
def _rounds(task, seed, variant):
    """How many rounds the loops of a right answer go on the case that takes it the most.

    Not on the very case: where a right answer soon gives up, a wrong one may go a long way.
    """
    function, counter = _known(task, task.right[variant])
    most = 0
    for _, arguments in expected(task, seed)[0]:
        counter[:] = 0, None
        with quiet():
            run(task, function, arguments)
        most = max(most, counter[0])
    return most


MANY_ROUNDS = 300_000  # of an answer without `while`, whose loops end by themselves


@lru_cache(maxsize=1 << 15)
def known_result(task, seed, source, i, variant=None):
    """What the answer `source` gives on case i; variant: the right answer that it was made from.

    It is stopped when it goes round far more often than that one does on any case, or than any.
    """
    answer = _known(task, source)
    if answer is None:
        return Broken("it defines no function")
    function, counter = answer
    made_from = range(len(task.right)) if variant is None else [variant]
    most = MANY_ROUNDS
    if "while" in source:
        most = 5 * max(_rounds(task, seed, v) for v in made_from) + 200
    counter[:] = 0, most
    with quiet():
        return run(task, function, expected(task, seed)[0][i][1])


def known_results(task, seed, source):
    """The results of the known answer `source` on all cases, each on its own."""
    return [known_result(task, seed, source, i) for i in range(len(expected(task, seed)[0]))]


def mistakes(task, seed):
    """Pairs of a sentence that names a mistake, and the results that it leads to."""
    return [(sentence, known_results(task, seed, source)) for sentence, source in task.bank()]


# ---- comparing


@dataclass(frozen=True)
class Asked:
    """What came back of one case: the first result, the second, and the inputs afterwards.

    Where nothing came back, all three are the exception that stands for it.
    """

    first: object
    again: object
    inputs: object


def asked(result):
    """A result taken apart; what is no result of `Task.ask` is broken."""
    if isinstance(result, Exception):
        return Asked(result, result, result)
    if isinstance(result, (tuple, list)) and len(result) == 3:
        return Asked(*result)
    nonsense = Broken("its reply makes no sense")
    return Asked(nonsense, nonsense, nonsense)


def fault(task, arguments, right, result):
    """What is wrong with a result: "value", "inputs" (they were changed), "again" (the second
    call gave something else), or an empty string."""
    got = asked(result)
    if not agree(task, right, got.first):
        return "value"
    if isinstance(right, Exception):
        return ""
    if not task.may_change and not _same(tuple(arguments), got.inputs):
        return "inputs"
    return "" if agree(task, right, got.again) else "again"


def _same(a, b):
    """Whether plain values are exactly equal, in type and number; nan equals nan."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        alike = a.shape == b.shape and a.dtype == b.dtype
        return alike and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_same(value, b[key]) for key, value in a.items())
    return type(a) is type(b) and (a == b or (a != a and b != b))


def alike(task, mine, theirs):
    """Whether two answers did the same on a case, the right thing or not."""
    a, b = asked(mine), asked(theirs)
    if isinstance(a.first, Exception) or isinstance(b.first, Exception):
        return type(a.first) is type(b.first) and not isinstance(a.first, (NotGiven, NotRun))
    same = agree(task, a.first, b.first) and agree(task, a.again, b.again)
    return same and (task.may_change or _same(a.inputs, b.inputs))


def agree(task, expected, got):
    """Whether two results are the same: equal values, or errors of one kind."""
    if isinstance(expected, Exception) or isinstance(got, Exception):
        return isinstance(got, type(expected)) and not isinstance(got, (NotGiven, Broken))
    rows = isinstance(expected, (tuple, list)) and isinstance(got, np.ndarray)
    if rows and not len(expected) and got.shape[:1] == (0,):
        return True  # an array of no rows, whatever is in a row
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


# ---- the verdict


def judge(task, seed, results):
    """The verdict on `results`, one for each case: as `Task.ask` gives them, or exceptions."""
    cases, right = expected(task, seed)
    results = _tried(results)
    faults = [fault(task, a, e, r) for (_, a), e, r in zip(cases, right, results, strict=True)]
    groups = {}
    for (group, _), wrong in zip(cases, faults):
        groups[group] = groups.get(group, True) and not wrong
    passed = [group for group, ok in groups.items() if ok]
    failed = [group for group, ok in groups.items() if not ok]
    if not failed:
        return Verdict(task, task.points, passed=passed)
    if all(isinstance(r, NotGiven) for r in results):
        return Verdict(task, 0.0, str(results[0]), failed=list(groups))
    points = min(int(2 * task.points * len(passed) / len(groups)) / 2, task.points - 0.5)
    worst = min(
        (i for i, r in enumerate(results) if faults[i] and not isinstance(r, NotRun)),
        # Small, but with something in it: an empty array shows little.
        key=lambda i: sum(size(a) for a in cases[i][1]),
    )
    text = describe(task, cases[worst], right[worst], results[worst])
    mistake = name_mistake(task, seed, results)
    if mistake:
        text += f"\n  {in_words(mistake)}"
    text += f"\n  Right on: {', '.join(passed) or 'nothing yet'}."
    tried = [g for (g, _), r in zip(cases, results) if not isinstance(r, NotRun)]
    text += f"\n  Wrong on: {', '.join(g for g in failed if g in tried)}."
    if untried := [g for g in failed if g not in tried]:
        text += f"\n  Not tried after that: {', '.join(untried)}."
    return Verdict(task, points, text, mistake, passed, failed)


def _tried(results):
    """The results, with NotRun wherever one that ended the process is repeated."""
    found = []
    for i, result in enumerate(results):
        repeated = i and isinstance(result, Broken) and result is results[i - 1]
        found.append(NotRun("not tried") if repeated else result)
    return found


NAMING = 1.0  # seconds of processor time that the search for a mistake's name may take


def name_mistake(task, seed, results):
    """The sentence of a known wrong answer that did the same on all cases, or an empty string.

    First the task's own bank, then the mistakes made by machine, then what can be said of all
    results that are wrong.
    """
    if any(isinstance(r, Broken) and not isinstance(r, (TooLong, NotRun)) for r in results):
        return ""
    cases, right = expected(task, seed)
    tried = [i for i, r in enumerate(results) if not isinstance(r, NotRun)]
    wrong = {i: bool(fault(task, cases[i][1], right[i], results[i])) for i in tried}
    # Wrong ones first, small ones first: they tell mistakes apart soonest.
    order = sorted(tried, key=lambda i: (not wrong[i], sum(map(size, cases[i][1]))))

    def does_the_same(source, variant=None):
        return all(
            alike(task, results[i], known_result(task, seed, source, i, variant)) for i in order
        )

    for sentence, source in task.bank():
        if does_the_same(source):
            return sentence
    shown = [i for i in order if wrong[i] and _shows(results[i])]
    if len(shown) > 1 and _telling(task, [results[i] for i in order], list(wrong.values())):
        end = time.thread_time() + NAMING
        for mutant in mutate.mutants(task):
            if time.thread_time() > end:
                break
            if not mutant.tells or mutate.equal(task, mutant):
                continue
            if does_the_same(mutant.source, mutant.variant):
                return mutant.sentence
    every = len(tried) == len(results)
    return relation(_as_cases(task, seed, results, tried), lambda a, b: agree(task, a, b), every)


def in_words(mistake):
    """The sentence for the learner about a mistake that was named."""
    if mistake.startswith(mutate.LIKE):
        return f"You get the same as with a right answer, {mistake.removeprefix(mutate.LIKE)}."
    if mistake.startswith((ALWAYS, AGAIN, "it fails on ")):
        return f"{mistake[0].upper()}{mistake[1:]}."
    return f"This is what you get when {mistake}."


def _as_cases(task, seed, results, tried):
    """The cases that were tried as `relations` wants them."""
    cases, right = expected(task, seed)
    names = tuple(inspect.signature(task.reference).parameters)
    found = []
    for i in tried:
        group, arguments = cases[i]
        what = fault(task, arguments, right[i], results[i])
        got = asked(results[i]).first
        found.append(Case(group, names, tuple(arguments), right[i], got, what))
    return found


def _shows(result):
    """Whether a wrong result says something of how it came: not an error, nor nothing at all."""
    got = asked(result).first
    if got is None or isinstance(got, Exception):
        return False
    found = numbers(got)
    return found is None or found.size > 0


def _telling(task, results, wrong):
    """Whether results say enough to be named by machine: not if an answer always gives the same,
    or always fails."""
    first = [asked(r).first for r in results]
    if all(isinstance(value, Exception) for value in first):
        return not all(wrong)
    return not all(agree(task, first[0], value) for value in first[1:])


def nothing_there(task, *, error="", names=(), markdown=False, thing=None):
    """What to say when a notebook has no answer to a task, from what was found in its place.

    error: what stopped the cell, such as "SyntaxError: ...".  names: what the notebook defines.
    markdown: whether the answer stands in a cell that is no code.  thing: what stands under the
    function's name, if it is no function.
    """
    if error:
        return f"there is no answer, because its cell stopped: {error}"
    if markdown:
        return (
            "the cell of this answer is no code cell any more, so it is not run; "
            "click on it and press Esc, then Y"
        )
    if thing is not None:
        return f"`{task.name}` is no function but {type(thing).__name__}"
    same = [n for n in names if n.lower() == task.name.lower() and n != task.name]
    near = same or difflib.get_close_matches(task.name, list(names), 1, 0.8)
    if near:
        return f"there is no function `{task.name}`; there is `{near[0]}`: is it misspelt?"
    return "not answered yet"


# ---- in words


def describe(task, case, right, result):
    """The case, what was expected and what came, in a few short lines."""
    group, arguments = case
    got = asked(result)
    what = fault(task, arguments, right, result)
    names = list(inspect.signature(task.reference).parameters)
    names += [f"input {i + 1}" for i in range(len(names), len(arguments))]
    wide = max(map(len, ["expected", *names]))
    lines = [f"{group}:"]

    def line(label, text):
        lines.append(f"  {label:{wide}}  " + text.replace("\n", "\n" + " " * (wide + 4)))

    for name, argument in zip(names, arguments):
        line(name, show(argument, apart=True))
    if what == "inputs":
        for name, before, after in zip(names, arguments, got.inputs):
            if not _same(before, after):
                line("changed", f"{name}, which is the caller's, and is now {show(after)}")
        line("", "the result is right, but an input may not be changed: work on a copy")
        return "\n".join(lines)
    if isinstance(right, Exception):
        line("expected", f"{type(right).__name__} is raised")
    else:
        line("expected", _beside(right, got.first if what == "value" else got.again))
    if what == "again":
        line("got", "the same at the first call, but at a second one with the same inputs:")
        line("", _beside(got.again, right))
        line("", "nothing may be kept from one call to the next")
    else:
        _came(task, line, right, got.first)
    return "\n".join(lines)


def _came(task, line, right, got):
    """The lines that tell a wrong result."""
    if isinstance(got, NotGiven):
        line("got", "this part is not answered yet (NotImplementedError)")
    elif isinstance(got, Broken):
        line("got", f"nothing: {got}")
    elif isinstance(got, Refused):
        line("got", f"what cannot be taken: {got}")
    elif isinstance(got, Exception):
        line("got", f"{type(got).__name__}: {str(got)[:200]}")
        if getattr(got, "line", ""):
            line("", f"raised in {got.line}")
    elif got is None:
        line("got", "None")
        if not _none_is_right(task):
            line("", "so the function ended without a `return` and a value behind it")
    else:
        line("got", _beside(got, right))
        if not isinstance(right, Exception) and (apart := difference(task, right, got)):
            line("", apart)


@lru_cache(maxsize=256)
def _none_is_right(task):
    """Whether None is right in some case, so that it may be given on purpose."""
    return any(right is None for right in expected(task, 0)[1])


def _beside(value, other):
    """`value` shown so that, where it is long, the part that differs from `other` is seen."""
    text = show(value)
    lists = isinstance(value, (tuple, list)) and isinstance(other, (tuple, list))
    if not lists or not text.endswith("characters)"):
        return text
    pairs = enumerate(zip(value, other))
    at = next((i for i, (a, b) in pairs if not _same(a, b)), min(len(value), len(other)))
    first, last = max(0, at - 3), at + 4
    shown = [show(v) for v in value[first:last]]
    part = (",\n" if any("\n" in v for v in shown) else ", ").join(shown)
    before, after = "..., " if first else "", ", ..." if last < len(value) else ""
    return f"[{before}{part}{after}], {len(value)} in all, shown from place {first}"


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
    if not a.ndim and a.dtype.kind == "b":
        return f"{a} is expected, {b} came"
    if not a.ndim:
        return f"difference {float(apart):.3g}"
    where = np.unravel_index(np.argmax(np.where(apart == apart, apart, np.inf)), a.shape)
    place = ", ".join(map(str, map(int, where)))
    few = f"; {int((apart != -1).sum())} of {a.size} differ" if a.size > 1 else ""
    here = f": {_number(a[where])} is expected, {_number(b[where])} came" if a.size > 8 else ""
    return f"largest difference {apart[where]:.3g}, at [{place}]{here}{few}"


def _number(value):
    return f"{value:.6g}" if value.dtype.kind == "f" else str(value)


def _single(value):
    """`value` with NumPy's single numbers as Python's, which are written shorter."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_single, value))
    return value.item() if isinstance(value, np.ndarray) and not value.ndim else value


def _as_text(array, apart):
    """A small array in words; apart: with so many digits that what differs looks different."""
    for digits in (4, 8, 12, 17):
        text = np.array2string(array, precision=digits, separator=", ", max_line_width=80)
        if not apart or len(set(re.findall(r"[^][,\s]+", text))) >= np.unique(array).size:
            break
    return text


def show(value, apart=False):
    """A value in a line or a few; a large array by its shape and first elements.

    apart: numbers of an array that differ look different.
    """
    if isinstance(value, (tuple, list)):
        value = _single(value)
    if isinstance(value, np.ndarray):
        if not value.ndim:
            return f"{value.item():.6g}" if value.dtype.kind == "f" else str(value.item())
        if value.size > 40:
            first = ", ".join(f"{x:.4g}" for x in value.ravel()[:4].tolist())
            return f"an array of shape {value.shape}: {first}, ..."
        return f"{_as_text(value, apart)}, shape {value.shape}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
        return "\n".join(f"{i + 1}: " + show(v).replace("\n", "\n   ") for i, v in enumerate(value))
    text = repr(value)
    if isinstance(value, dict) and (len(text) > 160 or "array(" in text) and len(value) <= 12:
        lines = ((f"{key!r}: ", show(part, apart)) for key, part in value.items())
        return "\n".join(k + part.replace("\n", "\n" + " " * len(k)) for k, part in lines)
    return text if len(text) <= 160 else f"{text[:120]}... ({len(text)} characters)"


def size(argument):
    """How much there is of an input: what has least of it is shown first."""
    if isinstance(argument, np.ndarray):
        return argument.size or 100
    if isinstance(argument, dict):
        return sum(size(v) for v in argument.values())
    if isinstance(argument, (tuple, list, str)):
        return sum(size(v) for v in argument) if not isinstance(argument, str) else len(argument)
    return 1
