"""The tasks of lesson 24: words coded out of fold, an interval, a search, an autoencoder."""

import itertools
import math

import numpy as np

from .task import Task

SHOPS = ["A", "A", "A", "A", "B", "C"]


def numbers(rng, *shape, scale=1.0):
    return scale * np.round(rng.uniform(-3, 3, shape), 2)


# ---- 24.1


def code_cases(rng):
    def case(group, n, n_words, n_folds, weight, scale=None, names=None):
        words = [(names or "words of more than one letter".split())[i % 6] + str(i // 6) for i in
                 rng.permutation(np.arange(n) % n_words)]  # fmt: skip
        folds = rng.permutation(np.arange(n) % n_folds)
        labels = rng.permutation(np.arange(n) % 3 > 0).astype(float)
        if scale:
            labels = numbers(rng, n, scale=scale)
        return group, words, labels, folds, weight

    labels, folds = np.array([1.0, 1, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 0, 1])
    yield "by hand", SHOPS, labels, folds, 0.0
    yield "by hand", SHOPS, labels, folds, 1.0
    yield case("weight 0", 9, 2, 3, 0.0)
    yield case("weight 0", 12, 3, 2, 0.0, 1.0)
    yield case("two folds", 10, 2, 2, 1.0)
    yield case("two folds", 13, 3, 2, 2.5, 1.0)
    yield case("several folds", 14, 3, 4, 1.0)
    yield case("several folds", 15, 2, 5, 0.5, 1.0)
    yield case("a fold for each row", 8, 2, 8, 1.0)
    yield case("a fold for each row", 7, 3, 7, 0.0, 1.0)
    yield case("rare words", 12, 9, 3, 1.0, 1.0)
    yield case("rare words", 10, 10, 2, 0.0, 1.0)
    yield case("rare words", 11, 8, 3, 0.0)
    yield case("large weight", 12, 3, 3, 1000.0, 1.0)
    yield case("large and small labels", 10, 2, 3, 2.0, 3e5)
    yield case("large and small labels", 10, 2, 3, 2.0, 1e-3)
    yield "two rows", ["x", "x"], numbers(rng, 2), np.array([1, 0]), 1.0
    yield "two rows", ["x", "y"], numbers(rng, 2), np.array([0, 1]), 0.0
    yield "one word", ["same"] * 5, numbers(rng, 5), np.array([0, 2, 0, 1, 2]), 3.0
    yield (
        "fold numbers with gaps", ["a", "b", "a", "a", "b", "a"], numbers(rng, 6),
        np.array([7, 3, 3, 7, 90, 90]), 0.5,
    )  # fmt: skip
    yield (
        "words that look alike", ["a", "A", "a ", "", "a", "", "A", "ab", "a ", "ab"],
        numbers(rng, 10), np.array([0, 1, 0, 1, 1, 0, 0, 1, 1, 0]), 1.0,
    )  # fmt: skip
    yield (
        "folds of unequal size", ["u", "v", "u", "u", "v", "u", "v", "u"], numbers(rng, 8),
        np.array([0, 0, 0, 0, 0, 0, 1, 1]), 1.0,
    )  # fmt: skip
    yield case("many rows", 130, 40, 2, 1.0, 1.0)
    yield case("many folds", 90, 4, 45, 1.0, 1.0)


def code_reference(words, labels, folds, weight):
    codes = []
    for n, word in enumerate(words):
        others = [i for i in range(len(words)) if folds[i] != folds[n]]
        overall = math.fsum(labels[i] for i in others) / len(others)
        mine = [labels[i] for i in others if words[i] == word]
        if mine:
            codes.append((math.fsum(mine) + weight * overall) / (len(mine) + weight))
        else:
            codes.append(overall)
    return np.array(codes)


CODES = Task(
    id="24.1",
    cases=code_cases,
    reference=code_reference,
    equal=(
        ("folds = abs(folds)", "folds are counted from 0"),
        ("weight = abs(weight)", "it is 0 or above"),
        ("list(zip(words, labels, folds))[::-1]", "a sum has no order"),
        ("every, rows = (0, 0.0, 0.0, 0)", "numbers, which become what is added to them"),
        ("every, rows = (0.0, 0.0, 0, 0)", "numbers, which become what is added to them"),
        ("every, rows = (0.0, 0, 0, 0.0)", "numbers, which become what is added to them"),
        ("-> codes = np.ones(", "every code is written over"),
        ("-> codes = np.zeros(len(words)); words = ", "it has the same length"),
        ("list(np.unique(folds))[::-1]", "each fold by itself"),
        ("for fold in np.sort(folds)", "a fold that comes again gives the same codes"),
        ("-> for fold in folds:", "a fold that comes again gives the same codes"),
    ),
    hints=(
        "Of the rows in other folds, which have the word of row n? They may be none.",
        "A mask for the folds, and one for the words, joined by &. If no row is left, the code is "
        "the overall mean, and nothing is divided.",
        "mine = labels[others & (words == words[n])]; then (mine.sum() + weight * overall) / "
        "(len(mine) + weight).",
    ),
    right=(
        """
        def out_of_fold(words, labels, folds, weight):
            words = np.array(words)
            codes = np.zeros(len(words))
            for n in range(len(words)):
                others = folds != folds[n]
                overall = labels[others].mean()
                mine = labels[others & (words == words[n])]
                if len(mine) == 0:
                    codes[n] = overall
                else:
                    codes[n] = (mine.sum() + weight * overall) / (len(mine) + weight)
            return codes""",
        """
        def out_of_fold(words, labels, folds, weight):
            result = []
            for word, fold in zip(words, folds):
                total, count, every, rows = 0.0, 0, 0.0, 0
                for other, label, its_fold in zip(words, labels, folds):
                    if its_fold != fold:
                        every, rows = every + label, rows + 1
                        if other == word:
                            total, count = total + label, count + 1
                overall = every / rows
                if count:
                    overall = (total + weight * overall) / (count + weight)
                result.append(overall)
            return result""",
        """
        def out_of_fold(words, labels, folds, weight):
            _, number = np.unique(words, return_inverse=True)
            codes = np.empty(len(labels))
            for fold in np.unique(folds):
                learn = folds != fold
                sums = np.bincount(number[learn], labels[learn], minlength=number.max() + 1)
                counts = np.bincount(number[learn], minlength=number.max() + 1)
                overall = labels[learn].sum() / learn.sum()
                table = np.full(len(sums), overall)
                known = counts > 0
                table[known] = (sums[known] + weight * overall) / (counts[known] + weight)
                codes[~learn] = table[number[~learn]]
            return codes""",
    ),
    wrong=(
        ("all rows are used, the row's own label among them", "others & (words == words[n])",
         "words == words[n]"),
        ("only the row itself is left out, not its whole fold", "others = folds != folds[n]",
         "others = np.arange(len(words)) != n"),
        ("the rows of the same fold are used", "folds != folds[n]", "folds == folds[n]"),
        ("the overall mean is that of all rows", "labels[others].mean()", "labels.mean()"),
        ("a word that no other row has gets 0", "codes[n] = overall", "codes[n] = 0.0"),
        ("a word that no other row has gets its own label", "codes[n] = overall",
         "codes[n] = labels[n]"),
        ("the weight is left out", "(mine.sum() + weight * overall) / (len(mine) + weight)",
         "mine.mean()"),
        ("the weight is added above alone, and the sum is divided by the rows of the word",
         "(len(mine) + weight)", "len(mine)"),
        ("the weight is added below alone, which pulls the code towards 0",
         "(mine.sum() + weight * overall)", "mine.sum()"),
        ("the weight is added as it is, without the overall mean",
         "weight * overall", "weight"),
        ("the mean of the word is taken in place of the sum of its labels",
         "(mine.sum() +", "(mine.mean() +"),
        ("a word that no other row has gets nan, for 0 is divided by 0",
         "if len(mine) == 0:", "if len(mine) < 0:"),
        ("a row is coded by the earlier folds alone", "others = folds != folds[n]",
         "others = folds < folds[n]\n                if not others.any():\n"
         "                    others = folds != folds[n]"),
    ),
)  # fmt: skip

# ---- 24.2


def compare_cases(rng):
    def case(group, n, gap, noise, learned, asked, t, scale=1.0):
        # Two models that move together from split to split, so that paired is narrower.
        shared = np.round(rng.uniform(0.5, 0.9, n), 3)
        while True:
            a, b = (np.round(shared + g + noise * rng.normal(size=n), 4) for g in (gap, 0.0))
            mean, half, _ = compare_reference(scale * a, scale * b, learned, asked, t)
            if half and abs(abs(mean) - half) > 0.02 * max(abs(mean), half):
                return group, scale * a, scale * b, learned, asked, t

    network, trees = np.array([18.0, 17, 17, 20, 17]), np.array([17.0, 17, 15, 19, 16])
    yield "by hand", network, trees, 80, 20, 2.78
    yield "by hand", network, trees, 800, 20, 2.78
    yield "by hand", trees, network, 80, 20, 2.78
    yield case("clear differences", 8, 0.2, 0.02, 75, 25, 2.36)
    yield case("clear differences", 6, -0.2, 0.02, 75, 25, 2.57)
    yield case("clear differences", 10, 0.3, 0.03, 90, 10, 2.26)
    yield case("nothing decided", 8, 0.0, 0.05, 75, 25, 2.36)
    yield case("nothing decided", 12, 0.01, 0.05, 60, 40, 2.2)
    # Decided only by who forgets that the splits share rows, and the other way round.
    swing = np.array([0.01, 0.03, 0.02, 0.04, 0.0, 0.02, 0.03, 0.01])
    yield "too sure without the repair", 0.8 + swing, np.full(8, 0.8), 50, 50, 2.36
    yield "too sure without the repair", np.full(8, 0.8), 0.8 + swing, 60, 40, 2.36
    yield "two splits", numbers(rng, 2), numbers(rng, 2), 30, 10, 12.71
    yield "two splits", np.array([3.0, 3.5]), np.array([1.0, 1.25]), 90, 10, 12.71
    yield "two splits", np.array([1.0, 1.25]), np.array([3.0, 3.25]), 100, 1, 12.71
    yield case("many asked", 9, 0.1, 0.05, 10, 90, 2.31)
    yield case("many asked", 7, -0.4, 0.05, 20, 80, 2.45)
    yield case("many splits", 60, 0.02, 0.05, 100, 50, 2.0)
    yield "all the same", np.full(4, 0.75), np.full(4, 0.75), 30, 10, 3.18
    yield "all the same", np.array([0.5, 0.75, 1.0]), np.array([0.5, 0.75, 1.0]), 30, 10, 4.3
    yield "the same difference", np.array([0.5, 0.75, 1.0]), np.array([0.25, 0.5, 0.75]), 9, 3, 4.3
    yield "the same difference", np.array([0.25, 0.5]), np.array([0.5, 0.75]), 9, 3, 12.71
    yield case("large and small scores", 6, 0.2, 0.05, 75, 25, 2.57, 1e5)
    yield case("large and small scores", 6, 0.2, 0.02, 75, 25, 2.57, 1e-3)
    yield case("scores below 0", 6, -0.1, 0.02, 70, 30, 2.57, -2.0)


def compare_reference(a, b, learned, asked, t):
    diffs = [float(p) - float(q) for p, q in zip(a, b)]
    n = len(diffs)
    mean = math.fsum(diffs) / n
    var = math.fsum((value - mean) ** 2 for value in diffs) / (n - 1)
    half = t * math.sqrt((1 / n + asked / learned) * var)
    verdict = (mean > half) - (mean < -half)
    return mean, half, verdict


COMPARE = Task(
    id="24.2",
    cases=compare_cases,
    reference=compare_reference,
    equal=(
        ("list(diffs)[::-1]", "a sum has no order"),
        ("list(zip(a, b))[::-1]", "a sum has no order"),
        ("-> if mean + half < 0:; if mean - half > 0:", "only one of both can be so"),
        ("t = abs(t)", "it is above 0"),
        ("1 if mean >= 0 else -1", "a mean of 0 is inside"),
        ("low, high = (mean + half, mean - half)", "the verdict asks both ends"),
        ("np.std(b - a, ddof=1)", "both have one deviation"),
    ),
    hints=(
        "Mean and variance of the differences; the variance is divided by one less than their "
        "number.",
        "diffs.var(ddof=1), times (1 / len(diffs) + asked / learned), the root of that, times t.",
        "verdict: 1 if mean - half > 0, -1 if mean + half < 0, else 0.",
    ),
    right=(
        """
        def compare(a, b, learned, asked, t):
            diffs = a - b
            mean = diffs.mean()
            half = t * np.sqrt((1 / len(diffs) + asked / learned) * diffs.var(ddof=1))
            verdict = 0
            if mean - half > 0:
                verdict = 1
            if mean + half < 0:
                verdict = -1
            return mean, half, verdict""",
        """
        def compare(a, b, learned, asked, t):
            n = len(a)
            diffs = [p - q for p, q in zip(a, b)]
            mean = sum(diffs) / n
            squares = sum((value - mean) ** 2 for value in diffs)
            half = t * (squares / (n - 1) * (1 / n + asked / learned)) ** 0.5
            if abs(mean) <= half:
                return mean, half, 0
            return mean, half, 1 if mean > 0 else -1""",
        """
        def compare(a, b, learned, asked, t):
            mean = np.mean(a - b)
            spread = np.std(a - b, ddof=1)
            half = t * spread * np.sqrt(1 / a.size + asked / learned)
            low, high = mean - half, mean + half
            return [mean, half, int(low > 0) - int(high < 0)]""",
    ),
    wrong=(
        ("the splits are taken for separate experiments: asked/learned is missing",
         " + asked / learned", ""),
        ("learned/asked is added, not asked/learned", "asked / learned", "learned / asked"),
        ("asked is divided by all rows, not by those that learned", "asked / learned",
         "asked / (asked + learned)"),
        ("1/splits is missing", "1 / len(diffs) + ", ""),
        ("the variance is divided by the number of splits, not by one less", "ddof=1", "ddof=0"),
        ("the root is missing", "np.sqrt(", "("),
        ("the deviation is taken for the variance", "diffs.var(ddof=1)", "diffs.std(ddof=1)"),
        ("the scores are not paired: both variances are added", "diffs.var(ddof=1)",
         "(a.var(ddof=1) + b.var(ddof=1))"),
        ("t is missing", "t * np.sqrt", "np.sqrt"),
        ("the whole width is given, not half of it", "half = t *", "half = 2 * t *"),
        ("b - a is taken", "diffs = a - b", "diffs = b - a"),
        ("the verdict goes by the mean alone", "mean - half > 0", "mean > 0",
         "mean + half < 0", "mean < 0"),
        ("the verdict never says -1", "verdict = -1", "verdict = 0"),
        ("the signs of the verdict are exchanged", "verdict = 1", "verdict = 9",
         "verdict = -1", "verdict = 1", "verdict = 9", "verdict = -1"),
        ("an interval that is one point, at 0, counts as decided", "mean - half > 0",
         "mean - half >= 0"),
        ("an interval that is one point, at 0, counts as decided for b", "mean + half < 0",
         "mean + half <= 0"),
    ),
)  # fmt: skip

# ---- 24.3


def number_of(value):
    return value if isinstance(value, (int, float)) else sum(map(ord, value)) % 17


def scored(score):
    """The function that a description of it means: {"rows": weights, "slopes": one for each name,
    "fails": (name, value, row) or ()}."""

    def run(setting, learn, asked):
        learn, asked = [int(n) for n in learn], [int(n) for n in asked]
        fails = score["fails"]
        if fails and setting[fails[0]] == fails[1] and fails[2] in asked:
            return math.nan
        parts = [
            slope * number_of(setting[name]) * (1 + 0.1 * i)
            for i, (name, slope) in enumerate(score["slopes"].items())
        ]
        rows = score["rows"]
        known = math.fsum((1 + 0.1 * i) * rows[n] for i, n in enumerate(learn)) / len(rows)
        mine = math.fsum(rows[n] for n in asked) / len(asked)
        return math.fsum([*parts, known * parts[0] / 9, mine])

    return run


def searched(answer, grid, n_rows, n_folds, score):
    return answer(grid, n_rows, n_folds, scored(score))


def search_cases(rng):
    def case(group, grid, n_rows, n_folds, slopes=None, fails=()):
        slopes = slopes or {name: float(rng.choice([-1, 1])) for name in grid}
        rows = np.round(rng.uniform(1, 3, n_rows), 2)
        return group, grid, n_rows, n_folds, {"rows": rows, "slopes": slopes, "fails": fails}

    two = {"width": [8, 16], "rate": [0.1, 0.2]}
    yield case("by hand", two, 5, 2)
    yield case("one name", {"width": [4, 8, 2]}, 6, 3)
    yield case("one name", {"rate": [0.5]}, 4, 2)
    yield case("several names", {"width": [8, 16, 4], "rate": [0.1, 0.7]}, 6, 2)
    yield case("several names", {"b": [1, 5], "a": [2, 3, 9], "c": [0.5, 4.0]}, 7, 3)
    yield case("several names", {"z": [1, 2], "y": [3, 1], "x": [0, 1], "w": [2, 1]}, 4, 2)
    yield case("words", {"kind": ["tanh", "relu", "gelu"], "width": [3, 9]}, 6, 3)
    yield case("unequal folds", two, 7, 3)
    yield case("unequal folds", {"width": [1, 2, 3]}, 11, 4)
    yield case("a fold for each row", {"width": [3, 1, 2]}, 5, 5)
    # The slope of 0 makes settings equally good.
    grid = {"width": [8, 16], "rate": [0.1, 0.2, 0.3], "seed": [1, 2]}
    yield case("equally good", grid, 6, 2, {"width": 1.0, "rate": 0.0, "seed": 0.0})
    yield case("equally good", grid, 6, 3, {"width": -1.0, "seed": 0.0, "rate": 2.0})
    yield case("equally good", {"seed": [3, 1, 2]}, 4, 2, {"seed": 0.0})
    up = {"width": 1.0, "rate": 1.0}
    yield case("some fail", two, 6, 2, up, ("width", 8, 0))
    yield case("some fail", two, 6, 2, up, ("width", 16, 3))
    yield case("some fail", {"width": [1, 5, 2]}, 6, 3, {"width": 1.0}, ("width", 5, 4))
    yield case("some fail", {"width": [5, 1, 2]}, 6, 3, {"width": 1.0}, ("width", 5, 5))
    yield case("below 0", {"width": [50, 70, 60]}, 6, 2, {"width": -1.0})
    yield case("below 0", {"width": [50, 70, 60]}, 6, 3, {"width": -1.0}, ("width", 50, 1))
    up = {"a": 1.0, "b": 2.0}
    yield case("many settings", {"a": list(range(25)), "b": [1, 2, 3]}, 4, 2, up)
    yield case("many rows", {"a": [1, 2]}, 150, 2)
    yield case("many rows", {"a": [1, 2]}, 140, 35)


def search_reference(grid, n_rows, n_folds, score):
    run, best, means, top = scored(score), None, [], -math.inf
    for values in itertools.product(*grid.values()):
        setting = dict(zip(grid, values))
        found = []
        for fold in range(n_folds):
            asked = list(range(fold, n_rows, n_folds))
            found.append(run(setting, sorted(set(range(n_rows)) - set(asked)), asked))
        mean = sum(found) / n_folds
        means.append(mean)
        if mean > top + 1e-9:
            best, top = setting, mean
    return best, means


SEARCH = Task(
    id="24.3",
    cases=search_cases,
    reference=search_reference,
    drive=searched,
    equal=(
        ("list(grid.items())[:20]", "there are at most four names"),
        ("== fold]; learn = [n", "two lists of their own"),
        ("return (best, means)", "a list is as good"),
        ("mean >= top + 1e-08", "means are equal, or clearly different"),
        ("mean > top):", "equally good ones give equal numbers"),
        ("-> order = np.where(", "equally good ones give equal numbers"),
        ("-np.inf, means), 7)", "means are equal, or clearly different"),
        ("-np.inf, means), 9)", "means are equal, or clearly different"),
        ("list(folds)[::-1]", "a mean has no order"),
        ("-> def deeper(i, setting):", "it is called behind both"),
    ),
    hints=(
        "First a list of all settings: begin with one empty dict, and for each name make of each "
        "dict as many as the name has values.",
        "For each setting a loop over the folds: the rows n with n % n_folds == fold are asked. "
        "Then one mean for each setting; np.nanargmax passes over nan.",
        "settings = [{**s, name: v} for s in settings for v in values] for each name of the grid; "
        "return settings[np.nanargmax(means)], means.",
    ),
    right=(
        """
        def search(grid, n_rows, n_folds, score):
            settings = [{}]
            for name, values in grid.items():
                settings = [{**setting, name: value} for setting in settings for value in values]
            means = []
            for setting in settings:
                scores = []
                for fold in range(n_folds):
                    learn = [n for n in range(n_rows) if n % n_folds != fold]
                    asked = [n for n in range(n_rows) if n % n_folds == fold]
                    scores.append(score(setting, learn, asked))
                means.append(np.mean(scores))
            return settings[np.nanargmax(means)], means""",
        """
        def search(grid, n_rows, n_folds, score):
            import itertools

            rows, best, top, means = np.arange(n_rows), None, None, []
            for values in itertools.product(*grid.values()):
                setting, total = dict(zip(grid.keys(), values)), 0.0
                for k in range(n_folds):
                    asked = rows[k::n_folds]
                    total += score(setting, np.delete(rows, asked), asked)
                mean = total / n_folds
                means.append(mean)
                if mean == mean and (top is None or mean > top + 1e-8):
                    best, top = setting, mean
            return best, np.array(means)""",
        """
        def search(grid, n_rows, n_folds, score):
            names, found = list(grid), []

            def deeper(i, setting):
                if i == len(names):
                    found.append(dict(setting))
                    return
                for value in grid[names[i]]:
                    setting[names[i]] = value
                    deeper(i + 1, setting)

            deeper(0, {})
            fold = np.arange(n_rows) % n_folds
            folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(n_folds)]
            means = np.array([[score(s, *rows) for rows in folds] for s in found]).mean(axis=1)
            order = np.round(np.where(np.isnan(means), -np.inf, means), 8)
            return found[int(order.argmax())], means""",
    ),
    wrong=(
        ("nan is taken for the best: np.argmax calls it the largest", "np.nanargmax",
         "np.argmax"),
        ("the smallest mean is taken for the best", "np.nanargmax", "np.nanargmin"),
        ("a fold that failed is left out of the mean", "np.mean(scores)", "np.nanmean(scores)"),
        ("a fold that failed counts as 0", "np.mean(scores)", "np.nan_to_num(scores).mean()"),
        ("the first name changes quickest",
         "for setting in settings for value in values]", "for value in values for setting in "
         "settings]"),
        ("learn and asked are exchanged", "score(setting, learn, asked)",
         "score(setting, asked, learn)"),
        ("the model learns from all rows, those that are asked among them",
         "if n % n_folds != fold]", "]"),
        ("the folds are pieces in a row, not every n_folds-th row", "n % n_folds != fold",
         "n * n_folds // n_rows != fold", "n % n_folds == fold", "n * n_folds // n_rows == fold"),
        ("only the first fold is tried", "range(n_folds)", "range(1)"),
        ("the last fold is left out", "range(n_folds)", "range(n_folds - 1)"),
        ("of equally good settings the last is taken",
         "settings[np.nanargmax(means)]",
         "settings[len(means) - 1 - np.nanargmax(means[::-1])]"),
        ("the folds' scores are added up, not averaged", "np.mean(scores)", "sum(scores)"),
        ("the best fold counts, not the mean", "np.mean(scores)", "max(scores)"),
        ("folds count by their number of rows, not alike", "scores.append(score(setting, learn, "
         "asked))", "scores.extend([score(setting, learn, asked)] * len(asked))"),
        ("the mean of the best setting alone is returned, not all means",
         "np.nanargmax(means)], means", "np.nanargmax(means)], np.nanmax(means)"),
        ("one name is varied at a time, the others keep their first value", """
            def search(grid, n_rows, n_folds, score):
                settings, means = [], []
                for name in grid:
                    for value in grid[name]:
                        setting = {other: grid[other][0] for other in grid}
                        setting[name] = value
                        settings.append(setting)
                for setting in settings:
                    scores = []
                    for fold in range(n_folds):
                        learn = [n for n in range(n_rows) if n % n_folds != fold]
                        asked = [n for n in range(n_rows) if n % n_folds == fold]
                        scores.append(score(setting, learn, asked))
                    means.append(np.mean(scores))
                return settings[np.nanargmax(means)], means"""),
    ),
)  # fmt: skip

# ---- 24.4


def autoencoder_cases(rng):
    def case(group, n, m, d, k, steps, spread=1.0, shift=0.0, large=1.0):
        x = spread * numbers(rng, n, d) + shift
        new = spread * numbers(rng, m, d) + shift
        start = np.round(large * rng.uniform(0.1, 0.6, (d, k)) * rng.choice([-1, 1], (d, k)), 2)
        # Small beside the largest variance and the weights, so that the loss falls.
        size = ((x - x.mean(axis=0)) ** 2).sum() / n
        rate = float(np.round(0.05 / max(size, 0.05) / large**2, 6))
        return group, x, new, start, rate, steps

    one = np.array([[1.0, 0.0], [-1.0, 0.0]])
    yield "by hand", one, np.array([[4.0, 2.0]]), np.ones((2, 1)), 0.25, 1
    yield "by hand", one, np.array([[4.0, 2.0], [-3.0, 5.0]]), np.ones((2, 1)), 0.25, 2
    yield case("one code", 6, 3, 3, 1, 1)
    yield case("one code", 5, 4, 2, 1, 10)
    yield case("several codes", 7, 3, 4, 2, 1)
    yield case("several codes", 8, 5, 3, 3, 5)
    yield case("several codes", 6, 2, 2, 3, 4)
    yield case("large first weights", 6, 3, 3, 2, 4, large=6.0)
    yield case("large first weights", 5, 3, 2, 1, 3, 1.0, 2.0, 8.0)
    yield case("no step", 4, 3, 3, 2, 0)
    yield case("no step", 4, 3, 3, 1, 0, shift=1.5)
    yield case("means far from 0", 6, 4, 3, 2, 3, 0.5, 3.0)
    yield case("means far from 0", 6, 4, 2, 1, 8, 0.5, -3.0)
    yield case("one new row", 6, 1, 3, 2, 3, shift=1.0)
    yield case("no new row", 5, 0, 3, 2, 3)
    yield case("one column", 5, 3, 1, 1, 6)
    yield case("one row that learns", 1, 3, 3, 2, 4)
    yield case("small numbers", 6, 3, 3, 2, 5, 0.01)
    yield case("many steps", 9, 4, 4, 2, 150)
    yield case("many rows", 140, 3, 2, 1, 3)
    yield case("many new rows", 4, 130, 2, 1, 3)
    yield case("many columns", 6, 2, 40, 2, 3)


def autoencoder_reference(x, x_new, start, rate, steps):
    n, d = x.shape
    k = start.shape[1]
    mean = [math.fsum(x[:, j]) / n for j in range(d)]
    z = [[float(row[j]) - mean[j] for j in range(d)] for row in x]
    w = [[float(value) for value in row] for row in start]
    for _ in range(steps):
        slope = [[0.0] * k for _ in range(d)]
        for row in z:
            code = [sum(row[j] * w[j][c] for j in range(d)) for c in range(k)]
            error = [sum(code[c] * w[j][c] for c in range(k)) - row[j] for j in range(d)]
            to_code = [sum(error[j] * w[j][c] for j in range(d)) for c in range(k)]
            for j in range(d):
                for c in range(k):
                    slope[j][c] += 2 / n * (error[j] * code[c] + row[j] * to_code[c])
        for j in range(d):
            for c in range(k):
                w[j][c] -= rate * slope[j][c]
    w = np.array(w)
    codes = np.array([[sum((row[j] - mean[j]) * w[j, c] for j in range(d)) for c in range(k)]
                      for row in x_new]).reshape(len(x_new), k)  # fmt: skip
    return codes, codes @ w.T + np.array(mean)


AUTOENCODER = Task(
    id="24.4",
    cases=autoencoder_cases,
    reference=autoencoder_reference,
    equal=(
        ("keepdims=True", "one row is taken off as its numbers are"),
        ("-> w = w - rate * 2 / len(x) * (z.T", "the array is the answer's own"),
        ("-> w -= rate * 2 * slope", "the array is the answer's own"),
        ("-> slope = slope + (", "the array is the answer's own"),
        ("(mean - x, start.copy())", "z enters the gradient twice"),
        ("for row in mean - x:", "z enters the gradient twice"),
        ("x = x[::-1]", "a mean has no order"),
        ("list(x - mean)[::-1]", "a sum has no order"),
        ("rate = abs(rate)", "it is above 0"),
        ("-> second = (x - middle).T @ (x + middle) /", "deviations add up to 0"),
        ("-> second = (x - middle).T @ x /", "deviations add up to 0"),
        ("-> second = (x + middle).T @ (x - middle) /", "deviations add up to 0"),
        ("-> second = x.T @ (x - middle) /", "deviations add up to 0"),
        ("-> w = start", "w becomes another array in each step"),
    ),
    hints=(
        "Write L first, for a w of two numbers, and where w stands in it. A small change of w "
        "changes both the code and what is rebuilt from it.",
        "With e = z @ w @ w.T - z, the decoder's part is e.T @ (z @ w), the encoder's part "
        "z.T @ (e @ w); both together, times 2/N.",
        "mean = x.mean(axis=0); w = start.copy(); in each step w -= rate * 2 / len(x) * (z.T @ (e "
        "@ w) + e.T @ (z @ w)); then codes = (x_new - mean) @ w and codes @ w.T + mean.",
    ),
    right=(
        """
        def autoencode(x, x_new, start, rate, steps):
            mean = x.mean(axis=0)
            z, w = x - mean, start.copy()
            for _ in range(steps):
                e = z @ w @ w.T - z
                w -= rate * 2 / len(x) * (z.T @ (e @ w) + e.T @ (z @ w))
            codes = (x_new - mean) @ w
            return codes, codes @ w.T + mean""",
        """
        def autoencode(x, x_new, start, rate, steps):
            middle = x.sum(axis=0) / len(x)
            second = (x - middle).T @ (x - middle) / len(x)
            w = start
            for _ in range(steps):
                gap = w @ w.T - np.eye(len(w))
                w = w - 2 * rate * (second @ gap + gap @ second) @ w
            codes = np.array([(row - middle) @ w for row in x_new]).reshape(-1, w.shape[1])
            return codes, middle + codes @ w.T""",
        """
        def autoencode(x, x_new, start, rate, steps):
            mean = np.mean(x, axis=0)
            w = np.array(start)
            for _ in range(steps):
                slope = np.zeros(w.shape)
                for row in x - mean:
                    code = row @ w
                    error = w @ code - row
                    slope += np.outer(error, code) + np.outer(row, error @ w)
                w = w - rate * 2 * slope / len(x)
            codes = np.einsum("nd,dk->nk", x_new - mean, w)
            return [codes, np.einsum("nk,dk->nd", codes, w) + mean]""",
    ),
    wrong=(
        ("the mean of the new rows is taken off them, and that of x put back, a leak",
         "(x_new - mean) @ w", "(x_new - x_new.mean(axis=0)) @ w"),
        ("the mean of the new rows is taken off them and put back, a leak",
         "codes = (x_new", "mean = x_new.mean(axis=0)\n            codes = (x_new"),
        ("the mean of old and new rows together is learned, a leak", "mean = x.mean(axis=0)",
         "mean = np.concatenate([x, x_new]).mean(axis=0)"),
        ("no mean is taken off the rows that learn", "z, w = x - mean", "z, w = x"),
        ("the mean is not put back into what is rebuilt", "codes @ w.T + mean", "codes @ w.T"),
        ("no mean is taken off the new rows", "(x_new - mean) @ w", "x_new @ w"),
        ("the gradient of the decoder alone is taken", "z.T @ (e @ w) + ", ""),
        ("the gradient of the encoder alone is taken", " + e.T @ (z @ w)", ""),
        ("the factor 2 of the square is missing", "rate * 2 /", "rate /"),
        ("the sum over the rows is taken, not their mean", "rate * 2 / len(x)", "rate * 2"),
        ("the mean goes over all numbers, not over the rows", "/ len(x)", "/ x.size"),
        ("the weights go up the slope", "w -= rate", "w += rate"),
        ("start is changed in place", "start.copy()", "start"),
        ("one step too many is made", "range(steps)", "range(steps + 1)"),
        ("one step is made, however many are asked for", "range(steps)", "range(min(steps, 1))"),
        ("the gradient of the start is used in every step",
         "            for _ in range(steps):\n                e = z @ w @ w.T - z\n"
         "                w -= rate * 2 / len(x) * (z.T @ (e @ w) + e.T @ (z @ w))\n",
         "            e = z @ w @ w.T - z\n"
         "            w -= steps * rate * 2 / len(x) * (z.T @ (e @ w) + e.T @ (z @ w))\n"),
        ("the columns are divided by their deviations too", "z, w = x - mean, start.copy()",
         "z, w = (x - mean) / np.maximum(x.std(axis=0), 1e-9), start.copy()"),
        ("the new rows train the weights too", "z, w = x - mean",
         "z, w = np.concatenate([x, x_new]) - mean"),
        ("the rebuilt rows come first, then the codes", "codes, codes @ w.T + mean",
         "codes @ w.T + mean, codes"),
    ),
)  # fmt: skip

TASKS = [CODES, COMPARE, SEARCH, AUTOENCODER]
