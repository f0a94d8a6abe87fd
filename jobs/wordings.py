"""Other wordings of training rows, made elsewhere: translated there and back, paraphrased by a model or by hand.

    [augmentation]
    table = "back-translated.csv"        # the ids of training rows, and a text for each; as many a row as there are

A wording has the label of its row and goes where that goes: into the training rows of a fold if the row is one of them,
and never into a validation fold.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.training_rows import TrainingRows, check_entities
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.tables import read_table, sniff_format
from models.recipe import Recipe
from models.text.cleaning import clean
from models.text.pairs import join_texts, single_texts


@dataclass(frozen=True)
class Wordings:
    """M wordings.

    Attributes:
        rows: (M,) int64 places of their rows among the training rows.
        texts: (M,) cleaned.
    """

    rows: NDArray[np.int64]
    texts: tuple[str, ...]

    def of(self, rows: NDArray[np.int64]) -> Wordings:
        """Those of some training rows."""
        kept = np.flatnonzero(np.isin(self.rows, rows))
        return Wordings(self.rows[kept], tuple(self.texts[i] for i in kept))


def read_wordings(competition: Competition, recipe: Recipe, rows: TrainingRows) -> Wordings | None:
    """What `[augmentation] table` names; None where it names nothing.

    Empty texts and those that stand in the training table are left out: they would bring a validation row's answer.

    Raises:
        UserError: The table cannot be read, has ids that the training table lacks, texts that do not mark the entities
            that the recipe asks for, or nothing that is new.
    """
    if recipe.augmentation.table is None:
        return None
    path = competition.path(recipe.augmentation.table)
    assert path is not None
    if competition.id_column is None:
        raise UserError(
            "[augmentation] table tells rows by their ids, and this competition has none",
            next='add a column of ids to the training table, and id_column = "…" to competition.toml',
        )
    table = _read(path, competition)
    table = table.with_columns(clean(table["text"], recipe.data.cleaning).alias("text"))
    places = pl.DataFrame({"id": rows.ids, "row": np.arange(len(rows))})
    table = table.join(places, on="id", how="left", maintain_order="left")
    if recipe.data.limit is None and not rows.n_dropped:  # rows that were not drawn, or were dropped, are no mistake
        _refuse_unknown(table, path, competition)
    new = table.filter(
        pl.col("row").is_not_null()
        & (pl.col("text").str.strip_chars() != "")
        & ~pl.col("text").is_in(rows.all_texts.implode())
    ).unique(["row", "text"], maintain_order=True)
    if new.is_empty():
        raise UserError(f"none of {len(table):,} texts is another wording of a training row", where=path)
    check_entities(recipe, new["id"], new["text"], path)
    return Wordings(new["row"].to_numpy().astype(np.int64), tuple(new["text"]))


def with_wordings(rows: TrainingRows, wordings: Wordings | None) -> TrainingRows:
    """The same rows with a fingerprint that tells of the wordings."""
    if wordings is None:
        return rows
    return dataclasses.replace(
        rows, fingerprint=digest(rows.fingerprint, wordings.rows.tobytes(), list(wordings.texts))
    )


def _read(path: Path, competition: Competition) -> pl.DataFrame:
    """Columns ``id`` and ``text``; pairs joined."""
    encoding, errors = competition.encoding_of(path)
    names = [competition.id_column, competition.text_column, competition.pair_column]
    columns = [name for name in names if name is not None]
    fmt = sniff_format(path, encoding=encoding, encoding_errors=errors)
    table = read_table(path, columns=columns, fmt=fmt, id_column=competition.id_column)
    texts = (
        single_texts(table[columns[1]]).fill_null("")
        if len(columns) == 2
        else join_texts(table[columns[1]], table[columns[2]])
    )
    return table.select(pl.col(columns[0]).alias("id"), texts.alias("text"))


def _refuse_unknown(table: pl.DataFrame, path: Path, competition: Competition) -> None:
    unknown = table.filter(pl.col("row").is_null())["id"].unique(maintain_order=True)
    if len(unknown):
        raise UserError(
            f"{len(unknown):,} ids of this table are not in the training table",
            where=f"{path}, column '{competition.id_column}'",
            first=", ".join(unknown.head(5)),
            next="each wording has the id of the row that it words anew",
        )
