"""What a task reads and writes: found by content, whatever a command line holds."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.batch.fingerprints import Digests, inputs_of, matching, named_in
from jobs.batch.matrix import Task


def task(*words, is_cli=False, **rest):
    fields = {"inputs": (), "outputs": (), "environment": {}, "values": {}, **rest}
    return Task("t", "t", tuple(words), is_cli, **fields)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_command_line_is_too_odd(tmp_path, words, is_cli):
    named_in(task("echo", *words, is_cli=is_cli), tmp_path)


def test_what_is_no_path_names_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    odd = ["x" * 5000, "2**3", "/dev/zero", "/dev/stdin", "pipe", "/", "/usr", ".", "..", "--out=", "a\0b", "*"]
    assert named_in(task("python", *odd), tmp_path) == []
    assert named_in(task("score", "*.txt", "--input=a.txt", is_cli=True), tmp_path) == ["a.txt", "a.txt"]
    assert named_in(task("./a.txt"), tmp_path) == ["a.txt"]


def test_a_run_is_its_run_file_and_its_predictions(tmp_path):
    for name in ("one", "two"):
        folder = tmp_path / "runs" / name
        (folder / "predictions").mkdir(parents=True)
        for file in ("run.json", "oof.parquet", "predictions/test.parquet", "fold0.bin"):
            (folder / file).write_text(name)
    of_one = {"runs/one/run.json", "runs/one/oof.parquet", "runs/one/predictions/test.parquet"}
    of_two = {path.replace("one", "two") for path in of_one}
    assert set(inputs_of(task("rescale", "one", is_cli=True), tmp_path)) == of_one
    assert set(inputs_of(task("blend", is_cli=True), tmp_path)) == of_one | of_two
    assert set(inputs_of(task("score", "--model", "runs/two", is_cli=True), tmp_path)) == {"runs/two/run.json"}
    assert set(inputs_of(task("score", is_cli=True), tmp_path)) == {"runs/one/run.json", "runs/two/run.json"}


def test_what_a_command_reads_unnamed_is_known(tmp_path):
    files = [
        "runs/one/run.json",
        "blends/a.json",
        "submissions/v0001-a/submission.csv",
        "submissions/v0001-a/manifest.json",
    ]
    for file in (*files, "train.csv", "test.csv", "sample.csv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "accuracy"\ntext_column = "text"\nclasses = ["a", "b"]\n'
        'train = "train.csv"\ntest = "test.csv"\nsample_submission = "sample.csv"\n'
    )
    run, recipe, submission, manifest = files
    expected = {
        ("apply", "latest"): {run, recipe, "sample.csv"},
        ("score", "--input", "test.csv"): {run, "test.csv", "sample.csv"},
        **{(command,): {run, "sample.csv"} for command in ("blend", "vote", "rescale")},
        ("decode",): {"sample.csv"},
        ("similarity", "1", "2"): {run, submission},
        ("diff", "latest~1", "latest"): {run, submission, "test.csv"},
        ("leaderboard", "predict", "latest"): {run, submission, manifest},
        ("pick",): {run, submission, manifest},
        ("validate", "latest"): {submission, "sample.csv"},
        ("import", "x", "--oof", "oof.csv"): {"train.csv", "test.csv"},
        ("train", "r.toml"): {"train.csv"},
        ("submissions", "adopt", "x.csv"): set(),
    }
    for words, reads in expected.items():
        assert set(inputs_of(task(*words, is_cli=True), tmp_path)) == reads | {"competition.toml"}, words


def test_what_a_recipe_names_is_read(tmp_path):
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "accuracy"\ntext_column = "text"\nclasses = ["a", "b"]\n'
        'train = "train.csv"\ntest = "test.csv"\n'
    )
    always = {"competition.toml", "train.csv", "r.toml"}
    two = ("runs/two/run.json", "runs/two/oof.parquet", "runs/two/predictions/test.parquet")  # a member of five
    named = {
        '[encoder]\npath = "pretrained/x"': {"pretrained/x"},
        '[encoder]\npath = "some/hub-id"': set(),
        '[encoder]\nvocabulary = "used"': {"test.csv"},
        "[encoder.scratch]\nnew_words = 9": {"test.csv"},
        "[encoder.scratch]\nnew_words = 0": set(),
        '[augmentation]\nsynonyms = "syn.txt"\ntable = "words.csv"': {"syn.txt", "words.csv"},
        '[words]\nname = "glove"\nfile = "list.txt"': {"list.txt", "test.csv"},
        '[masking]\nwords = "list.txt"': {"list.txt"},
        '[pseudo_labels]\nrun = "one"\ntable = "more.csv"': {"runs/one/run.json", "runs/one/oof.parquet", "more.csv"},
        '[pseudo_labels]\nrun = "mix"': {"blends/mix-12.json", "test.csv"},
        '[distill]\nteacher = "more.csv"': {"more.csv"},
        '[distill]\nteacher = "one"\ntest = true': {"runs/one/run.json", "runs/one/oof.parquet", "test.csv"},
        '[distill]\nteacher = "five"': {"blends/five-1.json", *two},
        '[distill]\nteacher = "blends/five-1.json"': {"blends/five-1.json", *two},
        '[pseudo_labels]\nrun = "latest"': {"blends/five-1.json", "blends/mix-12.json", "test.csv", *two},
        'name = "syn.txt"\n[encoder]\npath = 5\n[words]\nfile = []': set(),
        "no toml = ": set(),
    }
    files = {"train.csv", "test.csv", "pretrained/x/model.safetensors", "runs/one/run.json", "blends/mix-12.json"}
    for file in (*files, "runs/one/oof.parquet", "syn.txt", "words.csv", "list.txt", "more.csv"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    for file in two:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x")
    (tmp_path / "blends" / "five-1.json").write_text('{"models": ["two", "gone", 5]}')
    for text, reads in named.items():
        (tmp_path / "r.toml").write_text(text)
        assert set(inputs_of(task("train", "r.toml", is_cli=True), tmp_path)) == reads | always, text
    assert set(inputs_of(task("python", "r.toml"), tmp_path)) == {"r.toml"}


def test_a_folder_is_all_its_files_and_a_touched_file_is_read_again(tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "x").write_text("1")
    digests = Digests()
    first = digests.of(tmp_path / "data")
    os.utime(tmp_path / "data" / "deep" / "x", (1, 1))
    assert digests.of(tmp_path / "data") == first == Digests(digests.remembered).of(tmp_path / "data")
    (tmp_path / "data" / "deep" / "x").write_text("2")
    second = digests.of(tmp_path / "data")
    assert second != first
    (tmp_path / "data" / ".hidden").write_text("2")
    assert digests.of(tmp_path / "data") == second
    (tmp_path / "data" / "deep" / "x").rename(tmp_path / "data" / "deep" / "y")
    assert digests.of(tmp_path / "data") != second
    assert digests.of(tmp_path / "nothing") is None


@pytest.mark.parametrize("pattern", ["sub/*.csv", "sub/a.csv", "s?b/a.csv"])
def test_declared_files_match_by_name_and_glob_absolute_or_not(tmp_path, pattern):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.csv").write_text("")
    assert matching((pattern, str(tmp_path / pattern)), tmp_path) == ["sub/a.csv", "sub/a.csv"]
