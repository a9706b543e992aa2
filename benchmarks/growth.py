"""How the time of a step grows with batch, width, depth and length, beside its arithmetic.

`python -m benchmarks.growth` prints the table of docs/growth.md; --write writes it and its picture.
"""

import argparse
import time

import matplotlib.pyplot as plt
import numpy as np

import minidl
from minidl import optim, tensor
from minidl.engine import random
from minidl.nn import functional as F
from minidl.nn import transformer

from .race import ROOT, median, seconds
from .workloads import OURS, mlp, training_step

VARIANTS = {"eager": "C4", "compiled": "C0"}
NOTES = """
A step is forward, cross-entropy, backward and update (Adam), two threads, float32; the medians of
{rounds} rounds, sizes and variants in turns. *MLP*: 256 inputs, hidden layers, 10 classes. *GPT*: 2
blocks, width 128, 4 heads. FLOPs are those of `step.flops`: products, elementwise operations and
sums. Each cell says how many times as much a step takes at the last size as at the first, and in
brackets at the last size as at the one before. Over its whole range no step grows faster than its
arithmetic: small ones pay for calls more than for FLOPs. At the last doubling the compiled MLP's
width and depth, and the GPT's length, do by 5 to 20 %: what has left the cache (weights of 17 MB
with their gradients and Adam's two arrays; scores of 34 MB in each block) is read and written at
the memory's speed.
"""


def perceptron(batch, width, depth):
    """A training step of an MLP with `depth` hidden layers, and its x and y."""
    draws = np.random.default_rng(0)
    x = draws.standard_normal((batch, 256), dtype=np.float32)
    return trained(mlp(OURS, 256, *[width] * depth, 10), x, draws.integers(10, size=batch))


def gpt(length):
    """A training step of a GPT on 8 texts of `length` characters, and its x and y."""
    text = np.random.default_rng(0).integers(64, size=(8, length + 1))
    return trained(transformer.GPT(64, length, 128, 4, 2), text[:, :-1], text[:, 1:])


def trained(model, x, y):
    def loss(model, x, y):
        return F.cross_entropy(model(x), y)

    return training_step(model, loss, optim.Adam(model.parameters())), tensor(x), tensor(y)


SERIES = {  # what is doubled -> its sizes, and the step of a size
    "MLP, batch": ([2**k for k in range(4, 12)], lambda n: perceptron(n, 256, 2)),
    "MLP, width": ([2**k for k in range(4, 12)], lambda n: perceptron(128, n, 2)),
    "MLP, depth": ([2**k for k in range(7)], lambda n: perceptron(128, 256, n)),
    "GPT, length": ([2**k for k in range(4, 10)], gpt),
}


def measure(sizes, make, rounds):
    """FLOPs of each size, and variant -> seconds of a step of each size."""
    flops, steps = [], {}
    for n in sizes:
        random.manual_seed(0)
        step, *args = make(n)
        compiled = minidl.compile(step)
        compiled(*args)
        flops.append(compiled.flops)
        steps["compiled", n] = lambda run=compiled, args=args: run(*args)
        random.manual_seed(0)
        step, *args = make(n)  # a twin: a compiled step keeps its parameters' arrays
        steps["eager", n] = lambda run=step, args=args: run(*args)
    found = {key: [] for key in steps}
    for _ in range(rounds + 1):
        for key, run in steps.items():
            found[key].append(seconds(run))
    return flops, {v: [median(found[v, n][1:]) for n in sizes] for v in VARIANTS}


def row(name, sizes, flops, times):
    """A line of the table: growth from the first size to the last, and from the last but one."""
    cells = [f"{a[-1] / a[0]:.3g} ({a[-1] / a[-2]:.2f})" for a in (flops, *times.values())]
    return f"| {name} {sizes[0]} to {sizes[-1]} | {' | '.join(cells)} |"


def draw(results, path):
    """Seconds of a step against its FLOPs, both logarithmic; grey: in proportion."""
    with plt.style.context(ROOT / "course" / "course.mplstyle"):
        figure, panels = plt.subplots(2, 2, figsize=(9, 7), sharey=True)
        for axes, (name, (sizes, flops, times)) in zip(panels.flat, results.items()):
            flops = np.array(flops)
            for v, colour in VARIANTS.items():
                axes.loglog(flops / 1e6, np.array(times[v]) * 1e3, "o-", color=colour, label=v)
            line = 1e3 * times["eager"][-1] * flops / flops[-1]
            axes.loglog(flops / 1e6, line, "--", color="0.6", label="in proportion to FLOPs")
            for i in (0, -1):
                at = flops[i] / 1e6, 1e3 * times["eager"][i]
                axes.annotate(f"{sizes[i]}", at, (0, 6), textcoords="offset points", ha="center")
            axes.set(title=name, xlabel="million FLOPs of a step", ylabel="ms a step")
        panels[0, 0].legend()
        figure.savefig(path)
        plt.close(figure)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="also write docs/growth.md, .png")
    options = parser.parse_args()
    text = ["| doubled | FLOPs, times | eager, times | compiled, times |", "|---|--:|--:|--:|"]
    results = {}
    for name, (sizes, make) in SERIES.items():
        results[name] = sizes, *measure(sizes, make, options.rounds)
        text.append(row(name, *results[name]))
    text.append(NOTES.format(rounds=options.rounds))
    print(*text, sep="\n")
    if options.write:
        draw(results, ROOT / "docs" / "growth.png")
        head = ["# How time grows", "", time.strftime("%Y-%m-%d, two vCPUs."), "",
                "![milliseconds against FLOPs](growth.png)", ""]  # fmt: skip
        (ROOT / "docs" / "growth.md").write_text("\n".join(head + text), encoding="utf-8")


if __name__ == "__main__":
    main()
