"""The tasks of lesson 20: dead lines, repeated lines, places in memory, and which record serves."""

import numpy as np

from .task import Task

FUNCTIONS = "double add multiply tanh subtract".split()


def shuffled(rng, n):
    """n names in an order that says nothing: v10 may be made before v2."""
    return [f"v{k}" for k in rng.permutation(3 * n)[:n]]


def record(rng, n, *, n_inputs=2, most=2, near=None, functions=FUNCTIONS):
    """n lines of random calls, which read inputs and earlier lines (near: the last so many)."""
    names, known, lines = shuffled(rng, n), [f"x{k}" for k in range(n_inputs)], []
    for name in names:
        pool = known if near is None else known[-near:]
        reads = tuple(pool[int(k)] for k in rng.integers(0, len(pool), rng.integers(1, most + 1)))
        lines.append((name, functions[int(rng.integers(len(functions)))], reads))
        known.append(name)
    return lines


def line(name, function, *arguments):
    return name, function, arguments


def of(text):
    """Lines of "v1 add v0 x0, v2 double v1": name, function, what is read."""
    return [line(*part.split()) for part in text.split(", ")]


# ---- 20.1


def needed_cases(rng):
    hand = of("v0 double x0, v1 add v0 x0, v2 double v1, v3 check v2, v4 double v0")
    yield "by hand", hand, ["v1"]
    yield "by hand", hand, ["v4"]
    tower = of("b double x, a add b b, d double a, c add d b, e double c")
    yield "one needs the other", tower, ["e"]
    yield "one needs the other", tower, ["d"]
    side = of("v0 double x, v1 double v0, v2 double v1, v3 add x v0, v4 double v1")
    yield "read by what nobody needs", side, ["v3"]
    yield "read by what nobody needs", side, ["v0", "v0"]
    yield "several results", of("v0 double x, v1 double x, v2 add x x, v3 tanh x"), ["v2", "v0"]
    yield "several results", of("v5 double x, v1 double v5, v2 add x x"), ["v1", "v5", "v2"]
    yield "no result", of("v0 double x, v1 add v0 v0"), []
    yield "an input is the result", of("v0 double x0, v1 add v0 x1"), ["x1"]
    yield "no lines", [], ["x0"]
    yield "no lines", [], []
    draws = of("v0 double x, v1 random, v2 double v1, v3 tanh v0, v4 check v3, v5 double v4")
    yield "draws and checks", draws, []
    yield "draws and checks", draws, ["v0"]
    yield "draws and checks", draws, ["v2"]
    yield "draws and checks", of("v0 tanh x, v1 double v0, v2 random v1, v3 add v0 v0"), ["x"]
    yield "draws and checks", of("v0 tanh x, v1 tanh x, v2 check v1"), []
    yield "draws and checks", of("v0 tanh x, v1 tanh x, v2 random v1"), ["v0"]
    yield "a word like them", of("v0 checked x, v1 randomly x, v2 uncheck x, v3 double x"), ["v3"]
    yield "the second argument", of("a tanh x, b tanh x, c tanh x, d sum3 x b c, e add a d"), ["d"]
    yield "no arguments", of("v0 ones, v1 ones, v2 add v0 v0"), ["v2"]
    yield "the first line", of("v0 check x, v1 tanh x"), ["v1"]
    yield "the first line", of("v0 tanh x, v1 tanh x, v2 tanh v0"), ["v2"]
    yield "one line", of("v0 tanh x"), ["v0"]
    for n in (6, 12, 25, 40):
        lines = record(rng, n, functions=[*FUNCTIONS, *FUNCTIONS, "check", "random"])
        yield "any", lines, [lines[int(k)][0] for k in rng.integers(0, n, 2)]
        lines = record(rng, n, near=6)
        yield "any", lines, [lines[n // 2][0], "x0"]
    names = shuffled(rng, 3000)
    chain = [line(name, "add", read, read) for name, read in zip(names, ["x", *names])]
    yield "a long chain", chain, [names[2900]]
    wide = [line(f"w{k}", "add", "v", "v") for k in range(300)]
    yield "many readers", [line("v", "tanh", "x"), *wide], ["w7"]
    made = [line(f"w{k}", "tanh", "x") for k in range(60)]
    whole = "v", "concatenate", tuple(one[0] for one in made[5:])
    yield "many arguments", [*made, whole, ("u", "tanh", ("v",))], ["u"]
    yield "many results", made, [one[0] for one in made[::-1][:50]]


def needed_reference(lines, results):
    made = {name: (function, reads) for name, function, reads in lines}
    waiting = [n for n in results if n in made]
    waiting += [n for n, (function, _) in made.items() if function in ("check", "random")]
    found = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [read for read in made[name][1] if read in made]
    return [name for name, _, _ in lines if name in found]


NEEDED = Task(
    id="20.1",
    replaces="graph.passes.without_dead",
    cases=needed_cases,
    reference=needed_reference,
    equal=(
        ("('random', 'check')", "one of the two"),
        ("range(len(lines) - 1, min(-1,", "the smaller of the two is -1"),
        ("-> for name, function, _ in list(lines)[::-1]:", "they only begin the search"),
        ("in list(results)[::-1]", "marks, in whatever order"),
        ("in list(reads)[::-1]", "marks, in whatever order"),
    ),
    hints=(
        "Whoever reads a line stands below it. So walk from the last line to the first: at each "
        "you "
        "know already whether a reader stays.",
        "`wanted` holds the names that something below needs. If a line stays, what does it want?",
        'if name in wanted or function in ("check", "random"): append its name to kept, and put '
        "its reads into wanted.",
    ),
    right=(
        """
        def needed(lines, results):
            wanted = set(results)
            kept = []
            for name, function, reads in reversed(lines):
                if name in wanted or function in ("check", "random"):
                    kept.append(name)
                    wanted.update(reads)
            return kept[::-1]""",
        """
        def needed(lines, results):
            reads_of = {name: reads for name, _, reads in lines}
            waiting = list(results)
            for name, function, _ in lines:
                if function == "check" or function == "random":
                    waiting.append(name)
            stays = set()
            while waiting:
                name = waiting.pop()
                if name in reads_of and name not in stays:
                    stays.add(name)
                    waiting.extend(reads_of[name])
            return [name for name, _, _ in lines if name in stays]""",
        """
        def needed(lines, results):
            stays = [False] * len(lines)
            number = {line[0]: i for i, line in enumerate(lines)}
            for name in results:
                if name in number:
                    stays[number[name]] = True
            for i in range(len(lines) - 1, -1, -1):
                name, function, reads = lines[i]
                if function in {"check", "random"}:
                    stays[i] = True
                if stays[i]:
                    for read in reads:
                        if read in number:
                            stays[number[read]] = True
            return [lines[i][0] for i in range(len(lines)) if stays[i]]""",
    ),
    wrong=(
        ("checks and draws go too, if nobody reads them",
         ' or function in ("check", "random")', ""),
        ("checks go, if nobody reads them", '("check", "random")', '("random",)'),
        ("draws go, if nobody reads them", '("check", "random")', '("check",)'),
        ("what a check or a draw reads is not kept", "wanted.update(reads)",
         "wanted.update(reads if name in wanted else ())"),
        ("what a line reads does not stay, for you walk from the first line to the last",
         "in reversed(lines)", "in lines", "return kept[::-1]", "return kept"),
        ("the names come in the order of the walk, last first", "return kept[::-1]",
         "return kept"),
        ("what is read stays whether its reader stays or not",
         "                    wanted.update(reads)", "                wanted.update(reads)"),
        ("only the first argument of a line counts", "wanted.update(reads)",
         "wanted.update(reads[:1])"),
        ("only the last argument of a line counts", "wanted.update(reads)",
         "wanted.update(reads[-1:])"),
        ("only the last result counts", "set(results)", "set(results[-1:])"),
        ("only the first result counts", "set(results)", "set(results[:1])"),
        ("the results themselves go", "kept.append(name)",
         "kept.extend([name] if name not in results else [])"),
        ("inputs are named too", "return kept[::-1]",
         "made = [one[0] for one in lines]\n"
         "            return sorted(wanted - set(made)) + kept[::-1]"),
        ("a function counts as a check if its name holds the word",
         'function in ("check", "random")', '"check" in function or "random" in function'),
        ("the last line always stays", "wanted = set(results)",
         "wanted = set(results) | {one[0] for one in lines[-1:]}"),
    ),
)  # fmt: skip

# ---- 20.2


def repeats_cases(rng):
    hand = [
        line("v0", "multiply", "x0", 2),
        line("v1", "multiply", "x0", 2),
        line("v2", "add", "v1", 1),
        line("v3", "add", "v0", 1),
    ]
    yield "by hand", hand, ["v3", "v1"]
    yield "by hand", hand, ["v2"]
    yield "nothing repeats", of("a tanh x, b double x, c add a b"), ["c", "a"]
    yield "one repeats", of("b tanh x, a tanh x, c add a b, d double a"), ["a", "d", "x"]
    yield "far apart", of("d tanh x, c double d, b add c c, e tanh c, a tanh x, f add a b"), ["f"]
    yield (
        "a repeat of a repeat",
        of("a tanh x, b tanh x, c double a, d double b, e add c d, f add d c, g tanh e, h tanh f"),
        ["g", "h", "d"],
    )
    yield "three times", of("c tanh x, b tanh x, a tanh x, d add a b, e add b c"), ["e", "a"]
    yield "the order of arguments", of("a subtract x y, b subtract y x, c add x y, d add y x"), [
        "b", "d", "a",
    ]  # fmt: skip
    yield "another function", of("a tanh x, b double x, c tanh x, d double x"), ["c", "d"]
    yield "more arguments", of("a sum x, b sum x x, c sum x x x, d sum x x, e sum"), ["d", "e"]
    yield "draws", of("a random, b random, c add a a, d add b b, e random x, f random x"), [
        "d", "f", "b",
    ]  # fmt: skip
    yield "a word like it", of("a randoms x, b randoms x, c add a b"), ["c"]
    yield "names that run together", of("a f xy z, b f x yz, c fx y z, d f xyz, e f xy z"), [
        "e", "b", "c", "d",
    ]  # fmt: skip
    together = [line("a", "f", 12), line("b", "f1", 2), line("c", "f", 1, 2), line("d", "f", 12)]
    yield "names that run together", together, ["d", "c", "b"]
    for one, other in [(2, 2.0), (0.0, -0.0), (1, 1.0), (0, 0.0), (-1, -1.0), (3, 3.0), (0, -0.0)]:
        pair = [line("a", "add", "x", one), line("b", "add", "x", other)]
        yield "numbers of two types", [*pair, line("c", "add", "x", one)], ["a", "b", "c"]
    numbers = [line("a", "add", 1, "x"), line("b", "add", "x", 1), line("c", "add", "x", 1.5),
               line("d", "add", "x", 1.5), line("e", "add", 1, "x"),
               line("f", "add", "x", 1.5000000000000002)]  # fmt: skip
    yield "numbers", numbers, ["e", "d", "f"]
    below = [line("a", "add", "x", -1), line("b", "add", "x", -2), line("c", "add", "x", -1)]
    yield "numbers", below, ["b", "c"]
    small = [line("a", "add", "x", 1e-12), line("b", "add", "x", 2e-12)]
    yield "numbers", [*small, line("c", "add", "x", 10**9), line("d", "add", "x", 10**9 + 1)], ["b"]
    yield "no arguments", of("a ones, b ones, c zeros, d add a b, e add b a"), ["e", "d"]
    yield "no lines", [], ["x"]
    yield "no results", of("a tanh x, b tanh x"), []
    yield "results twice", of("a tanh x, b tanh x"), ["b", "b", "a"]
    for n in (8, 15, 30, 50):
        lines = record(rng, n, functions=["tanh", "add", "add", "random"], near=n // 3)
        yield "any", lines, [name for name, _, _ in lines[-3:]]
    many = tuple(f"x{k}" for k in range(40))
    yield "many arguments", [("a", "sum", many), ("b", "sum", (*many[:39], "y")),
                             ("c", "sum", many[:39]), ("d", "sum", many)], ["d", "c",
                              "b"]  # fmt: skip
    same = [line(f"w{k}", "tanh", f"x{k // 2}") for k in range(80)]
    yield "many results", same, [one[0] for one in same]
    names = shuffled(rng, 800)
    two = [[line(name, "tanh", read) for name, read in zip(part, ["x", *part])]
           for part in (names[:400], names[400:])]  # fmt: skip
    both = [one for pair in zip(*two) for one in pair]
    yield "long chains", both, [names[399], names[-1]]


def repeats_reference(lines, results):
    def same(a, b):
        return type(a) is type(b) and repr(a) == repr(b)

    stands, kept = {}, []
    by_function = {}
    for name, function, arguments in lines:
        found = []
        for a in arguments:
            found.append(stands[a] if isinstance(a, str) and a in stands else a)
        for earlier, others in by_function.get(function, []):
            alike = len(others) == len(found) and all(map(same, found, others))
            if alike and function != "random":
                stands[name] = earlier
                break
        else:
            by_function.setdefault(function, []).append((name, found))
            kept.append((name, function, tuple(found)))
    return kept, [stands.get(name, name) for name in results]


REPEATS = Task(
    id="20.2",
    replaces="graph.passes.without_repeats",
    cases=repeats_cases,
    reference=repeats_reference,
    equal=(
        ("-> call = repr((arguments, function))", "a key of the same parts"),
        ("if isinstance(a, str): -> if True:", "no number is the name of a line"),
        ("-> key = (name, function, 'drawn')", "a key of the same parts"),
        ("-> key = (function, 'drawn', name)", "a key of the same parts"),
        ("(type(a).__name__, repr(a)) for a in list(renamed)[::-1]", "a key of the same parts"),
        ("(repr(a), type(a).__name__)", "a key of the same parts"),
        ("in list(enumerate(results))[::-1]", "each by itself"),
        ("left out (`')'`)", "the end of the text is its end"),
        ("(repr(a) for a in list(arguments)[::-1])", "a key of the same parts"),
    ),
    hints=(
        "`seen` answers: was this call made before, and by which line? What is a call, as the key "
        "of "
        "a dict?",
        "repr((function, arguments)) tells 2 from 2.0, and 0.0 from -0.0; the tuple itself does "
        "not. "
        "If it is in seen, the line goes, and new learns its name.",
        'if function != "random" and call in seen: new[name] = seen[call]; continue. Else '
        "seen[call] = name, and kept gets (name, function, arguments).",
    ),
    right=(
        """
        def without_repeats(lines, results):
            new = {}
            seen = {}
            kept = []
            for name, function, arguments in lines:
                arguments = tuple(new.get(a, a) for a in arguments)
                call = repr((function, arguments))
                if function != "random" and call in seen:
                    new[name] = seen[call]
                    continue
                seen[call] = name
                kept.append((name, function, arguments))
            return kept, [new.get(name, name) for name in results]""",
        """
        def without_repeats(lines, results):
            stands_for, first, left = {}, {}, []
            for name, function, arguments in lines:
                renamed = []
                for a in arguments:
                    if isinstance(a, str):
                        a = stands_for[a] if a in stands_for else a
                    renamed.append(a)
                key = (function, *[(type(a).__name__, repr(a)) for a in renamed])
                if function == "random":
                    key = (function, name, "drawn")
                stands_for[name] = first.setdefault(key, name)
                if stands_for[name] == name:
                    left.append((name, function, tuple(renamed)))
            return left, [stands_for.get(name, name) for name in results]""",
        """
        def without_repeats(lines, results):
            kept = [(name, function, tuple(arguments)) for name, function, arguments in lines]
            results = list(results)
            calls = {}
            renamed = {}
            i = 0
            while i < len(kept):
                name, function, arguments = kept[i]
                arguments = tuple([renamed.get(a, a) for a in arguments])
                kept[i] = name, function, arguments
                text = function + "(" + ", ".join(repr(a) for a in arguments) + ")"
                earlier = calls.get(text) if function != "random" else None
                if earlier is None:
                    calls[text] = name
                    i += 1
                else:
                    renamed[name] = earlier
                    del kept[i]
            for n, name in enumerate(results):
                results[n] = renamed.get(name, name)
            return [kept, results]""",
    ),
    wrong=(
        ("who read a line that was taken out still reads it",
         "tuple(new.get(a, a) for a in arguments)", "tuple(arguments)"),
        ("the results keep the names of lines that were taken out",
         "[new.get(name, name) for name in results]", "list(results)"),
        ("random draws are taken for repeats", 'function != "random" and ', ""),
        ("the order of arguments is not looked at", "repr((function, arguments))",
         "repr((function, sorted(map(repr, arguments))))"),
        ("the function is not looked at", "repr((function, arguments))", "repr(arguments)"),
        ("the arguments are not looked at", "repr((function, arguments))", "function"),
        ("2 and 2.0 are taken for the same argument", "repr((function, arguments))",
         "(function, arguments)"),
        ("0.0 and -0.0 are taken for the same argument", "repr((function, arguments))",
         "(function, tuple((type(a), a) for a in arguments))"),
        ("a call is compared with the line before alone", "seen[call] = name",
         "seen = {call: name}"),
        ("the later line of two stays, not the first", "new[name] = seen[call]",
         "new[seen[call]] = name"),
        ("calls are compared before their arguments are renamed",
         "                arguments = tuple(new.get(a, a) for a in arguments)\n"
         "                call = repr((function, arguments))",
         "                call = repr((function, arguments))\n"
         "                arguments = tuple(new.get(a, a) for a in arguments)"),
        ("only the first argument is renamed", "tuple(new.get(a, a) for a in arguments)",
         "tuple(new.get(a, a) for a in arguments[:1]) + tuple(arguments[1:])"),
        ("only the last argument is renamed", "tuple(new.get(a, a) for a in arguments)",
         "tuple(arguments[:-1]) + tuple(new.get(a, a) for a in arguments[-1:])"),
        ("the texts of the arguments are run together, so that xy, z is x, yz",
         "repr((function, arguments))",
         'function + "(" + "".join(map(repr, arguments)).replace("\'", "")'),
        ("the texts of function and arguments are run together",
         "repr((function, arguments))",
         'function + ",".join(map(repr, arguments)).replace("\'", "")'),
        ("numbers are rounded before they are compared", "repr((function, arguments))",
         "repr((function, tuple(a if isinstance(a, str) else round(a, 6) for a in arguments)))"),
        ("a repeat stays in the record, though nobody reads it", "                    continue",
         "                    pass"),
        ("random draws are left out altogether", "kept.append((name, function, arguments))",
         'kept += [(name, function, arguments)] * (function != "random")'),
    ),
)  # fmt: skip

# ---- 20.3


def places_cases(rng):
    hand = of("v0 double x0, v1 add v0 x0, v2 double v1, v3 add v2 v1")
    yield "by hand", hand, ["v3"]
    yield "by hand", hand, ["v0", "v3"]
    yield "a chain", of("c tanh x, b tanh c, a tanh b, d tanh a, e tanh d"), ["e"]
    yield "a chain", of("c tanh x, b tanh c, a tanh b, d tanh a, e tanh d"), ["b", "e"]
    there = "a tanh x, b tanh a, c tanh b, d add c c, e add d b, f add e a, g double f"
    yield "there and back", of(there), ["g"]
    yield "there and back", of(there), ["g", "d"]
    yield "nobody reads it", of("a tanh x, b double x, c double x, d add a a"), ["d"]
    yield "nobody reads it", of("a tanh x, b double x, c double x"), []
    yield "a result that is read", of("a tanh x, b double a, c double b, d double c"), ["a", "d"]
    yield "all are results", of("a tanh x, b double a, c double b"), ["c", "b", "a", "a"]
    yield "an input is the result", of("a tanh x, b double x, c add x a"), ["x"]
    yield (
        "read twice",
        of("a tanh x, b add a a, c double b, d add a c, e double d, f tanh e"),
        ["f"],
    )
    yield "the second argument", of("a tanh x, b tanh x, c add b a, d tanh c, e add d b"), ["e"]
    yield (
        "the lowest of several",
        of("a tanh x, b tanh x, c tanh x, d sum a b c, e tanh d, f tanh x, g tanh x, h sum e f g"),
        ["h"],
    )
    yield (
        "the lowest of several",
        of("a tanh x, b tanh x, c tanh x, d tanh b, e tanh a, f tanh x, g sum c d e f"),
        ["g"],
    )
    yield "no arguments", of("a ones, b ones, c add a b, d ones, e add c d"), ["e"]
    yield "one line", of("a tanh x"), ["a"]
    yield "no lines", [], []
    yield "no lines", [], ["x"]
    for n, near in [(6, None), (12, None), (20, 4), (30, 6), (60, 9), (80, None)]:
        lines = record(rng, n, near=near, most=3)
        yield "any", lines, [lines[-1][0], lines[int(rng.integers(n))][0]]
    names = shuffled(rng, 500)
    yield "a long chain", [line(n, "tanh", r) for n, r in zip(names, ["x", *names])], [names[-1]]
    made = [line(f"w{k}", "tanh", "x") for k in range(150)]
    few = [line(f"w{k}", "tanh", "x") for k in range(70)]
    yield "many results", few, [one[0] for one in few[::-2]]
    made.append(("v", "sum", tuple(one[0] for one in made[::-1])))
    after = [line(f"u{k}", "tanh", "v") for k in range(151)]
    yield "many at once", made + after, [one[0] for one in after]


def places_reference(lines, results):
    found = {}
    for i, (name, _, _) in enumerate(lines):
        taken = set()
        for k in range(i):  # is the value of line k still needed at line i?
            earlier = lines[k][0]
            if earlier in results or any(earlier in reads for _, _, reads in lines[i:]):
                taken.add(found[earlier])
        place = 0
        while place in taken:
            place += 1
        found[name] = place
    return found


def fast_places_reference(lines, results):
    """As `places_reference`, which is too slow for long records: the last reader is looked up."""
    if len(lines) <= 100:
        return places_reference(lines, results)
    end = {}
    for i, (name, _, reads) in reversed(list(enumerate(lines))):
        for read in reads:
            end.setdefault(read, i)
        end.setdefault(name, i)
    found, alive = {}, []
    for i, (name, _, _) in enumerate(lines):
        alive = [n for n in alive if n in results or end[n] >= i]
        taken = {found[n] for n in alive}
        found[name] = min(set(range(len(taken) + 1)) - taken)
        alive.append(name)
    return found


PLACES = Task(
    id="20.3",
    cases=places_cases,
    reference=fast_places_reference,
    equal=(
        ("in list(results)[::-1]", "each by itself"),
        ("in list(reads)[::-1]", "each by itself"),
        ("-> for read in reads:; last[name] = i", "a line does not read itself"),
        ("for _, _, reads in list(lines)[1:]:", "the first line reads inputs only"),
        ("for _, _, reads in list(lines)[::-1]:", "a count has no order"),
        ("list(set(results))[::-1]", "a set has no order"),
        ("list(set(reads))[::-1]", "a set has no order"),
        ("for name in set(results): -> for name in results:", "it never comes down to 0"),
        ("list({*reads, name})[::-1]", "a set has no order"),
        ("-> readers[name] += 2", "it never comes down to 0"),
        ("-> for name in set(results):; for _, _, reads in", "a count has no order"),
        ("for i, (_, _, reads) in list(enumerate(lines))[1:]:", "the first line reads inputs only"),
        ("list(dying.pop(i - 1, []))[::-1]", "the heap sorts them"),
        ("-> dying.setdefault(ends[name], []).append(place); found", "two things apart"),
    ),
    hints=(
        "Two walks: the first finds for each value the last line that reads it, the second gives "
        "out "
        "places.",
        "last[name] = i when line i makes it, and last[read] = i for all that line i reads; for "
        "results it is len(lines). Keep a list: until which line each place is taken.",
        "For line i: the first place whose end is smaller than i, else a new one at the end of the "
        "list; then its end is last[name].",
    ),
    right=(
        """
        def places(lines, results):
            last = {}
            for i, (name, _, reads) in enumerate(lines):
                last[name] = i
                for read in reads:
                    last[read] = i
            for name in results:
                last[name] = len(lines)
            taken_until = []
            found = {}
            for i, (name, _, _) in enumerate(lines):
                free = [place for place, end in enumerate(taken_until) if end < i]
                if not free:
                    free = [len(taken_until)]
                    taken_until.append(i)
                found[name] = free[0]
                taken_until[free[0]] = last[name]
            return found""",
        """
        def places(lines, results):
            readers = {name: 0 for name, _, _ in lines}
            for _, _, reads in lines:
                for read in set(reads):
                    if read in readers:
                        readers[read] += 1
            for name in set(results):
                if name in readers:
                    readers[name] += 1
            found, taken = {}, set()
            for name, _, reads in lines:
                place = 0
                while place in taken:
                    place += 1
                found[name] = place
                taken.add(place)
                for value in {*reads, name}:
                    if value in readers:
                        readers[value] -= value != name
                        if readers[value] == 0:
                            taken.discard(found[value])
            return found""",
        """
        def places(lines, results):
            import heapq

            ends = {name: i for i, (name, _, _) in enumerate(lines)}
            for i, (_, _, reads) in enumerate(lines):
                ends.update((read, i) for read in reads)
            ends.update((name, len(lines)) for name in results)
            free, n, dying, found = [], 0, {}, {}
            for i, (name, _, _) in enumerate(lines):
                for place in dying.pop(i - 1, []):
                    heapq.heappush(free, place)
                if free:
                    place = heapq.heappop(free)
                else:
                    place, n = n, n + 1
                found[name] = place
                dying.setdefault(ends[name], []).append(place)
            return found""",
    ),
    wrong=(
        ("a value is written over in the line that still reads it", "end < i]", "end <= i]"),
        ("a place is given out one line too late", "end < i]", "end < i - 1]"),
        ("results are written over once nobody reads them any more",
         "last[name] = len(lines)", "pass"),
        ("places are never given out again", "if end < i]", "if end < i and False]"),
        ("the first line that reads a value ends it, not the last",
         "last[read] = i", "last[read] = i if last.get(read, -1) in "
         "[k for k, one in enumerate(lines) if one[0] == read] else last.get(read, i)"),
        ("what nobody reads keeps its place for ever", "                last[name] = i\n",
         "                last[name] = len(lines)\n"),
        ("the highest free place is taken, not the lowest", "found[name] = free[0]",
         "found[name] = free[-1]", "taken_until[free[0]]", "taken_until[free[-1]]"),
        ("the place that is free for longest is taken, not the lowest",
         "if not free:", "free.sort(key=lambda place: taken_until[place])\n"
         "                if not free:"),
        ("the place that became free last is taken, not the lowest",
         "if not free:", "free.sort(key=lambda place: -taken_until[place])\n"
         "                if not free:"),
        ("only the first argument counts as read", "for read in reads:", "for read in reads[:1]:"),
        ("only the last argument counts as read", "for read in reads:", "for read in reads[-1:]:"),
        ("inputs get places too", "            taken_until = []\n            found = {}",
         "            made = [one[0] for one in lines]\n"
         "            found = {read: k for k, read in enumerate(dict.fromkeys(\n"
         "                r for _, _, reads in lines for r in reads if r not in made))}\n"
         "            taken_until = [len(lines)] * len(found)"),
        ("places are counted from 1", "return found",
         "return {name: place + 1 for name, place in found.items()}"),
        ("only the last result is kept to the end", "for name in results:",
         "for name in results[-1:]:"),
        ("only the first result is kept to the end", "for name in results:",
         "for name in results[:1]:"),
        ("each value takes the place of the first that it reads, if that ends there",
         "if not free:",
         "free += [found[r] for r in lines[i][2][:1] if r in found and last[r] == i]\n"
         "                if not free:"),
    ),
)  # fmt: skip

# ---- 20.4


def records_cases(rng):
    def array(*shape, kind="float32"):
        return np.asarray(np.round(rng.uniform(-3, 3, shape)), kind)  # also without axes

    def number():
        return float(np.round(rng.uniform(-3, 3), 2))

    yield "by hand", [(2.0,), (3.5,), (2,), (3,), (2,)]
    yield "floats", [(number(),) for _ in range(3)] + [(0.0,), (-0.0,), (1.0,)]
    yield "floats", [(float("inf"),), (number(),), (float("nan"),), (float("nan"),), (1e300,)]
    yield "whole numbers", [(1,), (2,), (1,), (-1,), (0,), (2,), (1000,), (1000,), (10**12,)]
    yield "truth values", [(True,), (1,), (1.0,), (False,), (0,), (0.0,), (True,), (1,), (False,)]
    yield "truth values", [(0.0,), (0,), (False,), (1.0,), (1,), (True,), (0,)]
    yield "texts", [("a",), ("b",), ("a",), ("",), ("1",), (1,), ("None",), (None,), ("",)]
    yield "texts", [("float",), (2.5,), ("True",), (True,), ("(1,)",), ((1,),), ("float",)]
    yield "texts", [("a,b",), ("a", "b"), ("a', 'b",), (["a,b"],), (["a", "b"],), ("a b",), ("ab",)]
    yield "whole numbers", [(-1,), (-2,), (-1,), (-2, -1), (-1, -2), (10**15,), (10**15 + 1,)]
    yield "nothing", [(None,), (0,), (False,), (None,), ((),), ([],), ({},), ("",)]
    x, same = array(3, 2), array(3, 2)
    yield "arrays", [(x,), (same,), (array(2, 3),), (x.astype("float64"),), (same,)]
    yield "arrays", [(array(6),), (array(2, 3),), (array(3, 2),), (array(6, 1),), (array(6),)]
    kinds = "float32", "float64", "int64", "bool", "float32"
    yield "types of arrays", [(array(4, kind=kind),) for kind in kinds]
    yield "arrays without axes or elements", [
        (array(),), (number(),), (array(0),), (array(0, 3),), (array(),), (array(1),), ([],),
        (array(0),), (array(kind="int64"),), (2,), (array(2, 1, 1, 2),), (array(2, 1, 2, 1),),
    ]  # fmt: skip
    yield "how many arguments", [(1,), (1, 1), (), (1,), (1, 1, 1), (1, 1), (), (1, None)]
    yield "how many arguments", [(number(), number()), (number(),), (number(), number()), ()]
    yield "which argument", [(1, 2.0), (2.0, 1), (1, 7.0), (2, 2.0), (8.5, 1), (x, 1), (1, x)]
    yield "lists and tuples", [([1],), ((1,),)]  # short ones, for they are shown
    yield "one in the other", [([[1], 2],), ([1, [2]],)]
    yield "dicts", [({"a": 1, "b": 2},), ({"b": 2, "a": 1},)]
    yield "dicts", [({"a": 1},), ({"b": 1},), ({"a": 2},)]
    yield "arrays", [(array(2, 3),), (array(3, 2),)]
    yield "lists and tuples", [([1, 2],), ((1, 2),), ([1, 2],), ([1],), ([1, 3],), ((1, 2),)]
    yield (
        "lists and tuples",
        [([x, 1],), ([same, 1],), ([x, 2],), ((x, 1),), ([1, x],), ([[x], 1],)],
    )
    yield "one in the other", [
        ([[1], 2],), ([1, [2]],), ([[1, 2]],), ([1, 2],), ([[1], 2],), ([[], 1, 2],), (1, 2),
        ([1, 2, []],), ([[[[1]], 2]],), ([[[1]], [2]],), ((((1,), 2),),),
    ]  # fmt: skip
    yield "dicts", [
        ({"a": 1, "b": 2},), ({"a": 1, "b": 3},), ({"a": 1, "c": 2},), ({"a": 1, "b": 2},),
        ({"b": 2, "a": 1},), ({"a": 1},), ({"a": 2.5, "b": 2},), ({"a": -1.0, "b": 2},),
    ]  # fmt: skip
    yield "dicts", [
        ({"x": x, "more": [1, {"y": same}]},), ({"x": same, "more": [1, {"y": x}]},),
        ({"x": x, "more": [1, {"z": same}]},), ({"x": x, "more": (1, {"y": same})},),
        ([["x", x]],), ((("x", x),),), ({"x": x},), ({"x": same},), (["x"],),
    ]  # fmt: skip
    long = [k % 2 for k in range(45)]
    for n in (4, 25, 44):
        other, more = [*long], {f"k{k}": number for k, number in enumerate(long)}
        other[n] = "else"
        yield "long ones", [(long,), (other,), tuple(long), tuple(other), (long,), tuple(long)]
        yield "long ones", [(more,), ({**more, f"k{n}": None},), (more,)]
        keys = [*list(more)[:n], "new", *list(more)[n + 1 :]]
        yield "long ones", [(more,), (dict(zip(keys, long)),), (more,)]
    yield "one in the other", [((1,), 2), ((1, 2),), (1, (2,)), ((1, 2),), ([1], 2), ([1, 2],)]
    yield "one in the other", [([1, [2]],), ([[1, 2]],), ([1], [2]), ([1, 2],), ([[1], 2],)]
    yield "dicts", [({"a": {"b": 1}, "c": 2},), ({"a": {"b": 1, "c": 2}},), ({"a": {}, "b": 1},),
                    ({"a": {"b": 1}},), ({"a": 1}, {"b": 2}), ({"a": 1, "b": 2},)]  # fmt: skip
    yield "long ago", [(k % 7,) for k in range(20)] + [(0,), (6,), (3,)]
    yield "long ago", [("a", 1)] + [(k,) for k in range(40)] + [("a", 1), (39,), (40,)]
    yield "no calls", []
    yield "one call", [(array(2, kind="int64"), "sum", None)]

    def any_argument(depth=0):
        kind = int(rng.integers(9 if depth < 3 else 6))
        if kind >= 6:
            parts = [any_argument(depth + 1) for _ in range(rng.integers(0, 3))]
            if kind == 8:
                return dict(zip("ab", parts))
            return parts if kind == 6 else tuple(parts)
        shape = rng.integers(1, 3, rng.integers(0, 3))
        return [number(), int(rng.integers(2)), bool(rng.integers(2)), "ab"[rng.integers(2)], None,
                array(*shape, kind=kinds[rng.integers(2)])][kind]  # fmt: skip

    yield "any", [tuple(any_argument() for _ in range(rng.integers(1, 3))) for _ in range(100)]
    yield "any", [(any_argument(),) for _ in range(100)]


def alike(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, float) or a is None:
        return True
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


def records_reference(calls):
    firsts, numbers = [], []
    for call in calls:
        found = [k for k, first in enumerate(firsts) if alike(first, call)]
        if not found:
            found = [len(firsts)]
            firsts.append(call)
        numbers.append(found[0])
    return numbers


RECORDS = Task(
    id="20.4",
    cases=records_cases,
    reference=records_reference,
    equal=(
        ("-> return (a.shape, kind, a.dtype.name)", "a key of the same parts"),
        ("-> return (kind, a.dtype.name, a.shape)", "a key of the same parts"),
        ("-> return (a, kind)", "a key of the same parts"),
        ("for key, value in a.items())), kind)", "a key of the same parts"),
        ("-> return tuple(((key, form(value))", "of pairs, as nothing else"),
        ("(form(part) for part in a)), kind)", "a key of the same parts"),
        ("in list(a.items())[::-1]", "a key of the same parts"),
        ("for part in list(a)[::-1]", "a key of the same parts"),
        ("(form(value), key)", "a key of the same parts"),
        ("(tuple, list)", "one of the two"),
        ("if isinstance(a, np.ndarray):; if isinstance(a, float): ->", "nothing is of two types"),
        ("if isinstance(a, float):; if isinstance(a, dict): ->", "nothing is of two types"),
        ("if isinstance(a, dict):; if isinstance(a, (list, tuple)): ->", "nothing is of two types"),
        ("if type(a) is float:; if type(a) is np.ndarray: ->", "nothing is of two types"),
        ("if type(a) is np.ndarray:; if type(a) is dict: ->", "nothing is of two types"),
        ("if type(a) is dict:; if type(a) in (list, tuple): ->", "nothing is of two types"),
        ("if isinstance(a, dict):; if isinstance(a, tuple): ->", "nothing is of two types"),
        ("if isinstance(a, tuple):; if isinstance(a, list): ->", "nothing is of two types"),
        ("list(enumerate(known))[::-1]", "one at most is alike"),
        ("alike(call, earlier)", "alike is mutual"),
        ("alike(list(b.values()), list(a.values()))", "alike is mutual"),
        ("for c, d in list(zip(a, b))[::-1]", "all of them must be alike"),
        ("alike(d, c)", "alike is mutual"),
        ("for c, d in zip(b, a)", "alike is mutual"),
        ("for one in texts])", "whole numbers, or none"),
        ("left out (`'{'`)", "the end of each dict is marked, and a key has its colon"),
        ("left out (`':'`)", "the quotes of the key are its end"),
        ("in list(a)[::-1]]) + '}'", "a key of the same parts"),
    ),
    hints=(
        "For each argument make something that is equal for what is alike, and different for all "
        "else: a tuple of the type's name and of what counts.",
        "A function that calls itself for the parts of lists, tuples and dicts. Of a float the "
        "type "
        "is enough; of an array shape and dtype; of True the type must be there, for True == 1.",
        "made = {}; the number of a call is made.setdefault(form(call), len(made)).",
    ),
    right=(
        """
        def records(calls):
            def form(a):
                kind = type(a).__name__
                if isinstance(a, np.ndarray):
                    return kind, a.shape, a.dtype.name
                if isinstance(a, float):
                    return (kind,)
                if isinstance(a, dict):
                    return kind, tuple((key, form(value)) for key, value in a.items())
                if isinstance(a, (list, tuple)):
                    return kind, tuple(form(part) for part in a)
                return kind, a

            made = {}
            return [made.setdefault(form(call), len(made)) for call in calls]""",
        """
        def records(calls):
            def alike(a, b):
                if type(a) != type(b):
                    return False
                if type(a) is float:
                    return True
                if type(a) is np.ndarray:
                    return a.shape == b.shape and a.dtype == b.dtype
                if type(a) is dict:
                    return list(a) == list(b) and alike(list(a.values()), list(b.values()))
                if type(a) in (list, tuple):
                    return len(a) == len(b) and all(alike(c, d) for c, d in zip(a, b))
                return a == b

            known, answer = [], []
            for call in calls:
                for number, earlier in enumerate(known):
                    if alike(earlier, call):
                        answer.append(number)
                        break
                else:
                    answer.append(len(known))
                    known.append(call)
            return answer""",
        """
        def text(a):
            if isinstance(a, np.ndarray):
                return f"array{a.shape}{a.dtype}"
            if isinstance(a, float):
                return "float"
            if isinstance(a, dict):
                return "{" + ",".join([repr(key) + ":" + text(a[key]) for key in a]) + "}"
            if isinstance(a, tuple):
                return "(" + ",".join(map(text, a)) + ")"
            if isinstance(a, list):
                return "[" + ",".join(map(text, a)) + "]"
            return repr(a)


        def records(calls):
            texts = [text(call) for call in calls]
            order = list(dict.fromkeys(texts))
            return np.array([order.index(one) for one in texts], dtype=int)""",
    ),
    wrong=(
        ("each float has a record of its own", "                    return (kind,)\n",
         "                    return kind, a\n"),
        ("whole numbers share a record, whatever they are", "isinstance(a, float)",
         "type(a) in (float, int)"),
        ("texts share a record, whatever they say", "isinstance(a, float)",
         "isinstance(a, (float, str))"),
        ("True and False share a record", "isinstance(a, float)", "isinstance(a, (float, bool))"),
        ("True is taken for 1", "                return kind, a\n",
         "                return a\n"),
        ("1 is taken for 1.0", "                    return (kind,)\n",
         "                    return 'number'\n", "                return kind, a\n",
         "                return 'number' if type(a) is int else (kind, a)\n"),
        ("the shape of arrays is not looked at", "return kind, a.shape, a.dtype.name",
         "return kind, a.ndim, a.dtype.name"),
        ("the number of elements of arrays counts, not the shape",
         "return kind, a.shape, a.dtype.name", "return kind, a.size, a.dtype.name"),
        ("the type of the elements is not looked at", "return kind, a.shape, a.dtype.name",
         "return kind, a.shape"),
        ("float32 is taken for float64", "a.dtype.name", "a.dtype.kind"),
        ("arrays share a record only if their elements are equal",
         "return kind, a.shape, a.dtype.name",
         "return kind, a.shape, a.dtype.name, a.tobytes()"),
        ("lists are taken for tuples", "return kind, tuple(form(part) for part in a)",
         "return 'parts', tuple(form(part) for part in a)"),
        ("a list is taken for a tuple, and a dict for its pairs",
         "return kind, tuple(form(part) for part in a)", "return tuple(form(part) for part in a)",
         "return kind, tuple((key", "return tuple((key"),
        ("only the length of lists and tuples is looked at",
         "return kind, tuple(form(part) for part in a)",
         "return kind, tuple(form(part) for part in a) if a is call else len(a)",
         "[made.setdefault(form(call), len(made)) for call in calls]",
         "[made.setdefault(form(call), len(made)) for call in calls]",
         "            made = {}\n            return",
         "            made, found = {}, []\n"
         "            for call in calls:\n"
         "                found.append(made.setdefault(form(call), len(made)))\n"
         "            return found\n            return"),
        ("lists in lists are laid flat", "return kind, tuple(form(part) for part in a)",
         "return sum([form(part) for part in a], ())"),
        ("the order of a dict's keys does not count", "in a.items())", "in sorted(a.items()))"),
        ("the keys of dicts are not looked at", "(key, form(value))", "form(value)"),
        ("the values of dicts are not looked at", "(key, form(value))", "key"),
        ("the types alone decide", "                return kind, a\n",
         "                return (kind,)\n"),
        ("only the record that was made last is remembered",
         "            return [made.setdefault(form(call), len(made)) for call in calls]",
         "            numbers, last = [], None\n"
         "            for call in calls:\n"
         "                now = form(call)\n"
         "                numbers.append(numbers[-1] + (now != last) if numbers else 0)\n"
         "                last = now\n"
         "            return numbers"),
        ("records are counted from 1", "len(made)) for", "len(made) + 1) for"),
        ("the first argument alone decides", "form(call), len", "form(call[:1]), len"),
        ("the number of records so far is given, not the one that runs",
         "[made.setdefault(form(call), len(made)) for call in calls]",
         "[(made.setdefault(form(call), 0), len(made) - 1)[1] for call in calls]"),
    ),
)  # fmt: skip

TASKS = [NEEDED, REPEATS, PLACES, RECORDS]
