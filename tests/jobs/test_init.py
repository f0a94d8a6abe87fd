from pathlib import Path

import pytest

from jobs.init import InitOptions, run
from kaggle_tools.competition import FILE_NAME, Competition
from kaggle_tools.errors import UserError
from kaggle_tools.inspect import Overrides

DEMO = Path(__file__).parents[2] / "data" / "demo"


def options(root: Path | None, **more: object) -> InitOptions:
    files = {"train": DEMO / "train.csv", "test": DEMO / "test.csv", "sample": DEMO / "sample_submission.csv"}
    return InitOptions(**{**files, "root": root, **more})  # type: ignore[arg-type]


def test_demo_data_make_a_competition(tmp_path: Path) -> None:
    result = run(options(tmp_path))
    assert result.path == tmp_path / FILE_NAME
    found = Competition.load(result.path)
    assert found == result.conclusions.competition
    assert (found.label_column, found.metric, found.submission_format) == ("group", "macro_f1", "labels")
    assert found.classes == ("ambiguous", "negative", "neutral", "positive")
    assert found.path(found.test) == DEMO / "test.csv"


def test_competition_that_is_there_is_kept_without_force(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("mine")
    with pytest.raises(UserError, match="exists"):
        run(options(tmp_path))
    assert (tmp_path / FILE_NAME).read_text() == "mine"
    run(options(tmp_path, force=True))
    assert Competition.load(tmp_path / FILE_NAME).label_column == "group"


def test_overrides_reach_the_file(tmp_path: Path) -> None:
    run(options(tmp_path, overrides=Overrides(name="feelings", metric="mcc")))
    found = Competition.load(tmp_path / FILE_NAME)
    assert (found.name, found.metric) == ("feelings", "mcc")


def test_failure_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        run(options(tmp_path, train=tmp_path / "missing.csv"))
    assert not list(tmp_path.iterdir())


def test_working_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(options(None)).path == tmp_path / FILE_NAME


def test_classes_with_brackets_are_shown_as_they_are(tmp_path, call):
    rows = "".join(f"{i},a text,{('[red]', '[/red]')[i % 2]}\n" for i in range(10))
    (tmp_path / "train.csv").write_text("id,text,label\n" + rows)
    code, out, _ = call("init", "--train", "train.csv")
    assert code == 0
    assert "[/red], [red]" in out
