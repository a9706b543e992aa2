"""A folder with a page that runs a model of ONNX in the browser.

The one rule of this file: the page is plain files.  What stands in them is decided here, from the
model's inputs and outputs; whatever runs, runs in the browser.

Explained in course/25.
"""

from __future__ import annotations

import base64
import hashlib
import json
import operator
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import advice
from ..io import write_atomically
from ..onnx.writer import onnx_package

PAGE = "index.html", "style.css", "main.js", "draw.js", "write.js", "answers.js"
PACKAGE = "onnxruntime-web@1.30.0"  # of npm
RUNTIME = "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
# What a page of the other kind asks for.
_FOREIGN = {"image": ("tokens", "context"), "text": ("labels", "centre")}
# Operators that leave probabilities what they are.
_CARRIERS = {"Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_IMAGE, _TEXT = "float32 (N, 1 or 3, H, W) -> (N, K)", "int64 (N, T) -> (N, T, K)"


def write(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    labels: Sequence[str] = (),
    tokens: Sequence[Any] = (),
    context: int | None = None,
    title: str = "",
    centre: bool = False,
    runtime: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Write a page that runs `model` into `folder`; gives what the page knows of the model.

    model: a file of ONNX that takes images and gives a score for each class, float32 (N, 1 or 3,
        H, W) -> (N, K): the reader draws; or token numbers and gives scores for what follows each,
        int64 (N, T) -> (N, T, K), the axes N and T free: the reader types, and the model goes on.
        In place of scores it may give probabilities: see `gives_probabilities`.
    labels: names of the classes; default their numbers.
    tokens: of a text model, the merges of a BytePairEncoding, or the K characters.
    context: how many tokens a text model can read, from 1; default, and at most, the rows of its
        "positions.weight".
    centre: whether drawings are scaled and centred, as those of MNIST are, until the reader says
        otherwise.
    runtime: npm's package onnxruntime-web, as a folder or a .tgz; default: npm fetches it.

    The folder is made, or holds a page already, which is replaced: whole, or on an error not at
    all.  The model is checked before anything is written, and by the browser, by its checksum,
    before it runs.
    Raises ValueError for a model that the page cannot show or names that do not fit it,
    FileExistsError for a folder of something else, RuntimeError where the runtime cannot be had,
    OSError where the page cannot be written.
    """
    content = Path(model).read_bytes()
    given = {"labels": [*labels], "tokens": [*tokens], "context": context, "centre": centre}
    settings = _settings(content, str(model), given)
    settings["title"] = title or Path(model).stem
    settings["centre"] = bool(centre)
    folder = Path(folder)
    if folder.exists() and not (folder / "settings.json").exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something else: name a new folder for the page")
    text = json.dumps(settings, ensure_ascii=False)
    contents = {name: Path(__file__).with_name(name).read_bytes() for name in PAGE}
    contents |= {"model.onnx": content, "settings.json": text.encode()}
    with runtime_files(runtime) as files:
        contents |= {f"runtime/{file.name}": file.read_bytes() for file in files}
    _put(folder, contents)
    return settings


def _put(folder, contents):
    """Files, a dict name -> bytes, into a folder: all are written before one takes its name."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    aside = folder / f".{secrets.token_hex(4)}"
    try:
        (aside / "runtime").mkdir(parents=True)
        for name, content in contents.items():
            write_atomically(aside / name, [content])
        (folder / "runtime").mkdir(exist_ok=True)
        for name in contents:
            os.replace(aside / name, folder / name)
        made.clear()
    except OSError as error:
        reason = os.strerror(error.errno)
        words = f"the page could not be written ({reason}); nothing of it stays"
        raise OSError(error.errno, words, str(folder)) from error
    finally:
        for path in (aside, *made[-1:]):  # the last is the one in which the others lie
            shutil.rmtree(path, ignore_errors=True)


def _settings(content, path, given):
    """What the page must know of the model, whose file has this content."""
    onnx = onnx_package()
    try:
        file = onnx.load_model_from_string(content)
        onnx.checker.check_model(file, full_check=True)
    except Exception as error:  # protobuf's and ONNX's have no common base
        raise ValueError(f"{path} is no valid file of ONNX: {error}") from error
    weights = {w.name: [*w.dims] for w in file.graph.initializer}
    inputs = [_described(onnx, x) for x in file.graph.input if x.name not in weights]
    outputs = [_described(onnx, y) for y in file.graph.output]
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    found = {"integrity": f"sha256-{digest}", "bytes": len(content)}
    match inputs, outputs:
        case _, [(_, _, [*_, 1])]:
            raise ValueError(
                f"{path} gives one number for each sample, so there is no choice of a class that "
                "a page could show: train it with two classes, by cross-entropy"
            )
        case (
            [(name, "float32", [str() | 1, 1 | 3 as channels, int(height), int(width)])],
            [(output, "float32", [_, int(classes)])],
        ):
            _refuse_foreign("image", given)
            found |= {"kind": "image", "shape": [channels, height, width]}
            labels = [*map(str, given["labels"])] or [*map(str, range(classes))]
            _check_once("labels (--labels)", labels)
            if len(labels) != classes:
                raise ValueError(
                    f"labels (--labels): the model has {classes} classes, got {len(labels)}: "
                    f"{labels!r:.200}"
                )
            found["labels"] = labels
        case (
            [(name, "int64", [str(), str()])],
            [(output, "float32", [str(), str(), int(classes)])],
        ):
            _refuse_foreign("text", given)
            found |= {"kind": "text"} | _text(classes, given["tokens"])
            rows = [d[0] for name_, d in weights.items() if name_.endswith("positions.weight")]
            found["context"] = _context(given["context"], *rows[:1])
        case _:
            raise ValueError(
                f"{path} takes {_told(inputs)} and gives {_told(outputs)}; a page can be made of "
                f"images, {_IMAGE}, or of text, {_TEXT} with the axes N and T free"
            )
    return found | {
        "input": name, "output": output, "probabilities": gives_probabilities(file)
    }  # fmt: skip


def gives_probabilities(model: Any) -> bool:
    """Whether the first output of a model, a ModelProto of ONNX, has been through a softmax or a
    sigmoid already; then no softmax may follow.

    A softmax of log-probabilities gives the probabilities, so LogSoftmax gives scores.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    maker = makers.get(model.graph.output[0].name)
    while maker is not None and maker.op_type in _CARRIERS:
        maker = makers.get(maker.input[0])
    return maker is not None and maker.op_type in ("Softmax", "Sigmoid")


def _refuse_foreign(kind, given):
    """Raises ValueError for what only a page of the other kind can use."""
    others = {"image": "of text, this is one of images", "text": "of images, this is one of text"}
    for name in _FOREIGN[kind]:
        if given[name] not in ([], None, False):
            raise ValueError(f"{name} (--{name}) is for models {others[kind]}: leave it out")


def _check_once(what, names):
    """Raises ValueError, with their names, where some stand more than once."""
    twice = [name for name, n in Counter(map(str, names)).items() if n > 1]
    if twice:
        raise ValueError(f"{what} that stand more than once: {twice!r:.200}")


def _context(given, rows=None):
    """How many tokens a text model reads; it has places for `rows`, or None: that is not known."""
    if given is None and rows is None:
        raise ValueError("context (--context): say how many tokens the model can read, context=64")
    if given is None:
        return rows
    if given < 1 or (rows and given > rows):
        raise ValueError(f"context (--context): expected from 1 to {rows or 'many'}, got {given}")
    return int(given)


def _described(onnx, value):
    """Name, type and shape of an input or output; an axis that is free is a string."""
    kind = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    return value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape


def _told(values):
    return ", ".join(f"{name} {kind} ({', '.join(map(str, s))})" for name, kind, s in values)


def _text(classes, tokens):
    """The merges, or the characters, of a text model with so many tokens."""
    if tokens and all(isinstance(token, str) and len(token) == 1 for token in tokens):
        kind, count = "characters", classes
    else:
        kind, count = "merges", classes - 256
        tokens = _merges(tokens)
    _check_once("tokens (--tokens)", tokens)
    if len(tokens) != count:
        wanted = f"{classes} characters"
        if classes > 256:
            wanted += f", or the {classes - 256} merges of an encoding"
        got = f"{len(tokens)} {kind}" if tokens else "none"
        raise ValueError(
            f"tokens (--tokens): the model has {classes} tokens, so expected {wanted}; got {got}"
        )
    return {kind: tokens}


def _merges(pairs):
    """The merges as lists of two numbers, each of a byte or of a pair before it."""
    merges = []
    for pair in pairs:
        try:
            a, b = map(operator.index, pair)
        except (TypeError, ValueError):
            raise ValueError(
                "tokens (--tokens): expected pairs of whole numbers, or characters, got "
                f"{pair!r:.60}"
            ) from None
        known = 256 + len(merges)
        if not (0 <= a < known and 0 <= b < known):
            raise ValueError(
                f"tokens (--tokens): merge {len(merges)} is [{a}, {b}], expected numbers from 0 "
                f"and below {known}, of the bytes and the merges before it"
            )
        merges.append([a, b])
    return merges


@contextmanager
def runtime_files(path: str | os.PathLike[str] | None) -> Iterator[list[Path]]:
    """The files of the runtime, as in RUNTIME."""
    with tempfile.TemporaryDirectory() as place:
        if path is None:
            path = _packed(place)
        given = f"runtime (--runtime): {path}"
        if not Path(path).exists():
            raise RuntimeError(f"{given} is not there; npm pack {PACKAGE} writes one")
        if Path(path).is_file():
            try:
                with tarfile.open(path) as archive:
                    for member in archive:  # nothing else of what it may hold, and nowhere else
                        if member.isfile() and (name := Path(member.name).name) in RUNTIME:
                            Path(place, name).write_bytes(archive.extractfile(member).read())
            except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
                raise RuntimeError(f"{given} is no archive that can be read: {error}") from error
            path = place
        found = [next(Path(path).rglob(name), None) for name in RUNTIME]
        if None in found:
            raise RuntimeError(f"{given} is not {PACKAGE}: it has no {RUNTIME[found.index(None)]}")
        yield found


def _packed(place):
    """The package as a .tgz in the folder `place`, fetched by npm."""
    if (npm := shutil.which("npm")) is None:  # on Windows npm.cmd, found by its whole name alone
        raise RuntimeError(f"npm is not on this machine: install Node.js, or get {PACKAGE} "
                           "elsewhere, by npm pack, and say runtime=PATH (--runtime PATH)"
                           )  # fmt: skip
    done = subprocess.run(
        [npm, "pack", PACKAGE, "--pack-destination", place],
        capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    found = [*Path(place).glob("*.tgz")]
    if done.returncode or not found:
        raise RuntimeError(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    return found[0]


def size(folder: str | os.PathLike[str]) -> Mapping[str, int]:
    """Name -> bytes of each file of a page."""
    files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


advice.functions(__name__)
