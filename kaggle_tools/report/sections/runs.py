"""Runs: how good each is, on each fold and for each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_tools.metrics import find_metric
from kaggle_tools.report.blocks import Block, Cell, Column, Figure, Heading, Note, Section, Table
from kaggle_tools.report.charts import bars, dots, heatmap
from kaggle_tools.report.sections.measure import Measured
from kaggle_tools.report.sections.words import (
    listed,
    number_cell,
    plural,
    seconds,
    spaced,
    time_cell,
    warnings,
    without_empty,
)


def ranked(runs: Sequence[Measured], metric: str) -> list[Measured]:
    """Best first; runs without a score last."""
    sign = -1.0 if find_metric(metric).greater_is_better else 1.0
    return sorted(runs, key=lambda run: (run.score is None, sign * (run.score or 0.0), run.name))


def runs_section(
    runs: Sequence[Measured], metric: str, classes: Sequence[str], problems: Sequence[str] = ()
) -> Section:
    """A table of all runs, their folds and their classes."""
    if not runs:
        hint = Note("No runs yet; `cli train recipes/linear.toml` or `cli import NAME --oof oof.csv` makes one.")
        return Section("Runs", [hint, *warnings(problems)])
    ordered = ranked(runs, metric)
    scored = [run for run in ordered if run.score is not None]
    noted = [f"Run '{run.name}': {note}" for run in ordered for note in run.notes]
    blocks: list[Block] = [*warnings([*problems, *noted]), _table(ordered, metric)]
    if scored:
        blocks.append(_scores(scored, metric))
    by_class = [run for run in scored if run.class_f1 is not None]
    if by_class:
        blocks += [Heading("Class by class"), _by_class(by_class, classes)]
    without = [run.name for run in ordered if run.score is None]
    if without:
        blocks.append(Note(f"{listed(without)} without out-of-fold predictions cannot be scored."))
    return Section("Runs", blocks, lead=_lead(scored, metric))


def _lead(scored: Sequence[Measured], metric: str) -> str:
    if not scored:
        return "No run has out-of-fold predictions."
    best = scored[0]
    where = f"{best.n_rows:,} out-of-fold rows"
    return f"The best of {plural(len(scored), 'run')} is {best.name}: {spaced(metric)} {best.score:.5f} on {where}."


def _table(runs: Sequence[Measured], metric: str) -> Table:
    folds = any(run.fold_scores for run in runs)
    columns = [Column("run"), Column("kind"), Column(spaced(metric), "number", "On all out-of-fold rows")]
    if folds:
        columns += [
            Column("worst fold", "number"),
            Column("± folds", "number", "Standard deviation of the folds' scores"),
        ]
    columns += [
        Column("calibration error", "number", "Mean distance of confidence and accuracy"),
        Column("rows", "number"),
        Column("training", "number"),
        Column("made"),
    ]
    greater = find_metric(metric).greater_is_better
    rows = []
    for place, run in enumerate(runs):
        worst = min if greater else max
        some = run.fold_scores
        spread = float(np.std(some, ddof=1)) if len(some) > 1 else None
        cells = [Cell(run.name), Cell(run.kind), number_cell(run.score, ".5f", strong=place == 0)]
        if folds:
            cells += [
                number_cell(worst(some) if some else None),
                number_cell(spread),
            ]
        cells += [
            number_cell(run.calibration.error if run.calibration else None),
            number_cell(run.n_rows or None, ",.0f"),
            Cell(seconds(run.seconds), run.seconds) if run.seconds is not None else Cell(""),
            time_cell(run.created),
        ]
        rows.append(tuple(cells))
    table = Table("All runs, the best first", tuple(columns), tuple(rows), sorted_by=2, descending=greater)
    return without_empty(table)


def _scores(runs: Sequence[Measured], metric: str) -> Figure:
    names, scores = [run.name for run in runs], [run.score or 0.0 for run in runs]
    alt = f"{spaced(metric)} of each run: {', '.join(f'{n} {s:.4f}' for n, s in zip(names, scores, strict=True))}"
    if not any(run.fold_scores for run in runs):
        chart = bars(names, scores, form=".4f", title=spaced(metric), strong=names[:1])
        return Figure(chart, f"{spaced(metric)} of each run".capitalize(), alt=alt)
    chart = dots(names, [run.fold_scores for run in runs], scores, title=f"{spaced(metric)}, out of fold")
    return Figure(chart, "How much the score moves from fold to fold", alt, "Upright lines: all rows. Dots: each fold.")


def _by_class(runs: Sequence[Measured], classes: Sequence[str]) -> Figure:
    values = np.stack([run.class_f1 for run in runs if run.class_f1 is not None])
    mean = np.nanmean(values, axis=0) if np.isfinite(values).any() else np.zeros(len(classes))
    names = [run.name for run in runs]
    hardest = classes[int(np.nanargmin(mean))] if np.isfinite(mean).any() else classes[0]
    return Figure(
        heatmap(
            values, names, classes, form=".2f", tip=lambda i, j: f"{names[i]}, {classes[j]}\nF1 {values[i, j]:.4f}"
        ),
        f"F1 of each class: '{hardest}' is the hardest",
        alt=f"F1 of each run and class. Mean of the runs: {_pairs(classes, mean)}",
        data=Table(
            "F1 of each run and class",
            (Column("run"), *(Column(name, "number") for name in classes)),
            tuple((Cell(n), *(number_cell(float(v)) for v in row)) for n, row in zip(names, values, strict=True)),
        ),
    )


def _pairs(names: Sequence[str], values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))
