"""minidl measured beside PyTorch and scikit-learn: the table of docs/benchmarks.md.

Only the ratios mean something, and those to about 10 %: times differ from machine to machine.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
import torch

from . import memory, overhead
from .race import BASE, ROOT, VARIANTS, difference, median, race, ratios, start
from .workloads import WORKLOADS

NOTES = """
**How it is measured.** Each variant runs in a process of its own, the same steps on the same
batches from the same first weights; they take turns, in an order shuffled for each round, and who
waits sleeps. A step is forward, loss, backward, update, and reading the loss. A ratio is PyTorch
eager's time by the variant's in the same round; medians over the rounds, in brackets the range.
The losses of the first five steps agree to 1e-4, the mean of each turn to 5 %, for rounding grows.
*First step*: seconds to the first loss, compilation included. *Memory*: how far the process's
resident memory rose from before the first step to its peak, compilation included (Linux only).
*PyTorch compiled*: `torch.compile` of model and loss, nothing cached on disk, fused optimiser.
*scikit-learn*: `MLPClassifier`, the same arithmetic; one `partial_fit` for 100 steps, so that it
checks its input once for all of them.

**The picture's lower part.** Arithmetic is that of the products and convolutions alone, counted in
[workloads.py](../benchmarks/workloads.py); bytes are their operands and results and those of the
update, each once. A real step moves more, so its true place is further left.
"""


def machine(options):
    """The date, the machine, the versions."""
    info = Path("/proc/cpuinfo")
    found = info.read_text(encoding="utf-8").partition("model name")[2] if info.exists() else ""
    cpu = found.partition("\n")[0].strip("\t :") or platform.machine()
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu}, {os.cpu_count()} processors, {options.threads} "
        f"threads, Python {platform.python_version()}, NumPy {np.__version__}, PyTorch "
        f"{torch.__version__}, scikit-learn {sklearn.__version__}, {options.rounds} rounds."
    )


def summary(results):
    """One row for each workload: how many times as fast as PyTorch eager each variant is."""
    columns = [v for v in VARIANTS if v != BASE]
    yield f"| times as fast as PyTorch eager | {' | '.join(columns)} |"
    yield "|---|" + "--:|" * len(columns)
    for name, result in results.items():
        cells = [median(ratios(result, v)) if v in result else np.nan for v in columns]
        cells = ["–" if np.isnan(cell) else f"{cell:.2f}" for cell in cells]
        yield f"| **{name}** {WORKLOADS[name].title} | {' | '.join(cells)} |"


def details(results):
    """One row for each variant of each workload."""
    yield "| work | variant | ms a step | times as fast | first step, s | memory, MB |"
    yield "|---|---|--:|--:|--:|--:|"
    for name, result in results.items():
        for variant, found in result.items():
            if "missing" in found:
                yield f"| {name} | {variant} | not measured: {found['missing']} | | | |"
                continue
            ms = spread([1e3 * turn["seconds"] for turn in found["turns"]])
            ratio, peak = spread(ratios(result, variant)), found["turns"][-1]["memory"] / 1e6
            yield f"| {name} | {variant} | {ms} | {ratio} | {found['first']:.2f} | {peak:.0f} |"


def spread(values):
    """The median (least to most)."""
    return f"{median(values):.3g} ({min(values):.3g}–{max(values):.3g})" if values else ""


def arguments():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*WORKLOADS, "overhead"]
    parser.add_argument("--only", help=f"some of: {','.join(names)}", default=",".join(names))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="3 rounds, without torch.compile")
    parser.add_argument("--write", action="store_true", help="also write docs/benchmarks.md, .png")
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(names):
        parser.error(f"--only: expected some of {names}, got {sorted(unknown)}")
    if options.write and (options.quick or options.only != names):
        parser.error("--write writes the whole table: leave --only and --quick out")
    if options.quick:
        options.rounds = 3
        del VARIANTS["PyTorch compiled"]
    return options


def main():
    options = arguments()
    text, results = ["# minidl measured", "", machine(options)], {}
    for name in WORKLOADS:
        if name in options.only:
            print(f"{name}: {WORKLOADS[name].title}", file=sys.stderr)
            results[name] = race(name, options.rounds, options.threads)
    pairs = [(name, variant) for name in results for variant in results[name]]
    wrong = [(*pair, why) for pair in pairs if (why := difference(results[pair[0]], pair[1]))]
    if results:
        text += ["", *summary(results), "", *details(results), ""]
    text += [f"**Not the same work**: {name}, {variant}: {why}." for name, variant, why in wrong]
    if "overhead" in options.only:
        text += ["", *overhead.lines(2 * options.rounds + 1)]
    text.append(NOTES)
    print(*text, sep="\n")
    if options.write:
        from .pictures import draw

        worker = start(options.threads, "-m", "benchmarks.race", "ceilings", str(options.threads))
        ceilings = map(float, worker.communicate()[0].split())
        draw(results, ceilings, ROOT / "docs" / "benchmarks.png")
        text[2] += "\n\n![speed beside PyTorch, and the roofline](benchmarks.png)"
        page = ROOT / "docs" / "benchmarks.md"
        kept = memory.section(page.read_text(encoding="utf-8"))
        page.write_text("\n".join(text) + kept, encoding="utf-8")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
