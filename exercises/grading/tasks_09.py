"""The tasks of lesson 09: counting and finding parameters, first weights, two layers by hand."""

import math

import numpy as np

from .task import Task

# ---- 09.1


def count_cases(rng):
    def size():
        return int(rng.integers(1, 40))

    def word():
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7).tolist())

    def linear(bias=True):
        return "linear", size(), size(), bias

    yield "one layer", [("linear", 64, 32, True)]
    yield "one layer", [linear()]
    yield "without a bias", [("linear", 3, 2, False)]
    yield "without a bias", [linear(False), linear(True), linear(False)]
    yield "activations", [("tanh",)]
    yield "activations", [("linear", 4, 5, True), ("relu",), ("linear", 5, 1, True), ("gelu",)]
    yield "activations", [("sigmoid",), linear(), ("leaky_relu",), linear()]
    yield "activations of any name", [(word(),), linear()]
    yield "activations of any name", [linear(), ("linear_" + word(),), (word() + "_linear",)]
    yield "a part that is used again", [("linear", 3, 3, True), ("again", 0)]
    yield "a part that is used again", [linear(), ("tanh",), ("again", 0), ("again", 1), linear()]
    yield "a part that is used again", [linear(), linear(), ("again", 1), ("again", 2)]
    yield "a part that is used again", [linear(), ("relu",), ("again", 0), linear(False)]
    yield "no parts", []
    yield "one input, one output", [("linear", 1, 1, True), ("linear", 1, 1, False)]
    yield "large", [("linear", 100_000, 50_000, True), ("linear", 50_000, 1, True)]
    yield "large", [("linear", 300, 300, True), ("relu",), ("linear", 300, 10, True)]
    yield "equal parts are not one part", [("linear", 7, 7, True), ("linear", 7, 7, True)]
    yield "equal parts are not one part", [("linear", 2, 9, False)] * 3
    yield "many parts", [linear(bool(rng.integers(2))) for _ in range(60)]


def count_reference(parts):
    counts = []
    for kind, *rest in parts:
        if kind != "linear":
            counts.append(0)
            continue
        n_in, n_out, bias = rest
        counts.append(sum([n_out] * (n_in + (1 if bias else 0))))
    return counts


COUNT = Task(
    id="09.1",
    replaces="nn.module.summary",
    cases=count_cases,
    reference=count_reference,
    rtol=0.0,
    atol=0.0,
    hints=(
        "How many numbers has the table of weights, and how many has the bias, if there is one?",
        "Only a linear part has parameters of its own; one that is used again was counted before.",
        "n_in * n_out + (n_out if bias else 0) for a linear part, else 0.",
    ),
    right=(
        """
        def count_parameters(parts):
            counts = []
            for part in parts:
                count = 0
                if part[0] == "linear":
                    kind, n_in, n_out, bias = part
                    count = n_in * n_out
                    if bias:
                        count += n_out
                counts.append(count)
            return counts""",
        """
        def count_parameters(parts):
            return [
                (part[1] + part[3]) * part[2] if part[0] == "linear" else 0 for part in parts
            ]""",
        """
        def count_parameters(parts):
            found = np.zeros(len(parts), dtype=np.int64)
            for i, (kind, *sizes) in enumerate(parts):
                if kind == "linear":
                    found[i] = sizes[0] * sizes[1] + int(sizes[2]) * sizes[1]
            return found""",
    ),
    equal=(
        ("list(enumerate(parts))[::-1]", "each is counted by itself"),
        ("-> count = count + n_out", "a number"),
        ("np.int64) -> found = np.zeros(len(parts))", "floats hold such counts exactly"),
    ),
    wrong=(
        ("the bias is forgotten", "if bias:", "if False:"),
        ("a bias is counted where there is none", "if bias:", "if True:"),
        ("the bias has a number for each input; it has one for each result",
         "count += n_out", "count += n_in"),
        ("the bias is counted as one number", "count += n_out", "count += 1"),
        ("inputs and results are added, not multiplied", "n_in * n_out", "n_in + n_out"),
        ("a part that is used again is counted again", 'if part[0] == "linear":',
         'while part[0] == "again":\n                    part = parts[part[1]]\n'
         '                if part[0] == "linear":'),
        ("equal parts are counted once; they are two parts with weights of their own",
         "counts.append(count)",
         "counts.append(0 if part in parts[: len(counts)] else count)"),
        ("activations are left out of the list", "counts.append(count)",
         'if part[0] == "linear": counts.append(count)'),
        ("activations are known by a list of names, and others left out", "counts.append(count)",
         "if part[0] in ('linear', 'again', 'tanh', 'relu', 'sigmoid', 'gelu', 'softmax', 'elu',\n"
         "                    'selu', 'silu', 'swish', 'leaky_relu', 'softplus', 'identity'):\n"
         "                    counts.append(count)"),
        ("the sum of all is given, not a number for each part", "return counts",
         "return [sum(counts)]"),
    ),
)  # fmt: skip

# ---- 09.2


def find_cases(rng):
    def p(number):
        return "parameter", number

    yield "a flat model", {"weight": p(0), "bias": p(1)}
    yield "a flat model", {"bias": p(7), "weight": p(3), "scale": p(5)}
    yield "parts inside parts", {"first": {"weight": p(0), "bias": p(1)}, "last": {"weight": p(2)}}
    yield "parts inside parts", {"body": {"head": {"weight": p(4)}, "scale": p(1)}, "bias": p(0)}
    yield "lists", {"layers": [p(0), p(1)]}
    yield "lists", {"layers": [{"w": p(3)}, {"w": p(2)}], "last": p(9)}
    yield "lists", {"blocks": [[p(0), [p(1)]], [], [p(2)]]}
    yield "lists", {"layers": [{"w": p(3)}, p(1)]}
    yield "lists", {"layers": [[p(2)], {"w": p(3)}, p(1)], "head": {"w": p(0)}}
    some = rng.permutation(9).tolist()
    yield "what is no parameter", {"layers": [[None, True, 0.5, 7][some[0] % 4], p(some[1])]}
    others = None, True, False, 0, 5, 0.0, -0.5, "", "w", [], {}
    order = rng.permutation(len(others)).tolist()
    yield "what is no parameter", {f"a{i}": [others[i], p(i)] for i in order}
    yield "what is no parameter", {"a": ["parameter", some[2]], "w": p(some[3])}
    yield "names of all kinds", {"parameter": {"w": p(some[4])}, "_rate": p(some[5])}
    yield "names of all kinds", {"W": p(some[6]), "w": p(some[7]), "number": {"B": p(some[8])}}
    yield "what is no parameter", {"n": 3, "weight": p(0), "name": "parameter", "bias": None}
    yield "what is no parameter", {"rate": 0.5, "layers": [1, "parameter", {"w": p(1)}], "x": True}
    yield "what is no parameter", {"n": 0, "name": "", "none": [None, None]}
    yield "shared", {"first": p(0), "again": p(0)}
    yield "shared", {"in": {"w": p(2), "b": p(3)}, "out": {"w": p(2), "b": p(4)}}
    yield "shared", {"layers": [p(5), p(5), {"w": p(5)}, p(6)], "head": [p(6), p(7)]}
    n = int(rng.integers(1, 90))
    yield "large numbers", {"a": p(n), "b": p(n + 100), "c": p(n + 1000), "d": p(n + 2**32)}
    yield "empty", {}
    yield "empty", {"layers": [], "rest": {}}
    deep = {"w": p(1)}
    for i in range(8):
        deep = {"inner": deep, f"w{i}": p(i + 2)} if i % 2 else {"inner": [deep]}
    yield "deep", deep
    yield "many", {f"w{n}": p(n) for n in rng.permutation(40).tolist()}
    numbers = rng.permutation(60).tolist()
    yield "many", {"blocks": [{"w": p(n), "more": [p(n // 2), n]} for n in numbers]}
    order = rng.permutation(12).tolist()
    yield "many", {f"part{i}": [p(i % 5), {"bias": p(i)}] for i in order}
    yield "many", {"all": [p(n) for n in rng.permutation(rng.integers(110, 140)).tolist()]}


def find_reference(model):
    found, seen, waiting = [], set(), [("", model)]
    while waiting:
        path, part = waiting.pop()
        if isinstance(part, tuple):
            if part[1] not in seen:
                seen.add(part[1])
                found.append((path, part[1]))
        elif isinstance(part, (dict, list)):
            items = part.items() if isinstance(part, dict) else enumerate(part)
            inside = [(f"{path}.{key}" if path else str(key), value) for key, value in items]
            waiting += inside[::-1]
    return found


FIND = Task(
    id="09.2",
    replaces="nn.module.Module.named_parameters",
    cases=find_cases,
    reference=find_reference,
    hints=(
        "A part that holds parts is the same question again, with a longer path. What must be "
        "remembered for the whole walk?",
        "Write a helper that gets a path, a part, the list found so far and the set of numbers "
        "seen. For a dict it goes through its items, for a list through its places.",
        "If it is a tuple: append (path, number) unless the number was seen. If a dict: for key, "
        "value in part.items(); if a list: for i, value in enumerate(part); the path inside is "
        'f"{path}.{key}", without the dot at the top.',
    ),
    right=(
        """
        def find_parameters(model):
            found, seen = [], set()

            def walk(path, part):
                if isinstance(part, tuple):
                    if part[1] not in seen:
                        seen.add(part[1])
                        found.append((path, part[1]))
                elif isinstance(part, dict):
                    for name, value in part.items():
                        walk(f"{path}.{name}" if path else name, value)
                elif isinstance(part, list):
                    for i, value in enumerate(part):
                        walk(f"{path}.{i}", value)

            walk("", model)
            return found""",
        """
        def find_parameters(model):
            def every(part):
                if type(part) is tuple:
                    yield [], part[1]
                if type(part) is list:
                    part = dict(enumerate(part))
                if type(part) is dict:
                    for key in part:
                        for path, number in every(part[key]):
                            yield [str(key)] + path, number

            first = {}
            for path, number in every(model):
                first.setdefault(number, ".".join(path))
            return [(path, number) for number, path in first.items()]""",
        """
        def find_parameters(model, path=()):
            items = model.items() if isinstance(model, dict) else enumerate(model)
            found = []
            for key, part in items:
                here = path + (str(key),)
                if isinstance(part, tuple):
                    found.append((".".join(here), part[1]))
                elif isinstance(part, (dict, list)):
                    found.extend(find_parameters(part, here))
            once = []
            for pair in found:
                if pair[1] not in [number for _, number in once]:
                    once.append(pair)
            return once""",
    ),
    wrong=(
        ("a shared parameter is listed each time", "if part[1] not in seen:", "if True:"),
        ("a shared parameter has its last path, not its first",
         "            walk(\"\", model)\n            return found",
         "            walk(\"\", model)\n            last = {}\n"
         "            seen.clear(); found.clear()\n"
         "            def again(path, part):\n"
         "                if isinstance(part, tuple): last[part[1]] = path\n"
         "                elif isinstance(part, dict):\n"
         "                    for name, value in part.items():\n"
         "                        again(f\"{path}.{name}\" if path else name, value)\n"
         "                elif isinstance(part, list):\n"
         "                    for i, value in enumerate(part): again(f\"{path}.{i}\", value)\n"
         "            again(\"\", model)\n"
         "            return [(path, number) for number, path in last.items()]"),
        ("lists are not looked into: their parts would stay untrained",
         "elif isinstance(part, list):", "elif False:"),
        ("only the attributes of the model itself are looked at, not those of its parts",
         'walk(f"{path}.{name}" if path else name, value)',
         'walk(f"{path}.{name}" if path else name, value) if path == "" and '
         'not isinstance(value, dict) else None'),
        ("the path is the last name alone", 'f"{path}.{name}" if path else name', "name"),
        ("the places in a list are counted from 1", "enumerate(part)", "enumerate(part, 1)"),
        ("a place in a list is missing from the path", 'walk(f"{path}.{i}", value)',
         "walk(path, value)"),
        ("the paths begin with a dot", 'if path else name', 'if True else name'),
        ("the parameters are sorted by their numbers", "return found",
         "return sorted(found, key=lambda pair: pair[1])"),
        ("the numbers alone are given, without paths", "found.append((path, part[1]))",
         "found.append(part[1])"),
        ("a list in a list is not entered", """
            def find_parameters(model):
                found, seen = [], set()
                def walk(path, part):
                    if isinstance(part, tuple):
                        if part[1] not in seen:
                            seen.add(part[1])
                            found.append((path, part[1]))
                    elif isinstance(part, dict):
                        for name, value in part.items():
                            walk(path + "." + name if path else name, value)
                    elif isinstance(part, list):
                        for i, value in enumerate(part):
                            if not isinstance(value, list):
                                walk(f"{path}.{i}", value)
                walk("", model)
                return found"""),
        ("what is no parameter is left out of a list before its places are counted",
         "enumerate(part)", "enumerate(v for v in part if isinstance(v, (tuple, dict, list)))"),
        ("None is left out of a list before its places are counted",
         "enumerate(part)", "enumerate(v for v in part if v is not None)"),
        ("the parameters of a list come before those of its parts; the walk keeps the order",
         "in enumerate(part)",
         "in sorted(enumerate(part), key=lambda pair: not isinstance(pair[1], tuple))"),
        ("a list that begins with \"parameter\" is taken for one; a parameter is a tuple",
         "if isinstance(part, tuple):",
         "if isinstance(part, (tuple, list)) and len(part) == 2 and part[0] == 'parameter':"),
        ("the number 0 counts as no parameter", """
            def find_parameters(model):
                first = {}
                def number(v):
                    return v[1] if isinstance(v, tuple) else None
                def walk(path, part):
                    if number(part):
                        first.setdefault(part[1], path)
                    elif isinstance(part, dict):
                        for name in part:
                            walk(path + [name], part[name])
                    elif isinstance(part, list):
                        for i in range(len(part)):
                            walk(path + [str(i)], part[i])
                walk([], model)
                return [(".".join(p), n) for n, p in first.items()]"""),
    ),
    equal=(
        ("def walk(path, part):; found, seen", "both are there before the walk begins"),
        ("in list(once)[::-1]", "it is in there or not"),
        ("(list, dict)", "either kind will do"),
        ("is list:; if type(part) is tuple", "a part is one of them"),
    ),
)  # fmt: skip

# ---- 09.3


def weights_cases(rng):
    def case(group, n_in, n_out, how):
        return group, rng.uniform(0, 1, (n_in, n_out)), how

    yield "by a number", np.array([[0.5, 1.0 - 1e-9], [0.0, 0.75]]), 3.0
    yield case("by a number", 3, 2, 1 / 3)
    yield case("by a number", 4, 7, 12.5)
    yield case("by a number", 2, 2, 0.0)
    yield case("by a number", 3, 3, 1e-6)
    yield case("by a number", 1, 2, float(1e-15 * rng.integers(1, 900)))
    yield case("by a number", 2, 2, float(1e-12 * rng.integers(1, 9000)))
    yield case("by a number", 2, 2, 1 + float(1e-8 * rng.integers(2, 90)))
    yield case("by a number", 3, 3, float(1e8 * rng.integers(1, 90)))
    yield "by a whole number", np.array([[0.5, 0.0]]), 3
    yield case("by a whole number", 3, 4, 12)
    yield case("by a whole number", 2, 3, 1)
    yield case("by a whole number", 2, 2, 0)
    yield case("lecun", 1, 1, "lecun")
    yield case("lecun", 3, 5, "lecun")
    yield case("lecun", 64, 10, "lecun")
    yield case("he", 2, 3, "he")
    yield case("he", 9, 4, "he")
    yield case("he", 100, 2, "he")
    yield case("glorot", 1, 5, "glorot")
    yield case("glorot", 5, 1, "glorot")
    yield case("glorot", 30, 20, "glorot")
    yield case("tall and wide", 200, 1, "lecun")
    yield case("tall and wide", 1, 200, "he")
    yield case("tall and wide", 150, 3, "glorot")
    yield "draws at the ends", np.array([[0.0, 0.5], [0.25, 1.0 - 2**-53]]), "he"
    yield "draws at the ends", np.zeros((2, 3)), "glorot"


def weights_reference(u, how):
    n_in, n_out = u.shape
    if isinstance(how, str):
        how = {"lecun": 1 / n_in, "he": 2 / n_in, "glorot": 2 / (n_in + n_out)}[how]
    widest = math.sqrt(3 * how)
    return np.array([[-widest + 2 * widest * value for value in row] for row in u])


WEIGHTS = Task(
    id="09.3",
    replaces="nn.init.draw",
    cases=weights_cases,
    reference=weights_reference,
    rtol=1e-9,
    atol=1e-13,
    hints=(
        "First stretch the draws from [0, 1) to [-1, 1). What is the variance of such numbers?",
        "Numbers spread evenly between -a and a have the variance a² / 3. So which a gives the "
        "variance that is wanted?",
        "variance: 1 / n_in, 2 / n_in, 2 / (n_in + n_out), or how itself; then (2 * u - 1) * "
        "np.sqrt(3 * variance).",
    ),
    right=(
        """
        def first_weights(u, how):
            n_in, n_out = u.shape
            if how == "lecun":
                variance = 1 / n_in
            elif how == "he":
                variance = 2 / n_in
            elif how == "glorot":
                variance = 2 / (n_in + n_out)
            else:
                variance = how
            return (2 * u - 1) * np.sqrt(3 * variance)""",
        """
        def first_weights(u, how):
            n_in, n_out = u.shape
            named = dict(lecun=1 / n_in, he=2 / n_in, glorot=2 / (n_in + n_out))
            variance = named[how] if how in named else how
            return (u - 0.5) * np.sqrt(12 * variance)""",
        """
        def first_weights(u, how):
            spread = 3.0 * how if not isinstance(how, str) else (
                3.0 / len(u) if how == "lecun" else
                6.0 / len(u) if how == "he" else
                6.0 / sum(u.shape))
            end = spread ** 0.5
            return np.array([[end * (value + value - 1) for value in row] for row in u])""",
    ),
    wrong=(
        ("the ends are where the standard deviation should be: the factor 3 is missing",
         "np.sqrt(3 * variance)", "np.sqrt(variance)"),
        ("the variance is taken for the end of the interval", "np.sqrt(3 * variance)",
         "variance"),
        ("the end of the interval lacks its root", "np.sqrt(3 * variance)", "3 * variance"),
        ("the draws are not centred: all weights are above 0", "(2 * u - 1)", "u"),
        ("the interval is half as wide as it should be", "(2 * u - 1)", "(u - 0.5)"),
        ("inputs and results have changed places", "n_in, n_out = u.shape",
         "n_out, n_in = u.shape"),
        ("he and lecun have changed places", 'how == "lecun"', 'how == "HE"',
         'how == "he"', 'how == "lecun"', 'how == "HE"', 'how == "he"'),
        ("glorot looks at the inputs alone", "2 / (n_in + n_out)", "1 / n_in"),
        ("glorot divides 1 by the sum, not 2", "2 / (n_in + n_out)", "1 / (n_in + n_out)"),
        ("the number counts as a standard deviation; it is a variance",
         "variance = how", "variance = how**2"),
        ("a whole number is not taken for a number", "variance = how",
         'variance = how if isinstance(how, float) else {}[how]'),
        ("the draws are standardised by their own mean and deviation",
         "(2 * u - 1) * np.sqrt(3 * variance)",
         "(u - u.mean()) / (u.std() or 1.0) * np.sqrt(variance)"),
        ("a small variance counts as 0", "variance = how",
         "variance = 0.0 if np.isclose(how, 0) else how"),
        ("the variance 0 counts as no variance given", """
            def first_weights(u, how):
                n, m = u.shape
                v = None if isinstance(how, str) else how
                if how == "lecun":
                    v = 1 / n
                if how == "he":
                    v = 2 / n
                v = v or 2 / (n + m)
                return (u - 0.5) * np.sqrt(12 * v)"""),
    ),
    equal=(
        ("-> u = abs(u)", "no draw is below 0"),
        ("-> u = np.minimum(u, 1)", "no draw is above 1"),
    ),
)  # fmt: skip

# ---- 09.4


def network_cases(rng):
    def case(group, n, d, h, k, scale=1.0):
        x, w1 = rng.normal(size=(n, d)), rng.normal(size=(d, h))
        b1, w2, b2 = rng.normal(size=h), scale * rng.normal(size=(h, k)), rng.normal(size=k)
        parts = [part.round(3) for part in (x, w1, b1, w2, b2)]
        return group, parts[0], rng.integers(0, k, n), *parts[1:]

    one = np.ones
    yield "by hand", one((1, 1)), np.array([0]), one((1, 1)), one(1), one((1, 2)), np.zeros(2)
    yield "by hand", one((1, 2)), np.array([1]), one((2, 1)), -one(1), one((1, 2)), np.zeros(2)
    yield case("one sample", 1, 2, 3, 2)
    yield case("one sample", 1, 3, 2, 4)
    yield case("several samples", 4, 2, 3, 3)
    yield case("several samples", 6, 3, 4, 2)
    yield case("several samples", 7, 5, 3, 5)
    yield case("one hidden neuron", 5, 2, 1, 3)
    yield case("one feature, one class", 4, 1, 3, 2)
    yield case("one feature, one class", 3, 2, 3, 1)
    group, x, y, w1, b1, w2, b2 = case("all hidden are off", 3, 2, 4, 3)
    yield group, abs(x), y, -abs(w1), -abs(b1) - 0.1, w2, b2
    group, x, y, w1, b1, w2, b2 = case("exactly at the corner of relu", 4, 2, 3, 3)
    yield group, 0 * x, y, w1, 0 * b1, w2, b2
    yield group, x * [1, 0], y, w1 * [[0], [1]], b1 * [0, 1, 0], w2, b2
    for e in float(1e-9 * rng.integers(1, 9)), float(1e-14 * rng.integers(1, 9)):
        w2 = np.array([1, -1]) + rng.uniform(0, 1, (2, 2)).round(3)
        yield (
            "next to the corner of relu", one((1, 1)), rng.integers(0, 2, 1), one((1, 2)),
            np.array([-1 + e, -1 - e]), w2, rng.normal(size=2).round(3),
        )  # fmt: skip
    group, *rest, b2 = case("large scores", 1, 1, 1, 2)
    yield group, *rest, b2 - rng.integers(2000, 4000)
    x = np.array([[0.0], [rng.integers(2000, 4000)]])
    yield (
        "a large input beside a small one", x, rng.integers(0, 2, 2), one((1, 1)), np.zeros(1),
        rng.uniform(1, 2, (1, 2)).round(3), rng.normal(size=2).round(3),
    )  # fmt: skip
    group, x, y, w1, b1, w2, b2 = case("large inputs", 2, 1, 2, 3, 0.001)
    yield group, 2000 * (1 + abs(x)), y, abs(w1) + 0.6, b1, w2.round(6), b2
    yield case("large scores", 4, 2, 3, 3, 400.0)
    yield case("large scores", 5, 3, 4, 2, 3000.0)
    group, x, y, *rest = case("labels that repeat", 9, 2, 3, 4)
    yield group, x, np.array([2, 2, 0, 2, 0, 2, 2, 0, 2]), *rest
    group, x, y, *rest = case("labels that repeat", 5, 2, 3, 3)
    yield group, x, np.full(5, 1), *rest
    yield case("many", 40, 35, 33, 31)
    yield case("many", 300, 3, 4, 3)
    group, x, y, *rest = case("the same sample several times", 6, 2, 3, 3)
    yield group, np.repeat(x[:1], 6, axis=0), y, *rest


def network_reference(x, labels, w1, b1, w2, b2):
    n, d = x.shape
    h, k = w2.shape
    loss = 0.0
    g_w1, g_b1, g_w2, g_b2 = np.zeros((d, h)), np.zeros(h), np.zeros((h, k)), np.zeros(k)
    for row, label in zip(x, labels):
        u = [math.fsum([b1[j], *(row[i] * w1[i, j] for i in range(d))]) for j in range(h)]
        on = [value > 0 for value in u]
        a = [value if value > 0 else 0.0 for value in u]
        s = [math.fsum([b2[c], *(a[j] * w2[j, c] for j in range(h))]) for c in range(k)]
        top = sorted(s)[-1]
        total = sum(math.exp(value - top) for value in s)
        loss += (top + math.log(total) - s[label]) / n
        for c in range(k):
            g = (math.exp(s[c] - top) / total - (c == label)) / n
            g_b2[c] += g
            for j in range(h):
                g_w2[j, c] += g * a[j]
                if on[j]:
                    g_b1[j] += g * w2[j, c]
                    for i in range(d):
                        g_w1[i, j] += g * w2[j, c] * row[i]
    return loss, g_w1, g_b1, g_w2, g_b2


NETWORK = Task(
    id="09.4",
    cases=network_cases,
    reference=network_reference,
    twice_up_to=600,
    equal=(
        ("-> s -= s.max", "the scores are an array of the answer's own"),
        ("-> g /= n", "an array of the answer's own"),
        ("in list(zip(x, labels))[::-1]", "a sum has no order"),
        ("list((w1, b1, w2, b2))[:20]", "there are four"),
        ("-> loss = loss + (", "a number"),
        ("np.outer(h, g), g)))[::-1]", "each has its own total"),
        ("np.outer(h, g), g)))[:20]", "there are four"),
        ("-> h = u * (u >= 0)", "0 times 1 is 0"),
        ("list(found)[:20]", "there are four"),
        ("-> labels = abs(labels)", "labels are numbers of classes, from 0"),
    ),
    hints=(
        "Forward in four lines: u = x @ w1 + b1, h = relu(u), the scores, the loss. Back in "
        "the other order: what is the gradient of the mean cross-entropy for the scores "
        "(lesson 05)?",
        "g = (p - one-hot) / N; from there equation (3) of lesson 07 twice, and the slope of relu, "
        "1 where u is above 0, else 0. Biases get sums over the samples.",
        "g_w2 = h.T @ g; g_b2 = g.sum(axis=0); g_u = (g @ w2.T) * (u > 0); g_w1 = x.T @ g_u; "
        "g_b1 = g_u.sum(axis=0). Take the largest score of each row out before exp.",
    ),
    right=(
        """
        def loss_and_gradients(x, labels, w1, b1, w2, b2):
            n = len(x)
            u = x @ w1 + b1
            h = np.maximum(u, 0)
            s = h @ w2 + b2
            s = s - s.max(axis=1, keepdims=True)
            log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
            loss = -log_p[np.arange(n), labels].mean()
            g = np.exp(log_p)
            g[np.arange(n), labels] -= 1
            g = g / n
            g_w2, g_b2 = h.T @ g, g.sum(axis=0)
            g_u = (g @ w2.T) * (u > 0)
            g_w1, g_b1 = x.T @ g_u, g_u.sum(axis=0)
            return loss, g_w1, g_b1, g_w2, g_b2""",
        """
        def loss_and_gradients(x, labels, w1, b1, w2, b2):
            loss = 0.0
            found = [np.zeros_like(part) for part in (w1, b1, w2, b2)]
            for row, label in zip(x, labels):
                u = row @ w1 + b1
                h = u * (u > 0)
                s = h @ w2 + b2
                top = max(s)
                p = np.exp(s - top)
                loss += np.log(p.sum()) + top - s[label]
                g = p / p.sum() - (np.arange(len(s)) == label)
                back = np.where(u > 0, w2 @ g, 0.0)
                for total, part in zip(found, (np.outer(row, back), back, np.outer(h, g), g)):
                    total += part
            return (loss / len(x), *[total / len(x) for total in found])""",
        """
        def loss_and_gradients(x, labels, w1, b1, w2, b2):
            one_hot = np.eye(len(b2))[labels]
            off = x @ w1 + b1 <= 0
            h = x @ w1 + b1
            h[off] = 0
            s = h @ w2 + b2
            top = s.max(axis=1)
            p = np.exp(s - top[:, None])
            total = p.sum(axis=1)
            loss = (np.log(total) + top - (s * one_hot).sum(axis=1)).sum() / len(s)
            g = (p / total[:, None] - one_hot) / len(s)
            to_h = np.einsum("nk,hk->nh", g, w2)
            to_h[off] = 0
            return [loss, np.einsum("nd,nh->dh", x, to_h), np.einsum("nh->h", to_h),
                    np.einsum("nh,nk->hk", h, g), np.einsum("nk->k", g)]""",
    ),
    wrong=(
        ("the slope of relu is left out on the way back", " * (u > 0)", ""),
        ("relu passes the gradient on where its input is exactly 0", "u > 0", "u >= 0"),
        ("relu stops the gradient where its input is nearly 0", "(u > 0)",
         "((u > 0) & ~np.isclose(u, 0))"),
        ("scores that are all below 0 are not shifted, so the sum of their exp is 0",
         "s.max(axis=1, keepdims=True)", "np.maximum(s.max(axis=1, keepdims=True), 0)"),
        ("the gradients are not divided by the number of samples", "g = g / n", "g = g"),
        ("the loss is summed, not averaged", ".mean()", ".sum()"),
        ("the one-hot targets are not subtracted", "g[np.arange(n), labels] -= 1", "pass"),
        ("the largest score is not taken out, so exp overflows",
         "s = s - s.max(axis=1, keepdims=True)", "s = s + 0"),
        ("the relu is forgotten on the way forward", "np.maximum(u, 0)", "u"),
        ("the gradients of the biases are means over the samples; they are sums",
         "g_w2, g_b2 = h.T @ g, g.sum(axis=0)", "g_w2, g_b2 = h.T @ g, g.mean(axis=0)",
         "g_u.sum(axis=0)", "g_u.mean(axis=0)"),
        ("the gradient of w2 is made from what relu is given, not from h", "h.T @ g", "u.T @ g"),
        ("the loss has no minus", "loss = -log_p", "loss = log_p"),
        ("the gradient of the first layer goes through the slope of tanh", "(u > 0)",
         "(1 - np.tanh(u) ** 2)"),
        ("the one-hot rows are only as long as the largest label that occurs",
         "g[np.arange(n), labels] -= 1", "g = g - np.eye(labels.max() + 1)[labels]"),
        ("labels that repeat are subtracted once",
         "g[np.arange(n), labels] -= 1",
         "first = np.unique(labels, return_index=True)[1]; g[first, labels[first]] -= 1"),
        ("the mask of relu leaves out the bias", """
            def loss_and_gradients(x, labels, w1, b1, w2, b2):
                z = x @ w1
                h = np.maximum(z + b1, 0)
                s = h @ w2 + b2
                s = s - s.max(axis=1, keepdims=True)
                p = np.exp(s) / np.exp(s).sum(axis=1, keepdims=True)
                n = len(x)
                loss = (np.log(np.exp(s).sum(axis=1)) - s[np.arange(n), labels]).mean()
                ds = (p - np.eye(p.shape[1])[labels]) / n
                dh = ds @ w2.T * (z > 0)
                return loss, x.T @ dh, dh.sum(0), h.T @ ds, ds.sum(0)"""),
    ),
)  # fmt: skip

TASKS = [COUNT, FIND, WEIGHTS, NETWORK]
