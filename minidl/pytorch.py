"""Weights from PyTorch and to PyTorch, layer by layer; PyTorch itself is not needed here.

The one rule of this file: what a layer's arrays are called there, and how they lie, is said by the
layer's kind, never by names or shapes alone; so a square matrix is turned like any other.

The table is in docs/state_dicts.md.

Explained in course/12.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from .engine import devices
from .nn import layers as nn
from .nn import recurrent, transformer
from .nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any, TypeVar

    M = TypeVar("M", bound=Module)

# Kinds of layers, each with the names of PyTorch's.
_KINDS = {
    nn.Linear: ["Linear"],
    nn.Conv1d: ["Conv1d"],
    nn.Conv2d: ["Conv2d"],
    nn.ConvTranspose2d: ["ConvTranspose2d"],
    nn.RMSNorm: ["RMSNorm"],
    nn.LayerNorm: ["LayerNorm"],
    nn.GroupNorm: ["GroupNorm"],
    nn.BatchNorm: ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"],
    nn.Embedding: ["Embedding"],
    recurrent.RNN: ["RNN"],
    recurrent.LSTM: ["LSTM"],
    recurrent.GRU: ["GRU"],
    transformer.MultiHeadAttention: ["MultiheadAttention"],
    transformer.TransformerBlock: ["TransformerEncoderLayer"],
    nn.Flatten: ["Flatten"],
    nn.ReLU: ["ReLU"],
    nn.LeakyReLU: ["LeakyReLU"],
    nn.GELU: ["GELU"],
    nn.Tanh: ["Tanh"],
    nn.Sigmoid: ["Sigmoid"],
    nn.Dropout: ["Dropout", "Identity"],
    nn.MaxPool2d: ["MaxPool2d"],
    nn.AvgPool2d: ["AvgPool2d"],
}
# What a part of such a layer is called there.
_NAMES = {
    transformer.MultiHeadAttention: {"out": "out_proj"},
    transformer.TransformerBlock: {
        "attention": "self_attn",
        "mlp.0": "linear1",
        "mlp.2": "linear2",
    },
}
# What is no array and must agree nevertheless, or outputs would differ in evaluation: kinds of
# layers, PyTorch's name of an option, and what it is for a layer here.
_OPTIONS = [
    (
        (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d),
        "stride",
        lambda layer: layer.options["stride"],
    ),
    (
        (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d, nn.AvgPool2d),
        "padding",
        lambda layer: layer.options["padding"],
    ),
    (
        (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d),
        "dilation",
        lambda layer: layer.options.get("dilation", 1),
    ),
    (
        (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d),
        "groups",
        lambda layer: layer.options.get("groups", 1),
    ),
    ((nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d), "padding_mode", lambda layer: "zeros"),
    ((nn.ConvTranspose2d,), "output_padding", lambda layer: layer.options["output_padding"]),
    ((nn.MaxPool2d, nn.AvgPool2d), "kernel_size", lambda layer: layer.size),
    ((nn.MaxPool2d, nn.AvgPool2d), "ceil_mode", lambda layer: False),
    ((nn.AvgPool2d,), "count_include_pad", lambda layer: True),
    ((nn.AvgPool2d,), "divisor_override", lambda layer: None),
    (
        (nn.RMSNorm, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm),
        "eps",
        lambda layer: layer.eps,
    ),
    ((nn.GroupNorm,), "num_groups", lambda layer: layer.groups),
    ((nn.BatchNorm,), "track_running_stats", lambda layer: True),
    ((nn.Embedding,), "max_norm", lambda layer: None),
    ((nn.Flatten,), "start_dim", lambda layer: 1),
    ((nn.Flatten,), "end_dim", lambda layer: -1),
    ((nn.LeakyReLU,), "negative_slope", lambda layer: layer.slope),
    ((nn.GELU,), "approximate", lambda layer: "tanh"),
    ((recurrent.RNN,), "nonlinearity", lambda layer: "tanh"),
    (
        (recurrent.RNN, recurrent.LSTM, recurrent.GRU, transformer.MultiHeadAttention),
        "batch_first",
        lambda layer: True,
    ),
    ((transformer.MultiHeadAttention,), "num_heads", lambda layer: layer.heads),
    ((transformer.MultiHeadAttention,), "add_zero_attn", lambda layer: False),
    ((transformer.TransformerBlock,), "norm_first", lambda layer: True),
    ((transformer.TransformerBlock,), "activation", lambda layer: "gelu"),
]
# How to read what PyTorch's layer keeps otherwise: a padding may be a word, and an activation is a
# function; one that is neither relu nor gelu may be gelu's form with tanh.
_THERE = {
    "padding": lambda layer: {
        "valid": 0,
        "same": np.multiply(getattr(layer, "dilation", 1), np.subtract(layer.kernel_size, 1)) / 2,
    }.get(str(layer.padding), layer.padding),
    "activation": lambda layer: {1: "relu"}.get(layer.activation_relu_or_gelu, "gelu"),
}
_SAME = {"weight", "bias", "running_mean", "running_var"}  # lie the same way, but for Linear


def from_torch(model: M, source: Any, *, same: Collection[str] = ()) -> M:
    """Copy the weights of `source`, a PyTorch module or its state dict, into `model`; return it.

    The two have the same layers under the same names: attributes, places in lists and in
    Sequential, keys of dicts.  The values are torch tensors or arrays, wherever they are.

    same: paths of parameters of your own modules that lie there as they do here; needed where a
        shape, such as (n, n), would not show it if they were transposed.

    Raises ValueError, and copies nothing, where a name is missing or unknown, where a shape, a
    type or the kind of a layer differs, and where shared arrays differ.  Of a PyTorch module, not
    of a state dict, the kinds of layers are known too, those without arrays among them, and their
    options: what would give other outputs in evaluation is refused, such as another stride,
    padding, eps, number of heads, or batch_first=False.  To copy nevertheless, give the state dict.
    """
    theirs = {}
    if hasattr(source, "named_modules"):
        theirs = dict(source.named_modules())
        source = source.state_dict()
    if not hasattr(source, "items"):
        raise TypeError("from_torch: expected a PyTorch module or its state_dict(), got a "
                        f"{type(source).__name__}")  # fmt: skip
    plan = _plan(model, same)
    state = {name: _array(value) for name, value in source.items()}
    found, tensors = {}, dict(model.tensors())
    wrong = _other_kinds(model, theirs)
    wrong += [f"{name!r} is unknown here" for name in state.keys() - {there for there, *_ in plan}]
    for there, paths, turned in plan:
        expected = _joined(tensors, paths, turned)
        array = state.get(there, np.empty(0, object))
        if (array.shape, array.dtype.kind) == (expected.shape, expected.dtype.kind):
            found |= zip(paths, _cut(array, len(paths), turned))
        elif paths:
            got = f"{array.dtype} {array.shape}" if there in state else "nothing"
            wrong.append(f"{there!r}, for {' and '.join(paths)}, should be {expected.dtype} "
                         f"{expected.shape}, got {got}")  # fmt: skip
    first = {id(tensors[path]): path for path in reversed(found)}  # of each tensor, its first path
    twins = [(path, first[id(tensors[path])]) for path in found]
    wrong += [f"{path} and {twin} are one tensor here, and differ there" for path, twin in twins
              if path != twin and not np.array_equal(found[path], found[twin])]  # fmt: skip
    if wrong:
        raise ValueError(f"from_torch: this does not fit {type(model).__name__}, so nothing was "
                         f"copied: {'; '.join(wrong)}")  # fmt: skip
    model.load_state_dict(found)
    return model


def to_torch(model: Module, *, same: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The state dict of PyTorch's module of the same layers, as NumPy arrays.

    There: `load_state_dict({name: torch.tensor(a) for name, a in to_torch(model).items()})`.

    same: as in `from_torch`.
    """
    plan, tensors = _plan(model, same), dict(model.tensors())
    return {there: _joined(tensors, paths, turned).copy("C") for there, paths, turned in plan}


def _places(model):
    """For each module inside: its path here, its path there, its kind and itself."""
    renamed = {}
    for path, module in model.modules():
        known = [here for here in renamed if f"{path}.".startswith(f"{here}.")]
        here = max(known, key=len, default="")
        there = renamed.get(here, "") + path[len(here) :]
        kind = next((kind for kind in type(module).__mro__ if kind in _KINDS), None)
        for part, name in _NAMES.get(kind, {}).items():
            renamed[f"{path}.{part}".lstrip(".")] = f"{there}.{name}".lstrip(".")
        yield path, there, kind, module


def _plan(model, same):
    """Triples (name there, paths here, whether turned) of all arrays; several paths are joined
    there, one below the other; with none, PyTorch alone has it.
    """
    found, done = [], set()
    for path, there, kind, module in _places(model):
        if kind is transformer.MultiHeadAttention:
            for name in [name for name, _ in module.query.parts()]:
                paths = [f"{path}.{part}.{name}".lstrip(".") for part in ("query", "key", "value")]
                found.append((f"{there}.in_proj_{name}".lstrip("."), paths, name == "weight"))
                done.update(paths)
        for name, part in module.parts():
            here, turned = f"{path}.{name}".lstrip("."), _is_turned(kind, name)
            if isinstance(part, Module) or here in done:
                continue
            long = [n for n in part.shape if n > 1]
            if turned is None and here not in same and len(set(long)) < len(long):
                raise ValueError(
                    f"{type(module).__name__} has {here!r}, whose shape {part.shape} does not show "
                    f"whether PyTorch's lies the same way; if it does: same=[{here!r}]"
                )
            found.append((f"{there}.{name}".lstrip("."), [here], bool(turned)))
        if kind is nn.BatchNorm:
            found.append((f"{there}.num_batches_tracked".lstrip("."), [], False))
    if len({name for name, *_ in found}) < len(found):
        raise ValueError(f"two arrays of {type(model).__name__} would have one name in PyTorch: "
                         f"{sorted(name for name, *_ in found)}")  # fmt: skip
    return found


def _is_turned(kind, name):
    """Whether this array is transposed there; None where that is not known."""
    if kind is None:
        return None
    if issubclass(kind, recurrent.Recurrent):
        known = name.startswith(recurrent.Recurrent.names)
        turned = name.startswith("weight_")
    else:
        known = name in _SAME
        turned = kind is nn.Linear and name == "weight"
    return turned if known else None


def _joined(tensors, paths, turned):
    """The array there for the tensors at `paths`; for none of them a count, 0."""
    arrays = [tensors[path].numpy() for path in paths] or [np.zeros((), np.int64)]
    if turned:
        arrays = [a.T for a in arrays]  # (n_in, n_out) -> (n_out, n_in)
    # n times (n_out, n_in) -> (n n_out, n_in)
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _cut(array, n, turned):
    """The n arrays here that `_joined` makes one there."""
    # (n n_out, n_in) -> n times (n_out, n_in)
    arrays = np.split(array, n) if n > 1 else [array]
    return [a.T for a in arrays] if turned else arrays  # (n_out, n_in) -> (n_in, n_out)


def _other_kinds(model, theirs):
    """Sentences about layers of another kind there, where PyTorch's modules are known."""
    wrong = []
    for path, there, kind, module in _places(model):
        if kind is None or there not in theirs:
            continue
        names, place = [k.__name__ for k in type(theirs[there]).__mro__], path or "the model"
        if not {*names} & {*_KINDS[kind]}:
            wrong.append(f"{place} is a {type(module).__name__}, there it is a {names[0]}, whose "
                         "arrays or outputs may be others")  # fmt: skip
            continue
        for option, ours in [(option, ours) for kinds, option, ours in _OPTIONS if kind in kinds]:
            got = _THERE.get(option, attrgetter(option))(theirs[there])
            if not np.array_equal(*np.broadcast_arrays(ours(module), got)):
                wrong.append(f"{place} has {option} {ours(module)}, there it is {got}")
    return wrong


def _array(value):
    """A NumPy array of a torch tensor, a Tensor, an array on any device, or what is none."""
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):  # NumPy has none
            value = value.float()
    if devices.is_array(value):
        return devices.to_numpy(value)
    return value.numpy() if hasattr(value, "numpy") else np.asarray(value)
