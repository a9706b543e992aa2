"""What the lessons use: a figure that also says in words what it shows, and "your turn".

    from course.lesson import show, turn

The one rule of this file: a reader who sees no picture, or writes nothing, misses nothing that
comes after.  So `turn` never raises: whatever was written, it says what is wrong, and goes on.
"""

import html
import inspect
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display

RTOL, ATOL = 1e-6, 1e-9
_MOST = 300  # letters of a value that are shown
_UNTRIED = "Your turn: not tried yet."
_NO_VALUE = "there is no value (None); is a `return` missing, or what should stand behind it?"


def beside(name):
    """The path of a file that lies beside the lessons, "data/sunspots.csv"; from any folder."""
    path = Path(__file__).parent / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is not beside the lessons, in {path.parent}")
    return path


def show(words):
    """Show the figure that was drawn last, and under it, folded, what it shows in words.

    words: one or two sentences for a reader who cannot see it: what is drawn, and what one sees.
    They become the image's alternative text too.
    """
    if not plt.get_fignums():
        raise RuntimeError("show: there is no figure; draw it in the same cell, before show")
    figure, shell = plt.gcf(), get_ipython()
    data, metadata = shell.display_formatter.format(figure) if shell else ({}, {})
    if "image/png" not in data:  # a program, or a terminal: nothing there shows a picture in place
        plt.show()
        return
    words = " ".join(words.split())
    # JupyterLab shows the first line in place of a folded output: it must not tell the answer.
    data["text/plain"] = f"A figure, in words:\n{words}"
    metadata["image/png"] = {**metadata.get("image/png", {}), "alt": words}
    display(data, metadata=metadata, raw=True)
    folded = f"<details><summary>The figure in words</summary>{html.escape(words)}</details>"
    display({"text/html": folded, "text/plain": ""}, raw=True)
    plt.close(figure)


def turn(given, right, *, mistakes=None, rtol=RTOL, atol=ATOL):
    """Say whether `given`, what a reader wrote, is what is `right`.

    given: a value; or a function without arguments that gives it, `lambda: f(2.0)`.  An Ellipsis in
    it means that the blank is still there.
    right: a number, an array, a Tensor, a text, a truth value, None, or a tuple, list, dict or set
    of such.
    mistakes: {a sentence that names a mistake: what it gives}; the sentence is printed if
    `given` is that.

    Whole numbers must be the same; others may differ by atol + rtol * abs(right), and by what a
    float32 cannot hold, if `given` is one.
    """
    try:
        given = _value(given, right)
        if _blank(given):
            print(_UNTRIED)
            return
        wrong = _different(given, right, rtol, atol)
    except _Said as said:
        wrong = str(said)
        if wrong == _UNTRIED:
            print(wrong)
            return
    except Exception as error:  # of an object that answers no question
        wrong = f"yours is {_short(given)}, which cannot be compared ({type(error).__name__})"
    if wrong is None:
        print("Right.")
        return
    print(f"Not yet: {wrong}.")
    for sentence, value in (mistakes or {}).items():
        if _different(given, value, rtol, atol) is None:
            print(sentence)
            return


class _Said(Exception):
    """What there is to say before two values can be compared."""


def _value(given, right):
    """What the reader's lines give."""
    if callable(right) or not callable(given):
        return given
    if not _needs_nothing(given):
        raise _Said(f"yours is {_short(given)}, not a value; is its call missing, as in f(x)?")
    try:
        value = given()
    except (Exception, SystemExit) as error:
        try:
            words = _cut(str(error))
        except Exception:
            words = "it cannot say why"
        if "ellipsis" in words:  # something was done with the blank
            raise _Said(_UNTRIED) from None
        raise _Said(f"your lines stop with {type(error).__name__}: {words}") from None
    if callable(value):
        raise _Said(f"yours is {_short(value)}, not a value; is its call missing, as in f(x)?")
    return value


def _needs_nothing(function):
    """Whether this is a function of the notebook that can be called without arguments."""
    if not inspect.isfunction(function):
        return False  # np.max, x.sum, a class
    wanted = inspect.signature(function).parameters.values()
    optional = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return all(p.default is not p.empty or p.kind in optional for p in wanted)


def _blank(value, depth=8):
    """Whether a blank is left in a value; depth keeps from running round in a circle."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = list(value.flat)
    if isinstance(value, (tuple, list, set, frozenset)):
        return depth > 0 and any(_blank(part, depth - 1) for part in value)
    return value is ...


# ---- how two values differ, as half a sentence; None if they do not


def _different(given, right, rtol, atol):
    """As `_difference`, but whatever goes wrong on the way is a difference too."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _difference(_plain(given), _plain(right), rtol, atol)
    except Exception as error:
        return f"yours is {_short(given)}, which cannot be compared ({type(error).__name__})"


def _difference(given, right, rtol, atol):
    if given is None and right is not None:
        return _NO_VALUE
    if isinstance(right, dict):
        return _dict_difference(given, right, rtol, atol)
    if isinstance(right, np.ndarray) and right.dtype.kind not in "biufc" and right.ndim:
        right = list(right)
    if isinstance(right, (tuple, list)) and not _is_table(right):
        if isinstance(given, np.ndarray) and given.ndim:
            given = list(given)
        if not isinstance(given, (tuple, list)):
            return f"yours is {_short(given)}, wanted are {len(right)} values"
        if len(given) != len(right):
            return f"yours are {len(given)} values, {_short(given)}; wanted are {len(right)}"
        parts = [(f"value {i + 1}: ", a, b) for i, (a, b) in enumerate(zip(given, right))]
        return _first_difference(parts, rtol, atol)
    if _is_numbers(right):
        return _number_difference(given, right, rtol, atol)
    if isinstance(right, (set, frozenset)) and not isinstance(given, (set, frozenset)):
        return f"yours is {_short(given)}, wanted a set"
    same = (given is right) or bool(given == right)
    return None if same else f"yours is {_short(given)}, wanted {_short(right)}"


def _dict_difference(given, right, rtol, atol):
    if not isinstance(given, dict):
        return f"yours is {_short(given)}, wanted a dict with the keys {_short(list(right))}"
    if missing := [key for key in right if key not in given]:
        return f"yours has no key {_short(missing[0])}; its keys are {_short(list(given))}"
    if strange := [key for key in given if key not in right]:
        return f"yours has a key {_short(strange[0])}; wanted are only {_short(list(right))}"
    parts = [(f"at {_short(key)} ", given[key], right[key]) for key in right]
    return _first_difference(parts, rtol, atol)


def _first_difference(parts, rtol, atol):
    for where, given, right in parts:
        wrong = _difference(given, right, rtol, atol)
        if wrong is not None:
            return where + wrong
    return None


def _number_difference(given, right, rtol, atol):
    mine, theirs = _array(given), _array(right)
    if mine is None:
        return f"yours is {_short(given)}, wanted {_wanted(theirs)}"
    if (mine.dtype.kind == "b") != (theirs.dtype.kind == "b") and mine.shape == theirs.shape:
        return f"yours is {_short(given)}, wanted {_wanted(theirs)}"
    if mine.shape != theirs.shape:
        yours = (
            f"yours has the shape {mine.shape}" if mine.shape else f"yours is one number, {mine}"
        )
        return f"{yours}; wanted is {f'the shape {theirs.shape}' if theirs.shape else 'one number'}"
    near = _near(mine, theirs, rtol, atol)
    if near.all():
        return None
    at = tuple(int(i) for i in np.argwhere(~near)[0])
    where = f"at {list(at)} " if at else ""
    return f"{where}yours is {_cut(str(mine[at]))}, wanted {_cut(str(theirs[at]))}"


def _near(mine, theirs, rtol, atol):
    """Which numbers are the same, as near as numbers of their kind can be."""
    if mine.dtype.kind in "biuO" and theirs.dtype.kind in "biuO":
        return np.asarray(mine == theirs, dtype=bool)
    if mine.dtype.kind == "O" or theirs.dtype.kind == "O":
        mine, theirs = mine.astype(float), theirs.astype(float)
    if mine.dtype.kind in "fc":
        rtol = max(rtol, min(100 * np.finfo(mine.dtype).eps, 0.01))
    near = np.isclose(mine, theirs, rtol=rtol, atol=atol, equal_nan=True)
    if theirs.dtype.kind in "iu":  # a large count that is one off is wrong
        near &= abs(mine - theirs) < 0.5
    return near


def _wanted(array):
    """Of which kind numbers are, in words."""
    if array.dtype.kind == "b":
        return "True or False" if array.shape == () else "an array of True and False"
    return "a number" if array.shape == () else f"numbers of the shape {array.shape}"


def _is_numbers(value):
    if isinstance(value, (tuple, list)):
        return _is_table(value)
    return isinstance(value, (bool, int, float, complex, np.ndarray, np.generic)) and (
        _array(value) is not None
    )


def _is_table(value):
    """Whether a list or tuple is a table of numbers, so that its shape may be compared."""
    if not value:
        return True
    table = _array(value)
    if table is None or table.dtype.kind == "O":
        return False
    leaves = np.empty(0) if table.dtype.kind == "b" else np.asarray(value, dtype=object).flat
    return not any(isinstance(leaf, (bool, np.bool_)) for leaf in leaves)


def _array(value):
    """The numbers of an array, a list or a number; whole numbers too large for one stay whole."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if array.dtype.kind == "O" and array.size and all(type(n) is int for n in array.flat):
        return array
    return array if array.dtype.kind in "biufc" else None


def _plain(value, depth=8):
    """A value with arrays in place of Tensors."""
    if depth and isinstance(value, (tuple, list)):
        kind = tuple if isinstance(value, tuple) else list
        return kind(_plain(part, depth - 1) for part in value)
    if depth and isinstance(value, dict):
        return {key: _plain(part, depth - 1) for key, part in value.items()}
    if hasattr(value, "detach"):
        return np.asarray(value.detach().numpy())
    if hasattr(value, "to_numpy"):  # of pandas
        return np.asarray(value.to_numpy())
    return value


def _short(value):
    try:
        return _cut(" ".join(repr(value).split()))
    except Exception:
        return f"a {type(value).__name__}"


def _cut(text):
    return text if len(text) <= _MOST else text[:_MOST] + " ..."
