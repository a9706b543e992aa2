"""Where the time of a compiled step goes: its lines by kind, beside what the machine could do.

`python -m benchmarks.where` prints the table of docs/where_time_goes.md.
"""

from collections import Counter

from minidl import Tensor

from .workloads import WORKLOADS

KINDS = "products", "elementwise", "sums", "moves"
HEAD = [f"{kind}, ms (at best)" for kind in KINDS]


def kind(text):
    """The kind of a line of source."""
    if text.startswith(("np.dot", "np.matmul")):
        return "products"
    if ".reduce(" in text or ".at(" in text:
        return "sums"
    moves = "np.concatenate", "np.copyto", "np.take"
    return "elementwise" if text.startswith("np.") and not text.startswith(moves) else "moves"


def row(name):
    """A line of the table: milliseconds by kind, and in brackets what the machine would need."""
    step = WORKLOADS[name].minidl_step(compiled=True)
    x, y = (Tensor(a[0]) for a in WORKLOADS[name].arrays(1))
    for _ in range(3):
        step(x, y)
    found = step.profile(x, y)
    took, best = Counter(), Counter()
    for line in found:
        took[kind(line["line"])] += 1e3 * line["seconds"]
        best[kind(line["line"])] += 1e3 * line["best"]
    cells = [f"{took[k]:.3g} ({best[k]:.2g})" for k in KINDS]
    return f"| {name} | {len(found)} | {' | '.join(cells)} | {sum(took.values()):.3g} |"


def main():
    print(f"| step | calls | {' | '.join(HEAD)} | sum, ms |")
    print("|---|--:|" + "--:|" * (len(KINDS) + 1))
    for name in ("W1", "W2", "W3", "W4", "W5"):
        print(row(name))


if __name__ == "__main__":
    main()
