"""A recipe on disk: JSON for people and machines. Floats are written by `repr`, so they come back as the same bits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.seals import read_sealed, sealed
from kaggle_tools.search.recipe.data import VERSION, Recipe

_REQUIRED = ("version", "kind", "task", "classes", "models", "metric", "parameters")


def save(recipe: Recipe, path: Path) -> None:
    """Write `recipe` as JSON; the file appears whole or not at all.

    Raises:
        UserError: The file cannot be written, or the provenance holds something that JSON does not know.
    """
    content = dataclasses.asdict(recipe)
    ordered = {"version": content.pop("version"), **content}
    try:
        text = json.dumps(sealed(ordered), indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as exc:
        raise UserError(f"the recipe cannot be written as JSON: {exc}", next="keep plain values in provenance") from exc
    with write_atomically(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Recipe:
    """Read a recipe that `save` wrote.

    Raises:
        UserError: No such file, not JSON, a key missing or unknown, another version, or as `Recipe`.
    """
    try:
        content = read_sealed(path, next="fit again; to keep an edit of your own, remove the 'seal' of the recipe")
    except FileNotFoundError as exc:
        raise UserError("no such recipe", where=path) from exc
    except OSError as exc:
        raise UserError(f"the recipe cannot be read: {exc.strerror}", where=path) from exc
    _check_keys(content, path)
    for key in ("classes", "models"):
        if not isinstance(content[key], list) or not all(isinstance(name, str) for name in content[key]):
            raise UserError(f"'{key}' of the recipe is not a list of names", where=path)
        content[key] = tuple(content[key])
    for key in ("parameters", "provenance"):
        if not isinstance(content.get(key, {}), dict):
            raise UserError(f"'{key}' of the recipe is not a mapping", where=path)
    try:
        return Recipe(**content)
    except UserError as exc:
        raise UserError(exc.summary, exit_code=exc.exit_code, where=path, **exc.details) from exc


def _check_keys(content: Any, path: Path) -> None:
    if not isinstance(content, dict):
        raise UserError("not a recipe: the JSON is no mapping", where=path)
    if content.get("kind") == "joint_decoder":
        raise UserError(
            "this is a decoder of `cli decode`, no recipe", where=path, next=f"cli decode RUN --decoder {path}"
        )
    if content.get("version", VERSION) != VERSION:
        raise UserError(
            f"recipe version {content['version']!r} is unknown",
            where=path,
            expected=VERSION,
            next="update kaggle-jobs, or fit again",
        )
    known = [field.name for field in dataclasses.fields(Recipe)]
    missing = [key for key in _REQUIRED if key not in content]
    unknown = [key for key in content if key not in known]
    if missing or unknown:
        raise UserError(
            f"not a recipe, or damaged: {len(missing)} keys missing, {len(unknown)} unknown",
            where=path,
            missing=", ".join(missing) or "none",
            unknown=", ".join(unknown[:5]) or "none",
        )
