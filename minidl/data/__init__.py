"""Data sets, and the loader that makes batches of them; tools for images and text.

Explained in course/11.
"""

from .. import advice
from . import datasets, images, text
from .loader import (
    ArrayDataset,
    DataLoader,
    Dataset,
    Subset,
    balanced,
    pad_collate,
    pad_sequence,
    split,
    weighted,
)
from .tables import read_csv

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "Subset",
    "balanced",
    "datasets",
    "images",
    "pad_collate",
    "pad_sequence",
    "read_csv",
    "split",
    "text",
    "weighted",
]
__getattr__ = advice.of_module(__name__)
