"""The tasks of lesson 03: one neuron, its rule, its bound, and what it cannot learn.

The samples are whole numbers, or quarters, so every score is exact, in whatever order it is added
up, and in float32 too.
"""

import itertools
import math

import numpy as np

from .task import Task

# Of what a number may be off: float32 is precise enough, as the notebook says.
PRECISION = {"rtol": 1e-5, "atol": 1e-6}
CLASSES = "classes are whole numbers from 0"
TWO = "labels are 0 and 1"

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def whole(rng, *shape, low=-3, high=3):
    return rng.integers(low, high + 1, shape).astype(float)


def quarters(rng, *shape):
    return rng.integers(-12, 13, shape) / 4


def step(x, labels, w, b, n):
    """Weights and bias, as plain numbers, after Rosenblatt's rule for sample n."""
    score = b
    for value, weight in zip(x[n], w):
        score += float(value) * weight
    change = int(labels[n]) - (1 if score > 0 else 0)
    return [weight + change * float(value) for value, weight in zip(x[n], w)], b + change


def count(x, labels, w, b):
    right = 0
    for sample, label in zip(x, labels):
        score = b + sum(float(value) * weight for value, weight in zip(sample, w))
        right += (1 if score > 0 else 0) == label
    return right


# ---- 03.1


def pass_cases(rng):
    first = whole(rng, 1, 2, low=1)
    yield "one sample", first, np.array([1]), np.zeros((2, 2)), np.zeros(2)
    yield "one sample", first, np.array([2]), np.zeros((2, 3)), np.zeros(3)

    def drawn(n, d, k, start, numbers=whole):
        """Samples that lead to mistakes, the later ones by weights that have changed."""
        while True:
            x, labels = numbers(rng, n, d), rng.integers(0, k, n)
            w = numbers(rng, d, k) if start else np.zeros((d, k))
            b = numbers(rng, k) if start else np.zeros(k)
            still = sum(int((sample @ w + b).argmax() != t) for sample, t in zip(x, labels))
            found = pass_reference(x, labels, w, b)[2]
            if found >= 2 and still != found:
                return x, labels, w, b

    yield "two classes", *drawn(4, 2, 2, True)
    yield "three classes", *drawn(4, 2, 3, True)
    yield "three classes", *drawn(6, 3, 3, True)
    yield "ties at the start", *drawn(5, 2, 4, False)
    yield "not whole", *drawn(4, 2, 3, True, quarters)
    yield "not whole", *drawn(5, 3, 2, True, quarters)
    yield "many samples", *drawn(60, 3, 4, True, quarters)
    yield "many features", *drawn(12, 30, 3, True, quarters)
    yield "many classes", *drawn(40, 2, 30, True, quarters)
    yield "many classes", *drawn(200, 1, 140, True, quarters)
    # Scores that differ by little; powers of 2, which float32 holds exactly.
    x, labels, w, b = drawn(6, 2, 3, True, quarters)
    yield "little apart", x / 256, labels, w / 64, 0 * b
    for size in (2.0**-8, 2.0**-20, 2.0**-40):
        yield "little apart", np.array([[size]]), np.array([0]), np.array([[0.0, 1.0]]), np.zeros(2)
    yield "little apart", np.array([[1.0]]), np.array([0]), np.array([[0.0, 2.0**-9]]), np.zeros(2)
    x, labels, w, b = drawn(6, 2, 3, True)
    yield "large numbers", 2.0**20 * x, labels, w, 2.0**20 * b
    yield (
        "no mistake",
        np.eye(3)[[2, 0, 1, 2]],
        np.array([2, 0, 1, 2]),
        3 * np.eye(3),
        whole(rng, 3, low=0, high=1),
    )
    yield "no samples", np.zeros((0, 2)), np.zeros(0, dtype=int), whole(rng, 2, 3), whole(rng, 3)


def pass_reference(x, labels, w, b):
    w, b, mistakes = w.tolist(), b.tolist(), 0
    for sample, label in zip(x.tolist(), labels.tolist()):
        said, top = 0, -math.inf
        for k in range(len(b)):
            score = b[k]
            for i, value in enumerate(sample):
                score += value * w[i][k]
            if score > top:
                said, top = k, score
        if said == label:
            continue
        mistakes += 1
        for k, sign in ((label, 1), (said, -1)):
            b[k] += sign
            for i, value in enumerate(sample):
                w[i][k] += sign * value
    return np.array(w), np.array(b), mistakes


PASS = Task(
    id="03.1",
    cases=pass_cases,
    reference=pass_reference,
    **PRECISION,
    equal=(
        ("labels = abs", CLASSES),
        ("v[:, k] + z; v[:, said]", "two different columns, in either order"),
    ),
    hints=(
        "Which two columns of w change? One of them belongs to labels[n].",
        "Add x[n] to column labels[n], subtract it from column said; do the same to b with 1.",
        "w[:, labels[n]] += x[n] and w[:, said] -= x[n]; then b[labels[n]] += 1 and b[said] -= 1.",
    ),
    right=(
        """
        def one_pass(x, labels, w, b):
            w, b, mistakes = w.copy(), b.copy(), 0
            for n in range(len(x)):
                scores = x[n] @ w + b
                said = scores.argmax()
                if said != labels[n]:
                    mistakes += 1
                    w[:, labels[n]] += x[n]
                    b[labels[n]] += 1
                    w[:, said] -= x[n]
                    b[said] -= 1
            return w, b, mistakes""",
        """
        def one_pass(x, labels, w, b):
            mistakes, one_hot = 0, np.eye(len(b))
            for sample, label in zip(x, labels):
                said = np.argmax(sample @ w + b)
                change = one_hot[label] - one_hot[said]
                w, b = w + np.outer(sample, change), b + change
                mistakes += int(said != label)
            return w, b, mistakes""",
        """
        def one_pass(x, labels, w, b):
            v, mistakes = np.vstack([w, b]), 0
            for z, k in zip(np.hstack([x, np.ones((len(x), 1))]), labels):
                said = int(np.argmax(z @ v))
                if said != k:
                    v[:, k] = v[:, k] + z
                    v[:, said] = v[:, said] - z
                    mistakes += 1
            return [v[:-1], v[-1], float(mistakes)]""",
    ),
    wrong=(
        ("the right class is raised, but the class that was said is not lowered",
         "w[:, said] -= x[n]", "pass", "b[said] -= 1", "pass"),
        ("the class that was said is lowered, but the right class is not raised",
         "w[:, labels[n]] += x[n]", "pass", "b[labels[n]] += 1", "pass"),
        ("the signs are exchanged: the right class is lowered and the one that was said raised",
         "w[:, labels[n]] += x[n]", "w[:, labels[n]] -= x[n]", "b[labels[n]] += 1",
         "b[labels[n]] -= 1", "w[:, said] -= x[n]", "w[:, said] += x[n]", "b[said] -= 1",
         "b[said] += 1"),
        ("rows of w are changed, w[k], in place of its columns, w[:, k]",
         "w[:, labels[n]] += x[n]", "w[labels[n]] += x[n]",
         "w[:, said] -= x[n]", "w[said] -= x[n]"),
        ("the biases stay as they were", "b[labels[n]] += 1", "pass", "b[said] -= 1", "pass"),
        ("the biases are changed by both +1, though the class that was said must fall",
         "b[said] -= 1", "b[said] += 1"),
        ("every class but the right one is lowered, not only the one that was said",
         "w[:, said] -= x[n]", "rest = np.arange(len(b)) != labels[n]; w[:, rest] -= x[n][:, None]",
         "b[said] -= 1", "b[rest] -= 1"),
        ("all samples are judged by the weights from before the pass",
         "x[n] @ w + b", "x[n] @ start_w + start_b",
         "w, b, mistakes = w.copy(), b.copy(), 0",
         "start_w, start_b, w, b, mistakes = w, b, w.copy(), b.copy(), 0"),
        ("scores that differ by little are taken for equal; only equal ones are",
         "scores.argmax()", "(scores > scores.max() - 0.01).argmax()"),
        ("equal scores are taken for no mistake; of equal ones the first is what the machine says",
         "if said != labels[n]:", "if scores[labels[n]] < scores[said]:"),
        ("scores that differ by little are taken for equal; only equal ones are",
         "scores.argmax()", "np.isclose(scores, scores.max()).argmax()"),
    ),
)  # fmt: skip

# ---- 03.2


def pocket_trace(x, labels, passes):
    """How many are right after each update, at the start first; and those at the passes' ends."""
    w, b = [0.0] * x.shape[1], 0
    counts, ends = [count(x, labels, w, b)], []
    for _ in range(passes):
        for n in range(len(x)):
            new = step(x, labels, w, b, n)
            if new != (w, b):
                w, b = new
                counts.append(count(x, labels, w, b))
        ends.append(counts[-1])
    return counts, ends


def best_by_pass(x, labels, passes):
    """How many are right at best, at the start and until the end of each pass; x has one feature.

    With NumPy, for many draws are tried until one is late.
    """
    w, b, found = 0.0, 0.0, [int((labels == 0).sum())]
    for _ in range(passes):
        found.append(found[-1])
        for n in range(len(x)):
            change = int(labels[n]) - int(w * x[n] + b > 0)
            if change:
                w, b = w + change * x[n], b + change
                found[-1] = max(found[-1], int(((w * x + b > 0) == labels).sum()))
    return found


def pocket_cases(rng):
    def drawn(wanted, n, d, passes, numbers=whole, of_class_0=0):
        while True:
            x, labels = numbers(rng, n, d), rng.integers(0, 2, n)
            labels[:of_class_0] = 0
            if not wanted(*pocket_trace(x, labels, passes)):
                continue
            w, b, _ = pocket_reference(x, labels, passes)
            if numbers is whole or ((x @ w + b > 0) != (x @ w + b > 1)).any():
                return x, labels, passes

    def late(passes):
        """Samples on a line far from 0, so that a pass does little: the last 10 better it."""
        while True:
            x = rng.permutation(24)[:, None] / 4 + 10
            labels = (x[:, 0] > rng.uniform(12, 14)).astype(int)
            best = best_by_pass(x[:, 0], labels, passes)
            if best[-11] < best[-1]:
                return x, labels, passes

    def still_better(passes):
        """The last pass brings better weights than those before, and another would too."""
        while True:
            x, labels, _ = drawn(lambda counts, ends: True, 16, 3, passes)
            before, now, then = (
                pocket_reference(x, labels, passes + more)[2] for more in (-1, 0, 1)
            )
            if before < now < then:
                return x, labels, passes

    def again(n, d, passes):
        """Whoever goes on from the pocket at each pass finds better weights than in one pass."""
        while True:
            x, labels, _ = drawn(lambda counts, ends: True, n, d, passes)
            right = _from_the_pocket(x, labels, passes)[2]
            once, asked = (pocket_reference(x, labels, p)[2] for p in (1, passes))
            if right > once and right != asked != once:
                return x, labels, passes

    def step_by_step(counts, ends):  # all but one are right once, and later all
        records = [c for i, c in enumerate(counts) if c > max(counts[:i], default=-1)]
        return len(records) > 2 and records[-1] - records[-2] == 1

    def slowly(counts, ends):  # whoever waits for two more misses the best
        kept = counts[0]
        for right in counts:
            kept = right if right > kept + 1 else kept
        return kept < max(counts)

    def passed_by(counts, ends):  # the best is met once, within a pass, and is not the last
        return max(counts) > max(counts[0], *ends) and counts.count(max(counts)) == 1

    def met_twice(counts, ends):  # equally good weights come later
        return max(counts) > counts[0] and counts.count(max(counts)) > 1 and len(set(ends)) > 1

    def all_at_the_end(counts, ends):  # the first samples are right as long as nothing is learned
        return max(counts) > counts[0]

    def start_is_best(counts, ends):
        return len(counts) > 4 and counts[0] == max(counts) and counts.count(counts[0]) == 1

    by_hand = np.array([[1.0], [1.0], [2.0]]), np.array([1, 0, 0])
    yield "a start that stays", *by_hand, 1
    yield "a start that stays", *drawn(start_is_best, 6, 1, 3)
    yield "gates", CORNERS, np.array([0, 0, 0, 1]), 8
    yield "gates", CORNERS, np.array([0, 1, 1, 0]), 4
    yield "the best goes by", *drawn(passed_by, 6, 2, 3)
    yield "the best goes by", *drawn(passed_by, 9, 2, 4)
    last = np.append(-whole(rng, 3, low=1), whole(rng, 1, low=1))[:, None]
    yield "the best comes last", last, np.array([0, 0, 0, 1]), 1
    yield "the best comes last", *still_better(2)
    yield "equally good weights", *drawn(met_twice, 6, 2, 4)
    yield "equally good weights", *drawn(met_twice, 8, 3, 4)
    yield "one class", whole(rng, 3, 2), np.array([0, 0, 0]), 2
    yield "one class", whole(rng, 3, 2), np.array([1, 1, 1]), 2
    yield "no passes", whole(rng, 4, 2), np.array([0, 1, 0, 1]), 0
    x, labels, _ = drawn(all_at_the_end, 5, 2, 1)
    yield "no passes", x, labels, 0
    while True:  # separable, and met with all but one right before
        x, labels, passes = drawn(step_by_step, 6, 2, 6)
        if pocket_reference(x, labels, passes)[2] == 6:
            break
    yield "the last sample too", x, labels, passes
    yield "the last sample too", *drawn(step_by_step, 9, 2, 5)
    yield "a long way", *again(9, 2, 4)
    yield "a long way", *again(8, 2, 5)
    x, labels, passes = drawn(passed_by, 7, 2, 3)
    yield "large numbers", 2.0**20 * x, labels, passes
    x = quarters(rng, 300, 2)
    yield "many samples", *drawn(slowly, 130, 2, 2, quarters)
    yield "very many samples", x, (x @ [1.0, 2.0] > 0.5).astype(int), 1
    yield "not whole", *drawn(passed_by, 7, 2, 3, quarters)
    yield "not whole", *drawn(met_twice, 6, 2, 4, quarters)
    yield "many samples", *drawn(all_at_the_end, 50, 3, 2, quarters, 30)
    yield "many passes", *late(60)
    x, labels, passes = late(75)
    yield "many passes", -x, 1 - labels, passes


def _from_the_pocket(x, labels, passes):
    """The pocket, if each pass begins with the weights in it, which the task does not ask for."""
    best = ([0.0] * x.shape[1], 0)
    most = count(x, labels, *best)
    for _ in range(passes):
        w, b = best
        for n in range(len(x)):
            w, b = step(x, labels, w, b, n)
            if count(x, labels, w, b) > most:
                best, most = (w, b), count(x, labels, w, b)
    return *best, most


def pocket_reference(x, labels, passes):
    w, b = [0.0] * x.shape[1], 0
    best = (w, b, count(x, labels, w, b))
    for _ in range(passes):
        for n in range(len(x)):
            new = step(x, labels, w, b, n)
            if new == (w, b):
                continue
            w, b = new
            right = count(x, labels, w, b)
            if right > best[2]:
                best = (w, b, right)
    return np.array(best[0]), float(best[1]), best[2]


POCKET = Task(
    id="03.2",
    cases=pocket_cases,
    reference=pocket_reference,
    **PRECISION,
    equal=(
        ("labels = abs", TWO),
        ("labels = np.minimum(labels, 1)", TWO),
        ("if change != 0: -> if True:", "without an update the weights are as good as before"),
        ("int(w @ x[n]", "of two rows of numbers the product is the same both ways"),
        ("int(v @ z[n]", "of two rows of numbers the product is the same both ways"),
        ("`dot` exchanged", "of two rows of numbers the product is the same both ways"),
        ("-> v = v + z[n]", "what is in the pocket is a copy"),
    ),
    hints=(
        "Two things happen for a sample: Rosenblatt's rule, and after an update a look into the "
        "pocket.",
        "change = labels[n] - what the neuron says. If it is not 0: make new w and b, count on all "
        "samples, compare with best[2].",
        "w, b = w + change * x[n], b + change; right = count_right(x, labels, w, b); "
        "if right > best[2]: best = w, b, right.",
    ),
    right=(
        """
        def count_right(x, labels, w, b):
            return int(((x @ w + b > 0) == labels).sum())

        def pocket(x, labels, passes):
            w, b = np.zeros(x.shape[1]), 0.0
            best = w, b, count_right(x, labels, w, b)
            for n in list(range(len(x))) * passes:
                change = labels[n] - int(x[n] @ w + b > 0)
                if change != 0:
                    w, b = w + change * x[n], b + change
                    right = count_right(x, labels, w, b)
                    if right > best[2]:
                        best = w, b, right
            return best""",
        """
        def pocket(x, labels, passes):
            z = np.column_stack([x, np.ones(len(x))])
            v = np.zeros(z.shape[1])
            kept = v.copy()
            for p in range(passes):
                for n in range(len(z)):
                    v += z[n] * (int(labels[n]) - int(z[n] @ v > 0))
                    if np.sum((z @ v > 0) == labels) > np.sum((z @ kept > 0) == labels):
                        kept = v.copy()
            return kept[:-1], kept[-1], np.sum((z @ kept > 0) == labels)""",
        """
        def pocket(x, labels, passes):
            w, b = np.zeros(x.shape[1]), 0
            met = [(w, b)]
            for p in range(passes):
                for row, label in zip(x, labels):
                    said = 1 if np.dot(row, w) + b > 0 else 0
                    if said < label:
                        w, b = w + row, b + 1
                    elif said > label:
                        w, b = w - row, b - 1
                    met.append((w, b))
            right = [int(((x @ w + b > 0) == labels).sum()) for w, b in met]
            k = int(np.argmax(right))
            return met[k][0], met[k][1], right[k]""",
    ),
    wrong=(
        ("the last weights are returned, not the best",
         "return best", "return w, b, count_right(x, labels, w, b)"),
        ("weights that are only as good as those in the pocket replace them",
         "right > best[2]", "right >= best[2]"),
        ("`w` is changed with +=, and the array in the pocket is the same one, so it changes too",
         "w, b = w + change * x[n], b + change", "w += change * x[n]; b += change"),
        ("the pocket is looked into at the end of each pass only, not after each update",
         "right = count_right(x, labels, w, b)", "pass",
         "if right > best[2]:", "if n == len(x) - 1 and count_right(x, labels, w, b) > best[2]:",
         "best = w, b, right", "best = w, b, count_right(x, labels, w, b)",
         "if change != 0:", "if True:"),
        ("the weights are counted before each update, so those after the last one never are",
         """
            def pocket(x, labels, passes):
                w, b = np.zeros(x.shape[1]), 0.0
                best = w, b, int(((x @ w + b > 0) == labels).sum())
                for n in list(range(len(x))) * passes:
                    right = int(((x @ w + b > 0) == labels).sum())
                    if right > best[2]:
                        best = w, b, right
                    change = labels[n] - int(x[n] @ w + b > 0)
                    w, b = w + change * x[n], b + change
                return best"""),
        ("the training goes back to the weights in the pocket when new ones are no better; it goes "
         "on from the new ones",
         "best = w, b, right", "best = w, b, right\n                    else:"
         "\n                        w, b = best[:2]"),
        ("each pass begins with the weights in the pocket; it goes on from the last ones",
         "if change != 0:", "if n == 0:\n                    w, b = best[:2]\n"
         "                change = labels[n] - int(x[n] @ w + b > 0)\n"
         "                if change != 0:"),
        ("the first update throws the start out of the pocket, however good it was",
         "best = w, b, count_right(x, labels, w, b)",
         "best = w, b, count_right(x, labels, w, b); first = True",
         "if right > best[2]:", "if first or right > best[2]:",
         "best = w, b, right", "best = w, b, right; first = False"),
        ("the training ends after a pass that brought nothing better; a later pass may", """
            def pocket(x, labels, passes):
                w, b = np.zeros(x.shape[1]), 0.0
                best = w, b, int(((x @ w + b > 0) == labels).sum())
                for p in range(passes):
                    before = best[2]
                    for n in range(len(x)):
                        change = labels[n] - int(x[n] @ w + b > 0)
                        w, b = w + change * x[n], b + change
                        right = int(((x @ w + b > 0) == labels).sum())
                        if right > best[2]:
                            best = w, b, right
                    if best[2] == before:
                        break
                return best"""),
        ("a score of 0 is taken for class 1 in the step",
         "int(x[n] @ w + b > 0)", "int(x[n] @ w + b >= 0)"),
        ("the bias is never changed", "b + change", "b"),
        ("the sign of the update is wrong: what the neuron says minus the label",
         "labels[n] - int(x[n] @ w + b > 0)", "int(x[n] @ w + b > 0) - labels[n]"),
        ("the samples that are right in a row are counted, not all samples", """
            def pocket(x, labels, passes):
                w, b, run = np.zeros(x.shape[1]), 0.0, 0
                best, longest = (w, b), 0
                for n in list(range(len(x))) * passes:
                    change = labels[n] - int(x[n] @ w + b > 0)
                    if change == 0:
                        run += 1
                        if run > longest:
                            best, longest = (w, b), run
                    else:
                        w, b, run = w + change * x[n], b + change, 0
                return *best, int(((x @ best[0] + best[1] > 0) == labels).sum())"""),
    ),
)  # fmt: skip

# ---- 03.3


def promise_cases(rng):
    def separated(n, d, scale=1.0):
        """Both classes, right under w and b; the bias matters."""
        while True:
            w, b, x = whole(rng, d), float(rng.integers(1, 4)), whole(rng, n, d, low=-5, high=5)
            scores = x @ w + b
            labels = (scores > 0).astype(int)
            if 0 < labels.sum() < n and (scores != 0).all() and (w != 0).any():
                return scale * x, labels, w, scale * b

    def crossed(n, d):
        x, labels, w, b = separated(n, d)
        labels[rng.integers(n)] ^= 1
        return x, labels, w, b

    def fractions(case):
        x, labels, w, b = case
        return x, labels, w / 8, b / 8

    by_hand = np.array([[2.0], [-3.0]]), np.array([1, 0])
    yield "one feature", *by_hand, np.array([3.0]), 4.0
    yield "one feature", *separated(3, 1)
    yield "separated", *separated(4, 2)
    yield "separated", *separated(9, 3)
    yield "one sample", whole(rng, 1, 2, low=1), np.array([1]), np.array([1.0, 2.0]), 2.0
    yield "one sample", whole(rng, 1, 2, low=1), np.array([0]), np.array([-1.0, -2.0]), -2.0
    yield "on the wrong side", *crossed(3, 2)
    yield "on the wrong side", *crossed(8, 2)
    on_line = np.array([[0.0, float(rng.integers(1, 4))], [3.0, 1.0], [-2.0, 1.0]])
    yield "on the line", on_line, np.array([1, 1, 0]), np.array([2.0, 0.0]), 0.0
    yield "large numbers", *separated(6, 2, 1e6)
    for scale in (2.0**-10, 2.0**-20, 2.0**-30, 2.0**-50):
        yield "a small margin", *separated(4, 2, scale)
    x, labels, w, b = separated(4, 2)
    yield "small weights", x, labels, w * 2.0**-30, b * 2.0**-30
    yield "small weights", x, labels, w * 2.0**30, b * 2.0**30
    yield "the bias alone", whole(rng, 3, 2), np.array([1, 1, 1]), np.zeros(2), 2.0
    yield "the bias alone", whole(rng, 2, 1), np.array([0, 0]), np.zeros(1), -0.5
    yield "the bias alone", whole(rng, 2, 2), np.array([0, 1]), np.zeros(2), 1.0
    yield (
        "no bias",
        np.array([[2.0, 1.0], [-1.0, -3.0]]),
        np.array([1, 0]),
        np.array([1.0, 2.0]),
        0.0,
    )
    x, labels, w, b = crossed(5, 2)
    yield "on the wrong side", x * 2.0**-20, labels, w, b * 2.0**-20
    yield "not whole", *separated(3, 2, 0.25)
    yield "not whole", *fractions(separated(5, 3, 0.25))
    yield "not whole", *fractions(crossed(4, 2))
    yield "many features", *separated(5, 30)
    x, labels, w, b = separated(70, 2, 0.5)
    order = np.argsort(-abs(x @ w + b))  # the sample that decides comes last
    yield "many samples", x[order], labels[order], w, b


def promise_reference(x, labels, w, b):
    length = math.sqrt(sum(float(value) ** 2 for value in [*w, b]))
    margin, longest = math.inf, 0.0
    for sample, label in zip(x.tolist(), labels.tolist()):
        score = b + sum(value * weight for value, weight in zip(sample, w.tolist()))
        margin = min(margin, (score if label == 1 else -score) / length)
        longest = max(longest, 1 + sum(value * value for value in sample))
    return margin, longest / margin**2 if margin > 0 else math.inf


PROMISE = Task(
    id="03.3",
    cases=promise_cases,
    reference=promise_reference,
    **PRECISION,
    equal=(
        ("labels = abs", TWO),
        ("labels = np.minimum(labels, 1)", TWO),
        ("if margin <= 0: -> if margin < 0:", "divided by 0, NumPy's numbers give infinity"),
        ("if margin >= 0 else", "divided by 0, NumPy's numbers give infinity"),
        (".sum(axis=1, keepdims=True).max()", "the largest is the same, in whatever shape"),
        ("u /= np.linalg.norm(u)", "it is an array of its own"),
        ("the two sides of `@`", "of two rows of numbers the product is the same both ways"),
    ),
    hints=(
        "Turn the labels 0 and 1 into the signs -1 and +1 first. Which sample decides the margin?",
        "The margin is the smallest sign times score, divided by the length of all of (w, b). "
        "R squared is the largest sum of squares of a sample, plus 1.",
        "signs = 2 * labels - 1; margin = (signs * (x @ w + b)).min() / np.sqrt(w @ w + b * b); "
        "then np.inf, or ((x**2).sum(axis=1).max() + 1) / margin**2.",
    ),
    right=(
        """
        def promise(x, labels, w, b):
            signs = 2 * labels - 1
            distances = signs * (x @ w + b) / np.sqrt(w @ w + b * b)
            margin = distances.min()
            if margin <= 0:
                return margin, np.inf
            longest = (x**2).sum(axis=1).max() + 1
            return margin, longest / margin**2""",
        """
        def promise(x, labels, w, b):
            z = np.hstack([x, np.ones((len(x), 1))])
            u = np.append(w, b)
            u = u / np.linalg.norm(u)
            margin = min(z[n] @ u if labels[n] else -(z[n] @ u) for n in range(len(z)))
            R = np.linalg.norm(z, axis=1).max()
            return [margin, (R / margin) ** 2 if margin > 0 else float("inf")]""",
        """
        def promise(x, labels, w, b):
            length = (sum(w**2) + b**2) ** 0.5
            scores = np.where(labels == 1, 1.0, -1.0) * (x.dot(w) + b)
            margin = sorted(scores)[0] / length
            R2 = max(np.einsum("nd,nd->n", x, x) + 1)
            return np.array([margin, R2 / margin / margin if margin > 0 else np.inf])""",
    ),
    wrong=(
        ("the bias is left out of the length of (w, b)", "w @ w + b * b", "w @ w"),
        ("the 1 that belongs to each sample is missing in R", ".max() + 1", ".max()"),
        ("the labels 0 and 1 are used in place of the signs -1 and +1", "2 * labels - 1", "labels"),
        ("the distances are averaged; the margin is the smallest of them",
         "distances.min()", "distances.mean()"),
        ("the margin is not divided by the length of (w, b)", "/ np.sqrt(w @ w + b * b)", ""),
        ("R and the margin are not squared in the bound",
         "longest / margin**2", "np.sqrt(longest) / margin"),
        ("the sign is dropped (abs), and a sample on the wrong side counts as right",
         "signs * (x @ w + b)", "abs(x @ w + b)"),
        ("a bound is given for weights that do not separate", "if margin <= 0:", "if margin == 0:"),
        ("R is taken from the shortest sample", ".max() + 1", ".min() + 1"),
        ("a small margin is taken for none; any above 0 gives a bound",
         "if margin <= 0:", "if margin <= 1e-3:"),
        ("a small margin is taken for none; any above 0 gives a bound",
         "if margin <= 0:", "if margin <= 1e-8:"),
    ),
)  # fmt: skip

# ---- 03.4


SUM = "sum of c s z, for c divided by its largest"


def examine(answer, x, labels):
    """What the answer says, and what is wrong with its proof."""
    kept = x.copy(), labels.copy()
    found = answer(x, labels)
    x, labels = kept
    if not isinstance(found, (tuple, list)) or not len(found):
        return found
    parts = {"separable": 3, "impossible": 2}.get(str(found[0]))
    if len(found) != parts:
        return {"says": str(found[0]), "parts that came": len(found), "parts expected": parts or 0}
    if str(found[0]) == "separable":
        w, b = np.asarray(found[1], dtype=float), float(found[2])
        if w.shape != x.shape[1:]:
            return {"says": "separable", "numbers in w": w.size, "numbers expected": x.shape[1]}
        wrong = int(((x @ w + b > 0) != labels).sum())
        return {"says": "separable", "samples wrong": wrong}
    c = np.asarray(found[1], dtype=float)
    if c.shape != labels.shape:
        return {"says": "impossible", "numbers in c": c.size, "numbers expected": len(labels)}
    c = c / max(abs(c).max(), 1e-300)
    total = ((c * (2 * labels - 1)) @ np.column_stack([x, np.ones(len(x))])).round(6)
    verdict = {
        "says": found[0],
        "numbers below 0": int((c < 0).sum()),
        "all are 0": bool((c == 0).all()),
        SUM: [float(t) for t in total],
    }
    if (c < 0).any() or not c.any() or total.any():
        verdict["your c, divided by its largest"] = [float(v) for v in c.round(6)]
    return verdict


def prove_cases(rng):
    def mixed(x, labels):
        order = rng.permutation(len(x))
        return np.array(x, dtype=float)[order], np.array(labels).astype(int)[order]

    def drawn(n, d, wanted):
        while True:
            x, labels = whole(rng, n, d, low=0, high=2), rng.integers(0, 2, n)
            if 0 < labels.sum() < n and separable(x, labels) == wanted:
                return x, labels

    cube = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    yield "one class", whole(rng, 1, 2, low=0, high=2), np.array([1])
    yield "one class", whole(rng, 3, 2, low=0, high=2), np.array([1, 1, 1])
    yield "one class", whole(rng, 2, 2, low=0, high=2), np.array([0, 0])
    yield "two labels for one sample", np.array([[1.0], [1.0]]), np.array([0, 1])
    yield "two labels for one sample", *mixed([[1, 2], [0, 1], [1, 2]], [1, 0, 0])
    yield "XOR and its opposite", CORNERS, np.array([0, 1, 1, 0])
    yield "XOR and its opposite", *mixed(CORNERS, [1, 0, 0, 1])
    yield "AND and OR", CORNERS, np.array([0, 0, 0, 1])
    yield "AND and OR", *mixed(CORNERS, [0, 1, 1, 1])
    yield "in a row", *mixed([[0], [1], [2]], [0, 1, 0])
    yield "in a row", *mixed([[0], [1], [2]], [0, 0, 1])
    yield "three inputs", *mixed(cube, cube.sum(axis=1) % 2 == 1)
    yield "three inputs", *mixed(cube, cube @ [2, 1, 1] >= 2)
    yield "any samples", *drawn(5, 2, True)
    yield "any samples", *drawn(6, 2, False)
    yield "any samples", *drawn(8, 3, False)
    yield "any samples", *drawn(8, 2, True)
    for group, samples in FIXED:
        *columns, labels = np.array([list(map(int, sample)) for sample in samples.split()]).T
        order = rng.permutation(len(columns))
        yield group, np.stack(columns, axis=1)[:, order].astype(float), labels


# Samples as digits, the last of them the label.  The training takes 361 and 401 passes for the
# first two, and 447 and 411 before it comes back for the next.  In the others a proof is at hand
# that does not hold.
FIXED = [
    ("a long search", "1021 2220 2220 2100 0001 0211 2211 2020"),
    ("a long search", "2200 2021 2121 0221 2011 0101 1201 1210"),
    ("a long way round", "1210 2220 2101 2210 0211 2221 1021 1200"),
    ("a long way round", "0201 2120 1210 2001 2101 2201 1121 1211"),
    ("near misses", "111 220 010"),
    ("near misses", "110 021 221 201"),
    ("near misses", "0000 0011 0100 2210 0210 1201"),
    ("near misses", "1001 2201 2010 0220 2121 1011"),
    ("near misses", "210 000 021 111 101"),
    ("near misses", "221 200 110 211 011 011"),
]


def separable(x, labels):
    """Whether a line exists, by trying all small directions: enough for numbers of 0 to 2."""
    if labels.all() or not labels.any():
        return True
    directions = np.array(list(itertools.product(range(-9, 10), repeat=x.shape[1])))
    scores = x @ directions.T  # (N, how many)
    return bool((scores[labels == 1].min(axis=0) > scores[labels == 0].max(axis=0)).any())


def prove_reference(x, labels):
    if separable(x, labels):
        return {"says": "separable", "samples wrong": 0}
    return {
        "says": "impossible",
        "numbers below 0": 0,
        "all are 0": False,
        SUM: [0.0] * (x.shape[1] + 1),
    }


_AFTER_EACH = """
    def prove(x, labels):
        z = [tuple(int(v) for v in row) + (1,) for row in x]
        v, c = (0,) * len(z[0]), [0] * len(z)
        seen, quiet = {v: list(c)}, 0
        while True:
            for n in range(len(z)):
                said = sum(p * q for p, q in zip(z[n], v)) > 0
                if said == bool(labels[n]):
                    quiet += 1
                    if quiet >= len(z):
                        return ["separable", v[:-1], v[-1]]
                    continue
                quiet = 0
                v = tuple(q + (p if labels[n] else -p) for p, q in zip(z[n], v))
                c[n] += 1
                if v in seen:
                    return ["impossible", [p - q for p, q in zip(c, seen[v])]]
                seen[v] = list(c)"""

PROVE = Task(
    id="03.4",
    cases=prove_cases,
    reference=prove_reference,
    drive=examine,
    **PRECISION,
    equal=(
        ("x = np.trunc(x)", "the samples are whole numbers of 0 to 2"),
        ("x = abs(x)", "the samples are whole numbers of 0 to 2"),
        ("labels = abs", TWO),
        ("labels = np.minimum(labels, 1)", TWO),
        (", 30)", "there are no more than 8 samples, of no more than 3 numbers"),
        *((f"{part}[:20]", "there are no more than 8 samples, of no more than 3 numbers") for part
          in ("x", "labels", "list(x)", "list(row)", "v))", "seen[v]))")),
        ("size))[:20]", "it is found among these"),
        ("list(row)[:3]", "a sample has no more than 3 numbers"),
        # the training
        ("w, b = (np.ones(x.shape[1]), 0.0)", "from any start the weights stay within bounds"),
        ("w, b = (np.zeros(x.shape[1]), 1.0)", "from any start the weights stay within bounds"),
        ("((1,) * len(z[0])", "from any start the weights stay within bounds"),
        ("np.ones(len(x)), {}", "only what was added since counts"),
        ("[1] * len(z)", "only what was added since counts"),
        ("(0,) * len(z[-1])", "all samples have the same length"),
        ("wrong += 1 -> wrong = 1", "asked is whether it is 0"),
        ("-> wrong -= 1", "asked is whether it is 0"),
        ("-> wrong += 2", "asked is whether it is 0"),
        ("counts[n] += 2", "twice a certificate is one"),
        ("c[n] += 2", "twice a certificate is one"),
        ("int(w @ x[n] + b > 0)", "of two rows of numbers the product is the same both ways"),
        ("zip(v, z[n]))) > 0", "of two rows of numbers the product is the same both ways"),
        ("list(zip(z[n], v))[::-1])) > 0", "a sum of whole numbers, in another order"),
        ("for n in range(len(z)): -> for n in range(len(z)):",
         "after an update it begins with the first sample: any order will do"),
        ("if quiet > len(z):", "one sample more is looked at"),
        ("if quiet >= len(z):; quiet += 1", "one sample more is looked at"),
        # the search through small directions, and through certificates of few samples
        ("repeat=x.shape[1]))[::-1]", "there are other directions that do"),
        ("repeat=x.shape[1]))[:-1]", "there are other directions that do"),
        ("repeat=x.shape[1]))[1:]", "there are other directions that do"),
        ("range(-9, 10 - 1)", "there are other directions that do"),
        ("range(-10, 10)", "there are other directions that do"),
        ("range(-9, 9)", "there are other directions that do"),
        ("range(-9, 11)", "there are other directions that do"),
        ("range(-8, 10)", "there are other directions that do"),
        ("size))[::-1]", "any certificate is accepted"),
        ("range(1, x.shape[1] + 3)", "one sample alone is no certificate"),
        ("range(2, x.shape[1] + 4)", "it is found among fewer"),
        ("range(2, x.shape[0] + 3)", "it is found among fewer"),
        ("z = (1 - 2 * labels)", "all signs turned round, the sum is 0 as before"),
        ("0.5 if len(one) else -1.0", "any number above 0"),
        ("2.0 if len(one) else -1.0", "any number above 0"),
        ("else -0.5)", "any number that is not above 0"),
        ("else -2.0)", "any number that is not above 0"),
        ("-> return ('separable', w, -", "a tuple is as good as an array"),
        ("((one @ w).min()", "a tuple is as good as an array"),
        ("(zero @ w).max()", "a tuple is as good as an array"),
        ("`rcond=None` left out", "it is the same"),
        ("np.zeros(z.shape[1]), 0.5)", "half a certificate is one"),
        ("np.zeros(z.shape[1]), 2.0)", "twice a certificate is one"),
        ("<= 1e-09", "a number that is 0 but for rounding"),
        ("(c >= -1e-09)", "a number that is 0 but for rounding"),
        ("(c > 1e-09)", "then there is one of fewer samples, which was tried before"),
    ),
    hints=(
        "Train as in the lesson, pass by pass. What must you remember to notice that the weights "
        "have come back?",
        "Count the updates of each sample. Keep a dict: (w, b) at the end of a pass -> the counts "
        "at that time. When (w, b) is in it, look at how much each count has grown since.",
        "state = (*w.tolist(), b); if state in seen: return 'impossible', counts - seen[state]; "
        "else seen[state] = counts.copy(), and one more pass; no update in it: 'separable', w, b.",
    ),
    right=(
        """
        def prove(x, labels):
            w, b = np.zeros(x.shape[1]), 0.0
            counts, seen = np.zeros(len(x)), {}
            while True:
                state = (*w.tolist(), b)
                if state in seen:
                    return "impossible", counts - seen[state]
                seen[state] = counts.copy()
                wrong = 0
                for n in range(len(x)):
                    change = labels[n] - int(x[n] @ w + b > 0)
                    if change != 0:
                        wrong += 1
                        w, b = w + change * x[n], b + change
                        counts[n] += 1
                if wrong == 0:
                    return "separable", w, b""",
        _AFTER_EACH,
        """
        import itertools
        def prove(x, labels):
            one, zero = x[labels == 1], x[labels == 0]
            if not len(one) or not len(zero):
                return "separable", np.zeros(x.shape[1]), 1.0 if len(one) else -1.0
            for w in itertools.product(range(-9, 10), repeat=x.shape[1]):
                low, high = (one @ np.array(w)).min(), (zero @ np.array(w)).max()
                if low > high:
                    return "separable", np.array(w), -(low + high) / 2
            z = (2 * labels - 1)[:, None] * np.column_stack([x, np.ones(len(x))])
            # Caratheodory 1907: where 0 is a mean of rows of z, it is one of D + 2 rows.
            for size in range(2, x.shape[1] + 3):
                for part in itertools.combinations(range(len(x)), size):
                    a = np.vstack([z[list(part)].T, np.ones(size)])
                    c = np.linalg.lstsq(a, np.append(np.zeros(z.shape[1]), 1.0), rcond=None)[0]
                    if (c > -1e-9).all() and abs(z[list(part)].T @ c).max() < 1e-9:
                        full = np.zeros(len(x))
                        full[list(part)] = np.maximum(c, 0)
                        return "impossible", full""",
    ),
    wrong=(
        ("the updates are counted from the start; only those since the weights were the same "
         "before add up to nothing", "counts - seen[state]", "counts"),
        ("the updates are counted from the start; only those since the weights were the same "
         "before add up to nothing",
         _AFTER_EACH.replace("zip(c, seen[v])", "zip(c, [0] * len(c))")),
        ("updates of class 0 are counted as -1; the sign stands in s already",
         _AFTER_EACH.replace("c[n] += 1", "c[n] += 1 if labels[n] else -1")),
        ("the weights are compared without the bias", "(*w.tolist(), b)", "tuple(w.tolist())"),
        ("the search gives up after a few passes; being out of patience is no proof",
         "if state in seen:\n                    return \"impossible\", counts - seen[state]",
         "if len(seen) == 3:\n                    return \"impossible\", counts",
         "seen[state]", "seen[len(seen)]"),
        ("the counts of a long training are given as they are; only those between two moments with "
         "the same weights add up to nothing",
         "if state in seen:\n                    return \"impossible\", counts - seen[state]",
         "if len(seen) == 1000:\n                    return \"impossible\", counts",
         "seen[state]", "seen[len(seen)]"),
        ("the search gives up after a hundred passes; being out of patience is no proof",
         "if state in seen:", "if state in seen or len(seen) == 100:",
         "counts - seen[state]", "counts - seen.get(state, 0)"),
        ("the search gives up after twenty passes, with all ones; being out of patience is no "
         "proof",
         "if state in seen:\n                    return \"impossible\", counts - seen[state]",
         "if len(seen) == 20:\n                    return \"impossible\", np.ones(len(x))",
         "seen[state]", "seen[len(seen)]"),
        ("updates of class 0 are counted as -1; the sign stands in s already",
         "counts[n] += 1", "counts[n] += change"),
        ("a score of 0 is taken for class 1",
         "int(x[n] @ w + b > 0)", "int(x[n] @ w + b >= 0)"),
        ("the certificate of XOR, all ones, is given for everything impossible",
         "counts - seen[state]", "np.ones(len(x))"),
        ("the bias is never trained, and only lines through the origin are found",
         "b + change", "b"),
        ("the remembered counts are the same array as the running ones, so nothing seems to grow",
         "counts.copy()", "counts"),
    ),
)  # fmt: skip

TASKS = [PASS, POCKET, PROMISE, PROVE]
