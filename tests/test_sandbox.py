"""The walls: what a submission's process cannot do, seen from inside."""

import pytest
from test_grading import HEAD, answers

from grading import sandbox, verdict
from grading.task import tasks

pytestmark = pytest.mark.skipif(
    not sandbox.available(), reason="waits for bubblewrap (apt install bubblewrap)"
)


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """inside(source): what a cell leaves in `found`, told by an answer's error."""
    first = {"07.1": tasks("07")["07.1"]}
    monkeypatch.setattr(verdict, "tasks", lambda lesson: first)

    def run(source):
        body = f"{HEAD}    raise ValueError(repr(found))"
        path = answers(tmp_path, "07", {"07.1": body}, source)
        text = verdict.grade(path, walls=True, seed=1)[0].text
        assert "ValueError: " in text, text
        return text.partition("ValueError: ")[2].partition("\n")[0]

    return run


def test_closed_calls_of_the_system_are_refused(inside):
    library = sandbox._library()
    names = " ".join(sandbox.REFUSED.values()).split()
    numbers = {name: library.seccomp_syscall_resolve_name(name.encode()) for name in names}
    numbers = {name: n for name, n in numbers.items() if n >= 0}
    assert len(numbers) > 60 and {"memfd_create", "shmget", "fork", "vmsplice"} <= numbers.keys()
    source = (
        f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfound = []\n"
        f"for name, number in {numbers}.items():\n    ctypes.set_errno(0)\n"
        "    if libc.syscall(number, 0, 0, 0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:\n"
        "        found.append(name)\n"
    )
    assert inside(source) == "[]"


def test_sockets_and_new_processes_are_refused(inside):
    source = """
import os, socket, subprocess, threading
found = []
def refused(name, make):
    try: make()
    except OSError: return
    found.append(name)
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 38, 17, 40):
    refused(family, lambda: socket.socket(family, socket.SOCK_DGRAM))
refused('fork', os.fork)
refused('spawn', lambda: os.posix_spawn('/bin/true', ['true'], {}))
refused('popen', lambda: subprocess.Popen(['/bin/true']))
refused('memfd', lambda: os.memfd_create('x'))
refused('file', lambda: open('/usr/lib/x', 'w'))
a, b = socket.socketpair()
t = threading.Thread(target=print); t.start(); t.join()
"""
    assert inside(source) == "[]"


def test_memory_in_files_is_small(inside):
    source = """
found = 0
for place in ('/tmp', '/dev/shm', '/dev', '/', '/packages', '/proc', '/run', '/var', '/home'):
    for i in range(200):
        try:
            with open(f'{place}/x{i}', 'wb') as file: file.write(b'x' * 10**6); found += 1
        except OSError: break
found = 50 < found < 160
"""
    assert inside(source) == "True"


def test_only_python_numpy_and_what_the_task_opens_can_be_read(inside):
    source = """
import os, sys, importlib
found = []
sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'Refuse']
sys.path[:0] = ['/usr/lib/python3/dist-packages']
for name in ('sklearn', 'scipy', 'pandas', 'torch', 'onnx', 'nbformat', 'minidl', 'pip'):
    try: importlib.import_module(name); found.append(name)
    except ImportError: pass
for place, folders, files in os.walk('/'):
    if place == '/proc': folders[:] = []
    name = os.path.basename(place)
    if name in ('site-packages', 'dist-packages') and (folders or files):
        found.append(place)
    if name in ('sklearn', 'scipy', 'minidl', 'solutions', 'grading', 'onnx') and files:
        found.append(place)
    if name == 'numpy' and '__init__.py' in files and place != '/packages/numpy':
        found.append(place)
    found += [f for f in files if f.endswith('.ipynb')]
"""
    assert inside(source) == "[]"


def test_a_task_that_opens_a_package_gets_what_it_needs_too():
    names = {path.name.partition(".")[0] for path in sandbox.packages(("sklearn",))}
    assert {"numpy", "scipy", "joblib", "sklearn", "matplotlib"} <= names
    assert not {"torch", "pandas", "IPython", "minidl"} & names
    assert "sklearn" in sandbox.closed(()) and "sklearn" not in sandbox.closed(("sklearn",))


def test_without_libseccomp_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox.ctypes.util, "find_library", lambda name: "nowhere.so")
    sandbox._library.cache_clear()
    sandbox.call_filter.cache_clear()
    with pytest.raises(sandbox.NoSandbox, match="apt install libseccomp2"):
        sandbox.require()
    monkeypatch.undo()
    sandbox.require()
