"""Where each array of a graph lies, so that memory is used again and stays in the cache.

The one rule of this file: arrays that are needed at the same time share no memory
(tests/graph/test_source.py proves it of every plan).

Explained in course/20.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .lines import Graph, Line, Value

STEP = 64  # bytes: each array begins at a multiple of it, as the lines of a cache do


def elementwise(line: Line) -> bool:
    """Whether each element of the result needs only the elements at its own place."""
    f = line.function
    if f in ("astype", "copy", "where", "kernel"):
        return True
    return isinstance(f, str) and f != "matmul" and isinstance(getattr(np, f, None), np.ufunc)


def with_copies(graph: Graph) -> Graph:
    """What is needed at the end is copied first if it lies where a run writes: in a state that
    changes, or, for a gradient that is left, in any state or input.
    """
    updates = {state: v for state, v in graph.updates.items() if v is not state}
    graph = replace(graph, updates=updates)
    left = {v for _, v in graph.grads if v.base.kind in ("state", "input")}
    lines = list(graph.lines)
    copies = {}
    for v in graph.ends():
        if v not in copies and (v in left or v.base in updates):
            copies[v] = Value(np.empty(v.shape, v.dtype))
            lines.append(Line("copy", (v,), {}, copies[v]))
    return replace(graph, lines=lines).ending(copies)


class Plan:
    """The memory of a graph.

    lives[base] = [first, last] line that needs it.  homes[base] = the base whose memory it takes
    over.  places[home] = (offset, bytes) in one block of memory of `size` bytes.
    """

    def __init__(self, graph: Graph):
        self.graph = with_copies(graph)
        self.lives = self._lifetimes()
        self.homes, self.places = {}, {}
        self._take_over()
        self._allocate()
        self.size = max((offset + n for offset, n in self.places.values()), default=0)

    def home(self, base: Value) -> Value:
        """The base in whose memory `base` lies."""
        while base in self.homes:
            base = self.homes[base]
        return base

    def _lifetimes(self):
        lives = {}
        end = len(self.graph.lines)
        for i, line in enumerate(self.graph.lines):
            for v in [*line.outs, *line.inputs()]:
                lives.setdefault(v.base, [i, i])[1] = i
        for v in self.graph.ends():
            lives.setdefault(v.base, [0, end])[1] = end
        return lives

    def _take_over(self):
        """Write results of elementwise calls where an operand dies, and updates into states."""
        updates = self.graph.updates.items()
        final = {v: state for state, v in updates if v.base is v and state.base is state}
        taken = set()
        for i, line in enumerate(self.graph.lines):
            if not elementwise(line):
                continue
            for out in line.fresh:
                places = [v for v in line.inputs() if v.kind == "made"]
                if out in final:
                    places = [final[out]]
                free = (v for v in places if v not in taken and self._may_take(v, out, i))
                place = next(free, None)
                if place is not None:
                    self.homes[out] = place
                    taken.add(place)

    def _may_take(self, v, out, i):
        """Whether line i may write its result `out` where v lies: one array over another like it,
        which no other view of the line shows, and which nothing needs afterwards.
        """
        line = self.graph.lines[i]
        owned = v.base is v and out.base is out and out.dtype is not None
        alike = (v.shape, v.dtype, v.order) == (out.shape, out.dtype, out.order)
        shown = any(u.base is v and u is not v for u in line.inputs())
        shown |= any(u.base is v for u in line.outs)  # a kernel changes it, too
        _, last = self.lives.get(v, [0, -1])
        dead = last == i or (v.kind == "state" and last < i)
        return owned and alike and dead and not shown

    def _allocate(self):
        """Give each home a place in one block of memory, the largest first, each the lowest."""
        placed = []
        for home, (first, last, n) in sorted(self._spans().items(), key=lambda s: -s[1][2]):
            near = [(begin, end) for begin, end, f, l in placed if f <= last and first <= l]
            begin = _lowest(n, near)
            placed.append((begin, begin + n, first, last))
            self.places[home] = begin, n

    def _spans(self):
        """Home -> (first line, last line, bytes) of all that live there."""
        spans = {}
        for base, (first, last) in self.lives.items():
            home = self.home(base)
            if home.kind == "made" and home.dtype is not None:
                n = -(-max(base.nbytes, 1) // STEP) * STEP  # rounded up
                begin, end, _ = spans.get(home, (first, last, n))
                spans[home] = min(begin, first), max(end, last), n
        return spans


def _lowest(n, near):
    """The lowest offset at which n bytes are free.  near: (begin, end) of what is not."""
    offset = 0
    for begin, end in sorted(near):
        if begin - offset >= n:
            break
        offset = max(offset, end)
    return offset
