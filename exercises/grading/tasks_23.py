"""The tasks of lesson 23: a ring that stops, gradients of unequal parts, the number of machines
that pays, and who waits for whom."""

import math

import numpy as np

from .task import Task

# ---- 23.1


def ring_cases(rng):
    def arrays(size, n):
        numbers = 10 ** rng.uniform(-3, 3, (size, n)) * rng.choice([-1, 1], (size, n))
        return list(np.round(numbers, 4) + 0.0)

    yield "by hand", [np.array([1.0, 2, 3]), np.array([10.0, 20, 30])], 1
    yield "by hand", [np.array([1.0, 2, 3]), np.array([10.0, 20, 30])], 2
    yield "no round", arrays(3, 4), 0
    yield "no round", arrays(4, 4), 0
    yield "one machine", arrays(1, 5), 0
    yield "one machine", arrays(1, 1), 0
    yield "the first round", arrays(3, 3), 1
    yield "the first round", arrays(5, 10), 1
    yield "pieces are added up", arrays(3, 6), 2
    yield "pieces are added up", arrays(4, 8), 2
    yield "pieces are added up", arrays(5, 5), 3
    yield "pieces are added up", arrays(6, 12), 5
    yield "pieces are copied", arrays(3, 6), 3
    yield "pieces are copied", arrays(4, 8), 4
    yield "pieces are copied", arrays(5, 10), 6
    yield "pieces are copied", arrays(7, 7), 9
    yield "all rounds", arrays(2, 4), 2
    yield "all rounds", arrays(3, 3), 4
    yield "all rounds", arrays(6, 12), 10
    yield "unequal pieces", arrays(3, 8), 1
    yield "unequal pieces", arrays(4, 7), 4
    yield "unequal pieces", arrays(5, 8), 8
    yield "unequal pieces", arrays(7, 30), 5
    yield "unequal pieces", arrays(8, 61), 11
    yield "more machines than numbers", arrays(4, 2), 3
    yield "more machines than numbers", arrays(6, 4), 7
    yield "more machines than numbers", arrays(12, 1), 13
    yield "more machines than numbers", arrays(5, 0), 4
    yield "many", arrays(12, 200), 11
    yield "many", arrays(2, 200), 2
    yield "many", arrays(3, 181), 3
    yield "many", arrays(12, 199), 17
    yield "many", arrays(11, 150), 20
    zeros = arrays(4, 6)
    zeros[1] *= 0
    yield "zeros among them", zeros, 5
    yield "the same on all machines", [np.array([2.0, -3.0, 0.5])] * 3, 3


def ring_reference(arrays, rounds):
    size, n = len(arrays), len(arrays[0])
    after, sent = [], []
    for rank in range(size):
        numbers = []
        for place in range(n):
            # The piece of this number: the last one that begins at it or before.
            piece = max(i for i in range(size) if n * i // size <= place < n * (i + 1) // size)
            away = (rank - piece) % size  # how many machines behind the one that begins it
            if rounds >= size + away and away < size - 1:
                members = size  # it has come round a second time
            elif 1 <= away <= rounds:
                members = away + 1
            else:
                numbers.append(float(arrays[rank][place]))
                continue
            numbers.append(math.fsum(float(arrays[(piece + j) % size][place])
                                     for j in range(members)))  # fmt: skip
        after.append(np.array(numbers))
        sizes = [n * (i + 1) // size - n * i // size for i in range(size)]
        sent.append(sum(sizes[(rank - k) % size] for k in range(rounds)))
    return after, sent


RING = Task(
    id="23.1",
    cases=ring_cases,
    reference=ring_reference,
    hints=(
        "What does machine `rank` send in round k, and to whom? (rank - k) % size, and (rank + 1) "
        "% size; % brings numbers below 0 back into the ring.",
        "A piece is after[rank][cuts[i]:cuts[i + 1]]. In rounds 0 to size - 2 the neighbour adds "
        "it, from round size - 1 on it is put in place of the neighbour's.",
        "piece = slice(cuts[i], cuts[i + 1]); sent[rank] += cuts[i + 1] - cuts[i]; if k < size - "
        "1: after[right][piece] += after[rank][piece]; else: after[right][piece] = ...",
    ),
    right=(
        """
        def ring_after(arrays, rounds):
            size, n = len(arrays), len(arrays[0])
            cuts = [n * i // size for i in range(size + 1)]
            after, sent = [a.copy() for a in arrays], [0] * size
            for k in range(rounds):
                for rank in range(size):
                    right, i = (rank + 1) % size, (rank - k) % size
                    piece = slice(cuts[i], cuts[i + 1])
                    sent[rank] += cuts[i + 1] - cuts[i]
                    if k < size - 1:
                        after[right][piece] += after[rank][piece]
                    else:
                        after[right][piece] = after[rank][piece]
            return after, sent""",
        """
        def ring_after(arrays, rounds):
            size, n = len(arrays), len(arrays[0])
            table = [
                [list(a[n * i // size : n * (i + 1) // size]) for i in range(size)] for a in arrays
            ]
            sent = np.zeros(size, dtype=int)
            for k in range(rounds):
                letters = []
                for rank in range(size):
                    i = (rank - k) % size
                    letters.append((i, list(table[rank][i])))
                    sent[rank] += len(table[rank][i])
                for rank in range(size):
                    i, numbers = letters[rank - 1]
                    if k + 1 < size:
                        numbers = [a + b for a, b in zip(numbers, table[rank][i])]
                    table[rank][i] = numbers
            return [np.array(sum(row, [])) for row in table], sent""",
        """
        def ring_after(arrays, rounds):
            now = np.array(arrays)
            size, n = now.shape
            edges = np.arange(size + 1) * n // size
            owner = np.repeat(np.arange(size), np.diff(edges))  # the piece of each number
            sent = np.zeros(size)
            for k in range(rounds):
                goes = (np.arange(size)[:, None] - k) % size == owner
                comes = np.roll(goes, 1, axis=0)
                kept = now if k < size - 1 else 0
                now = np.where(comes, kept + np.roll(now, 1, axis=0), now)
                sent += goes.sum(axis=1)
            return tuple(now), sent.astype(int).tolist()""",
    ),
    equal=(
        ("(len(arrays), len(arrays[-1]))", "all arrays have the same length"),
        ("`dtype=int` left out", "whole numbers as floats are as good"),
        ("zip(table[rank][i], numbers)", "a sum has no order"),
        ("min(rounds, 30)", "there are at most 22 rounds"),
        ("min(size, 30)", "there are at most 12 machines"),
        ("min(size + 1, 30)", "there are at most 12 machines"),
        ("list(arrays)[:20]", "there are at most 12 machines"),
        ("for row in list(table)[:20]", "there are at most 12 machines"),
        ("-> cuts = [n * i // size for i in range(size + 2)]", "nobody looks at the last cut"),
        ("-> return (tuple(now), sent.tolist())", "whole numbers as floats are as good"),
    ),
    wrong=(
        ("it adds in all rounds, also when complete pieces go round", "if k < size - 1:",
         "if True:"),
        ("it copies in all rounds, and nothing is added up", "if k < size - 1:", "if False:"),
        ("it begins to copy one round too early", "if k < size - 1:", "if k < size - 2:"),
        ("it begins to copy one round too late", "if k < size - 1:", "if k < size:"),
        ("each machine sends the same piece in all rounds", "(rank - k) % size", "rank"),
        ("the pieces are counted the other way round the ring", "(rank - k) % size",
         "(rank + k) % size"),
        ("all machines send the same piece in a round", "(rank - k) % size", "k % size"),
        ("each machine begins with its right neighbour's piece", "(rank - k) % size",
         "(rank + 1 - k) % size"),
        ("the pieces go to the left neighbour", "(rank + 1) % size, (", "(rank - 1) % size, ("),
        ("the last machine sends to nobody", "                    piece = slice",
         "                    if rank == size - 1:\n"
         "                        continue\n"
         "                    piece = slice"),
        ("whole arrays are sent, not pieces", "slice(cuts[i], cuts[i + 1])", "slice(0, n)"),
        ("messages are counted, not numbers", "+= cuts[i + 1] - cuts[i]", "+= 1"),
        ("every piece is counted with n // size numbers, though pieces are unequal",
         "+= cuts[i + 1] - cuts[i]", "+= n // size"),
        ("what a machine gets is counted, not what it sends", "sent[rank] +=", "sent[right] +="),
        ("the rest that does not divide is left out of all pieces", "n * i // size",
         "n // size * i"),
        ("the first pieces are the longer ones, as array_split cuts", "n * i // size",
         "-(-n * i // size)"),
        ("one round too many is played", "in range(rounds):", "in range(rounds + 1):"),
        ("all rounds are played, whatever is asked", "in range(rounds):",
         "in range(2 * (size - 1)):"),
        ("the pieces stay where they were added: what was passed on is emptied",
         "                    else:", "                        after[rank][piece] = 0\n"
         "                    else:"),
        ("only the sum of all arrays is given to all", "return after, sent",
         "return [sum(arrays)] * size, sent"),
    ),
)  # fmt: skip

# ---- 23.2


def mean_cases(rng):
    def case(group, machines, *shapes, without=(), weights=None):
        """without: pairs (machine, parameter) that have no gradient."""
        gradients = [[np.round(rng.uniform(-9, 9, shape), 3) for shape in shapes]
                     for _ in range(machines)]  # fmt: skip
        for i, j in without:
            gradients[i][j] = None
        if weights is None:
            weights = [int(n) for n in rng.integers(1, 60, machines)]
        return group, gradients, weights

    nan = math.nan
    yield "by hand", [[np.array(2.0)], [np.array(6.0)]], [30, 10]
    yield "by hand", [[np.array(2.0)], [None]], [30, 10]
    yield case("equal weights", 2, (3,), (2, 2), weights=[16, 16])
    yield case("equal weights", 4, (2,), weights=[1, 1, 1, 1])
    yield case("unequal weights", 2, (3,), (2, 2), weights=[7, 50])
    yield case("unequal weights", 3, (2, 3), (), (4,), weights=[1, 2, 40])
    yield case("unequal weights", 5, (1,), (2, 1, 3), weights=[12, 13, 90, 2, 5])
    yield case("weights that are not whole", 3, (2,), weights=[0.25, 0.5, 0.1])
    yield case("weights that are not whole", 2, (2,), (3,), weights=[2.5, 0.3])
    yield case("weights that are not whole", 2, (2,), weights=[1e-6, 3e-6])
    yield case("large weights", 3, (3,), weights=[1e6, 2e5, 9e5])
    yield case("a machine without samples", 3, (2,), (2, 2), weights=[5, 0, 9])
    yield case("a machine without samples", 2, (3,), weights=[0, 4])
    yield case("a machine without samples", 4, (2,), weights=[0, 0, 3, 0.0])
    yield case("a machine without samples", 3, (2,), without=[(1, 0)], weights=[5, 0, 9])
    yield case("None on some machines", 3, (2,), (3,), without=[(0, 0), (2, 1)])
    yield case("None on some machines", 4, (2, 2), (), without=[(1, 0), (2, 0), (3, 0)])
    yield case("None on some machines", 2, (3,), (1,), without=[(0, 0), (1, 1)], weights=[3, 40])
    yield case("None on all machines", 2, (3,), (2,), without=[(0, 0), (1, 0)])
    yield case("None on all machines", 3, (2,), without=[(0, 0), (1, 0), (2, 0)])
    yield case("None on all machines", 3, (2,), (2,), without=[(0, 1), (1, 1), (2, 1)])
    yield case("None on all with samples", 3, (2,), without=[(0, 0), (2, 0)], weights=[4, 0, 8])
    yield case("one machine", 1, (2,), (3, 1))
    yield case("one machine", 1, (2,), without=[(0, 0)])
    yield case("no numbers", 2, (0,), (2,))
    yield case("no numbers", 2, (3, 0), (0, 2))
    yield case("no parameters", 3)
    yield case("no parameters", 1)
    yield case("all weights are 0", 2, (2,), weights=[0, 0])
    yield case("all weights are 0", 3, (2,), (3,), weights=[0.0, 0, 0.0])
    yield case("all weights are 0", 2, (2,), without=[(0, 0), (1, 0)], weights=[0, 0])
    yield case("all weights are 0", 2, weights=[0, 0])
    yield case("a machine has failed", 2, (2,), weights=[5, nan])
    yield case("a machine has failed", 3, (2,), (3,), weights=[nan, 6, 7])
    yield case("a machine has failed", 3, (2,), without=[(1, 0)], weights=[3, nan, 7])
    yield case("a machine has failed", 2, (2,), weights=[0, nan])
    yield case("a machine has failed", 1, (2,), weights=[nan])
    yield case("a machine has failed", 2, weights=[nan, 1])
    tiny = [[np.array([3e-9, -2e-8])], [np.array([5e-9, 7e-10])]]
    yield "small gradients", tiny, [3, 1]
    huge = [[np.array([3e200, -2e199])], [np.array([-1e200, 7e198])]]
    yield "large gradients", huge, [3, 2]
    some = [(i, j) for i in range(40) for j in range(30) if (i + j) % 7 == 0]
    yield case("many", 40, *[(2,)] * 30, without=some)
    yield case("many", 40, (30,))
    late = [(i, 0) for i in range(25)]
    yield case("None on the first machines", 40, (2,), (3,), without=late)
    yield case("None on the first machines", 5, (2, 2), without=[(i, 0) for i in range(4)])
    yield case("many, and the last has failed", 40, (2,), weights=[3] * 39 + [nan])


def mean_reference(gradients, weights):
    if any(math.isnan(w) for w in weights) or all(w == 0 for w in weights):
        raise ValueError("no weight, or a failure")
    whole = math.fsum(weights)
    means = []
    for j in range(len(gradients[0])):
        known = [row[j] for row in gradients if row[j] is not None]
        if not known:
            means.append(None)
            continue
        mean = np.zeros(known[0].size)
        for place in range(mean.size):
            products = []
            for row, weight in zip(gradients, weights):
                if row[j] is not None:
                    products.append(float(row[j].reshape(-1)[place]) * (weight / whole))
            mean[place] = math.fsum(products)
        means.append(mean.reshape(known[0].shape))
    return means


MEAN = Task(
    id="23.2",
    cases=mean_cases,
    reference=mean_reference,
    atol=1e-15,
    hints=(
        "Ask for the error first: a comparison with nan is never true, so `not total > 0` is true "
        "for 0 and for nan.",
        "zip(*gradients) goes through the parameters: each time a tuple with what the machines "
        "have for it. Multiply what is not None by its machine's weight.",
        "parts = [weight * g for g, weight in zip(of_one, weights) if g is not None]; then "
        "sum(parts) / total, or None if there are no parts. `total` is that of all machines.",
    ),
    right=(
        """
        def mean_gradients(gradients, weights):
            total = sum(weights)
            if not total > 0:
                raise ValueError("all weights are 0, or a machine has failed")
            means = []
            for of_one in zip(*gradients):
                parts = [weight * g for g, weight in zip(of_one, weights) if g is not None]
                means.append(sum(parts) / total if parts else None)
            return means""",
        """
        def mean_gradients(gradients, weights):
            if np.isnan(weights).any() or max(weights) == 0:
                raise ValueError("nothing to average")
            shares = np.array(weights) / np.sum(weights)
            means = [None] * len(gradients[0])
            for row, share in zip(gradients, shares):
                for j in range(len(row)):
                    if row[j] is None:
                        continue
                    if means[j] is None:
                        means[j] = np.zeros(row[j].shape)
                    means[j] = means[j] + share * row[j]
            return means""",
        """
        def mean_gradients(gradients, weights):
            failed = [w for w in weights if w != w]
            if failed or not any(weights):
                raise ValueError(len(failed))

            def mean(column):
                shapes = [g.shape for g in column if g is not None]
                if not shapes:
                    return None
                filled = [np.zeros(shapes[0]) if g is None else g for g in column]
                return np.average(filled, axis=0, weights=weights)

            return tuple(mean([row[j] for row in gradients]) for j in range(len(gradients[0])))""",
    ),
    equal=(
        ("shares = weights / np.sum(weights)", "the division makes an array of a list"),
        ("list(zip(of_one, weights))[::-1]", "a sum has no order"),
        ("list(zip(gradients, shares))[::-1]", "a sum has no order"),
        ("min(len(row), 30)", "there are at most 30 parameters"),
        ("min(len(gradients[0]), 30)", "there are at most 30 parameters"),
        ("len(gradients[-1])", "all machines list the same parameters"),
        ("list(weights)[::-1] if w != w", "one nan is enough, wherever it stands"),
        ("list(column)[::-1] if g is not None", "all have the same shape"),
        ("np.zeros(shapes[-1])", "all have the same shape"),
        ("-> def mean(column):; if failed", "neither needs the other"),
    ),
    wrong=(
        ("all machines count alike, whatever their weights", "weight * g for g", "1.0 * g for g",
         "sum(parts) / total", "sum(parts) / len(weights)"),
        ("the weighted sum is not divided", "sum(parts) / total", "sum(parts) / 1.0"),
        ("the sum is divided by the number of machines, not by the weights", "sum(parts) / total",
         "sum(parts) / len(weights)"),
        ("machines without a gradient are left out, not counted as zeros", "sum(parts) / total",
         "sum(parts) / (sum(w for g, w in zip(of_one, weights) if g is not None) or 1)"),
        ("a parameter counts only if all machines have a gradient",
         "total if parts else None", "total if len(parts) == len(weights) else None"),
        ("a parameter without any gradient has 0, not None", "if parts else None", ""),
        ("a parameter without any gradient is left out of the list", "means.append(sum",
         "if parts: means.append(sum"),
        ("weights of 0 give nan, not an error", "if not total > 0:", "if total != total:",
         "/ total", "/ np.float64(total)"),
        ("a weight of nan is let pass", "if not total > 0:", "if total == 0:"),
        ("any weight of 0 is refused, though others are not 0", "if not total > 0:",
         "if not min(weights) > 0 or total != total:"),
        ("machines that failed are left out, and the others go on", "total = sum(weights)",
         "weights = [0 if w != w else w for w in weights]\n"
         "            total = sum(weights)"),
        ("only the first machine is asked which parameters have gradients",
         "total if parts else None", "total if of_one[0] is not None else None"),
        ("only the weight of the first machine is used", "weight * g for g", "weights[0] * g for g",
         "/ total", "/ (weights[0] or 1) / len(weights)"),
        ("the weights are squared", "weight * g for g", "weight * weight * g for g", "/ total",
         "/ sum(w * w for w in weights)"),
        ("the weights are made whole numbers", "total = sum(weights)",
         "weights = [w if w != w else int(w) for w in weights]\n"
         "            total = sum(weights)"),
        ("the weights go to the machines in the other order", "zip(of_one, weights)",
         "zip(of_one, weights[::-1])"),
        ("the error is not raised where there is no parameter", "if not total > 0:",
         "if gradients[0] and not total > 0:"),
    ),
)  # fmt: skip

# ---- 23.3


def best_cases(rng):
    def some(low, high):
        return float(np.round(10 ** rng.uniform(low, high), 6))

    yield "by hand", 1.0, 1.0, 4, 0.0, 0.25, 1.0, 4
    yield "by hand", 1.0, 1.0, 4, 0.0, 0.25, 1.0, 3
    yield "one machine is all there is", some(-2, 0), some(-2, 0), 100, some(0, 3), 0.1, 10.0, 1
    yield "one machine is best", some(-1, 0), 0.001, 10, 1000.0, 0.0, 10.0, 20
    yield "one machine is best", some(-1, 0), 0.01, 10, 0.0, 1.0, 10.0, 50
    yield "one machine is best", 0.5, 0.0, 64, 3.0, 0.01, 10.0, 9
    yield "as many as there are", 0.1, 1.0, 100, 0.0, 0.0001, 1.0, 10
    yield "as many as there are", 0.0, some(-1, 1), 1000, 0.5, 0.0, 1000.0, 8
    yield "in between", 0.0018, 0.0003, 128, 0.83, 4e-6, 4000.0, 1024
    yield "in between", 0.0018, 0.0003, 128, 830.0, 4e-6, 4000.0, 1024
    for _ in range(8):
        yield ("in between", some(-3, -2), some(-4, -2), int(rng.integers(50, 3000)), some(-1, 1),
               some(-5, -3), some(2, 4), int(rng.integers(30, 800)))  # fmt: skip
    yield "parts are whole", 0.01, 1.0, 10, 0.0, 0.3, 1.0, 10
    yield "parts are whole", 0.0, 1.0, 7, 0.0, 0.05, 1.0, 30
    yield "parts are whole", 0.0, 2.0, 9, 0.1, 0.2, 5.0, 8
    yield "parts are whole", 0.0, 1.0, 11, 0.0, 0.01, 1.0, 9
    yield "parts are whole", 0.3, 1.0, 1001, 0.0, 0.0005, 1.0, 1000
    yield "of several the fewest", 1.0, 1.0, 10, 0.0, 0.0, 1.0, 9
    yield "of several the fewest", 0.0, 1.0, 12, 0.0, 0.0, 3.0, 40
    yield "of several the fewest", 2.0, 0.0, 12, 0.0, 0.0, 3.0, 40
    yield "of several the fewest", 0.0, 0.5, 1, 0.0, 0.0, 3.0, 7
    yield "more machines than samples", 0.1, 1.0, 3, 0.0, 0.001, 1.0, 50
    yield "more machines than samples", 0.1, 1.0, 5, 2.0, 0.001, 100.0, 400
    yield "more machines than samples", some(-2, 0), 1.0, 1, 0.2, 0.001, 100.0, 5
    yield "only the size counts", 0.0, 1.0, 60, 10.0, 0.0, 1.0, 60
    yield "only the size counts", 0.0, 1.0, 60, 50.0, 0.0, 1.0, 60
    yield "only the delay counts", 0.0, 1.0, 60, 0.0, 0.31, 1.0, 60
    yield "a slow line for many", 0.0, 1.0, 5000, 400.0, 0.0001, 1.0, 2000
    yield "worse at first, better later", 0.0, 1.0, 100, 120.0, 0.0, 1.0, 100
    yield "worse at first, better later", 0.2, 1.0, 60, 40.0, 0.01, 1.0, 200
    yield "small and large numbers", 1e-9, 1e-10, 10**6, 1e-6, 1e-12, 10.0, 2000
    yield "small and large numbers", 1e3, 1e2, 10**6, 1e9, 1e-2, 1e6, 2000


def best_reference(fixed, each, samples, size, late, rate, most):
    times = []
    for machines in range(1, most + 1):
        largest, rest = divmod(samples, machines)
        if rest:
            largest += 1
        talk = 0.0
        if machines > 1:
            talk = 2 * (machines - 1) * (late + size / (machines * rate))
        times.append(fixed + each * largest + talk)
    least = min(times)
    for machines, seconds in enumerate(times, 1):
        if seconds == least:
            return machines, times[0] / least
    raise AssertionError("one of them is the least")


BEST = Task(
    id="23.3",
    cases=best_cases,
    reference=best_reference,
    hints=(
        "Write a function first that gives the seconds for a number of machines; try it on the "
        "example by hand.",
        "Rounded up: -(-samples // machines), or samples // machines and one more if something is "
        "left. Look at all numbers: the time may rise and fall again.",
        "best = min(range(1, most + 1), key=seconds) takes the first of several that are as "
        "small; the second result is seconds(1) / seconds(best).",
    ),
    right=(
        """
        def best_number(fixed, each, samples, size, late, rate, most):
            def seconds(machines):
                largest = -(-samples // machines)
                talk = 2 * (machines - 1) * (late + size / (machines * rate))
                return fixed + each * largest + talk

            best = min(range(1, most + 1), key=seconds)
            return best, seconds(1) / seconds(best)""",
        """
        def best_number(fixed, each, samples, size, late, rate, most):
            machines = np.arange(1, most + 1)
            largest = samples // machines + (samples % machines > 0)
            talk = 2 * (machines - 1) * (late + size / (machines * rate))
            times = fixed + each * largest + talk
            best = np.argmin(times)
            return machines[best], times[0] / times[best]""",
        """
        def best_number(fixed, each, samples, size, late, rate, most):
            alone = fixed + each * samples
            best, least = 1, alone
            for machines in range(2, most + 1):
                largest = (samples + machines - 1) // machines
                rounds = 2 * (machines - 1)
                now = fixed + each * largest + rounds * (late + size / (machines * rate))
                if now < least:
                    best, least = machines, now
            return [best, alone / least]""",
    ),
    equal=(
        ("= abs(", "it is never below 0"),
        ("-> for machines in range(1, most + 1)", "one machine is not faster than itself"),
    ),
    wrong=(
        ("the samples are divided as if a sample could be cut", "-(-samples // machines)",
         "samples / machines"),
        ("the smallest part counts, not the largest", "-(-samples // machines)",
         "samples // machines"),
        ("one sample is added also where the parts are equal", "-(-samples // machines)",
         "samples // machines + 1"),
        ("of several that are as fast the most are taken", "range(1, most + 1), key",
         "range(most, 0, -1), key"),
        ("`most` itself is not looked at", "range(1, most + 1), key",
         "range(1, max(most, 2)), key"),
        ("one machine is not looked at", "range(1, most + 1), key",
         "range(min(2, most), most + 1), key"),
        ("only fewer machines than samples are looked at", "range(1, most + 1), key",
         "range(1, max(2, min(most + 1, samples))), key"),
        ("it stops at the first number that is slower than the one before",
         "best = min(range(1, most + 1), key=seconds)",
         "best = 1\n"
         "            while best < most and seconds(best + 1) < seconds(best):\n"
         "                best += 1"),
        ("only powers of two are looked at", "range(1, most + 1), key",
         "[m for m in range(1, most + 1) if m & (m - 1) == 0], key"),
        ("half of the rounds are counted", "2 * (machines - 1)", "(machines - 1)"),
        ("as many rounds as twice the machines are counted", "2 * (machines - 1)", "2 * machines"),
        ("whole arrays are sent in each round, not pieces", "(machines * rate)", "rate"),
        ("the delay is counted once, not in each round",
         "2 * (machines - 1) * (late + size / (machines * rate))",
         "(late * (machines > 1) + 2 * (machines - 1) * size / (machines * rate))"),
        ("the delay is left out", "(late + size", "(0 * late + size"),
        ("the size is left out", "size / (machines * rate)", "0"),
        ("the size is multiplied by the rate", "size / (machines * rate)",
         "size / machines * rate"),
        ("the fixed part is divided too", "return fixed +", "return fixed / machines +"),
        ("the fixed part is left out", "return fixed +", "return 0 * fixed +"),
        ("the fastest time is given, not how many times as fast", "seconds(1) / seconds(best)",
         "seconds(best)"),
        ("the ratio is upside down", "seconds(1) / seconds(best)", "seconds(best) / seconds(1)"),
        ("the ratio is that of `most` machines", "seconds(1) / seconds(best)",
         "seconds(1) / seconds(most)"),
    ),
)  # fmt: skip

# ---- 23.4


def a_run(rng, machines, meetings):
    """Programs that get through: who meets whom was drawn in an order that happened."""
    programs = [[] for _ in range(machines)]
    for _ in range(meetings):
        a, b = (int(i) for i in rng.choice(machines, 2, replace=False))
        programs[a].append(("send", b))
        programs[b].append(("receive", a))
    return programs


def a_ring(machines, rounds, receives_first=()):
    programs = []
    for rank in range(machines):
        lines = [("send", (rank + 1) % machines), ("receive", (rank - 1) % machines)]
        programs.append((lines[::-1] if rank in receives_first else lines) * rounds)
    return programs


def stuck_cases(rng):
    yield "by hand", a_ring(3, 1)
    yield "by hand", a_ring(3, 1, [0])
    yield "by hand", [[], *a_ring(3, 1)[1:]]
    yield "no machines, no lines", []
    yield "no machines, no lines", [[]]
    yield "no machines, no lines", [[], [], []]
    yield "two machines", [[("send", 1)], [("receive", 0)]]
    yield "two machines", [[("receive", 1)], [("send", 0)]]
    yield "two machines", [[("send", 1)], [("send", 0)]]
    yield "two machines", [[("receive", 1)], [("receive", 0)]]
    yield "two machines", [[("send", 1), ("receive", 1)], [("receive", 0), ("send", 0)]]
    yield "two machines", [[("send", 1), ("receive", 1)], [("send", 0), ("receive", 0)]]
    yield "one has ended", [[("send", 1), ("send", 1)], [("receive", 0)]]
    yield "one has ended", [[("send", 1)], [("receive", 0), ("receive", 0)]]
    yield "one has ended", [[("send", 2)], [("receive", 2)], []]
    yield "the line is for another", [[("send", 1)], [("receive", 2)], [("send", 0)]]
    yield "the line is for another", [[("receive", 2)], [("send", 0)], [("send", 0)]]
    yield "the line is for another", [[("send", 1)], [("receive", 2), ("receive", 0)],
                                      [("send", 1)]]  # fmt: skip
    yield "the line comes later", [[("send", 1)], [("send", 2), ("receive", 0)], []]
    yield "the line comes later", [[("receive", 1), ("send", 2)], [("send", 2), ("send", 0)],
                                   [("receive", 0), ("receive", 1)]]  # fmt: skip
    yield "the last machines first", [[("receive", 1)], [("receive", 2), ("send", 0)],
                                      [("receive", 3), ("send", 1)],
                                      [("send", 2)]]  # fmt: skip
    yield "the last machines first", [[("send", 1)], [("receive", 0), ("send", 2)],
                                      [("receive", 1), ("send", 3)],
                                      [("receive", 2)]]  # fmt: skip
    yield "a ring", a_ring(5, 4)
    yield "a ring", a_ring(5, 4, [3])
    yield "a ring", a_ring(6, 6, [0, 2, 4])
    yield "a ring", a_ring(20, 3, [19])
    collects = [[("receive", r) for r in range(1, 7)] + [("send", r) for r in range(1, 7)]]
    yield "one that collects", collects + [[("send", 0), ("receive", 0)]] * 6
    yield "one that collects", [collects[0][::-1]] + [[("send", 0), ("receive", 0)]] * 6
    yield "all get through", a_run(rng, 3, 9)
    yield "all get through", a_run(rng, 6, 40)
    yield "all get through", a_run(rng, 20, 300)
    yield "many lines", [[("send", 1), ("receive", 1)] * 100, [("receive", 0), ("send", 0)] * 100]
    yield "many lines", [[("send", 1)] * 200, [("receive", 0)] * 150]
    for machines, meetings in ((3, 12), (4, 20), (5, 30), (8, 60), (12, 90), (20, 250)):
        programs = a_run(rng, machines, meetings)
        longest = max(programs, key=len)
        at = len(longest) // 2
        del longest[at]  # one line was forgotten
        yield "a line was forgotten", programs
    for machines, meetings in ((3, 12), (5, 30), (9, 80)):
        programs = a_run(rng, machines, meetings)
        for program in programs[::2]:
            at = int(rng.integers(max(1, len(program) // 2)))
            program[at : at + 2] = program[at : at + 2][::-1]
        yield "two lines were exchanged", programs


def stuck_reference(programs):
    """Recursion on the pair that can meet with the highest numbers, until there is none."""
    left = [list(program) for program in programs]
    while True:
        pairs = [
            (a, b)
            for a in range(len(left))
            for b in range(len(left))
            if left[a] and left[b]
            and left[a][0][0] == "send" and left[a][0][1] == b
            and left[b][0][0] == "receive" and left[b][0][1] == a
        ]  # fmt: skip
        if not pairs:
            break
        for a, b in pairs:
            left[a].pop(0)
            left[b].pop(0)
    done = [len(program) - len(rest) for program, rest in zip(programs, left)]
    return done, [rest[0][1] if rest else -1 for rest in left]


STUCK = Task(
    id="23.4",
    cases=stuck_cases,
    reference=stuck_reference,
    hints=(
        "Keep for each machine how many lines it has done; its next line is then program[done], "
        "if there is one.",
        "Two meet if one's next line sends to the other, and the other's next line receives from "
        "the one. Go through the machines again and again, until a whole pass changed nothing.",
        "what, other = program[done[rank]]; the other must be at ('receive', rank) if what is "
        "'send', else at ('send', rank); then both counts grow by one. At the end waits is the "
        "other of the next line, or -1.",
    ),
    right=(
        """
        def stuck(programs):
            done = [0] * len(programs)
            going_on = True
            while going_on:
                going_on = False
                for rank, program in enumerate(programs):
                    while done[rank] < len(program):
                        what, other = program[done[rank]]
                        answer = "receive" if what == "send" else "send"
                        theirs = programs[other][done[other] :]
                        if not theirs or tuple(theirs[0]) != (answer, rank):
                            break
                        done[rank] += 1
                        done[other] += 1
                        going_on = True
            waits = [p[at][1] if at < len(p) else -1 for p, at in zip(programs, done)]
            return done, waits""",
        """
        def stuck(programs):
            at = np.zeros(len(programs), dtype=int)

            def line(rank):
                if at[rank] == len(programs[rank]):
                    return None
                return tuple(programs[rank][at[rank]])

            found = True
            while found:
                found = False
                for rank in range(len(programs)):
                    mine = line(rank)
                    if mine is None or mine[0] == "receive":
                        continue
                    if line(mine[1]) == ("receive", rank):
                        at[rank] += 1
                        at[mine[1]] += 1
                        found = True
            ends = [line(rank) for rank in range(len(programs))]
            return at, [-1 if end is None else end[1] for end in ends]""",
        """
        def stuck(programs):
            left = [[tuple(line) for line in program][::-1] for program in programs]
            to_try = list(range(len(left)))
            while to_try:
                rank = to_try.pop()
                if not left[rank]:
                    continue
                what, other = left[rank][-1]
                wanted = {"send": "receive", "receive": "send"}[what], rank
                if left[other] and left[other][-1] == wanted:
                    del left[rank][-1], left[other][-1]
                    to_try += [rank, other]
            done = [len(p) - len(rest) for p, rest in zip(programs, left)]
            return [done, [rest[-1][1] if rest else -1 for rest in left]]""",
    ),
    equal=(
        ("at[mine[1]] += 1; at[rank] += 1", "neither needs the other"),
        ("list(enumerate(programs))[:20]", "there are at most 20"),
        ("list(enumerate(programs))[1:]", "of two that meet one is enough"),
        ("list(enumerate(programs))[:-1]", "of two that meet one is enough"),
        ("list(enumerate(programs))[::-1]", "in which order they meet makes no difference"),
        ("list(zip(programs, done))[:20]", "there are at most 20"),
        ("while done[rank] < len(program): -> while done[rank] < len(program):",
         "what is left is done in the next pass"),
        ("done[other] += 1; done[rank] += 1", "neither needs the other"),
        ("min(len(programs), 30)", "there are at most 20"),
        ("list(ends)[:20]", "there are at most 20"),
        ("-> def line(rank):; at", "neither needs the other"),
        ("list(programs)[:20]", "there are at most 20"),
        ("list(zip(programs, left))[:20]", "there are at most 20"),
        ("-> to_try = list(range(1, len(left)))", "of two that meet one is enough"),
        ("-> to_try = list(range(len(left) - 1))", "of two that meet one is enough"),
        ("min(len(left), 30)", "there are at most 20"),
        ("to_try = to_try + [rank, other]", "no other name has this list"),
        ("list(left)[:20]", "there are at most 20"),
    ),
    wrong=(
        ("who sends does not wait: messages are stored on the way",
         """
        def stuck(programs):
            done, there = [0] * len(programs), {}
            going_on = True
            while going_on:
                going_on = False
                for rank, program in enumerate(programs):
                    if done[rank] < len(program):
                        what, other = program[done[rank]]
                        if what == "send":
                            there[rank, other] = there.get((rank, other), 0) + 1
                        elif there.get((other, rank), 0) == 0:
                            continue
                        else:
                            there[other, rank] -= 1
                        done[rank] += 1
                        going_on = True
            waits = [p[at][1] if at < len(p) else -1 for p, at in zip(programs, done)]
            return done, waits"""),
        ("the machines are gone through once only", "while going_on:",
         "for _ in range(1):"),
        ("so many passes are made and no more, whether the last one changed something or not",
         "while going_on:", "for _ in range(len(programs) // 2):"),
        ("it stops as soon as one machine is stuck", "                            break",
         "                            going_on = False\n"
         "                            waits = [p[at][1] if at < len(p) else -1 for p, at in "
         "zip(programs, done)]\n"
         "                            return done, waits"),
        ("it does not ask whom the other one's line is for", "tuple(theirs[0]) != (answer, rank)",
         "theirs[0][0] != answer"),
        ("it does not ask whether the other one sends or receives",
         "tuple(theirs[0]) != (answer, rank)", "theirs[0][1] != rank"),
        ("two that do the same, both send or both receive, meet",
         '"receive" if what == "send" else "send"', "what"),
        ("a later line of the other one is taken, before those in between are done",
         "tuple(theirs[0]) != (answer, rank)", "(answer, rank) not in map(tuple, theirs)"),
        ("only who sends gets on", "                        done[other] += 1\n",
         ""),
        ("only machine 0's lines are tried, and not those of two others that could meet",
         "while done[rank] < len(program):", "if done[rank] < len(program) and rank == 0:",
         "break", "continue"),
        ("it is told which line it waits at, not for whom", "p[at][1] if", "at if"),
        ("who is through waits for itself, not for -1", "else -1 for p, at in zip(programs, done)]",
         "else i for i, (p, at) in enumerate(zip(programs, done))]"),
        ("who is through counts as waiting for machine 0", "else -1 for", "else 0 for"),
        ("how many lines are left is told, not how many are done", "return done, waits",
         "return [len(p) - at for p, at in zip(programs, done)], waits"),
        ("it is told whom the first line is for, not the one where it waits", "p[at][1] if",
         "p[0][1] if"),
        ("meetings are counted, each once for the two", "return done, waits",
         "return sum(done) // 2, waits"),
        ("only machines that are in a circle of waiting count as waiting",
         "            return done, waits",
         "            def comes_back(i):\n"
         "                j = i\n"
         "                for _ in programs:\n"
         "                    j = waits[j] if j >= 0 else -1\n"
         "                    if j == i:\n"
         "                        return True\n"
         "                return False\n"
         "            waits = [w if comes_back(i) else -1 for i, w in enumerate(waits)]\n"
         "            return done, waits"),
    ),
)  # fmt: skip

TASKS = [RING, MEAN, BEST, STUCK]
