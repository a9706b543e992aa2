"""How many small mistakes in minidl its own tests notice: `python tests/mutation.py`.

Draws 400 mutants (`mutants.py`) with a seed over the engine, the optimisers, data, files, training
and the compiler's passes.  Each is put to the tests that mirror its file: first to those that run
its line, the file with the same name before the others; then, if none of them fails, to all of the
folder's fast part.  `tests/equivalent.toml` explains those that no test can notice.

The tests run in a copy of the project, in a process for each mutant, forked from one that has
loaded NumPy and pytest and nothing of minidl; so this needs a system with fork, Linux or macOS.  A
test that takes far longer than without the mutant (`SECONDS`, `MORE`) has failed, too.  What is
found is written down at once, and a run that was interrupted goes on from there.
"""

import os

if __name__ == "__main__":
    for library in ("OPENBLAS", "OMP", "MKL"):  # before NumPy is imported: a fork has one thread
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")

import argparse
import hashlib
import importlib
import json
import math
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import coverage
import pytest
from mutants import Mutant, drawn

ROOT = Path(__file__).resolve().parent.parent
PARTS = {  # files -> the tests that mirror them
    "minidl/engine/*.py": "tests/engine",
    "minidl/optim.py": "tests/test_optim.py",
    "minidl/data/*.py": "tests/data",
    "minidl/io.py": "tests/test_io.py",
    "minidl/train/*.py": "tests/train",
    "minidl/graph/passes.py": "tests/graph",
    "minidl/graph/kernels.py": "tests/graph",
}
EQUIVALENT = ROOT / "tests" / "equivalent.toml"
ROUNDS = ("the tests that run its line", "the folder's fast part")
SECONDS, MORE = 5, 10  # a test may take so many seconds, and so many times what it took before
MEMORY = 6 << 30  # bytes that a process of tests may reach


# ---- a run of tests, in a process of its own


class Chosen:
    """A plugin of pytest: runs some tests, those of one file before the others and the first of
    each function before the rest, and notes what failed first and how long each took."""

    def __init__(self, seconds=None, first="", record=None):
        self.seconds, self.first, self.record = seconds, first, record
        self.found = {"failed": None, "seconds": {}}

    def pytest_collection_modifyitems(self, config, items):
        if self.seconds is not None:
            gone = [item for item in items if item.nodeid not in self.seconds]
            config.hook.pytest_deselected(items=gone)
            items[:] = [item for item in items if item.nodeid in self.seconds]
        before = Counter()
        places = {}
        for item in items:
            function = item.nodeid.partition("[")[0]
            before[function] += 1
            places[item] = (not item.nodeid.startswith(self.first), before[function] > 2)
        items.sort(key=places.get)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        began = time.monotonic()
        if self.seconds is not None:
            limit(SECONDS + MORE * self.seconds[item.nodeid])
        if self.record is not None:
            self.record.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            limit(0)
            if self.record is not None:
                self.record.switch_context("")
            self.found["seconds"][item.nodeid] = time.monotonic() - began

    def pytest_runtest_logreport(self, report):
        if report.failed and self.found["failed"] is None:
            self.found["failed"] = report.nodeid

    def pytest_collectreport(self, report):
        if report.failed and self.found["failed"] is None:
            self.found["failed"] = f"the import in {report.nodeid}"


def limit(seconds):
    """This process ends after so many seconds of processor time, or, if it waits, four times as
    many; 0 lifts the limit."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 4 * seconds)


def tested(copy, files, seconds=None, first="", record=None):
    """What came of the tests in `copy`, in this process: what failed, or None; seconds by test."""
    os.chdir(copy)
    paths = [str(copy), str(copy / "exercises")]
    sys.path[:0] = [*paths, str(copy / "tests")]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # for the processes that tests start
    chosen = Chosen(seconds, first, record)
    if seconds is not None:
        limit(10 * SECONDS)  # for the import
    if record is not None:
        record.start()
    options = "-x -q -p no:cacheprovider -p no:xdist -p no:nbval".split()
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is loaded before
    status = pytest.main([*options, "-m", "not slow", *files], plugins=[chosen])
    if record is not None:
        record.stop()
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        chosen.found["failed"] = chosen.found["failed"] or f"pytest: {status!r}"
    return chosen.found


class Child:
    """A forked process that runs work(), which returns what JSON can hold.

    folder: for what it answers and says; one for each process that runs.
    """

    def __init__(self, work, folder):
        folder.mkdir(exist_ok=True)
        self.answer, self.said = folder / "answer", folder / "said"
        self.answer.unlink(missing_ok=True)
        self.id = os.fork()
        if self.id == 0:
            self._run(work)

    def _run(self, work):
        status = 1
        try:
            os.setsid()
            with (
                open(os.devnull, encoding="utf-8") as nothing,
                open(self.said, "w", encoding="utf-8") as said,
            ):
                for file, number in ((nothing, 0), (said, 1), (said, 2)):
                    os.dup2(file.fileno(), number)
            import resource  # of Unix, as fork is

            with suppress(OSError, ValueError):  # a system may know no such limit
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            text = json.dumps(work())
            part = self.answer.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.replace(self.answer)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)  # never back to what the parent was doing

    def result(self, wait=False):
        """What work() returned, a string if the process ended before, or None if it runs."""
        ended, status = os.waitpid(self.id, 0 if wait else os.WNOHANG)
        if not ended:
            return None
        self.stop(reap=False)
        if self.answer.exists():
            return json.loads(self.answer.read_text(encoding="utf-8"))
        late = (signal.SIGPROF, signal.SIGALRM)
        how = "late" if os.WIFSIGNALED(status) and os.WTERMSIG(status) in late else "ended"
        said = self.said.read_text(encoding="utf-8", errors="replace").splitlines()
        return " ".join([f"{how}, status {status}:", *said[-1:]])

    def stop(self, reap=True):
        """End the process, and those that it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.id, signal.SIGKILL)
        if reap:
            os.waitpid(self.id, 0)


# ---- a project whose tests are tried


class Project:
    """Copies of a project: its tests pass, and it is known which of them run which line.

    work: a folder for the copies.
    """

    def __init__(self, root, parts, work, copies=1):
        self.root, self.work = root, Path(work).resolve()
        self.parts = {
            path.relative_to(root).as_posix(): tests
            for pattern, tests in parts.items()
            for path in sorted(root.glob(pattern))
        }
        self.copies = [self.work / str(i) for i in range(copies)]
        self.seconds, self.lines = (
            {},
            {},
        )  # mirrored tests -> {test: seconds}; file -> {line: tests}

    def prepare(self, kept=None, key=""):
        """Copy it, and run the tests once as they are; SystemExit if one fails.

        kept: a file that remembers what was measured, for as long as `key` is the same.
        """
        _copy(self.root, self.copies[0])
        known = json.loads(kept.read_text(encoding="utf-8")) if kept and kept.exists() else {}
        if known.get("key") != key:
            known = {"key": key}
        for tests in dict.fromkeys(self.parts.values()):
            if tests not in known:
                known[tests] = self._measured(tests)
                if kept:
                    kept.write_text(json.dumps(known), encoding="utf-8")
            self.seconds[tests] = known[tests]["seconds"]
            self.lines |= known[tests]["lines"]
        for other in self.copies[1:]:
            shutil.copytree(self.copies[0], other, symlinks=True)
        modules = {name for tests in self.seconds for name in known[tests]["modules"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name in sorted(modules - set(sys.modules)):
                with suppress(Exception):  # one that was made while the tests ran
                    importlib.import_module(name)

    def _measured(self, tests):
        """What `_run` finds, in a process of its own."""
        child = Child(partial(self._run, tests), self.work / "as it is")
        found = child.result(wait=True)
        failed = found if isinstance(found, str) else found["failed"]
        if failed:
            said = child.said.read_text(encoding="utf-8")[-4000:]
            raise SystemExit(f"{said}\nwithout any mutant: {tests}: {failed}")
        return found

    def _run(self, tests):
        """Run tests as they are: seconds by test, tests by line, and the modules they loaded."""
        copy = self.copies[0]
        files = [file for file, mirrored in self.parts.items() if mirrored == tests]
        paths = {file: str(copy / file) for file in files}
        record = coverage.Coverage(data_file=None, config_file=False, include=[*paths.values()])
        found = tested(copy, [tests], record=record)
        data = record.get_data()
        found["lines"] = {file: data.contexts_by_lineno(path) for file, path in paths.items()}
        places = {name: getattr(m, "__file__", None) or "" for name, m in [*sys.modules.items()]}
        inside = "site-packages", "lib-dynload"
        found["modules"] = [n for n, place in places.items() if any(x in place for x in inside)]
        return found

    def covering(self, mutant):
        """{test: seconds} of the tests that run a mutant's lines; none, if the import runs them."""
        first, last = mutant.runs
        lines = self.lines.get(mutant.file, {}) if mutant.function else {}
        tests = {test for n in range(first, last + 1) for test in lines.get(str(n), ()) if test}
        return {test: s for test, s in self._mirrored(mutant).items() if test in tests}

    def _mirrored(self, mutant):
        return self.seconds[self.parts[mutant.file]]

    def tests(self, mutant, number):
        """{test: seconds} of the tests of a round."""
        covering = self.covering(mutant)
        if number == 0:
            return covering
        return {test: s for test, s in self._mirrored(mutant).items() if test not in covering}

    def check(self):
        """SystemExit if what has no mistake fails where mutants are tried."""
        for file in {tests: file for file, tests in self.parts.items()}.values():
            same = Mutant(file, 0, (0, 0), "", "none", (self.copies[0] / file).read_text("utf-8"))
            first = dict(islice(self._mirrored(same).items(), 50))
            found = self.start(same, self.copies[0], first).result(wait=True)
            self.undo(same, self.copies[0])
            failed = found if isinstance(found, str) else found["failed"]
            if failed:
                raise SystemExit(f"without any mutant, where mutants are tried: {file}: {failed}")

    def start(self, mutant, copy, seconds):
        """A Child that runs tests in a copy with a mutant.  seconds: {test: seconds}."""
        files = sorted({test.partition("::")[0] for test in seconds})
        own = f"test_{Path(mutant.file).stem}.py"
        first = next((file for file in files if Path(file).name == own), "tests/")
        target = copy / mutant.file
        shutil.copy2(target, copy.with_suffix(".right"))
        target.write_text(mutant.source, encoding="utf-8")
        os.utime(target, (1, 1))  # so that the right one's bytecode is not taken for its own

        def work():
            sys.dont_write_bytecode = True
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            return tested(copy, files, seconds, first)

        return Child(work, copy.with_suffix(".run"))

    def undo(self, mutant, copy):
        shutil.copy2(copy.with_suffix(".right"), copy / mutant.file)


def _copy(root, copy):
    """minidl and tests are copied, the rest of a project is linked to."""
    copy.mkdir()
    for path in root.iterdir():
        if path.name.startswith("."):
            continue
        if path.name in ("exercises", "course", "docs", "solutions", "examples", "my", "runs"):
            (copy / path.name).symlink_to(path, target_is_directory=True)
        elif path.is_dir():
            shutil.copytree(path, copy / path.name, symlinks=True)
        else:
            shutil.copy2(path, copy / path.name)


# ---- a run


@dataclass
class Notes:
    """What a run has found, in a file: a line of what it is, then one for each round of a mutant.

    digests: of the files that are changed, and of the tests.
    """

    path: Path
    head: dict
    found: dict  # number of a mutant -> [what failed in each round, None if nothing did]

    @classmethod
    def opened(cls, path, head, anew=False, survivors=False):
        """The notes in `path`, if they are of this run; those of another are refused."""
        notes = cls(path, head, {})
        if anew or not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(head) + "\n", encoding="utf-8")
            return notes
        lines = path.read_text(encoding="utf-8").splitlines()
        old = json.loads(lines[0])
        if old | {"tests": ""} != head | {"tests": ""}:
            raise SystemExit(f"{path} is of another run, or of other sources: --anew begins again")
        if old["tests"] != head["tests"] and not survivors:
            raise SystemExit(
                f"the tests have changed since {path} was begun: --survivors tries those again "
                "that no test noticed, --anew all"
            )
        entries = []
        for line in lines[1:]:
            with suppress(json.JSONDecodeError):  # one that was being written at the interruption
                entries.append(json.loads(line))
        noticed = {entry["number"] for entry in entries if entry["failed"]}
        entries = [entry for entry in entries if not survivors or entry["number"] in noticed]
        path.write_text(f"{json.dumps(head)}\n", encoding="utf-8")
        for entry in entries:
            notes.add(**entry)
        return notes

    def add(self, number, failed, **more):
        self.found.setdefault(number, []).append(failed)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"number": number, "failed": failed, **more}) + "\n")

    def rounds(self, number):
        return self.found.get(number, [])

    def verdict(self, number):
        """What noticed a mutant, "" if nothing did in all rounds, None if it is not known yet."""
        rounds = self.rounds(number)
        return next(filter(None, rounds), "" if len(rounds) == len(ROUNDS) else None)


def run(project, mutants, notes, until=math.inf, tell=print):
    """Try what is not yet known, as many mutants at once as there are copies, till a time."""
    for number in range(len(ROUNDS)):
        todo = [i for i in range(len(mutants)) if not notes.verdict(i)]
        todo = [i for i in todo if len(notes.rounds(i)) == number]
        running = {}  # copy -> number of the mutant, its Child, when it began
        try:
            while todo or running:
                for copy in project.copies:
                    if copy not in running and todo and time.time() < until:
                        i = todo.pop(0)
                        tests = project.tests(mutants[i], number)
                        if not tests:
                            notes.add(i, None)
                            continue
                        child = project.start(mutants[i], copy, tests)
                        running[copy] = i, child, time.monotonic()
                if todo and not running and time.time() >= until:
                    return
                time.sleep(0.01)
                for copy, (i, child, began) in list(running.items()):
                    found = child.result()
                    if found is not None:
                        del running[copy]
                        project.undo(mutants[i], copy)
                        failed = found if isinstance(found, str) else found["failed"]
                        notes.add(i, failed, seconds=round(time.monotonic() - began, 1))
                        tell(f"{i}: {mutants[i]}: {failed or 'not noticed by ' + ROUNDS[number]}")
        finally:
            for _, child, _ in running.values():
                child.stop()


def wilson(k, n):
    """The 95 % interval of a share of which k of n were seen (Wilson, 1927)."""
    z = 1.959964
    middle, width = (
        k / n + z * z / (2 * n),
        z * math.sqrt(k / n * (1 - k / n) / n + (z / n / 2) ** 2),
    )
    return (middle - width) / (1 + z * z / n), (middle + width) / (1 + z * z / n)


def reasons(path=EQUIVALENT):
    """(file, function, change) -> why no test can notice it."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("mutant", [])
    return {(e["file"], e["function"], e["change"]): e["why"] for e in entries}


def report(project, mutants, notes, explained):
    """Lines: a table by part, the share with its interval, and who survived."""
    counts, survivors = {}, []
    for i, mutant in enumerate(mutants):
        verdict = notes.verdict(i)
        if verdict:
            kind = "late" if verdict.startswith("late") else "failed"
        elif not notes.rounds(i):
            kind = "not yet tried"
        elif (mutant.file, mutant.function, mutant.change) in explained:
            kind = "explained"
        else:
            kind = "survived"
            more = f" (so far: {ROUNDS[1]} is to come)" if verdict is None else ""
            survivors.append(f"{mutant}{more}")
        counts.setdefault(project.parts[mutant.file], Counter())[kind] += 1
    counts["all"] = sum(counts.values(), Counter())
    kinds = "failed", "late", "explained", "survived", "not yet tried"
    yield f"{'tests':22}" + "".join(f"{kind:>15}" for kind in kinds)
    for name, row in counts.items():
        yield f"{name:22}" + "".join(f"{row[kind]:15}" for kind in kinds)
    known = counts["all"].total() - counts["all"]["not yet tried"]
    if known:
        killed = counts["all"]["failed"] + counts["all"]["late"]
        for k, words in (killed, "killed"), (killed + counts["all"]["explained"], "or explained"):
            low, high = wilson(k, known)
            share = f"{100 * k / known:.1f} %, 95 % interval {100 * low:.1f} to {100 * high:.1f}"
            yield f"{words}: {k} of {known}, {share}"
    yield from survivors


def digest(root, files):
    text = hashlib.sha256()
    for file in sorted(files):
        text.update(f"{file}\0".encode() + (root / file).read_bytes())
    return text.hexdigest()[:16]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="mutants at once")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin none after so many")
    parser.add_argument("--notes", type=Path, default=ROOT / "build" / "mutation.jsonl")
    parser.add_argument("--anew", action="store_true", help="forget what is known")
    parser.add_argument("--survivors", action="store_true", help="try those again, with new tests")
    parser.add_argument("--report", action="store_true", help="say what is known, and try none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        project = Project(ROOT, PARTS, work, options.jobs)
        mutants = drawn(ROOT, project.parts, options.mutants, options.seed)
        others = "mutation.py", "test_mutation.py", "covered.py"
        tests = [path for path in (ROOT / "tests").rglob("*.py") if path.name not in others]
        tests = [path.relative_to(ROOT).as_posix() for path in tests]
        head = {
            "seed": options.seed,
            "mutants": len(mutants),
            "sources": digest(ROOT, [*project.parts, "tests/mutants.py"]),
            "tests": digest(ROOT, tests),
        }
        notes = Notes.opened(options.notes, head, options.anew, options.survivors)
        if not options.report:
            until = time.time() + 60 * options.minutes
            kept = options.notes.with_suffix(".lines.json")
            project.prepare(kept, f"{head['sources']} {head['tests']}")
            project.check()
            run(project, mutants, notes, until, tell=partial(print, flush=True))
        print(*report(project, mutants, notes, reasons()), sep="\n")


if __name__ == "__main__":
    main()
