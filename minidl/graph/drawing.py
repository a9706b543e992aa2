"""A picture of a graph, before and after the passes, in layers from top to bottom.

The one rule of this file: what is drawn is what runs; only views that nothing reads are left out.

Explained in course/20.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from .lines import Graph, is_view

if TYPE_CHECKING:
    from typing import Any

    from matplotlib.figure import Figure

COLOURS = {"input": "#9ed0ea", "state": "#ffd27f", "constant": "#d9c8ee", "number": "#c5e6c1",
           "on both sides": "white", "on one side": "#f3b0a9"}  # fmt: skip
DRAWN = 60  # calls that compute; a picture of more cannot be read


def _name(line):
    return getattr(line.function, "__name__", line.function)


def _ends(graph):
    """What becomes of the Values that are needed when the last line has run."""
    words = {v: v.name or "result" for v in graph.ends()} | {v: "gradient" for _, v in graph.grads}
    return words | {v: "new state" for v in graph.updates.values()}


def _nodes(graph, known):
    """[text, kind, numbers of the nodes that it reads] of what is given and of each line.

    kind: "on both sides" if (result, function) is `known`.
    """
    ends, kept, nodes, made = _ends(graph), [], [], {}
    needed = set(ends)
    for line in reversed(graph.parts()):
        if line.function != "empty" and (line.into or line.out in needed or not is_view(line)):
            read = [v for v in line.inputs() if line.function != "copyto" or v is line.args[1]]
            needed = needed - {line.out} | {*read}  # it was not needed before it was made
            kept.append((line, read))

    def place(v):
        if v not in made:
            made[v] = [len(nodes)]
            size = "×".join(map(str, v.shape))
            nodes.append([f"{v.name or v.kind}\n{size}".strip(), v.kind, []])
        return made[v]

    for line, read in reversed(kept):
        places = [n for v in dict.fromkeys(read) for n in place(v)]
        out, kind = line.out, "on one side"
        if is_view(line):
            kind = "view"
        elif (out, _name(line)) in known:
            kind = "on both sides"
        if line.into and out.base is not out:  # who reads the whole waits for each part
            made[out.base] = [*made.get(out.base, []), len(nodes)]
        text = f"{_name(line)}\n{ends.get(out, '')}".strip()
        nodes.append([text, kind, places])
        made[out] = [len(nodes) - 1]
    for v in ends:
        place(v)  # which may have been given
    return nodes


def _layout(nodes):
    """Places x, layers y, and each edge as the list of the places that it passes.

    As in K. Sugiyama, S. Tagawa and M. Toda, "Methods for visual understanding of hierarchical
    system structures", 1981: a long edge has a place in each layer that it crosses, and places
    are drawn to the mean of their neighbours, layer by layer, as far as there is room.
    """
    y, edges = [], []
    for _, _, read in nodes:
        y.append(max((y[m] for m in read), default=-1) + 1)
    for m, (_, _, read) in enumerate(nodes):
        if not read:  # what is given stands just above its first reader
            y[m] = min((y[n] for n, node in enumerate(nodes) if m in node[2]), default=1) - 1
    width = [0.12 + 0.06 * max(map(len, text.split("\n"))) for text, _, _ in nodes]
    for n, (_, _, read) in enumerate(nodes):
        for m in read:
            edges.append([m, *range(len(y), len(y) + y[n] - y[m] - 1), n])
            y += range(y[m] + 1, y[n])
    width = np.array(width + [0.2] * (len(y) - len(width)))
    near = [[] for _ in y]
    for m, n in (pair for edge in edges for pair in pairwise(edge)):
        near[m].append(n)
        near[n].append(m)
    layers = [np.flatnonzero(np.equal(y, d)) for d in range(min(y), max(y) + 1)]
    x = np.zeros(len(y))
    for sweep in range(24):
        for layer in layers[:: 1 if sweep % 2 else -1]:
            want = np.array([x[near[n]].mean() if near[n] else x[n] for n in layer])
            order = np.argsort(want, kind="stable")
            layer, want = layer[order], want[order]
            room = np.cumsum(width[layer]) - width[layer] / 2
            place = room + np.maximum.accumulate(want - room)
            x[layer] = place + (want - place).mean()
    return x, np.array(y), edges


def _panel(axes, nodes, layout):
    x, y, edges = layout
    for edge in edges:
        axes.plot(x[edge], y[edge], color="#999999", lw=0.7, zorder=1)
    style = {"ha": "center", "va": "center"}
    for (text, kind, _), a, b in zip(nodes, x, y):
        if kind == "view":
            box = {"fc": "white", "ec": "none", "pad": 0.5}
            axes.text(a, b, text, size=5, color="#888888", bbox=box, **style)
        else:
            box = {"fc": COLOURS[kind], "ec": "#555555", "lw": 0.5, "boxstyle": "round,pad=0.2"}
            axes.text(a, b, text, size=7, bbox=box, **style)
    axes.set(xlim=(x.min() - 0.6, x.max() + 0.6))
    axes.axis("off")


def _bars(axes, counts, titles):
    names = sorted(counts[0] | counts[1], key=lambda f: counts[0][f])
    for count, title, up in zip(counts, titles, (0.2, -0.2)):
        axes.barh(np.arange(len(names)) + up, [count[f] for f in names], 0.4, label=title)
    axes.set_yticks(range(len(names)), names)
    axes.legend()


def draw(before: Graph, after: Graph, path: str | os.PathLike[str] | None = None) -> Figure:
    """Two graphs side by side as matplotlib's figure, saved to `path` if given.

    Red is what the passes took away or changed (left), and what they put there (right); views are
    small.  Of more than DRAWN calls nobody could follow the edges: then bars count the calls of
    each function, which still shows what the passes saved.  Needs matplotlib:
    pip install "minidl[course]".
    """
    figure = figure_of("draw")
    from matplotlib.patches import Patch

    known = [{(line.out, _name(line)) for line in graph.parts()} for graph in (after, before)]
    sides = [_nodes(graph, there) for graph, there in zip((before, after), known)]
    calls = [[text.split("\n")[0] for text, kind, _ in nodes if "side" in kind] for nodes in sides]
    titles = [f"before: {len(calls[0])} calls", f"after: {len(calls[1])} calls"]
    if max(map(len, calls)) > DRAWN:
        figure.set_size_inches(7, 1 + 0.3 * len({*calls[0], *calls[1]}))
        _bars(figure.subplots(), [Counter(c) for c in calls], titles)
    else:
        laid = [_layout(nodes) for nodes in sides]
        widths = [np.ptp(x) + 1.2 for x, _, _ in laid]
        height = max(np.ptp(y) for _, y, _ in laid)
        figure.set_size_inches(max(7, 1.05 * sum(widths)), 1.2 + 0.36 * height)
        panels = figure.subplots(1, 2, width_ratios=widths, sharey=True)
        for axes, nodes, layout, title in zip(panels, sides, laid, titles):
            axes.set_title(title)
            _panel(axes, nodes, layout)
        panels[0].invert_yaxis()
        patches = [Patch(fc=colour, ec="#555555", label=kind) for kind, colour in COLOURS.items()]
        figure.legend(handles=patches, loc="outside lower center", ncols=6, frameon=False)
    return saved(figure, path)


# ---- what every picture of the package begins and ends with


def figure_of(what: str, **options: Any) -> Figure:
    """An empty figure of matplotlib.  Raises ImportError, which names the extra that `what` needs,
    where it is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f'{what} needs matplotlib: pip install "minidl[course]"') from error
    return Figure(layout="constrained", **options)


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, written to `path` if that is not None."""
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
