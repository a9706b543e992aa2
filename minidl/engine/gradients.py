"""The walk back: from a result, through the record of how it was made, to what it was made of.

The one rule of this file: tensors know nothing of a walk.  What is on its way lies in one
dictionary, from a tensor's number to the total of the shares that have arrived for it.  A share of
a tensor x is what one use of x adds to the gradient of x.

Explained in course/07.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from .intercept import modes, primitives, remembering

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tensor import Tensor

    Pairs = Iterable[tuple[Tensor, Any]]  # each a tensor and its gradient


def walk(starts: Pairs, *, retain_graph: bool, create_graph: bool, targets: set[int]) -> Pairs:
    """The leaves and `targets` behind `starts`, as pairs (tensor, its gradient), as `starts` are.

    A result is made after its inputs, so its number is larger (what was changed since has a later
    one, and `shares` refuses its users).  When the largest number that waits is always next, a
    tensor's turn comes after that of all its users, and its total is complete.
    targets: numbers of tensors whose gradient is wanted too; the walk goes on behind them.
    """
    waiting, found = Waiting(), []
    with remembering(create_graph):
        for y, g in starts:
            waiting.send(y, g)
        while waiting.totals:
            y, g = waiting.next()
            if y.op is None or y.number in targets:
                found.append((y, g))
            if y.op is not None:
                for x, share in y.op.shares(y, g, create_graph):
                    waiting.send(x, share)
                if not retain_graph:
                    y.free()
    return found


class Waiting:
    """The tensors that the walk has yet to visit, each with the total of the shares sent so far."""

    def __init__(self):
        self.totals: dict[int, Total | QuickTotal] = {}  # a tensor's number -> its total
        self.queue: list[int] = []  # these numbers, negated: a heap gives the smallest first

    def send(self, x: Tensor, share: Any) -> None:
        """Add `share` to the total of the tensor x."""
        if x.number not in self.totals:
            self.totals[x.number] = total(x)
            heappush(self.queue, -x.number)
        self.totals[x.number].add(share)

    def next(self) -> tuple[Tensor, Any]:
        """Take out the tensor with the largest number; gives it and its gradient."""
        return self.totals.pop(-heappop(self.queue)).result()


class Piece(NamedTuple):
    """A share for x that is `data` at x[key] and 0 elsewhere: what `x[key]` sends back.

    It is kept so, because adding it to a total touches only these elements, not all of x.
    """

    data: Any  # of the shape of x[key]
    key: tuple[Any, ...]  # of numbers and slices, without arrays
    shape: tuple[int, ...]  # of x

    def whole(self) -> Any:
        """The share as an array."""
        return primitives["scatter"](self.data, key=self.key, shape=self.shape)


class Product(NamedTuple):
    """A share that is the product of two matrices, left (n, k) @ right (k, m).

    Several of one tensor may become one product, as those of a weight that is used at each step of
    a sequence.
    """

    left: Any
    right: Any

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the product, (n, m)."""
        return self.left.shape[0], self.right.shape[1]

    def whole(self) -> Any:
        """The share as an array."""
        return self.left @ self.right  # (n, k) @ (k, m) -> (n, m)


class Total:
    """The total of the shares that the users of a tensor x, the operations it went into, send."""

    def __init__(self, x: Tensor):
        self.x: Tensor = x
        self.sum: Any = None

    def add(self, share: Any) -> None:
        """Add one share, of x's shape: an array, a Tensor, a Piece or a Product."""
        if type(share) in (Piece, Product):
            share = share.whole()
        if self.sum is None:
            self.sum = share
        else:
            self.sum = self.sum + share

    def result(self) -> tuple[Tensor, Any]:
        """x and its gradient, now that all shares are there."""
        return self.x, self.sum


class QuickTotal:
    """For speed alone: gives what `Total` gives, sooner, and can stand in its place.

    A first share may be held by others too (the rule of `+` gives one g to both inputs), so it is
    never changed.  A sum that was made here is `ours`: later shares are added to it in place.
    A Product that is larger than each of its two factors waits for the end, where many of them
    become one product: of all left factors side by side with all right ones below each other.
    That rounds differently.  So does no other sum here.
    """

    __slots__ = ("ours", "products", "sum", "x")

    def __init__(self, x: Tensor):
        self.x: Tensor = x
        self.sum: Any = None
        self.ours: bool = False
        self.products: list[Product] = []

    def add(self, share: Any) -> None:
        """Add one share, of x's shape: an array, a Tensor, a Piece or a Product."""
        if self.sum is None and type(share) not in (Piece, Product):
            self.sum = share  # the usual case: x was used once
            return
        if type(share) is Product and not modes.recording:
            # (n, k) @ (k, m) with k below n and m: the factors take less memory than the result.
            if len(share.right) < min(share.shape):
                self.products.append(share)
                return
            share = share.whole()
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
            # Sums of 0-d arrays are NumPy's numbers, which cannot change in place; and while the
            # walk itself is recorded (create_graph), its sums may be inputs of other results.
            self.ours = made_here and self.x.ndim > 0 and not modes.recording

    def result(self) -> tuple[Tensor, Any]:
        """x and its gradient, now that all shares are there."""
        products, self.products = self.products, []
        # A weight that was used at many times.  From 8 products on one takes 0.55 to 1.0 of their
        # time (1.1 to 1.3 of it at one of six sizes), and a compiled step has one line for all, not
        # 8 or more.  It pays below 8 too; there the sum stays that of `Total` to the bit.
        if len(products) >= 8:
            join, (left, right) = primitives["concatenate"], zip(*products)
            # r times (n, k) @ (k, m) -> (n, r k) @ (r k, m)
            products = [Product(join(*left, axis=1), join(*right, axis=0))]
        for product in products:
            self.add(product.whole())
        return self.x, self.sum


# Exchangeable: `total = Total` gives the same gradients, joined products to rounding.
total = QuickTotal
