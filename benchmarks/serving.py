"""examples/server.py under load, with minidl and with onnxruntime behind the same front.

    python -m benchmarks.serving [--seconds 10] [--rounds 3]

Prints a table: requests a second, the median and the 99th percentile of the answer's time, and how
far the server's memory rose over at least 10^5 requests.  The load comes from wrk (Debian's package
of that name) on this machine, 32 connections, one image each, the network of W3.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

import minidl
from minidl.onnx import export

from . import workloads

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 32
REQUESTS = 100_000
SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
wrk.headers["Content-Type"] = "application/octet-stream"
"""


class Server:
    """The example, started for one engine, until `end`."""

    def __init__(self, path, engine):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        words = [ROOT / "examples" / "server.py", path, "--port", port, "--engine", engine]
        self.process = subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT)
        self.url, self.requests = f"http://127.0.0.1:{port}", 0
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.url}/health")
                break
            except OSError:
                time.sleep(0.1)

    def memory(self):
        """Megabytes of resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3

    def loaded(self, script, seconds):
        """Requests a second, median and 99th percentile in ms, as wrk tells."""
        done = subprocess.run(
            ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", script, "--latency",
             f"{self.url}/predict"], capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "Non-2xx" not in done.stdout, done.stdout
        self.requests += int(re.search(r"(\d+) requests in", done.stdout)[1])
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
        late = dict(re.findall(r"^ +(50|99)% +(\S+)$", done.stdout, re.MULTILINE))
        return rate, in_ms(late["50"]), in_ms(late["99"])

    def end(self):
        self.process.terminate()
        self.process.wait()


def in_ms(text):
    """wrk's "812.00us", "3.10ms" or "1.20s" in milliseconds."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk makes the load: apt install wrk")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        minidl.manual_seed(0)
        model = workloads.cnn(workloads.OURS)
        export(model, place / "cnn.onnx", np.zeros((2, 1, 28, 28), "float32"))
        image = np.random.default_rng(0).random((1, 28, 28), dtype=np.float32)
        (place / "image").write_bytes(image.tobytes())
        script = place / "post.lua"
        script.write_text(SCRIPT.format(body=place / "image"), encoding="utf-8")
        servers = {name: Server(place / "cnn.onnx", name) for name in ("minidl", "onnxruntime")}
        found = {name: [] for name in servers}
        try:
            for server in servers.values():
                server.loaded(script, 5)  # every size of batch has been met
            before = {name: server.memory() for name, server in servers.items()}
            for _ in range(options.rounds):
                for name, server in servers.items():
                    found[name].append(server.loaded(script, options.seconds))
            for server in servers.values():
                while server.requests < REQUESTS:
                    server.loaded(script, options.seconds)
            print("| engine | a second | median, ms | 99 %, ms | requests | MB before, after |")
            print("|---|--:|--:|--:|--:|--:|")
            for name, server in servers.items():
                rate, middle, late = np.median(found[name], axis=0)
                print(f"| {name} | {rate:.0f} | {middle:.1f} | {late:.1f} | {server.requests:,} | "
                      f"{before[name]:.0f}, {server.memory():.0f} |")  # fmt: skip
        finally:
            for server in servers.values():
                server.end()


if __name__ == "__main__":
    main()
