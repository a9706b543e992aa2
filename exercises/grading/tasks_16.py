"""The tasks of lesson 16: a padded batch, back through time, an LSTM, writing, forgetting."""

import math

import numpy as np

from .task import Task

# ---- 16.1


def read_cases(rng):
    def case(group, lengths, last, d, h, padding="nan", scale=1.0, kind="int64"):
        n = len(lengths)
        x = (scale * rng.normal(size=(n, last, d))).round(3)
        for i, length in enumerate(lengths):
            if padding == "nan":
                x[i, length:] = np.nan
            elif padding != "numbers":
                x[i, length:] = padding
        w_x, w_h, b = (rng.normal(0, 0.7, s).round(3) for s in ((d, h), (h, h), (h,)))
        return group, x, np.array(lengths, kind), w_x, w_h, b

    yield case("no padding", [2], 2, 1, 1)
    yield case("no padding", [3, 3], 3, 2, 3)
    yield case("padding of zeros", [1, 3, 2], 3, 2, 2, 0.0)
    yield case("padding of zeros", [4, 2], 5, 1, 3, 0.0)
    yield case("padding of numbers", [2, 4, 1, 3], 4, 3, 2, "numbers")
    yield case("padding of numbers", [1, 2], 3, 2, 2, 1e6)
    yield case("padding of nan", [2, 4, 1, 3], 4, 2, 3)
    yield case("padding of nan", [1, 1, 1], 4, 2, 2)
    yield case("padding of nan", [2], 3, 1, 2)
    yield case("longer than all lengths", [2, 3], 6, 2, 2)
    yield case("as many states as features", [3, 1, 2], 3, 3, 3)
    yield case("long", [130, 150, 7], 150, 2, 3)
    yield case("long", [299, 1], 300, 1, 2)
    yield case("many", rng.integers(1, 5, 140).tolist(), 5, 3, 4)
    yield case("many", [2, 1], 3, 25, 3)
    yield case("many", [2, 3], 3, 2, 24)
    yield case("small and large inputs", [3, 2], 4, 2, 2, "nan", 1e-4)
    yield case("small and large inputs", [3, 2], 4, 2, 2, "nan", 100.0)
    yield case("other whole numbers", [2, 3], 4, 2, 2, "nan", 1.0, "int8")
    yield case("other whole numbers", [140, 3], 150, 1, 2, "nan", 1.0, "uint8")


def read_reference(x, lengths, w_x, w_h, b):
    n, last, d = x.shape
    size = len(b)
    outputs, ends = np.zeros((n, last, size)), np.zeros((n, size))
    for i in range(n):
        h = [0.0] * size
        for t in range(int(lengths[i])):
            h = [
                math.tanh(
                    math.fsum(x[i, t, m] * w_x[m, j] for m in range(d))
                    + math.fsum(h[m] * w_h[m, j] for m in range(size))
                    + b[j]
                )
                for j in range(size)
            ]
            outputs[i, t] = h
        ends[i] = h
    return outputs, ends


READ = Task(
    id="16.1",
    replaces="nn.recurrent.RNN.forward",
    cases=read_cases,
    reference=read_reference,
    equal=(
        ("outputs = np.ones((n, last, len(b)))", "every place is written"),
        ("0 for what in `x` is no finite number", "only padding is no number"),
        ("lengths = abs(lengths)", "a length is at least 1"),
        ("the order turned round", "no sequence needs another"),
    ),
    hints=(
        "At step t, which sequences still have an element? Those whose length is above t.",
        "real = (t < lengths)[:, None] is (N, 1). Where it is True, the state is the new one, "
        "else it stays as it was; and the output is the new one, else 0.",
        "h = np.where(real, new, h); outputs[:, t] = np.where(real, new, 0.0).",
    ),
    right=(
        """
        def read(x, lengths, w_x, w_h, b):
            n, last, _ = x.shape
            h = np.zeros((n, len(b)))
            outputs = np.zeros((n, last, len(b)))
            for t in range(last):
                new = np.tanh(x[:, t] @ w_x + h @ w_h + b)
                real = (t < lengths)[:, None]
                h = np.where(real, new, h)
                outputs[:, t] = np.where(real, new, 0.0)
            return outputs, h""",
        """
        def read(x, lengths, w_x, w_h, b):
            outputs = np.zeros((*x.shape[:2], len(b)))
            ends = np.zeros((len(x), len(b)))
            for n, length in enumerate(lengths):
                for t in range(length):
                    ends[n] = np.tanh(x[n, t] @ w_x + ends[n] @ w_h + b)
                    outputs[n, t] = ends[n]
            return outputs, ends""",
        """
        def read(x, lengths, w_x, w_h, b):
            h = np.zeros((len(x), len(b)))
            outputs = []
            for t in range(x.shape[1]):
                going = lengths > t
                h[going] = np.tanh(x[going, t] @ w_x + h[going] @ w_h + b)
                outputs.append(h * going[:, None])
            return np.stack(outputs, axis=1), h""",
    ),
    wrong=(
        ("the padding is read like anything else",
         "real = (t < lengths)[:, None]", "real = np.full((n, 1), True)"),
        ("the state goes on in the padding; only the outputs are 0",
         "h = np.where(real, new, h)", "h = new"),
        ("outputs of padding repeat the last state; they are 0",
         "np.where(real, new, 0.0)", "h"),
        ("the padding's outputs are not made 0", "np.where(real, new, 0.0)", "new"),
        ("one element of padding is read: t is compared with <=", "t < lengths", "t <= lengths"),
        ("the last element of each sequence is left out", "t < lengths", "t < lengths - 1"),
        ("the padding is multiplied by 0; nan times 0 is nan",
         "np.where(real, new, 0.0)", "new * real"),
        ("the last states are the outputs at the last place of the table, or became 0 there",
         "return outputs, h", "return outputs, outputs[:, -1]"),
        ("all sequences end where the longest does",
         "t < lengths", "t < lengths.max() + 0 * lengths"),
        ("all sequences end where the shortest does",
         "t < lengths", "t < lengths.min() + 0 * lengths"),
        ("the bias is left out", "h @ w_h + b", "h @ w_h"),
        ("the state is left out: each element is read alone", "h @ w_h + b", "b"),
        ("the weights of the state are transposed", "h @ w_h", "h @ w_h.T"),
        ("the tanh is left out", "np.tanh(x[:, t] @ w_x + h @ w_h + b)",
         "(x[:, t] @ w_x + h @ w_h + b)"),
        ("the sequences are read backwards", "x[:, t] @ w_x", "x[:, last - 1 - t] @ w_x"),
        ("the outputs come with time first, (T, N, H)",
         "return outputs, h", "return outputs.transpose(1, 0, 2), h"),
        ("outputs and last states are swapped", "return outputs, h", "return h, outputs"),
        ("the new state is multiplied by 0 in the padding; nan times 0 is nan",
         "h = np.where(real, new, h)", "h = real * new + (1 - real) * h"),
        ("0 times nan is nan: choose with np.where, do not multiply",
         "h = np.where(real, new, h)", "h = real * new + (1 - real) * h",
         "np.where(real, new, 0.0)", "real * new"),
        ("the outputs are cut off behind the longest sequence; the table keeps its T places",
         "return outputs, h", "return outputs[:, : lengths.max()], h"),
        ("x is changed: its padding is made 0 in place", "h = np.zeros((n, len(b)))",
         "h = np.zeros((n, len(b))); x[np.isnan(x)] = 0"),
        ("float32 is used, which is not precise enough", "h = np.zeros((n, len(b)))",
         'h = np.zeros((n, len(b)), "float32"); x, w_x, w_h, b = '
         '(v.astype("float32") for v in (x, w_x, w_h, b))'),
        ("lengths are guessed from nan; padding may be any number",
         "h = np.zeros((n, len(b)))",
         "h = np.zeros((n, len(b))); lengths = (~np.isnan(x[:, :, 0])).sum(axis=1)"),
    ),
)  # fmt: skip

# ---- 16.2


def back_cases(rng):
    def case(group, last, w_x, w_h, b, only_last=False, scale=1.0):
        x = (scale * rng.normal(size=last)).round(3)
        g = rng.normal(size=last).round(3)
        if only_last:
            g[:-1] = 0.0
        return group, g, x, w_x, w_h, b

    def w(size=0.8):
        return round(float(rng.choice([-1, 1]) * rng.uniform(0.3, size)), 3)

    yield "one step", np.array([2.0]), np.array([1.0]), 0.5, 0.3, 0.0
    yield case("one step", 1, w(), w(), w())
    yield case("the last state counts", 3, 1.0, 2.0, 0.0, True)
    yield case("the last state counts", 5, w(), w(), w(), True)
    yield case("every state counts", 2, w(), w(), w())
    yield case("every state counts", 4, w(), w(), w())
    yield case("every state counts", 9, w(), -0.9, 0.0)
    first = np.array([1.5, 0.0, 0.0])
    yield "the first state counts", first, np.array([1.0, 2.0, 3.0]), 0.4, 0.7, 0.1
    yield "two equal inputs", np.array([1.0, 1.0]), np.array([0.5, 0.5]), 0.6, 0.9, 0.2
    yield case("large weights", 6, 2.5, 3.0, -1.0)
    yield case("large weights", 7, 0.1, -2.0, 0.3)
    yield case("a weight of 0", 4, w(), 0.0, w())
    yield case("a weight of 0", 4, 0.0, w(), w())
    yield case("large inputs", 4, w(), w(), w(), False, 20.0)
    yield case("large inputs", 4, 1e-3, w(), w(), False, 1e4)
    yield case("long", 150, 0.6, 0.97, 0.01)
    yield case("long", 400, 0.3, -1.1, 0.1)
    yield case("long", 130, 0.001, 1.0, 0.0, True)
    yield "no step", np.zeros(0), np.zeros(0), 0.5, 0.5, 0.5


def back_reference(g, x, w_x, w_h, b):
    """Forward: each state carries its slopes along."""
    h, slopes, total = 0.0, [0.0, 0.0, 0.0], [[], [], []]
    for sent, value in zip(g.tolist(), x.tolist()):
        a = w_x * value + w_h * h + b
        bend = 1 / math.cosh(a) ** 2 if abs(a) < 300 else 0.0
        slopes = [bend * (own + w_h * old) for own, old in zip((value, h, 1.0), slopes)]
        h = math.tanh(a)
        for parts, slope in zip(total, slopes):
            parts.append(sent * slope)
    return tuple(math.fsum(parts) for parts in total)


BACK = Task(
    id="16.2",
    cases=back_cases,
    reference=back_reference,
    equal=(
        ("the two sides of `@` exchanged", "both are vectors"),
        ("found += sent * slopes", "nobody else holds the array"),
        ("a new value made", "a number is not changed in place"),
    ),
    hints=(
        "Walk from the last step to the first. The gradient at a state is what the loss sends it "
        "directly, plus what comes back from the next state.",
        "Inside the tanh it is d = (g[t - 1] + later) * (1 - h[t] ** 2), where h[t] belongs to "
        "x[t - 1] and g[t - 1]. To the state before goes d * w_h.",
        "to_w_x += d * x[t - 1]; to_w_h += d * h[t - 1]; to_b += d; later = d * w_h.",
    ),
    right=(
        """
        def back(g, x, w_x, w_h, b):
            h = [0.0]
            for value in x:
                h.append(np.tanh(w_x * value + w_h * h[-1] + b))
            to_w_x = to_w_h = to_b = 0.0
            later = 0.0
            for t in range(len(x), 0, -1):
                d = (g[t - 1] + later) * (1 - h[t] ** 2)
                to_w_x += d * x[t - 1]
                to_w_h += d * h[t - 1]
                to_b += d
                later = d * w_h
            return to_w_x, to_w_h, to_b""",
        """
        def back(g, x, w_x, w_h, b):
            h = np.zeros(len(x) + 1)
            for t in range(len(x)):
                h[t + 1] = np.tanh(w_x * x[t] + w_h * h[t] + b)
            d = np.zeros(len(x) + 1)
            for t in reversed(range(len(x))):
                d[t] = (g[t] + w_h * d[t + 1]) * (1 - h[t + 1] ** 2)
            return d[:-1] @ x, d[:-1] @ h[:-1], d.sum()""",
        """
        def back(g, x, w_x, w_h, b):
            h, slopes, found = 0.0, np.zeros(3), np.zeros(3)
            for sent, value in zip(g, x):
                own = np.array([value, h, 1.0])
                h = np.tanh(w_x * value + w_h * h + b)
                slopes = (1 - h**2) * (own + w_h * slopes)
                found = found + sent * slopes
            return tuple(found)""",
    ),
    wrong=(
        ("nothing comes back from later states", "(g[t - 1] + later)", "g[t - 1]"),
        ("only the last state's own gradient counts", "(g[t - 1] + later)",
         "(g[t - 1] * (t == len(x)) + later)"),
        ("the slope of the tanh is left out", " * (1 - h[t] ** 2)", ""),
        ("the slope of the tanh is taken at the state before",
         "1 - h[t] ** 2", "1 - h[t - 1] ** 2"),
        ("the slope of the tanh is taken as 1 - h", "1 - h[t] ** 2", "1 - h[t]"),
        ("w_h's parts are multiplied with the state after, not before",
         "d * h[t - 1]", "d * h[t]"),
        ("w_h's parts are multiplied with the input", "d * h[t - 1]", "d * x[t - 1]"),
        ("what goes back is not multiplied with w_h", "later = d * w_h", "later = d"),
        ("what goes back is multiplied with w_x", "later = d * w_h", "later = d * w_x"),
        ("what goes back is multiplied with w_h once for every step in between, twice over",
         "later = d * w_h", "later = d * w_h * w_h"),
        ("the parts of the steps overwrite each other; they add up",
         "to_w_x += d", "to_w_x = d", "to_w_h += d", "to_w_h = d", "to_b += d", "to_b = d"),
        ("the gradients of the last step alone are returned", "range(len(x), 0, -1)",
         "range(len(x), max(len(x) - 1, 0), -1)"),
        ("the walk stops after three steps", "range(len(x), 0, -1)",
         "range(len(x), max(len(x) - 3, 0), -1)"),
        ("the first step is left out", "range(len(x), 0, -1)", "range(len(x), 1, -1)"),
        ("the walk goes forward in time", "range(len(x), 0, -1)", "range(1, len(x) + 1)"),
        ("the gradient for the bias is that of one step", "to_b += d", "to_b = d"),
        ("g is read in the wrong order", "g[t - 1]", "g[len(x) - t]"),
        ("w_x and w_h are swapped in the result", "return to_w_x, to_w_h", "return to_w_h, to_w_x"),
        ("the bias gets only what the loss sends directly", "to_b += d",
         "to_b += g[t - 1] * (1 - h[t] ** 2)"),
        ("what comes back from later is not multiplied by the tanh's slope",
         "(g[t - 1] + later) * (1 - h[t] ** 2)", "g[t - 1] * (1 - h[t] ** 2) + later"),
        ("the gradient is clipped on the way back", "later = d * w_h",
         "later = np.clip(d * w_h, -1, 1)"),
        ("the slopes are measured with a small step, which is not precise enough",
         """
        def back(g, x, w_x, w_h, b):
            def loss(w_x, w_h, b):
                h, total = 0.0, 0.0
                for sent, value in zip(g, x):
                    h = np.tanh(w_x * value + w_h * h + b)
                    total += sent * h
                return total

            p, found = np.array([w_x, w_h, b]), []
            for step in 1e-5 * np.eye(3):
                found.append((loss(*(p + step)) - loss(*(p - step))) / 2e-5)
            return tuple(found)"""),
        ("the parts are averaged over the steps; they add up", "return to_w_x, to_w_h, to_b",
         "n = max(len(x), 1); return to_w_x / n, to_w_h / n, to_b / n"),
    ),
)  # fmt: skip

# ---- 16.3


def step_cases(rng):
    def case(group, n, d, size, scale=1.0, memory=1.0):
        x = (scale * rng.normal(size=(n, d))).round(3)
        h = rng.uniform(-1, 1, (n, size)).round(3)
        c = (memory * rng.normal(size=(n, size))).round(3)
        shapes = (d, 4 * size), (size, 4 * size), (4 * size,)
        return group, x, h, c, *(rng.normal(size=shape).round(3) for shape in shapes)

    def scores(group, values, memory):
        """One element of a size such that the four scores are these."""
        size = len(memory)
        x, h, w = np.zeros((1, 1)), np.zeros((1, size)), np.zeros((1, 4 * size))
        return group, x, h, np.array([memory]), w, np.zeros((size, 4 * size)), np.array(values)

    yield scores("by hand", [0.0, 1000.0, 1000.0, -1000.0], [3.0])
    yield scores("by hand", [1.0, -1.0, 0.5, 2.0], [-2.0])
    yield case("one number", 1, 1, 1)
    yield case("several", 2, 3, 2)
    yield case("several", 3, 2, 4)
    yield case("several", 4, 3, 3)
    yield case("one sequence", 1, 3, 2)
    yield case("one feature, one state", 3, 1, 2)
    yield case("one feature, one state", 3, 2, 1)
    yield case("a large memory", 2, 2, 2, 1.0, 30.0)
    yield scores("a large memory", [0.5, 3.0, 0.1, 1.0], [60.0])
    yield scores("a large memory", [0.5, 900.0, 0.1, -1.0], [-1e6])
    yield case("a small memory", 2, 2, 2, 1.0, 1e-3)
    yield case("small scores", 2, 2, 2, 1e-3)
    far = rng.uniform(700, 999, 8).round(1) * rng.choice([-1.0, 1.0], 8)
    yield scores("scores far from 0", far.tolist(), [1.5, -0.5])
    yield scores("scores far from 0", (-far).tolist(), [1.5, -0.5])
    yield scores("scores far from 0", [-40.0, 40.0, -40.0, 800.0], [0.25])
    yield scores("scores far from 0", [-1000.0, -1000.0, 3.0, 1000.0], [2.0])
    yield scores("scores far from 0", [800.0, 900.0, 0.7, 950.0], [0.4])
    yield case("many", 150, 3, 2)
    yield case("many", 2, 2, 40)
    yield case("many", 2, 30, 2)
    group, x, h, *others = case("states above 1", 2, 2, 3)
    signs = np.array([[1, -1, 1], [-1, 1, -1]])
    yield group, x, (1.1 + 3 * abs(h)) * signs, *others


def step_reference(x, h, c, w_x, w_h, b):
    def sigmoid(s):
        return 1 / (1 + math.exp(-s)) if s > 0 else math.exp(s) / (1 + math.exp(s))

    n, size = h.shape
    new_h, new_c = np.zeros((n, size)), np.zeros((n, size))
    for i in range(n):
        for j in range(size):
            s = [
                b[m]
                + math.fsum(x[i, k] * w_x[k, m] for k in range(x.shape[1]))
                + math.fsum(h[i, k] * w_h[k, m] for k in range(size))
                for m in (j, size + j, 2 * size + j, 3 * size + j)
            ]
            new_c[i, j] = sigmoid(s[1]) * c[i, j] + sigmoid(s[0]) * math.tanh(s[2])
            new_h[i, j] = sigmoid(s[3]) * math.tanh(new_c[i, j])
    return new_h, new_c


STEP = Task(
    id="16.3",
    replaces="nn.recurrent.lstm",
    cases=step_cases,
    reference=step_reference,
    equal=(
        ("`over='ignore'` left out", "a warning changes no result"),
        ("scores >= 0", "at 0 both sides are a half"),
    ),
    hints=(
        "First all four blocks at once: x @ w_x + h @ w_h + b is (N, 4 H).",
        "Cut it with np.split(..., 4, axis=1). Three blocks go through a sigmoid; for scores far "
        "from 0, (1 + tanh(s / 2)) / 2 is the same and overflows nowhere.",
        "c = sigmoid(keep) * c + sigmoid(fill) * np.tanh(new); h = sigmoid(show) * np.tanh(c).",
    ),
    right=(
        """
        def lstm_step(x, h, c, w_x, w_h, b):
            def sigmoid(s):
                return (1 + np.tanh(s / 2)) / 2

            fill, keep, new, show = np.split(x @ w_x + h @ w_h + b, 4, axis=1)
            c = sigmoid(keep) * c + sigmoid(fill) * np.tanh(new)
            return sigmoid(show) * np.tanh(c), c""",
        """
        def lstm_step(x, h, c, w_x, w_h, b):
            n, size = c.shape
            s = np.concatenate([x, h], axis=1) @ np.concatenate([w_x, w_h]) + b
            with np.errstate(over="ignore"):
                gate = 1 / (1 + np.exp(-s))
            kept = gate[:, size : 2 * size] * c
            filled = gate[:, :size] * np.tanh(s[:, 2 * size : 3 * size])
            after = kept + filled
            return gate[:, 3 * size :] * np.tanh(after), after""",
        """
        def lstm_step(x, h, c, w_x, w_h, b):
            size = h.shape[1]
            scores = (x @ w_x + h @ w_h + b).reshape(len(x), 4, size)
            small = np.exp(-abs(scores))
            gates = np.where(scores > 0, 1, small) / (1 + small)
            c = gates[:, 1] * c + gates[:, 0] * np.tanh(scores[:, 2])
            return gates[:, 3] * np.tanh(c), c""",
    ),
    wrong=(
        ("fill and keep are swapped", "fill, keep, new, show", "keep, fill, new, show"),
        ("new and show are swapped", "fill, keep, new, show", "fill, keep, show, new"),
        ("the blocks are read as keep, fill, show, new", "fill, keep, new, show",
         "keep, fill, show, new"),
        ("the four numbers of a state stand together; the blocks are H columns each",
         "np.split(x @ w_x + h @ w_h + b, 4, axis=1)",
         "np.moveaxis((x @ w_x + h @ w_h + b).reshape(len(x), -1, 4), 2, 0)"),
        ("the new proposal goes through a sigmoid, not tanh", "np.tanh(new)", "sigmoid(new)"),
        ("the new proposal goes through nothing", "np.tanh(new)", "new"),
        ("the memory is shown without tanh", "np.tanh(c)", "c"),
        ("the old memory is shown, not the new one",
         "c = sigmoid(keep) * c + sigmoid(fill) * np.tanh(new)",
         "old = c; c = sigmoid(keep) * c + sigmoid(fill) * np.tanh(new)",
         "np.tanh(c), c", "np.tanh(old), c"),
        ("the gates are not put through the sigmoid",
         "return (1 + np.tanh(s / 2)) / 2", "return s"),
        ("the gates go through tanh", "(1 + np.tanh(s / 2)) / 2", "np.tanh(s)"),
        ("the sigmoid is exp(s) / (1 + exp(s)), which is nan for large scores",
         "(1 + np.tanh(s / 2)) / 2", "np.exp(s) / (1 + np.exp(s))"),
        ("scores are cut off at 20, so that a gate never opens or closes wholly",
         "(1 + np.tanh(s / 2)) / 2", "1 / (1 + np.exp(-np.clip(s, -9, 9)))"),
        ("the memory is thrown away", "sigmoid(keep) * c + ", ""),
        ("keep is one minus fill, as in a GRU", "sigmoid(keep) * c", "(1 - sigmoid(fill)) * c"),
        ("the old memory is kept whole: the keep gate is left out", "sigmoid(keep) * c", "c"),
        ("the fill gate is left out", "sigmoid(fill) * np.tanh(new)", "np.tanh(new)"),
        ("the show gate is left out", "sigmoid(show) * np.tanh(c)", "np.tanh(c)"),
        ("the state h is left out of the scores", " + h @ w_h", ""),
        ("the bias is left out", "h @ w_h + b", "h @ w_h"),
        ("c itself is changed, which another call still needs",
         "c = sigmoid(keep) * c + sigmoid(fill) * np.tanh(new)",
         "c *= sigmoid(keep); c += sigmoid(fill) * np.tanh(new)"),
        ("the blocks are cut D columns wide; they are H wide",
         "np.split(x @ w_x + h @ w_h + b, 4, axis=1)",
         "((x @ w_x + h @ w_h + b)[:, k * x.shape[1] :][:, : h.shape[1]] for k in range(4))"),
        ("1 is added to the keep gate's score", "sigmoid(keep)", "sigmoid(keep + 1)"),
        ("the sigmoid is made of straight pieces", "(1 + np.tanh(s / 2)) / 2",
         "np.clip(0.2 * s + 0.5, 0, 1)"),
        ("the memory is cut off at 10; it may be of any size", "np.tanh(new)\n",
         "np.tanh(new); c = np.clip(c, -10, 10)\n"),
        ("tanh is made of exp, which is nan for large scores", "np.tanh(new)",
         "((np.exp(new) - np.exp(-new)) / (np.exp(new) + np.exp(-new)))"),
        ("h and c are returned the wrong way round", "return sigmoid(show) * np.tanh(c), c",
         "return c, sigmoid(show) * np.tanh(c)"),
    ),
)  # fmt: skip

# ---- 16.4


def border(scores, temperature, draw):
    """(the sign that this row's scores and this draw give, how near the draw is to a border)."""
    top = max(scores)
    parts = [math.exp((s - top) / temperature) for s in scores]
    whole, sums = math.fsum(parts), []
    for k in range(len(parts)):
        sums.append(math.fsum(parts[: k + 1]) / whole)
    near = min(abs(s - draw) for s in sums)
    return sum(s <= draw for s in sums), near


def clear_draws(rng, scores, temperature, count, low=0.0):
    """Draws that lead along a text, none of them near a border, each from `low` on.

    The text goes on beyond a full stop, so that there are draws that nobody takes.
    """
    draws, sign, tries = [], 0, 0
    while len(draws) < count:
        draw = float(rng.uniform(low, 1))
        number, near = border(scores[sign].tolist(), temperature, draw)
        tries += 1
        if near > 1e-5 or tries > 1000:
            draws.append(draw)
            sign = number
    return np.array(draws)


def write_cases(rng):
    def case(group, k, temperature, count, spread=1.0, stop=-3.0, low=0.0):
        scores = (spread * rng.normal(size=(k, k))).round(2)
        scores[:, 0] += stop
        return group, scores, temperature, clear_draws(rng, scores, temperature, count, low)

    p = np.log(np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4]]))
    for draws in ([0.1, 0.5], [0.6], [0.9, 0.5, 0.05], [0.6, 0.6, 0.35, 0.2]):
        yield "by hand", p, 1.0, np.array(draws)
    yield case("temperature 1", 3, 1.0, 6)
    yield case("temperature 1", 6, 1.0, 12)
    yield "a low temperature", p, 0.5, np.array([0.12, 0.4, 0.7, 0.2])
    yield "a low temperature", p, 0.1, np.array([0.9, 0.05, 0.07, 0.9])
    yield case("a low temperature", 5, 0.3, 12)
    yield case("a low temperature", 4, 0.05, 8, 0.1, 0.0)
    yield case("a high temperature", 5, 2.5, 12, 2.0, -8.0)
    yield case("a high temperature", 5, 20.0, 12, 5.0, -60.0)
    yield "a high temperature", p, 3.0, np.array([0.5, 0.7, 0.4, 0.3])
    # Row 0 leads to 1, row 1 to 2, row 2 to the stop, whatever is drawn.
    chain = np.full((3, 3), -50.0)
    chain[0, 1] = chain[1, 2] = chain[2, 0] = 50.0
    yield "a full stop", chain, 1.0, np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    yield "a full stop", chain, 1.0, np.array([0.999, 0.001, 0.999])
    yield "the draws end", chain, 1.0, np.array([0.3, 0.6])
    yield case("the draws end", 4, 1.0, 3, 1.0, -9.0)
    for temperature in (0.05, 1.0, 20.0):
        far = rng.uniform(-1000, 1000, (5, 5)).round(1)
        draws = clear_draws(rng, far, temperature, 6)
        yield "scores far from 0", far, temperature, draws
    yield "scores far from 0", chain * 20, 0.05, np.array([0.5, 0.5, 0.5])
    up = np.array([[990.0, 991.0, 992.0], [-990.0, -990.5, -989.0], [999.0, 999.0, 1000.0]])
    yield "scores far from 0", up, 1.0, np.array([0.8, 0.9, 0.95, 0.4, 0.5, 0.3])
    yield "scores far from 0", up, 0.5, np.array([0.3, 0.97, 0.5, 0.05])
    wide = np.array([[-1000.0, 900.0, 1000.0], [1000.0, 900.0, -1000.0], [-1000.0, 1000.0, 900.0]])
    yield "scores far from 0", wide, 0.05, np.array([0.5, 0.5, 0.5])
    even = np.zeros((4, 4))
    yield "equal scores", even, 1.0, np.array([0.4, 0.6, 0.9, 0.3, 0.8, 0.1])
    yield "equal scores", even, 0.05, np.array([0.99, 0.51, 0.26, 0.0])
    yield "one sign", np.zeros((1, 1)), 1.0, np.array([0.5, 0.2])
    yield "no draws", p, 1.0, np.zeros(0)
    yield "no draws", np.zeros((1, 1)), 2.0, np.zeros(0)
    yield case("long", 5, 1.0, 300, 1.0, -30.0)
    yield case("many signs", 150, 1.0, 20, 0.5, -9.0, 0.9)
    yield case("many signs", 40, 2.0, 20, 1.0, -30.0)


def write_reference(scores, temperature, draws):
    written, sign = [], 0
    for draw in draws.tolist():
        sign, _ = border(scores[sign].tolist(), temperature, draw)
        if sign == 0:
            return written
        written.append(sign)
    return written


WRITE = Task(
    id="16.4",
    cases=write_cases,
    reference=write_reference,
    equal=(
        ("`int` left out", "a whole number of NumPy is one too"),
        ("`side='right'` left out", "no draw is on a border"),
        ("(borders[text[-1]] < draw)", "no draw is on a border"),
        ("if left <= 0:", "no draw is on a border"),
        ("temperature = abs(temperature)", "a temperature is above 0"),
        ("draws = abs(draws)", "a draw is never below 0"),
        ("draws = np.minimum(draws, 1)", "a draw is below 1"),
        ("left = left - part", "a number is not changed in place"),
        ("sign, place = ([], 0, 0); def following", "neither needs the other"),
    ),
    hints=(
        "One loop over the draws, and one number that is kept from step to step: the sign before.",
        "p = exp(s - s.max()) over its sum, with s = scores[sign] / temperature. The cumulative "
        "sums, np.cumsum(p), are the borders; count how many of them are not above the draw.",
        "sign = int(np.searchsorted(np.cumsum(p / p.sum()), draw, side='right')); stop at 0, "
        "without writing it; else append.",
    ),
    right=(
        """
        def write(scores, temperature, draws):
            written, sign = [], 0
            for draw in draws:
                s = scores[sign] / temperature
                p = np.exp(s - s.max())
                sign = int(np.searchsorted(np.cumsum(p / p.sum()), draw, side="right"))
                if sign == 0:
                    break
                written.append(sign)
            return written""",
        """
        def write(scores, temperature, draws):
            s = scores / temperature
            p = np.exp(s - s.max(axis=1, keepdims=True))
            borders = np.cumsum(p / p.sum(axis=1, keepdims=True), axis=1)
            text = [0]
            for draw in draws:
                text.append(int((borders[text[-1]] <= draw).sum()))
                if text[-1] == 0:
                    return text[1:-1]
            return text[1:]""",
        """
        def write(scores, temperature, draws):
            def following(sign, draw):
                row = [float(s) / temperature for s in scores[sign]]
                parts = [np.exp(s - max(row)) for s in row]
                left = draw * sum(parts)
                for k, part in enumerate(parts):
                    left -= part
                    if left < 0:
                        return k

            written, sign, place = [], 0, 0
            while place < len(draws) and (sign := following(sign, draws[place])):
                written.append(sign)
                place += 1
            return written""",
    ),
    wrong=(
        ("the scores are multiplied by the temperature", "scores[sign] / temperature",
         "scores[sign] * temperature"),
        ("the temperature is left out", "scores[sign] / temperature", "scores[sign]"),
        ("the likeliest sign is always taken",
         'int(np.searchsorted(np.cumsum(p / p.sum()), draw, side="right"))', "int(np.argmax(p))"),
        ("exp overflows, because the largest score is not subtracted first",
         "np.exp(s - s.max())", "np.exp(s)"),
        ("the largest score of all rows is subtracted, not this row's",
         "s - s.max()", "s - scores.max() / temperature"),
        ("every sign is drawn from the first row: the sign before is forgotten",
         "scores[sign] / temperature", "scores[0] / temperature"),
        ("a column is read in place of a row", "scores[sign] / temperature",
         "scores[:, sign] / temperature"),
        ("the full stop is written too", "if sign == 0:",
         "if sign == 0: written.append(0)\n                if sign == 0:"),
        ("writing goes on after a full stop", "break", "continue"),
        ("the full stop is written, and writing goes on",
         "if sign == 0:\n                    break\n", "pass\n"),
        ("the first draw is used for every sign", "draw, side", "draws[0], side"),
        ("the draws are sorted first", "for draw in draws:", "for draw in np.sort(draws):"),
        ("the sign is one too small: the border below the draw is taken",
         'side="right"))', 'side="right")) - 1'),
        ("the signs are ordered by their probability first", "np.cumsum(p / p.sum())",
         "np.cumsum(np.sort(p / p.sum())[::-1])"),
        ("the draw is compared with each probability alone, not with their sums",
         'np.searchsorted(np.cumsum(p / p.sum()), draw, side="right")',
         "np.argmax(p / p.sum() > draw)"),
        ("the probabilities are not made to add up to 1", "p / p.sum()", "p"),
        ("the draws are counted from the other end, 1 - draw", "draw, side", "1 - draw, side"),
        ("the last sign is left out", "return written", "return written[:-1]"),
        ("scores are made probabilities without exp", "np.exp(s - s.max())", "s - s.min() + 1e-9"),
        ("the scores themselves are changed, which another call still needs",
         "written, sign = [], 0", "written, sign = [], 0; scores /= temperature",
         "scores[sign] / temperature", "scores[sign]"),
        ("scores are cut off at 700, where exp is still finite", "s - s.max()",
         "np.clip(s, -700, 700)"),
        ("a text may not be empty: its first sign is never the full stop",
         "p = np.exp(s - s.max())",
         "p = np.exp(s - s.max()); p[0] *= len(written) > 0"),
        ("the scores are divided by the temperature's root", "/ temperature", "/ temperature**0.5"),
        ("a low temperature is held at 0.5", "/ temperature", "/ max(temperature, 0.5)"),
        ("a sign that is written already is left out", "written.append(sign)",
         "written += [sign] * (sign not in written)"),
        ("the text stops after 100 signs", "return written", "return written[:100]"),
    ),
)  # fmt: skip

# ---- 16.5


def sizes_of(x, w_x, w_h, b):
    """By complex steps: each number of each state is moved by 1e-100 i, and the loss looked at."""
    last, size = len(x), len(b)
    moved = np.zeros(((last + 1) * size, size), complex)  # a row for each state's each number
    h = np.zeros(size)
    for t in range(last + 1):
        if t:
            a = moved[: t * size] @ w_h + x[t - 1] @ w_x + b
            moved[: t * size] = np.tanh(a)
            h = np.tanh(x[t - 1] @ w_x + h @ w_h + b)
        moved[t * size : (t + 1) * size] = h + 1e-100j * np.eye(size)
    g = (moved.imag / 1e-100).sum(axis=1).reshape(last + 1, size)
    return np.array([math.hypot(*row) for row in g[::-1].tolist()])


def forgetting_cases(rng):
    def case(group, last, d, size, strength, share=None, scale=0.5):
        while True:
            x = (scale * rng.normal(size=(last, d))).round(3)
            w_x, b = rng.normal(0, 0.5, (d, size)).round(3), rng.normal(0, 0.1, size).round(3)
            w_h = rng.normal(size=(size, size))
            w_h = (w_h * strength / np.linalg.norm(w_h, 2)).round(4)
            if strength > 1:  # one that turns, so that nothing bends away
                w_h = (strength * np.linalg.qr(w_h)[0]).round(4)
            sizes = sizes_of(x, w_x, w_h, b)
            limit = round(float(rng.uniform(0.05, 0.5)), 3) if share is None else share
            clear = abs(sizes / sizes[0] / limit - 1).min() > 2e-3
            if clear and sizes.min() > 1e-139:
                return group, x, w_x, w_h, b, limit

    small, one = np.full((3, 1), 1e-6), np.ones((1, 1))
    yield "by hand", small, one, 0.5 * one, np.zeros(1), 0.3
    yield "by hand", small, one, 2.0 * one, np.zeros(1), 0.3
    yield "by hand", np.array([[1.0], [0.0], [3.0]]), one / 2, -0.8 * one, np.zeros(1), 0.4
    yield case("one number", 5, 2, 1, 0.9)
    yield case("one number", 6, 1, 1, 0.6)
    yield case("several numbers", 4, 2, 3, 0.9)
    yield case("several numbers", 7, 3, 2, 0.8)
    yield case("several numbers", 6, 3, 3, 0.9)
    yield case("a share of 1 or more", 5, 2, 2, 0.9, 1.0 + 1 / 64)
    yield case("a share of 1 or more", 5, 2, 2, 0.9, 3.0)
    yield case("never so small", 5, 2, 2, 0.9, 1e-12)
    yield case("never so small", 3, 2, 2, 1.4, 1e-9)
    yield case("it grows", 12, 1, 3, 1.5, 0.3, 0.01)
    yield case("it falls, then grows", 6, 1, 1, 0.9, 0.9)
    # The last input bends the tanh far, the others do not: sizes fall once, then grow.
    swing = np.array([[0.0], [0.0], [0.0], [0.0], [0.0], [2.0]])
    yield "it falls, then grows", swing, one, 1.5 * one, np.zeros(1), 0.5
    yield "it falls, then grows", swing, one, -1.6 * one, np.zeros(1), 0.9
    yield "it falls, then grows", swing, one, 1.5 * one, np.zeros(1), 0.2
    yield "it grows", np.zeros((160, 1)), one, -2.0 * one, np.zeros(1), 0.5
    yield "only the last size is below", small, one, 0.5 * one, np.zeros(1), 0.2
    yield "the fall comes late", np.full((40, 1), 1e-6), one, 0.9 * one, np.zeros(1), 0.05
    yield case("many numbers", 4, 3, 25, 0.9)
    yield case("many numbers", 4, 25, 3, 0.9, None, 0.1)
    w_x, b = np.array([[1.9, -1.3]]), np.array([1.4, -0.6])
    yield "weights above 1", np.array([[0.3], [-0.5], [0.4]]), w_x, np.eye(2) - 0.3, b, 0.2
    yield case("long", 150, 2, 2, 0.3)
    yield case("long", 200, 1, 1, 0.25)
    yield case("long", 160, 1, 3, 0.95)
    yield case("the fall comes late", 170, 1, 2, 0.97, 1e-3, 0.05)
    yield case("one step", 1, 2, 2, 0.7)
    yield case("one step", 1, 1, 1, 0.7, 1e-6)
    x, w_x, w_h = np.ones((3, 2)), np.ones((2, 2)) / 4, 1e-3 * np.eye(2)
    yield "nearly no weights between states", x, w_x, w_h, np.zeros(2), 0.5


def forgetting_reference(x, w_x, w_h, b, share):
    sizes = sizes_of(x, w_x, w_h, b)
    return sizes, next((k for k, s in enumerate(sizes) if s < share * sizes[0]), len(sizes))


FORGETTING = Task(
    id="16.5",
    cases=forgetting_cases,
    reference=forgetting_reference,
    rtol=1e-6,
    atol=0.0,
    equal=(
        ("<= share * sizes[0]", "no size is on the limit"),
        ("(h ** 2 - 1)", "the length of a gradient has no sign"),
        ("(h * h - 1)", "the length of a gradient has no sign"),
        ("sizes = [np.sqrt(g.sum())]", "its numbers are 1"),
        ("sizes = [np.sqrt((g ** 1).sum())]", "its numbers are 1"),
        ("sizes = [np.sqrt((g ** 3).sum())]", "its numbers are 1"),
        ("sizes = np.array(sizes) -> pass", "a list of numbers of NumPy is compared like an array"),
        ("no copy made", "a list of numbers is taken like an array"),
        ("below = np.flatnonzero(sizes < share * sizes[0]); sizes", "a list is compared as well"),
        ("product.sum(axis=1, keepdims=True)", "the length of a column is that of its numbers"),
        ("share = abs(share)", "a share is above 0"),
    ),
    hints=(
        "Forward first, and keep every state, with the zeros before the first. Back, the gradient "
        "at the last state is 1 for each of its numbers.",
        "One step back: times (1 - h ** 2) of the state that it comes from, then with w_h "
        "transposed, as in equation (2). Note the length after each step, and before the first.",
        "g = w_h @ (g * (1 - h**2)) for h in states[:0:-1]; sizes.append(np.sqrt((g**2).sum())). "
        "np.flatnonzero(sizes < share * sizes[0]) lists the places below; there may be none.",
    ),
    right=(
        """
        def forgetting(x, w_x, w_h, b, share):
            states = [np.zeros(len(b))]
            for row in x:
                states.append(np.tanh(row @ w_x + states[-1] @ w_h + b))
            g = np.ones(len(b))
            sizes = [np.sqrt((g**2).sum())]
            for h in states[:0:-1]:
                g = w_h @ (g * (1 - h**2))
                sizes.append(np.sqrt((g**2).sum()))
            sizes = np.array(sizes)
            below = np.flatnonzero(sizes < share * sizes[0])
            reach = len(sizes)
            if len(below):
                reach = int(below[0])
            return sizes, reach""",
        """
        def forgetting(x, w_x, w_h, b, share):
            h, bends = np.zeros(len(b)), []
            for t in range(len(x)):
                h = np.tanh(x[t] @ w_x + h @ w_h + b)
                bends.append(1 - h * h)
            g = np.ones((len(x) + 1, len(b)))
            for k in range(len(x)):
                g[k + 1] = (g[k] * bends[-1 - k]) @ w_h.T
            sizes = np.linalg.norm(g, axis=1)
            for k, size in enumerate(sizes):
                if size < share * sizes[0]:
                    return sizes, k
            return sizes, len(x) + 1""",
        """
        def forgetting(x, w_x, w_h, b, share):
            h, steps = np.zeros(len(b)), []
            for row in x:
                h = np.tanh(row @ w_x + h @ w_h + b)
                steps.append(w_h * (1 - h**2))
            product, sizes = np.eye(len(b)), [len(b) ** 0.5]
            for step in reversed(steps):
                product = step @ product
                sizes.append(np.linalg.norm(product.sum(axis=1)))
            small = [size < share * sizes[0] for size in sizes]
            return np.array(sizes), small.index(True) if True in small else len(small)""",
    ),
    wrong=(
        ("the slope of the tanh is left out", "g * (1 - h**2)", "g"),
        ("the slope of the tanh is taken as 1 - h", "1 - h**2", "1 - h"),
        ("the slope is taken at the state before, not at the one that the step came to",
         "states[:0:-1]", "states[-2::-1]"),
        ("the weights are not transposed on the way back", "w_h @ (g * (1 - h**2))",
         "(g * (1 - h**2)) @ w_h"),
        ("the slope is multiplied after the weights", "w_h @ (g * (1 - h**2))",
         "(w_h @ g) * (1 - h**2)"),
        ("the gradient is that of one number of the last state, not of the sum",
         "g = np.ones(len(b))", "g = np.eye(len(b))[0]"),
        ("the sizes are in the order of time; place 0 is the last state",
         "return sizes, reach", "return sizes[::-1], reach"),
        ("the last place, the state before the first element, is missing", "states[:0:-1]",
         "states[:1:-1]"),
        ("the sizes are divided by the first", "return sizes, reach",
         "return sizes / sizes[0], reach"),
        ("the lengths are squared", "sizes.append(np.sqrt((g**2).sum()))",
         "sizes.append((g**2).sum())"),
        ("the length is a sum of absolute numbers", "sizes.append(np.sqrt((g**2).sum()))",
         "sizes.append(abs(g).sum())"),
        ("the length is a mean over the numbers of a state", "sizes.append(np.sqrt((g**2).sum()))",
         "sizes.append(np.sqrt((g**2).mean()))"),
        ("the limit is share itself, not share times the first size",
         "share * sizes[0]", "share"),
        ("reach is the last place that is below, not the first", "int(below[0])", "int(below[-1])"),
        ("reach counts the places that are not below", "int(below[0])",
         "len(sizes) - len(below)"),
        ("reach is the last place above the limit, one too small", "int(below[0])",
         "int(below[0]) - 1"),
        ("reach is the place of the smallest size", "int(below[0])", "int(np.argmin(sizes))"),
        ("a gradient that never falls so far is said to reach the last place",
         "reach = len(sizes)\n", "reach = len(sizes) - 1\n"),
        ("a gradient that never falls so far has the reach 0", "reach = len(sizes)\n",
         "reach = 0\n"),
        ("the gradient is that at the inputs, not at the states",
         "sizes.append(np.sqrt((g**2).sum()))",
         "sizes.append(np.sqrt(((w_x @ g) ** 2).sum()))"),
        ("the walk stops after 100 steps", "return sizes, reach", "return sizes[:101], reach"),
        ("each size is compared with the one before, not with the first",
         "np.flatnonzero(sizes < share * sizes[0])",
         "1 + np.flatnonzero(sizes[1:] < share * sizes[:-1])"),
        ("the limit is a share of the largest size", "share * sizes[0]", "share * sizes.max()"),
        ("a small number is added under the root", "sizes.append(np.sqrt((g**2).sum()))",
         "sizes.append(np.sqrt((g**2).sum() + 1e-12))"),
        ("the gradient is clipped on the way back", "g = w_h @ (g * (1 - h**2))",
         "g = np.clip(w_h @ (g * (1 - h**2)), -100, 100)"),
        ("the sizes are taken for sorted, which a gradient that grows again is not",
         "below = np.flatnonzero(sizes < share * sizes[0])",
         "below = np.arange(len(sizes))[np.searchsorted(-sizes, -share * sizes[0], 'right') :]"),
    ),
)  # fmt: skip

TASKS = READ, BACK, STEP, WRITE, FORGETTING
