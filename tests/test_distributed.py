"""Several processes end where one does that works on whole batches; none waits forever."""

import importlib.machinery
import re
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from processes import outcomes, together

import minidl
from minidl import distributed, nn, optim
from minidl.data import ArrayDataset, DataLoader
from minidl.engine import devices, random
from minidl.gpu import streams
from minidl.train import Checkpoint, CSVLog, Trainer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((21, 6)).astype("f")  # in batches of 10: the last is one sample
Y = (X[:, :3].argmax(1)).astype(np.int64)


ORDER = next(iter(DataLoader(ArrayDataset(np.arange(21), Y), 21, shuffle=True, seed=0).batches(0)))[
    0
]


def network(norm=False):
    middle = [nn.BatchNorm(8)] if norm else []
    return nn.Sequential(nn.Linear(6, 8), *middle, nn.Tanh(), nn.Linear(8, 3))


def trained(group, device, norm=False, options=(), fit=(), x=X, y=Y, epochs=3):
    """Weights, buffers and history after training; each process begins with weights of its own."""
    minidl.manual_seed(group.rank if group else 0)
    model = network(norm)
    optimizer = optim.Adam(model.parameters(), 0.02)
    trainer = Trainer(
        model, optimizer, "cross_entropy", ["accuracy"], device=device, group=group, **dict(options)
    )
    data = ArrayDataset(x, y)
    trainer.fit(data, epochs=epochs, batch_size=10, progress=False, **dict(fit))
    state = {path: devices.to_numpy(a) for path, a in model.state_dict().items()}
    return state, trainer.history


def close(found, expected, rtol=1e-4):
    (state, history), (whole, before) = found, expected
    for path, a in whole.items():
        np.testing.assert_allclose(state[path], a, rtol=rtol, atol=rtol / 10, err_msg=path)
    for name, values in before.items():
        np.testing.assert_allclose(history[name], values, rtol=rtol, err_msg=name)


CASES = {
    "plain": {},
    "clipped": {"options": {"clip_norm": 0.3}},
    "accumulated": {"options": {"accumulate": 2}},
    "weighted": {"fit": {"class_weight": (1.0, 2.0, 0.5)}},
    "validated": {"fit": {"valid": 0.3}},
    "in halves": {"options": {"mixed_precision": True}},
    "compiled": {"options": {"compile": True}},
    "compiled, clipped": {"options": {"compile": True, "clip_norm": 0.3}},
    "one sample": {"x": X[:1], "y": Y[:1]},
    "one sample, compiled": {"x": X[:1], "y": Y[:1], "options": {"compile": True}},
    "normalised": {"norm": True, "x": X[:20], "y": Y[:20]},
}


class Two(nn.Module):
    """Two inputs by name, two outputs."""

    def __init__(self):
        self.left, self.right, self.age = nn.Linear(3, 8), nn.Linear(3, 8), nn.Linear(8, 1)
        self.kind = nn.Linear(8, 3)

    def forward(self, left, right):
        h = (self.left(left) + self.right(right)).tanh()
        return {"kind": self.kind(h), "age": self.age(h)}


def trained_on_dicts(group, device, **options):
    """Weights and history after training with several inputs, targets, losses and rates."""
    minidl.manual_seed(group.rank if group else 0)
    model = Two()
    body = {"params": [*model.left.parameters(), *model.right.parameters()], "lr": 0.05}
    head = {"params": [*model.kind.parameters(), *model.age.parameters()]}
    trainer = Trainer(
        model, optim.SGD([body, head], 0.02), {"kind": "cross_entropy", "age": "mse"},
        {"kind": "accuracy"}, loss_weights={"age": 0.5}, device=device, group=group, **options
    )  # fmt: skip
    x, y = {"right": X[:, 3:], "left": X[:, :3]}, {"age": X[:, :1], "kind": Y}
    trainer.fit(x, y, 3, valid=0.3, batch_size=10, progress=False)
    state = {path: devices.to_numpy(a) for path, a in model.state_dict().items()}
    return state, trainer.history


def every_case(group, device):
    found = {name: trained(group, device, **case) for name, case in CASES.items()}
    found["dicts"] = trained_on_dicts(group, device)
    found["dicts, compiled"] = trained_on_dicts(group, device, compile=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_processes_end_where_one_does(size, device):
    expected = every_case(None, device)
    first, *others = together(size, every_case, device)
    for name, (state, history) in first.items():
        if name != "normalised":  # by the mean of a part
            close((state, history), expected[name], 2e-2 if name == "in halves" else 1e-4)
        for other in others:
            assert other[name][1] == history
            for path, a in state.items():
                np.testing.assert_array_equal(other[name][0][path], a, f"{name}: {path}")
    assert np.abs(first["normalised"][0]["1.running_mean"]).min() > 0


def broken(group, device):
    """The second process finds numbers in its part that are none."""
    return trained(group, device, x=X * np.float32(np.nan) if group.rank else X)


def broken_and_compiled(group, device):
    x = X * np.float32(np.nan) if group.rank else X
    return trained(group, device, x=x, options={"compile": True})


def mislabelled(group, device):
    """The third process finds a label that is none, in the second batch."""
    y = Y.copy()
    y[ORDER[19]] = 9
    return trained(group, device, y=y if group.rank == 2 else Y)


def of_other_lengths(group, device, train, valid):
    """The second process has another number of samples to train on, or to validate on."""
    n, v = train[group.rank], valid[group.rank]
    fit = {"valid": ArrayDataset(X[:v], Y[:v])} if v else {}
    return trained(group, device, x=X[:n], y=Y[:n], fit=fit)


@pytest.mark.slow
@pytest.mark.parametrize(
    "train, valid, said",
    [
        ((21, 21), (5, 4), "21 training samples, 3 batches, {} validation samples"),
        ((21, 21), (5, 0), "21 training samples, 3 batches"),
        ((21, 9), (0, 0), "{} training samples, . batches"),
    ],
)
def test_data_of_other_lengths_are_refused_in_all_processes(train, valid, said, device):
    found = outcomes(2, of_other_lengths, device, train, valid)
    for rank, error in enumerate(found):
        assert type(error) is ValueError, error
        n = valid[rank] if "validation" in said else train[rank]
        assert re.search(f"process {rank} of 2 has " + said.format(n), str(error))


@pytest.mark.slow
@pytest.mark.parametrize(
    "size, work, kind, message",
    [(2, broken, FloatingPointError, "the loss became nan"),
     (3, mislabelled, ValueError, r"class indices must be in \[0, 3\)"),
     (2, broken_and_compiled, FloatingPointError, "the loss became nan")],
)  # fmt: skip
def test_nobody_waits_for_a_process_that_has_failed(size, work, kind, message, device):
    *others, last = outcomes(size, work, device)
    assert type(last) is kind and re.search(message, str(last))
    for other in others:
        assert type(other) is ValueError and "has failed: it says why itself" in str(other)


def saved(group, folder, epochs):
    path = f"{folder}/{group.rank}.safetensors"
    writers = [Checkpoint(path), CSVLog(f"{folder}/{group.rank}.csv")]
    fit = {"callbacks": writers, "resume": f"{folder}/0.safetensors"}
    return trained(group, "cpu", fit=fit, epochs=epochs)


@pytest.mark.slow
def test_the_first_process_writes_and_all_go_on_from_there(tmp_path):
    together(2, saved, tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.csv", "0.safetensors"]
    for found in together(2, saved, tmp_path, 3):
        close(found, trained(None, "cpu"))


def with_everything(rank):
    """Weights, running statistics, an integer buffer, a mask, float64, a shared weight."""
    minidl.manual_seed(rank)
    model = network(norm=True)
    model.count, model.mask = minidl.tensor(np.array([rank, 7])), minidl.tensor([rank == 0, True])
    model.wide, model.tied = minidl.tensor(np.full(3, rank + 0.1)), model[0].weight
    model[1].running_mean.data = model[1].running_mean.data + rank + 1
    return model


def test_all_that_process_0_has_is_given_to_the_others(device):
    """Weights and buffers, whatever their type; nothing is sent twice, nothing is left."""
    sent, models = [], [with_everything(rank).to(device) for rank in (0, 1)]

    def receive(a):
        a[...] = sent.pop(0)

    before = models[0].state_dict()
    distributed.Group(0, 2, None, lambda a: sent.append(a.copy())).start(models[0])
    assert len(sent) == len({id(t) for _, t in models[0].tensors()}) == 11
    distributed.Group(1, 2, None, receive).start(models[1])
    assert sent == []
    for model in models:
        for path, a in model.state_dict().items():
            np.testing.assert_array_equal(
                devices.to_numpy(a), devices.to_numpy(before[path]), err_msg=path, strict=True
            )
    assert models[1].tied is models[1][0].weight


def test_gradients_and_real_buffers_are_averaged_and_nothing_else(device):
    """A weight that is not trained gets no gradient, integers and masks stay; one trained without
    a gradient counts as 0, and a shared one once."""
    model = with_everything(0).to(device)
    model[0].bias.requires_grad = False
    model[0].weight.grad = minidl.tensor(np.full((6, 8), 3.0, "f"), device=device)
    before, sent = model.state_dict(), []

    def doubled(a):  # as if another process sent as much of everything, and of weights
        sent.append(a.size)
        a *= 2

    distributed.Group(0, 2, doubled, None).average_gradients(model, 5)
    for path, p in model.named_parameters():
        if path.endswith("0.bias"):
            assert p.grad is None, f"{path} is not trained"
        else:
            wanted = np.full(p.shape, 3.0 if p is model[0].weight else 0.0, "f")
            np.testing.assert_allclose(p.grad.numpy(), wanted, rtol=1e-6, err_msg=path)
    for path, a in model.state_dict().items():
        np.testing.assert_allclose(
            devices.to_numpy(a), devices.to_numpy(before[path]), rtol=1e-6, err_msg=path
        )
        assert a.dtype == before[path].dtype, path
    trained = sum(p.size for p in model.parameters() if p.requires_grad)
    assert sorted(sent) == [3 + 1, trained + 8 + 8 + 1], "the numbers of each type, and a weight"


def test_an_error_of_a_process_is_not_taken_for_a_result():
    with pytest.raises(
        AssertionError, match=r"process 1 of 2 raised FloatingPointError(.|\n)*broken"
    ):
        together(2, broken, "cpu")


def means(group, device):
    arrays = [np.full((2, 3), group.rank, "f"), np.arange(4.0) + group.rank, np.ones((), "f")]
    arrays = [devices.to_device(a, device) for a in arrays]
    found = group.average(arrays, weight=group.rank + 1)
    same = group.average(arrays[:1])
    return [devices.to_numpy(a) for a in [*found, *same]]


@pytest.mark.slow
def test_a_mean_of_arrays_by_weight(device):
    for found in together(3, means, device):  # 0, 1 and 2 count once, twice, three times
        a, b, c, d = found
        np.testing.assert_allclose(a, np.full((2, 3), 8 / 6), rtol=1e-6)
        np.testing.assert_allclose(b, np.arange(4.0) + 8 / 6)
        assert (a.dtype, b.dtype, c.shape, c.item()) == ("float32", "float64", (), 1)
        np.testing.assert_allclose(d, np.ones((2, 3)), rtol=1e-6)


def test_parts_are_all_rows_once():
    for n in range(8):
        batch = np.arange(n)
        parts = [batch[distributed.Group(r, 3, None, None).rows(n)] for r in range(3)]
        np.testing.assert_array_equal(np.concatenate(parts), batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


class Asked:
    """A data set that notes which samples it was asked for."""

    def __init__(self):
        self.asked = []

    def __len__(self):
        return 11

    def __getitem__(self, i):
        self.asked.append(i)
        return np.full(2, i), i


@pytest.mark.parametrize("workers", [0, 2])
def test_each_process_reads_its_own_samples_alone(workers):
    options = {"shuffle": True, "seed": 3, "workers": workers}
    whole = [*DataLoader(Asked(), 4, **options).batches(2, 1)]
    asked, found = [], []
    for rank in range(3):
        data = Asked()
        rows = distributed.Group(rank, 3, None, None).rows
        found.append([*DataLoader(data, 4, **options).batches(2, 1, rows)])
        asked += data.asked
    assert sorted(asked) == sorted(i for _, labels in whole for i in labels.tolist())
    for number, batch in enumerate(whole):
        for column, a in enumerate(batch):
            parts = [batches[number][column] for batches in found]
            np.testing.assert_array_equal(np.concatenate(parts), a)


def test_where_draws_belong_to_the_batch_its_rows_are_cut_from_the_whole():
    def noisy(batch, rng):
        x, y = batch
        return x + rng.standard_normal(x.shape), y

    loader = DataLoader(ArrayDataset(X, Y), 10, transform=noisy)
    whole = [*loader.batches(0)]
    for rank in range(3):
        rows = distributed.Group(rank, 3, None, None).rows
        for mine, batch in zip(loader.batches(0, 0, rows), whole, strict=True):
            np.testing.assert_array_equal(mine[0], batch[0][rows(len(batch[0]))])
    assert len(mine[0]) == 1  # the last batch is one sample: the last process has it
    rows = distributed.Group(0, 3, None, None).rows
    nothing = next(iter(DataLoader(Asked(), 1).batches(0, 0, rows)))
    assert [a.shape for a in nothing] == [(0, 2), (0,)]


@pytest.mark.parametrize("compile", [False, True])
def test_a_step_of_a_group_transfers_nothing_more(compile):
    from standin import counted

    group = distributed.Group(0, 1, lambda a: None, lambda a: None)
    model = network()
    trainer = Trainer(
        model, optim.Adam(model.parameters()), "cross_entropy", device="standin", group=group,
        compile=compile,
    )  # fmt: skip
    trainer.train_step((X, Y))  # records
    for _ in range(2):
        with counted() as found:
            trainer.train_step((X, Y))
        assert found == {"in": 2, "out": 1}


def test_both_halves_of_a_compiled_step_are_recorded_and_end_in_the_same_weights():
    found = []
    for compile in (False, True):
        group = distributed.Group(0, 1, lambda a: None, lambda a: None)
        minidl.manual_seed(0)
        model = network()
        trainer = Trainer(
            model, optim.Adam(model.parameters()), "cross_entropy", group=group, clip_norm=0.1,
            compile=compile,
        )  # fmt: skip
        for _ in range(4):
            trainer.train_step((X, Y))
        found.append([t.numpy() for _, t in model.tensors()])
    for eager, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, eager, rtol=1e-5, atol=1e-6)
    step = trainer.step.step
    assert trainer.compiled is step.compiled
    assert "def " in step.compiled.source and "def " in step.rest.source


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"rank in \[0, 2\), got 2"):
        distributed.Group(2, 2, None, None)


# ---- NCCL, on a pretended CuPy


@pytest.fixture
def cards(monkeypatch):
    """What a pretended CuPy with four cards was asked for."""
    log, cupy = [], ModuleType("cupy")
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(getDeviceCount=lambda: 4),
        Device=lambda i: SimpleNamespace(use=lambda: log.append(f"use {i}")),
    )
    cupyx, own = ModuleType("cupyx"), ModuleType("cupyx.distributed")

    def init_process_group(n_devices, rank, *, backend="nccl", host=None, port=None):
        log.append(f"meet {rank} of {n_devices} at {host}:{port}")
        return SimpleNamespace(
            all_reduce=lambda a, out: log.append(f"all_reduce {a is out}"),
            broadcast=lambda a: log.append("broadcast"),
        )

    class Finder:
        """As CuPy: cupy.cuda has no nccl before cupyx.distributed is imported."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "cupyx.distributed":
                cupy.cuda.nccl = SimpleNamespace(available=cupy.available)
                return importlib.machinery.ModuleSpec(name, Finder)

        @staticmethod
        def create_module(spec):
            own.init_process_group = init_process_group
            return own

        @staticmethod
        def exec_module(module):
            pass

    cupy.available, cupyx.__path__ = True, []
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    monkeypatch.delitem(sys.modules, "cupyx.distributed", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    monkeypatch.setitem(devices._devices, "cuda", cupy)
    return log, cupy


def test_nccl_uses_a_card_of_its_own_before_it_meets(cards):
    log, _ = cards
    streams._copiers["cupy"] = random._generators["cupy"] = "of the first card"
    group = distributed.nccl(5, 8, host="10.0.0.1", port=2000)
    assert "cupy" not in streams._copiers and "cupy" not in random._generators
    assert (group.rank, group.size) == (5, 8)
    a = np.ones(2)
    group.all_reduce(a)
    group.broadcast(a)
    assert log == ["use 1", "meet 5 of 8 at 10.0.0.1:2000", "all_reduce True", "broadcast"]


def test_nccl_that_is_missing_is_named(cards):
    _, cupy = cards
    cupy.available = False
    with pytest.raises(RuntimeError, match="pip install nvidia-nccl-cu13"):
        distributed.nccl(0, 2)
