"""What walks over modules: their parts, their modes, watching calls, running twice."""

import gc
import time
import tracemalloc
from collections import OrderedDict, defaultdict, deque, namedtuple
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from types import MappingProxyType, SimpleNamespace

import numpy as np
import pytest

import minidl
from minidl import nn, optim, tensor
from minidl.engine import devices, random
from minidl.engine.ops import bernoulli
from minidl.nn import checkpoint, evaluating, watched
from minidl.train.precision import autocast


def block(dtype=None):
    """Everything that makes a second run differ: dropout, running statistics, shared weights."""
    random.manual_seed(1)
    linear = nn.Linear(6, 6)
    parts = [linear, nn.BatchNorm(6), nn.Tanh(), nn.Dropout(0.3), linear, nn.Dropout(0.5)]
    return nn.Sequential(*parts).to(dtype=dtype)


def run(model, through, x):
    """Output, gradients of the input and of all parameters, running statistics, next draw."""
    random.manual_seed(2)
    y = through(model, x * 1.5)
    (y * y).sum().backward()
    draw = bernoulli(tensor(np.ones(20)).to(x.device), p=0.5)
    return [y, x.grad, *(p.grad for p in model.parameters()), *model.state_dict().values(), draw]


def plain(module, *inputs):
    return module(*inputs)


def array(x):
    return devices.to_numpy(x.data if isinstance(x, minidl.Tensor) else x)


def halves(module, x):
    for part in nn.Sequential(*list(module)[:3]), nn.Sequential(*list(module)[3:]):
        x = checkpoint(part, x)
    return x


class Nested(nn.Module):
    def __init__(self, inner):
        self.inner = inner

    def forward(self, x):
        return halves(self.inner, x)


@pytest.mark.parametrize("through", [checkpoint, halves, lambda m, x: checkpoint(Nested(m), x)])
def test_checkpoint_gives_the_same_bits(through, device):
    values = np.random.default_rng(0).standard_normal((5, 6)).astype("f")
    found = []
    for way in plain, through:
        x = tensor(values, requires_grad=True, device=device)
        found.append(run(block().to(device), way, x))
    for expected, got in zip(*found, strict=True):
        np.testing.assert_array_equal(array(got), array(expected))


@pytest.mark.parametrize("retain", [False, True])
def test_checkpoint_goes_back_as_often_as_a_record(retain):
    model, x = block(), tensor(np.ones((3, 6)), dtype="float32", requires_grad=True)
    y = checkpoint(model, x).sum()
    y.backward(retain_graph=retain)
    first, x.grad = x.grad, None
    if not retain:
        with pytest.raises(RuntimeError, match="freed"):
            y.backward()
        return
    y.backward()
    np.testing.assert_array_equal(x.grad.numpy(), first.numpy())


def test_checkpoint_has_second_and_third_derivatives(device):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
    found = []
    for way in plain, checkpoint:
        model = block("float64").to(device)
        x = tensor(a, requires_grad=True, device=device)
        other = tensor(b, device=device)
        random.manual_seed(2)
        y = way(model, way(nn.Tanh(), x * 2.0)) * other
        for _ in range(3):
            asked = [x, *model.parameters()]
            grads = minidl.grad((y * y).sum(), asked, create_graph=True)
            y = sum((g * g).sum() for g in grads)
        found.append([y, *grads])
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(array(got), array(expected), rtol=1e-9, atol=1e-9)


def test_checkpoints_in_a_row_stay_cheap_with_a_recorded_way_back():
    """If one walked back through those below it, twenty would take 2**20 runs."""
    count = []

    class Step(nn.Module):
        def forward(self, x):
            count.append(1)
            return x * x * 0.9

    x = y = tensor(np.ones(2), requires_grad=True)
    for _ in range(20):
        y = checkpoint(Step(), y)
    (g,) = minidl.grad(y.sum(), x, create_graph=True)
    assert len(count) == 40
    (g * g).sum().backward()
    assert len(count) <= 60
    np.testing.assert_array_equal(np.isfinite(x.grad.numpy()), True)


def test_checkpoint_remembers_autocast():
    model, x = nn.Linear(3, 2), tensor(np.ones((4, 3), "f"), requires_grad=True)
    found = []
    for way in plain, checkpoint:
        with autocast():
            y = way(model, x)
        grads = minidl.grad((y * 0.3).sum(), [x, *model.parameters()])
        found.append([y, *grads])
    assert found[0][0].dtype == found[1][0].dtype == "float16"
    for expected, got in zip(*found, strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got.numpy(), expected.numpy())


def test_checkpoint_records_only_what_asks():
    x = tensor(np.ones((2, 3), "f"))
    assert checkpoint(nn.Tanh(), x).op is None
    y = checkpoint(nn.Linear(3, 3), np.ones((2, 3), "f"))
    assert y.requires_grad and y.op.name == "checkpoint"
    with minidl.no_grad():
        assert checkpoint(nn.Linear(3, 3), x).op is None
    frozen = nn.Linear(3, 3)
    frozen.weight.requires_grad = False
    checkpoint(frozen, x).sum().backward()
    assert frozen.weight.grad is None and frozen.bias.grad is not None
    z = tensor(np.ones(3), requires_grad=True)
    (checkpoint(nn.Dropout().eval(), z) * z).sum().backward()  # a module that gives its input
    assert z.grad.numpy().tolist() == [2, 2, 2]
    pair = checkpoint(Both(), z, z * 3)
    assert minidl.grad(pair.sum(), z)[0].numpy().tolist() == [7, 7, 7]


class Both(nn.Module):
    def forward(self, a, b):
        return a + 2 * b


def test_checkpoint_wants_one_tensor():
    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with pytest.raises(TypeError, match=r"checkpoint: expected a Tensor from Pair\(\), got tuple"):
        checkpoint(Pair(), tensor([1.0]))
    with pytest.raises(ValueError, match=r"Linear\(2, 3\): expected x of shape"):
        checkpoint(nn.Linear(2, 3), tensor(np.ones((1, 3))))
    x = checkpoint(nn.Tanh(), tensor(np.ones((0, 3)), requires_grad=True))
    assert minidl.grad(x.sum(), x)[0].shape == (0, 3)


def test_checkpoint_saves_memory():
    def peak(through):
        stack = [nn.Sequential(*(nn.Tanh() for _ in range(10))) for _ in range(10)]
        x = y = tensor(np.ones((100, 1000), "f"), requires_grad=True)
        tracemalloc.start()
        for part in stack:
            y = through(part, y)
        y.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / x.data.nbytes  # in arrays of this size

    # A hundred results, or ten, ten of the part that runs again, and what its gradient needs.
    assert peak(plain) > 100
    assert peak(checkpoint) < 26


@pytest.mark.slow
def test_a_checkpoint_is_freed_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = tensor(np.ones((3, 6), "f"), requires_grad=True)
        model = block()
        with autocast():
            y = checkpoint(model, x * 1.0).sum()
        y.backward()
        del y
        model.to()  # forgets the gradients
        assert gc.collect() == 0
    finally:
        gc.enable()


# ---- watched


def test_watched_goes_around_each_call_and_ends():
    shared = nn.ReLU()
    net, seen = nn.Sequential(nn.Linear(2, 2), shared, nn.Sequential(shared)), []

    def around(path, module, run):
        seen.append(path)
        y = run()
        seen.append(f"/{path}")
        return y

    x = tensor(np.ones((1, 2), "f"))
    with watched(net, around):
        nn.ReLU()(x)  # none of the model's
        y = net(x)
    assert seen == ["", "0", "/0", "1", "/1", "2", "1", "/1", "/2", "/"]
    np.testing.assert_array_equal(net(x).numpy(), y.numpy())
    assert len(seen) == 10


def test_watched_inside_watched_and_with_an_error():
    layer, seen = nn.Linear(2, 2), []
    with (
        watched(layer, lambda path, module, run: seen.append("first") or run()),
        pytest.raises(ValueError, match="expected x"),
        watched(layer, lambda path, module, run: seen.append("second") or run()),
    ):
        layer(tensor(np.ones(3)))
    layer(tensor(np.ones(2, "f")))
    assert sorted(seen) == ["first", "second"]


def test_summary_puts_every_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.Linear(2, 2))
    net[0].eval()
    nn.summary(net, np.ones((1, 2), "f"))
    assert [m.training for _, m in net.modules()] == [True, False, True]


# ---- parts in dicts, lists and tuples


def layer():
    return nn.Linear(2, 2)


class Holder(nn.Module):
    """A module with one attribute, `kept`."""

    def __init__(self, kept):
        self.kept = kept


NESTED = {
    "a dict": (lambda a, b: {"a": a, "b": b}, ["kept.a", "kept.b"]),
    "a list in a list": (lambda a, b: [[a], [b]], ["kept.0.0", "kept.1.0"]),
    "a tuple of dicts": (lambda a, b: ({"x": a}, {"x": b}), ["kept.0.x", "kept.1.x"]),
    "a list in a dict": (lambda a, b: {"x": [1, a, None], "y": [b]}, ["kept.x.1", "kept.y.0"]),
    "a dict in a dict": (lambda a, b: {"x": {"y": {"z": a}}, "w": b}, ["kept.x.y.z", "kept.w"]),
    "an OrderedDict": (lambda a, b: OrderedDict(p=a, q=b), ["kept.p", "kept.q"]),
    "a defaultdict": (lambda a, b: defaultdict(list, p=[a, b]), ["kept.p.0", "kept.p.1"]),
    "a read-only dict": (lambda a, b: MappingProxyType({"p": a, "q": b}), ["kept.p", "kept.q"]),
    "numbers as keys": (lambda a, b: {0: a, np.int64(7): b}, ["kept.0", "kept.7"]),
    "a namedtuple": (lambda a, b: namedtuple("Pair", "l r")(a, b), ["kept.0", "kept.1"]),
    "a module between": (lambda a, b: {"x": Holder([[a]]), "y": b},
                         ["kept.x.kept.0.0", "kept.y"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_layers_in_containers_are_parts(name, device):
    make, paths = NESTED[name]
    a, b = layer(), layer()
    model = Holder(make(a, b))
    state = model.state_dict()
    assert list(state) == [f"{path}.{kind}" for path in paths for kind in ("weight", "bias")]
    assert model.parameters() == [a.weight, a.bias, b.weight, b.bias]
    assert [m.training for m in (model.eval(), a, b)] == [False] * 3
    assert [m.training for m in (model.train(), a, b)] == [True] * 3
    model.to(device, "float64")
    assert a.weight.device == b.bias.device == device and a.weight.dtype == "float64"
    assert repr(model).count("Linear(2, 2)") == 2
    assert f"({paths[0]}): Linear" in repr(model) or "Holder" in repr(model).partition("\n")[2]
    other = Holder(make(layer(), layer()))
    other.load_state_dict(state)
    for path, array in other.state_dict().items():
        np.testing.assert_array_equal(array, array_of(state[path]), err_msg=path)


def array_of(a):
    return devices.to_numpy(a)


def test_parameters_and_buffers_in_containers_are_parts():
    scale, shift = nn.Parameter(np.ones(2)), tensor([1.0])
    model = Holder({"scale": [scale], "more": ({"shift": shift},)})
    assert list(model.state_dict()) == ["kept.scale.0", "kept.more.0.shift"]
    assert model.parameters() == [scale]


def test_layers_in_containers_train_and_are_summed_up():
    class Net(nn.Module):
        def __init__(self):
            self.branches = {"left": [nn.Linear(2, 3), nn.Tanh()], "right": [nn.Linear(2, 3)]}
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            for part in self.branches["left"]:
                x = part(x)
            return self.head(x)

    net = Net()
    text = nn.summary(net, np.ones((4, 2), "f"))
    assert "branches.left.0" in text and text.endswith("26 parameters in all")
    net(tensor(np.ones((4, 2), "f"))).sum().backward()
    assert net.branches["left"][0].weight.grad is not None


def object_array(part):
    found = np.empty(2, object)
    found[1] = part
    return found


HIDDEN = {
    "set": lambda part: {part},
    "frozenset": lambda part: frozenset([part]),
    "deque": lambda part: deque([part]),
    "dict": lambda part: {"x": {part}},
    "SimpleNamespace": lambda part: SimpleNamespace(a=1, b=part),
    "partial": lambda part: partial(print, part),
    "ndarray": lambda part: object_array(part),
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("part", [layer, lambda: nn.Parameter(np.ones(2))], ids=["layer", "bare"])
@pytest.mark.parametrize("use", ["parameters", "state_dict", "eval", "train", "to"])
def test_what_would_be_missed_is_refused(name, part, use):
    model = Holder(HIDDEN[name](part()))
    with pytest.raises(
        TypeError, match=rf"kept(\.x)?, a {name.replace('dict', 'set')}, holds .* that would not be"
    ):
        getattr(model, use)()
    assert nn.Module.training and model.training, "nothing was changed"


@pytest.mark.parametrize("kind", ["generator", "map", "filter", "zip"])
def test_what_can_be_read_once_is_refused(kind):
    layers = [layer()]
    made = {
        "generator": (part for part in layers), "map": map(id, layers),
        "filter": filter(None, layers), "zip": zip(layers),
    }  # fmt: skip
    model = nn.Sequential(Holder(made[kind]))
    with pytest.raises(TypeError, match=rf"kept is a {kind}.*make a list of it"):
        model.parameters()


def test_a_partial_of_a_layer_is_refused_and_one_that_stands_in_for_a_method_is_not():
    a = layer()
    with pytest.raises(TypeError, match="kept, a partial, holds modules or tensors that would not"):
        Holder(partial(a)).parameters()
    with pytest.raises(TypeError, match="kept, a partial, holds"):
        Holder(partial(print, x=a)).parameters()
    model = Holder([partial(print, 1), SimpleNamespace(a=1), np.array([None, "a"]), partial(layer)])
    model.forward = partial(lambda own, x: own.inner(x), model)
    model.inner = a
    assert model.parameters() == [a.weight, a.bias]
    assert model(np.ones((1, 2), "f")).shape == (1, 2)


def test_a_layer_of_the_class_is_refused():
    with pytest.raises(TypeError, match=r"Net\.shared, a Linear, .* set it in __init__"):

        class Net(nn.Module):
            shared = nn.Linear(2, 2)


def test_what_is_no_part_may_be_anywhere():
    part = layer()
    model = nn.Sequential(part, Holder([1, "a", None, np.ones(3), {1, 2}, object(), len, np]))
    model[1].optimizer = optim.SGD([nn.Parameter(np.ones(1))])
    other = layer()
    model[1].function = lambda x: other(x)  # what a function uses is not the module's
    assert model.parameters() == [part.weight, part.bias]


@pytest.mark.parametrize(
    "kept, complaint",
    [
        ({"a.b": layer()}, r"kept: 'a\.b' cannot name a part"),
        ({"": layer()}, r"kept: '' cannot name a part"),
        ({(0, 1): layer()}, r"\(0, 1\) cannot name a part"),
        ({None: [layer()]}, "None cannot name a part"),
        ({0: layer(), "0": layer()}, r"two parts are named 'kept\.0'"),
        ({0: [layer()], "0": {0: layer()}}, r"two parts are named 'kept\.0\.0'"),
    ],
)
def test_keys_that_give_no_clear_path_are_refused(kept, complaint):
    with pytest.raises(ValueError, match=complaint):
        Holder(kept).state_dict()
    model = nn.Module()
    setattr(model, "a.weight", nn.Parameter(np.ones(1)))
    with pytest.raises(ValueError, match="cannot name a part"):
        model.parameters()
    Holder({("any", "key"): 1, "a.b": "no part"}).state_dict()


# ---- states of other models, and a function for all modules


def test_a_state_that_is_not_strict_loads_what_it_has(device):
    old = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Linear(3, 4))
    new = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.ReLU(), nn.Linear(3, 5)).to(device)
    state = {path: a + 1 for path, a in old.state_dict().items()}
    before = {path: array_of(a) for path, a in new.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"missing: 3\.bias, 3\.weight; unknown: 2\.bias, 2\.weight"
    ):
        new.load_state_dict(state)
    found = new.load_state_dict(state, strict=False)
    assert found == (["3.weight", "3.bias"], ["2.weight", "2.bias"])
    for path, t in new.tensors():
        expected = state[path] if path in state else before[path]
        np.testing.assert_array_equal(t.numpy(), expected, err_msg=path)
    assert old.load_state_dict(state) == ([], [])
    assert old.load_state_dict({}, False)[1] == []


def test_shapes_must_fit_even_if_it_is_not_strict():
    model = layer()
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"weight has shape \(3, 2\) where the model has \(2, 2\)"):
        model.load_state_dict({"bias": np.ones(2), "weight": np.ones((3, 2))}, strict=False)
    np.testing.assert_array_equal(model.bias.numpy(), before["bias"])


def test_apply_comes_to_every_module_once():
    shared = layer()
    model = nn.Sequential(shared, Holder([shared, layer()]), nn.Tanh())
    met = []
    assert model.apply(met.append) is model
    assert met == [model, shared, model[1], model[1].kept[1], model[2]]

    def zero(module):
        if isinstance(module, nn.Linear):
            module.bias.data = 0 * module.bias.data

    model.apply(zero)
    assert not [p for path, p in model.named_parameters() if "bias" in path and p.numpy().any()]


# ---- a Sequential is changed like a list


def numbers(net):
    return list(net.state_dict())


def test_parts_of_a_sequential_are_replaced_and_removed():
    a, b, c = layer(), nn.Tanh(), nn.Linear(2, 3)
    net = nn.Sequential(a, b, c)
    net[1] = nn.ReLU()
    net[-1] = nn.Linear(2, 7)
    assert [type(m).__name__ for m in net] == ["Linear", "ReLU", "Linear"]
    assert net(np.ones((1, 2), "f")).shape == (1, 7)
    del net[1]
    assert numbers(net) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    net.append(nn.Linear(7, 1))
    net.insert(0, nn.Dropout())
    assert [type(m).__name__ for m in net] == ["Dropout", "Linear", "Linear", "Linear"]
    assert numbers(net)[-1] == "3.bias" and "0.weight" not in numbers(net)
    net[1:3] = [a, c]
    assert list(net)[1:3] == [a, c]
    del net[-1], net[0:1]
    assert list(net) == [a, c] and len(net) == 2


def test_a_slice_of_a_sequential_is_one_and_shares_the_parts():
    net = nn.Sequential(layer(), nn.Tanh(), nn.Linear(2, 3))
    head = net[1:]
    assert type(head) is nn.Sequential and list(head) == list(net)[1:]
    x = tensor(np.ones((4, 2), "f"))
    np.testing.assert_array_equal(head(net[:1](x)).numpy(), net(x).numpy())
    assert head[1].weight is net[2].weight
    assert list(nn.Residual(layer(), layer())[:1].state_dict()) == ["0.weight", "0.bias"]


def test_wrong_changes_of_a_sequential_change_nothing():
    net = nn.Sequential(layer(), nn.Tanh())
    before = list(net)
    for change in (
        lambda: net.__setitem__(0, len),
        lambda: net.append([nn.ReLU()]),
        lambda: net.insert(0, nn.ReLU),
    ):
        with pytest.raises(TypeError, match=r"Sequential: part \d is .* expected a Module"):
            change()
    for change in (lambda: net[2], lambda: net.__setitem__(5, layer()), lambda: net.__delitem__(5)):
        with pytest.raises(IndexError):
            change()
    assert list(net) == before


def test_a_compiled_step_sees_that_a_part_was_replaced():
    net = nn.Sequential(layer(), nn.Tanh())
    run = minidl.compile(lambda x: net(x))
    x = tensor(np.ones((4, 2), "f"))
    for new in (nn.ReLU(), nn.Sigmoid()):
        run(x)
        net[1] = new
        np.testing.assert_allclose(run(x).numpy(), net(x).numpy(), rtol=1e-6)


# ---- modules that refer to one another


def test_a_module_that_knows_its_parent():
    model = nn.Sequential(layer(), Holder([layer()]))
    model[1].parent = model
    model[1].itself = {"me": [model[1]]}
    paths = ["0.weight", "0.bias", "1.kept.0.weight", "1.kept.0.bias"]
    assert list(model.state_dict()) == paths
    assert [path for path, _ in model.modules()] == ["", "0", "1", "1.kept.0"]
    assert repr(model).count("Linear") == 2 and model.eval() is model
    assert len(model[1].parameters()) == 4, "it reaches the parent too"


def test_modules_that_all_know_one_another():
    blocks = [Holder(layer()) for _ in range(12)]
    for i, block in enumerate(blocks):
        block.others = blocks
        block.next = blocks[(i + 1) % 12]
    model = Holder(blocks)
    assert len(model.parameters()) == 24
    assert len(model.state_dict()) == 24 == len({id(t) for _, t in model.tensors()})
    assert len(repr(model)) < 10_000
    loop = []
    loop += [loop, layer(), {"loop": loop}]
    assert list(Holder(loop).state_dict()) == ["kept.1.weight", "kept.1.bias"]


def test_the_parts_are_those_of_now():
    """Whatever way they came or went: nothing is remembered from an earlier look."""
    first, other = layer(), layer()
    model = Holder([first])

    def found():
        return [path for path, _ in model.tensors()]

    assert found() == ["kept.0.weight", "kept.0.bias"]
    model.kept.append({"more": other})
    assert found()[2:] == ["kept.1.more.weight", "kept.1.more.bias"]
    del model.kept[0]
    assert model.parameters() == [other.weight, other.bias]
    model.kept[0]["more"] = first
    assert model.parameters() == [first.weight, first.bias]
    vars(model)["hidden"] = other
    assert found()[2:] == ["hidden.weight", "hidden.bias"]
    other.bias = None
    del model.kept
    assert found() == ["hidden.weight"]
    model.hidden = None
    assert found() == [] == model.modules()[1:]


def test_a_checkpoint_that_fails_on_the_way_back_leaves_the_statistics():
    norm, x = nn.BatchNorm(3), tensor(np.ones((4, 3), "f"), requires_grad=True)
    fails = []

    class Net(nn.Module):
        def __init__(self):
            self.norm = norm

        def forward(self, x):
            y = self.norm(x)
            if fails:
                raise KeyError("the second time")
            return y

    y = checkpoint(Net(), x).sum()
    before = norm.state_dict()
    fails.append(True)
    with pytest.raises(KeyError):
        y.backward()
    for path, array in norm.state_dict().items():
        np.testing.assert_array_equal(array, before[path], err_msg=path)


def test_a_shared_module_keeps_all_its_paths():
    shared = layer()
    model = Holder({"a": shared, "b": [shared]})
    assert [path for path, _ in model.modules()] == ["", "kept.a", "kept.b.0"]
    assert len(model.state_dict()) == 4 and len(model.parameters()) == 2


# ---- evaluating


def test_evaluating_puts_each_mode_back():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), layer()), nn.Dropout())
    net[0].eval()
    modes = [True, False, True, True, True, True]

    def now():
        return [m.training for _, m in net.modules()]

    assert now() == modes
    with evaluating(net):
        assert now() == [False] * 6
        with evaluating(net[1]):
            assert now() == [False] * 6
        assert now() == [False] * 6, "the other is still inside"
        net.train()
    assert now() == modes
    with pytest.raises(KeyError), evaluating(net):
        raise KeyError
    assert now() == modes
    nn.summary(net, np.ones((1, 2), "f"))
    assert now() == modes
    with pytest.raises(ValueError, match="expected x"):
        nn.summary(net, np.ones((1, 3), "f"))
    assert now() == modes
    with evaluating(net), evaluating(net):
        pass
    assert now() == modes and not minidl.nn.module._evaluated


def test_threads_evaluate_a_model_that_is_in_training():
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    x = tensor(np.ones((3, 2), "f"))
    with evaluating(net), minidl.no_grad():
        expected = net(x).numpy()
    wrong, rng = [], np.random.default_rng(0)
    pauses = rng.uniform(0, 2e-4, (4, 300))

    def work(number):
        for pause in pauses[number]:
            part = net if number % 2 else net[1]
            with evaluating(part), evaluating(net), minidl.no_grad():
                time.sleep(pause)
                wrong.extend([] if (net(x).numpy() == expected).all() else [number])
            if number == 3:
                nn.summary(net, x)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert not wrong
    assert not [path for path, m in net.modules() if not m.training]
    assert not minidl.nn.module._evaluated


def test_a_summary_sees_its_own_threads_calls_only():
    net = nn.Sequential(layer(), nn.Tanh())
    x, ended = tensor(np.ones((1, 2), "f")), Event()
    expected = nn.summary(net, x)

    def predict():
        while not ended.is_set():
            net(x)

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(predict) for _ in range(2)]
        found = {nn.summary(net, x) for _ in range(100)}
        ended.set()
        [other.result() for other in others]
    assert found == {expected}


def test_a_sequential_runs_what_it_was_made_of_and_owns_the_rest():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(layer(), nn.Tanh())
            self.more, self.scale = {"a": nn.Linear(5, 5), "b": [nn.Linear(7, 7)]}, tensor([2.0])

    net = Net()
    assert len(net) == 2 and isinstance(net[1], nn.Tanh) and len(net.parameters()) == 6
    x = tensor(np.ones((1, 2), "f"))
    np.testing.assert_array_equal(net(x).numpy(), net[1](net[0](x)).numpy())


@pytest.mark.parametrize("value", [np.ones((2, 2), "f"), tensor(np.ones((2, 2), "f")), 1.0])
def test_a_parameter_is_not_replaced_by_what_would_not_be_trained(value):
    part = layer()
    with pytest.raises(TypeError, match=r"Linear\.weight is a Parameter.*weight\.data = "):
        part.weight = value
    part.weight = nn.Parameter(np.zeros((2, 2), "f"))
    part.bias = None
    assert list(part.state_dict()) == ["weight"]


@pytest.mark.parametrize("name", ["parts", "modules", "parameters", "forward", "to", "train"])
def test_an_attribute_does_not_hide_a_method(name):
    with pytest.raises(AttributeError, match=f"Linear.{name}: every Module has a method"):
        setattr(layer(), name, {})


@pytest.mark.parametrize("name", ["trainable", "requires_grad"])
def test_an_attribute_that_would_freeze_nothing_is_refused(name):
    model = nn.Linear(2, 3)
    with pytest.raises(AttributeError, match=rf"{name} would change nothing: .* part.parameters"):
        setattr(model, name, False)


def test_a_tensor_that_wants_a_gradient_and_is_no_parameter_is_refused():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = minidl.ones(3, requires_grad=True)

    with pytest.raises(TypeError, match=r"Scale\.factor: .* would not be trained: .*Parameter"):
        Scale()
    wanting = minidl.ones(3, requires_grad=True)
    for held in ([minidl.ones(3), wanting], (wanting,), {"a": wanting}):
        with pytest.raises(TypeError, match=r"Module\.held: .* would not be trained"):
            nn.Module().held = held
    model = nn.Module()
    model.mask, model.kept = minidl.ones(3), nn.Parameter(minidl.ones(3)) * 2
    assert len(model.tensors()) == 2, "buffers, and what was computed, are no mistake"


def test_a_list_of_modules_is_no_module():
    with pytest.raises(TypeError, match=r"part 0 is \[.*of a list of them, Sequential\(\*m"):
        nn.Sequential([nn.ReLU(), nn.ReLU()])
