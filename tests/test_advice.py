"""Advice for those who come from elsewhere: every name of PyTorch and Keras has an answer, and no
answer lies: the code in it is run.
"""

import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import advice, data, nn, optim, train
from minidl.nn import functional as F

LISTS = Path(__file__).parent / "names"

# A list of names -> where people type them here: the place in NAMES, and the object.
WHERE = {
    "torch": ("minidl", minidl),
    "torch.Tensor": ("Tensor", minidl.tensor([1.0])),
    "torch.nn": ("nn", nn),
    "keras.layers": ("nn", nn),
    "torch.nn.functional": ("nn.functional", F),
    "keras.losses": ("nn.functional", F),
    "torch.optim": ("optim", optim),
    "keras.optimizers": ("optim", optim),
    "torch.nn.Module": ("Module", nn.Linear(2, 2)),
    "keras.callbacks": ("train", train),
    "keras.metrics": ("train", train),
}
OBJECTS = dict(WHERE.values())
OBJECTS |= {"data": data, "Optimizer": optim.SGD(nn.Linear(2, 2).parameters())}


def trainer():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    return train.Trainer(model, optim.Adam(model.parameters()), loss=F.cross_entropy)


OBJECTS["Trainer"] = trainer()


def test_there_is_an_object_for_every_place():
    assert set(OBJECTS) == set(advice.NAMES) | {"nn.functional"}


def answer(thing, name):
    """What is wrong with the answer that `thing` gives to one who asks for `name`, or None."""
    try:
        getattr(thing, name)
    except AttributeError as error:
        text = str(error)
        start = f"has no attribute {name!r}: "
        if start not in text or not ("`" in text or advice.PAGE in text or " " in text):
            return text
        return None
    return None if name in dir(thing) else "it is there, but dir does not list it"


@pytest.mark.parametrize("key", WHERE)
def test_every_name_exists_or_its_error_says_what_does(key):
    thing = WHERE[key][1]
    names = (LISTS / f"{key}.txt").read_text().split()
    assert len(names) > 15
    assert not {name: wrong for name in names if (wrong := answer(thing, name)) is not None}


@pytest.mark.parametrize("where", advice.NAMES)
def test_no_line_is_about_a_name_that_is_there(where):
    lines = advice._lines[where]
    assert not set(lines) & set(dir(OBJECTS[where]))
    if where == "nn":
        assert not [name for name in lines if name in vars(F) and name not in vars(nn)]


@pytest.mark.parametrize("where", [*advice.NAMES, None])
def test_no_name_has_two_lines(where):
    text = advice.KEYWORDS if where is None else advice.NAMES[where]
    names = re.findall(r"^(?!#)(\S[^:]*(?:\n    [^:]*)*?):\s", text, re.MULTILINE)
    names = " ".join(names).split()
    assert len(names) > 5
    assert not {name for name in names if names.count(name) > 1}


def test_there_are_many_lines():
    assert sum(map(len, advice._lines.values())) > 900


# --- the code in the lines -----------------------------------------------------------------


def world(tmp_path):
    """The names that the code in the lines uses."""
    rng = np.random.default_rng(0)

    def uniform(*shape):
        return minidl.tensor(rng.uniform(0.1, 0.9, shape).astype("float32"))

    us = trainer()
    weights = uniform(5).data
    rows, classes = rng.normal(size=(4, 3)).astype("float32"), np.array([0, 4, 2, 1])
    w = minidl.tensor(rng.normal(size=(2, 3)), dtype="float32", requires_grad=True)
    h = w * w
    us.train_step((rows, classes))
    there = {
        "np": np, "minidl": minidl, "nn": nn, "optim": optim, "data": data, "train": train,
        "x": uniform(2, 3), "y": uniform(2, 3), "z": uniform(2, 3), "t": uniform(2, 3),
        "u": uniform(3), "v": uniform(3), "a": uniform(2, 3), "b": uniform(3, 2),
        "c": uniform(2, 2), "batch": uniform(4, 2, 3), "images": uniform(4, 3, 8, 8),
        "ids": minidl.tensor([1, 0]), "tokens": minidl.tensor([[1, 0, 4], [2, 2, 9]]),
        "logits": uniform(4, 5), "labels": minidl.tensor([1, 0, 4, 2]), "lengths": [1, 2, 2, 1],
        "mask": minidl.tensor(rng.random((2, 3)) > 0.5), "array": uniform(2, 3).data,
        "words": ["a", "b", "a"], "weights": weights, "weight": uniform(10, 3), "rng": rng,
        "w": w, "h": h, "loss": h.sum(), "p": us.model.parameters()[0], "rows": rows,
        "classes": classes, "dataset": data.ArrayDataset(rows, classes), "model": us.model,
        "optimizer": us.optimizer, "trainer": us, "module": nn.LayerNorm(3),
        "around": lambda path, module, run: run(), "step": lambda x: x + 1,
        "log_p": F.log_softmax(uniform(4, 5)), "state": us.model.state_dict(),
        "q": F.softmax(uniform(4, 5)), "before": minidl.engine.random.random_state(),
    }  # fmt: skip
    minidl.io.save(tmp_path / "weights.safetensors", us.model.state_dict())
    return there


def pieces(text):
    """(name, code) of all that stands between backticks in a text of lines."""
    for name, line in advice._spread(text).items():
        for code in re.findall(r"`([^`]*)`", line.replace("NAME", name)):
            yield f"{name}: {code}", code


def fault(code, there):
    """What is wrong with a piece of code, or None."""
    try:
        exec(code, there)
    except RuntimeError as error:
        if '"cuda"' in code and "device 'cuda' cannot be used" in str(error):
            return None  # as it should be, where there is no GPU
        return repr(error)
    except Exception as error:
        return repr(error)
    return None


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("place", [*advice.NAMES, "keywords"])
def test_the_code_in_the_lines_runs(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = list(pieces(advice.NAMES.get(place, advice.KEYWORDS)))
    assert found
    wrong = {name: fault(code, world(tmp_path)) for name, code in found}
    assert not {name: text for name, text in wrong.items() if text is not None}
