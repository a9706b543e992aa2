"""The tasks of lesson 05: probabilities, their loss, and whether they can be believed."""

import math

import numpy as np

from .task import Task

# Of what a number may be off, as the notebook says.
PRECISION = {"rtol": 1e-6, "atol": 1e-9}

# ---- 05.1


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
    yield "no rows", some(2, 0, 3), -1
    yield "one element", some(1), 0
    yield "three axes", some(3, 4, 2), -2
    yield "three axes", some(3, 4, 2), 0
    yield "three axes", some(3, 3, 3), -1
    for axis in (0, -3, 2, 3):
        yield "four axes", some(2, 3, 4, 2) * 2, axis
    for axis in (0, 1):
        yield "many classes, many lines", rng.normal(0, 3, (45, 40)), axis
    rows = np.array([0, 1e3, -1e3, 30, -1e5, 1e6])
    yield "rows of all sizes", rows[:, None] + some(6, 3), 1
    yield "rows of all sizes", (rng.permutation(rows)[:, None] + some(6, 3)).T.copy(), 0
    yield "many digits", 40000 + rng.normal(size=(3, 4)), 1
    middle = rng.permutation([8.0, 0.0, -20.0, -4.0, 12.5]) + some(2, 5)
    yield "some unlikely", middle * rng.choice([-1, 1]), 1
    scores = some(3, 6)
    scores[[0, 1, 1, 2, 2, 2], [2, 0, 5, 1, 3, 4]] = -np.inf
    yield "minus infinity", scores - 700, 1
    yield "minus infinity", scores.T.copy() + 900, -2


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
    return np.moveaxis(p, -1, axis)


EMPTY = "scores", "0 / scores", "1 * scores"

SOFTMAX = Task(
    id="05.1",
    replaces="engine.reductions.softmax",
    cases=softmax_cases,
    reference=softmax_reference,
    **PRECISION,
    equal=(
        ("lines.max(axis=0, keepdims=True)", "one line broadcasts as it is"),
        ("sum(axis=0, keepdims=True)", "one line broadcasts as it is"),
        *((f"if scores.size else {other}", "nothing is in it") for other in EMPTY),
    ),
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
            return np.apply_along_axis(one, axis, scores) if scores.size else 0 * scores""",
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
        ("`axis or -1` takes axis 0 for no axis at all, because 0 counts as False",
         "axis=-1):", "axis=-1):\n            axis = axis or -1"),
        ("it is computed in float32, which has seven digits: too few where scores are large",
         "largest =", "scores = scores.astype(np.float32); largest ="),
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
        ("the probabilities always run along axis 1, whatever `axis` says",
         "axis=axis",
         "axis=1"),
        ("the sum runs along axis 1, whatever `axis` says",
         "powers.sum(axis=axis",
         "powers.sum(axis=1"),
        ("the sum runs along the last axis, whatever `axis` says",
         "powers.sum(axis=axis", "powers.sum(axis=-1"),
        ("one number, the largest of all, is subtracted; a line far below it has only powers of 0",
         "np.exp(scores - largest)",
         "np.exp(scores - scores.max()) if scores.size else scores.copy()"),
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
    offsets = rng.permutation([0.0, 2000.0, -3000.0, 500.0])[:, None]
    yield "large scores", offsets + some(4, 3), np.array([1, 2, -1, 0])
    steep = np.round(rng.uniform(1500, 2500, (3, 1)), 1) * [[1, 0], [0, 1], [-1, 0]]
    yield "large scores", steep, np.array([1, 0, 0])
    yield "many digits", 30000 + rng.normal(size=(4, 3)), np.array([2, -1, 0, 0])
    yield "labels that repeat", some(4, 3), np.array([1, 1, 1, 1])
    yield "labels that repeat", some(6, 4), np.array([2, 0, -1, 2, 2, 0])
    yield "labels that repeat", some(5, 3), np.array([0, 0, -1, 0, 0])
    yield "one known", some(5, 3), np.array([-1, -1, 1, -1, -1])
    yield "one known", some(3, 4), np.array([-1, -1, 3])
    yield "the first and the last unknown", some(4, 2), np.array([-1, 0, 1, -1])
    yield "one class only", some(3, 1), np.array([0, -1, 0])
    yield "many classes", some(9, 40), np.r_[rng.integers(20, 40, 8), -1]
    labels = rng.integers(-1, 7, 90)
    labels[:12] = -1
    yield "many samples", 3 * some(90, 7), rng.permutation(labels)


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
    replaces="nn.functional.cross_entropy",
    cases=loss_cases,
    reference=loss_reference,
    **PRECISION,
    equal=(
        ("g[labels < 0] = 0; g[known, labels[known]] -= 1", "the two change different rows"),
        ("np.arange(scores.shape[1])) / 1.0", "1.0 changes nothing"),
        ("-> targets = labels[:, None] == np.arange(scores.shape[1])", "True counts as 1"),
        ("np.arange(scores.shape[1])) * 0.5", "all results are quotients of two such sums"),
        ("np.arange(scores.shape[1])) * 2.0", "all results are quotients of two such sums"),
        ("targets.max(axis=1, keepdims=True)", "a row has one 1 at most"),
    ),
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
        ("the classes are numbered anew, without those that have no label, so 1 is subtracted in "
         "other columns", """
            def loss_and_gradient(scores, labels):
                rows = scores[labels >= 0]
                rows = rows - rows.max(axis=1, keepdims=True)
                log_p = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
                places = np.unique(labels[labels >= 0], return_inverse=True)[1]
                targets, g = np.zeros(rows.shape), np.zeros(scores.shape)
                targets[np.arange(len(rows)), places] = 1
                g[labels >= 0] = (np.exp(log_p) - targets) / len(rows)
                return -(targets * log_p).sum() / len(rows), g"""),
        ("1 is subtracted in whole columns, g[:, labels]; it should be in the label's column of "
         "its own row", "g[known, labels[known]] -= 1", "g[:, labels[known]] -= 1"),
        ("nothing is subtracted in the label's column: the gradient is p, not p - targets",
         "g[known, labels[known]] -= 1", "pass"),
        ("the gradient is the one for p, -targets / p; from p to the scores there is a way yet",
         "g[known, labels[known]] -= 1",
         "p, g = g, 0 * g; g[known, labels[known]] = -1 / p[known, labels[known]]"),
        ("the sums are divided by the number of different labels, not of known samples",
         "M = len(known)", "M = len(set(labels[known].tolist()))"),
        ("the loss is right, but its gradient counts the unknown samples too, as if they were of "
         "the last class, and divides by all",
         "g[known, labels[known]] -= 1", "g[np.arange(len(g)), labels] -= 1",
         "g[labels < 0] = 0", "pass", "g / M", "g / len(g)"),
        ("the gradient is right, but the loss counts the unknown samples too: -1 picks the last "
         "class",
         "log_p[known, labels[known]]", "log_p[np.arange(len(labels)), labels]"),
        ("one number is subtracted from all scores, and rows far below it have only powers of 0",
         "scores.max(axis=1, keepdims=True)", "scores.max()"),
        ("the mean runs over samples and classes; K has no place in it",
         "M = len(known)", "M = len(known) * scores.shape[1]"),
        ("label 0 is taken for unknown; only -1 is",
         "labels >= 0",
         "labels > 0",
         "labels < 0",
         "labels < 1",
         "M = len(known)",
         "M = max(len(known), 1)"),
        ("the gradient is divided by the number of all samples, the loss by that of the known ones",
         "g / M",
         "g / len(labels)"),
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

    def drawn(group, n, groups, K, spread=1.0):
        """Any probabilities, the largest of which may be small, and different in each row."""
        while True:
            powers = np.exp(spread * rng.normal(size=(n, K)) * rng.uniform(0.2, 2, (n, 1)))
            p = powers / powers.sum(axis=1, keepdims=True)
            ordered = np.sort(p, axis=1)
            apart = np.diff(np.sort(ordered[:, -1])).min(initial=1) > 1e-7
            if apart and (K == 1 or (ordered[:, -1] - ordered[:, -2]).min() > 1e-3):
                break
        likely = np.where(rng.random(n) < 0.4, p.argmax(axis=1), rng.integers(0, K, n))
        return group, p, likely, groups

    unsure = "less than half sure"
    yield unsure, np.array([[0.4, 0.35, 0.25], [0.2, 0.36, 0.44]]), np.array([0, 0]), 1
    yield unsure, np.array([[0.3, 0.32, 0.38], [0.2, 0.45, 0.35]]), np.array([2, 0]), 2
    yield drawn(unsure, 12, 3, 8, 0.4)
    yield "one class", np.array([[1.0]]), np.array([0]), int(rng.integers(1, 4))
    unequal = "groups of unequal size"
    for n, groups in (10, 4), (11, 3), (9, 5), (7, 4), (14, 6):
        yield drawn(unequal, n, groups, 4)
    yield drawn("more groups than samples", 7, 50, 3)
    yield drawn("many groups", 90, 40, 3)
    yield drawn("many samples", 200, 15, 12)
    yield drawn("many samples", 230, 4, 2)


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
    **PRECISION,
    equal=(
        ("array_split(order, groups))[::-1]", "the order of a sum"),
        ("array_split(apart, groups))[::-1]", "the order of a sum"),
        ("(pairs[start:end])[::-1]", "the order of a sum"),
        ("zip(p, labels))[::-1]", "they are sorted anyhow"),
        ("total = total +", "a number, which nobody else holds"),
        ("gap = right[piece].mean() - sure", "only the size of the difference counts"),
        ("== labels) - p.max", "only the size of the difference counts"),
        ("sum((r - c for", "only the size of the difference counts"),
        ("p = abs(p)", "no probability is below 0"),
        ("p = np.minimum(p, 1)", "no probability is above 1"),
        ("labels = abs(labels)", "no label is below 0"),
    ),
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
        ("the groups are weighted alike, the empty ones too; a group counts by its samples",
         "len(piece) / N * abs(gap)", "abs(gap) / groups"),
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
        ("the last piece takes the rest; the first ones should be one longer",
         "np.array_split(order, groups)",
         "[order[j * max(N // groups, 1) : (j + 1) * max(N // groups, 1) if j < groups - 1 "
         "else N]\n                          for j in range(min(groups, N))]"),
        ("each piece has N / groups samples, rounded up, so the last ones are too short",
         "np.array_split(order, groups)",
         "[order[k : k - (-N // groups)] for k in range(0, N, -(-N // groups))]"),
        ("the cuts are equally spaced and rounded down, so the longer pieces are not the "
         "first ones",
         "order = np.argsort(sure)",
         "order = np.argsort(sure)\n            cut = np.linspace(0, N, groups + 1).astype(int)",
         "np.array_split(order, groups)",
         "[order[a:b] for a, b in zip(cut, cut[1:])]"),
        ("the cuts are quantiles of the confidence; where N cannot be divided the pieces differ",
         "order = np.argsort(sure)",
         "order = np.argsort(sure)\n            cut = np.quantile(sure, np.linspace(0, 1, "
         "groups + 1)[1:-1])\n            j = np.searchsorted(cut, sure, side='right')",
         "np.array_split(order, groups)",
         "[np.flatnonzero(j == k) for k in range(groups)]"),
        ("argsort is taken twice: these are the ranks of the samples, not their order",
         "order = np.argsort(sure)",
         "order = np.argsort(np.argsort(sure))"),
    ),
)  # fmt: skip

# ---- 05.4


def best(scores, labels):
    """Where the slope of the loss for 1/T changes its sign, by bisection."""
    rows = scores - scores.max(axis=1, keepdims=True)
    of_label = rows[np.arange(len(rows)), labels]

    def slope(beta):
        powers = np.exp(beta * rows)
        return ((powers * rows).sum(axis=1) / powers.sum(axis=1) - of_label).sum()

    low, high = 1e-4, 1e4
    for _ in range(45):
        middle = math.sqrt(low * high)
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return 1 / low


def temperature_cases(rng):
    def case(group, T, n, K, shift=0.0, surprise=0.0):
        """Random scores, scaled so that T is best.  surprise: how far the first label is below."""
        while True:
            scores = rng.normal(size=(n, K))
            order = np.argsort(scores, axis=1)
            labels = order[:, -1]
            # A third of the answers are wrong.
            labels[: n // 3] = order[: n // 3, -2]
            scores[0, labels[0]] -= surprise
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
    two = np.array([[round(float(rng.uniform(1.5, 2.5)), 1), 0.0]])
    yield "few kinds of samples", np.repeat(two, 12, axis=0), rng.permutation([0, 0, 0, 1] * 3)
    # Right 51 times in 100: so flat that a change of the loss by 1e-6 says nothing about T.
    for low, high in (0.2, 0.5), (2.0, 5.0):
        apart = rng.uniform(low, high) * math.log(51 / 49)
        labels = rng.permutation([0] * 51 + [1] * 49)
        yield "a flat valley", np.array([[apart, 0.0]] * 100), labels
    # Flatter still, and the best T far from the middles of 0.1 to 10, from which a search begins.
    for low, high in (0.2, 0.5), (2.0, 3.5):
        apart = rng.uniform(low, high) * math.log(401 / 399)
        labels = rng.permutation([0] * 401 + [1] * 399)
        yield "a flat valley", np.array([[apart, 0.0]] * 800), labels
    far = rng.uniform(4000, 6000, (9, 1)) * np.resize([1, -1], (9, 1))
    yield case("a number added to each row", rng.uniform(1.4, 1.6), 9, 3, far)
    yield case("many samples", rng.uniform(2, 3), 120, 10)
    for T in 0.1025, 0.105, 0.1074:  # between the places of a grid
        yield case("a small T", T + rng.uniform(-0.0002, 0.0002), 9, 3)
    yield case("a small T", rng.uniform(0.11, 0.12), 12, 4)
    yield case("a large T", rng.uniform(9.7, 9.9), 9, 3)
    yield case("a large T", rng.uniform(4.3, 6.5), 15, 5)
    yield case("between", rng.uniform(0.3, 0.6), 9, 2)
    yield case("between", rng.uniform(1.15, 1.4), 12, 3)
    yield case("one great surprise", rng.uniform(0.4, 0.6), 30, 3, surprise=11)
    group, scores, labels = case("many samples", rng.uniform(0.5, 0.7), 130, 4)
    order = np.argsort(-scores[np.arange(130), labels] + scores.max(axis=1))
    yield group, scores[order], labels[order]
    for T in 0.15, 3.0:
        group, scores, labels = case("a class that is never likely", T, 9, 3)
        yield group, np.column_stack([scores, np.full(9, scores.min() - 200)]), labels
    group, scores, labels = case("the classes that occur are the last ones", 1.7, 12, 3)
    yield group, np.hstack([scores - 4, scores]), labels + 3


MORE = "the search is finer and wider than one percent of 0.1 to 10, before and after"

TEMPERATURE = Task(
    id="05.4",
    cases=temperature_cases,
    reference=best,
    rtol=1e-2,
    twice_up_to=30,
    equal=(
        ("np.geomspace(10, 0.1, 600)", "the same temperatures, from the other end"),
        ("np.geomspace(0.05, 10, 600)", MORE),
        ("np.geomspace(0.1, 11, 600)", MORE),
        ("np.geomspace(0.1, 10, 599)", MORE),
        ("np.geomspace(0.1, 10, 601)", MORE),
        ("list(tried)[:-1]", MORE),
        ("s[rows, labels]).sum()", "the sum is smallest where the mean is"),
        ("np.sum(np.logaddexp", "the sum is smallest where the mean is"),
        ("(mean - of_label).mean() > 0", "only the sign counts"),
        ("(mean - of_label).sum() >= 0", MORE),
        ("np.log(np.exp(s).mean(axis=1))", "the losses differ by log K, whatever T is"),
        ("def loss(T):; top =", "it is called later"),
        ("labels = abs(labels)", "no label is below 0"),
        ("range(1, 60)", MORE),
        ("range(60 - 1)", MORE),
        ("range(59)", MORE),
        ("range(61)", MORE),
        ("low, high = (0.025, 20.0)", MORE),
        ("low, high = (0.1, 20.0)", MORE),
        ("low, high = (0.05, 10.0)", MORE),
        ("low, high = (0.05, 40.0)", MORE),
        ("high - low >= 0.001", MORE),
        ("low, high, r = (-3.5, 7.0", MORE),
        ("low, high, r = (-7.0, 3.5", MORE),
        ("(5 * 0.5 - 1) / 2", "any two places between cut a piece off"),
        ("(6 ** 0.5 - 1) / 2", "any two places between cut a piece off"),
        ("np.log(np.exp(s).sum(axis=1, keepdims=True))", "the mean of all pairs is the same"),
        ("np.take_along_axis(scores, labels[:, None])", "the last axis is axis 1"),
        ("if loss(a) <= loss(b)", MORE),
    ),
    hints=(
        "Write the loss as a function of T first, without overflow. Then it is a search on a "
        "line with one valley.",
        "Temperatures that each are one percent larger than the last reach from 0.1 to 10 in "
        "fewer than 500 tries. Or keep two ends and cut off the worse third, again and again.",
        "T = np.geomspace(0.1, 10, 600); losses = [loss(t) for t in T]; return "
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
            tried = np.geomspace(0.1, 10, 600)
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
         "np.geomspace(0.1, 10, 600)", "np.linspace(0.1, 10, 100)"),
        ("only temperatures from 1 up are tried; a model that is too modest needs less",
         "np.geomspace(0.1, 10, 600)", "np.geomspace(1, 10, 600)"),
        ("only temperatures up to 1 are tried; a model that is too sure needs more",
         "np.geomspace(0.1, 10, 600)", "np.geomspace(0.1, 1, 600)"),
        ("the smallest loss is returned, not the temperature that gives it",
         "tried[np.argmin([loss(T) for T in tried])]", "min(loss(T) for T in tried)"),
        ("the squared error of p is made small, not the cross-entropy",
         "return (np.log(np.exp(s).sum(axis=1)) - s[rows, labels]).mean()",
         "p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True); "
         "return ((p - np.eye(p.shape[1])[labels]) ** 2).sum()"),
        ("the place of the best temperature in the list is returned, not the temperature",
         "tried[np.argmin([loss(T) for T in tried])]", "np.argmin([loss(T) for T in tried])"),
        ("the search stops when the loss hardly changes any more; in a flat valley that is far "
         "from the best T", """
            def best_temperature(scores, labels):
                rows = np.arange(len(labels))
                top = scores.max(axis=1, keepdims=True)
                def loss(T):
                    s = (scores - top) / T
                    return (np.log(np.exp(s).sum(axis=1)) - s[rows, labels]).mean()
                low, high = np.log(0.05), np.log(20.0)
                while True:
                    a, b = low + (high - low) / 3, high - (high - low) / 3
                    fa, fb = loss(np.exp(a)), loss(np.exp(b))
                    if abs(fa - fb) < 1e-5 and high - low < 1:
                        return float(np.exp((low + high) / 2))
                    low, high = (low, b) if fa < fb else (a, high)"""),
        ("the search stops when the loss hardly changes any more; in a flat valley that is far "
         "from the best T", """
            def best_temperature(scores, labels):
                top = scores.max(axis=1, keepdims=True)
                def loss(T):
                    s = (scores - top) / T
                    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), labels]).mean()
                low, high, r = 0.1, 10.0, (5 ** 0.5 - 1) / 2
                while True:
                    a, b = high - r * (high - low), low + r * (high - low)
                    fa, fb = loss(a), loss(b)
                    if abs(fa - fb) < 1e-6:
                        return (a + b) / 2
                    low, high = (low, b) if fa < fb else (a, high)"""),
        ("the search ends when 0.01 is left between the ends, too much for a small T", """
            def best_temperature(scores, labels):
                top = scores.max(axis=1, keepdims=True)
                def loss(T):
                    s = (scores - top) / T
                    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), labels]).mean()
                low, high = 0.1, 10.0
                while high - low > 0.01:
                    a, b = low + (high - low) / 3, high - (high - low) / 3
                    if loss(a) < loss(b): high = b
                    else: low = a
                return high"""),
        ("the mean confidence is made equal to the accuracy; that is not where the loss is "
         "smallest", """
            def best_temperature(scores, labels):
                right = (scores.argmax(axis=1) == labels).mean()
                top = scores.max(axis=1, keepdims=True)
                low, high = 0.1, 10.0
                for repeat in range(60):
                    T = (low + high) / 2
                    sure = 1 / np.exp((scores - top) / T).sum(axis=1)
                    low, high = (T, high) if sure.mean() > right else (low, T)
                return (low + high) / 2"""),
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
        ("the search goes downhill from T = 1, and stops after too few steps", """
            def best_temperature(scores, labels):
                top = scores.max(axis=1, keepdims=True)
                def loss(T):
                    s = (scores - top) / T
                    return (np.log(np.exp(s).sum(axis=1)) - s[np.arange(len(s)), labels]).mean()
                T = 1.0
                for repeat in range(200):
                    slope = (loss(T + 1e-4) - loss(T - 1e-4)) / 2e-4
                    T = min(max(T - 0.1 * slope, 0.1), 10)
                return T"""),
        ("the temperatures of the lesson are tried, 0.05 apart: too far for a small T",
         "np.geomspace(0.1, 10, 600)",
         "np.linspace(0.1, 10, 201)"),
        ("each temperature tried is 5 percent larger than the last; one percent is asked for",
         "np.geomspace(0.1, 10, 600)",
         "0.1 * 1.05 ** np.arange(95)"),
        ("each temperature tried is 2.3 percent larger than the last; one percent is asked for",
         "np.geomspace(0.1, 10, 600)", "np.geomspace(0.1, 10, 201)"),
        ("the temperatures tried lie 0.01 apart, too far for a small T",
         "np.geomspace(0.1, 10, 600)", "np.linspace(0.1, 10, 1000)"),
        ("only temperatures from 0.5 to 5 are tried",
         "np.geomspace(0.1, 10, 600)",
         "np.geomspace(0.5, 5, 600)"),
    ),
)  # fmt: skip

TASKS = [SOFTMAX, LOSS, CALIBRATION, TEMPERATURE]
