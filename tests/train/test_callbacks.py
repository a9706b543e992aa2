"""Callbacks: each does what it says, alone and beside the others, and survives a resume."""

import json
import math
import os
import subprocess
import sys
import textwrap
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from test_trainer import HERE, ROOT, SPIRALS, Interrupt, exact, loader, spiral_trainer, weights

from minidl import io, manual_seed, nn, optim
from minidl.engine import devices
from minidl.nn import functional as F
from minidl.train import (
    AverageWeights,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    HistoryPlot,
    Progress,
    ReduceOnPlateau,
    Schedule,
    Trainer,
    find_rate,
    plot_history,
)
from minidl.train.callbacks import Monitor


class Pretend(Callback):
    """Replaces the validation loss by given numbers, and keeps the weights after each epoch."""

    def __init__(self, *losses):
        self.losses, self.found = losses, {}

    def on_epoch_end(self, trainer):
        trainer.logs["valid_loss"] = self.losses[trainer.epoch - 1]
        self.found[trainer.epoch] = weights(trainer)


class Rates(Callback):
    """Notes the learning rate of each update."""

    def __init__(self):
        self.found = []

    def on_batch_end(self, trainer):
        self.found.append(trainer.optimizer.rate())


def fit(trainer, *callbacks, epochs=6, **options):
    return trainer.fit(
        loader(), SPIRALS, epochs, callbacks=callbacks, progress=False, **options
    )  # fmt: skip


# ---- showing


@pytest.fixture
def look(monkeypatch):
    """look() makes of the standard error what somebody looks at."""
    return lambda: monkeypatch.setattr(sys.stderr, "isatty", lambda: True)


def test_a_line_for_each_epoch_and_a_bar_while_it_runs(look, capsys, monkeypatch):
    look()
    trainer = spiral_trainer()
    trainer.fit(SPIRALS, SPIRALS, 2)
    out, bar = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("epoch 1/2: loss ") and second.startswith("epoch 2/2: loss ")
    assert f"valid_accuracy {trainer.history['valid_accuracy'][1]:.4f}" in second
    assert second.endswith(" s") and "epoch 2/2:   0%" in bar and "0/5" in bar
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    spiral_trainer().fit(SPIRALS, epochs=1)
    out, bar = capsys.readouterr()
    assert out.startswith("epoch 1/1: loss ") and not bar


def test_the_bar_goes_when_its_epoch_is_done_and_is_drawn_by_its_own_clock(look, monkeypatch):
    """A bar that were drawn at each batch would cost more than a small network's batch."""
    told = []

    class Bar:
        n = 0

        def __init__(self, **options):
            told.append(options)

        def update(self, n):
            self.n += n

        def set_postfix(self, logs, **options):
            told.append(options)

        def set_description(self, name):
            pass

        close = lambda self: None  # noqa: E731

    look()
    monkeypatch.setitem(sys.modules, "tqdm.auto", SimpleNamespace(tqdm=Bar))
    fit(spiral_trainer(), Progress(), epochs=1)
    assert told[0] == {"total": 10, "initial": 0, "leave": False}
    assert told[1:] == [{"refresh": False}] * 10


def test_a_notebook_has_bars_without_a_terminal(capsys, monkeypatch):
    pretended = SimpleNamespace(get_ipython=lambda: "a shell")
    monkeypatch.setitem(sys.modules, "IPython", pretended)
    bars = Progress()
    fit(spiral_trainer(), bars, epochs=1)
    assert bars.bar is not None and "0/10" in capsys.readouterr().err
    pretended.get_ipython = lambda: None  # it is installed, and imported, but does not run
    alone = Progress()
    fit(spiral_trainer(), alone, epochs=1)
    assert alone.bar is None and not capsys.readouterr().err


LOGGED = """
    import sys
    sys.path[:0] = [{tests!r}, {root!r}]
    from test_trainer import *

    spiral_trainer().fit(SPIRALS, SPIRALS, epochs=3, batch_size=1)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", 9))  # on Windows any number ends it
"""


def test_a_log_has_a_line_an_epoch_and_each_at_once(tmp_path):
    """Also where the process is killed afterwards, so no line waited in a buffer."""
    code = LOGGED.format(tests=str(HERE), root=str(ROOT)).replace("import sys", "import os, sys")
    with open(tmp_path / "log", "wb") as log:
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], stdout=log, stderr=log, check=False
        )
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line[:11] for line in lines] == ["epoch 1/3: ", "epoch 2/3: ", "epoch 3/3: "]


def test_the_bar_counts_batches_where_an_update_takes_several(look):
    look()
    bars = Progress()

    class Watch(Callback):
        def on_batch_end(self, trainer):
            seen.append((bars.bar.n, bars.bar.total))

    seen = []
    trainer = spiral_trainer(accumulate=3)
    trainer.fit(SPIRALS, callbacks=[bars, Watch()], batch_size=64, progress=False)
    assert seen == [(3, 5), (5, 5)]


def test_the_bar_is_closed_by_an_error(look):
    look()
    bars = Progress()
    with pytest.raises(KeyboardInterrupt):
        fit(spiral_trainer(), bars, Interrupt(0, 2))
    assert bars.bar.disable, "tqdm's mark of a closed bar"


def test_the_csv_has_one_line_for_each_epoch_after_a_resume_too(tmp_path, device):
    log, path = tmp_path / "log.csv", tmp_path / "run.safetensors"
    whole = fit(spiral_trainer(**exact(device)), CSVLog(tmp_path / "whole.csv"), epochs=4)
    with pytest.raises(KeyboardInterrupt):
        first, best = spiral_trainer(**exact(device)), Checkpoint(path, best_only=True)
        fit(first, CSVLog(log), best, Interrupt(3, 2))
    assert len(log.read_text(encoding="utf-8").splitlines()) == 4, "flushed after each epoch"
    fit(spiral_trainer(**exact(device)), CSVLog(log), epochs=4, resume=path)
    assert log.read_text(encoding="utf-8") == (tmp_path / "whole.csv").read_text(encoding="utf-8")
    found = np.genfromtxt(log, delimiter=",", names=True)
    assert found["epoch"].tolist() == [1, 2, 3, 4]
    assert {name: found[name].tolist() for name in whole} == whole


def test_curves_are_saved(tmp_path):
    pytest.importorskip("matplotlib")
    history = {"loss": [2, 1], "accuracy": [0.1, 0.9], "valid_loss": [2, 1.5]}
    figure = plot_history(history, tmp_path / "curves.png")
    assert [a.get_ylabel() for a in figure.axes] == ["loss", "accuracy"]
    assert len(figure.axes[0].lines) == 2 and os.path.getsize(tmp_path / "curves.png") > 5000
    assert figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]


def test_the_search_for_a_rate_is_drawn_over_the_rates():
    pytest.importorskip("matplotlib")
    found = find_rate(spiral_trainer(), SPIRALS, steps=5)
    (axes,) = plot_history(found).axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "learning rate"
    assert axes.lines[0].get_xdata().tolist() == found["rate"]


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "minidl\[course\]"'):
        plot_history({"loss": [1]})


def test_outside_a_notebook_the_picture_is_written(tmp_path):
    pytest.importorskip("matplotlib")
    fit(spiral_trainer(), HistoryPlot(tmp_path / "curves.png"), HistoryPlot(), epochs=1)
    assert os.path.getsize(tmp_path / "curves.png") > 5000


def test_in_a_notebook_one_picture_changes(monkeypatch):
    pytest.importorskip("matplotlib")
    shells = pytest.importorskip("IPython.core.interactiveshell")
    from IPython.utils.capture import capture_output

    monkeypatch.delenv("VIRTUAL_ENV", raising=False)  # of another one IPython warns
    shell = shells.InteractiveShell.instance()
    try:
        plot = HistoryPlot()
        with capture_output() as seen:
            fit(spiral_trainer(), plot, epochs=3)
            fit(spiral_trainer(), plot, epochs=1)
    finally:
        shell.history_manager.enabled = False
        shells.InteractiveShell.clear_instance()
    assert not seen.stdout and not seen.stderr
    assert not [output for output in seen.outputs if not output.data["image/png"]]
    names = [output.transient["display_id"] for output in seen.outputs]
    assert names[0] == names[1] == names[2] != names[3], "each run has a picture of its own"
    assert [output.update for output in seen.outputs] == [False, True, True, False]


# ---- stopping and the rate


def test_early_stopping_gives_back_the_best_weights(tmp_path, device):
    losses = Pretend(3.0, 2.0, 1.0, 4.0, 5.0, 6.0)
    trainer, path = spiral_trainer(device=device), tmp_path / "run.safetensors"
    fit(trainer, Checkpoint(path), losses, EarlyStopping(patience=2))
    assert trainer.epoch == 5 and trainer.stopped
    np.testing.assert_array_equal(weights(trainer), losses.found[3])
    for elsewhere in (device, "cpu"):
        again = spiral_trainer(device=elsewhere)
        fit(again, EarlyStopping(2), resume=path)
        assert again.epoch == 5
        assert (weights(again) == losses.found[3]).all(), "it stays stopped"
        assert {t.device for _, t in again.model.tensors()} == {elsewhere}


def test_early_stopping_remembers_after_a_resume(tmp_path, device):
    path, losses = tmp_path / "run.safetensors", (3.0, 1.0, 4.0, 5.0, 6.0, 7.0)
    with pytest.raises(KeyboardInterrupt):
        first, callbacks = Pretend(*losses), (EarlyStopping(3), Checkpoint(path))
        fit(spiral_trainer(device=device), first, *callbacks, Interrupt(3, 1))
    trainer, stop = spiral_trainer(device=device), EarlyStopping(3)
    # Another callback in front does not hide it.
    fit(trainer, Pretend(*losses), ReduceOnPlateau(9), stop, resume=path)
    assert trainer.epoch == 5 and stop.best == 1.0
    np.testing.assert_array_equal(weights(trainer), first.found[2])


def test_a_fit_after_early_stopping_trains_and_waits_anew():
    trainer, stop = spiral_trainer(), EarlyStopping(2)
    losses = Pretend(2.0, 1.0, 3.0, 4.0, 3.5, 5.0, 0.5, 6.0, 7.0)
    fit(trainer, losses, stop)
    assert trainer.epoch == 4
    np.testing.assert_array_equal(weights(trainer), losses.found[2])
    fit(trainer, losses, stop)
    assert trainer.epoch == 6 and trainer.stopped, "not better than in the first fit, twice"
    np.testing.assert_array_equal(weights(trainer), losses.found[2])
    fit(trainer, losses, stop, epochs=3)
    assert trainer.epoch == 9
    np.testing.assert_array_equal(weights(trainer), losses.found[7])
    fit(trainer, epochs=1)
    assert trainer.epoch == 10


def test_callbacks_forget_another_trainer():
    stop, best, average = EarlyStopping(9), Monitor(), AverageWeights(0.5)
    first = spiral_trainer()
    fit(first, Pretend(0.0, 1.0), stop, best, average, epochs=2)
    second, losses = spiral_trainer(0.0), Pretend(3.0, 2.0, 4.0)
    alone, same = spiral_trainer(0.0), Pretend(3.0, 2.0, 4.0)
    fit(second, losses, stop, average, epochs=3)
    fit(alone, same, EarlyStopping(9), AverageWeights(0.5), epochs=3)
    np.testing.assert_array_equal(weights(second), weights(alone))
    assert stop.best == 2.0


def test_an_average_goes_on_in_a_second_fit_and_begins_anew_from_other_weights():
    once, twice = spiral_trainer(0.0), spiral_trainer(0.0)
    fit(once, AverageWeights(0.9), epochs=4)
    average = AverageWeights(0.9)
    for _ in range(2):
        fit(twice, average, epochs=2)
    np.testing.assert_array_equal(weights(once), weights(twice))
    found = []
    for callback in (average, AverageWeights(0.9)):
        trainer = deepcopy(twice)
        callback.trainer = trainer if callback is average else None
        for _, t in trainer.model.tensors():
            t.data = t.data + 1
        fit(trainer, callback, epochs=1)
        found.append(weights(trainer))
    np.testing.assert_array_equal(*found)


def test_the_rate_waits_anew_and_a_schedule_goes_on():
    trainer, plateau = spiral_trainer(), ReduceOnPlateau(2, factor=0.5)
    losses = Pretend(1.0, 2.0, 2.0, 2.0)
    fit(trainer, losses, plateau, epochs=2)
    fit(trainer, losses, plateau, epochs=1)
    assert trainer.optimizer.lr == 0.02
    fit(trainer, losses, Schedule(lambda epoch: 0.1 / (1 + epoch)), epochs=1)
    assert trainer.optimizer.lr == 0.1 / 4


def test_an_error_leaves_the_weights_as_they_are(device):
    trainer, losses = spiral_trainer(device=device), Pretend(1.0, 2.0, 3.0)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, losses, EarlyStopping(5), Interrupt(2, 1))
    assert (weights(trainer) != losses.found[1]).any(), "the weights are those of epoch 1"


@pytest.mark.parametrize(
    "monitor, largest, values, better",
    [
        ("valid_loss", None, [3.0, 2.0, 2.0, 4.0], [True, True, False, False]),
        ("valid_accuracy", None, [0.1, 0.3, 0.2], [True, True, False]),
        ("top5", None, [0.1, 0.3, 0.2], [True, True, False]),
        ("valid_score", True, [0.1, 0.3, 0.2], [True, True, False]),
        ("valid_accuracy", False, [0.1, 0.3, 0.05], [True, False, True]),
        ("loss", None, [3.0, math.nan, 2.0], [True, False, True]),
    ],
)
def test_what_counts_as_better(monitor, largest, values, better):
    watch, trainer = Monitor(monitor=monitor, largest=largest), spiral_trainer()
    found = []
    for value in values:
        trainer.logs = {monitor: value}
        found.append(watch.improved(trainer))
    assert found == better
    assert watch.waited == better[::-1].index(True)


@pytest.mark.parametrize(
    "callback", [EarlyStopping(), ReduceOnPlateau(), Checkpoint("x", best_only=True)]
)
def test_what_there_is_to_watch_is_named(callback):
    with pytest.raises(ValueError, match=r"no 'valid_loss' to watch; there are .*'loss'"):
        spiral_trainer().fit(SPIRALS, epochs=1, progress=False, callbacks=[callback])
    with pytest.raises(ValueError, match=r"need data to validate on, fit\(x, y, valid=0\.2\)"):
        spiral_trainer().fit(SPIRALS, epochs=1, progress=False, callbacks=[callback])


def test_a_history_is_what_is_drawn():
    with pytest.raises(TypeError, match=r"expected a dict such as trainer\.history, got None"):
        plot_history(None)
    with pytest.raises(TypeError, match=r"find_rate\(\) has no argument 'start_lr': write lowest="):
        find_rate(spiral_trainer(), SPIRALS, start_lr=1e-5)


def test_a_schedule_sets_the_rate_of_each_epoch(tmp_path, device):
    rates, path = Rates(), tmp_path / "run.safetensors"

    def schedule(epoch):
        return 0.1 / (1 + epoch)

    first, second = (spiral_trainer(device=device) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        fit(first, Schedule(schedule), rates, Checkpoint(path), Interrupt(1, 10))
    fit(second, Schedule(schedule), rates, epochs=3, resume=path)
    np.testing.assert_allclose(
        rates.found, np.repeat([0.1, 0.05, 0.05, 0.1 / 3], 10), rtol=1e-5, atol=1e-8
    )


def test_the_rate_is_reduced_on_a_plateau(tmp_path, device):
    losses, path = (1.0, 2.0, 3.0, 2.0, 1.5, 0.5, 0.6, 0.7), tmp_path / "run.safetensors"

    def callbacks(rates):
        return Pretend(*losses), ReduceOnPlateau(2, factor=0.5, lowest=0.006), rates

    whole, first, second = Rates(), Rates(), Rates()
    fit(spiral_trainer(device=device), *callbacks(whole), epochs=8)
    expected = [0.02, 0.02, 0.02, 0.01, 0.01, 0.006, 0.006, 0.006]
    np.testing.assert_allclose(whole.found, np.repeat(expected, 10), rtol=1e-5, atol=1e-8)
    with pytest.raises(KeyboardInterrupt):
        more = Checkpoint(path), Interrupt(4, 1)
        fit(spiral_trainer(device=device), *callbacks(first), *more, epochs=8)
    fit(spiral_trainer(device=device), *callbacks(second), epochs=8, resume=path)
    assert first.found[:40] + second.found == whole.found


# ---- saving


def test_a_checkpoint_of_the_best_epoch_only(tmp_path, device):
    losses, path = Pretend(3.0, 1.0, 2.0, 0.5, 0.7, 0.6), tmp_path / "best.safetensors"
    fit(spiral_trainer(device=device), losses, Checkpoint(path, best_only=True))
    best = spiral_trainer(device=device)
    best.load(path)
    assert best.epoch == 4
    np.testing.assert_array_equal(weights(best), losses.found[4])
    # A resumed run still knows how good the saved one was.
    fit(best, Pretend(*[0.6] * 6), Checkpoint(path, best_only=True), resume=path)
    best.load(path)
    assert best.epoch == 4


def test_a_checkpoint_counts_updates_not_batches(tmp_path):
    class Saves(Checkpoint):
        def on_batch_end(self, trainer):
            before = os.path.exists(self.path) and os.stat(self.path).st_ino
            super().on_batch_end(trainer)
            if os.path.exists(self.path) and os.stat(self.path).st_ino != before:
                saved.append((trainer.epoch, trainer.batch))

    saved = []
    trainer = spiral_trainer(accumulate=2)
    fit(trainer, Saves(tmp_path / "a", every=2), epochs=2)  # 10 batches, 5 updates
    assert saved == [(0, 4), (0, 8), (1, 4), (1, 8)]


@pytest.mark.parametrize("every", [None, 1, 2, 3, 5, 10])
def test_a_checkpoint_is_written_at_these_batches_and_after_validation(tmp_path, every):
    """Never after the last batch of an epoch: what the epoch's end does is not done then."""

    class Saves(Checkpoint):
        def on_batch_end(self, trainer):
            super().on_batch_end(trainer)
            look(trainer)

        def on_epoch_end(self, trainer):
            super().on_epoch_end(trainer)
            look(trainer)

    def look(trainer):
        status = path.stat() if path.exists() else None
        if status and status.st_ino != inodes[-1]:
            inodes.append(status.st_ino)
            place = json.loads(io.load(path)[1]["minidl.trainer"])
            found.append((place["epoch"], place["batch"]))
            assert {len(values) for values in place["history"].values()} <= {place["epoch"]}
            assert ("valid_loss" in place["history"]) is (place["epoch"] > 0)

    path, found, inodes = tmp_path / "run", [], [None]
    fit(spiral_trainer(), Saves(path, every=every), epochs=2)
    inside = range(every, 10, every) if every else ()
    assert found == [*((0, b) for b in inside), (1, 0), *((1, b) for b in inside), (2, 0)]


@pytest.mark.parametrize("every", [None, 2, 5])
def test_a_run_killed_while_it_validates_goes_on_exactly(tmp_path, every, device):
    """The weights that are validated are the average: those to go on from are others."""
    path, count = tmp_path / "run", []

    def metric(y, labels):  # ten batches and two of validation make an epoch
        count.append(1)
        if len(count) == killed:
            raise KeyboardInterrupt
        return 0.0

    def run(*more, **options):
        trainer = spiral_trainer(**exact(device))
        trainer.metrics["count"] = metric
        fit(trainer, AverageWeights(0.9), Checkpoint(path, every=every), *more, epochs=3, **options)
        return trainer

    killed = None
    whole = run()
    path.unlink()
    count, killed = [], 12 + 11
    with pytest.raises(KeyboardInterrupt):
        run()
    killed = None
    again = run(resume=path)
    np.testing.assert_array_equal(weights(again), weights(whole))
    assert again.history == whole.history


# ---- averaging


def small(device="cpu"):
    manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3))
    return Trainer(model, optim.SGD(model.parameters(), 0.05), F.cross_entropy, device=device)


def test_the_average_is_that_of_the_definition(device):
    trainer, seen = small(device), []
    start = trainer.model.state_dict()

    class Watch(Callback):
        def on_batch_end(self, trainer):
            seen.append({k: t.numpy() for k, t in trainer.model.tensors()})

    trainer.fit(loader(), epochs=1, callbacks=[Watch(), AverageWeights(0.9)], progress=False)
    expected = seen[0]
    for t, state in enumerate(seen[1:], 2):
        keep = min(0.9, (1 + t) / (10 + t))
        expected = {k: keep * expected[k] + (1 - keep) * a for k, a in state.items()}
    found = {k: t.numpy() for k, t in trainer.model.tensors()}
    assert start.keys() == found.keys() == expected.keys()
    for name, a in found.items():
        assert a.dtype == np.float32 and np.allclose(a, expected[name], rtol=1e-5), name


def test_the_average_agrees_with_pytorch(torch, device):
    trainer, decay = small(device), 0.05  # below (1 + t) / (10 + t) from the first update on
    p = torch.nn.Parameter(torch.zeros(2, 3))
    average = torch.optim.swa_utils.AveragedModel(
        torch.nn.ParameterList([p]), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay)
    )

    class Watch(Callback):
        def on_batch_end(self, trainer):
            with torch.no_grad():
                p.copy_(torch.tensor(trainer.model[0].weight.numpy()))
            average.update_parameters(torch.nn.ParameterList([p]))

    trainer.fit(loader(), epochs=2, callbacks=[Watch(), AverageWeights(decay)], progress=False)
    np.testing.assert_allclose(
        trainer.model[0].weight.numpy(), next(average.parameters()).detach(), rtol=1e-5, atol=1e-8
    )


def test_the_average_is_validated_and_is_not_trained_from(device):
    class Watch(Callback):
        def on_batch_end(self, trainer):
            own.append(weights(trainer))

    own = []
    fit(spiral_trainer(device=device), Watch(), epochs=3)
    trained, own, averaged = own, [], spiral_trainer(device=device)
    fit(averaged, Watch(), AverageWeights(0.99), epochs=3)
    np.testing.assert_array_equal(trained, own)
    assert (weights(averaged) != own[-1]).any(), "the average is the last step's weights"
    assert np.isclose(averaged.evaluate(SPIRALS)["loss"], averaged.history["valid_loss"][-1])


@pytest.mark.parametrize("at", [(0, 10), (1, 5), (2, 1)])
def test_the_average_survives_a_resume_to_the_bit(tmp_path, at, device):
    def callbacks(path, *more):
        return AverageWeights(0.9), EarlyStopping(9), Checkpoint(tmp_path / path, every=2), *more

    whole = spiral_trainer(**exact(device))
    fit(whole, *callbacks("whole"), epochs=4)
    with pytest.raises(KeyboardInterrupt):
        fit(spiral_trainer(**exact(device)), *callbacks("run", Interrupt(*at)), epochs=4)
    second = spiral_trainer(**exact(device))
    fit(second, *callbacks("run"), epochs=4, resume=tmp_path / "run")
    np.testing.assert_array_equal(weights(second), weights(whole))
    assert whole.history == second.history


def test_the_average_goes_back_to_its_device(tmp_path, device):
    whole, path = small(device), tmp_path / "run"
    fit(whole, AverageWeights(0.9), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        fit(small(device), AverageWeights(0.9), Checkpoint(path), Interrupt(1, 3), epochs=2)
    second = small(device)
    fit(second, AverageWeights(0.9), epochs=2, resume=path)
    pairs = zip(whole.model.tensors(), second.model.tensors(), strict=True)
    for (name, a), (_, b) in pairs:
        np.testing.assert_array_equal(a.numpy(), b.numpy(), name)
        assert b.device == device, name


def test_the_average_learns(device):
    trainer = spiral_trainer(device=device)
    fit(trainer, AverageWeights(0.9), epochs=40)
    assert trainer.history["valid_accuracy"][-1] > 0.95


def test_an_average_needs_a_share_to_keep():
    for decay in (-0.1, 1.0, 2):
        with pytest.raises(ValueError, match=r"decay must be in \[0, 1\)"):
            AverageWeights(decay)


def test_a_callback_of_ones_own_keeps_numbers_and_arrays(tmp_path, device):
    class Own(Callback):
        kept = "count", "arrays"

        def __init__(self):
            self.count, self.arrays = 0, {}

        def on_batch_end(self, trainer):
            self.count += 1
            self.arrays = {"a.b": devices.to_device(np.full(2, self.count), trainer.device)}

    path = tmp_path / "run.safetensors"
    fit(spiral_trainer(device=device), Own(), Own(), Checkpoint(path), epochs=1)
    one, two = Own(), Own()
    trainer = spiral_trainer()
    trainer.callbacks = [one, two]
    trainer.load(path)
    assert one.count == two.count == 10 and one.arrays["a.b"].tolist() == [10, 10]
    assert "Own-1-arrays.a.b" in io.load(path)[0]


# ---- what is given wrongly


def test_one_callback_needs_no_list():
    trainer, stop = spiral_trainer(), EarlyStopping(1, monitor="loss", largest=True)
    trainer.fit(SPIRALS, epochs=9, callbacks=stop, progress=False)
    assert trainer.stopped and trainer.epoch < 9 and trainer.callbacks == [stop]


@pytest.mark.parametrize(
    "name, hint",
    [
        ("on_epoch_ends", "did you mean 'on_epoch_end'"),
        ("on_batch_begin", "did you mean 'on_batch_end'|did you mean 'on_train_begin'"),
        ("on_test_begin", "did you mean 'on_train_begin'"),
    ],
)
def test_a_method_that_no_event_calls_is_named(name, hint):
    with pytest.raises(TypeError, match=rf"Mine\.{name} would never be called; .*({hint})"):
        type("Mine", (Callback,), {name: lambda self, trainer: None})
    type("Mine", (Callback,), {"once": lambda self: None, "on_epoch_end": lambda self, t: None})


def test_numbers_of_callbacks_are_checked():
    for make, complaint in [
        (lambda: EarlyStopping(2.5), "EarlyStopping: patience must be a whole number from 0"),
        (lambda: ReduceOnPlateau(-1), "ReduceOnPlateau: patience .* got -1"),
        (lambda: Checkpoint("run", every=0), "Checkpoint: every must be a whole number from 1"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            make()
    for function in (optim.cosine, lambda epoch: None):
        with pytest.raises(ValueError, match="lr must be a finite number, 0 or more, got"):
            fit(spiral_trainer(), Schedule(function))


def test_a_log_that_cannot_be_written_leaves_the_old_one_whole(tmp_path, monkeypatch):
    trainer, log = spiral_trainer(), CSVLog(tmp_path / "log.csv")
    fit(trainer, log, epochs=1)
    before = (tmp_path / "log.csv").read_text(encoding="utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the old file is unchanged"):
        fit(trainer, log, epochs=1)
    assert (tmp_path / "log.csv").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    "event",
    [
        lambda self, epoch, logs=None: None,
        lambda self, logs=None: None,
        lambda self, epoch, logs: None,
    ],
)
def test_events_as_keras_calls_them_are_refused(event):
    with pytest.raises(TypeError, match=r"on_epoch_end is given the trainer alone.*trainer\.logs"):
        type("Mine", (Callback,), {"on_epoch_end": event})


def test_an_attribute_of_keras_callbacks_is_told_where_it_is():
    with pytest.raises(AttributeError, match=r"trainer\.model"):
        _ = type("Mine", (Callback,), {})().model


@pytest.mark.parametrize("name", ["stop_training", "should_stop"])
def test_to_stop_by_another_name_is_refused(name):
    model = nn.Linear(3, 2)
    trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), "mse")
    with pytest.raises(AttributeError, match=r"would change nothing; .*trainer\.stopped = True"):
        setattr(trainer, name, True)
    trainer.stopped = True
    trainer.mine = 3


@pytest.mark.parametrize("names", [("accuracy", "loss"), ("loss", "accuracy")])
def test_curves_of_a_history_that_begins_or_ends_with_a_metric(names):
    pytest.importorskip("matplotlib")
    figure = plot_history({name: [2, 1] for name in names})
    assert [(a.get_xlabel(), a.get_ylabel()) for a in figure.axes] == [
        ("epoch", "loss"),
        ("epoch", "accuracy"),
    ]
    assert {a.get_xscale() for a in figure.axes} == {"linear"}


def test_the_best_weights_come_back_also_where_an_error_is_handled():
    """Load it, or else train it, is often written with except."""
    found = []
    for raised in (False, True):
        trainer = spiral_trainer()
        callbacks = Pretend(3, 1, 2, 2, 2), EarlyStopping(patience=2)
        try:
            if raised:
                raise FileNotFoundError
            fit(trainer, *callbacks, epochs=5)
        except FileNotFoundError:
            fit(trainer, *callbacks, epochs=5)
        assert not trainer.failed
        np.testing.assert_array_equal(weights(trainer), callbacks[0].found[2])
        found.append(weights(trainer))
    np.testing.assert_array_equal(*found)
