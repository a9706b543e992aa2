"""Text before it reaches the network: cut into tokens, numbered, and laid out in arrays.

The one rule of this file: tokens and their numbers are lists, which join and grow as texts do;
`pad` and `windows` make the arrays.

Explained in course/11.
"""

import re
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np


def characters(text):
    """The list of the characters of `text`."""
    return list(text)


def words(text):
    """The list of the words and marks of `text`, without the spaces.  A word is a run of letters,
    digits and _, or several joined by apostrophes (don't); any other character is a mark.
    """
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)


class Vocabulary:
    """Tokens <-> integers: tokens[i] has the number i, and numbers[token] is i.

    Built from `tokens`, or a dict of their counts: first `unknown`, which stands for all others,
    unless it is None; then `special`; then what occurs min_count times or more, the most frequent
    first, of equals the one that came first; in all at most max_size.
    """

    def __init__(self, tokens, *, unknown=None, special=(), min_count=1, max_size=None):
        first = [*special] if unknown is None else [unknown, *special]
        kept = [token for token, n in Counter(tokens).most_common() if n >= min_count]
        self.tokens = list(dict.fromkeys([*first, *kept]))[:max_size]
        self.numbers = {token: i for i, token in enumerate(self.tokens)}
        self.unknown = unknown

    def __len__(self):
        return len(self.tokens)

    def encode(self, tokens):
        """The tokens' numbers.  Raises ValueError for one not in it, where `unknown` is None."""
        found = [self.numbers.get(token, self.numbers.get(self.unknown)) for token in tokens]
        if None in found:
            raise ValueError(f"no number for {tokens[found.index(None)]!r}, and no unknown token")
        return found

    def decode(self, numbers):
        """The tokens with these numbers."""
        return _look_up(self.tokens, numbers)


def _look_up(tokens, numbers):
    wrong = [i for i in numbers if not 0 <= i < len(tokens)]
    if wrong:
        raise ValueError(f"expected numbers of tokens, in [0, {len(tokens)}), got {wrong[0]}")
    return [tokens[i] for i in numbers]


class BytePairEncoding:
    """Text <-> integers, frequent strings being one (Sennrich, Haddow and Birch 2016, algorithm 1).

    Numbers below 256 are UTF-8's bytes, so that any text can be written; 256 + k stands for the
    pair of numbers merges[k]; tokens[i] are the bytes of number i.  The merges are all there is to
    keep: json.dumps(encoding.merges), and back BytePairEncoding(json.loads(text)).
    """

    def __init__(self, merges=()):
        self.merges = [tuple(pair) for pair in merges]
        self.numbers = {pair: 256 + k for k, pair in enumerate(self.merges)}
        self.tokens = [bytes([i]) for i in range(256)]
        for a, b in self.merges:
            self.tokens.append(b"".join(_look_up(self.tokens, (a, b))))

    @classmethod
    def train(cls, text, size):
        """The encoding of `size` tokens that merges the most frequent pair of `text`
        (of equals the smallest), again and again, until no pair is there twice.
        """
        if size < 256:
            raise ValueError(f"size must be at least 256, got {size}: a token for each byte")
        # Each different piece is kept once, with its count, and for each pair where it may be.
        counts = Counter(_pieces(text))
        pieces, counts = list(counts), list(counts.values())
        pairs, places, merges = Counter(), defaultdict(set), []

        def tally(k, sign):
            for pair in pairwise(pieces[k]):
                pairs[pair] += sign * counts[k]
                places[pair].add(k)

        for k in range(len(pieces)):
            tally(k, 1)
        for new in range(256, size):
            best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
            if pairs[best] < 2:
                break
            merges.append(best)
            for k in tuple(places[best]):
                tally(k, -1)
                pieces[k] = _merge(pieces[k], best, new)
                tally(k, 1)
        return cls(merges)

    def __len__(self):
        return len(self.tokens)

    def encode(self, text):
        """The numbers of `text`: in each piece of it, merges in the order of training."""
        pieces, known = _pieces(text), {}
        for piece in set(pieces):
            numbers = piece
            while new := [self.numbers[p] for p in pairwise(numbers) if p in self.numbers]:
                numbers = _merge(numbers, self.merges[min(new) - 256], min(new))
            known[piece] = numbers
        return [i for piece in pieces for i in known[piece]]

    def decode(self, numbers):
        """The text with these numbers; bytes that are no UTF-8 become the mark U+FFFD."""
        data = b"".join(_look_up(self.tokens, numbers))
        try:  # a str may hold half a surrogate pair
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")


def _pieces(text):
    """The bytes of words with the space before them, of runs of marks, and of spaces: no pair
    reaches from one to the next (Radford et al. 2019, section 2.2), and joined they are the text.
    """
    pieces = re.findall(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+", text)
    return [piece.encode("utf-8", "surrogatepass") for piece in pieces]


def _merge(numbers, pair, new):
    """`numbers` with `new` in place of each `pair`, from the left."""
    found, i = [], 0
    while i < len(numbers):
        here = (*numbers[i : i + 2],) == pair
        found.append(new if here else numbers[i])
        i += 1 + here
    return found


def pad(sequences, *, value=0):
    """Sequences of integers as one array (N, T), filled up with `value`, and their lengths (N,)."""
    lengths = np.array([len(s) for s in sequences], dtype=np.int64)
    y = np.full((len(lengths), lengths.max(initial=0)), value, dtype=np.int64)
    for row, sequence in zip(y, sequences):
        row[: len(sequence)] = sequence
    return y, lengths


def batches_by_length(lengths, batch_size, rng):
    """Iterate, in an order drawn by `rng`, over arrays of batch_size indices (one has the rest) of
    neighbours in `lengths` (N,), so that there is little to pad; which of equals meet is drawn too.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    order = np.lexsort((rng.random(len(lengths)), lengths))  # by length, then by chance
    starts = rng.permutation(np.arange(0, len(order), batch_size))
    return (order[i : i + batch_size] for i in starts)


def windows(numbers, length, *, step=None):
    """x and y (N, length) for language modelling: y holds what follows x.  Views, to be read only.

    A window begins every `step` numbers (default: length); what is left at the end is left out.
    """
    numbers, step = np.asarray(numbers), step or length
    if numbers.ndim != 1 or not 0 < length < len(numbers) or step < 1:
        raise ValueError(f"windows: expected more than length = {length} >= 1 numbers on one axis "
                         f"and step >= 1, got shape {numbers.shape}, step {step}")  # fmt: skip
    both = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::step]
    return both[:, :-1], both[:, 1:]
