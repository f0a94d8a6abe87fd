"""Words of Chinese text: a run of characters cut into words by one of the `SEGMENTERS`.

cut = make_segmenter("discovered", texts)
cut("今天武汉加油")                      # ["今天", "武汉", "加油"]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from models.errors import ModelError
from models.text.new_words import count_characters, discover_words

Chinese = Literal["discovered", "list", "jieba", "characters"]
Segmenter = Callable[[str], list[str]]


def make_segmenter(kind: Chinese, texts: Sequence[str], words: str | None = None) -> Segmenter:
    """A function from a run of Chinese characters to its words, which joined are the run again.

    Args:
        kind: ``discovered`` finds the words in `texts` themselves, ``list`` reads them from a file, ``jieba`` asks the
            package rjieba, ``characters`` takes each character for a word.
        texts: Cleaned texts; for ``discovered``.
        words: File of words; for ``list``.

    Raises:
        ModelError: No such file, nothing in it, or rjieba is not installed.
    """
    if kind == "characters":
        return list
    if kind == "jieba":
        return _jieba()
    if kind == "list":
        assert words is not None  # a recipe is checked for it
        return Lexicon(read_words(Path(words))).segment
    found = {word.word: word.count for word in discover_words(texts)}
    return Lexicon({**count_characters(texts), **found}).segment


def read_words(path: Path) -> dict[str, int]:
    """Words of a file: a line a word, its frequency behind a blank where known (the format of jieba's dictionaries).

    Raises:
        ModelError: No such file, no words in it, or a frequency that is no number.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ModelError(f"the list of words cannot be read: {exc}", where=path) from exc
    words: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        word, *rest = line.split() or [""]
        if rest and not (rest[0].isdecimal() and int(rest[0]) > 0):
            raise ModelError(
                f"line {number}: '{rest[0]}' is no frequency", where=path, expected="a word a line, or 'word 123'"
            )
        if word:
            words[word] = int(rest[0]) if rest else 1
    if not words:
        raise ModelError("no words in this file", where=path, expected="a word a line, or 'word 123'")
    return words


class Lexicon:
    """The most probable words of a run, each word by its share of all counts: a unigram model, solved exactly.

    A character that is no word itself counts as one seen once. Of a list without frequencies the fewest words win.

    Args:
        counts: Words and their frequencies, each at least 1.
    """

    def __init__(self, counts: Mapping[str, int]) -> None:
        total = math.log(sum(counts.values()) + 1)
        self._costs = {word: total - math.log(count) for word, count in counts.items()}
        self._unknown = total
        self._longest = max((len(word) for word in counts), default=1)

    def segment(self, run: str) -> list[str]:
        """Words that joined are `run`; of equally probable ways the one with longer words at the end."""
        costs, begins = [0.0], [0]
        for end in range(1, len(run) + 1):
            best, begin = math.inf, end - 1
            for start in range(max(0, end - self._longest), end):
                cost = self._costs.get(run[start:end], self._unknown if start == end - 1 else math.inf)
                if costs[start] + cost < best:
                    best, begin = costs[start] + cost, start
            costs.append(best)
            begins.append(begin)
        words, end = [], len(run)
        while end:
            words.append(run[begins[end] : end])
            end = begins[end]
        return words[::-1]


def _jieba() -> Segmenter:
    try:
        import rjieba
    except ImportError as exc:
        raise ModelError(
            "chinese = 'jieba' needs the package rjieba, which is not installed",
            next="pip install 'kaggle-jobs[chinese]', or chinese = 'discovered'",
        ) from exc
    return lambda run: list(rjieba.cut(run))
