"""Elections as compiled loops: one for the outcome of a round, one that only counts the outcomes of very many rounds.

Both break ties by the same function, so the search sees exactly what a replay gives. Rules are the positions in
`kaggle_tools.search.recipe.rounds.RULES`: first, best, probability, score-weighted, winners. Probabilities come row by
row, (N, P, C), because a tie looks at all candidates of one row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled, inlined
from kaggle_tools.search._recipe_kernels import settle_classes

FIRST, BEST, PROBABILITY, SCORE_WEIGHTED, WINNERS = range(5)

_BLOCK = 4096  # rows whose labels stay in the cache while the subsets go by


def elect(voters: NDArray[np.float32], weights: NDArray[np.float64], rule: int) -> NDArray[np.float32]:
    """Probabilities after a vote: (N, K, C) voters and their (K,) weights to (N, C).

    The mean of those who voted for the elected class, so that this class is the most probable one; after a tie under
    the winners' rule the weighted mean of all.
    """
    n_rows, n_voters, n_classes = voters.shape
    total = np.zeros((n_rows, n_classes))
    _sum_elected(voters, np.arange(n_voters, dtype=np.uint64), _tie_weights(weights, rule), rule, total)
    return np.asarray(settle_classes(total, np.ones(n_classes)))


def _tie_weights(weights: NDArray[np.float64], rule: int) -> NDArray[np.float64]:
    return np.ones_like(weights) if rule == PROBABILITY else weights


@compiled
def _sum_elected(
    voters: NDArray[np.float32],
    members: NDArray[np.uint64],
    weights: NDArray[np.float64],
    rule: int,
    total: NDArray[np.float64],
) -> None:
    """Add the probabilities of those who stand behind each row's outcome to `total` (N, C)."""
    n_rows, n_voters, n_classes = voters.shape
    labels, votes = np.empty(n_voters, np.int16), np.empty(n_voters, np.int16)
    for n in range(n_rows):
        for k in range(n_voters):
            labels[k] = _most_probable(voters[n, k])
        winner, tied = _majority(labels, votes)
        if tied:
            winner = _tie_break(voters, n, members, labels, votes, weights, rule)
        for k in range(n_voters):
            share = 1.0 if labels[k] == winner else 0.0
            if tied and rule == WINNERS:
                share = weights[k]
            for c in range(n_classes):
                total[n, c] += share * voters[n, k, c]


@compiled
def most_probable(stack: NDArray[np.float32]) -> NDArray[np.int16]:
    """(M, N) labels of (M, N, C) probabilities: the most probable class, the first of them on a tie."""
    labels = np.empty(stack.shape[:2], np.int16)
    for m in range(stack.shape[0]):
        for n in range(stack.shape[1]):
            labels[m, n] = _most_probable(stack[m, n])
    return labels


def count_votes(
    candidates: NDArray[np.float32],
    labels: NDArray[np.int16],
    codes: NDArray[np.int64],
    subsets: NDArray[np.uint64],
    weights: NDArray[np.float64],
    rule: int,
) -> NDArray[np.int64]:
    """Confusion matrices of many votes on the first rows: true classes by elected ones.

    Args:
        candidates: (N, P, C) probabilities.
        labels: (P, N) their most probable classes.
        codes: (n,) true classes of the first n rows; only these are counted.
        subsets: (S, K) positions of candidates.
        weights: (P,) of the candidates.
        rule: For ties.

    Returns:
        (S, C, C).
    """
    counts = np.zeros((len(subsets), candidates.shape[2], candidates.shape[2]), np.int64)
    _count_votes(candidates, labels, codes, subsets, _tie_weights(weights, rule), rule, counts)
    return counts


@compiled
def _count_votes(
    candidates: NDArray[np.float32],
    labels: NDArray[np.int16],
    codes: NDArray[np.int64],
    subsets: NDArray[np.uint64],
    weights: NDArray[np.float64],
    rule: int,
    counts: NDArray[np.int64],
) -> None:
    """Add to (S, C, C) `counts`."""
    n_subsets, size = subsets.shape
    votes = np.empty((size, _BLOCK), np.int16)
    winners, tied = np.empty(_BLOCK, np.int16), np.empty(_BLOCK, np.bool_)
    tied_rows = np.empty(_BLOCK, np.int64)
    for start in range(0, len(codes), _BLOCK):
        stop = min(start + _BLOCK, len(codes))
        truth = codes[start:stop]
        for s in range(n_subsets):
            members, matrix = subsets[s], counts[s]
            _majorities(labels, members, start, stop, votes, winners, tied)
            n_tied = 0
            for r in range(stop - start):
                tied_rows[n_tied] = r
                n_tied += tied[r]
            if rule != FIRST:  # of whose kind the winners already are
                _break_ties(candidates, labels, members, votes, weights, rule, start, tied_rows[:n_tied], winners)
            for r in range(stop - start):
                matrix[truth[r], winners[r]] += 1


@compiled
def _majorities(
    labels: NDArray[np.int16],
    members: NDArray[np.uint64],
    start: int,
    stop: int,
    votes: NDArray[np.int16],
    winners: NDArray[np.int16],
    tied: NDArray[np.bool_],
) -> None:
    """For a block of rows: votes for each member's label, a label with most votes, and whether another has as many.

    Every inner loop runs along rows without a branch, so that it becomes vector instructions.
    """
    n_rows = stop - start
    for i in range(len(members)):
        votes[i, :n_rows] = 1
    for i in range(len(members)):
        mine, my_votes = labels[members[i], start:stop], votes[i]
        for j in range(i):
            others, their_votes = labels[members[j], start:stop], votes[j]
            for r in range(n_rows):
                same = np.int16(mine[r] == others[r])
                my_votes[r] += same
                their_votes[r] += same
    most = np.zeros(n_rows, np.int16)
    tied[:n_rows] = False
    for i in range(len(members)):
        mine, my_votes = labels[members[i], start:stop], votes[i]
        for r in range(n_rows):
            more, equal = my_votes[r] > most[r], my_votes[r] == most[r]
            tied[r] = (not more) & (tied[r] | (equal & (mine[r] != winners[r])))
            winners[r] = mine[r] if more else winners[r]
            most[r] = my_votes[r] if more else most[r]


@compiled
def _break_ties(
    candidates: NDArray[np.float32],
    labels: NDArray[np.int16],
    members: NDArray[np.uint64],
    votes: NDArray[np.int16],
    weights: NDArray[np.float64],
    rule: int,
    start: int,
    rows: NDArray[np.int64],
    winners: NDArray[np.int16],
) -> None:
    """Put the elected classes of the tied rows of a block into `winners`."""
    row_labels, row_votes = np.empty(len(members), np.int16), np.empty(len(members), np.int16)
    for r in rows:
        for k in range(len(members)):
            row_labels[k], row_votes[k] = labels[members[k], start + r], votes[k, r]
        winners[r] = _tie_break(candidates, start + r, members, row_labels, row_votes, weights, rule)


@compiled
def _majority(labels: NDArray[np.int16], votes: NDArray[np.int16]) -> tuple[int, bool]:
    """`_majorities` for one row: fills (K,) votes, gives a label with most votes and whether another has as many."""
    most, winner, tied = 0, -1, False
    for i in range(len(labels)):
        votes[i] = 0
        for j in range(len(labels)):
            votes[i] += labels[i] == labels[j]
        if votes[i] > most:
            most, winner, tied = votes[i], labels[i], False
        elif votes[i] == most and labels[i] != winner:
            tied = True
    return winner, tied


@inlined
def _tie_break(
    candidates: NDArray[np.float32],
    n: int,
    members: NDArray[np.uint64],
    labels: NDArray[np.int16],
    votes: NDArray[np.int16],
    weights: NDArray[np.float64],
    rule: int,
) -> int:
    """The elected class of row n after a tie; what is still equal goes to the member that is listed first.

    (N, P, C) `candidates` and (P,) `weights` are all there are, (K,) `labels` and `votes` are the members'.
    """
    winner, highest, most = 0, -1.0, 0
    if rule == WINNERS:
        for c in range(candidates.shape[2]):
            value = _support(candidates, n, members, weights, np.uint64(c))
            if value > highest:
                winner, highest = c, value
        return winner
    for k in range(len(votes)):
        most = max(most, votes[k])
    for k in range(len(members)):
        if votes[k] == most:
            if rule == FIRST:
                return int(labels[k])
            value = (
                weights[members[k]] if rule == BEST else _support(candidates, n, members, weights, np.uint64(labels[k]))
            )
            if value > highest:
                winner, highest = int(labels[k]), value
    return winner


@compiled
def _support(
    candidates: NDArray[np.float32], n: int, members: NDArray[np.uint64], weights: NDArray[np.float64], c: np.uint64
) -> float:
    """Weighted sum of the members' probabilities of class c."""
    total = 0.0
    for member in members:
        total += weights[member] * candidates[n, member, c]
    return total


@compiled
def _most_probable(probs: NDArray[np.float32]) -> int:
    best = 0
    for c in range(1, len(probs)):
        if probs[c] > probs[best]:
            best = c
    return best
