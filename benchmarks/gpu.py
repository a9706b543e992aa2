"""The workloads on a GPU, as they are and at batches that fill the card, beside PyTorch.

`python -m benchmarks.gpu` prints the table of docs/gpu.md, with the card's name.  All variants run
in one process, in turns, the order shuffled; medians.  A step is timed from one loss that the host
has read to the next, so nothing is left queued.  `--device cpu` tries the code without a card.
"""

import argparse
import random
import time

import numpy as np

from minidl import Tensor
from minidl.engine import devices
from minidl.gpu import streams

from .race import median, seconds
from .workloads import WORKLOADS

BATCHES = {"W1": 64, "W2": 64, "W3": 16, "W4": 16, "W5": 8}  # how many batches at once fill a card
COMPILED = {"compiled": True}
VARIANTS = {
    "minidl": {},
    "minidl compiled": COMPILED,
    "minidl compiled, CUDA graph": COMPILED | {"cuda_graph": True},
    "PyTorch": {},
    "PyTorch compiled": COMPILED,
}
TOLERANCE = 1e-3  # of the first losses, relative from 1


def batch(name, times):
    """x and y of a workload's first batch, so many times as large, NumPy."""
    return tuple(np.concatenate([a[0]] * times) for a in WORKLOADS[name].arrays(1))


def ours(name, arrays, device, **options):
    """A function that makes a step of minidl on `device` and reads its loss."""
    step = WORKLOADS[name].minidl_step(device=device, **options)
    x, y = (Tensor(devices.to_device(a, device)) for a in arrays)
    return lambda: step(x, y).item()


def theirs(name, arrays, device, **options):
    """The same on PyTorch."""
    import torch

    from . import twins

    step = twins.step(WORKLOADS[name], device=device, **options)
    x, y = (torch.tensor(a, device=device) for a in arrays)
    return lambda: step(x, y).item()


def race(runs, rounds, least=0.5):
    """Variant -> seconds a step in each round, of as many steps as take `least` seconds together.

    runs: variant -> a function that makes a step.  Raises ValueError if first losses differ.
    """
    first = {v: run() for v, run in runs.items()}
    if max(first.values()) - min(first.values()) > TOLERANCE * max(1, *map(abs, first.values())):
        raise ValueError(f"not the same work, the first losses are {first}")
    found = {v: [] for v in runs}
    for _ in range(rounds + 1):  # the first, for kernels to be compiled, does not count
        for v in random.sample([*runs], len(runs)):
            found[v].append(seconds(runs[v], least))
    return {v: times[1:] for v, times in found.items()}


def row(name, times, found):
    """A line of the table: PyTorch's milliseconds, and how many times as fast the others are."""
    base = found["PyTorch"]
    speeds = [median([b / s for b, s in zip(base, found[v])]) for v in found if v != "PyTorch"]
    cells = " | ".join(f"{speed:.2f}" for speed in speeds)
    return f"| {name} | {times} | {1e3 * median(base):.3g} | {cells} |"


def main():
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default=",".join(BATCHES))
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    print(f"{time.strftime('%Y-%m-%d')}, {card}, PyTorch {torch.__version__}")
    print(f"CuPy: {streams.status()}\n")
    here = [v for v in VARIANTS if options.device != "cpu" or "graph" not in v]
    others = [v for v in here if v != "PyTorch"]
    print(f"| work | batches at once | PyTorch eager, ms | {' | '.join(others)} |")
    print("|---|--:|--:|" + "--:|" * len(others))
    for name in options.only.split(","):
        for times in (1, BATCHES[name]):
            arrays = batch(name, times)
            runs = {
                v: (ours if "minidl" in v else theirs)(name, arrays, options.device, **VARIANTS[v])
                for v in here
            }
            print(row(name, times, race(runs, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
