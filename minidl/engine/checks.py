"""What is asked of plain arguments, so that a wrong one is named where it is given.

The one rule of this file: it knows no part of the package.

Explained in course/12.
"""

import numpy as np


def check_whole(where: str, least: int = 1, **numbers: int) -> None:
    """Raise ValueError unless each of `numbers` is a whole number from `least`.

    where: what they were given to, which the message begins with.
    """
    for name, n in numbers.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < least:
            raise ValueError(f"{where}: {name} must be a whole number from {least}, got {n!r}")
