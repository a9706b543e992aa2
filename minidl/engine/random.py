"""Random numbers: one generator for each device, all started from one seed.

Explained in course/07.
"""

import numpy as np

_generators = {}  # module name of a device -> its random generator
_seed = 0


def manual_seed(seed):
    """Start the random numbers of every device again from `seed`, an integer from 0."""
    global _seed
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"expected a seed, an integer from 0, got {seed!r:.60}")
    _seed = int(seed)
    _generators.clear()


def generator(xp=np):
    """The random generator (NumPy's `Generator` interface) of the device whose module is `xp`."""
    if xp.__name__ not in _generators:
        _generators[xp.__name__] = xp.random.default_rng(_seed)
    return _generators[xp.__name__]


def forget(xp):
    """Let the device whose module is `xp` begin again from the seed."""
    _generators.pop(xp.__name__, None)


def random_state():
    """The state of the CPU's generator, a dict of plain numbers and strings (for checkpoints)."""
    return {"seed": _seed, "cpu": generator().bit_generator.state}


def set_random_state(state):
    """Put back what `random_state` gave; other devices start again from the seed."""
    manual_seed(state["seed"])
    generator().bit_generator.state = state["cpu"]
