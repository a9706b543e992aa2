"""What more processes gain in data-parallel training: a model of a step's time, fitted and tried.

    OPENBLAS_NUM_THREADS=1 mpiexec -n 2 python -m benchmarks.scaling

Prints the tables of docs/machines.md.  A step of P processes on n samples is to take

    T(P, n) = f + c n / P + (P > 1) (2 (P - 1) a + 2 (P - 1) / P b / B)

f: seconds that each step takes, however small its batch; c: seconds for a sample; b: bytes of all
gradients; a: seconds before a message arrives; B: bytes a second between two processes.  The last
bracket is a ring's (Patarasuk and Yuan 2009); what MPI does is its own business, so the fit tells.
Fitted: f and c to steps of one process, a and B to sums of arrays alone.  The step of P processes
is then predicted, and measured.
"""

import time

import numpy as np

import minidl
from minidl import distributed, optim
from minidl.nn import functional as F
from minidl.train import Trainer

from . import workloads

ROUNDS = 7
SIZES = 10**3, 10**4, 10**5, 10**6, 10**7  # elements of float32
NETWORK = 2e-6, 25e9  # a and B of a network that is sold today: 200 Gbit/s
RANKS = 1, 2, 8, 64, 1024


def images(n):
    """A batch for W3's network: noise, and labels."""
    rng = np.random.default_rng(0)
    return rng.random((n, 1, 28, 28), dtype=np.float32), rng.integers(10, size=n)


def texts(n):
    """A batch for W5's."""
    ids = np.random.default_rng(0).integers(64, size=(n, 129))
    return ids[:, :-1], ids[:, 1:]


# Name -> what makes the network, what makes a batch, the sizes of batches to time.
WORK = {
    "CNN (W3)": (workloads.cnn, images, (16, 32, 64, 128)),
    "GPT (W5)": (workloads.gpt, texts, (2, 4, 8, 16)),
}


def timed(run, before):
    """The median of ROUNDS runs, each after all processes have met."""
    found = []
    for _ in range(ROUNDS):
        before()
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return float(np.median(found))


def fitted(rows, times):
    """The two numbers whose products with the rows come nearest to the times, by their ratios."""
    rows, times = np.array(rows), np.array(times)
    found, *_ = np.linalg.lstsq(rows / times[:, None], np.ones(len(times)), rcond=None)
    return found, abs(rows @ found / times - 1).max()


def step(make, batch, group):
    """A function n -> seconds of a step on n samples, by all processes; the bytes of gradients."""
    minidl.manual_seed(0)
    model = make(workloads.OURS)
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.001), F.cross_entropy, group=group)

    def meet():
        if group:
            group.all_reduce(np.zeros(1, np.float32))

    def seconds(n):
        rows = group.rows(n) if group else slice(None)
        mine = tuple(a[rows] for a in batch(n))
        trainer.train_step(mine)
        return timed(lambda: trainer.train_step(mine), meet)

    return seconds, sum(4 * p.size for p in model.parameters())


def sums_alone(group):
    """a, seconds for a byte (1 / B), and how far the fit is off, from sums of arrays alone."""

    def meet():
        group.all_reduce(np.zeros(1, np.float32))

    rows, times = [], []
    for n in SIZES:
        array = np.zeros(n, np.float32)
        times.append(timed(lambda a=array: group.all_reduce(a), meet))
        rows.append(parts(group.size, 4 * n))
    (late, per_byte), error = fitted(rows, times)
    return late, per_byte, error


def parts(size, nbytes):
    """What a and 1 / B are multiplied with in a step's time."""
    return 2 * (size - 1), 2 * (size - 1) / size * nbytes


def on_paper(fixed, each, n, nbytes, network):
    """Two rows, speed-ups with RANKS processes: of n samples for each, and of n in all."""
    late, rate = network
    for kind in "weak", "strong":
        cells = []
        for p in RANKS:
            mine, all_of_them = (n, n * p) if kind == "weak" else (n / p, n)
            hops, moved = parts(p, nbytes)
            together = fixed + each * mine + hops * late + moved / rate
            cells.append(f"{(fixed * all_of_them / n + each * all_of_them) / together:.1f}")
        yield kind, " | ".join(cells)


def main():
    group = distributed.mpi()
    say = print if group.rank == 0 else lambda *words: None
    late, per_byte, error = sums_alone(group)
    say(f"{group.size} processes: a = {late * 1e6:.0f} µs, B = {1e-9 / per_byte:.2f} GB/s, "
        f"off by at most {error:.0%}")  # fmt: skip
    for name, (make, batch, sizes) in WORK.items():
        alone, nbytes = step(make, batch, None)
        times = [1.0 for _ in sizes]
        if group.rank == 0:  # the others wait, so that it has the machine to itself
            times = [alone(n) for n in sizes]
        together, _ = step(make, batch, group)
        (fixed, each), error = fitted([[1, n] for n in sizes], times)
        hops, moved = parts(group.size, nbytes)
        talk = hops * late + moved * per_byte
        say(f"\n{name}: {nbytes / 1e6:.2f} MB of gradients, f = {fixed * 1e3:.1f} ms, "
            f"c = {each * 1e3:.2f} ms, off by at most {error:.0%}")  # fmt: skip
        say("| samples | one process, ms | together, ms | predicted, ms | off by | sum's share |")
        say("|--:|--:|--:|--:|--:|--:|")
        for n, whole in zip(sizes, times):
            found, told = together(n), fixed + each * n / group.size + talk
            say(f"| {n} | {whole * 1e3:.1f} | {found * 1e3:.1f} | {told * 1e3:.1f} | "
                f"{told / found - 1:+.0%} | {talk / found:.0%} |")  # fmt: skip
        say(f"\n| speed-up on paper, {sizes[-1]} samples | " + " | ".join(map(str, RANKS)) + " |")
        say("|---|" + "--:|" * len(RANKS))
        for where, network in {"here": (late, 1 / per_byte), "200 Gbit/s": NETWORK}.items():
            for kind, cells in on_paper(fixed, each, sizes[-1], nbytes, network):
                say(f"| {where}, {kind} | {cells} |")


if __name__ == "__main__":
    main()
