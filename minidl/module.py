"""Modules: what layers and models have in common, and what walks over them.

The one rule of this file: a module's attributes are its registry.  Whatever attribute is a
Parameter, another Tensor (a buffer: saved, not trained) or a Module belongs to the module, and so
does what lists, tuples and dicts hold of these, however deep; `state_dict` names it by the path to
it, and saving, moving and optimising ask no more.

Explained in course/09 and course/22 (checkpoint).
"""

import sys
from collections import deque
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock, local
from types import CodeType, FunctionType, GeneratorType, MappingProxyType, MethodType, ModuleType

import numpy as np

from . import backend
from .seams import intercepted
from .tensor import Leaf, Primitive, Tensor, grad, primitives, tensor


class _Watchers(local):
    """What `watched` puts around each call of a module, in this thread."""

    def __init__(self):
        self.around = []


_watchers = _Watchers()


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
        for watcher in _watchers.around:
            run = partial(watcher, self, run)
        return run()

    def forward(self, *inputs, **options):
        """The output for `inputs`; each subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define one")

    def parts(self):
        """Pairs (name, part) of the tensors and modules among the attributes; lists, tuples and
        dicts are entered, however deep: `blocks.0.first`.

        Raises ValueError for a key that gives no clear name: one that is neither a string nor a
        whole number, one with a dot, or 0 beside "0".
        """
        found, names = [*_entered((), vars(self))], set()
        if isinstance(self, _DICTS + _LISTS):
            found += _entered((), self)
        for keys, part in found:
            for key in keys:
                if not isinstance(key, (str, int, np.integer)) or str(key) == "" or "." in str(key):
                    raise ValueError(
                        f"{type(self).__name__}.{keys[0]}: {key!r} cannot name a part; what holds "
                        "modules or tensors needs strings without a dot, or numbers, as keys"
                    )
            name = ".".join(map(str, keys))
            if name in names:
                raise ValueError(f"{type(self).__name__}: two parts are named {name!r}; rename one")
            names.add(name)
            yield name, part

    def modules(self):
        """Pairs (path, module): this module, then all inside it, depth first.

        A shared module has several paths; one that refers back to what holds it, only the first.
        Raises TypeError, naming the attribute, where modules or parameters are in what cannot be
        entered: a set, a generator, an object that is no Module, a class.  Functions may refer to
        any: what they use is not the module's.
        """
        found = list(_walk(self, "", [], set()))
        _refuse_hidden([module for _, module in found])
        yield from found

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
            if not backend.is_array(array):
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
        arrays = {path: backend.to_device(state[path], part.device) for path, part in mine.items()}
        for path, part in mine.items():
            part.data = arrays[path].astype(part.dtype, copy=True)

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
        return _shown(self, [], set())


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

_DICTS, _LISTS = (dict, MappingProxyType), (list, tuple)  # what is entered
_BAGS = (set, frozenset, deque, type({}.keys()), type({}.values()), type({}.items()))  # no places
_ONCE = (GeneratorType, map, filter, zip)  # what is empty once it is read
_PLAIN = (str, bytes, int, float, complex, type(None), type, ModuleType, CodeType, np.generic)


def _entered(keys, holder, above=()):
    """Pairs (keys, part) of the tensors and modules in a dict, list or tuple, however deep."""
    items = [*holder.items()] if isinstance(holder, _DICTS) else enumerate(holder)
    for key, value in items:
        if isinstance(value, (Tensor, Module)):
            yield (*keys, key), value
        elif isinstance(value, _DICTS + _LISTS) and not any(value is x for x in above):
            yield from _entered((*keys, key), value, (*above, value))


def _below(module, above, knots):
    """Pairs (name, part) of the modules in `module` that a walk enters.

    above: the modules on the way here.  knots: ids of those that refer back to one above; they are
    entered once, or their ways round each other would have no end.
    """
    for name, part in module.parts():
        if not isinstance(part, Module):
            continue
        places = [i for i, other in enumerate(above) if other is part]
        if places:
            knots.update(map(id, above[places[0] :]))
        elif id(part) not in knots:
            yield name, part


def _walk(module, path, above, knots):
    yield path, module
    above.append(module)
    for name, part in _below(module, above, knots):
        yield from _walk(part, f"{path}.{name}" if path else name, above, knots)
    above.pop()


def _shown(module, above, knots):
    """What `repr` shows, with the modules inside indented."""
    above.append(module)
    inner = []
    for name, part in _below(module, above, knots):
        own = type(part).__repr__ is not Module.__repr__
        inner.append(f"({name}): {repr(part) if own else _shown(part, above, knots)}")
    above.pop()
    lines = "\n".join(inner).replace("\n", "\n  ")
    return f"{type(module).__name__}({module.extra()}" + (f"\n  {lines}\n)" if inner else ")")


def held(values, depth=4, *, functions=False):
    """All Modules and Parameters that `values` hold, those inside these Modules left out.

    Containers of all kinds are searched, objects one in the other `depth` deep; with `functions`,
    also what functions refer to, and minidl's own objects, such as a Trainer.
    """
    waiting, seen = deque((x, depth) for x in values), {}
    while waiting:
        x, depth = waiting.popleft()
        if isinstance(x, _PLAIN) or id(x) in seen:
            continue
        seen[id(x)] = x  # also keeps it, so that no other gets its id
        if isinstance(x, (Module, Parameter)):
            yield x
        elif isinstance(x, _DICTS):
            waiting.extend((y, depth) for y in (*x, *x.values()))
        elif isinstance(x, _LISTS + _BAGS):
            waiting.extend((y, depth) for y in [*x])
        elif depth and (functions or not _is_minidls(x)):
            waiting.extend((y, depth - 1) for y in _inside(x, functions))


def _is_minidls(x):
    return type(x).__module__.startswith("minidl.")


def _inside(x, functions):
    """What an object that is no container refers to."""
    if isinstance(x, FunctionType):
        return _used(x) if functions else []
    if isinstance(x, partial):
        return [x.func, *x.args, *x.keywords.values()]
    if isinstance(x, MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, np.ndarray):
        return [*x.reshape(-1)] if x.dtype.kind == "O" else []
    slots = [vars(kind).get("__slots__", ()) for kind in type(x).__mro__]
    slots = [name for names in slots for name in ([names] if isinstance(names, str) else names)]
    return [*getattr(x, "__dict__", {}).values(), *(getattr(x, name, None) for name in slots)]


def _used(function):
    """What a function refers to: defaults, variables from around it, globals that it names."""
    top = (function.__module__ or "").partition(".")[0]
    if top in sys.stdlib_module_names - {"__main__"} or top in ("minidl", "numpy"):
        return []
    found = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it has no value yet
            found.append(cell.cell_contents)
    codes = [function.__code__]
    for code in codes:
        names = [name for name in code.co_names if name in function.__globals__]
        found += [function.__globals__[name] for name in names]
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
    return [*found, *vars(function).values()]


def _attributes(module):
    """Triples (kind, name, value) of what may hold modules: attributes, also of the classes."""
    for name, value in vars(module).items():
        if not isinstance(value, (*_PLAIN, Tensor, Module, FunctionType)):
            yield module, name, value
    for kind in type(module).__mro__:
        if kind.__module__.startswith("minidl.") or kind is object:
            continue
        for name, value in vars(kind).items():
            if not isinstance(value, (*_PLAIN, FunctionType)) and name[:2] != "__":
                yield kind, name, value


def _refuse_hidden(modules):
    """Raise TypeError if an attribute of `modules` holds a module or parameter that is not among
    these or theirs.
    """
    known = {id(module) for module in modules}
    parameters = None
    for module in modules:
        for _, name, value in _attributes(module):
            place = f"{type(module).__name__}.{name}"
            if isinstance(value, _ONCE):
                raise TypeError(f"{place} is a {type(value).__name__}, in which no module would be "
                                "found; make a list of it")  # fmt: skip
            for x in held([value]):
                if isinstance(x, Parameter) and parameters is None:
                    parameters = {id(part) for m in modules for _, part in m.parts()}
                if id(x) not in known and (isinstance(x, Module) or id(x) not in parameters):
                    raise TypeError(f"{place}, a {type(value).__name__}, holds a "
                                    f"{type(x).__name__} that would not be saved, moved or "
                                    "trained; keep it as an attribute, or in a list, tuple or dict "
                                    "that is one, set in __init__")  # fmt: skip


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
_evaluated_lock = Lock()


@contextmanager
def evaluating(model):
    """Inside, `model` and all in it are in evaluation; afterwards each has its own mode again.

    Several threads may be inside at once, with one model or with parts of it: modes come back with
    the last that leaves.  To change modes (`train`, `eval`) inside has no lasting effect.
    """
    modules = list({id(module): module for _, module in model.modules()}.values())
    with _evaluated_lock:
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

    with evaluating(model), watched(model, around), backend.no_grad():
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
