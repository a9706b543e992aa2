"""The pages of the reference: every public name, where it is explained, and its source.

The one rule of this file: a name stands where its module defines it, under the shortest address
by which it is imported.  What is public is what tests/test_course.py holds the lessons to.

Docstrings are plain text, not reStructuredText; `marked_up` makes the one of the other.
"""

import ast
import functools
import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path

import nbformat

from course.build import definitions

ROOT = Path(__file__).resolve().parent.parent.parent

# The pages, in the order of README's table: title, folder or module of minidl, and what it gives.
PAGES = {
    "minidl": "what `import minidl` gives",
    "engine": "`Tensor`, `grad`, and every operation with its gradient",
    "nn": "layers, models, losses, first weights",
    "optim": "optimisers, schedules, clipping",
    "data": "data sets, loaders, images, text, tables",
    "train": "`Trainer`, callbacks, metrics, `debug`",
    "graph": "what `minidl.compile` does",
    "io": "safetensors files",
    "estimators": "scikit-learn's interface",
    "pytorch": "weights from PyTorch and back",
    "onnx": "models as ONNX files, and such files as modules",
    "web": "a page that runs a model in a browser",
    "distributed": "several processes that train one network",
    "gpu": "what a graphics card needs",
    "advice": "what other libraries call otherwise, and the errors that say so",
    "differences": "gradients beside measured slopes",
}


@functools.cache
def modules():
    """Dotted name inside minidl -> source, of all modules with public names, in reading order."""
    found = {}
    for path in sorted((ROOT / "minidl").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "minidl").with_suffix("").parts)
        if path.stem not in ("__init__", "__main__"):
            found[name] = path.read_text(encoding="utf-8")
    return found


@functools.cache
def public(source):
    """The public names that a module's source defines -> their text."""
    return {n: text for n, text in definitions(source).items() if "." not in n and n[0] != "_"}


def lessons():
    """Dotted name inside minidl, of a module or of what it defines -> the lesson, "07_tensor"."""
    found = {}
    for path in sorted((ROOT / "course").glob("*.ipynb")):
        home = nbformat.read(path, as_version=4).metadata.minidl.get("home", [])
        found.update(dict.fromkeys(home, path.stem))
    return found


def address(module, name):
    """The shortest name by which `name` of a module is imported: minidl.grad, minidl.nn.Linear."""
    defined = getattr(import_module(f"minidl.{module}"), name)
    rooms = ["minidl", f"minidl.{module.partition('.')[0]}"]
    for room in rooms:
        if name in getattr(import_module(room), "__all__", ()) and (
            getattr(import_module(room), name) is defined
        ):
            return f"{room}.{name}"
    return f"minidl.{module}.{name}"


def defined_in(room, name):
    """The full name of the module that defines what is imported as `name` from `room`."""
    top = name.partition(".")[0]
    for module, source in modules().items():
        if top in public(source) and address(module, top) == f"{room}.{top}":
            return f"minidl.{module}"
    return room


# ---- docstrings

_ITEM = re.compile(r"(?P<names>\*{0,2}\w+(, \*{0,2}\w+)*( [<>]=? [\w.]+)?): (?P<rest>\S.*)")


def escaped(text):
    """A line of plain words, `code` among them, as reStructuredText."""
    parts = re.split(r"`([^`]+)`", text)
    for at, part in enumerate(parts):
        if at % 2 == 0:
            parts[at] = re.sub(r"([\\*|_`<>])", r"\\\1", part)
            continue
        before = parts[at - 1][-1:]
        after = parts[at + 1][:1]
        # Beside a letter, code needs a blank that is not shown.
        parts[at] = "\\ " * before.isalnum() + f"``{part.strip()}``" + "\\ " * after.isalnum()
    return "".join(parts)


def marked_up(text):
    """A docstring as lines of reStructuredText: paragraphs, lists of arguments, code."""
    made = []
    for number, block in enumerate(re.split(r"\n[ \t]*\n", text.strip("\n"))):
        lines = block.split("\n")
        indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
        if min(indents, default=0) >= 4:
            code = textwrap.dedent(block).split("\n")
            made += ["::", "", *(f"    {line}" for line in code), ""]
            continue
        inside = False
        for line in lines:
            item = number and _ITEM.fullmatch(line)  # the first lines say what one gets
            item = item or re.fullmatch(r"- (?P<rest>.*)", line)
            if item:
                if not inside and made[-1:] not in ([], [""]):
                    made.append("")  # a list begins after a blank line
                names = item.groupdict().get("names")
                start = f"``{names}``: " if names else ""
                made.append(f"* {start}{escaped(item['rest'])}")
                inside = True
            else:
                plain = escaped(line.strip())
                made.append(f"  {plain}" if inside else re.sub(r"^([-+.] )", r"\\\1", plain))
        made.append("")
    return made


# ---- pages


def where(module, name, homes, titles):
    """A line that leads to the lesson that explains a name; [] if none does."""
    lesson = homes.get(f"{module}.{name}") or homes.get(module)
    return ["", f"Lesson :doc:`{titles[lesson]} </course/{lesson}>`.", ""] if lesson else []


def entry(module, name, text, homes, titles):
    """reStructuredText for one public name."""
    path = address(module, name)
    defined = getattr(import_module(f"minidl.{module}"), name)
    kind = type(ast.parse(text).body[0]).__name__
    lesson = where(module, name, homes, titles)
    if kind == "ClassDef":
        head = [f".. autoclass:: {path}", "   :members:"]
        head += ["   :show-inheritance:"] * (defined.__bases__ != (object,))
        return [*head, *(f"   {line}" for line in lesson), ""]
    if kind == "FunctionDef" and inspect.isfunction(defined):
        return [f".. autofunction:: {path}", *(f"   {line}" for line in lesson), ""]
    room, _, short = path.rpartition(".")
    if kind == "FunctionDef":  # an operation, or what a decorator made
        function = ast.parse(text).body[0]
        if function.args.args and function.args.args[0].arg == "xp":
            del function.args.args[0]  # the array module, which the engine gives
        head = f".. py:function:: {short}({ast.unparse(function.args)})"
        body = marked_up(inspect.cleandoc(ast.get_docstring(function) or ""))
    else:
        head = f".. py:data:: {short}"
        body = ["::", "", *(f"    {line}" for line in text.split("\n")), ""]
    body = ["", *body, *lesson]
    return [head, f"   :module: {room}", *(f"   {line}" for line in body), ""]


def page(room, titles, homes):
    """The page of one of PAGES, in MyST's markdown."""
    title = room if room == "minidl" else f"minidl.{room}"
    sources = {m: text for m, text in modules().items() if _belongs(m, room)}
    alone = [*sources] == [room]
    parts = [f"# {title}\n"]
    if not alone:
        parts.append(_rst(marked_up(import_module(title).__doc__ or ""), titles))
    for module, source in sources.items():
        at_top = {name for name in public(source) if _at_top(module, name)}
        block = []
        if room != "minidl":
            if not alone:
                parts.append(f"## minidl.{module}\n")
            block += [f".. py:module:: minidl.{module}", ""]
            block += marked_up(import_module(f"minidl.{module}").__doc__ or "")
            if at_top:
                named = ", ".join(f":py:obj:`minidl.{name}`" for name in sorted(at_top))
                block += ["", f"Defined here too: {named}.", ""]
        for name, text in public(source).items():
            if (name in at_top) == (room == "minidl"):
                block += entry(module, name, text, homes, titles)
        parts.append(_rst(block, titles))
    return "\n".join(parts)


def _rst(lines, titles):
    """Lines of reStructuredText inside markdown; a lesson that they name becomes a link."""
    text = "\n".join(lines)
    for lesson in titles:
        number = lesson[:2]
        link = f":doc:`course/{number} </course/{lesson}>`"
        text = re.sub(rf"\bcourse/{number}\b(?!_)", link, text)
    return f"````{{eval-rst}}\n{text}\n````\n"


def _belongs(module, room):
    """Whether the page `room` has something to say of a module."""
    if room == "minidl":
        return any(_at_top(module, name) for name in public(modules()[module]))
    return module.partition(".")[0] == room


def _at_top(module, name):
    return address(module, name) == f"minidl.{name}"
