"""Quotations are live: an edit in a quoting cell changes what the package does in this notebook.

    %load_ext course.live     from here on
    %original                 puts all back that was edited

The one rule of this file: nobody who holds a definition is left with the old one.  So a function,
a class or an operation stays the object that it is, and what it is made of is exchanged.

A quoting cell begins with a marker, `# minidl/engine/ops.py: mul, div` or
`# minidl/engine/tensor.py: Tensor.backward`; the rest of it runs inside that module, and nothing
is changed before all of it has run.  Modules are found by import, so a copy of a lesson may lie
anywhere.  While something is edited, the fast way beside it is off.
"""

import __future__

import ast
import importlib
import inspect
import re
import sys
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType

from minidl import advice
from minidl.engine import gradients, tensor
from minidl.engine.intercept import primitives

MARKER = re.compile(r"# (minidl/(?:\w+/)*\w+\.py): (\w+(?:\.\w+)?(?:, \w+(?:\.\w+)?)*)")


def quick(op, a, b):
    """What stands in place of tensor.py's `quick`: `Primitive.apply`."""
    return op(a, b)


# Module -> what its fast way is called, what stands in its place, and which names are its own.
FAST = {
    tensor: ("quick", lambda: quick, {"quick"}),
    gradients: ("total", lambda: gradients.Total, {"total", "QuickTotal"}),
}

LATER = __future__.annotations.compiler_flag  # annotations are not evaluated, as in the package

edits = {}  # (module, name) -> {name: what the cell made, with what else it made on the way}
undo = []  # what puts the package back, the last change last


class QuotationError(Exception):
    """What is wrong in a quoting cell; a sentence for the person who edited it."""

    def _render_traceback_(self):  # of IPython: what it shows of an error
        return [f"{type(self).__name__}: {self}"]


# ---- what a cell says


def marked(source):
    """("minidl/engine/ops.py", ["mul"]) of a quoting cell, or None for any other.

    Raises QuotationError for a first line that was meant as a marker and is none.
    """
    first = source.partition("\n")[0].rstrip()
    if not first.startswith("# minidl/"):
        return None
    match = MARKER.fullmatch(first)
    if match is None:
        raise QuotationError(
            f"{first!r} is no marker; write `# minidl/engine/ops.py: mul` or `...: mul, div`"
        )
    return match[1], match[2].split(", ")


def bound(node):
    """The names that a statement defines; not `_`, which stands for a rule without a name."""
    names = []
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        names = [node.name]
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        inside = [n for target in targets for n in ast.walk(target)]
        names = [n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [name for name in names if name != "_"]


def statements(source):
    """Name -> the statements that define it in a module; methods as `Class.method`.

    An operation's gradient rule, which comes next, belongs to it.
    """
    found = {}

    def collect(body, prefix):
        for node, after in zip(body, [*body[1:], None]):
            for name in bound(node):
                rules = [ast.unparse(d) for d in getattr(after, "decorator_list", [])]
                found[prefix + name] = [node, after] if f"{name}.gradient" in rules else [node]
            if isinstance(node, ast.ClassDef) and not prefix:
                collect(node.body, f"{node.name}.")

    collect(ast.parse(source).body, "")
    return found


def _module(file):
    name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise QuotationError(f"there is no {file}") from None


# ---- from text to objects


def _run(body, module, owner, filename):
    """Run statements inside a module, or inside its class `owner`; return what they define.

    What they define is seen by them, and by nobody else yet.
    """
    __tracebackhide__ = True  # of IPython: an error shows the cell, not this program
    made, known = {}, dict(primitives)
    if owner and body:

        def gather(name, bases, inside):
            if cell := inside.pop("__classcell__", None):  # for `super()`
                cell.cell_contents = vars(module)[owner]
            inside.pop("__module__"), inside.pop("__qualname__")
            made.update(inside)

        meta = ast.keyword("metaclass", ast.Name("gather", ast.Load()))
        wrap = ast.ClassDef(name=owner, bases=[], keywords=[meta], body=body, decorator_list=[])
        wrap.type_params = []
        body = [ast.copy_location(wrap, body[0])]
        scope = {"gather": gather}
    else:
        scope = made
    code = ast.fix_missing_locations(ast.Module(body, type_ignores=[]))
    try:
        exec(compile(code, filename, "exec", LATER, dont_inherit=True), vars(module), scope)
    finally:  # what `@primitive` wrote down
        primitives.clear()
        primitives.update(known)
    made.pop("_", None)
    made.pop("__annotations__", None)  # of names at the top, for type checkers
    # What Python 3.13 and newer leave in a class: __static_attributes__, __firstlineno__.
    told = "__static", "__firstlineno__"
    return {name: value for name, value in made.items() if not name.startswith(told)}


def _check(place, names, made, package):
    """Raise QuotationError unless `made` can stand for the attributes `names` of `place`.

    package: the statements of these names; what they define besides may be defined, too.
    """
    __tracebackhide__ = True
    where = place.__name__
    for name in names:
        if name not in made:
            others = ", ".join(made) or "nothing"
            raise QuotationError(f"the cell must define {name}; it defines {others}")
        old, new = vars(place)[name], made[name]
        exchanged = isinstance(old, (FunctionType, type, tensor.Primitive, property))
        if exchanged and type(new) is not type(old):
            hint = "; is its @line missing?" if isinstance(new, FunctionType) else ""
            raise QuotationError(
                f"{name} of {where} is a {type(old).__name__}, "
                f"the cell makes it a {type(new).__name__}{hint}"
            )
        if isinstance(old, type) and old.__name__ == name and _frame(old) != _frame(new):
            raise QuotationError(f"the bases and __slots__ of the class {name} cannot be edited")
    for name in set(made) - {name for node in package for name in bound(node)}:
        if name in vars(place) and vars(place)[name] is not made[name]:
            raise QuotationError(
                f"the cell also defines {name}, which {where} has: "
                "name it in the first line too, or call yours otherwise"
            )


def _frame(kind):
    return kind.__bases__, vars(kind).get("__slots__")


def _said(nodes):
    """What statements say, wherever they stand: a method of a cell is moved to the left."""
    return [re.sub(r"\\n *", r"\\n", ast.dump(node)) for node in nodes]


def define(source, body, filename):
    """Make the cell `source`, parsed into `body`, the package's definition of what it names."""
    __tracebackhide__ = True
    file, names = marked(source)
    module = _module(file)
    package = statements(inspect.getsource(module))
    if missing := [name for name in names if name not in package]:
        raise QuotationError(f"{file} does not define {missing[0]}")
    owners = {name.rpartition(".")[0] for name in names}
    if len(owners) > 1:
        raise QuotationError("a cell quotes methods of one class, or what stands in no class")
    after = dict(edits)
    for name in names:
        after.pop((module, name), None)
    package = [node for name in names for node in package[name]]
    if _said(body) != _said(package):
        (owner,) = owners
        place = vars(module)[owner] if owner else module
        made = _run(body, module, owner, filename)
        own = [name.rpartition(".")[2] for name in names]
        _check(place, own, made, package)
        others = {name: value for name, value in made.items() if name not in own}
        for name, short in zip(names, own):
            after[module, name] = {**others, short: made[short]}
    _use(after)
    return module, names


# ---- from objects to the package


def _use(after):
    """Have the edits `after` in the package, and no others; all or nothing."""
    before = dict(edits)
    try:
        _exchange(after)
    except BaseException:
        _exchange(before)
        raise


def _exchange(wanted):
    while undo:
        undo.pop()()
    edits.clear()
    edits.update(wanted)
    for (module, name), values in edits.items():
        owner = name.rpartition(".")[0]
        for short, value in values.items():
            undo.append(_change(vars(module)[owner] if owner else module, short, value))
    for module, (fast, plain, own) in FAST.items():
        if any(m is module and name not in own for m, name in edits):
            undo.append(_change(module, fast, plain()))


def _change(place, name, new):
    """Let the attribute `name` of a module or class be `new`; return what undoes it."""
    if name not in vars(place):
        setattr(place, name, new)
        return lambda: delattr(place, name)
    old = vars(place)[name]
    if isinstance(old, tensor.Primitive):
        return _take(old, new, ("forward", "rule", "__doc__"))
    if getattr(old, "__name__", None) == name == getattr(new, "__name__", None):
        if isinstance(old, type):
            return _remake(old, new)
        if isinstance(old, FunctionType):
            inner, made = _unadvised(old), _unadvised(new)
            if _closed(inner).keys() == _closed(made).keys():
                return _fill(inner, made)
    places = [place] if isinstance(place, type) else _modules()
    holders = [p for p in places if vars(p).get(name) is old]
    for p in holders:
        setattr(p, name, new)
    return lambda: [setattr(p, name, old) for p in holders]


def _modules():
    """All of minidl that is loaded, and the notebook."""
    ours = "minidl", "__main__"
    return [m for name, m in list(sys.modules.items()) if name.partition(".")[0] in ours]


def _take(old, new, parts):
    before = {part: getattr(old, part) for part in parts}
    for part in parts:
        setattr(old, part, getattr(new, part))
    return lambda: [setattr(old, part, value) for part, value in before.items()]


def _unadvised(f):
    """The function f without what only explains its errors (minidl/advice.py)."""
    return f.__wrapped__ if getattr(f, "__globals__", None) is vars(advice) else f


def _closed(function):
    return dict(zip(function.__code__.co_freevars, function.__closure__ or ()))


def _fill(old, new):
    """The function `old` does what `new` does; returns what undoes it."""
    parts = "__code__", "__defaults__", "__kwdefaults__", "__doc__", "__dict__"
    undo_parts = _take(old, new, parts)
    cells = [(cell, cell.cell_contents) for cell in old.__closure__ or ()]
    for cell, theirs in zip(old.__closure__ or (), new.__closure__ or ()):
        cell.cell_contents = theirs.cell_contents

    def back():
        undo_parts()
        for cell, value in cells:
            cell.cell_contents = value

    return back


def _remake(old, new):
    """The class `old` has what `new` has; returns what undoes it."""
    before, after = _attributes(old), _attributes(new)
    for value in after.values():  # for `super()`
        parts = ("fget", "fset", "__func__", "__wrapped__")
        for f in (value, *(getattr(value, part, None) for part in parts)):
            if isinstance(f, FunctionType) and "__class__" in _closed(f):
                _closed(f)["__class__"].cell_contents = old

    def have(attributes, others):
        for name in set(others) - set(attributes):
            delattr(old, name)
        for name, value in attributes.items():
            setattr(old, name, value)

    have(after, before)
    return lambda: have(before, _attributes(old))


def _attributes(kind):
    fixed = GetSetDescriptorType, MemberDescriptorType
    kept = "__module__", "__slots__", "__annotate_func__", "__annotations_cache__"
    return {n: v for n, v in vars(kind).items() if not isinstance(v, fixed) and n not in kept}


def original():
    """Put back all that quoting cells edited; return its names."""
    names = [f"{module.__name__}.{name}" for module, name in edits]
    _exchange({})
    return names


# ---- the notebook


class Quotations:
    """Of IPython: sees each cell before it runs, and runs the quoting ones in their modules."""

    def __init__(self, shell):
        self.shell = shell
        self.source = ""
        self.cell = "", []

    def before(self, info):
        """Called with each cell's text (the event pre_run_cell)."""
        self.source = info.raw_cell.lstrip("\n")

    def visit(self, tree):
        """Called with each cell's statements (an ast_transformer)."""
        source, self.source = self.source, ""
        if not source.startswith("# minidl/"):
            return tree
        self.cell = source, tree.body
        self.shell.user_ns["_quotation"] = self.run
        return ast.parse("_quotation()")

    def run(self):
        """The text of the cell becomes the package's, and the notebook knows it by its name."""
        __tracebackhide__ = True
        module, names = define(*self.cell, sys._getframe(1).f_code.co_filename)
        for name in names:
            if "." not in name:
                self.shell.user_ns[name] = vars(module)[name]
        if edited := [name for name in names if (module, name) in edits]:
            print(f"edited: {', '.join(edited)}; %original puts the package's text back")

    def original(self, line):
        """Put back all that quoting cells edited."""
        print("put back:", ", ".join(original()) or "nothing, for nothing was edited")


def load_ipython_extension(shell):
    live = Quotations(shell)
    shell.events.register("pre_run_cell", live.before)
    shell.ast_transformers.append(live)
    shell.register_magic_function(live.original, "line", "original")


def unload_ipython_extension(shell):
    original()
    for live in [t for t in shell.ast_transformers if isinstance(t, Quotations)]:
        shell.ast_transformers.remove(live)
        shell.events.unregister("pre_run_cell", live.before)
