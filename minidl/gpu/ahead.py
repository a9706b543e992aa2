"""The next batch on its way to a device while the network works on this one.

Explained in course/22.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ..engine.devices import device_module, send, to_numpy
from ..graph.lines import flat, mapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any


def ahead(batches: Iterable[tuple[Any, ...]], device: str) -> Iterator[tuple[Any, ...]]:
    """The batches on `device`; the next is sent before each is given, so that copying it and
    computing with this one go on side by side.
    """
    module = device_module(device)
    before = None  # the batch that is on its way
    for batch in chain(batches, [None]):
        coming = None
        if batch is not None:
            coming = batch, [send(module, to_numpy(a)) for a in flat(batch)]
        if before is not None:
            form, sent = before
            for _, arrive in sent:
                arrive()
            found = iter([a for a, _ in sent])
            yield mapped(form, lambda _, found=found: next(found))
        before = coming
