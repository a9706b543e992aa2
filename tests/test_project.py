"""What the project promises about itself: the order of imports, its size, its files."""

import ast
import importlib.util
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from test_layers import LAYERS
from test_ops import ONE, TABLE, TWO
from test_optim import KINDS

import minidl
from course import start
from minidl import nn
from minidl.engine.intercept import primitives

ROOT = Path(__file__).resolve().parent.parent
_spec = importlib.util.spec_from_file_location("sizes", ROOT / "docs" / "sizes.py")
sizes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sizes)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]


def dotted(path):
    """A file's name as a module of minidl: nn.layers, optim; a folder's __init__ is the folder."""
    name = ".".join(path.relative_to(ROOT / "minidl").with_suffix("").parts)
    return name.removesuffix(".__init__")


PACKAGE = {dotted(path): path for path in sorted((ROOT / "minidl").rglob("*.py"))}

# From the ground up: a module imports only those before it.  A folder's own name is its __init__:
# whoever imports a file of a folder runs it, so gpu, of which most is needed at the bottom and one
# file stands higher, imports nothing there.  minidl's own __init__ and __main__ are free.
ORDER = """
    advice
    gpu gpu.streams gpu.doubts
    engine.checks engine.random engine.intercept engine.devices engine.changes engine.gradients
        engine.tensor engine.shapes engine.ops engine.reductions engine.making engine
    differences
    gpu.nccl
    nn.functional nn.module nn.layers nn.init nn.recurrent nn.transformer nn.quantized nn
    optim
    graph.lines graph.settings graph.traced graph.trace graph.costs graph.drawing graph.kernels
        graph.passes graph.memory graph.source graph.compiled graph
    gpu.ahead
    data.loader data.tables data.images data.text data.datasets data
    io
    train.weights train.metrics train.batches train.callbacks train.precision train.debug
        train.steps train.trainer train
    pytorch estimators
    onnx.runs onnx.writer onnx.rules onnx.reader onnx.exporter onnx
    web.page web web.__main__
    distributed
""".split()
FREE = {"__init__", "__main__"}
FOLDERS = {name.partition(".")[0] for name in ORDER if "." in name}

# Budgets count statements, docstrings left out: a ceiling in lines had made the code dense.
BUDGETS = {
    "advice and differences": (252, "advice differences"),
    "engine": (1302, "engine"),
    "nn": (1173, "nn"),
    "optim": (257, "optim"),
    "data": (688, "data"),
    "train": (1113, "train"),
    "graph": (1876, "graph"),
    "gpu": (121, "gpu"),
    "files and estimators": (426, "io estimators pytorch"),
    "onnx, web and distributed": (1467, "onnx web distributed"),
}
FUNCTION_STATEMENTS = 40

# `a if condition else b`, for 100 statements: one now and then reads well, many make a puzzle.
CONDITIONALS = {
    "advice and differences": 0.6,
    "engine": 1.4,
    "nn": 2.9,
    "optim": 1.7,
    "data": 2.8,
    "train": 3.0,
    "graph": 2.6,
    "gpu": 0.0,
    "files and estimators": 2.9,
    "onnx, web and distributed": 1.5,
}


def run_nodes(tree):
    """The nodes of `tree` without those for type checkers alone, which stand under
    `if TYPE_CHECKING:` and are never run, and without what concerns the compiler, `__future__`.
    """
    if isinstance(tree, ast.ImportFrom) and tree.module == "__future__":
        return
    yield tree
    children = ast.iter_child_nodes(tree)
    if isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING":
        children = tree.orelse
    for child in children:
        yield from run_nodes(child)


def statements(tree):
    """How many statements stand in `tree`, itself and docstrings not counted."""
    return sum(
        isinstance(node, ast.stmt)
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in run_nodes(tree)
        if node is not tree
    )


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def imports(name, tree):
    """Dotted names that module `name` of minidl imports, at its top or inside a function."""
    here = ["minidl", *name.split(".")]
    for node in run_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (name in FOLDERS)  # a folder's one dot is the folder itself
            source = here[: len(here) - up] if node.level else []
            source = ".".join([*source, *filter(None, [node.module])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                is_module = source == "minidl" or whole.removeprefix("minidl.") in ORDER
                yield whole if is_module else source


def wrong_imports(name, source):
    """Sentences, one for each import in module `name` that breaks a rule."""
    for imported in imports(name, ast.parse(source)):
        top, _, part = imported.partition(".")
        room, inside, _ = part.partition(".")
        if top in ("cupy", "cupyx") and name.partition(".")[0] != "gpu":
            yield f"{name} imports {top}; only gpu may"
        if top != "minidl" or name in FREE:
            continue
        if name in FOLDERS and room not in (name, "advice"):
            yield f"{name}/__init__ imports {part or 'the whole of minidl'}, of another folder"
            continue
        needed = [part]
        if inside and room != name.partition(".")[0]:
            needed.append(room)  # its __init__ is run too
        for module in needed:
            if module not in ORDER[: ORDER.index(name)]:
                what = module or "the whole of minidl"
                yield f"{name} imports {what}, which does not stand below it"


def room_of(name):
    """The part of BUDGETS to which a module belongs."""
    room = name.partition(".")[0]
    return next((part for part, (_, rooms) in BUDGETS.items() if room in rooms.split()), None)


def trees():
    """Pairs (module, its syntax tree) of the package, without what is free."""
    for name, path in PACKAGE.items():
        if name not in FREE:
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def by_room(count):
    """The sum of count(tree) over the modules of each part of BUDGETS."""
    found = dict.fromkeys(BUDGETS, 0)
    for name, tree in trees():
        found[room_of(name)] += count(tree)
    return found


def conditionals(tree):
    """How many conditional expressions stand in `tree`."""
    return sum(isinstance(node, ast.IfExp) for node in ast.walk(tree))


def long_functions(name, tree):
    """Name and length of the functions that have too many statements."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n, what = statements(node), f"{name}: {node.name}"
            if n > FUNCTION_STATEMENTS:
                yield what, n


# A statement that gives an array another shape says which: `# (N, T, D) -> (N, heads, T, D/heads)`.
MOVES = {"reshape", "transpose", "swapaxes", "moveaxis", "swap", "T", "matmul"}
REDUCTIONS = {"sum", "mean", "max", "min", "prod", "var", "std"}
SHAPE = re.compile(r"#.*\([^()]*(, ?|\.\.\.)[^()]*\)")  # (N, D), (n,), (...)
SAID = re.compile(r'"""[^#]*\(.*\) -> \(.*\)')  # in a docstring of one line, above the statement


def changes_shape(node):
    """Whether a node of the syntax tree is a reshape, transpose, product or sum over an axis."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        return isinstance(node.op, ast.MatMult)
    if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Store):
        return node.attr == "T"
    if not isinstance(node, ast.Call):
        return False
    name = getattr(node.func, "attr", getattr(node.func, "id", None))
    owner = getattr(node.func, "value", None)
    module = owner is None or ast.unparse(owner).rpartition(".")[2] in ("np", "xp", "math")
    axes = [k for k in node.keywords if k.arg == "axis"]
    if owner is None or ast.unparse(owner) == "math":
        places = []  # Python's own sum and max, and math.prod, have no axis
    else:
        places = node.args[module:]  # np.sum(x, axis), x.sum(axis)
    return name in MOVES or (name in REDUCTIONS and bool(axes or places))


def unshaped(name, source):
    """Statements of a module that change a shape, with no shape in a comment on their lines or
    the line above, which may also be a docstring.
    """
    lines = source.splitlines()
    for node in filter(lambda node: isinstance(node, ast.stmt), ast.walk(ast.parse(source))):
        own = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]
        last = max([node.lineno, *(child.end_lineno for child in own if hasattr(child, "lineno"))])
        around = lines[max(node.lineno - 2, 0) : last]
        changes = any(changes_shape(inner) for child in own for inner in ast.walk(child))
        changes = changes or changes_shape(node)  # x @= w
        said = any(map(SHAPE.search, around)) or SAID.search(around[0])
        if changes and not said:
            yield f"{name}, line {node.lineno}: {lines[node.lineno - 1].strip()}"


# Words for what becomes of a shape: (N, D) -> (N,), "of any shape", "the shape stays".
OF_A_SHAPE = re.compile(r"\([^()]*(, ?|\.\.\.)[^()]*\)|\bshaped?\b|element by element")

# Operations that work element by element, which needs no words in each.
BY_ELEMENT = {
    *ONE, *TWO, "cast", "sign", "invert", "bit_and", "bit_or", "floor_div", "mod",
    "equal", "not_equal", "less", "less_equal",
}  # fmt: skip


def test_public_names_begin_their_docstrings_with_a_sentence():
    named = {f"minidl.{name}": getattr(minidl, name) for name in minidl.__all__}
    named |= {f"nn.{name}": getattr(nn, name) for name in nn.__all__}
    first = {name: (inspect.getdoc(x) or "").partition("\n")[0] for name, x in named.items()}
    assert not [name for name, line in first.items() if not line.endswith(".")]


def test_what_takes_arrays_says_their_shapes():
    """Operations, but for those that work element by element, functions and layers."""
    said = {
        f"the operation {name}": op.__doc__
        for name, op in primitives.items()
        if (op.forward.__module__ or "").startswith("minidl.") and name not in BY_ELEMENT
    }
    for name, f in vars(nn.functional).items():
        here = inspect.isfunction(f) and f.__module__ == "minidl.nn.functional"
        if here and not name.startswith("_") and name != "check_share":
            said[f"functional.{name}"] = f.__doc__
    for name in nn.__all__:
        kind = getattr(nn, name)
        layer = inspect.isclass(kind) and issubclass(kind, nn.Module)
        if layer and kind not in (nn.Module, nn.Sequential):  # which take what theirs take
            said[f"nn.{name}"] = f"{kind.__doc__} {kind.forward.__doc__}"
    assert not [name for name, text in said.items() if not OF_A_SHAPE.search(text or "")]


# --- the package ---------------------------------------------------------------------------


def test_every_module_has_its_place_in_the_order():
    assert not set(PACKAGE) - {*ORDER, *FREE}
    assert len(set(ORDER)) == len(ORDER)


def test_no_folder_stands_in_a_folder():
    assert not [name for name in PACKAGE if name.count(".") > 1]
    assert {path.parent.name for path in PACKAGE.values()} == {"minidl", *FOLDERS}


@pytest.mark.parametrize("name", PACKAGE)
def test_imports_go_only_downwards(name):
    assert not list(wrong_imports(name, PACKAGE[name].read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name, source, complaint",
    [
        ("engine.tensor", "from . import devices", None),
        ("engine.tensor", "from .devices import array_module", None),
        ("engine.tensor", "import minidl.engine.devices", None),
        ("engine.devices", "from ..gpu import streams", None),
        ("engine.devices", "from ..gpu.streams import load", None),
        ("engine.devices", "from ..gpu import nccl", "engine.devices imports gpu.nccl"),
        ("gpu.nccl", "from ..engine import devices", None),
        ("gpu.streams", "from ..engine import devices", "gpu.streams imports engine.devices"),
        ("gpu", "from . import nccl", "gpu imports gpu.nccl"),
        ("engine.tensor", "import minidl.engine.ops", "engine.tensor imports engine.ops"),
        ("engine.tensor", "from minidl.engine import ops", "engine.tensor imports engine.ops"),
        ("engine.tensor", "from ..nn import Linear", "engine.tensor imports nn"),
        ("engine.tensor", "def f():\n    from .. import train", "engine.tensor imports train"),
        ("engine.tensor", "if TYPE_CHECKING:\n    from .. import train", None),
        ("engine.tensor", "from . import tensor", "engine.tensor imports engine.tensor"),
        ("engine.tensor", "from . import Tensor", "engine.tensor imports engine,"),
        ("nn.layers", "from ..engine import ops", None),
        ("nn.layers", "from .module import Module", None),
        ("nn.layers", "from . import Sequential", "nn.layers imports nn,"),
        ("nn.layers", "from minidl import Tensor", "nn.layers imports Tensor"),
        ("nn.layers", "import minidl", "the whole of minidl"),
        ("nn.layers", "from ..train.debug import origin", "nn.layers imports train.debug"),
        ("optim", "from .nn import Module", None),
        ("optim", "from .nn.module import Module", None),
        ("optim", "from .nn.modules import Module", "optim imports nn.modules"),
        ("optim", "from . import io", "optim imports io"),
        ("nn", "from .layers import Linear", None),
        ("nn", "from . import functional", None),
        ("nn", "from ..engine import ops", "of another folder"),
        ("nn", "import minidl.engine.tensor", "of another folder"),
        ("nn", "from .. import optim", "of another folder"),
        ("nn", "import minidl", "of another folder"),
        ("engine.ops", "import cupy as cp", "only gpu may"),
        ("engine.ops", "from cupy.cuda import nccl", "only gpu may"),
        ("engine.devices", "import cupy", "only gpu may"),
        ("engine.devices", "import cupyx", "only gpu may"),
        ("gpu.streams", "import cupy", None),
        ("gpu.nccl", "import cupyx.distributed", None),
        ("__init__", "from . import distributed", None),
        ("__init__", "from .engine.tensor import Tensor", None),
    ],
)
def test_the_import_rule_notices(name, source, complaint):
    found = list(wrong_imports(name, source))
    assert found == [] if complaint is None else complaint in found[0]


def test_each_part_keeps_to_its_budget():
    found = by_room(statements)
    over = [
        f"{part} has {n} statements, its budget is {BUDGETS[part][0]}: take something away, or "
        "raise it in BUDGETS and say why in docs/decisions.md"
        for part, n in found.items()
        if n > BUDGETS[part][0]
    ]
    assert over == []


def test_every_module_has_a_budget():
    assert not [name for name in ORDER if room_of(name) is None]
    rooms = " ".join(rooms for _, rooms in BUDGETS.values()).split()
    assert sorted(rooms) == sorted({name.partition(".")[0] for name in ORDER})


def test_conditional_expressions_are_few():
    counts, lengths = by_room(conditionals), by_room(statements)
    found = {part: 100 * n / lengths[part] for part, n in counts.items()}
    assert not {
        part: (round(n, 2), CONDITIONALS[part])
        for part, n in found.items()
        if n > CONDITIONALS[part]
    }


def test_a_change_of_shape_says_the_shapes():
    found = []
    for name, path in PACKAGE.items():
        found += unshaped(name, path.read_text(encoding="utf-8"))
    assert found == []


@pytest.mark.parametrize(
    "source, found",
    [
        ("y = x.reshape(2, -1)", 1),
        ("y = x.reshape(2, -1)  # (4, n) -> (2, 2 n)", 0),
        ("y = x.reshape(2, -1)  # all in two rows (see above)", 1),
        ("# (N,) -> (N, 1)\ny = reshape(x, shape=shape)", 0),
        ("y = reshape(x, shape=shape)", 1),
        ("y = transpose(\n    x,\n    axes=axes,\n)  # (T, N) -> (N, T)", 0),
        ("y = x.T", 1),
        ("y = swap(w)", 1),
        ("def f(x, w):\n    return x @ w", 1),
        ("def f(x, w):  # (N, D)\n    y = 1\n    return x @ w", 1),
        ("y = x.sum(-1)", 1),
        ("y = x.mean(axis=0)  # (N, K) -> (K,)", 0),
        ("y = x.sum()", 0),
        ("y = sum(x, axis=0)", 1),
        ("y = np.mean(x, 0)", 1),
        ("y = xp.min(x, axis=axis)  # (N, K) -> (K,)", 0),
        ("y = np.mean(x)", 0),
        ("y = np.std(x, dtype=float)", 0),
        ('def f(x):\n    """As rows: (N, C, D) -> (N C, D)."""\n    return x.reshape(-1, 2)', 0),
        ('def f(x):\n    """As rows (N, D)."""\n    return x.reshape(-1, 2)', 1),
        ("y = sum(p.size for p in parameters)", 0),
        ("y = max(a, b)", 0),
        ("x.T = 1", 0),
        ("x @= w", 1),
        ("n = math.prod(shape)", 0),
        ("for a in x.T:\n    y = a + 1  # (N,)", 1),
        ("with f(x @ w):  # (N, D) @ (D, K) -> (N, K)\n    pass", 0),
    ],
)
def test_a_shape_that_is_not_said_is_noticed(source, found):
    assert len(list(unshaped("nn.layers", source))) == found


def test_what_is_counted():
    source = '"""Words."""\ndef f(x):\n    """More."""\n    y = 1 if x else 2\n    return y\n'
    tree = ast.parse(source)
    assert (statements(tree), conditionals(tree)) == (3, 1)
    long = "def f():\n" + "    pass\n" * (FUNCTION_STATEMENTS + 1)
    assert dict(long_functions("nn.layers", ast.parse(long))) == {"nn.layers: f": 41}
    assert not list(long_functions("nn.layers", ast.parse(long.removesuffix("    pass\n"))))


@pytest.mark.parametrize("name", PACKAGE)
def test_functions_stay_short(name):
    tree = ast.parse(PACKAGE[name].read_text(encoding="utf-8"))
    assert not dict(long_functions(name, tree))


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


ROOMS = "compile data distributed engine estimators graph io nn optim pytorch train".split()


def test_import_brings_only_the_engine():
    loaded = run("import sys, minidl; print(*(name for name in sys.modules if 'minidl.' in name))")
    assert {name.split(".")[1] for name in loaded.split()} <= {"advice", "engine", "gpu"}
    assert "minidl.gpu.nccl" not in loaded.split()


@pytest.mark.parametrize("name", ROOMS)
def test_each_room_is_there_after_import(name):
    """In a process of its own: the tests' own imports would make it an attribute anyway."""
    found = run(
        f"import minidl; before = {name!r} in vars(minidl); room = minidl.{name}\n"
        f"from minidl import {name}; print(before, room is {name}, room.__name__)"
    )
    here = name == "engine"  # the one that is loaded with minidl
    assert found.split() == [str(here), "True", name if name == "compile" else f"minidl.{name}"]


def test_names_in_the_rooms_are_found_where_they_are_looked_for():
    found = run(
        "import minidl.engine.tensor as T; print(T.Primitive)\n"
        "from minidl import nn; print(nn.LSTM)\n"
        "import minidl; print(minidl.nn.GPT); print(minidl.nn.functional.softmax)"
    )
    assert [re.search(r"\w+(?= at|'>)", line)[0] for line in found.splitlines()] == [
        "Primitive", "LSTM", "GPT", "softmax"
    ]  # fmt: skip


def test_dir_lists_the_rooms_and_loads_none():
    listed, loaded = run(
        "import sys, minidl; print(*dir(minidl)); print(*sys.modules)"
    ).splitlines()
    assert not {*ROOMS, "Tensor", "grad", "__version__"} - set(listed.split())
    assert not {"minidl.nn", "minidl.graph", "minidl.train"} & set(loaded.split())
    assert not set(minidl.__all__) - set(dir(minidl))


@pytest.mark.parametrize("name", ["backend", "Linear", "no_such_name"])
def test_an_unknown_attribute_raises(name):
    with pytest.raises(AttributeError, match=f"module 'minidl' has no attribute '{name}'"):
        getattr(minidl, name)
    with pytest.raises(ImportError, match=f"cannot import name '{name}' from 'minidl'"):
        exec(f"from minidl import {name}")


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


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_an_assertion_that_fails_says_what(path):
    """With numpy.testing, with a list of what is wrong in place of all(...), or in words."""
    assert list(silent(path.read_text(encoding="utf-8"))) == []


def test_no_two_files_of_tests_have_one_name():
    """pytest imports them by name alone, and so do their helpers."""
    names = [path.stem for path in (ROOT / "tests").rglob("*.py")]
    assert not {name for name in names if names.count(name) > 1}


def test_the_tests_folders_are_minidls_and_on_the_path():
    folders = {path.parent.name for path in (ROOT / "tests").rglob("test_*.py")} - {"tests"}
    assert not folders - FOLDERS
    listed = PYPROJECT["tool"]["pytest"]["ini_options"]["pythonpath"]
    assert {"tests", *(f"tests/{folder}" for folder in folders)} <= set(listed)


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
    assert EXTRAS["torch"] == ["torch==2.13.0", "onnxscript>=0.5"]
    assert "torch" not in requirements("learn")


# What a requirement brings besides what bears its name.
BROUGHT = {"scikit-learn": {"sklearn", "threadpoolctl", "joblib"}}


def test_what_lessons_import_comes_with_the_extra_course():
    """And nothing besides, but numpy, Python's own, what lies there, and what a cell writes."""
    there = {"numpy", "minidl", "course", "grading", "in_a_ring", *sys.stdlib_module_names}
    for name in requirements("course"):
        there |= BROUGHT.get(name, {name.replace("-", "_")})
    missing = set()
    for path in [*(ROOT / "course").glob("*.ipynb"), *(ROOT / "solutions").glob("*.ipynb")]:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            lines = "".join(cell["source"]).splitlines()
            code = "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))
            if cell["cell_type"] == "code":
                found = imports("course", ast.parse(code))
                lacking = {name for name in found if name.partition(".")[0] not in there}
                missing |= {f"{path.name}: {name}" for name in lacking}
    assert missing == set()


@pytest.mark.parametrize(
    "example, hidden, extra",
    [
        ("server", "uvicorn", "onnx,serve"), ("server", "onnxruntime", "onnx,serve"),
        ("cluster_search", "joblib", "sklearn,cluster"), ("eight_bits", "onnxruntime", "onnx"),
        ("names_lstm", "matplotlib.figure", "course"), ("grid_search", "sklearn", "course"),
    ],
)  # fmt: skip
def test_an_example_names_the_extra_that_it_lacks(example, hidden, extra):
    code = (
        f"import runpy, sys; sys.path.insert(0, 'examples'); sys.modules[{hidden!r}] = None\n"
        f"runpy.run_path('examples/{example}.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert hidden in done.stderr and f'pip install "minidl[{extra}]"' in done.stderr


def test_readme_names_every_extra():
    sentence = re.search(r"Extras: .*", read("README.md"))[0]
    assert {*re.findall(r"`(\w+)`", sentence)} == {*EXTRAS}


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
LINKED = [*PAGES, "docs/examples.md", "docs/project.md", "docs/promises.md", "docs/ship.md"]


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


@pytest.mark.parametrize("page", LINKED)
def test_links_in_the_pages_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page))
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_the_makefile_lists_every_target_in_its_help():
    makefile = read("Makefile")
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split())
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE)) == phony


def test_the_tests_that_the_promises_name_are_there():
    page = read("docs/promises.md")
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", page)
    assert len(named) >= 12 and len(named) == page.count("[`test_")
    assert [row for row in named if f"def {row[0]}(" not in read(row[1])] == []


def test_readme_tells_each_lessons_question_and_minutes():
    """As its header does, whose minutes test_course.py computes."""
    wrong = []
    for path in sorted((ROOT / "course").glob("[0-9]*.ipynb")):
        question, minutes, more = start.header(path)
        name, number = path.name, path.name[:2]
        minutes += f" + {more}" if int(more) else ""
        exercise = f" [{number}](exercises/{name})" if (ROOT / "exercises" / name).exists() else ""
        row = f"| [{number}](course/{name}) | {question} | {minutes} |{exercise} |"
        if row not in read("README.md").splitlines():
            wrong.append(row)
    assert not wrong


def test_readme_counts_the_lines_as_they_are():
    text = read("README.md")
    assert sizes.evening() in text and sizes.table() in text, "python docs/sizes.py --write"
    assert sizes.written(text) == text
    assert sizes.written(text.replace(sizes.evening(), "7 lines of code")) == text


@pytest.mark.parametrize(
    "source, n",
    [
        ("", 0),
        ("# a\n\nx = 1  # b\n", 1),
        ('"""a\n\nb"""\n\n\ndef f():\n    """c"""\n    return """d\ne"""\n', 3),
        ("x = [\n    # a\n    1,\n]\n", 3),
    ],
)
def test_a_line_of_code_has_code_on_it(source, n):
    assert sizes.lines_of_code(source) == n


def test_readme_counts_what_is_compared_with_pytorch():
    counts = {"operations": len(TABLE), "layers": len(LAYERS), "optimisers": len(KINDS)}
    found = re.findall(
        r"^\| \[(\w+)\]\(tests/.*? \| (\d+) (?:cases|kinds) \|", read("README.md"), re.M
    )
    assert {what: int(n) for what, n in found} == counts


def test_the_picture_of_readme_is_small_and_has_a_text():
    (text, name) = re.search(r"^!\[(.+)\]\((docs/\w+\.png)\)$", read("README.md"), re.M).groups()
    assert len(text.split()) >= 20
    assert (ROOT / name).stat().st_size < 300_000
