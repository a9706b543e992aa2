"""Search a grid with minidl's classifier in a scikit-learn pipeline, beside MLPClassifier.

    python examples/grid_search.py [--rounds 10] [--epochs 50] [--out FOLDER]

Each round cuts the 569 tumours of scikit-learn's breast cancer data into 5 new stratified folds
and searches the same grid with both on the same folds, each in turn first, so that what else the
machine does slows both.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np

from minidl.data import datasets

try:
    from matplotlib.figure import Figure
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    from minidl.estimators import MinidlClassifier
except ImportError as error:
    raise SystemExit(f'{error}; pip install "minidl[course]"') from error

HIDDEN, RATES, FOLDS = [(16,), (64,), (64, 32)], [0.001, 0.01], 5


def points():
    """The points of the grid as text, in GridSearchCV's order: the rate changes first."""
    return [f"{'-'.join(map(str, hidden))}, {rate}" for hidden in HIDDEN for rate in RATES]


def candidates(epochs, seed):
    """Name -> (classifier, the names of its widths and its rate): both with Adam, ReLU, batches
    of 64, no weight decay and the same number of epochs.
    """
    ours = MinidlClassifier(epochs=epochs, batch_size=64, random_state=seed)
    theirs = MLPClassifier(
        max_iter=epochs, n_iter_no_change=epochs, batch_size=64, alpha=0, random_state=seed
    )
    return {
        "minidl": (ours, "hidden", "lr"),
        "MLPClassifier": (theirs, "hidden_layer_sizes", "learning_rate_init"),
    }


def search(classifier, hidden, rate, X, y, folds):
    """The finished search over widths (the option named `hidden`) and learning rates."""
    pipe = Pipeline([("scale", StandardScaler()), ("net", classifier)])
    grid = {f"net__{hidden}": HIDDEN, f"net__{rate}": RATES}
    return GridSearchCV(pipe, grid, cv=folds, refit=False).fit(X, y)


def measure(X, y, rounds, epochs):
    """Two dicts, name -> array: accuracies (points, rounds, folds), seconds (points, rounds)."""
    accuracy, seconds = {}, {}
    for seed in range(rounds):
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        both = list(candidates(epochs, seed).items())
        if seed % 2:
            both.reverse()
        for name, (classifier, width, rate) in both:
            found = search(classifier, width, rate, X, y, folds).cv_results_
            scores = [found[f"split{k}_test_score"] for k in range(FOLDS)]
            accuracy.setdefault(name, []).append(np.stack(scores, axis=1))  # (points, folds)
            seconds.setdefault(name, []).append(found["mean_fit_time"])
            print(f"round {seed + 1}/{rounds}, {name}: best {found['mean_test_score'].max():.4f}")
    return [{name: np.stack(a, axis=1) for name, a in d.items()} for d in (accuracy, seconds)]


def report(accuracy, seconds):
    """Print a line for each point of the grid, the best points, and how the times compare."""
    print("\naccuracy: mean ± standard deviation of all folds; time: median of the rounds, one fit")
    print(f"{'hidden, rate':<14}" + "".join(f"{name:>26}" for name in accuracy))
    for i, point in enumerate(points()):
        cells = [
            f"{a[i].mean():.4f} ± {a[i].std():.4f}  {np.median(t[i]):.3f} s"
            for a, t in zip(accuracy.values(), seconds.values())
        ]
        print(f"{point:<14}" + "".join(f"{cell:>26}" for cell in cells))
    means = {name: a.mean(axis=(1, 2)) for name, a in accuracy.items()}
    for name, mean in means.items():
        print(f"{name}: accuracy {mean.mean():.4f} over the whole grid, {mean.max():.4f} at its "
              f"best point ({points()[mean.argmax()]})")  # fmt: skip
    ours, theirs = (t.sum(axis=0) for t in seconds.values())  # (rounds,)
    print(f"time of minidl / time of MLPClassifier: {np.median(ours / theirs):.2f} (median)")


def figure(accuracy, seconds, path):
    """Accuracies left, seconds right, for each point of the grid and both classifiers."""
    drawing = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = drawing.subplots(1, 2)
    places = np.arange(len(points()))
    for name, mark, aside in zip(accuracy, "os", (-0.12, 0.12)):
        folds = accuracy[name].reshape(len(places), -1)  # (points, rounds, folds) -> (points, all)
        times = np.median(seconds[name], axis=1)
        left.errorbar(places + aside, folds.mean(axis=1), folds.std(axis=1), fmt=mark, label=name)
        right.plot(places + aside, times, mark, label=name)
    left.set(ylabel="accuracy (bar: 1 standard deviation)")
    highest = max(np.median(times, axis=1).max() for times in seconds.values())
    right.set(ylabel="seconds to fit (median)", ylim=(0, 1.1 * highest))
    for panel in left, right:
        panel.set_xticks(places, [point.replace(", ", "\n") for point in points()])
        panel.set_xlabel("hidden widths, learning rate")
    drawing.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    drawing.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("runs/grid_search"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # MLPClassifier warns that it might learn more, but both get the same number of epochs.
    warnings.simplefilter("ignore", ConvergenceWarning)
    X, y = datasets.breast_cancer().arrays
    accuracy, seconds = measure(X, y, options.rounds, options.epochs)
    report(accuracy, seconds)
    figure(accuracy, seconds, options.out / "grid.png")
    print(f"the figure is in {options.out}")


if __name__ == "__main__":
    main()
