"""What a run of tests says at its end is the same in one process and in several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ONE = """
import os, pytest

def test_that_notes(note):
    note("a line to say")

@pytest.mark.parametrize("what", ["a unicorn", "a unicorn [of two]"])
def test_that_waits(what):
    pytest.skip("waits for a unicorn")

def test_that_is_skipped():
    pytest.skip("there is no reason to wait")

@pytest.mark.slow
def test_first_in_the_file_and_last_to_run():
    cores = max(1, os.cpu_count() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
    assert int(os.environ.get("OPENBLAS_NUM_THREADS", 1)) <= cores
"""
TWO = """
import pytest
pytest.importorskip("nothing_of_this_name", reason="waits for a dragon")
"""
SAID = ["a line to say", "1 check waited for a dragon", "2 checks waited for a unicorn"]
WAITED = [
    "test_one.py::test_that_waits[a unicorn [of two]]",
    "test_one.py::test_that_waits[a unicorn]",
    "test_two.py",
]


def run(folder, *options, **environment):
    """pytest's process in `folder`, with this folder's conftest."""
    (folder / "test_one.py").write_text(ONE, encoding="utf-8")
    (folder / "test_two.py").write_text(TWO, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow\n", encoding="utf-8")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    own = ("PYTEST_", "MINIDL_", "OPENBLAS_NUM", "OMP_NUM", "MKL_NUM")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", *options], cwd=folder,
        env=kept | environment | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [(), ("-n", "2", "--dist", "worksteal")], ids=["one", "several"]
)
@pytest.mark.slow
def test_what_waited_and_what_is_noted_is_said(tmp_path, options):
    done = run(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [lines.count(line) for line in SAID] == [1, 1, 1], done.stdout
    cache = tmp_path / ".pytest_cache"
    assert (cache / "waited").read_text(encoding="utf-8").splitlines() == SAID[1:]
    tests = (cache / "waited_tests").read_text(encoding="utf-8").splitlines()
    assert sorted(tests) == WAITED
    # CI gives this file back to pytest where nothing is missing.
    again = ["--continue-on-collection-errors", f"@{cache / 'waited_tests'}"]
    done = run(tmp_path, *options, *again, MINIDL_NOTHING_WAITS="1")
    assert done.returncode != 0, done.stdout
    for what, n in ("a unicorn", 2), ("a dragon", 1):
        reason = f"waits for {what}, and MINIDL_NOTHING_WAITS is set"
        assert done.stdout.count(reason) >= n, done.stdout
    assert "passed" not in done.stdout and not (cache / "waited").exists()
