"""One network in minidl and in five other systems, measured; writes compare.json beside itself.

    python course/data/compare.py [--rounds 9] [--only NAME ...]

Needs torch, tensorflow, keras, jax and scikit-learn in the environment that runs it, and minidl on
PYTHONPATH.  Lesson 26 shows the programs and reads the file; it needs none of the systems.

The one rule of this file: a function `program_...` is what a user of that system writes, and
nothing else, for its lines are counted; what carries the first weights in, and the last ones out,
stands apart in CARRIED.
"""

import argparse
import contextlib
import datetime
import importlib.metadata as metadata
import importlib.util
import inspect
import itertools
import json
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":  # one thread each, before NumPy is there; nothing kept from before
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }

import numpy as np

HERE = Path(__file__).resolve().parent
SIZES = {  # name -> widths, batch, learning rate, epochs of the run, epochs of a timed turn
    "small": ((64, 64, 10), 32, 0.1, 20, 5),
    "large": ((1024, 512, 10), 128, 0.01, 5, 1),
}


# ---- the programs


def program_minidl(widths, batch, rate):
    from minidl import nn, optim, tensor
    from minidl.nn import functional as F

    n_in, n_hidden, n_out = widths
    model = nn.Sequential(nn.Linear(n_in, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_out))
    optimizer = optim.SGD(model.parameters(), rate, momentum=0.9)

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(x, y, epochs):
        for _ in range(epochs):
            for i in range(0, len(x), batch):
                step(tensor(x[i : i + batch]), y[i : i + batch])

    def predict(x):
        return model(tensor(x)).numpy().argmax(axis=1)

    return model, train, predict


def program_minidl_compiled(widths, batch, rate):
    import minidl
    from minidl import nn, optim, tensor
    from minidl.nn import functional as F

    n_in, n_hidden, n_out = widths
    model = nn.Sequential(nn.Linear(n_in, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_out))
    optimizer = optim.SGD(model.parameters(), rate, momentum=0.9)

    @minidl.compile
    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(x, y, epochs):
        for _ in range(epochs):
            for i in range(0, len(x), batch):
                step(tensor(x[i : i + batch]), y[i : i + batch])

    def predict(x):
        return model(tensor(x)).numpy().argmax(axis=1)

    return model, train, predict


def program_pytorch(widths, batch, rate):
    import torch
    from torch import nn
    from torch.nn import functional as F

    n_in, n_hidden, n_out = widths
    model = nn.Sequential(nn.Linear(n_in, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_out))
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)

    def step(x, y):
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(x, y, epochs):
        x, y = torch.tensor(x), torch.tensor(y)
        for _ in range(epochs):
            for i in range(0, len(x), batch):
                step(x[i : i + batch], y[i : i + batch])

    def predict(x):
        with torch.no_grad():
            return model(torch.tensor(x)).argmax(dim=1).numpy()

    return model, train, predict


def program_pytorch_compiled(widths, batch, rate):
    import torch
    from torch import nn
    from torch.nn import functional as F

    n_in, n_hidden, n_out = widths
    model = nn.Sequential(nn.Linear(n_in, n_hidden), nn.Tanh(), nn.Linear(n_hidden, n_out))
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)

    @torch.compile
    def loss_of(x, y):
        return F.cross_entropy(model(x), y)

    def step(x, y):
        loss_of(x, y).backward()
        optimizer.step()
        optimizer.zero_grad()

    def train(x, y, epochs):
        x, y = torch.tensor(x), torch.tensor(y)
        for _ in range(epochs):
            for i in range(0, len(x), batch):
                step(x[i : i + batch], y[i : i + batch])

    def predict(x):
        with torch.no_grad():
            return model(torch.tensor(x)).argmax(dim=1).numpy()

    return model, train, predict


def program_tensorflow(widths, batch, rate):
    import tensorflow as tf

    n_in, n_hidden, n_out = widths
    shapes = [(n_in, n_hidden), (n_hidden,), (n_hidden, n_out), (n_out,)]
    model = [tf.Variable(tf.random.normal(shape) * 0.1) for shape in shapes]
    velocity = [tf.Variable(tf.zeros(shape)) for shape in shapes]

    def scores(x):
        w1, b1, w2, b2 = model
        return tf.tanh(x @ w1 + b1) @ w2 + b2

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, scores(x))
            loss = tf.reduce_mean(losses)
        for p, v, g in zip(model, velocity, tape.gradient(loss, model)):
            v.assign(0.9 * v + g)
            p.assign_sub(rate * v)

    def train(x, y, epochs):
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch)
        for _ in range(epochs):
            for x_batch, y_batch in batches:
                step(x_batch, y_batch)

    def predict(x):
        return tf.argmax(scores(x), axis=1).numpy()

    return model, train, predict


def program_keras(widths, batch, rate):
    import keras
    from keras import layers

    n_in, n_hidden, n_out = widths
    model = keras.Sequential(
        [keras.Input((n_in,)), layers.Dense(n_hidden, activation="tanh"), layers.Dense(n_out)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)

    def train(x, y, epochs):
        model.fit(x, y, batch, epochs, shuffle=False, verbose=0)

    def predict(x):
        return model.predict(x, verbose=0).argmax(axis=1)

    return model, train, predict


def program_jax(widths, batch, rate):
    import jax
    import jax.numpy as jnp

    n_in, n_hidden, n_out = widths
    key1, key2 = jax.random.split(jax.random.key(0))
    model = {
        "w1": jax.random.normal(key1, (n_in, n_hidden)) * 0.1, "b1": jnp.zeros(n_hidden),
        "w2": jax.random.normal(key2, (n_hidden, n_out)) * 0.1, "b2": jnp.zeros(n_out),
    }  # fmt: skip
    velocity = jax.tree.map(jnp.zeros_like, model)

    def scores(p, x):
        return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"] + p["b2"]

    def loss_of(p, x, y):
        return -jax.nn.log_softmax(scores(p, x))[jnp.arange(len(y)), y].mean()

    @jax.jit
    def step(p, velocity, x, y):
        g = jax.grad(loss_of)(p, x, y)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, g)
        return jax.tree.map(lambda p, v: p - rate * v, p, velocity), velocity

    def train(x, y, epochs):
        p, v = dict(model), dict(velocity)
        for _ in range(epochs):
            for i in range(0, len(x), batch):
                p, v = step(p, v, x[i : i + batch], y[i : i + batch])
        model.update(p)
        velocity.update(v)

    def predict(x):
        return np.asarray(scores(model, x).argmax(axis=1))

    return model, train, predict


def program_sklearn(widths, batch, rate):
    from sklearn.neural_network import MLPClassifier

    _, n_hidden, n_out = widths
    model = MLPClassifier(
        (n_hidden,), activation="tanh", solver="sgd", alpha=0, batch_size=batch,
        learning_rate_init=rate, momentum=0.9, nesterovs_momentum=False, shuffle=False,
    )  # fmt: skip

    def train(x, y, epochs):
        for _ in range(epochs):
            model.partial_fit(x, y, classes=range(n_out))

    def predict(x):
        return model.predict(x)

    return model, train, predict


# ---- the first weights in, the last ones out: [kernel (n_in, n_out), bias, kernel, bias]


def carry_minidl(model, new):
    for p, a in zip(model.parameters(), new or ()):
        p.data = a.copy()
    return [p.numpy() for p in model.parameters()]


def carry_pytorch(model, new):
    import torch

    for p, a in zip(model.parameters(), new or ()):
        p.data = torch.tensor(a.T).contiguous()  # kernels lie turned there
    return [p.detach().numpy().T for p in model.parameters()]


def carry_tensorflow(model, new):
    for p, a in zip(model, new or ()):
        p.assign(a)
    return [p.numpy() for p in model]


def carry_keras(model, new):
    if new:
        model.set_weights(new)
    return model.get_weights()


def carry_jax(model, new):
    import jax.numpy as jnp

    model.update(zip(("w1", "b1", "w2", "b2"), map(jnp.asarray, new or ())))
    return [np.asarray(model[name]) for name in ("w1", "b1", "w2", "b2")]


def carry_sklearn(model, new):
    if new:
        x, y = np.zeros((model.batch_size, len(new[0])), "float32"), [0] * model.batch_size
        model.partial_fit(x, y, classes=range(len(new[3])))  # makes them
        del model._optimizer
        for there, a in zip(model.coefs_ + model.intercepts_, (new[0], new[2], new[1], new[3])):
            there[...] = a
    return [model.coefs_[0], model.intercepts_[0], model.coefs_[1], model.intercepts_[1]]


SYSTEMS = {  # name -> program, how weights are carried, the module, the distribution, environment
    "minidl": (program_minidl, carry_minidl, "minidl", None, {}),
    "minidl compiled": (program_minidl_compiled, carry_minidl, "minidl", None, {}),
    "scikit-learn": (program_sklearn, carry_sklearn, "sklearn.neural_network", "scikit-learn", {}),
    "PyTorch": (program_pytorch, carry_pytorch, "torch", "torch", {}),
    "PyTorch compiled": (program_pytorch_compiled, carry_pytorch, "torch", "torch", {}),
    "JAX": (program_jax, carry_jax, "jax", "jax", {}),
    "TensorFlow": (program_tensorflow, carry_tensorflow, "tensorflow", "tensorflow-cpu", {}),
    "Keras on PyTorch": (program_keras, carry_keras, "keras", "keras", {"KERAS_BACKEND": "torch"}),
    "Keras on JAX": (program_keras, carry_keras, "keras", "keras", {"KERAS_BACKEND": "jax"}),
    "Keras on TensorFlow": (
        program_keras, carry_keras, "keras", "keras", {"KERAS_BACKEND": "tensorflow"}
    ),
}  # fmt: skip
BACKEND = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow-cpu"}


def lines_of(program):
    """The lines of a program, as they are read: no blanks, no closing return of three names."""
    source = inspect.getsource(program)
    kept = [line for line in source.splitlines()[1:] if line.strip()]
    return [line[4:].replace("  # fmt: skip", "") for line in kept if "return model, " not in line]


# ---- the data, and the first weights


def digits(size):
    """x, y to train on (1536 samples, in an order drawn once) and to test on (261)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = (x / 16).astype("float32"), y.astype("int64")
    if size == "large":  # each pixel four by four times
        x = x.reshape(-1, 8, 8).repeat(4, axis=1).repeat(4, axis=2).reshape(len(x), -1)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    return x[:1536], y[:1536], x[1536:], y[1536:]


def first_weights(widths):
    rng, found = np.random.default_rng(1), []
    for n_in, n_out in itertools.pairwise(widths):
        bound = np.sqrt(6 / (n_in + n_out))
        found.append(rng.uniform(-bound, bound, (n_in, n_out)).astype("float32"))
        found.append(np.zeros(n_out, "float32"))
    return found


# ---- in the worker


def clock():
    """Seconds of processor time, of this process and of compilers that it called.

    Not those of the clock on the wall: what else the machine does then counts hardly.
    """
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def work(name):
    """For each size: train once, say what came out; then a timed turn for each empty line."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    program, carry, module, *_ = SYSTEMS[name]
    if "torch" in os.environ.get("KERAS_BACKEND", module):
        import torch

        torch.set_num_threads(1)
    for size, (widths, batch, rate, epochs, turn) in SIZES.items():
        x, y, x_test, y_test = digits(size)
        model, train, predict = program(widths, batch, rate)
        carry(model, first_weights(widths))
        start = clock()
        train(x[:batch], y[:batch], 1)
        carry(model, None)
        first = clock() - start
        model, train, predict = program(widths, batch, rate)
        carry(model, first_weights(widths))
        train(x, y, epochs)
        right = int((np.asarray(predict(x_test)) == y_test).sum())
        weights = [np.asarray(a).tolist() for a in carry(model, None)]
        said = {"first": first, "right": right, "weights": weights}
        print(json.dumps(said), file=answers, flush=True)
        while sys.stdin.readline() == "\n":
            start = clock()
            train(x, y, turn)
            carry(model, None)  # some answer before they are done: who asks for the weights, waits
            took = (clock() - start) / turn / (len(x) / batch)
            print(json.dumps(took), file=answers, flush=True)


@contextlib.contextmanager
def worker(name):
    """A function that gives the process of a system a line, and asks for its next answer."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--work", name], env=os.environ | SYSTEMS[name][4],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip

    def ask(word):
        process.stdin.write(word)
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"{name}: {process.stderr.read()[-2000:]}")
        return json.loads(line)

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait()


# ---- what else is measured


def seconds_to_import(name, rounds):
    module, environment = SYSTEMS[name][2], os.environ | SYSTEMS[name][4]
    code = f"import time as t; s = t.process_time(); import {module}; print(t.process_time() - s)"
    command = [sys.executable, "-c", code]
    lines = [subprocess.check_output(command, env=environment, text=True) for _ in range(rounds)]
    return min(float(line.split()[-1]) for line in lines)


def needed(distribution, found=None):
    """This distribution and all that it requires here, without extras."""
    found = {} if found is None else found
    name = re.split(r"[^\w.-]", distribution)[0].lower().replace("_", "-")
    if name in found:
        return found
    try:
        one = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # for another platform
        return found
    found[name] = one
    for line in one.requires or ():
        if "extra ==" not in line:
            needed(line, found)
    return found


def size_of(name):
    """(bytes on disk, packages) of a system with all that it needs."""
    if name.startswith("minidl"):
        import minidl

        parts, own = needed("numpy"), Path(minidl.__file__).parent
        total = sum(path.stat().st_size for path in own.rglob("*.py"))
        return total + sum(map(bytes_of, parts.values())), 1 + len(parts)
    parts = needed(SYSTEMS[name][3])
    if backend := SYSTEMS[name][4].get("KERAS_BACKEND"):
        needed(BACKEND[backend], parts)
    return sum(map(bytes_of, parts.values())), len(parts)


def bytes_of(distribution):
    """Of the files that it installed, without compiled copies of Python's source."""
    files = [file.locate() for file in distribution.files or () if file.suffix != ".pyc"]
    return sum(os.path.getsize(path) for path in files if os.path.isfile(path))


SEAMS = {  # system -> [(what stands there, module, file inside its package, text to look for)]
    "minidl": [
        ("operation", "minidl", "engine/ops.py", "def tanh(xp, a):"),
        ("gradient", "minidl", "engine/ops.py", "@tanh.gradient"),
    ],
    "PyTorch": [
        ("operation", "torchgen", "packaged/ATen/native/native_functions.yaml",
         "- func: tanh(Tensor self) -> Tensor"),
        ("gradient", "torchgen", "packaged/autograd/derivatives.yaml",
         "- name: tanh(Tensor self) -> Tensor"),
    ],
    "TensorFlow": [
        ("operation", "tensorflow", "python/ops/gen_math_ops.py", "def tanh(x:"),
        ("gradient", "tensorflow", "python/ops/math_grad.py", '@ops.RegisterGradient("Tanh")'),
    ],
    "Keras": [
        ("operation", "keras", "src/ops/numpy.py", "class Tanh(Operation):"),
        ("handed on to", "keras", "src/backend/torch/numpy.py", "def tanh(x):"),
    ],
    "JAX": [
        ("operation", "jax", "_src/lax/lax.py", "tanh_p = "),
        ("gradient", "jax", "_src/lax/lax.py", "ad.defjvp2(\n    tanh_p,"),
    ],
    "scikit-learn": [
        ("operation", "sklearn", "neural_network/_base.py", "def inplace_tanh(X):"),
        ("gradient", "sklearn", "neural_network/_base.py",
         "def inplace_tanh_derivative(Z, delta):"),
    ],
}  # fmt: skip


def seams():
    """Where in each source tanh stands, and its gradient: file, line, and its text."""
    found = {}
    for system, places in SEAMS.items():
        for what, module, file, text in places:
            root = Path(importlib.util.find_spec(module).origin).parent
            source = (root / file).read_text(encoding="utf-8")
            at = source.index(text)
            found.setdefault(system, {})[what] = {
                "file": f"{module}/{file}", "line": source.count("\n", 0, at) + 1,
                "text": " ".join(source[at:].split("\n")[0].split()),
            }  # fmt: skip
    return found


def small_things():
    """What the real ones answer where conventions differ: one step of Adam, padding, defaults."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    import torch
    from sklearn.neural_network import MLPClassifier

    steps = {"PyTorch": {}, "Keras": {}}
    for g in (1e-2, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        p.grad = torch.full((1,), g, dtype=torch.float64)
        torch.optim.Adam([p], lr=1.0).step()
        steps["PyTorch"][g] = -p.item()
        v = keras.Variable([0.0], dtype="float64")
        optimizer = keras.optimizers.Adam(1.0)
        optimizer.build([v])
        optimizer.apply([keras.ops.convert_to_tensor([g], dtype="float64")])
        steps["Keras"][g] = -float(keras.ops.convert_to_numpy(v)[0])
    decayed = {}
    for kind in torch.optim.Adam, torch.optim.AdamW:
        p = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = kind([p], lr=0.1, weight_decay=0.2)
        for g in (0.5, -0.2, 0.3):
            p.grad = torch.full((1,), g, dtype=torch.float64)
            optimizer.step()
        decayed[kind.__name__] = p.item()
    x = np.array([1, 2, 3, 4], "float32")
    ones = torch.ones(1, 1, 3)
    theirs = keras.layers.Conv1D(1, 3, 2, "same", use_bias=False, kernel_initializer="ones")
    padded = {
        "PyTorch, padding=1": torch.conv1d(torch.tensor(x)[None, None], ones, stride=2, padding=1),
        "Keras, same": theirs(x[None, :, None]).detach(),
    }
    default = {}
    for name, kind in {
        "PyTorch Adam": torch.optim.Adam, "Keras Adam": keras.optimizers.Adam,
        "PyTorch BatchNorm1d": torch.nn.BatchNorm1d,
        "Keras BatchNormalization": keras.layers.BatchNormalization,
        "PyTorch LeakyReLU": torch.nn.LeakyReLU, "Keras LeakyReLU": keras.layers.LeakyReLU,
        "PyTorch DataLoader": torch.utils.data.DataLoader, "Keras fit": keras.Model.fit,
        "Keras compile": keras.Model.compile, "Keras Dense": keras.layers.Dense,
        "scikit-learn MLPClassifier": MLPClassifier,
    }.items():  # fmt: skip
        wanted = """lr learning_rate eps epsilon momentum negative_slope batch_size shuffle alpha
            optimizer kernel_initializer learning_rate_init solver hidden_layer_sizes
            weight_decay max_iter""".split()
        given = inspect.signature(kind).parameters
        default[name] = {n: given[n].default for n in wanted if n in given}
    return {
        "first step of Adam, lr 1": steps,
        "PyTorch, three steps with decay": decayed,
        "padded": {name: np.asarray(a).ravel().tolist() for name, a in padded.items()},
        "defaults": default,
    }


# ---- all of it


def measure(rounds, only):
    rows, state = {name: {"lines": len(lines_of(SYSTEMS[name][0]))} for name in only}, {}
    with contextlib.ExitStack() as stack:
        ask = {name: stack.enter_context(worker(name)) for name in only}
        for size in SIZES:
            word = "" if size == "small" else "next\n"
            with ThreadPoolExecutor(len(only)) as pool:
                said = dict(zip(only, pool.map(lambda name, word=word: ask[name](word), only)))
            took = {name: [] for name in only}
            for _ in range(rounds):
                for name in random.sample(only, len(only)):
                    took[name].append(ask[name]("\n"))
                print(size, {name: round(1e3 * min(t), 3) for name, t in took.items()}, flush=True)
            fill(rows, size, said, {name: min(t) for name, t in took.items()})
            if size == "small" and "PyTorch" in said:
                w1, b1, w2, b2 = (np.asarray(a).round(3) for a in said["PyTorch"]["weights"])
                state = {"0.weight": w1.T, "0.bias": b1, "2.weight": w2.T, "2.bias": b2}
    with ThreadPoolExecutor(len(only)) as pool:
        seconds = dict(zip(only, pool.map(lambda name: seconds_to_import(name, 3), only)))
    for name in only:
        size, packages = size_of(name)
        rows[name] |= {
            "import, s": float(f"{seconds[name]:.2g}"),
            "MB": round(size / 1e6),
            "packages": packages,
        }
        print(name, rows[name], flush=True)
    return rows, {name: a.tolist() for name, a in state.items()}


def fill(rows, size, said, took):
    """Into the rows of all systems what was measured at one size."""
    ours = [np.asarray(a) for a in said["minidl"]["weights"]]
    for name, row in rows.items():
        theirs = [np.asarray(a) for a in said[name]["weights"]]
        apart = max(float(abs(a - b).max()) for a, b in zip(ours, theirs))
        row[size] = {
            "right": said[name]["right"],
            "apart": float(f"{apart:.2g}"),
            "ms": float(f"{1e3 * took[name]:.3g}"),
            "speed": float(f"{took['minidl'] / took[name]:.2g}"),
            "first step, s": float(f"{said[name]['first']:.2g}"),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return work(given.work)
    rows, state = measure(given.rounds, given.only)
    packages = "numpy scikit-learn torch jax jaxlib tensorflow-cpu keras".split()
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    found = {
        "date": datetime.date.today().isoformat(),
        "machine": f"{cpu[1] if cpu else '?'}, {os.cpu_count()} processors, one thread each",
        "rounds": given.rounds,
        "versions": {name: metadata.version(name) for name in packages},
        "sizes": {n: {"widths": w[0], "batch": w[1]} for n, w in SIZES.items()},
        "systems": rows, "seams": seams(), **small_things(), "state of PyTorch": state,
    }  # fmt: skip
    text = json.dumps(found, indent=1, ensure_ascii=False)
    # Lists of numbers on one line each.
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    (HERE / "compare.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
