"""New words of a text without blanks: sequences of Chinese characters that hold together and stand freely.

    discover_words(["今天武汉加油！", "武汉加油啊", …])       # [NewWord("武汉", 812, pmi=6.1, entropy=3.3), …]

A sequence holds together where its characters meet far more often than by chance (pointwise mutual information at its
weakest joint), and stands freely where many characters go before and after it (entropy of its left and right
neighbours). Knows nothing of tokenizers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The characters that BERT's tokenizers take apart; kana and hangul are not among them.
HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
HAN_RUN = re.compile(f"[{HAN}]+")

_BOUNDARY = 0


@dataclass(frozen=True)
class NewWord:
    """A sequence of characters that is a word by its statistics.

    Attributes:
        word: Two characters or more.
        count: Occurrences, overlapping ones included.
        pmi: Least pointwise mutual information of its two parts over all ways to cut it in two, in nats.
        entropy: Of its left or right neighbours, whichever is less, in nats.
    """

    word: str
    count: int
    pmi: float
    entropy: float


@dataclass(frozen=True)
class _Level:
    """All sequences of one length: at each position the number of the sequence that begins there, -1 for none."""

    at: NDArray[np.int64]
    counts: NDArray[np.int64]
    first: NDArray[np.int64]  # a position of each


def discover_words(
    texts: Iterable[str],
    *,
    max_length: int = 4,
    min_count: int = 10,
    min_pmi: float = 3.0,
    min_entropy: float = 1.0,
    limit: int | None = None,
) -> list[NewWord]:
    """Words among the sequences of 2 to `max_length` Chinese characters.

    With N characters in all and counts c, the mutual information of a cut of w into u and v is
    log(N c(w) / (c(u) c(v))). Where a run of Chinese characters begins or
    ends, nothing binds the word: each such end counts as a neighbour of its own.

    Args:
        texts: Cleaned texts; characters of other scripts separate runs.
        max_length: Characters of a word at most.
        min_count: Least occurrences.
        min_pmi: Least mutual information at the weakest joint, in nats.
        min_entropy: Least entropy of the neighbours on either side, in nats.
        limit: So many at most, the most frequent ones; None: all.

    Returns:
        Most frequent first; ties in the order of their characters.
    """
    characters, codes = _encode(texts)
    levels = {1: _characters(codes)}
    found: list[NewWord] = []
    for n in range(2, max_length + 1):
        levels[n] = _extend(levels[n - 1], codes, n)
        found += _judge(levels, n, codes, characters, min_count, min_pmi, min_entropy)
    found.sort(key=lambda word: (-word.count, word.word))
    return found[:limit]


def count_characters(texts: Iterable[str]) -> dict[str, int]:
    """Occurrences of each Chinese character."""
    characters, codes = _encode(texts)
    counts = np.bincount(codes, minlength=len(characters) + 1)[1:]
    return dict(zip(characters, counts.tolist(), strict=True))


def _encode(texts: Iterable[str]) -> tuple[str, NDArray[np.int64]]:
    """The distinct characters in order, and all runs as their places from 1 on, with a boundary around each run."""
    runs = "\n".join(run for text in texts for run in HAN_RUN.findall(text))
    points = np.frombuffer(f"\n{runs}\n".encode("utf-32-le"), np.uint32)
    distinct, codes = np.unique(points, return_inverse=True)
    return "".join(map(chr, distinct[1:].tolist())), codes.astype(np.int64)  # the newline is the least of all


def _characters(codes: NDArray[np.int64]) -> _Level:
    at = codes - 1
    counts = np.bincount(codes)[1:]
    first = np.zeros(len(counts), np.int64)
    first[at[at >= 0]] = np.flatnonzero(at >= 0)
    return _Level(at, counts, first)


def _extend(shorter: _Level, codes: NDArray[np.int64], n: int) -> _Level:
    """Sequences of n characters from those of n - 1."""
    at = np.full(len(codes), -1, np.int64)
    places = np.flatnonzero(shorter.at[: len(codes) - n + 1] >= 0)
    places = places[codes[places + n - 1] != _BOUNDARY]
    keys = shorter.at[places] * (int(codes.max(initial=0)) + 1) + codes[places + n - 1]
    _, first, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    at[places] = inverse
    return _Level(at, counts, places[first])


def _judge(
    levels: dict[int, _Level],
    n: int,
    codes: NDArray[np.int64],
    characters: str,
    min_count: int,
    min_pmi: float,
    min_entropy: float,
) -> list[NewWord]:
    level, total = levels[n], int((codes != _BOUNDARY).sum())
    pmi = np.full(len(level.counts), np.inf)
    for k in range(1, n):
        left, right = levels[k], levels[n - k]
        parts = left.counts[left.at[level.first]] * right.counts[right.at[level.first + k]].astype(np.float64)
        pmi = np.minimum(pmi, np.log(total * level.counts / parts))
    places = np.flatnonzero(level.at >= 0)
    kept = (level.counts >= min_count) & (pmi >= min_pmi)
    places = places[kept[level.at[places]]]
    entropy = np.minimum(
        _entropy(level.at[places], codes[places - 1], len(kept)),
        _entropy(level.at[places], codes[places + n], len(kept)),
    )
    kept &= entropy >= min_entropy
    return [
        NewWord(_spell(codes, level.first[i], n, characters), int(level.counts[i]), float(pmi[i]), float(entropy[i]))
        for i in np.flatnonzero(kept)
    ]


def _entropy(words: NDArray[np.int64], neighbours: NDArray[np.int64], n_words: int) -> NDArray[np.float64]:
    """(n_words,) entropy of each word's neighbours; 0 for words that do not occur."""
    totals = np.maximum(np.bincount(words, minlength=n_words), 1).astype(np.float64)
    ends = np.bincount(words[neighbours == _BOUNDARY], minlength=n_words)
    inner = neighbours != _BOUNDARY
    base = int(neighbours.max(initial=0)) + 1
    pairs, counts = np.unique(words[inner] * base + neighbours[inner], return_counts=True)
    owners = pairs // base
    shares = counts / totals[owners]
    bound = np.bincount(owners, weights=-shares * np.log(shares), minlength=n_words)
    return np.asarray(bound + ends / totals * np.log(totals))


def _spell(codes: NDArray[np.int64], start: int, n: int, characters: str) -> str:
    return "".join(characters[code - 1] for code in codes[start : start + n])
