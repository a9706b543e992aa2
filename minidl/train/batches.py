"""Batches, and how arrays, data sets and loaders become them.

The one rule of this file: a batch is a tuple (inputs ..., target), and each of these is an array,
or a tuple, list or dict of arrays.  The model gets what is in a dict by keyword, all else by
position; the loss gets the target as it is.

Explained in course/12.
"""

from __future__ import annotations

from inspect import signature
from itertools import count
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from ..data.loader import ArrayDataset, DataLoader
from ..engine import devices
from ..engine.tensor import Tensor
from ..graph.lines import flat, mapped
from .metrics import Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from numpy.typing import ArrayLike

    from ..data.loader import Dataset
    from .trainer import Trainer

    # An array also as a Tensor, a DataFrame or Series, or a list of numbers.
    Arrays: TypeAlias = ArrayLike | Tensor | Sequence[Any] | Mapping[str, Any]
    Data: TypeAlias = Arrays | Dataset | DataLoader


_NESTS = tuple, list, dict


# ---- what is given to fit, evaluate and predict


def are_arrays(given: object) -> bool:
    """Whether it is an array, or several in a tuple, list or dict, and no data set.

    A DataFrame, a Series and a list of numbers are arrays; a list of tuples is a data set.
    Raises TypeError for what is neither.
    """
    if isinstance(given, list):
        return not any(isinstance(part, tuple) for part in given)
    if isinstance(given, (tuple, dict, Tensor)) or devices.is_array(given):
        return True
    is_data = hasattr(given, "__getitem__") and hasattr(given, "__len__")
    if isinstance(given, str) or not (is_data or isinstance(given, DataLoader)):
        raise TypeError(f"expected arrays, a data set or a DataLoader, got {given!r:.60}")
    return hasattr(given, "__array__")


def divided(
    where: str, x: Data, y: Data | float | None, valid: Data | float | None = None
) -> tuple[Any, Any]:
    """What is trained on, and what to validate on, of the first two arguments of fit or evaluate.

    Each is a data set or a loader, or a tuple (x, y) of arrays; the second may be None or a float,
    the share of the first in (0, 1).  Raises TypeError where targets are missing or too many.
    """
    if are_arrays(x):
        if y is None or isinstance(y, Real) or not are_arrays(y):
            raise TypeError(
                f"{where}: arrays x need their targets, {where}(x, y), got {y!r:.60} for y; a data "
                "set, such as ArrayDataset(x, y), has its own, and to validate on is valid=..."
            )
        x = x, y
    elif y is not None and (valid is not None or where != "fit"):
        raise TypeError(
            f"{where}: a {type(x).__name__} in first place has its targets, so there is no place "
            "for y; arrays are np.array(...) or lists of numbers, a list of tuples is a data set"
        )
    elif y is not None:
        valid = y
    if isinstance(valid, (Real, np.generic)):
        if isinstance(valid, (bool, np.bool_)) or not 0 < valid < 1:
            raise ValueError(
                "valid: expected data to validate on, or the share of the training data in (0, 1) "
                f"that is held out, got {valid!r}; a number of epochs has a name, epochs=10"
            )
        return x, float(valid)
    if (
        valid is not None
        and are_arrays(valid)
        and not (isinstance(valid, tuple) and len(valid) == 2)
    ):
        raise TypeError(f"valid: arrays come as a pair, valid=(x, y), got a {type(valid).__name__}")
    return x, valid


def dataset(*columns: Arrays) -> tuple[ArrayDataset, Callable[..., Any] | None]:
    """The data set of some arrays, or tuples, lists or dicts of arrays, and what a loader does with
    its batches: it gives them the same form (None: nothing).

    Raises TypeError for what is no numbers, and ValueError unless all have one length.
    """
    whole = tuple(_plain(column) for column in columns)
    arrays = flat(whole)
    lengths = [a.shape[:1] for a in arrays]
    if not all(flat(column) for column in whole) or len({*lengths, *lengths[:1]} - {()}) != 1:
        raise ValueError(
            f"expected arrays of one length, got shapes {[a.shape for a in arrays[:6]]}; a tuple, "
            "list or dict of arrays is several inputs or targets: np.stack makes samples one array"
        )
    data = ArrayDataset(*arrays)
    if not any(isinstance(column, _NESTS) for column in whole):
        return data, None
    places = count()
    form = mapped(whole, lambda _: next(places))

    def formed(batch, rng):
        weights = batch[len(arrays) :]  # of the samples, if they have any
        return *mapped(form, lambda i: batch[i]), *weights

    return data, formed


def _plain(given):
    """The NumPy array of what `are_arrays`, or the tuple, list or dict of these."""
    if isinstance(given, dict):
        return {name: _plain(part) for name, part in given.items()}
    several = isinstance(given, list) and any(getattr(part, "ndim", 0) for part in given)
    if several or isinstance(given, tuple):
        return tuple(_plain(part) for part in given)
    if isinstance(given, Tensor):
        return given.numpy()
    if devices.is_array(given):
        return devices.to_numpy(given)
    if hasattr(given, "items") and given.ndim == 2:  # a DataFrame: truths and numbers may meet
        columns = [_numbers(column, f"column {name!r}") for name, column in given.items()]
        return np.stack(columns, axis=1)  # (N,) of each -> (N, D)
    return _numbers(given, f"a {type(given).__name__}")


def _numbers(given, what):
    try:
        a = np.asarray(given)
    except ValueError as error:
        raise TypeError(f"{what} is no array: {error}") from error
    if a.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers, got {what} with elements such as {a.reshape(-1)[:1]}; "
                        "make numbers of them, as data.read_csv does")  # fmt: skip
    return a


def as_loader(
    data: DataLoader | Dataset,
    batch_size: int,
    which: str = "",
    *,
    form: Callable[..., Any] | None = None,
    **options: Any,
) -> DataLoader:
    """`data` itself if it is a DataLoader, else one of it with these options.

    which, form: what the data is for, and what `dataset` says of its form.  Raises ValueError where
    there is no batch.
    """
    if not isinstance(data, DataLoader):
        data = DataLoader(data, batch_size, transform=form, **options)
    if not len(data):
        raise ValueError(f"the {which}data gives no batch: it is empty, or smaller than a batch")
    return data


def loaded(where: str, data: Data, y: Arrays | None, batch_size: int, **options: Any) -> DataLoader:
    """A loader of what is given to evaluate or find_rate."""
    data, _ = divided(where, data, y)
    form = None
    if isinstance(data, tuple):
        data, form = dataset(*data)
    return as_loader(data, batch_size, form=form, **options)


def stream(
    loader: DataLoader, epochs: Iterable[int] = (0,), start: int = 0
) -> Generator[tuple[Any, ...], None, None]:
    """The batches of some epochs; a generator, so that it can be closed, and the loader's with it.

    start: the first batch's number in its epoch.
    """
    for epoch in epochs:
        yield from loader.batches(epoch, start)


def balanced(dataset: Dataset, place: int) -> dict[Any, float]:
    """The weight of each class, all samples by the number of classes times those of this class.

    So every class counts alike, and the mean weight is 1 (King and Zeng 2001; scikit-learn's).
    place: that of the labels in a sample, -1 for the last.  Reads each sample once.
    Raises ValueError for targets that are no classes.
    """
    if isinstance(dataset, ArrayDataset):
        labels = dataset.arrays[place]
    else:
        labels = np.array([dataset[i][place] for i in range(len(dataset))])
    if labels.dtype.kind not in "biuf" or (labels % 1).any():
        raise ValueError("class_weight='balanced' is for targets that are classes, whole numbers, "
                         f"got {labels.reshape(-1)[:3]} ...")  # fmt: skip
    classes, counts = np.unique(labels, return_counts=True)
    return dict(zip(classes.tolist(), (labels.size / (len(classes) * counts)).tolist()))


# ---- what is in a batch


def n_samples(batch: Sequence[Any]) -> int:
    """How many samples a batch has."""
    first = batch[0]
    if isinstance(first, _NESTS):
        first = flat(first)[0]
    return len(first)


def tensors(trainer: Trainer, batch: Sequence[Any], least: int = 2) -> Sequence[Any]:
    """A batch of at least so many parts as Tensors on the trainer's device, in its form.

    Floats get the type of the parameters: beside float64 numbers, which pandas and Python have, a
    float32 model would compute in float64, at half the speed.  Whole numbers stay.
    """
    if len(batch) < least or not n_samples(batch):
        raise ValueError("a batch must be (inputs ..., target), and not empty; got shapes "
                         f"{[np.shape(a) for a in flat(batch)]}")  # fmt: skip
    dtype = trainer.optimizer.parameters[0].dtype

    def tensor(a):
        a = devices.to_device(a, trainer.device)
        if a.dtype.kind == "f" and a.dtype != dtype:
            a = a.astype(dtype)
        return Tensor(a)

    return mapped(batch, tensor)


def parts(batch: Sequence[Any], loss: Any) -> tuple[Sequence[Any], Any]:
    """The inputs of a batch, and its target: the last part.

    Of several losses and a batch that ends with an array, there is one array for each.
    """
    if isinstance(loss, Losses) and not isinstance(batch[-1], _NESTS):
        n = len(loss.losses)
        return batch[:-n], loss.targets(batch[-n:])
    return batch[:-1], batch[-1]


def spread(inputs: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for a model, by position and by keyword."""
    places, names = [], {}
    for part in inputs:
        if isinstance(part, dict):
            names |= part
        elif isinstance(part, (tuple, list)):
            places += part
        else:
            places.append(part)
    return places, names


def inputs_of(trainer: Trainer, batch: Sequence[Any]) -> Sequence[Any]:
    """The inputs of a batch that may have no target.

    As many arrays as were inputs in training, or else as the model's `forward` takes.  Raises
    ValueError where that fits neither the whole batch nor the batch without target, or both.
    """
    n, forward = trainer.n_inputs, trainer.model.forward

    def fits(inputs):
        if n is not None:
            return len(flat(inputs)) == n
        places, names = spread(inputs)
        try:
            signature(forward).bind(*places, **names)
        except TypeError:
            return False
        return True

    cases = [batch, parts(batch, trainer.loss)[0]]
    fitting = [case for case in cases if len(case) and fits(case)]
    if len(fitting) == 1:
        return fitting[0]
    takes = f"takes {signature(forward)}"
    if n is not None:
        takes = f"was trained with {n} inputs"
    raise ValueError(
        f"predict: {type(trainer.model).__name__} {takes}, a batch has {len(flat(batch))} arrays, "
        f"of shapes {[np.shape(a) for a in flat(batch)]}: which are inputs, is the last the "
        "target? Give the inputs alone, predict(x), predict((x1, x2)) or predict({'name': x})"
    )


def joined(outputs: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Outputs of batches of these sizes as NumPy arrays (N, ...), in the form that they all have.

    Raises TypeError for what is no Tensor, and ValueError where one of several outputs has no row
    for each sample.
    """
    columns = [*zip(*map(flat, outputs), strict=True)]  # of each array its parts
    for parts in columns:
        wrong = [type(y).__name__ for y in parts if not isinstance(y, Tensor)]
        if wrong:
            raise TypeError("predict: expected a Tensor from the model for each batch, or a tuple "
                            f"or dict of Tensors, got a {wrong[0]}")  # fmt: skip
        if len(columns) > 1 and [y.shape[:1] for y in parts] != [(n,) for n in sizes]:
            raise ValueError(
                f"predict: of several outputs each has a row for each sample, got {parts[0].shape} "
                f"for {sizes[0]} samples; return it turned, or a model that leaves it out"
            )
    found = iter([np.concatenate([y.numpy() for y in parts]) for parts in columns])
    return mapped(outputs[0], lambda _: next(found))
