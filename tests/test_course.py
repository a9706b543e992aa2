"""The rules of the course: what a lesson is made of, and that it agrees with the package.

Each rule is a function that yields a sentence for each fault; each is tried on the lessons, where
it must find nothing, and on a lesson that was spoilt on purpose, where it must find that.
"""

import ast
import copy
import importlib.util
import re
import shutil
import statistics
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="waits for nbgrader (pip install -e '.[test]')")

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("build", ROOT / "course" / "build.py")
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)

LESSONS = sorted((ROOT / "course").glob("*.ipynb"))
SOLUTIONS = sorted((ROOT / "solutions").glob("*.ipynb"))
SECTIONS = """
    Recall, The problem, Intuition, Mathematics, Draft, Package, Experiments, Misconception,
    Investigate, Exercises, Recap
""".replace("\n", " ").strip()


def module_of(path):
    """The name inside minidl of the module in a file: engine/ops.py is engine.ops, nn/__init__.py
    nn, and minidl's own __init__.py the empty string."""
    parts = path.relative_to(ROOT / "minidl").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {module_of(p): p for p in sorted((ROOT / "minidl").rglob("*.py")) if p.stem != "__main__"}
SOURCE = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
MODULES = [name for name in SOURCE if name]


def cells(nb, kind):
    return [cell for cell in nb.cells if cell.cell_type == kind]


def prose(nb):
    """The text without formulas, code, links' addresses and the lines for predictions."""
    text = "\n\n".join(cell.source for cell in cells(nb, "markdown"))
    for left_out in (r"\$\$.*?\$\$", r"\$[^$]+\$", r"`[^`\n]*`", r"</?\w+>", r"\.{5,}"):
        text = re.sub(left_out, " ", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)", "] ", text)


def printed(cell):
    """What a code cell printed, or shows as text in place of a figure or a table."""
    shown = [o for o in cell.outputs if "image/png" not in o.get("data", {})]
    return "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in shown)


def figures(nb):
    return [
        c for c in cells(nb, "code") if any("image/png" in o.get("data", {}) for o in c.outputs)
    ]


# --- anatomy ---------------------------------------------------------------------------------


def parts(nb):
    """Header, sections in their order, and what belongs into each."""
    text = {}
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            text[re.match(r"## ([^:,\n]+)", cell.source)[1]] = ""
        if text and cell.cell_type == "markdown":
            text[list(text)[-1]] += cell.source + "\n"
    if ", ".join(text) != re.sub(r"\s+", " ", SECTIONS):
        yield f"the sections are {', '.join(text)}"
        return
    header = nb.cells[0].source
    for wanted in (r"# \d\d · .+\?\n", r"\*\*You will be able to\*\*", r"\*\*Home of\*\*"):
        if not re.search(wanted, header):
            yield f"the header lacks {wanted}"
    minutes = re.search(r"\*\*Minutes\*\* (\d+)", header)
    if not re.search(r"\*\*Needs lessons?\*\*", header) or not minutes:
        yield "the header lacks what is needed, or the minutes"
    elif not 45 <= int(minutes[1]) <= 75:
        yield f"{minutes[1]} minutes"
    if text["Recall"].count("<details>") != 3 or text["Recall"].count("</details>") != 3:
        yield "Recall has not three folded answers"
    for name, n in ("Recall", 3), ("Investigate", 3), ("Recap", 5):
        if len(re.findall(r"^\d\. ", text[name], re.MULTILINE)) != n:
            yield f"{name} has not {n} numbered lines"
    if text["Mathematics"].count(r"\tag{") > 6:
        yield "more than six numbered equations"
    table = next((li for li in text["Recap"].splitlines() if li.startswith("|")), "")
    if not all(name in table for name in ("minidl", "PyTorch", "Keras", "scikit-learn")):
        yield "Recap has no table of minidl, PyTorch, Keras and scikit-learn"
    sources = text["Recap"].partition("**Sources.**")[2].partition("**The next question")
    if not re.search(r"\b(1[5-9]|20)\d\d\b", sources[0]) or not sources[1]:
        yield "Recap lacks sources with years, or the next question"
    at = [i for i, c in enumerate(nb.cells) if c.source.startswith(("## Misc", "## Inv"))]
    if all(cell.cell_type == "markdown" for cell in nb.cells[at[0] : at[1]]):
        yield "no cell refutes the misconception"


def length(nb):
    words = len(re.findall(r"\w[\w'’.,-]*", prose(nb)))
    if not 1200 <= words <= 2000:
        yield f"{words} words"
    lines = [len(cell.source.splitlines()) for cell in cells(nb, "code")]
    if not 20 <= len(lines) <= 30:
        yield f"{len(lines)} code cells"
    if statistics.median(lines) > 8 or max(lines) > 50:
        yield f"code cells of {statistics.median(lines)} lines in the median, {max(lines)} at most"
    if not 4 <= len(figures(nb)) <= 6:
        yield f"{len(figures(nb))} figures"
    if not nb.metadata.minidl.seconds <= 60:
        yield f"runs for {nb.metadata.minidl.seconds} s"


def predictions(nb):
    asked = [i for i, c in enumerate(nb.cells) if "**Predict.**" in c.source]
    if len(asked) < 3:
        yield f"{len(asked)} predictions"
    for i in asked:
        if "*Your prediction:* ....." not in nb.cells[i].source:
            yield f"{nb.cells[i].id}: no room to write a prediction"
        if nb.cells[i + 1].cell_type != "code":
            yield f"{nb.cells[i].id}: no cell shows what was to be predicted"


def tone(nb):
    text = prose(nb)
    for word in re.findall(r"\b(?:simply|just|obviously)\b", text, re.IGNORECASE):
        yield f"the word {word}"
    for sign in re.findall(r"!|[\U0001F000-\U0001FAFF\u2600-\u27BF\uFE0F]", text):
        yield f"the sign {sign!r}"


def numbers(nb):
    """A number of three or more digits, or with a decimal point, is in a cell or its output."""
    known = "\n".join(cell.source + "\n" + printed(cell) for cell in cells(nb, "code"))
    known = set(re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d)[,_](?=\d{3})", "", known)))
    text = re.sub(r"\*\*Sources\.\*\*.*", "", re.sub(r"(?<=\d),(?=\d{3})", "", prose(nb)))
    for number in re.findall(r"(?<![\w.])(?:\d+\.\d+|\d{3,})(?![\w]|\.\d)", text):
        task = re.match(r"0?\d\d\.\d$", number) and f"**{number}**" in text
        if number not in known and not task:
            yield f"no cell prints {number}"


def outputs(nb):
    code = cells(nb, "code")
    for cell, after in zip(code, [*code[1:], None]):
        if cell in figures(nb) and not re.search(r"\d", printed(cell)):
            yield f"{cell.id}: a figure, and no printed number beside it"
        for output in cell.outputs:
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"{cell.id}: shows an error or a warning"
        if "interact(" in cell.source:
            continue
        if "nbval-ignore-output" in cell.metadata.get("tags", []):
            inside = ast.walk(ast.parse(after.source)) if after else ()
            if not any(isinstance(node, ast.Assert) for node in inside):
                yield f"{cell.id}: its output is not compared, and no asserting cell follows"


def play(nb):
    """A control to play with; a reader without a kernel has the figure that it moves above it."""
    code = cells(nb, "code")
    controls = [i for i, cell in enumerate(code) if re.search(r"^interact\(", cell.source, re.M)]
    if not controls:
        yield "there is no interact( to play with"
    for i in controls:
        if code[i].outputs or "nbval-ignore-output" not in code[i].metadata.get("tags", []):
            yield f"{code[i].id}: a control stores no output, and has the tag nbval-ignore-output"
        if not i or code[i - 1] not in figures(nb):
            yield f"{code[i].id}: the cell above the control shows no figure"


def links(nb, folder=ROOT / "course"):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", "\n".join(c.source for c in nb.cells)):
        if not (folder / link).exists():
            yield f"the link {link} leads nowhere"


# --- homes -----------------------------------------------------------------------------------


def public(module):
    """The public names that a module defines."""
    return [n for n in build.definitions(SOURCE[module]) if "." not in n and n[0] != "_"]


def explained_in(module):
    """Numbers of the lessons that the module's own docstring names."""
    said = ast.get_docstring(ast.parse(SOURCE[module])).partition("Explained in ")[2]
    return {int(number) for number in re.findall(r"course/(\d\d)", said)}


def module_and_name(name):
    """("engine.ops", "add") of "engine.ops.add"."""
    module, _, name = name.rpartition(".")
    return module, name


EVERYTHING = {f"{module}.{name}" for module in MODULES for name in public(module)}


def homes(lessons):
    """({"engine.ops.add": 7, ...}, faults) of {number: notebook}."""
    found, faults = {}, []
    for number, nb in sorted(lessons.items()):
        for entry in nb.metadata.minidl.get("home", []):
            names = public(entry) if entry in MODULES else []
            for name in [f"{entry}.{n}" for n in names] or [entry]:
                module = module_and_name(name)[0]
                if name not in EVERYTHING:
                    faults.append(f"lesson {number} is home to {name}, which is not there")
                elif name in found:
                    faults.append(f"{name} has two homes, {found[name]} and {number}")
                elif number not in explained_in(module):
                    faults.append(f"the docstring of {module} does not name {number}")
                found.setdefault(name, number)
    written = set(lessons)
    for name in sorted(EVERYTHING - set(found)):
        if explained_in(module_and_name(name)[0]) <= written:
            faults.append(f"{name} has no home, and the lessons that could be are written")
    return found, faults


def uses(nb):
    """("engine.ops.add", cell) for each public name of minidl that a notebook's code reaches."""
    modules, others = {}, set()  # others: np, math, whose functions have the same names

    def know(name, module):
        """From here on `name` is this module of minidl, and name.x the module x inside it."""
        modules[name] = module
        inside = f"{module}." if module else ""
        modules.update((f"{name}.{m[len(inside) :]}", m) for m in MODULES if m.startswith(inside))

    for cell in cells(nb, "code"):
        tree = ast.parse(re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    if name.name.partition(".")[0] != "minidl":
                        others.add(name.asname or name.name)
                    elif name.asname:
                        know(name.asname, name.name.partition(".")[2])
                    else:
                        know("minidl", "")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minidl"):
                inside = node.module.partition(".")[2]
                for name in node.names:
                    module = f"{inside}.{name.name}".strip(".")
                    if module in MODULES:
                        know(name.asname or name.name, module)
                    else:
                        yield f"{defined_in(inside, name.name)}.{name.name}", cell.id
            elif isinstance(node, ast.Attribute):
                base = ast.unparse(node.value)
                if base in modules:
                    yield f"{defined_in(modules[base], node.attr)}.{node.attr}", cell.id
                elif node.attr in METHODS and base not in others:
                    yield METHODS[node.attr], cell.id


def defined_in(module, name):
    """The module that defines what `module` offers by this name: nn.Module is nn.module's."""
    if f"{module}.{name}" in EVERYTHING:
        return module
    for node in ast.walk(ast.parse(SOURCE.get(module, ""))):
        if isinstance(node, ast.ImportFrom) and name in [n.name for n in node.names]:
            if not node.level or not node.module:  # from elsewhere, or a module as such
                return module
            file = FILES[module].parents[node.level - 1] / node.module.replace(".", "/")
            return defined_in(module_of(file), name)
    return module


def _methods():
    """Methods of Tensor that are primitives, except those that an array has under the same name."""
    import numpy as np

    from minidl import Tensor
    from minidl.engine.tensor import primitives

    names = {name.rpartition(".")[2]: name for name in EVERYTHING}
    shared = {n for n in primitives if hasattr(np.ndarray, n) or not hasattr(Tensor, n)}
    return {n: names[n] for n in primitives if n in names and n not in shared}


METHODS = _methods()


def forward_uses(number, nb, home):
    for name, cell in uses(nb):
        if name not in EVERYTHING or module_and_name(name)[1].startswith("_"):
            continue
        if home.get(name, 99) > number:
            yield f"{cell}: {name}, whose home is {home.get(name, 'a lesson not yet written')}"


def number_of(path):
    return int(path.name[:2])


# --- the lessons keep the rules -----------------------------------------------------------------

RULES = [parts, length, predictions, tone, numbers, outputs, play, links]
NOTEBOOKS = {number_of(path): build.read(path) for path in LESSONS}
HOME, HOME_FAULTS = homes(NOTEBOOKS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons(path, rule):
    assert list(rule(NOTEBOOKS[number_of(path)])) == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_exercises_show_what_they_say(path):
    nb = build.read(path)
    assert [*outputs(nb), *tone(nb), *links(nb, ROOT / "solutions")] == []


def test_every_public_name_has_one_home(note):
    assert HOME_FAULTS == []
    waiting = {}
    for name in sorted(EVERYTHING - set(HOME)):
        module, name = module_and_name(name)
        waiting.setdefault(module, []).append(name)
    for module, names in waiting.items():
        lessons = sorted(explained_in(module) - set(NOTEBOOKS))
        note(f"{module}: {len(names)} names wait for lesson {lessons}: {', '.join(names)}")


@pytest.mark.parametrize("path", LESSONS + SOLUTIONS, ids=lambda path: f"{path.parent.name}")
def test_no_name_is_used_before_its_lesson(path):
    assert list(forward_uses(number_of(path), build.read(path), HOME)) == []


def test_everything_is_copied_run_in_normal_form_and_made(capsys):
    code = build.main(["--check"])
    said = "".join(capsys.readouterr()).splitlines()
    mine = [line for line in said if "holds somebody's work" in line]
    if mine and mine == said:  # a learner's machine; CI lets nothing wait
        pytest.skip(f"waits for exercises without answers ({len(mine)} hold yours)")
    assert code == 0, said


def test_each_exercise_has_its_solution():
    names = {path.name for path in SOLUTIONS}
    assert names == {path.name for path in (ROOT / "exercises").glob("*.ipynb")}
    assert names <= {path.name for path in LESSONS}


# --- the rules notice -------------------------------------------------------------------------

LESSON = NOTEBOOKS[7]


def spoilt(change):
    nb = copy.deepcopy(LESSON)
    change(nb)
    return nb


def replace(before, after, kind="markdown"):
    """A change of the first cell that holds a text; the text must be there."""

    def change(nb):
        cell = next(c for c in cells(nb, kind) if before in c.source)
        cell.source = cell.source.replace(before, after, 1)

    return change


def add(source, kind="markdown"):
    def change(nb):
        new = build.v4.new_code_cell if kind == "code" else build.v4.new_markdown_cell
        nb.cells.append(new(source, id="new"))

    return change


def print_nothing(nb):
    for cell in figures(nb):
        cell.outputs = [o for o in cell.outputs if "data" in o]


def show_again(nb):
    nb.cells += [copy.deepcopy(figures(nb)[0]) for _ in range(3)]


def assert_nothing(nb):
    for cell in cells(nb, "code"):
        cell.source = cell.source.replace("assert ", "")


def warn(nb):
    nb.cells[3].outputs.append(build.v4.new_output("stream", name="stderr", text="Warning"))


def slow(nb):
    nb.metadata.minidl.seconds = 61


SPOILT = [
    (parts, replace("## Mathematics", "## Symbols"), "the sections are"),
    (parts, replace("How do whole arrays remember?", "Arrays"), "the header lacks"),
    (parts, replace("**You will be able to**", "You will"), "the header lacks"),
    (parts, replace("**Needs lessons**", ""), "what is needed"),
    (parts, replace("**Minutes** 65", "**Minutes** 90"), "90 minutes"),
    (parts, replace("<details>", ""), "three folded answers"),
    (parts, replace("2. In which order", "In which order"), "Recall has not 3"),
    (parts, replace("5. The walk", "- The walk"), "Recap has not 5"),
    (parts, replace("3. Put the training", "Put the training"), "Investigate has not 3"),
    (parts, replace(r"\tag{1}", r"\tag{1} \tag{1a}"), "six numbered equations"),
    (parts, replace("| Keras (TensorFlow) |", "| TensorFlow |"), "no table of"),
    (parts, replace("**The next question", "**Later"), "the next question"),
    (length, add("word " * 900), "words"),
    (length, lambda nb: nb.cells.__delitem__(slice(20, None)), "words"),
    (length, lambda nb: nb.cells.__delitem__(slice(20, None)), "code cells"),
    (length, add("x = 1\n" * 51, "code"), "51 at most"),
    (length, show_again, "figures"),
    (length, slow, "61 s"),
    (predictions, replace("*Your prediction:* ....", ""), "no room"),
    (predictions, replace("**Predict.**", "**Guess.**"), None),
    (predictions, lambda nb: nb.cells.__delitem__(slice(30, None)), "2 predictions"),
    (predictions, lambda nb: nb.cells.insert(7, nb.cells[0]), "no cell shows"),
    (tone, add("It is simply a sum."), "the word simply"),
    (tone, add("Done!"), "the sign '!'"),
    (tone, add("A rocket \N{ROCKET}"), "the sign"),
    (tone, add("`x != y`, and $n!$"), None),
    (numbers, replace("128,000 objects", "127,000 objects"), "no cell prints 127000"),
    (numbers, add("An accuracy of 0.97."), "no cell prints 0.97"),
    (outputs, print_nothing, "no printed number"),
    (outputs, assert_nothing, "no asserting cell"),
    (outputs, warn, "error or a warning"),
    (links, add("[it](../minidl/nowhere.py)"), "nowhere.py leads nowhere"),
]


@pytest.mark.parametrize("rule, change, sentence", SPOILT)
def test_each_rule_notices(rule, change, sentence):
    found = list(rule(spoilt(change)))
    assert found == [] if sentence is None else any(sentence in fault for fault in found)


@pytest.mark.parametrize(
    "code, name",
    [
        ("from minidl.nn import Linear", "nn.layers.Linear"),
        ("from minidl import nn\nnn.Linear(3, 4)", "nn.layers.Linear"),
        ("from minidl import nn\nnn.Sequential()", "nn.module.Sequential"),
        ("from minidl.nn import Module", "nn.module.Module"),
        ("import minidl.optim as o\no.SGD", "optim.SGD"),
        ("import minidl\nminidl.nn.Linear", "nn.layers.Linear"),
        ("import minidl.nn.functional\nminidl.nn.functional.gelu", "nn.functional.gelu"),
        ("from minidl import nn\nnn.functional.gelu", "nn.functional.gelu"),
        ("from minidl import where", "engine.ops.where"),
        ("import minidl\nminidl.compile", "graph.compiled.compile"),
        ("from minidl.engine.tensor import clock", "engine.changes.clock"),
        (
            "from minidl.nn import functional as F\ndef f(x):\n    return F.gelu(x)",
            "nn.functional.gelu",
        ),
        ("y = x.sqrt()", "engine.ops.sqrt"),
        ("import math\nmath.sqrt(np.sqrt(2))", None),
        ("from minidl.engine.ops import maximum", "engine.ops.maximum"),
        ("from minidl.engine.ops import mul\nfrom minidl import grad\nnp.maximum(1, 2)", None),
    ],
)
def test_a_name_before_its_lesson_is_noticed(code, name):
    found = list(forward_uses(7, spoilt(add(code, "code")), HOME))
    assert found == [] if name is None else any(name in fault for fault in found)
    assert list(forward_uses(30, spoilt(add(code, "code")), dict.fromkeys(EVERYTHING, 29))) == []


@pytest.mark.slow
def test_wrong_homes_are_noticed():
    def at(number, *home):
        nb = copy.deepcopy(LESSON)
        nb.metadata.minidl.home = list(home)
        return {number: nb}

    def faults(lessons):
        return "\n".join(homes(lessons)[1])

    assert "two homes, 7 and 8" in faults(at(7, "engine.ops.add") | at(8, "engine.ops.add"))
    assert "engine.ops.nothing, which is not there" in faults(at(7, "engine.ops.nothing"))
    assert "engine.nothing, which is not there" in faults(at(7, "engine.nothing"))
    assert "docstring of nn.layers does not name 7" in faults(at(7, "nn.layers.Linear"))
    assert "engine.devices.array_module has no home" in faults(at(7, "engine.tensor"))
    nine = "nn.module", "nn.layers", "nn.init"
    every = {f"{module}.{name}": 9 for module in nine for name in public(module)}
    assert homes(at(9, *nine)) == (every, [])


# --- the tool that copies ----------------------------------------------------------------------


@pytest.fixture
def copy_of_course(tmp_path):
    """The package, and of the course lesson 07 with its exercise."""
    shutil.copytree(ROOT / "minidl", tmp_path / "minidl")
    for folder in ("course", "solutions", "exercises"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / "07_tensor.ipynb", tmp_path / folder)
    shutil.copy(ROOT / "course" / "live.py", tmp_path / "course")
    return tmp_path


def stale(root, capsys):
    code = build.main(["--check"], root=root)
    said = capsys.readouterr()
    assert code == (1 if said.out + said.err != "everything is up to date\n" else 0)
    return said.out + said.err


def edit(path, before, after):
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


@pytest.mark.parametrize(
    "file, before, after, sentence",
    [
        (
            "minidl/engine/ops.py",
            "lambda: g * b, lambda: g * a",
            "lambda: b * g, lambda: g * a",
            "mul: is",
        ),
        (
            "minidl/engine/gradients.py",
            "found.append((y,",
            "found.append((y ,",
            "walk: is not what",
        ),
        ("course/07_tensor.ipynb", "lambda: g * b,", "lambda: g * b ,", "mul: is not what"),
        (
            "course/07_tensor.ipynb",
            "# minidl/engine/ops.py: mul",
            "# minidl/engine/ops.py: mull",
            "mull",
        ),
        (
            "course/07_tensor.ipynb",
            "# minidl/engine/ops.py: mul",
            "# minidl/engine/ops: mul",
            "is no marker",
        ),
        ("course/07_tensor.ipynb", '"execution_count": 7', '"execution_count": 9', "was not run"),
        ("course/07_tensor.ipynb", "range(300)", "range(301)", "was not run"),
        (
            "course/07_tensor.ipynb",
            '"metadata": {}',
            '"metadata": {"trusted": true}',
            "normal form",
        ),
        ("solutions/07_tensor.ipynb", "### END SOLUTION", "### END", "no exercise"),
        ("exercises/07_tensor.ipynb", "NotImplementedError", "OSError", "somebody's work"),
    ],
)
def test_what_is_stale_is_noticed(copy_of_course, capsys, file, before, after, sentence):
    assert stale(copy_of_course, capsys) == "everything is up to date\n"
    edit(copy_of_course / file, before, after)
    files = sorted(p for p in copy_of_course.rglob("*") if p.is_file())
    as_they_were = [path.read_bytes() for path in files]
    assert sentence in stale(copy_of_course, capsys)
    assert [path.read_bytes() for path in files] == as_they_were


def test_copying_runs_what_changed_and_nothing_else(copy_of_course, capsys):
    lesson = copy_of_course / "course" / "07_tensor.ipynb"
    nb = build.read(lesson)
    nb.cells = [nb.cells[0], *(c for c in nb.cells if c.source == "%load_ext course.live")]
    nb.cells += [c for c in LESSON.cells if "minidl/engine/ops.py: mul\n" in c.source]
    nb.cells += [build.v4.new_code_cell("print(2 + 2)")]
    lesson.write_text(build.text(nb), encoding="utf-8")
    edit(copy_of_course / "minidl" / "engine" / "ops.py", "a * b, element by element", "a times b")
    assert build.main([str(lesson)], root=copy_of_course) == 0
    said = capsys.readouterr().out
    assert "mul: copied" in said and "ran in" in said
    made = build.read(lesson)
    assert "a times b" in made.cells[2].source and printed(made.cells[3]) == "4\n"
    assert build.main([str(lesson)], root=copy_of_course) == 0
    assert capsys.readouterr().out == "everything is up to date\n"
    (copy_of_course / "exercises" / "07_tensor.ipynb").unlink()
    assert build.main([], root=copy_of_course) == 0
    made = (copy_of_course / "exercises" / "07_tensor.ipynb").read_bytes()
    assert made == (ROOT / "exercises" / "07_tensor.ipynb").read_bytes()
    assert b"BEGIN SOLUTION" not in made and b"NotImplementedError" in made
