"""A service or a network that fails on the way."""

from kaggle_tools.kaggle_service import client
from tests.submitting import states


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
