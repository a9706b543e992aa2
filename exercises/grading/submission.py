"""A notebook that was handed in: read whatever its form, and made into cells that can be run.

The one rule of this file: what cannot be read raises Unreadable, with one sentence for the one who
handed it in; nothing else is raised, whatever the file holds.
"""

import ast
import json
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .task import lessons, notebook, tasks

LARGEST = 100 << 20  # bytes of a notebook, nearly all of them pictures in its outputs
MOST_PARTS = 2_000_000  # lists and dicts in it
MOST_CELLS = 2_000
LONGEST_CELL = 200_000  # characters
CHECK = re.compile(r"""\bcheck\(\s*["'](\d\d\.\d+)["']""")
GRADE_ID = re.compile(r"(answer|check)-(\d\d)-(\d+)")


class Unreadable(Exception):
    """A submission that is no notebook, or none of this course."""


@dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    task: id of the task whose answer it holds or which it checks, by nbgrader's name for it, or
    "".  test: whether it is a locked test.  code: whether it is a code cell.
    """

    source: str
    task: str = ""
    test: bool = False
    code: bool = True


def content(path):
    """The bytes of an ordinary file; a link, a pipe or a device is not even opened."""
    try:
        kind = os.lstat(path).st_mode
        if stat.S_ISLNK(kind):
            raise Unreadable("it is a link to another file; hand in the file itself")
        if not stat.S_ISREG(kind):
            raise Unreadable("it is no ordinary file")
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise Unreadable(f"it cannot be opened: {error.strerror}") from None
    if len(data) > LARGEST:
        size = os.lstat(path).st_size
        raise Unreadable(
            f"it has {size / 1e6:.0f} MB, and {LARGEST / 1e6:.0f} are read at most; "
            "clear the outputs of its cells and save it again"
        )
    return data


def cells(data):
    """The cells of a notebook, whose file holds the bytes `data`."""
    if not data.strip():
        raise Unreadable("it is empty")
    if data.count(b"{") + data.count(b"[") > MOST_PARTS:
        raise Unreadable("it is no notebook that a person wrote: it has millions of parts")
    try:
        book = json.loads(data)  # it knows UTF-8, UTF-16 and a byte order mark
    except UnicodeDecodeError:
        raise Unreadable("it is no notebook: its text is neither UTF-8 nor UTF-16") from None
    except RecursionError:
        raise Unreadable("it is no notebook: it has lists in lists without end") from None
    except ValueError as error:
        raise Unreadable(f"it is no notebook: it is not JSON ({str(error)[:100]})") from None
    found = _listed(book)
    if found is None:
        raise Unreadable("it is no notebook: it has no list of cells")
    if len(found) > MOST_CELLS:
        raise Unreadable(f"it has {len(found):,} cells, and {MOST_CELLS:,} are read at most")
    return [_cell(cell) for cell in found if isinstance(cell, dict)]


def _listed(book):
    """The list of cells of any version of the format, or None."""
    if not isinstance(book, dict):
        return None
    found = book.get("cells")
    sheets = book.get("worksheets")  # before version 4
    if found is None and isinstance(sheets, list):
        parts = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        found = [cell for part in parts if isinstance(part, list) for cell in part]
    return found if isinstance(found, list) else None


def _cell(cell):
    code = cell.get("cell_type") == "code"
    source = cell.get("source", cell.get("input", "") if code else "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    source = source if isinstance(source, str) else ""
    meta = cell.get("metadata")
    meta = meta.get("nbgrader") if isinstance(meta, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    named = GRADE_ID.fullmatch(str(meta.get("grade_id", "")))
    task = f"{named[2]}.{named[3]}" if named else ""
    test = bool(meta.get("grade")) and not meta.get("solution")
    return Cell(source[:LONGEST_CELL], task, test, code)


def checked(source):
    """Ids of the tasks that the code of a cell checks."""
    return CHECK.findall(source)


# ---- which lesson


def lesson_in(found):
    """The number of the lesson whose exercise these cells are, by what they hold, or None."""
    count = Counter()
    for cell in found:
        ids = {cell.task, *checked(cell.source)} - {""}
        count.update({i.partition(".")[0] for i in ids})
    known = [(n, lesson) for lesson, n in count.most_common() if exists(lesson)]
    return known[0][1] if known else None


def lesson_named(path):
    """The number of the lesson that a file is an exercise of by its name, or None."""
    numbers = re.findall(r"(?<!\d)(\d\d)(?=_)", Path(path).name)
    named = [n for n in numbers if exists(n)]
    slugs = [n for n in named if notebook(n).stem in Path(path).name]
    return (slugs or named[::-1] or [None])[0]


@cache
def exists(lesson):
    """Whether there is a lesson of this number, with tasks and a notebook."""
    try:
        return lesson in lessons() and bool(tasks(lesson)) and bool(notebook(lesson))
    except (ImportError, FileNotFoundError):
        return False


# ---- IPython's forms

RUN = {"time", "capture", "prun", "memit"}  # magics of a cell that run what follows
WRITE = {"writefile", "file"}
FORMS = re.compile(r"^\s*[%!?,;/]|^\s*>>> |^\s*In \[|[=]\s*[%!]|\?\s*$", re.MULTILINE)
# IPython reads a cell anew for each form in it.
MOST_IN_CELL, MOST_IN_NOTEBOOK, LONGEST_WITH_FORMS = 60, 600, 50_000


def as_python(source):
    """The source of a cell as plain Python: IPython's forms become calls of get_ipython().

    Lines keep their numbers, so that what is told of an error fits the notebook.
    """
    body = source.lstrip("\n")
    before = source[: len(source) - len(body)]
    if body.lstrip().startswith("%%"):
        return before + _cell_magic(body)
    if not FORMS.search(body) or _is_python(body):
        return source
    if len(body) <= LONGEST_WITH_FORMS and len(FORMS.findall(body)) <= MOST_IN_CELL:
        try:
            from IPython.core.inputtransformer2 import TransformerManager

            return before + TransformerManager().transform_cell(body)
        except Exception:  # it is no form that IPython knows, or IPython is not here
            pass
    return without_forms(source)


def without_forms(source):
    """The source of a cell without the lines that are commands to IPython or to the system."""
    lines = source.split("\n")
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


def programs(found):
    """The sources of cells as plain Python."""
    forms = sum(len(FORMS.findall(cell.source)) for cell in found)
    change = as_python if forms <= MOST_IN_NOTEBOOK else without_forms
    return [change(cell.source) for cell in found]


def _is_python(source):
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _cell_magic(source):
    """A cell that begins with %%: what follows is run, written to a file, or left alone."""
    head, _, body = source.lstrip().partition("\n")
    name, _, rest = head[2:].strip().partition(" ")
    if name in RUN:
        words = [word for word in rest.split() if word.isidentifier()]
        kept = f"{words[0]} = get_ipython().captured" if name == "capture" and words else ""
        return f"{kept}\n{as_python(body)}"
    if name in WRITE and rest.split():
        return f"with open({rest.split()[-1]!r}, 'w') as file: file.write({body!r})"
    return ""
