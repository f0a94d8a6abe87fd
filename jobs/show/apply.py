"""How a replayed recipe and an explained one are shown."""

from __future__ import annotations

from rich.console import Console

from jobs.apply import ApplyResult
from jobs.explain import ExplainResult
from jobs.show.output import duration, short_path
from jobs.show.worth import print_submission

SHOWN_CLASSES = 30


def render_apply(result: ApplyResult, console: Console) -> None:
    """From what, how many rows, to where."""
    for name, path in result.inputs.items():
        console.print(f"from        {name}: {short_path(path)}", markup=False)
    shown = list(result.class_counts.items())
    more = f" and {len(shown) - SHOWN_CLASSES} classes more" if len(shown) > SHOWN_CLASSES else ""
    decided = ", ".join(f"{name} {n:,}" for name, n in shown[:SHOWN_CLASSES])
    console.print(f"rows        {result.n_rows:,}: {decided}{more}", markup=False)
    if result.output is not None:
        console.print(f"output      {short_path(result.output)}", markup=False)
    print_submission(console, result.submission, result.notes)
    console.print(duration(result.seconds), markup=False)


def render_explain(result: ExplainResult, console: Console) -> None:
    """The recipe in words."""
    console.print(short_path(result.recipe), style="bold", markup=False)
    console.print(result.words, markup=False)
    for note in result.notes:
        console.print(f"note        {note}", markup=False)
