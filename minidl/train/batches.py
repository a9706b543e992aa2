"""Batches, and how arrays, data sets and loaders become them.

The one rule of this file: a batch is a tuple (inputs ..., target), and each of these is an array,
or a tuple, list or dict of arrays.  The model gets what is in a dict by keyword, all else by
position; the loss gets the target as it is.

Explained in course/12.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import signature
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from ..data.loader import ArrayDataset, DataLoader
from ..engine import devices
from ..engine.tensor import Tensor
from ..graph.lines import flat, mapped
from .metrics import Losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    from numpy.typing import ArrayLike

    from ..data.loader import Dataset
    from ..nn.module import Module
    from .trainer import Trainer

    # An array also as a Tensor, a DataFrame or Series, or a list of numbers.
    Arrays: TypeAlias = ArrayLike | Tensor | Sequence[Any] | Mapping[str, Any]
    Data: TypeAlias = Arrays | Dataset | DataLoader


NESTS = tuple, list, dict


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
    is_data = isinstance(given, DataLoader) or hasattr(given, "__getitem__")
    if isinstance(given, str) or not is_data:
        raise TypeError(f"expected arrays, a data set or a DataLoader, got {given!r:.60}")
    return hasattr(given, "__array__")


def given(where: str, x: Data, y: Arrays | None = None, *more: object) -> tuple[Any, Any]:
    """What `as_loader` needs, of x and y as in fit(x, y), or of a data set or loader x alone.

    where: who was given them.  Raises TypeError where targets are missing or too many.
    """
    if not are_arrays(x) and y is None:
        return x, None
    if not are_arrays(x):
        raise TypeError(
            f"{where}: a {type(x).__name__} in first place has its targets, so there is no place "
            "for y; arrays are np.array(...) or lists of numbers, a list of tuples is a data set"
        )
    if more or y is None or isinstance(y, Real) or not are_arrays(y):
        raise TypeError(
            f"{where}: arrays x come as a pair with their targets, {where}(x, y), got {y!r:.60} "
            "for y; a data set, such as ArrayDataset(x, y), has its own"
        )
    return dataset(x, y)


def share(valid: Any) -> float:
    """`valid` as a share of the training data.  Raises ValueError unless it is in (0, 1)."""
    if isinstance(valid, (bool, np.bool_)) or not 0 < valid < 1:
        raise ValueError(
            "valid: expected data to validate on, or the share of the training data in (0, 1) that "
            f"is held out, got {valid!r}; a number of epochs has a name, epochs=10"
        )
    return float(valid)


def dataset(*columns: Arrays) -> tuple[ArrayDataset, Callable[..., Any] | None]:
    """The data set of some arrays, or tuples, lists or dicts of arrays, and what a loader does with
    its batches: it gives them the same form (None: nothing).

    Raises TypeError for what is no numbers, and ValueError unless all have one length.
    """
    whole = [_arrays(column) for column in columns]
    arrays = flat(whole)
    if not all(flat(column) for column in whole) or len({a.shape[:1] for a in arrays} | {()}) != 2:
        raise ValueError(
            f"expected arrays of one length, got shapes {[a.shape for a in arrays[:6]]}; a tuple, "
            "list or dict of arrays is several inputs or targets: np.stack makes samples one array"
        )
    form = None
    if is_nested(whole):
        # What follows in a batch are the weights of its samples.
        form = lambda batch, rng: (*filled(whole, batch), *batch[len(arrays) :])  # noqa: E731
    return ArrayDataset(*arrays), form


def _arrays(given):
    """What `are_arrays`, as a NumPy array, or a tuple or dict of them."""
    if isinstance(given, dict):
        return {name: _numbers(part) for name, part in given.items()}
    several = isinstance(given, list) and any(getattr(part, "ndim", 0) for part in given)
    if several or isinstance(given, tuple):
        return tuple(map(_numbers, given))
    return _numbers(given)


def _numbers(given, what="an array"):
    """A NumPy array.  Raises TypeError where it holds no numbers."""
    if isinstance(given, Tensor):
        given = given.data
    if devices.is_array(given):
        given = devices.to_numpy(given)
    if hasattr(given, "items") and given.ndim == 2:  # a DataFrame: columns may differ in type
        columns = [_numbers(column, f"column {name!r}") for name, column in given.items()]
        given = np.stack(columns, axis=1)  # (N,) of each -> (N, D)
    a = np.asarray(given)
    if a.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers, got {what} with elements such as {a.flat[:1]}; "
                        "make numbers of them, as data.read_csv does")  # fmt: skip
    return a


def as_loader(
    data: DataLoader | Dataset,
    form: Callable[..., Any] | None,
    batch_size: int,
    which: str = "",
    **options: Any,
) -> DataLoader:
    """`data` itself if it is a DataLoader, else one of it with these options.

    form: see `dataset`.  which: what the data is for.  Raises ValueError where there is no batch.
    """
    if not isinstance(data, DataLoader):
        data = DataLoader(data, batch_size, transform=form, **options)
    if not len(data):
        raise ValueError(f"the {which}data gives no batch: it is empty, or smaller than a batch")
    return data


def balanced_weights(dataset: Dataset, place: int) -> dict[Any, float]:
    """For each class N samples by K classes times the samples of this class, so that all classes
    count alike, and the mean weight is 1 (King and Zeng 2001; scikit-learn's "balanced").

    place: that of the labels in a sample, -1 for the last.  Reads each sample once.
    Raises ValueError for targets that are no classes.
    """
    if isinstance(dataset, ArrayDataset):
        labels = dataset.arrays[place]
    else:
        labels = np.array([dataset[i][place] for i in range(len(dataset))])
    if labels.dtype.kind not in "biuf" or (labels % 1).any():
        raise ValueError("class_weight='balanced' is for targets that are classes, whole numbers, "
                         f"got {labels.flat[:3]} ...")  # fmt: skip
    classes, counts = np.unique(labels, return_counts=True)
    return dict(zip(classes.tolist(), (labels.size / (len(classes) * counts)).tolist()))


# ---- what is in a batch


def filled(form: Any, arrays: Iterable[Any]) -> Any:
    """`arrays` in order in the form of another batch."""
    found = iter(arrays)
    return mapped(form, lambda _: next(found))


def is_nested(batch: Sequence[Any]) -> bool:
    """Whether a part of a batch is no array; most are, and need no walk."""
    return True in [isinstance(part, NESTS) for part in batch]


def n_samples(batch: Sequence[Any]) -> int:
    """How many samples a batch has."""
    return len(flat(batch[0])[0])


def tensors(trainer: Trainer, batch: Sequence[Any], least: int = 2) -> Sequence[Any]:
    """A batch of at least so many parts as Tensors on the trainer's device, in its form.

    Floats get the type of the parameters: beside float64 numbers, which pandas and Python have, a
    float32 model would compute in float64, at half the speed.  Whole numbers stay.
    Raises ValueError for bytes, where floats were trained on.
    """
    if len(batch) < least or not n_samples(batch):
        raise ValueError("a batch must be (inputs ..., target), and not empty; got shapes "
                         f"{[np.shape(a) for a in flat(batch)]}")  # fmt: skip
    if ("f", "u") in zip(trainer.kinds, [a.dtype.kind for a in flat(batch)]):
        raise ValueError(
            "expected floats, as training began with, got whole numbers without a sign, which "
            "bytes are: make of x what training had; of images in bytes that is x / 255"
        )
    dtype = trainer.optimizer.parameters[0].dtype

    def tensor(a):
        a = devices.to_device(a, trainer.device)
        if a.dtype.kind == "f" and a.dtype != dtype:
            a = a.astype(dtype)
        return Tensor(a)

    return mapped(batch, tensor) if is_nested(batch) else [*map(tensor, batch)]


def parts(batch: Sequence[Any], loss: Any) -> tuple[Sequence[Any], Any]:
    """The inputs of a batch, and its target: the last part.

    Of several losses and a batch that ends with an array, there is one array for each.
    """
    if isinstance(loss, Losses) and not isinstance(batch[-1], NESTS):
        n = len(loss.losses)
        return batch[:-n], filled(loss.losses, batch[-n:])
    return batch[:-1], batch[-1]


def call(function: Callable[..., Any], inputs: Sequence[Any]) -> Any:
    """What a model gives for inputs: those in a dict are given by keyword, others by position."""
    places, names = [], {}
    for part in inputs:
        if isinstance(part, dict):
            names |= part
        else:
            places += part if isinstance(part, (tuple, list)) else [part]
    return function(*places, **names)


def check_inputs(model: Module, inputs: Sequence[Any]) -> None:
    """Raise TypeError unless the model's `forward` takes what are the inputs of a batch."""
    takes = signature(model.forward)
    try:
        call(takes.bind, inputs)
    except TypeError as error:
        raise TypeError(
            f"{type(model).__name__} takes ({_named(takes)}), a batch has {len(flat(inputs))} "
            f"inputs, of shapes {[np.shape(a) for a in flat(inputs)]}: {error}; several inputs "
            "come as a tuple (by position) or a dict (by keyword), samples as one array, "
            "np.stack(samples), and pairs as in fit(x, y, valid=(x_valid, y_valid))"
        ) from None


def _named(takes):
    """The parameters of a signature, in words."""
    return ", ".join(str(p.replace(annotation=p.empty)) for p in takes.parameters.values())


def inputs_of(trainer: Trainer, batch: Sequence[Any]) -> Sequence[Any]:
    """The inputs of a batch that may have no target.

    As many arrays as were inputs in training, or else as the model's `forward` takes.  Raises
    ValueError where that fits neither the whole batch nor the batch without target, or both.
    """
    n, takes = trainer.n_inputs, signature(trainer.model.forward)
    fitting = []
    for inputs in (batch, parts(batch, trainer.loss)[0]):
        with suppress(TypeError):
            call(takes.bind, inputs)
            if len(inputs) and n in (None, len(flat(inputs))):
                fitting.append(inputs)
    if len(fitting) == 1:
        return fitting[0]
    raise ValueError(
        f"predict: {type(trainer.model).__name__} takes ({_named(takes)}), in training "
        f"{n or 'no'} inputs, a batch has {len(flat(batch))} arrays, of shapes "
        f"{[np.shape(a) for a in flat(batch)]}: "
        "which are inputs, is the last the target? Give the inputs alone, predict(x), "
        "predict((x1, x2)) or predict({'name': x})"
    )


def output(trainer: Trainer, inputs: Sequence[Any]) -> Any:
    """What the trainer's model gives for the inputs of a batch, as NumPy arrays.

    Raises TypeError for what is no Tensor, and where one has no row for each sample.
    """
    check_inputs(trainer.model, inputs)
    found = call(trainer.model, tensors(trainer, inputs, 1))
    for y in flat(found):
        if not isinstance(y, Tensor) or y.shape[:1] != (n_samples(inputs),):
            raise TypeError(
                "predict: expected of the model a Tensor (or a tuple or dict of some) with a row "
                f"for each sample, got a {type(y).__name__} of shape {np.shape(y)} for "
                f"{n_samples(inputs)} samples; one sample alone is a batch of one, x[None]"
            )
    return mapped(found, Tensor.numpy)


def joined(outputs: Sequence[Any]) -> Any:
    """The outputs of all batches in one, in their form: arrays (n, ...) of each -> (N, ...)."""
    columns = zip(*map(flat, outputs), strict=True)
    return filled(outputs[0], map(np.concatenate, columns))
