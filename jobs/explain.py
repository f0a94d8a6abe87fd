"""`cli explain RECIPE`: what a recipe does, in words and numbers, and what it changes on the test predictions.

cli explain latest
cli explain blend-3fa9c1d2 --to 'runs/*/oof.parquet'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.apply import gather, read_members
from jobs.recipes import find_recipe, newer_decoder
from jobs.workspace import Workspace
from kaggle_tools.errors import UserError
from kaggle_tools.search.recipe import explain


@dataclass(frozen=True)
class ExplainOptions:
    """Which recipe, and on what; see `jobs.apply.ApplyOptions`."""

    recipe: str
    to: tuple[str, ...] = ()
    id_column: str | None = None
    normalise: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class ExplainResult:
    """A recipe told.

    Attributes:
        recipe: File.
        kind: Of recipe.
        metric: What the search improved.
        classes: Names.
        models: Names.
        parameters: As in the file.
        fitted: Score on the rows that it was fitted to, where known.
        honest: Score on rows that it was not fitted to, where known.
        provenance: How it was found, and what its gain is worth.
        words: All of it in words and numbers.
        inputs: Model → the predictions that changes were counted on; empty where there are none.
        notes: What a reader should know.
    """

    recipe: Path
    kind: str
    metric: str
    classes: tuple[str, ...]
    models: tuple[str, ...]
    parameters: Mapping[str, Any]
    fitted: float | None
    honest: float | None
    provenance: Mapping[str, Any]
    words: str
    inputs: Mapping[str, Path]
    notes: tuple[str, ...] = ()


def run(options: ExplainOptions) -> ExplainResult:
    """Tell a recipe.

    Raises:
        UserError: No such recipe, or a damaged one; predictions that are named and do not fit.
    """
    workspace = Workspace.find(options.start)
    path, recipe = find_recipe(workspace, options.recipe)
    try:
        files = gather(recipe, workspace, options.to)
    except UserError:
        if options.to:
            raise
        files = {}  # nobody asked for figures on predictions, so there need not be any
    words, notes = explain(recipe), newer_decoder(workspace, options.recipe, path)
    try:
        if files:
            members = read_members(recipe, workspace, files, options.id_column, normalise=options.normalise)
            words = explain(recipe, members)
    except UserError as exc:
        if options.to:
            raise
        files, notes = {}, (*notes, f"what it changes on the runs' test predictions is not known: {exc.summary}")
    return ExplainResult(
        recipe=path,
        kind=recipe.kind,
        metric=recipe.metric,
        classes=recipe.classes,
        models=recipe.models,
        parameters=recipe.parameters,
        fitted=recipe.fitted,
        honest=recipe.honest,
        provenance=recipe.provenance,
        words="\n".join([words, *_worth(recipe.provenance)]),
        inputs=files,
        notes=notes,
    )


def _worth(provenance: Mapping[str, Any]) -> list[str]:
    """What the search noted of the gain."""
    lines = []
    if all(isinstance(provenance.get(key), float) for key in ("gain", "low", "high")):
        lines.append(
            f"honest gain over the best single model: {provenance['gain']:+.5f}, 95 % within "
            f"[{provenance['low']:+.5f}, {provenance['high']:+.5f}]"
        )
    if provenance.get("verdict"):
        lines.append(str(provenance["verdict"]))
    return lines
