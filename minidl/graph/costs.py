"""What a compiled step costs: its arithmetic, its traffic, and the time of each line.

The one rule of this file: it looks at programs, and changes none.

Explained in course/20 and 21.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import Any

import numpy as np

from .lines import PLACED, Line, is_view, values

CHOSEN = {"getitem", "take"}  # these read only the elements that they give


def flops(line: Line) -> int:
    """Floating-point operations: 2 n k m for a product of (n, k) and (k, m), one for each element
    of an elementwise result, whatever the function, one for each element that a reduction reads.
    """
    f, out = line.function, line.out
    if not isinstance(f, str):
        return 0
    name, _, method = f.partition(".")
    if f in ("matmul", "dot"):
        return 2 * out.size * line.args[0].shape[-1]
    if method == "reduce" or f == "argmax":
        return line.args[0].size
    if method == "at":
        return getattr(line.args[2], "size", 1)
    if out.dtype is not None and isinstance(getattr(np, name, None), np.ufunc):
        return out.size
    return 0  # a move, or arithmetic of Python numbers


def traffic(line: Line) -> int:
    """The bytes that a line reads and writes, each once; views have none."""
    if is_view(line):
        return 0
    f = line.function
    first_is_read = f not in PLACED and f not in CHOSEN
    read = set(values(line.args if first_is_read else line.args[1:]))
    found = sum(min(v.nbytes, v.base.nbytes) for v in read)  # broadcast elements lie there once
    if f == "add.at":
        return found + 2 * getattr(line.args[2], "nbytes", 0)
    return found + line.out.nbytes * (2 if f in CHOSEN else 1)


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


class Profile(list[dict]):
    """Rows {line, seconds, share, flops, bytes, best}, one a line of source; prints as a table.

    best: the seconds that this machine takes at least, for its arithmetic or its traffic.
    """

    def __repr__(self) -> str:
        rows = sorted(self, key=lambda row: -row["seconds"])
        table = ["       µs  share  at best  of it      kFLOP         KB  line"]
        table += [_said(row["line"], [row]) for row in rows[:12]]
        if len(rows) > 12:
            table.append(_said(f"({len(rows) - 12} more)", rows[12:]))
        return "\n".join([*table, _said("sum", rows)])


def _said(text, rows):
    """One row of the table: the sums of several."""
    t, share, best, n, moved = (
        sum(row[k] for row in rows) for k in ("seconds", "share", "best", "flops", "bytes")
    )
    times = f"{t * 1e6:9.1f} {share:6.1%} {best * 1e6:8.1f} {best / (t or 1):6.0%}"
    return f"{times} {n / 1e3:10.1f} {moved / 1e3:10.1f}  {text}"


def _copies(program):
    """What the source is given, with copies of the states, joined as the states are."""
    blocks, found = {}, []
    for v, a in zip(program.text.given, program.given):
        if v.kind == "state":
            whole = a
            if a.base is not None:
                whole = a.base
            block = blocks.setdefault(id(whole), whole.reshape(-1).copy())  # (all elements,)
            start = (a.ctypes.data - whole.ctypes.data) // a.itemsize
            a = block[start : start + a.size].reshape(a.shape)  # (elements,) -> (..., n)
        found.append(a)
    return found


def profile(program: Any, arrays: Sequence[np.ndarray], repeats: int = 20) -> Profile:
    """The Profile of a program on `arrays`: medians of `repeats` runs, after one to warm up.

    What runs is a copy of the source with a clock after each line, on copies of the states.
    """
    if program.graph.xp is not np:
        raise ValueError("profile compares with what the CPU could do; use a GPU's own profiler")
    step, clock = _with_clock(program)
    arrays = [copy(a) for a in arrays]  # which the function may change
    ticks = []
    for _ in range(repeats + 1):
        step(*arrays, *(v.data() for v in program.graph.numbers))
        ticks.append(np.diff(clock))
    itself, *times = np.median(ticks[1:], axis=0)  # over repeats
    times = np.maximum(np.subtract(times, itself), 0)
    whole = times.sum() or 1
    machine = _machine()
    rows = Profile()
    for text, line, t in zip(program.text.body, program.text.costs, times.tolist()):
        row = {"line": text, "seconds": t, "share": t / whole}
        rows.append(row | _at_best(line, *machine))
    return rows


def _with_clock(program):
    """A program's function that looks at the clock after each line, and the list of what it saw.

    It looks twice before the first line: that is what looking takes.
    """
    text = program.source.splitlines()
    begin = next(i for i, s in enumerate(text) if s.startswith("    def step(")) + 1
    body = slice(begin, begin + len(program.text.body))
    tick = "_ticks.append(_now())"
    text[body] = [f"{s}; {tick}" for s in text[body]]
    text.insert(begin, f"        _ticks[:] = []; {tick}; {tick}")
    space = {"_ticks": [], "_now": time.perf_counter}
    exec("\n".join(text), space)
    return space["make"](np.random.default_rng(0), *_copies(program)), space["_ticks"]


def _at_best(line, peak, bandwidth):
    """What a line computes and moves, and the seconds that this takes at least."""
    if line is None:
        return {"flops": 0, "bytes": 0, "best": 0.0}
    n, moved = flops(line), traffic(line)
    kind = "f8" if line.out.dtype == np.float64 else "f4"
    near = 1 << min(max((moved - 1).bit_length(), 16), 26)  # a size for the copy
    best = max(n / peak(kind), moved / bandwidth(near))
    return {"flops": n, "bytes": moved, "best": best}
