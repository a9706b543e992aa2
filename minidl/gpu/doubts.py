"""Questions to a device that are asked with the next values that the host takes from there.

The one rule of this file: nothing waits.  To ask a GPU whether labels are right would make it and
the host wait for each other at every step; so the answer comes along with the loss.

Explained in course/22.
"""

from types import ModuleType
from typing import Any

import numpy as np

_doubts = {}  # module name -> message -> whether it must be raised, an array of that device


def doubt(xp: ModuleType, wrong: Any, message: str) -> None:
    """Raise ValueError with `message` if `wrong`, one truth value of the array module `xp`.

    On the CPU it raises at once, on another device when the next values are brought from there.
    """
    if xp is np:
        if wrong:
            raise ValueError(message)
        return
    kept = _doubts.setdefault(xp.__name__, {})
    if message in kept:
        wrong = kept[message] | wrong
    kept[message] = wrong


def brought(xp: ModuleType, a: Any) -> np.ndarray:
    """The array `a` of another device as a NumPy array.

    With it come the answers to what `doubt` asked there; raises ValueError if one is yes.
    """
    doubts = _doubts.pop(xp.__name__, {})
    if not doubts:
        return xp.asnumpy(a)
    if a.size == 1 and a.dtype.kind == "f":  # a loss: one transfer for all
        # of one element each, such as (1, 1) -> ()
        values = [xp.asarray(v).reshape(()).astype("f8") for v in (a, *doubts.values())]
        found, *answers = xp.asnumpy(xp.stack(values))
        found = np.asarray(found, a.dtype).reshape(a.shape)  # () -> such as (1, 1)
    else:
        found = xp.asnumpy(a)
        answers = xp.asnumpy(xp.stack([*doubts.values()]))
    for message, wrong in zip(doubts, answers):
        if wrong:
            raise ValueError(message)
    return found
