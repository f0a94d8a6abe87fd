"""Five real runs on the Spooky Author competition: what their blends are known to reach."""

import numpy as np
import polars as pl
import pytest
from sklearn.model_selection import StratifiedKFold

from kaggle_tools.folds import FoldSettings, assign
from kaggle_tools.importing import read_foreign
from kaggle_tools.metrics import evaluate, find_metric
from kaggle_tools.search import blend, logloss, rescale, stack
from kaggle_tools.search.candidates import CANDIDATES, Setting
from kaggle_tools.search.choose import choose

pytestmark = pytest.mark.shared


@pytest.fixture(scope="module")
def runs(shared_data):
    files = sorted((shared_data / "spooky" / "oof").iterdir())
    read = [read_foreign(file, classes=("EAP", "HPL", "MWS"), id_column="id") for file in files]
    aligned = [one.align(read[0].ids) for one in read]
    return read[0].label_codes, np.stack([one.probs for one in aligned])


def held_out(codes, probs, fit):
    """(N, C) predictions of each fifth by what was fitted to the other four."""
    folds = np.zeros(len(codes), np.int64)
    output = np.empty(probs.shape[1:], np.float32)
    for fold, (_, inside) in enumerate(StratifiedKFold(5, shuffle=True, random_state=0).split(codes, codes)):
        folds[inside] = fold
    for fold in range(5):
        others = folds != fold
        output[~others] = fit(codes[others], probs[:, others], folds[others]).apply(probs[:, ~others])
    return output


def test_log_loss_of_both_families(runs):
    linear, log = logloss.fit_linear_pool(*runs), logloss.fit_log_pool(*runs)
    assert linear.score == pytest.approx(0.2685, abs=1e-4)
    assert linear.gap <= 1e-8
    assert log.score == pytest.approx(0.2474, abs=1e-4)
    assert log.gap <= 1e-8
    assert blend.fit(*runs, "log_loss", family="log", class_weights=False).score == pytest.approx(log.score, abs=1e-6)
    assert logloss.fit_log_pool(*runs, biases=True, knee=logloss.KNEE).score <= 0.2418


@pytest.mark.parametrize("folds", [None, FoldSettings(n=5, seed=42)], ids=["any folds", "the runs' own folds"])
def test_auto_reaches_the_honest_goals(runs, folds):
    codes, probs = runs
    names, classes = tuple("abcde"), ("EAP", "HPL", "MWS")
    given = None if folds is None else assign(folds, pl.Series(codes.astype(str)))
    quick = ["mean", "log pool", "likeliest log pool", "bent log pool"]
    goals = {"log_loss": 0.2447, "macro_f1": 0.907} if folds is None else {"log_loss": 0.2447, "macro_f1": 0.9065}
    for metric, goal in goals.items():
        setting = Setting(names, classes, metric)
        tried = {name: CANDIDATES[name] for name in quick if CANDIDATES[name].suits(setting)}
        found = choose(probs, codes, setting, folds=given, candidates=tried).tried.honest
        assert find_metric(metric).better(found.honest, goal)


def test_stack_holds_out(runs):
    output = held_out(*runs, lambda *rows: stack.fit(*rows, strengths=(0.03, 0.1)))
    assert evaluate("log_loss", runs[0], output) <= 0.2465
    assert evaluate("macro_f1", runs[0], output) >= 0.9065


def test_macro_f1_of_the_joint_log_pool(runs):
    found = blend.fit(*runs, "macro_f1", family="log", bags=0)
    assert found.score >= 0.907
    assert found.score > blend.fit(*runs, "macro_f1", bags=0, time_limit=1).score


def test_rescaling_a_run_is_certified(runs):
    codes, probs = runs
    found = rescale.fit(codes, probs[0], "macro_f1", bags=0, certify_s=30)
    assert found.score >= found.score_at_argmax
    assert found.certificate.gap <= 2e-4
