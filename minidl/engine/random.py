"""Random numbers: one generator for each device, all started from one seed.

Explained in course/07.
"""

from typing import Any

import numpy as np

_generators = {}  # module name of a device -> its random generator
_seed = 0


def manual_seed(seed: int) -> None:
    """Start the random numbers of every device again from `seed`, an integer from 0.

    Raises ValueError for anything else.
    """
    global _seed
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"expected a seed, an integer from 0, got {seed!r:.60}")
    _seed = int(seed)
    _generators.clear()


def generator(xp: Any = np) -> "np.random.Generator":
    """The random generator of the device whose module is `xp`, with NumPy's interface."""
    if xp.__name__ not in _generators:
        _generators[xp.__name__] = xp.random.default_rng(_seed)
    return _generators[xp.__name__]


def forget(xp: Any) -> None:
    """Let the device whose module is `xp` begin again from the seed."""
    _generators.pop(xp.__name__, None)


def random_state() -> dict[str, Any]:
    """The seed and the state of the CPU's generator, to be kept in a checkpoint.

    A dict of numbers, strings and dicts of these, which JSON can hold.
    """
    return {"seed": _seed, "cpu": generator().bit_generator.state}


def set_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` gave; other devices start again from the seed."""
    manual_seed(state["seed"])
    generator().bit_generator.state = state["cpu"]
