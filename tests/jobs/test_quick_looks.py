"""One run over some of the training rows (`cli train --limit`) does not stand in the way of the others."""

import dataclasses
import json

import numpy as np
import pytest

from kaggle_tools.predictions import Predictions

LEFT_OUT = "run 'weak' left out: it holds 200 of 600 rows"


@pytest.fixture
def with_quick_look(workspace):
    """Of three runs the weakest holds every third row only."""
    keep(workspace, "weak", np.arange(0, 600, 3))
    return workspace


def keep(workspace, name, rows):
    """Leave a run some of its out-of-fold rows."""
    path = workspace / "runs" / name / "oof.parquet"
    whole = Predictions.load(path)
    some = {
        "ids": whole.ids[rows],
        "probs": whole.probs[rows],
        "labels": whole.labels[rows],
        "folds": whole.folds[rows],
    }
    dataclasses.replace(whole, **some).save(path)


@pytest.mark.parametrize("words", ["blend --method mean", "vote --plain", "similarity"])
def test_a_quick_look_is_left_out_with_a_note(with_quick_look, call, words):
    code, out, err = call(*words.split())
    assert code == 0, err
    assert LEFT_OUT in out


@pytest.mark.parametrize("words", ["leaderboard noise", "leaderboard predict 1", "pick"])
def test_what_is_believed_of_the_test_rows_does_without_a_quick_look(with_quick_look, call, words):
    assert call("blend", "--method", "mean")[0] == 0
    code, out, err = call(*words.split(), "--json")
    assert code == 0, err
    assert any(note.startswith(LEFT_OUT) for note in json.loads(out)["notes"])


def test_the_judge_of_a_difference_is_made_of_the_other_runs(with_quick_look, call):
    strong, middling = (f"runs/{name}/predictions/test.parquet" for name in ("strong", "middling"))
    _, out, _ = call("diff", strong, middling, "--json")
    assert set(json.loads(out)["judge"]["runs"]) == {"strong", "middling"}


@pytest.mark.parametrize("words", ["blend --run strong --run weak", "vote --plain --run strong --run weak"])
def test_a_quick_look_that_is_named_beside_a_whole_run_is_refused(with_quick_look, call, words):
    code, out, err = call(*words.split())
    assert (code, out) == (2, "")
    assert "run 'weak' does not hold the rows of the others: it holds 200 of 600 rows" in err
    assert not (with_quick_look / "blends").exists()
    assert "holds 200 of 600 rows" in call("similarity", "strong", "weak")[2]


def test_quick_looks_at_the_same_rows_are_blended_where_there_is_nothing_else(workspace, call):
    for name in ("strong", "middling", "weak"):
        keep(workspace, name, np.arange(200))
    code, out, err = call("blend", "--method", "mean", "--json")
    assert code == 0, err
    assert (json.loads(out)["n_rows"], json.loads(out)["notes"]) == (200, [])
