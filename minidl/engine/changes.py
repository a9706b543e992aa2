"""Arrays that change, and the records that this makes wrong.

The one rule of this file: one clock gives results their numbers and changes their times.  So a
change whose time is later than a result's number came after it, and what the result's record needs
is no longer as it was.

Explained in course/08.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from .devices import address, array_module, explained, is_array
from .intercept import captured, modes, primitives, untraced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .devices import Array
    from .tensor import Operand, Tensor

clock: Callable[[], int] = count(1).__next__  # the next time, a number larger than all before it
_changed = {}  # memory -> the time of its last change
last_change = 0  # the time of the last change of any


def note_change() -> int:
    """Note that something changes at this moment; gives the time."""
    global last_change
    last_change = clock()
    return last_change


def mark_changed(*arrays: Array) -> None:
    """Note that these arrays have been written to."""
    time = note_change()
    for a in arrays:
        _changed[memory(a)] = time


def memory(a: Any) -> int:
    """A number for the memory in which array `a` lies; all its views have the same."""
    a = untraced(a)
    while getattr(a, "base", None) is not None and is_array(a.base):
        a = a.base
    if is_array(a) and not isinstance(a, np.ndarray):
        return address(a)
    return id(a)


def check_unchanged(y: Tensor) -> None:
    """Raise RuntimeError if y or one of its inputs was changed since y was made.

    It does so whether or not the rule of y's gradient would read what was changed.
    """
    if y.number > last_change:
        return
    for x in (y, *y.inputs):
        assigned = getattr(x, "number", 0) > y.number
        a = x
        if hasattr(x, "requires_grad"):
            a = x.data
        written = is_array(a) and _changed.get(memory(a), 0) > y.number
        if assigned or written:
            raise RuntimeError(
                f"an input or the result of {y.op.name}, of shape {a.shape}, was changed since, "
                "and its gradient may need it as it was: go back before it is changed, or write "
                "x = ..., which makes a new tensor"
            )


def change(x: Tensor, name: str, other: Operand) -> Tensor:
    """The Tensor x after `x += other` or the like: x holds what the primitive `name` gives.

    Where a record is due, x gets the record of the operation; its input is a tensor with the
    values and the record that x had before.
    """
    recorded = needs_record(x, other)
    before = x
    if recorded:
        before = _before(x, name)
    elif x.op is not None:
        raise RuntimeError(
            f"{name} in place, inside no_grad(), on a tensor whose record ({x.op}) would no longer "
            "be right; write x = ..., a new tensor, or change x.detach()"
        )
    if other is x:
        other = before
    elif not getattr(other, "requires_grad", False) and _overlaps(x, _operand(other)):
        other = _operand(other).copy()  # else it would change with x, under the record
    new = primitives[name](before, other)
    if new.shape != x.shape:
        raise ValueError(f"{name} in place: {x.shape} cannot become {new.shape}; write x = ...")
    write(x, ..., new.detach())
    if recorded:
        if new.dtype != x.dtype:
            new = primitives["cast"](new, dtype=x.dtype)
        x.requires_grad = True
        x.op, x.inputs, x.attrs = new.op, new.inputs, new.attrs
        x.number = last_change  # what was made of the older x finds it changed
    return x


def _overlaps(x, other):
    """Whether the array `other` lies in the memory of the Tensor x."""
    return is_array(other) and memory(other) == memory(x.data)


def needs_record(x: Tensor, other: Operand) -> bool:
    """Whether what is made of both must be recorded."""
    return modes.recording and (x.requires_grad or getattr(other, "requires_grad", False))


def _before(x, name):
    """A tensor with the values and the record that x has now, before x gets others."""
    if x.requires_grad and x.op is None:
        raise RuntimeError(
            f"{name} in place on a leaf that requires grad, whose gradient would be lost: change a "
            "parameter inside no_grad(), or its p.data; else write x = ..., a new tensor"
        )
    outside = modes.tracing and x.op is None and not modes.tracing.made(x)
    if outside or getattr(untraced(x.data), "base", None) is not None:
        raise RuntimeError(
            f"{name} in place with a record, on a tensor that is a view of another, or not made in "
            "the function that is compiled: that would have no record; write x = ..., a new tensor"
        )
    before = object.__new__(type(x))
    before.data = x.data.copy()
    before.grad, before.requires_grad = None, x.requires_grad
    before.op, before.inputs, before.attrs = x.op, x.inputs, x.attrs
    before.number = x.number
    return before


def write(x: Tensor, key: Any, value: Operand) -> None:
    """Write x[key] = value into the memory of the Tensor x, and note the change."""
    data = captured(x)
    value = _operand(value)
    if isinstance(key, tuple):
        key = tuple(map(_operand, key))
    else:
        key = _operand(key)
    array_module(data, value)  # raises unless both live on one device
    kind = getattr(value, "dtype", None) or np.result_type(data.dtype, value)
    if not np.can_cast(kind, data.dtype, "same_kind"):
        raise TypeError(f"a tensor of {data.dtype} cannot hold {kind}: x.astype({str(kind)!r}) can")
    if is_repeated(data):
        raise RuntimeError(
            "several elements of this tensor are one place in memory, as in what was broadcast: "
            "write into a copy, minidl.tensor(x)"
        )
    try:
        data[key] = value
    except (ValueError, IndexError) as error:
        raise explained(error, "writing in place", [data, value]) from error
    mark_changed(data)


def _operand(x):
    """What `x[i] = value` works with: the `captured` array of a Tensor; anything else as it is."""
    return captured(x) if hasattr(x, "requires_grad") else x


def is_repeated(a: Array) -> bool:
    """Whether several elements of array `a` are one place in memory, as in what was broadcast."""
    steps = getattr(untraced(a), "strides", ())
    # All steps of an array without elements are 0.
    return 0 in steps and a.size > 0 and any(step == 0 and n > 1 for step, n in zip(steps, a.shape))


def apart(
    found: Iterable[tuple[Tensor, Any]], taken: Iterable[Array]
) -> Iterator[tuple[Tensor, Any]]:
    """The same pairs (tensor, gradient), each gradient in memory of its own.

    So each can be changed in place.  A rule may give one array to two inputs, or one number that
    was broadcast; such a gradient is copied, and so is one that lies in an array of `taken`.
    """
    seen = {memory(a) for a in taken}
    for x, g in found:
        a = g
        if hasattr(g, "requires_grad"):
            a = g.data
        place = memory(a)
        if place in seen or is_repeated(a):
            g = g * 1  # a copy, with a record where g has one
        seen.add(place)
        yield x, g
