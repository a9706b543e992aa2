"""The one door to arrays: modules, devices, random numbers, and the stand-in device itself."""

import operator
import os
import platform
import subprocess
import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import minidl
from minidl.engine import devices, intercept, ops, random
from minidl.engine.tensor import tensor
from minidl.gpu import doubts, streams

standin = devices.device_module("standin")  # conftest.py makes it known


@pytest.fixture
def known(monkeypatch):
    """The tables of known devices, put back afterwards."""
    for module, name in (devices, "ARRAYS"), (devices, "_devices"), (random, "_generators"):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))


# ---- which module an array belongs to


def test_array_module():
    here, there = np.ones(2), standin.ones(2)
    assert devices.array_module(here, here) is np
    assert devices.array_module(there) is standin
    assert devices.array_module(there, 2.0, np.float32(1), True, 1j) is standin
    assert devices.array_module(1.0, np.int64(2)) is np
    assert devices.array_module() is np


def test_a_subclass_belongs_where_its_base_does():
    class Named(np.ndarray):
        pass

    assert devices.array_module(np.ones(2).view(Named)) is np
    assert devices.is_array(np.ones(2).view(Named))


def test_arrays_on_two_devices():
    message = r"live on different devices: numpy and standin; move one with .to\(device\)"
    for arrays in ([np.ones(1), standin.ones(1)], [standin.ones(1), 1.0, np.ones(1)]):
        with pytest.raises(TypeError, match=message):
            devices.array_module(*arrays)


def test_what_is_no_array():
    for wrong, name in (([1.0], "list"), (None, "NoneType"), ("abc", "str"), ((1,), "tuple")):
        with pytest.raises(TypeError, match=f"expected an array or a number, got {name}"):
            devices.array_module(np.ones(1), wrong)
    with pytest.raises(TypeError) as caught:
        devices.array_module(list(range(1000)))
    assert len(str(caught.value)) < 200, "a long list is cut short"


def test_what_holds_an_array_is_told_how_to_take_it():
    with pytest.raises(TypeError, match=r"got Tensor: .*\.numpy\(\) gives one"):
        devices.to_numpy(tensor([1.0]))
    with pytest.raises(TypeError, match=r"got list: .*minidl\.tensor\(\.\.\.\) makes one"):
        devices.to_numpy([1.0])


def test_is_array():
    assert devices.is_array(np.ones(2))
    assert devices.is_array(standin.ones(2))
    assert not [a for a in (1.0, np.float64(1), [1.0], None, tensor(1.0)) if devices.is_array(a)]


# ---- devices


def test_a_copy_has_arrived_when_it_is_given(monkeypatch):
    """On a card the copy may be under way still."""
    arrived, send = [], devices.send

    def slow(module, a):
        moved, arrive = send(module, a)
        return moved, lambda: (arrive(), arrived.append(moved))

    monkeypatch.setattr(devices, "send", slow)
    moved = devices.to_device(np.arange(3.0), "standin")
    assert [a is moved for a in arrived] == [True]


def test_to_device_and_back(device):
    a = np.array([1.0, 2.0])
    moved = devices.to_device(a, device)
    assert devices.device_of(moved) == device
    assert devices.array_module(moved) is devices.device_module(device)
    assert devices.to_device(moved, device) is moved
    np.testing.assert_array_equal(devices.to_numpy(moved), a, strict=True)
    np.testing.assert_array_equal(devices.to_device(moved, "cpu"), a, strict=True)
    if device != "cpu":
        devices.to_numpy(moved)[0] = 5
        assert devices.to_numpy(moved)[0] == 1, "a copy"


def test_to_numpy_does_not_copy_what_is_there():
    a = np.ones(2)
    assert devices.to_numpy(a) is a


def test_add_device(known):
    class Array:
        pass

    module = ModuleType("other")
    devices.add_device("other", module, Array)
    assert devices.device_module("other") is module
    assert devices.array_module(Array()) is module
    assert devices.device_of(Array()) == "other"
    assert devices.is_array(Array())


def test_unknown_device():
    with pytest.raises(ValueError, match='unknown device \'gpu\'; expected "cpu" or "cuda"'):
        devices.device_module("gpu")
    for given in (np.float32, "float64", ["cpu"], 0):
        with pytest.raises(ValueError, match=r'a type is given so: x.astype\("float64"\)'):
            devices.device_module(given)
    with pytest.raises(ValueError, match="unknown device 'cuda:0'"):
        devices.to_device(np.ones(1), "cuda:0")


# ---- doubts


@pytest.mark.parametrize("wrong", [[True, False], [False, True], [True, True], [False, False]])
@pytest.mark.parametrize("number", [1.0, [1.0, 2.0], 3])
def test_a_doubt_stays_until_the_host_asks(wrong, number):
    """One that is settled does not hide one of the same message that is not, before or after it."""
    for one in wrong:
        doubts.doubt(standin, standin.array(one), "a wrong label")
    doubts.doubt(standin, standin.array(False), "another")
    if any(wrong):
        with pytest.raises(ValueError, match=r"^a wrong label$"):
            devices.to_numpy(standin.array(number))
    found = devices.to_numpy(standin.array(number))
    np.testing.assert_array_equal(found, np.array(number), strict=True)


def test_of_several_doubts_the_first_that_is_wrong_is_raised():
    for message, wrong in ("first", False), ("second", True), ("third", True):
        doubts.doubt(standin, standin.array(wrong), message)
    with pytest.raises(ValueError, match=r"^second$"):
        devices.to_numpy(standin.array(1.0))
    assert devices.to_numpy(standin.array(1.0)) == 1, "it is raised once"


def test_on_the_cpu_nothing_waits():
    doubts.doubt(np, np.False_, "no")
    with pytest.raises(ValueError, match=r"^yes$"):
        doubts.doubt(np, np.True_, "yes")
    assert not doubts._doubts


# ---- CuPy, present or not


class DriverError(RuntimeError):
    pass


def fake_cupy(count):
    """What `cuda_status` asks of CuPy, on a machine with `count` GPUs (None: no driver)."""

    def get_device_count():
        if count is None:
            raise DriverError("cudaErrorNoDevice: no CUDA-capable device is detected")
        return count

    cupy = ModuleType("cupy")
    cupy.__version__ = "14.0"
    cupy.ndarray = type("ndarray", (), {})
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            CUDARuntimeError=DriverError,
            getDeviceCount=get_device_count,
            getDeviceProperties=lambda i: {"name": b"a GPU"},
        )
    )
    return cupy


def test_cuda_without_cupy(known, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    devices._devices.pop("cuda", None)
    assert streams.status() == 'CuPy is not installed; pip install "minidl[gpu]"'
    for wanted in (lambda: devices.device_module("cuda"), lambda: tensor([1.0], device="cuda")):
        with pytest.raises(RuntimeError, match="device 'cuda' cannot be used: CuPy is not install"):
            wanted()


@pytest.mark.parametrize(
    ["count", "says"],
    [
        (None, "CuPy 14.0 is installed, but the driver answers: cudaErrorNoDevice: no CUDA-cap"),
        (0, "no GPU was found"),
    ],
)
def test_cuda_without_a_gpu(count, says, known, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(count))
    devices._devices.pop("cuda", None)
    assert streams.status().startswith(says)
    with pytest.raises(RuntimeError, match=f"device 'cuda' cannot be used: {says[:20]}"):
        tensor([1.0]).to("cuda")
    assert "cuda" not in devices._devices


def test_cuda_with_a_gpu(known, monkeypatch):
    cupy = fake_cupy(2)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    devices._devices.pop("cuda", None)
    assert streams.status() == "available: 2 x a GPU, CuPy 14.0"
    assert devices.device_module("cuda") is cupy
    assert devices.device_of(cupy.ndarray()) == "cuda"


def test_an_array_of_cupy_is_known_before_its_device_is_asked_for(known, monkeypatch):
    cupy = fake_cupy(1)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    devices._devices.pop("cuda", None)
    assert devices.array_module(cupy.ndarray()) is cupy
    with pytest.raises(TypeError, match="got list"):
        devices.array_module([1.0])


def test_cupy_is_not_imported_until_it_is_asked_for():
    code = "import minidl, sys; minidl.tensor([1.0]) + 1; assert 'cupy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="waits for glibc")
@pytest.mark.parametrize("own_settings", [False, True])
def test_freed_memory_is_used_again(own_settings):
    """The second time the same pages serve; not where somebody has their own settings."""
    code = """if True:
        import resource, numpy, minidl
        def faults():
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            alive = [numpy.ones(1 << 17) for _ in range(40)]
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        print(faults(), faults())
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env |= {"MALLOC_ARENA_MAX": "4"} if own_settings else {}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, again = map(int, done.stdout.split())
    assert (again < first / 10) is not own_settings, (first, again)


# ---- random numbers


def test_manual_seed_starts_again(device):
    xp = devices.device_module(device)
    draws = []
    for seed in (3, 3, 4):
        random.manual_seed(seed)
        assert random.generator(xp) is random.generator(xp)
        draws.append(devices.to_numpy(random.generator(xp).random(5)).tolist())
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("seed", [-1, 1.5, "3", None])
def test_seeds_that_cannot_be(seed):
    random.manual_seed(5)
    with pytest.raises(ValueError, match=f"expected a seed, an integer from 0, got {seed!r}"):
        random.manual_seed(seed)
    assert random.random_state()["seed"] == 5, "as it was"
    random.manual_seed(np.int64(3))
    assert type(random.random_state()["seed"]) is int


def test_random_state_goes_there_and_back():
    random.manual_seed(7)
    random.generator().random(3)
    state = random.random_state()
    expected = random.generator().random(5)
    random.manual_seed(0)
    random.set_random_state(state)
    np.testing.assert_array_equal(random.generator().random(5), expected)
    assert random.random_state()["seed"] == 7


def test_random_state_is_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(plain(part) for part in value.values())
        return type(value) in (int, str)

    assert plain(random.random_state())


def test_other_devices_start_again_from_the_seed():
    random.manual_seed(7)
    first = random.generator(standin).random(3).tolist()
    random.set_random_state(random.random_state())
    assert random.generator(standin).random(3).tolist() == first


# ---- threads


def test_recording_belongs_to_a_thread():
    found = []
    with minidl.no_grad():
        thread = threading.Thread(target=lambda: found.append(intercept.modes.recording))
        thread.start()
        thread.join()
        assert intercept.modes.recording is False
    assert found == [True]
    assert intercept.modes.recording is True


def test_threads_build_graphs_beside_each_other():
    """Eight threads, some recording and some not, each with its own answer."""
    failures = []

    def work(k):
        x = tensor(float(k), requires_grad=True)
        for _ in range(200):
            if k % 2:
                with minidl.no_grad():
                    right = not (x * x).requires_grad
            else:
                right = minidl.grad(ops.sin(x) * x, x, create_graph=True)[0].requires_grad
            if not right:
                failures.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# ---- the stand-in device refuses what CuPy refuses, or it would prove nothing


@pytest.mark.parametrize(
    "mistake",
    [
        lambda a, b: np.exp(a),
        lambda a, b: np.sum(a),
        lambda a, b: np.concatenate([a, b]),
        lambda a, b: np.asarray(a),
        lambda a, b: np.array([a, a]),
        lambda a, b: np.add.at(b, np.array([0]), a[:1]),
        lambda a, b: a + b,
        lambda a, b: b + a,
        lambda a, b: a @ b,
        lambda a, b: b @ a,
        lambda a, b: a < b,
        lambda a, b: b == a,
        lambda a, b: operator.iadd(a, b),
        lambda a, b: a[np.array([0])],
        lambda a, b: a[:1, np.array([0])],
        lambda a, b: a.__setitem__(..., b),
        lambda a, b: b.__setitem__(..., a),
        lambda a, b: standin.exp(b),
        lambda a, b: standin.where(a > 0, a, b),
        lambda a, b: standin.concatenate([a, b]),
        lambda a, b: standin.add.at(a, standin.array([0]), b[:1]),
        lambda a, b: {a},
    ],
)
def test_the_standin_refuses(mistake):
    with pytest.raises(TypeError):
        mistake(standin.ones(2), np.ones(2))


def test_the_standin_gives_arrays_without_axes_and_no_scalars():
    a = standin.array([[1.0, 2.0], [3.0, 4.0]])
    for y in (a.sum(), a.max(), standin.sum(a), a[0, 0], a.argmax(), standin.exp(1.0), a[0] @ a[0]):
        assert type(y) is type(a)
        assert y.shape == ()
    assert float(a.sum()) == 10
    assert int(a.argmax()) == 3
    assert a.max().item() == 4


def test_the_standin_computes():
    a = standin.array([[1.0, 2.0], [3.0, 4.0]])
    a[0, standin.array([0, 1])] = 7.0
    a[1] += standin.ones(2)
    standin.add.at(a, (1, standin.array([0, 0])), 1.0)
    assert standin.asnumpy(a).tolist() == [[7, 7], [6, 5]]
    assert (a.T @ a).tolist() == (standin.asnumpy(a).T @ standin.asnumpy(a)).tolist()
    assert (2 - a + np.float64(1)).tolist() == [[-4, -4], [-3, -2]]
    assert (-a > 3 * a).tolist() == [[False, False], [False, False]]
    assert a.astype("float32").dtype == standin.float32
    assert standin.broadcast_to(a, (3, 2, 2)).shape == (3, 2, 2)


def test_an_array_is_sent_by_a_stream_where_there_are_some(monkeypatch):
    sent = []

    def send(module, a):
        sent.append((module, a))
        return "there", lambda: None

    monkeypatch.setattr(streams, "send", send)
    card = SimpleNamespace(__name__="card", cuda=True, asarray=lambda a: "at once")
    a = np.ones(2)
    assert devices.send(card, a)[0] == "there" and sent[0][0] is card and sent[0][1] is a
    assert devices.send(card, np.ones(0))[0] == "at once" and len(sent) == 1
