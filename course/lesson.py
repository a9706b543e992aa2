"""What the lessons use: a figure that also says in words what it shows, and "your turn".

    from course.lesson import show, turn

The one rule of this file: a reader who sees no picture, or writes nothing, misses nothing that
comes after.
"""

import html

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.display import display

RTOL, ATOL = 1e-6, 1e-9
_MOST = 300  # letters of a value that are shown


def show(words):
    """Show the figure that was drawn last, and under it, folded, what it shows in words.

    words: one or two sentences for a reader who cannot see it: what is drawn, and what one sees.
    They become the image's alternative text too.
    """
    figure = plt.gcf()
    shell = get_ipython()
    if shell is None:  # a program, not a notebook
        plt.show()
        return
    data, metadata = shell.display_formatter.format(figure)
    data["text/plain"] = words
    metadata["image/png"] = {**metadata.get("image/png", {}), "alt": words}
    display(data, metadata=metadata, raw=True)
    folded = f"<details><summary>The figure in words</summary>{html.escape(words)}</details>"
    display({"text/html": folded, "text/plain": ""}, raw=True)
    plt.close(figure)


def turn(given, right, *, mistakes=None, rtol=RTOL, atol=ATOL):
    """Say whether `given`, what a reader wrote, is what is `right`.

    given: a value; or a function without arguments that gives it, `lambda: f(2.0)`.  An Ellipsis in
    it means that the blank is still there.
    right: a number, an array, a text, a truth value, or a tuple, list or dict of such.
    mistakes: {a sentence that names a mistake: what it gives}; the sentence is printed if
    `given` is that.
    """
    if callable(given):
        try:
            given = given()
        except Exception as error:
            print(f"Not yet: your lines stop with {type(error).__name__}: {error}")
            return
    if _blank(given):
        print("Your turn: not tried yet.")
        return
    wrong = _difference(given, right, rtol, atol)
    if wrong is None:
        print("Right.")
        return
    print(f"Not yet: {wrong}.")
    for sentence, value in (mistakes or {}).items():
        if _difference(given, value, rtol, atol) is None:
            print(sentence)
            return


def _blank(value):
    if isinstance(value, dict):
        return any(_blank(part) for part in value.values())
    if isinstance(value, (tuple, list)):
        return any(_blank(part) for part in value)
    return value is ...


def _difference(given, right, rtol, atol):
    """How `given` differs from `right`, as half a sentence; None if it does not."""
    if given is None:
        return "there is no value; is a `return` missing?"
    if isinstance(right, dict):
        if not isinstance(given, dict) or set(given) != set(right):
            return f"yours is {_short(given)}, wanted is a dict with the keys {_short(list(right))}"
        parts = [(f"at {key!r} ", given[key], right[key]) for key in right]
        return _first_difference(parts, rtol, atol)
    if isinstance(right, (tuple, list)) and not _is_numbers(right):
        if not isinstance(given, (tuple, list)) or len(given) != len(right):
            return f"yours is {_short(given)}, wanted are {len(right)} values"
        parts = [(f"value {i + 1}: ", a, b) for i, (a, b) in enumerate(zip(given, right))]
        return _first_difference(parts, rtol, atol)
    if isinstance(right, str) or right is None:
        return None if given == right else f"yours is {_short(given)}, wanted {right!r}"
    return _number_difference(given, right, rtol, atol)


def _first_difference(parts, rtol, atol):
    for where, given, right in parts:
        wrong = _difference(given, right, rtol, atol)
        if wrong is not None:
            return where + wrong
    return None


def _number_difference(given, right, rtol, atol):
    try:
        mine, theirs = _array(given), _array(right)
    except (TypeError, ValueError):
        return f"yours is {_short(given)}, wanted numbers"
    if mine.dtype.kind not in "biufc":
        return f"yours is {_short(given)}, wanted numbers"
    if mine.shape != theirs.shape:
        return f"yours has the shape {mine.shape}, wanted is {theirs.shape}"
    if theirs.dtype.kind == "b" and mine.dtype.kind != "b":
        return f"yours is {_short(given)}, wanted True or False"
    near = np.isclose(mine, theirs, rtol=rtol, atol=atol, equal_nan=True)
    if near.all():
        return None
    at = tuple(int(i) for i in np.argwhere(~near)[0])
    where = f"at {list(at)} " if at else ""
    return f"{where}yours is {mine[at]}, wanted {theirs[at]}"


def _is_numbers(value):
    """Whether a list or tuple is a table of numbers, so that its shape may be compared."""
    try:
        return np.asarray(value).dtype.kind in "biufc"
    except ValueError:
        return False


def _array(value):
    """The numbers of an array, a Tensor, a list or a number."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return np.asarray(value)


def _short(value):
    text = repr(value)
    return text if len(text) <= _MOST else text[:_MOST] + " ..."
