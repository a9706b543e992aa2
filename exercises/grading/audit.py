"""The grader, graded: solutions, blanks, right variants, known wrong answers, and mutants.

A mutant (`mutate.py`) is a right answer with one small change.  Under every seed it fails, or it
is listed in its task as equal, with the reason.
"""

import argparse
import json
import random
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from . import agreement, mutate
from .judge import NotGiven, expected, fault, judge, known_result, known_results, run_all, size
from .task import find, lessons, notebook, tasks
from .verdict import control, grade

SEEDS, DRAWN = 3, 20  # of a task, unless --all is asked for
ALL_SEEDS = 20


def verdict_on(task, source, seed=0):
    """The verdict on the answer that `source` defines, as `check` would give it."""
    answer = task.compile(source)
    cases, _ = expected(task, seed)
    return judge(task, seed, run_all(task, answer, cases))


def faults(task, seeds=SEEDS):
    """Sentences: what the judgement of `task` gets wrong, mutants not looked at."""
    nothing = [NotGiven("not answered yet")] * len(expected(task, 0)[0])
    if judge(task, 0, nothing).points:
        yield f"{task.id}: a blank answer gets points"
    if len(task.wrong) < 5 or len(task.right) < 2 or len(task.hints) != 3:
        yield f"{task.id}: needs 5 wrong answers, 2 right ones and 3 hints"
    every = [f"{m.text} {m.change}" for m in mutate.mutants(task)] if task.equal else []
    for part, _ in task.equal:
        if not any(part in text for text in every):
            yield f"{task.id}: no mutant is as listed under equal: {part}"
    for i, source in enumerate(task.right):
        for seed in range(seeds):
            verdict = verdict_on(task, source, seed)
            if verdict.text:
                yield f"{task.id}: right variant {i + 1} fails, seed {seed}: {verdict.text}"
    for sentence, source in task.bank():
        for seed in range(seeds):
            if passes(task, source, seed):
                yield f"{task.id}: a wrong answer passes, seed {seed}: {sentence}"
        verdict = judge(task, 0, known_results(task, 0, source))
        if verdict.text and verdict.mistake != sentence:
            yield f"{task.id}: a wrong answer is not named: {sentence}: {verdict.text}"


# ---- mutants


@dataclass
class Mutants:
    """What became of the mutants of a task; `alive` are those that pass under some seed."""

    made: int = 0
    killed: int = 0
    equal: int = 0
    alive: list = field(default_factory=list)  # pairs (mutant, the seeds that it passes)
    unequal: list = field(default_factory=list)  # mutants that are listed as equal, and fail

    def faults(self, task):
        """A sentence for each mutant that should have failed, or should not."""
        for mutant in self.unequal:
            yield f"{task.id}: a mutant is listed as equal, and fails: {mutant.text}"
        for mutant, seeds in self.alive:
            which = f"seeds {', '.join(map(str, seeds))}" if seeds else "all seeds"
            yield (
                f"{task.id}: a mutant passes, {which}: variant {mutant.variant + 1}, "
                f"{mutant.change}: {mutant.text}"
            )


def examine_mutants(task, seeds=SEEDS, drawn=DRAWN, seed=0):
    """A `Mutants`: `drawn` of them, drawn with `seed` (None: all), under so many seeds."""
    every = mutate.mutants(task)
    chosen = every
    if drawn is not None and drawn < len(every):
        chosen = random.Random(f"{task.id} {seed}").sample(every, drawn)
    found = Mutants(len(chosen))
    for mutant in chosen:
        if mutate.equal(task, mutant):
            found.equal += 1
            found.unequal += [] if passes(task, mutant.source, 0, mutant.variant) else [mutant]
            continue
        passed = [s for s in range(seeds) if passes(task, mutant.source, s, mutant.variant)]
        if passed:
            found.alive.append((mutant, passed if len(passed) < seeds else []))
        else:
            found.killed += 1
    return found


def passes(task, source, seed, variant=None):
    """Whether the answer `source` does right on all cases of a seed; see `known_result`."""
    cases, right = expected(task, seed)
    for i in sorted(range(len(cases)), key=lambda i: sum(map(size, cases[i][1]))):
        if fault(task, cases[i][1], right[i], known_result(task, seed, source, i, variant)):
            return False
    return True


def disagreements(task, seed, everything):
    """Sentences: where the notebook's way and the verdict's say something else of one answer.

    Of every right answer and every wrong one of the bank; else of one right and one wrong one,
    drawn with the seed.
    """
    known = [*task.bank()]
    right = [(f"right variant {i + 1}", source) for i, source in enumerate(task.right)]
    if not everything:
        drawn = random.Random(f"{task.id} both {seed}")
        known, right = drawn.sample(known, 1), drawn.sample(right, 1)
    for what, source in right + known:
        one, other = agreement.both_ways(task, source, seed)
        if not agreement.same((one, other)):
            yield (
                f"{task.id}: the two ways disagree: {what}: {one.points:g} points in the notebook, "
                f"{other.points:g} outside"
            )


# ---- whole notebooks


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


def listed(lesson):
    """`whole` as a list, which can be sent from one process to another."""
    return list(whole(lesson))


# ---- the table


@dataclass
class Row:
    """One task's line of the table, its faults, and how long feedback and all of it took."""

    task: str
    bank: int
    right: int
    mutants: Mutants
    agreed: str
    faults: list
    feedback: float
    seconds: float

    def line(self):
        m = self.mutants
        return (
            f"{self.task}  {find(self.task).title:<40.40} {self.bank:>4} {self.right:>6} "
            f"{m.made:>8} {m.killed:>7} {m.equal:>6} {len(m.alive):>6}  {self.agreed:>7} "
            f"{len(self.faults):>7} {self.seconds:>6.1f}"
        )


HEAD = (
    f"{'task':<46} {'bank':>4} {'right':>6} {'mutants':>8} {'killed':>7} {'equal':>6} "
    f"{'alive':>6}  {'2 ways':>7} {'faults':>7} {'CPU s':>6}"
)


def examined(job):
    """The Row of a task; job: (its id, the options of the command)."""
    task_id, options = job
    task = find(task_id)
    began = time.perf_counter()
    verdict_on(task, task.wrong[0][-1] if len(task.wrong[0]) == 2 else task.right[0], 99)
    feedback = time.perf_counter() - began
    start = time.process_time()
    found, mutants = [], Mutants()
    if not options.notebooks:
        drawn = None if options.all or options.mutants else DRAWN
        found += faults(task, options.seeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mutant may be a strange program
            mutants = examine_mutants(task, options.seeds, drawn, options.draw)
        found += mutants.faults(task)
    differ = list(disagreements(task, options.draw, options.all))
    found += differ
    agreed = f"{len(differ)} not" if differ else "agree"
    seconds = time.process_time() - start
    bank, right = (0, 0) if options.notebooks else (len(task.wrong), len(task.right))
    return Row(task_id, bank, right, mutants, agreed, found, feedback, seconds)


def audit(arguments=()):
    """Print a table of all tasks and the rates; return the number of faults.

    Lessons and tasks are examined by as many processes as there are cores.
    """
    parser = argparse.ArgumentParser(prog="python -m grading audit")
    parser.add_argument("only", nargs="*", help="lessons (07) or tasks (07.3); default: all")
    parser.add_argument("--all", action="store_true", help="20 seeds, all mutants, both ways")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help=f"default: {SEEDS}; all: {ALL_SEEDS}"
    )
    parser.add_argument("--mutants", action="store_true", help="all mutants, and those alive shown")
    parser.add_argument("--draw", type=int, default=0, metavar="N", help="which mutants are drawn")
    parser.add_argument(
        "--notebooks", action="store_true",
        help="only what a sandbox has a part in: whole notebooks, and answers both ways",
    )  # fmt: skip
    options = parser.parse_args(list(arguments))
    options.seeds = options.seeds or (ALL_SEEDS if options.all else SEEDS)
    only = options.only
    chosen = [n for n in lessons() if not only or any(o.partition(".")[0] == n for o in only)]
    every = [task.id for lesson in chosen for task in tasks(lesson).values()]
    every = [i for i in every if not only or i in only or i.partition(".")[0] in only]
    print(HEAD)
    rows, found = [], []
    with ProcessPoolExecutor() as pool:
        wholes = pool.map(listed, chosen if not any("." in o for o in only) else ())
        for row in pool.map(examined, [(i, options) for i in every]):
            print(row.line(), flush=True)
            rows.append(row)
            found += row.faults
        for faults_of_lesson in wholes:
            found += faults_of_lesson
    print(*found, sep="\n", end="\n" if found else "")
    print(*rates(rows, options.seeds), sep="\n")
    return len(found)


def rates(rows, seeds):
    """The last lines of the table: what was caught of how many."""
    wrong = sum(row.bank for row in rows)
    missed = len({f for row in rows for f in row.faults if ": a wrong answer" in f})
    made = sum(row.mutants.made - row.mutants.equal for row in rows)
    killed = sum(row.mutants.killed for row in rows)
    slowest = max((row.feedback, row.task) for row in rows)
    yield f"slowest first feedback: {slowest[0]:.1f} s ({slowest[1]})"
    if not wrong:  # --notebooks
        yield f"{len(rows)} tasks: a right and a wrong answer of each, in a notebook and outside"
        return
    yield f"{killed} of {made} mutants caught under each of {seeds} seeds"
    yield f"{wrong - missed} of {wrong} wrong answers caught and named"
