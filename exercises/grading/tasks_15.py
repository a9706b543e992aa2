"""The tasks of lesson 15: a residual block, two maps, augmentation, frozen parts, occlusion."""

from itertools import pairwise

import numpy as np

from .task import Task

# ---- 15.1


def residual_cases(rng):
    def case(group, n, d, m, scale=1.0):
        x, w1, w2, g = (
            (scale * rng.normal(size=shape)).round(3) for shape in ((n, d), (d, m), (m, d), (n, d))
        )
        return group, x, w1, w2, g

    def whole(n, d, m):  # with many zeros before the max
        return [
            rng.integers(-1, 2, s).astype(float) * (1 + (s == (n, d)))
            for s in ((n, d), (d, m), (m, d), (n, d))
        ]

    one = np.ones((1, 1))
    yield "by hand", 2 * one, 3 * one, -one, one
    yield "by hand", -2 * one, 3 * one, -one, one
    x, w = np.array([[1.0, 1.0]]), np.array([[1.0], [-1.0]])
    yield "exactly 0 before the max", x, w, np.array([[2.0, 3.0]]), np.array([[1.0, 5.0]])
    yield "exactly 0 before the max", *whole(12, 2, 6)
    yield case("one sample", 1, 3, 2)
    yield case("one sample", 1, 2, 5)
    yield case("several", 4, 3, 2)
    yield case("several", 3, 2, 4)
    yield case("as many as features", 3, 3, 3)
    yield case("as many as features", 2, 2, 2)
    yield case("one feature", 5, 1, 1)
    yield case("large", 4, 3, 2, 300.0)
    group, x, *rest = case("small", 4, 3, 5)
    yield group, 1e-9 * x, *rest
    yield case("many", 150, 4, 3)
    yield case("many", 2, 30, 140)


def residual_reference(x, w1, w2, g):
    n, d = x.shape
    m = w1.shape[1]
    out, g_x = x.tolist(), g.tolist()
    g_w1, g_w2 = np.zeros((d, m)), np.zeros((m, d))
    for s in range(n):
        for k in range(m):
            before = float(sum(x[s, i] * w1[i, k] for i in range(d)))
            if before <= 0:
                continue
            for i in range(d):
                out[s][i] += before * w2[k, i]
                g_w2[k, i] += before * g[s, i]
            back = sum(g[s, i] * w2[k, i] for i in range(d))
            for i in range(d):
                g_x[s][i] += back * w1[i, k]
                g_w1[i, k] += back * x[s, i]
    return np.array(out), np.array(g_x), g_w1, g_w2


RESIDUAL = Task(
    id="15.1",
    replaces="nn.layers.Residual.forward",
    cases=residual_cases,
    reference=residual_reference,
    atol=1e-14,
    equal=(
        ("on = x @ w1 > 0", "True counts as 1"),
        ("np.where(1.0, x[n] @ w1 > 0, 0.0)", "True counts as 1"),
        ("(np.ones(x.shape), np.zeros(x.shape))", "each row is written to"),
        ("(np.zeros(x.shape), np.ones(x.shape))", "each row is written to"),
    ),
    hints=(
        "The layers' share of the output is inside @ w2. What else goes into the sum?",
        "Where two things are added, the gradient goes to both whole. To x it comes on two ways.",
        "out = x + inside @ w2; g_x = g + back @ w1.T.",
    ),
    right=(
        """
        def residual(x, w1, w2, g):
            before = x @ w1
            inside = np.maximum(before, 0)
            back = (g @ w2.T) * (before > 0)
            out = x + inside @ w2
            g_x = g + back @ w1.T
            return out, g_x, x.T @ back, inside.T @ g""",
        """
        def residual(x, w1, w2, g):
            on = (x @ w1 > 0).astype(float)
            inside = on * (x @ w1)
            back = on * np.einsum("nd,md->nm", g, w2)
            g_w1 = np.einsum("nd,nm->dm", x, back)
            g_w2 = np.einsum("nm,nd->md", inside, g)
            return [inside @ w2 + x, back @ w1.T + g, g_w1, g_w2]""",
        """
        def residual(x, w1, w2, g):
            out, g_x = np.zeros(x.shape), np.zeros(x.shape)
            g_w1, g_w2 = np.zeros(w1.shape), np.zeros(w2.shape)
            for n in range(len(x)):
                on = np.where(x[n] @ w1 > 0, 1.0, 0.0)
                out[n] = x[n] + (on * (x[n] @ w1)) @ w2
                back = on * (w2 @ g[n])
                g_x[n] = g[n] + w1 @ back
                g_w1 += np.outer(x[n], back)
                g_w2 += np.outer(on * (x[n] @ w1), g[n])
            return out, g_x, g_w1, g_w2""",
    ),
    wrong=(
        ("the way past is missing forward", "x + inside @ w2", "inside @ w2"),
        ("the way past is missing on the way back", "g + back @ w1.T", "back @ w1.T"),
        ("only the way past hands the gradient back", "g + back @ w1.T", "g + 0 * x"),
        ("the layers' share is multiplied with x, not added", "x + inside @ w2",
         "x * (inside @ w2)"),
        ("a max stands on the way past too", "out = x + inside @ w2",
         "out = np.maximum(x + inside @ w2, 0)"),
        ("the gradient does not pass through the max: where it was 0, nothing goes back",
         "(g @ w2.T) * (before > 0)", "g @ w2.T"),
        ("the slope of the max at 0 is 0", "before > 0", "before >= 0"),
        ("on the way past goes 1, not g", "g + back @ w1.T", "1 + back @ w1.T"),
        ("the gradients of the weights are means over samples; they are sums",
         "x.T @ back, inside.T @ g", "x.T @ back / len(x), inside.T @ g / len(x)"),
        ("the gradient of w2 takes what stands before the max", "inside.T @ g", "before.T @ g"),
        ("the gradient for x is added twice", "g + back @ w1.T", "2 * g + back @ w1.T"),
        ("the second layer works on x and what is past: the sum comes before w2",
         "x + inside @ w2", "(inside + before) @ w2"),
    ),
)  # fmt: skip

# ---- 15.2


def maps_cases(rng):
    def case(group, n, d, m, k, scale=1.0):
        x, w1, b1, w2 = (
            (scale * rng.normal(size=shape)).round(3) for shape in ((n, d), (d, m), m, (m, k))
        )
        return group, x, w1, b1, w2, rng.integers(0, k, n)

    w1, b1, w2 = np.array([[3.0], [1.0]]), np.array([-2.0]), np.array([[1.0]])
    yield "by hand", np.ones((1, 2)), w1, b1, w2, np.array([0])
    yield "by hand", np.array([[0.0, 1.0], [1.0, 1.0]]), w1, b1, w2, np.array([0, 0])
    yield "exactly 0 before the max", np.full((1, 2), 0.5), w1, b1, w2, np.array([0])
    x = rng.integers(-1, 2, (12, 2)).astype(float)
    w1 = rng.integers(-1, 2, (2, 5)).astype(float)
    w2 = rng.integers(1, 4, (5, 2)).astype(float)
    yield "exactly 0 before the max", x, w1, np.zeros(5), w2, rng.integers(0, 2, 12)
    yield case("one sample", 1, 4, 3, 2)
    yield case("one sample", 1, 2, 5, 3)
    yield case("several", 4, 3, 5, 3)
    yield case("several", 6, 2, 3, 4)
    yield case("as many of each", 3, 3, 3, 3)
    yield case("as many of each", 2, 2, 2, 2)
    group, *rest, _ = case("labels that repeat", 5, 3, 4, 3)
    yield group, *rest, np.array([2, 2, 0, 2, 2])
    yield case("one feature, one class", 3, 1, 2, 1)
    yield case("large", 4, 3, 5, 3, 300.0)
    group, x, w1, b1, *rest = case("small", 4, 3, 5, 3)
    yield group, 1e-9 * x, w1, 1e-9 * b1, *rest
    yield case("many classes", 6, 3, 4, 150)
    yield case("many", 200, 3, 4, 5)
    yield case("many", 2, 150, 4, 3)
    yield case("many", 4, 3, 150, 3)


def maps_reference(x, w1, b1, w2, labels):
    sizes, times = np.zeros(x.shape), np.zeros(x.shape)
    for n in range(len(x)):
        for d in range(x.shape[1]):
            slope = 0.0
            for m in range(len(b1)):
                if sum(x[n, e] * w1[e, m] for e in range(x.shape[1])) + b1[m] > 0:
                    slope += w1[d, m] * w2[m, labels[n]]
            sizes[n, d], times[n, d] = abs(slope), slope * x[n, d]
    return sizes, times


MAPS = Task(
    id="15.2",
    cases=maps_cases,
    reference=maps_reference,
    atol=1e-14,
    equal=(
        ("np.where(1.0, x @ w1 + b1 > 0, 0.0)", "True counts as 1"),
        ("labels = abs(labels)", "a label is never below 0"),
    ),
    hints=(
        "Walk back from the score: its slope at what stands inside is a column of w2, that of "
        "the label. It comes through the max where `before` is above 0.",
        "w2[:, labels] is (M, N): for each sample the column of its label. Turned round it is (N, "
        "M), as `before`.",
        "back = w2[:, labels].T * (before > 0); slopes = back @ w1.T; the maps are np.abs(slopes) "
        "and slopes * x.",
    ),
    right=(
        """
        def maps(x, w1, b1, w2, labels):
            before = x @ w1 + b1
            back = w2[:, labels].T * (before > 0)
            slopes = back @ w1.T
            return np.abs(slopes), slopes * x""",
        """
        def maps(x, w1, b1, w2, labels):
            slopes = []
            for row, label in zip(x, labels):
                on = row @ w1 + b1 > 0
                slopes.append(w1[:, on] @ w2[on, label])
            slopes = np.array(slopes)
            return [abs(slopes), slopes * x]""",
        """
        def maps(x, w1, b1, w2, labels):
            on = np.where(x @ w1 + b1 > 0, 1.0, 0.0)
            every = np.einsum("dm,nm,mk->nkd", w1, on, w2)
            slopes = every[np.arange(len(x)), labels]
            return np.sqrt(slopes**2), x * slopes""",
    ),
    wrong=(
        ("the first map keeps its signs; it shows sizes", "np.abs(slopes), slopes * x",
         "slopes, slopes * x"),
        ("the second map has lost its signs", "slopes * x", "np.abs(slopes * x)"),
        ("the second map takes the size of the slope", "slopes * x", "np.abs(slopes) * x"),
        ("all scores are asked, not the label's", "w2[:, labels].T", "w2.sum(axis=1)"),
        ("the largest score is asked, not the label's", "w2[:, labels].T",
         "w2[:, (np.maximum(before, 0) @ w2).argmax(axis=1)].T"),
        ("all samples are asked for the first one's label", "w2[:, labels].T", "w2[:, labels[0]]"),
        ("the max is left out", " * (before > 0)", " * np.ones(before.shape)"),
        ("the slope of the max at 0 is 0", "before > 0", "before >= 0"),
        ("the bias is forgotten, so other units are on", "x @ w1 + b1", "x @ w1"),
        ("the slope is multiplied by what is inside, not by whether it is on", "(before > 0)",
         "np.maximum(before, 0)"),
        ("all weights are added up, whether their unit is on or off, and for each class",
         "back = w2[:, labels].T * (before > 0)", "back = np.ones(before.shape) * w2.sum(axis=1)"),
        ("each sample's map is divided by its largest value; nothing was said of that",
         "np.abs(slopes), ",
         "np.abs(slopes) / (np.abs(slopes).max(axis=1, keepdims=True) + 1e-9), "),
    ),
)  # fmt: skip

# ---- 15.3


def augment_cases(rng):
    def case(group, n, h, w, reach=2, k=3, some=(0, 2)):
        x = rng.normal(size=(n, h, w)).round(3)
        shifts = rng.integers(-reach, reach + 1, (n, 2))
        return group, x, rng.integers(0, k, n), shifts, rng.random(n) < 0.5, some

    row = np.array([[[1.0, 2.0, 3.0]]])
    yield "by hand", row, np.array([8]), np.array([[0, 1]]), np.array([True]), (0, 8)
    yield "by hand", row, np.array([2]), np.array([[0, 1]]), np.array([True]), (0, 8)
    for down, right in ((1, 0), (-1, 0), (0, 2), (0, -2), (2, -1)):
        x = rng.normal(size=(1, 3, 4)).round(3)
        yield "one shift", x, np.array([1]), np.array([[down, right]]), np.array([False]), (1,)
    still = np.zeros((4, 2), int)
    y, flips = np.array([0, 1, 0, 1]), np.array([True, True, False, False])
    yield "only flips", rng.normal(size=(4, 3, 3)).round(3), y, still, flips, (1,)
    yield "only flips", rng.normal(size=(4, 2, 5)).round(3), y, still, flips, (0, 1)
    yield "none is symmetric", rng.normal(size=(4, 3, 3)).round(3), y, still, flips, ()
    both = np.array([[1, 1], [-1, 1], [0, -1], [1, 0]])
    yield "flipped and moved", rng.normal(size=(4, 3, 4)).round(3), y, both, ~(y > 5), (0, 1)
    yield case("flipped and moved", 8, 4, 3)
    yield case("flipped and moved", 6, 5, 5, 3)
    far = np.array([[3, 0], [0, 4], [-3, 1], [1, -9], [50, 50], [50, 0], [-50, 1], [4, 0], [0, 5]])
    x = rng.normal(size=(9, 3, 4)).round(3)
    yield "out of the image", x, np.arange(9), far, np.zeros(9, bool), (1,)
    yield case("one pixel", 3, 1, 1, 1)
    yield case("one column", 4, 5, 1)
    none = np.zeros((0, 2), int)
    yield "no image", np.zeros((0, 3, 2)), np.zeros(0, int), none, np.zeros(0, bool), (0,)
    yield case("many labels", 20, 2, 3, 1, 300, tuple(range(0, 300, 2)))
    yield case("many", 120, 4, 3)
    yield case("large images", 2, 36, 3)
    yield case("large images", 2, 3, 36)
    x, y = rng.normal(size=(2, 3, 3)) * 1e-9, np.array([-1, -2])
    yield "small numbers, other labels", x, y, np.ones((2, 2), int), np.array([True] * 2), (-1,)


def augment_reference(x, y, shifts, flips, symmetric):
    images, labels = x.tolist(), [int(label) for label in y] * 2
    for image, label, (down, right), flip in zip(x.tolist(), y, shifts.tolist(), flips):
        if flip and any(label == one for one in symmetric):
            image = [row[::-1] for row in image]
        h, w = len(image), len(image[0])
        pixels = {(i + down, j + right): image[i][j] for i in range(h) for j in range(w)}
        images.append([[pixels.get((i, j), 0.0) for j in range(w)] for i in range(h)])
    return np.array(images).reshape(-1, *x.shape[1:]), np.array(labels, dtype=int)


AUGMENT = Task(
    id="15.3",
    cases=augment_cases,
    reference=augment_reference,
    equal=(
        ("if abs(down) > h or", "beside the frame lies a second one of 0"),
        ("or abs(right) > w", "beside the frame lies a second one of 0"),
    ),
    rtol=0.0,
    atol=0.0,
    hints=(
        "Begin with one image and no flip: the pixel that ends at row i came from row i - down.",
        "A pixel whose place of origin lies outside stays 0; so does every pixel after a large "
        "shift. Beware of negative indices, which count from the end.",
        "if flips[n] and y[n] in symmetric: image = image[:, ::-1]; then for each i, j with 0 <= i "
        "- down < H and 0 <= j - right < W: new[n, i, j] = image[i - down, j - right].",
    ),
    right=(
        """
        def augment(x, y, shifts, flips, symmetric):
            new = np.zeros(x.shape)
            h, w = x.shape[1:]
            for n in range(len(x)):
                image = x[n]
                if flips[n] and y[n] in symmetric:
                    image = image[:, ::-1]
                down, right = shifts[n]
                for i in range(h):
                    for j in range(w):
                        if 0 <= i - down < h and 0 <= j - right < w:
                            new[n, i, j] = image[i - down, j - right]
            return np.concatenate([x, new]), np.concatenate([y, y])""",
        """
        def augment(x, y, shifts, flips, symmetric):
            images = list(x)
            h, w = x.shape[1:]
            for image, label, (down, right), flip in zip(x, y, shifts, flips):
                if flip and label in symmetric:
                    image = np.fliplr(image)
                if abs(down) >= h or abs(right) >= w:
                    images.append(np.zeros((h, w)))
                    continue
                wide = np.pad(image, ((h, h), (w, w)))
                images.append(wide[h - down : 2 * h - down, w - right : 2 * w - right])
            return np.array(images).reshape(-1, h, w), np.tile(y, 2)""",
        """
        def augment(x, y, shifts, flips, symmetric):
            turn = flips & np.isin(y, symmetric)
            image = np.where(turn[:, None, None], x[:, :, ::-1], x)
            n, h, w = x.shape
            i = np.arange(h)[None, :, None] - shifts[:, 0, None, None]
            j = np.arange(w)[None, None, :] - shifts[:, 1, None, None]
            inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
            new = image[np.arange(n)[:, None, None], i % h, j % w] * inside
            return np.vstack([x, new]), np.hstack([y, y])""",
    ),
    wrong=(
        ("what leaves on one side comes in on the other",
         "if 0 <= i - down < h and 0 <= j - right < w:", "if True:",
         "image[i - down, j - right]", "image[(i - down) % h, (j - right) % w]"),
        ("the image moves first and is flipped afterwards", "image = x[n]\n",
         "image = x[n]\n                turn = bool(flips[n] and y[n] in symmetric)\n",
         "if flips[n] and y[n] in symmetric:", "if False:",
         "            return np", "                if turn:\n"
         "                    new[n] = new[n][:, ::-1].copy()\n            return np"),
        ("every image is flipped that should be, whatever its label", " and y[n] in symmetric", ""),
        ("all images with such a label are flipped", "flips[n] and ", ""),
        ("the labels of which none may be flipped are flipped", "y[n] in", "y[n] not in"),
        ("above and below are exchanged, not left and right", "image[:, ::-1]", "image[::-1]"),
        ("it moves up and to the left where it should go down and to the right",
         "down, right = shifts[n]", "down, right = -shifts[n]"),
        ("the first number of a shift is taken for right, the second for down",
         "down, right = shifts[n]", "right, down = shifts[n]"),
        ("what comes in is the border's pixel again, not 0",
         "if 0 <= i - down < h and 0 <= j - right < w:", "if True:",
         "image[i - down, j - right]",
         "image[np.clip(i - down, 0, h - 1), np.clip(j - right, 0, w - 1)]"),
        ("negative indices count from the end, so what leaves above comes in below",
         "if 0 <= i - down < h and 0 <= j - right < w:", "if i - down < h and j - right < w and "
         "i - down >= -h and j - right >= -w:"),
        ("the new images come first", "np.concatenate([x, new])", "np.concatenate([new, x])"),
        ("the images as they were are left out", "np.concatenate([x, new]), np.concatenate([y, y])",
         "new, y"),
        ("each label comes twice in a row, but its images are N apart", "np.concatenate([y, y])",
         "np.repeat(y, 2)"),
        ("the last image's move is taken for all", "shifts[n]", "shifts[-1]"),
    ),
)  # fmt: skip

# ---- 15.4


def tune_cases(rng):
    def case(group, n, sizes, frozen, rate=0.02, steps=2):
        parts = [(rng.normal(size=s) / np.sqrt(s[0])).round(3) for s in pairwise(sizes)]
        x, y = rng.normal(size=(n, sizes[0])).round(3), rng.normal(size=(n, sizes[-1])).round(3)
        return group, x, y, parts, list(frozen), rate, steps

    one = np.ones((1, 1))
    yield "by hand", one, 0 * one, [2 * one, 3 * one], [False, True], 0.01, 1
    yield "by hand", one, 0 * one, [2 * one, 3 * one], [True, False], 0.01, 1
    yield case("nothing frozen", 3, (2, 3, 2), (False, False))
    yield case("nothing frozen", 5, (3, 4, 2, 3), (False,) * 3, 0.02, 1)
    yield case("everything frozen", 3, (2, 3, 2), (True, True))
    yield case("the body frozen", 4, (2, 4, 3, 2), (True, True, False))
    yield case("the body frozen", 4, (3, 5, 1), (True, False), 0.05, 5)
    yield case("the head frozen", 4, (2, 5, 2), (False, True))
    yield case("the head frozen", 6, (3, 6, 4, 2), (False, False, True))
    yield case("a part between frozen", 6, (3, 6, 5, 2), (False, True, False))
    yield case("a part between frozen", 6, (2, 6, 6, 6, 6, 1), (False, True, True, False, True))
    yield case("one part", 4, (3, 2), (False,))
    yield case("one part", 4, (3, 2), (True,))
    yield case("no step", 3, (2, 3, 2), (False, False), 0.1, 0)
    yield case("many steps", 5, (2, 4, 2), (False, False), 0.02, 30)
    yield case("many steps", 5, (2, 5, 3, 1), (False, True, False), 0.02, 20)
    yield case("many steps", 4, (2, 3, 1), (True, False), 0.02, 100)
    group, _, *rest = case("nearly at rest", 2, (2, 2), (False,), 0.5, 100)
    yield group, np.diag([1.0, 0.5]), *rest
    yield case("one sample", 1, (3, 6, 2), (False, False))
    x = np.array([[1.0, -1.0], [2.0, 1.0], [-1.0, -2.0]])
    parts = [np.ones((2, 2)), np.array([[1.0], [-2.0]])]
    yield "exactly 0 before the max", x, np.ones((3, 1)), parts, [False, False], 0.1, 1
    yield case("many", 130, (3, 4, 2), (False, False))


def tune_reference(x, y, parts, frozen, rate, steps):
    """By duals: each number with its slope along one weight at a time."""
    parts = [w.tolist() for w in parts]
    for _ in range(steps):
        moved = [[row[:] for row in w] for w in parts]
        for p, w in enumerate(parts):
            if frozen[p]:
                continue
            for a in range(len(w)):
                for b in range(len(w[0])):
                    moved[p][a][b] -= rate * _slope(x, y, parts, p, a, b)
        parts = moved
    return [np.array(w) for w in parts]


def _slope(x, y, parts, p, a, b):
    value, slope = x, np.zeros(x.shape)
    for i, w in enumerate(map(np.array, parts)):
        slope = slope @ w
        if i == p:
            slope[:, b] += value[:, a]
        value = value @ w
        if i < len(parts) - 1:
            slope, value = np.where(value > 0, slope, 0), np.where(value > 0, value, 0)
    return float((2 * (value - y) * slope).sum() / len(x))


TUNE = Task(
    id="15.4",
    cases=tune_cases,
    reference=tune_reference,
    equal=(
        ("rate = abs(rate)", "a rate is above 0"),
        ("range(len(parts) - 1, min(-1, ", "-1 is the smaller one"),
        ("list(parts[:-1])[:20]", "there are at most five parts"),
        ("frozen[::-1]))[:20]", "there are at most five parts"),
        ("list(parts)[:20]", "there are at most five parts"),
        ("list(reversed(range(len(parts))))[:20]", "there are at most five parts"),
        ("list(enumerate(parts))[:20]", "there are at most five parts"),
        ("list(enumerate(gradients))[:20]", "there are at most five parts"),
        ("range(min(len(parts), 30))", "there are at most five parts"),
        ("return [w for w in parts]", "nobody writes into them"),
        ("np.where(out >= 0, out, 0.0)", "0 is 0 on both ways"),
        ("list(zip(x, y))[::-1]", "a sum is the same in any order"),
        ("list(enumerate(gradients))[::-1]", "the parts' steps do not meet"),
    ),
    hints=(
        "Walk forward and keep what goes into each part. Then walk back from the last part to the "
        "first with the gradient of its output.",
        "A frozen part takes no step, but the gradient goes through it to the parts before. Take "
        "the gradient for the part before with the weights from before the step.",
        "g = 2 * (out - y) / len(x); for each part i from the last on: back = (g @ parts[i].T) * "
        "(inputs[i] > 0); if it is not frozen, parts[i] = parts[i] - rate * inputs[i].T @ g; then "
        "g = back.",
    ),
    right=(
        """
        def fine_tune(x, y, parts, frozen, rate, steps):
            parts = list(parts)
            for _ in range(steps):
                inputs = [x]
                for w in parts[:-1]:
                    inputs.append(np.maximum(inputs[-1] @ w, 0))
                g = 2 * (inputs[-1] @ parts[-1] - y) / len(x)
                for i in range(len(parts) - 1, -1, -1):
                    back = (g @ parts[i].T) * (inputs[i] > 0)
                    if not frozen[i]:
                        parts[i] = parts[i] - rate * inputs[i].T @ g
                    g = back
            return parts""",
        """
        def fine_tune(x, y, parts, frozen, rate, steps):
            if steps == 0:
                return [w.copy() for w in parts]
            kept = []
            out = x
            for i, w in enumerate(parts):
                if i:
                    out = np.where(out > 0, out, 0.0)
                kept.append(out)
                out = out @ w
            g = (out - y) * (2 / len(y))
            new = []
            for before, w, stays in zip(kept[::-1], parts[::-1], frozen[::-1]):
                new.insert(0, w if stays else w - rate * (before.T @ g))
                g = (g @ w.T) * (before > 0)
            return fine_tune(x, y, new, frozen, rate, steps - 1)""",
        """
        def fine_tune(x, y, parts, frozen, rate, steps):
            parts = [np.array(w) for w in parts]
            for step in range(steps):
                gradients = [np.zeros(w.shape) for w in parts]
                for row, target in zip(x, y):
                    inputs = [row]
                    for w in parts:
                        inputs.append(np.maximum(inputs[-1] @ w, 0))
                    g = 2 * (inputs[-2] @ parts[-1] - target)
                    for i in reversed(range(len(parts))):
                        gradients[i] += np.outer(inputs[i], g) / len(x)
                        g = parts[i] @ g * (inputs[i] > 0)
                for i, gradient in enumerate(gradients):
                    if not frozen[i]:
                        parts[i] -= rate * gradient
            return parts""",
    ),
    wrong=(
        ("frozen parts learn too", "if not frozen[i]:", "if True:"),
        ("only frozen parts learn", "if not frozen[i]:", "if frozen[i]:"),
        ("no gradient goes through a frozen part, so the parts before it stand still",
         "g = back\n", "g = back * (not frozen[i])\n"),
        ("the max is left out on the way back", " * (inputs[i] > 0)", ""),
        ("there is a max behind the last part", "g = 2 * (inputs[-1] @ parts[-1] - y)",
         "g = 2 * (np.maximum(inputs[-1] @ parts[-1], 0) - y)"),
        ("there is no max between the parts", "np.maximum(inputs[-1] @ w, 0)", "inputs[-1] @ w",
         " * (inputs[i] > 0)", ""),
        ("the gradient walks back through weights that have moved already",
         "back = (g @ parts[i].T) * (inputs[i] > 0)\n                    if", "if", "g = back",
         "g = (g @ parts[i].T) * (inputs[i] > 0)"),
        ("the sum is not divided by N", " / len(x)", ""),
        ("the loss is divided by the number of outputs too", " / len(x)", " / y.size"),
        ("the 2 of the square's slope is missing", "g = 2 * (", "g = 1 * ("),
        ("one step is taken, however many were asked for", "range(steps)", "range(min(steps, 1))"),
        ("the step goes up", "- rate *", "+ rate *"),
        ("the weights that were given are changed, or their list", "parts = list(parts)", "pass"),
        ("the weights that were given are changed, or their list",
         "parts[i] = parts[i] - rate * inputs[i].T @ g",
         "parts[i] -= rate * inputs[i].T @ g"),
        ("only the last part learns", "if not frozen[i]:",
         "if not frozen[i] and i == len(parts) - 1:"),
    ),
)  # fmt: skip

# ---- 15.5


def occlusion_cases(rng):
    def case(group, h, w, m, k, size, fill=0.0, scale=1.0):
        x, w1, b1, w2 = (
            (scale * rng.normal(size=shape)).round(3) for shape in ((h, w), (h * w, m), m, (m, k))
        )
        return group, x, w1, b1, w2, int(rng.integers(k)), size, fill

    w1, b1, w2 = np.array([[3.0], [1.0]]), np.array([-2.0]), np.array([[1.0]])
    yield "by hand", np.ones((1, 2)), w1, b1, w2, 0, 1, 0.0
    yield "by hand", np.ones((1, 2)), w1, b1, w2, 0, 3, 0.0
    yield case("single pixels", 3, 4, 5, 2, 1)
    yield case("single pixels", 4, 2, 6, 3, 1)
    yield case("squares of 3", 4, 5, 6, 3, 3)
    yield case("squares of 3", 5, 3, 6, 2, 3)
    yield case("squares of 5", 6, 7, 5, 2, 5)
    yield case("larger squares", 9, 10, 4, 2, 7)
    yield case("larger squares", 10, 12, 3, 2, 9, 0.25)
    yield case("another fill", 4, 4, 6, 3, 3, 0.5)
    yield case("another fill", 3, 4, 6, 2, 1, -2.0)
    yield case("larger than the image", 2, 3, 4, 2, 9)
    yield case("larger than the image", 3, 3, 4, 2, 5, 1.5)
    yield case("one row", 1, 6, 4, 2, 3)
    yield case("one column", 5, 1, 4, 2, 3)
    yield case("one pixel", 1, 1, 3, 2, 1)
    group, x, *rest = case("an image of fill", 3, 3, 4, 2, 3, 0.5)
    yield group, np.full(x.shape, 0.5), *rest
    yield case("large", 4, 4, 5, 2, 3, 100.0, 100.0)
    yield case("many classes", 3, 3, 5, 140, 3)
    yield case("many", 14, 12, 6, 3, 3)
    yield case("many rows", 36, 2, 5, 2, 3)
    yield case("many columns", 2, 36, 5, 2, 5)
    yield case("many units", 3, 3, 40, 3, 3)
    x, w1, b1, w2 = np.ones((2, 2)), np.ones((4, 1)), np.zeros(1), np.array([[1.0, -1.0]])
    yield "a score that grows", x, w1, b1, w2, 1, 1, 0.0


def occlusion_reference(x, w1, b1, w2, label, size, fill):
    h, w = x.shape

    def score(pixels):
        total = 0.0
        for m in range(len(b1)):
            before = sum(v * a for v, a in zip(pixels, w1[:, m].tolist())) + b1[m]
            total += max(before, 0.0) * w2[m, label]
        return total

    lost = np.zeros((h, w))
    whole = score(x.ravel().tolist())
    for i in range(h):
        for j in range(w):
            pixels = [
                fill if 2 * max(abs(a - i), abs(b - j)) <= size - 1 else float(x[a, b])
                for a in range(h)
                for b in range(w)
            ]
            lost[i, j] = whole - score(pixels)
    return lost


OCCLUSION = Task(
    id="15.5",
    cases=occlusion_cases,
    reference=occlusion_reference,
    equal=(
        ("(np.ones(x.shape), size // 2)", "each place is written to"),
        ("return w2[:, label] @ np.maximum", "both are vectors"),
        ("<= size / 2", "size is odd, and distances are whole"),
        ("far = size / 2", "size is odd, and distances are whole"),
        ("far = (size - 0) / 2", "size is odd, and distances are whole"),
        ("far = (size - 1) // 2", "size is odd, and distances are whole"),
        ("-> return out", "a list of rows is as good as an array"),
        ("len(x[-1])", "all rows have one length"),
        ("* (before >= 0)", "0 is 0 on both ways"),
        ("* (now >= 0)", "0 is 0 on both ways"),
    ),
    hints=(
        "Write the score of one image as a function of its own first. Then cover a copy.",
        "Rows from i - r to i + r, where r = size // 2. A slice that begins below 0 counts from "
        "the end: begin it at max(i - r, 0).",
        "covered = x.copy(); covered[max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1] = fill; "
        "lost[i, j] = score(x) - score(covered).",
    ),
    right=(
        """
        def occlusion(x, w1, b1, w2, label, size, fill):
            def score(image):
                return np.maximum(image.ravel() @ w1 + b1, 0) @ w2[:, label]

            lost, r = np.zeros(x.shape), size // 2
            for i in range(x.shape[0]):
                for j in range(x.shape[1]):
                    covered = x.copy()
                    covered[max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1] = fill
                    lost[i, j] = score(x) - score(covered)
            return lost""",
        """
        def occlusion(x, w1, b1, w2, label, size, fill):
            h, w = x.shape
            rows, columns = np.arange(h), np.arange(w)
            near_i = abs(rows[:, None] - rows) <= size // 2
            near_j = abs(columns[:, None] - columns) <= size // 2
            square = near_i[:, None, :, None] & near_j[None, :, None, :]
            every = np.where(square, fill, x).reshape(h * w, h * w)
            both = np.concatenate([x.reshape(1, -1), every])
            scores = np.maximum(both @ w1 + b1, 0) @ w2[:, label]
            return (scores[0] - scores[1:]).reshape(h, w)""",
        """
        def occlusion(x, w1, b1, w2, label, size, fill):
            far = (size - 1) / 2
            before = x.flatten() @ w1 + b1
            first = (before * (before > 0) * w2[:, label]).sum()
            out = []
            for i in range(len(x)):
                out.append([])
                for j in range(len(x[0])):
                    copy = np.array(x)
                    for a in range(len(x)):
                        for b in range(len(x[0])):
                            if abs(a - i) <= far and abs(b - j) <= far:
                                copy[a, b] = fill
                    now = copy.flatten() @ w1 + b1
                    out[-1].append(first - (now * (now > 0) * w2[:, label]).sum())
            return np.array(out)""",
    ),
    wrong=(
        ("that is the score that is left, not what is lost", "score(x) - score(covered)",
         "score(covered)"),
        ("what is lost has the wrong sign", "score(x) - score(covered)",
         "score(covered) - score(x)"),
        ("a loss below 0 is shown as 0", "score(x) - score(covered)",
         "max(score(x) - score(covered), 0)"),
        ("the size of the change is shown, without its sign", "score(x) - score(covered)",
         "abs(score(x) - score(covered))"),
        ("the squares stay covered: each begins with a fresh copy",
         "for i in range(x.shape[0]):",
         "covered = x.copy()\n            for i in range(x.shape[0]):",
         "for j in range(x.shape[1]):\n                    covered = x.copy()\n",
         "for j in range(x.shape[1]):\n"),
        ("the image that was given is covered", "x.copy()", "x"),
        ("the square begins at the pixel; the pixel is its middle",
         "max(i - r, 0) : i + r + 1, max(j - r, 0) : j + r + 1", "i : i + size, j : j + size"),
        ("a slice that begins below 0 counts from the end, so squares at the border are lost",
         "max(i - r, 0)", "i - r", "max(j - r, 0)", "j - r"),
        ("the square reaches too far: r rows on each side, not size", "size // 2", "size"),
        ("the last row and column of the square are left out",
         "i + r + 1, max(j - r, 0) : j + r + 1", "i + r, max(j - r, 0) : j + r"),
        ("it is covered with 0, whatever fill is", "= fill", "= 0"),
        ("whole rows are covered", "max(j - r, 0) : j + r + 1", ":"),
        ("the highest score is asked, not the label's", "@ w2[:, label]", "@ w2).max()",
         "return np.maximum(", "return (np.maximum("),
        ("the first class is asked, not the label's", "w2[:, label]", "w2[:, 0]"),
        ("the max is left out", "np.maximum(image.ravel() @ w1 + b1, 0)",
         "(image.ravel() @ w1 + b1)"),
        ("the bias is forgotten", "image.ravel() @ w1 + b1", "image.ravel() @ w1"),
        ("columns are laid one behind the other, not rows", "image.ravel()", "image.T.ravel()"),
        ("only where the square fits is there a value",
         "range(x.shape[0])", "range(r, x.shape[0] - r)",
         "range(x.shape[1])", "range(r, x.shape[1] - r)"),
    ),
)  # fmt: skip

TASKS = [RESIDUAL, MAPS, AUGMENT, TUNE, OCCLUSION]
