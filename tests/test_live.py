"""Quotations are live: what is edited in a quoting cell is what the package does from then on."""

import ast
import contextlib
import copy
import inspect
import io
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nbgrader", reason="waits for nbgrader (pip install -e '.[test]')")

from course import build, live
from minidl import grad, nn, optim, tensor
from minidl.engine import gradients, ops, shapes
from minidl.engine import tensor as engine
from minidl.engine.intercept import primitives
from minidl.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "course").glob("*.ipynb"))


def source(file, *names):
    """A quoting cell as it stands in a lesson."""
    found = build.definitions((ROOT / file).read_text(encoding="utf-8"))
    return f"# {file}: {', '.join(names)}\n" + "\n\n\n".join(found[name] for name in names)


MUL = source("minidl/engine/ops.py", "mul")
APPLY = source("minidl/engine/tensor.py", "Primitive.apply")
SHARES = source("minidl/engine/tensor.py", "Primitive.shares")
WALK = source("minidl/engine/gradients.py", "walk")
TOTAL = source("minidl/engine/gradients.py", "Total")


def run(text, before="", after=""):
    """Run a quoting cell, in which `before` became `after`."""
    assert before in text
    text = text.replace(before, after, 1)
    return live.define(text, ast.parse(text).body, "<cell>")


def everything():
    """All that the loaded package consists of, down to the code of its functions."""
    found = {}
    for module in live._modules():
        for name, value in vars(module).items():
            found[module.__name__, name] = inside(value)
            if isinstance(value, type) and value.__module__.startswith("minidl"):
                attributes = live._attributes(value).items()
                found |= {(module.__name__, name, n): inside(v) for n, v in attributes}
    ours = {key: value for key, value in found.items() if key[0].startswith("minidl")}
    return ours, dict(primitives), [(op.forward, op.rule) for op in primitives.values()]


def inside(value):
    return id(value), getattr(value, "__code__", None), getattr(value, "__defaults__", None)


@pytest.fixture(autouse=True)
def put_back():
    before = everything()
    yield
    live.original()
    assert everything() == before


def slope(f=lambda x: x * x):
    x = tensor([3.0], requires_grad=True)
    return grad(f(x).sum(), x)[0].item()


def test_an_operation_and_its_rule():
    held, mul = primitives["mul"], ops.mul
    run(MUL, "g * b", "-g * b")
    assert slope() == 0 and ops.mul is mul is held is primitives["mul"]
    run(MUL, "return a * b", "return a * b + 1")
    assert slope() == 6 and (tensor([2.0]) * 3).item() == 7 and mul(np.ones(1), 3.0) == 4
    run(MUL)
    assert (tensor([2.0]) * 3).item() == 6 and live.edits == {}


def quoting(path):
    cells = build.read(path).cells
    return [c for c in cells if c.cell_type == "code" and c.source.startswith("# minidl/")]


for path in LESSONS:  # what a lesson quotes is loaded before it is compared
    for cell in quoting(path):
        live._module(live.marked(cell.source)[0])


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_stands_in_a_lesson_changes_nothing(path):
    before = everything()
    for cell in quoting(path):
        run(cell.source)
        assert everything() == before and not live.edits and not cell.outputs, cell.id


@pytest.mark.slow
def test_each_definition_of_the_engine_can_stand_in_its_own_place():
    """Run as if it had been edited, by a line that does nothing: the package does what it did."""
    for module in (ops, shapes, engine, gradients):
        file = module.__name__.replace(".", "/") + ".py"
        for name in build.definitions(inspect.getsource(module)):
            run(source(file, name) + "\nnothing = 0")
    assert slope() == 6 and slope(lambda x: x[:1] * x.exp()) > 0
    assert gradients.total is gradients.Total


def test_original_puts_all_back_and_says_what():
    before = everything()
    run(MUL, "g * b", "-g * b")
    run(WALK, "waiting.send(x, share)", "waiting.send(x, 2 * share)")
    run(APPLY, "try:", "print(self)\n    try:")
    assert everything() != before
    names = live.original()
    assert [name.removeprefix("minidl.engine.") for name in names] == [
        "ops.mul",
        "gradients.walk",
        "tensor.Primitive.apply",
    ]
    assert everything() == before and live.original() == []


def test_everyone_who_holds_a_function_has_the_new_one():
    walk = gradients.walk
    run(WALK, "waiting.send(x, share)", "waiting.send(x, 2 * share)")
    assert engine.walk is walk is gradients.walk and slope() == 4 * 6
    live.original()
    table, model = {"gelu": F.gelu}, partial(F.gelu, tensor([1.0]))
    run(source("minidl/nn/functional.py", "gelu"), "return ", "return 2 * ")
    twice = F.gelu(tensor([1.0])).item()
    assert twice == table["gelu"](tensor([1.0])).item() == model().item()
    live.original()
    assert twice == 2 * F.gelu(tensor([1.0])).item() == 2 * model().item()


def test_a_function_under_a_decorator_that_wraps_it():
    model, evaluating = nn.Dropout(0.5), nn.evaluating
    run(source("minidl/nn/module.py", "evaluating"), "training = False", "training = 3")
    with evaluating(model):
        assert nn.evaluating is evaluating and model.training == 3
    live.original()
    with evaluating(model):
        assert model.training is False


def test_a_method_its_super_and_its_decorators():
    run(source("minidl/engine/tensor.py", "Tensor.item"), "return ", "return 1 + ")
    assert tensor(3.0).item() == 4
    run(source("minidl/engine/tensor.py", "Tensor.shape"), "self.data.shape", '"shape"')
    assert tensor(3.0).shape == "shape"
    live.original()
    assert tensor(3.0).item() == 3 and tensor(3.0).shape == ()
    run(source("minidl/optim.py", "SGD.__init__"), "parameters, lr, sch", "parameters, 2 * lr, sch")
    assert optim.SGD([nn.Parameter(np.ones(2))], lr=0.1).lr == 0.2


def test_a_class_stays_the_object_that_it_is():
    layer, linear = nn.Linear(2, 2, bias=False), nn.Linear
    x = tensor([[1.0, 2.0]])
    before = layer(x).numpy().tolist()
    text = source("minidl/nn/layers.py", "Linear")
    run(text, "return y if", "return 2 * y if")
    assert nn.Linear is linear and isinstance(layer, nn.Linear)
    assert (layer(x) / 2).numpy().tolist() == before and nn.Linear(2, 2)(x).shape == (1, 2)
    live.original()
    assert layer(x).numpy().tolist() == before


def test_the_subclasses_of_a_class_its_super_and_a_named_tuple():
    run(source("minidl/nn/layers.py", "MaxPool2d"), 'f"{self.size}"', '"of size"')
    assert nn.AvgPool2d(2).extra() == "of size"
    run(source("minidl/optim.py", "SGD"), "parameters, lr, sch", "parameters, 2 * lr, sch")
    assert optim.SGD([nn.Parameter(np.ones(2))], lr=0.1).lr == 0.2
    live.original()
    assert optim.SGD([nn.Parameter(np.ones(2))], lr=0.1).lr == 0.1
    run(source("minidl/engine/gradients.py", "Piece"), "return primitives", "return 2 * primitives")
    assert slope(lambda x: x[:1]) == 2


@pytest.mark.parametrize("text", [APPLY, SHARES], ids=["apply", "shares"])
def test_the_fast_operators_are_off_while_apply_or_shares_is_edited(text):
    seen = engine.seen = []
    try:
        quick, held = engine.quick.__code__, engine.quick
        run(text)
        assert engine.quick.__code__ is quick
        run(text, "try:", "seen.append(self.name)\n    try:")
        assert engine.quick is held and held.__code__ is live.quick.__code__
        assert slope() == 6 and {"mul", "sum"} <= set(seen)
        run(text)
        assert engine.quick.__code__ is quick
    finally:
        del engine.seen


def test_the_fast_totals_are_off_while_total_or_walk_is_edited():
    run(WALK)
    run(TOTAL)
    assert gradients.total is gradients.QuickTotal
    run(TOTAL, "self.sum + share", "self.sum - share")
    assert gradients.total is gradients.Total and slope() == 0
    run(WALK, "found = Waiting(), []", "found = Waiting(), list()")
    run(TOTAL)
    assert gradients.total is gradients.Total and slope() == 6
    run(WALK)
    assert gradients.total is gradients.QuickTotal and slope() == 6
    run(source("minidl/engine/gradients.py", "total"), "= QuickTotal", "= Total")
    assert gradients.total is gradients.Total is not gradients.QuickTotal


def test_several_names_and_a_helper_beside_them():
    text = source("minidl/engine/ops.py", "mul", "div")
    run(text + "\n\ndef twice(a):\n    return a + a\n", "return a * b", "return twice(a * b)")
    assert (tensor([2.0]) * 3).item() == 12 and ops.twice(2) == 4 and len(live.edits) == 2
    run(source("minidl/engine/ops.py", "div"), "return a / b", "return b / a")
    assert (tensor([2.0]) * 3).item() == 12 and (tensor([2.0]) / 3).item() == 1.5
    run(text)
    assert not hasattr(ops, "twice") and live.edits == {}


@pytest.mark.parametrize(
    "text, before, after, error, sentence",
    [
        (MUL, "ops.py: mul", "ops.py: mull", live.QuotationError, "does not define mull"),
        (MUL, "ops.py: mul", "opps.py: mul", live.QuotationError, "there is no minidl/engine/opps"),
        (MUL, "ops.py: mul", "ops: mul", live.QuotationError, "is no marker"),
        (MUL, MUL[MUL.index("\n") :], "", live.QuotationError, "must define mul; it defines not"),
        (APPLY, APPLY[APPLY.index("\n") :], "", live.QuotationError, "must define apply"),
        (WALK, "def walk", "def run", live.QuotationError, "must define walk; it defines run"),
        (MUL, "@primitive\n", "", AttributeError, "no attribute 'gradient'"),
        (WALK, "def walk", "class walk: ...\n\ndef total", live.QuotationError, "makes it a type"),
        (WALK, "def walk", "total = 3\n\ndef walk", live.QuotationError, "also defines total"),
        (TOTAL, "Total:", "Total(dict):", live.QuotationError, "bases"),
        (WALK, "def walk", "1 / 0\ndef walk", ZeroDivisionError, "division"),
        (MUL, "@mul.gradient", "@mul.slope", AttributeError, "slope"),
        (APPLY, "def apply", "1 / 0\ndef apply", ZeroDivisionError, "division"),
    ],
)
def test_a_cell_that_raises_leaves_all_as_it_was(text, before, after, error, sentence):
    for edited in (False, True):
        if edited:
            run(MUL, "return a * b", "return a * b + 1")
            run(WALK, "waiting.send(x, share)", "waiting.send(x, 2 * share)")
        as_it_was = everything()
        with pytest.raises(error, match=sentence):
            run(text, before, after)
        assert everything() == as_it_was


# --- in a notebook ------------------------------------------------------------------------------


def test_in_a_kernel_and_from_another_folder(tmp_path):
    """A learner's copy lies elsewhere; a cell that cannot be read changes nothing."""
    texts = [
        "%load_ext course.live\nfrom minidl import tensor, grad",
        MUL.replace("g * b", "-g * b"),
        "x = tensor([3.0], requires_grad=True)\nslope = lambda x: grad((x * x).sum(), x)[0]",
        "print(slope(x), mul)",
        MUL.replace("g * b", "1 / 0"),
        "try:\n    slope(x)\nexcept ZeroDivisionError:\n    import traceback\n    "
        "print('1 / 0' in traceback.format_exc())",
        "%reload_ext course.live",
        "print(slope(x))",
        MUL.replace("g * b", "g / b"),
        "%original",
        "print(slope(x))",
        MUL,
    ]
    nb = build.v4.new_notebook(cells=[build.v4.new_code_cell(text) for text in texts])
    build.execute(nb, tmp_path, ROOT)
    said = ["".join(o.get("text", "") for o in cell.outputs) for cell in nb.cells]
    note = "edited: mul; %original puts the package's text back\n"
    assert said == [
        "",
        note,
        "",
        "tensor([0.]) <primitive mul>\n",
        note,
        "True\n",
        "",
        "tensor([6.])\n",
        note,
        "put back: minidl.engine.ops.mul\n",
        "tensor([6.])\n",
        "",
    ]


# --- each quotation of each lesson --------------------------------------------------------------


def mistakes(text):
    """(kind, text) for each mistake made by machine in the definitions of a quoting cell."""
    marker, tree = text.partition("\n")[0], ast.parse(text)

    def changed(node, field, value):
        before = getattr(node, field)
        setattr(node, field, value)
        spoilt = ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))
        setattr(node, field, before)
        return f"{marker}\n{spoilt}"

    swapped = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            hello = ast.parse(f"print('in {node.name}, line {node.lineno}')").body
            yield "print", changed(node, "body", hello + node.body)
        if isinstance(node, ast.BinOp) and type(node.op) in swapped:
            yield "operator", changed(node, "op", swapped[type(node.op)]())
            yield "sign", changed(node, "left", ast.UnaryOp(ast.USub(), node.left))
        if isinstance(node, ast.Return) and node.value:
            yield (
                "twice",
                changed(node, "value", ast.BinOp(node.value, ast.Mult(), ast.Constant(2))),
            )
        for field in ("body", "orelse"):
            for part in getattr(node, field, None) or [] if isinstance(node, ast.stmt) else []:
                if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                    continue  # a docstring
                rest = [s for s in getattr(node, field) if s is not part]
                if rest or field == "orelse":
                    yield "dropped", changed(node, field, rest)


def chosen(mistakes, most=2):
    """Of each kind the first, the last, and what lies between, `most` in all."""
    kinds = {}
    for kind, text in mistakes:
        kinds.setdefault(kind, []).append(text)
    for kind, texts in kinds.items():
        n = min(most, len(texts))
        for i in range(n):
            yield kind, texts[i * (len(texts) - 1) // max(1, n - 1)]


def met(path):
    """Print, for each quoting cell of a lesson and each kind of mistake in it, whether a later
    cell of the lesson prints something else, or raises.

    The lesson is run once.  At each quoting cell a copy of the process stops, and waits until it is
    known how long the later cells take; then each mistake goes its own way from there, in a copy of
    that copy.
    """
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    os.chdir(path.parent)
    cells = [cell for cell in build.read(path).cells if cell.cell_type == "code"]
    # Without a history: the copies of the process would share its database, and print complaints.
    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    quoted, differs, seconds = {}, "", {}
    for number, cell in enumerate(cells):
        if cell.source.startswith("# minidl/"):
            quoted[cell.id] = waiting(shell, cell, cells[number + 1 :])
            ran(shell, cell.source)
        else:
            began = time.process_time(), time.perf_counter()
            found = differs_from_stored(shell, cell)
            seconds[cell.id] = time.process_time() - began[0], time.perf_counter() - began[1]
            if quoted:
                differs = differs or found
    verdicts = [verdict for tell in quoted.values() for verdict in tell(seconds)]
    # Without a mistake, once for all quotations.
    print(json.dumps(verdicts + [(name, "none", "", differs) for name in quoted]))


def waiting(shell, cell, later):
    """A function that is told how long cells take, and gives the verdicts on a quoting cell's
    mistakes, tried in a copy of the process as it is now.

    One mistake that is met speaks for its kind; of what is printed alone, each is tried.
    """
    asked, ask = os.pipe()
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        os.close(ask)
        with os.fdopen(asked, encoding="utf-8") as pipe:
            seconds = pipe.readline()  # later copies keep the other end open
        if not seconds:  # who asks has ended
            os._exit(1)
        verdicts, done = [], set()
        for kind, text in chosen(mistakes(cell.source)):
            if kind not in done:
                found = apart(shell, text, later, json.loads(seconds))
                verdicts.append((cell.id, kind, text, found))
                if found and kind != "print":
                    done.add(kind)
        os._exit(write(tell, json.dumps(verdicts)))
    os.close(asked)
    os.close(tell)

    def verdicts(seconds):
        with os.fdopen(ask, "w", encoding="utf-8") as pipe:
            print(json.dumps(seconds), file=pipe)
        with os.fdopen(told, encoding="utf-8") as pipe:
            found = pipe.read()
        os.waitpid(child, 0)
        return json.loads(found)

    return verdicts


def ran(shell, text):
    """What a cell prints, and whether it was without an error."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
        result = shell.run_cell(text, store_history=True)
    return printed.getvalue(), result.success


MEMORY = 4 << 30  # bytes; a mistake may double a list at each call


def apart(shell, text, later, seconds):
    """In a copy of this process: what met the mistake, or "".

    seconds: of each cell's name, how long it takes, of the process and of the clock.  A mistake may
    take the end out of a loop, or out of a wait: what takes far longer is ended.  One that wants
    MEMORY more is refused it.
    """
    import resource  # not on Windows, where this is not called

    there, here = os.pipe()
    if (child := os.fork()) == 0:
        held = (
            int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
            * resource.getpagesize()
        )
        resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
        for sign in (signal.SIGVTALRM, signal.SIGALRM):
            signal.signal(sign, lambda *_: os._exit(write(here, "ran too long")))
        os._exit(write(here, meets(shell, text, later, seconds)))
    os.close(here)
    with os.fdopen(there, encoding="utf-8") as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    return found if status == 0 else f"the process ended with {status}"


def write(pipe, text):
    left = text.encode()
    while left:
        left = left[os.write(pipe, left) :]
    return 0


def meets(shell, text, later, seconds):
    end_after(0, 0)
    ran(shell, text)
    for cell in later:
        if cell.source.startswith("# minidl/") or "interact(" in cell.source:
            continue
        end_after(*seconds[cell.id])
        if found := differs_from_stored(shell, cell):
            return found
    return ""


def end_after(own, clocks):
    """Let signals come when a cell has taken far more than so many seconds."""
    signal.setitimer(signal.ITIMER_VIRTUAL, 5 + 4 * own)
    signal.setitimer(signal.ITIMER_REAL, 15 + 6 * clocks)


def differs_from_stored(shell, cell):
    """Run a cell: its name if it prints something else than is stored, or raises; else ""."""
    printed, right = ran(shell, cell.source)
    if "nbval-ignore-output" in cell.metadata.get("tags", ()):
        return ""  # it is run because what comes after it may need what it makes
    stored = "".join(o.text for o in cell.outputs if o.output_type == "stream")
    if not right or printed != stored:
        return cell.id if right else f"{cell.id} raises"
    return ""


QUOTING = [path for path in LESSONS if quoting(path)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="waits for Linux, whose /proc and fork it uses")
@pytest.mark.parametrize("path", QUOTING, ids=lambda path: path.stem)
def test_a_mistake_in_a_quotation_is_met_by_a_later_cell(path, note):
    once = {"MPLBACKEND": "Agg", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    once["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "exercises")])
    program = f"import test_live, pathlib; test_live.met(pathlib.Path({str(path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | once, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    verdicts = json.loads(done.stdout.splitlines()[-1])
    assert {name for name, *_ in verdicts} == {cell.id for cell in quoting(path)}
    kinds, missed = {}, []
    for name, kind, text, where in verdicts:
        kinds.setdefault((name, kind), []).append(where)
        if not where and kind != "none":
            missed.append(f"{name}, {kind}:\n{text}")
    for (name, kind), where in kinds.items():
        if kind == "none":
            assert where == [""], f"{name}, as it stands, changes {where[0]}"
        elif kind == "print":
            assert "" not in where, f"{name}: no later cell runs it: {missed}"
        else:
            assert any(where), f"{name}: no later cell meets a mistake ({kind}): {missed}"
    tried = sum(kind != "none" for _, kind, _, _ in verdicts)
    note(f"{path.stem}: {tried - len(missed)} of {tried} mistakes in quotations are met")
