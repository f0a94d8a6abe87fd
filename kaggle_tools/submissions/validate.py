"""Whether a file would be accepted as a submission: everything that is wrong with it at once, and where.

    validate(Path("submission.csv"), Path("sample_submission.csv"), competition).raise_if_bad()

Looks at one file beside the sample; knows nothing of versions or of how the file came about.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kaggle_tools.competition import Competition, SubmissionFormat
from kaggle_tools.errors import UserError
from kaggle_tools.submissions.checks import Problem, Sheet, check_columns, check_ids, check_values
from kaggle_tools.submissions.layout import Sample, read_sample
from kaggle_tools.submissions.rawfile import Raw, line_of_row, read_raw
from kaggle_tools.tables import read_columns, read_table, sniff_format

__all__ = ["Problem", "Validation", "validate"]


@dataclass(frozen=True)
class Validation:
    """What `validate` found.

    Attributes:
        path: The submission.
        sample: What it was compared with.
        problems: Everything that would get it refused or scored wrongly; empty for a good file.
        n_rows: Its rows, where they could be read.
        format: ``labels`` or ``probabilities``.
        encoding: ``utf-8``, ``utf-8 with a byte order mark`` or ``not utf-8``.
        line_ends: ``LF``, ``CRLF``, ``CR``, ``mixed`` or ``none``.
        notes: What is worth knowing and does no harm.
    """

    path: Path
    sample: Path
    problems: tuple[Problem, ...]
    format: SubmissionFormat
    encoding: str
    line_ends: str
    n_rows: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """No problem found."""
        return not self.problems

    def raise_if_bad(self) -> None:
        """Do nothing for a good file.

        Raises:
            UserError: The first problem in full and the others in a line each.
        """
        if self.ok:
            return
        first, *others = self.problems
        more = f" (and {len(others)} more problem{'s' if len(others) > 1 else ''})" if others else ""
        details: dict[str, Any] = {key: value for key, value in first.details.items() if value}
        details |= {f"also {i}": problem.line for i, problem in enumerate(others, start=1)}
        raise UserError(f"{first.what}{more}", where=self.path, sample=self.sample, **details)


def validate(submission: Path, sample: Path, competition: Competition | None = None) -> Validation:
    """Compare a submission with the sample submission.

    Checked are the columns and their order; ids that are missing, unknown, empty, twice there, in another order or
    spelled with other blanks; empty values; labels outside the classes; probabilities that are no numbers, outside
    [0, 1] or (one label a row) more than 0.001 off one in sum. Without a competition the classes are the labels that
    the sample uses, where it uses several, and rows must sum to one where the sample's do.

    Raises:
        UserError: The sample is not usable, or the submission does not exist. What is wrong with the submission itself
            is collected, not raised.
    """
    wanted = read_sample(sample, competition)
    raw = read_raw(submission)
    n_rows, problems = (0, [raw.problem]) if raw.problem else _check(submission, raw, wanted, competition)
    return Validation(
        path=submission,
        sample=sample,
        problems=tuple(problems),
        format=wanted.layout.format,
        encoding=raw.encoding,
        line_ends=raw.line_ends,
        n_rows=n_rows,
        notes=() if raw.problem else _notes(raw, read_raw(sample)),
    )


def _check(submission: Path, raw: Raw, wanted: Sample, competition: Competition | None) -> tuple[int, list[Problem]]:
    """Number of rows and all problems of a file whose bytes are text."""
    try:
        other = other_separator(submission, wanted)
        if other is not None:
            return 0, [
                Problem(
                    f"fields are separated by {_called(other)}, those of the sample by {_called(wanted.separator)}",
                    next="save it like the sample, or `cli submissions adopt` it, which writes it so",
                )
            ]
        # The sample's separator, not the one that the file seems to use: the platform will not look for another.
        table = read_table(
            submission, fmt=replace(sniff_format(submission), separator=wanted.separator, quote_char='"')
        )
    except UserError as exc:
        first = exc.details.get("first", exc.details.get("found", ""))
        return 0, [Problem(f"not a table: {exc.summary}", first=first, next=exc.details.get("next", ""))]
    problems = check_columns(table, wanted.layout)
    if wanted.layout.id_column in table.columns:
        plain = raw.n_lines == len(table) + 1
        sheet = Sheet(table, wanted, competition, lambda row: row + 2 if plain else line_of_row(submission, row))
        problems += check_ids(sheet)
        problems += check_values(sheet)
    return len(table), problems


def other_separator(path: Path, wanted: Sample) -> str | None:
    """What separates the fields of a file where it is not what separates the sample's; None where it is, or is no text.

    Raises:
        UserError: The file cannot be read.
    """
    fmt = sniff_format(path)
    if fmt.kind != "csv" or fmt.separator == wanted.separator:
        return None
    as_wanted = read_columns(path, replace(fmt, separator=wanted.separator, quote_char='"'))
    return fmt.separator if wanted.layout.id_column not in as_wanted else None


def _called(separator: str) -> str:
    return {",": "commas", "\t": "tabs", ";": "semicolons"}.get(separator, f"'{separator}'")


def _notes(raw: Raw, sample: Raw) -> tuple[str, ...]:
    notes = []
    if raw.line_ends in ("LF", "CRLF") and sample.line_ends in ("LF", "CRLF") and raw.line_ends != sample.line_ends:
        notes.append(f"lines end in {raw.line_ends}, the sample's in {sample.line_ends}; platforms take either")
    if raw.encoding != "utf-8":
        notes.append("some readers take the byte order mark for a part of the first column's name")
    if raw.line_ends == "mixed":
        notes.append("some lines end in CRLF, others in LF")
    if not raw.ends_with_newline:
        notes.append("the last line has no line end")
    return tuple(notes)
