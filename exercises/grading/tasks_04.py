"""The tasks of lesson 04: gradients of squared errors, learning rates, units, momentum."""

import numpy as np

from .task import Task

# Of what a number may be off, as the notebook says.
PRECISION = {"rtol": 1e-6, "atol": 1e-8}
STEP = "the rate is above 0"

# ---- 04.1


def weighted_cases(rng):
    def some(*shape):
        return np.round(rng.uniform(1, 5, shape) * rng.choice([-1, 1], shape), 1)

    def case(group, n, d, r):
        return group, some(n, d), some(n) * 5, np.array(r, float), some(d), float(some())

    yield case("one row", 1, 1, [1])
    yield case("one row", 1, 2, [3])
    yield case("all rows alike", 3, 1, [1, 1, 1])
    yield case("all rows alike", 2, 2, [5, 5])
    yield case("some count more", 2, 1, [3, 1])
    yield case("some count more", 3, 2, [0.5, 2, 4])
    yield case("rows that do not count", 3, 1, [0, 2, 3])
    yield case("rows that do not count", 4, 4, [0, 0, 3, 0])
    yield case("many rows", 40, 3, np.round(rng.uniform(0, 4, 40), 1))
    yield case("many rows", 300, 2, np.round(rng.uniform(0, 4, 300), 2))
    yield case("more columns than rows", 5, 40, rng.uniform(0.5, 2, 5).round(2))
    yield case("r that are small", 3, 2, rng.uniform(0.001, 0.009, 3).round(4))
    yield case("r that are small", 4, 1, [1e-5, 2e-5, 0, 3e-5])
    group, x, t, r, w, b = case("large numbers", 4, 2, [1, 2.5, 0.1, 3])
    yield group, x * 30.3, t * 300.7, r * 500, w * 20.1, b * 300
    # Close to the targets, which are large: the errors have few digits in common with them.
    group, x, t, r, w, b = case("small errors of large numbers", 5, 2, [1, 2.5, 0.1, 3, 0])
    yield group, x, x @ w + 31234.567 + t / 1000, r, w, 31234.567
    group, x, t, r, w, b = case("some rows without an error", 3, 2, [1, 2, 3])
    x, w, b = np.round(x), np.round(w), float(round(b))
    yield group, x, x @ w + b, r, w, b
    yield group, x, x @ w + b + [0, 1.5, 0], r, w, b


def weighted_reference(x, t, r, w, b):
    loss, g_w, g_b, total = 0.0, [0.0] * len(w), 0.0, sum(map(float, r))
    for row, target, count in zip(x, t, r):
        error = sum(x_d * w_d for x_d, w_d in zip(row, w)) + b - target
        loss += count * error * error / total
        g_b += 2 * count * error / total
        for d in range(len(w)):
            g_w[d] += 2 * count * error * row[d] / total
    return float(loss), np.array(g_w), float(g_b)


WEIGHTED = Task(
    id="04.1",
    cases=weighted_cases,
    reference=weighted_reference,
    **PRECISION,
    equal=(("r = abs(r)", "no r is below 0"),),
    hints=(
        "How much does the loss change when one answer ŷ_n grows a little? Write that down as an "
        "array (N,); both gradients are made of it.",
        "The slope for ŷ_n is 2 r_n error_n / (sum of r). For b these add up; for w_d each is "
        "multiplied by x_nd first.",
        "share = 2 * r * error / r.sum(); the gradients are x.T @ share and share.sum().",
    ),
    right=(
        """
        def weighted_gradient(x, t, r, w, b):
            error = x @ w + b - t
            loss = (r * error**2).sum() / r.sum()
            share = 2 * r * error / r.sum()
            return loss, x.T @ share, share.sum()""",
        """
        def weighted_gradient(x, t, r, w, b):
            ones = np.column_stack([x, np.ones(len(x))])
            error = ones @ np.append(w, b) - t
            g = 2 * (ones * error[:, None] * r[:, None]).sum(axis=0) / r.sum()
            return np.average(error**2, weights=r), g[:-1], g[-1]""",
        """
        def weighted_gradient(x, t, r, w, b):
            def loss(w, b):
                return (r * (x @ w + b - t) ** 2).sum() / r.sum()
            h, g_w = 1e-3, []
            for d in range(len(w)):
                e = np.zeros(len(w)); e[d] = h
                g_w.append((loss(w + e, b) - loss(w - e, b)) / (2 * h))
            return [loss(w, b), g_w, (loss(w, b + h) - loss(w, b - h)) / (2 * h)]""",
    ),
    wrong=(
        ("the 2 of the square's slope is missing", "2 * r * error", "r * error"),
        ("the sum is divided by the number of rows, not by the sum of r",
         "share = 2 * r * error / r.sum()", "share = 2 * r * error / len(t)"),
        ("the sum is not divided at all", "share = 2 * r * error / r.sum()",
         "share = 2 * r * error"),
        ("r is left out of both gradients", "2 * r * error / r.sum()", "2 * error / len(t)"),
        ("r is left out of the gradient for b", "x.T @ share, share.sum()",
         "x.T @ share, 2 * error.mean()"),
        ("r is squared: it weighs the squared error, it does not multiply the error first",
         "2 * r * error / r.sum()", "2 * r**2 * error / r.sum()"),
        ("each row is repeated r times, rounded, and r need not be whole",
         "share = 2 * r * error / r.sum()",
         "rows = np.repeat(np.arange(len(r)), np.round(r).astype(int))\n"
         "            x, share = x[rows], 2 * error[rows]",
         "x.T @ share, share.sum()", "x.T @ share / len(rows), share.sum() / len(rows)"),
        ("each row is repeated r times, cut to whole times, and r need not be whole",
         "share = 2 * r * error / r.sum()",
         "rows = np.repeat(np.arange(len(r)), r.astype(int))\n"
         "            x, share = x[rows], 2 * error[rows]",
         "x.T @ share, share.sum()", "x.T @ share / len(rows), share.sum() / len(rows)"),
        ("the slopes are differences on one side, (L(w + h) - L(w)) / h, which are off by about h",
         """
            def weighted_gradient(x, t, r, w, b):
                def loss(w, b):
                    return (r * (x @ w + b - t) ** 2).sum() / r.sum()
                h, now = 1e-5, loss(w, b)
                g_w = np.array([(loss(w + h * e, b) - now) / h for e in np.eye(len(w))])
                return now, g_w, (loss(w, b + h) - now) / h"""),
        ("the gradients have the wrong sign: the error is answer minus target",
         "share = 2", "share = -2"),
        ("the gradient for w is that for b: the inputs x are left out",
         "x.T @ share,", "np.full(len(w), share.sum()),"),
        ("the gradients are averaged over the rows once more, after the division by the sum of r",
         "x.T @ share, share.sum()", "x.T @ share / len(t), share.mean()"),
        ("the absolute error is differentiated, not its square",
         "2 * r * error / r.sum()", "r * np.sign(error) / r.sum()"),
    ),
)  # fmt: skip

# ---- 04.2


def rates_cases(rng):
    def some(n, *scales):
        """Columns with a mean of their own; rows up and down keep the curvatures away from 0."""
        wave = np.array([np.resize(np.r_[[1.0] * k, [-1.0] * k], n) for k in range(1, 9)])
        columns = wave[: len(scales)].T + rng.uniform(-0.2, 0.2, (n, len(scales)))
        return np.round((columns + rng.uniform(0.6, 1.2)) * scales, 2)

    yield "one column", some(4, 1.0)
    yield "one column", some(3, 3.0)
    yield "small numbers", some(4, 0.3)
    yield "two columns", some(8, 1.0, 2.0)
    yield "two columns", some(9, 3.0, 0.5)
    yield "many columns", some(64, 1.0, 2.0, 0.5, 1.5)
    yield "large numbers", some(16, 30.0, 1.0)
    x = some(16, 2.0)
    yield "columns that go together", np.column_stack([x, x + rng.uniform(-0.5, 0.5, x.shape)])
    yield "small numbers", some(16, 0.02, 0.3, 0.1)
    yield "large numbers", some(16, 2.0, 300.0, 20.0)
    for scales in (1.0, 3.0, 0.4), (3.0, 0.4, 1.0), (0.4, 1.0, 3.0), (3.0, 1.0, 0.4):
        yield "columns in any order", some(12, *scales)
    yield "hardly more rows than columns", rng.normal(size=(7, 6)).round(2)
    yield "many columns", rng.normal(0.5, 1, (200, 22)).round(2)
    # Columns at right angles to each other and to the ones, nearly as long as those.
    wave = np.array([np.resize(np.r_[[1.0] * k, [-1.0] * k], 8) for k in (1, 2, 4)]).T
    lengths = 1 + rng.permutation([0.004, 0.008, 0.012])
    yield "curvatures almost alike", wave * lengths
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    yield "curvatures almost alike", wave * lengths @ turn
    yield "many digits", 300 + rng.normal(size=(9, 2))
    yield "tiny numbers", some(4, 1e4) * 1e-8
    yield "tiny numbers", some(8, 1e4, 3e4) * [1e-8, 1e-7]


def rates_reference(x):
    n, m = len(x), x.shape[1] + 1
    rows = [[*map(float, row), 1.0] for row in x]
    h = [[sum(2 * row[i] * row[j] for row in rows) / n for j in range(m)] for i in range(m)]
    for _ in range(15):  # Jacobi 1846: turn each pair of axes until the table is diagonal
        for i in range(m):
            for j in range(i + 1, m):
                angle = 0.5 * np.arctan2(2 * h[i][j], h[i][i] - h[j][j])
                c, s = float(np.cos(angle)), float(np.sin(angle))
                for k in range(m):
                    a, b = h[k][i], h[k][j]
                    h[k][i], h[k][j] = c * a + s * b, c * b - s * a
                for k in range(m):
                    a, b = h[i][k], h[j][k]
                    h[i][k], h[j][k] = c * a + s * b, c * b - s * a
    c = [h[i][i] for i in range(m)]
    return 2 / max(c), 2 / (max(c) + min(c))


# The ones alone make the largest curvature 2 at least, so the best rate is 1 at most.
WIDER = (
    "2 / max(c), 0.0", "0.0, 3 / max(c)", "0.0, 2 / min(c)", "0.0, 2 * max(c)", "0.0, max(c) / 2",
    "0.0, 2", "0.0, max(c)",
)  # fmt: skip
CUT = "any two places between cut a piece off"

RATES = Task(
    id="04.2",
    cases=rates_cases,
    reference=rates_reference,
    **PRECISION,
    equal=(
        ("x = x[::-1]", "the Hessian is the same in whatever order the rows come"),
        *((f"-> low, high = ({ends})", "it searches a longer piece") for ends in WIDER),
        ("range(1, 100)", "so many rounds are more than enough"),
        ("range(100 - 1)", "so many rounds are more than enough"),
        ("range(99)", "so many rounds are more than enough"),
        ("range(101)", "so many rounds are more than enough"),
        ("<= max(abs(1 - b * c))", "where both are the same the best lies between them"),
        ("if max(1 - a * c) <", "where that sign counts, both points are above the best"),
        ("-> a, b = (low + (high - low) / 2, high - (high - low) / 3)", CUT),
        ("-> a, b = (low + (high - low) / 4, high - (high - low) / 3)", CUT),
        ("-> a, b = (low + (high - low) / 3, high - (high - low) / 2)", CUT),
        ("-> a, b = (low + (high - low) / 3, high - (high - low) / 4)", CUT),
    ),
    hints=(
        "Both rates need the curvatures: the eigenvalues of the Hessian, which the lesson names.",
        "The Hessian is 2 * ones.T @ ones / N, np.linalg.eigvalsh gives its eigenvalues. At the "
        "best rate the axis with the smallest and the one with the largest curvature are equally "
        "slow.",
        "1 - rate * c_min = rate * c_max - 1. Solve for the rate.",
    ),
    right=(
        """
        def rates(x):
            ones = np.column_stack([x, np.ones(len(x))])
            c = np.linalg.eigvalsh(2 * ones.T @ ones / len(x))
            return 2 / c[-1], 2 / (c[0] + c[-1])""",
        """
        def rates(x):
            n, d = x.shape
            ones = np.hstack([np.ones((n, 1)), x])
            c = 2 * np.linalg.svd(ones, compute_uv=False) ** 2 / n
            return np.array([2 / c.max(), 1 / ((c.min() + c.max()) / 2)])""",
        """
        def rates(x):
            ones = np.column_stack([x, np.ones(len(x))])
            c = np.linalg.eigvals(2 * ones.T @ ones / len(x)).real
            low, high = 0.0, 2 / max(c)
            for repeat in range(100):
                a, b = low + (high - low) / 3, high - (high - low) / 3
                if max(abs(1 - a * c)) < max(abs(1 - b * c)):
                    high = b
                else:
                    low = a
            return [2 / max(c), low]""",
    ),
    wrong=(
        ("the Hessian lacks its 2", "2 * ones.T @ ones", "ones.T @ ones"),
        ("the Hessian is a sum over the rows, not their mean", "@ ones / len(x)", "@ ones"),
        ("the column of ones is left out: the bias is a parameter too",
         "ones = np.column_stack([x, np.ones(len(x))])", "ones = x"),
        ("the smallest curvature decides the largest rate; the steepest axis is the first to break",
         "2 / c[-1], ", "2 / c[0], "),
        ("the largest rate is 1 / c; there the factor is 0, and it may go down to -1",
         "2 / c[-1], ", "1 / c[-1], "),
        ("the best rate is 1 / c_max, which is best for the steepest axis alone",
         "2 / (c[0] + c[-1])", "1 / c[-1]"),
        ("the best rate is 1 / c_min, at which the steepest axis may diverge",
         "2 / (c[0] + c[-1])", "1 / c[0]"),
        ("the best rate is the mean of the rates that suit the two axes; the curvatures are "
         "averaged, not the rates",
         "2 / (c[0] + c[-1])", "(1 / c[0] + 1 / c[-1]) / 2"),
        ("the best rate is 1 divided by the mean of all curvatures; the largest and the smallest "
         "alone decide", "2 / (c[0] + c[-1])", "1 / c.mean()"),
        ("eig gives the curvatures in no order, and the first is taken for the largest",
         "linalg.eigvalsh", "linalg.eigvals", "2 / c[-1], ", "2 / c[0], "),
        ("the two rates are exchanged", "2 / c[-1], 2 / (c[0] + c[-1])",
         "2 / (c[0] + c[-1]), 2 / c[-1]"),
        ("x is standardised first: these are the rates of other data",
         "ones = np.column_stack([x, ",
         "ones = np.column_stack([(x - x.mean(axis=0)) / x.std(axis=0), "),
        ("the diagonal of the Hessian stands for its eigenvalues; the axes of the bowl are not "
         "the parameters",
         "np.linalg.eigvalsh(2 * ones.T @ ones / len(x))",
         "np.sort(np.diag(2 * ones.T @ ones / len(x)))"),
        ("the Hessian is divided by N - 1, not by N",
         "@ ones / len(x)",
         "@ ones / (len(x) - 1)"),
        ("eigvals gives the curvatures in no order, and the first and the last are taken for "
         "the ends",
         "linalg.eigvalsh",
         "linalg.eigvals"),
    ),
)  # fmt: skip

# ---- 04.3


def scaled_cases(rng):
    def some(n, *means):
        spread = rng.uniform(-1, 1, (n, len(means))) + np.resize([-2.0, 2.0, 1.0], n)[:, None]
        return np.round(np.array(means) + spread * [1.0, 3.0, 0.5, 2.0][: len(means)], 1)

    def case(group, n, m, means, rate, steps):
        t = np.round(rng.uniform(10, 90, n), 1)
        return [group, some(n, *means), t, some(m, *means) + 1.0, rate, steps]

    yield case("no step", 3, 2, [20.0], 0.1, 0)
    yield case("one step", 2, 1, [20.0], 0.1, 1)
    yield case("one step", 3, 2, [5.0, -30.0], 0.05, 1)
    yield case("many steps", 4, 2, [20.0], 0.1, 60)
    yield case("many steps", 9, 4, [20.0, -40.0, 3.0], 0.05, 40)
    constant = case("a column that is the same in every row", 4, 2, [20.0, 7.0], 0.1, 3)
    constant[1][:, 1] = 7.0
    yield constant
    constant = case("a column that is the same in every row", 6, 3, [3.0, 7.0, -4.0], 0.1, 30)
    constant[1][:, 0] = 2.0
    yield constant
    yield case("no test rows", 3, 0, [20.0, 5.0], 0.1, 5)
    group = "columns whose computed standard deviation is not quite 0"
    constant = case(group, 7, 2, [3.0, 0.0], 0.1, 3)
    constant[1][:, 1] = 0.1
    yield constant
    for n in 10, 6:
        _, x, t, x_test, rate, steps = case(group, n, 3, [20.0], 0.05, 9)
        others = rng.permutation([0.1, 0.7, -1.1, 123.4, 0.3])
        x = np.insert(np.tile(others, (n, 1)), 2, x[:, 0], axis=1)
        yield group, x, t, np.hstack([x_test + k for k in range(6)]), rate, steps
    group = "one row"
    yield case(group, 1, 2, [0.1, 30.0], 0.1, 4)
    narrow = case("a column that hardly changes", 5, 2, [2.0, 4.0], 0.1, 20)
    narrow[1][:, 1] = 0.5 + 0.003 * rng.permutation([-1, 1, 2, -2, 0.5])
    narrow[3][:, 1] = 0.5 + 0.003 * rng.uniform(-2, 2, 2)
    yield narrow
    repeated = case("a column with equal numbers", 5, 2, [2.0, 4.0], 0.1, 20)
    repeated[1][:, 1] = [7, 7, 7 + rng.uniform(1, 2), 7 - rng.uniform(0.3, 0.6), 7]
    yield repeated
    for sign in 1, -1:
        _, x, t, x_test, rate, _ = case("hundreds of steps", 8, 3, [20.0, 5.0], 0.02, 0)
        # Targets that a plane goes through: the error becomes small, and the steps go on.
        yield "hundreds of steps", x, sign * (x @ [0.5, 2.0] + 3), x_test, rate, 400
        one, one_test = x[:, :1], x_test[:, :1]
        yield "hundreds of steps", one, sign * (4.0 * one[:, 0] - 7), one_test, 0.05, 180
    _, x, t, x_test, rate, steps = case("numbers below 0", 6, 3, [-20.0, 3.0], 0.1, 30)
    yield "numbers below 0", x, -t, x_test, rate, steps
    _, x, t, x_test, rate, steps = case("numbers of both signs", 6, 5, [0.0, 3.0], 0.1, 30)
    yield "numbers of both signs", x, np.round(rng.uniform(-9, 9, 6), 1), x_test, rate, steps
    n, d = 45, 24
    x, x_test = rng.normal(rng.uniform(-9, 9, d), 2, (n, d)), rng.normal(0, 9, (30, d))
    yield "many rows and columns", x, 9 * rng.normal(size=n), x_test, 0.02, 12
    digits = case("many digits", 6, 2, [0.0], 0.1, 30)
    yield from hard_to_scale(rng, case)
    digits[1], digits[3] = 4000 + 3 * rng.normal(size=(6, 2)), 4000 + 3 * rng.normal(size=(2, 2))
    yield digits


def hard_to_scale(rng, case):
    """Columns of tiny numbers and of zeros, and descents that run away or hardly move."""
    for scale in 1e-9, 1e-8, 1e6:
        tiny = case("numbers of any size", 5, 2, [2.0, 4.0], 0.1, 20)
        tiny[1][:, 0] *= scale
        tiny[3][:, 0] *= scale
        yield tiny
    zeros = case("a column of zeros", 4, 2, [2.0, 4.0], 0.1, 9)
    zeros[1][:, int(rng.integers(2))] = 0.0
    yield zeros
    yield case("steps that run away", 4, 2, [2.0], 1.5, 12)
    yield case("steps that run away", 5, 2, [2.0, -3.0], 1.3, 25)
    _, x, t, x_test, *_ = case("", 6, 2, [20.0], 0.05, 0)
    yield "hundreds of steps", x, x[:, 0] / 100, x_test, 0.05, 130
    yield "small targets", x, t * 1e-7, x_test, 0.05, 30


def scaled_reference(x, t, x_test, rate, steps):
    n, d = x.shape
    mean = [sum(x[i][k] for i in range(n)) / n for k in range(d)]
    std = [(sum((x[i][k] - mean[k]) ** 2 for i in range(n)) / n) ** 0.5 for k in range(d)]
    std = [s if any(row[k] != x[0, k] for row in x) else 1.0 for k, s in enumerate(std)]
    z = [[(x[i][k] - mean[k]) / std[k] for k in range(d)] for i in range(n)]
    w, b = [0.0] * d, 0.0
    for _ in range(steps):
        error = [sum(z[i][k] * w[k] for k in range(d)) + b - t[i] for i in range(n)]
        slopes = [2 * sum(error[i] * z[i][k] for i in range(n)) / n for k in range(d)]
        w = [w[k] - rate * slopes[k] for k in range(d)]
        b = b - rate * 2 * sum(error) / n
    answers = [sum((r[k] - mean[k]) / std[k] * w[k] for k in range(d)) + b for r in x_test]
    b = b - sum(w[k] / std[k] * mean[k] for k in range(d))
    w = [w[k] / std[k] for k in range(d)]
    return np.array(answers, float), np.array(w), float(b)


NOTHING = "less its mean such a column is 0, whatever it is divided by"

SCALED = Task(
    id="04.3",
    cases=scaled_cases,
    reference=scaled_reference,
    **PRECISION,
    equal=(
        ("x.min(axis=0), 0.5, std)", NOTHING),
        ("x.min(axis=0), 2.0, std)", NOTHING),
        ("-> std[std < 1e-12] = 0.5", NOTHING),
        ("-> std[std < 1e-12] = 2.0", NOTHING),
        ("if np.ptp(column) else 0.5)", NOTHING),
        ("if np.ptp(column) else 2.0)", NOTHING),
        ("@ mean) -> return (z_test @ w + b, w / std, b - mean @", "the product is the same"),
        ("b = p[-1] - w @ mean -> b = p[-1] - mean @ w", "the product is the same"),
        ("rate = abs(rate)", STEP),
        ("p -= rate", "the array is its own"),
        ("b -= ", "a number, which nobody else holds"),
        ("<= 1e-12", "no column has just this standard deviation"),
        ("[::-1])) + b", "the order of a sum"),
        ("list(zip(w, columns))[::-1]))", "the order of a sum"),
        ("in zip(z, w))) + b", "the product is the same both ways"),
    ),
    hints=(
        "Write ŷ = sum of w_d (x_d - mean_d) / std_d + b, and collect what multiplies x_d. What "
        "remains is the bias.",
        "The old weight is w_d / std_d. The old bias is b minus the sum of old weight times mean.",
        "std = np.where(x.max(axis=0) == x.min(axis=0), 1.0, std); z = (x - mean) / std; "
        "descend on z; w = w / std; b = b - w @ mean; the answers are x_test @ w + b.",
    ),
    right=(
        """
        def scaled_descent(x, t, x_test, rate, steps):
            w, b = np.zeros(x.shape[1]), 0.0
            mean, std = x.mean(axis=0), x.std(axis=0)
            std = np.where(x.max(axis=0) == x.min(axis=0), 1.0, std)
            z, z_test = (x - mean) / std, (x_test - mean) / std
            for step in range(steps):
                error = z @ w + b - t
                w, b = w - rate * 2 * z.T @ error / len(t), b - rate * 2 * error.mean()
            return z_test @ w + b, w / std, b - (w / std) @ mean""",
        """
        def scaled_descent(x, t, x_test, rate, steps):
            mean, std = x.mean(axis=0), x.std(axis=0)
            std[std < 1e-12] = 1.0
            ones = np.column_stack([(x - mean) / std, np.ones(len(x))])
            p = np.zeros(x.shape[1] + 1)
            for step in range(steps):
                p = p - rate * 2 / len(t) * ones.T @ (ones @ p - t)
            w = p[:-1] / std
            b = p[-1] - w @ mean
            return x_test @ w + b, w, b""",
        """
        def scaled_descent(x, t, x_test, rate, steps):
            z, columns = [], []
            for column in x.T:
                m, s = np.mean(column), np.std(column) if np.ptp(column) else 1.0
                columns.append((m, s)); z.append((column - m) / s)
            w, b = [0.0] * len(z), 0.0
            for step in range(steps):
                error = sum(w_d * z_d for w_d, z_d in zip(w, z)) + b - t
                w = [w_d - rate * 2 * np.mean(error * z_d) for w_d, z_d in zip(w, z)]
                b = b - rate * 2 * np.mean(error)
            b = b - sum(w_d * m / s for w_d, (m, s) in zip(w, columns))
            w = np.array([w_d / s for w_d, (m, s) in zip(w, columns)])
            return [x_test.dot(w) + b, w, b]""",
    ),
    wrong=(
        ("the test rows are standardised with their own mean and standard deviation: a leak",
         "(x_test - mean) / std",
         "(x_test - x_test.mean(axis=0)) / (x_test.std(axis=0) + (x_test.std(axis=0) == 0)) "
         "if len(x_test) else x_test"),
        ("the means and standard deviations come from training and test rows together: a leak",
         "mean, std = x.mean(axis=0), x.std(axis=0)",
         "both = np.concatenate([x, x_test]); mean, std = both.mean(axis=0), both.std(axis=0)"),
        ("the test rows are not standardised, but the weights are those for standardised rows",
         "(x_test - mean) / std", "x_test"),
        ("the weights and the bias are given back in the new units",
         "w / std, b - (w / std) @ mean", "w, b"),
        ("the bias is not brought back: the means that were subtracted are missing from it",
         "b - (w / std) @ mean", "b"),
        ("the weights are multiplied by the standard deviation; the inputs were divided by it, "
         "and so are the weights",
         "w / std, b - (w / std) @ mean", "w * std, b - (w * std) @ mean"),
        ("the bias is corrected with the weights in the new units",
         "b - (w / std) @ mean", "b - w @ mean"),
        ("the correction of the bias has the wrong sign",
         "b - (w / std) @ mean", "b + (w / std) @ mean"),
        ("a column that never changes is divided by 0",
         "np.where(x.max(axis=0) == x.min(axis=0), 1.0, std)", "std"),
        ("the standard deviation is compared with 0, but of equal numbers it is computed as "
         "something like 1e-17", "x.max(axis=0) == x.min(axis=0)", "std == 0"),
        ("a column that hardly changes is taken for one that never changes",
         "x.max(axis=0) == x.min(axis=0)", "std < 0.1"),
        ("a column of small numbers is taken for one that never changes",
         "x.max(axis=0) == x.min(axis=0)", "std < 1e-8"),
        ("a small number is added to each standard deviation in place of a look at the column",
         "np.where(x.max(axis=0) == x.min(axis=0), 1.0, std)", "std + 1e-8"),
        ("the test rows lose their own mean, not that of x",
         "(x_test - mean) / std", "(x_test - x_test.sum(axis=0) / max(len(x_test), 1)) / std"),
        ("the descent ends early, when the errors are small; all steps are to be taken",
         "error = z @ w + b - t", "error = z @ w + b - t\n"
         "                if abs(error).max() < 1e-2: break"),
        ("the descent ends early, when the gradient is small; all steps are to be taken",
         "error = z @ w + b - t", "error = z @ w + b - t\n"
         "                slopes = np.append(2 * z.T @ error / len(t), 2 * error.mean())\n"
         "                if np.linalg.norm(slopes) < 1e-6: break"),
        ("the standard deviation divides by N - 1, not by N",
         "x.std(axis=0)", "x.std(axis=0, ddof=1)"),
        ("one mean and one standard deviation serve all columns",
         "x.mean(axis=0), x.std(axis=0)",
         "np.full(x.shape[1], x.mean()), np.full(x.shape[1], x.std())"),
        ("the 2 of the square's slope is missing in the steps",
         "rate * 2 * z.T", "rate * z.T", "rate * 2 * error", "rate * error"),
        ("x itself is standardised in place", "z, z_test = (x - mean) / std, (x_test - mean) / std",
         "x -= mean; x /= std; z, z_test = x, (x_test - mean) / std"),
        ("one step too many is taken",
         "range(steps)",
         "range(steps + 1)"),
        ("the best weights are computed at once; the task asks how far `steps` steps come",
         "for step in range(steps):",
         "if steps:\n                w, b = np.linalg.lstsq(z, t - t.mean(), rcond=None)[0], "
         "t.mean()\n            for step in []:"),
    ),
)  # fmt: skip

# ---- 04.4


def roll(answer, bowl, bottom, w, rate, beta, steps, tolerance):
    """The path on the loss with the Hessian `bowl` and its least value at `bottom`."""
    asked = []

    def gradient(place):
        asked.append(np.array(place, dtype=float))
        return bowl @ (asked[-1] - bottom)

    return answer(gradient, w, rate, beta, steps, tolerance)


def momentum_cases(rng):
    def case(group, curvatures, rate, beta, steps, tolerance=0.0, dtype=float):
        d = len(curvatures)
        turn = np.linalg.qr(rng.normal(size=(d, d)))[0] if d > 1 else np.eye(1)
        bowl = np.round(turn * curvatures @ turn.T, 2)
        bottom = np.round(rng.uniform(-2, 2, d), 1)
        away = rng.uniform(3, 5, d) * rng.choice([-1, 1], d)
        start = (bottom + away).round(0 if dtype is int else 1).astype(dtype)
        return group, bowl, bottom, start, rate, beta, steps, tolerance

    yield case("no step", [2.0], 0.1, 0.9, 0)
    yield case("one step", [2.0], 0.1, 0.9, 1)
    yield case("no momentum", [2.0], 0.1, 0.0, 3)
    yield case("no momentum", [1.0, 3.0], 0.2, 0.0, 5)
    yield case("momentum", [2.0], 0.1, 0.5, 3)
    yield case("momentum", [1.0, 4.0], 0.1, 0.9, 4)
    yield case("momentum", [1.0, 4.0, 0.5], 0.1, 0.8, 20)
    yield case("whole numbers at the start", [2.0], 0.3, 0.5, 3, dtype=int)
    yield case("whole numbers at the start", [1.0, 3.0], 0.1, 0.9, 4, dtype=int)
    bowl, middle = np.eye(2), np.array([0.5, 0.5])
    yield "the start is the bottom", bowl, middle, middle, 0.1, 0.9, 4, 0.0
    for group, away in [
        ("one element of the gradient is small", [0.0, rng.uniform(2, 3)]),
        ("one element of the gradient is small", [rng.uniform(-3, -2), 0.0]),
        ("one element of the gradient is small", [0.0, rng.uniform(0.6, 0.9)]),
        ("the gradient is small enough", [0.0, rng.uniform(0.2, 0.4)]),
        ("the gradient is small enough", [rng.uniform(-0.48, -0.4), rng.uniform(0.4, 0.48)]),
    ]:
        yield group, bowl, middle, middle + np.round(away, 2), 0.1, 0.9, 4, 0.5
    yield "as small as the tolerance", bowl, middle, np.array([1.0, 0.25]), 0.1, 0.9, 4, 0.5
    yield "as small as the tolerance", bowl, middle, np.array([0.0, 1.0]), 0.1, 0.9, 4, 0.5
    yield case("the gradient is small enough", [2.0], 0.1, 0.0, 100, 0.5)
    yield case("small, and still no end", [1.0, 0.9], 0.1, 0.0, 150)
    yield case("small, and still no end", [1.0, 0.9], 0.1, 0.5, 100, 1e-7)
    yield case("many steps", [0.5, 1.0], 0.002, 0.0, 1500)
    yield case("many steps", [1.0, 0.02, 0.3], 0.05, 0.97, 1200)
    yield case("many parameters", rng.uniform(0.5, 3, 25).round(1), 0.1, 0.7, 12)
    yield case("many parameters", rng.uniform(0.5, 3, 25).round(1), 0.1, 0.7, 60, 0.3)
    quiet = np.diag([1.0] + [0.5] * 23)
    start = np.r_[3.0, np.full(23, 0.6)] + rng.uniform(0, 0.1, 24).round(2)
    yield "one element of many is large", quiet, np.zeros(24), start, 0.2, 0.0, 40, 0.7
    yield "one element of many is large", quiet, np.zeros(24), start[::-1], 0.2, 0.0, 40, 0.7
    turned = np.diag([0.5] * 23 + [1.0])
    yield "one element of many is large", turned, np.zeros(24), -start[::-1], 0.2, 0.0, 40, 0.7
    _, bowl, bottom, start, *rest = case("large numbers", [1.0, 3.0], 0.2, 0.5, 5)
    yield "large numbers", bowl, bottom * 1234.5, start * 4321.7, *rest
    yield case("steps that grow", [1.0, 4.0], 0.7, 0.5, 9)
    yield case("steps that grow", [1.0], 12.0, 0.0, 40)
    one, start = np.eye(1), np.array([float(rng.integers(1, 5))])
    # The second velocity is 0, and the gradient is not.
    yield "a stop on the way", one, np.zeros(1), start, 1.5, 0.5, 6, 0.0
    yield "a stop on the way", one, np.zeros(1), -start, 1.5, 0.5, 9, 1e-3
    yield "small, and still no end", one, np.zeros(1), start, 0.5, 0.0, 60, 0.0
    yield "small, and still no end", one, np.zeros(1), start * 1e-9, 0.5, 0.5, 30, 1e-16
    yield case("the gradient is small enough", [2.0, 0.5], 0.1, 0.9, 400, 0.02)


def momentum_reference(bowl, bottom, w, rate, beta, steps, tolerance):
    d = len(w)
    place, v = [float(value) for value in w], [0.0] * d
    path = [place]
    for _ in range(steps):
        g = [sum(bowl[i][k] * (place[k] - bottom[k]) for k in range(d)) for i in range(d)]
        if all(-tolerance <= g_i <= tolerance for g_i in g):
            break
        v = [beta * v[i] + g[i] for i in range(d)]
        place = [place[i] - rate * v[i] for i in range(d)]
        path.append(place)
    return np.array(path)


MOMENTUM = Task(
    id="04.4",
    cases=momentum_cases,
    reference=momentum_reference,
    drive=roll,
    **PRECISION,
    equal=(
        ("w = np.array(w, dtype=float) -> ", "each step makes new arrays, of floats"),
        ("return np.array(path) -> return path", "a list is as good"),
        ("break -> continue", "the place stays the same, and so does its gradient"),
        ("np.ones((steps + 1", "every row that is returned is written over"),
        ("v, path = (np.zeros_like(w), [w]); w = np.array", "the first row is as good whole"),
        ("rate = abs(rate)", STEP),
        ("beta = abs(beta)", "beta is not below 0"),
        ("tolerance = abs(tolerance)", "the tolerance is not below 0"),
    ),
    hints=(
        "Two things change from step to step: the place and the velocity. Which of them does the "
        "path hold, and how many rows has it when no step is taken?",
        "Copy w as floats first. In the loop: the gradient, the test for the end, the velocity, "
        "the place, and a new array into the list of places.",
        "g = gradient(w); if abs(g).max() <= tolerance: break; v = beta * v + g; w = w - rate * v; "
        "path.append(w).",
    ),
    right=(
        """
        def momentum(gradient, w, rate, beta, steps, tolerance):
            w = np.array(w, dtype=float)
            v, path = np.zeros_like(w), [w]
            for step in range(steps):
                g = gradient(w)
                if abs(g).max() <= tolerance:
                    break
                v = beta * v + g
                w = w - rate * v
                path.append(w)
            return np.array(path)""",
        """
        def momentum(gradient, w, rate, beta, steps, tolerance):
            path = np.zeros((steps + 1, len(w)))
            path[0] = w
            move = 0.0
            for k in range(steps):
                g = np.asarray(gradient(path[k]))
                if not np.any(np.abs(g) > tolerance):
                    return path[: k + 1]
                move = beta * move - rate * g
                path[k + 1] = path[k] + move
            return path""",
        """
        def momentum(gradient, w, rate, beta, steps, tolerance):
            path = [[float(value) for value in w]]
            while len(path) <= steps:
                here = np.array(path[-1])
                before = np.array(path[-2]) if len(path) > 1 else here
                g = gradient(here)
                if max(abs(g)) <= tolerance:
                    return path
                path.append(list(here - rate * g + beta * (here - before)))
            return path""",
    ),
    wrong=(
        ("the velocity is forgotten: this is plain descent", "v = beta * v + g", "v = g"),
        ("the new gradient is weighted with 1 - beta; here it counts in full",
         "beta * v + g", "beta * v + (1 - beta) * g"),
        ("the place moves with the old velocity, before that is brought up to date",
         "v = beta * v + g\n                w = w - rate * v",
         "w = w - rate * v\n                v = beta * v + g"),
        ("beta multiplies the new gradient too", "beta * v + g", "beta * (v + g)"),
        ("the step goes up the slope: rate times velocity is added",
         "w - rate * v", "w + rate * v"),
        ("all rows of the path are one and the same array, changed in place",
         "w = w - rate * v", "w -= rate * v"),
        ("the array that came in is changed", "w = np.array(w, dtype=float)",
         "given, w = w, np.array(w, dtype=float)",
         "path.append(w)", "path.append(w)\n                given[:] = w"),
        ("the path is cut to whole numbers, as the start was whole numbers",
         "w = np.array(w, dtype=float)", "kind = w.dtype; w = np.array(w, dtype=float)",
         "path.append(w)", "w = w.astype(kind); path.append(w)"),
        ("the start is missing from the path", "return np.array(path)",
         "return np.array(path[1:])"),
        ("the path has its last place alone", "return np.array(path)", "return w"),
        ("it never stops before the last step", "<= tolerance", "<= -1.0"),
        ("it stops when one element of the gradient is small; all must be",
         "abs(g).max()", "abs(g).min()"),
        ("the sign counts, and a large negative slope passes for a small one",
         "abs(g).max()", "g.max()"),
        ("the length of the gradient is compared with the tolerance; each element should be",
         "abs(g).max()", "np.linalg.norm(g)"),
        ("the mean of the elements' sizes is compared with the tolerance; each element should be",
         "abs(g).max()", "abs(g).mean()"),
        ("the end is looked at after the step, so that one step too many is taken",
         "                if abs(g).max() <= tolerance:\n                    break\n", "",
         "path.append(w)", "path.append(w)\n                if abs(g).max() <= tolerance: break"),
        ("the velocity must be small too before it stops; the task asks for the gradient alone",
         "abs(g).max() <= tolerance",
         "max(abs(g).max(), abs(v).max()) <= tolerance"),
        ("the gradient is asked ahead, where the velocity leads (Nesterov's momentum)",
         "v = beta * v + g", "v = beta * v + gradient(w - rate * beta * v)"),
        ("the gradient, and with it the end, is looked for ahead, where the velocity leads",
         "g = gradient(w)",
         "g = gradient(w - rate * beta * v)"),
    ),
)  # fmt: skip

TASKS = [WEIGHTED, RATES, SCALED, MOMENTUM]
