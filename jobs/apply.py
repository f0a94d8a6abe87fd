"""`cli apply RECIPE`: replay a recipe on predictions, bit for bit.

    cli apply blend-3fa9c1d2
    cli apply latest --to roberta=new/roberta.parquet --to linear=new/linear.csv --output blended.parquet

Without `--to` the test predictions of the workspace's runs are taken. The same recipe on the same predictions gives the
same bytes, whenever and wherever.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.members import checked, load_checked, outdated, test_stem
from jobs.pipes import is_pipe
from jobs.recipes import Application, check_recipe_name, find_recipe, newer_decoder, other_metric, write_application
from jobs.workspace import Run, Workspace
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import check_writable, write_atomically
from kaggle_tools.importing import read_foreign
from kaggle_tools.predictions import METADATA_KEY, Predictions
from kaggle_tools.search.recipe import Recipe
from kaggle_tools.search.recipe import apply as replay
from kaggle_tools.submissions import count_classes

SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True)
class ApplyOptions:
    """What to replay on what.

    Attributes:
        recipe: A path, a name in `blends/` or how it begins, or ``latest``.
        to: Predictions, each ``MODEL=FILE``, a file or pattern of files, or a run's name; empty: the recipe's runs.
        output: ``.parquet`` or ``.csv``; ``-`` is stdout, as CSV; None for none.
        submission: Write a version; None: where no output is named.
        name: Of the version; None: the recipe's.
        id_column: Of files that are not ours; None: the competition's.
        normalise: Divide rows that do not sum to one by their sum.
        force: Replace the output.
        start: Folder from which the workspace is looked for upward; None: the working directory.
    """

    recipe: str
    to: tuple[str, ...] = ()
    output: Path | None = None
    submission: bool | None = None
    name: str | None = None
    id_column: str | None = None
    normalise: bool = False
    force: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class ApplyResult:
    """What was written.

    Attributes:
        recipe: The recipe's file.
        inputs: Model → the file of its predictions.
        n_rows: Rows.
        class_counts: Rows decided for each class.
        output: File; None where there is none, or stdout.
        submission: Title of the version, or None.
        seconds: Wall time.
        notes: What a reader should know.
    """

    recipe: Path
    inputs: Mapping[str, Path]
    n_rows: int
    class_counts: Mapping[str, int]
    output: Path | None
    submission: str | None
    seconds: float
    notes: tuple[str, ...] = ()


def run(options: ApplyOptions) -> ApplyResult:
    """Replay a recipe.

    Raises:
        UserError: No such recipe; predictions that are missing, not told apart, not probabilities, or of other rows or
            classes; an output that exists; a submission that does not fit. Nothing is written then.
    """
    began = time.perf_counter()
    workspace = Workspace.find(options.start)
    path, recipe = find_recipe(workspace, options.recipe)
    submission = options.output is None if options.submission is None else options.submission
    name = check_recipe_name(options.name or path.stem.rsplit("-", 1)[0])
    _check_output(options.output, submission, options.force)
    files = gather(recipe, workspace, options.to)
    members = read_members(recipe, workspace, files, options.id_column, normalise=options.normalise)
    found = replay(recipe, members)
    title = None
    notes: tuple[str, ...] = ()
    if submission:
        notes = outdated(workspace.competition, {name: one.meta.get("input") for name, one in members.items()})
        application = Application(found, tuple(files.values()), note=f"replay of {path.name}")
        title = write_application(workspace, recipe, path, name, application)
    if options.output is not None:
        _write(found, options.output)
    return ApplyResult(
        recipe=path,
        inputs=files,
        n_rows=len(found),
        class_counts=count_classes(found),
        output=None if is_pipe(options.output) else options.output,
        submission=title,
        seconds=time.perf_counter() - began,
        notes=(
            *newer_decoder(workspace, options.recipe, path),
            *notes,
            *other_metric(workspace.competition, recipe.metric, title),
        ),
    )


def gather(recipe: Recipe, workspace: Workspace, given: Sequence[str]) -> dict[str, Path]:
    """Which file has the predictions of which of the recipe's models, in the recipe's order.

    Args:
        recipe: It names the models.
        workspace: Where runs are.
        given: See `ApplyOptions.to`.

    Raises:
        UserError: A model without a file or with two, a file that does not exist or is of no model of the recipe.
    """
    if not given:
        runs = [workspace.run(name) for name in recipe.models]
        files = {run.name: run.predictions(test_stem(workspace)) for run in runs}
    else:
        files = {}
        for one in given:
            for name, path in _meant(recipe, workspace, one):
                if name in files:
                    raise UserError(f"model '{name}' has two files", found=f"{files[name]}, {path}", next="give one")
                files[name] = path
    missing = [name for name in recipe.models if name not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of the recipe's {len(recipe.models)} models have no predictions: {', '.join(missing)}",
            found=", ".join(f"{name}={path}" for name, path in files.items()),
            next=f"add --to {missing[0]}=FILE",
        )
    for name in recipe.models:
        if not files[name].is_file():
            raise UserError(
                f"no predictions of '{name}'", where=files[name], next=f"score with `{name}`, or --to {name}=FILE"
            )
    return {name: files[name] for name in recipe.models}


def read_members(
    recipe: Recipe, workspace: Workspace, files: Mapping[str, Path], id_column: str | None, *, normalise: bool
) -> dict[str, Predictions]:
    """Our own files as they are, others as `cli import` reads them. Raises `UserError` as both."""
    names = (id_column,) if id_column is not None else _id_names(workspace)
    members = {}
    for name, path in files.items():
        if path.suffix == ".parquet" and _is_ours(path):
            members[name] = load_checked(path, normalise=normalise).in_class_order(recipe.classes)
        else:
            found = read_foreign(path, classes=recipe.classes, id_column=names, task=recipe.task, normalise=normalise)
            members[name] = checked(found, path)
    return members


def _meant(recipe: Recipe, workspace: Workspace, given: str) -> list[tuple[str, Path]]:
    """The models and files that one `--to` means."""
    name, equals, rest = given.partition("=")
    if equals and name in recipe.models:
        return [(name, Path(rest))]
    if equals and not Path(given).exists():
        raise UserError(f"the recipe has no model '{name}'", next=did_you_mean(name, recipe.models))
    path = Path(given)
    if path.is_file():
        return [(_model_of(recipe, path), path)]
    if any(letter in given for letter in "*?["):
        found = sorted(Path(path.anchor or ".").glob(given.removeprefix(path.anchor)))
        if not found:
            raise UserError(f"no file matches '{given}'")
        return [(_model_of(recipe, one), one) for one in found]
    if given in recipe.models and workspace.run(given):
        return [(given, Run(given, workspace.runs_folder / given).predictions(test_stem(workspace)))]
    raise UserError(f"'{given}' is no file, and no run of the recipe", next=did_you_mean(given, recipe.models))


def _model_of(recipe: Recipe, path: Path) -> str:
    """Whose predictions a file holds: by what it says itself, by its run's folder, or by its own name."""
    if len(recipe.models) == 1:
        return recipe.models[0]
    said = _about(path).get("run") if path.suffix == ".parquet" else None
    resolved = path.resolve()
    candidates = (said, resolved.parent.name, resolved.parent.parent.name, path.name.split(".")[0])
    for name in candidates:
        if name in recipe.models:
            return str(name)
    raise UserError(
        "which model's predictions are these?",
        where=path,
        expected=", ".join(recipe.models),
        next=f"say it: --to {recipe.models[0]}={path}",
    )


def _is_ours(path: Path) -> bool:
    return bool(_about(path))


def _about(path: Path) -> dict[str, object]:
    """What a predictions file of ours says of itself; empty for others."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        raw = (pq.read_schema(path).metadata or {}).get(METADATA_KEY.encode())
        return dict(json.loads(raw)) if raw else {}
    except (pa.ArrowInvalid, OSError, ValueError, TypeError) as exc:
        raise UserError(f"cannot be read as Parquet: {exc}", where=path) from exc


def _id_names(workspace: Workspace) -> tuple[str, ...]:
    competition = workspace.competition
    if competition is None:
        return ("id",)
    names = (competition.id_column, competition.test_id, competition.submission_id)
    return tuple(name for name in names if name is not None) or ("id",)


def _check_output(output: Path | None, submission: bool, force: bool) -> None:
    if output is None:
        if not submission:
            raise UserError("nothing to write", next="name an --output FILE, or leave --no-submission out")
        return
    if is_pipe(output):
        return
    if output.suffix not in SUFFIXES:
        raise UserError(f"cannot write '{output.suffix}' files", where=output, expected=" or ".join(SUFFIXES))
    if output.exists() and not force:
        raise UserError("the output exists", where=output, next="name another, or replace it with --force")
    check_writable(output)


def _write(found: Predictions, output: Path) -> None:
    if is_pipe(output):
        sys.stdout.write(found.frame().write_csv())
        return
    if output.suffix == ".parquet":
        found.save(output)
        return
    with write_atomically(output) as temporary:
        found.frame().write_csv(temporary)
