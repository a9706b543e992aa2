"""Files of PyTorch's two exporters: read, they give what the model gave, and can be trained on."""

import warnings

import numpy as np
import pytest

import minidl
from minidl import optim, tensor
from minidl.nn import functional as F

pytest.importorskip("onnx", reason="waits for onnx (pip install -e '.[onnx]')")

from minidl.onnx import load


def models(torch):
    """Name -> (a model of PyTorch's, an input)."""
    nn = torch.nn
    rows, images = torch.randn(3, 5), torch.randn(2, 1, 12, 12)
    series, words = torch.randn(2, 7, 4), torch.randint(0, 9, (2, 5))

    class Read(nn.Module):
        """A recurrent layer and what is made of its outputs."""

        def __init__(self, kind, **options):
            super().__init__()
            self.layer = getattr(nn, kind)(4, 6, batch_first=True, **options)
            self.out = nn.Linear(12 if options else 6, 3)

        def forward(self, x):
            return self.out(self.layer(x)[0])

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.layer(x, x, x, need_weights=False)[0]

    return {
        "linear": (nn.Linear(5, 3), rows),
        "a large one, its weights in a file beside": (nn.Linear(700, 400), torch.randn(2, 700)),
        "activations": (
            nn.Sequential(
                nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.LeakyReLU(0.1),
                nn.GELU(approximate="tanh"), nn.Softplus(), nn.Dropout(), nn.LogSoftmax(-1),
            ), rows,
        ),
        "convolutions": (
            nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
                nn.Conv2d(4, 6, 3, stride=2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 3),
            ), images,
        ),
        "global pooling": (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), images,
        ),
        "groups, dilation": (nn.Conv2d(4, 6, 3, groups=2, dilation=2), torch.randn(2, 4, 9, 9)),
        "conv1d": (nn.Conv1d(4, 3, 3, padding=1), series.transpose(1, 2)),
        "transposed": (nn.ConvTranspose2d(1, 3, 3, stride=2, output_padding=1), images),
        "layer norm": (nn.LayerNorm(5), rows),
        "group norm": (nn.GroupNorm(2, 4), torch.randn(2, 4, 5, 5)),
        "batch norm": (nn.BatchNorm1d(5), rows),
        "embedding": (nn.Embedding(9, 4), words),
        "rnn": (Read("RNN"), series),
        "lstm": (Read("LSTM"), series),
        "gru": (Read("GRU"), series),
        "both ways": (Read("LSTM", bidirectional=True), series),
        "attention": (Attend(), torch.randn(2, 5, 8)),
        "a block of a transformer": (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="relu"),
            torch.randn(2, 5, 8),
        ),
    }  # fmt: skip


OLD = {"a block of a transformer": "the older exporter fails in its own code"}


def exported(torch, model, x, path, new):
    if new:
        pytest.importorskip("onnxscript", reason="waits for onnxscript (make torch installs it)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (x,), str(path), dynamo=new, verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True], ids=["older", "newer"])
def test_what_pytorch_wrote_computes_the_same(torch, tmp_path, new):
    torch.manual_seed(0)
    for name, (model, x) in models(torch).items():
        if not new and name in OLD:
            continue
        path = tmp_path / f"{name}.onnx"
        exported(torch, model, x, path, new)
        with torch.no_grad():
            expected = model(x).numpy()
        with minidl.no_grad():
            found = load(path)(tensor(x.numpy())).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("new", [False, True], ids=["older", "newer"])
def test_a_model_trained_elsewhere_is_trained_on(torch, tmp_path, new):
    torch.manual_seed(0)
    for name in "convolutions", "lstm", "attention":
        model, x = models(torch)[name]
        path = tmp_path / f"{name}.onnx"
        exported(torch, model, x, path, new)
        again = load(path)
        optimizer = optim.Adam(again.parameters(), 0.01)
        losses = []
        for _ in range(30):
            y = again(tensor(x.numpy()))
            loss = F.mse(y, tensor(np.ones(y.shape, "float32")))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.2 * losses[0], name


@pytest.mark.slow
def test_what_is_not_known_is_named(torch, tmp_path):
    exported(torch, torch.nn.GELU(), torch.randn(3, 5), tmp_path / "gelu.onnx", False)
    with pytest.raises(NotImplementedError, match=r"Gelu.*the form with tanh.*approximate"):
        load(tmp_path / "gelu.onnx")(np.zeros((3, 5), "float32"))
    exported(torch, torch.nn.Linear(700, 400), torch.randn(2, 700), tmp_path / "a.onnx", True)
    (tmp_path / "a.onnx.data").unlink()
    with pytest.raises(ValueError, match=r"no valid file of ONNX.*a.onnx.data"):
        load(tmp_path / "a.onnx")
