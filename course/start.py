"""The page that `make course` opens, my/start.md: all lessons, what is done, what comes next.

It is made anew each time from the lessons' headers, the exercises' points and what `check` wrote
down; nothing of it is kept, so nobody has to look after it.
"""

import json
import math
import re

import nbformat

QUESTIONS = """
How does this course work?
What is AI, what of it is machine learning, what of that is deep learning?
What can a toolbox do?
Can one neuron learn?
What does learning make smaller?
How sure is it?
Who computes the derivatives?
How do whole arrays remember?
Is every operation right, and twice?
What do hidden layers add?
Which way down, and how far?
How does data reach the network?
Who runs the loop?
Why does mine not train?
What if the digit moves?
How deep can it go?
How to read a sequence of any length?
Where to look?
How does GPT write?
What without labels?
Record or run?
Where does the time go?
What does a GPU change?
How do many machines train one network?
How does it fit a data-science project?
How does it leave Python?
How do the real ones do it, and which to choose?
Does yours work?
""".strip().splitlines()

INTRO = """# Your course

{what_next}

A lesson's minutes are for reading, predicting and writing in it, the exercises' come on top; a lesson marks the place where one sitting may end. What you write in `my/` stays yours when the course is updated. This page is made anew at each `make course`, so write nothing in it.

| # | question | minutes | exercises | points | |
|--:|---|--:|---|--:|---|
"""  # noqa: E501


def header(path):
    """(question, minutes, minutes of exercises) from the first cell of a lesson; "" if unsaid."""
    try:
        text = nbformat.read(path, as_version=4).cells[0].source
    except Exception:  # whatever a damaged file makes nbformat raise: the page is not to fail
        return "", "", ""
    question = re.search(r"# \d\d · (.+)", text)
    minutes = re.search(r"\*\*Minutes\*\* (\d+)", text)
    exercises = re.search(r"exercises (\d+)", minutes.string[minutes.start() :] if minutes else "")
    return tuple(found[1].strip() if found else "" for found in (question, minutes, exercises))


def points_of(path):
    """{task: the most points} of an exercise notebook: its checks say so."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception:
        return {}
    found = {}
    for cell in cells:
        about = cell.metadata.get("nbgrader", {})
        name = re.fullmatch(r"check-(\d\d)-(\w+)", about.get("grade_id", ""))
        if name:
            found[f"{name[1]}.{name[2]}"] = about.get("points", 0)
    return found


def remembered(path):
    """{task: points} that `check` wrote down; what cannot be read counts as nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        numbers = {str(task): float(points) for task, points in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}
    return {task: points for task, points in numbers.items() if math.isfinite(points)}


def page(root):
    """The text of my/start.md."""
    points = remembered(root / "my" / "exercises" / ".progress.json")
    rows, following = [], None
    for number, question in enumerate(QUESTIONS):
        found = sorted((root / "course").glob(f"{number:02}_*.ipynb"))
        if not found:
            rows.append(f"| {number:02} | {question} | | | | not written yet |")
            continue
        name = found[0].name
        said, minutes, more = header(found[0])
        question = (said or question).replace("|", "/")
        most = points_of(root / "exercises" / name)
        got = sum(min(max(points.get(task, 0), 0), n) for task, n in most.items())
        state = ""
        if most and got >= sum(most.values()):
            state = "done"
        elif following is None:
            following, state = (number, name, question), "**next**"
        elif got:
            state = "begun"
        minutes += f" + {more}" if more not in ("", "0") else ""
        rows.append(
            f"| {number:02} | [{question}](course/{name}) | {minutes} "
            f"| {f'[{number:02}](exercises/{name})' if most else ''} "
            f"| {f'{got:g} of {sum(most.values()):g}' if most else ''} | {state} |"
        )
    what_next = "Every lesson that is written is done."
    if following:
        number, name, question = following
        what_next = (
            f"**Next: lesson {number:02}, [{question}](course/{name})** Then its exercises, "
            f"[{number:02}](exercises/{name}), where `check` says what is right; "
            "with all their points a lesson is done."
        )
    return INTRO.format(what_next=what_next) + "\n".join(rows) + "\n"
