"""A compiled function does what the function does: every operation, layer, optimiser, step."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from static import MODELS, classifier, compare, contents, drawn, equal, labelled, learning
from test_ops import STEPS, TABLE, apply, label, leaves, numbers, on, weights
from test_optim import KINDS

import minidl
from minidl import Tensor, nn, optim, tensor
from minidl.engine import devices, ops
from minidl.graph.lines import flat
from minidl.nn import checkpoint
from minidl.nn import functional as F

# ---- every operation, layer, optimiser


def moved(c, i, dtype):
    """The inputs of a case for its call i: the same numbers at other places."""
    moved = [np.roll(a.reshape(-1), i).reshape(a.shape) for a in numbers(c, dtype)]
    fixed = [a + i if np.ndim(a) == 4 else np.roll(a, i) for a in c.inputs]
    return [m if isinstance(x, tuple) else f for x, m, f in zip(c.inputs, moved, fixed)]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["arguments", "parameters"])
@pytest.mark.parametrize("c", TABLE + STEPS, ids=label)
def test_every_operation(c, where, device):
    """Value and gradient at three calls, each with other inputs: nothing is baked in."""
    dtype = {"arguments": "float32", "parameters": "float64"}[where]

    def make(wrap):
        held = [tensor(a, requires_grad=a.dtype.kind == "f") for a in numbers(c, dtype)]

        def step(*given):
            given = [Tensor(x.data, requires_grad=x.dtype.kind == "f") for x in given]
            inputs = held if where == "parameters" else given
            y = apply(c, inputs)
            if c in STEPS:
                return y
            w = tensor(weights(y.shape, y.dtype), device=y.device)
            return y, minidl.grad((y * w).sum(), leaves(inputs))

        return wrap(step), held

    def between(i, held):
        for x, a in zip(held, moved(c, i, dtype)):
            x.data = devices.to_device(a, device)

    calls = [moved(c, i, dtype) if where == "arguments" else [] for i in range(3)]
    compare(make, calls, between if where == "parameters" else None, device=device)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_and_optimiser(name, device):
    compare(*MODELS[name], device=device)


# ---- what happens between the runs


@pytest.mark.slow
def test_training_and_prediction_share_a_model(device):
    """Two compiled functions, one after the other: each sees what the other did."""

    def make(wrap):
        model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm(6), nn.ReLU(), nn.Dropout(0.3))
        model = nn.Sequential(model, nn.Linear(6, 3))
        optimizer = optim.Adam(model.parameters(), 0.05)

        def train(x, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
            return loss

        def predict(x):
            with minidl.no_grad():
                return model(x)

        train, predict = wrap(train), wrap(predict)

        def both(x, labels):
            loss = train(x, labels)
            model.eval()
            answer = predict(x)
            model.train()
            return loss, predict(x), answer

        return both, [model, optimizer]

    compare(make, labelled(4, 5), device=device)


@pytest.mark.parametrize("kind", ["SGD", "momentum", "Adam"])
def test_states_that_are_loaded_and_saved(kind, device):
    """A state that is loaded is used; one that was saved stays as it was."""
    saved = []

    def between(i, parts):
        model, optimizer = parts
        if i == 2:  # the first two calls trace, the third writes into its states
            saved[:] = [(model.state_dict(), optimizer.state_dict())]
            before = contents(saved, [])
            saved.append(before)
        if i == 3:  # an optimiser's state that is loaded between two runs is not seen yet
            equal([contents(saved[:1], [])], [saved[1]])
            model.load_state_dict(saved[0][0])
        if i == 4:
            model.parameters()[0].data = devices.to_device(drawn(5, 6), device)
            optimizer.lr = 0.3

    make = classifier(kind, optim.step_decay(1, 0.5))
    compare(make, labelled(4, 5), between, device=device)


def test_gradients_are_left(device):
    def make(wrap):
        model = nn.Linear(4, 2)

        def step(x):
            (model(x) * model(x)).mean().backward()

        return wrap(step), [model]

    def between(i, parts):
        for p in parts[0].parameters():
            p.grad = None

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], between, device=device)


def test_results_that_were_kept_stay(device):
    def make(wrap):
        model, seen = nn.Linear(4, 2), []
        run = wrap(lambda x: (x, model(x), x[1:], model.weight * 1))

        def step(x):
            seen.append(run(x))
            return seen[0][1:]

        return step, [model]

    def between(i, parts):
        parts[0].weight.data = devices.to_device(drawn(4, 2, seed=i), device)

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], between, device=device)


@pytest.mark.parametrize(
    "shape_of",
    [
        lambda y: y,
        lambda y: (y, y * 2, (y, [y + 1])),
        lambda y: {"a": y, "b": {"c": -y}},
        lambda y: None,
        lambda y: 3.5,
        lambda y: ("text", 2, None, y, True),
        lambda y: [],
    ],
    ids=["one", "tuple", "dict", "None", "number", "mixed", "empty"],
)
def test_results_of_all_kinds(shape_of, device):
    def make(wrap):
        return wrap(lambda x: shape_of(x.exp().sum(0))), []

    calls = [(drawn(3, 4, seed=i),) for i in range(3)]
    compare(make, calls, device=device)
    compiled, result = minidl.compile(make(lambda f: f)[0]), make(lambda f: f)[0]
    for arrays in calls:
        x = tensor(arrays[0], device=device)
        a, b = compiled(x), result(x)
        assert type(a) is type(b)
        if isinstance(b, (tuple, dict)):
            assert list(map(type, b)) == list(map(type, a))


def test_bare_arrays_integers_and_no_arguments(device):
    """Bare arrays may be given; a function may be given nothing; integers stay integers."""
    table = tensor(drawn(5, 3), device=device)
    pick = minidl.compile(lambda ids, x: (table[ids] * x, ids + 1, ids * ids))
    for i in range(3):
        ids, x = np.random.default_rng(i).integers(0, 5, 4), drawn(4, 3, seed=i)
        y, more, square = pick(*(devices.to_device(a, device) for a in (ids, x)))
        np.testing.assert_array_equal(y.numpy(), table.numpy()[ids] * x)
        np.testing.assert_array_equal(more.numpy(), ids + 1)
        np.testing.assert_array_equal(square.numpy(), ids * ids)
        assert more.dtype == ids.dtype
    double = minidl.compile(lambda: table * 2)
    for i in range(3):
        table.data = devices.to_device(drawn(5, 3, seed=i), device)
        np.testing.assert_array_equal(double().numpy(), 2 * drawn(5, 3, seed=i))


def test_each_signature_is_recorded_once(device):
    here, count = (lambda a: devices.to_device(a, device)), []
    layer = nn.Dropout(0.5)

    def f(x):
        count.append(1)
        return layer(x) * 2

    f = minidl.compile(f)
    for _ in range(3):
        for x in drawn(3, 4), drawn(2, 4), drawn(3, 4, dtype="float64"):
            y = f(here(x))
            assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, device)
    assert len(count) == len(f.programs) == 3
    layer.eval()
    np.testing.assert_array_equal(f(here(drawn(3, 4))).numpy(), drawn(3, 4) * 2)
    with minidl.no_grad():
        f(here(drawn(3, 4)))
    assert len(count) == 5


def test_inputs_in_any_layout(device):
    f = minidl.compile(lambda x: (x.reshape(12), x.T, x.sum(0), x[1:].exp(), x * 1))
    a, wide = drawn(3, 4), np.zeros((3, 8), "f")
    wide[:, ::2] = a
    here, there, turned = (devices.to_device(b, device) for b in (a, wide, a.T.copy()))
    for x in (here, turned.T, there[:, ::2], here[::-1][::-1]) * 2:
        for found, expected in zip(f(x), (a.reshape(12), a.T, a.sum(0), np.exp(a[1:]), a)):
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)


def test_draws_follow_the_seed(device):
    f = minidl.compile(lambda x: F.dropout(x) + minidl.engine.ops.normal(x))
    x, seen = tensor(np.ones((4, 5), "f"), device=device), []
    for _ in range(3):
        minidl.manual_seed(3)
        seen.append([f(x).numpy().copy() for _ in range(3)])
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[1], seen[2])
    for first, then in (seen[0][:2], seen[0][1:3]):
        assert (first != then).any(), "two calls drew the same"


@pytest.mark.parametrize("swapped", [False, True])
def test_tensors_that_change_one_another(swapped, device):
    """What each becomes was computed of what both were."""

    def make(wrap):
        a, b = tensor(drawn(3)), tensor(drawn(3, seed=1))

        def step(x):
            if swapped:
                a.data, b.data = (b * 1).data, (a * 1).data
            else:
                a.data, b.data = (b * x).data, (a - x).data
            return a + 2 * b

        return wrap(step), [a, b]

    compare(make, [(drawn(3, seed=i + 2),) for i in range(4)], device=device)


def test_a_tensor_before_and_after_its_update(device):
    def make(wrap):
        a = tensor(drawn(3, 2))

        def step(x):
            part, turned = a[1:], a.T  # the first operations on `a`: from here on it is traced
            before = Tensor(a.data)
            a.data = (a * x).data
            return before, part, turned, a * 1, part + 1, a.T

        return wrap(step), [a]

    compare(make, [(drawn(3, 2, seed=i + 2),) for i in range(4)], device=device)


def test_second_derivatives(device):
    def make(wrap):
        w = tensor(drawn(4, 4), requires_grad=True)

        def step(x):
            (g,) = minidl.grad((x @ w).tanh().sum(), w, create_graph=True)
            (h,) = minidl.grad((g * g).sum(), w)
            return g, h

        return wrap(step), [w]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


def test_checkpoint(device):
    def make(wrap):
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 2))

        def step(x):
            for p in model.parameters():
                p.grad = None
            checkpoint(model, x).mean().backward()

        return wrap(step), [model]

    # With NumPy 2.0 a product differs in its last bit with where its operands lie in memory.
    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device, exact=1e-6)


def test_tied_parameters(device):
    def make(wrap):
        layer = nn.Linear(4, 4)
        model = nn.Sequential(layer, nn.Tanh(), layer)
        optimizer = optim.AdamW(model.parameters(), 0.1)

        def step(x):
            optimizer.zero_grad()
            loss = (model(x) * layer(x)).mean()
            loss.backward()
            optimizer.step()
            return loss

        return wrap(step), [model, optimizer]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


def test_a_parameter_without_gradient_stays(device):
    def make(wrap):
        used, idle = nn.Linear(4, 4), nn.Linear(2, 2)
        optimizer = optim.Adam([*used.parameters(), *idle.parameters()], 0.1)

        def step(x):
            optimizer.zero_grad()
            used(x).mean().backward()
            optimizer.step()

        return wrap(step), [used, idle, optimizer]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


def test_two_optimisers_of_one_model(device):
    def make(wrap):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        both = [optim.SGD(model[0].parameters(), 0.1), optim.Adam(model[2].parameters(), 0.1)]

        def step(x):
            for o in both:
                o.zero_grad()
            (model(x) * model(x)).mean().backward()
            for o in both:
                o.step()

        return wrap(step), [model, *both]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


def test_gradients_that_are_other_tensors(device):
    """d(w x) / dw is x itself: `.grad` must not change when x, or the caller's array, does."""

    def make(wrap):
        v, w = (tensor(drawn(3, seed=i), requires_grad=True) for i in (7, 8))

        def step(x):
            v.grad = w.grad = None
            ((v * w).sum() + (v * x).sum() * 0 + (w * x).sum()).backward()
            v.data, w.data = (v - v.grad).data, (w * 2).data

        run = wrap(step)

        def and_change_the_input(x):
            run(x)
            x.data[:] = 0

        return and_change_the_input, [v, w]

    compare(make, [(drawn(3, seed=i),) for i in range(3)], device=device)

    def only(wrap):
        w = tensor(drawn(3, seed=8), requires_grad=True)

        def step(x):
            w.grad = None
            (w * x).sum().backward()

        run = wrap(step)

        def and_change_the_input(x):
            run(x)
            x.data[:] = 0

        return and_change_the_input, [w]

    compare(only, [(drawn(3, seed=i),) for i in range(3)], device=device)


# ---- what comes from outside, and what is left there


def test_gradients_add_up_until_someone_forgets_them(device):
    p, x = on(device, np.array([[1, 2], [1, 3]], "f"))
    run = minidl.compile(lambda x: (p * x).sum().backward())
    for i in range(1, 4):
        run(x)
        assert p.grad.numpy().tolist() == [i, 3 * i]
    p.grad = None
    run(x)
    assert p.grad.numpy().tolist() == [1, 3]


def test_detached_and_returned_tensors_are_read_anew(device):
    p = tensor([5.0], requires_grad=True, device=device)
    times, same = minidl.compile(lambda z: z * p.detach()), minidl.compile(lambda: p)
    for value in (5.0, 7.0, 9.0):
        p.data = devices.to_device(np.array([value], "f"), device)
        two = tensor([2.0], device=device)
        assert times(two).item() == 2 * value and same().item() == value


def test_the_state_of_an_optimiser_can_be_loaded_between_runs(device):
    model = nn.Linear(2, 1).to(device)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)

    def step(x):
        (model(x) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    run, x = minidl.compile(step), tensor(np.ones((3, 2), "f"), device=device)
    run(x)
    run(x)
    weights, state = model.state_dict(), optimizer.state_dict()
    before = contents([], [model, optimizer])
    run(x)
    expected = contents([], [model, optimizer])  # copies, whatever state_dict gives
    still = [k for k in ("0 weight", "0 bias", "1 steps") if (before[k] == expected[k]).all()]
    assert not still, f"nothing is shown by what a run does not change: {still}"
    model.load_state_dict(weights)
    optimizer.load_state_dict(state)
    equal([contents([], [model, optimizer])], [before])
    run(x)
    equal([contents([], [model, optimizer])], [expected])


def test_two_steps_in_one(device):
    """The second step of an optimiser has the next number and the next rate."""

    def make(wrap):
        model = nn.Linear(4, 4)
        optimizer = optim.Adam(model.parameters(), 0.1, schedule=optim.step_decay(1, 0.5))

        def step(x):
            losses = []
            for _ in range(2):
                optimizer.zero_grad()
                losses.append((model(x) * model(x)).mean())
                losses[-1].backward()
                optimizer.step()
            return losses

        return wrap(step), [model, optimizer]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


@pytest.mark.parametrize("when", ["before the step", "after it", "both"])
def test_parameters_that_the_function_itself_changes(when, device):
    """Weights are clipped, as a Wasserstein critic's are; an optimiser's array takes them up."""

    def make(wrap):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)

        def clip():
            for p in model.parameters()[::2]:
                p.data = ops.minimum(ops.maximum(p, -0.1), 0.1).data

        def step(x):
            if when != "after it":
                clip()
            loss = (model(x) * model(x)).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if when != "before the step":
                clip()
            return loss

        return wrap(step), [model, optimizer]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(4)], device=device)


def test_gradients_that_are_given(device):
    p, x = on(device, np.array([[1, 2], [1, 2]], "f"))
    w = tensor([3.0, 4.0], device=device)

    def gradients(x):
        (2 * p).backward(w)
        return minidl.grad(x * p, p, w)[0]

    run = minidl.compile(gradients)
    for i in range(1, 4):
        w.data = devices.to_device(np.array([i, 2.0 * i], "f"), device)
        p.grad = None
        assert run(x).numpy().tolist() == [i, 4 * i]
        assert p.grad.numpy().tolist() == [2 * i, 4 * i]


def test_arguments_with_requires_grad(device):
    run = minidl.compile(lambda x: (x * x).sum().backward())
    for i in range(3):
        x = tensor([1.0, i], requires_grad=True, device=device)
        run(x)
        run(x)
        assert x.grad.numpy().tolist() == [4, 4 * i]
    x = tensor([1.0, 5.0], device=device)
    with pytest.raises(RuntimeError, match="no record"):
        run(x)


def test_a_compiled_function_inside_another_is_a_part_of_it(device):
    w, x = on(device, np.array([[2], [3]], "f"))
    one = tensor([1.0], device=device)
    inner = minidl.compile(lambda: x * w)
    inner()
    outer = minidl.compile(lambda t: inner() + t)
    for value in (2.0, 5.0, 7.0):
        w.data = devices.to_device(np.array([value], "f"), device)
        assert outer(one).item() == 3 * value + 1


def test_two_threads_end_where_one_does():
    def make(**options):
        minidl.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = optim.Adam(model.parameters(), 0.01)
        return model, minidl.compile(learning(model, optimizer), **options)

    (one, slow), (two, fast) = make(), make(threads=2)
    for i in range(5):
        batch = tensor(drawn(8, 4, seed=i)), tensor(np.arange(8) % 3)
        assert np.isclose(fast(*batch).item(), slow(*batch).item(), rtol=1e-5)
    for name, a in one.state_dict().items():
        np.testing.assert_allclose(two.state_dict()[name], a, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "layer, n, message",
    [
        (nn.Dropout(0.5), 8, "random draws"),
        (nn.BatchNorm(4), 8, "something else crosses|do not make up"),
        (nn.Tanh(), 7, "not even"),
    ],
)
def test_two_threads_are_refused_where_they_would_differ(layer, n, message):
    model = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2))
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x):
        (model(x) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    with pytest.raises(ValueError, match=message):
        minidl.compile(step, threads=2)(tensor(drawn(n, 4)))
    with pytest.raises(ValueError, match=r"requires_grad=False|not even"):
        minidl.compile(step, threads=2)(tensor(drawn(n, 4), requires_grad=True))


def test_a_state_of_another_type_or_device_is_recorded_anew(device):
    """What a state was given is never turned back into what it was when it was traced."""
    w = tensor(drawn(4))
    step = minidl.compile(lambda: w * 2)
    kinds = ("float32", "cpu"), ("float64", "cpu"), ("float64", device), ("float32", "cpu")
    for kind, home in kinds:
        w.data = devices.to_device(drawn(4, seed=1).astype(kind), home)
        for _ in range(2):
            y = step()
            assert (y.dtype, y.device, w.dtype, w.device) == (kind, home, kind, home)
            np.testing.assert_array_equal(y.numpy(), drawn(4, seed=1).astype(kind) * 2)


# ---- which modules a signature knows


def test_the_mode_of_layers_wherever_they_are_belongs_to_the_signature():
    layers = {"a": [nn.Dropout(0.5)], "b": ({"c": nn.Dropout(0.5)},)}
    bag = SimpleNamespace(inside={"d": nn.Dropout(0.5)})
    x = np.ones((4, 100), "f")
    found = {
        "a dict of lists": (lambda x: layers["a"][0](x), layers["a"][0]),
        "a tuple of dicts": (lambda x: layers["b"][0]["c"](x), layers["b"][0]["c"]),
        "an object": (lambda x: bag.inside["d"](x), bag.inside["d"]),
        "a partial": (partial(lambda layer, x: layer(x), part := nn.Dropout(0.5)), part),
        "a default": (lambda x, part=bag.inside["d"]: part(x), bag.inside["d"]),
        "a function in a function": (lambda x: (lambda y: layers["a"][0](y))(x), layers["a"][0]),
        "a global": (by_a_global, GLOBAL[0]["x"]),
        "a function that it calls": (lambda x: by_a_global(x), GLOBAL[0]["x"]),
    }
    for name, (function, part) in found.items():
        step = minidl.compile(function)
        part.train()
        assert (step(x).numpy() == 0).any(), name
        part.eval()
        np.testing.assert_array_equal(step(x).numpy(), x, err_msg=name)
        part.train()
        assert (step(x).numpy() == 0).any(), name


GLOBAL = [{"x": nn.Dropout(0.5)}]


def by_a_global(x):
    return GLOBAL[0]["x"](x)


# ---- what changes the signature, types, several steps in one

HOLDERS = {
    "by itself": lambda layer: layer,
    "list": lambda layer: [nn.Tanh(), layer],
    "tuple": lambda layer: (layer, nn.Tanh()),
    "dict": lambda layer: {"last": layer},
    "list of lists": lambda layer: [[nn.Tanh()], [nn.Tanh(), layer]],
    "dict of lists": lambda layer: {"a": [nn.Tanh()], "b": [layer]},
    "module with a list": lambda layer: nn.Sequential(nn.Tanh(), nn.Residual(layer)),
}


def innermost(held):
    """The last module of nested lists, tuples and dicts: the dropout of HOLDERS, or around it."""
    found = [part for part in flat(held) if isinstance(part, nn.Module)]
    return next(m for part in found for _, m in part.modules() if isinstance(m, nn.Dropout))


def applied(held, x):
    for part in flat(held):
        x = part(x)
    return x


class Kept:
    """An object that is no Module and holds what it is given."""

    def __init__(self, held):
        self.held = held

    def run(self, x):
        return applied(self.held, x)


@pytest.mark.parametrize("how", ["closure", "attribute"])
@pytest.mark.parametrize("kind", HOLDERS)
def test_layers_in_evaluation_are_another_signature_wherever_they_are_kept(kind, how, device):
    held = HOLDERS[kind](nn.Dropout(0.5))
    layer, x = innermost(held), tensor(np.ones((20, 20), "f"), device=device)
    run = minidl.compile(Kept(held).run if how == "attribute" else lambda x: applied(held, x))
    for _ in range(2):
        for training in (True, False):
            layer.train(training)
            for _ in range(2):
                drops = len(np.unique(run(x).numpy())) > 1  # of ones, all as large
                assert drops is training, f"{kind}: training={training} is not seen"


COUNTS = {
    "times 1": lambda x, ids: (x < 0) * 1,
    "1 times": lambda x, ids: 1 * (x < 0),
    "plus 0": lambda x, ids: (x < 0) + 0,
    "minus 0": lambda x, ids: (x < 0) - 0,
    "by 1": lambda x, ids: (x < 0) / 1,
    "times 1.0": lambda x, ids: (x < 0) * 1.0,
    "times 1 and a sum": lambda x, ids: ((x < 0) * 1).sum(0),
    "times 2": lambda x, ids: (x < 0) * 2,
    "two masks": lambda x, ids: (x < 0) * (x > -1),
    "a mask and itself": lambda x, ids: ((x < 0) * 1) + ((x < 0) * 1),
    "mask times array": lambda x, ids: (x < 0) * x,
    "integers times 1": lambda x, ids: ids * 1,
    "integers times 1.0": lambda x, ids: ids * 1.0,
    "integers by 1": lambda x, ids: ids / 1,
    "integers twice": lambda x, ids: ids + ids,
    "integers less integers": lambda x, ids: -ids + ids,
    "a small type": lambda x, ids: ids.astype("int8") * 1,
    "a wide one": lambda x, ids: x.astype("float64") * 1,
    "half": lambda x, ids: x.astype("float16") * 1 / 1,
    "to its own type": lambda x, ids: x.astype("float32") + 0,
    "array of ones": lambda x, ids: (x < 0) * tensor(np.ones(3, "f"), device=x.device),
    "array of ones and integers": lambda x, ids: ids * tensor(np.ones(3), device=x.device),
}


@pytest.mark.parametrize("name", COUNTS)
def test_types_are_those_of_the_function(name, device):
    """No pass takes a mask for the number that it is worth: `compare` looks at types too."""

    def make(wrap):
        return wrap(COUNTS[name]), []

    rng = np.random.default_rng(0)
    calls = [(drawn(2, 3, seed=i), rng.integers(-3, 3, (2, 3))) for i in range(3)]
    compare(make, calls, device=device)


@pytest.mark.parametrize("kind", ["SGD", "momentum", "Adam"])
@pytest.mark.parametrize("which", ["all", "one", "one, the second time"])
def test_two_steps_in_one_with_a_weight_changed_between(kind, which, device):
    """The optimiser's one array of all weights must not hide what the function changed."""

    def make(wrap):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        optimizer = KINDS[kind][0](model.parameters())

        def step(x):
            for i in range(3):
                optimizer.zero_grad()
                loss = (model(x) * model(x)).mean()
                loss.backward()
                optimizer.step()
                if which != "one, the second time" or i == 1:
                    for p in model.parameters()[: None if which == "all" else 1]:
                        p.data = (p * 0.5 + 0.1).data
            return loss

        return wrap(step), [model, optimizer]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


def test_two_optimisers_step_by_turns_on_one_weight(device):
    def make(wrap):
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
        both = [optim.SGD(model.parameters(), 0.1), optim.Adam(model.parameters(), 0.1)]

        def step(x):
            for o in both * 2:
                o.zero_grad()
                (model(x) * model(x)).mean().backward()
                o.step()

        return wrap(step), [model, *both]

    compare(make, [(drawn(3, 4, seed=i),) for i in range(3)], device=device)


# ---- what a compiled function must not do differently, unseen


def stepped(wrap, *, last):
    """A model, and a step that forgets its gradients at its end, at its beginning, or never."""
    manual = np.random.default_rng(3)
    model = nn.Linear(2, 1)
    model.weight.data = manual.normal(size=(2, 1)).astype(np.float32)
    model.bias.data = np.zeros(1, np.float32)
    optimizer = optim.SGD(model.parameters(), 0.1)

    def step(x):
        if last == "first":
            optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        if last == "last":
            optimizer.zero_grad()
        return loss

    return model, optimizer, wrap(step)


@pytest.mark.parametrize("last", ["first", "last", "never"])
@pytest.mark.parametrize("begins_with", [True, False])
def test_gradients_from_before_a_step_count_as_without_compiling(last, begins_with):
    found = []
    for wrap in (lambda f: f, minidl.compile):
        model, _, step = stepped(wrap, last=last)
        x = drawn(6, 2)
        losses = []
        for i in range(5):
            if i % 2 == int(begins_with):
                (model(tensor(10 * x)) ** 2).mean().backward()
            losses.append(step(x).item())
        found.append((losses, model.state_dict(), [p.grad for p in model.parameters()]))
    (losses, state, grads), (others, other_state, other_grads) = found
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    for path, a in state.items():
        np.testing.assert_allclose(a, other_state[path], rtol=1e-4, err_msg=path)
    for a, b in zip(grads, other_grads):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4)


def test_a_compiled_step_alone():
    model, optimizer, _ = stepped(lambda f: f, last="never")
    step = minidl.compile(lambda: optimizer.step())
    for _ in range(3):
        before = model.weight.numpy().copy()
        optimizer.zero_grad()
        (model(tensor(drawn(6, 2))) ** 2).mean().backward()
        wanted = before - 0.1 * model.weight.grad.numpy()
        step()
        np.testing.assert_allclose(model.weight.numpy(), wanted, rtol=1e-6)


def test_what_is_frozen_or_thawed_later_is_as_without_compiling():
    found = []
    for wrap in (lambda f: f, minidl.compile):
        model, _, step = stepped(wrap, last="last")
        for trains in (True, False, False, True, True):
            model.weight.requires_grad = trains
            step(drawn(6, 2))
        found.append(model.state_dict())
    for path, a in found[0].items():
        np.testing.assert_allclose(a, found[1][path], rtol=1e-5, err_msg=path)


def test_no_way_back_leads_through_what_a_compiled_function_gave():
    model = nn.Linear(2, 1)
    loss = minidl.compile(lambda x: (model(x) ** 2).mean())
    for _ in range(3):  # the first call too, which traces
        with pytest.raises(RuntimeError, match="call backward inside the function"):
            (loss(drawn(6, 2)) + (model.weight * model.weight).sum()).backward()
        assert model.weight.grad is None
    with minidl.no_grad():
        assert not loss(drawn(6, 2)).requires_grad
