"""Answers to the tasks of lessons 04 to 07 that are in no bank: wrong ones fail under every seed,
right ones in other styles get all points."""

import textwrap

import numpy as np
import pytest

from grading.audit import passes, verdict_on
from grading.task import find

SEEDS = range(4)

# (task, what is wrong with it, parts of the first right answer and what stands there instead)
WRONG = [
    ("04.1", "counts rows", "error / r.sum()", "error / np.count_nonzero(r)"),
    ("04.1", "errors are cut", "2 * r * error", "2 * r * np.clip(error, -20, 20)"),
    ("04.1", "gradients are cut", "x.T @ share,", "np.clip(x.T @ share, -1000, 1000),"),
    ("04.2", "not sorted", "eigvalsh", "eigvals"),
    ("04.2", "second smallest", "c[0] + c[-1]", "c[1] + c[-1]"),
    ("04.3", "1e-17 is not 0", "x.max(axis=0) == x.min(axis=0)", "std == 0"),
    ("04.3", "ends are equal", "x.max(axis=0) == x.min(axis=0)", "x[0] == x[-1]"),
    ("04.3", "100 steps at most", "range(steps)", "range(min(steps, 100))"),
    ("04.3", "no answer below 0", "return z_test @ w + b", "return np.maximum(z_test @ w + b, 0)"),
    ("04.4", "less than", "<= tolerance", "< tolerance"),
    ("04.4", "1000 steps at most", "range(steps)", "range(min(steps, 1000))"),
    ("04.4", "a tolerance of its own", "<= tolerance", "<= max(tolerance, 1e-6)"),
    ("04.4", "the caller's array moves", "np.array(w, dtype=float)", "np.asarray(w, dtype=float)",
     "[w]", "[w.copy()]", "w = w - rate * v", "w -= rate * v", "append(w)", "append(w.copy())"),
    ("05.1", "always axis 1", "axis=axis", "axis=1"),
    ("05.1", "the smallest", "scores.max(", "scores.min("),
    ("05.1", "three axes at most", "powers.sum(axis=axis",
     "powers.sum(axis=axis if powers.ndim < 4 else -1"),
    ("05.2", "distinct labels", "M = len(known)", "M = len(set(labels[known].tolist()))"),
    ("05.2", "-1 counts", "g[known, labels[known]] -= 1", "g[np.arange(len(g)), labels] -= 1",
     "g[labels < 0] = 0", "pass", "g / M", "g / len(g)"),
    ("05.2", "five classes at most", "labels >= 0", "(labels >= 0) & (labels < 5)"),
    ("05.3", "never unsure", "p.max(axis=1)", "np.maximum(p.max(axis=1), 0.5)"),
    ("05.3", "ten groups at most", "(order, groups)", "(order, min(groups, 10))"),
    ("05.3", "pieces of one size", "np.array_split(order, groups)",
     "[order[i : i + -(-N // groups)] for i in range(0, N, -(-N // groups))]"),
    ("05.4", "1000 equal steps", "np.geomspace(0.1, 10, 600)", "np.linspace(0.1, 10, 1000)"),
    ("05.4", "up to 9", "np.geomspace(0.1, 10, 600)", "np.geomspace(0.1, 9, 600)"),
    ("06.1", "50 steps at most", "reversed(range(len(steps)))",
     "list(reversed(range(len(steps))))[:50]"),
    ("06.2", "cut at 15", "(1.0 if a >= 0 else small) / (1.0 + small)",
     "(1 / (1 + math.exp(-a)) if abs(a) < 15 else float(a > 0))"),
    ("06.3", "three inputs", "for source in node.inputs]", "for source in node.inputs[:3]]"),
    ("06.3", "two arrows at most", "arrows.append((source, node))",
     "arrows.count((source, node)) < 2 and arrows.append((source, node))"),
    ("06.4", "the nearest first", "for name in reversed(order):",
     "near = [goal]\n"
     "            for n in near:\n"
     "                near += [m for m in np.atleast_1d(sheet[n])[1:] if m not in near]\n"
     "            for name in near:"),
    ("06.4", "positive divisors", "(b or 1)", "abs(b or 1)"),
    ("06.4", "only what is above 0 is a number", "isinstance(sheet[name], tuple):\n",
     "not (isinstance(sheet[name], float) and sheet[name] > 0):\n"),
    ("07.2", "only axes that are missing", "unbroadcast(to_b, b.shape)",
     "to_b.sum(axis=tuple(range(to_b.ndim - b.ndim)))"),
    ("07.2", "reshape", "unbroadcast(to_b, b.shape)",
     "(to_b.reshape(-1, *b.shape).sum(axis=0) if to_b.size else np.zeros(b.shape))"),
    ("07.3", "two inputs", "zip(node.inputs, node.slopes)",
     "list(zip(node.inputs, node.slopes))[:2]"),
    ("07.4", "20 elements", "errors.max()", "errors.ravel()[:20].max()"),
    ("07.4", "the sign of n", "np.maximum(abs(n), abs(a))", "np.maximum(n, abs(a))"),
]  # fmt: skip


@pytest.mark.parametrize("task, what, edits", [(t, what, edits) for t, what, *edits in WRONG])
def test_wrong_answers_that_are_in_no_bank_fail_under_every_seed(task, what, edits):
    task = find(task)
    source = task.right[0]
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source
        source = source.replace(old, new)
    assert [seed for seed in SEEDS if passes(task, source, seed)] == []


RIGHT = {
    "04.1": [
        """
from collections import namedtuple

Found = namedtuple("Found", "loss w b")


def weighted_gradient(x, t, r, w, b):
    e = np.einsum("nd,d->n", x, w) + b - t
    p = r / sum(r)
    return Found(
        np.dot(p, e * e), np.einsum("n,n,nd->d", 2 * p, e, x), 2 * np.dot(p, e)
    )
""",
        """
def weighted_gradient(x, t, r, w, b):
    total = loss = gb = 0.0
    gw = [0.0] * len(w)
    for row, t_n, r_n in zip(x.tolist(), t.tolist(), r.tolist()):
        e = sum(a * c for a, c in zip(row, w)) + b - t_n
        total += r_n
        loss += r_n * e**2
        gb += 2 * r_n * e
        gw = [g + 2 * r_n * e * a for g, a in zip(gw, row)]
    return loss / total, tuple(g / total for g in gw), gb / total
""",
        """
def weighted_gradient(x, t, r, w, b):
    keep = r > 0
    x, t, r = x[keep], t[keep], r[keep] / r[keep].sum()
    e = x.dot(w) + b - t
    g = 2 * np.diag(r) @ e
    return (np.sqrt(r) * e) @ (np.sqrt(r) * e), g @ x, float(g.sum())
""",
    ],
    "04.2": [
        """
def rates(x):
    A = np.c_[x, np.ones(len(x))]
    v = np.linalg.eigvals(A.T.dot(A) / len(x)).real
    return 1 / max(v), 1 / (max(v) + min(v))
""",
        """
def rates(x):
    A = np.append(x, np.ones((len(x), 1)), axis=1)
    H = 2 / len(x) * sum(np.outer(row, row) for row in A)
    return 2 / np.linalg.norm(H, 2), 2 / (
        np.linalg.norm(H, 2) + 1 / np.linalg.norm(np.linalg.inv(H), 2)
    )
""",
        """
def rates(x):
    A = np.column_stack([x, np.ones(len(x))])
    s = np.linalg.svd(A / len(x) ** 0.5)[1] ** 2 * 2
    return {"a": 2 / s[0], "b": 2 / (s[0] + s[-1])}.values().__iter__().__class__ and (
        2 / s[0],
        2 / (s[0] + s[-1]),
    )
""",
    ],
    "04.3": [
        """
def scaled_descent(x, t, x_test, rate, steps):
    mean, std = np.mean(x, 0), np.std(x, 0)
    std = np.where(std < 1e-10, 1, std)
    z = (x - mean) / std
    w, b = np.zeros(x.shape[1]), 0
    for _ in range(steps):
        g = 2 * (z @ w + b - t) / len(t)
        w, b = w - rate * g @ z, b - rate * g.sum()
    w = w / std
    return x_test @ w + b - mean @ w, w, b - mean @ w
""",
        """
def scaled_descent(x, t, x_test, rate, steps):
    constant = np.array([len(set(c)) == 1 for c in x.T.tolist()])
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[constant] = 1
    mean[constant] = x[0, constant]
    z = (x - mean) / std
    w, b = np.zeros(z.shape[1]), 0.0
    k = 0
    while k < steps:
        e = z @ w + b - t
        w = w - rate * 2 * np.mean(e[:, None] * z, axis=0)
        b -= rate * 2 * np.mean(e)
        k += 1
    y = ((x_test - mean) / std) @ w + b
    return y, w / std, b - np.sum(w * mean / std)
""",
        """
def scaled_descent(x, t, x_test, rate, steps):
    m, s = x.mean(0), x.std(0)
    s = np.array(
        [1.0 if np.allclose(c, c[0], rtol=1e-9, atol=0) else k for c, k in zip(x.T, s)]
    )
    A = np.c_[(x - m) / s, np.ones(len(x))]
    p = np.zeros(A.shape[1])
    H, c = 2 * A.T @ A / len(t), 2 * A.T @ t / len(t)
    for i in range(steps):
        p = p - rate * (H @ p - c)
    return (
        np.c_[(x_test - m) / s, np.ones(len(x_test))] @ p,
        p[:-1] / s,
        p[-1] - p[:-1] / s @ m,
    )
""",
    ],
    "04.4": [
        """
def momentum(gradient, w, rate, beta, steps, tolerance):
    w = w + 0.0
    v = 0
    rows = [w.tolist()]
    for _ in range(steps):
        g = gradient(w)
        if np.linalg.norm(g, np.inf) <= tolerance:
            return rows
        v = beta * v + g
        w = w - rate * v
        rows.append(w.tolist())
    return rows
""",
        """
def momentum(gradient, w, rate, beta, steps, tolerance):
    def walk(w):
        v = np.zeros(len(w))
        yield w.copy()
        for k in range(steps):
            g = gradient(w)
            if (abs(g) <= tolerance).all():
                return
            v *= beta
            v += g
            w -= rate * v
            yield w.copy()

    return np.vstack(list(walk(w.astype("float64"))))
""",
        """
def momentum(gradient, w, rate, beta, steps, tolerance):
    path, v, k = np.array([w], float), np.zeros_like(w, float), 0
    while k < steps and max(map(abs, gradient(path[-1]))) > tolerance:
        v = beta * v + gradient(path[-1])
        path = np.append(path, [path[-1] - rate * v], axis=0)
        k += 1
    return path
""",
    ],
    "05.1": [
        """
def softmax(scores, axis=-1):
    if not scores.size:
        return np.zeros(scores.shape)
    e = np.exp(scores - np.amax(scores, axis, keepdims=True))
    return e / np.expand_dims(e.sum(axis), axis)
""",
        """
def softmax(scores, axis=-1):
    z = np.swapaxes(scores, axis, -1)
    flat = z.reshape(-1, z.shape[-1])
    out = np.array(
        [np.exp(r - r.max()) / np.exp(r - r.max()).sum() for r in flat]
    ).reshape(z.shape)
    return np.swapaxes(out, axis, -1)
""",
        """
def softmax(scores, axis=-1):
    top = np.max(scores, axis=axis, keepdims=True)
    return np.exp(
        scores - top - np.log(np.sum(np.exp(scores - top), axis=axis, keepdims=True))
    )
""",
    ],
    "05.2": [
        """
def loss_and_gradient(scores, labels):
    known = labels != -1
    s = scores[known]
    s = s - s.max(1)[:, None]
    p = np.exp(s)
    p = p / p.sum(1)[:, None]
    m = len(s)
    hot = np.eye(scores.shape[1])[labels[known]]
    g = np.zeros_like(scores)
    g[known] = (p - hot) / m
    return (np.log(np.exp(s).sum(1)) - (s * hot).sum(1)).mean(), g
""",
        """
def loss_and_gradient(scores, labels):
    M = sum(1 for l in labels if l >= 0)
    loss = 0
    g = []
    for row, l in zip(scores, labels):
        if l < 0:
            g.append([0.0] * len(row))
            continue
        t = np.logaddexp.reduce(row)
        loss += t - row[l]
        g.append([(np.exp(v - t) - (k == l)) / M for k, v in enumerate(row)])
    return loss / M, g
""",
        """
def loss_and_gradient(scores, labels):
    mask = (labels >= 0).astype(float)[:, None]
    z = scores - scores.max(axis=-1, keepdims=True)
    lp = z - np.log(np.exp(z).sum(-1, keepdims=True))
    hot = np.zeros(scores.shape)
    np.put_along_axis(hot, np.maximum(labels, 0)[:, None], 1.0, 1)
    hot *= mask
    return np.array(-(hot * lp).sum() / mask.sum()), (
        np.exp(lp) * mask - hot
    ) / mask.sum()
""",
    ],
    "05.3": [
        """
def calibration_error(p, labels, groups):
    c, hit = np.max(p, 1), (np.argmax(p, 1) == labels).astype(float)
    o = c.argsort()
    n = len(o)
    q, r = divmod(n, groups)
    ends = np.cumsum([0] + [q + 1] * r + [q] * (groups - r))
    return float(sum(abs((c - hit)[o][a:b].sum()) for a, b in zip(ends, ends[1:])) / n)
""",
        """
def calibration_error(p, labels, groups):
    rows = sorted(zip(p.max(1).tolist(), (p.argmax(1) == labels).tolist()))
    return np.sum(
        [
            len(g)
            / len(rows)
            * abs(np.mean([a for a, _ in g]) - np.mean([b for _, b in g]))
            for g in np.array_split(np.array(rows), groups)
            if len(g)
        ]
    )
""",
        """
def calibration_error(p, labels, groups):
    n = len(p)
    order = np.lexsort((p.max(axis=-1),))
    piece = np.repeat(
        np.arange(groups), [len(q) for q in np.array_split(order, groups)]
    )
    d = p.max(axis=-1)[order] - (p.argmax(axis=-1)[order] == labels[order])
    return np.abs(np.bincount(piece, d, groups)).sum() / n
""",
    ],
    "05.4": [
        """
def best_temperature(scores, labels):
    z = scores - scores.max(1, keepdims=True)
    y = z[np.arange(len(z)), labels]

    def f(T):
        return np.mean(np.log(np.exp(z / T).sum(1)) - y / T)

    T, step = 1.0, 1.5
    while step > 1.0005:
        if f(T * step) < f(T):
            T *= step
        elif f(T / step) < f(T):
            T /= step
        else:
            step = step**0.5
    return T
""",
        """
def best_temperature(scores, labels):
    z = scores - scores.max(1, keepdims=True)
    y = z[range(len(z)), labels]
    b = 0.1
    for i in range(300):  # Newton for 1/T, from below, held within bounds
        p = np.exp(b * z)
        p /= p.sum(1, keepdims=True)
        m = (p * z).sum(1)
        g, h = (m - y).mean(), ((p * z * z).sum(1) - m * m).mean()
        b = min(max(b - g / max(h, 1e-12), b / 2), b * 2)
    return np.float64(1 / b)
""",
        """
def best_temperature(scores, labels):
    top = scores.max(axis=1, keepdims=True)

    def loss(T):
        s = (scores - top) / T
        return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(labels)), labels]).sum()

    T = 1.0
    for width in (100, 3, 1.2, 1.02):
        tried = T * np.geomspace(1 / width, width, 25)
        T = min(tried, key=loss)
    return T
""",
    ],
    "06.2": [
        """
import math


def with_slope(name, a):
    if name == "tanh":
        return math.tanh(a), 1 - math.tanh(a) ** 2
    try:
        e = math.exp(-a)
    except OverflowError:
        e = math.inf
    s = 1 / (1 + e)
    d = s * (1 / (1 + (math.exp(a) if a < 700 else math.inf)))
    if name == "sigmoid":
        return s, d
    if name == "softplus":
        return (a + math.log1p(e) if a > 0 else math.log1p(math.exp(a))), s
    return a * s, s + a * d
""",
    ],
    "07.1": [
        """
def unbroadcast(g, shape):
    full = (1,) * (g.ndim - len(shape)) + tuple(shape)
    return g.sum(
        axis=tuple(i for i in range(g.ndim) if full[i] == 1), keepdims=True
    ).reshape(shape)
""",
        """
def unbroadcast(g, shape):
    out = np.zeros(shape)
    np.add.at(
        out,
        tuple(
            np.zeros_like(i) if n == 1 else i
            for i, n in zip(np.indices(g.shape)[g.ndim - len(shape) :], shape)
        ),
        g,
    ) if shape else None
    return out if shape else g.sum()
""",
        """
def unbroadcast(g, shape):
    letters = "abcdefgh"[: g.ndim]
    k = letters[g.ndim - len(shape) :]
    return np.einsum(
        letters + "->" + "".join(c for c, n in zip(k, shape) if n != 1), g
    ).reshape(shape)
""",
    ],
    "07.2": [
        """
def matmul_gradient(g, a, b):
    def back(v, s):
        v = v.sum(axis=tuple(range(v.ndim - len(s))))
        return v.sum(
            axis=tuple(i for i, n in enumerate(s) if n == 1 and v.shape[i] != 1),
            keepdims=True,
        )

    return back(g @ np.moveaxis(b, -1, -2), a.shape), back(
        np.matrix_transpose(a) @ g, b.shape
    )
""",
    ],
    "07.4": [
        """
def gradient_check(f, gradient, x):
    x = x + np.float64(0.0) if x.ndim else np.array(float(x))
    x = np.asarray(x, float)
    a, worst = np.asarray(gradient(x)), []
    flat = x.ravel()
    for k in range(flat.size):
        v = []
        for h in (1e-5, -1e-5):
            y = flat.copy()
            y[k] += h
            v.append(f(y.reshape(x.shape)))
        n, c = (v[0] - v[1]) / 2e-5, a.ravel()[k]
        worst.append(abs(n - c) / max(1, abs(n), abs(c)))
    return np.max(worst)
""",
    ],
}


@pytest.mark.parametrize(
    "task, words, number",
    [("05.4", "hardly changes any more", 2), ("06.4", "hands its gradient on before", 3)],
)
def test_mistakes_that_only_some_inputs_show_fail_under_twelve_seeds(task, words, number):
    task = find(task)
    known = [source for sentence, source in task.bank() if words in sentence]
    assert len(known) == number
    assert [s for s in range(12) for source in known if passes(task, source, s)] == []


@pytest.mark.parametrize("task", RIGHT)
def test_right_answers_in_other_styles_get_all_points(task):
    for source in RIGHT[task]:
        for seed in SEEDS:
            assert verdict_on(find(task), source, seed).text == ""


def test_a_constant_column_of_tenths_does_no_harm():
    """Its computed standard deviation is 1.4e-17; the course's own solution divided by that."""
    x = np.column_stack([np.full(10, 0.1), np.arange(10.0)])
    assert x.std(axis=0)[0] > 0
    answer = find("04.3").compile(find("04.3").right[0])
    y, w, b = answer(x, np.arange(10.0), np.array([[5.0, 2.0]]), 0.1, 50)
    assert abs(y[0]) < 10 and abs(w[0]) < 1e-12 and abs(b) < 10


def test_a_wrong_order_of_cells_is_shown_by_a_sheet_without_a_circle():
    source = find("06.4").right[0]
    for call in "visit(left)\n", "visit(right)\n":
        source = source.replace(call, "pass\n")
    text = verdict_on(find("06.4"), textwrap.dedent(source)).text
    assert not text.startswith("circles")


def test_long_lists_are_shown_in_a_few_lines():
    """A chain of 10,000 alone is wrong: of it, a few numbers around the difference are shown."""
    source = find("07.3").right[0]
    cut = source.replace("return grads", "return dict(list(grads.items())[:7500])")
    text = verdict_on(find("07.3"), cut).text
    assert text.startswith("a chain of 10,000:")
    assert len(text) < 2500
