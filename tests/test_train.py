"""The trainer: it learns, reports, stops, and resumes to the bit."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import datasets, io, nn, ops, optim
from minidl import functional as F
from minidl.data import ArrayDataset, DataLoader
from minidl.train import (
    Callback,
    Checkpoint,
    EarlyStopping,
    Trainer,
    accuracy,
    origin,
    plot_history,
)

ROOT = Path(__file__).resolve().parent.parent


def spiral_trainer(**options):
    minidl.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 3)
    )  # dropout, so that the random state matters
    optimizer = optim.Adam(model.parameters(), 0.02)
    return Trainer(model, optimizer, F.cross_entropy, [accuracy], **options)


SPIRALS = datasets.spirals(300)


def weights(trainer):
    return np.concatenate([a.ravel() for a in trainer.model.state_dict().values()])


def test_it_learns_and_keeps_a_history(device):
    trainer = spiral_trainer(device=device)
    assert trainer.evaluate(SPIRALS)["accuracy"] < 0.6
    history = trainer.fit(SPIRALS, SPIRALS, 40, batch_size=32, progress=False)
    assert set(history) == {"loss", "accuracy", "valid_loss", "valid_accuracy"}
    assert all(len(values) == 40 for values in history.values())
    found = trainer.evaluate(SPIRALS)
    assert found["accuracy"] > 0.95
    assert np.isclose(found["loss"], history["valid_loss"][-1])
    assert trainer.predict(SPIRALS).shape == trainer.predict(SPIRALS.arrays[0]).shape == (300, 3)
    labels = trainer.predict(SPIRALS).argmax(1)
    assert np.isclose((labels == SPIRALS.arrays[1]).mean(), found["accuracy"])


def test_means_are_over_samples_not_batches():
    trainer = spiral_trainer()
    whole = trainer.evaluate(SPIRALS, batch_size=300)
    parts = trainer.evaluate(SPIRALS, batch_size=77)
    assert all(np.isclose(whole[k], parts[k], rtol=1e-5) for k in whole)


def test_the_bar_and_the_line(capsys, monkeypatch):
    spiral_trainer().fit(SPIRALS, SPIRALS, 2)
    shown = capsys.readouterr().out
    assert "epoch 2/2: 100%" in shown and "valid_accuracy" in shown and "5/5" in shown
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    spiral_trainer().fit(SPIRALS, epochs=1)
    assert capsys.readouterr().out.startswith("epoch 1/1: loss ")


class Interrupt(Callback):
    """Ends the run, as Ctrl-C would, at one batch of one epoch."""

    def __init__(self, epoch, batch):
        self.at = epoch, batch

    def on_batch_end(self, trainer):
        if (trainer.epoch, trainer.batch) == self.at:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch, batch", [(0, 1), (1, 4), (2, 10)])
def test_resume_is_exact_wherever_it_was_interrupted(tmp_path, epoch, batch):
    def loader():
        return DataLoader(SPIRALS, 32, shuffle=True, seed=5, transform=jitter)

    def jitter(batch, rng):
        x, y = batch
        return x + 0.01 * rng.standard_normal(x.shape).astype("f"), y

    whole = spiral_trainer()
    whole.fit(loader(), SPIRALS, 4, progress=False)
    path = tmp_path / "run.safetensors"
    first = spiral_trainer()
    with pytest.raises(KeyboardInterrupt):
        first.fit(
            loader(), SPIRALS, 4, progress=False,
            callbacks=[Checkpoint(path, every=3), Interrupt(epoch, batch)],
        )  # fmt: skip
    minidl.manual_seed(99)
    second = spiral_trainer()
    second.fit(loader(), SPIRALS, 4, progress=False, callbacks=[Checkpoint(path)], resume=path)
    assert (weights(whole) == weights(second)).all()
    assert whole.history == second.history
    third = spiral_trainer()
    third.fit(loader(), SPIRALS, 4, progress=False, resume=path)
    assert (weights(whole) == weights(third)).all(), "a finished run is not trained further"


KILLED = """
    import os, signal, sys
    sys.path[:0] = [{tests!r}, {root!r}]
    from test_train import *

    class Kill(Callback):
        def on_batch_end(self, trainer):
            if (trainer.epoch, trainer.batch) == (1, 8):
                os.kill(os.getpid(), signal.SIGKILL)

    trainer = spiral_trainer()
    callbacks = [Checkpoint({path!r}, every=3)] + ([Kill()] if sys.argv[1] == "kill" else [])
    trainer.fit(SPIRALS, epochs=3, batch_size=32, progress=False, callbacks=callbacks,
                resume={path!r})
    print(weights(trainer).tobytes().hex())
"""


def test_a_run_killed_in_the_middle_of_an_epoch_ends_in_the_same_bits(tmp_path):
    def run(path, how):
        code = KILLED.format(tests=str(ROOT / "tests"), root=str(ROOT), path=str(path))
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), how], capture_output=True, text=True
        )

    whole = run(tmp_path / "whole.safetensors", "run")
    assert whole.returncode == 0, whole.stderr
    killed = run(tmp_path / "killed.safetensors", "kill")
    assert killed.returncode == -signal.SIGKILL
    _, metadata = io.load(tmp_path / "killed.safetensors")
    place = json.loads(metadata["minidl.trainer"])
    assert (place["epoch"], place["batch"]) == (1, 6), "the last checkpoint is inside an epoch"
    resumed = run(tmp_path / "killed.safetensors", "run")
    assert resumed.stdout == whole.stdout and len(whole.stdout) > 1000


def test_early_stopping_gives_back_the_best_weights(tmp_path):
    class Worse(Callback):
        """From the third epoch on, the validation loss only grows."""

        def on_epoch_end(self, trainer):
            trainer.logs["valid_loss"] = [3.0, 2.0, 1.0, 4.0, 5.0, 6.0][trainer.epoch - 1]
            kept.append(weights(trainer))

    kept = []
    trainer = spiral_trainer()
    stop = EarlyStopping(patience=2)
    path = tmp_path / "run.safetensors"
    trainer.fit(
        SPIRALS, SPIRALS, 6, progress=False, callbacks=[Checkpoint(path), Worse(), stop]
    )  # fmt: skip
    assert trainer.epoch == 5 and trainer.stopped
    assert (weights(trainer) == kept[2]).all()
    again = spiral_trainer()
    again.fit(SPIRALS, SPIRALS, 6, progress=False, callbacks=[EarlyStopping(2)], resume=path)
    assert again.epoch == 5 and (weights(again) == kept[2]).all(), "stopped stays stopped"


def test_early_stopping_names_what_there_is_to_watch():
    with pytest.raises(ValueError, match=r"no 'valid_loss' to watch; there are"):
        spiral_trainer().fit(SPIRALS, epochs=1, progress=False, callbacks=[EarlyStopping()])


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    io.save(tmp_path / "a", {"x": np.zeros(1)})
    with pytest.raises(ValueError, match="holds arrays, but no training state"):
        spiral_trainer().load(tmp_path / "a")
    other = nn.Sequential(nn.Linear(2, 3))
    Trainer(other, optim.SGD(other.parameters()), F.mse).save(tmp_path / "b")
    with pytest.raises(ValueError, match="does not fit Sequential"):
        spiral_trainer().load(tmp_path / "b")


def diverging(loss=None, rate=0.1, data=None):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3))
    trainer = Trainer(model, optim.SGD(model.parameters(), rate), loss or F.cross_entropy)
    trainer.fit(data or SPIRALS, epochs=3, progress=False)


def log_of_negative(y, labels):
    return ops.log(y - 100).mean()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_loss_that_becomes_nan_stops_and_names_the_operation():
    with pytest.raises(FloatingPointError) as caught:
        diverging(log_of_negative)
    assert "the loss became nan at step 0 (epoch 1, batch 1)" in str(caught.value)
    assert "the operation 'log' on shapes (64, 3) first produced it" in str(caught.value)
    with pytest.raises(FloatingPointError, match=r"parameter '0\.weight' was no longer finite"):
        diverging(lambda y, t: (y * y).sum() * 1e18, rate=1e30)
    broken = ArrayDataset(np.full((64, 2), np.nan, "f"), np.zeros(64, int))
    with pytest.raises(FloatingPointError, match=r"'matmul'|an input"):
        diverging(data=broken)


def test_origin_reads_the_living_record():
    x = minidl.tensor([1.0, 0.0], requires_grad=True)
    with np.errstate(divide="ignore"):
        loss = (ops.log(x) * 2.0).sum()
    assert origin(loss, nn.Module()) == "the operation 'log' on shapes (2,) first produced it"


def test_no_data_and_clipping():
    with pytest.raises(ValueError, match="gives no batch"):
        spiral_trainer().fit(ArrayDataset(np.zeros((0, 2)), np.zeros(0)), progress=False)
    clipped = spiral_trainer(clip_norm=1e-3)
    start = weights(clipped)
    clipped.optimizer = optim.SGD(clipped.model.parameters(), 1.0)
    clipped.train_step(SPIRALS[:64])
    assert 0.9e-3 < np.linalg.norm(weights(clipped) - start) < 1.1e-3


def test_curves_are_saved(tmp_path):
    pytest.importorskip("matplotlib")
    history = {"loss": [2, 1], "accuracy": [0.1, 0.9], "valid_loss": [2, 1.5]}
    figure = plot_history(history, tmp_path / "curves.png")
    assert [a.get_ylabel() for a in figure.axes] == ["loss", "accuracy"]
    assert len(figure.axes[0].lines) == 2 and os.path.getsize(tmp_path / "curves.png") > 5000
