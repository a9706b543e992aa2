"""Text before it reaches the network: cut into tokens, numbered, and laid out in arrays.

The one rule of this file: tokens and their numbers are lists; `pad` and `windows` make arrays.

Explained in course/11.
"""

import re
from collections import Counter
from itertools import pairwise

import numpy as np

from .loader import pad as pad  # from here too, beside what makes the sequences


def _expect(fits, wanted, got):
    if not fits:
        raise ValueError(f"expected {wanted}, got {got!r:.60}")


def characters(text):
    """The list of the characters of `text`."""
    _expect(isinstance(text, str), "one string", text)
    return list(text)


def words(text):
    """The list of words (letters, digits, _, apostrophes within) and marks of `text`, no spaces."""
    _expect(isinstance(text, str), "one string", text)
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)


class Vocabulary:
    """Tokens <-> integers: tokens[i] has the number i, and numbers[token] is i.

    Built from `tokens`, or a dict of their counts: first `unknown`, unless None, which stands for
    all others; then `special`; then what occurs min_count times or more, the most frequent first,
    of equals the earliest; in all at most max_size.  So 0 is seldom what to pad with: see `pad`.
    """

    def __init__(self, tokens, *, unknown=None, special=(), min_count=1, max_size=None):
        first = [*special] if unknown is None else [unknown, *special]
        _expect(not isinstance(special, str), "a list of special tokens", special)
        _expect(max_size is None or max_size >= len(first), f"max_size >= {len(first)}", max_size)
        _expect(type(tokens) is not list or list not in map(type, tokens), "one flat list", tokens)
        kept = [token for token, n in Counter(tokens).most_common() if n >= min_count]
        self.tokens = list(dict.fromkeys([*first, *kept]))[:max_size]
        self.numbers, self.unknown = {token: i for i, token in enumerate(self.tokens)}, unknown

    def __len__(self):
        return len(self.tokens)

    def encode(self, tokens):
        """The tokens' numbers.  Raises ValueError for one not in it, where `unknown` is None."""
        tokens, other = list(tokens), self.numbers.get(self.unknown)
        found = [self.numbers.get(token, other) for token in tokens]
        if None in found:
            raise ValueError(f"no number for {tokens[found.index(None)]!r}, and no unknown token")
        return found

    def decode(self, numbers):
        """The tokens with these numbers, integers in [0, len(self))."""
        ids = np.atleast_1d(numbers).tolist()
        for i in ids:
            _expect(i in range(len(self)), f"integers in [0, {len(self)})", i)
        return [self.tokens[i] for i in ids]


class BytePairEncoding(Vocabulary):
    """Text <-> integers, frequent strings being one (Sennrich, Haddow and Birch 2016, algorithm 1).

    Numbers below 256 are UTF-8's bytes, so that any text can be written; 256 + k stands for the
    pair of numbers merges[k]; tokens[i] are the bytes of number i.  The merges are all there is to
    keep: json.dumps(encoding.merges), and back BytePairEncoding(json.loads(text)).
    """

    def __init__(self, merges=()):
        self.merges = [(a, b) for a, b in merges]
        self.tokens = [bytes([i]) for i in range(256)]
        for pair in self.merges:
            self.tokens.append(b"".join(super().decode(pair)))

    @classmethod
    def train(cls, text, size):
        """The encoding of `size` tokens that merges the most frequent pair of `text`
        (of equals the smallest), again and again, until no pair is there twice.
        """
        _expect(size in range(256, 0x10FFFF), "a size from 256, the number of bytes", size)
        # Numbers are the characters of strings, as str.replace merges from the left.
        counts, pairs, merges = Counter(_pieces(text)), Counter(), []

        def tally(piece, n):
            for a, b in pairwise(piece):
                pairs[a + b] += n

        for piece in counts:
            tally(piece, counts[piece])
        for new in range(256, size):
            best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
            if pairs[best] < 2:
                break
            merges.append([ord(c) for c in best])
            for piece in [piece for piece in counts if best in piece]:
                merged = piece.replace(best, chr(new))
                counts[merged] = counts.pop(piece)
                tally(piece, -counts[merged])
                tally(merged, counts[merged])
        return cls(merges)

    def encode(self, text):
        """The numbers of `text`: in each piece of it, merges in the order of training."""
        gap = chr(len(self))  # between pieces, as no token has this number
        joined = gap.join(_pieces(text))
        for new, (a, b) in enumerate(self.merges, 256):
            joined = joined.replace(chr(a) + chr(b), chr(new))
        return [ord(c) for c in joined if c != gap]

    def decode(self, numbers):
        """The text with these numbers; bytes that are no UTF-8 become the mark U+FFFD."""
        data = b"".join(super().decode(numbers))
        try:  # a str may hold half a surrogate pair
            return data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return data.decode("utf-8", "replace")


def _pieces(text):
    """Words with the space before them, runs of marks, and spaces, a character for each byte: no
    pair reaches from one to the next (Radford et al. 2019, section 2.2); joined they are the text.
    """
    _expect(isinstance(text, str), "one string", text)
    pieces = re.findall(r" ?\w+| ?[^\w\s]+|\s+(?!\S)|\s+", text)
    return [piece.encode("utf-8", "surrogatepass").decode("latin-1") for piece in pieces]


def batches_by_length(lengths, batch_size, rng):
    """Iterate, in an order drawn by `rng`, over arrays of batch_size indices (one has the rest) of
    neighbours in `lengths` (N,), so that there is little to pad; which of equals meet is drawn too.
    """
    _expect(np.ndim(lengths) == 1, "lengths (N,)", lengths)
    _expect(batch_size >= 1, "a batch_size of at least 1", batch_size)
    order = np.lexsort((rng.random(len(lengths)), lengths))  # by length, then by chance
    return (order[i : i + batch_size] for i in rng.permutation(range(0, len(order), batch_size)))


def windows(numbers, length, *, step=None):
    """x and y (N, length), for language modelling: y holds what follows x.  Views, to be read only;
    one begins every `step` numbers (default: length); what is left at the end is left out.
    """
    numbers, step = np.asarray(numbers), length if step is None else step
    fits = numbers.ndim == 1 and length in range(1, len(numbers)) and step >= 1
    _expect(fits, f"numbers (N > length = {length} >= 1,) and step >= 1", (numbers.shape, step))
    both = np.lib.stride_tricks.sliding_window_view(numbers, length + 1)[::step]
    return both[:, :-1], both[:, 1:]
