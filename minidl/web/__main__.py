"""`python -m minidl.web model.onnx` writes a page that runs the model in a browser."""

import argparse
import json
import sys
from pathlib import Path

from minidl import web


def _tokens(path):
    """What a file of JSON lists."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"--tokens: {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also of bytes that are no UTF-8
        raise ValueError(f"--tokens: {path} is no JSON: {error}") from error
    if not isinstance(found, list):
        raise ValueError(f"--tokens: {path} holds no list of merges or characters: {found!r:.60}")
    return found


def main() -> None:
    """Write the page, and say how large it is and how to open it."""
    parser = argparse.ArgumentParser(prog="python -m minidl.web", description=__doc__)
    parser.add_argument("model", type=Path, help="a file of ONNX, as minidl.onnx.export writes it")
    parser.add_argument("folder", type=Path, nargs="?", help="default: the model's name, _page")
    parser.add_argument("--labels", default="", help="the classes' names: T-shirt,Trouser,...")
    parser.add_argument("--tokens", type=Path, help="a file of JSON: merges, or characters")
    parser.add_argument("--context", type=int, help="how many tokens a text model can read")
    parser.add_argument("--title", default="", help="what stands above the page")
    parser.add_argument("--centre", action="store_true", help="scale and centre drawings, as MNIST")
    parser.add_argument("--runtime", type=Path, help="npm's onnxruntime-web, a folder or a .tgz")
    options = parser.parse_args()
    folder = options.folder or options.model.with_name(f"{options.model.stem}_page")
    try:
        web.write(
            options.model,
            folder,
            labels=[name.strip() for name in options.labels.split(",") if name.strip()],
            tokens=_tokens(options.tokens) if options.tokens else (),
            context=options.context,
            title=options.title,
            centre=options.centre,
            runtime=options.runtime,
        )
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    sizes = web.size(folder)
    print(f"{folder}: {sum(sizes.values()) / 1e6:.1f} MB in {len(sizes)} files, "
          f"{sizes['model.onnx'] / 1e6:.2f} MB of them the model")  # fmt: skip
    print(f"open it: python -m http.server --directory {folder} 8000, then http://localhost:8000")
    print(
        "on a phone in the same network: the name or address of this machine in place of localhost"
    )


if __name__ == "__main__":
    main()
