"""`cli rescale`: class weights, a threshold, thresholds; the recipe that replays them; what it says of them."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import f1_score

from jobs import rescale
from jobs.rescale import RescaleOptions
from kaggle_tools import metrics
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.recipe import apply, load
from kaggle_tools.submissions import find_version


def replayed(workspace, result, part="oof.parquet"):
    return apply(load(result.recipe), {result.run: Predictions.load(workspace / "runs" / result.run / part)})


def test_class_weights_replay_to_the_fitted_score_and_are_certified(workspace):
    result = rescale.run(RescaleOptions("strong", start=workspace))
    oof = replayed(workspace, result)
    assert metrics.score("macro_f1", oof) == result.fitted
    assert f1_score(oof.labels, oof.predicted, average="macro") == pytest.approx(result.fitted)
    assert result.score < result.honest <= result.certificate.bound
    assert result.low > 0
    assert result.certificate.bound >= result.certificate.value >= result.score
    assert result.optimism == pytest.approx(result.fitted - result.honest)
    assert sum(result.after) == sum(result.before) == sum(result.rows) == 600
    assert np.prod([b - a > 0 for a, b in zip(result.before[1:], result.after[1:], strict=True)])  # rare ones gain


def test_the_submission_is_what_the_recipe_makes_of_the_test_predictions(workspace):
    result = rescale.run(RescaleOptions("strong", start=workspace))
    expected = replayed(workspace, result, "predictions/test.parquet")
    version = find_version(workspace / "submissions", "latest")
    submission = pl.read_csv(version.submission)
    assert submission["y"].to_list() == expected.predicted.to_list()[::-1]
    assert version.title == result.submission == "v0001-strong-rescaled"
    assert version.manifest.honest_score == result.honest
    assert version.manifest.recipe["file"] == f"blends/{result.recipe.name}"


def test_the_exact_fit_is_not_below_the_bagged_one_and_meets_its_certificate(workspace):
    bagged = rescale.run(RescaleOptions("weak", start=workspace, submission=False))
    exact = rescale.run(RescaleOptions("weak", start=workspace, submission=False, bags=0))
    assert exact.fitted >= bagged.fitted
    assert exact.fitted == pytest.approx(exact.certificate.value)
    assert exact.certificate.gap < 2e-3
    assert (exact.bags, bagged.bags) == (0, 20)


def test_two_classes_have_a_threshold_that_gives_the_same_decisions(binary_workspace):
    result = rescale.run(RescaleOptions("strong", start=binary_workspace, bags=0))
    oof = Predictions.load(binary_workspace / "runs" / "strong" / "oof.parquet")
    (threshold,) = result.thresholds
    decided = np.where(oof.probs[:, 1].astype(np.float64) > threshold, "yes", "no")
    assert f1_score(oof.labels, decided, pos_label="yes") == pytest.approx(result.fitted)
    every = [f1_score(oof.labels == "yes", oof.probs[:, 1] >= cut) for cut in np.unique(oof.probs[:, 1])]
    assert result.fitted == pytest.approx(max(every))


@pytest.mark.parametrize("metric", ["macro_f1", "micro_f1", "samples_f1", "exact_match", "hamming_loss"])
def test_several_labels_a_row_get_thresholds(label_workspace, metric):
    result = rescale.run(RescaleOptions("strong", metric=metric, start=label_workspace))
    assert metrics.score(metric, replayed(label_workspace, result)) == pytest.approx(result.fitted, abs=1e-12)
    better = metrics.find_metric(metric).better
    assert not better(result.score, result.fitted)
    assert len(result.thresholds) == 4
    assert result.weights is None
    assert result.optimality.startswith("exact" if metric not in ("samples_f1", "exact_match") else "each label's")
    submission = pl.read_csv(find_version(label_workspace / "submissions", "latest").submission)
    expected = replayed(label_workspace, result, "predictions/test.parquet").predicted
    assert submission["y"].fill_null("").to_list() == expected.to_list()[::-1]


def test_the_same_seed_gives_the_same_file(workspace):
    first, again, other = (
        rescale.run(RescaleOptions("weak", start=workspace, submission=False, seed=seed)).recipe for seed in (0, 0, 1)
    )
    assert first == again != other


def test_without_a_certificate_it_says_why(workspace):
    none = rescale.run(RescaleOptions("weak", start=workspace, submission=False, certify_s=0))
    kappa = rescale.run(RescaleOptions("weak", start=workspace, submission=False, metric="cohen_kappa"))
    assert none.certificate is kappa.certificate is None
    assert none.optimality == "no certificate was asked for"
    assert kappa.optimality == "no certificate: cohen_kappa has no such bound"


def test_the_command_shows_weights_scores_interval_and_certificate(workspace, call):
    code, out, _ = call("rescale", "strong")
    assert code == 0
    for words in (
        "class  weight",
        "fitted    0.",
        "honest    0.",
        "95 % within [",
        "certificate: the exact fit",
        "gap",
    ):
        assert words in out, out
    assert "submission  submissions/v0001-strong-rescaled/submission.csv" in out
    code, out, err = call("rescale", "strong", "--no-submission", "--json")
    assert json.loads(out)["certificate"]["gap"] >= 0
    assert (code, err) == (0, "")
    assert call("rescale", "strong", "--no-submission", "--quiet") == (0, "", "")


def test_the_command_shows_a_threshold_of_two_classes(binary_workspace, call):
    code, out, _ = call("rescale", "strong")
    assert code == 0
    assert "the same as a threshold on 'yes': 0." in out


@pytest.mark.parametrize("words", [("rescale", "one"), ("evaluate", "one"), ("explain", "latest")], ids=str)
def test_names_with_brackets_are_shown_as_they_are(make_workspace, call, words):
    classes = ("[red]", "b[/]", "[/x]")
    make_workspace({"one": 1.0}, classes=classes)
    call("rescale", "one", "--quiet")
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert all(name in out for name in classes)
