"""Real competitions, as their files are."""

import json

import polars as pl
import pytest

from kaggle_tools.submissions import find_version, validate

pytestmark = pytest.mark.shared


def test_weibo_posts_in_gb18030_become_a_valid_submission(shared_data, tmp_path, cli):
    """One broken byte, ids with trailing blanks, empty texts, quoted newlines, a sample with CRLF line ends."""
    data = shared_data / "weibo_ncov"
    test, sample = data / "nCov_10k_test.gb18030.csv.gz", data / "submit_example_CRLF.csv.gz"
    cli("init", "--train", data / "labelled_3000.csv", "--test", test, "--sample", sample, "--quiet", check=0)
    (tmp_path / "linear.toml").write_text('kind = "linear"\n[folds]\nn = 3\n')
    trained = json.loads(cli("train", "linear.toml", "--json", check=0).stdout)
    scored = json.loads(cli("score", "--input", test, "--json", check=0).stdout)

    assert trained["score"] > 0.65  # macro-F1; a constant answer has .20
    totals = scored["totals"]
    assert (totals["rows"], totals["null_texts"], totals["replaced"]) == (10_000, 37, 2)
    version = find_version(tmp_path / "submissions", "latest")
    assert validate(version.submission, sample).ok
    submission = pl.read_csv(version.submission, infer_schema=False)
    expected = pl.read_csv(sample, infer_schema=False)
    assert submission["id"].equals(expected["id"])
    assert set(submission["y"]) == {"-1", "0", "1"}


def test_spooky_authors_take_the_predictions_of_real_models(shared_data, tmp_path, cli):
    data = shared_data / "spooky"
    cli(
        *("init", "--train", data / "train.csv.gz", "--test", data / "test.csv.gz"),
        *("--sample", data / "sample_submission.csv.gz", "--quiet"),
        check=0,
    )
    scores = {}
    for name, file in (("run6", "run6.parquet"), ("logreg", "logreg_tfidf.csv.gz")):
        done = cli("import", name, "--oof", data / "oof" / file, "--test", data / "test" / file, "--json", check=0)
        scores[name] = json.loads(done.stdout)["score"]
    assert scores == pytest.approx({"run6": 0.33495, "logreg": 0.49634}, abs=1e-5)


@pytest.fixture
def spooky(shared_data, tmp_path, cli):
    """The five real runs as a workspace."""
    data = shared_data / "spooky"
    cli(
        *("init", "--train", data / "train.csv.gz", "--test", data / "test.csv.gz"),
        *("--sample", data / "sample_submission.csv.gz", "--quiet"),
        check=0,
    )
    for file in sorted((data / "oof").iterdir()):
        name = file.name.split(".")[0]
        cli("import", name, "--oof", file, "--test", data / "test" / file.name, "--quiet", check=0)
    return tmp_path


def test_five_spooky_runs_are_rescaled_voted_on_and_replayed(spooky, shared_data, cli):
    rescaled = json.loads(cli("rescale", "run6", "--metric", "macro_f1", "--json", check=0).stdout)
    assert rescaled["score"] == pytest.approx(0.88392, abs=1e-5)
    assert rescaled["certificate"]["gap"] <= 2e-4
    assert rescaled["certificate"]["value"] >= rescaled["fitted"] - 1e-9
    assert abs(rescaled["optimism"]) < 0.003

    voted = json.loads(cli("vote", "--metric", "macro_f1", "--json", check=0).stdout)
    assert voted["honest"] > 0.903  # the best single run has .887
    assert voted["low"] > 0.01
    assert len(voted["honest_path"]) >= 3

    again = json.loads(cli("apply", voted["recipe"], "--name", "again", "--json", check=0).stdout)
    folder, sample = spooky / "submissions", shared_data / "spooky" / "sample_submission.csv.gz"
    first, second = (find_version(folder, one["submission"]).submission for one in (voted, again))
    assert first.read_bytes() == second.read_bytes()
    assert validate(second, sample).ok
    assert "majority of" in cli("explain", voted["recipe"], check=0).stdout
