"""Each pair runs in alternating rounds in one process; the table shows medians of the rounds.

Only the ratios mean something, and those to about 10 %: times differ from machine to machine.
"""

import argparse
import itertools
import platform
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

import minidl
from minidl import backend, datasets, nn, optim
from minidl import functional as F


def add_once():
    """One recorded a + b on 4 x 4 tensors (per addition)."""
    a = np.random.default_rng(0).standard_normal((4, 4), dtype=np.float32)

    def repeat(x):
        for _ in range(2000):
            x + x

    ours, theirs = minidl.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True)
    return lambda: repeat(ours), lambda: repeat(theirs), 2000


def chain():
    """A chain of 1,000 additions, forward and backward (per chain)."""
    a = np.random.default_rng(0).standard_normal((4, 4), dtype=np.float32)

    def repeat(x, b):
        for _ in range(10):
            x.grad = b.grad = None
            y = x
            for _ in range(1000):
                y = y + b
            y.sum().backward()

    ours = [minidl.tensor(a, requires_grad=True) for _ in range(2)]
    theirs = [torch.tensor(a, requires_grad=True) for _ in range(2)]
    return lambda: repeat(*ours), lambda: repeat(*theirs), 10


def mlp():
    """W2: 784-256-128-10 on Fashion-MNIST, batch 128, SGD with momentum (per step)."""
    sizes, batches = [784, 256, 128, 10], 100
    train, _ = datasets.fashion_mnist(flat=True, fallback=True)
    x = train.arrays[0][: 128 * batches].reshape(-1, 128, 784)
    labels = train.arrays[1][: 128 * batches].reshape(-1, 128)
    backend.manual_seed(0)
    layers, twins = [], []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        twins += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model, twin = nn.Sequential(*layers[:-1]), torch.nn.Sequential(*twins[:-1])
    with torch.no_grad():
        for p, q in zip(model.parameters(), twin.parameters()):
            q.copy_(torch.tensor(p.data.T.copy()))
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    twin_optimizer = torch.optim.SGD(twin.parameters(), 0.05, momentum=0.9)

    def ours():
        for xs, ys in zip(x, labels):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(minidl.Tensor(xs)), minidl.Tensor(ys))
            loss.backward()
            optimizer.step()
        return loss.item()

    inputs, targets = torch.tensor(x), torch.tensor(labels)

    def theirs():
        for xs, ys in zip(inputs, targets):
            twin_optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(twin(xs), ys)
            loss.backward()
            twin_optimizer.step()
        return loss.item()

    # The same work is measured: same loss at the start, both before any step.
    start = F.cross_entropy(model(minidl.Tensor(x[0])), minidl.Tensor(labels[0])).item()
    twin_start = torch.nn.functional.cross_entropy(twin(inputs[0]), targets[0]).item()
    if abs(start - twin_start) > 1e-5:
        raise AssertionError(f"losses differ at the start: {start} and {twin_start}")
    return ours, theirs, len(x)


def measure(job, rounds):
    """Seconds of one unit for both, and the ratio, medians over alternating rounds."""
    ours, theirs, units = job()
    ours(), theirs()
    pairs = []
    for _ in range(rounds):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        pairs.append(((middle - start) / units, (time.perf_counter() - middle) / units))
    return *map(statistics.median, zip(*pairs)), statistics.median(b / a for a, b in pairs)


def imports(rounds):
    """Seconds of `import numpy` and of `import minidl`, each in a Python of its own."""
    pairs = []
    for _ in range(rounds):
        pair = []
        for name in ("numpy", "minidl"):
            code = f"import time; t = time.time(); import {name}; print(time.time() - t)"
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
            pair.append(float(done.stdout))
        pairs.append(pair)
    return *map(statistics.median, zip(*pairs)), statistics.median(b / a for a, b in pairs)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {options.threads} threads, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, "
        f"medians of {options.rounds} alternating rounds\n"
    )
    print("| what | minidl | PyTorch eager | speed of minidl / PyTorch |")
    print("|---|--:|--:|--:|")
    for job in (add_once, chain, mlp):
        ours, theirs, ratio = measure(job, options.rounds)
        print(f"| {job.__doc__} | {ours * 1e6:,.1f} µs | {theirs * 1e6:,.1f} µs | {ratio:.2f} |")
    alone, together, ratio = imports(options.rounds)
    print(
        f"\n`import numpy` {alone * 1000:.0f} ms, `import minidl`, which includes it, "
        f"{together * 1000:.0f} ms: {ratio:.2f} times"
    )


if __name__ == "__main__":
    main()
