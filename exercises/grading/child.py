"""The submission's process: runs a notebook's cells, then answers case after case.

verdict.py starts it, sends over standard input what to run and, one by one, the inputs; plain
values go back.  No expected value ever comes here.  What the learner's code prints goes nowhere.

The one rule of this file: it stands alone (inside the sandbox there is no other file of the
grader), and its `pack` is the only form in which a value crosses between the two processes: a
line of JSON, then the bytes of the arrays.
"""

import ast
import json
import linecache
import math
import os
import signal
import sys
import traceback
import types

import numpy as np

SECONDS_PER_CELL = 5
# Limits are of processor time, for on a busy machine an honest answer has to wait for its turn.
# By the clock, so many times as much may pass: a process that sleeps uses no processor time.
PATIENCE = 3


def pack(value, arrays):
    """`value` as JSON can hold it; arrays are appended to `arrays` and stand as {"a": ...}.

    Raises TypeError for what is neither a number, a string, None nor made of these.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (tuple, list)):  # named tuples too
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [pack(v, arrays) for v in value]}
    if isinstance(value, dict):  # defaultdict and Counter too
        return {"dict": [[pack(k, arrays), pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, str):
        return str.__str__(value)
    try:
        array = np.array(value)
    except Exception as error:
        raise TypeError(f"expected numbers, got {type(value).__name__}: {error}") from None
    if array.dtype.kind == "U":
        return pack(array.tolist(), arrays)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers, got {type(value).__name__}")
    arrays.append(array)
    return {"array": [array.dtype.str, list(array.shape)]}


def unpack(tree, read):
    """The value that `pack` wrote; `read(n)` gives the next n bytes.  Raises ValueError."""
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    ((kind, inside),) = tree.items()
    if kind == "array":
        code, shape = inside
        dtype, shape = np.dtype(code), tuple(map(int, shape))
        if dtype.kind not in "biufc" or min(shape, default=0) < 0 or len(shape) > 32:
            raise ValueError("it is no array of numbers")
        return np.frombuffer(read(dtype.itemsize * math.prod(shape)), dtype).reshape(shape).copy()
    if kind == "dict":
        return {unpack(k, read): unpack(v, read) for k, v in inside}
    return {"tuple": tuple, "list": list}[kind](unpack(v, read) for v in inside)


def plain(value):
    """`value` as it looks on the other side: plain arrays, numbers and strings, no objects."""
    data = frame(value=value)
    line, _, rest = data.partition(b"\n")
    rest = memoryview(rest)
    at = 0

    def read(n):
        nonlocal at
        at += n
        return rest[at - n : at]

    return unpack(json.loads(line)["value"], read)


def frame(**head):
    """The bytes of one message: a line of JSON, then the bytes of its arrays."""
    arrays = []
    if "value" in head:
        head["value"] = pack(head["value"], arrays)
    return json.dumps(head).encode() + b"\n" + b"".join(a.tobytes() for a in arrays)


def complaint(error):
    """What goes back of an exception: its kinds, its words, and the learner's line that raised."""
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f for f in frames if f.filename.startswith("<cell") or "ipykernel" in f.filename]
    line = f"line {mine[-1].lineno} of its cell, `{mine[-1].line}`" if mine else ""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return {"kinds": kinds, "text": str(error)[:200], "line": line[:200]}


class Refuse:
    """An import hook: what a task asks the learner to write cannot be imported instead."""

    def __init__(self, closed):
        self.closed = closed

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.closed:
            raise ImportError(f"{name} cannot be imported while this task is graded")


def run_cells(cells, space):
    """Each cell on its own: an error or an endless loop in one leaves the others alone.

    cells: pairs (source, whether the exercise gave it).  A given cell goes on after a statement
    that fails, so that a refused import costs itself alone.
    """

    def too_long(*_):
        raise TimeoutError("this cell took too long")

    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, too_long)
        signal.signal(signal.SIGALRM, too_long)
    for number, (source, given) in enumerate(cells):
        lines = source.splitlines()
        lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
        name, source = f"<cell {number}>", "\n".join(lines)
        # Tracebacks find a line's text here.
        linecache.cache[name] = (len(source), None, [f"{line}\n" for line in lines], name)
        try:
            tree = compile(source, name, "exec", flags=ast.PyCF_ONLY_AST)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        groups = [[statement] for statement in tree.body] if given else [tree.body]
        for body in groups:
            tree.body = body
            _alarm(SECONDS_PER_CELL)
            try:
                exec(compile(tree, name, "exec"), space)
            except BaseException:
                continue
            finally:
                _alarm(0)


def _alarm(seconds):
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)


def main():
    reply, source = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)

    def say(**head):
        reply.write(frame(**head))
        reply.flush()

    job = json.loads(source.readline())
    stub = types.ModuleType("grading")
    stub.check = stub.hint = stub.progress = lambda *args, **options: None
    sys.modules["grading"] = stub
    sys.meta_path.insert(0, Refuse(job["closed"]))
    harness = {"np": np}
    exec(compile(job["sent"], "<drive>", "exec"), harness)
    space = {"__name__": "__main__", "display": lambda *a, **k: None, "get_ipython": lambda: None}
    run_cells(job["cells"], space)
    answer = space.get(job["name"])
    say(there=callable(answer))
    while True:
        arguments = unpack(json.loads(source.readline())["value"], source.read)
        try:
            say(value=harness[job["drive"]](answer, *arguments))
        except Exception as error:
            say(error=complaint(error))


if __name__ == "__main__":
    main()
