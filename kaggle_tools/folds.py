"""Which fold each training row belongs to: assigned once, kept in one file, shared by every run of a workspace.

    settings = FoldSettings(n=5, kind="stratified", seed=42)
    folds = load_or_make(Path("runs/folds.parquet"), settings, train["id"], train["label"])   # (N,) int16

Out-of-fold predictions of two runs can only be compared or blended when both left out the same rows together, so the
file is written by the first run and obeyed by all others. Rows are found by id: their order may change, and a run on
some of the rows gets the folds that these rows have. Rows with several labels are stratified label by label
(`kaggle_tools.label_set_folds`); with groups besides, on the combination of their labels.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.files import write_atomically
from kaggle_tools.label_set_folds import deal
from kaggle_tools.parquet import write_parquet
from kaggle_tools.predictions import SEPARATOR
from kaggle_tools.seals import read_parquet

FoldKind = Literal["stratified", "group", "stratified_group", "random"]
FOLD_KINDS: tuple[str, ...] = ("stratified", "group", "stratified_group", "random")
METADATA_KEY = b"kaggle_folds"
_UNEVEN = 1.5  # times its share of the rows: from here on a fold is told


@dataclass(frozen=True)
class FoldSettings:
    """How training rows are split.

    Attributes:
        n: Number of folds, at least 2.
        kind: ``stratified`` keeps class shares equal, ``group`` keeps rows of a group together,
            ``stratified_group`` does both as well as it can, ``random`` does neither.
        seed: Of the shuffle.
        group_column: Column of train that names each row's group; None where `kind` needs no groups.

    Raises:
        UserError: Fewer than two folds, or an unknown kind.
    """

    n: int = 5
    kind: FoldKind = "stratified"
    seed: int = 42
    group_column: str | None = None

    def __post_init__(self) -> None:
        if self.n < 2:
            raise UserError(f"folds need n of at least 2, not {self.n}")
        if self.kind not in FOLD_KINDS:
            raise UserError(f"unknown kind of folds '{self.kind}'", next=did_you_mean(self.kind, FOLD_KINDS))


def assign(
    settings: FoldSettings, labels: pl.Series, groups: pl.Series | None = None, *, label_sets: bool = False
) -> NDArray[np.int16]:
    """Give each row a fold; the same input always gives the same folds.

    Args:
        settings: How to split.
        labels: (N,) label of each row.
        groups: (N,) group of each row, for the kinds that keep groups together.
        label_sets: A label is any number of labels, joined by ``|``.

    Returns:
        (N,) int16 in [0, n): the fold in which the row is validated.

    Raises:
        UserError: Fewer rows or groups than folds, groups missing, a class with fewer rows than folds, an empty fold.
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    if len(labels) < settings.n:
        raise UserError(f"{len(labels):,} rows cannot fill {settings.n} folds", next="ask for fewer folds")
    if label_sets and settings.kind == "stratified":
        sets = labels.fill_null("").str.split(SEPARATOR).list.unique(maintain_order=True).to_list()
        return deal([[label for label in labels if label] for labels in sets], settings.n, settings.seed)
    group_codes = _group_codes(settings, groups) if settings.kind in ("group", "stratified_group") else None
    label_codes = _label_codes(settings, labels) if settings.kind in ("stratified", "stratified_group") else None
    # scikit-learn's GroupKFold either ignores the seed or the sizes of groups; with one class for all rows
    # StratifiedGroupKFold heeds both.
    splitter = {
        "stratified": StratifiedKFold,
        "group": StratifiedGroupKFold,
        "stratified_group": StratifiedGroupKFold,
        "random": KFold,
    }[settings.kind](n_splits=settings.n, shuffle=True, random_state=settings.seed)
    same_class = np.zeros(len(labels), np.int64)
    y = same_class if label_codes is None else label_codes
    folds = np.empty(len(labels), np.int16)
    for fold, (_, held_out) in enumerate(splitter.split(same_class, y, group_codes)):
        folds[held_out] = fold
    _check_no_fold_is_empty(settings, folds)
    return folds


def load_or_make(
    path: Path,
    settings: FoldSettings,
    ids: pl.Series,
    labels: pl.Series,
    groups: pl.Series | None = None,
    *,
    label_sets: bool = False,
    keep: bool = True,
) -> NDArray[np.int16]:
    """Folds of `ids` from the file at `path`, which is made first where it does not exist.

    To work on some rows only, make the file from all of them first: what the file lacks it cannot give later.

    Args:
        path: Parquet file: the ids under the name of `ids`, ``fold`` Int16, the settings as metadata.
        settings: How to split; must be those of the file.
        ids: (N,) String, unique.
        labels: (N,) label of each row.
        groups: (N,) group of each row, where `settings.kind` needs them.
        label_sets: As in `assign`.
        keep: Whether the file is made; without, the same folds are given and nothing is written.

    Returns:
        (N,) int16, in the order of `ids`.

    Raises:
        UserError: As `assign`; or the file is damaged, was made with other settings or when rows had other groups, or
            lacks some of the ids.
    """
    if ids.null_count() or ids.n_unique() != len(ids):
        raise UserError("ids are missing or occur twice: no fold can be told by them", where=f"column '{ids.name}'")
    if not path.is_file():
        folds = assign(settings, labels, groups, label_sets=label_sets)
        if keep:
            _save(path, settings, ids, folds)
        return folds
    found, table = _load(path)
    if found != dataclasses.asdict(settings):
        wanted = dataclasses.asdict(settings)
        differ = [key for key in wanted if found.get(key) != wanted[key]]
        raise UserError(
            "other runs of this workspace use other folds: out-of-fold predictions could not be compared",
            where=path,
            found=", ".join(f"{key} = {found.get(key)}" for key in differ),
            asked=", ".join(f"{key} = {wanted[key]}" for key in differ),
            next="use the settings of the file, or delete it and train every run again",
        )
    rows = pl.DataFrame({"id": ids}).join(table, on="id", how="left", maintain_order="left")["fold"]
    if rows.null_count():
        raise UserError(
            f"{rows.null_count():,} of {len(ids):,} training rows have no fold in the fold file",
            where=path,
            first=", ".join(ids.filter(rows.is_null()).head(5).to_list()),
            next="was it made from another train file? Delete it and train every run again",
        )
    folds = rows.to_numpy().astype(np.int16)
    if groups is not None:
        _check_groups_stay_together(path, folds, _without_nulls(groups))
    return folds


def group_column_of(path: Path) -> str | None:
    """The column whose groups a fold file keeps together; None where there is no file, or none were asked for.

    Raises:
        UserError: The file is damaged.
    """
    column = _load(path)[0].get("group_column") if path.is_file() else None
    return None if column is None else str(column)


def uneven_fold(folds: NDArray[np.int16], groups: pl.Series, n: int) -> str | None:
    """The fold that is much larger than its share of the rows, and the group that makes it so; None: there is none.

    Args:
        folds: (N,) as `assign` gives them.
        groups: (N,) by which they were made.
        n: Number of folds.
    """
    sizes = np.bincount(folds, minlength=n)
    fold, share = int(sizes.argmax()), len(folds) / n
    if sizes[fold] <= _UNEVEN * share:
        return None
    inside = groups.cast(pl.String).filter(pl.Series(folds) == fold).alias("group").value_counts()
    group, count = inside.sort("count", "group", descending=[True, False]).row(0)
    return (
        f"fold {fold} is validated on {sizes[fold]:,} of {len(folds):,} rows, {sizes[fold] / share:.1f} times its "
        f"share: group '{group}' of column '{groups.name}' alone has {count:,}, and groups stay together"
    )


def _group_codes(settings: FoldSettings, groups: pl.Series | None) -> NDArray[np.int64]:
    if groups is None:
        raise UserError(
            f"folds of kind '{settings.kind}' need groups", next='name the column: group_column = "…" under [folds]'
        )
    if _without_nulls(groups).n_unique() < settings.n:
        raise UserError(
            f"{groups.n_unique()} groups cannot fill {settings.n} folds",
            where=f"column '{groups.name}'",
            next="ask for fewer folds",
        )
    return _codes(groups)


def _without_nulls(groups: pl.Series) -> pl.Series:
    if groups.null_count():
        raise UserError(f"{groups.null_count():,} rows have no group", where=f"column '{groups.name}'")
    return groups


def _check_groups_stay_together(path: Path, folds: NDArray[np.int16], groups: pl.Series) -> None:
    """Refuse folds of a table whose rows had other groups: what a group tells would stand on both sides."""
    table = pl.DataFrame({"group": groups, "fold": folds}).group_by("group").agg(pl.col("fold").unique().sort())
    apart = table.filter(pl.col("fold").list.len() > 1).sort("group")
    if apart.height:
        group, inside = apart.row(0)
        raise UserError(
            f"{apart.height:,} of {table.height:,} groups are in several folds of the fold file, which was made when "
            "rows had other groups",
            where=f"{path}, column '{groups.name}'",
            first=f"'{group}' in folds {', '.join(map(str, inside))}",
            next="delete it and train every run again",
        )


def _label_codes(settings: FoldSettings, labels: pl.Series) -> NDArray[np.int64]:
    if labels.null_count():
        raise UserError(f"{labels.null_count():,} rows have no label", where=f"column '{labels.name}'")
    counts = labels.alias("label").value_counts().filter(pl.col("count") < settings.n).sort("count", "label")
    if counts.height:
        label, count = counts.row(0)
        raise UserError(
            f"class '{label}' has {count} rows, fewer than the {settings.n} folds that each need one",
            also="no other class" if counts.height == 1 else f"{counts.height - 1:,} more with too few",
            next='ask for fewer folds, leave the class out, or set kind = "random" under [folds]',
        )
    return _codes(labels)


def _codes(values: pl.Series) -> NDArray[np.int64]:
    """(N,) positions among the sorted distinct values."""
    return (values.cast(pl.String).rank("dense") - 1).to_numpy().astype(np.int64)


def _check_no_fold_is_empty(settings: FoldSettings, folds: NDArray[np.int16]) -> None:
    empty = np.flatnonzero(np.bincount(folds, minlength=settings.n) == 0)
    if empty.size:
        raise UserError(
            f"{empty.size} of {settings.n} folds would be empty",
            next="a few groups hold most rows: ask for fewer folds",
        )


def _save(path: Path, settings: FoldSettings, ids: pl.Series, folds: NDArray[np.int16]) -> None:
    table = pl.DataFrame([ids, pl.Series("fold", folds)]).to_arrow()
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps(dataclasses.asdict(settings))})
    with write_atomically(path) as temporary:
        write_parquet(table, temporary)


def _load(path: Path) -> tuple[dict[str, Any], pl.DataFrame]:
    """The file's settings, and its rows as columns ``id`` and ``fold``."""
    import pyarrow as pa

    try:
        table = read_parquet(path, next="delete it and train every run again")
        settings = json.loads(table.schema.metadata[METADATA_KEY])
        id_column, fold_column = pl.DataFrame(table).get_columns()
    except (pa.ArrowInvalid, OSError, KeyError, TypeError, ValueError) as exc:
        raise UserError(
            f"not a fold file, or damaged: {exc}", where=path, next="delete it and train every run again"
        ) from exc
    return settings, pl.DataFrame([id_column.alias("id"), fold_column.alias("fold")])
