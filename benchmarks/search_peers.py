"""How others search: each peer as its documentation shows, with the library's own settings unless said otherwise.

Everything is imported where it is used; what is not installed becomes a row that says so. Optuna and cmaes are given
our own fast metrics, so that they are measured as samplers and not by the speed of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Answer, Contest

Floats = NDArray[np.float64]
CMA_SHARE = 10  # an evaluation of CMA-ES costs next to nothing beside a trial of TPE
_ENSEMBLE_SIZE = 25


def nelder_mead(contest: Contest) -> Answer:
    """The seed documents' recipe: scipy's Nelder-Mead over scikit-learn's metric."""
    from scipy.optimize import minimize

    cost, size = _sklearn_cost(contest), _size(contest)
    found = minimize(
        lambda point: cost(_predict(contest, point)(contest.fitted.stack)), np.ones(size), method="nelder-mead"
    )
    return Answer(_predict(contest, found.x), note=f"{found.nfev:,} evaluations")


def optuna_tpe(contest: Contest) -> Answer:
    """Optuna's TPE alone, sampler named."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    cost, size = _fast_cost(contest), _size(contest)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        return cost(np.exp([trial.suggest_float(f"log_w{i}", -3.0, 3.0) for i in range(size)]))

    study.enqueue_trial({f"log_w{i}": 0.0 for i in range(size)})
    study.optimize(objective, n_trials=contest.trials)
    best = np.exp([study.best_params[f"log_w{i}"] for i in range(size)])
    return Answer(_predict(contest, best), note=f"{contest.trials:,} trials")


def cma_es(contest: Contest) -> Answer:
    """cmaes alone, from equal weights."""
    from cmaes import CMA

    cost, size = _fast_cost(contest), _size(contest)
    search = CMA(mean=np.zeros(size), sigma=0.5, seed=0)
    best, lowest, n_tried = np.ones(size), np.inf, 0
    while n_tried < CMA_SHARE * contest.trials and not search.should_stop():
        points = [search.ask() for _ in range(search.population_size)]
        costs = [cost(np.exp(point)) for point in points]
        search.tell(list(zip(points, costs, strict=True)))
        n_tried += len(points)
        if min(costs) < lowest:
            best, lowest = np.exp(points[int(np.argmin(costs))]), min(costs)
    return Answer(_predict(contest, best), note=f"{n_tried:,} evaluations")


def classification_cutoffs(contest: Contest) -> Answer:
    """optimal-classification-cutoffs: coordinate ascent for macro F1, which subtracts a threshold from each class."""
    from optimal_cutoffs import get_optimal_multiclass_thresholds

    probs = contest.fitted.stack[0].astype(np.float64)
    found = get_optimal_multiclass_thresholds(contest.fitted.codes, probs, metric="f1", method="coord_ascent")
    thresholds = np.asarray(found.thresholds)

    def predict(stack: NDArray[np.float32]) -> Floats:
        return np.eye(stack.shape[2])[(stack[0] - thresholds).argmax(axis=1)]

    return Answer(predict)


def hillclimbers(contest: Contest) -> Answer:
    """hillclimbers at its default step of .01; it blends one column, so this is for two classes."""
    import pandas as pd
    from hillclimbers import climb_hill, partial
    from sklearn import metrics as sk

    functions = {"log_loss": sk.log_loss, "roc_auc": sk.roc_auc_score, "rmse": sk.root_mean_squared_error}
    columns = [pd.DataFrame(half.stack[:, :, 1].T.astype(np.float64)) for half in (contest.fitted, contest.held_out)]
    for frame in columns:
        frame.columns = [f"m{i}" for i in range(frame.shape[1])]
    _, blended = climb_hill(
        train=pd.DataFrame({"y": contest.fitted.codes}),
        oof_pred_df=columns[0],
        test_pred_df=columns[1],
        target="y",
        objective="maximize" if contest.metric == "roc_auc" else "minimize",
        eval_metric=partial(functions[contest.metric]),
        plot_hill=False,
        return_oof_preds=True,
    )
    # It gives predictions only; they are a linear combination, so the weights follow.
    weights = np.linalg.lstsq(columns[0].to_numpy(), np.asarray(blended), rcond=None)[0]
    return Answer(lambda stack: np.tensordot(weights, stack, 1))


def autogluon(contest: Contest) -> Answer:
    """AutoGluon's EnsembleSelection (Caruana's greedy selection with replacement), 25 rounds."""
    from autogluon.core import metrics
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    names = {"macro_f1": "f1_macro", "log_loss": "log_loss", "roc_auc": "roc_auc", "rmse": "root_mean_squared_error"}
    kinds = {"macro_f1": "multiclass", "rmse": "regression"}
    kind = kinds.get(contest.metric, "binary")
    stack = contest.fitted.stack.astype(np.float64)
    search = EnsembleSelection(_ENSEMBLE_SIZE, kind, getattr(metrics, names[contest.metric]))
    search.fit(list(stack if kind == "multiclass" else stack[:, :, 1]), contest.fitted.codes)
    return Answer(lambda given: np.tensordot(search.weights_, given, 1), note=f"{_ENSEMBLE_SIZE} rounds")


def naive_bootstrap(contest: Contest) -> Answer:
    """Paired bootstrap as it is usually written: draw rows, score both with scikit-learn; a few draws are timed."""
    from sklearn.metrics import f1_score

    rng, draws = np.random.default_rng(0), 3
    codes, labels = contest.fitted.codes, contest.fitted.stack.argmax(axis=2)
    for _ in range(draws):
        rows = rng.integers(len(codes), size=len(codes))
        for model in labels:
            f1_score(codes[rows], model[rows], average="macro")
    return Answer(times=contest.trials / draws, note=f"from {draws} draws")


def naive_vote(contest: Contest) -> Answer:
    """All triples and quadruples of the models by numpy's majority and scikit-learn's F1, once a round."""
    from math import comb

    from sklearn.metrics import f1_score

    codes, labels = contest.fitted.codes, contest.fitted.stack.argmax(axis=2)
    n_models, n_classes, tried = len(labels), contest.fitted.stack.shape[2], 10
    for first in range(tried):
        votes = np.eye(n_classes, dtype=np.int8)[labels[[first, first + 1, first + 2]]].sum(axis=0)
        f1_score(codes, votes.argmax(axis=1), average="macro")
    everything = 2 * (comb(n_models, 3) + comb(n_models, 4))
    return Answer(times=everything / tried, note=f"two rounds, from {tried} of {everything:,} votes; not nested")


def _size(contest: Contest) -> int:
    """One weight a class for a single model, else one a model, and one a class where classes are chosen."""
    m, _, c = contest.fitted.stack.shape
    return c if m == 1 else m + (c if contest.metric == "macro_f1" else 0)


def _predict(contest: Contest, point: Floats) -> Callable[[NDArray[np.float32]], NDArray]:
    """Σ a_m p_m times class weights, weights in the order of `_size`."""
    m, _, c = contest.fitted.stack.shape
    weights = np.abs(np.asarray(point, np.float32))
    models = np.ones(1, np.float32) if m == 1 else weights[:m] / weights[:m].sum()
    classes = weights if m == 1 else weights[m:] if len(weights) > m else np.ones(c, np.float32)
    return lambda stack: np.tensordot(models, stack, 1) * classes


def _sklearn_cost(contest: Contest) -> Callable[[NDArray], float]:
    from sklearn import metrics as sk

    codes = contest.fitted.codes
    costs = {
        "macro_f1": lambda scores: -sk.f1_score(codes, scores.argmax(axis=1), average="macro"),
        "log_loss": lambda scores: sk.log_loss(codes, np.clip(scores[:, 1], 0.0, 1.0)),
        "roc_auc": lambda scores: -sk.roc_auc_score(codes, scores[:, 1]),
        "rmse": lambda scores: sk.root_mean_squared_error(codes, scores[:, 1]),
    }
    return costs[contest.metric]


def _fast_cost(contest: Contest) -> Callable[[Floats], float]:
    """The metric of a point, less is better; macro F1 from a confusion matrix, others by our own functions."""
    from kaggle_tools.metrics import confusion, evaluate, find_metric

    stack, codes = contest.fitted.stack, contest.fitted.codes
    metric = find_metric(contest.metric)
    sign = -1.0 if metric.greater_is_better else 1.0

    def cost(point: Floats) -> float:
        scores = _predict(contest, point)(stack)
        if metric.from_confusion is not None:
            return sign * metric.from_confusion(confusion(codes, scores.argmax(axis=1), stack.shape[2]))
        return sign * evaluate(metric.name, codes, scores)

    return cost
