"""The tasks of lesson 05: probabilities, their loss, and whether they can be believed."""

import math

import numpy as np

from .task import Task, sent

# ---- 05.1


@sent
def undisturbed(answer, scores, axis):
    """The answer, and whether it left its input alone."""
    before = scores.copy()
    p = answer(scores, axis)
    return p, "scores left as they were" if (scores == before).all() else "scores changed"


def softmax_cases(rng):
    def some(*shape):
        return np.round(rng.uniform(-2, 2, shape), 1)

    yield "one row", np.round(rng.uniform(0.5, 2, 3) * [1, -1, 1], 1), 0
    yield "the last axis", some(2, 3), -1
    yield "the last axis", some(2, 2), 1
    yield "another axis", np.round(rng.uniform(0.5, 2, (2, 2)) * [[1, -1], [-1, -1]], 1), 0
    yield "another axis", some(2, 3, 2), 1
    yield "another axis", some(3, 2, 2), -3
    yield "large scores", 1000 + some(3), -1
    yield "very negative scores", -1000 + some(3), -1
    yield "large beside small", np.array([[1000.0], [-1000.0]]) + some(2, 2), 1
    yield "far apart in one row", np.array([3000.0, 0.0, 1.0]) + some(3), 0
    yield "minus infinity", np.array([[-np.inf, 1.0, 0.5], [2.0, 0.0, -np.inf]]) + some(2, 3), 1
    yield "an axis of length 1", some(3, 1), 1
    yield "no rows", some(0, 3), 1


def softmax_reference(scores, axis):
    lines = np.moveaxis(scores, axis, -1)
    p = np.zeros(lines.shape)
    for index in np.ndindex(*lines.shape[:-1]):
        line = [float(s) for s in lines[index]]
        for k, s in enumerate(line):
            # 1 / sum of exp(s_j - s_k): the same number, by another way.
            total = (
                math.fsum(math.exp(min(other - s, 700.0)) for other in line) if s > -math.inf else 0
            )
            p[(*index, k)] = 1 / total if total else 0.0
    return np.moveaxis(p, -1, axis), "scores left as they were"


SOFTMAX = Task(
    id="05.1",
    replaces="functional.softmax",
    cases=softmax_cases,
    reference=softmax_reference,
    drive=undisturbed,
    rtol=1e-6,
    hints=(
        "`largest` has length 1 along the axis, so it broadcasts. Which other array must have "
        "that shape?",
        "Subtract the largest score before exp, into a new array; then divide by the sum along "
        "the same axis.",
        "powers = np.exp(scores - largest), then powers / powers.sum(axis=..., keepdims=True).",
    ),
    right=(
        """
        def softmax(scores, axis=-1):
            largest = scores.max(axis=axis, keepdims=True)
            powers = np.exp(scores - largest)
            return powers / powers.sum(axis=axis, keepdims=True)""",
        """
        def softmax(scores, axis=-1):
            lines = np.moveaxis(scores, axis, 0)
            lines = lines - lines.max(axis=0)
            return np.moveaxis(np.exp(lines - np.log(np.exp(lines).sum(axis=0))), 0, axis)""",
        """
        def softmax(scores, axis=-1):
            total = np.logaddexp.reduce(scores, axis=axis, keepdims=True)
            return np.exp(scores - total)""",
        """
        def softmax(scores, axis=-1):
            def one(s):
                e = np.array([np.exp(v - max(s)) for v in s])
                return e / sum(e)
            return np.apply_along_axis(one, axis, scores) if scores.size else scores.copy()""",
    ),
    wrong=(
        ("the largest score is not subtracted, and exp becomes infinite, or 0 everywhere",
         "scores - largest", "scores"),
        ("the largest score of the whole array is subtracted, and where a line is far below it, "
         "all its powers are 0", "scores - largest", "scores - scores.max()"),
        ("the powers are divided by the sum of the whole array, not of their own line",
         "powers.sum(axis=axis, keepdims=True)", "powers.sum()"),
        ("the probabilities always run along the last axis, whatever `axis` says",
         "axis=axis", "axis=-1"),
        ("the probabilities always run along axis 0, whatever `axis` says",
         "axis=axis", "axis=0"),
        ("the sum has lost its axis (keepdims is missing), and broadcasts along the wrong one or "
         "not at all", "powers.sum(axis=axis, keepdims=True)", "powers.sum(axis=axis)"),
        ("the mean is subtracted; a score far above the mean still overflows",
         "scores.max(", "scores.mean("),
        ("the largest size is subtracted, without the sign, and negative scores end up near -2000",
         "scores.max(", "abs(scores).max("),
        ("the subtraction was done in place, so the caller's scores have changed (-=)",
         "powers = np.exp(scores - largest)", "scores -= largest; powers = np.exp(scores)"),
        ("the scores are divided by their sum, without exp",
         "np.exp(scores - largest)", "scores.copy()"),
        ("the logarithms of the probabilities are returned",
         "return powers / powers.sum(axis=axis, keepdims=True)",
         "return scores - largest - np.log(powers.sum(axis=axis, keepdims=True))"),
    ),
)  # fmt: skip

# ---- 05.2


def loss_cases(rng):
    def some(*shape):
        return np.round(rng.uniform(-2, 2, shape), 1)

    yield "one sample", some(1, 2), np.array([1])
    yield "all labels known", some(2, 2), np.array([0, 1])
    yield "all labels known", some(3, 4), np.array([3, 0, 2])
    yield "some unknown", some(2, 2), np.array([0, -1])
    yield "some unknown", some(5, 3), np.array([-1, 2, -1, 0, 1])
    yield "one class only", some(2, 1), np.array([0, 0])
    yield "large scores", np.round(rng.uniform(900, 999, (1, 2)), 1) * [1, -1], np.array([1])
    yield "large scores", np.round(rng.uniform(1000, 2000, (3, 3))), np.array([0, -1, 2])


def loss_reference(scores, labels):
    g, loss = np.zeros(scores.shape), 0.0
    count = sum(1 for label in labels if label >= 0)
    for n, label in enumerate(labels):
        if label >= 0:
            row = [float(s) for s in scores[n]]
            top = max(row)
            log_total = top + math.log(math.fsum(math.exp(s - top) for s in row))
            loss += (log_total - row[label]) / count
            for k, s in enumerate(row):
                g[n, k] = (math.exp(s - log_total) - (k == label)) / count
    return loss, g


LOSS = Task(
    id="05.2",
    replaces="functional.cross_entropy",
    cases=loss_cases,
    reference=loss_reference,
    rtol=1e-6,
    hints=(
        "Two lists of numbers as an index, `log_p[known, ...]`, pick one element for each pair.",
        "The loss is minus the mean of log_p at the known pairs. The gradient is exp(log_p), with "
        "1 taken from the label's column, rows of unknown samples set to 0, all divided by M.",
        "loss = -log_p[known, labels[known]].mean(); start g from zeros, fill g[known], then "
        "g[known, labels[known]] -= 1.",
    ),
    right=(
        """
        def loss_and_gradient(scores, labels):
            shifted = scores - scores.max(axis=1, keepdims=True)
            log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            known = np.flatnonzero(labels >= 0)
            M = len(known)
            loss = -log_p[known, labels[known]].sum() / M
            g = np.exp(log_p)
            g[known, labels[known]] -= 1
            g[labels < 0] = 0
            return loss, g / M""",
        """
        def loss_and_gradient(scores, labels):
            targets = (labels[:, None] == np.arange(scores.shape[1])) * 1.0
            M = targets.sum()
            log_p = scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
            p = np.exp(log_p) * targets.sum(axis=1, keepdims=True)
            return -(targets * log_p).sum() / M, (p - targets) / M""",
        """
        def loss_and_gradient(scores, labels):
            losses, rows = [], []
            for s, label in zip(scores, labels):
                e = np.exp(s - s.max())
                row = e / e.sum() - np.eye(len(s))[label]
                if label < 0:
                    row = 0 * row
                else:
                    losses.append(s.max() - s[label] + np.log(e.sum()))
                rows.append(row)
            return np.mean(losses), np.array(rows) / len(losses)""",
    ),
    wrong=(
        ("a label of -1 is used as an index: NumPy takes it for the last class, and the unknown "
         "samples count", "labels >= 0", "labels >= -1", "labels < 0", "labels < -1"),
        ("the sums are divided by the number of all samples, not of the known ones",
         "M = len(known)", "M = len(labels)"),
        ("the gradient is not divided by the number of known samples, though the loss is",
         "g / M", "g"),
        ("the loss is a sum, not a mean, and so is its gradient", "M = len(known)", "M = 1"),
        ("the loss is not divided by the number of known samples, though the gradient is",
         ".sum() / M", ".sum()"),
        ("the rows of unknown samples keep their p; a sample that does not count has gradient 0",
         "g[labels < 0] = 0", "pass"),
        ("the rows of unknown samples are left out of the gradient, so it has too few rows",
         "g / M", "g[labels >= 0] / M"),
        ("the gradient has the wrong sign: targets - p", "g / M", "-g / M"),
        ("the loss has the wrong sign: a surprise is never negative",
         "loss = -log_p", "loss = log_p"),
        ("the loss goes by way of p, and log(0) is infinite",
         "loss = -log_p[", "loss = -np.log(np.exp(log_p))["),
        ("a small number is added to p before the logarithm, so a large loss is cut off",
         "loss = -log_p[", "loss = -np.log(np.exp(log_p) + 1e-12)["),
        ("the label's number is subtracted from each p; it should be 1, in the label's column",
         "g[known, labels[known]] -= 1", "g = g - labels[:, None]"),
        ("nothing is subtracted in the label's column: the gradient is p, not p - targets",
         "g[known, labels[known]] -= 1", "pass"),
        ("the gradient is the one for p, -targets / p; from p to the scores there is a way yet",
         "g[known, labels[known]] -= 1",
         "p, g = g, 0 * g; g[known, labels[known]] = -1 / p[known, labels[known]]"),
        ("the mean runs over samples and classes; K has no place in it",
         "M = len(known)", "M = len(known) * scores.shape[1]"),
    ),
)  # fmt: skip

# ---- 05.3


def calibration_cases(rng):
    def case(group, right, groups, K=2, low=51):
        """right: whether each answer is right, from the least sure to the surest."""
        n = len(right)
        sure = np.sort(rng.choice(np.arange(low, 100), n, replace=False)) / 100
        p, labels = np.zeros((n, K)), np.zeros(n, dtype=int)
        for i in range(n):
            answer = int(rng.integers(K))
            others = [k for k in range(K) if k != answer]
            p[i, answer] = sure[i]
            p[i, others[0]] = (1 - sure[i]) * (1 if K == 2 else 0.75)
            if K > 2:
                p[i, others[1]] = (1 - sure[i]) * 0.25
            labels[i] = answer if right[i] else others[-1]
        # The surest first, the others as they are: so an answer that does not sort differs.
        mixed = np.roll(np.arange(n), 1)
        return group, p[mixed], labels[mixed], groups

    yield case("one group", [1], 1)
    yield case("one group", [1, 0, 1], 1)
    yield case("two groups", [1, 0], 2)
    yield case("two groups", [1, 1, 0, 0], 2, low=85)
    yield case("three classes", [1, 1, 0, 0, 1, 0], 3, K=3)
    yield case("three classes", [1, 0, 0, 1], 2, K=4)
    yield case("groups of unequal size", [1, 1, 0], 2)
    yield case("groups of unequal size", [1, 1, 0, 0, 0, 1, 0, 0], 3, K=3)
    yield case("more groups than samples", [0, 1], 3)
    yield case("more groups than samples", [1], 4, K=3)
    yield case("many samples", [1, 0, 1, 1] * 5 + [0, 1, 0, 0] * 5, 7, K=3)


def calibration_reference(p, labels, groups):
    samples = []
    for row, label in zip(p.tolist(), labels):
        sure = max(row)
        samples.append((sure, row.index(sure) == label))
    samples.sort()
    total, start = 0.0, 0
    for j in range(groups):
        size = len(samples) // groups + (j < len(samples) % groups)
        piece = samples[start : start + size]
        start += size
        if piece:
            sure = sum(s for s, _ in piece) / size
            right = sum(r for _, r in piece) / size
            total += size / len(samples) * abs(sure - right)
    return total


CALIBRATION = Task(
    id="05.3",
    cases=calibration_cases,
    reference=calibration_reference,
    hints=(
        "First two arrays of length N: how sure each answer is, and whether it is right.",
        "np.argsort of the confidences gives the order; np.array_split cuts that order into "
        "pieces. Each piece is an index for both arrays.",
        "for piece in np.array_split(np.argsort(sure), groups): if len(piece): total += "
        "len(piece) / N * abs(sure[piece].mean() - right[piece].mean()).",
    ),
    right=(
        """
        def calibration_error(p, labels, groups):
            sure, right = p.max(axis=1), p.argmax(axis=1) == labels
            total, N = 0.0, len(p)
            order = np.argsort(sure)
            for piece in np.array_split(order, groups):
                if len(piece):
                    gap = sure[piece].mean() - right[piece].mean()
                    total += len(piece) / N * abs(gap)
            return float(total)""",
        """
        def calibration_error(p, labels, groups):
            order = np.argsort(p.max(axis=1))
            apart = (p.max(axis=1) - (p.argmax(axis=1) == labels))[order]
            return sum(abs(piece.sum()) for piece in np.array_split(apart, groups)) / len(p)""",
        """
        def calibration_error(p, labels, groups):
            pairs = sorted((float(max(row)), int(np.argmax(row)) == label)
                           for row, label in zip(p, labels))
            n, start, total = len(pairs), 0, 0.0
            for j in range(groups):
                end = start + n // groups + (1 if j < n % groups else 0)
                total += abs(sum(c - r for c, r in pairs[start:end]))
                start = end
            return total / n""",
    ),
    wrong=(
        ("the samples are not sorted by confidence before they are cut into groups",
         "np.argsort(sure)", "np.arange(N)"),
        ("the groups are weighted alike; a group counts by its number of samples",
         "len(piece) / N * abs(gap)", "abs(gap) / min(groups, N)"),
        ("empty groups are not left out, and the mean of nothing is nan",
         "if len(piece):", "if True:",
         "sure[piece].mean() - right[piece].mean()",
         "(sure[piece].sum() - right[piece].sum()) / np.float64(len(piece))"),
        ("the gaps keep their signs, and groups that are too sure cancel those that are too modest",
         "abs(gap)", "gap"),
        ("the gaps are squared", "abs(gap)", "gap ** 2"),
        ("the largest gap is returned, not the weighted mean",
         "total += len(piece) / N * abs(gap)", "total = max(total, abs(gap))"),
        ("the weighted sum was not formed: the gaps are added up without the sizes",
         "len(piece) / N * abs(gap)", "abs(gap)"),
        ("the sum is weighted with the sizes but never divided by N",
         "len(piece) / N", "len(piece)"),
        ("the confidence is taken of the true class, not of the answer",
         "sure, right = p.max(axis=1),", "sure, right = p[np.arange(len(p)), labels],"),
        ("each sample is its own group: one answer is right or wrong, never 80 percent",
         "abs(gap)", "abs(sure[piece] - right[piece]).mean()"),
        ("the bins have equal width, as in the lesson; here the groups have equal size",
         "np.array_split(order, groups)",
         "[order[np.minimum((sure[order] * groups).astype(int), groups - 1) == j]"
         " for j in range(groups)]"),
        ("the samples are sorted from the surest down, so the longer pieces are at the wrong end",
         "np.argsort(sure)", "np.argsort(-sure)"),
        ("the last piece takes all that cannot be divided; the first ones should be one longer",
         "np.array_split(order, groups)",
         "[order[j * (N // groups) : (j + 1) * (N // groups) if j < groups - 1 else N]"
         " for j in range(groups)]"),
        ("the last samples are dropped where N cannot be divided by the number of groups",
         "np.array_split(order, groups)",
         "[order[j * (N // groups) : (j + 1) * (N // groups)] for j in range(groups)]"),
    ),
)  # fmt: skip

# ---- 05.4


def best(scores, labels):
    """Where the slope of the loss for 1/T changes its sign, by bisection."""
    rows = [[float(s) - float(max(row)) for s in row] for row in scores]

    def slope(beta):
        total = 0.0
        for row, label in zip(rows, labels):
            powers = [math.exp(beta * s) for s in row]
            total += sum(e * s for e, s in zip(powers, row)) / sum(powers) - row[label]
        return total

    low, high = 1e-4, 1e4
    for _ in range(200):
        middle = math.sqrt(low * high)
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return 1 / low


def temperature_cases(rng):
    def case(group, T, n, K, shift=0.0):
        """Random scores, scaled so that T is best."""
        while True:
            scores = rng.normal(size=(n, K))
            order = np.argsort(scores, axis=1)
            labels = order[:, -1]
            # A third of the answers are wrong.
            labels[: n // 3] = order[: n // 3, -2]
            found = best(scores, labels)
            if 0.2 < found < 2:
                return group, scores * (T / found) + shift, labels

    d, wrong = float(np.round(rng.uniform(1.5, 2.5), 1)), int(rng.integers(4))
    yield "as by hand", np.array([[d, 0.0]] * 4), np.eye(4, dtype=int)[wrong]
    yield case("too sure", rng.uniform(2.5, 4), 6, 3)
    yield case("too sure", rng.uniform(7, 9), 12, 4)
    yield case("too modest", rng.uniform(0.24, 0.26), 6, 2)
    yield case("too modest", rng.uniform(0.14, 0.16), 12, 3)
    yield case("right already", 1.0, 9, 3)
    far = rng.uniform(4000, 6000, (9, 1)) * np.resize([1, -1], (9, 1))
    yield case("a number added to each row", rng.uniform(1.4, 1.6), 9, 3, far)
    yield case("many samples", rng.uniform(2, 3), 300, 10)


TEMPERATURE = Task(
    id="05.4",
    cases=temperature_cases,
    reference=best,
    rtol=1.5e-2,
    hints=(
        "Write the loss as a function of T first, without overflow. Then it is a search on a "
        "line with one valley.",
        "Temperatures that each are one percent larger than the last reach from 0.1 to 10 in "
        "fewer than 500 tries. Or keep two ends and cut off the worse third, again and again.",
        "T = np.geomspace(0.1, 10, 2000); losses = [loss(t) for t in T]; return "
        "T[np.argmin(losses)], where loss subtracts the largest score and divides by t.",
    ),
    right=(
        """
        def best_temperature(scores, labels):
            rows = np.arange(len(labels))
            top = scores.max(axis=1, keepdims=True)
            def loss(T):
                s = (scores - top) / T
                return (np.log(np.exp(s).sum(axis=1)) - s[rows, labels]).mean()
            tried = np.geomspace(0.1, 10, 2000)
            return float(tried[np.argmin([loss(T) for T in tried])])""",
        """
        def best_temperature(scores, labels):
            scores = scores - scores.max(axis=1, keepdims=True)
            of_label = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
            low, high = 0.05, 20.0  # bisection on the slope for 1/T
            for repeat in range(60):
                T = (low + high) / 2
                powers = np.exp(scores / T)
                mean = (powers * scores).sum(axis=1) / powers.sum(axis=1)
                if (mean - of_label).sum() > 0:
                    low = T
                else:
                    high = T
            return T""",
        """
        def best_temperature(scores, labels):
            def loss(logT):
                s = scores / np.exp(logT)
                picked = s[np.arange(len(s)), labels]
                return float(np.mean(np.logaddexp.reduce(s, axis=1) - picked))
            low, high, r = -3.5, 3.5, (5 ** 0.5 - 1) / 2  # golden section
            while high - low > 1e-3:
                a, b = high - r * (high - low), low + r * (high - low)
                if loss(a) < loss(b): high = b
                else: low = a
            return np.exp((low + high) / 2)""",
    ),
    wrong=(
        ("the scores are multiplied by T, so 1/T comes out",
         "(scores - top) / T", "(scores - top) * T"),
        ("the largest score is not subtracted, and exp overflows for some temperatures",
         "(scores - top) / T", "scores / T"),
        ("the number of mistakes is made small; no temperature changes an answer, so the first "
         "one tried wins",
         "return (np.log(np.exp(s).sum(axis=1)) - s[rows, labels]).mean()",
         "return (s.argmax(axis=1) != labels).mean()"),
        ("the temperatures tried lie 0.1 apart, too far for a small T",
         "np.geomspace(0.1, 10, 2000)", "np.linspace(0.1, 10, 100)"),
        ("only temperatures from 1 up are tried; a model that is too modest needs less",
         "np.geomspace(0.1, 10, 2000)", "np.geomspace(1, 10, 2000)"),
        ("only temperatures up to 1 are tried; a model that is too sure needs more",
         "np.geomspace(0.1, 10, 2000)", "np.geomspace(0.1, 1, 2000)"),
        ("the smallest loss is returned, not the temperature that gives it",
         "tried[np.argmin([loss(T) for T in tried])]", "min(loss(T) for T in tried)"),
        ("the squared error of p is made small, not the cross-entropy",
         "return (np.log(np.exp(s).sum(axis=1)) - s[rows, labels]).mean()",
         "p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True); "
         "return ((p - np.eye(p.shape[1])[labels]) ** 2).sum()"),
        ("the place of the best temperature in the list is returned, not the temperature",
         "tried[np.argmin([loss(T) for T in tried])]", "np.argmin([loss(T) for T in tried])"),
        ("the search goes downhill from T = 1, and stops after too few steps", """
            def best_temperature(scores, labels):
                rows, T = np.arange(len(labels)), 1.0
                s = scores - scores.max(axis=1, keepdims=True)
                for repeat in range(20):
                    p = np.exp(s / T)
                    p /= p.sum(axis=1, keepdims=True)
                    T -= 0.1 * (s[rows, labels] - (p * s).sum(axis=1)).mean() / T ** 2
                    T = max(T, 0.1)
                return T"""),
    ),
)  # fmt: skip

TASKS = [SOFTMAX, LOSS, CALIBRATION, TEMPERATURE]
