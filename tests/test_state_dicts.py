"""docs/state_dicts.md: its table carries the weights of every layer to PyTorch and back."""

import importlib
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn, tensor
from minidl.engine import intercept, random
from minidl.nn import Module
from minidl.pytorch import from_torch, to_torch

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "state_dicts.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CONTAINERS = {"Module", "Sequential", "Recurrent"}  # Recurrent: the base of three
THIRDS = {"first third": 0, "second third": 1, "last third": 2}


def read_table():
    """Layer -> its rows: name here, shape here, name there, shape there, conversion; and layer ->
    the names of PyTorch's."""
    found, theirs, layers = {}, {}, []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 7 or cells[0] in ("minidl", "---"):
            continue
        if cells[0]:
            layers, names = cells[0].split(", "), cells[1].split(", ")
            theirs |= zip(layers, [[name] for name in names] if len(layers) > 1 else [names])
        for layer in layers:
            found.setdefault(layer, []).append(cells[2:])
    return found, theirs


TABLE, THEIRS = read_table()
BARE = re.search(r"Without parameters: (.*)\.", PAGE)[1].split(", ")
ALONE = re.search(r"Only here, .*: (.*)\.", PAGE)[1].split(", ")


def layers():
    """All layers of the package, by name."""
    package = Path(minidl.__file__).parent
    for path in sorted(package.rglob("*.py")):
        if re.search(r"^class \w+\(\w*(Module|Sequential)", path.read_text("utf-8"), re.MULTILINE):
            place = path.relative_to(package).with_suffix("").parts
            importlib.import_module(".".join(["minidl", *place]))
    found, new = {}, [Module]
    while new:
        kind = new.pop()
        new += kind.__subclasses__()
        if kind.__module__.startswith("minidl.") and not kind.__name__.startswith("_"):
            found[kind.__name__] = kind
    return found


# ---- what the table says, done


def rows(layer):
    """The rows for `layer`; those of a part in place of its row "as Linear(n_in=width, ...)"."""
    for row in TABLE[layer]:
        part = re.fullmatch(r"as (\w+)\((.*)\)", row[4])
        if not part:
            yield row
            continue
        sizes = dict(size.split("=") for size in part[2].split(", "))
        for here, shape, there, shape_there, conversion in rows(part[1]):
            yield (
                row[0] + here,
                renamed(shape, sizes),
                row[2] + there,
                renamed(shape_there, sizes),
                conversion,
            )


def renamed(shape, sizes):
    """The shape, as text, with other expressions for its letters."""
    return re.sub(r"\w+", lambda letter: sizes.get(letter[0], letter[0]), shape)


def pattern(name):
    """A regular expression for a name of the table, in which {i} and {reverse} are open."""
    name = re.escape(name).replace(r"\{i\}", r"(?P<i>\d+)")
    return re.compile(name.replace(r"\{reverse\}", "(?P<reverse>(_reverse)?)"))


def carried(layer, names):
    """For each of the names here: its row, with the names as they are; a KeyError without one."""
    for name in names:
        for here, shape, there, shape_there, conversion in rows(layer):
            if here and (match := pattern(here).fullmatch(name)):
                yield name, shape, there.format(**match.groupdict()), shape_there, conversion
                break
        else:
            raise KeyError(f"docs/state_dicts.md has no row for {name} of {layer}")


def to_pytorch(layer, state):
    """The state dict there, of NumPy arrays, for `state` here."""
    found = {there: np.asarray(0) for _, _, there, _, how in rows(layer) if how == "only there"}
    for name, _, there, _, how in carried(layer, state):
        array = state[name].T if how.startswith("transposed") else state[name]
        third = how.rpartition(", ")[2]
        below = THIRDS.get(third, 0) > 0  # query, key, value come in this order
        found[there] = np.concatenate([found[there], array]) if below else array
    return found


def from_pytorch(layer, state, names):
    """The state dict here, of these names, for `state` there, of NumPy arrays."""
    found = {}
    for name, _, there, _, how in carried(layer, names):
        array, third = state[there], how.rpartition(", ")[2]
        array = np.split(array, 3)[THIRDS[third]] if third in THIRDS else array
        found[name] = array.T if how.startswith("transposed") else array
    return found


# ---- each layer, with the same one there: name, arguments, PyTorch's arguments, the input's shape

IDS = np.array([[1, 0, 6, 2], [3, 3, 5, 4]])
EXAMPLES = [
    ("Linear", dict(n_in=3, n_out=5), (3, 5), {}, (2, 3)),
    ("Linear", dict(n_in=3, n_out=5, bias=False), (3, 5), dict(bias=False), (2, 4, 3)),
    ("Conv1d", dict(n_in=4, n_out=6, size=(3,)), (4, 6, 3), {}, (2, 4, 9)),
    ("Conv1d", dict(n_in=4, n_out=6, size=(3,), groups=2, stride=2, bias=False),
     (4, 6, 3), dict(groups=2, stride=2, bias=False), (2, 4, 9)),
    ("Conv2d", dict(n_in=4, n_out=6, size=(3, 2)), (4, 6, (3, 2)), {}, (2, 4, 7, 6)),
    ("Conv2d", dict(n_in=4, n_out=6, size=(3, 2), groups=2, padding=1, dilation=2, bias=False),
     (4, 6, (3, 2)), dict(groups=2, padding=1, dilation=2, bias=False), (2, 4, 7, 6)),
    ("ConvTranspose2d", dict(n_in=4, n_out=3, size=(3, 2)), (4, 3, (3, 2)), {}, (2, 4, 5, 4)),
    ("ConvTranspose2d", dict(n_in=4, n_out=3, size=(3, 2), stride=2, output_padding=1, bias=False),
     (4, 3, (3, 2)), dict(stride=2, output_padding=1, bias=False), (2, 4, 5, 4)),
    ("RMSNorm", dict(n=4), (4,), dict(eps=1e-5), (2, 3, 4)),
    ("LayerNorm", dict(n=4), (4,), {}, (2, 3, 4)),
    ("GroupNorm", dict(groups=2, n=6), (2, 6), {}, (2, 6, 3, 5)),
    ("BatchNorm", dict(n=4), (4,), {}, (5, 4)),
    ("BatchNorm", dict(n=4), (4,), {}, (5, 4, 3, 2)),
    ("BatchNorm", dict(n=4), (4,), {}, (5, 4, 3, 2, 2)),
    ("Embedding", dict(n=7, width=3), (7, 3), {}, IDS),
    *((kind, dict(n_in=3, n_hidden=4, n_layers=n_layers, bidirectional=both), (3, 4, n_layers),
       dict(bidirectional=both, batch_first=True), (2, 5, 3))
      for kind in ("RNN", "LSTM", "GRU") for n_layers in (1, 3) for both in (False, True)),
    *(("MultiHeadAttention", dict(width=6, heads=2, bias=bias), (6, 2),
       dict(bias=bias, batch_first=True), (2, 5, 6)) for bias in (True, False)),
    ("TransformerBlock", dict(width=6, heads=2), (6, 2, 24),
     dict(dropout=0.0, norm_first=True, batch_first=True), (2, 5, 6)),
    ("GPT", sizes := dict(n_tokens=7, context=6, width=8, heads=2, layers=2), (), sizes, IDS),
]  # fmt: skip
NAMES = [" ".join([name, *(f"{k}={v}" for k, v in kw.items())]) for name, kw, *_ in EXAMPLES]


def make(name, options):
    """The layer of minidl, its parameters and buffers drawn anew so that none is 0 or 1."""
    layer = layers()[name](**options)
    for _, part in layer.tensors():
        draws = random.generator().random(part.shape, dtype=np.float32)
        part.data = draws - 0.5 if isinstance(part, nn.Parameter) else draws + 0.5
    return layer.eval()


def on_the_host(layer):
    """Its state dict, of NumPy arrays, wherever it is."""
    return {path: t.numpy() for path, t in layer.tensors()}


def make_theirs(torch, name, arguments, options, x):
    """PyTorch's layer as the table names it; of three for BatchNorm, the one for x's axes."""
    if name == "GPT":
        exec(PYTHON[1], namespace := {})
        return namespace["GPT"](**options).eval()
    if name == "TransformerBlock":
        gelu = partial(torch.nn.functional.gelu, approximate="tanh")
        options = options | {"activation": gelu}
    several = THEIRS[name]
    kind = several[max(0, x.ndim - 3)] if len(several) > 1 else several[0]
    return getattr(torch.nn, kind)(*arguments, **options).eval()


def outputs(torch, name, ours, theirs, x):
    """What both give for x, as lists of NumPy arrays; a recurrent layer's last states too."""
    with intercept.no_grad(), torch.no_grad():
        here = tensor(x, device=ours.parameters()[0].device)
        y = ours(here, causal=True) if name == "TransformerBlock" else ours(here)
        u = torch.tensor(x)
        if name == "MultiHeadAttention":
            z = theirs(u, u, u, need_weights=False)[0]
        elif name == "TransformerBlock":
            mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            z = theirs(u, src_mask=mask, is_causal=True)
        else:
            z = theirs(u)

    def flat(a):
        return [b for part in a for b in flat(part)] if isinstance(a, tuple) else [a.numpy()]

    return flat(y), flat(z)


def same_arrays(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_the_table_carries_a_layer_there_and_back(example, torch, device):
    name, options, arguments, theirs_options, shape = example
    x = shape if name in ("Embedding", "GPT") else np.random.default_rng(0).random(shape, "f")
    ours, other = (make(name, options).to(device) for _ in range(2))
    theirs = make_theirs(torch, name, arguments, theirs_options, x)
    before = outputs(torch, name, ours, theirs, x)
    assert not np.allclose(before[0][0], before[1][0], atol=1e-3), "the weights differ at first"

    there = to_pytorch(name, on_the_host(ours))
    same_arrays(to_torch(ours), there)
    theirs.load_state_dict({k: torch.tensor(a) for k, a in there.items()})  # all names, no others
    for a, b in zip(*outputs(torch, name, ours, theirs, x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    state = {k: a.numpy() for k, a in theirs.state_dict().items()}
    other.load_state_dict(from_pytorch(name, state, other.state_dict()))
    same_arrays(on_the_host(from_torch(make(name, options).to(device), state)), on_the_host(other))
    for path, array in on_the_host(ours).items():
        np.testing.assert_array_equal(on_the_host(other)[path], array)


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_a_layer_goes_to_a_device_and_back_to_the_bit(example, device):
    name, options, *_ = example
    first, there, back = make(name, options), make(name, options).to(device), make(name, options)
    there.load_state_dict(first.state_dict())
    back.load_state_dict(there.state_dict())
    assert {t.device for _, t in there.tensors()} == {device}
    for path, t in first.tensors():
        np.testing.assert_array_equal(on_the_host(back)[path], t.numpy(), strict=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=NAMES)
def test_the_table_has_the_shapes(example):
    name, options, *_ = example
    state = make(name, options).state_dict()
    gates = getattr(layers()[name], "gates", None)
    letters = {"groups": 1, "gates": gates, "directions": 1 + options.get("bidirectional", False)}
    letters |= options
    there = to_pytorch(name, state)
    for path, shape, name_there, shape_there, _ in carried(name, state):
        assert state[path].shape == eval(shape, {}, letters), path
        assert there[name_there].shape == eval(shape_there, {}, letters), path


# ---- the page is whole


def test_every_layer_has_its_place_in_the_page():
    unknown = layers().keys() - TABLE.keys() - {*BARE, *ALONE} - CONTAINERS
    assert not unknown, f"docs/state_dicts.md says nothing of {sorted(unknown)}"
    assert TABLE.keys() | {*BARE, *ALONE} <= layers().keys()
    assert {name for name, *_ in EXAMPLES} == TABLE.keys(), "a layer of the table is not tried"


def test_every_row_is_used():
    used = set()
    for name, options, *_ in EXAMPLES:
        used |= {(name, *row) for row in rows(name) for path in make(name, options).state_dict()
                 if not row[0] or pattern(row[0]).fullmatch(path)}  # fmt: skip
    assert not [row for name in TABLE for row in rows(name) if (name, *row) not in used]


@pytest.mark.parametrize("name", BARE)
def test_layers_said_to_be_bare_have_no_parameters(name):
    layer = layers()[name](2) if "Pool2d" in name and "Global" not in name else layers()[name]()
    assert layer.state_dict() == {}


def test_a_layer_without_a_row_is_noticed():
    with pytest.raises(KeyError, match="no row for scale of Linear"):
        list(carried("Linear", ["weight", "scale"]))


def test_the_page_carries_a_whole_model(torch):
    exec(PYTHON[0], namespace := {})
    ours, theirs = (namespace[name].eval() for name in ("ours", "theirs"))
    x = np.random.default_rng(0).random((3, 1, 8, 8), "f")
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-6)
    same_arrays(
        to_torch(ours), {name: a.numpy() for name, a in theirs.state_dict().items()}
    )  # fmt: skip
    other = nn.Sequential(*(nn.Linear(144, 5) if i == 4 else part for i, part in enumerate(ours)))
    assert (other[4].weight.numpy() != ours[4].weight.numpy()).any(), "the same before"
    same_arrays(on_the_host(from_torch(other, theirs)), on_the_host(ours))
