"""How a table of pairs made of groups is shown."""

from __future__ import annotations

from rich.console import Console

from jobs.pairs import PairsResult
from jobs.show.output import short_path


def render_pairs(result: PairsResult, console: Console) -> None:
    """Groups, pairs, and the fold switch that goes with them."""
    console.print(
        f"{short_path(result.output)}: {result.n_alike:,} pairs that say the same, {result.n_different:,} that do not, "
        f"of {result.n_texts:,} texts in {result.n_groups:,} groups",
        markup=False,
    )
    if result.n_merged:
        console.print(f"{result.n_merged:,} groups shared a text with another and joined it", markup=False)
    console.print(
        f"{result.n_blocks:,} block{'' if result.n_blocks == 1 else 's'}; no text in two folds: "
        'kind = "group", group_column = "block" under [folds]',
        markup=False,
    )
