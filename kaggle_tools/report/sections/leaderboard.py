"""Submission versions, and how well out-of-fold scores track the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from kaggle_tools.leaderboard.tracking import Tracking, track
from kaggle_tools.metrics import find_metric
from kaggle_tools.report.blocks import Block, Cell, Column, Figure, Heading, Note, Section, Table
from kaggle_tools.report.charts import heatmap, scatter
from kaggle_tools.report.sections.words import number_cell, plural, spaced, time_cell, warnings, without_empty
from kaggle_tools.submissions import Version


def leaderboard_section(
    versions: Sequence[Version], metric: str, classes: Sequence[str], problems: Sequence[str] = ()
) -> Section:
    """All versions ranked, and OOF against board where both are known; `classes` as competition.toml has them now."""
    if not versions:
        hint = Note("No submission versions yet; `cli score --input` the test file or `cli blend` makes one.")
        return Section("Leaderboard", [hint, *warnings(problems)])
    ordered = sorted(versions, key=lambda version: _order(version, metric, classes))
    blocks: list[Block] = [
        *warnings(problems),
        _table(ordered, metric, classes),
        *_against_board(versions, metric, classes),
    ]
    if len(versions) > 1:
        blocks += _class_shares(versions)
    best = _expected(ordered[0], metric, classes)
    lead = plural(len(versions), "version")
    if best is not None:
        kind = "honest" if ordered[0].manifest.honest_score is not None else "out-of-fold"
        lead += f"; {ordered[0].title} has the best {kind} {spaced(metric)}, {best:.5f}"
    return Section("Leaderboard", blocks, lead=f"{lead}.")


def _expected(version: Version, metric: str, classes: Sequence[str]) -> float | None:
    """What we believe it to be worth: the honest score where there is one."""
    honest = _score(version, "honest_score", metric, classes)
    return honest if honest is not None else _score(version, "oof_score", metric, classes)


def _score(version: Version, key: str, metric: str, classes: Sequence[str]) -> float | None:
    """None where our own scores are of another metric, or by another order of the classes where that matters: these
    cannot stand beside the others."""
    if key in ("honest_score", "oof_score") and not version.manifest.is_scored_by(metric, classes):
        return None
    value: float | None = getattr(version.manifest, key)
    return value


def _order(version: Version, metric: str, classes: Sequence[str]) -> tuple[bool, float, int]:
    score, greater = _expected(version, metric, classes), find_metric(metric).greater_is_better
    return score is None, (-score if greater else score) if score is not None else 0.0, -version.number


def _table(versions: Sequence[Version], metric: str, classes: Sequence[str]) -> Table:
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
        key: (max if find_metric(metric).greater_is_better else min)(known)
        for key in ("oof_score", "honest_score", "public_score", "private_score")
        if (known := [v for one in versions if (v := _score(one, key, metric, classes)) is not None])
    }
    rows = []
    for version in versions:
        manifest = version.manifest
        scores = [
            number_cell(value, ".5f", strong=value is not None and value == best.get(key))
            for key in ("oof_score", "honest_score", "public_score", "private_score")
            for value in [_score(version, key, metric, classes)]
        ]
        kind = str(manifest.recipe.get("kind", ""))
        if not manifest.is_scored_by(metric):
            kind += f", fitted to {manifest.metric}"
        elif manifest.of_other_order(classes):
            kind += f", made when the classes were {', '.join(manifest.class_counts)}"
        rows.append(
            (Cell(version.title), *scores, Cell(spaced(kind)), time_cell(manifest.created), Cell(manifest.note))
        )
    return without_empty(Table("Versions, the best expected score first", columns, tuple(rows)))


def _against_board(versions: Sequence[Version], metric: str, classes: Sequence[str]) -> list[Block]:
    """Our scores against the public ones, and the public against the private ones."""
    ours = [_expected(one, metric, classes) for one in versions]
    public = [one.manifest.public_score for one in versions]
    private = [one.manifest.private_score for one in versions]
    names = [one.title for one in versions]
    shown = [
        *_scores(names, ours, public, f"our {spaced(metric)}", "public", _trust),
        *_scores(names, public, private, "public", "private", _offset),
    ]
    if not shown:
        hint = "No board's scores are known; `cli submit` or `cli record VERSION --public SCORE` brings them in."
        if any(score is not None for score in (*public, *private)):
            hint = "No version has two of these: a score of ours, a public and a private one."
        return [Heading("Out of fold and board"), Note(hint)]
    return [Heading("Out of fold and board"), *shown]


def _scores(
    names: Sequence[str],
    a: Sequence[float | None],
    b: Sequence[float | None],
    a_title: str,
    b_title: str,
    note: Callable[[Tracking], str],
) -> list[Block]:
    """One kind of score against another, of versions that have both."""
    known = [(n, x, y) for n, x, y in zip(names, a, b, strict=True) if x is not None and y is not None]
    if not known:
        return []
    titles, xs, ys = [k[0] for k in known], [k[1] for k in known], [k[2] for k in known]
    tracking = track(xs, ys)
    line = None
    if tracking.rank_correlation is not None:
        slope, at_zero = np.polyfit(xs, ys, 1)
        line = (float(slope), float(at_zero))
    pairs = "; ".join(f"{name} {x:.4f} and {y:.4f}" for name, x, y in known[:12])
    figure = Figure(
        scatter(xs, ys, titles, x_title=a_title, y_title=b_title, line=line),
        f"{a_title[:1].upper()}{a_title[1:]} and {b_title} score of {plural(len(known), 'version')}",
        alt=f"{a_title} and {b_title}: {pairs}",
        note=note(tracking),
    )
    return [figure]


def _trust(tracking: Tracking) -> str:
    words = tracking.in_words[:1].upper() + tracking.in_words[1:]
    advice = f": {tracking.advice}" if tracking.advice else ""
    return f"{words}{advice}. Ours is the honest score, or the out-of-fold score where there is none."


def _offset(tracking: Tracking) -> str:
    if tracking.rank_correlation is None:
        return ""
    return f"Rank correlation {tracking.rank_correlation:.3f}; private less public is {tracking.offset:+.5f} (median)."


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
