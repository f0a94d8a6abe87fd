"""Where runs lie, and which of them count."""

import json
from pathlib import Path

import pytest

from jobs.workspace import Run, Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError


def complete(folder: Path, name: str) -> None:
    (folder / "runs" / name).mkdir(parents=True)
    (folder / "runs" / name / "run.json").write_text(json.dumps({"kind": "linear"}))


def test_workspace_is_the_competitions_folder(tmp_path: Path) -> None:
    Competition(tmp_path, "x", "single_label", "log_loss", "text", ("a",)).save(tmp_path / "competition.toml")
    (tmp_path / "below").mkdir()
    found = Workspace.find(tmp_path / "below")
    assert found.root == tmp_path.resolve()
    assert found.competition is not None
    assert (found.jobs, found.submissions) == (found.root / ".jobs", found.root / "submissions")


def test_without_a_competition_any_folder_serves(tmp_path: Path) -> None:
    found = Workspace.find(tmp_path)
    assert found == Workspace(tmp_path.resolve(), None)
    assert found.runs() == []


def test_only_complete_runs_count(tmp_path: Path) -> None:
    complete(tmp_path, "b")
    complete(tmp_path, "a")
    complete(tmp_path, ".c.123.tmp")
    (tmp_path / "runs" / "half" / "fold0").mkdir(parents=True)
    (tmp_path / "runs" / "folds.parquet").write_text("")
    workspace = Workspace.find(tmp_path)
    assert [run.name for run in workspace.runs()] == ["a", "b"]
    assert workspace.run("a").info == {"kind": "linear"}
    with pytest.raises(UserError, match="no complete run 'half'"):
        workspace.run("half")


def test_unknown_run_gets_the_nearest_name(tmp_path: Path) -> None:
    complete(tmp_path, "roberta")
    with pytest.raises(UserError) as caught:
        Workspace.find(tmp_path).run("robrta")
    assert caught.value.details["next"] == "did you mean 'roberta'?"


def test_damaged_run_file_is_told(tmp_path: Path) -> None:
    complete(tmp_path, "a")
    (tmp_path / "runs" / "a" / "run.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        Workspace.find(tmp_path).runs()


def test_checkpoints_are_in_the_order_of_their_folds(tmp_path: Path) -> None:
    for name in ("fold10", "fold2", "fold0", "folds", "fold1x"):
        (tmp_path / name).mkdir()
    (tmp_path / "fold3").write_text("no folder")
    assert [path.name for path in Run("x", tmp_path).checkpoints] == ["fold0", "fold2", "fold10"]
    assert Run("x", tmp_path).predictions("test") == tmp_path / "predictions" / "test.parquet"
