"""The tasks of lesson 21: FLOPs, silent copies, calls made two, and the roof of a machine."""

import math

import numpy as np

from .task import Task

# ---- 21.1


def count_cases(rng):
    def some(low, high):
        return int(rng.integers(low, high))

    relu = ("relu",)
    yield "by hand", [("linear", 30), relu], (10, 20, 1, 1)
    yield "by hand", [("conv", 8, 3, 1, 1), relu, ("pool", 2), ("linear", 10)], (64, 1, 28, 28)
    yield "relu", [], (some(1, 9), 1, some(2, 9), some(2, 9))
    yield "relu", [relu], (some(2, 9), 3, 5, 4)
    yield "relu", [relu, relu], (1, 1, 1, some(2, 9))
    yield "pool", [("pool", 2)], (3, 2, 8, 6)
    yield "pool", [("pool", 3), relu], (some(2, 9), 1, 8, 11)  # what is left over is left out
    yield "pool", [("pool", 2), ("pool", 2), relu], (2, 3, 13, 10)
    yield "pool", [("pool", 1), relu], (2, 1, some(2, 5), 3)
    yield "linear", [("linear", some(2, 9))], (3, 2, 4, 5)
    yield "linear", [("linear", 6), relu, ("linear", some(2, 5))], (some(2, 9), 1, 3, 5)
    yield "linear", [("linear", 1)], (1, 1, 1, 1)
    yield "conv", [("conv", 4, 3, 1, 1)], (some(2, 9), 3, 7, 5)
    yield "conv", [("conv", some(2, 6), 3, 2, 0), relu], (2, 5, 12, 9)
    yield "conv", [("conv", 1, 1, 1, 0), ("conv", 3, 5, 3, 2)], (1, some(2, 5), 9, 14)
    yield "conv", [("conv", 2, 4, 2, 1), relu, ("linear", 3)], (3, 1, 6, some(8, 12))
    layers = [("conv", some(3, 9), 3, 1, 0), relu, ("pool", 2), ("conv", 7, 5, 2, 2), relu]
    layers += [("pool", 3), ("linear", 20), relu, ("linear", some(2, 9))]
    yield "several layers", layers, (some(2, 70), 3, 34, 41)
    yield "several layers", layers[:3] * 2 + layers[6:], (5, 2, 30, 25)
    large = [("conv", 3000, 7, 1, 3), relu, ("pool", 2), ("linear", 5001)]
    yield "many layers", layers + [relu, ("linear", some(2, 9))] * 9, (some(2, 9), 1, 34, 35)
    yield "large", large, (1001, some(2000, 3000), 301, 199)
    yield "large", [("linear", 10**6), relu], (some(10**6, 1_700_000), 50, 1000, 100)  # 10**19


def count_reference(layers, shape):
    n, *sample = shape
    found = []
    for layer in layers:
        kind = layer[0]
        before = list(sample)
        if kind == "linear":
            sample = [layer[1], 1, 1]
        elif kind == "pool":
            sample = [before[0], *[length // layer[1] for length in before[1:]]]
        elif kind == "conv":
            _, filters, size, stride, padding = layer
            places = [length + 2 * padding - size + stride for length in before[1:]]
            sample = [filters, *[length // stride for length in places]]
        numbers = n * math.prod(sample)
        each = {"relu": 1, "linear": 2 * math.prod(before) + 1}
        each["pool"] = layer[1] * layer[1] - 1 if kind == "pool" else 0
        each["conv"] = 2 * before[0] * layer[2] * layer[2] + 1 if kind == "conv" else 0
        found.append(numbers * each[kind])
    return found


COUNT = Task(
    id="21.1",
    cases=count_cases,
    reference=count_reference,
    rtol=1e-14,
    equal=(
        ("-> k = numbers[-1]", "it is the only one"),
        ("-> size = numbers[-1]", "it is the only one"),
        ("-> after = [n, numbers[-1], 1, 1]", "it is the only one"),
        ("* numbers[-1]", "it is the only one"),
        ("-> after = [n, c, h // numbers[-1]", "it is the only one"),
        ("w // numbers[-1]]", "it is the only one"),
        ("-> work = (numbers[-1]", "it is the only one"),
        ("-> h //= size", "a number is no array"),
        ("-> w //= size", "a number is no array"),
        ("-> c, h, w = (1, k, 1)", "only their product counts afterwards"),
        ("-> sample = (1, layer[1], 1)", "only their product counts afterwards"),
        ("-> sample = (c, w // size, h // size)", "height and width play the same part"),
        ("-> sample = (filters, wide, high)", "height and width play the same part"),
        ("if layer[0] == 'relu': -> if True:", "each other kind sets it anew"),
        ("-> if layer[-1] == 'relu':", "a relu is one word"),
        ("if layer[0] == 'relu':; if layer[0]", "only one of them holds"),
        ("if layer[0] == 'pool':; if layer[0]", "only one of them holds"),
        ("if layer[0] == 'linear':; if layer[0]", "only one of them holds"),
        ("if not layers:; def whole", "neither needs the other"),
    ),
    hints=(
        "For each layer: how many numbers does its result have, and how much is done for each?",
        "relu: one for each number. pool: size ** 2 - 1 comparisons for each number of the "
        "smaller result. linear: its D is c * h * w; afterwards a sample is (K, 1, 1).",
        'pool: h, w = h // size, w // size, then n * c * h * w * (size**2 - 1). linear: n * k * '
        "(2 * c * h * w + 1), then c, h, w = k, 1, 1.",
    ),
    right=(
        """
        def count(layers, shape):
            n, c, h, w = shape
            found = []
            for kind, *numbers in layers:
                if kind == "conv":
                    filters, size, stride, padding = numbers
                    h = (h + 2 * padding - size) // stride + 1
                    w = (w + 2 * padding - size) // stride + 1
                    flops = n * filters * h * w * (2 * c * size**2 + 1)
                    c = filters
                elif kind == "relu":
                    flops = n * c * h * w
                elif kind == "pool":
                    size = numbers[0]
                    h = h // size
                    w = w // size
                    flops = n * c * h * w * (size**2 - 1)
                else:
                    k = numbers[0]
                    flops = n * k * (2 * c * h * w + 1)
                    c, h, w = k, 1, 1
                found.append(flops)
            return found""",
        """
        def count(layers, shape):
            n, sample = shape[0], tuple(shape[1:])
            found = []
            for layer in layers:
                c, h, w = sample
                if layer[0] == "relu":
                    each = 1
                if layer[0] == "pool":
                    size = layer[1]
                    sample = c, h // size, w // size
                    each = size * size - 1
                if layer[0] == "linear":
                    sample = layer[1], 1, 1
                    each = 2 * c * h * w + 1
                if layer[0] == "conv":
                    filters, size, stride, padding = layer[1:]
                    high = len(range(0, h + 2 * padding - size + 1, stride))
                    wide = len(range(0, w + 2 * padding - size + 1, stride))
                    sample = filters, high, wide
                    each = 2 * c * size * size + 1
                found.append(n * sample[0] * sample[1] * sample[2] * each)
            return found""",
        """
        def count(layers, shape):
            if not layers:
                return []
            def whole(lengths):
                return lengths[0] * lengths[1] * lengths[2] * lengths[3]

            n, c, h, w = shape
            kind, numbers = layers[0][0], layers[0][1:]
            after = [n, c, h, w]
            more = 0
            if kind == "conv":
                span = 2 * numbers[3] - numbers[1]
                after = [n, numbers[0], (h + span) // numbers[2] + 1, (w + span) // numbers[2] + 1]
                work = 2 * c * numbers[1] ** 2 * whole(after)
                more = whole(after)
            elif kind == "linear":
                after = [n, numbers[0], 1, 1]
                work = 2 * n * c * h * w * numbers[0]
                more = n * numbers[0]
            elif kind == "pool":
                after = [n, c, h // numbers[0], w // numbers[0]]
                work = (numbers[0] ** 2 - 1) * whole(after)
            else:
                work = whole(after)
            return [work + more] + count(layers[1:], after)""",
    ),
    wrong=(
        ("in a linear layer only the products are counted, not the sums",
         "(2 * c * h * w + 1)", "(c * h * w + 1)"),
        ("the bias of a linear layer is not counted", "(2 * c * h * w + 1)", "(2 * c * h * w)"),
        ("the bias of a convolution is not counted", "(2 * c * size**2 + 1)", "(2 * c * size**2)"),
        ("a pooling window of size**2 numbers is said to take size**2 comparisons",
         "(size**2 - 1)", "size**2"),
        ("pooling is counted on the larger map, before it shrinks", """
                    h = h // size
                    w = w // size
                    flops = n * c * h * w * (size**2 - 1)
""", """
                    flops = n * c * h * w * (size**2 - 1)
                    h = h // size
                    w = w // size
"""),
        ("after pooling the map is as large as before", "h = h // size", "h = h",
         "w = w // size", "w = w"),
        ("pooling halves the map, whatever its size", "h = h // size", "h = h // 2",
         "w = w // size", "w = w // 2"),
        ("after pooling a map that does not divide is rounded up", "h = h // size",
         "h = -(-h // size)", "w = w // size", "w = -(-w // size)"),
        ("a linear layer takes the number of channels for the number of features",
         "(2 * c * h * w + 1)", "(2 * c + 1)"),
        ("after a linear layer the map's height and width are still there",
         "c, h, w = k, 1, 1", "c = k"),
        ("after a linear layer the number of features is still the old one",
         "                    c, h, w = k, 1, 1\n", ""),
        ("one sample is counted, not all", "n, c, h, w = shape",
         "n, c, h, w = (1, *shape[1:])"),
        ("the map is taken for a square: its width is not looked at", "n, c, h, w = shape",
         "n, c, h, w = shape; w = h"),
        ("after a convolution the number of channels is still the old one",
         "                    c = filters\n", ""),
        ("relu is counted as nothing", "flops = n * c * h * w\n", "flops = 0\n"),
        ("all layers are added up", "return found", "return [sum(found)]"),
        ("it counts with whole numbers of 32 bits, which overflow", "return found",
         "return [(flops + 2**31) % 2**32 - 2**31 for flops in found]"),
        ("it counts with whole numbers of 64 bits, as NumPy's, which overflow", "return found",
         "return [(flops + 2**63) % 2**64 - 2**63 for flops in found]"),
    ),
)  # fmt: skip

# ---- 21.2


def copy_cases(rng):
    def lengths(n, low=2, high=5):
        return tuple(int(length) for length in rng.integers(low, high, n))

    def turned(*axes):
        return ("transpose", axes)

    def to(*shape):
        return ("reshape", shape)

    yield "by hand", (4, 3), [to(12), to(3, 4), turned(1, 0), to(12)]
    n, t, d = lengths(3)
    yield "no copy", (n, t, d), []
    yield "no copy", (n, t, d), [to(n * t, d)]
    yield "no copy", (n, t, d), [to(n * t * d), to(d, t, n), to(1, -1)]
    yield "no copy", (n, t, d), [turned(2, 0, 1), turned(1, 2, 0)]
    yield "no copy", (n, t, d), [turned(1, 0, 2), turned(1, 0, 2), to(n * t * d)]
    yield "no copy", (n, t, d), [("cut", 0, 1, n), to(-1, d)]
    yield "a turned array is joined", (n, t, d), [turned(1, 0, 2), to(t * n, d)]
    yield "a turned array is joined", (n, t), [turned(1, 0), to(-1)]
    yield (
        "a turned array is joined",
        (n, t, d),
        [to(n * t, d), turned(1, 0), to(d * n * t), to(1, -1)],
    )
    yield "a turned array, not joined", (6, t, d), [turned(2, 1, 0), to(d, t, 2, 3)]
    yield "a turned array, not joined", (n, t, d), [turned(2, 0, 1), to(d, n * t)]
    yield "a turned array, not joined", (n, t, d), [turned(1, 0, 2), to(t, 1, n, d), to(t, n, d)]
    yield "a turned array, not joined", (n, t, d), [turned(2, 0, 1), to(d, n * t), to(d * n, t)]
    yield "an axis of length 1", (n, 1, d), [turned(1, 0, 2), to(n * d), to(n, d)]
    yield "an axis of length 1", (1, d), [turned(1, 0), to(-1), to(d, 1), turned(1, 0), to(d)]
    yield "an axis of length 1", (n, 1, d), [turned(2, 1, 0), to(d, n), to(n * d)]
    yield "a part is joined", (4, 5), [("cut", 1, 0, 3), to(12)]
    yield "a part is joined", (n + 1, t, d + 1), [("cut", 0, 1, n), ("cut", 2, 1, d + 1), to(-1, d)]
    yield "a part is joined", (3, n + 1, d), [("cut", 1, 1, n + 1), to(3, n * d), to(-1)]
    yield "a part, not joined", (4, 6), [("cut", 1, 2, 6), to(4, 2, 2), to(2, 2, 4)]
    yield (
        "a part, not joined",
        (n + 2, d),
        [("cut", 0, 1, n + 1), to(n * d), ("cut", 0, 1, d), to(1, -1)],
    )
    yield "a part, not joined", (3, 5), [("cut", 1, 1, 2), to(3), ("cut", 0, 0, 2)]
    yield "two copies", (n, t), [turned(1, 0), to(n * t), to(n, t), turned(1, 0), to(-1)]
    yield (
        "two copies",
        (3, 4, 5),
        [("cut", 2, 0, 4), to(12, 4), turned(1, 0), to(48), to(4, 12), turned(1, 0), to(-1)],
    )
    yield "turned twice", (n, t, d), [turned(1, 2, 0), turned(0, 2, 1), to(t, n, d), to(-1)]
    yield "a turned array, not joined", (6, 4), [turned(1, 0), to(6, 4)]
    yield "a turned array, not joined", (2, 3, 4, 5), [turned(3, 2, 1, 0), to(5, 4, 3, 2, 1)]
    yield "an axis of length 1", (n, d, 1), [turned(0, 2, 1), to(n * d)]
    yield "many steps", (4, 3, 2), [turned(2, 0, 1)] * 24 + [turned(2, 0, 1), to(2, 12), to(24)]
    yield "many steps", (n, t), [to(n * t), to(n, t)] * 20 + [turned(1, 0)] * 3 + [to(n * t)]
    yield "many numbers", (30, 10, 33), [to(300, 33), turned(1, 0), to(33, 10, 30), to(330, 30)]


def copy_reference(shape, steps):
    """By addresses: a step copies if no strides give the places where its numbers lie."""
    where = np.arange(math.prod(shape)).reshape(shape)  # the place of each number in memory
    for i, (kind, *how) in enumerate(steps):
        if kind == "transpose":
            where = np.array(where.transpose(how[0]))
        elif kind == "cut":
            axis, start, stop = how
            where = np.array(where.take(range(start, stop), axis=axis))
        else:
            where = where.reshape(how[0])
            strides, start = [0] * where.ndim, int(where.reshape(-1)[0])
            for axis, length in enumerate(where.shape):
                if length > 1:
                    one = [0] * where.ndim
                    one[axis] = 1
                    strides[axis] = int(where[tuple(one)]) - start
            for index in np.ndindex(where.shape):
                if where[index] != start + sum(k * s for k, s in zip(index, strides)):
                    return i
    return -1


COPY = Task(
    id="21.2",
    cases=copy_cases,
    reference=copy_reference,
    equal=(
        ("-> new = [n for n in list(new)[:20]", "10,000 numbers have at most 13 long axes"),
        ("-> before = np.ones(shape)", "the numbers play no part"),
        ("shares_memory(after, before)", "a question without order"),
        ("before.transpose(how[-1])", "it is the only one"),
        ("list(pairs)[:20]", "10,000 numbers have at most 13 axes longer than 1"),
        ("list(joined)[:20]", "10,000 numbers have at most 13 axes longer than 1"),
        ("list(zip(lengths, strides))[:20]", "a case with more axes would be a trap"),
        ("-> whole = np.ones(shape)", "the first step never copies, and then it is set to 0"),
        ("-> part[...] = 2", "any number but 0 serves"),
        (".swapaxes(step[1], 0)", "two axes exchanged, in either order"),
        ("part.swapaxes(step[1], 0)[", "two axes exchanged, in either order"),
        ("if step[0] == 'transpose':; if step[0] == 'reshape':", "only one of them holds"),
        ("if step[0] == 'reshape':; if step[0] == 'cut':", "only one of them holds"),
        ("if step[0] == 'cut':; part[...] = 1", "a part is never a copy"),
        ("-> x = np.empty(shape)", "the type plays no part"),
        ("`/=` in place of `//=`", "it is divided without a rest"),
        ("-> if n % new[0]:", "the numbers are as many, so lengths are left"),
        ("for n, s in pairs:; new = [", "neither needs the other"),
    ),
    hints=(
        "A view looks at the memory of the array that it came from. NumPy can be asked.",
        "Do each step, and ask np.shares_memory(before, after); False means that it copied.",
        'kind "reshape": after = before.reshape(how[0]); "cut": after = before[(slice(None),) * '
        "axis + (slice(start, stop),)]. Return the number of the first step whose result does not "
        "share memory, -1 at the end.",
    ),
    right=(
        """
        def first_copy(shape, steps):
            before = np.zeros(shape)
            for i, (kind, *how) in enumerate(steps):
                if kind == "transpose":
                    after = before.transpose(how[0])
                elif kind == "cut":
                    axis, start, stop = how
                    after = before[(slice(None),) * axis + (slice(start, stop),)]
                else:
                    after = before.reshape(how[0])
                if not np.shares_memory(before, after):
                    return i
                before = after
            return -1""",
        """
        def first_copy(shape, steps):
            whole = np.zeros(shape)
            part = whole
            number = 0
            for step in steps:
                if step[0] == "transpose":
                    part = part.transpose(step[1])
                if step[0] == "reshape":
                    part = part.reshape(step[1])
                if step[0] == "cut":
                    part = part.swapaxes(0, step[1])[step[2] : step[3]].swapaxes(0, step[1])
                part[...] = 1
                if not whole.any():
                    return number
                whole[...] = 0
                number += 1
            return -1""",
        """
        def first_copy(shape, steps):
            def can_be_a_view(lengths, strides, new):
                pairs = [(n, s) for n, s in zip(lengths, strides) if n > 1]
                joined = []
                for n, s in pairs:
                    if joined and joined[-1][1] == n * s:
                        joined[-1] = (joined[-1][0] * n, s)
                    else:
                        joined.append((n, s))
                new = [n for n in new if n > 1]
                for n, _ in joined:
                    while n > 1:
                        if not new or n % new[0]:
                            return False
                        n //= new.pop(0)
                return not new

            x = np.empty(shape, dtype="float32")
            for i, step in enumerate(steps):
                if step[0] == "transpose":
                    x = x.transpose(step[1])
                elif step[0] == "cut":
                    x = np.moveaxis(np.moveaxis(x, step[1], 0)[step[2] : step[3]], 0, step[1])
                else:
                    after = x.reshape(step[1])
                    if not can_be_a_view(x.shape, x.strides, after.shape):
                        return i
                    x = after
            return -1""",
    ),
    wrong=(
        ("every reshape is taken for a copy", "not np.shares_memory(before, after)",
         'kind == "reshape"'),
        ("every transposition is taken for a copy", "not np.shares_memory(before, after)",
         'kind == "transpose" or not np.shares_memory(before, after)'),
        ("every part is taken for a copy", "not np.shares_memory(before, after)",
         'kind == "cut" or not np.shares_memory(before, after)'),
        ("every step after which the numbers do not lie one behind the other is taken for a copy",
         "not np.shares_memory(before, after)", "not after.flags.c_contiguous"),
        ("every reshape of what is not contiguous is taken for a copy; splitting an axis never "
         "copies", "not np.shares_memory(before, after)",
         'kind == "reshape" and not before.flags.c_contiguous'),
        ("the last step that copies is returned", """
            before = np.zeros(shape)
""", """
            before, found = np.zeros(shape), -1
""", "return i", "found = i", "return -1", "return found"),
        ("the steps are counted from 1", "return i", "return i + 1"),
        ("the number of copies is returned, not the place of the first", """
            before = np.zeros(shape)
""", """
            before, found = np.zeros(shape), 0
""", "return i", "found += 1", "return -1", "return found or -1"),
        ("each array is asked for a base; after a copy `reshape` may still give a view, of the new "
         "memory, so ask whether before and after share memory",
         "not np.shares_memory(before, after)", "after.base is None"),
        ("a new array object is taken for a copy; a view is one too",
         "not np.shares_memory(before, after)", "after is not before"),
        ("a transposition is left out, so what comes after it never copies",
         "after = before.transpose(how[0])", "after = before"),
        ("each array begins where the one before begins, or it is taken for a copy; a part may "
         "begin later", "not np.shares_memory(before, after)",
         "before.__array_interface__['data'][0] != after.__array_interface__['data'][0]"),
    ),
)  # fmt: skip

# ---- 21.3


def bowl(cubes, pairs, calls=None):
    """A function of points (P, D), which may be called twice."""

    def f(points):
        if calls is not None:
            calls.append(1)
            if len(calls) > 2:
                raise ValueError("f was called a third time: put all points into one array")
        points = np.asarray(points, dtype=float)
        if points.ndim != 2 or points.shape[1] != len(cubes):
            raise ValueError(f"f takes points of shape (P, {len(cubes)}), got {points.shape}")
        own = (points**3) @ cubes
        return own + pairs * (points[:, 1:] * points[:, :-1]).sum(axis=1)

    return f


def watch(answer, cubes, pairs, x, h):
    return answer(bowl(cubes, pairs, []), x, h)


def slope_cases(rng):
    def case(group, d, h, scale=1.0):
        cubes = np.round(rng.uniform(0.5, 2, d) * rng.choice([-1, 1], d), 2)
        x = scale * np.round(rng.uniform(0.5, 2, d) * rng.choice([-1, 1], d), 2)
        return group, cubes, float(np.round(rng.uniform(1, 3), 2)), x, h

    yield "by hand", np.array([1.0, 0.0]), 1.0, np.array([1.0, 2.0]), 0.5
    yield case("one number", 1, 0.1)
    yield case("one number", 1, 0.5)
    yield case("two numbers", 2, 0.1)
    yield case("two numbers", 2, 0.25)
    yield case("several numbers", 5, 0.5)
    yield case("several numbers", 4, 0.05)
    yield case("several numbers", 7, 0.01)
    yield case("a small step", 3, 0.001)
    yield case("a large step", 3, 1.0)
    yield "zeros", np.array([1.0, -2.0, 0.5]), 1.5, np.array([0.0, 1.0, 0.0]), 0.5
    yield "equal numbers", np.array([1.0, 1.0, 1.0]), 2.0, np.array([1.5, 1.5, 1.5]), 0.1
    yield case("large numbers", 3, 0.5, 1e3)
    yield case("many numbers", 16, 0.1)


def slope_reference(cubes, pairs, x, h):
    f = bowl(cubes, pairs)
    found = []
    for d in range(len(x)):
        up, down = x.copy(), x.copy()
        up[d] += h
        down[d] -= h
        found.append((f(up[None])[0] - f(down[None])[0]) / (2 * h))
    return np.array(found)


SLOPES = Task(
    id="21.3",
    cases=slope_cases,
    reference=slope_reference,
    drive=watch,
    equal=(
        ("-> x = x[:20]", "D is at most 16"),
        ("-> h = abs(h)", "h is above 0"),
        ("in range(min(d, 30)):", "D is at most 16"),
        ("in range(min(len(x), 30)):", "D is at most 16"),
        ("points[i, i] += h; points[d + i, i] -= h", "two points, in either order"),
        ("in list((1, -1))[:3]", "there are two"),
        ("in list((1, -1))[:20]", "there are two"),
        ("-> return found", "a list is as good"),
        ("values = f(np.array(points)) -> values = f(points)", "f takes a list of points too"),
        ("-> points.append(point); point[i]", "the point that is changed is the one in the list"),
    ),
    hints=(
        "f takes many points at once. Which points do all the slopes need?",
        "h * np.eye(D) is a table whose row d moves only coordinate d; x + that has D points.",
        "moves = h * np.eye(len(x)); return (f(x + moves) - f(x - moves)) / (2 * h).",
    ),
    right=(
        """
        def slopes(f, x, h):
            moves = h * np.eye(len(x))
            up = f(x + moves)
            down = f(x - moves)
            return (up - down) / (2 * h)""",
        """
        def slopes(f, x, h):
            d = len(x)
            points = np.tile(x, (2 * d, 1))
            for i in range(d):
                points[i, i] += h
                points[d + i, i] -= h
            values = f(points)
            return (values[:d] - values[d:]) / h / 2""",
        """
        def slopes(f, x, h):
            points = []
            for i in range(len(x)):
                for sign in (1, -1):
                    point = list(x)
                    point[i] = point[i] + sign * h
                    points.append(point)
            values = f(np.array(points))
            found = []
            for i in range(len(x)):
                found.append((values[2 * i] - values[2 * i + 1]) / (2 * h))
            return np.array(found)""",
    ),
    wrong=(
        ("the difference is divided by h; the two points lie 2 h apart", "(2 * h)", "h"),
        ("the slope goes from x itself to x + h, not from x - h", "down = f(x - moves)",
         "down = f(x + 0 * moves)", "(2 * h)", "h"),
        ("the difference is not divided", " / (2 * h)", ""),
        ("the difference is multiplied by 2 h", "/ (2 * h)", "* (2 * h)"),
        ("the sign is the wrong way round", "(up - down)", "(down - up)"),
        ("all coordinates are moved at once", "h * np.eye(len(x))",
         "h * np.ones((len(x), len(x)))"),
        ("every coordinate but one is moved", "h * np.eye(len(x))",
         "h * (1 - np.eye(len(x)))"),
        ("the coordinates are moved by 1, not by h", "h * np.eye(len(x))", "np.eye(len(x))"),
        ("other coordinates become 0 where one is moved", "x + moves", "np.diag(x) + moves",
         "x - moves", "np.diag(x) - moves"),
        ("the coordinates are multiplied by 1 + h, not moved by h", "x + moves",
         "x * (1 + moves)", "x - moves", "x * (1 - moves)"),
        ("f is called for each coordinate", """
            def slopes(f, x, h):
                found = []
                for d in range(len(x)):
                    up, down = x.copy(), x.copy()
                    up[d] += h
                    down[d] -= h
                    found.append((f(up[None])[0] - f(down[None])[0]) / (2 * h))
                return np.array(found)"""),
        ("only the first coordinate has a slope", "return (up - down) / (2 * h)",
         "return (up - down) / (2 * h) * (np.arange(len(x)) == 0)"),
        ("the mean of all slopes is returned", "return (up - down) / (2 * h)",
         "return ((up - down) / (2 * h)).mean() * np.ones(len(x))"),
        ("the slopes are in the order of the coordinates turned round",
         "return (up - down) / (2 * h)", "return ((up - down) / (2 * h))[::-1]"),
        ("x is changed by the call", "            return (up",
         "            x += h\n            return (up"),
        ("one point goes into f, not a table of points", "f(x + moves)", "f(x + h)",
         "f(x - moves)", "f(x - h)"),
    ),
)  # fmt: skip

# ---- 21.4


def mend_cases(rng):
    def drawn(n):
        lines = []
        for kind in rng.integers(0, 4, n):
            sizes = [int(size) for size in rng.integers(3, 900, 3)]
            lines.append([
                ("product", *sizes), ("elementwise", sizes[0] % 3 + 1, 7 * sizes[1]),
                ("sum", sizes[0] * sizes[1], sizes[1]), ("move", 5 * sizes[0]),
            ][kind])  # fmt: skip
        return lines

    def case(group, lines, peak, bandwidth, low=1.2, high=9.0):
        best = mend_least(lines, peak, bandwidth)
        factors = rng.permutation(np.linspace(low, high, len(lines)))
        return group, lines, [float(b * f) for b, f in zip(best, factors)], peak, bandwidth

    lines = [("product", 30, 30, 30), ("elementwise", 2, 900), ("move", 500)]
    yield "by hand", lines, [600e-6, 900e-6, 250e-6], 100e6, 20e6
    yield case("one line", drawn(1), 1e9, 1e9)
    yield case("one line", [("move", int(rng.integers(2, 99)))], 1e9, 1e8)
    yield case("products", [("product", 2, 3, 4), ("product", 60, 50, 70)], 1e8, 1e8)
    yield case("products", [("product", 500, 3, 200), ("product", 90, 700, 80)], 1e11, 1e10)
    yield case("products", [("product", 300, 200, 100), ("product", 20, 300, 50)], 1e9, 1e10)
    yield case("elementwise", [("elementwise", 1, 700), ("elementwise", 3, 400)], 1e9, 1e9)
    yield case("elementwise", [("elementwise", 2, 50), ("elementwise", 1, 90)], 1e7, 1e9)
    yield case("sums and moves", [("sum", 600, 1), ("sum", 600, 200), ("move", 300)], 1e9, 1e8)
    yield case("sums and moves", [("move", 80), ("sum", 500, 20)], 1e6, 1e9)
    yield case("all kinds", drawn(6), 1e10, 5e9)
    yield case("all kinds", drawn(9), 5e8, 2e10)
    yield case("all kinds", drawn(40), 1e11, 1e10)
    late = [("move", 10)] * 40 + [("product", 90, 90, 90), ("move", 20)]
    best = mend_least(late, 1e9, 1e9)
    yield "the last but one", late, [b * 2 for b in best], 1e9, 1e9
    # The line that takes longest, and the one farthest from its best by ratio, are others.
    three = [("product", 100, 100, 100), ("product", 50, 100, 50), ("move", 10)]
    best = mend_least(three, 1e9, 1e9)
    yield (
        "neither the longest nor the slowest by ratio",
        three,
        [best[0] * 1.1, best[1] * 2.5, best[2] * 99],
        1e9,
        1e9,
    )
    two = [("product", 50, 50, 50), ("product", 50, 50, 40)]
    best = mend_least(two, 1e9, 1e9)
    yield "the first saves most", two, [best[0] * 2, best[1] * 1.4], 1e9, 1e9
    yield "the first saves most", two[:1] * 2, [best[0] * 1.5, best[0] * 1.4], 1e9, 1e9
    yield case("faster than its best", drawn(5), 1e9, 1e9, 0.3, 0.9)
    yield case("faster than its best", drawn(6), 1e10, 1e9, 0.4, 3.0)
    yield case("a fast machine", drawn(5), 1e14, 3e12)


def mend_least(lines, peak, bandwidth):
    found = []
    for kind, *sizes in lines:
        work = {"product": 2.0 * math.prod(sizes), "elementwise": sizes[-1], "sum": sizes[0]}
        moved = {
            "sum": sum(sizes),
            "move": 2 * sizes[0],
            "elementwise": sizes[0] * sizes[-1] + sizes[-1],
        }
        if kind == "product":
            n, d, k = sizes
            moved[kind] = n * d + d * k + n * k
        found.append(max(work.get(kind, 0) / peak, 4 * moved[kind] / bandwidth))
    return found


def mend_reference(lines, seconds, peak, bandwidth):
    best = mend_least(lines, peak, bandwidth)
    saved = [s - b for s, b in zip(seconds, best)]
    which = sorted(range(len(saved)), key=lambda i: saved[i])[-1]
    after = [best[i] if i == which else s for i, s in enumerate(seconds)]
    return best, which, math.fsum(seconds) / math.fsum(after)


MEND = Task(
    id="21.4",
    cases=mend_cases,
    reference=mend_reference,
    atol=1e-20,
    equal=(
        ("best, which, most = ([], 1, None)", "the first line is always taken first"),
        ("-> size = sizes[-1]", "a move has one size"),
        ("-> peak = int(peak)", "from 10**6 on its fraction is less than the tolerance"),
        ("-> peak = abs(peak)", "it is above 0"),
        ("-> bandwidth = int(bandwidth)", "from 10**6 on its fraction is less than the tolerance"),
        ("-> bandwidth = abs(bandwidth)", "it is above 0"),
        ("np.argmax(seconds - best)", "a list less an array is an array"),
        ("def work(kind, a, b=0, c=0):; def moved", "neither needs the other"),
        ("arithmetic = np.array([work(*line) for line in lines]) / peak; moving",
         "neither needs the other"),
        ("-> if moved / bandwidth >= least:", "of two equal ones either"),
        ("least >= most:", "no two lines save equally much"),
        ("if line[0] == 'product':; if line[0]", "only one of them holds"),
        ("if line[0] == 'elementwise':; if line[0]", "only one of them holds"),
        ("if line[0] == 'sum':; if line[0]", "only one of them holds"),
    ),
    hints=(
        "For each line: its FLOPs by the peak, its bytes by the bandwidth, and the longer of both.",
        "A number has 4 bytes. product: N D + D K + N K numbers move; elementwise: n_in * size "
        "come and size go; sum: size come and left go; move: size come and go.",
        "best = [max(f / peak, 4 * numbers / bandwidth) for each line]; which = argmax of seconds "
        "- best; times = sum / (sum - seconds[which] + best[which]).",
    ),
    right=(
        """
        def mend(lines, seconds, peak, bandwidth):
            best = []
            for kind, *sizes in lines:
                if kind == "product":
                    n, d, k = sizes
                    flops, numbers = 2 * n * d * k, n * d + d * k + n * k
                elif kind == "elementwise":
                    n_in, size = sizes
                    flops, numbers = size, n_in * size + size
                elif kind == "sum":
                    size, left = sizes
                    flops, numbers = size, size + left
                else:
                    size = sizes[0]
                    flops, numbers = 0, 2 * size
                best.append(max(flops / peak, 4 * numbers / bandwidth))
            saved = [took - least for took, least in zip(seconds, best)]
            which = saved.index(max(saved))
            total = sum(seconds)
            return best, which, total / (total - saved[which])""",
        """
        def mend(lines, seconds, peak, bandwidth):
            def work(kind, a, b=0, c=0):
                return {"product": 2 * a * b * c, "elementwise": b, "sum": a, "move": 0}[kind]

            def moved(kind, a, b=0, c=0):
                if kind == "product":
                    return 4 * (a * b + b * c + a * c)
                return 4 * {"elementwise": (a + 1) * b, "sum": a + b, "move": a + a}[kind]

            arithmetic = np.array([work(*line) for line in lines]) / peak
            moving = np.array([moved(*line) for line in lines]) / bandwidth
            best = np.maximum(arithmetic, moving)
            which = int(np.argmax(np.array(seconds) - best))
            after = np.array(seconds)
            after[which] = best[which]
            return best, which, sum(seconds) / after.sum()""",
        """
        def mend(lines, seconds, peak, bandwidth):
            best, which, most = [], 0, None
            for i, line in enumerate(lines):
                if line[0] == "product":
                    _, n, d, k = line
                    flops = n * k * d * 2
                    moved = (n * d + (d + n) * k) * 4
                if line[0] == "elementwise":
                    flops = line[2]
                    moved = line[1] * line[2] * 4 + line[2] * 4
                if line[0] == "sum":
                    flops = line[1]
                    moved = line[1] * 4 + line[2] * 4
                if line[0] == "move":
                    flops = 0
                    moved = line[1] * 8
                least = flops / peak
                if moved / bandwidth > least:
                    least = moved / bandwidth
                best.append(least)
                if most is None or seconds[i] - least > most:
                    which, most = i, seconds[i] - least
            share = seconds[which] / sum(seconds)
            part = best[which] / sum(seconds)
            return best, which, 1 / (1 - share + part)""",
    ),
    wrong=(
        ("a product and a sum are counted as one FLOP", "2 * n * d * k", "n * d * k"),
        ("arithmetic and moving are added; they go on at once",
         "max(flops / peak, 4 * numbers / bandwidth)", "flops / peak + 4 * numbers / bandwidth"),
        ("the shorter of arithmetic and moving is taken",
         "max(flops / peak, 4 * numbers / bandwidth)",
         "min(flops / peak, 4 * numbers / bandwidth)"),
        ("only the arithmetic counts, not the bytes", "max(flops / peak, 4 * numbers / bandwidth)",
         "flops / peak"),
        ("only the bytes count, not the arithmetic", "max(flops / peak, 4 * numbers / bandwidth)",
         "4 * numbers / bandwidth"),
        ("a number is counted as one byte, not four", "4 * numbers / bandwidth",
         "numbers / bandwidth"),
        ("a number is counted as eight bytes, as in float64", "4 * numbers / bandwidth",
         "8 * numbers / bandwidth"),
        ("what a product writes is not counted", "n * d + d * k + n * k", "n * d + d * k"),
        ("what an elementwise line writes is not counted", "n_in * size + size", "n_in * size"),
        ("an elementwise line is said to do one FLOP for each number that it reads",
         "flops, numbers = size, n_in", "flops, numbers = n_in * size, n_in"),
        ("what a sum writes is not counted", "size + left", "size"),
        ("a move reads and does not write", "2 * size", "size"),
        ("the line that takes longest is taken, not the one that can save most",
         "saved.index(max(saved))", "list(seconds).index(max(seconds))"),
        ("the line that is most times slower than its best is taken, not the one that saves most",
         "which = saved.index(max(saved))",
         "ratios = [t / b for t, b in zip(seconds, best)]\n"
         "            which = ratios.index(max(ratios))"),
        ("what a line saves is taken without its sign; one faster than its best saves less than "
         "nothing", "[took - least for", "[abs(took - least) for"),
        ("a line faster than its best is said to save nothing; it saves less than nothing",
         "[took - least for", "[max(0, took - least) for"),
        ("the line that saves least is taken", "saved.index(max(saved))",
         "saved.index(min(saved))"),
        ("all lines are brought to their best, not one", "total / (total - saved[which])",
         "total / sum(best)"),
        ("the speed-up is that of the line, not of the whole", "total / (total - saved[which])",
         "seconds[which] / best[which]"),
        ("the line is said to vanish, and it still takes its best",
         "total / (total - saved[which])", "total / (total - seconds[which] or 1)"),
        ("the saved share is returned, not how many times as fast the whole is",
         "total / (total - saved[which])", "saved[which] / total"),
        ("new time by old is returned, the wrong way round", "total / (total - saved[which])",
         "(total - saved[which]) / total"),
    ),
)  # fmt: skip

TASKS = (COUNT, COPY, SLOPES, MEND)
