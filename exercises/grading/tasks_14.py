"""The tasks of lesson 14: convolution by loops, sizes, max pooling, the other way, columns."""

import itertools

import numpy as np

from .task import Task


def numbers(rng, *shape):
    return rng.uniform(-9, 9, shape).round(3)


# ---- 14.1


def conv_cases(rng):
    def case(group, x, w, stride=1, padding=0, scale=1.0):
        x = scale * numbers(rng, *x)
        return group, x, numbers(rng, *w), numbers(rng, w[0]), stride, padding

    picture = np.array([[0.0, 0, 1, 1, 1]] * 4 + [[0.0] * 5])[None, None]
    upright = np.array([[-1.0, 0, 1]] * 3)[None, None]
    yield "by hand", picture, upright, np.zeros(1), 1, 0
    yield case("one filter", (1, 1, 4, 5), (1, 1, 2, 3))
    yield case("one filter", (1, 1, 5, 4), (1, 1, 3, 2))
    yield case("channels and filters", (2, 3, 4, 5), (4, 3, 2, 2))
    yield case("channels and filters", (3, 2, 5, 4), (2, 2, 3, 3))
    yield case("channels and filters", (2, 2, 3, 3), (2, 2, 2, 2))
    yield case("stride", (2, 2, 7, 6), (3, 2, 3, 2), 2)
    yield case("stride", (1, 1, 9, 8), (1, 1, 2, 2), 3)
    yield case("stride", (1, 2, 4, 5), (1, 2, 2, 2), 9)
    yield case("padding", (2, 1, 4, 3), (2, 1, 3, 3), 1, 1)
    yield case("padding", (1, 2, 2, 2), (2, 2, 3, 4), 1, 2)
    yield case("stride and padding", (2, 2, 6, 7), (3, 2, 3, 3), 2, 1)
    yield case("stride and padding", (1, 3, 5, 8), (2, 3, 4, 2), 3, 2)
    yield case("the filter as large as the image", (2, 2, 3, 4), (3, 2, 3, 4))
    yield case("size 1", (2, 3, 3, 2), (2, 3, 1, 1))
    yield case("size 1", (1, 1, 1, 1), (1, 1, 1, 1))
    yield case("large and small", (2, 1, 4, 4), (2, 1, 2, 2), 1, 0, 1e200)
    yield case("large and small", (2, 1, 4, 4), (2, 1, 2, 2), 1, 1, 1e-6)
    yield case("many", (130, 1, 2, 3), (2, 1, 2, 2))
    yield case("many", (1, 1, 3, 2), (130, 1, 2, 2))
    yield case("many", (2, 130, 2, 3), (2, 130, 1, 2))
    yield case("many", (1, 1, 130, 2), (1, 1, 2, 2))
    yield case("many", (1, 1, 3, 130), (1, 1, 2, 2), 1, 1)
    yield case("a large filter", (1, 1, 36, 2), (1, 1, 35, 2))
    yield case("a large filter", (1, 1, 2, 36), (1, 1, 2, 35))
    yield case("no sample", (0, 2, 4, 4), (3, 2, 3, 3))


def conv_reference(x, w, b, stride, padding):
    n, c, high, wide = x.shape
    f, _, kh, kw = w.shape
    oh = (high + 2 * padding - kh) // stride + 1
    ow = (wide + 2 * padding - kw) // stride + 1
    out = np.zeros((n, f, oh, ow))
    for at in itertools.product(range(n), range(f), range(oh), range(ow)):
        total = b[at[1]]
        for ch, i, j in itertools.product(range(c), range(kh), range(kw)):
            row, column = at[2] * stride + i - padding, at[3] * stride + j - padding
            if 0 <= row < high and 0 <= column < wide:
                total += x[at[0], ch, row, column] * w[at[1], ch, i, j]
        out[at] = total
    return out


CONV = Task(
    id="14.1",
    replaces="nn.functional.conv2d",
    cases=conv_cases,
    reference=conv_reference,
    equal=(("out = np.ones((len(x), len(w), high, wide))", "each number is written"),),
    hints=(
        "Where does the window of the place (i, j) begin, if each step is `stride` long?",
        "Its rows go from i * stride to before i * stride + kh. Every filter meets it: multiply, "
        "then sum channels, rows and columns.",
        "window = x[:, None, :, top : top + kh, left : left + kw]; (window * w).sum(axis=(2, 3, "
        "4)) + b.",
    ),
    right=(
        """
        def convolve(x, w, b, stride, padding):
            x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            kh, kw = w.shape[2:]
            high = (x.shape[2] - kh) // stride + 1
            wide = (x.shape[3] - kw) // stride + 1
            out = np.zeros((len(x), len(w), high, wide))
            for i in range(high):
                for j in range(wide):
                    top, left = i * stride, j * stride
                    window = x[:, None, :, top : top + kh, left : left + kw]
                    out[:, :, i, j] = (window * w).sum(axis=(2, 3, 4)) + b
            return out""",
        """
        def convolve(x, w, b, stride, padding):
            n, c, h, wide = x.shape
            framed = np.zeros((n, c, h + 2 * padding, wide + 2 * padding))
            framed[:, :, padding : padding + h, padding : padding + wide] = x
            kh, kw = w.shape[2:]
            seen = np.lib.stride_tricks.sliding_window_view(framed, (kh, kw), axis=(2, 3))
            seen = seen[:, :, ::stride, ::stride]
            return np.einsum("ncijkl,fckl->nfij", seen, w) + b[:, None, None]""",
        """
        def convolve(x, w, b, stride, padding):
            x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
            kh, kw = w.shape[2:]
            oh = (x.shape[2] - kh) // stride + 1
            ow = (x.shape[3] - kw) // stride + 1
            out = np.zeros((len(x), len(w), oh, ow)) + b.reshape(1, -1, 1, 1)
            for i in range(kh):
                for j in range(kw):
                    rows = i + stride * np.arange(oh)
                    columns = j + stride * np.arange(ow)
                    part = x[:, :, rows[:, None], columns]
                    out += np.einsum("ncij,fc->nfij", part, w[:, :, i, j])
            return out""",
    ),
    wrong=(
        ("the windows begin one pixel apart whatever the stride", "i * stride, j * stride", "i, j"),
        ("rows and columns of the place are swapped", "i * stride, j * stride",
         "j * stride, i * stride"),
        ("the filter is turned by half a circle first", "(window * w)",
         "(window * w[:, :, ::-1, ::-1])"),
        ("the bias is left out", ".sum(axis=(2, 3, 4)) + b", ".sum(axis=(2, 3, 4))"),
        ("the bias is added at each of the products", "(window * w).sum(axis=(2, 3, 4)) + b",
         "(window * w + b[:, None, None, None]).sum(axis=(2, 3, 4))"),
        ("there is no padding", "(padding, padding), (padding, padding)", "(0, 0), (0, 0)"),
        ("the padding repeats the border in place of zeros", "(padding, padding)))",
         "(padding, padding)), mode='edge')"),
        ("padding is added above and left only", "(padding, padding), (padding, padding)",
         "(padding, 0), (padding, 0)"),
        ("the products are averaged in place of summed", ".sum(axis=(2, 3, 4))",
         ".mean(axis=(2, 3, 4))"),
        ("the last place is missing in each direction", "- kh) // stride + 1", "- kh) // stride",
         "- kw) // stride + 1", "- kw) // stride"),
        ("the number of places is rounded up", "(x.shape[2] - kh) // stride + 1",
         "-(-(x.shape[2] - kh) // stride) + 1", "(x.shape[3] - kw) // stride + 1",
         "-(-(x.shape[3] - kw) // stride) + 1"),
        ("only the first channel is seen", ".sum(axis=(2, 3, 4))", "[:, :, 0].sum(axis=(2, 3))"),
        ("the filter is taken as square, kh for both sides", "kh, kw = w.shape[2:]",
         "kh = kw = w.shape[2]"),
    ),
)  # fmt: skip

# ---- 14.2


def sizes_cases(rng):
    def stack(n, low=1, strides=3):
        found = []
        for _ in range(n):
            one = rng.integers(low, 6), rng.integers(1, strides + 1), rng.integers(0, 3)
            found.append(tuple(map(int, one)))
        return found

    yield "by hand", 28, [(5, 1, 2), (2, 2, 0), (3, 2, 0)]
    yield "by hand", 28, []
    for _ in range(3):
        yield "one layer", int(rng.integers(20, 99)), stack(1, 2)
    yield "one layer", 8, [(3, 2, 0)]
    yield "one layer", 9, [(3, 4, 2)]
    yield "a layer larger than stride 1", 30, [(3, 3, 0), (3, 1, 0), (2, 2, 0), (2, 1, 0)]
    for n in (2, 3, 4):
        yield "several", int(rng.integers(400, 900)), stack(n, 2)
        yield "several", int(rng.integers(400, 900)), stack(n)
    yield "padding", 10, [(3, 1, 1)] * 5
    yield "padding", 5, [(5, 1, 2), (5, 2, 2), (3, 1, 1)]
    yield "padding", 1, [(3, 1, 1)]
    yield "strides longer than filters", 100, [(1, 3, 0), (2, 4, 0), (3, 1, 0)]
    yield "does not fit", 4, [(5, 1, 0)]
    yield "does not fit", 10, [(3, 3, 0), (3, 1, 0), (2, 1, 0), (1, 1, 0)]
    yield "does not fit", 3, [(7, 2, 1)]
    yield "does not fit", 4, [(7, 1, 1)]
    yield "does not fit", 9, [(3, 2, 0), (9, 1, 2)]
    yield "does not fit", 9, [(3, 1, 0), (8, 2, 0), (1, 1, 2)]
    yield "fits exactly", 5, [(5, 3, 0)]
    yield "fits exactly", 3, [(5, 2, 1), (1, 1, 0)]
    yield "many", 300, [(3, 1, 1)] * 60
    yield "many", 300, [(4, 1, 1)] * 70
    yield "many", 9, [(3, 1, 1)] * 80 + [(9, 1, 0)]
    yield "many", 9, [(3, 1, 1)] * 80 + [(10, 1, 0)]
    yield "many", 10**9, [(3, 2, 1)] * 20


def sizes_reference(height, layers):
    # What the first number of the last map sees, walked from the last layer back to the first.
    for size, stride, padding in layers:
        last = height + 2 * padding - size  # where the last window may begin
        if last < 0:
            return None
        height = len(range(0, last + 1, stride))
    first, end = 0, 0
    for size, stride, padding in reversed(layers):
        first, end = first * stride - padding, end * stride - padding + size - 1
    return height, end - first + 1


SIZES = Task(
    id="14.2",
    cases=sizes_cases,
    reference=sizes_reference,
    equal=(
        ("seen += (size - 1) * step", "whole numbers cannot be changed themselves"),
        ("step *= stride", "whole numbers cannot be changed themselves"),
    ),
    hints=(
        "There are three numbers to carry from layer to layer: the height, what one number sees, "
        "and the step between two neighbours, in pixels of the image.",
        "Equation (4): first widen what is seen with the step so far, then widen the step.",
        "seen += (size - 1) * step; step *= stride; height = (height + 2 * padding - size) // "
        "stride + 1.",
    ),
    right=(
        """
        def sizes(height, layers):
            seen, step = 1, 1
            for size, stride, padding in layers:
                if size > height + 2 * padding:
                    return None
                height = (height + 2 * padding - size) // stride + 1
                seen = seen + (size - 1) * step
                step = step * stride
            return height, seen""",
        """
        def sizes(height, layers):
            for size, stride, padding in layers:
                free = height + 2 * padding - size
                if free < 0:
                    return None
                height = 1 + free // stride
            seen = 1
            for size, stride, padding in layers[::-1]:
                seen = (seen - 1) * stride + size
            return height, seen""",
        """
        def sizes(height, layers):
            if not layers:
                return height, 1
            size, stride, padding = layers[0]
            framed = height + 2 * padding
            if framed < size:
                return None
            rest = sizes((framed - size + stride) // stride, layers[1:])
            if rest is None:
                return None
            return rest[0], (rest[1] - 1) * stride + size""",
    ),
    wrong=(
        ("the padding is counted on one side only", "height + 2 * padding - size",
         "height + padding - size"),
        ("the first place is forgotten in the height", "// stride + 1", "// stride"),
        ("the height is rounded up", "(height + 2 * padding - size) // stride",
         "-(-(height + 2 * padding - size) // stride)"),
        ("a layer widens what is seen by its own stride too, one layer too early",
         "(size - 1) * step", "(size - 1) * step * stride"),
        ("what is seen grows by the whole size", "(size - 1) * step", "size * step"),
        ("the step never grows", "step = step * stride", "step = 1"),
        ("the strides are added in place of multiplied", "step = step * stride",
         "step = step + stride - 1"),
        ("the step is the last stride only", "step = step * stride", "step = stride"),
        ("the sizes are multiplied in place of the steps", "seen = seen + (size - 1) * step",
         "seen = seen * size"),
        ("a filter that does not fit is not noticed", "if size > height + 2 * padding", "if False"),
        ("a filter as large as the image is refused", "size > height", "size >= height"),
        ("padding is forgotten where it is asked whether the filter fits",
         "size > height + 2 * padding", "size > height"),
        ("padding narrows what is seen", "(size - 1) * step", "(size - 1) * step - padding"),
        ("only the first layer's filter is asked whether it fits", "if size > height + 2 * padding",
         "if seen == 1 and size > height + 2 * padding"),
    ),
)  # fmt: skip

# ---- 14.3


def pool_cases(rng):
    def case(group, h, w, size, stride, whole=False, scale=1.0):
        x = rng.integers(-3, 3, (h, w)).astype(float) if whole else scale * numbers(rng, h, w)
        oh, ow = (h - size) // stride + 1, (w - size) // stride + 1
        return group, x, numbers(rng, oh, ow), size, stride

    four = np.array([[1.0, 2, 0, 0], [3, 2, 0, 4], [5, 5, 1, 1], [5, 5, 1, 1]])
    yield "by hand", four, np.array([[1.0, 2], [3, 4]]), 2, 2
    yield case("no overlap", 4, 6, 2, 2)
    yield case("no overlap", 6, 3, 3, 3)
    yield case("what is left over", 5, 7, 2, 2)
    yield case("what is left over", 7, 5, 2, 4)
    yield case("overlap", 4, 5, 2, 1)
    yield case("overlap", 6, 7, 3, 2)
    yield case("overlap", 5, 5, 3, 1)
    one = np.pad(np.ones((1, 1)), 2)
    yield "a maximum of many windows", one, np.arange(9.0).reshape(3, 3), 3, 1
    yield case("ties", 6, 6, 2, 2, True)
    yield case("ties", 5, 6, 3, 1, True)
    yield "ties", np.zeros((4, 4)), numbers(rng, 2, 2), 2, 2
    yield "ties", np.array([[1.0, 5, 2], [5, 1, 5]]), np.array([[2.0, 3]]), 2, 1
    yield "ties", np.full((3, 4), -7.0), numbers(rng, 2, 3), 2, 1
    yield "all below 0", -abs(numbers(rng, 4, 4)) - 1, numbers(rng, 2, 2), 2, 2
    yield "all above 0", abs(numbers(rng, 4, 6)) + 1, numbers(rng, 2, 3), 2, 2
    yield case("large and small", 4, 4, 2, 2, False, 1e200)
    yield case("large and small", 4, 4, 2, 2, False, 1e-200)
    yield "nearly a tie", np.array([[1.0, 1 + 1e-12], [1 + 2e-12, 1.0]]), np.array([[3.0]]), 2, 2
    yield case("size 1", 3, 2, 1, 1)
    yield case("size 1", 4, 4, 1, 2)
    yield case("one window", 3, 3, 3, 1)
    yield case("many", 130, 3, 2, 1)
    yield case("many", 2, 260, 2, 2)
    yield case("many", 12, 13, 11, 1)
    yield "a large window", np.arange(840.0).reshape(28, 30), numbers(rng, 2, 2), 25, 3
    yield "a large window", -np.arange(840.0).reshape(30, 28), numbers(rng, 2, 2), 25, 3


def pool_reference(x, g, size, stride):
    high, wide = x.shape
    dx = np.zeros((high, wide))
    top = np.empty(g.shape)
    for a, b in itertools.product(range(g.shape[0]), range(g.shape[1])):
        cells = [(a * stride + i, b * stride + j) for i in range(size) for j in range(size)]
        best = cells[0]
        for cell in cells:
            if x[cell] > x[best]:
                best = cell
        top[a, b] = x[best]
        dx[best] += g[a, b]
    return top, dx


POOL = Task(
    id="14.3",
    replaces="engine.shapes.max_windows",
    cases=pool_cases,
    reference=pool_reference,
    atol=0.0,
    equal=(
        ("np.ones(g.shape), np.zeros(x.shape)", "each number of out is written"),
        ("list(np.ndenumerate(g))[::-1]", "sums do not depend on the order"),
    ),
    hints=(
        "Go through the places of g with two loops. Which window of x belongs to (i, j)?",
        "Where in the window is its maximum first? `window.argmax()` counts row by row and takes "
        "the first.",
        "row, column = divmod(int(window.argmax()), size); dx[top + row, left + column] += g[i, "
        "j].",
    ),
    right=(
        """
        def max_pool(x, g, size, stride):
            out, dx = np.zeros(g.shape), np.zeros(x.shape)
            for i in range(g.shape[0]):
                for j in range(g.shape[1]):
                    top, left = i * stride, j * stride
                    window = x[top : top + size, left : left + size]
                    row, column = divmod(int(window.argmax()), size)
                    out[i, j] = window.max()
                    dx[top + row, left + column] += g[i, j]
            return out, dx""",
        """
        def max_pool(x, g, size, stride):
            seen = np.lib.stride_tricks.sliding_window_view(x, (size, size))[::stride, ::stride]
            flat = seen.reshape(*seen.shape[:2], size * size)
            first = flat.argmax(axis=2)
            i, j = np.indices(first.shape)
            dx = np.zeros(x.shape)
            np.add.at(dx, (i * stride + first // size, j * stride + first % size), g)
            return flat.max(axis=2), dx""",
        """
        def max_pool(x, g, size, stride):
            out, dx = np.empty_like(g), np.zeros_like(x)
            for (i, j), value in np.ndenumerate(g):
                rows = range(i * stride, i * stride + size)
                columns = range(j * stride, j * stride + size)
                best = max(((r, c) for r in rows for c in columns), key=lambda at: x[at])
                out[i, j] = x[best]
                dx[best] += value
            return out, dx""",
    ),
    wrong=(
        ("the last window that met a pixel decides; gradients add up", "+= g[i, j]", "= g[i, j]"),
        ("every pixel that equals the maximum gets the gradient",
         "dx[top + row, left + column] += g[i, j]",
         "dx[top : top + size, left : left + size] += g[i, j] * (window == window.max())"),
        ("the gradient is shared among equal maxima", "dx[top + row, left + column] += g[i, j]",
         "dx[top : top + size, left : left + size] += g[i, j] * (window == window.max()) / (window "
         "== window.max()).sum()"),
        ("the last of equal maxima gets the gradient", "int(window.argmax())",
         "size * size - 1 - int(window[::-1, ::-1].argmax())"),
        ("the first is looked for column by column", "divmod(int(window.argmax()), size)",
         "divmod(int(window.T.argmax()), size)[::-1]"),
        ("the windows lie one pixel apart, whatever the stride", "i * stride, j * stride", "i, j"),
        ("the windows never overlap: size is taken for stride", "i * stride, j * stride",
         "i * size, j * size"),
        ("the gradient lands in the window's corner", "dx[top + row, left + column]",
         "dx[top, left]"),
        ("the place in the window is taken for the place in x", "dx[top + row, left + column]",
         "dx[row, column]"),
        ("row and column are swapped", "row, column = divmod", "column, row = divmod"),
        ("the mean's gradient: every pixel of the window gets a share",
         "dx[top + row, left + column] += g[i, j]",
         "dx[top : top + size, left : left + size] += g[i, j] / size**2"),
        ("the result is the mean", "window.max()", "window.mean()"),
        ("what is below 0 becomes 0", "window.max()", "max(window.max(), 0)"),
        ("the largest by size is taken, whatever its sign", "window.argmax()",
         "abs(window).argmax()"),
        ("the maximum itself is passed on, not the gradient", "+= g[i, j]", "+= window.max()"),
    ),
)  # fmt: skip

# ---- 14.4


def spread_cases(rng):
    def case(group, x, w, stride, padding=0, scale=1.0):
        return group, scale * numbers(rng, *x), numbers(rng, *w), stride, padding

    ones = np.ones((1, 1, 2, 2))
    yield "by hand", np.array([[[[1.0, 2]]]]), ones, 2, 0
    yield "by hand", np.array([[[[1.0, 2]]]]), ones, 1, 0
    yield case("one channel", (1, 1, 3, 2), (1, 1, 2, 3), 1)
    yield case("one channel", (1, 1, 2, 3), (1, 1, 3, 3), 2)
    yield case("channels and filters", (2, 3, 2, 3), (3, 4, 2, 2), 2)
    yield case("channels and filters", (3, 2, 3, 2), (2, 2, 3, 2), 1)
    yield case("channels and filters", (2, 2, 2, 2), (2, 3, 2, 2), 1)
    yield case("gaps", (2, 1, 3, 3), (1, 2, 1, 2), 3)
    yield case("gaps", (1, 2, 2, 3), (2, 1, 2, 2), 4)
    yield case("cut off", (2, 2, 4, 3), (2, 2, 3, 4), 2, 1)
    yield case("cut off", (1, 1, 4, 5), (1, 2, 5, 5), 1, 2)
    yield case("cut off", (1, 2, 5, 4), (2, 1, 3, 3), 3, 1)
    yield case("one place", (2, 3, 1, 1), (3, 2, 2, 3), 2)
    yield case("one place", (1, 1, 1, 1), (1, 1, 3, 3), 1, 1)
    yield case("large and small", (1, 1, 2, 2), (1, 1, 2, 2), 1, 0, 1e200)
    yield case("large and small", (1, 1, 2, 2), (1, 1, 2, 2), 1, 0, 1e-6)
    yield case("many", (130, 1, 1, 2), (1, 2, 1, 2), 2)
    yield case("many", (1, 130, 2, 2), (130, 1, 2, 2), 1)
    yield case("many", (2, 1, 2, 2), (1, 130, 1, 2), 1)
    yield case("many", (1, 1, 130, 1), (1, 1, 2, 2), 1)
    yield case("many", (1, 1, 2, 130), (1, 1, 2, 2), 2, 1)
    yield case("a large filter", (1, 1, 2, 1), (1, 1, 35, 2), 1)
    yield case("a large filter", (1, 1, 1, 2), (1, 1, 2, 35), 2)
    yield case("no sample", (0, 2, 3, 3), (2, 1, 2, 2), 2)


def spread_reference(x, w, stride, padding):
    # Asked from the other side: who lands on each pixel of the result?
    n, c, high, wide = x.shape
    _, f, kh, kw = w.shape
    oh = (high - 1) * stride + kh - 2 * padding
    ow = (wide - 1) * stride + kw - 2 * padding
    out = np.zeros((n, f, oh, ow))
    for a, b in itertools.product(range(oh), range(ow)):
        for i, j in itertools.product(range(kh), range(kw)):
            row, rest = divmod(a + padding - i, stride)
            column, over = divmod(b + padding - j, stride)
            if rest == over == 0 and 0 <= row < high and 0 <= column < wide:
                for ch in range(c):
                    out[:, :, a, b] += np.outer(x[:, ch, row, column], w[ch, :, i, j])
    return out


SPREAD = Task(
    id="14.4",
    replaces="nn.functional.conv_transpose2d",
    cases=spread_cases,
    reference=spread_reference,
    hints=(
        "Do not ask what a pixel of the result is; ask what each number of x does: it lays down "
        "its filter, times itself.",
        "The number in row i, column j lays its filter on rows i * stride to before i * stride + "
        "kh of a large array of zeros. Add, for others land there too. Cut at the end.",
        "out[:, :, top : top + kh, left : left + kw] += np.einsum('nc,cfkl->nfkl', x[:, :, i, j], "
        "w).",
    ),
    right=(
        """
        def spread(x, w, stride, padding):
            n, c, high, wide = x.shape
            f, kh, kw = w.shape[1:]
            tall, broad = (high - 1) * stride + kh, (wide - 1) * stride + kw
            out = np.zeros((n, f, tall, broad))
            for i in range(high):
                for j in range(wide):
                    top, left = i * stride, j * stride
                    part = np.tensordot(x[:, :, i, j], w, axes=(1, 0))
                    out[:, :, top : top + kh, left : left + kw] += part
            return out[:, :, padding : tall - padding, padding : broad - padding]""",
        """
        def spread(x, w, stride, padding):
            n, c, high, wide = x.shape
            f, kh, kw = w.shape[1:]
            out = np.zeros((n, f, (high - 1) * stride + kh, (wide - 1) * stride + kw))
            for k in range(kh):
                for l in range(kw):
                    rows = slice(k, k + (high - 1) * stride + 1, stride)
                    columns = slice(l, l + (wide - 1) * stride + 1, stride)
                    out[:, :, rows, columns] += np.einsum("ncij,cf->nfij", x, w[:, :, k, l])
            out = out[:, :, padding:, padding:]
            return out[:, :, : out.shape[2] - padding, : out.shape[3] - padding]""",
        """
        def spread(x, w, stride, padding):
            n, c, high, wide = x.shape
            f, kh, kw = w.shape[1:]
            apart = np.zeros((n, c, (high - 1) * stride + 1, (wide - 1) * stride + 1))
            apart[:, :, ::stride, ::stride] = x
            frame = ((0, 0), (0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1))
            whole = np.pad(apart, frame)
            seen = np.lib.stride_tricks.sliding_window_view(whole, (kh, kw), axis=(2, 3))
            out = np.einsum("ncijkl,cfkl->nfij", seen, w[:, :, ::-1, ::-1])
            tall, broad = out.shape[2:]
            return out[:, :, padding : tall - padding, padding : broad - padding]""",
    ),
    wrong=(
        ("where two filters overlap the later one stands; they add up", "+= part", "= part"),
        ("the filters lie one pixel apart, whatever the stride", "i * stride, j * stride", "i, j"),
        ("nothing is cut off for the padding",
         "[:, :, padding : tall - padding, padding : broad - padding]", ""),
        ("the padding is cut off above and left only",
         "padding : tall - padding, padding : broad - padding", "padding:, padding:"),
        ("the padding is cut off below and right only",
         "padding : tall - padding, padding : broad - padding",
         ": tall - padding, : broad - padding"),
        ("padding adds zeros around; here it cuts",
         "out[:, :, padding : tall - padding, padding : broad - padding]",
         "np.pad(out, ((0, 0), (0, 0), (padding, padding), (padding, padding)))"),
        ("the filter is turned by half a circle", "x[:, :, i, j], w, axes",
         "x[:, :, i, j], w[:, :, ::-1, ::-1], axes"),
        ("the filter's rows and columns are swapped", "i * stride, j * stride",
         "j * stride, i * stride", "(high - 1) * stride + kh, (wide - 1) * stride + kw",
         "(high + wide) * stride + kh + kw, (high + wide) * stride + kh + kw"),
        ("the first channel alone lays its filter down",
         "np.tensordot(x[:, :, i, j], w, axes=(1, 0))",
         "np.tensordot(x[:, :1, i, j], w[:1], axes=(1, 0))"),
        ("the channels are averaged in place of added", "axes=(1, 0))", "axes=(1, 0)) / c"),
        ("the result is as large as stride times the input",
         "(high - 1) * stride + kh, (wide - 1) * stride + kw", "high * stride, wide * stride"),
        ("where filters overlap their mean is taken", "+= part",
         "+= part\n                    seen[top : top + kh, left : left + kw] += 1",
         "out = np.zeros((n, f, tall, broad))",
         "out, seen = np.zeros((n, f, tall, broad)), np.zeros((tall, broad))", "return out[",
         "return (out / np.maximum(seen, 1))["),
    ),
)  # fmt: skip

# ---- 14.5


def column_cases(rng):
    def case(group, x, w, stride=1, scale=1.0):
        return group, scale * numbers(rng, *x), numbers(rng, *w), stride

    yield "by hand", np.arange(1.0, 10).reshape(1, 1, 3, 3), np.array([[[[1.0, 0], [0, -1]]]]), 1
    yield case("one filter", (1, 1, 3, 4), (1, 1, 2, 2))
    yield case("one filter", (1, 1, 4, 3), (1, 1, 3, 2))
    yield case("channels and filters", (1, 2, 3, 4), (3, 2, 2, 2))
    yield case("channels and filters", (1, 3, 4, 3), (2, 3, 1, 2))
    yield case("samples", (3, 1, 3, 4), (2, 1, 2, 3))
    yield case("samples", (2, 2, 4, 4), (2, 2, 2, 2))
    yield case("samples", (4, 2, 3, 3), (3, 2, 2, 2))
    yield case("stride", (2, 2, 7, 6), (3, 2, 3, 2), 2)
    yield case("stride", (1, 1, 8, 9), (1, 1, 2, 2), 3)
    yield case("stride", (2, 1, 4, 5), (2, 1, 2, 2), 9)
    yield case("size 1", (2, 3, 2, 3), (2, 3, 1, 1))
    yield case("the filter as large as the image", (3, 2, 2, 3), (2, 2, 2, 3))
    yield case("large and small", (1, 1, 3, 3), (1, 1, 2, 2), 1, 1e200)
    yield case("large and small", (1, 1, 3, 3), (1, 1, 2, 2), 1, 1e-6)
    yield case("many", (130, 1, 2, 2), (1, 1, 1, 2))
    yield case("many", (1, 130, 2, 3), (2, 130, 2, 2))
    yield case("many", (1, 1, 2, 3), (130, 1, 2, 2))
    yield case("many", (1, 1, 130, 2), (1, 1, 2, 2))
    yield case("many", (2, 1, 2, 130), (1, 1, 2, 2))
    yield case("no sample", (0, 2, 3, 3), (2, 2, 2, 2))


def column_reference(x, w, stride):
    n, c, high, wide = x.shape
    f, _, kh, kw = w.shape
    oh, ow = (high - kh) // stride + 1, (wide - kw) // stride + 1
    columns = np.zeros((c * kh * kw, n * oh * ow))
    out = np.zeros((n, f, oh, ow))
    places = itertools.product(range(n), range(oh), range(ow))
    for number, (a, i, j) in enumerate(places):
        for at, (ch, k, m) in enumerate(itertools.product(range(c), range(kh), range(kw))):
            value = x[a, ch, i * stride + k, j * stride + m]
            columns[at, number] = value
            out[a, :, i, j] += w[:, ch, k, m] * value
    return columns, out


COLUMNS = Task(
    id="14.5",
    replaces="engine.shapes.windows",
    cases=column_cases,
    reference=column_reference,
    equal=(("columns = np.ones((c, kh, kw, n, oh, ow))", "each number is written"),),
    hints=(
        "First only the columns: which window is the first column, which the second? And which "
        "number of it comes first?",
        "x[n, :, top : top + kh, left : left + kw].ravel() is the column of one place: channels, "
        "then rows, then columns. Filters as rows: w.reshape(len(w), -1).",
        "The product is (F, N * OH * OW): reshape to (F, N, OH, OW), then bring N to the front by "
        "transpose(1, 0, 2, 3).",
    ),
    right=(
        """
        def by_columns(x, w, stride):
            n, c, high, wide = x.shape
            f, _, kh, kw = w.shape
            oh, ow = (high - kh) // stride + 1, (wide - kw) // stride + 1
            columns = np.zeros((c, kh, kw, n, oh, ow))
            for i in range(oh):
                for j in range(ow):
                    top, left = i * stride, j * stride
                    window = x[:, :, top : top + kh, left : left + kw]
                    columns[:, :, :, :, i, j] = window.transpose(1, 2, 3, 0)
            columns = columns.reshape(c * kh * kw, n * oh * ow)
            out = w.reshape(f, c * kh * kw) @ columns
            return columns, out.reshape(f, n, oh, ow).transpose(1, 0, 2, 3)""",
        """
        def by_columns(x, w, stride):
            kh, kw = w.shape[2:]
            seen = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(2, 3))
            seen = seen[:, :, ::stride, ::stride]
            n, c, oh, ow = seen.shape[:4]
            columns = seen.transpose(1, 4, 5, 0, 2, 3).reshape(c * kh * kw, n * oh * ow)
            out = np.einsum("ncijkl,fckl->nfij", seen, w)
            return columns, out""",
        """
        def by_columns(x, w, stride):
            n, c, high, wide = x.shape
            f, _, kh, kw = w.shape
            tops = range(0, high - kh + 1, stride)
            lefts = range(0, wide - kw + 1, stride)
            columns = [
                image[:, top : top + kh, left : left + kw].ravel()
                for image in x for top in tops for left in lefts
            ]
            columns = np.array(columns).reshape(n * len(tops) * len(lefts), c * kh * kw)
            out = columns @ w.reshape(f, c * kh * kw).T
            out = out.reshape(n, len(tops), len(lefts), f)
            return columns.T, np.moveaxis(out, 3, 1)""",
    ),
    wrong=(
        ("the samples and filters of the product are taken for one another",
         "out.reshape(f, n, oh, ow).transpose(1, 0, 2, 3)", "out.reshape(n, f, oh, ow)"),
        ("the filters stay the first axis of the result", ".transpose(1, 0, 2, 3)", ""),
        ("the windows begin one pixel apart, whatever the stride", "i * stride, j * stride",
         "i, j"),
        ("in a column the channel changes fastest", "np.zeros((c, kh, kw, n, oh, ow))",
         "np.zeros((kh, kw, c, n, oh, ow))", "transpose(1, 2, 3, 0)", "transpose(2, 3, 1, 0)"),
        ("in a column the window is read column by column", "np.zeros((c, kh, kw, n, oh, ow))",
         "np.zeros((c, kw, kh, n, oh, ow))", "transpose(1, 2, 3, 0)", "transpose(1, 3, 2, 0)"),
        ("the samples change fastest from column to column",
         "columns = columns.reshape(c * kh * kw, n * oh * ow)",
         "columns = columns.transpose(0, 1, 2, 4, 5, 3).reshape(c * kh * kw, n * oh * ow)"),
        ("the windows are rows", "return columns,", "return columns.T,"),
        ("the filters are turned by half a circle", "w.reshape(f", "w[:, :, ::-1, ::-1].reshape(f"),
        ("the last place is missing", "(high - kh) // stride + 1, (wide - kw) // stride + 1",
         "(high - kh) // stride, (wide - kw) // stride"),
        ("a window is copied for the first channel only", "= window.transpose(1, 2, 3, 0)",
         "= window[:, :1].transpose(1, 2, 3, 0)"),
        ("the filter is taken as square, kh for both sides", "f, _, kh, kw = w.shape",
         "f, _, kh, kw = w.shape\n            kw = kh"),
        ("rows and columns of the place are swapped", "i * stride, j * stride",
         "j * stride, i * stride", "np.zeros((c, kh, kw, n, oh, ow))",
         "np.zeros((c, kh, kw, n, oh, ow))"),
        ("the products are averaged in place of summed", "@ columns", "@ columns / (c * kh * kw)"),
    ),
)  # fmt: skip

TASKS = [CONV, SIZES, POOL, SPREAD, COLUMNS]
