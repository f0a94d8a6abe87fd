"""Classes reordered in competition.toml after runs were made: columns go by name, whatever their order on disk."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score, log_loss

from jobs.board import Board
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import Manifest

LINEAR = 'kind = "linear"\n[folds]\nn = 3\nkind = "stratified"\nseed = 1\n[linear]\nC = {C}\n'


def reorder(folder):
    """Turn the order of the classes round."""
    toml = folder / "competition.toml"
    lines = toml.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("classes"))
    lines[at] = f"classes = {json.dumps(json.loads(lines[at].partition('=')[2])[::-1])}"
    toml.write_text("\n".join(lines) + "\n")


def test_the_second_class_of_binary_f1_is_the_competitions_and_not_that_of_an_older_run(binary_workspace, call):
    reorder(binary_workspace)
    oof = Predictions.load(binary_workspace / "runs" / "strong" / "oof.parquet")
    assert oof.classes == ("no", "yes")
    expected = f1_score(oof.labels, oof.predicted, pos_label="no")
    assert expected != pytest.approx(f1_score(oof.labels, oof.predicted, pos_label="yes"), abs=0.05)
    assert json.loads(call("evaluate", "strong", "--json")[1])["score"] == pytest.approx(expected)
    assert json.loads(call("rescale", "strong", "--json")[1])["score"] == pytest.approx(expected)
    blended = json.loads(call("blend", "--method", "single", "--json")[1])
    assert blended["singles"]["strong"] == pytest.approx(expected)
    added = json.loads(call("similarity", "--metric", "binary_f1", "--json")[1])["additions"]
    assert {one["name"]: one["score"] for one in added}["strong"] == pytest.approx(expected)


def test_versions_scored_by_the_other_second_class_do_not_rank(binary_workspace, call):
    for name in ("old", "new"):
        assert call("blend", "--method", "mean", "--name", name)[0] == 0
        reorder(binary_workspace)
    reorder(binary_workspace)  # as for the second
    board = json.loads(call("leaderboard", "--json")[1])
    places = {one["title"]: (one["place"], one["remark"]) for one in board["standings"]}
    assert places["v0002-new"][0] == 1
    assert places["v0001-old"][0] is None
    assert "made when the classes were no, yes" in places["v0001-old"][1]
    known = Board.load((), binary_workspace, command="pick")
    old, new = (known.titles.index(title) for title in ("v0001-old", "v0002-new"))
    assert np.isnan(known.scores("honest")[old])
    assert np.isfinite(known.scores("honest")[new])
    assert "v0001-old was made when the classes were no, yes" in call("report")[2]


def test_runs_with_classes_in_different_orders_blend_and_replay(workspace, call):
    before = json.loads(call("blend", "--method", "mean", "--json")[1])
    for path in (workspace / "runs" / "weak").rglob("*.parquet"):
        Predictions.load(path).in_class_order(("cow", "ant", "bee")).save(path)
    after = json.loads(call("blend", "--method", "mean", "--name", "again", "--json")[1])
    assert after["honest"] == pytest.approx(before["honest"])
    csv = [(workspace / "submissions" / made["submission"] / "submission.csv") for made in (before, after)]
    assert csv[0].read_bytes() == csv[1].read_bytes()
    assert call("apply", "blend", "--name", "replayed")[0] == 0
    assert (workspace / "submissions" / "v0003-replayed" / "submission.csv").read_bytes() == csv[0].read_bytes()
    assert call("apply", "blend", "--to", "runs/*/predictions/test.parquet", "--output", "given.csv")[0] == 0
    assert call("apply", "blend", "--output", "own.csv")[0] == 0
    assert (workspace / "given.csv").read_bytes() == (workspace / "own.csv").read_bytes()
    code, _, err = call("report", "--quiet")
    assert (code, err) == (0, "")


def test_the_out_of_fold_score_of_a_scoring_job_averages_classes_by_name(tmp_path, call):
    draw = np.random.default_rng(0)
    labels = [("x", "y", "z")[k] for k in draw.integers(0, 3, 90)]
    texts = [f"{label * 3} {draw.integers(0, 9)} {draw.choice(['xxx', 'yyy', 'zzz'])}" for label in labels]
    ids = [f"r{i}" for i in range(90)]
    pl.DataFrame({"id": ids, "text": texts, "kind": labels}).write_csv(tmp_path / "train.csv")
    pl.DataFrame({"id": ids[:9], "text": texts[:9]}).write_csv(tmp_path / "test.csv")
    pl.DataFrame({"id": ids[:9], "x": 0.2, "y": 0.3, "z": 0.5}).write_csv(tmp_path / "sample.csv")
    assert call("init", "--train", "train.csv", "--test", "test.csv", "--sample", "sample.csv")[0] == 0
    for name, C in (("a", 1), ("b", 9)):
        (tmp_path / f"{name}.toml").write_text(LINEAR.format(C=C))
        assert call("train", f"{name}.toml")[0] == 0
        reorder(tmp_path)
    oof = [Predictions.load(tmp_path / "runs" / name / "oof.parquet") for name in "ab"]
    assert oof[0].classes == oof[1].classes[::-1]
    mean = (oof[0].probs + oof[1].align(oof[0].ids).probs[:, ::-1]) / 2
    assert call("score", "--input", "test.csv", "--device", "cpu")[0] == 0
    told = Manifest.load(tmp_path / "submissions" / "v0001-mean").oof_score
    assert told == pytest.approx(log_loss(oof[0].labels, mean, labels=list(oof[0].classes)), abs=1e-6)
