"""How joint decoding is shown: each group alone and jointly, then what all groups together are worth."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.decode import DecodeResult
from jobs.show.output import duration, short_path, signed
from jobs.show.worth import print_submission


def render_decode(result: DecodeResult, console: Console) -> None:
    """Accuracies of the groups, the metric three ways, files."""
    console.print(f"{result.metric} of '{result.run}' on {result.n_rows:,} rows", style="bold", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("group", "alone", "jointly"):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    for name, alone, jointly in zip(result.groups, result.alone, result.joint, strict=True):
        table.add_row(name, f"{alone:.4f}", f"{jointly:.4f}")
    console.print(table)
    console.print(f"alone     {result.score_alone:.5f}", markup=False)
    console.print(f"fitted    {result.score:.5f}", markup=False)
    optimism = signed(result.score - result.honest)
    console.print(
        f"honest    {result.honest:.5f}  each row by what was learnt without its fold; optimism {optimism}",
        markup=False,
    )
    interval = (
        ""
        if result.low is None or result.high is None
        else f", 95 % within [{signed(result.low)}, {signed(result.high)}]"
    )
    console.print(f"gain      {signed(result.gain)}  over the groups decided alone{interval}", markup=False)
    console.print(result.verdict, markup=False)
    console.print(f"strength {result.strength:.3f}; {result.n_changed:,} rows are decided otherwise", markup=False)
    console.print(f"decoder     {short_path(result.decoder)}", markup=False)
    print_submission(console, result.submission, result.notes)
    console.print(duration(result.seconds), markup=False)
