"""Signatures of the commands that run others: run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.app import Json, Quiet, app, examples, option

SCORED, SETTLE_S = Path("scored"), 5.0


@app.command(
    epilog=examples(
        "cli run jobs.toml --dry-run",
        "cli run jobs.toml --parallel 2 --notify-url https://hooks.example.org/xyz",
        "cli run --watch incoming --score-options '-m roberta' --into scored",
    )
)
def run(
    file: Annotated[Path | None, typer.Argument(help="The batch; default: jobs.toml.")] = None,
    only: Annotated[list[str] | None, option("--only", help="Run this step and what it needs; again for more.")] = None,
    parallel: Annotated[int, option("--parallel", min=1, help="Processes at a time.")] = 1,
    parameter: Annotated[list[str] | None, option("--set", help="NAME=VALUE of a parameter; again for more.")] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Say what would run, and why.")] = False,
    force: Annotated[bool, option("--force", help="Run what is up to date, too.")] = False,
    notify_command: Annotated[
        str | None, option("--notify-command", help="Started at the end, with the outcome as JSON on its stdin.")
    ] = None,
    notify_url: Annotated[str | None, option("--notify-url", help="Gets the outcome as JSON by POST.")] = None,
    watch: Annotated[Path | None, option("--watch", help="Score what arrives in this folder instead.")] = None,
    score_options: Annotated[str, option("--score-options", help="With --watch: options of `cli score`.")] = "",
    into: Annotated[Path, option("--into", help="With --watch: where the scores go.")] = SCORED,
    settle: Annotated[
        float, option("--settle", min=0, help="With --watch: seconds that a file must stand still.")
    ] = SETTLE_S,
    once: Annotated[bool, option("--once", help="With --watch: end when every file is scored.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the steps of a batch that are out of date. Exit code 1: a step failed. Run it again to go on.

    A step is out of date when its command, the content of what it reads or of what it wrote has changed. One that fails
    stops only those that need it.
    """
    from jobs import run as command
    from jobs import watch as watching
    from jobs.notify import Notify
    from jobs.show import batch as show
    from jobs.show.output import emit

    notify = Notify(notify_command, notify_url)
    if watch is not None:
        _refuse(file=file, only=only, set=parameter, dry_run=dry_run, force=force, parallel=parallel > 1)
        tell_entry = (lambda _entry: None) if quiet else show.tell_entry
        asked = watching.WatchOptions(watch, into, score_options, settle, once=once, notify=notify, tell=tell_entry)
        watched = watching.run(asked)
        emit(watched, show.render_watch, as_json=as_json, quiet=quiet)
        raise typer.Exit(watched.exit_code)
    _refuse_without_watch(score_options=score_options != "", into=into != SCORED, settle=settle != SETTLE_S, once=once)
    options = command.RunOptions(
        file=file or Path("jobs.toml"),
        only=tuple(only or ()),
        parallel=parallel,
        changed=_pairs(parameter or []),
        force=force,
        notify=notify,
        tell=(lambda _task: None) if quiet else show.tell_task,
    )
    if dry_run:
        emit(command.plan(options), show.render_plan, as_json=as_json, quiet=quiet)
        return
    result = command.run(options)
    emit(result, show.render_batch, as_json=as_json, quiet=quiet)
    if not quiet:
        show.tell_complaints(result)
    raise typer.Exit(result.exit_code)


def _pairs(settings: list[str]) -> dict[str, str]:
    from kaggle_tools.errors import UserError

    if bad := [setting for setting in settings if "=" not in setting]:
        raise UserError(f"--set takes NAME=VALUE, not '{bad[0]}'")
    return dict(setting.split("=", 1) for setting in settings)


def _refuse(**given: object) -> None:
    from kaggle_tools.errors import UserError

    for name, value in given.items():
        if value:
            raise UserError(f"--watch has no batch file: it does not go with {name.replace('_', '-')}")


def _refuse_without_watch(**given: bool) -> None:
    from kaggle_tools.errors import UserError

    for name, is_given in given.items():
        if is_given:
            raise UserError(f"--{name.replace('_', '-')} is for --watch, which scores a folder", next="add --watch DIR")
