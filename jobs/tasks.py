"""Which commands and switches serve which tasks, told in one error before anything is read."""

from __future__ import annotations

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from models.recipe import Recipe

_INSTEAD = {
    "multi_group": "`cli score` averages runs, `cli decode RUN` decides the groups jointly, `cli evaluate RUN` reports",
    "token": "`cli score` averages runs and tags, `cli evaluate RUN` reports entities",
}


def require_plain(competition: Competition | None, command: str) -> None:
    """Refuse label groups and tags, for a command that compares one table of classes.

    Raises:
        UserError: The competition's task has an answer of another shape.
    """
    if competition is not None and competition.task in _INSTEAD:
        raise UserError(
            f"`cli {command}` is not for {competition.task} tasks",
            where=competition.root / "competition.toml",
            expected="a competition with one label column (single_label or multi_label)",
            next=_INSTEAD[competition.task],
        )


def refuse_for_tags(recipe: Recipe) -> None:
    """Refuse switches that would move words away from their tags. Raises `UserError`."""
    asked = {
        "[data] cleaning": bool(recipe.data.cleaning),
        "[augmentation] copies": recipe.augmentation.copies > 0,
        "[augmentation] table": recipe.augmentation.table is not None,
        "[pseudo_labels] run": recipe.pseudo_labels.run is not None,
    }
    for name, given in asked.items():
        if given:
            raise UserError(f"{name} is not for token tasks: words and tags would part", next="leave it out")
    if recipe.distill.teacher is not None:
        raise UserError("[distill] teacher is not for token tasks: it teaches classes of rows", next="leave it out")
