"""docs/grading.md: its commands run as they stand there, from a fresh clone."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_grading import ROOT

from grading import sandbox

DOCUMENT = ROOT / "docs" / "grading.md"


def commands():
    """Pairs (number, command) of the ten."""
    block = DOCUMENT.read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    found = [re.fullmatch(r"(.+?) +# (\d+) .*", line) for line in block.splitlines()]
    return [(int(match[2]), match[1]) for match in found]


def test_there_are_ten():
    assert [number for number, _ in commands()] == list(range(1, 11))


@pytest.mark.slow
@pytest.mark.skipif(not sandbox.available(), reason="waits for bubblewrap (apt install bubblewrap)")
@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone of git")
def test_the_commands_run_as_written_from_a_fresh_clone(tmp_path):
    """The first four install; the tests that are running show that they did."""
    place = tmp_path / "minidl"
    subprocess.run(["git", "clone", "-q", ROOT, place], check=True)
    here = f"{place}{os.pathsep}{place / 'exercises'}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": here, "PATH": path}
    for number, command in commands():
        if number < 5:
            continue
        done = subprocess.run(
            command, shell=True, cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["student"]: row["07"] for row in rows} == {"alice": "13", "bob": "0"}
    assert "13 of 13" in (place / "graded" / "students" / "alice.html").read_text(encoding="utf-8")
    status = ["git", "status", "--porcelain"]
    assert not subprocess.run(status, cwd=place, capture_output=True, text=True).stdout
