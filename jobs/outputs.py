"""What a finished scoring job leaves in the workspace: each run's predictions, and a submission of their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobs.runner.assemble import write_predictions
from jobs.runner.local import Watch
from jobs.runner.planner import Job
from jobs.workspace import Workspace
from kaggle_tools import metrics
from kaggle_tools.bio import legal_tags
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.remote import place
from kaggle_tools.submissions import ManifestDraft, build_submission, count_classes, list_versions, write_version
from kaggle_tools.tag_predictions import TagPredictions, count_entities
from models.hub import fingerprint
from models.inference.scores import mean_probabilities


def write_run_predictions(
    job: Job, workspace: Workspace, watch: Watch, *, task: str, precision: str
) -> dict[str, Path]:
    """Each workspace run's predictions for a whole input file, where later commands look for them."""
    request = job.plan.request
    if request.limit is not None:
        return {}
    competition = workspace.competition
    test = competition.path(competition.test) if competition else None
    if test is not None and test.name.split(".")[0] == request.stem and [str(test)] != [f.path for f in request.inputs]:
        watch.note(f"runs/<run>/predictions/{request.stem}.parquet is kept for the competition's own test file")
        return {}
    paths: dict[str, Path] = {}
    for run in workspace.runs():
        # A model from elsewhere may have the name of a run of ours.
        if request.models.get(run.name) == tuple(fingerprint(path) for path in run.checkpoints):
            paths[run.name] = run.predictions(request.stem)
            write_predictions(job.plan, job.store, run.name, paths[run.name], task=task, precision=precision)
    return paths


def write_submission(job: Job, workspace: Workspace, predictions: Mapping[str, Path], name: str | None) -> str | None:
    """A version for the competition's test file: the equal mean of the runs. One job makes one version.

    Args:
        job: A job whose parts are all there.
        workspace: Where the submission goes.
        predictions: Run name → Predictions file, as `write_run_predictions` gives it.
        name: What to call the version; None: the run, or ``mean`` for several.

    Returns:
        Its title, such as ``v0001-mean``; None where the input is not the competition's test file.

    Raises:
        UserError: Rows that the sample submission asks for were set aside.
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
    mean = _mean(_load(list(predictions.values()), competition))
    table = build_submission(mean, competition.path(competition.sample_submission), competition)
    draft = ManifestDraft(
        recipe={"kind": "mean", "runs": list(predictions), "job": job.plan.id},
        inputs=tuple(predictions.values()),
        competition=competition.name,
        metric=competition.metric,
        oof_score=_oof_score(workspace, competition, list(predictions)),
        class_counts=count_entities(mean) if isinstance(mean, TagPredictions) else count_classes(mean),
    )
    name = name or (next(iter(predictions)) if len(predictions) == 1 else "mean")
    return write_version(workspace.submissions, name, table, draft).title


def _load(paths: Sequence[Path], competition: Competition) -> Sequence[Predictions] | Sequence[TagPredictions]:
    if competition.task == "token":
        return [TagPredictions.load(path) for path in paths]
    return [Predictions.load(path) for path in paths]


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
    paths = [workspace.run(name).oof for name in names]
    if not all(path.is_file() for path in paths):
        return None
    try:
        return metrics.score(competition.metric, _mean(_load(paths, competition)))
    except UserError:  # runs trained on different rows have no common OOF score
        return None
