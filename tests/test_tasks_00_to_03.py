"""Answers to the tasks of lessons 00 to 03 that are in no bank: wrong ones fail under every seed,
right ones in other styles get all points."""

import numpy as np
import pytest

from grading.audit import passes, verdict_on
from grading.task import find

SEEDS = range(4)

# (task, what is wrong with it, a part of the first right answer, what stands there instead)
WRONG = [
    ("00.1", "rounded", "axis=(0, 1))", "axis=(0, 1)).round(5)"),
    ("00.1", "the type of the photo", "axis=(0, 1))", "axis=(0, 1)).astype(photo.dtype)"),
    ("00.2", "rounded squares", ".sum(axis=2)", ".sum(axis=2).round(12)"),
    ("00.2", "b in the type of a", "- b", "- b.astype(a.dtype)"),
    ("00.3", "1e-12 is nothing", "high > low, high", "high > low + 1e-12, high"),
    ("00.3", "the first and last rows", "photo.min(", "photo[[0, -1]].min("),
    ("00.3", "no high below 0", "photo.max(axis=(0, 1))", "photo.max(axis=(0, 1), initial=0)"),
    ("00.4", "0 is no threshold", "picture > threshold", "picture > (threshold or 0.5)"),
    ("00.4", "little above", "picture > threshold", "picture - threshold > 1e-6"),
    ("00.4", "ink of 0", "if len(rows) == 0:", "if not picture[mask].any():"),
    ("00.4", "ink below 0", "if len(rows) == 0:", "if picture.max(initial=0, where=mask) <= 0:"),
    ("00.5", "rounded", ".argmin(axis=1)", ".round(6).argmin(axis=1)"),
    ("00.5", "places in 8 bits", ".argmin(axis=1)", ".argmin(axis=1).astype(np.uint8)"),
    ("01.1", "counts in 16 bits", "dtype=int", "dtype=np.uint16"),
    ("01.1", "a hundred classes", "range(K)", "range(min(K, 100))"),
    ("01.2", "counts in 8 bits", "met.get(label, 0) + 1", "(met.get(label, 0) + 1) % 256"),
    ("01.2", "a hundred labels", "labels[sample]", "labels[sample] % 100"),
    ("01.3", "a hundred voters", "[:k]", "[:min(k, 100)]"),
    ("01.3", "votes in 8 bits", "np.bincount(voters)", "np.bincount(voters).astype(np.uint8)"),
    ("01.4", "a tolerance of its own", "<= tolerance", "<= max(tolerance, 1e-9)"),
    ("01.4", "nine of ten", "same.all(axis=1)", "(same.mean(axis=1) > 0.9)"),
    ("02.1", "counted in 8 bits", "labels[inside]).mean()",
     "labels[inside]).sum().astype(np.uint8) / (stop - start)"),
    ("02.2", "the sum of the groups", "(nearest == groups).all()", "nearest.sum() == groups.sum()"),
    ("02.2", "the sizes", "(nearest == groups).all()", "sorted(nearest) == sorted(groups)"),
    ("02.2", "a group at 0", "(groups == k).any()", "x[groups == k].any()"),
    ("02.2", "nearly at rest", "(nearest == groups).all()", "(nearest == groups).mean() > 0.98"),
    ("02.4", "1 % more is as close", "between.argmin()",
     "(between <= between.min() * 1.01).argmax()"),
    ("02.4", "a thousandth more", "between.argmin()",
     "(between <= between.min() * 1.001).argmax()"),
    ("03.1", "rounded scores", "scores.argmax()", "scores.round(6).argmax()"),
    ("03.2", "fifty passes", "* passes", "* min(passes, 50)"),
    ("03.2", "one pass at least", "* passes", "* max(passes, 1)"),
    ("03.2", "all but one will do", "right > best[2]", "right > best[2] and best[2] < len(x) - 1"),
    ("03.2", "one in a hundred more", "right > best[2]",
     "right / len(x) > best[2] / len(x) + 0.01"),
    ("03.3", "w must be there", "if margin <= 0:", "if margin <= 0 or not w.any():"),
    ("03.3", "1e-12 is nothing", "if margin <= 0:", "if margin < 1e-12:"),
    ("03.4", "200 passes", "if wrong == 0", "if wrong == 0 or len(seen) > 200"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "what", "old", "new"), WRONG, ids=lambda v: str(v)[:24])
def test_a_wrong_answer_fails_under_every_seed(name, what, old, new):
    task = find(name)
    source = task.right[0]
    assert old in source
    assert [seed for seed in SEEDS if passes(task, source.replace(old, new), seed)] == []


RIGHT = [
    ("00.2", "def distances(a, b):\n    a, b = np.float32(a), np.float32(b)\n"
     "    return np.sqrt(((a[:, None] - b) ** 2).sum(-1))"),
    ("00.5", "def poster(photo, palette):\n    out = np.zeros(photo.shape)\n"
     "    for i in np.ndindex(photo.shape[:2]):\n"
     "        out[i] = palette[((photo[i] - palette) ** 2).sum(axis=1).argmin()]\n    return out"),
    ("00.3", "def stretch(photo):\n    photo = np.float32(photo)\n"
     "    low, high = photo.min((0, 1)), photo.max((0, 1))\n"
     "    return (photo - low) / np.where(high == low, 1, high - low)"),
]  # fmt: skip


def test_an_end_when_the_sizes_of_the_groups_rest_fails_under_twelve_seeds():
    task = find("02.2")
    known = [source for sentence, source in task.bank() if "groups' sizes stay" in sentence]
    assert len(known) == 2
    assert [s for s in range(12) for source in known if passes(task, source, s)] == []


@pytest.mark.parametrize(("name", "source"), RIGHT)
def test_a_right_answer_in_another_style_gets_all_points(name, source):
    task = find(name)
    for seed in SEEDS:
        assert verdict_on(task, source, seed).text == ""


def test_a_proof_with_too_many_weights_is_not_called_an_error_of_the_answer():
    task = find("03.4")
    source = task.right[0].replace('"separable", w, b', '"separable", np.append(w, b), b')
    verdict = verdict_on(task, source)
    assert "ValueError" not in verdict.text
    assert "numbers in w" in verdict.text
    assert verdict.points < task.points


def test_a_pocket_that_is_trained_further_is_named_for_what_it_is():
    task = find("03.2")
    [sentence] = [s for s, _ in task.bank() if s.startswith("each pass begins with the weights")]
    source = dict(task.bank())[sentence]
    for seed in SEEDS:
        assert verdict_on(task, source, seed).mistake == sentence


def test_the_inputs_of_a_seed_are_the_same_each_time():
    for name in ("00.3", "02.2", "03.2"):
        first, second = (list(find(name).cases(np.random.default_rng(3))) for _ in range(2))
        assert repr(first) == repr(second)
