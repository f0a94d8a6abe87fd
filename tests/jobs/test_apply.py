"""`cli apply` and `cli explain`: the same bytes as the search wrote, from whatever names the predictions come by."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs import apply, blend, explain, rescale, vote
from jobs.apply import ApplyOptions
from jobs.explain import ExplainOptions
from kaggle_tools.predictions import Predictions
from kaggle_tools.search import joint, joint_file
from kaggle_tools.submissions import find_version
from tests.jobs.conftest import RUNS, make_runs

SEARCHES = {
    **{
        method: lambda start, method=method: blend.run(blend.BlendOptions(start=start, method=method, name=method))
        for method in ("weights", "geometric", "stack", "greedy", "vote")
    },
    "rescale": lambda start: rescale.run(rescale.RescaleOptions("strong", start=start)),
    "plain vote": lambda start: vote.run(vote.VoteOptions(plain=True, start=start)),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A workspace with three recipes, to be copied."""
    folder = make_runs(tmp_path_factory.mktemp("searched"), RUNS)
    SEARCHES["weights"](folder)
    blend.run(blend.BlendOptions(start=folder, method="mean", name="w", submission=False))
    blend.run(blend.BlendOptions(start=folder, method="weights", name="latest-one", submission=False))
    return folder


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_replay_writes_the_bytes_that_the_search_wrote(workspace, search):
    found = search(workspace)
    written = find_version(workspace / "submissions", found.submission).submission.read_bytes()
    again = apply.run(ApplyOptions(str(found.recipe), start=workspace))
    assert find_version(workspace / "submissions", again.submission).submission.read_bytes() == written
    assert again.submission != found.submission


def test_a_minus_sends_the_table_to_stdout_and_all_else_to_stderr(workspace, call):
    SEARCHES["weights"](workspace)
    assert call("apply", "latest", "--output", "blended.csv", "--quiet") == (0, "", "")
    code, out, err = call("apply", "latest", "--output", "-", "--json")
    assert (code, out) == (0, (workspace / "blended.csv").read_text())
    shown = json.loads(err)
    assert (shown["output"], shown["submission"], shown["n_rows"]) == (None, None, 200)
    assert call("apply", "latest", "-o", "-", "--quiet") == (0, out, "")
    assert not (workspace / "-").exists()
    assert len(list((workspace / "submissions").glob("v*"))) == 1  # that of the search


def test_predictions_that_moved_and_were_shuffled_give_the_same_submission(workspace, tmp_path_factory):
    found = SEARCHES["weights"](workspace)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    given = []
    for i, name in enumerate(("strong", "middling", "weak")):
        test = Predictions.load(workspace / "runs" / name / "predictions" / "test.parquet")
        if i:
            test = test.align(test.ids.sample(fraction=1.0, shuffle=True, seed=i))
        test.save(elsewhere / f"{name}.parquet")
        given.append(str(elsewhere / f"{name}.parquet"))
    shutil.rmtree(workspace / "runs")
    apply.run(ApplyOptions("latest", tuple(given[::-1]), start=workspace, name="moved"))
    first, second = (find_version(workspace / "submissions", n).submission.read_bytes() for n in ("1", "2"))
    assert first == second
    assert found.submission == "v0001-weights"


def test_files_of_others_are_read_as_import_reads_them(workspace):
    SEARCHES["weights"](workspace)
    for name in ("strong", "weak"):
        path = workspace / "runs" / name / "predictions" / "test.parquet"
        Predictions.load(path).frame().write_csv(workspace / f"{name}.csv")
    given = (f"strong={workspace}/strong.csv", str(workspace / "weak.csv"), "middling")
    ours, theirs = workspace / "ours.parquet", workspace / "theirs.parquet"
    apply.run(ApplyOptions("latest", output=ours, start=workspace))
    result = apply.run(ApplyOptions("latest", given, output=theirs, start=workspace))
    assert result.submission is None
    np.testing.assert_allclose(Predictions.load(theirs).probs, Predictions.load(ours).probs, atol=1e-6)


def test_parquet_and_csv_hold_the_same_and_repeat_their_bytes(workspace):
    SEARCHES["weights"](workspace)
    files = [workspace / name for name in ("a.parquet", "b.parquet", "a.csv", "b.csv")]
    for path in files:
        apply.run(ApplyOptions("latest", output=path, start=workspace))
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[2].read_bytes() == files[3].read_bytes()
    table = pl.read_csv(files[2], schema_overrides={f"prob_{name}": pl.Float32 for name in ("ant", "bee", "cow")})
    assert table.equals(Predictions.load(files[0]).frame())


def test_a_pattern_finds_the_runs_by_what_the_files_say(workspace):
    found = SEARCHES["weights"](workspace)
    pattern = str(workspace / "runs" / "*" / "oof.parquet")
    result = apply.run(ApplyOptions(found.recipe.stem, (pattern,), workspace / "oof.parquet", start=workspace))
    blended = Predictions.load(workspace / "oof.parquet")
    assert set(result.inputs) == {"strong", "middling", "weak"}
    assert blended.labels is not None
    from kaggle_tools import metrics

    taken = next(row for row in found.table if row.name == found.chosen)
    assert metrics.score("macro_f1", blended) == pytest.approx(taken.fitted, abs=1e-12)


def test_an_explanation_has_the_numbers_the_worth_and_the_changes(workspace):
    found = SEARCHES["rescale"](workspace)
    told = explain.run(ExplainOptions("strong", start=workspace))
    for words in ("class weights: ant", "cross-validated", "class weights change", "95 % within [", found.verdict):
        assert words in told.words, told.words
    (workspace / "runs" / "strong" / "predictions" / "test.parquet").write_bytes(b"PAR1")
    half = explain.run(ExplainOptions("strong", start=workspace))
    assert set(half.words.split("\n")) < set(told.words.split("\n"))
    assert "class weights change" not in half.words
    assert (half.inputs, "is not known: cannot be read as Parquet" in half.notes[0]) == ({}, True)
    shutil.rmtree(workspace / "runs")
    alone = explain.run(ExplainOptions("strong", start=workspace))
    assert "class weights: ant" in alone.words
    assert alone.inputs == {}


def test_the_commands_show_what_they_did(workspace, call):
    SEARCHES["weights"](workspace)
    code, out, _ = call("apply", "latest", "--output", "x.csv", "--submission", "--name", "two")
    assert code == 0
    assert "output      x.csv" in out
    assert "submission  submissions/v0002-two/submission.csv" in out
    code, out, _ = call("explain", "latest", "--json")
    assert code == 0
    assert json.loads(out)["models"] == ["middling", "strong", "weak"]
    code, out, _ = call("explain", "latest")
    assert "honest gain over the best single model" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no recipe 'nothing'"),
        (["w"], "2 recipes begin with 'w'"),
        (["latest", "--to", "strng"], "did you mean 'strong'"),
        (["latest", "--to", "strng=x.parquet"], "did you mean 'strong'"),
        (["latest", "--to", "strong"], "2 of the recipe's 3 models have no predictions: middling, weak"),
        (["latest", "--to", "strong", "--to", "strong"], "model 'strong' has two files"),
        (["latest", "--to", "no/*.parquet"], "no file matches"),
        (["latest", "--to", "which.parquet"], "which model's predictions are these?"),
        (["latest", "--output", "x.txt"], "cannot write '.txt' files"),
        (["latest", "--output", "there.csv"], "the output exists"),
        (["latest", "--no-submission"], "nothing to write"),
        (["latest", "--name", "a b"], "cannot be a name of a recipe"),
        (["latest", "--to", "strong=short.parquet", "--to", "weak", "--to", "middling"], "1 missing, 0 unexpected"),
        (["latest", "--to", "strong=other.parquet", "--to", "weak", "--to", "middling"], "different classes"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(searched, tmp_path, call, words, message):
    workspace = shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    test = Predictions.load(workspace / "runs" / "strong" / "predictions" / "test.parquet")
    Predictions(test.ids, test.classes, test.probs).save(workspace / "which.parquet")
    Predictions(test.ids[1:], test.classes, test.probs[1:]).save(workspace / "short.parquet")
    Predictions(test.ids, ("ant", "bee", "elk"), test.probs).save(workspace / "other.parquet")
    (workspace / "there.csv").write_text("mine")
    before = {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}
    code, out, err = call("apply", *words)
    assert (code, out) == (2, "")
    assert message in err, err
    assert before == {path: path.read_bytes() for path in workspace.rglob("*") if path.is_file()}


def add_decoder(workspace):
    tables = (((0.0, 0.0), (0.0, 0.0)),)
    path = workspace / "blends" / "one-joint.json"
    path.parent.mkdir(exist_ok=True)
    joint_file.save(joint.JointDecoder((2, 2), tables, 1.0, "exact_match", 0.5, 0.5, 0.5, 0.0), path)
    return path


@pytest.mark.parametrize("command", ["apply", "explain"])
def test_the_latest_recipe_is_one_that_can_be_applied(workspace, call, command):
    found = SEARCHES["rescale"](workspace)
    decoder = add_decoder(workspace)
    os.utime(decoder, ns=(2**62, 2**62))
    code, out, err = call(command, "latest", "--json")
    assert code == 0, err
    assert Path(json.loads(out)["recipe"]).name == found.recipe.name
    code, out, _ = call(command, "latest")
    assert "one-joint.json is newer, and a decoder: `cli decode RUN --decoder" in out
    code, out, _ = call(command, found.recipe.stem)
    assert "decoder" not in out


@pytest.mark.parametrize("command", ["apply", "explain"])
def test_where_there_are_decoders_alone_the_command_for_them_is_named(workspace, call, command):
    decoder = add_decoder(workspace)
    code, out, err = call(command, "latest")
    assert (code, out) == (2, "")
    assert f"cli decode RUN --decoder {decoder}" in err


@pytest.mark.parametrize("command", ["apply", "explain"])
def test_what_is_no_recipe_is_told_for_what_it_is(workspace, call, command):
    add_decoder(workspace)
    code, out, err = call(command, "one-joint")
    assert (code, out) == (2, "")
    assert "this is a decoder of `cli decode`, no recipe" in err
    assert f"cli decode RUN --decoder {workspace / 'blends' / 'one-joint.json'}" in err
    code, out, err = call(command, "sample.csv")
    assert (code, out) == (2, "")
    assert "sample.csv is no recipe" in err
    assert "damaged" not in err
