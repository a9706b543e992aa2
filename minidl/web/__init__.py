"""A page that runs a model in the browser, also on a phone, with nothing behind it but files.

`write` makes it of a file of ONNX, as does `python -m minidl.web`.  Needs pip install
"minidl[onnx]".  Explained in course/25.
"""

from .page import PACKAGE, PAGE, RUNTIME, gives_probabilities, runtime_files, size, write

__all__ = [
    "PACKAGE", "PAGE", "RUNTIME", "gives_probabilities", "runtime_files", "size", "write"
]  # fmt: skip
