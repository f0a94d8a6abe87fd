"""Ways to make one prediction of several, by name: each a function from out-of-fold probabilities to a `Recipe`.

    setting = Setting(names=("roberta", "linear"), classes=("cat", "dog"), metric="macro_f1")
    recipe = CANDIDATES["log pool"].fit(setting, stack, codes, folds)

Adding one is adding a function and its row in `CANDIDATES`. Which of them to trust is for `choose` to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate as score
from kaggle_tools.metrics import find_metric
from kaggle_tools.search import blend, greedy, logloss, rescale, stack, thresholds, vote
from kaggle_tools.search._study_processes import search_together
from kaggle_tools.search._study_samplers import check_sampler
from kaggle_tools.search.counts import is_count_metric
from kaggle_tools.search.lines import MAX_CLASSES
from kaggle_tools.search.recipe import Recipe, apply_stack

Stack = NDArray[np.float32]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """What every candidate is told.

    Attributes:
        names: M model names.
        classes: C class names.
        metric: What is improved.
        task: ``single_label`` or ``multi_label``.
        seed: Of everything random.
        signed: Weights of the linear pool may be negative.
        sparse: Models used at most: the pools leave some out, and what takes all of them is not tried; None for all.
        per_class: The pools have a weight for each model and class.
        bags: Bootstraps over which weights are averaged.
        time_limit: Seconds that one fit of a count metric may take; None for no limit.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    metric: str
    task: str = "single_label"
    seed: int = 0
    signed: bool = False
    sparse: int | None = None
    per_class: bool = False
    bags: int = 20
    time_limit: float | None = None

    @property
    def has_class_weights(self) -> bool:
        """Whether class weights can improve this metric exactly."""
        return self.task == "single_label" and is_count_metric(self.metric)

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds can."""
        return self.task == "multi_label" and find_metric(self.metric).name in thresholds.METRICS

    def recipe(self, kind: str, parameters: Mapping[str, Any]) -> Recipe:
        """A recipe for these models and classes."""
        return Recipe(kind, self.task, self.classes, self.names, find_metric(self.metric).name, dict(parameters))


Fit = Callable[[Setting, Stack, Codes, Codes], Recipe]

_CUTS = 5  # of the only fold that is left
_REMEMBERED = 64  # recipes of a candidate: those of some searches with their folds
_SMALL = 1 << 24  # probabilities up to which reading them once more is nothing beside a fit


@dataclass(frozen=True)
class Candidate:
    """One way to blend.

    Attributes:
        fit: (setting, stack (M, N, C), codes, folds) to a recipe.
        method: The `--method` that it belongs to.
        suits: Whether it is worth trying in a setting.
        n_parameters: Fitted numbers in a setting.
    """

    fit: Fit
    method: str
    suits: Callable[[Setting], bool]
    n_parameters: Callable[[Setting], int]


def remembered(fit: Fit) -> Fit:
    """`fit`, which gives the recipe of the same rows again: other candidates, and the study, begin where it ended."""
    known: dict[bytes, Recipe] = {}

    @wraps(fit)
    def once(setting: Setting, probs: Stack, codes: Codes, folds: Codes) -> Recipe:
        if probs.size > _SMALL:
            return fit(setting, probs, codes, folds)
        digest = hashlib.blake2b(repr((setting, probs.shape)).encode(), digest_size=16)
        for array in (probs, codes, folds):
            digest.update(np.ascontiguousarray(array).data)
        key = digest.digest()
        if key not in known:
            if len(known) == _REMEMBERED:
                known.pop(next(iter(known)))  # the oldest
            known[key] = fit(setting, probs, codes, folds)
        return known[key]

    return once


def best_single(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """The model that is best on these rows, alone."""
    metric = find_metric(setting.metric)
    scores = [score(metric.name, codes, model) for model in probs]
    best = int(np.argmax(scores) if metric.greater_is_better else np.argmin(scores))
    return setting.recipe("linear_pool", {"weights": np.eye(len(probs))[best]})


def mean(setting: Setting, _probs: Stack, _codes: Codes, _folds: Codes) -> Recipe:
    """The equal mean of all models."""
    return setting.recipe("mean", {})


def geometric_mean(setting: Setting, _probs: Stack, _codes: Codes, _folds: Codes) -> Recipe:
    """The equal mean of the logarithms."""
    return setting.recipe("geometric_mean", {})


def rank_mean(setting: Setting, _probs: Stack, _codes: Codes, _folds: Codes) -> Recipe:
    """The mean of each class's ranks: for models whose probabilities are of different scales."""
    return setting.recipe("rank_mean", {})


@remembered
def linear_pool(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """Σ a_m p_m, jointly with class weights where the metric is one of counts."""
    found = blend.fit(
        codes, probs, setting.metric, family="linear", signed=setting.signed, sparse=setting.sparse,
        per_class=setting.per_class, class_weights=setting.has_class_weights, seed=setting.seed,
        bags=setting.bags if setting.has_class_weights else 0, time_limit=setting.time_limit, allow_absent=True,
    )  # fmt: skip
    return setting.recipe(found.kind, _without_idle(found.parameters))


@remembered
def log_pool(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """softmax(Σ a_m log p_m + b): an exponent for each model, a bias for each class."""
    found = blend.fit(
        codes, probs, setting.metric, family="log", sparse=setting.sparse, per_class=setting.per_class,
        seed=setting.seed, bags=setting.bags if setting.has_class_weights else 0, time_limit=setting.time_limit,
        allow_absent=True,
    )  # fmt: skip
    return setting.recipe(found.kind, found.parameters)


@remembered
def likely_log_pool(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """A log pool with the least log loss, whatever the metric: it has one optimum, and few rows move it little."""
    return _likely(setting, probs, codes, None)


@remembered
def bent_log_pool(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """softmax(Σ a_m log p_m + c_m log(p_m + knee) + b) with the least log loss, whatever the metric."""
    return _likely(setting, probs, codes, logloss.KNEE)


def _likely(setting: Setting, probs: Stack, codes: Codes, knee: float | None) -> Recipe:
    found = logloss.fit_log_pool(codes, probs, biases=True, knee=knee, allow_absent=True)
    parameters = {"exponents": found.weights, "biases": found.biases}
    return setting.recipe("log_pool", parameters | ({} if knee is None else {"bends": found.bends, "knee": knee}))


@remembered
def logistic_stack(setting: Setting, probs: Stack, codes: Codes, folds: Codes) -> Recipe:
    """A regularised logistic regression on all log-probabilities.

    Its strength is chosen by holding folds out.
    """
    found = stack.fit(codes, probs, _two_or_more(folds, setting.seed), allow_absent=True)
    return setting.recipe("logistic_stack", {"coefficients": found.coefficients, "intercepts": found.intercepts})


@remembered
def greedy_selection(setting: Setting, probs: Stack, codes: Codes, _folds: Codes) -> Recipe:
    """Models added one by one, with replacement, while the metric gains (Caruana 2004)."""
    found = greedy.select(probs, codes, setting.metric)
    return setting.recipe("linear_pool", {"weights": found.weights})


def multi_round_vote(setting: Setting, probs: Stack, codes: Codes, folds: Codes) -> Recipe:
    """Majorities of dissimilar models, vote upon vote."""
    parts = _two_or_more(folds, setting.seed)
    found = vote.search(
        probs, codes, setting.metric, names=setting.names, folds=parts, seed=setting.seed, n_bootstraps=200
    )
    rounds = found.recipe(setting.classes)
    # All models stay in the recipe's list, so that it takes the stack that the other candidates take.
    return setting.recipe("vote", rounds.parameters)


def _two_or_more(folds: Codes, seed: int) -> Codes:
    """The folds; where nested cross-validation leaves one of two, that one is cut."""
    if len(np.unique(folds)) > 1:
        return folds
    return np.asarray(np.random.default_rng(seed).permutation(len(folds)) % _CUTS)


def study_candidate(
    trials: int,
    storage: str | None = None,
    on_batch: Callable[[Any], None] | None = None,
    *,
    sampler: str = "auto",
    study_name: str | None = None,
    workers: int = 1,
) -> Candidate:
    """The open-ended search by Optuna, begun at the exact solutions of the pools and the greedy selection.

    Args:
        trials: Finished trials of each study.
        storage: See `study.search`; for the first fit, which is to all rows or, of many, to the sample that decides.
            Later fits study in memory.
        on_batch: Told about the progress of that fit.
        sampler: See `study.search`.
        study_name: Of that study in its storage.
        workers: Processes that work on that study.

    Raises:
        UserError: No trials, no workers, an unknown sampler.
    """
    if trials < 1:
        raise UserError(f"a study needs at least one trial, not {trials}", next="--trials 200")
    if workers < 1:
        raise UserError(f"a study needs at least one worker, not {workers}", next="--workers 2")
    check_sampler(sampler)
    n_fits = 0

    def fit(setting: Setting, probs: Stack, codes: Codes, folds: Codes) -> Recipe:
        nonlocal n_fits
        n_fits += 1
        starts = [one.fit(setting, probs, codes, folds) for one in _starts(setting)]
        shared = n_fits == 1
        found = search_together(
            codes, probs, setting.metric, names=setting.names, classes=setting.classes, task=setting.task,
            trials=trials, starts=starts, seed=setting.seed, sampler=sampler, time_limit=setting.time_limit,
            workers=workers if shared else 1, storage=storage if shared else None,
            study_name=study_name if shared else None, on_batch=on_batch if shared else None, allow_absent=True,
        )  # fmt: skip
        return found.recipe

    return Candidate(fit, "study", _several, lambda s: 2 * len(s.names) + 1 + _of_classes(s))


def _starts(setting: Setting) -> list[Candidate]:
    names = ("linear pool", "log pool", "bent log pool", "greedy + class weights", "mean + class weights", "mean")
    return [CANDIDATES[name] for name in names if CANDIDATES[name].suits(setting)]


def adjusted(base: Fit) -> Fit:
    """`base`, followed by exact class weights (single label) or thresholds (multi-label)."""

    @remembered
    def fit(setting: Setting, probs: Stack, codes: Codes, folds: Codes) -> Recipe:
        plain = base(setting, probs, codes, folds)
        blended = apply_stack(plain, probs)
        if setting.task == "multi_label":
            cuts = thresholds.fit(codes, blended, setting.metric, allow_absent=True).thresholds
            return setting.recipe(plain.kind, {**plain.parameters, "thresholds": cuts})
        if (blended == blended[0]).all():  # as in a fold of one class: nothing is learnt of weights
            return plain
        found = rescale.fit(codes, blended, setting.metric, seed=setting.seed, bags=setting.bags, allow_absent=True)
        return setting.recipe(plain.kind, {**plain.parameters, "class_weights": found.weights})

    return fit


def _without_idle(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same without class weights that are all equal."""
    weights = parameters.get("class_weights")
    if weights is not None and np.ptp(weights) == 0:
        return {key: value for key, value in parameters.items() if key != "class_weights"}
    return parameters


def _always(_setting: Setting) -> bool:
    return True


def _several(setting: Setting) -> bool:
    return len(setting.names) > 1


def _together(setting: Setting) -> bool:
    """Several models, and all of them may be used."""
    return _several(setting) and (setting.sparse is None or setting.sparse >= len(setting.names))


def _few_classes(setting: Setting) -> bool:
    """Whether there are so few that weights of classes, pools and stacks can be fitted."""
    return setting.task != "single_label" or len(setting.classes) <= MAX_CLASSES


def _adjustable(setting: Setting) -> bool:
    return (setting.has_class_weights or setting.has_thresholds) and _few_classes(setting)


def _pooled(setting: Setting) -> bool:
    return setting.task == "single_label" and _several(setting) and _few_classes(setting)


def _plainly_pooled(setting: Setting) -> bool:
    return _pooled(setting) and setting.sparse is None and not setting.per_class


def _none(_setting: Setting) -> int:
    return 0


def _choice(_setting: Setting) -> int:
    return 1


def _of_classes(setting: Setting) -> int:
    return len(setting.classes) - 1 if setting.task == "single_label" else len(setting.classes)


def _of_models(setting: Setting) -> int:
    used = min(len(setting.names), setting.sparse or len(setting.names))
    return used * (len(setting.classes) if setting.per_class else 1)


def _of_stack(setting: Setting) -> int:
    """Each class weighs the log-probabilities of every class by every model; each label the models' log-odds of it."""
    inputs = len(setting.names) * (len(setting.classes) if setting.task == "single_label" else 1)
    return len(setting.classes) * (inputs + 1)


CANDIDATES: dict[str, Candidate] = {
    "best single": Candidate(best_single, "single", _always, _choice),
    "best single + class weights": Candidate(
        adjusted(best_single), "single", _adjustable, lambda s: 1 + _of_classes(s)
    ),
    "mean": Candidate(mean, "mean", _together, _none),
    "mean + class weights": Candidate(adjusted(mean), "mean", lambda s: _together(s) and _adjustable(s), _of_classes),
    "geometric mean": Candidate(geometric_mean, "geometric", _together, _none),
    "geometric mean + class weights": Candidate(
        adjusted(geometric_mean), "geometric", lambda s: _together(s) and _adjustable(s), _of_classes
    ),
    "rank mean": Candidate(
        rank_mean,
        "rank",
        lambda s: _together(s) and find_metric(s.metric).name in ("roc_auc", "average_precision"),
        _none,
    ),
    "linear pool": Candidate(
        linear_pool, "weights", _pooled, lambda s: _of_models(s) - 1 + (_of_classes(s) if s.has_class_weights else 0)
    ),
    "log pool": Candidate(log_pool, "weights", _pooled, lambda s: _of_models(s) + _of_classes(s)),
    "likeliest log pool": Candidate(
        likely_log_pool,
        "weights",
        lambda s: _plainly_pooled(s) and find_metric(s.metric).name != "log_loss",
        lambda s: _of_models(s) + _of_classes(s),
    ),
    "likeliest log pool + class weights": Candidate(
        adjusted(likely_log_pool),
        "weights",
        lambda s: _plainly_pooled(s) and _adjustable(s),
        lambda s: _of_models(s) + _of_classes(s),
    ),
    "bent log pool": Candidate(bent_log_pool, "weights", _plainly_pooled, lambda s: 2 * _of_models(s) + _of_classes(s)),
    "bent log pool + class weights": Candidate(
        adjusted(bent_log_pool),
        "weights",
        lambda s: _plainly_pooled(s) and _adjustable(s),
        lambda s: 2 * _of_models(s) + _of_classes(s),
    ),
    "greedy": Candidate(greedy_selection, "greedy", _together, _of_models),
    "greedy + class weights": Candidate(
        adjusted(greedy_selection),
        "greedy",
        lambda s: _together(s) and _adjustable(s),
        lambda s: _of_models(s) + _of_classes(s),
    ),
    "stack": Candidate(
        logistic_stack,
        "stack",
        lambda s: _together(s) and _few_classes(s) and not s.has_class_weights and not s.has_thresholds,
        _of_stack,
    ),
    "stack + class weights": Candidate(
        adjusted(logistic_stack),
        "stack",
        lambda s: _together(s) and _adjustable(s),
        lambda s: _of_stack(s) + _of_classes(s),
    ),
    "vote": Candidate(
        multi_round_vote,
        "vote",
        lambda s: _together(s) and s.has_class_weights and len(s.names) >= 3,
        lambda s: 2 * len(s.names),
    ),
}
