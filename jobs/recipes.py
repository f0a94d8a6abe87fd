"""A recipe that was found becomes a file in `blends/`, and its submission a version.

The submission is built before either is written: a test file that does not fit leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.members import load_checked, test_stem
from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import check_name, digest
from kaggle_tools.metrics import find_metric, same_metric
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import joint_file
from kaggle_tools.search.compare import standard_error
from kaggle_tools.search.honest import Honest
from kaggle_tools.search.recipe import Recipe, apply, load, save
from kaggle_tools.submissions import ManifestDraft, build_submission, count_classes, write_version
from kaggle_tools.submissions.layout import separator_of

FOLDER = "blends"


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        recipe: The recipe's file.
        submission: Title of the version; None where none was asked for.
    """

    recipe: Path
    submission: str | None


@dataclass(frozen=True)
class Application:
    """A recipe's predictions of the test file, and what its manifest says of them.

    Attributes:
        predictions: As the recipe gives them.
        inputs: Files that they were made from.
        about: Added to the manifest's recipe.
        note: Of the manifest.
    """

    predictions: Predictions
    inputs: tuple[Path, ...]
    about: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def check_recipe_name(name: str) -> str:
    """Refuse a name before the search rather than after it. Raises `UserError`."""
    check_name(name, "name of a recipe")
    return name


def with_worth(recipe: Recipe, honest: Honest, codes: NDArray[np.int64], groups: NDArray[np.int64] | None) -> Recipe:
    """The recipe with its scores, unless it has some, and with what its gain is worth, for `cli explain`.

    Args:
        recipe: That was found.
        honest: What it is worth.
        codes: (N,) or (N, C) true classes of all rows.
        groups: (N,) groups of rows that are not independent; None: rows are.
    """
    gain = honest.comparison
    worth = {"gain": gain.gain, "low": gain.low, "high": gain.high, "optimism": honest.optimism}
    judged = honest.folds if honest.folds_from == "held out" else np.arange(len(codes))
    together = None if groups is None else groups[judged]
    worth["honest_error"] = standard_error(honest.metric, codes[judged], honest.output, groups=together)
    provenance = {**recipe.provenance, **worth, "verdict": honest.verdict}
    fitted = honest.fitted if recipe.fitted is None else recipe.fitted
    score = honest.honest if recipe.honest is None else recipe.honest
    return replace(recipe, fitted=fitted, honest=score, provenance=provenance)


def apply_to_test(
    workspace: Workspace,
    recipe: Recipe,
    runs: Sequence[Run],
    *,
    normalise: bool = False,
    about: Mapping[str, Any] | None = None,
    note: str = "",
) -> Application:
    """The recipe on the test predictions of the runs that it names. Raises as `load_checked` and `recipe.apply`."""
    files = {run.name: run.predictions(test_stem(workspace)) for run in runs if run.name in recipe.models}
    members = {
        name: load_checked(file, normalise=normalise).in_class_order(recipe.classes) for name, file in files.items()
    }
    return Application(apply(recipe, members), tuple(files.values()), about or {}, note)


def write_found(workspace: Workspace, recipe: Recipe, name: str, application: Application | None) -> Written:
    """Write the recipe, and a version of what it gave.

    Args:
        workspace: Where.
        recipe: With its scores.
        name: Of the recipe and the version.
        application: What it gave; None writes the recipe only.

    Raises:
        UserError: Predictions that do not fit the sample submission; nothing is written then.
    """
    if application is None:
        return Written(save_recipe(workspace, name, recipe), None)
    table, separator = _table(workspace, application)
    path = save_recipe(workspace, name, recipe)
    draft = _draft(workspace, recipe, path, application)
    return Written(path, write_version(workspace.submissions, name, table, draft, separator=separator).title)


def write_application(workspace: Workspace, recipe: Recipe, path: Path, name: str, application: Application) -> str:
    """Write a version of what the recipe at `path` gave; its title. Raises as `write_found`."""
    draft = _draft(workspace, recipe, path, application)
    table, separator = _table(workspace, application)
    return write_version(workspace.submissions, name, table, draft, separator=separator).title


def save_recipe(workspace: Workspace, name: str, recipe: Recipe) -> Path:
    """Write `blends/<name>-<digest>.json`: the same recipe has the same name, another never overwrites it."""
    parameters = sorted(recipe.parameters.items(), key=lambda item: item[0])
    key = digest(recipe.kind, recipe.models, recipe.metric, parameters, recipe.fitted, recipe.honest)
    path = workspace.root / FOLDER / f"{name}-{key[:8]}.json"
    save(recipe, path)
    return path


def other_metric(competition: Competition | None, metric: str, submission: str | None) -> tuple[str, ...]:
    """A note for a version that was made by what was fitted to another metric than the competition's; else nothing."""
    if competition is None or submission is None or same_metric(metric, competition.metric):
        return ()
    return (f"fitted to {metric}, not to the competition's {competition.metric}",)


def newest_first(workspace: Workspace) -> list[Path]:
    """Recipes and decoders in `blends/`."""
    paths = (workspace.root / FOLDER).glob("*.json")
    return sorted(paths, key=lambda path: (-path.stat().st_mtime_ns, path.name))


def newer_decoder(workspace: Workspace, wanted: str, found: Path) -> tuple[str, ...]:
    """A note where ``latest`` passed over a decoder, which is newer than the recipe that was found; else nothing."""
    newest = newest_first(workspace)[0] if wanted == "latest" else found
    if newest.name == found.name:
        return ()
    return (f"{newest.name} is newer, and a decoder: `cli decode RUN --decoder {newest}` applies it",)


def find_recipe(workspace: Workspace, wanted: str) -> tuple[Path, Recipe]:
    """The recipe that a person means by `wanted`: a path, or a name in `blends/` or how it begins, or ``latest``.

    The latest is the newest that is no decoder, as long as there is one.

    Raises:
        UserError: No such recipe, several that begin so, or a damaged one.
    """
    given = Path(wanted)
    if given.is_file():
        _refuse_tables(given)
        return given, load(given)
    folder = workspace.root / FOLDER
    known = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if wanted == "latest" and known:
        newest = newest_first(workspace)
        found = [next((path for path in newest if not joint_file.is_decoder(path)), newest[0])]
    else:
        found = [known[wanted]] if wanted in known else [p for name, p in known.items() if name.startswith(wanted)]
    if len(found) > 1:
        raise UserError(
            f"{len(found)} recipes begin with '{wanted}'",
            found=", ".join(path.stem for path in found),
            next="give the whole name, or latest",
        )
    if not found:
        hint = did_you_mean(wanted, list(known)) if known else "find one: `cli blend`, `cli rescale RUN` or `cli vote`"
        raise UserError(f"no recipe '{wanted}'", where=folder, next=hint)
    return found[0], load(found[0])


def _refuse_tables(path: Path) -> None:
    """Tell a file that is no JSON at all from a damaged recipe."""
    with path.open("rb") as handle:
        begins = handle.read(64).lstrip()
    if path.suffix != ".json" and not begins.startswith(b"{"):
        raise UserError(
            f"{path.name} is no recipe",
            where=path,
            expected=f"a .json file as `cli blend`, `cli rescale` and `cli vote` write them to {FOLDER}/",
        )


def _table(workspace: Workspace, application: Application) -> tuple[pl.DataFrame, str]:
    """The submission, and what separates its fields."""
    competition = workspace.competition
    if competition is None:
        raise UserError(
            "a submission needs a competition.toml, which says its columns",
            next="`cli init`, or write the predictions themselves with --output FILE",
        )
    sample = competition.path(competition.sample_submission)
    return build_submission(application.predictions, sample, competition), separator_of(sample)


def _honest_interval(recipe: Recipe) -> tuple[float, float] | None:
    """95 % interval of the honest score, within the metric's range; None where its standard error is not known."""
    error = recipe.provenance.get("honest_error")
    if recipe.honest is None or error is None:
        return None
    clip = find_metric(recipe.metric).clip
    return clip(recipe.honest - 1.96 * error), clip(recipe.honest + 1.96 * error)


def _draft(workspace: Workspace, recipe: Recipe, path: Path, application: Application) -> ManifestDraft:
    resolved = path.resolve()
    shown = resolved.relative_to(workspace.root) if resolved.is_relative_to(workspace.root) else resolved
    notes = other_metric(workspace.competition, recipe.metric, path.name)
    return ManifestDraft(
        recipe={"kind": recipe.kind, "file": str(shown), **application.about},
        inputs=(path, *application.inputs),
        competition=workspace.competition.name if workspace.competition else None,
        metric=recipe.metric,
        oof_score=recipe.fitted,
        honest_score=recipe.honest,
        honest_interval=_honest_interval(recipe),
        class_counts=count_classes(application.predictions),
        note="; ".join(note for note in (*notes, application.note) if note),
    )
