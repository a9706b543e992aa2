"""What wrong results have to do with the right ones, in words: facts, which hold for all of them.

The one rule of this file: a sentence is said only if it is true of every case that fails, so it
cannot accuse wrongly, however the answer was written.
"""

import itertools
from dataclasses import dataclass

import numpy as np

ALWAYS = "in each case that fails, "
AGAIN = "the second call with the same inputs gives something else: something is kept between calls"


@dataclass(frozen=True)
class Case:
    """A case that was tried: its group and inputs, what is right, what came first (`got`), and
    what is wrong with it, as `judge.fault` says; names: of the inputs."""

    group: str
    names: tuple
    inputs: tuple
    right: object
    got: object
    fault: str


def relation(cases, same, complete=True):
    """A sentence about all that fails, or an empty string.

    cases: all that were tried.  same(a, b): whether two results are equal.  complete: whether all
    cases of the task were tried.
    """
    failing = [case for case in cases if case.fault]
    kinds = {case.fault for case in failing}
    if kinds == {"inputs"}:
        return f"{ALWAYS}the result is right, and an input is changed by the call"
    if "again" in kinds:
        return AGAIN
    if kinds == {"value"}:
        found = _errors(failing) or _results(cases, failing, same)
        if found:
            return ALWAYS + found
    return _where(cases) if complete else ""


def _errors(failing):
    """A sentence if all that fails raises the same error."""
    if not all(isinstance(case.got, Exception) for case in failing):
        return ""
    kinds = {type(case.got).__name__ for case in failing}
    if len(kinds) > 1 or any(hasattr(case.got, "no_error") for case in failing):
        return ""
    return f"the function stops with {kinds.pop()}"


def _results(cases, failing, same):
    if any(isinstance(v, Exception) for case in failing for v in (case.got, case.right)):
        return ""
    on_purpose = any(case.right is None for case in cases)
    if all(case.got is None for case in failing) and not on_purpose:
        return "the function gives nothing back (None), as without a `return`"
    values = [case.got for case in cases]
    differ = any(not same(case.right, cases[0].right) for case in cases)
    if len(cases) > 2 and differ and all(same(values[0], value) for value in values[1:]):
        return "the result is the same for every input"
    if found := _an_input(failing, same):
        return found
    return between([(case.right, case.got) for case in failing], same)


def _an_input(failing, same):
    for i, name in enumerate(failing[0].names):
        if all(i < len(c.inputs) and same(c.inputs[i], c.got) for c in failing):
            return f"`{name}` comes back as it was given"
    return ""


def between(pairs, same):
    """How each of the pairs (right, got) is related, if all are so in one way; else ""."""
    if all(isinstance(right, tuple) for right, _ in pairs):
        return _parts(pairs, same)
    arrays = []
    for pair in pairs:
        a, b = map(_numbers, pair)
        if a is None or b is None or not a.size or not b.size:
            return ""
        arrays.append((a, b))
    with np.errstate(all="ignore"):
        numbers = _of_numbers(arrays) if sum(_telling(a, b) for a, b in arrays) > 1 else []
        for sentence, holds in [*numbers, *_of_places(same)]:
            if all(holds(a, b) for a, b in arrays):
                return sentence
    return ""


def _telling(right, got):
    """Whether a pair shows a relation: not by 0 or 1, which many relations leave as they are."""
    if right.shape != got.shape:
        return False
    apart = abs(right - got) > 1e-3 * np.maximum(abs(right), abs(got))
    return bool((apart & (abs(right) > 1e-3) & (abs(got) > 1e-3) & (abs(right) != 1)).any())


def _exact(a, b):
    """Whether a relation gives b: closer than any task asks, for it must not hold by chance."""
    top = np.max(abs(a), where=np.isfinite(a), initial=0)
    near = abs(a - b) <= 1e-4 * np.minimum(abs(a), abs(b)) + 1e-12 * top
    return bool((near | (a == b) | ((a != a) & (b != b))).all())


def _numbers(value):
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array * 1.0 if array.dtype.kind in "biuf" else None


def _parts(pairs, same):
    """The same for results of several parts."""
    n = len(pairs[0][0])
    if any(len(right) != n for right, _ in pairs):
        return ""
    for i in range(n):
        if all(same(right[i], got) for right, got in pairs):
            return f"result {i + 1} comes alone; {n} results are asked for"
    if not all(isinstance(got, (tuple, list)) and len(got) == n for _, got in pairs):
        return ""
    for order in itertools.permutations(range(n)):
        if all(same(right, tuple(got[k] for k in order)) for right, got in pairs):
            return "the results are right, and stand in another order"
    wrong = {i for right, got in pairs for i in range(n) if not same(right[i], got[i])}
    if len(wrong) == 1:
        i = wrong.pop()
        inside = between([(right[i], got[i]) for right, got in pairs], same)
        return f"result {i + 1} alone is wrong" + (f": {inside}" if inside else "")
    return ""


def _of_places(same):
    """Pairs (sentence, holds(right, got)) about where the numbers stand."""

    def one_axis(right, got):
        return right.shape != got.shape and same(np.squeeze(right), np.squeeze(got))

    def turned(right, got):
        return right.ndim > 1 and same(right, got.T)

    def but(cut_right, cut_got):
        def holds(right, got):
            if min(right.ndim, got.ndim) == 0 or right[cut_right].size < 2:
                return False  # that nothing equals nothing says little
            return same(right[cut_right], got[cut_got])

        return holds

    def reordered(right, got):
        return right.shape == got.shape and same(np.sort(right, axis=None), np.sort(got, axis=None))

    def reshaped(right, got):
        return right.size == got.size and same(right.ravel(), got.ravel())

    everything = slice(None)
    return (
        ("an axis of length 1 is missing, or one is too many", one_axis),
        ("rows and columns are exchanged", turned),
        ("the last one is missing", but(slice(None, -1), everything)),
        ("the first one is missing", but(slice(1, None), everything)),
        ("there is one too many at the end", but(everything, slice(None, -1))),
        ("there is one too many at the beginning", but(everything, slice(1, None))),
        ("the order is turned round", but(everything, slice(None, None, -1))),
        ("the right numbers stand in another shape", reshaped),
        ("the right numbers stand in another order", reordered),
        ("all is right but the last one", but(slice(None, -1), slice(None, -1))),
        ("all is right but the first one", but(slice(1, None), slice(1, None))),
    )


def _of_numbers(arrays):
    """Pairs (sentence, holds(right, got)) about the numbers, where the shapes are right."""

    def with_shape(holds):
        return lambda right, got: right.shape == got.shape and holds(right, got)

    found = [
        ("the sign is turned round", lambda r, g: _exact(-r, g)),
        ("the numbers are right but for their signs", lambda r, g: _exact(abs(r), abs(g))),
        ("each number is the square of what it should be", lambda r, g: _exact(r * r, g)),
        ("each number is the root of what it should be", lambda r, g: _exact(np.sqrt(r), g)),
        ("each number is 1 divided by what it should be", lambda r, g: _exact(1 / r, g)),
        ("each number is 1 minus what it should be", lambda r, g: _exact(1 - r, g)),
        ("the numbers are cut to whole ones", lambda r, g: _exact(np.trunc(r), g)),
    ]
    for n in range(4):
        found.append(
            (f"the numbers are rounded to {n} digits", lambda r, g, n=n: _exact(r.round(n), g))
        )
    right, got = arrays[0]
    if right.shape == got.shape:
        at = np.unravel_index(np.argmax(abs(right)), right.shape)
        factor, more = got[at] / right[at], (got - right)[at]
        if np.isfinite(factor) and factor and f"{factor:.4g}" not in ("1", "-1"):
            words = f"each number is {factor:.4g} times what it should be"
            found.append((words, lambda r, g: _exact(factor * r, g)))
        if np.isfinite(more) and abs(more) > 1e-3 * abs(right[at]):
            words = f"each number is {abs(more):.4g} too {'large' if more > 0 else 'small'}"
            found.append((words, lambda r, g: _exact(r + more, g)))
    return [(sentence, with_shape(holds)) for sentence, holds in found]


# ---- what the inputs that fail have in common


def _arrays(case):
    return [a for a in case.inputs if isinstance(a, np.ndarray) and a.dtype.kind in "fi"]


_TRAITS = (
    ("some number is below 0", lambda case: any((a < 0).any() for a in _arrays(case))),
    ("some number is not whole", lambda case: any((a % 1 > 0).any() for a in _arrays(case))),
    ("an array is empty", lambda case: any(not a.size for a in _arrays(case))),
    ("there are more than 20 rows", lambda case: any(len(a) > 20 for a in _arrays(case) if a.ndim)),
    ("a number is nan", lambda case: any((a != a).any() for a in _arrays(case))),
    ("an axis has length 1", lambda case: any(1 in a.shape for a in _arrays(case))),
)


def _where(cases):
    """A sentence if exactly the inputs of one kind fail, and enough others do not.

    A trait of inputs is told only where it parts the cases of one group in several groups: where
    it only parts groups, so does whatever else they differ in.
    """
    right = [case for case in cases if not case.fault]
    if len(right) < 3:
        return ""
    failing = {case.group for case in cases if case.fault}
    if len(failing & {case.group for case in right}) > 1:
        with np.errstate(all="ignore"):
            for words, holds in _TRAITS:
                if all(holds(case) == bool(case.fault) for case in cases):
                    return f"it fails on the inputs in which {words}, and on no other"
    groups = failing
    if len(groups) == 1 and all(c.fault for c in cases if c.group in groups):
        return f'it fails on "{groups.pop()}" and on nothing else'
    return ""
