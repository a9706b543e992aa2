"""Seventeen jobs, each as a builder would write it who has the installed package and its docs.

A job is a function that imports all it needs, and checks its own result.  It runs as a program of
its own, in an empty folder, on a path that holds what the wheel holds of minidl, NumPy, and what
the job names beside it, with what these need; nothing else that is installed here can be imported.
"""

import inspect
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
JOBS = {}


def job(*packages):
    """Decorator: a program that needs these packages beside minidl and NumPy."""

    def add(function):
        JOBS[function.__name__] = function, packages
        return function

    return add


# --- the jobs ------------------------------------------------------------------------------


@job()
def a_table():
    """Prices of houses from a file with words and gaps, a share held out."""
    import csv
    import random

    import minidl
    from minidl import data, nn, optim
    from minidl.train import Trainer

    random.seed(0)
    minidl.manual_seed(0)
    extra = {"north": 0, "south": 50, "centre": 120}
    with open("houses.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["area", "district", "age", "price"])
        for _ in range(400):
            area, district = random.uniform(50, 200), random.choice([*extra])
            age = random.choice(["", random.randint(0, 80)])
            table.writerow([f"{area:.1f}", district, age, f"{2 * area + extra[district]:.1f}"])

    houses = data.read_csv(
        "houses.csv", target="price", numeric=True, words="one-hot", empty="mean"
    )
    assert houses.columns[1:4] == ["district=centre", "district=north", "district=south"]
    x, y = houses[:]
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    train, test = data.split(data.ArrayDataset(x, y[:, None]), 0.75)
    model = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "mse")
    trainer.fit(train, valid=0.2, epochs=40, batch_size=32, progress=False)
    assert trainer.evaluate(test)["loss"] < 0.02, "the variance of y is 1"


@job()
def images():
    """A network with convolutions tells rows from columns, in a loop as in PyTorch."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset, DataLoader
    from minidl.data.images import augment, flip

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    x = rng.normal(0, 0.2, (400, 1, 12, 12)).astype(np.float32)
    for image, label, k in zip(x[:, 0], y, rng.integers(2, 10, 400)):
        (image if label else image.T)[k] += 1  # a row of the image, or a column
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 4 * 4, 2),
    )  # fmt: skip
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    data = ArrayDataset(x[:300], y[:300])
    loader = DataLoader(data, batch_size=32, shuffle=True, transform=augment(flip))
    for _ in range(6):
        for images, labels in loader:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with minidl.no_grad():
        guessed = model(x[300:]).numpy().argmax(1)
    assert (guessed == y[300:]).mean() > 0.95


@job()
def a_series():
    """An LSTM says the next value of a noisy wave."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset
    from minidl.train import Trainer

    class Forecast(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(1, 16)
            self.head = nn.Linear(16, 1)

        def forward(self, x):  # (N, T, 1) -> (N, 1)
            out, _ = self.lstm(x)
            return self.head(out[:, -1])

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    wave = (np.sin(0.2 * np.arange(1100)) + rng.normal(0, 0.05, 1100)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 25)
    x, y = windows[:, :24, None], windows[:, 24:]
    model = Forecast()
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "mse")
    trainer.fit(ArrayDataset(x[:900], y[:900]), epochs=3, batch_size=32, progress=False)
    assert ((trainer.predict(x[900:]) - y[900:]) ** 2).mean() < 0.02, "the noise alone is 0.0025"


@job()
def text():
    """Kind and unkind sentences of different lengths, with a vocabulary and padding."""
    from functools import partial

    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import DataLoader, pad_collate, split
    from minidl.data.text import Vocabulary, words
    from minidl.train import Trainer

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    kinds = ["bad awful poor dull".split(), "good great fine lovely".split()]
    sentences = []
    for label in rng.integers(0, 2, 300).tolist():
        others = rng.choice("the a film plot was and of in it".split(), rng.integers(3, 9))
        sentences.append((" ".join([*others[1:], rng.choice(kinds[label]), others[0]]), label))
    vocabulary = Vocabulary(
        (word for sentence, _ in sentences for word in words(sentence)), special=["<pad>"]
    )
    samples = [(vocabulary.encode(words(s)), label) for s, label in sentences]

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(len(vocabulary), 16)
            self.gru = nn.GRU(16, 16)
            self.out = nn.Linear(16, 2)

        def forward(self, x, lengths):
            _, h = self.gru(self.embed(x), lengths=lengths)
            return self.out(h[-1])  # (layers, N, 16) -> (N, 2)

    train, test = split(samples, 0.8)
    loaders = [
        DataLoader(part, 16, shuffle=True, collate=partial(pad_collate, value=0))
        for part in (train, test)
    ]
    model = Classifier()
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "cross_entropy", "accuracy")
    history = trainer.fit(*loaders, epochs=5, progress=False)
    assert history["valid_accuracy"][-1] > 0.95


@job()
def own_layers():
    """A layer with a weight and a counter of its own, inside a Sequential."""
    import numpy as np

    import minidl
    from minidl import Tensor, nn, optim

    class Scale(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.weight = nn.Parameter(np.ones(n, np.float32))
            self.seen = Tensor(np.zeros(1, np.float32))  # saved, not trained

        def forward(self, x):
            self.seen.data += len(x)
            return x * self.weight

    minidl.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 16), Scale(16), nn.Tanh(), nn.Linear(16, 1))
    assert sum(p.size for p in net.parameters()) == 4 * 16 + 16 + 16 + 16 + 1
    assert {"1.weight", "1.seen"} < net.state_dict().keys()
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    y = (x**2).sum(axis=1, keepdims=True)
    optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(200):
        loss = ((net(x) - y) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    assert net[1].seen.item() == 200 * 64
    assert (net[1].weight.numpy() != 1).all(), "the scales were not trained"


@job()
def double_backward():
    """A gradient penalty: the length of dD/dx is pulled towards 1 (Gulrajani et al. 2017)."""
    import numpy as np

    import minidl
    from minidl import nn, optim

    x = minidl.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (g,) = minidl.grad((x**3).sum(), [x], create_graph=True)
    (h,) = minidl.grad(g.sum(), [x])
    assert h.numpy().tolist() == [6, 12, 18]

    minidl.manual_seed(0)
    critic = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = optim.Adam(critic.parameters(), 0.01)
    points = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    for _ in range(200):
        x = minidl.tensor(points, requires_grad=True)
        (slopes,) = minidl.grad(critic(x).sum(), [x], create_graph=True)
        penalty = (((slopes**2).sum(1) ** 0.5 - 1) ** 2).mean()
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert penalty.item() < 0.01


@job()
def several_inputs():
    """Measurements and a category, which has an embedding; Keras's functional models do this."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset, split
    from minidl.train import Trainer

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.numbers, self.kinds = nn.Linear(3, 16), nn.Embedding(5, 16)
            self.rest = nn.Sequential(nn.ReLU(), nn.Linear(16, 2))

        def forward(self, measured, kind):
            return self.rest(self.numbers(measured) + self.kinds(kind))

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(500, 3)).astype(np.float32)
    kind = rng.integers(0, 5, 500)
    y = (measured.sum(1) + kind > 2).astype(int)
    train, test = split(ArrayDataset(measured, kind, y), 0.8)
    model = Two()
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "cross_entropy", "accuracy")
    trainer.fit(train, epochs=20, progress=False)
    assert trainer.evaluate(test)["accuracy"] > 0.9
    assert trainer.predict((measured[:7], kind[:7])).shape == (7, 2)


@job()
def frozen_parts():
    """A body that stays as it is gets a new head, which alone is trained."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset
    from minidl.train import Trainer

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    data = ArrayDataset(x, x[:, :3].argmax(1))
    body = nn.Sequential(nn.Linear(4, 32), nn.ReLU())
    model = nn.Sequential(body, nn.Linear(32, 3))
    for p in body.parameters():
        p.requires_grad = False
    before = body[0].weight.numpy().copy()
    optimizer = optim.Adam([p for p in model.parameters() if p.requires_grad], 0.02)
    trainer = Trainer(model, optimizer, "cross_entropy", "accuracy")
    history = trainer.fit(data, epochs=20, progress=False)
    np.testing.assert_array_equal(body[0].weight.numpy(), before)
    assert history["accuracy"][-1] > 0.9 and history["loss"][-1] < history["loss"][0] / 2


@job()
def a_vae():
    """A variational autoencoder of points on a plane, with a loss of two parts."""
    import numpy as np

    import minidl
    from minidl import nn, optim

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU())
            self.mean, self.log_variance = nn.Linear(32, 2), nn.Linear(32, 2)
            self.decoder = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 8))

        def forward(self, x):
            h = self.encoder(x)
            mean, log_variance = self.mean(h), self.log_variance(h)
            noise = rng.normal(size=mean.shape).astype("float32")
            z = mean + noise * (0.5 * log_variance).exp()
            return self.decoder(z), mean, log_variance

    minidl.manual_seed(0)
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(256, 2)) @ rng.normal(size=(2, 8))).astype(np.float32)
    model = VAE()
    optimizer = optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(300):
        y, mean, log_variance = model(x)
        rebuilt = ((y - x) ** 2).sum(1).mean()
        away = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()
        loss = rebuilt + away
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    made = model.decoder(rng.normal(size=(100, 2)).astype(np.float32)).numpy()
    assert 0.5 < made.std() / x.std() < 2


@job()
def resume():
    """A run that is killed goes on from its checkpoint, and ends in the same bits."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset
    from minidl.train import Checkpoint, Trainer

    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)).astype(np.float32)
    data = ArrayDataset(x, (x[:, 0] > 0).astype(int))

    def trainer():
        minidl.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
        return Trainer(model, optim.Adam(model.parameters(), 0.01), "cross_entropy")

    whole = trainer()
    whole.fit(data, epochs=6, progress=False)
    trainer().fit(data, epochs=3, progress=False, callbacks=Checkpoint("run.safetensors"))
    again = trainer()
    again.fit(data, epochs=6, progress=False, resume="run.safetensors")
    assert again.history == whole.history
    for name, a in whole.model.state_dict().items():
        np.testing.assert_array_equal(again.model.state_dict()[name], a)


@job("scikit-learn")
def pipelines():
    """The classifier in a pipeline, cross-validated and searched, then kept by joblib."""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    from minidl.estimators import MinidlClassifier

    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    network = MinidlClassifier((32,), activation="relu", lr=0.01, epochs=15, random_state=0)
    pipe = make_pipeline(MinMaxScaler(), network)
    assert cross_val_score(pipe, X, y, cv=3).mean() > 0.85
    search = GridSearchCV(pipe, {"minidlclassifier__lr": [1e-5, 0.01]}, cv=2).fit(X, y)
    assert search.best_params_ == {"minidlclassifier__lr": 0.01}
    joblib.dump(search, "digits.joblib")
    again = joblib.load("digits.joblib")
    assert again.predict(X).tolist() == search.predict(X).tolist()


@job("scikit-learn")
def labels_of_texts():
    """Several labels for each text, whose words are counted in a sparse matrix."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    from minidl.estimators import MinidlClassifier

    topics = [["ball", "goal", "team"], ["vote", "law", "party"], ["film", "song", "stage"]]
    rng = np.random.default_rng(0)
    Y = rng.integers(0, 2, (200, 3))
    texts = [
        " ".join(["news", *(word for k in np.flatnonzero(y) for word in rng.choice(topics[k], 2))])
        for y in Y
    ]
    network = MinidlClassifier((16,), epochs=60, lr=0.01, random_state=0)
    pipe = make_pipeline(TfidfVectorizer(), network).fit(texts[:150], Y[:150])
    assert pipe.score(texts[150:], Y[150:]) > 0.9
    assert pipe.predict(["a goal of the party"]).tolist() == [[1, 1, 0]]


@job("torch")
def weights_from_pytorch():
    """A network that PyTorch trained gives the same outputs here, and back."""
    import numpy as np
    import torch

    from minidl import nn
    from minidl.pytorch import from_torch, to_torch

    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 4),
    )  # fmt: skip
    ours = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 6 * 6, 4),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 3, 6, 6)).astype(np.float32)
    theirs(torch.tensor(x))  # so that BatchNorm has statistics of its own
    theirs.eval(), ours.eval()
    from_torch(ours, {name: t.numpy() for name, t in theirs.state_dict().items()})
    y = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).numpy(), y, rtol=1e-4, atol=1e-5)
    back = {name: torch.tensor(a) for name, a in to_torch(ours).items()}
    np.testing.assert_array_equal(back["4.weight"], theirs.state_dict()["4.weight"])


@job()
def compiled_steps():
    """A whole step as source, that ends in the weights of the step as it is written."""
    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.nn import functional as F

    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    y = x[:, :1] * x[:, 1:]

    def trained(compiled):
        minidl.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
        optimizer = optim.Adam(model.parameters(), 0.01)

        def step(x, y):
            loss = F.mse(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        if compiled:
            step = minidl.compile(step)
        losses = [step(x, y).item() for _ in range(300)]
        if compiled:
            assert "def " in step.source
        return losses, model(x).numpy()

    losses, outputs = trained(compiled=True)
    assert losses[-1] < losses[0] / 10
    np.testing.assert_allclose(outputs, trained(compiled=False)[1], atol=1e-3)


@job()
def threads():
    """A server's threads predict with one model, and a loader's make batches."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset, DataLoader
    from minidl.train import Trainer

    minidl.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "cross_entropy")
    data = ArrayDataset(x, (x[:, 0] > 0).astype(int))
    trainer.fit(DataLoader(data, 32, shuffle=True, workers=3), epochs=3, progress=False)
    model.eval()

    def answer(part):
        with minidl.no_grad():
            return model(part).numpy()

    with ThreadPoolExecutor(4) as pool:
        parts = [*pool.map(answer, np.split(x, 40))]
        others = [*pool.map(trainer.predict, np.split(x, 40))]
    np.testing.assert_allclose(np.concatenate(parts), answer(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate(others), np.concatenate(parts))


@job()
def a_gpt():
    """A GPT of characters learns two sentences by heart, and writes them."""
    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset, text
    from minidl.train import Trainer

    minidl.manual_seed(0)
    corpus = "the cat sat on the mat. the dog dug in the fog. " * 40
    vocabulary = text.Vocabulary(corpus)
    x, y = text.next_token_pairs(vocabulary.encode(corpus), 24, step=5)
    model = nn.GPT(len(vocabulary), context=32, width=32, heads=2, layers=2)
    trainer = Trainer(model, optim.AdamW(model.parameters(), 0.01), "cross_entropy")
    trainer.fit(ArrayDataset(x, y), epochs=8, batch_size=16, progress=False)
    found = model.generate([vocabulary.encode("the cat")], 16, temperature=0)
    assert "".join(vocabulary.decode(found[0])) == "the cat sat on the mat."


@job()
def memory():
    """A file larger than what may be in memory is trained on and predicted from, never loaded."""
    import tracemalloc

    import numpy as np

    import minidl
    from minidl import nn, optim
    from minidl.data import ArrayDataset
    from minidl.train import Trainer

    minidl.manual_seed(0)
    x = np.lib.format.open_memmap("large.npy", "w+", np.float32, (10_000, 1000))
    x[:, 0] = np.arange(10_000) % 2
    x.flush()
    data = ArrayDataset(np.load("large.npy", mmap_mode="r"), np.arange(10_000) % 2)
    model = nn.Sequential(nn.Linear(1000, 8), nn.ReLU(), nn.Linear(8, 2))
    trainer = Trainer(model, optim.Adam(model.parameters(), 0.01), "cross_entropy", "accuracy")
    tracemalloc.start()
    history = trainer.fit(data, valid=0.2, epochs=1, batch_size=32, progress=False)
    assert trainer.predict(data).shape == (10_000, 2)
    _, peak = tracemalloc.get_traced_memory()
    assert history["valid_accuracy"][-1] == 1
    assert peak < x.nbytes / 4, f"{peak} bytes"


# --- how they are run ----------------------------------------------------------------------


def parts_of(package, found):
    """What has to be on the path for a package: its files' first folders, and those of all that it
    needs.
    """
    distribution = metadata.distribution(package)
    if distribution.name in found:
        return found
    files = {file.parts[0] for file in distribution.files if file.parts[0] != ".."}
    found[distribution.name] = [Path(distribution.locate_file(name)) for name in files]
    for requirement in map(Requirement, distribution.requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            parts_of(requirement.name, found)
    return found


def install(folder, packages):
    """Put into `folder` what a wheel of minidl holds, NumPy and these packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (held,) = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    shutil.copytree(ROOT / held, folder / held, ignore=shutil.ignore_patterns("__pycache__"))
    found = {}
    for package in ("numpy", *packages):
        parts_of(package, found)
    for path in {path for paths in found.values() for path in paths}:
        if path.exists() and path.name != "__pycache__":
            try:
                (folder / path.name).symlink_to(path)
            except OSError:  # Windows allows them to developers and administrators
                pytest.skip("waits for leave to make links")


def run(tmp_path, source, packages=()):
    """A program's process, done, which sees of what is installed here these packages alone."""
    site, here = tmp_path / "site", tmp_path / "here"
    site.mkdir(), here.mkdir()
    try:
        install(site, packages)
    except metadata.PackageNotFoundError as error:
        pytest.skip(f"waits for {'PyTorch' if error.name == 'torch' else error.name}")
    program = here / "job.py"
    source = f"import sys\n\nsys.path.insert(0, {str(site)!r})\n{source}"
    program.write_text(source, encoding="utf-8")
    # -I: neither its folder nor PYTHONPATH is on the path, -S: nor is what is installed.
    command = [sys.executable, "-I", "-S", "-W", "error:::__main__", program]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
    return subprocess.run(
        command, cwd=here, env=os.environ | threads, capture_output=True, text=True
    )


SLOW = "pipelines", "labels_of_texts", "weights_from_pytorch", "a_gpt"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in JOBS]
)
def test_a_job_runs_from_what_is_installed(tmp_path, name):
    function, packages = JOBS[name]
    source = inspect.getsource(function)
    done = run(tmp_path, f"{source[source.index('def ') :]}\n\n{name}()\n", packages)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_there_are_seventeen():
    assert len(JOBS) == 17


def test_a_job_sees_what_it_names_and_no_more(tmp_path):
    source = """
import importlib.util, minidl, numpy
from pathlib import Path
assert Path(minidl.__file__).parent.parent.name == "site", minidl.__file__
names = "sklearn", "scipy", "torch", "pytest", "grading", "matplotlib", "tests"
print([name for name in names if importlib.util.find_spec(name)])
"""
    done = run(tmp_path, source)
    assert (done.stdout, done.stderr) == ("[]\n", "")
