from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.tables import expand_inputs

from .helpers import write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("part-10.csv", "part-2.csv", "part-1.csv", "test[1].csv", "other.tsv"):
        write(tmp_path / name, "x")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "er" / "part-3.csv", "x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parts_are_sorted_as_people_count(folder: Path) -> None:
    assert [path.name for path in expand_inputs(["part-*.csv"])] == ["part-1.csv", "part-2.csv", "part-10.csv"]
    assert [path.name for path in expand_inputs([folder / "part-*.csv"])] == ["part-1.csv", "part-2.csv", "part-10.csv"]


def test_patterns_keep_their_order_and_no_file_comes_twice(folder: Path) -> None:
    names = [path.name for path in expand_inputs(["other.tsv", "part-2.csv", str(folder / "part-?.csv")])]
    assert names == ["other.tsv", "part-2.csv", "part-1.csv"]


def test_two_stars_match_folders_and_a_literal_name_may_have_brackets(folder: Path) -> None:
    assert [path.name for path in expand_inputs(["**/part-3.csv"])] == ["part-3.csv"]
    assert [path.name for path in expand_inputs(["test[1].csv"])] == ["test[1].csv"]


def test_a_tilde_that_is_nobodys_home_is_a_part_of_the_name(folder: Path) -> None:
    write(folder / "~nobody.csv", "x")
    assert [path.name for path in expand_inputs(["~nobody.csv"])] == ["~nobody.csv"]
    with pytest.raises(UserError, match="no file part-1"):
        expand_inputs(["~nobody-at-all/part-1.csv"])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("part-1.cvs", r"no file part-1.cvs(.|\n)*did you mean 'part-1.csv'"),
        ("prat-*.csv", r"no file matches(.|\n)*did you mean 'part-"),
        ("deep", "is a folder"),
        ("nowhere/x.csv", "there is no folder nowhere"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error(folder: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        expand_inputs([pattern])


def test_a_pipe_by_its_name_is_told_how_to_be_read(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(UserError, match=r"pipe is no regular file\n.*cli score --input -"):
        expand_inputs(["pipe"])
