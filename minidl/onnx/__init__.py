"""ONNX: a model as a file that runs without Python, and a model read from such a file.

`export` writes, `load` reads.  Needs pip install "minidl[onnx]".  Explained in course/25.
"""

from .exporter import OPSET, export
from .reader import OPERATORS, Loaded, load, operator
from .rules import LAYERS, OPERATIONS, rule

__all__ = [
    "LAYERS",
    "OPERATIONS",
    "OPERATORS",
    "OPSET",
    "Loaded",
    "export",
    "load",
    "operator",
    "rule",
]
