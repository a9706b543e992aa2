"""Modules: what layers and models have in common, and what walks over them.

The one rule of this file: a module's attributes are its registry.  Whatever attribute is a
Parameter, another Tensor (a buffer: saved, not trained) or a Module belongs to the module, and so
does what lists, tuples and dicts hold of these, however deep; `state_dict` names it by the path to
it, and saving, moving and optimising ask no more.

Explained in course/09 and course/22 (checkpoint).
"""

from collections import deque
from collections.abc import Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock, get_ident, local
from types import FunctionType, GeneratorType, MethodType

import numpy as np

from .. import advice
from ..engine import devices, intercept
from ..engine.intercept import intercepted, modes, remembering
from ..engine.tensor import Primitive, Tensor, grad, tensor

_METHODS = FunctionType, MethodType, partial  # which may stand in for a method


class _Watchers(local):
    """What `watched` puts around each call of a module, in this thread."""

    def __init__(self):
        self.around = []


_watchers = _Watchers()


class Parameter(Tensor):
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

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        advice.constructors(cls)
        for name, value in vars(cls).items():
            if isinstance(value, (Module, Parameter)):
                raise TypeError(
                    f"{cls.__name__}.{name}, a {type(value).__name__}, would belong to the class, "
                    "not to a model: it would not be trained or saved; set it in __init__"
                )

    __getattr__ = advice.of_object("Module")

    @advice.advised
    def __init__(self):
        """Nothing need be done first: a subclass may call this, or not."""

    def __setattr__(self, name, value):
        hides = callable(getattr(Module, name, None)) and not isinstance(value, _METHODS)
        if hides:
            raise AttributeError(
                f"{type(self).__name__}.{name}: every Module has a method of that name; choose "
                "another"
            )
        trained = isinstance(vars(self).get(name), Parameter)
        if trained and not isinstance(value, (Parameter, type(None))):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got a {type(value).__name__}, which "
                f"would not be trained: give the array, .{name}.data = ..., or nn.Parameter(...)"
            )
        super().__setattr__(name, value)

    def __call__(self, *inputs, **options):
        if modes.tracing:  # compile notes which modules run: their mode chooses the program
            modes.tracing.modules[self] = None
        run = partial(self.forward, *inputs, **options)
        for watcher in _watchers.around:
            run = partial(watcher, self, run)
        return run()

    def forward(self, *inputs, **options):
        """The output for `inputs`; each subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define one")

    def parts(self):
        """Pairs (name, part) of the tensors and modules among the attributes; lists, tuples and
        dicts are entered, however deep: `blocks.0.first`.

        Raises TypeError for parts in a set or a deque, where they have no name, and ValueError
        for two of one name and for a key with a dot.
        """
        names = set()
        for attribute, value in vars(self).items():
            if isinstance(value, (int, float, str, type(None))):  # most are, and hold no part
                continue
            for name, part in _named(attribute, value):
                if "." in attribute:
                    _check_key(type(self).__name__, attribute)
                if name in names:
                    raise ValueError(
                        f"{type(self).__name__}: two parts are named {name!r}; rename one"
                    )
                names.add(name)
                yield name, part

    def modules(self):
        """Pairs (path, module): this module, then all inside it, depth first.

        A shared module has several paths.  One that holds this one is not entered again.
        """
        yield from _walk("", self, (), set())

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

        Raises ValueError, and copies nothing, for missing or unknown paths, other shapes, numbers
        of a kind that would be lost (complex, fractions for integers), and for what is
        recognisably PyTorch's: there the weights of a Linear lie turned, so
        `minidl.pytorch.from_torch` carries them.  Arrays alone do not show where they are from.
        """
        mine = dict(self.tensors())
        _refuse_pytorchs(self, state, mine)
        state = {path: a.data if isinstance(a, Tensor) else a for path, a in state.items()}
        wrong = []
        for path in [path for path in mine if path in state]:
            array, part = state[path], mine[path]
            if not devices.is_array(array):
                wrong.append(f"{path} is a {type(array).__name__}, not an array")
            elif array.shape != part.shape:
                turned = array.shape == part.shape[::-1]
                hint = " (turned, as by PyTorch: minidl.pytorch.from_torch)" if turned else ""
                wrong.append(
                    f"{path} has shape {array.shape} where the model has {part.shape}{hint}"
                )
            elif not np.can_cast(array.dtype, part.dtype, "same_kind"):
                wrong.append(f"{path} has numbers of type {array.dtype}, not {part.dtype}")
        for kind, paths in ("missing", mine.keys() - state), ("unknown", state.keys() - mine):
            wrong += [f"{kind}: {', '.join(sorted(paths))}"] if paths else []
        if wrong:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: {'; '.join(wrong)}; "
                "build the model with the sizes it was saved with"
            )
        arrays = {path: devices.to_device(state[path], part.device) for path, part in mine.items()}
        for path, part in mine.items():
            part.data = arrays[path].astype(part.dtype, copy=True)

    def train(self, mode=True):
        """Set this module and all inside it to training (or, with False, evaluation)."""
        for _, module in [*self.modules()]:  # all are found before one is changed
            module.training = mode
        return self

    def eval(self):
        """Set this module and all inside it to evaluation."""
        return self.train(False)

    def to(self, device=None, dtype=None):
        """Move all parameters and buffers to `device` and convert those that are floats."""
        for _, part in [*self.tensors()]:
            if device is not None:
                part.data = devices.to_device(part.data, device)
            if dtype is not None and part.dtype.kind == "f":
                part.data = part.data.astype(dtype)
            part.grad = None
        return self

    def extra(self):
        """What `repr` shows between the brackets."""
        return ""

    def __repr__(self):
        return _shown(self, (), set())


_PYTORCHS = ("num_batches_tracked", "in_proj_weight", "in_proj_bias", "out_proj.weight")


def _refuse_pytorchs(module, state, mine):
    """Raise ValueError if `state` is PyTorch's, by its values or by names that only PyTorch has."""
    if not hasattr(state, "items"):
        raise TypeError("load_state_dict: expected a dict path -> array, as from state_dict(), got "
                        f"a {type(state).__name__}")  # fmt: skip
    for path, value in state.items():
        top = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
        if "torch" in top or (path not in mine and str(path).endswith(_PYTORCHS)):
            raise ValueError(
                f"this state for {type(module).__name__} is PyTorch's, as {path!r} shows; there, "
                "arrays lie and are called otherwise: minidl.pytorch.from_torch(model, state)"
            )


# ---- the walk over modules


def _named(path, value, above=()):
    """Pairs (path, part) of the tensors and modules that `value` is, or holds.

    above: the containers on the way here; one that holds itself is not entered again.
    """
    if isinstance(value, (Tensor, Module)):
        yield path, value
    elif isinstance(value, (set, frozenset, deque)):
        if any(isinstance(part, (Tensor, Module)) for part in value):
            raise TypeError(
                f"{path}, a {type(value).__name__}, holds modules or tensors that would not be "
                "saved, moved or trained; keep them in a list, tuple or dict"
            )
    elif isinstance(value, (GeneratorType, map, filter, zip)):
        raise TypeError(
            f"{path} is a {type(value).__name__}, in which no module would be found; make a list "
            "of it"
        )
    elif isinstance(value, (Mapping, list, tuple)) and not any(value is x for x in above):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            for name, part in _named(f"{path}.{key}", inner, (*above, value)):
                _check_key(path, key)
                yield name, part


def _check_key(path, key):
    """Raise ValueError unless `key` is a clear name for a part of `path`."""
    if not isinstance(key, (str, int, np.integer)) or str(key) == "" or "." in str(key):
        raise ValueError(
            f"{path}: {key!r} cannot name a part; what holds modules or tensors needs strings "
            "without a dot, or numbers, as keys"
        )


def _inside(module, above, rings):
    """Pairs (name, part) of the modules in `module` that a walk enters.

    above: the modules on the way here, `module` the last.  rings: those that hold one another
    (a.b = b, b.a = a); they are entered once, or the ways round would have no end.
    """
    for name, part in module.parts():
        if not isinstance(part, Module):
            continue
        if any(part is x for x in above):
            rings.update(above[above.index(part) :])
        elif part not in rings:
            yield name, part


def _walk(path, module, above, rings):
    """Pairs (path, module) of `module` and all inside it."""
    yield path, module
    above = (*above, module)
    for name, part in _inside(module, above, rings):
        yield from _walk(f"{path}.{name}".removeprefix("."), part, above, rings)


def _shown(module, above, rings):
    """What `repr` shows, with the modules inside indented."""
    above = (*above, module)
    inner = ""
    for name, part in _inside(module, above, rings):
        own = type(part).__repr__ is not Module.__repr__
        text = repr(part) if own else _shown(part, above, rings)
        inner += f"\n({name}): {text}"
    end = "\n)" if inner else ")"
    return f"{type(module).__name__}({module.extra()}" + inner.replace("\n", "\n  ") + end


# ---- what is made of modules


class Sequential(Module):
    """Modules one after the other: the output of each is the input of the next."""

    def __init__(self, *modules):
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: part {i} is {module!r}, expected a Module")
            setattr(self, str(i), module)

    def __len__(self):
        return len(list(iter(self)))

    def __getitem__(self, i):
        return list(self)[i]

    def __iter__(self):
        return (part for name, part in self.parts() if name.isdigit())

    def forward(self, x):
        for module in self:
            x = module(x)
        return x


_evaluated = {}  # id of a module -> [the module, its own mode, how many `evaluating` it]
_trained = {}  # id of a module -> the thread that is inside `training` with it
_evaluated_lock = Lock()


@contextmanager
def evaluating(model):
    """Inside, `model` and all in it are in evaluation; afterwards each has its own mode again.

    Several threads may be inside at once, with one model or with parts of it: modes come back with
    the last that leaves.  To change modes (`train`, `eval`) inside has no lasting effect.
    """
    modules = list({id(module): module for _, module in model.modules()}.values())
    with _evaluated_lock:
        if any(_trained.get(id(module), get_ident()) != get_ident() for module in modules):
            raise RuntimeError(
                "another thread trains this model, so it cannot be in evaluation now: use a copy "
                "(copy.deepcopy(model)), or wait for `fit` to end"
            )
        for module in modules:
            entry = _evaluated.setdefault(id(module), [module, module.training, 0])
            entry[2] += 1
            module.training = False
    try:
        yield
    finally:
        with _evaluated_lock:
            for module in modules:
                entry = _evaluated[id(module)]
                entry[2] -= 1
                if not entry[2]:
                    module.training = entry[1]
                    del _evaluated[id(module)]


@contextmanager
def training(model):
    """Inside, this thread trains `model`: others that would evaluate it get a RuntimeError, and so
    does this one where another is evaluating or training it already.
    """
    modules = list({id(module): module for _, module in model.modules()}.values())
    with _evaluated_lock:
        others = [_trained.get(id(module), get_ident()) != get_ident() for module in modules]
        if any(others) or any(id(module) in _evaluated for module in modules):
            raise RuntimeError(
                "another thread evaluates or trains this model: train a copy "
                "(copy.deepcopy(model)), or wait until it has done"
            )
        mine = [module for module in modules if id(module) not in _trained]
        _trained.update((id(module), get_ident()) for module in mine)
    try:
        yield
    finally:
        with _evaluated_lock:
            for module in mine:
                del _trained[id(module)]


@contextmanager
def watched(model, around):
    """Inside, a call of a module of `model` is `around(path, module, run)`; run() -> its output.

    Calls of this thread only.
    """
    paths = {module: path for path, module in reversed([*model.modules()])}

    def watcher(module, run):
        return around(paths[module], module, run) if module in paths else run()

    _watchers.around.append(watcher)
    try:
        yield
    finally:
        _watchers.around.remove(watcher)


def summary(model, *inputs):
    """A table, as text: each part of `model`, its output's shape, its number of parameters.

    inputs: arrays or Tensors; the model runs once on them, in evaluation, with nothing recorded.
    """
    rows = [["part", "kind", "output", "parameters"]]

    def around(path, module, run):
        own = {p: p.size for _, p in module.parts() if isinstance(p, Parameter)}
        own = sum(own.values())
        rows.append(row := [path or "(all)", type(module).__name__, "", f"{own:,}"])
        y = run()
        row[2] = str(getattr(y, "shape", "-"))
        return y

    with evaluating(model), watched(model, around), intercept.no_grad():
        model(*(x if isinstance(x, Tensor) else tensor(x) for x in inputs))
    a, b, c, d = (max(map(len, column)) for column in zip(*rows))
    lines = [f"{part:{a}}  {kind:{b}}  {y:{c}}  {n:>{d}}" for part, kind, y, n in rows]
    return "\n".join([*lines, f"{sum(p.size for p in model.parameters()):,} parameters in all"])


_RANDOM = {"bernoulli", "normal"}  # operations that give something else the next time


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
        with remembering(True), intercepted(handler):  # the walk that called this records nothing
            z = module(*leaves)
        for b, data in buffers:
            b.data = data
        asked = [x for x in (*leaves, *module.parameters()) if x.requires_grad]
        shares = grad(z, asked, g, create_graph=isinstance(g, Tensor))
        for leaf, x in zip(leaves, inputs):  # tied only now, or this walk would have gone on below
            leaf.op = intercept.primitives["reshape"]
            leaf.inputs = (x,)
            leaf.attrs = {"shape": x.shape}
        return shares if isinstance(g, Tensor) else [share.data for share in shares]

    inputs = [x if isinstance(x, Tensor) else Tensor(x) for x in inputs]
    with intercept.no_grad(), intercepted(handler) as outer:
        y = module(*inputs)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: expected a Tensor from {module!r}, got {type(y).__name__}")
    y = Tensor(y.data)  # a module may give its input back
    asked = [x for x in (*inputs, *module.parameters()) if x.requires_grad]
    if asked and modes.recording:
        y.op, y.inputs, y.attrs, y.requires_grad = Primitive(checkpoint), tuple(asked), {}, True
        y.op.gradient(again)
    return y
