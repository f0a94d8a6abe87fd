"""How lengths of texts are shown: quantiles, what cuts would cost, a suggestion."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.lengths import LengthsResult


def render_lengths(result: LengthsResult, console: Console) -> None:
    """Quantiles in a line, then a table of cuts."""
    console.print(
        f"{result.n_rows:,} texts ({result.n_empty:,} empty), {result.mean:.1f} {result.unit} on average, "
        f"{result.longest:,} at most"
    )
    console.print(", ".join(f"{float(share):.4g} of them up to {n:,}" for share, n in result.quantiles.items()))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("max_length", "texts cut", f"{result.unit} lost", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for cut in result.cuts:
        mark = "suggested" if cut.max_length == result.suggested else ""
        table.add_row(f"{cut.max_length:,}", f"{cut.rows_cut:,}", f"{cut.units_lost:.2%}", mark)
    console.print(table)
    if result.limit is not None and result.suggested == result.limit:
        console.print(f"the encoder takes {result.limit:,} tokens at most")
