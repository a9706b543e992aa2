"""The tasks of lesson 25: a product in eight bits, the fields of a message, a reader of
safetensors that refuses, and a runner for a graph."""

import json
import math
import struct

import numpy as np

from .task import Task

# ---- 25.1

ROW = "a row of them, or a list"
ORDER = "which comes first is the same"
ONE = "it has one input"
NO_JSON = "eight bytes alone have an empty header, which is no JSON"
FAR = "any number above that of the file's bytes will do"


def product_cases(rng):
    def numbers(*shape, low=-2, high=2):
        """Of both signs, with sizes from 10**low to 10**high."""
        return rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(low, high, shape)

    def whole(x, w):
        """Whether no number lies half way between two whole ones, in steps."""
        step_x = (max(x.max(), 0) - min(x.min(), 0)) / 255 or 1.0
        step_w = abs(w).max(axis=0) / 127
        step_w[step_w == 0] = 1.0
        parts = np.concatenate([(x / step_x).ravel(), (w / step_w).ravel()])
        return bool((abs(abs(parts - np.floor(parts)) - 0.5) > 1e-6).all())

    def drawn(make):
        while True:
            x, w = make()
            if whole(x, w):
                return x, w

    yield "by hand", np.array([[3.1, -2.0]]), np.array([[1.27], [0.5]])
    yield ("by hand", np.array([[3.1, -2.0], [0.5, 1.333]]), np.array([[1.27, -2.54], [0.5, 1.0]]))
    for n, d, k in ((1, 1, 1), (2, 3, 2), (4, 5, 3), (1, 6, 4), (5, 2, 1)):
        yield "any", *drawn(lambda n=n, d=d, k=k: (numbers(n, d), numbers(d, k)))
    for n, d, k in ((3, 4, 2), (2, 2, 5)):
        yield (
            "all above 0",
            *drawn(lambda n=n, d=d, k=k: (abs(numbers(n, d, low=1)), abs(numbers(d, k)))),
        )
        yield (
            "all below 0",
            *drawn(lambda n=n, d=d, k=k: (-abs(numbers(n, d, low=1)), -abs(numbers(d, k)))),
        )
    yield "x is 0", np.zeros((2, 3)), numbers(3, 2)
    x, w = drawn(lambda: (numbers(3, 4), np.where([1, 0, 1], numbers(4, 3), 0.0)))
    yield "a column is 0", x, w
    yield "a column is 0", *drawn(lambda: (np.abs(numbers(2, 3)), np.zeros((3, 2))))
    yield (
        "columns of other sizes",
        *drawn(
            lambda: (numbers(3, 4), numbers(4, 3, low=-0.3, high=0.3) * np.array([0.03, 1, 40]))
        ),
    )
    yield "many", *drawn(lambda: (numbers(7, 300, low=0), numbers(300, 5, low=0)))
    yield "many", *drawn(lambda: (abs(numbers(40, 60, low=0)), abs(numbers(60, 40, low=0))))


def product_reference(x, w):
    (n, d), k = x.shape, w.shape[1]
    flat = [float(number) for number in x.ravel()]
    step_x = (max([*flat, 0.0]) - min([*flat, 0.0])) / 255 or 1.0
    product, most = np.zeros((n, k)), np.zeros((n, k))
    for j in range(k):
        step_w = max(abs(float(number)) for number in w[:, j]) / 127 or 1.0
        for i in range(n):
            total, off = 0, []
            for r in range(d):
                a, b = float(x[i, r]), float(w[r, j])
                total += round(a / step_x) * round(b / step_w)
                off.append(step_x * abs(b) / 2 + step_w * abs(a) / 2 + step_x * step_w / 4)
            product[i, j], most[i, j] = total * step_x * step_w, math.fsum(off)
    return product, most


PRODUCT = Task(
    id="25.1",
    cases=product_cases,
    reference=product_reference,
    equal=(
        ("-> step_w = abs(w).max(axis=0, keepdims=True) / 127", ROW),
        ("abs(w).sum(axis=0, keepdims=True)", ROW),
        ("np.append(0.0, x)", "the least and the largest have no order"),
        ("-> q = np.round(x / step_x)", "floats hold these whole numbers exactly"),
        ("-> p = np.round(w / step_w)", "floats hold these whole numbers exactly"),
        ("-> step_w = np.abs(w).max(axis=0) / 127", ROW),
        ("keepdims=False) / 127", ROW),
    ),
    hints=(
        "np.rint(x / step_x) are whole numbers in float64, which adds them exactly; int8 holds "
        "no more than 127.",
        "The bound is three sums over d: the first does not depend on n, the second not on k, and "
        "the third is D times the same.",
        "np.rint(x / step_x) @ np.rint(w / step_w) * step_x * step_w; step_x / 2 * "
        "abs(w).sum(axis=0) + step_w / 2 * abs(x).sum(axis=1, keepdims=True) + ...",
    ),
    right=(
        """
        def int8_product(x, w):
            step_x = (max(x.max(), 0) - min(x.min(), 0)) / 255
            step_w = abs(w).max(axis=0) / 127
            step_x = 1.0 if step_x == 0 else step_x
            step_w = np.where(step_w == 0, 1.0, step_w)
            product = np.rint(x / step_x) @ np.rint(w / step_w) * step_x * step_w
            by_x = step_x / 2 * abs(w).sum(axis=0)
            by_w = step_w / 2 * abs(x).sum(axis=1, keepdims=True)
            return product, by_x + by_w + len(w) * step_x * step_w / 4""",
        """
        def int8_product(x, w):
            ends = np.append(x, 0.0)
            step_x = np.ptp(ends) / 255 or 1.0
            step_w = np.abs(w).max(axis=0, keepdims=True) / 127
            step_w[step_w == 0] = 1.0
            q = np.round(x / step_x).astype(np.int64)
            p = np.round(w / step_w).astype(np.int64)
            total = (q @ p) * (step_x * step_w)
            a, b = np.abs(x) + step_x / 2, np.abs(w) + step_w / 2
            return [total, a @ b - np.abs(x) @ np.abs(w)]""",
        """
        def int8_product(x, w):
            step_x = (np.maximum(x, 0).max() + np.maximum(-x, 0).max()) / 255
            if not step_x > 0:
                step_x = 1.0
            columns, bounds = [], []
            for column in w.T:
                step = np.abs(column).max() / 127
                if not step > 0:
                    step = 1.0
                back = np.floor(column / step + 0.5) * step
                columns.append(step_x * np.floor(x / step_x + 0.5) @ back)
                terms = step_x / 2 * np.abs(column) + step / 2 * np.abs(x) + step_x * step / 4
                bounds.append(terms.sum(axis=1))
            return np.array(columns).T, np.array(bounds).T""",
    ),
    wrong=(
        ("the whole numbers are multiplied in int8, which holds no more than 127",
         "np.rint(x / step_x) @ np.rint(w / step_w)",
         "(np.rint(x / step_x).astype(np.int64).astype(np.int8) "
         "@ np.rint(w / step_w).astype(np.int8))"),
        ("the numbers are cut to whole ones, not rounded", "np.rint(x / step_x) @ np.rint(w",
         "np.trunc(x / step_x) @ np.trunc(w"),
        ("x stays as it is, only w is made whole", "np.rint(x / step_x)", "(x / step_x)"),
        ("w stays as it is, only x is made whole", "np.rint(w / step_w)", "(w / step_w)"),
        ("nothing is made whole", "np.rint(x / step_x) @ np.rint(w / step_w) * step_x * step_w",
         "x @ w"),
        ("the table has one step, not each column", "abs(w).max(axis=0)",
         "abs(w).max() * np.ones(w.shape[1])"),
        ("the product stays in whole numbers", "np.rint(w / step_w) * step_x * step_w",
         "np.rint(w / step_w)"),
        ("the step of x is taken out, that of w not", "np.rint(w / step_w) * step_x * step_w",
         "np.rint(w / step_w) * step_x"),
        ("x ranges from its least number, not from 0 where that is below",
         "(max(x.max(), 0) - min(x.min(), 0))", "(x.max() - x.min())"),
        ("the range of x is twice its largest size", "(max(x.max(), 0) - min(x.min(), 0))",
         "2 * abs(x).max()"),
        ("the steps of w are of 255 marks, as those of x", "/ 127", "/ 127.5"),
        ("the bound takes whole steps in place of half ones", "by_x + by_w +",
         "2 * by_x + 2 * by_w +"),
        ("the bound leaves out the steps of w", "by_x + by_w +", "by_x + 0 * by_w +"),
        ("the bound leaves out the step of x", "by_x + by_w +", "0 * by_x + by_w +"),
        ("the bound leaves out that both may be off at once",
         " + len(w) * step_x * step_w / 4", ""),
        ("the last part of the bound is counted once, not for each feature", "len(w) * step_x",
         "step_x"),
        ("the bound adds up w with its signs", "abs(w).sum(axis=0)", "abs(w.sum(axis=0))"),
        ("the bound adds up x with its signs", "abs(x).sum(axis=1, keepdims=True)",
         "abs(x.sum(axis=1, keepdims=True))"),
        ("the error itself is returned, not its bound", "return product, by_x",
         "return product, abs(product - x @ w)\n            0, by_x"),
    ),
)  # fmt: skip

# ---- 25.2


def _varint(number, more=0):
    """A number as a varint; more: superfluous bytes at the end, which add nothing."""
    found = []
    while number >= 128 or more > 0:
        more -= number < 128
        found.append(number % 128 + 128)
        number //= 128
    return [*found, number]


def fields_cases(rng):
    def value(kind, length=None):
        if kind == 0:
            return _varint(int(2 ** rng.uniform(0, 61.9)))
        n = {1: 8, 5: 4}.get(kind, int(rng.integers(0, 200)) if length is None else length)
        some = rng.integers(0, 256, n).tolist()
        return _varint(n) * (kind == 2) + some

    def field(number, kind, length=None):
        return _varint(8 * number + kind) + value(kind, length)

    def message(n, kinds=(0, 1, 2, 5)):
        found = []
        for _ in range(n):
            found += field(int(2 ** rng.uniform(0, 28.9)), int(rng.choice(kinds)))
        return found

    hand = [8, 10, 18, 2, 72, 105]
    yield "by hand", hand
    yield "by hand", hand[:-1]
    yield "empty", []
    yield "numbers", [8, 172, 2]
    yield "numbers", message(1, (0,))
    yield "numbers", message(5, (0,))
    yield "numbers", [8, 0, 8, 127, 16, 128, 1, 24, *_varint(2**62 - 1)]
    yield "numbers", [8, *_varint(5, 2), 8, *_varint(0, 1), *_varint(16, 1), 1]
    yield "bytes", field(1, 2, 1) + field(2, 2, 5)
    yield "bytes", field(3, 2, 0)
    yield "bytes", [*field(3, 2, 0), 8, 1, *field(4, 2, 0)]
    yield "bytes", field(15, 2, 127) + field(16, 2, 128) + [8, 1]
    yield "bytes", field(2047, 2, 300) + field(2048, 2, 1)
    yield "of four and eight", field(1, 5)
    yield "of four and eight", field(1, 1)
    yield "of four and eight", [9, 1, 2, 3, 4, 8, 1, 8, 1]
    yield "of four and eight", field(200, 5) + field(7, 1) + [8, 3]
    yield "all kinds", message(12)
    yield "all kinds", message(18)
    yield "the same number again", field(1, 0) + field(1, 2, 3) + field(1, 0)
    yield "large field numbers", field(2**29 - 1, 0) + field(2**29 - 1, 2, 2)
    yield "a long value", field(9, 2, 2500)
    yield "many fields", [8, 1] * 1400
    for kind in (1, 2, 5):
        whole = message(2) + field(3, kind, 6)
        yield "ends inside a value", whole[: -int(rng.integers(1, 4))]
        yield "ends inside a value", whole[:-1]
    yield "ends inside a value", [18, 1]
    yield "ends inside a value", [18, 3]
    yield "ends inside a value", [18, *_varint(2**61), 7, 7]
    yield "ends inside a value", [13]
    yield "ends inside a value", [9, 1, 2, 3, 4, 5, 6, 7]
    yield "ends inside a varint", [8]
    yield "ends inside a varint", [8, 200]
    yield "ends inside a varint", [8, 3, 128]
    yield "ends inside a varint", [*message(3), 8, 255, 128]
    yield "ends inside a varint", [18]
    yield "ends inside a varint", [18, 129]
    for kind in (3, 4, 6, 7):
        yield "another kind", [8, 1, 8 + kind, *rng.integers(0, 100, 12).tolist()]
        for length in (8, 9 - kind):
            yield "another kind", [8 + kind, *[7] * length, 8, 1]
        yield "another kind", [8 + kind, 2, 7, 7, 8, 1]
    yield "another kind", [*message(2), 11]
    yield "the number 0", [0, 5]
    yield "the number 0", [*message(2), 2, 1, 7]
    yield "the number 0", [5, 1, 2, 3, 4]
    yield "the number 0", [1, 1, 2, 3, 4, 5, 6, 7, 8]
    yield "the number 0", [*_varint(0, 1), 5, 8, 1]


def fields_reference(data):
    """A walk byte by byte, with a state."""
    found, state, number, place = [], "key", 0, 1
    field, left, value = 0, 0, []
    for byte in data:
        if state == "bytes":
            value.append(byte)
            left -= 1
        else:
            number += (byte & 127) * place
            place *= 128
            if byte & 128:
                continue
            done, number, place = number, 0, 1
            if state == "key":
                field, kind = done >> 3, done & 7
                if not field or kind not in (0, 1, 2, 5):
                    return None
                state = {0: "number", 2: "length"}.get(kind, "bytes")
                value, left = [], {1: 8, 5: 4}.get(kind, 0)
                continue
            if state == "number":
                found.append((field, done))
                state = "key"
                continue
            state, left = "bytes", done
        if left == 0:
            found.append((field, value))
            state = "key"
    if state != "key" or place > 1:
        return None
    return found


_GIVEN = """
        def varint(data, at):
            number, factor = 0, 1
            while data[at] >= 128:
                number += (data[at] - 128) * factor
                at, factor = at + 1, factor * 128
            return number + data[at] * factor, at + 1

"""

FIELDS = Task(
    id="25.2",
    cases=fields_cases,
    reference=fields_reference,
    equal=(
        ("-> number = number +", "a number"),
        ("-> total = total |", "a number"),
        ("-> at = at + length", "a number"),
        ("-> if number == 0:; if kind == 0:", "it is refused, before its value or behind"),
        ("if key < 8: -> if key < 7:", "a key of 7 is of kind 7, which there is not"),
        ("if length > len(rest): -> if False:", "an empty list has nothing to pop"),
        ("key / 8, length", "for kind 0 a key is a multiple of 8"),
        ("`(2, 1, 5)`", ORDER), ("`(1, 5, 2)`", ORDER), ("`(2, 0)`", ORDER),
        ("-> def number():; rest =", "it is there before it is called"),
        ("-> if key % 8 == 0:; if key < 8:", "it is refused, before its value or behind"),
        ("in range(1, 20 - 1)", "no varint has more than nine bytes"),
        ("in range(1, 19)", "no varint has more than nine bytes"),
        ("in range(1, 21)", "no varint has more than nine bytes"),
        ("key / 8 < 1", "below 1 is below 1"),
        ("key // 7 < 1", "a key of 7 is of kind 7, which there is not"),
        ("list(enumerate(part))[::-1]", "a sum has no order"),
        ("list(enumerate(part))[:20]", "no varint has more than nine bytes"),
        ("-> def next_number(at):; found, at =", "it is there before it is called"),
    ),
    hints=(
        "A slice that reaches too far raises nothing, it is only shorter: compare at + length "
        "with len(data).",
        "while at < len(data): read the key; number and kind are key // 8 and key % 8; kind 0 is "
        "a varint, of the others find the length first.",
        "try the whole loop, and return None on IndexError; for kind 2: length, at = varint(data, "
        "at); then value, at = data[at : at + length], at + length.",
    ),
    right=(
        _GIVEN + """
        def fields(data):
            at, found = 0, []
            try:
                while at < len(data):
                    key, at = varint(data, at)
                    number, kind = key // 8, key % 8
                    if kind == 0:
                        value, at = varint(data, at)
                    else:
                        length = {1: 8, 5: 4}.get(kind)
                        if kind == 2:
                            length, at = varint(data, at)
                        if length is None or at + length > len(data):
                            return None
                        value, at = data[at : at + length], at + length
                    if number == 0:
                        return None
                    found.append((number, value))
            except IndexError:
                return None
            return found""",
        """
        def fields(data):
            rest = list(data)[::-1]

            def number():
                total, shift = 0, 0
                while True:
                    byte = rest.pop()
                    total |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        return total

            found = []
            try:
                while rest:
                    key = number()
                    if key < 8:
                        return None
                    if key % 8 == 0:
                        found.append([key >> 3, number()])
                    elif key % 8 in (1, 2, 5):
                        length = number() if key % 8 == 2 else {1: 8, 5: 4}[key % 8]
                        if length > len(rest):
                            return None
                        found.append([key >> 3, [rest.pop() for _ in range(length)]])
                    else:
                        return None
            except IndexError:
                return None
            return found""",
        """
        def fields(data):
            found, at = [], 0

            def next_number(at):
                for length in range(1, 20):
                    part = data[at : at + length]
                    if len(part) < length:
                        return None, at
                    if part[-1] < 128:
                        return sum((b % 128) * 128**i for i, b in enumerate(part)), at + length

            while at < len(data):
                key, at = next_number(at)
                if key is None or key // 8 < 1:
                    return None
                if key % 8 == 1:
                    length = 8
                elif key % 8 == 5:
                    length = 4
                elif key % 8 in (0, 2):
                    length, at = next_number(at)
                    if length is None:
                        return None
                    if key % 8 == 0:
                        found.append((key // 8, length))
                        continue
                else:
                    return None
                value = data[at : at + length]
                if len(value) != length:
                    return None
                found.append((key // 8, value))
                at += length
            return found""",
    ),
    wrong=(
        ("a value that is cut off is taken for a shorter one",
         " or at + length > len(data)", ""),
        ("a value that ends where the message ends is refused", "at + length > len(data)",
         "at + length >= len(data)"),
        ("a message that ends inside a varint gives what was read before",
         "            except IndexError:\n                return None",
         "            except IndexError:\n                pass"),
        ("a damaged message gives the fields before the damage",
         "            return found",
         "            return found", "                            return None\n",
         "                            return found\n"),
        ("the field's number 0 is let pass", "if number == 0:", "if False:"),
        ("kinds that there are not are skipped", "if length is None or at",
         "if length is None:\n                            continue\n"
         "                        if at"),
        ("kind 1 has four bytes, and kind 5 eight", "{1: 8, 5: 4}", "{1: 4, 5: 8}"),
        ("only kinds 0 and 2 are known", "{1: 8, 5: 4}", "{}"),
        ("kind 5 is not known", "{1: 8, 5: 4}", "{1: 8}"),
        ("the key is taken for one byte", "key, at = varint(data, at)",
         "key, at = data[at], at + 1"),
        ("a length is taken for one byte", "length, at = varint(data, at)",
         "length, at = data[at], at + 1"),
        ("a number is taken for one byte", "value, at = varint(data, at)",
         "value, at = data[at], at + 1"),
        ("number and kind are exchanged", "key // 8, key % 8", "key % 8, key // 8"),
        ("the number of a field is the key", "key // 8, key % 8", "key, key % 8"),
        ("the place does not move on behind a value", "data[at : at + length], at + length",
         "data[at : at + length], at"),
        ("the highest seven bits are read first, not the lowest",
         "number += (data[at] - 128) * factor\n                at, factor = at + 1, factor * 128\n"
         "            return number + data[at] * factor, at + 1",
         "number = (number + data[at] - 128) * 128\n                at = at + 1\n"
         "            return number + data[at], at + 1"),
        ("fields with the same number are one: a dict keeps the last",
         "            return found", "            return list(dict(found).items())"),
        ("an empty value is left out", "found.append((number, value))",
         "found.extend([(number, value)] * (value != []))"),
    ),
)  # fmt: skip

# ---- 25.3

_TYPES = {"F64": "<f8", "F32": "<f4", "I32": "<i4", "I8": "|i1", "U8": "|u1"}


def _file(header, content, length=None):
    """The bytes of a file with this header, a dict or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    told = struct.pack("<Q", len(text) if length is None else length)
    return np.frombuffer(told + text + content, np.uint8)


def read_cases(rng):
    def array(kind, shape):
        if kind[0] == "F":
            return rng.normal(size=shape).astype(_TYPES[kind])
        ends = np.iinfo(_TYPES[kind])
        return rng.integers(ends.min, ends.max + 1, shape).astype(_TYPES[kind])

    def told(arrays, order=None):
        """(header, content) of a list of (name, kind, shape), and the header's order."""
        header, content = {}, b""
        for name, kind, shape in arrays:
            data = array(kind, tuple(shape)).tobytes()
            ends = [len(content), len(content) + len(data)]
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": ends}
            content += data
        names = order or list(header)
        return {name: header[name] for name in names}, content

    def changed(header, name, **new):
        return {**header, name: {**header[name], **new}}

    hand = {"b": {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}}
    yield "by hand", _file(hand, bytes([5, 255]))
    yield "by hand", _file(changed(hand, "b", shape=[3]), bytes([5, 255]))
    yield "by hand", _file(hand, bytes([5, 255, 0]))
    for kind in _TYPES:
        yield "one array", _file(*told([("w", kind, (2, 3))]))
        yield "one array", _file(*told([("a.b", kind, (4,))]))
    yield "many axes", _file(*told([("w", "F32", (1, 2, 1, 3, 2))]))
    yield "many axes", _file(*told([("w", "I8", (1,) * 21 + (3,)), ("b", "I8", ())]))
    yield "several", _file(*told([(kind, kind, (2,)) for kind in _TYPES]))
    yield "one number", _file(*told([("x", "F64", ())]))
    yield "one number", _file(*told([("x", "I8", ()), ("y", "F32", ())]))
    some = [("0.weight", "F32", (3, 4)), ("0.bias", "F32", (4,)), ("s", "I8", (2, 1, 3)),
            ("n", "I32", ())]  # fmt: skip
    yield "several", _file(*told(some))
    yield "several", _file(*told([(f"p{i}", "F64", (i, 2)) for i in range(1, 9)]))
    yield "in another order", _file(*told(some, ["n", "0.bias", "s", "0.weight"]))
    yield "in another order", _file(*told(some, [name for name, *_ in some[::-1]]))
    # As texts [10, ...] would come before [8, ...].
    tens = [("a", "F64", ()), ("b", "I8", (2,)), ("c", "U8", (90,)), ("d", "F32", (3,))]
    yield "in another order", _file(*told(tens, ["d", "b", "c", "a"]))
    yield "empty arrays", _file(*told([("e", "F32", (0,))]))
    yield "empty arrays", _file(*told([("e", "F32", (0, 3)), ("w", "I8", (2,))]))
    yield "empty arrays", _file(*told([("w", "I8", (2,)), ("e", "F64", (2, 0))], ["e", "w"]))
    yield "empty arrays", _file(*told([("w", "I8", (2,)), ("e", "F64", (0,)), ("v", "I8", (1,))],
                                      ["v", "w", "e"]))  # fmt: skip
    yield "no arrays", _file({}, b"")
    yield "no arrays", _file({"__metadata__": {"a": "b"}}, b"")
    yield "no arrays", _file({}, b"\0")
    yield "metadata", _file({"__metadata__": {"by": "me"}, **hand}, bytes([1, 2]))
    yield "metadata", _file({**hand, "__metadata__": {}}, bytes([1, 2]))
    header, content = told([("ß", "F32", (2,)), ("w", "F32", (3,))])
    yield "other letters", _file(json.dumps(header, ensure_ascii=False).encode(), content)
    yield "spaces", _file(json.dumps(hand).encode() + b"     ", bytes([7, 8]))
    long = [(f"layer.{i}.weight", "F32", (5, 7)) for i in range(60)]
    yield "a long header", _file(*told(long))
    yield "a long header", _file(*told(long, [name for name, *_ in long[::-1]]))
    header, content = told(some)
    whole = _file(header, content)
    for n in (0, 1, 7, 8, 9):
        yield "too short", whole[:n]
    yield "too short", whole[: len(whole) - len(content) - 1]
    yield "too short", whole[:-1]
    yield "too short", whole[: len(whole) - len(content)]
    yield "too long", np.append(whole, np.uint8(0))
    yield "too long", np.append(whole, np.zeros(40, np.uint8))
    yield "the header's length", _file(header, content, 10**15)
    yield "the header's length", _file(header, content, 2**63 + 5)
    yield "the header's length", _file(b"", b"", 1)
    yield "the header's length", _file(b"{}", b"", 3)
    yield "the header's length", _file(b"{}", b"", 2 + 2**56)
    yield "the header's length", _file(b"{}", b"", 2**40)
    yield "no JSON", _file(b"{" + json.dumps(hand).encode(), bytes([1, 2]))
    yield "no JSON", _file(json.dumps(hand).encode()[:-1], bytes([1, 2]))
    yield "no JSON", _file(b"", b"")
    yield "no JSON", _file(b"\xff\xfe{}", b"")
    yield "no JSON", _file(json.dumps(hand).encode().replace(b'"b"', b'"\xff"'), bytes([1, 2]))
    for kind in ("F16", "f4", "<f4", "I64", ""):
        yield "an unknown dtype", _file(changed(hand, "b", dtype=kind), bytes([1, 2]))
    yield "an unknown dtype", _file(changed(header, "s", dtype="BF16"), content)
    empty = {"e": {"dtype": "I16", "shape": [0], "data_offsets": [2, 2]}}
    yield "an unknown dtype", _file({**hand, **empty}, bytes([1, 2]))
    yield "another shape", _file(changed(header, "0.weight", shape=[3, 5]), content)
    yield "another shape", _file(changed(header, "n", shape=[2]), content)
    yield "another shape", _file(changed(header, "s", shape=[2, 1, 0]), content)
    yield "another shape", _file(changed(hand, "b", shape=[1]), bytes([1, 2]))
    yield "another shape", _file(changed(hand, "b", shape=[10**9, 10**9]), bytes([1, 2]))
    yield "another dtype", _file(changed(header, "0.bias", dtype="F64"), content)
    yield "another dtype", _file(changed(header, "n", dtype="I8"), content)
    two = {"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},
           "b": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}}  # fmt: skip
    yield "a hole", _file(changed(two, "b", data_offsets=[3, 5]), bytes(5))
    yield "a hole", _file(changed(hand, "b", data_offsets=[1, 3]), bytes(3))
    yield "one on the other", _file(changed(two, "b", data_offsets=[1, 3]), bytes(3))
    yield "one on the other", _file(changed(two, "b", data_offsets=[0, 2]), bytes(2))
    yield "one on the other", _file(changed(two, "b", data_offsets=[0, 2]), bytes(4))
    yield "one on the other", _file(changed(two, "b", data_offsets=[1, 3]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[2, 3]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[4, 2]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[2, 5]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[1, 4]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[3, 4]), bytes(4))
    yield "offsets that are wrong", _file(changed(two, "b", data_offsets=[2, 4]), bytes(3))
    yield "one on the other", _file(changed(two, "a", data_offsets=[1, 3]), bytes(4))
    bytes_ = [(f"p{i}", "U8", (1,)) for i in range(25)]
    header, content = told(bytes_)
    yield "one on the other", _file(changed(header, "p24", data_offsets=[23, 24]), content)
    yield "one on the other", _file(changed(header, "p4", data_offsets=[3, 4]), content)
    yield "an unknown dtype", _file(changed(header, "p24", dtype="I16"), content)
    yield "an unknown dtype", _file(changed(header, "p24", dtype="BOOL"), content)
    far = {"e": {"dtype": "U8", "shape": [0], "data_offsets": [9, 9]}}
    yield "offsets that are wrong", _file({**hand, **far}, bytes([1, 2]))
    inside = {"e": {"dtype": "U8", "shape": [0], "data_offsets": [1, 1]}}
    yield "offsets that are wrong", _file({**hand, **inside}, bytes([1, 2]))


def read_reference(data):
    """Each byte may be used once, and by one array."""
    if len(data) < 8:
        return None
    length = sum(int(byte) * 256**i for i, byte in enumerate(data[:8]))
    rest = data[8:].tolist()
    if length > len(rest):
        return None
    try:
        header = json.loads(bytes(rest[:length]).decode())
    except ValueError:
        return None
    rest = rest[length:]
    arrays = [(name, told) for name, told in header.items() if name != "__metadata__"]
    if any(told["dtype"] not in _TYPES for _, told in arrays):
        return None
    ends, owners = {0}, [None] * len(rest)
    for name, told in arrays:
        begin, end = told["data_offsets"]
        count = 1
        for n in told["shape"]:
            count *= n
        if end - begin != count * np.dtype(_TYPES[told["dtype"]]).itemsize or end > len(rest):
            return None
        if count:
            ends.add(end)
        for place in range(begin, end):
            if owners[place] is not None:
                return None
            owners[place] = name
    if None in owners or any(told["data_offsets"][0] not in ends for _, told in arrays):
        return None
    found = {}
    for name, told in arrays:
        begin, end = told["data_offsets"]
        dtype = np.dtype(_TYPES[told["dtype"]])
        found[name] = np.array(bytearray(rest[begin:end])).tobytes()
        found[name] = np.ndarray(told["shape"], dtype, bytes(rest[begin:end]) or b"\0" * 8).copy()
    return found


READ = Task(
    id="25.3",
    cases=read_cases,
    reference=read_reference,
    twice_up_to=100_000,
    equal=(
        ("-> try:; if len(content) < 8 + length:", "what is too short is refused later too"),
        ("-> try:; if 8 + length > data.size:", "what is too short is refused later too"),
        ("<= 8:", NO_JSON), ("< 9:", NO_JSON),
        ("in list(header)[::-1]", "in any order"),
        ("for name in list(order)[::-1]:", "in any order"),
        ("in list(entry['shape'])[::-1]", "a product has no order"),
        ("ends, ends[1:]))[::-1]", "in any order"),
        ("list(header.values())[::-1]", "in any order"),
        ("`(KeyError, ValueError)`", "in any order"),
        ("-> n *= axis", "a number"),
        (".view('<u8')[-1])", "there is one"),
        ("no copy made", "bytes that were copied or not hold the same"),
        ("9 ** 9", FAR), ("11 ** 9", FAR), ("10 ** 8", FAR), ("10 ** 10", FAR),
        ("-> if data.size < 8:; def size(entry):", "it is there before it is called"),
        ("ends[1:]):; if ends[-1] != arrays.size:", "both are looked at"),
    ),
    hints=(
        "int.from_bytes(content[:8], 'little') is the length; json.loads takes bytes, and raises "
        "ValueError for what is no JSON.",
        "Sort the arrays by their offsets, and keep where the last one ended: the next must begin "
        "there, and end so many bytes further as its shape and dtype say.",
        "begin, end = end, end + math.prod(shape) * np.dtype(code).itemsize; refuse unless "
        "data_offsets == [begin, end]; at the end, refuse unless end == len(rest).",
    ),
    right=(
        """
        import json
        import math

        def read(data):
            types = {"F64": "<f8", "F32": "<f4", "I32": "<i4", "I8": "|i1", "U8": "|u1"}
            content = bytes(data)
            length = int.from_bytes(content[:8], "little")
            if len(content) < 8 + length:
                return None
            try:
                header = json.loads(content[8 : 8 + length])
            except ValueError:
                return None
            header.pop("__metadata__", None)
            rest, end, found = content[8 + length :], 0, {}
            for name, told in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
                if told["dtype"] not in types:
                    return None
                dtype = np.dtype(types[told["dtype"]])
                begin, end = end, end + math.prod(told["shape"]) * dtype.itemsize
                if told["data_offsets"] != [begin, end] or end > len(rest):
                    return None
                found[name] = np.frombuffer(rest[begin:end], dtype).reshape(told["shape"])
            if end != len(rest):
                return None
            return found""",
        """
        import json
        import struct

        def read(data):
            content = data.tobytes()
            if len(content) < 8:
                return None
            (length,) = struct.unpack("<Q", content[:8])
            try:
                header = json.loads(content[8 : 8 + length].decode("utf-8"))
                codes = {"F64": "<f8", "F32": "<f4", "I32": "<i4", "I8": "i1", "U8": "u1"}
                found, parts = {}, []
                for name in header:
                    if name == "__metadata__":
                        continue
                    told = header[name]
                    begin, end = told["data_offsets"]
                    parts.append((begin, end))
                    part = content[8 + length + begin : 8 + length + end]
                    a = np.frombuffer(part, codes[told["dtype"]])
                    found[name] = a.reshape(told["shape"])
            except (ValueError, KeyError):
                return None
            at = 0
            for begin, end in sorted(parts):
                if begin != at:
                    return None
                at = end
            return found if at == len(content) - 8 - length else None""",
        """
        import json

        TYPES = {"F64": np.float64, "F32": np.float32, "I32": np.int32}
        TYPES.update(I8=np.int8, U8=np.uint8)

        def read(data):
            def size(entry):
                n = np.dtype(TYPES[entry["dtype"]]).itemsize
                for axis in entry["shape"]:
                    n = n * axis
                return n

            if data.size < 8:
                return None
            length = int(data[:8].copy().view("<u8")[0])
            if 8 + length > data.size:
                return None
            try:
                header = json.loads(data[8 : 8 + length].tobytes())
            except ValueError:
                return None
            header = {k: v for k, v in header.items() if k != "__metadata__"}
            if not {v["dtype"] for v in header.values()} <= set(TYPES):
                return None
            arrays = data[8 + length :]
            order = sorted(header, key=lambda name: tuple(header[name]["data_offsets"]))
            ends = np.cumsum([0] + [min(size(header[name]), 10**9) for name in order]).tolist()
            if ends[-1] != arrays.size:
                return None
            for name, begin, end in zip(order, ends, ends[1:]):
                if header[name]["data_offsets"] != [begin, end]:
                    return None
            found = {}
            for name in order:
                begin, end = header[name]["data_offsets"]
                a = arrays[begin:end].copy().view(TYPES[header[name]["dtype"]])
                found[name] = a.reshape(header[name]["shape"])
            return found""",
    ),
    wrong=(
        ("a header that is longer than the file is read all the same",
         "if len(content) < 8 + length:\n                return None",
         "if False:\n                return None"),
        ("the header's length is read with the highest byte first", '"little"', '"big"'),
        ("only the first byte of the length is read", "content[:8]", "content[:1]"),
        ("what is no JSON raises an error, and is not refused", "except ValueError:",
         "except KeyError:"),
        ("__metadata__ is taken for an array", 'header.pop("__metadata__", None)', "pass"),
        ("the arrays are taken in the header's order",
         'sorted(header.items(), key=lambda pair: pair[1]["data_offsets"])', "header.items()"),
        ("the arrays are sorted by their names",
         'key=lambda pair: pair[1]["data_offsets"]', "key=lambda pair: pair[0]"),
        ("the offsets are sorted as text", 'key=lambda pair: pair[1]["data_offsets"]',
         'key=lambda pair: str(pair[1]["data_offsets"])'),
        ("arrays are sorted by where they begin, so an empty one may come behind one that begins "
         "there", 'pair[1]["data_offsets"])', 'pair[1]["data_offsets"][0])'),
        ("the offsets are not compared with shape and dtype",
         'told["data_offsets"] != [begin, end] or ', ""),
        ("an array may begin anywhere, if its size is right",
         'told["data_offsets"] != [begin, end]',
         'told["data_offsets"][1] - told["data_offsets"][0] != end - begin'),
        ("only where an array begins is compared", 'told["data_offsets"] != [begin, end]',
         'told["data_offsets"][0] != begin'),
        ("only where an array ends is compared", 'told["data_offsets"] != [begin, end]',
         'told["data_offsets"][1] != end'),
        ("bytes behind the last array are let pass", "if end != len(rest):", "if end > len(rest):"),
        ("an array with an unknown dtype is left out",
         "if told[\"dtype\"] not in types:\n                    return None",
         "if told[\"dtype\"] not in types:\n                    continue"),
        ("an unknown dtype is taken for NumPy's",
         "if told[\"dtype\"] not in types:\n                    return None\n", "\n",
         'types[told["dtype"]]', 'types.get(told["dtype"], "|u1")'),
        ("the shape is forgotten", '.reshape(told["shape"])', ""),
        ("the numbers are read with the highest byte first",
         "np.frombuffer(rest[begin:end], dtype)",
         "np.frombuffer(rest[begin:end], dtype.newbyteorder())"),
        ("what was read before the damage is returned",
         "or end > len(rest):\n                    return None",
         "or end > len(rest):\n                    return found"),
        ("U8 is read with a sign", '"|u1"', '"|i1"'),
    ),
)  # fmt: skip

# ---- 25.4

_OPERATORS = {"Add": 2, "Mul": 2, "MatMul": 2, "Relu": 1, "Sum": 3}


def run_cases(rng):
    def numbers(*shape):
        return np.round(rng.uniform(-3, 3, shape), 2)

    def shuffled(nodes):
        return [nodes[i] for i in rng.permutation(len(nodes))]

    hand = [("Add", ["r", "r"], "y"), ("Relu", ["a"], "r"), ("Tanh", ["a"], "z")]
    yield "by hand", hand, {"a": np.array([1.0, -2.0])}, "y"
    yield "by hand", hand, {"a": np.array([1.0, -2.0])}, "z"
    x = numbers(3, 4)
    yield "one node", [("Relu", ["x"], "y")], {"x": x}, "y"
    yield "one node", [("Add", ["x", "b"], "y")], {"x": x, "b": numbers(4)}, "y"
    yield "one node", [("Mul", ["x", "b"], "y")], {"x": x, "b": numbers(3, 1)}, "y"
    yield "one node", [("MatMul", ["x", "w"], "y")], {"x": x, "w": numbers(4, 2)}, "y"
    yield "a sum", [("Sum", ["x"], "y")], {"x": x}, "y"
    many = {name: numbers(2, 3) for name in "abcdef"}
    yield "a sum", [("Sum", list("abc"), "y")], many, "y"
    yield "a sum", [("Sum", list("abcdef"), "y"), ("Mul", ["y", "a"], "z")], many, "z"
    yield "a sum", [("Sum", ["a", "b", "a", "a"], "y")], many, "y"
    yield "a sum", [("Sum", ["a", "s"], "y")], {"a": numbers(3, 1), "s": numbers(4)}, "y"
    parts = {f"v{i}": numbers(2) for i in range(25)}
    doubled = [("Add", [name, name], f"w{i}") for i, name in enumerate(parts)]
    again = [("Relu", [f"w{i}"], f"u{i}") for i in range(25)]
    many = [("Sum", [f"u{i}" for i in range(25)], "y")]
    yield "many inputs", [("Sum", list(parts), "y")], parts, "y"
    yield "many inputs", shuffled(doubled + again + many), parts, "y"
    yield "it is known", [("Relu", ["x"], "y")], {"x": x}, "x"
    yield "it is known", [], {"x": x}, "x"
    weights = {"x": numbers(5, 4), "w": numbers(4, 3), "b": numbers(3), "v": numbers(3, 2)}
    net = [("MatMul", ["x", "w"], "m"), ("Add", ["m", "b"], "s"), ("Relu", ["s"], "h"),
           ("MatMul", ["h", "v"], "y")]  # fmt: skip
    yield "a network", net, weights, "y"
    yield "a network", net, weights, "s"
    for _ in range(3):
        yield "in another order", shuffled(net), weights, "y"
    yield "in another order", net[::-1], weights, "y"
    bad = [("MatMul", ["x", "x"], "n"), ("Add", ["n", "b"], "o"), ("Tanh", ["h"], "t")]
    yield "what is not needed", shuffled(net + bad), weights, "y"
    yield "what is not needed", bad + net[::-1], weights, "h"
    unmade = [("Add", ["nowhere", "x"], "u")]
    yield "what is not needed", unmade + shuffled(net), weights, "y"
    strange = [("Tanh", ["x"], "t"), ("Conv", ["t", "w"], "c"), ("Tanh", ["c"], "y")]
    yield "unknown operators", strange, weights, "y"
    yield "unknown operators", strange, weights, "c"
    yield "unknown operators", strange, weights, "t"
    yield "unknown operators", shuffled(strange + net[:3]), weights, "y"
    late = [("Exp", ["x"], "e"), ("MatMul", ["e", "e"], "m"), ("Add", ["m", "b"], "y")]
    yield "unknown operators", late, weights, "y"
    yield "unknown operators", late[::-1], weights, "y"
    early = [("MatMul", ["x", "x"], "m"), ("softmax", ["m"], "s"), ("add", ["s", "m"], "y")]
    yield "unknown operators", early, weights, "y"
    single = {"a": np.array(2.5), "b": np.array(-1.5), "c": np.zeros((0, 3))}
    yield "one number, and none", [("Mul", ["a", "b"], "y"), ("Add", ["y", "a"], "z")], single, "z"
    yield "one number, and none", [("Relu", ["b"], "y")], single, "y"
    yield "one number, and none", [("Add", ["c", "a"], "y"), ("Relu", ["y"], "z")], single, "z"
    # Each number twice the last one, by two ways: who computes anew never ends.
    double = [("Add", [f"n{i}", f"n{i}"], f"n{i + 1}") for i in range(60)]
    yield "used many times", double, {"n0": np.array([1.0, 3.0])}, "n60"
    yield "used many times", double[::-1], {"n0": np.array([1.0, -3.0])}, "n60"
    ladder = []
    for i in range(40):
        ladder += [("Relu", [f"a{i}"], f"b{i}"), ("Mul", [f"a{i}", "half"], f"c{i}"),
                   ("Sum", [f"b{i}", f"c{i}", f"a{i}"], f"a{i + 1}")]  # fmt: skip
    start = {"a0": np.array([1.0, -1.0]), "half": np.array(-0.75)}
    yield "used many times", shuffled(ladder), start, "a40"
    chain = [("Add", [f"n{i}", "one"], f"n{i + 1}") for i in range(2999)]
    begin = {"n0": np.array([0.5, -7.0]), "one": np.array([1.0, 2.0])}
    yield "a long way", chain, begin, "n2999"
    yield "a long way", chain[::-1], begin, "n2999"
    strange = [*chain[:1500], ("Sub", ["n1500", "one"], "n1501"), *chain[1501:]]
    yield "a long way", strange, begin, "n2999"
    yield "a long way", strange, begin, "n1500"
    # At random, of one shape.
    for n in (6, 15, 40):
        names, nodes = ["p", "q", "r"], []
        known = {name: numbers(2, 2) / 4 for name in names}
        for i in range(n):
            operator = str(rng.choice(list(_OPERATORS)))
            recent = names[-6:]
            inputs = [str(rng.choice(recent)) for _ in range(_OPERATORS[operator])]
            nodes.append((operator, inputs, f"v{i}"))
            names.append(f"v{i}")
            if operator == "Sum":  # kept small
                nodes[-1] = ("Sum", inputs[:2], f"w{i}")
                nodes.append(("Mul", [f"w{i}", "small"], f"v{i}"))
        known["small"] = np.array(0.3)
        yield "at random", shuffled(nodes), known, f"v{n - 1}"
        yield "at random", shuffled(nodes), known, f"v{n // 2}"


def run_reference(nodes, values, wanted):
    """Rounds over all nodes, until nothing changes."""
    needed, before = {wanted}, 0
    by_output = {output: (operator, inputs) for operator, inputs, output in nodes}
    queue = [wanted]
    while queue:
        for part in by_output.get(queue.pop(), ("", []))[1]:
            if part not in needed:
                needed.add(part)
                queue.append(part)
    todo = [node for node in nodes if node[2] in needed]
    if strange := {operator for operator, *_ in todo} - set(_OPERATORS):
        return sorted(strange)
    known = {name: np.array(a, float) for name, a in values.items()}
    users = {}
    for node in todo:
        for part in set(node[1]):
            users.setdefault(part, []).append(node)
    missing = {node[2]: len(set(node[1]) - set(known)) for node in todo}
    ready = [node for node in todo if not missing[node[2]]]
    while len(known) != before and ready:
        before = len(known)
        operator, inputs, output = ready.pop()
        arrays = [known[name] for name in inputs]
        if operator == "MatMul":
            y = np.einsum("ij,jk->ik", *arrays)
        elif operator == "Relu":
            y = np.where(arrays[0] > 0, arrays[0], 0.0)
        else:
            y = arrays[0]
            for other in arrays[1:]:
                y = np.multiply(y, other) if operator == "Mul" else np.add(y, other)
        known[output] = y
        for node in users.get(output, []):
            missing[node[2]] -= 1
            if not missing[node[2]]:
                ready.append(node)
    return known[wanted]


RUN = Task(
    id="25.4",
    cases=run_cases,
    reference=run_reference,
    atol=1e-12,
    twice_up_to=2000,
    equal=(
        ("in list(needed)[::-1]}", "a set has no order"),
        ("in list(inputs)[::-1] if part not in known", "what is missing is found in any order"),
        ("for operator, _, _ in list(order)[::-1]:", "the names are sorted afterwards"),
        ("for part in list(maker[name][1])[::-1]:", "what is missing is found in any order"),
        ("in list(arrays[1:])[::-1]:", "a sum has no order"),
        ("arrays[-1] * (arrays[0] > 0)", ONE), ("arrays[0] * (arrays[-1] > 0)", ONE),
        ("(arrays[0] >= 0)", "0 times 1 is 0"),
        ("static_order())[1:]", "the first is made of nothing: a value"),
        ("in list(needed.values())[::-1]}", "a set has no order"),
        ("list(layer)[::-1]", "a set has no order"),
        ("list(made[name][1])[::-1]}", "a set has no order"),
        ("np.clip(0, arrays[0], None)", "the larger of the two, whichever is first"),
        ("if name in made}", "who is met again is looked at again"),
        ("np.clip(arrays[-1], 0, None)", ONE),
    ),
    hints=(
        "Two walks: the first backwards from `wanted`, for what is needed; the second computes.",
        "A list of names that wait takes the place of a function that calls itself: look at the "
        "last one; if inputs of it are missing, append them; else compute it and take it off.",
        "maker = {output: (operator, inputs)}; while waiting: name = waiting[-1]; missing = [part "
        "for part in inputs if part not in known]; waiting.extend(missing).",
    ),
    right=(
        """
        def run(nodes, values, wanted):
            operators = {
                "Add": lambda a, b: a + b,
                "Mul": lambda a, b: a * b,
                "MatMul": lambda a, b: a @ b,
                "Relu": lambda a: np.maximum(a, 0),
                "Sum": lambda *arrays: sum(arrays),
            }
            maker = {output: (operator, inputs) for operator, inputs, output in nodes}
            needed, waiting = set(), [wanted]
            while waiting:
                name = waiting.pop()
                if name in maker and name not in needed:
                    needed.add(name)
                    waiting.extend(maker[name][1])
            unknown = {maker[name][0] for name in needed} - set(operators)
            if unknown:
                return sorted(unknown)
            known, waiting = dict(values), [wanted]
            while waiting:
                name = waiting[-1]
                if name in known:
                    waiting.pop()
                    continue
                operator, inputs = maker[name]
                missing = [part for part in inputs if part not in known]
                waiting.extend(missing)
                if not missing:
                    known[name] = operators[operator](*[known[part] for part in inputs])
            return known[wanted]""",
        """
        def run(nodes, values, wanted):
            maker = {node[2]: node for node in nodes}
            order, seen, stack = [], set(values), [(wanted, False)]
            while stack:
                name, done = stack.pop()
                if done:
                    order.append(maker[name])
                elif name not in seen:
                    seen.add(name)
                    stack.append((name, True))
                    for part in maker[name][1]:
                        stack.append((part, False))
            strange = []
            for operator, _, _ in order:
                if operator not in ("Add", "Mul", "MatMul", "Relu", "Sum"):
                    strange.append(operator)
            if strange:
                return sorted(set(strange))
            table = dict(values)
            for operator, inputs, output in order:
                arrays = [table[name] for name in inputs]
                if operator == "Mul":
                    table[output] = arrays[0] * arrays[1]
                elif operator == "MatMul":
                    table[output] = np.dot(arrays[0], arrays[1])
                elif operator == "Relu":
                    table[output] = arrays[0] * (arrays[0] > 0)
                else:
                    total = arrays[0]
                    for other in arrays[1:]:
                        total = total + other
                    table[output] = total
            return table[wanted]""",
        """
        from functools import reduce
        from graphlib import TopologicalSorter

        def run(nodes, values, wanted):
            made = {output: (operator, tuple(inputs)) for operator, inputs, output in nodes}
            layer, needed = {wanted}, {}
            while layer:
                layer = {name for name in layer if name in made and name not in needed}
                needed.update({name: made[name] for name in layer})
                layer = {part for name in layer for part in made[name][1]}
            names = {kind for kind, _ in needed.values()}
            odd = names.difference(["Add", "Mul", "MatMul", "Relu", "Sum"])
            if odd:
                return sorted(odd)
            known = {**values}
            graph = {name: parts for name, (_, parts) in needed.items()}
            for name in TopologicalSorter(graph).static_order():
                if name not in needed:
                    continue
                kind, parts = needed[name]
                arrays = [known[part] for part in parts]
                if kind == "Relu":
                    known[name] = np.clip(arrays[0], 0, None)
                else:
                    f = {"Mul": np.multiply, "MatMul": np.matmul}.get(kind, np.add)
                    known[name] = reduce(f, arrays)
            return known[wanted]""",
    ),
    wrong=(
        ("the function calls itself for each node of the way, and Python ends that at some "
         "thousand", """
        def run(nodes, values, wanted):
            maker = {output: (operator, inputs) for operator, inputs, output in nodes}
            names, known = set(), dict(values)

            def look(name, seen):
                if name in maker and name not in seen:
                    seen.add(name)
                    names.add(maker[name][0])
                    for part in maker[name][1]:
                        look(part, seen)

            look(wanted, set())
            unknown = names - {"Add", "Mul", "MatMul", "Relu", "Sum"}
            if unknown:
                return sorted(unknown)

            def value(name):
                if name not in known:
                    operator, inputs = maker[name]
                    arrays = [value(part) for part in inputs]
                    if operator == "Relu":
                        known[name] = np.maximum(arrays[0], 0)
                    elif operator == "Sum":
                        known[name] = sum(arrays)
                    else:
                        f = {"Add": np.add, "Mul": np.multiply, "MatMul": np.matmul}[operator]
                        known[name] = f(*arrays)
                return known[name]

            return value(wanted)"""),
        ("the nodes are run in the order in which they stand",
         "            known, waiting = dict(values), [wanted]\n",
         "            known = dict(values)\n"
         "            for operator, inputs, output in nodes:\n"
         "                if output in needed:\n"
         "                    known[output] = operators[operator](*[known[p] for p in inputs])\n"
         "            return known[wanted]\n"
         "            waiting = [wanted]\n"),
        ("operators that are not needed are reported too",
         "unknown = {maker[name][0] for name in needed}",
         "unknown = {operator for operator, _ in maker.values()}"),
        ("all nodes are computed, also those that are not needed",
         "[wanted]\n            while waiting:\n                name = waiting[-1]",
         "[*maker, wanted]\n            while waiting:\n                name = waiting[-1]"),
        ("only the last node's operator is asked for", "waiting.extend(maker[name][1])", "pass"),
        ("an unknown operator is an error, not an answer", "if unknown:", "if False:"),
        ("the names of unknown operators are not sorted", "return sorted(unknown)",
         "return sorted(unknown)[::-1]"),
        ("one unknown operator is named, not all", "return sorted(unknown)",
         "return sorted(unknown)[:1]"),
        ("a name comes as often as its operator is needed",
         "unknown = {maker[name][0] for name in needed} - set(operators)",
         "unknown = [maker[name][0] for name in needed if maker[name][0] not in operators]"),
        ("the outputs of the unknown nodes are named, not their operators",
         "return sorted(unknown)",
         "return sorted(n for n in needed if maker[n][0] in unknown)"),
        ("Relu makes all numbers positive", "np.maximum(a, 0)", "abs(a)"),
        ("Relu keeps what is below 0", "np.maximum(a, 0)", "np.minimum(a, 0)"),
        ("Sum adds up only its first two inputs", "sum(arrays)", "sum(arrays[:2])"),
        ("Sum adds up all numbers of all arrays", "sum(arrays)", "sum(a.sum() for a in arrays)"),
        ("MatMul multiplies element by element", "a @ b", "a * b"),
        ("MatMul takes its inputs in the other order", "a @ b", "b @ a"),
        ("what is known at the beginning is not found, if it is wanted",
         "            return known[wanted]",
         "            return known[wanted] if wanted in maker else None"),
        ("the results are written into the dict that was given", "dict(values), [wanted]",
         "values, [wanted]"),
    ),
)  # fmt: skip

TASKS = (PRODUCT, FIELDS, READ, RUN)
