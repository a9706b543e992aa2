"""The example that serves predictions: many at once, wrong requests, and how it ends."""

import contextlib
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
RAW, JSON = "application/octet-stream", "application/json"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def started(path, port, *options):
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, SERVER, path, "--port", str(port), *options]
    return subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)


def ask(port, body, kind=RAW):
    """Status and answer of a request."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"content-type": kind}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def as_json(x):
    return json.dumps({"x": x}).encode()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model, and its file."""
    path = tmp_path_factory.mktemp("server") / "model.onnx"
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval()
    export(model, path, np.zeros((2, 1, 8, 8), "float32"))
    return model, path


class Ended(nn.Module):
    """A model with one more function at its end."""

    def __init__(self, model, end):
        self.model, self.end = model, end

    def forward(self, x):
        return self.end(self.model(x))


@pytest.fixture(scope="module", params=["minidl", "onnxruntime"])
def port(request, model):
    """Where a server of each engine answers."""
    with serving(model[1], "--engine", request.param, "--batch", "8") as port:
        yield port


@contextlib.contextmanager
def serving(path, *options):
    """Where a server answers, which ends with the block."""
    port = free_port()
    process = started(path, port, *options)
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
        (b"", RAW, "expected 64 numbers"),
        (b"abc", RAW, "3 bytes"),
        (np.zeros(63, "f4").tobytes(), RAW, "got 63"),
        (np.full(64, np.nan, "f4").tobytes(), RAW, "finite"),
        (np.full(64, 3e38, "f4").tobytes(), RAW, "too large"),  # finite, but its scores are not
        (b"{}", JSON, '"x"'),
        (b"[1, 2", JSON, "no JSON"),
        (b"\xff\xfe\x00", JSON, "no JSON"),
        (b"[" * 200_000, JSON, "no JSON"),
        (b'{"x": [1, "a"]}', JSON, "numbers alone"),
        (as_json(["1"] * 64), JSON, "numbers alone"),
        (as_json([True] * 64), JSON, "numbers alone"),
        (as_json(None), JSON, "numbers alone"),
        (as_json({"a": 1}), JSON, "numbers alone"),
        (as_json([[1, 2], [3]]), JSON, "numbers alone"),
        (as_json([0.0] * 63), JSON, "(1, 8, 8)"),
        (as_json(np.zeros((8, 8)).tolist()), JSON, "got (8, 8)"),
        (as_json(np.zeros((8, 8, 1)).tolist()), JSON, "got (8, 8, 1)"),
        (as_json([float("nan")] * 64), JSON, "finite"),
        (as_json([1e300] * 64), JSON, "finite"),
        (as_json([10**400] * 64), JSON, "finite"),
        (b'{"x": [1' + b"0" * 6000 + b"]}", JSON, "(1, 8, 8)"),
    ],
)
def test_a_wrong_request_is_told_and_the_next_is_answered(port, body, kind, said):
    status, answer = ask(port, body, kind)
    assert status == 400 and said in answer["error"], answer
    assert ask(port, np.zeros(64, "f4").tobytes())[0] == 200


def test_the_body_is_what_its_content_type_says(port):
    zeros = np.zeros((1, 8, 8), "f4")
    for kind in JSON, "Application/JSON", "application/json; charset=utf-8":
        assert ask(port, as_json(zeros.tolist()), kind)[0] == 200, kind
        assert ask(port, as_json([0] * 64), kind)[0] == 200, kind
    assert ask(port, zeros.tobytes(), "Application/Octet-Stream; x=y")[0] == 200
    # The second is what curl says where it is told nothing.
    for kind in "text/plain", "application/x-www-form-urlencoded", "application/jsonl", "":
        status, answer = ask(port, zeros.tobytes(), kind)
        assert status == 415 and f"{RAW} or {JSON}" in answer["error"], kind


@pytest.mark.parametrize("engine", ["minidl", "onnxruntime"])
def test_a_model_that_ends_in_a_softmax_gets_no_other(model, tmp_path, engine):
    x = np.random.default_rng(1).standard_normal((1, 1, 8, 8)).astype("f4")
    with minidl.no_grad():
        expected = F.softmax(model[0](minidl.tensor(x))).numpy()[0]
    export(Ended(model[0], F.softmax), tmp_path / "soft.onnx", np.zeros((2, 1, 8, 8), "f4"))
    with serving(tmp_path / "soft.onnx", "--engine", engine, "--batch", "3") as port:
        np.testing.assert_allclose(ask(port, x.tobytes())[1]["p"], expected, atol=1e-5)


def test_what_cannot_be_served_is_said(model, tmp_path):
    zeros = np.zeros((2, 1, 8, 8), "f4")
    export(nn.Conv2d(1, 2, 3), tmp_path / "map.onnx", zeros)
    export(nn.Sequential(nn.Flatten(), nn.Linear(64, 1)), tmp_path / "one.onnx", zeros)
    export(Ended(model[0], lambda y: (y, 2 * y)), tmp_path / "two.onnx", zeros)
    gpt = nn.GPT(n_tokens=5, context=8, width=4, heads=1, layers=1)
    export(gpt, tmp_path / "gpt.onnx", np.zeros((2, 8), "int64"), axes=("N", "T"))
    (tmp_path / "torn.onnx").write_bytes(model[1].read_bytes()[:1000])
    for options, said in [
        (["nowhere.onnx"], "nowhere.onnx is not there"),
        ([model[1], "--threads", "0"], "--threads: expected a whole number from 1"),
        ([model[1], "--batch", "0"], "--batch: expected a whole number from 1"),
        ([model[1], "--batch", "x"], "--batch: expected a whole number from 1"),
        ([model[1], "--port", "99999"], "--port: expected a whole number from 0 to 65535"),
        ([__file__], "test_server.py is no model"),
        ([tmp_path], "is no model"),
        ([tmp_path / "torn.onnx"], "torn.onnx is no model"),
        ([tmp_path / "map.onnx"], "gives tensor(float) (N, 2, 6, 6), not float32 (N, K)"),
        ([tmp_path / "one.onnx"], "no choice"),
        ([tmp_path / "two.onnx"], "2 outputs"),
        ([tmp_path / "gpt.onnx"], "tensor(int64)"),
    ]:
        process = started(options[0], free_port(), *options[1:])
        words = " ".join(process.communicate(timeout=120)[1].split())
        assert process.returncode == 2 and "Traceback" not in words, words
        assert said in words, words


def test_a_port_in_use_is_said(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = started(model[1], taken.getsockname()[1])
        said = process.communicate(timeout=120)[1]
    assert process.returncode != 0 and "address already in use" in said
