"""`python -m grading NOTEBOOK ...` and `python -m grading audit`.

Exit status: 0 full points, 1 points missing, 2 the grader itself could not run.
"""

import argparse
import json
import sys

from .audit import audit
from .verdict import control, grade, lesson_of


def main():
    parser = argparse.ArgumentParser(prog="python -m grading", description=__doc__)
    parser.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help='or the word "audit"')
    parser.add_argument("--seed", type=int, help="of the inputs; by default one nobody knows")
    parser.add_argument("--json", metavar="FILE", help="also write the verdicts as JSON")
    options = parser.parse_args()
    if options.notebooks == ["audit"]:
        return 1 if audit() else 0
    report, got, most = {}, 0.0, 0.0
    try:
        for lesson in sorted({lesson_of(path) for path in options.notebooks}):
            if not control(lesson):
                raise RuntimeError(f"the solution of lesson {lesson} does not get full points")
        for path in options.notebooks:
            verdicts = grade(path, seed=options.seed)
            print(path)
            for v in verdicts:
                print(f"  {v.task.id}  {v.task.title:<32} {v.points:>4g} of {v.task.points:g}")
                if v.text:
                    print("      " + v.text.replace("\n", "\n      "))
            got += sum(v.points for v in verdicts)
            most += sum(v.task.points for v in verdicts)
            report[path] = [
                {"task": v.task.id, "points": v.points, "of": v.task.points, "text": v.text}
                for v in verdicts
            ]
        print(f"{got:g} of {most:g} points")
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(report, file, indent=1)
    except Exception as error:
        print(f"the grader could not run: {type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0 if got == most else 1


if __name__ == "__main__":
    sys.exit(main())
