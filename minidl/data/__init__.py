"""Data sets, and the loader that makes batches of them; tools for images and text.

Explained in course/11.
"""

from .. import advice
from . import datasets, images, text
from .loader import (
    ArrayDataset,
    DataLoader,
    balanced,
    pad,
    pad_collate,
    read_csv,
    split,
    weighted,
)

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "balanced",
    "datasets",
    "images",
    "pad",
    "pad_collate",
    "read_csv",
    "split",
    "text",
    "weighted",
]
__getattr__ = advice.of_module(__name__)
