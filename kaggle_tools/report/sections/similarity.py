"""Which runs are alike, and which add most to which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_tools.report.blocks import Block, Cell, Column, Details, Figure, Heading, Note, Section, Table
from kaggle_tools.report.charts import dendrogram, heatmap
from kaggle_tools.report.sections.words import number_cell, spaced, warnings
from kaggle_tools.similarity import MEASURES, Complement, Similarity, cluster

_DRAWN = ("agreement", "spearman")  # in the open; all others behind a line
_PAIRS = 15


def similarity_section(
    found: Similarity | None,
    complement: Complement | None = None,
    problems: Sequence[str] = (),
    *,
    rows: str = "out-of-fold rows",
    by: str = "agreement",
) -> Section:
    """A heatmap in the order of the clustering, its tree, and the pairs that are worth blending.

    Args:
        found: All measures; None: there are not two to compare.
        complement: What pairs' means score.
        problems: What could not be read.
        rows: What the rows are called.
        by: Measure of the clustering.
    """
    if found is None:
        hint = Note(
            "Similarity takes two runs with predictions of the same rows; `cli train` or `cli import` adds one."
        )
        return Section("Similarity", [hint, *warnings(problems)])
    tree = cluster(by, found.matrices[by])
    order = list(tree.order)
    drawn = [name for name in dict.fromkeys((by, *_DRAWN)) if name in found.matrices]
    blocks: list[Block] = [*warnings(problems), *(_heatmap(found, name, order) for name in drawn)]
    blocks.append(
        Figure(
            dendrogram(tree, found.names, title=_distance(by)),
            "Who stands close to whom",
            alt=f"Tree of the runs, alike ones side by side: {', '.join(found.names[i] for i in order)}",
            note="Runs that join far to the left say much the same; average linkage.",
        )
    )
    if complement is not None and len(complement.names) > 1:
        blocks += [Heading("What adds to what"), _pairs(complement)]
    rest = [name for name in found.matrices if name not in drawn and name != "churn"]
    if rest:
        blocks.append(Details("Other measures", tuple(_heatmap(found, name, order) for name in rest)))
    if found.notes:
        blocks.append(Note(f"{'; '.join(found.notes)}."))
    return Section("Similarity", blocks, lead=_lead(found, rows))


def _distance(by: str) -> str:
    if by == "agreement":
        return "share of rows with different decisions"
    return MEASURES[by].title if MEASURES[by].alike == "less" else f"1 - {MEASURES[by].title}"


def _lead(found: Similarity, rows: str) -> str:
    matrix = found.matrices["agreement"]
    above = np.triu_indices(len(matrix), 1)
    values = matrix[above]
    near, far = int(values.argmax()), int(values.argmin())

    def pair(place: int) -> str:
        return f"{found.names[above[0][place]]} and {found.names[above[1][place]]}"

    on = f"{found.n_rows:,} {rows}"
    if len(values) == 1:
        return f"On {on} {pair(0)} decide alike on {values[0]:.1%}."
    most = f"the most alike are {pair(near)} ({values[near]:.1%} of decisions)"
    return f"On {on} {most}, the least {pair(far)} ({values[far]:.1%})."


def _heatmap(found: Similarity, name: str, order: Sequence[int]) -> Figure:
    measure = MEASURES[name]
    names = [found.names[i] for i in order]
    values = found.matrices[name][np.ix_(order, order)]
    # The diagonal is 1 (or 0) by definition; left in, it would take a shade for itself.
    off = values[~np.eye(len(values), dtype=bool)]
    low, high = (float(np.nanmin(off)), float(np.nanmax(off))) if np.isfinite(off).any() else (0.0, 1.0)
    chart = heatmap(values, names, names, form=".3f", low=low, high=max(high, low + 1e-9))
    title = measure.title[:1].upper() + measure.title[1:]
    return Figure(
        chart,
        f"{title}: {measure.description}",
        alt=f"{title} of each pair of runs, from {low:.3f} to {high:.3f}",
        data=Table(
            f"{title} of each pair",
            (Column("run"), *(Column(one, "number") for one in names)),
            tuple(
                (Cell(one), *(number_cell(float(v), ".4f") for v in row))
                for one, row in zip(names, values, strict=True)
            ),
        ),
    )


def _pairs(found: Complement) -> Table:
    k = len(found.names)
    pairs = sorted(((a, b) for a in range(k) for b in range(a + 1, k)), key=lambda ab: -float(found.gains[ab]))
    most = max((float(found.gains[pair]) for pair in pairs), default=0.0)
    return Table(
        "Pairs by what their mean gains over the better of the two",
        (
            Column("pair"),
            Column("gain", "number", f"In {spaced(found.metric)}, above zero is better"),
            Column("mean of both", "number"),
            Column("one of them right", "number", "What an oracle of both could reach"),
        ),
        tuple(
            (
                Cell(f"{found.names[a]} + {found.names[b]}"),
                number_cell(
                    float(found.gains[a, b]),
                    "+.5f",
                    bar=max(0.0, float(found.gains[a, b])) / most if most > 0 else None,
                    tone="good" if found.gains[a, b] > 0 else "bad",
                ),
                number_cell(_mean_score(found, a, b), ".5f"),
                number_cell(float(found.oracle[a, b]), ".1%"),
            )
            for a, b in pairs[:_PAIRS]
        ),
        note=f"Equal means of the probabilities, on {found.n_rows:,} out-of-fold rows.",
        sorted_by=1,
    )


def _mean_score(found: Complement, a: int, b: int) -> float:
    """Undoes the sign of `adds`, which is above zero for better whatever the metric."""
    from kaggle_tools.metrics import find_metric

    sign = 1.0 if find_metric(found.metric).greater_is_better else -1.0
    return float(found.scores[a] + sign * found.adds[a, b])
