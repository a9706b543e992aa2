"""Text before it reaches the network: cut into tokens, numbered, and laid out in arrays.

The one rule of this file: tokens and their numbers are lists; `next_token_pairs` makes arrays of
them, as does `pad_sequence` in `loader.py`.

Explained in course/11.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import advice


def _expect(fits, wanted, got):
    if not fits:
        raise ValueError(f"expected {wanted}, got {got!r:.60}")


def characters(text: str) -> list[str]:
    """The characters of `text`, as a list."""
    _expect(isinstance(text, str), "one string", text)
    return list(text)


def words(text: str) -> list[str]:
    """The words and punctuation marks of `text`, as a list, without the spaces between them.

    A word is made of letters, digits and underscores, and may have apostrophes within: "don't" is
    one word.  Each punctuation mark is a token of its own.
    """
    _expect(isinstance(text, str), "one string", text)
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)


class Vocabulary:
    """A number for each token: `tokens[i]` is the token with the number i, `numbers` is the way
    back.

    tokens: an iterable of tokens, such as all words of a text, or a dict of their counts.
    unknown: a token that stands for all tokens without a number; it gets the number 0.  Default:
    there is none, and `encode` refuses what it does not know.
    special: further tokens that need a number, such as "<pad>"; they come next.
    min_count, max_size: then come the tokens that occur at least min_count times, the most frequent
    first (of equally frequent ones the earliest), until there are max_size tokens in all.

    The number 0 belongs to a token like any other, so pad with `numbers["<pad>"]`, not with 0.
    """

    def __init__(
        self,
        tokens: Iterable[Hashable] | Mapping[Hashable, int],
        *,
        unknown: Hashable | None = None,
        special: Iterable[Hashable] = (),
        min_count: int = 1,
        max_size: int | None = None,
    ) -> None:
        _expect(not isinstance(special, str), "a list of special tokens", special)
        first = [*special] if unknown is None else [unknown, *special]
        _expect(max_size is None or max_size >= len(first), f"max_size >= {len(first)}", max_size)
        _expect(type(tokens) is not list or list not in map(type, tokens), "one flat list", tokens)
        kept = [token for token, n in Counter(tokens).most_common() if n >= min_count]
        self.tokens = list(dict.fromkeys([*first, *kept]))[:max_size]
        self.numbers = {token: i for i, token in enumerate(self.tokens)}
        self.unknown = unknown

    def __len__(self) -> int:
        """How many tokens there are, all numbers being in [0, len(vocabulary))."""
        return len(self.tokens)

    def encode(self, tokens: Iterable[Hashable]) -> list[int]:
        """The numbers of these tokens.

        Raises ValueError for a token without a number, if the vocabulary has no `unknown` token.
        """
        other = self.numbers.get(self.unknown)
        found = []
        for token in tokens:
            number = self.numbers.get(token, other)
            if number is None:
                raise ValueError(f"no number for {token!r}, and no unknown token")
            found.append(number)
        return found

    def decode(self, numbers: ArrayLike) -> list[Any]:
        """The tokens with these numbers, which are integers in [0, len(vocabulary))."""
        return _look_up(self.tokens, numbers)


def _look_up(tokens, numbers):
    """tokens[i] for each i of `numbers`, a list or an array; what has no token is refused."""
    ids = np.atleast_1d(numbers).tolist()
    for i in ids:
        _expect(i in range(len(tokens)), f"integers in [0, {len(tokens)})", i)
    return [tokens[i] for i in ids]


class BytePairEncoding:
    """Text as numbers, where a frequent string of characters has a number of its own (Sennrich,
    Haddow and Birch 2016, algorithm 1).

    The numbers below 256 stand for the bytes of UTF-8, so any text can be written with them.  The
    number 256 + k stands for the two numbers of the pair merges[k], one after the other.
    `tokens[i]` are the bytes that the number i stands for.

    merges: the pairs, from a call of `train` or from a file.  They are all there is to keep:
    json.dumps(encoding.merges) writes them, BytePairEncoding(json.loads(text)) reads them.
    """

    def __init__(self, merges: Iterable[tuple[int, int]] = ()) -> None:
        self.merges = [(a, b) for a, b in merges]
        self.tokens = [bytes([i]) for i in range(256)]
        for pair in self.merges:
            self.tokens.append(b"".join(_look_up(self.tokens, pair)))

    def __len__(self) -> int:
        """How many numbers there are: 256 and one for each merge."""
        return len(self.tokens)

    @classmethod
    def train(cls, text: str, size: int) -> BytePairEncoding:
        """An encoding learned from `text`, with `size` tokens, at least 256.

        Begins with bytes.  Merges the pair of neighbours that is most frequent in the text (of
        equally frequent ones that with the smallest numbers) into a new token, and repeats this
        until there are `size` tokens or no pair occurs twice.
        """
        fits = isinstance(size, int | np.integer) and size >= 256
        _expect(fits, "a size from 256, the number of bytes", size)
        pieces = Counter(_pieces(text))
        numbers = [list(piece) for piece in pieces]  # of each piece, first its bytes
        times = list(pieces.values())  # how often each stands in the text

        # Counted once; a merge then changes the counts only of the pieces that have its pair.
        counts = Counter()  # pair -> how often it stands in the text
        places = defaultdict(set)  # pair -> the pieces that have it, or had it once
        for i in range(len(numbers)):
            for pair in pairwise(numbers[i]):
                counts[pair] += times[i]
                places[pair].add(i)

        merges = []
        for new in range(256, size):
            most = max(counts.values(), default=0)
            if most < 2:
                break
            best = min(pair for pair, n in counts.items() if n == most)
            merges.append(best)
            for i in places.pop(best):
                for pair in pairwise(numbers[i]):
                    counts[pair] -= times[i]
                numbers[i] = _merged(numbers[i], best, new)
                for pair in pairwise(numbers[i]):
                    counts[pair] += times[i]
                    places[pair].add(i)
        return cls(merges)

    def encode(self, text: str) -> list[int]:
        """The numbers of `text`, whose pairs are merged in the order in which training did."""
        # A pair that stands in `merges` twice was merged the first time.
        order = {pair: k for k, pair in reversed([*enumerate(self.merges)])}
        known = {}  # piece -> its numbers, as most pieces are there often
        found = []
        for piece in _pieces(text):
            if piece not in known:
                numbers = list(piece)
                while mergeable := order.keys() & set(pairwise(numbers)):
                    first = min(order[pair] for pair in mergeable)
                    numbers = _merged(numbers, self.merges[first], 256 + first)
                known[piece] = numbers
            found += known[piece]
        return found

    def decode(self, numbers: ArrayLike) -> str:
        """The text with these numbers; bytes that are no UTF-8 become the mark U+FFFD."""
        data = b"".join(_look_up(self.tokens, numbers))
        try:  # a str may hold half a surrogate pair
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")


def _merged(numbers, pair, new):
    """`numbers` with `new` wherever `pair` stood, from the left: (1, 1) in [1, 1, 1] once."""
    result = []
    i = 0
    while i < len(numbers):
        if tuple(numbers[i : i + 2]) == pair:
            result.append(new)
            i += 2
        else:
            result.append(numbers[i])
            i += 1
    return result


def _pieces(text):
    """The pieces of `text`, as bytes: words and runs of marks, each with the space before it, and
    runs of spaces.  No pair reaches from one to the next (Radford et al. 2019, section 2.2).
    """
    _expect(isinstance(text, str), "one string", text)
    pieces = re.findall(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+", text)
    return [piece.encode("utf-8", "surrogatepass") for piece in pieces]


def batches_by_length(
    lengths: ArrayLike, batch_size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches of samples that are about equally long, so that there is little to pad: an iterator
    over arrays of indices.

    lengths (N,): how long each sample is.  Each batch has batch_size indices, one of them the rest.
    rng draws the order of the batches, and which of equally long samples meet in one.
    For a DataLoader: sampler=functools.partial(batches_by_length, lengths, 32).
    """
    _expect(np.ndim(lengths) == 1, "lengths (N,)", lengths)
    _expect(batch_size >= 1, "a batch_size of at least 1", batch_size)
    lengths = np.asarray(lengths)
    order = np.lexsort((rng.random(len(lengths)), lengths))  # by length, then by chance
    return (order[i : i + batch_size] for i in rng.permutation(range(0, len(order), batch_size)))


def next_token_pairs(
    numbers: ArrayLike, length: int, *, step: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets for a language model: x and y, both (N, length), where y[i, t] is the
    number that follows x[i, t].

    numbers (M,), M > length: the tokens of a text.  Row i begins at the number i * step (default:
    length, so that rows do not overlap); what is too short for a row at the end is left out.
    Both are views of `numbers`, to be read only.
    """
    if step is None:
        step = length
    numbers = np.asarray(numbers)
    fits = numbers.ndim == 1 and length in range(1, len(numbers)) and step >= 1
    _expect(fits, f"numbers (N > length = {length} >= 1,) and step >= 1", (numbers.shape, step))
    # (M,) -> (M - length, length + 1) -> (N, length + 1)
    both = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::step]
    return both[:, :-1], both[:, 1:]


advice.functions(__name__)
__getattr__ = advice.of_module(__name__)
