"""`cli blend`: every option reaches the search, seen in the recipe that it writes."""

import json
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def workspace(make_workspace):
    return make_workspace({"strong": 1.0, "middling": 1.3, "weak": 2.5}, train=120, test=30)


@pytest.fixture
def blend(workspace, call):
    """Call `cli blend` with options; its recipe's content and what it printed as JSON."""

    def run(*words):
        code, out, err = call("blend", "--method", "weights", "--no-submission", "--quiet", "--json", *words)
        assert (code, err) == (0, "")
        shown = json.loads(out)
        return json.loads(Path(shown["recipe"]).read_text()), shown

    return run


def pool(recipe):
    return np.array(recipe["parameters"].get("weights") or recipe["parameters"]["exponents"])


def test_sparse_leaves_models_out(blend):
    recipe, _ = blend("--sparse", "1", "--metric", "log_loss")
    assert np.count_nonzero(pool(recipe)) == 1


def test_nothing_that_takes_all_models_is_tried_where_few_are_asked_for(workspace, call):
    code, out, _ = call("blend", "--sparse", "2", "--metric", "log_loss", "--no-submission", "--quiet", "--json")
    assert code == 0
    assert {row["name"] for row in json.loads(out)["table"]} == {"best single", "linear pool", "log pool"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sparse", "2", "--method", "mean"), "--sparse is for --method weights or auto, not mean"),
        (("--signed", "--method", "greedy"), "--signed is for --method weights or auto, not greedy"),
        (("--per-class", "--metric", "log_loss"), "--per-class is for metrics of decisions"),
        (("--sparse", "2", "--trials", "5"), "--sparse is not for a study"),
    ],
)
def test_options_that_nothing_would_heed_are_refused(workspace, call, words, message):
    code, out, err = call("blend", "--no-submission", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_options_of_pools_are_refused_for_several_labels_a_row(label_workspace, call):
    code, _, err = call("blend", "--no-submission", "--sparse", "1")
    assert code == 2
    assert "--sparse is for pools, which are for one label a row" in err


def test_per_class_gives_every_class_weights_of_its_own(blend):
    recipe, _ = blend("--per-class")
    assert pool(recipe).shape == (3, 3)


def test_signed_weights_are_accepted(blend):
    _, shown = blend("--signed")
    assert {"linear pool", "log pool"} <= {row["name"] for row in shown["table"]}


def test_metric_seed_and_time_limit_are_passed_on(blend):
    recipe, shown = blend("--metric", "accuracy", "--seed", "3", "--time-limit", "5")
    assert shown["metric"] == recipe["metric"] == "accuracy"
    other, _ = blend("--metric", "accuracy", "--seed", "4")
    assert other["parameters"] != recipe["parameters"]


def test_the_sampler_of_a_study_is_on_record(blend, workspace):
    words = ("--metric", "log_loss", "--trials", "3", "--sampler", "random", "--study", "mine")
    blend(*words, "--storage", f"journal:{workspace}/study.log")
    journal = (workspace / "study.log").read_text()
    assert '"mine"' in journal
    assert "RandomSampler" in journal


def test_the_recipe_says_what_its_gain_is_worth(blend):
    recipe, shown = blend("--metric", "log_loss")
    taken = next(row for row in shown["table"] if row["name"] == shown["chosen"])
    assert recipe["provenance"]["candidate"] == shown["chosen"]
    assert (recipe["provenance"]["gain"], recipe["provenance"]["low"]) == (taken["gain"], taken["low"])
    assert recipe["fitted"] == taken["fitted"]
    assert recipe["honest"] == pytest.approx(taken["honest"], abs=0.05)
