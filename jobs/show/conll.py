"""How a converted CoNLL file is shown."""

from __future__ import annotations

from rich.console import Console

from jobs.conll import ConllResult
from jobs.show.output import short_path


def render_conll(result: ConllResult, console: Console) -> None:
    """Sentences, words, entities, illegal tags."""
    console.print(
        f"{short_path(result.output)}: {result.n_rows:,} rows, {result.n_words:,} words, {result.longest:,} at most",
        markup=False,
    )
    if result.entities:
        shown = " · ".join(f"{kind} {n:,}" for kind, n in result.entities.items())
        console.print(f"entities: {shown}", markup=False)
    if result.n_rewritten:
        console.print(f"{result.n_rewritten:,} tags of another scheme became BIO tags", markup=False)
    if result.n_illegal:
        console.print(f"{result.n_illegal:,} illegal I- tags, kept as they are: training repairs them", markup=False)
