"""What a gradient that computes again may not do, and what it may (task 22.4)."""

import numpy as np
import pytest

from grading.task import find
from grading.tasks_22 import walk_back

BACK = find("22.4")
RIGHT = BACK.compile(BACK.right[0])


def asked(answer, layers, every):
    rng = np.random.default_rng(0)
    return walk_back(
        answer, rng.normal(size=(layers, 2, 2)), np.ones((1, 2)), np.ones((1, 2)), every
    )


def keeps_all(forward, backward, x, g, layers, every):
    inputs = [x]
    for i in range(layers - 1):
        inputs.append(forward(i, inputs[-1]))
    for i in reversed(range(layers)):
        g = backward(i, inputs[i], g)
    return g


def runs_twice_at_once(forward, backward, x, g, layers, every):
    y = x
    for i in range(layers):
        y = forward(i, y)
    return keeps_all(forward, backward, x, g, layers, every)


def keeps_nothing(forward, backward, x, g, layers, every):
    for i in reversed(range(layers)):
        y = x
        for j in range(i):
            y = forward(j, y)
        g = backward(i, y, g)
    return g


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (keeps_all, "layer 0 ran once, so its result was kept"),
        (runs_twice_at_once, "ran a second time for a piece that it does not belong to"),
        (keeps_nothing, "allowed are 12"),
    ],
)
def test_what_is_refused(answer, sentence):
    with pytest.raises(ValueError, match=sentence):
        asked(answer, 6, 2)


def runs_whole_pieces(forward, backward, x, g, layers, every):
    """Runs the last layer of a piece again too, which is not needed, and allowed."""
    kept = {}
    for i in range(layers):
        if i % every == 0:
            kept[i] = x
        x = forward(i, x)
    for first in reversed(kept):
        inputs = [kept[first]]
        for i in range(first, min(first + every, layers)):
            inputs.append(forward(i, inputs[-1]))
        for i in reversed(range(first, min(first + every, layers))):
            g = backward(i, inputs[i - first], g)
    return g


@pytest.mark.parametrize("layers, every", [(1, 1), (6, 2), (7, 3), (4, 9), (5, 1)])
def test_what_may_be_run_again(layers, every):
    np.testing.assert_allclose(
        asked(runs_whole_pieces, layers, every), asked(RIGHT, layers, every), rtol=1e-12
    )
