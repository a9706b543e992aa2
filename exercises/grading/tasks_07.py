"""The tasks of lesson 07: references that do not use the package, and the bank of wrong answers."""

import numpy as np

from . import drive_07 as drive
from .task import Task

# ---- 07.1


def unbroadcast_cases(rng):
    def case(group, shape, big):
        return group, (np.round(rng.uniform(-9, 9, big), 1), np.array(shape, dtype=int))

    return [
        case("the same shape", (2, 3), (2, 3)),
        case("axes in front", (3,), (2, 3)),
        case("axes in front", (3,), (2, 2, 3)),
        case("axes of length 1", (2, 1), (2, 3)),
        case("axes of length 1", (1, 3), (2, 3)),
        case("axes of length 1", (1, 1), (2, 2)),
        case("both", (2, 1), (3, 2, 2)),
        case("both", (1, 1, 2), (2, 3, 2, 2)),
        case("a single number", (), (2, 2)),
        case("a single number", (), ()),
        case("empty arrays", (0,), (2, 0)),
        case("empty arrays", (1, 3), (0, 3)),
        ("large numbers", (1e8 * rng.uniform(1, 2, (40, 3)), np.array([1, 3]))),
    ]


def unbroadcast_reference(g, shape):
    total = np.zeros(tuple(shape))
    for index in np.ndindex(*g.shape):
        here = index[len(index) - len(shape) :] if len(shape) else ()
        total[tuple(i if n != 1 else 0 for i, n in zip(here, shape))] += g[index]
    return [total]


UNBROADCAST = Task(
    id="07.1", title="Undo broadcasting", name="unbroadcast", points=2,
    cases=unbroadcast_cases, reference=unbroadcast_reference, drive=drive.drive_unbroadcast,
    replaces="shapes.sum_to", rtol=1e-7,
    hints=(
        "Which axes does g have that an array of this shape did not have? There are two kinds.",
        "First sum away the axes in front until the number of axes fits. Then look at each axis "
        "where `shape` says 1 and g is longer.",
        "while g.ndim > len(shape): g = g.sum(axis=0); then, for each i with shape[i] == 1, "
        "g = g.sum(axis=i, keepdims=True).",
    ),
    wrong=(
        ("only the axes in front are summed, and the axes of length 1 stay repeated", """
            def unbroadcast(g, shape):
                while g.ndim > len(shape):
                    g = g.sum(axis=0)
                return g"""),
        ("only the axes of length 1 are summed, and the axes in front stay", """
            def unbroadcast(g, shape):
                for i in range(len(shape)):
                    if shape[-1 - i] == 1:
                        g = g.sum(axis=g.ndim - 1 - i, keepdims=True)
                return g"""),
        ("the summed axes of length 1 are dropped (keepdims is missing)", """
            def unbroadcast(g, shape):
                while g.ndim > len(shape):
                    g = g.sum(axis=0)
                axes = tuple(i for i, n in enumerate(shape) if n == 1)
                return g.sum(axis=axes) if axes else g"""),
        ("the copies are averaged; each copy passes its whole gradient on, so they add up", """
            def unbroadcast(g, shape):
                while g.ndim > len(shape):
                    g = g.mean(axis=0) if len(g) else g.sum(axis=0)
                for i, n in enumerate(shape):
                    if n == 1:
                        f = np.mean if g.shape[i] else np.sum
                        g = f(g, axis=i, keepdims=True)
                return g"""),
        ("one of the copies is taken instead of their sum", """
            def unbroadcast(g, shape):
                while g.ndim > len(shape):
                    g = g[0]
                for i, n in enumerate(shape):
                    if n == 1:
                        g = np.take(g, [0], axis=i)
                return g"""),
        ("everything is summed, and each place gets the same total", """
            def unbroadcast(g, shape):
                return g if g.shape == shape else np.full(shape, g.sum())"""),
        ("g is cut or repeated to the shape, without any sum", """
            def unbroadcast(g, shape):
                return np.resize(g, shape)"""),
        ("axes are counted from the left; broadcasting lines shapes up at the right", """
            def unbroadcast(g, shape):
                for i, n in enumerate(shape):
                    if n == 1:
                        g = g.sum(axis=i, keepdims=True)
                while g.ndim > len(shape):
                    g = g.sum(axis=-1)
                return g"""),
    ),
    right=(
        """
        def unbroadcast(g, shape):
            extra = g.ndim - len(shape)
            axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1)
            return g.sum(axis=axes).reshape(shape)""",
        """
        def unbroadcast(g, shape):
            if g.ndim > len(shape):
                return unbroadcast(np.add.reduce(g), shape)
            for i in range(g.ndim):
                if g.shape[i] != shape[i]:
                    g = np.sum(g, i, keepdims=True)
            return g""",
    ),
)  # fmt: skip

# ---- 07.2


def matmul_cases(rng):
    def case(group, a, b):
        arrays = [np.round(rng.uniform(-3, 3, s), 1) for s in (a, b)]
        shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
        return group, (np.round(rng.uniform(-3, 3, shape), 1), *arrays)

    return [
        case("square matrices", (2, 2), (2, 2)),
        case("matrices", (2, 3), (3, 4)),
        case("matrices", (1, 3), (3, 1)),
        case("a single number", (1, 1), (1, 1)),
        case("batches of one shape", (2, 2, 3), (2, 3, 2)),
        case("batches of one shape", (2, 2, 2), (2, 2, 2)),
        case("batches that broadcast", (3, 2, 2), (2, 2)),
        case("batches that broadcast", (2, 1, 2, 3), (4, 3, 1)),
        case("empty arrays", (0, 2), (2, 3)),
        case("empty arrays", (2, 2, 0), (0, 3)),
    ]


def matmul_reference(g, a, b):
    to_a, to_b = np.zeros(a.shape), np.zeros(b.shape)

    def place(x, index):
        lead = x.ndim - 2
        index = index[len(index) - lead :] if lead else ()
        return tuple(i if n != 1 else 0 for i, n in zip(index, x.shape))

    for index in np.ndindex(*g.shape[:-2]):
        ia, ib = place(a, index), place(b, index)
        for i, j, k in np.ndindex(a.shape[-2], b.shape[-1], a.shape[-1]):
            # y[i, j] is the sum over k of a[i, k] * b[k, j]
            to_a[(*ia, i, k)] += g[(*index, i, j)] * b[(*ib, k, j)]
            to_b[(*ib, k, j)] += g[(*index, i, j)] * a[(*ia, i, k)]
    return [to_a, to_b]


SUM_TO = """
            def sum_to(g, shape):
                extra = g.ndim - len(shape)
                axes = tuple(range(extra)) + tuple(
                    i + extra for i, n in enumerate(shape) if n == 1)
                return g.sum(axis=axes).reshape(shape)
"""

MATMUL = Task(
    id="07.2", title="The gradient of a matrix product", name="matmul_gradient", points=3,
    cases=matmul_cases, reference=matmul_reference, drive=drive.drive_matmul_gradient,
    replaces="ops.matmul", needs=("07.1",),
    hints=(
        "The gradient of a has a's shape. Which product of g (n, m) and b (k, m after turning) "
        "gives (n, k)?",
        "dL/da = g bT and dL/db = aT g. In a batch only the last two axes are turned.",
        "unbroadcast(g @ np.swapaxes(b, -1, -2), a.shape), and the same idea for b.",
    ),
    wrong=(
        ("b is not transposed, nor is a", SUM_TO + """
            def matmul_gradient(g, a, b):
                return sum_to(g @ b, a.shape), sum_to(a @ g, b.shape)"""),
        ("the gradient of b comes out transposed: gT a instead of aT g", SUM_TO + """
            def matmul_gradient(g, a, b):
                T = lambda x: np.swapaxes(x, -1, -2)
                to_b = T(g) @ a
                return sum_to(g @ T(b), a.shape), to_b"""),
        (".T turns all axes of a batch; only the last two may change places", SUM_TO + """
            def matmul_gradient(g, a, b):
                return sum_to(g @ b.T, a.shape), sum_to(a.T @ g, b.shape)"""),
        ("a matrix that served the whole batch gets a gradient for each member, not their sum", """
            def matmul_gradient(g, a, b):
                T = lambda x: np.swapaxes(x, -1, -2)
                return g @ T(b), T(a) @ g"""),
        ("the two gradients are exchanged", SUM_TO + """
            def matmul_gradient(g, a, b):
                T = lambda x: np.swapaxes(x, -1, -2)
                return sum_to(T(a) @ g, b.shape), sum_to(g @ T(b), a.shape)"""),
        ("g is left out: dL/dy is not 1 everywhere", SUM_TO + """
            def matmul_gradient(g, a, b):
                T = lambda x: np.swapaxes(x, -1, -2)
                ones = np.ones_like(g)
                return sum_to(ones @ T(b), a.shape), sum_to(T(a) @ ones, b.shape)"""),
        ("the batch is averaged; its members add up", """
            def matmul_gradient(g, a, b):
                T = lambda x: np.swapaxes(x, -1, -2)
                def mean_to(x, shape):
                    extra = x.ndim - len(shape)
                    axes = tuple(range(extra)) + tuple(
                        i + extra for i, n in enumerate(shape[:-2]) if n == 1)
                    return x.mean(axis=axes).reshape(shape)
                return mean_to(g @ T(b), a.shape), mean_to(T(a) @ g, b.shape)"""),
    ),
    right=(
        SUM_TO + """
            def matmul_gradient(g, a, b):
                return (sum_to(np.einsum("...nm,...km->...nk", g, b), a.shape),
                        sum_to(np.einsum("...nm,...nk->...km", g, a), b.shape))""",
        SUM_TO + """
            def matmul_gradient(g, a, b):
                to_a = (g[..., :, None, :] * b[..., None, :, :]).sum(-1)
                to_b = (a[..., :, :, None] * g[..., :, None, :]).sum(-3)
                return [sum_to(to_a, a.shape), sum_to(to_b, b.shape)]""",
    ),
)  # fmt: skip

# ---- 07.3


def graph(rng, n, leaves, width=6):
    """A random graph of n nodes; the first are leaves, each other one is made of two before it."""
    inputs = np.full((n, 2), -1)
    slopes = np.round(rng.uniform(-1.5, 1.5, (n, 2)), 1)
    for i in range(leaves, n):
        inputs[i] = rng.integers(max(0, i - width), i, 2)
    return inputs, slopes


def graph_cases(rng):
    def small(group, rows, slopes):
        return group, (np.array(rows), np.array(slopes, dtype=float))

    none = (-1, -1)
    n = 20000
    chain = np.full((n, 2), -1)
    chain[1:, 0] = np.arange(n - 1)
    return [
        small("one operation", [none, none, (0, 1)], [(0, 0), (0, 0), (3, -2)]),
        small("a leaf alone", [none], [(0, 0)]),
        small("a chain", [none, (0, -1), (1, -1)], [(0, 0), (2, 0), (5, 0)]),
        small("a variable used twice", [none, (0, 0)], [(0, 0), (3, 4)]),
        small("paths that meet", [none, (0, -1), (0, -1), (1, 2)],
              [(0, 0), (2, 0), (3, 0), (5, 7)]),
        small("paths of different length", [none, (0, -1), (1, -1), (0, 2)],
              [(0, 0), (2, 0), (3, 0), (5, 7)]),
        small("paths of different length", [none, (0, -1), (1, 0), (2, 1), (3, 1)],
              [(0, 0), (2, 0), (3, 1), (5, 7), (2, 3)]),
        small("nodes that do not matter", [none, none, (0, 1), (0, -1)],
              [(0, 0), (0, 0), (1, 1), (4, 0)]),
        ("a large graph", graph(rng, 40, 4)),
        ("a chain of 20,000", (chain, np.ones((n, 2)))),
    ]  # fmt: skip


def graph_reference(inputs, slopes):
    g = np.zeros(len(inputs))
    g[-1] = 1
    for i in range(len(inputs) - 1, -1, -1):
        for k in range(2):
            if inputs[i, k] >= 0:
                g[inputs[i, k]] += g[i] * slopes[i, k]
    return [g]


BACKWARD = Task(
    id="07.3", title="The walk back", name="backward", points=4,
    cases=graph_cases, reference=graph_reference, drive=drive.drive_backward,
    replaces="tensor._walk", rtol=1e-7, seconds=30,
    hints=(
        "When may a node hand its gradient on? When all nodes that used it have sent their share.",
        "A node's number is higher than those of its inputs. Always take the waiting node with "
        "the highest number.",
        "Keep a dict of shares and a heap of -number; pop one, and for each input: "
        "shares[x] = shares.get(x, 0.0) + g * slope; push x when it is new.",
    ),
    wrong=(
        ("gradients overwrite instead of adding up", """
            def backward(result):
                nodes, seen, todo = [], set(), [result]
                while todo:
                    node = todo.pop()
                    if node not in seen:
                        seen.add(node); nodes.append(node); todo += node.inputs
                grads = {result: 1.0}
                for node in sorted(nodes, key=lambda n: -n.number):
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads[node] * slope
                return grads"""),
        ("the walk calls itself for each node: right on small graphs, too deep on long chains", """
            def backward(result):
                order, seen = [], set()
                def visit(node):
                    if node not in seen:
                        seen.add(node)
                        for x in node.inputs:
                            visit(x)
                        order.append(node)
                visit(result)
                grads = {result: 1.0}
                for node in reversed(order):
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads.get(x, 0.0) + grads[node] * slope
                return grads"""),
        ("a node hands its gradient on before all of its users have sent their share", """
            def backward(result):
                grads, todo, seen = {result: 1.0}, [result], {result}
                while todo:
                    node = todo.pop(0)
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads.get(x, 0.0) + grads[node] * slope
                        if x not in seen:
                            seen.add(x); todo.append(x)
                return grads"""),
        ("a node is visited once for each user and hands on what it had handed on before", """
            def backward(result):
                grads, todo, visits = {result: 1.0}, [result], 0
                while todo and visits < 50000:
                    visits += 1
                    node = todo.pop(0)
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads.get(x, 0.0) + grads[node] * slope
                        todo.append(x)
                return grads"""),
        ("the local slope is stored without the gradient that comes from above", """
            def backward(result):
                grads, todo, seen = {result: 1.0}, [result], {result}
                while todo:
                    node = todo.pop()
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads.get(x, 0.0) + slope
                        if x not in seen:
                            seen.add(x); todo.append(x)
                return grads"""),
        ("only the first input of each node is followed", """
            def backward(result):
                grads, node = {result: 1.0}, result
                while node.inputs:
                    x = node.inputs[0]
                    grads[x] = grads[node] * node.slopes[0]
                    node = x
                return grads"""),
        ("the walk begins with 0, so everything stays 0; dL/dL is 1", """
            def backward(result):
                import heapq
                grads, heap, by = {result: 0.0}, [-result.number], {result.number: result}
                while heap:
                    node = by[-heapq.heappop(heap)]
                    for x, slope in zip(node.inputs, node.slopes):
                        if x not in grads:
                            heapq.heappush(heap, -x.number); by[x.number] = x
                        grads[x] = grads.get(x, 0.0) + grads[node] * slope
                return grads"""),
    ),
    right=(
        """
        def backward(result):
            users, todo, seen = {}, [result], {result}
            while todo:
                for x in todo.pop().inputs:
                    users[x] = users.get(x, 0) + 1
                    if x not in seen:
                        seen.add(x); todo.append(x)
            grads, ready = {result: 1.0}, [result]
            while ready:
                node = ready.pop()
                for x, slope in zip(node.inputs, node.slopes):
                    grads[x] = grads.get(x, 0.0) + grads[node] * slope
                    users[x] -= 1
                    if not users[x]:
                        ready.append(x)
            return grads""",
        """
        from collections import defaultdict
        def backward(result):
            nodes, todo = {}, [result]
            while todo:
                node = todo.pop()
                if node.number not in nodes:
                    nodes[node.number] = node
                    todo.extend(node.inputs)
            grads = defaultdict(float)
            grads[result] += 1
            for number in sorted(nodes, reverse=True):
                for k, x in enumerate(nodes[number].inputs):
                    grads[x] += nodes[number].slopes[k] * grads[nodes[number]]
            return dict(grads)""",
    ),
)  # fmt: skip

# ---- 07.4


def check_cases(rng):
    def case(group, which, shape, dtype=float):
        x = rng.uniform(0.4, 1.6, shape)
        return group, (np.array(which), (4 * x).astype(dtype) if dtype is int else x.astype(dtype))

    return [
        case("right gradients", 0, (3,)),
        case("right gradients", 2, (2, 2)),
        case("right gradients", 6, (3,)),
        case("a wrong factor", 1, (2, 3)),
        case("a wrong sign", 3, (4,)),
        case("wrong in one place", 5, (2, 3)),
        case("wrong by a little", 7, (3,)),
        case("whole numbers", 0, (3,), int),
        case("whole numbers", 1, (3,), int),
        case("float32", 2, (3,), np.float32),
        case("float32", 6, (3,), np.float32),
        case("a single number", 1, ()),
    ]


def check_reference(which, x):
    """The exact error: with the true gradient in place of central differences."""
    truth = drive.FUNCTIONS[int(which) // 2 * 2][1](x.astype(float))
    claimed = drive.FUNCTIONS[int(which)][1](x.astype(float))
    scale = np.maximum(1, np.maximum(abs(truth), abs(claimed)))
    return [np.array(np.max(abs(truth - claimed) / scale)), np.array(True)]


def checker(
    body, *, step="1e-5", start="x = np.array(x, dtype=float)", end="return float(worst.max())"
):
    """A gradient check in which one thing can be changed."""
    return f"""
            def gradient_check(f, gradient, x):
                {start}
                h, slopes = {step}, np.zeros(x.shape)
                for i in np.ndindex(*x.shape):
                    {body}
                claimed = gradient(x)
                worst = abs(slopes - claimed) / np.maximum(1, np.maximum(abs(slopes), abs(claimed)))
                {end}"""


MOVE = "up, down = x.copy(), x.copy(); up[i] += h; down[i] -= h; "
RIGHT = MOVE + "slopes[i] = (f(up) - f(down)) / (2 * h)"

CHECK = Task(
    id="07.4", title="A gradient check", name="gradient_check", points=4,
    cases=check_cases, reference=check_reference, drive=drive.drive_gradient_check,
    rtol=2e-2, atol=2e-7,
    hints=(
        "Move one element of x a little up and a little down, all others held fixed.",
        "Work on a float64 copy. For each element: (f(up) - f(down)) / (2 h) with h about 1e-5. "
        "Then compare with gradient(x), relative to the larger of 1 and both sizes.",
        "for i in np.ndindex(*x.shape): copy x twice, add h to one copy's [i], take h from the "
        "other's; at the end max(|n - a| / max(1, |n|, |a|)).",
    ),
    wrong=(
        ("the difference is taken on one side only; its error is of the size of h, not h squared",
         checker("up = x.copy(); up[i] += h; slopes[i] = (f(up) - f(x)) / h")),
        ("the two points are 2 h apart, but the difference is divided by h",
         checker(MOVE + "slopes[i] = (f(up) - f(down)) / h")),
        ("all elements are moved at once, so every slope is the sum of all slopes",
         checker("slopes[i] = (f(x + h) - f(x - h)) / (2 * h)")),
        ("x itself is moved and not put back",
         checker("x[i] += h; high = f(x); x[i] -= 2 * h; slopes[i] = (high - f(x)) / (2 * h)",
                 start="x = np.asarray(x, dtype=float)")),
        ("the mean of the errors is returned, and one wrong element hides among the right ones",
         checker(RIGHT, end="return float(worst.mean())")),
        ("the error is not divided by the size of the gradients",
         checker(RIGHT, end="return float(abs(slopes - claimed).max())")),
        ("float32 (or whole numbers) is not raised to float64, and h drowns in rounding",
         checker(RIGHT, start="x = np.array(x)")),
        ("the sign of the difference is kept, and an error below counts as none",
         checker(RIGHT, end="return float(((claimed - slopes) / np.maximum(1, np.maximum("
                            "abs(slopes), abs(claimed)))).max())")),
        ("h is so small that rounding is larger than the difference", checker(RIGHT, step="1e-13")),
        ("h is so large that the curve bends between the two points", checker(RIGHT, step="1e-2")),
    ),
    right=(
        """
        def gradient_check(f, gradient, x):
            x = np.asarray(x, dtype=np.float64)
            a = np.asarray(gradient(x.copy()), dtype=np.float64).ravel()
            errors = []
            for i in range(x.size):
                e = np.zeros(x.size); e[i] = 3e-6
                e = e.reshape(x.shape)
                n = (f(x + e) - f(x - e)) / 6e-6
                errors.append(abs(n - a[i]) / max(1.0, abs(n), abs(a[i])))
            return max(errors)""",
        """
        def gradient_check(f, gradient, x):
            x = x.astype("float64")
            claimed, h, worst = gradient(x), 1e-4, 0.0
            for i in np.ndindex(x.shape):
                def at(steps):
                    y = x.copy(); y[i] += steps * h
                    return f(y)
                slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
                c = claimed[i]
                worst = max(worst, abs(slope - c) / max(1, abs(slope), abs(c)))
            return worst""",
    ),
)  # fmt: skip

TASKS = [UNBROADCAST, MATMUL, BACKWARD, CHECK]
