"""`python -m minidl` says what is there, whatever is missing."""

import subprocess
import sys

import numpy as np

import minidl
from minidl import __main__
from minidl.data import datasets
from minidl.gpu import streams


def test_prints_what_it_finds_and_ends_well():
    done = subprocess.run([sys.executable, "-m", "minidl"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line[:8].strip() for line in lines[:6]] == [
        "minidl",
        "Python",
        "NumPy",
        "BLAS",
        "GPU",
        "Data",
    ]
    assert lines[0].split()[1] == minidl.__version__
    assert lines[2].split()[1] == np.__version__
    assert all(line[7] == " " and line[8] != " " for line in lines), "one column, aligned"


def test_names_every_data_set_and_the_gpu_sentence(monkeypatch, capsys):
    monkeypatch.setattr(streams, "status", lambda: "one sentence")
    monkeypatch.setattr(datasets, "available", lambda: {"digits": "here", "penguins": "not here"})
    __main__.main()
    out = capsys.readouterr().out
    assert "GPU     one sentence\n" in out
    assert out.endswith("Data    digits    here\n        penguins  not here\n")


def test_without_threadpoolctl_the_threads_are_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert "threads unknown" in __main__.blas()
