"""`cli submit` with the real Kaggle client against a server on this machine; never two submissions of one content."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import polars as pl
import pytest

from jobs import cli as command_line
from kaggle_tools.kaggle_service import client, load_attempts, scoring, sending
from kaggle_tools.submissions import Manifest, ManifestDraft, record_scores, write_version
from tests.conftest import process_environment
from tests.fake_kaggle import KEY, TOKEN, USER, FakeKaggle, environment, serve

COMPETITION = """\
name = "spooky"
slug = "spooky"
task = "single_label"
metric = "log_loss"
text_column = "text"
classes = ["EAP", "MWS"]
sample_submission = "sample.csv"
"""
SAMPLE = "id,EAP,MWS\nr1,0.5,0.5\nr2,0.5,0.5\n"
SECRETS = (TOKEN, KEY, "signed_secret", "YWRhOnBsYW50ZWR")  # the last one: the start of base64 of user:key


@dataclass
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def kaggle():
    fake = FakeKaggle()
    server = serve(fake)
    yield fake
    server.shutdown()
    server.server_close()


@pytest.fixture
def workspace(tmp_path, kaggle, monkeypatch):
    """A competition with two versions, credentials planted, and no pauses."""
    folder, home = tmp_path / "competition", tmp_path / "home"
    (home / ".kaggle").mkdir(parents=True)
    folder.mkdir()
    (folder / "competition.toml").write_text(COMPETITION)
    (folder / "sample.csv").write_text(SAMPLE)
    add_version(folder, "first", 0.25)
    add_version(folder, "second", 0.75, note="pool of five")
    monkeypatch.chdir(folder)
    for key, value in environment(kaggle, home).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    for key in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0, 0.0, 0.0))
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 5.0)
    monkeypatch.setattr(sending, "LOOK_AGAIN_S", (0.0, 0.0))
    monkeypatch.setattr(sending, "SETTLED_AFTER_S", 0.0)
    monkeypatch.setattr(scoring, "PAUSES_S", (0.01,))
    point_client_at(home, monkeypatch)
    return folder


@pytest.fixture
def submit(workspace, monkeypatch, capsys):
    """Run `cli submit` in this process, as the shell would; no word of it may hold a secret."""

    def run(*arguments, code=0):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["cli", "submit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        captured = capsys.readouterr()
        done = Done(int(ended.value.code or 0), captured.out, captured.err)
        assert done.code == code, done.err + done.out
        no_secret_in(done.out + done.err, workspace)
        return done

    return run


def add_version(folder, name, share, note=""):
    table = pl.DataFrame({"id": ["r1", "r2"], "EAP": [share, 0.5], "MWS": [1 - share, 0.5]})
    return write_version(folder / "submissions", name, table, ManifestDraft(note=note))


def point_client_at(home, monkeypatch):
    """The client reads these once, when it is imported; a test process imports it once for all tests."""
    with client._contained():
        from kaggle.api.kaggle_api_extended import KaggleApi
    monkeypatch.setattr(KaggleApi, "config", str(home / ".kaggle" / "kaggle.json"))
    monkeypatch.setattr(KaggleApi, "args", ["--local", "--verbose"])
    monkeypatch.setattr(KaggleApi, "config_values", {})


def no_secret_in(text, folder):
    written = [path.read_text(errors="replace") for path in folder.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret not in text
        assert not any(secret in content for content in written)


def manifest_of(folder, title):
    return Manifest.load(folder / "submissions" / title)


def states(folder, title):
    return [attempt.state for attempt in load_attempts(folder / "submissions" / title)]


# What it is for.


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


# What Kaggle has.


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


# Before anything is asked of Kaggle.


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


def test_client_that_is_not_installed_says_what_to_install(submit, kaggle, monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    done = submit("2", code=2)
    assert "error: the Kaggle client is not installed" in done.err
    assert "pip install 'kaggle-jobs[kaggle]'" in done.err
    assert kaggle.calls == []


# Credentials.


def test_username_and_key_serve_too(kaggle, submit, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    submit("2")
    assert kaggle.n_created() == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("kaggle.json", json.dumps({"username": USER, "key": KEY})), ("access_token", TOKEN + "\n")],
)
def test_files_of_the_client_serve_too(kaggle, submit, monkeypatch, tmp_path, name, content):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    (tmp_path / "home" / ".kaggle" / name).write_text(content)
    submit("2")
    assert kaggle.n_created() == 1


def test_no_credentials_says_where_to_get_them(kaggle, submit, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    done = submit("2", code=2)
    assert "error: no Kaggle credentials found" in done.err
    assert "https://www.kaggle.com/settings/api" in done.err
    assert kaggle.n_created() == 0


def test_wrong_token_is_told_and_not_shown(kaggle, submit, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_wrong_planted_secret")
    done = submit("2", code=2)
    assert "error: Kaggle does not know the token from KAGGLE_API_TOKEN in the environment" in done.err
    assert "KGAT_wrong" not in done.err + done.out
    assert kaggle.n_created() == 0


def test_wrong_key_is_told_and_not_shown_though_the_service_repeats_it(kaggle, submit, monkeypatch):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    monkeypatch.setenv("KAGGLE_USERNAME", USER)
    monkeypatch.setenv("KAGGLE_KEY", "wrong_planted_key")
    done = submit("2", code=2)
    assert "error: Kaggle does not accept the credentials (401)" in done.err
    assert "reason: Unauthenticated: Basic ***" in done.err
    assert "wrong_planted" not in done.err


def test_token_that_is_revoked_between_is_not_shown(kaggle, submit):
    kaggle.faults = {"GetSubmissionLimits": [(401, f"token {TOKEN} was revoked")]}
    done = submit("2", code=2)
    assert "reason: token *** was revoked" in done.err


# What Kaggle refuses.


def test_quota_that_is_used_up_is_told_before_the_upload(kaggle, submit):
    kaggle.left, kaggle.today = 0, 5
    done = submit("2", code=2)
    assert "error: today's quota is used up: 5 sent, none left" in done.err
    assert "after midnight UTC, in " in done.err
    assert "StartSubmissionUpload" not in kaggle.calls


def test_total_that_is_used_up_is_told(kaggle, submit):
    kaggle.left, kaggle.today, kaggle.limited_by_total = 0, 5, True
    assert "the competition's total of submissions is used up: 45 sent" in submit("2", code=2).err


def test_team_that_has_not_joined_is_told(kaggle, submit):
    kaggle.left = 0
    assert "join it and accept its rules: https://www.kaggle.com/competitions/spooky/rules" in submit("2", code=2).err


def test_quota_used_up_by_a_team_mate_meanwhile_is_told_in_kaggles_words(workspace, kaggle, submit):
    said = "Your team has used its daily Submission allowance (5) today"
    kaggle.faults = {"CreateSubmission": [(400, said)]}
    done = submit("2", code=2)
    assert "error: Kaggle refused the submission (400)" in done.err
    assert f"reason: {said}" in done.err
    assert states(workspace, "v0002-second") == ["refused"]
    submit("2")
    assert kaggle.n_created() == 1
    assert states(workspace, "v0002-second") == ["refused", "sent"]


def test_bare_400_still_says_what_it_often_is(kaggle, submit):
    kaggle.faults = {"CreateSubmission": [400]}
    done = submit("2", code=2)
    assert "reason: not given; often the day's quota, the deadline or rules that are not accepted" in done.err
    assert kaggle.n_created() == 0


def test_rules_that_are_not_accepted_are_told(kaggle, submit):
    kaggle.faults = {"ListSubmissions": [(403, "You must accept this competition's rules")]}
    done = submit("2", code=2)
    assert "error: Kaggle does not allow the list of submissions (403)" in done.err
    assert "accept its rules at https://www.kaggle.com/competitions/spooky/rules" in done.err


def test_unknown_competition_is_told(kaggle, submit):
    done = submit("2", "--competition", "spoky", code=2)
    assert "error: Kaggle has no competition 'spoky' (404)" in done.err
    assert "set `slug` in competition.toml or give --competition" in done.err


def test_rejected_file_is_told_in_kaggles_words_and_not_sent_again(workspace, kaggle, submit):
    kaggle.rejection = "Submission must have 8392 rows"
    done = submit("2", code=2)
    assert "error: Kaggle cannot score v0002-second" in done.err
    assert "reason: Submission must have 8392 rows" in done.err
    assert manifest_of(workspace, "v0002-second").kaggle_ref == 1000
    assert manifest_of(workspace, "v0002-second").public_score is None
    done = submit("2", code=2)
    assert "which could not be scored: Submission must have 8392 rows" in done.err
    assert kaggle.n_created() == 1


# Failures on the way.


def test_server_errors_are_tried_again_where_nothing_can_happen_twice(kaggle, submit):
    kaggle.faults = {
        "ListSubmissions": [500],
        "GetSubmissionLimits": ["html"],
        "StartSubmissionUpload": ["drop before"],
    }
    done = submit("2")
    assert "Kaggle failed at the list of submissions (500); again in 0 s" in done.err
    assert "Kaggle failed at the quota (502); again in 0 s" in done.err
    assert "no answer from Kaggle at the upload" in done.err
    assert kaggle.n_created() == 1


def test_server_error_that_stays_is_told_with_its_words(kaggle, submit):
    kaggle.faults = {"GetSubmissionLimits": ["html"] * 4}
    done = submit("2", code=2)
    assert "error: Kaggle failed at the quota (502)" in done.err
    assert "reason: Bad & gateway" in done.err
    assert kaggle.n_created() == 0


def test_too_many_requests_are_tried_again_after_the_time_that_is_asked_for(kaggle, submit):
    kaggle.faults = {
        "ListSubmissions": [(429, "slow down", {"Retry-After": "0"})],
        "CreateSubmission": [(429, "slow down", {"Retry-After": "0.1"})],
    }
    done = submit("2")
    assert done.err.count("Kaggle asks us to slow down") == 2
    assert kaggle.n_created() == 1


def test_who_asks_for_an_hour_is_left_alone(workspace, kaggle, submit):
    kaggle.faults = {"CreateSubmission": [(429, "slow down", {"Retry-After": "3600"})]}
    done = submit("2", code=2)
    assert "next:   wait 3600 s, then run the same command again" in done.err
    assert kaggle.calls.count("CreateSubmission") == 1
    assert states(workspace, "v0002-second") == ["refused"]


def test_answer_that_is_not_kaggles_is_told(kaggle, submit):
    kaggle.faults = {"GetSubmissionLimits": ["nonsense"]}
    assert "Kaggle's answer at the quota cannot be understood" in submit("2", code=2).err


def test_service_that_cannot_be_reached_is_told(kaggle, submit, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    done = submit("2", code=2)
    assert "error: no answer from Kaggle at the sign-in: " in done.err
    assert "refused" in done.err


def test_service_that_never_answers_is_given_up(kaggle, submit, monkeypatch):
    monkeypatch.setattr(client, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(client, "RETRY_AFTER_S", ())
    kaggle.faults = {"GetSubmissionLimits": ["hang after"]}
    assert "no answer from Kaggle at the quota: " in submit("2", code=2).err


def test_upload_that_fails_is_no_submission(workspace, kaggle, submit):
    kaggle.faults = {"PUT": [403]}
    done = submit("2", code=2)
    assert "error: the file could not be uploaded to Kaggle; nothing was submitted" in done.err
    assert "CreateSubmission" not in kaggle.calls
    assert states(workspace, "v0002-second") == []
    submit("2")
    assert kaggle.n_created() == 1


def test_upload_that_is_cut_off_goes_on(kaggle, submit):
    kaggle.faults = {"PUT": ["drop"]}
    submit("2")
    assert kaggle.n_created() == 1


# Never a double submission.


@pytest.mark.parametrize("fault", ["drop after"])
def test_answer_that_is_lost_after_the_submission_is_found_by_its_marker(workspace, kaggle, submit, fault):
    kaggle.faults = {"CreateSubmission": [fault]}
    done = submit("2")
    assert "looking whether the submission has arrived" in done.err
    assert "it has arrived as 1000" in done.err
    assert kaggle.calls.count("CreateSubmission") == 1
    assert manifest_of(workspace, "v0002-second").public_score == 0.71234
    assert states(workspace, "v0002-second") == ["sent"]


@pytest.mark.parametrize("fault", ["drop before", 500, (503, "overloaded"), "nonsense"])
def test_submission_that_did_not_arrive_is_not_repeated_until_asked_for(workspace, kaggle, submit, fault):
    kaggle.faults = {"CreateSubmission": [fault]}
    done = submit("2", code=2)
    assert "whether the submission has arrived is not known" in done.err
    assert "run the same command again: it looks for it at Kaggle first" in done.err
    assert kaggle.calls.count("CreateSubmission") == 1
    assert states(workspace, "v0002-second") == ["sending"]
    done = submit("2")
    assert "it has not arrived" in done.err
    assert kaggle.n_created() == 1
    assert states(workspace, "v0002-second") == ["lost", "sent"]


def test_submission_that_appears_late_is_not_sent_again(workspace, kaggle, submit):
    kaggle.faults = {"CreateSubmission": ["drop after"], "ListSubmissions": []}
    hidden = []
    listing = kaggle.ListSubmissions
    kaggle.ListSubmissions = lambda request: {"submissions": hidden}  # lags behind
    submit("2", code=2)
    assert states(workspace, "v0002-second") == ["sending"]
    kaggle.ListSubmissions = listing
    done = submit("2")
    assert "it has arrived as 1000" in done.err
    assert kaggle.calls.count("CreateSubmission") == 1


def test_young_attempt_is_looked_for_until_it_is_settled(workspace, kaggle, submit, monkeypatch):
    """The list lags by two looks; only then an attempt of a second ago shows."""
    kaggle.faults = {"CreateSubmission": ["drop after"]}
    listing, looks = kaggle.ListSubmissions, []

    def lagging(request):
        looks.append(1)
        return listing(request) if len(looks) > 5 else {"submissions": []}

    kaggle.ListSubmissions = lagging
    submit("2", code=2)  # one look before, two after
    monkeypatch.setattr(sending, "SETTLED_AFTER_S", 20.0)
    monkeypatch.setattr(sending.time, "sleep", lambda seconds: None)
    assert "it has arrived as 1000" in submit("2").err
    assert kaggle.n_created() == 1


def test_success_without_a_number_is_not_believed(workspace, kaggle, submit, monkeypatch):
    monkeypatch.setattr(kaggle, "CreateSubmission", lambda request: {"message": "Could not submit to competition"})
    done = submit("2", code=2)
    assert "Kaggle answered without a number for the submission" in done.err
    assert states(workspace, "v0002-second") == ["sending"]


def test_content_that_was_sent_needs_again(workspace, kaggle, submit):
    submit("2")
    done = submit("2", code=2)
    assert "error: the content of v0002-second was sent to Kaggle before" in done.err
    assert "submission 1000 of 2026-11-20T12:00:00+00:00, public score 0.71234" in done.err
    assert "--again" in done.err
    kaggle.scores[1] = "0.8"
    submit("2", "--again")
    assert kaggle.n_created() == 2
    assert manifest_of(workspace, "v0002-second").kaggle_ref == 1001
    assert manifest_of(workspace, "v0002-second").public_score == 0.8


def test_lost_answer_to_a_repetition_is_not_taken_for_the_first_one(workspace, kaggle, submit):
    submit("2")
    kaggle.faults = {"CreateSubmission": ["drop before"]}
    submit("2", "--again", code=2)
    assert states(workspace, "v0002-second") == ["sent", "sending"]
    submit("2", "--again")
    assert kaggle.n_created() == 2


def test_same_content_in_another_version_needs_again(workspace, kaggle, submit):
    submit("2")
    add_version(workspace, "third", 0.75)
    done = submit("3", code=2)
    assert "error: the content of v0003-third was sent to Kaggle before, as v0002-second" in done.err
    assert kaggle.n_created() == 1


def test_content_that_another_machine_sent_needs_again(workspace, kaggle, submit):
    submit("2")
    (workspace / "submissions/v0002-second/attempts.json").unlink()
    record_scores(workspace / "submissions/v0002-second", public=0.71234)
    submit("2", code=2)
    assert kaggle.n_created() == 1


def test_same_content_for_another_competition_is_another_submission(workspace, kaggle, submit):
    submit("2")
    kaggle.slug, kaggle.submissions = "spooky-two", []
    submit("2", "--competition", "spooky-two")
    assert kaggle.n_created() == 1


def test_damaged_record_of_attempts_stops_everything(workspace, kaggle, submit):
    (workspace / "submissions/v0002-second/attempts.json").write_text("[{")
    done = submit("2", code=2)
    assert "attempts.json is damaged" in done.err
    assert kaggle.n_created() == 0


def test_record_that_cannot_be_written_stops_before_the_submission(workspace, kaggle, submit, monkeypatch):
    from kaggle_tools.errors import UserError

    def refuse(folder, attempt):
        raise UserError("cannot write attempts.json: No space left on device")

    monkeypatch.setattr(sending, "save_attempt", refuse)
    assert "No space left on device" in submit("2", code=2).err
    assert "CreateSubmission" not in kaggle.calls


def test_two_at_once_are_told(workspace, kaggle, submit):
    with sending.sending_alone(workspace / "submissions"):
        assert "another `cli submit` is sending from here" in submit("2", code=2).err
    assert kaggle.n_created() == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_process_killed_between_submission_and_answer_sends_once(workspace, kaggle, submit, how):
    kaggle.faults = {"CreateSubmission": ["hang after"]}
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.cli", "submit", "2"],
        env=process_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not kaggle.submissions and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130), err
    no_secret_in(out + err, workspace)
    assert states(workspace, "v0002-second") == ["sending"]
    done = submit("2")
    assert "it has arrived as 1000" in done.err
    assert kaggle.calls.count("CreateSubmission") == 1
    assert manifest_of(workspace, "v0002-second").public_score == 0.71234


def test_verbose_client_in_a_process_of_its_own_shows_no_header(workspace, kaggle):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", "submit", "2", "--json"],
        env=process_environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["public_score"] == 0.71234
    no_secret_in(done.stdout + done.stderr, workspace)
    assert "Authorization" not in done.stdout + done.stderr
