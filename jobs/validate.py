"""`cli validate`: whether a file would be accepted as a submission, everything that is wrong with it, and where.

    cli validate submission.csv
    cli validate teammate.csv.gz --sample sample_submission.csv

Exit code 0: valid; 1: not valid; 2: it cannot be told (no such file, no sample submission).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.submissions import Validation, find_version, validate


@dataclass(frozen=True)
class ValidateOptions:
    """What to check.

    Attributes:
        file: A file, or a version.
        sample: What to compare it with; None: the competition's sample submission.
    """

    file: str
    sample: Path | None = None


def run(options: ValidateOptions) -> Validation:
    """Compare the file with the sample submission.

    Raises:
        UserError: No such file, or no sample submission that is usable.
    """
    workspace = Workspace.find()
    competition = workspace.competition
    sample = options.sample or (competition.path(competition.sample_submission) if competition else None)
    if sample is None:
        raise UserError(
            "no sample submission to compare with",
            where=workspace.root,
            next="name one with --sample FILE, or `cli init --sample FILE`",
        )
    path = Path(options.file)
    if not path.is_file():
        if path.suffix or path.is_dir():
            path = _version_file(workspace, options.file)
        else:
            path = find_version(workspace.submissions, options.file).submission
    return validate(path, sample, competition)


def _version_file(workspace: Workspace, wanted: str) -> Path:
    """Of a version's folder; a missing file is told as such."""
    if not Path(wanted).is_dir():
        raise UserError("no such file", where=wanted)
    return find_version(workspace.submissions, wanted).submission
