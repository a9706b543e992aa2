"""The picture of the table: how many times as fast as PyTorch eager, and the roofline."""

import matplotlib.pyplot as plt
import numpy as np

from .race import BASE, ROOT, median, ratios
from .workloads import WORKLOADS

COLOURS = {
    "minidl": "C4", "minidl compiled": "C0", "minidl compiled, 2 threads": "C2",
    "PyTorch fused": "C5", "PyTorch channels last": "C3", "PyTorch compiled": "C1",
    "scikit-learn": "0.5",
}  # fmt: skip
MARKS = {"minidl": "o", "minidl compiled": "s", BASE: "^"}  # in the roofline


def draw(results, ceilings, path):
    """Write the picture; results: workload -> what `race` gives; ceilings: FLOP/s, bytes/s."""
    with plt.style.context(ROOT / "course" / "course.mplstyle"):
        figure, (above, below) = plt.subplots(2, figsize=(9, 9))
        bars(above, results)
        roofline(below, results, *ceilings)
        figure.savefig(path)
        plt.close(figure)


def bars(axes, results):
    """One group for each workload; a bar up is faster than PyTorch eager, a bar down slower."""
    drawn = {}
    for middle, result in enumerate(results.values()):
        there = [v for v in result if v != BASE and "missing" not in result[v]]
        for place, v in enumerate(there):
            speed, x = median(ratios(result, v)), middle + (place - (len(there) - 1) / 2) * 0.14
            drawn[v] = axes.bar(x, speed - 1, 0.13, bottom=1, color=COLOURS[v])
            up = speed >= 1
            axes.annotate(
                f"{speed:.2f}", (x, speed), (0, 2 if up else -2), textcoords="offset points",
                ha="center", va="bottom" if up else "top", fontsize=8, rotation=90,
            )  # fmt: skip
    axes.axhline(1, color="k", linewidth=1)
    axes.set(yscale="log", ylabel="times as fast as PyTorch eager", xticks=range(len(results)))
    axes.set_xticklabels([name.replace(" predicts", "\npredicts") for name in results])
    ticks = [0.2, 0.5, 1, 2, 5, 10, 20]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks], minor=False)
    axes.minorticks_off()
    axes.margins(y=0.15)
    named = [v for v in COLOURS if v in drawn]
    axes.legend([drawn[v] for v in named], named, ncols=3, loc="lower center",
                bbox_to_anchor=(0.5, 1.0))  # fmt: skip


def roofline(axes, results, flops, bandwidth):
    """Each step's speed beside what memory and arithmetic allow (Williams et al. 2009)."""
    costs = {name: WORKLOADS[name].cost() for name in results}
    intensity = {name: work / moved for name, (work, moved) in costs.items()}
    low, high = min(intensity.values()) / 2, max(*intensity.values(), flops / bandwidth) * 2
    x = np.geomspace(low, high, 100)
    axes.loglog(x, np.minimum(flops, x * bandwidth) / 1e9, color="0.5")
    label = f"matrix product, {flops / 1e9:.0f} GFLOP/s "
    axes.text(flops / bandwidth, flops / 1e9, label, ha="right", va="bottom")
    middle = flops / bandwidth / 4
    axes.text(middle, middle * bandwidth / 1e9 / 2, f"copy, {bandwidth / 1e9:.0f} GB/s")
    for v, mark in MARKS.items():
        there = [n for n, r in results.items() if "missing" not in r.get(v, {"missing": ""})]
        speeds = [costs[n][0] / median([t["seconds"] for t in results[n][v]["turns"]]) / 1e9
                  for n in there]  # fmt: skip
        if there:
            label = "PyTorch eager" if v == BASE else v
            places, colour = [intensity[n] for n in there], COLOURS.get(v, "k")
            axes.plot(places, speeds, mark, label=label, color=colour, alpha=0.8)
        for n, speed in zip(there, speeds if v == BASE else ()):
            left = n in ("W2", "W5")  # others lie close to their right
            place = {"xytext": (-7 if left else 7, -3), "ha": "right" if left else "left"}
            axes.annotate(n, (intensity[n], speed), **place, textcoords="offset points", fontsize=9)
    axes.set(xlabel="arithmetic intensity, FLOP for each byte that must move", ylabel="GFLOP/s")
    axes.legend(loc="lower right")
