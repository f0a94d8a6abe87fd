"""How runs come about, shown: what `init` concluded, training progress, fold scores, imports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from jobs.imports import ImportResult
from jobs.init import InitResult
from jobs.show.output import duration, short_path, stderr
from jobs.train_result import FoldSummary, TrainResult
from models.training.progress import OnProgress
from models.training.progress import Progress as Step

_LOG_EVERY_S = 30.0


def render_init(result: InitResult, console: Console) -> None:
    """Each conclusion with its reason, then what else was found."""
    table = Table.grid(padding=(0, 2))
    for reason in result.conclusions.reasons:
        table.add_row(Text(reason.key, "bold"), Text(reason.value), Text(reason.why, "dim"))
    console.print(table)
    for finding in result.conclusions.findings:
        console.print(f"note: {finding}", markup=False)
    console.print(f"wrote {short_path(result.path)}", markup=False)


def render_train(result: TrainResult, console: Console) -> None:
    """A line a fold, and the out-of-fold score of all."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    several = any(fold.seed is not None for fold in result.folds)
    for heading in ("fold", *(("seed",) if several else ()), "rows", result.metric, "epoch kept", "time", ""):
        table.add_column(heading, justify="left" if not heading else "right")
    for fold in result.folds:
        kept = "+".join(map(str, fold.soup)) or (str(fold.kept) if fold.kept else "-")
        seed = (str(fold.seed),) if several else ()
        table.add_row(
            str(fold.fold), *seed, f"{fold.n_rows:,}", f"{fold.score:.4f}", kept, duration(fold.seconds), _remark(fold)
        )
    console.print(table)
    if result.n_null_texts:
        console.print(f"{result.n_null_texts:,} rows without text counted as empty text", markup=False)
    if result.n_dropped:
        console.print(f"{result.n_dropped:,} rows whose label is missing or no class were left out", markup=False)
    if result.n_copies:
        console.print(f"{result.n_copies:,} rows repeat a text; each text was trained on once", markup=False)
    if result.n_repaired:
        console.print(f"{result.n_repaired:,} illegal tags of the training table became B-", markup=False)
    if result.missing:
        left = ", ".join(map(str, result.missing))
        console.print(f"folds still to train: {left}; the run is complete when they are", markup=False)
    if result.score is not None:
        words = f"out-of-fold {result.metric} of {result.n_rows:,} rows: "
        console.print(Text.assemble(words, (f"{result.score:.4f}", "bold")))
    if result.seeds is not None:
        alone = ", ".join(f"{one.seed}: {one.score:.4f}" for one in result.seeds.scores)
        console.print(f"  that of the seeds' mean; alone {alone}", markup=False)
        console.print(f"  a seed scores {result.seeds.mean:.4f} ± {result.seeds.deviation:.4f}", markup=False)
    if result.flattered_by is not None:
        told = f"  it flatters: '{result.flattered_by}' has seen these rows' labels; compare on the board,"
        console.print(f'{told} or learn from models that have not (source = "fold")', markup=False)
    for name, value in result.groups.items():
        console.print(f"  {name} {value:.4f}", markup=False)
    console.print(f"{short_path(result.run.folder)} in {duration(result.seconds)}", markup=False)


def _remark(fold: FoldSummary) -> str:
    """What is special about a fold."""
    parts = ["from before"] if fold.reused else []
    if fold.n_pseudo:
        parts.append(f"{fold.n_pseudo:,} rows labelled by a teacher")
    if fold.halvings:
        parts.append(f"memory for {fold.micro_batch_size} rows at once")
    return ", ".join(parts)


def render_import(result: ImportResult, console: Console) -> None:
    """What the run holds now."""
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    parts = [
        f"{result.n_oof:,} OOF rows" if result.n_oof else "",
        f"{result.n_test:,} test rows" if result.n_test else "",
    ]
    console.print(f"{short_path(result.run.folder)}: {', '.join(part for part in parts if part)}", markup=False)
    if result.score is not None:
        console.print(Text.assemble(f"out-of-fold {result.metric}: ", (f"{result.score:.4f}", "bold")))


@dataclass(frozen=True)
class TrainingDisplay:
    """Where what happens during a training is shown.

    Attributes:
        step: Gets each step, of one fold or of several at once; None: nobody looks.
        note: Gets what is worth knowing.
    """

    step: OnProgress | None
    note: Callable[[str], None]


@contextmanager
def training_progress(
    quiet: bool, *, title: str | None = None, score: str = "validation score"
) -> Iterator[TrainingDisplay]:
    """A bar a fold on a terminal; in a log a line for each epoch, and every half minute between.

    Args:
        quiet: Nothing at all.
        title: What is trained; None: the fold.
        score: What the score of an epoch is called.
    """
    console = stderr()
    if quiet:
        yield TrainingDisplay(None, lambda _: None)
    elif console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[words]}", style="dim"), console=console) as bars:
            yield TrainingDisplay(_on_bars(bars, title, score), partial(_note, bars.console))
    else:
        yield TrainingDisplay(_on_lines(console, title, score), partial(_note, console))


def _note(console: Console, text: str) -> None:
    console.print(f"note: {text}", markup=False)


def _on_bars(bars: Progress, title: str | None, score: str) -> OnProgress:
    tasks: dict[str, TaskID] = {}

    def show(step: Step) -> None:
        name = title or _place(step)
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=step.n_steps, words="")
        bars.update(tasks[name], completed=step.step, words=_words(step, score))

    return show


def _on_lines(console: Console, title: str | None, score: str) -> OnProgress:
    last: dict[str, float] = {}  # of each fold: several may be trained at once

    def show(step: Step) -> None:
        name = title or _place(step)
        now = time.perf_counter()
        if step.score is not None or now - last.setdefault(name, now) > _LOG_EVERY_S:
            last[name] = now
            console.print(f"{name}: step {step.step} of {step.n_steps}, {_words(step, score)}", markup=False)

    return show


def _place(step: Step) -> str:
    return f"fold {step.fold}" if step.seed is None else f"fold {step.fold}, seed {step.seed}"


def _words(step: Step, name: str) -> str:
    score = "" if step.score is None else f", {name} {step.score:.4f}"
    loss = "" if step.loss is None else f", loss {step.loss:.4f}"
    return f"epoch {step.epoch} of {step.epochs}{loss}{score}"
