"""Signatures of the commands about scoring jobs: jobs, jobs show, cancel, resume, prune."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.app import Json, Quiet, app, examples, option

jobs_app = typer.Typer(
    help="Scoring jobs: state, progress, what happened.",
    invoke_without_command=True,
    rich_markup_mode=None,
    epilog=examples("cli jobs", "cli jobs --follow", "cli jobs show test-3fa9c1d2"),
)
app.add_typer(jobs_app, name="jobs")

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Jobs by id, or how it begins.")]


@jobs_app.callback()
def list_jobs(
    ctx: typer.Context,
    all_jobs: Annotated[bool, option("--all", help="List old complete jobs, too; --json always does.")] = False,
    follow: Annotated[bool, option("--follow", "-f", help="Show progress until nothing runs.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List scoring jobs, and the batches of `cli run`, with state and progress."""
    if ctx.invoked_subcommand is not None:
        return
    from jobs import status
    from jobs.show import jobs as show
    from jobs.show.output import emit, stdout

    if follow and not as_json and not quiet:
        show.follow(status.recent, stdout())
    elif as_json:
        listed = status.everything()
        emit((*listed.jobs, *listed.batches), lambda _all, _console: None, as_json=True, quiet=quiet)
    else:
        listed = status.everything() if all_jobs else status.recent()
        emit(listed, show.render_list, as_json=False, quiet=quiet)


@jobs_app.command("show", epilog=examples("cli jobs show test-3fa9c1d2", "cli jobs show test --json | jq .events"))
def show_job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="A job's id, or how it begins.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one job: what was asked, what happened, rows set aside."""
    from jobs import status
    from jobs.show.jobs import render_job
    from jobs.show.output import emit

    emit(status.show(job_id), render_job, as_json=as_json, quiet=quiet)


@jobs_app.command(
    "cancel", epilog=examples("cli jobs cancel test-3fa9c1d2", "cli jobs cancel test-3fa9c1d2 train-90ab --timeout 5")
)
def cancel_jobs(
    job_ids: Ids,
    timeout: Annotated[float, option("--timeout", min=0, help="Seconds to wait for the end.")] = 60.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Stop running jobs of this machine; what is committed is kept. Exit code 1: one has not ended yet."""
    from jobs import control
    from jobs.show.jobs import render_cancel
    from jobs.show.output import emit

    result = control.cancel(job_ids, timeout)
    emit(result, render_cancel, as_json=as_json, quiet=quiet)
    raise typer.Exit(result.exit_code)


@jobs_app.command("resume", epilog=examples("cli jobs resume test-3fa9c1d2", "cli jobs resume test-3fa9 train-90ab"))
def resume_jobs(job_ids: Ids, as_json: Json = False, quiet: Quiet = False) -> None:
    """Go on with interrupted jobs, by the command that each was called with. Exit code: of the first that failed."""
    from jobs import control
    from jobs.show.jobs import render_resume
    from jobs.show.output import emit

    result = control.resume(job_ids, output_to_stderr=as_json, quiet=quiet)
    emit(result, render_resume, as_json=as_json, quiet=quiet, on_stderr=not as_json)
    raise typer.Exit(result.exit_code)


@jobs_app.command("prune", epilog=examples("cli jobs prune --dry-run", "cli jobs prune --older-than 7"))
def prune_jobs(
    older_than: Annotated[float, option("--older-than", min=0, help="Days since a job was complete.")] = 30.0,
    dry_run: Annotated[bool, option("--dry-run", help="Say what would be removed.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove the parts of old complete jobs, whose rows are in their outputs, and files that killed processes left.

    The parts of jobs that are not complete are never touched.
    """
    from jobs import prune
    from jobs.show.jobs import render_prune
    from jobs.show.output import emit

    emit(prune.run(older_than, dry_run=dry_run), render_prune, as_json=as_json, quiet=quiet)
