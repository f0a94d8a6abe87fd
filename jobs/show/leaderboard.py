"""How the ranking is shown, and what was recorded."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.leaderboard import LeaderboardResult, RecordResult, Standing

_HEADINGS = (
    "", "version", "recipe", "OOF", "honest", "95 %", "public", "private", "rank", "like the best", "age", "remark",
)  # fmt: skip


def render_leaderboard(result: LeaderboardResult, console: Console) -> None:
    """All versions, then how far our own scores and the public ones can be trusted."""
    console.print(f"{result.metric or 'scores'}, ranked by the {result.by} score", style="bold", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = [_cells(row) for row in result.standings]
    # A column that nothing stands in would only push the others out of sight.
    shown = [i for i in range(len(_HEADINGS)) if any(cells[i] for cells in columns)]
    for i in shown:
        table.add_column(_HEADINGS[i], justify="left" if _HEADINGS[i] in ("version", "recipe", "remark") else "right")
    for cells in columns:
        table.add_row(*(Text(cells[i]) for i in shown))
    console.print(table)
    advice = f": {result.tracking.advice}" if result.tracking.advice else ""
    console.print(f"own scores → public   {result.tracking.in_words}{advice}", markup=False)
    if result.public_to_private.n:
        console.print(f"public → private      {result.public_to_private.in_words}", markup=False)
    for note in result.notes:
        console.print(f"note  {note}", markup=False)


def render_recorded(result: RecordResult, console: Console) -> None:
    """What the manifest says now."""
    known = {"public": result.public_score, "private": result.private_score, "rank": result.rank}
    said = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    console.print(f"{result.title}: {said or 'no score, no rank'}", markup=False)


def _cells(row: Standing) -> list[str]:
    interval = "" if row.honest_interval is None else f"[{row.honest_interval[0]:.5f}, {row.honest_interval[1]:.5f}]"
    return [
        "" if row.place is None else str(row.place),
        row.title,
        row.kind,
        _score(row.oof_score),
        _score(row.honest_score),
        interval,
        _score(row.public_score),
        _score(row.private_score),
        "" if row.rank is None else str(row.rank),
        "–" if row.similarity is None else f"{row.similarity:.4f}",
        _age(row.age_days),
        row.remark,
    ]


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _age(days: float) -> str:
    if days < 1 / 24:
        return f"{max(0, round(days * 24 * 60))} min"
    return f"{days * 24:.0f} h" if days < 2 else f"{days:.0f} d"
