"""The walk back: from a result, through the record of how it was made, to what it was made of.

The one rule of this file: tensors know nothing of a walk.  What is on its way lies in one
dictionary, from a tensor's number to the total of the shares that have arrived for it.

Explained in course/07.
"""

from heapq import heappop, heappush
from typing import NamedTuple

from .intercept import modes, primitives, remembering


def walk(outputs, gradients, *, retain_graph=None, create_graph=False, targets=()):
    """Go from `outputs` back; return pairs (tensor, its gradient) of leaves and of `targets`.

    A result is made after its inputs, so its number is larger (what was changed since has a later
    one, and `shares` refuses its users).  When the largest number that waits is always next, a
    tensor's turn comes after that of all its users, and its total is complete.
    targets: numbers of tensors whose gradient is wanted too; the walk goes on behind them.
    """
    keep = create_graph if retain_graph is None else retain_graph
    waiting, found = Waiting(), []
    with remembering(create_graph):
        for y, g in zip(outputs, gradients):
            waiting.send(y, g)
        while waiting.totals:
            y, g = waiting.next()
            if y.op is None or y.number in targets:
                found.append((y, g))
            if y.op is not None:
                for x, share in y.op.shares(y, g, create_graph):
                    waiting.send(x, share)
                if not keep:
                    y.inputs = None
    return found


class Waiting:
    """The tensors whose turn is to come, each with the total of the shares sent to it so far."""

    def __init__(self):
        self.totals = {}  # a tensor's number -> its total
        self.queue = []  # these numbers, negated: a heap gives the smallest first

    def send(self, x, share):
        if x.number not in self.totals:
            self.totals[x.number] = total(x)
            heappush(self.queue, -x.number)
        self.totals[x.number].add(share)

    def next(self):
        """The tensor with the largest number, and its gradient."""
        return self.totals.pop(-heappop(self.queue)).result()


class Piece(NamedTuple):
    """A share for x that is `data` at x[key] and 0 elsewhere: what `x[key]` sends back."""

    data: object
    key: tuple
    shape: tuple  # of x

    def whole(self):
        """The share as an array."""
        return primitives["scatter"](self.data, key=self.key, shape=self.shape)


class Total:
    """The total of the shares that the users of a tensor x send."""

    def __init__(self, x):
        self.x = x
        self.sum = None

    def add(self, share):
        if type(share) is Piece:
            share = share.whole()
        if self.sum is None:
            self.sum = share
        else:
            self.sum = self.sum + share

    def result(self):
        """x and its gradient, now that all shares are there."""
        return self.x, self.sum


class QuickTotal:
    """For speed alone: gives what `Total` gives, sooner, and can stand in its place.

    A first share may be held by others too (`add` gives its g to both inputs), so it is never
    changed.  A sum made here is `ours`: it takes up the next share in place.
    """

    __slots__ = ("ours", "sum", "x")

    def __init__(self, x):
        self.x = x
        self.sum = None
        self.ours = False

    def add(self, share):
        piece = type(share) is Piece
        more = share.data if piece else share
        if self.ours and more.dtype != self.sum.dtype:
            self.ours = False  # the sum may be of another type
        if self.ours and piece:
            self.sum[share.key] += more
        elif self.ours:
            self.sum += more
        else:
            made_here = piece or self.sum is not None
            Total.add(self, share)
            # NumPy's sums of 0-d arrays are numbers, and what is recorded is not changed.
            self.ours = made_here and self.x.ndim > 0 and not modes.recording

    result = Total.result


total = QuickTotal  # exchangeable: `total = Total` gives the same gradients
