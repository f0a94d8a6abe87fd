"""How scoring jobs are shown: the list, followed live or not; one in full; what was cancelled, resumed, pruned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobs.batch.progress import BatchSummary
from jobs.control import CancelResult, ResumeResult
from jobs.prune import PruneResult
from jobs.show.output import count, duration, size
from jobs.status import JobDetail, JobList, JobSummary

FOLLOW_EVERY_S = 1.0
_HEADINGS = ("job", "state", "done", "rows", "rows/s", "left", "planned (UTC)", "models")
_BATCH_HEADINGS = ("batch", "state", "done", "steps", "began (UTC)", "now")
_RIGHT = ("done", "rows", "rows/s", "left", "steps")
_THROUGH = ("done", "up to date")


def render_list(listed: JobList, console: Console) -> None:
    """A line a job."""
    if not listed.jobs and not listed.batches:
        console.print("no jobs yet: `cli score --input FILE` makes one", markup=False)
        return
    console.out(_both_tables(listed.jobs, listed.batches), highlight=False)
    if listed.n_older:
        console.out(f"{listed.n_older:,} older complete ones: cli jobs --all", highlight=False)


def follow(look: Callable[[], JobList], console: Console) -> None:
    """Show the list again and again, until nothing runs."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            listed = look()
            running = [job for job in listed.jobs if job.state == "running"]
            batches = [batch for batch in listed.batches if batch.state == "running"]
            shown = _both_tables(running if running or batches else listed.jobs[-20:], batches)
            live.update(Text(shown, no_wrap=True, overflow="ellipsis"), refresh=True)
            if not running and not batches:
                return
            time.sleep(FOLLOW_EVERY_S)


def job_table(jobs: Sequence[JobSummary]) -> str:
    """The table as text; a table of rich takes seconds for ten thousand rows."""
    return _table(_HEADINGS, [_cells(job) for job in jobs])


def batch_table(batches: Sequence[BatchSummary]) -> str:
    """The batches as text: how many steps are through, and which run now."""
    return _table(_BATCH_HEADINGS, [_batch_cells(batch) for batch in batches])


def _both_tables(jobs: Sequence[JobSummary], batches: Sequence[BatchSummary]) -> str:
    tables = ([job_table(jobs)] if jobs else []) + ([batch_table(batches)] if batches else [])
    return "\n\n".join(tables)


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    rows = [headings, *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(headings) - 1)]
    lines = []
    for row in rows:
        padded = [
            cell.rjust(width) if heading in _RIGHT else cell.ljust(width)
            for cell, width, heading in zip(row, widths, headings, strict=False)
        ]
        lines.append("  ".join([*padded, row[-1]]))
    return "\n".join(lines)


def render_job(job: JobDetail, console: Console) -> None:
    """Everything about one job."""
    console.out(job_table((job.summary,)), highlight=False)
    console.print()
    for path in job.summary.inputs:
        console.print(f"input   {path}", markup=False)
    if job.result:
        console.print(f"output  {job.result['output']}", markup=False)
    for event in job.events:
        rest = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("time", "event"))
        console.print(f"{event.get('time', '?')}  {event.get('event', '?')}  {rest}", markup=False)
    for row in job.set_aside:
        console.print(
            f"set aside: {row.get('path', '?')} line {row.get('line', '?')}: {row.get('reason', '?')}", markup=False
        )


def render_cancel(result: CancelResult, console: Console) -> None:
    """Whether each has ended."""
    for job in result.jobs:
        words = "has ended" if job.ended else "has been asked to end and has not yet"
        console.print(f"{job.id}: process {job.pid} {words}", markup=False)


def render_resume(result: ResumeResult, console: Console) -> None:
    """How each ended."""
    for job in result.jobs:
        console.print(f"{job.id}: exit code {job.exit_code}", markup=False)
        if job.as_new_job:
            told = "what it was planned for has changed, so that a new job scored all rows;"
            console.print(f"  {told} this one stays as it was: bring that back, or delete .jobs/{job.id}", markup=False)


def render_prune(result: PruneResult, console: Console) -> None:
    """What was freed, or would be."""
    for job in result.jobs:
        console.print(f"{job.id}  {job.n_parts:,} parts, {size(job.n_bytes)}", markup=False)
    verb = "would free" if result.dry_run else "freed"
    left = f" and {result.n_leftovers:,} files that killed processes left" if result.n_leftovers else ""
    console.print(
        f"{verb} {size(result.n_bytes)} of {len(result.jobs):,} complete jobs{left}; "
        f"{result.n_kept:,} other jobs are left alone",
        markup=False,
    )


def _cells(job: JobSummary) -> tuple[str, ...]:
    return (
        job.id,
        job.state,
        f"{job.rows_done / job.rows:.0%}" if job.rows else "",
        f"{job.rows:,}",
        count(job.rows_per_s) if job.rows_per_s else "",
        duration(job.seconds_left) if job.seconds_left is not None else "",
        job.created[:19],
        (job.problem or ", ".join(job.models)).replace("\n", " "),
    )


def _batch_cells(batch: BatchSummary) -> tuple[str, ...]:
    through = sum(batch.steps.get(state, 0) for state in _THROUGH)
    odd = [f"{n} {state}" for state, n in batch.steps.items() if state not in (*_THROUGH, "waiting", "running")]
    now = ", ".join([*batch.running, *odd])
    return (batch.id, batch.state, str(through), str(sum(batch.steps.values())), batch.began[:19], now)
