"""Serve the predictions of an ONNX file over HTTP: requests that arrive together run as one batch.

    python examples/server.py model.onnx [--port 8000] [--threads 2] [--batch 32]
    curl -H "Content-Type: application/octet-stream" --data-binary @image.float32 \
        http://127.0.0.1:8000/predict

A request is one sample: float32 numbers in the order of the model's input, as bytes
(application/octet-stream), or {"x": [...]} (application/json), of the sample's shape or in one row.
The answer is {"label": k, "p": [...]}, with the probabilities of the K classes: a softmax of what
the model gives, unless its last step is one already, or a sigmoid.  minidl computes, compiled, in
several threads; with --engine onnxruntime that does, behind the same front.  Needs
pip install "minidl[onnx,serve]".
"""

import argparse
import asyncio
import contextlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import minidl
from minidl.nn import functional as F
from minidl.onnx import load
from minidl.web import gives_probabilities

try:
    import onnx
    import onnxruntime
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route
except ImportError as error:
    raise SystemExit(f'{error}; pip install "minidl[onnx,serve]"') from error

WAITING = 1024  # requests; whoever comes when so many wait is told to come again
RAW, JSON = "application/octet-stream", "application/json"


def by_minidl(path, finish):
    """A function x (N, ...) -> probabilities (N, K), NumPy both; finish: of the model's output."""
    model = load(path).eval()

    @minidl.compile
    def answer(x):
        return finish(model(x))

    def predict(x):
        with minidl.no_grad():
            return answer(minidl.tensor(x)).numpy()

    return predict


def by_onnxruntime(path, finish):
    """The same, by onnxruntime with one thread in each run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(finish(session.run(None, {name: x})[0]))


ENGINES = {"minidl": by_minidl, "onnxruntime": by_onnxruntime}


class Batcher:
    """Answers requests by `predict`, those together that wait at the same time."""

    def __init__(self, predict, largest, threads):
        self.predict, self.largest, self.threads = predict, largest, threads
        self.waiting = asyncio.Queue(WAITING)
        self.pool = ThreadPoolExecutor(threads)

    async def answer(self, x):
        """The probabilities (K,) for one sample; asyncio.QueueFull if too many wait."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((x, future))
        return await future

    async def work(self):
        """Without end: take what waits, run it, hand out the answers."""
        loop = asyncio.get_running_loop()
        while True:
            some = [await self.waiting.get()]
            while len(some) < self.largest and not self.waiting.empty():
                some.append(self.waiting.get_nowait())
            rows = [x for x, _ in some]
            try:
                found = await loop.run_in_executor(self.pool, self._run, rows)
            except Exception as error:
                found = [error] * len(some)
            for (_, future), row in zip(some, found):
                if future.done():  # who asked has gone
                    continue
                if isinstance(row, Exception):
                    future.set_exception(row)
                else:
                    future.set_result(row)

    def _run(self, rows):
        """As many rows as the next power of two, so that few sizes are recorded."""
        size = 1
        while size < len(rows):
            size *= 2
        x = np.stack([*rows, *[rows[0]] * (size - len(rows))])
        return self.predict(x)[: len(rows)]


def from_bytes(body, shape):
    """One sample of this shape; ValueError says what is wrong with the body."""
    if len(body) % 4:
        raise ValueError(f"expected float32 numbers, got {len(body)} bytes")
    x = np.frombuffer(body, "<f4")
    if x.size != math.prod(shape):
        raise ValueError(f"expected {math.prod(shape)} numbers, {shape}, got {x.size}")
    return x


def from_json(body, shape):
    """One sample of this shape; ValueError says what is wrong with the body."""
    try:
        found = json.loads(
            body, parse_int=float
        )  # a whole number may be larger than any of NumPy's
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    if not isinstance(found, dict) or "x" not in found:
        raise ValueError('expected {"x": [...]}')
    try:
        x = np.array(found["x"])
    except ValueError:  # lists of different lengths
        x = None
    if x is None or x.dtype != np.float64:
        raise ValueError("expected numbers alone in x, in lists of one length")
    if x.shape not in (shape, (math.prod(shape),)):
        raise ValueError(f"expected numbers {shape}, or all in one row, got {x.shape}")
    return x


READ = {RAW: from_bytes, JSON: from_json}


def sample(body, read, shape):
    """One sample of this shape, by one of READ; ValueError says what is wrong with the body."""
    with np.errstate(over="ignore"):  # what is too large for float32 becomes inf
        x = read(body, shape).astype(np.float32)
    if not np.isfinite(x).all():
        raise ValueError("expected finite numbers, as float32 has them")
    return x.reshape(shape)


def application(predict, shape, largest, threads):
    """The program that a server runs."""
    batcher = Batcher(predict, largest, threads)

    async def post(request):
        media, _, _ = request.headers.get("content-type", "").partition(";")
        read = READ.get(media.strip().lower())
        if read is None:
            words = f"the content-type is {RAW} or {JSON}, got {media!r:.60}"
            return JSONResponse({"error": words}, 415)
        try:
            x = sample(await request.body(), read, shape)
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        try:
            p = await batcher.answer(x)
        except asyncio.QueueFull:
            return JSONResponse({"error": "too many requests wait; come again"}, 503)
        if not np.isfinite(p).all():
            return JSONResponse({"error": "numbers that are too large for the model"}, 400)
        return JSONResponse({"label": int(p.argmax()), "p": p.tolist()})

    async def health(request):
        return JSONResponse({"waiting": batcher.waiting.qsize()})

    @contextlib.asynccontextmanager
    async def life(app):
        size = 1
        while size < 2 * largest:  # record every size before anybody waits for it
            predict(np.zeros((size, *shape), np.float32))
            size *= 2
        tasks = [asyncio.create_task(batcher.work()) for _ in range(threads)]
        yield
        for task in tasks:
            task.cancel()
        batcher.pool.shutdown()

    routes = [Route("/predict", post, methods=["POST"]), Route("/health", health)]
    return Starlette(routes=routes, lifespan=life)


def input_shape(path):
    """The shape of one sample, without the batch.  ValueError for what cannot be served."""
    try:
        session = onnxruntime.InferenceSession(str(path))
    except Exception as error:  # onnxruntime's have no common base
        raise ValueError(
            f"{path} is no model of ONNX that onnxruntime can read: {error}"
        ) from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, not one each"
        )
    free, *shape = inputs[0].shape or [1]
    fixed = isinstance(free, int) or not all(isinstance(n, int) for n in shape)
    if inputs[0].type != "tensor(float)" or fixed:
        raise ValueError(
            f"{path} takes {inputs[0].type} {told(inputs[0].shape)}, not float32 (N, ...) with N "
            "alone free"
        )
    if len(outputs[0].shape) != 2 or outputs[0].type != "tensor(float)":
        raise ValueError(
            f"{path} gives {outputs[0].type} {told(outputs[0].shape)}, not float32 (N, K)"
        )
    if outputs[0].shape[1] == 1:
        raise ValueError(f"{path} gives one number for each sample: no choice of a class")
    return tuple(shape)


def told(shape):
    return f"({', '.join(map(str, shape))})"


def as_it_is(p):
    return p


def predictor(path, engine, shape):
    """A function x (N, ...) -> probabilities (N, K), by this engine, which has been tried."""
    finish = F.softmax
    if gives_probabilities(onnx.load(path)):
        finish = as_it_is
    try:
        predict = ENGINES[engine](path, finish)
        predict(np.zeros((2, *shape), np.float32))
    except Exception as error:  # each engine has its own
        raise ValueError(f"{engine} cannot run {path}: {error}") from error
    return predict


def whole(low, high=None):
    """What argparse calls for a whole number in [low, high]."""
    expected = f"expected a whole number from {low}" + (f" to {high}" if high else "")

    def read(text):
        if not text.isdecimal() or int(text) < low or (high and int(text) > high):
            raise argparse.ArgumentTypeError(f"{expected}, got {text!r}")
        return int(text)

    return read


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a file of ONNX: float32 (N, ...) -> (N, K)")
    parser.add_argument("--port", type=whole(0, 65535), default=8000)
    parser.add_argument("--threads", type=whole(1), default=2, help="batches run at a time")
    parser.add_argument("--batch", type=whole(1), default=32, help="samples in a batch, at most")
    parser.add_argument("--engine", choices=ENGINES, default="minidl")
    options = parser.parse_args()
    if not options.model.exists():
        parser.error(f"{options.model} is not there: minidl.onnx.export writes one")
    try:
        shape = input_shape(options.model)
        predict = predictor(options.model, options.engine, shape)
    except ValueError as error:
        parser.error(str(error))
    app = application(predict, shape, options.batch, options.threads)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
