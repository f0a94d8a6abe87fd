"""Processes that this one starts for a study: they share its trials, and leave nothing behind when it fails."""

import multiprocessing

import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.search._study_processes import search_together
from kaggle_tools.search.recipe import Recipe

from .data import make_stack

NAMES, CLASSES = ("bert", "cnn", "roberta"), ("EAP", "HPL", "MWS")
STACK, CODES = make_stack(3, 300, 3, seed=1)


def together(**options):
    starts = [Recipe("mean", "single_label", CLASSES, NAMES, "log_loss")]
    return search_together(CODES, STACK, "log_loss", names=NAMES, classes=CLASSES, starts=starts, **options)


def test_two_processes_share_the_trials_of_a_journal_that_is_gone_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = together(workers=2, trials=60, batch=4)
    assert found.n_trials >= 60
    assert found.n_own <= found.n_trials
    assert found.score <= found.start
    assert not list(tmp_path.iterdir())
    assert not multiprocessing.active_children()


def test_a_journal_that_is_named_stays_and_has_the_trials_of_all(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    first = together(workers=2, trials=30, batch=4, storage=storage)
    more = together(workers=1, trials=30, batch=4, storage=storage)
    assert more.n_trials == first.n_trials
    assert more.n_own == 0


def test_helpers_end_when_the_study_is_refused(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    together(workers=1, trials=5, storage=storage)
    with pytest.raises(UserError, match="another space"):
        together(workers=3, trials=50, storage=storage, sampler="cmaes")
    assert not multiprocessing.active_children()
    with pytest.raises(UserError, match="one worker or more, not 0"):
        together(workers=0, trials=5)
