"""The learner's own engine: answers in minidl's place, and what becomes of those that fail."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import nbformat
import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="waits for matplotlib (pip install -e '.[course]')")

import minidl
from grading import own as engine
from grading.__main__ import main
from grading.networks import NETWORKS
from grading.own import Engine, examples, own
from grading.pieces import entries, place
from grading.task import find, lessons, tasks
from minidl.engine.intercept import primitives
from minidl.nn import functional as F

SLOW = pytest.mark.slow


def standing():
    """What the package holds at every place that a piece can take."""
    found = {}
    for task_id, about in entries().items():
        for path, _ in about.seams(None):
            where, name = place(path)
            found[task_id, path] = getattr(where, name), name in vars(where)
    return found


@pytest.fixture(autouse=True)
def as_it_was():
    """Whatever a test does, the package's own is back afterwards."""
    before = standing()
    yield
    assert standing() == before


def report_on(networks=("GPT",), seconds=0.5, **answers):
    """The report on the course's answers to a few tasks, `t05_1=...` in place of some."""
    right = examples()
    chosen = {i: right[i] for i in ("05.2", "08.2", "17.1")}
    chosen |= {i[1:].replace("_", "."): f for i, f in answers.items()}
    return own(pieces=chosen, networks=networks, seconds=seconds)


def piece(report, task_id):
    return next(p for p in report.pieces if p.task.id == task_id)


def others_go_on(report, *, failed):
    """The three right answers train the GPT as the package does."""
    assert {p.task.id for p in report.mine} == {"05.2", "08.2", "17.1"} - {failed}
    trained = report.trained["GPT"]
    assert trained.yours and trained.apart() < 1e-6 and not trained.note
    for p in report.mine:
        assert p.calls["GPT"] > 50, p.task.id


# ---- the table


def test_each_task_that_replaces_something_has_its_entry_and_each_entry_its_task():
    replaced = {t.id: t.replaces for n in lessons() for t in tasks(n).values() if t.replaces}
    assert replaced == {task_id: about.name for task_id, about in entries().items()}


def test_what_an_entry_names_exists():
    for (task_id, path), (old, _) in standing().items():
        assert callable(old) or isinstance(old, classmethod), (task_id, path)
        assert path.startswith(entries()[task_id].name.partition(":")[0]), (task_id, path)


def test_every_gradient_is_checked():
    for about in entries().values():
        assert bool(about.gradient) == (about.check is not None), about.task
        assert about.gradient in ("", "yours", "the package's")


# ---- nothing, all, one


def test_nothing_done_says_what_to_do_next(tmp_path):
    first = engine.ROOT / "exercises" / "05_probability.ipynb"
    (tmp_path / first.name).write_text(first.read_text("utf-8"), "utf-8")
    report = own(tmp_path)
    assert report.mine == [] and report.trained == {}
    text = str(report)
    assert "0 of 39 pieces are yours" in text
    assert f"Next: 05.1 Softmax along any axis, in {tmp_path / first.name}" in text
    assert "there is no notebook of lesson 07" in text


def test_the_exercises_as_they_are_given_hold_no_piece():
    pieces = engine.collect(engine.ROOT / "exercises")
    if mine := [p for p in pieces if p.used]:
        pytest.skip(f"waits for exercises without answers ({len(mine)} hold yours)")
    assert {p.state for p in pieces} == {"open"}


def test_where_all_that_is_there_is_done_another_notebook_is_next(tmp_path):
    sources = [textwrap.dedent(find(i).right[0]) for i in ("05.1", "05.2")]
    checks = [f"check('{i}', {find(i).name})" for i in ("05.1", "05.2")]
    cells = [f"{source}\n{check}" for source, check in zip(sources, checks, strict=True)]
    (tmp_path / "05_probability.ipynb").write_text(
        notebook("import numpy as np\nfrom grading import check", *cells), "utf-8"
    )
    report = own(tmp_path, networks=())
    assert len(report.mine) == 2 and report.next().startswith("07.1 ")
    assert "there is no notebook of lesson 07" in report.next()


def test_an_empty_folder_is_told(tmp_path):
    assert "no exercise notebook" in str(own(tmp_path))


def test_a_notebook_that_cannot_be_read_costs_its_own(tmp_path):
    (tmp_path / "05_probability.ipynb").write_text("no notebook", "utf-8")
    pieces = engine.collect(tmp_path)
    assert "cannot be read" in pieces[0].why


@pytest.fixture(scope="module")
def done():
    """The report on the solutions, or where they were held back, on the bank's answers."""
    folder = engine.ROOT / "solutions"
    return own(folder) if folder.is_dir() else own(pieces=examples())


@SLOW
def test_with_all_answers_every_piece_is_the_learners_and_is_called(done):
    assert [(p.task.id, p.why) for p in done.pieces if not p.used] == []
    for p in done.pieces:
        assert sum(p.calls.get(n.name, 0) for n in NETWORKS), p.task.id
        assert p.checked == (p.entry.check is not None), p.task.id
    assert "every piece that a task asked for is yours" in str(done)
    assert done.next() is None


@SLOW
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_each_network_trains_on_them_as_on_the_packages(done, network):
    trained = done.trained[network.name]
    assert len(trained.yours) == len(trained.package) and not trained.note
    assert trained.apart() < 1e-4
    assert np.mean(trained.yours[-3:]) < trained.yours[0]
    assert trained.told == trained.told_package


@SLOW
def test_loops_over_every_window_are_slow_and_the_report_says_so(done):
    slow = piece(done, "14.3")
    assert slow.state == "slow" and slow.used and slow.times > engine.SLOW
    assert "yours up to step 3" in slow.why and slow.why in str(done)


@SLOW
@pytest.mark.parametrize("variant", [1, 2])
def test_right_answers_that_are_written_otherwise_train_them_too(variant):
    right = {i: find(i) for i in entries() if len(find(i).right) > variant}
    report = own(pieces={i: t.compile(t.right[variant]) for i, t in right.items()})
    assert [(p.task.id, p.why) for p in report.pieces if p.task.id in right and not p.used] == []
    assert {t.note for t in report.trained.values()} == {""}
    assert max(t.apart() for t in report.trained.values()) < 1e-4


# ---- it is really the learner's


@SLOW
@pytest.mark.parametrize("task_id", entries())
def test_a_piece_that_is_spoilt_in_secret_changes_what_a_network_does(task_id, done):
    """Not judged, so that only the network can notice."""
    answer, asked = examples()[task_id], []

    def spoilt(*arguments):
        asked.append(1)
        if task_id == "22.4":  # what it gives is the gradient of the data, which nobody wants
            forward, backward, x, g, *rest = arguments
            return answer(forward, lambda i, x, g: backward(i, x, 1.5 * g), x, g, *rest)
        return ruined(answer(*arguments))

    found = engine._given({}, None, 0)
    mine = next(p for p in found if p.task.id == task_id)
    mine.answer, mine.state = spoilt, "yours"
    calls = piece(done, task_id).calls
    network = next(n for n in NETWORKS if calls.get(n.name))
    usual = done.trained[network.name]
    try:
        losses, told = Engine(found).train(network, [mine])
    except Exception:
        losses, told = [], {}
    assert asked
    same = len(losses) == len(usual.package) and np.allclose(losses, usual.package, rtol=1e-5)
    assert not (same and told == usual.told_package)


def ruined(value):
    """Other numbers of the same kind; of a list of names or places the first is lost."""
    if isinstance(value, tuple):
        return tuple(map(ruined, value))
    if isinstance(value, list):
        numbers = all(
            isinstance(v, float) or (isinstance(v, np.ndarray) and v.dtype.kind == "f")
            for v in value
        )
        if all(type(v) is int for v in value):
            return [v + 1 for v in value]
        return [ruined(v) for v in value] if numbers else value[1:]
    if isinstance(value, dict):
        return {key: ruined(part) for key, part in value.items()}
    if hasattr(value, "value"):  # a gradient on its way
        return type(value)(ruined(value.value))
    if isinstance(value, np.ndarray):
        return value * 1.5 + 0.01 if value.dtype.kind == "f" else value[::-1].copy()
    if isinstance(value, str):
        return value
    return value * 1.5 + 0.01 if isinstance(value, (float, np.floating)) else value + 1


# ---- one wrong piece is named, and the others go on


def test_a_wrong_value():
    report = report_on(t05_1=lambda scores, axis: np.exp(scores) / np.exp(scores).sum())
    assert piece(report, "05.1").state == "wrong"
    others_go_on(report, failed=None)


def test_one_that_raises():
    def answer(g, places, length):
        raise IndexError("the row is not there")

    report = report_on(t08_2=answer)
    assert "IndexError" in piece(report, "08.2").why
    others_go_on(report, failed="08.2")


def test_an_endless_loop():
    def answer(q, k, v, mask):
        while True:
            q = q + 1

    report = report_on(t17_1=answer)
    assert "longer" in piece(report, "17.1").why
    others_go_on(report, failed="17.1")


def test_a_wrong_gradient():
    right = examples()["05.2"]
    report = report_on(t05_2=lambda s, y: (right(s, y)[0], 2 * right(s, y)[1]))
    assert piece(report, "05.2").state == "wrong"
    others_go_on(report, failed="05.2")


def test_one_that_changes_its_input():
    right = examples()["08.2"]

    def answer(g, places, length):
        found = right(g, places, length)
        g *= 0
        return found

    report = report_on(t08_2=answer)
    assert piece(report, "08.2").state == "wrong"
    others_go_on(report, failed="08.2")


def test_one_that_writes_into_its_last_result_fails_where_it_is_called_twice():
    kept = {}

    def answer(scores, axis=-1):
        out = kept.setdefault(scores.shape, np.empty(scores.shape))
        np.exp(scores - scores.max(axis=axis, keepdims=True), out=out)
        out /= out.sum(axis=axis, keepdims=True)
        return out

    report = report_on(t05_1=answer)
    failed = piece(report, "05.1")
    assert failed.state == "failed" and "right in its task, but" in failed.why
    others_go_on(report, failed=None)


def test_one_that_raises_only_in_training():
    right = examples()["17.1"]

    def answer(q, k, v, mask):
        if q.shape == (24, 16):  # the GPT's, and no case's
            raise ValueError("so many queries")
        return right(q, k, v, mask)

    report = report_on(t17_1=answer)
    failed = piece(report, "17.1")
    assert failed.state == "failed" and "in the GPT it fails" in failed.why
    assert "so many queries" in failed.why
    others_go_on(report, failed="17.1")


def test_one_that_is_another_only_in_training_is_found_by_its_losses():
    right = examples()["08.2"]

    def answer(g, places, length):
        return right(g, places, length) * (0.5 if length == 304 else 1.0)

    report = report_on(t08_2=answer)
    failed = piece(report, "08.2")
    assert failed.state == "failed" and "loss is another from step" in failed.why
    others_go_on(report, failed="08.2")


def test_one_that_never_ends_only_in_training(monkeypatch):
    monkeypatch.setattr(engine, "STEP", 1.0)
    right = examples()["17.1"]

    def answer(q, k, v, mask):
        while q.shape == (24, 16):
            q = q + 1
        return right(q, k, v, mask)

    report = report_on(t17_1=answer)
    assert "takes too long" in piece(report, "17.1").why
    others_go_on(report, failed="17.1")


def test_a_slow_piece_runs_for_three_steps():
    right = examples()["08.2"]

    def answer(g, places, length):
        for _ in range(1_000_000 if length > 300 else 0):
            pass
        return right(g, places, length)

    report = report_on(t08_2=answer, seconds=None)
    slow = piece(report, "08.2")
    assert slow.state == "slow" and slow.calls["GPT"] == engine.STEPS
    others_go_on_but(report, slow)


def others_go_on_but(report, slow):
    trained = report.trained["GPT"]
    assert trained.apart() < 1e-6 and len(trained.yours) == len(trained.package)
    assert slow in report.mine


def test_the_packages_own_are_back_when_a_network_stops_in_between():
    working = Engine(engine._given(examples(), None, 0))
    with pytest.raises(ZeroDivisionError), working.swapped():
        assert primitives["softmax"].forward.__name__ != "gone"
        _ = 1 / 0
    assert minidl.nn.functional.dropout.__module__ == "minidl.nn.functional"


# ---- notebooks


def notebook(*sources, lesson="05"):
    """A notebook whose code cells are these; the answers' ones are known by their checks."""
    cells = [
        {"cell_type": "code", "metadata": {}, "source": s, "outputs": [], "execution_count": None}
        for s in sources
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def test_a_cell_that_fails_costs_its_own_answer(tmp_path, capsys):
    source = textwrap.dedent(find("05.1").right[0])
    (tmp_path / "05_probability.ipynb").write_text(
        notebook(
            "import numpy as np\nfrom grading import check\nprint('loud')",
            "raise RuntimeError('a cell of the learner')",
            f"{source}\ncheck('05.1', softmax)",
        ),
        "utf-8",
    )
    pieces = engine.collect(tmp_path)
    assert pieces[0].state == "yours" and pieces[1].state == "open"
    assert capsys.readouterr().out == ""


def test_a_helper_that_is_defined_anew_later_is_not_the_answers(tmp_path):
    (tmp_path / "05_probability.ipynb").write_text(
        notebook(
            "import numpy as np\nfrom grading import check",
            "def helper(s, axis):\n    e = np.exp(s - s.max(axis=axis, keepdims=True))\n"
            "    return e / e.sum(axis=axis, keepdims=True)\n"
            "def softmax(scores, axis=-1):\n    return helper(scores, axis)\n"
            "check('05.1', softmax)",
            "def helper(s, axis):\n    return 7",
        ),
        "utf-8",
    )
    assert engine.collect(tmp_path)[0].state == "yours"


def test_minidl_itself_is_nobodys_answer():
    from minidl.nn import functional

    space = {"F": functional}
    exec("def softmax(scores, axis=-1):\n    return F.softmax(scores, axis)", space)
    report = own(pieces={"05.1": space["softmax"]})
    assert "made of minidl" in piece(report, "05.1").why


# ---- the page


def test_the_page_says_how_many_of_how_many_and_escapes(tmp_path):
    report = report_on()
    piece(report, "07.1").why = "<script>alert(1)</script>"
    path = report.page(tmp_path / "deep" / "page.html", name="<b>Ann</b>")
    text = path.read_text("utf-8")
    assert "3 of 39 pieces" in text and "&lt;b&gt;Ann" in text
    assert "<script" not in text and "http" not in text
    assert text.count("<svg") == text.count('role="img"') - 1  # and the bar


def test_the_page_with_nothing(tmp_path):
    report = own(tmp_path)
    assert "0 of 39" in report.page(tmp_path / "page.html").read_text("utf-8")


def test_the_command(tmp_path, capsys):
    from grading.__main__ import main

    assert main(["own", str(tmp_path), "--page", str(tmp_path / "p.html")]) == 1
    assert "0 of 39 pieces are yours" in capsys.readouterr().out
    assert (tmp_path / "p.html").exists()
    assert main(["own", str(tmp_path / "none")]) == 2


# ---- what cells and answers may do beside answering

RIGHT_07_1 = textwrap.dedent(find("07.1").right[0])


def filled(folder, lesson, *cells):
    """A notebook of a lesson with these code cells."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    for cell in made.cells:
        cell.metadata["nbgrader"] = {}
    path = folder / f"{lesson}_own.ipynb"
    nbformat.write(made, path)
    return path


def in_use():
    """What some cells below change."""
    step, relu = minidl.optim.AdamW.step, hasattr(F, "relu")
    return np.exp, np.allclose, step, F.gelu, relu, os._exit, os.abort


@pytest.mark.parametrize(
    "cell",
    [
        "import os; os._exit(0)",
        "import os; os.abort()",
        "import sys; sys.exit()",
        "import numpy as np; np.exp = lambda x, **k: x * 0 + 1; np.allclose = lambda *a, **k: True",
        "import minidl; minidl.optim.AdamW.step = lambda self: None",
        "import minidl.nn.functional as F; F.relu = F.gelu = None",
    ],
)
def test_a_cell_harms_no_other_piece_and_not_the_program(tmp_path, cell):
    filled(tmp_path, "07", f"{RIGHT_07_1}", 'check("07.1", unbroadcast)', cell)
    source = textwrap.dedent(find("08.2").right[0])
    filled(tmp_path, "08", source, f'check("08.2", {find("08.2").name})')
    before = in_use()
    state = np.random.get_state()[1].tolist()
    report = own(tmp_path, networks=("GPT",))
    after = in_use()
    assert [a is b for a, b in zip(before, after, strict=True)] == [True] * 7
    assert np.random.get_state()[1].tolist() == state
    assert piece(report, "07.1").used, piece(report, "07.1").why
    assert piece(report, "08.2").used, piece(report, "08.2").why


def test_an_answer_that_ends_the_process_is_wrong(tmp_path):
    def ends(g, shape):
        os._exit(0)

    report = own(pieces={"07.1": ends, "08.2": examples()["08.2"]}, networks=())
    assert piece(report, "07.1").state == "wrong" and piece(report, "08.2").used


def test_two_threads_do_not_both_put_pieces_in():
    inside, go_on = threading.Event(), threading.Event()

    def waits(g, shape):
        inside.set()
        go_on.wait(60)
        return examples()["07.1"](g, shape)

    first = threading.Thread(target=lambda: own(pieces={"07.1": waits}, networks=()))
    first.start()
    assert inside.wait(60)
    with pytest.raises(RuntimeError, match="runs in another thread"):
        own(pieces=examples(), networks=())
    go_on.set()
    first.join()
    assert own(pieces={"07.1": examples()["07.1"]}, networks=()).mine


def test_a_right_answer_that_needs_one_that_is_open_is_right(tmp_path):
    open_071 = "def unbroadcast(g, shape):\n    raise NotImplementedError"
    source = textwrap.dedent(next(r for r in find("07.2").right if "unbroadcast" in r))
    name = find("07.2").name
    filled(tmp_path, "07", open_071, 'check("07.1", unbroadcast)', source,
             f'check("07.2", {name})')  # fmt: skip
    pieces = {p.task.id: p for p in engine.collect(tmp_path)}
    assert pieces["07.1"].state == "open"
    assert pieces["07.2"].state == "yours", pieces["07.2"].why


def test_why_an_endless_answer_is_wrong_comes_first():
    def endless(g, shape):
        while True:
            pass

    found = piece(own(pieces={"07.1": endless}, networks=(), seconds=0.3), "07.1")
    assert found.why.startswith("it took longer than 0.3 seconds")


def test_a_line_is_quoted_from_its_own_notebook(tmp_path):
    raises = "def unbroadcast(g, shape):\n    raise ValueError('sometimes')"
    filled(tmp_path, "07", raises, 'check("07.1", unbroadcast)')
    filled(tmp_path, "08", "a = 1\nb = 2\nc = 3")
    engine.collect(tmp_path)
    (space,) = [engine.answers("07", tmp_path / "07_own.ipynb")["07.1"]]
    engine.answers("08", tmp_path / "08_own.ipynb")
    with pytest.raises(ValueError) as error:
        space(None, None)
    assert "raise ValueError('sometimes')" in engine.child.complaint(error.value)["line"]


@SLOW
@pytest.mark.skipif(os.name != "posix", reason="waits for Unix, where a signal is Ctrl-C")
def test_ctrl_c_ends_it_while_a_cell_runs(tmp_path):
    ready = tmp_path / "ready"
    filled(tmp_path, "07", f"open({str(ready)!r}, 'w').close()\nwhile True: pass")
    command = [sys.executable, "-m", "grading", "own", str(tmp_path)]
    running = subprocess.Popen(command, cwd=engine.ROOT / "exercises", text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=interruptible)  # fmt: skip
    while not ready.exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    out, said = running.communicate(timeout=120)
    assert (running.returncode, said, out) == (130, "stopped\n", "")
    assert time.monotonic() - began < 30


def interruptible():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path, capsys):
    for where in tmp_path, tmp_path / "nowhere" / "page.html":
        assert main(["own", str(tmp_path), "--page", str(where)]) == 2
        assert "cannot be written" in capsys.readouterr().err
    assert main(["own", ""]) == 2
