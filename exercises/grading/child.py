"""The process that runs a learner's code, and how it speaks with the grader.

The one rule of this file: nothing here is secret and nothing here decides.  Run as a script, it
shares a process with code that may do anything; expected values never come here, and whatever
it says is checked by `verdict.py`.  It imports NumPy and the standard library only.

A frame is two lengths of 8 bytes, a header in JSON, and the bytes of the arrays, one after the
other; the header's "arrays" lists [dtype, shape] of each.
"""

import importlib.util
import json
import math
import os
import struct
import sys
import traceback
import types

import numpy as np

DTYPES = {np.dtype(c).str for c in "?bhilqBHILQefd"}  # plain numbers; no objects, no strings
HEADER_BYTES = 100_000
TEXT = 600  # characters of an error message that are kept


class BadFrame(Exception):
    """What arrived is not a frame, or is larger than allowed."""


# ---- frames


def pack(header, arrays=()):
    """The bytes of a frame."""
    arrays = [np.asarray(a, order="C") for a in arrays]
    listed = [[a.dtype.str, list(a.shape)] for a in arrays]
    text = json.dumps({**header, "arrays": listed}).encode()
    payload = b"".join(a.tobytes() for a in arrays)
    return struct.pack(">QQ", len(text), len(payload)) + text + payload


def unpack(read, allowed, header_bytes=HEADER_BYTES):
    """(header, arrays) of the next frame, where `read(n)` gives exactly n bytes.

    allowed: the most bytes that the arrays may have; looked at before they are read.
    Raises BadFrame, and whatever `read` raises at the end of the stream.
    """
    n_text, n_payload = struct.unpack(">QQ", read(16))
    if n_text > header_bytes or n_payload > allowed:
        raise BadFrame(f"a reply claims {n_text + n_payload} bytes, {allowed} are allowed")
    try:
        header = json.loads(read(n_text))
        listed = [(np.dtype(code), tuple(shape)) for code, shape in header["arrays"]]
        if any(d.str not in DTYPES or min(shape, default=0) < 0 for d, shape in listed):
            raise ValueError
        sizes = [math.prod(shape) * d.itemsize for d, shape in listed]
        if sum(sizes) != n_payload:
            raise ValueError
        arrays = []
        for (dtype, shape), size in zip(listed, sizes):
            arrays.append(np.frombuffer(read(size), dtype).reshape(shape).copy())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadFrame("a reply is not a frame") from error
    return header, arrays


def flatten(inputs):
    """Inputs as (JSON, arrays): an array becomes {"array": i}."""
    arrays = []

    def walk(x):
        if isinstance(x, np.ndarray):
            arrays.append(x)
            return {"array": len(arrays) - 1}
        return [walk(part) for part in x] if isinstance(x, (list, tuple)) else x

    return walk(inputs), arrays


def restore(plan, arrays):
    """The inputs again; sequences come back as tuples."""
    if isinstance(plan, dict):
        return arrays[plan["array"]]
    return tuple(restore(part, arrays) for part in plan) if isinstance(plan, list) else plan


# ---- one call of an answer


class Outcome:
    """What one call gave: `arrays`, or the `kind` of failure and a `text` that describes it."""

    def __init__(self, arrays=(), kind="", text=""):
        self.arrays, self.kind, self.text = list(arrays), kind, text


def call(ask, answer, inputs):
    """The Outcome of `ask(answer, *inputs)`, with plain copies of the arrays it gave."""
    inputs = [x.copy() if isinstance(x, np.ndarray) else x for x in inputs]
    before = [x.tobytes() if isinstance(x, np.ndarray) else None for x in inputs]
    try:
        given = ask(answer, *inputs)
        arrays = [_plain(x) for x in (given if isinstance(given, (tuple, list)) else [given])]
    except NotImplementedError as error:
        return Outcome(kind="unanswered", text=describe(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome(kind=type(error).__name__, text=describe(error))
    for x, was in zip(inputs, before):
        if was is not None and x.tobytes() != was:
            return Outcome(kind="InputChanged", text="an input comes back changed")
    return Outcome(arrays)


def _plain(x):
    if not isinstance(x, (bool, int, float, np.ndarray, np.generic)):
        raise NotAnArray(f"the answer holds an object of type {type(x).__name__}, not an array")
    a = np.array(x, subok=False)
    if a.dtype.str not in DTYPES:
        raise NotAnArray(f"the answer holds elements of type {a.dtype}, not plain numbers")
    return a


class NotAnArray(TypeError):
    """An answer gave something that is neither an array nor a number."""


def describe(error):
    """The error's type and message, and the line of the learner's code that raised it."""
    try:
        message = str(error)
    except Exception:
        message = ""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if _is_cell(f.filename)]
    where = f" (line {lines[-1].lineno} of its cell)" if lines else ""
    return f"{type(error).__name__}{': ' if message else ''}{message[:TEXT]}{where}"


def _is_cell(filename):
    return filename.startswith("<") or "ipykernel" in filename


# ---- the script


def main():
    # The wire moves to descriptors of its own; whatever is printed goes where stderr goes.
    wire_in, wire_out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def read(n):
        data = wire_in.read(n)
        if len(data) < n:
            raise EOFError
        return data

    def say(header, arrays=()):
        wire_out.write(pack(header, arrays))
        wire_out.flush()

    task, _ = unpack(read, 0, header_bytes=50_000_000)
    _limit(task["limits"])
    cells = _prepare(task)
    ask = _ask(task)
    for name, source in task["cells"]:
        say({"cell": name})
        error = _run_cell(name, source, cells)
        say({"cell": name, "error": error})
    answer = cells.get(task["name"])
    say({"ready": callable(answer)})
    while True:
        header, arrays = unpack(read, 1 << 30)
        outcome = call(ask, answer, restore(header["inputs"], arrays))
        if sum(a.nbytes for a in outcome.arrays) > header["allowed"]:
            shapes = ", ".join(str(a.shape) for a in outcome.arrays)
            outcome = Outcome(kind="TooLarge", text=f"the answer has shape {shapes}")
        say({"kind": outcome.kind, "text": outcome.text}, outcome.arrays)


def _limit(limits):
    """Bounds on processor time (seconds), memory and written files (bytes), where they exist."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock alone
        return
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))


def _prepare(task):
    """The namespace of the learner's cells, and what can be imported there."""
    stub = types.ModuleType("grading")
    stub.check = stub.hint = stub.progress = lambda *args, **kwargs: None
    sys.modules["grading"] = stub
    sys.meta_path.insert(0, _Door(task["package"], [w for w in task["withhold"] if "." not in w]))
    for dotted in task["withhold"]:
        module, dot, name = dotted.rpartition(".")
        if dot:
            setattr(importlib.import_module(module), name, _withheld(dotted))
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.display = print
    return vars(main)


def _withheld(name):
    def refuse(*args, **kwargs):
        raise ImportError(f"{name} is withheld while this task is graded")

    return refuse


class _Door:
    """Finds minidl in its own folder, without the rest of the repository; refuses some names."""

    def __init__(self, package, withhold):
        self.package, self.withhold = package, {*withhold, "grading"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.withhold:
            raise ImportError(f"{name} is withheld while this task is graded")
        if name == "minidl":
            file = os.path.join(self.package, "__init__.py")
            return importlib.util.spec_from_file_location(
                name, file, submodule_search_locations=[self.package]
            )
        return None


def _ask(task):
    """The function that hands a case to an answer, from its source."""
    names = {"np": np}
    exec(compile(task["ask"], "ask", "exec"), names)
    return names[task["ask_name"]]


def _run_cell(name, source, cells):
    """Run one cell; the text of its error, or ''.  Lines for IPython alone are left out."""
    lines = ["" if x.lstrip().startswith(("%", "!")) else x for x in source.split("\n")]
    try:
        exec(compile("\n".join(lines), f"<{name}>", "exec"), cells)
    except BaseException as error:
        return describe(error)
    return ""


if __name__ == "__main__":
    main()
