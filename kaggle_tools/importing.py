"""Anybody's predictions become `Predictions`: CSV in any column order, Parquet, JSON Lines, `.npy` with ids beside it.

    read_foreign(Path("oof.csv"), classes=("EAP", "HPL", "MWS"), id_column="id")

Knows nothing of runs or competitions: whether these are the right ids is for the caller to check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.class_columns import is_of_first, match_class_columns
from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import SEPARATOR, Predictions, encode_labels
from kaggle_tools.probabilities import to_probabilities
from kaggle_tools.seals import check_parquet
from kaggle_tools.tables import TableFormat, read_table
from kaggle_tools.whole_numbers import as_integers, ids_as_text

LABEL_NAMES = ("true_label", "label", "target", "y_true")
FOLD_NAMES = ("fold", "folds", "kfold")

Floats = NDArray[np.float64]


def read_foreign(
    path: Path,
    *,
    classes: tuple[str, ...],
    id_column: str | Sequence[str] | None,
    label_column: str | None = None,
    label_names: Sequence[str] = LABEL_NAMES,
    id_source: Path | None = None,
    id_format: TableFormat | None = None,
    column: str | None = None,
    task: str = "single_label",
    logits: bool = False,
    normalise: bool = False,
) -> Predictions:
    """Read predictions that we did not write.

    Class columns are found by `match_class_columns`. Where there are none, a single column of class names is taken as
    hard labels (probability one for the label), and with two classes a single column of numbers as the probability of
    the second. Numbers that are all 0 or 1 are hard labels, too. Unnamed columns, as pandas writes its index, are
    ignored; so is whatever else stands beside.

    Args:
        path: The file.
        classes: C class names; the order of the result, and of the columns of an `.npy`.
        id_column: Name of the id column, in the file or in `id_source`, or several names of which the first that is
            there counts; None where rows are known by their number.
        label_column: Column of true labels; None takes the first of `label_names` that holds nothing but classes.
        label_names: See `label_column`.
        id_source: A table whose rows are those of the `.npy`, in order. Only for `.npy`.
        id_format: How `id_source` is written; None finds it out.
        column: Where several could be meant: the column of hard labels or of the second class, or the prefix of the
            class columns.
        task: ``single_label`` or ``multi_label`` (labels joined by ``|``).
        logits: See `to_probabilities`.
        normalise: See `to_probabilities`.

    Returns:
        Predictions in the order of the file. `meta` has ``source`` (file name), ``read_as`` (which columns were taken)
        and for hard labels ``hard_labels`` = ``true``.

    Raises:
        UserError: Unreadable, an object array, a column or class missing, ids missing or twice there, no numbers,
            no probabilities, labels that are no classes, several columns that could be meant.
    """
    names = (id_column,) if isinstance(id_column, str) else id_column
    with _naming(path):
        if path.suffix == ".npy":
            found = _from_array(_load_array(path), classes)
            ids = _ids(_source_of_ids(id_source, id_format, len(found.values)), names)
            labels = folds = None
        else:
            table = _load_table(path)
            ids = _ids(table, names)
            rest = [name for name in table.columns if name != ids.name and not _is_index(name)]
            labels = _labels(table, rest, classes, task, label_column, label_names, column)
            folds = _folds(table, rest, classes, column)
            taken = [series.name for series in (labels, folds) if series is not None]
            candidates = table.select(name for name in rest if name not in taken)
            found = _find_values(candidates, ids, classes, task, column, logits=logits)
        probs = (
            found.values.astype(np.float32)
            if found.hard
            else to_probabilities(found.values, ids, task=task, logits=logits, normalise=normalise)
        )
        certain = not (found.hard or logits) and bool(np.isin(found.values, (0.0, 1.0)).all())
        read_as = f"{found.read_as}: 0 and 1 alone, so hard labels" if certain else found.read_as
        meta = {"source": path.name, "read_as": read_as} | ({"hard_labels": "true"} if found.hard or certain else {})
        return Predictions(ids, classes, probs, labels, None if folds is None else folds.to_numpy(), task, meta)


@dataclass(frozen=True)
class _Values:
    """(N, C) float64 as they stand in the file, and how they were found there."""

    values: Floats
    read_as: str
    hard: bool = False


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name on top of what any step below complains about."""
    try:
        yield
    except UserError as exc:
        exc.details = {"file": str(path), **exc.details}
        raise


def _load_array(path: Path) -> Floats:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError as exc:
        raise UserError("no such file") from exc
    except (ValueError, OSError, EOFError) as exc:
        objects = "pickle" in str(exc).lower()
        raise UserError(
            "an array of Python objects, which only unpickling could read" if objects else f"not a NumPy array: {exc}",
            next="save it as numbers: np.save(path, np.asarray(probs, dtype=np.float32))",
        ) from exc
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu":
        shape = f"{array.dtype} array of shape {array.shape}" if isinstance(array, np.ndarray) else "archive of arrays"
        raise UserError(f"an {shape}", expected="(rows, classes) numbers")
    return array.astype(np.float64)


def _from_array(array: Floats, classes: tuple[str, ...]) -> _Values:
    if array.shape[1] != len(classes):
        raise UserError(f"{array.shape[1]} columns for {len(classes)} classes", expected=", ".join(classes))
    return _Values(array, f"columns in the order {', '.join(classes)}")


def _source_of_ids(source: Path | None, fmt: TableFormat | None, n_rows: int) -> pl.DataFrame:
    if source is None:
        raise UserError("an .npy file has no ids", next="name a table with the same rows: --oof-ids or --test-ids FILE")
    table = _load_table(source) if source.suffix == ".parquet" else read_table(source, fmt=fmt)
    if len(table) != n_rows:
        raise UserError(f"{n_rows:,} rows, but {len(table):,} in {source.name}, whence the ids come", ids=source)
    return table


def _load_table(path: Path) -> pl.DataFrame:
    """Strings for text formats; Parquet keeps its numbers, which need no parsing."""
    if path.suffix != ".parquet":
        return read_table(path)
    try:
        check_parquet(path)
        table: pl.DataFrame = pl.read_parquet(path)
        return table
    except FileNotFoundError as exc:
        raise UserError("no such file") from exc
    except (pl.exceptions.PolarsError, OSError) as exc:
        raise UserError(f"cannot be read as Parquet: {exc}") from exc


def _ids(table: pl.DataFrame, names: Sequence[str] | None) -> pl.Series:
    """Without blanks around them, as scoring writes them; row numbers from 0 where rows have no ids."""
    if names is None:
        return pl.Series("row", range(len(table)), dtype=pl.Int64).cast(pl.String)
    name = next((name for name in names if name in table.columns), None)
    if name is None:
        hint = did_you_mean(names[0], table.columns)
        raise UserError(
            f"no id column '{names[0]}'",
            found=", ".join(table.columns),
            next=f"{hint} Name it: --id COLUMN" if hint.startswith("did") else "name it: --id COLUMN",
        )
    return _known(ids_as_text(table[name]).str.strip_chars())


def _text(values: pl.Series) -> pl.Series:
    """As strings, whole numbers without their ``.0``."""
    return _known(as_integers(values).cast(pl.String))


def _known(text: pl.Series) -> pl.Series:
    return text.set(text == "", None)


def _label_text(values: pl.Series, task: str) -> pl.Series:
    """Labels as strings: of several a row may have none, which is an empty string."""
    return _text(values).fill_null("") if task == "multi_label" else _text(values)


def _is_index(name: str) -> bool:
    return not name.strip() or name.startswith(("Unnamed:", "__index_level_"))


def _labels(
    table: pl.DataFrame,
    rest: list[str],
    classes: tuple[str, ...],
    task: str,
    label_column: str | None,
    label_names: Sequence[str],
    column: str | None,
) -> pl.Series | None:
    if label_column is not None:
        if label_column not in table.columns:
            raise UserError(
                f"no label column '{label_column}'", found=", ".join(rest), next=did_you_mean(label_column, rest)
            )
        labels = _label_text(table[label_column], task)
        _encode(labels, classes, task)
        return labels
    # The only column beside the id can but be the prediction, whatever its name.
    names = [name for name in label_names if name in rest and name != column and len(rest) > 1]
    return next((_label_text(table[n], task) for n in names if _holds_classes(table[n], classes, task)), None)


def _folds(table: pl.DataFrame, rest: list[str], classes: tuple[str, ...], column: str | None) -> pl.Series | None:
    own = [name for name in FOLD_NAMES if name in rest]
    with suppress(UserError):  # a class may be called so
        of_classes = match_class_columns(rest, classes, prefix=column).values()
        own = [name for name in own if name not in of_classes]
    name = next(iter(own), None)
    if name is None:
        return None
    folds = _text(table[name]).cast(pl.Int16, strict=False)
    if folds.null_count() or (folds < 0).any():
        raise UserError(f"column '{name}' does not hold a fold number in every row", next="rename or drop it")
    return folds


def _find_values(
    table: pl.DataFrame, ids: pl.Series, classes: tuple[str, ...], task: str, column: str | None, *, logits: bool
) -> _Values:
    if column in table.columns:
        return _single(table[column], ids, classes, task, logits=logits)
    try:
        matched = match_class_columns(table.columns, classes, prefix=column)
    except UserError:
        named = {name.casefold() for name in classes}
        possible = [n for n in table.columns if n.casefold() not in named and _holds_classes(table[n], classes, task)]
        if column is None and len(possible) > 1:
            raise UserError(
                f"{len(possible)} columns hold class names: {', '.join(possible)}",
                next=f"choose one, e.g. `--column {possible[0]}`",
            ) from None
        alone = table.columns if len(table.columns) == 1 and len(classes) == 2 else []
        if column is not None or not (possible or alone):
            raise
        return _single(table[(possible or alone)[0]], ids, classes, task, logits=logits)
    values = np.column_stack([_numbers(table[name], ids) for name in matched.values()])
    return _Values(values, f"columns {', '.join(matched.values())}")


def _single(values: pl.Series, ids: pl.Series, classes: tuple[str, ...], task: str, *, logits: bool) -> _Values:
    """One column: hard labels, or numbers for the second of two classes, for the first where it is called so."""
    if _holds_classes(values, classes, task) or len(classes) != 2:
        hot = _encode(_label_text(values, task), classes, task)
        return _Values(hot, f"hard labels in column '{values.name}'", hard=True)
    own = _numbers(values, ids)
    other = np.zeros_like(own) if logits else 1 - own
    if is_of_first(values.name, classes):
        return _Values(np.column_stack([own, other]), f"column '{values.name}' as class {classes[0]}")
    return _Values(np.column_stack([other, own]), f"column '{values.name}' as class {classes[1]}")


def _numbers(values: pl.Series, ids: pl.Series) -> Floats:
    if values.dtype == pl.String:
        numbers = values.str.strip_chars().cast(pl.Float64, strict=False)
    elif values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
    else:
        raise UserError(f"column '{values.name}' holds {values.dtype}, not numbers", next="write it as numbers")
    wrong = numbers.is_null() | numbers.is_nan()
    if wrong.any():
        row = wrong.arg_max() or 0
        commas = bool(re.fullmatch(r"\s*-?\d*,\d+\s*", str(values[row])))
        raise UserError(
            f"{wrong.sum():,} of {len(values):,} rows have no number in column '{values.name}'",
            first=f"{ids[row]}: {values[row]!r}",
            next="write numbers with a decimal point: 0.98, not 0,98"
            if commas
            else "give every row a number for every class: predict these rows too, or mend them",
        )
    return numbers.to_numpy()


def _holds_classes(values: pl.Series, classes: tuple[str, ...], task: str) -> bool:
    if values.dtype.is_nested() or not len(values):
        return False
    distinct = _label_text(values, task).unique()
    if distinct.null_count():
        return False
    named = set(distinct if task == "single_label" else distinct.str.split(SEPARATOR).explode())
    # Of several labels a row may have none, but a column without any is no column of labels.
    return named - {""} <= set(classes) and named != {""}


def _encode(labels: pl.Series, classes: tuple[str, ...], task: str) -> Floats:
    """(N, C) float64 of 0 and 1."""
    if task == "multi_label":
        return encode_label_sets(labels, classes).astype(np.float64)
    hot: Floats = np.eye(len(classes))[encode_labels(labels, classes)]
    return hot
