"""The table of the pieces: what each answer is in the package, and what stands between the two.

An answer is a function of arrays, as its task says; a piece of the package is an operation, a
function or a method, with arguments of its own.  `Entry.words` tells in plain words what goes in
and what comes out; `Entry.seams` does it.

The one rule of this file: an answer is asked only for what its task promised.  Whatever else the
package is asked for (another device, a stride of two numbers, a second gradient) goes on to the
package's own text.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

import minidl
from minidl import nn
from minidl.data.text import _pieces
from minidl.engine.intercept import primitives, remembering
from minidl.engine.random import generator
from minidl.engine.shapes import concatenate
from minidl.engine.tensor import ARRAY, Primitive, Tensor, array_of, grad
from minidl.graph.lines import DRAWS, Value, flat, mapped
from minidl.nn import functional as F
from minidl.nn.module import Module, Parameter, as_tensor


@dataclass(frozen=True)
class Entry:
    """One piece.

    task: the id.  name: of what it is in the package, the same as `Task.replaces`.
    words: what goes in, what comes out.  gradient: whose it is where the piece has one: "yours",
    "the package's", or "" where there is none.
    seams(own): pairs (path, make); `make(old)` gives what stands in place of `old`, and asks the
    answer by `own(...)`.
    check: None, or () -> (f, arrays), by which the gradient is checked inside the engine.
    """

    task: str
    name: str
    words: str
    gradient: str
    seams: Callable
    check: Callable | None = None


ENTRIES = {}


def entry(task, name, words, *, gradient="", path=None, check=None):
    """Decorator: enter `make(own, old)`, or with path=None a function own -> seams."""

    def enter(make):
        def seams(own):
            if path is None:
                return make(own)
            return [(path, lambda old: make(own, old))]

        ENTRIES[task] = Entry(task, name, words, gradient, seams, check)
        return make

    return enter


# ---- places in the package, by name


def place(path):
    """(where, attribute) of "engine.ops.matmul:rule" or "nn.layers.BatchNorm.forward"."""
    name, _, part = path.partition(":")
    words = name.split(".")
    for n in range(len(words) - 1, 0, -1):
        try:
            found = importlib.import_module("minidl." + ".".join(words[:n]))
        except ModuleNotFoundError:
            continue
        for word in words[n:-1]:
            found = getattr(found, word)
        if part:
            return getattr(found, words[-1]), part
        if not hasattr(found, words[-1]):
            break
        return found, words[-1]
    raise AttributeError(f"minidl has no {name}")


# ---- how an answer's arrays enter the graph


def numbers(value, like):
    """What an answer gave, as an array of the type of `like`."""
    return np.asarray(value, dtype=like.dtype)


def operation(name, forward, rule, *inputs):
    """The result of an operation that is made for this one call: forward(*arrays), rule(g)."""

    def asked(xp, *arrays):
        return forward(*arrays)

    asked.__name__ = name
    op = Primitive(asked)
    op.gradient(lambda g, y, *arrays: rule(array_of(g), *map(array_of, arrays)))
    return op(*inputs)


def packages_gradient(package):
    """A rule: the gradient of what `package(*Tensors)` computes of the same arrays."""

    def rule(g, *arrays):
        leaves = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        with remembering(True):
            y = package(*leaves)
        asked = [x for x in leaves if x.requires_grad]
        found = iter(grad(y, asked, Tensor(numbers(g, y))))
        return tuple(next(found).data if x.requires_grad else None for x in leaves)

    return rule


def here(*values):
    """Whether all arrays are NumPy's, and nothing is recorded of the way back."""
    return all(isinstance(array_of(v), np.ndarray) for v in values)


def plain(*values):
    """Whether all are NumPy's arrays, no Tensors: the way back itself is not recorded."""
    return all(isinstance(v, np.ndarray) for v in values)


def some(*shape, seed=0):
    """Numbers for a check, the same each time."""
    return np.random.default_rng([seed, *shape]).normal(size=shape)


LABELS = np.array([2, 0, 3])


# ---- lesson 05 to 08: the engine


@entry(
    "05.1", "engine.reductions.softmax",
    "In go the scores and the axis, out come the probabilities.",
    gradient="the package's", path="engine.reductions.softmax:forward",
    check=lambda: (lambda a, b: F.softmax(a, axis=1) * F.softmax(b, axis=1),
                   [some(3, 4), some(3, 4, seed=1)]),
)  # fmt: skip
def softmax(own, old):
    return lambda xp, a, *, axis=-1: numbers(own(a, axis), a) if here(a) else old(xp, a, axis=axis)


def loss_of(name, ask, logits):
    """A loss as an operation: ask(scores (N, K)) gives the loss and its gradient at once."""
    kept = []

    def forward(a):
        loss, g = ask(a.reshape(-1, a.shape[-1]))
        kept[:] = [numbers(g, a).reshape(a.shape)]
        return numbers(loss, a)

    return operation(name, forward, lambda g, a: (g * kept[0],), logits)


@entry(
    "05.2", "nn.functional.cross_entropy",
    "In go scores and labels, rows one below the other, -1 where a label is to be ignored; out "
    "come the loss and its gradient.  Asked where nothing is smoothed and nothing weighted.",
    gradient="yours", path="nn.functional.cross_entropy",
    check=lambda: (lambda a, b: F.cross_entropy(a, LABELS) + 2 * F.cross_entropy(b, LABELS),
                   [some(3, 4), some(3, 4, seed=1)]),
)  # fmt: skip
def cross_entropy(own, old):
    def new(logits, target, *, ignore_index=None, **options):
        labels = array_of(target)
        known = labels if ignore_index is None else np.where(labels == ignore_index, -1, labels)
        mine = (
            set(options.items()) <= {("smoothing", 0.0), ("reduction", "mean")}
            and labels.shape == logits.shape[:-1]
            and here(logits)
            and (known >= 0).any()
        )
        if not mine:
            return old(logits, target, ignore_index=ignore_index, **options)
        labels = known.reshape(-1).astype(np.int64)
        return loss_of("cross_entropy", lambda scores: own(scores, labels), logits)

    return new


@entry(
    "10.3", "nn.functional.cross_entropy",
    "In go scores, labels and the share; out come the loss and its gradient.  Asked where the "
    "labels are smoothed.",
    gradient="yours", path="nn.functional.cross_entropy",
    check=lambda: (lambda a, b: F.cross_entropy(a, LABELS, smoothing=0.1)
                   + 2 * F.cross_entropy(b, LABELS, smoothing=0.2),
                   [some(3, 4), some(3, 4, seed=1)]),
)  # fmt: skip
def smoothed_loss(own, old):
    def new(logits, target, *, smoothing=0.0, **options):
        labels = array_of(target)
        fits = smoothing and labels.shape == logits.shape[:-1] and here(logits)
        if not fits or set(options.items()) - {("reduction", "mean")}:
            return old(logits, target, smoothing=smoothing, **options)
        labels = labels.reshape(-1).astype(np.int64)
        return loss_of("cross_entropy", lambda scores: own(scores, labels, smoothing), logits)

    return new


@entry(
    "07.1", "engine.shapes.sum_to",
    "In go the gradient and the shape it is to have, out comes the gradient in that shape.",
    gradient="the package's", path="engine.shapes.sum_to:forward",
    check=lambda: (lambda a, b, c: (a + b) * c + a * b, [some(3, 4), some(4), some(3, 1)]),
)  # fmt: skip
def unbroadcast(own, old):
    def new(xp, a, *, shape):
        return numbers(own(a, tuple(shape)), a) if here(a) else old(xp, a, shape=shape)

    return new


@entry(
    "07.2", "engine.ops.matmul",
    "In go the gradient and both matrices, out come the two gradients.  A vector beside a matrix "
    "goes the package's way.",
    gradient="yours", path="engine.ops.matmul:rule",
    check=lambda: (lambda a, b, c: (a @ b) @ c + a @ b, [some(2, 3, 4), some(4, 4), some(2, 4, 4)]),
)  # fmt: skip
def matmul_gradient(own, old):
    def new(g, y, a, b):
        if not plain(g, a, b) or min(a.ndim, b.ndim) < 2:
            return old(g, y, a, b)
        to_a, to_b = own(g, a, b)
        return numbers(to_a, a), numbers(to_b, b)

    return new


class Node:
    """What the answer to 07.3 walks over: a result of the engine, seen as the task's node."""

    def __init__(self, number, inputs, slopes):
        self.number, self.inputs, self.slopes = number, inputs, slopes


class Share:
    """A gradient on its way: an array that the answer adds and multiplies like a number."""

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        if isinstance(other, Share):
            return Share(self.value + other.value)
        return self if isinstance(other, (int, float)) and other == 0 else NotImplemented

    __radd__ = __add__

    def __mul__(self, other):
        return other.of(self) if isinstance(other, Slope) else NotImplemented


class Slope:
    """The slope of a result for one of its inputs: gradient times slope is what the rule sends."""

    def __init__(self, share, known):
        self.share, self.known = share, known

    def of(self, gradient):
        """What the gradient of the result sends to this input; a rule runs once for all inputs."""
        if id(gradient) not in self.known:
            self.known.clear()
            self.known[id(gradient)] = gradient, self.share(gradient)
        return self.known[id(gradient)][1][self.place]

    def __mul__(self, gradient):
        return self.of(gradient)

    __rmul__ = __mul__


@entry(
    "07.3", "engine.gradients.walk",
    "In goes the record of a loss as nodes, in which a slope is the operation's gradient rule and "
    "a gradient is an array; your sums and products of them are the walk.  Out come the gradients.",
    gradient="yours", path="engine.gradients.walk",
    check=lambda: (lambda a, b: (a * b).tanh() * a + (a * b).exp() * 0.1,
                   [some(3), some(3, seed=1)]),
)  # fmt: skip
def walk(own, old):
    def new(starts, *, retain_graph, create_graph, targets):
        starts = list(starts)
        if create_graph or any(isinstance(g, Tensor) or not here(y) for y, g in starts):
            return old(
                starts, retain_graph=retain_graph, create_graph=create_graph, targets=targets
            )
        nodes, tensors, waiting = {}, {}, [y for y, _ in starts]
        while waiting:  # all that the results were made from
            x = waiting.pop()
            if id(x) in tensors:
                continue
            tensors[id(x)] = x
            nodes[id(x)] = Node(x.number, [], [])
            if x.op is not None:
                waiting += _tracked(x)
        for key, x in tensors.items():
            if x.op is not None:
                _give_slopes(nodes[key], x, [nodes[id(i)] for i in _tracked(x)])
        root = Node(1 + max(x.number for x in tensors.values()), [], [])
        for y, g in starts:
            root.inputs.append(nodes[id(y)])
            slope = Slope(lambda _, g=g: [Share(g)], {})
            slope.place = 0
            root.slopes.append(slope)
        with remembering(False):
            found = own(root)
        answer = []
        for key, x in tensors.items():
            if nodes[key] in found and (x.op is None or x.number in targets):
                share = found[nodes[key]]
                answer.append((x, share.value if isinstance(share, Share) else np.zeros(x.shape)))
        if not retain_graph:
            for x in tensors.values():
                if x.op is not None:
                    x.free()
        return answer

    return new


def _tracked(x):
    """The inputs of the result x to which a gradient may go."""
    if x.inputs is None:
        x.op.shares(x, None, False)  # which says what is wrong
    return [i for i in x.inputs if isinstance(i, Tensor) and i.requires_grad]


def _give_slopes(node, x, inputs):
    tracked = _tracked(x)

    def shares(gradient):
        value = gradient.value if isinstance(gradient, Share) else np.full(x.shape, gradient)
        pairs = iter(x.op.shares(x, value, False))
        given, at = [], next(pairs, None)
        for i in tracked:  # an input that gets nothing is left out of the pairs
            if at is not None and at[0] is i:
                share = at[1].whole() if hasattr(at[1], "whole") else at[1]
                given.append(Share(share))
                at = next(pairs, None)
            else:
                given.append(Share(np.zeros(i.shape, i.dtype)))
        return given

    known = {}
    for i, input_node in enumerate(inputs):
        slope = Slope(shares, known)
        slope.place = i
        node.inputs.append(input_node)
        node.slopes.append(slope)


@entry(
    "08.1", "engine.reductions.max",
    "In go the gradient, the array as a table of two axes and the axis; out comes the gradient.",
    gradient="yours", path="engine.reductions.max:rule",
    check=lambda: (lambda a, b: a.max(1) * b.max(0)[0] + b.max(1),
                   [some(3, 4), some(3, 4, seed=1)]),
)  # fmt: skip
def max_gradient(own, old):
    def new(g, y, a, *, axis=None, keepdims=False):
        if not plain(a) or not isinstance(g, (np.ndarray, np.generic)):
            return old(g, y, a, axis=axis, keepdims=keepdims)
        axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = [i % a.ndim for i in axes]
        kept = [i for i in range(a.ndim) if i not in axes]
        moved = a.transpose(*kept, *axes)
        wide = math.prod(a.shape[i] for i in axes)
        found = numbers(own(np.reshape(g, -1), moved.reshape(-1, wide), 1), a)
        back = np.argsort([*kept, *axes])
        return (found.reshape(moved.shape).transpose(*back),)

    return new


@entry(
    "08.2", "engine.shapes.scatter",
    "In go the gradient, the places and the number of rows; out comes the gradient of all rows.  "
    "Slices go the package's way.",
    gradient="the package's", path="engine.shapes.scatter:forward",
    check=lambda: (lambda a: a[np.array([0, 2, 2])] * a[np.array([1, 2, 0])], [some(3, 4)]),
)  # fmt: skip
def scatter(own, old):
    def new(xp, a, *indices, key, shape):
        if (
            len(indices) != 1
            or key != (ARRAY,)
            or not plain(a)
            or indices[0].dtype.kind not in "iu"
        ):
            return old(xp, a, *indices, key=key, shape=shape)
        return numbers(own(a, indices[0], shape[0]), a)

    return new


# ---- lesson 09 and 10: models and optimisers

_SILENT = (nn.Flatten, nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.Dropout)


@entry(
    "09.1", "nn.module.summary",
    "In goes a Sequential of linear layers and activations as a list of parts; your counts become "
    "the table's last column.",
    path="nn.module.summary",
)  # fmt: skip
def summary(own, old):
    def new(model, *inputs):
        text = old(model, *inputs)
        parts, first = [], {}
        for i, part in enumerate(model if type(model) is nn.Sequential else []):
            if part in first:
                parts.append(("again", first[part]))
            elif type(part) is nn.Linear:
                parts.append(("linear", part.n_in, part.n_out, part.bias is not None))
            elif isinstance(part, _SILENT):
                parts.append((type(part).__name__.lower(),))
            else:
                return text
            first[part] = i
        if not parts:
            return text
        head, whole, *lines, _ = text.split("\n")
        counts = own(parts)
        wide = len(head)
        rows = [f"{line.rsplit(None, 1)[0]}" for line in lines]
        shown = [f"{row}{f'{count:,}':>{wide - len(row)}}" for row, count in zip(rows, counts)]
        return "\n".join([head, whole, *shown, f"{sum(counts):,} parameters in all"])

    return new


@entry(
    "09.2", "nn.module.Module.named_parameters",
    "In goes the model as dicts and lists, each parameter as its number; out come paths and "
    "numbers, which become parameters again.",
    path="nn.module.Module.named_parameters",
)  # fmt: skip
def named_parameters(own, old):
    def new(self):
        known = []

        def told(value):
            if isinstance(value, Parameter):
                at = [i for i, p in enumerate(known) if p is value]
                if not at:
                    at = [len(known)]
                    known.append(value)
                return ("parameter", at[0])
            if isinstance(value, Module):
                return {name: told(part) for name, part in vars(value).items()}
            if isinstance(value, dict):
                return {str(name): told(part) for name, part in value.items()}
            if isinstance(value, (list, tuple)):
                return [told(part) for part in value]
            return value if isinstance(value, (int, float, str)) else None

        return [(path, known[int(number)]) for path, number in own(told(self))]

    return new


@entry(
    "09.3", "nn.init.draw",
    "In go draws between 0 and 1, a row for each input of a neuron, and the name; out come the "
    "weights.  Asked for the three uniform kinds.",
    path="nn.init.draw",
)  # fmt: skip
def first_weights(own, old):
    def new(shape, how):
        family, _, kind = str(how).partition("_")
        if kind != "uniform" or (family == "glorot" and len(shape) != 2):
            return old(shape, how)
        u = generator().random(shape, dtype=np.float32).astype(np.float64)
        rows = u if len(shape) == 2 else u.reshape(shape[0], -1).T
        weights = np.asarray(own(rows, family))
        weights = weights if len(shape) == 2 else weights.T.reshape(shape)
        return weights.astype(np.float32)

    return new


class _History:
    """All gradients of each parameter so far: an answer makes its path from the first step on."""

    def __init__(self):
        self.t, self.at, self.kept = 0, 0, []

    def add(self, g, t):
        if t != self.t:
            self.t, self.at = t, 0
        if self.at == len(self.kept):
            self.kept.append([])
        gradients = self.kept[self.at]
        self.at += 1
        gradients.append(np.array(g).reshape(-1))
        return np.stack(gradients)


@entry(
    "10.1", "optim.RMSProp.update",
    "Your answer makes a whole path.  In go all gradients so far, with today's rate; the last "
    "step of the path is today's step.",
    path="optim.RMSProp.update",
)  # fmt: skip
def rmsprop(own, old):
    histories = WeakKeyDictionary()

    def new(self, p, g, state, lr, t):
        after = old(self, p, g, state, lr, t)  # it keeps the state for who comes after you
        gradients = histories.setdefault(self, _History()).add(g, t)
        if not here(p) or self.eps != 1e-8 or len(gradients) != t:
            return after
        path = np.asarray(own(p.reshape(-1), gradients, lr, self.decay))
        return p + numbers(path[-1] - path[-2], p).reshape(p.shape)

    return new


@entry(
    "10.2", "optim.AdamW.update",
    "Your answer makes a whole path.  In go all gradients so far, with today's rate, once from 0 "
    "and once from 1; between the two paths lies the one that stands at today's weights before "
    "the last step, and that step is today's.",
    path="optim.AdamW.update",
)  # fmt: skip
def adamw(own, old):
    histories = WeakKeyDictionary()

    def new(self, p, g, state, lr, t):
        after = old(self, p, g, state, lr, t)
        gradients = histories.setdefault(self, _History()).add(g, t)
        if not here(p) or self.eps != 1e-8 or len(gradients) != t:
            return after
        starts = np.repeat([0.0, 1.0], p.size)
        twice = np.tile(gradients, 2)
        path = np.asarray(own(starts, twice, lr, *self.betas, self.weight_decay))
        before, now = (path[i].reshape(2, -1) for i in (-2, -1))
        share = (p.reshape(-1) - before[0]) / (before[1] - before[0])
        return numbers(now[0] + share * (now[1] - now[0]), p).reshape(p.shape)

    return new


@entry(
    "10.4", "optim.warmup",
    "In go the step, the peak 1, the steps of the rise and of all; out comes the rate's factor.  "
    "Asked where a cosine to 0 follows.",
    path="optim.warmup",
)  # fmt: skip
def warmup(own, old):
    def new(steps, then=None):
        inside = {}
        if then is not None and then.__qualname__.startswith("cosine."):
            cells = zip(then.__code__.co_freevars, then.__closure__)
            inside = {name: cell.cell_contents for name, cell in cells}
        if inside.get("last") != 0:
            return old(steps, then)
        return lambda step: float(own(step, 1.0, steps, steps + inside["total"]))

    return new


@entry(
    "10.5", "optim.clip_grad_norm",
    "In go the list of all gradients and the limit, out come the gradients.  The length that is "
    "told is the package's.",
    path="optim.clip_grad_norm",
)  # fmt: skip
def clip_grad_norm(own, old):
    def new(parameters, max_norm):
        with_grad = [p for p in dict.fromkeys(parameters) if p.grad is not None]
        if not here(*(p.grad for p in with_grad)):
            return old(with_grad, max_norm)
        before = [p.grad.data for p in with_grad]
        for p, g in zip(with_grad, own(list(before), max_norm), strict=True):
            p.grad = Tensor(numbers(g, p.data))
        return Tensor(np.asarray(np.sqrt(sum((g * g).sum() for g in before))))

    return new


# ---- lesson 11 to 13: data, the loop, norms


@entry(
    "11.1", "data.loader.DataLoader._plan",
    "In go how many samples there are, the batch's size, seed and epoch; out come the places of "
    "each batch.  Asked where the loader shuffles.",
    path="data.loader.DataLoader._plan",
)  # fmt: skip
def plan(own, old):
    def new(self, epoch):
        if not self.shuffle or self.sampler is not None:
            return old(self, epoch)
        n = len(self.dataset)
        return [np.asarray(b) for b in own(n, self.batch_size, self.seed, epoch, self.drop_last)]

    return new


@entry(
    "11.2", "data.images.crop",
    "A frame is put around the images and a part is cut out by chance: the same as moving them.  "
    "In go the images and how far each moves, none mirrored; out come the images.",
    path="data.images.crop",
)  # fmt: skip
def crop(own, old):
    def new(x, rng=None, *, size, padding=0):
        pair = np.broadcast_to(padding, 2)
        if rng is None or np.ndim(x) != 4 or tuple(np.broadcast_to(size, 2)) != x.shape[2:]:
            return old(x, rng, size=size, padding=padding)
        top, left = (rng.integers(2 * n + 1, size=len(x)) for n in pair)
        return numbers(own(x, pair[0] - top, pair[1] - left, np.zeros(len(x), bool)), x)

    return new


@entry(
    "11.3", "data.loader.pad_sequence",
    "In go the sequences, what to fill up with and the longest length; out come the table and the "
    "lengths.  Asked for whole numbers.",
    path="data.loader.pad_sequence",
)  # fmt: skip
def pad(own, old):
    def new(sequences, *, value=None):
        sequences = [np.asarray(s) for s in sequences]
        if value is None or any(s.ndim != 1 or s.dtype.kind not in "iu" for s in sequences):
            return old(sequences, value=value)
        most = max([1, *map(len, sequences)])
        table, lengths = own(sequences, int(value), most)
        return np.asarray(table).astype(np.int64), np.asarray(lengths).astype(np.int64)

    return new


@entry(
    "11.5", "data.text.BytePairEncoding.train",
    "The text is cut into words by the package; in go their bytes and how many merges are wanted, "
    "out come the merges.",
    path="data.text.BytePairEncoding.train",
)  # fmt: skip
def byte_pairs(own, old):
    def new(cls, text, size):
        merges = own([list(piece) for piece in _pieces(text)], size - 256)
        return cls([(int(a), int(b)) for a, b in merges])

    return classmethod(new)


@entry(
    "12.1", "train.steps.mean",
    "In go the means of the batches and their sizes, for each number that is measured; the last "
    "of your means is the epoch's.",
    path="train.steps.mean",
)  # fmt: skip
def mean(own, old):
    def new(measured):
        if not measured:
            return old(measured)
        sizes = [n for _, n in measured]
        names = measured[-1][0]
        return {k: float(own([d.get(k, 0.0) for d, _ in measured], sizes)[-1]) for k in names}

    return new


class _Another(BaseException):
    """An answer that runs the loop wants another epoch, which has not been trained yet."""


@entry(
    "12.3", "train.callbacks.EarlyStopping",
    "Your answer runs the loop, here the trainer does.  So after each epoch it is asked again, "
    "and gets the epochs so far as it trains; where it wants one more, the trainer goes on, where "
    "it returns, the run ends with the weights that it gave.",
)  # fmt: skip
def early_stop(own):
    kept = WeakKeyDictionary()  # callback -> (losses, states of the model)

    def asked(self, epochs):
        losses, _ = kept[self]

        def train_epoch(weights):
            done = int(weights[0])
            if done == len(losses):
                raise _Another
            return np.array([done + 1.0]), losses[done]

        try:
            done, best = own(train_epoch, np.array([0.0]), self.patience, epochs)
        except _Another:
            return None
        return int(done), int(np.asarray(best).reshape(-1)[0])

    def begin(old):
        def renew(self, trainer):
            old(self, trainer)
            kept[self] = [], [trainer.model.state_dict()]

        return renew

    def end_epoch(old):
        def on_epoch_end(self, trainer):
            if self.patience < 1 or self not in kept:
                return old(self, trainer)
            self.improved(trainer)  # it tells where the history lacks what is watched
            losses, states = kept[self]
            losses.append(self.sign * trainer.logs[self.monitor])
            states.append(trainer.model.state_dict())
            trainer.stopped = trainer.stopped or asked(self, 10**6) is not None

        return on_epoch_end

    def end(old):
        def on_train_end(self, trainer):
            losses, states = kept.get(self, ([], []))
            found = asked(self, len(losses)) if losses and self.patience >= 1 else None
            if found is None:
                return old(self, trainer)
            trainer.model.load_state_dict(states[found[1]])

        return on_train_end

    base = "train.callbacks.EarlyStopping."
    return [
        (base + "renew", begin), (base + "on_epoch_end", end_epoch), (base + "on_train_end", end),
    ]  # fmt: skip


@entry(
    "12.4", "train.callbacks.ReduceOnPlateau",
    "In go the losses of all epochs so far and the first rate; the last of your rates is set.",
    path="train.callbacks.ReduceOnPlateau.on_epoch_end",
)  # fmt: skip
def plateau(own, old):
    kept = WeakKeyDictionary()

    def new(self, trainer):
        losses, first = kept.setdefault(self, ([], trainer.optimizer.lr))
        if self.patience < 1 or self.lowest > first:
            return old(self, trainer)
        self.improved(trainer)
        losses.append(self.sign * trainer.logs[self.monitor])
        rates = own(list(losses), first, self.factor, self.patience, self.lowest)
        trainer.optimizer.lr = float(rates[-1])

    return new


def _dropped(a, b):
    minidl.manual_seed(0)
    return F.dropout(a, 0.5) * F.dropout(b, 0.3)


@entry(
    "13.1", "nn.functional.dropout",
    "The package draws; in go the numbers, the probability and the draws, out comes what stays.  "
    "Its gradient is your dropout of the gradient, with the same draws.",
    gradient="yours", path="nn.functional.dropout",
    check=lambda: (_dropped, [some(3, 4), some(3, 4, seed=1)]),
)  # fmt: skip
def dropout(own, old):
    def new(x, p=0.5, training=True):
        if not training or p == 0 or not here(x):
            return old(x, p=p, training=training)
        # The package keeps where a draw is below 1 - p, you where it is p or more: turned round.
        below = generator().random(x.shape, dtype=np.float32).astype(np.float64)
        draws = np.minimum(1 - below, np.nextafter(1.0, 0.0))

        def forward(a):
            return numbers(own(a, p, draws, True), a)

        return operation("dropout", forward, lambda g, a: (forward(numbers(g, a)),), x)

    return new


def _normed(a, b):
    layer = nn.BatchNorm(4).to(dtype="float64")
    return layer(a) * layer(b)


@entry(
    "13.2", "nn.layers.BatchNorm.forward",
    "In go the samples as a table with a column for each channel, weight, bias and the running "
    "numbers; out come the result and the new running numbers.",
    gradient="the package's", path="nn.layers.BatchNorm.forward",
    check=lambda: (_normed, [some(5, 4), some(5, 4, seed=1)]),
)  # fmt: skip
def batch_norm(own, old):
    def new(self, x):
        n = x.size // self.n
        usual = self.eps == 1e-5 and self.momentum == 0.1 and (n > 1 or not self.training)
        if not usual or x.ndim < 2 or x.shape[1] != self.n or not here(x):
            return old(self, x)
        training, running = self.training, [self.running_mean, self.running_var]
        before = [r.data for r in running]

        def forward(a, w, b):
            table = np.moveaxis(a, 1, -1)
            y, *now = own(table.reshape(-1, self.n), w, b, *before, training)
            for r, value in zip(running, now):
                r.data = numbers(value, r.data)
            return np.moveaxis(numbers(y, a).reshape(table.shape), -1, 1)

        def package(a, w, b):
            shape = (-1, *(1 for _ in a.shape[2:]))
            axes = (0, *range(2, a.ndim))
            if training:
                z = F.standardise(a, axes, eps=self.eps)
            else:
                m, v = (Tensor(r).reshape(shape) for r in before)
                z = (a - m) / (v + self.eps).sqrt()
            return z * w.reshape(shape) + b.reshape(shape)

        rule = packages_gradient(package)
        return operation("batch_norm", forward, rule, x, self.weight, self.bias)

    return new


# ---- lesson 14 and 15: convolution


def _single(size):
    """The one number of a size that is the same in both directions, or None."""
    if isinstance(size, tuple):
        return size[0] if len(size) == 2 and size[0] == size[1] else None
    return size


@entry(
    "14.1", "nn.functional.conv2d",
    "In go images, filters, bias, stride and padding; out come the maps.  Asked where nothing is "
    "dilated or grouped.",
    gradient="the package's", path="nn.functional.conv2d",
    check=lambda: (lambda x, w, b: F.conv2d(x, w, b, stride=2) * F.conv2d(2 * x, w, b, stride=2),
                   [some(2, 2, 5, 5), some(3, 2, 3, 2), some(3)]),
)  # fmt: skip
def conv2d(own, old):
    def new(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
        how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        step, frame = _single(stride), _single(padding)
        fits = x.ndim == 4 and x.shape[1] == w.shape[1] and groups == 1 and _single(dilation) == 1
        if not fits or not step or frame is None or frame < 0 or not here(x, w):
            return old(x, w, b, **how)
        bias = np.zeros(w.shape[0]) if b is None else b

        def forward(x, w, b):
            return numbers(own(x, w, b, step, frame), x)

        package = packages_gradient(lambda x, w, b: old(x, w, b, **how))
        return operation("conv2d", forward, package, x, w, bias)

    return new


@entry(
    "14.3", "engine.shapes.max_windows",
    "In goes one map of one image after the other; out come the largest of its windows, and on "
    "the way back its gradient.",
    gradient="yours",
    check=lambda: (lambda x, z: F.max_pool2d(x, 2) * F.max_pool2d(z, 2),
                   [some(1, 2, 4, 4), some(1, 2, 4, 4, seed=1)]),
)  # fmt: skip
def max_pool(own):
    def each(a, g, size, stride):
        maps = [own(x, h, size, stride) for image, gs in zip(a, g) for x, h in zip(image, gs)]
        return maps

    def fits(a, size, stride):
        return plain(a) and a.ndim == 4 and len(a) and _single(size) and _single(stride)

    def make_forward(old):
        def forward(xp, a, *, size, stride):
            if not fits(a, size, stride):
                return old(xp, a, size=size, stride=stride)
            places = [(n - size[0]) // stride[0] + 1 for n in a.shape[2:]]
            none = np.zeros((*a.shape[:2], *places))
            found = [out for out, _ in each(a, none, size[0], stride[0])]
            return numbers(found, a).reshape(none.shape)

        return forward

    def make_rule(old):
        def rule(g, y, a, *, size, stride):
            if not fits(a, size, stride) or not plain(g):
                return old(g, y, a, size=size, stride=stride)
            found = [dx for _, dx in each(a, g, size[0], stride[0])]
            return (numbers(found, a).reshape(a.shape),)

        return rule

    name = "engine.shapes.max_windows"
    return [(f"{name}:forward", make_forward), (f"{name}:rule", make_rule)]


@entry(
    "14.4", "nn.functional.conv_transpose2d",
    "In go a small map, filters, stride and padding; out comes the large map, to which the "
    "package adds the bias.",
    gradient="the package's", path="nn.functional.conv_transpose2d",
    check=lambda: (lambda x, w: F.conv_transpose2d(x, w, stride=2)
                   * F.conv_transpose2d(2 * x, w, stride=2),
                   [some(1, 2, 2, 2), some(2, 1, 2, 2)]),
)  # fmt: skip
def conv_transpose2d(own, old):
    def new(x, w, b=None, stride=1, padding=0, output_padding=0):
        how = {"stride": stride, "padding": padding, "output_padding": output_padding}
        step, cut, more = map(_single, (stride, padding, output_padding))
        if not step or cut is None or more != 0 or not here(x, w) or x.shape[1] != w.shape[0]:
            return old(x, w, b, **how)

        def forward(x, w):
            return numbers(own(x, w, step, cut), x)

        package = packages_gradient(lambda x, w: old(x, w, None, **how))
        y = operation("conv_transpose2d", forward, package, x, w)
        return y if b is None else y + b.reshape(-1, 1, 1)

    return new


@entry(
    "14.5", "engine.shapes.windows",
    "In go images and a filter of zeros, for its size; of the two results the columns are taken, "
    "laid out as windows.",
    gradient="the package's", path="engine.shapes.windows:forward",
    check=lambda: (lambda x, z: F.avg_pool2d(x, 2) * F.avg_pool2d(z, 2),
                   [some(1, 2, 4, 4), some(1, 2, 4, 4, seed=1)]),
)  # fmt: skip
def windows(own, old):
    def new(xp, a, *, size, stride=(1, 1), dilation=(1, 1)):
        fits = plain(a) and _single(dilation) == 1 and _single(stride) and a.size
        if not fits or a.shape[2] < size[0] or a.shape[3] < size[1]:
            return old(xp, a, size=size, stride=stride, dilation=dilation)
        n, c = a.shape[:2]
        places = [(a.shape[i + 2] - size[i]) // stride[i] + 1 for i in (0, 1)]
        columns, _ = own(a, np.zeros((1, c, *size)), stride[0])
        seen = numbers(columns, a).reshape(c, *size, n, *places)
        return seen.transpose(3, 0, 1, 2, 4, 5)

    return new


def _block():
    minidl.manual_seed(0)
    block = nn.Residual(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 4, bias=False))
    return block.to(dtype="float64")


@entry(
    "15.1", "nn.layers.Residual.forward",
    "In go the samples and the weights of two linear layers without bias, with relu between them; "
    "out come the result and all gradients.  Other blocks go the package's way.",
    gradient="yours", path="nn.layers.Residual.forward",
    check=lambda: (lambda x: (lambda block: block(block(x)))(_block()), [some(3, 4)]),
)  # fmt: skip
def residual(own, old):
    def new(self, x):
        parts = list(self)
        kinds = [type(part) for part in parts]
        usual = kinds == [nn.Linear, nn.ReLU, nn.Linear] and x.ndim == 2 and here(x)
        if not usual or parts[0].bias is not None or parts[2].bias is not None:
            return old(self, x)

        def forward(x, w1, w2):
            return numbers(own(x, w1, w2, np.zeros(x.shape))[0], x)

        def rule(g, x, w1, w2):
            return tuple(numbers(d, x) for d in own(x, w1, w2, numbers(g, x))[1:])

        return operation("residual", forward, rule, x, parts[0].weight, parts[2].weight)

    return new


# ---- lesson 16 to 18: sequences, attention, GPT


def _read_twice(x):
    minidl.manual_seed(0)
    layer = nn.RNN(3, 2).to(dtype="float64")
    y, last = layer(x, lengths=np.array([4, 2]))
    again, _ = layer(2 * x, lengths=np.array([4, 2]))
    return y.sum(1) * last[0] + again.sum(1)


@entry(
    "16.1", "nn.recurrent.RNN.forward",
    "In go the padded batch, the lengths, both weights and the sum of both biases; out come the "
    "outputs and the last states.  Asked for one layer that begins at 0.",
    gradient="the package's", path="nn.recurrent.RNN.forward",
    check=lambda: (_read_twice, [some(2, 4, 3)]),
)  # fmt: skip
def rnn(own, old):
    def new(self, x, state=None, lengths=None):
        usual = state is None and self.n_layers == 1 and len(self.directions) == 1
        if not usual or x.ndim != 3 or x.shape[2] != self.n_in or not here(x):
            return old(self, x, state, lengths)
        n, last, _ = x.shape
        ends = np.full(n, last) if lengths is None else np.asarray(array_of(as_tensor(lengths)))
        weights = [getattr(self, name + "_l0") for name in self.names]

        def forward(x, w_x, w_h, b_x, b_h):
            y, h = own(x, ends, w_x, w_h, b_x + b_h)
            return np.concatenate([numbers(y, x), numbers(h, x)[:, None]], axis=1)

        def package(x, *given):
            twin = object.__new__(type(self))
            vars(twin).update(vars(self))
            for name, w in zip(self.names, given):
                vars(twin)[name + "_l0"] = w
            y, h = old(twin, x, None, ends)
            return concatenate(y, h.transpose(1, 0, 2), axis=1)

        both = operation("rnn", forward, packages_gradient(package), x, *weights)
        return both[:, :last], both[:, last:].transpose(1, 0, 2)

    return new


@entry(
    "16.3", "nn.recurrent.lstm",
    "The package has multiplied with the weights already: in go its scores in place of x, with a "
    "unit matrix, and the memory; out come state and memory.",
    gradient="the package's", path="nn.recurrent.lstm:forward",
    check=lambda: (lambda a, c: primitives["lstm"](a, c) * primitives["lstm"](2 * a, c),
                   [some(8, 3), some(2, 3)]),
)  # fmt: skip
def lstm(own, old):
    def new(xp, from_both, c):
        if not plain(from_both, c):
            return old(xp, from_both, c)
        wide, n = from_both.shape
        none = np.zeros((n, wide // 4))
        h, c = own(
            from_both.T, none, c.T, np.eye(wide), np.zeros((wide // 4, wide)), np.zeros(wide)
        )
        return numbers(np.concatenate([np.asarray(h).T, np.asarray(c).T]), from_both)

    return new


_SEEN = np.tri(3, 4, 1, dtype=bool)


@entry(
    "17.1", "nn.functional.attention",
    "In go queries, keys, values and mask of one sample and one head after the other; out come "
    "the answers.  Asked for masks of truth values.",
    gradient="the package's", path="nn.functional.attention",
    check=lambda: (lambda q, k, v: F.attention(q, k, v, _SEEN) * F.attention(2 * q, k, v, _SEEN),
                   [some(2, 3, 2), some(2, 4, 2), some(2, 4, 2, seed=1)]),
)  # fmt: skip
def attention(own, old):
    def new(q, k, v, mask=None):
        fits = q.ndim >= 2 and q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and here(q, k, v)
        seen = np.ones(1, bool) if mask is None else array_of(mask)
        if not fits or seen.dtype.kind != "b":
            return old(q, k, v, mask=mask)
        whole = np.broadcast_to(seen, (*q.shape[:-1], k.shape[-2]))
        if not whole.any(axis=-1).all():
            return old(q, k, v, mask=mask)

        def forward(q, k, v):
            each = [a.reshape(-1, *a.shape[-2:]) for a in (q, k, v, whole)]
            found = [own(*one) for one in zip(*each)]
            return numbers(found, q).reshape(*q.shape[:-1], v.shape[-1])

        package = packages_gradient(lambda q, k, v: old(q, k, v, mask=mask))
        return operation("attention", forward, package, q, k, v)

    return new


def _drawn(p, rng):
    """A token for each row of probabilities, by the draws that the package makes."""
    order = np.argsort(-p, axis=1, kind="stable")
    rng = generator() if rng is None else rng
    return np.array([rng.choice(i, p=q[i]) for i, q in zip(order, p)], dtype=np.int64)


@entry(
    "18.3", "nn.transformer.sample",
    "In go the probabilities that temperature and top-k left, and top-p; out come those from "
    "which is drawn.",
    path="nn.transformer.sample",
)  # fmt: skip
def nucleus(own, old):
    def new(logits, *, temperature=1.0, top_k=None, top_p=1.0, rng=None):
        usual = temperature > 0 and 0 < top_p <= 1 and (top_k is None or top_k >= 1)
        if not usual:
            return old(logits, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng)
        s = np.asarray(logits, dtype=np.float64)
        order = np.argsort(-s, axis=1, kind="stable")[:, :top_k]
        kept = np.take_along_axis(s, order, axis=1)
        e = np.exp((kept - kept[:, :1]) / temperature)
        p = np.zeros(s.shape)
        np.put_along_axis(p, order, e / e.sum(axis=1, keepdims=True), axis=1)
        return _drawn(np.asarray(own(p, top_p), dtype=np.float64), rng)

    return new


@entry(
    "18.2", "nn.transformer.sample",
    "In go one row of scores after the other, k and the temperature; out come the probabilities, "
    "from which the second half of `sample` goes on.",
    path="nn.transformer.sample",
)  # fmt: skip
def top_k(own, old):
    def new(logits, *, temperature=1.0, top_k=None, top_p=1.0, rng=None):
        usual = (temperature == 0 or temperature >= 0.01) and (top_k is None or top_k >= 1)
        if not usual:
            return old(logits, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng)
        s = np.asarray(logits, dtype=np.float64)
        k = s.shape[1] if top_k is None else top_k
        p = np.array([own(row, k, temperature) for row in s])
        with np.errstate(divide="ignore"):
            return old(np.log(p), top_p=top_p, rng=rng)

    return new


@entry(
    "18.4", "nn.transformer.MultiHeadAttention.forward",
    "In goes one new row with a 1 added in each head, whose weights are the biases, and the keys "
    "and values of the rows before it, made wider alike; out come the answer and the new keys and "
    "values.  Asked when the GPT writes, for one row with a cache.",
    path="nn.transformer.MultiHeadAttention.forward",
)  # fmt: skip
def step(own, old):
    def new(self, x, context=None, *, causal=False, mask=None, key_mask=None, cache=None):
        others = context is not None or mask is not None or key_mask is not None
        if others or cache is None or x.shape[:2] != (1, 1) or x.requires_grad or not here(x):
            return old(self, x, context, causal=causal, mask=mask, key_mask=key_mask, cache=cache)
        heads, size = self.heads, self.depth
        wide = np.zeros((heads, size + 1))
        wide[:, :size] = x.data[0, 0].reshape(heads, size)
        wide[0, size] = 1.0  # what the biases are multiplied by

        def wider(layer, factor=1.0):
            w = np.zeros((heads, size + 1, heads, size + 1))
            w[:, :size, :, :size] = layer.weight.data.reshape(heads, size, heads, size)
            if layer.bias is not None:
                w[0, size, :, :size] = layer.bias.data.reshape(heads, size)
            return factor * w.reshape(heads * (size + 1), -1)

        def flat_rows(kept):  # (1, heads, T, size) -> (T, heads (size + 1))
            rows = np.zeros((kept.shape[2], heads, size + 1))
            rows[:, :, :size] = kept.data[0].transpose(1, 0, 2)
            return rows.reshape(len(rows), -1)

        def heads_again(rows):
            rows = np.asarray(rows).reshape(-1, heads, size + 1)[None, :, :, :size]
            return Tensor(numbers(rows.transpose(0, 2, 1, 3), x))

        none = np.zeros((0, wide.size))
        keys, values = map(flat_rows, cache) if cache else (none, none)
        # Scores are divided by the root of the wider size: the query makes good for that.
        root = math.sqrt((size + 1) / size)
        weights = wider(self.query, root), wider(self.key), wider(self.value)
        y, keys, values = own(wide.reshape(-1), keys, values, *weights, heads)
        cache[:] = heads_again(keys), heads_again(values)
        y = np.asarray(y).reshape(heads, size + 1)[:, :size].reshape(1, 1, -1)
        return self.out(Tensor(numbers(y, x)))

    return new


# ---- lesson 20 and 22: records, bits, memory


@entry(
    "20.1", "graph.passes.without_dead",
    "In go a record's lines, each with the lines that wrote what it reads, and the results; out "
    "come the names of the lines that stay.",
    path="graph.passes.without_dead",
)  # fmt: skip
def needed(own, old):
    def new(graph):
        writers, lines = {}, []  # base -> the names of the lines that wrote to it so far
        for i, line in enumerate(graph.lines):
            bases = [v.base for v in line.inputs()] + [v.base for v in line.outs] * line.into
            reads = tuple(dict.fromkeys(name for b in bases for name in _wrote(writers, b)))
            lines.append((f"line{i}", "check" if line.effect() else "call", reads))
            for v in line.outs:
                writers.setdefault(v.base, []).append(f"line{i}")
        ends = [v.base for v in graph.ends()]
        ends += [base for base in graph.written() if base.kind == "state"]
        results = [name for b in ends for name in _wrote(writers, b)]
        stay = set(own(lines, list(dict.fromkeys(results))))
        return graph.changed([x for i, x in enumerate(graph.lines) if f"line{i}" in stay])

    return new


def _wrote(writers, base):
    return writers.get(base, [])


@entry(
    "20.2", "graph.passes.without_repeats",
    "In go a record's lines, where what a call has beside arrays and numbers is part of its "
    "function's name; out come the lines that stay, and what to read in place of the others.",
    path="graph.passes.without_repeats",
)  # fmt: skip
def without_repeats(own, old):
    def new(graph):
        written, names, lines = graph.written(), {}, []

        def name(v):
            return names.setdefault(v, f"value{len(names)}")

        for i, line in enumerate(graph.lines):
            form = mapped(line.args, lambda a: "" if isinstance(a, Value) else (type(a), a))
            function = repr((line.function, form, line.options, line.out.dtype))
            if line.function in DRAWS:
                function = "random"
            elif line.bases() & written:
                function = f"its own, {i}"  # what is changed in place is never merged
            arguments = tuple(name(a) for a in flat(line.args) if isinstance(a, Value))
            made = name(line.out) if not line.into else f"line{i}"
            lines.append((made, function, arguments))
        made = [line[0] for line in lines]
        stay, read = own(lines, made)
        stay = {line[0] for line in stay}
        values = {text: v for v, text in names.items()}
        other = {values[a]: values[b] for a, b in zip(made, read) if a != b}
        kept = [line for line, m in zip(graph.lines, made) if m in stay]
        return graph.changed([line.replaced(other) for line in kept], other)

    return new


@entry(
    "22.2", "train.precision.LossScaler.step",
    "In go the scaled gradients and the scaler's numbers; out come the gradients, or None for a "
    "step to be skipped, and the scaler's next numbers.",
    path="train.precision.LossScaler.step",
)  # fmt: skip
def scaled_step(own, old):
    def new(self, optimizer):
        given = [p for p in optimizer.parameters if p.grad is not None]
        if not here(*(p.grad for p in given)):
            return old(self, optimizer)
        again = self.factor if self.unscaled else 1.0  # it was divided already
        gradients = [p.grad.data.astype(np.float64) * again for p in given]
        self.unscaled = False
        found, self.factor, self.good = own(
            gradients, self.factor, self.good, self.growth, self.backoff, self.every
        )
        if found is None:
            return False
        for p, g in zip(given, found, strict=True):
            p.grad = Tensor(numbers(g, p.data))
        optimizer.step()
        return True

    return new


def _chain():
    minidl.manual_seed(0)
    parts = [part for _ in range(3) for part in (nn.Linear(3, 3), nn.Tanh())]
    return nn.Sequential(*parts).to(dtype="float64")


def _two_chains(x):
    net = _chain()
    return nn.checkpoint(net, x) * nn.checkpoint(net, 2 * x)


@entry(
    "22.4", "nn.module.checkpoint",
    "The layers of a Sequential become the functions forward and backward; in go the input and "
    "the gradient of the result, out comes the gradient of the input.  Every second layer's input "
    "is kept.",
    gradient="yours", path="nn.module.checkpoint",
    check=lambda: (_two_chains, [some(2, 3)]),
)  # fmt: skip
def checkpoint(own, old):
    def new(module, *inputs):
        drawn = any(isinstance(part, (nn.Dropout, nn.BatchNorm)) for _, part in module.modules())
        if type(module) is not nn.Sequential or len(inputs) != 1 or drawn or not len(module):
            return old(module, *inputs)
        parts, parameters = list(module), module.parameters()

        def run(x):
            with remembering(False):
                return module(Tensor(x)).data

        def rule(g, x, *_):
            found = {p: np.zeros(p.shape, p.dtype) for p in parameters}

            def forward(i, x):
                with remembering(False):
                    return parts[i](Tensor(x)).data

            def backward(i, x, g):
                leaf = Tensor(np.asarray(x), requires_grad=True)
                mine = parts[i].parameters()
                with remembering(True):
                    y = parts[i](leaf)
                to_x, *shares = grad(y, [leaf, *mine], Tensor(np.asarray(g)))
                for p, share in zip(mine, shares):
                    found[p] = found[p] + share.data
                return to_x.data

            to_x = own(forward, backward, x, g, len(parts), 2)
            return numbers(to_x, x), *(found[p] for p in parameters)

        def first(x, *_):
            return run(x)

        return operation("checkpoint", first, rule, as_tensor(inputs[0]), *parameters)

    return new


def entries():
    """All pieces, in the order of the tasks."""
    return dict(sorted(ENTRIES.items()))
