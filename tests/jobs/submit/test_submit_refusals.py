"""Credentials that serve and that do not, and what Kaggle refuses: each with its reason, none with a secret."""

import json

import pytest

from tests.fake_kaggle import KEY, TOKEN, USER
from tests.submitting import COMPETITION, manifest_of, states


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


def test_key_that_others_can_read_is_told_once(kaggle, submit, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    path = tmp_path / "home" / ".kaggle" / "kaggle.json"
    path.write_text(json.dumps({"username": USER, "key": KEY}))
    path.chmod(0o644)
    done = submit("2")
    assert done.err.count("Your Kaggle API key is readable by other users") == 1
    assert f"chmod 600 {path}" in done.err


def test_token_file_that_cannot_be_read_is_told(kaggle, submit, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "")
    path = tmp_path / "home" / ".kaggle" / "access_token"
    path.mkdir()
    done = submit("2", code=2)
    assert "error: the Kaggle client cannot read a file at the sign-in: Is a directory" in done.err
    assert f"where: {path}" in done.err


def test_token_too_long_for_the_client_is_told_and_not_shown(kaggle, submit, monkeypatch):
    """The client takes it for a file's name first, and the system's error repeats it."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN * 9)
    assert "where: ***" in submit("2", code=2).err


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


def test_quota_used_up_by_a_team_mate_during_the_upload_says_until_when(workspace, kaggle, submit, monkeypatch):
    upload = kaggle.StartSubmissionUpload

    def meanwhile(request):
        kaggle.left, kaggle.today = 0, 5
        return upload(request)

    monkeypatch.setattr(kaggle, "StartSubmissionUpload", meanwhile)
    done = submit("2", code=2)
    assert "error: today's quota is used up: 5 sent, none left" in done.err
    assert "reason: Submission not allowed: Your team has used its daily Submission allowance (5) today" in done.err
    assert "after midnight UTC, in " in done.err
    assert states(workspace, "v0002-second") == ["refused"]


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


def test_unknown_competition_is_told(workspace, kaggle, submit):
    (workspace / "competition.toml").write_text(COMPETITION.replace('slug = "spooky"', ""))
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
