"""No hidden transfer: while a network trains on a device, host and device do not wait for another.

What goes in is the batch, what comes out is what is asked for.  Counted on the stand-in device.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from standin import counted, standin

import minidl
from minidl import functional as F
from minidl import nn, optim, recurrent, tensor, transformer
from minidl.train import Trainer

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


def test_a_move_without_memory_says_how_much_and_where_to(full):
    full("asarray")
    with pytest.raises(MemoryError, match=r"moving 24 bytes to 'standin': .* \(2, 3\): Out of mem"):
        tensor(np.ones((2, 3), "f")).to("standin")


def test_numpy_too_names_the_operation():
    x = minidl.shapes.broadcast_to(tensor([[1.0]]), shape=(1 << 30, 1 << 20))
    with pytest.raises(MemoryError, match=r"exp: .* \(1073741824, 1048576\): Unable to allocate"):
        x.exp()
