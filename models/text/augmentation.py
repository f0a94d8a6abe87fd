"""Texts changed a little, as more training rows. Adding a step is adding a function and its name to `AUGMENTATIONS`.

    augment(["a small brown dog"], ("delete", "swap"), rate=0.2, generator=np.random.default_rng(0))

The units that steps work on are words, and single characters where a language puts no spaces. Wei, Zou 2019, "EDA: easy
data augmentation techniques". Only training rows are ever augmented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from models.errors import ModelError
from models.text.pairs import SEPARATOR, split_text

Units = list[str]
Synonyms = Mapping[str, Sequence[str]]

# Between two words stands a blank; around a character of these scripts none.
_NO_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNIT = re.compile(rf"[{_NO_SPACES}]|[^\s{_NO_SPACES}]+")
_SUPERFLUOUS = re.compile(rf"(?<=[{_NO_SPACES}]) | (?=[{_NO_SPACES}])")


def delete(units: Units, n: int, generator: np.random.Generator, synonyms: Synonyms) -> Units:  # noqa: ARG001
    """Leave out n units; at least one stays."""
    gone = set(generator.choice(len(units), min(n, len(units) - 1), replace=False).tolist())
    return [unit for i, unit in enumerate(units) if i not in gone]


def swap(units: Units, n: int, generator: np.random.Generator, synonyms: Synonyms) -> Units:  # noqa: ARG001
    """Exchange two units, n times."""
    swapped = list(units)
    for _ in range(n if len(units) > 1 else 0):
        i, j = generator.choice(len(units), 2, replace=False).tolist()
        swapped[i], swapped[j] = swapped[j], swapped[i]
    return swapped


def insert(units: Units, n: int, generator: np.random.Generator, synonyms: Synonyms) -> Units:
    """Put a synonym of one of the units (without synonyms: the unit itself again) at a random place, n times."""
    longer = list(units)
    for _ in range(n):
        unit = _synonym(units[int(generator.integers(len(units)))], generator, synonyms)
        longer.insert(int(generator.integers(len(longer) + 1)), unit)
    return longer


def replace(units: Units, n: int, generator: np.random.Generator, synonyms: Synonyms) -> Units:
    """Put a synonym in the place of n of the units that have one."""
    known = [i for i, unit in enumerate(units) if unit in synonyms]
    replaced = list(units)
    for i in generator.permutation(known)[:n].tolist():
        replaced[i] = _synonym(units[i], generator, synonyms)
    return replaced


AUGMENTATIONS: dict[str, Callable[[Units, int, np.random.Generator, Synonyms], Units]] = {
    "delete": delete,
    "swap": swap,
    "insert": insert,
    "replace": replace,
}


def augment(
    texts: Sequence[str],
    steps: Sequence[str],
    *,
    rate: float,
    generator: np.random.Generator,
    synonyms: Synonyms | None = None,
) -> list[str]:
    """Each text once, changed by one of the steps, drawn at random; of a pair each of the two texts.

    Args:
        texts: Cleaned texts.
        steps: Names in `AUGMENTATIONS`.
        rate: Share of a text's units that a step changes; at least one.
        generator: Source of all choices.
        synonyms: Words and what may stand in their place.
    """
    return [
        SEPARATOR.join(_augment(part, steps, rate, generator, synonyms or {}) for part in split_text(text))
        for text in texts
    ]


def read_synonyms(path: Path) -> dict[str, tuple[str, ...]]:
    """Lines of words that may stand for each other, separated by tabs, UTF-8.

    Raises:
        ModelError: No such file, not UTF-8, or no line with two words.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as exc:
        raise ModelError("no such file of synonyms", where=path) from exc
    except UnicodeDecodeError as exc:
        raise ModelError(f"synonyms must be UTF-8: {exc}", where=path) from exc
    groups = [tuple(word.strip() for word in line.split("\t") if word.strip()) for line in lines]
    found = {word: tuple(o for o in group if o != word) for group in groups if len(group) > 1 for word in group}
    if not found:
        raise ModelError("no synonyms", where=path, expected="a line a group: word, tab, word, tab, word …")
    return found


def _augment(text: str, steps: Sequence[str], rate: float, generator: np.random.Generator, synonyms: Synonyms) -> str:
    step = AUGMENTATIONS[steps[int(generator.integers(len(steps)))]]
    units = _UNIT.findall(text)
    if not units:
        return text
    return _SUPERFLUOUS.sub("", " ".join(step(units, max(1, round(rate * len(units))), generator, synonyms)))


def _synonym(unit: str, generator: np.random.Generator, synonyms: Synonyms) -> str:
    """One of its synonyms; the unit itself where it has none."""
    others = synonyms.get(unit, (unit,))
    return others[int(generator.integers(len(others)))]
