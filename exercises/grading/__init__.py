"""The grader of the exercises.

In a notebook: `check("07.1", answer)`, `hint("07.1")`, `progress()`.  Outside:
`python -m grading exercises/07_tensor.ipynb`, and for a class `python -m grading class FOLDER`.
All that is known of a lesson's tasks stands in `tasks_NN.py`.  How it is used: docs/grading.md.
"""

from .notebook import check, hint, progress

__all__ = ["check", "hint", "progress"]
