"""Modules: what layers and models have in common, and what walks over them.

The one rule of this file: a module's attributes are its registry.  Whatever attribute is a
Parameter, another Tensor (a buffer: saved, not trained) or a Module belongs to the module, and so
does what lists, tuples and dicts hold of these, however deep; `state_dict` names it by the path to
it, and saving, moving and optimising ask no more.

Explained in course/09 and course/22 (checkpoint).
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock, get_ident, local
from types import FunctionType, GeneratorType, MethodType, SimpleNamespace
from typing import Any, Self

import numpy as np

from .. import advice
from ..engine import devices, intercept
from ..engine.intercept import intercepted, modes, remembering
from ..engine.tensor import Primitive, Tensor, array_of, grad, tensor

_NO_PART = frozenset([int, float, bool, str, type(None)])  # what most attributes are
_METHODS = FunctionType, MethodType, partial  # which may stand in for a method


class _Watchers(local):
    """What `watched` puts around each call of a module, in this thread."""

    def __init__(self):
        self.around = []


_watchers = _Watchers()
writes = SimpleNamespace(last=None)  # after each write to a Module's attributes another object


class Parameter(Tensor):
    """A Tensor that is trained: it asks for a gradient, and `Module.parameters` lists it."""

    __slots__ = ()

    @advice.advised
    def __init__(self, data: Tensor | np.ndarray) -> None:
        super().__init__(array_of(data), requires_grad=True)


class Module:
    """The base of all layers and models.

    A subclass stores its parts as attributes in `__init__` and says in `forward` what it does with
    an input; it is called like a function.
    """

    training: bool = True  # what dropout and normalisation ask; set by `train` and `eval`

    def __init_subclass__(cls, **options: Any) -> None:
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

    def __setattr__(self, name: str, value: Any) -> None:
        if callable(getattr(Module, name, None)) and not isinstance(value, _METHODS):
            raise AttributeError(
                f"{type(self).__name__}.{name}: every Module has a method of that name; choose "
                "another"
            )
        if name in ("trainable", "requires_grad") and name not in vars(type(self)):
            raise AttributeError(
                f"{type(self).__name__}.{name} would change nothing: to freeze a part write "
                "p.requires_grad = False for each p of part.parameters()"
            )
        _refuse_untrained(f"{type(self).__name__}.{name}", value)
        trained = isinstance(vars(self).get(name), Parameter)
        if trained and not isinstance(value, (Parameter, type(None))):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter, got a {type(value).__name__}, which "
                f"would not be trained: give the array, .{name}.data = ..., or nn.Parameter(...)"
            )
        super().__setattr__(name, value)
        writes.last = object()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        writes.last = object()

    def __call__(self, *inputs: Any, **options: Any) -> Tensor:
        """The output for `inputs`, as `forward` computes it."""
        if modes.tracing:
            modes.tracing.settings.note(self)
        run = partial(self.forward, *inputs, **options)
        for watcher in _watchers.around:
            run = partial(watcher, self, run)
        return run()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The output for `inputs`; each subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define one")

    def parts(self) -> "list[tuple[str, Tensor | Module]]":
        """Pairs (name, part) of the tensors and modules that this module itself holds.

        A part is an attribute, or lies in an attribute that is a list, a tuple or a dict, however
        deep: `blocks.0.first`.  What the modules among them hold is not listed.
        Raises TypeError for parts in a set or a deque, where they have no name, and ValueError
        for two of one name and for a key with a dot.
        """
        found = []
        for attribute, value in vars(self).items():
            kind = type(value)
            if kind in _NO_PART or (kind is partial and callable(getattr(Module, attribute, None))):
                continue
            inside = _named(attribute, value)
            if inside and "." in attribute:
                _check_key(type(self).__name__, attribute)
            found += inside
        return found

    def modules(self) -> "list[tuple[str, Module]]":
        """Pairs (path, module): this module, whose path is "", then all inside it, depth first.

        A shared module has several paths.  One that holds this one is not entered again.
        """
        return [(prefix[:-1], module) for prefix, module, _ in _walk("", self, (), set())]

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Pairs (path, tensor) of all parameters and buffers; a shared one has several paths."""
        walk = _walk("", self, (), set())
        every = ((prefix + name, part) for prefix, _, parts in walk for name, part in parts)
        return [(path, part) for path, part in every if isinstance(part, Tensor)]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """Pairs (path, parameter), a shared parameter once, under its first path."""
        first = {}
        for path, part in self.tensors():
            if isinstance(part, Parameter):
                first.setdefault(part, path)
        return [(path, part) for part, path in first.items()]

    def parameters(self) -> list[Parameter]:
        """The list of all parameters, each once."""
        return [part for _, part in self.named_parameters()]

    def state_dict(self) -> dict[str, np.ndarray]:
        """A dict path -> array of all parameters and buffers, copies of what they are now."""
        return {path: part.data.copy() for path, part in self.tensors()}

    @advice.advised
    def load_state_dict(
        self, state: Mapping[str, Any], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Copy the arrays of `state` (path -> array) into the parameters and buffers.

        Returns two lists of paths: those of the model that are missing in `state`, which stay as
        they are, and those that are unknown to the model.  With `strict` both are empty, or it
        raises.
        Raises ValueError, and copies nothing, for missing or unknown paths if `strict`, for other
        shapes, and for numbers of a kind that would lose something (complex ones, or fractions for
        integers).
        Also for a state dict of PyTorch's, where it can be recognised: the weights of a Linear are
        transposed there, and `minidl.pytorch.from_torch` takes care of that.  Arrays alone do not
        show where they are from.
        """
        mine = dict(self.tensors())
        _refuse_pytorchs(self, state, mine)
        state = {path: array_of(a) for path, a in state.items()}
        wrong = []
        for path, part in mine.items():
            if path in state:
                wrong += _misfits(path, state[path], part)
        missing = [path for path in mine if path not in state]
        unknown = [path for path in state if path not in mine]
        for kind, paths in ("missing", missing), ("unknown", unknown):
            if paths and strict:
                wrong.append(f"{kind}: {', '.join(sorted(paths))}")
        remedy = "build the model with the sizes it was saved with"
        if {"optimizer.steps", "optimizer.lr"} <= {*unknown}:
            wrong, remedy = ["it is a Trainer's checkpoint"], "trainer.load(path) reads the file"
        if wrong:
            raise ValueError(f"this state does not fit {type(self).__name__}: {'; '.join(wrong)}; "
                             f"{remedy}")  # fmt: skip
        found = [
            (part, devices.to_device(state[path], part.device))
            for path, part in mine.items()
            if path in state
        ]
        for part, array in found:
            part.data = array.astype(part.dtype, copy=True)
        return missing, unknown

    def apply(self, f: Callable[["Module"], Any]) -> Self:
        """Call f(module) for this module and all inside it, each once, as `modules` lists them.

        Return this module.  PyTorch's comes to the inner ones first.
        """
        for module in dict.fromkeys(module for _, module in self.modules()):
            f(module)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set this module and all inside it to training (or, with False, evaluation); return it."""
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set this module and all inside it to evaluation; return it."""
        return self.train(False)

    def to(self, device: str | None = None, dtype: Any = None) -> Self:
        """Move all parameters and buffers to `device`, convert floats to `dtype`; give the module.

        Gradients are forgotten.  device: "cpu", "cuda", or None, which moves nothing; dtype: what
        NumPy takes for one, or None, which converts nothing.
        """
        for _, part in self.tensors():
            if device is not None:
                part.data = devices.to_device(part.data, device)
            if dtype is not None and part.dtype.kind == "f":
                part.data = part.data.astype(dtype)
            part.grad = None
        return self

    def extra(self) -> str:
        """What `repr` shows between the brackets."""
        return ""

    def __repr__(self) -> str:
        return _shown(self, (), set())


_PYTORCHS = ("num_batches_tracked", "in_proj_weight", "in_proj_bias", "out_proj.weight")


def _refuse_pytorchs(module, state, mine):
    """Raise ValueError if `state` is PyTorch's, by its values or by names that only PyTorch has."""
    if not hasattr(state, "items"):
        raise TypeError("load_state_dict: expected a dict path -> array, as from state_dict(), got "
                        f"a {type(state).__name__}; of a file it is minidl.io.load(path)[0]"
                        )  # fmt: skip
    for path, value in state.items():
        top = {kind.__module__.partition(".")[0] for kind in type(value).__mro__}
        if "torch" in top or (path not in mine and str(path).endswith(_PYTORCHS)):
            raise ValueError(
                f"this state for {type(module).__name__} is PyTorch's, as {path!r} shows; there, "
                "arrays lie and are called otherwise: minidl.pytorch.from_torch(model, state)"
            )


def _misfits(path, array, part):
    """What is wrong with `array` as the next value of the tensor `part`: one sentence, or none."""
    if not devices.is_array(array):
        yield f"{path} is a {type(array).__name__}, not an array"
    elif array.shape != part.shape:
        turned = " (turned, as by PyTorch: minidl.pytorch.from_torch)"
        hint = turned if array.shape == part.shape[::-1] else ""
        yield f"{path} has shape {array.shape} where the model has {part.shape}{hint}"
    elif not np.can_cast(array.dtype, part.dtype, "same_kind"):
        yield f"{path} has numbers of type {array.dtype}, not {part.dtype}"


# ---- the walk over modules.  It begins anew at each call, because a list or a dict that holds
# parts can change without the module's knowing; so it is written to be quick.


# Kinds of containers in which parts have no name, each with what one of them holds.
_HIDING = {
    set: iter,
    frozenset: iter,
    deque: iter,
    SimpleNamespace: lambda value: vars(value).values(),
    partial: lambda value: (value.func, *value.args, *value.keywords.values()),
    np.ndarray: lambda value: value.flat if value.dtype.hasobject else (),
}


def _named(path, value, above=()):
    """Pairs (path, part) of the tensors and modules that `value` is, or holds.

    above: the containers on the way here; one that holds itself is not entered again.
    """
    if isinstance(value, (Tensor, Module)):
        return [(path, value)]
    _refuse_hidden(path, value)
    if not isinstance(value, (Mapping, list, tuple)) or any(value is x for x in above):
        return []
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    found = []
    for key, part in items:
        inside = _named(f"{path}.{key}", part, (*above, value))
        if inside:
            _check_key(path, key)
        found += inside
    names = Counter(name for name, _ in found)
    if len(names) < len(found):
        raise ValueError(f"two parts are named {max(names, key=names.get)!r}; rename one")
    return found


def _refuse_hidden(path, value):
    """Raise TypeError if `value` is a container in which parts have no name, and has some."""
    for kind, inside in _HIDING.items():
        if isinstance(value, kind) and any(
            isinstance(part, (Tensor, Module)) for part in inside(value)
        ):
            raise TypeError(
                f"{path}, a {type(value).__name__}, holds modules or tensors that would not be "
                "saved, moved or trained; keep them in a list, tuple or dict"
            )
    if isinstance(value, (GeneratorType, map, filter, zip)):
        raise TypeError(
            f"{path} is a {type(value).__name__}, in which no module would be found; make a list "
            "of it"
        )


def _refuse_untrained(where, value):
    """Raise TypeError for a leaf that wants a gradient, or some in a list or dict, that would be
    no Parameter.
    """
    held = [value]
    if isinstance(value, (list, tuple)):
        held = value
    elif isinstance(value, dict):
        held = value.values()
    for part in held:
        if type(part) is Tensor and part.requires_grad and part.op is None:
            raise TypeError(
                f"{where}: a Tensor with requires_grad is no Parameter, and would not be trained: "
                "write nn.Parameter(...); what is not to be trained has no requires_grad"
            )


def _check_key(path, key):
    """Raise ValueError unless `key` is a clear name for a part of `path`."""
    if not isinstance(key, (str, int, np.integer)) or str(key) == "" or "." in str(key):
        raise ValueError(
            f"{path}: {key!r} cannot name a part; what holds modules or tensors needs strings "
            "without a dot, or numbers, as keys"
        )


def _inside(parts, above, rings):
    """Those of the pairs (name, part) that are modules which a walk enters.

    above: the ids of the modules on the way here, the one with these parts last.  rings: the ids of
    those that hold one another (a.b = b, b.a = a); they are entered once, or the ways round would
    have no end.
    """
    for name, part in parts:
        if isinstance(part, Tensor):
            continue
        if id(part) in above:
            rings.update(above[above.index(id(part)) :])
        elif id(part) not in rings:
            yield name, part


def _walk(prefix, module, above, rings):
    """Triples (prefix, module, its parts) of `module` and all inside it, depth first.

    prefix: what stands before the names of its parts, "" or "path.".  The rest as in `_inside`.
    """
    parts = module.parts()
    found = [(prefix, module, parts)]
    above = (*above, id(module))
    for name, part in _inside(parts, above, rings):
        found += _walk(f"{prefix}{name}.", part, above, rings)
    return found


def _shown(module, above, rings):
    """What `repr` shows, with the modules inside indented."""
    above = (*above, id(module))
    inner = ""
    for name, part in _inside(module.parts(), above, rings):
        own = type(part).__repr__ is not Module.__repr__
        text = repr(part) if own else _shown(part, above, rings)
        inner += f"\n({name}): {text}"
    if inner:
        inner = inner.replace("\n", "\n  ") + "\n"
    return f"{type(module).__name__}({module.extra()}{inner})"


# ---- what is made of modules


class Sequential(Module):
    """Modules one after the other: the output of each is the input of the next.

    As a list: `net[0]` is the first, `net[-1]` the last, `net[1:3]` a Sequential of two, which it
    shares; `len(net)` says how many; `net[1] = ...`, `del net[1]`, append and insert change it.
    """

    def __init__(self, *modules: Module) -> None:
        self._hold(modules)

    def _hold(self, modules):
        """Have these modules, and no others, under their numbers."""
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                raise TypeError(f"Sequential: part {i} is {module!r:.80}, expected a Module; of a "
                                "list of them, Sequential(*modules)")  # fmt: skip
        for name in [name for name in vars(self) if name.isdigit()]:
            delattr(self, name)
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return Sequential(*list(self)[i])
        return list(self)[i]

    def __setitem__(self, i: Any, module: Any) -> None:
        modules = list(self)
        modules[i] = module
        self._hold(modules)

    def __delitem__(self, i: Any) -> None:
        modules = list(self)
        del modules[i]
        self._hold(modules)

    def append(self, module: Module) -> None:
        """Add a module at the end."""
        self[len(self) :] = [module]

    def insert(self, i: int, module: Module) -> None:
        """Add a module before the one at place i."""
        self[i:i] = [module]

    def __iter__(self) -> Iterator[Module]:
        return (part for name, part in self.parts() if name.isdigit())

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


_evaluated = Counter()  # id of a module -> how many are inside `evaluating` with it
_own_mode = {}  # id of a module -> its mode when the first of them came
_trained = {}  # id of a module -> the thread that is inside `training` with it
_modes_lock = Lock()


def _trained_elsewhere(modules):
    """Whether another thread is inside `training` with one of the modules."""
    return any(_trained.get(id(module), get_ident()) != get_ident() for module in modules)


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """A context in which `model` and all in it are in evaluation; then each has its own mode again.

    Several threads may be inside at once, with one model or with parts of it: modes come back when
    the last one leaves.  Calls of `train` and `eval` inside have no lasting effect.
    Raises RuntimeError while another thread trains the model with `fit`.
    """
    modules = {id(module): module for _, module in model.modules()}.values()  # each once
    with _modes_lock:
        if _trained_elsewhere(modules):
            raise RuntimeError(
                "another thread trains this model, so it cannot be in evaluation now: use a copy "
                "(copy.deepcopy(model)), or wait for `fit` to end"
            )
        for module in modules:
            _own_mode.setdefault(id(module), module.training)
            _evaluated[id(module)] += 1
            module.training = False
    try:
        yield
    finally:
        with _modes_lock:
            for module in modules:
                _evaluated[id(module)] -= 1
                if not _evaluated[id(module)]:
                    del _evaluated[id(module)]
                    module.training = _own_mode.pop(id(module))


@contextmanager
def training(model: Module) -> Iterator[None]:
    """A context in which this thread, and no other, trains or evaluates `model`.

    Another thread that asks for `evaluating` or `training` meanwhile gets a RuntimeError.  So does
    this one, at the beginning, if another is inside one of the two already.
    """
    modules = {id(module): module for _, module in model.modules()}.values()  # each once
    with _modes_lock:
        if _trained_elsewhere(modules) or any(id(module) in _evaluated for module in modules):
            raise RuntimeError(
                "another thread evaluates or trains this model: train a copy "
                "(copy.deepcopy(model)), or wait until it has done"
            )
        mine = [module for module in modules if id(module) not in _trained]
        _trained.update((id(module), get_ident()) for module in mine)
    try:
        yield
    finally:
        with _modes_lock:
            for module in mine:
                del _trained[id(module)]


@contextmanager
def watched(
    model: Module, around: Callable[[str, Module, Callable[[], Any]], Any]
) -> Iterator[None]:
    """A context in which a call of a module of `model` gives what around(path, module, run) gives.

    run() calls the module and gives its output, so `around` can do something before and after.
    Calls by other threads go on as ever.
    """
    paths = {module: path for path, module in reversed(model.modules())}  # the first path wins

    def watcher(module, run):
        return around(paths[module], module, run) if module in paths else run()

    _watchers.around.append(watcher)
    try:
        yield
    finally:
        _watchers.around.remove(watcher)


def as_tensor(x: Any) -> Tensor:
    """x itself if it is a Tensor, else a Tensor made of it."""
    return x if isinstance(x, Tensor) else tensor(x)


def summary(model: Module, *inputs: Any) -> str:
    """A table, as text: each part of `model`, its output's shape, its number of parameters.

    inputs: arrays or Tensors; the model runs once on them, in evaluation, with nothing recorded.
    """
    rows = [["part", "kind", "output", "parameters"]]

    def around(path, module, run):
        own = {part for _, part in module.parts() if isinstance(part, Parameter)}
        row = [path or "(all)", type(module).__name__, "", f"{sum(p.size for p in own):,}"]
        rows.append(row)
        y = run()
        row[2] = str(getattr(y, "shape", "-"))
        return y

    with evaluating(model), watched(model, around), intercept.no_grad():
        model(*map(as_tensor, inputs))
    a, b, c, d = (max(map(len, column)) for column in zip(*rows))
    lines = [f"{part:{a}}  {kind:{b}}  {y:{c}}  {n:>{d}}" for part, kind, y, n in rows]
    return "\n".join([*lines, f"{sum(p.size for p in model.parameters()):,} parameters in all"])


# ---- a module that runs twice, so that what is inside it need not be kept

_RANDOM = {"bernoulli", "normal"}  # operations that give something else the next time


@contextmanager
def _buffers_kept(module):
    """A context after which the buffers of `module` have the values from before."""
    buffers = [(b, b.data) for _, b in module.tensors() if not isinstance(b, Parameter)]
    try:
        yield
    finally:
        for b, data in buffers:
            b.data = data


def checkpoint(module: Module, *inputs: Any) -> Tensor:
    """module(*inputs), one Tensor; nothing inside is kept, and `backward` runs the module again.

    It costs the time of one more run and saves the memory of what is inside (Chen et al. 2016).
    Values and gradients are the same to the bit (those of a weight that is used many times: to
    rounding), and gradients have gradients: what was drawn is kept, such as dropout's masks, and
    running statistics move once.  Raises TypeError if the module gives something other than a
    Tensor.
    """
    draws, waiting = [], []  # those of the first run; those that the next is still to be given

    def handler(op, given, attrs):
        if op.name in _RANDOM and waiting:
            return waiting.pop()
        y = outer(op, given, attrs) if outer else op(*given, **attrs)
        if op.name in _RANDOM:
            draws.append(y)
        return y

    def shares(g, *_):
        leaves = [Tensor(x.data, requires_grad=x.requires_grad) for x in inputs]
        waiting[:] = reversed(draws)
        with _buffers_kept(module), remembering(True), intercepted(handler):
            z = module(*leaves)  # recorded, although the walk that called this may not be
        wanted = [x for x in (*leaves, *module.parameters()) if x.requires_grad]
        if not isinstance(g, Tensor):
            return [share.data for share in grad(z, wanted, g)]
        found = grad(z, wanted, g, create_graph=True)
        for leaf, x in zip(leaves, inputs):  # tied only now, or this walk would have gone on below
            leaf.op = intercept.primitives["reshape"]
            leaf.inputs = (x,)
            leaf.attrs = {"shape": x.shape}
        return found

    inputs = [as_tensor(x) for x in inputs]
    with intercept.no_grad(), intercepted(handler) as outer:  # outer: of `autocast`, for example
        y = module(*inputs)
    if not isinstance(y, Tensor):
        raise TypeError(f"checkpoint: expected a Tensor from {module!r}, got {type(y).__name__}")
    y = Tensor(y.data)  # a module may give its input back
    asked = [x for x in (*inputs, *module.parameters()) if x.requires_grad]
    if asked and modes.recording:
        y.op = Primitive(checkpoint)
        y.op.gradient(shares)
        y.inputs, y.attrs, y.requires_grad = tuple(asked), {}, True
    return y
