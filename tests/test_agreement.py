"""The notebook's `check` and the verdict outside: one answer, one verdict, both ways."""

import os
import random
import textwrap
from dataclasses import replace

import pytest

from grading import agreement, verdict
from grading.task import find, lessons, tasks

TASKS = [task for lesson in lessons() for task in tasks(lesson).values()]
HOW_MANY = 40


def everything():
    """Pairs (task, source) of all right variants and all of the bank's mistakes."""
    for task in TASKS:
        for source in task.right:
            yield task, source
        for _, source in task.bank():
            yield task, source


def chosen():
    """Some of them, drawn with the seed AGREEMENT_SEED; all with AGREEMENT_SEED=all."""
    seed = os.environ.get("AGREEMENT_SEED", "0")
    every = list(everything())
    return every if seed == "all" else random.Random(seed).sample(every, HOW_MANY)


@pytest.mark.slow
def test_both_ways_give_one_verdict():
    found = []
    for task, source in chosen():
        verdicts = agreement.both_ways(task, source)
        if not agreement.same(verdicts):
            found.append((task.id, source, *verdicts))
    assert not found


def one(task_id, source, **changes):
    """Both verdicts on an answer, which have to say the same; the first of them."""
    task = replace(find(task_id), **changes)
    verdicts = agreement.both_ways(task, textwrap.dedent(source))
    assert agreement.same(verdicts), verdicts
    return verdicts[0]


BACKWARD = find("07.3").right[0]
UNBROADCAST = textwrap.dedent(find("07.1").right[0])
