"""The competition: task, metric, classes, and what the texts are like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.competition import Competition
from kaggle_tools.metrics import find_metric
from kaggle_tools.predictions import SEPARATOR
from kaggle_tools.report.blocks import Block, Cell, Column, Details, Fact, Facts, Figure, Heading, Note, Section, Table
from kaggle_tools.report.charts import bars, histogram
from kaggle_tools.report.sections.words import plural, spaced, warnings

_BINS = 40
_TASKS = {
    "single_label": "one class a row",
    "multi_label": "any number of labels a row",
    "multi_group": "one class of each label group a row",
    "token": "a tag for each word",
}
_QUANTILES = {"median": 0.5, "95 %": 0.95, "99 %": 0.99}


@dataclass(frozen=True)
class Texts:
    """The texts of one table.

    Attributes:
        name: ``train`` or ``test``.
        texts: (N,) String, nulls included.
        labels: (N,) String where there are any.
    """

    name: str
    texts: pl.Series
    labels: pl.Series | None = None


def competition_section(competition: Competition, tables: Sequence[Texts], problems: Sequence[str] = ()) -> Section:
    """What is to be predicted, from what, and how it is judged."""
    metric = find_metric(competition.metric)
    better = "higher is better" if metric.greater_is_better else "lower is better"
    facts = [
        Fact("task", f"{len(competition.classes)} classes", _TASKS[competition.task]),
        Fact("metric", spaced(metric.name), f"{metric.description}; {better}"),
        *(Fact(f"{table.name} rows", f"{len(table.texts):,}") for table in tables),
    ]
    blocks: list[Block] = [Facts(tuple(facts)), *warnings(problems)]
    labelled = next((table for table in tables if table.labels is not None), None)
    if labelled is not None:
        blocks += _classes(labelled, competition)
    if tables:
        blocks += _lengths(tables)
    else:
        blocks.append(Note("The competition names no tables; `cli init --train … --test … --force` adds them."))
    return Section("The competition", blocks, lead=_lead(competition))


def _lead(competition: Competition) -> str:
    shape = "labels" if competition.submission_format == "labels" else "a probability for each class"
    return f"Each row's `{competition.text_column}` is classified; a submission holds {shape}."


def _classes(table: Texts, competition: Competition) -> list[Block]:
    assert table.labels is not None
    labels = table.labels.cast(pl.String).fill_null("")
    total, what = len(table.texts), "rows"
    if competition.task == "multi_label":
        labels = labels.str.split(SEPARATOR).explode()
    if competition.task == "token":
        labels = labels.str.split(" ").explode()
        total, what = int((labels != "").sum()), "words"
    counts = dict(labels.value_counts().iter_rows())
    found = sorted(competition.classes, key=lambda name: -counts.get(name, 0))
    rows = [counts.get(name, 0) for name in found]
    most, least = found[0], found[-1]
    share = [n / max(total, 1) for n in rows]
    title = f"{what.capitalize()} of each class"
    figure = Figure(
        bars(found, [float(n) for n in rows], form=",.0f", title=what, notes=[f"{s:.1%} of all {what}" for s in share]),
        f"'{most}' has {rows[0]:,} of {total:,} {what}, '{least}' {rows[-1]:,}",
        alt=f"{title}: {', '.join(f'{name} {n:,}' for name, n in zip(found[:12], rows, strict=False))}",
        data=Table(
            title,
            (Column("class"), Column(what, "number"), Column("share", "number")),
            tuple(
                (Cell(name), Cell(f"{n:,}", n), Cell(f"{s:.1%}", s))
                for name, n, s in zip(found, rows, share, strict=True)
            ),
            sorted_by=1,
        ),
    )
    unknown = sum(n for name, n in counts.items() if name not in competition.classes and name)
    notes = warnings([f"{plural(unknown, 'label')} of train are no classes of the competition"] if unknown else [])
    return [Heading("Classes"), *notes, figure]


def _lengths(tables: Sequence[Texts]) -> list[Block]:
    lengths = {table.name: table.texts.fill_null("").str.len_chars().to_numpy() for table in tables if len(table.texts)}
    if not lengths:
        return [Note("The tables have no rows.")]
    # The last few texts would otherwise squeeze all others into a few bins.
    top = max(10.0, float(np.ceil(max(np.quantile(found, 0.995) for found in lengths.values()))))
    width = max(1, round(top / _BINS))
    edges = np.arange(0, top + width, width, dtype=np.float64)
    counts = {name: np.histogram(np.minimum(found, edges[-1]), edges)[0] for name, found in lengths.items()}
    first = next(iter(lengths))
    typical = np.median(lengths[first])
    figure = Figure(
        histogram(edges.tolist(), counts, x_title="characters a text"),
        f"Half the {first} texts have up to {typical:,.0f} characters",
        alt="Distribution of text lengths: " + "; ".join(_described(name, found) for name, found in lengths.items()),
        note="The longest 0.5 % are counted in the last bin.",
    )
    blocks: list[Block] = [Heading("Lengths of texts"), figure, _length_table(tables, lengths)]
    repeated = _repeats(tables)
    if repeated:
        blocks.append(Note(repeated, "finding"))
    return blocks


def _described(name: str, found: NDArray[np.uint32]) -> str:
    return f"{name} median {np.median(found):,.0f}, 95 % up to {np.quantile(found, 0.95):,.0f} characters"


def _length_table(tables: Sequence[Texts], lengths: Mapping[str, NDArray[np.uint32]]) -> Block:
    columns = ("table", "rows", "empty", "repeated", "mean", *_QUANTILES, "longest", "words, median")
    rows = []
    for table in tables:
        if table.name not in lengths:
            continue
        found, texts = lengths[table.name], table.texts.fill_null("")
        words = texts.str.count_matches(r"\S+")
        numbers = [
            float(len(texts)),
            float((found == 0).sum()),
            float(len(texts) - texts.n_unique()),
            float(found.mean()),
            *(float(np.quantile(found, q)) for q in _QUANTILES.values()),
            float(found.max()),
            float(np.median(words.to_numpy())),
        ]
        rows.append((Cell(table.name), *(Cell(f"{n:,.0f}", n) for n in numbers)))
    table_block = Table(
        "Characters a text",
        tuple(Column(name, "number" if i else "text") for i, name in enumerate(columns)),
        tuple(rows),
    )
    return Details("Lengths in numbers", (table_block,))


def _repeats(tables: Sequence[Texts]) -> str:
    """Texts that occur in two tables: what is known of one may hold for the other."""
    if len(tables) < 2:
        return ""
    first, second = tables[0], tables[1]
    known = first.texts.drop_nulls().unique()
    again = int(second.texts.is_in(known.implode()).sum())
    if not again:
        return ""
    return f"{plural(again, 'text')} of {second.name} ({again / len(second.texts):.1%}) also occur in {first.name}."
