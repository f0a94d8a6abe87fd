"""Which column holds the ids, the labels and the text. Each function answers with the column and the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.inspect.answers import hold_quantities
from kaggle_tools.inspect.files import File

TEXT_NAMES = (
    "text",
    "content",
    "comment",
    "sentence",
    "tweet",
    "review",
    "body",
    "question",
    "message",
    "内容",
    "文本",
    "正文",
)
PAIR_STEMS = ("sentence", "sent", "question", "text", "query", "title", "phrase", "string", "s", "q")
PAIR_NAMES = (("premise", "hypothesis"), ("sentence", "question"), ("question", "sentence"), ("query", "title"))
SURE_LABEL_NAMES = ("label", "labels", "target", "y")
LABEL_NAMES = (
    *("class", "classes", "category", "sentiment", "emotion", "author", "group", "tag", "tags", "topic", "rating"),
    *("stars", "intent", "标签", "类别", "情感倾向"),
)
MAX_CLASSES = 1_000
MAX_ID_CHARS = 40
JOIN_LABELS = (
    "write one column with the names of the labels that hold in a row, joined by '|', empty where none does, and give "
    "it as --label"
)
# Two words side by side, or a letter of a script that is written without blanks or without capitals.
_WORDS = r"\p{L}\S*\s+\S*\p{L}|\p{Lo}"
# Two columns of nearly the same length (a pair of sentences, say) are both the text, or neither is known to be.
_CLEARLY_SHORTER = 0.8


@dataclass(frozen=True)
class Choice:
    """A column, and why it was chosen; None where there is none."""

    column: str | None
    why: str


def submission_id(sample: File, test: File | None, asked: str | None) -> tuple[Choice, Choice]:
    """The id column of the sample submission, and that of test whose values it repeats.

    Raises:
        UserError: No column of test holds the ids of the sample.
    """
    if test is None:
        found = asked if asked in sample.columns else sample.columns[0]
        return Choice(found, "first column of the sample"), Choice(None, "no test file")
    in_test = [_asked_column(test, asked, "--id")] if asked else test.columns
    best, best_share, best_alike = ("", ""), 0.0, False
    for of_sample in sample.columns:
        wanted = sample.ids(of_sample)
        for of_test in in_test:
            share = _share_found(wanted, test.ids(of_test))
            alike = of_sample == of_test  # an index that a table was saved with may hold the same numbers in other rows
            if share and (share, alike) > (best_share, best_alike):
                best, best_share, best_alike = (of_sample, of_test), share, alike
    if best_share < 0.5:
        raise UserError(
            f"no column of {test.path.name} holds the ids of {sample.path.name}",
            found=", ".join(test.columns),
            first=", ".join(map(str, sample.frame.to_series(0).head(3).to_list())),
            next="is it the sample submission of this test file? If so, name the column: --id COLUMN",
        )
    what = "all" if best_share == 1 else f"{best_share:.1%} of"
    as_written = _share_found(sample.frame[best[0]].fill_null(""), test.frame[best[1]].fill_null(""))
    blanks = "" if as_written == best_share or best[1] in test.floats else " (blanks around ids apart)"
    return (
        Choice(best[0], f"its values are ids of test, in column '{best[1]}'"),
        Choice(best[1], "asked for" if asked else f"holds {what} the ids of the sample{blanks}, each once"),
    )


def train_id(train: File, of_test: str | None, asked: str | None) -> Choice:
    """The id column of train: called like that of test, or like an id."""
    if asked in train.columns:
        return Choice(asked, "asked for")
    if of_test in train.columns:
        return Choice(of_test, "called as in test")
    return own_id(train, asked if of_test is None else None)


def own_id(file: File, asked: str | None) -> Choice:
    """The id column of a file that has only itself to tell."""
    if asked:
        return Choice(_asked_column(file, asked, "--id"), "asked for")
    unique = [name for name in file.columns if _is_unique(file.frame[name])]
    for name in unique:
        if name.lower().endswith("id") or name.lower() in ("index", "no"):
            return Choice(name, "called like an id, and every value occurs once")
    first = file.columns[0]
    is_text = _is_called(first, TEXT_NAMES) or _reads_as_text(file.frame[first])
    if first in unique and not is_text and _mean_chars(file.frame[first]) <= MAX_ID_CHARS:
        return Choice(first, "the first column, and every value occurs once")
    return Choice(None, "no column has a value of its own in every row: rows are numbered")


def label_column(train: File, test: File | None, answers: Sequence[str], skip: set[str], asked: str | None) -> Choice:
    """The label column of train.

    Args:
        train: Training table.
        test: Test table; a label is not in it.
        answers: Columns of the sample beside the id.
        skip: Columns that are something else.
        asked: The user's answer.

    Raises:
        UserError: No column can be the label, or several can.
    """
    if asked:
        return Choice(_asked_column(train, asked, "--label"), "asked for")
    others = [name for name in train.columns if name not in skip]
    absent = [name for name in others if test is None or name not in test.columns]
    not_in_test = "in train, not in test" if test is not None else "in train"
    named = [name for name in absent if name in answers or _is_called(name, SURE_LABEL_NAMES)]
    if not named and test is not None:
        filled = [name for name in others if name in test.columns and _stands_in(name, test, answers)]
        absent += [name for name in filled if _has_few_values(train.frame[name])]
        not_in_test = "in train, with nothing but a placeholder in test" if filled else not_in_test
    candidates = [name for name in absent if _has_few_values(train.frame[name])]
    if named and not any(name in candidates for name in named) and not _named_by_values(train, candidates, answers):
        raise UserError(
            f"column '{named[0]}' of {train.path.name} is called like the label, but holds no classes",
            found=_examples(train.frame[named[0]]),
            expected=f"at most {MAX_CLASSES:,} different values that come again: quantities are not served",
            next="name the label column: --label COLUMN",
        )
    if not candidates:
        called = [name for name in train.columns if name not in skip and _is_called(name, SURE_LABEL_NAMES)]
        if len(called) == 1 and _has_few_values(train.frame[called[0]]):
            return Choice(called[0], "called like a label, though test has it as well")
        raise UserError(
            f"no column of {train.path.name} can be the label",
            found=", ".join(train.columns),
            expected=f"a column that test lacks, with at most {MAX_CLASSES:,} different values that come again",
            next="name it: --label COLUMN",
        )
    rules: tuple[tuple[Callable[[str], bool], str], ...] = (
        (lambda name: name in answers, "the sample has a column of that name"),
        (lambda name: _named_by_values(train, [name], answers), "its values are the sample's columns"),
        (lambda name: _is_called(name, SURE_LABEL_NAMES), "called like a label"),
        (lambda name: _is_called(name, LABEL_NAMES), "called like a label"),
        (lambda _: True, "the only one with few different values"),
    )
    for rule, why in rules:
        fitting = [name for name in candidates if rule(name)]
        if len(fitting) == 1:
            return Choice(fitting[0], f"{not_in_test}, and {why}")
        if fitting:
            candidates = fitting
    found = _several(train, "label", candidates, "--label")
    if all(_distinct(train.frame[name]) <= {"0", "1", "0.0", "1.0"} for name in candidates):
        found.details["next"] = f"if each says whether a label holds: {JOIN_LABELS}"
    elif any(hold_quantities(sorted(_distinct(train.frame[name]))) for name in candidates):
        found.details["expected"] = "numbers with fractions are quantities: regression is not served"
    elif set(candidates) <= set(answers):
        together = " ".join(f"--label {name}" for name in candidates)
        found.details["next"] = f"the sample has all of them, so they are linked label groups: {together}"
    raise found


def text_column(file: File, skip: set[str], asked: str | None) -> Choice:
    """The column that is classified.

    Raises:
        UserError: No column looks like text, or several do.
    """
    if asked:
        return Choice(_asked_column(file, asked, "--text"), "asked for")
    candidates = [name for name in file.columns if name not in skip]
    readable = [name for name in candidates if _reads_as_text(file.frame[name])] or candidates
    called = [name for name in readable if any(known in name.lower() for known in TEXT_NAMES)]
    exactly = [name for name in candidates if _is_called(name, TEXT_NAMES)]
    chosen = exactly or called or readable
    ranked = sorted(chosen, key=lambda name: -_mean_chars(file.frame[name]))
    if not ranked or _mean_chars(file.frame[ranked[0]]) == 0:
        raise UserError(
            f"no column of {file.path.name} looks like text",
            found=", ".join(file.columns),
            next="name it: --text COLUMN",
        )
    mean = _mean_chars(file.frame[ranked[0]])
    if not exactly:  # a context, or a reviewer's name, is called like text, too
        longer = [name for name in readable if name not in ranked and _mean_chars(file.frame[name]) > mean]
        ranked = [ranked[0], *longer, *ranked[1:]]
    if len(ranked) > 1 and _mean_chars(file.frame[ranked[1]]) > _CLEARLY_SHORTER * mean:
        raise _several(file, "text", ranked, "--text")
    name = "called like text" if exactly or called else "the longest values"
    return Choice(ranked[0], f"{name}, {mean:,.0f} characters on average")


def check_header(train: File, label: str, text: str) -> None:
    """Refuse a table whose names of columns are a row: the label's is one of the labels, the text's is words.

    Raises:
        UserError: Says which line.
    """
    if label in _distinct(train.frame[label]) and _reads_as_text(pl.Series([text])):
        raise UserError(
            "the first line looks like a row, where the names of the columns are expected",
            where=train.path,
            found=f"label '{label}', text '{text[:60]}'",
            next="write a line with the names above it, in all files that lack one; or name the column: --label COLUMN",
        )


def pair_columns(files: Sequence[File], skip: set[str]) -> tuple[str, str] | None:
    """Two columns that all files have and that are called like the two texts of a pair; None where there are none.

    Such as sentence1 and sentence2, question_1 and question_2, text_a and text_b.
    """
    common = [name for name in files[0].columns if name not in skip and all(name in f.columns for f in files)]
    lower = {name.lower(): name for name in common}
    for first in lower:
        for one, other in (("1", "2"), ("a", "b")):
            stem = first.removesuffix(one).rstrip("_ ")
            second = first.removesuffix(one) + other
            if first.endswith(one) and stem in PAIR_STEMS and second in lower:
                return lower[first], lower[second]
    return next(((lower[a], lower[b]) for a, b in PAIR_NAMES if a in lower and b in lower), None)


def asked_pair(files: Sequence[File], column: str) -> str:
    """The second text column that was asked for; all files must have it. Raises `UserError`."""
    for file in files:
        _asked_column(file, column, "--pair")
    return column


def _several(file: File, what: str, candidates: Sequence[str], flag: str) -> UserError:
    details: dict[str, Any] = {f"'{name}'": _examples(file.frame[name]) for name in candidates[:6]}
    details["next"] = f"choose one: {flag} {candidates[0]}"
    return UserError(f"several columns of {file.path.name} can be the {what}", **details)


def _asked_column(file: File, name: str, flag: str) -> str:
    if name not in file.columns:
        hint = did_you_mean(name, file.columns)
        raise UserError(f"{file.path.name} has no column '{name}'", asked=f"{flag} {name}", next=hint)
    return name


def _examples(values: pl.Series) -> str:
    first = values.drop_nulls().unique(maintain_order=True).head(3).str.slice(0, 30).to_list()
    return f"{values.n_unique():,} different values, such as " + ", ".join(repr(value) for value in first)


def _share_found(wanted: pl.Series, ids: pl.Series) -> float:
    """Share of `wanted` that is among `ids`; 0 unless both name each row differently."""
    if wanted.n_unique() != len(wanted) or ids.n_unique() != len(ids):
        return 0.0
    return float(wanted.is_in(ids.implode()).mean() or 0.0)  # type: ignore[arg-type]


def _is_unique(values: pl.Series) -> bool:
    return values.null_count() == 0 and values.n_unique() == len(values)


def _is_called(name: str, known: Sequence[str]) -> bool:
    return name.lower() in known


def _has_few_values(values: pl.Series) -> bool:
    n = values.drop_nulls().n_unique()
    return 1 < n <= min(MAX_CLASSES, max(2, len(values) // 2))


def _stands_in(name: str, test: File, answers: Sequence[str]) -> bool:
    """Whether a column of test stands where the answers go: the sample asks for it, or it says the same everywhere."""
    return name in answers or (_is_called(name, SURE_LABEL_NAMES) and test.frame[name].n_unique() == 1)


def _named_by_values(train: File, candidates: Sequence[str], answers: Sequence[str]) -> bool:
    return any(_distinct(train.frame[name]) == set(answers) for name in candidates)


def _reads_as_text(values: pl.Series) -> bool:
    """Whether most values are words: neither numbers, codes, addresses nor hashes."""
    full = values.drop_nulls()
    return bool(len(full)) and float(full.str.contains(_WORDS).mean() or 0.0) > 0.5  # type: ignore[arg-type]


def _distinct(values: pl.Series) -> set[str]:
    return set(values.drop_nulls().unique().to_list())


def _mean_chars(values: pl.Series) -> float:
    return float(values.str.len_chars().fill_null(0).mean() or 0.0)  # type: ignore[arg-type]
