"""Any file with an answer for each row, in one form: versions, foreign submissions, Predictions.

    ours = read_answers("latest", Path("submissions"), competition)
    theirs = read_answers("teammate.csv.gz", Path("submissions"), competition)

Values stand as they are in the file: nothing is normalised, rounded or put in another order. Whether they would be
accepted as a submission is for `validate` to say; what two of them have in common, for `diff`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.label_groups import GROUP_SEPARATOR, likeliest_of_each
from kaggle_tools.metrics import encode_label_sets
from kaggle_tools.predictions import SEPARATOR, THRESHOLD, Predictions, encode_labels
from kaggle_tools.seals import check_parquet
from kaggle_tools.submissions._values import Floats, no_submission, of_competition, of_values
from kaggle_tools.submissions.layout import Layout, trimmed
from kaggle_tools.submissions.versions import Version, find_version
from kaggle_tools.tables import read_table, sniff_format
from kaggle_tools.tag_predictions import count_kinds
from kaggle_tools.whole_numbers import ids_as_text

_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Answers:
    """What one file says of N rows.

    Attributes:
        title: What to call it: a version's title, or the file's name.
        path: The file.
        ids: (N,) String without blanks around them, named like the id column. Not checked for duplicates.
        classes: C class names; without a competition those that the file has.
        task: Of the competition; ``single_label`` or ``multi_label`` without one.
        labels: (N,) String as they stand in the file, but that several labels, and those of groups
            (``<group>:<class>``), are joined by ``|``; None where it holds probabilities.
        probs: (N, C) float32 or float64 as they stand in the file; None where it holds labels.
        version: The version that it belongs to, if any.
    """

    title: str
    path: Path
    ids: pl.Series
    classes: tuple[str, ...]
    task: str
    labels: pl.Series | None = None
    probs: Floats | None = None
    version: Version | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def table(self, layout: Layout | None = None) -> pl.DataFrame:
        """Ids and values as a submission has them; probabilities in the columns of `layout`, or called like classes."""
        if self.probs is None:
            return self._label_table(layout)
        if layout is None or layout.format == "labels":
            return pl.DataFrame([self.ids, *(pl.Series(name, self.probs[:, i]) for i, name in enumerate(self.classes))])
        filled = {layout.id_column: self.ids}
        filled |= {
            column: pl.Series(self.probs[:, self.classes.index(name)]) for name, column in layout.classes.items()
        }
        return pl.DataFrame({column: filled[column] for column in layout.columns})

    def _label_table(self, layout: Layout | None) -> pl.DataFrame:
        assert self.labels is not None
        if layout is not None and layout.groups:
            flat = self.labels.str.split(SEPARATOR).list
            filled = {layout.id_column: self.ids}
            for i, (group, column) in enumerate(layout.groups.items()):
                filled[column] = flat.get(i).str.strip_prefix(group + GROUP_SEPARATOR)
            return pl.DataFrame({column: filled[column] for column in layout.columns})
        labels = self.labels
        if layout is not None and self.task == "multi_label":
            labels = labels.str.replace_all(SEPARATOR, layout.joined_by, literal=True)
        return pl.DataFrame([self.ids, labels])

    def decisions(self, classes: Sequence[str] | None = None) -> NDArray[np.int64] | NDArray[np.bool_]:
        """(N,) int64 place of each row's class among `classes`; (N, C) bool for ``multi_label`` and ``multi_group``.

        Args:
            classes: Names in order, each of `self.classes` among them; None: `self.classes`.

        Raises:
            UserError: A label that is not among them; rows of tags.
        """
        names = tuple(classes or self.classes)
        if self.task == "token":
            raise UserError(f"{self.title} holds tags of words, no classes of rows")
        if self.task == "multi_group" and self.probs is not None:
            return encode_label_sets(likeliest_of_each(np.asarray(self.probs, np.float32), self.classes), names)
        if self.probs is None:
            assert self.labels is not None
            if self.task != "single_label":
                return encode_label_sets(self.labels, names)
            try:
                places = self.labels.cast(pl.Enum(names)).to_physical()
            except pl.exceptions.InvalidOperationError:
                return encode_labels(self.labels, names)  # which says what is wrong
            return places.cast(pl.Int64).to_numpy()
        if self.task == "multi_label":
            return np.asarray(self.in_order(names) >= THRESHOLD)
        order = np.array([names.index(name) for name in self.classes])
        return np.asarray(order[self.probs.argmax(axis=1)], np.int64)

    def in_order(self, classes: Sequence[str]) -> Floats:
        """(N, C) probabilities, columns in the order of `classes`."""
        assert self.probs is not None
        if tuple(classes) == self.classes:
            return self.probs
        return self.probs[:, [self.classes.index(name) for name in classes]]


def count_answers(answers: Answers) -> dict[str, int]:
    """Rows with each class as their decision, classes in order; a row with several labels counts for each. Of tags:
    entities of each type."""
    if answers.task == "token":
        assert answers.labels is not None
        return count_kinds(answers.labels.str.split(" "), answers.classes)
    decided = answers.decisions()
    counts = decided.sum(axis=0) if decided.ndim == 2 else np.bincount(decided, minlength=len(answers.classes))
    return dict(zip(answers.classes, counts.tolist(), strict=True))


def read_answers(wanted: str, submissions: Path, competition: Competition | None = None) -> Answers:
    """The file that a person means by `wanted`.

    Args:
        wanted: A file (CSV, TSV, JSON Lines, Parquet, compressed or not; Predictions too), or a version as
            `find_version` takes it. A file counts first.
        submissions: The `submissions/` folder.
        competition: For id column, classes and task; without it they are concluded from the file.

    Raises:
        UserError: No such file or version, or a file that holds neither labels nor probabilities for ids.
    """
    path = Path(wanted)
    if path.is_file():
        version = _version_of(path)
        return read_answer_file(path, competition, title=version.title if version else None, version=version)
    if path.suffix and _names_a_file(wanted):
        raise UserError("no such file", where=path)
    version = find_version(submissions, wanted)
    return read_answer_file(version.submission, competition, title=version.title, version=version)


def read_answer_file(
    path: Path, competition: Competition | None = None, *, title: str | None = None, version: Version | None = None
) -> Answers:
    """Like `read_answers`, for a file."""
    title = title or path.name
    if _is_predictions(path):
        found = Predictions.load(path)
        found = found if competition is None else found.in_class_order(competition.classes)
        return Answers(title, path, trimmed(found.ids), found.classes, found.task, probs=found.probs, version=version)
    fmt = sniff_format(path)
    if fmt.kind == "parquet":
        check_parquet(path)
    table = pl.read_parquet(path) if fmt.kind == "parquet" else read_table(path, fmt=fmt)
    if not len(table):
        raise no_submission(path, table, "it has no rows")
    if table.width < 2:
        raise no_submission(path, table, "it has only one column")
    id_column = _id_column(table.columns, competition)
    values = table.drop(id_column, *(name for name in table.columns if _is_index(name) and name != id_column))
    try:
        ids = trimmed(ids_as_text(table[id_column]))
    except UserError as exc:
        exc.details.setdefault("where", str(path))
        raise
    if competition is not None:
        classes, task, labels, probs = of_competition(path, values, competition)
    else:
        classes, task, labels, probs = of_values(path, values)
    return Answers(title, path, ids, classes, task, labels, probs, version)


def _id_column(columns: Sequence[str], competition: Competition | None) -> str:
    asked = (competition.submission_id, competition.test_id, competition.id_column) if competition else ()
    for name in asked:
        if name in columns:
            return str(name)
    named = [name for name in columns if not _is_index(name)] or list(columns)
    return next((name for name in named if name.lower().endswith("id")), named[0])


def _is_index(name: str) -> bool:
    return not name.strip() or name.startswith(("Unnamed:", "__index_level_"))


def _is_predictions(path: Path) -> bool:
    with path.open("rb") as handle:
        if handle.read(4) != _PARQUET:
            return False
    import pyarrow.parquet as pq

    from kaggle_tools.predictions import METADATA_KEY

    try:
        return METADATA_KEY.encode() in (pq.read_schema(path).metadata or {})
    except (OSError, ValueError) as exc:  # pyarrow's ArrowInvalid is a ValueError
        raise UserError(f"cannot be read as Parquet: {exc}", where=path) from exc


def _version_of(path: Path) -> Version | None:
    """The version that a path to a `submission.csv` belongs to."""
    if path.name != "submission.csv" or not re.fullmatch(r"v\d{4,}-.+", path.resolve().parent.name):
        return None
    try:
        return find_version(path.resolve().parent.parent, path.resolve().parent.name)
    except UserError:
        return None  # its manifest is damaged; the file itself may well be read


def _names_a_file(wanted: str) -> bool:
    return "/" in wanted or Path(wanted).suffix.lower() in (
        ".csv", ".tsv", ".txt", ".gz", ".zst", ".zip", ".parquet", ".json", ".jsonl", ".npy", ".xlsx",
    )  # fmt: skip
