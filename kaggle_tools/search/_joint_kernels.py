"""The inner loops of joint decoding: the best combination of classes of a row, and where it changes with the strength.

A combination k is one class of each group. Its score is linear in the strength s: Σ_g log p_g(c_g) + s·bond_k, where
``bonds`` (T, K) says how well its classes go together, by one of T tables; ``table`` (N,) says whose table a row reads.
``logs`` is (N, L) float64, the groups' log-probabilities side by side; ``places`` (K, G) are each combination's columns
of it, combinations in lexicographic order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.compiled import compiled
from kaggle_tools.search._portable import portable_exp, portable_log

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def take_logs(probs: Floats, floor: float) -> Floats:
    """(N, L) logarithms, none of less than the floor."""
    logs = np.empty_like(probs)
    for i in range(probs.shape[0]):
        for j in range(probs.shape[1]):
            logs[i, j] = portable_log(max(probs[i, j], floor))
    return logs


@compiled
def decode(logs: Floats, places: Ints, bonds: Floats, table: Ints, strength: float) -> Ints:
    """(N,) the best combination of each row; the first of equals."""
    best = np.empty(len(logs), np.int64)
    for i in range(len(logs)):
        highest = -np.inf
        for k in range(len(places)):
            value = strength * bonds[table[i], k]
            for place in places[k]:
                value += logs[i, place]
            if value > highest:
                highest, best[i] = value, k
    return best


@compiled
def marginals(logs: Floats, places: Ints, bonds: Floats, strength: float) -> Floats:
    """(N, L) probabilities of the groups' classes, side by side, under softmax over the combinations."""
    found = np.zeros_like(logs)
    values = np.empty(len(places))
    for i in range(len(logs)):
        highest = -np.inf
        for k in range(len(places)):
            values[k] = strength * bonds[0, k]
            for place in places[k]:
                values[k] += logs[i, place]
            highest = max(highest, values[k])
        total = 0.0
        for k in range(len(places)):
            values[k] = portable_exp(values[k] - highest)
            total += values[k]
        for k in range(len(places)):
            for place in places[k]:
                found[i, place] += values[k] / total
    return found


@compiled
def changes(
    logs: Floats, places: Ints, bonds: Floats, table: Ints, rewards: Floats, limit: float
) -> tuple[Floats, Ints, Floats, Floats]:
    """Where the reward of each row's best combination changes as the strength grows from 0 to `limit`.

    Each row's best value is the upper envelope of K lines, walked from its first line from crossing to crossing.

    Args:
        rewards: (N, L): what a row earns for a class is its column; a combination earns the least of its classes' where
            ``rewards`` has -1 in place of 0 (all must be right), else their mean.

    Returns:
        (E,) strengths, (E,) rows and (E,) changes of reward, in order of rows; (N,) rewards at 0.
    """
    n, n_events = len(logs), 0
    first = np.empty(n)
    at, rows, gains = np.empty(4 * n), np.empty(4 * n, np.int64), np.empty(4 * n)
    base = np.empty(len(places))
    for i in range(n):
        bond = bonds[table[i]]
        now = 0
        for k in range(len(places)):
            base[k] = 0.0
            for place in places[k]:
                base[k] += logs[i, place]
            if base[k] > base[now]:  # of equals the first, as `decode` has it; the others take over at 0
                now = k
        reward = _reward(rewards[i], places[now])
        first[i] = reward
        strength = 0.0
        while True:
            crossing, following = limit, -1
            for k in range(len(places)):
                if bond[k] > bond[now]:
                    meets = max((base[now] - base[k]) / (bond[k] - bond[now]), strength)
                    if meets < crossing or (meets == crossing and following >= 0 and bond[k] > bond[following]):
                        crossing, following = meets, k
            if following < 0:
                break
            strength, now = crossing, following
            earned = _reward(rewards[i], places[now])
            if earned != reward:
                if n_events == len(at):
                    at, rows, gains = _doubled(at), _doubled(rows), _doubled(gains)
                at[n_events], rows[n_events], gains[n_events] = strength, i, earned - reward
                n_events += 1
                reward = earned
    return at[:n_events], rows[:n_events], gains[:n_events], first


@compiled
def _reward(rewards: Floats, places: Ints) -> float:
    total = 0.0
    for place in places:
        if rewards[place] < 0.0:
            return 0.0
        total += rewards[place]
    return total / len(places)


@compiled
def _doubled(values: NDArray[np.generic]) -> NDArray[np.generic]:
    more = np.empty(2 * len(values), values.dtype)
    more[: len(values)] = values
    return more
