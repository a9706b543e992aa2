"""What is particular to lesson 26: what its program stored is what the program would store."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="waits for scikit-learn (pip install -e '.[sklearn]')")

DATA = Path(__file__).resolve().parent.parent / "course" / "data"
_spec = importlib.util.spec_from_file_location("compare", DATA / "compare.py")
compare = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(compare)

STORED = json.loads((DATA / "compare.json").read_text(encoding="utf-8"))


def test_all_systems_are_there_and_their_lines_are_those_of_the_programs():
    stored = {name: row["lines"] for name, row in STORED["systems"].items()}
    written = {name: len(compare.lines_of(row[0])) for name, row in compare.SYSTEMS.items()}
    assert stored == written


@pytest.mark.parametrize("name", ["minidl", "minidl compiled", "scikit-learn"])
def test_what_needs_no_other_system_trains_as_stored(name):
    program, carry, *_ = compare.SYSTEMS[name]
    widths, batch, rate, epochs, _ = compare.SIZES["small"]
    x, y, x_test, y_test = compare.digits("small")
    model, train, predict = program(widths, batch, rate)
    carry(model, compare.first_weights(widths))
    train(x, y, epochs)
    assert (np.asarray(predict(x_test)) == y_test).sum() == STORED["systems"][name]["small"][
        "right"
    ]
    weights = carry(model, None)
    theirs = STORED["state of PyTorch"]
    for ours, there in zip(weights, theirs.values(), strict=True):
        assert ours == pytest.approx(np.array(there).T, abs=1e-3)


def test_all_systems_end_in_the_same_network():
    for row in STORED["systems"].values():
        for size in compare.SIZES:
            assert row[size]["right"] == STORED["systems"]["minidl"][size]["right"]
            assert row[size]["apart"] < 1e-4
