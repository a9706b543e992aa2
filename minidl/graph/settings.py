"""What a recording reads as Python holds it: settings, and which layer or Tensor stands where.

The one rule of this file: a graph is right as long as all that its recording read is what it was.

Explained in course/20.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from operator import call, is_
from types import CellType, ModuleType

import numpy as np

from ..engine import intercept
from ..engine.tensor import Tensor
from ..nn.module import Module
from ..optim import Optimizer
from .lines import flat

EQUAL = (bool, int, float, complex, str, bytes, np.generic)  # an equal one serves as well
MANY = 100  # of longer lists and dicts only the Modules and Tensors are compared


class Settings:
    """Places that were read, and what they held: attributes of modules and optimisers, variables
    of the recorded function, and what the lists, tuples and dicts among these hold.

    modes: the modules that were asked whether they train, as keys.
    """

    def __init__(self):
        self.modes = {}
        self.found = {}  # (id of what holds it, its key there) -> (get, key, what get(key) gave)
        self.gets, self.keys, self.values = (), (), ()  # of those that are compared

    def note(self, holder: object, get: Callable, key: Hashable, value: object) -> None:
        """Note that get(key), a look into `holder`, gave `value`, and what that holds in turn.

        Only the first time counts.
        """
        if (id(holder), key) in self.found:
            return
        self.found[id(holder), key] = get, key, value
        for inner, part in _elements(value):
            if len(value) <= MANY or isinstance(part, (Module, Tensor)):
                self.note(value, value.__getitem__, inner, part)
        if isinstance(value, (list, dict)):
            self._note_length(value)

    def _note_length(self, holder):
        self.found.setdefault((id(holder), len), (len, holder, len(holder)))

    def variables(self, function: Callable) -> None:
        """Note the variables from outside that a function names."""
        code = getattr(function, "__code__", None)
        if code is None:
            return
        for cell in function.__closure__ or ():
            if cell != CellType():  # it has a value
                self.note(cell, cell.__getattribute__, "cell_contents", cell.cell_contents)
        outside = function.__globals__
        for name in code.co_names:
            if name in outside and not isinstance(outside[name], ModuleType):
                self.note(outside, outside.__getitem__, name, outside[name])

    def attribute(self, part: Module | Optimizer, name: str, value: object) -> None:
        """Note that an attribute of a module or an optimiser was read and gave `value`."""
        own = object.__getattribute__(part, "__dict__")
        if name == "training":  # each mode has a program of its own
            self.modes[part] = None
        elif name == "parts":  # the method that looks through all attributes
            for inner, held in own.items():
                if any(isinstance(leaf, (Module, Tensor)) for leaf in flat(held)):
                    self.note(own, own.__getitem__, inner, held)
            own.setdefault("training", part.training)  # so that `train` adds none
            self._note_length(own)
        elif name in own and name != "state":  # the Tensors of a state are read at each run
            self.note(own, own.__getitem__, name, value)
        elif isinstance(value, EQUAL) and getattr(type(part), name, None) is value:
            self.note(own, object.__getattribute__.__get__(part), name, value)

    def settle(self) -> None:
        """The recording is done: what it changed itself, such as a counter, is no setting."""
        kept = [place for place in self.found.values() if _stands(*place)]
        if kept:
            self.gets, self.keys, self.values = zip(*kept)
        self.found = {}

    def changed(self) -> bool:
        """Whether a place holds something else now."""
        try:
            if all(map(is_, map(call, self.gets, self.keys), self.values)):
                return False
        except (AttributeError, LookupError, ValueError):  # it is gone
            return True
        if not all(map(_stands, self.gets, self.keys, self.values)):
            return True
        self.values = tuple(map(call, self.gets, self.keys))  # the same objects next time
        return False


def _elements(value):
    """Pairs (key, element) of a list, tuple or dict; of anything else none."""
    if isinstance(value, dict):
        return value.items()
    if isinstance(value, (list, tuple)):
        return enumerate(value)
    return ()


def _stands(get, key, value):
    """Whether a place still holds what it held."""
    try:
        return _alike(get(key), value)
    except (AttributeError, LookupError, ValueError):
        return False


def _alike(a, b):
    """Whether a serves as b does: the same object, an equal number or text, or tuples of such."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    return isinstance(a, EQUAL) and a == b


@contextmanager
def noting() -> Iterator[None]:
    """Inside, the record that a thread writes notes what it reads of modules and optimisers."""
    for kind in (Module, Optimizer):
        kind.__getattribute__ = _read
    try:
        yield
    finally:
        for kind in (Module, Optimizer):
            del kind.__getattribute__


def _read(self, name):
    value = object.__getattribute__(self, name)
    if intercept.modes.record:
        intercept.modes.record.settings.attribute(self, name, value)
    return value
