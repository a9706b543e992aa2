"""How many lines of minidl the tests run, by part: what `make coverage` says at its end.

`python tests/covered.py` reads `.coverage`, which `coverage combine` made, and prints a table and
the lines that no test ran; the exit status is 1 where they are more than 5 of 100.
"""

import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).resolve().parent.parent
LEAST = 95.0


def lines(measured, root):
    """file -> (its lines that can run, those that no test ran as text), for all of minidl."""
    found = {}
    for path in sorted((root / "minidl").rglob("*.py")):
        _, statements, _, missing, text = measured.analysis2(str(path))
        found[path.relative_to(root)] = len(statements), len(missing), text
    return found


def part(file):
    """Where a file belongs: its folder, or itself."""
    return file.parts[1] if len(file.parts) > 2 else file.stem


def table(found):
    """(lines of a table by part, the share of all that ran in percent)."""
    sums = {}
    for file, (n, missing, _) in found.items():
        for name in (part(file), "all"):
            before = sums.get(name, (0, 0))
            sums[name] = before[0] + n, before[1] + missing
    sums["all"] = sums.pop("all")  # last
    shares = {name: 100 * (1 - missing / n) if n else 100.0 for name, (n, missing) in sums.items()}
    rows = [f"{'part':14}{'lines':>7}{'not run':>9}{'run':>9}"]
    for name, (n, missing) in sums.items():
        rows.append(f"{name:14}{n:7}{missing:9}{shares[name]:7.1f} %")
    return rows, shares["all"]


def main():
    measured = coverage.Coverage()
    measured.load()
    found = lines(measured, ROOT)
    rows, share = table(found)
    print(
        "not run:", *(f"{file}: {text}" for file, (_, _, text) in found.items() if text), sep="\n"
    )
    print("", *rows, sep="\n")
    return share < LEAST


if __name__ == "__main__":
    sys.exit(main())
