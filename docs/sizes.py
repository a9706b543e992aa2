"""Count the lines of the package and of what is around it: the table of README.

    python docs/sizes.py            print it
    python docs/sizes.py --write    put it into README.md

A line of code has code on it: no comment, docstring or blank line counts.  Rounded to hundreds, so
that not every change of a line is one of README too.
"""

import ast
import io
import re
import sys
import tokenize
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- lines: python docs/sizes.py --write -->\n", "<!-- end -->"

# Name -> what belongs to it, and what it is for.
PARTS = {
    "`engine/`": ("minidl/engine/*.py", "tensors, operations, gradients"),
    "`nn/`": ("minidl/nn/*.py", "layers, losses, GPT"),
    "`optim`": ("minidl/optim.py", "SGD to AdamW, schedules"),
    "`data/`": ("minidl/data/*.py", "batches, tables, images, text"),
    "`train/`": ("minidl/train/*.py", "`Trainer`, callbacks, debugging"),
    "`graph/`": ("minidl/graph/*.py", "`minidl.compile`"),
    "`onnx/`, `web/`": ("minidl/onnx/*.py minidl/web/*.py", "files for elsewhere, a page"),
    "`gpu/`, `distributed`": ("minidl/gpu/*.py minidl/distributed.py", "cards, several processes"),
    "`io`, `pytorch`, `estimators`": (
        "minidl/io.py minidl/pytorch.py minidl/estimators.py",
        "weights in files, scikit-learn",
    ),
    "`advice`, `differences`": ("minidl/advice.py minidl/differences.py", "errors that help"),
}
AROUND = {
    "the grader and its tasks": ("exercises/grading/*.py", "27 exercises, and wrong answers"),
    "tests": ("tests/**/*.py", "of all this, and of the course"),
}
EVENING = "minidl/engine/*.py minidl/nn/layers.py"


def docstrings(tree):
    """The numbers of the lines on which docstrings stand."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
            found |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return found


SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


def lines_of_code(source):
    """How many lines of a program have code on them."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            found |= {*range(token.start[0], token.end[0] + 1)}
    return len(found - docstrings(ast.parse(source)))


@cache
def count(patterns):
    """(lines of code, lines) of the files that match."""
    paths = {path for pattern in patterns.split() for path in ROOT.glob(pattern)}
    sources = [path.read_text(encoding="utf-8") for path in sorted(paths)]
    code, whole = sum(map(lines_of_code, sources)), sum(len(s.splitlines()) for s in sources)
    return round(code, -2), round(whole, -2)


def table():
    """The rows, a line each."""
    rows = ["| in `minidl/` | what it is | lines of code | lines |", "|---|---|--:|--:|"]
    for name, (patterns, what) in PARTS.items():
        rows.append("| {} | {} | {:,} | {:,} |".format(name, what, *count(patterns)))
    rows.append("| **minidl** | all of it | {:,} | {:,} |".format(*count("minidl/**/*.py")))
    for name, (patterns, what) in AROUND.items():
        rows.append("| {} | {} | {:,} | {:,} |".format(name, what, *count(patterns)))
    return "".join(f"{row}\n" for row in rows)


def evening():
    """What README says of the part that is read in an evening."""
    return f"{count(EVENING)[0]:,} lines of code"


def written(text):
    """A README's text with the counts as they are."""
    text = re.sub(
        f"{re.escape(BEGIN)}.*?{END}", lambda _: BEGIN + table() + END, text, flags=re.DOTALL
    )
    return re.sub(r"[\d,]+ lines of code(?=[^|\n]*evening)", evening(), text)


if __name__ == "__main__":
    print(table())
    print("in an evening:", evening())
    if sys.argv[1:] == ["--write"]:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
