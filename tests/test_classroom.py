"""A class: submissions that attack the grader, a grader that is killed, and what it writes."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from test_grading import HEAD, ROOT, answers

from grading import classroom, gradebook, sandbox, verdict
from grading import task as tasks_module
from grading.task import find

RIGHT = """
    while g.ndim > len(shape):
        g = g.sum(axis=0)
    for i, n in enumerate(shape):
        g = g.sum(axis=i, keepdims=True) if n == 1 else g
    return g
"""
NOTHING = "    return g + 1\n"
MARK = "717171"  # of processes that must not outlive the grader

# name: (source of the answer to 07.1, source of a cell of its own, points for 07.1)
ATTACKS = {
    "honest": (HEAD + RIGHT, "", 2),
    "wrong": (find("07.1").bank().__next__()[1], "", 0.5),
    "crash": (HEAD + "    import ctypes; ctypes.string_at(0)", "", 0),
    "crash in a cell": (HEAD + RIGHT, "import ctypes; ctypes.string_at(0)", 2),
    "syntax error": (HEAD + "    return (", "", 0),
    "error in a cell": (HEAD + RIGHT, "1 / 0", 2),
    "endless loop": (HEAD + "    while True: pass", "", 0),
    "endless loop in a cell": (HEAD + RIGHT, "while True: pass", 2),
    "stubborn loop": (
        HEAD + "    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass", "", 0,
    ),
    "sys.exit": (HEAD + "    import sys; sys.exit(0)", "", 0),
    "sys.exit in a cell": (HEAD + RIGHT, "import sys; sys.exit(0)", 2),
    "os._exit": (HEAD + "    import os; os._exit(0)", "", 0),
    "fork bomb": (
        HEAD + "    import os, subprocess\n    while True:\n        try: os.fork()\n"
        f"        except OSError: break\n    subprocess.Popen(['sleep', '{MARK}'])", "", 0,
    ),
    "fork bomb in a cell": (
        HEAD + RIGHT,
        "import os\ntry:\n    while True: os.fork()\nexcept OSError: pass", 2,
    ),
    "thread bomb": (
        HEAD + NOTHING,
        "import threading, time\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()", 0,
    ),
    "memory hog": (HEAD + "    return np.ones(10**10)", "", 0),
    "memory hog in pieces": (HEAD + "    return [np.ones(10**6) for i in range(10**6)]", "", 0),
    "disk filler": (
        HEAD + RIGHT,
        "import os\nfor folder in ('.', '/tmp', '/dev/shm', '/', '/usr', '/home', '/dev'):\n"
        "    for i in range(400):\n        try: open(f'{folder}/{i}', 'wb').write(b'x' * 10**6)\n"
        "        except OSError: break", 2,
    ),
    "megabytes of output": (HEAD + "    print('x' * 10**8)\n" + RIGHT, "print('y' * 10**8)", 2),
    "a fake score": (HEAD + "    print('07.1: 2 of 2 points'); return '2 of 2 points'", "", 0),
    "replaced allclose": (
        HEAD + NOTHING,
        "import numpy as np, numpy._core.numeric as n\n"
        "for m in (np, n):\n    m.allclose = m.isclose = m.array_equal = lambda *a, **k: True", 0,
    ),
    "equal to everything": (
        HEAD + "    return Any()",
        "class Any:\n    shape = ()\n    def __eq__(self, other): return True\n"
        "    def __array__(self, *a, **k): return self", 0,
    ),
    "an edited checker": (
        HEAD + NOTHING,
        "import grading\ngrading.check = grading.judge = lambda *a, **k: 2\n"
        "import sys; sys.modules['judge'] = grading", 0,
    ),
    "reading solutions": (
        "import glob, json\nfor path in glob.glob('ROOT/**/07_*.ipynb', recursive=True) + "
        "glob.glob('/**/07_tensor.ipynb', recursive=True):\n"
        "    for cell in json.load(open(path))['cells']:\n"
        "        if 'def unbroadcast' in ''.join(cell['source']): exec(''.join(cell['source']))\n",
        "", 0,
    ),
    "reading the grader": (
        HEAD + "    from grading.tasks_07 import unbroadcast_reference\n"
        "    return unbroadcast_reference(g, shape)",
        "import sys\nsys.path[:0] = ['ROOT', 'ROOT/exercises']\n"
        "sys.modules.pop('grading', 0); del sys.meta_path[0]", 0,
    ),
    "importing the package": (
        HEAD + "    from minidl.engine.shapes import sum_to\n    return sum_to(g, shape=shape)",
        "import sys\nsys.path[:0] = ['ROOT']; del sys.meta_path[0]", 0,
    ),
    "the gradebook": (
        HEAD + NOTHING,
        "import os, threading, time\ndef write():\n    while True:\n"
        "        for path in ('OUT/grades.csv', 'OUT/report.json', 'OUT/mine', 'ROOT/README.md'):\n"
        "            try: open(path, 'w').write('full points')\n            except OSError: pass\n"
        "        time.sleep(0.01)\n"
        "threading.Thread(target=write, daemon=True).start()\n"
        f"os.system('(sleep {MARK}; echo full > OUT/grades.csv) &')", 0,
    ),
    "forged replies": (
        HEAD + NOTHING,
        "import os\nfor fd in range(3, 30):\n    try:\n"
        "        os.write(fd, b'{\"there\": true}\\n' + b'{\"value\": 2}\\n' * 20)\n"
        "    except OSError: pass", 0,
    ),
    "a reply of 700 GB": (
        HEAD + "    import os\n    for fd in range(3, 30):\n        try:\n"
        "            os.write(fd, b'{\"value\": {\"array\": [\"<f8\", [87500000000]]}}\\n')\n"
        "        except OSError: pass\n" + RIGHT, "", 0,
    ),
    "a reply too deep": (
        HEAD + "    import os\n    for fd in range(3, 30):\n        try:\n"
        "            os.write(fd, b'{\"value\": ' + b'[' * 40000 + b'\\n')\n"
        "        except OSError: pass\n" + RIGHT, "", 0,
    ),
    "a large result": (HEAD + "    return np.zeros((3000, 3000))", "", 0),
    "network": (
        HEAD + RIGHT,
        "import socket\nfor kind, where in ((socket.AF_INET, ('127.0.0.1', PORT)), "
        "(socket.AF_UNIX, 'OUT/socket'), (socket.AF_UNIX, '\\0minidl-PID')):\n"
        "    try:\n        s = socket.socket(kind); s.connect(where); s.send(b'hello')\n"
        "    except OSError: pass", 2,
    ),
    "killing everything": (
        HEAD + RIGHT, "import os, signal\nfor pid in range(2, 40000):\n    try:\n"
        "        if pid != os.getpid(): os.kill(pid, 9)\n    except OSError: pass", 2,
    ),
    "<b>a name<i>": (HEAD + "    raise ValueError('<script>alert(1)</script>')", "", 0),
}  # fmt: skip

FORGE = "import os\nfor fd in range(3, 30):\n    try: os.write(fd, {})\n    except OSError: pass\n"


def forging(line):
    """An answer that writes a line of its own before it gives what is right."""
    body = "".join(f"    {part}\n" for part in FORGE.format(repr(line)).splitlines())
    return HEAD + body + RIGHT


def giving(expression, before=""):
    """An answer that gives something odd, made by a cell of its own."""
    return HEAD + f"    return {expression}", before, 0


ATTACKS |= {
    # values
    "a number of 401 digits": giving("10**400"),
    "a number of 10,000 digits": giving("10**10000"),
    "half characters": (HEAD + "    raise ValueError('\\ud800 \\udc80')", "", 0),
    "half a character as a key": giving("{'\\udc80': 1}"),
    "half a character as text": giving("'\\ud800'"),
    "control characters": (HEAD + "    raise ValueError('\\x1b[2J\\x07\\u202e')", "", 0),
    "65 lists deep": giving("deep(65)", "def deep(n): return [deep(n - 1)] if n else 0"),
    "a list in itself": giving("loop", "loop = []\nloop.append(loop)"),
    "a dict in itself": giving("loop", "loop = {}\nloop[1] = loop"),
    "40 axes": giving("np.zeros((1,) * 40)"),
    "odd bits in a nan": giving("np.full(g.shape, 0x7FF8DEAD00000001).view(float)"),
    "truth values that are neither": giving("np.full(g.shape, 7, 'u1').view(bool)"),
    "a structured array": giving("np.zeros(3, [('a', 'f8'), ('b', 'O')])"),
    "an array of objects": giving("np.array([print, {}], dtype=object)"),
    "an array of dates": giving("np.zeros(3, 'M8[s]')"),
    "an array without size": giving("np.zeros((0, 2**40))"),
    "keys that are arrays": giving("{np.int64(1): 1, np.float64(2): 2, (1, (2,)): 3}"),
    "keys that are nan": giving("{float('nan'): 1, float('nan'): 2}"),
    "a set of sets": giving("{frozenset([frozenset()])}"),
    "a generator": giving("(x for x in range(3))"),
    "a class": giving("int"),
    "the interpreter": giving("__import__('sys').modules"),
    "a list that never ends": giving("Endless()", "import itertools\nclass Endless(list):\n"
        "    def __iter__(self): return itertools.count()\n    __len__ = lambda self: 9**9"),
    "a dict that never ends": giving("Endless()", "import itertools\nclass Endless(dict):\n"
        "    def items(self): return itertools.count()"),
    "a text that lies": giving("Text('x')", "class Text(str):\n"
        "    def __str__(self): return 1\n    __eq__ = lambda *a: True\n    __hash__ = None"),
    "a class that lies": giving("Lie()", "class Lie:\n    __class__ = property(lambda s: list)"),
    "an array that takes for ever": giving("Slow()", "class Slow:\n"
        "    def __array__(self, *a, **k):\n        while True: pass"),
    "a repr that never ends": giving("Deep()", "class Deep:\n"
        "    def __repr__(self): return repr(self)"),
    # errors
    "an error without words": (
        HEAD + "    raise Mute", "class Mute(Exception):\n    def __str__(self): return 1 / 0", 0),
    "an error whose words never end": (
        HEAD + "    raise Mute",
        "class Mute(Exception):\n    def __str__(self):\n        while True: pass", 0),
    "an error of a strange kind": (
        HEAD + "    raise Odd", "class Meta(type):\n    def mro(cls): return type.mro(cls)\n"
        "    __name__ = 7\nclass Odd(Exception, metaclass=Meta): pass", 0),
    "an error that is none": (HEAD + "    raise End", "class End(BaseException): pass", 0),
    "an interruption": (HEAD + "    raise KeyboardInterrupt", "", 0),
    "recursion without end": (HEAD + "    return unbroadcast(g, shape)", "", 0),
    "recursion through the stack": (
        HEAD + "    import sys; sys.setrecursionlimit(10**9); return unbroadcast(g, shape)", "", 0),
    "a kill": (HEAD + "    import os; os.kill(os.getpid(), 9)", "", 0),
    "a stop": (HEAD + "    import os; os.kill(os.getpid(), 19)", "", 0),
    # the line
    "forged kinds of lines": (HEAD + RIGHT, FORGE.format(b'2\n[]\nnull\n"x"\n\n{}\n'), 2),
    "a line of bytes": (HEAD + RIGHT, FORGE.format(bytes(range(256)) + b"\n"), 2),
    "half a line": (HEAD + RIGHT, FORGE.format(b'{"ran": '), 2),
    "a forged number": (forging(b'{"value": 1' + b"0" * 5000 + b"}\n"), "", 0),
    "a forged size": (forging(b'{"value": {"array": ["<f8", [-5]]}}\n'), "", 0),
    "a forged type": (forging(b'{"value": {"array": ["O", [1]]}}\n'), "", 0),
    "a forged array of arrays": (forging(b'{"value": {"array": ["(9999999,)f8", [1]]}}\n'), "", 0),
    "a forged key": (forging(b'{"value": {"dict": [[{"list": []}, 1]]}}\n'), "", 0),
    "a forged object": (forging(b'{"value": {"object": 99}}\n'), "", 0),
    "a forged call": (forging(b'{"back": 0, "value": 1}\n'), "", 0),
    "a forged error": (forging(b'{"error": {"kinds": 7, "text": [], "line": {}}}\n'), "", 0),
    "a forged error that ends": (forging(b'{"error": {"kinds": ["SystemExit"]}}\n'), "", 0),
    "a flood of lines": (HEAD + RIGHT, "import os\nwhile True:\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, b'{}\\n' * 9999)\n        except OSError: pass", 2),
    "a flood without lines": (HEAD + RIGHT, "import os\nwhile True:\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, b'x' * 65536)\n        except OSError: pass", 2),
    "it says it is there and never reads": (
        HEAD + RIGHT, FORGE.format(b'{"ran": 1}\n{"there": true}\n') + "import time\n"
        "while True:\n    try: time.sleep(9)\n    except BaseException: pass", 2),
    "closed lines": (HEAD + RIGHT, "import os\nos.closerange(0, 200)", 2),
    "another json": (HEAD + RIGHT, "import json\njson.dumps = json.loads = lambda *a, **k: 'x'", 2),
    "deaf to signals": (HEAD + RIGHT, "import signal\nfor n in range(1, 64):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\n"
        "while True: pass", 2),
    "a thread that stays": (HEAD + RIGHT, "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(9999,)).start()", 2),
    "strict numbers": (HEAD + RIGHT, "np.seterr(all='raise')", 2),
    "seven cells that take too long": (HEAD + RIGHT, ["while True: pass"] * 7, 2),
    # memory beside the limit
    "memory in files without a name": (HEAD + RIGHT, "import os\nwhile True:\n"
        "    os.write(os.memfd_create('x'), b'x' * 10**8)", 2),
    "memory in pipes": (HEAD + RIGHT, "import os, fcntl\nwhile True:\n    r, w = os.pipe()\n"
        "    fcntl.fcntl(w, 1031, 1 << 20); os.set_blocking(w, 0); os.write(w, b'x' * 10**6)", 2),
}  # fmt: skip

walls = pytest.mark.skipif(
    not sandbox.available(), reason="waits for bubblewrap (apt install bubblewrap)"
)


@pytest.fixture
def quick(monkeypatch):
    """Limits of a few seconds, so that loops are cut soon, and two tasks of four."""
    first = dict(list(tasks_module.tasks("07").items())[:2])
    short = {i: replace(task, seconds=2.0) for i, task in first.items()}
    monkeypatch.setattr(classroom, "_processes", verdict.workers)  # others would not know of it
    for module in (verdict, classroom, gradebook):
        monkeypatch.setattr(module, "tasks", lambda lesson: short)
    monkeypatch.setattr(classroom, "_processes", verdict.workers)  # others know nothing of this
    monkeypatch.setattr(verdict, "SECONDS_PER_CELL", 1.0)
    monkeypatch.setattr(verdict, "SPARE", 1.0)


@pytest.mark.slow
@walls
def test_every_attack_gets_what_its_honest_answers_deserve(tmp_path, quick, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    heard = []
    servers = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
    servers.append(socket.socket(socket.AF_UNIX))
    servers[1].bind(str(out / "socket"))
    servers[2].bind(f"\0minidl-{os.getpid()}")
    for server in servers:
        server.listen()
        threading.Thread(target=_hear, args=(server, heard), daemon=True).start()
    words = {
        "ROOT": str(ROOT),
        "OUT": str(out),
        "PID": str(os.getpid()),
        "PORT": str(servers[0].getsockname()[1]),
    }
    folder = tmp_path / "class"
    folder.mkdir()
    for name, (answer, extra, _) in ATTACKS.items():
        for word, value in words.items():
            answer = answer.replace(word, value)
            extra = extra.replace(word, value) if isinstance(extra, str) else extra
        answers(folder, "07", {"07.1": answer}, extra, name=name)
    (folder / "unreadable").mkdir()
    (folder / "unreadable" / "07_tensor.ipynb").write_bytes(b"\xff{")
    (folder / "a link").mkdir()
    (folder / "a link" / "07_tensor.ipynb").symlink_to(ROOT / "solutions" / "07_tensor.ipynb")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    readme = (ROOT / "README.md").read_bytes()

    began = time.monotonic()
    done = classroom.grade_class(folder, out, seed=3, jobs=6)
    for server in servers:
        server.close()
    assert time.monotonic() - began < 900, "of which most is for a busy machine"

    got = {r["student"]: {row["task"]: row["points"] for row in r["tasks"]} for r in done}
    assert got.pop("unreadable") == got.pop("a link") == {"07.1": 0, "07.2": 0}
    expected = {name: {"07.1": ATTACKS[name][2], "07.2": 3} for name in ATTACKS}
    assert {n: (got[n], expected[n]) for n in expected if got[n] != expected[n]} == {}
    assert got.keys() == expected.keys()
    assert not heard and (ROOT / "README.md").read_bytes() == readme
    assert not (out / "mine").exists()
    assert not list((tmp_path / "temp").iterdir())
    assert not _running(MARK) and not _staying("child.py")

    rows = table(out / "grades.csv")
    assert len(rows) == 2 * len(done)
    assert sum(float(row["points"]) for row in rows) == sum(r["points"] for r in done)
    wrong = next(row for row in rows if row["student"] == "wrong" and row["task"] == "07.1")
    assert wrong["mistake"].startswith("only the axes in front")
    pages = {page.name: page.read_text(encoding="utf-8") for page in (out / "students").iterdir()}
    assert len(pages) == len(done)
    hostile = next(page for name, page in pages.items() if "a name" in name)
    assert "<script>" not in hostile and "&lt;script&gt;" in hostile and "<b>" not in hostile


def _hear(server, heard):
    while True:
        try:
            heard.append(server.accept()[0])
        except OSError:
            return


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _running(word):
    """Processes, other than this one's own tests, whose command line holds a word: pid -> line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and "pytest" not in line:
            found[path.parent.name] = line
    return found


def _staying(word, seconds=90):
    """Those of `_running` that do not end by themselves: other tests beside this one have theirs,
    each of which ends within its limit.
    """
    there = _running(word)
    deadline = time.monotonic() + seconds
    while there and time.monotonic() < deadline:
        time.sleep(0.1)
        still = _running(word)
        there = {pid: line for pid, line in there.items() if still.get(pid) == line}
    return list(there.values())


def grader(folder, out, *options):
    return subprocess.Popen(
        [sys.executable, "-m", "grading", "class", folder, "--out", out, *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        # Who runs the tests in the background has it ignored, and that is handed on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.slow
@walls
@pytest.mark.parametrize("source", [
    "import time\nwhile True:\n    try: time.sleep(99)\n    except BaseException: pass",
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
])  # fmt: skip
def test_ctrl_c_is_answered_at_once_and_leaves_nothing(source, tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    for i in range(4):
        answers(folder, "04", {}, [source], name=f"student {i}")
    process = grader(folder, out, "--jobs", "2")
    deadline = time.monotonic() + 120
    # Each submission is one process in two of bubblewrap; they are started by three of Python.
    while len(mine := _below(process.pid)) < 8:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
    time.sleep(1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == 130 and "stopped; the same command goes on" in complaints
    assert "Traceback" not in complaints
    assert not list((out / "results").glob("*.json"))
    deadline = time.monotonic() + 5
    while any(Path("/proc", pid).exists() for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in mine if Path("/proc", pid).exists()]


def _below(pid):
    """Processes that a process has started, and those that they have."""
    found, waiting = set(), [str(pid)]
    while waiting:
        for path in Path("/proc", waiting.pop(), "task").glob("*/children"):
            try:
                more = path.read_text(encoding="utf-8").split()
            except OSError:
                continue
            waiting += more
            found.update(more)
    return sorted(found)


@pytest.mark.slow
@walls
def test_a_class_of_odd_names_and_files_goes_on(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    good = (ROOT / "solutions" / "04_descent.ipynb").read_bytes()
    names = ["Jürgen".encode("latin-1"), b"x" * 245, b"a\nb", b"\x1b[2J", b"=1+1", b"..x", b"Bob"]
    names.append(b"bob")
    for name in names:
        place = os.path.join(os.fsencode(folder), name)
        os.mkdir(place)
        with open(os.path.join(place, b"04_descent.ipynb"), "wb") as file:
            file.write(good)
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "empty").mkdir()
    (folder / "late.zip").write_bytes(b"PK")
    process = grader(folder, out)
    said, complaints = process.communicate(timeout=300)
    assert process.returncode == 1, complaints
    assert said.count("13 of 13") == len(names) and said.count("not graded") == 3
    assert "\x1b" not in said and "\x1b[2J" not in complaints
    rows = table(out / "totals.csv")
    assert len(rows) == len(names) + 3
    students = {row["student"] for row in rows}
    assert students >= {"Jürgen", "'=1+1", "a\\nb", "\\x1b[2J", "bob", "Bob"}
    assert len(list((out / "students").iterdir())) == len(names) + 3


@pytest.mark.slow
@walls
def test_what_is_changed_meets_new_inputs_and_its_seed_is_on_record(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    for student in ("ann", "bo"):
        answers(folder, "04", {}, name=student)

    def seeds():
        done = classroom.grade_class(folder, out, say=lambda text: None)
        return {result["student"]: result["seed"] for result in done}

    first = seeds()
    assert first["ann"] == first["bo"] == int((out / "seed").read_text(encoding="utf-8"))
    assert seeds() == first
    path = answers(folder, "04", {}, "# another try", name="ann")
    second = seeds()
    assert second["bo"] == first["bo"] and second["ann"] != first["ann"]
    assert seeds() == second
    found = verdict.grade(path, seed=second["ann"])
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [v.points for v in found] == [t["points"] for t in report["submissions"][0]["tasks"]]


@pytest.mark.slow
def test_without_the_solutions_it_works_too(tmp_path):
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises")
    path = os.environ | {"PYTHONPATH": str(tmp_path / "exercises")}

    def graded(book):
        return subprocess.run(
            [sys.executable, "-m", "grading", book], cwd=tmp_path, env=path,
            capture_output=True, text=True,
        )  # fmt: skip

    for exercise in sorted((tmp_path / "exercises").glob("0[47]*.ipynb")):
        last = "".join(json.loads(exercise.read_text(encoding="utf-8"))["cells"][-2]["source"])
        assert f"python -m grading exercises/{exercise.name}" in last
        done = graded(f"exercises/{exercise.name}")
        assert done.returncode == 1 and "not answered yet" in done.stdout, done.stderr
    shutil.copy(ROOT / "solutions" / "04_descent.ipynb", tmp_path / "exercises")
    done = graded("exercises/04_descent.ipynb")
    assert done.returncode == 0 and "13 of 13 points" in done.stdout, done.stderr


def test_a_fault_of_the_grader_ends_no_class_and_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(classroom, "_processes", verdict.workers)
    for student in ("ann", "bo"):
        answers(tmp_path, "04", {}, name=student)
    monkeypatch.setattr(classroom, "control", lambda lesson, **options: None)
    monkeypatch.setattr(classroom, "_processes", verdict.workers)

    def broken(lesson, found, **options):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(classroom, "verdicts", broken)
    done = classroom.grade_class(tmp_path, tmp_path.parent / "out", walls=False)
    assert [r["problem"] for r in done] == ["the grader failed here: ZeroDivisionError: ours"] * 2
    assert not list((tmp_path.parent / "out" / "results").iterdir())  # tried again next time


@pytest.mark.slow
@walls
def test_a_killed_grader_goes_on_where_it_was(tmp_path):
    folder, out = tmp_path / "class", tmp_path / "out"
    folder.mkdir()
    for i in range(6):
        answers(folder, "07", {"07.1": HEAD + RIGHT}, name=f"student {i}")
    process = grader(folder, out, "--jobs", "1")
    deadline = time.monotonic() + 300
    while len(results := list((out / "results").glob("*.json"))) < 2:
        assert time.monotonic() < deadline, "not two submissions in five minutes"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path: path.stat().st_mtime_ns for path in results}
    assert not _staying("child.py")
    seed = (out / "seed").read_text(encoding="utf-8")

    process = grader(folder, out)
    said, complaints = process.communicate(timeout=300)
    assert process.returncode == 0, complaints
    assert "of 6 were graded before" in said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (out / "seed").read_text(encoding="utf-8") == seed
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [r["points"] for r in report["submissions"]] == [13.0] * 6
    jsonschema = pytest.importorskip("jsonschema", reason="waits for jsonschema")
    schema = json.loads((ROOT / "docs" / "grading.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema)
    # A submission that changed is graded again, the others are not.
    answers(folder, "07", {"07.1": HEAD + NOTHING}, name="student 3")
    said, _ = grader(folder, out).communicate(timeout=300)
    assert "5 of 6 were graded before" in said and "student 3  07_tensor.ipynb  11 of 13" in said


@pytest.mark.slow
class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self):
        return os._exit, (1,)


@pytest.mark.slow
def test_a_process_of_the_grader_that_ends_costs_its_own_submission(tmp_path):
    good = verdict.cells(verdict.content(tasks_module.notebook("00")))
    waiting = [
        (classroom.HandIn(name, f"{name}.ipynb", tmp_path, "00", cells=what), tmp_path / name)
        for name, what in (("a", good), ("b", Deadly()), ("c", good))
    ]
    done = classroom._by_processes(waiting, classroom.Seeds(1, True), False, 2)
    found = {r["student"]: (r["points"] == r["of"], r["problem"]) for r in done}
    assert found == {
        "a": (True, ""), "b": (False, "the grader failed here: its process ended"), "c": (True, "")
    }  # fmt: skip


def test_without_a_sandbox_it_refuses_unless_told_so_in_words(tmp_path, monkeypatch, capsys):
    from grading import __main__ as program

    answers(tmp_path, "07", {})
    out = str(tmp_path / "out")
    monkeypatch.setattr(sandbox, "require", lambda: _no())
    assert program.main(["class", str(tmp_path), "--out", out]) == 2
    said = capsys.readouterr().err
    assert "other people's programs" in said and program.TRUST in said and "not here" in said
    assert program.main(["class", str(tmp_path), "--out", out, "--without-sandbox", "yes"]) == 2
    words = ["--without-sandbox", program.TRUST]
    assert program.main(["class", str(tmp_path), "--out", out, *words]) == 0
    assert "alice  07_tensor.ipynb  13 of 13" in capsys.readouterr().out
    assert program.main(["class", str(tmp_path / "nowhere"), *words]) == 2
    (tmp_path / "empty").mkdir()
    assert program.main(["class", str(tmp_path / "empty"), *words]) == 2
    assert "no exercise's notebook" in capsys.readouterr().err


def _no():
    raise sandbox.NoSandbox("it is not here")


def test_why_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(sandbox.NoSandbox, match="Linux only"):
        sandbox.require()
    monkeypatch.undo()
    if sys.platform == "linux":
        monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
        with pytest.raises(sandbox.NoSandbox, match="apt install bubblewrap"):
            sandbox.require()


@walls
def test_walls_that_do_not_start_say_why(monkeypatch):
    monkeypatch.setattr(sandbox, "_walls", lambda opens: ["bwrap", "--nonsense"])
    with pytest.raises(sandbox.NoSandbox, match=r"does not start: .*nonsense"):
        sandbox.require()


@walls
def test_nothing_of_this_repository_is_inside(tmp_path):
    (tmp_path / "secret").write_text("of another student", encoding="utf-8")
    forbidden = [ROOT / name for name in ("minidl", "solutions", "exercises", ".git", "README.md")]
    forbidden += [tmp_path / "secret", Path.home() / ".ssh", "/etc/passwd", "/sys"]
    look = (
        f"import os\nseen = [p for p in {list(map(str, forbidden))} if os.path.exists(p)]\n"
        "packages = f'{os.path.dirname(np.__file__)}/..'\n"
        "seen += [m for m in ('minidl', 'sklearn', 'torch', 'grading') "
        "if os.path.isdir(f'{packages}/{m}') and os.listdir(f'{packages}/{m}')]\n"
    )
    source = HEAD + "    raise ValueError(f'seen: {seen}, {sorted(os.environ)}')"
    path = answers(tmp_path, "07", {"07.1": source}, "import numpy as np\n" + look)
    text = verdict.grade(path)[0].text
    assert "seen: []" in text and "PATH" in text
    secrets = {n for n in os.environ if "KEY" in n or "TOKEN" in n}
    assert not [name for name in secrets if name in text]


# --- nbgrader's own tools ------------------------------------------------------------------


@pytest.mark.slow
def test_nbgrader_grades_the_same_notebooks(tmp_path):
    pytest.importorskip("nbgrader", reason="waits for nbgrader (pip install -e '.[test]')")

    def nbgrader(*arguments):
        """nbgrader's own command, with the programs of this environment on its path."""
        here = Path(sys.executable).parent
        path = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
        command = [sys.executable, "-m", "nbgrader", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]

    (tmp_path / "nbgrader_config.py").write_text("c = get_config()\n", encoding="utf-8")
    (tmp_path / "source" / "07").mkdir(parents=True)
    shutil.copy(ROOT / "solutions" / "07_tensor.ipynb", tmp_path / "source" / "07")
    nbgrader("generate_assignment", "07")
    released = (tmp_path / "release" / "07" / "07_tensor.ipynb").read_text(encoding="utf-8")
    assert "BEGIN SOLUTION" not in released and "NotImplementedError" in released
    for name, sources in {
        "right": {},
        "other": {"07.1": find("07.1").right[2]},
        "wrong": {"07.3": next(find("07.3").bank())[1]},
    }.items():
        there = tmp_path / "submitted" / name / "07"
        there.mkdir(parents=True)
        shutil.move(answers(tmp_path, "07", sources, name=f"hand-in {name}"), there)
    shutil.copytree(tmp_path / "release" / "07", tmp_path / "submitted" / "blank" / "07")
    nbgrader("autograde", "07")
    nbgrader("export")
    rows = table(tmp_path / "grades.csv")
    scores = {row["student_id"]: float(row["score"]) for row in rows}
    assert scores == {"right": 13, "wrong": 9, "other": 13, "blank": 0}
