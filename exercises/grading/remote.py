"""An answer as the judgement sees it: a function whose every call crosses a line of plain values.

What a task does with an answer (`Task.drive`) runs beside the judgement, never beside the answer.
Arguments cross as copies; what the answer changed in them is brought back, so that the task can
look at its inputs afterwards.  A function or an object that a task lends to an answer stays here:
the other side gets one that asks, or one of the same kind with a number.

The one rule of this file: `check` in a notebook and the verdict outside use the same line, in one
process or between two, so an answer meets the same things both ways.
"""

import inspect
import textwrap
import time

import numpy as np

from .child import Called, answered, complaint, frame, opened, unpack

CALLS = 6  # a task may take so many times the seconds that one call of its answer may


class Caller:
    """The asking end of the line: packs calls, and knows what it has lent."""

    def __init__(self):
        self.things, self.numbers, self.classes, self.new = [], {}, {}, []

    def __call__(self, value):
        """How a function or a task's object stands in a message; None for anything else."""
        number = self.numbers.get(id(value))
        if number is not None:
            return {"object": number}
        kind = type(value)
        if not kind.__module__.startswith("grading.tasks_"):
            if not callable(value):
                return None
            return {"function": [self._lend(value), getattr(value, "__name__", "function")]}
        if kind.__name__ not in self.classes:
            source = textwrap.dedent(inspect.getsource(kind))
            self.classes[kind.__name__] = source[source.index("class ") :]
        number = self._lend(value)
        self.new.append([number, kind.__name__, vars(value)])
        return {"object": number}

    def _lend(self, thing):
        number = self.numbers[id(thing)] = len(self.things)
        self.things.append(thing)
        return number

    def message(self, value, **head):
        """The bytes of a message."""
        self.new = []
        return frame(self, value=value, classes=self.classes, **head)

    def value(self, head, read):
        """The value in a reply, with what was lent in its place."""
        return unpack(head["value"], read, self._lent)

    def _lent(self, kind, number):
        if kind != "object" or type(number) is not int or not 0 <= number < len(self.things):
            raise ValueError("it names what was not lent")
        return self.things[number]

    def lend_an_answer(self, head, read):
        """The bytes that answer a call of a function that was lent."""
        number = head["back"]
        try:
            arguments, options = self.value(head, read)
            return self.message(self._lent("object", number)(*arguments, **options))
        except Exception as error:
            return frame(error=complaint(error))

    def result(self, head, read, sent):
        """The result in a reply; what the answer did to its arguments is done to those sent."""
        problem = None
        try:
            found, after = answered(head, read, self.value)
        except Exception as error:
            problem = error
            found, after = self.value(head, read) if "value" in head else (None, None)
        renew(sent, after)
        for number, names, parts in head.get("changed", []):
            values = [unpack(part, read, self._lent) for part in parts]
            vars(self._lent("object", number)).update(zip(names, values))
        if problem is not None:
            raise problem
        return found


def renew(old, new):
    """Change `old` in place to what `new` says that it has become."""
    if isinstance(old, np.ndarray):
        if isinstance(new, np.ndarray) and old.flags.writeable:
            if old.shape != new.shape:
                old.resize(new.shape, refcheck=False)
            old[...] = new
    elif isinstance(old, list):
        _renew_parts(old, new if isinstance(new, list) else [OTHER], range(len(old)))
    elif isinstance(old, dict):
        _renew_parts(old, new if isinstance(new, dict) else {OTHER: OTHER}, list(old))
    elif isinstance(old, tuple) and isinstance(new, tuple):
        for before, after in zip(old, new):
            renew(before, after)
    elif isinstance(old, set) and isinstance(new, set) and old != new:
        old.clear()
        old.update(new)


OTHER = "no longer what it was"


def _renew_parts(old, new, places):
    same = len(old) == len(new) and (isinstance(old, list) or [*old] == [*new])
    if not same:
        old.clear()
        old.extend(new) if isinstance(old, list) else old.update(new)
        return
    for place in places:
        old[place] = _became(old[place], new[place])


def _became(old, new):
    """What stands where `old` stood: `old` itself, changed in place, where it can be."""
    if isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new):
        return tuple(map(_became, old, new))
    arrays = isinstance(old, np.ndarray) and isinstance(new, np.ndarray)
    if arrays and (old.dtype != new.dtype or old.shape != new.shape):
        return new
    if arrays or (isinstance(old, (list, dict, set)) and isinstance(new, type(old))):
        renew(old, new)
        return old
    return new


class Local:
    """An answer in this process, asked over the line: for `check` in a notebook."""

    def __init__(self, answer, seconds):
        self.answer, self.left = answer, CALLS * seconds
        self.all = self.left
        self.caller, self.called = Caller(), Called(self._back)

    def _back(self, number, value, foreign):
        head, read = opened(frame(foreign, back=number, value=value))
        return opened(self.caller.lend_an_answer(head, read))

    def __call__(self, *arguments, **options):
        if self.left <= 0:
            raise TimeoutError(f"all calls together took longer than {self.all:g} seconds")
        sent = arguments, options
        head, read = opened(self.caller.message(sent))
        began = time.monotonic()
        try:
            reply = self.called.call(self.answer, head, read)
        finally:
            self.left -= time.monotonic() - began
        return self.caller.result(*opened(reply), sent)
