"""Groups of texts that say the same, as a table of pairs: alike ones of one group, different ones of two.

    groups = read_groups(Path("questions.jsonl"))
    to_pairs(groups, most=3, negatives=1, seed=42)       # columns id, text_a, text_b, label, block

A text that stands in two groups makes them one. Groups are dealt into blocks, and pairs of different texts are drawn
within a block alone: folds that keep blocks together have no text on both sides.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from kaggle_tools.errors import UserError

ALIKE, DIFFERENT = "1", "0"
COLUMNS = ("id", "text_a", "text_b", "label", "block")
BLOCK = 16  # groups: enough to draw from
_TRIES = 50  # to draw a pair of different texts that is new; a small block may have no more
LEAST_BLOCKS = 10  # of small files, so that folds can be made of them; then a block has fewer groups, but two
_EXPECTED = 'a group a line: texts separated by tabs, or JSON such as ["…", "…"] or {"text": "…", "synonyms": ["…"]}'


def read_groups(path: Path) -> list[list[str]]:
    """Groups of a file, each text once in its group; those of a single text are left out.

    Args:
        path: UTF-8. ``.json``: a list of lists, or an object whose values are lists. Otherwise a group a line: JSON, or
            texts separated by tabs.

    Raises:
        UserError: A file that cannot be read, a group that is none, or no group of two texts.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise UserError(f"this file cannot be read: {exc}", where=path) from exc
    found = _of_json(text, path) if path.suffix == ".json" else _of_lines(text, path)
    groups = [list(dict.fromkeys(one.strip() for one in group if one.strip())) for group in found]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        raise UserError("no group of two texts in this file", where=path, expected=_EXPECTED)
    return groups


def merge_groups(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Groups that share a text become one; texts and groups in the order in which they were met."""
    place: dict[str, int] = {}
    merged: dict[int, dict[str, None]] = {}
    for i, group in enumerate(groups):
        linked = sorted({place[text] for text in group if text in place})
        own = {text: None for number in linked for text in merged.pop(number)} | dict.fromkeys(group)
        number = linked[0] if linked else i
        merged[number] = own
        place |= dict.fromkeys(own, number)
    return [list(merged[number]) for number in sorted(merged)]


def to_pairs(groups: Sequence[Sequence[str]], *, most: int, negatives: int, seed: int) -> pl.DataFrame:
    """Pairs of texts in random order.

    Args:
        groups: Of two texts at least, no text in two of them.
        most: Pairs of alike texts that a group gives at most, drawn at random.
        negatives: Pairs of different texts for each of these, no two alike; fewer where a block has no more.
        seed: Of all draws.

    Returns:
        String columns ``id``, ``text_a``, ``text_b``, ``label`` (``1`` alike, ``0`` different) and ``block``.

    Raises:
        UserError: A single group: nothing is different.
    """
    if len(groups) < 2:
        raise UserError("a single group of texts: nothing is different from it", expected="two groups at least")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    n_blocks = max(len(groups) // BLOCK, min(LEAST_BLOCKS, len(groups) // 2))
    blocks = [[groups[i] for i in part] for part in np.array_split(order, n_blocks)]
    rows: list[tuple[str, str, str, str]] = []
    for number, block in enumerate(blocks):
        apart: set[frozenset[str]] = set()
        for own, group in enumerate(block):
            pairs = list(itertools.combinations(group, 2))
            drawn = [pairs[i] for i in sorted(rng.permutation(len(pairs))[:most])]
            rows += [(first, second, ALIKE, f"block{number}") for first, second in drawn]
            for _ in range(negatives * len(drawn)):
                for _ in range(_TRIES):
                    other = block[(own + 1 + rng.integers(len(block) - 1)) % len(block)]
                    texts = (str(rng.choice(group)), str(rng.choice(other)))
                    if frozenset(texts) not in apart:
                        apart.add(frozenset(texts))
                        rows.append((*texts, DIFFERENT, f"block{number}"))
                        break
    shuffled = [(f"pair{i}", *rows[j]) for i, j in enumerate(rng.permutation(len(rows)))]
    return pl.DataFrame(shuffled, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def _of_json(text: str, path: Path) -> list[list[str]]:
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise UserError(f"this file is not JSON: {exc}", where=path) from exc
    values = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(values, list):
        raise UserError(
            "this file holds no groups", where=path, expected="a list of lists of texts, or an object of them"
        )
    return [_texts(value, f"{path}, group {number:,}") for number, value in enumerate(values, start=1)]


def _of_lines(text: str, path: Path) -> list[list[str]]:
    return [
        _of_line(line, f"{path}, line {number:,}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip()
    ]


def _of_line(line: str, where: str) -> list[str]:
    if not line.lstrip().startswith(("[", "{")):
        return line.split("\t")
    try:
        return _texts(json.loads(line), where)
    except ValueError:
        return line.split("\t")  # a text may begin with a bracket


def _texts(value: Any, where: str) -> list[str]:
    texts = list(_flat(value)) if isinstance(value, dict) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UserError("this is no group of texts", where=where, found=str(value)[:80], expected=_EXPECTED)
    return texts


def _flat(value: dict[str, Any]) -> Iterator[Any]:
    """Texts of an object, whatever its keys are called: texts and lists of them."""
    for part in value.values():
        if isinstance(part, list):
            yield from part
        else:
            yield part
