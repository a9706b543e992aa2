"""What a compiled step costs: its arithmetic, its traffic, and the time of each line.

The one rule of this file: it looks at programs, and changes none.

Explained in course/20 and 21.
"""

import time
import timeit
from functools import cache

import numpy as np

from .trace import PLACED, VIEWS, Value, flat

CHOSEN = {"getitem", "take"}  # these read only the elements that they give


def is_view(line):
    """Whether a line only gives memory that is there another shape, or a name."""
    seen = line.function in VIEWS and line.out.base is not line.out and not line.into
    return seen or line.function == "empty"


def flops(line):
    """Floating-point operations: 2 n k m for a product of (n, k) and (k, m), one for each element
    of an elementwise result, whatever the function, one for each element that a reduction reads.
    """
    f, out = line.function, line.out
    name, _, method = f.partition(".") if isinstance(f, str) else ("", "", "")
    if f in ("matmul", "dot"):
        return 2 * out.size * line.args[0].shape[-1]
    if method == "reduce" or f == "argmax":
        return line.args[0].size
    if method == "at":
        return getattr(line.args[2], "size", 1)
    counts = isinstance(getattr(np, name, None), np.ufunc) and out.dtype is not None
    return out.size if counts else 0  # a move, or arithmetic of Python numbers


def traffic(line):
    """The bytes that a line reads and writes, each once; views have none."""
    if is_view(line):
        return 0
    f = line.function
    read = {v for v in flat(line.args[f in PLACED | CHOSEN :]) if isinstance(v, Value)}
    found = sum(min(v.nbytes, v.base.nbytes) for v in read)  # broadcast elements lie there once
    n = getattr(line.args[2], "nbytes", 0) if f == "add.at" else line.out.nbytes
    return found + n * (2 if f in CHOSEN or f == "add.at" else 1)


def _machine():
    """Two functions that measure at first call: operations a second of a matrix product of a type,
    and bytes a second of a copy that moves n bytes, which stay in the cache if they are few.
    """

    def seconds(function, *args):
        return min(timeit.repeat(lambda: function(*args), number=1, repeat=7))

    @cache
    def peak(dtype, n=512):
        a = np.ones((n, n), dtype)
        return 2 * n**3 / seconds(np.dot, a, a.copy())

    @cache
    def bandwidth(n):
        a = np.ones(n // 2, np.uint8)
        return n / seconds(np.copyto, a.copy(), a)

    return peak, bandwidth


class Profile(list):
    """Rows {line, seconds, share, flops, bytes, best}, one a line of source; prints as a table.

    best: the seconds that this machine takes at least, for its arithmetic or its traffic.
    """

    def __repr__(self):
        rows = sorted(self, key=lambda row: -row["seconds"])
        groups = [(row["line"], [row]) for row in rows[:12]]
        groups += [(f"({len(rows) - 12} more)", rows[12:])] * (len(rows) > 12) + [("sum", rows)]
        out = ["       µs  share  at best  of it      kFLOP         KB  line"]
        for text, group in groups:
            sums = (
                sum(r[k] for r in group) for k in ("seconds", "share", "best", "flops", "bytes")
            )
            t, share, best, n, moved = sums
            times = f"{t * 1e6:9.1f} {share:6.1%} {best * 1e6:8.1f} {best / (t or 1):6.0%}"
            out.append(f"{times} {n / 1e3:10.1f} {moved / 1e3:10.1f}  {text}")
        return "\n".join(out)


def _copies(program):
    """What the source is given, with copies of the states, joined as the states are."""
    blocks, found = {}, []
    for v, a in zip(program.text.given, program.given):
        if v.kind == "state":
            whole = a if a.base is None else a.base
            block = blocks.setdefault(id(whole), whole.reshape(-1).copy())
            start = (a.ctypes.data - whole.ctypes.data) // a.itemsize
            a = block[start : start + a.size].reshape(a.shape)
        found.append(a)
    return found


def profile(program, arrays, repeats=20):
    """The Profile of a program on `arrays`: medians of `repeats` runs, after one to warm up.

    What runs is a copy of the source with a clock after each line, on copies of the states.
    """
    if program.graph.xp is not np:
        raise ValueError("profile compares with what the CPU could do; use a GPU's own profiler")
    text = program.source.splitlines()
    begin = next(i for i, s in enumerate(text) if s.startswith("    def step(")) + 1
    body = slice(begin, begin + len(program.text.body))
    tick = "_ticks.append(_now())"
    text[body] = [f"{s}; {tick}" for s in text[body]]
    text.insert(begin, f"        _ticks[:] = []; {tick}; {tick}")  # what a clock takes itself
    space, ticks = {"_ticks": [], "_now": time.perf_counter}, []
    exec("\n".join(text), space)
    step = space["make"](np.random.default_rng(0), *_copies(program))
    arrays = [a.copy("K") for a in arrays]  # which the function may change
    for _ in range(repeats + 1):
        step(*arrays, *(v.data() for v in program.graph.numbers))
        ticks.append(np.diff(space["_ticks"]))
    clock, *times = np.median(ticks[1:], axis=0)
    times = np.maximum(np.subtract(times, clock), 0)
    (peak, bandwidth), rows = _machine(), Profile()
    for s, line, t in zip(program.text.body, program.text.costs, times.tolist()):
        n, moved = (flops(line), traffic(line)) if line else (0, 0)
        kind = "f8" if line and line.out.dtype == np.float64 else "f4"
        near = 1 << min(max((moved - 1).bit_length(), 16), 26)  # a size for the copy
        best = max(n / peak(kind), moved / bandwidth(near))
        row = {"line": s, "seconds": t, "share": t / (times.sum() or 1)}
        rows.append(row | {"flops": n, "bytes": moved, "best": best})
    return rows
