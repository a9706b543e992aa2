"""safetensors: named arrays in one file, by the published format.

The one rule of this file: everything a file says is checked before it is believed, and nothing
that it holds is ever executed.  Layout: 8 bytes, the header's length; the header, JSON; the bytes
of the arrays, one after the other, without holes.
(Format: safetensors, Hugging Face 2022, "Format" in its README.)

Explained in course/12.
"""

import json
import math
import os
import tempfile

import numpy as np

from . import backend
from .tensor import Tensor

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
_NAMES = {np.dtype(code): name for name, code in _TYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes, the limit of the official reader


def save(path, tensors, metadata=None):
    """Write `tensors`, a dict name -> array or Tensor, to `path` as safetensors.

    metadata: a dict of strings, kept in the header.  The file is written beside its goal and then
    renamed: after a crash or on a full disk the old file is whole.  Raises TypeError for elements
    that the format does not know, OSError (with the path) when writing fails.
    """
    header, arrays, end = {}, [], 0
    if metadata:
        if not all(isinstance(s, str) for pair in metadata.items() for s in pair):
            raise TypeError(f"metadata must be a dict of strings, got {metadata!r:.80}")
        header["__metadata__"] = dict(metadata)
    plain = {name: _plain(name, value) for name, value in tensors.items()}
    # Wide elements first, so that every array begins at a multiple of its elements' size.
    for name, a in sorted(plain.items(), key=lambda pair: (-pair[1].itemsize, pair[0])):
        begin, end = end, end + a.nbytes
        header[name] = {
            "dtype": _NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [begin, end]
        }  # fmt: skip
        arrays.append(a)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)

    def write(file):
        file.write(len(text).to_bytes(8, "little") + text)
        for a in arrays:
            file.write(a.data if a.size else b"")

    write_atomically(path, write)


def _plain(name, value):
    """`value` as a contiguous little-endian NumPy array of a type the format knows."""
    if not isinstance(name, str) or name == "__metadata__":
        raise TypeError(f"a tensor's name must be a string other than __metadata__, got {name!r}")
    a = np.asarray(backend.to_numpy(value.data if isinstance(value, Tensor) else value))
    a = np.asarray(a, dtype=a.dtype.newbyteorder("<"), order="C")
    if a.dtype not in _NAMES:
        raise TypeError(
            f"{name}: safetensors has no elements of type {a.dtype}; convert them first"
        )
    return a


def write_atomically(path, write):
    """Call `write(file)` on a new binary file beside `path`, then rename it to `path`.

    If anything fails the new file is removed, the old one stays, and the error names `path`.
    """
    path = os.fspath(path)
    handle, beside = tempfile.mkstemp(
        dir=os.path.dirname(path) or ".", prefix=f".{os.path.basename(path)}."
    )
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())  # mkstemp's files are for their owner alone
        os.replace(beside, path)
    except BaseException as error:
        os.unlink(beside)
        if isinstance(error, OSError):
            raise OSError(
                error.errno, f"could not save ({error.strerror}); the old file is unchanged", path
            ) from error
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path):
    """Read a safetensors file; return (dict name -> NumPy array, dict of its metadata).

    BF16 becomes float32.  Raises ValueError, which says what is wrong, for anything that is not
    a whole and valid file; nothing is allocated before the header has been checked.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            header, start = _read_header(file, size)
            metadata = _check_metadata(header.pop("__metadata__", {}))
            places = _check_places(header, size - start)
        except _Wrong as wrong:
            raise ValueError(f"{path} is no valid safetensors file: {wrong}") from None
        found = {}
        for name, (code, shape, begin, end) in places.items():
            file.seek(start + begin)
            data = bytearray(end - begin)
            if file.readinto(data) != len(data):
                raise ValueError(f"{path}: the file became shorter while it was read")
            if code == "BF16":  # the upper half of a float32
                wide = np.frombuffer(data, "<u2").astype("<u4") << 16
                found[name] = wide.view("<f4").reshape(shape)
            else:
                found[name] = np.frombuffer(data, _TYPES[code]).reshape(shape)
    return found, metadata


class _Wrong(Exception):
    """What is wrong with a file."""


def _read_header(file, size):
    """The header as a dict, and where the arrays' bytes start."""
    if size < 8:
        raise _Wrong(f"it has {size} bytes, the header's length alone needs 8")
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_HEADER:
        raise _Wrong(f"its header claims {length} bytes, at most {_LONGEST_HEADER} are allowed")
    if length > size - 8:
        raise _Wrong(f"its header claims {length} bytes, but only {size - 8} follow: truncated")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise _Wrong(f"its header must begin with '{{', it begins with {text[:8]!r}")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_no_duplicates)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise _Wrong(f"its header is no JSON ({error})") from None
    return header, 8 + length


def _no_duplicates(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Wrong("its header has the same key twice (duplicate)")
    return found


def _check_metadata(metadata):
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise _Wrong("its __metadata__ must be an object of strings")
    return metadata


def _check_places(header, available):
    """name -> (type, shape, begin, end), when the arrays fill `available` bytes exactly."""
    places = {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise _Wrong(f"{name!r} must have dtype, shape and data_offsets, got {entry!r:.60}")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or (code not in _TYPES and code != "BF16"):
            raise _Wrong(f"{name!r} has unknown dtype {code!r:.40}")
        for what, numbers in (("shape", shape), ("data_offsets", offsets)):
            if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
                raise _Wrong(f"{name!r}: {what} must be whole numbers from 0, got {numbers!r:.60}")
        if len(offsets) != 2 or offsets[0] > offsets[1] or offsets[1] > available:
            raise _Wrong(
                f"{name!r}: data_offsets {offsets!r:.60} must be [begin, end] in order within the "
                f"{available} bytes that are there (a truncated file?)"
            )
        wanted = math.prod(shape) * (2 if code == "BF16" else np.dtype(_TYPES[code]).itemsize)
        if offsets[1] - offsets[0] != wanted or len(shape) > 64:
            raise _Wrong(f"{name!r}: shape {shape!r:.60} of {code} needs {wanted} bytes, "
                         f"data_offsets {offsets} give {offsets[1] - offsets[0]}")  # fmt: skip
        if math.prod(n or 1 for n in shape) >= 2**60:  # NumPy refuses it even beside a zero
            raise _Wrong(f"{name!r}: shape {shape!r:.60} has more elements than can be counted")
        places[name] = code, shape, *offsets
    end = 0
    for name, (_, _, begin, stop) in sorted(places.items(), key=lambda p: p[1][2:]):
        if begin != end:
            what = "overlap" if begin < end else "leave a hole"
            raise _Wrong(f"{name!r} begins at {begin}, the one before ends at {end}: they {what}")
        end = stop
    if end != available:
        raise _Wrong(f"the arrays end at byte {end}, the file at {available}")
    return places
