"""Signatures of the commands that look at submissions: submissions, validate, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.app import Force, Json, Quiet, app, examples, option

Which = Annotated[
    str, typer.Argument(metavar="V", help="A number, title or name, latest, latest~1, or the path of a version.")
]

submissions_app = typer.Typer(
    help="Submission versions: all of them, one in full, anybody's file as a new one.",
    invoke_without_command=True,
    rich_markup_mode=None,
    epilog=examples("cli submissions", "cli submissions show latest"),
)
app.add_typer(submissions_app, name="submissions")


@submissions_app.callback()
def list_submissions(ctx: typer.Context, as_json: Json = False, quiet: Quiet = False) -> None:
    """List submission versions with their scores."""
    if ctx.invoked_subcommand is not None:
        return
    from jobs import submissions as command
    from jobs.show.output import emit
    from jobs.show.submissions import render_list

    emit(command.run(), render_list, as_json=as_json, quiet=quiet)


@submissions_app.command("show", epilog=examples("cli submissions show 7", "cli submissions show latest~1 --json"))
def show_submission(version: Which, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show one version: where it came from, its scores, whether it is valid."""
    from jobs import submissions as command
    from jobs.show.output import emit
    from jobs.show.submissions import render_version

    emit(command.show(version), render_version, as_json=as_json, quiet=quiet)


@submissions_app.command(
    "adopt",
    epilog=examples(
        "cli submissions adopt teammate.csv --name ann --note 'her stack of Tuesday'",
        "cli submissions adopt old.parquet --parent v0003-roberta",
    ),
)
def adopt_submission(
    file: Annotated[
        Path, typer.Argument(help="CSV (kept byte for byte), TSV, JSON Lines or Parquet; .gz, .zst, .zip.")
    ],
    name: Annotated[str | None, option("--name", help="What to call it; default: the file's name.")] = None,
    note: Annotated[str, option("--note", help="Free text.")] = "",
    parent: Annotated[
        list[str] | None, option("--parent", help="A version that it was made from; again for more.")
    ] = None,
    force: Annotated[bool, option("--force", help="Adopt it although it is not valid.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a version out of anybody's submission file, once it is found valid."""
    from jobs import submissions as command
    from jobs.show.output import emit
    from jobs.show.submissions import render_adopted

    options = command.AdoptOptions(file, name, note, tuple(parent or ()), force)
    emit(command.adopt(options), render_adopted, as_json=as_json, quiet=quiet)


@app.command(epilog=examples("cli validate submission.csv", "cli validate teammate.csv.gz --sample sample.csv"))
def validate(
    file: Annotated[str, typer.Argument(help="A submission file, or a version.")],
    sample: Annotated[Path | None, option("--sample", help="Sample submission; default: the competition's.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a file against the sample submission. Exit code 0: valid, 1: not valid, 2: cannot be told."""
    from jobs import validate as command
    from jobs.show.output import emit
    from jobs.show.submissions import render_validation

    result = command.run(command.ValidateOptions(file, sample))
    emit(result, render_validation, as_json=as_json, quiet=quiet)
    if not result.ok:
        raise typer.Exit(1)


@app.command(
    epilog=examples("cli diff latest~1 latest", "cli diff v0007 teammate.csv.gz --csv changed.csv --html changed.html")
)
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A version, a submission file or predictions.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one; changes are from A to B.")],
    rows: Annotated[int, option("--rows", min=0, help="How many of the biggest changes to show.")] = 10,
    metric: Annotated[str | None, option("--metric", help="Default: the competition's.")] = None,
    tolerance: Annotated[
        float,
        option(
            "--tolerance",
            min=0,
            max=1,
            help="How far a probability may move without counting as changed, as long as the label stays.",
        ),
    ] = 0.0,
    common: Annotated[bool, option("--common", help="Compare the rows that both have, where ids differ.")] = False,
    csv: Annotated[str | None, option("--csv", help="Write all changed rows; - is stdout.")] = None,
    html: Annotated[Path | None, option("--html", help="Write a page.")] = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two submissions by id: what changed, and what that will do. Exit code 0: same, 1: different, 2: error."""
    from jobs import diff as command
    from jobs.show.diff import render_diff
    from jobs.show.output import emit

    result = command.run(command.DiffOptions(a, b, rows, metric, tolerance, common, csv, html, force))
    piped = csv == command.STDOUT
    emit(result, render_diff, as_json=as_json, quiet=quiet or piped, on_stderr=piped)
    if not result.same:
        raise typer.Exit(1)
