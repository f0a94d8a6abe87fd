"""`jobs.blend.run` in a workspace of runs that were made up with known strengths."""

import json
import re

import numpy as np
import polars as pl
import pytest

from jobs import blend, rescale, vote
from jobs.blend import BlendOptions
from jobs.rescale import RescaleOptions
from jobs.vote import VoteOptions
from kaggle_tools import metrics
from kaggle_tools.errors import UserError
from kaggle_tools.folds import FoldSettings, load_or_make
from kaggle_tools.predictions import Predictions
from kaggle_tools.search.honest import verdict_of
from kaggle_tools.search.recipe import apply, load
from kaggle_tools.submissions import find_version

CLASSES = ("ant", "bee", "cow")


@pytest.fixture
def workspace(tmp_path):
    """Three noisy runs on 900 training and 300 test rows; rare classes are underrated, so that class weights help."""
    draw = np.random.default_rng(0)
    shares = np.array([0.7, 0.2, 0.1])
    truth = {"train": draw.choice(3, 900, p=shares), "test": draw.choice(3, 300, p=shares)}
    for name, noise in (("strong", 1.0), ("middling", 1.3), ("weak", 2.5)):
        run = tmp_path / "runs" / name
        for part, codes in truth.items():
            logits = np.log(shares) * 1.5 + 1.6 * np.eye(3)[codes] + noise * draw.standard_normal((len(codes), 3))
            probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            predictions = Predictions(
                ids=pl.Series("id", [f"{part}{i}" for i in range(len(codes))]),
                classes=CLASSES,
                probs=probs.astype(np.float32),
                labels=pl.Series("label", [CLASSES[c] for c in codes]) if part == "train" else None,
                folds=(np.arange(len(codes)) % 3).astype(np.int16) if part == "train" else None,
            )
            predictions.save(run / "oof.parquet" if part == "train" else run / "predictions" / "test.parquet")
        (run / "run.json").write_text("{}")
    ids = [f"test{i}" for i in range(300)]
    pl.DataFrame({"id": ids[::-1], "y": ["ant"] * 300}).write_csv(tmp_path / "sample.csv")
    pl.DataFrame({"id": ids, "text": [""] * 300}).write_csv(tmp_path / "test.csv")
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "macro_f1"\ntext_column = "text"\nid_column = "id"\n'
        f'classes = {json.dumps(CLASSES)}\ntest = "test.csv"\nsample_submission = "sample.csv"\n'
        'submission_format = "labels"\nsubmission_columns = ["y"]\n'
    )
    return tmp_path


def test_class_weights_gain_and_the_submission_is_what_the_recipe_says(workspace):
    result = blend.run(BlendOptions(start=workspace))
    taken = next(row for row in result.table if row.name == result.chosen)
    assert taken.honest > max(result.singles.values())
    assert taken.low > 0
    recipe = load(result.recipe)
    members = {n: Predictions.load(workspace / "runs" / n / "predictions" / "test.parquet") for n in recipe.models}
    expected = apply(recipe, members)
    version = find_version(workspace / "submissions", "latest")
    low, high = version.manifest.honest_interval
    assert low < version.manifest.honest_score < high <= 1.0
    submission = pl.read_csv(version.submission)
    assert submission["id"].to_list() == expected.ids.to_list()[::-1]
    assert submission["y"].to_list() == expected.predicted.to_list()[::-1]


def test_the_gain_of_what_was_taken_counts_the_choice_like_its_honest_score(workspace, monkeypatch):
    plain = blend.run(BlendOptions(start=workspace, submission=False))
    taken = next(row for row in plain.table if row.name == plain.chosen)
    flattered = 0.01
    monkeypatch.setattr("kaggle_tools.search.choose.optimism_of_choice", lambda *_, **__: flattered)
    result = blend.run(BlendOptions(start=workspace))
    assert result.honest == pytest.approx(taken.honest - flattered)
    worth = load(result.recipe).provenance
    best_single = taken.honest - taken.gain
    assert worth["gain"] == pytest.approx(result.honest - best_single)
    # It may have flattered by nothing: the interval reaches from there to where it did.
    assert (worth["low"], worth["high"]) == pytest.approx((taken.low - flattered, taken.high))
    assert worth["verdict"] == result.verdict == verdict_of(worth["low"], worth["high"])
    assert find_version(workspace / "submissions", "latest").manifest.note == result.verdict


def test_the_best_single_model_gains_nothing_over_itself_however_it_was_chosen(workspace, monkeypatch):
    monkeypatch.setattr("kaggle_tools.search.choose.optimism_of_choice", lambda *_, **__: 0.01)
    result = blend.run(BlendOptions(start=workspace, submission=False, method="single", metric="log_loss"))
    assert result.chosen == "best single"
    assert [load(result.recipe).provenance[key] for key in ("gain", "low", "high")] == [0, 0, 0]


def test_the_fitted_score_in_the_recipe_is_the_score_of_its_replay(workspace):
    for method in ("weights", "mean", "geometric", "greedy", "stack", "vote", "single"):
        result = blend.run(BlendOptions(start=workspace, method=method, submission=False, name=method))
        recipe = load(result.recipe)
        members = {n: Predictions.load(workspace / "runs" / n / "oof.parquet") for n in recipe.models}
        assert metrics.score("macro_f1", apply(recipe, members)) == pytest.approx(recipe.fitted, abs=1e-12), method


def test_the_same_seed_gives_the_same_recipe(workspace):
    first = blend.run(BlendOptions(start=workspace, method="weights", submission=False))
    second = blend.run(BlendOptions(start=workspace, method="weights", submission=False))
    assert first.recipe == second.recipe
    assert load(first.recipe) == load(second.recipe)


def test_log_loss_takes_a_pool_and_never_a_worse_honest_score_than_it_shows(workspace):
    result = blend.run(BlendOptions(start=workspace, metric="log_loss", submission=False))
    assert result.table[0].honest == min(row.honest for row in result.table)
    assert all(row.fitted <= row.honest + 1e-9 for row in result.table if row.name in ("linear pool", "log pool"))


def test_one_run_alone_can_still_be_rescaled(workspace):
    result = blend.run(BlendOptions(start=workspace, runs=("strong",), submission=False))
    assert {row.name for row in result.table} == {"best single", "best single + class weights"}
    assert result.chosen == "best single + class weights"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": ("stong",)}, r"no complete run 'stong'[\s\S]*did you mean 'strong'"),
        ({"method": "votes"}, r"unknown method 'votes'[\s\S]*did you mean 'vote'"),
        ({"metric": "makro_f1"}, r"unknown metric 'makro_f1'"),
        ({"method": "vote", "metric": "log_loss"}, "does not suit log_loss"),
        ({"method": "rank", "metric": "log_loss"}, r"'rank' does not suit log_loss[\s\S]*roc_auc or average_precision"),
        ({"method": "rank", "metric": "macro_f1"}, r"'rank' does not suit macro_f1[\s\S]*the order of the rows"),
    ],
)
def test_a_mistake_is_one_error_and_nothing_is_written(workspace, options, message):
    with pytest.raises(UserError) as caught:
        blend.run(BlendOptions(start=workspace, **options))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert not (workspace / "blends").exists()
    assert not (workspace / "submissions").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("blend", "--method", "mean", "--metric", "accuracy"),
        ("rescale", "weak", "--metric", "accuracy"),
        ("vote", "--plain", "--metric", "accuracy"),
    ],
    ids=lambda words: words[0],
)
def test_a_version_made_for_another_metric_than_the_competitions_says_so(workspace, call, words):
    note = "fitted to accuracy, not to the competition's macro_f1"
    code, out, _ = call(*words)
    assert (code, note in out) == (0, True)
    manifest = json.loads(next(workspace.glob("submissions/v0001-*/manifest.json")).read_text())
    assert note in manifest["note"]
    assert json.loads(call("apply", "latest", "--json")[1])["notes"] == [note]
    for quiet in ((*words, "--no-submission"), (*words[:-2], "--metric", "f1_macro")):
        assert json.loads(call(*quiet, "--json")[1])["notes"] == []


def test_runs_of_fewer_rows_are_refused_with_counts_where_they_are_named(workspace):
    path = workspace / "runs" / "weak" / "oof.parquet"
    whole = Predictions.load(path)
    Predictions(whole.ids[1:], CLASSES, whole.probs[1:], whole.labels[1:]).save(path)
    with pytest.raises(UserError, match=r"run 'weak' .* holds 899 of 900 rows"):
        blend.run(BlendOptions(start=workspace, runs=("weak", "strong")))


def test_a_run_without_test_predictions_is_named(workspace):
    (workspace / "runs" / "weak" / "predictions" / "test.parquet").unlink()
    with pytest.raises(UserError, match="run 'weak' has no predictions for the test file"):
        blend.run(BlendOptions(start=workspace, runs=("weak",)))
    assert set(blend.run(BlendOptions(start=workspace)).singles) == {"strong", "middling"}


def test_a_study_is_one_more_candidate_and_never_fits_worse_than_its_starts(workspace):
    result = blend.run(BlendOptions(start=workspace, method="mean", trials=20, submission=False))
    rows = {row.name: row for row in result.table}
    assert rows["study"].fitted >= max(row.fitted for row in result.table if row.name != "study")
    assert "mean + class weights" in rows


@pytest.mark.parametrize(
    "gain",
    [
        lambda where: blend.run(BlendOptions(start=where, method="geometric", submission=False)),
        lambda where: rescale.run(RescaleOptions("weak", start=where, submission=False, certify_s=0)),
        lambda where: vote.run(VoteOptions(start=where, submission=False)),
        lambda where: vote.run(VoteOptions(start=where, submission=False, plain=True)),
    ],
)
def test_rows_of_one_group_of_the_folds_count_as_one_in_intervals(workspace, gain):
    """Nine copies of each of a hundred rows."""
    groups = np.arange(900) // 9
    folds = (groups % 3).astype(np.int16)
    for path in workspace.glob("runs/*/oof.parquet"):
        whole = Predictions.load(path)
        Predictions(whole.ids, CLASSES, whole.probs[groups], whole.labels.gather(groups), folds).save(path)
    toml = workspace / "competition.toml"
    toml.write_text(toml.read_text() + 'train = "train.csv"\nlabel_column = "label"\n')
    train = pl.DataFrame({"id": whole.ids, "text": "", "label": whole.labels.gather(groups), "author": groups})
    train.write_csv(workspace / "train.csv")

    def width():
        result = gain(workspace)
        row = result.table[0] if hasattr(result, "table") else result
        return row.high - row.low, result.notes

    apart, notes = width()
    assert notes == ()
    settings = FoldSettings(3, "group", group_column="author")
    load_or_make(workspace / "runs" / "folds.parquet", settings, whole.ids, whole.labels, pl.Series(groups))
    together, notes = width()
    assert notes == ("intervals of gains rest on 100 groups of column 'author', whose rows are drawn together",)
    assert 2 * apart < together < 4.5 * apart
    train.drop("author").write_csv(workspace / "train.csv")
    unknown, notes = width()
    assert unknown == apart
    assert (
        "take rows for independent, although folds keep groups of column 'author' together: train.csv has" in notes[0]
    )
