"""Wrong answers made by machine: a right answer with one small change, which knows what it is.

A mutant's sentence ends "like the right answer, but with ...".  The one rule of this file: a
change is made in the tree of the program (`ast`), one at a time, and taken back, so each mutant
differs from the right answer in one place.
"""

import ast
import builtins
import copy
import inspect
import textwrap
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .task import Stopped, copied, draw

LIKE = "like the right answer, "
# Words of changes that are understood without the program that was changed.
_PLAIN = (
    "axis", "axes", "as if", "rows of", "row of", "the result", "no copy made", "root", "square",
    "`mean`", "`sum`", "`max`", "`min`", "`argmax`", "`argmin`", "`any`", "`all`", "first round",
    "last round", "`<`", "`>`", "`<=`", "`>=`", "sign kept", "kept from", "sorted", "`//`",
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """change: what is different, in words.  text: `the line before -> the line after`.
    source: the program.  variant: which of the task's right answers it was made from."""

    change: str
    text: str
    source: str
    variant: int = 0

    @property
    def sentence(self):
        joined = "but" if self.change.startswith("as if ") else "but with"
        return f"{LIKE}{joined} {self.change}"

    @property
    def tells(self):
        """Whether its sentence says something to a learner who wrote the answer in another way:
        what the first variant's lines are, is known from the text and its given lines."""
        return not self.variant or any(word in self.change for word in _PLAIN)


@lru_cache(maxsize=256)
def mutants(task):
    """All mutants of a task's right answers; of two with the same program the first."""
    found, kinds, results = {}, input_kinds(task), result_kinds(task)
    for number, source in enumerate(task.right):
        original = ast.unparse(ast.parse(textwrap.dedent(source)))
        for change, text, program in changes(original, task.name, kinds, results):
            if program != original:
                found.setdefault(program, Mutant(change, text, program, number))
    return list(found.values())


def input_kinds(task):
    """The inputs' names -> what they are in some case: letters of NumPy's kinds for arrays ("f"
    float, "i" int; "n" if one holds something infinite or nan), "F" for a float number."""
    kinds = {}
    names = list(inspect.signature(task.reference).parameters)
    for _, arguments in draw(task, 0):
        for name, value in zip(names, arguments):
            letters = "F" if type(value) is float else ""
            if isinstance(value, np.ndarray) and value.ndim:
                letters = value.dtype.kind
                letters += "n" if letters == "f" and not np.isfinite(value).all() else ""
            kinds[name] = kinds.get(name, "") + letters
    return kinds


def result_kinds(task):
    """What right results are like, as letters: "1" numbers other than 0, "-" some below 0, "f"
    some not whole, "2" some with rows and columns, "s" some with an axis of length 1."""
    letters = set()
    for _, arguments in draw(task, 0):
        try:
            with np.errstate(all="ignore"):
                value = np.asarray(task.reference(*copied(arguments)))
                broken = bool((value % 1 > 0).any()) if value.dtype.kind == "f" else False
        except Exception:
            continue  # an error is right there, or the result is no array
        if value.dtype.kind in "fiu" and value.size:
            letters |= {"1"} if value.any() else set()
            letters |= {"-"} if (value < 0).any() else set()
            letters |= {"f"} if broken else set()
            letters |= {"2"} if value.ndim > 1 else set()
            letters |= {"s"} if 1 in value.shape else set()
    return letters


def equal(task, mutant):
    """Why a mutant is known to be as right as the original, or an empty string."""
    for part, reason in task.equal:
        if part in mutant.text or part in mutant.change:
            return reason
    return ""


def compiled(task, source):
    """(the function that `source` defines, a counter [rounds, most]): `Stopped` ends it when its
    loops have gone more than `most` rounds, if that is not None.

    Rounds are counted and not seconds, so that it ends in any thread, and at the same place.
    """
    counter = [0, None]

    def tick():
        counter[0] += 1
        if counter[1] is not None and counter[0] > counter[1]:
            raise Stopped

    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, (ast.For, ast.While, ast.FunctionDef)):
            call = ast.Expr(ast.Call(ast.Name("_tick", ast.Load()), [], []))
            node.body.insert(0, call)
    return task.compile(ast.fix_missing_locations(tree), _tick=tick), counter


# ---- where a change can be made


def changes(source, name, kinds, results):
    """Triples (change in words, text, program) for each small change of the program `source`.

    name: of its function.  kinds, results: as `input_kinds` and `result_kinds` give them.
    """
    tree = ast.parse(source)
    function = next(n for n in ast.walk(tree) if getattr(n, "name", "") == name)
    ends = [n for n in ast.walk(function) if isinstance(n, ast.Return)]
    last = max(ends, key=lambda n: n.lineno, default=None)
    known = {a.arg for a in function.args.args} | set(dir(builtins)) | {"np"}
    for node, statement, put, options in edits(tree, last, results):
        before = _line(statement)
        for new, words in options:
            ast.fix_missing_locations(ast.copy_location(new, node))
            told = _words(words, known)
            put(new)
            after = _line(new if isinstance(node, ast.stmt) and statement is node else statement)
            try:
                program = ast.unparse(tree)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a mutant may be a strange program
                    compile(program, "<mutant>", "exec")
            except (ValueError, SyntaxError, AttributeError):
                continue
            finally:
                put(node)
            yield told, f"{before} -> {after}", program
    yield from _body_changes(tree)
    yield from _input_changes(tree, function, kinds)


def edits(tree, last=None, results=()):
    """For each node of `tree` that is more than a name: (node, the statement that it stands in, a
    function that puts another node there, pairs (new node, words) for the changes of it).

    last: the return of which results are as `result_kinds` says in `results`.
    """
    for node, parent, statement, put in list(_places(tree)):
        if isinstance(node, ast.stmt):
            options = _statement_changes(node, results if node is last else set())
        else:
            options = _expression_changes(node, parent)
        yield node, statement, put, options


def _places(tree):
    """(node, its parent, the statement that it stands in, a function that puts another there)."""
    todo = [(tree, None)]
    while todo:
        parent, statement = todo.pop(0)
        for field, value in ast.iter_fields(parent):
            nodes = value if isinstance(value, list) else [value]
            for i, node in enumerate(nodes):
                if not isinstance(node, ast.AST) or isinstance(node, _LEFT_ALONE):
                    continue
                if field == "args" and _call_name(parent) in _SHAPED:
                    continue  # a shape that is slightly different is no shape, or the same
                own = node if isinstance(node, ast.stmt) else statement
                todo.append((node, own))
                if isinstance(getattr(node, "ctx", None), (ast.Store, ast.Del)):
                    continue
                if isinstance(node, (ast.stmt, ast.expr)) and not _is_docstring(node):
                    at = i if isinstance(value, list) else None
                    yield node, parent, own, _putter(parent, field, at)


_SHAPED = "reshape", "broadcast_to"
_LEFT_ALONE = ast.arguments, ast.Import, ast.ImportFrom, ast.JoinedStr


def _putter(parent, field, at):
    def put(new):
        if at is None:
            setattr(parent, field, new)
        else:
            getattr(parent, field)[at] = new

    return put


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _line(statement):
    """A statement in one line; of one with a body its head."""
    if statement is None:
        return ""
    if getattr(statement, "body", None):
        statement = copy.copy(statement)
        statement.body, statement.orelse = [ast.Pass()], []
        return ast.unparse(ast.fix_missing_locations(statement)).partition("\n")[0]
    return ast.unparse(statement)


# ---- in words


def _words(words, known):
    """The change in words: a string, or (old, new) for `new` in place of `old`.

    Programs are quoted only if a learner can know every name in them.
    """
    if isinstance(words, str):
        return words
    new, old, short = words
    names = {n.id for part in (old, new) for n in ast.walk(part) if isinstance(n, ast.Name)}
    texts = [ast.unparse(part) for part in (new, old)]
    if names <= known and max(map(len, texts)) <= 40:
        return f"`{texts[0]}` in place of `{texts[1]}`"
    return short


# ---- expressions

_COMPARE = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
_ARITHMETIC = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult, ast.FloorDiv), ast.FloorDiv: (ast.Div,), ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,), ast.MatMult: (ast.Mult,), ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}  # fmt: skip
_SIGNS = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
    ast.Is: "is", ast.IsNot: "is not", ast.In: "in", ast.NotIn: "not in",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.Pow: "**", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|",
}  # fmt: skip
_ORDERED = ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.MatMult

# A function and those that are taken for it.
_EXCHANGED = {
    "min": ("max",), "max": ("min",), "argmin": ("argmax",), "argmax": ("argmin",),
    "minimum": ("maximum",), "maximum": ("minimum",), "any": ("all",), "all": ("any",),
    "sum": ("mean", "max"), "mean": ("sum", "max"), "floor": ("ceil", "round"), "ceil": ("floor",),
    "zeros": ("ones",), "ones": ("zeros",), "zeros_like": ("ones_like",),
    "ones_like": ("zeros_like",), "log": ("log2", "log10"), "sin": ("cos",), "cos": ("sin",),
    "std": ("var",), "var": ("std",), "prod": ("sum",), "cumsum": ("cumprod",),
    "hstack": ("vstack",), "vstack": ("hstack",), "append": ("insert",), "unique": ("sort",),
    "most_common": ("elements",), "popleft": ("pop",), "isinf": ("isnan",),
}  # fmt: skip
# What is often forgotten: f(x) becomes x, and x.f() becomes x.
_DROPPED = {
    "abs": "the sign kept (abs is missing)", "sqrt": "the root left out",
    "copy": "no copy made", "sorted": "the order as it was (not sorted)",
    "reversed": "the order not turned round", "exp": "exp left out", "log": "log left out",
    "round": "nothing rounded", "astype": "the numbers' type left as it was",
    "argsort": "", "int": "", "unique": "repeated ones left in",
    "set": "repeated ones left in", "cumsum": "no running sum", "norm": "", "transpose": "",
}  # fmt: skip
_EITHER_WAY = set("min max minimum maximum dist isclose allclose array_equal add gcd".split())
_REDUCTIONS = set(
    "sum mean max min argmax argmin any all std var prod median cumsum argsort sort norm".split()
)


def _expression_changes(node, parent):
    """Pairs (new node, words) for one expression."""
    if isinstance(parent, ast.keyword) and parent.arg == "axis":
        return ()  # an axis changes with its call
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and _hides_sign(parent):
        return [o for o in _arithmetic(node) if ast.unparse(o[0]) != _turned(node)]
    kind = {
        ast.Compare: _compare, ast.BinOp: _arithmetic, ast.UnaryOp: _unary, ast.BoolOp: _boolean,
        ast.Constant: _constant, ast.Call: _call, ast.Subscript: _subscript, ast.IfExp: _choice,
        ast.ListComp: _comprehension, ast.GeneratorExp: _comprehension, ast.Slice: _slice,
        ast.SetComp: _comprehension, ast.Attribute: _attribute, ast.Tuple: _tuple,
    }.get(type(node))  # fmt: skip
    return kind(node) if kind else ()


def _hides_sign(parent):
    """Whether a - b and b - a are the same to what they stand in: a square or a size."""
    if isinstance(parent, ast.BinOp):
        even = isinstance(parent.right, ast.Constant) and parent.right.value == 2
        return isinstance(parent.op, ast.Pow) and even
    return isinstance(parent, ast.Call) and _call_name(parent) in ("abs", "norm", "square")


def _turned(node):
    return ast.unparse(_with(node, left=node.right, right=node.left))


def _with(node, **fields):
    """A copy of a node with other fields."""
    new = copy.copy(node)
    for field, value in fields.items():
        setattr(new, field, value)
    return new


def _compare(node):
    for i, operator in enumerate(node.ops):
        for other in _COMPARE[type(operator)]:
            new = _with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
            short = f"`{_SIGNS[other]}` in place of `{_SIGNS[type(operator)]}`"
            yield new, (new, node, short)


def _arithmetic(node):
    sign = _SIGNS.get(type(node.op))
    for other in _ARITHMETIC.get(type(node.op), ()):
        new = _with(node, op=other())
        yield new, (new, node, f"`{_SIGNS[other]}` in place of `{sign}`")
    if sign is None:
        return
    if isinstance(node.op, _ORDERED):
        new = _with(node, left=node.right, right=node.left)
        yield new, (new, node, f"the two sides of `{sign}` exchanged")
    if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant):
        power = node.right.value
        names = {2: "the square", 0.5: "the root", 3: "the cube"}
        yield node.left, f"{names.get(power, f'the power {power}')} left out"
        return
    for kept, gone in ((node.left, node.right), (node.right, node.left)):
        part = ast.unparse(gone)
        what = f" (`{part}`)" if isinstance(gone, ast.Constant) else ""
        # A learner's code need not have a `//` at all, so of it nothing is said.
        change = f"one side of `{sign}` left out{what}"
        yield kept, (kept, node, change if sign != "//" else "a part of the formula left out")


def _unary(node):
    words = {
        ast.USub: "a minus left out",
        ast.Not: "a `not` left out",
        ast.Invert: "a `~` left out",
    }
    if type(node.op) in words and not isinstance(node.operand, ast.Constant):
        yield node.operand, words[type(node.op)]
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if type(value) is int:
            for other in (0, value, -value - 1):
                yield _number(other), f"{other} in place of {-value}"
        elif type(value) is float:
            yield node.operand, f"{value} in place of {-value}"


def _number(value):
    if value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    return ast.Constant(value)


def _boolean(node):
    other = ast.Or if isinstance(node.op, ast.And) else ast.And
    new = _with(node, op=other())
    signs = {ast.And: "and", ast.Or: "or"}
    yield new, f"`{signs[other]}` in place of `{signs[type(node.op)]}`"
    for i in range(len(node.values)):
        rest = [*node.values[:i], *node.values[i + 1 :]]
        new = rest[0] if len(rest) == 1 else _with(node, values=rest)
        yield new, (new, node, "one of the conditions left out")


def _constant(node):
    value = node.value
    if type(value) is bool:
        yield ast.Constant(not value), f"{not value} in place of {value}"
    elif type(value) is int:
        for other in sorted({value + 1, max(value - 1, 0), 0 if value > 2 else 1} - {value}):
            yield ast.Constant(other), f"{other} in place of {value}"
    elif type(value) is float and 1e-3 < abs(value) < 1e4:
        for other in (value / 2, value * 2):
            yield ast.Constant(other), f"{other:g} in place of {value:g}"
    elif value == 0.0 and type(value) is float:
        yield ast.Constant(1.0), "1 in place of 0"


def _choice(node):
    yield _with(node, body=node.orelse, orelse=node.body), "a condition turned round"
    yield node.body, "one case taken for all (a condition is not looked at)"
    yield node.orelse, "one case taken for all (a condition is not looked at)"


def _call_name(node):
    """The name of the function that a node calls, or an empty string."""
    function = getattr(node, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def _call(node):
    name = _call_name(node)
    method = isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "math", "itertools")
    )
    for other in _EXCHANGED.get(name, ()):
        field = "attr" if isinstance(node.func, ast.Attribute) else "id"
        new = _with(node, func=_with(node.func, **{field: other}))
        yield new, f"`{other}` in place of `{name}`"
    if name == "array" and node.args and isinstance(node.args[0], ast.Name):
        yield node.args[0], "no copy made"
    whole = name == "int" and not (node.args and _may_be_broken(node.args[0]))
    if name in _DROPPED and not whole:
        inner = node.func.value if method else (node.args or [None])[0]
        if inner is not None:
            yield inner, _DROPPED[name] or f"`{name}` left out"
    yield from _axis_changes(node, name, method)
    if name == "range":
        yield from _range_changes(node)
    for i in range(0 if name in _EITHER_WAY else len(node.args) - 1):
        args = list(node.args)
        args[i], args[i + 1] = args[i + 1], args[i]
        new = _with(node, args=args)
        yield new, (new, node, f"two arguments of `{name}` exchanged")
    if len(node.args) > 1:
        new = _with(node, args=node.args[:-1])
        yield new, (new, node, f"the last argument of `{name}` left out")
    for i, keyword in enumerate(node.keywords):
        if keyword.arg != "axis":
            new = _with(node, keywords=[*node.keywords[:i], *node.keywords[i + 1 :]])
            yield new, f"`{keyword.arg}={ast.unparse(keyword.value)}` left out"
    if name in ("std", "var"):
        one = [k for k in node.keywords if k.arg != "ddof"]
        other = [] if len(one) < len(node.keywords) else [ast.keyword("ddof", ast.Constant(1))]
        yield _with(node, keywords=one + other), "N and N - 1 exchanged in the deviation (ddof)"


def _may_be_broken(node):
    """Whether an expression may well have a fractional part, so that `int` cuts it off."""
    return any(isinstance(n, (ast.Div, ast.Pow)) for n in ast.walk(node))


def _axis_changes(node, name, method):
    """The same call along other axes, along all of them, or with the axes kept."""
    if isinstance(node.func, ast.Name):
        return  # Python's own max, min and sum know no axes
    at = 0 if method else 1
    named = next((k for k in node.keywords if k.arg == "axis"), None)
    if named is None and (name not in _REDUCTIONS or len(node.args) <= at):
        return
    try:
        axis = ast.literal_eval(named.value if named else node.args[at])
    except ValueError:
        return
    if not isinstance(axis, (int, tuple)) or isinstance(axis, bool):
        return

    def along(other):
        value = None if other is None else ast.parse(repr(other), mode="eval").body
        if named:
            rest = [k for k in node.keywords if k is not named]
            return _with(node, keywords=rest + ([ast.keyword("axis", value)] if value else []))
        return _with(
            node, args=[*node.args[:at], *([value] if value else []), *node.args[at + 1 :]]
        )

    others = {(0, 1), (0,), (1,), (2,), (0, 2), (1, 2)} if isinstance(axis, tuple) else set()
    others = sorted(others - {axis}) if others else [a for a in (0, 1, 2) if a != axis]
    if axis in (-1, -2):  # the others are tried from the end too, where they are surely others
        others = [0, -3 - axis]
    for other in others:
        shown = other[0] if isinstance(other, tuple) and len(other) == 1 else other
        yield along(shown), f"`{name}` over axis {shown} in place of axis {axis}"
    yield along(None), f"`{name}` over all axes in place of axis {axis}"
    if name in ("sum", "mean", "max", "min", "std", "var"):
        kept = [k for k in node.keywords if k.arg != "keepdims"]
        if len(kept) == len(node.keywords):
            kept = [*kept, ast.keyword("keepdims", ast.Constant(True))]
        yield _with(node, keywords=kept), "the axis kept or dropped the other way (keepdims)"


def _range_changes(node):
    last = 0 if len(node.args) == 1 else 1
    if len(node.args) == 1:
        yield (
            _with(node, args=[ast.Constant(1), node.args[0]]),
            "the first round of a loop left out",
        )
    short = ast.BinOp(node.args[last], ast.Sub(), ast.Constant(1))
    args = [*node.args[:last], short, *node.args[last + 1 :]]
    yield _with(node, args=args), "the last round of a loop left out"
    for most in (1, 3, 30):
        if isinstance(node.args[last], ast.Constant):
            continue
        end = ast.Call(ast.Name("min", ast.Load()), [node.args[last], ast.Constant(most)], [])
        args = [*node.args[:last], end, *node.args[last + 1 :]]
        yield _with(node, args=args), f"a loop that ends after {most} rounds at most"


def _slice(node):
    for field, side in (("lower", "start"), ("upper", "end")):
        part = getattr(node, field)
        if part is None:
            continue
        yield _with(node, **{field: None}), f"the {side} of a slice left out"
        for sign, by in ((ast.Add, "one later"), (ast.Sub, "one earlier")):
            if isinstance(part, (ast.Constant, ast.UnaryOp)):
                continue  # constants change by themselves
            new = _with(node, **{field: ast.BinOp(part, sign(), ast.Constant(1))})
            yield new, f"the {side} of a slice {by}"
    if node.step is not None:
        yield _with(node, step=None), "the step of a slice left out"


def _subscript(node):
    index = node.slice
    if isinstance(index, ast.Constant) and index.value == 0:
        yield _with(node, slice=_number(-1)), "the last one taken in place of the first"
    if ast.unparse(index) == "-1":
        yield _with(node, slice=ast.Constant(0)), "the first one taken in place of the last"
    if isinstance(index, ast.Tuple) and len(index.elts) == 2:
        new = _with(node, slice=_with(index, elts=index.elts[::-1]))
        yield new, (new, node, "two indices exchanged")
    if isinstance(index, ast.Slice) and index.step is None:
        new = _with(node, slice=_with(index, step=_number(-1), lower=None, upper=None))
        if index.lower is None and index.upper is None:
            yield new, "the order turned round"


def _comprehension(node):
    for i, generator in enumerate(node.generators):

        def put(i=i, **fields):
            generators = list(node.generators)
            generators[i] = _with(generators[i], **fields)
            return _with(node, generators=generators)

        for j in range(len(generator.ifs)):
            kept = [*generator.ifs[:j], *generator.ifs[j + 1 :]]
            yield put(ifs=kept), "a condition left out where things are collected"
        for new, words in _other_walks(generator.iter):
            yield put(iter=new), words


def _other_walks(walk):
    """Pairs (what is walked through, words): all but an end, in another order, only some."""
    if isinstance(walk, ast.Call) and _call_name(walk) == "range":
        return  # its ends change by themselves
    listed = ast.Call(ast.Name("list", ast.Load()), [walk], [])
    for part, words in (
        ("1:", "the first one left out"), (":-1", "the last one left out"),
        ("::-1", "the order turned round"), (":20", "only the first 20 looked at"),
        (":3", "only the first 3 looked at"),
    ):  # fmt: skip
        piece = ast.parse(f"x[{part}]", mode="eval").body.slice
        yield ast.Subscript(listed, piece, ast.Load()), words


def _attribute(node):
    if node.attr == "T":
        yield node.value, "rows and columns not exchanged (.T is missing)"


def _tuple(node):
    if isinstance(node.ctx, ast.Load) and 2 <= len(node.elts) <= 4:
        for i in range(len(node.elts) - 1):
            elts = list(node.elts)
            elts[i], elts[i + 1] = elts[i + 1], elts[i]
            if not any(isinstance(e, (ast.Slice, ast.Starred)) for e in elts):
                new = _with(node, elts=elts)
                yield new, (new, node, "two parts exchanged")


# ---- statements

TRUE, FALSE = ast.Constant(True), ast.Constant(False)


def _statement_changes(node, results):
    """Pairs (new statement, words) for one statement; results: as `result_kinds` gives them."""
    if isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)):
        yield ast.Pass(), _left_out(node)
    if isinstance(node, ast.AugAssign):
        yield from _in_place(node)
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and ast.unparse(value.left) == target.id:
            new = ast.AugAssign(target, value.op, value.right)
            yield new, f"`{_SIGNS.get(type(value.op), '+')}=`, which changes the array itself"
    if isinstance(node, (ast.If, ast.While)):
        yield _with(node, test=ast.UnaryOp(ast.Not(), node.test)), "a condition turned round"
        if isinstance(node, ast.If):
            what = _what(node.body)
            yield _with(node, test=TRUE), f"a condition not looked at ({what} always)"
            yield _with(node, test=FALSE), f"a condition not looked at ({what} never)"
        else:
            body = [*node.body, ast.Break()]
            yield _with(node, body=body), "a loop that ends after the first round"
    if isinstance(node, ast.For):
        body = [*node.body, ast.Break()]
        yield _with(node, body=body), "a loop that ends after the first round"
        for new, words in _other_walks(node.iter):
            yield _with(node, iter=new), words
    if isinstance(node, ast.Raise):
        yield ast.Return(ast.Constant(None)), "None returned where an error should be raised"
    if isinstance(node, (ast.Break, ast.Continue)):
        other = ast.Continue() if isinstance(node, ast.Break) else ast.Break()
        yield other, f"`{ast.unparse(other)}` in place of `{ast.unparse(node)}`"
        yield ast.Pass(), f"`{ast.unparse(node)}` left out"
    if isinstance(node, ast.Return) and node.value is not None:
        yield from _other_results(node, results)


def _what(body):
    """What the body of a condition does, in one or two words."""
    kinds = {ast.Return: "the answer is given", ast.Raise: "an error is raised",
             ast.Continue: "it goes on to the next", ast.Break: "the loop ends"}  # fmt: skip
    return kinds.get(type(body[0]), "it is done")


def _left_out(node):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return f"a step left out (`{_call_name(node.value)}`)"
    if isinstance(node, ast.AugAssign):
        return f"a step left out (`{_SIGNS.get(type(node.op), '')}=`)"
    return "a step left out"


def _in_place(node):
    target = copy.deepcopy(node.target)
    target.ctx = ast.Load()
    sign = _SIGNS.get(type(node.op), "+")
    yield (
        ast.Assign([node.target], node.value),
        f"`=` in place of `{sign}=`: overwritten, not added to",
    )
    for other in _ARITHMETIC.get(type(node.op), ()):
        yield _with(node, op=other()), f"`{_SIGNS[other]}=` in place of `{sign}=`"
    if isinstance(node.target, ast.Name) and not isinstance(node.value, (ast.Constant, ast.Call)):
        new = ast.Assign([node.target], ast.BinOp(target, node.op, node.value))
        yield new, f"a new value made, where `{sign}=` changes the array itself"


def _other_results(node, results):
    value = node.value
    if isinstance(value, ast.Tuple) and len(value.elts) > 1:
        for i, part in enumerate(value.elts):
            yield ast.Return(part), f"result {i + 1} alone returned"
    text = ast.unparse(value)
    for letter, form, words in (
        ("1", "-({})", "the sign of the result turned round"),
        ("s", "np.squeeze({})", "axes of length 1 dropped from the result"),
        ("f", "np.round({}, 2)", "the result rounded to two digits"),
        ("f", "np.asarray({}).astype(int)", "the result cut to whole numbers"),
        ("-", "abs(np.asarray({}))", "the result without its sign"),
        ("2", "np.asarray({}).T", "rows and columns of the result exchanged"),
    ):  # fmt: skip
        if letter in results and not isinstance(value, ast.Tuple):
            yield ast.parse(f"return {form.format(text)}").body[0], words


def _body_changes(tree):
    """Two neighbouring statements in the other order; a return that stands inside a loop."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or isinstance(node, ast.Module):
            continue
        for i in range(len(body) - 1):
            if _is_docstring(body[i]):
                continue
            first, second = body[i : i + 2]
            before = f"{_line(first)}; {_line(second)}"
            if not isinstance(second, ast.Return):
                if not _related(first, second):
                    continue
                body[i : i + 2] = [second, first]
                after = f"{_line(second)}; {_line(first)}"
                yield "two steps in the other order", f"{before} -> {after}", ast.unparse(tree)
                body[i : i + 2] = [first, second]
            elif isinstance(first, (ast.For, ast.While)):
                first.body.append(second)
                text = f"{before} -> `return` inside the loop"
                yield "`return` inside the loop, after its first round", text, ast.unparse(tree)
                first.body.pop()


def _related(first, second):
    """Whether the order of two statements can matter: one writes what the other uses."""
    (read_1, written_1), (read_2, written_2) = _used(first), _used(second)
    return bool(written_1 & (read_2 | written_2) or written_2 & read_1)


def _used(statement):
    """(names that a statement reads, names that it writes or may change).

    Whatever has a method called or an element set may be changed by it; an end is both.
    """
    read, written = set(), set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else written).add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            written |= {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            written |= {n.id for n in ast.walk(node.value.func) if isinstance(n, ast.Name)}
        elif isinstance(node, (ast.Return, ast.Raise, ast.Break, ast.Continue)):
            read.add("the end")
            written.add("the end")
    return read, written


# ---- the inputs

_INPUTS = (
    ("f", "np.trunc({0}).astype({0}.dtype)", "as if `{0}` held whole numbers"),
    ("fi", "abs({0})", "as if no number in `{0}` were below 0"),
    ("fi", "np.minimum({0}, 1)", "as if no number in `{0}` were above 1"),
    ("fi", "{0}[:20]", "only the first 20 rows of `{0}` looked at"),
    ("fi", "{0}[:6]", "only the first 6 rows of `{0}` looked at"),
    ("fi", "{0}[1:]", "the first row of `{0}` left out"),
    ("fi", "{0}[:-1]", "the last row of `{0}` left out"),
    ("fi", "{0}[..., :1]", "only the first column of `{0}` looked at"),
    ("fi", "{0}[::-1]", "the rows of `{0}` in the other order"),
    ("fi", "np.sort({0}, axis=0)", "the rows of `{0}` sorted"),
    ("n", "np.where(np.isfinite({0}), {0}, 0)", "0 for what in `{0}` is no finite number"),
    ("F", "int({0})", "as if `{0}` were a whole number"),
    ("F", "abs({0})", "as if `{0}` were never below 0"),
)  # fmt: skip


def _input_changes(tree, function, kinds):
    """The right answer with an input that was cut, rounded, overwritten or remembered."""
    docstring = int(_is_docstring(function.body[0]))
    names = [a.arg for a in function.args.args]
    for name in names:
        for letters, form, words in _INPUTS:
            if not set(letters) & set(kinds.get(name, "")):
                continue
            line = f"{name} = {form.format(name)}"
            guard = "" if letters == "F" else f"if {name}.ndim and {name}.dtype.kind in 'fi': "
            function.body[docstring:docstring] = ast.parse(guard + line).body
            yield words.format(name), f"def {function.name} -> {line}", ast.unparse(tree)
            del function.body[docstring]
        if set("fi") & set(kinds.get(name, "")):
            text = f"def {function.name} -> {name} changed"
            yield f"`{name}` changed by the call", text, _spoiling(tree, function, name)
    yield (
        "something kept from one call to the next", f"def {function.name} -> kept",
        ast.unparse(tree) + _KEPT.format(function.name),
    )  # fmt: skip


def _spoiling(tree, function, name):
    """A program that calls the right answer and then writes into its argument."""
    at = [a.arg for a in function.args.args].index(name)
    return ast.unparse(tree) + _SPOILED.format(function.name, at)


_SPOILED = """

_right = {0}


def {0}(*arguments):
    import copy
    result = copy.deepcopy(_right(*arguments))
    if arguments[{1}].size:
        arguments[{1}].flat[0] += 1
    return result
"""

_KEPT = """

_right, _kept = {0}, []


def {0}(*arguments):
    _kept.append(1)
    return _right(*arguments) if len(_kept) % 2 else "kept"
"""
