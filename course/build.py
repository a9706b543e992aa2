"""Copy the package into the lessons that quote it, run what changed, make the exercises.

    python course/build.py [--check] [--all] [NOTEBOOK ...]

Without names: every notebook of course/ and solutions/.  --all runs them even if nothing changed;
--check changes nothing, prints what is out of date, and exits with 1 if anything is.

The one rule of this file: the package is the source.  Text goes from minidl/ to a lesson and from
solutions/ to exercises/, never back.

Marker words.  A quoting cell begins with one of these lines, and the package's text, which this
program writes, is all the rest of it:

    # minidl/engine/ops.py: mul, div      definitions; a primitive brings its gradient rule
    # minidl/engine/tensor.py: Tensor.backward
                                          a method, moved to the left so that it runs as it stands

Later lessons.  A lesson that comes later is named `lesson 14 (later)`; this program makes of it
`[lesson 14, later](14_shift.ipynb)`, or `lesson 14 (later, not written yet)` while it is not there,
and of these the other one when that changes.

Metadata of a notebook, under `minidl`:

    home       lesson: what it explains, by its path inside minidl: ["engine.devices",
               "engine.ops.add"]; a module means its public names
    executed   SHA-256 of the code cells that the stored outputs belong to
    seconds    how long they took
    generated  exercise: SHA-256 of the file as it was made, so that nobody's answers are lost
"""

import argparse
import atexit
import copy
import hashlib
import itertools
import json
import math
import os
import queue
import re
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import nbformat
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import v4
from nbgrader import preprocessors as nbgrader
from nbgrader.nbgraderformat import ValidationError
from traitlets import Type

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that this folder's package and helper are found

from course.live import QuotationError, marked, statements  # noqa: E402

FOLDERS = "course", "solutions"
SECONDS_PER_CELL = 100
LOOK = 0.1  # seconds after which a channel of a kernel is looked at again
TRIES = 3  # now and then a kernel finds its port taken, or leaves a request unread for ever

# What JupyterLab folds away until a click, by the tags that sites know.
FOLDED = {"hide-input": "source_hidden", "hide-output": "outputs_hidden"}

SHOWN = {"name": "python", "pygments_lexer": "ipython3"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}

# The order of nbgrader's GenerateAssignment, without its steps for a database, for headers and
# for tests made from templates.
STEPS = """
    LockCells ClearSolutions ClearOutput CheckCellMetadata ComputeChecksums
    ClearHiddenTests ClearMarkScheme ComputeChecksums CheckCellMetadata
""".split()


class BuildError(Exception):
    """What is wrong in a notebook, and where; a sentence for the person who wrote it."""


# ---- quotations


def definitions(source):
    """Name -> exact text of all that a module defines; methods as `Class.method`."""
    lines, found = source.splitlines(), {}
    for name, nodes in statements(source).items():
        node = nodes[0]
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        text = lines[first - 1 : nodes[-1].end_lineno]
        found[name] = "\n".join(line.removeprefix(" " * node.col_offset) for line in text)
    return found


def quoted_names(source):
    """("minidl/engine/ops.py", ["mul"]) of a quoting cell, or None for any other."""
    try:
        return marked(source)
    except QuotationError as error:
        raise BuildError(str(error)) from None


def quotation(source, root):
    """What the code cell `source` must be: itself, or its marker and the package's text."""
    quoted = quoted_names(source)
    if quoted is None:
        return source
    file, names = quoted
    if not (root / file).is_file():
        raise BuildError(f"there is no {file}")
    found = definitions((root / file).read_text(encoding="utf-8"))
    if missing := [name for name in names if name not in found]:
        raise BuildError(f"{file} does not define {missing[0]}")
    return source.partition("\n")[0].rstrip() + "\n" + "\n\n\n".join(found[n] for n in names)


def quote(nb, root):
    """Put the package's text into the quoting cells of `nb`; return those that changed."""
    changed = []
    for number, cell in enumerate(nb.cells, 1):
        before = cell.source
        try:
            cell.source = quotation(before, root) if cell.cell_type == "code" else before
        except BuildError as error:
            raise BuildError(f"cell {number} ({cell.get('id', 'no id')}): {error}") from None
        if cell.source != before:
            changed.append(f"cell {number}, {before.splitlines()[0]}")
    return changed


# ---- later lessons

_LATER = re.compile(
    r"\[(?P<a>[Ll]esson) (?P<m>\d\d), later\]\([^)\s]*\)"
    r"|(?P<b>[Ll]esson) (?P<n>\d\d) \(later(?:, not written yet)?\)"
)


def name_later(nb, path, root):
    """Have `nb`, of the file `path`, name later lessons as they are; return what changed."""
    changed = []

    def named(at, match):
        word, number = match["a"] or match["b"], match["m"] or match["n"]
        found = sorted((root / "course").glob(f"{number}_*.ipynb"))
        if not found:
            after = f"{word} {number} (later, not written yet)"
        else:
            away = "" if path.parent.name == "course" else "../course/"
            after = f"[{word} {number}, later]({away}{found[0].name})"
        if after != match[0]:
            state = "is written" if found else "is not written yet"
            changed.append(f"cell {at}, {match[0]!r}: lesson {number} {state}")
        return after

    for at, cell in enumerate(nb.cells, 1):
        if cell.cell_type == "markdown":
            cell.source = _LATER.sub(partial(named, at), cell.source)
    return changed


# ---- normal form


def read(path):
    """The notebook in `path`, as it is."""
    try:
        return v4.reads(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, AttributeError) as error:
        raise BuildError(f"is no notebook of format 4: {error!r}") from None


def text(nb):
    """The notebook as it stands in a file."""
    return v4.writes(nb) + "\n"


def normal(nb):
    """A copy of `nb` that depends on what it says and shows, and on nothing else."""
    nb = copy.deepcopy(nb)
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.cells = [c for c in nb.cells if c.source.strip() or "nbgrader" in c.metadata]
    ours = nb.metadata.get("minidl")
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": SHOWN})
    if ours:
        nb.metadata.minidl = ours
    _name_cells(nb.cells)
    for cell in nb.cells:
        cell.source = cell.source.replace("\r\n", "\n").rstrip()
        kept = {k: cell.metadata.get(k) for k in ("deletable", "editable", "nbgrader", "tags")}
        kept["jupyter"] = {FOLDED[tag]: True for tag in kept["tags"] or () if tag in FOLDED}
        left_out = None, [], {}
        cell.metadata = nbformat.from_dict({k: v for k, v in kept.items() if v not in left_out})
        if not cell.get("attachments"):
            cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = _normal_outputs(cell.outputs)
    try:
        nbformat.validate(nb)
    except nbformat.ValidationError as error:
        raise BuildError(f"is no valid notebook: {error}") from None
    return nb


def _name_cells(cells):
    """Keep each valid, unique id; name the other cells c01, c02, ... in order."""
    taken = set()
    for cell in cells:
        name = cell.get("id") or ""
        valid = re.fullmatch(r"[\w-]{1,64}", name, re.ASCII) and name not in taken
        cell.id = name if valid else None
        taken.add(cell.id)
    free = (name for name in map("c{:02}".format, itertools.count(1)) if name not in taken)
    for cell in cells:
        cell.id = cell.id or next(free)


def _normal_outputs(outputs):
    kept = []
    for output in outputs:
        last = kept[-1] if kept else {}
        if output.output_type == "stream" and output.name == last.get("name"):
            last.text += output.text
            continue
        if "data" in output:
            if any("widget" in kind for kind in output.data):
                continue  # its state is not stored, so it could not be shown
            words = output.metadata.get("image/png", {}).get("alt")
            output.metadata = nbformat.from_dict({"image/png": {"alt": words}} if words else {})
            if "image/png" in output.data:
                output.data["image/png"] = output.data["image/png"].strip()
        kept.append(output)
    return kept


# ---- running


def fingerprint(nb):
    """SHA-256 of the code cells."""
    sources = [cell.source for cell in nb.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def is_executed(nb):
    """Whether the outputs are those of this code, run once from top to bottom."""
    counts = [cell.execution_count for cell in nb.cells if cell.cell_type == "code"]
    right = nb.metadata.get("minidl", {}).get("executed") == fingerprint(nb)
    return right and counts == list(range(1, len(counts) + 1))


class Channel(AsyncZMQSocketChannel):
    """One that looks itself, now and then, whether something has come: its socket's sign that it
    has may get lost, and then it waits for ever (docs/decisions.md, ipykernel)."""

    async def get_msg(self, timeout=None):
        end = time.monotonic() + (math.inf if timeout is None else timeout)
        while True:
            left = end - time.monotonic()
            try:
                return await super().get_msg(max(0, min(LOOK, left)))
            except queue.Empty:
                if left <= LOOK:
                    raise


class KernelClient(AsyncKernelClient):
    shell_channel_class = iopub_channel_class = Type(Channel)


class KernelDied(Exception):
    """A kernel ended at its start, before any cell: another may not."""


class Client(NotebookClient):
    """A notebook at work; its kernel's answers are always found."""

    async def async_start_new_kernel_client(self):
        try:
            return await super().async_start_new_kernel_client()
        except RuntimeError as error:
            atexit.unregister(self._cleanup_kernel)  # there is nothing left to clean up
            raise KernelDied(error) from None

    def create_kernel_manager(self):
        manager = super().create_kernel_manager()
        manager.client_factory = KernelClient
        return manager


def execute(nb, folder, root):
    """Run `nb` in `folder`, with root and root/exercises importable; note what was run."""
    for left in reversed(range(TRIES)):
        try:
            return _execute(nb, folder, root)
        except (CellTimeoutError, KernelDied) as error:
            if not left:
                raise BuildError(f"{TRIES} times a cell did not end: {error}") from None


def _execute(nb, folder, root):
    started, at = time.perf_counter(), []
    path = [str(root), str(root / "exercises"), os.environ.get("PYTHONPATH", "")]
    client = Client(nb, timeout=SECONDS_PER_CELL, kernel_name="python3")
    client.record_timing = False
    client.resources = {"metadata": {"path": str(folder)}}
    client.extra_arguments = ["--log-level=ERROR"]
    client.on_cell_execute = lambda cell, cell_index: at.append((cell_index + 1, cell.id))
    # Nobody's own settings of IPython and Matplotlib, so that figures look the same everywhere.
    with tempfile.TemporaryDirectory() as empty:
        settings = {
            "IPYTHONDIR": empty,
            "MATPLOTLIBRC": os.devnull,
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
        }
        try:
            client.execute(env=os.environ | settings)
        except (CellExecutionError, DeadKernelError) as error:
            number, name = at[-1] if at else (1, "the kernel did not start")
            plain = re.sub(r"\x1b\[[\d;]*m", "", str(error))
            raise BuildError(f"cell {number} ({name}) failed\n{plain}") from None
    ours = nb.metadata.setdefault("minidl", nbformat.from_dict({}))
    ours.executed, ours.seconds = fingerprint(nb), round(time.perf_counter() - started, 1)


# ---- exercises


def exercise(solution):
    """What the learner gets: `solution` without its answers, hidden tests and outputs."""
    nb, resources = copy.deepcopy(solution), {}
    nb.metadata.pop("minidl", None)
    try:
        for name in STEPS:
            step = getattr(nbgrader, name)()
            if name == "ClearSolutions":
                step.code_stub = {"python": "raise NotImplementedError"}
            nb, resources = step.preprocess(nb, resources)
    except (RuntimeError, ValidationError) as error:
        raise BuildError(f"nbgrader can make no exercise of it: {error}") from None
    nb = normal(nb)
    nb.metadata.minidl = nbformat.from_dict({"generated": _as_made(nb)})
    return nb


def _as_made(nb):
    """SHA-256 of an exercise, all but this number itself."""
    nb = copy.deepcopy(nb)
    nb.metadata.pop("minidl", None)
    return hashlib.sha256(text(nb).encode()).hexdigest()


def holds_work(path):
    """Whether somebody wrote into the exercise in `path` since it was made."""
    nb = read(path)
    return nb.metadata.get("minidl", {}).get("generated") != _as_made(nb)


# ---- the command


def build(path, root, *, check=False, force=False):
    """Bring one notebook up to date, and its exercise; yield a sentence for each thing done.

    With `check`, nothing is changed: the sentences say what is out of date.
    """
    before = path.read_bytes()
    nb = read(path)
    for where in quote(nb, root):
        yield f"{where}: is not what the package says" if check else f"{where}: copied"
    for what in name_later(nb, path, root):
        yield what if check else f"{what}: named so"
    if not check:
        nb = normal(nb)  # so that every cell has the name by which an error names it
    elif text(nb := read(path)).encode() != before or text(normal(nb)) != text(nb):
        yield "is not in normal form"
    if force or not is_executed(nb):
        if check:
            yield "was not run, top to bottom, as it stands"
        else:
            execute(nb, path.parent, root)
            yield f"ran in {nb.metadata.minidl.seconds} s"
    if not check:
        after = text(normal(nb)).encode()
        if after != before:
            _write(path, after)
            yield "written"
    if path.parent.name == "solutions":
        yield from _build_exercise(normal(nb), root / "exercises" / path.name, check)


def _build_exercise(solution, path, check):
    after = text(exercise(solution)).encode()
    name = f"exercises/{path.name}"
    if path.exists() and path.read_bytes() == after:
        return
    if path.exists() and holds_work(path):
        raise BuildError(f"{name} holds somebody's work and is left alone; move it away first")
    if check:
        yield f"{name} is not what it makes"
    else:
        _write(path, after)
        yield f"made {name}"


def _write(path, data):
    """The file is written beside its goal and then renamed, so the old one is whole till then."""
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.replace(path)


def main(arguments=None, root=ROOT):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--check", action="store_true", help="change nothing, say what is stale")
    parser.add_argument("--all", action="store_true", help="run also what did not change")
    chosen = parser.parse_args(arguments)
    notebooks = [path.resolve() for path in chosen.notebooks]
    for path in notebooks:
        if not path.is_file() or path.parent.name not in FOLDERS:
            parser.error(f"{path.name}: name a notebook of course/ or solutions/")
    said, failed = 0, False
    everything = [path for folder in FOLDERS for path in sorted(root.glob(f"{folder}/*.ipynb"))]
    for path in notebooks or everything:
        where = f"{path.parent.name}/{path.name}"
        try:
            for sentence in build(path, root, check=chosen.check, force=chosen.all):
                print(f"{where}: {sentence}", flush=True)
                said += 1
        except BuildError as error:
            print(f"{where}: {error}", file=sys.stderr)
            failed = True
            if not chosen.check:
                break
    if not said and not failed:
        print("everything is up to date")
    return 1 if failed or (chosen.check and said) else 0


if __name__ == "__main__":
    sys.exit(main())
