"""What one operation and the import cost: small pairs that alternate."""

import subprocess
import sys
import time

import numpy as np
import torch

import minidl

from .race import median


def add_once(x, b):
    """A thousand recorded a + b on 4 x 4 tensors"""
    for _ in range(1000):
        x + b


def chain(x, b):
    """A chain of 1,000 additions, forward and backward"""
    x.grad = b.grad = None
    y = x
    for _ in range(1000):
        y = y + b
    y.sum().backward()


def alternate(ours, theirs, rounds):
    """Seconds of both, and the ratio of theirs to ours, medians over alternating rounds."""
    pairs = [(ours(), theirs()) for _ in range(rounds + 1)][1:]
    return *map(median, zip(*pairs)), median([b / a for a, b in pairs])


def timed(job, library):
    """A function that gives the seconds of one job; of ten, for a clock's step to be small."""
    a = np.random.default_rng(0).standard_normal((4, 4), dtype=np.float32)
    x, b = (library.tensor(a, requires_grad=True) for _ in range(2))

    def run():
        start = time.perf_counter()
        for _ in range(10):
            job(x, b)
        return (time.perf_counter() - start) / 10

    return run


def timed_import(name):
    """A function that gives the seconds of `import name` in a Python of its own."""
    code = f"import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
    return lambda: float(subprocess.check_output([sys.executable, "-c", code]))


def lines(rounds):
    """A table in Markdown."""
    yield "| what | minidl | PyTorch eager | times as fast |"
    yield "|---|--:|--:|--:|"
    for job in (add_once, chain):
        a, b, ratio = alternate(timed(job, minidl), timed(job, torch), rounds)
        yield f"| {job.__doc__} | {a * 1e3:.2f} ms | {b * 1e3:.2f} ms | {ratio:.2f} |"
    a, b, ratio = alternate(timed_import("numpy"), timed_import("minidl"), rounds)
    yield (
        f"\n`import numpy` takes {a * 1e3:.0f} ms, `import minidl`, which includes it, "
        f"{b * 1e3:.0f} ms: {ratio:.2f} times."
    )
