"""The devices that tests run on, the same random numbers before each, and a count of what waited.

A test that asks for `device` runs once for each: "cpu", the stand-in, and "cuda" where there is a
GPU.  A test that lacks an optional thing skips with a reason that begins with "waits for ".
Tests may run in several processes (`-n`, pytest-xdist): what one of them has to say travels with
its report to the process that writes the summary.
"""

import functools
import http.server
import os
import shutil
import threading
from collections import Counter
from functools import partial

# Several processes share the cores: each takes its part of them, which NumPy and PyTorch must be
# told before they are imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    for _library in ("OPENBLAS", "OMP", "MKL"):
        share = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault(f"{_library}_NUM_THREADS", str(share))

import hypothesis
import pytest
from standin import StandinArray, standin

from minidl.engine import devices, random
from minidl.gpu import doubts, streams

devices.add_device("standin", standin, StandinArray)
CUDA = streams.status()
DEVICES = ["cpu", "standin"] + ["cuda"] * CUDA.startswith("available")

WAITS = "waits for "
PHONE = 390, 844  # pixels of a common phone
NOTE = "note"  # the name under which a report carries a line to say at the end
SLOW = 5  # seconds; what takes longer has no place in `make test-fast`
HELP = {
    "PyTorch": " (make torch installs it)",
    "basedpyright": " (.venv/bin/python -m pip install -e '.[types]')",
}

# Other people's work slows a machine down; the same examples each time, so a failure comes back.
hypothesis.settings.register_profile("minidl", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("minidl")


def is_slow(item):
    """Whether a test is left out of `make test-fast`."""
    return item.get_closest_marker("slow") is not None


def pytest_addoption(parser):
    parser.addoption("--device", help="of the tests that run on each device, only those on this")


def pytest_configure(config):
    chosen = config.getoption("--device")
    if chosen and chosen not in DEVICES:
        reason = f": {CUDA}" if chosen == "cuda" else ""
        raise pytest.UsageError(f"--device: expected one of {DEVICES}, got {chosen!r}{reason}")


def pytest_collection_modifyitems(config, items):
    items.sort(key=is_slow)  # so what is quick to fail fails first; otherwise the order stays
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


@pytest.fixture(scope="module")
def chromium():
    """Starts Chromium of a phone's size; ends all that were started."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason=WAITS + "selenium (pip install -e '.[browser]')"
    )
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip(WAITS + "Chromium (apt install chromium chromium-driver)")
    open_ones = []

    def start():
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in (
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(driver)
        found = webdriver.Chrome(options, service)
        open_ones.append(found)
        width, height = PHONE
        found.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True},
        )
        return found

    yield start
    for one in open_ones:
        one.quit()


@pytest.fixture
def served():
    """Serves a folder at an address on this machine, until the test ends."""
    servers = []

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _same_seed():
    random.manual_seed(0)
    doubts._doubts.clear()


@pytest.fixture
def note(record_property):
    """A function that has a line said at the end of the run."""
    return partial(record_property, NOTE)


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
    """Say the notes, and how many checks waited; also into files.

    .pytest_cache/waited: these lines, for `make test` to say last.  .pytest_cache/waited_tests: the
    tests, one a line, as `pytest @file` takes them; CI runs these where nothing is missing.
    """
    stats = terminalreporter.stats
    reports = [report for kind in ("passed", "failed") for report in stats.get(kind, [])]
    for report in reports:
        for name, line in report.user_properties if report.when == "call" else ():
            if name == NOTE:
                terminalreporter.write_line(line)
    if config.option.markexpr == "not slow":
        for report in reports:
            if report.when == "call" and report.duration > SLOW:
                what = f"{report.nodeid} took {report.duration:.0f} s"
                terminalreporter.write_line(f"{what}; if it does so often, mark it slow")
    tests = {r.nodeid: what for r in stats.get("skipped", []) if (what := _waited(r)) is not None}
    lines = [
        f"{n} {'check' if n == 1 else 'checks'} waited for {what}{HELP.get(what, '')}"
        for what, n in sorted(Counter(tests.values()).items())
    ]
    for line in lines:
        terminalreporter.write_line(line)
    folder = config.rootpath / ".pytest_cache"
    for name, text in ("waited", lines), ("waited_tests", tests):
        (folder / name).unlink(missing_ok=True)
        if text:
            folder.mkdir(exist_ok=True)
            (folder / name).write_text("".join(f"{line}\n" for line in text), encoding="utf-8")
