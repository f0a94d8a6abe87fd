"""competition.toml: what is saved is loaded, and what cannot be meant is refused with a hint."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaggle_tools.competition import FILE_NAME, Competition
from kaggle_tools.errors import UserError

MINIMAL = 'name = "x"\ntask = "single_label"\nmetric = "log_loss"\ntext_column = "text"\nclasses = ["a", "b"]\n'


def write(folder: Path, text: str) -> Path:
    (folder / FILE_NAME).write_text(text, encoding="utf-8")
    return folder / FILE_NAME


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(name=st.text(), text=st.text(), classes=st.lists(st.text(min_size=1), unique=True), slug=st.none() | st.text())
def test_whatever_is_saved_is_loaded(
    tmp_path: Path, name: str, text: str, classes: list[str], slug: str | None
) -> None:
    competition = Competition(
        root=tmp_path.resolve(),
        name=name,
        task="multi_label",
        metric="macro_f1",
        text_column=text,
        classes=tuple(classes),
        slug=slug,
        id_column=None,
        submission_format="labels",
        encoding="gb18030",
        encoding_errors="replace",
    )
    competition.save(tmp_path / FILE_NAME)
    assert Competition.load(tmp_path / FILE_NAME) == competition
    raw = tomllib.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert raw["name"] == name
    assert raw["classes"] == classes


def test_found_from_a_folder_below(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    below = tmp_path / "runs" / "roberta"
    below.mkdir(parents=True)
    assert Competition.find(below).root == tmp_path.resolve()


def test_nearest_file_wins(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    (tmp_path / "inner").mkdir()
    write(tmp_path / "inner", MINIMAL.replace('"x"', '"inner"'))
    assert Competition.find(tmp_path / "inner").name == "inner"


def test_no_file_anywhere_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no competition\.toml") as caught:
        Competition.find(tmp_path)
    assert "cli init" in caught.value.details["next"]
    assert Competition.find_or_none(tmp_path) is None


def test_files_are_relative_to_the_toml(tmp_path: Path) -> None:
    competition = Competition.load(write(tmp_path, MINIMAL + 'test = "data/test.csv"\n'))
    assert competition.path(competition.test) == tmp_path.resolve() / "data" / "test.csv"
    assert competition.path(competition.train) is None


def test_absent_columns_are_none_in_a_file(tmp_path: Path) -> None:
    competition = Competition.load(write(tmp_path, MINIMAL))
    assert competition.id_column is None
    assert competition.label_column is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("metrik = 'f1'", r"unknown key 'metrik'[\s\S]*did you mean 'metric'"),
        ("encoding_errors = 'ignore'", r"'encoding_errors' cannot be 'ignore'"),
        ("submission_format = 'probability'", r"did you mean 'probabilities'"),
        ("slug = 5", r"'slug' must be a string[\s\S]*5"),
        ("submission_columns = [1, 0]", r"'submission_columns' must be a list of strings"),
        ("submission_columns = ['y', 'y']", r"names something twice[\s\S]*y, y"),
        ("train = ", r"not valid TOML"),
        ("label_column = 'text'", r"column 'text' cannot be two things at once[\s\S]*competition.toml"),
        ("pair_column = 'text'", r"column 'text' cannot be two things at once"),
        ("label_column = 'y'\npair_column = 'y'", r"column 'y' cannot be two things at once"),
        ("id_column = 'fold'", r"id column cannot be called 'fold'[\s\S]*competition.toml"),
        ("test_id_column = 'prob_a'", r"id column cannot be called 'prob_a'"),
    ],
)
def test_mistakes_are_told_with_a_hint(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Competition.load(write(tmp_path, MINIMAL + change + "\n"))
    assert re.search(message, str(caught.value))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("macro_f2", r"unknown metric 'macro_f2'[\s\S]*did you mean 'macro_f1'"),
        ("group_accuracy", r"'group_accuracy' is not for single_label tasks[\s\S]*use one of accuracy"),
    ],
)
def test_metric_must_serve_the_task(tmp_path: Path, metric: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        Competition.load(write(tmp_path, MINIMAL.replace("log_loss", metric)))
    assert str(tmp_path) in caught.value.details["where"]


@pytest.mark.parametrize("key", ["name", "task", "metric", "text_column", "classes"])
def test_missing_keys_are_named(tmp_path: Path, key: str) -> None:
    kept = [line for line in MINIMAL.splitlines() if not line.startswith(key)]
    with pytest.raises(UserError, match=f"key missing: {key}"):
        Competition.load(write(tmp_path, "\n".join(kept)))


def test_bytes_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'name = "\xff"\n')
    with pytest.raises(UserError, match="not valid TOML"):
        Competition.load(tmp_path / FILE_NAME)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(MINIMAL, encoding="utf-8-sig")
    assert Competition.load(tmp_path / FILE_NAME).name


def test_a_class_has_a_name(tmp_path: Path) -> None:
    kept = [line for line in MINIMAL.splitlines() if not line.startswith("classes")]
    with pytest.raises(UserError, match="'classes' has an empty name"):
        Competition.load(write(tmp_path, "\n".join([*kept, "classes = ['a', '']"])))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('test_pair_column = "b"', r"test_pair_column = 'b' without pair_column[\s\S]*where"),
        ('pair_column = "b"\ntest_text_column = "b"', r"column 'b' cannot be two things[\s\S]*where"),
        ('pair_column = "b"\ntest_pair_column = "text"', r"column 'text' cannot be two things"),
    ],
)
def test_a_pair_of_test_is_two_columns_and_goes_with_one_of_train(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Competition.load(write(tmp_path, MINIMAL + keys))
    swapped = 'pair_column = "b"\ntest_text_column = "b"\ntest_pair_column = "text"'
    assert Competition.load(write(tmp_path, MINIMAL + swapped)).test_pair == "text"


def test_every_field_but_the_root_is_a_key(tmp_path: Path) -> None:
    competition = Competition(tmp_path, "x", "single_label", "log_loss", "text", ("a",), slug="x", train="a", test="b")
    competition = dataclasses.replace(competition, sample_submission="c", submission_id="id")
    competition = dataclasses.replace(competition, test_id_column="i", test_text_column="t")
    competition = dataclasses.replace(competition, pair_column="p", test_pair_column="q")
    competition = dataclasses.replace(competition, test_encoding="gb18030", test_encoding_errors="replace")
    competition.save(tmp_path / FILE_NAME)
    raw = tomllib.loads((tmp_path / FILE_NAME).read_text(encoding="utf-8"))
    assert set(raw) == {f.name for f in dataclasses.fields(Competition)} - {"root", "label_groups"}
