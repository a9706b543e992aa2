"""The grader of the exercises.

In a notebook: `check("07.1", answer)`, `hint("07.1")`, `progress()`.  Outside:
`python -m grading exercises/07_tensor.ipynb`.  A lesson's tasks stand in `tasks_NN.py`, what a
submission's process needs of them in `drive_NN.py`.
"""

from .notebook import check, hint, progress

__all__ = ["check", "hint", "progress"]
