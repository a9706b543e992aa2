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


_written = [0]  # how often an attribute of a module was written that is in _names
_names = set()  # of the attributes that some recording has read


class Settings:
    """Places that were read, and what they held: attributes of modules and optimisers, variables
    of the recorded function, and what the lists, tuples and dicts among these hold.

    modes: the modules that were asked whether they train, as keys.
    """

    def __init__(self):
        self.modes = {}
        self.found = {}  # (id of what holds it, its key there) -> a place (get, key, get(key))
        self.attributes = _Places([])  # of modules: compared where one was written since
        self.others = _Places([])  # compared at each call, for what writes there is not seen
        self.version = 0  # of the attributes

    def note(self, holder: object, get: Callable, key: Hashable, value: object) -> None:
        """Note that get(key), a look into `holder`, gave `value`, and what that holds in turn.

        Only the first time counts.
        """
        if (id(holder), key) in self.found:
            return
        self.found[id(holder), key] = get, key, value
        if isinstance(value, (list, dict)):
            self.found[id(value), len] = len, value, len(value)
        for inner, part in _elements(value):
            if len(value) <= MANY or isinstance(part, (Module, Tensor)):
                self.note(value, value.__getitem__, inner, part)

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
                    self.note(own, _Own(part), inner, held)
            own.setdefault("training", part.training)  # so that `train` adds none
            self.found.setdefault((id(own), len), (_Own(part), None, len(own)))
        elif name in own and isinstance(part, Module):
            self.note(own, _Own(part), name, value)
        elif (
            name in own and name == "parameters"
        ):  # which list it is, and how long, not each one in it
            self.found[id(own), name] = own.__getitem__, name, value
            self.found[id(value), len] = len, value, len(value)
        elif name in own and name != "state":  # the Tensors of a state are read at each run
            self.note(own, own.__getitem__, name, value)
        elif isinstance(value, EQUAL) and getattr(type(part), name, None) is value:
            self.note(own, object.__getattribute__.__get__(part), name, value)

    def settle(self) -> None:
        """The recording is done: what it changed itself, such as a counter, is no setting."""
        places = self.found.values()
        _names.update(key for get, key, _ in places if isinstance(get, _Own))
        self.version = _written[0]  # before the places are looked at: what is written later counts
        kept = [place for place in places if _stands(*place)]
        self.attributes = _Places([place for place in kept if isinstance(place[0], _Own)])
        self.others = _Places([place for place in kept if not isinstance(place[0], _Own)])
        self.found = {}

    def changed(self) -> bool:
        """Whether a place holds something else now."""
        if not self.others.stand():
            return True
        version = _written[0]
        if version == self.version:
            return False
        if not self.attributes.stand():
            return True
        self.version = version
        return False


class _Own:
    """A function that looks into a module's own attributes: the one of a name, or, for None, how
    many there are.
    """

    def __init__(self, part):
        self.held = object.__getattribute__(part, "__dict__")

    def __call__(self, name):
        if name is None:
            return len(self.held)
        return self.held[name]


class _Places:
    """Places (get, key, what get(key) gave)."""

    def __init__(self, places):
        self.gets = [get for get, _, _ in places]
        self.keys = [key for _, key, _ in places]
        self.values = [value for _, _, value in places]

    def stand(self):
        """Whether they hold what they held."""
        try:
            if all(map(is_, map(call, self.gets, self.keys), self.values)):
                return True
        except (AttributeError, LookupError, ValueError):  # one is gone
            return False
        if not all(map(_stands, self.gets, self.keys, self.values)):
            return False
        self.values = list(map(call, self.gets, self.keys))  # the same objects next time
        return True


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
    if intercept.modes.tracing:
        intercept.modes.tracing.settings.attribute(self, name, value)
    return value


def _watch(kind):
    """From now on, count what is written to the attributes in _names, and what is new or gone."""
    put, take = kind.__setattr__, kind.__delattr__

    def __setattr__(self, name, value):
        new = name not in vars(self)
        put(self, name, value)
        if new or name in _names:
            _written[0] += 1

    def __delattr__(self, name):
        take(self, name)
        _written[0] += 1

    kind.__setattr__, kind.__delattr__ = __setattr__, __delattr__


_watch(Module)  # an Optimizer counts its steps in an attribute: watching that costs more
