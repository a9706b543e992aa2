"""A folder with a page that runs a model of ONNX in the browser.

The one rule of this file: the page is plain files.  What stands in them is decided here, from the
model's inputs and outputs; whatever runs, runs in the browser.

Explained in course/25.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
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
    labels: names of the classes; default their numbers.
    tokens: of a text model, the merges of a BytePairEncoding, or the K characters.
    context: how many tokens a text model can read; default the rows of its "positions.weight".
    centre: whether drawings are scaled and centred, as those of MNIST are, until the reader says
        otherwise.
    runtime: npm's package onnxruntime-web, as a folder or a .tgz; default: npm fetches it.

    The folder is made, or holds a page already, which is replaced.  The model is checked before
    anything is written, and by the browser, by its checksum, before it runs.
    Raises ValueError for a model that the page cannot show or names that do not fit it,
    FileExistsError for a folder of something else, RuntimeError where the runtime cannot be had.
    """
    content = Path(model).read_bytes()
    settings = _settings(content, str(model), labels, tokens, context)
    settings["title"] = title or Path(model).stem
    settings["centre"] = bool(centre)
    folder = Path(folder)
    if folder.exists() and not (folder / "settings.json").exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something else: name a new folder for the page")
    with runtime_files(runtime) as files:
        (folder / "runtime").mkdir(parents=True, exist_ok=True)
        for file in files:
            write_atomically(folder / "runtime" / file.name, [file.read_bytes()])
    for name in PAGE:
        write_atomically(folder / name, [Path(__file__).with_name(name).read_bytes()])
    write_atomically(folder / "model.onnx", [content])
    text = json.dumps(settings, ensure_ascii=False)
    write_atomically(folder / "settings.json", [text.encode()])
    return settings


def _settings(content, path, labels, tokens, context):
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
        case (
            [(name, "float32", [_, 1 | 3 as channels, int(height), int(width)])],
            [(output, "float32", [_, int(classes)])],
        ):
            found |= {"kind": "image", "shape": [channels, height, width]}
            labels = [*map(str, labels)] or [*map(str, range(classes))]
            if len(labels) != classes or len({*labels}) != classes:
                raise ValueError(f"labels: the model has {classes} classes, got {labels}")
            found["labels"] = labels
        case (
            [(name, "int64", [str(), str()])],
            [(output, "float32", [str(), str(), int(classes)])],
        ):
            found |= {"kind": "text"} | _text(classes, tokens)
            rows = weights.get("positions.weight", [None])[0]
            found["context"] = context or rows
            if not found["context"]:
                raise ValueError("context: say how many tokens the model can read, context=64")
        case _:
            raise ValueError(
                f"{path} takes {_told(inputs)} and gives {_told(outputs)}; a page can be made of "
                f"images, {_IMAGE}, or of text, {_TEXT} with the axes N and T free"
            )
    return found | {"input": name, "output": output}


def _described(onnx, value):
    """Name, type and shape of an input or output; an axis that is free is a string."""
    kind = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim]
    return value.name, onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape


def _told(values):
    return ", ".join(f"{name} {kind} ({', '.join(map(str, s))})" for name, kind, s in values)


def _text(classes, tokens):
    """The merges, or the characters, of a text model with so many tokens."""
    tokens = [*tokens]
    if tokens and all(isinstance(token, str) and len(token) == 1 for token in tokens):
        if len(tokens) != classes or len({*tokens}) != classes:
            raise ValueError(f"tokens: expected {classes} characters, got {len({*tokens})}")
        return {"characters": tokens}
    try:
        merges = [[int(a), int(b)] for a, b in tokens]
    except (TypeError, ValueError):
        raise ValueError(f"tokens: expected pairs of numbers, or characters, got {tokens!r:.60}"
                         ) from None  # fmt: skip
    if len(merges) != classes - 256:
        raise ValueError(
            f"tokens: the model has {classes} tokens, so an encoding with {classes - 256} merges "
            f"or {classes} characters; got {len(merges)} merges"
        )
    return {"merges": merges}


@contextmanager
def runtime_files(path: str | os.PathLike[str] | None) -> Iterator[list[Path]]:
    """The files of the runtime, as in RUNTIME."""
    with tempfile.TemporaryDirectory() as place:
        if path is None:
            path = _packed(place)
        if Path(path).is_file():
            with tarfile.open(path) as archive:
                archive.extractall(place, filter="data")
            path = place
        found = [next(Path(path).rglob(name), None) for name in RUNTIME]
        if None in found:
            raise RuntimeError(f"{path} is not {PACKAGE}: it has no {RUNTIME[found.index(None)]}")
        yield found


def _packed(place):
    """The package as a .tgz in the folder `place`, fetched by npm."""
    if shutil.which("npm") is None:
        raise RuntimeError(f"npm is not on this machine: install Node.js, or get {PACKAGE} "
                           "elsewhere, by npm pack, and say runtime=PATH (--runtime PATH)"
                           )  # fmt: skip
    done = subprocess.run(
        ["npm", "pack", PACKAGE, "--pack-destination", place], capture_output=True, text=True
    )
    found = [*Path(place).glob("*.tgz")]
    if done.returncode or not found:
        raise RuntimeError(f"npm could not fetch {PACKAGE}: {done.stderr.strip()[-500:]}")
    return found[0]


def size(folder: str | os.PathLike[str]) -> Mapping[str, int]:
    """Name -> bytes of each file of a page."""
    files = [file for file in sorted(Path(folder).rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.stat().st_size for file in files}


advice.functions(__name__)
