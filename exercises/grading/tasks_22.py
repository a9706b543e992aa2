"""The tasks of lesson 22: sixteen bits with a factor, the scaler's rule, hidden transfers, and a
gradient that computes again."""

import math

import numpy as np

from .task import Task

# ---- 22.1


def halves_cases(rng):
    def sizes(low, high, n):
        """n numbers with sizes from 10**low to 10**high, of both signs."""
        return rng.choice([-1.0, 1.0], n) * 10 ** rng.uniform(low, high, n)

    yield "by hand", np.array([0.5, 0, 1e-9]), 1.0
    yield "by hand", np.array([0.5, 0, 1e-9]), 1024.0
    yield "by hand", np.array([0.5, 0, 1e-9]), 1048576.0
    yield "nothing is lost", np.round(rng.uniform(-3, 3, 7), 2), 1.0
    yield "nothing is lost", sizes(-2, 2, 9), 8.0
    yield "one number", sizes(-1, 1, 1), 2.0
    yield "one number", np.array([0.0]), 64.0
    yield "one number", np.array([-1e-12]), 2.0**12
    yield "zeros among them", np.array([0.0, -1e-10, 3.0, 0.0, 2e-11]), 4.0
    yield "zeros among them", np.zeros(5), 2.0**24
    yield "small ones are lost", sizes(-12, -6, 40), 1.0
    yield "small ones are lost", sizes(-12, -6, 40), 64.0
    yield "small ones are lost", sizes(-9, -7, 60), 1.0
    yield "the factor saves them", sizes(-9, -6, 40), 2.0**20
    yield "the factor saves some", sizes(-12, -8, 60), 2.0**15
    # Half of the smallest is stored as 0, a little more is not.
    yield "beside the smallest", 2.0**-25 * np.array([1, 1.001, 0.999, -1, -1.001, 3]), 1.0
    yield "beside the smallest", 2.0**-31 * np.array([1, 1.001, 0.999, -1, -1.001, 3]), 64.0
    yield "too large", np.array([1e4, -2.0, 1e-12]), 8.0
    yield "too large", sizes(0, 4, 12), 2.0**24
    yield "too large, of both signs", np.array([1e4, -1e4, 0.0]), 1024.0
    yield "too large, of both signs", np.array([-5e3, 1.0, 1e-12]), 16.0
    yield "beside the largest", np.array([65504.0, 65519.0, -65519.0]) / 64, 64.0
    yield "beside the largest", np.array([65504.0, 65520.0]) / 16, 16.0
    # Their sum is far beyond what float16 can hold, or is drowned there.
    yield "many", rng.uniform(50, 90, 3000), 1.0
    yield "many", rng.uniform(0.001, 0.002, 5000), 1.0
    yield "many", np.append(sizes(-9, -5, 1000), 900.0), 1.0
    yield "many", np.append(rng.uniform(0, 1, 4000), -2000.0), 8.0


def halves_reference(g, factor):
    total, lost, finite = 0.0, 0, True
    for number in g:
        number = float(number) * factor
        if abs(number) >= 65520:  # nearer to the power of two beyond the largest
            finite = False
            continue
        # The distance of numbers there: ten bits behind the point, and 2**-24 at least.
        step = 2.0**-24
        if number:
            step = max(step, 2.0 ** (math.frexp(number)[1] - 1 - 10))
        stored = round(number / step) * step  # to the even one of two that are as near
        lost += number != 0 and stored == 0
        total += stored
    return (total / len(g) / factor if finite else None), lost


HALVES = Task(
    id="22.1",
    cases=halves_cases,
    reference=halves_reference,
    hints=(
        "A number is lost where the stored one is 0 and the given one is not. np.isfinite tells "
        "what is neither infinite nor nan.",
        "stored.astype(np.float64) can be added up without new rounding; the factor is taken out "
        "of the mean, at the end.",
        "lost = int(((stored == 0) & (g != 0)).sum()); None if not np.isfinite(stored).all(); "
        "else stored.astype(np.float64).mean() / factor.",
    ),
    right=(
        """
        def mean_of_halves(g, factor):
            with np.errstate(over="ignore"):
                stored = (g * factor).astype(np.float16)
            lost = int(((stored == 0) & (g != 0)).sum())
            if not np.isfinite(stored).all():
                return None, lost
            return float(stored.astype(np.float64).mean() / factor), lost""",
        """
        def mean_of_halves(g, factor):
            total, lost, broken = 0.0, 0, False
            for number in g:
                with np.errstate(over="ignore"):
                    half = float(np.float16(number * factor))
                if half == 0 and number != 0:
                    lost += 1
                if abs(half) == np.inf:
                    broken = True
                total += half
            if broken:
                return [None, lost]
            return [total / len(g) / factor, lost]""",
        """
        def mean_of_halves(g, factor):
            with np.errstate(all="ignore"):
                back = np.float64(np.float16(g * factor)) / factor
            lost = np.count_nonzero(g) - np.count_nonzero(back)
            if np.abs(back).max() == np.inf:
                return None, lost
            return np.mean(back), lost""",
    ),
    equal=(
        ("`over='ignore'` left out", "it is a warning only"),
        ("all='ignore'` left out", "it is a warning only"),
        ("the rows of `g` sorted", "a mean and a count have no order"),
        ("the rows of `g` in the other order", "a mean and a count have no order"),
        ("list(g)[::-1]", "a mean and a count have no order"),
        ("factor = int(factor)", "it is a power of two from 1"),
        ("factor = abs(factor)", "it is a power of two from 1"),
        ("= (0, 0.0, False)", "0 and 0.0 are one number"),
        ("= (0.0, False, 0)", "0 is as good as False"),
        ("total = total + half", "it is a number"),
    ),
    wrong=(
        ("the sum stays in float16", "stored.astype(np.float64).mean()",
         "stored.sum(dtype=np.float16) / len(g)"),
        ("the mean is rounded to float16", "stored.astype(np.float64).mean()",
         "np.float64(stored.mean())"),
        ("the factor is not taken out again", " / factor), lost", "), lost"),
        ("the factor is multiplied again, not divided out", ".mean() / factor", ".mean() * factor"),
        ("the numbers are stored before the factor comes", "(g * factor).astype(np.float16)",
         "g.astype(np.float16).astype(np.float64) * factor"),
        ("nothing is stored in float16", "(g * factor).astype(np.float16)", "g * factor"),
        ("numbers that were 0 count as lost", " & (g != 0)", ""),
        ("it counts what is left, not what is lost", "stored == 0", "stored != 0"),
        ("it counts as lost what lost digits", "stored == 0",
         "stored.astype(np.float64) != g * factor"),
        ("where something is infinite, so is the mean; None was wanted",
         "                return None, lost\n", "                pass\n"),
        ("what is infinite is left out of the mean",
         "                return None, lost\n",
         "                stored = stored[np.isfinite(stored)]\n"
         "                if not len(stored): return None, lost\n"),
        ("None for the mean, but nothing is counted as lost then", "return None, lost",
         "return None, 0"),
        ("the sum is returned, not the mean", ".mean()", ".sum()"),
        ("the mean is taken over what is not 0",
         "stored.astype(np.float64).mean()",
         "stored.astype(np.float64).sum() / max(1, np.count_nonzero(stored))"),
        ("what is infinite is cut to the largest number",
         "astype(np.float16)", "clip(-65504, 65504).astype(np.float16)"),
    ),
)  # fmt: skip

# ---- 22.2


def step_cases(rng):
    def arrays(*shapes, scale=1.0):
        return [scale * np.round(rng.uniform(-9, 9, shape), 2) for shape in shapes]

    def broken(value, *shapes, where=0):
        """Arrays of which the one at `where` holds `value` somewhere."""
        found = arrays(*shapes)
        found[where].flat[int(rng.integers(found[where].size))] = value
        return found

    inf, nan = np.inf, np.nan
    yield "by hand", [np.array([8.0, inf])], 4.0, 0, 2.0, 0.5, 5
    yield "by hand", [np.array([8.0, 16.0])], 4.0, 2, 2.0, 0.5, 3
    yield "a good step", arrays((3,), (2, 2)), 8.0, 0, 2.0, 0.5, 10
    yield "a good step", arrays((2, 3), (), (4,)), 1024.0, 3, 2.0, 0.5, 10
    yield "a good step", arrays((2,), scale=1e-9), 2.0**16, 7, 2.0, 0.5, 2000
    yield "a good step", arrays((2,), scale=1e250), 2.0, 1, 2.0, 0.5, 2000
    yield "a good step", [np.array([1.5e308, 1.2e308]), np.array(-1.7e308)], 1.0, 1, 2.0, 0.5, 9
    yield "the last of a row", arrays((3,)), 16.0, 4, 2.0, 0.5, 5
    yield "the last of a row", arrays((2, 2), (2,)), 3.0, 1999, 2.0, 0.5, 2000
    yield "the last of a row", arrays((2,)), 10.0, 6, 1.5, 0.25, 7
    yield "one before the last", arrays((3,)), 16.0, 3, 2.0, 0.5, 5
    yield "every single step", arrays((3,)), 16.0, 0, 4.0, 0.5, 1
    yield "every single step", broken(inf, (3,)), 16.0, 0, 4.0, 0.5, 1
    yield "infinite", broken(inf, (3,), (2,)), 8.0, 2, 2.0, 0.5, 10
    yield "infinite", broken(-inf, (3,), (2,)), 8.0, 2, 2.0, 0.5, 10
    yield "infinite", broken(inf, (2, 2), (2,), (3,), where=2), 64.0, 5, 2.0, 0.25, 10
    yield "infinite", broken(-inf, (2,), (), where=1), 64.0, 5, 2.0, 0.25, 6
    yield "nan", broken(nan, (3,), (2,)), 8.0, 2, 2.0, 0.5, 10
    yield "nan", broken(nan, (3,), (2, 2), (4,), where=1), 8.0, 2, 2.0, 0.5, 3
    yield "infinite, of both signs", [np.array([inf, -inf]), np.ones(2)], 32.0, 4, 2.0, 0.5, 9
    yield "infinite at the end of a row", broken(inf, (3,)), 8.0, 4, 2.0, 0.5, 5
    yield "the factor stays at least 1", broken(inf, (3,)), 1.0, 0, 2.0, 0.5, 5
    yield "the factor stays at least 1", broken(nan, (3,)), 1.5, 2, 2.0, 0.5, 5
    yield "the factor stays at least 1", broken(inf, (2,)), 3.0, 2, 2.0, 0.25, 5
    yield "the factor stays at least 1", broken(inf, (2,)), 2.5, 2, 2.0, 0.5, 5
    yield "a large factor", arrays((2,), scale=1e6), 2.0**60, 4, 2.0, 0.5, 5
    yield "a large factor", broken(inf, (2,)), 2.0**60, 4, 2.0, 0.5, 5
    yield "no numbers", [], 4.0, 1, 2.0, 0.5, 5
    yield "no numbers", [], 4.0, 4, 2.0, 0.5, 5
    yield "no numbers", [np.zeros(0), np.array([2.0])], 4.0, 1, 2.0, 0.5, 5
    yield "no numbers", [np.zeros((0, 3))], 4.0, 1, 2.0, 0.5, 5
    yield "zeros", [np.zeros(3), np.zeros((1, 2))], 4.0, 1, 2.0, 0.5, 5
    yield "many arrays", broken(inf, *[(2,)] * 40, where=39), 8.0, 2, 2.0, 0.5, 10
    yield "many arrays", arrays(*[(3,)] * 40), 8.0, 2, 2.0, 0.5, 10
    last = np.round(rng.uniform(-9, 9, 400), 1)
    last[-1] = nan
    yield "many numbers", [last], 8.0, 2, 2.0, 0.5, 10


def step_reference(gradients, factor, good, growth, backoff, every):
    for g in gradients:
        for number in g.reshape(-1).tolist():
            if math.isnan(number) or math.isinf(number):
                lower = factor * backoff
                return None, (lower if lower > 1 else 1.0), 0
    unscaled = []
    for g in gradients:
        divided = [number / factor for number in g.reshape(-1).tolist()]
        unscaled.append(np.array(divided, float).reshape(g.shape))
    if (good + 1) % every == 0:
        return unscaled, factor * growth, 0
    return unscaled, factor, good + 1


SCALER = Task(
    id="22.2",
    replaces="train.precision.LossScaler.step",
    cases=step_cases,
    reference=step_reference,
    atol=1e-14,
    hints=(
        "Ask first whether all is finite, of every array: np.isfinite(g).all().",
        "Three ends: something is not finite (factor down, count 0); the row is full (factor up, "
        "count 0); else (factor as it is, count one more).",
        "if not all(np.isfinite(g).all() for g in gradients): return None, max(1.0, factor * "
        "backoff), 0. Then good + 1 is compared with every.",
    ),
    right=(
        """
        def scaled_step(gradients, factor, good, growth, backoff, every):
            unscaled = [g / factor for g in gradients]
            if not all(np.isfinite(g).all() for g in gradients):
                return None, max(1.0, factor * backoff), 0
            good = good + 1
            if good == every:
                return unscaled, factor * growth, 0
            return unscaled, factor, good""",
        """
        def scaled_step(gradients, factor, good, growth, backoff, every):
            found = []
            for g in gradients:
                with np.errstate(invalid="ignore"):
                    if np.isnan(g - g).any():
                        lower = factor * backoff
                        if lower < 1:
                            lower = 1.0
                        return [None, lower, 0]
                found.append(g * (1 / factor))
            if good + 1 < every:
                return [found, factor, good + 1]
            return [found, growth * factor, 0]""",
        """
        def scaled_step(gradients, factor, good, growth, backoff, every):
            together = np.concatenate([np.zeros(0)] + [np.ravel(g) for g in gradients])
            if np.isinf(together).any() or np.isnan(together).any():
                return None, np.maximum(factor * backoff, 1), 0
            full = good == every - 1
            return (
                [np.divide(g, factor) for g in gradients],
                factor * (growth if full else 1),
                (good + 1) % every,
            )""",
    ),
    equal=(
        ("growth = abs(growth)", "it is above 1"),
        ("factor = abs(factor)", "it is at least 1"),
        ("backoff = abs(backoff)", "it lies between 0 and 1"),
        ("good += 1", "it is a number"),
        ("isfinite(g).all() for g in list(gradients)[::-1]", "all of them are asked"),
        ("np.ravel(g) for g in list(gradients)[::-1]", "all of them are asked"),
        ("; unscaled = [g / factor", "neither needs the other"),
        ("`invalid='ignore'` left out", "it is a warning only"),
        ("if lower <= 1", "1 is 1.0"),
        ("np.ones(0)", "it is empty"),
        ("np.zeros(1)", "a 0 is finite"),
    ),
    wrong=(
        ("only infinity is looked for, not nan", "np.isfinite(g).all()", "not np.isinf(g).any()"),
        ("only nan is looked for, not infinity", "np.isfinite(g).all()", "not np.isnan(g).any()"),
        ("only the first array is looked at", "for g in gradients):", "for g in gradients[:1]):"),
        ("only the last array is looked at", "for g in gradients):", "for g in gradients[-1:]):"),
        ("it asks whether any number is finite, not all", "np.isfinite(g).all()",
         "(np.isfinite(g).any() or not g.size)"),
        ("the sum of each array is looked at, and two infinities are nan, which is let pass",
         "np.isfinite(g).all()", "not np.isinf(g[np.isfinite(g) | np.isinf(g)].sum())"),
        ("the norm is looked at, which overflows though all numbers are finite",
         "np.isfinite(g).all()", "np.isfinite((g**2).sum())"),
        ("the factor may fall below 1", "max(1.0, factor * backoff)", "factor * backoff"),
        ("the factor falls to 1 at once", "max(1.0, factor * backoff)", "1.0"),
        ("the factor is divided by backoff, and grows", "factor * backoff", "factor / backoff"),
        ("a bad step leaves the count as it is", "factor * backoff), 0", "factor * backoff), good"),
        ("a bad step leaves the factor as it is", "max(1.0, factor * backoff)", "factor"),
        ("the gradients are given back though a step is to be skipped", "return None,",
         "return unscaled,"),
        ("the count goes on after the factor grew", "factor * growth, 0", "factor * growth, good"),
        ("the factor grows at each good step", "if good == every:", "if True:"),
        ("the factor never grows", "if good == every:", "if False:"),
        ("this step is not counted", "good = good + 1", "good = good"),
        ("growth is added, not multiplied", "factor * growth", "factor + growth"),
        ("the gradients are divided by the next factor", "return unscaled, factor * growth, 0",
         "return [g / (factor * growth) for g in gradients], factor * growth, 0"),
        ("the gradients keep the factor", "[g / factor for g in gradients]",
         "[g * 1 for g in gradients]"),
    ),
)  # fmt: skip

# ---- 22.3


def hidden_cases(rng):
    loop = [
        ("x", "send", ["batch"]),
        ("scores", "model", ["x", "w"]),
        ("loss", "cross_entropy", ["scores", "labels"]),
        ("", "print", ["loss"]),
        ("value", "take", ["loss"]),
        ("", "if", ["value"]),
    ]
    total = [("", "print", ["total"]), ("total", "add", ["total", "loss"])]
    yield "by hand", total, ["loss"], 2
    yield "by hand", total, ["loss"], 1
    yield "a training loop", loop, ["w", "labels"], 1
    yield "a training loop", loop, ["w", "labels"], 7
    yield "a training loop", [*loop, ("", "if", ["loss", "value"])], ["w", "labels"], 3
    yield "nothing is there", [("y", "add", ["x", "w"]), ("", "print", ["y"])], [], 3
    yield "it was taken first", [("a", "take", ["a"]), ("", "print", ["a"])], ["a"], 3
    yield "it was taken first", [("b", "take", ["a"]), ("", "if", ["b", "a"])], ["a"], 4
    yield "it is sent later", [("", "if", ["a"]), ("a", "send", ["a"])], [], 5
    yield "it is sent later", [("", "if", ["a"]), ("a", "send", ["a"])], [], 1
    yield "several operands", [("", "print", ["a", "b", "c"]), ("", "if", ["b"])], ["a", "c"], 2
    yield "float gives a number", [("a", "float", ["a"]), ("", "print", ["a"])], ["a"], 3
    yield "float gives a number", [("f", "float", ["a"]), ("g", "add", ["f", "h"]),
                                   ("", "if", ["g"])], ["a"], 3  # fmt: skip
    yield "print and if with a name", [("a", "print", ["a"]), ("", "if", ["a"])], ["a"], 3
    yield "print and if with a name", [("b", "if", ["a"]), ("", "float", ["b"])], ["a", "b"], 2
    many = [f"n{i}" for i in range(24)]
    names = [(name, "copy", ["w"]) for name in many * 2]
    yield "many lines", [*names, ("", "if", ["n3"]), ("", "print", ["n5", "n7"])], ["w"], 3
    yield "several operands", [("", "print", many), ("c", "add", many), ("", "if", ["c"])], many, 2
    yield "one operand is enough", [("c", "add", many), ("", "if", ["c"])], many[-1:], 3
    yield "one operand is enough", [("c", "add", ["a", "b"]), ("", "if", ["c"])], ["b"], 2
    yield "one operand is enough", [("c", "add", ["a", "b"]), ("", "if", ["c"])], ["a"], 2
    yield "no operands", [("c", "zeros", []), ("", "print", ["c"]), ("", "print", [])], ["c"], 3
    yield "given anew", [("a", "zeros", []), ("", "if", ["a"]), ("a", "add", ["b"]),
                         ("", "if", ["a"])], ["b", "a"], 3  # fmt: skip
    slow = [
        ("", "print", ["e", "d", "c"]),
        ("d", "add", ["c"]),
        ("c", "add", ["b"]),
        ("b", "add", ["a"]),
    ]
    yield "it comes from afar", slow, ["a"], 2
    yield "it comes from afar", slow, ["a"], 6
    there = [("", "if", ["a"]), ("a", "add", ["b"]), ("", "if", list("eab")), ("b", "take", ["b"])]
    yield "it goes away", there, ["b"], 5
    swap = [("", "print", list("eabc"))]
    swap += [("c", "copy", ["a"]), ("a", "copy", ["b"]), ("b", "copy", ["c"])]
    yield "it comes and goes", swap, ["a"], 5
    yield "it comes and goes", swap, ["b"], 4
    yield "nothing to do", loop, ["w"], 0
    yield "nothing to do", [], ["w"], 3
    yield "many runs", swap, ["a"], 199
    yield "many runs", total, ["loss"], 200
    names = list("abcdefgh")
    functions = ["add", "multiply", "model", "send", "take", "if", "print", "float"]
    for n_lines, runs in ((8, 3), (12, 5), (20, 11), (50, 40)):
        lines = []
        for _ in range(n_lines):
            function = str(rng.choice(functions))
            n = 1 if function in ("send", "take", "float") else int(rng.integers(1, 4))
            operands = rng.permutation(names)[:n].tolist()
            result = "" if function in ("if", "print") else str(rng.choice(names))
            lines.append((result, function, operands))
        # One line asks for two that are on the device, and its first operand is not.
        a, b, c = rng.permutation(names)[:3].tolist()
        asks = "", str(rng.choice(["if", "print"])), [a, b, c]
        lines[:4] = [(b, "send", [a]), (c, "send", [a]), (a, "take", [b]), asks]
        yield "at random", lines, rng.permutation(names)[:3].tolist(), runs


def hidden_reference(lines, there, runs):
    where = {}
    for name in there:
        where[name] = "device"
    counts = [0] * len(lines)
    for _ in range(runs):
        for number, (result, function, operands) in enumerate(lines):
            places = [where.get(name, "host") for name in operands]
            if function == "send":
                new = "device"
            elif function == "take":
                new = "host"
            elif function in ("if", "print", "float"):
                counts[number] += places.count("device")
                new = "host"
            else:
                new = "device" if "device" in places else "host"
            if result:
                where[result] = new
    return counts


HIDDEN = Task(
    id="22.3",
    cases=hidden_cases,
    reference=hidden_reference,
    hints=(
        "Keep a set of the names that live on the device, and walk through the lines as the "
        "computer does; each line may add its result to the set or take it out.",
        "For each run and each line: count the operands in the set; only if, print and float add "
        "that to the line's count. Then decide where the result lives. The set stays between runs.",
        "far, counts = set(there), [0] * len(lines); n_far = sum(name in far for name in "
        "operands); send adds, take and the three that ask discard, all others add if n_far > 0 "
        "and else discard.",
    ),
    right=(
        """
        def hidden(lines, there, runs):
            far, counts = set(there), [0] * len(lines)
            for _ in range(runs):
                for i, (result, function, operands) in enumerate(lines):
                    n_far = sum(name in far for name in operands)
                    if function in ("if", "print", "float"):
                        counts[i] += n_far
                        goes_far = False
                    elif function in ("send", "take"):
                        goes_far = function == "send"
                    else:
                        goes_far = n_far > 0
                    if goes_far:
                        far.add(result)
                    else:
                        far.discard(result)
            return counts""",
        """
        def hidden(lines, there, runs):
            lives = {name: True for name in there}
            counts = np.zeros(len(lines), dtype=int)
            asks = ["if", "print", "float"]
            for run in range(runs):
                for i in range(len(lines)):
                    result, function, operands = lines[i]
                    far = [name for name in operands if lives.get(name, False)]
                    if function in asks:
                        counts[i] += len(far)
                    if function == "send":
                        lives[result] = True
                    elif function == "take" or function in asks:
                        lives[result] = False
                    else:
                        lives[result] = len(far) > 0
            return counts""",
        """
        def hidden(lines, there, runs):
            def once(far):
                found = []
                for result, function, operands in lines:
                    asked = [name for name in operands if name in far]
                    asks = function in {"if", "print", "float"}
                    found.append(len(asked) if asks else 0)
                    stays = bool(asked) and not asks and function != "take"
                    far = far - {result}
                    if stays or function == "send":
                        far = far | {result}
                return far, found

            far, counts = frozenset(there), [0] * len(lines)
            for _ in range(runs):
                far, found = once(far)
                counts = [a + b for a, b in zip(counts, found)]
            return counts""",
    ),
    equal=(
        ("far -= {result}", "of a frozenset it makes a new one"),
        ("far |= {result}", "of a frozenset it makes a new one"),
        ("function in ('print', 'if', 'float')", "to be among them has no order"),
        ("function in ('if', 'float', 'print')", "to be among them has no order"),
        ("function in ('take', 'send')", "to be among them has no order"),
        ("list(operands)[::-1]", "a count has no order"),
        ("-> counts = np.zeros(len(lines))", "whole numbers as floats are as good"),
        ("lives.get(name)]", "None counts as no"),
        ("zip(found, counts)", "a sum has no order"),
        ("def once(far):; far, counts", "neither needs the other"),
    ),
    wrong=(
        ("each run begins where the first began: what a run leaves on the device is forgotten",
         "                for i, (result", "                far = set(there)\n"
         "                for i, (result"),
        ("a line counts once, however many of its operands are on the device", "+= n_far",
         "+= n_far > 0"),
        ("a line counts its first operand alone", "+= n_far",
         "+= bool(operands) and operands[0] in far"),
        ("a line counts all its operands, wherever they live", "+= n_far", "+= len(operands)"),
        ("a line that takes or sends is counted as hidden",
         'goes_far = function == "send"', 'goes_far = function == "send"\n'
         "                        counts[i] += 1"),
        ("a line that takes what lives on the device is counted as hidden",
         'goes_far = function == "send"', 'goes_far = function == "send"\n'
         "                        counts[i] += n_far"),
        ("print is not seen as a transfer", '("if", "print", "float")',
         '("if", "float")'),
        ("float is not seen as a transfer", '("if", "print", "float")',
         '("if", "print")'),
        ("if is not seen as a transfer", '("if", "print", "float")',
         '("print", "float")'),
        ("all operands must be on the device for a result to be there", "n_far > 0",
         "n_far == len(operands) > 0"),
        ("only the first operand decides where a result lives", "n_far > 0",
         "bool(operands) and operands[0] in far"),
        ("what float gives stays on the device", "goes_far = False", "goes_far = n_far > 0"),
        ("a name that was once on the device is there for ever", "far.discard(result)", "pass"),
        ("take leaves the value on the device", 'goes_far = function == "send"',
         "goes_far = True"),
        ("send leaves the value on the host", 'goes_far = function == "send"',
         "goes_far = False"),
        ("take moves its operand, not its result", "                    if goes_far:\n",
         "                    if function == 'take':\n"
         "                        far.difference_update(operands)\n"
         "                    if goes_far:\n"),
        ("nothing that the lines make goes to the device", "far.add(result)", "pass"),
        ("it counts in how many lines, not in how many runs", "counts[i] += n_far",
         "counts[i] = n_far"),
    ),
)  # fmt: skip

# ---- 22.4


def layers_of(weights):
    """forward and backward of a network with these weights (L, D, D), and the calls of each."""
    calls = []

    def forward(i, x):
        calls.append(("forward", int(i)))
        return np.tanh(np.asarray(x, float) @ weights[int(i)])

    def backward(i, x, g):
        calls.append(("backward", int(i)))
        slope = 1 - np.tanh(np.asarray(x, float) @ weights[int(i)]) ** 2
        return (np.asarray(g, float) * slope) @ weights[int(i)].T

    return forward, backward, calls


def walk_back(answer, weights, x, g, every):
    layers = len(weights)
    forward, backward, calls = layers_of(weights)
    found = answer(forward, backward, x, g, layers, every)
    runs = [calls.count(("forward", i)) for i in range(layers)]
    if sum(runs) > 2 * layers:
        raise ValueError(f"forward was called {sum(runs)} times; allowed are {2 * layers}")
    begins = [i - i % every for i in range(layers)]  # of each layer, where its piece begins
    again, first_pass, last = [], True, begins[-1]
    for what, i in calls:
        if what == "forward":
            again.append(i)
            continue
        if first_pass:  # what ran once before the way back began is no second run
            for j in range(layers):
                if j in again and begins[j] != last:
                    again.remove(j)
            again = [j for j in again if begins[j] != last]
        if strange := [j for j in again if begins[j] != begins[i]]:
            raise ValueError(
                f"layer {strange[0]} ran a second time for a piece that it does not belong to: "
                f"that of layer {i}, which begins at layer {begins[i]}"
            )
        again, first_pass = [], False
    for i in range(layers - 1):
        if begins[i + 1] == begins[i] != last and runs[i] < 2:
            raise ValueError(
                f"layer {i} ran once, so its result was kept; it lies inside the piece that begins "
                f"at layer {begins[i]}, and only where a piece begins may a value be kept"
            )
    return found


def back_cases(rng):
    def case(group, layers, every, n=3, d=2, size=1.0):
        weights = np.round(rng.uniform(-1.2, 1.2, (layers, d, d)), 2)
        weights += np.eye(d) * 0.5
        x, g = np.round(rng.uniform(-3, 3, (2, n, d)), 2)
        return group, weights, x, size * g, every

    yield case("pieces of equal length", 4, 2)
    yield case("pieces of equal length", 6, 3, 1, 1)
    yield case("pieces of equal length", 9, 3, 2, 3)
    yield case("pieces of equal length", 16, 4)
    yield case("a short last piece", 5, 2)
    yield case("a short last piece", 7, 3, 2, 1)
    yield case("a short last piece", 10, 4)
    yield case("a short last piece", 13, 6, 1, 3)
    yield case("a last piece of one layer", 7, 3)
    yield case("a last piece of one layer", 9, 4, 2, 2)
    yield case("every layer is a piece", 3, 1)
    yield case("every layer is a piece", 8, 1, 1, 2)
    yield case("one piece", 4, 4)
    yield case("one piece", 3, 5)
    yield case("one piece", 6, 40, 2, 1)
    yield case("one layer", 1, 1)
    yield case("one layer", 1, 3, 2, 3)
    yield case("two layers", 2, 1)
    yield case("two layers", 2, 2, 1, 1)
    yield case("large and small gradients", 5, 2, size=1e5)
    yield case("large and small gradients", 5, 3, size=1e-4)
    yield case("many numbers", 6, 2, 40, 5)
    yield case("many layers", 38, 6, 1, 2)
    yield case("many layers", 35, 34, 1, 1)
    yield case("many layers", 40, 40, 1, 1)


def back_reference(weights, x, g, every):
    inputs = [x]
    for w in weights:
        inputs.append(np.tanh(inputs[-1] @ w))
    for w, y in zip(weights[::-1], inputs[:0:-1]):
        g = (g * (1 - y * y)) @ w.T
    return g


BACK = Task(
    id="22.4",
    replaces="nn.module.checkpoint",
    cases=back_cases,
    reference=back_reference,
    drive=walk_back,
    hints=(
        "Go forward once, and write down the input of each layer where a piece begins: a list, or "
        "a dict from the layer's number.",
        "Then for each piece, the last first: begin with its kept input, run its layers but the "
        "last, and collect their inputs; walk these back with backward, the last layer first.",
        "for first in reversed(range(0, layers, every)): inputs = [kept[first]]; last = min(first "
        "+ every, layers) - 1; for i in range(first, last): inputs.append(forward(i, inputs[-1])); "
        "for i in range(last, first - 1, -1): g = backward(i, inputs.pop(), g).",
    ),
    right=(
        """
        def gradient(forward, backward, x, g, layers, every):
            starts = list(range(0, layers, every))
            kept = []
            for i in range(layers):
                if i in starts:
                    kept.append(x)
                x = forward(i, x)
            while starts:
                first, inputs = starts.pop(), [kept.pop()]
                last = min(first + every, layers) - 1
                for i in range(first, last):
                    inputs.append(forward(i, inputs[-1]))
                for i in range(last, first - 1, -1):
                    g = backward(i, inputs.pop(), g)
            return g""",
        """
        def gradient(forward, backward, x, g, layers, every):
            kept = {0: x}
            for i in range(layers - 1):
                x = forward(i, x)
                if (i + 1) % every == 0:
                    kept[i + 1] = x
            inside, first = {}, layers
            for i in reversed(range(layers)):
                if i < first:
                    first = i - i % every
                    inside = {first: kept[first]}
                    for j in range(first, i):
                        inside[j + 1] = forward(j, inside[j])
                g = backward(i, inside[i], g)
            return g""",
        """
        def gradient(forward, backward, x, g, layers, every):
            def piece(first, last, x, g):
                if first == last:
                    return backward(last, x, g)
                g = piece(first + 1, last, forward(first, x), g)
                return backward(first, x, g)

            def rest(first, x, g):
                end = min(first + every, layers)
                y = x
                if end < layers:
                    for i in range(first, end):
                        y = forward(i, y)
                    g = rest(end, y, g)
                return piece(first, end - 1, x, g)

            return rest(0, x, g)""",
    ),
    equal=(
        ("(i + 1) % every == 0: -> if True", "what is kept beside cannot be seen"),
        ("(layers - 1): -> for i in range(layers):", "one run more is allowed"),
        ("-> for i in range(layers - 0):", "one run more is allowed"),
        ("if i <= first", "nothing lies between first and first"),
        ("-> def rest(first, x, g):; def piece", "two definitions"),
    ),
    wrong=(
        ("all inputs are there before the way back begins: kept, or all made again at once",
         """
        def gradient(forward, backward, x, g, layers, every):
            inputs = [x]
            for i in range(layers - 1):
                inputs.append(forward(i, inputs[-1]))
            for i in reversed(range(layers)):
                g = backward(i, inputs[i], g)
            return g"""),
        ("nothing is kept: each layer's input is made again from the beginning",
         """
        def gradient(forward, backward, x, g, layers, every):
            for i in reversed(range(layers)):
                y = x
                for j in range(i):
                    y = forward(j, y)
                g = backward(i, y, g)
            return g"""),
        ("each layer's input is made again from where its piece begins, one after the other",
         """
        def gradient(forward, backward, x, g, layers, every):
            kept = {}
            for i in range(layers):
                if i % every == 0:
                    kept[i] = x
                x = forward(i, x)
            for i in reversed(range(layers)):
                y = kept[i - i % every]
                for j in range(i - i % every, i):
                    y = forward(j, y)
                g = backward(i, y, g)
            return g"""),
        ("backward is given each layer's result, not its input",
         "g = backward(i, inputs.pop(), g)", "g = backward(i, forward(i, inputs.pop()), g)"),
        ("all layers of a piece are given the piece's first input",
         "inputs.append(forward(i, inputs[-1]))", "inputs.append(inputs[-1])"),
        ("the pieces are walked from the first to the last", "starts.pop(), [kept.pop()]",
         "starts.pop(0), [kept.pop(0)]"),
        ("inside a piece the layers are walked from the first to the last",
         "for i in range(last, first - 1, -1):\n                    g = backward(i, inputs.pop(), "
         "g)",
         "for i in range(first, last + 1):\n                    g = backward(i, inputs.pop(0), g)"),
        ("the first layer of each piece is left out on the way back",
         "range(last, first - 1, -1)", "range(last, first, -1)"),
        ("the last layer of each piece is left out on the way back",
         "range(last, first - 1, -1)", "range(last - 1, first - 1, -1)"),
        ("a short last piece is left out",
         "list(range(0, layers, every))",
         "list(range(0, layers - every + 1, every)) or [0]"),
        ("only the first piece is walked back", "while starts:",
         "del starts[1:], kept[1:]\n            while starts:"),
        ("only the last piece is walked back", "while starts:", "for _ in range(1):"),
        ("the network's last result is returned", "return g", "return x"),
        ("g of the end is given to each layer, not what came from the layer behind",
         "while starts:", "end = g\n            while starts:",
         "inputs.pop(), g)", "inputs.pop(), end)"),
    ),
)  # fmt: skip

TASKS = [HALVES, SCALER, HIDDEN, BACK]
