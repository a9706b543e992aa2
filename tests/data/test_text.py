"""Text: tokens, vocabularies, byte-pair encoding against a plain one, inputs and targets."""

import json
import re
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidl.data import datasets, pad_sequence, text
from minidl.data.text import BytePairEncoding, Vocabulary

# With line ends, spaces of all kinds, marks, many bytes to a character, and half surrogate pairs.
STRINGS = st.text(st.characters(), max_size=40) | st.text(
    " \n\tab'é漢🙂\ud800\udc00_1.", max_size=40
)


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- tokens


def test_characters():
    assert text.characters("né\n🙂") == ["n", "é", "\n", "🙂"]
    assert text.characters("") == []


@pytest.mark.parametrize(
    "line, tokens",
    [
        ("Don't panic, it's 3.50!", ["Don't", "panic", ",", "it's", "3", ".", "50", "!"]),
        ("  a_b  \n c2 ", ["a_b", "c2"]),
        ("'quoted' the boys' l’été", ["'", "quoted", "'", "the", "boys", "'", "l’été"]),
        ("wait...  well-known", ["wait", ".", ".", ".", "well", "-", "known"]),
        ("größe 漢字 🙂", ["größe", "漢字", "🙂"]),
        (" \n", []),
        ("", []),
    ],
)
def test_words(line, tokens):
    assert text.words(line) == tokens


@given(STRINGS)
def test_words_lose_spaces_only(line):
    assert "".join(text.words(line)) == re.sub(r"\s", "", line)


# ---- vocabularies


def test_a_vocabulary_is_ordered_by_count_then_by_place():
    vocabulary = Vocabulary("b a c a d c e".split())
    assert vocabulary.tokens == ["a", "c", "b", "d", "e"]
    assert vocabulary.encode(["e", "a"]) == [4, 0]
    assert vocabulary.decode([4, 0]) == ["e", "a"]
    assert len(vocabulary) == 5 and vocabulary.numbers["c"] == 1
    assert Vocabulary({"x": 1, "y": 5}).tokens == ["y", "x"], "counts will do"
    assert Vocabulary([]).encode([]) == [] and len(Vocabulary([])) == 0


def test_what_a_vocabulary_leaves_out_is_unknown():
    tokens = "the cat the dog the end a cat".split()
    vocabulary = Vocabulary(tokens, unknown="?", special=("<pad>", "<end>"), min_count=2)
    assert vocabulary.tokens == ["?", "<pad>", "<end>", "the", "cat"]
    assert vocabulary.encode(["the", "dog", "<end>"]) == [3, 0, 2]
    assert vocabulary.decode(np.array([3, 0, 2])) == ["the", "?", "<end>"]
    assert Vocabulary(tokens, unknown="?", max_size=3).tokens == ["?", "the", "cat"]
    assert Vocabulary(tokens, special=["cat"]).tokens == ["cat", "the", "dog", "end", "a"]


def test_a_vocabulary_is_made_again_from_its_tokens():
    first = Vocabulary("b a c a".split(), unknown="?", special=["<pad>"], max_size=4)
    again = Vocabulary(json.loads(json.dumps(first.tokens)), unknown="?")
    assert again.tokens == first.tokens == ["?", "<pad>", "a", "b"]
    assert again.encode("abc") == first.encode("abc") == [2, 3, 0]


@given(st.lists(st.integers(0, 9)), st.integers(1, 4))
def test_a_vocabulary_numbers_what_is_frequent(tokens, min_count):
    vocabulary, counts = Vocabulary(tokens, min_count=min_count), Counter(tokens)
    assert set(vocabulary.tokens) == {t for t in counts if counts[t] >= min_count}
    assert sorted(vocabulary.numbers.values()) == list(range(len(vocabulary)))
    assert vocabulary.decode(vocabulary.encode(vocabulary.tokens)) == vocabulary.tokens
    frequencies = [counts[t] for t in vocabulary.tokens]
    assert frequencies == sorted(frequencies, reverse=True)


def test_unknown_tokens_and_numbers_are_refused():
    vocabulary = Vocabulary("ab")
    with pytest.raises(ValueError, match="no number for 'z', and no unknown token"):
        vocabulary.encode("abz")
    for number in (-1, 2):
        with pytest.raises(ValueError, match=rf"in \[0, 2\), got {number}"):
            vocabulary.decode([0, number])


# ---- byte-pair encoding


def plain_merge(numbers, pair, new):
    i = 0
    while i < len(numbers) - 1:
        if (numbers[i], numbers[i + 1]) == pair:
            numbers[i : i + 2] = [new]
        i += 1


def plain_pieces(line):
    """The pieces by their rule: a word or a run of marks, with the space before it, and spaces."""

    def kind(c):
        return "word" if c == "_" or c.isalnum() else "space" if c.isspace() else "marks"

    pieces, runs = [], []
    for c in line:
        if runs and kind(runs[-1][-1]) == kind(c):
            runs[-1] += c
        else:
            runs.append(c)
    for i, run in enumerate(runs):
        if kind(run) != "space" or i + 1 == len(runs):
            pieces.append(run)
        elif run.endswith(" "):
            pieces += [run[:-1]] * (len(run) > 1)
            runs[i + 1] = " " + runs[i + 1]
        else:  # the last of the spaces cannot go with what follows, and stands alone
            pieces += [run[:-1]] * (len(run) > 1) + [run[-1]]
    return pieces


def plain_train(line, size):
    """All pairs of the whole text counted anew for each merge."""
    pieces = [list(p.encode("utf-8", "surrogatepass")) for p in plain_pieces(line)]
    merges = []
    while 256 + len(merges) < size:
        pairs = Counter(pair for numbers in pieces for pair in pairwise(numbers))
        most = max(pairs.values(), default=0)
        if most < 2:
            break
        pair = min(pair for pair, n in pairs.items() if n == most)
        for numbers in pieces:
            plain_merge(numbers, pair, 256 + len(merges))
        merges.append(pair)
    return merges, [number for numbers in pieces for number in numbers]


PROSE = datasets.prose()
TRAINED = BytePairEncoding.train(PROSE[:20_000], 400)
LINES = [
    "low low low lower lowest newest newest widest",
    "aaaa aaaa aaa aa a aaaaaaaaa",
    "ab ba ab ba abab",
    "  two  spaces\n\n\tand\tothers  ",
    "größe größer 漢字漢字 🙂🙂🙂 don't; don't!",
    "\ud800 half a pair \ud800",
    "a",
    "",
]


@pytest.mark.parametrize("line", [*LINES, PROSE[:1500]])
@pytest.mark.parametrize("size", [256, 257, 262, 300])
def test_training_and_encoding_against_a_plain_one(line, size):
    encoding = BytePairEncoding.train(line, size)
    merges, numbers = plain_train(line, size)
    assert encoding.merges == merges
    assert encoding.encode(line) == numbers
    assert len(encoding) == 256 + len(merges) <= size
    assert encoding.decode(numbers) == line


@given(STRINGS, st.integers(256, 280))
def test_training_against_a_plain_one(line, size):
    encoding = BytePairEncoding.train(line * 2, size)
    merges, numbers = plain_train(line * 2, size)
    assert encoding.merges == merges
    assert encoding.encode(line * 2) == numbers


def test_merges_by_hand():
    # "lo" and "ow" are there three times each, and l comes before o.
    encoding = BytePairEncoding.train("low low low", 300)
    assert encoding.merges == [(108, 111), (256, 119), (32, 257)]
    assert encoding.tokens[256:] == [b"lo", b"low", b" low"]
    assert encoding.encode("low slow owl") == [257, 32, 115, 257, 32, 111, 119, 108]
    # "aaa" has the pair aa twice, which is merged from the left.
    assert BytePairEncoding([(97, 97)]).encode("aaa") == [256, 97]
    assert BytePairEncoding.train("aaa", 260).merges == [(97, 97)]
    assert BytePairEncoding.train("abab", 257).tokens[256] == b"ab"


@given(STRINGS)
def test_any_text_goes_through_unchanged(line):
    for encoding in (TRAINED, BytePairEncoding()):
        numbers = encoding.encode(line)
        assert encoding.decode(numbers) == line
        assert not [number for number in numbers if not (0 <= number < len(encoding))]
    assert BytePairEncoding().encode(line) == list(line.encode("utf-8", "surrogatepass"))


@given(st.lists(st.integers(0, 399), max_size=20))
def test_any_numbers_become_some_text(numbers):
    assert isinstance(TRAINED.decode(numbers), str)
    assert TRAINED.decode(np.array(numbers, dtype=np.int64)) == TRAINED.decode(numbers)


def test_training_ends_where_no_pair_is_there_twice():
    assert BytePairEncoding.train("low low", 2**21).tokens[256:] == [b"lo", b"low"]
    assert len(BytePairEncoding.train("low low", np.int64(257))) == 257


@pytest.mark.parametrize("line", ["abcabc", "cabab", "aabb"])
@pytest.mark.parametrize(
    "merges", [[(97, 98), (97, 98)], [(98, 99), (97, 98), (97, 256)], [(97, 97), (256, 98)]]
)
def test_merges_are_made_in_their_order(line, merges):
    """Also those of a file, which no training need have made."""
    expected = list(line.encode())
    for new, pair in enumerate(merges, 256):
        plain_merge(expected, pair, new)
    assert BytePairEncoding(merges).encode(line) == expected


def test_there_is_a_token_for_each_byte():
    with pytest.raises(ValueError, match="expected a size from 256, the number of bytes, got 100"):
        BytePairEncoding.train("text", 100)


def test_bytes_that_are_no_utf8_are_marked():
    assert BytePairEncoding().decode([97, 255, 98]) == "a\ufffdb"
    assert BytePairEncoding().decode([0xE2, 0x82]) == "\ufffd"


def test_pieces_keep_merges_within_words():
    assert len(TRAINED) == 400
    for token in TRAINED.tokens[256:]:
        assert not re.search(rb"\w\W", token), token
    assert b" the" in TRAINED.tokens


def test_an_encoding_goes_through_json(tmp_path):
    path = tmp_path / "merges.json"
    path.write_text(json.dumps(TRAINED.merges), encoding="utf-8")
    again = BytePairEncoding(json.loads(path.read_text(encoding="utf-8")))
    assert again.merges == TRAINED.merges and again.tokens == TRAINED.tokens
    assert again.encode(PROSE[:2000]) == TRAINED.encode(PROSE[:2000])


@pytest.mark.parametrize(
    "merges, error, message",
    [
        ([(97, 256)], ValueError, r"in \[0, 256\), got 256"),
        ([(97, 98), (256, 257)], ValueError, r"in \[0, 257\), got 257"),
        ([(-1, 98)], ValueError, "got -1"),
        ([(97, 98, 99)], ValueError, "unpack"),
        ([(97.5, 98)], ValueError, r"integers in \[0, 256\), got 97.5"),
        ([(97.0, 98)], TypeError, "integers"),
    ],
)
def test_merges_that_cannot_be(merges, error, message):
    with pytest.raises(error, match=message):
        BytePairEncoding(merges)


@pytest.mark.parametrize("number", [-1, 256])
def test_numbers_that_are_none_are_refused(number):
    with pytest.raises(ValueError, match=rf"in \[0, 256\), got {number}"):
        BytePairEncoding().decode([97, number])


def test_half_a_million_characters_take_seconds():
    start = time.process_time()
    encoding = BytePairEncoding.train(PROSE, 512)
    numbers = encoding.encode(PROSE)
    assert time.process_time() - start < 20
    assert len(encoding) == 512 and encoding.decode(numbers) == PROSE
    assert len(PROSE) > 2 * len(numbers)


# ---- arrays


def test_padding_lists_of_numbers():
    y, lengths = pad_sequence([[1, 2, 3], [], [4]], value=0)
    assert y.tolist() == [[1, 2, 3], [0, 0, 0], [4, 0, 0]] and y.dtype == np.int64
    assert lengths.tolist() == [3, 0, 1] and lengths.dtype == np.int64
    y, _ = pad_sequence([np.array([7]), (8, 9)], value=-1)
    assert y.tolist() == [[7, -1], [8, 9]]
    for empty, shape in ([], (0, 0)), ([[]], (1, 0)):
        assert pad_sequence(empty)[0].shape == shape


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 12), st.integers(0, 3))
def test_batches_by_length(lengths, size, seed):
    batches = list(text.batches_by_length(lengths, size, rng(seed)))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert sorted(map(len, batches), reverse=True)[:-1] == [size] * (len(batches) - 1)
    # Sorted by their first length, no batch reaches into the next.
    spans = sorted((min(lengths[i] for i in b), max(lengths[i] for i in b)) for b in batches)
    assert not [(before, after) for before, after in pairwise(spans) if not (before[1] <= after[0])]
    again = text.batches_by_length(np.array(lengths), size, rng(seed))
    assert [b.tolist() for b in again] == [b.tolist() for b in batches]


def test_batches_by_length_are_shuffled():
    lengths = rng().integers(1, 5, 200)
    orders = [np.concatenate(list(text.batches_by_length(lengths, 8, rng(k)))) for k in range(2)]
    assert not np.array_equal(*orders), "two epochs have one order"
    firsts = [lengths[batch[0]] for batch in text.batches_by_length(lengths, 8, rng())]
    assert firsts != sorted(firsts)
    sets = [{frozenset(b) for b in text.batches_by_length(lengths, 8, rng(k))} for k in range(2)]
    assert len(sets[0] & sets[1]) < 5, "equals meet others"
    with pytest.raises(ValueError, match="batch_size of at least 1, got 0"):
        text.batches_by_length(lengths, 0, rng())


def test_next_token_pairs():
    x, y = text.next_token_pairs(list(range(10)), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert y.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    x, y = text.next_token_pairs(np.arange(9), 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]], "8 has nothing after it"
    x, y = text.next_token_pairs(np.arange(5), 3, step=1)
    assert x.tolist() == [[0, 1, 2], [1, 2, 3]] and y.tolist() == [[1, 2, 3], [2, 3, 4]]


@given(st.integers(2, 40), st.integers(1, 10), st.integers(1, 10))
def test_next_token_pairs_against_slices(n, length, step):
    numbers = rng(n).integers(0, 9, n)
    starts = range(0, n - length, step)
    if length >= n:
        with pytest.raises(ValueError, match=rf"length = {length} .*got \(\({n},\)"):
            text.next_token_pairs(numbers, length, step=step)
        return
    x, y = text.next_token_pairs(numbers, length, step=step)
    assert x.tolist() == [numbers[i : i + length].tolist() for i in starts]
    assert y.tolist() == [numbers[i + 1 : i + 1 + length].tolist() for i in starts]


@pytest.mark.parametrize(
    "numbers, length, step",
    [
        ([], 1, None), ([1, 2], 2, None), ([1, 2], 0, None), ([[1, 2]], 1, None),
        ([1, 2, 3], 1, -1), ([1, 2, 3], 1, 0),
        ([1, 2, 3], 1.5, None), ([1, 2, 3], 1, 0.5), ("hello", 2, None),
    ],
)  # fmt: skip
def test_next_token_pairs_refuse_what_is_too_short(numbers, length, step):
    with pytest.raises(
        ValueError, match=rf"expected numbers \(N > length = {length} >= 1,\) and step >= 1, got "
    ):
        text.next_token_pairs(numbers, length, step=step)


@pytest.mark.parametrize(
    "function",
    [
        text.characters, text.words, lambda t: BytePairEncoding.train(t, 300),
        BytePairEncoding().encode,
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["the", "cat"]])
def test_what_is_no_string_is_refused(function, wrong):
    with pytest.raises(ValueError, match="expected one string, got ") as caught:
        function(wrong)
    assert str(caught.value).endswith(repr(wrong))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"unknown": "?", "special": ["<pad>"], "max_size": 1}, "expected max_size >= 2, got 1"),
        ({"unknown": "?", "max_size": 0}, "max_size >= 1, got 0"),
        ({"max_size": -1}, "max_size >= 0, got -1"),
        ({"special": "<pad>"}, "expected a list of special tokens, got '<pad>'"),
        ({"tokens": [["the", "cat"], ["sat"]]}, r"one flat list, got \[\['the'"),
    ],
)
def test_a_vocabulary_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**{"tokens": "abc"} | options)
    assert Vocabulary("abc", unknown="?", max_size=1).encode("a") == [0], "as few as that will do"


def test_a_vocabulary_takes_any_iterable():
    vocabulary = Vocabulary(token for token in "abca")
    assert vocabulary.tokens == ["a", "b", "c"]
    assert vocabulary.encode(token for token in "cb") == [2, 1]
    for wrong in (iter("az"), {"z"}):
        with pytest.raises(ValueError, match="no number for 'z'"):
            vocabulary.encode(wrong)


@pytest.mark.parametrize("wrong", ["ab", [0.5], [[1, 2]], np.eye(2, dtype=int), [None], None])
def test_what_are_no_numbers_of_tokens(wrong):
    for encoding, size in ((Vocabulary("abc"), 3), (BytePairEncoding(), 256)):
        with pytest.raises(ValueError, match=rf"expected integers in \[0, {size}\), got "):
            encoding.decode(wrong)


@pytest.mark.parametrize("size", [None, "300", 300.5, 300.0, -1])
def test_sizes_that_cannot_be(size):
    with pytest.raises(ValueError, match=f"expected a size from 256.*got {size!r}"):
        BytePairEncoding.train("text", size)


@pytest.mark.parametrize(
    "batch_size, error", [(-1, ValueError), (0.5, ValueError), (1.5, TypeError)]
)
def test_batch_sizes_that_cannot_be(batch_size, error):
    with pytest.raises(error, match=r"batch_size of at least 1|as an integer"):
        text.batches_by_length([1, 2], batch_size, rng())


def test_lengths_on_one_axis():
    with pytest.raises(ValueError, match=r"lengths \(N,\), got \[\[1\], \[3\]\]"):
        text.batches_by_length([[1], [3]], 2, rng())
