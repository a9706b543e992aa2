"""The tasks of lesson 00: axes, broadcasting, masks, and the reading of a failed check."""

import numpy as np

from .task import Task

# Of what a number may be off: float32 is precise enough, as the notebook says.
PRECISION = {"rtol": 1e-5, "atol": 1e-6}


def distinct(rng, *shape):
    """Different whole numbers from 1 upwards, in any order, as floats."""
    return (rng.permutation(int(np.prod(shape))) + 1.0).reshape(shape)


def mixed(rng, *shape):
    """Numbers below and above 0, few of them whole."""
    return np.round(rng.uniform(-20, 30, shape), 1)


# ---- 00.1


def summaries_cases(rng):
    yield "one row", distinct(rng, 1, 2, 3)
    yield "a tall photo", distinct(rng, 4, 1, 3)
    yield "a wide photo", distinct(rng, 2, 4, 3)
    yield "a square photo", distinct(rng, 3, 3, 3)
    yield "one channel", distinct(rng, 2, 5, 1)
    yield "two or four channels", mixed(rng, 3, 2, 4)
    yield "two or four channels", mixed(rng, 2, 2, 2)
    yield "numbers below 0", -distinct(rng, 2, 3, 3)
    yield "a large photo", np.round(rng.uniform(0, 1, (30, 25, 3)), 3)
    yield "a large photo", 100 * mixed(rng, 21, 30, 3)
    yield "small numbers", 1e-4 * rng.uniform(1, 9, (5, 4, 4))
    yield "a large photo", mixed(rng, 40, 3, 1)
    yield "a large photo", mixed(rng, 2, 270, 1)
    yield "large numbers", 1e9 * mixed(rng, 2, 4, 3)  # once more the shape of "a wide photo"
    yield "whole numbers without a point", rng.integers(-9, 10, (2, 3, 3)) * 2 + np.arange(3)
    yield "whole numbers without a point", rng.integers(200, 256, (7, 5, 1))


def summaries_reference(photo):
    rows, columns, channels = photo.shape
    grey, light, colour = np.zeros((rows, columns)), np.zeros(rows), np.zeros(channels)
    for i, j, k in np.ndindex(rows, columns, channels):
        grey[i, j] += photo[i, j, k] / channels
        light[i] += photo[i, j, k] / (columns * channels)
        colour[k] += photo[i, j, k] / (rows * columns)
    return grey, light, colour


SUMMARIES = Task(
    id="00.1",
    cases=summaries_cases,
    reference=summaries_reference,
    **PRECISION,
    equal=(
        ("photo.mean(axis=1).mean(axis=0)", "of a mean of means with equal numbers of members the "
         "order does not matter"),
        ("range(min(C, 30))", "a photo has no more than 4 channels"),
    ),
    hints=(
        "colour has one number for each channel. So which axis must stay, and which must go?",
        "Axes 0 and 1, rows and columns, disappear. The last one stays.",
        "photo.mean(axis=...) with a tuple of two axes; then return all three, in order.",
    ),
    right=(
        """
        def summaries(photo):
            grey = photo.mean(axis=2)
            light = grey.mean(axis=1)
            colour = photo.mean(axis=(0, 1))
            return grey, light, colour""",
        """
        def summaries(photo):
            grey = photo.mean(axis=2)
            light = grey.mean(axis=1)
            colour = photo.mean(axis=0).mean(axis=0)
            return grey, light, colour""",
        """
        def summaries(photo):
            H, W, C = photo.shape
            colour = [float(photo[:, :, k].sum() / (H * W)) for k in range(C)]
            return [photo.sum(2) / C, photo.reshape(H, -1).mean(1), colour]""",
    ),
    wrong=(
        ("only axis 0, the rows, disappears; a colour is left for each column",
         "axis=(0, 1)", "axis=0"),
        ("only axis 1, the columns, disappears; a colour is left for each row",
         "axis=(0, 1)", "axis=1"),
        ("all axes disappear, and one number is left for all channels together",
         "axis=(0, 1)", ""),
        ("axes 1 and 2 disappear; the channels, which should stay, stand on axis 2",
         "axis=(0, 1)", "axis=(1, 2)"),
        ("axes 0 and 2 disappear; the channels, which should stay, stand on axis 2",
         "axis=(0, 1)", "axis=(0, 2)"),
        ("the numbers of a channel are added up, and not divided by how many they are",
         "photo.mean(axis=(0, 1))", "photo.sum(axis=(0, 1))"),
        ("the sum is divided by the number of rows alone, not by the number of pixels",
         "photo.mean(axis=(0, 1))", "photo.sum(axis=(0, 1)) / len(photo)"),
        ("the axes are kept with the length 1 (keepdims); they should be gone",
         "axis=(0, 1)", "axis=(0, 1), keepdims=True"),
        ("three channels are taken for granted; a photo may have 1 or 4",
         "photo.mean(axis=(0, 1))", "np.array([photo[:, :, k].mean() for k in range(3)])"),
        ("rows of three numbers are made, reshape(-1, 3); a photo may have 1, 2 or 4 channels",
         "photo.mean(axis=(0, 1))", "photo.reshape(-1, 3).mean(axis=0)"),
        ("colour alone is returned; grey and light belong to the answer",
         "return grey, light, colour", "return colour"),
        ("the three summaries are returned in another order",
         "return grey, light, colour", "return colour, grey, light"),
    ),
)  # fmt: skip

# ---- 00.2


def distances_cases(rng):
    def some(*shape):
        return rng.integers(-9, 10, shape).astype(float)

    yield "by hand", np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    yield "a point and some", np.array([[1.0, 1.0]]), np.array([[4.0, -3.0], [1.0, 2.0]])
    yield "some points", some(3, 2), some(2, 2)
    yield "some points", some(2, 3), some(4, 3)
    same = some(3, 2)
    yield "a point to itself", same, same
    yield "one number each", some(2, 1), some(3, 1)
    yield "one number each", mixed(rng, 1, 1), mixed(rng, 1, 1)
    yield "many numbers each", some(4, 6), some(3, 6)
    yield "many numbers each", mixed(rng, 3, 25), mixed(rng, 2, 25)
    yield "not whole", mixed(rng, 2, 3), mixed(rng, 3, 3)
    yield "not whole", 0.01 * mixed(rng, 3, 2), 0.01 * mixed(rng, 2, 2)
    yield "large numbers", 1000 * mixed(rng, 2, 2), 1000 * mixed(rng, 2, 2)
    yield "many points", mixed(rng, 30, 3), mixed(rng, 25, 3)
    yield "many points", mixed(rng, 22, 2), mixed(rng, 40, 2)
    yield "small numbers", 1e-9 * mixed(rng, 2, 3), 1e-9 * mixed(rng, 3, 3)
    yield "small numbers", np.array([[2e-7]]), np.array([[0.0], [-1e-7], [5e-8]])
    yield "large numbers", 1e9 * mixed(rng, 3, 2), 1e9 * mixed(rng, 2, 2)
    yield "whole numbers without a point", np.array([[1, 1]]), np.array([[0, 0], [3, -4]])
    yield (
        "whole numbers without a point",
        rng.integers(-9, 10, (3, 2)),
        rng.integers(-9, 10, (4, 2)) + 0.5,
    )


def distances_reference(a, b):
    d = np.zeros((len(a), len(b)))
    for i, j in np.ndindex(*d.shape):
        d[i, j] = sum((x - y) ** 2 for x, y in zip(a[i], b[j])) ** 0.5
    return d


DISTANCES = Task(
    id="00.2",
    cases=distances_cases,
    reference=distances_reference,
    rtol=1e-5,
    atol=1e-14,
    equal=(("-> difference = b - a[:, None, :]", "it is squared afterwards"),),
    hints=(
        "difference has the shape (N, M, D). The result has the shape (N, M).",
        "Square every element, add up along the axis of the D numbers, take the root: in this "
        "order.",
        "np.sqrt of (difference**2).sum(axis=...), with the number of the last axis.",
    ),
    right=(
        """
        def distances(a, b):
            difference = a[:, None, :] - b
            return np.sqrt((difference**2).sum(axis=2))""",
        """
        def distances(a, b):
            difference = a[:, None, :] - b
            return np.linalg.norm(difference, axis=-1)""",
        """
        def distances(a, b):
            squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
            return np.maximum(squared, 0) ** 0.5""",
        """
        import math
        def distances(a, b):
            return [[math.dist(p, q) for q in b] for p in a]""",
    ),
    wrong=(
        ("the root is missing, and the distances come out squared",
         "np.sqrt((difference**2).sum(axis=2))", "(difference**2).sum(axis=2)"),
        ("the sizes of the differences are added up, without squares and root",
         "np.sqrt((difference**2).sum(axis=2))", "abs(difference).sum(axis=2)"),
        ("the differences are added up before they are squared, so that plus and minus cancel",
         "np.sqrt((difference**2).sum(axis=2))", "np.sqrt(difference.sum(axis=2) ** 2)"),
        ("axis 1 disappears; it counts the points of b and should stay", "axis=2", "axis=1"),
        ("axis 0 disappears; it counts the points of a and should stay", "axis=2", "axis=0"),
        ("the mean is taken in place of the sum", ".sum(", ".mean("),
        ("only the largest difference counts", ".sum(", ".max("),
        ("rows and columns are exchanged: at [i, j] stands the distance of a[j] and b[i]",
         "a[:, None, :] - b", "b[:, None, :] - a"),
        ("a and b are subtracted row by row, the first from the first; each should meet each",
         "a[:, None, :] - b", "a - b", "axis=2", "axis=1"),
        ("the sum runs over everything, and one number is left", ".sum(axis=2)", ".sum()"),
        ("the distances are cut to the type of a: where a holds whole numbers, so do they",
         "axis=2))", "axis=2)).astype(a.dtype)"),
        ("the distances are rounded to 6 places, and small ones become 0",
         "axis=2))", "axis=2)).round(6)"),
        ("a small number is added under the root, and small distances become larger",
         "axis=2))", "axis=2) + 1e-12)"),
    ),
)  # fmt: skip

# ---- 00.3


def stretch_cases(rng):
    def flat(photo, channel):
        photo[:, :, channel] = 4.0
        return photo

    yield "one channel", distinct(rng, 1, 3, 1)
    yield "one channel", distinct(rng, 3, 2, 1)
    yield "three channels", distinct(rng, 1, 2, 3)
    yield "three channels", distinct(rng, 3, 3, 3)
    yield "three channels", np.round(rng.uniform(0.2, 0.7, (4, 3, 3)), 2)
    yield "numbers below 0", mixed(rng, 2, 3, 2)
    yield "numbers below 0", -distinct(rng, 2, 2, 3)
    yield "two or four channels", mixed(rng, 3, 2, 4)
    yield "two or four channels", mixed(rng, 2, 2, 2)
    yield "a large photo", 100 * mixed(rng, 25, 22, 3)
    yield "a channel without contrast", flat(distinct(rng, 2, 2, 3), int(rng.integers(3)))
    yield "a channel without contrast", flat(-mixed(rng, 3, 2, 2), 0)
    yield "a photo without contrast", np.full((1, 2, 2), 3.0)
    yield "a photo without contrast", np.full((1, 1, 3), -0.1)
    yield "a photo without contrast", np.zeros((2, 3, 1))
    yield "small numbers", 1e-9 * mixed(rng, 3, 2, 3)
    yield "small numbers", 1e-6 * distinct(rng, 2, 2, 1)
    yield "small numbers", 1e-15 * distinct(rng, 2, 2, 3)
    # A little contrast beside large numbers; eighths of 1/512, so that float32 holds them too.
    yield "little contrast", 1024 + distinct(rng, 2, 3, 2) / 4096
    yield "little contrast", -512 - distinct(rng, 3, 2, 1) / 4096
    yield "large numbers", 300 + distinct(rng, 2, 3, 3)
    yield "large numbers", 1e9 * mixed(rng, 3, 3, 2)
    corners = distinct(rng, 3, 3, 2)
    corners[-1, -1] = corners[0, 0]
    corners[0, -1] = corners[-1, 0] = corners[0, 0] + [0.5, -0.5]
    yield "equal corners", corners
    yield "equal corners", np.array([[[2.0], [5.0], [2.0]]])
    end = distinct(rng, 2, 3, 2)
    yield "up to 0 or from 0", end - end.max(axis=(0, 1))
    yield "up to 0 or from 0", end - end.min(axis=(0, 1))
    yield "up to 0 or from 0", np.array([[[0.0], [1.0], [0.25]]])


def stretch_reference(photo):
    result = np.zeros(photo.shape)
    for k in range(photo.shape[2]):
        values = photo[:, :, k].ravel().tolist()
        low, high = min(values), max(values)
        for i, j in np.ndindex(*photo.shape[:2]):
            if high > low:
                result[i, j, k] = (photo[i, j, k] - low) / (high - low)
    return result


ALONE, WHOLE = "axis=(0, 1)", ""
NEW, WRITTEN = "return (photo - low) / span", "photo -= low; return photo / span"
SAFE, BARE = "np.where(high > low, high - low, 1)", "high - low"

STRETCH = Task(
    id="00.3",
    cases=stretch_cases,
    reference=stretch_reference,
    **PRECISION,
    equal=(
        ("the axis kept or dropped", "with its two axes of length 1 it fits the photo as well"),
        ("np.where(high > low, high - low, 2)", "where nothing is left, 0 is divided"),
        ("min(photo.shape[-1], 30)", "a photo has no more than 4 channels"),
    ),
    hints=(
        "Take the smallest failing input and compute its result by hand, line by line. And what "
        "does `photo -= low` do to the array that belongs to the caller?",
        "Three faults: the input is changed; low and high are one number where each channel needs "
        "its own; and where high equals low, 0 is divided by 0.",
        "low and high with axis=(0, 1); a new array photo - low; and a divisor made by "
        "np.where(high > low, high - low, 1).",
    ),
    right=(
        """
        def stretch(photo):
            low, high = photo.min(axis=(0, 1)), photo.max(axis=(0, 1))
            span = np.where(high > low, high - low, 1)
            return (photo - low) / span""",
        """
        def stretch(photo):
            low, high = photo.min(axis=(0, 1)), photo.max(axis=(0, 1))
            return np.nan_to_num((photo - low) / (high - low))""",
        """
        def stretch(photo):
            photo = photo.copy()
            for k in range(photo.shape[-1]):
                channel = photo[..., k]
                channel -= channel.min()
                if channel.max() > 0:
                    channel /= channel.max()
            return photo""",
    ),
    wrong=(
        ("the function stands as it was; its three faults are still there", """
            def stretch(photo):
                low, high = photo.min(), photo.max()
                photo -= low
                return photo / (high - low)"""),
        ("the input is left alone now; two faults are still there",
         ALONE, WHOLE, SAFE, BARE),
        ("each channel has its own low and high now; two faults are still there",
         NEW, WRITTEN, SAFE, BARE),
        ("nothing is divided by 0 any more; two faults are still there",
         ALONE, WHOLE, NEW, WRITTEN),
        ("one fault is left: low and high are taken from the whole photo, not from each channel",
         ALONE, WHOLE),
        ("one fault is left: `-=` writes into the array of the caller", NEW, WRITTEN),
        ("one fault is left: in a channel without contrast 0 is divided by 0, which is nan",
         SAFE, BARE),
        ("low and high are taken for each column; the rows alone disappear", ALONE, "axis=0"),
        ("low and high are taken for each pixel, over its channels",
         ALONE, "axis=2, keepdims=True"),
        ("the divisor is high; it should be the way from low to high",
         SAFE, "np.where(high > low, high, 1)"),
        ("a channel without contrast becomes 1; it should become 0",
         NEW, "return np.where(high > low, (photo - low) / span, 1)"),
        ("a channel without contrast is left as it was; it should become 0",
         NEW, "return np.where(high > low, (photo - low) / span, photo)"),
        ("a small number is added to the divisor, and where the contrast is small 1 is not reached",
         SAFE, "high - low + 1e-9"),
        ("a small number is added to the divisor, and where the contrast is small 1 is not reached",
         SAFE, "high - low + 1e-6"),
        ("a channel with little contrast is taken for one without (isclose has a tolerance)",
         NEW, "return np.where(np.isclose(low, high), 0, (photo - low) / span)"),
        ("a channel with little contrast is taken for one without",
         NEW, "return np.where(high - low < 1e-6, 0, (photo - low) / span)"),
    ),
)  # fmt: skip

# ---- 00.4


def crop_cases(rng):
    def page(shape, ink, background=5):
        """Up to the threshold 4 everywhere, more at the places in `ink`."""
        picture = rng.integers(0, background, shape).astype(float)
        for i, j in ink:
            picture[i, j] = rng.integers(5, 10)
        return picture

    yield "a spot", page((3, 4), [(1, 2)]), 4
    yield "a spot", page((4, 2), [(2, 0)]), 4
    yield "a spot", np.array([[7.0]]), 4
    yield "gaps inside", page((4, 4), [(0, 1), (2, 3)]), 4
    yield "gaps inside", page((6, 5), [(1, 0), (4, 3), (1, 1)]), 4
    # The first and last pixel with ink, row by row, are not at the corners of the rectangle.
    ring = [(1, 3), (2, 5), (3, 1), (4, 2)]
    yield "ink away from the corners", page((6, 7), ring), 4
    yield "ink away from the corners", page((6, 7), ring)[:, ::-1].copy(), 4
    yield "ink away from the corners", page((7, 6), [(j, i) for i, j in ring]), 4
    edge = page((3, 5), [(1, 1), (1, 2)])
    edge[0, 4] = 4.0
    yield "a pixel equal to the threshold", edge, 4
    yield "ink up to the edges", page((2, 3), [(0, 0), (1, 2)]), 4
    yield "one row or column", page((1, 5), [(0, 1), (0, 3)]), 4
    yield "one row or column", page((5, 1), [(1, 0), (2, 0)]), 4
    none = page((2, 3), [])
    none[1, 1] = 4.0
    yield "no ink", none, 4
    yield "no ink", page((3, 3), []), 9.5
    yield "no ink", page((2, 2), []) - 20, -15.5
    yield "numbers below 0", page((4, 5), [(1, 1), (2, 3), (3, 2)]) - 20, -15.5
    # The ink of a row adds up to 0, or is 0: what counts is that it is there.
    yield (
        "numbers below 0",
        np.array([[-9.0, -9.0, -9.0], [3.0, -3.0, -9.0], [-9.0, -9.0, 0.0]]),
        -5,
    )
    yield "numbers below 0", page((4, 5), [(0, 2), (2, 1), (1, 3)]) - 7.25, -2.5
    # Ink of which nothing, or the sum, is other than 0, and ink that is all below 0.
    spots = np.full((3, 4), -5.0) - rng.integers(0, 4, (3, 4))
    low, zero, both = spots.copy(), spots.copy(), spots.copy()
    zero[1, 1] = zero[2, int(rng.integers(3))] = 0.0
    both[[0, 2], [1, 3]] = np.array([1.0, -1.0]) * rng.integers(1, 3)
    low[[0, 1], [3, 2]] = -1.0, -2.5
    group = "ink of 0 or below"
    yield group, np.array([[0.0, -5.0], [-5.0, -5.0]]), -1
    yield group, zero, -0.5
    yield group, both, -4
    yield group, low, -3
    places = [(2, 3), (8, 5), *rng.integers((2, 3), (9, 6), (12, 2)).tolist()]
    yield "a larger picture", page((11, 9), places) / 10, 0.45
    places = [(2, 30), (28, 12), (9, 3), (13, 33), *rng.integers((2, 3), (29, 34), (9, 2)).tolist()]
    yield "a larger picture", page((32, 40), places) / 1000, 0.0045
    yield "the threshold 0", np.array([[0.0, 0.3, -1.0], [0.0, 0.0, 0.0]]), 0
    yield "the threshold 0", page((3, 5), [(1, 3), (2, 1)]) - 4.0, 0
    yield "the threshold 0", -page((2, 3), []), 0
    yield "small numbers", 1e-9 * page((4, 5), [(1, 1), (2, 3)]), 4.5e-9
    yield "small numbers", np.array([[1e-9, 0.0], [2e-9, 1e-9]]), 1.5e-9
    yield "large numbers", 1e9 * page((5, 4), [(3, 1), (1, 2)]), 4.5e9
    yield "little above", 1024 + page((4, 4), [(1, 2), (2, 1)]) / 4096, 1024 + 4.5 / 4096
    yield "whole numbers without a point", page((4, 5), [(1, 1), (3, 2)]).astype(int), 4
    yield "whole numbers without a point", page((3, 4), [(1, 2)]).astype(int), 4.5
    wide = page((3, 300), [(1, 2), (0, 280)])
    yield "a long picture", wide, 4
    yield "a long picture", wide.T.copy(), 4


def crop_reference(picture, threshold):
    ink = [(i, j) for i, j in np.ndindex(*picture.shape) if picture[i, j] > threshold]
    if not ink:
        return np.zeros((0, 0))
    rows, columns = [i for i, _ in ink], [j for _, j in ink]
    return np.array([
        [picture[i, j] for j in range(min(columns), max(columns) + 1)]
        for i in range(min(rows), max(rows) + 1)
    ])  # fmt: skip


CROP = Task(
    id="00.4",
    cases=crop_cases,
    reference=crop_reference,
    rtol=1e-5,
    atol=1e-14,
    equal=(
        ("-> return picture[top:bottom + 1, left:right + 1]", "a view has the same values, and the "
         "task does not ask for a copy"),
        ("while not (picture[0] > threshold).any():; picture", "it turns four times, so each side "
         "has its turn"),
        ("return np.zeros((0, 0)) -> return np.ones((0, 0))", "there is nothing in it"),
    ),
    hints=(
        "Rows and columns are two questions of the same kind. First: in which rows is there ink?",
        "mask.any(axis=1) has one answer for each row. The first and the last True of it are the "
        "ends of a slice; the end of a slice is left out. Look after the picture without ink.",
        "rows = np.flatnonzero(mask.any(axis=1)), columns likewise with axis=0; if rows is empty "
        "return picture[:0, :0], else picture[rows[0]:rows[-1] + 1, ...].",
    ),
    right=(
        """
        def crop(picture, threshold):
            mask = picture > threshold
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            if len(rows) == 0:
                return picture[:0, :0]
            return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]""",
        """
        def crop(picture, threshold):
            places = np.argwhere(picture > threshold)
            if not len(places):
                return np.empty((0, 0))
            (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
            return picture[top:bottom + 1, left:right + 1].copy()""",
        """
        def crop(picture, threshold):
            if not (picture > threshold).any():
                return np.zeros((0, 0))
            for turn in range(4):
                while not (picture[0] > threshold).any():
                    picture = picture[1:]
                picture = np.rot90(picture)
            return picture""",
    ),
    wrong=(
        ("the last row and the last column are lost, because the end of a slice is left out",
         "rows[-1] + 1", "rows[-1]", "columns[-1] + 1", "columns[-1]"),
        ("the last row and column are lost, because the end of a slice is left out, and a picture "
         "without ink is not looked after",
         "rows[-1] + 1", "rows[-1]", "columns[-1] + 1", "columns[-1]",
         "if len(rows) == 0:", "if False:"),
        ("the axes are exchanged: mask.any(axis=0) has one answer for each column; and a picture "
         "without ink is not looked after",
         "mask.any(axis=1)", "mask.any(axis=0).copy()",
         "np.flatnonzero(mask.any(axis=0))\n", "np.flatnonzero(mask.any(axis=1))\n",
         "if len(rows) == 0:", "if False:"),
        ("the first and the last pixel with ink, row by row, are taken for corners; the leftmost "
         "and the rightmost may stand in rows between", """
            def crop(picture, threshold):
                places = np.argwhere(picture > threshold)
                if len(places) == 0:
                    return picture[:0, :0]
                (top, left), (bottom, right) = places[0], places[-1]
                return picture[top : bottom + 1, left : right + 1]"""),
        ("rows and columns without ink are removed inside the rectangle too",
         "picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]",
         "picture[rows][:, columns]"),
        ("a pixel that equals the threshold counts as ink (>= in place of >)",
         "picture > threshold", "picture >= threshold"),
        ("the axes are exchanged: mask.any(axis=0) has one answer for each column",
         "mask.any(axis=1)", "mask.any(axis=0).copy()",
         "np.flatnonzero(mask.any(axis=0))\n", "np.flatnonzero(mask.any(axis=1))\n"),
        ("only the rows are cut, and the columns are all kept",
         ", columns[0] : columns[-1] + 1]", "]"),
        ("the mask is returned in place of the picture's values",
         "return picture[rows", "return mask[rows"),
        ("the pixels up to the threshold are set to 0; they should keep their values",
         "return picture[rows", "return (picture * mask)[rows"),
        ("all values above the threshold are returned in a row, without the rectangle", """
            def crop(picture, threshold):
                return picture[picture > threshold]"""),
        ("a picture without ink is not looked after: it has no first row with ink",
         "if len(rows) == 0:", "if False:"),
        ("a picture without ink gives something empty that has not the shape (0, 0)",
         "picture[:0, :0]", "[]"),
        ("a picture without ink gives something empty that has not the shape (0, 0)",
         "picture[:0, :0]", "picture[:0]"),
        ("ink whose only value is 0 is taken for none: what counts is that it is above the "
         "threshold", "if len(rows) == 0:", "if not picture[mask].any():"),
        ("ink whose values add up to 0 is taken for none: what counts is that they are above the "
         "threshold", "if len(rows) == 0:", "if picture[mask].sum() == 0:"),
        ("the rectangle ends at the first row or column without ink; there may be more behind it",
         "return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]",
         "bottom, right = rows[0], columns[0]\n"
         "            while bottom in rows: bottom += 1\n"
         "            while right in columns: right += 1\n"
         "            return picture[rows[0] : bottom, columns[0] : right]"),
        ("a picture without ink is returned whole; its ink has the shape (0, 0)",
         "picture[:0, :0]", "picture"),
        ("`all` asks for rows that are full of ink; one pixel of ink is enough, which is `any`",
         "mask.any(axis=1)", "mask.all(axis=1)", "mask.any(axis=0)", "mask.all(axis=0)"),
    ),
)  # fmt: skip

# ---- 00.5


def poster_cases(rng):
    def photo(*shape):
        return rng.integers(0, 10, (*shape, 3)).astype(float)

    def clear(shape, n_colours, scale=1.0):
        """A photo and colours of any numbers; for no pixel are two colours nearly equally near."""
        palette = mixed(rng, n_colours, 3)
        pixels = []
        while len(pixels) < np.prod(shape):
            pixel = mixed(rng, 3)
            far = np.sort(((pixel - palette) ** 2).sum(axis=1))
            if far[1] - far[0] > 1:
                pixels.append(pixel)
        return scale * np.array(pixels).reshape(*shape, 3), scale * palette

    black_red = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    yield "one pixel", np.array([[[8.0, 2.0, 1.0]]]), black_red
    yield "one row", np.array([[[8.0, 2.0, 1.0], [1.0, 2.0, 3.0]]]), black_red
    # The sum of the differences, the largest of them, and brightness: each would take the other.
    black, red = np.zeros((1, 1, 3)), np.array([[[9.0, 0.0, 0.0]]])
    yield "close calls", black, np.array([[3.0, 3.0, 3.0], [0.0, 0.0, 6.0]])
    yield "close calls", black, np.array([[5.0, 5.0, 5.0], [6.0, 0.0, 0.0]])
    yield "close calls", red, np.array([[0.0, 9.0, 0.0], [8.0, 1.0, 1.0]])
    tie = np.array([[0.0, 0.0, 2.0], [0.0, 2.0, 0.0], [9.0, 9.0, 9.0], [2.0, 0.0, 0.0]])
    yield "equally near", black, tie
    yield "one colour", photo(2, 3), np.array([[1.0, 2.0, 3.0]])
    colours = np.array([[0.0, 1.0, 9.0], [5.0, 5.0, 0.0], [9.0, 2.0, 4.0]])
    yield "only colours of the palette", colours[rng.permutation(6) % 3].reshape(3, 2, 3), colours
    yield "numbers below 0", *clear((2, 2), 2)
    yield "numbers below 0", *clear((1, 3), 4)
    yield "between 0 and 1", np.full((1, 2, 3), 0.55), np.array([[0.1, 0.9, 0.5], [0.6, 0.4, 0.6]])
    close = np.array([[0.5, 0.5, 0.5], [0.65, 0.5, 0.5]])
    yield "between 0 and 1", np.array([[[0.58, 0.5, 0.5], [0.57, 0.5, 0.5]]]), close
    yield "between 0 and 1", *clear((2, 3), 3, 0.01)
    yield "a larger photo", photo(12, 9), photo(7)
    yield "a larger photo", *clear((24, 23), 5)
    yield "many colours", *clear((3, 3), 30)
    yield "many colours", *clear((2, 3), 40)
    # Whole numbers, many colours equally near: a sort that mixes equal ones takes another.
    equal = rng.permutation([[a, b, c] for a in (-2, 2) for b in (-2, 2) for c in (-2, 2)] * 5)
    yield "equally near", np.zeros((2, 2, 3)), equal + 0.0
    yield "equally near", rng.integers(0, 5, (6, 8, 3)) + 0.0, rng.integers(0, 5, (40, 3)) + 0.0
    far = rng.permutation([[0, 0, 3], [0, 3, 0], [3, 0, 0], [0, 0, -3], [0, -3, 0], [-3, 0, 0]] * 8)
    yield "equally near", np.zeros((1, 2, 3)), np.concatenate([far, far + 50.0])
    yield "small numbers", *clear((2, 3), 4, 1e-9)
    yield "large numbers", *clear((2, 2), 5, 1e6)
    yield "large numbers", np.zeros((1, 1, 3)), np.array([[3000.0, 0, 0], [2000.0, 0, 0]])
    yield "whole numbers without a point", np.array([[[1, 0, 0]]]), np.array([[0.5, 0.0, 0.25]])
    yield "whole numbers without a point", photo(2, 3).astype(int), photo(4).astype(int)
    pixels, colours = clear((2, 2), 300)
    yield "many colours", pixels, colours


def poster_reference(photo, palette):
    result = np.zeros(photo.shape)
    for i, j in np.ndindex(*photo.shape[:2]):
        far = [sum((x - y) ** 2 for x, y in zip(photo[i, j], colour)) for colour in palette]
        result[i, j] = palette[far.index(min(far))]
    return result


POSTER = Task(
    id="00.5",
    needs=("00.2",),
    cases=poster_cases,
    reference=poster_reference,
    rtol=1e-5,
    atol=1e-14,
    equal=(
        ("result = np.ones(photo.shape)", "every pixel is written afterwards"),
        ("- palette) ** 2).mean(axis=-1)", "a third of the sum; the nearest stays the nearest"),
        ("far = ((photo - colour) ** 2).sum(axis=2)", "of squares the smallest is the same"),
        ("((photo - colour) ** 2).mean(axis=2)", "a third of the sum; the nearest stays the "
         "nearest"),
    ),
    hints=(
        "A photo is a table of H times W points with three numbers each. You can compute all "
        "distances of points to points.",
        "Make rows of pixels, the distances to the palette, for each row the place of the "
        "smallest, the colours at these places, and the photo's shape again.",
        "nearest = distances(photo.reshape(-1, 3), palette).argmin(axis=1); then "
        "palette[nearest] and a reshape.",
    ),
    right=(
        """
        def poster(photo, palette):
            nearest = distances(photo.reshape(-1, 3), palette).argmin(axis=1)
            return palette[nearest].reshape(photo.shape)""",
        """
        def poster(photo, palette):
            far = ((photo[:, :, None, :] - palette) ** 2).sum(axis=-1)
            return palette[far.argmin(axis=-1)]""",
        """
        def poster(photo, palette):
            result = np.zeros(photo.shape)
            best = np.full(photo.shape[:2], np.inf)
            for colour in palette:
                far = np.sqrt(((photo - colour) ** 2).sum(axis=2))
                mask = far < best
                result[mask] = colour
                best[mask] = far[mask]
            return result""",
    ),
    wrong=(
        ("the places in the palette are returned, not the colours that stand there",
         "palette[nearest].reshape(photo.shape)", "nearest.reshape(photo.shape[:2])"),
        ("the colour that is farthest away is taken (argmax in place of argmin)",
         "argmin", "argmax"),
        ("each channel is matched on its own, and colours come out that are not in the palette", """
            def poster(photo, palette):
                nearest = abs(photo[:, :, None, :] - palette).argmin(axis=2)
                return palette[nearest, np.arange(3)]"""),
        ("of colours that are equally near the last one is taken, not the first",
         "nearest = distances(photo.reshape(-1, 3), palette)",
         "palette = palette[::-1]; nearest = distances(photo.reshape(-1, 3), palette)"),
        ("the differences are added up without squares, which is another distance", """
            def poster(photo, palette):
                far = abs(photo[:, :, None, :] - palette).sum(axis=-1)
                return palette[far.argmin(axis=-1)]"""),
        ("only the largest difference counts, which is another distance", """
            def poster(photo, palette):
                far = abs(photo[:, :, None, :] - palette).max(axis=-1)
                return palette[far.argmin(axis=-1)]"""),
        ("the differences are added up before they are squared, so that plus and minus cancel", """
            def poster(photo, palette):
                far = (photo[:, :, None, :] - palette).sum(axis=-1) ** 2
                return palette[far.argmin(axis=-1)]"""),
        ("the smallest is looked for along axis 0: a pixel for each colour, not a colour for each "
         "pixel",
         "argmin(axis=1)", "argmin(axis=0)", "palette[nearest].reshape(photo.shape)",
         "photo.reshape(-1, 3)[nearest]"),
        ("the pixels are not put back into rows and columns: the shape stays (H * W, 3)",
         ".reshape(photo.shape)", ""),
        ("reshape(3, -1) cuts the numbers in another order and mixes the channels",
         "photo.reshape(-1, 3)", "photo.reshape(3, -1).T"),
        ("the colours are cut to the type of the photo: where it holds whole numbers, so do they",
         "palette[nearest]", "palette.astype(photo.dtype)[nearest]"),
        ("the distances are sorted by a sort that mixes equal ones; argmin takes the first",
         ".argmin(axis=1)", ".argsort(axis=1)[:, 0]"),
    ),
)  # fmt: skip

TASKS = [SUMMARIES, DISTANCES, STRETCH, CROP, POSTER]
