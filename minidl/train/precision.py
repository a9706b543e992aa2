"""Training with half the bits where that is enough: float16 products, scaled losses.

The one rule of this file: parameters and their gradients stay float32; casts are recorded.

Micikevicius et al. 2018.  Explained in course/22.
"""

from ..engine import devices
from ..engine.intercept import intercepted
from ..engine.ops import cast
from ..engine.tensor import Tensor

HALF = {"matmul"}  # most of the work
SINGLE = set(  # lose much
    "exp log logsumexp softmax label_loss pow div sqrt softplus sum standardise gelu".split()
)


def autocast(dtype="float16"):
    """A context for the forward pass: matrix products get and give `dtype`, and so do biases.

    `SINGLE` and squares, so softmax, norms, losses, compute in float32; others take what comes.
    """

    def handler(op, inputs, attrs):
        kinds = [str(getattr(x, "dtype", "")) for x in inputs]
        axes = [getattr(x, "ndim", 0) for x in inputs]
        bias = op.name == "add" and axes[0] != axes[1] and kinds[axes[0] < axes[1]] == dtype
        square = op.name == "mul" and inputs[0] is inputs[1]
        wrong, right = (dtype, "float32") if op.name in SINGLE or square else ("float32", dtype)
        if bias or square or op.name in HALF | SINGLE:
            inputs = (cast(x, dtype=right) if k == wrong else x for x, k in zip(inputs, kinds))
        return op(*inputs, **attrs)

    return intercepted(handler)


class LossScaler:
    """Scales the loss so that small gradients do not become 0 in float16; for one optimiser.

    scale(loss).backward(), then step(optimizer).  `scale`, best a power of 2, times `growth` after
    `every` good steps in a row, times `backoff` (not below 1) after one that was skipped.
    """

    def __init__(self, scale=2.0**16, growth=2.0, backoff=0.5, every=2000):
        self.factor, self.growth, self.backoff, self.every = scale, growth, backoff, every
        self.good, self.unscaled = 0, False

    def scale(self, loss):
        """The loss times the factor, to go back from."""
        return loss * self.factor

    def unscale(self, optimizer):
        """Divide the gradients by the factor, if that is not done; before clipping them."""
        for p in () if self.unscaled else optimizer.parameters:
            p.grad = None if p.grad is None else Tensor(p.grad.data * (1 / self.factor))
        self.unscaled = True

    def step(self, optimizer):
        """The optimiser's step, and True; or False and no step: a gradient is not finite."""
        self.unscale(optimizer)
        grads = [p.grad.data for p in optimizer.parameters if p.grad is not None]
        xp = devices.array_module(*grads)
        sound = not grads or bool(xp.stack([xp.isfinite(g).all() for g in grads]).all())
        self.good, self.unscaled = self.good + 1 if sound else 0, False
        if sound:
            optimizer.step()
        if not sound:
            self.factor = max(1.0, self.factor * self.backoff)
        elif self.good == self.every:
            self.factor, self.good = self.factor * self.growth, 0
        return sound

    def state_dict(self):
        """Two numbers by name."""
        return {"scale": self.factor, "good": self.good}

    def load_state_dict(self, state):
        """Take back what `state_dict` gave."""
        self.factor, self.good = float(state["scale"]), int(state["good"])
