"""Operations and bytes by hand, and a profile that leaves everything as it was."""

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.engine.random import generator
from minidl.graph import costs
from minidl.nn import functional as F


def array(*shape, dtype="float32"):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def lines(function, *args):
    """The lines of `function` as it is traced, without any pass."""
    compiled = minidl.compile(function, passes=())
    compiled(*args)
    return compiled.program.graph.lines


def training(n_in=20, hidden=32, n=64):
    model = nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, minidl.compile(step), (array(n, n_in), np.arange(n) % 10)


# ---- what a line costs


PARTS = [  # function, arguments, operations, bytes of the line that costs most
    (lambda a, b: a @ b, [(3, 4), (4, 5)], 2 * 3 * 4 * 5, 4 * (12 + 20 + 15)),
    (lambda a, b: a @ b, [(2, 6, 3, 4), (4, 5)], 12 * 2 * 3 * 4 * 5, 4 * (144 + 20 + 180)),
    (lambda a, b: a @ b, [(3, 4), (4,)], 2 * 3 * 4, 4 * (12 + 4 + 3)),
    (lambda a, b: a + b, [(3, 4), (4,)], 12, 4 * (12 + 4 + 12)),
    (lambda a: a * a, [(3, 4)], 12, 4 * (12 + 12)),
    (lambda a: a.exp(), [(3, 4)], 12, 4 * 24),
    (lambda a: a.tanh(), [(7,)], 7, 4 * 14),
    (lambda a: a.sum(axis=1), [(3, 4)], 12, 4 * (12 + 3)),
    (lambda a: a.max(axis=0), [(3, 4)], 12, 4 * (12 + 4)),
    (lambda a: a.transpose(), [(3, 4)], 0, 0),
    (lambda a: a.reshape(12)[2:5], [(3, 4)], 0, 0),
    (lambda a: minidl.concatenate([a, a], axis=0), [(3, 4)], 0, 4 * (12 + 24)),
]


@pytest.mark.parametrize("function, shapes, operations, moved", PARTS)
def test_operations_and_bytes(function, shapes, operations, moved):
    found = lines(function, *(array(*shape) for shape in shapes))
    assert sum(map(costs.flops, found)) == operations
    assert max(map(costs.traffic, found)) == moved


def test_a_broadcast_array_is_read_once():
    (_, line) = lines(
        lambda a, b: a * minidl.engine.shapes.broadcast_to(b, shape=(9, 4)), array(9, 4), array(4)
    )
    assert costs.traffic(line) == 4 * (36 + 4 + 36)


def test_chosen_rows_cost_what_they_touch():
    w = minidl.tensor(array(600, 4), requires_grad=True)

    def function(rows):
        w[rows].sum().backward()

    found = lines(function, np.array([0, 0, 3]))
    (get,) = (line for line in found if line.function == "getitem")
    (at,) = (line for line in found if line.function == "add.at")
    assert (costs.flops(get), costs.traffic(get)) == (0, 3 * 8 + 2 * 48)  # the keys, and the rows
    assert (costs.flops(at), costs.traffic(at)) == (12, 3 * 8 + 4 + 2 * 48)  # one share for all


def test_a_step_costs_the_sum_of_its_lines():
    _, _, step, (x, y) = training()
    step(x, y)
    products = 2 * 64 * (20 * 32 * 2 + 32 * 10 * 3)  # the inputs get no gradient
    assert products < step.flops < 1.5 * products
    assert step.flops == sum(row["flops"] for row in step.profile(x, y, repeats=1))
    assert 0 < step.memory == step.program.plan.size


def test_twice_the_batch_is_twice_the_work():
    few, many = ([s := training(n=n), s[2](*s[3])][0][2] for n in (128, 256))
    assert many.flops == pytest.approx(2 * few.flops, rel=0.02)


# ---- how long it takes


def test_a_profile_has_a_row_for_each_line_and_prints_the_slowest_first():
    _, _, step, (x, y) = training()
    step(x, y)
    profile = step.profile(x, y, repeats=3)
    body = step.source.split("def step(")[1].splitlines()[1:-3]
    assert [row["line"] for row in profile] == [s.strip() for s in body]
    assert sum(row["share"] for row in profile) == pytest.approx(1)
    for row in profile:
        assert row["seconds"] >= 0
        assert (row["best"] > 0) == (row["flops"] + row["bytes"] > 0)
    head, *table, rest, total = repr(profile).splitlines()
    slowest = sorted(profile, key=lambda row: -row["seconds"])[:12]
    assert [s.split("  ")[-1] for s in table] == [row["line"] for row in slowest]
    assert f"({len(profile) - 12} more)" in rest and total.endswith("sum")
    assert head.split() == "µs share at best of it kFLOP KB line".split()


def test_the_clock_is_on_the_line_that_takes_the_time():
    def function(a, b):
        return ((a @ a) * b).sum()

    compiled = minidl.compile(function, passes=())
    a = array(400, 400)
    compiled(a, a)
    product, *others = compiled.profile(a, a, repeats=5)
    assert "dot" in product["line"] and product["flops"] == 2 * 400**3
    assert product["seconds"] > max(row["seconds"] for row in others)
    assert product["best"] < 20 * product["seconds"]


def test_a_profile_leaves_states_gradients_steps_and_draws_as_they_were():
    model, optimizer, step, (x, y) = training()
    for _ in range(2):
        step(x, y)

    def state():
        found = {**model.state_dict(), **optimizer.state_dict()}
        found |= {f"{i}.grad": p.grad.numpy() for i, p in enumerate(model.parameters())}
        return {k: np.array(v) for k, v in found.items()} | {"x": x.copy()}

    before, draws = state(), generator().bit_generator.state
    step.profile(x, minidl.tensor(y), repeats=3)
    after = state()
    assert after.keys() == before.keys()
    assert not [k for k in before if not np.array_equal(after[k], before[k])]
    assert generator().bit_generator.state == draws
    with pytest.raises(ValueError, match="class indices"):
        step.profile(x, y + 10)
    assert not [k for k in before if not np.array_equal(state()[k], before[k])]


def test_copies_of_states_share_memory_where_the_states_do():
    _, _, step, args = training()
    step(*args)
    given, copies = step.program.given, costs._copies(step.program)
    states = [i for i, v in enumerate(step.program.text.given) if v.kind == "state"]
    shared = 0
    for i in states:
        np.testing.assert_array_equal(given[i], copies[i])
        assert not [a for a in given if np.shares_memory(copies[i], a)]
        for j in states:
            assert np.shares_memory(copies[i], copies[j]) == np.shares_memory(given[i], given[j])
            shared += i != j and np.shares_memory(given[i], given[j])
    assert shared  # each weight with the array of all parameters


def test_a_profile_is_of_the_program_for_its_arguments():
    compiled = minidl.compile(lambda a: a.exp() * 2)
    for n in (4, 8):
        compiled(array(n))
    assert compiled.flops == 16
    assert sum(row["flops"] for row in compiled.profile(array(4), repeats=1)) == 8
    with pytest.raises(ValueError, match="no call with such arguments is traced yet"):
        compiled.profile(array(5))
    assert len(compiled.programs) == 2


def test_float64_and_nothing_to_do():
    compiled = minidl.compile(lambda a: a @ a)
    a = array(9, 9, dtype="float64")
    compiled(a)
    assert compiled.profile(a)[0]["best"] > 0
    nothing = minidl.compile(lambda a: a)
    nothing(a)
    assert "sum" in repr(nothing.profile(a)) and nothing.flops == 0
