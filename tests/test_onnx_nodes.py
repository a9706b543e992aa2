"""ONNX's published test cases for single operators, answered by minidl's operations.

The `onnx` package makes them: inputs and expected outputs for each operator.  Every operator that
minidl has stands in one table here, OPERATORS, with what answers it: a function of ONNX's inputs
and, as keywords, its attributes.  What such a function does besides is to say the same thing
another way (uneven padding made first, gates in another order).  A case is left out only for what
it asks, by a predicate with its reason in LEFT_OUT, never because it fails.  Tolerances are ONNX's.

`python tests/test_onnx_nodes.py` prints the table of docs/ship.md.
"""

import inspect
import itertools
import math
import re
import warnings
from functools import cache, partial, reduce
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from minidl import nn, optim, tensor
from minidl.engine import intercept, ops, reductions, shapes
from minidl.nn import functional as F
from minidl.nn import recurrent

VERSION = "1.23.2"  # of onnx; another may publish other cases
PAGE = Path(__file__).resolve().parent.parent / "docs" / "ship.md"
BEGIN, END = "<!-- ONNX's cases: python tests/test_onnx_nodes.py -->\n", "<!-- end -->"

# ---- the cases


def plain(value):
    """An attribute, input or output as text, number or NumPy array."""
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if isinstance(value, np.generic):
        return np.asarray(value)
    return value.decode() if isinstance(value, bytes) else value


@cache
def cases():
    """Operator -> its cases: name, attributes, inputs, outputs (None where one is left out).

    Cases named "..._expanded" say the same in other operators and are not counted.
    """
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of ONNX's examples overflow while they are made
        collected = collect_testcases(None)
    found = {}
    for case in collected:
        if "_expanded" in case.name:
            continue
        (node,), ((inputs, outputs),) = case.model.graph.node, case.data_sets
        given, wanted = map(plain, inputs), map(plain, outputs)
        found.setdefault(node.op_type, []).append(
            SimpleNamespace(
                name=case.name.removeprefix("test_"),
                attributes={
                    a.name: plain(onnx.helper.get_attribute_value(a)) for a in node.attribute
                },
                inputs=[next(given) if name else None for name in node.input],
                outputs=[next(wanted) if name else None for name in node.output],
                rtol=case.rtol,
                atol=case.atol,
            )
        )
    return found


# ---- elements, sums, places


def ints(x):
    return tuple(int(i) for i in x.numpy().ravel())


def clip(x, low=None, high=None):
    x = x if low is None else ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


def dropout(x, share=None, training=None, *, ratio=0.5, seed=0):
    ratio = ratio if share is None else share.item()
    return F.dropout(x, p=ratio, training=training is not None and bool(training))


def gemm(x, y, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    product = alpha * ((x.T if transA else x) @ (y.T if transB else y))
    return product if c is None else product + beta * c


def reduced(function, x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
    axes = () if axes is None else ints(axes)
    axes = axes if axes or noop_with_empty_axes else None
    return function(x, axis=axes, keepdims=bool(keepdims))


def logsumexp(x, *, axis, keepdims):
    y = reductions.logsumexp(x, axis=axis)
    return y if keepdims else y.sum(axis)  # the axes have length 1


def smallest(x, **options):
    return (-(-x.astype("f")).max(**options)).astype(x.dtype)  # booleans have no minus


def argmax(sign, x, *, axis=0, keepdims=1):
    y = reductions.argmax(sign * x, axis=axis)
    return shapes.keep(y, x, axis) if keepdims else y


def reshape(x, shape, *, allowzero=0):
    shape = enumerate(ints(shape))
    return x.reshape(*(x.shape[i] if n == 0 and not allowzero else n for i, n in shape))


def flatten(x, *, axis=1):
    first = math.prod(x.shape[:axis])
    return x.reshape(first, x.size // first)


def squeeze(x, axes):
    axes = [i % x.ndim for i in ints(axes)]
    return x.reshape(*(n for i, n in enumerate(x.shape) if i not in axes))


def unsqueeze(x, axes):
    n_axes, lengths = x.ndim + axes.size, iter(x.shape)
    axes = [i % n_axes for i in ints(axes)]
    return x.reshape(*(1 if i in axes else next(lengths) for i in range(n_axes)))


def expand(x, shape):
    return shapes.broadcast_to(x, shape=np.broadcast_shapes(x.shape, ints(shape)))


def tile(x, repeats):
    for axis, n in enumerate(ints(repeats)):
        x = shapes.concatenate(*[x] * n, axis=axis)
    return x


def split(x, lengths=None, *, axis=0, num_outputs=None, n_outputs):
    width = -(-x.shape[axis] // n_outputs)  # of equal parts; the last may be shorter
    lengths = [width] * n_outputs if lengths is None else ints(lengths)
    stops = itertools.pairwise(np.cumsum([0, *lengths]).tolist())
    return tuple(x[(slice(None),) * axis + (slice(i, j),)] for i, j in stops)


def cut(x, starts, ends, axes=None, steps=None):
    axes = range(x.ndim) if axes is None else ints(axes)
    steps = [1] * len(starts) if steps is None else ints(steps)
    key = [slice(None)] * x.ndim
    for axis, *part in zip(axes, ints(starts), ints(ends), steps):
        key[axis] = slice(*part)
    return x[tuple(key)]


def gather(x, indices, *, axis=0):
    return x[(slice(None),) * axis + (indices,)]


def elements(indices, axis=0):
    """The index that picks, for each element of `indices`, the one so far along `axis`."""
    key = [tensor(i, device=indices.device) for i in np.indices(indices.shape)]
    key[axis] = indices
    return tuple(key)


def columns(indices):
    return tuple(indices[..., i] for i in range(indices.shape[-1]))


def add_at(x, updates, key):
    key, places = [i.data for i in key], (shapes.ARRAY,) * len(key)
    return x + shapes.scatter(updates, *key, key=places, shape=x.shape)


def one_hot(labels, classes, values, *, axis=-1):
    hot = ops.one_hot(labels.astype("int64"), classes=int(classes.item()), dtype=values.dtype)
    hot = values[0] + (values[1] - values[0]) * hot
    order = list(range(labels.ndim))
    order.insert(axis % hot.ndim, labels.ndim)
    return ordered(hot, order)


def depth_to_space(x, *, blocksize, mode="DCR"):
    (n, c, h, w), b = x.shape, blocksize
    inner, order = ((b, b, -1), (0, 3, 4, 1, 5, 2)) if mode == "DCR" else (
        (-1, b, b), (0, 1, 4, 2, 5, 3))  # fmt: skip
    return x.reshape(n, *inner, h, w).transpose(*order).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(x, *, blocksize, mode="DCR"):
    (n, c, h, w), b = x.shape, blocksize
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    x = x.reshape(n, c, h // b, b, w // b, b).transpose(*order)
    return x.reshape(n, c * b**2, h // b, w // b)


def padded(x, pads, value=0.0):
    """x with `value` around its last axes; pads as ONNX says them: all before, then all after."""
    pads = np.reshape(pads, (2, -1)).T
    pads = np.concatenate([np.zeros((x.ndim - len(pads), 2), int), pads]).tolist()
    key = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, pads))
    put = partial(shapes.scatter, key=key, shape=tuple(n + sum(p) for n, p in zip(x.shape, pads)))
    return put(x) if value == 0 else ops.where(put(ops.equal(x, x)), put(x), value)


def pad(x, pads, value=None, axes=None, *, mode="constant"):
    axes = range(x.ndim) if axes is None else ints(axes)
    full = np.zeros((2, x.ndim), int)
    full[:, list(axes)] = np.reshape(ints(pads), (2, -1))
    return padded(x, full, 0.0 if value is None else value.item())


# ---- convolution and pooling


def window(n_axes, strides=None, dilations=None, pads=None):
    """Stride and dilation for each axis, and pads as an array (2, axes)."""
    ones = [1] * n_axes
    return strides or ones, dilations or ones, np.reshape(pads or [0] * 2 * n_axes, (2, -1))


def halves(wanted, auto_pad):
    """Two rows that add up to `wanted`; of an odd number the larger half stands where it says."""
    less, more = [n // 2 for n in wanted], [n - n // 2 for n in wanted]
    return np.array([less, more] if auto_pad == "SAME_UPPER" else [more, less])


def same_pads(x, size, stride, dilation, auto_pad):
    """The pads that make the output x's shape divided by the stride."""
    axes = zip(x.shape[2:], size, stride, dilation)
    return halves([max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) for n, k, s, d in axes],
                  auto_pad)  # fmt: skip


def in_two_axes(x, *lists):
    """x (N, C, T) as (N, C, 1, T), and lists (strides, pads, ...) with what the new axis needs."""
    return x.reshape(*x.shape[:2], 1, x.shape[2]), *(
        np.insert(a, 0, fill, axis=-1).tolist() for a, fill in lists
    )


def conv(
    x, w, b=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, group=1,
    auto_pad="NOTSET"
):  # fmt: skip
    stride, dilation, pads = window(x.ndim - 2, strides, dilations, pads)
    if auto_pad.startswith("SAME"):
        pads = same_pads(x, w.shape[2:], stride, dilation, auto_pad)
    even = pads[0].tolist()
    if (pads[0] != pads[1]).any():
        x, even = padded(x, pads), [0, 0]
    return F.conv2d(x, w, b, stride=stride, padding=even, dilation=dilation, groups=group)


def conv_transpose(
    x, w, b=None, *, kernel_shape=None, strides=None, pads=None, auto_pad="NOTSET",
    output_padding=None, output_shape=None
):  # fmt: skip
    line, size = x.ndim == 3, w.shape[2:]
    stride, _, pads = window(len(size), strides, None, pads)
    more = output_padding or [0] * len(size)
    if auto_pad.startswith("SAME"):
        output_shape = [n * s for n, s in zip(x.shape[2:], stride)]
    if output_shape:  # what is too much is cut off, what is missing is output_padding
        axes = zip(x.shape[2:], stride, size, more, output_shape)
        excess = [(n - 1) * s + k + o - wanted for n, s, k, o, wanted in axes]
        more = [o + max(0, -n) for o, n in zip(more, excess)]
        pads = halves([max(0, n) for n in excess], auto_pad)
    if line:
        w, stride, more, pads = in_two_axes(w, (stride, 1), (more, 0), (pads, 0))
        (x,) = in_two_axes(x)
    (top, left), (down, right) = np.asarray(pads).tolist()
    even = min(top, down), min(left, right)
    y = F.conv_transpose2d(x, w, b, stride=stride, padding=even, output_padding=more)
    top, down, left, right = top - even[0], down - even[0], left - even[1], right - even[1]
    y = y[:, :, top : y.shape[2] - down, left : y.shape[3] - right]
    return y.reshape(*y.shape[:2], y.shape[3]) if line else y


def col2im(x, shape, size, *, strides=None, pads=None, dilations=None):
    shape, size = ints(shape), ints(size)
    stride, dilation, pads = window(2, strides, dilations, pads)
    whole = [n + p for n, p in zip(shape, pads.sum(0).tolist())]
    places = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(whole, size, stride, dilation)]
    x = x.reshape(len(x), -1, *size, *places)  # (N, C KH KW, places) -> (N, C, KH, KW, OH, OW)
    y = shapes.from_windows(x, shape=(*x.shape[:2], *whole), stride=stride, dilation=dilation)
    (top, left), _ = pads.tolist()
    return y[:, :, top : top + shape[0], left : left + shape[1]]


def max_pool(x, size, stride, pads, _):
    if (pads[0] == pads[1]).all() and x.dtype.kind == "f":
        return F.max_pool2d(x, size, stride=stride, padding=pads[0].tolist())
    lowest = -math.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return F.max_pool2d(padded(x, pads, lowest), size, stride=stride)


def avg_pool(x, size, stride, pads, count_pads):
    if count_pads:
        return F.avg_pool2d(x, size, stride=stride, padding=pads[0].tolist())
    counted = padded(ops.equal(x, x).astype(x.dtype), pads)  # 1 where x has an element
    mean, share = (F.avg_pool2d(a, size, stride=stride) for a in (padded(x, pads), counted))
    return mean / share


def pool(
    function, x, *, kernel_shape, strides=None, pads=None, dilations=None, auto_pad="NOTSET",
    ceil_mode=0, storage_order=0, count_include_pad=0
):  # fmt: skip
    stride, dilation, pads = window(x.ndim - 2, strides, dilations, pads)
    if auto_pad.startswith("SAME"):
        pads = same_pads(x, kernel_shape, stride, dilation, auto_pad)
    if x.ndim == 4:
        return function(x, kernel_shape, stride, pads, count_include_pad)
    x, size, stride, pads = in_two_axes(x, (kernel_shape, 1), (stride, 1), (pads, 0))
    y = function(x, size, stride, np.array(pads), count_include_pad)
    return y.reshape(*y.shape[:2], y.shape[3])


def global_pool(x):
    return nn.GlobalAvgPool2d()(x).reshape(*x.shape[:2], 1, 1)


# ---- layers with parameters


def loaded(module, **parts):
    """`module` with these Tensors as its parameters and buffers, on their device."""
    module.to(next(iter(parts.values())).device)
    module.load_state_dict({name: part.data for name, part in parts.items()})
    return module.eval()


def batch_norm(x, weight, bias, mean, var, *, epsilon=1e-5):
    parts = dict(weight=weight, bias=bias, running_mean=mean, running_var=var)
    return loaded(nn.BatchNorm(x.shape[1], eps=epsilon), **parts)(x)


def group_norm(x, weight, bias, *, num_groups=None, epsilon=1e-5):
    groups = num_groups or x.shape[1]  # InstanceNormalization has a group for each channel
    return loaded(nn.GroupNorm(groups, x.shape[1], eps=epsilon), weight=weight, bias=bias)(x)


def last_norm(kind, x, axis, eps, **parts):
    """x with the axes from `axis` on made one; that standardised, of x's shape."""
    outer = x.shape[: axis % x.ndim]
    flat = x.reshape(*outer, math.prod(x.shape[len(outer) :]))
    layer = kind(flat.shape[-1], eps=eps)
    parts = {name: part.reshape(-1) for name, part in parts.items()}
    return flat, loaded(layer, **parts)(flat).reshape(x.shape)


def layer_norm(x, weight, bias, *, axis=-1, epsilon=1e-5):
    flat, y = last_norm(nn.LayerNorm, x, axis, epsilon, weight=weight, bias=bias)
    mean = flat.mean(-1, keepdims=True)
    deviation = ops.sqrt(((flat - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    shape = (*flat.shape[:-1], *[1] * (x.ndim - flat.ndim + 1))
    return y, mean.reshape(shape), (1 / deviation).reshape(shape)


def rms_norm(x, weight, *, axis=-1, epsilon=1e-5):
    return last_norm(nn.RMSNorm, x, axis, epsilon, weight=weight)[1]


ORDER = {recurrent.RNN: [0], recurrent.LSTM: [0, 2, 3, 1], recurrent.GRU: [1, 0, 2]}


def recurrence(
    kind, x, w, r, b=None, lengths=None, *state,
    hidden_size, direction="forward", layout=0, linear_before_reset=0
):  # fmt: skip
    """The layer `kind`, its gates in minidl's order; a reverse direction alone reads x mirrored."""
    layer = kind(x.shape[2], hidden_size, bidirectional=direction == "bidirectional")
    width = layer.gates * hidden_size

    def gates(a):  # (gates * H, ...) in ONNX's order -> (..., gates * H) in minidl's
        return a.reshape(layer.gates, hidden_size, -1)[ORDER[kind]].reshape(width, -1).T

    parts = {}
    for i, name in enumerate(layer.directions):
        b_x, b_h = (0 * w[i, :, 0],) * 2 if b is None else (b[i, :width], b[i, width:])
        both = gates(w[i]), gates(r[i]), gates(b_x)[0], gates(b_h)[0]
        parts |= {f"{part}_l0{name}": a for part, a in zip(layer.names, both)}
    x = x if layout else x.transpose(1, 0, 2)
    step = slice(None, None, -1 if direction == "reverse" else 1)
    state = (state if len(state) > 1 else state[0]) if state and state[0] is not None else None
    y, ends = loaded(layer, **parts)(x[:, step], state, lengths)
    y = y[:, step].reshape(*y.shape[:2], len(w), hidden_size)  # (N, T, directions, H)
    ends = ends if isinstance(ends, tuple) else (ends,)
    if layout:
        return y, *(end.transpose(1, 0, 2) for end in ends)
    return y.transpose(1, 2, 0, 3), *ends


# ---- attention, losses, an optimiser


def ordered(x, order):
    """x with its axes in this order; minidl refuses one that changes nothing."""
    return x if tuple(order) == (*range(x.ndim),) else x.transpose(*order)


def looks(n, t, s, past, lengths, causal, left, right):
    """Which keys (S) each query (T) of each sample may look at: (N, 1, T, S)."""
    ends = np.full(n, s) if lengths is None else np.array(ints(lengths))
    first = np.full(n, past) if lengths is None else ends - t  # the first query's place
    ends, first = ends[:, None, None, None], first[:, None, None, None]
    ahead = np.arange(s) - (first + np.arange(t)[:, None])
    right = 0 if causal else right
    allowed = np.arange(s) < ends
    allowed = allowed & (ahead <= right) if right >= 0 else allowed
    return allowed & (-ahead <= left) if left >= 0 else allowed


def shared(a, heads):
    """a (N, C, T, D) with each of its heads as often as `heads` of queries need it."""
    (n, c, *rest), many = a.shape, heads // a.shape[1]
    a = shapes.broadcast_to(a.reshape(n, c, 1, *rest), shape=(n, c, many, *rest))
    return a.reshape(n, heads, *rest)


def attention(
    q, k, v, mask=None, past_k=None, past_v=None, lengths=None, *, scale=None, is_causal=0,
    q_num_heads=None, kv_num_heads=None, left_window_size=-1, right_window_size=-1
):  # fmt: skip
    if q_num_heads:  # (N, T, heads * D) -> (N, heads, T, D)
        heads = (q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads)
        q, k, v = (a.reshape(*a.shape[:2], n, -1).transpose(0, 2, 1, 3) for a, n in heads)
    if past_k is not None:
        k, v = (shapes.concatenate(*a, axis=2) for a in ((past_k, k), (past_v, v)))
    (n, heads, t, d), s, present = q.shape, k.shape[2], (k, v)
    past = past_k.shape[2] if past_k is not None else 0
    allowed = looks(n, t, s, past, lengths, is_causal, left_window_size, right_window_size)
    if not allowed.all():
        allowed = tensor(allowed, device=q.device)
        if mask is None or mask.dtype == bool:
            mask = allowed if mask is None else mask * allowed
        else:
            mask = ops.where(allowed, mask, -math.inf)
    if scale:  # F.attention divides by the root of D
        q = q * (scale * math.sqrt(d))
    y = F.attention(q, shared(k, heads), shared(v, heads), mask=mask)
    return (y.transpose(0, 2, 1, 3).reshape(n, t, -1) if q_num_heads else y), *present


def loss(function, x, labels, classes=None, *, reduction="mean", ignore_index=None):
    """`function` with the classes, ONNX's second axis, as the last.

    ONNX's weights belong to classes, and divide the sum where minidl divides by the number.  A
    label to ignore has weight 0.
    """
    x, n, weight = ordered(x, (0, *range(2, x.ndim), 1)), labels.size, None
    if classes is not None or ignore_index is not None:
        counts = ops.not_equal(labels, -1 if ignore_index is None else ignore_index)
        labels = ops.where(counts, labels, 0)
        weight = counts.astype(x.dtype) * (1.0 if classes is None else classes[labels])
    total = function(x, labels, sample_weight=weight) * n
    if reduction == "sum":
        return total
    return total / (n if weight is None else weight.sum())


def cross_entropy(x, *labels, reduction="mean", ignore_index=None):
    y = loss(F.cross_entropy, x, *labels, reduction=reduction, ignore_index=ignore_index)
    return y, F.log_softmax(x, axis=1)


def momentum(rate, steps, *arrays, alpha, beta, mode, norm_coefficient):
    assert steps.item() == 0, "from then on beta is a share of the gradient, which SGD has not"
    parameters, gradients, velocities = np.reshape(np.arange(len(arrays)), (3, -1)).tolist()
    parameters = [nn.Parameter(arrays[i]) for i in parameters]
    for p, i in zip(parameters, gradients):
        p.grad = arrays[i]
    options = dict(momentum=alpha, nesterov=mode == "nesterov", weight_decay=norm_coefficient)
    sgd = optim.SGD(parameters, rate.item(), **options)
    state = {f"{i}.velocity": arrays[j].data for i, j in enumerate(velocities)}
    sgd.load_state_dict(state | {"steps": np.asarray(0)})
    sgd.step()
    return *parameters, *(nn.Parameter(s["velocity"]) for s in sgd.state)


# ---- the tables

OPERATORS = {
    "arithmetic": {
        "Add": ops.add,
        "Sub": ops.sub,
        "Mul": ops.mul,
        "Div": ops.div,
        "Neg": ops.neg,
        "Pow": ops.pow,
        "Reciprocal": lambda x: 1 / x,
        "Exp": ops.exp,
        "Log": ops.log,
        "Sqrt": ops.sqrt,
        "Sin": ops.sin,
        "Cos": ops.cos,
        "Abs": ops.abs,
        "Sign": ops.sign,
        "Equal": ops.equal,
        "Less": ops.less,
        "LessOrEqual": ops.less_equal,
        "Greater": lambda x, y: x > y,
        "GreaterOrEqual": lambda x, y: x >= y,
        "Where": ops.where,
        "Max": lambda *x: reduce(ops.maximum, x),
        "Min": lambda *x: reduce(ops.minimum, x),
        "Sum": lambda *x: reduce(ops.add, x),
        "Mean": lambda *x: reduce(ops.add, x) / len(x),
        "Clip": clip,
        "Cast": lambda x, *, to: x.astype(onnx.helper.tensor_dtype_to_np_dtype(to)),
    },
    "activations": {
        "Relu": lambda x: nn.ReLU()(x),
        "LeakyRelu": lambda x, *, alpha=0.01: nn.LeakyReLU(alpha)(x),
        "Gelu": lambda x, *, approximate: nn.GELU()(x),
        "Sigmoid": lambda x: nn.Sigmoid()(x),
        "Tanh": lambda x: nn.Tanh()(x),
        "Softplus": ops.softplus,
        "Softmax": lambda x, *, axis=-1: F.softmax(x, axis=axis),
        "LogSoftmax": lambda x, *, axis=-1: F.log_softmax(x, axis=axis),
        "Dropout": dropout,
    },
    "matrix products": {"MatMul": ops.matmul, "Gemm": gemm},
    "reductions": {
        "ReduceSum": partial(reduced, shapes.sum),
        "ReduceMean": partial(reduced, lambda x, **o: x.mean(**o)),
        "ReduceMax": partial(reduced, reductions.max),
        "ReduceMin": partial(reduced, smallest),
        "ReduceL1": partial(reduced, lambda x, **o: ops.abs(x).sum(**o)),
        "ReduceL2": partial(reduced, lambda x, **o: ops.sqrt((x * x).sum(**o))),
        "ReduceSumSquare": partial(reduced, lambda x, **o: (x * x).sum(**o)),
        "ReduceLogSum": partial(reduced, lambda x, **o: ops.log(x.sum(**o))),
        "ReduceLogSumExp": partial(reduced, logsumexp),
        "ArgMax": partial(argmax, 1),
        "ArgMin": partial(argmax, -1),
    },
    "shapes and places": {
        "Reshape": reshape,
        "Transpose": lambda x, *, perm=(): ordered(x, perm),
        "Flatten": flatten,
        "Squeeze": squeeze,
        "Unsqueeze": unsqueeze,
        "Expand": expand,
        "Tile": tile,
        "Concat": lambda *x, axis: shapes.concatenate(*x, axis=axis),
        "Split": split,
        "Slice": cut,
        "Pad": pad,
        "Gather": gather,
        "GatherElements": lambda x, i, *, axis=0: x[elements(i, axis)],
        "GatherND": lambda x, i: x[columns(i)],
        "ScatterElements": lambda x, i, u, *, axis=0, reduction: add_at(x, u, elements(i, axis)),
        "ScatterND": lambda x, i, u, *, reduction: add_at(x, u, columns(i)),
        "OneHot": one_hot,
        "DepthToSpace": depth_to_space,
        "SpaceToDepth": space_to_depth,
    },
    "convolution": {"Conv": conv, "ConvTranspose": conv_transpose, "Col2Im": col2im},
    "pooling": {
        "MaxPool": partial(pool, max_pool),
        "AveragePool": partial(pool, avg_pool),
        "GlobalAveragePool": global_pool,
        "GlobalMaxPool": lambda x: x.max((2, 3), keepdims=True),
    },
    "normalisation": {
        "BatchNormalization": batch_norm,
        "InstanceNormalization": group_norm,
        "GroupNormalization": group_norm,
        "LayerNormalization": layer_norm,
        "RMSNormalization": rms_norm,
    },
    "recurrent layers": {
        "RNN": partial(recurrence, recurrent.RNN),
        "LSTM": partial(recurrence, recurrent.LSTM),
        "GRU": partial(recurrence, recurrent.GRU),
    },
    "attention": {"Attention": attention},
    "losses": {
        "SoftmaxCrossEntropyLoss": cross_entropy,
        "NegativeLogLikelihoodLoss": partial(loss, F.nll),
    },
    "optimisers": {"Momentum": momentum},
}
FUNCTIONS = {kind: f for group in OPERATORS.values() for kind, f in group.items()}


def draws(case):
    ratio, training = [*case.inputs[1:], None, None][:2]
    return training is not None and training and ratio > 0


def outside(case):
    labels, classes, _ = case.inputs
    return not ((labels >= 0) & (labels < classes)).all()


def weighed_before(case):
    """Whether r weighs h before the product with R, and that differs from weighing h R + b."""
    x, _, _, *more = case.inputs
    one_step = x.shape[1 if case.attributes.get("layout") else 0] == 1
    bias = np.split(more[0], 6, axis=1)[5] if more else np.zeros(1)
    from_zero = len(more) < 3 and not bias.any()
    return not case.attributes.get("linear_before_reset") and not (one_step and from_zero)


def short_mask(case):
    """Whether a mask has fewer columns than there are keys, of which the rest is not looked at."""
    mask, keys = [*case.inputs, None][3], case.inputs[1].shape[-2]
    return mask is not None and mask.shape[-1] < keys


def has(name):
    """Whether a case has the attribute `name`, and not 0."""
    return lambda case: bool(case.attributes.get(name))


NOTHING = {"the largest of no elements": lambda case: 0 in case.inputs[0].shape}
LAST = {"the last of equal elements": has("select_last_index")}
NO_SUM = {"putting, not adding": lambda case: case.attributes.get("reduction") != "add"}
NOT_REDUCED = {"one loss for each element": lambda case: case.attributes["reduction"] == "none"}
THREE_AXES = {"three axes": lambda case: case.inputs[0].ndim > 4}
POOLING = THREE_AXES | {
    "dilated windows": lambda case: max(case.attributes.get("dilations", [1])) > 1,
    "ceil_mode": has("ceil_mode"),
}

# What minidl does not have: operator -> reason -> the cases that ask for it.
LEFT_OUT = {
    "Div": {"a whole quotient of integers": lambda case: case.inputs[0].dtype.kind in "iu"},
    "Pow": {"two types, the result of the first": lambda case: (
        case.inputs[0].dtype != case.inputs[1].dtype)},
    "Gelu": {"the form with erf": lambda case: "approximate" not in case.attributes},
    "Dropout": {
        "draws of another generator": draws,
        "the mask as an output": lambda case: len(case.outputs) > 1,
    },
    "ReduceMax": NOTHING,
    "ReduceMin": NOTHING,
    "ReduceLogSumExp": NOTHING,
    "ArgMax": LAST,
    "ArgMin": LAST,
    "Pad": {"the array's own elements": lambda case: case.attributes["mode"] != "constant"},
    "GatherND": {"batches of indices": has("batch_dims")},
    "ScatterND": NO_SUM,
    "ScatterElements": NO_SUM,
    "OneHot": {"indices outside [0, classes), an error here": outside},
    "ConvTranspose": THREE_AXES | {"groups": has("group"), "dilation": has("dilations")},
    "Col2Im": {"three axes": lambda case: len(case.inputs[1]) > 2},
    "MaxPool": POOLING | {"the maximum's place": lambda case: len(case.outputs) > 1},
    "AveragePool": POOLING,
    "BatchNormalization": {"running variances of N in place of N - 1": has("training_mode")},
    "LSTM": {"peepholes": lambda case: len(case.inputs) > 7},
    "GRU": {"r weighs h before the product (2014), not after, as PyTorch": weighed_before},
    "Attention": {
        "a mask that ends before the keys": short_mask,
        "softcap": has("softcap"),
        "the scores as an output": lambda case: len(case.outputs) > 3,
    },
    "SoftmaxCrossEntropyLoss": NOT_REDUCED,
    "NegativeLogLikelihoodLoss": NOT_REDUCED,
}  # fmt: skip


NUMPYS = list(map(np.dtype, "? b h i q B H I Q e f d".split()))


def known(kind):
    """The attributes that the function for operator `kind` reads."""
    parameters = inspect.signature(FUNCTIONS[kind]).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def left_out(kind, case):
    """Why minidl does not answer `case` of operator `kind`, or None."""
    for a in case.inputs + case.outputs:
        if a is not None and (not isinstance(a, np.ndarray) or a.dtype not in NUMPYS):
            return "elements that NumPy does not have"
    for reason, asks in LEFT_OUT.get(kind, {}).items():
        if asks(case):
            return reason
    return next((f"attribute {name}" for name in case.attributes.keys() - known(kind)), None)


def failure(kind, case, device):
    """What is wrong with minidl's answer to `case` on `device`, or None."""
    inputs = [a if a is None else tensor(a, device=device) for a in case.inputs]
    more = {"n_outputs": len(case.outputs)} if "n_outputs" in known(kind) else {}
    try:
        with intercept.no_grad(), np.errstate(all="ignore"):
            y = FUNCTIONS[kind](*inputs, **case.attributes, **more)
        y = y if isinstance(y, tuple) else (y,)
        assert len(y) >= len(case.outputs), "an output is missing"
        for a, b in zip(y, case.outputs):
            if b is not None:
                assert a.device == device
                assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{a.dtype} {a.shape}"
                # A card sums in another order: in two products and a softmax, three steps.
                coarse = device == "cuda" and b.dtype == np.float16
                rtol = max(case.rtol, 3e-3) if coarse else case.rtol
                np.testing.assert_allclose(a.numpy(), b, rtol=rtol, atol=case.atol)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@cache
def results(kind, device):
    """The name of each case that applies -> what is wrong with the answer, or None."""
    applied = [case for case in cases()[kind] if left_out(kind, case) is None]
    return {case.name: failure(kind, case, device) for case in applied}


def counts():
    """For each group: its name, how many operators, and cases that apply, pass, are published."""
    rows = []
    for group, kinds in OPERATORS.items():
        found = [wrong for kind in kinds for wrong in results(kind, "cpu").values()]
        published = sum(len(cases()[kind]) for kind in kinds)
        rows.append((group, len(kinds), len(found), found.count(None), published))
    return rows


def table():
    """The table of docs/ship.md."""
    rows = [*counts(), ("all", *np.sum([row[1:] for row in counts()], axis=0))]
    return "\n".join([
        f"| ONNX {onnx.__version__} | operators | cases that apply | that pass | published |",
        "|---|--:|--:|--:|--:|",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
    ])  # fmt: skip


# ---- the tests


@pytest.mark.slow
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_minidl_gives_what_onnx_publishes(kind, device):
    found = results(kind, device)
    assert found, "no case applies"
    assert not {name: wrong for name, wrong in found.items() if wrong}


@pytest.mark.slow
def test_a_wrong_answer_is_noticed():
    def changed(**parts):
        return SimpleNamespace(**vars(case) | parts)

    case = cases()["Sub"][0]
    assert failure("Sub", case, "cpu") is None
    assert "Mismatched elements" in failure("Add", case, "cpu")
    assert "float64" in failure("Sub", changed(inputs=[a.astype("d") for a in case.inputs]), "cpu")
    assert "an output is missing" in failure("Sub", changed(outputs=2 * case.outputs), "cpu")
    assert left_out("Sub", changed(attributes={"new": 1})) == "attribute new"


@pytest.mark.slow
def test_every_case_that_is_left_out_has_its_reason():
    if onnx.__version__ != VERSION:
        pytest.skip(f"waits for onnx {VERSION}, whose cases the reasons are for")
    found = {left_out(kind, case) for kind in FUNCTIONS for case in cases()[kind]} - {None}
    assert not [reason for reason in found if reason.startswith("attribute")]
    for kind, reasons in LEFT_OUT.items():
        for reason, asks in reasons.items():
            assert any(map(asks, cases()[kind])), f"{kind}: no case asks for {reason}"


def test_the_table_in_the_page():
    written = re.search(f"{BEGIN}(.*?){END}", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert written, f"docs/ship.md has no table between {BEGIN} and {END}"
    if f"ONNX {onnx.__version__} " not in written[1]:
        pytest.skip(f"waits for docs/ship.md to count the cases of onnx {onnx.__version__}")
    assert written[1] == table()


if __name__ == "__main__":
    print(BEGIN + table() + END)
