"""The tasks of lesson 11: an order, images that move, padding, a queue, and byte pairs."""

import math

import numpy as np

from .task import Task

# ---- 11.1


def order_cases(rng):
    def case(group, n, size, drop_last=False, epoch=None):
        seed = int(rng.integers(0, 10**6))
        epoch = int(rng.integers(0, 50)) if epoch is None else epoch
        return group, n, size, seed, epoch, drop_last

    yield case("the last batch is smaller", 5, 2)
    yield case("the last batch is smaller", 10, 4)
    yield case("the last batch is smaller", 23, 7)
    yield case("the last batch is smaller", 11, 10)
    yield case("it comes out even", 6, 3)
    yield case("it comes out even", 12, 4)
    yield case("it comes out even", 12, 4, True)
    yield case("it comes out even", 6, 2, True)
    yield case("the rest is dropped", 5, 2, True)
    yield case("the rest is dropped", 10, 4, True)
    yield case("the rest is dropped", 23, 7, True)
    yield case("one batch", 7, 7)
    yield case("one batch", 7, 7, True)
    yield case("one batch", 7, 30)
    yield case("one batch", 7, 8)
    yield case("one batch", 1, 1, True)
    yield case("one sample a batch", 5, 1)
    yield case("one sample a batch", 5, 1, True)
    yield case("one sample a batch", 1, 1)
    yield case("no batch", 0, 3)
    yield case("no batch", 0, 3, True)
    yield case("no batch", 7, 30, True)
    yield case("no batch", 7, 8, True)
    yield case("the first epoch", 9, 4, False, 0)
    yield case("the first epoch", 9, 4, True, 0)
    yield "another epoch, another order", 12, 5, 3, 0, False
    yield "another epoch, another order", 12, 5, 3, 1, False
    yield "another epoch, another order", 12, 5, 3, 2, False
    yield "another epoch, another order", 12, 5, 2, 3, False
    yield "another epoch, another order", 12, 5, 0, 3, False
    yield "another epoch, another order", 12, 5, 0, 0, False
    yield "another epoch, another order", 12, 5, 4, 300, False
    yield "a large seed", 8, 3, int(rng.integers(2**33, 2**40)), 1, False
    yield "a large seed", 8, 3, int(rng.integers(2**33, 2**40)), 70_000, True
    yield case("many", 1000, 64)
    yield case("many", 1000, 64, True)
    yield case("many", 700, 3)
    yield case("large batches", 1000, 300)
    yield case("large batches", 700, 128, True)
    yield case("many", int(rng.integers(33_000, 40_000)), 100)


def order_reference(n, size, seed, epoch, drop_last):
    order = np.random.default_rng([seed, epoch]).permutation(n).tolist()
    batches = []
    while order:
        batches.append(order[:size])
        del order[:size]
    if drop_last and batches and len(batches[-1]) != size:
        batches.pop()
    return [np.array(batch) for batch in batches]


ORDER = Task(
    id="11.1",
    replaces="data.loader.DataLoader._plan",
    cases=order_cases,
    reference=order_reference,
    rtol=0.0,
    atol=0.0,
    equal=(
        ("batches.append(np.array(batch)) -> batches.append(batch)", "a list is as good"),
    ),
    hints=(
        "A batch is a part of `order`, from some place to the place `size` further on. At which "
        "places do batches begin?",
        "range(0, n, size) are the places. A part that reaches beyond the end of an array is "
        "shorter, and no error: that is the last batch. When must it stay out?",
        "for start in range(0, n, size): chosen = order[start : start + size]; append it unless "
        "drop_last and len(chosen) < size.",
    ),
    right=(
        """
        def epoch_batches(n, size, seed, epoch, drop_last):
            order = np.random.default_rng([seed, epoch]).permutation(n)
            batches = []
            for start in range(0, n, size):
                chosen = order[start : start + size]
                if len(chosen) == size or not drop_last:
                    batches.append(chosen)
            return batches""",
        """
        def epoch_batches(n, size, seed, epoch, drop_last):
            order = np.random.default_rng([seed, epoch]).permutation(n)
            if drop_last:
                order = order[: n // size * size]
            return [order[i : i + size] for i in range(0, len(order), size)]""",
        """
        def epoch_batches(n, size, seed, epoch, drop_last):
            order = np.random.default_rng([seed, epoch]).permutation(n)
            batches, batch = [], []
            for place in order.tolist():
                batch.append(place)
                if len(batch) == size:
                    batches.append(np.array(batch))
                    batch = []
            if batch and not drop_last:
                batches.append(np.array(batch))
            return batches""",
    ),
    wrong=(
        ("the last batch is left out although drop_last is False",
         "len(chosen) == size or not drop_last", "len(chosen) == size"),
        ("the smaller last batch is kept although drop_last is True",
         "len(chosen) == size or not drop_last", "True"),
        ("drop_last is taken the wrong way round", "not drop_last", "drop_last"),
        ("the last batch is dropped although it is full", """
            def epoch_batches(n, size, seed, epoch, drop_last):
                order = np.random.default_rng([seed, epoch]).permutation(n)
                batches = [order[i : i + size] for i in range(0, n, size)]
                return batches[:-1] if drop_last else batches"""),
        ("every epoch has the same order", "for start in",
         "order = np.random.default_rng([seed, 0]).permutation(n)\n            for start in"),
        ("seed and epoch are added, so that different pairs give one order", "for start in",
         "order = np.random.default_rng(seed + epoch).permutation(n)\n            for start in"),
        ("the samples come in the order of the file", "for start in",
         "order = np.arange(n)\n            for start in"),
        ("the samples are drawn with repetition, some twice and some never", "for start in",
         "order = np.random.default_rng([seed, epoch]).integers(n, size=n) if n else order"
         "\n            for start in"),
        ("the batches overlap: each begins one further on", "range(0, n, size)", "range(n)"),
        ("there are `size` batches; `size` is how many samples are in one",
         "for start in range(0, n, size):\n                chosen = order[start : start + size]\n"
         "                if len(chosen) == size or not drop_last:",
         "for chosen in np.array_split(order, size):\n                if len(chosen):"),
        ("the last batch is filled up with samples from the beginning, which come twice",
         "chosen = order[start : start + size]",
         "chosen = np.resize(order, (n // size + 1) * size + size)[start : start + size]"),
        ("the first batch is left out", "range(0, n, size)", "range(size, n, size)"),
        ("the places are sorted within each batch",
         "chosen = order[start : start + size]", "chosen = np.sort(order[start : start + size])"),
        ("the places are counted in eight bits, which hold no more than 255",
         "batches.append(chosen)", "batches.append(chosen.astype(np.uint8))"),
        ("no samples give one empty batch; they give none", """
            def epoch_batches(n, size, seed, epoch, drop_last):
                order = np.random.default_rng([seed, epoch]).permutation(n)
                full = n // size
                batches = [order[i * size:(i + 1) * size] for i in range(full)]
                if not drop_last and full * size <= n and (n % size or n == 0):
                    batches.append(order[full * size:])
                return batches"""),
    ),
)  # fmt: skip

# ---- 11.2


def move_cases(rng):
    def case(group, shape, down, right, mirror, scale=1.0, dtype=np.int64):
        x = scale * np.round(rng.uniform(-9, 9, shape), 2)
        parts = [np.broadcast_to(part, shape[:1]) for part in (down, right, mirror)]
        down, right = (part.astype(dtype) for part in parts[:2])
        return group, x, down, right, parts[2].astype(bool)

    def some(n, far):
        return rng.integers(-far, far + 1, n)

    def coin(n):
        return rng.integers(0, 2, n)

    yield case("it stays", (1, 1, 2, 3), 0, 0, 0)
    yield case("it stays", (3, 2, 4, 4), 0, 0, 0)
    yield case("down and up", (1, 1, 3, 2), 1, 0, 0)
    yield case("down and up", (1, 1, 3, 2), -1, 0, 0)
    yield case("down and up", (3, 1, 5, 4), [1, -2, 3], 0, 0)
    yield case("right and left", (1, 1, 2, 3), 0, 1, 0)
    yield case("right and left", (1, 1, 2, 3), 0, -1, 0)
    yield case("right and left", (3, 1, 4, 5), 0, [2, -1, -3], 0)
    yield case("both", (4, 1, 5, 5), [1, -1, 1, -1], [1, 1, -1, -1], 0)
    yield case("both", (6, 1, 4, 7), some(6, 3), some(6, 4), 0)
    yield case("both", (6, 1, 7, 4), some(6, 4), some(6, 3), 0)
    yield case("mirrored, in place", (1, 1, 2, 3), 0, 0, 1)
    yield case("mirrored, in place", (3, 1, 3, 4), 0, 0, [1, 0, 1])
    yield case("mirrored, then moved", (1, 1, 2, 4), 0, 1, 1)
    yield case("mirrored, then moved", (3, 1, 3, 4), 0, [1, -1, -2], [1, 1, 0])
    yield case("mirrored, then moved", (6, 1, 5, 6), some(6, 2), some(6, 3), coin(6))
    yield case("channels", (2, 3, 3, 4), [1, -1], [0, 2], [0, 1])
    yield case("channels", (4, 2, 6, 5), some(4, 2), some(4, 2), coin(4))
    yield case("channels", (2, 6, 2, 3), [1, 0], [0, 1], [0, 1])
    yield case("out of the picture", (3, 1, 3, 3), [3, 0, -3], [0, 3, 0], 0)
    yield case("out of the picture", (4, 1, 3, 4), [2, 7, -40, 0], [-3, 0, 1, 9], [0, 1, 0, 1])
    yield case("out of the picture", (2, 2, 2, 3), [0, 0], [-3, -8], [1, 0])
    yield case("out of the picture", (4, 1, 4, 3), [5, -5, 6, -7], [0, 1, 0, -1], 0)
    yield case("out of the picture", (4, 1, 3, 4), [0, 1, 0, -1], [5, -5, 6, -7], [0, 1, 1, 0])
    yield case("out of the picture", (4, 1, 4, 4), [5, 7, -5, -6], [6, -5, 5, -7], 0)
    yield case("one pixel", (2, 1, 1, 1), [0, 1], [0, 0], [1, 0])
    yield case("one pixel", (1, 2, 1, 5), 0, -2, 1)
    yield case("one pixel", (1, 2, 5, 1), 2, 0, 1)
    yield case("no image", (0, 1, 3, 3), 0, 0, 0)
    yield case("large and small numbers", (3, 1, 4, 4), some(3, 2), some(3, 2), coin(3), 1e-9)
    yield case("large and small numbers", (3, 1, 4, 4), some(3, 2), some(3, 2), coin(3), 1e9)
    yield case("a large picture", (2, 1, 3, 300), [1, 0], [-20, 140], [1, 0])
    yield case("a large picture", (2, 1, 300, 2), [-130, 250], [1, 0], [1, 0])
    yield case("many", (40, 1, 3, 4), some(40, 2), some(40, 2), coin(40))


def move_reference(x, down, right, mirror):
    n, _, height, width = x.shape
    frame = height + width + 1
    moved = []
    for i in range(n):
        image = x[i, :, :, ::-1] if mirror[i] else x[i]
        wide = np.pad(image, ((0, 0), (frame, frame), (frame, frame)))
        top = frame - min(max(int(down[i]), -height), height)
        left = frame - min(max(int(right[i]), -width), width)
        moved.append(wide[:, top : top + height, left : left + width])
    return np.array(moved).reshape(x.shape)


MOVE = Task(
    id="11.2",
    replaces="data.images.crop",
    cases=move_cases,
    reference=move_reference,
    rtol=1e-9,
    atol=0.0,
    equal=(
        ("in list(enumerate(x))[::-1]", "each image is moved on its own"),
        ("-> if abs(d) <= height", "both parts are empty then"),
        ("and abs(r) <= width", "both parts are empty then"),
        ("min(d, 1)", "a part cannot reach beyond the end"),
        ("min(r, 1)", "a part cannot reach beyond the end"),
    ),
    hints=(
        "Go from the result: for a pixel in row i and column j, ask where it comes from. Moved "
        "down by 2, row 5 comes from row 3.",
        "Columns as rows: j comes from j - right[n], if that lies in the picture. If the image is "
        "mirrored, column 0 of the mirrored one is the last of the image that was given.",
        "from_col = j - right[n]; if 0 <= from_col < width: if mirror[n]: from_col = width - 1 - "
        "from_col; moved[n, :, i, j] = x[n, :, from_row, from_col].",
    ),
    right=(
        """
        def move(x, down, right, mirror):
            n_images, channels, height, width = x.shape
            moved = np.zeros(x.shape)
            for n in range(n_images):
                for i in range(height):
                    from_row = i - down[n]
                    if 0 <= from_row < height:
                        for j in range(width):
                            from_col = j - right[n]
                            if 0 <= from_col < width:
                                if mirror[n]:
                                    from_col = width - 1 - from_col
                                moved[n, :, i, j] = x[n, :, from_row, from_col]
            return moved""",
        """
        def move(x, down, right, mirror):
            height, width = x.shape[2:]
            moved = np.where(mirror[:, None, None, None], x[..., ::-1], x)
            rows = np.arange(height) - down[:, None]
            cols = np.arange(width) - right[:, None]
            inside = ((rows >= 0) & (rows < height))[:, None, :, None]
            inside = inside & ((cols >= 0) & (cols < width))[:, None, None, :]
            n = np.arange(len(x))[:, None, None]
            found = moved.transpose(0, 2, 3, 1)[n, (rows % height)[:, :, None],
                                                (cols % width)[:, None, :]]
            return np.where(inside, found.transpose(0, 3, 1, 2), 0.0)""",
        """
        def move(x, down, right, mirror):
            moved = np.zeros_like(x)
            height, width = x.shape[2], x.shape[3]
            for n, image in enumerate(x):
                if mirror[n]:
                    image = image[:, :, ::-1]
                d, r = int(down[n]), int(right[n])
                if abs(d) < height and abs(r) < width:
                    part = image[:, max(-d, 0):height - max(d, 0), max(-r, 0):width - max(r, 0)]
                    moved[n, :, max(d, 0):height + min(d, 0), max(r, 0):width + min(r, 0)] = part
            return moved""",
    ),
    wrong=(
        ("what leaves on one side comes in again on the other", """
            def move(x, down, right, mirror):
                moved = np.where(mirror[:, None, None, None], x[..., ::-1], x)
                for n in range(len(x)):
                    moved[n] = np.roll(moved[n], (down[n], right[n]), (1, 2))
                return moved"""),
        ("it is moved up where it should be moved down", "i - down[n]", "i + down[n]"),
        ("it is moved left where it should be moved right", "j - right[n]", "j + right[n]"),
        ("up and down are exchanged with left and right",
         "i - down[n]", "i - right[n]", "j - right[n]", "j - down[n]"),
        ("it is moved first and mirrored then",
         "from_col = j - right[n]", "from_col = (width - 1 - j if mirror[n] else j) - right[n]",
         "if mirror[n]:", "if False:"),
        ("nothing is mirrored", "if mirror[n]:", "if False:"),
        ("all images are mirrored", "if mirror[n]:", "if True:"),
        ("the images are mirrored upside down",
         "from_col = width - 1 - from_col", "pass",
         "x[n, :, from_row, from_col]",
         "x[n, :, height - 1 - from_row if mirror[n] else from_row, from_col]"),
        ("all images are moved as the first one is",
         "down[n]", "down[0]", "right[n]", "right[0]"),
        ("all images are mirrored as the first one is", "mirror[n]", "mirror[0]"),
        ("only the first channel is moved", "moved[n, :, i, j] = x[n, :, from_row, from_col]",
         "moved[n, 0, i, j] = x[n, 0, from_row, from_col]"),
        ("rows that come from above the picture are taken from its end",
         "0 <= from_row < height", "-height <= from_row < height"),
        ("columns that come from beside the picture are taken from its end",
         "0 <= from_col < width", "-width <= from_col < width"),
        ("the first row of the picture is lost", "0 <= from_row", "0 < from_row"),
        ("the first column of the picture is lost", "0 <= from_col", "0 < from_col"),
        ("what is free is filled with the edge of the picture", """
            def move(x, down, right, mirror):
                moved = np.where(mirror[:, None, None, None], x[..., ::-1], x)
                for n in range(len(x)):
                    rows = np.clip(np.arange(x.shape[2]) - down[n], 0, x.shape[2] - 1)
                    cols = np.clip(np.arange(x.shape[3]) - right[n], 0, x.shape[3] - 1)
                    moved[n] = moved[n][:, rows][:, :, cols]
                return moved"""),
        ("the numbers are cut to [0, 1]; they may be any",
         "return moved", "return np.clip(moved, 0, 1)"),
        ("the numbers become whole", "return moved", "return np.trunc(moved)"),
        ("the images given are changed", "moved = np.zeros(x.shape)",
         "moved = x; x = x.copy(); moved[...] = 0"),
    ),
)  # fmt: skip

# ---- 11.3


def pad_cases(rng):
    def case(group, lengths, value, most=1000, low=0, high=300):
        return group, [rng.integers(low, high, n) for n in lengths], value, most

    yield case("of unequal length", [3, 1], 0, low=1)
    yield case("of unequal length", [1, 4, 2], -1)
    yield case("of unequal length", [2, 5, 3, 5], 7)
    yield case("of equal length", [3, 3], 0)
    yield case("of equal length", [2, 2, 2], 9)
    yield case("one", [4], 5)
    yield case("one", [1], 5)
    yield case("cut", [5, 2], 0, 3, 1)
    yield case("cut", [1, 4, 2, 6], -1, 2)
    yield case("cut", [6, 6], 9, 4)
    yield case("cut", [7, 3, 3], -1, 1)
    yield case("exactly as long as allowed", [3, 2], -1, 3)
    yield case("exactly as long as allowed", [2, 4, 4], 8, 4)
    yield case("empty ones among them", [0, 3], 4)
    yield case("empty ones among them", [2, 0, 0, 5], -1, 3)
    yield case("empty ones among them", [4, 1, 0], 0, low=1)
    yield case("nothing", [], 0)
    yield case("nothing", [0], 3)
    yield case("nothing", [0, 0, 0], -1, 2)
    yield "the value is a token too", [np.array([1, 1]), np.array([1, 2, 1])], 1, 9
    yield "the value is a token too", [np.array([0, 0, 0]), np.array([0])], 0, 2
    yield "the value is a token too", [np.array([5, 4, 4]), np.array([4, 4])], 4, 3
    yield case("numbers below 0", [2, 4], 0, low=-9, high=0)
    yield case("numbers below 0", [2, 1], int(rng.integers(2, 9)), low=-1, high=0)
    yield case("numbers below 0", [3, 1, 2], -100, 2, low=-9, high=9)
    yield case("large numbers", [3, 1], -(10**15), low=10**14, high=10**15)
    yield case("large numbers", [1, 3, 2], 10**15, 2, low=-(10**15), high=-(10**14))
    yield case("long ones", [300, 2, 290], -1)
    yield case("long ones", [400, 0, 260, 257], 3, 258)
    yield case("many", [*rng.integers(0, 9, 300)], -1, 6)
    yield "the same one again", [np.array([3, 1, 4])] * 3 + [np.array([1, 5, 9, 2])], 0, 8


def pad_reference(sequences, value, most):
    rows = [[int(number) for number in sequence][:most] for sequence in sequences]
    longest = max([len(row) for row in rows], default=0)
    full = [row + [value] * (longest - len(row)) for row in rows]
    table = np.array(full, dtype=np.int64).reshape(len(rows), longest)
    return table, np.array([len(row) for row in rows], dtype=np.int64)


PAD = Task(
    id="11.3",
    replaces="data.loader.pad_sequence",
    cases=pad_cases,
    reference=pad_reference,
    rtol=0.0,
    atol=0.0,
    equal=(
        ("in list(enumerate(sequences))[::-1]", "each row is written on its own"),
        ("np.ones((len(cut), longest), dtype=int)", "every element is written over"),
        ("table = np.zeros((len(cut), longest))", "these numbers are whole in float64 too"),
        ("np.array(lengths)) -> return (table, lengths)", "a list is as good"),
        ("len(s[:most]) for s in sequences])", "an empty array of floats compares as well"),
        ("np.full((len(sequences), width), value)", "value is a whole number"),
    ),
    hints=(
        "The lengths are there. How wide is the table? Mind that there may be no sequence: "
        "lengths.max(initial=0).",
        "Begin with a table that holds nothing but `value`, np.full(shape, value), and write each "
        "sequence at the beginning of its row.",
        "for n, sequence in enumerate(sequences): table[n, : lengths[n]] = sequence[:most].",
    ),
    right=(
        """
        def pad(sequences, value, most):
            lengths = np.array([min(len(s), most) for s in sequences], dtype=np.int64)
            table = np.full((len(sequences), lengths.max(initial=0)), value)
            for n, sequence in enumerate(sequences):
                table[n, : lengths[n]] = sequence[:most]
            return table, lengths""",
        """
        def pad(sequences, value, most):
            cut = [list(sequence[:most]) for sequence in sequences]
            lengths = [len(row) for row in cut]
            longest = max(lengths + [0])
            table = np.zeros((len(cut), longest), dtype=int)
            for n in range(len(cut)):
                for i in range(longest):
                    table[n, i] = cut[n][i] if i < lengths[n] else value
            return table, np.array(lengths)""",
        """
        def pad(sequences, value, most):
            lengths = np.array([len(s[:most]) for s in sequences], dtype=int)
            width = lengths.max() if len(lengths) else 0
            table = np.full((len(sequences), width), value, dtype=np.int64)
            real = np.arange(width) < lengths[:, None]
            if real.any():
                table[real] = np.concatenate([s[:most] for s in sequences])
            return table, lengths""",
    ),
    wrong=(
        ("it is filled up with 0, not with `value`",
         "np.full((len(sequences), lengths.max(initial=0)), value)",
         "np.zeros((len(sequences), lengths.max(initial=0)), dtype=np.int64)"),
        ("the padding stands in front; it belongs behind",
         "table[n, : lengths[n]] = sequence[:most]",
         "table[n, table.shape[1] - lengths[n] :] = sequence[:most]"),
        ("of a long sequence the end is kept; it should be the beginning",
         "sequence[:most]", "sequence[-most:]"),
        ("the table is `most` wide, also where no sequence is so long",
         "lengths.max(initial=0)", "most"),
        ("the table is `most` wide, except where there is no sequence",
         "lengths.max(initial=0)", "most if len(sequences) else 0"),
        ("each 0 of the sequences becomes `value` too",
         "np.full((len(sequences), lengths.max(initial=0)), value)",
         "np.zeros((len(sequences), lengths.max(initial=0)), dtype=np.int64)",
         "return table, lengths", "return np.where(table == 0, value, table), lengths"),
        ("the numbers are kept in 32 bits, which hold no more than 2,147,483,647",
         "return table, lengths", "return table.astype(np.int32), lengths"),
        ("no sequence is not taken: it has no longest",
         "lengths.max(initial=0)", "lengths.max()"),
        ("the lengths are those before the cut",
         "return table, lengths",
         "return table, np.array([len(s) for s in sequences], dtype=np.int64)"),
        ("the lengths are found by looking for `value`, which may be a token too",
         "return table, lengths", "return table, (table != value).sum(axis=1)"),
        ("the table is as wide as the first sequence",
         "lengths.max(initial=0)", "lengths[0] if len(lengths) else 0",
         "table[n, : lengths[n]] = sequence[:most]",
         "table[n, : lengths[n]] = sequence[:most][: table.shape[1]]"),
        ("all are cut to the shortest", "lengths.max(initial=0)",
         "lengths.min(initial=10**6) if len(lengths) else 0",
         "sequence[:most]", "sequence[:most][: table.shape[1]]"),
        ("the sequences are sorted by length; they should keep their order",
         "lengths = np.array(",
         "sequences = sorted(sequences, key=len, reverse=True); lengths = np.array("),
        ("empty sequences are left out", "lengths = np.array(",
         "sequences = [s for s in sequences if len(s)]; lengths = np.array("),
        ("a sequence is cut one too early: `most` are allowed",
         "lengths = np.array(", "most = most - 1; lengths = np.array("),
        ("one column of padding too many stands behind the longest",
         "lengths.max(initial=0))", "lengths.max(initial=0) + 1)"),
        ("the lengths are those of the table, not of the sequences",
         "return table, lengths", "return table, np.full(len(table), table.shape[1])"),
        ("the numbers are kept in eight bits, which hold no more than 127",
         "return table, lengths", "return table.astype(np.int8), lengths"),
        ("the lengths are kept in eight bits, which hold no more than 255",
         "return table, lengths", "return table, lengths.astype(np.uint8)"),
        ("the numbers are kept in float32, which is not precise enough",
         "return table, lengths", "return table.astype(np.float32), lengths"),
        ("table and lengths come in the wrong order",
         "return table, lengths", "return lengths, table"),
        ("the table is transposed", "return table, lengths", "return table.T, lengths"),
    ),
)  # fmt: skip

# ---- 11.4


def queue_cases(rng):
    def case(group, n, load, step, room, unit=0.25):
        loads, steps = (rng.integers(low, high, n) * unit for low, high in (load, step))
        return group, loads, steps, room

    yield "by hand", np.array([3.0, 3.0, 3.0, 3.0]), np.array([2.0, 2.0, 2.0, 2.0]), 2
    yield "by hand", np.array([1.0, 1.0, 1.0, 1.0]), np.array([2.0, 2.0, 2.0, 2.0]), 2
    yield "by hand", np.array([1.0, 1.0, 1.0, 1.0, 1.0]), np.array([5.0, 5.0, 5.0, 5.0, 5.0]), 1
    yield case("loading is slower", 6, (20, 40), (1, 12), 2)
    yield case("loading is slower", 9, (12, 20), (2, 10), 1)
    yield case("loading is slower", 5, (20, 40), (1, 12), 3)
    yield case("the step is slower", 6, (1, 12), (20, 40), 1)
    yield case("the step is slower", 8, (1, 8), (20, 40), 2)
    yield case("the step is slower", 9, (2, 9), (10, 20), 3)
    yield case("the step is slower", 11, (1, 5), (10, 20), 5)
    yield case("now this, now that", 7, (1, 30), (1, 30), 1)
    yield case("now this, now that", 9, (1, 30), (1, 30), 2)
    yield case("now this, now that", 12, (1, 30), (1, 30), 3)
    yield case("now this, now that", 14, (1, 60), (1, 50), 4)
    slow_start = np.array([40.0] + [0.5] * 9), np.array([3.0] * 10)
    yield "a slow one among fast ones", *slow_start, 2
    yield "a slow one among fast ones", slow_start[0][::-1].copy(), slow_start[1], 3
    yield "a slow one among fast ones", slow_start[1], slow_start[0], 2
    yield "a slow one among fast ones", slow_start[1], slow_start[0][::-1].copy(), 4
    yield case("no time at all", 6, (0, 2), (0, 3), 1)
    yield case("no time at all", 5, (0, 1), (4, 9), 2)
    yield case("no time at all", 5, (4, 9), (0, 1), 2)
    yield case("no time at all", 4, (0, 1), (0, 1), 1)
    yield case("more room than batches", 4, (1, 9), (4, 30), 4)
    yield case("more room than batches", 4, (1, 9), (4, 30), 5)
    yield case("more room than batches", 3, (1, 9), (4, 30), 50)
    yield case("one batch", 1, (1, 9), (1, 9), 1)
    yield case("one batch", 1, (1, 9), (1, 9), 3)
    yield case("no batch", 0, (1, 9), (1, 9), 2)
    yield case("short times", 9, (1, 30), (1, 30), 2, 2.0**-21)
    yield case("short times", 8, (1, 8), (20, 40), 1, 2.0**-24)
    yield case("short times", 3, (3, 8), (1, 3), 1, 2.0**-32)
    yield case("short times", 4, (1, 3), (10, 20), 1, 2.0**-32)
    unit = float(rng.integers(1, 9))
    yield "no time at all", unit * np.ones(4), unit * np.array([3.0, 0.0, 1.0, 1.0]), 1
    yield case("long times", 9, (1, 30), (1, 30), 2, 2.0**20)
    yield case("times of many digits", 9, (1, 30), (1, 30), 2, 0.1)
    yield case("times of many digits", 12, (1, 30), (20, 40), 3, 0.017)
    yield case("times of many digits", 40, (1, 30), (1, 30), 1, 1 / 3)
    yield case("many", 400, (1, 30), (1, 30), 3)
    yield case("many", 300, (1, 9), (3, 12), 8)
    yield case("many", 600, (1, 30), (10, 30), 260)


def queue_reference(loads, steps, room):
    n = len(loads)
    start, loaded, begun, ended = ([math.nan] * n for _ in range(4))
    for k in range(n):
        start[k] = loaded[k - 1] if k else 0.0
        if k - room >= 0:
            start[k] = max(start[k], begun[k - room])
        loaded[k] = start[k] + float(loads[k])
        begun[k] = loaded[k] if k == 0 else max(loaded[k], ended[k - 1])
        ended[k] = begun[k] + float(steps[k])
    network = [begun[k] - (ended[k - 1] if k else 0.0) for k in range(n)]
    helper = [start[k] - (loaded[k - 1] if k else 0.0) for k in range(n)]
    return np.array(network), np.array(helper)


QUEUE = Task(
    id="11.4",
    cases=queue_cases,
    reference=queue_reference,
    rtol=1e-9,
    atol=1e-10,
    equal=(
        ("source_free = network_free = 1.0", "all times are later by 1, no wait is longer"),
        ("-> if k > room:", "batch 0 is taken as soon as it is loaded"),
        ("-> if len(taken) > room:", "batch 0 is taken as soon as it is loaded"),
        ("if k >= room else 0.0", "begun[0] is 0"),
        ("loads = abs(loads)", "none is below 0"),
        ("steps = abs(steps)", "none is below 0"),
        ("np.zeros(n + 1), np.ones(n + 1), np.zeros(n + 1)", "its first number is never looked at"),
        ("np.ones(n)", "every element is written over"),
        ("np.zeros(n + 2)", "the last place is never looked at"),
        ("-> return (network, np.array(helper))", "a list is as good"),
        ("-> return (np.array(network), helper)", "a list is as good"),
    ),
    hints=(
        "Go through the batches in order, and write down for each when its loading begins and "
        "ends, and when its step begins and ends. Each follows from what is written already.",
        "Loading k begins when loading k - 1 is over and, from k = room on, step k - room has "
        "begun: the later of both. Step k begins at the later of: k is loaded, step k - 1 is over.",
        "start = max(source_free, begun[k - room]) if k >= room else source_free; the helper "
        "waited start - source_free; then source_free = start + loads[k], and so on for the step.",
    ),
    right=(
        """
        def queue_waits(loads, steps, room):
            source_free = network_free = 0.0
            begun, network, helper = [], [], []
            for k in range(len(loads)):
                start = source_free
                if k >= room:
                    start = max(start, begun[k - room])
                helper.append(start - source_free)
                source_free = start + loads[k]
                begin = max(source_free, network_free)
                network.append(begin - network_free)
                begun.append(begin)
                network_free = begin + steps[k]
            return network, helper""",
        """
        def queue_waits(loads, steps, room):
            n = len(loads)
            loaded, begun, ended = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
            network, helper = np.zeros(n), np.zeros(n)
            for k in range(1, n + 1):
                free = begun[k - room] if k > room else 0.0
                helper[k - 1] = max(free - loaded[k - 1], 0.0)
                loaded[k] = loaded[k - 1] + helper[k - 1] + loads[k - 1]
                network[k - 1] = max(loaded[k] - ended[k - 1], 0.0)
                begun[k] = ended[k - 1] + network[k - 1]
                ended[k] = begun[k] + steps[k - 1]
            return network, helper""",
        """
        def queue_waits(loads, steps, room):
            loaded, ended, taken = [0.0], [0.0], []
            network, helper = [], []
            for load, step in zip(loads, steps):
                may_start = loaded[-1]
                if len(taken) >= room:
                    may_start = max(may_start, taken[-room])
                helper.append(may_start - loaded[-1])
                loaded.append(may_start + load)
                network.append(max(0.0, loaded[-1] - ended[-1]))
                taken.append(ended[-1] + network[-1])
                ended.append(taken[-1] + step)
            return np.array(network), np.array(helper)""",
    ),
    wrong=(
        ("the shelf has no bound: the helper never waits", "if k >= room:", "if False:"),
        ("a place on the shelf is free when the step is over; it is when the step begins",
         "begun.append(begin)", "begun.append(begin + steps[k])"),
        ("the shelf has one place more than `room`",
         "if k >= room:", "room = room + (k == 0)\n                if k >= room:"),
        ("the shelf has one place less than `room`, or one if that is none",
         "if k >= room:", "room = max(room - (k == 0), 1)\n                if k >= room:"),
        ("there is no helper: each batch is loaded after the step before it",
         "start = source_free", "start = max(source_free, network_free)"),
        ("the network does not wait for the batch to be loaded",
         "begin = max(source_free, network_free)", "begin = network_free"),
        ("a step begins although the one before it is not over",
         "begin = max(source_free, network_free)", "begin = source_free"),
        ("the two results come in the wrong order",
         "return network, helper", "return helper, network"),
        ("the times at which the steps begin are returned, not the waits",
         "network.append(begin - network_free)", "network.append(begin)"),
        ("the times at which loading begins are returned, not the waits",
         "helper.append(start - source_free)", "helper.append(start)"),
        ("the waits are added up along the way", "return network, helper",
         "return np.cumsum(network), np.cumsum(helper)"),
        ("the sums of the waits are returned, not one for each batch",
         "return network, helper", "return sum(network), sum(helper)"),
        ("the network's first wait, for batch 0, is left out", "return network, helper",
         "return [0.0 if k == 0 else w for k, w in enumerate(network)], helper"),
        ("all batches take as long to load as the first", "loads[k]", "loads[0]"),
        ("all steps take as long as the first", "steps[k]", "steps[0]"),
        ("the times are kept in float32, which is not precise enough",
         "source_free = start + loads[k]", "source_free = np.float32(start + loads[k])"),
        ("the waits are rounded", "return network, helper",
         "return np.round(network, 3), np.round(helper, 3)"),
    ),
)  # fmt: skip

# ---- 11.5


def merge_cases(rng):
    def of(*texts):
        return [list(part.encode()) for part in texts]

    def drawn(n, high, letters, low=0):
        return [rng.integers(97, 97 + letters, rng.integers(low, high)).tolist() for _ in range(n)]

    yield "by hand", of("banana", " bandana"), 9
    yield "by hand", of("low", " lower", " slow"), 2
    yield "one merge", of("abab"), 1
    yield "one merge", of("xyz", "yz", "xz"), 1
    yield "one merge", drawn(6, 6, 3), 1
    yield "several", drawn(6, 9, 3), 3
    yield "several", drawn(9, 8, 4), 5
    yield "several", drawn(5, 12, 2), 4
    yield "merges of merges", of("abcdabcd", "abcd"), 9
    yield "merges of merges", of("aaaaaaaa"), 9
    yield "merges of merges", of("xyxyxyxyxyxyxyxy"), 9
    yield "the same sign in a row", of("aaa"), 5
    yield "the same sign in a row", of("aaa", "aaa"), 5
    yield "the same sign in a row", of("aaaaa", "baab", "aaab"), 4
    yield "the same sign in a row", of("aaa", "bcbc", "bc"), 1
    yield "the same sign in a row", drawn(7, 8, 1), 6
    yield "ties", of("cdcd", "abab"), 1
    yield "ties", of("ba", "ab", "ba", "ab"), 2
    yield "ties", of("zbzb", "azaz", "yaya"), 3
    yield "ties", of("acac", "abab", "adad"), 4
    yield "ties", of("qrs", "qrs", "bcd", "bcd"), 4
    yield "ties", drawn(8, 7, 6), 6
    low = int(rng.integers(1, 90))  # 256 beside a smaller number, against 0 beside a larger one
    for high, other in ((low + 1, 0), (low + 2, 10)):
        yield "ties", [[high, other]] * 2 + [[low, 97, 97]] * 2 + [[97, 97]], 3
    yield "nothing occurs twice", of("abc"), 5
    yield "nothing occurs twice", of("abcd", "efg"), 5
    yield "nothing occurs twice", of("ab", "ba", "c"), 3
    yield "no pair over the border of two pieces", of("ab", "ca", "bd", "a", "b"), 4
    yield "no pair over the border of two pieces", of("a", "b", "a", "b", "a", "b"), 4
    yield "no pair over the border of two pieces", of("xa", "bx", "xa", "by", "cab"), 6
    yield "equal pieces", of("cat", "cat", "cat", "dog", "dog"), 3
    yield "equal pieces", of("abab", "abab", "bcb", "bcb", "bcb"), 5
    yield "empty and short pieces", of("", "a", "", "ab", "ab"), 3
    yield "empty and short pieces", of("", "a", "b", ""), 3
    yield "no pieces", [], 4
    yield "no merges wanted", of("abab"), 0
    yield "no merges wanted", [], 0
    yield "any bytes", [[0, 0, 0], [255, 0, 255, 0], [200, 1, 200, 1]], 4
    yield "any bytes", [rng.integers(0, 256, 4).tolist() * 3 for _ in range(4)], 8
    yield "any bytes", [[0, 255, 0, 255, 0, 255], [128, 0, 128, 0]], 3
    a, b = (1 + rng.permutation(8)[:2]).tolist()  # in the text "11 25" there is "1 2"
    yield "any bytes", [[a, b] * 2 + [10 + a, 10 * b + 5, b], [10 + a, 10 * b + 5]], 3
    yield "more merges than there are", drawn(6, 7, 3), 500
    yield "more merges than there are", of("abcabc"), 300
    yield "often", of(*["ab"] * 300, *["bc"] * 299, *["ca"] * 44), 3
    yield "often", of("ab" * 130, "cd" * 131), 2
    yield "many merges", drawn(40, 14, 4, 6), 40
    every = [[int(a), int(b)] for a in rng.permutation(99)[:11] for b in rng.permutation(99)[:11]]
    yield "many merges", every * 2, 115


def merge_reference(pieces, count):
    texts = [tuple(piece) for piece in pieces]
    merges = []
    while len(merges) < count:
        seen = {}
        for text in texts:
            for i in range(1, len(text)):
                seen.setdefault((text[i - 1], text[i]), []).append(i)
        often = sorted((-len(places), pair) for pair, places in seen.items() if len(places) > 1)
        if not often:
            break
        first, second = often[0][1]
        merges.append((first, second))
        new = 255 + len(merges)

        def after(text, first=first, second=second, new=new):
            done, last = [], None
            for sign in text:
                if last == first and sign == second:
                    done[-1] = last = new
                else:
                    done.append(sign)
                    last = sign
            return tuple(done)

        texts = [after(text) for text in texts]
    return merges


MERGES = Task(
    id="11.5",
    replaces="data.text.BytePairEncoding.train",
    cases=merge_cases,
    reference=merge_reference,
    rtol=0.0,
    atol=0.0,
    equal=(
        ("for piece in list(pieces)[::-1]", "the order of the pieces does not matter"),
        ("in list(enumerate(pieces))[::-1]", "the order of the pieces does not matter"),
        ("for text in list(texts)[::-1]", "the order of the pieces does not matter"),
        ("in list(zip(piece, piece[1:]))[::-1]", "the order of counting does not matter"),
        ("in list(zip(piece[:-1], piece[1:]))[::-1]", "the order of counting does not matter"),
        ("in list(set(pairs))[::-1]", "a set has no order"),
        ("pieces[n] = merged; while i < len(piece):", "it is the same list, filled later"),
        ("shorter.append(done); while rest:", "it is the same list, filled later"),
        ("in set(pairs)] + [1])", "a pair that occurs once ends it as well"),
        ("zip(piece[:], piece[1:])", "zip ends with the shorter one"),
        ("for pair in pairs] + [0])", "the largest of repeated counts is the same"),
        ("for pair in pairs if pairs.count(pair) == most))[0]", "repeated ones are the same"),
    ),
    hints=(
        "Three steps, again and again: count all pairs of neighbours in all pieces, choose one, "
        "replace it everywhere. A function of its own for the last helps.",
        "A dict pair -> count. The best is the pair with the largest count, and among those the "
        "smallest pair: Python compares tuples as the task asks, (2, 9) < (3, 1).",
        "best = min(counts, key=lambda pair: (-counts[pair], pair)); stop if counts[best] < 2. To "
        "replace: walk with an index; where the pair stands, append the new number and go on by 2.",
    ),
    right=(
        """
        def byte_pairs(pieces, count):
            pieces = [list(piece) for piece in pieces]
            merges = []
            while len(merges) < count:
                counts = {}
                for piece in pieces:
                    for pair in zip(piece, piece[1:]):
                        counts[pair] = counts.get(pair, 0) + 1
                if not counts:
                    break
                best = min(counts, key=lambda pair: (-counts[pair], pair))
                if counts[best] < 2:
                    break
                new = 256 + len(merges)
                merges.append(best)
                for n, piece in enumerate(pieces):
                    merged, i = [], 0
                    while i < len(piece):
                        if tuple(piece[i : i + 2]) == best:
                            merged.append(new)
                            i += 2
                        else:
                            merged.append(piece[i])
                            i += 1
                    pieces[n] = merged
            return merges""",
        """
        def byte_pairs(pieces, count, known=0):
            if known == count:
                return []
            pairs = [(a, b) for piece in pieces for a, b in zip(piece[:-1], piece[1:])]
            most = max([pairs.count(pair) for pair in set(pairs)] + [0])
            if most < 2:
                return []
            best = sorted(pair for pair in set(pairs) if pairs.count(pair) == most)[0]
            shorter = []
            for piece in pieces:
                rest, done = list(piece), []
                while rest:
                    if len(rest) > 1 and (rest[0], rest[1]) == best:
                        done.append(256 + known)
                        rest = rest[2:]
                    else:
                        done.append(rest.pop(0))
                shorter.append(done)
            return [best] + byte_pairs(shorter, count, known + 1)""",
        """
        def byte_pairs(pieces, count):
            texts = ["".join(chr(number) for number in piece) for piece in pieces]
            found = []
            for k in range(count):
                counts = {}
                for text in texts:
                    for i in range(len(text) - 1):
                        counts[text[i : i + 2]] = counts.get(text[i : i + 2], 0) + 1
                best = None
                for pair in sorted(counts):
                    if counts[pair] > 1 and (best is None or counts[pair] > counts[best]):
                        best = pair
                if best is None:
                    return found
                texts = [text.replace(best, chr(256 + k)) for text in texts]
                found.append([ord(best[0]), ord(best[1])])
            return found""",
    ),
    wrong=(
        ("of equally frequent pairs the one that is met first is taken, not the smallest",
         "key=lambda pair: (-counts[pair], pair)", "key=lambda pair: -counts[pair]"),
        ("of equally frequent pairs the largest is taken, not the smallest",
         "min(counts, key=lambda pair: (-counts[pair], pair))",
         "max(counts, key=lambda pair: (counts[pair], pair))"),
        ("ties go by the second number of a pair first",
         "(-counts[pair], pair)", "(-counts[pair], pair[1], pair[0])"),
        ("the rarest pair is merged, not the most frequent one",
         "(-counts[pair], pair)", "(counts[pair], pair)", "counts[best] < 2", "False"),
        ("pairs that occur only once are merged too", "counts[best] < 2", "counts[best] < 1"),
        ("it stops at pairs that occur twice; twice is enough",
         "counts[best] < 2", "counts[best] < 3"),
        ("the counts of the beginning are used for all merges", """
            def byte_pairs(pieces, count):
                counts = {}
                for piece in pieces:
                    for pair in zip(piece, piece[1:]):
                        counts[pair] = counts.get(pair, 0) + 1
                order = sorted(counts, key=lambda pair: (-counts[pair], pair))
                return [pair for pair in order if counts[pair] > 1][:count]"""),
        ("pairs over the border of two pieces are counted",
         "pieces = [list(piece) for piece in pieces]",
         "pieces = [[number for piece in pieces for number in piece]]"),
        ("equal pieces are counted once; each counts",
         "for piece in pieces:\n                    for pair in zip",
         "for piece in sorted(set(map(tuple, pieces))):\n                    for pair in zip"),
        ("a pair is counted once a piece; it counts each time it stands there",
         "for pair in zip(piece, piece[1:]):", "for pair in set(zip(piece, piece[1:])):"),
        ("pairs that overlap are counted once: aaa has the pair (a, a) twice",
         "for pair in zip(piece, piece[1:]):", "for pair in apart(zip(piece, piece[1:])):",
         "pieces = [list(piece) for piece in pieces]", """def apart(pairs):
                last = None
                for pair in pairs:
                    last = None if pair == last else pair
                    if last:
                        yield pair
            pieces = [list(piece) for piece in pieces]"""),
        ("only the first place of a pair in each piece is merged",
         "tuple(piece[i : i + 2]) == best",
         "tuple(piece[i : i + 2]) == best and new not in merged"),
        ("the second number of a merged pair stays where it was", "i += 2", "i += 1"),
        ("pairs are merged from the right; they should be from the left",
         "merged, i = [], 0", "merged, i = [], 0; piece = piece[::-1]",
         "== best:", "== best[::-1]:", "pieces[n] = merged", "pieces[n] = merged[::-1]"),
        ("a merge gets the number of the one before it: the first new number is 256",
         "new = 256 + len(merges)", "new = 255 + len(merges)"),
        ("all merges get the number 256", "new = 256 + len(merges)", "new = 256"),
        ("the new number is counted in eight bits, which hold no more than 255",
         "new = 256 + len(merges)", "new = len(merges) % 256"),
        ("the counts are kept in eight bits, which hold no more than 255",
         "counts.get(pair, 0) + 1", "(counts.get(pair, 0) + 1) % 256"),
        ("one merge too many is made", "len(merges) < count", "len(merges) <= count"),
        ("the numbers of the merges are returned, not their pairs",
         "return merges", "return [256 + k for k in range(len(merges))]"),
        ("the pieces given are changed",
         "pieces = [list(piece) for piece in pieces]", "pass"),
        ("of equally frequent pairs the first in the alphabet is taken, a merge being its letters",
         "(-counts[pair], pair)", "(-counts[pair], [spelt(number) for number in pair])",
         "pieces = [list(piece) for piece in pieces]", """def spelt(number):
                if number < 256:
                    return [number]
                return spelt(merges[number - 256][0]) + spelt(merges[number - 256][1])
            pieces = [list(piece) for piece in pieces]"""),
        ("merged numbers are never merged again",
         "counts[pair] = counts.get(pair, 0) + 1",
         "counts[pair] = counts.get(pair, 0) + (max(pair) < 256)"),
    ),
)  # fmt: skip

TASKS = [ORDER, MOVE, PAD, QUEUE, MERGES]
