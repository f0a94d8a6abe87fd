"""Where runs are wrong: which classes they take for which, and whether they know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.report.blocks import (
    Block,
    Cell,
    Column,
    Details,
    Figure,
    Gallery,
    Heading,
    Note,
    Prose,
    Section,
    Table,
)
from kaggle_tools.report.charts import calibration, heatmap
from kaggle_tools.report.sections.measure import Calibration, Measured
from kaggle_tools.report.sections.words import plural

_SMALL_CLASSES = 8  # up to so many classes a matrix is readable beside others
_LARGE_SHOWN = 3  # larger ones are drawn for so many runs only
_SHOWN = 6
_PAIRS = 12


def mistakes_section(runs: Sequence[Measured], classes: Sequence[str]) -> Section:
    """Confusion matrices and calibration curves, the best run first."""
    blocks: list[Block] = []
    confused = [(run, run.matrix) for run in runs if run.matrix is not None]
    if confused:
        blocks += [Heading("Taken for something else"), *_confusions(confused, classes)]
    calibrated = [(run, run.calibration) for run in runs if run.calibration is not None]
    if calibrated:
        blocks += [Heading("How sure, how right"), *_calibrations(calibrated)]
    if not blocks:
        blocks = [Note("Out-of-fold predictions show mistakes; `cli train` and `cli import --oof` make them.")]
    return Section("Mistakes", blocks, lead=_lead(confused, classes))


def _lead(confused: Sequence[tuple[Measured, NDArray[np.int64]]], classes: Sequence[str]) -> str:
    if not confused:
        return ""
    run, matrix = confused[0]
    wrong = matrix.sum() - np.trace(matrix)
    pairs = _pairs(matrix)
    if not pairs:
        return f"{run.name} makes no mistake."
    i, j = pairs[0]
    share = wrong / matrix.sum()
    return (
        f"{run.name} is wrong on {plural(int(wrong), 'row')} ({share:.1%}); most often it takes "
        f"'{classes[i]}' for '{classes[j]}' ({matrix[i, j]:,})."
    )


def _confusions(confused: Sequence[tuple[Measured, NDArray[np.int64]]], classes: Sequence[str]) -> list[Block]:
    if len(classes) > _SMALL_CLASSES:
        figures = [_matrix(run.name, matrix, classes, small=False) for run, matrix in confused[:_LARGE_SHOWN]]
        shown: list[Block] = [figures[0]]
        shown += [Details(figure.caption, (figure,)) for figure in figures[1:]]
    else:
        figures = [_matrix(run.name, matrix, classes, small=True) for run, matrix in confused]
        shown = _folded(figures)
    return [*shown, _pair_table(*confused[0], classes)]


def _folded(figures: Sequence[Figure]) -> list[Block]:
    """The first few figures in the open, the others behind a line."""
    shown: list[Block] = [Gallery(tuple(figures[:_SHOWN]))]
    if len(figures) > _SHOWN:
        shown.append(Details(f"{plural(len(figures) - _SHOWN, 'more run')}", (Gallery(tuple(figures[_SHOWN:])),)))
    return shown


def _matrix(name: str, matrix: NDArray[np.int64], classes: Sequence[str], *, small: bool) -> Figure:
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    accuracy = np.trace(matrix) / max(matrix.sum(), 1)

    def tip(i: int, j: int) -> str:
        return f"{classes[i]} taken for {classes[j]}\n{matrix[i, j]:,} rows, {shares[i, j]:.1%} of {classes[i]}"

    # Shades are roots of shares, or all mistakes would look alike beside the diagonal.
    # Cells of many classes are too small for numbers, and most are empty: only what is there is drawn.
    drawn = matrix if small else np.where(matrix > 0, matrix.astype(np.float64), np.nan)
    chart = heatmap(
        drawn, classes, classes, form=",d", shades=np.sqrt(shares), low=0.0, high=1.0, row_title="is",
        column_title="taken for", tip=tip, small=small,
    )  # fmt: skip
    listing = "; ".join(f"{classes[i]} for {classes[j]} {matrix[i, j]:,}" for i, j in _pairs(matrix)[:5])
    alt = f"Confusion matrix of {name}: {accuracy:.1%} of rows are right. Most frequent mistakes: {listing or 'none'}"
    return Figure(chart, f"{name}: {accuracy:.1%} right", alt)


def _pairs(matrix: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(true, predicted) of mistakes, the most frequent first."""
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")
    found = [divmod(int(place), len(matrix)) for place in order]
    return [(i, j) for i, j in found if off[i, j] > 0]


def _pair_table(run: Measured, matrix: NDArray[np.int64], classes: Sequence[str]) -> Table:
    totals = matrix.sum(axis=1)
    pairs = _pairs(matrix)[:_PAIRS]
    most = max((matrix[i, j] for i, j in pairs), default=1)
    return Table(
        f"Most frequent mistakes of {run.name}",
        (Column("is"), Column("taken for"), Column("rows", "number"), Column("share of the class", "number")),
        tuple(
            (
                Cell(classes[i]),
                Cell(classes[j]),
                Cell(f"{matrix[i, j]:,}", int(matrix[i, j]), bar=float(matrix[i, j] / most)),
                Cell(f"{matrix[i, j] / totals[i]:.1%}", float(matrix[i, j] / totals[i])),
            )
            for i, j in pairs
        ),
        sorted_by=2,
    )


def _calibrations(runs: Sequence[tuple[Measured, Calibration]]) -> list[Block]:
    figures = [_curve(run.name, found) for run, found in runs]
    how = (
        "On the dashed line a run is right as often as it says. Below it, it is overconfident: blends in log space "
        "(`cli blend`) mend that. Bands are 95 % intervals, points grow with their rows."
    )
    return [Prose(how), *_folded(figures)]


def _curve(name: str, found: Calibration) -> Figure:
    chart = calibration(
        found.confidence.tolist(), found.accuracy.tolist(), found.rows.tolist(),
        low=found.low.tolist(), high=found.high.tolist(),
    )  # fmt: skip
    kind = "overconfident" if found.bias > 0 else "underconfident"
    caption = f"{name}: off by {found.error:.1%}" + (f", {kind}" if found.error >= 0.01 else "")
    points = ", ".join(f"says {s:.0%} is {a:.0%}" for s, a in zip(found.confidence, found.accuracy, strict=True))
    return Figure(chart, caption, f"Calibration of {name}: {points}")
