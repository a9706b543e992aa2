"""The grader, graded: solutions, blanks, right variants, and every known wrong answer."""

from .task import NotGiven, compile_answer, draw, judge, lessons, run, tasks


def verdict_on(task, source, seed=0):
    answer = compile_answer(source, task.name)
    cases = draw(task, seed)
    return judge(task, cases, [run(task, answer, arrays) for _, arrays in cases])


def faults(task):
    """Sentences: what the judgement of `task` gets wrong."""
    cases = draw(task, 0)
    blank = judge(task, cases, [NotGiven("not answered yet")] * len(cases))
    if blank.points:
        yield f"{task.id}: a blank answer gets {blank.points:g} points"
    if len(task.wrong) < 5 or len(task.right) < 2 or len(task.hints) != 3:
        yield f"{task.id}: needs 5 wrong answers, 2 right ones and 3 hints"
    for i, source in enumerate(task.right):
        for seed in range(3):
            verdict = verdict_on(task, source, seed)
            if verdict.text:
                yield f"{task.id}: right variant {i + 1} fails: {verdict.text}"
    for sentence, source in task.wrong:
        verdict = verdict_on(task, source)
        if verdict.points >= task.points:
            yield f"{task.id}: a wrong answer passes: {sentence}"
        elif sentence not in verdict.text:
            yield f"{task.id}: a wrong answer is not named: {sentence}"


def audit():
    """Print a table of all tasks and the kill rate; return the number of faults."""
    found, wrong = [], 0
    for lesson in lessons():
        for task in tasks(lesson).values():
            mine = list(faults(task))
            found += mine
            wrong += len(task.wrong)
            print(
                f"{task.id}  {task.title:<32} {len(task.wrong):>3} wrong answers, "
                f"{len(task.right)} right variants, {len(mine)} faults"
            )
    missed = sum("a wrong answer" in fault for fault in found)
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{wrong - missed} of {wrong} wrong answers caught and named")
    return len(found)
