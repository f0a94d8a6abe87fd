"""How similarity is shown: a matrix with alike ones side by side, what adds most to which, all pairs as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.show.output import duration, short_path
from jobs.similarity import SimilarityResult
from kaggle_tools.similarity import MEASURES

_SHADES = ("", "", "cyan", "green", "yellow", "red", "bold red")  # from the least alike of the pairs to the most
_MOST_PAIRS = 15


def render_similarity(result: SimilarityResult, console: Console) -> None:
    """The matrix of the chosen measure, then the pairs with all measures, then what adds most to which."""
    rows = f"{result.n_rows:,} {'out-of-fold' if result.on == 'oof' else 'test'} rows"
    about = MEASURES[result.by]
    console.print(f"{about.title} of {len(result.names)} on {rows}: {about.description}", style="bold", markup=False)
    console.print(_matrix(result))
    console.print(_pairs(result))
    if result.additions:
        console.print(f"what adds most to each, {result.metric} of the equal mean", style="bold", markup=False)
        console.print(_additions(result))
    for note in result.notes:
        console.print(f"note  {note}", markup=False)
    if result.picture:
        console.print(f"picture  {short_path(result.picture)}", markup=False)
    console.print(f"{duration(result.seconds)}", markup=False)


def _matrix(result: SimilarityResult) -> Table:
    values = result.matrices[result.by]
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=True, header_style="dim")
    table.add_column("")
    for number in range(1, len(result.names) + 1):
        table.add_column(str(number), justify="right")
    pairs = [v for i, row in enumerate(values) for v in row[:i] if v == v]
    low, high = (min(pairs), max(pairs)) if pairs else (0.0, 1.0)
    for i, name in enumerate(result.names):
        cells = [Text("·", style="dim") if i == j else _cell(v, low, high, result.by) for j, v in enumerate(values[i])]
        table.add_row(Text(f"{i + 1:>2} {name}"), *cells)
    return table


def _cell(value: float, low: float, high: float, by: str) -> Text:
    if value != value:
        return Text("–", style="dim")
    place = (value - low) / (high - low) if high > low else 0.0
    if MEASURES[by].alike == "less":
        place = 1.0 - place
    shade = _SHADES[min(int(place * len(_SHADES)), len(_SHADES) - 1)]
    return Text(f"{value:.3f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.2f}", style=shade)


def _pairs(result: SimilarityResult) -> Table:
    """Most alike first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("most alike" if len(result.names) > 6 else "pair")
    for name in result.matrices:
        table.add_column(MEASURES[name].title, justify="right")
    pairs = [(i, j) for i in range(len(result.names)) for j in range(i)]
    sign = 1 if MEASURES[result.by].alike == "more" else -1
    by = result.matrices[result.by]
    pairs.sort(key=lambda ij: -sign * by[ij[0]][ij[1]] if by[ij[0]][ij[1]] == by[ij[0]][ij[1]] else float("inf"))
    for i, j in pairs[:_MOST_PAIRS]:
        values = [matrix[i][j] for matrix in result.matrices.values()]
        table.add_row(Text(f"{result.names[j]} – {result.names[i]}"), *(f"{v:.4f}" if v == v else "–" for v in values))
    return table


def _additions(result: SimilarityResult) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("model")
    table.add_column("alone", justify="right")
    table.add_column("with")
    for heading in ("adds", "over the better", "either right"):
        table.add_column(heading, justify="right")
    for row in result.additions:
        table.add_row(
            Text(row.name), f"{row.score:.5f}", Text(row.partner), f"{row.adds:+.5f}", f"{row.gain:+.5f}",
            f"{row.oracle:.4f}",
        )  # fmt: skip
    return table
