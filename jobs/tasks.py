"""Which commands and switches serve which tasks, told in one error before anything is read."""

from __future__ import annotations

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from models.recipe import DataOptions, Recipe

_AVERAGES = {
    "multi_group": "`cli score` averages runs, `cli decode RUN` decides the groups jointly",
    "token": "`cli score` averages runs and tags",
}
_DECIDES = {"multi_group": "`cli decode RUN` decides the groups jointly", "token": 'head "crf" decides tags jointly'}
_REPORTS = {
    "multi_group": "`cli evaluate RUN` reports each group of a run",
    "token": "`cli evaluate RUN` reports each type of entity",
}
_RANKS = dict.fromkeys(_REPORTS, "`cli leaderboard` ranks versions by the scores that are known")
_TRAINS = dict.fromkeys(_REPORTS, "`cli train RECIPE` makes runs; `cli submissions adopt FILE` takes a submission file")
_INSTEAD = {  # of a command: what does something of the kind
    "blend": _AVERAGES,
    "vote": _AVERAGES,
    "rescale": _DECIDES,
    "diff": _REPORTS,
    "similarity": _REPORTS,
    "import": _TRAINS,
    "pick": _RANKS,
    "leaderboard noise": _RANKS,
    "leaderboard predict": _RANKS,
}


def require_plain(competition: Competition | None, command: str) -> None:
    """Refuse label groups and tags, for a command that compares one table of classes.

    Raises:
        UserError: The competition's task has an answer of another shape.
    """
    instead = _INSTEAD[command]
    if competition is not None and competition.task in instead:
        raise UserError(
            f"`cli {command}` is not for {competition.task} tasks",
            where=competition.root / "competition.toml",
            expected="a competition with one label column (single_label or multi_label)",
            next=instead[competition.task],
        )


def refuse_without_tags(recipe: Recipe) -> None:
    """Refuse switches that nothing but tags gives a meaning. Raises `UserError`."""
    if recipe.data.illegal_tags != DataOptions.illegal_tags:
        raise UserError(
            "[data] illegal_tags is for token tasks, whose labels are BIO tags", next="leave it out of the recipe"
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
