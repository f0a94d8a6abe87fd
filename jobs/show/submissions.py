"""How versions are shown: the list, one in full, a new one; and what `validate` found."""

from __future__ import annotations

import json

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.show.output import cut, short_path, stderr
from jobs.submissions import Adopted, VersionDetail, VersionList, VersionRow
from kaggle_tools.submissions import Validation


def render_list(result: VersionList, console: Console) -> None:
    """A line a version on stdout; what is odd, damaged or unfinished on stderr."""
    if not result.versions:
        stderr().print("no whole submission version yet: `cli score --input test.csv` makes one", markup=False)
    else:
        console.print(_table(result.versions, console.width))
    notes = stderr()
    for row in result.versions:
        for remark in row.remarks:
            notes.print(f"{row.title}: {remark}", markup=False)
    for damaged in result.damaged:
        notes.print(f"{damaged.folder} is damaged and left out: {damaged.problem}", markup=False)
    for name in result.unfinished:
        notes.print(f"{name}: half-written, by a command that is running or was killed; ignored", markup=False)


def render_version(result: VersionDetail, console: Console) -> None:
    """Everything that is known about one version."""
    row = result.summary
    lines = [
        ("file", short_path(result.path)),
        ("created", f"{row.created} by kaggle-jobs {result.code_version}"),
        ("rows", f"{row.n_rows:,}"),
        ("classes", ", ".join(f"{name} {n:,}" for name, n in result.class_counts.items())),
        ("recipe", json.dumps(result.recipe, ensure_ascii=False)),
        ("parents", ", ".join(result.parents)),
        ("metric", row.metric or ""),
        ("out of fold", _score(row.oof_score)),
        ("honest", _score(row.honest_score) + _interval(result.honest_interval)),
        ("public", _score(row.public_score)),
        ("private", _score(row.private_score)),
        ("note", row.note),
        *(("input", f"{path}: {state}") for path, state in result.inputs.items()),
        *(("remark", remark) for remark in row.remarks),
        ("valid", "no sample submission to compare with" if result.problems is None else ""),
        *(("problem", problem) for problem in result.problems or ()),
    ]
    if result.problems == ():
        lines.append(("valid", "yes, against the sample submission"))
    console.print(row.title, style="bold", markup=False)
    for name, value in lines:
        if value:
            console.print(Text(f"{name:<12}") + Text(visible(value)))


def render_adopted(result: Adopted, console: Console) -> None:
    """The new version, and what was not right with it."""
    console.print(f"{result.title}: {result.n_rows:,} rows, {short_path(result.path)}", markup=False)
    notes = stderr()
    if not result.checked:
        notes.print("not validated: the competition names no sample submission", markup=False)
    for problem in result.problems:
        notes.print(f"adopted in spite of: {visible(problem)}", markup=False)


def render_validation(result: Validation, console: Console) -> None:
    """Valid or not, each problem with its place, then what is worth knowing."""
    name = short_path(result.path)
    if result.ok:
        facts = f"{result.n_rows:,} rows, {result.format}, {result.encoding}, {result.line_ends} line ends"
        console.print(f"valid: {name} ({facts})", markup=False)
    else:
        n = len(result.problems)
        console.print(f"not valid: {name}, {n} problem{'s' if n > 1 else ''}", markup=False)
    for problem in result.problems:
        console.print(f"  {visible(problem.what)}", markup=False)
        for key, value in problem.details.items():
            if value:
                place = f"{result.path.name} {value}" if key == "first" and value.startswith(("line", "row")) else value
                console.print(f"    {key + ':':<10} {visible(place)}", markup=False)
    for note in result.notes:
        console.print(f"  note: {note}", markup=False)


def visible(text: str) -> str:
    """Text from a file as one line that cannot steer a terminal: control characters become their Unicode pictures."""
    return "".join(_picture(ord(c)) or c for c in text)


def _picture(code: int) -> str:
    if code < 32:
        return chr(0x2400 + code)
    return "␡" if code == 127 else "�" if 128 <= code < 160 or 0x202A <= code <= 0x202E else ""


def _table(rows: tuple[VersionRow, ...], width: int) -> Table:
    """A line a version; the note takes what room the other columns leave."""
    metrics = {row.metric for row in rows if row.metric}
    columns = {
        "version": [row.title + ("*" if row.remarks else "") for row in rows],
        "made": [row.created[:16].replace("T", " ") for row in rows],
        "rows": [f"{row.n_rows:,}" for row in rows],
        "OOF": [_score(row.oof_score) for row in rows],
        "honest": [_score(row.honest_score) for row in rows],
        "public": [_score(row.public_score) for row in rows],
        "private": [_score(row.private_score) for row in rows],
        "recipe": [row.kind for row in rows],
    }
    shown = {heading: [visible(cell) for cell in cells] for heading, cells in columns.items()}
    room = width - 2 - sum(max(map(cell_len, [heading, *cells])) + 2 for heading, cells in shown.items())
    note = "note" if len(metrics) != 1 else f"note ({metrics.pop()})"
    shown[note] = [cut(visible(row.note), max(room, cell_len(note))) for row in rows]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in shown:
        left = heading in ("version", "made", "recipe", note)
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*map(Text, cells))
    return table


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" [{interval[0]:.5f}, {interval[1]:.5f}]"
