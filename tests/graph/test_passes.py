"""Each pass by what it makes of a small graph, and random programs, which no pass may change."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from static import EXACT, MODELS, compare, drawn, equal, play
from test_source import made, proof

import minidl
from minidl import Tensor, tensor
from minidl.engine import devices, intercept, ops
from minidl.engine.shapes import concatenate
from minidl.engine.tensor import primitives
from minidl.graph import passes as graph
from minidl.graph.compiled import Program
from minidl.graph.lines import Value, flat
from minidl.graph.memory import Plan, with_copies
from minidl.graph.passes import PASSES
from minidl.graph.trace import trace
from minidl.nn import functional as F

TALL = drawn(3, 4)


def traced(function, *arrays, device="cpu"):
    return trace(function, [tensor(a, device=device) for a in arrays]).graph()


def module(x):
    """The array module of a Tensor: NumPy, or the one that writes its functions down."""
    return devices.array_module(x.data)


def beside(x, values):
    """A constant Tensor on the device of x."""
    return tensor(values, device=devices.device_of(intercept.untraced(x.data)))


# ---- each pass: (pass, function, its graph, its graph after the pass)


def unused(x):
    y = x.exp()
    x.tanh()  # nobody needs it
    ops.bernoulli(x, p=0.5)  # nor this, but the next draws are other ones for it
    return y * 2


def repeated(x):
    return x.exp() * (x.exp() + ops.normal(x) + ops.normal(x))


def sums(x):
    return (x * x).sum(), x.sum(0), x.sum(1)


CASES = {
    "dead": (
        graph.without_dead, unused,
        "y1 = exp(x0)|made2 = tanh(x0)|made3 = random(3, 4)|made4 = less(made3, 0.5)|"
        "made5 = astype(made4, dtype('float32'))|made6 = multiply(y1, 2)",
        "y1 = exp(x0)|made2 = random(3, 4)|made3 = multiply(y1, 2)",
    ),
    "repeats": (
        graph.without_repeats, repeated,
        "made1 = exp(x0)|made2 = exp(x0)|made3 = standard_normal(3, 4)|"
        "made4 = astype(made3, dtype('float32'))|made5 = add(made2, made4)|"
        "made6 = standard_normal(3, 4)|made7 = astype(made6, dtype('float32'))|"
        "made8 = add(made5, made7)|made9 = multiply(made1, made8)",
        "made1 = exp(x0)|made2 = standard_normal(3, 4)|made3 = astype(made2, dtype('float32'))|"
        "made4 = add(made1, made3)|made5 = standard_normal(3, 4)|"
        "made6 = astype(made5, dtype('float32'))|made7 = add(made4, made6)|"
        "made8 = multiply(made1, made7)",
    ),
    "products": (
        graph.with_products, sums,
        "made1 = multiply(x0, x0)|made2 = add.reduce(made1)|made3 = add.reduce(x0)|"
        "made4 = add.reduce(x0)",
        "made1 = multiply(x0, x0)|made2 = reshape(x0, 12)|made3 = reshape(x0, 12)|"
        "made4 = dot(made2, made3)|made5 = add.reduce(x0)|made6 = add.reduce(x0)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_pass_makes_of_a_graph(name, device):
    change, function, before, after = CASES[name]
    first = traced(function, TALL, device=device)
    assert str(first).splitlines() == before.split("|")
    after = before if name == "products" and device != "cpu" else after  # it is for the CPU
    assert str(change(first)).splitlines() == after.split("|")


@pytest.mark.parametrize("name", CASES)
def test_leaving_a_pass_out_changes_no_number(name, device):
    change, function, *_ = CASES[name]
    calls = [(drawn(3, 4, seed=i),) for i in range(3)]
    expected = play(lambda wrap: (wrap(function), []), calls, device=device)
    without = tuple(p for p in PASSES if p is not change)
    for passes in (without, (change,), (change, change), PASSES, PASSES * 2, ()):
        seen = play(
            lambda wrap: (wrap(function), []),
            calls,
            lambda f, passes=passes: minidl.compile(f, passes=passes),
            device=device,
        )
        equal(seen, expected, 0 if graph.with_products not in passes else 1e-5)


def test_passes_shorten_a_training_step(device):
    w = tensor(drawn(4, 4), requires_grad=True, device=device)

    def step(x):
        loss = F.cross_entropy(x @ w, tensor([0, 1, 2], device=x.device))
        (g,) = minidl.grad(loss, w)
        w.data = w.data - 0.1 * g.data
        return loss

    compiled = minidl.compile(step)
    compiled(tensor(TALL, device=device))
    program = compiled.program
    assert len(program.graph.lines) < 0.9 * len(program.before.splitlines())


# ---- a pass leaves the graph that it is given as it was


def said(v):
    """All that a Value says, by identity where it names another thing."""
    return id(v), id(v.base), id(v.data), v.kind, v.name, v.shape, v.dtype, v.order


def contents(graph):
    """All that a graph holds: its lines and their Values, and what surrounds them."""
    lines = graph.parts()
    values = {v: None for line in lines for v in [*line.outs, *line.inputs()]}
    values |= dict.fromkeys([*graph.inputs, *graph.numbers, *graph.updates, *graph.ends()])
    values |= {v.base: None for v in values}
    wholes = [[id(line), *map(id, line.args), *map(id, line.outs)] for line in graph.lines]
    calls = [
        (id(line), line.function, [*map(id, flat(line.args))], repr(line.options), line.into)
        for line in lines
    ]
    around = graph.inputs, graph.numbers, graph.updates, graph.grads, graph.after, graph.zeroed
    return wholes, calls, [said(v) for v in values], str(graph), repr(graph.result), repr(around)


def leaves_alone(change, graph):
    """What a pass makes of a graph, which must be the same twice, and the graph as it was."""
    before = contents(graph)
    found = change(graph)
    assert contents(graph) == before, f"{change.__name__} changed what it was given"
    kept = contents(found)
    assert str(change(graph)) == str(found), (
        f"{change.__name__} makes another graph when asked again"
    )
    assert contents(graph) == before and contents(found) == kept
    return found


def all_leave_alone(graph):
    for change in (*PASSES, *PASSES[::-1], with_copies):
        leaves_alone(change, graph)
    for change in PASSES:  # and each on what those before it made
        graph = leaves_alone(change, graph)
    before = contents(graph)
    plans = [Plan(graph) for _ in range(2)]
    assert contents(graph) == before
    assert plans[0].size == plans[1].size and [*plans[0].places.values()] == [
        *plans[1].places.values()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_pass_leaves_the_steps_of_models_alone(name, device):
    for program, _ in made(name, device)[:1]:
        all_leave_alone(program.traced_graph)


@pytest.mark.parametrize("name", CASES)
def test_a_pass_leaves_small_graphs_alone(name, device):
    all_leave_alone(traced(CASES[name][1], TALL, device=device))


def test_one_graph_is_compiled_as_often_as_one_likes(device):
    w = tensor(drawn(4, 4), requires_grad=True, device=device)

    def step(x):
        loss = (concatenate((x @ w).exp(), x.exp()[1:], x.exp()) ** 2).sum()
        (g,) = minidl.grad(loss, w)
        w.data = w.data - 0.01 * g.data
        return loss

    graph = traced(step, TALL, device=device)
    programs = [Program(graph), Program(graph, passes=()), Program(graph)]
    assert programs[0].source == programs[2].source
    x, start, found = tensor(TALL, device=device), w.numpy().copy(), []
    for program in programs:
        w.data = tensor(start, device=device).data
        assert program.fits()
        found.append([program([x]).item(), w.numpy().copy()])
    for one in found[1:]:
        np.testing.assert_allclose(one[0], found[0][0], rtol=1e-5)
        np.testing.assert_allclose(one[1], found[0][1], rtol=1e-5)


def test_the_snapshot_sees_what_a_pass_could_change():
    def rebases(graph):
        graph.lines[-1].out.base = graph.lines[0].out
        return graph

    def rewrites(graph):
        graph.lines[0].args = graph.lines[0].args[::-1]
        return graph

    def drops(graph):
        del graph.lines[-1]
        return graph

    def forgets(graph):
        graph.grads.append((None, graph.lines[0].out))
        return graph

    for change in (rebases, rewrites, drops, forgets):
        with pytest.raises(AssertionError, match="changed what it was given"):
            leaves_alone(change, traced(lambda x: x * 2 + x.exp(), TALL))


# ---- what passes must not do


def test_views_of_what_was_repeated_are_views_of_what_stays(device):
    """Else the plan does not know how long their memory is needed."""
    g = traced(lambda x: (x.exp() @ x.exp().T, x.exp()[1:]), TALL, device=device)
    for change in PASSES:
        g = change(g)
        outs = [out for line in g.lines for out in line.outs]
        assert not [out for out in outs if not (out.base in outs and out.base.base is out.base)]


def test_doubled_integers_stay_integers(device):
    ids = np.arange(6).reshape(2, 3)
    make = lambda wrap: (wrap(lambda x: (x + x, x * 1, x * 2, (x > 2) + (x > 3), -x)), [])  # noqa: E731
    compare(make, [(ids,), (ids + 1,), (ids - 3,)], device=device)


def added_later(x):
    """t, u and v are made of y before it changes: they must not be computed of the changed one."""
    y = module(x).zeros_like(x.data)
    y += x.data
    t, u, v = -y, 3.0 * y, y * y
    w = v.sum()
    y += 1.0
    v += 1.0
    return Tensor(t + x.data), Tensor(2.0 * u), Tensor(-u), Tensor(y), Tensor(w), Tensor(v.sum())


def negated_then_changed(x):
    a = (x @ x.T).data
    t = -a
    a += 1.0
    return Tensor(t), Tensor(a * a)


def joined_then_changed(x):
    a = module(x).exp(x.data)
    y = module(x).concatenate((a, x.data))
    y += 1.0
    return Tensor(a * 2), Tensor(y), Tensor(a)


def changed_then_joined(x):
    a = module(x).exp(x.data)
    y = module(x).concatenate((a, x.data))
    a += 1.0
    return Tensor(a * 2), Tensor(y)


def joined_twice(x):
    a, b = x.exp(), x.tanh()
    both = concatenate(a, b)
    return both, concatenate(b, a), concatenate(a, a), concatenate(both, both), a


def joined_views(x):
    a = x.exp()
    row = beside(x, np.ones((1, 3), "f"))
    return concatenate(a.T, a.reshape(4, 3), a[:1].reshape(4, 1) * row)


def squared_then_changed(x):
    v = x.data * x.data
    v += 1.0
    return Tensor(v.sum()), Tensor(v)


def read_twice_at_once(x):
    a = x.exp()
    return a * a[:, ::-1]


@pytest.mark.parametrize(
    "function",
    [added_later, squared_then_changed, negated_then_changed, read_twice_at_once,
     joined_then_changed, changed_then_joined, joined_twice, joined_views],
)  # fmt: skip
def test_memory_that_changes(function, device):
    calls = [(drawn(3, 4, seed=i),) for i in range(3)]
    compare(lambda wrap: (wrap(function), []), calls, device=device)


def test_zeros_keep_their_sign(device):
    compiled = minidl.compile(lambda x: (x * 0.0, x * -0.0))
    for _ in range(2):
        plus, minus = compiled(tensor(np.ones(3, "f"), device=device))
        np.testing.assert_array_equal(np.signbit(plus.numpy()), 0)
        np.testing.assert_array_equal(np.signbit(minus.numpy()), True)


def test_the_names_of_the_source_itself(device):
    """Variables that are called as the source calls its own things get other names."""

    def function(x):
        np = x * 2
        rng = np + 1
        memory = rng.exp()
        make = memory.tanh()
        step = make * make
        v5 = step + 1
        x1 = v5 @ np.T
        float = x1.sum(0)
        bool = float[None] > 0
        check_range = minidl.where(bool, x1, np.sum())
        numpy = check_range * 2
        device_module = numpy.exp()
        multiply_exp = device_module + 1
        loss = F.cross_entropy(multiply_exp, beside(x, [0, 1, 2]))
        return rng, memory, make, step, float, numpy, device_module, multiply_exp, loss

    calls = [(drawn(3, 4, seed=i),) for i in range(2)]
    compare(lambda wrap: (wrap(function), []), calls, device=device)


# ---- random programs


def rolled(ndim, n):
    """The axes in another order, one of several (of one axis there is no other)."""
    return np.roll(range(ndim), 1 + n % max(ndim - 1, 1)).tolist()


ONE = "sin cos tanh sigmoid relu abs softplus neg".split()
TWO = "add sub mul maximum minimum".split()
SHAPES = {
    "reshape": lambda a, n: a.reshape(-1) if n % 2 else a.reshape(a.shape[::-1]),
    "transpose": lambda a, n: a.transpose(*rolled(a.ndim, n)),
    "slice": lambda a, n: a[[slice(1, None), slice(None, None, 2), slice(None, -1), None][n % 4]],
    "last": lambda a, n: a[..., -1],
    "reversed": lambda a, n: a[::-1],
    "rows": lambda a, n: a[beside(a, np.arange(n) % len(a))],
    "sum": lambda a, n: a.sum(n % a.ndim, keepdims=n % 2 == 0),
    "mean": lambda a, n: a.mean(tuple(range(a.ndim))[: 1 + n % 2]),
    "max": lambda a, n: a.max(n % a.ndim),
    "softmax": lambda a, n: F.softmax(a, axis=n % a.ndim),
    "divide": lambda a, n: a / (ops.abs(a) + 1),
    "square": lambda a, n: a * a,
    "twice": lambda a, n: a + a,
    "times": lambda a, n: a * [1.0, 2.0, -3.0, 0.5][n % 4],
    "mask": lambda a, n: minidl.where(beside(a, np.arange(a.shape[-1]) != n), a, 0.0),
    "choose": lambda a, n: minidl.where(ops.less(a, 0.1 * n), a, a * a),
    "join": lambda a, n: concatenate(a, a * 2, axis=n % a.ndim),
    "power": lambda a, n: (ops.abs(a) + 0.5) ** (n % 3),
    "detached": lambda a, n: (a * 1).detach() * a,
}  # fmt: skip


def run(program, values):
    """Go through a program: each instruction makes one more value of those so far, where it can."""
    values = list(values)
    for name, i, j, n in program:
        a, b = values[i % len(values)], values[j % len(values)]
        if name in ONE:
            values.append(primitives[name](a))
        elif name in TWO:
            fits = all(1 in (p, q) or p == q for p, q in zip(a.shape[::-1], b.shape[::-1]))
            if fits and max(a.size, 1) * max(b.size, 1) < 2000:
                values.append(primitives[name](a, b))
        elif name == "matmul":
            if a.ndim and b.ndim == 2 and a.shape[-1] == b.shape[0]:
                values.append(a @ b)
            elif a.ndim == 2:
                values.append(a @ a.T)
        elif name == "concatenate":
            if a.ndim and a.ndim == b.ndim and a.shape[1:] == b.shape[1:]:
                values.append(concatenate(a, b))
        elif a.ndim and a.size and len(a) and a.size < 300:
            if name in ("slice", "last") and min(a.shape) < 2:
                continue
            values.append(SHAPES[name](a, n))
    return values


INSTRUCTIONS = st.tuples(
    st.sampled_from([*ONE, *TWO * 2, *["matmul"] * 4, *["concatenate"] * 2, *SHAPES]),
    st.integers(0, 30), st.integers(0, 30), st.integers(0, 5),
)  # fmt: skip


def trained(program, dtype):
    """A step of a random program: values, gradients of inputs and parameters, an update."""

    def make(wrap):
        held = [tensor(drawn(*s, seed=9, dtype=dtype), requires_grad=True) for s in ((4,), (3, 4))]

        def step(x, z):
            given = [Tensor(a.data, requires_grad=True) for a in (x, z)]
            values = run(program, [*given, *held])
            loss = sum(((v * v).mean() * 0.1 for v in values[2:]), start=values[-1].sum())
            grads = minidl.grad(loss, [*given, *held])
            for p, g in zip(held, grads[2:]):
                p.data = (p - g.tanh() * 0.1).data
            return loss, values[-1] * 1, grads, values[len(values) // 2] * 1

        return wrap(step), held

    return make


# The device is a name, the same for all examples.
@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=st.lists(INSTRUCTIONS, min_size=3, max_size=14))
def test_random_programs(device, program):
    for dtype, passes, rtol in (("float32", EXACT, 0), ("float64", PASSES, 1e-9)):
        calls = [(drawn(3, 4, seed=i, dtype=dtype), drawn(4, 3, seed=i + 9, dtype=dtype))
                 for i in range(3)]  # fmt: skip
        make = trained(program, dtype)
        expected = play(make, calls, device=device)
        made = []

        def wrap(f, passes=passes, made=made):
            made.append(minidl.compile(f, passes=passes))
            return made[0]

        seen = play(make, calls, wrap, device=device)
        equal(seen, expected, rtol)
        proof(made[0].program.plan)


def test_graph_says_what_is_needed_at_the_end(device):
    w = tensor(drawn(4), requires_grad=True, device=device)

    def step(x):
        (x * w).sum().backward()
        w.data = (w * 2).data
        return {"a": x + 1, "b": [3, None, "text"]}

    g = traced(step, TALL, device=device)
    result, update, grad = g.ends()
    assert result is g.result["a"] and g.result["b"] == [3, None, "text"]
    assert list(g.updates.values()) == [update] and next(iter(g.updates)).kind == "state"
    assert g.grads == [(w, grad)]
    assert not [v for v in g.ends() if not isinstance(v, Value)]


def test_equal_numbers_repeat_and_numbers_of_several_types_do_not(device):
    """x * 2 and x * 2.0 are two calls; x * 2.5 is one, wherever the number lies."""
    function = lambda x: (x * float("2.5"), x * float("2.5"), x * 2, x * 2.0)  # noqa: E731
    first = traced(function, TALL, device=device)
    assert len(str(first).splitlines()) == 4
    assert len(str(graph.without_repeats(first)).splitlines()) == 3
