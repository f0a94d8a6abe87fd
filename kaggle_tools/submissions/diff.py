"""What differs between two files with answers for the same ids, whatever the order of their rows.

    found = compare(read_answers("latest~1", folder), read_answers("latest", folder))
    found.churn, found.transitions, found.shift

The ids are joined exactly and must be the same set. Knows nothing of which of the two is better: see `expected`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.submissions._join import rows_of
from kaggle_tools.submissions._shift import shifts
from kaggle_tools.submissions._values import Floats
from kaggle_tools.submissions.answers import Answers

EDGES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True)
class Shift:
    """How far probabilities moved. A row's shift is the largest absolute change of any of its probabilities.

    Attributes:
        mean: Mean shift over all rows.
        largest: The largest shift.
        quantiles: Quantile → shift, over all rows.
        unmoved: Rows without any change.
        histogram: (upper edge, rows) of moved rows; each bin begins after the edge before, the first above 0.
        by_class: Class → (mean change B − A, mean absolute change).
    """

    mean: float
    largest: float
    quantiles: dict[str, float]
    unmoved: int
    histogram: tuple[tuple[float, int], ...]
    by_class: dict[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Difference:
    """What `compare` found.

    Attributes:
        a: First file.
        b: Second file.
        classes: C names, `a`'s first.
        task: ``single_label`` or ``multi_label``.
        compared: ``probabilities``, or ``labels`` where at least one file has only those.
        rows_a: (N,) int64 rows of `a` that are compared.
        rows_b: (N,) int64 their rows in `b`.
        only_a: Ids that `b` lacks; empty unless only common rows were asked for.
        only_b: Ids that `a` lacks.
        decisions_a: (N,) int64 classes, or (N, C) bool.
        decisions_b: The same of `b`.
        changed: (N,) bool: another label, or a probability that moved by more than the tolerance.
        flipped: (N,) bool: another decision.
        moved: (N,) how far each row's probabilities moved; None for labels.
        shift: Their distribution; None for labels.
        notes: What a reader should know about how the two were compared.
    """

    a: Answers
    b: Answers
    classes: tuple[str, ...]
    task: str
    compared: str
    rows_a: NDArray[np.int64]
    rows_b: NDArray[np.int64]
    only_a: pl.Series
    only_b: pl.Series
    decisions_a: NDArray[Any]
    decisions_b: NDArray[Any]
    changed: NDArray[np.bool_]
    flipped: NDArray[np.bool_]
    moved: Floats | None
    shift: Shift | None
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows_a)

    @property
    def same(self) -> bool:
        """No row changed, and both have the same ids."""
        return not (self.changed.any() or len(self.only_a) or len(self.only_b))

    @property
    def churn(self) -> float:
        """Share of rows with another decision, in [0, 1]."""
        return float(self.flipped.mean()) if len(self) else 0.0

    @property
    def ids(self) -> pl.Series:
        """(N,) ids that are compared, in the order of `a`."""
        return self.a.ids.gather(self.rows_a)

    @property
    def transitions(self) -> NDArray[np.int64]:
        """(C, C) rows by class in `a` and class in `b`; for ``multi_label`` (C, 2, 2) by label off or on."""
        c = len(self.classes)
        if self.task == "single_label":
            return np.bincount(self.decisions_a * c + self.decisions_b, minlength=c * c).reshape(c, c)
        a, b = self.decisions_a, self.decisions_b
        corners = [[(~a & ~b).sum(axis=0), (~a & b).sum(axis=0)], [(a & ~b).sum(axis=0), (a & b).sum(axis=0)]]
        return np.moveaxis(np.array(corners, np.int64), 2, 0)

    def biggest(self, n: int | None = None) -> NDArray[np.int64]:
        """Places in [0, N) of the changed rows, flips first, then by how far they moved; ties in the order of `a`."""
        places = np.flatnonzero(self.changed)
        moved = np.zeros(len(places)) if self.moved is None else self.moved[places].astype(np.float64)
        flipped = self.flipped[places]
        if n is not None and n < len(places):
            size = moved + 2.0 * flipped  # rounded: what is cut off is smaller for certain
            enough = size >= (np.partition(size, len(size) - n)[len(size) - n] if n else np.inf)
            places, moved, flipped = places[enough], moved[enough], flipped[enough]
        return places[np.lexsort((places, -moved, ~flipped))[:n]]

    def label(self, side: str, place: int) -> str:
        """The decision of side ``a`` or ``b`` for a row, in words."""
        decided = (self.decisions_a if side == "a" else self.decisions_b)[place]
        if self.task == "single_label":
            return self.classes[int(decided)]
        return "|".join(name for name, on in zip(self.classes, decided, strict=True) if on)


def compare(a: Answers, b: Answers, *, common: bool = False, tolerance: float = 0.0) -> Difference:
    """Compare two files row by row, joined by id.

    Args:
        a: The first.
        b: The second; changes are from `a` to `b`.
        common: Compare the rows that both have, where the ids differ; otherwise that is an error.
        tolerance: How far a probability may move without counting as changed, in [0, 1]; another decision always does.

    Raises:
        UserError: An id twice in a file, different ids (counts and the first few), different classes or tasks.
    """
    classes = _common_classes(a, b)
    rows_a, rows_b, only_a, only_b = _join(a, b, common=common)
    notes = []
    moved: Floats | None = None
    shift: Shift | None = None
    if a.probs is not None and b.probs is not None:
        decisions_a, decisions_b, moved, shift = _of_probabilities(a, b, classes, rows_a, rows_b)
        flipped = _differ(decisions_a, decisions_b)
        changed = flipped | (moved > tolerance)
        if a.probs.dtype != b.probs.dtype:
            notes.append("one file has single precision: both are compared at that")
    else:
        decisions_a, decisions_b = a.decisions(classes)[rows_a], b.decisions(classes)[rows_b]
        changed = flipped = _differ(decisions_a, decisions_b)
        if (a.probs is None) != (b.probs is None):
            kinds = ("labels", "probabilities") if a.probs is None else ("probabilities", "labels")
            notes.append(f"A holds {kinds[0]}, B {kinds[1]}: the labels that they amount to are compared")
    return Difference(
        a=a, b=b, classes=classes, task=a.task, compared="labels" if moved is None else "probabilities",
        rows_a=rows_a, rows_b=rows_b, only_a=only_a, only_b=only_b, decisions_a=decisions_a, decisions_b=decisions_b,
        changed=changed, flipped=flipped, moved=moved, shift=shift, notes=tuple(notes),
    )  # fmt: skip


def _of_probabilities(
    a: Answers, b: Answers, classes: tuple[str, ...], rows_a: NDArray[np.int64], rows_b: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[Any], Floats, Shift]:
    p, q = a.in_order(classes), b.in_order(classes)
    coarser = np.float32 if np.float32 in (p.dtype, q.dtype) else np.float64
    ours = np.ascontiguousarray(p if len(rows_a) == len(p) else p[rows_a], coarser)
    moved, best_a, best_b, total, size = shifts(ours, np.ascontiguousarray(q, coarser), rows_b)
    shift = _distribution(moved, classes, total, size)
    if a.task == "multi_label":
        return a.decisions(classes)[rows_a], b.decisions(classes)[rows_b], moved, shift
    return best_a, best_b, moved, shift


def _differ(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((a != b).any(axis=1) if a.ndim == 2 else a != b)


def _distribution(moved: Floats, classes: tuple[str, ...], total: NDArray[Any], size: NDArray[Any]) -> Shift:
    n = max(1, len(moved))
    upper = np.searchsorted(np.array(EDGES, moved.dtype), moved)  # 0 for no change, else the bin's upper edge
    counts = np.bincount(np.minimum(upper, len(EDGES) - 1), minlength=len(EDGES))
    at = np.quantile(moved, QUANTILES) if len(moved) else np.zeros(len(QUANTILES))
    return Shift(
        mean=float(moved.mean(dtype=np.float64)) if len(moved) else 0.0,
        largest=float(moved.max(initial=0)),
        quantiles={f"{q:g}": float(value) for q, value in zip(QUANTILES, at, strict=True)},
        unmoved=int(counts[0]),
        histogram=tuple((EDGES[i], int(counts[i])) for i in range(1, len(EDGES))),
        by_class={name: (float(total[i] / n), float(size[i] / n)) for i, name in enumerate(classes)},
    )


def _common_classes(a: Answers, b: Answers) -> tuple[str, ...]:
    """All classes, `a`'s order first. Files that hold labels may lack some; probabilities must be of the same ones."""
    if a.task != b.task:
        raise UserError(
            f"{a.title} has one label a row, {b.title} several" if a.task == "single_label"
            else f"{a.title} has several labels a row, {b.title} one",
            a=a.path, b=b.path, next="are both files of this competition?",
        )  # fmt: skip
    new = [name for name in b.classes if name not in a.classes]
    if a.probs is None and b.probs is None:
        return (*a.classes, *new)
    gone = [name for name in a.classes if name not in b.classes]
    if (new and a.probs is not None) or (gone and b.probs is not None):
        raise UserError(
            "the two files are about different classes",
            a=f"{a.title}: {', '.join(a.classes[:12])}",
            b=f"{b.title}: {', '.join(b.classes[:12])}",
            next="compare files of the same kind: labels with labels, or probabilities of the same classes",
        )
    return a.classes if len(a.classes) >= len(b.classes) else b.classes


_Joined = tuple[NDArray[np.int64], NDArray[np.int64], pl.Series, pl.Series]


def _join(a: Answers, b: Answers, *, common: bool) -> _Joined:
    rows = rows_of(a.ids, b.ids)
    if rows is None:
        raise _repeated(b)
    nothing = a.ids.head(0)
    found = rows >= 0
    if found.all() and len(a) == len(b) and _each_once(rows):
        return np.arange(len(a), dtype=np.int64), rows, nothing, nothing
    if a.ids.n_unique() != len(a):
        raise _repeated(a)
    only_a, only_b = a.ids.filter(~found), b.ids.filter(~_hit(rows[found], len(b)))
    if not common:
        raise UserError(
            f"the ids differ: {len(only_a):,} only in {a.title}, {len(only_b):,} only in {b.title}",
            a=f"{a.path}: {', '.join(only_a.head(5)) or 'none'}",
            b=f"{b.path}: {', '.join(only_b.head(5)) or 'none'}",
            next="compare the rows that both have with --common",
        )
    if not found.any():
        raise UserError("the two files have no id in common", a=f"{a.path}: {a.ids[0]}", b=f"{b.path}: {b.ids[0]}")
    return np.flatnonzero(found), rows[found], only_a, only_b


def _each_once(rows: NDArray[np.int64]) -> bool:
    return bool(_hit(rows, len(rows)).all())


def _hit(rows: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    hit = np.zeros(n, np.bool_)
    hit[rows] = True
    return hit


def _repeated(answers: Answers) -> UserError:
    twice = answers.ids.is_duplicated()
    first = answers.ids.filter(twice).unique(maintain_order=True)
    return UserError(
        f"{len(first):,} ids occur more than once in {answers.title}",
        where=answers.path,
        first=", ".join(f"'{name}'" for name in first.head(5)),
        next="check the file with `cli validate FILE`",
    )
