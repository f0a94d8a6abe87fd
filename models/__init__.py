"""Text classifiers: text in, logits out. Usable alone from a notebook; knows nothing of jobs or submissions.

from models import Scorer
Scorer("runs/roberta").score(["a text", "another"])
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """`Scorer`, imported when it is asked for: torch takes seconds, and `cli --help` needs none of it."""
    if name == "Scorer":
        from models.inference.scorer import Scorer

        return Scorer
    raise AttributeError(f"module 'models' has no attribute '{name}'")
