"""Submission versions, and how well out-of-fold scores track the board."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_tools.metrics import find_metric
from kaggle_tools.report.blocks import Block, Cell, Column, Figure, Heading, Note, Section, Table
from kaggle_tools.report.charts import heatmap, scatter
from kaggle_tools.report.sections.words import number_cell, plural, spaced, time_cell, warnings, without_empty
from kaggle_tools.submissions import Version

_LEAST_FOR_RANKS = 3


def leaderboard_section(versions: Sequence[Version], metric: str, problems: Sequence[str] = ()) -> Section:
    """All versions ranked, and OOF against board where both are known."""
    if not versions:
        hint = Note("No submission versions yet; `cli score --input` the test file or `cli blend` makes one.")
        return Section("Leaderboard", [hint, *warnings(problems)])
    greater = find_metric(metric).greater_is_better
    ordered = sorted(versions, key=lambda version: _order(version, greater))
    blocks: list[Block] = [*warnings(problems), _table(ordered, greater), *_against_board(versions, metric)]
    if len(versions) > 1:
        blocks += _class_shares(versions)
    best = _expected(ordered[0])
    lead = plural(len(versions), "version")
    if best is not None:
        kind = "honest" if ordered[0].manifest.honest_score is not None else "out-of-fold"
        lead += f"; {ordered[0].title} has the best {kind} {spaced(metric)}, {best:.5f}"
    return Section("Leaderboard", blocks, lead=f"{lead}.")


def _expected(version: Version) -> float | None:
    """What we believe it to be worth: the honest score where there is one."""
    honest = version.manifest.honest_score
    return honest if honest is not None else version.manifest.oof_score


def _order(version: Version, greater: bool) -> tuple[bool, float, int]:
    score = _expected(version)
    return score is None, (-score if greater else score) if score is not None else 0.0, -version.number


def _table(versions: Sequence[Version], greater: bool) -> Table:
    columns = (
        Column("version"),
        Column("OOF", "number", "On the rows that the recipe was fitted to"),
        Column("honest", "number", "On rows that it did not see"),
        Column("public", "number"),
        Column("private", "number"),
        Column("recipe"),
        Column("made"),
        Column("note", "long"),
    )
    best = {
        key: (max if greater else min)(scores)
        for key in ("oof_score", "honest_score", "public_score", "private_score")
        if (scores := [v for one in versions if (v := getattr(one.manifest, key)) is not None])
    }
    rows = []
    for version in versions:
        manifest = version.manifest
        scores = [
            number_cell(value, ".5f", strong=value is not None and value == best.get(key))
            for key in ("oof_score", "honest_score", "public_score", "private_score")
            for value in [getattr(manifest, key)]
        ]
        kind = str(manifest.recipe.get("kind", ""))
        rows.append(
            (Cell(version.title), *scores, Cell(spaced(kind)), time_cell(manifest.created), Cell(manifest.note))
        )
    return without_empty(Table("Versions, the best expected score first", columns, tuple(rows)))


def _against_board(versions: Sequence[Version], metric: str) -> list[Block]:
    """A scatter of expected and public scores, and how well one tells the other's order."""
    known = [
        (one.title, expected, one.manifest.public_score)
        for one in versions
        if (expected := _expected(one)) is not None and one.manifest.public_score is not None
    ]
    if not known:
        hint = "No public scores are known; `cli submit` or `cli record VERSION --public SCORE` brings them in."
        return [Heading("Out of fold and board"), Note(hint)]
    names, ours, theirs = [k[0] for k in known], [k[1] for k in known], [k[2] for k in known]
    offset = float(np.mean(np.subtract(theirs, ours)))
    caption = f"The public score is {abs(offset):.4f} {'above' if offset > 0 else 'below'} ours, on average"
    line = None
    if len(known) >= _LEAST_FOR_RANKS and np.ptp(ours) > 0 and np.ptp(theirs) > 0:
        rank = _rank_correlation(ours, theirs)
        slope, at_zero = np.polyfit(ours, theirs, 1)
        line = (float(slope), float(at_zero))
        caption = f"Ours and the public score order versions alike: rank correlation {rank:.2f}"
    pairs = "; ".join(f"{n} {a:.4f} and {b:.4f}" for n, a, b in known[:12])
    figure = Figure(
        scatter(ours, theirs, names, x_title=f"our {spaced(metric)}", y_title="public", line=line),
        caption,
        alt=f"Our and public {spaced(metric)} of {plural(len(known), 'version')}: {pairs}",
        note=f"Ours is the honest score, or the out-of-fold score where there is none. Mean offset {offset:+.5f}.",
    )
    return [Heading("Out of fold and board"), figure]


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _class_shares(versions: Sequence[Version]) -> list[Block]:
    """How many rows each version gives to each class: a version that has gone astray shows here first."""
    counted = [one for one in versions if one.manifest.class_counts]
    if len(counted) < 2:
        return []
    classes = list(dict.fromkeys(name for one in counted for name in one.manifest.class_counts))
    titles = [one.title for one in counted]
    counts = np.array([[one.manifest.class_counts.get(name, 0) for name in classes] for one in counted], np.float64)
    shares = counts / np.maximum([[one.manifest.n_rows] for one in counted], 1)
    figure = Figure(
        heatmap(
            shares, titles, classes, form=".1%",
            tip=lambda i, j: f"{titles[i]}, {classes[j]}\n{counts[i, j]:,.0f} rows, {shares[i, j]:.1%}",
        ),
        "Share of test rows that each version gives to each class",
        alt=f"Shares of {len(classes)} classes in {plural(len(counted), 'version')}",
    )  # fmt: skip
    return [Heading("What versions predict"), figure]
