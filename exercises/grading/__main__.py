"""Grade notebooks outside their own process.

    python -m grading NOTEBOOK ...     the verdict on notebooks
    python -m grading class FOLDER     all submissions in a folder, for instructors
    python -m grading audit [NN ...]   the grader grades itself
    python -m grading own [FOLDER]     your answers in minidl's place, while networks train

Exit status: 0 full points (class: all was graded; own: every piece is yours), 1 points missing
(class: something that was handed in was not graded; own: pieces are missing), 2 the grader itself
could not run, 130 it was stopped by Ctrl-C.  What it writes is told in docs/grading.md.
"""

import argparse
import gc
import json
import os
import sys
from pathlib import Path

from . import gradebook
from .audit import audit
from .child import COLLECT
from .classroom import grade_class
from .sandbox import NoSandbox
from .submission import Unreadable, cells, content
from .text import printable, say
from .verdict import UNKNOWN, control, lesson_of, verdicts


def notebooks(arguments):
    """The verdict on each notebook named."""
    parser = _parser("NOTEBOOK ...")
    parser.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="an exercise filled in")
    parser.add_argument("--seed", type=int, help="of the inputs; by default one nobody knows")
    parser.add_argument("--json", metavar="FILE", help="also write the verdicts as JSON")
    options = parser.parse_args(arguments)
    jobs, read = os.cpu_count(), {}
    for path in options.notebooks:
        if not os.path.lexists(path):
            raise RuntimeError(f"{path} is not there")
        read[path] = _read(path)
    for lesson in sorted({lesson for _, lesson, _ in read.values() if lesson}):
        control(lesson, jobs=jobs)
    report, got, most, unread = [], 0.0, 0.0, False
    for path in options.notebooks:
        say(path)
        found, lesson, problem = read[path]
        rows = []
        if problem:
            say(f"  not graded: {problem}")
            unread = True
        else:
            rows = [v.record() for v in verdicts(lesson, found, seed=options.seed, jobs=jobs)]
        for row in rows:
            say(f"  {row['task']}  {row['title']:<40} {row['points']:>4g} of {row['of']:g}")
            if row["text"]:
                say("      " + row["text"].replace("\n", "\n      "))
        got += sum(row["points"] for row in rows)
        most += sum(row["of"] for row in rows)
        report.append({"file": printable(path), "tasks": rows})
    say(f"{got:g} of {most:g} points")
    if options.json:
        text = json.dumps({"version": 1, "notebooks": report}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0 if got == most and not unread else 1


def _read(path):
    """(cells, lesson, "") of a notebook, or ([], None, why it cannot be graded)."""
    try:
        found = cells(content(path))
    except Unreadable as error:
        return [], None, str(error)
    lesson = lesson_of(path, found)
    return found, lesson, "" if lesson else UNKNOWN


def whole_class(arguments):
    """All submissions in a folder."""
    options = _class_options(arguments)
    if options.without_sandbox not in (None, TRUST):
        raise RuntimeError(f'without a sandbox only with the words "{TRUST}"')
    if not os.path.isdir(options.folder):
        raise RuntimeError(f"{options.folder} is no folder")
    rules = gradebook.Rules(
        roster=gradebook.roster(options.roster) if options.roster else {},
        due=gradebook.due(options.due),
        late=options.late,
        overrides=gradebook.overrides(options.overrides) if options.overrides else {},
        hide=options.hide_expected,
    )
    try:
        done = grade_class(
            options.folder, options.out, seed=options.seed, jobs=options.jobs,
            walls=options.without_sandbox is None, rules=rules, say=say,
        )  # fmt: skip
    except NoSandbox as error:
        raise RuntimeError(
            f"a class's submissions are other people's programs, and run in a sandbox only; "
            f'{error}. If you trust every one of them: --without-sandbox "{TRUST}"'
        ) from None
    for result in done:
        points = f"{result['final']:g} of {result['of']:g}" if result["counts"] else "not graded"
        say(f"{result['student']}  {result['file'] or '(no file)'}  {points}")
        if result["problem"] or result["note"]:
            say(f"    {result['problem'] or result['note']}")
    graded = sum(1 for result in done if result["counts"] and not result["problem"])
    say(
        f"{graded} notebooks were graded; grades.csv, totals.csv and students/ are in {options.out}"
    )
    return 1 if any(result["problem"] not in ("", gradebook.MISSING) for result in done) else 0


def _class_options(arguments):
    parser = _parser("class FOLDER [--out FOLDER] [--roster CSV] [--due WHEN] ...")
    add = parser.add_argument
    add("folder", help="with a folder for each student, or student_07_tensor.ipynb")
    add("--out", default="graded", help="where the results go (default: graded)")
    add("--seed", type=int, help="of the inputs; default: drawn, and kept in OUT")
    add("--jobs", type=int, help="submissions at a time; default: one for a core")
    add("--roster", metavar="CSV", help="of the class: columns student, and name, id, email, due")
    add("--due", action="append", metavar="[NN=]WHEN", help='such as "2026-11-30 23:59"')
    add("--late", type=float, default=0.0, metavar="PERCENT", help="taken off for each day begun")
    add("--overrides", metavar="CSV", help="with the columns student, task, points, reason")
    add("--hide-expected", action="store_true", help="pages tell which groups of cases are wrong")
    add(
        "--without-sandbox", metavar="WORDS",
        help=f'run without bubblewrap; WORDS must be "{TRUST}"',
    )  # fmt: skip
    return parser.parse_args(arguments)


def own_engine(arguments):
    """The learner's own engine: my/exercises, or exercises, or the folder that is named."""
    parser = _parser("own [FOLDER] [--page FILE] [--name NAME]")
    parser.add_argument("folder", nargs="?", help="with exercise notebooks; default: my/exercises")
    parser.add_argument("--page", metavar="FILE", help="also write the certificate, an HTML page")
    parser.add_argument("--name", default="", help="whose certificate it is")
    options = parser.parse_args(arguments)
    if options.folder is not None and not os.path.isdir(options.folder):
        raise RuntimeError(f"{options.folder or 'an empty name'} is no folder")
    if options.page:
        _check_writable(options.page)
    from .own import own  # the networks are minidl's, which the other commands do without

    report = own(options.folder)
    say(str(report))
    if options.page:
        say(f"the certificate is {report.page(options.page, options.name)}")
    return 0 if len(report.mine) == len(report.pieces) else 1


def _check_writable(path):
    """RuntimeError where no file can be written at `path`."""
    there = os.path.exists(path)
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise RuntimeError(f"{path} cannot be written: {error.strerror}") from None
    if not there:
        os.remove(path)


TRUST = "I trust every submission"


def _parser(usage):
    return argparse.ArgumentParser(
        prog="python -m grading", usage=f"python -m grading {usage}", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    gc.set_threshold(*COLLECT)
    try:
        if arguments[:1] == ["audit"]:
            return 1 if audit(arguments[1:]) else 0
        if arguments[:1] == ["own"]:
            return own_engine(arguments[1:])
        if arguments[:1] == ["class"]:
            return whole_class(arguments[1:])
        return notebooks(arguments)
    except KeyboardInterrupt:
        goes_on = "; the same command goes on where it was" * (arguments[:1] == ["class"])
        print(f"stopped{goes_on}", file=sys.stderr)
        return 130
    except Exception as error:
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        say(f"the grader could not run: {kind}{error}", sys.stderr)
        return 2


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if status == 130:  # a thread may still compute; what it would find is not wanted
        os._exit(status)
    sys.exit(status)
