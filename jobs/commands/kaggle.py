"""Signatures of the commands that talk to Kaggle: submit."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.app import Json, Quiet, app, examples, option


@app.command(
    epilog=examples(
        'cli submit latest --message "log pool of five"',
        "cli submit 7 --dry-run",
        "cli submit --list",
    )
)
def submit(
    version: Annotated[
        str | None, typer.Argument(help="What to send: 7, v0007, latest, latest~1, a name or a path.")
    ] = None,
    list_all: Annotated[
        bool, option("--list", help="Show what Kaggle has; new scores go into the manifests. Sends nothing.")
    ] = False,
    competition: Annotated[
        str | None, option("--competition", help="Its name in its Kaggle address; default: `slug` in competition.toml.")
    ] = None,
    message: Annotated[
        str | None, option("--message", "-m", help="Shown at Kaggle beside the version's name; default: its note.")
    ] = None,
    again: Annotated[bool, option("--again", help="Send although Kaggle has this content already.")] = False,
    dry_run: Annotated[
        bool, option("--dry-run", help="Check the file, ask for the quota, show what would be sent, and stop.")
    ] = False,
    wait: Annotated[bool, option("--wait/--no-wait", help="Stay until it is scored.")] = True,
    timeout: Annotated[float, option("--timeout", min=0, help="Seconds to wait for the score at most.")] = 600.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Send a version to Kaggle, once; wait for its score and write it into the manifest. Exit code 1: not scored yet.

    Needs the extra `kaggle-jobs[kaggle]`. Credentials are those of the official client, which are never shown:
    KAGGLE_API_TOKEN, ~/.kaggle/access_token, ~/.kaggle/kaggle.json, or KAGGLE_USERNAME with KAGGLE_KEY.
    """
    from jobs import submit as command
    from jobs.show.output import emit
    from jobs.show.submit import render_list, render_submit, tell_note, tell_preview
    from kaggle_tools.errors import UserError

    note = command.silent if quiet else tell_note
    if list_all:
        from jobs.submit_list import list_submissions

        emit(list_submissions(competition, note), render_list, as_json=as_json, quiet=quiet)
        return
    if version is None:
        raise UserError("which version?", next="`cli submit latest`, or `cli submit --list` to see what Kaggle has")
    options = command.SubmitOptions(
        version=version,
        competition=competition,
        message=message,
        again=again,
        dry_run=dry_run,
        wait=wait,
        timeout_s=timeout,
        on_preview=command.silent if quiet else tell_preview,
        on_note=note,
    )
    result = command.run(options)
    emit(result, render_submit, as_json=as_json, quiet=quiet)
    if result.state == "pending" and wait:
        raise typer.Exit(1)
