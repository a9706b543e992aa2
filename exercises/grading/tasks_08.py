"""The tasks of lesson 08: ties, places that meet, curvature, and a gradient of a gradient."""

import math

import numpy as np

from .task import Task

# ---- 08.1


def max_cases(rng):
    def case(group, x, axis):
        x = np.array(x, dtype=float)
        g = np.round(rng.uniform(-9, 9, x.max(axis=axis).shape), 2)
        return group, g, x, axis

    def some(*shape):
        return np.round(rng.uniform(-9, 9, shape), 3)

    yield case("no ties", [[1.0, 3.0]], 1)
    yield case("no ties", [[1.0], [3.0]], 0)
    yield case("no ties", some(3, 4), 1)
    yield case("no ties", some(4, 3), 0)
    yield case("no ties", -abs(some(5, 7)) - 1, 0)
    yield case("no ties", -abs(some(7, 5)) - 1, 1)
    yield case("ties", [[2.0, 5.0, 5.0]], 1)
    yield case("ties", [[5.0], [2.0], [5.0]], 0)
    yield case("ties", rng.integers(-2, 1, (4, 6)), 1)
    yield case("ties", rng.integers(-2, 1, (6, 4)), 0)
    yield case("ties", rng.integers(0, 3, (9, 9)), 0)
    yield case("ties", rng.integers(0, 3, (9, 9)), 1)
    yield case("all are equal", np.full((2, 3), -1.5), 1)
    yield case("all are equal", np.zeros((3, 2)), 0)
    yield case("one row, one column", some(1, 1), 0)
    yield case("one row, one column", some(1, 1), 1)
    yield case("one row, one column", some(1, 6), 0)
    yield case("one row, one column", some(6, 1), 1)
    yield case("nearly equal", [[1.0, 1.0 + 1e-9, 1.0]], 1)
    yield case("nearly equal", [[3e-10], [2e-10], [3e-10]], 0)
    yield case("nearly equal", 1e6 + rng.permutation(5)[None, :] * 1e-3, 1)
    yield case("nearly equal", [[1.0, np.nextafter(1.0, 2.0), 1.0]], 1)
    yield case("large and small", 1e200 * some(3, 4), 1)
    yield case("large and small", 1e-200 * some(4, 3), 0)
    yield case("many rows, many columns", rng.integers(0, 4, (50, 3)), 1)
    yield case("many rows, many columns", rng.integers(0, 4, (3, 50)), 0)
    yield case("hundreds of ties", np.full((300, 2), 4.0), 0)
    yield case("hundreds of ties", rng.integers(0, 2, (2, 700)), 1)
    yield case("a maximum in several rows", [[1.0, 4.0], [4.0, 2.0], [4.0, 4.0]], 1)
    yield case("a maximum in several rows", [[1.0, 4.0, 4.0], [4.0, 2.0, 4.0]], 0)


def max_reference(g, x, axis):
    back = np.zeros(x.shape)
    rows = x if axis == 1 else x.T
    for i, row in enumerate(rows):
        top = sorted(row)[-1]
        places = [k for k in range(len(row)) if row[k] == top]
        for k in places:
            back[(i, k) if axis == 1 else (k, i)] = g[i] / len(places)
    return back


MAXIMUM = Task(
    id="08.1",
    replaces="engine.reductions.max",
    cases=max_cases,
    reference=max_reference,
    atol=1e-12,
    equal=(
        ("max_gradient(g, x.T, 2)", "every axis but 0 stands for the rows"),
        ("for row in list(x)[::-1]", "the rows are new, and equal"),
        ("in list(enumerate(line))[::-1]", "the order of the places does not matter"),
        ("return np.array(back) -> return back", "a list is as good"),
    ),
    hints=(
        "The largest of each row or column, kept as an axis of length 1, can be compared with the "
        "whole table.",
        "The comparison marks the places of the maximum. How many are marked in each row? g, with "
        "the axis put back, is divided by that.",
        "top = x.max(axis=axis, keepdims=True); here = x == top; then here * np.expand_dims(g, "
        "axis) / here.sum(axis=axis, keepdims=True).",
    ),
    right=(
        """
        def max_gradient(g, x, axis):
            top = x.max(axis=axis, keepdims=True)
            here = x == top
            share = np.expand_dims(g, axis) / here.sum(axis=axis, keepdims=True)
            return here * share""",
        """
        def max_gradient(g, x, axis):
            if axis == 0:
                return max_gradient(g, x.T, 1).T
            back = np.zeros_like(x)
            for i in range(len(x)):
                ties = np.flatnonzero(x[i] == x[i].max())
                back[i, ties] = g[i] / ties.size
            return back""",
        """
        def max_gradient(g, x, axis):
            back = [[0.0] * x.shape[1] for row in x]
            for n in range(len(g)):
                line = [float(value) for value in (x[n] if axis else x[:, n])]
                count = line.count(max(line))
                for k, value in enumerate(line):
                    if value == max(line):
                        back[n if axis else k][k if axis else n] = float(g[n]) / count
            return np.array(back)""",
    ),
    wrong=(
        ("each of several equal maxima gets all of g; they share it",
         " / here.sum(axis=axis, keepdims=True)", ""),
        ("the first of several equal maxima gets all of g; they share it", """
            def max_gradient(g, x, axis):
                back = np.zeros(x.shape)
                first = np.expand_dims(x.argmax(axis=axis), axis)
                np.put_along_axis(back, first, np.expand_dims(g, axis), axis)
                return back"""),
        ("the maximum of the whole table is looked for, not that of each row or column",
         "x.max(axis=axis, keepdims=True)", "x.max()"),
        ("numbers that are nearly the maximum count as equal to it",
         "x == top", "np.isclose(x, top)"),
        ("g is shared by the ties of the whole table", "here.sum(axis=axis, keepdims=True)",
         "here.sum()"),
        ("the places of the minimum get the gradient", "x.max(", "x.min("),
        ("the largest in size is taken; a maximum looks at the sign",
         "top = x.max(axis=axis, keepdims=True)",
         "top = np.take_along_axis(x, np.expand_dims(abs(x).argmax(axis=axis), axis), axis)"),
        ("g is spread over the whole row or column", "here = x == top",
         "here = np.ones(x.shape)"),
        ("each of several equal maxima gets half of g, also where there are three or more",
         "here.sum(axis=axis, keepdims=True)",
         "np.minimum(here.sum(axis=axis, keepdims=True), 2)"),
        ("the ties are counted in eight bits, which hold no more than 255",
         "here.sum(axis=axis, keepdims=True)",
         "np.maximum(here.sum(axis=axis, keepdims=True, dtype=np.uint8), 1)"),
    ),
)  # fmt: skip

# ---- 08.2


def scatter_cases(rng):
    def case(group, length, places, rest=()):
        places = np.array(places, dtype=np.int64)
        return group, np.round(rng.uniform(-9, 9, (*places.shape, *rest)), 2), places, length

    yield case("each place once", 3, [0, 2])
    yield case("each place once", 4, [3, 1, 0])
    yield case("each place once", 5, rng.permutation(5), (2,))
    yield case("places that come twice", 3, [0, 2, 2])
    yield case("places that come twice", 4, [1, 1, 1, 3, 1])
    yield "places that come twice", np.full(3, rng.uniform(1, 9)), np.array([1, 1, 1]), 3
    yield case("places that come twice", 6, rng.integers(0, 6, 20), (3,))
    yield case("places that come twice", 3, rng.integers(0, 3, 11), (2, 2))
    yield case("counted from the end", 3, [-1, 0])
    yield case("counted from the end", 5, [-1, 4, -5, 0, -1])
    yield case("counted from the end", 4, rng.integers(-4, 4, 15), (2,))
    n = int(rng.integers(2, 6))
    _, g, *rest = case("counted from the end", n, [-1, n - 1])
    yield "counted from the end", abs(g) + 0.5, *rest
    yield case("counted from the end", 4, np.append(rng.permutation(4), rng.permutation(4) - 4))
    yield case("one place, no axis", 3, 1)
    yield case("one place, no axis", 4, -2, (3,))
    yield case("a table of places", 5, rng.integers(0, 5, (3, 4)))
    yield case("a table of places", 4, rng.integers(-4, 4, (2, 5)), (3,))
    yield case("a table of places", 3, rng.integers(0, 3, (2, 2, 2)), (2, 3))
    _, g, *rest = case("a table of places", 3, np.full((1, 1, 2), rng.integers(-3, 3)))
    yield "a table of places", abs(g) + 0.5, *rest
    yield case("no places", 3, np.zeros(0))
    yield case("no places", 0, np.zeros(0))
    yield case("no places", 0, np.zeros(0), (2,))
    yield case("no places", 2, np.zeros((0, 3)), (2,))
    yield case("no places", 2, [0, 1, 1], (0,))
    yield case("one row", 1, [0, 0, 0, -1])
    yield case("many", 300, rng.integers(-300, 300, 900), (2,))
    yield case("many", 2, rng.integers(0, 2, 700))
    _, g, *rest = case("large and small", 4, [0, 1, 1, 3, 3])
    yield "large and small", 1e-8 * g, *rest
    _, g, *rest = case("large and small", 4, [2, 1, 1, 2, 0])
    yield "large and small", 1e100 * g, *rest
    _, g, *rest = case("large and small", 3, rng.permutation(3))
    yield "large and small", np.where(rest[0] == 1, 1e12, 1.0) * (abs(g) + 0.5), *rest


def scatter_reference(g, places, length):
    rest = g.shape[places.ndim :]
    back = np.zeros((length, *rest))
    for index in np.ndindex(*places.shape):
        place = int(places[index])
        for inner in np.ndindex(*rest):
            back[(place if place >= 0 else length + place, *inner)] += g[index + inner]
    return back


SCATTER = Task(
    id="08.2",
    replaces="engine.shapes.scatter",
    cases=scatter_cases,
    reference=scatter_reference,
    rtol=1e-9,
    atol=1e-14,
    hints=(
        "back[places] = g keeps the last of several numbers that fall on one place. What must "
        "happen to the others?",
        "The shape first: `length` rows, each of the shape that g has behind the axes of places. "
        "Then go through the places one by one, or look up what np.add.at does.",
        "back = np.zeros((length, *g.shape[places.ndim:])); np.add.at(back, places, g).",
    ),
    right=(
        """
        def scatter(g, places, length):
            back = np.zeros((length, *g.shape[places.ndim :]))
            np.add.at(back, places, g)
            return back""",
        """
        def scatter(g, places, length):
            rest = g.shape[places.ndim:]
            back = np.zeros((length,) + rest)
            for place, part in zip(places.reshape(-1), g.reshape((places.size,) + rest)):
                back[place] = back[place] + part
            return back""",
        """
        def scatter(g, places, length):
            rest = g.shape[places.ndim:]
            table = np.zeros((length, places.size))
            flat = places.ravel() % max(length, 1)
            table[flat, np.arange(places.size)] = 1.0
            size = int(np.prod(rest))
            return (table @ g.reshape(places.size, size)).reshape((length,) + rest)""",
        """
        def scatter(g, places, length):
            return np.stack([
                g[(places == row) | (places == row - length)].sum(axis=0)
                for row in range(length)
            ]) if length else np.zeros((0,) + g.shape[places.ndim:])""",
    ),
    equal=(
        ("`places.ravel()` in place of", "NumPy counts from the end too"),
        ("% max(length, 0)", "there are no places then"),
        ("else np.ones(", "it has no elements"),
        ("rest)))[::-1]", "the sums are the same in any order"),
    ),
    wrong=(
        ("of several numbers that fall on one place the last one stays; they add up",
         "np.add.at(back, places, g)", "back[places] = g"),
        ("the numbers that fall on one place are averaged; each arrow counts in full",
         "np.add.at(back, places, g)",
         "np.add.at(back, places, g); counts = np.zeros(length); np.add.at(counts, places, 1); "
         "back /= np.maximum(counts, 1).reshape((-1,) + (1,) * (back.ndim - 1))"),
        ("a place that is counted from the end is left out",
         "np.add.at(back, places, g)",
         "np.add.at(back, places[places >= 0], g[places >= 0])"),
        ("a place that is counted from the end counts as if its sign were missing",
         "np.add.at(back, places, g)", "np.add.at(back, abs(places) % max(length, 1), g)"),
        ("the result is as long as its largest place asks, not `length`",
         "np.zeros((length,", "np.zeros((int(places.max(initial=-1)) + 1 or length,"),
        ("the result holds whole numbers",
         "return back", "return np.trunc(back)"),
        ("it picks, as the way forward does: g at the places", """
            def scatter(g, places, length):
                back = np.zeros((length, *g.shape[places.ndim :]))
                flat = g.reshape(-1, *g.shape[places.ndim :])
                for i in range(min(length, places.size)):
                    back[i] = flat[places.reshape(-1)[i] % len(flat)]
                return back"""),
        ("the places are sorted first, so that numbers fall on the wrong ones",
         "np.add.at(back, places, g)", "np.add.at(back, np.sort(places, axis=None)"
         ".reshape(places.shape), g)"),
        ("the places are gone through by their first axis alone, so those of one row that "
         "meet are not added up", """
            def scatter(g, places, length):
                back = np.zeros((length, *g.shape[places.ndim:]))
                for p, r in zip(places, g):
                    back[p] += r
                return back"""),
        ("a place and the same one counted from the end are taken for two, which never meet",
         "np.add.at(back, places, g)",
         "if np.unique(places).size == places.size: back[places] += g\n"
         "            else: np.add.at(back, places, g)"),
        ("the sums are differences of running totals, which lose small numbers beside large ones",
         """
            def scatter(g, places, length):
                rest = g.shape[places.ndim:]
                flat = places.ravel() % max(length, 1)
                order = np.argsort(flat, kind="stable")
                total = np.zeros((places.size + 1, *rest))
                np.cumsum(g.reshape(places.size, *rest)[order], axis=0, out=total[1:])
                first, last = (
                    np.searchsorted(flat[order], np.arange(length), side)
                    for side in ("left", "right")
                )
                return total[last] - total[first]"""),
        ("the rows come as a list, which has lost their shape where there are none",
         "return back", "return list(back)"),
    ),
)  # fmt: skip

# ---- 08.3


def descend(answer, powers, growth, x, steps):
    """The path on f(x) = the sum of powers[i] x^(i + 1), plus exp(growth x) if growth is not 0."""

    def slope(x):
        own = sum((i + 1) * c * x**i for i, c in enumerate(powers))
        return float(own + (growth * math.exp(growth * x) if growth else 0.0))

    def curvature(x):
        own = sum((i + 1) * i * c * x ** (i - 1) for i, c in enumerate(powers) if i)
        return float(own + (growth**2 * math.exp(growth * x) if growth else 0.0))

    return answer(slope, curvature, x, steps)


def newton_cases(rng):
    def near(low, high):
        return float(np.round(rng.uniform(low, high), 2))

    yield "no step", [0.0, 1.0], 0.0, near(1, 3), 0
    yield "a parabola", [0.0, 1.0], 0.0, 3.0, 1
    yield "a parabola", [near(1, 3), near(0.5, 2)], 0.0, near(1, 3), 1
    yield "it stops where the slope is 0", [0.0, 1.0], 0.0, 3.0, 9
    yield "it stops where the slope is 0", [0.0, 0.5], 0.0, 0.0, 4
    yield "it stops where the slope is 0", [0.0, 0.0, 0.0, 1.0], 0.0, 0.0, 4
    yield "several steps", [-2.0], 1.0, 2.0, 3
    yield "several steps", [-near(1, 3)], 1.0, near(1, 2), 4
    yield "several steps", [near(-1, 1), 1.0, 0.0, near(0.2, 0.6)], 0.0, near(-3, -2), 4
    yield "several steps", [0.0, 0.0, 0.0, 0.25], 0.0, near(1, 2), 30
    yield "many steps", [0.0, 0.0, 0.0, 1.0], 0.0, near(2, 3), 150
    yield "the curvature is negative", [0.0, -1.0, 0.0, 0.25], 0.0, near(0.2, 0.4), 1
    yield "the curvature is negative", [0.0, -1.0, 0.0, 0.25], 0.0, near(-0.4, -0.2), 6
    yield "the curvature is negative", [near(0.5, 1), -0.5], 0.0, near(1, 3), 5
    yield "the curvature changes its sign", [0.0, -1.0, 0.0, 0.25], 0.0, near(0.6, 0.8), 5
    yield "the curvature changes its sign", [0.0, 0.5, 0.0, -0.25], 0.0, near(0.51, 0.55), 3
    yield "the curvature is 0", [1.0], 0.0, near(1, 3), 3
    yield "the curvature is 0", [-near(1, 2)], 0.0, near(-3, 3), 4
    yield "the curvature is 0", [0.5, 0.0, 1.0], 0.0, 0.0, 1
    yield "the curvature is small", [0.01, 1e-9], 0.0, near(1, 3), 1
    yield "the curvature is small", [near(1, 2), 1e-4], 0.0, near(1, 3), 1
    yield "the curvature is small", [0.0, 1e-306 * near(1, 9)], 0.0, near(1, 3), 1
    yield "the slope is small", [0.0, 1e-7], 0.0, near(1, 2), 1
    yield "the slope is small", [1e-7], 0.0, near(1, 2), 5
    yield "the slope is small", [1e-12], 0.0, 1e6, 3  # the steps round away
    yield "the slope is small", [1e-305], 0.0, near(1, 2), 2
    yield "the slope is small", [0.0, 0.0, 0.0, 1e-6], 0.0, near(0.5, 1), 12
    yield "large numbers", [near(1e5, 2e5), near(10, 20)], 0.0, near(1e4, 2e4), 1
    yield "large numbers", [0.0, 0.0, 0.0, 1.0], 0.0, near(1e4, 2e4), 8
    yield "large numbers", [0.0, -1.0], 0.0, 1e200 * near(1, 9), 3
    yield "below 0", [near(1, 3), near(0.5, 2)], 0.0, -near(1, 3), 1
    yield "below 0", [2.0], -1.0, -near(1, 2), 4
    yield "from a whole number", [0.0, 0.0, 0.0, 1.0], 0.0, int(rng.integers(2, 9)), 4
    straight = [near(1, 3), 0.0, 0.0, 0.0]
    yield "thousands of steps", straight, 0.0, near(1, 3), int(rng.integers(4000, 5000))


def newton_reference(powers, growth, x, steps):
    path = [x]

    def answer(slope, curvature, x, steps):
        for _ in range(steps):
            here = path[-1]
            if slope(here) == 0:
                break
            bend = curvature(here)
            move = slope(here) / bend if bend > 0 else slope(here) / 10
            path.append(here - move)

    descend(answer, powers, growth, x, steps)
    return np.array(path)


NEWTON = Task(
    id="08.3",
    cases=newton_cases,
    reference=newton_reference,
    drive=descend,
    rtol=1e-6,
    atol=1e-14,
    hints=(
        "One place after the other: ask for the slope there, see whether it is 0, then for the "
        "curvature, and choose one of two steps.",
        "With a curvature above 0 the step is -slope / curvature. Else it is -0.1 * slope, plain "
        "descent. Put each new place at the end of a list that begins with x.",
        "for _ in range(steps): s = slope(path[-1]); if s == 0: break; c = curvature(path[-1]); "
        "path.append(path[-1] - (s / c if c > 0 else 0.1 * s)).",
    ),
    right=(
        """
        def newton(slope, curvature, x, steps):
            path = [x]
            for step in range(steps):
                s, c = slope(x), curvature(x)
                if s == 0:
                    break
                if c > 0:
                    x = x - s / c
                else:
                    x = x - 0.1 * s
                path.append(x)
            return path""",
        """
        def newton(slope, curvature, x, steps):
            path = [x]
            while len(path) <= steps and slope(x) != 0:
                rate = 0.1
                if curvature(x) > 0:
                    rate = 1 / curvature(x)
                x = x - rate * slope(x)
                path.append(x)
            return path""",
        """
        def newton(slope, curvature, x, steps):
            path = np.full(steps + 1, float(x))
            for i in range(steps):
                bend = curvature(path[i])
                s = slope(path[i])
                if s == 0.0:
                    return path[: i + 1]
                path[i + 1] = path[i] - (s / bend if bend > 0 else s / 10)
            return path""",
    ),
    equal=(
        ("break -> continue", "the place stays the same, and so does its slope"),
        ("which changes the array itself", "x is a number"),
        ("if s == 0.0:; path", "what is written too early is cut off"),
    ),
    wrong=(
        ("it climbs: where the curvature is negative, the parabola's top is taken for its bottom",
         "if c > 0:", "if c != 0:"),
        ("it stops where the curvature is not above 0; there it goes down the slope",
         "x = x - 0.1 * s", "break"),
        ("the size of the curvature is divided by, where it is negative",
         "x = x - 0.1 * s", "x = x - (s / abs(c) if c else 0.1 * s)"),
        ("the step goes up the slope", "x = x - s / c", "x = x + s / c"),
        ("the curvature multiplies; it divides", "s / c", "s * c"),
        ("the start is missing from the path", "path = [x]", "path = []"),
        ("the last place alone is returned", "return path", "return path[-1:]"),
        ("it does not stop where the slope is 0", "if s == 0:", "if False:"),
        ("it stops where the slope is small; only 0 ends it",
         "if s == 0:", "if abs(s) < 1e-6:"),
        ("it stops where the step is small; only a slope of 0 ends it",
         "path.append(x)",
         "path.append(x)\n                if abs(path[-1] - path[-2]) < 1e-8: break"),
        ("a small curvature is taken for 0", "if c > 0:", "if c > 1e-3:"),
        ("the step against the slope has another rate than 0.1", "0.1 * s", "0.01 * s"),
        ("one step too few is taken", "range(steps)", "range(steps - 1)"),
        ("it gives up after fifty steps", "range(steps)", "range(min(steps, 50))"),
        ("a curvature up to 1e-8 counts as none; only 0 and below does", """
            def newton(slope, curvature, x, steps):
                path = [x]
                for _ in range(steps):
                    s = slope(x)
                    if s == 0:
                        break
                    c = curvature(x)
                    x = x - s / c if c > 1e-8 else x - 0.1 * s
                    path.append(x)
                return path"""),
        ("a slope up to 1e-10 counts as 0", """
            def newton(slope, curvature, x, steps):
                path = [x]
                while len(path) <= steps and abs(slope(path[-1])) > 1e-10:
                    x = path[-1]
                    c = curvature(x)
                    path.append(x - slope(x) / c if c > 0 else x - 0.1 * slope(x))
                return path"""),
        ("a curvature of 0 is divided by", """
            def newton(slope, curvature, x, steps):
                path = [x]
                for _ in range(steps):
                    s, c = slope(x), curvature(x)
                    if s == 0:
                        break
                    x = x - np.float64(s) / c if c >= 0 else x - 0.1 * s
                    path.append(x)
                return path"""),
        ("once the curvature was above 0, it is divided by for good; it is asked at each place",
         "path = [x]", "path, above = [x], False", "if s == 0:",
         "above = above or c > 0\n                if s == 0:", "if c > 0:", "if above and c:"),
        ("once the curvature was not above 0, all steps are plain; it is asked at each place",
         "path = [x]", "path, above = [x], True", "if s == 0:",
         "above = above and c > 0\n                if s == 0:", "if c > 0:", "if above:"),
        ("it stops where the slope grows; only a slope of 0 ends it",
         "                path.append(x)",
         "                if c > 0 and abs(slope(x)) > abs(s): break\n"
         "                path.append(x)"),
        ("the path is an array of whole numbers, because x is one", """
            def newton(slope, curvature, x, steps):
                path = np.full(steps + 1, x)
                for i in range(steps):
                    s, c = slope(path[i]), curvature(path[i])
                    if s == 0:
                        return path[: i + 1]
                    path[i + 1] = path[i] - (s / c if c > 0 else 0.1 * s)
                return path"""),
        ("each step calls the function again, inside itself; Python allows about a thousand", """
            def newton(slope, curvature, x, steps):
                s = slope(x) if steps else 0
                if s == 0:
                    return [x]
                c = curvature(x)
                x, before = x - (s / c if c > 0 else 0.1 * s), x
                return [before] + newton(slope, curvature, x, steps - 1)"""),
    ),
)  # fmt: skip

# ---- 08.4


def penalty_cases(rng):
    def case(group, d, h, scale=1.0, whole=False):
        x, w, v = rng.normal(size=d), rng.normal(0, scale, (d, h)), rng.normal(size=h)
        if whole:
            x, w, v = (np.round(2 * part) for part in (x, w, v))
        return group, x.round(3), w.round(3), v.round(3)

    yield "by hand", np.array([0.0]), np.array([[1.0]]), np.array([2.0])
    yield "by hand", np.array([0.5]), np.array([[1.0]]), np.array([1.0])
    yield case("one input, one neuron", 1, 1)
    yield case("one input, one neuron", 1, 1, 2.0)
    yield case("several inputs", 3, 1)
    yield case("several inputs", 5, 1, 0.4)
    yield case("several neurons", 1, 3)
    yield case("several neurons", 1, 6, 2.0)
    yield case("both", 2, 3)
    yield case("both", 4, 2, 0.5)
    yield case("both", 3, 3)
    yield case("both", 6, 9, 0.4)
    yield case("whole numbers", 3, 2, 0.6, True)
    yield "whole numbers", np.array([1.0, 2.0]), np.array([[0.0, 1.0], [-1.0, 0.0]]), np.ones(2)
    _, x, w, v = case("zeros among them", 3, 4)
    yield "zeros among them", 0 * x, w, v
    yield "zeros among them", x, 0 * w, v
    yield "zeros among them", x, w, 0 * v
    yield "zeros among them", x, w, v * [0, 1, 0, 1]
    yield case("far out on the tanh", 2, 2, 9.0)
    yield case("far out on the tanh", 3, 4, 4.0)
    x = rng.uniform(1, 2, 1).round(3)
    w = np.array([[rng.uniform(750, 900), rng.uniform(-900, -750), 0.5]]) / x[0]
    yield "far out on the tanh", x, w.round(3), rng.uniform(1, 2, 3).round(3)
    x, u = rng.uniform(2, 4, 1).round(3), rng.uniform(7.6, 8.2) * rng.choice([-1, 1])
    yield "far out on the tanh", x, (u / x[:, None]).round(4), rng.uniform(-2e4, -1e4, 1).round(1)
    _, x, w, v = case("a large v", 3, 3)
    yield "a large v", x, w, 300 * v
    x, u, v = (rng.uniform(1, 2, 1).round(3) for _ in range(3))
    yield "a large x", 1000 * x, u[:, None] / 2000, 500 * v
    x, u, v = (rng.uniform(1, 2, n).round(3) for n in (2, 3, 3))
    yield "a large x", 1000 * x * [1, -1], np.outer([-1, 1], u) / 4000, 500 * v
    yield case("many", 40, 35, 0.2)


def penalty_reference(x, w, v):
    d, h = w.shape
    a = [math.tanh(sum(x[i] * w[i, k] for i in range(d))) for k in range(h)]
    q = [1 - value * value for value in a]
    s = [sum(w[i, k] * v[k] * q[k] for k in range(h)) for i in range(d)]
    to_w, to_v = np.zeros((d, h)), np.zeros(h)
    for k in range(h):
        to_v[k] = sum(2 * s[i] * w[i, k] * q[k] for i in range(d))
        for j in range(d):
            through = sum(2 * s[i] * w[i, k] * v[k] * (-2 * a[k] * q[k]) * x[j] for i in range(d))
            to_w[j, k] = 2 * s[j] * v[k] * q[k] + through
    return to_w, to_v


PENALTY = Task(
    id="08.4",
    cases=penalty_cases,
    reference=penalty_reference,
    equal=(
        ("-> q = a * a - 1", "two minus signs meet wherever q is used"),
        ("-> first = a ** 2 - 1", "two minus signs meet wherever it is used"),
        ("np.ones(w.shape)", "every element is written over"),
        ("np.ones(v.shape)", "every element is written over"),
        ("np.einsum('dh,h,h->d', w, first, v)", "their product is the same"),
    ),
    hints=(
        "Name what is computed on the way: a = tanh(x @ w), q = 1 - a * a, r = v * q, s = w @ r, "
        "penalty = sum of s * s. Then walk back through these five lines, the last first.",
        "w is used twice: in s = w @ r, and in a. So its gradient is a sum of two shares. The "
        "slope of q for what tanh is taken of is -2 * a * q.",
        "g_s = 2 * s; to r: w.T @ g_s; to v: that times q; to q: that of r times v; to x @ w: "
        "g_q * (-2 * a * q). Then to_w = np.outer(g_s, r) + np.outer(x, g_u).",
    ),
    right=(
        """
        def penalty_gradient(x, w, v):
            a = np.tanh(x @ w)
            q = 1 - a * a
            r = v * q
            s = w @ r
            g_s = 2 * s
            g_r = w.T @ g_s
            g_u = g_r * v * (-2 * a * q)
            to_w = np.outer(g_s, r) + np.outer(x, g_u)
            to_v = g_r * q
            return to_w, to_v""",
        """
        def penalty_gradient(x, w, v):
            to_w, to_v = np.zeros(w.shape), np.zeros(v.shape)
            a = np.tanh(w.T @ x)
            slope = 1 / np.cosh(w.T @ x) ** 2
            s = sum(w[:, k] * v[k] * slope[k] for k in range(len(v)))
            for k in range(len(v)):
                along = 2 * (s * w[:, k]).sum()
                to_v[k] = along * slope[k]
                bend = -2 * a[k] * slope[k]
                for j in range(len(x)):
                    to_w[j, k] = 2 * s[j] * v[k] * slope[k] + along * v[k] * bend * x[j]
            return to_w, to_v""",
        """
        def penalty_gradient(x, w, v):
            a = np.tanh(np.einsum("d,dh->h", x, w))
            first = 1 - a**2
            second = -2 * a * first
            s = np.einsum("dh,h,h->d", w, v, first)
            along = np.einsum("d,dh->h", s, w)
            direct = np.einsum("d,h->dh", s, v * first)
            round_about = np.einsum("d,h->dh", x, along * v * second)
            return [2 * direct + 2 * round_about, 2 * along * first]""",
    ),
    wrong=(
        ("w is taken to act once; it acts in the slope and inside the tanh too",
         " + np.outer(x, g_u)", ""),
        ("only the way through the tanh is followed; w stands in the slope itself too",
         "np.outer(g_s, r) + np.outer(x, g_u)", "np.outer(x, g_u)"),
        ("the 2 of the square's slope is missing", "g_s = 2 * s", "g_s = s"),
        ("the slope of 1 - a * a has lost its minus", "-2 * a * q", "2 * a * q"),
        ("the slope of 1 - a * a is taken for a, not for what tanh is taken of",
         "-2 * a * q", "-2 * a"),
        ("the penalty's own output is differentiated, tanh(x w) v, not its squared slope", """
            def penalty_gradient(x, w, v):
                a = np.tanh(x @ w)
                return np.outer(x, v * (1 - a * a)), a"""),
        ("the gradient for v lacks the slope of tanh", "to_v = g_r * q", "to_v = g_r"),
        ("the gradient of w is transposed", "return to_w, to_v", "return to_w.T, to_v"),
        ("the gradients come in the wrong order", "return to_w, to_v", "return to_v, to_w"),
        ("the mean of the squared slopes is taken; the penalty is their sum",
         "g_s = 2 * s", "g_s = 2 * s / len(x)"),
        ("v is left out on the way through the tanh", "g_r * v * (-2", "g_r * (-2"),
        ("tanh is made with exp, which overflows far out", "a = np.tanh(x @ w)",
         "e = np.exp(2 * (x @ w)); a = (e - 1) / (e + 1)"),
        ("far out the slope of tanh counts as 0, but it is only small", "q = 1 - a * a",
         "q = np.where(abs(a) > 0.999999, 0.0, 1 - a * a)"),
        ("the gradients are estimated from two penalties near by, which is not precise enough", """
            def penalty_gradient(x, w, v):
                def penalty(w, v):
                    return ((w @ (v * (1 - np.tanh(x @ w) ** 2))) ** 2).sum()
                def estimated(f, t):
                    found = np.zeros(t.shape)
                    for i in np.ndindex(t.shape):
                        step = np.zeros(t.shape)
                        step[i] = 1e-5
                        found[i] = (f(t + step) - f(t - step)) / 2e-5
                    return found
                return estimated(lambda t: penalty(t, v), w), estimated(lambda t: penalty(w, t), v)
         """),
    ),
)  # fmt: skip

TASKS = [MAXIMUM, SCATTER, NEWTON, PENALTY]
