"""Similarity, leaderboard, record, noise, predict and pick in a workspace of runs and versions of known strengths."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from jobs import foresee, leaderboard, noise, pick, similarity
from jobs.foresee import PredictOptions
from jobs.leaderboard import LeaderboardOptions, RecordOptions, record
from jobs.noise import NoiseOptions
from jobs.pick import PickOptions
from jobs.show.board import render_noise, render_pick, render_predicted
from jobs.show.leaderboard import render_leaderboard, render_recorded
from jobs.show.output import to_json
from jobs.show.similarity import render_similarity
from jobs.similarity import SimilarityOptions
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions import Manifest, ManifestDraft, record_scores, write_version

CLASSES = ("ant", "bee", "cow")
N_TRAIN, N_TEST = 1200, 800


def shown(result, render):
    console = Console(width=200, file=io.StringIO())
    render(result, console)
    json.dumps(to_json(result), allow_nan=False)
    return console.file.getvalue()


def guess(draw, codes, noise):
    logits = 2.0 * np.eye(3)[codes] + noise * draw.standard_normal((len(codes), 3))
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def cli(cli_here):
    """Nothing here needs a process of its own."""
    return cli_here


@pytest.fixture
def truth():
    draw = np.random.default_rng(0)
    return {"train": draw.integers(0, 3, N_TRAIN), "test": draw.integers(0, 3, N_TEST)}


@pytest.fixture
def workspace(tmp_path, truth):
    """Two runs, and six versions that get worse and worse; log loss, public scores of the first 240 rows."""
    draw = np.random.default_rng(1)
    for name, spread in (("strong", 1.0), ("weak", 1.6)):
        run = tmp_path / "runs" / name
        for part, codes in truth.items():
            train = part == "train"
            Predictions(
                ids=pl.Series("id", [f"{part}{i}" for i in range(len(codes))]),
                classes=CLASSES,
                probs=guess(draw, codes, spread),
                labels=pl.Series("label", [CLASSES[c] for c in codes]) if train else None,
                folds=(np.arange(len(codes)) % 3).astype(np.int16) if train else None,
            ).save(run / "oof.parquet" if train else run / "predictions" / "test.parquet")
        (run / "run.json").write_text("{}")
    pl.DataFrame({"id": [f"test{i}" for i in range(N_TEST)], "text": [""] * N_TEST}).write_csv(tmp_path / "test.csv")
    (tmp_path / "competition.toml").write_text(
        'name = "c"\ntask = "single_label"\nmetric = "log_loss"\ntext_column = "text"\nid_column = "id"\n'
        f'classes = {json.dumps(CLASSES)}\ntest = "test.csv"\nsubmission_format = "probabilities"\n'
    )
    for number, spread in enumerate((1.0, 1.2, 1.4, 1.6, 1.8, 2.0), start=1):
        probs = guess(draw, truth["test"], spread)
        score = evaluate("log_loss", truth["test"][:240], probs[:240])
        version = add_version(tmp_path, f"m{number}", probs, oof_score=score - 0.01)
        record(RecordOptions(version.title, public=score, start=tmp_path))
    return tmp_path


def add_version(root, name, probs, **known):
    order = np.random.default_rng(len(name)).permutation(len(probs))
    columns = {c: probs[order, k] for k, c in enumerate(CLASSES)}
    table = pl.DataFrame({"id": [f"test{i}" for i in order], **columns})
    return write_version(root / "submissions", name, table, ManifestDraft(**{"metric": "log_loss", **known}))


def test_recorded_scores_are_in_the_manifest_and_others_stay(workspace):
    found = record(RecordOptions("m1", private=0.7, rank=46, start=workspace))
    manifest = Manifest.load(workspace / "submissions" / found.title)
    assert (manifest.private_score, manifest.rank) == (0.7, 46)
    assert manifest.public_score == found.public_score is not None
    assert "rank 46" in shown(found, render_recorded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RecordOptions("m1"), "nothing to record"),
        (RecordOptions("m7", public=0.5), "no submission version 'm7'"),
        (RecordOptions("m1", public=float("nan")), "cannot be nan"),
        (RecordOptions("m1", rank=0), "rank cannot be 0"),
        (RecordOptions("m1", public=-5.0), r"public score cannot be -5[\s\S]*log_loss is 0 or more"),
        (RecordOptions("m1", public=0.5, clear=("public",)), "--public and --clear public"),
        (RecordOptions("m1", clear=("pubic",)), r"--clear cannot be 'pubic'[\s\S]*did you mean 'public'"),
    ],
)
def test_what_cannot_be_recorded(workspace, options, message):
    before = (workspace / "submissions" / "v0001-m1" / "manifest.json").read_bytes()
    with pytest.raises(UserError) as caught:
        record(replace(options, start=workspace))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert (workspace / "submissions" / "v0001-m1" / "manifest.json").read_bytes() == before


def test_scores_that_the_metric_cannot_have_are_told_and_not_used(workspace):
    """As a board in percent gives them."""
    without = foresee.run(PredictOptions("m1", start=workspace))
    add_version(workspace, "odd", guess(np.random.default_rng(3), np.zeros(N_TEST, int), 2.0))
    record_scores(workspace / "submissions" / "v0007-odd", public=-71.2)
    found = foresee.run(PredictOptions("m1", start=workspace))
    told = "v0007-odd: its public score -71.2 is no log_loss, and is not used"
    assert found.notes == (told,)
    assert found.public == without.public
    assert told in pick.run(PickOptions(start=workspace)).notes
    assert noise.run(NoiseOptions(("7",), start=workspace)).bands[0].public_score is None


def test_scores_of_a_file_that_changed_since_are_told_and_not_used(workspace):
    for number in (2, 6):
        record_scores(workspace / "submissions" / f"v000{number}-m{number}", clear=("public",))
    without = foresee.run(PredictOptions("m1", start=workspace)).public
    record_scores(workspace / "submissions" / "v0006-m6", public=0.3)
    path = workspace / "submissions" / "v0006-m6" / "submission.csv"
    path.write_text((workspace / "submissions" / "v0002-m2" / "submission.csv").read_text())
    found = foresee.run(PredictOptions("m1", start=workspace))
    assert found.public == without
    assert found.notes == ("v0006-m6: submission.csv changed since, so its scores are not used",)
    assert "v0006-m6" not in [one.name for one in pick.run(PickOptions(start=workspace)).pick.chances]


def test_a_score_in_percent_is_refused_with_the_share_that_it_may_be(workspace):
    text = (workspace / "competition.toml").read_text()
    (workspace / "competition.toml").write_text(text.replace('"log_loss"', '"macro_f1"'))
    with pytest.raises(UserError) as caught:
        record(RecordOptions("m1", public=73.8, start=workspace))
    assert "macro_f1 lies in [0, 1]" in str(caught.value)
    assert "73.8 % is --public 0.738" in str(caught.value)


def test_recorded_scores_can_be_cleared(workspace, cli):
    record(RecordOptions("m1", private=0.7, rank=46, start=workspace))
    out = cli("record", "m1", "--clear", "public", "--clear", "rank", cwd=workspace, check=0).stdout
    assert out.strip() == "v0001-m1: private 0.7"
    manifest = Manifest.load(workspace / "submissions" / "v0001-m1")
    assert (manifest.public_score, manifest.private_score, manifest.rank) == (None, 0.7, None)
    found = record(RecordOptions("m1", clear=("private",), start=workspace))
    assert "no score, no rank" in shown(found, render_recorded)


def test_an_expected_score_lies_in_the_metrics_range(workspace):
    for number, public in enumerate((0.02, 2.9, 0.01, 3.1, 0.02), start=1):
        record(RecordOptions(str(number), public=public, start=workspace))
    found = foresee.run(PredictOptions("6", start=workspace))
    assert (found.public.low, found.private.low) == (0, 0)
    assert found.public.high > found.public.score > 0


def test_versions_are_ranked_in_the_metrics_direction(workspace):
    found = leaderboard.run(LeaderboardOptions(start=workspace))
    public = [row.public_score for row in found.standings]
    assert public == sorted(public)  # of log loss less is better
    assert found.standings[0].similarity == 1
    assert all(0 < row.similarity < 1 for row in found.standings[1:])
    assert found.tracking.rank_correlation == pytest.approx(1)
    assert found.tracking.offset == pytest.approx(0.01)
    assert "v0001-m1" in shown(found, render_leaderboard)


@pytest.mark.parametrize("by", ["honest", "oof"])
def test_scores_of_another_metric_rank_nothing(workspace, truth, by):
    probs = guess(np.random.default_rng(3), truth["test"], 1.1)
    add_version(workspace, "voted", probs, metric="macro_f1", oof_score=0.01, honest_score=0.01)
    add_version(workspace, "alias", probs, metric="logloss", oof_score=0.02, honest_score=0.02)
    found = leaderboard.run(LeaderboardOptions(by, start=workspace))
    first, *_, last = found.standings
    assert (first.title, last.title, last.place) == ("v0008-alias", "v0007-voted", None)
    assert (last.metric, last.honest_score) == ("macro_f1", 0.01)
    assert found.tracking.n == 6
    assert "fitted to macro_f1" in shown(found, render_leaderboard)


def test_a_version_fitted_to_another_metric_is_not_picked_for_its_score(workspace, truth):
    probs = guess(np.random.default_rng(3), truth["test"], 2.5)
    add_version(workspace, "voted", probs, metric="macro_f1", oof_score=0.01)
    found = pick.run(PickOptions(start=workspace))
    assert found.pick.first == "v0001-m1"
    assert "v0007-voted left out: it has no honest log_loss" in found.notes


def test_damaged_and_unfinished_versions_do_not_hide_the_rest(workspace):
    (workspace / "submissions" / "v0002-m2" / "manifest.json").write_text("{")
    (workspace / "submissions" / ".v0009.tmp").mkdir()
    (workspace / "submissions" / "v0003-m3" / "submission.csv").write_text("what,is this\n1,2\n")
    found = leaderboard.run(LeaderboardOptions(start=workspace))
    assert len(found.standings) == 5
    assert {row.title: row.similarity for row in found.standings}["v0003-m3"] is None
    assert "v0002-m2 is damaged" in found.notes[0]
    assert ".v0009.tmp" in found.notes[1]
    left = noise.run(NoiseOptions(start=workspace)).notes
    assert [note.split()[0] for note in left] == ["v0002-m2", "v0003-m3"]


def test_version_without_the_ranking_score_comes_last(workspace, truth):
    add_version(workspace, "new", guess(np.random.default_rng(8), truth["test"], 0.5))
    last = leaderboard.run(LeaderboardOptions(start=workspace)).standings[-1]
    assert (last.title, last.place, last.public_score) == ("v0007-new", None, None)


def test_leaderboard_without_versions_says_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="no submission versions yet"):
        leaderboard.run(LeaderboardOptions(start=tmp_path))


def test_band_and_ladder(workspace):
    found = noise.run(NoiseOptions(public_rows="240", start=workspace))
    assert (found.n_rows, found.n_public) == (N_TEST, 240)
    assert all(band.low < band.public_score < band.high for band in found.bands)
    assert [one.after for one in found.moves] == [f"v000{n}-m{n}" for n in range(2, 7)]
    assert not any(one.counts for one in found.moves)  # each version is worse than the first
    wider = noise.run(NoiseOptions(public_rows="10%", start=workspace))
    assert wider.bands[0].standard_error > found.bands[0].standard_error
    assert "the ladder" in shown(found, render_noise)


def test_no_interval_leaves_the_metrics_range(workspace, truth):
    text = (workspace / "competition.toml").read_text()
    (workspace / "competition.toml").write_text(text.replace('"log_loss"', '"accuracy"'))
    draw = np.random.default_rng(2)
    for name, score in (("best", 1.0), ("worst", 0.0)):
        version = add_version(workspace, name, guess(draw, truth["test"], 1.0), metric="accuracy", oof_score=score)
        record(RecordOptions(version.title, public=score, start=workspace))
    bands = noise.run(NoiseOptions(("best", "worst"), public_rows="20", start=workspace)).bands
    assert all(band.standard_error > 0.01 for band in bands)
    assert (bands[0].high, bands[1].low) == (1, 0)
    assert 0 < bands[1].high < bands[0].low < 1
    chances = pick.run(PickOptions(("best", "worst"), public_rows="20", start=workspace)).pick.chances
    assert [one.name.split("-")[1] for one in chances] == ["best", "worst"]
    assert all(0 <= one.low <= one.expected <= one.high <= 1 for one in chances)
    assert (chances[0].high, chances[1].low) == (1, 0)


@pytest.mark.parametrize("asked", ["0", "800", "many", "100%", "inf%", "nan%"])
def test_public_rows_that_cannot_be(workspace, asked):
    with pytest.raises(UserError, match=r"public.rows"):
        noise.run(NoiseOptions(public_rows=asked, start=workspace))


def test_score_is_predicted_without_looking_at_it(workspace, truth):
    probs = guess(np.random.default_rng(5), truth["test"], 1.5)
    add_version(workspace, "new", probs)
    found = foresee.run(PredictOptions("new", start=workspace))
    assert found.public.low < evaluate("log_loss", truth["test"][:240], probs[:240]) < found.public.high
    assert found.private.low < evaluate("log_loss", truth["test"][240:], probs[240:]) < found.private.high
    assert found.private.high - found.private.low > found.public.high - found.public.low
    assert (found.public.n_known, found.private_from, len(found.others)) == (6, "public", 6)
    record(RecordOptions("new", public=99.0, start=workspace))
    again = foresee.run(PredictOptions("new", start=workspace))
    assert (again.public.score, again.known_public) == (pytest.approx(found.public.score, abs=1e-6), 99.0)
    assert "corrected  by 6 known public scores" in shown(found, render_predicted)


def test_equal_scores_have_no_correlation_and_no_leader(workspace):
    for folder in (workspace / "submissions").iterdir():
        record_scores(folder, public=0.6)
    found = foresee.run(PredictOptions("m1", start=workspace))
    assert found.correlation is None
    assert "correlation –" in shown(found, render_predicted)
    chosen = pick.run(PickOptions(("6", "1"), start=workspace))
    assert chosen.pick.first == chosen.pick.public_best == "v0001-m1"


def test_file_that_is_no_version_yet_can_be_predicted_and_other_ids_are_refused(workspace, truth):
    probs = guess(np.random.default_rng(5), truth["test"], 1.5)
    table = pl.DataFrame({"id": [f"test{i}" for i in range(N_TEST)], **{c: probs[:, k] for k, c in enumerate(CLASSES)}})
    table.write_csv(workspace / "mine.csv")
    assert foresee.run(PredictOptions(str(workspace / "mine.csv"), start=workspace)).title == "mine.csv"
    table.head(-1).write_csv(workspace / "short.csv")
    with pytest.raises(UserError, match="1 ids missing"):
        foresee.run(PredictOptions(str(workspace / "short.csv"), start=workspace))


def test_labels_where_the_board_wants_probabilities(workspace):
    labels = pl.DataFrame({"id": [f"test{i}" for i in range(N_TEST)], "label": ["ant"] * N_TEST})
    version = write_version(workspace / "submissions", "labels", labels, ManifestDraft())
    assert f"{version.title} left out: it holds labels" in noise.run(NoiseOptions(start=workspace)).notes[0]
    with pytest.raises(UserError, match="holds labels, but log_loss is of probabilities"):
        foresee.run(PredictOptions("labels", start=workspace))


def test_pick_takes_the_best_and_tells_why(workspace):
    found = pick.run(PickOptions(start=workspace))
    assert (found.pick.first, found.basis) == ("v0001-m1", "honest")
    assert found.pick.second == "v0002-m2"
    assert found.reasons[0].startswith("v0001-m1 has the best honest")
    assert re.search(r"version +honest log_loss", shown(found, render_pick))


def test_a_choice_of_versions_uses_the_public_scores_of_all(workspace):
    for folder in (workspace / "submissions").iterdir():
        unknown = {"public_score": None} if folder.name in ("v0002-m2", "v0006-m6") else {}
        replace(Manifest.load(folder), oof_score=None, **unknown).save(folder)
    found = pick.run(PickOptions(("6", "2"), start=workspace))
    assert (found.basis, found.pick.first, found.pick.second) == ("predicted", "v0002-m2", "v0006-m6")
    for one in found.pick.chances:
        foreseen = foresee.run(PredictOptions(one.name, start=workspace))
        assert foreseen.public.n_known == 4
        assert one.expected == pytest.approx(foreseen.public.score, abs=0.005)
    assert len(found.pick.chances) == 2
    assert re.search(r"version +expected log_loss", shown(found, render_pick))


@pytest.fixture
def with_copy(workspace):
    """The best version once more, without a public score."""
    same = pl.read_csv(workspace / "submissions" / "v0001-m1" / "submission.csv")
    write_version(workspace / "submissions", "again", same, ManifestDraft(metric="log_loss", oof_score=0.1))
    return workspace


def test_a_copy_is_not_picked_beside_its_original(with_copy):
    found = pick.run(PickOptions(start=with_copy))
    assert {found.pick.first, found.pick.second} == {"v0001-m1", "v0002-m2"}
    assert "v0007-again left out: a copy of v0001-m1" in found.notes
    alone = pick.run(PickOptions(("latest", "1"), start=with_copy))
    assert (alone.pick.first, alone.pick.second) == ("v0007-again", None)
    assert "no second one" in shown(alone, render_pick)


def test_a_copy_gets_the_score_of_its_original(with_copy):
    record(RecordOptions("1", public=0.1234, private=0.2345, start=with_copy))
    found = foresee.run(PredictOptions("latest", start=with_copy))
    assert (found.public.low, found.public.score, found.public.high) == (0.1234, 0.1234, 0.1234)
    assert (found.private.score, found.copy_of, found.known_public) == (0.2345, "v0001-m1", None)
    assert "copy       of v0001-m1" in shown(found, render_predicted)
    other = foresee.run(PredictOptions("2", start=with_copy))
    assert (other.public.n_known, other.copy_of) == (5, None)  # the copy tells nothing new


def test_a_copy_is_told_on_the_leaderboard(with_copy):
    remarks = {row.title: row.remark for row in leaderboard.run(LeaderboardOptions(start=with_copy)).standings}
    assert (remarks["v0001-m1"], remarks["v0007-again"]) == ("", "the same file as v0001-m1")


def test_without_runs_nothing_is_known_of_the_labels(workspace):
    for run in ("strong", "weak"):
        (workspace / "runs" / run / "run.json").unlink()
    with pytest.raises(UserError, match="predictions"):
        pick.run(PickOptions(start=workspace))


def test_similarity_of_runs_is_on_rows_with_labels(workspace):
    found = similarity.run(SimilarityOptions(start=workspace))
    assert (found.on, found.n_rows, set(found.names)) == ("oof", N_TRAIN, {"strong", "weak"})
    assert {"double_fault", "q_statistic", "error_overlap"} <= set(found.matrices)
    assert {row.partner for row in found.additions} == {"strong", "weak"}
    assert "what adds most" in shown(found, render_similarity)


def test_similarity_of_versions_runs_and_files_is_on_the_test(workspace):
    found = similarity.run(SimilarityOptions(("1", "latest", "strong"), start=workspace))
    assert (found.on, set(found.names)) == ("test", {"v0001-m1", "v0006-m6", "strong"})
    assert "double_fault" not in found.matrices
    everything = similarity.run(SimilarityOptions(on="test", by="pearson", start=workspace))
    assert len(everything.names) == 8
    assert "Pearson" in shown(everything, render_similarity)
    table = pl.read_csv(workspace / "submissions" / "v0001-m1" / "submission.csv")
    for name, odd in (("short", table.head(9)), ("twice", pl.concat([table, table.head(1)]))):
        write_version(workspace / "submissions", name, odd, ManifestDraft())
    again = similarity.run(SimilarityOptions(on="test", by="pearson", start=workspace))
    assert again.names == everything.names
    assert [note.split(":")[0] for note in again.notes] == ["v0007-short left out", "v0008-twice left out"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": ("strnog", "weak")}, "no run, version or file 'strnog'"),
        ({"what": ("strong",)}, "1 to compare"),
        ({"what": ("strong", "strong")}, "'strong' is named twice"),
        ({"by": "kapa"}, "unknown measure 'kapa'"),
        ({"what": ("1", "2"), "by": "q_statistic"}, "q_statistic needs the labels"),
        ({"output": "matrix.pdf"}, "cannot draw 'matrix.pdf'"),
    ],
)
def test_what_cannot_be_compared(workspace, options, message):
    options = {key: Path(value) if key == "output" else value for key, value in options.items()}
    with pytest.raises(UserError, match=message):
        similarity.run(SimilarityOptions(start=workspace, **options))


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<svg"), ("a.html", b"<!doctype html")])
def test_pictures(workspace, name, begins):
    path = workspace / name
    similarity.run(SimilarityOptions(on="test", output=path, start=workspace))
    assert path.read_bytes()[: len(begins)].lower() == begins.lower()
    with pytest.raises(UserError, match="there already"):
        similarity.run(SimilarityOptions(on="test", output=path, start=workspace))
    similarity.run(SimilarityOptions(on="test", output=path, force=True, start=workspace))


def test_the_commands_speak_json_on_stdout_and_errors_on_stderr(workspace, cli):
    cli("record", "2", "--private", "0.9", "--quiet", cwd=workspace, check=0)
    ranked = json.loads(cli("leaderboard", "--by", "public", "--json", cwd=workspace, check=0).stdout)
    assert ranked["standings"][1]["private_score"] == 0.9
    predicted = json.loads(cli("leaderboard", "predict", "latest", "--json", cwd=workspace, check=0).stdout)
    assert predicted["title"] == "v0006-m6"
    wrong = cli("leaderboard", "noise", "v0001-m0", cwd=workspace, check=2)
    assert wrong.stdout == ""
    assert "did you mean" in wrong.stderr
