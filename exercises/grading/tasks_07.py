"""The tasks of lesson 07: the heart of the engine, on plain arrays."""

import numpy as np

from .task import Task

# ---- 07.1


def unbroadcast_cases(rng):
    def some(*shape):
        return np.round(rng.uniform(-9, 9, shape), 1)

    yield "the same shape", some(2, 3), (2, 3)
    yield "axes in front", some(2, 3), (3,)
    yield "axes in front", some(2, 2, 3), (3,)
    yield "axes of length 1", some(2, 3), (2, 1)
    yield "axes of length 1", some(2, 3), (1, 3)
    yield "axes of length 1", some(2, 2), (1, 1)
    yield "both", some(3, 2, 2), (2, 1)
    yield "both", some(2, 3, 2, 2), (1, 1, 2)
    yield "a single number", some(2, 2), ()
    yield "a single number", some(), ()
    yield "empty arrays", some(2, 0), (0,)
    yield "empty arrays", some(0, 3), (1, 3)
    yield "both", some(2, 3, 2, 4, 3), (3, 1, 4, 1)
    yield "both", some(2, 2, 3, 2, 3), (2, 1, 2, 1)
    yield "axes in front", some(2, 3, 2, 2, 2), (2,)
    yield "axes in front", some(2, 2, 2, 2), (2, 2)
    yield "axes of length 1", some(2, 3, 2, 3), (2, 1, 2, 1)
    yield "axes of length 1", some(3, 3, 3), (3, 1, 3)
    yield "axes of length 1", some(2, 3, 4, 2, 3), (1, 3, 1, 2, 1)
    yield "axes of length 1 on both sides", some(1, 8), (1, 8)
    yield "axes of length 1 on both sides", some(3, 1, 3), (1, 1, 3)
    yield "a single number", some(2, 3, 2, 2), ()
    yield "many digits", rng.normal(size=(25, 4)), (1, 4)
    yield "many digits", rng.normal(size=(3, 22, 2)), (22, 1)
    yield "empty arrays", some(0, 3), (3,)
    yield "empty arrays", some(2, 0, 3), (1, 3)
    yield "empty arrays", some(0, 2), ()
    yield "small numbers", 1e-7 * rng.uniform(1, 2, (4, 3)), (3,)
    yield "large numbers", 1e8 * rng.uniform(1, 2, (40, 3)), (1, 3)


def unbroadcast_reference(g, shape):
    total = np.zeros(shape)
    for index in np.ndindex(*g.shape):
        here = index[len(index) - len(shape) :] if len(shape) else ()
        total[tuple(i if n != 1 else 0 for i, n in zip(here, shape))] += g[index]
    return total


UNBROADCAST = Task(
    id="07.1",
    replaces="engine.shapes.sum_to",
    cases=unbroadcast_cases,
    reference=unbroadcast_reference,
    equal=(
        ("list(enumerate(shape))[::-1]", "any order will do"),
        ("list(enumerate(shape))[:20]", "no array has so many axes"),
        (", 30)", "no array has so many axes"),
    ),
    hints=(
        "Which axes does g have that an array of this shape did not have? There are two kinds.",
        "First sum away the axes in front until the number of axes fits. Then look at each axis "
        "where `shape` says 1 and g is longer.",
        "while g.ndim > len(shape): g = g.sum(axis=0); then, for each i with shape[i] == 1, "
        "g = g.sum(axis=i, keepdims=True).",
    ),
    right=(
        """
        def unbroadcast(g, shape):
            while g.ndim > len(shape):
                g = g.sum(axis=0)
            for i, n in enumerate(shape):
                if n == 1:
                    g = g.sum(axis=i, keepdims=True)
            return g""",
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
    wrong=(
        ("only the axes in front are summed, and the axes of length 1 stay repeated",
         "if n == 1:", "if False:"),
        ("only the axes of length 1 are summed, and the axes in front stay",
         "while g.ndim > len(shape):", "while False:",
         "axis=i,", "axis=g.ndim - len(shape) + i,"),
        ("the summed axes of length 1 are dropped (keepdims is missing)", """
            def unbroadcast(g, shape):
                while g.ndim > len(shape):
                    g = g.sum(axis=0)
                axes = tuple(i for i, n in enumerate(shape) if n == 1)
                return g.sum(axis=axes) if axes else g"""),
        ("the copies are averaged; each copy passes its whole gradient on, so they add up",
         "g.sum(axis=0)", "g.sum(axis=0) / max(len(g), 1)",
         "g.sum(axis=i, keepdims=True)", "g.sum(axis=i, keepdims=True) / max(g.shape[i], 1)"),
        ("the copies along the axes of length 1 are averaged; each copy passes its whole gradient "
         "on, so they add up",
         "g.sum(axis=i, keepdims=True)", "g.sum(axis=i, keepdims=True) / g.shape[i]"),
        ("one of the copies is taken instead of their sum",
         "g.sum(axis=0)", "g[0]", "g.sum(axis=i, keepdims=True)", "np.take(g, [0], axis=i)"),
        ("one of the copies along each axis of length 1 is taken instead of their sum",
         "g.sum(axis=i, keepdims=True)", "g[(slice(None),) * i + (slice(0, 1),)]"),
        ("only the first axis of length 1 is summed; there may be several",
         "g = g.sum(axis=i, keepdims=True)", "g = g.sum(axis=i, keepdims=True); break"),
        ("an axis of length 1 is dropped when it is summed, and those after it move "
         "(keepdims is missing)", "axis=i, keepdims=True", "axis=i"),
        ("everything is summed, and each place gets the same total", """
            def unbroadcast(g, shape):
                return g if g.shape == shape else np.full(shape, g.sum())"""),
        ("g is cut or repeated to the shape, without any sum", """
            def unbroadcast(g, shape):
                return np.resize(g, shape)"""),
        ("g is only given another shape; where places were repeated, their gradients add up", """
            def unbroadcast(g, shape):
                return g.reshape(shape)"""),
        ("axes are counted from the left; broadcasting lines shapes up at the right", """
            def unbroadcast(g, shape):
                for i, n in enumerate(shape):
                    if n == 1:
                        g = g.sum(axis=i, keepdims=True)
                while g.ndim > len(shape):
                    g = g.sum(axis=-1)
                return g"""),
        ("along the axes of length 1 the mean is taken; the shares of the copies add up",
         "g.sum(axis=i, keepdims=True)",
         "g.sum(axis=i, keepdims=True) / max(g.shape[i], 1)"),
    ),
)  # fmt: skip

# ---- 07.2


def matmul_cases(rng):
    def case(group, a, b):
        shape = (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])
        return group, *(np.round(rng.uniform(-3, 3, s), 1) for s in (shape, a, b))

    yield case("square matrices", (2, 2), (2, 2))
    yield case("matrices", (2, 3), (3, 4))
    yield case("matrices", (1, 3), (3, 1))
    yield case("a single number", (1, 1), (1, 1))
    yield case("batches of one shape", (2, 2, 3), (2, 3, 2))
    yield case("batches of one shape", (2, 2, 2), (2, 2, 2))
    yield case("batches that broadcast", (3, 2, 2), (2, 2))
    yield case("batches that broadcast", (2, 1, 2, 3), (4, 3, 1))
    yield case("batches that broadcast", (3, 2, 2), (1, 2, 3))
    yield case("batches that broadcast", (4, 3, 2, 2), (1, 2, 3))
    yield case("batches that broadcast", (4, 3, 2, 2), (4, 1, 2, 3))
    yield case("batches that broadcast", (2, 3, 2, 3), (1, 1, 3, 2))
    yield case("batches that broadcast", (2, 3, 2, 3), (3, 2))
    yield case("batches that broadcast", (2, 2), (3, 2, 2))
    yield case("batches that broadcast", (1, 2, 3), (5, 3, 2))
    yield case("batches of one shape", (2, 3, 2, 3), (2, 3, 3, 2))
    yield case("batches of one shape", (2, 2, 2, 2), (2, 2, 2, 2))
    yield "large matrices", *(rng.normal(size=s) for s in ((24, 23), (24, 22), (22, 23)))
    yield "a large batch", *(rng.normal(size=s) for s in ((24, 2, 3), (24, 2, 2), (24, 2, 3)))
    yield case("empty arrays", (0, 2), (2, 3))
    yield case("empty arrays", (2, 2, 0), (0, 3))


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
    return to_a, to_b


MATMUL = Task(
    id="07.2",
    replaces="engine.ops.matmul",
    needs=("07.1",),
    cases=matmul_cases,
    reference=matmul_reference,
    equal=(("np.swapaxes(x, -2, -1)", "the two are exchanged, whichever is named first"),),
    hints=(
        "The gradient of a has a's shape. Which product of g (N, K) and b (D, K before turning) "
        "gives (N, D)?",
        "dL/da = g bT and dL/db = aT g. In a batch only the last two axes are turned.",
        "unbroadcast(g @ np.swapaxes(b, -1, -2), a.shape), and the same idea for b.",
    ),
    right=(
        """
        def matmul_gradient(g, a, b):
            T = lambda x: np.swapaxes(x, -1, -2)
            to_a, to_b = g @ T(b), T(a) @ g
            return unbroadcast(to_a, a.shape), unbroadcast(to_b, b.shape)""",
        """
        def matmul_gradient(g, a, b):
            return (unbroadcast(np.einsum("...nm,...km->...nk", g, b), a.shape),
                    unbroadcast(np.einsum("...nm,...nk->...km", g, a), b.shape))""",
        """
        def matmul_gradient(g, a, b):
            to_a = (g[..., :, None, :] * b[..., None, :, :]).sum(-1)
            to_b = (a[..., :, :, None] * g[..., :, None, :]).sum(-3)
            return [unbroadcast(to_a, a.shape), unbroadcast(to_b, b.shape)]""",
    ),
    wrong=(
        ("a is not transposed", "T(a) @ g", "a @ g"),
        ("the factors of b's gradient change places: g aT instead of aT g", "T(a) @ g", "g @ T(a)"),
        ("the gradient of b comes out transposed: gT a instead of aT g", "T(a) @ g", "T(g) @ a"),
        (".T turns all axes of a batch; only the last two may change places",
         "T(a) @ g", "a.T @ g"),
        ("a matrix that served the whole batch gets a gradient for each member, not their sum",
         "unbroadcast(to_b, b.shape)", "to_b"),
        ("only the batch axes that b lacks are summed; one of length 1 was repeated too",
         "unbroadcast(to_b, b.shape)", "to_b.sum(axis=tuple(range(to_b.ndim - b.ndim)))"),
        ("only batch axes that are missing are summed, in a and in b; one of length 1 was "
         "repeated too",
         "unbroadcast(to_a, a.shape)", "to_a.sum(axis=tuple(range(to_a.ndim - a.ndim)))",
         "unbroadcast(to_b, b.shape)", "to_b.sum(axis=tuple(range(to_b.ndim - b.ndim)))"),
        ("the gradient of b is right, that of a is not brought back to its shape",
         "unbroadcast(to_a, a.shape)", "to_a"),
        ("neither gradient is brought back to the shape of its input",
         "unbroadcast(to_a, a.shape), unbroadcast(to_b, b.shape)", "to_a, to_b"),
        (".T turns all axes of a batch, in a and in b; only the last two may change places",
         "np.swapaxes(x, -1, -2)", "x.T"),
        ("the two gradients are exchanged",
         "unbroadcast(to_a, a.shape), unbroadcast(to_b, b.shape)",
         "unbroadcast(to_b, b.shape), unbroadcast(to_a, a.shape)"),
        ("g is left out: dL/dy is not 1 everywhere",
         "T(a) @ g", "T(a) @ np.ones_like(g)"),
        ("the batch is averaged; its members add up",
         "unbroadcast(to_b, b.shape)",
         "unbroadcast(to_b, b.shape) * max(b.size, 1) / max(to_b.size, 1)"),
        ("the axes in front are summed for a alone, and nothing is summed for b", """
            def matmul_gradient(g, a, b):
                to_a = g @ np.swapaxes(b, -1, -2)
                to_a = to_a.sum(axis=tuple(range(max(0, to_a.ndim - a.ndim))))
                return to_a, np.swapaxes(a, -1, -2) @ g"""),
    ),
)  # fmt: skip

# ---- 07.3


class Node:
    """As in the exercise: a number that knows what it was made of."""

    def __init__(self, number, inputs, slopes):
        self.number, self.inputs, self.slopes = number, inputs, slopes


def lists(inputs, slopes):
    """A graph as two lists, also where a chain comes as two arrays, which are passed on faster."""
    if isinstance(inputs, np.ndarray):
        inputs = [[k] if k >= 0 else [] for k in inputs.tolist()]
        slopes = [[slope] if used else [] for used, slope in zip(inputs, slopes.tolist())]
    return inputs, slopes


def walked_nodes(inputs, slopes):
    """inputs, slopes: for each node, of its inputs, their numbers and slopes; the last is the
    result."""
    nodes = []
    inputs, slopes = lists(inputs, slopes)
    for number, (used, local) in enumerate(zip(inputs, slopes)):
        # Numbers with gaps, as of nodes among which others were made.
        nodes.append(Node(5 + 3 * number, [nodes[k] for k in used], list(local)))
    return nodes


def walk(answer, nodes, inputs, slopes):
    inputs, slopes = lists(inputs, slopes)
    before = [(node.number, [*node.inputs]) for node in nodes]
    found = answer(nodes[-1])
    if [(node.number, [*node.inputs]) for node in nodes] != before:
        raise ValueError("the inputs of the nodes were changed; they belong to the caller")
    if set(found) - set(nodes):
        raise ValueError("the dict holds nodes of another graph, from a call before")
    if [node.slopes for node in nodes] != [list(local) for local in slopes]:
        raise ValueError("the slopes of the nodes were changed; they belong to the caller")
    return [float(found[node]) if node in found else None for node in nodes]


def walk_cases(rng):
    yield "one operation", [[], [], [0, 1]], [[], [], [3.0, -2.0]]
    yield "a leaf alone", [[]], [[]]
    yield "a chain", [[], [0], [1]], [[], [2.0], [5.0]]
    yield "a variable used twice", [[], [0, 0]], [[], [3.0, 4.0]]
    yield "paths that meet", [[], [0], [0], [1, 2]], [[], [2.0], [3.0], [5.0, 7.0]]
    different = "paths of different length"
    yield different, [[], [0], [1], [0, 2]], [[], [2.0], [3.0], [5.0, 7.0]]
    longer = [[], [2.0], [3.0, 1.0], [5.0, 7.0], [2.0, 3.0]]
    yield different, [[], [0], [1, 0], [2, 1], [3, 1]], longer
    yield "nodes that do not matter", [[], [], [0, 1], [0]], [[], [], [1.0, 1.0], [4.0]]
    yield "slopes of 0", [[], [], [0, 1], [2, 0]], [[], [], [0.0, 2.0], [3.0, 0.0]]
    yield "slopes of 0", [[], [0], [1]], [[], [2.0], [0.0]]
    yield "a variable used twice", [[], [0], [1, 0, 1]], [[], [2.5], [1.5, -3.0, 0.25]]
    many = rng.integers(0, 3, 25).tolist()
    local = np.round(rng.uniform(1, 9, 25), 2).tolist()
    yield "many inputs", [[], [0], [0, 1], many, [3, 2]], [[], [2.0], [3.0, 0.5], local, [1.5, 2.5]]
    fan, local = [[]] + [[0]] * 24 + [[*range(1, 25)]], np.round(rng.uniform(1, 9, 24), 2).tolist()
    yield "many inputs", fan, [[]] + [[k / 4] for k in range(1, 25)] + [local]
    steep = [[], [900.5], [-800.25, 70.0], [60.5, 1000.0]]
    yield "steep slopes", [[], [0], [1, 0], [2, 1]], steep
    inputs, slopes = [[]] * 4, [[]] * 4
    for i in range(4, 40):
        inputs = [*inputs, rng.integers(max(0, i - 6), i, 2).tolist()]
        slopes = [*slopes, np.round(rng.uniform(-1.5, 1.5, 2), 1).tolist()]
    yield "a large graph", inputs, slopes
    # A node of gradient 0 is met before others that count.
    yield "slopes of 0", [[], [0], [0], [1, 2], [3, 2]], [[], [3.0], [2.0], [0.0, 2.0], [0.0, 1.5]]
    yield "slopes of 0", [[], [0], [0], [2, 1]], [[], [3.0], [2.0], [0.0, 1.5]]
    twice = [[]] + [[i, i] for i in range(60)]
    yield "a chain of 60, each link used twice", twice, [[]] + [[1.0, 0.5]] * 60
    n = 10000
    yield f"a chain of {n:,}", np.arange(-1, n - 1), np.r_[0.0, np.ones(n - 1)]


def walk_reference(inputs, slopes):
    inputs, slopes = lists(inputs, slopes)
    g, made_of = [0.0] * (len(inputs) - 1) + [1.0], {len(inputs) - 1}
    for i in range(len(inputs) - 1, -1, -1):
        if i in made_of:
            made_of.update(inputs[i])
            for k, slope in zip(inputs[i], slopes[i]):
                g[k] += g[i] * slope
    return [total if i in made_of else None for i, total in enumerate(g)]


BACKWARD = Task(
    id="07.3",
    replaces="engine.gradients.walk",
    cases=walk_cases,
    reference=walk_reference,
    equal=(
        ("-node.number))[:-1]", "the last is a leaf, which has no inputs"),
        ("reverse=True))[:-1]", "the last is a leaf, which has no inputs"),
        ("list(node.inputs)[::-1]", "any order will do"),
        ("list(zip(node.inputs, node.slopes))[::-1]", "the order of a sum"),
        ("list(todo.pop().inputs)[::-1]", "any order will do"),
        ("list(enumerate(nodes[number].inputs))[::-1]", "the order of a sum"),
        ("grads[result] = 1", "it is the first to come there"),
    ),
    drive=walk,
    lends=walked_nodes,
    hints=(
        "When may a node hand its gradient on? When all nodes that used it have sent their share.",
        "A node's number is higher than those of its inputs. Always take the waiting node with "
        "the highest number.",
        "Keep a dict of shares and a heap of -number; pop one, and for each input: "
        "shares[x] = shares.get(x, 0.0) + g * slope; push x when it is new.",
    ),
    right=(
        """
        def backward(result):
            nodes, todo, seen = [], [result], {result}
            while todo:
                node = todo.pop()
                nodes.append(node)
                for x in node.inputs:
                    if x not in seen:
                        seen.add(x)
                        todo.append(x)
            grads = {result: 1.0}
            for node in sorted(nodes, key=lambda node: -node.number):
                for x, slope in zip(node.inputs, node.slopes):
                    grads[x] = grads.get(x, 0.0) + grads[node] * slope
            return grads""",
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
    wrong=(
        ("gradients overwrite instead of adding up", "grads.get(x, 0.0) + ", ""),
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
                while todo and visits < 20000:
                    visits += 1
                    node = todo.pop(0)
                    for x, slope in zip(node.inputs, node.slopes):
                        grads[x] = grads.get(x, 0.0) + grads[node] * slope
                        todo.append(x)
                return grads"""),
        ("the local slope is stored without the gradient that comes from above",
         "grads[node] * slope", "slope"),
        ("a node whose gradient is 0 is skipped, so that those behind it have no gradient", """
            def backward(result):
                grads, ready = {result: 1.0}, {result.number: result}
                while ready:
                    node = ready.pop(max(ready))
                    if grads[node] != 0:
                        for x, slope in zip(node.inputs, node.slopes):
                            grads[x] = grads.get(x, 0.0) + grads[node] * slope
                            ready[x.number] = x
                return grads"""),
        ("only the first input of each node is followed", """
            def backward(result):
                grads, node = {result: 1.0}, result
                while node.inputs:
                    x = node.inputs[0]
                    grads[x] = grads[node] * node.slopes[0]
                    node = x
                return grads"""),
        ("the keys of the dict are the nodes' numbers; they are the nodes themselves",
         "return grads", "return {node.number: g for node, g in grads.items()}"),
        ("the result itself is left out; its own gradient is 1",
         "return grads", "del grads[result]\n            return grads"),
        ("only the leaves are in the dict; every node on the way has a gradient",
         "return grads", "return {node: g for node, g in grads.items() if not node.inputs}"),
        ("the walk begins with 0, so everything stays 0; dL/dL is 1", "result: 1.0", "result: 0.0"),
        ("a node that another uses twice keeps only the last of its slopes there",
         "zip(node.inputs, node.slopes)",
         "dict(zip(node.inputs, node.slopes)).items()"),
        ("the nodes are taken from the lowest number up; a node must wait for all that use it",
         "grads = {result: 1.0}",
         "grads = dict.fromkeys(nodes, 0.0); grads[result] = 1.0",
         "-node.number",
         "node.number"),
    ),
)  # fmt: skip

# ---- 07.4


def functions():
    """What f is and what its gradient claims -> both; "wrong" pairs are so on purpose."""

    def ramp(x):
        return np.arange(1, x.size + 1).reshape(x.shape)

    A = np.array([[2.0, -1.0, 0.5], [0.3, 1.5, -2.0]])
    cubes, sines = lambda x: (x**3).sum(), lambda x: np.sin(3 * x).sum()
    quads, falls = lambda x: (ramp(x) * x * x).sum(), lambda x: -np.exp(x).sum()
    ramps, powers = lambda x: (x * ramp(x)).sum() * 5.0, lambda x: np.exp(A @ x).sum()
    return {
        "f sum of x**3, claim 3 x**2": (cubes, lambda x: 3.0 * x * x),
        "f sum of x**3, claim 2 x**2": (cubes, lambda x: 2.0 * x * x),
        "f sum of sin(3 x), claim 3 cos(3 x)": (sines, lambda x: 3 * np.cos(3 * x)),
        "f sum of sin(3 x), claim -3 cos(3 x)": (sines, lambda x: -3 * np.cos(3 * x)),
        "f linear, claim its slopes": (ramps, lambda x: 5.0 * ramp(x)),
        "f linear, claim its slopes, but one": (
            ramps, lambda x: 5.0 * ramp(x) + 3.0 * (ramp(x) == 2)
        ),
        "f sum of k x_k**2, claim 2 k x_k": (quads, lambda x: 2.0 * ramp(x) * x),
        "f sum of k x_k**2, claim 2 k x_k, but the last": (
            quads, lambda x: 2.0 * ramp(x) * x - 2.5 * (ramp(x) == x.size)
        ),
        "f minus sum of exp(x), claim -exp(x)": (falls, lambda x: -np.exp(x)),
        "f minus sum of exp(x), claim -exp(x), but the first": (
            falls, lambda x: -np.exp(x) + 1.5 * (ramp(x) == 1)
        ),
        "f sum of x**3, claim 3 x**2 (again)": (cubes, lambda x: 3.0 * x * x),
        "f sum of x**3, claim 3 x**2 + 1e-4": (cubes, lambda x: 3.0 * x * x + 1e-4),
        "f sum of x**3, claim 3 x**2, once more": (cubes, lambda x: 3.0 * x * x),
        "f sum of x**3, claim 3 x**2 + 0.1 where x is 0": (
            cubes, lambda x: 3.0 * x * x + 0.1 * (x == 0)
        ),
        "f sum of x**3, claim 3 x**2, a third time": (cubes, lambda x: 3.0 * x * x),
        "f sum of x**3, claim 5e-6 more of it": (cubes, lambda x: 3.0 * x * x * (1 + 5e-6)),
        "f sum of squares, claim 2 x": (lambda x: (x * x).sum(), lambda x: 2.0 * x),
        "f sum of squares, claim 2 x, but element 7 of ten": (
            lambda x: (x * x).sum(), lambda x: 2.0 * x + (ramp(x) == 7 * x.size // 10)
        ),
        "f sum of exp(A @ x), claim its gradient": (powers, lambda x: A.T @ np.exp(A @ x)),
        "f sum of exp(A @ x), claim 1.001 times its gradient": (
            powers, lambda x: A.T @ np.exp(A @ x) * 1.001
        ),
    }  # fmt: skip


def measure(answer, pair, x):
    """pair: which function and claimed gradient."""
    return answer(*functions()[pair], x)


def measure_cases(rng):
    pairs = list(functions())

    def case(group, pair, shape, dtype=float, sign=1):
        x = sign * rng.uniform(0.4, 1.6, shape)
        return group, pairs[pair], (4 * x if dtype is int else x).astype(dtype)

    yield case("right gradients", 0, (3,))
    yield case("right gradients", 2, (2, 2))
    yield case("right gradients", 18, (3,))
    yield case("right gradients", 8, (2, 2, 2))
    yield case("right gradients", 0, (3,), sign=[1, -1, 0])
    yield case("right gradients", 6, (5, 6))
    yield case("numbers below 0", 1, (3,), sign=-1)
    yield case("numbers below 0", 3, (2, 2), sign=[[1, -1], [-1, -2]])
    yield case("numbers below 0", 9, (4,), sign=[1, -1, 1, -1])
    yield case("numbers below 0", 7, (3,), sign=-2)
    yield case("wrong in one place", 9, (2, 3, 2))
    yield case("wrong in one place", 7, (2, 3))
    yield case("wrong in one place", 7, (8, 5))
    yield case("wrong in one place", 9, (3, 2))
    yield case("wrong in one place", 7, (25,))
    yield case("small gradients", 1, (3,), sign=0.3)
    yield case("small gradients", 1, (2, 2), sign=0.3)
    yield case("float32", 2, (3, 4), np.float32, sign=6)
    yield case("float32", 2, (12,), np.float32, sign=-6)
    yield case("large errors", 3, (3,), sign=0.01)
    yield case("a wrong factor", 1, (2, 3))
    yield case("a wrong sign", 3, (4,))
    yield case("wrong in one place", 5, (2, 3))
    yield case("wrong by a little", 19, (3,))
    yield case("whole numbers", 0, (3,), int)
    yield case("whole numbers", 1, (3,), int)
    yield case("float32", 2, (3,), np.float32)
    yield case("float32", 18, (3,), np.float32)
    yield case("a single number", 1, ())
    yield case("a small error", 11, (3,), sign=[1, -2, 3])
    yield case("a small error", 15, (3,), sign=[1, -2, 3])
    yield case("an element of 0", 13, (2,), sign=[0, 1])
    yield case("an element of 0", 13, (2, 2), sign=[[1, 0], [-1, 1]])
    yield case("wrong in one place of many", 17, (1000,))


def measure_reference(pair, x):
    """The exact error: with the true gradient in place of central differences."""
    pairs = functions()
    right = list(pairs)[list(pairs).index(pair) // 2 * 2]  # each right pair stands before a wrong
    truth, claimed = pairs[right][1](x.astype(float)), pairs[pair][1](x.astype(float))
    scale = np.maximum(1, np.maximum(abs(truth), abs(claimed)))
    return np.max(abs(truth - claimed) / scale)


CHECK = Task(
    id="07.4",
    cases=measure_cases,
    reference=measure_reference,
    equal=(
        ("list(np.ndindex(*x.shape))[::-1]", "any order will do"),
        ("list(np.ndindex(x.shape))[::-1]", "any order will do"),
        ("np.ones(x.shape))", "every place is written over"),
        ("h, n = (1e-05, np.zeros(x.shape)); x =", "the shape stays the same"),
        ("np.asarray(gradient(x.copy())).ravel()", "it gives float64 for float64"),
        ("np.asarray(gradient(x), dtype", "gradient does not change what it is given"),
    ),
    drive=measure,
    rtol=2e-2,
    atol=2e-7,
    hints=(
        "Move one element of x a little up and a little down, all others held fixed.",
        "Work on a float64 copy. For each element: (f(up) - f(down)) / (2 h) with h about 1e-5. "
        "Then compare with gradient(x), relative to the larger of 1 and both sizes.",
        "for i in np.ndindex(*x.shape): copy x twice, add h to one copy's [i], take h from the "
        "other's; at the end max(|n - a| / max(1, |n|, |a|)).",
    ),
    right=(
        """
        def gradient_check(f, gradient, x):
            x = np.array(x, dtype=float)
            h, n = 1e-5, np.zeros(x.shape)
            for i in np.ndindex(*x.shape):
                up, down = x.copy(), x.copy(); up[i] += h; down[i] -= h
                n[i] = (f(up) - f(down)) / (2 * h)
            a = gradient(x)
            errors = abs(n - a) / np.maximum(1, np.maximum(abs(n), abs(a)))
            return float(errors.max())""",
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
    wrong=(
        ("the difference is taken on one side only; its error is of the size of h, not h squared",
         "(f(up) - f(down)) / (2 * h)", "(f(up) - f(x)) / h"),
        ("the two points are 2 h apart, but the difference is divided by h", "(2 * h)", "h"),
        ("all elements are moved at once, so every slope is the sum of all slopes",
         "up[i] += h; down[i] -= h", "up += h; down -= h"),
        ("x itself is moved and not put back",
         "np.array(x, dtype=float)", "np.asarray(x, dtype=float)",
         "up, down = x.copy(), x.copy(); up[i] += h; down[i] -= h",
         "x[i] += h; high = f(x); x[i] -= 2 * h",
         "f(up) - f(down)", "high - f(x)"),
        ("the mean of the errors is returned, and one wrong element hides among the right ones",
         "errors.max()", "errors.mean()"),
        ("the error is not divided by the size of the gradients",
         " / np.maximum(1, np.maximum(abs(n), abs(a)))", ""),
        ("the largest difference is divided by the largest gradient; each belongs to its element",
         "errors = abs(n - a) / np.maximum(1, np.maximum(abs(n), abs(a)))",
         "errors = abs(n - a) / max(1, abs(n).max(), abs(a).max())"),
        ("float32 (or whole numbers) is not raised to float64, and h drowns in rounding",
         "dtype=float", "dtype=x.dtype"),
        ("the sign of the difference is kept, and an error below counts as none",
         "abs(n - a)", "(a - n)"),
        ("h is so small that rounding is larger than the difference", "1e-5", "1e-13"),
        ("h is so large that the curve bends between the two points", "1e-5", "1e-2"),
        ("h is so small that rounding takes most of the digits",
         "1e-5",
         "1e-9"),
        ("h is a few thousandths, and the curve bends between the two points",
         "1e-5",
         "2e-3"),
        ("it divides by the sum of both sizes, |n| + |a|, not by the larger one", """
            def gradient_check(f, gradient, x):
                x = np.array(x, dtype=np.float64)
                a, n, h = np.array(gradient(x), dtype=float), np.zeros(x.shape), 1e-5
                for i in np.ndindex(x.shape):
                    e = np.zeros(x.shape)
                    e[i] = h
                    n[i] = (f(x + e) - f(x - e)) / (2 * h)
                return float(np.max(np.abs(n - a) / np.maximum(1, abs(n) + abs(a))))"""),
        ("the lengths of the whole gradients are compared, not each element", """
            def gradient_check(f, gradient, x):
                x = np.array(x, dtype=np.float64)
                a, n, h = np.array(gradient(x), dtype=float), np.zeros(x.shape), 1e-5
                for i in np.ndindex(x.shape):
                    e = np.zeros(x.shape)
                    e[i] = h
                    n[i] = (f(x + e) - f(x - e)) / (2 * h)
                size = np.linalg.norm
                return float(size(n - a) / max(1, size(n), size(a)))"""),
    ),
)  # fmt: skip

TASKS = [UNBROADCAST, MATMUL, BACKWARD, CHECK]
