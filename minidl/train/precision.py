"""Training with half the bits where that is enough: float16 products, scaled losses.

The one rule of this file: parameters and their gradients stay float32; casts are recorded.

Micikevicius et al. 2018.  Explained in course/22.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine import devices
from ..engine.intercept import intercepted
from ..engine.ops import cast
from ..engine.tensor import Tensor

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..optim import Optimizer

HALF = {"matmul", "conv"}  # most of the work
SINGLE = set(  # lose much
    "exp log logsumexp softmax label_loss pow div sqrt softplus sum standardise gelu".split()
)


def autocast(dtype: str = "float16") -> AbstractContextManager[None]:
    """A context for the forward pass, in which matrix products get and give `dtype`.

    A bias that is added to such a product becomes `dtype` too.  What would lose much (`SINGLE`,
    and squares), so softmax, norms and losses, gets and gives float32.  Other operations take
    what comes.  Raises TypeError for a `dtype` that there is not.
    """

    def handler(op, inputs, attrs):
        square = op.name == "mul" and inputs[0] is inputs[1]
        if op.name in SINGLE or square:
            inputs = [_cast(x, dtype, "float32") for x in inputs]
        elif op.name in HALF or _adds_bias(op, inputs, dtype):
            inputs = [_cast(x, "float32", dtype) for x in inputs]
        return op(*inputs, **attrs)

    return intercepted(handler)


def _cast(x, wrong, right):
    """x in the type `right` if its type is `wrong`; what has another, or none, stays."""
    return cast(x, dtype=right) if _kind(x) == wrong else x


def _kind(x):
    return str(getattr(x, "dtype", ""))


def _adds_bias(op, inputs, dtype):
    """Whether an array with fewer axes is added to one that is of `dtype` already."""
    if op.name != "add":
        return False
    small, large = sorted(inputs, key=lambda x: getattr(x, "ndim", 0))
    return getattr(small, "ndim", 0) < getattr(large, "ndim", 0) and _kind(large) == dtype


class LossScaler:
    """Scales the loss so that small gradients do not become 0 in float16; for one optimiser.

    `scaler.scale(loss).backward()`, then `scaler.step(optimizer)`.

    scale: the factor of the loss at first, best a power of 2.
    growth: what the factor is multiplied by after `every` good steps in a row.
    backoff: what it is multiplied by after a step that was skipped; it stays at least 1.
    """

    def __init__(
        self, scale: float = 2.0**16, growth: float = 2.0, backoff: float = 0.5, every: int = 2000
    ):
        self.factor = scale
        self.growth, self.backoff, self.every = growth, backoff, every
        self.good = 0  # steps in a row since the factor changed
        self.unscaled = False  # whether the gradients are divided by the factor already

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times the factor, to go back from."""
        return loss * self.factor

    def unscale(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the factor, if that is not done; before clipping them."""
        if self.unscaled:
            return
        for p in optimizer.parameters:
            if p.grad is not None:
                p.grad = Tensor(p.grad.data * (1 / self.factor))
        self.unscaled = True

    def step(self, optimizer: Optimizer) -> bool:
        """Take the optimiser's step and give True; or False, and no step, where a gradient is not
        finite.
        """
        self.unscale(optimizer)
        self.unscaled = False
        if not _are_finite([p.grad.data for p in optimizer.parameters if p.grad is not None]):
            self.factor, self.good = max(1.0, self.factor * self.backoff), 0
            return False
        optimizer.step()
        self.good += 1
        if self.good == self.every:
            self.factor, self.good = self.factor * self.growth, 0
        return True

    def state_dict(self) -> dict[str, float]:
        """The factor, "scale", and how many good steps there were in a row, "good"."""
        return {"scale": self.factor, "good": self.good}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take back what `state_dict` gave."""
        self.factor, self.good = float(state["scale"]), int(state["good"])


def _are_finite(arrays):
    """Whether all numbers in `arrays` are finite, asked of their device once."""
    if not arrays:
        return True
    xp = devices.array_module(*arrays)
    return bool(xp.stack([xp.isfinite(a).all() for a in arrays]).all())
