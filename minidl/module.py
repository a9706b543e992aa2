"""Modules: what layers and models have in common, and what walks over them.

The one rule of this file: a module's attributes are its registry.  Whatever attribute is a
Parameter, another Tensor (a buffer: saved, not trained), a Module, or a list of these belongs to
the module; `state_dict` names it by the path to it, and saving, moving and optimising ask no more.

Explained in course/09 and course/22 (checkpoint).
"""

from contextlib import contextmanager
from functools import partial

from . import backend
from .seams import intercepted
from .tensor import Leaf, Primitive, Tensor, grad, primitives, tensor

_watchers = []  # what `watched` puts around each call of a module
_RANDOM = {"bernoulli", "normal"}  # operations that give something else the next time


class Parameter(Leaf):
    """A Tensor that is trained: it asks for a gradient, and `Module.parameters` lists it."""

    __slots__ = ()

    def __init__(self, data):
        data = data.data if isinstance(data, Tensor) else data
        super().__init__(data, requires_grad=True)


class Module:
    """The base of all layers and models.  A subclass stores its parts as attributes in
    `__init__` and says in `forward` what it does with an input; it is called like a function.
    """

    training = True  # what dropout and normalisation ask; set by `train` and `eval`

    def __call__(self, *inputs, **options):
        run = partial(self.forward, *inputs, **options)
        for watcher in _watchers:
            run = partial(watcher, self, run)
        return run()

    def forward(self, *inputs, **options):
        """The output for `inputs`; each subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define one")

    def parts(self):
        """Pairs (name, part) of the tensors and modules among the attributes, lists entered."""
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, Module)):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, part in enumerate(value):
                    if isinstance(part, (Tensor, Module)):
                        yield f"{name}.{i}", part

    def modules(self, prefix=""):
        """Pairs (path, module): this module, then all inside it, depth first."""
        yield prefix.removesuffix("."), self
        for name, part in self.parts():
            if isinstance(part, Module):
                yield from part.modules(f"{prefix}{name}.")

    def tensors(self):
        """Pairs (path, tensor) of all parameters and buffers; a shared one has several paths."""
        for path, module in self.modules():
            for name, part in module.parts():
                if isinstance(part, Tensor):
                    yield (f"{path}.{name}" if path else name), part

    def named_parameters(self):
        """Pairs (path, parameter), a shared parameter once, under its first path."""
        seen = set()
        for path, part in self.tensors():
            if isinstance(part, Parameter) and part not in seen:
                seen.add(part)
                yield path, part

    def parameters(self):
        """The list of all parameters, each once."""
        return [p for _, p in self.named_parameters()]

    def state_dict(self):
        """A dict path -> array of all parameters and buffers, copies of what they are now."""
        return {path: part.data.copy() for path, part in self.tensors()}

    def load_state_dict(self, state):
        """Copy the arrays of `state` (path -> array) into the parameters and buffers.

        Raises ValueError, and copies nothing, for missing or unknown paths or other shapes.
        """
        mine = dict(self.tensors())
        wrong = [
            f"{path} has shape {tuple(state[path].shape)} where the model has {part.shape}"
            for path, part in mine.items()
            if path in state and tuple(state[path].shape) != part.shape
        ]
        for kind, paths in ("missing", mine.keys() - state), ("unknown", state.keys() - mine):
            wrong += [f"{kind}: {', '.join(sorted(paths))}"] if paths else []
        if wrong:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: {'; '.join(wrong)}; "
                "build the model with the sizes it was saved with"
            )
        for path, part in mine.items():
            array = backend.to_device(state[path], part.device)
            part.data = array.astype(part.dtype, copy=True)

    def train(self, mode=True):
        """Set this module and all inside it to training (or, with False, evaluation)."""
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Set this module and all inside it to evaluation."""
        return self.train(False)

    def to(self, device=None, dtype=None):
        """Move all parameters and buffers to `device` and convert those that are floats."""
        for _, part in self.tensors():
            if device is not None:
                part.data = backend.to_device(part.data, device)
            if dtype is not None and part.dtype.kind == "f":
                part.data = part.data.astype(dtype)
            part.grad = None
        return self

    def extra(self):
        """What `repr` shows between the brackets."""
        return ""

    def __repr__(self):
        inner = [f"({name}): {part!r}" for name, part in self.parts() if isinstance(part, Module)]
        lines = "\n".join(inner).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra()}" + (f"\n  {lines}\n)" if inner else ")")


class Sequential(Module):
    """Modules one after the other: the output of each is the input of the next."""

    def __init__(self, *modules):
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: part {i} is {module!r}, expected a Module")
            setattr(self, str(i), module)

    def __len__(self):
        return len(list(self.parts()))

    def __getitem__(self, i):
        return list(self)[i]

    def __iter__(self):
        return (part for _, part in self.parts())

    def forward(self, x):
        for module in self:
            x = module(x)
        return x


@contextmanager
def watched(model, around):
    """Inside, a call of a module of `model` is `around(path, module, run)`; run() -> its output."""
    paths = {module: path for path, module in reversed([*model.modules()])}

    def watcher(module, run):
        return around(paths[module], module, run) if module in paths else run()

    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def summary(model, *inputs):
    """A table, as text: each part of `model`, its output's shape, its number of parameters.

    inputs: arrays or Tensors; the model runs once on them, in evaluation, with nothing recorded.
    """
    rows, modules = [["part", "kind", "output", "parameters"]], [m for _, m in model.modules()]
    modes = [m.training for m in modules]

    def around(path, module, run):
        own = sum(p.size for name, p in module.named_parameters() if "." not in name)
        rows.append(row := [path or "(all)", type(module).__name__, "", f"{own:,}"])
        y = run()
        row[2] = str(getattr(y, "shape", "-"))
        return y

    try:
        with watched(model, around), backend.no_grad():
            model.eval()(*(x if isinstance(x, Tensor) else tensor(x) for x in inputs))
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode
    a, b, c, d = (max(map(len, column)) for column in zip(*rows))
    lines = [f"{part:{a}}  {kind:{b}}  {y:{c}}  {n:>{d}}" for part, kind, y, n in rows]
    return "\n".join([*lines, f"{sum(p.size for p in model.parameters()):,} parameters in all"])


def checkpoint(module, *inputs):
    """module(*inputs), one Tensor; nothing inside is kept, the way back runs it a second time.

    Memory for time (Chen et al. 2016).  Values and gradients are the same bits (those of a weight
    that is used many times: to rounding), and have gradients: what was drawn is kept (dropout's
    masks), and running statistics move once.
    """
    draws, waiting = [], []

    def handler(op, given, attrs):
        if op.name in _RANDOM and waiting:
            return waiting.pop()
        y = outer(op, given, attrs) if outer else op(*given, **attrs)
        draws.extend([y] if op.name in _RANDOM else [])
        return y

    def again(g, *_):
        leaves = [Tensor(x.data, requires_grad=x.requires_grad) for x in inputs]
        buffers = [(b, b.data) for _, b in module.tensors() if not isinstance(b, Parameter)]
        waiting[:] = reversed(draws)
        backend.modes.recording = True  # until the walk that called this puts it back
        with intercepted(handler):
            z = module(*leaves)
        for b, data in buffers:
            b.data = data
        asked = [x for x in (*leaves, *module.parameters()) if x.requires_grad]
        shares = grad(z, asked, g, create_graph=isinstance(g, Tensor))
        for leaf, x in zip(leaves, inputs):  # tied only now, or this walk would have gone on below
            leaf.op, leaf.inputs, leaf.attrs = primitives["reshape"], (x,), {"shape": x.shape}
        return shares if isinstance(g, Tensor) else [share.data for share in shares]

    inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    with backend.no_grad(), intercepted(handler) as outer:
        y = module(*inputs)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: expected a Tensor from {module!r}, got {type(y).__name__}")
    y = Tensor(y.data)  # a module may give its input back
    asked = [x for x in (*inputs, *module.parameters()) if x.requires_grad]
    if asked and backend.modes.recording:
        y.op, y.inputs, y.attrs, y.requires_grad = Primitive(checkpoint), tuple(asked), {}, True
        y.op.gradient(again)
    return y
