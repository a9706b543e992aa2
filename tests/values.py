"""How far values and gradients on a device lie from the CPU's: a table, for docs/gpu.md.

    python tests/values.py [--device cuda]

For each operation and layer the largest distance in float32, relative to the largest number (1 at
least): of values, of gradients, and of a compiled step, over all cases of the tests' own tables.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / folder) for folder in (".", "engine", "nn")]

import conftest  # noqa: E402  (the stand-in device)
from test_layers import LAYERS  # noqa: E402
from test_ops import STEPS, TABLE, apply, leaves, numbers, on, weights  # noqa: E402

import minidl  # noqa: E402
from minidl import Tensor, tensor  # noqa: E402
from minidl.gpu import streams  # noqa: E402
from minidl.nn import recurrent, transformer  # noqa: E402

MORE = {
    "RNN": (lambda: recurrent.RNN(5, 6), (4, 3, 5)),
    "LSTM": (lambda: recurrent.LSTM(5, 6, 2), (4, 3, 5)),
    "GRU": (lambda: recurrent.GRU(5, 6), (4, 3, 5)),
    "attention": (lambda: transformer.MultiHeadAttention(8, 2), (3, 4, 8)),
    "block": (lambda: transformer.TransformerBlock(8, 2), (3, 4, 8)),
}


def distance(found, expected):
    """The largest difference between two lists of Tensors, relative to the largest number."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        a, b = (np.asarray(x.numpy(), "f8") for x in (a, b))
        assert a.shape == b.shape
        scale = max(1.0, np.abs(b).max(initial=0))
        worst = max(worst, np.abs(a - b).max(initial=0) / scale)
    return worst


def of_operation(case, device):
    """Value, gradients, and both of a compiled function, on `device`."""
    inputs = on(device, numbers(case, "float32"))

    def function(*given):
        given = [Tensor(x.data, requires_grad=x.dtype.kind == "f") for x in given]
        y = apply(case, given)
        if case in STEPS:
            return [y], []
        w = tensor(weights(y.shape, y.dtype), device=y.device)
        return [y], list(minidl.grad((y * w).sum(), leaves(given)))

    return *function(*inputs), again(function, inputs)


def again(function, inputs):
    """What the second call of a compiled function gives: the first records."""
    compiled = minidl.compile(function)
    compiled(*inputs)
    values, gradients = compiled(*inputs)
    return [*values, *gradients]


def of_layer(make, shape, device):
    minidl.manual_seed(0)
    layer = make()
    x = np.random.default_rng(1).standard_normal(shape).astype("f")
    layer.to(device)

    def function(x):
        x = Tensor(x.data, requires_grad=True)
        y = layer(x)
        y = y[0] if isinstance(y, tuple) else y
        return [y], list(minidl.grad((y * y).sum(), [x, *layer.parameters()]))

    inputs = [tensor(x, device=device)]
    return *function(*inputs), again(function, inputs)


def rows(device):
    """name -> the largest distances of (values, gradients, compiled)."""
    found = {}
    for case in TABLE + STEPS:
        mine, its = of_operation(case, device), of_operation(case, "cpu")
        found.setdefault(case.name, []).append([distance(a, b) for a, b in zip(mine, its)])
    layers = {name: (make, shape) for name, (make, _, shape) in LAYERS.items()} | MORE
    for name, (make, shape) in layers.items():
        mine, its = of_layer(make, shape, device), of_layer(make, shape, "cpu")
        found[name] = [[distance(a, b) for a, b in zip(mine, its)]]
    return {name: np.max(distances, axis=0) for name, distances in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", choices=conftest.DEVICES)
    device = parser.parse_args().device
    print(f"{time.strftime('%Y-%m-%d')}, {device}: {streams.status()}\n")
    print("| operation or layer | value | gradients | compiled |\n|---|--:|--:|--:|")
    for name, distances in rows(device).items():
        print(f"| {name} | {' | '.join(f'{d:.1e}' for d in distances)} |")


if __name__ == "__main__":
    main()
