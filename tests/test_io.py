"""safetensors, both ways with the official library, and files that mean harm."""

import errno
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.numpy as official
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidl import io, nn, tensor
from minidl.engine import devices

DTYPES = [np.dtype(code) for code in io._TYPES.values()]
rng = np.random.default_rng(0)


def sample(dtype, shape):
    return np.array(100 * rng.standard_normal(shape)).astype(dtype)


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, a in wanted.items():
        assert found[name].dtype == a.dtype and found[name].shape == a.shape, name
        assert found[name].tobytes() == a.tobytes(), name


EVERYTHING = {
    f"{dtype.name} {shape}": sample(dtype, shape)
    for dtype in DTYPES
    for shape in [(), (0,), (3,), (2, 0, 4), (2, 3, 4)]
}
EVERYTHING |= {
    "": sample("f4", 2),
    "größe/权重": sample("f4", 3),
    'a "quoted" \\ name': sample("i1", 1),
}


# ---- with the official library


def test_what_has_numbers_for_numpy_is_saved(tmp_path):
    """Such as a tensor of PyTorch, which has `numpy()` too."""

    class Other:
        def numpy(self):
            return np.arange(3.0)

    io.save(tmp_path / "a", {"x": Other()})
    np.testing.assert_array_equal(io.load(tmp_path / "a")[0]["x"], np.arange(3.0))


def test_the_official_library_reads_what_we_write(tmp_path):
    path = tmp_path / "a.safetensors"
    io.save(path, EVERYTHING, {"epoch": "3", "größe": "größe"})
    same(official.load_file(path), EVERYTHING)
    with official.safe_open(path, "numpy") as file:
        assert file.metadata() == {"epoch": "3", "größe": "größe"}


def test_we_read_what_the_official_library_writes(tmp_path):
    path = tmp_path / "a.safetensors"
    official.save_file(EVERYTHING, path, {"epoch": "3", "größe": "größe"})
    found, metadata = io.load(path)
    same(found, EVERYTHING)
    assert metadata == {"epoch": "3", "größe": "größe"}


def test_a_file_of_nothing(tmp_path):
    io.save(tmp_path / "a", {})
    assert io.load(tmp_path / "a") == ({}, {})
    assert official.load_file(tmp_path / "a") == {}


def test_bfloat16_is_read_as_float32(tmp_path, torch):
    from safetensors.torch import save_file

    values = torch.tensor([[1.5, -2.0], [3e38, 0.1]], dtype=torch.bfloat16)
    save_file({"w": values}, tmp_path / "a")
    found, _ = io.load(tmp_path / "a")
    assert found["w"].dtype == np.float32
    np.testing.assert_array_equal(found["w"], values.float().numpy())


@pytest.mark.slow
@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda s: s.isprintable() and s != "__metadata__"),
        st.sampled_from(DTYPES).flatmap(
            lambda d: hnp.arrays(
                d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
            )
        ),
        max_size=4,
    )
)
def test_what_goes_in_comes_out(tmp_path_factory, tensors):
    path = tmp_path_factory.mktemp("io") / "a"
    io.save(path, tensors)
    same(io.load(path)[0], tensors)
    same(official.load_file(path), tensors)


def test_views_big_endian_and_devices(tmp_path, device):
    x = np.arange(12, dtype="f4").reshape(3, 4)
    home = devices.to_device(x, device)
    given_ = {"t": tensor(home), "turned": home.T, "every other": home[:, ::2]}
    io.save(tmp_path / "a", given_ | {"big": x.astype(">f4")})
    found, _ = io.load(tmp_path / "a")
    same(found, {"t": x, "turned": x.T.copy(), "every other": x[:, ::2].copy(), "big": x})


def test_a_file_of_a_device_is_that_of_the_cpu(tmp_path, device):
    there = {name: devices.to_device(a, device) for name, a in EVERYTHING.items()}
    io.save(tmp_path / "a", there, {"epoch": "3"})
    io.save(tmp_path / "b", EVERYTHING, {"epoch": "3"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("n", range(8))
def test_every_array_begins_at_a_multiple_of_its_elements_size(tmp_path, n):
    """So that a reader can map the file into memory; however long names and header are."""
    path = tmp_path / "a"
    io.save(path, {f"{'n' * n}{name}": a for name, a in EVERYTHING.items()})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0, "the header's length"
    for name, entry in json.loads(content[8 : 8 + length]).items():
        size = np.dtype(io._TYPES[entry["dtype"]]).itemsize
        assert entry["data_offsets"][0] % size == 0, f"{name} of {entry}"


def test_what_is_loaded_can_be_written_to(tmp_path):
    io.save(tmp_path / "a", {"x": np.ones(3, "f4")})
    found, _ = io.load(tmp_path / "a")
    found["x"][0] = 5
    assert found["x"].tolist() == [5, 1, 1]


def test_a_module_goes_and_comes_back(tmp_path, device):
    for one, two in (device, device), (device, "cpu"), ("cpu", device):
        one, two = (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(2)).to(d) for d in (one, two))
        home = two[0].weight.device
        io.save(tmp_path / "a", one.state_dict())
        two.load_state_dict(io.load(tmp_path / "a")[0])
        same(*({k: t.numpy() for k, t in model.tensors()} for model in (two, one)))
        assert {t.device for _, t in two.tensors()} == {home}


# ---- what cannot be written


@pytest.mark.parametrize(
    "tensors, metadata, message",
    [
        ({"z": np.ones(2, complex)}, None, "z: safetensors has no elements of type complex128"),
        ({"o": np.array([None])}, None, "o: safetensors has no elements of type object"),
        ({"s": np.array(["a"])}, None, "no elements of type <U1"),
        ({3: np.ones(2)}, None, "name must be a string other than __metadata__, got 3"),
        ({"__metadata__": np.ones(2)}, None, "other than __metadata__"),
        ({}, {"epoch": 3}, "metadata must be a dict of strings"),
        ({}, {3: "epoch"}, "metadata must be a dict of strings"),
        ({}, "epoch 3", "metadata must be a dict of strings, got 'epoch 3'"),
        ([np.ones(2)], None, r"tensors must be a dict, as from state_dict\(\), got \[array"),
        (nn.Linear(2, 1), None, "tensors must be a dict"),
        ({"a": [1.0]}, None, r"expected an array or a number, got list: \[1.0\]"),
    ],
)
def test_what_cannot_be_written_is_refused_and_the_old_file_stays(
    tmp_path, tensors, metadata, message
):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=message):
        io.save(path, tensors, metadata)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"]


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "a", tmp_path / "file" / "a", tmp_path):
        with pytest.raises(OSError, match="could not save") as caught:
            io.save(path, {})
        assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["file"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    io.save(tmp_path / "a", {})
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


# ---- hostile files


def raw(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


ONE = raw({"w": entry()}, bytes(8))
HOSTILE = {
    "empty": (b"", "it has 0 bytes"),
    "seven bytes": (bytes(7), "it has 7 bytes"),
    "a huge header": (raw(b"{}", length=2**63), "claims 9223372036854775808 bytes, at most"),
    "a header over the limit": (raw(b"{}", length=100_000_001), "at most 100000000"),
    "a header beyond the end": (raw(b"{}", length=3), "only 2 follow: truncated"),
    "truncated data": (ONE[:-1], "at byte 8, the file at 7 .truncated"),
    "more data": (ONE + b"\0", "the arrays end at byte 8, the file at 9"),
    "a pickle": (b"\x80\x04\x95" + bytes(40), "claims|begin with"),
    "no JSON": (raw(b"{'w': 1}"), "no JSON"),
    "no object": (raw(b"[]"), r"must begin with '\{'"),
    "no text": (raw(b'{"\xff":1}'), "no JSON"),
    "deep": (raw(b'{"a":' * 100_000), "no JSON"),
    "duplicate keys": (
        raw(b'{"w":%s,"w":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)), "duplicate"
    ),
    "duplicate keys inside": (
        raw(b'{"w":{"dtype":"F32","dtype":"F64","shape":[],"data_offsets":[0,4]}}', bytes(4)),
        "duplicate",
    ),
    "unknown dtype": (raw({"w": entry("F31")}, bytes(8)), "unknown dtype 'F31'"),
    "a dtype that is no text": (raw({"w": entry(["F32"])}, bytes(8)), "unknown dtype"),
    "the wrong dtype": (raw({"w": entry("F64")}, bytes(8)), "needs 16 bytes"),
    "a field missing": (raw({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)), "must have dtype"),
    "a field too many": (raw({"w": entry() | {"code": "x"}}, bytes(8)), "must have dtype"),
    "no entry": (raw({"w": 3}), "must have dtype"),
    "a negative length": (raw({"w": entry(shape=[-2])}, bytes(8)), "shape must be whole numbers"),
    "two negative lengths": (raw({"w": entry(shape=[-1, -2])}, bytes(8)), "shape must be whole"),
    "half a length": (raw({"w": entry(shape=[2.0])}, bytes(8)), "shape must be whole"),
    "a truth as length": (raw({"w": entry(shape=[True, 2])}, bytes(8)), "shape must be whole"),
    "no shape": (raw({"w": entry(shape=None)}, bytes(8)), "shape must be whole"),
    "a huge shape": (raw({"w": entry(shape=[2**40, 2**40])}, bytes(8)), "elements than can be"),
    "a shape with zero": (raw({"w": entry(shape=[0, 2**59])}, bytes(8)), "needs 0 bytes"),
    "a shape with zero and huge": (
        raw({"w": entry(shape=[0, 2**70], offsets=[0, 0])}), "elements than can be counted"
    ),
    "too many axes": (raw({"w": entry(shape=[1] * 65 + [2])}, bytes(8)), "more axes"),
    "a product without end": (
        raw({"w": entry(shape=[10**4000] * 60)}), "more axes or elements than can be counted"
    ),
    "a number without end": (raw(b'{"w": ' + b"9" * 5000 + b"}"), "no JSON"),
    "a negative offset": (raw({"w": entry(offsets=[-8, 0])}, bytes(8)), "data_offsets must be"),
    "offsets the wrong way": (raw({"w": entry(offsets=[8, 0])}, bytes(8)), r"\[0, 8\], got \[8, 0"),
    "offsets beyond the end": (raw({"w": entry(offsets=[8, 16])}, bytes(8)), r"got \[8, 16\]"),
    "arrays beyond the end": (
        raw({"a": entry(), "b": entry(offsets=[8, 16])}, bytes(8)), "end at byte 16, the file at 8"
    ),
    "only a wrong begin": (raw({"w": entry(offsets=[4, 8])}, bytes(8)), r"\[0, 8\], got \[4, 8\]"),
    "an end before its begin": (
        raw({"w": entry(offsets=[9, 8])}, bytes(8)), r"\[0, 8\], got \[9, 8\]"
    ),
    "a begin inside the one before": (
        raw({"a": entry(), "b": entry(offsets=[4, 16])}, bytes(16)), r"\[8, 16\], got \[4, 16\]"
    ),
    "a begin after a hole": (
        raw({"a": entry(), "b": entry(offsets=[12, 16])}, bytes(16)), r"\[8, 16\], got \[12, 16\]"
    ),
    "begins out of order": (
        raw({"a": entry(offsets=[8, 8]), "b": entry(offsets=[0, 16])}, bytes(16)),
        r"\[0, 8\], got \[0, 16\]",
    ),
    "no offset": (raw({"w": entry(offsets=[])}, bytes(8)), r"\[0, 8\], got \[\]"),
    "one offset": (raw({"w": entry(offsets=[0])}, bytes(8)), r"\[0, 8\], got \[0\]"),
    "three offsets": (raw({"w": entry(offsets=[0, 8, 8])}, bytes(8)), r"\[0, 8\], got \[0, 8, 8"),
    "overlap": (
        raw({"a": entry(offsets=[0, 8]), "b": entry(offsets=[4, 12])}, bytes(12)),
        r"'b' needs 8 bytes, the ones before end at 8: .* must be \[8, 16\], got \[4, 12\]",
    ),
    "the same bytes twice": (
        raw({"a": entry(), "b": entry()}, bytes(8)), r"end at 8: .* \[8, 16\], got \[0, 8\]"
    ),
    "a hole": (
        raw({"a": entry(offsets=[0, 8]), "b": entry(offsets=[9, 17])}, bytes(17)),
        r"end at 8: data_offsets must be \[8, 16\], got \[9, 17\]",
    ),
    "a hole before": (
        raw({"a": entry(offsets=[1, 9])}, bytes(9)), r"end at 0: .* \[0, 8\], got \[1, 9\]"
    ),
    "a long name": (raw({"n" * 10_000: entry(offsets=[0, 7])}, bytes(8)), "'nnnn"),
    "one name twice": (
        raw(b'{"w":1,"__metadata__":{"a":"b","a":"c"}}'), "the same key twice: duplicate"
    ),
    "metadata of numbers": (raw({"__metadata__": {"epoch": 3}}), "object of strings"),
    "metadata that is a list": (raw({"__metadata__": []}), "object of strings"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_reason(tmp_path, name):
    data, message = HOSTILE[name]
    path = tmp_path / "hostile"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        io.load(path)
    assert "hostile is no valid safetensors file" in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_hostile_file_costs_no_memory(tmp_path):
    """A sparse file that claims gigabytes is refused before they are allocated."""
    resource = pytest.importorskip("resource", reason="waits for Unix")
    unit = 1 if sys.platform == "darwin" else 1000  # bytes or kB
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.write(raw({"a": entry(shape=[2**28], offsets=[0, 2**30])}))
        file.truncate(2**30 - 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="truncated"):
        io.load(path)
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert more * unit < 50_000_000


@pytest.mark.slow
@settings(max_examples=400)
@given(st.data())
def test_a_changed_byte_is_refused_or_changes_a_value(tmp_path_factory, data):
    whole = raw({"__metadata__": {"a": "b"}, "w": entry("F32", [2, 2], [0, 16])}, bytes(16))
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    changed = changed[: data.draw(st.integers(len(whole) - 3, len(whole)))]
    path = tmp_path_factory.mktemp("fuzz") / "a"
    path.write_bytes(changed)
    try:
        found, metadata = io.load(path)
    except ValueError:
        return
    assert sum(a.nbytes for a in found.values()) <= 32 and isinstance(metadata, dict)


def test_arrays_may_lie_in_another_order_than_the_header_has(tmp_path):
    header = {
        "b": entry(offsets=[8, 16]), "a": entry(), "none": entry(shape=[0], offsets=[8, 8])
    }  # fmt: skip
    (tmp_path / "a").write_bytes(raw(header, np.arange(4, dtype="<f4").tobytes()))
    found, _ = io.load(tmp_path / "a")
    assert {name: x.tolist() for name, x in found.items()} == {"a": [0, 1], "b": [2, 3], "none": []}


def test_places_are_refused_as_the_official_library_refuses_them(tmp_path):
    """Two arrays of 8 bytes and an empty one, with every begin and end: gaps, overlaps, begins out
    of order, in either order of the header; and what both take, they read alike."""
    path, taken = tmp_path / "a", 0
    places = [(i, j) for i in (0, 4, 8, 16) for j in (0, 8, 12, 16)]
    data = np.arange(4, dtype="<f4").tobytes()
    for a, b in [(a, b) for a in places for b in places]:
        for empty in [None] if (a, b) not in (((0, 8), (8, 16)), ((8, 16), (0, 8))) else places:
            header = {"a": entry(offsets=a), "b": entry(offsets=b)}
            if empty:
                header = {"none": entry(shape=[0], offsets=empty)} | header
            content = raw(header, data)
            path.write_bytes(content)
            try:
                wanted = official.load(content)
            except Exception:  # whatever it raises, it refuses
                with pytest.raises(ValueError, match="data_offsets"):
                    io.load(path)
                continue
            same(io.load(path)[0], wanted)
            taken += 1
    assert taken > 2


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        io.load(tmp_path / "nothing")


# ---- full disk, sudden death


@pytest.fixture
def disk(monkeypatch):
    """What was asked of the disk, in order: (what, which file, how long it was then)."""
    seen, fsync, replace = [], os.fsync, os.replace

    def synced(file):
        status = os.fstat(file)
        seen.append(("fsync", status.st_ino, status.st_size))
        fsync(file)

    def replaced(source, target):
        status = os.stat(source)
        seen.append(("replace", status.st_ino, status.st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return seen


def test_a_file_is_on_the_disk_before_it_takes_the_old_one_s_name(tmp_path, disk):
    """Else, after a loss of power, the name may stand for a file that is empty."""
    path = tmp_path / "a"
    for n in (3, 100_000):
        disk.clear()
        io.save(path, {"w": np.zeros(n)})
        status = path.stat()
        whole = status.st_ino, status.st_size
        assert disk == [("fsync", *whole), ("replace", *whole)]


def test_a_disk_that_cannot_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, broken)
            with pytest.raises(OSError, match=r"could not save .Input/output error.; the old file"):
                io.save(path, {"w": np.zeros(3)})
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a"], name


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    """The limit on a file's size stands for a full disk: write() fails in the middle."""
    pytest.importorskip("resource", reason="waits for Unix")
    path = tmp_path / "a.safetensors"
    io.save(path, {"w": np.arange(10.0)})
    program = """
import resource, signal, sys
import numpy as np
from minidl import io
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    io.save(sys.argv[1], {"w": np.zeros(1_000_000)})
except OSError as error:
    print(type(error).__name__, error.filename, error)
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the old file is unchanged" in done.stdout and str(path) in done.stdout
    same(io.load(path)[0], {"w": np.arange(10.0)})
    assert os.listdir(tmp_path) == [path.name]


def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.safetensors"
    program = """
import sys
import numpy as np
from minidl import io
for i in range(1_000_000):
    io.save(sys.argv[1], {"w": np.full(300_000, float(i))})
"""
    for moment in (0.0, 0.013, 0.031):
        path.unlink(missing_ok=True)
        saver = subprocess.Popen([sys.executable, "-c", program, path])
        until = time.monotonic() + 60
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(moment)
        saver.kill()
        saver.wait()
        w = io.load(path)[0]["w"]
        assert w.shape == (300_000,)
        np.testing.assert_array_equal(w, w[0])


def test_wrong_arguments_say_what_it_is_called_with():
    with pytest.raises(TypeError, match=r"load\(\) has no argument 'map_location': "):
        io.load("weights.safetensors", map_location="cpu")
