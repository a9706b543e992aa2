"""The devices that tests run on, the same random numbers before each, and a count of what waited.

A test that asks for `device` runs once for each: "cpu", the stand-in, and "cuda" where there is a
GPU.  A test that lacks an optional thing skips with a reason that begins with "waits for ".
"""

import os
from collections import Counter

import hypothesis
import pytest
from standin import StandinArray, standin

from minidl import backend

backend.add_device("standin", standin, StandinArray)
CUDA = backend.cuda_status()
DEVICES = ["cpu", "standin"] + ["cuda"] * CUDA.startswith("available")

WAITS = "waits for "
NOTES = pytest.StashKey[list[str]]()
HELP = {"PyTorch": " (make torch installs it)"}

# Other people's work slows a machine down; the same examples each time, so a failure comes back.
hypothesis.settings.register_profile("minidl", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("minidl")


def pytest_addoption(parser):
    parser.addoption("--device", help="of the tests that run on each device, only those on this")


def pytest_configure(config):
    chosen = config.getoption("--device")
    if chosen and chosen not in DEVICES:
        reason = f": {CUDA}" if chosen == "cuda" else ""
        raise pytest.UsageError(f"--device: expected one of {DEVICES}, got {chosen!r}{reason}")


def pytest_collection_modifyitems(config, items):
    chosen = config.getoption("--device")
    if not chosen:
        return
    params = [getattr(item, "callspec", None) and item.callspec.params for item in items]
    keep = [not p or p.get("device", chosen) == chosen for p in params]
    config.hook.pytest_deselected(items=[item for item, kept in zip(items, keep) if not kept])
    items[:] = [item for item, kept in zip(items, keep) if kept]


@pytest.fixture(params=DEVICES)
def device(request):
    """The name of a device, each in turn."""
    return request.param


@pytest.fixture
def torch():
    """The real PyTorch, to compare with."""
    try:
        import torch
    except ImportError:
        pytest.skip(WAITS + "PyTorch")
    return torch


@pytest.fixture(autouse=True)
def _same_seed():
    backend.manual_seed(0)
    backend._doubts.clear()


@pytest.fixture
def note(request):
    """A function that has a line said at the end of the run."""
    return request.config.stash.setdefault(NOTES, []).append


def _waited(report):
    """What a skipped test waits for, or None."""
    if not report.skipped or not isinstance(report.longrepr, (tuple, list)):
        return None
    reason = report.longrepr[2].removeprefix("Skipped: ")
    return reason.removeprefix(WAITS) if reason.startswith(WAITS) else None


def _fail_if_it_waits(report):
    """Where nothing may wait (CI sets MINIDL_NOTHING_WAITS=1), a test that waits has failed."""
    what = _waited(report)
    if what is not None and os.environ.get("MINIDL_NOTHING_WAITS") == "1":
        report.outcome = "failed"
        report.longrepr = f"waits for {what}, and MINIDL_NOTHING_WAITS is set"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _fail_if_it_waits((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _fail_if_it_waits((yield))


def pytest_terminal_summary(terminalreporter, config):
    """Say the notes, and how many checks waited; also into a file, for `make test` to say last."""
    for line in config.stash.get(NOTES, []):
        terminalreporter.write_line(line)
    found = Counter(_waited(report) for report in terminalreporter.stats.get("skipped", []))
    found.pop(None, None)
    lines = [
        f"{n} {'check' if n == 1 else 'checks'} waited for {what}{HELP.get(what, '')}"
        for what, n in sorted(found.items())
    ]
    path = config.rootpath / ".pytest_cache" / "waited"
    path.unlink(missing_ok=True)
    if lines:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        for line in lines:
            terminalreporter.write_line(line)
