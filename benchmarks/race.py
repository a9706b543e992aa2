"""The race: each variant of a workload in a process of its own, taking turns in alternating rounds.

The one rule of this file: a ratio is taken inside one round, where both ran on the same machine in
the same mood; who waits for a turn blocks on its standard input and uses no processor.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from minidl import Tensor

from .workloads import OURS, WORKLOADS

ROOT = Path(__file__).resolve().parent.parent
BASE, CHECKED = "PyTorch", 5  # whose speed is 1; steps whose losses are compared one by one
TOLERANCE = 1e-4, 5e-2  # of those losses, and of a turn's mean, for rounding grows; relative from 1
VARIANTS = {  # name -> library, options of its step
    "minidl": ("minidl", {}),
    "minidl compiled": ("minidl", {"compiled": True}),
    "minidl compiled, 2 threads": ("minidl", {"compiled": True, "threads": 2}),
    BASE: ("torch", {}),
    "PyTorch fused": ("torch", {"fused": True}),
    "PyTorch channels last": ("torch", {"channels_last": True}),
    "PyTorch compiled": ("torch", {"compiled": True, "fused": True}),
    "scikit-learn": ("sklearn", {}),
}
ONLY_FOR = {
    "PyTorch fused": ["W1", "W2", "W3", "W4", "W5"],
    "PyTorch channels last": ["W3"],
    "scikit-learn": ["W2"],
}


# ---- in the worker


def prepare(name, variant, threads):
    """run(start, stop) -> the mean loss (for inference: first logit) of those steps."""
    work, (library, options) = WORKLOADS[name], VARIANTS[variant]
    x, y = work.arrays(work.steps)
    if library == "sklearn":
        return sklearn_run(work, x, y)
    if library == "torch":
        from . import twins

        twins.torch.set_num_threads(threads)
        if options.get("compiled") and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise RuntimeError("no C++ compiler")
        step, last = twins.step(work, **options), options.get("channels_last", False)
        xs, ys = (twins.tensors(a, channels_last=last) for a in (x, y))
    else:
        step, xs, ys = work.minidl_step(**options), [*map(Tensor, x)], [*map(Tensor, y)]

    def run(start, stop):
        pairs = zip(xs[start:stop], ys[start:stop])
        values = [step(a, b).detach().numpy().flat[0].item() for a, b in pairs]
        return sum(values) / len(values)

    return run


def sklearn_run(work, x, y):
    """W2 by scikit-learn's MLPClassifier: the same arithmetic, one `partial_fit` for each run."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (256, 128), solver="sgd", alpha=0, batch_size=x.shape[1], learning_rate_init=0.05,
        momentum=0.9, nesterovs_momentum=False, shuffle=False,
    )  # fmt: skip
    model.partial_fit(x[0], y[0], classes=range(10))  # makes the arrays that are filled below
    del model._optimizer  # and its velocity
    weights = list(work.build(OURS)[0].state_dict().values())
    for a, w in zip([*model.coefs_, *model.intercepts_], weights[0::2] + weights[1::2]):
        a[...] = w

    def run(start, stop):
        model.partial_fit(x[start:stop].reshape(-1, x.shape[2]), y[start:stop].ravel())
        return float(model.loss_)

    return run


def memory(what):
    """Bytes of resident memory: now ("VmRSS") or at most ("VmHWM"); 0 where there is no /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


def serve(name, variant, threads):
    """Warm up, then run a turn for each line on standard input; answer each with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what compilers print must not be read as an answer
    say = lambda **what: print(json.dumps(what), file=answers, flush=True)  # noqa: E731
    try:
        run, steps = prepare(name, variant, threads), WORKLOADS[name].steps
        if memory("VmRSS"):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins here
        before, start = memory("VmRSS"), time.perf_counter()
        losses = [run(0, 1)]
        first = time.perf_counter() - start
        losses += [run(i, i + 1) for i in range(1, min(CHECKED, steps))]
        run(0, steps)
        say(losses=losses, first=first)
        for _ in sys.stdin:
            start = time.perf_counter()
            loss = run(0, steps)
            took = (time.perf_counter() - start) / steps
            say(loss=loss, seconds=took, memory=memory("VmHWM") - before)
    except Exception as error:
        say(missing=f"{error}".strip().partition("\n")[0] or type(error).__name__)


# ---- in the driver


def start(threads, *arguments):
    """A Python process with so many threads for matrix products, its pipes open."""
    names = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"
    env = os.environ | dict.fromkeys(names, str(threads)) | {"PYTHONPATH": str(ROOT)}
    env["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # so that compiling is measured, not reading
    return subprocess.Popen(
        [sys.executable, *arguments], env=env, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def race(name, rounds, threads, names=VARIANTS):
    """variant -> {"losses", "first", "turns"}, as `serve` says them, or {"missing": why}."""
    workers, results, order = {}, {}, random.Random(0)
    names = [v for v in names if name in ONLY_FOR.get(v, [name])]
    try:
        for v in names:  # one after another, so that compiling is not disturbed
            workers[v] = start(threads, "-m", "benchmarks.race", name, v, str(threads))
            results[v] = answer(workers[v]) | {"turns": []}
        for _ in range(rounds):
            for v in order.sample(names, len(names)):
                if "missing" not in results[v]:
                    time.sleep(0.05)  # threads of the one before may wait for work still, spinning
                    print("go", file=workers[v].stdin, flush=True)
                    turn = answer(workers[v])
                    results[v]["turns"].append(turn)
                    results[v] |= turn if "missing" in turn else {}
    finally:
        for worker in workers.values():
            worker.communicate()  # closes its input, which ends it
    return results


def answer(worker):
    line = worker.stdout.readline()
    return json.loads(line) if line else {"missing": "the process died"}


def ratios(results, variant):
    """How many times as fast as BASE, in each round; nothing where one of them is missing."""
    if {"missing"} & {*results[BASE], *results[variant]}:
        return []
    pairs = zip(results[BASE]["turns"], results[variant]["turns"])
    return [base["seconds"] / turn["seconds"] for base, turn in pairs]


def difference(results, variant):
    """Why the variant's losses are not BASE's: a sentence, or "" where they agree."""
    if {"missing"} & {*results[BASE], *results[variant]}:
        return ""
    one, other = results[BASE], results[variant]
    turns = [[turn["loss"] for turn in result["turns"]] for result in (one, other)]
    steps = one["losses"], other["losses"]
    for what, (a, b), tolerance in zip(("step", "turn"), (steps, turns), TOLERANCE):
        for i, (p, q) in enumerate(zip(a, b), 1):
            if not abs(p - q) <= tolerance * max(1, abs(p)):
                return f"the loss of {what} {i} is {q:.6g}, PyTorch's {p:.6g}"
    return ""


def ceilings(threads):
    """(FLOP/s of a large matrix product, bytes/s of a copy): the best of eight, on NumPy."""
    a, b = np.ones((2, 2048, 2048), dtype=np.float32)
    source, goal = np.ones((2, threads, 1 << 24), dtype=np.float32)
    best = []
    with ThreadPoolExecutor(threads) as pool:
        for job in (lambda: a @ b, lambda: list(pool.map(np.copyto, goal, source))):
            times = [time.perf_counter() for _ in range(8) if job() is not None]
            best.append(min(np.diff(times)))
    return 2 * len(a) ** 3 / best[0], 2 * source.nbytes / best[1]


def seconds(run, least=0.05):
    """The seconds of one run, from as many, at least one, as take `least` seconds together."""
    start, n = time.perf_counter(), 0
    while not n or time.perf_counter() - start < least:
        run()
        n += 1
    return (time.perf_counter() - start) / n


def median(values):
    return statistics.median(values) if values else float("nan")


if __name__ == "__main__":
    if sys.argv[1] == "ceilings":
        print(*ceilings(int(sys.argv[2])))
    else:
        serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
