"""The tasks of lesson 01: count mistakes, split fairly, ask the neighbours, find the leak."""

import numpy as np

from .task import Task

# Of what a number may be off: float32 is precise enough, as the notebook says.
PRECISION = {"rtol": 1e-5, "atol": 1e-6}
CLASSES = "classes are whole numbers from 0"

# ---- 01.1


def found_cases(rng):
    def some(n, K):
        return rng.integers(0, K, n), rng.integers(0, K, n), K

    yield "two classes", np.array([0, 0, 1, 0, 1]), np.array([0, 1, 1, 0, 1]), 2
    yield "two classes", np.array([1, 1, 1, 0]), np.array([0, 1, 0, 0]), 2
    yield "a class without samples", np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 3
    yield "a class without samples", np.array([2, 2, 1]), np.array([0, 2, 0]), 3
    yield "a class that is never answered", np.array([0, 1, 2, 2]), np.array([0, 0, 2, 0]), 3
    yield "one sample", np.array([1]), np.array([1]), 2
    yield "one sample", np.array([0]), np.array([1]), 2
    yield "no samples", np.zeros(0, dtype=int), np.zeros(0, dtype=int), 2
    yield "one class", np.zeros(3, dtype=int), np.zeros(3, dtype=int), 1
    yield "many samples", *some(60, 4)
    yield "many samples", *some(200, 3)
    yield "many classes", *some(90, 45)
    labels = rng.integers(0, 40, 80)
    yield "many classes", labels, np.where(rng.uniform(size=80) < 0.6, labels, 39), 40
    # More than counters of 8 or 16 bits hold.
    yield "very many samples", np.zeros(300, dtype=int), np.zeros(300, dtype=int), 2
    yield "very many samples", np.ones(70_000, dtype=int), np.ones(70_000, dtype=int), 2
    yield "very many samples", *some(500, 2)
    yield (
        "very many classes",
        np.arange(130) + 20,
        np.arange(130) + np.arange(130) % 2 * 2 + 18,
        150,
    )


def found_reference(labels, answers, K):
    pairs = list(zip(labels.tolist(), answers.tolist()))
    matrix = [[0] * K for r in range(K)]
    for r, s in pairs:
        matrix[r][s] += 1
    shares = [matrix[r][r] / sum(matrix[r]) if any(matrix[r]) else 0.0 for r in range(K)]
    return np.array(matrix), np.array(shares)


FOUND = Task(
    id="01.1",
    cases=found_cases,
    reference=found_reference,
    **PRECISION,
    equal=(
        ("labels = abs", CLASSES),
        ("answers = abs", CLASSES),
        ("list(zip(labels, answers))[::-1]", "they are counted, in whatever order"),
        ("=int` left out", "a count is a whole number, of either type"),
        ("='float32'` left out", "a count is a whole number, of either type"),
        ("matrix[r].mean() > 0", "counts are above 0 together or on average"),
        ("matrix[r].max() > 0", "counts are above 0 together or in one place"),
        ("-> return (matrix, shares)", "a list is as good as an array"),
    ),
    hints=(
        "All samples of class r stand in one row of the matrix. Which of its numbers is right?",
        "Divide the number on the diagonal by the sum of its row, unless this sum is 0.",
        "if matrix[r].sum() > 0: shares[r] = matrix[r, r] / matrix[r].sum(). The return is "
        "given.",
    ),
    right=(
        """
        def found(labels, answers, K):
            matrix = np.zeros((K, K), dtype=int)
            for label, answer in zip(labels, answers):
                matrix[label, answer] += 1
            shares = np.zeros(K)
            for r in range(K):
                if matrix[r].sum() > 0:
                    shares[r] = matrix[r, r] / matrix[r].sum()
            return matrix, shares""",
        """
        def found(labels, answers, K):
            matrix = np.bincount(K * labels + answers, minlength=K * K).reshape(K, K)
            return matrix, np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)""",
        """
        def found(labels, answers, K):
            one_hot = np.eye(K, dtype="float32")
            matrix = one_hot[labels].T @ one_hot[answers]
            shares = [(answers[labels == r] == r).mean() if (labels == r).any() else 0
                      for r in range(K)]
            return matrix, np.array(shares)""",
    ),
    wrong=(
        ("the count is divided by the sum of the column: of all that were called so, which share "
         "is so; asked is the sum of the row", "matrix[r].sum()", "matrix[:, r].sum()"),
        ("the count is divided by the number of all samples, not by those of the class",
         "/ matrix[r].sum()", "/ len(labels)"),
        ("rows and columns of the matrix are exchanged; a row is a true class",
         "matrix, shares", "matrix.T, shares"),
        ("a class without samples is not treated apart, and 0 / 0 gives nan",
         "if matrix[r].sum() > 0:", "if True:"),
        ("the loop ends (break) at the first class without samples; later ones have shares too",
         "if matrix[r].sum() > 0:",
         "if matrix[r].sum() == 0:\n                    break\n                if True:"),
        ("a class without samples gets 1; the task asks for 0",
         "np.zeros(K)", "np.ones(K)"),
        ("each class gets the accuracy over all samples",
         "matrix[r, r] / matrix[r].sum()", "np.trace(matrix) / matrix.sum()"),
        ("samples of other classes count as right if they were not called this class",
         "matrix[r, r] / matrix[r].sum()", "((labels == r) == (answers == r)).mean()"),
        ("the share that was missed is returned, not the share that was found",
         "= matrix[r, r] /", "= 1 - matrix[r, r] /"),
        ("// cuts each share down to a whole number", "matrix[r, r] /", "matrix[r, r] //"),
        ("`return` stands inside the loop, and only the first class is looked at",
         "            return matrix, shares", "                return matrix, shares"),
        ("the number of samples found is returned, not their share",
         " / matrix[r].sum()", ""),
        ("the number of classes is taken from the labels that occur, not from K", """
            def found(labels, answers, K):
                K = 1 + max([*labels, *answers], default=0)
                matrix = np.zeros((K, K), dtype=int)
                for label, answer in zip(labels, answers):
                    matrix[label, answer] += 1
                return matrix, np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)"""),
        ("the counters are small integers, which begin anew when they are full",
         "dtype=int", "dtype=np.int8"),
        ("the counters are small integers, which begin anew when they are full",
         "dtype=int", "dtype=np.uint8"),
        ("a pair that occurs several times is counted once: matrix[labels, answers] += 1 adds to "
         "each place once, and np.add.at to all", """
            def found(labels, answers, K):
                matrix = np.zeros((K, K), dtype=int)
                matrix[labels, answers] += 1
                return matrix, np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)"""),
    ),
)  # fmt: skip

# ---- 01.2


def split_cases(rng):
    def some(n, K, every):
        return rng.integers(0, K, n), rng.permutation(n), every

    yield "one class", np.zeros(5, dtype=int), np.array([3, 0, 4, 1, 2]), 2
    yield "one class", np.zeros(7, dtype=int), rng.permutation(7), 3
    yield "two classes", np.array([0, 1, 0, 0, 1]), np.array([4, 2, 0, 1, 3]), 2
    yield "two classes", np.array([1, 1, 0, 1, 0, 0]), np.array([5, 0, 3, 2, 1, 4]), 2
    yield "a rare class", np.array([0] * 9 + [1]), rng.permutation(10), 3
    yield "all go to the test set", np.array([0, 1, 1]), np.array([2, 0, 1]), 1
    yield "none goes to the test set", np.array([1, 0, 1]), np.array([1, 2, 0]), 3
    yield "no samples", np.zeros(0, dtype=int), np.zeros(0, dtype=int), 2
    yield "many samples", *some(40, 3, 4)
    yield "many samples", *some(60, 4, 2)
    yield "many samples", np.arange(120) % 2, rng.permutation(120), 25
    # Labels up to 60, so that ten counters, or 26, do not do.
    yield "many classes", 3 * rng.integers(0, 21, 70), rng.permutation(70), 3
    labels = np.append(np.repeat(np.arange(33), 2), [60, 60])
    yield "many classes", labels, rng.permutation(68), 2
    yield "large labels", np.array([7, 150, 7]), np.array([2, 1, 0]), 2
    yield (
        "large labels",
        1000 * rng.integers(0, 1000, 40)[np.arange(80) % 40],
        rng.permutation(80),
        2,
    )
    # More than counters of 8 bits hold.
    yield "very many samples", np.zeros(300, dtype=int), rng.permutation(300), 3
    yield "very many samples", rng.integers(0, 2, 700), rng.permutation(700), 7


def split_reference(labels, order, every):
    training, test, classes = [], [], labels.tolist()
    walked = {label: [] for label in classes}
    for sample in order.tolist():
        mine = walked[classes[sample]]
        mine.append(sample)
        (test if len(mine) % every == 0 else training).append(sample)
    return training, test


SPLIT = Task(
    id="01.2",
    cases=split_cases,
    reference=split_reference,
    equal=(
        ("labels = abs", CLASSES),
        ("order = abs", "numbers of samples are whole numbers from 0"),
        ("met.get(label, 0) - 1", "a count below 0 is divisible when the one above 0 is"),
        ("list(np.unique(walked))[::-1]", "the classes are independent of each other"),
        ("np.sort(walked)", "a class is marked again, as it was"),
        ("for label in walked:", "a class is marked again, as it was"),
    ),
    hints=(
        "The walk gives the number of a sample. Which class has it, and how many of "
        "its class has the walk met before?",
        "Raise the count of its class in `met` by 1. If the count can be divided by `every`, the "
        "sample goes to test.",
        "label = labels[sample]; met[label] = met.get(label, 0) + 1; then append the sample to "
        "test if met[label] % every == 0, else to training; the last line is given.",
    ),
    right=(
        """
        def split(labels, order, every):
            met = {}
            training, test = [], []
            for sample in order:
                label = labels[sample]
                met[label] = met.get(label, 0) + 1
                if met[label] % every == 0:
                    test.append(sample)
                else:
                    training.append(sample)
            return training, test""",
        """
        def split(labels, order, every):
            walked = labels[order]
            chosen = np.zeros(len(order), dtype=bool)
            for label in np.unique(walked):
                places = np.flatnonzero(walked == label)
                chosen[places[every - 1 :: every]] = True
            return order[~chosen], order[chosen]""",
        """
        from collections import Counter
        def split(labels, order, every):
            met, parts = Counter(), ([], [])
            for sample in order.tolist():
                met.update([int(labels[sample])])
                parts[met[int(labels[sample])] % every == 0].append(sample)
            return list(parts)""",
    ),
    wrong=(
        ("all classes are counted together, so that a rare class may be missing in the test set",
         "labels[sample]", "0"),
        ("the first of each class goes to test, because the count begins at 0",
         "met[label] % every == 0", "(met[label] - 1) % every == 0"),
        ("the samples are walked through by their numbers, not in the given order",
         "for sample in order:", "for sample in range(len(labels)):"),
        ("the test set is returned first; training comes first",
         "return training, test", "return test, training"),
        ("the label is looked up by the place in the walk, not by the sample's number",
         "for sample in order:", "for place, sample in enumerate(order):",
         "labels[sample]", "labels[place]"),
        ("the places in the walk are returned, not the samples' numbers",
         "for sample in order:", "for place, sample in enumerate(order):",
         "append(sample)", "append(place)"),
        ("samples of the test set stand in the training set too: a leak", """
            def split(labels, order, every):
                met, training, test = {}, [], []
                for sample in order:
                    met[labels[sample]] = met.get(labels[sample], 0) + 1
                    training.append(sample)
                    if met[labels[sample]] % every == 0:
                        test.append(sample)
                return training, test"""),
        ("the sample numbers are sorted; they should stand in the order of the walk",
         "return training, test", "return sorted(training), sorted(test)"),
        ("of each class only one sample goes to test, and the multiples of `every` are forgotten",
         "met[label] % every == 0", "met[label] == every"),
        ("the result is grouped by class; it should stand in the order of the walk", """
            def split(labels, order, every):
                training, test = [], []
                for label in np.unique(labels):
                    mine = [i for i in order if labels[i] == label]
                    for count, i in enumerate(mine, 1):
                        (test if count % every == 0 else training).append(i)
                return training, test"""),
        ("labels are returned, not the numbers of the samples",
         "append(sample)", "append(label)"),
        ("there are counters for ten classes, and a label may be larger",
         "met = {}", "met = np.zeros(10, dtype=int)",
         "met[label] = met.get(label, 0) + 1", "met[label] += 1"),
        ("there are too few counters: labels may be larger than any number fixed before, and than "
         "the number of samples",
         "met = {}", "met = np.zeros(100, dtype=int)",
         "met[label] = met.get(label, 0) + 1", "met[label] += 1"),
        ("there are too few counters: labels may be larger than any number fixed before, and than "
         "the number of samples",
         "met = {}", "met = np.zeros(len(labels) + 1, dtype=int)",
         "met[label] = met.get(label, 0) + 1", "met[label] += 1"),
        ("for `every` = 1 nothing goes to test; then all samples do",
         "met[label] % every == 0", "every > 1 and met[label] % every == 0"),
    ),
)  # fmt: skip

# ---- 01.3


def line(*labels):
    """Samples on a line, a new one at 0: the labels from near to far, on both sides."""
    x = np.array([[(i + 1) * (-1.0) ** i + 0.1] for i in range(len(labels))])
    shuffle = np.argsort([(7 * i + 3) % 11 for i in range(len(labels))])
    return x[shuffle], np.array(labels)[shuffle], np.zeros((1, 1))


def neighbours_cases(rng):
    def some(N, D, M, K):
        return rng.uniform(-5, 5, (N, D)), rng.integers(0, K, N), rng.uniform(-5, 5, (M, D))

    x, labels = np.array([[0.0], [2.0], [3.0], [7.0]]), np.array([0, 2, 1, 1])
    yield "one neighbour", *line(1, 0, 0), 1
    yield "one neighbour", *some(6, 2, 4, 3), 1
    yield "a clear vote", *line(0, 2, 2, 0, 0), 3
    yield "a clear vote", *line(1, 0, 0), 3
    yield "a clear vote", *line(2, 0, 0, 2, 2, 1), 5
    yield "equal votes", x, labels, np.array([[1.8]]), 3
    yield "equal votes", *line(1, 0), 2
    yield "equal votes", *line(2, 1, 0, 0, 1), 5
    yield "equal votes", *line(1, 0, 0, 1), 4
    yield (
        "several features",
        np.array([[3.0, 0.0], [2.0, 2.0]]),
        np.array([0, 1]),
        np.zeros((1, 2)),
        1,
    )
    yield (
        "several features",
        np.array([[1.0, 5.0], [-2.0, 1.0]]),
        np.array([0, 1]),
        np.zeros((1, 2)),
        1,
    )
    yield "several features", *some(30, 3, 10, 3), 3
    yield "more neighbours than samples", *line(1, 1, 0), 7
    yield "more neighbours than samples", *line(1, 0, 0), 5
    yield "more neighbours than samples", *line(2), 3
    yield "no new samples", np.ones((3, 2)), np.array([0, 1, 1]), np.zeros((0, 2)), 2
    yield "many samples", *some(80, 2, 40, 4), 5
    yield "many samples", *some(80, 4, 40, 3), 12
    yield "many features", *some(20, 25, 6, 3), 4
    yield "many classes", *line(*range(22), 30, 30), 24
    yield "many classes", *line(40, 7, 7, 3, 40, 12, 3), 6
    yield "many classes", *some(90, 3, 30, 45), 30
    x, labels, _ = some(12, 2, 1, 3)
    yield "a new sample met before", x, labels, x[[4, 0, 11]].copy(), 1
    yield "a new sample met before", x, labels, x[[7, 2]].copy(), 4
    for scale in (1e-9, 1e6):
        x, labels, new = some(15, 2, 6, 3)
        yield "small or large numbers", scale * x, labels, scale * new, 3
    x = rng.permutation(900)[:, None] + rng.uniform(0, 0.2, (900, 1))
    yield "very many samples", x, np.arange(900), rng.permutation(900)[:20, None] + 0.65, 200
    x = rng.permutation(600)[:, None] + rng.uniform(0, 0.2, (600, 1))
    yield "very many samples", x, (abs(x[:, 0] - 300.6) > 100).astype(int), np.array([[300.6]]), 600
    yield "large labels", *line(1000, 150, 300, 150, 1000), 4
    yield (
        "whole numbers without a point",
        np.array([[3], [-4], [9]]),
        np.array([2, 0, 1]),
        np.array([[0.25], [6.25]]),
        1,
    )


def neighbours_reference(x, labels, new, k):
    answers = []
    for q in new.tolist():
        far = [sum((a - b) ** 2 for a, b in zip(row, q)) for row in x.tolist()]
        voters = [int(labels[n]) for n in sorted(range(len(far)), key=far.__getitem__)[:k]]
        most = max(voters.count(label) for label in voters)
        answers.append(next(label for label in voters if voters.count(label) == most))
    return answers


NEIGHBOURS = Task(
    id="01.3",
    cases=neighbours_cases,
    reference=neighbours_reference,
    equal=(
        ("labels = abs", CLASSES),
        ("-> return answers", "a list is as good as an array"),
        ("`dtype=int` left out", "the labels are whole numbers as they are"),
        ("'int32'` left out", "the labels are whole numbers as they are"),
        ("((x - q) ** 2).mean(axis=1)", "divided by D, the nearest stays the nearest"),
        ("** 2).mean(axis=-1))", "divided by D, the nearest stays the nearest"),
        ("the root left out", "of squares the order is the same"),
        ("far.argsort(kind='stable')", "without an axis the last one is meant, which it is"),
        ("`kind='stable'` left out", "no two are equally far"),
        ("most_common(1)[-1]", "the list has one element"),
        ("np.ones(len(new), dtype='int32')", "every place is written afterwards"),
        ("votes.get(labels[n], 0) + 2", "twice the votes; the most stay the most"),
        ("votes.get(labels[n], 1) + 1", "one vote more for each class that is met"),
        ("most_common(2)[0]", "the first is the same"),
    ),
    hints=(
        "Take one new sample and get the labels of its k nearest, in order, nearest first.",
        "Count the votes and find the largest number of votes. Then walk through the voters, "
        "nearest first: who has that many?",
        "voters = labels[np.argsort(((x - q) ** 2).sum(axis=1))[:k]]; votes = "
        "np.bincount(voters); the first label in voters with votes[label] == votes.max().",
    ),
    right=(
        """
        def neighbours(x, labels, new, k):
            answers = []
            for q in new:
                squared = ((x - q) ** 2).sum(axis=1)
                voters = labels[np.argsort(squared)[:k]]
                votes = np.bincount(voters)
                answer = next(label for label in voters if votes[label] == votes.max())
                answers.append(answer)
            return np.array(answers, dtype=int)""",
        """
        from collections import Counter
        def neighbours(x, labels, new, k):
            far = np.sqrt(((new[:, None] - x[None]) ** 2).sum(axis=-1))
            near = far.argsort(axis=1, kind="stable")[:, :k]
            return [Counter(labels[row].tolist()).most_common(1)[0][0] for row in near]""",
        """
        def neighbours(x, labels, new, k):
            answers = np.zeros(len(new), dtype="int32")
            for m in range(len(new)):
                order = sorted(range(len(x)), key=lambda n: np.linalg.norm(x[n] - new[m]))
                votes = {}
                for n in order[:k]:
                    votes[labels[n]] = votes.get(labels[n], 0) + 1
                answers[m] = max(votes, key=votes.get)  # of equal ones the first that was met
            return answers""",
    ),
    wrong=(
        ("the smaller label wins when votes are equal, not the class of the nearest sample",
         "next(label for label in voters if votes[label] == votes.max())", "votes.argmax()"),
        ("the larger label wins when votes are equal, not the class of the nearest sample",
         "next(label for label in voters if votes[label] == votes.max())",
         "max(label for label in voters if votes[label] == votes.max())"),
        ("the nearest sample decides equal votes, also when its own class has fewer votes",
         "next(label for label in voters if votes[label] == votes.max())",
         "voters[0] if (votes == votes.max()).sum() > 1 else votes.argmax()"),
        ("equal votes are decided by the farthest voter, not by the nearest",
         "for label in voters if", "for label in voters[::-1] if"),
        ("equal votes are decided by the sum of the distances, not by the nearest sample",
         "next(label for label in voters if votes[label] == votes.max())",
         "min(np.flatnonzero(votes == votes.max()), "
         "key=lambda c: np.sort(squared)[:k][voters == c].sum())"),
        ("equal votes are decided by the sum of the distances, not by the nearest sample",
         "next(label for label in voters if votes[label] == votes.max())",
         "min(np.flatnonzero(votes == votes.max()), "
         "key=lambda c: np.sqrt(np.sort(squared)[:k])[voters == c].sum())"),
        ("the farthest voter is dropped until the votes differ; all k votes count, and the nearest "
         "sample decides", """
            def neighbours(x, labels, new, k):
                answers = []
                for q in new:
                    voters = labels[((x - q) ** 2).sum(axis=1).argsort()[:k]]
                    votes = np.bincount(voters)
                    while (votes == votes.max()).sum() > 1:
                        voters = voters[:-1]
                        votes = np.bincount(voters)
                    answers.append(votes.argmax())
                return np.array(answers, dtype=int)"""),
        ("only the nearest sample is asked, whatever k is", "[:k]", "[:1]"),
        ("the farthest samples are taken, not the nearest",
         "np.argsort(squared)", "np.argsort(-squared)"),
        ("absolute differences are added; equation (3) adds their squares",
         "((x - q) ** 2)", "abs(x - q)"),
        ("differences are added with their signs, so that they cancel",
         "((x - q) ** 2).sum(axis=1)", "abs((x - q).sum(axis=1))"),
        ("only the first feature is compared",
         "((x - q) ** 2).sum(axis=1)", "((x - q) ** 2)[:, 0]"),
        ("the nearest sample is left out, as if it were the new one itself", """
            def neighbours(x, labels, new, k):
                answers = []
                for q in new:
                    order = np.argsort(((x - q) ** 2).sum(axis=1))
                    voters = labels[order[1 : k + 1]]
                    votes = np.bincount(voters, minlength=1)
                    answers.append(next((c for c in voters if votes[c] == votes.max()), 0))
                return np.array(answers, dtype=int)"""),
        ("the labels are averaged; classes are names, and their mean means nothing",
         "next(label for label in voters if votes[label] == votes.max())",
         "round(float(voters.mean()))"),
        ("the numbers of the samples vote, not their labels", """
            def neighbours(x, labels, new, k):
                answers = []
                for q in new:
                    near = ((x - q) ** 2).sum(axis=1).argsort()[:k]
                    answers.append(np.bincount(near).argmax())
                return np.array(answers, dtype=int)"""),
        ("the number of the nearest sample is returned, not a label",
         "answers.append(answer)", "answers.append(np.argsort(squared)[0])"),
        ("a training sample at distance 0 is left out; it is the nearest of all",
         "voters =", "squared[squared == 0] = np.inf; voters ="),
        ("argpartition gives the k nearest in any order; the nearest must come first",
         "np.argsort(squared)[:k]", "np.argpartition(squared, min(k, len(x)) - 1)[:k]"),
    ),
)  # fmt: skip

# ---- 01.4


def leaks_cases(rng):
    def base(n, D):
        """Samples that differ by more than 1 in every feature."""
        return np.stack([30 + 2.0 * rng.permutation(n) for _ in range(D)], axis=1) + np.round(
            rng.uniform(0, 0.4, (n, D)), 1
        )

    def again(rows, by):
        """The same samples, measured again: other by 0.3 to 1 times `by`, up or down."""
        return rows + by * rng.uniform(0.3, 1, rows.shape) * rng.choice([-1, 1], rows.shape)

    nan = np.nan
    x = base(3, 2)
    yield "exact copies", x, np.array([x[2], [20.0, 20.0], x[0]]), 0.0
    x = base(6, 3)
    yield "exact copies", x, np.array([x[5] + 9.5, x[3], x[1] - 50, x[0], x[0]]), 0.0
    x = base(3, 2)
    yield "measured again", x, np.array([[90.0, 90.0], x[1] + 0.15, x[1] - 0.15]), 0.2
    x = base(4, 4)
    yield "measured again", x, again(x[[3, 1]], 0.4), 0.5
    x = base(6, 2)
    yield (
        "measured again",
        x,
        np.concatenate([again(x[[4]], 0.1), [[10.0, 10.0]], again(x, 0.1)]),
        0.2,
    )
    x = base(3, 2)
    yield "no leak", x, x + np.array([0.0, 40.0]), 0.2
    yield "no leak", x, np.array([[x[0, 0], x[1, 1]], [x[2, 0], x[0, 1]]]), 0.2
    yield "no leak", x, x + 70, 0.2
    yield "no leak", x, x - 70, 0.2
    x = np.array([[46.0, nan], [39.1, 18.7]])
    yield "missing numbers", x, np.array([[46.0, 17.0], [39.0, 18.8], [46.1, nan]]), 0.2
    yield "missing numbers", x, np.array([[nan, 18.7], [nan, nan], [70.0, nan]]), 0.2
    yield "missing numbers", np.array([[1.0, 2.0]]), np.array([[1.0, nan], [nan, 2.0]]), 0.0
    # Whoever fills the gaps with 0 or -1, or leaves isclose its rtol, finds a leak too many.
    yield (
        "missing numbers",
        np.array([[nan, 5.0]]),
        np.array([[0.0, 5.0], [-1.0, 5.0], [nan, 5.0]]),
        0.0,
    )
    # Whoever fills the gaps with another number finds a leak where it is measured.
    fills = [1, 99, -99, 999, -999, 9999, -9999, 99999, -99999, 1e6, -1e6, 1e9, -1e9, 1e10, -1e10]
    fills += [1e12, 1e20, -1e20]
    yield "missing numbers", np.array([[nan, 5.0]]), np.array([[f, 5.0] for f in fills]), 0.5
    yield "missing numbers", np.array([[nan]]), np.array([[0.0], [nan], [999.0]]), 1.0
    yield (
        "missing numbers",
        np.array([[nan, nan], [2.0, nan]]),
        np.array([[nan, nan], [nan, 2]]),
        0.1,
    )
    x = base(4, 3)
    yield "small numbers", 1e-9 * x, 1e-9 * np.array([x[1] + 0.1, x[2] + 0.5, x[3] - 0.1]), 2e-10
    yield "small numbers", np.array([[1e-7, 0.0]]), np.array([[1.5e-7, 0.0], [1e-7, 0.0]]), 0.0
    yield "small numbers", np.array([[1e-15, 0.0]]), np.array([[2e-15, 0.0], [1e-15, 0.0]]), 0.0
    yield "large numbers", 1e6 * x, 1e6 * np.array([x[1] + 0.1, x[2] + 0.5, x[3] - 0.1]), 2e5
    yield "one feature too far", np.zeros((1, 2)), np.array([[1.5, 0.1], [0.4, 0.9]]), 1.0
    x = base(5, 12)
    other = again(x[[3, 1, 0]], 0.1)
    other[0, int(rng.integers(12))] += 0.7
    other[2, -1] -= 0.7
    yield "one feature too far", x, other, 0.25
    yield "no leak", np.array([[39.1, 4200.0]]), np.array([[39.1, 4200.03]]), 0.01
    x = base(2, 2)
    yield "copies in one set", np.array([x[0], x[0] + 0.01]), np.array([x[1], x[0]]), 0.1
    yield "copies in one set", x[:1], np.array([x[1], x[1], x[0] + 0.02, x[0]]), 0.1
    yield "an empty set", np.zeros((0, 2)), base(2, 2), 1.0
    yield "an empty set", base(2, 2), np.zeros((0, 2)), 1.0
    x = np.array([[-5.0, 3.0], [2.5, -1.5]])
    yield "numbers below 0", x, np.array([[5.0, 3.0], [-5.05, 3.02], [2.5, 1.5], [2.52, -1.5]]), 0.1
    yield "numbers below 0", -base(3, 2), base(3, 2), 0.2
    x = base(4, 2) - 34
    yield "numbers below 0", x, again(x[[2, 0]], 0.2), 0.25
    yield "a large tolerance", base(3, 1) * 100, np.array([[4150.0], [2800.0], [3260.0]]), 70.0
    x = base(5, 25)
    other = again(x[[4, 1, 2]], 0.2)
    other[1, 24] += 5
    yield "many features", x, other, 0.25
    x = base(120, 3)
    other = np.concatenate([again(x[rng.permutation(120)[:30]], 0.2), x[:40] + 300])
    yield "many samples", x, other[rng.permutation(len(other))], 0.25


def leaks_reference(x, x_test, tolerance):
    def agree(a, b):
        return (a != a and b != b) or -tolerance <= a - b <= tolerance

    rows = []
    for row, q in enumerate(x_test.tolist()):
        if any(all(agree(a, b) for a, b in zip(p, q)) for p in x.tolist()):
            rows.append(row)
    return rows


LEAKS = Task(
    id="01.4",
    cases=leaks_cases,
    reference=leaks_reference,
    equal=(
        ("in list(zip(far, np.isnan(x)))[::-1]:", "it does not matter which training sample "
         "agrees"),
        ("tolerance = abs", "a tolerance is never below 0"),
        ("x = x[::-1]", "it does not matter which training sample agrees"),
        ("-> a, b = (x[None, :, :], x_test[:, None, :])", "a agrees with b when b does with a"),
        ("x_test)))[::-1]", "the rows are sorted at the end"),
        ("astype('float64')) -> pass", "the numbers are float64 as they come"),
        ("'int32'` left out", "a row's number is whole, of either type"),
        ("numbers' type left", "the numbers are float64 as they come"),
        ("x_test = (x.astype('float64'), x_test.astype('float64'));", "they are float64 already"),
    ),
    hints=(
        "Take one test sample and compare it with all training samples at once: a mask of shape "
        "(N, D). What must be true of one of its rows?",
        "A mask for abs(x - q) <= tolerance, or both are nan; all along the features; any along "
        "the samples.",
        "same = (abs(x - q) <= tolerance) | (np.isnan(x) & np.isnan(q)); the row is leaked if "
        "same.all(axis=1).any().",
    ),
    right=(
        """
        def leaks(x, x_test, tolerance):
            rows = []
            for row, q in enumerate(x_test):
                same = (abs(x - q) <= tolerance) | (np.isnan(x) & np.isnan(q))
                if same.all(axis=1).any():
                    rows.append(row)
            return rows""",
        """
        def leaks(x, x_test, tolerance):
            a, b = x_test[:, None, :], x[None, :, :]
            same = np.isclose(a, b, rtol=0, atol=tolerance, equal_nan=True)
            return np.flatnonzero(same.all(axis=2).any(axis=1))""",
        """
        def leaks(x, x_test, tolerance):
            x, x_test = x.astype("float64"), x_test.astype("float64")
            far = np.where(np.isnan(x), 0, x)
            rows = set()
            for row, q in enumerate(np.where(np.isnan(x_test), 0, x_test)):
                for p, gone in zip(far, np.isnan(x)):
                    if np.any(gone != np.isnan(x_test[row])):
                        continue
                    if np.max(np.abs(p - q)) <= tolerance:
                        rows.add(row)
            return np.array(sorted(rows), dtype="int32")""",
    ),
    wrong=(
        ("only exact copies are found, and the tolerance is not used",
         "abs(x - q) <= tolerance", "x == q"),
        ("nan is compared like a number, and nan agrees with nothing, not even with nan",
         " | (np.isnan(x) & np.isnan(q))", ""),
        ("a missing number agrees with every number; it agrees only with a missing one",
         "np.isnan(x) & np.isnan(q)", "np.isnan(x) | np.isnan(q)"),
        ("missing numbers are replaced by 0, and then agree with a measured 0", """
            def leaks(x, x_test, tolerance):
                x, x_test = np.nan_to_num(x), np.nan_to_num(x_test)
                same = abs(x_test[:, None] - x) <= tolerance
                return np.flatnonzero(same.all(axis=2).any(axis=1))"""),
        ("missing numbers are replaced by a number, and then agree where it was measured", """
            def leaks(x, x_test, tolerance):
                x, x_test = np.nan_to_num(x, nan=-999), np.nan_to_num(x_test, nan=-999)
                same = abs(x_test[:, None] - x) <= tolerance
                return np.flatnonzero(same.all(axis=2).any(axis=1))"""),
        ("rows in which all numbers are missing are passed over; they agree with one like them",
         "same =", "if np.isnan(q).all(): continue\n                same ="),
        ("the differences are averaged over the features; each must stay within the tolerance",
         "same.all(axis=1).any()",
         "((np.isnan(x) == np.isnan(q)).all(axis=1) "
         "& (np.where(np.isnan(x) & np.isnan(q), 0, abs(x - q)).mean(axis=1) <= tolerance)).any()"),
        ("a small number is added to the tolerance", "<= tolerance", "<= tolerance + 1e-6"),
        ("a difference as large as the tolerance is too large for it, and with a tolerance of 0 no "
         "number agrees", "<= tolerance", "< tolerance"),
        ("isclose or allclose adds a tolerance of its own, which grows with the numbers; rtol=0 "
         "turns it off",
         "(abs(x - q) <= tolerance)", "np.isclose(x, q, atol=tolerance)"),
        ("one feature that agrees is enough; all of them must",
         "same.all(axis=1)", "same.any(axis=1)"),
        ("the features may agree with different training samples; one must agree in all",
         "same.all(axis=1).any()", "len(x) and same.any(axis=0).all()"),
        ("only differences in one direction are limited (abs is missing)",
         "abs(x - q) <= tolerance", "(x - q) <= tolerance"),
        ("the rows of the training set are returned; asked are those of the test set", """
            def leaks(x, x_test, tolerance):
                rows = []
                for row, q in enumerate(x):
                    same = (abs(x_test - q) <= tolerance) | (np.isnan(x_test) & np.isnan(q))
                    if same.all(axis=1).any():
                        rows.append(row)
                return rows"""),
        ("each test sample is compared only with the training sample in the same row", """
            def leaks(x, x_test, tolerance):
                n = min(len(x), len(x_test))
                a, b = x[:n], x_test[:n]
                same = (abs(a - b) <= tolerance) | (np.isnan(a) & np.isnan(b))
                return np.flatnonzero(same.all(axis=1))"""),
        ("the differences of all features together must stay within the tolerance, not each one",
         "same.all(axis=1).any()",
         "((np.isnan(x) == np.isnan(q)).all(axis=1) "
         "& (np.nansum(abs(x - q), axis=1) <= tolerance)).any()"),
        ("the distance of the two samples (Pythagoras) must stay within the tolerance, not each "
         "difference",
         "same.all(axis=1).any()",
         "((np.isnan(x) == np.isnan(q)).all(axis=1) "
         "& (np.sqrt(np.nansum((x - q) ** 2, axis=1)) <= tolerance)).any()"),
        ("a test sample is named once for each training sample that it agrees with",
         "if same.all(axis=1).any():", "for match in range(same.all(axis=1).sum()):"),
        ("a test sample is compared with the other test samples, not with the training set", """
            def leaks(x, x_test, tolerance):
                rows = []
                for row, q in enumerate(x_test):
                    others = np.delete(x_test, row, axis=0)
                    same = (abs(others - q) <= tolerance) | (np.isnan(others) & np.isnan(q))
                    if same.all(axis=1).any():
                        rows.append(row)
                return rows"""),
        ("a mask is returned, not the numbers of the rows", """
            def leaks(x, x_test, tolerance):
                same = np.isclose(x_test[:, None], x, rtol=0, atol=tolerance, equal_nan=True)
                return same.all(axis=2).any(axis=1)"""),
        ("the samples without a leak are returned",
         "if same.all(axis=1).any():", "if not same.all(axis=1).any():"),
    ),
)  # fmt: skip

TASKS = [FOUND, SPLIT, NEIGHBOURS, LEAKS]
