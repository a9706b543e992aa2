"""Search over a network's settings on a cluster: scikit-learn's search, joblib's Dask backend.

    python examples/cluster_search.py [--workers 2] [--address tcp://scheduler:8786]

Without an address it starts a cluster of processes on this machine; with one it joins yours, whose
workers need minidl and scikit-learn.  The estimator is the same as without a cluster.

What travels: to each worker once the data set; with each task the estimator as it was made, that is
its settings and no network, one setting to try, and which rows are whose; back come a score and
times, no weights.  At the end one network is trained here, on all samples, and stays here.
Needs pip install "minidl[sklearn,cluster]".
"""

import argparse
import pickle
import sys
from pathlib import Path

HERE = str(Path(__file__).resolve().parent)
sys.path[:] = [place for place in sys.path if place != HERE]  # its distributed.py is not Dask's

try:
    import joblib
    from dask.distributed import Client, LocalCluster
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from minidl.estimators import MinidlClassifier
except ImportError as error:
    raise SystemExit(f'{error}; pip install "minidl[sklearn,cluster]"') from error


def search():
    """The search, not yet begun: 6 settings in 3 folds each."""
    network = MinidlClassifier(hidden=(32,), epochs=15, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network)
    settings = {"lr": [1e-3, 1e-2], "hidden": [(8,), (32,), (64,)]}
    grid = {f"minidlclassifier__{name}": values for name, values in settings.items()}
    return GridSearchCV(pipeline, grid, cv=3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2, help="processes of a cluster here")
    parser.add_argument("--address", help="of the scheduler of a cluster that runs already")
    options = parser.parse_args()
    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0, stratify=y)

    cluster = options.address or LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    with Client(cluster) as client:
        print(f"{len(client.scheduler_info()['workers'])} workers")
        with joblib.parallel_backend("dask", scatter=[x, y]):
            found = search().fit(x, y)
    if not options.address:
        cluster.close()
    print(f"to each worker {x.nbytes + y.nbytes:,} bytes of data, with each task "
          f"{len(pickle.dumps(found.estimator)):,} bytes of estimator")  # fmt: skip
    print("best", found.best_params_)
    print(f"accuracy on the test set {found.score(x_test, y_test):.3f}")


if __name__ == "__main__":
    main()
