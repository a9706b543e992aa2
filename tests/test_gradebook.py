"""What a teacher adds to results, and the tables and pages that come of it."""

import csv
import io
import json
import zipfile
from datetime import datetime

import pytest
from test_grading import ROOT

from grading import gradebook, text
from grading.gradebook import Rules
from grading.task import tasks

SEVEN = tasks("07")


def result(student, points=(2, 3, 4, 4), lesson="07", **changes):
    """A result as the class makes it."""
    rows = [
        {"task": t.id, "title": t.title, "points": float(p), "of": t.points, "mistake": "",
         "passed": ["a"], "failed": [] if p == t.points else ["b"],
         "text": "" if p == t.points else "b:\n  x  1\n  expected  5\n  got  6\n  Right on: a."}
        for t, p in zip(tasks(lesson).values(), points)
    ]  # fmt: skip
    made = {
        "student": student, "lesson": lesson, "file": f"{lesson}_tensor.ipynb",
        "points": float(sum(points)), "of": 13.0, "problem": "", "note": "", "counts": True,
        "when": datetime(2026, 11, 30, 12).timestamp(), "seed": 1, "tasks": rows,
    }  # fmt: skip
    return made | changes


def written(tmp_path, results, rules):
    gradebook.write(tmp_path, results, rules)
    found = {}
    for path in tmp_path.glob("*.csv"):
        found[path.stem] = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    return found


def table(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


ROSTER = """student,name,id,email,login,sis_id,section,due
ann,Ann Arbor,1001,ann@x.org,aa1,s1,A,
bo,Bo Derek,1002,bo@x.org,bd2,s2,A,2026-12-01 13:00
cy,Cy Twombly,1003,cy@x.org,ct3,s3,B,
"""


def test_a_roster_tells_who_is_missing_and_who_is_not_on_it(tmp_path):
    rules = Rules(roster=gradebook.roster(table(tmp_path, ROSTER)))
    out = written(tmp_path, [result("ann"), result("bo", (0, 3, 4, 4)), result("zoe")], rules)
    rows = {row[0]: dict(zip(out["totals"][0], row)) for row in out["totals"][1:]}
    assert set(rows) == {"ann", "bo", "cy", "zoe"}
    assert rows["ann"]["total"] == "13" and rows["bo"]["percent"] == "84.6"
    assert rows["cy"]["total"] == "0" and "missing" in rows["cy"]["remarks"]
    assert rows["zoe"]["remarks"] == "not on the roster"
    assert next(row for row in out["grades"] if row[0] == "cy")[-1].startswith("missing")
    assert out["canvas"][0] == [
        "Student", "ID", "SIS User ID", "SIS Login ID", "Section", "Exercises 07",
    ]  # fmt: skip
    assert out["canvas"][1] == ["    Points Possible", "", "", "", "", "13"]
    assert out["canvas"][2] == ["Ann Arbor", "1001", "s1", "aa1", "A", "13"]
    assert out["moodle"][2] == ["1002", "bo@x.org", "Bo Derek", "11"]
    assert len(out["canvas"]) == 5 and len(out["moodle"]) == 4


@pytest.mark.parametrize(
    "folder",
    ["ann", "ANN", "Ann Arbor_77_assignsubmission_file_", "1001", "x_1001_99", "aa1", "ann@x.org"],
)
def test_a_folder_is_found_on_the_roster_as_platforms_name_it(folder, tmp_path):
    rules = Rules(roster=gradebook.roster(table(tmp_path, ROSTER)))
    assert rules.row(folder)["student"] == "ann"
    assert rules.row("annette") == rules.row("10011") == {}


def test_a_late_day_costs_what_was_said(tmp_path):
    due = gradebook.due(["2026-11-30 11:59", "06=2026-11-29"])
    rules = Rules(due=due, late=10, roster=gradebook.roster(table(tmp_path, ROSTER)))
    late = gradebook.settled(result("ann"), rules)
    assert (late["days_late"], late["penalty"], late["final"], late["points"]) == (1, 1.3, 11.7, 13)
    assert gradebook.settled(result("bo"), rules)["days_late"] == 0  # has an own date
    early = result("ann", when=datetime(2026, 11, 30, 11).timestamp())
    assert gradebook.settled(early, rules)["days_late"] == 0
    very = result("ann", when=datetime(2027, 11, 30).timestamp())
    assert gradebook.settled(very, rules)["final"] == 0
    six = result("ann", (2, 3, 4, 4), lesson="06", when=datetime(2026, 11, 30, 1).timestamp())
    assert gradebook.settled(six, rules)["days_late"] == 1
    assert gradebook.settled(result("ann"), Rules(due=due))["final"] == 13
    assert "1 day late: 1.3 points are taken off" in gradebook.page("ann", [late])


def test_an_override_has_a_reason_and_is_seen(tmp_path):
    content = "student,task,points,reason\nann,07.1,1.5,the text was not clear\n"
    rules = Rules(overrides=gradebook.overrides(table(tmp_path, content)))
    rules.fit({"ann"})
    out = written(tmp_path, [result("ann", (0, 3, 4, 4)), result("bo")], rules)
    row = next(row for row in out["grades"] if row[:4] == ["ann", "07", "07_tensor.ipynb", "07.1"])
    assert row[4] == "1.5" and row[-1] == "the text was not clear"
    assert "07.1: 1.5 in place of 0" in out["totals"][1][-1]
    page = (tmp_path / "students" / "ann.html").read_text(encoding="utf-8")
    assert "Your teacher gave 1.5 points: the text was not clear" in page
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["submissions"][0]["tasks"][0]["graded"] == 0
    with pytest.raises(RuntimeError, match="there is no student 'ann'"):
        rules.fit({"bo"})


@pytest.mark.parametrize(
    "row, why",
    [
        ("ann,99.1,1,x", "no task '99.1'"),
        ("ann,07.1,3,x", "has 0 to 2 points"),
        ("ann,07.1,-1,x", "has 0 to 2 points"),
        ("ann,07.1,nan,x", "has 0 to 2 points"),
        ("ann,07.1,much,x", "no number of points"),
        ("ann,07.1,1,", "needs a reason"),
    ],
)
def test_an_override_that_makes_no_sense_is_told(row, why, tmp_path):
    with pytest.raises(RuntimeError, match=f"line 2: .*{why}"):
        gradebook.overrides(table(tmp_path, f"student,task,points,reason\n{row}\n"))


def test_tables_that_cannot_be_read_are_told(tmp_path):
    with pytest.raises(RuntimeError, match="cannot be read"):
        gradebook.roster(tmp_path / "nowhere.csv")
    with pytest.raises(RuntimeError, match="no column task, points, reason"):
        gradebook.overrides(table(tmp_path, "student\nann\n"))
    with pytest.raises(RuntimeError, match="neither `student` nor `name`"):
        gradebook.roster(table(tmp_path, "student,email\n,x@y\n"))
    with pytest.raises(RuntimeError, match="twice"):
        gradebook.roster(table(tmp_path, "student\nann\nann\n"))
    with pytest.raises(RuntimeError, match="no time such as"):
        gradebook.due(["tomorrow"])
    with pytest.raises(RuntimeError, match="no lesson 99"):
        gradebook.due(["99=2026-11-30"])
    excel = "\ufeffStudent;Name\r\nann;Ann Arbor\r\n"
    assert gradebook.roster(table(tmp_path, excel))["ann"]["name"] == "Ann Arbor"


def test_expected_values_can_be_kept_back(tmp_path):
    wrong = result("ann", (0, 3, 4, 4))
    wrong["tasks"][0]["mistake"] = "something is left out"
    written(tmp_path, [wrong], Rules(hide=True))
    for path in (tmp_path / "students" / "ann.html", tmp_path / "report.json"):
        page = path.read_text(encoding="utf-8")
        assert "expected" not in page and "Wrong on: b" in page
        assert "This is what you get when something is left out." in page
    written(tmp_path, [wrong], Rules())
    assert "expected  5" in (tmp_path / "students" / "ann.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n=1", "\uff1d1", "=DDE(1)", "%x", "|x"],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_disarmed(cell, tmp_path):
    out = written(tmp_path, [result(cell, problem=cell, note=cell)], Rules())
    for rows in out.values():
        for row in rows:
            assert not [field for field in row if field.strip() and field.lstrip()[0] in "=+@|%-"]
    assert text.disarmed("Ann-Marie =1") == "Ann-Marie =1" and text.disarmed("") == ""


def test_text_from_outside_is_printable():
    said = text.printable("\x1b[2J\x07 a\u202eb \ud800 \x00 Å 学 \U0001f600\nnext")
    assert said == "\\x1b[2J\\x07 a\\u202eb \\ud800 \\x00 Å 学 \U0001f600\nnext"


NAMES = ["a b", "a-b", "a/b", "a:b", "Å", "A\u030a", "å", "../x", "x" * 400, "ü" * 200, "..", ".",
         "", "a.", "a", "A", "CON", "=1", "<b>", "\\x1b"]  # fmt: skip


def test_names_of_pages_never_meet(tmp_path):
    import unicodedata

    found = gradebook.file_names(NAMES)
    folded = {unicodedata.normalize("NFKC", name).casefold() for name in found.values()}
    assert len(folded) == len(NAMES)
    for name in found.values():
        assert "/" not in name and not name.startswith(".") and len(name.encode()) < 240
    written(tmp_path, [result(name) for name in NAMES], Rules())
    assert len(list((tmp_path / "students").iterdir())) == len(NAMES)
    with zipfile.ZipFile(tmp_path / "feedback.zip") as archive:
        assert len(archive.namelist()) == len(NAMES)
        assert not [n for n in archive.namelist() if n.startswith(("/", ".")) or "/../" in n]


def test_a_page_escapes_what_comes_from_outside(tmp_path):
    evil = "<script>alert(1)</script>"
    one = result(evil, (0, 3, 4, 4), file=evil, note=evil)
    one["tasks"][0]["text"] = evil
    written(tmp_path, [one, result(evil, counts=False, problem=evil)], Rules())
    page = next((tmp_path / "students").iterdir()).read_text(encoding="utf-8")
    assert "<script>" not in page and page.count("&lt;script&gt;") >= 3


def test_the_report_is_as_documented(tmp_path):
    jsonschema = pytest.importorskip("jsonschema", reason="waits for jsonschema")
    schema = json.loads((ROOT / "docs" / "grading.schema.json").read_text(encoding="utf-8"))
    rules = Rules(
        roster=gradebook.roster(table(tmp_path, ROSTER)),
        overrides={("ann", "07.1"): (1.0, "why")},
        due={"": 1e9},
        late=5,
    )
    odd = result("x") | {"counts": False, "lesson": "", "tasks": [], "problem": "it is a .zip"}
    written(tmp_path, [result("ann"), odd], rules)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text(encoding="utf-8")), schema)
