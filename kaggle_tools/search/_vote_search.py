"""The growth of a multi-round vote: which models or earlier votes vote together next, by exact count of every subset.

Where all models agree every vote agrees with them, so only the other rows, the contested ones, are voted on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.metrics import confusion
from kaggle_tools.metrics.counts import Matrix, cohen_kappa
from kaggle_tools.search._vote_kernels import count_votes, elect, most_probable

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Labels = NDArray[np.int16]
Score = Callable[[Matrix], float]


@dataclass(frozen=True)
class Plan:
    """How a vote grows.

    Attributes:
        score: Of a confusion matrix; more is better.
        rule: Position in `RULES`.
        sizes: How many vote together, alternatives.
        beam: Votes of a round that may vote in later ones.
        tolerance: Scores that are this close count as equal, and the least similar members win.
    """

    score: Score
    rule: int
    sizes: tuple[int, ...]
    beam: int
    tolerance: float


@dataclass(frozen=True)
class Ground:
    """The rows on which a vote grows.

    Attributes:
        contested: (n,) positions of the contested rows, those that scores may see first.
        codes: (s,) true classes of the contested rows that scores may see.
        agreed: (C, C) confusion matrix of the rows that are not contested and that scores may see.
        agreed_labels: (C,) how often each class is the label of a row that is not contested.
    """

    contested: Codes
    codes: Codes
    agreed: NDArray[np.int64]
    agreed_labels: NDArray[np.int64]


@dataclass(frozen=True)
class Vote:
    """Members are positions among candidates: models first, then the votes in order."""

    members: tuple[int, ...]
    weights: tuple[float, ...]
    score: float
    round: int


@dataclass(frozen=True)
class Growth:
    """All candidates so far.

    Attributes:
        n_models: M.
        candidates: (n, P, C) float32 probabilities of M models, then of the votes' outcomes.
        labels: (P, n) their most probable classes.
        scores: (P,) on the rows that scores may see.
        kappas: (P, P) Cohen's kappa between candidates, on all rows.
        votes: The P − M votes.
    """

    n_models: int
    candidates: NDArray[np.float32]
    labels: Labels
    scores: Floats
    kappas: Floats
    votes: tuple[Vote, ...] = ()

    @property
    def rounds(self) -> int:
        """How many rounds there were."""
        return self.votes[-1].round if self.votes else 0

    @property
    def best(self) -> int:
        """Position of the best vote, the earliest of equal ones; of the best model where there is no vote."""
        first = self.n_models if self.votes else 0
        return first + int(np.argmax(self.scores[first:]))


def survey(labels: Labels, codes: Codes, hidden: NDArray[np.bool_], n_classes: int) -> Ground:
    """Divide rows into agreed and contested ones; (N,) `hidden` rows are voted on, but no score may see them."""
    is_contested = (labels != labels[0]).any(axis=0)
    seen, unseen = np.flatnonzero(is_contested & ~hidden), np.flatnonzero(is_contested & hidden)
    agreed = ~is_contested & ~hidden
    return Ground(
        contested=np.concatenate([seen, unseen]),
        codes=codes[seen],
        agreed=np.asarray(confusion(codes[agreed], labels[0, agreed].astype(np.int64), n_classes), np.int64),
        agreed_labels=np.bincount(labels[0, ~is_contested], minlength=n_classes),
    )


def begin(stack: NDArray[np.float32], labels: Labels, ground: Ground, plan: Plan) -> Growth:
    """The models alone: (M, N, C) probabilities and their (M, N) labels."""
    mine = np.ascontiguousarray(labels[:, ground.contested])
    return Growth(
        n_models=len(stack),
        candidates=np.ascontiguousarray(stack[:, ground.contested].transpose(1, 0, 2)),
        labels=mine,
        scores=np.array([_score_of(one, ground, plan) for one in mine]),
        kappas=_kappas(mine, np.empty((0, 0)), ground),
    )


def add_round(growth: Growth, ground: Ground, plan: Plan) -> Growth:
    """Let every subset with a new candidate vote and keep the best outcomes; `growth` itself where none is better."""
    new_from = next((growth.n_models + i for i, vote in enumerate(growth.votes) if vote.round == growth.rounds), 0)
    kept = _best_subsets(growth, ground, plan, new_from)
    if not kept or (growth.votes and kept[0][1] <= growth.scores[growth.best]):
        return growth
    votes, outcomes = [], []
    for members, score in kept:
        weights = np.maximum(growth.scores[list(members)], 0.0)
        outcomes.append(elect(np.ascontiguousarray(growth.candidates[:, list(members)]), weights, plan.rule))
        votes.append(Vote(members, tuple(weights.tolist()), score, growth.rounds + 1))
    labels = np.concatenate([growth.labels, most_probable(np.stack(outcomes))])
    return Growth(
        n_models=growth.n_models,
        candidates=np.concatenate([growth.candidates, np.stack(outcomes, axis=1)], axis=1),
        labels=labels,
        scores=np.concatenate([growth.scores, [vote.score for vote in votes]]),
        kappas=_kappas(labels, growth.kappas, ground),
        votes=(*growth.votes, *votes),
    )


def mean_of_pairs(values: Floats, members: Sequence[int]) -> float:
    """Mean of a symmetric matrix over the pairs of `members`."""
    return float(np.mean([values[a, b] for a, b in combinations(members, 2)]))


def _best_subsets(growth: Growth, ground: Ground, plan: Plan, new_from: int) -> list[tuple[tuple[int, ...], float]]:
    """Up to `beam` subsets and their scores, no two of which have more than two members in common."""
    subsets: list[tuple[int, ...]] = []
    values: list[float] = []
    weights = np.maximum(growth.scores, 0.0)
    for size in plan.sizes:
        of_size = [s for s in combinations(range(len(growth.labels)), size) if s[-1] >= new_from]
        if of_size:
            members = np.array(of_size, np.uint64)
            counts = count_votes(growth.candidates, growth.labels, ground.codes, members, weights, plan.rule)
            values += [plan.score(matrix) for matrix in counts + ground.agreed]
            subsets += of_size
    scores = np.array(values)
    similarity = np.array([mean_of_pairs(growth.kappas, subset) for subset in subsets])
    kept: list[tuple[tuple[int, ...], float]] = []
    allowed = np.ones(len(subsets), np.bool_)
    while len(kept) < plan.beam and allowed.any():
        near = np.flatnonzero(allowed & (scores >= scores[allowed].max() - plan.tolerance))
        chosen = int(near[np.argmin(similarity[near])])
        kept.append((subsets[chosen], float(scores[chosen])))
        mine = set(subsets[chosen])
        allowed &= np.array([len(mine.intersection(other)) <= 2 for other in subsets])
    return kept


def _score_of(labels: Labels, ground: Ground, plan: Plan) -> float:
    predicted = labels[: len(ground.codes)].astype(np.int64)
    return plan.score(confusion(ground.codes, predicted, len(ground.agreed)) + ground.agreed)


def _kappas(labels: Labels, known: Floats, ground: Ground) -> Floats:
    """(P, P): `known` with the rows and columns of the candidates after it."""
    kappas = np.eye(len(labels))
    kappas[: len(known), : len(known)] = known
    agreed = np.diag(ground.agreed_labels)
    for a in range(len(known), len(labels)):
        for b in range(a):
            matrix = confusion(labels[a].astype(np.int64), labels[b].astype(np.int64), len(agreed)) + agreed
            kappas[a, b] = kappas[b, a] = cohen_kappa(matrix)
    return kappas
