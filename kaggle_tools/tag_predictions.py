"""TagPredictions: tags and their probabilities for every word of every row. What `Predictions` are to classes.

On disk Parquet: the id column under its own name, ``label`` (list of String) and ``fold`` (Int16) where known, ``tag``
(list of String: what is predicted), then one list column of Float32 ``prob_<tag>`` a tag. Metadata as for Predictions,
with task ``token``. All lists of a row have one entry a word.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.bio import entities, legal_tags
from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.parquet import write_parquet
from kaggle_tools.predictions import METADATA_KEY, PREFIX, SCHEMA_VERSION, read_predictions_file

TASK = "token"


@dataclass(frozen=True)
class TagPredictions:
    """Probabilities of the W words of N rows over C tags.

    Attributes:
        ids: (N,) String, unique, no nulls.
        classes: C tags in column order.
        offsets: (N + 1,) int64; row i has the words ``offsets[i]:offsets[i + 1]``.
        probs: (W, C) float32.
        codes: (W,) int64 predicted tags, positions in `classes`.
        labels: (N,) list of String, true tags where known.
        folds: (N,) int16 where known.
        meta: Anything else worth keeping.
    """

    ids: pl.Series
    classes: tuple[str, ...]
    offsets: NDArray[np.int64]
    probs: NDArray[np.float32]
    codes: NDArray[np.int64]
    labels: pl.Series | None = None
    folds: NDArray[np.int16] | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    task: str = TASK

    def __post_init__(self) -> None:
        words, rows = int(self.offsets[-1]), len(self.offsets) - 1
        if self.probs.shape != (words, len(self.classes)) or len(self.codes) != words or len(self.ids) != rows:
            raise UserError(
                f"tags of {rows:,} rows with {words:,} words do not fit",
                found=f"probabilities {self.probs.shape}, {len(self.codes):,} tags, {len(self.ids):,} ids",
            )
        if self.ids.n_unique() != rows or self.ids.null_count():
            raise UserError("ids are missing or occur twice", where=f"column '{self.ids.name}'")
        if not np.isfinite(self.probs).all():
            raise UserError("a probability is not a number")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tags(self) -> list[list[str]]:
        """For each row its predicted tags."""
        return as_lists(pl.Series(self.classes, dtype=pl.String).gather(self.codes), self.offsets).to_list()

    @property
    def predicted(self) -> pl.Series:
        """(N,) String ``label``: each row's tags joined by blanks."""
        return pl.Series("label", [" ".join(row) for row in self.tags], dtype=pl.String)

    def frame(self) -> pl.DataFrame:
        """As a table, columns as on disk."""
        columns = [self.ids]
        if self.labels is not None:
            columns.append(self.labels.alias("label"))
        if self.folds is not None:
            columns.append(pl.Series("fold", self.folds, dtype=pl.Int16))
        columns.append(as_lists(pl.Series(self.classes, dtype=pl.String).gather(self.codes), self.offsets).alias("tag"))
        columns += prob_columns(self.probs, self.offsets, [PREFIX + name for name in self.classes])
        return pl.DataFrame(columns)

    def save(self, path: Path) -> None:
        """Write Parquet; the file appears whole or not at all."""
        about = {"version": SCHEMA_VERSION, "task": TASK, "classes": list(self.classes), **self.meta}
        table = self.frame().to_arrow()
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about, ensure_ascii=False, sort_keys=True)})
        with write_atomically(path) as temporary:
            write_parquet(table, temporary)

    @classmethod
    def load(cls, path: Path) -> TagPredictions:
        """Read a file that `save` wrote, or a part of a scoring job, which has no column ``tag``.

        Raises:
            UserError: No such file, not predictions of tags, or damaged.
        """
        table = read_predictions_file(path)
        try:
            about = json.loads((table.schema.metadata or {}).get(METADATA_KEY.encode(), b"{}"))
            if about.pop("task", None) != TASK:
                raise UserError("not predictions of tags", where=path)
            return cls._of(pl.DataFrame(table), about)
        except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as exc:
            raise UserError(f"predictions that cannot be understood: {exc!r:.200}", where=path) from exc

    @classmethod
    def _of(cls, frame: pl.DataFrame, about: dict[str, Any]) -> TagPredictions:
        """From a table as on disk and its metadata without the task."""
        about.pop("version")
        classes = tuple(about.pop("classes"))
        offsets, probs = read_prob_columns(frame, [PREFIX + name for name in classes])
        codes = None
        if "tag" in frame.columns:
            order = pl.Series(range(len(classes)), dtype=pl.Int64)
            flat = frame["tag"].list.explode(empty_as_null=False, keep_nulls=False)
            codes = flat.replace_strict(pl.Series(classes), order).to_numpy() if len(flat) else np.empty(0, np.int64)
        return cls(
            ids=frame.to_series(0),
            classes=classes,
            offsets=offsets,
            probs=probs,
            codes=legal_tags(probs, offsets, classes) if codes is None else codes,
            labels=frame["label"] if "label" in frame.columns else None,
            folds=frame["fold"].to_numpy().astype(np.int16) if "fold" in frame.columns else None,
            meta=about,
        )

    def align(self, ids: pl.Series) -> TagPredictions:
        """The same predictions in the order of `ids`.

        Raises:
            UserError: The two sets of ids differ.
        """
        position = pl.DataFrame({"id": self.ids, "row": np.arange(len(self))})
        rows = pl.DataFrame({"id": ids}).join(position, on="id", how="left", maintain_order="left")["row"]
        if rows.null_count() or len(ids) != len(self):
            missing = ids.filter(rows.is_null())
            raise UserError(
                f"ids do not match: {len(missing):,} of {len(ids):,} missing, {len(self):,} predicted",
                missing=", ".join(missing.head(5).to_list()) or "none",
            )
        order = rows.to_numpy()
        spans = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in order]
        words = np.concatenate(spans) if spans else np.empty(0, np.int64)
        lengths = np.diff(self.offsets)[order]
        return replace(
            self,
            ids=self.ids.gather(order),
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            probs=self.probs[words],
            codes=self.codes[words],
            labels=None if self.labels is None else self.labels.gather(order),
            folds=None if self.folds is None else self.folds[order],
        )


def join(pieces: Sequence[TagPredictions], meta: Mapping[str, str]) -> TagPredictions:
    """Rows of several predictions, one after the other; each must carry labels and folds."""
    lengths = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    return TagPredictions(
        ids=pl.concat([piece.ids for piece in pieces]),
        classes=pieces[0].classes,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        probs=np.concatenate([piece.probs for piece in pieces]),
        codes=np.concatenate([piece.codes for piece in pieces]),
        labels=pl.concat([piece.labels for piece in pieces if piece.labels is not None]),
        folds=np.concatenate([piece.folds for piece in pieces if piece.folds is not None]),
        meta=meta,
    )


def count_entities(found: TagPredictions) -> dict[str, int]:
    """Entities predicted of each type, types in the order of the tags."""
    return count_kinds(found.tags, found.classes)


def count_kinds(rows: Iterable[Sequence[str]], classes: Sequence[str]) -> dict[str, int]:
    """Entities of each type in rows of tags, types in the order of `classes`."""
    counts = Counter(kind for row in rows for kind, _, _ in entities(row))
    return {tag[2:]: counts[tag[2:]] for tag in classes if tag.startswith("B-")}


def as_lists(flat: pl.Series, offsets: NDArray[np.int64]) -> pl.Series:
    """(N,) lists of the values of each row."""
    values = flat.to_arrow()
    import pyarrow as pa

    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values))


def prob_columns(probs: NDArray[np.float32], offsets: NDArray[np.int64], names: Sequence[str]) -> list[pl.Series]:
    """A list column for each of C tags, of (W, C)."""
    return [as_lists(pl.Series(np.ascontiguousarray(probs[:, i])), offsets).alias(name) for i, name in enumerate(names)]


def read_prob_columns(frame: pl.DataFrame, names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """(N + 1,) offsets and (W, C) float32: the inverse of `prob_columns`."""
    lengths = frame[names[0]].list.len().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    columns = [frame[name].list.explode(empty_as_null=False, keep_nulls=False).to_numpy() for name in names]
    return offsets, np.ascontiguousarray(np.stack(columns, axis=1)).astype(np.float32, copy=False)
