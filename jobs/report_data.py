"""What `cli report` shows, gathered from the workspace. What cannot be read becomes a sentence; the rest is shown.

A report is looked at when something is odd, so nothing odd may keep it from being written: whatever a file holds, the
worst that comes of it is a note beside the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from jobs import status
from jobs.members import without_partial
from jobs.recipes import newest_first
from jobs.runner.store import JobStore
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import score
from kaggle_tools.predictions import Predictions
from kaggle_tools.report.sections.blends import Blend
from kaggle_tools.report.sections.competition import Texts
from kaggle_tools.report.sections.measure import Measured, measure
from kaggle_tools.report.sections.throughput import Scored
from kaggle_tools.search import joint_file
from kaggle_tools.search import recipe as recipes
from kaggle_tools.submissions import Version, list_versions
from kaggle_tools.tables import read_table, sniff_format
from kaggle_tools.tag_predictions import TagPredictions

Made = TypeVar("Made")

LARGEST_TABLE = 512 * 1024**2  # bytes; of larger tables neither classes nor lengths are shown


@dataclass(frozen=True)
class RunsFound:
    """Runs as measured, and their out-of-fold predictions."""

    measured: tuple[Measured, ...]
    oof: Mapping[str, Predictions]
    problems: tuple[str, ...]


def read_tables(competition: Competition) -> tuple[list[Texts], list[str]]:
    """Texts (and labels) of train and test."""
    found: list[Texts] = []
    problems: list[str] = []
    for name, file in (("train", competition.train), ("test", competition.test)):
        path = competition.path(file)
        if path is None:
            continue
        with _noting(problems, f"The {name} table"):
            found.append(_read_texts(competition, name, path))
    return found, problems


def _read_texts(competition: Competition, name: str, path: Path) -> Texts:
    if path.is_file() and path.stat().st_size > LARGEST_TABLE:
        raise UserError(f"has {path.stat().st_size / 1e6:,.0f} MB, too many to read them all for a report")
    encoding, errors = competition.encoding_of(path)
    text, pair = competition.text_column, competition.pair_column
    if name == "test":
        text, pair = competition.test_text, competition.test_pair
    label = competition.label_column if name == "train" else None
    fmt = sniff_format(path, encoding=encoding, encoding_errors=errors)
    columns = list(dict.fromkeys(column for column in (text, pair, label) if column is not None))
    table = read_table(path, columns=columns, fmt=fmt, on_bad_row="set-aside")
    texts = table[text]
    if pair is not None:
        both = pl.concat_str(pl.col(text, pair).fill_null(""), separator=" ¦ ")
        texts = table.select(both.alias(text)).to_series()
    return Texts(name, texts, table[label] if label else None)


def read_runs(workspace: Workspace, competition: Competition) -> RunsFound:
    """Every run that is there, measured by the competition's metric."""
    measured: list[Measured] = []
    oof: dict[str, Predictions] = {}
    problems: list[str] = []
    folder = workspace.runs_folder
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".") if folder.is_dir() else []
    for name in names:
        with _noting(problems, f"Run '{name}'"):
            run = Run(name, folder / name)
            info = run.info
            if info is None:
                raise UserError("is not complete: the command that made it resumes it")
            if competition.task == "token":
                measured.append(_measure_tags(name, info, run.oof, competition))
                continue
            predictions = None
            if run.oof.is_file():
                predictions = Predictions.load(run.oof).in_class_order(competition.classes)
            measured.append(_measure(name, info, predictions, competition))
            if predictions is not None:
                oof[name] = predictions
    return RunsFound(tuple(measured), oof, tuple(problems))


def _measure(name: str, info: Mapping[str, Any], oof: Predictions | None, competition: Competition) -> Measured:
    about = _about(name, info)
    if oof is None:
        return about
    if oof.classes != competition.classes:
        raise UserError(f"has other classes than the competition: {', '.join(oof.classes[:8])}")
    return measure(name, about.kind, oof, competition.metric, created=about.created, seconds=about.seconds)


def _measure_tags(name: str, info: Mapping[str, Any], oof: Path, competition: Competition) -> Measured:
    about = _about(name, info)
    if not oof.is_file():
        return about
    tags = TagPredictions.load(oof)
    return replace(about, score=score(competition.metric, tags), n_rows=len(tags))


def _about(name: str, info: Mapping[str, Any]) -> Measured:
    return Measured(
        name=name,
        kind=str(info.get("kind", "")),
        created=str(info.get("created", "")),
        seconds=float(info["seconds"]) if isinstance(info.get("seconds"), (int, float)) else None,
    )


def same_rows(oof: Mapping[str, Predictions]) -> tuple[dict[str, Predictions], list[str]]:
    """The largest group of runs over the same rows, and a sentence about the others."""
    groups: dict[str, dict[str, Predictions]] = {}
    for name, predictions in without_partial(oof)[0].items():
        key = hashlib.blake2b("\n".join(predictions.ids.sort()).encode(), digest_size=16).hexdigest()
        groups.setdefault(key, {})[name] = predictions
    largest = max(groups.values(), key=len, default={})
    left = [name for name in oof if name not in largest]
    return largest, [f"Other rows, so not compared: {', '.join(left)}."] if left and largest else []


def read_versions(workspace: Workspace) -> tuple[tuple[Version, ...], list[str]]:
    """Submission versions; damaged ones as sentences, and those whose own scores are of classes in another order."""
    listing = list_versions(workspace.submissions)
    classes = workspace.competition.classes if workspace.competition else ()
    problems = [f"Version {one.folder.name}: {one.problem.summary}." for one in listing.damaged]
    versions = []
    for one in listing.versions:
        if one.manifest.of_other_order(classes):
            order = ", ".join(one.manifest.class_counts)
            problems.append(
                f"{one.title} was made when the classes were {order}, in this order: its scores are left out."
            )
            scoreless = replace(one.manifest, oof_score=None, honest_score=None, honest_interval=None)
            one = replace(one, manifest=scoreless)
        versions.append(one)
    return tuple(versions), problems


def read_blends(workspace: Workspace, versions: tuple[Version, ...]) -> tuple[list[Blend], list[str]]:
    """Recipes in `blends/`, the newest first, with the versions that were made by them; decoders are no recipes."""
    found: list[Blend] = []
    problems: list[str] = []
    for path in newest_first(workspace):
        if joint_file.is_decoder(path):
            continue
        with _noting(problems, f"Recipe {path.name}"):
            name = str(path.relative_to(workspace.root))
            used = tuple(one.title for one in versions if name in one.manifest.inputs)
            found.append(Blend(path.name, recipes.load(path), used))
    if found:
        with _noting(problems, f"The search of {found[0].name}"):
            found[0] = replace(found[0], trials=_trials(found[0].recipe, workspace))
    return found, problems


def _trials(recipe: recipes.Recipe, workspace: Workspace) -> tuple[float, ...]:
    """Scores of the trials of the study that found the recipe, where it was kept in a journal that is still there."""
    storage, study = recipe.provenance.get("storage"), recipe.provenance.get("study")
    if not isinstance(storage, str) or not storage.startswith("journal:") or not isinstance(study, str):
        return ()
    path = workspace.root / storage.removeprefix("journal:")
    if not path.is_file():
        return ()
    import optuna
    from optuna.storages.journal import JournalFileBackend

    from kaggle_tools.search._study_storage import quiet

    with quiet():
        loaded = optuna.load_study(
            study_name=study, storage=optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        )
        return tuple(float(trial.value) for trial in loaded.trials if trial.value is not None)


def read_jobs(workspace: Workspace) -> tuple[list[Scored], list[str]]:
    """Scoring jobs; damaged ones as sentences."""
    found: list[Scored] = []
    problems: list[str] = []
    for summary in status.run(workspace.root):
        if summary.state == "damaged":
            problems.append(f"Job {summary.id}: {str(summary.problem).splitlines()[0]}.")
            continue
        with _noting(problems, f"Job {summary.id}"):
            found.append(_scored(summary, JobStore(workspace.jobs / summary.id)))
    return found, problems


def _scored(summary: status.JobSummary, store: JobStore) -> Scored:
    job = Scored(summary.id, summary.state, summary.rows, summary.rows_done, summary.created, summary.models)
    result = store.result
    if result is None:
        return job
    totals, events = result.get("totals", {}), status.events(store)
    computed = totals.get("computed_tokens", 0)
    started = [event for event in events if event.get("event") == "started"]
    return replace(
        job,
        seconds=_seconds(events) if len(started) == 1 else None,
        tokens=totals.get("tokens"),
        padding=totals.get("padding", 0) / computed if computed else None,
        truncated=totals.get("truncated"),
        precision=str(result.get("precision") or ""),
        device=str(started[-1].get("device", "")) if started else "",
    )


def _seconds(events: tuple[Mapping[str, Any], ...]) -> float | None:
    """From the start to the end; event times are whole seconds."""
    times = {str(event.get("event")): datetime.fromisoformat(str(event["time"])) for event in events}
    if "started" not in times or "completed" not in times:
        return None
    return max(1.0, (times["completed"] - times["started"]).total_seconds())


def attempt(what: str, problems: list[str], make: Callable[[], Made]) -> Made | None:
    """What `make` gives; None and a sentence where it fails."""
    try:
        return make()
    except Exception as exc:
        problems.append(_sentence(what, exc))
        return None


@contextmanager
def _noting(problems: list[str], what: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes a sentence."""
    try:
        yield
    except Exception as exc:
        problems.append(_sentence(what, exc))


def _sentence(what: str, exc: Exception) -> str:
    if not isinstance(exc, UserError):
        return f"{what} cannot be shown: {type(exc).__name__}: {str(exc)[:200]}."
    where = exc.details.get("where") or exc.details.get("first")
    return f"{what}: {exc.summary}{f' ({where})' if where else ''}."
