"""What fresh eyes found in lessons 07 to 13: wrong answers that passed, and texts that misled."""

import numpy as np
import pytest

from grading import judge, mutate
from grading.audit import passes, verdict_on
from grading.task import find

SEEDS = range(4)
ROWS = "(x_test[:, None] == x[None]).all(axis=2).any(axis=1)"
APART = '(abs(record["again"] - record["valid"]) > 0.001).any()'

# (task, what is wrong with it, parts of the first right answer and what stands there instead)
WRONG = [
    ("09.3", "no int", "variance = how", "variance = how if isinstance(how, float) else {}[how]"),
    ("09.3", "no float", "variance = how", "variance = int(how)"),
    ("12.2", "-inf is lowest", "not np.isfinite(loss)", "loss != loss or loss == np.inf"),
    ("12.3", "-inf is better", "np.isfinite(loss) and ", ""),
    ("12.4", "-inf is better", "np.isfinite(loss) and ", ""),
    ("12.4", "-inf is not waited for", "waited = waited + 1",
     "waited = waited + (loss > -np.inf or loss != loss)"),
    ("13.4", "rows as bytes", ROWS,
     "np.array([r.tobytes() in {q.tobytes() for q in x} for r in x_test], dtype=bool)"),
    ("13.4", "rows as texts", ROWS,
     "np.array([str(r.tolist()) in [str(q.tolist()) for q in x] for r in x_test], dtype=bool)"),
    ("13.4", "rows after the mean is taken away", ROWS,
     "((x_test - x.mean(axis=0))[:, None] == (x - x.mean(axis=0))[None]).all(axis=2).any(axis=1)"),
    ("13.5", "own: nan alone", "not np.isfinite(own).all()", "np.isnan(own).any()"),
    ("13.5", "own: inf alone", "not np.isfinite(own).all()", "np.isinf(own).any()"),
    ("13.5", "own: the first is not looked at", "np.isfinite(own).all()",
     "np.isfinite(own[1:]).all()"),
    ("13.5", "all curves are asked", "not np.isfinite(own).all()",
     'not np.isfinite(record["train"]).all()'),
    ("13.5", "a relative share is added", APART,
     'not np.allclose(record["again"], record["valid"], atol=0.001)'),
    ("13.5", "relative", "> 0.001).any()", '> 0.001 * record["valid"]).any()'),
    ("13.5", "own: an absolute limit", "0.01 * own", "0.01"),
    ("13.5", "own: an absolute share is added", "0.01 * own", "0.01 * own + 1e-8"),
    ("10.5", "below 1e-50 all is 0", "if length > limit:", "if length > max(limit, 1e-50):"),
    ("10.5", "float32", "length = np.sqrt(", "length = np.float32(1) * np.float32("),
]  # fmt: skip


@pytest.mark.parametrize("task, what, edits", [(t, what, edits) for t, what, *edits in WRONG])
def test_wrong_answers_that_passed_fail_under_every_seed(task, what, edits):
    source = find(task).right[0]
    for old, new in zip(edits[::2], edits[1::2], strict=True):
        assert old in source
        source = source.replace(old, new)
    assert [seed for seed in SEEDS if passes(find(task), source, seed)] == []


def test_the_solution_of_clipping_is_right_at_the_ends_of_what_its_text_names():
    answer = find("10.5").compile(find("10.5").right[0])
    for size in (1e-100, 1e100):
        a, b = answer([np.array([3 * size]), np.array([4 * size])], size)
        assert [a[0] / size, b[0] / size] == pytest.approx([0.6, 0.8])


def said(task, source):
    return verdict_on(find(task), source).text


def test_none_that_is_given_on_purpose_is_no_missing_return():
    old = "return rates[falls.index(max(falls))]"
    new = "i = falls.index(max(falls))\n            return rates[i] if i > 1 else None"
    text = said("12.2", find("12.2").right[0].replace(old, new))
    assert "got       None" in text and "`return`" not in text
    always = said("12.2", "def choose_rate(rates, losses): pass")
    assert "the result is the same for every input" in always
    assert "`return`" not in always and "a loop" not in always


def test_pythons_own_max_has_no_axis():
    assert not [m for m in mutate.mutants(find("10.4")) if "axis" in m.change]


def test_inputs_that_differ_look_different():
    x = np.array([[1.0, 1.0 + 1e-9]])
    assert judge.show(x, apart=True) == "[[1.         , 1.000000001]], shape (1, 2)"
    assert judge.show(x) == "[[1., 1.]], shape (1, 2)"
    assert "1.000000001" in said(
        "08.1", find("08.1").right[0].replace("x == top", "np.isclose(x, top)")
    )


def test_of_a_record_every_key_is_shown():
    source = find("13.5").right[0].replace("abs(used - own)", "(used - own)")
    text = said("13.5", source)
    assert "'used': [2. , 0.9, 0.5], shape (3,)" in text and "characters)" not in text


def test_what_the_training_went_through_is_told_in_words():
    old = "waited = waited + 1"
    source = find("12.3").right[0].replace(old, f"{old}\n                    weights = kept")
    text = said("12.3", source)
    assert "'calls of train_epoch': 4" in text
    assert "'each epoch goes on from the one before': True is expected, False came" in text


def test_single_numbers_in_lists_are_shown_as_python_writes_them():
    assert judge.show(([np.array(1.0), np.array(0.0)], [])) == "([1.0, 0.0], [])"


def test_a_case_is_called_no_step_only_where_none_is_done():
    cases, _ = judge.expected(find("12.5"), 0)
    assert {sum(a[4]) for group, a in cases if group == "no step"} == {0}
