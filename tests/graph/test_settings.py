"""A setting that changes after the trace counts, as it does without compiling."""

import threading

import numpy as np
import pytest
from static import drawn

import minidl
from minidl import nn, optim, tensor, train
from minidl.engine import devices, ops
from minidl.graph.settings import LONG


class Net(nn.Module):
    """A model with a setting of each kind, which its forward reads."""

    scale = 1.5  # of the class

    def __init__(self):
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.LeakyReLU(0.1))
        self.blocks = [nn.Linear(4, 4), nn.Linear(4, 4)]
        self.named = {"a": (nn.Tanh(), [nn.Linear(4, 2)])}
        self.drop = nn.Dropout(0.5)
        self.shift, self.kind, self.twice, self.sizes = 0.25, "sum", True, [1, 2]
        self.function = ops.sigmoid
        self.weight = nn.Parameter(np.ones(2, "f"))
        self.table = np.ones(2, "f")
        self.calls, self.log = 0, []

    def forward(self, x):
        self.calls += 1
        self.log.append(self.calls)
        x = self.drop(self.inner(x))
        for block in self.blocks:
            x = block(x) + self.shift
        tanh, (out,) = self.named["a"]
        x = out(tanh(x)) * self.scale * self.sizes[0]
        if self.twice:
            x = 2 * x
        x = self.function(x) * self.weight * self.table
        return x.sum(1) if self.kind == "sum" else x.mean(1)


def stepped(wrap, make_optimizer=lambda p: optim.SGD(p, 0.1, momentum=0.9)):
    """(model, optimizer, step), the same weights each time."""
    minidl.manual_seed(0)
    model = Net()
    optimizer = make_optimizer(model.parameters())

    def step(x):
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return model, optimizer, wrap(step)


def put(path, value):
    """A change: what stands at a path such as "model.blocks.0.weight" becomes `value`()."""

    def change(model, optimizer):
        found = {"model": model, "optimizer": optimizer}
        *above, last = path.split(".")
        for name in above:
            if isinstance(found, (list, tuple)):
                found = found[int(name)]
            elif isinstance(found, dict):
                found = found[name]
            else:
                found = getattr(found, name)
        if isinstance(found, list):
            found[int(last)] = value()
        elif isinstance(found, dict):
            found[last] = value()
        else:
            setattr(found, last, value())

    return change


def linear(n_in, n_out):
    def build():
        layer = nn.Linear(n_in, n_out)
        layer.weight.data, layer.bias.data = drawn(n_in, n_out, seed=9), drawn(n_out, seed=8)
        return layer

    return build


def adam(p):
    return optim.Adam(p, 0.01)


def frozen(model, optimizer):
    optimizer.parameters = optimizer.parameters[:-1]


def appended(model, optimizer):
    model.blocks.append(linear(4, 4)())


def grown(model, optimizer):
    setattr(model.inner, "3", linear(4, 4)())


CHANGES = {
    "momentum": put("optimizer.momentum", lambda: 0.1),
    "weight_decay": put("optimizer.weight_decay", lambda: 0.5),
    "nesterov": put("optimizer.nesterov", lambda: True),
    "the optimiser's parameters": frozen,
    "Dropout.p": put("model.drop.p", lambda: 0.9),
    "BatchNorm.momentum": put("model.inner.1.momentum", lambda: 0.9),
    "BatchNorm.eps": put("model.inner.1.eps", lambda: 0.9),
    "slope": put("model.inner.2.slope", lambda: 0.9),
    "a number": put("model.shift", lambda: 1.0),
    "a number of the class": put("model.scale", lambda: 0.5),
    "a string": put("model.kind", lambda: "mean"),
    "a truth value": put("model.twice", lambda: False),
    "a number in a list": put("model.sizes.0", lambda: 3),
    "a list": put("model.sizes", lambda: [3, 2]),
    "a function": put("model.function", lambda: ops.tanh),
    "an array": put("model.table", lambda: np.full(2, 3, "f")),
    "a parameter": put("model.weight", lambda: nn.Parameter(np.full(2, 3, "f"))),
    "a parameter of a layer": put("model.inner.0.bias", lambda: nn.Parameter(np.full(4, 3, "f"))),
    "no bias": put("model.inner.0.bias", lambda: None),
    "a layer in a list": put("model.blocks.1", linear(4, 4)),
    "a layer in a dict of tuples of lists": put("model.named.a.1.0", linear(4, 2)),
    "a layer of a Sequential": put("model.inner.0", linear(3, 4)),
    "one layer more in a list": appended,
    "one layer more in a Sequential": grown,
}


def moved(model, device):
    model.to(device)
    if device not in str(devices.device_of(model.table)):
        model.table = devices.to_device(model.table, device)


@pytest.mark.parametrize("name", CHANGES)
def test_a_setting_that_changes_counts(name, device):
    found = []
    for wrap in (lambda f: f, minidl.compile):
        model, optimizer, step = stepped(wrap)
        moved(model, device)
        losses = []
        for i in range(5):
            if i == 2:
                CHANGES[name](model, optimizer)
                moved(model, device)
            losses.append(step(tensor(drawn(8, 3, seed=i), device=device)).item())
        found.append((losses, model.state_dict()))
    (losses, state), (others, other_state) = found
    np.testing.assert_allclose(others, losses, rtol=1e-4)
    for path, a in state.items():
        a, b = (devices.to_numpy(x) for x in (a, other_state[path]))
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5, err_msg=path)
    stale = [program for program in step.programs.values() if program.graph.settings.changed()]
    assert not stale, "the old trace is gone"


@pytest.mark.parametrize("name, value", [("betas", (0.5, 0.9)), ("eps", 0.1), ("weight_decay", 1)])
def test_a_setting_of_adam_counts(name, value):
    found = []
    for wrap in (lambda f: f, minidl.compile):
        model, optimizer, step = stepped(wrap, adam)
        for i in range(4):
            if i == 2:
                setattr(optimizer, name, value)
            step(drawn(8, 3, seed=i))
        found.append(model.state_dict())
    for path, a in found[0].items():
        np.testing.assert_allclose(found[1][path], a, rtol=1e-3, atol=1e-5, err_msg=path)


def test_plain_variables_around_the_function_are_baked_in():
    """As docs/compile.md says; what is no attribute of a module or an optimiser is read once."""
    factor = 2.0
    f = minidl.compile(lambda x: x * factor)
    x = drawn(3, 2)
    f(x)
    factor = 3.0
    np.testing.assert_allclose(f(x).numpy(), 2 * x, rtol=1e-6)


class Coder(nn.Module):
    """A model that is used by its methods, and never called itself."""

    def __init__(self):
        self.encoder, self.weight = nn.Linear(3, 2), 0.5

    def encode(self, x):
        return self.encoder(x) * self.weight


CODER = Coder()


def by_a_global(x):
    return CODER.encode(x)


class Learner:
    def __init__(self, model):
        self.model = model

    def run(self, x):
        return self.model(x)


@pytest.mark.parametrize("how", ["a closure", "a global", "a method of it", "called by an object"])
def test_a_module_that_is_not_called_is_noted_too(how):
    around = Coder()
    model, run = {
        "a closure": (around, lambda x: around.encode(x)),
        "a global": (CODER, by_a_global),
        "a method of it": (around, around.encode),
        "called by an object": (around.encoder, Learner(around.encoder).run),
    }[how]
    f, x = minidl.compile(run), drawn(4, 3)
    for i in range(3):
        model.weight = 2.0 * i if isinstance(model, Coder) else nn.Parameter(drawn(3, 2, seed=i))
        np.testing.assert_allclose(f(x).numpy(), run(tensor(x)).numpy(), rtol=1e-6)


def test_a_variable_that_has_no_value_at_first():
    f = minidl.compile(lambda x: x + 1 if len(x) else unset)
    f(drawn(3))
    unset = 1
    assert f(drawn(3)).shape == (3,)


def test_what_is_no_setting_is_not_recorded_anew():
    model, optimizer, step = stepped(minidl.compile)

    def run():
        model.calls += 1
        model.log.append(0)

    changes = [
        lambda: setattr(optimizer, "lr", 0.01),
        lambda: setattr(optimizer, "schedule", lambda step: 0.5),
        lambda: setattr(optimizer, "momentum", float("0.9")),  # another object, as large
        lambda: optimizer.load_state_dict(optimizer.state_dict()),
        lambda: model.load_state_dict(model.state_dict()),
        lambda: setattr(model, "shift", float("0.25")),
        lambda: setattr(model.drop, "p", model.drop.p),
        lambda: model.sizes.append(3) or model.sizes.pop(),
        run,
    ]
    step(drawn(8, 3))
    program, before = step.program, model.calls
    for change in changes:
        change()
        step(drawn(8, 3))
    assert step.program is program
    assert model.calls == before + 1  # what `run` did


def test_a_setting_can_change_back_and_forth():
    found = []
    for wrap in (lambda f: f, minidl.compile):
        _, optimizer, step = stepped(wrap)
        for i in range(6):
            optimizer.momentum = [0.1, 0.9][i % 2]
            found.append(step(tensor(drawn(8, 3))).item())
    np.testing.assert_allclose(found[:6], found[6:], rtol=1e-4)
    assert len(step.programs) == 1


def test_training_and_evaluation_keep_a_trace_each():
    model, _optimizer, step = stepped(minidl.compile)
    for i in range(6):
        model.train(i % 2 == 0)
        step(drawn(8, 3))
    assert model.calls == len(step.programs) == 2


def test_of_long_lists_the_layers_are_compared_not_the_numbers():
    model = nn.Module()
    model.sizes = list(range(LONG + 1))
    model.layers = [nn.Linear(2, 2) for _ in range(LONG + 1)]
    model.forward = lambda x: model.layers[-1](x) * model.sizes[-1]
    f = minidl.compile(lambda x: model(x))
    f(drawn(3, 2))
    assert len(f.program.graph.settings.others[0]) < 2 * LONG
    model.layers[-1] = nn.Linear(2, 2)
    wanted = model(tensor(drawn(3, 2))).numpy()
    np.testing.assert_allclose(f(drawn(3, 2)).numpy(), wanted, rtol=1e-6)
    model.sizes = [3] * (LONG + 1)
    wanted = model(tensor(drawn(3, 2))).numpy()
    np.testing.assert_allclose(f(drawn(3, 2)).numpy(), wanted, rtol=1e-6)


def test_a_list_that_holds_itself_is_compared():
    model = nn.Linear(2, 2)
    model.ring = [1]
    model.ring.append(model.ring)
    f, x = minidl.compile(lambda x: model(x) * model.ring[0]), drawn(3, 2)
    f(x)
    model.ring[0] = 2
    np.testing.assert_allclose(f(x).numpy(), 2 * model(tensor(x)).numpy(), rtol=1e-6)


def test_an_attribute_that_is_deleted_or_new_counts():
    model, _, step = stepped(minidl.compile)
    step(drawn(8, 3))
    model.scale = 1.0  # hides the number of the class
    step(drawn(8, 3))
    first = step.program
    del model.scale
    step(drawn(8, 3))
    assert step.program is not first


def test_two_threads_see_a_setting():
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), 0.1)
    other = nn.Linear(3, 2)
    other.load_state_dict(model.state_dict())
    same = optim.SGD(other.parameters(), 0.1)

    def learning(model, optimizer):
        def step(x):
            (model(x) ** 2).mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    fast, slow = minidl.compile(learning(model, optimizer), threads=2), learning(other, same)
    for i in range(4):
        optimizer.weight_decay = same.weight_decay = [0.0, 0.5][i // 2]
        fast(drawn(8, 3))
        slow(tensor(drawn(8, 3)))
    np.testing.assert_allclose(model.weight.numpy(), other.weight.numpy(), rtol=1e-5)


def test_another_thread_that_uses_a_module_meanwhile_adds_nothing_to_the_trace():
    model = nn.Linear(2, 2)

    def reads(x):
        thread = threading.Thread(target=lambda: nn.Linear(2, 2)(tensor(drawn(3, 2))))
        thread.start()
        thread.join()
        return model(x)

    f = minidl.compile(reads)
    f(drawn(3, 2))
    assert list(f.program.graph.settings.met) == [model]


@pytest.mark.parametrize("name, value", [
    ("clip_norm", 0.01), ("clip_norm", None), ("loss", lambda y, target: (y * target).mean()),
])  # fmt: skip
def test_what_a_trainer_reads_at_each_step_counts(name, value):
    found = []
    for compiled in (False, True):
        minidl.manual_seed(0)
        model = nn.Linear(3, 2)
        optimizer = optim.SGD(model.parameters(), 0.1)
        trainer = train.Trainer(model, optimizer, "mse", clip_norm=0.1, compile=compiled)
        for i in range(4):
            if i == 2:
                setattr(trainer, name, value)
            trainer.step([((drawn(8, 3, seed=i), drawn(8, 2)), None)])
        found.append(model.state_dict())
    for path, a in found[0].items():
        np.testing.assert_allclose(found[1][path], a, rtol=1e-4, atol=1e-6, err_msg=path)
