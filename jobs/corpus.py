"""All the text there is: what is learnt from texts without their labels (masked tokens, word vectors) reads it here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from jobs.training_rows import TrainingRows
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.files import digest
from kaggle_tools.tables import read_table, sniff_format
from models.recipe import Recipe
from models.text.cleaning import clean
from models.text.entities import without_marks
from models.text.pairs import join_texts, split_text


def read_texts(path: Path, column: str | None, competition: Competition | None) -> pl.Series:
    """Column ``text`` of a table, null as empty; pairs joined, where the competition has pairs.

    Args:
        path: A table, or a `.txt` file with a text a line.
        column: Of texts; None: the competition's.
        competition: Tells columns and encoding; None: there is none.

    Raises:
        UserError: No such file or column, or it is not told which column.
    """
    if path.suffix == ".txt":
        return _read_lines(path)
    encoding, errors = competition.encoding_of(path) if competition is not None else ("utf-8", "strict")
    pair = None
    if column is None:
        if competition is None:
            raise UserError("which column holds the texts?", where=path, next="name it with --text")
        is_test = path.resolve() == competition.path(competition.test)
        column = competition.test_text if is_test else competition.text_column
        pair = competition.test_pair if is_test else competition.pair_column
    fmt = sniff_format(path, encoding=encoding, encoding_errors=errors)
    table = read_table(path, columns=[name for name in (column, pair) if name is not None], fmt=fmt)
    texts = table[column].fill_null("") if pair is None else join_texts(table[column], table[pair])
    return texts.alias("text")


def read_corpus(
    competition: Competition | None, cleaning: Sequence[str], extra: Sequence[Path] = (), column: str | None = None
) -> list[str]:
    """Distinct texts of the training table, the test table and extra files, cleaned, in the order of the files.

    Labels are not read. Both texts of a pair are texts of their own; marks of entities are taken out.

    Args:
        competition: Its tables are read; None: the extra files alone.
        cleaning: Names of cleaning steps.
        extra: More tables, or `.txt` files with a text a line.
        column: Of texts in the extra tables; None: as in the training table.

    Raises:
        UserError: No file at all, or one that cannot be read.
        ModelError: An unknown cleaning step.
    """
    own = [] if competition is None else [competition.path(name) for name in (competition.train, competition.test)]
    files = [(path, None) for path in own if path is not None] + [(path, column) for path in extra]
    if not files:
        raise UserError(
            "no text to learn from", next="name a table with --input, or make a competition with `cli init`"
        )
    parts = []
    for path, name in files:
        texts = read_texts(path, name, competition)
        sides = pl.Series("text", [without_marks(side) for text in texts for side in split_text(text)], dtype=pl.String)
        parts.append(clean(sides, cleaning))
    distinct = pl.concat(parts).unique(maintain_order=True)
    return [text for text in distinct if text.strip()]


def with_corpus(rows: TrainingRows, competition: Competition, recipe: Recipe) -> TrainingRows:
    """The rows with the texts of all tables, where the encoder learns from these without labels."""
    if recipe.kind != "transformer" or not recipe.reads_all_texts:
        return rows
    corpus = tuple(read_corpus(competition, recipe.data.cleaning))
    return dataclasses.replace(rows, corpus=corpus, fingerprint=digest(rows.fingerprint, corpus))


def _read_lines(path: Path) -> pl.Series:
    try:
        return pl.Series("text", path.read_text(encoding="utf-8-sig").split("\n"), dtype=pl.String)
    except OSError as exc:
        raise UserError(f"this file cannot be read: {exc.strerror}", where=path) from exc
    except UnicodeDecodeError as exc:
        raise UserError(f"this file is not UTF-8: {exc.reason} at byte {exc.start:,}", where=path) from exc
