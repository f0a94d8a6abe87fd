"""`cli vote`: searched and plain votes, every tie rule, the rounds that are shown, the recipe that replays."""

import json

import numpy as np
import polars as pl
import pytest

from jobs import vote
from jobs.vote import VoteOptions
from kaggle_tools import metrics
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.recipe import apply, load
from kaggle_tools.search.recipe.rounds import RULES
from kaggle_tools.submissions import find_version


@pytest.fixture
def many(make_workspace):
    return make_workspace({name: 1.4 + 0.1 * i for i, name in enumerate("abcdef")})


def replayed(workspace, path, part="oof.parquet"):
    recipe = load(path)
    return apply(recipe, {name: Predictions.load(workspace / "runs" / name / part) for name in recipe.models})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "searched"])
def test_every_rule_replays_to_its_fitted_score(many, rule, plain):
    result = vote.run(VoteOptions(rule=rule, plain=plain, start=many))
    assert metrics.score("macro_f1", replayed(many, result.recipe)) == pytest.approx(result.fitted, abs=1e-12)
    assert result.fitted == result.rounds[-1].score
    expected = replayed(many, result.recipe, "predictions/test.parquet").predicted.to_list()
    submission = pl.read_csv(find_version(many / "submissions", "latest").submission)
    assert submission["y"].to_list() == expected[::-1]


def test_a_plain_vote_of_three_is_the_majority_and_ties_follow_the_rule(workspace):
    names = ("weak", "strong", "middling")
    oof = {name: Predictions.load(workspace / "runs" / name / "oof.parquet") for name in names}
    votes = np.stack([one.predicted.to_numpy() for one in oof.values()])
    for rule in ("first", "best"):
        result = vote.run(VoteOptions(runs=names, rule=rule, plain=True, start=workspace, submission=False))
        decisive = "weak" if rule == "first" else max(names, key=lambda name: result.singles[name])
        decided = replayed(workspace, result.recipe).predicted.to_list()
        for row, column in enumerate(votes.T):
            values, counts = np.unique(column, return_counts=True)
            majority = values[counts.argmax()] if counts.max() > 1 else votes[names.index(decisive), row]
            assert decided[row] == majority


def test_a_round_tells_members_similarity_agreement_and_score(workspace):
    from sklearn.metrics import cohen_kappa_score

    result = vote.run(VoteOptions(plain=True, start=workspace, submission=False))
    (one,) = result.rounds
    labels = [Predictions.load(workspace / "runs" / n / "oof.parquet").predicted.to_list() for n in one.members]
    pairs = [(labels[a], labels[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert one.similarity == pytest.approx(np.mean([cohen_kappa_score(a, b) for a, b in pairs]))
    assert one.agreement == pytest.approx(np.mean([np.mean(np.array(a) == np.array(b)) for a, b in pairs]))
    assert one.weights == tuple(result.singles[name] for name in one.members)


def test_the_command_shows_each_round_and_why_it_stopped(many, call):
    code, out, _ = call("vote", "--rounds", "2")
    assert code == 0
    for words in ("round  outcome  members", "similarity", "vote:1", "stopped: ", "ties: winners", "95 % within ["):
        assert words in out, out
    code, out, _ = call("vote", "--plain", "--rule", "probability", "--no-submission", "--json")
    shown = json.loads(out)
    assert shown["rounds"][0]["members"] == list("abcdef")
    assert shown["stopped"] == "one plain majority was asked for"
    assert shown["submission"] is None
