"""Never two submissions of one content, whatever is lost, killed or repeated."""

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from kaggle_tools.kaggle_service import sending
from kaggle_tools.submissions import record_scores
from tests.conftest import process_environment
from tests.submitting import COMPETITION, add_version, manifest_of, no_secret_in, states


def test_answer_that_is_lost_after_the_submission_is_found_by_its_marker(workspace, kaggle, submit):
    kaggle.faults = {"CreateSubmission": ["drop after"]}
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


def test_an_attempt_of_tomorrow_is_settled_as_soon_as_one_of_now(workspace, kaggle, submit, monkeypatch):
    """The clock was put back since then."""
    kaggle.faults = {"CreateSubmission": ["drop before"]}
    submit("2", code=2)
    record = workspace / "submissions/v0002-second/attempts.json"
    attempts = json.loads(record.read_text())
    attempts[0]["started"] = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    record.write_text(json.dumps(attempts))
    monkeypatch.setattr(sending, "SETTLED_AFTER_S", 0.2)
    pauses, sleep = [], time.sleep

    def pause(seconds):
        pauses.append(seconds)
        assert sum(pauses) < 1
        sleep(seconds)

    monkeypatch.setattr(sending.time, "sleep", pause)
    assert "it has not arrived" in submit("2").err
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


def test_repetition_that_arrived_without_an_answer_is_not_repeated_once_more(workspace, kaggle, submit):
    submit("2")
    listing = kaggle.ListSubmissions
    kaggle.scores[1] = "0.9"
    kaggle.faults = {"CreateSubmission": ["drop after"]}
    kaggle.ListSubmissions = lambda request: {**listing(request), "submissions": listing(request)["submissions"][-1:]}
    submit("2", "--again", code=2)
    kaggle.ListSubmissions = listing
    done = submit("2", "--again")
    assert "it has arrived as 1001" in done.err
    assert "nothing is sent" in done.err
    assert kaggle.n_created() == 2
    assert manifest_of(workspace, "v0002-second").public_score == 0.9


def test_repetition_that_still_waits_for_its_score_is_not_repeated_once_more(workspace, kaggle, submit):
    submit("2")
    kaggle.looks_until_scored = 100
    submit("2", "--again", "--timeout", "0", code=1)
    assert "`cli submit v0002-second` fetches its score" in submit("2", "--again", "--dry-run", code=2).err
    submit("2", "--again", "--timeout", "0", code=1)
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
    (workspace / "competition.toml").write_text(COMPETITION.replace('slug = "spooky"', 'slug = "spooky-two"'))
    submit("2")
    assert kaggle.n_created() == 1


@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ('slug = "spooky"', "competition.toml is of 'spooky', not of 'spooky-two'"),
        ("", "versions here were sent to 'spooky', not to 'spooky-two'"),
    ],
)
def test_scores_of_another_competition_do_not_come_home(workspace, kaggle, submit, slug, message):
    submit("2")
    kaggle.slug, kaggle.scores = "spooky-two", ["0.9"] * 9
    kaggle.submissions[0]["publicScore"] = "0.9"
    (workspace / "competition.toml").write_text(COMPETITION.replace('slug = "spooky"', slug))
    for version in ("1", "2", "--list"):
        assert message in submit(version, "--competition", "spooky-two", code=2).err
    assert kaggle.n_created() == 1
    assert manifest_of(workspace, "v0002-second").public_score == 0.71234


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
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
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
