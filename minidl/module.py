"""Modules: what layers and models have in common, and what walks over them.

The one rule of this file: a module's attributes are its registry.  Whatever attribute is a
Parameter, another Tensor (a buffer: saved, not trained), a Module, or a list of these belongs to
the module; `state_dict` names it by the path to it, and saving, moving and optimising ask no more.

Explained in course/09.
"""

from . import backend
from .tensor import Tensor, tensor


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

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def forward(self, *inputs, **options):
        """The output for `inputs`; each subclass writes its own."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; define one")

    def parts(self):
        """Pairs (name, part) of the tensors and modules among the attributes, lists entered."""
        for name, value in vars(self).items():
            several = isinstance(value, (list, tuple))
            for i, part in enumerate(value) if several else [(None, value)]:
                if isinstance(part, (Tensor, Module)):
                    yield (f"{name}.{i}" if several else name), part

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
            if isinstance(part, Parameter) and id(part) not in seen:
                seen.add(id(part))
                yield path, part

    def parameters(self):
        """The list of all parameters, each once."""
        return [p for _, p in self.named_parameters()]

    def state_dict(self):
        """A dict path -> array of all parameters and buffers.

        A snapshot: training gives a parameter a new array and leaves the old one as it was.
        """
        return {path: part.data for path, part in self.tensors()}

    def load_state_dict(self, state):
        """Copy the arrays of `state` (path -> array) into the parameters and buffers.

        Raises ValueError, and changes nothing, when paths are missing or unknown or shapes differ.
        """
        mine = dict(self.tensors())
        missing, unknown = mine.keys() - state.keys(), state.keys() - mine.keys()
        wrong = [
            f"{path} has shape {tuple(state[path].shape)} where the model has {part.shape}"
            for path, part in mine.items()
            if path in state and tuple(state[path].shape) != part.shape
        ]
        if missing:
            wrong.append(f"missing: {', '.join(sorted(missing))}")
        if unknown:
            wrong.append(f"unknown: {', '.join(sorted(unknown))}")
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


def summary(model, *inputs):
    """A table, as text: each part of `model`, its output's shape, its number of parameters.

    inputs: what the model takes, as arrays or Tensors; it is run once on them, in evaluation,
    with nothing recorded.
    """
    rows, watched, training = [], [], model.training

    def watch(path, module):
        forward = module.forward

        def watching(*x, **options):
            row = [path or "(all)", type(module).__name__, "", 0]
            rows.append(row)
            y = forward(*x, **options)
            row[2] = str(getattr(y, "shape", "-"))
            row[3] = sum(p.size for name, p in module.named_parameters() if "." not in name)
            return y

        module.forward = watching  # hides the class's method until it is deleted
        watched.append(module)

    for path, module in model.modules():
        if module not in watched:
            watch(path, module)
    try:
        with backend.no_grad():
            model.eval()(*(x if isinstance(x, Tensor) else tensor(x) for x in inputs))
    finally:
        model.train(training)
        for module in watched:
            del module.forward
    rows = [[*row[:3], f"{row[3]:,}"] for row in rows]
    rows.insert(0, ["part", "kind", "output", "parameters"])
    wide = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([*(cell.ljust(n) for cell, n in zip(row[:3], wide)), row[3].rjust(wide[3])])
        for row in rows
    ]
    return "\n".join([*lines, f"{sum(p.size for p in model.parameters()):,} parameters in all"])
