"""What a finished scoring job leaves in the workspace: each run's predictions, and a submission of their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobs.runner.assemble import predictions_file
from jobs.runner.joining import JoinedFile, NotWanted
from jobs.runner.local import Watch
from jobs.runner.plan import Request
from jobs.runner.planner import Job, ids_of, load_plan
from jobs.runner.store import JobStore
from jobs.workspace import Run, Workspace
from kaggle_tools import metrics
from kaggle_tools.bio import legal_tags
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import table_stem
from kaggle_tools.predictions import Predictions, job_of
from kaggle_tools.remote import place
from kaggle_tools.submissions import (
    ManifestDraft,
    build_submission,
    count_classes,
    list_versions,
    require_same_ids,
    write_version,
)
from kaggle_tools.submissions.layout import read_sample, separator_of, trimmed
from kaggle_tools.tag_predictions import TagPredictions, count_entities
from models.hub import fingerprint
from models.inference.scores import mean_probabilities


@dataclass(frozen=True)
class RunPredictions:
    """Each workspace run's predictions for a whole input file, where later commands look for them.

    Attributes:
        files: Run name → file; not placed where the run has other checkpoints by then.
        placed: Run name → path, of those that were.
    """

    files: Mapping[str, JoinedFile] = field(default_factory=dict)
    placed: dict[str, Path] = field(default_factory=dict)


def run_predictions(job: Job, workspace: Workspace, watch: Watch, *, task: str, precision: str) -> RunPredictions:
    """Where a job's scores go besides its output, for `jobs.runner.joining`."""
    request = job.plan.request
    if request.limit is not None or task == "regression":  # numbers of which nothing is made here
        return RunPredictions()
    competition = workspace.competition
    test = competition.path(competition.test) if competition else None
    if test is not None and table_stem(test.name) == request.stem and [str(test)] != [f.path for f in request.inputs]:
        watch.note(f"runs/<run>/predictions/{request.stem}.parquet is kept for the competition's own test file")
        return RunPredictions()
    placed: dict[str, Path] = {}

    def file_of(run: Run) -> JoinedFile:
        path = run.predictions(request.stem)

        def placing() -> None:
            if not _is_model(run, request):
                changed = f"run '{run.name}' was trained anew or removed while the job ran"
                watch.note(f"{changed}: neither its predictions nor a submission are written")
                raise NotWanted
            placed[run.name] = path

        return predictions_file(job.plan, run.name, path, task=task, precision=precision, placing=placing)

    return RunPredictions({run.name: file_of(run) for run in workspace.runs() if _is_model(run, request)}, placed)


def tell_of_replaced(job: Job, workspace: Workspace, predictions: RunPredictions, watch: Watch) -> None:
    """Say so where predictions are about to be replaced that another job made of the same name with other settings."""
    runs_of: dict[str, list[str]] = {}
    for run in predictions.files:
        other = job_of(_folder_of(workspace, run).predictions(job.plan.request.stem))
        if other is not None and other != job.plan.id:
            runs_of.setdefault(other, []).append(run)
    for other, runs in runs_of.items():
        with suppress(UserError):  # its plan is damaged: nobody knows
            plan = load_plan(JobStore(workspace.jobs / other))
            if plan is not None and (differences := _differences(plan.request, job.plan.request)):
                what = f"predictions/{job.plan.request.stem}.parquet of {', '.join(runs)}"
                watch.note(f"{what} replaced, which was of job {other}, whose command restores it: {differences}")


def check_sample(job: Job, workspace: Workspace, *, task: str) -> None:
    """Make sure, before anything is scored, that a submission can be made of it where `write_submission` will.

    Raises:
        UserError: The test file has other ids than the sample submission; a sample that cannot be read.
    """
    competition, request = workspace.competition, job.plan.request
    path = competition.path(competition.sample_submission) if competition else None
    runs = {run.name for run in workspace.runs() if _is_model(run, request)}
    if competition is None or path is None or request.limit is not None or task == "regression":
        return
    inputs = [place(file.path) for file in request.inputs]
    if inputs != [competition.path(competition.test)] or runs != set(request.models):
        return
    sample = read_sample(path, competition)
    require_same_ids(
        trimmed(ids_of(job.plan)),
        sample.table[sample.layout.id_column],
        path,
        next="give the rows of both the same ids, or score without making a submission: --no-submission",
    )


def write_submission(job: Job, workspace: Workspace, predictions: Mapping[str, Path], name: str | None) -> str | None:
    """A version for the competition's test file: the equal mean of the runs. One job makes one version.

    Args:
        job: A job whose parts are all there.
        workspace: Where the submission goes.
        predictions: Run name → Predictions file, as `run_predictions` placed it.
        name: What to call the version; None: the run, or ``mean`` for several.

    Returns:
        Its title, such as ``v0001-mean``; None where the input is not the competition's test file.

    Raises:
        UserError: Rows that the sample submission asks for were set aside; another job wrote its predictions meanwhile.
    """
    competition = workspace.competition
    inputs = [place(file.path) for file in job.plan.request.inputs]
    if competition is None or inputs != [competition.path(competition.test)]:
        return None
    if set(predictions) != set(job.plan.request.models):
        return None
    for version in list_versions(workspace.submissions).versions:
        if version.manifest.recipe.get("job") == job.plan.id:
            return version.title
    members = _load(list(predictions.values()), competition)
    if any(member.meta.get("job") != job.plan.id for member in members):
        raise UserError(
            f"another job replaced predictions of job {job.plan.id} before a submission was made of them",
            where=", ".join(map(str, predictions.values())),
            next="run the same command again once the other job has ended: no row is scored again",
        )
    mean = _mean(members)
    sample = competition.path(competition.sample_submission)
    table = build_submission(mean, sample, competition)
    draft = ManifestDraft(
        recipe={"kind": "mean", "runs": list(predictions), "job": job.plan.id},
        inputs=tuple(predictions.values()),
        competition=competition.name,
        metric=competition.metric,
        oof_score=_oof_score(workspace, competition, list(predictions)),
        class_counts=count_entities(mean) if isinstance(mean, TagPredictions) else count_classes(mean),
    )
    name = name or (next(iter(predictions)) if len(predictions) == 1 else "mean")
    return write_version(workspace.submissions, name, table, draft, separator=separator_of(sample)).title


def _is_model(run: Run, request: Request) -> bool:
    """Whether it is what the job scores with: a model from elsewhere may have its name."""
    try:
        return request.models.get(run.name) == tuple(map(fingerprint, run.checkpoints))
    except OSError:  # it is being removed
        return False


def _folder_of(workspace: Workspace, run: str) -> Run:
    """A run that was complete when the job began; it may be trained anew since, or gone."""
    return Run(run, workspace.runs_folder / run)


def _differences(before: Request, now: Request) -> str:
    """Settings that move scores or ids, and files; not their content, whose change is told where a job is planned."""
    settings = ("id_column", "text_columns", "classes", "precision", "backend", "max_length", "on_bad_row", "tokenizer")
    pairs = [(name.replace("_", " "), getattr(before, name), getattr(now, name)) for name in settings]
    pairs.append(("input", [file.path for file in before.inputs], [file.path for file in now.inputs]))
    return "; ".join(f"{name} was {_said(old)}, is {_said(new)}" for name, old, new in pairs if old != new)


def _said(value: object) -> str:
    return "none" if value is None else ", ".join(value) if isinstance(value, (list, tuple)) else str(value)


def _load(paths: Sequence[Path], competition: Competition) -> Sequence[Predictions] | Sequence[TagPredictions]:
    if competition.task == "token":
        return [TagPredictions.load(path) for path in paths]
    return [Predictions.load(path).in_class_order(competition.classes) for path in paths]


def _mean(members: Sequence[Predictions] | Sequence[TagPredictions]) -> Predictions | TagPredictions:
    """The equal mean; of a single member what it decided itself."""
    first = members[0]
    if len(members) == 1:
        return first
    aligned = [first, *(p.align(first.ids) for p in members[1:])]
    if isinstance(first, TagPredictions):
        probs = mean_probabilities([p.probs for p in aligned])
        return replace(first, probs=probs, codes=legal_tags(probs, first.offsets, first.classes))
    return Predictions(
        first.ids, first.classes, mean_probabilities([p.probs for p in aligned]), first.labels, first.folds, first.task
    )


def _oof_score(workspace: Workspace, competition: Competition, names: Sequence[str]) -> float | None:
    paths = [_folder_of(workspace, name).oof for name in names]
    if not all(path.is_file() for path in paths):
        return None
    try:
        return metrics.score(competition.metric, _mean(_load(paths, competition)))
    except UserError:  # runs trained on different rows have no common OOF score
        return None
