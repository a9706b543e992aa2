"""Grade notebooks outside their own process.

    python -m grading NOTEBOOK ...     the verdict on notebooks
    python -m grading class FOLDER     all submissions in a folder, for instructors
    python -m grading audit [NN ...]   the grader grades itself

Exit status: 0 full points (class: all was graded), 1 points missing (class: some notebook could
not be read), 2 the grader itself could not run.  What it writes is told in docs/grading.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from .audit import audit
from .classroom import grade_class
from .sandbox import NoSandbox
from .verdict import Unreadable, control, grade, lesson_of


def notebooks(arguments):
    """The verdict on each notebook named."""
    parser = _parser("NOTEBOOK ...")
    parser.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="an exercise filled in")
    parser.add_argument("--seed", type=int, help="of the inputs; by default one nobody knows")
    parser.add_argument("--json", metavar="FILE", help="also write the verdicts as JSON")
    options = parser.parse_args(arguments)
    for path in options.notebooks:
        if not os.path.exists(path):
            raise RuntimeError(f"{path} is not there")
        if lesson_of(path) is None:
            raise RuntimeError(f"{path}: the name must begin like an exercise's, as 07_tensor does")
    jobs = os.cpu_count()
    for lesson in sorted({lesson_of(path) for path in options.notebooks}):
        control(lesson, jobs=jobs)
    report, got, most, unread = [], 0.0, 0.0, False
    for path in options.notebooks:
        print(path)
        try:
            rows = [v.record() for v in grade(path, seed=options.seed, jobs=jobs)]
        except Unreadable as error:
            print(f"  not graded: {error}")
            rows, unread = [], True
        for row in rows:
            print(f"  {row['task']}  {row['title']:<40} {row['points']:>4g} of {row['of']:g}")
            if row["text"]:
                print("      " + row["text"].replace("\n", "\n      "))
        got += sum(row["points"] for row in rows)
        most += sum(row["of"] for row in rows)
        report.append({"file": str(path), "tasks": rows})
    print(f"{got:g} of {most:g} points")
    if options.json:
        text = json.dumps({"version": 1, "notebooks": report}, indent=1)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    return 0 if got == most and not unread else 1


def whole_class(arguments):
    """All submissions in a folder."""
    parser = _parser("class FOLDER [--out FOLDER] [--seed N]")
    parser.add_argument("folder", help="with a folder for each student, or student_07_tensor.ipynb")
    parser.add_argument("--out", default="graded", help="where the results go (default: graded)")
    parser.add_argument("--seed", type=int, help="of the inputs; default: drawn, and kept in OUT")
    parser.add_argument("--jobs", type=int, help="submissions at a time; default: one for a core")
    parser.add_argument(
        "--without-sandbox", metavar="WORDS",
        help=f'run without bubblewrap; WORDS must be "{TRUST}"',
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.without_sandbox not in (None, TRUST):
        raise RuntimeError(f'without a sandbox only with the words "{TRUST}"')
    if not os.path.isdir(options.folder):
        raise RuntimeError(f"{options.folder} is no folder")
    try:
        done = grade_class(
            options.folder, options.out, seed=options.seed, jobs=options.jobs,
            walls=options.without_sandbox is None,
        )  # fmt: skip
    except NoSandbox as error:
        raise RuntimeError(
            f"a class's submissions are other people's programs, and run in a sandbox only; "
            f'{error}. If you trust every one of them: --without-sandbox "{TRUST}"'
        ) from None
    for result in done:
        print(f"{result['student']}  {result['file']}  {result['points']:g} of {result['of']:g}")
        if result["problem"]:
            print(f"    {result['problem']}")
    print(f"{len(done)} notebooks; grades.csv, report.json and students/ are in {options.out}")
    return 1 if any(result["problem"] for result in done) else 0


TRUST = "I trust every submission"


def _parser(usage):
    return argparse.ArgumentParser(
        prog="python -m grading", usage=f"python -m grading {usage}", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["audit"]:
            return 1 if audit(arguments[1:]) else 0
        if arguments[:1] == ["class"]:
            return whole_class(arguments[1:])
        return notebooks(arguments)
    except Exception as error:
        kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
        print(f"the grader could not run: {kind}{error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
