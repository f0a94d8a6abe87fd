"""A fold that is trained with several seeds: their mean, and how far the seeds' scores lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jobs.run_folder import Answers
from kaggle_tools.bio import legal_tags
from kaggle_tools.metrics import score
from kaggle_tools.tag_predictions import TagPredictions
from models.recipe import Recipe


@dataclass(frozen=True)
class SeedScore:
    """What one seed gives by itself.

    Attributes:
        seed: Its number.
        score: The competition's metric on the out-of-fold predictions of all rows.
    """

    seed: int
    score: float


@dataclass(frozen=True)
class SeedSpread:
    """Scores of the seeds one by one, beside that of their mean.

    Attributes:
        scores: Of each seed, in the recipe's order.
        mean: Of these scores.
        deviation: Their standard deviation (n − 1): how far luck alone moves the score of a single seed.
    """

    scores: tuple[SeedScore, ...]
    mean: float
    deviation: float


def seeds_of(recipe: Recipe) -> tuple[int | None, ...]:
    """The seeds that each fold is trained with; None alone where the recipe has one, which names no folder."""
    return recipe.seeds or (None,)


def mean_of_seeds(pieces: Sequence[Answers]) -> Answers:
    """The mean of several seeds' predictions of the same rows; of one seed exactly what it predicted.

    Args:
        pieces: Same rows in the same order.
    """
    first = pieces[0]
    if len(pieces) == 1:
        return first
    probs = np.stack([piece.probs for piece in pieces]).mean(axis=0, dtype=np.float64).astype(np.float32)
    if isinstance(first, TagPredictions):
        return replace(first, probs=probs, codes=legal_tags(probs, first.offsets, first.classes))
    return replace(first, probs=probs)


def spread_of_seeds(metric: str, oof: Sequence[tuple[int, Answers]]) -> SeedSpread | None:
    """How the seeds score alone; None for fewer than two.

    Args:
        metric: Of the competition.
        oof: For each seed its out-of-fold predictions of all rows.
    """
    if len(oof) < 2:
        return None
    scores = tuple(SeedScore(seed, score(metric, answers)) for seed, answers in oof)
    values = [one.score for one in scores]
    return SeedSpread(scores, float(np.mean(values)), float(np.std(values, ddof=1)))
