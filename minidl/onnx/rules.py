"""What ONNX calls minidl's operations and layers.

The one rule of this file: a rule belongs to one operation or one layer, as one entry in one table.
A layer that has a rule becomes one node, whatever it is made of.

Explained in course/25.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn
from ..engine.shapes import ARRAY
from ..engine.tensor import array_of
from .runs import Length
from .writer import ALIKE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .writer import Rule

# ---- rules of operations: name -> a function of a Rule that gives the value of the result

OPERATIONS: dict[str, Callable[[Rule], str]] = {}
LAYERS: dict[type, Callable[[Rule], Any]] = {}


def rule(table: dict, *keys: Any) -> Callable:
    """Decorator: the function is the rule of these operations or layers."""

    def keep(function):
        table.update(dict.fromkeys(keys, function))
        return function

    return keep


@rule(OPERATIONS, *ALIKE)
def _(r):
    return r.node(ALIKE[r.call.name], *r.x)


@rule(OPERATIONS, "matmul")
def _(r):
    return r.node("MatMul", *r.x)


@rule(OPERATIONS, "bit_and", "bit_or", "invert")
def _(r):
    """Of truths; of whole numbers ONNX's names are others."""
    kind = {"bit_and": "And", "bit_or": "Or", "invert": "Not"}[r.call.name]
    if r.dtypes[0].kind != "b":
        kind = f"Bitwise{kind}"
    return r.node(kind, *r.x)


@rule(OPERATIONS, "any", "all")
def _(r):
    kind = {"any": "ReduceMax", "all": "ReduceMin"}[r.call.name]
    truths = r.writer.cast(r.writer.cast(r.x[0], bool), np.int32)
    return r.writer.cast(r.node(kind, truths, _axes(r), keepdims=int(r.attrs["keepdims"])), bool)


@rule(OPERATIONS, "not_equal")
def _(r):
    return r.node("Not", r.node("Equal", *r.x))


@rule(OPERATIONS, "floor_div")
def _(r):
    wide = [r.writer.cast(x, np.float64) for x in r.x]  # ONNX divides whole numbers towards 0
    quotient = r.node("Floor", r.node("Div", *wide))
    return r.writer.cast(quotient, r.call.results[0].dtype)


@rule(OPERATIONS, "gelu")
def _(r):
    return r.node("Gelu", r.x[0], approximate="tanh")


@rule(OPERATIONS, "cast")
def _(r):
    return r.writer.cast(r.x[0], r.attrs["dtype"])


@rule(OPERATIONS, "softmax")
def _(r):
    return r.node("Softmax", r.x[0], axis=r.attrs["axis"])


@rule(OPERATIONS, "logsumexp")
def _(r):
    return r.node("ReduceLogSumExp", r.x[0], _axes(r), keepdims=1)


@rule(OPERATIONS, "sum", "max", "min")
def _(r):
    kind = {"sum": "ReduceSum", "max": "ReduceMax", "min": "ReduceMin"}[r.call.name]
    x, dtype = r.x[0], r.call.results[0].dtype
    if dtype != r.dtypes[0]:  # of truths and small whole numbers a sum is larger
        x = r.writer.cast(x, dtype)
    return r.node(kind, x, _axes(r), keepdims=int(r.attrs["keepdims"]))


@rule(OPERATIONS, "argmax", "argmin")
def _(r):
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[r.call.name]
    axis, keep = r.attrs["axis"], int(r.attrs["keepdims"])
    if axis is not None:
        return r.node(kind, r.x[0], axis=axis, keepdims=keep)
    flat = r.node("Reshape", r.x[0], r.ints(-1))  # (...) -> (all,)
    place = r.node(kind, flat, axis=0, keepdims=0)
    if not keep:
        return place
    return r.node("Unsqueeze", place, r.ints(*range(len(r.shapes[0]))))


def _axes(r):
    """The value of the attribute `axis`, a number, a tuple of them or None for all."""
    axis = r.attrs["axis"]
    if axis is None:
        return None
    if isinstance(axis, tuple):
        return r.ints(*axis)
    return r.ints(axis)


@rule(OPERATIONS, "standardise")
def _(r):
    axis, n = r.attrs["axis"], len(r.shapes[0])
    if axis in (-1, n - 1):
        ones = r.constant(np.ones(r.shapes[0][-1], r.dtypes[0]))
        return r.node("LayerNormalization", r.x[0], ones, axis=-1, epsilon=r.attrs["eps"])
    error = r.node("Sub", r.x[0], r.node("ReduceMean", r.x[0], _axes(r), keepdims=1))
    var = r.node("ReduceMean", r.node("Mul", error, error), _axes(r), keepdims=1)
    eps = r.constant(np.array(r.attrs["eps"], r.dtypes[0]))
    return r.node("Div", error, r.node("Sqrt", r.node("Add", var, eps)))


@rule(OPERATIONS, "one_hot")
def _(r):
    classes = r.ints(r.attrs["classes"])
    return r.node("OneHot", r.x[0], classes, r.constant(np.array([0, 1], r.attrs["dtype"])))


@rule(OPERATIONS, "broadcast_to")
def _(r):
    return r.node("Expand", r.x[0], r.ints(*r.attrs["shape"]))


@rule(OPERATIONS, "reshape")
def _(r):
    """A length that stays where it is is 0 to ONNX, and one that follows from the rest -1."""
    (old,), new = r.shapes, r.call.shapes[0]
    if 0 in new:
        return r.node("Reshape", r.x[0], r.ints(*new), allowzero=1)
    new = [*new]
    for i, (n, m) in enumerate(zip(new, old)):
        if isinstance(n, Length) and n == m:
            new[i] = 0
    varies = [i for i, n in enumerate(new) if isinstance(n, Length)]
    if len(varies) == 1:
        new[varies[0]] = -1
    return r.node("Reshape", r.x[0], r.ints(*new))


@rule(OPERATIONS, "transpose")
def _(r):
    perm = r.attrs["axes"]
    if perm is not None:
        perm = [i % len(perm) for i in perm]
    return r.node("Transpose", r.x[0], perm=perm)


@rule(OPERATIONS, "concatenate")
def _(r):
    return r.node("Concat", *r.x, axis=r.attrs["axis"])


_END = 2**63 - 1  # to ONNX: up to the last, however many there are


@rule(OPERATIONS, "getitem")
def _(r):
    """A node for each kind of part: slices and numbers, an array, numbers' axes gone, new axes."""
    key = _one_each(r.attrs["key"], len(r.shapes[0]))
    cuts, gone, arrays, new = [], [], [], []
    axis = place = 0  # of what is indexed; of the result
    for part in key:
        if part is None:
            new.append(place)
            place += 1
            continue
        if part is ARRAY:
            arrays.append(axis)
            place += len(r.shapes[1])
        elif not isinstance(part, slice):
            cuts.append((part, _behind(part), axis, 1))
            gone.append(axis)
        else:
            if part != slice(None):
                stop = _END if part.stop is None else part.stop
                cuts.append((part.start or 0, stop, axis, part.step or 1))
            place += 1
        axis += 1
    if len(arrays) > 1 or (arrays and gone) or any(step < 0 for *_, step in cuts):
        raise NotImplementedError("an index of an array beside another, or with a step below 0")
    value = r.x[0]
    if cuts:
        value = r.node("Slice", value, *(r.ints(*column) for column in zip(*cuts)))
    for axis in arrays:
        value = r.node("Gather", value, r.x[1], axis=axis)
    if gone:
        value = r.node("Squeeze", value, r.ints(*gone))
    if new:
        value = r.node("Unsqueeze", value, r.ints(*new))
    return value


def _one_each(key, n):
    """A key as a list with a part for each of n axes, and None for each new one."""
    if not isinstance(key, (tuple, list)):
        key = [key]
    key = [*key]
    if ... in key:
        i, rest = key.index(...), n + 1 + key.count(None) - len(key)
        key[i : i + 1] = [slice(None)] * rest
    return key


def _behind(place):
    """The place behind another, which may be a Length."""
    if isinstance(place, Length):
        return Length(place.factor, place.axes, place.offset + 1)
    return _END if place == -1 else place + 1


@rule(OPERATIONS, "scatter")
def _(r):
    """Zeros around an array, which is what ONNX's Pad does."""
    shape, value, lengths = r.attrs["shape"], r.x[0], [*r.shapes[0]]
    before, after = [0] * len(shape), [0] * len(shape)
    for axis, part in enumerate(r.attrs["key"]):
        if part is ARRAY or getattr(part, "step", None) not in (None, 1):
            raise NotImplementedError("places that are given by an array, or by a step")
        if isinstance(part, int):
            value = r.node("Unsqueeze", value, r.ints(axis))
            lengths.insert(axis, 1)
            part = slice(part % shape[axis], None)
        before[axis] = part.start or 0
        after[axis] = _less(shape[axis], lengths[axis]) - before[axis]
    return r.node("Pad", value, r.ints(*before, *after))


def _less(n, m):
    """n - m, which is a number also of two Lengths that differ by one."""
    if isinstance(n, Length) and isinstance(m, Length) and (n.factor, n.axes) == (m.factor, m.axes):
        return n.offset - m.offset
    if isinstance(n, Length) or isinstance(m, Length):
        raise NotImplementedError("zeros around it whose number varies")
    return n - m


@rule(OPERATIONS, "conv")
def _(r):
    return _conv(r, r.x, **r.attrs)


def _conv(r, values, stride, padding, dilation, groups):
    return r.node(
        "Conv", *values, strides=stride, pads=[*padding, *padding], dilations=dilation, group=groups
    )


@rule(OPERATIONS, "max_windows")
def _(r):
    return r.node("MaxPool", r.x[0], kernel_shape=r.attrs["size"], strides=r.attrs["stride"])


# ---- rules of layers: class -> a function of a Rule, whose x are the inputs of `forward`


@rule(LAYERS, nn.Conv2d)
def _(r):
    options = {key: nn.functional.pair(value) for key, value in r.layer.options.items()}
    options["groups"] = r.layer.options["groups"]
    return _conv(r, _weighted(r), **options)


@rule(LAYERS, nn.Conv1d)
def _(r):
    options = {key: [value] for key, value in r.layer.options.items()}
    options["groups"] = r.layer.options["groups"]
    return _conv(r, _weighted(r), **options)


def _weighted(r):
    """What a convolution is given: x, the weight, and the bias if there is one."""
    given = r.x[0], r.weight("weight"), r.weight("bias")
    return [value for value in given if value is not None]


@rule(LAYERS, nn.ConvTranspose2d)
def _(r):
    pair, options = nn.functional.pair, r.layer.options
    return r.node(
        "ConvTranspose", *_weighted(r), strides=pair(options["stride"]),
        pads=pair(options["padding"]) * 2, output_padding=pair(options["output_padding"]),
    )  # fmt: skip


@rule(LAYERS, nn.QuantizedLinear)
def _(r):
    x, scale, zero = r.node("DynamicQuantizeLinear", r.x[0], n=3)
    product = r.node("MatMulInteger", x, *_bytes(r, zero))
    return _scaled(r, product, scale, ())


@rule(LAYERS, nn.QuantizedConv2d)
def _(r):
    options = {key: nn.functional.pair(value) for key, value in r.layer.options.items()}
    x, scale, zero = r.node("DynamicQuantizeLinear", r.x[0], n=3)
    product = r.node(
        "ConvInteger", x, *_bytes(r, zero), strides=options["stride"],
        pads=options["padding"] * 2, dilations=options["dilation"], group=r.layer.options["groups"],
    )  # fmt: skip
    return _scaled(r, product, scale, (1, 1))


def _bytes(r, zero):
    """The weight from 1 to 255, the zero of the input, and that of the weight, which is 128.

    Of int8 onnxruntime adds up wrongly, in silence, where a processor with AVX2 has no VNNI.
    """
    weight = r.writer.parameter(r.layer.weight, lambda w: (w.astype(np.int16) + 128).astype("u1"))
    return weight, zero, r.constant(np.array(128, np.uint8))


def _scaled(r, product, scale, more):
    """A sum of products of whole numbers times both scales, plus the bias; (n_out, *more) each."""
    scales = r.constant(r.layer.scale.numpy().reshape(-1, *more))  # (n_out,) -> (n_out, 1, 1)
    y = r.node("Mul", r.writer.cast(product, np.float32), r.node("Mul", scale, scales))
    if r.layer.bias is None:
        return y
    # (n_out,) -> (n_out, 1, 1)
    return r.node("Add", y, r.constant(r.layer.bias.numpy().reshape(-1, *more)))


@rule(LAYERS, nn.MaxPool2d)
def _(r):
    return r.node("MaxPool", r.x[0], **_windows(r.layer))


@rule(LAYERS, nn.AvgPool2d)
def _(r):
    return r.node("AveragePool", r.x[0], count_include_pad=1, **_windows(r.layer))


def _windows(layer):
    pair, options = nn.functional.pair, layer.options
    return {
        "kernel_shape": pair(layer.size), "strides": pair(options["stride"]),
        "pads": pair(options["padding"]) * 2,
    }  # fmt: skip


@rule(LAYERS, nn.GlobalAvgPool2d)
def _(r):
    return r.node("ReduceMean", r.x[0], r.ints(2, 3), keepdims=0)


@rule(LAYERS, nn.Flatten)
def _(r):
    return r.node("Flatten", r.x[0], axis=1)


@rule(LAYERS, nn.Dropout)
def _(r):
    return r.x[0]


@rule(LAYERS, nn.Embedding)
def _(r):
    return r.node("Gather", r.weight("weight"), r.x[0])


@rule(LAYERS, nn.LayerNorm)
def _(r):
    parts = r.weight("weight"), r.weight("bias")
    return r.node("LayerNormalization", r.x[0], *parts, axis=-1, epsilon=r.layer.eps)


@rule(LAYERS, nn.GroupNorm)
def _(r):
    parts = r.weight("weight"), r.weight("bias")
    options = {"num_groups": r.layer.groups, "epsilon": r.layer.eps}
    return r.node("GroupNormalization", r.x[0], *parts, **options)


@rule(LAYERS, nn.BatchNorm)
def _(r):
    parts = (r.weight(name) for name in ("weight", "bias", "running_mean", "running_var"))
    return r.node("BatchNormalization", r.x[0], *parts, epsilon=r.layer.eps)


# Gates in the order in which ONNX has them, as places in minidl's order.
_GATES = {nn.RNN: [0], nn.LSTM: [0, 3, 1, 2], nn.GRU: [1, 0, 2]}


@rule(LAYERS, *_GATES)
def _(r):
    """Each layer is a node; ONNX has time first, (T, N, D), and directions as an axis."""
    layer, kind = r.layer, type(r.layer).__name__
    given = dict(zip(r.attrs["names"], r.x))
    state, lengths = given.get("state"), given.get("lengths")
    states = [state] * layer.states
    if isinstance(state, list):
        states = state
    if lengths is not None:
        lengths = r.writer.cast(lengths, np.int32)
    x, ends = r.node("Transpose", r.x[0], perm=[1, 0, 2]), []
    options = {"hidden_size": layer.n_hidden}
    if kind == "GRU":
        options["linear_before_reset"] = 1
    if len(layer.directions) > 1:
        options["direction"] = "bidirectional"
    for i in range(layer.n_layers):
        begin = [_part(r, s, i) for s in states]
        weights = _recurrent_weights(r, i)
        y, *last = r.node(kind, x, *weights, lengths, *begin, n=1 + layer.states, **options)
        ends.append(last)
        if len(layer.directions) == 1:
            x = r.node("Squeeze", y, r.ints(1))  # (T, 1, N, H) -> (T, N, H)
        else:
            y = r.node("Transpose", y, perm=[0, 2, 1, 3])  # (T, 2, N, H) -> (T, N, 2, H)
            x = r.node("Reshape", y, r.ints(0, 0, -1))  # -> (T, N, 2 H)
    # For each state those of all layers, (directions, N, H) each, one behind the other.
    ends = [s[0] if len(s) == 1 else r.node("Concat", *s, axis=0) for s in zip(*ends)]
    # (T, N, H) -> (N, T, H)
    return [r.node("Transpose", x, perm=[1, 0, 2]), *ends]


def _part(r, state, i):
    """Of a state (n_layers * directions, N, H) what layer i begins with, (directions, N, H)."""
    n = len(r.layer.directions)
    if state is None or r.layer.n_layers == 1:
        return state
    return r.node("Slice", state, r.ints(i * n), r.ints((i + 1) * n), r.ints(0))


def _recurrent_weights(r, i):
    """The weights of layer i as ONNX has them: (directions, gates * H, D), H and 2 gates * H."""
    layer = r.layer

    def turned(name):  # (D, gates * H) -> (gates * H, D), and gates in ONNX's order
        a = array_of(getattr(layer, name)).T
        blocks = np.split(a, layer.gates)
        return np.concatenate([blocks[k] for k in _GATES[type(layer)]])

    ends = [f"_l{i}{direction}" for direction in layer.directions]
    w, h = (np.stack([turned(name + end) for end in ends]) for name in ("weight_ih", "weight_hh"))
    b = np.stack([np.concatenate([turned("bias_ih" + e), turned("bias_hh" + e)]) for e in ends])
    place = r.writer.places.get(id(layer), "")
    names = [f"{place}.{name}_l{i}".lstrip(".") for name in "WRB"]
    return [r.constant(a, name) for a, name in zip((w, h, b), names)]
