"""Your own engine: the answers from the exercises, swapped into minidl by name.

    python -m grading own [FOLDER]

Each exercise's cells are run in order, each answer is judged as `check` judges it, and what is
right stands in the package's place for the length of a `with`, while networks train.  The report
says piece by piece what is yours, how often it was called, and which was taken out again.  What
each answer is in the package stands in pieces.py, the networks in networks.py.

The one rule of this file: one piece that fails costs itself.  It is named and taken out, and the
rest goes on; whatever happens, the package is itself again afterwards.
"""

import contextlib
import copy
import io
import os
import re
import signal
import sys
import threading
import time
import types
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from . import child
from .judge import expected, judge, run_all
from .notebook import closed_in
from .remote import Local
from .submission import Unreadable, cells, content, lesson_named
from .task import HERE, Stopped, find
from .verdict import OPEN, book

ROOT = HERE.parent.parent
SLOW, STEPS = 20.0, 3  # so many times the package's time, over so many steps
LEAST = 0.02  # seconds over these steps, below which nobody minds
STEP = 20.0  # seconds of processor time for one step of a network
NEAR, LEAP = (
    1e-4,
    100.0,
)  # how far, as a share, a loss may be from the package's; and of the step before


_ONE = threading.Lock()  # held while pieces may stand in minidl


class PieceFailed(Exception):
    """A piece that raised, or took too long, where a network called it."""

    def __init__(self, piece, why):
        super().__init__(f"{piece.task.id}: {why}")
        self.piece, self.why = piece, why


@dataclass(eq=False)
class Piece:
    """An answer, and what became of it.

    state: "open" (nothing was written), "absent" (no notebook), "wrong" (its task says so),
    "failed" (right in its task, and not inside the engine), "slow", or "yours".
    why: a sentence for all but the last.  calls: network -> how often it called the answer.
    times: how many times the package's time it takes, or None.
    """

    entry: object
    file: str = ""
    answer: object = None
    state: str = "absent"
    why: str = ""
    checked: bool = False  # by central differences, inside the engine
    calls: dict = field(default_factory=dict)
    times: float | None = None
    engine: object = None

    task = property(lambda self: find(self.entry.task))
    used = property(lambda self: self.state in ("yours", "slow"))

    def __call__(self, *arguments):
        """Ask the answer.  What goes wrong is the piece's, whoever asked."""
        engine = self.engine
        self.calls[engine.network] = self.calls.get(engine.network, 0) + 1
        try:
            with np.errstate(all="ignore"):
                return self.answer(*arguments)
        except Stopped:
            raise PieceFailed(self, "it takes too long; does every loop end?") from None
        except PieceFailed:  # of another one, which this one called
            raise
        except NotImplementedError:
            raise PieceFailed(self, "it is not written to its end") from None
        except (Exception, SystemExit) as error:
            line = child.complaint(error)["line"]
            text = f"{type(error).__name__}: {str(error)[:200]}"
            raise PieceFailed(self, f"{text} ({line})" if line else text) from error

    def sentence(self):
        """What the report says of it."""
        if self.state != "yours":
            return self.why
        whose = {"yours": "forward and back", "": "all of it"}.get(self.entry.gradient)
        return whose or "its result; the gradient is the package's"


# ---- what was written


def home():
    """Where the answers are: the learner's desk, my/exercises, if it is there, else exercises."""
    mine = ROOT / "my" / "exercises"
    return mine if mine.is_dir() else ROOT / "exercises"


def notebooks(folder):
    """{lesson: path} of a folder's notebooks; of two for a lesson the first by name."""
    found = {}
    for path in sorted(Path(folder).glob("*.ipynb")):
        lesson = lesson_named(path)
        if lesson and not path.stem.endswith("_new"):
            found.setdefault(lesson, path)
    return found


@contextlib.contextmanager
def _quiet_room(space):
    """Inside, cells find stand-ins for the grader and IPython, and print and draw nothing."""
    names = [n for n in sys.modules if n.partition(".")[0] in ("grading", "IPython")]
    before = {name: sys.modules[name] for name in names}
    kinds = [getattr(signal, n) for n in ("SIGPROF", "SIGALRM") if hasattr(signal, n)]
    main = threading.current_thread() is threading.main_thread()
    handlers = {kind: signal.getsignal(kind) for kind in kinds} if main else {}
    plt = sys.modules.get("matplotlib.pyplot")
    figures = set(plt.get_fignums()) if plt else set()
    child.stand_ins(space)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        for name in [n for n in sys.modules if n.partition(".")[0] in ("grading", "IPython")]:
            if name not in before:
                del sys.modules[name]
        sys.modules.update(before)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        plt = sys.modules.get("matplotlib.pyplot")
        for number in set(plt.get_fignums()) - figures if plt else ():
            plt.close(number)


@contextlib.contextmanager
def _as_before():
    """Afterwards NumPy and minidl are as they were, whatever was put into them; inside, nothing
    ends the process."""
    kept = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("numpy", "minidl"):
            inside = [c for c in vars(module).values() if isinstance(c, type)]
            own = [c for c in inside if c.__module__.startswith("minidl")]
            kept |= {id(where): (where, dict(vars(where))) for where in (module, *own)}
    drawn, ends = np.random.get_state(), (os._exit, os.abort)

    def refused(*_):
        raise SystemExit("an answer returns, and a cell comes to its end")

    os._exit = os.abort = refused
    try:
        yield
    finally:
        os._exit, os.abort = ends
        np.random.set_state(drawn)
        for where, before in kept.values():
            for name in [n for n in vars(where) if n not in before and not n.startswith("__")]:
                if not isinstance(vars(where)[name], types.ModuleType):
                    delattr(where, name)
            for name, value in before.items():
                if vars(where).get(name) is not value:
                    with contextlib.suppress(AttributeError, TypeError):
                        setattr(where, name, value)


@contextlib.contextmanager
def _interruptible():
    """Inside, Ctrl-C stays an interruption, also where a cell's own errors are caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []

    def press(*_):
        pressed.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


def answers(lesson, path):
    """{task id: the answer as it was where its cell was checked} of a notebook; where there is
    none, in its place why.

    All cells are run, in order; one that fails costs its own.  Raises Unreadable.
    """
    plan = book(lesson, cells(content(path)))
    space = {"__name__": "__main__", "__builtins__": __builtins__, "__doc__": None}
    names = {t: find(t).name for stops in plan.stops for t in stops if t.startswith(lesson)}
    found, handed = {}, {}
    with _quiet_room(space), _as_before():
        for name in ("grading", "grading.notebook"):
            sys.modules[name].check = lambda i=None, f=None, **options: handed.__setitem__(i, f)
        for number, source in enumerate(plan.sources):
            handed.clear()
            with _interruptible():
                child.run_cell(f"{lesson}, {number}", source, space)
            for task_id in plan.stops[number]:
                answer = handed.get(task_id)
                answer = answer if callable(answer) else space.get(names.get(task_id))
                if callable(answer):
                    found[task_id] = frozen(answer, space)
    for task_id in names:
        cell = plan.sources[plan.answers[task_id]] if task_id in plan.answers else ""
        if task_id not in found and cell and "NotImplementedError" not in cell:
            found[task_id] = f"its cell defines no function {names[task_id]}"
    return found


def frozen(answer, space, **others):
    """The function with all that it finds in the notebook as it is now.

    A helper that a later cell defines anew is not its helper.  others: what stands in its place.
    """
    if not isinstance(answer, types.FunctionType) or answer.__globals__ is not space:
        return answer
    kept = dict(space)
    for name, value in kept.items():
        if isinstance(value, types.FunctionType) and value.__globals__ is space:
            kept[name] = _moved(value, kept)
    kept.update(others)
    return _moved(answer, kept)


def _moved(f, space):
    new = types.FunctionType(f.__code__, space, f.__name__, f.__defaults__, f.__closure__)
    new.__kwdefaults__, new.__doc__ = f.__kwdefaults__, f.__doc__
    return new


def collect(folder=None, *, seconds=None, seed=0):
    """The Pieces of a folder, judged.  seconds: of one call; None: as long as each task says."""
    from .pieces import entries

    folder = Path(folder) if folder is not None else home()
    books = notebooks(folder)
    pieces, found, problems = [], {}, {}
    for lesson in dict.fromkeys(i.partition(".")[0] for i in entries()):
        if lesson in books:
            try:
                found |= answers(lesson, books[lesson])
            except Unreadable as error:
                problems[lesson] = str(error)
    for task_id, about in entries().items():
        lesson = task_id.partition(".")[0]
        piece = Piece(about, _shown(books[lesson]) if lesson in books else "")
        if lesson in problems:
            piece.why = f"its notebook cannot be read: {problems[lesson]}"
        elif lesson not in books:
            piece.why = f"there is no notebook of lesson {lesson} in {_shown(folder)}"
        else:
            _judge(piece, found.get(task_id), seconds, seed, pieces)
        pieces.append(piece)
    return pieces


def _shown(path):
    path = Path(path).absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _judge(piece, answer, seconds, seed, before):
    """Say whether the answer is right, by the task's own judgement."""
    task = piece.task
    if answer is None or isinstance(answer, str):
        piece.state, piece.why = "open", answer or OPEN
        return
    piece.answer = answer
    text = verdict(task, answer, seconds, seed)
    half = "NotImplementedError" in getattr(getattr(answer, "__code__", None), "co_names", ())
    if text and half:
        text = OPEN  # a right half of it may stand there, as the exercise gave it
    lent = [p for p in before if p.task.id in task.needs and p.state != "yours"]
    if text and not half and lent and isinstance(answer, types.FunctionType):
        space = dict(answer.__globals__)
        right = {p.task.name: p.task.compile(p.task.right[0]) for p in lent}
        again = frozen(_moved(answer, space), space, **right)
        if not verdict(task, again, seconds, seed):
            piece.answer, text = again, ""
    if text == OPEN:
        piece.state, piece.why = "open", OPEN
    elif text:
        piece.state, piece.why = "wrong", _short(text)
    elif closed := [name for name in closed_in(answer, task) if name == "minidl"]:
        piece.state, piece.why = "wrong", f"it is made of {closed[0]} itself"
    else:
        piece.state = "yours"


def _short(text):
    """A verdict's text in one line, without its list of groups; what was wrong is at its end."""
    text = re.sub(r"\s(?:Right|Wrong) on: .*", "", " ".join(text.split()))
    late = re.search(r"it took longer .*", text)
    text = late[0] if late else text
    return text if len(text) <= 200 else f"{text[:50]} ... {text[-140:]}"


def verdict(task, answer, seconds=None, seed=0):
    """What is wrong with an answer: the named mistake, or the words of `check`; "" if nothing."""
    if seconds is not None:
        task = copy.copy(task)
        object.__setattr__(task, "seconds", seconds)
    cases, _ = expected(task, seed)
    with contextlib.redirect_stdout(io.StringIO()):
        found = judge(task, seed, run_all(task, Local(answer, task.seconds), cases))
    return found.mistake or found.text


# ---- into the engine


class Engine:
    """Puts pieces into the package, and measures what is called."""

    def __init__(self, pieces):
        self.pieces, self.network, self.steps = pieces, "", 0
        self.stack, self.time = [], {}
        for piece in pieces:
            piece.engine = self

    @contextlib.contextmanager
    def swapped(self, chosen=None, *, package=False):
        """Inside, minidl works with the pieces chosen (None: all that are right).

        package: all stays the package's, and is measured at the same places.
        """
        from .pieces import ENTRIES, place

        order = list(ENTRIES)  # where two pieces stand in one place, the later is around

        if chosen is None:
            chosen = [p for p in self.pieces if p.used]
        undo = []
        try:
            for piece in sorted(chosen, key=lambda p: order.index(p.entry.task)):
                for path, make in piece.entry.seams(piece):
                    where, name = place(path)
                    undo.append(_exchange(where, name, self._seam(piece, make, path, package)))
            yield self
        finally:
            for back in reversed(undo):
                back()

    def _seam(self, piece, make, path, package):
        """old -> what stands in its place: measured, and, once it is known as slow, the old."""

        def exchanged(old):
            new = old if package else make(old)
            inner = old.__func__ if isinstance(old, classmethod) else old
            if package and path.endswith(":rule"):
                inner = _at_once(old)
            mine = inner if package else new.__func__ if isinstance(new, classmethod) else new
            meter = self._metered(piece, mine, inner)
            meter.__name__ = getattr(inner, "__name__", "piece")
            meter.__qualname__ = getattr(inner, "__qualname__", meter.__name__)
            return classmethod(meter) if isinstance(old, classmethod) else meter

        return exchanged

    def _metered(self, piece, mine, old):
        def run(*arguments, **options):
            if piece.state == "slow" and self.steps >= STEPS and mine is not old:
                return old(*arguments, **options)
            began = time.thread_time()
            self.stack.append(0.0)
            try:
                return mine(*arguments, **options)
            finally:
                took = time.thread_time() - began
                inside = self.stack.pop()
                if self.stack:
                    self.stack[-1] += took  # it is not the time of the piece that called
                if self.steps < STEPS:
                    more = took if mine is old else took - inside  # a rival gets all of its time
                    self.time[piece] = self.time.get(piece, 0.0) + more

        return run

    def tell(self, loss):
        """A network has done a step."""
        self.losses.append(float(loss))
        self.steps += 1
        if self.steps == STEPS and self.package is not None:
            for piece, took in self.time.items():
                usual = self.package.get(piece, 0.0)
                times = took / max(usual, 1e-7)
                if took > LEAST and piece.used:
                    piece.times = max(piece.times or 0.0, times)
                    if times > SLOW:
                        piece.state = "slow"
                        piece.why = (
                            f"yours up to step {STEPS}; it takes {times:.0f} times as long as the "
                            "package's, which does what comes after"
                        )
        _alarm(STEP)

    def train(self, network, chosen=None, *, package=False, usual=None, most=None):
        """(losses, what else the network tells).  usual: the package's times, piece -> seconds.

        most: so many steps and no more.  Raises PieceFailed.
        """
        self.network = network.name if not package else ""
        self.steps, self.losses, self.time, self.package, self.stack = 0, [], {}, usual, []

        def tell(loss):
            self.tell(loss)
            if most is not None and self.steps >= most:
                raise _Enough

        with self.swapped(chosen, package=package), _time_limit(STEP):
            try:
                told = network.run(tell)
            except _Enough:
                told = {}
            except PieceFailed:
                raise
            except Exception as error:
                if failed := _failed(error):
                    raise failed from None
                raise
        return self.losses, told


class _Enough(BaseException):
    pass


def _failed(error):
    """The PieceFailed behind an error, such as the loader's own."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, PieceFailed):
            return error
        error = error.__cause__ or error.__context__
    return None


def _at_once(rule):
    """The package's gradient rule with nothing put off, so that its time can be measured."""

    def new(*arguments, **options):
        found = rule(*arguments, **options)
        if not isinstance(found, (tuple, list)):
            return found
        shares = [share() if callable(share) else share for share in found]
        return tuple(s.whole() if type(s).__name__ == "Product" else s for s in shares)

    return new


def _exchange(where, name, make):
    """Let `where.name`, and whoever in minidl holds the same, be make(old); give what undoes it."""
    own = vars(where).get(name)
    old = own if own is not None else getattr(where, name)
    new = make(old)
    if not isinstance(where, types.ModuleType):
        setattr(where, name, new)
        if name in vars(where) and own is not None:
            return lambda: setattr(where, name, own)
        return lambda: delattr(where, name)
    holders = [
        m for n, m in list(sys.modules.items())
        if n.partition(".")[0] == "minidl" and vars(m).get(name) is old
    ]  # fmt: skip
    for module in holders:
        setattr(module, name, new)
    return lambda: [setattr(module, name, old) for module in holders]


@contextlib.contextmanager
def _time_limit(seconds):
    """Raises Stopped where a step takes so many seconds of processor time; not in a thread."""
    main = threading.current_thread() is threading.main_thread()
    if not hasattr(signal, "SIGPROF") or not main:
        yield
        return

    def too_long(*_):
        raise Stopped

    before = signal.signal(signal.SIGPROF, too_long)
    _alarm(seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _alarm(seconds):
    main = threading.current_thread() is threading.main_thread()
    if hasattr(signal, "SIGPROF") and main:
        signal.setitimer(signal.ITIMER_PROF, seconds)


# ---- the gradients, and the networks


def check_gradients(engine):
    """Each piece with a gradient beside central differences, inside the engine, called twice."""
    from minidl.differences import gradcheck

    for piece in engine.pieces:
        if not piece.used or piece.entry.check is None:
            continue
        f, arrays = piece.entry.check()
        wanted = f(*_leaves(arrays)).numpy()
        engine.network, engine.steps, engine.stack = "check", 0, []
        try:
            with engine.swapped([piece]), _time_limit(STEP):
                got = f(*_leaves(arrays)).numpy()
                if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=1e-6, atol=1e-8):
                    raise PieceFailed(piece, "called twice in one computation, it gives other "
                                             "numbers than the package")  # fmt: skip
                gradcheck(f, arrays, order=1)
            piece.checked = True
        except PieceFailed as error:
            _take_out(piece, error.why)
        except Exception as error:
            failed = _failed(error)
            text = str(error).splitlines()[-1][:200] if str(error) else type(error).__name__
            _take_out(piece, failed.why if failed else f"inside the engine: {text}")


def _leaves(arrays):
    from minidl import tensor

    return [tensor(a, requires_grad=True) for a in arrays]


def _take_out(piece, why):
    piece.state, piece.why = "failed", f"right in its task, but {why}"


@dataclass
class Trained:
    """What a network's run gave: the losses on your pieces and on the package's alone."""

    name: str
    yours: list
    package: list
    told: dict
    told_package: dict
    pieces: int  # how many of yours it called
    note: str = ""

    def apart(self):
        """The largest distance of the two losses, as a share of the package's."""
        both = min(len(self.yours), len(self.package))
        a, b = np.array(self.yours[:both]), np.array(self.package[:both])
        return float(np.max(abs(a - b) / np.maximum(abs(b), 1e-12), initial=0.0))


def train(engine, network):
    """Train a network on the package, then on all that is yours; what fails is taken out."""
    package, told_package = engine.train(network, engine.pieces, package=True)
    usual = dict(engine.time)
    note = ""
    for _ in range(len(engine.pieces) + 1):
        for piece in engine.pieces:
            piece.calls.pop(network.name, None)
        chosen = [p for p in engine.pieces if p.used and network.takes(p.task.id)]
        try:
            yours, told = engine.train(network, chosen, usual=usual)
        except PieceFailed as error:
            _take_out(error.piece, f"in the {network.name} it fails: {error.why}")
            continue
        except Exception as error:
            guilty = _alone(engine, network, chosen, package)
            if not guilty:
                note = f"it could not be trained on your pieces: {str(error)[:200]}"
                yours, told = [], {}
                break
            continue
        first = _departs(yours, package)
        if first is None or not _alone(engine, network, chosen, package, first + 1):
            if first is not None:
                note = f"from step {first + 1} on the loss is another than the package's"
            break
    called = sum(network.name in p.calls for p in engine.pieces if p.used)
    return Trained(network.name, yours, package, told, told_package, called, note)


def _departs(yours, package):
    """The first step at which two losses differ, or None.

    Rounding grows from step to step, a mistake comes at once: only a leap counts.
    """
    before = 1e-9
    for i, (a, b) in enumerate(zip(yours, package)):
        apart = abs(a - b) / abs(b)
        if not apart <= max(NEAR, LEAP * before):
            return i
        before = max(before, apart)
    return None if len(yours) == len(package) else min(len(yours), len(package))


def _alone(engine, network, chosen, package, most=None):
    """Which pieces, each alone in the engine, make the network go another way; taken out."""
    guilty = []
    for piece in chosen:
        if network.name not in piece.calls:
            continue
        try:
            losses, _ = engine.train(network, [piece], most=most)
            first = _departs(losses, package[: len(losses)] if most else package)
            why = (
                f"with it the {network.name}'s loss is another from step {first} on"
                if first
                else ""
            )
            if first == 0:
                why = f"with it the {network.name}'s first loss is another"
        except PieceFailed as error:
            why = f"in the {network.name} it fails: {error.why}"
        except Exception as error:
            why = f"with it the {network.name} stops: {str(error)[:200]}"
        if why:
            _take_out(piece, why)
            guilty.append(piece)
    return guilty


# ---- the report


@dataclass
class Report:
    """What is yours.  `print(report)` shows it; `report.page(path)` writes the certificate."""

    folder: str
    pieces: list
    trained: dict = field(default_factory=dict)

    mine = property(lambda self: [p for p in self.pieces if p.used])

    def next(self):
        """A sentence that says what to do next; None when nothing is left."""
        for states in (("open", "wrong", "failed"), ("absent",)):
            for p in self.pieces:
                if p.state in states:
                    where = f", in {p.file}" if p.file else ""
                    return f"{p.task.id} {p.task.title}{where}: {p.why}"
        return None

    def __str__(self):
        lines = [f"Your own engine: {len(self.mine)} of {len(self.pieces)} pieces are yours."]
        lines += [f"Answers from {self.folder}.", ""]
        if all(p.state == "absent" for p in self.pieces):
            lines.append("There is no exercise notebook in this folder.")
        wide = max(len(p.task.title) for p in self.pieces)
        marks = {"yours": "yours", "slow": "slow", "failed": "out", "wrong": "wrong"}
        for p in self.pieces:
            head = f"{p.task.id}  {p.task.title:<{wide}}  {marks.get(p.state, '-'):<5}"
            lines.append(f"{head}  {self._line(p)}".rstrip())
        for t in self.trained.values():
            lines += ["", *self._of(t)]
        following = self.next()
        if following:
            lines += ["", f"Next: {following}"]
        elif self.mine:
            lines += ["", "Nothing is left to do: every piece that a task asked for is yours."]
        return "\n".join(lines)

    def called(self, piece):
        """How often the networks called a piece, all together."""
        return sum(piece.calls.get(name, 0) for name in self.trained)

    def _line(self, p):
        """What stands behind a piece's title."""
        if not p.used:
            return p.why if len(p.why) <= 110 else f"{p.why[:107]}..."
        count = self.called(p)
        calls = f"{count:>5,} call{' ' if count == 1 else 's'}  " if self.trained else ""
        whose = f"; gradient {p.entry.gradient}, checked" * p.checked
        return f"{calls}{p.entry.name}{whose}{f'; {p.why}' if p.why else ''}"

    def _of(self, t):
        if not t.pieces:
            return [f"{t.name}: none of its pieces is yours yet."]
        if not t.yours:
            return [f"{t.name}: {t.note}"]
        text = f"{t.name}: {len(t.yours)} steps on {t.pieces} of your pieces, "
        text += f"loss {t.yours[0]:.2f} to {t.yours[-1]:.2f}"
        if not t.note:
            text += f"; the package's curve lies within {max(t.apart(), 1e-12):.0e} of it"
        lines = [text + "."]
        lines += [f"  {t.note}"] * bool(t.note)
        return lines + [f"  {name}: {value}" for name, value in t.told.items()]

    def page(self, path=None, name=""):
        """Write the certificate, one HTML page, and give its path; None: my/own_engine.html."""
        from .certificate import page

        path = ROOT / "my" / "own_engine.html" if path is None else Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page(self, name), encoding="utf-8")
        return path


def own(folder=None, *, pieces=None, networks=None, seconds=None, seed=0):
    """The Report on the answers in a folder (None: my/exercises if it is there, else exercises).

    pieces: {task id: function} in place of a folder's.  networks: those of networks.py to train,
    by name; None: all.  seconds: the limit of one call while answers are judged.
    Raises RuntimeError where another thread has pieces in minidl.
    """
    if not _ONE.acquire(blocking=False):
        raise RuntimeError("own() runs in another thread, with pieces in minidl: wait for its end")
    try:
        with _as_before():
            return _own(folder, pieces, networks, seconds, seed)
    finally:
        _ONE.release()


def _own(folder, pieces, networks, seconds, seed):
    from .networks import NETWORKS

    if pieces is not None:
        found = _given(pieces, seconds, seed)
        shown = "the functions that were given"
    else:
        folder = Path(folder) if folder is not None else home()
        if not folder.is_dir() and (ROOT / folder).is_dir():
            folder = ROOT / folder  # from wherever a notebook runs
        found, shown = collect(folder, seconds=seconds, seed=seed), _shown(folder)
    report, engine = Report(shown, found), Engine(found)
    if report.mine:
        check_gradients(engine)
        for network in NETWORKS:
            wanted = networks is None or network.name in networks
            if wanted and any(p.used and network.takes(p.task.id) for p in found):
                report.trained[network.name] = train(engine, network)
    return report


def examples():
    """{task id: a right answer}, the course's own, from the grader's bank; it is always there."""
    from .pieces import entries

    return {task_id: find(task_id).compile(find(task_id).right[0]) for task_id in entries()}


def _given(functions, seconds, seed):
    from .pieces import entries

    found = []
    for task_id, about in entries().items():
        piece = Piece(about, "the functions that were given")
        if task_id in functions:
            _judge(piece, functions[task_id], seconds, seed, found)
        else:
            piece.state, piece.why = "open", "it was not given"
        found.append(piece)
    return found
