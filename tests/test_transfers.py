"""No hidden transfer: while a network trains on a device, host and device do not wait for another.

What goes in is the batch, what comes out is what is asked for.  Counted on the stand-in device.
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from standin import counted, standin
from static import learning

import minidl
from minidl import distributed, nn, optim, tensor
from minidl.engine import devices, ops
from minidl.gpu import streams
from minidl.gpu.ahead import ahead
from minidl.graph.source import imported
from minidl.nn import functional as F
from minidl.nn import recurrent, transformer
from minidl.train import Trainer

ROOT = Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 4)
TOKENS = RNG.integers(0, 5, (4, 8))


class Reader(nn.Module):
    def __init__(self):
        self.embed = nn.Embedding(5, 6)
        self.lstm = recurrent.LSTM(6, 7, 2, bidirectional=True, dropout=0.1)
        self.last = nn.Linear(14, 5)

    def forward(self, x):
        return self.last(self.lstm(self.embed(x))[0])


def perceptron():
    return nn.Sequential(
        nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 5)
    )


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64, 5),
    )  # fmt: skip


WORK = {
    "MLP": (perceptron, RNG.random((4, 6), dtype="f"), LABELS),
    "CNN": (convolutional, RNG.random((4, 1, 8, 8), dtype="f"), LABELS),
    "LSTM": (Reader, TOKENS, TOKENS),
    "GPT": (lambda: transformer.GPT(5, 8, 12, 3, 2, dropout=0.1), TOKENS, TOKENS),
}


@pytest.mark.parametrize("kind", ["SGD", "RMSProp", "Adam", "AdamW"])
@pytest.mark.parametrize("name", WORK)
def test_a_step_transfers_nothing_but_the_loss_that_is_asked_for(name, kind):
    make, x, y = WORK[name]
    model = make().to("standin")
    optimizer = getattr(optim, kind)(model.parameters(), 0.01)
    x, y = tensor(x, device="standin"), tensor(y, device="standin")
    for _ in range(2):  # in the first the optimiser makes its arrays
        with counted() as found:
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optim.clip_grad_norm(optimizer.parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()
        assert not found
    with counted() as found:
        assert np.isfinite(loss.item())
    assert found == {"out": 1}, "and with it, whether the labels were right"


@pytest.mark.parametrize("name", WORK)
def test_a_trainer_takes_in_the_batch_and_out_the_loss(name):
    make, x, y = WORK[name]
    model = make()
    trainer = Trainer(
        model, optim.Adam(model.parameters(), 0.01), "cross_entropy", device="standin"
    )
    for _ in range(2):
        with counted() as found:
            trainer.train_step((x, y))
        assert found == {"in": 2, "out": 1}


def test_wrong_labels_and_ids_are_named_when_the_host_next_asks():
    """As on a GPU, an index too large wraps around meanwhile, and nothing stops."""
    logits = tensor(np.zeros((2, 3), "f"), device="standin", requires_grad=True)
    embedding = nn.Embedding(3, 2).to("standin")
    for use, what in (
        (lambda ids: F.cross_entropy(logits, ids), "class indices"),
        (lambda ids: embedding(ids).sum(), r"Embedding\(3, 2\): ids"),
    ):
        with counted() as found:
            loss = use(tensor([0, 5], device="standin"))
        assert found == {"in": 1}
        with pytest.raises(ValueError, match=rf"{what} must be in \[0, 3\), but some of an"):
            loss.item()
        assert np.isfinite(use(tensor([0, 1], device="standin")).item())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_good_batch_does_not_hide_the_wrong_labels_of_another(bad, compile):
    """The host asks after the third batch alone, as where a loss is looked at now and then."""
    logits = tensor(np.zeros((2, 3), "f"), device="standin", requires_grad=True)

    def loss(labels):
        return F.cross_entropy(logits, labels)

    loss = minidl.compile(loss) if compile else loss
    loss(tensor([0, 1], device="standin")).item()
    for i in range(3):
        found = loss(tensor([0, 5 if i == bad else 1], device="standin"))
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 3\)"):
        found.item()
    assert np.isfinite(loss(tensor([0, 1], device="standin")).item())


def test_a_model_there_and_back_changes_no_bit():
    for make, *_ in WORK.values():
        model = make()
        before = model.state_dict()
        after = model.to("standin").to("cpu").state_dict()
        for path, array in before.items():
            np.testing.assert_array_equal(after[path], array, strict=True)


def test_a_draw_on_the_device_follows_its_seed():
    def drawn():
        minidl.manual_seed(3)
        like = tensor(np.zeros((4, 5), "f"), device="standin")
        with counted() as found:
            y = F.dropout(like + 1, p=0.5)
        assert not found
        return y.numpy()

    first = drawn()
    np.testing.assert_array_equal(drawn(), first)
    assert 0 < (first == 0).mean() < 1


# ---- memory that runs out


class Full(MemoryError):
    """As CuPy's OutOfMemoryError."""


@pytest.fixture
def full(monkeypatch):
    """A function of a name: that function of the stand-in device then finds no memory."""
    pool = SimpleNamespace(freed=0)

    def free_all_blocks():
        pool.freed += 1

    pool.free_all_blocks = free_all_blocks
    monkeypatch.setattr(standin, "get_default_memory_pool", lambda: pool, raising=False)

    def fill(name):
        def refuse(*args, **options):
            raise Full("Out of memory allocating 4,096 bytes (allocated so far: 512 bytes).")

        monkeypatch.setattr(standin, name, refuse, raising=False)
        return pool

    return fill


def test_an_operation_without_memory_names_itself(full):
    x = tensor(np.ones((2, 3), "f"), device="standin", requires_grad=True)
    pool = full("exp")
    with pytest.raises(MemoryError, match=r"exp: .* \(2, 3\): Out of .* 4,096 bytes"):
        x.exp()
    assert pool.freed == 1
    (x * x).sum().backward()
    assert x.grad.numpy().tolist() == [[2, 2, 2]] * 2, "and the process goes on"


def test_a_gradient_without_memory_names_its_operation(full):
    x = tensor(np.ones((2, 3), "f"), device="standin", requires_grad=True)
    y = x.sum()
    pool = full("broadcast_to")
    with pytest.raises(MemoryError, match=r"gradient of sum: .*: broadcast_to: .* 4,096"):
        y.backward()
    assert pool.freed and tensor([1.0], requires_grad=True).exp().requires_grad


def test_a_compiled_step_without_memory_says_how_much(full):
    x = tensor(np.ones((2, 3), "f"), device="standin")
    pool = full("empty")
    step = minidl.compile(lambda x: x.sum(1) * 2)
    with pytest.raises(
        MemoryError, match=r"a compiled step, which needs 64 bytes at once: .*\(2, 3\)"
    ):
        step(x)
    assert pool.freed == 1


def test_a_compiled_step_that_finds_no_memory_as_it_runs(full):
    x = tensor(np.ones((2, 3), "f"), device="standin")
    step = minidl.compile(lambda x: x.sum(1) * 2)
    step(x)
    full("sum")
    with pytest.raises(MemoryError, match=r"a compiled step: .*\(2, 3\): Out of .* 4,096 bytes"):
        step(x)


def test_a_move_without_memory_says_how_much_and_where_to(full):
    full("asarray")
    with pytest.raises(MemoryError, match=r"moving 24 bytes to standin: .* \(2, 3\): Out of mem"):
        tensor(np.ones((2, 3), "f")).to("standin")


def test_numpy_too_names_the_operation():
    x = minidl.engine.shapes.broadcast_to(tensor([[1.0]]), shape=(1 << 30, 1 << 20))
    with pytest.raises(MemoryError, match=r"exp: .* \(1073741824, 1048576\): Unable to allocate"):
        x.exp()


# ---- the way in: pinned memory, a stream that copies, one batch ahead


class Event:
    """A point in the work of a stream; `done` when a test says so."""

    done = False

    def __init__(self, name):
        self.name = name


class Stream:
    """A stream that writes down what is asked of it."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def record(self):
        self.log.append(f"{self.name} records")
        return Event(f"{self.name}, {len(self.log)}")

    def wait_event(self, event):
        self.log.append(f"{self.name} waits for {event.name}")

    def __enter__(self):
        self.log.append("with " + self.name)

    def __exit__(self, *_):
        self.log.append("end")


class Uploaded:
    """An array of a pretended CuPy: filled from pinned memory only."""

    def __init__(self, shape, dtype):
        assert dtype.isnative, "CuPy has little-endian numbers only"
        self.a = np.zeros(shape, dtype)

    def set(self, pinned, stream):
        assert stream.name == "copier" and PINNED[-1] is pinned
        stream.log.append(f"copy {pinned.tolist()}")
        self.a[...] = pinned


PINNED = []


@pytest.fixture
def gpu(monkeypatch):
    """The log of a pretended CuPy, known as the device "gpu"."""
    log, made, module = [], [], ModuleType("pretended")
    work, copier = Stream("work", log), Stream("copier", log)

    def stream(non_blocking):
        assert non_blocking and not made, "one stream for all copies"
        made.append(copier)
        return copier

    module.cuda = SimpleNamespace(Stream=stream, get_current_stream=lambda: work)
    module.empty = Uploaded
    module.asarray = lambda a: Uploaded(a.shape, a.dtype)
    cupyx = ModuleType("cupyx")

    def empty_pinned(shape, dtype):
        PINNED.append(np.empty(shape, dtype))
        return PINNED[-1]

    cupyx.empty_pinned = empty_pinned
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    monkeypatch.setitem(devices._devices, "gpu", module)
    monkeypatch.setitem(devices.ARRAYS, Uploaded, module)
    monkeypatch.setattr(streams, "_copiers", {})
    monkeypatch.setattr(streams, "_leaving", [])
    return log


def test_a_move_is_copied_from_pinned_memory_by_a_stream_of_its_own(gpu):
    moved = devices.to_device(np.array([1.0, 2.0]), "gpu")
    assert moved.a.tolist() == [1, 2]
    assert gpu == [
        "work records", "copier waits for work, 1", "with copier", "copy [1.0, 2.0]", "end",
        "copier records", "work waits for copier, 6",
    ]  # fmt: skip
    assert devices.to_device(np.zeros((0, 3)), "gpu").a.shape == (0, 3) and len(gpu) == 7
    assert devices.to_device(np.array([1.5], ">f4"), "gpu").a.tolist() == [1.5]


def test_without_pinned_memory_a_move_is_an_ordinary_one(gpu, monkeypatch):
    def refuse(shape, dtype):
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(sys.modules["cupyx"], "empty_pinned", refuse)
    assert devices.to_device(np.array([1.0, 2.0]), "gpu").a.shape == (2,) and gpu == []


def test_the_next_batch_is_on_its_way_before_this_one_is_used(gpu):
    for number, (a,) in enumerate(ahead([(np.array([i]),) for i in range(3)], "gpu")):
        assert a.a.tolist() == [number]
        gpu.append(f"step {number}")
    order = [line for line in gpu if line[:4] in ("copy", "step")]
    assert order == ["copy [0]", "copy [1]", "step 0", "copy [2]", "step 1", "step 2"]
    waits = [i for i, line in enumerate(gpu) if line.startswith("work waits")]
    steps = [i for i, line in enumerate(gpu) if line.startswith("step")]
    assert [s - w for w, s in zip(waits, steps)] == [1, 1, 1], "each step waits for its batch alone"


def test_pinned_memory_stays_until_its_copy_is_done(gpu):
    devices.to_device(np.array([1.0]), "gpu")
    devices.to_device(np.array([2.0]), "gpu")
    assert [kept.tolist() for _, kept in streams._leaving] == [[1], [2]]
    streams._leaving[0][0].done = True
    devices.to_device(np.array([3.0]), "gpu")
    assert [kept.tolist() for _, kept in streams._leaving] == [[2], [3]]


def test_no_batch_is_lost_on_a_device():
    batches = [(np.arange(3) + i, np.arange(2)) for i in range(4)]
    found = [tuple(map(devices.to_numpy, b)) for b in ahead(batches, "standin")]
    assert [[a.tolist() for a in b] for b in found] == [[a.tolist() for a in b] for b in batches]
    assert list(ahead([], "standin")) == []


# ---- the how-to page


def test_the_page_quotes_what_the_library_says(monkeypatch, known_devices):
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    said = []
    monkeypatch.setitem(sys.modules, "cupy", None)
    for wrong in (
        lambda: tensor([1.0]).to("cuda"),
        lambda: F.cross_entropy(
            tensor(np.zeros((1, 10), "f"), device="standin"), tensor([10], device="standin")
        ).item(),
        lambda: tensor([1.0]) + tensor([1.0], device="standin"),
    ):
        with pytest.raises((RuntimeError, TypeError, ValueError)) as caught:
            wrong()
        said.append(str(caught.value))
    said[2] = said[2].replace("numpy and standin", "cupy and numpy")
    for text in [*said, distributed.FAILED]:
        assert f"`{text}`" in page
    step = minidl.compile(lambda x, w, b: ops.sigmoid(x @ w + b) * x)
    x = np.ones((4, 4), "f")
    step(*(tensor(a, device="standin") for a in (x, x, x[0])))
    kernel = page[page.index("add_multiply_tanh_kernel = ") :].split("```")[0]
    assert not hasattr(standin, "ElementwiseKernel") or kernel in step.source


@pytest.fixture
def known_devices(monkeypatch):
    monkeypatch.setattr(devices, "_devices", dict(devices._devices))
    devices._devices.pop("cuda", None)


# ---- a compiled step on a device


@pytest.mark.slow
def test_a_compiled_step_transfers_nothing_either():
    for make, x, y in WORK.values():
        model = make().to("standin")
        optimizer = optim.Adam(model.parameters(), 0.01)
        step = minidl.compile(learning(model, optimizer))
        x, y = tensor(x, device="standin"), tensor(y, device="standin")
        step(x, y)
        with counted() as found:
            loss = step(x, y)
        assert not found
        assert np.isfinite(loss.item()) and loss.device == "standin"
        assert "device_module('standin')" in step.source


def test_a_compiled_step_names_wrong_labels_when_the_host_next_asks():
    logits = tensor(np.zeros((2, 3), "f"), device="standin")
    step = minidl.compile(lambda ids: F.cross_entropy(logits, ids))
    assert np.isfinite(step(tensor([0, 2], device="standin")).item())
    with counted() as found:
        loss = step(tensor([0, 3], device="standin"))
    assert found == {"in": 1}
    with pytest.raises(ValueError, match=r"class indices must be in \[0, 3\), but some"):
        loss.item()


def test_each_device_has_a_record_of_its_own():
    step = minidl.compile(lambda x: x.exp())
    x = np.array([0.0, 1.0], "f")
    for device in ("cpu", "standin", "cpu"):
        y = step(tensor(x, device=device))
        assert y.device == device
        np.testing.assert_allclose(y.numpy(), np.exp(x), rtol=1e-6)
    assert len(step.programs) == 2
    with pytest.raises(ValueError, match="threads=2 is for the CPU"):
        minidl.compile(lambda x: x.sum(), threads=2)(tensor(x, device="standin"))
    with pytest.raises(ValueError, match="use a GPU's own profiler"):
        again = minidl.compile(lambda x: x.exp())
        again(tensor(x, device="standin"))
        again.profile(tensor(x, device="standin"))


def test_the_source_calls_what_cupy_has():
    """Its ufuncs reduce for add and multiply only."""
    step = minidl.compile(lambda x: x.max(axis=1) + x.sum())
    x = np.arange(6.0, dtype="f").reshape(2, 3)
    for _ in range(2):
        found = step(tensor(x, device="standin")).numpy()
        np.testing.assert_array_equal(found, x.max(axis=1) + x.sum())
    assert "np.max(" in step.source and ".reduce" not in step.source
    step(tensor(x))
    assert "np.maximum.reduce(" in step.source


def test_the_source_for_cupy_begins_with_cupy():
    assert imported(ModuleType("cupy")) == ["import cupy as np", "import numpy"]


def test_a_trainer_compiles_on_the_device():
    make, x, y = WORK["MLP"]
    histories = []
    for compile in (False, True):
        minidl.manual_seed(0)
        model = make()
        optimizer = optim.Adam(model.parameters(), 0.01)
        trainer = Trainer(
            model, optimizer, "cross_entropy", ["accuracy"], device="standin", compile=compile
        )
        histories.append([trainer.train_step((x, y))["loss"] for _ in range(4)])
    np.testing.assert_allclose(*histories, rtol=1e-5)
