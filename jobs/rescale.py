"""`cli rescale RUN`: the class weights, or thresholds, with which one run's decisions score best.

    cli rescale roberta
    cli rescale roberta --metric macro_f1 --bags 0 --no-submission

Several classes get weights w, the decision is argmax(w·p); two classes get the same, which is a threshold on the
second; several labels a row get a threshold each. Up to four classes the fit comes with a bound that no weights exceed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.members import check_test, find_runs, load_oof
from jobs.recipes import apply_to_test, check_recipe_name, other_metric, with_worth, write_found
from jobs.tasks import require_plain
from jobs.workspace import Workspace
from kaggle_tools.competition import Competition
from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, evaluate, find_metric
from kaggle_tools.search import rescale, thresholds
from kaggle_tools.search.certificate import MAX_CLASSES, Certificate
from kaggle_tools.search.counts import F1, KINDS, LINEAR, PRECISION
from kaggle_tools.search.honest import Apply, Honest
from kaggle_tools.search.honest import evaluate as evaluate_honestly
from kaggle_tools.search.members import Members
from kaggle_tools.search.recipe import Recipe, apply_stack, explain

BAGS = 20
# Metrics whose best thresholds are found exactly: labels fall apart, or hang together by one ratio only.
EXACT = ("macro_f1", "weighted_f1", "micro_f1", "hamming_loss")


@dataclass(frozen=True)
class RescaleOptions:
    """What to rescale.

    Attributes:
        run: Name of the run.
        metric: Overrides the competition's.
        seed: Of restarts and bootstraps.
        bags: Bootstraps to average class weights over, 0 for the exact fit; None: 20, and none for thresholds.
        certify_s: Seconds that the certificate may take; 0 for none.
        submission: Apply the recipe to the test predictions and write a version.
        name: Of recipe and version; None: the run's with ``-rescaled``.
        normalise: Divide rows that do not sum to one by their sum.
        allow_absent: Accept classes without a row.
        start: Folder from which the competition is looked for upward; None: the working directory.
    """

    run: str
    metric: str | None = None
    seed: int = 0
    bags: int | None = None
    certify_s: float = 10.0
    submission: bool = True
    name: str | None = None
    normalise: bool = False
    allow_absent: bool = False
    start: Path | None = None


@dataclass(frozen=True)
class RescaleResult:
    """What was found.

    Attributes:
        run: Name.
        metric: Name.
        task: ``single_label`` or ``multi_label``.
        n_rows: Rows that it was fitted to.
        classes: C names.
        rows: (C,) rows of each class.
        before: (C,) rows decided for each class without weights or thresholds.
        after: (C,) the same with them.
        weights: (C,) class weights; None for several labels a row.
        thresholds: (C,) for several labels a row; (1,), that of the second class, for two classes; else None.
        score: The metric without weights or thresholds.
        fitted: The metric with them, on the rows that they were fitted to.
        honest: The same on rows that they were not fitted to.
        optimism: How much better `fitted` looks than `honest`.
        gain: Honest gain over the run as it is.
        low: Lower end of its 95 % interval.
        high: Upper end.
        verdict: What the interval advises.
        folds: Where the folds of the honest score come from, in words.
        bags: Bootstraps that were averaged.
        certificate: Of the exact fit, without bags; None where there is none.
        optimality: What is known of the optimum, in words.
        recipe: File.
        words: The recipe in words and numbers.
        submission: Title of the version, or None.
        seconds: Wall time.
        notes: What a reader should know.
    """

    run: str
    metric: str
    task: str
    n_rows: int
    classes: tuple[str, ...]
    rows: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    weights: tuple[float, ...] | None
    thresholds: tuple[float, ...] | None
    score: float
    fitted: float
    honest: float
    optimism: float
    gain: float
    low: float
    high: float
    verdict: str
    folds: str
    bags: int
    certificate: Certificate | None
    optimality: str
    recipe: Path
    words: str
    submission: str | None
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Plan:
    """How one fit is made."""

    metric: str
    task: str
    classes: tuple[str, ...]
    model: str
    seed: int
    bags: int
    certify_s: float
    why_no_certificate: str

    def recipe(self, adjustment: str, values: NDArray[np.float64]) -> Recipe:
        parameters = {"weights": (1.0,), adjustment: values}
        return Recipe("linear_pool", self.task, self.classes, (self.model,), self.metric, parameters)


def run(options: RescaleOptions) -> RescaleResult:
    """Fit, score honestly, save the recipe, write the submission.

    Raises:
        UserError: No competition, no such run, predictions that cannot be searched, a metric that weights or
            thresholds cannot move. Nothing is written then.
    """
    began = time.perf_counter()
    name = check_recipe_name(options.name or f"{options.run}-rescaled")
    competition = Competition.find(options.start)
    require_plain(competition, "rescale")
    workspace = Workspace(competition.root, competition)
    runs = find_runs(workspace, (options.run,), need_test=options.submission)
    loaded = load_oof(runs, competition, named=True, normalise=options.normalise, allow_absent=options.allow_absent)
    oof, notes = loaded.oof, loaded.notes
    plan = _plan(options, oof, competition.metric)
    if options.submission:
        notes += check_test(workspace, runs, oof, normalise=options.normalise)
    codes = oof.codes
    found, honest, certificate = _fit(plan, oof, codes, loaded.groups)
    recipe = with_worth(found, honest, codes, loaded.groups)
    application = None
    if options.submission:
        application = apply_to_test(workspace, recipe, runs, normalise=options.normalise, note=honest.verdict)
    written = write_found(workspace, recipe, name, application)
    gain = honest.comparison
    return RescaleResult(
        run=options.run,
        metric=plan.metric,
        task=oof.task,
        n_rows=len(oof.ids),
        classes=oof.classes,
        rows=_counts(_hot(codes, len(oof.classes))),
        before=_counts(_decisions(oof.probs[0], oof.task)),
        after=_counts(_decisions(apply_stack(recipe, oof.probs), oof.task)),
        weights=recipe.parameters.get("class_weights"),
        thresholds=_thresholds(recipe),
        score=evaluate(plan.metric, codes, oof.probs[0]),
        fitted=honest.fitted,
        honest=honest.honest,
        optimism=honest.optimism,
        gain=gain.gain,
        low=gain.low,
        high=gain.high,
        verdict=honest.verdict,
        folds=f"{honest.n_folds} {honest.folds_from} folds",
        bags=plan.bags,
        certificate=certificate,
        optimality=_optimality(plan, certificate),
        recipe=written.recipe,
        words=explain(recipe),
        submission=written.submission,
        seconds=time.perf_counter() - began,
        notes=(*notes, *other_metric(competition, plan.metric, written.submission)),
    )


def _plan(options: RescaleOptions, oof: Members, competition_metric: str) -> _Plan:
    """The plan of the fit to all rows.

    Raises:
        UserError: A metric that weights or thresholds cannot move, options that do not fit.
    """
    metric, multi = find_metric(options.metric or competition_metric).name, oof.task == "multi_label"
    known = thresholds.METRICS if multi else tuple(name for name in KINDS if "single_label" in METRICS[name].tasks)
    if metric not in known:
        raise UserError(
            f"{'thresholds' if multi else 'class weights'} cannot improve {metric}",
            expected=", ".join(known),
            next="name one of these with --metric; for a metric of probabilities `cli blend` is the command",
        )
    if options.bags is not None and (multi or options.bags < 0):
        why = "is for class weights: these are thresholds" if multi else "cannot be negative"
        raise UserError(f"--bags {options.bags} {why}", next="leave --bags out")
    bags = 0 if multi else BAGS if options.bags is None else options.bags
    why_not = _no_certificate(options, oof, metric)
    certify_s = 0.0 if why_not else options.certify_s
    return _Plan(metric, oof.task, oof.classes, oof.names[0], options.seed, bags, certify_s, why_not)


def _no_certificate(options: RescaleOptions, oof: Members, metric: str) -> str:
    """Why there can be none; empty where there can."""
    if oof.task == "multi_label":
        if metric in EXACT:
            return "exact: no thresholds score better on these rows"
        return f"each label's threshold is the best given the others'; {metric} ties labels together"
    if len(oof.classes) > MAX_CLASSES:
        return f"no certificate: it is for up to {MAX_CLASSES} classes, these are {len(oof.classes)}"
    if KINDS[metric] not in (LINEAR, F1, PRECISION):
        return f"no certificate: {metric} has no such bound"
    if len(np.unique(oof.codes)) < len(oof.classes):
        return "no certificate: classes without a row can have any weight"
    return "" if options.certify_s else "no certificate was asked for"


def _fit(
    plan: _Plan, oof: Members, codes: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> tuple[Recipe, Honest, Certificate | None]:
    """The recipe fitted to all rows, what it is worth, and its certificate."""
    fits: list[tuple[Recipe, Certificate | None]] = []

    def fit(stack: NDArray[np.float32], part: NDArray[np.int64], _folds: NDArray[np.int64]) -> Apply:
        if plan.task == "multi_label":
            cuts = thresholds.fit(part, stack[0], plan.metric, allow_absent=True).thresholds
            fits.append((plan.recipe("thresholds", cuts), None))
        else:
            found = rescale.fit(
                part,
                stack[0],
                plan.metric,
                seed=plan.seed,
                bags=plan.bags,
                certify_s=0.0 if fits else plan.certify_s,  # the first fit is the one to all rows
                allow_absent=True,
            )
            fits.append((plan.recipe("class_weights", found.weights), found.certificate))
        return partial(apply_stack, fits[-1][0])

    honest = evaluate_honestly(fit, oof.probs, codes, plan.metric, folds=oof.folds, seed=plan.seed, groups=groups)
    recipe, certificate = fits[0]
    return recipe, honest, certificate


def _thresholds(recipe: Recipe) -> tuple[float, ...] | None:
    """With weights u and v of two classes, v p > u (1 − p) where p > u / (u + v)."""
    if len(recipe.classes) == 2 and "class_weights" in recipe.parameters:
        first, second = recipe.parameters["class_weights"]
        return (first / (first + second),)
    return recipe.parameters.get("thresholds")


def _optimality(plan: _Plan, certificate: Certificate | None) -> str:
    """What is known of how much better weights or thresholds could be on these rows."""
    if certificate is None:
        return plan.why_no_certificate
    return (
        f"certificate: the exact fit has {certificate.value:.5f}, no class weights exceed {certificate.bound:.5f} "
        f"on these rows (gap {certificate.gap:.5f}, {certificate.n_boxes:,} boxes, {certificate.seconds:.1f} s)"
    )


def _hot(codes: NDArray[np.int64], n_classes: int) -> NDArray[np.bool_]:
    return np.asarray(codes == 1 if codes.ndim == 2 else codes[:, None] == np.arange(n_classes))


def _decisions(probs: NDArray[np.float32], task: str) -> NDArray[np.bool_]:
    if task == "multi_label":
        return np.asarray(probs >= 0.5)
    return np.asarray(probs.argmax(axis=1)[:, None] == np.arange(probs.shape[1]))


def _counts(hot: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(hot.sum(axis=0).tolist())
