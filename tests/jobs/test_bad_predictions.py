"""Predictions that a search cannot use: one clear error, exit code 2, nothing written."""

import dataclasses
import json

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from kaggle_tools.predictions import Predictions

SEARCHES = (("blend", "--method", "mean"), ("vote",), ("rescale", "weak"))
TOGETHER = SEARCHES[:2]


def change(workspace, name="weak", part="oof.parquet", **changes):
    """Rewrite a run's predictions; each change is a value, or a function of the predictions."""
    path = workspace / "runs" / name / part
    found = Predictions.load(path)
    made = {key: value(found) if callable(value) else value for key, value in changes.items()}
    dataclasses.replace(found, **made).save(path)


def write_column(workspace, values, name="weak", part="oof.parquet", column="prob_bee"):
    """Rewrite a column behind the back of `Predictions`, which would refuse it."""
    path = workspace / "runs" / name / part
    table = pq.read_table(path)
    frame = pl.DataFrame(table).with_columns(pl.Series(column, values(pl.DataFrame(table)[column].to_numpy().copy())))
    pq.write_table(frame.to_arrow().replace_schema_metadata(table.schema.metadata), path)


def refused(call, workspace, words):
    """The message of a command that must fail and leave everything as it was."""
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    code, out, err = call(*words)
    assert (code, out) == (2, ""), out + err
    assert before == {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    assert err.startswith("error: ")
    return err


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_ids_that_do_not_match_are_counted_and_shown(workspace, call, words):
    change(workspace, ids=lambda p: pl.Series("id", ["x1", "x2", *p.ids[2:]]))
    err = refused(call, workspace, words)
    assert "'weak' and 'middling' do not hold the same rows: ids do not match: 2 missing, 2 unexpected" in err
    assert "train0, train1" in err
    assert "x1, x2" in err


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_ids_of_the_test_predictions_are_compared_before_the_search(workspace, call, words):
    change(workspace, part="predictions/test.parquet", ids=lambda p: pl.Series("id", ["x1", *p.ids[1:]]))
    err = refused(call, workspace, words)
    assert "test predictions of 'weak' and 'middling' are not of the same rows" in err
    assert "1 missing, 1 unexpected" in err
    assert "study" not in err


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_a_test_file_that_does_not_fit_the_sample_leaves_no_recipe_behind(workspace, call, words):
    for name in ("strong", "middling", "weak"):
        change(workspace, name, "predictions/test.parquet", ids=lambda p: pl.Series("id", ["x1", *p.ids[1:]]))
    err = refused(call, workspace, words)
    assert "the predictions have 200 ids, the sample submission has 200: 1 missing, 1 unexpected" in err


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_other_classes_are_named(workspace, call, words):
    change(workspace, classes=("ant", "bee", "elk"), labels=lambda p: p.labels.str.replace("cow", "elk"))
    err = refused(call, workspace, words)
    assert "'weak' and 'middling' have different classes: 1 only in 'weak' (elk), 1 only in 'middling' (cow)" in err


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_rows_that_do_not_sum_to_one_need_leave(workspace, call, words):
    change(workspace, probs=lambda p: p.probs * np.float32(0.5))
    change(workspace, part="predictions/test.parquet", probs=lambda p: p.probs * np.float32(0.5))
    err = refused(call, workspace, words)
    assert "600 of 600 rows do not sum to one (sums from 0.5 to 0.5)" in err
    assert "runs/weak/oof.parquet" in err
    assert "--normalise" in err
    assert call(*words, "--normalise", "--quiet")[0] == 0
    assert len(list((workspace / "blends").iterdir())) == 1


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_logits_are_recognised(workspace, call, words):
    change(workspace, probs=lambda p: np.log(p.probs))
    err = refused(call, workspace, words)
    assert "these look like logits" in err
    assert "cli import" in err
    assert "these look like logits" in refused(call, workspace, (*words, "--normalise"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["oof.parquet", "predictions/test.parquet"])
def test_what_is_no_number_is_refused_with_file_and_row(workspace, call, value, part):
    write_column(workspace, lambda column: np.where(np.arange(len(column)) == 7, value, column), part=part)
    for words in SEARCHES:
        err = refused(call, workspace, words)
        assert "rows have a probability that is not a number" in err
        assert f"runs/weak/{part}" in err
        assert f"{'train' if part == 'oof.parquet' else 'test'}7" in err


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_a_run_that_always_says_the_same_is_named(workspace, call, words):
    change(workspace, probs=lambda p: np.tile(np.float32([0.5, 0.3, 0.2]), (len(p), 1)))
    assert "run 'weak' has the same probabilities in all 600 rows" in refused(call, workspace, words)


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_a_class_without_rows_needs_leave(workspace, call, words):
    for name in ("strong", "middling", "weak"):
        change(workspace, name, labels=lambda p: p.labels.str.replace("cow", "ant"))
    err = refused(call, workspace, words)
    assert "1 of 3 classes have no row among 600: cow" in err
    assert "--allow-absent" in err
    assert call(*words, "--allow-absent", "--quiet")[0] == 0


def test_a_label_without_rows_needs_leave(label_workspace, call):
    for name in ("strong", "weak"):
        change(label_workspace, name, labels=lambda p: p.labels.str.replace(r"\|?dog", ""))
    assert "1 of 4 classes have no row among 600: dog" in refused(call, label_workspace, ("rescale", "weak"))
    assert call("rescale", "weak", "--allow-absent", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("vote", "--run", "weak"), "one run only: weak"),
        (("vote", "--run", "weak", "--plain"), "one run only: weak"),
        (("vote", "--run", "weak", "--run", "strong"), "2 runs only: weak, strong"),
        (("blend", "--run", "weak", "--method", "weights"), "method 'weights' does not suit macro_f1 with 1 model"),
        (("blend", "--run", "weak", "--run", "weak"), "run 'weak' is named twice"),
    ],
    ids=str,
)
def test_too_few_runs_are_told(workspace, call, words, message):
    assert message in refused(call, workspace, words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--trials", "0"), "a study needs at least one trial, not 0"),
        (("--trials", "5", "--workers", "0"), "a study needs at least one worker, not 0"),
        (("--trials", "5", "--sampler", "tpee"), "did you mean 'tpe'"),
        (("--workers", "2"), "--workers is for a study, and none is asked for"),
        (("--storage", "journal:x.log"), "--storage is for a study"),
        (("--trials", "5", "--storage", "x.log"), "is no storage"),
        (("--trials", "5", "--storage", "journal:no/folder/x.log"), "no such folder for the journal"),
    ],
    ids=str,
)
def test_a_study_that_cannot_be_is_told(workspace, call, options, message):
    assert message in refused(call, workspace, ("blend", "--method", "mean", "--quiet", *options))


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_missing_labels_are_told(workspace, call, words):
    for name in ("strong", "middling", "weak"):
        change(workspace, name, labels=None)
    err = refused(call, workspace, words)
    assert "labels are missing: the out-of-fold predictions of" in err
    assert "--label COLUMN" in err


@pytest.mark.parametrize("words", SEARCHES, ids=" ".join)
def test_some_missing_labels_are_counted(workspace, call, words):
    for name in ("strong", "middling", "weak"):
        change(workspace, name, labels=lambda p: p.labels.scatter([3, 4], None))
    err = refused(call, workspace, words)
    assert "labels are missing: 2 of 600 rows of run" in err
    assert "train3, train4" in err


@pytest.mark.parametrize("words", TOGETHER, ids=" ".join)
def test_folds_that_differ_between_runs_are_counted(workspace, call, words):
    change(workspace, folds=lambda p: ((np.arange(len(p)) + 1) % 3).astype(np.int16))
    err = refused(call, workspace, words)
    assert "the fold of 600 of 600 rows differs between models" in err
    assert "train0: fold 0 and 1" in err


def test_a_study_of_another_problem_in_the_storage_is_told_before_the_search(workspace, call):
    words = ("blend", "--method", "mean", "--trials", "4", "--storage", "journal:study.log", "--no-submission")
    assert call(*words, "--metric", "log_loss", "--quiet")[0] == 0
    err = refused(call, workspace, (*words, "--metric", "brier"))
    assert "study 'blend' in this storage is of another problem" in err
    assert "log_loss, 3 models, 600 rows" in err
    assert "brier, 3 models, 600 rows" in err
    assert "mean" not in err
    assert call(*words, "--metric", "brier", "--study", "other", "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rescale", "weakk"), "did you mean 'weak'"),
        (("rescale", "weak", "--metric", "log_loss"), "class weights cannot improve log_loss"),
        (("rescale", "weak", "--metric", "makro_f1"), "did you mean"),
        (("rescale", "weak", "--metric", "binary_f1"), "metric 'binary_f1' is for 2 classes, these are 3"),
        (("rescale", "weak", "--bags", "-1"), "--bags -1 cannot be negative"),
        (("rescale", "weak", "--name", "a/b"), "'a/b' cannot be a name of a recipe"),
        (("vote", "--rule", "bst"), "did you mean 'best'"),
        (("vote", "--metric", "log_loss"), "a vote has decisions, log_loss needs probabilities"),
        (("vote", "--name", "a/b"), "'a/b' cannot be a name of a recipe"),
        (("blend", "--signed", "--metric", "log_loss"), "--signed is for metrics of decisions"),
        (("blend", "--per-class", "--metric", "log_loss"), "--per-class is for metrics of decisions"),
        (("blend", "--name", "a/b"), "'a/b' cannot be a name of a recipe"),
    ],
    ids=str,
)
def test_an_option_that_cannot_be_is_told(workspace, call, words, message):
    assert message in refused(call, workspace, words)


def test_options_for_class_weights_are_refused_for_thresholds(label_workspace, call):
    assert "is for class weights" in refused(call, label_workspace, ("rescale", "weak", "--bags", "5"))
    assert "thresholds cannot improve roc_auc" in refused(
        call, label_workspace, ("rescale", "weak", "--metric", "roc_auc")
    )
    for plain in (("--plain",), ()):  # two runs: too few for a search, but that is not what is wrong
        assert "a vote is for single_label tasks" in refused(call, label_workspace, ("vote", *plain))


def test_two_workers_share_the_trials_and_the_progress_is_told(workspace, call):
    words = ("blend", "--method", "mean", "--metric", "log_loss", "--trials", "24", "--workers", "2")
    code, out, err = call(*words, "--no-submission", "--json")
    assert code == 0
    assert "study: 24 of 24 trials, best fitted so far 0." in err or "study: 2" in err
    assert "mean: fitted 0." in err
    rows = {row["name"]: row for row in json.loads(out)["table"]}
    assert rows["study"]["fitted"] <= rows["mean"]["fitted"]
