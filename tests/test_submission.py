"""What is handed in: read whatever its form, its lesson found, its cells made into Python."""

import ast
import json
import os
import socket
import sys

import pytest
from test_grading import ROOT, SOLUTION, answers

from grading import classroom, submission, verdict
from grading.submission import as_python, cells, content, lesson_in, lesson_named

BOOK = json.loads(SOLUTION.read_text(encoding="utf-8"))
TEXT = json.dumps(BOOK, ensure_ascii=False)


def old_format():
    """The notebook as version 3 of the format wrote it."""
    found = []
    for cell in BOOK["cells"]:
        cell = dict(cell)
        if cell["cell_type"] == "code":
            cell["input"] = cell.pop("source")
        found.append(cell)
    return {"nbformat": 3, "worksheets": [{"cells": found}], "metadata": {}}


def changed(**changes):
    """The notebook with something else in each cell; None: the key is not there."""
    found = []
    for cell in BOOK["cells"]:
        cell = dict(cell)
        for key, value in changes.items():
            cell[key] = value(cell) if callable(value) else value
        found.append(cell)
    return json.dumps(BOOK | {"cells": found}).encode()


FORMS = {
    "utf-8": TEXT.encode(),
    "a byte order mark": TEXT.encode("utf-8-sig"),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16, the other way round": TEXT.encode("utf-16-be"),
    "version 3": json.dumps(old_format()).encode(),
    "sources as lists": changed(source=lambda c: "".join(c["source"]).splitlines(keepends=True)),
    "sources as text": changed(source=lambda c: "".join(c["source"])),
    "metadata null": changed(metadata=None),
    "metadata a list": changed(metadata=[]),
    "nbgrader null": changed(metadata={"nbgrader": None}),
    "odd ids": changed(id=7),
    "60 MB of outputs": changed(outputs=[{"data": {"image/png": "A" * (2 << 20)}}]),
    "cells that are none": json.dumps(BOOK | {"cells": [*BOOK["cells"], 1, None, []]}).encode(),
    "a cell without source": json.dumps(
        BOOK | {"cells": [*BOOK["cells"], {"cell_type": "code"}]}
    ).encode(),
    "a source that is a number": json.dumps(
        BOOK | {"cells": [*BOOK["cells"], {"cell_type": "code", "source": 1}]}
    ).encode(),
    "a cell of no type": json.dumps(BOOK | {"cells": [*BOOK["cells"], {"source": "x"}]}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_notebook_is_read_in_any_form(form):
    found = cells(FORMS[form])
    assert lesson_in(found) == "07"
    mine = [cell for cell in found if cell.code and "def unbroadcast" in cell.source]
    assert len(mine) == 1 and "axes in front" in mine[0].source


REFUSED = {
    "nothing": (b"  \n", "it is empty"),
    "latin-1": (TEXT.replace("gradient", "Größe").encode("latin-1", "replace"), "neither UTF-8"),
    "half of it": (TEXT.encode()[:5000], "it is not JSON"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "neither UTF-8 nor UTF-16"),
    "a program": (b"def unbroadcast(g, shape):\n    return g\n", "it is not JSON"),
    "a list": (b"[1, 2]", "it has no list of cells"),
    "a number": (b"7", "it has no list of cells"),
    "cells that are a text": (b'{"cells": "x"}', "it has no list of cells"),
    "sheets that are none": (b'{"worksheets": {"cells": 3}}', "it has no list of cells"),
    "lists without end": (b"[" * 100_000, "lists in lists without end"),
    "a long number": (b'{"cells": ' + b"1" * 9999 + b"}", "it is not JSON"),
    "millions of parts": (b'{"cells": [' + b"{}," * 2_000_001 + b"{}]}", "millions of parts"),
    "a hundred thousand cells": (b'{"cells": [' + b"{}," * 99_999 + b"{}]}", "100,000 cells"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_read_says_why_in_a_sentence(form):
    data, why = REFUSED[form]
    with pytest.raises(submission.Unreadable, match=why) as caught:
        cells(data)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


UNIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="waits for Unix, its pipes and links")


@UNIX
def test_what_is_no_ordinary_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.ipynb")
    (tmp_path / "link.ipynb").symlink_to(SOLUTION)
    (tmp_path / "folder.ipynb").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.ipynb"))
    for name, why in {
        "pipe": "no ordinary file", "link": "a link", "folder": "no ordinary", "socket": "no ordin",
        "nowhere": "cannot be opened",
    }.items():  # fmt: skip
        with pytest.raises(submission.Unreadable, match=why):
            content(tmp_path / f"{name}.ipynb")
    server.close()


def test_a_notebook_that_is_too_large_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(submission, "LARGEST", 1000)
    with pytest.raises(submission.Unreadable, match="clear the outputs of its cells"):
        content(SOLUTION)


@pytest.mark.parametrize(
    "name, lesson",
    [
        ("07_tensor.ipynb", "07"),
        ("alice_07_tensor (1).ipynb", "07"),
        ("07_tensor_v02_final.ipynb", "07"),
        ("02_07_tensor.ipynb", "07"),
        ("2026_03_dan_07_.ipynb", "07"),
        ("06_scalars-07_.ipynb", "06"),
        ("99_lesson.ipynb", None),
        ("homework.ipynb", None),
    ],
)
def test_the_lesson_by_its_name(name, lesson):
    assert lesson_named(name) == lesson


def test_the_lesson_by_what_it_holds():
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        found = cells(content(path))
        assert lesson_in(found) == path.name[:2]
        bare = [submission.Cell(c.source, code=c.code) for c in found]  # metadata got lost
        assert lesson_in(bare) == path.name[:2]
    assert lesson_in([submission.Cell("print(1)")]) is None
    assert lesson_in([submission.Cell('check("98.1", f)')]) is None


# --- IPython's forms -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "f?", "f??", "?f", "!ls", "!!ls", "x = !ls", "%time f()", "r = %time f()",
        "%matplotlib inline",
        "if True:\n    %timeit f()\n    y = 1", "%%time\nf()", "%%timeit\nf()", "%%bash\nls",
        "%%capture out\nf()", "%%writefile a.py\nx = 1", "%%html\n<b>", "%ls\n%cd ..",
        ">>> x = 1", "In [3]: x = 1", "%%unheard of\n)(", "x = %unheard\n", "await f()\n!ls",
        "\n\n%%time\n%time f()", "%time x = 1; y = 2", "for i in range(3):\n    !echo {i}",
        "%" * 100, "!" * 100, "?" * 100, "%%", "%%\nx", "%%time",
    ],
)  # fmt: skip
def test_a_form_of_ipython_becomes_python(source):
    compile(as_python(source), "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_plain_python_stays_as_it_is():
    for source in ("x = (7\n%3)", "s = '''\n!ls\n%time\n'''", "def f(:\n", "# %time"):
        assert as_python(source).rstrip("\n") in (source, source.rstrip("\n"))


def test_lines_keep_their_numbers():
    source = "%%time\n\n!ls\nx = 1 / 0"
    assert as_python(source).split("\n")[3] == "x = 1 / 0"


def test_a_thousand_forms_do_not_keep_the_grader_waiting():
    import time

    began = time.process_time()
    as_python("!ls\n" * 40_000)
    as_python("!ls\n" * 60)
    submission.programs([submission.Cell("!ls\n!ls")] * 2000)
    assert time.process_time() - began < 5


# --- what was handed in --------------------------------------------------------------------


def filled(folder, tree):
    """Files in a folder: {path: bytes, or None for an empty folder}."""
    for name, data in tree.items():
        path = os.path.join(os.fsencode(folder), name if isinstance(name, bytes) else name.encode())
        os.makedirs(path if data is None else os.path.dirname(path), exist_ok=True)
        if data is not None:
            with open(path, "wb") as file:
                file.write(data)
    return folder


GOOD = TEXT.encode()


def lines(folder):
    """student -> list of (file, lesson, problem or note)"""
    found = {}
    for one in classroom.find(folder):
        found.setdefault(one.student, []).append((one.file, one.lesson, one.problem or one.note))
    return found


def test_everything_that_was_handed_in_has_a_line(tmp_path):
    tree = {
        "alice/07_tensor.ipynb": GOOD,
        "bob/07_tensor.py": b"x = 1",
        "carol/work.zip": b"PK",
        "dan/notes.txt": b"I could not do it",
        "eve/07_TENSOR.IPYNB": GOOD,
        "fay/": None,
        ".gus/07_tensor.ipynb": GOOD,
        "hal/.ipynb_checkpoints/07_tensor-checkpoint.ipynb": GOOD,
        "ida/deep/er/07_tensor.ipynb": GOOD,
        "jon/report.pdf": b"%PDF",
        "kim/homework.ipynb": GOOD,
        "lea/07_tensor.ipynb.txt": GOOD,
        "max/other.ipynb": b'{"cells": []}',
        "nat/07_tensor.ipynb": b"{",
        "olga_07_tensor.ipynb": GOOD,
        "pat_07_tensor_v02_final.ipynb": GOOD,
        "quinn.zip": b"PK",
        ".DS_Store": b"x",
        "__MACOSX/alice/._07_tensor.ipynb": b"x",
    }
    found = lines(filled(tmp_path, tree))
    assert sorted(found) == sorted(
        "alice bob carol dan eve fay .gus hal ida jon kim lea max nat olga pat quinn".split()
    )
    assert not {student: rows for student, rows in found.items() if len(rows) != 1}
    graded = {student for student, [(_, lesson, said)] in found.items() if lesson and not said}
    assert graded == set("alice eve .gus ida kim lea olga pat".split())
    assert {found[s][0][1] for s in graded} == {"07"}
    assert "a Python program" in found["bob"][0][2] and "unpack it" in found["carol"][0][2]
    assert "no notebook" in found["dan"][0][2] and "the folder is empty" in found["fay"][0][2]
    assert ".ipynb_checkpoints" in found["hal"][0][2] and "a page" in found["jon"][0][2]
    assert "no exercise of this course" in found["max"][0][2] and "unpack" in found["quinn"][0][2]
    assert found["nat"][0][1] == "07" and "it is not JSON" in found["nat"][0][2]


def test_an_export_with_a_folder_on_top_keeps_its_students_apart(tmp_path):
    tree = {
        "Exercises 07/Ann_12_file_/07_tensor.ipynb": GOOD,
        "Exercises 07/Bo_13_file_/07_tensor.ipynb": GOOD,
        "__MACOSX/x": b"",
    }
    assert sorted(lines(filled(tmp_path / "a", tree))) == ["Ann_12_file_", "Bo_13_file_"]
    alone = {"ann/07/07_tensor.ipynb": GOOD, "ann/06/06_scalars.ipynb": b"{"}
    assert list(lines(filled(tmp_path / "b", alone))) == ["ann"]
    assert list(lines(filled(tmp_path / "c", {"ann/week 7/07_tensor.ipynb": GOOD}))) == ["ann"]


def test_of_several_versions_the_newest_counts(tmp_path):
    names = "07_tensor.ipynb", "07_tensor (2).ipynb", "07_tensor (10).ipynb", "07_old.ipynb"
    filled(tmp_path, {f"ann/{name}": GOOD for name in names} | {"bo/07_tensor.ipynb": GOOD})
    for name in names:
        os.utime(tmp_path / "ann" / name, (1e9, 1e9))
    os.utime(tmp_path / "ann" / "07_old.ipynb", (2e9, 2e9))
    found = {one.file: one for one in classroom.find(tmp_path) if one.student == "ann"}
    assert [name for name in names if found[name].newest] == ["07_old.ipynb"]
    assert "07_old.ipynb is newer and counts" in found[names[0]].note
    os.utime(tmp_path / "ann" / "07_old.ipynb", (1e8, 1e8))
    found = {one.file: one.newest for one in classroom.find(tmp_path) if one.student == "ann"}
    assert found == {name: name == "07_tensor (10).ipynb" for name in names}
    # One that cannot be read does not take the place of one that can.
    filled(tmp_path, {"ann/07_tensor (11).ipynb": b"{"})
    found = {one.file: one for one in classroom.find(tmp_path) if one.student == "ann"}
    assert found["07_tensor (10).ipynb"].newest and not found["07_tensor (11).ipynb"].newest
    assert "not JSON" in found["07_tensor (11).ipynb"].problem


NAMES = [
    "Jürgen".encode("latin-1"), "Jürgen".encode(), "Ju\u0308rgen".encode(), b"\xed\xa0\x80",
    b"x" * 245, "ü".encode() * 120, b"line\nbreak", b"\x1b[2Jred", "\u202ecba".encode(), b"..x",
    b"...", b"-rf", b"=1+1", b"Bob", b"bob", b"BOB", b"a&b<i>", b"'; --", b"CON", b" ", b"%s{}",
    "学生".encode(), "\U0001f600".encode(), b"a\\b", b"*?", b"new\r", b"tab\t", "e\u0301".encode(),
]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="waits for Linux, where a name is any bytes")
def test_names_of_all_kinds(tmp_path):
    filled(tmp_path, {name + b"/07_tensor.ipynb": GOOD for name in NAMES})
    found = classroom.find(tmp_path)
    students = {one.student for one in found}
    assert len(students) == len(found) == len(NAMES)
    assert not [name for name in students if not name.isprintable()]
    assert {"Jürgen", "Ju\u0308rgen", "Jürgen (another folder)"} <= students


@UNIX
def test_links_pipes_and_devices_are_told_and_not_opened(tmp_path):
    filled(tmp_path, {"ann/07_tensor.ipynb": GOOD, "bo/": None, "cy/": None, "di/": None})
    os.mkfifo(tmp_path / "bo" / "07_tensor.ipynb")
    (tmp_path / "cy" / "07_tensor.ipynb").symlink_to("/dev/zero")
    (tmp_path / "di" / "loop").symlink_to(tmp_path)
    (tmp_path / "ed").symlink_to(tmp_path / "ann")
    (tmp_path / "flo").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "gil")
    found = lines(tmp_path)
    assert "no ordinary file" in found["bo"][0][2] and "no ordinary file" in found["gil"][0][2]
    for student in ("cy", "di", "ed", "flo"):
        assert [("a link" in said) for _, _, said in found[student]] == [True]


def test_very_many_files_of_one_student_are_told_in_one_line(tmp_path):
    filled(tmp_path, {f"ann/env/{i}.py": b"" for i in range(500)} | {"ann/07_tensor.ipynb": GOOD})
    found = lines(tmp_path)["ann"]
    assert len(found) == 22 and ("07_tensor.ipynb", "07", "") in found
    assert [said for _, _, said in found if said.startswith("480 more files")]


def test_the_grader_s_own_folder_is_nobody_s(tmp_path):
    filled(tmp_path, {"ann/07_tensor.ipynb": GOOD, "bo/": None, "graded/seed": b"1"})
    found = classroom.find(tmp_path, tmp_path / "graded")
    assert {one.student for one in found} == {"ann", "bo"}


@pytest.mark.slow
def test_why_there_is_no_answer(tmp_path):
    def told(source, **changes):
        path = answers(tmp_path, "07", {"07.1": source})
        book = json.loads(path.read_text(encoding="utf-8"))
        for cell in book["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == "answer-07-1":
                cell |= changes
        path.write_text(json.dumps(book), encoding="utf-8")
        return verdict.grade(path, seed=1)[0].text

    assert told("raise NotImplementedError") == "not answered yet"
    assert told("def unbroadcast(g, shape):\n    raise NotImplementedError") == "not answered yet"
    assert "SyntaxError" in told("def unbroadcast(g, shape)\n    return g")
    assert "NameError: name 'nump' is not defined" in told("x = nump\ndef unbroadcast(g, s): 1")
    assert "ModuleNotFoundError" in told("import nunpy\ndef unbroadcast(g, shape): return g")
    assert "`Unbroadcast`" in told("def Unbroadcast(g, shape): return g")
    assert "`unbroadcasts`" in told("def unbroadcasts(g, shape): return g")
    assert "is no code cell any more" in told("x", cell_type="markdown")
    assert told("pass") == "not answered yet"
    closed = "import sklearn\ndef unbroadcast(g, shape): return sklearn.svm"
    assert "sklearn cannot be imported while this task is graded" in told(closed)
