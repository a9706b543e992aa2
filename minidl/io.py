"""safetensors: named arrays in one file, by the published format.

The one rule of this file: everything a file says is checked before it is believed, and nothing
that it holds is ever executed.  Layout (Hugging Face 2022, "Format" in its README): 8 bytes, the
header's length; the header, JSON; the bytes of the arrays, one after the other, without holes.

Explained in course/12.
"""

from __future__ import annotations

import json
import math
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import advice
from .engine import devices

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_READ = _TYPES | {"BF16": "<u2"}  # NumPy has no such numbers: the upper halves of float32
_LONGEST_HEADER = 100_000_000  # bytes, the limit of the official reader


def save(
    path: str | os.PathLike[str],
    tensors: dict[str, Any],
    metadata: dict[str, str] | None = None,
) -> None:
    """Write `tensors`, a dict name -> array or Tensor, to `path` as safetensors.

    metadata: a dict of strings, kept in the header.

    The file is written beside its goal and then renamed: after a crash or on a full disk the old
    file is whole.  Raises TypeError for what the format does not know, OSError (with the path)
    when writing fails.
    """
    if not isinstance(tensors, dict):
        raise TypeError(f"tensors must be a dict, as from state_dict(), got {tensors!r:.60}")
    if not _are_strings(metadata or {}):
        raise TypeError(f"metadata must be a dict of strings, got {metadata!r:.80}")
    plain = {name: _plain(name, value) for name, value in tensors.items()}
    # Wide elements first, so that every array begins at a multiple of its elements' size.
    arrays = sorted(plain.items(), key=lambda pair: (-pair[1].itemsize, pair[0]))
    header, end = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, a in arrays:
        begin, end = end, end + a.nbytes
        header[name] = {"dtype": _NAMES[a.dtype], "shape": a.shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    write_atomically(path, [len(text).to_bytes(8, "little"), text, *(a.data for _, a in arrays)])


def _plain(name, value):
    """`value` as a contiguous little-endian NumPy array of a type the format knows."""
    if not isinstance(name, str) or name == "__metadata__":
        raise TypeError(f"a tensor's name must be a string other than __metadata__, got {name!r}")
    if hasattr(value, "numpy"):  # a Tensor, also another library's
        a = value.numpy()
    else:
        a = devices.to_numpy(value)
    a = np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")
    if a.dtype not in _NAMES:
        raise TypeError(f"{name}: safetensors has no elements of type {a.dtype}; convert them")
    return a


def _are_strings(m):
    return isinstance(m, dict) and all(isinstance(s, str) for pair in m.items() for s in pair)


def write_atomically(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts`, bytes or buffers, to a new file beside `path`, then rename it to `path`.

    If anything fails the new file is removed and the old one stays; an OSError names `path`.
    """
    path = Path(path)
    beside = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with open(beside, "xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        reason = f"could not save ({error.strerror}); the old file is unchanged"
        raise OSError(error.errno, reason, str(path)) from error
    finally:
        if beside.exists():  # not renamed
            beside.unlink()


def load(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a safetensors file; return (dict name -> NumPy array, dict of its metadata).

    BF16 becomes float32.  Raises ValueError, which says what is wrong, for anything that is not
    a whole and valid file; nothing is allocated before the header has been checked.
    """
    path, found = os.fspath(path), {}
    with open(path, "rb") as file:
        try:
            size = os.fstat(file.fileno()).st_size
            header = _read_header(file, size)
            metadata = header.pop("__metadata__", {})
            _need(_are_strings(metadata), "its __metadata__ must be an object of strings")
            for name, code, shape, n in _check_places(header, size - file.tell()):
                data = bytearray(n)
                _need(file.readinto(data) == n, "it became shorter while it was read")
                a = np.frombuffer(data, _READ[code])
                if code == "BF16":
                    a = (a.astype("<u4") << 16).view("<f4")
                found[name] = a.reshape(shape)  # (n,) -> (a, b, ...)
        except ValueError as wrong:
            raise ValueError(f"{path} is no valid safetensors file: {wrong}") from None
    return found, metadata


def _need(fits, wrong):
    if not fits:
        raise ValueError(wrong)


def _read_header(file, size):
    """The header as a dict; the arrays' bytes are what follows in `file`."""
    _need(size >= 8, f"it has {size} bytes, the header's length alone needs 8")
    length = int.from_bytes(file.read(8), "little")
    claim = f"its header claims {length} bytes"
    _need(length <= _LONGEST_HEADER, f"{claim}, at most {_LONGEST_HEADER} are allowed")
    _need(length <= size - 8, f"{claim}, but only {size - 8} follow: truncated")
    text = file.read(length)
    _need(text.startswith(b"{"), f"its header must begin with '{{', it begins with {text[:8]!r}")
    try:
        return json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is no JSON that can be used ({error})") from None


def _no_duplicates(pairs):
    _need(len(dict(pairs)) == len(pairs), "the same key twice: duplicate")
    return dict(pairs)


def _check_places(header, available):
    """[(name, type, shape, bytes)] as they lie, when the arrays fill `available` bytes exactly."""
    found, end = [], 0
    for name, entry in header.items():
        got = f"got {name!r:.60}: {entry!r:.120}"
        fits = isinstance(entry, dict) and entry.keys() == {"dtype", "shape", "data_offsets"}
        _need(fits, f"an array must have dtype, shape and data_offsets, {got}")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        _need(code in tuple(_READ), f"unknown dtype {code!r:.40}, {got}")
        for what, numbers in (("shape", shape), ("data_offsets", offsets)):
            fits = isinstance(numbers, list) and all(type(n) is int and n >= 0 for n in numbers)
            _need(fits, f"{what} must be whole numbers from 0, {got}")
        # NumPy's limits hold beside a zero too, and keep the product below from taking for ever.
        fits = len(shape) <= 64 and math.prod(n or 1 for n in shape) < 2**60
        _need(fits, f"shape has more axes or elements than can be counted, {got}")
        found.append((offsets, name, code, shape))
    for k, (offsets, name, code, shape) in enumerate(sorted(found)):
        size = math.prod(shape) * np.dtype(_READ[code]).itemsize
        begin, end = end, end + size
        wrong = f"{name!r:.60} needs {size} bytes, the ones before end at {begin}: data_offsets"
        _need(offsets == [begin, end], f"{wrong} must be [{begin}, {end}], got {offsets!r:.60}")
        found[k] = name, code, shape, size
    _need(end == available, f"the arrays end at byte {end}, the file at {available} (truncated?)")
    return found


advice.functions(__name__)
