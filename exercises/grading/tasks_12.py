"""The tasks of lesson 12: means that run, a rate, early stopping, a plateau, and a resumed run."""

import json
import math

import numpy as np

from .task import Task

# ---- 12.1


def mean_cases(rng):
    def case(group, n, least=1, most=65, scale=1.0):
        means = (scale * np.round(rng.uniform(0, 3, n), 6)).tolist()
        return group, means, rng.integers(least, most, n).tolist()

    yield "by hand", [0.5, 1.0], [64, 4]
    yield "by hand", [2.0, 1.0, 4.0], [1, 2, 1]
    yield case("one batch", 1)
    yield "one batch", [float(np.round(rng.uniform(1, 2), 3))], [1]
    yield case("several batches", 3)
    yield case("several batches", 7)
    yield case("several batches", 12, 1, 9)
    yield "batches of one size", np.round(rng.uniform(0, 1, 5), 3).tolist(), [32] * 5
    yield "batches of one size", np.round(rng.uniform(0, 1, 4), 3).tolist(), [1] * 4
    yield case("empty batches", 9, 0, 3)
    yield "empty batches", [3.0, 1.0, 2.0, 4.0], [0, 2, 0, 6]
    yield "empty batches", [3.0, 1.0], [0, 0]
    yield "empty batches", [3.0, math.nan, 1.0], [2, 0, 2]
    yield "empty batches", [math.nan, 2.0], [0, 5]
    yield "empty batches", [1.5, math.inf, 2.5, math.nan], [1, 0, 3, 0]
    yield "empty batches", [-math.inf, 2.5, -math.inf], [0, 3, 0]
    yield "no batch", [], []
    yield "below 0", [-2.0, -1.0, -4.0], [3, 1, 5]
    yield "below 0", [-0.5, -3.25], [1, 7]
    yield case("large batches", 4, 200, 400)
    yield case("large batches", 5, 10**6, 10**7)
    yield case("large and small means", 4, 1, 65, 1e-9)
    yield case("large and small means", 5, 1, 65, 1e100)
    yield case("large and small means", 3, 1, 65, -1e20)
    yield "a mean of 0", [0.0, float(np.round(rng.uniform(1, 2), 3))], [3, 1]
    yield "a mean of 0", [1.0, -1.0, float(np.round(rng.uniform(1, 2), 3))], [2, 2, 1]
    yield case("many batches", 300, 1, 9)
    yield case("many batches", 900, 0, 4)


def mean_reference(means, sizes):
    found = []
    for i in range(len(means)):
        pairs = [(m, n) for m, n in zip(means[: i + 1], sizes) if n]
        n = sum(n for _, n in pairs)
        found.append(math.fsum(m * n for m, n in pairs) / n if n else 0.0)
    return found


MEAN = Task(
    id="12.1",
    replaces="train.steps.mean",
    cases=mean_cases,
    reference=mean_reference,
    atol=1e-18,
    hints=(
        "The mean of 10 samples is 3. Two more come, with the mean 6. What is the sum of all 12?",
        "mean * seen is the sum so far; add m * n to it, and divide by seen + n. What must not "
        "happen when n is 0?",
        "if n: mean = (mean * seen + m * n) / (seen + n); seen = seen + n.",
    ),
    right=(
        """
        def running_means(means, sizes):
            mean, seen, found = 0.0, 0, []
            for m, n in zip(means, sizes):
                if n > 0:
                    mean = (mean * seen + m * n) / (seen + n)
                    seen = seen + n
                found.append(mean)
            return found""",
        """
        def running_means(means, sizes):
            m, n = np.array(means, dtype=float), np.array(sizes, dtype=float)
            sums, counts = np.cumsum(np.where(n > 0, m, 0) * n), np.cumsum(n)
            return sums / np.maximum(counts, 1)""",
        """
        def running_means(means, sizes):
            result = []
            total = seen = 0
            for i in range(len(means)):
                if sizes[i] != 0:
                    total += means[i] * sizes[i]
                    seen += sizes[i]
                result += [total / seen if seen else 0]
            return result""",
    ),
    equal=(
        ("np.where(n > 0, m, 1)", "it is multiplied by 0"),
        ("(0, 0.0, [])", "numbers, which become what is added to them"),
        ("-> seen += n", "a number"),
        ("m, n = (means, np.array(", "np.where makes an array of it"),
        ("total = total + means", "a number"),
        ("seen = seen + sizes", "a number"),
        ("result = result + [total", "the list is its own"),
        ("`dtype=float` left out", "the means are no whole numbers"),
    ),
    wrong=(
        ("each batch counts alike, however many samples it has",
         "(mean * seen + m * n) / (seen + n)", "(mean * len(found) + m) / (len(found) + 1)"),
        ("each batch counts alike, an empty one too", """
            def running_means(means, sizes):
                mean, found = 0.0, []
                for m, n in zip(means, sizes):
                    mean = (mean * len(found) + m) / (len(found) + 1)
                    found.append(mean)
                return found"""),
        ("the mean of the last batch is given, not of all so far",
         "(mean * seen + m * n) / (seen + n)", "m"),
        ("only the mean at the end is returned", "return found", "return found[-1:]"),
        ("the means of empty batches are counted as if they held a sample",
         "if n > 0:", "n = max(n, 1)\n                if n > 0:"),
        ("an empty batch, whose mean may be no number, spoils the mean",
         "if n > 0:", "if seen + n > 0:"),
        ("a batch of 0 samples is worked in like any other; it must leave the mean as it is",
         "if n > 0:", "if True:"),
        ("an empty batch is multiplied by 0, but 0 times nan is nan", """
            def running_means(means, sizes):
                total, seen, found = 0.0, 0, []
                for m, n in zip(means, sizes):
                    total, seen = total + m * n, seen + n
                    found.append(total / seen if seen else 0.0)
                return found"""),
        ("nothing is returned for an empty batch", "                found.append(mean)",
         "                    found.append(mean)"),
        ("a running average is taken, in which old batches are forgotten",
         "(mean * seen + m * n) / (seen + n)", "m if not seen else 0.9 * mean + 0.1 * m"),
        ("the samples so far are not counted on", "seen = seen + n", "seen = n"),
        ("the sums of the batches are returned, not divided",
         "(mean * seen + m * n) / (seen + n)", "mean + m * n"),
        ("an empty batch whose mean is inf spoils the mean", """
            def running_means(means, sizes):
                mean, seen, found = 0.0, 0, []
                for m, n in zip(means, sizes):
                    if m == m:
                        seen += n
                        if seen:
                            mean += (m - mean) * n / seen
                    found.append(mean)
                return found"""),
    ),
)  # fmt: skip

# ---- 12.2


def rate_cases(rng):
    def rates(n, low=1e-4, high=10.0):
        return [float(r) for r in np.geomspace(low, high, n)]

    def case(group, losses, *ends):
        return group, rates(len(losses), *ends), [float(v) for v in losses]

    def curve(n, fall, rise):
        steps = np.r_[rng.uniform(-0.01, 0.01, n), -rng.uniform(0.05, 0.5, fall),
                      rng.uniform(0.05, 2, rise)]  # fmt: skip
        return np.round(3 + np.cumsum(steps), 4)

    yield case("by hand", [2.0, 1.9, 1.4, 1.2, 3.0])
    yield case("by hand", [5, 4, 2, 1, 9])
    yield "by hand", rates(6), [5, 4, 2, 1.5, 40, 7]
    for n, fall, rise in (4, 5, 3), (1, 3, 6), (20, 12, 9), (60, 40, 20):
        yield case("level, down, up", curve(n, fall, rise))
    yield case("it falls to the end", curve(3, 6, 0))
    yield case("it falls to the end", [9, 8, 6, 3])
    yield case("it falls to the end", [2.0, 1.0])
    yield case("a larger fall behind the lowest", [5, 4, 2, 1.5, 40, 7, 30, 3])
    yield case("a larger fall behind the lowest", [*curve(3, 4, 2), 80.0, 20.0, 60.0, 10.0])
    yield case("a larger fall behind the lowest", [4, 3.5, 1, 50, 1, 20])
    yield case("ups on the way down", [5, 4.5, 4.75, 3, 3.5, 2, 9])
    yield case("ups on the way down", [5, 6, 4, 4.25, 1, 2])
    yield case("ups on the way down", np.round(rng.uniform(1, 9, 15), 3))
    yield case("ups on the way down", np.round(rng.uniform(1, 9, 40), 3))
    yield case("ups on the way down", [5, 9, 7, 5.5, 4, 6])
    yield case("ups on the way down", [2, 3, 2.5, 7, 5, 2.75, 1, 2])
    yield case("equal falls", [8, 6, 4, 2, 5])
    yield case("equal falls", [8, 7, 5, 4, 2, 9])
    yield case("the lowest comes twice", [5, 4, 2, 8, 2, 9])
    yield case("the lowest comes twice", [6, 3, 3, 3])
    yield case("it never falls", [2.0, 2.5, 3.0, 9.0])
    yield case("it never falls", [2.0, 2.0, 2.0])
    yield case("it never falls", [1.0, 9.0, 3.0, 2.0])
    yield case("one rate", [2.3])
    yield case("no number", [3, 2.5, 1, math.nan])
    yield case("no number", [3, 2.5, 2, math.inf, 1, 0.5])
    yield case("no number", [3, 2.5, math.nan, 2, math.nan, 0.5])
    yield case("no number", [*curve(4, 5, 2), math.nan, math.nan])
    yield case("no number", [math.nan, 2, 1])
    yield case("no number", [math.inf, 2, 1])
    yield case("no number", [3, math.inf, 1, 0])
    yield case("no number", [math.nan])
    yield case("minus infinity", [3, 2.5, 1, -math.inf])
    yield case("minus infinity", [3, 2.5, 2, -math.inf, 1, 0.5])
    yield case("minus infinity", [-math.inf, 2, 1])
    yield case("minus infinity", [3, -math.inf, 1, 0])
    yield case("below 0", [1, -1, -4, -5, 2])
    yield case("below 0", -np.array([9.0, 8.5, 9.5, 12.0, 11.0]))
    yield case("below 0", -1e6 * np.array([1, 1 + rng.uniform(1, 2), 5, 7, 2]))
    yield case("small differences", 1e-16 * curve(2, 3, 1))
    yield case("other ends", curve(5, 5, 5), 1e-8, 1e-3)
    yield case("other ends", curve(5, 5, 5), 1.0, 1e6)
    yield case("small differences", 2 + 1e-9 * np.array([9.0, 8.0, 4.0, 3.0, 8.0]))
    yield case("small differences", 1e-7 * curve(4, 6, 3))
    yield case("large numbers", 1e30 * curve(4, 6, 3))


def rate_reference(rates, losses):
    n = 0
    while n < len(losses) and math.isfinite(losses[n]):
        n += 1
    low = 0
    for i in range(n):
        if losses[i] < losses[low]:
            low = i
    found, largest = None, 0.0
    for i in range(low):
        if losses[i] - losses[i + 1] > largest:
            found, largest = rates[i], losses[i] - losses[i + 1]
    return found


RATE = Task(
    id="12.2",
    cases=rate_cases,
    reference=rate_reference,
    atol=0.0,
    equal=(
        ("isfinite(losses)); losses = np.array(losses)", "NumPy makes arrays of lists"),
        ("losses.argmin() + 1 + 1", "behind the lowest there is a rise"),
        ("losses.argmin() + 2", "behind the lowest there is a rise"),
        ("losses.size < 1", "the lowest of one loss is the first"),
    ),
    hints=(
        "After the cut, where is the lowest loss? Nothing to the right of it counts.",
        "Of a list of losses up to the lowest one, the falls are the differences of neighbours. "
        "If there is none, the lowest was the first: None.",
        "low = losses.index(min(losses)); falls = [losses[i] - losses[i + 1] for i in range(low)]; "
        "then the rate at the place of the largest fall.",
    ),
    right=(
        """
        def choose_rate(rates, losses):
            finite = []
            for loss in losses:
                if not np.isfinite(loss):
                    break
                finite.append(loss)
            if not finite:
                return None
            low = finite.index(min(finite))
            falls = [finite[i] - finite[i + 1] for i in range(low)]
            if not falls:
                return None
            return rates[falls.index(max(falls))]""",
        """
        def choose_rate(rates, losses):
            losses = np.array(losses)
            bad = np.flatnonzero(~np.isfinite(losses))
            if bad.size:
                losses = losses[: bad[0]]
            if losses.size < 2 or losses.argmin() == 0:
                return None
            return rates[int(np.argmin(np.diff(losses[: losses.argmin() + 1])))]""",
        """
        def choose_rate(rates, losses):
            best = steepest = 0
            candidate = chosen = None
            for i in range(len(losses)):
                if losses[i] - losses[i] != 0:
                    break
                if i and losses[i - 1] - losses[i] > steepest:
                    candidate, steepest = rates[i - 1], losses[i - 1] - losses[i]
                if i == 0 or losses[i] < best:
                    best = losses[i]
                    chosen = candidate
            return chosen""",
    ),
    wrong=(
        ("the rate with the lowest loss is taken; it is at the edge already",
         "rates[falls.index(max(falls))]", "rates[low]"),
        ("the rate with the lowest loss is taken, even where that is the first", """
            def choose_rate(rates, losses):
                finite = []
                for loss in losses:
                    if not np.isfinite(loss):
                        break
                    finite.append(loss)
                return rates[finite.index(min(finite))] if finite else None"""),
        ("a tenth of the rate with the lowest loss is taken",
         "rates[falls.index(max(falls))]", "rates[low] / 10"),
        ("falls behind the lowest loss count too", "range(low)]", "range(len(finite) - 1)]"),
        ("the rate after the fall is taken, not the one before it",
         "rates[falls.index(max(falls))]", "rates[falls.index(max(falls)) + 1]"),
        ("the last of equal falls is taken; the first is wanted",
         "falls.index(max(falls))", "max(range(len(falls)), key=lambda i: (falls[i], i))"),
        ("the last of equal lowest losses ends the search; the first does",
         "finite.index(min(finite))",
         "len(finite) - 1 - finite[::-1].index(min(finite))"),
        ("what is no number is skipped, and the search goes on behind it",
         "break", "continue"),
        ("the search stops at nan, but not at inf", "not np.isfinite(loss)", "np.isnan(loss)"),
        ("the search does not stop at -inf, which counts as the lowest loss",
         "not np.isfinite(loss)", "not loss < np.inf"),
        ("the first place, 0, counts as no place found",
         "return rates[falls.index(max(falls))]",
         "return rates[falls.index(max(falls))] if falls.index(max(falls)) else None"),
        ("the first rate is returned where the loss never falls",
         "if not falls:\n                return None",
         "if not falls:\n                return rates[0]"),
        ("the fall is taken relative to the loss", "finite[i] - finite[i + 1]",
         "(finite[i] - finite[i + 1]) / (abs(finite[i]) + 1e-12)"),
        ("the largest change is taken, up or down", "finite[i] - finite[i + 1] for",
         "abs(finite[i] - finite[i + 1]) for"),
        ("a fall over two rates is looked for", "finite[i] - finite[i + 1] for",
         "finite[i] - finite[min(i + 2, len(finite) - 1)] for"),
    ),
)  # fmt: skip

# ---- 12.3


def stop_cases(rng):
    def case(group, losses, patience, epochs=None, shape=(2,)):
        losses = [float(loss) for loss in losses]
        epochs = len(losses) if epochs is None else epochs
        table = rng.uniform(-5, 5, (len(losses) + 1, *shape)).round(3)
        return group, losses, table, patience, epochs

    def noisy(n, low):
        falls = np.linspace(3, 1, low)
        return np.round(np.r_[falls, 1 + rng.uniform(0.01, 2, n - low)], 4)

    yield case("by hand", [3, 2, 4, 5, 1], 2)
    yield case("by hand", [3, 2, 4, 1, 5, 6, 0], 2)
    yield "by hand", [3, 2, 4, 5, 1], rng.uniform(-5, 5, (6, 1)).round(3), 2, 5
    yield case("it stops", noisy(12, 4), 3)
    yield case("it stops", noisy(20, 7), 5)
    yield case("it stops", noisy(9, 2), 1)
    yield case("it stops", noisy(60, 10), 30)
    yield case("all epochs", [5, 4, 3, 2], 2)
    yield case("all epochs", [5, 4, 6, 3, 7, 2, 9], 2)
    yield case("all epochs", noisy(9, 5), 4)
    yield case("all epochs", noisy(9, 5), 7)
    yield case("all epochs", np.linspace(9, 1, 40), 1)
    yield case("fewer epochs", [5, 4, 3, 2, 1], 3, 2)
    yield case("fewer epochs", [5, 4, 6, 2, 1], 3, 3)
    yield case("no epoch", [5, 4], 1, 0)
    yield case("one epoch", [5], 1)
    yield case("one epoch", [math.nan], 1)
    yield case("waits anew", [5, 6, 4, 6, 6, 3, 7, 7, 7, 1], 3)
    yield case("waits anew", [9, 10, 10, 8, 9, 9, 7, 9, 9, 6, 9, 9, 5], 3)
    yield case("equal is not better", [4, 4, 4, 1], 2)
    yield case("equal is not better", [5, 3, 3, 3, 3, 2], 3)
    yield case("equal is not better", [5, 3, 4, 3, 2], 3)
    yield case("better than the last, not than the best", [2, 9, 8, 7, 6, 1], 3)
    yield case("better than the last, not than the best", [2, 5, 4, 3, 1], 2)
    yield case("no number", [3, math.nan, 2, math.nan, math.nan, 1], 2)
    yield case("no number", [math.nan, math.nan, 3, 2], 3)
    yield case("no number", [math.nan, math.nan, 3, 2], 2)
    yield case("no number", [math.nan] * 4, 4)
    yield case("no number", [math.inf, 5, 6, math.nan, 1], 2)
    yield case("no number", [math.nan, 4, 2], 1)
    yield case("no number", [math.inf, math.inf, math.inf], 2)
    yield case("minus infinity", [3, -math.inf, 2, 1], 2)
    yield case("minus infinity", [-math.inf, -math.inf, 3, 2], 2)
    yield case("minus infinity", [-math.inf, 5, 6, -math.inf, 1], 3)
    yield case("below 0", [-1, -3, -2, -2.5, -9], 2)
    yield case("below 0", [1, 0, -1, 0, 0, 0], 3)
    yield case("a loss of 0", [0, 4, 5, 6], 3)
    yield case("a loss of 0", [3, 0, 4, 1, 2, 5], 4)
    for size in 1e12, 1e120:
        yield case("large losses", size * rng.uniform(1, 9, 5).round(3), 3)
    group, losses, table, *rest = case("large weights", noisy(5, 2), 2)
    yield group, losses, 1e60 * table, *rest
    yield case("small steps", 1e-15 * np.array([9, 8, 9, 7, 9, 9, 9, 1]), 3)
    yield case("small steps", [1, 1 - 1e-9, 1, 1 - 2e-9, 1, 1, 0], 2)
    yield case("small steps", [1e-9, 2e-9, 0.5e-9, 1e-9, 1e-9, 0], 2)
    yield case("other shapes", noisy(8, 3), 2, None, (2, 3))
    yield case("other shapes", noisy(8, 3), 2, None, (1,))
    yield case("other shapes", noisy(8, 3), 2, None, (1, 1))
    yield case("many epochs", noisy(400, 200), 150)


RESULT, CALLS = "it returned", "calls of train_epoch"
GOES_ON = "each epoch goes on from the one before"


def told(answer, losses, table, patience, epochs):
    """What came back, and what the training that the answer was given has been through."""
    given = []

    def train_epoch(weights):
        n = len(given)
        if n >= len(losses):
            raise RuntimeError("train_epoch was called more often than there are epochs")
        given.append(np.array_equal(weights, table[n]))
        return table[n + 1].copy(), losses[n]

    found = answer(train_epoch, table[0].copy(), patience, epochs)
    return {RESULT: found, CALLS: len(given), GOES_ON: all(given)}


def stop_reference(losses, table, patience, epochs):
    best, at, done = math.inf, 0, 0
    for n in range(epochs):
        done = n + 1
        if math.isfinite(losses[n]) and losses[n] < best:
            best, at = losses[n], n + 1
        elif n + 1 - at >= patience:
            break
    return {RESULT: (done, table[at]), CALLS: done, GOES_ON: True}


STOP = Task(
    id="12.3",
    replaces="train.callbacks.EarlyStopping",
    cases=stop_cases,
    reference=stop_reference,
    drive=told,
    atol=1e-12,
    equal=(
        ("-> done += 1", "a number"),
        ("-> waited += 1", "a number"),
        ("kept = ([], [weights])", "each epoch gives an array of its own"),
        ("kept.append(after)", "each epoch gives an array of its own"),
        ("list(losses[:-1])[::-1]", "the lowest is the same in any order"),
        ("since += 1; if abs(value)", "a better epoch sets it to 0 again"),
    ),
    hints=(
        "Three things must be remembered: the best loss so far, the weights of that epoch, and how "
        "many epochs have passed since.",
        "Each epoch begins with the weights of the one before, also when that was worse; so the "
        "best need a name of their own. A loss counts if np.isfinite(loss), and is better if it is "
        "below the best.",
        "weights, loss = train_epoch(weights); if np.isfinite(loss) and loss < best: best, kept, "
        "waited = loss, weights, 0; else: waited += 1, and break if waited == patience. It begins "
        "with best = inf.",
    ),
    right=(
        """
        def early_stop(train_epoch, weights, patience, epochs):
            best, kept, waited, done = np.inf, weights, 0, 0
            while done < epochs and waited < patience:
                weights, loss = train_epoch(weights)
                done = done + 1
                if np.isfinite(loss) and loss < best:
                    best, kept, waited = loss, weights, 0
                else:
                    waited = waited + 1
            return done, kept""",
        """
        def early_stop(train_epoch, weights, patience, epochs):
            losses, kept = [], [np.array(weights)]
            at = 0
            for n in range(1, epochs + 1):
                after, loss = train_epoch(kept[-1])
                losses.append(loss)
                kept.append(np.array(after))
                before = [v for v in losses[:-1] if v - v == 0] + [float("inf")]
                if -float("inf") < loss < min(before):
                    at = n
                if n - at >= patience:
                    break
            return len(losses), kept[at]""",
        """
        def early_stop(train_epoch, weights, patience, epochs):
            saved, best, since = weights, None, 0
            for n in range(epochs):
                weights, value = train_epoch(weights)
                if abs(value) < float("inf") and (best is None or value < best):
                    best = value
                    saved = weights
                    since = 0
                    continue
                since += 1
                if since == patience:
                    return n + 1, saved
            return epochs, saved""",
    ),
    wrong=(
        ("the last weights are returned, not the best", "return done, kept",
         "return done, weights"),
        ("after a worse epoch training goes on from the best weights, not from the last",
         "waited = waited + 1", "waited = waited + 1\n                    weights = kept"),
        ("every epoch begins with the weights of the start", "train_epoch(weights)",
         "train_epoch(first)", "waited, done = np.inf, weights, 0, 0",
         "waited, done = np.inf, weights, 0, 0\n            first = weights"),
        ("the loss is compared with the last one, not with the best",
         "waited = waited + 1", "waited = waited + 1\n                    best = loss"),
        ("an equal loss counts as better", "loss < best", "loss <= best"),
        ("it waits one epoch too long", "waited < patience", "waited <= patience"),
        ("the waiting is not counted anew after a better epoch",
         "kept, waited = loss, weights, 0", "kept = loss, weights"),
        ("the best epoch is given, not how many were run",
         "return done, kept", "return at, kept",
         "kept, waited = loss, weights, 0", "kept, waited, at = loss, weights, 0, done",
         "waited, done = np.inf, weights, 0, 0", "waited, done, at = np.inf, weights, 0, 0, 0"),
        ("nan counts as better than what was before", "if np.isfinite(loss) and loss < best:",
         "if not loss >= best and abs(loss) != np.inf:"),
        ("-inf counts as better than what was before", "np.isfinite(loss) and ", ""),
        ("a loss that is no number ends the run at once", "done = done + 1",
         "done = done + 1\n                if loss != loss: break"),
        ("a loss must be better by a margin to count", "loss < best:", "loss < best - 1e-6:"),
        ("it stops at the first epoch that is not better", "waited < patience", "waited < 1"),
        ("the loss of the best epoch is returned with it, not its weights",
         "return done, kept", "return done, best"),
        ("the weights from before the best epoch are returned",
         "weights, loss = train_epoch(weights)",
         "old = weights; weights, loss = train_epoch(weights)",
         "waited = loss, weights, 0", "waited = loss, old, 0"),
        ("the first epoch sets the lowest loss even if it is nan, and nothing is below nan", """
            def early_stop(train_epoch, weights, patience, epochs):
                if epochs == 0:
                    return 0, weights
                start = weights
                weights, lowest = train_epoch(weights)
                n, waited, best = 1, 0, weights
                if not np.isfinite(lowest):
                    waited, best = 1, start
                while n < epochs and waited < patience:
                    weights, loss = train_epoch(weights)
                    n += 1
                    if loss < lowest:
                        best, lowest, waited = weights, loss, 0
                    else:
                        waited += 1
                return n, best"""),
    ),
)  # fmt: skip

# ---- 12.4


def plateau_cases(rng):
    def case(group, losses, lr=0.1, factor=0.5, patience=2, lowest=0.0):
        return group, [float(loss) for loss in losses], lr, factor, patience, lowest

    def noisy(n):
        return np.round(rng.uniform(1, 9, n), 3)

    yield case("by hand", [3, 2, 4, 5, 1])
    yield case("by hand", [3, 4, 5, 6, 7])
    yield "by hand", [3, 2, 4, 5, 1], 1, 0.5, 2, 0
    yield case("it improves", [5, 4, 3, 2])
    yield case("it improves", np.linspace(9, 1, 30), 0.3, 0.1, 1)
    yield case("it falls", [2, 3, 3, 3, 3, 3, 3, 3], 0.3, 0.1, 3)
    yield case("it falls", [2, 3, 4, 5, 6, 7], 1.0, 0.5, 1)
    yield case("it falls", noisy(25), 0.2, 0.7, 2)
    yield case("it falls", noisy(60), 0.2, 0.9, 4)
    yield case("it falls", noisy(40), 3.0, 0.3, 6)
    yield case("better than the last, not than the best", [2, 9, 8, 7, 6, 5, 4], 0.1, 0.5, 3)
    yield case("better than the last, not than the best", [1, 5, 4, 3, 2, 0.5], 0.1, 0.5, 2)
    yield case("equal is not better", [4, 4, 4, 4, 4])
    yield case("equal is not better", [4, 3, 3, 3, 2, 2, 2], 0.1, 0.1, 2)
    yield case("waits anew", [5, 6, 4, 6, 6, 3, 7, 7, 2, 9], 0.1, 0.5, 3)
    yield case("waits anew", [5, 6, 4, 6, 3, 6, 2, 6, 6, 6], 0.1, 0.5, 2)
    yield case("not below the lowest", [2] * 9, 0.1, 0.5, 1, 0.03)
    yield case("not below the lowest", [2] * 9, 0.1, 0.1, 2, 0.02)
    yield case("not below the lowest", [2] * 7, 0.1, 0.5, 1, 0.1)
    yield case("not below the lowest", noisy(30), 0.5, 0.5, 2, 0.01)
    yield case("no number", [3, math.nan, math.nan, 2, math.nan, 1])
    yield case("no number", [math.nan, 3, 4, 5, 2])
    yield case("no number", [math.nan, math.nan, math.nan, 4, 5, 5], 0.1, 0.5, 3)
    yield case("no number", [3, math.nan, 5, 6, 7])
    yield case("no number", [2, math.nan, 3, 1, math.nan, 4, 4], 0.1, 0.5, 3)
    yield case("no number", [math.inf, 9, math.inf, math.inf, 8])
    yield case("no number", [math.inf, math.inf, 9, 10])
    yield case("minus infinity", [3, -math.inf, 2, 1])
    yield case("minus infinity", [3, -math.inf, 4, 2, 3, 3])
    yield case("minus infinity", [-math.inf, -math.inf, 3, 2, 3, 3])
    yield case("none", [])
    yield case("one", [4], 0.1, 0.5, 1)
    yield case("below 0", [-1, -3, -2, -2, -4, -4, -4])
    yield case("below 0", [1, 0, -1, 0, 0, 0, 0], 0.1, 0.5, 2)
    yield case("small steps", [1, 1 - 1e-9, 1 - 2e-9, 1 - 3e-9, 1], 0.1, 0.5, 1)
    yield case("small steps", [3e-9, 2e-9, 1e-9, 2e-9, 2e-9, 0], 0.1, 0.5, 2)
    yield case("small rates", [2] * 8, 1e-7, 0.1, 2)
    yield case("small rates", [2] * 8, float(1e-13 * rng.uniform(1, 3)), 0.5, 2)
    yield case("small steps", 1e-14 * np.array([9, 8, 7, 6, 5, 4, 3]), 0.1, 0.5, 1)
    yield case("a loss of 0", [0, 1, 2, 3, 2, 1], 0.1, 0.5, 2)
    yield case("a loss of 0", [3, 0, 1, 2, 3, 1], 0.1, 0.5, 2)
    for size in 1e12, 1e120:
        yield case("large losses", size * rng.uniform(1, 9, 6).round(3), 0.1, 0.5, 1)
    yield case("many", [2] * 400, 1.0, 0.9, 150)
    yield case("many", noisy(300), 1.0, 0.95, 5)


def plateau_reference(losses, lr, factor, patience, lowest):
    rates, since = [], 0  # the epoch after which the waiting began
    for n, loss in enumerate(losses, 1):
        before = [other for other in losses[: n - 1] if math.isfinite(other)]
        if -math.inf < loss < min(before, default=math.inf):
            since = n
        elif n - since == patience:
            lr, since = max(lr * factor, lowest), n
        rates.append(lr)
    return rates


PLATEAU = Task(
    id="12.4",
    replaces="train.callbacks.ReduceOnPlateau",
    cases=plateau_cases,
    reference=plateau_reference,
    atol=1e-20,
    hints=(
        "As in 12.3: the best loss so far, and how many epochs have been waited for. Only what "
        "happens at the end of the patience differs.",
        "When the patience is over the rate is multiplied and cut off at the lowest, and the "
        "waiting begins again at 0. The best loss stays what it is.",
        "if np.isfinite(loss) and loss < best: best, waited = loss, 0; else: waited += 1; if "
        "waited == patience: lr, waited = max(lr * factor, lowest), 0. Then append lr.",
    ),
    right=(
        """
        def plateau_rates(losses, lr, factor, patience, lowest):
            best, waited, rates = np.inf, 0, []
            for loss in losses:
                if np.isfinite(loss) and loss < best:
                    best, waited = loss, 0
                else:
                    waited = waited + 1
                if waited == patience:
                    lr, waited = max(lr * factor, lowest), 0
                rates.append(lr)
            return rates""",
        """
        def plateau_rates(losses, lr, factor, patience, lowest):
            rates = np.zeros(len(losses))
            left = patience
            record = float("inf")
            for i in range(len(losses)):
                left -= 1
                if -float("inf") < losses[i] < record:
                    record = losses[i]
                    left = patience
                if left == 0:
                    lr *= factor
                    if lr < lowest:
                        lr = lowest
                    left = patience
                rates[i] = lr
            return rates""",
        """
        def plateau_rates(losses, lr, factor, patience, lowest):
            def better(n):
                known = [v for v in losses[: n + 1] if v - v == 0]
                return losses[n] in known and losses[n] < min([*known[:-1], float("inf")])
            rates, cuts, last = [], 0, -1
            for n in range(len(losses)):
                if better(n):
                    last = n
                elif n - last >= patience:
                    cuts, last = cuts + 1, n
                rates.append(max(lr * factor**cuts, lowest))
            return rates""",
    ),
    equal=(
        ("factor = abs(factor)", "it lies between 0 and 1"),
        ("lr = abs(lr)", "it is above 0"),
        ("lowest = abs(lowest)", "it is 0 or above"),
        ("-> waited += 1", "a number"),
        ("lr = lr * factor", "a number"),
        ("if lr <= lowest", "at the lowest it stays there"),
        ("np.ones(len(losses))", "every element is written over"),
    ),
    wrong=(
        ("the loss is compared with the last one, not with the best",
         "waited = waited + 1", "waited = waited + 1\n                    best = loss"),
        ("an equal loss counts as better", "loss < best", "loss <= best"),
        ("after a cut the waiting does not begin again", "max(lr * factor, lowest), 0",
         "max(lr * factor, lowest), waited - 1"),
        ("the rate is cut one time only", "if waited == patience:",
         "if waited == patience and lr == (rates or [lr])[0]:"),
        ("it waits one epoch too long", "waited == patience", "waited == patience + 1"),
        ("the lowest rate is ignored", "max(lr * factor, lowest)", "lr * factor"),
        ("the rate falls to the lowest at once", "max(lr * factor, lowest)", "lowest"),
        ("after a cut the best loss is forgotten", "lr, waited = max(lr * factor, lowest), 0",
         "lr, waited, best = max(lr * factor, lowest), 0, np.inf"),
        ("a better epoch does not end the waiting", "best, waited = loss, 0", "best = loss"),
        ("the rates during the epochs are given, not those after them",
         "return rates", "return ([start] + rates)[:-1]", "best, waited, rates = np.inf, 0, []",
         "best, waited, rates, start = np.inf, 0, [], lr"),
        ("the factor is subtracted", "lr * factor", "lr - factor"),
        ("the rate comes back up after a better epoch", "best, waited = loss, 0",
         "best, waited, lr = loss, 0, first",
         "best, waited, rates = np.inf, 0, []", "best, waited, rates, first = np.inf, 0, [], lr"),
        ("nan counts as better than what was before", "if np.isfinite(loss) and loss < best:",
         "if not loss >= best and abs(loss) != np.inf:"),
        ("-inf counts as better than what was before", "np.isfinite(loss) and ", ""),
        ("nan is not waited for", "waited = waited + 1", "waited = waited + (loss == loss)"),
        ("a loss must be better by a margin to count", "loss < best:", "loss < best - 1e-6:"),
        ("the first epoch sets the lowest loss even if it is nan, and nothing is below nan", """
            def plateau_rates(losses, lr, factor, patience, lowest):
                out, bad = [], 0
                for i, l in enumerate(losses):
                    if i == 0:
                        best = l
                        bad = 0 if np.isfinite(l) else 1
                    elif l < best:
                        best, bad = l, 0
                    else:
                        bad += 1
                    if bad == patience:
                        lr, bad = max(lr * factor, lowest), 0
                    out.append(lr)
                return out"""),
        ("a rate that would fall below the lowest stays; it falls to the lowest", """
            def plateau_rates(losses, lr, factor, patience, lowest):
                best, bad, out = float("inf"), 0, []
                for l in losses:
                    if np.isfinite(l) and l < best:
                        best, bad = l, 0
                    else:
                        bad += 1
                        if bad == patience:
                            bad = 0
                            if lr * factor >= lowest:
                                lr *= factor
                    out.append(lr)
                return out"""),
    ),
)  # fmt: skip

# ---- 12.5


def resume_cases(rng):
    def case(group, n, d, size, parts, middle=False, most=1.0):
        x = rng.uniform(-most, most, (n, d)).round(3)
        y = rng.uniform(-2, 2, n).round(3)
        w, v = rng.uniform(-1, 1, d).round(3).tolist(), [0.0] * d
        order, step = [], 0
        if middle:
            v = rng.uniform(-1, 1, d).round(3).tolist()
            order = rng.permutation(n)[: int(rng.integers(1, n))].tolist()
            step = int(rng.integers(5, 40))
        start = {"w": w, "v": v, "seed": int(rng.integers(1000)), "order": order, "step": step}
        return group, start, x, y, size, parts

    yield case("no step", 4, 2, 2, [0])
    yield case("no step, then one", 4, 2, 2, [0, 1], True)
    yield case("one step", 1, 1, 1, [1])
    yield case("one step", 6, 2, 3, [1])
    yield case("within an epoch", 9, 2, 3, [3])
    yield case("within an epoch", 8, 1, 2, [3])
    yield case("several epochs", 6, 2, 2, [9])
    yield case("several epochs", 5, 3, 5, [7])
    yield case("a smaller last batch", 7, 2, 3, [3])
    yield case("a smaller last batch", 7, 2, 3, [10])
    yield case("a smaller last batch", 10, 1, 4, [7])
    yield case("a batch larger than the data", 4, 2, 9, [3])
    yield case("a state from the middle", 6, 2, 2, [1], True)
    yield case("a state from the middle", 9, 3, 4, [6], True)
    yield case("a state from the middle", 12, 1, 5, [4], True)
    yield case("several features", 9, 5, 4, [7], True)
    yield case("several features", 5, 30, 2, [4], False, 0.3)
    yield case("large batches", 60, 2, 45, [3])
    yield case("large batches", 90, 1, 40, [4], True)
    yield case("larger samples", 8, 1, 4, [5], False, 2.5)
    yield case("larger samples", 6, 2, 3, [3, 2], True, 3.0)
    yield case("in parts", 7, 2, 3, [2, 3, 1])
    yield case("in parts", 8, 2, 2, [1, 1, 1, 1, 1, 1])
    yield case("in parts", 10, 3, 4, [4, 2, 5], True)
    yield case("many steps", 20, 2, 3, [120])
    yield case("many steps", 300, 2, 1, [280, 40])


def driven(answer, start, x, y, size, parts):
    """What the written states hold that come out, one after the other."""
    state = {key: value for key, value in start.items() if key != "seed"}
    state["random"] = np.random.default_rng(start["seed"]).bit_generator.state
    text, found = json.dumps(state), []
    for steps in parts:
        text = answer(text, x, y, size, steps)
        state = json.loads(text)
        rng = np.random.default_rng(0)
        rng.bit_generator.state = state["random"]
        draws = rng.integers(0, 1000, 3).tolist()
        kept = {key: state[key] for key in ("w", "v", "order", "step")}
        found.append({**kept, "the next draws": draws})
    return found


def resume_reference(start, x, y, size, parts):
    rng = np.random.default_rng(start["seed"])
    w, v = [*start["w"]], [*start["v"]]
    order, step, found = [*start["order"]], start["step"], []
    for steps in parts:
        for _ in range(steps):
            if not order:
                order = rng.permutation(len(x)).tolist()
            batch, order = order[:size], order[size:]
            errors = [sum(x[i, d] * w[d] for d in range(len(w))) - y[i] for i in batch]
            for d in range(len(w)):
                g = 2 * sum(e * x[i, d] for e, i in zip(errors, batch)) / len(batch)
                v[d] = 0.9 * v[d] + g
                w[d] = w[d] - 0.1 * 0.99**step * v[d]
            step += 1
        peek = np.random.default_rng(0)
        peek.bit_generator.state = rng.bit_generator.state
        found.append({
            "w": [float(value) for value in w], "v": [float(value) for value in v],
            "order": [*order], "step": step, "the next draws": peek.integers(0, 1000, 3).tolist(),
        })  # fmt: skip
    return found


RESUME = Task(
    id="12.5",
    cases=resume_cases,
    reference=resume_reference,
    drive=driven,
    atol=1e-10,
    equal=(
        ("zip(new['v'], slope)]; rate = 0.1", "the rate does not depend on the velocity"),
        ("w -= 0.1 * 0.99 ** step", "the array is the function's own"),
        ("-> step += 1", "a number"),
        ("labels = np.stack([y[i] for i in new['order'][:size]]); inputs",
         "neither needs the other"),
        ("[:, None] * inputs).mean(axis=0); new['order']", "the batch is taken already"),
        ("new['step'] += 1; new['w']", "the rate is computed already"),
        ("for i in list(here)[::-1]", "the sum is the same in any order"),
        ("w -= v * (0.1", "the array is the function's own"),
        ("g = g + 2 / len(here)", "the array is the function's own"),
        ("(w @ x[i] - y[i])", "both are the same sum of products"),
    ),
    hints=(
        "First unpack: state = json.loads(text), arrays of w and v, a list of the order, the step, "
        "and a generator: rng = np.random.default_rng(); rng.bit_generator.state = "
        "state[\"random\"]. Last, pack: tolist() for arrays, rng.bit_generator.state for the "
        "generator, and json.dumps.",
        "Each step: if the order is empty, draw rng.permutation(len(x)).tolist(). The batch is "
        "order[:size], and order[size:] is what is left, for the next step or for the next call.",
        "errors = x[batch] @ w - y[batch]; g = 2 * errors @ x[batch] / len(batch); v = 0.9 * v + "
        "g; w = w - 0.1 * 0.99**step * v; step = step + 1.",
    ),
    right=(
        """
        import json

        def go_on(text, x, y, size, steps):
            state = json.loads(text)
            w, v = np.array(state["w"]), np.array(state["v"])
            order, step = state["order"], state["step"]
            rng = np.random.default_rng()
            rng.bit_generator.state = state["random"]
            for _ in range(steps):
                if not order:
                    order = rng.permutation(len(x)).tolist()
                batch, order = order[:size], order[size:]
                errors = x[batch] @ w - y[batch]
                v = 0.9 * v + 2 * errors @ x[batch] / len(batch)
                w = w - 0.1 * 0.99**step * v
                step = step + 1
            return json.dumps({"w": w.tolist(), "v": v.tolist(),
                               "random": rng.bit_generator.state, "order": order, "step": step})""",
        """
        import json

        def go_on(text, x, y, size, steps):
            new = json.loads(text)
            bits = np.random.PCG64()
            bits.state = new["random"]
            rng = np.random.Generator(bits)
            for n in range(steps):
                if len(new["order"]) == 0:
                    new["order"] = [int(i) for i in rng.permutation(len(y))]
                inputs = np.stack([x[i] for i in new["order"][:size]])
                labels = np.stack([y[i] for i in new["order"][:size]])
                new["order"] = new["order"][size:]
                slope = 2 * ((inputs @ np.array(new["w"]) - labels)[:, None] * inputs).mean(axis=0)
                rate = 0.1 * 0.99 ** new["step"]
                new["v"] = [0.9 * v + float(g) for v, g in zip(new["v"], slope)]
                new["w"] = [w - rate * v for w, v in zip(new["w"], new["v"])]
                new["step"] += 1
            new["random"] = bits.state
            return json.dumps(new)""",
        """
        import json

        def go_on(text, x, y, size, steps):
            if steps == 0:
                return text
            state = json.loads(text)
            rng = np.random.default_rng()
            rng.bit_generator.state = state["random"]
            order = state["order"] or rng.permutation(x.shape[0]).tolist()
            here = order[:size]
            w = np.asarray(state["w"])
            g = np.zeros(w.size)
            for i in here:
                g += 2 / len(here) * (x[i] @ w - y[i]) * x[i]
            v = np.asarray(state["v"]) * 0.9 + g
            w = w - v * (0.1 * 0.99 ** state["step"])
            new = {"w": list(map(float, w)), "v": list(map(float, v)), "order": order[size:],
                   "step": state["step"] + 1, "random": rng.bit_generator.state}
            return go_on(json.dumps(new), x, y, size, steps - 1)""",
    ),
    wrong=(
        ("the velocity begins again at 0", 'np.array(state["v"])', 'np.zeros(len(state["w"]))'),
        ("the generator begins anew, with a seed of its own",
         'rng.bit_generator.state = state["random"]', "rng = np.random.default_rng(0)"),
        ("each call begins a new epoch; what is left of the last one is dropped",
         'state["order"], state', "[], state"),
        ("the steps are counted from 0 in each call, so the rate begins again at 0.1",
         'state["step"]\n', "0\n"),
        ("the rate is counted from the steps of this call, so it begins again at 0.1",
         "for _ in range(steps)", "for done in range(steps)", "0.99**step", "0.99**done"),
        ("a new order is drawn when the last index was used, not when the next step begins",
         "step = step + 1",
         "step = step + 1\n                order = order or rng.permutation(len(x)).tolist()"),
        ("the generator's old state is returned, so the next call draws the same again",
         '"random": rng.bit_generator.state', '"random": state["random"]'),
        ("a new order is drawn at every step", "if not order:", "if True:"),
        ("the last, smaller batch of an epoch is dropped", "if not order:",
         "if len(order) < min(size, len(x)):"),
        ("the last batch of an epoch is filled up from the next",
         "if not order:\n                    order = rng",
         "if len(order) < size:\n                    order = order + rng"),
        ("the gradient of a batch is divided by the full size, also for a smaller one",
         "/ len(batch)", "/ size"),
        ("the batch's gradients are added up, not averaged", " / len(batch)", ""),
        ("the step is counted before its rate is used",
         "w = w - 0.1 * 0.99**step * v\n                step = step + 1",
         "step = step + 1\n                w = w - 0.1 * 0.99**step * v"),
        ("the rate does not fall", " * 0.99**step", ""),
        ("the weights move along the gradient alone, without the velocity",
         "0.9 * v + 2", "2"),
        ("the 2 of the square's slope is missing", "+ 2 * errors", "+ errors"),
        ("the samples are taken in their order, not in a drawn one",
         "rng.permutation(len(x)).tolist()", "list(range(len(x)))"),
        ("the steps are not counted on in what is returned",
         '"step": step}', '"step": state["step"]}'),
        ("an order is drawn in each call, whether one is left or not",
         "for _ in range(steps):", "rng.permutation(len(x))\n            for _ in range(steps):"),
    ),
)  # fmt: skip

TASKS = [MEAN, RATE, STOP, PLATEAU, RESUME]
