"""What a trace found in attributes: settings, and which layer or Tensor stands where.

The one rule of this file: a graph is right as long as the modules and optimisers that it was
traced with have the attributes that they had.

Explained in course/20.
"""

from __future__ import annotations

from operator import call, is_
from types import FrameType

import numpy as np

from ..engine.tensor import Tensor
from ..nn.module import Module, writes
from ..optim import Optimizer
from .lines import flat

EQUAL = (bool, int, float, complex, str, bytes, np.generic)  # an equal one serves as well
ANEW = {"lr", "schedule", "steps", "state"}  # of an optimiser: a program reads them at each run
LONG = 100  # of longer lists and dicts only the layers and Tensors are compared


class Settings:
    """The modules and optimisers that a trace met, and what stood in their attributes.

    met: each of them -> its attributes.  A place (get, key, value) says that get(key) gave the
    value: an attribute, an element of a list or dict in one, or its length.
    """

    def __init__(self):
        self.met = {}
        self.attributes = []  # places, of modules: compared where an attribute was written since
        self.others = []  # places that are compared at each call
        self.seen = None  # the last write when the attributes were compared

    def note(self, holder: object, *names: str) -> None:
        """Note the attributes of `holder` as they are now: those of these names, or all."""
        if holder in self.met:
            return
        own = self.met[holder] = vars(holder)
        skip = ANEW if isinstance(holder, Optimizer) else {"training"}
        places = [(own.__getitem__, name, own[name]) for name in names or own.keys() - skip]
        for _, _, value in places:
            self.others += _inside(value)
        if isinstance(holder, Module):
            self.attributes += places
        else:
            self.others += places

    def note_variables(self, frame: FrameType) -> None:
        """Note the modules and optimisers in the variables of a function that runs, whether its
        own, around it or global: one may be used without being called.
        """
        outside = [frame.f_globals.get(name) for name in frame.f_code.co_names]
        for part in flat([*frame.f_locals.values(), *outside]):
            if isinstance(part, (Module, Optimizer)):
                self.note(part)

    def settle(self) -> None:
        """The trace is done: what it changed itself, such as a counter, is no setting."""
        self.seen = writes.last
        modules = [own for holder, own in self.met.items() if isinstance(holder, Module)]
        self.attributes += [(_count, own, _count(own)) for own in modules]
        self.attributes = _that_stand(self.attributes)
        self.others = _that_stand(self.others)

    def changed(self) -> bool:
        """Whether something else stands at one of the places now."""
        last = writes.last
        stand = _stand(*self.others) and (last is self.seen or _stand(*self.attributes))
        if stand:
            self.seen = last
        return not stand


def _inside(value, depth=4):
    """The places in a list, tuple or dict, and in those in it; of anything else none."""
    if not isinstance(value, (list, tuple, dict)) or depth == 0:
        return []
    found = [(len, value, len(value))]
    items = enumerate(value)
    if isinstance(value, dict):
        items = value.items()
    for key, part in items:
        if len(value) <= LONG or isinstance(part, (Module, Tensor)):
            found += [(value.__getitem__, key, part), *_inside(part, depth - 1)]
    return found


def _count(own):
    """How many attributes a module has, but for its mode, which `train` may add."""
    return len(own.keys() - {"training"})


def _that_stand(places):
    """Those that hold what they held: three tuples, of their gets, keys and values."""
    return [*zip(*(place for place in places if _stand(*zip(place))))]


def _stand(gets=(), keys=(), values=()):
    """Whether places hold what they held."""
    try:
        same = all(map(is_, map(call, gets, keys), values))
        return same or all(map(_alike, map(call, gets, keys), values))
    except LookupError:  # one is gone
        return False


def _alike(new, old):
    """Whether one serves as the other: the same object, an equal number or text, tuples of such."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(new) == len(old) and all(map(_alike, new, old))
    return new is old or (type(new) is type(old) and isinstance(new, EQUAL) and new == old)
