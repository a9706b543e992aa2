"""Processes that meet through MPI: they end where one does, and none waits for one that left."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import distributed, io
from minidl.engine import devices

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "distributed.py"
# What Open MPI wants to be told: that it may run as root, with more processes than cores.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}  # fmt: skip
LINE = "from minidl import distributed; group = distributed.mpi(); import numpy as np, os, sys\n"


@pytest.fixture(scope="module")
def mpiexec():
    """A function that runs a program in n processes and gives what came of it."""
    pytest.importorskip("mpi4py", reason="waits for mpi4py (pip install -e '.[mpi]' mpich)")
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("mpiexec")
    if program is None:
        pytest.skip("waits for mpiexec (pip install mpich)")

    def run(n, *words, seconds=300):
        settings = os.environ | OPEN_MPI | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [program, "-n", str(n), sys.executable, *map(str, words)],
            env=settings, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip

    return run


def trained(mpiexec, n, out, epochs=2):
    done = mpiexec(n, EXAMPLE, "--epochs", epochs, "--samples", 700, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1  # one process says it
    assert f"{n} processes" in done.stdout
    return io.load(out / "weights.safetensors")[0]


def same(found, expected):
    for path, a in expected.items():
        np.testing.assert_allclose(found[path], a, rtol=1e-4, atol=1e-5, err_msg=path)


@pytest.mark.slow
def test_processes_end_where_one_does_and_go_on_in_another_number(mpiexec, tmp_path):
    one = trained(mpiexec, 1, tmp_path / "one")
    same(trained(mpiexec, 2, tmp_path / "two"), one)
    trained(mpiexec, 4, tmp_path / "four", epochs=1)
    # From the checkpoint of four processes after one epoch, in two, in one, and in four again.
    for n in 1, 2:
        shutil.copytree(tmp_path / "four", tmp_path / f"copy {n}")
        same(trained(mpiexec, n, tmp_path / f"copy {n}"), one)
    same(trained(mpiexec, 4, tmp_path / "four"), one)


KILLED_IN_FIT = """
import os, runpy, sys
from mpi4py import MPI
from minidl import train

class Dies(train.Callback):
    def on_batch_end(self, trainer):
        if trainer.epoch == 1 and MPI.COMM_WORLD.rank == 1:
            os.kill(os.getpid(), 9)

fit = train.Trainer.fit
def fit_until(trainer, *data, callbacks, **options):
    return fit(trainer, *data, callbacks=[*callbacks, Dies()], **options)
train.Trainer.fit = fit_until
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.slow
def test_a_run_in_which_one_was_killed_goes_on_in_another_number(mpiexec, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(KILLED_IN_FIT.replace("sys.argv[1]", repr(str(EXAMPLE))), encoding="utf-8")
    out = tmp_path / "three"
    words = "--epochs", 2, "--samples", 700, "--out", out
    done = mpiexec(3, program, *words, seconds=120)
    assert done.returncode != 0 and "test accuracy" not in done.stdout
    assert not (out / "weights.safetensors").exists()
    assert (out / "checkpoint.safetensors").exists()  # of the first epoch
    same(trained(mpiexec, 2, out), trained(mpiexec, 1, tmp_path / "one"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "end, said",
    [
        ("raise ValueError('no such thing')", "process 1 of 3 has failed and ends all"),
        ("os.kill(os.getpid(), 9)", "KILLED|Killed|EXIT CODE: 9|signal 9"),
        ("np.zeros(3)[5]", "IndexError"),
    ],
)
def test_a_process_that_dies_ends_all(mpiexec, tmp_path, end, said, note):
    program = tmp_path / "program.py"
    program.write_text(
        LINE + "import pathlib, time\n"
        f"if group.rank == 1: pathlib.Path({str(tmp_path / 'when')!r}).write_text("
        f"str(time.time())); {end}\ngroup.all_reduce(np.ones(3))\n",
        encoding="utf-8",
    )
    done = mpiexec(3, program, seconds=120)  # without an end it would be for ever
    took = time.time() - float((tmp_path / "when").read_text(encoding="utf-8"))
    note(f"ended {took:.1f} s after one of three died: {end}")
    assert took < 10  # with a message, below
    assert done.returncode != 0
    assert re.search(said, done.stdout + done.stderr)


@pytest.mark.slow
def test_sums_and_copies(mpiexec, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        LINE + "for kind in 'float16', 'float32', 'float64':\n"
        "    a = np.full(5, group.rank + 1, kind); group.all_reduce(a)\n"
        "    assert a.dtype == kind and (a == 6).all(), a\n"
        "a = np.full(5, 200 + group.rank, 'uint8'); group.broadcast(a)\n"
        "assert (a == 200).all() and repr(group) == f'Group(rank={group.rank}, size=3)'\n"
        "print('done')\n",
        encoding="utf-8",
    )
    done = mpiexec(3, program)
    assert done.stdout.count("done") == 3, done.stderr


@pytest.mark.slow
def test_data_of_other_lengths_end_all_with_words(mpiexec, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        LINE + "from minidl import nn, optim, train\n"
        "model = nn.Linear(3, 2)\n"
        "trainer = train.Trainer(model, optim.SGD(model.parameters(), 0.1), 'mse', group=group)\n"
        "n = 100 - 70 * group.rank\n"
        "trainer.fit(np.ones((n, 3), 'f'), np.ones((n, 2), 'f'))\n",
        encoding="utf-8",
    )
    done = mpiexec(2, program, seconds=120)
    assert done.returncode != 0
    assert "the processes have different data" in done.stderr and "MPI_ERR" not in done.stderr


def test_without_mpi_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "minidl\[mpi\]".*pip install mpich'):
        distributed.mpi()


def test_arrays_of_a_device_travel_by_way_of_the_host(monkeypatch, device):
    def add_one(inplace, a):
        assert type(a) is np.ndarray and a.dtype != np.float16
        a += 1

    world = SimpleNamespace(rank=0, size=2, Allreduce=add_one, Bcast=lambda a, root: None)
    mpi = SimpleNamespace(COMM_WORLD=world, IN_PLACE=None)
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # put back after the test
    group = distributed.mpi()
    for kind in "float32", "float16":
        a = devices.to_device(np.ones(4, kind), device)
        group.all_reduce(a)
        np.testing.assert_array_equal(devices.to_numpy(a), np.full(4, 2, kind))
        assert a.dtype == kind


def test_an_error_that_nobody_catches_ends_the_others(monkeypatch, capsys):
    ended = []
    world = SimpleNamespace(rank=1, size=2, Abort=ended.append)
    mpi = SimpleNamespace(COMM_WORLD=world)
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=mpi))
    monkeypatch.setattr(sys, "excepthook", lambda *error: print("first", file=sys.stderr))
    distributed.mpi()
    sys.excepthook(ValueError, ValueError("x"), None)
    assert ended == [1]
    assert capsys.readouterr().err == "first\nprocess 1 of 2 has failed and ends all\n"
