"""Serve the predictions of an ONNX file over HTTP: requests that arrive together run as one batch.

    python examples/server.py model.onnx [--port 8000] [--threads 2] [--batch 32]
    curl -X POST --data-binary @image.float32 http://127.0.0.1:8000/predict

A request is one sample, float32 numbers in the order of the model's input, as bytes or as JSON
({"x": [...]}); the answer is {"label": k, "p": [...]}.  minidl computes, compiled, in several
threads; with --engine onnxruntime that does, behind the same front.  Needs
pip install "minidl[onnx,serve]".
"""

import argparse
import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

import minidl
from minidl.nn import functional as F
from minidl.onnx import load

WAITING = 1024  # requests; whoever comes when so many wait is told to come again


def by_minidl(path):
    """A function x (N, ...) -> probabilities (N, K), NumPy both."""
    model = load(path).eval()

    @minidl.compile
    def answer(x):
        return F.softmax(model(x))

    def predict(x):
        with minidl.no_grad():
            return answer(minidl.tensor(x)).numpy()

    return predict


def by_onnxruntime(path):
    """The same, by onnxruntime with one thread in each run."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    name = session.get_inputs()[0].name
    return lambda x: F.softmax(session.run(None, {name: x})[0])


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


def sample(body, kind, shape):
    """One sample of this shape; ValueError says what is wrong with the request."""
    if kind.startswith("application/json"):
        numbers = json.loads(body)
        if not isinstance(numbers, dict) or "x" not in numbers:
            raise ValueError('expected {"x": [...]}')
        x = np.asarray(numbers["x"], np.float32).reshape(-1)
    else:
        if len(body) % 4:
            raise ValueError(f"expected float32 numbers, got {len(body)} bytes")
        x = np.frombuffer(body, "<f4")
    if x.size != np.prod(shape):
        raise ValueError(f"expected {np.prod(shape)} numbers, {shape}, got {x.size}")
    if not np.isfinite(x).all():
        raise ValueError("expected finite numbers")
    return x.reshape(shape)


def application(predict, shape, largest, threads):
    """The program that a server runs."""
    batcher = Batcher(predict, largest, threads)

    async def post(request):
        try:
            x = sample(await request.body(), request.headers.get("content-type", ""), shape)
        except (ValueError, TypeError) as error:
            return JSONResponse({"error": str(error)}, 400)
        try:
            p = await batcher.answer(x)
        except asyncio.QueueFull:
            return JSONResponse({"error": "too many requests wait; come again"}, 503)
        return JSONResponse({"label": int(p.argmax()), "p": p.tolist()})

    async def health(request):
        return JSONResponse({"waiting": batcher.waiting.qsize()})

    @contextlib.asynccontextmanager
    async def life(app):
        size = 1
        while size <= largest:  # record every size before anybody waits for it
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
    """The shape of one sample, without the batch."""
    session = onnxruntime.InferenceSession(str(path))
    first = session.get_inputs()[0]
    shape = first.shape[1:]
    if first.type != "tensor(float)" or not all(isinstance(n, int) for n in shape):
        raise SystemExit(f"{path} takes {first.type} {first.shape}, not float32 (N, ...)")
    return tuple(shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="a file of ONNX: float32 (N, ...) -> (N, K)")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--threads", type=int, default=2, help="batches that run at a time")
    parser.add_argument("--batch", type=int, default=32, help="samples in a batch, at most")
    parser.add_argument("--engine", choices=ENGINES, default="minidl")
    options = parser.parse_args()
    if not options.model.exists():
        raise SystemExit(f"{options.model} is not there: minidl.onnx.export writes one")
    predict = ENGINES[options.engine](options.model)
    app = application(predict, input_shape(options.model), options.batch, options.threads)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
