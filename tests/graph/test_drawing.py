"""What a picture of a graph shows, and where."""

import sys

import numpy as np
import pytest
from test_costs import array, training

import minidl
from minidl import Tensor
from minidl.engine import devices
from minidl.graph import drawing


def softmax_twice(x):
    shares = (x - 1).exp() / (x - 1).exp().sum()
    return (shares * 1) @ x.transpose()


@pytest.fixture(scope="module")
def compiled():
    found = minidl.compile(softmax_twice)
    found(array(3, 4))
    return found


def sides(compiled):
    graphs = compiled.program.traced_graph, compiled.program.graph
    known = [{(line.out, line.function) for line in graph.lines} for graph in graphs]
    return [drawing._nodes(graph, there) for graph, there in zip(graphs, known[::-1])]


def panels(figure):
    """For each panel: (text, size, colour of the box) of each node."""
    return [
        [(t.get_text(), t.get_size(), t.get_bbox_patch().get_facecolor()) for t in axes.texts]
        for axes in figure.axes
    ]


def test_both_graphs_are_drawn_and_differences_are_red(compiled):
    from matplotlib.colors import to_rgba

    figure = compiled.draw()
    red, blue, white = (
        to_rgba(drawing.COLOURS[k]) for k in ("on one side", "input", "on both sides")
    )
    before, after = panels(figure)
    assert [text for text, *_ in before].count("exp") == 2
    assert ("exp", 7, red) in before and ("exp", 7, white) in before
    assert [text for text, *_ in after].count("exp") == 1 and ("exp", 7, white) in after
    assert ("x\n3×4", 7, blue) in before and ("x\n3×4", 7, blue) in after
    assert ("transpose", 5, white) in after  # a view is small
    assert ("matmul\nresult", 7, white) in after
    assert [axes.get_title() for axes in figure.axes] == ["before: 8 calls", "after: 6 calls"]


def test_the_figure_is_saved(compiled, tmp_path):
    compiled.draw(tmp_path / "graph.png")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_who_reads_stands_below_and_no_two_nodes_lie_on_each_other():
    _, _, step, args = training()
    step(*args)
    for nodes in sides(step):
        x, y, edges = drawing._layout(nodes)
        assert sorted((e[-1], e[0]) for e in edges) == sorted(
            (n, m) for n, (_, _, read) in enumerate(nodes) for m in read
        )
        for edge in edges:
            np.testing.assert_array_equal(np.diff(y[edge]), np.ones(len(edge) - 1))
        for layer in range(y.min(), y.max() + 1):
            places = np.sort(x[: len(nodes)][y[: len(nodes)] == layer])
            np.testing.assert_array_equal(np.diff(places) > 0.3, True)


def test_the_update_waits_for_gradients_that_are_joined_to_one_array():
    _, _, step, args = training()
    step(*args)
    _, after = sides(step)
    (velocity,) = (read for text, _, read in after if text == "add\nnew state")
    (joined,) = (after[n][2] for n in velocity if after[n][0].startswith("concatenate"))
    assert len(set(joined)) == 4
    assert not [text for text, *_ in after if text.startswith(("made", "empty"))]


def test_large_graphs_become_bars(compiled, monkeypatch):
    monkeypatch.setattr(drawing, "DRAWN", 7)
    (axes,) = compiled.draw().axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    before, after = (dict(zip(names, (bar.get_width() for bar in b))) for b in axes.containers)
    assert (before["exp"], after["exp"]) == (2, 1) and (before["divide"], after["divide"]) == (1, 1)
    assert [t.get_text() for t in axes.get_legend().texts] == ["before: 8 calls", "after: 6 calls"]


def test_without_matplotlib_the_error_names_the_extra(compiled, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"minidl\[course\]"):
        compiled.draw()


def test_a_function_that_does_nothing_and_one_without_inputs():
    for function, args in ((lambda x: x, (array(3),)), (lambda: minidl.tensor(1.0) * 2, ())):
        nothing = minidl.compile(function)
        nothing(*args)
        assert len(nothing.draw().axes) == 2


def test_a_part_that_is_copied_does_not_read_its_place():
    def function(x):
        y = devices.array_module(x.data).zeros_like(x.data)
        y[:2] = (x * 2).data[:2]
        return Tensor(y + 1)

    compiled = minidl.compile(function)
    compiled(array(3, 4))
    _, after = sides(compiled)
    assert [text for text, kind, _ in after if kind != "view"] == [
        "zeros", "x\n3×4", "multiply", "copyto", "add\nresult"
    ]  # fmt: skip
    reads = {text: [after[n][0] for n in read] for text, _, read in after}
    assert reads["copyto"] == ["getitem"]  # of the product
    assert sorted(reads["add\nresult"]) == ["copyto", "zeros"]
