"""Several threads at once: who predicts with one model, eager or compiled, gets right answers, and
who trains a model of their own ends where they would have ended alone.
"""

import copy
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.engine import random
from minidl.nn import GPT, GRU
from minidl.nn import functional as F

THREADS = 4


@pytest.fixture(autouse=True)
def _switch_often():
    """Threads take turns a hundred times as often as usual, so that they meet everywhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def together(jobs):
    """What each of `jobs` gives, all begun at the same moment, each in a thread of its own."""
    gate = threading.Barrier(len(jobs))

    def run(job):
        gate.wait(60)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(120) for future in [pool.submit(run, job) for job in jobs]]


def models():
    """Models of several kinds, in evaluation, each with its name and a function n -> input."""

    def numbers(*shape):
        return lambda rng, n: rng.normal(size=(n, *shape)).astype(np.float32)

    conv = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(36, 3),
    )  # fmt: skip
    yield "MLP", nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), numbers(6)
    yield "CNN", conv, numbers(1, 8, 8)
    yield "GRU", GRU(3, 5), numbers(4, 3)
    yield "GPT", GPT(11, 8, 8, 2, 1), lambda rng, n: rng.integers(0, 11, size=(n, 5))


def outputs(y):
    """The arrays of what a model gives: a Tensor, or a tuple of them (an RNN's states)."""
    return [t.numpy() for t in y] if isinstance(y, tuple) else [y.numpy()]


@pytest.mark.parametrize("kind", ["eager", "compiled"])
@pytest.mark.parametrize("name, model, draw", [*models()], ids=[name for name, *_ in models()])
def test_threads_predict_with_one_model(name, model, draw, kind):
    model.eval()
    rng = np.random.default_rng(0)
    given = [draw(rng, n) for n in (1, 2, 3, 2) * 2]
    with minidl.no_grad():
        expected = [outputs(model(minidl.tensor(x))) for x in given]
    f = minidl.compile(lambda x: model(x)) if kind == "compiled" else model

    def job(first):
        def run():
            found = []
            with minidl.no_grad():
                for i in range(60):
                    k = (first + i) % len(given)
                    found.append((k, outputs(f(minidl.tensor(given[k])))))
            return found

        return run

    for found in together([job(i) for i in range(THREADS)]):
        for k, ys in found:
            for y, e in zip(ys, expected[k], strict=True):
                np.testing.assert_allclose(y, e, rtol=1e-5, atol=1e-6, err_msg=f"{name}, input {k}")


@pytest.mark.parametrize("kind", ["eager", "compiled"])
def test_ten_thousand_calls_from_four_threads(kind):
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 4))
    f = minidl.compile(lambda x: F.softmax(model(x))) if kind == "compiled" else None
    x = np.random.default_rng(0).normal(size=(THREADS, 5, 8)).astype(np.float32)
    expected = F.softmax(model(minidl.tensor(x))).numpy()

    def job(i):
        given = minidl.tensor(x[i])

        def run():
            answers = (f(given) if f else F.softmax(model(given)) for _ in range(2500))
            return sum(not np.allclose(y.numpy(), expected[i], atol=1e-6) for y in answers)

        return run

    assert together([job(i) for i in range(THREADS)]) == [0] * THREADS, "wrong answers by thread"


def test_results_of_a_compiled_call_stay_when_others_call():
    w = minidl.tensor(np.ones((3, 3), np.float32), requires_grad=True)

    @minidl.compile
    def f(x):
        return x @ w, x, w

    kept = [f(np.full((3, 3), i, np.float32)) for i in range(6)]
    w.data = np.zeros((3, 3), np.float32)
    f(np.full((3, 3), 9.0, np.float32))
    for i, (y, x, weight) in enumerate(kept):
        np.testing.assert_array_equal(y.numpy(), np.full((3, 3), 3.0 * i), err_msg=f"call {i}: y")
        np.testing.assert_array_equal(x.numpy(), np.full((3, 3), i), err_msg=f"call {i}: x")
        np.testing.assert_array_equal(weight.numpy(), np.ones((3, 3)), err_msg=f"call {i}: w")


def test_a_recording_is_seen_by_no_other_thread():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 2))
    optimizer = optim.Adam(model.parameters())
    x = np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32)
    gate = threading.Barrier(2)
    before = model.state_dict()
    kinds = {path: type(t) for path, t in model.tensors()}

    def step(x):
        model.train()
        loss = (model(x) ** 2).mean()
        loss.backward()
        gate.wait(30)  # gradients are known, nothing is updated
        gate.wait(30)
        optimizer.step()
        gate.wait(30)  # all is updated, the recording goes on
        gate.wait(30)
        optimizer.zero_grad()
        return loss

    def look():
        """What the other thread sees of the model at two moments of the recording."""
        found = []
        for _ in range(2):
            gate.wait(30)
            with minidl.no_grad():
                y = (minidl.tensor(x) @ model[0].weight + model[0].bias).numpy()
            arrays = {path: np.asarray(t.data) for path, t in model.tensors()}
            grads = [p.grad for p in model.parameters()]
            copies = copy.deepcopy(model).state_dict()
            found.append((y, arrays, grads, str(model[0].weight), copies))
            gate.wait(30)
        return found

    first = (x @ before["0.weight"]) + before["0.bias"]
    _, found = together([lambda: minidl.compile(step)(x), look])
    for y, arrays, grads, text, copies in found:
        np.testing.assert_allclose(y, first, rtol=1e-6)
        for path, a in before.items():
            np.testing.assert_array_equal(arrays[path], a, err_msg=path)
            np.testing.assert_array_equal(copies[path], a, err_msg=f"{path} of a copy")
        assert grads == [None] * 6
        assert text.startswith("tensor([[")
    assert {path: type(t) for path, t in model.tensors()} == kinds
    assert {type(t.data) for _, t in model.tensors()} == {np.ndarray}
    assert not np.allclose(model.state_dict()["0.weight"], before["0.weight"]), "it was trained"


def test_what_another_thread_does_while_one_records_is_not_recorded():
    w = minidl.tensor([2.0], requires_grad=True)
    gate = threading.Barrier(2)

    def f(x):
        y = x * w
        gate.wait(30)
        gate.wait(30)
        return y + 1

    def other():
        gate.wait(30)
        (w * 3).sum().backward()  # on the very tensor that is being recorded
        gate.wait(30)
        return w.grad.numpy()

    compiled = minidl.compile(f)
    y, grad = together([lambda: compiled(np.float32([5.0])).numpy(), other])
    np.testing.assert_array_equal(y, [11.0])
    np.testing.assert_array_equal(grad, [3.0])
    np.testing.assert_array_equal(w.grad.numpy(), [3.0])
    assert len(compiled.program.traced_graph.lines) == 2


def trained(seed, kind, steps=40):
    """The weights after training a model of its own, and its losses."""
    rng = np.random.default_rng(seed)
    random.manual_seed(seed)  # the same first weights: models are made one after the other
    model = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm(12), nn.ReLU(), nn.Linear(12, 3))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    x = rng.normal(size=(steps, 16, 5)).astype(np.float32)
    labels = rng.integers(0, 3, size=(steps, 16))

    def step(x, labels):
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    run = minidl.compile(step) if kind == "compiled" else step

    def train():
        tensors = [(minidl.tensor(a), minidl.tensor(b)) for a, b in zip(x, labels)]
        losses = [run(a, b).item() for a, b in tensors]
        return losses, model.state_dict()

    return train


@pytest.mark.parametrize("kind", ["eager", "compiled"])
def test_two_threads_train_two_models(kind):
    alone = [trained(seed, kind)() for seed in range(2)]
    found = together([trained(seed, kind) for seed in range(2)])
    for seed in range(2):
        np.testing.assert_array_equal(found[seed][0], alone[seed][0], err_msg=f"losses, {seed}")
        for path, a in alone[seed][1].items():
            np.testing.assert_array_equal(found[seed][1][path], a, err_msg=f"model {seed}: {path}")


def test_threads_that_share_a_compiled_step_take_turns():
    """What changes a state runs one call after the other: none of the additions is lost."""
    total = minidl.tensor(np.zeros(1000, np.float32))

    @minidl.compile
    def add(x):
        total.data = (total + x).data
        return total.sum()

    one = np.ones(1000, np.float32)
    add(one)
    together([lambda: [add(one) for _ in range(250)] for _ in range(THREADS)])
    np.testing.assert_array_equal(total.numpy(), 1 + 250 * THREADS)


def test_threads_that_share_a_step_each_get_the_loss_of_their_own_batch():
    w = minidl.tensor(np.ones(4, np.float32), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.0)

    @minidl.compile
    def step(x):
        loss = (x * w).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    def job(i):
        x = np.full(4, i, np.float32)
        return lambda: {step(x).item() for _ in range(300)}

    assert together([job(i) for i in range(THREADS)]) == [{4.0 * i} for i in range(THREADS)]


def test_a_call_inside_a_call_of_the_same_function():
    """A check that a compiled function runs may call it again: no lock is waited for for ever."""
    f = minidl.compile(lambda x: x * 2)
    together([lambda: f(f(np.ones(3, np.float32)).numpy())] * 2)


def test_first_calls_of_many_threads_record_once_for_each_signature():
    model = nn.Linear(3, 2)
    calls = []

    @minidl.compile
    def f(x):
        calls.append(x.shape)
        return model(x)

    together([lambda: f(np.ones((2, 3), np.float32))] * 6)
    assert calls == [(2, 3)]


def test_an_error_in_a_recording_leaves_others_free():
    w = minidl.tensor([1.0], requires_grad=True)

    @minidl.compile
    def bad(x):
        if (x * w).item() > 0:
            return x
        return w

    with pytest.raises(RuntimeError, match="while a graph was traced"):
        bad(np.float32([1.0]))
    assert type(w.data) is np.ndarray
    found = together([lambda: minidl.compile(lambda x: x * w)(np.float32([2.0])).item()] * 3)
    assert found == [2.0] * 3


def test_threads_that_halve_batches_leave_the_number_of_blas_threads():
    pytest.importorskip("threadpoolctl")
    from minidl.graph.compiled import _blas

    before = [lib.get_num_threads() for lib in _blas()]

    def job(seed):
        rng = np.random.default_rng(seed)
        w = minidl.tensor(rng.normal(size=(4, 3)).astype(np.float32), requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)
        x = rng.normal(size=(8, 4)).astype(np.float32)

        def step(x):
            loss = ((x @ w) ** 2).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        f = minidl.compile(step, threads=2)
        return lambda: [f(x).item() for _ in range(50)]

    found = together([job(0), job(0), job(1)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert [lib.get_num_threads() for lib in _blas()] == before
