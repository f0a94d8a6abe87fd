"""Leaderboard science: arrays and tables in, answers out. Usable alone from a notebook; knows nothing of torch.

from kaggle_tools import Predictions, blend, honest, rescale
oof = Predictions.load("runs/roberta/oof.parquet")
rescale.fit(oof.label_codes, oof.probs, "macro_f1")
"""

from importlib import import_module
from typing import Any

# What is public, and where it lives. All is imported when it is asked for: `cli --help` needs none of it.
_CLASSES = {"Predictions": "kaggle_tools.predictions", "Competition": "kaggle_tools.competition"}
_SEARCHES = ("blend", "greedy", "honest", "members", "recipe", "rescale", "stack", "study", "thresholds", "vote")

__all__ = [*_CLASSES, *_SEARCHES]


def __getattr__(name: str) -> Any:
    """Classes, and the modules of `kaggle_tools.search` under their own names."""
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    if name in _SEARCHES:
        return import_module(f"kaggle_tools.search.{name}")
    raise AttributeError(f"module 'kaggle_tools' has no attribute '{name}'")


def __dir__() -> list[str]:
    """For completion in a notebook."""
    return [*_CLASSES, *_SEARCHES]
