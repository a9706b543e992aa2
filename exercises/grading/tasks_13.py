"""The tasks of lesson 13: dropout, batch norm, a loop to mend, a leak, and six broken networks."""

from functools import lru_cache

import numpy as np

from .task import Task

# ---- 13.1


def dropout_cases(rng):
    def case(group, shape, p, training=True, scale=1.0):
        x = scale * rng.uniform(-9, 9, shape).round(3)
        return group, x, p, rng.uniform(size=shape), training

    yield "by hand", np.full(4, 2.0), 0.5, np.array([0.7, 0.2, 0.4, 0.9]), True
    yield "a draw of exactly p", np.ones(3), 0.25, np.array([0.25, 0.2, 0.3]), True
    yield "a draw of exactly p", np.ones(2), 0.5, np.array([0.5, 0.0]), True
    yield case("training", 12, 0.2)
    yield case("training", (3, 5), 0.7)
    yield case("training", (2, 3, 4), 0.9)
    yield case("training", 300, 0.05)
    yield case("large and small", 20, 0.3, True, 1e200)
    yield case("large and small", 20, 0.3, True, 1e-200)
    x = rng.uniform(1, 9, 3).round(3)
    yield "p near 0 or 1", x, 0.99, np.array([0.3, 0.995, 0.991]), True
    yield "p near 0 or 1", x, 0.0009, np.array([0.0001, 0.3, 0.0009]), True
    yield case("evaluation", 12, 0.5, False)
    yield case("evaluation", (4, 3), 0.9, False)
    yield case("evaluation", (1, 3), 0.5, False)
    yield case("one row, one column", (1, 3), 0.5)
    yield case("one row, one column", (3, 1), 0.5)
    yield "p is 0", np.array([1.0, -2.0]), 0.0, np.array([0.0, 0.6]), True
    yield case("p is 0", 5, 0.0, False)
    yield case("one or none", (), 0.5)
    yield case("one or none", 1, 0.4)
    yield case("one or none", (0, 3), 0.4)


def dropout_reference(x, p, draws, training):
    if not training:
        return x + 0.0
    pairs = zip(x.ravel(), draws.ravel())
    return np.array([v / (1 - p) if d >= p else 0.0 for v, d in pairs]).reshape(x.shape)


DROPOUT = Task(
    id="13.1",
    replaces="nn.functional.dropout",
    cases=dropout_cases,
    reference=dropout_reference,
    rtol=1e-7,
    atol=0.0,
    equal=(
        ("return x.copy() -> return x", "x comes back as it is, unchanged"),
        ("out[draws < p] = 0; out /= 1 - p", "0 divided is 0"),
        ("p = abs(p)", "a probability is never below 0"),
        ("draws = abs(draws)", "a draw is never below 0"),
        ("draws = np.minimum(draws, 1)", "a draw is below 1"),
        ("`dtype=float` left out", "the numbers are floats"),
    ),
    hints=(
        "Which draws mean that an element stays? A share p of all draws lies below p.",
        "`draws >= p` is True where an element stays. What stays is divided by 1 - p.",
        "np.where(draws >= p, x / (1 - p), 0.0).",
    ),
    right=(
        """
        def dropout(x, p, draws, training):
            if not training:
                return x
            stays = draws >= p
            return np.where(stays, x / (1 - p), 0.0)""",
        """
        def dropout(x, p, draws, training):
            if training:
                return x * (draws >= p) / (1 - p)
            return x.copy()""",
        """
        def dropout(x, p, draws, training):
            out = np.array(x, dtype=float)
            if training:
                out /= 1 - p
                out[draws < p] = 0
            return out""",
    ),
    wrong=(
        ("what stays is not scaled, so the mean shrinks", "x / (1 - p)", "x"),
        ("what stays is divided by p; 1 - p stays", "x / (1 - p)", "x / max(p, 1e-9)"),
        ("what stays is divided by p, unless p is 0; 1 - p stays", "x / (1 - p)",
         "x / (p or 1.0)"),
        ("what stays is scaled by the share that stayed by chance, not by 1 - p",
         "x / (1 - p)", "x / max(np.mean(stays) if stays.size else 1.0, 1e-12)"),
        ("what stays is multiplied by 1 - p; it is divided", "x / (1 - p)", "x * (1 - p)"),
        ("the share p stays; it is dropped", "draws >= p", "draws < p"),
        ("a draw of exactly p is dropped; it stays", "draws >= p", "draws > p"),
        ("evaluation drops too", "if not training:", "if False:"),
        ("evaluation scales; it leaves x as it is", "return x\n", "return x * (1 - p)\n"),
        ("evaluation is scaled in place of training, as dropout was first written",
         "x / (1 - p)", "x", "return x\n", "return x * (1 - p)\n"),
        ("training leaves x as it is, evaluation drops", "if not training:", "if training:"),
    ),
)  # fmt: skip

# ---- 13.2


def norm_cases(rng):
    def case(group, n, d, training, scale=1.0, shift=0.0):
        x = (scale * rng.normal(shift, 1, (n, d))).round(6)
        w, b, mean = (rng.normal(size=d).round(3) for _ in range(3))
        return group, x, w, b, mean, rng.uniform(0.1, 4, d).round(3), training

    one, none = np.ones(1), np.zeros(1)
    yield "by hand", np.array([[1.0], [3.0], [5.0]]), one, none, none, one, True
    yield "by hand", np.array([[1.0], [3.0], [5.0]]), one, none, none, one, False
    for training in (True, False):
        kind = "training" if training else "evaluation"
        yield case(kind, 5, 3, training)
        yield case(kind, 3, 5, training)
        yield case(kind, 4, 4, training, 100.0)
        yield case(kind, 2, 2, training, 1.0, 50.0)
        yield case("many", 300, 4, training)
        yield case("many", 4, 150, training)
        yield case("small numbers", 6, 3, training, 0.001)
        yield case("far from 0", 3, 1, training, 1.0, 1e6)
    yield case("one sample", 1, 3, False)
    ones, zeros = np.ones(2), np.zeros(2)
    yield "equal values", np.full((4, 2), 7.0), ones, ones, zeros, ones, True
    yield "variances of 0", np.ones((2, 2)), ones, ones, zeros, zeros, False


def norm_reference(x, w, b, mean, var, training):
    n, d = x.shape
    out, new_mean, new_var = np.zeros((n, d)), mean.copy(), var.copy()
    for j in range(d):
        m, v = mean[j], var[j]
        if training:
            m = sum(x[i, j] for i in range(n)) / n
            squares = sum((x[i, j] - m) ** 2 for i in range(n))
            v = squares / n
            new_mean[j] = 0.9 * mean[j] + 0.1 * m
            new_var[j] = 0.9 * var[j] + 0.1 * squares / (n - 1)
        for i in range(n):
            out[i, j] = w[j] * (x[i, j] - m) / (v + 1e-5) ** 0.5 + b[j]
    return out, new_mean, new_var


NORM = Task(
    id="13.2",
    replaces="nn.layers.BatchNorm.forward",
    cases=norm_cases,
    reference=norm_reference,
    equal=(
        ("(x - np.mean(x, 0, keepdims=True))", "the one row is stretched over all"),
        ("(np.var(x, 0, keepdims=True) + 1e-05)", "the one row is stretched over all"),
        ("x.var(axis=0, keepdims=True))", "the one row is stretched over all"),
        ("error = x - x.mean(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("+ b, mean, var.copy()]", "nobody writes into it"),
        ("+ b, mean.copy(), var]", "nobody writes into it"),
        ("var = abs(var)", "a variance is never below 0"),
    ),
    hints=(
        "In evaluation, x is standardised with the running numbers, which come back unchanged.",
        "In training, with the batch's mean and variance over axis 0. The running numbers keep "
        "nine tenths and take a tenth of the batch's; the variance for them has N - 1.",
        "m, v = x.mean(axis=0), x.var(axis=0); the new ones are 0.9 * mean + 0.1 * m and 0.9 * "
        "var + 0.1 * x.var(axis=0, ddof=1).",
    ),
    right=(
        """
        def batch_norm(x, w, b, mean, var, training):
            m, v = mean, var
            if training:
                m, v = x.mean(axis=0), x.var(axis=0)
                mean = 0.9 * mean + 0.1 * m
                var = 0.9 * var + 0.1 * x.var(axis=0, ddof=1)
            z = (x - m) / np.sqrt(v + 1e-5)
            return w * z + b, mean, var""",
        """
        def batch_norm(x, w, b, mean, var, training):
            if not training:
                scale = w / np.sqrt(var + 1e-5)
                return x * scale + (b - mean * scale), mean, var
            error = x - x.mean(axis=0)
            squares = (error**2).sum(axis=0)
            out = w * error / np.sqrt(squares / len(x) + 1e-5) + b
            new = mean + 0.1 * (x.mean(axis=0) - mean)
            return out, new, var + 0.1 * (squares / (len(x) - 1) - var)""",
        """
        def batch_norm(x, w, b, mean, var, training):
            if training:
                out = w * (x - np.mean(x, 0)) * (np.var(x, 0) + 1e-5) ** -0.5 + b
                return [out, mean * 0.9 + np.mean(x, 0) / 10, var * 0.9 + np.var(x, 0, ddof=1) / 10]
            return [w * (x - mean) * (var + 1e-5) ** -0.5 + b, mean.copy(), var.copy()]""",
    ),
    wrong=(
        ("each sample is standardised over its neurons; that is layer norm",
         "m, v = x.mean(axis=0), x.var(axis=0)\n",
         "m, v = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)\n",
         "0.1 * m", "0.1 * x.mean(axis=0)"),
        ("the batch's numbers are used in evaluation", "m, v = mean, var",
         "m, v = x.mean(axis=0), x.var(axis=0)"),
        ("the running numbers are used in training",
         "m, v = x.mean(axis=0), x.var(axis=0)", "m, v = mean, var",
         "0.1 * m", "0.1 * x.mean(axis=0)"),
        ("the running numbers keep one tenth; they keep nine", "0.9 * mean + 0.1 * m",
         "0.1 * mean + 0.9 * m"),
        ("the running numbers keep one tenth and take nine; it is the other way round",
         "0.9 * mean + 0.1 * m", "0.1 * mean + 0.9 * m", "0.9 * var + 0.1 *",
         "0.1 * var + 0.9 *"),
        ("the running variance keeps one tenth; it keeps nine", "0.9 * var + 0.1 *",
         "0.1 * var + 0.9 *"),
        ("the running variance takes the variance with N; it has N - 1", ", ddof=1", ""),
        ("x is divided by the variance, not by its root", "np.sqrt(v + 1e-5)", "(v + 1e-5)"),
        ("the 0.00001 is missing, or is added to the root", "np.sqrt(v + 1e-5)",
         "(np.sqrt(v) + 1e-5)"),
        ("weight and bias are left out", "w * z + b", "z"),
        ("the running numbers move in evaluation too", "            z =",
         "            if not training: mean = 0.9 * mean + 0.1 * x.mean(axis=0)\n            z ="),
    ),
)  # fmt: skip

# ---- 13.3


def loop_cases(rng):
    def case(group, n, d, epochs, size, rate=0.05):
        x = rng.normal(size=(n, d)).round(3)
        w = rng.normal(size=d).round(3)
        return group, x, rng.normal(size=n).round(3), w, rate, epochs, size, int(rng.integers(99))

    yield case("one step", 1, 1, 1, 1)
    yield case("one step", 4, 2, 1, 4)
    yield case("several steps", 6, 2, 1, 2)
    yield case("several epochs", 6, 2, 3, 2)
    yield case("several epochs", 4, 1, 9, 4)
    yield case("the last batch is smaller", 5, 2, 2, 3)
    yield case("the last batch is smaller", 7, 3, 3, 4)
    yield case("a batch larger than all", 3, 2, 2, 10)
    yield case("no epoch", 4, 2, 0, 2)
    yield case("many", 130, 5, 4, 32)
    yield case("many", 6, 40, 2, 4, 0.01)
    yield case("many epochs", 3, 1, 150, 2, 0.01)
    yield case("a large rate", 8, 2, 2, 3, 0.4)


def loop_reference(x, y, w, rate, epochs, size, seed):
    rng, w = np.random.default_rng(seed), [float(v) for v in w]
    for _ in range(epochs):
        left = [int(n) for n in rng.permutation(len(x))]
        while left:
            batch, left = left[:size], left[size:]
            errors = {n: sum(x[n, d] * w[d] for d in range(len(w))) - y[n] for n in batch}
            for d, g in [(d, sum(2 * errors[n] * x[n, d] for n in batch)) for d in range(len(w))]:
                w[d] -= rate * g / len(batch)
    return np.array(w)


LOOP = Task(
    id="13.3",
    cases=loop_cases,
    reference=loop_reference,
    equal=(
        ("rate = abs(rate)", "a rate is above 0"),
        ("`dtype=float` left out", "the weights are floats"),
        ("a new value made", "the name holds the same numbers"),
        ("the order turned round", "a sum is the same in any order"),
        ("g += 2 * (w @ row - label) * row", "both are vectors"),
    ),
    hints=(
        "Read the loop aloud: what is drawn, what is picked from x and from y, where g begins, "
        "and by what it is divided.",
        "y must be picked with the same indices as x. g begins anew in every step. The last "
        "batch may have fewer samples than size.",
        "batch = order[i : i + size]; errors = x[batch] @ w - y[batch]; g = 2 * x[batch].T @ "
        "errors / len(batch); w = w - rate * g.",
    ),
    right=(
        """
        def train(x, y, w, rate, epochs, size, seed):
            rng = np.random.default_rng(seed)
            for _ in range(epochs):
                order = rng.permutation(len(x))
                for i in range(0, len(x), size):
                    batch = order[i : i + size]
                    errors = x[batch] @ w - y[batch]
                    g = 2 * x[batch].T @ errors / len(batch)
                    w = w - rate * g
            return w""",
        """
        def train(x, y, w, rate, epochs, size, seed):
            rng, w = np.random.default_rng(seed), np.array(w, dtype=float)
            for epoch in range(epochs):
                order = rng.permutation(len(x))
                while len(order):
                    rows, labels = x[order[:size]], y[order[:size]]
                    w -= rate * 2 * np.mean((rows @ w - labels)[:, None] * rows, axis=0)
                    order = order[size:]
            return w""",
        """
        def train(x, y, w, rate, epochs, size, seed):
            rng = np.random.default_rng(seed)
            w = w.copy()
            for epoch in range(epochs):
                order = rng.permutation(len(x))
                xs, ys = x[order], y[order]
                for start in range(0, len(xs), size):
                    g = np.zeros_like(w)
                    part = slice(start, start + size)
                    for row, label in zip(xs[part], ys[part]):
                        g += 2 * (row @ w - label) * row
                    w -= rate * g / len(xs[part])
            return w""",
    ),
    wrong=(
        ("the labels are shuffled against the inputs", "- y[batch]", "- y[i : i + size]"),
        ("the gradient is never emptied", "for _ in range(epochs):",
         "g = 0\n            for _ in range(epochs):", "g = 2 *", "g = g + 2 *"),
        ("the gradient is emptied once an epoch, not in every step",
         "for i in range(", "g = 0\n                for i in range(", "g = 2 *", "g = g + 2 *"),
        ("the smaller last batch is divided by size", "len(batch)", "size"),
        ("the smaller last batch is divided by size, or by N where that is less",
         "len(batch)", "min(size, len(x))"),
        ("the samples are shuffled again each epoch from where the last one left them",
         "order = rng.permutation(len(x))",
         "p = rng.permutation(len(x)); x, y = x[p], y[p]; order = np.arange(len(x))"),
        ("the last samples of an epoch are left out", "range(0, len(x), size)",
         "range(0, len(x) - size + 1, size)"),
        ("every epoch has the same order", "order = rng.permutation(len(x))",
         "order = np.random.default_rng(seed).permutation(len(x))"),
        ("the step goes up", "w - rate * g", "w + rate * g"),
        ("the 2 of the square's slope is missing", "g = 2 * x", "g = x"),
        ("w itself is changed, which another call still needs", "w = w - rate * g",
         "w -= rate * g"),
    ),
)  # fmt: skip

# ---- 13.4


def leak_cases(rng):
    def some(n, d, scale=1.0):
        return scale * rng.normal(3, 2, (n, d)).round(2)

    yield "by hand", np.array([[1.0], [5.0]]), np.array([[3.0], [7.0], [5.0]])
    yield "no row in both", some(5, 2), some(4, 2)
    yield "no row in both", some(3, 4), some(6, 4, 9.0)
    x = some(6, 3)
    yield "rows in both", x, np.concatenate([some(2, 3), x[[4, 1]], some(1, 3), x[:1]])
    yield "rows in both", x, x[::-1]
    yield "rows in both", x, np.repeat(x[2:4], 3, axis=0)
    near = x.copy()
    near[:, 1] += 1e-6
    yield "nearly the same rows", x, near
    yield "nearly the same rows", x[:2], x[:2] * (1 + 2e-13)
    yield "twice in the training data", np.concatenate([x[:2], x[:1], x[:1]]), some(2, 3)
    far = 1e9 + 0.5 * rng.permutation(4)[:, None]
    yield "large numbers, near each other", far[:2], far
    yield "large numbers, near each other", far[:3], far[::-1]
    mixed = np.stack([x[0, 0], x[1, 1], x[2, 2]])[None, :]
    yield "each number alone is known", x, np.concatenate([mixed, x[3:4, ::-1]])
    twice = np.repeat(some(1, 2), 2, axis=0)
    yield "twice in the test data", some(3, 2), np.concatenate([twice, some(1, 2)])
    a, b = some(1, 2), some(1, 2)
    yield "twice in the test data", some(3, 2), np.concatenate([a, b, some(2, 2), b, a])
    signs = np.array([[0.0, 1.0], [-0.0, 2.0], [3.0, 0.0]])
    yield "0.0 and -0.0 are equal", np.array([[0.0], [1.0]]), np.array([[-0.0], [2.0]])
    yield "0.0 and -0.0 are equal", signs, np.concatenate([-signs * [1, -1], [[0.5, 0.5]]])
    wide = np.array([[1e9], [1e9 + 4.0], [1e-9]])
    yield "equal after scaling alone", wide, np.array([[2e-9], [1e9 + 4.0], [0.0]])
    wide = np.array([[1e9, 1.0], [-1e9, 2.0], [3e-9, 3.0]])
    yield "equal after scaling alone", wide, np.array([[4e-9, 3.0], [3e-9, 3.0], [-3e-9, 3.0]])
    flat = some(4, 3)
    flat[:, 1] = 0.1
    yield "a column of equal numbers", flat, some(3, 3)
    yield "a column of equal numbers", np.full((7, 1), 0.1), some(2, 1)
    yield "a small column", 1e-9 * rng.integers(1, 9, (6, 2)) + [[0, 1e-10]] * 6, some(2, 2, 1e-9)
    yield "a small column", np.array([[1e-9], [1.05e-9]]), np.array([[1.1e-9]])
    yield "one row", some(1, 2), some(2, 2)
    yield "no test data", some(4, 2), np.zeros((0, 2))
    yield "many", some(200, 3), some(150, 3)


def leak_reference(x, x_test):
    known = {tuple(row) for row in x.tolist()}
    kept = [row for row in x_test.tolist() if tuple(row) not in known]
    columns = x.T.tolist()
    middle = [sum(c) / len(c) for c in columns]
    size = [
        1.0 if min(c) == max(c) else (sum((v - m) ** 2 for v in c) / len(c)) ** 0.5
        for c, m in zip(columns, middle)
    ]
    scaled = [
        [[(v - m) / s for v, m, s in zip(row, middle, size)] for row in rows]
        for rows in (x.tolist(), kept)
    ]
    return tuple(np.array(rows).reshape(-1, x.shape[1]) for rows in scaled)


LEAK = Task(
    id="13.4",
    cases=leak_cases,
    reference=leak_reference,
    rtol=1e-6,
    atol=1e-9,
    equal=(
        ("x.mean(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("x.std(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("x.min(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("x.max(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("np.mean(x, axis=0, keepdims=True)", "the one row is stretched over all"),
    ),
    hints=(
        "Two things leak: numbers computed from test data, and samples that stand in both.",
        "Compare whole rows: a row is known if all its numbers equal those of one training row. "
        "A column is constant if its smallest number is its largest.",
        "known = (x_test[:, None] == x[None]).all(axis=2).any(axis=1); keep x_test[~known]; "
        "std = np.where(x.min(axis=0) == x.max(axis=0), 1.0, x.std(axis=0)).",
    ),
    right=(
        """
        def prepare(x, x_test):
            known = (x_test[:, None] == x[None]).all(axis=2).any(axis=1)
            x_test = x_test[~known]
            mean, std = x.mean(axis=0), x.std(axis=0)
            std = np.where(x.min(axis=0) == x.max(axis=0), 1.0, std)
            return (x - mean) / std, (x_test - mean) / std""",
        """
        def prepare(x, x_test):
            seen = set(map(tuple, x.tolist()))
            new = [i for i, row in enumerate(x_test.tolist()) if tuple(row) not in seen]
            mean, std = np.mean(x, axis=0), np.std(x, axis=0)
            std[np.ptp(x, axis=0) == 0] = 1
            return (x - mean) / std, (x_test[new] - mean) / std""",
    ),
    wrong=(
        ("mean and deviation are those of all data", "mean, std = x.mean(axis=0), x.std(axis=0)",
         "both = np.concatenate([x, x_test]); mean, std = both.mean(axis=0), both.std(axis=0)"),
        ("the test data are scaled by their own mean", "(x_test - mean)",
         "(x_test - (x_test.mean(axis=0) if len(x_test) else 0))"),
        ("samples that stand in both stay in the test data", "x_test[~known]", "x_test"),
        ("only the samples that stand in both are kept", "~known", "known"),
        ("a sample is dropped if one of its numbers is known", ".all(axis=2)", ".any(axis=2)"),
        ("samples that are nearly a training sample are dropped",
         "(x_test[:, None] == x[None])", "np.isclose(x_test[:, None], x[None], atol=1e-5)"),
        ("rows are compared after scaling, where different numbers may round to equal ones",
         "known = (x_test[:, None] == x[None]).all(axis=2).any(axis=1)", "given = x_test",
         "x_test = x_test[~known]", "pass", "return (x - mean) / std, (x_test - mean) / std",
         "a, b = (x - mean) / std, (given - mean) / std; return a, "
         "b[~(b[:, None] == a[None]).all(axis=2).any(axis=1)]"),
        ("0.0 and -0.0 count as different numbers",
         "(x_test[:, None] == x[None]).all(axis=2).any(axis=1)",
         "np.isin([r.tobytes() for r in x_test], [r.tobytes() for r in x]).astype(bool)"),
        ("a row that comes twice in x_test is kept once", "x_test[~known]",
         "x_test[[i for i in np.flatnonzero(~known) "
         "if not (x_test[:i] == x_test[i]).all(axis=1).any()]]"),
        ("a row is dropped if each of its numbers occurs somewhere in x",
         "(x_test[:, None] == x[None]).all(axis=2).any(axis=1)",
         "np.isin(x_test, x).all(axis=1)"),
        ("a constant column is divided by its rounded deviation",
         "x.min(axis=0) == x.max(axis=0)", "x.std(axis=0) == 0"),
        ("a column of small numbers is taken for constant",
         "x.min(axis=0) == x.max(axis=0)", "x.std(axis=0) < 1e-6"),
        ("the deviation has N - 1", "x.std(axis=0)\n", "x.std(axis=0, ddof=min(1, len(x) - 1))\n"),
        ("the test data are not scaled", "(x_test - mean) / std", "x_test"),
    ),
)  # fmt: skip

# ---- 13.5

FAULTS = ("exploding", "not emptied", "training mode", "dead", "shuffled", "leak", "healthy")


def clouds(rng, k):
    """A function that draws so many samples of k classes, (x, y), always round the same centres."""
    centres = rng.normal(0, 1.0, (k, 12))

    def sample(count):
        y = rng.integers(0, k, count)
        return (centres[y] + rng.normal(0, 0.7, (count, 12))), y

    return sample


def trained(
    rng, data, k, steps, rate, *, gain=1.0, bias=0.0, drop=0.0, empties=True, evaluates=True
):
    """The record of a network of one hidden relu layer, really trained.

    data: the pairs (x, y) to train on, for validation, and collected later.  gain, bias: of the
    first weights.  drop: the share dropped in training, and in looks unless it `evaluates`.
    """
    (x, y), (x_valid, y_valid), (x_new, y_new) = data
    (n, d), h = x.shape, 48
    first, last = rng.normal(0, (2 / d) ** 0.5, (d, h)), rng.normal(0, h**-0.5, (h, k))
    p = [first * gain, np.full(h, float(bias)), last, np.zeros(k)]

    def forward(x, y, drop):
        a = x @ p[0] + p[1]
        kept = (rng.uniform(size=a.shape) > drop) / (1 - drop) if drop else 1.0
        hidden = np.maximum(a, 0) * kept
        s = hidden @ p[2] + p[3]
        s = s - s.max(axis=1, keepdims=True)
        q = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
        return hidden, a, kept, q, -np.log(q[np.arange(len(y)), y]).mean()

    names = ("train", "valid", "again", "own", "used")
    record, total = {name: [] for name in names}, [np.zeros_like(part) for part in p]
    look = 0.0 if evaluates else drop
    for _ in range(steps):
        record["valid"].append(forward(x_valid, y_valid, look)[-1])
        record["again"].append(forward(x_valid, y_valid, look)[-1])
        hidden, a, kept, q, loss = forward(x, y, drop)
        record["train"].append(loss)
        g = (q - np.eye(k)[y]) / n
        back = (g @ p[2].T) * (a > 0) * kept
        own = [x.T @ back, back.sum(axis=0), hidden.T @ g, g.sum(axis=0)]
        total = own if empties else [old + new for old, new in zip(total, own)]
        for name, parts in (("own", own), ("used", total)):
            record[name].append(sum((part**2).sum() for part in parts) ** 0.5)
        for part, step in zip(p, total):
            part -= rate * step
    record = {name: np.array(values) for name, values in record.items()}
    record["dead"] = float((forward(x, y, 0.0)[1] <= 0).all(axis=0).mean())
    record["later"] = float(forward(x_new, y_new, 0.0)[-1])
    record["classes"] = k
    return record


def run(rng, fault):
    """The record of a network with this fault."""
    k, steps = int(rng.integers(2, 5)), int(rng.integers(50, 90))
    sample = clouds(rng, k)
    (x, y), valid, (x_new, y_new) = sample(40), sample(60), sample(60)
    if fault == "shuffled":
        y = rng.permutation(y)
    if fault == "leak":  # labels are half chance, so that only what was seen is known
        for labels in (y, y_new):
            wrong = rng.permutation(len(labels))[: len(labels) // 2]
            labels[wrong] = rng.integers(0, k, len(wrong))
        valid = x[:30], y[:30]
    how = {
        "exploding": {"rate": 40.0, "gain": 3.0},
        "not emptied": {"rate": 0.02, "empties": False},
        "training mode": {"drop": 0.3, "evaluates": False},
        "dead": {"bias": -40.0},
    }.get(fault, {})
    data = (x, y), valid, (x_new, y_new)
    return trained(rng, data, k, steps, **{"rate": 0.3, **how})


def named(record, slack):
    """The first row of the table that fits; slack below or above 1 moves every limit."""
    own, used, k = record["own"], record["used"], record["classes"]
    if not np.isfinite(own).all() or own.max() > 10 * slack * own[0]:
        return "exploding"
    if (abs(used - own) > 0.01 * slack * own).any():
        return "not emptied"
    if (abs(record["again"] - record["valid"]) > 0.001 * slack).any():
        return "training mode"
    if record["dead"] > 1 - 0.1 / slack:
        return "dead"
    train, valid = record["train"][-1], record["valid"][-1]
    if valid > slack * np.log(k) and train < valid / (2 * slack):
        return "shuffled"
    return "leak" if record["later"] > 2 * slack * valid else "healthy"


def written(**more):
    """A record made by hand: a healthy one, three steps of three classes, and what is changed."""
    record = {"train": [1.1, 0.6, 0.5], "valid": [1.2, 0.8, 0.7], "own": [2.0, 1.0, 0.5]}
    record |= {"dead": 0.1, "later": 0.8, "classes": 3} | more
    record.setdefault("again", record["valid"])
    record.setdefault("used", record["own"])
    return {name: np.array(v) if isinstance(v, list) else v for name, v in record.items()}


def not_finite():
    """Cases in which a curve is infinite or nan, at one step or at all."""
    steps = ([0], [1], [2], [0, 1, 2])
    for bad in (float("inf"), float("nan")):
        for places in steps:
            own = [bad if i in places else v for i, v in enumerate([2.0, 1.0, 0.5])]
            yield "exploding", "exploding", written(own=own)
        for name in ("train", "valid", "again", "used"):
            curve = {name: [1.0, bad, bad]}
            yield "exploding", "exploding", written(own=[2.0, 40.0, 0.5], **curve)
        curve = [1.0, bad, bad]
        every = written(train=curve, valid=curve, own=curve, dead=1.0, later=bad)
        yield "exploding", "exploding", every
        yield "exploding", "exploding", written(own=[2.0, 40.0, 0.5], later=bad)


def diagnosis_cases(rng):
    yield "healthy", "healthy", written()
    yield "healthy", "healthy", written(dead=0.7)
    yield "healthy", "healthy", written(own=[2.0, 14.0, 0.5])
    yield "healthy", "healthy", written(train=[1.2], valid=[1.5], own=[1.0], later=1.6)
    yield "healthy", "healthy", written(train=[1.1, 0.2, 1.2], valid=[1.2, 1.4, 1.5])
    yield "healthy", "healthy", written(train=[1.1, 0.3, 0.1])
    yield "healthy", "healthy", written(classes=8, train=[2.0, 1.0, 0.2], valid=[2.1, 1.7, 1.6])
    yield "healthy", "healthy", written(train=[0.2, 0.2, 1.0], valid=[1.9, 1.9, 1.5], later=1.5)
    yield "healthy", "healthy", written(train=[1.1, 0.5, 0.4], valid=[1.2, 0.2, 0.6], later=0.65)
    hundred = {"train": [4.6, 2.0, 0.2], "valid": [4.7, 3.9, 3.5], "later": 3.6}
    yield "healthy", "healthy", written(classes=100, **hundred)
    yield "dead", "dead", written(train=[1.2], valid=[1.5], own=[1.0], later=1.6, dead=1.0)
    yield "dead", "dead", written(dead=float(rng.uniform(0.95, 0.96)))
    yield "exploding", "exploding", written(own=[2.0, 26.0, 0.5])
    yield "shuffled", "shuffled", written(train=[1.1, 1.5, 0.2], valid=[1.2, 1.0, 2.0], later=9.0)
    yield "shuffled", "shuffled", written(classes=2, train=[0.7, 0.3], valid=[0.7, 0.9], later=1.0)
    yield "healthy", "healthy", written(used=[2.0, 1.007, 0.5])
    yield "healthy", "healthy", written(again=[1.2, 0.8007, 0.7])
    yield "shuffled", "shuffled", written(train=[1.1, 0.6], valid=[1.2, 1.5])
    yield "leak", "leak", written(later=1.75)
    yield "not emptied", "not emptied", written(used=[2.0, 90.0, 0.5])
    yield "not emptied", "not emptied", written(own=[2e-9, 1e-9], used=[2e-9, 3e-9])
    yield "leak", "leak", written(train=[0.5, 0.01], valid=[0.5, 0.01], later=0.1)
    yield "dead", "dead", written(dead=1.0, later=5.0)
    yield "training mode", "training mode", written(again=[1.2, 0.79, 0.7], dead=1.0)
    yield "training mode", "training mode", written(again=[1.21, 0.8, 0.7])
    yield "training mode", "training mode", written(again=[1.2, 0.8, 0.698], later=3.0)
    yield "not emptied", "not emptied", written(used=[2.0, 0.9, 0.5], again=[1.0, 0.8, 0.7])
    yield "not emptied", "not emptied", written(used=[2.0, 1.0, 0.508], dead=1.0)
    yield "exploding", "exploding", written(own=[2.0, 40.0, 0.5], used=[2.0, 40.0, 9.0])
    yield "exploding", "exploding", written(own=[2.0, float("inf"), 0.5], dead=1.0)
    nan = [1.1, 2.0, float("nan")]
    yield "exploding", "exploding", written(own=nan, train=nan, valid=nan, later=float("nan"))
    yield "exploding", "exploding", written(own=[2.0, 40.0, 0.5])
    yield from not_finite()
    # Limits that are absolute, and one that is relative, far from 1.
    large, small = [300.0, 80.0, 70.0], [1.2, 0.03, 0.02]
    yield "training mode", "training mode", written(valid=large, again=[300.00125, 80.0, 70.0])
    yield "training mode", "training mode", written(valid=large, again=[300.0, 80.0, 69.998])
    yield "healthy", "healthy", written(valid=small, again=[1.2, 0.0307, 0.0195], later=0.03)
    yield "not emptied", "not emptied", written(own=[0.1, 0.2], used=[0.1, 0.205])
    yield "healthy", "healthy", written(own=[50.0, 90.0], used=[50.3, 90.5])
    yield "healthy", "healthy", written(own=[2e-9, 1e-9], used=[2e-9, 1.007e-9])
    for fault in FAULTS:
        found = 0
        for _ in range(400):
            with np.errstate(all="ignore"):
                record = run(rng, fault)
                clear = all(named(record, slack) == fault for slack in (0.8, 1.0, 1.25))
            if clear:
                found += 1
                yield fault, fault, record
            if found == 4:
                break
        assert found == 4, (fault, found)


DIAGNOSIS = Task(
    id="13.5",
    cases=diagnosis_cases,
    reference=lambda fault, record: fault,
    drive=lambda answer, fault, record: answer(record),
    equal=(
        ("`>=` in place of `>`", "no run stands on a limit"),
        ("`<=` in place of `<`", "no run stands on a limit"),
        ("`<` in place of `<=`", "no run stands on a limit"),
        ("`record['dead'] >= 0.9` in place", "no run stands on a limit"),
        ("9 in place of 10", "no run is nearer to a limit than a fifth"),
        ("11 in place of 10", "no run is nearer to a limit than a fifth"),
        ("only the first 20 looked at", "there are seven"),
    ),
    hints=(
        "Go through the table from top to bottom, and return at the first row that fits.",
        "Begin with np.isfinite(own).all(), for a nan is neither larger nor smaller than "
        "anything. Differences have a sign: abs.",
        "Limits that are far from all runs: own above 10 times its first; used off by 1 % of own; "
        "again off by 0.001; dead above 0.9; valid above log(classes) and train below half of "
        "it; later above twice valid.",
    ),
    right=(
        """
        def diagnose(record):
            own, used = record["own"], record["used"]
            if not np.isfinite(own).all() or own.max() > 10 * own[0]:
                return "exploding"
            if (abs(used - own) > 0.01 * own).any():
                return "not emptied"
            if (abs(record["again"] - record["valid"]) > 0.001).any():
                return "training mode"
            if record["dead"] > 0.9:
                return "dead"
            train, valid = record["train"][-1], record["valid"][-1]
            if valid > np.log(record["classes"]) and train < valid / 2:
                return "shuffled"
            if record["later"] > 2 * valid:
                return "leak"
            return "healthy" """,
        """
        def diagnose(record):
            own = record["own"]
            train, valid = record["train"][-1], record["valid"][-1]
            signs = {
                "exploding": own[0] == np.inf or not (own <= 10 * own[0]).all(),
                "not emptied": not np.allclose(own, record["used"], rtol=0.01, atol=0),
                "training mode": not np.allclose(record["again"], record["valid"], 0, 0.001),
                "dead": record["dead"] > 0.9,
                "shuffled": 2 * train < valid and valid > np.log(record["classes"]),
                "leak": record["later"] / valid > 2,
                "healthy": True,
            }
            return [name for name in signs if signs[name]][0]""",
    ),
    wrong=(
        ("a gradient that explodes is not seen", "if not np.isfinite(own).all() or "
         "own.max() > 10 * own[0]:", "if False:"),
        ("nan is looked for in own, and not inf", "np.isfinite(own).all()",
         "(own == own).all()"),
        ("inf is looked for in own, and not nan", "not np.isfinite(own).all()",
         "np.isinf(own).any()"),
        ("own is looked at only at the end", "own.max() > 10 * own[0]", "own[-1] > 10 * own[0]"),
        ("own and used are compared with an absolute limit; it is a hundredth of own",
         "0.01 * own", "0.01"),
        ("only a used that is larger than own is seen", "abs(used - own)", "(used - own)"),
        ("only an again that is larger than valid is seen",
         'abs(record["again"] - record["valid"])', '(record["again"] - record["valid"])'),
        ("again and valid are compared relative to valid; the limit is absolute",
         "> 0.001).any", '> 0.001 * record["valid"]).any'),
        ("a relative share is added to the absolute limit, as np.allclose does by itself",
         '(abs(record["again"] - record["valid"]) > 0.001).any()',
         'not np.allclose(record["again"], record["valid"], atol=0.001)'),
        ("a leak is looked for before shuffled labels",
         'if valid > np.log(record["classes"]) and train < valid / 2:',
         'if record["later"] > 2 * valid:\n                return "leak"\n            '
         'if valid > np.log(record["classes"]) and train < valid / 2:'),
        ("a gradient that was not emptied is not seen", "if (abs(used - own) > 0.01 * own).any():",
         "if False:"),
        ("two looks that differ are not seen",
         'if (abs(record["again"] - record["valid"]) > 0.001).any():', "if False:"),
        ("dead units are not seen", 'record["dead"] > 0.9', "False"),
        ("shuffled labels are taken for something else",
         'valid > np.log(record["classes"]) and train < valid / 2', "False"),
        ("a leak is taken for health", 'record["later"] > 2 * valid', "False"),
        ("health is never seen: some fault is always named", 'return "healthy"', 'return "leak"'),
        ("a loss that is still above 0 is taken for shuffled labels",
         'valid > np.log(record["classes"]) and train < valid / 2', "train > 0"),
    ),
)  # fmt: skip

# ---- 13.6

MENDED = {
    "exploding": ("rate", 0.3), "not emptied": ("empties", True), "dead": ("bias", 0.0),
    "training mode": ("evaluates", True), "shuffled": ("aligned", True), "leak": ("apart", True),
}  # fmt: skip


@lru_cache(maxsize=1 << 14)
def made_with(world, rate, bias, empties, evaluates, aligned, apart):
    """The record of a run with these settings in a world (seed, k, steps, noise, drop, shuffles).

    noise: the share of labels that are drawn by chance.  shuffles: whether inputs are shuffled.
    """
    seed, k, steps, noise, drop, shuffles = world
    rng = np.random.default_rng(seed)
    sample = clouds(rng, k)
    (x, y), (x_valid, y_valid), (x_new, y_new) = sample(40), sample(60), sample(60)
    for labels in (y, y_valid, y_new):
        wrong = rng.permutation(len(labels))[: int(noise * len(labels))]
        labels[wrong] = rng.integers(0, k, len(wrong))
    other = rng.permutation(y)
    if not apart:
        x_valid, y_valid = x[:30], y[:30]
    if shuffles and not aligned:
        y = other
    data, how = ((x, y), (x_valid, y_valid), (x_new, y_new)), {"empties": empties, "bias": bias}
    with np.errstate(all="ignore"):
        return trained(rng, data, k, steps, rate, drop=drop, evaluates=evaluates, **how)


def learns(record):
    """Whether the training loss ends below four fifths of what it begins with."""
    return bool(record["train"][-1] < 0.8 * record["train"][0])


def sound(world, settings, slack=1.0):
    """Whether a network that is trained with these settings is healthy, and learns."""
    record = made_with(world, **settings)
    return named(record, slack) == "healthy" and learns(record)


def is_case(fault, world, settings):
    """Whether a run shows its fault beyond doubt, and is mended by one change, and by no other."""
    limits = (0.8, 1.0, 1.25)
    if any(named(made_with(world, **settings), slack) != fault for slack in limits):
        return False
    if fault == "healthy":
        return sound(world, settings)
    key, value = MENDED[fault]
    rights = {"rate": (0.05, 0.1, 0.3, 0.6), "bias": (0.0, 1.0)}.get(key, (value,))
    for right in rights:
        if not all(sound(world, {**settings, key: right}, slack) for slack in limits):
            return False
    others = [{**settings, "rate": settings["rate"] / 2}, {**settings, "rate": 1e-4}]
    others += [{**settings, "bias": -settings["bias"]}] if fault == "dead" else []
    others += [{**settings, k: v} for k, v in MENDED.values() if k != key and settings[k] != v]
    return not any(sound(world, other) for other in others)


def mending_cases(rng):
    for fault in FAULTS:
        found = 0
        for _ in range(60):
            harmless = dict(zip(("evaluates", "aligned"), (rng.uniform(size=2) < 0.6).tolist()))
            settings = {"rate": 0.2, "bias": 0.0, "empties": True, **harmless, "apart": True}
            if found:
                settings["rate"] = 0.3
            settings["bias"] = float(rng.choice([0.0, -0.2, -0.5]))
            noise, drop = 0.0, 0.0
            if fault == "exploding":
                settings["rate"] = float(rng.choice([40.0, 80.0, 200.0]))
            elif fault == "not emptied":
                settings |= {"rate": settings["rate"] / 3, "empties": False}
            elif fault == "training mode":
                drop, settings["evaluates"] = 0.3, False
            elif fault == "dead":
                settings["bias"] = float(rng.choice([-40.0, -60.0]))
            elif fault == "shuffled":
                settings["aligned"] = False
            elif fault == "leak":
                noise, settings["apart"] = 0.1, False
            else:
                settings["rate"] = float(rng.choice([0.3, 0.7])) if found else 0.1
                settings["evaluates"] = settings["aligned"] = False
                settings["apart"] = bool(found)
            seed, k, steps = int(rng.integers(1 << 30)), int(rng.integers(4, 9)), 40
            world = seed, k, steps, noise, drop, fault == "shuffled"
            with np.errstate(all="ignore"):
                clear = is_case(fault, world, settings)
            if clear:
                found += 1
                yield fault, fault, world, made_with(world, **settings), settings
            if found == 2:
                break
        assert found == 2, (fault, found)


def what_became(answer, fault, world, record, settings):
    """What a network shows that is trained anew with the settings that the answer gives."""
    given = answer(record, settings)
    if not isinstance(given, dict) or {*given} != {*settings}:
        raise ValueError("a dict with the keys of `settings` is expected")
    new = {}
    for key, old in settings.items():
        value = np.asarray(given[key])
        if value.ndim or value.dtype.kind not in "biuf" or not np.isfinite(value):
            raise ValueError(f"the setting {key!r} is {type(given[key]).__name__}")
        new[key] = type(old)(value)
    again = made_with(world, **new)
    return {
        "changed": [key for key in settings if new[key] != settings[key]],
        "trained anew, it is": named(again, 1.0),
        "and it learns": learns(again),
    }


def what_should_become(fault, world, record, settings):
    changed = [MENDED[fault][0]] if fault in MENDED else []
    return {"changed": changed, "trained anew, it is": "healthy", "and it learns": True}


MENDING = Task(
    id="13.6",
    cases=mending_cases,
    reference=what_should_become,
    drive=what_became,
    needs=("13.5",),
    equal=(
        ("0.15 in place of 0.3", "a rate of 0.15 mends too"),
        ("0.6 in place of 0.3", "a rate of 0.6 mends too"),
        ("0.05 in place of 0.1", "a rate of 0.05 mends too"),
        ("0.2 in place of 0.1", "a rate of 0.2 mends too"),
        ("0.25 in place of 0.5", "a rate of 0.25 mends too"),
        ("1 in place of 0", "biases that start at 1 mend too"),
        (":; if fault == '", "a run has one fault"),
    ),
    hints=(
        "Ask your `diagnose` for the fault. Each fault has one setting that makes it; a healthy "
        "run has none.",
        "Copy the settings, change the one that belongs to the fault, return the copy. Only the "
        "rate has more than one good value: choose it from the range that the text names.",
        'cures = {"exploding": ("rate", 0.3), "dead": ("bias", 0.0), ...}; fault = '
        "diagnose(record); if fault in cures: key, value = cures[fault]; "
        "return {**settings, key: value}; else a copy of settings.",
    ),
    right=(
        """
        def mend(record, settings):
            cures = {
                "exploding": ("rate", 0.3),
                "not emptied": ("empties", True),
                "training mode": ("evaluates", True),
                "dead": ("bias", 0.0),
                "shuffled": ("aligned", True),
                "leak": ("apart", True),
            }
            new = dict(settings)
            fault = diagnose(record)
            if fault in cures:
                key, value = cures[fault]
                new[key] = value
            return new""",
        """
        def mend(record, settings):
            fault = diagnose(record)
            if fault == "exploding":
                return {**settings, "rate": 0.1}
            if fault == "dead":
                return {**settings, "bias": 0.0}
            if fault == "not emptied":
                return {**settings, "empties": True}
            if fault == "training mode":
                return {**settings, "evaluates": True}
            if fault == "shuffled":
                return {**settings, "aligned": True}
            if fault == "leak":
                return {**settings, "apart": True}
            return settings""",
        """
        def mend(record, settings):
            keys = {"not emptied": "empties", "training mode": "evaluates", "leak": "apart",
                    "shuffled": "aligned"}
            fault, new = diagnose(record), settings.copy()
            if fault in keys:
                new[keys[fault]] = not new[keys[fault]]
            elif fault == "exploding":
                new["rate"] = min(new["rate"], 0.5)
            elif fault == "dead":
                new.update(bias=0)
            return new""",
    ),
    wrong=(
        ("the rate of a run that explodes is halved, and is still too large",
         '("rate", 0.3)', '("rate", settings["rate"] / 2)'),
        ("the rate of a run that explodes becomes 0, or so small that nothing is learned",
         '("rate", 0.3)', '("rate", 0.0001)'),
        ("dead units are answered by a smaller rate; it is their biases",
         '("bias", 0.0)', '("rate", settings["rate"] / 10)'),
        ("the sign of the biases of dead units is turned round",
         '("bias", 0.0)', '("bias", -settings["bias"])'),
        ("a gradient that is not emptied is answered by a smaller rate",
         '("empties", True)', '("rate", settings["rate"] / 10)'),
        ("an evaluation in training mode is left as it is",
         '                "training mode": ("evaluates", True),\n', ""),
        ("labels that are shuffled against the inputs are taken for a leak",
         '("aligned", True)', '("apart", True)'),
        ("a leak is taken for shuffled labels", '("apart", True)', '("aligned", True)'),
        ("all that may be a fault is set right, whether the record shows one or not",
         "fault = diagnose(record)", "new.update(cures.values()); fault = None"),
        ("each setting that looks wrong is set right, where the record shows a fault",
         "new[key] = value", "new.update(cures.values())"),
        ("a healthy run is changed too: its rate", "return new",
         'if fault == "healthy": new["rate"] = 0.2\n            return new'),
        ("`settings` itself is changed, which the caller still has", "dict(settings)", "settings"),
        ("the settings come back as they were", "new[key] = value", "pass"),
        ("the changed setting alone comes back; all six are asked for",
         "new[key] = value", "new = {key: value}"),
    ),
)  # fmt: skip

TASKS = [DROPOUT, NORM, LOOP, LEAK, DIAGNOSIS, MENDING]
