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
    """The time of a change that happens now."""
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
    if not isinstance(a, np.ndarray):
        return address(a) if is_array(a) else id(a)
    while isinstance(a.base, np.ndarray):
        a = a.base
    return id(a)


def check_unchanged(y):
    """Raise RuntimeError if what y's gradient needs was changed after y was made."""
    if y.number > _changed["last"]:
        return
    for x in (y, *y.inputs):
        a = getattr(x, "data", x) if hasattr(x, "requires_grad") else x
        assigned = getattr(x, "number", 0) > y.number
        written = is_array(a) and _changed.get(memory(a), 0) > y.number
        if assigned or written:
            raise RuntimeError(
                f"a tensor of shape {a.shape} that {y.op.name} needs for its gradient was changed "
                "since: go back before it is changed, or write x = ..., which makes a new tensor"
            )


def change(x, name, other):
    """The Tensor x after `x += other` or the like: what the primitive `name` gives, in its place."""
    refuse_record(x, other, f"{name} in place")
    new = primitives[name](x, other)
    if new.shape != x.shape:
        raise ValueError(f"{name} in place: {x.shape} cannot become {new.shape}; write x = ...")
    write(x, ..., new)
    return x


def refuse_record(x, other, what):
    """Raise RuntimeError where a change of x in place would need a record: none is made of it."""
    asks = x.requires_grad or getattr(other, "requires_grad", False)
    if x.op is not None or (asks and modes.recording):
        raise RuntimeError(
            f"{what} leaves no record, and a gradient needs one: write x = ..., which makes a new "
            "tensor (minidl.where, concatenate and stack put parts together); where no gradient "
            "is meant, change a leaf inside no_grad(), or use .detach()"
        )


def write(x, key, value):
    """x[key] = value in the memory of the Tensor x, dated."""
    data = captured(x)
    if hasattr(value, "requires_grad"):
        value = captured(value)
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
        a = g.data if hasattr(g, "requires_grad") else g
        if memory(a) in seen or is_repeated(a):
            g = g * 1  # a copy, with a record where g has one
        seen.add(memory(a))
        yield x, g
