"""How submissions to Kaggle are shown: what is about to be sent, what became of it, what Kaggle has."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.show.output import duration, short_path, size, stderr
from jobs.submit import Preview, SubmitResult
from jobs.submit_list import ListResult
from kaggle_tools.kaggle_service import Quota
from kaggle_tools.kaggle_service.sending import until_midnight_s


def tell_preview(preview: Preview) -> None:
    """Everything that Kaggle will get, before it gets it."""
    file = f"{short_path(preview.file)}, {preview.n_rows:,} rows, {size(preview.file.stat().st_size)}"
    _lines(
        stderr(),
        {
            "competition": preview.competition,
            "file": f"{file}, {preview.checked}",
            "message": preview.message,
            "quota": quota_in_words(preview.quota),
        },
    )


def tell_note(line: str) -> None:
    """A line about what goes on."""
    stderr().print(line, markup=False)


def render_submit(result: SubmitResult, console: Console) -> None:
    """The score, or what to do for it."""
    if result.state == "dry run":
        console.print("nothing was sent (--dry-run)")
        return
    lines = {"submission": f"{result.ref}, {'sent' if result.sent else 'sent before'} {result.submitted or ''}".strip()}
    if result.state == "pending":
        lines["state"] = "not scored yet; do not send it again"
        lines["next"] = f"`cli submit {result.version}` fetches the score, `cli submit --list` shows all"
    else:
        lines["public"] = _score(result.public_score)
        if result.private_score is not None:
            lines["private"] = _score(result.private_score)
        lines["manifest"] = f"submissions/{result.version}/manifest.json"
    if result.n_left is not None:
        lines["quota"] = f"{result.n_left} left today"
    _lines(console, lines)


def render_list(result: ListResult, console: Console) -> None:
    """A table of all submissions, newest first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("submission", "sent", "version", "state", "public", "private", "message"):
        table.add_column(heading, justify="right" if heading in ("public", "private") else "left")
    for listed in result.submissions:
        entry = listed.entry
        state = f"{entry.status}: {entry.error}" if entry.error else entry.status
        cells = (
            str(entry.ref), entry.date[:16].replace("T", " "), listed.version or "-", state,
            _score(entry.public_score), _score(entry.private_score), entry.description,
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    if result.submissions:
        console.print(table)
    else:
        console.print(f"Kaggle has no submission to {result.competition} yet", markup=False)
    console.print(f"quota  {quota_in_words(result.quota)}", markup=False)
    if result.recorded:
        console.print(f"scores written into the manifests of {', '.join(result.recorded)}", markup=False)


def quota_in_words(quota: Quota) -> str:
    """``4 left today (1 sent), the day ends in 5 h 12 min``."""
    if quota.limited_by_total:
        return f"{quota.n_left} left of the competition's total ({quota.n_total:,} sent)"
    ends = duration(until_midnight_s())
    return f"{quota.n_left} left today ({quota.n_today} sent), the day ends in {ends}"


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.7g}"


def _lines(console: Console, lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for key, value in lines.items():
        console.print(f"{key:<{width}}  {value}", markup=False)
