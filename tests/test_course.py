"""The rules of the course: what a lesson is made of, and that it agrees with the package.

Each rule is a function that yields a sentence for each fault; each is tried on the lessons, where
it must find nothing, and on a lesson that was spoilt on purpose, where it must find that.
"""

import ast
import copy
import importlib.util
import re
import runpy
import shutil
import socket
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
    Recall, The problem, Intuition, By hand, Mathematics, Draft, Package, Experiments,
    Misconception, Investigate, Exercises, Recap
"""
SECTIONS = re.sub(r"\s+", " ", SECTIONS).strip()


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
    return plain("\n\n".join(cell.source for cell in cells(nb, "markdown")))


def plain(text):
    left_out = r"```.*?```", r"\$\$.*?\$\$", r"\$[^$]+\$", r"`[^`\n]*`", r"</?\w+>", r"\.{5,}"
    for part in left_out:
        text = re.sub(part, " ", text, flags=re.DOTALL)
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
    found = ", ".join(text)
    # The misconception stands where it fits best.
    after, others = found.partition("Misconception, ")[0], SECTIONS.replace("Misconception, ", "")
    right = found.replace("Misconception, ", "", 1) == others and "The problem" in after
    if not right or after.count(", ") >= others.count(", ") - 1:
        yield f"the sections are {found}"
        return
    header = nb.cells[0].source
    for wanted in (r"# \d\d · .+\?\n", r"\*\*You will be able to\*\*", r"\*\*Home of\*\*"):
        if not re.search(wanted, header):
            yield f"the header lacks {wanted}"
    took = re.search(r"\*\*Minutes\*\* (\d+)", header)
    if not re.search(r"\*\*Needs lessons?\*\*", header) or not took:
        yield "the header lacks what is needed, or the minutes"
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
    if all(c.cell_type == "markdown" for name, c in by_section(nb) if name == "Misconception"):
        yield "no cell refutes the misconception"


def length(nb):
    left_out = "", "Recall", "Exercises", "Recap"
    words = sum(
        words_of(cell.source)
        for section, cell in by_section(nb)
        if cell.cell_type == "markdown" and section not in left_out
    )
    if not 1200 <= words <= 2200:
        yield f"{words} words"
    apart = {"your-turn", "check", "hide-input"}
    read = [cell for cell in cells(nb, "code") if not apart & set(tags(cell))]
    lines = [len(cell.source.splitlines()) for cell in read]
    if not 20 <= len(lines) <= 30:
        yield f"{len(lines)} code cells"
    longest = max(len(cell.source.splitlines()) for cell in cells(nb, "code"))
    if statistics.median(lines) > 8 or longest > 50:
        yield f"code cells of {statistics.median(lines)} lines in the median, {longest} at most"
    n = sum("optional" not in tags(cell) for cell in figures(nb))  # as in the minutes
    if not 4 <= n <= 6:
        yield f"{n} figures"
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
        elif "hide-output" not in tags(nb.cells[i + 1]):
            yield f"{nb.cells[i + 1].id}: tells what was to be predicted, not tagged hide-output"


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
    text = re.sub(r"(?<=\d),(?=\d{3})", "", prose(nb))
    text = re.sub(r"\*\*(?:Sources\.|Minutes)\*\*.*", "", text)
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
    for link in re.findall(
        r"\]\((?!https?:|#)([^)#]+)", "\n".join(c.source for c in cells(nb, "markdown"))
    ):
        if not (folder / link).exists():
            yield f"the link {link} leads nowhere"


# --- what the reader does, and sees ---------------------------------------------------------


def tags(cell):
    return cell.metadata.get("tags", [])


def code_lines(cell):
    return [line for line in cell.source.splitlines() if line.strip()]


def words_of(source):
    return len(re.findall(r"\w[\w'’.,-]*", plain(source)))


def calls(cell, name):
    """The calls of a function by this name in a code cell."""
    if name not in cell.source:
        return []
    tree = ast.parse(re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if ast.unparse(node.func) == name]


def by_section(nb):
    """Each cell with the name of the section that it stands in; "" in the header."""
    name = ""
    for cell in nb.cells:
        if cell.cell_type == "markdown" and (heading := re.match(r"## ([^:,\n]+)", cell.source)):
            name = heading[1].strip()
        yield name, cell


def cost(section, cell):
    """Minutes that a cell takes, by course.md's rule."""
    if cell.cell_type == "code":
        read = 0 if "hide-input" in tags(cell) else len(code_lines(cell)) / 6
        turned = 4 * ("your-turn" in tags(cell))
        return 1.5 * (read + turned + 2 * bool(calls(cell, "show")))
    if section in ("Recall", "Investigate"):
        return 2 * len(re.findall(r"^\d\. ", cell.source, re.MULTILINE))
    if section in ("", "Exercises"):
        return 0
    source = re.sub(r"\*\*Sources\.\*\*.*", "", cell.source)
    asked = source.count(r"\tag{") + source.count("**Predict.**")
    return 1.5 * (words_of(source) / 130 + 2 * asked)


def computed(nb):
    """(minutes, optional minutes, minutes of exercises), rounded to 5."""
    needed = optional = tasks = 0
    for section, cell in by_section(nb):
        if "optional" in tags(cell):
            optional += cost(section, cell)
        else:
            needed += cost(section, cell)
        if section == "Exercises" and cell.cell_type == "markdown":
            tasks += len(re.findall(r"^- \*\*\d\d\.\d\*\*", cell.source, re.MULTILINE))
    return 5 * round(needed / 5), 5 * round(optional / 5), 10 * tasks


def minutes(nb):
    needed, optional, exercises = computed(nb)
    right = f"**Minutes** {needed}, " + f"optional {optional}, " * bool(optional)
    right += f"exercises {exercises}."
    said = re.search(r"\*\*Minutes\*\*.*", nb.cells[0].source)
    if not said or not said[0].startswith(right):
        yield f"the header says {said and said[0]!r}, computed is {right!r}"
    if needed > 140:
        yield f"{needed} minutes, 140 are the most"
    before = None
    for cell in nb.cells:
        first = "optional" in tags(cell) and before is not None and "optional" not in tags(before)
        if first and not re.match(r"(#+ .*\n+)?\*\*Optional\.\*\*", cell.source):
            yield f"{cell.id}: an optional part does not begin with **Optional.**"
        before = cell


def pause(nb):
    so_far, at, whole = 0.0, [], 0.0
    for section, cell in by_section(nb):
        if cell.cell_type == "markdown" and cell.source.startswith("**Pause.**"):
            at.append((cell, whole))
        if "optional" not in tags(cell):
            whole += cost(section, cell)
    if len(at) != 1:
        yield f"{len(at)} cells begin with **Pause.**"
    for cell, so_far in at:
        if not 0.3 <= so_far / whole <= 0.7:
            yield f"{cell.id}: the pause comes after {100 * so_far / whole:.0f} % of the minutes"
        if words_of(cell.source) < 12:
            yield f"{cell.id}: the pause does not say in two lines what is known"


def blanks(source):
    """(number of right-hand sides that are blank, number of other Ellipses) of a code cell."""
    whole = 0
    tree = ast.parse(source)
    sides = [
        n.value for n in ast.walk(tree) if isinstance(n, (ast.Assign, ast.Return, ast.AnnAssign))
    ]
    for side in sides:
        parts = side.elts if isinstance(side, ast.Tuple) else [side]
        whole += sum(isinstance(p, ast.Constant) and p.value is ... for p in parts)
    every = sum(isinstance(n, ast.Constant) and n.value is ... for n in ast.walk(tree))
    return whole, every - whole


ANSWER = re.compile(
    r"<details><summary>Answer</summary>\n\n```python\n(.*?)\n```\n(.*?)</details>", re.DOTALL
)


def your_turns(nb):
    """(question, blank cell, check cell, answer) of each your-turn that has them all."""
    for i, cell in enumerate(nb.cells):
        if "your-turn" in tags(cell) and 0 < i < len(nb.cells) - 2:
            yield nb.cells[i - 1], cell, nb.cells[i + 1], nb.cells[i + 2]


def turns(nb):
    found = list(your_turns(nb))
    if not 2 <= len(found) <= 4:
        yield f"{len(found)} your-turns"
    known = {check.id for _, _, check, _ in found}
    for cell in cells(nb, "code"):
        if cell.id not in known and ("check" in tags(cell) or calls(cell, "turn")):
            yield f"{cell.id}: a check that stands below no your-turn"
    asked = [c for c in cells(nb, "markdown") if c.source.startswith("**Your turn.**")]
    if len(asked) != len(found):
        yield f"{len(asked)} cells begin with **Your turn.**, {len(found)} are tagged your-turn"
    for question, blank, check, answer in found:
        where = blank.id
        if not question.source.startswith("**Your turn.**"):
            yield f"{where}: the cell above does not begin with **Your turn.**"
        whole, other = blanks(blank.source)
        if not whole or other:
            yield f"{where}: a blank is a whole right-hand side, `slope = ...` or `return ...`"
        if blank.outputs:
            yield f"{where}: the blank cell prints something"
        if not {"check", "hide-input"} <= set(tags(check)) or not calls(check, "turn"):
            yield f"{where}: below it no cell tagged check and hide-input calls turn("
        else:
            lines = printed(check).splitlines()
            if not lines or set(lines) != {"Your turn: not tried yet."}:
                yield f"{check.id}: untouched, it prints {lines}"
        match = ANSWER.search(answer.source)
        if not match:
            yield f"{where}: its answer is not folded, with a python block, below the check"
        elif sum(blanks(match[1])):
            yield f"{where}: its answer leaves a blank"
        elif words_of(match[2]) < 3:
            yield f"{where}: its answer does not say why"


def shown(nb):
    for cell in cells(nb, "code"):
        if calls(cell, "plt.show"):
            yield f"{cell.id}: plt.show() in place of show(words)"
        if calls(cell, "show") and len(code_lines(cell)) > 12 and "hide-input" not in tags(cell):
            yield f"{cell.id}: {len(code_lines(cell))} lines that draw, not tagged hide-input"
    for cell in figures(nb):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                said = output.metadata.get("image/png", {}).get("alt", "")
                if words_of(said) < 8:
                    yield f"{cell.id}: a figure says in {words_of(said)} words what it shows"


LATER = r"\[[Ll]esson \d\d, later\]\([^)]*\)|[Ll]esson \d\d \(later(?:, not written yet)?\)"


def lessons_named(nb):
    number = int(nb.cells[0].source[2:4])
    for cell in cells(nb, "markdown"):
        for form in re.findall(LATER, cell.source):
            if int(re.search(r"\d\d", form)[0]) <= number:
                yield f"{cell.id}: {form!r} is not later"
        rest = re.sub(LATER, "", cell.source)
        for form in re.findall(r"[Ll]essons? \d+(?:(?:,? and|,| to| or|–) \d+)*", rest):
            if late := [n for n in re.findall(r"\d+", form) if int(n) > number]:
                yield f"{cell.id}: {form!r}: a later one is written `lesson {late[0]} (later)`"
            if any(len(n) != 2 for n in re.findall(r"\d+", form)):
                yield f"{cell.id}: {form!r}: two digits"


GREEK = dict(
    zip(
        """alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu
        xi pi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma
        Phi Psi Omega""".split(),
        "αβγδεεζηθϑικλμνξπρστυφφχψωΓΔΘΛΞΠΣΦΨΩ",
    )
)


def letters_in(formula):
    """The single letters of a formula, without indices; words and names of functions are none."""
    formula = re.sub(r"\\(text|mathrm|operatorname|tag|begin|end)\*?\{[^{}]*\}", " ", formula)
    formula = re.sub(r"\^?\{?\\mathsf\s*\{?T\}?\}?|\^\\top|\\[tdn]?frac", " ", formula)
    formula = re.sub(r"\\(?:hat|widehat)\s*\{?y\}?", " ŷ ", formula)
    formula = re.sub(r"\\([A-Za-z]+)", lambda m: f" {GREEK.get(m[1], '')} ", formula)
    while formula != (formula := re.sub(r"_(\{[^{}]*\}|\s*[^\s{}])", " ", formula)):
        pass
    return set(re.findall(r"[^\W\d_]", formula))


def table_of_letters():
    rows = (ROOT / "course" / "letters.md").read_text(encoding="utf-8").splitlines()
    cells = [row.split("|")[1] for row in rows if row.startswith("| `")]
    return {letter for cell in cells for letter in re.findall(r"`(.+?)`", cell)}


def letters(nb):
    text = "\n\n".join(re.sub(r"`[^`\n]*`", "", c.source) for c in cells(nb, "markdown"))
    formulas = [a or b for a, b in re.findall(r"\$\$(.*?)\$\$|\$([^$\n]+)\$", text, re.DOTALL)]
    strangers = set().union(*map(letters_in, formulas)) - table_of_letters()
    if strangers:
        yield f"not in course/letters.md: {', '.join(sorted(strangers))}"


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

WHAT_IT_HOLDS = [parts, length, predictions, tone, numbers, outputs, play, links]
WHAT_A_READER_DOES = [minutes, pause, turns, shown, lessons_named, letters]
NOTEBOOKS = {number_of(path): build.read(path) for path in LESSONS}
HOME, HOME_FAULTS = homes(NOTEBOOKS)


@pytest.mark.parametrize("rule", WHAT_IT_HOLDS + WHAT_A_READER_DOES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons(path, rule):
    assert list(rule(NOTEBOOKS[number_of(path)])) == []


def test_the_whole_course_runs_in_20_minutes():
    """By the seconds that each lesson took when it was last built, one after the other."""
    assert sum(nb.metadata.minidl.seconds for nb in NOTEBOOKS.values()) <= 20 * 60


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


def warn(nb):
    nb.cells[3].outputs.append(build.v4.new_output("stream", name="stderr", text="Warning"))


def slow(nb):
    nb.metadata.minidl.seconds = 61


def uncovered(nb):
    """A text between a prediction and the cell that answers it."""
    asked = next(i for i, c in enumerate(nb.cells) if "**Predict.**" in c.source)
    nb.cells.insert(asked + 1, nb.cells[0])


def ignore_output(nb):
    cells(nb, "code")[1].metadata["tags"] = ["nbval-ignore-output"]


SPOILT = [
    (parts, replace("## Mathematics", "## Symbols"), "the sections are"),
    (parts, replace("How do whole arrays remember?", "Arrays"), "the header lacks"),
    (parts, replace("**You will be able to**", "You will"), "the header lacks"),
    (parts, replace("**Needs lessons**", ""), "what is needed"),
    (parts, replace("<details>", ""), "three folded answers"),
    (parts, replace("2. In which order", "In which order"), "Recall has not 3"),
    (parts, replace("5. The walk", "- The walk"), "Recap has not 5"),
    (parts, replace("3. Put the training", "Put the training"), "Investigate has not 3"),
    (parts, replace(r"\tag{1}", r"\tag{1} \tag{1a} \tag{1b} \tag{1c}"), "six numbered equations"),
    (parts, replace("| Keras (TensorFlow) |", "| TensorFlow |"), "no table of"),
    (parts, replace("**The next question", "**Later"), "the next question"),
    (length, replace("## Intuition", f"## Intuition\n\n{'word ' * 900}\n\n"), "words"),
    (length, lambda nb: nb.cells.__delitem__(slice(20, None)), "words"),
    (length, lambda nb: nb.cells.__delitem__(slice(20, None)), "code cells"),
    (length, add("x = 1\n" * 51, "code"), "51 at most"),
    (length, show_again, "figures"),
    (length, slow, "61 s"),
    (predictions, replace("*Your prediction:* ....", ""), "no room"),
    (predictions, replace("**Predict.**", "**Guess.**"), None),
    (predictions, lambda nb: nb.cells.__delitem__(slice(20, None)), "0 predictions"),
    (predictions, uncovered, "no cell shows"),
    (tone, add("It is simply a sum."), "the word simply"),
    (tone, add("Done!"), "the sign '!'"),
    (tone, add("A rocket \N{ROCKET}"), "the sign"),
    (tone, add("`x != y`, and $n!$"), None),
    (numbers, replace("128,000 objects", "127,000 objects"), "no cell prints 127000"),
    (numbers, add("An accuracy of 0.9713."), "no cell prints 0.9713"),
    (outputs, print_nothing, "no printed number"),
    (outputs, ignore_output, "no asserting cell"),
    (outputs, warn, "error or a warning"),
    (links, add("[it](../minidl/nowhere.py)"), "nowhere.py leads nowhere"),
]


@pytest.mark.parametrize("rule, change, sentence", SPOILT)
def test_each_rule_notices(rule, change, sentence):
    found = list(rule(spoilt(change)))
    assert found == [] if sentence is None else any(sentence in fault for fault in found)


# A lesson that keeps the rules, as small as they allow.

HEADER = """# 07 · Does it hold?

**You will be able to**
- hold.

**Home of** nothing.
**Needs lessons** 06.
**Minutes** 70, exercises 20."""

RECALL = "1. What?\n\n<details><summary>Answer</summary>\nThat.\n</details>\n\n"
YOUR_TURN = "**Your turn.** Twice x, in one line."
BLANK = "twice = ..."
CHECK = "turn(twice, 3 + 3)"
ANSWER_CELL = """<details><summary>Answer</summary>

```python
twice = 3 * 2
```

Twice is times two.
</details>"""
PREDICT = "**Predict.** More or less?\n\n*Your prediction:* ...................."
WORDS = "A line that rises from the left to the right, always."
RECAP = """## Recap

1. a
2. b
3. c
4. d
5. e

| what | minidl | PyTorch | Keras | scikit-learn |
|---|---|---|---|---|

**Sources.** Somebody 1958.

**The next question (08).** Which?"""


def specimen():
    made = build.v4.new_notebook()
    made.metadata.minidl = build.nbformat.from_dict({"seconds": 1.0, "home": []})

    def text(source, *tags):
        made.cells.append(build.v4.new_markdown_cell(source, metadata={"tags": [*tags]}))

    def code(source, *tags, printed="", figure=False):
        cell = build.v4.new_code_cell(source, metadata={"tags": [*tags]})
        if figure:
            data, alt = {"image/png": "", "text/plain": WORDS}, {"image/png": {"alt": WORDS}}
            cell.outputs.append(build.v4.new_output("display_data", data=data, metadata=alt))
        if printed:
            cell.outputs.append(build.v4.new_output("stream", text=printed))
        made.cells.append(cell)

    def turned():
        text(YOUR_TURN)
        code(BLANK, "your-turn")
        code(CHECK, "check", "hide-input", printed="Your turn: not tried yet.\n")
        text(ANSWER_CELL)

    text(HEADER)
    text(
        "## Recall\n\n"
        + RECALL
        + RECALL.replace("1.", "2.").replace("What", "Who")
        + RECALL.replace("1.", "3.")
    )
    text("## The problem: it\n\nSee lesson 06, and lesson 08 (later). " + "word " * 600)
    for _ in range(3):
        text(PREDICT)
        code('plt.plot(x)\nshow("A line.")', "hide-output", printed="3\n", figure=True)
    text("## Intuition")
    turned()
    text("**Pause.** So far a line rises, and it is known that it does not fall again.")
    text("## By hand: two rows")
    code(f"show({WORDS!r})\n" + "plt.plot(x)\n" * 12, "hide-input", printed="4\n", figure=True)
    text("## Mathematics\n\n$$x_{n}=\\frac{w}{\\hat{y}_k} \\tag{1}$$")
    turned()
    for name in ("Draft", "Package", "Experiments"):
        text(f"## {name}\n\n" + "word " * 200)
        for _ in range(6):
            code("x = 1")
    text("## Misconception: never")
    code("x = 1")
    text("## Investigate\n\n1. a\n2. b\n3. c")
    text("## Exercises\n\n- **07.1** one\n- **07.2** two")
    text(RECAP)
    for i, cell in enumerate(made.cells):
        cell.id = f"c{i:02}"
    return made


def retag(old, new, source):
    """A change of a tag of the first code cell that holds a text."""

    def change(nb):
        cell = next(c for c in cells(nb, "code") if source in c.source and old in tags(c))
        cell.metadata.tags = [new if tag == old else tag for tag in cell.metadata.tags]

    return change


def move(start, to):
    """A change: the first cell that begins so stands before the first that begins otherwise."""

    def change(nb):
        cell = next(c for c in nb.cells if c.source.startswith(start))
        nb.cells.remove(cell)
        at = next(i for i, c in enumerate(nb.cells) if c.source.startswith(to))
        nb.cells.insert(at, cell)

    return change


def drop(start):
    def change(nb):
        nb.cells.remove(next(c for c in nb.cells if c.source.startswith(start)))

    return change


def optional(source):
    def change(nb):
        for i, cell in enumerate(nb.cells):
            if cell.source.startswith("## Draft"):
                made = build.v4.new_markdown_cell(source, metadata={"tags": ["optional"]})
                nb.cells.insert(i, made)
                return

    return change


def silent_figure(nb):
    figures(nb)[0].outputs[0].metadata = build.nbformat.from_dict({})


def tried(nb):
    check = next(c for c in nb.cells if "check" in tags(c))
    check.outputs[0].text = "Right.\n"


SPOILT_SECOND = [
    (parts, replace("## By hand: two rows", "By hand"), "the sections are"),
    (parts, move("## Misconception", "## Draft"), "no cell refutes"),
    (parts, lambda nb: None, None),
    (parts, move("## Misconception", "## Recall"), "the sections are"),
    (length, add("word " * 1300), None),  # Recap is not counted
    (length, optional("word " * 1300), "words"),
    (length, retag("your-turn", "no-turn", "twice"), None),
    (length, lambda nb: [add("x = 2", "code")(nb) for _ in range(9)], "31 code cells"),
    (predictions, retag("hide-output", "shown", "plot"), "not tagged hide-output"),
    (minutes, replace("70, exercises", "75, exercises"), "computed is '**Minutes** 70, ex"),
    (minutes, replace("exercises 20", "exercises 30"), "exercises 20."),
    (minutes, optional("**Optional.** " + "word " * 600), "70, optional 5, exercises"),
    (minutes, optional("It goes on. " + "word " * 600), "does not begin with **Optional.**"),
    (minutes, optional("### More\n\n**Optional.** More."), None),
    (minutes, add("word " * 13000), "140 are the most"),
    (pause, drop("**Pause.**"), "0 cells begin"),
    (pause, move("**Pause.**", "## The problem"), "% of the minutes"),
    (pause, move("**Pause.**", "## Recap"), "% of the minutes"),
    (pause, replace("it is known that it does not fall again", "that is"), "in two lines"),
    (turns, drop("**Your turn.**"), "1 cells begin with"),
    (turns, replace(BLANK, "twice = 6", "code"), "whole right-hand side"),
    (turns, replace(BLANK, "twice[...] = ...", "code"), "whole right-hand side"),
    (turns, replace(BLANK, "twice = 2 * ...", "code"), "whole right-hand side"),
    (turns, replace(BLANK, "def f(x):\n    return ...", "code"), None),
    (turns, replace(BLANK, "a, b = ..., ...", "code"), None),
    (turns, retag("check", "checked", CHECK), "calls turn("),
    (turns, retag("hide-input", "seen", CHECK), "tagged check and hide-input"),
    (turns, tried, "untouched, it prints ['Right.']"),
    (turns, replace("```python\ntwice", "```\ntwice"), "not folded, with a python block"),
    (turns, replace("twice = 3 * 2", "twice = ..."), "leaves a blank"),
    (turns, replace("Twice is times two.", ""), "does not say why"),
    (turns, retag("your-turn", "x", BLANK), "1 your-turns"),
    (turns, retag("your-turn", "x", BLANK), "stands below no your-turn"),
    (shown, replace('show("A line.")', "plt.show()", "code"), "plt.show()"),
    (shown, silent_figure, "in 0 words"),
    (shown, retag("hide-input", "seen", "plot"), "13 lines that draw"),
    (lessons_named, add("See lesson 14."), "'lesson 14'"),
    (lessons_named, add("See lessons 04 to 09."), "lesson 09 (later)"),
    (lessons_named, add("See lesson 4."), "two digits"),
    (lessons_named, add("Lesson 06 (later) says."), "is not later"),
    (lessons_named, add("As [lesson 14, later](14_a.ipynb) and lesson 9 says."), "'lesson 9'"),
    (
        lessons_named,
        add("[Lesson 14, later](14_a.ipynb), lesson 21 (later, not written yet)"),
        None,
    ),
    (letters, add(r"Let $Q=x_{q}\text{ of }\eta\,\mathsf{T}$."), "letters.md: Q"),
    (letters, add(r"Let $\varphi_n$ be, $\exp x^{\mathsf T}\frac{1}{N}$."), "letters.md: φ"),
    (letters, add(r"Let `$Q$` be $\max_Q w$, 5 \$."), None),
]


@pytest.mark.parametrize(
    "rule", WHAT_IT_HOLDS[:6] + WHAT_A_READER_DOES, ids=lambda rule: rule.__name__
)
def test_a_lesson_can_keep_the_rules(rule):
    assert list(rule(specimen())) == []


@pytest.mark.parametrize("rule, change, sentence", SPOILT_SECOND)
def test_each_rule_of_what_a_reader_does_notices(rule, change, sentence):
    nb = specimen()
    change(nb)
    found = list(rule(nb))
    assert found == [] if sentence is None else any(sentence in fault for fault in found), found


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
    build.main([str(tmp_path / "course" / "07_tensor.ipynb")], root=tmp_path)  # lessons are gone
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
    nb.cells = [nb.cells[0], build.v4.new_code_cell("%load_ext course.live")]
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


# --- the answers of your-turns ------------------------------------------------------------------


def answered(nb):
    """A copy of a lesson with the answer of each your-turn in its cell."""
    nb = copy.deepcopy(nb)
    for _, blank, _, answer in your_turns(nb):
        blank.source = ANSWER.search(answer.source)[1]
    return nb


def answers(nb, folder=ROOT / "course"):
    """With its own answers, each check says that they are right, and nothing else changes."""
    filled = answered(nb)
    try:
        build.execute(filled, folder, ROOT)
    except build.BuildError as error:
        yield f"with the answers: {error}"
        return
    for before, after in zip(cells(nb, "code"), cells(filled, "code")):
        lines = printed(after).splitlines()
        if "check" in tags(after):
            if lines != ["Right."] * len(printed(before).splitlines()):
                yield f"{after.id}: with the answer it says {lines}"
        elif "nbval-ignore-output" not in tags(after) and "your-turn" not in tags(after):
            if lines != printed(before).splitlines():
                yield f"{after.id}: with the answers it shows something else: {lines}"
        elif "your-turn" in tags(after) and lines:
            yield f"{after.id}: the answer prints {lines}"


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_answers_are_right(path):
    assert list(answers(NOTEBOOKS[number_of(path)])) == []


def small():
    """A lesson that runs: a your-turn, and a cell after it."""
    nb = build.v4.new_notebook()
    code = "from course.lesson import turn", BLANK, CHECK, "print(7)"
    said = "", "", "Your turn: not tried yet.\n", "7\n"
    labels = [], ["your-turn"], ["check", "hide-input"], []
    for i, (source, text, tag) in enumerate(zip(code, said, labels)):
        cell = build.v4.new_code_cell(source, id=f"c{i}", metadata={"tags": tag})
        cell.outputs = [build.v4.new_output("stream", text=text)] if text else []
        nb.cells.append(cell)
    nb.cells.insert(3, build.v4.new_markdown_cell(ANSWER_CELL))
    return nb


@pytest.mark.slow
@pytest.mark.parametrize(
    "before, after, kind, sentence",
    [
        ("twice", "twice", "code", None),
        ("3 * 2", "3 * 3", "markdown", "with the answer it says ['Not yet: yours is 9, wanted 6"),
        ("3 * 2", "1 / 0", "markdown", "division by zero"),
        ("print(7)", "print(twice)", "code", "shows something else: ['6']"),
        ("print(7)", "print(7 if twice is ... else 8)", "code", "shows something else: ['8']"),
        ("3 * 2", "3 * 2\nprint(1)", "markdown", "the answer prints"),
    ],
)
def test_wrong_answers_are_noticed(before, after, kind, sentence):
    nb = small()
    replace(before, after, kind)(nb)
    found = list(answers(nb))
    assert found == [] if sentence is None else any(sentence in fault for fault in found), found


# --- later lessons ------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path):
    """A course of the lessons 05 and 07, and a solution of 05."""
    for name in ("course/05_a.ipynb", "course/07_c.ipynb", "solutions/05_a.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    return tmp_path


LINKED, WAITING = "[lesson 07, later](07_c.ipynb)", "lesson 14 (later, not written yet)"


@pytest.mark.parametrize(
    "before, after",
    [
        ("See lesson 07 (later).", f"See {LINKED}."),
        ("See lesson 07 (later, not written yet).", f"See {LINKED}."),
        ("See [lesson 07, later](07_old_name.ipynb).", f"See {LINKED}."),
        (f"See {LINKED}.", None),
        ("See lesson 14 (later).", f"See {WAITING}."),
        ("See [lesson 14, later](14_x.ipynb).", f"See {WAITING}."),
        (f"See {WAITING}.", None),
        ("Lesson 14 (later) and lesson 07 (later)", f"L{WAITING[1:]} and {LINKED}"),
        ("See lesson 05, lessons 07 and 14; [lesson 07](07_c.ipynb)", None),
    ],
)
def test_later_lessons_are_named_as_they_are(three, before, after):
    nb = build.v4.new_notebook(cells=[build.v4.new_markdown_cell(before)])
    nb.cells.append(build.v4.new_code_cell("# lesson 07 (later)"))
    changed = build.name_later(nb, three / "course" / "05_a.ipynb", three)
    assert nb.cells[0].source == (after or before) and bool(changed) == bool(after)
    assert nb.cells[1].source == "# lesson 07 (later)"
    assert build.name_later(nb, three / "course" / "05_a.ipynb", three) == []


def test_a_solution_names_them_too(three):
    nb = build.v4.new_notebook(cells=[build.v4.new_markdown_cell("lesson 07 (later)")])
    build.name_later(nb, three / "solutions" / "05_a.ipynb", three)
    assert nb.cells[0].source == "[lesson 07, later](../course/07_c.ipynb)"


def test_a_lesson_that_appears_makes_others_stale(copy_of_course, capsys):
    lesson = copy_of_course / "course" / "07_tensor.ipynb"
    nb = build.read(lesson)
    nb.cells[1].source += "\nLesson 09 (later, not written yet)."
    lesson.write_text(build.text(nb), encoding="utf-8")
    assert stale(copy_of_course, capsys) == "everything is up to date\n"
    (copy_of_course / "course" / "09_mlp.ipynb").write_text("", encoding="utf-8")
    assert build.main(["--check", str(lesson)], root=copy_of_course) == 1
    assert "lesson 09 is written" in capsys.readouterr().out
    assert build.main([str(lesson)], root=copy_of_course) == 0
    capsys.readouterr()
    assert "[Lesson 09, later](09_mlp.ipynb)." in lesson.read_text(encoding="utf-8")
    (copy_of_course / "course" / "09_mlp.ipynb").unlink()
    assert "lesson 09 is not written yet" in stale(copy_of_course, capsys)


# --- a kernel whose port was taken --------------------------------------------------------------


@pytest.fixture
def taken():
    """A port at which another program listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def with_a_port_taken(kind, port, times):
    """`kind` of manager, whose first kernels are told a port that they cannot have."""
    made = []

    def manager(*arguments, **options):
        made.append(kind(*arguments, **options))
        if len(made) <= times:
            made[-1].cache_ports, made[-1].shell_port = False, port
        return made[-1]

    return manager, made


@pytest.mark.slow
@pytest.mark.parametrize("times, starts", [(1, 2), (9, 3)])
def test_nbval_starts_another_kernel(taken, monkeypatch, times, starts):
    from nbval import kernel

    monkeypatch.setattr(kernel, "start_new_kernel", kernel.start_new_kernel)  # put back at the end
    manager, made = with_a_port_taken(kernel.KernelManager, taken, times)
    monkeypatch.setattr(kernel, "KernelManager", manager)
    runpy.run_path(str(ROOT / "course" / "conftest.py"))
    if starts > times:
        client = kernel.start_new_kernel(kernel_name="python3")[1]
        client.stop_channels()
        made[-1].shutdown_kernel(now=True)
    else:
        with pytest.raises(RuntimeError, match="Kernel died"):
            kernel.start_new_kernel(kernel_name="python3")
    assert len(made) == starts


@pytest.mark.slow
@pytest.mark.parametrize("times, starts", [(1, 2), (9, 3)])
def test_the_build_starts_another_kernel(taken, monkeypatch, tmp_path, times, starts):
    manager, made = with_a_port_taken(build.Client.create_kernel_manager, taken, times)
    monkeypatch.setattr(build.Client, "create_kernel_manager", lambda client: manager(client))
    nb = build.v4.new_notebook(cells=[build.v4.new_code_cell("1 + 1")])
    if starts > times:
        build.execute(nb, tmp_path, ROOT)
        assert nb.cells[0].outputs[0].data["text/plain"] == "2"
    else:
        with pytest.raises(build.BuildError, match=r"3 times .*Kernel died"):
            build.execute(nb, tmp_path, ROOT)
    assert len(made) == starts
