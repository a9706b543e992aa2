"""Every function that promises a copy: a write in place on one side changes nothing on the other.

The one rule of this file: a case gives two dicts of arrays, those that were given and those that
were got.  Nobody else has to hold them, and no number of the one may lie in the memory of the
other; so a `.copy()` that is left out is seen, whether the library writes in place or the user.
"""

import copy
import pickle

import numpy as np
import pytest
from test_optim import KINDS
from test_trainer import SPIRALS, loader, spiral_trainer

import minidl
from minidl import Tensor, distributed, io, nn, optim, tensor
from minidl.data import ArrayDataset, DataLoader, pad_collate, pad_sequence, split
from minidl.engine import devices, random
from minidl.train import AverageWeights, Callback, Checkpoint, EarlyStopping
from minidl.train.precision import LossScaler

CASES = {}  # name -> function(device) -> (arrays that were given, arrays that were got)


def case(function):
    CASES[function.__name__.replace("_", " ")] = function
    return function


def drawn(*shape, device="cpu"):
    return devices.to_device(np.random.default_rng(0).standard_normal(shape).astype("f"), device)


def model_of(device):
    """Parameters and buffers, in one layer, and a shared one."""
    minidl.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2)).to(device)


def arrays_of(model):
    return {path: t.data for path, t in model.tensors()}


def stepped(kind, device):
    """A model and its optimiser after a step, so that there is a state."""
    model = model_of(device)
    optimizer = KINDS[kind][0](model.parameters())
    (model(tensor(drawn(5, 3), device=device)) ** 2).sum().backward()
    optimizer.step()
    return model, optimizer


def slots_of(optimizer):
    states = enumerate(optimizer.state)
    return {f"{i}.{slot}": kept.data for i, state in states for slot, kept in state.items()}


# ---- tensors


@case
def tensor_of_an_array(device):
    a = drawn(3, device=device)
    return {"a": a}, {"tensor": tensor(a).data}


@case
def tensor_of_an_array_with_its_type_and_device(device):
    a = drawn(3, device=device)
    return {"a": a}, {"tensor": tensor(a, dtype="float32", device=device, requires_grad=True).data}


@case
def tensor_of_a_tensor(device):
    a = Tensor(drawn(3, device=device))
    return {"a": a.data}, {"tensor": tensor(a).data}


@case
def a_move_to_a_device_and_back(device):
    a = drawn(3)
    there = devices.to_device(a, device)
    back = devices.to_numpy(there)
    if device == "cpu":  # what is there already is returned as it is
        assert there is a and back is a
        return {}, {}
    return {"a": a}, {"there": there, "back": back, "numpy": Tensor(there).numpy()}


@case
def deep_copies_and_pickles(device):
    model, optimizer = stepped("momentum", device)
    found = {}
    for name, way in (
        ("deepcopy", copy.deepcopy),
        ("pickle", lambda a: pickle.loads(pickle.dumps(a))),
    ):
        if name == "pickle" and device != "cpu":
            continue
        other, its = way((model, optimizer))
        found |= {f"{name} {k}": a for k, a in (arrays_of(other) | slots_of(its)).items()}
    return arrays_of(model) | slots_of(optimizer), found


# ---- states of modules and optimisers


@case
def a_module_s_state_dict(device):
    model = model_of(device)
    return arrays_of(model), model.state_dict()


@case
def a_module_s_load_state_dict(device):
    state = model_of(device).state_dict()
    model = model_of(device)
    model.load_state_dict(state)
    return state, arrays_of(model)


@case
def a_module_s_load_state_dict_of_another_type(device):
    state = {path: a.astype("float64") for path, a in model_of(device).state_dict().items()}
    model = model_of(device)
    model.load_state_dict(state)
    assert {a.dtype for a in arrays_of(model).values()} == {np.dtype("float32")}
    return state, arrays_of(model)


for _kind in KINDS:

    def of_state_dict(device, kind=_kind):
        optimizer = stepped(kind, device)[1]
        return slots_of(optimizer), optimizer.state_dict()

    def of_load_state_dict(device, kind=_kind):
        state, optimizer = stepped(kind, device)[1].state_dict(), stepped(kind, device)[1]
        optimizer.load_state_dict(state)
        return state, slots_of(optimizer)

    def of_load_state_dict_before_a_step(device, kind=_kind):
        state, model = stepped(kind, device)[1].state_dict(), model_of(device)
        optimizer = KINDS[kind][0](model.parameters())
        optimizer.load_state_dict(state)
        return state, slots_of(optimizer)

    CASES[f"{_kind}'s state_dict"] = of_state_dict
    CASES[f"{_kind}'s load_state_dict"] = of_load_state_dict
    CASES[f"{_kind}'s load_state_dict before a step"] = of_load_state_dict_before_a_step


@case
def a_compiled_step_takes_up_what_was_loaded(device):
    """Its states lie in memory of their own, into which it writes at each run."""
    model, optimizer = stepped("Adam", device)
    run = compiled_step(model, optimizer)
    run(tensor(drawn(5, 3), device=device))
    states = {f"model {k}": a for k, a in model.state_dict().items()}
    states |= {f"optimiser {k}": a for k, a in optimizer.state_dict().items()}
    model.load_state_dict({k[6:]: a for k, a in states.items() if k.startswith("model")})
    optimizer.load_state_dict({k[10:]: a for k, a in states.items() if k.startswith("optim")})
    run(tensor(drawn(5, 3), device=device))
    return states, arrays_of(model) | slots_of(optimizer)


# ---- what a step replaces


@case
def a_step_of_an_optimiser(device):
    model, optimizer = stepped("momentum", device)
    before = arrays_of(model) | slots_of(optimizer)
    before = {k: a for k, a in before.items() if "running" not in k}
    optimizer.step()
    return before, {k: a for k, a in arrays_of(model).items() if "running" not in k}


@case
def running_statistics(device):
    model = model_of(device)
    before = {k: a for k, a in arrays_of(model).items() if "running" in k}
    model(tensor(drawn(5, 3), device=device))
    return before, {k: a for k, a in arrays_of(model).items() if "running" in k}


@case
def clipped_and_unscaled_gradients(device):
    model, optimizer = stepped("SGD", device)
    before = {k: p.grad.data for k, p in model.named_parameters()}
    found = {}

    def note(name):
        found.update({f"{name} {k}": p.grad.data for k, p in model.named_parameters()})

    optim.clip_grad_norm(model.parameters(), 0.1)
    note("norm")
    optim.clip_grad_value(model.parameters(), 1e-3)
    note("value")
    LossScaler().unscale(optimizer)
    note("unscaled")
    return before, found


@case
def weights_from_process_0(device):
    model = model_of(device)
    before = arrays_of(model)
    distributed.Group(0, 1, lambda a: None, lambda a: None).start(model)
    return before, arrays_of(model)


@case
def means_of_a_group(device):
    given = {name: drawn(3, device=device) for name in "ab"}
    group = distributed.Group(0, 1, lambda a: None, lambda a: None)
    return given, dict(zip("ab", group.average(given.values())))


# ---- training


def run_with(*callbacks, device, **options):
    trainer = spiral_trainer(device=device, **options)
    trainer.fit(loader(), SPIRALS, epochs=2, callbacks=callbacks, progress=False)
    return trainer


@case
def weights_that_early_stopping_keeps(device):
    stop, seen = EarlyStopping(9), {}

    class Watch(Callback):
        def on_epoch_end(self, trainer):
            seen.update({f"{trainer.epoch} {k}": a for k, a in arrays_of(trainer.model).items()})

    trainer = run_with(stop, Watch(), device=device)
    return seen | arrays_of(trainer.model), dict(stop.weights)


@case
def weights_that_are_averaged(device):
    average = AverageWeights(0.9)
    trainer = run_with(average, device=device)
    found = {f"average {k}": a for k, a in average.average.items()}
    return arrays_of(trainer.model), found | {f"own {k}": a for k, a in average.own.items()}


@case
def predictions(device):
    trainer = spiral_trainer(device=device)
    trainer.model = nn.Dropout()  # which in evaluation gives its input
    x = drawn(5, 2)
    return {"x": x}, {"one batch": trainer.predict(x), "two": trainer.predict(x, batch_size=3)}


# ---- data


@case
def batches(device):
    x, y = drawn(6, 2), np.arange(6)
    found = {}
    for name, options in {
        "in order": {}, "whole": {"batch_size": 6}, "shuffled": {"shuffle": True},
        "no threads": {"workers": 0}, "sampled": {"sampler": lambda rng: [[0, 1, 2], [3, 4, 5]]},
    }.items():  # fmt: skip
        for k, batch in enumerate(DataLoader(ArrayDataset(x, y), **{"batch_size": 3} | options)):
            found |= {f"{name} {k} {i}": a for i, a in enumerate(batch)}
    return {"x": x, "y": y}, found


@case
def batches_of_samples(device):
    samples = [(drawn(2), np.array(i)) for i in range(4)]
    found = {}
    for k, batch in enumerate(DataLoader(samples, 1)):
        found |= {f"{k} {i}": a for i, a in enumerate(batch)}
    return {f"sample {k} {i}": a for k, s in enumerate(samples) for i, a in enumerate(s)}, found


@case
def parts_of_a_data_set(device):
    x, y = drawn(6, 2), np.arange(6)
    first, second = split(ArrayDataset(x, y), 0.5)
    found = {f"first {i}": a for i, a in enumerate(first[:])}
    return {"x": x, "y": y}, found | {f"second {i}": a for i, a in enumerate(second[:])}


@case
def padded_sequences(device):
    one, label = np.arange(3), np.array(1)
    return {"one": one, "label": label}, {
        "pad": pad_sequence([one])[0], "collated": pad_collate([(one, label)])[0],
        "label of the batch": pad_collate([(one, label)])[2],
    }  # fmt: skip


# ---- files


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@case
def arrays_of_a_file(device):
    given = {"a": drawn(3, device=device), "b": drawn(3, device=device), "empty": drawn(0)}
    io.save("file", given)
    return given | io.load("file")[0], {f"again {k}": a for k, a in io.load("file")[0].items()}


@case
def a_trainer_s_checkpoint(device):
    trainer = run_with(Checkpoint("run"), AverageWeights(0.9), device=device)
    before = arrays_of(trainer.model) | slots_of(trainer.optimizer)
    trainer.load("run")
    return before, {
        f"loaded {k}": a
        for k, a in (arrays_of(trainer.model) | slots_of(trainer.optimizer)).items()
    }


# ---- all of these


def snapshot(arrays):
    return {name: np.array(devices.to_numpy(a)) for name, a in arrays.items()}


def write(arrays):
    for a in arrays.values():
        a[...] = a + 1


def unchanged(arrays, before, what):
    for name, a in arrays.items():
        np.testing.assert_array_equal(devices.to_numpy(a), before[name], err_msg=f"{what} {name}")


@pytest.mark.parametrize("name", CASES)
def test_a_write_on_one_side_is_not_seen_on_the_other(name, device):
    given, got = CASES[name](device)
    first, second = snapshot(given), snapshot(got)
    write(got)
    unchanged(given, first, f"{name}: a write into what was got changed")
    second = snapshot(got)
    write(given)
    unchanged(got, second, f"{name}: a write into what was given changed")


def test_arrays_of_a_file_do_not_share_memory():
    io.save("file", {name: drawn(3) for name in "abc"})
    found, _ = io.load("file")
    before = snapshot(found)
    for name in "abc":
        write({name: found[name]})
        others = {k: a for k, a in found.items() if k > name}
        unchanged(others, before, f"a write into {name} changed")


def test_random_states_are_copies():
    state = random.random_state()
    before = copy.deepcopy(state)
    draws = random.generator().random(3)
    assert state == before, "a draw changed the state that was got"
    random.set_random_state(state)
    state["cpu"]["state"]["state"] += 1
    state["seed"] += 1
    found = random.generator().random(3)
    np.testing.assert_array_equal(found, draws, "a write into the state that was set changed it")
    state = copy.deepcopy(before)
    random.set_random_state(state)
    random.generator().random(3)
    assert state == before, "a draw changed the state that was set"


# ---- what a compiled function leaves


def compiled_step(model, optimizer):
    def step(x):
        optimizer.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return minidl.compile(step)


def keeps(kept, result):
    """Note a result, and that all that were noted before are what they were."""
    for i, (arrays, before) in enumerate(kept):
        unchanged(arrays, before, f"call {len(kept)} changed what call {i} gave:")
    kept.append((result, snapshot(result)))


RESULTS = {
    "a parameter": lambda p, x: p,
    "a part of a parameter": lambda p, x: p[1:],
    "a parameter turned": lambda p, x: p.T,
    "a view of a result": lambda p, x: (p * x).T,
    "a result and what comes of it": lambda p, x: (p * x, (p * x) + 1, (p * x).sum()),
    "the same twice": lambda p, x: (p * x, p * x),
    "the input": lambda p, x: x,
    "a constant": lambda p, x: p.detach() * 0 + 1,
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_of_a_compiled_function_stay_from_the_first_on(name, device):
    """The first call records and the others run; parameters change in place between them."""
    p = tensor(drawn(3, 3), requires_grad=True, device=device)
    optimizer, kept = optim.SGD([p], 0.1, momentum=0.9), []

    def step(x):
        optimizer.zero_grad()
        found = RESULTS[name](p, x)
        (p * x).sum().backward()
        optimizer.step()
        return found

    run = minidl.compile(step)
    for i in range(4):
        found = run(tensor(drawn(3, 3) + i, device=device))
        found = found if isinstance(found, tuple) else (found,)
        keeps(kept, {f"{name} {k}": t.data for k, t in enumerate(found)})
    before = snapshot({"p": p.data})
    for arrays, _ in kept:
        write({k: a for k, a in arrays.items() if name != "the input"})
    unchanged({"p": p.data}, before, f"a write into {name} changed")


@pytest.mark.parametrize("forgotten", [True, False], ids=["forgotten before", "added up"])
def test_gradients_that_were_kept_stay(forgotten, device):
    """A `.grad` that somebody keeps, the Tensor or its array, is not changed by later runs."""
    p = tensor(drawn(3, 3), requires_grad=True, device=device)
    arrays, tensors = [], []

    def step(x):
        if forgotten:
            p.grad = None
        (p * x * x).sum().backward()

    for run in step, minidl.compile(step):
        p.grad, arrays, tensors = None, [], []
        for i in range(4):
            run(tensor(drawn(3, 3) + i, device=device))
            tensors.append((p.grad, p.grad.numpy().copy()))
            keeps(arrays, {"the array": p.grad.data})
            for k, (t, before) in enumerate(tensors):
                np.testing.assert_array_equal(
                    t.numpy(), before, f"call {i} changed the .grad kept at {k} ({run})"
                )


def test_gradients_of_the_arguments_stay(device):
    run, kept = minidl.compile(lambda x: (x * x * x).sum().backward()), []
    for i in range(4):
        x = tensor(drawn(3) + i, requires_grad=True, device=device)
        run(x)
        keeps(kept, {"x.grad": x.grad.data})
        write({"x": x.data})


def test_states_that_were_saved_stay_while_a_compiled_step_runs(device):
    model, optimizer = stepped("Adam", device)
    run, kept = compiled_step(model, optimizer), []
    for _ in range(4):
        run(tensor(drawn(5, 3), device=device))
        keeps(kept, model.state_dict() | optimizer.state_dict())


@pytest.mark.parametrize("compile", [False, True])
def test_what_callbacks_keep_stays_while_a_trainer_trains(compile, device):
    """The step that comes after writes in place where it is compiled."""

    class Watch(Callback):
        def on_epoch_end(self, trainer):
            keeps(kept["stop"], dict(stop.weights))
            keeps(kept["average"], dict(average.average))

    stop, average, kept = EarlyStopping(9), AverageWeights(0.9), {"stop": [], "average": []}
    trainer = spiral_trainer(device=device, compile=compile)
    trainer.fit(
        loader(), SPIRALS, epochs=3, callbacks=[average, stop, Watch()], progress=False
    )  # fmt: skip
    assert len(kept["stop"]) == 3
