"""Expected changes, held against worlds whose truth is known: intervals cover, probabilities come true."""

import numpy as np
import polars as pl
import pytest

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate
from kaggle_tools.predictions import Predictions
from kaggle_tools.submissions._simulate import class_counts, value_sums
from kaggle_tools.submissions.expected import expected_change
from kaggle_tools.submissions.judge import calibration_error, fit_judge

CLASSES = ("a", "b", "c")


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw(random, probs):
    return np.minimum((np.cumsum(probs, axis=1) <= random.random((len(probs), 1))).sum(axis=1), probs.shape[1] - 1)


def world(random, n, sharpness=(2.5, 1.6)):
    """True labels, and two models that see part of the evidence and are too sure of themselves."""
    y = random.choice(3, n, p=[0.6, 0.3, 0.1])
    models = []
    for sharp in sharpness:
        evidence = random.standard_normal((n, 3))
        evidence[np.arange(n), y] += 1.2
        models.append(softmax(sharp * (1.2 * evidence + np.log([0.6, 0.3, 0.1]))).astype(np.float32))
    return y, models


def predictions(random, n, prefix):
    y, models = world(random, n)
    ids = pl.Series("id", [f"{prefix}{i}" for i in range(n)])
    labels = pl.Series("label", CLASSES).gather(y)
    return y, {f"m{i}": Predictions(ids, CLASSES, probs, labels) for i, probs in enumerate(models)}


def test_judge_undoes_overconfidence_and_says_how_well():
    random = np.random.default_rng(0)
    _, oof = predictions(random, 4000, "o")
    y, test = predictions(random, 4000, "t")
    judge = fit_judge(oof, test)
    raw = calibration_error(y, test["m0"].probs.astype(np.float64))
    assert raw > 0.1
    assert calibration_error(y, judge.probs) < 0.03
    assert judge.calibration_error < 0.03
    assert evaluate("log_loss", y, judge.probs) == pytest.approx(judge.log_loss, abs=0.04)
    assert len(judge.refits) == 20


def test_intervals_cover_what_happens_and_probabilities_come_true():
    """Many worlds: the realised gain of one model over the other lies within the 95 % interval about so often."""
    random = np.random.default_rng(1)
    metrics = ("macro_f1", "accuracy", "log_loss")
    inside, better, promised, errors = ({metric: [] for metric in metrics} for _ in range(4))
    for _ in range(40):
        _, oof = predictions(random, 1500, "o")
        y, test = predictions(random, 600, "t")
        judge = fit_judge(oof, test, n_refits=4)
        a, b = test["m0"].probs, test["m1"].probs
        for metric in metrics:
            found = expected_change(metric, judge.refits, a, b, n_draws=400)
            real = evaluate(metric, y, b) - evaluate(metric, y, a)
            real *= 1 if found.greater_is_better else -1
            inside[metric].append(found.low <= real <= found.high)
            better[metric].append(real > 0)
            promised[metric].append(found.p_better)
            errors[metric].append((real - found.gain) / (found.high - found.low))
    for metric in metrics:
        assert 0.85 <= np.mean(inside[metric]) <= 1, metric
        assert np.mean(promised[metric]) == pytest.approx(np.mean(better[metric]), abs=0.15), metric
        assert abs(np.mean(errors[metric])) < 0.1, metric  # no side is favoured


def test_small_groups_are_drawn_exactly_and_large_ones_alike():
    random = np.random.default_rng(2)
    probs = random.dirichlet([5, 2, 0.02], 3001)
    values = random.standard_normal((3001, 3))
    small, large = (class_counts(probs[:n], 4000, random) for n in (3000, 3001))
    for counts, n in ((small, 3000), (large, 3001)):
        assert counts.sum(axis=1) == pytest.approx(n)
        assert counts.min() >= 0
        assert counts.mean(axis=0) == pytest.approx(probs[:n].sum(axis=0), rel=0.05)
        variance = (probs[:n] * (1 - probs[:n])).sum(axis=0)
        assert counts.var(axis=0) == pytest.approx(variance, rel=0.2)
    for n in (3000, 3001):
        sums = value_sums(probs[:n], values[:n], 4000, random)
        mean = (probs[:n] * values[:n]).sum(axis=1)
        spread = np.sqrt((probs[:n] * (values[:n] - mean[:, None]) ** 2).sum())
        assert sums.mean() == pytest.approx(mean.sum(), abs=4 * spread / 60)
        assert sums.std() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize(
    ("metric", "task"),
    [
        *((m, "single_label") for m in ("macro_f1", "mcc", "quadratic_kappa", "balanced_accuracy", "log_loss")),
        *((m, "single_label") for m in ("brier", "top_2_accuracy", "roc_auc")),
        *((m, "multi_label") for m in ("macro_f1", "micro_f1", "log_loss", "hamming_loss", "exact_match", "roc_auc")),
    ],
)
def test_every_form_agrees_with_scoring_drawn_labels_one_by_one(metric, task):
    random = np.random.default_rng(3)
    n = 80
    a, b, truth = random.random((3, n, 3))
    if task == "single_label":
        a, b, truth = (part / part.sum(axis=1, keepdims=True) for part in (a, b, truth**2))
    found = expected_change(metric, [truth], a, b, task=task, n_draws=2000)
    gains = []
    for _ in range(1000):
        y = draw(random, truth) if task == "single_label" else (random.random(truth.shape) < truth).astype(int)
        gains.append(evaluate(metric, y, b) - evaluate(metric, y, a))
    gains = np.array(gains) * (1 if found.greater_is_better else -1)
    assert found.gain == pytest.approx(gains.mean(), abs=5 * gains.std() / np.sqrt(min(1000, found.n_draws)))
    assert found.high - found.low == pytest.approx(np.diff(np.quantile(gains, [0.025, 0.975]))[0], rel=0.25)
    assert found.p_better == pytest.approx(np.mean(gains > 0) + np.mean(gains == 0) / 2, abs=0.08)


def test_several_labels_are_judged_one_by_one():
    random = np.random.default_rng(4)
    truth = random.random((3000, 2))
    sharp = softmax(np.stack([2 * np.log(1 - truth), 2 * np.log(truth)], 2).reshape(-1, 2))[:, 1].reshape(-1, 2)
    drawn = random.random(truth.shape) < truth
    labels = pl.Series("label", ["|".join(c for c, on in zip("ab", row, strict=True) if on) for row in drawn])
    ids = pl.Series("id", [f"r{i}" for i in range(3000)])
    made = Predictions(ids, ("a", "b"), sharp.astype(np.float32), labels, task="multi_label")
    judge = fit_judge({"m": made}, {"m": made})
    assert np.abs(judge.probs - truth).mean() < 0.02
    assert judge.calibration_error < 0.03


def test_nothing_changes_between_equals():
    probs = np.random.default_rng(5).dirichlet([1, 1, 1], 50)
    for metric in ("macro_f1", "log_loss"):
        found = expected_change(metric, [probs], probs, probs, n_draws=100)
        assert (found.gain, found.low, found.high, found.p_better) == (0, 0, 0, 0.5)


def test_labels_have_no_log_loss():
    probs = np.full((4, 3), 1 / 3)
    with pytest.raises(UserError, match="log_loss needs probabilities, and B holds labels"):
        expected_change("log_loss", [probs], probs, np.zeros(4, np.int64))
