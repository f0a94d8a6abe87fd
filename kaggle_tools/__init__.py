"""Leaderboard science: arrays and tables in, answers out. Usable alone from a notebook; knows nothing of torch.

from kaggle_tools import Predictions
Predictions.load("runs/roberta/oof.parquet").frame()
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`Competition` and `Predictions`, imported when they are asked for: `cli --help` needs neither."""
    if name == "Predictions":
        from kaggle_tools.predictions import Predictions

        return Predictions
    if name == "Competition":
        from kaggle_tools.competition import Competition

        return Competition
    raise AttributeError(f"module 'kaggle_tools' has no attribute '{name}'")
