"""What Kaggle says of submissions, as plain data: one submission, and how many more there may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Entry:
    """A submission as Kaggle lists it.

    Attributes:
        ref: Kaggle's number of it.
        date: When it arrived, UTC, ISO 8601 to the second; empty where Kaggle does not say.
        file_name: What the file was called.
        description: The message it was sent with.
        status: ``pending`` until it is scored, then ``complete``, or ``error`` where it cannot be.
        error: Why it cannot be scored.
        public_score: Once known.
        private_score: Once known, usually when the competition has ended.
        submitted_by: User name of the team's member.
    """

    ref: int
    date: str
    file_name: str
    description: str
    status: Literal["pending", "complete", "error"]
    error: str
    public_score: float | None
    private_score: float | None
    submitted_by: str


@dataclass(frozen=True)
class Quota:
    """How often the team has submitted, and how often it may still, until midnight UTC.

    Attributes:
        n_today: Valid submissions of this day.
        n_total: Valid submissions of the team ever.
        n_left: Further ones that are allowed today.
        limited_by_total: It is the competition's total that leaves no more, not the day's.
    """

    n_today: int
    n_total: int
    n_left: int
    limited_by_total: bool


def read_entry(item: Any) -> Entry:
    """A submission out of the client's own kind of object."""
    return Entry(
        ref=item.ref,
        date=item.date.isoformat(timespec="seconds") + "+00:00" if item.date else "",
        file_name=item.file_name or "",
        description=item.description or "",
        status=item.status.name.lower(),
        error=item.error_description or "",
        public_score=_score(item.public_score),
        private_score=_score(item.private_score),
        submitted_by=item.submitted_by or "",
    )


def _score(text: str | None) -> float | None:
    """A score as a number; None while it is empty, hidden or not a number."""
    try:
        score = float(text or "")
    except ValueError:
        return None
    return score if math.isfinite(score) else None
