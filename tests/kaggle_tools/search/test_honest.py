import numpy as np
import pytest
from sklearn import metrics as sk

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, confusion, find_metric
from kaggle_tools.metrics import evaluate as score
from kaggle_tools.search import honest
from kaggle_tools.search._best_single import spread_of_choice
from kaggle_tools.search._outcomes import SCORERS, multi_label_cells, side_of, single_label_cells, value_cells
from kaggle_tools.search._ranked import of_weights
from kaggle_tools.search._resample import Cells, bootstrap
from kaggle_tools.search._row_values import ROW_VALUES
from kaggle_tools.search._selection import optimism_of_choice, scorer
from kaggle_tools.search.compare import compare, interval_of_mean, standard_error

from .data import make_label_stack, make_stack


def only_totals(cells):
    """The sums without any resampling, as one bootstrap."""
    rows = np.repeat(cells.sizes, np.diff(cells.starts)) * cells.amounts
    return np.bincount(cells.sums, rows, cells.n_sums)[:, None]


def draws_of(cells, n_bootstraps, seed=0):
    blocks = []

    def keep(sums):
        blocks.append(sums.copy())
        return sums[0]

    bootstrap(cells, keep, n_bootstraps, seed)
    return np.concatenate(blocks, axis=1)


def counting_cells(sizes):
    k = len(sizes)
    return Cells(np.array(sizes), np.arange(k + 1), np.arange(k), np.ones(k), k)


@pytest.mark.parametrize("sizes", [[1], [2, 3], [1, 1, 1, 5, 30], [3, 400, 400, 17, 9000]])
def test_bootstrap_counts_are_multinomial(sizes):
    n, n_bootstraps = sum(sizes), 20_000
    draws = draws_of(counting_cells(sizes), n_bootstraps)
    share = np.array(sizes) / n
    assert (draws.sum(axis=0) == n).all()
    assert (draws == np.round(draws)).all()
    covariance = n * (np.diag(share) - np.outer(share, share))
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(draws.mean(axis=1) - sizes) <= 5 * spread / np.sqrt(n_bootstraps)).all()
    np.testing.assert_allclose(
        np.atleast_2d(np.cov(draws)), covariance, atol=0.05 * (np.outer(spread, spread).max() + 1e-9)
    )


def test_small_bootstrap_has_the_exact_distribution():
    """Three rows, two alike: how often the single one is drawn is binomial(3, 1/3)."""
    draws = draws_of(counting_cells([2, 1]), 40_000)[1]
    expected = np.array([8, 12, 6, 1]) / 27
    np.testing.assert_allclose(np.bincount(draws.astype(int), minlength=4) / 40_000, expected, atol=0.012)


def test_bootstrap_depends_on_the_seed_alone():
    cells = counting_cells([5, 50, 500])
    a, b, c = (bootstrap(cells, lambda sums: sums[1], 3000, seed) for seed in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


@pytest.mark.parametrize("name", [name for name in SCORERS["single_label"] if name != "binary_f1"])
def test_counts_of_many_bootstraps_score_like_the_registry(name):
    random = np.random.default_rng(0)
    codes, ours, theirs = random.integers(0, 4, (3, 300))
    codes[codes == 3] = 0  # a class that is predicted but never true
    totals = only_totals(single_label_cells(codes, ours, theirs, 5))  # and one that is neither
    for side, predicted in enumerate((ours, theirs)):
        expected = METRICS[name].from_confusion(confusion(codes, predicted, 5))
        assert SCORERS["single_label"][name](side_of(totals, 5, side))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", [*SCORERS["multi_label"]])
def test_label_counts_score_like_the_registry(name):
    stack, codes = make_label_stack(2, 200, 5)
    codes[:, 4], stack[:, :, 4] = 0, 0
    ours, theirs = stack >= 0.5
    totals = only_totals(multi_label_cells(codes.astype(bool), ours, theirs))
    for side, probs in enumerate(stack):
        expected = score(name, codes, probs)
        assert SCORERS["multi_label"][name](side_of(totals, 5, side))[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("name", "task"), [*ROW_VALUES])
def test_row_values_have_the_metric_as_their_mean(name, task):
    stack, codes = make_stack(1, 300, 4) if task == "single_label" else make_label_stack(1, 300, 4)
    truth = codes[:, None] == np.arange(4) if task == "single_label" else codes.astype(bool)
    values = ROW_VALUES[name, task](truth, np.round(stack[0].astype(np.float64), 2))
    expected = METRICS[name].functions[task](truth, np.round(stack[0].astype(np.float64), 2), np.ones(300))
    assert values.mean() == pytest.approx(expected, abs=1e-12)


def test_binned_values_keep_mean_and_variance():
    values = np.random.default_rng(0).standard_t(3, 50_000)
    cells = value_cells(values)
    means = np.repeat(cells.amounts, cells.sizes)
    assert cells.sizes.sum() == 50_000
    assert len(cells.sizes) <= 8192 + 1
    assert means.mean() == pytest.approx(values.mean(), abs=1e-12)
    assert means.var() == pytest.approx(values.var(), rel=1e-3)


SCIKIT = {
    "macro_f1": lambda y, p: sk.f1_score(y, p.argmax(1), average="macro"),
    "mcc": lambda y, p: sk.matthews_corrcoef(y, p.argmax(1)),
    "quadratic_kappa": lambda y, p: sk.cohen_kappa_score(y, p.argmax(1), weights="quadratic"),
    "log_loss": lambda y, p: -sk.log_loss(y, p / p.sum(axis=1, keepdims=True), labels=[0, 1, 2]),
    "roc_auc": lambda y, p: np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(3)]),
    "average_precision": lambda y, p: np.mean([sk.average_precision_score(y == c, p[:, c]) for c in range(3)]),
}


@pytest.mark.parametrize(
    ("name", "copies"), [*((name, 0) for name in SCIKIT), ("macro_f1", 5), ("log_loss", 5), ("average_precision", 5)]
)
def test_interval_is_that_of_a_naive_bootstrap_with_scikit_learn(name, copies):
    """Of single rows, or of whole groups of up to so many alike rows, which row by row would seem to tell more."""
    stack, codes = make_stack(2, 300, 3, seed=3)
    random = np.random.default_rng(0)
    groups = None
    if copies:
        groups = random.permutation(np.repeat(np.arange(300), random.integers(1, copies + 1, 300)))
        stack, codes = stack[:, groups], codes[groups]
    ours, theirs = stack.astype(np.float64)
    members = [np.flatnonzero(groups == group) for group in range(300)] if copies else np.arange(300)[:, None]
    naive = []
    for _ in range(400):
        rows = np.concatenate([members[group] for group in random.integers(0, 300, 300)])
        naive.append(SCIKIT[name](codes[rows], ours[rows]) - SCIKIT[name](codes[rows], theirs[rows]))
    found = compare(name, codes, ours, theirs, n_bootstraps=2000, groups=groups)
    # Monte Carlo errors: 3.5 % of a standard deviation in `naive`, up to .15 standard deviations in its 95 % ends.
    spread = np.std(naive)
    assert found.standard_error == pytest.approx(spread, rel=0.15)
    assert [found.low, found.high] == pytest.approx(np.quantile(naive, [0.025, 0.975]), abs=0.45 * spread)
    assert found.p_gain == pytest.approx(np.mean(np.array(naive) > 0), abs=0.1)
    assert found.gain == pytest.approx(SCIKIT[name](codes, ours) - SCIKIT[name](codes, theirs), abs=1e-6)


def test_multi_label_interval_is_that_of_a_naive_bootstrap():
    stack, codes = make_label_stack(2, 200, 4)
    random = np.random.default_rng(0)
    naive = []
    for _ in range(300):
        rows = random.integers(0, 200, 200)
        a, b = (sk.f1_score(codes[rows], probs[rows] >= 0.5, average="micro") for probs in stack)
        naive.append(a - b)
    found = compare("micro_f1", codes, *stack, n_bootstraps=2000)
    assert found.standard_error == pytest.approx(np.std(naive), rel=0.15)


def test_decisions_compare_like_their_probabilities():
    stack, codes = make_stack(2)
    from_probs = compare("macro_f1", codes, *stack, n_bootstraps=500)
    from_labels = compare("macro_f1", codes, stack[0].argmax(1), stack[1].argmax(1), n_bootstraps=500)
    assert from_probs == from_labels
    with pytest.raises(UserError, match="needs probabilities"):
        compare("log_loss", codes, stack[0].argmax(1), stack[1])


def test_a_loss_gains_by_falling():
    stack, codes = make_stack(2, seed=1)
    better, worse = sorted(stack, key=lambda probs: score("log_loss", codes, probs))
    found = compare("log_loss", codes, better, worse, n_bootstraps=500)
    assert found.ours < found.theirs
    assert found.gain > 0


def memorise(stack, codes, folds):
    """A search that knows its own rows by heart and nothing of others."""
    known = {probs.tobytes(): code for probs, code in zip(stack[0], codes, strict=True)}
    return lambda new: np.array([known.get(probs.tobytes(), 0) for probs in new[0]])


def test_memorising_is_seen_through():
    stack, codes = make_stack()
    found = honest.evaluate(memorise, stack, codes, "accuracy", n_bootstraps=500)
    assert found.fitted == 1.0
    assert found.honest == np.mean(codes == 0)
    assert found.optimism == found.fitted - found.honest
    assert found.comparison.high < 0
    assert "use the simpler recipe" in found.verdict


def test_each_fold_is_scored_by_a_fit_without_it():
    stack, codes = make_stack(2, 90)
    folds = np.arange(90) % 3
    calls = []

    def fit(part, part_codes, part_folds):
        calls.append((part.shape, set(part_folds)))
        return lambda new: np.full(new.shape[1], len(calls) - 2 if len(calls) > 1 else 0)

    found = honest.evaluate(fit, stack, codes, "accuracy", folds=folds, n_bootstraps=100)
    assert calls == [((2, 90, 3), {0, 1, 2}), ((2, 60, 3), {1, 2}), ((2, 60, 3), {0, 2}), ((2, 60, 3), {0, 1})]
    assert (found.output == folds).all()
    assert (found.n_folds, found.folds_from) == (3, "given")


def test_best_model_is_chosen_without_the_fold_it_is_scored_on():
    """Two models: each is right outside one fold only, so whoever looks best from outside is wrong inside."""
    codes = np.tile([0, 1], 30)
    folds = np.repeat([0, 1], 30)
    right = np.eye(2, dtype=np.float32)[codes]
    stack = np.stack([np.where((folds == f)[:, None], right, 1 - right) for f in (0, 1)])
    found = honest.evaluate(lambda *_: lambda new: new[0], stack, codes, "accuracy", folds=folds, n_bootstraps=100)
    assert found.best_models == (1, 0)
    assert found.comparison.theirs == 0.0


def equal_models(seed, n_models, n_rows, noise):
    """Models that know the true probabilities, each with noise of its own: blending them gains next to nothing."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_rows, 3)) * 1.5
    exp = np.exp(np.stack([logits, *(logits + noise * rng.normal(size=(n_models, n_rows, 3)))]))
    truth, *stack = exp / exp.sum(axis=2, keepdims=True)
    codes = (truth.cumsum(axis=1) > rng.random((n_rows, 1))).argmax(axis=1)
    return np.array(stack, np.float32), codes, rng.permutation(n_rows) % 5


@pytest.mark.parametrize(("name", "noise", "n_models"), [("log_loss", 0.01, 2), ("log_loss", 0.01, 8), ("mcc", 0.1, 4)])
def test_the_error_of_a_gain_over_the_best_of_equal_models_counts_that_it_was_chosen(name, noise, n_models):
    """Over many tables gains vary as their errors say; errors with the choice fixed are a quarter too small or more."""

    def mean_of(seed):
        stack, codes, folds = equal_models(seed, n_models, 250, noise)
        found = honest.evaluate(
            lambda *_: lambda new: new.mean(axis=0), stack, codes, name, folds=folds, n_bootstraps=200
        )
        return found.comparison.gain, found.comparison.standard_error

    gains, errors = np.array([mean_of(seed) for seed in range(100)]).T
    assert 0.8 < gains.std() / np.sqrt(np.mean(errors**2)) < 1.15


@pytest.mark.parametrize("name", ["macro_f1", "log_loss", "roc_auc", "average_precision"])
def test_where_one_model_is_clearly_the_best_the_interval_is_that_of_the_rows_alone(name):
    stack, codes, folds = equal_models(0, 3, 600, 0.3)
    stack[1:] = stack[1:] / 4 + np.roll(stack[1:], 1, axis=1) * 3 / 4
    found = honest.evaluate(lambda *_: lambda new: new.mean(axis=0), stack, codes, name, folds=folds, n_bootstraps=500)
    assert found.best_models == (0,) * 5
    fixed = compare(name, codes, stack.mean(axis=0), stack[0], n_bootstraps=500)
    assert found.comparison.low == pytest.approx(fixed.low, rel=1e-6)
    assert found.comparison.high == pytest.approx(fixed.high, rel=1e-6)


@pytest.mark.parametrize("name", ["macro_f1", "log_loss", "average_precision"])
def test_four_copies_of_each_row_tell_no_more_than_one_where_they_are_a_group(name):
    stack, codes, folds = equal_models(0, 4, 120, 0.3)
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(120), 4))
    once = spread_of_choice(find_metric(name), codes, stack, stack.mean(axis=0), folds, seed=0)
    copies = (codes[rows], stack[:, rows], stack.mean(axis=0)[rows], folds[rows])
    assert spread_of_choice(find_metric(name), *copies, seed=0, groups=rows) == pytest.approx(once, rel=1e-6)
    sign = 1 if find_metric(name).greater_is_better else -1
    best = int(np.argmax([sign * score(name, codes, one) for one in stack]))
    lucky = optimism_of_choice(name, codes, stack, first_best, best)
    assert lucky > 0
    assert optimism_of_choice(name, codes[rows], stack[:, rows], first_best, best, groups=rows) == pytest.approx(lucky)
    found = [
        honest.evaluate(mean_of_models, stack[:, taken], codes[taken], name, folds=folds[taken], groups=together)
        for taken, together in ((np.arange(120), None), (rows, rows), (rows, None))
    ]
    single, together, apart = (one.comparison.standard_error for one in found)
    assert together == pytest.approx(single, rel=0.15)
    assert apart < 0.65 * single


def mean_of_models(*_):
    return lambda new: new.mean(axis=0)


def first_best(scores):
    return [int(place) for place in scores.argmax(axis=1)]


def test_few_groups_widen_the_interval_by_students_t():
    """Eight groups whose rows gain alike: in about 95 % of tables the interval holds the true gain of zero."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 20)
    held = 0
    for seed in range(300):
        low, high = interval_of_mean(rng.normal(size=8)[groups], groups=groups, n_bootstraps=500, seed=seed)
        held += low < 0 < high
    assert 0.92 < held / 300 < 0.985
    codes = np.tile([0, 1], 80)
    one_group = compare("accuracy", codes, codes, 1 - codes, groups=np.zeros(160), n_bootstraps=200)
    assert one_group == compare("accuracy", codes, codes, 1 - codes, n_bootstraps=200)
    with pytest.raises(UserError, match=r"groups of shape \(3,\) do not fit 160 rows"):
        compare("accuracy", codes, codes, 1 - codes, groups=[0, 1, 2])


@pytest.mark.parametrize("name", [name for name, one in METRICS.items() if one.from_confusion is not None])
def test_scores_of_weighted_rows_are_those_of_the_weighted_confusion_matrix(name):
    rng, metric = np.random.default_rng(0), find_metric(name)
    n_classes = metric.n_classes or 7
    codes, decided = rng.integers(n_classes, size=(2, 90))
    probs = rng.dirichlet(np.ones(n_classes), 90)
    weights = rng.poisson(0.5, 90).astype(np.float64)
    expected = []
    for one in (probs.argmax(axis=1), decided):
        matrix = np.zeros((n_classes, n_classes))
        np.add.at(matrix, (codes, one), weights)
        expected.append(metric.from_confusion(matrix))
    assert scorer(metric, codes, [probs, decided])[0](weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
@pytest.mark.parametrize(("task", "n_classes"), [("single_label", 2), ("single_label", 9), ("multi_label", 5)])
def test_rows_that_are_ranked_once_score_as_those_ranked_anew_for_each_weighting(name, task, n_classes):
    rng = np.random.default_rng(0)
    truth = np.eye(n_classes, dtype=np.bool_)[rng.integers(n_classes, size=80)]
    truth |= (task == "multi_label") & (rng.random(truth.shape) < 0.2)
    truth[:, -1] &= n_classes == 2  # a label without a row
    probs = np.round(rng.dirichlet(np.ones(n_classes), 80), 1)  # ties
    metric = find_metric(name)
    found = of_weights(metric, task, truth, probs)
    weights = [*rng.poisson(0.3, (20, 80)).astype(np.float64), rng.random(80)]
    expected = [metric.functions[task](truth, probs, one) for one in weights]
    assert [found(one) for one in weights] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UserError, match="ranks nothing here"):
        found(np.zeros(80))


def test_classes_by_the_thousand_leave_the_interval_quick():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 400, 900)
    right = rng.random((3, 900)) < 0.5
    stack = np.eye(400, dtype=np.float32)[np.where(right, codes, (codes + 1) % 400)]
    spread = spread_of_choice(find_metric("macro_f1"), codes, stack, stack.mean(axis=0), np.arange(900) % 5, seed=0)
    assert 1.0 < spread < 1.6


@pytest.mark.parametrize("name", ["macro_f1", "log_loss", "roc_auc"])
def test_a_plain_mean_has_no_optimism(name):
    stack, codes = make_stack()
    found = honest.evaluate(lambda *_: lambda new: new.mean(axis=0), stack, codes, name, n_bootstraps=500)
    assert found.optimism == pytest.approx(0, abs=1e-12)
    assert found.comparison.gain > 0
    assert "macro_f1" in repr(found) or name in repr(found)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "spearman"])
def test_fits_of_other_scales_cost_nothing_where_only_the_order_counts(name):
    stack, codes = make_stack(2, 400, 2)
    scales = iter([1.0, 0.2, 1.0, 5.0, 0.5, 2.0])  # of the fit to all rows, and of each fold's

    def fit(part, _codes, _folds):
        power = next(scales)

        def apply(rows):
            scaled = rows[0].astype(np.float64) ** power
            return scaled / scaled.sum(axis=1, keepdims=True)

        return apply

    found = honest.evaluate(fit, stack, codes, name, n_bootstraps=100)
    assert found.honest == pytest.approx(score(name, codes, stack[0]))
    assert found.optimism == pytest.approx(0)


@pytest.mark.parametrize("several", [False, True])
def test_fits_of_other_scales_cost_a_linear_correlation_nothing(several):
    stack, codes = make_label_stack() if several else make_stack(2, 400, 2)
    spreads = iter([1.0, 0.2, 0.9, 0.5, 0.1, 0.7])  # of the fit to all rows, and of each fold's
    constant = np.where(np.arange(stack.shape[2]) == 0, 0.25, 0.75)

    def fit(*_):
        share = next(spreads)
        return lambda rows: share * rows[0].astype(np.float64) + (1 - share) * constant

    found = honest.evaluate(fit, stack, codes, "pearson", n_bootstraps=100)
    assert found.honest == pytest.approx(score("pearson", codes, stack[0]))
    flat = honest.evaluate(lambda *_: lambda rows: np.full(rows[0].shape, 0.5), stack, codes, "pearson")
    assert flat.honest == 0


def test_the_best_model_of_another_scale_in_each_fold_is_no_worse_for_that():
    """Two models say the same but for noise, one of them far surer: pooled as they are, rows would be mixed up."""
    random = np.random.default_rng(0)
    codes = random.integers(2, size=2000)
    logits = 1.5 * codes - 1.5 + random.standard_normal(2000)
    noisy = np.stack([logits + 0.05 * random.standard_normal(2000), 6 * (logits + 0.05 * random.standard_normal(2000))])
    positive = 1 / (1 + np.exp(-noisy))
    stack = np.stack([1 - positive, positive], axis=2).astype(np.float32)
    found = honest.evaluate(lambda *_: lambda rows: rows[0], stack, codes, "roc_auc", folds=np.arange(2000) % 10)
    assert set(found.best_models) == {0, 1}
    assert found.comparison.theirs == pytest.approx(sk.roc_auc_score(codes, positive[0]), abs=0.002)


def test_multi_label_search_is_evaluated():
    stack, codes = make_label_stack()
    found = honest.evaluate(lambda *_: lambda new: new.mean(axis=0), stack, codes, "macro_f1", n_bootstraps=300)
    assert found.honest == score("macro_f1", codes, stack.mean(axis=0))


def test_equal_predictions_gain_nothing():
    stack, codes = make_stack(1)
    found = honest.evaluate(lambda *_: lambda new: new[0], stack, codes, "macro_f1", n_bootstraps=300)
    assert (found.comparison.low, found.comparison.high, found.comparison.p_gain) == (0, 0, 0.5)
    assert "prefer the simpler recipe" in found.verdict


def test_made_folds_are_stratified():
    codes = np.repeat([0, 1, 2], [50, 13, 2])
    folds = honest.stratified_folds(codes, 5, seed=1)
    for code in range(3):
        counts = np.bincount(folds[codes == code], minlength=5)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": None}, "labels are missing"),
        ({"codes": np.zeros(599, int)}, "labels have shape"),
        ({"codes": np.full(600, 7)}, "600 of 600 rows have labels outside"),
        ({"metric": "macrof1"}, "unknown metric"),
        ({"metric": "hamming_loss"}, "not for single_label"),
        ({"folds": np.zeros(600)}, "all 600 rows are in fold 0"),
        ({"folds": np.r_[np.nan, np.ones(599)]}, "1 of 600 rows have no valid fold"),
        ({"folds": np.zeros(10)}, "folds have shape"),
        ({"n_folds": 1}, "cannot make 1 folds"),
        ({"n_bootstraps": 0}, "one draw or more"),
    ],
)
def test_bad_input_is_told_with_figures(changes, message):
    stack, codes = make_stack()
    arguments = {"stack": stack, "codes": codes, "metric": "macro_f1", **changes}
    with pytest.raises(UserError, match=message):
        honest.evaluate(lambda *_: lambda new: new[0], **arguments)


def test_nan_is_told_with_its_row():
    stack, codes = make_stack()
    stack[1, 3, 0] = np.nan
    with pytest.raises(UserError, match=r"1 of 600 rows have a prob.*\n.*model 2 of 5") as error:
        honest.evaluate(memorise, stack, codes, "macro_f1")
    assert error.value.details["first"].startswith("row 4")


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "log_loss", "roc_auc", "rmse"])
def test_the_error_of_one_score_is_that_of_a_bootstrap_by_hand(metric):
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 2, 300)
    second = 1 / (1 + np.exp(-(2.0 * truth - 1.0 + 1.5 * draw.standard_normal(300))))
    probs = np.column_stack([1 - second, second]).astype(np.float32)
    by_hand = []
    for _ in range(1_000):
        rows = draw.integers(0, 300, 300)
        by_hand.append(score(metric, truth[rows], probs[rows]))
    assert standard_error(metric, truth, probs) == pytest.approx(np.std(by_hand), rel=0.12)


def test_the_error_of_one_score_of_several_labels():
    draw = np.random.default_rng(3)
    truth = draw.random((300, 4)) < 0.3
    probs = np.clip(0.6 * truth + 0.5 * draw.random((300, 4)), 0.0, 1.0).astype(np.float32)
    rows = [draw.integers(0, 300, 300) for _ in range(1_000)]
    by_hand = [score("macro_f1", truth[drawn].astype(np.int64), probs[drawn]) for drawn in rows]
    found = standard_error("macro_f1", truth.astype(np.int64), probs)
    assert found == pytest.approx(np.std(by_hand), rel=0.12)
