"""The plan shares no memory between arrays that live together; the source runs on its own."""

import tracemalloc
from functools import cache
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from static import MODELS, contents, drawn, equal, exactly, gpt, programs, read, written_on
from test_ops import TABLE, apply, label, leaves, numbers, weights

import minidl
from minidl import Tensor, optim, tensor
from minidl.engine import devices
from minidl.graph.lines import Value, flat
from minidl.graph.memory import Plan, elementwise
from minidl.graph.passes import PASSES, with_kernels
from minidl.graph.trace import trace
from minidl.nn import transformer


def traced(function, *arrays, passes=(), device="cpu"):
    """The graph of a function that is called once."""
    graph = trace(function, [tensor(a, device=device) for a in arrays]).graph()
    for change in passes:
        graph = change(graph)
    return graph


class Memory:
    """Which array lies where, as a run goes on: what is written takes its bytes from all others."""

    def __init__(self, plan):
        self.plan, self.owners = plan, {}  # space -> list of [begin, end, base]

    def place(self, base):
        """(space, begin, end): the bytes of one array that owns its memory."""
        assert base.base is base
        home = base
        while home in self.plan.homes:
            home = self.plan.homes[home]
            assert home.nbytes == base.nbytes
        if home.kind != "made":  # a state, constant or input has memory of its own
            return home, 0, max(home.nbytes, 1)
        begin, room = self.plan.places[home]
        assert base.nbytes <= room and begin + room <= self.plan.size and begin % 64 == 0
        return "memory", begin, begin + max(base.nbytes, 1)

    def write(self, base):
        space, begin, end = self.place(base)
        rest = [o for o in self.owners.get(space, []) if o[1] <= begin or end <= o[0]]
        self.owners[space] = [*rest, (begin, end, base)]

    def holds(self, base):
        """Whether all bytes of `base` are as they were written."""
        space, begin, end = self.place(base)
        untouched = base.kind != "made" and space not in self.owners
        return untouched or (begin, end, base) in self.owners.get(space, [])

    def meet(self, a, b):
        (space, begin, end), (other, first, last) = self.place(a), self.place(b)
        return space == other and begin < last and first < end


def proof(plan):
    """Go through the lines: each array that one reads is still there, to the end of the run."""
    memory, graph = Memory(plan), plan.graph
    for i, line in enumerate(graph.lines):
        out, computed = line.out, [part.out for part in line.parts() if not part.into]
        if out.dtype is None:  # a Python number
            continue
        outs = [v for v in line.outs if v in computed]  # the others are changed, where they lie
        reads = [v for v in line.inputs() if v.dtype is not None]
        for v in reads:
            assert memory.holds(v.base), f"line {i}, {line.function}: {v} was overwritten"
        for v in line.outs:
            assert v in outs or memory.holds(v.base), f"line {i}: {v} is changed, but overwritten"
        if out in outs and out.base is not out:  # a view of what it reads, or of an opened place
            assert out.base in {v.base for v in reads}
            continue
        for v, out in product(reads, outs):
            if memory.meet(v.base, out):  # written over an operand: each element at its place
                assert elementwise(line) and v.base is v
                assert (v.shape, v.dtype, v.order) == (out.shape, out.dtype, out.order)
        for v in outs:
            memory.write(v)
        both = all(memory.holds(v.base) for v in line.outs)
        assert both, f"line {i}: two of its results lie in one place"
    for v in graph.ends():
        assert v.dtype is None or memory.holds(v.base), f"{v}, wanted at the end, was overwritten"
    for state, v in graph.updates.items():  # what the source writes last, state by state
        assert memory.holds(v.base), f"{v}, the next value of {state}, was overwritten"
        if memory.place(v.base) != memory.place(state.base):
            memory.write(state.base)
    for v in [v for v in flat(graph.result) if isinstance(v, Value)] + [v for _, v in graph.grads]:
        updated = v.base in graph.updates or v.base in graph.updates.values()
        assert updated or v.dtype is None or memory.holds(v.base)


@cache
def made(name, device):
    return programs(*MODELS[name], device)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_two_arrays_that_live_together_share_memory(name, device):
    for program, _ in made(name, device):
        proof(program.plan)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_source_runs_on_its_own(name, device):
    """No Tensor, no Program: a text, the arrays it is given, a generator."""
    xp = devices.device_module(device)
    for program, arrays in made(name, device):
        space = {}
        given = [xp.array(a) for a in program.given]
        exec(program.source, space)
        step = space["make"](xp.random.default_rng(0), *given)
        asked = [n.data() for n in program.graph.numbers]
        found = contents(step(*arrays, *asked), [])
        minidl.manual_seed(0)
        equal([found], [contents(program.run(arrays), [])], exactly(device))


@pytest.mark.slow
@pytest.mark.parametrize("c", TABLE, ids=label)
def test_plans_of_every_operation(c, device):
    """With second derivatives, so that there is something to plan."""

    def function(*given):
        inputs = [Tensor(x.data, requires_grad=x.dtype.kind == "f") for x in given]
        y = apply(c, inputs)
        y = (y * tensor(weights(y.shape, y.dtype), device=y.device)).sum()
        first = minidl.grad(y, leaves(inputs), create_graph=True)
        total = sum(((g * g).sum() for g in first), start=tensor(0.0, device=y.device))
        second = minidl.grad(total, leaves(inputs)) if total.requires_grad else []
        return y, first, second

    for passes in ((), PASSES):
        arrays = numbers(c, "float32")
        proof(Plan(traced(function, *arrays, passes=passes, device=device)))


def test_the_proof_can_fail():
    """A plan in which two arrays that are needed together lie in one place is found out."""
    plan = Plan(traced(lambda x: x.exp() @ (x * 2) @ x, drawn(4, 4)))
    proof(plan)
    exp, twice, *_ = (line.out for line in plan.graph.lines)
    plan.places[twice] = plan.places[exp]
    with pytest.raises(AssertionError, match="was overwritten"):
        proof(plan)
    plan = Plan(traced(lambda x: (x.exp() * 2) @ x, drawn(4, 4)))
    exp, twice, product = (line.out for line in plan.graph.lines)
    plan.homes[product] = twice
    with pytest.raises(AssertionError, match=r"elementwise"):
        proof(plan)


def of_one_kernel():
    """A plan of a kernel with two results, and of a product that needs both."""
    graph = traced(lambda x: (x * 2).exp() @ (x * 3), drawn(4, 4))
    graph.xp = SimpleNamespace(ElementwiseKernel=None)  # where there is no compiler, too
    plan = Plan(with_kernels(graph))
    proof(plan)
    assert [line.function for line in plan.graph.lines] == ["kernel", "matmul"]
    return plan, plan.graph.lines[0]


def test_the_proof_knows_kernels():
    plan, kernel = of_one_kernel()
    first, second = kernel.outs
    plan.places[second] = plan.places[first]
    with pytest.raises(AssertionError, match="two of its results lie in one place"):
        proof(plan)
    plan, kernel = of_one_kernel()
    kernel.outs = kernel.outs[:1]
    with pytest.raises(AssertionError, match="was overwritten"):
        proof(plan)


def test_nothing_is_written_over_what_is_read_in_another_order(device):
    def mirrored(x):
        a = x.exp()
        return a * a[:, ::-1]

    proof(Plan(traced(mirrored, drawn(3, 4), passes=PASSES, device=device)))


def test_memory_is_used_again():
    """A chain of 20 functions needs the memory of one: each result is written over the last."""

    def chain(x):
        for _ in range(20):
            x = x.exp().tanh()
        return x

    assert Plan(traced(chain, drawn(64, 64))).size == 64 * 64 * 4
    assert Plan(traced(lambda x: x.exp() + x.tanh(), drawn(64, 64))).size == 2 * 64 * 64 * 4


def test_memory_of_gpt_is_at_most_seven_tenths_of_eagers_peak():
    """A step like that of W5, smaller; measured by tracemalloc, to which NumPy reports."""
    arrays = [np.random.default_rng(i).integers(0, 64, (4, 32)) for i in range(2)]

    def make(wrap):
        return written_on(lambda: transformer.GPT(64, 32, 64, 4, 2))(wrap)

    step, _ = make(lambda f: f)
    args = [tensor(a) for a in arrays]
    step(*args)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        step(*args)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    ((program, _),) = programs(make, [arrays])
    proof(program.plan)
    assert program.memory <= 0.7 * peak


def test_a_run_makes_no_new_arrays():
    """All results have their place already; what a run takes besides is small."""
    (program, arrays), *_ = programs(written_on(gpt), read(16, 6, 9))
    args = [*map(Tensor, arrays)]
    program(args)
    tracemalloc.start()
    try:
        program(args)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < program.memory / 2


def test_source_reads_as_it_was_written():
    """The user's names, views beforehand, results over operands that are not needed again."""
    w = tensor(np.array([[1.0, 2.0], [3.0, 4.0]], "f"), requires_grad=True)
    optimizer = optim.SGD([w], 0.5)

    def step(x):
        hidden = (x @ w).tanh()
        loss = (hidden * hidden).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    step = minidl.compile(step)
    step(drawn(3, 2))
    lines = step.source.splitlines()
    assert lines[:4] == ["import numpy as np", "", "", lines[3]]
    assert lines[3].startswith("def make(rng, ")
    body = step.source[step.source.index("def step(") :]
    assert body.startswith("def step(x")
    assert "np.dot(x" in body and "np.tanh(" in body and "hidden" in body
    assert "loss" in body and "return (loss.copy(), ), ()" in body
    assert "np.empty" not in body and "np.zeros" not in body
    compile(step.source, "source", "exec")


def test_odd_constants_in_source(device):
    """Numbers that are not finite, types, slices, ellipsis, None: the text says them all."""

    def f(x):
        a = minidl.where(x.data.shape[0] > 2, x, float("inf"))
        b = x[..., None][::2, 1:, 0]
        c = x.astype("float64").astype("int32")
        d = minidl.where(minidl.engine.ops.less(x, 0.0), -float("inf"), x)
        return a, b, c, d, x[()], x[-1, ..., -1], x * float("nan"), x[:, None].sum((0, 2))

    compiled = minidl.compile(f)
    for i in range(3):
        x = tensor(drawn(3, 4, seed=i), device=device)
        equal([contents(compiled(x), [])], [contents(f(x), [])], 1e-6)
