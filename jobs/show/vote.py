"""How votes are shown: the single runs, each round with its members, why it stopped, and what it is worth."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.show.output import duration
from jobs.show.worth import print_files, print_worth
from jobs.vote import VoteResult


def render_vote(result: VoteResult, console: Console) -> None:
    """The whole path to the outcome."""
    singles = Table.grid(padding=(0, 2))
    for name, score in result.singles.items():
        singles.add_row(name, f"{score:.5f}")
    console.print(f"{result.metric} of each run on {result.n_rows:,} rows", style="bold", markup=False)
    console.print(singles)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("round", "outcome", "members", "similarity", "agreement", "score"):
        table.add_column(heading, justify="left" if heading in ("outcome", "members") else "right")
    for one in result.rounds:
        figures = (f"{one.similarity:.3f}", f"{one.agreement:.3f}", f"{one.score:.5f}")
        table.add_row(str(one.number), one.name, ", ".join(one.members), *figures)
    console.print(table)
    path = " → ".join(f"{value:.5f}" for value in result.honest_path)
    console.print(f"ties: {result.rule}", markup=False)
    console.print(f"honest score from the best single run through the rounds: {path}", markup=False)
    console.print(f"stopped: {result.stopped}", markup=False)
    counted = "" if result.honest in result.honest_path else ", the choice of the number of rounds counted"
    print_worth(console, result, f"on rows that it did not see{counted}", "the best single run")
    print_files(console, result)
    console.print(duration(result.seconds), markup=False)
