"""The tasks of lesson 14: convolution, its sizes, pooling, the transposed form, a gradient."""

import numpy as np

from .task import Task


def numbers(rng, *shape, scale=1.0):
    return scale * np.round(rng.uniform(-5, 5, shape), 2)


# ---- 14.1


def convolve_cases(rng):
    def case(group, c, h, w, f, k, l, stride=1, padding=0, scale=1.0):
        return (group, numbers(rng, c, h, w, scale=scale), numbers(rng, f, c, k, l),
                numbers(rng, f), stride, padding)  # fmt: skip

    row, edge = np.array([[[1.0, 2.0, 3.0]]]), np.array([[[[1.0, -1.0]]]])
    yield "one channel, one filter", row, edge, np.array([0.0]), 1, 0
    yield "padding", row, edge, np.array([0.0]), 1, 1
    yield case("one channel, one filter", 1, 4, 5, 1, 2, 2)
    yield case("one channel, one filter", 1, 5, 4, 1, 3, 2)
    yield case("several channels", 3, 4, 6, 1, 2, 3)
    yield case("several filters", 2, 5, 4, 3, 2, 2)
    yield case("several filters", 3, 4, 5, 3, 3, 3)
    yield case("a stride", 2, 7, 9, 2, 3, 2, 2)
    yield case("a stride", 1, 8, 6, 2, 2, 3, 3)
    yield case("a stride", 2, 6, 7, 2, 1, 1, 2)
    yield case("padding", 2, 3, 5, 2, 3, 3, 1, 1)
    yield case("padding", 1, 2, 3, 1, 4, 5, 1, 2)
    yield case("padding and a stride", 3, 6, 5, 4, 3, 2, 2, 1)
    yield case("padding and a stride", 2, 5, 8, 2, 2, 4, 3, 2)
    yield case("one place", 2, 3, 4, 3, 3, 4)
    yield case("one pixel", 1, 1, 1, 2, 1, 1)
    yield case("large and small numbers", 2, 4, 4, 2, 2, 2, 1, 1, 1e5)
    yield case("large and small numbers", 2, 4, 4, 2, 2, 2, 1, 1, 1e-5)
    yield case("a larger image", 2, 19, 23, 3, 5, 4, 2, 2)
    yield case("many channels and filters", 9, 3, 4, 8, 2, 2)
    yield case("many channels and filters", 33, 1, 2, 1, 1, 1)
    yield case("many channels and filters", 1, 1, 1, 33, 1, 1)
    yield case("long and narrow", 1, 34, 2, 1, 2, 1)
    yield case("long and narrow", 1, 2, 34, 1, 1, 2)
    yield case("long and narrow", 1, 33, 1, 1, 32, 1)
    yield case("long and narrow", 1, 1, 33, 1, 1, 32)


def convolve_reference(x, w, b, stride, padding):
    c, h, width = x.shape
    _, _, k, l = w.shape
    whole = np.zeros((c, h + 2 * padding, width + 2 * padding))
    whole[:, padding : padding + h, padding : padding + width] = x
    y = []
    for one, bias in zip(w, b):
        y.append([])
        for top in range(0, whole.shape[1] - k + 1, stride):
            y[-1].append([])
            for left in range(0, whole.shape[2] - l + 1, stride):
                total = float(bias)
                for channel in range(c):
                    for row in range(k):
                        for column in range(l):
                            seen = whole[channel, top + row, left + column]
                            total += float(one[channel, row, column]) * float(seen)
                y[-1][-1].append(total)
    return np.array(y)


CONVOLVE = Task(
    id="14.1",
    replaces="engine.shapes.conv",
    cases=convolve_cases,
    reference=convolve_reference,
    equal=(
        ("-> y = np.ones((filters, rows, columns))", "all of it is written"),
        ("-> y = np.tile(b.reshape(f, 1, 1), (1, rows, columns))", "they are float64"),
        ("np.zeros((c, h + 3 * padding", "more zeros than are looked at"),
        ("h + 2 * padding, v + 3 * padding", "more zeros than are looked at"),
    ),
    hints=(
        "The window at place (i, j) begins at row i * stride. Where does it end, and what of the "
        "channels?",
        "Cut x[:, top : top + k, left : left + l], (C, K, L); with w, (F, C, K, L), it broadcasts.",
        "y[:, i, j] = (w * window).sum(axis=(1, 2, 3)) + b.",
    ),
    right=(
        """
        def convolve(x, w, b, stride, padding):
            x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
            filters, channels, k, l = w.shape
            rows = (x.shape[1] - k) // stride + 1
            columns = (x.shape[2] - l) // stride + 1
            y = np.zeros((filters, rows, columns))
            for i in range(rows):
                for j in range(columns):
                    window = x[:, i * stride : i * stride + k, j * stride : j * stride + l]
                    y[:, i, j] = (w * window).sum(axis=(1, 2, 3)) + b
            return y""",
        """
        def convolve(x, w, b, stride, padding):
            x = np.pad(x, [(0, 0), (padding, padding), (padding, padding)])
            windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(1, 2))
            windows = windows[:, ::stride, ::stride]
            return np.einsum("cijkl,fckl->fij", windows, w) + b[:, None, None]""",
        """
        def convolve(x, w, b, stride, padding):
            (c, h, v), (f, _, k, l) = x.shape, w.shape
            whole = np.zeros((c, h + 2 * padding, v + 2 * padding))
            whole[:, padding : h + padding, padding : v + padding] = x
            rows = (h + 2 * padding - k) // stride + 1
            columns = (v + 2 * padding - l) // stride + 1
            y = np.tile(b.reshape(f, 1, 1).astype(float), (1, rows, columns))
            for a in range(k):
                for e in range(l):
                    seen = whole[:, a::stride, e::stride][:, :rows, :columns]
                    y += np.tensordot(w[:, :, a, e], seen, axes=1)
            return y""",
    ),
    wrong=(
        ("the filter is turned round first, as mathematicians do", "(w * window)",
         "(w[:, :, ::-1, ::-1] * window)"),
        ("the window goes one pixel at a time, whatever the stride", "i * stride : i * stride + k",
         "i : i + k", "j * stride : j * stride + l", "j : j + l"),
        ("the bias is left out", " + b", ""),
        ("only the first channel is seen", "(w * window).sum(axis=(1, 2, 3))",
         "(w * window)[:, 0].sum(axis=(1, 2))"),
        ("channels are averaged instead of added up", "(w * window).sum(axis=(1, 2, 3))",
         "(w * window).sum(axis=(2, 3)).mean(axis=1)"),
        ("the bias is added once for each channel", " + b", " + channels * b"),
        ("the zeros are added above and on the left only", "(padding, padding), (padding, padding)",
         "(2 * padding, 0), (2 * padding, 0)"),
        ("the border is repeated instead of filled up with zeros",
         "(padding, padding)])", '(padding, padding)], mode="edge")'),
        ("rows and columns of the window have changed places", "i * stride : i * stride + k, "
         "j * stride : j * stride + l", "j * stride : j * stride + k, i * stride : i * stride + l",
         "y = np.zeros((filters, rows, columns))",
         "y = np.zeros((filters, rows, columns)); x = np.pad(x, [(0, 0), (0, 40), (0, 40)])"),
        ("relu has cut off what is below 0", "return y", "return np.maximum(y, 0)"),
    ),
)  # fmt: skip

# ---- 14.2


def sizes_cases(rng):
    yield "a few layers", 28, [(3, 1, 1), (2, 2, 0), (3, 1, 0)]
    yield "no layer", int(rng.integers(1, 30)), []
    yield "one layer", 7, [(3, 1, 0)]
    yield "one layer", 8, [(3, 2, 0)]
    yield "one layer", 5, [(5, 3, 0)]
    yield "windows of one pixel", 9, [(1, 1, 0), (1, 2, 0), (1, 3, 1), (3, 1, 1)]
    yield "strides in a row", 65, [(3, 2, 1), (3, 2, 1), (3, 2, 1), (2, 2, 0)]
    yield "strides in a row", 100, [(5, 3, 0), (2, 2, 1), (4, 3, 2)]
    yield "much padding", 4, [(3, 1, 4), (7, 1, 3), (2, 2, 0)]
    yield "even windows", 21, [(2, 1, 0), (4, 2, 1), (2, 1, 1)]
    yield "many layers", 50, [(2, 1, 1)] * 32 + [(2, 2, 0)] * 3
    yield "a field larger than the image", 6, [(3, 1, 1)] * 8
    for _ in range(4):
        side, layers, now = int(rng.integers(20, 60)), [], None
        now = side
        for _ in range(int(rng.integers(3, 7))):
            padding, stride = int(rng.integers(0, 3)), int(rng.integers(1, 3))
            k = int(rng.integers(1, min(6, now + 2 * padding + 1)))
            layers.append((k, stride, padding))
            now = (now + 2 * padding - k) // stride + 1
        yield "all kinds", side, layers


def sizes_reference(side, layers):
    sides, fields, kept = [], [], []
    for k, stride, padding in layers:
        kept.append((k, stride))
        places = range(0, side + 2 * padding - k + 1, stride)
        side = len(places)
        sides.append(side)
        first, last = 0, 0  # pixels that the first place depends on, walked back to the image
        for window, step in reversed(kept):
            first, last = first * step, last * step + window - 1
        fields.append(last - first + 1)
    return sides, fields


SIZES = Task(
    id="14.2",
    cases=sizes_cases,
    reference=sizes_reference,
    equal=(
        ("-> jump *= stride", "a number"),
        ("-> field += (k - 1)", "a number"),
        ("-> jump = jump * step", "a number"),
        ("`int` left out", "5.0 is as good as 5"),
        ("np.floor((side - k + 2 * padding) // stride)", "rounded down in either case"),
        ("-> for _, step, _ in list(layers[:-1])[::-1]:", "a product has no order"),
    ),
    hints=(
        "Three numbers go from layer to layer: the side, the field, and how far two neighbours of "
        "the map lie apart in the image.",
        "The field grows by (K - 1) times that distance, as it was before this layer; then the "
        "distance is multiplied by the stride.",
        "side = (side + 2 * padding - k) // stride + 1; field += (k - 1) * jump; jump *= stride.",
    ),
    right=(
        """
        def sizes_and_fields(side, layers):
            field, jump = 1, 1
            sides, fields = [], []
            for k, stride, padding in layers:
                side = (side + 2 * padding - k) // stride + 1
                field = field + (k - 1) * jump
                jump = jump * stride
                sides.append(side)
                fields.append(field)
            return sides, fields""",
        """
        def sizes_and_fields(side, layers):
            sides, fields = [], []
            for n, (k, stride, padding) in enumerate(layers):
                side = int(np.floor((side - k + 2 * padding) / stride)) + 1
                sides.append(side)
                width = 1
                for window, step, _ in layers[n::-1]:
                    width = (width - 1) * step + window
                fields.append(width)
            return [sides, fields]""",
        """
        def sizes_and_fields(side, layers):
            if not layers:
                return (), ()
            sides, fields = sizes_and_fields(side, layers[:-1])
            before = sides[-1] if sides else side
            k, stride, padding = layers[-1]
            jump = 1
            for _, step, _ in layers[:-1]:
                jump *= step
            here = len(range(0, before + 2 * padding - k + 1, stride))
            field = (fields[-1] if fields else 1) + (k - 1) * jump
            return (*sides, here), (*fields, field)""",
    ),
    wrong=(
        ("the jump is multiplied by the stride before this layer's window is added",
         "                field = field + (k - 1) * jump\n                jump = jump * stride\n",
         "                jump = jump * stride\n                field = field + (k - 1) * jump\n"),
        ("the one is missing from the side", "// stride + 1", "// stride"),
        ("padding counts on one side only", "2 * padding", "padding"),
        ("the side is rounded up", "(side + 2 * padding - k) // stride + 1",
         "-(-(side + 2 * padding - k) // stride) + 1"),
        ("strides are forgotten in the field", "(k - 1) * jump", "(k - 1)"),
        ("the whole window is added, not all but one", "(k - 1) * jump", "k * jump"),
        ("the field grows by the padding", "field = field + (k - 1) * jump",
         "field = field + (k - 1 + padding) * jump"),
        ("the field ends at the image", "fields.append(field)", "fields.append(min(field, start))",
         "field, jump = 1, 1", "field, jump, start = 1, 1, side"),
        ("strides are added up instead of multiplied", "jump = jump * stride",
         "jump = jump + stride - 1"),
        ("each field is multiplied by the stride", "field = field + (k - 1) * jump",
         "field = field * stride + (k - 1)"),
        ("the side is not a whole number where the stride does not divide",
         "// stride + 1", "/ stride + 1"),
    ),
)  # fmt: skip

# ---- 14.3


def pool_cases(rng):
    def case(group, c, h, w, size, scale=1.0):
        x = numbers(rng, c, h, w, scale=scale)
        return group, x, size, numbers(rng, c, h // size, w // size)

    yield "one window", np.array([[[1.0, 5.0], [5.0, 2.0]]]), 2, np.array([[[3.0]]])
    yield case("one window", 1, 2, 2, 2)
    yield case("one window", 1, 3, 3, 3)
    yield case("several windows", 1, 4, 6, 2)
    yield case("several windows", 1, 6, 9, 3)
    yield case("several maps", 3, 4, 4, 2)
    yield case("several maps", 2, 6, 4, 2)
    yield case("rows and columns left over", 2, 5, 7, 2)
    yield case("rows and columns left over", 1, 7, 5, 3)
    yield "rows and columns left over", np.array([[[1.0, 2.0, 99.0]] * 2]), 2, np.array([[[7.0]]])
    yield case("windows of one pixel", 2, 3, 4, 1)
    x = -np.abs(numbers(rng, 2, 4, 4)) - 1
    yield "all below 0", x, 2, numbers(rng, 2, 2, 2)
    x = rng.integers(0, 3, (2, 6, 6)).astype(float)
    yield "equal numbers", x, 2, numbers(rng, 2, 3, 3)
    yield "equal numbers", x, 3, numbers(rng, 2, 2, 2)
    yield "equal numbers", np.zeros((1, 4, 4)), 2, numbers(rng, 1, 2, 2)
    yield "equal numbers", np.full((1, 2, 4), -3.0), 2, np.array([[[1.0, -2.0]]])
    yield case("large and small numbers", 1, 4, 4, 2, 1e5)
    yield case("large and small numbers", 1, 4, 4, 2, 1e-5)
    yield case("larger maps", 2, 20, 23, 4)
    yield case("many maps", 9, 4, 3, 2)
    yield case("many maps", 33, 2, 1, 1)
    yield case("long and narrow", 1, 33, 2, 1)
    yield case("long and narrow", 1, 2, 33, 1)
    yield case("a window of many pixels", 1, 33, 34, 32)
    last = np.zeros((1, 32, 32))
    last[0, 31, 31] = 1.0
    yield "a window of many pixels", last, 32, np.array([[[2.0]]])


def pool_reference(x, size, g):
    y, to_x = np.zeros(g.shape), np.zeros(x.shape)
    for c, i, j in np.ndindex(*g.shape):
        best = None
        for k in range(size):
            for l in range(size):
                value = x[c, i * size + k, j * size + l]
                if best is None or value > best[0]:
                    best = value, k, l
        y[c, i, j] = best[0]
        to_x[c, i * size + best[1], j * size + best[2]] = g[c, i, j]
    return y, to_x


POOL = Task(
    id="14.3",
    replaces="engine.shapes.max_windows",
    cases=pool_cases,
    reference=pool_reference,
    equal=(
        ("-> y, to_x = (np.ones(g.shape)", "all of it is written"),
        ("cut.reshape(rows, c,", "the same numbers in the same order; both are lost after it"),
        ("back.reshape(rows, c,", "the same numbers in the same order; both are lost after it"),
        ("list(np.ndindex(*g.shape))[::-1]", "each window by itself"),
        ("place = np.ones(g.shape", "all of it is written"),
        ("j * size + l] += g[c, i, j] -> to_x[c, i * size + k, j * size + l] = g[c, i, j]",
         "windows do not overlap"),
    ),
    hints=(
        "For each window you need two things: the largest number, and where in x it stands.",
        "argmax of a window, (size, size), gives a place in reading order, the first of equal "
        "ones; divmod by size makes a row and a column of it.",
        "k, l = divmod(window.argmax(), size); to_x[c, i * size + k, j * size + l] = g[c, i, j].",
    ),
    right=(
        """
        def max_pool(x, size, g):
            channels, rows, columns = g.shape
            y, to_x = np.zeros(g.shape), np.zeros(x.shape)
            for c in range(channels):
                for i in range(rows):
                    for j in range(columns):
                        window = x[c, i * size : (i + 1) * size, j * size : (j + 1) * size]
                        k, l = divmod(int(window.argmax()), size)
                        y[c, i, j] = window[k, l]
                        to_x[c, i * size + k, j * size + l] = g[c, i, j]
            return y, to_x""",
        """
        def max_pool(x, size, g):
            c, rows, columns = g.shape
            cut = x[:, : rows * size, : columns * size]
            blocks = cut.reshape(c, rows, size, columns, size).transpose(0, 1, 3, 2, 4)
            flat = blocks.reshape(c, rows, columns, size * size)
            hit = np.arange(size * size) == flat.argmax(axis=3)[..., None]
            back = np.where(hit, g[..., None], 0.0)
            back = back.reshape(c, rows, columns, size, size).transpose(0, 1, 3, 2, 4)
            to_x = np.zeros(x.shape)
            to_x[:, : rows * size, : columns * size] = back.reshape(cut.shape)
            return flat.max(axis=3), to_x""",
        """
        def max_pool(x, size, g):
            y = np.full(g.shape, -np.inf)
            place = np.zeros(g.shape, dtype=int)
            for k in range(size):
                for l in range(size):
                    seen = x[:, k::size, l::size][:, : g.shape[1], : g.shape[2]]
                    place = np.where(seen > y, k * size + l, place)
                    y = np.maximum(y, seen)
            to_x = np.zeros(x.shape)
            for c, i, j in np.ndindex(*g.shape):
                k, l = place[c, i, j] // size, place[c, i, j] % size
                to_x[c, i * size + k, j * size + l] += g[c, i, j]
            return [y, to_x]""",
    ),
    wrong=(
        ("each of several equal maxima gets the whole gradient",
         "to_x[c, i * size + k, j * size + l] = g[c, i, j]",
         "to_x[c, i * size : (i + 1) * size, j * size : (j + 1) * size] "
         "= g[c, i, j] * (window == window.max())"),
        ("the last of equal maxima gets the gradient",
         "divmod(int(window.argmax()), size)",
         "divmod(size * size - 1 - int(window[::-1, ::-1].argmax()), size)"),
        ("equal maxima share the gradient",
         "to_x[c, i * size + k, j * size + l] = g[c, i, j]",
         "to_x[c, i * size : (i + 1) * size, j * size : (j + 1) * size] "
         "= g[c, i, j] * (window == window.max()) / (window == window.max()).sum()"),
        ("all of a window get the gradient",
         "to_x[c, i * size + k, j * size + l] = g[c, i, j]",
         "to_x[c, i * size : (i + 1) * size, j * size : (j + 1) * size] = g[c, i, j]"),
        ("the gradient is a 1 where the largest stands", "= g[c, i, j]", "= 1.0"),
        ("what is below 0 counts as 0", "window = x[c", "window = np.maximum(x, 0)[c"),
        ("row and column of the largest have changed places", "k, l = divmod", "l, k = divmod"),
        ("the mean of a window is kept instead of the largest", "window[k, l]", "window.mean()"),
        ("the largest of all maps is kept", "y[c, i, j] = window[k, l]",
         "y[c, i, j] = x[:, i * size : (i + 1) * size, j * size : (j + 1) * size].max()"),
        ("the largest in size is kept, whatever its sign", "window.argmax()",
         "abs(window).argmax()"),
        ("the gradient is multiplied by the largest number", "= g[c, i, j]",
         "= g[c, i, j] * window[k, l]"),
    ),
)  # fmt: skip

# ---- 14.4


def spread_cases(rng):
    def case(group, c, h, w, f, k, l, stride=1, scale=1.0):
        return group, numbers(rng, c, h, w, scale=scale), numbers(rng, c, f, k, l), stride

    row, two = np.array([[[1.0, 2.0]]]), np.array([[[[10.0, 1.0]]]])
    yield "one row", row, two, 1
    yield "one row", row, two, 2
    yield case("one map", 1, 2, 3, 1, 2, 2)
    yield case("one map", 1, 3, 2, 1, 3, 2)
    yield case("several maps", 3, 2, 3, 1, 2, 3)
    yield case("several filters", 2, 3, 2, 4, 2, 2)
    yield case("as many maps as filters", 3, 2, 3, 3, 2, 3)
    yield case("a stride", 2, 3, 4, 2, 3, 2, 2)
    yield case("a stride", 1, 2, 3, 3, 4, 5, 3)
    yield case("gaps", 2, 3, 2, 2, 1, 2, 3)
    yield case("gaps", 1, 2, 2, 1, 1, 1, 4)
    yield case("one element", 2, 1, 1, 2, 3, 2, 2)
    yield case("large and small numbers", 2, 3, 3, 2, 2, 2, 1, 1e5)
    yield case("large and small numbers", 2, 3, 3, 2, 2, 2, 1, 1e-5)
    yield case("larger maps", 2, 11, 13, 3, 4, 3, 2)
    yield case("many channels and filters", 8, 2, 3, 9, 2, 2)
    yield case("many channels and filters", 33, 1, 2, 1, 1, 1)
    yield case("many channels and filters", 1, 1, 1, 33, 1, 1)
    yield case("long and narrow", 1, 33, 1, 1, 2, 1)
    yield case("long and narrow", 1, 1, 33, 1, 1, 2)
    yield case("long and narrow", 1, 2, 1, 1, 32, 1)
    yield case("long and narrow", 1, 1, 2, 1, 1, 32)


def spread_reference(x, w, stride):
    c, h, width = x.shape
    _, f, k, l = w.shape
    y = np.zeros((f, (h - 1) * stride + k, (width - 1) * stride + l))
    for one, row, column in np.ndindex(*y.shape):
        total = 0.0
        for i in range(h):
            for j in range(width):
                a, b = row - i * stride, column - j * stride
                if 0 <= a < k and 0 <= b < l:
                    total += sum(float(x[m, i, j]) * float(w[m, one, a, b]) for m in range(c))
        y[one, row, column] = total
    return y


SPREAD = Task(
    id="14.4",
    replaces="nn.functional.conv_transpose2d",
    cases=spread_cases,
    reference=spread_reference,
    hints=(
        "Begin with zeros of the right shape. What does a single element of x do to them?",
        "For element (c, i, j): the block of K rows and L columns that begins at i * stride and "
        "j * stride gets x[c, i, j] * w[c] more.",
        "y[:, top : top + k, left : left + l] += x[c, i, j] * w[c].",
    ),
    right=(
        """
        def spread(x, w, stride):
            channels, rows, columns = x.shape
            _, filters, k, l = w.shape
            y = np.zeros((filters, (rows - 1) * stride + k, (columns - 1) * stride + l))
            for c in range(channels):
                for i in range(rows):
                    for j in range(columns):
                        top, left = i * stride, j * stride
                        y[:, top : top + k, left : left + l] += x[c, i, j] * w[c]
            return y""",
        """
        def spread(x, w, stride):
            (c, h, v), (_, f, k, l) = x.shape, w.shape
            each = np.tensordot(w, x, axes=(0, 0))
            y = np.zeros((f, (h - 1) * stride + k, (v - 1) * stride + l))
            for a in range(k):
                for e in range(l):
                    rows = slice(a, a + (h - 1) * stride + 1, stride)
                    columns = slice(e, e + (v - 1) * stride + 1, stride)
                    y[:, rows, columns] += each[:, a, e]
            return y""",
        """
        def spread(x, w, stride):
            (c, h, v), (_, f, k, l) = x.shape, w.shape
            wide = np.zeros((c, (h - 1) * stride + 1, (v - 1) * stride + 1))
            wide[:, ::stride, ::stride] = x
            wide = np.pad(wide, [(0, 0), (k - 1, k - 1), (l - 1, l - 1)])
            seen = np.lib.stride_tricks.sliding_window_view(wide, (k, l), axis=(1, 2))
            return np.einsum("cijab,cfab->fij", seen, w[:, :, ::-1, ::-1])""",
    ),
    wrong=(
        ("what is laid down later covers what was there", "+= x[c, i, j] * w[c]",
         "= x[c, i, j] * w[c]"),
        ("the filter is turned round", "x[c, i, j] * w[c]", "x[c, i, j] * w[c][:, ::-1, ::-1]"),
        ("blocks lie one pixel apart, whatever the stride", "top, left = i * stride, j * stride",
         "top, left = i, j"),
        ("one channel covers the others", "for c in range(channels):",
         "for c in range(channels):\n                y[:] = 0"),
        ("blocks lie as far apart as the filter is large", "top, left = i * stride, j * stride",
         "top, left = i * k, j * l", "(rows - 1) * stride + k, (columns - 1) * stride + l",
         "rows * k, columns * l"),
        ("there is room for one block more", "(rows - 1) * stride + k, (columns - 1) * stride + l",
         "rows * stride + k, columns * stride + l"),
        ("where blocks overlap the larger is kept", "+= x[c, i, j] * w[c]",
         "= np.maximum(y[:, top : top + k, left : left + l], x[c, i, j] * w[c])"),
        ("overlaps are averaged over the channels", "return y", "return y / channels"),
        ("channels and filters have changed places", "x[c, i, j] * w[c]",
         "x[c, i, j] * w.reshape(filters, channels, k, l)[:, c]"),
        ("rows and columns of the filter have changed places", "x[c, i, j] * w[c]",
         "x[c, i, j] * w[c].transpose(0, 2, 1).reshape(filters, k, l)"),
    ),
)  # fmt: skip

# ---- 14.5


def gradient_cases(rng):
    def case(group, c, h, w, f, k, l, stride=1, scale=1.0):
        rows, columns = (h - k) // stride + 1, (w - l) // stride + 1
        x, g = numbers(rng, c, h, w, scale=scale), numbers(rng, f, rows, columns)
        return group, x, g, k, l, stride

    yield "one row", np.array([[[1.0, 2.0, 3.0]]]), np.array([[[1.0, 10.0]]]), 1, 2, 1
    yield case("one row", 1, 1, 5, 1, 1, 3)
    yield case("one filter", 1, 4, 5, 1, 2, 2)
    yield case("one filter", 1, 5, 4, 1, 3, 2)
    yield case("several channels", 3, 4, 5, 1, 2, 3)
    yield case("several filters", 2, 5, 4, 3, 2, 2)
    yield case("as many filters as channels", 3, 4, 5, 3, 2, 2)
    yield case("a stride", 2, 7, 9, 2, 3, 2, 2)
    yield case("a stride", 1, 8, 10, 2, 2, 3, 3)
    yield case("rows that no window sees", 2, 8, 6, 2, 3, 3, 2)
    yield case("rows that no window sees", 1, 7, 7, 1, 1, 1, 3)
    yield case("one place", 2, 3, 4, 2, 3, 4)
    yield case("one place", 1, 5, 4, 2, 3, 2, 4)
    yield case("one pixel", 1, 1, 1, 1, 1, 1)
    yield case("large and small numbers", 2, 4, 4, 2, 2, 2, 1, 1e5)
    yield case("large and small numbers", 2, 4, 4, 2, 2, 2, 1, 1e-5)
    yield case("a larger image", 2, 15, 18, 3, 4, 3, 2)
    yield case("many channels and filters", 8, 3, 4, 9, 2, 2)
    yield case("many channels and filters", 33, 1, 2, 1, 1, 1)
    yield case("many channels and filters", 1, 1, 1, 33, 1, 1)
    yield case("long and narrow", 1, 34, 2, 1, 2, 1)
    yield case("long and narrow", 1, 2, 34, 1, 1, 2)
    yield case("long and narrow", 1, 33, 1, 1, 32, 1)
    yield case("long and narrow", 1, 1, 33, 1, 1, 32)


def gradient_reference(x, g, k, l, stride):
    f, rows, columns = g.shape
    to_w = np.zeros((f, len(x), k, l))
    for one, c, a, b in np.ndindex(*to_w.shape):
        total = 0.0
        for i in range(rows):
            for j in range(columns):
                total += float(g[one, i, j]) * float(x[c, i * stride + a, j * stride + b])
        to_w[one, c, a, b] = total
    return to_w


GRADIENT = Task(
    id="14.5",
    replaces="engine.shapes.conv_to_w",
    cases=gradient_cases,
    reference=gradient_reference,
    equal=(("-> to_w = to_w + g", "an array of the answer's own"),),
    hints=(
        "A weight acts at every place of the map. What did it see at place (i, j)?",
        "At place (i, j) the filters saw the window of x, (C, k, l), and filter f passes on "
        "g[f, i, j] times it; add up over the places.",
        "to_w += g[:, i, j].reshape(-1, 1, 1, 1) * window.",
    ),
    right=(
        """
        def filter_gradient(x, g, k, l, stride):
            filters, rows, columns = g.shape
            to_w = np.zeros((filters, x.shape[0], k, l))
            for i in range(rows):
                for j in range(columns):
                    seen = x[:, i * stride : i * stride + k, j * stride : j * stride + l]
                    to_w += g[:, i, j].reshape(-1, 1, 1, 1) * seen
            return to_w""",
        """
        def filter_gradient(x, g, k, l, stride):
            windows = np.lib.stride_tricks.sliding_window_view(x, (k, l), axis=(1, 2))
            return np.einsum("cijab,fij->fcab", windows[:, ::stride, ::stride], g)""",
        """
        def filter_gradient(x, g, k, l, stride):
            f, rows, columns = g.shape
            result = []
            for one in range(f):
                for c in range(len(x)):
                    for a in range(k):
                        for b in range(l):
                            seen = x[c, a::stride, b::stride][:rows, :columns]
                            result.append((g[one] * seen).sum())
            return np.reshape(result, (f, len(x), k, l))""",
    ),
    wrong=(
        ("the places overwrite each other instead of adding up", "to_w += g", "to_w = g"),
        ("the windows go one pixel at a time, whatever the stride",
         "i * stride : i * stride + k, j * stride : j * stride + l", "i : i + k, j : j + l"),
        ("the mean over the places is taken", "return to_w", "return to_w / (rows * columns)"),
        ("the filters come out turned round", "return to_w", "return to_w[:, :, ::-1, ::-1]"),
        ("channels and filters have changed places", "return to_w",
         "return to_w.transpose(1, 0, 2, 3)"),
        ("all filters get the sum of all maps' gradients", "g[:, i, j].reshape(-1, 1, 1, 1)",
         "g[:, i, j].sum() * np.ones((filters, 1, 1, 1))"),
        ("all channels are added up", "return to_w",
         "return np.repeat(to_w.sum(axis=1, keepdims=True), x.shape[0], axis=1)"),
        ("the last row and column of places are left out", "range(rows)", "range(rows - 1)",
         "range(columns)", "range(columns - 1)"),
        ("the gradient of the bias is added", "return to_w",
         "return to_w + g.sum(axis=(1, 2)).reshape(-1, 1, 1, 1)"),
        ("only the sign of the gradient counts", "g[:, i, j].reshape",
         "np.sign(g[:, i, j]).reshape"),
    ),
)  # fmt: skip

TASKS = [CONVOLVE, SIZES, POOL, SPREAD, GRADIENT]
