"""What a teacher adds to results, and what is written of them: tables, and pages to give back.

The one rule of this file: a result as it was graded is never changed; a late day, a teacher's
override and a hidden value are laid over it, and say so.
"""

import csv
import hashlib
import html
import io
import json
import os
import re
import unicodedata
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path

from .task import find, lessons, tasks
from .text import disarmed, printable

DAY = 24 * 60 * 60


# ---- what the teacher adds


@dataclass
class Rules:
    """A class's rules.

    roster: a dict student -> the row of the roster, a dict.  due: lesson or "" -> when, in seconds
    since 1970.  late: percent that are taken off for each day begun.  overrides: (student, task)
    -> (points, reason).  hide: whether pages keep expected values to themselves.
    """

    roster: dict = field(default_factory=dict)
    due: dict = field(default_factory=dict)
    late: float = 0.0
    overrides: dict = field(default_factory=dict)
    hide: bool = False

    def fit(self, students):
        """Raise RuntimeError for an override of somebody who is not in the class."""
        known = {*students, *self.roster, *(self.row(s).get("student") for s in students)}
        for student, task in self.overrides:
            if student not in known:
                raise RuntimeError(f"overrides: there is no student {student!r} (task {task})")

    def row(self, student):
        """The roster's row of a student, whose folder may be named by id, login or email too.

        A learning platform's folder names begin or end with one of these, as in `Ann_12_file_`.
        """
        if student in self.roster:
            return self.roster[student]
        key = _plain(student)
        words = {*re.split(r"[_\s]+", key), key}
        for row in self.roster.values():
            names = {_plain(row[name]) for name in KEYS if row.get(name)}
            whole = {_plain(row[name]) for name in ("student", "name") if row.get(name)}
            if names & words or any(key == w or key.startswith(f"{w}_") for w in whole):
                return row
        return {}

    def days_late(self, result):
        """How many days after the due time, begun ones counted whole, a notebook was saved."""
        due = self.row(result["student"]).get("due_at")
        due = due or self.due.get(result["lesson"]) or self.due.get("")
        if not due or not result["counts"]:
            return 0
        return max(0, ceil((result["when"] - due) / DAY))


# Columns of a roster that name a person, beside `student` and `name`.
KEYS = "student", "id", "login", "email", "sis_id"


def _plain(text):
    return unicodedata.normalize("NFKC", str(text)).casefold().strip()


def roster(path):
    """The roster in a CSV file: a dict student -> row.  It has a column `student` or `name`."""
    found = {}
    for line, row in _table(path):
        student = row.get("student") or row.get("name") or row.get("id")
        if not student:
            raise RuntimeError(f"{path}, line {line}: a student has neither `student` nor `name`")
        if student in found:
            raise RuntimeError(f"{path}, line {line}: {student} stands there twice")
        if row.get("due"):
            row["due_at"] = moment(row["due"])
        found[student] = row | {"student": student}
    return found


def overrides(path):
    """The overrides in a CSV file with the columns student, task, points, reason."""
    found = {}
    for line, row in _table(path, ("student", "task", "points", "reason")):
        where = f"{path}, line {line}"
        try:
            task, points = find(row["task"]), float(row["points"])
        except KeyError:
            raise RuntimeError(f"{where}: there is no task {row['task']!r}") from None
        except ValueError:
            raise RuntimeError(f"{where}: {row['points']!r} is no number of points") from None
        if not 0 <= points <= task.points:
            raise RuntimeError(f"{where}: task {task.id} has 0 to {task.points:g} points")
        if not row["reason"]:
            raise RuntimeError(f"{where}: an override needs a reason; the student will read it")
        found[row["student"], task.id] = points, row["reason"]
    return found


def _table(path, needed=()):
    """Pairs (number of the line, row) of a CSV file, with names of columns in small letters."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RuntimeError(f"{path} cannot be read: {error}") from None
    semicolons = text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",")
    reader = csv.reader(io.StringIO(text), delimiter=";" if semicolons else ",")
    names = [name.strip().lower().replace(" ", "_") for name in next(reader, [])]
    if missing := [name for name in needed if name not in names]:
        raise RuntimeError(f"{path} has no column {', '.join(missing)}")
    for row in reader:
        if any(cell.strip() for cell in row):
            yield reader.line_num, dict(zip(names, map(str.strip, row)))


def due(words):
    """What `--due` says, several times: `2026-11-30 23:59`, or `07=2026-11-30 23:59`."""
    found = {}
    for word in words or []:
        lesson, _, when = word.rpartition("=")
        if lesson and lesson not in lessons():
            raise RuntimeError(f"--due {word}: there is no lesson {lesson}")
        found[lesson] = moment(when)
    return found


def moment(text):
    """Seconds since 1970 of a time such as 2026-11-30 23:59; a day alone ends at midnight."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RuntimeError(f"{text!r} is no time such as 2026-11-30 23:59") from None
    whole_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip())
    return found.timestamp() + (DAY if whole_day else 0)


# ---- laid over the results


def settled(result, rules):
    """The result with what the rules make of it; each task keeps what it was `graded`."""
    row = rules.row(result["student"])
    rows = []
    for task in result["tasks"]:
        changed = None
        for name in (result["student"], row.get("student")):
            changed = changed or rules.overrides.get((name, task["task"]))
        points, reason = changed or (task["points"], "")
        rows.append(task | {"points": points, "graded": task["points"], "override": reason})
    points = sum(task["points"] for task in rows)
    late = rules.days_late(result)
    penalty = round(points * min(1.0, late * rules.late / 100), 2)
    final = round(points - penalty, 2)
    return result | {
        "tasks": rows, "points": points, "days_late": late, "penalty": penalty, "final": final,
    }  # fmt: skip


def missing(results, rules):
    """Results without points for those of the roster of whom nothing came, lesson by lesson."""
    graded = sorted({result["lesson"] for result in results if result["counts"]})
    there = {(rules.row(r["student"]).get("student"), r["lesson"]) for r in results if r["counts"]}
    changed = {(s, i.partition(".")[0]) for s, i in rules.overrides}
    found = []
    for student in rules.roster:
        for lesson in sorted({*graded, *(n for s, n in changed if s == student)}):
            if (student, lesson) not in there:
                found.append(_missing(student, lesson))
    return found


def _missing(student, lesson):
    rows = [
        {"task": t.id, "title": t.title, "points": 0.0, "of": t.points, "passed": [],
         "failed": [], "mistake": "", "text": MISSING}
        for t in tasks(lesson).values()
    ]  # fmt: skip
    return {
        "student": student, "lesson": lesson, "file": "", "points": 0.0,
        "of": sum(row["of"] for row in rows), "problem": MISSING, "note": "", "counts": True,
        "when": 0.0, "seed": None, "tasks": rows,
    }  # fmt: skip


MISSING = "missing: nothing was handed in"


def feedback(task, hide):
    """What a page tells of a task."""
    text = task["text"]
    if hide and task["failed"] and (task["passed"] or "\n" in text):
        named = f"This is what you get when {task['mistake']}.\n" if task["mistake"] else ""
        right = ", ".join(task["passed"]) or "nothing yet"
        text = f"{named}Right on: {right}.\nWrong on: {', '.join(task['failed'])}."
    if task["override"]:
        text = f"{text}\nYour teacher gave {task['points']:g} points: {task['override']}"
    return printable(text.strip())


# ---- what is written


def write(out, results, rules):
    """Write all tables and pages of a class into the folder `out`; return the settled results."""
    results = [settled(result, rules) for result in results + missing(results, rules)]
    results.sort(key=lambda r: (r["student"], r["lesson"], not r["counts"], r["file"]))
    if rules.hide:
        for result in results:
            result["tasks"] = [t | {"text": feedback(t, True)} for t in result["tasks"]]
    _save(out / "report.json", json.dumps({"version": 1, "submissions": results}, indent=1))
    _save_table(out / "grades.csv", _grades(results))
    totals = _totals(results, rules)
    _save_table(out / "totals.csv", totals)
    if rules.roster:
        _save_table(out / "canvas.csv", _canvas(results, rules))
        _save_table(out / "moodle.csv", _moodle(results, rules))
    _pages(out, results, rules)
    return results


def _grades(results):
    """A row for each task; for what is not graded, one with the reason."""
    yield "student lesson file task points of mistake reason".split()
    for r in results:
        about = [r["student"], r["lesson"], r["file"]]
        for t in r["tasks"] if r["counts"] else []:
            reason = t["override"] or r["problem"] or (t["text"] if not t["failed"] else "")
            yield [*about, t["task"], t["points"], t["of"], t["mistake"], reason]
        if not r["counts"]:
            yield [*about, "", "", "", "", r["problem"] or r["note"]]


def _by_student(results):
    found = {}
    for result in results:
        found.setdefault(result["student"], []).append(result)
    return found


def _lessons(results):
    return sorted({r["lesson"] for r in results if r["counts"]})


def _totals(results, rules):
    """A row for each student: points of each lesson after penalties, their sum, and what to see."""
    numbers = _lessons(results)
    most = {n: sum(t.points for t in tasks(n).values()) for n in numbers}
    yield ["student", "name", *numbers, "total", "of", "percent", "days late", "penalty", "remarks"]
    for student, theirs in _by_student(results).items():
        row = rules.row(student)
        counted = {r["lesson"]: r for r in theirs if r["counts"]}
        got = [counted[n]["final"] if n in counted else 0.0 for n in numbers]
        total, of = round(sum(got), 2), sum(most.values())
        late = max((r["days_late"] for r in counted.values()), default=0)
        penalty = round(sum(r["penalty"] for r in counted.values()), 2)
        percent = round(100 * total / of, 1) if of else 0.0
        seen = _remarks(theirs, row, rules)
        yield [student, row.get("name", ""), *got, total, of, percent, late, penalty, seen]


def _remarks(theirs, row, rules):
    found = [f"{r['file'] or r['lesson']}: {r['problem'] or r['note']}" for r in theirs
             if r["problem"] or r["note"]]  # fmt: skip
    found += [
        f"{t['task']}: {t['points']:g} in place of {t['graded']:g}, {t['override']}"
        for r in theirs for t in r["tasks"] if t["override"]
    ]  # fmt: skip
    if rules.roster and not row:
        found.append("not on the roster")
    return "; ".join(found)


def _of_roster(results, rules):
    """Pairs (row of the roster, dict lesson -> points after penalties)."""
    finals = {}
    for r in results:
        if r["counts"] and (row := rules.row(r["student"])):
            finals.setdefault(row["student"], {})[r["lesson"]] = r["final"]
    return [(row, finals.get(student, {})) for student, row in rules.roster.items()]


def _canvas(results, rules):
    """As Canvas imports grades: a row of points possible, then a row for each student."""
    numbers = _lessons(results)
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"] + [
        f"Exercises {n}" for n in numbers
    ]
    most = [sum(t.points for t in tasks(n).values()) for n in numbers]
    yield ["    Points Possible", "", "", "", "", *most]
    for row, finals in _of_roster(results, rules):
        name = row.get("name") or row["student"]
        about = [name, *(row.get(key, "") for key in ("id", "sis_id", "login", "section"))]
        yield [*about, *(finals.get(n, "") for n in numbers)]


def _moodle(results, rules):
    """As Moodle imports grades: columns that name the student, then one for each lesson."""
    numbers = _lessons(results)
    yield ["ID number", "Email address", "Full name"] + [f"Exercises {n}" for n in numbers]
    for row, finals in _of_roster(results, rules):
        about = [row.get("id", ""), row.get("email", ""), row.get("name") or row["student"]]
        yield [*about, *(finals.get(n, "") for n in numbers)]


def _save_table(path, rows):
    text = io.StringIO()
    table = csv.writer(text)
    for row in rows:
        table.writerow([f"{c:g}" if isinstance(c, (int, float)) else disarmed(c) for c in row])
    _save(path, text.getvalue())


def _save(path, text):
    beside = path.with_name(f".{path.name[:80]}.{os.getpid()}.new")
    beside.write_text(text, encoding="utf-8", newline="")
    beside.replace(path)


def _pages(out, results, rules):
    """A page for each student, alone and in an archive with a folder for each, to be uploaded."""
    folder = out / "students"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.html"):
        old.unlink()
    students = _by_student(results)
    names = file_names(students)
    beside = out / ".feedback.zip.new"
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
        for student, theirs in students.items():
            text = page(student, theirs, rules.hide)
            _save(folder / f"{names[student]}.html", text)
            archive.writestr(f"{names[student]}/feedback.html", text)
    beside.replace(out / "feedback.zip")


def file_names(students):
    """A file's name for each student; two never share one, on any system of files."""
    plain = {s: re.sub(r"[^\w. -]+", "-", s).strip(". ")[:60] or "-" for s in students}
    count = {}
    for name in plain.values():
        count[_plain(name)] = count.get(_plain(name), 0) + 1
    found = {}
    for student, name in plain.items():
        same = name == student and count[_plain(name)] == 1 and len(name.encode()) < 200
        mark = hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
        short = name.encode()[:180].decode(errors="ignore")
        found[student] = name if same else f"{short}-{mark}"
    return found


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46em; margin: 2em auto; padding: 0 1em }
h2 { margin: 2em 0 .5em } h3 { margin: 1.5em 0 .3em; font-size: 1em }
pre { background: #f4f4f4; padding: .8em; white-space: pre-wrap; margin: 0 }
.full { color: #006d4e } .part { color: #a04800 }
"""


def page(student, results, hide=False):
    """A student's page: points and feedback for each task; all text from outside is escaped."""
    rows = []
    for result in results:
        name = html.escape(printable(result["file"] or f"Exercises {result['lesson']}"))
        if not result["counts"]:
            rows.append(
                f"<h2>{name}</h2>\n<p>{html.escape(result['problem'] or result['note'])}</p>"
            )
            continue
        rows.append(f"<h2>{name}: {result['final']:g} of {result['of']:g}</h2>")
        if result["days_late"]:
            days = "1 day" if result["days_late"] == 1 else f"{result['days_late']} days"
            rows.append(f"<p>{days} late: {result['penalty']:g} points are taken off.</p>")
        rows += [_section(task, hide) for task in result["tasks"]]
    name = html.escape(printable(student))
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title>\n'
        f"<style>{STYLE}</style>\n<h1>{name}</h1>\n" + "\n".join(rows) + "\n</html>\n"
    )


def _section(task, hide):
    kind = "full" if task["points"] == task["of"] else "part"
    text = feedback(task, hide)
    told = f"\n<pre>{html.escape(text)}</pre>" if text else ""
    return (
        f"<h3>{task['task']} {html.escape(task['title'])}: "
        f'<span class="{kind}">{task["points"]:g} of {task["of"]:g}</span></h3>{told}'
    )
