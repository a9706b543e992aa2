"""The example that serves predictions: many at once, wrong requests, and how it ends."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F

pytest.importorskip("onnxruntime", reason="waits for onnxruntime (pip install -e '.[onnx]')")
pytest.importorskip("starlette", reason="waits for starlette (pip install -e '.[serve]')")
pytest.importorskip("uvicorn", reason="waits for uvicorn (pip install -e '.[serve]')")

from minidl.onnx import export

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
SERVER = ROOT / "examples" / "server.py"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def started(path, port, *options):
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, SERVER, path, "--port", str(port), *options]
    return subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)


def ask(port, body, kind="application/octet-stream"):
    """Status and answer of a request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"content-type": kind}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model, and its file."""
    path = tmp_path_factory.mktemp("server") / "model.onnx"
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    export(model, path, np.zeros((2, 1, 8, 8), "float32"))
    return model, path


@pytest.fixture(params=["minidl", "onnxruntime"])
def port(request, model):
    """Where a server of each engine answers."""
    port = free_port()
    process = started(model[1], port, "--engine", request.param, "--batch", "8")
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise AssertionError(process.stderr.read())
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60)
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def test_many_at_once_get_the_answers_that_belong_to_them(model, port):
    x = np.random.default_rng(0).standard_normal((300, 1, 8, 8)).astype("float32")
    with minidl.no_grad():
        expected = F.softmax(model[0](minidl.tensor(x))).numpy()
    with ThreadPoolExecutor(16) as pool:
        found = [*pool.map(lambda one: ask(port, one.tobytes()), x)]
    assert {status for status, _ in found} == {200}
    np.testing.assert_allclose([answer["p"] for _, answer in found], expected, atol=1e-5)
    assert [answer["label"] for _, answer in found] == expected.argmax(1).tolist()
    body = json.dumps({"x": x[0].tolist()}).encode()
    status, answer = ask(port, body, "application/json")
    assert status == 200
    np.testing.assert_allclose(answer["p"], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    "body, kind, said",
    [
        (b"", "application/octet-stream", "expected 64 numbers"),
        (b"abc", "application/octet-stream", "3 bytes"),
        (np.zeros(63, "f4").tobytes(), "application/octet-stream", "got 63"),
        (np.full(64, np.nan, "f4").tobytes(), "application/octet-stream", "finite"),
        (b"{}", "application/json", '"x"'),
        (b"[1, 2", "application/json", "delimiter"),
        (b'{"x": [1, "a"]}', "application/json", "could not convert"),
    ],
)
def test_a_wrong_request_is_told_and_the_next_is_answered(port, body, kind, said):
    status, answer = ask(port, body, kind)
    assert status == 400 and said in answer["error"]
    assert ask(port, np.zeros(64, "f4").tobytes())[0] == 200


def test_a_port_in_use_and_a_missing_file_are_said(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = started(model[1], taken.getsockname()[1])
        said = process.communicate(timeout=120)[1]
    assert process.returncode != 0 and "address already in use" in said
    process = started("nowhere.onnx", free_port())
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1 and "nowhere.onnx is not there" in said
