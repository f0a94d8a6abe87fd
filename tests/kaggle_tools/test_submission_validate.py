"""Each kind of damage is found and placed; real submissions pass."""

import dataclasses
import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.submissions import Validation, validate

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
CLASSES = ("-1", "0", "1")
LABELS = Competition(Path(), "x", "single_label", "macro_f1", "text", CLASSES, submission_format="labels")
PROBABILITIES = dataclasses.replace(LABELS, classes=("a", "b"), submission_format="probabilities")

LABEL_SAMPLE = "id,y\nr1,-1\nr2,0\nr3,1\nr4,0\n"
PROBABILITY_SAMPLE = "id,a,b\nr1,.5,.5\nr2,.5,.5\nr3,.5,.5\n"

shared = pytest.mark.shared
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the development data is not beside the checkout")


def check(
    folder: Path, submission: str | bytes, sample: str = LABEL_SAMPLE, competition: Competition | None = LABELS
) -> Validation:
    (folder / "sample.csv").write_text(sample)
    content = submission.encode() if isinstance(submission, str) else submission
    (folder / "submission.csv").write_bytes(content)
    return validate(folder / "submission.csv", folder / "sample.csv", competition)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_mark_are_reported_not_refused(tmp_path: Path, ends: str, mark: str) -> None:
    found = check(tmp_path, (mark + LABEL_SAMPLE.replace("\n", ends)).encode())
    assert found.ok
    assert found.n_rows == 4
    assert found.line_ends == ("LF" if ends == "\n" else "CRLF")
    assert found.encoding == ("utf-8 with a byte order mark" if mark else "utf-8")
    assert len(found.notes) == bool(mark) + (ends == "\r\n")
    found.raise_if_bad()


def test_mixed_line_ends_and_a_missing_last_one_are_noted(tmp_path: Path) -> None:
    found = check(tmp_path, "id,y\r\nr1,-1\nr2,0\nr3,1\nr4,0")
    assert found.ok
    assert found.line_ends == "mixed"
    assert len(found.notes) == 2


@pytest.mark.parametrize(
    ("text", "what", "first"),
    [
        ("id,label\nr1,-1\nr2,0\nr3,1\nr4,0\n", "column missing: y", ""),
        ("id,y,z\nr1,-1,1\nr2,0,1\nr3,1,1\nr4,0,1\n", "column not in the sample: z", ""),
        ("y,id\n-1,r1\n0,r2\n1,r3\n0,r4\n", "columns in another order: y, id", ""),
        ("id;y\nr1;-1\nr2;0\nr3;1\nr4;0\n", "fields are separated by semicolons", ""),
        ("id,y\nr1,-1\nr3,1\nr4,0\n", "1 of 4 ids are missing", "r2"),
        ("id,y\nr1,-1\nr2,0\nr3,1\nr4,0\nr5,0\n", "1 ids are not in the sample", "line 6, id 'r5'"),
        ("id,y\nr1,-1\nr2,0\nr3,1\nr4,0\nr2,0\n", "1 rows repeat an id", "line 6, id 'r2'"),
        ("id,y\nr1,-1\nr2,0\nr3,1\n,0\n", "1 rows have no id", "line 5, id ''"),
        ("id,y\nr1,-1\nr3,1\nr2,0\nr4,0\n", "2 rows are not where the sample has them", "line 3, id 'r3'"),
        ("id,y\nr1,-1\nr2 ,0\nr3,1\nr4,0\n", "1 ids are spelled differently", "line 3, id 'r2': blanks"),
        ("id,y\nr1,-1\nr2,\nr3,1\nr4,\n", "2 rows have no value in column 'y'", "line 3, id 'r2'"),
        ("id,y\nr1,-1\nr2,0\nr3,2\nr4,0.0\n", "2 rows have a label that is not allowed", "line 4, id 'r3': '2'"),
        ("id,y\nr1,-1\nr2,0\nr3,nan\nr4,0\n", "1 rows have a label that is not allowed", "line 4, id 'r3': 'nan'"),
        ("id,y\n", "a header and no rows", ""),
        ("id,y\nr1,-1\nr2,0,0\nr3,1\nr4,0\n", "not a table: ", ""),
        ("", "the file is empty", ""),
        ("\n\n", "the file is empty", ""),
        ("r1\n", "column missing: id, y", ""),
    ],
)
def test_each_damage_of_a_label_file_is_found_where_it_is(tmp_path: Path, text: str, what: str, first: str) -> None:
    found = check(tmp_path, text)
    problem = next((problem for problem in found.problems if problem.what.startswith(what)), None)
    assert problem is not None, found.problems
    assert problem.first.startswith(first)
    with pytest.raises(UserError):
        found.raise_if_bad()


@pytest.mark.parametrize(
    ("rows", "what", "first"),
    [
        (
            "r1,1.5,-.5\nr2,.5,.5\nr3,.5,.5\n",
            "1 rows have a value outside [0, 1] in column 'a'",
            "line 2, id 'r1': '1.5'",
        ),
        (
            "r1,.5,.5\nr2,.5,NaN\nr3,.5,.5\n",
            "1 rows have a value that is not a number in column 'b'",
            "line 3, id 'r2'",
        ),
        (
            "r1,.5,.5\nr2,.5,inf\nr3,.5,.5\n",
            "1 rows have a value outside [0, 1] in column 'b'",
            "line 3, id 'r2': 'inf'",
        ),
        ("r1,.5,.5\nr2,.5,\nr3,.5,.5\n", "1 rows have no value in column 'b'", "line 3, id 'r2'"),
        ("r1,.5,.5\nr2,.5,.5\nr3,.5,.52\n", "1 rows do not sum to one", "line 4, id 'r3': 1.02"),
        ("r1,a,b\nr2,b,a\nr3,a,a\n", "3 rows have a value that is not a number in column 'a'", "line 2, id 'r1': 'a'"),
    ],
)
def test_each_damage_of_a_probability_file_is_found_where_it_is(
    tmp_path: Path, rows: str, what: str, first: str
) -> None:
    found = check(tmp_path, "id,a,b\n" + rows, PROBABILITY_SAMPLE, PROBABILITIES)
    problem = next((problem for problem in found.problems if problem.what == what), None)
    assert problem is not None, found.problems
    assert problem.first.startswith(first)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('id,y\n"r1\n",-1\nr2,0\nr3,5\nr4,0\n', 5),
        ('id,y\r\n"r1\n",-1\r\nr2,0\r\nr3,5\r\nr4,0\r\n', 5),
        ("id,y\nr1,-1\n\n\nr2,0\nr3,5\nr4,0", 6),
        ('id,y\nr1,-1\nr2,0\n"r3\n\n",5\nr4,0\n', 4),
    ],
)
def test_lines_are_right_where_values_hold_line_ends_and_lines_are_blank(tmp_path: Path, text: str, line: int) -> None:
    for content in (text, "\ufeff" + text):
        found = check(tmp_path, content)
        (first,) = [problem.first for problem in found.problems if "allowed" in problem.what]
        assert first.startswith(f"line {line}, id 'r3")


@pytest.mark.parametrize(
    ("rows", "advice"),
    [
        ("r1,-1.0\nr2,0.0\nr3,1.0\nr4,0.0\n", "whole numbers were written as fractions"),
        ("r1,.25\nr2,.5\nr3,.75\nr4,.5\n", "these look like probabilities"),
    ],
)
def test_usual_mistakes_come_with_advice(tmp_path: Path, rows: str, advice: str) -> None:
    assert check(tmp_path, "id,y\n" + rows).problems[0].next.startswith(advice)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "the file is a picture, not CSV"),
        (b"PAR1\x00\x00", "the file is a Parquet file, not CSV"),
        (b"PK\x03\x04\x00", "the file is a zip archive or an Excel workbook, not CSV"),
        (LABEL_SAMPLE.replace("\n", "\r").encode(), "lines end in CR alone"),
        (LABEL_SAMPLE.replace("r2,", "r2,\r").encode(), "a CR within a line, where many readers end it"),
    ],
)
def test_what_is_no_csv_is_called_by_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    found = check(tmp_path, content)
    assert found.problems[0].what.startswith(what)
    assert found.notes == ()  # its line ends mean nothing


@pytest.mark.parametrize(("separator", "called"), [("\t", "tabs"), (";", "semicolons"), ("|", "'|'")])
def test_another_separator_than_the_samples_is_called_by_its_name(tmp_path: Path, separator: str, called: str) -> None:
    found = check(tmp_path, LABEL_SAMPLE.replace(",", separator))
    assert [problem.what for problem in found.problems] == [
        f"fields are separated by {called}, those of the sample by commas"
    ]
    assert "submissions adopt" in found.problems[0].next
    assert check(tmp_path, LABEL_SAMPLE.replace(",", separator), LABEL_SAMPLE.replace(",", separator)).ok
    (problem,) = check(tmp_path, LABEL_SAMPLE, LABEL_SAMPLE.replace(",", separator)).problems
    assert problem.what == f"fields are separated by commas, those of the sample by {called}"
    more = "id,y" + separator * 2 + "\n"  # the sample's columns are there: the header says which separator counts
    assert check(tmp_path, LABEL_SAMPLE.replace("id,y\n", more)).problems[0].what == "column missing: y"


def test_formulas_are_but_labels_that_are_not_allowed(tmp_path: Path) -> None:
    found = check(tmp_path, 'id,y\nr1,"=HYPERLINK(""http://x"")"\nr2,@SUM(A1)\nr3,1\nr4,0\n')
    assert found.problems[0].first == "line 2, id 'r1': '=HYPERLINK(\"http://x\")'"


def test_everything_wrong_is_reported_at_once(tmp_path: Path) -> None:
    found = check(tmp_path, "id,y\nr1,7\nr2,\nr2,0\nr9,0\n")
    assert len(found.problems) == 5
    with pytest.raises(UserError, match=r"1 rows repeat an id \(and 4 more problems\)") as caught:
        found.raise_if_bad()
    assert caught.value.details["also 4"].startswith("1 rows have a label that is not allowed")


def test_bytes_outside_utf8_are_placed(tmp_path: Path) -> None:
    found = check(tmp_path, "id,y\nr1,-1\nr2,正\n".encode("gb18030"))
    assert found.encoding == "not utf-8"
    assert found.problems[0].first == "byte 0xd5 at offset 14, line 3"
    assert not check(tmp_path, LABEL_SAMPLE.encode("utf-16")).ok


def test_truncated_gzip_is_a_problem_not_a_crash(tmp_path: Path) -> None:
    found = check(tmp_path, gzip.compress(LABEL_SAMPLE.encode())[:-12])
    assert found.problems[0].what.startswith("not a whole gzip file")
    assert check(tmp_path, gzip.compress(LABEL_SAMPLE.encode())).ok


def test_several_labels_are_checked_one_by_one(tmp_path: Path) -> None:
    competition = dataclasses.replace(LABELS, task="multi_label")
    found = check(tmp_path, "id,y\nr1,-1|0\nr2,\nr3,1|7\nr4,0\n", competition=competition)
    assert [problem.first for problem in found.problems] == ["line 4, id 'r3': '1|7'"]


@pytest.mark.parametrize(("separator", "other"), [(" ", "|"), (",", " "), ("|", ";")])
def test_several_labels_are_joined_as_in_the_sample(tmp_path: Path, separator: str, other: str) -> None:
    several = dataclasses.replace(LABELS, task="multi_label", metric="micro_f1", classes=("a", "b"))
    sample = f'id,y\nr1,"a{separator}b"\nr2,\n'
    assert check(tmp_path, f'id,y\nr1,b\nr2,"b{separator}a"\n', sample, several).ok
    found = check(tmp_path, f'id,y\nr1,b\nr2,"b{other}a"\n', sample, several)
    assert [problem.what for problem in found.problems] == ["1 rows have a label that is not allowed in column 'y'"]
    assert found.problems[0].next == f"labels are joined by '{other}', where the competition has '{separator}'"


def test_each_row_of_tags_has_as_many_as_the_sample_has(tmp_path: Path) -> None:
    tags = dataclasses.replace(LABELS, task="token", metric="entity_f1", classes=("B-x", "I-x", "O"))
    sample = "id,y\nr1,O O O\nr2,O O\nr3,\n"
    assert check(tmp_path, "id,y\nr1,B-x I-x O\nr2,O B-x\nr3,\n", sample, tags).ok
    (found,) = check(tmp_path, "id,y\nr1,B-x I-x O\nr2,O\nr3,\n", sample, tags).problems
    assert (found.what[:30], found.first) == ("1 rows have more or fewer tags", "line 3, id 'r2': 1 for 2")
    assert check(tmp_path, "id,y\nr1,B-x I-x O\nr2,O\n", "id,y\nr1,O\nr2,O\n", tags).ok  # stands for any number


def test_without_a_competition_the_sample_says_what_is_allowed(tmp_path: Path) -> None:
    bad = "id,y\nr1,5\nr2,0\nr3,1\nr4,0\n"
    assert not check(tmp_path, bad, competition=None).ok
    assert check(tmp_path, bad, "id,y\nr1,0\nr2,0\nr3,0\nr4,0\n", competition=None).ok  # then nobody knows
    off = "id,a,b\nr1,.5,.5\nr2,.5,.5\nr3,.5,.6\n"
    assert [p.what for p in check(tmp_path, off, PROBABILITY_SAMPLE, None).problems] == ["1 rows do not sum to one"]
    several = PROBABILITY_SAMPLE.replace("r1,.5,.5", "r1,.5,.7")
    assert check(tmp_path, off, several, None).ok


def test_missing_files_are_the_callers_mistake(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text(LABEL_SAMPLE)
    with pytest.raises(UserError, match="the submission cannot be read: No such file"):
        validate(tmp_path / "none.csv", tmp_path / "sample.csv")
    with pytest.raises(UserError, match="sample"):
        validate(tmp_path / "sample.csv", tmp_path / "no_sample.csv")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_content_whatever_makes_it_crash(tmp_path: Path, content: bytes) -> None:
    found = check(tmp_path, content)
    assert not found.ok
    assert all(problem.what for problem in found.problems)


@shared
@needs_shared
def test_real_label_submission_passes_against_the_crlf_sample() -> None:
    folder = SHARED / "weibo_ncov"
    found = validate(folder / "submission_real.csv.gz", folder / "submit_example_CRLF.csv.gz")
    assert found.ok
    assert (found.n_rows, found.line_ends, found.format) == (10_000, "LF", "labels")
    itself = validate(folder / "submit_example_CRLF.csv.gz", folder / "submit_example_CRLF.csv.gz", LABELS)
    assert itself.ok
    assert itself.line_ends == "CRLF"


@shared
@needs_shared
def test_real_probability_submissions_pass(tmp_path: Path) -> None:
    paths = sorted((SHARED / "spooky" / "leaderboard").glob("*.parquet"))
    assert len(paths) == 18
    for path in paths:
        pl.read_parquet(path).write_csv(tmp_path / "submission.csv")
        found = validate(tmp_path / "submission.csv", SHARED / "spooky" / "sample_submission.csv.gz")
        assert found.problems == (), path.name


DAMAGES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "8,391 of 8,392 ids are missing": lambda t: t.head(1),
    "1 rows repeat an id": lambda t: pl.concat([t, t.tail(1)]),
    "8,392 rows are not where the sample has them": lambda t: t.reverse(),
    "column missing: MWS": lambda t: t.drop("MWS"),
    "columns in another order: id, MWS, HPL, EAP": lambda t: t.select("id", "MWS", "HPL", "EAP"),
    "8,392 rows do not sum to one": lambda t: t.with_columns(EAP=pl.col("EAP") / 2),
}


@shared
@needs_shared
@pytest.mark.parametrize("what", DAMAGES)
def test_broken_copies_of_a_real_submission_are_refused(tmp_path: Path, what: str) -> None:
    sample = SHARED / "spooky" / "sample_submission.csv.gz"
    DAMAGES[what](pl.read_csv(sample)).write_csv(tmp_path / "submission.csv")
    assert what in [problem.what for problem in validate(tmp_path / "submission.csv", sample).problems]
