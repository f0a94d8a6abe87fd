"""Scoring jobs: what was scored, how fast, and what waited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaggle_tools.report.blocks import Block, Cell, Column, Figure, Note, Section, Table
from kaggle_tools.report.charts import bars
from kaggle_tools.report.sections.words import compact, listed, number_cell, plural, time_cell, warnings, without_empty


@dataclass(frozen=True)
class Scored:
    """One scoring job.

    Attributes:
        id: The job's id.
        state: ``complete``, ``running`` or ``interrupted``.
        rows: Rows asked for.
        rows_done: Rows committed.
        created: ISO time.
        models: Runs that scored.
        seconds: From start to end; None while it is not complete, or was resumed.
        tokens: Tokens read.
        padding: Share of computed tokens that were padding, in [0, 1]; None where nothing was computed.
        truncated: Texts that were cut.
        precision: Number format.
        device: Where.
    """

    id: str
    state: str
    rows: int
    rows_done: int
    created: str
    models: tuple[str, ...]
    seconds: float | None = None
    tokens: int | None = None
    padding: float | None = None
    truncated: int | None = None
    precision: str = ""
    device: str = ""

    @property
    def rate(self) -> float | None:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds else None


def throughput_section(jobs: Sequence[Scored], problems: Sequence[str] = ()) -> Section:
    """A table of jobs, and rows a second of those that ran through."""
    if not jobs:
        hint = Note("No scoring jobs yet; `cli score --input test.csv` runs one.")
        return Section("Scoring jobs", [hint, *warnings(problems)])
    newest = sorted(jobs, key=lambda job: job.created, reverse=True)
    blocks: list[Block] = [*warnings(problems), _table(newest)]
    timed = [job for job in newest if job.rate is not None][:20]
    if timed:
        blocks.append(_rates(timed))
    halted = [job.id for job in newest if job.state == "interrupted"]
    if halted:
        blocks.append(Note(f"{listed(halted)} interrupted: the same `cli score` command goes on where it was."))
    done = sum(job.rows_done for job in jobs)
    return Section("Scoring jobs", blocks, lead=f"{plural(len(jobs), 'job')}, {plural(done, 'row')} scored.")


def _table(jobs: Sequence[Scored]) -> Table:
    columns = (
        Column("job"), Column("state"), Column("rows", "number"), Column("rows/s", "number", "Start and end included"),
        Column("models"), Column("tokens", "number"), Column("padding", "number"), Column("cut texts", "number"),
        Column("precision"), Column("made"),
    )  # fmt: skip
    rows = tuple(
        (
            Cell(job.id),
            Cell(job.state, tone="quiet" if job.state == "complete" else "bad"),
            Cell(f"{job.rows:,}" if job.state == "complete" else f"{job.rows_done:,} of {job.rows:,}", job.rows_done),
            number_cell(job.rate, ",.0f"),
            Cell(listed(job.models, 3)),
            Cell(compact(job.tokens), job.tokens) if job.tokens is not None else Cell(""),
            number_cell(job.padding, ".1%"),
            number_cell(job.truncated, ",.0f"),
            Cell(" on ".join(part for part in (job.precision, job.device) if part)),
            time_cell(job.created),
        )
        for job in jobs
    )
    return without_empty(Table("Jobs, the newest first", columns, rows))


def _rates(jobs: Sequence[Scored]) -> Figure:
    names, rates = [job.id for job in jobs], [job.rate or 0.0 for job in jobs]
    fastest = max(jobs, key=lambda job: job.rate or 0.0)
    return Figure(
        bars(names, rates, form=",.0f", title="rows/s", notes=[plural(len(job.models), "model") for job in jobs]),
        f"Up to {fastest.rate:,.0f} rows a second, from start to end, with {plural(len(fastest.models), 'model')}",
        alt=f"Rows a second: {', '.join(f'{n} {r:,.0f}' for n, r in zip(names, rates, strict=True))}",
        note="Loading of models included: short jobs look slow.",
    )
