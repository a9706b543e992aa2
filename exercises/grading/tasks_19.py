"""The tasks of lesson 19: KL, a draw with a gradient, a walk between codes, PCA and denoising."""

import math

import numpy as np

from .task import Task

# ---- 19.1


def kl_cases(rng):
    def case(group, n, k, scale=2.0, logs=3.0):
        m = scale * rng.normal(size=(n, k)).round(3)
        return group, m, rng.uniform(-logs, logs, (n, k)).round(3)

    yield "by hand", np.array([[1.0]]), np.array([[np.log(4.0)]])
    yield "the unit normal", np.zeros((2, 3)), np.zeros((2, 3))
    yield "only a mean", np.array([[-3.0, 0.5]]), np.zeros((1, 2))
    yield "only a variance", np.zeros((1, 2)), np.array([[-2.0, 1.5]])
    yield case("one number", 1, 1)
    yield case("one sample", 1, 4)
    yield case("several", 3, 2)
    yield case("several", 2, 5)
    yield case("several", 4, 4)
    yield case("many", 300, 3)
    yield case("many", 3, 200)
    yield case("large and small variances", 4, 3, 2.0, 20.0)
    yield "large and small variances", np.zeros((1, 2)), np.array([[20.0, -20.0]])
    yield case("large and small means", 3, 2, 1e4)
    yield case("large and small means", 3, 2, 0.01, 0.5)


def kl_reference(m, log_var):
    total = 0.0
    for row, logs in zip(m.tolist(), log_var.tolist()):
        for a, v in zip(row, logs):
            total += (a * a + math.exp(v) - 1 - v) / 2
    return total / len(m)


KL = Task(
    id="19.1",
    cases=kl_cases,
    reference=kl_reference,
    equal=(
        ("keepdims", "the mean is over the same numbers"),
        ("as if no number in `m` were below 0", "m is squared"),
        ("the rows of `m` in the other order", "the sum over m and the sum over log_var are apart"),
        ("the rows of `m` sorted", "the sum over m and the sum over log_var are apart"),
        ("the rows of `log_var` in the other order",
         "the sum over m and the sum over log_var are apart"),
        ("the rows of `log_var` sorted", "the sum over m and the sum over log_var are apart"),
        ("the order turned round", "a sum has no order"),
        ("a new value made, where `+=`", "a number has no other name"),
    ),
    hints=(
        "Each number of a code pays for itself, by equation (4). What is added up, what averaged?",
        "With log_var the logarithm of the variance, the variance is np.exp(log_var).",
        "0.5 * (m**2 + np.exp(log_var) - 1 - log_var), summed over axis 1, and then the mean.",
    ),
    right=(
        """
        def kl(m, log_var):
            each = 0.5 * (m**2 + np.exp(log_var) - 1 - log_var)
            return each.sum(axis=1).mean()""",
        """
        def kl(m, log_var):
            sd = np.exp(log_var / 2)
            return (-np.log(sd) + (m * m + sd * sd - 1) / 2).sum() / len(m)""",
        """
        def kl(m, log_var):
            total = 0.0
            for a, v in zip(m, log_var):
                total += 0.5 * np.sum(a**2 + np.exp(v) - 1 - v)
            return total / m.shape[0]""",
    ),
    wrong=(
        ("the half in front is missing", "0.5 * ", ""),
        ("the numbers of a code are averaged; they are summed", "each.sum(axis=1)", "each"),
        ("the samples are summed; they are averaged", ".mean()", ".sum()"),
        ("the axes are changed over: samples are summed, and numbers averaged",
         "axis=1", "axis=0"),
        ("log_var is taken for the variance itself", "np.exp(log_var) - 1 - log_var",
         "abs(log_var) - 1 - np.log(abs(log_var) + 1e-300)"),
        ("log_var is taken for the logarithm of the deviation", "np.exp(log_var) - 1 - log_var",
         "np.exp(2 * log_var) - 1 - 2 * log_var"),
        ("the mean is not squared", "m**2", "m"),
        ("the mean is left out", "m**2 + ", ""),
        ("the 1 is not taken away, so the unit normal pays", " - 1 -", " -"),
        ("the logarithm has the wrong sign", "- 1 - log_var", "- 1 + log_var"),
        ("the whole has the wrong sign", "0.5 *", "-0.5 *"),
        ("only the first sample is counted", "each.sum(axis=1).mean()", "each[0].sum()"),
    ),
)  # fmt: skip

# ---- 19.2


def draw_cases(rng):
    def case(group, n, k, scale=1.0, logs=3.0):
        m, eps, g = (scale * rng.normal(size=(n, k)).round(3) for _ in range(3))
        return group, m, rng.uniform(-logs, logs, (n, k)).round(3), eps / scale, g

    four = [[[1.0]], [[np.log(4.0)]], [[-1.0]], [[-2.0]]]
    yield "by hand", *map(np.array, four)
    ones = np.ones((2, 2))
    yield "a draw of 0", 3 * ones, ones, 0 * ones, 2 * ones
    yield "a gradient of 0", ones, -ones, 2 * ones, 0 * ones
    yield "a deviation of 1", ones, 0 * ones, np.array([[1.0, -2.0], [0.5, 3.0]]), 4 * ones
    yield case("one number", 1, 1)
    yield case("several", 3, 2)
    yield case("several", 2, 4)
    yield case("several", 3, 3)
    yield case("many", 300, 2)
    yield case("many", 2, 200)
    yield case("large and small deviations", 3, 4, 1.0, 20.0)
    yield case("large and small means", 2, 3, 1e6)
    yield case("large and small means", 2, 3, 1e-6)


def draw_reference(m, log_var, eps, g):
    z, to_m, to_log = np.empty(m.shape), np.empty(m.shape), np.empty(m.shape)
    for i in np.ndindex(*m.shape):
        sd = math.exp(float(log_var[i]) / 2)
        z[i] = float(m[i]) + sd * float(eps[i])
        to_m[i], to_log[i] = g[i], float(g[i]) * float(eps[i]) * sd / 2
    return z, to_m, to_log


DRAW = Task(
    id="19.2",
    cases=draw_cases,
    reference=draw_reference,
    atol=1e-15,
    equal=(
        ("-> return (m + away, g, 0.5 * g * away)", "g comes back as it is"),
        ("`g` in place of `1.0 * g`", "g comes back as it is"),
    ),
    hints=(
        "z = m + sd * eps, an ordinary sum of an ordinary product; m comes in as it is.",
        "sd = exp(log_var / 2), so its derivative after log_var is sd / 2.",
        "The three results: m + sd * eps, g, and g * eps * sd / 2.",
    ),
    right=(
        """
        def draw(m, log_var, eps, g):
            sd = np.exp(log_var / 2)
            z = m + sd * eps
            return z, g, g * eps * sd / 2""",
        """
        def draw(m, log_var, eps, g):
            away = np.sqrt(np.exp(log_var)) * eps
            return m + away, g.copy(), 0.5 * g * away""",
        """
        def draw(m, log_var, eps, g):
            sd = np.exp(0.5 * log_var)
            to_sd = g * eps
            to_log_var = to_sd * 0.5 * sd
            return m + eps * sd, 1.0 * g, to_log_var""",
    ),
    wrong=(
        ("log_var is taken for the logarithm of the deviation", "log_var / 2", "log_var"),
        ("z and its gradient take exp of -log_var / 2", "log_var / 2", "-log_var / 2"),
        ("the draw is not multiplied by the deviation", "m + sd * eps", "m + eps"),
        ("the draw is taken away; it is added", "m + sd * eps", "m - sd * eps"),
        ("z lacks the mean", "m + sd * eps", "sd * eps"),
        ("z lacks the draw", "m + sd * eps", "m"),
        ("the gradient after m is multiplied by the draw", "z, g, g", "z, g * eps, g"),
        ("the gradient after m is 1; it is g", "z, g, g", "z, np.ones_like(g), g"),
        ("what comes back is the gradient after the deviation, not after log_var",
         "g * eps * sd / 2", "g * eps"),
        ("the gradient after log_var lacks the half", "sd / 2", "sd"),
        ("the gradient after log_var lacks the draw", "g * eps * sd / 2", "g * sd / 2"),
        ("the gradient after log_var lacks g", "g * eps * sd / 2", "eps * sd / 2"),
        ("the gradient after log_var lacks the deviation", "eps * sd / 2", "eps / 2"),
    ),
)  # fmt: skip

# ---- 19.3


def on_sphere(rng, d):
    while True:
        a, b = rng.normal(size=(2, d))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        if 0.2 < math.acos(np.clip(a @ b, -1, 1)) < 2.9:
            return a, b


def walk_cases(rng):
    def straight(group, d, steps, scale=1.0):
        a, b = scale * rng.normal(size=(2, d)).round(3)
        return group, a, b, steps, False

    right, up = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    yield "by hand", right, up, 3, False
    yield "by hand", right, up, 3, True
    yield "two steps", right, up, 2, True
    yield straight("two steps", 3, 2)
    yield straight("straight", 1, 4)
    yield straight("straight", 3, 3)
    yield straight("straight", 2, 7, 100.0)
    yield straight("straight", 2, 5, 1e-6)
    yield straight("many", 150, 4)
    yield straight("many", 2, 150)
    yield "the same code", right, right, 4, False
    yield "the same code", up, up, 4, True
    yield "the same code", -right, -right, 3, True
    for d, steps in ((2, 5), (3, 4), (3, 9), (5, 3), (40, 6), (2, 150)):
        yield "on the sphere", *on_sphere(rng, d), steps, True
    for other in ([0.6, -0.8, 0.0], [0.6, 0.0, 0.8], [0.6, 0.0, -0.8], [-0.6, 0.8, 0.0]):
        yield "some numbers equal", np.array([0.6, 0.8, 0.0]), np.array(other), 4, True
    yield "a wide angle", right, np.array([math.cos(2.9), math.sin(2.9)]), 5, True
    yield "a small angle", right, np.array([math.cos(0.1), math.sin(0.1)]), 5, True


def walk_reference(a, b, steps, sphere):
    same = all(p == q for p, q in zip(a, b))
    rows = []
    for i in range(steps):
        t = i / (steps - 1)
        if sphere and not same:
            # the direction at right angles to a, in the plane of both
            inner = sum(float(p) * float(q) for p, q in zip(a, b))
            across = [q - inner * p for p, q in zip(a, b)]
            length = math.sqrt(sum(v * v for v in across))
            turn = t * math.atan2(length, inner)
            rows.append([math.cos(turn) * p + math.sin(turn) * v / length
                         for p, v in zip(a, across)])  # fmt: skip
        else:
            rows.append([(1 - t) * p + t * q for p, q in zip(a, b)])
    return np.array(rows)


WALK = Task(
    id="19.3",
    cases=walk_cases,
    reference=walk_reference,
    equal=(
        ("np.squeeze((np.sin", "on the sphere neither axis has length 1"),
        ("`b @ a` in place of `a @ b`", "a product of two vectors has no order"),
    ),
    hints=(
        "t goes from 0 to 1 in equal steps, both ends included: np.linspace(0, 1, steps).",
        "On the sphere the shares of a and b are sines of angles; where a and b are the same, "
        "the sine below them is 0, so return early.",
        "With t = np.linspace(0, 1, steps)[:, None] and the angle np.arccos(a @ b): "
        "(np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle).",
    ),
    right=(
        """
        def walk(a, b, steps, sphere):
            t = np.linspace(0, 1, steps)[:, None]
            if not sphere or (a == b).all():
                return (1 - t) * a + t * b
            angle = np.arccos(a @ b)
            return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)""",
        """
        def walk(a, b, steps, sphere):
            rows = []
            for i in range(steps):
                t = i / (steps - 1)
                first, second = 1 - t, t
                if sphere and not np.array_equal(a, b):
                    angle = np.arccos((a * b).sum())
                    first = np.sin(first * angle) / np.sin(angle)
                    second = np.sin(second * angle) / np.sin(angle)
                rows.append(first * a + second * b)
            return np.stack(rows)""",
        """
        def walk(a, b, steps, sphere):
            t = np.arange(steps)[:, None] / (steps - 1)
            if sphere and np.any(a != b):
                across = b - (a @ b) * a
                length = np.sqrt(across @ across)
                angle = np.arctan2(length, a @ b)
                return np.cos(t * angle) * a + np.sin(t * angle) * across / length
            return a + t * (b - a)""",
    ),
    wrong=(
        ("the sphere is left: the walk is always straight", "if not sphere or", "if True or"),
        ("the straight walk goes over the sphere", "if not sphere or", "if np.linalg.norm(a) == 0 "
         "or"),
        ("the same code twice divides 0 by 0", " or (a == b).all()", ""),
        ("the walk goes from b to a", "[:, None]", "[::-1, None]"),
        ("the end is not reached", "np.linspace(0, 1, steps)",
         "np.linspace(0, 1, steps, endpoint=False)"),
        ("there is one step too many", "np.linspace(0, 1, steps)", "np.linspace(0, 1, steps + 1)"),
        ("the sum is not divided by the sine of the angle", " / np.sin(angle)", ""),
        ("the cosine is taken for the angle", "np.arccos(a @ b)", "(a @ b)"),
        ("the shares are changed over on the sphere",
         "np.sin((1 - t) * angle) * a + np.sin(t * angle) * b",
         "np.sin(t * angle) * a + np.sin((1 - t) * angle) * b"),
        ("the shares are cosines; they are sines", "np.sin((1 - t) * angle) * a",
         "np.cos((1 - t) * angle) * a"),
        ("the straight walk is drawn out to length 1; its steps are not equal", "angle = np.arccos",
         "p = (1 - t) * a + t * b\n            return p / np.linalg.norm(p, axis=1)[:, None]\n"
         "            angle = np.arccos"),
    ),
)  # fmt: skip

# ---- 19.4 and 19.5


def spread(rng, n, d, scale=1.0, shift=0.0):
    """Samples (n, d) whose variances along their directions are clearly apart."""
    ranks = min(n - 1, d)
    while True:
        u = rng.normal(size=(n, ranks))
        u = np.linalg.qr(u - u.mean(axis=0))[0]
        turned = np.linalg.qr(rng.normal(size=(d, ranks)))[0].T
        sizes = np.sort(abs(turned), axis=1)
        if d == 1 or (sizes[:, -1] > 1.03 * sizes[:, -2]).all():
            break
    s = 0.75 ** np.arange(ranks) * np.sqrt(n)
    return scale * (u * s @ turned + shift * rng.uniform(1, 2, d))


def spread_many(rng, n, d):
    """As `spread`, with as many directions as features, each in a plane of two features."""
    u = rng.normal(size=(n, d))
    u = np.linalg.qr(u - u.mean(axis=0))[0]
    turned = np.kron(np.eye(d // 2), [[0.8, 0.6], [-0.6, 0.8]])[:, rng.permutation(d)]
    turned = turned[rng.permutation(d)] * rng.choice([-1.0, 1.0], d)
    return u * (0.95 ** np.arange(d) * np.sqrt(n)) @ turned + rng.uniform(1, 2, d)


def by_eigen(x):
    """(mean, directions, variances) by the covariance: independent of an SVD."""
    mean = np.array([math.fsum(column) / len(x) for column in x.T])
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean))
    rows = vectors.T[::-1].copy()
    for row in rows:
        row *= 1 if max(row, key=abs) > 0 else -1
    return mean, rows, values[::-1]


def pca_cases(rng):
    yield "by hand", np.array([[8.0, 6.0], [-8.0, -6.0], [-3.0, 4.0], [3.0, -4.0]]), 2
    yield "one feature", np.array([[1.0], [3.0], [8.0]]), 1
    yield "two samples", np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 5.0]]), 1
    yield "mean 0", spread(rng, 6, 2), 2
    yield "several", spread(rng, 8, 3), 2
    yield "several", spread(rng, 9, 4, 1.0, 3.0), 1
    yield "several", spread(rng, 12, 5, 1.0, -2.0), 4
    yield "several", spread(rng, 7, 4, 2.0, 1.0), 4
    yield "more features than samples", spread(rng, 4, 7, 1.0, 2.0), 3
    yield "more features than samples", spread(rng, 3, 9, 1.0, -1.0), 2
    yield "as many features as samples", spread(rng, 5, 5, 1.0, 2.0), 2
    yield "large and small numbers", spread(rng, 6, 3, 1e4, 1.0), 2
    yield "large and small numbers", spread(rng, 6, 3, 1e-6, 1.0), 2
    yield "far from 0", spread(rng, 6, 3, 1.0, 100.0), 2
    yield "many samples", spread(rng, 300, 3, 1.0, 1.0), 2
    yield "many directions", spread_many(rng, 60, 40), 40
    yield "many directions", spread_many(rng, 45, 40), 35
    x = spread(rng, 7, 3, 1.0, 1.0)
    yield "a column of equal numbers", np.insert(x, 1, 5.0, axis=1), 2


def pca_reference(x, k):
    mean, rows, values = by_eigen(x)
    return mean, rows[:k], values[:k] / math.fsum(values)


PCA = Task(
    id="19.4",
    cases=pca_cases,
    reference=pca_reference,
    rtol=1e-6,
    atol=1e-12,
    equal=(
        ("`full_matrices=False` left out", "the further rows are not taken"),
        ("True in place of False", "the further rows are not taken"),
        ("the two sides of `-` exchanged", "directions have no sign until one is set"),
        ("the rows of `x` in the other order", "a mean and a variance have no order"),
        ("rows / np.sign(peak)", "a sign divides as it multiplies"),
        ("list(directions)[::-1]", "each is turned by itself"),
        ("eigh(centred.T @ centred * len(x))", "shares stay, whatever all is multiplied by"),
        ("eigh(centred.T @ centred)", "shares stay, whatever all is multiplied by"),
        ("if direction[np.argmax(np.abs(direction))] <= 0", "the number of largest size is not 0"),
        ("direction /= -1", "-1 divides as it multiplies"),
        ("if w.max() <= -w.min()", "no two sizes are equal"),
        ("left -= codes", "an array of the answer's own"),
        ("w /= np.sqrt", "an array of the answer's own"),
        ("range(1, 400)", "it has converged long before"),
        ("range(400 - 1)", "it has converged long before"),
        ("range(399)", "it has converged long before"),
        ("range(401)", "it has converged long before"),
        ("-> w = left[(left ** 2).mean(", "any sample does for a start"),
        ("-> w = left[(left ** 2).max(", "any sample does for a start"),
        ("-> w = left[(left ** 2).sum(axis=1, keepdims", "any sample does for a start"),
        ("-> w = left[(left * 2).sum(", "any sample does for a start"),
        ("-> w = left[left.sum(", "any sample does for a start"),
        ("-> w = left[(left ** 1).sum(", "any sample does for a start"),
        ("-> w = left[(left ** 3).sum(", "any sample does for a start"),
        ("left = codes[:, None] * w - left", "the sign is set at the end"),
        ("return (mean, rows, np.array(shares))", "a list is as good"),
        ("return (mean, np.array(rows), shares)", "a list is as good"),
    ),
    hints=(
        "First take the mean of each column away. Then np.linalg.svd(..., full_matrices=False).",
        "The shares are squares of the singular values, divided by the sum of all squares. For "
        "the sign find the number of largest size: abs(rows).argmax(axis=1).",
        "peak = rows[np.arange(k), abs(rows).argmax(axis=1)]; rows * np.sign(peak)[:, None].",
    ),
    right=(
        """
        def pca(x, k):
            mean = x.mean(axis=0)
            _, s, rows = np.linalg.svd(x - mean, full_matrices=False)
            rows = rows[:k]
            peak = rows[np.arange(k), abs(rows).argmax(axis=1)]
            return mean, rows * np.sign(peak)[:, None], s[:k] ** 2 / (s**2).sum()""",
        """
        def pca(x, k):
            mean = x.mean(axis=0)
            centred = x - mean
            values, vectors = np.linalg.eigh(centred.T @ centred / len(x))
            order = np.argsort(values)[::-1][:k]
            directions = vectors[:, order].T
            for direction in directions:
                if direction[np.argmax(np.abs(direction))] < 0:
                    direction *= -1
            return mean, directions, values[order] / values.sum()""",
        """
        def pca(x, k):
            mean = x.sum(axis=0) / len(x)
            left = x - mean
            total, rows, shares = (left**2).sum(), [], []
            for _ in range(k):
                w = left[(left**2).sum(axis=1).argmax()]
                for _ in range(400):
                    w = left.T @ (left @ w)
                    w = w / np.sqrt(w @ w)
                if w.max() < -w.min():
                    w = -w
                codes = left @ w
                rows.append(w)
                shares.append(codes @ codes / total)
                left = left - codes[:, None] * w
            return mean, np.array(rows), np.array(shares)""",
    ),
    wrong=(
        ("the mean is not taken away", "svd(x - mean", "svd(x"),
        ("one mean is taken of all numbers; each column has its own", "x - mean", "x - x.mean()"),
        ("the columns are divided by their deviations too", "x - mean,",
         "(x - mean) / np.maximum(x.std(axis=0), 1e-12),"),
        ("the sign is left as the SVD gives it", "rows * np.sign(peak)[:, None]", "rows"),
        ("the sign is turned so that the first number is below 0", "rows * np.sign(peak)[:, None]",
         "rows * -np.sign(rows[:, :1] + 1e-300)"),
        ("the signs are changed over: the largest number is below 0", "rows * np.sign(peak)",
         "rows * -np.sign(peak)"),
        ("the sign is that of the first number, not of the largest", "abs(rows).argmax(axis=1)",
         "0"),
        ("the largest number is sought without its sign", "abs(rows).argmax", "rows.argmin"),
        ("the directions stand in columns", "rows * np.sign(peak)[:, None],",
         "(rows * np.sign(peak)[:, None]).T,"),
        ("the shares are of deviations, not of variances", "s[:k] ** 2 / (s**2).sum()",
         "s[:k] / s.sum()"),
        ("the shares are of the k directions alone", "(s**2).sum()", "(s[:k]**2).sum()"),
        ("the shares are added up", "s[:k] ** 2 / (s**2).sum()",
         "np.cumsum(s[:k] ** 2) / (s**2).sum()"),
        ("variances are given; shares of their sum are asked for", "s[:k] ** 2 / (s**2).sum()",
         "s[:k] ** 2 / len(x)"),
        ("the last directions are taken, those of least variance", "rows = rows[:k]",
         "rows = rows[::-1][:k]"),
        ("all directions come back", "            rows = rows[:k]\n",
         "            whole = k\n            k = len(rows)\n"),
    ),
)  # fmt: skip


def clean_cases(rng):
    def case(group, n, d, share, m=3, scale=1.0, shift=1.0):
        x = spread(rng, n, d, scale, shift)
        noisy = x[rng.integers(0, n, m)] + scale * rng.normal(size=(m, d))
        return group, x, noisy, share

    four = np.array([[3.0, 1.0], [1.0, 3.0], [-3.0, -1.0], [-1.0, -3.0]])
    yield "by hand", four, np.array([[5.0, 1.0]]), 0.7
    yield "by hand", four, np.array([[5.0, 1.0]]), 0.9
    yield "one direction", *case("", 8, 3, 0.05)[1:]
    yield "one direction", *case("", 8, 3, 0.3)[1:]
    yield case("several", 9, 4, 0.6)
    yield case("several", 12, 5, 0.8)
    yield case("several", 10, 6, 0.9, 5)
    yield case("nearly all", 10, 3, 0.99)
    yield case("more features than samples", 4, 8, 0.7)
    yield case("more features than samples", 3, 6, 0.99)
    yield case("one noisy sample", 6, 3, 0.7, 1)
    yield case("no noisy sample", 6, 3, 0.7, 0)
    yield case("many noisy samples", 6, 3, 0.7, 200)
    yield case("many clean samples", 300, 3, 0.7)
    yield case("far from 0", 7, 3, 0.7, 3, 1.0, 100.0)
    yield case("large and small numbers", 7, 3, 0.7, 3, 1e4)
    yield case("large and small numbers", 7, 3, 0.7, 3, 1e-6)
    x = spread_many(rng, 60, 40)
    yield "many directions", x, x[:4] + rng.normal(size=(4, 40)), 0.95
    yield "one feature", np.array([[1.0], [3.0], [8.0]]), np.array([[2.0], [9.0]]), 0.5


def clean_reference(clean, noisy, share):
    mean, rows, values = by_eigen(clean)
    total, kept, k = math.fsum(values), 0.0, 0
    while kept < share * total:
        kept += values[k]
        k += 1
    out = np.zeros(noisy.shape)
    for i, sample in enumerate(noisy):
        out[i] = mean
        for row in rows[:k]:
            out[i] += sum(a * b for a, b in zip(sample - mean, row)) * row
    return out, k


CLEAN = Task(
    id="19.5",
    cases=clean_cases,
    reference=clean_reference,
    rtol=1e-6,
    atol=1e-11,
    equal=(
        ("-> mean = clean.mean(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("-> mean = clean.sum(axis=0, keepdims=True)", "the one row is stretched over all"),
        ("`full_matrices=False` left out", "the further rows are not taken"),
        ("True in place of False", "the further rows are not taken"),
        ("svd(mean - clean, full", "directions have no sign until one is set"),
        ("the rows of `clean` in the other order", "a mean and a variance have no order"),
        ("`<=` in place of `<`", "no sum is as near as that"),
        ("as if `share` were never below 0", "it is above 0"),
        ("kept = kept + values[k]", "values[0] is a number"),
        ("two arguments of `reshape` exchanged", "the table is square"),
        ("`ddof=0` left out", "shares stay, whatever all is divided by"),
        ("ddof=1", "shares stay, whatever all is divided by"),
        ("list(rows[:k])[::-1]", "a sum has no order"),
        ("k = 1 -> k = 0", "a share above 0 needs a direction"),
    ),
    hints=(
        "All that is learned, the mean, the directions and how many, comes from `clean` alone.",
        "np.cumsum of the shares; k is one more than the number of sums below `share`.",
        "codes = (noisy - mean) @ rows[:k].T, and back: codes @ rows[:k] + mean.",
    ),
    right=(
        """
        def denoise(clean, noisy, share):
            mean = clean.mean(axis=0)
            _, s, rows = np.linalg.svd(clean - mean, full_matrices=False)
            kept = np.cumsum(s**2) / (s**2).sum()
            k = int((kept < share).sum()) + 1
            rows = rows[:k]
            return (noisy - mean) @ rows.T @ rows + mean, k""",
        """
        def denoise(clean, noisy, share):
            mean = clean.mean(0)
            values, vectors = np.linalg.eigh(np.cov(clean.T, ddof=0).reshape(len(mean), -1))
            values, vectors = values[::-1], vectors[:, ::-1]
            k, kept = 1, values[0]
            while kept < share * values.sum():
                kept += values[k]
                k += 1
            plane = vectors[:, :k]
            return mean + (noisy - mean) @ plane @ plane.T, k""",
        """
        def denoise(clean, noisy, share):
            mean = clean.sum(axis=0) / len(clean)
            s, rows = np.linalg.svd(clean - mean, full_matrices=False)[1:]
            k = 1
            while (s[:k] ** 2).sum() < share * (s**2).sum():
                k += 1
            out = np.zeros(noisy.shape) + mean
            for w in rows[:k]:
                out += np.outer((noisy - mean) @ w, w)
            return out, k""",
    ),
    wrong=(
        ("the mean of the noisy samples is taken", "(noisy - mean) @ rows.T @ rows + mean",
         "(noisy - noisy.mean(axis=0)) @ rows.T @ rows + noisy.mean(axis=0)"),
        ("the mean is not given back", " @ rows + mean", " @ rows"),
        ("the mean is not taken away before the directions are sought", "svd(clean - mean",
         "svd(clean"),
        ("the mean is not taken from the noisy samples", "(noisy - mean)", "noisy"),
        ("the mean is taken away for the directions alone", "(noisy - mean) @ rows.T @ rows + mean",
         "noisy @ rows.T @ rows"),
        ("the mean is forgotten altogether", "clean.mean(axis=0)", "0 * clean[0]"),
        ("the codes come back, not the samples", " @ rows.T @ rows + mean", " @ rows.T"),
        ("one direction is missing", "+ 1\n", "\n"),
        ("one direction is missing wherever two or more are needed",
         "int((kept < share).sum()) + 1", "max(1, int((kept < share).sum()))"),
        ("one direction is too many", "+ 1\n", "+ 2\n"),
        ("the share is of deviations, not of variances", "np.cumsum(s**2) / (s**2).sum()",
         "np.cumsum(s) / s.sum()"),
        ("the directions of least variance are kept", "rows = rows[:k]", "rows = rows[::-1][:k]"),
        ("the first direction alone is kept", "rows = rows[:k]", "rows = rows[:1]"),
        ("what is kept is taken away: the noise comes back",
         "(noisy - mean) @ rows.T @ rows + mean", "noisy - (noisy - mean) @ rows.T @ rows"),
        ("each variance is held against the share alone, without a sum", "np.cumsum(s**2)",
         "s**2"),
    ),
)  # fmt: skip

TASKS = [KL, DRAW, WALK, PCA, CLEAN]
