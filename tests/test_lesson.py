"""What the lessons use: `turn` says what is right or wrong and never raises; `show` says in words
what a figure shows."""

import builtins
from collections import namedtuple

import numpy as np
import pytest

import minidl

pytest.importorskip("IPython", reason="waits for IPython (pip install -e '.[learn]')")
pytest.importorskip("matplotlib", reason="waits for matplotlib (pip install -e '.[learn]')")

from matplotlib import pyplot as plt

from course import lesson
from course.lesson import show, turn

RIGHT, UNTRIED = "Right.\n", "Your turn: not tried yet.\n"
Pair = namedtuple("Pair", "w b")


def said(capsys, *arguments, **options):
    assert turn(*arguments, **options) is None
    out = capsys.readouterr()
    assert out.err == ""
    return out.out


def forgetful():
    6  # noqa: B018  # the `return` is forgotten


def tensor(values):
    return minidl.tensor(values, requires_grad=True)


LOOP = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "given, right",
    [
        (6, 6),
        (6.0, 6),
        (0.1 + 0.2, 0.3),
        (np.float32(0.1), 0.1),
        (np.float16(0.1), 0.1),
        (np.array(3.0), 3.0),
        (np.int64(3), 3),
        (-0.0, 0.0),
        (np.inf, np.inf),
        (np.nan, np.nan),
        (10**30, 10**30),
        (2**63, np.uint64(2**63)),
        (1 + 2j, 1 + 2j),
        (True, True),
        (np.True_, True),
        (np.array([True, False]), [True, False]),
        ([1, 2, 3], (1, 2, 3)),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (range(3), [0, 1, 2]),
        ([], []),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        (tensor([1.0, 2.0]), [1, 2]),
        ([1, 2], tensor([1.0, 2.0])),
        (tensor(2.0), 2.0),
        ((tensor([1.0, 2.0]), tensor([3.0, 4.0])), (np.array([1, 2]), np.array([3, 4]))),
        ((tensor([1.0, 2.0]), tensor(3.0)), ([1, 2], 3)),
        (Pair(tensor([1.0]), 2.0), ([1.0], 2.0)),
        ({"w": tensor([1.0]), "b": 0}, {"b": 0.0, "w": [1.0]}),
        ({"a": {"b": [1, (2, 3.5)]}}, {"a": {"b": [1, (2, 3.5)]}}),
        ([[1, 2], [3]], [[1, 2], [3]]),
        (np.array([[1, 2], [3]], dtype=object), [[1, 2], [3]]),
        ((True, 12), (True, 12)),
        ("mul", "mul"),
        (np.array(["a", "b"]), ["a", "b"]),
        (["a", "b"], np.array(["a", "b"])),
        (np.str_("a"), "a"),
        ({"a", "b"}, {"b", "a"}),
        (None, None),
        ((1, None), (1, None)),
        (b"ab", b"ab"),
        (np.ndarray, np.ndarray),
        (lambda: 2.0, 2.0),
        (lambda: (np.array([1.0]), "a"), ([1.0], "a")),
    ],
)
def test_right(capsys, given, right):
    assert said(capsys, given, right) == RIGHT


@pytest.mark.parametrize(
    "given",
    [
        ...,
        (..., ...),
        (1.0, ...),
        [1.0, [...]],
        {"w": ..., "b": 1},
        {1, ...},
        np.array([1.0, ...], dtype=object),
        lambda: ...,
        lambda: (1, ...),
        lambda: 2 * ...,
        lambda: (...).shape,
        lambda: [*...],
        lambda: float(...),
        lambda: np.exp(np.array([...])),
    ],
)
@pytest.mark.parametrize("right", [3.0, [1.0, 2.0], {"a": 1}, "a", True, {1}, ...])
def test_a_blank_is_not_tried_yet(capsys, given, right):
    assert said(capsys, given, right) == UNTRIED


@pytest.mark.parametrize(
    "given, right, sentence",
    [
        (5, 6, "yours is 5, wanted 6"),
        (np.nan, 1.0, "yours is nan, wanted 1.0"),
        (1.0, np.nan, "yours is 1.0, wanted nan"),
        (np.inf, 1e300, "yours is inf"),
        (1e300, np.inf, "wanted inf"),
        (10_000_001, 10_000_000, "yours is 10000001"),
        (10_000_001.0, 10_000_000, "yours is 10000001.0"),
        (10**30 + 1, 10**30, "wanted 1000000000"),
        (2**63 - 1, -(2**63), "yours is 9223372036854775807"),
        (10**400, 1.0, "yours is 1000"),
        (np.uint8(255), -1, "yours is 255, wanted -1"),
        ([1.0, 2.5], [1.0, 2.0], "at [1] yours is 2.5, wanted 2.0"),
        (np.ones((2, 3)), np.ones((3, 2)), "has the shape (2, 3); wanted is the shape (3, 2)"),
        (np.ones((2, 1)), np.ones(2), "has the shape (2, 1)"),
        (1.0, np.ones(2), "yours is one number, 1.0; wanted is the shape (2,)"),
        (np.ones(1), 1.0, "has the shape (1,); wanted is one number"),
        (tensor([1.0]), [2.0], "at [0] yours is 1.0"),
        ("3", 3, "yours is '3', wanted a number"),
        (3, "3", "yours is 3, wanted '3'"),
        ("mull", "mul", "yours is 'mull', wanted 'mul'"),
        (True, 1, "yours is True, wanted a number"),
        (1, True, "yours is 1, wanted True or False"),
        (np.array([True]), [1.0], "wanted numbers of the shape (1,)"),
        (np.array([1.0]), [True], "wanted an array of True and False"),
        (False, True, "yours is False, wanted True"),
        ((1, 12), (True, 12), "value 1: yours is 1, wanted True or False"),
        ((1, "a"), (1, "b"), "value 2: yours is 'a', wanted 'b'"),
        ((1, "a", 2), (1, "b"), "yours are 3 values"),
        (7, (1, "b"), "yours is 7, wanted are 2 values"),
        ([[1, 2], [3]], [[1, 2], [3, 4]], "yours is [[1, 2], [3]], wanted numbers"),
        ([[1, 2], [3, 4]], [[1, 2], [3]], "value 2: yours has the shape (2,)"),
        ([1, 2], {1, 2}, "wanted a set"),
        ({1, 2}, [1, 2], "yours is {1, 2}, wanted numbers"),
        ({1}, {2}, "yours is {1}, wanted {2}"),
        ({"a": 1}, {"b": 1}, "yours has no key 'b'; its keys are ['a']"),
        ({"a": 1, "b": 2}, {"a": 1}, "yours has a key 'b'"),
        ({"a": 1}, {"a": 2}, "at 'a' yours is 1, wanted 2"),
        ([1], {"a": 2}, "wanted a dict with the keys ['a']"),
        (None, 6, "there is no value (None); is a `return` missing"),
        ((1, None), (1, 2), "yours is (1, None), wanted numbers"),
        ((1, None), (1, "a"), "value 2: there is no value"),
        (forgetful, 6, "is a `return` missing"),
        (6, None, "yours is 6, wanted None"),
        (lambda: 1 / 0, 6, "your lines stop with ZeroDivisionError: division by zero"),
        (lambda: nowhere, 6, "NameError: name 'nowhere' is not defined"),  # noqa: F821
        (lambda: builtins.exit(), 6, "your lines stop with SystemExit"),
        (lambda: lambda: 3, 3, "is its call missing"),
        (np.max, 3.0, "is its call missing"),
        (np.ones(3).sum, 3.0, "is its call missing"),
        (lambda x: x, 3.0, "is its call missing"),
        (list, 3.0, "is its call missing"),
        (lambda: LOOP, 1, "wanted a number"),
        (object(), 1, "wanted a number"),
        ((i for i in range(3)), [0, 1, 2], "wanted numbers of the shape (3,)"),
        (np.array([1, "a"], dtype=object), [1, 2], "wanted numbers"),
        (np.array(["a"]), [1], "wanted numbers"),
    ],
)
def test_wrong(capsys, given, right, sentence):
    text = said(capsys, given, right)
    assert text.startswith("Not yet: ") and text.endswith(".\n") and sentence in text


class Wild:
    """Raises whatever is done to it, as badly as an answer can."""

    def __getattribute__(self, name):
        raise ValueError(name)

    def __eq__(self, other):
        raise ValueError

    __hash__ = None

    def __repr__(self):
        raise ValueError

    def __array__(self, *_, **__):
        raise ValueError

    def __len__(self):
        raise ValueError


class Speechless(Exception):
    def __str__(self):
        raise ValueError


def speechless():
    raise Speechless


def endless():
    return endless()


VALUES = [
    *(1, 2.5, True, 1j, np.nan, "a", b"a", None, ..., [], (), {}, set(), [1, [2]], [1, None]),
    *(np.ones((2, 2)), np.array(["a"]), np.array([{}], dtype=object), np.datetime64("2026-01-01")),
    *(tensor([1.0]), LOOP, {"a": LOOP}, range(3), 10**400, [10**400], slice(1), Wild(), [Wild()]),
    *(object(), {1: ...}, frozenset({1}), np.zeros(0), np.ma.masked, NotImplemented),
]


GIVEN = [*VALUES, speechless, endless, Wild, lambda: Wild(), print]


@pytest.mark.parametrize("number", range(len(GIVEN)))
def test_nothing_makes_turn_raise(capsys, number):
    given = GIVEN[number]
    for right in VALUES:
        text = said(capsys, given, right, mistakes={"That is it": right, "Or that": given})
        assert text.startswith((RIGHT, UNTRIED, "Not yet: ")), text


def test_a_reader_may_stop_an_endless_loop():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        turn(stop, 1)


def test_a_mistake_is_named_and_only_the_first(capsys):
    mistakes = {"The sign is wrong.": -6, "A minus, again.": -6, "The shape.": [1, 2]}
    assert said(capsys, 6, 6, mistakes=mistakes) == RIGHT
    text = said(capsys, -6, 6, mistakes=mistakes)
    assert text == "Not yet: yours is -6, wanted 6.\nThe sign is wrong.\n"
    assert said(capsys, 5, 6, mistakes=mistakes) == "Not yet: yours is 5, wanted 6.\n"
    assert said(capsys, [1, 2], 6, mistakes=mistakes).endswith("The shape.\n")
    assert said(capsys, None, 6, mistakes={"Nothing.": None}).endswith("Nothing.\n")
    assert said(capsys, lambda: 1 / 0, 6, mistakes=mistakes).count("\n") == 1


def test_long_values_are_cut(capsys):
    for given, right in [("a" * 9999, "b" * 9999), (list(range(9999)), "a"), (10**4000, 1)]:
        assert len(said(capsys, given, right)) < 700

    def long():
        raise ValueError("a" * 9999)

    assert len(said(capsys, long, 1)) < 700
    assert said(capsys, np.ones((50, 50)), "a").count("\n") == 1


def test_a_functions_own_words_are_shown(capsys):
    def loud():
        print("here")
        return 3

    assert said(capsys, loud, 3) == "here\nRight.\n"


def test_tolerances(capsys):
    assert said(capsys, 1.1, 1.0).startswith("Not yet")
    assert said(capsys, 1.1, 1.0, atol=0.2) == RIGHT
    assert said(capsys, 1.1, 1.0, rtol=0.2) == RIGHT
    assert said(capsys, np.float32(1.001), 1.0).startswith("Not yet")


# --- figures ------------------------------------------------------------------------------------


@pytest.fixture
def shell(monkeypatch):
    """What a notebook does with a figure: an image from the formatters, and all that is shown."""
    shown = []

    class Shell:
        class display_formatter:
            @staticmethod
            def format(figure):
                return {"image/png": "...", "text/plain": "<Figure>"}, {"image/png": {"width": 6}}

    def display(data, metadata=None, raw=False):
        shown.append((data, metadata))

    monkeypatch.setattr(lesson, "get_ipython", Shell)
    monkeypatch.setattr(lesson, "display", display)
    plt.close("all")
    yield shown
    plt.close("all")


def test_a_figure_has_its_words(shell):
    plt.figure()
    show("A line that\n  falls & <rises>.")
    image, folded = shell
    words = "A line that falls & <rises>."
    assert image[0] == {"image/png": "...", "text/plain": f"A figure, in words:\n{words}"}
    assert image[1] == {"image/png": {"width": 6, "alt": words}}
    assert (
        "<summary>The figure in words</summary>A line that falls &amp; &lt;"
        in (folded[0]["text/html"])
    )
    assert plt.get_fignums() == []  # so that it is not shown twice


def test_no_figure_is_told(shell):
    with pytest.raises(RuntimeError, match="draw it in the same cell"):
        show("Nothing was drawn.")


def test_in_a_program_it_is_shown_as_always(monkeypatch):
    called = []
    monkeypatch.setattr(lesson.plt, "show", lambda: called.append(1))
    plt.figure()
    show("A line.")
    plt.close("all")
    assert called == [1]


def test_a_file_beside_the_lessons_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lesson.beside("letters.md").read_text(encoding="utf-8").startswith("#")
    with pytest.raises(FileNotFoundError, match=r"data/none\.csv is not beside the lessons"):
        lesson.beside("data/none.csv")
