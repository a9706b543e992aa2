"""What all tests share: devices, seeds, and an honest count of the checks that had to wait."""

import os
from collections import Counter
from pathlib import Path

import pytest
import standin

from minidl import backend

backend.add_device("standin", standin.module, standin.StandinArray)
DEVICES = ["cpu", "standin"]
if backend.cuda_status().startswith("available"):
    DEVICES.append("cuda")

waiting = Counter()
HOW = {"PyTorch": "make torch installs it"}


def pytest_addoption(parser):
    parser.addoption("--device", help="run the tests of devices on this one alone")


def pytest_generate_tests(metafunc):
    if "device" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--device")
        metafunc.parametrize("device", [chosen] if chosen else DEVICES)


@pytest.fixture(autouse=True)
def _seed():
    backend.manual_seed(0)


@pytest.fixture(scope="session")
def torch():
    try:
        import torch
    except ImportError:
        pytest.skip("waits for PyTorch")
    return torch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Count what waits; where nothing may wait (CI), waiting is a failure."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith("waits for "):
            waiting[reason.removeprefix("waits for ")] += 1
            if os.environ.get("MINIDL_NOTHING_WAITS"):
                report.outcome, report.longrepr = "failed", f"nothing may wait here: {reason}"
    return report


def pytest_terminal_summary(terminalreporter, config):
    lines = [
        f"{n} checks waited for {what}" + (f" ({HOW[what]})" if what in HOW else "")
        for what, n in waiting.items()
    ]
    for line in lines:
        terminalreporter.write_line(line)
    kept = Path(config.rootpath, ".pytest_cache", "waited")
    kept.unlink(missing_ok=True)
    if lines and kept.parent.is_dir():
        kept.write_text("\n".join(lines) + "\n", encoding="utf-8")
