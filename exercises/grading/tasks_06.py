"""The tasks of lesson 06: derivatives on graphs of single numbers."""

from decimal import Decimal, localcontext

import numpy as np

from .task import Task

# ---- 06.1


def tape_cases(rng):
    def some(n):
        """n numbers, none of them near 0, 1 or another."""
        return [round(float(v), 1) for v in rng.permutation(np.arange(1.3, 8, 0.7))[:n]]

    a, b = some(2)
    yield "a product", [a, -b], [("*", 0, 1)]
    yield "a sum", some(2), [("+", 0, 1)]
    yield "no steps", some(2), []
    yield "a sum and a product", some(2), [("*", 0, 1), ("+", 2, 0)]
    yield "a sum and a product", some(3), [("+", 0, 1), ("*", 3, 2)]
    yield "a number used twice", some(1), [("*", 0, 0)]
    yield "a number used twice", some(1), [("+", 0, 0), ("*", 1, 1), ("*", 2, 0)]
    yield "a number used twice", some(1), [("*", 0, 0), ("+", 1, 0)]
    yield "a number used twice", some(2), [("*", 0, 0), ("*", 2, 1), ("*", 3, 0)]
    yield "products of products", some(3), [("*", 0, 1), ("*", 3, 2), ("*", 4, 3)]
    yield "numbers without effect", some(3), [("*", 0, 2), ("*", 1, 1), ("*", 3, 2)]
    yield "zeros", [0.0, a], [("*", 0, 1), ("*", 0, 0), ("+", 2, 3)]
    yield "many digits", rng.uniform(-3, 3, 3).tolist(), [("*", 0, 1), ("+", 3, 2), ("*", 4, 3)]
    small = (rng.uniform(1, 3, 3) / 5000).tolist()
    yield "small numbers", small, [("*", 0, 1), ("*", 3, 2)]
    yield "small numbers", small[:2], [("*", 0, 0), ("*", 1, 2)]
    yield "numbers without effect", some(3), [("+", 0, 1), ("*", 3, 2), ("*", 0, 2)]
    yield "the last step counts alone", some(2), [("*", 0, 1), ("+", 0, 1)]
    yield "factors below 0", [-a, -b, a], [("*", 0, 1), ("*", 1, 2), ("+", 3, 4), ("*", 5, 1)]
    far = [("*", 0, 1)] + [("+", k, 2) for k in range(4, 98)]
    yield "a long tape", rng.uniform(1, 2, 4).tolist(), [*far, ("*", 98, 3)]
    doubled = [("+", k, k) for k in range(100)]
    yield "many paths", some(1), doubled
    near = [round(1.01 + float(rng.uniform(0, 0.005)), 4)]
    yield "squares of squares", near, [("*", k, k) for k in range(6)]
    yield "large numbers", [1000.0 * v for v in some(1)], [("*", k, k) for k in range(3)]
    yield "large numbers", [1e40, -2e30, 3e20], [("*", 0, 1), ("*", 3, 2), ("+", 4, 4)]
    steps = []
    for k in range(4, 40):
        i, j = (int(v) for v in rng.integers(max(0, k - 5), k, 2))
        steps.append(("+*"[k % 3 == 0], i, j) if k % 3 else ("*", i, int(rng.integers(4))))
    yield "a long tape", [0.5, -0.7, 0.3, 1.1], steps


def tape_reference(start, steps):
    # The other direction: for each number, how fast the later ones change as it grows.
    values = list(start)
    for sign, i, j in steps:
        values.append(values[i] + values[j] if sign == "+" else values[i] * values[j])
    found = []
    for m in range(len(values)):
        speed = [0.0] * len(values)
        speed[m] = 1.0
        for k, (sign, i, j) in enumerate(steps, len(start)):
            if k > m:
                product = speed[i] * values[j] + values[i] * speed[j]
                speed[k] = speed[i] + speed[j] if sign == "+" else product
        found.append(speed[-1])
    return found


TAPE = Task(
    id="06.1",
    cases=tape_cases,
    reference=tape_reference,
    equal=(
        ("gradients[j] += g; gradients[i] += g", "the order of a sum"),
        ("list(enumerate(steps))[::-1]", "each step writes into a row of its own"),
        ("if sign == '*' and i == j: -> if False:", "the general rule gives the same"),
        ("list(((i, j), (j, i)))[::-1]", "there are two, in either order"),
        ("list(((i, j), (j, i)))[:20]", "there are two"),
        ("list(((i, j), (j, i)))[:3]", "there are two"),
        ("in ((j, i), (i, j)):", "the order of a sum"),
        ("values = values + [values[i]", "the list is its own"),
        ("values = values + ([values[i]", "the list is its own"),
        ("slopes[n + k, j] += 1 if sign == '+' else values[i]; slopes[n + k, i]", "the order"),
        ("slopes[n + k, i] = 1", "it is the first to come there"),
    ),
    hints=(
        "For y = a * b, how much does y change when a grows by a little, and b is held fixed?",
        "The slope of y for a is b, and for b it is a. What arrives at a is g times its slope.",
        "gradients[i] += g * values[j]; then the same for j. With += it is right for i == j too.",
    ),
    right=(
        """
        def tape_gradients(start, steps):
            values = list(start)
            for sign, i, j in steps:
                values.append(values[i] + values[j] if sign == "+" else values[i] * values[j])
            gradients = [0.0] * len(values)
            gradients[-1] = 1.0
            for k in reversed(range(len(steps))):
                sign, i, j = steps[k]
                g = gradients[len(start) + k]
                if sign == "+":
                    gradients[i] += g
                    gradients[j] += g
                else:
                    gradients[i] += g * values[j]
                    gradients[j] += g * values[i]
            return gradients""",
        """
        def tape_gradients(start, steps):
            values, n = list(start), len(start)
            for sign, i, j in steps:
                values += [values[i] + values[j] if sign == "+" else values[i] * values[j]]
            slopes = np.zeros((len(values), len(values)))
            for k, (sign, i, j) in enumerate(steps):
                slopes[n + k, i] += 1 if sign == "+" else values[j]
                slopes[n + k, j] += 1 if sign == "+" else values[i]
            # dL/dv = slopes^T dL/dv + (1 for the last)
            return np.linalg.solve(np.eye(len(values)) - slopes.T, np.eye(len(values))[-1])""",
        """
        def tape_gradients(start, steps):
            values = [*start]
            for sign, i, j in steps:
                values += [values[i] + values[j]] if sign == "+" else [values[i] * values[j]]
            g = {len(values) - 1: 1.0}
            for k, (sign, i, j) in reversed(list(enumerate(steps, len(start)))):
                if sign == "*" and i == j:
                    g[i] = g.get(i, 0) + 2 * values[i] * g.get(k, 0)
                    continue
                for here, other in (i, j), (j, i):
                    slope = 1 if sign == "+" else values[other]
                    g[here] = g.get(here, 0) + slope * g.get(k, 0)
            return [g.get(k, 0) for k in range(len(values))]""",
    ),
    wrong=(
        ("a share overwrites what had arrived before; shares add up, +=",
         "gradients[i] += g * values[j]", "gradients[i] = g * values[j]",
         "gradients[j] += g * values[i]", "gradients[j] = g * values[i]"),
        ("a share overwrites what had arrived before; shares add up, +=",
         "gradients[i] += g * values[j]", "gradients[i] = g * values[j]",
         "gradients[j] += g * values[i]",
         "gradients[j] = g * values[i] + (gradients[j] if i == j else 0)"),
        ("the walk ends at the first number whose gradient is 0; others before it may have an "
         "effect", 'if sign == "+":\n                    gradients',
         'if g == 0:\n                    break\n'
         '                if sign == "+":\n                    gradients'),
        ("each factor is multiplied by itself; its slope is the other factor",
         "g * values[j]", "g * values[I]", "g * values[i]", "g * values[j]", "[I]", "[i]"),
        ("the slope is added without g, the gradient that comes from above",
         "g * values[j]", "values[j]", "g * values[i]", "values[i]"),
        ("a number that is both factors gets one share; it deserves two, because 2 a is the slope "
         "of a * a", "gradients[j] += g * values[i]", "gradients[j] += g * values[i] * (i != j)"),
        ("the slope is computed as result / factor, which fails where a factor is 0",
         "g * values[j]", "g * values[len(start) + k] / values[i]",
         "g * values[i]", "g * values[len(start) + k] / values[j]"),
        ("a product is treated like a sum", "g * values[j]", "g", "g * values[i]", "g"),
        ("only the first factor gets a share", "gradients[j] += g * values[i]", "pass"),
        ("each factor gets g times the whole product",
         "g * values[j]", "g * values[i] * values[J]", "g * values[i]\n",
         "g * values[i] * values[j]\n", "[J]", "[j]"),
        ("g is halved between the two factors, as if they shared it",
         "g * values[j]", "g * values[j] / 2", "g * values[i]", "g * values[i] / 2"),
    ),
)  # fmt: skip

# ---- 06.2


def slope_cases(rng):
    def some(low, high):
        return round(float(rng.uniform(low, high)), 2)

    yield "tanh, as it was given", "tanh", some(-1, 1)
    yield "tanh, as it was given", "tanh", some(-800, -10)
    yield "tanh, as it was given", "tanh", some(10, 800)
    between = (4, 8), (8, 10), (10, 12), (12, 14.5), (14.6, 16), (16, 20), (20, 30)
    for size in (0.5, 1), (1, 3), (700, 720), (900, 999):
        yield "tanh, as it was given", "tanh", some(*size)
        yield "tanh, as it was given", "tanh", -some(*size)
    for name in "sigmoid", "softplus", "silu":
        for a in (12.2, 12.9, 18.2, 18.9, 20.3):
            yield f"{name} from 4 to 30", name, a + some(0, 0.3)
            yield f"{name} from -30 to -4", name, -a - some(0, 0.3)
        for low, high in between:
            yield f"{name} from 4 to 30", name, some(low, high)
            yield f"{name} from -30 to -4", name, some(-high, -low)
        for low, high in (40, 100), (100, 700), (711, 744), (746, 990):
            yield f"{name} of large numbers", name, some(low, high)
            yield f"{name} of large numbers", name, some(-high, -low)
        yield name, name, some(1, 9) / 10000
        yield name, name, -some(1, 9) / 10000
        yield name, name, some(1, 2)
        yield name, name, -some(1, 2)
        yield name, name, 0.0
        yield name, name, some(0.4, 0.9)
        yield name, name, some(-0.9, -0.4)
        yield name, name, some(2, 4)
        yield name, name, some(-4, -2)
        yield name, name, some(-17, -12)
        yield f"{name} of large numbers", name, some(30, 40)
        yield f"{name} of large numbers", name, 1000.0
        yield f"{name} of large numbers", name, -1000.0


def slope_reference(name, a):
    # With 60 digits, so that the plain formulas do, and a difference is as good as a slope.
    def f(a):
        e = a.exp()
        return {
            "tanh": (e - 1 / e) / (e + 1 / e),
            "sigmoid": e / (1 + e),
            "softplus": (1 + e).ln(),
            "silu": a * e / (1 + e),
        }[name]

    with localcontext() as context:
        context.prec = 60
        a, h = Decimal(a), Decimal("1e-20")
        return float(f(a)), float((f(a + h) - f(a - h)) / (2 * h))


FLAT = "so far out both sides of the border are the same in float64"
ENDS = "-301, 300", "-299, 300", "-300, 299", "-300, 301"

SLOPES = Task(
    id="06.2",
    cases=slope_cases,
    reference=slope_reference,
    equal=(
        ("-> s = (1.0 if a > 0 else", "at 0 both are the same"),
        ("-> if name == 'softplus':; if name == 'sigmoid':", "only one of them is done"),
        ("-> if name == 'sigmoid':; if name == 'tanh':", "only one of them is done"),
        ("-> if name == 'tanh':; def sigmoid(a):", "it is called later"),
        ("np.logaddexp(a, 0)", "of two sides the sum is the same both ways"),
        ("np.clip(-300, a, 300)", "NumPy takes the middle one, in whatever order"),
        *((f"np.clip(a, {ends}))", FLAT) for ends in ENDS),
        ("-> if a <= -500", FLAT),
        ("-> if a < -501", FLAT),
        ("-> if a < -499", FLAT),
        ("[a if a >= 40", FLAT),
        ("[a if a > 39", FLAT),
        ("[a if a > 41", FLAT),
    ),
    hints=(
        "Slopes by the chain rule: log(1 + e^a) is a log of something; silu is a product.",
        "With s = sigmoid(a): the slopes are s (1 - s), s, and s + a s (1 - s). For large numbers "
        "use exp(-|a|), which is never above 1, and treat a >= 0 and a < 0 apart.",
        "small = math.exp(-abs(a)); s = 1 / (1 + small) if a >= 0 else small / (1 + small); "
        "softplus is max(a, 0) + math.log1p(small).",
    ),
    right=(
        """
        import math
        def with_slope(name, a):
            if name == "tanh":
                y = math.tanh(a)
                return y, 1.0 - y * y
            small = math.exp(-abs(a))
            s = (1.0 if a >= 0 else small) / (1.0 + small)
            if name == "sigmoid":
                return s, s * (1.0 - s)
            if name == "softplus":
                return max(a, 0.0) + math.log1p(small), s
            return a * s, s + a * s * (1.0 - s)""",
        """
        def with_slope(name, a):
            s = (1 + np.tanh(a / 2)) / 2
            if name == "silu":
                return a * s, s * (1 + a * (1 - s))
            return {"tanh": (np.tanh(a), 1 / np.cosh(np.clip(a, -300, 300)) ** 2),
                    "sigmoid": (s, s - s**2), "softplus": (np.logaddexp(0, a), s)}[name]""",
        """
        import math
        def with_slope(name, a):
            def sigmoid(a):
                if a < -500:
                    return 0.0
                return 1 / (1 + math.exp(-a))
            if name == "tanh":
                return [math.tanh(a), 1 - math.tanh(a) ** 2]
            if name == "sigmoid":
                return [sigmoid(a), sigmoid(a) * sigmoid(-a)]
            if name == "softplus":
                return [a if a > 40 else math.log(1 + math.exp(a)), sigmoid(a)]
            y = a * sigmoid(a)
            return [y, y + sigmoid(a) * (1 - y)]""",
    ),
    wrong=(
        ("exp of a large number overflows; only exp of negative numbers is safe",
         "small = math.exp(-abs(a))", "big = math.exp(a)",
         "(1.0 if a >= 0 else small) / (1.0 + small)", "1.0 / (1.0 + math.exp(-a))",
         "max(a, 0.0) + math.log1p(small)", "math.log(1.0 + big)"),
        ("exp of a large number is inf in NumPy, and inf spreads; only exp of negative numbers is "
         "safe",
         "small = math.exp(-abs(a))", "big = np.exp(a)",
         "(1.0 if a >= 0 else small) / (1.0 + small)", "big / (1.0 + big)",
         "max(a, 0.0) + math.log1p(small)", "np.log(1.0 + big)"),
        ("exp(-a) overflows for numbers far below 0; only exp of negative numbers is safe",
         "(1.0 if a >= 0 else small) / (1.0 + small)", "1.0 / (1.0 + math.exp(-a))"),
        ("far below 0 everything is taken for 0, too early: results are right to seven digits",
         "small = math.exp", "if a < -20: return 0.0, 0.0\n            small = math.exp"),
        ("softplus overflows: log(1 + inf) is inf",
         "max(a, 0.0) + math.log1p(small)", "float(np.log(1.0 + np.exp(a)))"),
        ("the sigmoid has the slope of tanh, 1 - y * y", "s * (1.0 - s)\n", "1.0 - s * s\n"),
        ("the slope of softplus is that of log alone, 1 / (1 + e^a), without the inner e^a",
         "math.log1p(small), s", "math.log1p(small), 1.0 - s"),
        ("silu's slope lacks a part: in a product both factors depend on a",
         "s + a * s * (1.0 - s)", "s"),
        ("silu's slope lacks a part: the slope of its first factor, a, is 1",
         "s + a * s * (1.0 - s)", "a * s * (1.0 - s)"),
        ("silu's slope is the product of two slopes; the slope of a product is a sum",
         "s + a * s * (1.0 - s)", "s * (1.0 - s)"),
        ("the sign in the sigmoid's exponent is turned", "1.0 if a >= 0", "1.0 if a < 0"),
        ("abs(a) is not undone: for negative numbers the sigmoid is that of |a|",
         "(1.0 if a >= 0 else small)", "1.0"),
        ("softplus is cut to a relu, and its soft corner is lost",
         "max(a, 0.0) + math.log1p(small), s", "max(a, 0.0), s"),
        ("the slope of softplus is that of the sharp relu, 0 or 1",
         "math.log1p(small), s", "math.log1p(small), float(a > 0)"),
        ("the sigmoid's slope is the sigmoid itself", "s * (1.0 - s)\n", "s\n"),
    ),
)  # fmt: skip

# ---- 06.3


class Node:
    """As in the exercise: a node of a graph, which knows what it was made of."""

    def __init__(self, *inputs):
        self.inputs = inputs


def drawn_nodes(inputs):
    """inputs: of each node the numbers of its inputs; the last is the result."""
    nodes = []
    for used in inputs:
        nodes.append(Node(*(nodes[k] for k in used)))
    return nodes


def draw_it(answer, nodes, inputs):
    before = [node.inputs for node in nodes]
    number = {node: k for k, node in enumerate(nodes)}
    columns, arrows = answer(nodes[-1])
    if [node.inputs for node in nodes] != before:
        raise ValueError("the inputs of the nodes were changed; they belong to the caller")
    if any(node not in number for node in columns):
        raise ValueError("the dict holds nodes of another graph, from a call before")
    pairs = sorted([number[a], number[b]] for a, b in arrows)
    return [columns.get(node) for node in nodes], pairs


def picture_cases(rng):
    yield "a leaf alone", [[]]
    yield "one operation", [[], [], [0, 1]]
    yield "a chain", [[], [0], [1]]
    yield "an input used twice", [[], [0, 0]]
    yield "an input used twice", [[], [0, 0], [1, 1, 0]]
    yield "paths of different length", [[], [0], [1], [0, 2]]
    yield "paths of different length", [[], [0], [1], [2, 0]]
    yield "paths of different length", [[], [], [1], [2, 0], [3, 2]]
    yield "nodes that result was not made from", [[], [], [0], [0, 2], [1, 0], [2, 0]]
    inputs = [[]] * 3
    for i in range(3, 25):
        n = int(rng.integers(1, 4))
        inputs = [*inputs, [int(k) for k in rng.integers(max(0, i - 8), i, n)]]
    yield "a large graph", inputs
    yield "an input used three times", [[], [0, 0, 0]]
    chain = [[]] + [[k] for k in range(24)]
    order = rng.permutation(np.r_[np.arange(24), 3, 3, 3]).tolist()
    yield "a node with many inputs", [*chain, [*order, 24, *order[:4]]]
    yield "a node with many inputs", [*chain, [24, *order]]
    yield "a node with many inputs", [*chain, [*order, 24]]
    yield "a node with many inputs", [[], [0], [1], [2], [0, 1, 0, 3, 2, 0, 1]]
    # The input with the most inputs of its own is not the rightmost.
    yield "paths of different length", [[], [0], [1], [0, 0, 0], [3, 2], [2, 3]]
    yield "paths of different length", [[], [0], [1], [0, 0, 0], [2, 3]]
    yield "a long chain", [[]] + [[k] for k in range(100)]
    yield "a chain of 60, each link used twice", [[]] + [[i, i] for i in range(60)]


def picture_reference(inputs):
    made_of = {len(inputs) - 1}
    columns = []
    for k in reversed(range(len(inputs))):
        if k in made_of:
            made_of.update(inputs[k])
    for used in inputs:
        columns.append(1 + max((columns[k] for k in used), default=-1))
    arrows = sorted([k, i] for i, used in enumerate(inputs) if i in made_of for k in used)
    return [c if i in made_of else None for i, c in enumerate(columns)], arrows


# The longest way down from the result, as in the figure of the lesson.
FROM_RESULT = """
            def picture(result):
                columns, arrows = {result: 0}, []
                order, seen = [], set()
                def visit(node):
                    if node not in seen:
                        seen.add(node)
                        for source in node.inputs:
                            visit(source)
                            arrows.append((source, node))
                        order.append(node)
                visit(result)
                for node in reversed(order):
                    for source in node.inputs:
                        columns[source] = max(columns.get(source, 0), columns[node] + 1)"""


PICTURE = Task(
    id="06.3",
    cases=picture_cases,
    reference=picture_reference,
    equal=(
        ("list(node.inputs)[::-1]", "the order plays no part"),
        ("list(waiting.pop().inputs)[::-1]", "the order plays no part"),
        ("list(nodes)[::-1]", "the order plays no part"),
        ("graph[node] = set(node.inputs) -> graph[node] = node.inputs", "graphlib takes both"),
        ("def visit(node):; columns, arrows", "it is called later"),
        ("; columns[node] = max(", "two things apart"),
        ("-> arrows += tuple(([s, node] for s in node.inputs)); columns", "two things apart"),
    ),
    drive=draw_it,
    lends=drawn_nodes,
    hints=(
        "You know a node's column as soon as you know those of its inputs. For a leaf: 0.",
        "Visit as in the lesson's `topological`: first the inputs, then the node itself, and "
        "nothing if the node has been visited. The dict of columns can serve as `seen`.",
        "def visit(node): if node in columns: return; for each source: visit(source), "
        "arrows.append((source, node)); columns[node] = 1 + max(the columns of its inputs), "
        "or 0 for a leaf.",
    ),
    right=(
        """
        def picture(result):
            columns, arrows = {}, []
            def visit(node):
                if node in columns:
                    return
                for source in node.inputs:
                    visit(source)
                    arrows.append((source, node))
                columns[node] = 1 + max([columns[source] for source in node.inputs], default=-1)
            visit(result)
            return columns, arrows""",
        """
        def picture(result):
            nodes, waiting = [result], [result]
            while waiting:
                for source in waiting.pop().inputs:
                    if source not in nodes:
                        nodes.append(source); waiting.append(source)
            columns, moved = dict.fromkeys(nodes, 0), True
            while moved:
                moved = False
                for node in nodes:
                    for source in node.inputs:
                        if columns[node] <= columns[source]:
                            columns[node], moved = columns[source] + 1, True
            return columns, [(source, node) for node in nodes for source in node.inputs]""",
        """
        import graphlib
        def picture(result):
            graph, waiting = {}, [result]
            while waiting:
                node = waiting.pop()
                if node not in graph:
                    graph[node] = set(node.inputs)
                    waiting += node.inputs
            columns, arrows = {}, ()
            for node in graphlib.TopologicalSorter(graph).static_order():
                columns[node] = max([columns[s] + 1 for s in node.inputs] + [0])
                arrows += tuple([s, node] for s in node.inputs)
            return columns, arrows""",
    ),
    wrong=(
        ("the leftmost input decides; some arrows then lead to the left or stay in their column",
         "max([", "min(["),
        ("the first input decides alone",
         "max([columns[source] for source in node.inputs], default=-1)",
         "(columns[node.inputs[0]] if node.inputs else -1)"),
        ("the last input decides alone",
         "max([columns[source] for source in node.inputs], default=-1)",
         "(columns[node.inputs[-1]] if node.inputs else -1)"),
        ("an input that is used twice gets one arrow", "for source in node.inputs:",
         "for source in set(node.inputs):"),
        ("the arrows point backwards, from a node to its inputs",
         "(source, node)", "(node, source)"),
        ("leaves stand in column 1", "default=-1", "default=0"),
        ("columns are counted from the result, not from the leaves", FROM_RESULT + """
                return columns, arrows"""),
        ("columns are counted from the result and turned round; a leaf that is used late then "
         "stands near the result, not in column 0", FROM_RESULT + """
                last = max(columns.values())
                return {node: last - column for node, column in columns.items()}, arrows"""),
        ("every path is walked: a node is visited again for each path that leads to it, and "
         "paths multiply", """
            def picture(result):
                arrows, columns, visits = [], {}, 0
                def visit(node):
                    nonlocal visits
                    visits += 1
                    if visits > 5000:
                        raise TimeoutError("too many visits")
                    return 1 + max([visit(source) for source in node.inputs], default=-1)
                waiting = [result]
                while waiting:
                    node = waiting.pop()
                    if node not in columns:
                        columns[node] = visit(node)
                        arrows += [(source, node) for source in node.inputs]
                        waiting += node.inputs
                return columns, arrows"""),
        ("a node that is used by several gets its arrows once for each of them", """
            def picture(result):
                columns, arrows, visits = {}, [], 0
                def visit(node):
                    nonlocal visits
                    visits += 1
                    if visits > 5000:
                        raise TimeoutError("too many visits")
                    for source in node.inputs:
                        visit(source)
                        arrows.append((source, node))
                    columns[node] = 1 + max([columns[s] for s in node.inputs], default=-1)
                visit(result)
                return columns, arrows"""),
        ("each node stands one column after the node that was finished before it, so no two "
         "share a column", "1 + max([columns[source] for source in node.inputs], default=-1)",
         "len(columns)"),
        ("an arrow is noted only when its input is new",
         "visit(source)\n                    arrows.append((source, node))",
         "if source not in columns:\n                        visit(source)\n"
         "                        arrows.append((source, node))"),
        ("the result itself has no column", "return columns, arrows",
         "del columns[result]\n            return columns, arrows"),
        ("the leaves have no column", "return columns, arrows",
         "return {n: c for n, c in columns.items() if n.inputs}, arrows"),
    ),
)  # fmt: skip

# ---- 06.4


def sheet_cases(rng):
    def some(n):
        return [round(float(v), 1) for v in rng.permutation(np.arange(1.3, 8, 0.7))[:n]]

    for sign in "+-*/":
        a, b = some(2)
        yield "one formula", {"a": a, "b": b, "c": (sign, "a", "b")}, "c"
    a, b, c = some(3)
    yield "a number alone", {"a": a}, "a"
    shuffled = "formulas before their numbers"
    yield shuffled, {"c": ("*", "b", "a"), "b": ("-", "a", "d"), "d": b, "a": a}, "c"
    yield shuffled, {"z": ("/", "y", "b"), "y": ("-", "b", "a"), "a": a, "b": b}, "z"
    yield shuffled, {"a": a, "z": ("-", "a", "y"), "y": ("*", "a", "a")}, "z"
    yield shuffled, {"a": a, "z": ("-", "y", "a"), "y": ("*", "a", "a")}, "z"
    for sign in "+-*/":
        yield "a cell used twice", {"a": a, "b": (sign, "a", "a")}, "b"
    meet = {"a": a, "b": b, "c": ("*", "a", "b"), "d": ("/", "c", "a"), "e": ("*", "d", "c")}
    yield "paths that meet", meet, "e"
    # A cell that is used at once and at the end of a longer way: it must wait for both, whether
    # the shorter or the longer one is walked first.
    group = "a short and a long way"
    ways = {"d": ("*", "c", "c"), "c": ("*", "b", "k"), "b": ("+", "a", "a"), "a": a, "k": b}
    yield group, {"e": ("+", "d", "b"), **ways}, "e"
    yield group, {**dict(reversed(ways.items())), "e": ("+", "b", "d")}, "e"
    ways = {"a": a, "b": b, "c": ("-", "a", "b"), "d": ("/", "c", "b"), "e": ("*", "d", "a")}
    yield group, {**ways, "f": ("-", "e", "d"), "g": ("*", "c", "f")}, "g"
    yield group, {**ways, "f": ("-", "d", "e"), "g": ("*", "f", "c")}, "g"
    aside = {"a": a, "b": b, "c": ("*", "a", "a"), "d": ("*", "c", "b"), "e": ("+", "b", "b")}
    yield "cells without effect on the goal", aside, "c"
    yield "cells without effect on the goal", {"a": a, "b": b, "c": ("-", "a", "b")}, "b"
    # Long names: of the cases that fail, those without a circle are smaller, and so shown first.
    x, y, z = "income", "profit", "costs"
    yield "circles", {x: ("+", x, y), y: a, z: b}, x
    yield "circles", {x: ("+", y, z), y: ("*", x, z), z: c}, x
    around = {f"cell{k}": ("+", f"cell{(k + 1) % 30}", z) for k in range(30)}
    yield "circles", {**around, z: a}, "cell7"
    yield "circles elsewhere", {x: a, y: ("-", z, x), z: ("+", y, x)}, x
    yield "circles elsewhere", {x: a, y: ("-", y, x), z: ("+", x, x)}, z
    below = {"a": -a, "b": -b, "c": ("/", "a", "b"), "d": ("*", "c", "a"), "e": ("-", "d", "b")}
    yield "numbers below 0", below, "e"
    yield "numbers below 0", {"c": ("/", "a", "b"), "b": -b, "a": a}, "c"
    yield "numbers below 0", {"a": -a}, "a"
    yield "zeros", {"a": 0.0, "b": b, "c": ("*", "a", "b"), "d": ("/", "a", "b")}, "d"
    yield "zeros", {"a": 0.0, "b": b, "c": ("*", "a", "b"), "d": ("+", "c", "a")}, "d"
    digits = [*rng.uniform(-3, 3, 2).tolist(), float(rng.uniform(200, 900))]
    names = {"a": digits[0], "b": digits[1], "c": digits[2], "d": ("*", "a", "c")}
    yield "many digits", {**names, "e": ("/", "b", "c"), "f": ("-", "d", "e")}, "f"
    numbers = [f"n{k}" for k in range(4)]
    cells, known = [(name, value) for name, value in zip(numbers, some(4))], list(numbers)
    for k in range(30):
        sign, left = "+-*/"[k % 4], known[int(rng.integers(max(0, len(known) - 6), len(known)))]
        # The second cell of a product or quotient is a number, so nothing grows or is near 0.
        pool = numbers if sign in "*/" else known
        cells.append((f"f{k}", (sign, left, pool[int(rng.integers(len(pool)))])))
        known.append(f"f{k}")
    large = dict(cells[int(k)] for k in rng.permutation(len(cells)))
    yield "a large sheet", large, "f29"
    links = {f"c{k}": ("+", f"c{k - 1}", f"c{k - 1}") for k in reversed(range(1, 41))}
    yield "many paths", {**links, "c0": a}, "c40"
    links = {f"c{k}": ("+-"[k % 2], f"c{k - 1}", "d") for k in reversed(range(1, 101))}
    yield "a long chain", {**links, "c0": a, "d": b}, "c100"


def sheet_reference(sheet, goal):
    values = {name: cell for name, cell in sheet.items() if not isinstance(cell, tuple)}
    order = []
    while len(values) < len(sheet):
        ready = [n for n, c in sheet.items() if n not in values and {c[1], c[2]} <= set(values)]
        if not ready:
            raise ValueError("a circle")
        for name in ready:
            sign, a, b = sheet[name]
            a, b = values[a], values[b]
            values[name] = a + b if sign == "+" else a - b if sign == "-" else None
            if sign in "*/":
                values[name] = a * b if sign == "*" else a / b
            order.append(name)
    gradients = {}
    for moved in sheet:  # forward: how fast each cell changes as this one grows
        speed = {name: float(name == moved) for name in sheet}
        for name in order:
            sign, a, b = sheet[name]
            if name == moved:
                continue
            if sign in "+-":
                speed[name] = speed[a] + (speed[b] if sign == "+" else -speed[b])
            elif sign == "*":
                speed[name] = speed[a] * values[b] + values[a] * speed[b]
            else:
                change = speed[a] * values[b] - values[a] * speed[b]
                speed[name] = change / values[b] ** 2
        gradients[moved] = speed[goal]
    return {name: values[name] for name in sheet}, gradients


SHEET = Task(
    id="06.4",
    cases=sheet_cases,
    reference=sheet_reference,
    equal=(
        ("for name in list(sheet)[::-1]:", "any order will do"),
        ("list(reversed(order))[:-1]", "the first of the order is a number"),
        ("(b or 2)", "nothing is divided by 0"),
        ("def visit(name):; values, order", "it is called later"),
        ("gradients = {name: 0.0 for name in sheet}; for name", "two things apart"),
        ("visit(right); visit(left)", "any order will do"),
        ("+= g * for_b; gradients[left]", "the order of a sum"),
        ("if s == '+': -> if True:", "what follows writes over it"),
        ("uses = {n: c[1:] if", "graphlib takes both"),
        ("-> if s == '-':; if s == '+':", "only one of them is done"),
        ("if s == '*':; if s == '-':", "only one of them is done"),
        ("if s == '/':; if s == '*':", "only one of them is done"),
        ("list(list(found.values())[::-1])[:-1]", "the first of the order is a number"),
        ("list(list(waiting.items()))[::-1]", "any order will do"),
        ("list(zip(node.inputs, node.slopes))[::-1]", "there are two, in either order"),
        ("list(zip(node.inputs, node.slopes))[:20]", "there are two"),
        ("list(zip(node.inputs, node.slopes))[:3]", "there are two"),
        ("(o, self), (1, 1)", "both slopes are 1"),
        ("def __sub__(self, o):; def __add__", "the order of definitions"),
        ("def __mul__(self, o):; def __sub__", "the order of definitions"),
        ("def __truediv__(self, o):; def __mul__", "the order of definitions"),
    ),
    rtol=1e-6,
    hints=(
        "First find an order in which every cell comes after the two that it names. Then all is "
        "as on the tape of 06.1.",
        "Visit each cell once, its two cells first. A cell that you meet again while its visit "
        "has begun but not ended lies on a circle. Walk the order back, with += and the slopes.",
        "Slopes of a / b: 1 / b for a, and -a / b**2 for b. Begin with a gradient of 0.0 for every "
        "cell and 1.0 for goal; then, for each formula in reversed order: "
        "gradients[left] += gradients[name] * slope, and the same for right.",
    ),
    right=(
        """
        def sensitivities(sheet, goal):
            values, order, begun = {}, [], set()
            def visit(name):
                if name in values:
                    return
                if name in begun:
                    raise ValueError("a circle")
                begun.add(name)
                if isinstance(sheet[name], tuple):
                    sign, left, right = sheet[name]
                    visit(left)
                    visit(right)
                    a, b = values[left], values[right]
                    values[name] = (a + b if sign == "+" else a - b if sign == "-"
                                    else a * b if sign == "*" else a / b)
                else:
                    values[name] = sheet[name]
                order.append(name)
            for name in sheet:
                visit(name)
            gradients = {name: 0.0 for name in sheet}
            gradients[goal] = 1.0
            for name in reversed(order):
                if isinstance(sheet[name], tuple):
                    sign, left, right = sheet[name]
                    a, b, g = values[left], values[right], gradients[name]
                    for_a, for_b = {"+": (1, 1), "-": (1, -1), "*": (b, a),
                                    "/": (1 / (b or 1), -a / (b or 1) ** 2)}[sign]
                    gradients[left] += g * for_a
                    gradients[right] += g * for_b
            return values, gradients""",
        """
        import graphlib
        def sensitivities(sheet, goal):
            uses = {n: set(c[1:]) if isinstance(c, tuple) else set() for n, c in sheet.items()}
            order = list(graphlib.TopologicalSorter(uses).static_order())  # CycleError: ValueError
            v, speeds = {}, {}
            for n in order:
                seed = np.array([float(m == n) for m in sheet])
                if not uses[n]:
                    v[n], speeds[n] = sheet[n], seed
                    continue
                s, a, b = sheet[n]
                da, db = speeds[a], speeds[b]
                if s == "+": v[n], d = v[a] + v[b], da + db
                if s == "-": v[n], d = v[a] - v[b], da - db
                if s == "*": v[n], d = v[a] * v[b], da * v[b] + v[a] * db
                if s == "/": v[n], d = v[a] / v[b], da / v[b] - v[a] * db / v[b] ** 2
                speeds[n] = d + seed
            return v, dict(zip(sheet, speeds[goal]))""",
        """
        class Number:
            def __init__(self, data, inputs=(), slopes=()):
                self.data, self.inputs, self.slopes, self.grad = data, inputs, slopes, 0.0
            def __add__(self, o): return Number(self.data + o.data, (self, o), (1, 1))
            def __sub__(self, o): return Number(self.data - o.data, (self, o), (1, -1))
            def __mul__(self, o): return Number(self.data * o.data, (self, o), (o.data, self.data))
            def __truediv__(self, o):
                y = self.data / o.data
                return Number(y, (self, o), (1 / o.data, -y / o.data))
        def sensitivities(sheet, goal):
            found, waiting = {}, dict(sheet)
            while waiting:
                before = len(waiting)
                for name, cell in list(waiting.items()):
                    if isinstance(cell, float):
                        found[name] = Number(cell)
                    elif cell[1] in found and cell[2] in found:
                        a, b = found[cell[1]], found[cell[2]]
                        if cell[0] == "+": found[name] = a + b
                        elif cell[0] == "-": found[name] = a - b
                        elif cell[0] == "*": found[name] = a * b
                        else: found[name] = a / b
                    if name in found:
                        del waiting[name]
                if len(waiting) == before:
                    raise ValueError("circle")
            found[goal].grad = 1.0
            for node in list(found.values())[::-1]:
                for source, slope in zip(node.inputs, node.slopes):
                    source.grad += node.grad * slope
            return {n: found[n].data for n in sheet}, {n: found[n].grad for n in sheet}""",
    ),
    wrong=(
        ("a share overwrites what had arrived before; shares add up, +=",
         "gradients[left] += ", "gradients[left] = ", "gradients[right] += ",
         "gradients[right] = "),
        ("the cells are computed in the order of the sheet, where a formula may come before the "
         "cells that it names", "visit(left)\n", "pass\n", "visit(right)\n", "pass\n"),
        ("nothing stops the walk around a circle until Python gives up",
         "if name in begun:", "if False:"),
        ("a cell that is used a second time is taken for a circle", "if name in values:",
         "if name in values and not isinstance(sheet[name], tuple):"),
        ("only the cells that goal depends on are visited; the others have no value, and circles "
         "among them go unnoticed", "for name in sheet:\n                visit(name)",
         "visit(goal)"),
        ("the subtracted cell has slope 1; it has -1", "(1, -1)", "(1, 1)"),
        ("the divisor's slope has the wrong sign", "-a / (b or 1) ** 2", "a / (b or 1) ** 2"),
        ("the divisor's slope is 1 / b like that of the other cell", "-a / (b or 1) ** 2",
         "1 / (b or 1)"),
        ("the divisor's slope lacks the square: it is -a / b**2", "-a / (b or 1) ** 2",
         "-a / (b or 1)"),
        ("in a product each cell is multiplied by itself", '"*": (b, a)', '"*": (a, b)'),
        ("the walk begins at the last cell of the order, which need not be goal",
         "gradients[goal] = 1.0", "gradients[order[-1]] = 1.0"),
        ("the order is walked forwards; a cell must wait for all that use it",
         "for name in reversed(order):", "for name in order:"),
        ("a cell hands its gradient on before all that use it have given theirs; it must wait",
         "for name in reversed(order):",
         "walk = [goal]\n"
         "            for name in walk:\n"
         "                cell = sheet[name]\n"
         "                parts = cell[1:] if isinstance(cell, tuple) else ()\n"
         "                walk += [n for n in parts if n not in walk]\n"
         "            for name in dict.fromkeys(walk):"),
        ("a cell hands its gradient on before all that use it have given theirs; it must wait",
         "for name in reversed(order):",
         "walk = {}\n"
         "            def down(name):\n"
         "                if name not in walk:\n"
         "                    walk[name] = sheet[name]\n"
         "                    for n in sheet[name][1:] if isinstance(sheet[name], tuple) else ():\n"
         "                        down(n)\n"
         "            down(goal)\n"
         "            for name in walk:"),
        ("a cell hands its gradient on before all that use it have given theirs; it must wait",
         "for name in reversed(order):",
         "walk, left = {}, [goal]\n"
         "            while left:\n"
         "                name = left.pop()\n"
         "                if name not in walk:\n"
         "                    walk[name] = sheet[name]\n"
         "                    left += sheet[name][1:] if isinstance(sheet[name], tuple) else ()\n"
         "            for name in walk:"),
        ("the order of the sheet itself is walked back, not the order of computing",
         "for name in reversed(order):", "for name in reversed(list(sheet)):"),
        ("the slope is added without the gradient that comes from above",
         "g * for_a", "for_a * (g != 0)", "g * for_b", "for_b * (g != 0)"),
        ("cells without effect on goal are left out; they have 0.0",
         "return values, gradients",
         "return values, {n: g for n, g in gradients.items() if g}"),
        ("cells that goal does not depend on are left out; they have 0.0",
         "return values, gradients",
         "needed = [goal]\n"
         "            for name in needed:\n"
         "                cell = sheet[name]\n"
         "                parts = cell[1:] if isinstance(cell, tuple) else ()\n"
         "                needed += [n for n in parts if n not in needed]\n"
         "            return values, {n: gradients[n] for n in needed}"),
        ("a formula that names one cell twice gives it one share; it deserves two",
         "gradients[left] += g * for_a", "gradients[left] += g * for_a * (left != right)"),
        ("every path is walked: a cell is computed again for each cell that uses it, and paths "
         "multiply", """
            def sensitivities(sheet, goal):
                count = 0
                def value(name, above=()):
                    nonlocal count
                    count += 1
                    if count > 20000:
                        raise TimeoutError("too many visits")
                    if name in above:
                        raise ValueError("a circle")
                    cell = sheet[name]
                    if not isinstance(cell, tuple):
                        return cell, {name: 1.0}
                    above = *above, name
                    (a, da), (b, db) = value(cell[1], above), value(cell[2], above)
                    sign, d = cell[0], {name: 1.0}
                    for_a, for_b = {"+": (1, 1), "-": (1, -1), "*": (b, a),
                                    "/": (1 / (b or 1), -a / (b or 1) ** 2)}[sign]
                    for part, slope in (da, for_a), (db, for_b):
                        for n, g in part.items():
                            d[n] = d.get(n, 0.0) + g * slope
                    y = {"+": a + b, "-": a - b, "*": a * b, "/": a / (b or 1)}[sign]
                    return y, d
                values = {name: value(name)[0] for name in sheet}
                return values, {**dict.fromkeys(sheet, 0.0), **value(goal)[1]}"""),
    ),
)  # fmt: skip

TASKS = [TAPE, SLOPES, PICTURE, SHEET]
