"""Advice for those who come from elsewhere: every name of PyTorch and Keras has an answer, and no
answer lies: the code in it is run.
"""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import advice, data, nn, optim, train
from minidl.nn import functional as F

estimators = pytest.importorskip("minidl.estimators", reason="waits for scikit-learn")

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
OBJECTS |= {
    "nn.init": nn.init,
    "estimators": estimators,
    "data": data,
    "Optimizer": optim.SGD(nn.Linear(2, 2).parameters()),
}


def trainer():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))
    return train.Trainer(model, optim.Adam(model.parameters()), loss=F.cross_entropy)


OBJECTS["Trainer"] = trainer()
OBJECTS["Callback"] = train.Progress()
OBJECTS["ArrayDataset"] = data.ArrayDataset(np.zeros((4, 3)), np.arange(4))
OBJECTS["Subset"] = data.Subset(OBJECTS["ArrayDataset"], [0, 2])


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
    names = (LISTS / f"{key}.txt").read_text(encoding="utf-8").split()
    assert len(names) > 15
    assert not {name: wrong for name in names if (wrong := answer(thing, name)) is not None}


@pytest.mark.parametrize("where", advice.NAMES)
def test_no_line_is_about_a_name_that_is_there(where):
    lines = advice._lines[where]
    assert not set(lines) & set(dir(OBJECTS[where]))
    if where == "nn":
        functions = {name for name, f in vars(F).items() if inspect.isfunction(f)}
        assert not [name for name in lines if name in functions and name not in vars(nn)]


@pytest.mark.parametrize("where", [*advice.NAMES, None])
def test_no_name_has_two_lines(where):
    text = advice.KEYWORDS if where is None else advice.NAMES[where]
    names = re.findall(r"^(?!#)(\S[^:]*(?:\n    [^:]*)*?):\s", text, re.MULTILINE)
    names = " ".join(names).split()
    assert len(names) > 4
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
        "classes": classes, "subset": data.Subset(data.ArrayDataset(rows, classes), [0, 1]),
        "dataset": data.ArrayDataset(rows, classes), "model": us.model,
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


# --- wrong arguments -----------------------------------------------------------------------

# A call -> what its error must say.
CALLS = {
    "nn.Linear(in_features=3, out_features=4)": "write n_in=",
    "nn.Linear(4)": "it is called Linear(n_in, n_out, bias=True)",
    "nn.Linear(3, 4, activation=1)": "`nn.Sequential(nn.Linear(3, 4), nn.ReLU())`",
    "nn.Linear(3, 4, use_bias=False)": "write bias=",
    'nn.Linear(3, 4, device="cuda")': "move it after it was made",
    "nn.Conv2d(3, 8, kernel_size=3)": "write size=",
    "nn.Conv2d(in_channels=3)": "write n_in=",
    "nn.MaxPool2d(2, strides=2)": "write stride=",
    "nn.ReLU(inplace=True)": "leave it out",
    "nn.Dropout(rate=0.5)": "write p=",
    "nn.LeakyReLU(negative_slope=0.1)": "write slope=",
    "nn.LSTM(3, 4, batch_first=True)": "sequences are (N, T, D) always",
    "nn.LSTM(3, hidden_size=4)": "write n_hidden=",
    "nn.GRU(3, 4, num_layers=2)": "write n_layers=",
    "nn.Embedding(num_embeddings=10)": "write n=",
    "nn.Embedding(10, embedding_dim=3)": "write width=",
    "nn.BatchNorm(num_features=3)": "write n=",
    "nn.LayerNorm(normalized_shape=3)": "write n=",
    "nn.MultiHeadAttention(8, num_heads=2)": "write heads=",
    "F.softmax(x, dim=1)": "write axis=",
    "F.log_softmax(x, dim=1)": "write axis=",
    "F.mse(x, y, size_average=False)": 'write reduction="sum"',
    "F.cross_entropy(logits, labels, label_smoothing=0.1)": "write smoothing=",
    "F.cross_entropy(logits, labels, weight=weights)": "class_weight",
    "F.huber(x, y, beta=1.0)": "write delta=",
    "F.attention(batch, batch, batch, attn_mask=None)": "write mask=",
    "optim.Adam(model.parameters(), learning_rate=0.1)": "write lr=",
    "optim.Adam(model.parameters(), beta_1=0.9)": "write betas=, both in one",
    "optim.RMSProp(model.parameters(), rho=0.9)": "write decay=",
    "optim.RMSProp(model.parameters(), alpha=0.9)": "write decay=",
    "optim.AdamW(model.parameters(), amsgrad=True)": "minidl has no such option",
    "optim.SGD(params=model.parameters())": "write parameters=",
    "optim.step_decay(step_size=10)": "write every=",
    "train.EarlyStopping(restore_best_weights=True)": "leave it out",
    'train.EarlyStopping(mode="max")': "write largest=",
    'train.Checkpoint(filepath="a")': "write path=",
    'train.Checkpoint("a", save_best_only=True)': "write best_only=",
    "train.ReduceOnPlateau(min_lr=0.1)": "write lowest=",
    "trainer.fit(dataset, validation_data=dataset)": "write valid=",
    "trainer.fit(dataset, verbose=0)": "write progress=",
    "trainer.fit(dataset, validation_split=0.1)": "write valid=",
    "trainer.fit(dataset, steps_per_epoch=3)": "give data of that size",
    "trainer.fit(dataset, initial_epoch=3)": "write resume=",
    'train.Trainer(model, optimizer, "mse", max_epochs=3)': "`trainer.fit(dataset, epochs=3)`",
    'train.Trainer(model, optimizer, "mse", gpus=1)': "write device=",
    'train.Trainer(model, optimizer, "mse", foo=1)': "it has model, optimizer, loss",
    "train.Trainer(model, optimizer, loss_fn=1)": "write loss=",
    "trainer.predict(rows, verbose=0)": "leave it out",
    "optimizer.zero_grad(set_to_none=True)": "leave it out: the gradients become None",
    "optimizer.step(print)": "it is called Optimizer.step()",
    "optim.Adam(0.001)": "pass model.parameters(), not a float",
    "nn.Parameter(rows, requires_grad=False)": "Parameter() has no argument 'requires_grad': a",
    "nn.Flatten(1)": "it is called Flatten()",
    "nn.init.initialise(model, gain=1)": "it has module, how",
    "x.sum(dim=1)": "Tensor.sum() has no argument 'dim': write axis=",
    "x.max(1, keepdim=True)": "write keepdims=",
    "x.var(unbiased=False)": "write ddof=",
    "x.clip(min=0)": "write low=",
    "x.reshape(shape=(3, 2))": "the lengths, by position",
    'x.to("cpu", dtype="float64")': "convert what it gives",
    "minidl.zeros(size=(2, 3))": "the lengths, by position",
    "minidl.stack([x, y], dim=1)": "write axis=",
    "minidl.tensor([1.0], copy=True)": "leave it out",
    "minidl.engine.ops.relu(x, inplace=True)": "leave it out: a result is a new tensor",
    "minidl.where(mask)": "it is called where(condition, a, b)",
    "data.DataLoader(dataset, num_workers=2)": "write workers=",
    "data.DataLoader(dataset, collate_fn=list)": "write collate=",
    'data.read_csv("t.csv", target="y", sep=";")': "write delimiter=",
    'data.read_csv("t.csv", target="y", usecols=["a"])': "write features=",
    'data.read_csv("t.csv", label="y")': "write target=",
    'data.read_csv("t.csv", "y")': "what follows the * goes by its name",
    "data.split(dataset, test_size=0.2)": "write fraction=",
    "data.split(dataset, 0.8, random_state=0)": "write seed=",
    'minidl.onnx.export(model, "m.onnx", rows, opset_version=17)': "`minidl.onnx.OPSET`",
    'minidl.onnx.export(model, "m.onnx", rows, dynamic_axes={})': "write axes=",
    'data.images.read_folder("images", grey=True)': "`images.mean(1, keepdims=True)`",
    'train.EarlyStopping(metric="loss")': "write monitor=",
    "data.pad_sequence([[1]], padding_value=0)": "write value=",
    "data.weighted([1, 2], num_samples=3)": "leave it out",
    "data.Subset(dataset, idx=[1])": "write indices=",
    'data.ArrayDataset(rows, classes, labels=["a"])': "classes=",
    "data.datasets.moons(n_samples=10)": "write n=",
    "data.datasets.iris(return_X_y=True)": "leave it out",
    "data.images.rotate(images.numpy(), angle=3)": "write degrees=",
    'minidl.compile(step, mode="max-autotune")': "leave it out",
    "minidl.compile(step, dynamic=True)": "leave it out",
    "minidl.compile()": "it is called compile(function, *",
    "minidl.compile(3)": "expected a function or a Module",
    'minidl.compile(step, passes="all")': "functions Graph -> Graph",
    "optim.cosine(T_max=10)": "write total=",
    "optim.step_decay(10, gamma=0.1)": "write factor=",
    "trainer.fit(dataset, callback=None)": "write callbacks=",
    'train.Trainer(model, optimizer, "mse", epochs=3)': "`trainer.fit(dataset, epochs=3)`",
    "trainer.fit(rows, classes, 0.2, epochs=2)": "what follows the * goes by its name",
    "minidl.estimators.MinidlClassifier(hidden_layer_sizes=(3,))": "write hidden=",
    "minidl.estimators.MinidlClassifier(max_iter=3)": "write epochs=",
}


# A name of a loss or a metric elsewhere -> what its error must say.
LOSSES = {
    "mae": "nn.functional.l1(", "mean_absolute_error": "nn.functional.l1(",
    "mean_squared_error": "nn.functional.mse(", "MSE": "did you mean 'mse'",
    "binary_crossentropy": "nn.functional.bce_with_logits(", "kld": "log_p",
    "sparse_categorical_crossentropy": "nn.functional.cross_entropy(",
    "categorical_crossentropy": "nn.functional.cross_entropy(",
    "log_loss": "nn.functional.cross_entropy(", "smooth_l1": "nn.functional.huber(",
    "l2": "nn.functional.mse(", "huber_loss": "nn.functional.huber(", "hinge": "relu",
    "nll_loss": "nn.functional.nll(", "rmse": "** 0.5",
}  # fmt: skip
METRICS = {
    "acc": '"accuracy"', "sparse_categorical_accuracy": '"accuracy"', "auc": "sklearn.metrics",
    "AUC": "sklearn.metrics", "f1": "sklearn.metrics", "r2": "sklearn.metrics", "l1": '"mae"',
    "mean_absolute_error": '"mae"', "mean_squared_error": '"mse"', "top_5_accuracy": '"top5"',
    "rmse": "** 0.5",
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_by_another_name_points_to_what_does_it(name):
    us = trainer()
    with pytest.raises(ValueError) as caught:
        train.Trainer(us.model, us.optimizer, name)
    assert LOSSES[name] in str(caught.value)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_by_another_name_points_to_what_does_it(name):
    us = trainer()
    with pytest.raises(ValueError) as caught:
        train.Trainer(us.model, us.optimizer, "mse", [name])
    assert METRICS[name] in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_told_what_to_write(call, tmp_path):
    if "estimators" in call:
        pytest.importorskip("sklearn", reason="waits for scikit-learn")
    with pytest.raises(TypeError) as caught:
        eval(call, {**world(tmp_path), "F": F})
    assert CALLS[call] in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_every_name_of_an_argument_that_is_advised_is_one():
    """Somewhere in minidl a public function or constructor has it."""
    there = [data.datasets, data.images, data.text]
    there += [
        minidl,
        nn,
        F,
        optim,
        data,
        train,
        train.Trainer,
        minidl.Tensor,
        nn.MultiHeadAttention,
    ]
    there.append(pytest.importorskip("minidl.estimators", reason="waits for scikit-learn"))
    known = set()
    for place in there:
        for name in dir(place):
            thing = getattr(place, name, None)
            if callable(thing) and not name.startswith("_"):
                try:
                    known |= set(inspect.signature(thing).parameters)
                except (TypeError, ValueError):
                    continue
    named = re.findall(r"(?:^|\s)=(\w+)", " ".join(advice._keywords.values()))
    assert len(named) > 50
    assert not set(named) - known


def test_an_error_inside_a_function_is_left_alone():
    @advice.advised
    def outer(x):
        return inner(y=x)

    def inner(x):
        return x

    with pytest.raises(TypeError, match=r"inner\(\) got an unexpected keyword argument 'y'$"):
        outer(1)


def test_advice_costs_a_signature_nothing():
    assert list(inspect.signature(nn.Linear).parameters) == ["n_in", "n_out", "bias"]
    assert list(inspect.signature(F.softmax).parameters) == ["x", "axis"]
    assert F.softmax.__doc__.startswith("Probabilities")


# --- imports, typing errors, other objects -------------------------------------------------


@pytest.mark.parametrize(
    "line, text",
    [
        ("from minidl.nn import Dense", "cannot import name 'Dense' from 'minidl.nn': `nn.Linear("),
        ("from minidl.nn.functional import relu", "from 'minidl.nn.functional': `x.relu()`"),
        ("from minidl.optim import Adamax", "from 'minidl.optim': `optim.AdamW("),
        ("from minidl.train import ModelCheckpoint", "from 'minidl.train': `train.Checkpoint("),
        ("from minidl.data import TensorDataset", "from 'minidl.data': `data.ArrayDataset("),
        ("from minidl import DataLoader", "from 'minidl': `data.DataLoader`"),
        ("from minidl.nn import Linaer", "from 'minidl.nn': the nearest is Linear; see"),
    ],
)
def test_an_import_says_what_to_write(line, text):
    with pytest.raises(ImportError, match=re.escape(text)):
        exec(line)


def test_an_import_in_a_program_says_it_too():
    done = subprocess.run(
        [sys.executable, "-c", "from minidl.nn import (\n    Linear,\n    ModuleList)"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: cannot import name 'ModuleList' from 'minidl.nn': a list")


def test_a_typing_error_names_the_nearest():
    class Net(nn.Module):
        def __init__(self):
            self.first = nn.Linear(2, 2)

    with pytest.raises(AttributeError, match="'Net' object has no attribute 'frist': the nearest"):
        Net().frist  # noqa: B018
    with pytest.raises(AttributeError, match="the nearest is Linear"):
        nn.Lineer  # noqa: B018


@pytest.mark.parametrize("where", OBJECTS)
def test_private_names_are_answered_at_once(where):
    with pytest.raises(AttributeError) as caught:
        getattr(OBJECTS[where], "_no_" + "such_name")
    assert advice.PAGE not in str(caught.value)


def test_what_is_absent_is_not_listed():
    assert not {"view", "unsqueeze"} & set(dir(minidl.tensor([1.0])))
    assert "reshape" in dir(minidl.tensor([1.0]))


@pytest.mark.parametrize("asked, answer", [
    ("nn.Trainer", "train.Trainer"), ("train.Adam", "optim.Adam"), ("nn.tensor", "minidl.tensor"),
    ("optim.ReduceOnPlateau", "train.ReduceOnPlateau"), ("data.moons", "data.datasets.moons"),
    ("minidl.find_rate", "train.find_rate"), ("nn.Initialise", "nn.init.initialise"),
])  # fmt: skip
def test_a_name_of_another_room_is_found_there(asked, answer):
    room, name = asked.split(".")
    with pytest.raises(AttributeError) as error:
        getattr(getattr(minidl, room, minidl), name)
    assert f"`{answer}`" in str(error.value)
