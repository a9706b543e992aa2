"""Tables in files: columns of numbers, of words, and with gaps become arrays.

The one rule of this file: nothing is guessed.  A cell that does not fit is named with its line and
column, and whoever reads a table says what becomes of words and gaps.

Explained in course/11.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

from .. import advice
from .loader import ArrayDataset


class Table(ArrayDataset):
    """What `read_csv` gives: an ArrayDataset that knows how it was read.

    columns: the names of the columns of x; "colour=red" holds 1.0 where the word was red.
    options: the arguments by which `read_csv` reads another file into the same columns, with the
        same classes, words and means.  json.dumps can write them, to be kept beside the weights.
    """

    def __init__(
        self,
        *arrays: np.ndarray,
        classes: Sequence[str] | None,
        columns: list[str],
        options: dict[str, Any],
    ) -> None:
        super().__init__(*arrays, classes=classes)
        self.columns = columns
        self.options = options


def read_csv(
    path: str | PathLike[str],
    *,
    target: str | None,
    features: Iterable[str] | None = None,
    classes: Iterable[str] | None = None,
    numeric: bool | None = None,
    words: str | Mapping[str, Iterable[str]] = "error",
    empty: str | Mapping[str, float] = "error",
    na_values: Iterable[str] = (),
    delimiter: str = ",",
) -> Table:
    """The data set in a CSV file, whose first line names the columns: x (N, D) and y (N,).

    target: the column of y.  It holds words, and y says which of `classes` (default: all its words,
        sorted) each is, as int64; or, with `numeric`, numbers, read as float32.  None: there is no
        y, as in a file of which the answers are sought.
    numeric: whether the target's numbers are read as such.  Where they are the names of classes,
        such as 0 and 1, say False, or give `classes`; for words it need not be said.
    features: the columns of x, in this order; default: all but `target`.  Read as float32.
    words: what becomes of a column of words, that is one without any number.  "error"; or
        "one-hot": it becomes a column for each of its words, sorted, 1.0 where the word stands,
        else 0.0.  A dict column -> its words makes this of these columns, of no others, and also
        of such as have numbers for names.
    empty: what becomes of a cell with nothing in it.  "error"; or "mean": for a number, the mean of
        the others in its column; for a word, no word, 0.0 in each of its columns.  A dict
        column -> number gives the numbers.
    na_values: what means that there is nothing in a cell, such as ["NA", "?"], in any column.
    delimiter: what stands between two cells.

    A second file is read like the first by read_csv("test.csv", **train.options), and one without
    answers by **train.options | {"target": None}.
    Raises ValueError, which names line and column, for a cell that does not fit.
    pandas does this by get_dummies and fillna; it guesses what a column holds, and which words,
    such as NA, mean nothing.
    """
    if not isinstance(target, str | None):
        raise TypeError(f"read_csv: target is the name of one column, or None, got {target!r}")
    features = _list("features", features)
    na_values = _list("na_values", na_values)
    names, rows = _read(path, delimiter, {*na_values})
    if features is None:
        features = [name for name in names if name != target]
    wanted = {*features, target} - {None}
    if not rows or not features or target in features or not wanted <= {*names}:
        told = f"got {len(rows)} rows with columns {names}, as the first line has them"
        if len(names) == 1:
            told += "; delimiter= is what stands between two cells"
        raise ValueError(
            f"{path}: expected rows with features {features} and another target {target!r}, {told}"
        )
    words = _by_column("words", words, "one-hot", features, partial(_words, rows))
    words = {name: [*some] for name, some in words.items() if len(some)}
    of_numbers = [name for name in features if name not in words]
    means = _by_column("empty", empty, "mean", of_numbers, partial(_mean, path, rows))

    columns, parts = [], []
    for name in features:
        if known := words.get(name):
            places = {word: k for k, word in enumerate(known)}
            if empty != "error":
                places.setdefault("", -1)  # which is in none of the columns
            found = _cells(path, rows, name, places.__getitem__, f"one of {known}")
            parts.append(np.equal.outer([*found], range(len(known))))  # (N,) and (K,) -> (N, K)
            columns += [f"{name}={word}" for word in known]
        else:
            found = _cells(path, rows, name, _number(means.get(name, "")), "a number")
            parts.append(np.array([*found])[:, None])  # (N,) -> (N, 1)
            columns.append(name)
    arrays = [np.hstack(parts).astype(np.float32)]  # (N, D)
    if target is not None and numeric:
        arrays.append(np.array([*_cells(path, rows, target, float, "a number")], np.float32))
    elif target is not None:
        classes = _list("classes", classes) or _classes(path, rows, target, numeric)
        found = _cells(path, rows, target, classes.index, f"one of {classes}")
        arrays.append(np.array([*found], np.int64))
    options = {
        "target": target, "features": features, "classes": classes, "numeric": numeric,
        "words": words, "empty": means or empty, "na_values": na_values, "delimiter": delimiter,
    }  # fmt: skip
    return Table(*arrays, classes=classes, columns=columns, options=options)


def _list(name, some):
    """Words as a list, or None.  Raises TypeError for one word alone, and for what are none."""
    words = None if some is None else [*some]
    if isinstance(some, str) or not all(isinstance(word, str) for word in words or ()):
        raise TypeError(f"read_csv: {name} is a list of words, as they stand in the file, such as "
                        f"['0', '1'], got {some!r:.60}")  # fmt: skip
    return words


def _read(path, delimiter, nothing):
    """The names of the columns, and for each row the number of its line and a dict of its cells,
    "" for those in the set `nothing`.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            names = [*(reader.fieldnames or [])]
            rows = [(reader.line_num, row) for row in reader]
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not in UTF-8, {error.reason}: write it anew, "
                'Path(new).write_text(Path(old).read_text("latin-1"), "utf-8"), if it is Latin-1'
            ) from None
    if len({*names}) < len(names):
        raise ValueError(f"{path}: two columns have one name, in {names}")
    if wide := [line for line, row in rows if None in row]:
        raise ValueError(f"{path}, line {wide[0]}: more cells than the {len(names)} columns")
    if narrow := [line for line, row in rows if None in row.values()]:
        raise ValueError(f"{path}, line {narrow[0]}: fewer cells than the {len(names)} columns")

    def cells(row):
        stripped = {name: row[name].strip() for name in names}
        return {name: "" if cell in nothing else cell for name, cell in stripped.items()}

    return names, [(line, cells(row)) for line, row in rows]


_GAPS = (
    'in features words="one-hot" takes a column of words alone, empty="mean" cells with nothing in '
    'them, and na_values=["NA"] says which words mean nothing'
)
_UNKNOWN = "read the file first that has all of the words, or list them in words= and classes="


def _cells(path, rows, name, convert, expected):
    """The cells of a column, each converted to a finite number."""
    for line, row in rows:
        try:
            value = convert(row[name])
            if not math.isfinite(value):
                raise ValueError
        except (ValueError, KeyError):
            remedy = _GAPS
            if expected.startswith("one of") and row[name]:
                remedy = _UNKNOWN
            raise ValueError(
                f"{path}, line {line}, column {name!r}: expected {expected}, got {row[name]!r}; "
                f"{remedy}"
            ) from None
        yield value


def _by_column(option, given, word, features, find):
    """What an option says, as a dict: nothing, or what is found for each feature, or what is given
    for some of them.
    """
    if given == "error":
        return {}
    if given == word:
        return {name: find(name) for name in features}
    if isinstance(given, Mapping) and {*given} <= {*features}:
        return {**given}
    raise ValueError(f"{option}: expected 'error', {word!r}, or a dict whose keys are of the "
                     f"features {features}, got {given!r}")  # fmt: skip


def _words(rows, name):
    """The words of a column, sorted; none if there is a number among them."""
    found = sorted({row[name] for _, row in rows} - {""})
    return [] if any(map(_is_number, found)) else found


def _classes(path, rows, target, numeric):
    """The words of the target, sorted; or its numbers, where `numeric` says that they are names."""
    found = {row[target] for _, row in rows} - {""}
    if not found or not all(map(_is_number, found)):
        return sorted(found)
    if numeric is None:
        raise ValueError(
            f"{path}: the target {target!r} holds numbers, such as {min(found)}: say numeric=True "
            "to read them as numbers, or numeric=False where they are the names of classes"
        )
    return sorted(found, key=float)


def _is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(gap):
    """A function that gives the number in a cell, or `gap` where there is nothing in it."""
    return lambda cell: float(cell or gap)


def _mean(path, rows, name):
    """The mean of a column's numbers."""
    there = [(line, row) for line, row in rows if row[name]]
    if not there:
        raise ValueError(f"{path}, column {name!r}: no number to take the mean of")
    return float(np.mean([*_cells(path, there, name, float, "a number")]))


advice.functions(__name__)
