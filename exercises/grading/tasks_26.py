"""The tasks of lesson 26: layouts, padding, two Adams, and the layer after Flatten."""

import math

import numpy as np

from .task import Task


def numbers(rng, *shape, scale=1.0):
    return scale * rng.uniform(-3, 3, shape)


# ---- 26.1


def port_cases(rng):
    def case(group, *shapes, names=None):
        kinds = ["bias" if len(shape) == 1 else "weight" for shape in shapes]
        names = names or [f"{i}.{kind}" for i, kind in enumerate(kinds)]
        return group, {name: numbers(rng, *shape) for name, shape in zip(names, shapes)}

    yield "by hand", {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, 6.0])}
    yield case("only a bias", (3,))
    yield case("tables", (2, 3), (2,), (4, 2), (4,))
    yield case("tables", (5, 1), (1, 5))
    yield case("square tables", (3, 3), (3,), (3, 3))
    yield case("square tables", (2, 2))
    yield case("windows over a row", (4, 2, 3), (4,))
    yield case("windows over a row", (3, 3, 3))
    yield case("windows over a row", (2, 1, 4), (1, 2, 4))
    yield case("windows over an image", (5, 2, 3, 4), (5,))
    yield case("windows over an image", (2, 3, 4, 3))
    yield case("all lengths the same", (2, 2, 2, 2), (2, 2, 2), (2, 2), (2,))
    yield case("all lengths the same", (3, 3, 3, 3))
    yield case("all lengths 1", (1, 1, 1, 1), (1, 1, 1), (1, 1), (1,))
    yield case("a whole network", (4, 1, 3, 3), (4,), (6, 4, 3, 3), (6,), (10, 24), (10,))
    yield case("other names", (2, 3), (2, 3, 4), (2,), names=["bias", "z", "0.weight"])
    yield case("other names", (3,), (3, 2), names=["conv.weight", "norm"])
    yield case("many", *[(2, 3), (2,)] * 60)
    yield case("long", (130, 2), (2, 140), (300,))


def port_reference(state):
    found = []
    for a in state.values():
        if a.ndim == 1:
            found.append(a.copy())
            continue
        out, n_in, *size = a.shape
        turned = np.zeros((*size, n_in, out))
        for place in np.ndindex(*a.shape):
            turned[(*place[2:], place[1], place[0])] = a[place]
        found.append(turned)
    return found


PORT = Task(
    id="26.1",
    cases=port_cases,
    reference=port_reference,
    equal=(
        ("swapaxes(2, 1)", "two axes change places, whichever is named first"),
        ("-> found.append(a)", "an array of the state is only read"),
        ("min(a.ndim, 30)", "there are at most four axes"),
        ("if a.ndim == 2: -> if True:", "one axis turned round is itself"),
        ("0, -1), 0, 2)", "of four axes the second last is number 2"),
    ),
    hints=(
        "Keras ends with in, out; PyTorch begins with out, in. What is between stays in its order.",
        "transpose takes the old axes in their new order: 2, 3, ... first, then 1, then 0.",
        "a = a.transpose(*range(2, a.ndim), 1, 0): the star hands on each number of the range.",
    ),
    right=(
        """
        def port(state):
            arrays = []
            for name, a in state.items():
                if a.ndim > 1:
                    a = a.transpose(*range(2, a.ndim), 1, 0)
                arrays.append(a)
            return arrays""",
        """
        def port(state):
            orders = {1: (0,), 2: (1, 0), 3: (2, 1, 0), 4: (2, 3, 1, 0)}
            return [np.transpose(a, orders[a.ndim]) for a in state.values()]""",
        """
        def port(state):
            arrays = []
            for name in state:
                a = state[name]
                if a.ndim == 4:
                    a = np.moveaxis(np.moveaxis(a, 0, -1), 0, -2)
                elif a.ndim == 3:
                    a = np.moveaxis(a, 2, 0).swapaxes(1, 2)
                elif a.ndim == 2:
                    a = a.T
                arrays.append(a)
            return arrays""",
        """
        def port(state):
            found = []
            for a in state.values():
                if len(a.shape) == 1:
                    found.append(a.copy())
                else:
                    found.append(np.einsum("oi...->...io", a))
            return found""",
    ),
    wrong=(
        ("all axes are turned round, so height and width change places",
         "a.transpose(*range(2, a.ndim), 1, 0)", "a.T"),
        ("out comes before in", "*range(2, a.ndim), 1, 0", "*range(2, a.ndim), 0, 1"),
        ("only out goes to the end", "*range(2, a.ndim), 1, 0", "*range(1, a.ndim), 0"),
        ("in and out have changed places, and the window stays behind",
         "*range(2, a.ndim), 1, 0", "1, 0, *range(2, a.ndim)"),
        ("a square table is left as it is, for it fits", "a.ndim > 1",
         "a.ndim > 1 and a.shape[0] != a.shape[-1]"),
        ("only tables are turned", "a.ndim > 1", "a.ndim == 2"),
        ("only windows are turned", "a.ndim > 1", "a.ndim > 2"),
        ("only windows over images are turned", "a.ndim > 1", "a.ndim == 4"),
        ("windows over a row are left as they are", "a.ndim > 1", "a.ndim in (2, 4)"),
        ("the name decides, not the number of axes", "a.ndim > 1",
         'a.ndim > 1 and name.endswith("weight")'),
        ("shapes are changed and the numbers stay in their order",
         "a.transpose(*range(2, a.ndim), 1, 0)", "a.reshape(*a.shape[2:], a.shape[1], a.shape[0])"),
        ("the windows are turned round as well", "a.transpose(*range(2, a.ndim), 1, 0)",
         "a[..., ::-1].transpose(*range(2, a.ndim), 1, 0) if a.ndim > 2 else a.T"),
        ("the arrays come in the order of their names", "state.items()", "sorted(state.items())"),
    ),
)  # fmt: skip

# ---- 26.2


def same_cases(rng):
    def case(group, n_in, size, stride, scale=1.0):
        return group, numbers(rng, n_in, scale=scale), numbers(rng, size), stride

    yield "by hand", np.array([1.0, 2.0, 3.0, 4.0]), np.ones(3), 2
    yield case("one zero, behind", 6, 3, 2)
    yield case("one zero, behind", 4, 2, 1)
    yield case("as many on both sides", 5, 3, 1)
    yield case("as many on both sides", 7, 5, 1)
    yield case("as many on both sides", 5, 3, 2)
    yield case("one more behind", 7, 4, 1)
    yield case("one more behind", 7, 6, 3)
    yield case("one more behind", 9, 4, 1)
    yield case("one more behind", 8, 5, 2)
    yield case("nothing to add", 6, 2, 2)
    yield case("nothing to add", 5, 1, 1)
    yield case("nothing to add", 9, 3, 3)
    yield case("the stride is longer than the window", 7, 2, 3)
    yield case("the stride is longer than the window", 6, 1, 4)
    yield case("the stride is longer than the window", 9, 2, 4)
    yield case("the window is longer than the row", 2, 5, 1)
    yield case("the window is longer than the row", 3, 8, 2)
    yield case("the window is longer than the row", 1, 4, 1)
    yield case("the stride is longer than the row", 3, 2, 5)
    yield case("the stride is longer than the row", 2, 4, 7)
    yield case("one number", 1, 1, 1)
    yield case("one number", 1, 1, 3)
    yield case("large and small", 6, 3, 2, 1e5)
    yield case("large and small", 6, 4, 1, 1e-5)
    yield "zeros at the ends", np.array([0.0, 0.0, 2.0, -1.0, 0.0]), numbers(rng, 3), 1
    yield "zeros at the ends", numbers(rng, 5), np.array([0.0, 2.0, 0.0, 0.0]), 2
    yield case("long", 300, 3, 2)
    yield case("long", 12, 140, 1)
    yield case("long", 280, 4, 130)


def same_reference(x, w, stride):
    n_out = math.ceil(len(x) / stride)
    total = max((n_out - 1) * stride + len(w) - len(x), 0)
    y = []
    for i in range(n_out):
        places = [i * stride - total // 2 + j for j in range(len(w))]
        y.append(sum(w[j] * x[at] for j, at in enumerate(places) if 0 <= at < len(x)))
    return np.array(y, dtype=float)


SAME = Task(
    id="26.2",
    cases=same_cases,
    reference=same_reference,
    equal=(
        ("-> y = np.ones(n_out)", "all of it is written"),
        ("- len(x), 1)", "one zero more behind is not seen, and half of 1 is 0"),
        ("(before, total + before)", "more zeros behind are not seen"),
        ("(before, total))", "more zeros behind are not seen"),
        ("np.zeros(total + total // 2)", "more zeros behind are not seen"),
        ("np.zeros(total)])", "more zeros behind are not seen"),
        ("total - total // 3", "more zeros behind are not seen"),
        ("[w @ padded", "a product of vectors"),
        ("if total >= 0 else 0", "half of 0 is 0"),
        ("if total > 1 else 0", "half of 1, rounded down, is 0"),
        ("found = found + w[j]", "a number"),
        ("return windows[::stride][:] @ w", "there are no more windows"),
        ("[:n_out + 1] @ w", "there are no more windows"),
        ("-> windows = np.lib.stride_tricks.sliding_window_view(padded, len(w)); padded",
         "the windows are views"),
    ),
    hints=(
        "Of an odd total the larger half stands behind x.",
        "before = total // 2; np.pad(x, (before, total - before)) adds the zeros. Then slide.",
        "Place i is padded[i * stride : i * stride + len(w)]; times w, and added up.",
    ),
    right=(
        """
        def convolve_same(x, w, stride):
            n_out = -(-len(x) // stride)
            total = max((n_out - 1) * stride + len(w) - len(x), 0)
            before = total // 2
            padded = np.pad(x, (before, total - before))
            y = np.zeros(n_out)
            for i in range(n_out):
                y[i] = (padded[i * stride : i * stride + len(w)] * w).sum()
            return y""",
        """
        def convolve_same(x, w, stride):
            n_out = int(np.ceil(len(x) / stride))
            total = max((n_out - 1) * stride + len(w) - len(x), 0)
            padded = np.concatenate([np.zeros(total // 2), x, np.zeros(total - total // 2)])
            return [padded[i * stride :][: len(w)] @ w for i in range(n_out)]""",
        """
        def convolve_same(x, w, stride):
            n_out = (len(x) + stride - 1) // stride
            total = (n_out - 1) * stride + len(w) - len(x)
            before = total // 2 if total > 0 else 0
            y = []
            for i in range(n_out):
                found = 0.0
                for j in range(len(w)):
                    at = i * stride + j - before
                    if 0 <= at < len(x):
                        found += w[j] * x[at]
                y.append(found)
            return y""",
        """
        def convolve_same(x, w, stride):
            n_out = -(-len(x) // stride)
            total = max((n_out - 1) * stride + len(w) - len(x), 0)
            padded = np.zeros(len(x) + total)
            padded[total // 2 : total // 2 + len(x)] = x
            windows = np.lib.stride_tricks.sliding_window_view(padded, len(w))
            return windows[::stride][:n_out] @ w""",
    ),
    wrong=(
        ("the larger half of the zeros stands before", "before = total // 2",
         "before = total - total // 2"),
        ("all zeros stand behind", "before = total // 2", "before = 0"),
        ("all zeros stand before", "before = total // 2", "before = total"),
        ("zeros are added as PyTorch does, half a window at each end, whatever the stride is",
         "before = total // 2\n            padded = np.pad(x, (before, total - before))",
         "before = len(w) // 2\n            padded = np.pad(x, (before, total + len(w)))"),
        ("the window is turned round, as in a convolution of mathematics", "* w).sum()",
         "* w[::-1]).sum()"),
        ("the stride is left out", "padded[i * stride : i * stride + len(w)]",
         "padded[i : i + len(w)]"),
        ("the total is that of stride 1", "(n_out - 1) * stride + len(w) - len(x)", "len(w) - 1"),
        ("stride 1 is computed and every stride-th place kept: the zeros depend on the stride",
         '''
        def convolve_same(x, w, stride):
            return np.convolve(x, w[::-1], "same")[::stride]'''),
        ("the ends are padded with the row's own last numbers, not with zeros",
         "(before, total - before))", '(before, total - before), mode="edge")'),
        ("the window is a stride too far on", "padded[i * stride : i * stride + len(w)]",
         "np.pad(padded, (0, stride))[(i + 1) * stride : (i + 1) * stride + len(w)]"),
        ("the products are averaged, not added up", "* w).sum()", "* w).mean()"),
        ("the stride is applied to every second place only from the end",
         "return y", "return y[::-1]"),
    ),
)  # fmt: skip

# ---- 26.3


def train_cases(rng):
    def case(group, d, t, rate, eps, decay, keras, scale=1.0):
        return group, numbers(rng, d), numbers(rng, t, d, scale=scale), rate, eps, decay, keras

    for keras in (False, True):
        yield "by hand", np.array([1.0]), np.zeros((1, 1)), 0.1, 1e-7, 0.5, keras
    for keras in (False, True):
        yield case("one step", 3, 1, 0.1, 1e-8, 0.0, keras)
        yield case("several steps", 3, 4, 0.1, 1e-8, 0.0, keras)
        yield case("several steps", 1, 7, 0.01, 1e-7, 0.0, keras)
        yield case("with decay", 2, 1, 0.1, 1e-7, 0.3, keras)
        yield case("with decay", 4, 5, 0.05, 1e-8, 0.1, keras)
        yield case("with decay", 3, 3, 1.0, 1e-3, 1.0, keras)
        yield case("eps counts", 3, 1, 0.1, 1e-7, 0.0, keras, 1e-6)
        yield case("eps counts", 3, 6, 1.0, 1e-7, 0.0, keras, 1e-7)
        yield case("eps counts", 2, 4, 0.5, 1e-2, 0.0, keras, 1e-2)
        yield case("eps counts", 2, 3, 0.5, 1e-8, 0.0, keras, 1e-9)
        yield case("a large eps", 2, 5, 0.5, 1.0, 0.2, keras)
        yield case("large gradients", 3, 3, 0.1, 1e-8, 0.0, keras, 1e5)
        still = numbers(rng, 5, 3)
        still[:, 1] = 0.0
        yield "gradients of 0", numbers(rng, 3), still, 0.1, 1e-8, 0.0, keras
        yield "gradients of 0", numbers(rng, 2), np.zeros((3, 2)), 0.1, 1e-8, 0.2, keras
        yield "at 0", np.array([0.0, 2.0]), numbers(rng, 3, 2), 0.1, 1e-8, 0.2, keras
        still = numbers(rng, 6, 2)
        still[2:4] = 0.0
        yield "gradients of 0", numbers(rng, 2), still, 0.1, 1e-8, 0.0, keras
        yield "no step", numbers(rng, 3), np.zeros((0, 3)), 0.1, 1e-8, 0.5, keras
        yield case("many steps", 1, 140, 0.02, 1e-8, 0.01, keras)
        yield case("many parameters", 140, 2, 0.1, 1e-8, 0.1, keras)


def train_reference(p, gradients, rate, eps, decay, keras):
    found = []
    for i, value in enumerate(p.tolist()):
        mean = square = 0.0
        for t, g in enumerate(gradients[:, i].tolist(), start=1):
            if keras:
                value *= 1 - rate * decay
            else:
                g += decay * value
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            root = math.sqrt(1 - 0.999**t)
            bottom = math.sqrt(square) / root + (eps / root if keras else eps)
            value -= rate * mean / (1 - 0.9**t) / bottom
        found.append(value)
    return np.array(found)


TRAIN = Task(
    id="26.3",
    cases=train_cases,
    reference=train_reference,
    equal=(
        ("-> p -= rate * np.sqrt(second)", "p is an array of its own by then"),
        ("-> rate = abs(rate)", "rate is above 0"),
        ("-> eps = abs(eps)", "eps is above 0"),
        ("-> decay = abs(decay)", "decay is from 0"),
        ("-> m = m + 0.1 * (g - m)", "an array of its own"),
        ("-> s = s + 0.001 * (g * g - s)", "an array of its own"),
        ("-> p = p - rate * m / (1 - 0.9 ** (i + 1))", "an array of its own"),
        ("-> p = p * (1 - rate * decay)", "an array of its own"),
        ("(p.copy(), 0.0, 0.0 * p)", "a 0 is as good as an array of them"),
        ("(p.copy(), 0.0 * p, 0.0)", "a 0 is as good as an array of them"),
        ("-> return found", "a list is as good"),
        ("-> g += decay * w", "a number"),
        ("-> w -= rate", "a number"),
    ),
    hints=(
        "Write PyTorch's first, without decay; then see what two lines are otherwise in Keras.",
        "Decay goes into g before m and s are made (PyTorch), or off p, and g does not hear of it.",
        "PyTorch: p - rate * (m / first) / (np.sqrt(s / second) + eps), with first = 1 - 0.9**t "
        "and second = 1 - 0.999**t; Keras: p - rate * np.sqrt(second) / first * m / (np.sqrt(s) + "
        "eps).",
    ),
    right=(
        """
        def train(p, gradients, rate, eps, decay, keras):
            m, s = np.zeros(len(p)), np.zeros(len(p))
            for t, g in enumerate(gradients, start=1):
                if keras:
                    p = p - rate * decay * p
                else:
                    g = g + decay * p
                m = 0.9 * m + 0.1 * g
                s = 0.999 * s + 0.001 * g**2
                first, second = 1 - 0.9**t, 1 - 0.999**t
                if keras:
                    p = p - rate * np.sqrt(second) / first * m / (np.sqrt(s) + eps)
                else:
                    p = p - rate * (m / first) / (np.sqrt(s / second) + eps)
            return p""",
        """
        def train(p, gradients, rate, eps, decay, keras):
            p, m, s = p.copy(), 0.0 * p, 0.0 * p
            for i in range(len(gradients)):
                g = gradients[i] if keras else gradients[i] + decay * p
                m += 0.1 * (g - m)
                s += 0.001 * (g * g - s)
                root = np.sqrt(1 - 0.999 ** (i + 1))
                if keras:
                    p *= 1 - rate * decay
                    small = eps / root
                else:
                    small = eps
                p -= rate * m / (1 - 0.9 ** (i + 1)) / (np.sqrt(s) / root + small)
            return p""",
        """
        def train(p, gradients, rate, eps, decay, keras):
            found = []
            for d in range(len(p)):
                w, m, s, b1, b2 = float(p[d]), 0.0, 0.0, 1.0, 1.0
                for g in gradients[:, d]:
                    b1, b2 = b1 * 0.9, b2 * 0.999
                    if not keras:
                        g = g + decay * w
                    m = 0.9 * m + 0.1 * g
                    s = 0.999 * s + 0.001 * g * g
                    if keras:
                        w = w - rate * decay * w
                        w = w - rate * (1 - b2) ** 0.5 / (1 - b1) * m / (s**0.5 + eps)
                    else:
                        w = w - rate * m / (1 - b1) / ((s / (1 - b2)) ** 0.5 + eps)
                found.append(w)
            return np.array(found)""",
    ),
    wrong=(
        ("eps stands where PyTorch has it in both",
         "p - rate * np.sqrt(second) / first * m / (np.sqrt(s) + eps)",
         "p - rate * (m / first) / (np.sqrt(s / second) + eps)"),
        ("eps stands where Keras has it in both",
         "p - rate * (m / first) / (np.sqrt(s / second) + eps)",
         "p - rate * np.sqrt(second) / first * m / (np.sqrt(s) + eps)"),
        ("keras is read the other way round", "if keras:", "if not keras:"),
        ("decay goes into the gradient in both",
         "if keras:\n                    p = p - rate * decay * p\n                else:\n"
         "                    g = g + decay * p", "g = g + decay * p"),
        ("decay is taken off p in both",
         "if keras:\n                    p = p - rate * decay * p\n                else:\n"
         "                    g = g + decay * p", "p = p - rate * decay * p"),
        ("PyTorch's decay is multiplied by the rate as well", "g = g + decay * p",
         "g = g + rate * decay * p"),
        ("Keras's decay is taken off after the step, not before",
         "p = p - rate * decay * p\n                else",
         "p = p\n                else",
         "m / (np.sqrt(s) + eps)\n",
         "m / (np.sqrt(s) + eps)\n                    p = p - rate * decay * p\n"),
        ("decay always pulls with the first p, not the one that is there",
         "m, s = np.zeros(len(p)), np.zeros(len(p))",
         "start, m, s = p, np.zeros(len(p)), np.zeros(len(p))",
         "p - rate * decay * p", "p - rate * decay * start", "g + decay * p", "g + decay * start"),
        ("there is no decay",
         "if keras:\n                    p = p - rate * decay * p\n                else:\n"
         "                    g = g + decay * p\n                ", ""),
        ("there is no decay in PyTorch's",
         "                else:\n                    g = g + decay * p\n", ""),
        ("there is no decay in Keras's", "p = p - rate * decay * p", "p = p"),
        ("Keras's decay forgets the rate", "p - rate * decay * p", "p - decay * p"),
        ("steps are counted from 0, with a one at the first", "enumerate(gradients, start=1):",
         "enumerate(gradients):\n                t = max(t, 1)"),
        ("eps stands under the root", "(np.sqrt(s / second) + eps)", "np.sqrt(s / second + eps)",
         "(np.sqrt(s) + eps)", "np.sqrt(s + eps)"),
        ("the means are not corrected", "first, second = 1 - 0.9**t, 1 - 0.999**t",
         "first, second = 1.0, 1.0"),
        ("the root over the second correction is missing in Keras", "np.sqrt(second) / first",
         "second / first"),
        ("the shares of the two means have changed places", "0.9 * m + 0.1 * g",
         "0.999 * m + 0.001 * g", "0.999 * s + 0.001 * g**2", "0.9 * s + 0.1 * g**2"),
        ("the gradient's sign alone is used", "0.1 * g\n", "0.1 * np.sign(g)\n"),
        ("the root of the mean square is missing", "(np.sqrt(s / second) + eps)",
         "(s / second + eps)", "(np.sqrt(s) + eps)", "(s + eps)"),
        ("the decay in the gradient does not reach the mean square",
         "g = g + decay * p\n                m = 0.9 * m + 0.1 * g",
         "m = m + 0.1 * decay * p\n                m = 0.9 * m + 0.1 * g"),
    ),
)  # fmt: skip

# ---- 26.4


def flatten_cases(rng):
    def case(group, n_out, c, h, w, scale=1.0):
        return group, numbers(rng, n_out, c * h * w, scale=scale), c, h, w

    yield "by hand", np.array([[1.0, 2.0, 3.0, 4.0]]), 2, 1, 2
    yield case("several outputs", 3, 2, 3, 4)
    yield case("several outputs", 2, 4, 2, 3)
    yield case("several outputs", 5, 3, 4, 2)
    yield case("one output", 1, 3, 2, 4)
    yield case("one output", 1, 2, 4, 3)
    yield case("square images", 2, 3, 2, 2)
    yield case("square images", 4, 2, 3, 3)
    yield case("all lengths the same", 2, 2, 2, 2)
    yield case("all lengths the same", 3, 3, 3, 3)
    yield case("a square weight", 12, 3, 2, 2)
    yield case("a square weight", 8, 2, 4, 1)
    yield case("one channel", 3, 1, 3, 2)
    yield case("one pixel", 3, 4, 1, 1)
    yield case("one row or one column", 2, 3, 1, 4)
    yield case("one row or one column", 2, 3, 4, 1)
    yield case("one number", 1, 1, 1, 1)
    yield case("many", 130, 2, 3, 2)
    yield case("many", 2, 140, 2, 3)
    yield case("many", 1, 2, 3, 150)
    yield case("many", 1, 2, 140, 2)
    yield case("large numbers", 2, 3, 2, 4, 1e5)


def flatten_reference(weight, c, h, w):
    kernel = np.zeros((h * w * c, len(weight)))
    for k in range(c):
        for i in range(h):
            for j in range(w):
                kernel[(i * w + j) * c + k] = weight[:, (k * h + i) * w + j]
    return kernel


FLATTEN = Task(
    id="26.4",
    cases=flatten_cases,
    reference=flatten_reference,
    equal=(
        ("-> by_place = weight.reshape(len(weight), c, w, h)", "the places of a channel stay in "
         "their order, however they are cut into rows"),
        ("np.arange(c * h * w).reshape(c, w, h)", "the places of a channel stay in their order, "
         "however they are cut into rows"),
        ("-> return rows", "a list is as good"),
    ),
    hints=(
        "A row of weights is an image too: one number for each channel, row and column.",
        "Give the weight its four axes back, (n_out, C, H, W), put them into the order H, W, C, "
        "n_out, and flatten the first three.",
        "weight.reshape(n_out, c, h, w).transpose(2, 3, 1, 0).reshape(h * w * c, n_out).",
    ),
    right=(
        """
        def after_flatten(weight, c, h, w):
            by_place = weight.reshape(len(weight), c, h, w)
            return by_place.transpose(2, 3, 1, 0).reshape(h * w * c, len(weight))""",
        """
        def after_flatten(weight, c, h, w):
            order = np.arange(c * h * w).reshape(c, h, w).transpose(1, 2, 0).ravel()
            return weight[:, order].T""",
        """
        def after_flatten(weight, c, h, w):
            rows = []
            for i in range(h):
                for j in range(w):
                    for k in range(c):
                        rows.append(weight[:, k * h * w + i * w + j])
            return np.array(rows)""",
        """
        def after_flatten(weight, c, h, w):
            images = weight.T.reshape(c, h * w, -1)
            return np.concatenate([images[:, at] for at in range(h * w)])""",
    ),
    wrong=(
        ("the weight is only turned, and the pixels stay in PyTorch's order",
         "by_place.transpose(2, 3, 1, 0).reshape(h * w * c, len(weight))", "weight.T"),
        ("the shape is changed, and the numbers stay where they are",
         "by_place.transpose(2, 3, 1, 0).reshape", "by_place.reshape"),
        ("the weight is not turned: (n_out, H W C)",
         "transpose(2, 3, 1, 0).reshape(h * w * c, len(weight))",
         "transpose(0, 2, 3, 1).reshape(len(weight), h * w * c)"),
        ("height and width have changed places", "transpose(2, 3, 1, 0)", "transpose(3, 2, 1, 0)"),
        ("the outputs come before the channels", "transpose(2, 3, 1, 0)", "transpose(2, 3, 0, 1)"),
        ("only the first output is carried over, the rest stays 0",
         "return by_place",
         "by_place = by_place * (np.arange(len(weight)) == 0)[:, None, None, None]\n"
         "            return by_place"),
        ("the way back: from Keras's order to PyTorch's", "weight.reshape(len(weight), c, h, w)",
         "weight.reshape(len(weight), h, w, c)", "transpose(2, 3, 1, 0)", "transpose(3, 1, 2, 0)"),
        ("a weight that is square is left as it is",
         "return by_place", "if len(weight) == c * h * w:\n                return weight\n"
         "            return by_place"),
        ("the rows of the image are taken as its columns: (C, W, H)",
         "weight.reshape(len(weight), c, h, w)", "weight.reshape(len(weight), c, w, h)",
         "transpose(2, 3, 1, 0)", "transpose(3, 2, 1, 0)"),
        ("each channel is turned upside down", "by_place.transpose",
         "by_place[:, :, ::-1].transpose"),
    ),
)  # fmt: skip

TASKS = [PORT, SAME, TRAIN, FLATTEN]
