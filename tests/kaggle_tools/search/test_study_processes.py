"""Processes that this one starts for a study: they share its trials, and leave nothing behind when it fails."""

import multiprocessing
import os
import signal
import time

import optuna
import psutil
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
    # A helper may still have told its last batch after this process counted.
    assert first.n_trials <= more.n_trials <= first.n_trials + 4
    assert more.n_own == 0


def test_helpers_end_when_the_study_is_refused(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    together(workers=1, trials=5, storage=storage)
    with pytest.raises(UserError, match="another space"):
        together(workers=3, trials=50, storage=storage, sampler="cmaes")
    assert not multiprocessing.active_children()
    with pytest.raises(UserError, match="one worker or more, not 0"):
        together(workers=0, trials=5)


def trials_of(storage):
    backend = optuna.storages.journal.JournalFileBackend(storage.removeprefix("journal:"))
    return optuna.load_study(study_name="blend", storage=optuna.storages.JournalStorage(backend)).trials


def wait_until(true, timeout=60):
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_no_trial_is_lost_when_a_helper_is_killed_and_the_answer_is_that_of_one_process(tmp_path):
    storage = f"journal:{tmp_path}/study.log"
    killed = []

    def kill_the_helper(_progress):
        if not killed:
            wait_until(lambda: len(trials_of(storage)) > 8)  # four are ours
            killed.extend(
                (helper.pid, os.kill(helper.pid, signal.SIGKILL)) for helper in multiprocessing.active_children()
            )

    found = together(workers=2, trials=60, batch=4, storage=storage, on_batch=kill_the_helper)
    assert len(killed) == 1
    trials = trials_of(storage)
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") == found.n_trials == 60
    assert states.count("FAIL") == len(states) - 60 <= 4  # what the dead one had begun
    assert [trial.number for trial in trials] == list(range(len(trials)))
    alone = together(workers=1, trials=60, batch=4, storage=storage)
    assert alone.n_own == 0
    assert (alone.recipe, alone.score, alone.trial) == (found.recipe, found.score, found.trial)


def be_killed(storage, pids):
    def tell(_progress):
        pids.put([helper.pid for helper in multiprocessing.active_children()])
        time.sleep(600)

    together(workers=2, trials=100_000, batch=4, storage=storage, on_batch=tell)


def test_helpers_end_when_the_process_that_started_them_is_killed(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spawn = multiprocessing.get_context("spawn")
    pids = spawn.Queue()
    process = spawn.Process(target=be_killed, args=(f"journal:{tmp_path}/study.log", pids))
    process.start()
    (helper,) = pids.get(timeout=120)
    wait_until(lambda: len(trials_of(f"journal:{tmp_path}/study.log")) > 8)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()
    pids.close()
    wait_until(lambda: not psutil.pid_exists(helper) or psutil.Process(helper).status() == psutil.STATUS_ZOMBIE)
    assert not list(tmp_path.glob("study*/"))
