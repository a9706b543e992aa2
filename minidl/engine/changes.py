"""Arrays that change, and the records that this makes wrong.

The one rule of this file: a change is dated.  Results are numbered as they are made, changes by the
same clock; so a record that needs an array as it was is known by its number to come too late.

Explained in course/08.
"""

from itertools import count

import numpy as np

from .devices import address, array_module, explained, is_array
from .intercept import captured, modes, plain, primitives

clock = count(1).__next__  # what numbers results and dates changes
_changed = {"last": 0}  # memory -> the time of its last change; "last": of any


def now():
    """The time of a change that happens at this moment, which it notes as the last."""
    _changed["last"] = clock()
    return _changed["last"]


def date(*arrays):
    """Note that these arrays have been written to."""
    time = now()
    for a in arrays:
        _changed[memory(a)] = time


def memory(a):
    """What tells the memory in which array `a` lies from any other; all its views have the same."""
    a = plain(a)
    while is_array(getattr(a, "base", None)):
        a = a.base
    if is_array(a) and not isinstance(a, np.ndarray):
        return address(a)
    return id(a)


def check_unchanged(y):
    """Raise RuntimeError if y or one of its inputs was changed since y was made, whether or not its
    gradient's rule would read it.
    """
    if y.number > _changed["last"]:
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


def change(x, name, other):
    """The Tensor x after `x += other` or the like: what the primitive `name` gives, in its place.

    Where a record is due, x gets that of the operation, made of what it was before.
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
    elif not getattr(other, "requires_grad", False) and _overlaps(x, other):
        other = _bare(other).copy()  # else it would change with x, under the record
    new = primitives[name](before, other)
    if new.shape != x.shape:
        raise ValueError(f"{name} in place: {x.shape} cannot become {new.shape}; write x = ...")
    write(x, ..., new.detach())
    if recorded:
        if new.dtype != x.dtype:
            new = primitives["cast"](new, dtype=x.dtype)
        x.requires_grad = True
        x.op, x.inputs, x.attrs = new.op, new.inputs, new.attrs
        x.number = _changed["last"]  # what was made of the older x finds it changed
    return x


def _overlaps(x, other):
    """Whether `other`, an array or a Tensor, lies in the memory of the Tensor x."""
    a = _bare(other)
    return is_array(a) and memory(a) == memory(x.data)


def needs_record(x, other):
    """Whether what is made of both must be recorded."""
    asks = x.requires_grad or getattr(other, "requires_grad", False)
    return asks and modes.recording


def _before(x, name):
    """A tensor with the numbers and the record that x has now, before x gets others."""
    if x.requires_grad and x.op is None:
        raise RuntimeError(
            f"{name} in place on a leaf that requires grad, whose gradient would be lost: change a "
            "parameter inside no_grad(), or its p.data; else write x = ..., a new tensor"
        )
    outside = modes.record and x.op is None and not modes.record.made(x)
    if outside or getattr(plain(x.data), "base", None) is not None:
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


def write(x, key, value):
    """x[key] = value in the memory of the Tensor x, dated."""
    data = captured(x)
    value = _bare(value)
    if isinstance(key, tuple):
        key = tuple(map(_bare, key))
    else:
        key = _bare(key)
    array_module(data, value)  # raises unless both live on one device
    kind = getattr(value, "dtype", None) or np.result_type(data.dtype, value)
    if not np.can_cast(kind, data.dtype, "same_kind"):
        raise TypeError(f"a tensor of {data.dtype} cannot hold {kind}: x.astype({str(kind)!r}) can")
    if is_repeated(data):
        raise RuntimeError(
            "several elements of this tensor are one number in memory, as in what was broadcast: "
            "write into a copy, minidl.tensor(x)"
        )
    try:
        data[key] = value
    except (ValueError, IndexError) as error:
        raise explained(error, "writing in place", [data, value]) from error
    date(data)


def _bare(x):
    """The array of a Tensor; anything else as it is."""
    if hasattr(x, "requires_grad"):
        return captured(x)
    return x


def is_repeated(a):
    """Whether several elements of array `a` are one number in memory."""
    steps = getattr(plain(a), "strides", ())
    return any(step == 0 and n > 1 for step, n in zip(steps, a.shape))


def apart(found, taken):
    """The pairs (tensor, gradient), each gradient in memory of its own, to be changed in place.

    A rule may give one array to two inputs, or one number, broadcast.  taken: arrays of others.
    """
    seen = {memory(a) for a in taken}
    for x, g in found:
        a = g
        if hasattr(g, "requires_grad"):
            a = g.data
        if memory(a) in seen or is_repeated(a):
            g = g * 1  # a copy, with a record where g has one
        seen.add(memory(a))
        yield x, g
