"""Signatures of the commands that write pages: report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from jobs.commands.app import Force, Json, Quiet, app, examples, option


@app.command(epilog=examples("cli report", "cli report --output ~/Desktop/spooky.html"))
def report(
    output: Annotated[Path, option("--output", "-o", help="The HTML file.")] = Path("report.html"),
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write all that is known of the competition on one page: a single HTML file, offline, for any browser."""
    from jobs import report as command
    from jobs.show.output import emit
    from jobs.show.report import render_report, tell_section

    on_section = None if quiet or as_json else tell_section
    options = command.ReportOptions(output=output, force=force, on_section=on_section)
    emit(command.run(options), render_report, as_json=as_json, quiet=quiet)
