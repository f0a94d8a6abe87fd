"""Text classifiers: text in, logits out. Usable alone from a notebook; knows nothing of jobs or submissions.

from models import Scorer
Scorer("runs/roberta").score(["a text", "another"]).to_polars()
"""

from importlib import import_module
from typing import Any

_CLASSES = {"Scorer": "models.inference.scorer", "Scores": "models.inference.scores"}

__all__ = [*_CLASSES]


def __getattr__(name: str) -> Any:
    """Classes, imported when they are asked for: torch takes seconds, and `cli --help` needs none of it."""
    if name in _CLASSES:
        return getattr(import_module(_CLASSES[name]), name)
    raise AttributeError(f"module 'models' has no attribute '{name}'")


def __dir__() -> list[str]:
    """For completion in a notebook."""
    return [*_CLASSES]
