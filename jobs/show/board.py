"""How noise, predictions and the final choice are shown."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.foresee import PredictResult
from jobs.noise import NoiseResult
from jobs.pick import PickResult
from kaggle_tools.leaderboard import Move, Predicted

_MOST_CHANCES = 10


def render_noise(result: NoiseResult, console: Console) -> None:
    """Each score's band, then the ladder."""
    console.print(
        f"{result.metric} of {result.n_public:,} public rows out of {result.n_rows:,}", style="bold", markup=False
    )
    table = _table("version", "public", "standard error", "95 % by luck of rows and labels")
    for band in result.bands:
        interval = "" if band.low is None else f"[{band.low:.5f}, {band.high:.5f}]"
        public = "" if band.public_score is None else f"{band.public_score:.5f}"
        table.add_row(Text(band.title), public, f"{band.standard_error:.5f}", interval)
    console.print(table)
    if result.moves:
        console.print("the ladder: does it beat the best before it?", style="bold", markup=False)
        moves = _table("version", "gain", "standard error", "P(better)", "verdict", "against")
        for one in result.moves:
            moves.add_row(
                Text(one.after), f"{one.gain:+.5f}", f"{one.standard_error:.5f}", f"{one.p_better:.3f}", _verdict(one),
                one.before.split("-")[0],
            )  # fmt: skip
        console.print(moves)
    _notes(result.notes, console)


def render_predicted(result: PredictResult, console: Console) -> None:
    """Both scores with intervals, what they rest on, and how well that works for the known ones."""
    console.print(f"{result.title}: expected {result.metric}", style="bold", markup=False)
    table = _table("board", "expected", "95 %", "the board said")
    for name, found, known in (
        ("public", result.public, result.known_public),
        ("private", result.private, result.known_private),
    ):
        interval = "unknown: fewer than 3 known scores" if found.low is None else f"[{found.low:.5f}, {found.high:.5f}]"
        table.add_row(name, f"{found.score:.5f}", interval, "" if known is None else f"{known:.5f}")
    console.print(table)
    for line in _grounds(result):
        console.print(line, markup=False)
    _notes(result.notes, console)


def render_pick(result: PickResult, console: Console) -> None:
    """The two, why, and every version's chances."""
    pick = result.pick
    console.print(f"pick  {pick.first}" + (f"  and  {pick.second}" if pick.second else ""), style="bold", markup=False)
    for reason in result.reasons:
        console.print(f"  {reason}", markup=False)
    # Honest scores are of training rows: the board's may all be off by as much.
    estimate = "honest" if result.basis == "honest" else "expected"
    table = _table("version", f"{estimate} {result.metric}", "95 %", "P(best)", "place, 90 %")
    for one in pick.chances[:_MOST_CHANCES]:
        table.add_row(
            Text(one.name), f"{one.expected:.5f}", f"[{one.low:.5f}, {one.high:.5f}]", f"{one.p_best:.3f}",
            f"{one.rank_low}–{one.rank_high}",
        )  # fmt: skip
    console.print(table)
    console.print(f"public and private drawn anew, {result.n_public:,} rows public", markup=False)
    _notes(result.notes, console)


def _grounds(result: PredictResult) -> list[str]:
    found: Predicted = result.public
    lines = [
        f"agreement  {found.agreement:.4f} of decisions are those of the runs' ensemble, "
        f"which alone expects {found.uncorrected:.5f}"
    ]
    if found.method == "copy":
        lines.append(f"copy       of {result.copy_of}, whose public score is known")
    elif found.n_known:
        lines.append(
            f"corrected  by {found.n_known} known public scores ({found.method}); each predicted by the others: error "
            f"{found.error:.5f}, correlation {'–' if result.correlation is None else f'{result.correlation:.3f}'}"
        )
    else:
        lines.append("corrected  by nothing yet: `cli record V --public SCORE` of three versions makes it sharper")
    if result.private_from == "public":
        lines.append(f"private    from public scores, as {result.n_public:,} public rows would have it")
    return lines


def _verdict(move: Move) -> Text:
    if move.counts:
        return Text("better" if not move.within_noise else "better by the ladder, within noise", style="green")
    if move.within_noise:
        return Text("within noise", style="yellow")
    return Text("worse", style="red") if move.gain < 0 else Text("no better", style="yellow")


def _notes(notes: tuple[str, ...], console: Console) -> None:
    for note in notes:
        console.print(f"note  {note}", markup=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        left = heading in ("version", "board", "verdict", "against")
        table.add_column(heading, justify="left" if left else "right")
    return table
