"""How much each sample counts in training, and which samples are held out.

The one rule of this file: no data set is copied; a sample gets or loses its weight when it is asked
for.

Explained in course/12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..data.loader import DataLoader, Subset, split

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from numpy.typing import ArrayLike

    from ..data.loader import Dataset


class _Changed(Subset):
    """Another data set's samples, each as `change(sample, index)` makes it when it is asked for."""

    def __init__(self, dataset, change):
        super().__init__(dataset, np.arange(len(dataset)))
        self.change = change

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        if not isinstance(sample, tuple):  # else its rows would be taken for arrays
            raise TypeError(f"items are tuples (see ArrayDataset), got {type(sample)}")
        return self.change(sample, index)


def _check_weights(name, weights):
    wrong = [w for w in np.ravel(weights).tolist() if not 0 <= w < np.inf]
    if wrong:
        raise ValueError(f"{name}: expected numbers from 0 on, got {wrong[0]}")


def prepared(
    train: DataLoader | Dataset, valid: Any, weight: ArrayLike | bool | None, seed: int
) -> tuple[Any, Any]:
    """Trainer.fit's data: `train` with the weights as its last array, and what to validate on.

    weight: None, True (the weights are there already), or a number for each sample, (N,).
    valid: a float is a share of `train` to be held out, without its weights; anything else is
    returned as it is.
    Raises ValueError where the weights are not as many as the samples, or one is negative or nan,
    or `train` is a DataLoader.
    """
    if weight is not None and weight is not True:
        weight = np.asarray(weight)
        if isinstance(train, DataLoader) or weight.shape != (len(train),):
            raise ValueError(
                "sample_weight: expected a number for each sample of a data set, got shape "
                f"{weight.shape} for a {type(train).__name__} of length {len(train)}; elsewhere, "
                "weights are the last array of the data set, and sample_weight=True"
            )
        _check_weights("sample_weight", weight)
        train = _Changed(train, lambda sample, i: (*sample, weight[i]))
    if isinstance(valid, float):
        if isinstance(train, DataLoader):
            raise ValueError(
                f"valid: a share, {valid}, can be held out of arrays or of a data set, not of a "
                "DataLoader, whose batches are made already: rest, valid = data.split(dataset, 0.8)"
            )
        valid, train = split(train, valid, seed=seed)
        if weight is not None:
            valid = _Changed(valid, lambda sample, i: sample[:-1])
    return train, valid


def weigher(
    given: bool, by_class: ArrayLike | Mapping[Any, float] | None
) -> Callable[[Sequence[Any]], tuple[list[Any], np.ndarray]] | None:
    """A function batch -> (batch, weight of each sample), or None where nothing has a weight.

    given: whether the last array of a batch is its weights.  by_class: None, or a weight for each
    class, a dict or a list.  Where both are there, they are multiplied.
    """
    if not given and by_class is None:
        return None
    if by_class is not None and not isinstance(by_class, dict):
        by_class = dict(enumerate(by_class))
    _check_weights("class_weight", [*(by_class or {}).values()])

    def weigh(batch):
        weight = 1.0
        if given:
            *batch, weight = batch
            _check_weights("sample_weight, the last array of the data set", weight)
        if by_class is not None:
            classes, which = np.unique(batch[-1], return_inverse=True)
            if missing := set(classes.tolist()) - by_class.keys():
                raise ValueError(f"class_weight has nothing for {missing}, only for {[*by_class]}")
            of_class = np.array([by_class[k] for k in classes.tolist()])
            # (N,) or (N, T): a sample's weight counts for all its labels
            weight = (of_class[which.reshape(batch[-1].shape)].T * weight).T
        return [*batch], np.asarray(weight, np.float32)

    return weigh
