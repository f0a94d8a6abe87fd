"""How a pretraining is shown: texts, words, perplexity before and after, how to go on."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from jobs.pretrain import PretrainSummary
from jobs.show.output import count, duration, short_path


def render_pretrain(result: PretrainSummary, console: Console) -> None:
    """A line an epoch, between what was before and how a recipe names the result."""
    console.print(
        f"{result.n_texts:,} distinct texts, {count(result.n_tokens)} tokens, {result.tokens_per_word:.2f} to a word; "
        f"{result.n_held_out:,} of {result.n_rows + result.n_held_out:,} rows held out",
        markup=False,
    )
    if result.new_head:
        console.print("the head for masked words is new: it was not in the encoder", markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("epoch", "loss", "held-out perplexity", "time"):
        table.add_column(heading, justify="right")
    table.add_row("before", "", f"{result.perplexity_before:,.1f}", "")
    for epoch in result.history:
        table.add_row(
            str(epoch["epoch"]), f"{epoch['train_loss']:.4f}", f"{epoch['perplexity']:,.1f}", duration(epoch["seconds"])
        )
    console.print(table)
    path = short_path(result.folder)
    state = "from before" if result.reused else f"in {duration(result.seconds)}"
    console.print(f"{path} {state}", markup=False)
    console.print(f'name it in a recipe: [encoder] path = "{path}", or `cli train --encoder {path}`', markup=False)
