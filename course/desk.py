"""Lay out a learner's own copies of lessons and exercises in my/, and bring them up to date.

    python course/desk.py --open      and open JupyterLab there, as `make course` does
    python course/desk.py             without that
    python course/desk.py --begun     name the exercises in which something was written

my/start.md, which `make course` opens, tells what there is, what is done and what comes next; it is
made anew each time (course/start.py).

my/course and my/exercises hold what a learner writes; git ignores them, so an update of the course
neither overwrites an answer nor is stopped by one.

The one rule of this file: nothing that a learner wrote is lost.  A copy in which nothing was
written is exchanged for a newer version; beside any other the newer version is put down as
NAME_new.ipynb, with all that the learner wrote carried over, cell by cell.

What a copy was made from is kept in my/.versions/, and the copy's metadata say which: so what was
written is what differs from it.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from course.start import page  # noqa: E402

FOLDERS = "course", "exercises"
NEW = "_new"
STYLE = "course.mplstyle"

# What a notebook names by its place in the repository lies one folder further away.
_LINK = re.compile(r"\]\(\.\./(?!course/|exercises/)")
_COMMAND = re.compile(r"(python -m grading )(exercises/)")

CARRIED = "This is yours, from a cell that the newer version no longer has in that form."


def moved(notebook):
    """A copy of a notebook of the repository whose links and commands are right in my/."""
    notebook = deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            source = _LINK.sub("](../../", cell.source)
            cell.source = _COMMAND.sub(r"\1my/\2", source)
    return notebook


def version_of(notebook):
    """A short name for what a notebook says: kinds, texts and tags of its cells, not outputs."""
    said = [
        [cell.cell_type, cell.source, *filter(None, [cell.metadata.get("tags")])]
        for cell in notebook.cells
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def written(base, mine):
    """The learner's cells of `mine`: those that `base` has not, or has with another text."""
    texts = {cell.get("id"): (cell.cell_type, cell.source) for cell in base.cells}
    found = []
    for cell in mine.cells:
        if texts.get(cell.get("id")) != (cell.cell_type, cell.source):
            found.append(cell)
    return [cell for cell in found if cell.source.strip() or cell.get("id") in texts]


def _place(cell, cells):
    """Where `cells` has the same cell: of one task's answer, or with the same text; or None.

    Of several with the same text (`return ...`), the one with the same id.
    """
    task = cell.metadata.get("nbgrader", {}).get("grade_id")
    for i, other in enumerate(cells):
        if task is not None and other.metadata.get("nbgrader", {}).get("grade_id") == task:
            return i
    found = [
        i
        for i, other in enumerate(cells)
        if (other.cell_type, other.source) == (cell.cell_type, cell.source)
    ]
    same = [i for i in found if cells[i].get("id") == cell.get("id")]
    return (same or found or [None])[0]


def carried(base, mine, newer):
    """`newer` with what the learner wrote in `mine`, which was made from `base`.

    An answer, a prediction, a line of one's own goes where the newer version has the same cell.
    What has no place there any more, and cells that the learner added, follow the cell after which
    they stood.
    """
    result = deepcopy(newer)
    of_base = {cell.get("id"): cell for cell in base.cells}
    theirs = {id(cell) for cell in written(base, mine)}
    follow = 0  # where a cell without a place is put in
    for cell in mine.cells:
        before = of_base.get(cell.get("id"))
        place = None
        if before is not None:
            place = _place(before, newer.cells)
        if place is not None:  # cells put in before it have moved it on
            name = newer.cells[place].get("id")
            place = next(i for i, c in enumerate(result.cells) if c.get("id") == name)
        if place is not None:
            if id(cell) in theirs:
                result.cells[place].source = cell.source
            follow = place + 1
        elif id(cell) in theirs:
            result.cells.insert(follow, _own(cell, moved_on=before is not None))
            follow += 1
    return result


def _own(cell, moved_on):
    """A new cell with a learner's text; moved_on: the cell it was written in is gone."""
    source = cell.source
    if moved_on and cell.cell_type == "code":
        source = f"# {CARRIED}\n{source}"
    elif moved_on:
        source = f"*{CARRIED}*\n\n{source}"
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
    return make(source)


def _read(path):
    return nbformat.read(path, as_version=4)


def _write(notebook, path):
    """Write beside the goal, then rename: a crash leaves the old file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    nbformat.write(notebook, beside)
    os.replace(beside, path)


# What JupyterLab would add when it opens a copy, which it then calls changed and not saved.
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}


def _put(notebook, path, version):
    """Write a copy that says what it was made from."""
    notebook.metadata.setdefault("minidl", {})["copied"] = version
    notebook.metadata |= {"kernelspec": KERNEL, "language_info": LANGUAGE}
    for cell in notebook.cells:
        if cell.metadata.get("jupyter", {}).get("outputs_hidden"):
            cell.metadata["collapsed"] = True
    _write(notebook, path)


class Desk:
    """A learner's folder `my`, beside the repository's own `course` and `exercises`."""

    def __init__(self, root=ROOT):
        self.root = Path(root)
        self.my = self.root / "my"

    def lay_out(self):
        """Copy what is new, bring the rest up to date; yield a sentence for each change."""
        for folder in FOLDERS:
            for source in sorted((self.root / folder).glob("*.ipynb")):
                told = self._lay(source, self.my / folder / source.name)
                if told:
                    yield told
        self._lay_style()

    def lay_start(self):
        """Make the start page anew; like all here, beside its place first."""
        beside = self.my / "start.md.part"
        beside.parent.mkdir(exist_ok=True)
        beside.write_text(page(self.root), encoding="utf-8")
        os.replace(beside, self.my / "start.md")

    def begun(self):
        """The exercises' copies in which the learner has written, or that cannot be read."""
        for source in sorted((self.root / "exercises").glob("*.ipynb")):
            path = self.my / "exercises" / source.name
            try:
                mine = _read(path)
                base = self._base(mine)
            except FileNotFoundError:
                continue
            except Exception:  # whatever nbformat finds wrong; the grader will say it
                yield path
                continue
            if not base.cells or written(base, mine):
                yield path

    def _base(self, mine):
        """What a copy was made from; empty if nobody knows, and then all of it is the learner's."""
        try:
            return _read(self._version(str(mine.metadata.get("minidl", {}).get("copied"))))
        except (OSError, ValueError):
            return nbformat.v4.new_notebook()

    def _lay_style(self):
        """Copy the figures' style to where lessons look for it, unless the learner changed it."""
        source, path = self.root / "course" / STYLE, self.my / "course" / STYLE
        last = self.my / ".versions" / STYLE
        if not source.exists():
            return
        text = source.read_bytes()
        if not path.exists() or (last.exists() and path.read_bytes() == last.read_bytes() != text):
            for target in (path, last):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(text)

    def _version(self, version):
        return self.my / ".versions" / f"{version}.ipynb"

    def _lay(self, source, path):
        """Make or renew one copy; say what was done, or None."""
        newer = moved(_read(source))
        version = version_of(newer)
        if not self._version(version).exists():
            _write(newer, self._version(version))
        name = path.relative_to(self.root)
        if not path.exists():
            _put(newer, path, version)
            return None
        try:
            mine = _read(path)
        except Exception as error:  # whatever nbformat finds wrong
            return f"{name} cannot be read ({error}) and stays as it is; delete it to start anew"
        copied = mine.metadata.get("minidl", {}).get("copied")
        if copied == version:
            return None
        base = self._base(mine)
        if base.cells and not written(base, mine):
            _put(newer, path, version)
            return f"{name} was exchanged for a newer version; nothing had been written in it"
        return self._offer(base, mine, newer, path, version)

    def _offer(self, base, mine, newer, path, version):
        """Put the newer version beside the learner's, unless it lies there already."""
        beside = path.with_name(path.stem + NEW + path.suffix)
        name, other = path.relative_to(self.root), beside.relative_to(self.root)
        after = f"to go on in it, rename it to {path.name}"
        if beside.exists():
            return f"{other} is a newer version of {name}: {after}; until then it stays as it is"
        _put(carried(base, mine, newer), beside, version)
        return f"there is a newer version of {name}: {other}, with what you wrote; {after}"


def lab(root=ROOT):
    """The command that opens JupyterLab at the start page, as course/lab says how, and its
    environment.
    """
    settings = Path(root) / "course" / "lab"
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}",
        "--LabApp.default_url=/lab/tree/my/start.md",
        "--LabApp.log_level=WARN", "--ServerApp.log_level=WARN", "--LabApp.custom_css=True",
        f"--ServerApp.tornado_settings=static_custom_path={settings / 'custom'}",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    if sys.platform == "linux" and not any(map(os.environ.get, SCREENS)):
        command.append("--no-browser")
    given = os.environ.get("JUPYTER_CONFIG_PATH")
    places = os.pathsep.join(filter(None, [str(settings), given]))
    return command, os.environ | {"JUPYTER_CONFIG_PATH": places}


SCREENS = "DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"


def main():
    desk = Desk()
    if sys.argv[1:] == ["--begun"]:
        for path in desk.begun():
            print(path.relative_to(desk.root).as_posix())
        return 0
    for told in desk.lay_out():
        print(told)
    desk.lay_start()
    if sys.argv[1:] == ["--open"]:
        return _open(*lab())
    return 0


def _open(command, environment):
    """Run JupyterLab until it ends; in place of this process, where the system can do that."""
    if "--no-browser" in command:
        print("No screen here: open the address below in a browser. Ctrl-C stops JupyterLab.")
    sys.stdout.flush()
    if os.name == "nt":
        return subprocess.call(command, env=environment)
    os.execve(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main())
