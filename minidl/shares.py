"""What a gradient rule may give in place of an array, so that the walk back adds it up cheaply.

The one rule of this file: `data` is what the share would be as an array.

Explained in course/07.
"""

from typing import NamedTuple


class Piece(NamedTuple):
    """A gradient of x[key]: `data` there and 0 elsewhere.  Many pieces of x add up in one array."""

    data: object
    key: tuple


class Product(NamedTuple):
    """A gradient that is `left` @ `right`.  Where the factors are the smaller, those of one tensor
    wait for its turn and become one product: a weight's that is used at each step of a sequence.
    """

    left: object
    right: object

    @property
    def data(self):
        """The product.  In a batch CuPy copies what is transposed, so a batch of one is none."""
        left, right = self
        if left.ndim == right.ndim == 3 and len(left) == len(right) == 1:
            return (left[0] @ right[0]).reshape((1, left.shape[1], right.shape[2]))
        return left @ right

    @property
    def waits(self):
        """Whether two matrices make a larger one: what waits must not keep much memory."""
        if self.left.ndim != 2 or self.right.ndim != 2:
            return False
        return len(self.right) < min(len(self.left), self.right.shape[1])
