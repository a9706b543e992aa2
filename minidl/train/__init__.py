"""The loop that trains, what is told of it, and what helps when it does not work.

Explained in course/12 and course/13 (debug).
"""

from .. import advice
from . import debug, precision
from .callbacks import (
    AverageWeights,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    HistoryPlot,
    Progress,
    ReduceOnPlateau,
    Schedule,
    plot_history,
)
from .metrics import accuracy, top5
from .trainer import Trainer, find_rate

__all__ = [
    "AverageWeights",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "HistoryPlot",
    "Progress",
    "ReduceOnPlateau",
    "Schedule",
    "Trainer",
    "accuracy",
    "debug",
    "find_rate",
    "plot_history",
    "precision",
    "top5",
]
__getattr__ = advice.of_module(__name__)
