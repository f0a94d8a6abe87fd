"""A version is sent, shown, waited for, listed; what is not fit to be sent is not."""

import json
import sys

from tests.submitting import COMPETITION, SAMPLE, manifest_of, states


def test_version_is_sent_and_its_score_comes_home(workspace, kaggle, submit):
    kaggle.looks_until_scored = 3
    done = submit("latest")
    (sent,) = kaggle.submissions
    assert sent["description"].startswith("v0002-second [")
    assert sent["description"].endswith("] pool of five")
    assert sent["fileName"] == "v0002-second.csv"
    assert kaggle.uploads["blob0"]["bytes"] == (workspace / "submissions/v0002-second/submission.csv").read_bytes()
    manifest = manifest_of(workspace, "v0002-second")
    assert (manifest.public_score, manifest.private_score, manifest.kaggle_ref) == (0.71234, None, 1000)
    assert manifest.submitted is not None
    assert states(workspace, "v0002-second") == ["sent"]
    assert "0.71234" in done.out
    assert "4 left today" in done.out


def test_what_will_be_sent_and_the_quota_are_shown_before(workspace, kaggle, submit):
    kaggle.today = 2
    done = submit("2", "-m", "hand made")
    assert "competition  spooky" in done.err
    assert "submissions/v0002-second/submission.csv, 2 rows, " in done.err
    assert "valid beside sample.csv" in done.err
    assert "] hand made" in done.err
    assert "5 left today (2 sent), the day ends in" in done.err


def test_private_score_is_written_where_it_is_given(workspace, kaggle, submit):
    kaggle.private = "0.70001"
    submit("first")
    assert manifest_of(workspace, "v0001-first").private_score == 0.70001


def test_result_as_json(workspace, kaggle, submit):
    result = json.loads(submit("1", "--json").out)
    assert (result["version"], result["state"], result["sent"], result["ref"]) == (
        "v0001-first",
        "complete",
        True,
        1000,
    )
    assert result["public_score"] == 0.71234
    assert result["n_left"] == 4


def test_quiet_says_nothing(workspace, kaggle, submit):
    done = submit("1", "--quiet")
    assert (done.out, done.err) == ("", "")
    assert kaggle.n_created() == 1


def test_dry_run_shows_and_sends_nothing(workspace, kaggle, submit):
    done = submit("2", "--dry-run")
    assert "5 left today" in done.err
    assert "nothing was sent (--dry-run)" in done.out
    assert kaggle.n_created() == 0
    assert "StartSubmissionUpload" not in kaggle.calls
    assert not (workspace / "submissions/v0002-second/attempts.json").exists()


def test_slow_scoring_ends_with_exit_code_1_and_the_next_call_fetches_the_score(workspace, kaggle, submit):
    kaggle.looks_until_scored = 100
    done = submit("2", "--timeout", "0.05", code=1)
    assert "not scored yet; do not send it again" in done.out
    assert "`cli submit v0002-second` fetches the score" in done.out
    assert manifest_of(workspace, "v0002-second").public_score is None
    kaggle.looks_until_scored = 0
    done = submit("2")
    assert "v0002-second was sent before as 1000; nothing is sent, its score is looked up" in done.err
    assert "0.71234" in done.out
    assert kaggle.n_created() == 1
    assert manifest_of(workspace, "v0002-second").public_score == 0.71234


def test_without_waiting_the_exit_code_is_0(workspace, kaggle, submit):
    kaggle.looks_until_scored = 100
    assert "not scored yet" in submit("2", "--no-wait").out


def test_failures_while_waiting_are_waited_out(workspace, kaggle, submit):
    kaggle.looks_until_scored = 2
    kaggle.faults = {"GetSubmissionLimits": []}
    submit("2", "--no-wait")
    kaggle.faults = {"ListSubmissions": [500, "drop before", 503]}
    assert "0.71234" in submit("2").out
    assert kaggle.n_created() == 1


def test_a_score_that_the_metric_cannot_have_is_kept_and_told(workspace, kaggle, submit):
    kaggle.scores = ["-71.2", None]
    told = "the public score cannot be -71.{}: log_loss is 0 or more; is `metric` in competition.toml the board's?"
    assert told.format(2) in submit("1").err
    assert manifest_of(workspace, "v0001-first").public_score == -71.2
    submit("2", "--no-wait")
    kaggle.submissions[-1] |= {"status": "COMPLETE", "publicScore": "-71.3"}
    done = submit("--list")
    assert told.format(3) in done.err
    assert told.format(2) not in done.err


def test_an_answer_that_is_not_understood_after_the_submission_does_not_ask_for_another(workspace, kaggle, submit):
    listing = kaggle.ListSubmissions
    weird = {"submissions": [{"ref": 1, "status": "WEIRD"}]}
    kaggle.ListSubmissions = lambda request: weird if kaggle.n_created() else listing(request)
    done = submit("2", code=2)
    assert "it was sent as 1000, do not send it again: `cli submit v0002-second` fetches its score" in done.err
    assert "by hand" not in done.err


def test_list_shows_everything_and_writes_new_scores_into_manifests(workspace, kaggle, submit):
    kaggle.page_size = 2
    for i in range(4):
        kaggle.add(f"by hand {i} [bold]", public=f"0.{i}")
    submit("2", "--no-wait")
    kaggle.submissions[-1] |= {"status": "COMPLETE", "publicScore": "0.61", "privateScore": "0.62"}
    done = submit("--list")
    assert done.out.count("by hand") == 4
    assert "[bold]" in done.out
    assert "scores written into the manifests of v0002-second" in done.out
    assert manifest_of(workspace, "v0002-second").private_score == 0.62
    listed = json.loads(submit("--list", "--json").out)
    assert [item["version"] for item in listed["submissions"]] == ["v0002-second", None, None, None, None]
    assert listed["submissions"][0]["entry"]["public_score"] == 0.61
    assert listed["recorded"] == []


def test_list_of_nothing(workspace, kaggle, submit):
    assert "Kaggle has no submission to spooky yet" in submit("--list").out


def test_no_version_is_a_question(submit, kaggle):
    assert "error: which version?" in submit(code=2).err
    assert kaggle.calls == []


def test_unknown_version_gets_the_nearest(submit, kaggle):
    assert "did you mean 'v0002-second'?" in submit("v0002-secnd", code=2).err
    assert kaggle.calls == []


def test_invalid_file_is_not_sent(workspace, kaggle, submit):
    (workspace / "sample.csv").write_text(SAMPLE + "r3,0.5,0.5\n")
    done = submit("2", code=2)
    assert "1 of 3 ids are missing" in done.err
    assert kaggle.calls == []


def test_file_changed_after_it_was_made_is_not_sent(workspace, kaggle, submit):
    (workspace / "submissions/v0002-second/submission.csv").write_text(SAMPLE)
    assert "v0002-second was changed after it was made" in submit("2", code=2).err
    assert kaggle.calls == []


def test_competition_without_a_slug_asks_for_it(workspace, kaggle, submit):
    (workspace / "competition.toml").write_text(COMPETITION.replace('slug = "spooky"\n', ""))
    assert "which Kaggle competition?" in submit("2", code=2).err
    assert kaggle.calls == []
    assert "0.71234" in submit("2", "--competition", "spooky").out


def test_client_that_is_too_old_says_so(submit, kaggle, monkeypatch):
    from kaggle.api.kaggle_api_extended import KaggleApi

    monkeypatch.delattr(KaggleApi, "competition_get_submission_limits")
    assert "error: the Kaggle client is too old to tell the quota" in submit("2", code=2).err
    assert kaggle.calls == []


def test_client_that_is_not_installed_says_what_to_install(submit, kaggle, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    done = submit("2", code=2)
    assert "error: the Kaggle client is not installed" in done.err
    assert "pip install 'kaggle-jobs[kaggle]'" in done.err
    assert kaggle.calls == []
