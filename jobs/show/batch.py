"""How `cli run` is shown: the plan, a line when a task starts or ends, the summary."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.batch.execute import TaskResult
from jobs.run import BatchPlan, BatchResult
from jobs.show.output import duration, short_path, stderr
from jobs.watch import Entry, WatchResult

_STYLES = {"failed": "red", "skipped": "yellow", "done": "green"}
_LAST_LINES = 12


def tell_task(result: TaskResult) -> None:
    """A line on stderr when a task starts or has ended."""
    if result.outcome == "up to date":
        return
    time = f"{datetime.now():%H:%M:%S}"
    if result.outcome == "running":
        words = f"started: {'; '.join(result.reasons)}"
    elif result.outcome == "skipped":
        words = f"skipped: {'; '.join(result.reasons)}"
    else:
        words = f"{result.outcome} after {duration(result.seconds)}"
    stderr().print(f"{time}  {result.name}  {words}", markup=False)


def render_plan(plan: BatchPlan, console: Console) -> None:
    """A line a task: what would be done, and why."""
    table = _table("task", "", "why", "command")
    for task in plan.tasks:
        table.add_row(*map(Text, (task.name, task.action, "; ".join(task.reasons), task.command)))
    console.print(table)


def render_batch(result: BatchResult, console: Console) -> None:
    """A line a task; of each that failed the end of its log."""
    table = _table("task", "outcome", "time", "why")
    for task in result.tasks:
        outcome = Text(task.outcome, style=_STYLES.get(task.outcome, ""))
        time = duration(task.seconds) if task.seconds else ""
        table.add_row(Text(task.name), outcome, time, Text(_why(task)))
    console.print(table)
    for task in result.tasks:
        if task.outcome == "failed":
            console.print(f"\n{_headline(task)}", markup=False)
            if task.log is not None and task.exit_code is not None:
                for line in _last_lines(task.log):
                    console.print(f"  {line}", markup=False)
                console.print(f"  log: {short_path(task.log)}", markup=False)
    outcomes = [task.outcome for task in result.tasks]
    words = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in dict.fromkeys(outcomes))
    console.print(f"\n{words}; {duration(result.seconds)}", markup=False)


def tell_complaints(result: BatchResult) -> None:
    """Notifications that were not sent."""
    for complaint in result.complaints:
        stderr().print(f"note: {complaint}", markup=False)


def tell_entry(entry: Entry) -> None:
    """A line on stderr when a file is taken or done with."""
    words = {"scoring": "taken", "done": f"scored: {short_path(Path(entry.output))}"}
    failed = f"failed (exit code {entry.exit_code}), log: {short_path(Path(entry.log))}"
    text = f"{datetime.now():%H:%M:%S}  {Path(entry.file).name}  {words.get(entry.state, failed)}"
    for line in (text, *(f"note: {complaint}" for complaint in entry.complaints)):
        stderr().print(line, markup=False)


def render_watch(result: WatchResult, console: Console) -> None:
    """A line a file."""
    if not result.entries:
        console.print("nothing new", markup=False)
    for entry in result.entries:
        console.print(f"{entry.state}  {Path(entry.file).name}  {short_path(Path(entry.output))}", markup=False)
        if entry.state == "failed":
            for line in _last_lines(Path(entry.log)):
                console.print(f"  {line}", markup=False)


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "time" else "left")
    return table


def _why(task: TaskResult) -> str:
    failed = [f"exit code {task.exit_code}"] if task.outcome == "failed" and task.exit_code else []
    return "; ".join([*failed, *task.reasons])


def _headline(task: TaskResult) -> str:
    if task.exit_code is None or task.exit_code == 0:
        return f"{task.name} failed: {'; '.join(task.reasons)}"
    return f"{task.name} failed with exit code {task.exit_code}:"


def _last_lines(log: Path) -> list[str]:
    if not log.is_file():
        return []
    with log.open("rb") as handle:
        handle.seek(max(0, log.stat().st_size - 16_384))
        lines = handle.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-_LAST_LINES:]
