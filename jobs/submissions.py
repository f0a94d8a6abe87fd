"""`cli submissions`: the versions that there are, one of them in full, and anybody's file as a new one.

    cli submissions
    cli submissions show latest~1
    cli submissions adopt teammate.csv --name teammate --note "Ann's stack of Tuesday"

Listing never changes anything, and no damage hides a version: what cannot be read is told beside the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import file_digest
from kaggle_tools.submissions import (
    Answers,
    ManifestDraft,
    Version,
    count_answers,
    edited_by_hand,
    find_version,
    is_intact,
    list_versions,
    read_answer_file,
    validate,
    write_version_bytes,
)
from kaggle_tools.submissions.build import own_layout
from kaggle_tools.submissions.layout import read_sample
from kaggle_tools.submissions.validate import other_separator


@dataclass(frozen=True)
class VersionRow:
    """One line of `cli submissions`.

    Attributes:
        title: Such as ``v0007-blend``.
        created: When, UTC.
        kind: Of its recipe, such as ``mean``, ``log_pool`` or ``adopted``.
        n_rows: Rows of `submission.csv`.
        metric: What the scores are.
        oof_score: Out-of-fold score.
        honest_score: Nested cross-validated score.
        public_score: Of the public leaderboard.
        private_score: Of the private one.
        note: Free text.
        remarks: What is odd about its files: edited by hand, changed since.
    """

    title: str
    created: str
    kind: str
    n_rows: int
    metric: str | None
    oof_score: float | None
    honest_score: float | None
    public_score: float | None
    private_score: float | None
    note: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class DamagedVersion:
    """A version that cannot be read."""

    folder: str
    problem: str


@dataclass(frozen=True)
class VersionList:
    """All versions, lowest number first, and beside them what is damaged or unfinished."""

    versions: tuple[VersionRow, ...]
    damaged: tuple[DamagedVersion, ...]
    unfinished: tuple[str, ...]


@dataclass(frozen=True)
class VersionDetail:
    """One version in full.

    Attributes:
        summary: As in the list.
        path: The file to submit.
        recipe: How it was made.
        inputs: Path → ``unchanged``, ``changed since`` or ``gone``.
        class_counts: Rows predicted as each class.
        parents: Versions that it was made from.
        honest_interval: 95 % interval of the honest score.
        code_version: Of kaggle-jobs that wrote it.
        problems: What the platform would not like, against the sample submission; None where there is no sample.
    """

    summary: VersionRow
    path: Path
    recipe: Mapping[str, Any]
    inputs: Mapping[str, str]
    class_counts: Mapping[str, int]
    parents: tuple[str, ...]
    honest_interval: tuple[float, float] | None
    code_version: str
    problems: tuple[str, ...] | None


@dataclass(frozen=True)
class AdoptOptions:
    """What becomes a version.

    Attributes:
        file: A submission, in any format that we read.
        name: What to call it; None: the file's name.
        note: Free text.
        parents: Versions that it was made from.
        force: Adopt it although `validate` finds fault with it.
    """

    file: Path
    name: str | None = None
    note: str = ""
    parents: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Adopted:
    """The new version, and what was wrong with the file (only with `force`) or could not be checked."""

    title: str
    path: Path
    n_rows: int
    class_counts: Mapping[str, int]
    problems: tuple[str, ...]
    checked: bool


def run() -> VersionList:
    """All versions of the workspace."""
    listing = list_versions(Workspace.find().submissions)
    return VersionList(
        versions=tuple(_row(version) for version in listing.versions),
        damaged=tuple(DamagedVersion(d.folder.name, str(d.problem)) for d in listing.damaged),
        unfinished=tuple(path.name for path in listing.unfinished),
    )


def show(wanted: str) -> VersionDetail:
    """One version.

    Raises:
        UserError: No such version, or it cannot be read.
    """
    workspace = Workspace.find()
    version = find_version(workspace.submissions, wanted)
    manifest = version.manifest
    competition = workspace.competition
    sample = competition.path(competition.sample_submission) if competition else None
    return VersionDetail(
        summary=_row(version),
        path=version.submission,
        recipe=manifest.recipe,
        inputs={path: _state(workspace.root / path, known) for path, known in manifest.inputs.items()},
        class_counts=manifest.class_counts,
        parents=manifest.parents,
        honest_interval=manifest.honest_interval,
        code_version=manifest.code_version,
        problems=_problems(version.submission, sample, competition) if sample and sample.is_file() else None,
    )


def adopt(options: AdoptOptions) -> Adopted:
    """Make a version out of a file from elsewhere. Text whose fields are separated as the sample's stays as it is, byte
    for byte, but for its compression; anything else is written anew.

    Raises:
        UserError: The file is no submission, is not valid and `force` is not set, or a parent does not exist.
            Nothing is written then.
    """
    workspace = Workspace.find()
    competition = workspace.competition
    if not options.file.is_file():
        raise UserError("no such file", where=options.file)
    parents = tuple(find_version(workspace.submissions, parent).title for parent in options.parents)
    answers = read_answer_file(options.file, competition)
    sample = competition.path(competition.sample_submission) if competition else None
    content = _as_csv(options.file, answers, sample, competition)
    draft = ManifestDraft(
        recipe={"kind": "adopted", "file": options.file.name},
        inputs=(options.file,),
        competition=competition.name if competition else None,
        metric=competition.metric if competition else None,
        class_counts=count_answers(answers),
        parents=parents,
        note=options.note,
    )
    problems = _problems_of_bytes(content, options.file, sample, competition) if sample else ()
    if problems and not options.force:
        raise UserError(
            f"{options.file.name} is not a valid submission: {problems[0]}",
            where=options.file,
            **{f"also {i}": problem for i, problem in enumerate(problems[1:], start=1)},  # type: ignore[arg-type]
            next="mend it, or adopt it as it is with --force",
        )
    # Of a file's name what a folder may be called.
    name = options.name or re.sub(r"[^\w.+-]+|^\W+", "-", options.file.name.split(".")[0]).strip("-") or "adopted"
    version = write_version_bytes(workspace.submissions, name, content, len(answers), draft)
    return Adopted(version.title, version.submission, len(answers), draft.class_counts, problems, sample is not None)


def _row(version: Version) -> VersionRow:
    manifest = version.manifest
    return VersionRow(
        title=version.title,
        created=manifest.created,
        kind=str(manifest.recipe.get("kind", "unknown")),
        n_rows=manifest.n_rows,
        metric=manifest.metric,
        oof_score=manifest.oof_score,
        honest_score=manifest.honest_score,
        public_score=manifest.public_score,
        private_score=manifest.private_score,
        note=manifest.note,
        remarks=_remarks(version),
    )


def _remarks(version: Version) -> tuple[str, ...]:
    remarks = []
    try:
        if edited_by_hand(version.folder):
            remarks.append("manifest.json was edited by hand")
        if not is_intact(version):
            remarks.append("submission.csv is not the file that was written with the manifest")
    except OSError as exc:
        remarks.append(f"submission.csv cannot be read: {exc.strerror}")
    return tuple(remarks)


def _state(path: Path, known: str) -> str:
    try:
        return "unchanged" if file_digest(path) == known else "changed since"
    except OSError:
        return "gone"


def _problems(path: Path, sample: Path, competition: Competition | None) -> tuple[str, ...]:
    return tuple(problem.line for problem in validate(path, sample, competition).problems)


def _problems_of_bytes(content: bytes, file: Path, sample: Path, competition: Competition | None) -> tuple[str, ...]:
    """Of a file that lies there as it would be submitted, or (converted) of what it becomes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (file.name.split(".")[0] + ".csv")
        path.write_bytes(content)
        return _problems(path, sample, competition)


def _as_csv(file: Path, answers: Answers, sample: Path | None, competition: Competition | None) -> bytes:
    """As `adopt` says; what is written anew has probabilities in the columns of a submission."""
    from kaggle_tools.tables import sniff_format
    from kaggle_tools.tables.streams import ByteStream

    fmt = sniff_format(file)
    wanted = read_sample(sample, competition) if sample else None
    as_it_is = wanted is None or other_separator(file, wanted) is None
    if fmt.kind == "csv" and as_it_is:
        with ByteStream(file, fmt.compression) as stream:
            return b"".join(iter(lambda: stream.read(1 << 20), b""))
    layout = None
    if competition is not None:
        layout = wanted.layout if wanted else own_layout(answers.ids.name, competition)
    return answers.table(layout).write_csv(separator=wanted.separator if wanted else ",").encode()
