"""Small mistakes put into minidl by machine, drawn with a seed: what `tests/mutation.py` tries.

The one rule of this file: a mutant differs from the source in one place, and every other letter of
it stays, comments too.  What can be changed is what the grader changes in answers
(`grading/mutate.py`), and besides the defaults of arguments and what a function returns; but not
the order in which things are walked through, which seldom matters, nor that only the first few are.
"""

import ast
import random
import re
import textwrap
import warnings
from dataclasses import asdict, dataclass

from grading.mutate import edits

LEFT_OUT = "the order turned round", "only the first 20 looked at", "only the first 3 looked at"


@dataclass(frozen=True)
class Mutant:
    """file, line: where it is.  runs: the first and the last line of those that run it.  function:
    its name, dotted, or "" for what only the import runs.  change: `the lines before -> the lines
    after`.  source: the whole file."""

    file: str
    line: int
    runs: tuple[int, int]
    function: str
    change: str
    source: str

    def told(self):
        """All of it but the source, which can be made again."""
        return {name: value for name, value in asdict(self).items() if name != "source"}

    def __str__(self):
        where = f" in {self.function}" if self.function else ""
        return f"{self.file}:{self.line}{where}: {self.change}"


@dataclass(frozen=True)
class Place:
    """A node of a file that can be changed, and the functions and classes in which it stands."""

    file: str
    source: str
    node: ast.AST
    inside: tuple[ast.AST, ...]
    others: list[ast.AST]  # nodes that can stand there

    def function(self):
        """The dotted name of the function that it stands in, or ""."""
        kinds = [isinstance(node, ast.ClassDef) for node in self.inside]
        last = len(kinds) - kinds[::-1].index(False) if False in kinds else 0
        return ".".join(node.name for node in self.inside[:last])

    def runs(self):
        """The lines that run it: its own, and for the default of an argument the function's."""
        if self.inside and self.node.lineno < self.inside[-1].body[0].lineno:
            return self.inside[-1].body[0].lineno, self.inside[-1].end_lineno
        return self.node.lineno, self.node.end_lineno


def drawn(root, files, n, seed):
    """n mutants of the files, of each place that can be changed at most one, all places equally
    likely; fewer if there are fewer places."""
    places = [place for file in files for place in changeable(root, file)]
    rng = random.Random(seed)
    rng.shuffle(places)
    found = []
    for place in places:
        if len(found) == n:
            break
        rng.shuffle(place.others)
        mutants = (made(place, new) for new in place.others)
        found += [m for m in [next(filter(None, mutants), None)] if m]
    return found


def changeable(root, file):
    """A Place for each node of a file that can be changed."""
    source = (root / file).read_text(encoding="utf-8")
    tree = ast.parse(source)
    left_alone = {id(node) for node in unused(tree)}
    within = dict(functions(tree))
    every = list(edits(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.arguments):
            for default in filter(None, (*node.defaults, *node.kw_defaults)):
                every += edits(ast.Expression(default))
    for node, _, _, options in every:
        if id(node) not in left_alone:
            inside = within[id(node)]
            others = [new for new, words in options if words not in LEFT_OUT]
            others += other_results(node, inside)
            if others:
                yield Place(file, source, node, inside, others)


def unused(tree):
    """Nodes that no run reaches: types of arguments and results, and what checkers alone read."""
    for node in ast.walk(tree):
        parts = [getattr(node, "returns", None), getattr(node, "annotation", None)]
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts.append(node)
        for part in filter(None, parts):
            yield from ast.walk(part)


def functions(tree, inside=()):
    """Pairs (id of a node, the functions and classes that it stands in, the outermost first)."""
    for node in ast.iter_child_nodes(tree):
        yield id(node), inside
        own = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        yield from functions(node, (*inside, node) if own else inside)


def other_results(node, inside):
    """Returns of each argument, in place of another name."""
    if not isinstance(node, ast.Return) or not isinstance(node.value, ast.Name):
        return []
    names = [a.arg for a in inside[-1].args.args if a.arg != node.value.id]
    return [ast.Return(ast.Name(name, ast.Load())) for name in names]


def made(place, new):
    """The mutant with `new` in a place, or None if that is no program, or the same."""
    lines = [line.encode() for line in place.source.splitlines(keepends=True)]
    old, new = narrowed(place.node, new)
    first, last = old.lineno - 1, old.end_lineno - 1
    before, after = lines[first][: old.col_offset], lines[last][old.end_col_offset :]
    changed = before + written(old, new, len(before)).encode() + after
    program = b"".join([*lines[:first], changed, *lines[last + 1 :]]).decode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a mutant may be a strange program
            compile(program, place.file, "exec")
            if ast.dump(ast.parse(program)) == ast.dump(ast.parse(place.source)):
                return None
    except (SyntaxError, ValueError):
        return None
    texts = b"".join(lines[first : last + 1]), changed
    change = " -> ".join(re.sub(r"\s+", " ", text.decode()).strip() for text in texts)
    return Mutant(place.file, old.lineno, place.runs(), place.function(), change, program)


def narrowed(old, new):
    """The smallest part in which two statements with bodies differ: their condition, or what they
    walk through."""
    for field in ("test", "iter"):
        if isinstance(old, (ast.If, ast.While, ast.For)) and type(old) is type(new):
            parts = getattr(old, field, None), getattr(new, field, None)
            if parts[0] is not parts[1]:
                return parts
    return old, new


def written(old, new, column):
    """The text of a node for where another stood, `column` bytes from the left."""
    text = ast.unparse(ast.fix_missing_locations(new))
    if isinstance(new, ast.stmt):
        return textwrap.indent(text, " " * column).lstrip()
    sliced = [new, *getattr(new, "elts", ())]
    bare = isinstance(old, ast.stmt) or re.fullmatch(r"[\w.]+", text)
    if bare or any(isinstance(node, (ast.Slice, ast.Starred)) for node in sliced):
        return text
    return f"({text})"
