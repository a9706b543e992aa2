"""A model read from a file of ONNX, to be run, looked at and trained on.

The one rule of this file: each operator of ONNX is one entry in one table, made of minidl's own
operations, so that what is read can be trained like any other module.

Explained in course/25.
"""

from __future__ import annotations

import math
import re
from functools import partial, reduce
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import advice, nn
from ..engine import devices, ops, reductions, shapes
from ..engine.tensor import Tensor, array_of
from ..graph.lines import flat
from ..nn import functional as F
from ..nn.module import Module, Parameter, as_tensor
from ..nn.quantized import byte_scale, in_bytes
from .writer import BUFFERS, PRODUCER, onnx_package

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_STANDARD = "", "ai.onnx"  # the domains of ONNX's own operators
_OLDEST = 13  # the version of operators from which a softmax is over one axis
_FLOATS = 1, 10, 11, 16  # ONNX's numbers for float32, float16, float64, bfloat16
OPERATORS: dict[str, Callable[..., Any]] = {}  # of ONNX: name -> function(*inputs, **attributes)


def operator(*names: str) -> Callable:
    """Decorator: the function answers these operators."""

    def keep(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return keep


OPERATORS |= {
    "Add": ops.add, "Sub": ops.sub, "Mul": ops.mul, "Neg": ops.neg,
    "MatMul": ops.matmul, "Exp": ops.exp, "Log": ops.log, "Sqrt": ops.sqrt, "Sin": ops.sin,
    "Cos": ops.cos, "Tanh": ops.tanh, "Sigmoid": ops.sigmoid, "Softplus": ops.softplus,
    "Relu": ops.relu, "Abs": ops.abs, "Sign": ops.sign,
    "Max": lambda *xs: reduce(ops.maximum, xs), "Min": lambda *xs: reduce(ops.minimum, xs),
    "Sum": lambda *xs: reduce(ops.add, xs),
    "Where": ops.where, "Equal": ops.equal, "Less": ops.less, "LessOrEqual": ops.less_equal,
    "Greater": lambda a, b: ops.less(b, a), "GreaterOrEqual": lambda a, b: ops.less_equal(b, a),
    "Mod": lambda a, b: ops.mod(a, b),  # of whole numbers; fmod is none of its arguments
    "BitwiseAnd": ops.bit_and, "BitwiseOr": ops.bit_or, "BitwiseNot": ops.invert,
    "Floor": lambda x: as_tensor(np.floor(array_of(x))), "And": ops.bit_and, "Or": ops.bit_or,
    "Not": ops.invert,
    "Identity": lambda x: x,
    "Reciprocal": lambda x: 1 / x,
    "LeakyRelu": lambda x, *, alpha=0.01: F.leaky_relu(x, alpha),
    "Softmax": lambda x, *, axis=-1: F.softmax(x, axis),
    "LogSoftmax": lambda x, *, axis=-1: F.log_softmax(x, axis),
    "Concat": lambda *xs, axis: shapes.concatenate(*xs, axis=axis),
    "Gather": lambda x, i, *, axis=0: x[(slice(None),) * (axis % x.ndim) + (i,)],
    "Constant": lambda *, value: value,
    "Range": lambda first, end, step: np.arange(first.item(), end.item(), step.item()),
    "Trilu": lambda x, k=0, *, upper=1: ops.where(  # not a product: 0 times infinity is nan
        (np.triu if upper else np.tril)(np.ones(x.shape, bool), int(k)), x, x.dtype.type(0)),
}  # fmt: skip


def _ints(x):
    """Whole numbers, given as an array, as a list; [] for None."""
    if x is None:
        return []
    return np.asarray(array_of(x)).ravel().tolist()


@operator("Div")
def _(a, b):
    if a.dtype.kind not in "iu":
        return ops.div(a, b)
    whole = np.abs(array_of(a)) // np.abs(array_of(b))  # towards 0, where // goes down
    return as_tensor((np.sign(array_of(a)) * np.sign(array_of(b)) * whole).astype(a.dtype))


@operator("Pow")
def _(a, b):
    y = ops.pow(a, b)
    return y if y.dtype == a.dtype else y.astype(a.dtype)


@operator("Clip")
def _(x, low=None, high=None):
    if low is not None:
        x = ops.maximum(x, low)
    if high is not None:
        x = ops.minimum(x, high)
    return x


@operator("Dropout")
def _(x, ratio=None, training_mode=None, *, seed=0):
    return x


@operator("Gelu")
def _(x, *, approximate="none"):
    return F.gelu(x)


@operator("Cast")
def _(x, *, to, **options):
    dtype = onnx_package().helper.tensor_dtype_to_np_dtype(to)
    return x.astype(dtype)


@operator("Shape")
def _(x, *, start=0, end=None):
    return np.array(x.shape[start:end], np.int64)


@operator("Reshape")
def _(x, shape, *, allowzero=0):
    new = _ints(shape)
    for i, n in enumerate(new):
        if n == 0 and not allowzero:  # the length stays
            new[i] = x.shape[i]
    return x.reshape(new)  # (N, H, W) to [0, -1] -> (N, H W)


@operator("Flatten")
def _(x, *, axis=1):
    first = math.prod(x.shape[:axis])
    return x.reshape(first, x.size // first)  # (N, ...) -> (N, product)


@operator("Squeeze")
def _(x, axes=None):
    gone = [i for i, n in enumerate(x.shape) if n == 1]
    if axes is not None:
        gone = [i % x.ndim for i in _ints(axes)]
    # Without the axes in `gone`: (N, 1, D) -> (N, D)
    return x.reshape([n for i, n in enumerate(x.shape) if i not in gone])


@operator("Unsqueeze")
def _(x, axes):
    axes, new = _ints(axes), [*x.shape]
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        new.insert(axis, 1)
    return x.reshape(new)  # (N, D) -> (N, 1, D)


@operator("Expand")
def _(x, shape):
    return shapes.broadcast_to(x, shape=np.broadcast_shapes(x.shape, tuple(_ints(shape))))


@operator("Transpose")
def _(x, *, perm=None):
    perm = perm or [*reversed(range(x.ndim))]
    if perm == [*range(x.ndim)]:
        return x
    return x.transpose(*perm)  # axis i becomes what stood at perm[i]: (N, T, D) -> (T, N, D)


@operator("Slice")
def _(x, starts, ends, axes=None, steps=None):
    starts = _ints(starts)
    axes, steps = _ints(axes) or range(len(starts)), _ints(steps) or [1] * len(starts)
    key = [slice(None)] * x.ndim
    for axis, *part in zip(axes, starts, _ints(ends), steps):
        key[axis] = slice(*part)
    return x[tuple(key)]


@operator("Pad")
def _(x, pads, value=None, axes=None, *, mode="constant"):
    pads = _ints(pads)
    before, after = pads[: x.ndim], pads[x.ndim :]
    key = tuple(slice(b, b + n) for b, n in zip(before, x.shape))
    shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after))
    return shapes.scatter(x, key=key, shape=shape)


@operator("ConstantOfShape")
def _(shape, *, value=None):
    if value is None:
        value = np.float32([0])
    return np.full(_ints(shape), value.item(), value.dtype)


@operator("OneHot")
def _(labels, depth, values, *, axis=-1):
    (classes,) = _ints(depth)
    hot = ops.one_hot(labels, classes=classes, dtype=values.dtype)
    return values[0] + (values[1] - values[0]) * hot


@operator("Gemm")
def _(x, y, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    if transA:
        x = x.T  # (D, N) -> (N, D)
    if transB:
        y = y.T  # (K, D) -> (D, K)
    product = alpha * (x @ y)  # (N, D) @ (D, K) -> (N, K)
    if c is None:
        return product
    return product + beta * c


# ---- reductions


def _reduced(function, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    axes = tuple(_ints(axes)) or None
    if axes is None and noop_with_empty_axes:
        return x
    y = function(x, axis=axes, keepdims=bool(keepdims))
    return y if y.dtype == x.dtype else y.astype(x.dtype)


def _mean(x, *, axis, keepdims):
    return x.mean(axis, keepdims=keepdims)  # (N, D), axes [1] -> (N, 1), or (N,)


OPERATORS |= {
    "ReduceSum": partial(_reduced, shapes.sum),
    "ReduceMax": partial(_reduced, reductions.max),
    "ReduceMin": partial(_reduced, reductions.min),
    "ReduceMean": partial(_reduced, _mean),
}


@operator("GlobalAveragePool")
def _(x):
    return x.mean((2, 3), keepdims=True)  # (N, C, H, W) -> (N, C, 1, 1)


@operator("ReduceLogSumExp")
def _(x, axes=None, *, keepdims=1):
    axes = tuple(_ints(axes)) or tuple(range(x.ndim))
    y = reductions.logsumexp(x, axis=axes)
    if keepdims:
        return y
    return y.sum(axes)  # (N, 1) -> (N,): the axes have length 1


def _place(function, x, *, axis=0, keepdims=1):
    return function(x, axis=axis, keepdims=bool(keepdims))


OPERATORS["ArgMax"] = partial(_place, reductions.argmax)
OPERATORS["ArgMin"] = partial(_place, reductions.argmin)


# ---- convolution, pooling, norms


def _even(pads, n):
    """Padding for each of n axes, which is the same on both sides."""
    return (pads or [0] * n)[:n]


@operator("Conv")
def _(x, w, b=None, *, strides=None, pads=None, dilations=None, group=1, kernel_shape=None):
    n = x.ndim - 2
    options = {
        "stride": strides or [1] * n,
        "padding": _even(pads, n),
        "dilation": dilations or [1] * n,
    }
    if n == 1:
        return F.conv1d(x, w, b, groups=group, **{k: v[0] for k, v in options.items()})
    return F.conv2d(x, w, b, groups=group, **options)


# ---- eight bits: whole numbers less their zero point, multiplied as floats that hold them exactly


@operator("DynamicQuantizeLinear")
def _(x):
    a = array_of(x)
    scale = byte_scale(a)
    zero = np.rint(-min(a.min(), 0) / scale)
    return (in_bytes(a, scale) + zero).astype(np.uint8), scale, zero.astype(np.uint8)


def _less_zero(x, zero):
    return array_of(x).astype(np.float64) - (array_of(zero) if zero is not None else 0)


@operator("MatMulInteger")
def _(x, w, x_zero=None, w_zero=None):
    y = _less_zero(x, x_zero) @ _less_zero(w, w_zero)  # (..., D) @ (D, K) -> (..., K)
    return y.astype(np.int32)


@operator("ConvInteger")
def _(x, w, x_zero=None, w_zero=None, **options):
    y = OPERATORS["Conv"](_less_zero(x, x_zero), _less_zero(w, w_zero), **options)
    return y.astype(np.int32)


@operator("ConvTranspose")
def _(x, w, b=None, *, strides=None, pads=None, output_padding=None, kernel_shape=None, group=1):
    more = output_padding or [0, 0]
    return F.conv_transpose2d(
        x, w, b, stride=strides or [1, 1], padding=_even(pads, 2), output_padding=more
    )


@operator("MaxPool")
def _(x, *, kernel_shape, strides=None, pads=None):
    return F.max_pool2d(x, kernel_shape, strides or [1, 1], _even(pads, 2))


@operator("AveragePool")
def _(x, *, kernel_shape, strides=None, pads=None, count_include_pad=0):
    return F.avg_pool2d(x, kernel_shape, strides or [1, 1], _even(pads, 2))


def _by_channel(x, weight, bias):
    """x (N, n, ...) times weight (n,), plus bias (n,)."""
    shape = (-1, *[1] * (x.ndim - 2))
    return x * weight.reshape(shape) + bias.reshape(shape)  # (n,) -> (n, 1, ...)


@operator("BatchNormalization")
def _(x, weight, bias, mean, var, *, epsilon=1e-5, momentum=0.9):
    scale = weight / ops.sqrt(var + epsilon)
    return _by_channel(x, scale, bias - mean * scale)


@operator("LayerNormalization")
def _(x, weight, bias=None, *, axis=-1, epsilon=1e-5):
    if axis not in (-1, x.ndim - 1):
        raise NotImplementedError("LayerNormalization is over the last axis here")
    y = F.standardise(x, -1, eps=epsilon) * weight
    if bias is None:
        return y
    return y + bias


@operator("InstanceNormalization")
def _(x, weight, bias, *, epsilon=1e-5):
    y = F.standardise(x, tuple(range(2, x.ndim)), eps=epsilon)  # (N, n, ...), each (n, ...) alone
    return _by_channel(y, weight, bias)


@operator("GroupNormalization")
def _(x, weight, bias, *, num_groups, epsilon=1e-5):
    y = x.reshape(x.shape[0], num_groups, -1)  # (N, n, ...) -> (N, groups, rest)
    y = F.standardise(y, -1, eps=epsilon).reshape(x.shape)  # -> (N, n, ...)
    return _by_channel(y, weight, bias)


# ---- recurrent layers


def _recurrent(kind, order, x, w, r, b=None, lengths=None, *state, hidden_size,
               direction="forward", layout=0, linear_before_reset=0):  # fmt: skip
    """One layer of minidl's, whose weights are made from ONNX's, so that these can be trained.

    order: of minidl's gates among ONNX's.  x (T, N, D), w (directions, gates * H, D),
    r (directions, gates * H, H), b (directions, 2 gates * H) -> (T, directions, N, H), states.
    """
    if b is None:
        b = Tensor(np.zeros((len(w), 2 * w.shape[1]), w.dtype))
    layer = kind.__new__(kind)  # without weights of its own
    layer.n_in, layer.n_hidden, layer.n_layers, layer.dropout = x.shape[2], hidden_size, 1, 0.0
    layer.directions = ("", "_reverse")[: len(w)]
    width = layer.gates * hidden_size

    def turned(a):  # (gates * H, ...) in ONNX's order -> (..., gates * H) in minidl's
        blocks = a.reshape(layer.gates, hidden_size, -1)  # -> (gates, H, ...)
        return blocks[np.array(order)].reshape(width, -1).T  # (gates * H, ...) -> (..., gates * H)

    for i, end in enumerate(layer.directions):
        parts = turned(w[i]), turned(r[i]), turned(b[i, :width])[0], turned(b[i, width:])[0]
        for part, a in zip(layer.names, parts):
            setattr(layer, f"{part}_l0{end}", a)
    begin = [s for s in state if s is not None] or None
    y, ends = layer(x.transpose(1, 0, 2), begin, lengths)  # (T, N, D) -> (N, T, D)
    y = y.reshape(*y.shape[:2], len(layer.directions), hidden_size)  # -> (N, T, directions, H)
    y = y.transpose(1, 2, 0, 3)  # (N, T, directions, H) -> (T, directions, N, H)
    return y, *flat(ends)


OPERATORS["RNN"] = partial(_recurrent, nn.RNN, [0])
OPERATORS["LSTM"] = partial(_recurrent, nn.LSTM, [0, 2, 3, 1])
OPERATORS["GRU"] = partial(_recurrent, nn.GRU, [1, 0, 2])


# ---- what is refused before anything runs

_RECURRENT = {"RNN", "GRU", "LSTM"}
# How many results an operator has here, if not one.
_RESULTS = {"DynamicQuantizeLinear": 3, "RNN": 2, "GRU": 2, "LSTM": 3}
# Of which operators, what in attributes `a` (a dict) or inputs `x` (names), and why.
_REFUSED: list[tuple[set[str], Callable[[dict, list], Any], str]] = [
    ({"Gelu"}, lambda a, x: a.get("approximate") != "tanh",
     "it is the form with tanh here, nn.GELU(approximate='tanh') in PyTorch"),
    ({"Pad"}, lambda a, x: "mode" in a or any(x[2:]), "it is with zeros on all axes here"),
    ({"OneHot"}, lambda a, x: "axis" in a, "it is along the last axis here"),
    ({"ConvTranspose"}, lambda a, x: "group" in a, "it is of one group here"),
    ({"AveragePool"}, lambda a, x: any(a.get("pads", ())) and not a.get("count_include_pad"),
     "it counts its padding here"),
    ({"Conv", "ConvInteger", "ConvTranspose", "MaxPool", "AveragePool"},
     lambda a, x: (pads := a.get("pads", [])) != 2 * pads[: len(pads) // 2],
     "padding differs between the sides"),
    (_RECURRENT, lambda a, x: a.get("direction") == "reverse", "it reads backwards only"),
    (_RECURRENT, lambda a, x: "layout" in a, "layout 1"),
    ({"GRU"}, lambda a, x: not a.get("linear_before_reset"), "linear_before_reset is 0"),
    ({"LSTM"}, lambda a, x: any(x[7:]), "peepholes"),
]  # fmt: skip


def _refuse(node, attributes, constants):
    """Raise NotImplementedError for a node whose form minidl.onnx cannot read.

    constants: name -> array, of those that the file holds.
    """
    kind, inputs = node.op_type, [*node.input]
    reasons = [why for kinds, is_so, why in _REFUSED if kind in kinds and is_so(attributes, inputs)]
    try:
        signature(OPERATORS[kind]).bind(*inputs, **attributes)
    except TypeError as error:
        reasons = [f"more than minidl.onnx can read: {error}"]
    if kind == "Dropout" and any(inputs[2:]) and constants.get(inputs[2], True):
        reasons.append("it draws, as in training: export in evaluation")
    most = _RESULTS.get(kind, 1)
    if any(node.output[most:]):
        used = len(node.output)
        reasons.append(f"the file uses {used} of its results, minidl.onnx has {most}")
    if reasons:
        raise NotImplementedError(
            f"the node {node.output[0]!r}, {kind} with {attributes}: {'; '.join(reasons)}"
        )


# ---- the model


class Loaded(Module):
    """A model that `load` read: its nodes in order, and its weights, which can be trained.

    inputs, outputs: their names in the file.  weights: a dict, nested where names have dots:
    what the file calls "0.weight" is the parameter "weights.0.weight".  In evaluation and training
    it computes alike: dropout was left out, and batch norm keeps its statistics.
    """

    def __init__(self, file: Any):
        self.file, graph = file, file.graph  # a ModelProto of ONNX's, and its GraphProto
        to_array = onnx_package().numpy_helper.to_array
        version = next(known.version for known in file.opset_import if known.domain in _STANDARD)
        constants = {initial.name: to_array(initial) for initial in graph.initializer}
        self.nodes: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        for node in graph.node:
            attributes = _plain(node, version)
            _refuse(node, attributes, constants)
            if node.op_type == "Constant":
                constants[node.output[0]] = attributes["value"]
            self.nodes.append((node.op_type, [*node.input], [*node.output], attributes))
        self.fixed: dict[str, np.ndarray] = {}
        self.weights: dict[str, Any] = {}
        self.places: list[str] = []
        trained = _trained(file)
        for initial in graph.initializer:
            name = initial.name
            a = constants[name].copy()
            if name in trained:
                a = Parameter(a)
            elif a.dtype.kind == "f" and a.size > 1:
                a = Tensor(a)
            else:
                self.fixed[name] = a
                continue
            self._holder(name)[name.split(".")[-1]] = a
            self.places.append(name)
        known = {*self.fixed, *self.places}
        self.inputs = [x.name for x in graph.input if x.name not in known]
        self.sizes: list[list[int | None] | None] = [
            _sizes(x) for x in graph.input if x.name not in known
        ]
        self.outputs = [y.name for y in graph.output]

    def forward(self, *inputs: Any) -> Any:
        """The output for the inputs in the file's order; a tuple where there are several."""
        if len(inputs) != len(self.inputs):
            raise TypeError(f"the model takes {self.inputs}, got {len(inputs)} inputs")
        for name, sizes, x in zip(self.inputs, self.sizes, inputs):
            _check_sizes(name, sizes, np.shape(array_of(x)))
        known = {"": None, **self.fixed, **dict(zip(self.inputs, map(as_tensor, inputs)))}
        for name in self.places:
            known[name] = self._holder(name)[name.split(".")[-1]]
        for kind, names, results, attributes in self.nodes:
            try:
                found = OPERATORS[kind](*(known[name] for name in names), **attributes)
            except (TypeError, ValueError, NotImplementedError) as error:
                raise type(error)(f"the node {results[0]!r}, {kind}: {error}") from error
            known.update(zip(results, flat(found)))
        found = [as_tensor(known[name]) for name in self.outputs]
        if len(found) > 1:
            return tuple(found)
        return found[0]

    def content(self) -> bytes:
        """The file as it was read, but with the weights as they are now."""
        from_array, file = onnx_package().numpy_helper.from_array, onnx_package().ModelProto()
        file.CopyFrom(self.file)
        for initial in file.graph.initializer:
            if initial.name in self.places:
                part = self._holder(initial.name)[initial.name.split(".")[-1]]
                initial.CopyFrom(from_array(devices.to_numpy(part.data), initial.name))
        return file.SerializeToString()

    def _holder(self, name):
        """The dict in `weights` where "a.b.c" stands as "c"."""
        found = self.weights
        for part in name.split(".")[:-1]:
            found = found.setdefault(part, {})
        return found

    def extra(self) -> str:
        return f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"


# Where among an operator's inputs a layer's weights stand; and names that programs give.
_PLACES = {
    "Gemm": (1, 2), "MatMul": (0, 1), "Conv": (1, 2), "ConvTranspose": (1, 2), "Gather": (0,),
    "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2),
}  # fmt: skip
_MADE_UP = re.compile(r"constant|val_|_|/|onnx::")


def _trained(file):
    """The names of a file's arrays that are trained.

    In a file of minidl's: all but those that it says to be fixed.  In others: those that stand
    where layers have weights, and those that a person has named.
    """
    floats = {w.name for w in file.graph.initializer if w.data_type in _FLOATS}
    if file.producer_name == PRODUCER:
        told = {known.key: known.value for known in file.metadata_props}
        return floats - {*told.get(BUFFERS, "").split("\n")}
    named = {name for name in floats if not _MADE_UP.match(name)}
    found = set()
    for node in file.graph.node:
        places = _PLACES.get(node.op_type)
        for i, name in enumerate(node.input):
            if (places is None and name in named) or (places and i in places and name in floats):
                found.add(name)
    return found


def _sizes(value):
    """The shape of an input, None where an axis is free; None for all if the file does not say."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]


def _check_sizes(name, sizes, shape):
    """Raise ValueError unless an input has the lengths that are fixed in the file."""
    if sizes is None:
        return
    fits = len(sizes) == len(shape) and all(n in (None, m) for n, m in zip(sizes, shape))
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in sizes)
        raise ValueError(f"{name}: the file takes the shape ({wanted}), got {shape}")


# What a recurrent layer computes with, in each direction; it is often written out.
ACTIVATIONS = {"RNN": ["Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}


def _plain(node, version):
    """A node's attributes as text, numbers and arrays, without those that change nothing.

    version: of ONNX's operators, whose own defaults count as not written.
    """
    onnx = onnx_package()
    value_of = onnx.helper.get_attribute_value
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    defaults = {name: known.default_value for name, known in schema.attributes.items()}
    found = {}
    for attribute in node.attribute:
        name, value = attribute.name, value_of(attribute)
        default = defaults.get(name)
        if default is not None and default.name and value == value_of(default):
            continue
        if isinstance(value, bytes):
            value = value.decode()
        elif hasattr(value, "raw_data"):
            value = onnx.numpy_helper.to_array(value)
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [one.decode() for one in value]
        standard = ACTIVATIONS.get(node.op_type)
        same = name == "activations" and value in (standard, standard * 2)
        if not same and not (name == "dilations" and {*value} == {1}):
            found[name] = value
    return found


def _name(node):
    """The name of a node's operator, with its domain where that is not ONNX's own."""
    if node.domain in _STANDARD:
        return node.op_type
    return f"{node.domain}.{node.op_type}"


def load(path: str | os.PathLike[str]) -> Loaded:
    """The model in a file of ONNX: what `export` writes, and what of others uses its operators.

    Nothing of the file is run before it has been checked.  Raises ValueError for what is no valid
    file, and NotImplementedError, which names them all, for operators that are not in OPERATORS.
    """
    onnx = onnx_package()
    with open(path, "rb"):  # an error of its own where there is none
        pass
    try:
        model = onnx.load(path)  # with the weights that lie in a file beside it, as PyTorch's may
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # protobuf's and ONNX's have no common base
        raise ValueError(f"{path} is no valid file of ONNX: {error}") from error
    version = next(known.version for known in model.opset_import if known.domain in _STANDARD)
    if version < _OLDEST:
        raise NotImplementedError(
            f"{path} is for version {version} of ONNX's operators; minidl.onnx reads those from "
            f"{_OLDEST} on: export it anew, with opset_version=17 in PyTorch"
        )
    unknown = sorted({_name(node) for node in model.graph.node} - {*OPERATORS})
    if unknown:
        raise NotImplementedError(
            f"{path} needs operators that minidl.onnx cannot read: {', '.join(unknown)}; each is "
            "an entry in minidl.onnx.reader.OPERATORS"
        )
    return Loaded(model)


advice.functions(__name__)
