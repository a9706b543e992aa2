"""What the project promises about itself: the order of imports, its size, its files."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import minidl

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = sorted((ROOT / "minidl").glob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]

# From the ground up: a module imports only those before it. __init__ and __main__ are free.
ORDER = """
    backend shares tensor seams shapes ops reductions functional module precision debug nn init
    recurrent transformer optim lines trace record costs kernels graph memory source drawing
    compiled
    data images text datasets io pytorch callbacks train estimators onnx distributed
""".split()
FREE = {"__init__", "__main__"}

# Budgets count statements, docstrings left out: a ceiling in lines had made the code dense.
BUDGETS = {
    "engine": (950, "backend shares tensor seams shapes ops reductions"),
    "nn": (850, "functional module nn init recurrent transformer"),
    "optim": (200, "optim"),
    "data": (550, "data images text datasets"),
    "train": (750, "precision debug callbacks train"),
    "graph": (1630, "lines trace record costs kernels graph memory source drawing compiled"),
    "files and estimators": (320, "io pytorch estimators"),
    "onnx, web and distributed": (650, "onnx distributed"),
}
FUNCTION_STATEMENTS = 40
MAY_BE_LONGER = {"train.py: fit"}  # the loop reads from top to bottom


def statements(tree):
    """How many statements stand in `tree`, itself and docstrings not counted."""
    return sum(
        isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in ast.walk(tree)
        if node is not tree
    )


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def imports(tree):
    """Dotted names that a module of minidl imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = ".".join(filter(None, ["minidl" if node.level else None, node.module]))
            if source == "minidl":
                yield from (f"minidl.{name.name}" for name in node.names)
            else:
                yield source


def wrong_imports(name, source):
    """Sentences, one for each import in module `name` that breaks a rule."""
    for imported in imports(ast.parse(source)):
        top, _, rest = imported.partition(".")
        if top == "cupy" and name != "backend":
            yield f"{name} imports cupy; only backend may"
        if top == "minidl" and name not in FREE:
            part = rest.split(".")[0]
            if part not in ORDER[: ORDER.index(name)]:
                what = part or "the whole of minidl"
                yield f"{name} imports {what}, which does not stand below it"


# --- the package ---------------------------------------------------------------------------


def test_every_module_has_its_place_in_the_order():
    assert {path.stem for path in PACKAGE} <= {*ORDER, *FREE}


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.stem)
def test_imports_go_only_downwards(path):
    assert not list(wrong_imports(path.stem, path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name, source, complaint",
    [
        ("tensor", "from . import backend", None),
        ("tensor", "from .backend import xp_of", None),
        ("tensor", "import minidl.ops", "tensor imports ops"),
        ("tensor", "from minidl import ops", "tensor imports ops"),
        ("tensor", "from .nn import Linear", "tensor imports nn"),
        ("tensor", "def f():\n    from . import train", "tensor imports train"),
        ("tensor", "from . import tensor", "tensor imports tensor"),
        ("nn", "from minidl import Tensor", "nn imports Tensor"),
        ("nn", "import minidl", "the whole of minidl"),
        ("ops", "import cupy as cp", "only backend may"),
        ("ops", "from cupy.cuda import nccl", "only backend may"),
        ("backend", "import cupy", None),
        ("__init__", "from . import distributed", None),
    ],
)
def test_the_import_rule_notices(name, source, complaint):
    found = list(wrong_imports(name, source))
    assert found == [] if complaint is None else complaint in found[0]


def test_each_part_keeps_to_its_budget():
    counts = {p.stem: statements(ast.parse(p.read_text(encoding="utf-8"))) for p in PACKAGE}
    found = {
        part: (sum(counts.get(name, 0) for name in names.split()), limit)
        for part, (limit, names) in BUDGETS.items()
    }
    assert not {part: pair for part, pair in found.items() if pair[0] > pair[1]}


def test_every_module_has_a_budget():
    assert sorted(" ".join(names for _, names in BUDGETS.values()).split()) == sorted(ORDER)


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.stem)
def test_functions_stay_short(path):
    long = {
        f"{path.name}: {node.name}": statements(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and statements(node) > FUNCTION_STATEMENTS
    }
    assert not {name: n for name, n in long.items() if name not in MAY_BE_LONGER}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_only_numpy_and_the_standard_library():
    new = run(
        "import sys, numpy; before = set(sys.modules); import minidl\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    assert set(new.split()) - sys.stdlib_module_names <= {"minidl", "numpy"}


def test_the_version_is_one():
    version = PYPROJECT["project"]["version"]
    assert minidl.__version__ == version
    assert re.search(rf"^## {re.escape(version)}\b", read("CHANGELOG.md"), re.MULTILINE)


# --- the tests -----------------------------------------------------------------------------

TRUTH = re.compile(
    r"""(not\ )?(
        (all|any)\(.*\)  # assert all(<generator object ...>)
        | np\.(allclose|array_equal|all|any)\(.*\)  # assert False
        | .*\.(all|any)\(\)  # assert np.False_
    )""",
    re.VERBOSE | re.DOTALL,
)


def silent(source):
    """Assertions that would fail with nothing but a truth value, and have no words of their own."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assert) and node.msg is None:
            parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
            for text in map(ast.unparse, parts):
                if TRUTH.fullmatch(text):
                    yield f"line {node.lineno}: {text}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("*.py")), ids=lambda path: path.stem)
def test_an_assertion_that_fails_says_what(path):
    """With numpy.testing, with a list of what is wrong in place of all(...), or in words."""
    assert list(silent(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source, found",
    [
        ("assert all(x for x in y)", 1),
        ("assert n == 2 and (a == b).all()", 1),
        ("assert not np.allclose(a, b)", 1),
        ("assert (a != b).any(), 'two draws are the same'", 0),
        ("assert not [x for x in y if not x]", 0),
        ("assert [a.any(), b.any()] == [True, False]", 0),
    ],
)
def test_a_silent_assertion_is_noticed(source, found):
    assert len(list(silent(source))) == found


# --- what is installed ---------------------------------------------------------------------


def requirements(extra):
    """Name to version range, with extras that name other extras of minidl followed."""
    found = {}
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "minidl":
            for inner in requirement.extras:
                found |= requirements(inner)
        else:
            found[requirement.name] = requirement.specifier
    return found


# Where conda-forge's name differs from PyPI's.
CONDA_NAMES = {"matplotlib-base": "matplotlib", "pytorch": "torch"}


def test_environment_yml_agrees_with_pyproject():
    yaml = pytest.importorskip("yaml")
    listed = yaml.safe_load(read("environment.yml"))["dependencies"]
    by_pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    found = {}
    for entry in filter(lambda entry: isinstance(entry, str), listed):
        name, _, version = entry.partition(" ")
        found[CONDA_NAMES.get(name, name)] = version
    found |= {r.name: str(r.specifier) for r in map(Requirement, by_pip)}
    assert found.pop("pip") == ""

    project = PYPROJECT["project"]
    wanted = {"python": project["requires-python"]} | requirements("learn")
    wanted |= {r.name: r.specifier for r in map(Requirement, project["dependencies"])}
    assert {name: set(text.split(",")) for name, text in found.items()} == {
        name: set(str(specifier).split(",")) for name, specifier in wanted.items()
    }


def test_environment_yml_is_spelled_as_conda_reads_it():
    yaml = pytest.importorskip("yaml")
    rattler = pytest.importorskip("rattler")
    environment = yaml.safe_load(read("environment.yml"))
    assert environment["channels"] == ["conda-forge"]
    for entry in environment["dependencies"]:
        if isinstance(entry, str):
            spec = rattler.MatchSpec(entry, strict=True)
            assert spec.name.normalized == entry.split()[0]
            assert (spec.version is not None) == (" " in entry), entry


def test_numpy_is_the_only_requirement():
    assert [Requirement(r).name for r in PYPROJECT["project"]["dependencies"]] == ["numpy"]


def test_pytorch_is_in_no_other_extra():
    assert EXTRAS["torch"] == ["torch==2.13.0"]
    assert "torch" not in requirements("learn")


def test_same_requirement_same_version_in_every_extra():
    seen = {}
    for extra in EXTRAS:
        for name, specifier in requirements(extra).items():
            assert seen.setdefault(name, specifier) == specifier, f"{name} in [{extra}]"


def test_types_and_licences_are_shipped():
    assert (ROOT / "minidl" / "py.typed").exists()
    assert PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["minidl"]
    assert PYPROJECT["project"]["license-files"] == ["LICENSE", "LICENSE-course"]
    assert read("LICENSE").startswith("MIT License")
    assert "CC BY 4.0" in read("LICENSE-course")


# --- what the pages say --------------------------------------------------------------------

PAGES = ["README.md", "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_pages_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", read(page), re.DOTALL))
    named = set(re.findall(r"\bmake ([a-z-]+)", code))
    assert named, "the page names at least one command"
    assert named <= targets
    programs = re.findall(r"\bpython3? ([\w/]+\.py)", code)
    assert not [program for program in programs if not (ROOT / program).exists()]
    for extra in re.findall(r"\.\[(\w+)\]", code):
        assert extra in EXTRAS


@pytest.mark.parametrize("page", PAGES)
def test_links_in_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page))
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_makefile_lists_every_target_in_its_help():
    makefile = read("Makefile")
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == phony
