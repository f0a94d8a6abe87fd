"""Predictions: one probability for each row and class, with the row's id. The contract between every two rooms.

On disk Parquet: the id column under its own name, ``label`` (String) and ``fold`` (Int16) where known, then one Float32
column ``prob_<class>`` a class (``prob_<group>:<class>`` with several label groups). File metadata (key
``kaggle_jobs``) holds schema version, task, classes in order and whatever the writer adds (run, model and input
fingerprints, precision). Rows are joined by id, never by position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.files import write_atomically
from kaggle_tools.label_groups import likeliest_of_each
from kaggle_tools.parquet import write_parquet
from kaggle_tools.seals import check_parquet, read_parquet

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
PREFIX = "prob_"
METADATA_KEY = "kaggle_jobs"

# Of several labels in one cell, and from which probability on a row has a label.
SEPARATOR = "|"
THRESHOLD = 0.5


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N rows over C classes.

    Attributes:
        ids: (N,) String, unique, no nulls; the series' name is the id column's name.
        classes: C class names in column order.
        probs: (N, C) float32 probabilities in [0, 1]. Rows sum to one for ``single_label``, and so do those of each
            group for ``multi_group``, whose classes are called ``<group>:<class>`` (see `kaggle_tools.label_groups`).
        labels: (N,) String, the true label where known (``|``-joined for ``multi_label`` and ``multi_group``).
        folds: (N,) int16, the fold whose model did not see the row, where known.
        task: ``single_label``, ``multi_label`` or ``multi_group``.
        meta: Anything else worth keeping: run, fingerprints, precision.
    """

    ids: pl.Series
    classes: tuple[str, ...]
    probs: NDArray[np.float32]
    labels: pl.Series | None = None
    folds: NDArray[np.int16] | None = None
    task: str = "single_label"
    meta: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, c = len(self.ids), len(self.classes)
        if self.probs.shape != (n, c):
            raise UserError(f"probabilities have shape {self.probs.shape}", expected=f"({n}, {c}): ids × classes")
        for name, part in (("labels", self.labels), ("folds", self.folds)):
            if part is not None and len(part) != n:
                raise UserError(f"{len(part):,} {name} for {n:,} ids")
        _check_ids(self.ids)
        bad = np.flatnonzero(~np.isfinite(self.probs).all(axis=1))
        if bad.size:
            raise UserError(
                f"{bad.size:,} of {n:,} rows have a probability that is not a number",
                first=", ".join(self.ids.gather(bad[:5]).to_list()),
                next="every row needs a finite number for every class: mend these rows",
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def predicted(self) -> pl.Series:
        """(N,) String: the label (or ``|``-joined labels) that the probabilities say; see `likeliest`."""
        return likeliest(self.probs, self.classes, self.task)

    @property
    def label_codes(self) -> NDArray[np.int64]:
        """(N,) int64: each true label's position in `classes` (single_label).

        Raises:
            UserError: No labels, or a label that is not a class.
        """
        if self.labels is None:
            raise UserError("these predictions carry no labels", next="OOF predictions do: runs/<run>/oof.parquet")
        return encode_labels(self.labels, self.classes)

    def frame(self) -> pl.DataFrame:
        """As a table, columns as on disk."""
        columns: list[pl.Series] = [self.ids]
        if self.labels is not None:
            columns.append(self.labels.alias("label"))
        if self.folds is not None:
            columns.append(pl.Series("fold", self.folds, dtype=pl.Int16))
        columns += [pl.Series(PREFIX + name, self.probs[:, i]) for i, name in enumerate(self.classes)]
        return pl.DataFrame(columns)

    def save(self, path: Path | str) -> None:
        """Write Parquet; the file appears whole or not at all."""
        about = {"version": SCHEMA_VERSION, "task": self.task, "classes": list(self.classes), **self.meta}
        table = self.frame().to_arrow()
        table = table.replace_schema_metadata({METADATA_KEY: json.dumps(about, ensure_ascii=False, sort_keys=True)})
        with write_atomically(Path(path)) as temporary:
            write_parquet(table, temporary)

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        """Read a file that `save` wrote.

        Raises:
            UserError: No such file, not Parquet, damaged, or no ``prob_`` columns (then `cli import` is the way in).
        """
        path = Path(path)
        table = read_predictions_file(path)
        raw = (table.schema.metadata or {}).get(METADATA_KEY.encode())
        if raw is None:
            raise UserError(
                "a Parquet file, but not one of our predictions (no 'kaggle_jobs' metadata)",
                where=path,
                next="bring it in with `cli import NAME --oof … --test …`",
            )
        try:
            about = json.loads(raw)
            if about["task"] == "token":
                raise UserError(
                    "these are tags of words, not classes of rows", where=path, next="see `cli evaluate RUN`"
                )
            return cls._of(pl.DataFrame(table), about)
        except (KeyError, TypeError, ValueError, AttributeError, pl.exceptions.PolarsError) as exc:
            raise UserError(f"predictions that cannot be understood: {exc!r:.200}", where=path) from exc

    @classmethod
    def _of(cls, frame: pl.DataFrame, about: dict[str, Any]) -> Predictions:
        """From a table as on disk and its metadata."""
        classes = tuple(about.pop("classes"))
        about.pop("version")
        probs = frame.select(PREFIX + name for name in classes).to_numpy().astype(np.float32, copy=False)
        return cls(
            ids=frame.to_series(0),
            classes=classes,
            probs=np.ascontiguousarray(probs),
            labels=frame["label"] if "label" in frame.columns else None,
            folds=frame["fold"].to_numpy().astype(np.int16) if "fold" in frame.columns else None,
            task=about.pop("task"),
            meta=about,
        )

    def in_class_order(self, classes: Sequence[str]) -> Predictions:
        """The same predictions, class columns in the order of `classes`; as they are where classes differ."""
        if self.classes == tuple(classes) or sorted(self.classes) != sorted(classes):
            return self
        columns = [self.classes.index(name) for name in classes]
        return replace(self, classes=tuple(classes), probs=np.ascontiguousarray(self.probs[:, columns]))

    def align(self, ids: pl.Series) -> Predictions:
        """The same predictions in the order of `ids`.

        Raises:
            UserError: `ids` has duplicates, or the two sets of ids differ (counts and first few of each side).
        """
        _check_ids(ids)
        position = pl.DataFrame({"id": self.ids, "row": np.arange(len(self))})
        rows = pl.DataFrame({"id": ids}).join(position, on="id", how="left", maintain_order="left")["row"]
        missing = ids.filter(rows.is_null())
        if len(missing) or len(ids) != len(self):
            extra = self.ids.filter(~self.ids.is_in(ids.implode()))
            raise UserError(
                f"ids do not match: {len(missing):,} missing, {len(extra):,} unexpected",
                missing=", ".join(missing.head(5).to_list()) or "none",
                unexpected=", ".join(extra.head(5).to_list()) or "none",
            )
        order = rows.to_numpy()
        return Predictions(
            ids=self.ids.gather(order),
            classes=self.classes,
            probs=self.probs[order],
            labels=None if self.labels is None else self.labels.gather(order),
            folds=None if self.folds is None else self.folds[order],
            task=self.task,
            meta=self.meta,
        )


def read_predictions_file(path: Path) -> pa.Table:
    """The table in a predictions file, of classes or of tags.

    Raises:
        UserError: No such file, not Parquet, or damaged.
    """
    import pyarrow as pa

    try:
        return read_parquet(path)
    except FileNotFoundError as exc:
        raise UserError("no such predictions file", where=path) from exc
    except (pa.ArrowInvalid, OSError) as exc:
        raise UserError(f"cannot be read as Parquet: {exc}", where=path) from exc


def likeliest(probs: NDArray[np.float32], classes: Sequence[str], task: str) -> pl.Series:
    """(N,) String ``label``: the most probable class, the first of equals; ``multi_label``: all of at least one half;
    ``multi_group``: the most probable of each group.

    The metrics follow the same rule. Several labels are joined by ``|``; a row may have none.
    """
    if task == "single_label":
        return pl.Series("label", classes, dtype=pl.String).gather(probs.argmax(axis=1))
    if task == "multi_group":
        return likeliest_of_each(probs, classes)
    joined = [SEPARATOR.join(classes[int(i)] for i in np.flatnonzero(row)) for row in probs >= THRESHOLD]
    return pl.Series("label", joined, dtype=pl.String)


def encode_labels(labels: pl.Series, classes: Sequence[str]) -> NDArray[np.int64]:
    """(N,) int64 positions of single labels in `classes`.

    Raises:
        UserError: A label is null or not in `classes`; names the first row and the value.
    """
    codes = labels.cast(pl.String).replace_strict(
        pl.Series(classes, dtype=pl.String), pl.Series(range(len(classes)), dtype=pl.Int64), default=None
    )
    if codes.null_count():
        row = int(codes.is_null().arg_max() or 0)
        raise UserError(
            f"{codes.null_count():,} labels are not among the classes",
            first=f"{labels[row]!r} in row {row + 1:,}",
            expected=", ".join(classes),
        )
    return codes.to_numpy()


_OWN_IDS = "every row needs an id of its own: mend these rows, or name another column of ids (--id)"


def _check_ids(ids: pl.Series) -> None:
    if ids.dtype != pl.String:
        raise UserError(f"ids must be strings, not {ids.dtype}", where=f"column '{ids.name}'")
    if ids.null_count():
        raise UserError(
            f"{ids.null_count():,} of {len(ids):,} ids are missing", where=f"column '{ids.name}'", next=_OWN_IDS
        )
    if ids.n_unique() != len(ids):
        twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
        raise UserError(
            f"{len(twice):,} ids occur more than once",
            where=f"column '{ids.name}'",
            first=", ".join(twice.head(5).to_list()),
            next=_OWN_IDS,
        )


def job_of(path: Path) -> str | None:
    """Which job wrote a predictions file; None where it is gone, damaged, or nobody's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_parquet(path)
        about = json.loads((pq.read_schema(path).metadata or {})[METADATA_KEY.encode()])
    except (UserError, pa.ArrowInvalid, OSError, KeyError, ValueError):
        return None
    return str(about["job"]) if isinstance(about, dict) and "job" in about else None
