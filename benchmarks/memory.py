"""How much memory training takes: the peak of resident memory above where it stood before.

`python -m benchmarks.memory` prints the table of docs/benchmarks.md; --write puts it there.  Each
variant runs in a process of its own, so that none finds memory that another left.  Linux only:
the peak is that of /proc.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections import Counter
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np

from minidl import Tensor
from minidl.engine import changes

from .race import BASE, ROOT, VARIANTS, median, memory, start
from .workloads import OURS, WORKLOADS, Workload

VARIANTS_HERE = ["minidl", "minidl compiled", BASE, "PyTorch channels last"]
STEPS = 3  # the peak is there after the second; what would grow on shows in the third
HEAD = "## Memory"
NOTES = """
Megabytes (a million bytes) of resident memory above where it stood before the first of {steps}
training steps (forward, cross-entropy, backward, Adam), with libraries, model and batch in memory;
each variant in a process of its own; medians of {rounds} runs. In brackets: times
PyTorch's. *Record*: what the operations of one forward pass keep for the way back, without inputs
and parameters; *planned*: the block in which a compiled step has all its arrays, parameters
apart. What is above these is the way back, the update, and memory that is free but stays with
the process. `python -m benchmarks.memory` measures it (Linux only).
"""


def pictures(steps, *, batch, size):
    """Noise: x (steps, batch, 3, size, size), labels (steps, batch) in [0, 10)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, 3, size, size), dtype=np.float32)
    return x, rng.integers(10, size=(steps, batch))


def convolutions(library, channels, pooled, n_out):
    """3 x 3 convolutions of these channels, ReLU after each, then max-pooling where `pooled` is
    True; a linear layer from n_out elements to 10 classes.
    """
    nn, layers = library.nn, []
    for (n_in, n), pool in zip(pairwise(channels), pooled):
        layers += [nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU()]
        if pool:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_out, 10))


def cnn(title, *options):
    """The Workload that trains `convolutions` on 128 pictures of 64 x 64."""
    arrays = partial(pictures, batch=128, size=64)
    adam = ("Adam", {"lr": 0.001})
    return Workload(title, lambda library: convolutions(library, *options), adam, arrays, 1, [])


WORK = {
    "pooled early": cnn(
        "conv 3→32→64→128, 3×3, ReLU and max-pool 2 after each, linear; 128 × 3 × 64 × 64",
        (3, 32, 64, 128), (True, True, True), 128 * 8 * 8,
    ),
    "pooled late": cnn(
        "conv 3→32→32→64, 3×3, ReLU after each, max-pool 2 after the last two, linear; "
        "128 × 3 × 64 × 64", (3, 32, 32, 64), (False, True, True), 64 * 16 * 16,
    ),
    "W3": WORKLOADS["W3"], "W5": WORKLOADS["W5"],
}  # fmt: skip


# ---- in the worker


def measure(name, variant):
    """{"peak": bytes, "kept": bytes or None, "loss": the last}; what they are says NOTES."""
    work, (library, options) = WORK[name], VARIANTS[variant]
    (x,), (y,) = work.arrays(1)
    if library == "torch":
        from . import twins

        twins.torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        step, last = twins.step(work, **options), options.get("channels_last", False)
        (x,), (y,) = twins.tensors(x[None], channels_last=last), twins.tensors(y[None])
    else:
        step, x, y = work.minidl_step(**options), Tensor(x), Tensor(y)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins here
    before = memory("VmRSS")
    for _ in range(STEPS):
        loss = step(x, y).detach().numpy().item()
    found = {"peak": memory("VmHWM") - before, "kept": None, "loss": loss}
    if variant == "minidl":
        model, loss, _ = work.build(OURS)
        found["kept"] = sum(kept(loss(model, x, y)).values())
    elif library == "minidl":
        found["kept"] = max(program.memory for program in step.programs.values())
    return found


def kept(y):
    """Operation -> bytes of its results that the record of y keeps; each memory counts once,
    for the last result that lies there.
    """
    found, tensors, places, waiting = Counter(), set(), set(), [y]
    while waiting:
        y = waiting.pop()
        if not isinstance(y, Tensor) or y.op is None or id(y) in tensors:
            continue
        tensors.add(id(y))
        waiting += y.inputs
        place = changes.memory(y.data)
        if place not in places:
            places.add(place)
            found[y.op.name] += y.data.nbytes
    return found


# ---- in the driver


def collect(names, rounds, threads):
    """(work, variant) -> what `measure` says, one for each round; nothing where it cannot run."""
    found = {}
    for _ in range(rounds):
        for name in names:
            for variant in VARIANTS_HERE:
                worker = start(threads, "-m", "benchmarks.memory", "worker", name, variant)
                said = worker.communicate()[0]
                found.setdefault((name, variant), []).extend(map(json.loads, said.splitlines()))
    return found


def table(results):
    """One row for each work and variant."""
    yield "| work | variant | memory, MB | record or planned, MB |"
    yield "|---|---|--:|--:|"
    for (name, variant), runs in results.items():
        base = median([run["peak"] for run in results[name, BASE]])
        peak = median([run["peak"] for run in runs])
        kept = {run["kept"] for run in runs}
        cell = f"{max(kept) / 1e6:.0f}" if kept and kept != {None} else ""
        yield f"| {name} | {variant} | {peak / 1e6:.0f} ({peak / base:.2f}) | {cell} |"


def machine(threads):
    """The date, the machine, the versions."""
    found = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("model name")[2]
    cpu = found.partition("\n")[0].strip("\t :") or platform.machine()
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu}, {os.cpu_count()} processors, {threads} threads, "
        f"{platform.libc_ver()[0]} {platform.libc_ver()[1]}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, PyTorch {version('torch')}."
    )


def section(text):
    """What a page of Markdown has from HEAD on: a run of other benchmarks leaves that there."""
    _, head, after = text.partition(f"\n{HEAD}\n")
    return head + after


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--only", help=f"some of: {','.join(WORK)}", default=",".join(WORK))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="also write it to docs/benchmarks.md")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(WORK):
        parser.error(f"--only: expected some of {[*WORK]}, got {sorted(unknown)}")
    results = collect(names, options.rounds, options.threads)
    text = [HEAD, "", machine(options.threads), "", *table(results), ""]
    text += [f"*{name}*: {WORK[name].title}." for name in names]
    text.append(NOTES.format(steps=STEPS, rounds=options.rounds))
    print(*text, sep="\n")
    if options.write:
        page = ROOT / "docs" / "benchmarks.md"
        old = page.read_text(encoding="utf-8")
        new = old.removesuffix(section(old)) + "\n" + "\n".join(text)
        page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        print(json.dumps(measure(*sys.argv[2:])))
    else:
        main()
