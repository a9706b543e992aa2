"""The tasks of lesson 02: pieces of a toolbox, and one pipeline in scikit-learn."""

import itertools

import numpy as np

from .task import Task

# Of what a number may be off: float32 is precise enough, as the notebook says.
PRECISION = {"rtol": 1e-5, "atol": 1e-6}
CLASSES = "labels are whole numbers from 0"

# ---- 02.1


def model_called(name):
    """A model by its name; none of them looks at one new sample to answer another."""

    def nearest(k):
        def model(x_train, labels_train, x_new):
            distances = ((x_new[:, None] - x_train) ** 2).sum(axis=2)
            near = labels_train[distances.argsort(axis=1, kind="stable")[:, :k]]
            return np.array([np.bincount(row).argmax() for row in near], dtype=int)

        return model

    def commonest(x_train, labels_train, x_new):
        return np.full(len(x_new), np.bincount(labels_train).argmax())

    def last(x_train, labels_train, x_new):
        return np.full(len(x_new), labels_train[-1])

    return {
        "the nearest sample": nearest(1),
        "a vote of the 3 nearest": nearest(3),
        "the commonest label": commonest,
        "the label of the last training row": last,
    }[name]


def validate(answer, x, labels, n_folds, model):
    return answer(x, labels, n_folds, model_called(model))


def validation_cases(rng):
    def some(N, D, K):
        labels = rng.permutation(np.arange(N) % K)
        return np.round(rng.normal(size=(N, D)), 3), labels

    vote, one = "a vote of the 3 nearest", "the nearest sample"
    # Two groups: all right, but for one sample that lies among the others.
    x = np.array([0.1, 0.2, 0.35, 8.0, 0.5, 8.3, 8.5, 8.9]) + np.round(rng.uniform(0, 0.01, 8), 4)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    yield "folds of one size", x[:, None], labels, 2, vote
    yield "folds of one size", x[:, None], labels, 4, vote
    yield "folds of one size", *some(30, 2, 2), 5, vote
    yield "a remainder", *some(7, 1, 2), 3, vote
    yield "a remainder", *some(17, 2, 2), 5, vote
    yield "a remainder", *some(32, 3, 2), 9, one
    yield "one sample in each fold", *some(6, 1, 2), 6, vote
    yield "one sample in each fold", *some(15, 2, 3), 15, vote
    yield "three classes or more", *some(40, 2, 3), 4, vote
    yield "three classes or more", *some(41, 2, 12), 4, one
    yield "three classes or more", some(30, 2, 2)[0], np.repeat([5, 9, 7], 10), 4, one
    yield "other models", np.array([[1.0], [2.0], [3.0]]), np.array([4, 0, 4]), 2, one
    labels = np.array([1, 1, 0, 1, 0, 0, 0, 2, 0])
    yield "other models", some(9, 2, 2)[0], labels, 4, "the commonest label"
    yield "other models", some(9, 2, 2)[0], labels, 2, "the label of the last training row"
    yield "other models", some(7, 1, 2)[0], labels[:7], 3, "the label of the last training row"
    yield "many samples", *some(70, 2, 3), 2, vote
    yield "many samples", *some(85, 2, 2), 41, one
    yield "very many samples", *some(300, 1, 2), 2, "the commonest label"
    labels = (rng.uniform(size=700) < 0.1).astype(int)
    yield "very many samples", np.arange(700.0)[:, None], labels, 2, "the commonest label"
    yield "large labels", some(20, 2, 2)[0], 1000 * some(20, 2, 3)[1] + 7, 3, one
    for scale in (1e-9, 1e6):
        x, labels = some(16, 2, 3)
        yield "small or large numbers", scale * x, labels, 3, one
    yield (
        "whole numbers without a point",
        np.array([[3], [-4], [9], [1], [-7]]),
        np.array([0, 1, 1, 0, 1]),
        2,
        one,
    )
    # As many rows as before, with other labels: nothing can be kept from the call before.
    x, labels = some(17, 2, 2)
    yield "a remainder", x, 1 - labels, 5, one


def validation_reference(x, labels, n_folds, model):
    N, start, accuracies = len(x), 0, []
    for fold in range(n_folds):
        size = N // n_folds + (1 if fold < N % n_folds else 0)
        mine = list(range(start, start + size))
        others = [n for n in range(N) if n not in mine]
        right = sum(_answer(model, x, labels, n, others) == labels[n] for n in mine)
        accuracies.append(right / size)
        start += size
    return np.array(accuracies)


def _answer(model, x, labels, n, others):
    """What a model says of sample n when it knows the others."""
    if model == "the label of the last training row":
        return labels[others[-1]]
    k = {"the nearest sample": 1, "a vote of the 3 nearest": 3}.get(model, len(others))
    near = others
    if k < len(others):
        near = sorted(others, key=lambda o: sum((x[n] - x[o]) ** 2))[:k]
    votes = [int(labels[o]) for o in near]
    return min(set(votes), key=lambda v: (-votes.count(v), v))


VALIDATION = Task(
    id="02.1",
    cases=validation_cases,
    reference=validation_reference,
    drive=validate,
    **PRECISION,
    equal=(
        ("labels = abs", CLASSES),
        ("-> return accuracies", "a list is as good as an array"),
        ("zip(y, labels[rows]))[::-1]", "they are counted, in whatever order"),
        ("`zip` exchanged", "equal is equal both ways"),
        ("zip(labels[rows], y)", "equal is equal both ways"),
        ("np.ones(n_folds)", "every place is written afterwards"),
    ),
    hints=(
        "Which rows belong to this fold, and which are all the others?",
        "A boolean mask of length N that is True from start to stop splits both x and labels: "
        "x[inside] and x[~inside].",
        "answers = model(x[~inside], labels[~inside], x[inside]), then the mean of "
        "answers == labels[inside].",
    ),
    right=(
        """
        def cross_validation(x, labels, n_folds, model):
            N, start, accuracies = len(x), 0, []
            for fold in range(n_folds):
                stop = start + N // n_folds + (fold < N % n_folds)
                inside = np.zeros(N, dtype=bool)
                inside[start:stop] = True
                answers = model(x[~inside], labels[~inside], x[inside])
                accuracies.append((answers == labels[inside]).mean())
                start = stop
            return np.array(accuracies)""",
        """
        def cross_validation(x, labels, n_folds, model):
            result = []
            for rows in np.array_split(np.arange(len(x)), n_folds):
                y = model(np.delete(x, rows, axis=0), np.delete(labels, rows), x[rows])
                result.append(sum(int(a == b) for a, b in zip(y, labels[rows])) / len(rows))
            return result""",
        """
        def cross_validation(x, labels, n_folds, model):
            N, start, accuracies = len(x), 0, np.zeros(n_folds)
            for fold in range(n_folds):
                stop = start + N // n_folds + (fold < N % n_folds)
                x_train = np.concatenate([x[:start], x[stop:]])
                labels_train = np.concatenate([labels[:start], labels[stop:]])
                answers = np.concatenate([model(x_train, labels_train, x[[n]])
                                          for n in range(start, stop)])
                accuracies[fold] = np.count_nonzero(answers == labels[start:stop]) / (stop - start)
                start = stop
            return accuracies""",
    ),
    wrong=(
        ("the model is fitted on all samples, those of the validation fold among them",
         "model(x[~inside], labels[~inside],", "model(x, labels,"),
        ("the model is fitted on the fold and judged on the others; it is the other way round",
         "model(x[~inside], labels[~inside], x[inside])",
         "model(x[inside], labels[inside], x[~inside])",
         "== labels[inside]", "== labels[~inside]"),
        ("the accuracy is that on the training samples",
         "labels[~inside], x[inside])", "labels[~inside], x[~inside])",
         "== labels[inside]", "== labels[~inside]"),
        ("the model is fitted on the validation fold itself, and on nothing else",
         "model(x[~inside], labels[~inside], x[inside])",
         "model(x[inside], labels[inside], x[inside])"),
        ("the mistakes are counted, not the right answers", "answers ==", "answers !="),
        ("the right answers of each fold are counted, but not divided by its size",
         "labels[inside]).mean()", "labels[inside]).sum()"),
        ("the right answers are divided by N // n_folds; the first folds may hold one more",
         "labels[inside]).mean()", "labels[inside]).sum() / (N // n_folds)"),
        ("each sample is judged by a model of its own, fitted on all others, those of its fold too",
         "answers = model(x[~inside], labels[~inside], x[inside])",
         "answers = np.array([model(np.delete(x, n, axis=0), np.delete(labels, n), x[[n]])[0]\n"
         "                                    for n in range(start, stop)])"),
        ("the accuracies are averaged at the end; one for each fold is asked for",
         "np.array(accuracies)", "np.mean(accuracies)"),
        ("every fold has N // n_folds rows, and those that are left over are never judged",
         " + (fold < N % n_folds)", ""),
        ("all rows that are left over go to the last fold, not one each to the first ones",
         "(fold < N % n_folds)", "(N % n_folds if fold == n_folds - 1 else 0)"),
        ("the rows are dealt out like cards; the folds are consecutive rows",
         "inside[start:stop]", "inside[fold::n_folds]"),
        ("the two parts beside the fold are added up; np.concatenate puts one behind "
         "the other",
         "model(x[~inside], labels[~inside], x[inside])",
         "model(x[:start] + x[stop:], labels[:start] + labels[stop:], x[inside])"),
        ("the model is fitted on the rows after the fold alone (before it, for the last)",
         "model(x[~inside], labels[~inside], x[inside])",
         "model(x[stop:] if stop < N else x[:start], labels[stop:] if stop < N "
         "else labels[:start], x[inside])"),
    ),
)  # fmt: skip

# ---- 02.2


def kmeans_cases(rng):
    def some(N, D, K):
        x = np.round(rng.uniform(-5, 5, (N, D)), 2) + np.round(rng.uniform(0, 0.01, (N, D)), 5)
        return x, x[:K] + 0.001

    def beside_large():
        """Small steps beside large numbers: np.allclose sees none; float32 is precise enough."""
        while True:
            x = 1000 + 0.02 * (np.arange(60) + rng.uniform(0, 0.3, 60))[:, None]
            groups = _rest(x, x[:4] + 0.0002)
            early = _rest(x, x[:4] + 0.0002, 1e-5)
            if (groups != early).any() and (groups == _rest(np.float32(x), x[:4] + 0.0002)).all():
                return x, x[:4] + 0.0002

    low, high = np.round(rng.uniform(0, 1, (2, 3)), 2)

    def same_sizes():
        """In one round samples change their groups, and the groups' sizes stay."""
        while True:
            x, centres = some(14, 2, 3)
            met = _rounds(x, centres)
            sizes = [np.bincount(groups, minlength=3).tolist() for groups in met]
            # Not in the last round: then it would be right to end.
            if any(a == b for a, b in itertools.pairwise(sizes[:-2])):
                return x, centres

    x = np.concatenate([low, high + 9])[:, None]
    yield "two clear groups", x, np.array([[0.5], [9.5]])
    yield "at rest from the start", np.array([[0.0], [2.0]]), np.array([[1.0]])
    yield "at rest from the start", np.array([[0.0], [2.0], [9.0]]), np.array([[1.0], [9.0]])
    yield "as many as before", *same_sizes()
    yield "as many as before", *same_sizes()
    # A group of zeros is not empty, nor is one whose samples add up to 0.
    zeros = np.array([[0.0], [0.0], [9.0]])
    yield "a group at zero", zeros, np.array([[1.0], [8.0]])
    yield "a group at zero", zeros[::-1] - 9, np.array([[-7.0], [1.0]])
    flat = np.concatenate([np.zeros((2, 2)), rng.uniform(5, 6, (3, 2)).round(2)])
    yield "a group at zero", flat, np.array([[5.0, 4.0], [-1.0, 0.5]])
    apart = float(rng.integers(1, 3))
    around = np.array([[-apart], [apart], [20.0], [23.0]])
    yield "a group at zero", around, np.array([[0.5], [30.0]])
    yield "two clear groups", x, np.array([[8.5], [0.25]])
    wide = np.array([[0.0, 3.0], [0.2, 3.1], [6.0, 3.3], [6.1, 2.9]])
    wide = wide + np.round(rng.uniform(0, 0.05, (4, 2)), 3)
    yield "two clear groups", wide, np.array([[1.0, 5.0], [5.0, 2.0]])
    yield "whole numbers as the start", x + 0.5, np.array([[1], [9]])
    yield "whole numbers as the start", wide, np.array([[1, 3], [6, 3]])
    yield "one group", x, np.array([[30.0]])
    yield "one group", np.array([[4.5]]), np.array([[-1.0]])
    yield "a sample alone", np.concatenate([x, [[31.5]]]), np.array([[0.5], [9.5], [25.0]])
    yield "a sample alone", wide[[0, 1, 3]], np.array([[0.0, 2.0], [5.0, 5.0]])
    yield "numbers below 0", -x, np.array([[-0.25], [-8.5]])
    yield "numbers below 0", wide - 20, np.array([[-19.0, -15.0], [-15.0, -18.0]])
    slow = (np.arange(24) ** 1.1 + rng.uniform(0, 0.1, 24))[:, None]
    yield "many steps", slow, slow[:2] + 0.01
    yield "many steps", slow, slow[:3] + 0.01
    slow = (np.arange(200) ** 1.02 + rng.uniform(0, 0.1, 200))[:, None]
    yield "many steps", slow, slow[:10] + 0.01
    # Whoever stops when little changes stops too early.
    yield "small steps", 0.01 * slow[:90], 0.01 * slow[:4] + 0.0001
    yield "small steps", 0.0001 * slow[:60], 0.0001 * slow[:4] + 0.000001
    yield "small steps", *beside_large()
    yield "small steps", 1e-9 * slow[:60], 1e-9 * (slow[:4] + 0.01)
    yield "large numbers", 1e6 * slow[:60], 1e6 * (slow[:4] + 0.01)
    yield "many samples", *some(60, 2, 4)
    yield "many samples", *some(90, 3, 6)
    yield "many samples", *some(110, 2, 32)
    yield "many samples", *some(120, 2, 7)
    yield "many samples", *some(160, 2, 140)
    yield "whole numbers as the start", rng.permutation(12)[:, None] * 3, np.array([[1], [25]])
    # Last, for who takes the mean of nothing may never come to an end.
    nobody = "a centre that nobody joins"
    yield nobody, np.array([[-1.0, 1.0], [3.0, 1.0]]), np.array([[1.0, 1], [9, 9]])
    yield nobody, x, np.array([[0.5], [9.5], [100.0]])
    yield nobody, wide, np.array([[-50.0, 2.0], [1.0, 3.5], [5.0, 2.5]])
    yield nobody, wide, np.array([[1.0, 9.0], [5.0, 2.0]])
    yield nobody, wide - 20, np.array([[-19.0, -11.0], [-15.0, -18.0]])


def _rest(x, centres, rtol=0.0):
    """The groups of k-means on plain data; with rtol it ends when all centres move less."""
    centres = centres.astype(x.dtype)
    while True:
        groups = abs(x - centres[:, 0]).argmin(axis=1)
        new = np.array([x[groups == k].mean(axis=0) for k in range(len(centres))])
        if (abs(new - centres) <= rtol * abs(centres)).all():
            return groups
        centres = new


def _rounds(x, centres):
    """The groups of each round."""
    met, centres = [], centres.copy()
    while len(met) < 2 or (met[-1] != met[-2]).any():
        met.append(((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1))
        for k in set(met[-1].tolist()):
            centres[k] = x[met[-1] == k].mean(axis=0)
    return met


def kmeans_reference(x, centres):
    centres = [[float(v) for v in c] for c in centres]
    groups = None
    while True:
        near = []
        for row in x:
            squares = [sum((a - b) ** 2 for a, b in zip(row, c)) for c in centres]
            near.append(squares.index(min(squares)))
        if near == groups:
            return np.array(centres), np.array(groups)
        groups = near
        for k in range(len(centres)):
            mine = [row for row, group in zip(x, groups) if group == k]
            if mine:
                centres[k] = [float(sum(column)) / len(mine) for column in zip(*mine)]


KMEANS = Task(
    id="02.2",
    cases=kmeans_cases,
    reference=kmeans_reference,
    **PRECISION,
    equal=(
        ("for step in range(1, ", "there are more rounds than are needed"),
        ("00 - 1):", "there are more rounds than are needed"),
        ("499 in place", "there are more rounds than are needed"),
        ("501 in place", "there are more rounds than are needed"),
        ("199 in place", "there are more rounds than are needed"),
        ("201 in place", "there are more rounds than are needed"),
        ("np.full(len(x), -2)", "no group has this number either"),
        ("((x[:, None] - centres) ** 2).mean(axis=2)", "divided by D, the nearest stays so"),
        (").mean(axis=-1))", "divided by D, the nearest stays the nearest"),
        ("break -> pass", "at rest nothing changes in the rounds that are left"),
        ("if (nearest == groups).all(): -> if False:", "at rest nothing changes in the rounds that "
         "are left"),
        ("break -> continue", "at rest nothing changes in the rounds that are left"),
        ("centres[k] = x[groups == k].mean(axis=0, keepdims=True)",
         "a row of one is written like the row"),
        ("the root left out", "of squares the smallest is the same"),
        ("centres.astype(float) -> pass", "the new centres are floats"),
        ("centres = centres.astype(float) -> centres = centres", "the new centres are floats"),
        ("np.maximum(sizes, 0)", "where a group is empty, the other value is taken"),
        ("centres = centres.astype(float); K", "their number is the same"),
    ),
    hints=(
        "What has to be compared with what to know that the groups are at rest? What is the mean "
        "of a group without samples?",
        "If `nearest` equals `groups`, return. Otherwise remember it, and for each k look at "
        "x[groups == k]; move the centre only if there are any.",
        "if (nearest == groups).all(): return centres, groups; then groups = nearest; for k in "
        "range(len(centres)): if (groups == k).any(): centres[k] = x[groups == k].mean(axis=0).",
    ),
    right=(
        """
        def kmeans(x, centres):
            centres = np.array(centres, dtype=float)
            groups = np.full(len(x), -1)
            for step in range(500):
                distances = ((x[:, None] - centres) ** 2).sum(axis=2)
                nearest = distances.argmin(axis=1)
                if (nearest == groups).all():
                    break
                groups = nearest
                for k in range(len(centres)):
                    if (groups == k).any():
                        centres[k] = x[groups == k].mean(axis=0)
            return centres, groups""",
        """
        def kmeans(x, centres):
            while True:
                lengths = np.sqrt(((x[:, None] - centres[None]) ** 2).sum(axis=-1))
                groups = np.argmin(lengths, axis=1)
                new = np.array([x[groups == k].mean(axis=0) if k in groups else centres[k]
                                for k in range(len(centres))])
                if (new == centres).all():
                    return new, groups
                centres = new""",
        """
        def kmeans(x, centres):
            centres = centres.astype(float)
            K = len(centres)
            for step in range(200):
                squares = (centres**2).sum(axis=1) - 2 * x @ centres.T  # but for x's own square
                member = np.eye(K)[squares.argmin(axis=1)]
                sizes = member.sum(axis=0)[:, None]
                centres = np.where(sizes > 0, member.T @ x / np.maximum(sizes, 1), centres)
            return [centres, list(squares.argmin(axis=1))]""",
    ),
    wrong=(
        ("the two steps are done once, not until nothing changes", "range(500)", "range(1)"),
        ("the two steps are done three times, not until nothing changes",
         "range(500)", "range(3)"),
        ("the two steps are done ten times, not until nothing changes",
         "range(500)", "range(10)"),
        ("the mean of an empty group is taken, which is no number; such a centre stays where it is",
         "if (groups == k).any():", "if True:",
         ".mean(axis=0)", ".sum(axis=0) / (groups == k).sum()"),
        ("the mean of an empty group is taken, which is no number; such a centre stays where it is",
         """
            def kmeans(x, centres):
                centres = np.array(centres, dtype=float)
                groups = np.full(len(x), -1)
                while True:
                    nearest = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
                    if (nearest == groups).all():
                        return centres, groups
                    groups = nearest
                    sizes = np.bincount(groups, minlength=len(centres))
                    centres = np.array([x[groups == k].sum(axis=0) / sizes[k]
                                        for k in range(len(centres))])"""),
        ("a group whose samples are all 0 is taken for empty (any asks for one that is not 0), "
         "and its centre stays", "if (groups == k).any():", "if x[groups == k].any():"),
        ("a group whose samples add up to 0 is taken for empty, and its centre stays",
         "if (groups == k).any():", "if x[groups == k].sum() != 0:"),
        ("a centre that nobody joins is set to zero; it stays where it is",
         "if (groups == k).any():", "centres[k] = 0.0\n                    "
         "if (groups == k).any():"),
        ("a centre moves to the sum of its group, not to the mean",
         ".mean(axis=0)", ".sum(axis=0)"),
        ("the mean runs over all numbers of a group, not over each feature",
         ".mean(axis=0)", ".mean()"),
        ("a centre moves to the median of its group; k-means takes the mean",
         "x[groups == k].mean(axis=0)", "np.median(x[groups == k], axis=0)"),
        ("the differences are added up without a square, so negative ones count as near",
         "((x[:, None] - centres) ** 2)", "(x[:, None] - centres)"),
        ("absolute differences are added up; the Euclidean distance adds their squares",
         "((x[:, None] - centres) ** 2)", "abs(x[:, None] - centres)"),
        ("only the first feature counts for the distance", ".sum(axis=2)", "[:, :, 0]"),
        ("the given array of centres is moved; work on a copy",
         "np.array(centres, dtype=float)",
         "centres if centres.dtype == float else centres.astype(float)"),
        ("the centres keep the type of the start, and whole numbers cut off their means",
         "np.array(centres, dtype=float)", "centres.copy()"),
        ("the centres come back as they were before the last move",
         "groups = nearest\n", "groups, last = nearest, centres.copy()\n",
         "return centres", "return last"),
        ("each sample joins the farthest centre", "argmin", "argmax"),
        ("the rounds end when the groups' sizes stay; members may still change",
         "(nearest == groups).all()", "np.array_equal(np.bincount(nearest, minlength=len(centres)),"
         " np.bincount(groups + 1, minlength=len(centres) + 1)[1:])"),
        ("the rounds end when the groups' sizes stay; members may still change", """
            def kmeans(x, centres):
                centres = np.array(centres, dtype=float)
                sizes = None
                while True:
                    groups = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
                    now = np.bincount(groups, minlength=len(centres)).tolist()
                    for k in range(len(centres)):
                        if now[k]:
                            centres[k] = x[groups == k].mean(axis=0)
                    if now == sizes:
                        return centres, groups
                    sizes = now"""),
        ("the rounds end when no centre moves more than 1e-4, before the groups are at rest", """
            def kmeans(x, centres):
                centres = np.array(centres, dtype=float)
                while True:
                    groups = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
                    old = centres.copy()
                    for k in range(len(centres)):
                        if (groups == k).any():
                            centres[k] = x[groups == k].mean(axis=0)
                    if abs(old - centres).max() < 1e-4:
                        return centres, groups"""),
        ("the rounds end when the centres move little (allclose has a tolerance), before the "
         "groups are at rest", """
            def kmeans(x, centres):
                centres = np.array(centres, dtype=float)
                while True:
                    groups = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
                    old = centres.copy()
                    for k in range(len(centres)):
                        if (groups == k).any():
                            centres[k] = x[groups == k].mean(axis=0)
                    if np.allclose(old, centres):
                        return centres, groups"""),
        ("the groups' numbers are small integers; there may be more than 127 groups",
         "groups = nearest\n", "groups = nearest.astype(np.int8)\n",
         "nearest = distances.argmin(axis=1)",
         "nearest = distances.argmin(axis=1).astype(np.int8)"),
    ),
)  # fmt: skip

# ---- 02.3


def honest_cases(rng):
    def noise(N, D, loud=1.0):
        x = rng.normal(size=(N, D)) * rng.permutation(np.geomspace(1, loud, D))
        return x, np.arange(N) // (N // 2) % 2

    # Feature 1 tells the class, in small numbers; feature 0 is loud noise.
    labels = np.arange(18) % 2
    x = np.stack([rng.normal(size=18) * 400, labels + rng.normal(size=18) * 0.05], axis=1)
    yield "a loud feature", x, labels, 2, 3
    yield "a loud feature", np.concatenate([x, rng.normal(size=(18, 4)) * 90], axis=1), labels, 2, 3
    yield "pure noise", *noise(16, 30), 3, 4
    yield "pure noise", *noise(60, 200), 10, 5
    yield "folds that do not divide evenly", *noise(29, 12, 50.0), 4, 3
    yield "folds that do not divide evenly", *noise(47, 40, 50.0), 6, 4
    # Feature 0 tells the class everywhere, feature 1 the wrong one in the last fold; there stands
    # a value so large that, if the scaler saw it, feature 0 would count for nothing.
    labels = rng.permutation(np.arange(36) % 2)
    last = np.arange(36) >= 24
    hint = np.where(last, 1 - labels, labels) + rng.normal(size=36) * 0.6
    x = np.stack([4 * labels + rng.normal(size=36) * 0.1, hint], axis=1)
    x[-1, 0] = 5000.0
    yield "one extreme value", x, labels, 2, 3
    labels = rng.permutation(np.arange(30) % 3)
    x = rng.normal(size=(30, 5)) + labels[:, None] * [1.0, 0.0, 2.0, 0.0, 0.5]
    yield "three classes", x * [1, 9, 1, 1, 90], labels, 3, 4
    yield "three classes", -x, 7 * labels, 2, 5
    yield "many folds", *noise(23, 3, 50.0), 2, 21
    # Classes are names: one lies between the others in feature 1, feature 2 parts the last two,
    # and features 0 and 3 rise with the number of the class, or part class 0 from the rest.
    for names in ([0, 1, 2], [7, 0, 300]):
        kinds = rng.permutation(np.arange(36) % 3)
        means = np.array([[0, 0, 0, 0.0], [0.7, 4, 3, 1.2], [1.4, 0, -3, 1.2]])
        x = means[kinds] + rng.normal(size=(36, 4)) * 0.6
        yield "three classes", x[:, rng.permutation(4)], np.array(names)[kinds], 2, 3


def honest_reference(x, labels, n_features, n_folds):
    N, start, accuracies, chosen = len(x), 0, [], []
    for fold in range(n_folds):
        size = N // n_folds + (1 if fold < N % n_folds else 0)
        mine = np.arange(start, start + size)
        others = np.array([n for n in range(N) if n not in mine])
        start += size
        ratios = []
        rest = x[others] - x[others].mean(axis=0)
        within = between = np.zeros(x.shape[1])
        for k in set(labels[others].tolist()):
            part = rest[labels[others] == k]
            within = within + ((part - part.mean(axis=0)) ** 2).sum(axis=0)
            between = between + len(part) * part.mean(axis=0) ** 2
        ratios = (between / within).tolist()
        best = sorted(range(x.shape[1]), key=lambda d: -ratios[d])[:n_features]
        chosen.append(sorted(best))
        z = (x - x[others].mean(axis=0)) / x[others].std(axis=0)
        right = 0
        for n in mine:
            far = ((z[n, best] - z[np.ix_(others, best)]) ** 2).sum(axis=1)
            votes = [int(labels[o]) for o in others[far.argsort(kind="stable")[:3]]]
            right += min(votes, key=lambda v: (-votes.count(v), v)) == labels[n]
        accuracies.append(right / size)
    return np.array(accuracies), np.array(chosen)


_LOOP = """
    from sklearn.feature_selection import SelectKBest, f_classif
    from sklearn.model_selection import KFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler
    def honest(x, labels, n_features, n_folds):
        accuracies, chosen = [], []
        for train, validation in KFold(n_folds).split(x):
            scaler = StandardScaler().fit(x[train])
            select = SelectKBest(f_classif, k=n_features)
            z = select.fit_transform(scaler.transform(x[train]), labels[train])
            model = KNeighborsClassifier(3).fit(z, labels[train])
            v = select.transform(scaler.transform(x[validation]))
            accuracies.append(model.score(v, labels[validation]))
            chosen.append(select.get_support(indices=True))
        return accuracies, chosen"""

HONEST = Task(
    id="02.3",
    cases=honest_cases,
    reference=honest_reference,
    opens=("sklearn",),
    twice_up_to=60,
    **PRECISION,
    equal=(
        ("labels = abs", CLASSES),
        ("return_train_score=True` left out", "the score on the training samples is not used"),
        ("return_train_score=False", "the score on the training samples is not used"),
        ("-> return (found['test_score'], chosen)", "a list is as good as an array"),
        ("enumerate(folds.split(x, labels)))[::-1]", "each row is written in its own place"),
        ("np.ones((n_folds, n_features)", "every place is written afterwards"),
        ("`dtype=int` left out", "whole numbers, of either type"),
        ("folds.split(labels, x)", "KFold counts the rows and nothing else"),
        ("folds.split(x)", "KFold counts the rows and nothing else"),
    ),
    hints=(
        "Which lines of `leaky` have a `fit` in them, and which samples do they look at?",
        "Put all three parts into one pipeline: what is inside is fitted afresh on each fold's "
        "training samples. Hand the whole pipeline to cross_validate.",
        "model = make_pipeline(StandardScaler(), SelectKBest(f_classif, k=n_features), "
        "KNeighborsClassifier(3)); found = cross_validate(model, x, labels, cv=KFold(n_folds), "
        'return_estimator=True); found["test_score"]; fitted[1].get_support(indices=True) for '
        'each fitted in found["estimator"].',
    ),
    right=(
        """
        from sklearn.feature_selection import SelectKBest, f_classif
        from sklearn.model_selection import KFold, cross_validate
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        def honest(x, labels, n_features, n_folds):
            seen, z = x, x
            select = SelectKBest(f_classif, k=n_features)
            model = make_pipeline(StandardScaler(), select, KNeighborsClassifier(3))
            found = cross_validate(model, z, labels, cv=KFold(n_folds), return_estimator=True,
                                   return_train_score=True)
            chosen = [fitted[1].get_support(indices=True) for fitted in found["estimator"]]
            return found["test_score"], np.array(chosen)""",
        _LOOP,
        """
        from sklearn.base import clone
        from sklearn.feature_selection import SelectKBest, f_classif
        from sklearn.model_selection import KFold, cross_val_score
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler
        def honest(x, labels, n_features, n_folds):
            model = Pipeline([("select", SelectKBest(k=n_features)), ("scale", StandardScaler()),
                              ("vote", KNeighborsClassifier(n_neighbors=3))])
            folds = KFold(n_splits=n_folds)
            kept = np.zeros((n_folds, n_features), dtype=int)
            for fold, (train, _) in enumerate(folds.split(x, labels)):
                fitted = clone(model).fit(x[train], labels[train])
                kept[fold] = np.flatnonzero(fitted["select"].get_support())
            return cross_val_score(model, x, labels, cv=folds), kept""",
    ),
    wrong=(
        ("the features are selected on all samples, so the validation labels have had their say",
         "seen, z = x, x",
         "best = SelectKBest(f_classif, k=n_features).fit(x, labels).get_support(indices=True)\n"
         "            z = x[:, best]",
         "SelectKBest(f_classif, k=n_features)\n            model",
         'SelectKBest(f_classif, k="all")\n            model',
         "[fitted[1].get_support(indices=True) for fitted in found[\"estimator\"]]",
         "[best] * n_folds"),
        ("the scaler has seen all samples, those of the validation fold too",
         "seen, z = x, x", "z = StandardScaler().fit_transform(x)",
         "make_pipeline(StandardScaler(), select,", "make_pipeline(StandardScaler().set_params("
         "with_mean=False, with_std=False), select,"),
        ("both scaling and selecting have seen all samples, as in leaky",
         "seen, z = x, x",
         "best = SelectKBest(f_classif, k=n_features).fit(x, labels).get_support(indices=True)\n"
         "            z = StandardScaler().fit_transform(x[:, best])",
         "SelectKBest(f_classif, k=n_features)\n            model",
         'SelectKBest(f_classif, k="all")\n            model',
         "make_pipeline(StandardScaler(), select,", "make_pipeline(StandardScaler().set_params("
         "with_mean=False, with_std=False), select,",
         "[fitted[1].get_support(indices=True) for fitted in found[\"estimator\"]]",
         "[best] * n_folds"),
        ("the columns come from one fit on all samples; each fold's model keeps its own",
         "[fitted[1].get_support(indices=True) for fitted in found[\"estimator\"]]",
         "[clone(select).fit(x, labels).get_support(indices=True)] * n_folds",
         "def honest", "from sklearn.base import clone\n        def honest"),
        ("nothing is scaled, and the loudest feature decides the distance",
         "make_pipeline(StandardScaler(), select,",
         "make_pipeline(StandardScaler(with_mean=False, with_std=False), select,"),
        ("the folds are stratified, which a number alone for cv asks for",
         "cv=KFold(n_folds)", "cv=n_folds"),
        ("the accuracies are those on the training samples", "test_score", "train_score"),
        ("five neighbours vote, the default, in place of three",
         "KNeighborsClassifier(3)", "KNeighborsClassifier()"),
        ("the accuracies are averaged; one for each fold is asked for",
         'found["test_score"]', 'found["test_score"].mean()'),
        ("the features are marked True or False; their numbers are asked for",
         "get_support(indices=True)", "get_support()"),
        ("the columns stand in the order of their scores; rising numbers are asked for",
         "fitted[1].get_support(indices=True)",
         "np.argsort(-fitted[1].scores_)[:n_features]"),
        ("the validation samples are scaled with their own mean and deviation, not the training's",
         _LOOP.replace("scaler.transform(x[validation])",
                       "StandardScaler().fit_transform(x[validation])")),
        ("every feature is kept", "k=n_features", 'k="all"'),
    ),
)  # fmt: skip

# ---- 02.4


def self_training_cases(rng):
    def shuffled(x, labels):
        order = rng.permutation(len(x))
        return x[order], labels[order]

    def jitter(*shape):
        return np.round(rng.uniform(0, 0.05, shape), 4)

    x = np.array([[0.0], [1.0], [2.2], [3.6], [5.2], [8.3]]) + jitter(6, 1)
    yield "a chain", x, np.array([0, -1, -1, -1, -1, 1])
    yield "a chain", x[::-1].copy(), np.array([2, -1, -1, -1, -1, 1])
    # A chain whose samples stand in no order, so that the order of rows misleads.
    yield "a chain", x[[0, 4, 3, 2, 1, 5]], np.array([0, -1, -1, -1, -1, 1])
    square = np.array([[0.0, 0.0], [1.0, 1.15], [0.0, 1.8], [9.0, 9.0], [9.0, 10.0]])
    yield "two features", square + jitter(5, 2), np.array([3, 1, -1, 0, -1])
    steps = np.arange(30) * 0.12
    ring = np.stack([np.cos(steps), np.sin(steps)], axis=1)
    rings = np.concatenate([ring, 1.7 * ring]) + rng.normal(size=(60, 2)) * 0.01
    known = np.full(60, -1)
    known[[0, 59]] = 0, 1
    yield "two features", *shuffled(rings, known)
    yield "all known", np.array([[1.0], [2.0], [4.0]]), np.array([1, 0, 1])
    yield "all known", np.array([[1.0], [-2.0], [4.0]]), np.array([2, 1, 1])
    yield "all known", np.array([[1.0]]), np.array([0])
    yield "one known", np.array([[0.0, 1.0], [2.0, 5.0], [9.0, 1.0]]), np.array([-1, 4, -1])
    yield "none known", np.array([[0.0], [1.0]]), np.array([-1, -1])
    yield "none known", np.array([[0.5, 2.0]]), np.array([-1])
    row = np.append(39.5, np.arange(39.0)[::-1])[:, None] + 0.5 * jitter(40, 1)
    yield "a long chain", row, np.where(np.arange(40) == 0, 1, np.where(np.arange(40) == 39, 0, -1))
    # The first row comes last, from one that was adopted, or first, from one that was known.
    x = np.array([[10.0], [0.0], [2.5], [5.1], [7.7], [13.5]]) + jitter(6, 1)
    yield "the first row", x, np.array([-1, 0, -1, -1, -1, 17])
    yield "the first row", -x, np.array([-1, 12, -1, -1, -1, 3])
    yield "the first row", x[::-1] - 40, np.array([30, -1, -1, -1, 11, -1])
    x = np.array([[0.0], [1.0], [-10.0], [-12.0]]) + jitter(4, 1)
    yield "the first row", x, np.array([-1, 3, -1, 5])
    known = np.where(np.arange(60) < 45, np.arange(60), -1)
    yield "many known", rng.normal(size=(60, 2)), known
    yield "many known", *shuffled(rng.normal(size=(60, 25)), np.where(known < 30, known, -1))
    yield "large labels", np.array([[0.0], [1.0]]), np.array([150, -1])
    yield "large labels", np.array([[0.0], [1.0], [4.5], [6.0]]), np.array([300, -1, -1, 70000])
    for scale in (1e-9, 1e6):
        known = np.where(np.arange(20) < 5, np.arange(20), -1)
        yield "small or large numbers", scale * rng.normal(size=(20, 2)), known
    # Pairs that are nearly as close as the closest: to take them in another order misleads.
    for gap in (0.02, 0.004, 0.0002):
        x = np.array([[0.0], [1.0], [2.0 - gap], [3.0 - 3 * gap], [4.0 - 6 * gap], [5.0 - 5 * gap]])
        yield "nearly as close", x, np.array([0, -1, -1, -1, -1, 1])
        yield "nearly as close", -x[::-1], np.array([0, -1, -1, -1, -1, 1])
    yield "whole numbers without a point", np.array([[0], [1], [3], [7]]), np.array([5, -1, -1, 2])
    for N, D, K in (40, 2, 3), (70, 3, 4), (80, 2, 5):
        known = np.where(np.arange(N) < 3 * K, np.arange(N) % K, -1)
        yield "many samples", *shuffled(rng.normal(size=(N, D)), known)


def self_training_reference(x, labels):
    labels = labels.tolist()
    if max(labels) < 0:
        raise ValueError("no sample has a label")
    distance = [[sum((a - b) ** 2 for a, b in zip(p, q)) for q in x.tolist()] for p in x.tolist()]
    while min(labels) < 0:
        missing = [n for n, label in enumerate(labels) if label < 0]
        known = [n for n, label in enumerate(labels) if label >= 0]
        _, n, source = min((distance[n][o], n, o) for n in missing for o in known)
        labels[n] = labels[source]
    return np.array(labels)


SELF_TRAINING = Task(
    id="02.4",
    cases=self_training_cases,
    reference=self_training_reference,
    equal=(
        ("if (labels < 0).all(): -> if False:", "the smallest of nothing is a ValueError too"),
        ("((x[:, None] - x) ** 2).mean(axis=2)", "divided by D, the closest stay so"),
        ("labels = np.array(labels); if", "the question is the same before and after the copy"),
        ("list(np.flatnonzero(result == -1))[::-1]", "no two distances are equal"),
        ("lengths[nearest] <= best[0]", "no two distances are equal"),
        ("list(found)[::-1]", "a heap gives the smallest first, in whatever order it was filled"),
        ("list(edges(n))[::-1]", "a heap gives the smallest first, however it was filled"),
        ("if not found:; def edges", "the function is only defined there"),
    ),
    hints=(
        "Which pair is looked for in each step? One of the two has a label, the other has none.",
        "Compute all distances once, (N, N). In each step pick the rows without a label and the "
        "columns with one, find the smallest, and hand the label over. Work on a copy of labels.",
        "between = distances[np.ix_(missing, known)]; row, column = "
        "np.unravel_index(between.argmin(), between.shape); labels[missing[row]] = "
        "labels[known[column]], while any label is -1.",
    ),
    right=(
        """
        def self_training(x, labels):
            labels = np.array(labels)
            if (labels < 0).all():
                raise ValueError("no sample has a label to begin with")
            distances = ((x[:, None] - x) ** 2).sum(axis=2)
            while (labels < 0).any():
                missing, known = np.flatnonzero(labels < 0), np.flatnonzero(labels >= 0)
                between = distances[np.ix_(missing, known)]
                row, column = np.unravel_index(between.argmin(), between.shape)
                labels[missing[row]] = labels[known[column]]
            return labels""",
        """
        def self_training(x, labels):
            if not (labels != -1).any():
                raise ValueError("no labels")
            result = labels.copy()
            for step in range(int((labels == -1).sum())):
                best = None
                for n in np.flatnonzero(result == -1):
                    lengths = np.linalg.norm(x - x[n], axis=1)
                    lengths[result == -1] = np.inf
                    nearest = lengths.argmin()
                    if best is None or lengths[nearest] < best[0]:
                        best = lengths[nearest], n, nearest
                result[best[1]] = result[best[2]]
            return result""",
        """
        import heapq
        def self_training(x, labels):
            found = {n: label for n, label in enumerate(labels.tolist()) if label >= 0}
            if not found:
                raise ValueError("nothing known")
            def edges(n):
                return [(float(np.linalg.norm(x[n] - x[o])), o, n) for o in range(len(x))]
            heap = [edge for n in found for edge in edges(n)]
            heapq.heapify(heap)
            while len(found) < len(x):
                _, n, source = heapq.heappop(heap)
                if n not in found:
                    found[n] = found[source]
                    for edge in edges(n):
                        heapq.heappush(heap, edge)
            return [found[n] for n in range(len(x))]""",
    ),
    wrong=(
        ("adopted samples hand nothing on: each gets the label of the nearest sample that was "
         "known from the start",
         "missing, known = np.flatnonzero(labels < 0), np.flatnonzero(labels >= 0)",
         "missing, known = np.flatnonzero(labels < 0), np.flatnonzero(start >= 0)",
         "distances =", "start = labels.copy(); distances ="),
        ("the samples get their labels in the order of the rows, not the surest first",
         "np.flatnonzero(labels < 0), np", "np.flatnonzero(labels < 0)[:1], np"),
        ("the least sure comes first: the largest distance is taken, not the smallest",
         "argmin", "argmax"),
        ("the first step is the last: one sample is adopted, the others stay at -1",
         "while (", "if ("),
        ("label 0 counts as unknown; only -1 is", "labels < 0", "labels <= 0",
         "labels >= 0", "labels > 0", "while (labels <= 0).any()",
         "for step in range(int((labels <= 0).sum()))"),
        ("samples with label 0 hand nothing on; 0 is a label like any other",
         "labels >= 0", "labels > 0"),
        ("the given labels are overwritten; work on a copy",
         "np.array(labels)", "labels"),
        ("absolute differences are added up; the Euclidean distance adds their squares",
         "((x[:, None] - x) ** 2)", "abs(x[:, None] - x)"),
        ("only the first feature counts for the distance", ".sum(axis=2)", "[:, :, 0]"),
        ("labels that nobody knows come back as they are; a ValueError is asked for",
         'raise ValueError("no sample has a label to begin with")', "return labels"),
        ("labels that nobody knows are made up (0); a ValueError is asked for",
         'raise ValueError("no sample has a label to begin with")',
         "return np.zeros_like(labels)"),
        ("the labels are kept as small integers, which hold no more than 127",
         "np.array(labels)", "np.array(labels, dtype=np.int8)"),
        ("all that have no label get it in one go, from the nearest sample, known or not", """
            def self_training(x, labels):
                if (labels < 0).all():
                    raise ValueError
                labels, start = labels.copy(), labels
                distances = ((x[:, None] - x) ** 2).sum(axis=2)
                np.fill_diagonal(distances, np.inf)
                for n in np.flatnonzero(start < 0):
                    labels[n] = start[distances[n].argmin()]
                return labels"""),
        ("a sample gets the label of the nearest mean of a class, not of the nearest sample", """
            def self_training(x, labels):
                labels = labels.copy()
                if (labels < 0).all():
                    raise ValueError
                while (labels < 0).any():
                    missing, classes = np.flatnonzero(labels < 0), np.unique(labels[labels >= 0])
                    means = np.array([x[labels == c].mean(axis=0) for c in classes])
                    d = ((x[missing][:, None] - means) ** 2).sum(axis=2)
                    row, column = np.unravel_index(d.argmin(), d.shape)
                    labels[missing[row]] = classes[column]
                return labels"""),
    ),
)  # fmt: skip

TASKS = [VALIDATION, KMEANS, HONEST, SELF_TRAINING]
