"""Blends: what the recipe does, what it was chosen from, and how much of its gain is real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kaggle_tools.metrics import find_metric
from kaggle_tools.report.blocks import Block, Cell, Column, Details, Figure, Heading, Note, Prose, Section, Table
from kaggle_tools.report.charts import bars, heatmap, intervals, lines
from kaggle_tools.report.sections.words import number_cell, plural, spaced, warnings
from kaggle_tools.search.recipe import Recipe, explain

_CANDIDATE_KEYS = ("name", "n_parameters", "fitted", "honest", "optimism", "gain", "low", "high")


@dataclass(frozen=True)
class Blend:
    """A recipe that a report shows.

    Attributes:
        name: Of its file.
        recipe: The recipe.
        used_by: Versions that were made with it.
        trials: Scores of an Optuna study's trials in order, where one searched; failed trials left out.
    """

    name: str
    recipe: Recipe
    used_by: tuple[str, ...] = ()
    trials: tuple[float, ...] = ()


def blends_section(blends: Sequence[Blend], problems: Sequence[str] = ()) -> Section:
    """The newest recipe in full, older ones in short; `blends` comes with the newest first."""
    if not blends:
        hint = Note("No blend yet; `cli blend` finds one as soon as there are two runs with out-of-fold predictions.")
        return Section("Blends", [hint, *warnings(problems)])
    newest = blends[0]
    blocks: list[Block] = [*warnings(problems), *_in_full(newest)]
    if len(blends) > 1:
        blocks += [Heading("Older blends"), _older(blends)]
    recipe = newest.recipe
    score = recipe.honest if recipe.honest is not None else recipe.fitted
    used = f", used by {newest.used_by[-1]}" if newest.used_by else ""
    lead = f"The newest, `{newest.name}`{used}, is a {spaced(recipe.kind)} of {plural(len(recipe.models), 'run')}"
    figure = (
        ""
        if score is None
        else f": {'honest ' if recipe.honest is not None else ''}{spaced(recipe.metric)} {score:.5f}"
    )
    return Section("Blends", blocks, lead=f"{lead}{figure}.")


def candidates(recipe: Recipe) -> list[Mapping[str, Any]]:
    """The table that the recipe was chosen from, as `cli blend` left it in the provenance; empty where it did not."""
    table = recipe.provenance.get("candidates")
    if not isinstance(table, list):
        return []
    return [row for row in table if isinstance(row, dict) and all(key in row for key in _CANDIDATE_KEYS)]


def counted(row: Mapping[str, Any], recipe: Recipe) -> Mapping[str, Any]:
    """A candidate's row, of the one that was taken with the gain that is left when the choice is counted."""
    if row["name"] != recipe.provenance.get("candidate"):
        return row
    return {**row, **{key: recipe.provenance[key] for key in ("gain", "low", "high") if key in recipe.provenance}}


def _in_full(blend: Blend) -> list[Block]:
    blocks: list[Block] = [
        *_weights(blend.recipe),
        Details("The recipe in words", (Prose(_as_paragraphs(blend.recipe)),)),
    ]
    table = candidates(blend.recipe)
    if table:
        blocks += [
            Heading("What it was chosen from"),
            _gains(table, blend.recipe),
            _candidate_table(table, blend.recipe),
        ]
    else:
        blocks.append(Note("This recipe does not say what else was tried; `cli blend` writes it into new ones."))
    if len(blend.trials) > 1:
        blocks += [Heading("The search"), _history(blend)]
    return blocks


def _as_paragraphs(recipe: Recipe) -> str:
    return "\n\n".join(line.strip() for line in explain(recipe).splitlines())


def _weights(recipe: Recipe) -> list[Block]:
    """How much each run counts, and each class."""
    found: list[Block] = []
    for key, what in (("weights", "Weight"), ("exponents", "Exponent")):
        if key in recipe.parameters:
            found.append(_of_models(np.asarray(recipe.parameters[key]), what, recipe))
    if "coefficients" in recipe.parameters:
        size = np.abs(np.asarray(recipe.parameters["coefficients"]))  # (C, M·C), model by model
        per_model = size.reshape(len(size), len(recipe.models), -1).sum(axis=(0, 2))
        found.append(_of_models(per_model, "Sum of absolute coefficients", recipe))
    if "rounds" in recipe.parameters:
        found.append(_rounds(recipe))
    for key, what in (("class_weights", "Weight"), ("biases", "Bias"), ("thresholds", "Threshold")):
        values = recipe.parameters.get(key)
        if values is not None and any(values):
            chart = bars(recipe.classes, [float(v) for v in values], form=".3f", title=what.lower())
            found.append(
                Figure(chart, f"{what} of each class", alt=_pairs(f"{what} of each class", recipe.classes, values))
            )
    return found


def _of_models(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], what: str, recipe: Recipe) -> Figure:
    if values.ndim == 2:
        chart = heatmap(values, recipe.models, recipe.classes, form=".2f")
        return Figure(chart, f"{what} of each run and class")
    order = np.argsort(-np.abs(values), kind="stable")
    names, sizes = [recipe.models[i] for i in order], values[order].tolist()
    chart = bars(names, sizes, form=".3f", title=what.lower())
    return Figure(chart, f"{what} of each run", alt=_pairs(f"{what} of each run", names, sizes))


def _rounds(recipe: Recipe) -> Table:
    rounds = recipe.parameters["rounds"]
    return Table(
        "Rounds of voting, the last one counts",
        (Column("round"), Column("members", "long"), Column("weights", "long")),
        tuple(
            (Cell(one.name), Cell(", ".join(one.members)), Cell(", ".join(f"{w:.3f}" for w in one.weights or ())))
            for one in rounds
        ),
    )


def _gains(table: Sequence[Mapping[str, Any]], recipe: Recipe) -> Figure:
    rows = [row for row in table if row["name"] != "best single"] or list(table)
    taken = str(recipe.provenance.get("candidate", ""))
    names = [str(row["name"]) for row in rows]
    chart = intervals(
        names, *([float(row[key]) for row in rows] for key in ("gain", "low", "high")), form="+.5f",
        title=f"gain in {spaced(recipe.metric)} over the best single run", reference=0.0,
        strong=[taken] if taken in names else (),
    )  # fmt: skip
    best = next((row for row in rows if row["name"] == taken), rows[0])
    real = "is real" if counted(best, recipe)["low"] > 0 else "may be luck"
    alt = "; ".join(f"{row['name']} {row['gain']:+.5f} [{row['low']:+.5f}, {row['high']:+.5f}]" for row in rows)
    return Figure(
        chart,
        f"Honest gain over the best single run: that of '{best['name']}' {real}",
        alt=f"Gain and 95 % interval of each candidate: {alt}",
        note="Each candidate scored on rows that it did not see, with 95 % bootstrap intervals. An interval that holds "
        "zero may be luck.",
    )


def _candidate_table(table: Sequence[Mapping[str, Any]], recipe: Recipe) -> Table:
    columns = (
        Column("candidate"),
        Column("fitted numbers", "number"),
        Column("fitted", "number", "On the rows it was fitted to"),
        Column("honest", "number", "On rows that it did not see"),
        Column("optimism", "number", "How much better fitted looks"),
        Column("gain", "number", "Over the best single run"),
        Column("95 % interval"),
    )
    taken = recipe.provenance.get("candidate")
    rows = tuple(
        (
            Cell(f"{row['name']}{' (taken)' if row['name'] == taken else ''}", strong=row["name"] == taken),
            number_cell(row["n_parameters"], ",d"),
            number_cell(row["fitted"], ".5f"),
            number_cell(row["honest"], ".5f", strong=row is table[0]),
            number_cell(row["optimism"], "+.5f"),
            number_cell(row["gain"], "+.5f", tone="good" if row["low"] > 0 else ""),
            Cell(f"{row['low']:+.5f} to {row['high']:+.5f}"),
        )
        for row in table
    )
    reason = recipe.provenance.get("reason")
    greater = find_metric(recipe.metric).greater_is_better
    return Table(
        "Candidates, best honest score first",
        columns,
        rows,
        note=f"Taken: {reason}." if reason else "",
        sorted_by=3,
        descending=greater,
    )


def _history(blend: Blend) -> Figure:
    greater = find_metric(blend.recipe.metric).greater_is_better
    running = (np.maximum if greater else np.minimum).accumulate(blend.trials)
    steps = list(range(1, len(running) + 1))
    chart = lines(
        {"best so far": (steps, running.tolist())}, x_title="trial", y_title=spaced(blend.recipe.metric), step=True
    )
    last = int(np.flatnonzero(running == running[-1])[0]) + 1
    return Figure(
        chart,
        f"{plural(len(running), 'trial')}; the best came with number {last:,}",
        alt=f"Best score so far: {running[0]:.5f} after the first trial, {running[-1]:.5f} after the last",
    )


def _older(blends: Sequence[Blend]) -> Table:
    rows = tuple(
        (
            Cell(blend.name),
            Cell(spaced(blend.recipe.kind)),
            Cell(", ".join(blend.recipe.models)),
            Cell(spaced(blend.recipe.metric)),
            number_cell(blend.recipe.fitted, ".5f"),
            number_cell(blend.recipe.honest, ".5f"),
            Cell(", ".join(blend.used_by)),
        )
        for blend in blends
    )
    columns = (
        Column("recipe"), Column("kind"), Column("runs", "long"), Column("metric"), Column("fitted", "number"),
        Column("honest", "number"), Column("versions"),
    )  # fmt: skip
    return Table("All recipes, the newest first", columns, rows)


def _pairs(what: str, names: Sequence[str], values: Sequence[float]) -> str:
    return f"{what}: {', '.join(f'{name} {value:.3f}' for name, value in zip(names, values, strict=True))}"
