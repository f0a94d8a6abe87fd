"""Submissions at Kaggle: sent once, scored, listed, through the official client (an optional extra)."""

from kaggle_tools.kaggle_service.attempts import Attempt, load_attempts
from kaggle_tools.kaggle_service.client import KaggleService
from kaggle_tools.kaggle_service.entries import Entry, Quota
from kaggle_tools.kaggle_service.errors import ServiceError, UnclearError
from kaggle_tools.kaggle_service.scoring import Match, match_versions, wait_for_score

__all__ = [
    "Attempt",
    "Entry",
    "KaggleService",
    "Match",
    "Quota",
    "ServiceError",
    "UnclearError",
    "load_attempts",
    "match_versions",
    "wait_for_score",
]
