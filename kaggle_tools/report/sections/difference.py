"""What changed between two submissions, as a section of the report or a page of its own.

difference_section(found, expected, why_not, judge, rows)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_tools.report.blocks import (
    Block,
    Cell,
    Column,
    Fact,
    Facts,
    Figure,
    Heading,
    Note,
    Page,
    Section,
    Table,
    Tone,
)
from kaggle_tools.report.charts import bars, heatmap
from kaggle_tools.report.sections.words import listed, number_cell, plural, spaced
from kaggle_tools.submissions.changes import ChangedRow
from kaggle_tools.submissions.diff import Difference
from kaggle_tools.submissions.expected import ExpectedChange
from kaggle_tools.submissions.judge import Judge

_SURE = 0.95
_TEXT = 400


def difference_page(
    found: Difference,
    expected: ExpectedChange | None,
    not_expected: str,
    judge: Judge | None,
    rows: Sequence[ChangedRow],
    notes: Sequence[str] = (),
) -> Page:
    """A page of its own, as `cli diff --html` writes it; see `difference_section`."""
    blocks = [Note(note, "hint") for note in notes or found.notes]
    sections = [Section("In short", [*blocks, _verdict(expected, not_expected, judge)], lead=_lead(found))]
    if not found.changed.any():
        sections = [Section("In short", [*blocks, Note("No row changed.", "finding")])]
    sections += [Section(heading, parts) for heading, parts in _parts(found, rows)]
    return Page(
        f"{found.a.title} → {found.b.title}",
        sections=sections,
        kicker="What changed",
        facts=_facts(found, expected),
        footer=f"{found.a.path} and {found.b.path}",
    )


def difference_section(
    found: Difference,
    expected: ExpectedChange | None,
    not_expected: str,
    judge: Judge | None,
    rows: Sequence[ChangedRow],
    *,
    title: str = "Difference",
    with_facts: bool = False,
) -> Section:
    """The difference of two submissions.

    Args:
        found: As `compare` gives it.
        expected: What the metric is expected to do, if anybody can tell.
        not_expected: Otherwise why not.
        judge: Who says so.
        rows: The biggest changes, as `changed_rows` gives them.
        title: Of the section.
        with_facts: Begin with the numbers that a page of its own has at its top.
    """
    blocks: list[Block] = [Note(note, "hint") for note in found.notes]
    if with_facts:
        blocks.append(Facts(_facts(found, expected)))
    if not found.changed.any():
        return Section(title, [*blocks, Note("No row changed.", "finding")])
    blocks.append(_verdict(expected, not_expected, judge))
    for heading, parts in _parts(found, rows):
        blocks += [Heading(heading), *parts]
    return Section(title, blocks, lead=_lead(found))


def _parts(found: Difference, rows: Sequence[ChangedRow]) -> list[tuple[str, list[Block]]]:
    """Headings with what stands below them."""
    parts: list[tuple[str, list[Block]]] = []
    if found.flipped.any():
        parts.append(("Who became what", [_transitions(found)]))
    if found.shift is not None and found.changed.any():
        parts.append(("How far probabilities moved", [_shift(found), _by_class(found)]))
    if rows:
        parts.append(("Biggest changes", [_rows(rows, int(found.changed.sum()))]))
    return parts


def _lead(found: Difference) -> str:
    flipped, n = int(found.flipped.sum()), len(found)
    return (
        f"{plural(int(found.changed.sum()), 'row')} of {n:,} changed; {plural(flipped, 'row')} "
        f"({found.churn:.2%}) {'has' if flipped == 1 else 'have'} another label."
    )


def _facts(found: Difference, expected: ExpectedChange | None) -> tuple[Fact, ...]:
    facts = [
        Fact("rows", f"{len(found):,}", f"{found.compared} compared"),
        Fact("changed", f"{int(found.changed.sum()):,}", f"{found.changed.mean():.1%} of rows"),
        Fact("churn", f"{found.churn:.2%}", plural(int(found.flipped.sum()), "other label")),
    ]
    if expected is not None:
        tone: Tone = "good" if expected.low > 0 else "bad" if expected.high < 0 else "quiet"
        interval = f"[{expected.low:+.5f}, {expected.high:+.5f}]"
        facts.append(Fact(f"expected {spaced(expected.metric)} gain", f"{expected.gain:+.5f}", interval, tone))
        facts.append(Fact("P(better)", f"{expected.p_better:.1%}", "by the calibrated judge", tone))
    return tuple(facts)


def _verdict(expected: ExpectedChange | None, not_expected: str, judge: Judge | None) -> Note:
    if expected is None or judge is None:
        return Note(f"What this does to the score is not known: {not_expected}.")
    likely = max(expected.p_better, 1 - expected.p_better)
    which = "better" if expected.p_better >= 0.5 else "worse"
    sure = f"{'Very probably' if likely >= _SURE else 'Perhaps'} {which}"
    return Note(
        f"{sure}: {spaced(expected.metric)} is expected to go from {expected.score_a:.5f} to {expected.score_b:.5f}, "
        f"a gain of {expected.gain:+.5f} with 95 % of draws in [{expected.low:+.5f}, {expected.high:+.5f}]. The test "
        f"labels were drawn {expected.n_draws:,} times from the pool of {listed(judge.names)}, calibrated on "
        f"{judge.n_rows:,} out-of-fold rows (log loss {judge.log_loss:.4f}, calibration error "
        f"{judge.calibration_error:.3f}).",
        "finding",
    )


def _transitions(found: Difference) -> Block:
    table = found.transitions
    if found.task == "multi_label":
        return _label_table(found)
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros(table.shape), where=totals > 0)
    off = table - np.diag(np.diag(table))
    order = np.argsort(-off, axis=None, kind="stable")[:5]
    pairs = [divmod(int(place), len(table)) for place in order]
    moves = [f"{found.classes[i]} → {found.classes[j]} {off[i, j]:,}" for i, j in pairs if off[i, j]]

    def tip(i: int, j: int) -> str:
        return f"{found.classes[i]} → {found.classes[j]}\n{table[i, j]:,} rows, {shares[i, j]:.1%} of the class in A"

    drawn = np.where(table > 0, table.astype(np.float64), np.nan)
    chart = heatmap(
        drawn, found.classes, found.classes, form=",d", shades=shares, low=0.0, high=1.0, row_title="A",
        column_title="B", tip=tip,
    )  # fmt: skip
    return Figure(
        chart,
        f"Most often: {listed(moves, 3)}",
        f"Rows by label in A and in B. Most frequent changes: {'; '.join(moves)}",
        note="Rows are labels in A, columns labels in B; the darker, the more of A's rows of that label.",
    )


def _label_table(found: Difference) -> Table:
    added, removed = found.transitions[:, 0, 1], found.transitions[:, 1, 0]
    rows = [
        (Cell(name), number_cell(int(corners[1, 1]), ",d"), number_cell(int(plus), ",d"), number_cell(int(minus), ",d"))
        for name, corners, plus, minus in zip(found.classes, found.transitions, added, removed, strict=True)
    ]
    columns = (Column("label"), *(Column(name, "number") for name in ("kept", "added", "removed")))
    return Table("Labels that rows kept, got and lost", columns, tuple(rows))


def _shift(found: Difference) -> Figure:
    assert found.shift is not None
    shift, edges = found.shift, [0.0]
    names, counts = ["none"], [shift.unmoved]
    for edge, n in shift.histogram:
        names.append(f"{edges[-1]:g} – {edge:g}")
        counts.append(n)
        edges.append(edge)
    half = shift.quantiles["0.5"]
    chart = bars(names, counts, form=",d", title="rows")
    return Figure(
        chart,
        f"Half of the rows moved by at most {half:.4f}, one in a hundred by more than {shift.quantiles['0.99']:.4f}",
        note=f"A row moves as far as the probability of its that changed most. The largest: {shift.largest:.4f}.",
    )


def _by_class(found: Difference) -> Table:
    assert found.shift is not None
    most = max((size for _, size in found.shift.by_class.values()), default=0.0) or 1.0
    rows = [
        (Cell(name), number_cell(mean, "+.5f"), number_cell(size, ".5f", bar=size / most))
        for name, (mean, size) in found.shift.by_class.items()
    ]
    columns = (
        Column("class"),
        Column("mean change", "number", "Of its probability, B less A"),
        Column("mean size", "number", "Of the change, whatever its sign"),
    )
    return Table("Probability of each class", columns, tuple(rows))


def _rows(rows: Sequence[ChangedRow], n_changed: int) -> Table:
    with_moves = any(row.moved is not None for row in rows)
    with_judge = any(row.judge_a is not None for row in rows)
    with_text = any(row.text is not None for row in rows)
    columns = [Column("id", "code"), Column("A"), Column("B")]
    columns += [Column("moved", "number", "The largest change of any of the row's probabilities")] if with_moves else []
    columns += [Column("judge A", "number", "The judge's probability of A's label")] if with_judge else []
    columns += [Column("judge B", "number", "The judge's probability of B's label")] if with_judge else []
    columns += [Column("text", "long")] if with_text else []
    cells = []
    for row in rows:
        line = [Cell(row.id), _decided(row.label_a, row.prob_a), _decided(row.label_b, row.prob_b)]
        line += [number_cell(row.moved)] if with_moves else []
        line += [number_cell(row.judge_a, ".3f"), number_cell(row.judge_b, ".3f")] if with_judge else []
        line += [Cell(_cut(row.text or ""))] if with_text else []
        cells.append(tuple(line))
    shown = f"the first {len(rows):,} of {n_changed:,}" if len(rows) < n_changed else f"all {n_changed:,}"
    note = "" if len(rows) == n_changed else "All of them: `cli diff A B --csv changed.csv`."
    return Table(f"Changed rows, {shown}", tuple(columns), tuple(cells), note=note)


def _decided(label: str, prob: float | None) -> Cell:
    return Cell(label or "none") if prob is None else Cell(f"{label} {prob:.3f}")


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else text[:_TEXT].rstrip() + " …"
