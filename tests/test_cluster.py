"""The example that searches on a cluster finds what a search without one finds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="waits for scikit-learn")
pytest.importorskip("distributed", reason="waits for dask (pip install -e '.[cluster]')")

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "cluster_search.py"

# Run apart: Dask's processes begin with the main program, and warn of much that is not ours.
COMPARE = """
import sys

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_breast_cancer

sys.path.append(sys.argv[1])  # last: it has a distributed.py of its own
from cluster_search import search

if __name__ == "__main__":
    x, y = load_breast_cancer(return_X_y=True)
    alone = search().fit(x, y)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        with Client(cluster), joblib.parallel_backend("dask", scatter=[x, y]):
            there = search().fit(x, y)
    for result in alone, there:
        print(result.best_params_, result.cv_results_["mean_test_score"].round(6).tolist())
    print(np.array_equal(alone.predict(x), there.predict(x)))
"""


def run(*words):
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=500, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_same_scores_as_without_a_cluster(tmp_path):
    (tmp_path / "compare.py").write_text(COMPARE, encoding="utf-8")
    alone, there, same = run(tmp_path / "compare.py", EXAMPLE.parent).splitlines()
    assert alone == there and same == "True"


@pytest.mark.slow
def test_the_example_and_what_travels():
    said = run(EXAMPLE)
    assert "2 workers" in said
    estimator = re.search(r"each task ([\d,]+) bytes of estimator", said)[1]
    assert int(estimator.replace(",", "")) < 5000  # its settings, no weights
    assert float(re.search(r"test set ([\d.]+)", said)[1]) > 0.93
