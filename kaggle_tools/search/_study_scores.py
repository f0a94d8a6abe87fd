"""What a trial of a study scores: the blend in float32, then class weights or thresholds chosen exactly for it.

On many rows they are chosen on a sample of the rows, and the score is that on all rows. The few best trials are fitted
again on all rows (`Scorer.settle`); what is reported in the end is always the replay of a recipe in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import multilabel
from kaggle_tools.search import inputs, thresholds
from kaggle_tools.search._study_space import Candidate
from kaggle_tools.search.class_lines import ClassLines
from kaggle_tools.search.counts import CountForm, count_form, is_count_metric
from kaggle_tools.search.inputs import FLOOR
from kaggle_tools.search.logloss import logs_of
from kaggle_tools.search.pools import mix
from kaggle_tools.search.rescale import COARSE, climb

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

_SWEEPS = 10  # over the classes of a trial


def chooses_exactly(metric: str, task: str) -> bool:
    """Whether class weights (single_label) or thresholds (multi_label) for this metric are chosen exactly."""
    return is_count_metric(metric) if task == "single_label" else metric in thresholds.METRICS


class Scorer:
    """A problem with all that its trials share.

    Args:
        problem: Checked by `inputs.check_arrays`.
        allow_absent: Accept classes without rows.

    Raises:
        UserError: Negative probabilities, constant predictions, classes without rows; see `inputs.check_problem`.
    """

    def __init__(self, problem: inputs.Arrays, *, allow_absent: bool) -> None:
        self._metric, self._task = problem.metric, problem.task
        n_rows, n_classes = problem.stack.shape[1:]
        exact = chooses_exactly(self._metric.name, self._task)
        rng = np.random.default_rng(0)
        rows = np.sort(rng.choice(n_rows, COARSE, replace=False)) if n_rows > 2 * COARSE and exact else None
        self._weights = np.ones(n_rows)
        if self._task == "single_label":
            checked = inputs.check_problem(problem.codes, problem.stack, allow_absent=allow_absent)
            self._stack, self._links = checked.stack, logs_of(checked.stack)
            self._truth = problem.codes[:, None] == np.arange(n_classes)
            self._solver: _ClassWeights | _Thresholds | None = (
                _ClassWeights(checked, self._metric.name, rows) if exact else None
            )
        else:
            _check_labels(problem.stack)
            self._stack = np.ascontiguousarray(problem.stack.transpose(0, 2, 1))
            self._links = _logits(self._stack)
            self._truth = problem.codes.astype(np.bool_)
            self._solver = _Thresholds(self._truth, self._metric.name, rows) if exact else None

    def value(self, candidate: Candidate) -> float:
        """The score of a trial."""
        if self._solver is None:
            return self._evaluate(self._blend(candidate))
        blended = self._blend(candidate)
        return self._solver.value(blended, self._solver.quickly(blended))

    def settle(self, candidate: Candidate) -> tuple[float, Floats | None]:
        """The score with class weights or thresholds chosen on all rows, and those: (C,), or None for other metrics."""
        blended = self._blend(candidate)
        if self._solver is None:
            return self._evaluate(blended), None
        tried = [self._solver.quickly(blended), self._solver.thoroughly(blended)]
        values = [self._solver.value(blended, found) for found in tried]
        best = int(np.argmax(values if self._metric.greater_is_better else np.negative(values)))
        found = tried[best]
        return values[best], np.exp(found) if self._task == "single_label" else found

    def _blend(self, candidate: Candidate) -> Singles:
        """(C, N): log-scores of classes up to a constant of each row, or probabilities of labels."""
        single = self._task == "single_label"
        if candidate.family == "log" or candidate.power == 0.0:
            scores = mix(self._links, candidate.weights)
            scores += candidate.biases[:, None].astype(np.float32)
            return scores if single else np.asarray(1.0 / (1.0 + np.exp(-scores)))
        if candidate.family == "linear":
            mean = mix(self._stack, candidate.weights)
            return np.log(np.maximum(mean, np.float32(FLOOR))) if single else mean
        mean = self._mean_of_powers(candidate)
        root = np.log(mean) * np.float32(1.0 / candidate.power)
        return root if single else np.exp(root)

    def _mean_of_powers(self, candidate: Candidate) -> Singles:
        """(C, N): Σ w_m p_m^r."""
        mean = np.zeros(self._stack.shape[1:], np.float32)
        power = np.empty_like(mean)
        for probs, weight in zip(self._stack, candidate.weights[:, 0], strict=True):
            if weight:
                np.maximum(probs, np.float32(FLOOR), out=power)
                np.power(power, np.float32(candidate.power), out=power)
                power *= np.float32(weight)
                mean += power
        return mean

    def _evaluate(self, blended: Singles) -> float:
        probs = blended.T.astype(np.float64)
        if self._task == "single_label":
            probs = np.exp(probs - probs.max(axis=1, keepdims=True))
            probs /= probs.sum(axis=1, keepdims=True)
        return float(self._metric.functions[self._task](self._truth, probs, self._weights))


class _ClassWeights:
    """Log-weights of classes for a metric of confusion counts."""

    def __init__(self, problem: inputs.Problem, metric: str, rows: NDArray[np.intp] | None) -> None:
        self._problem, self._rows = problem, rows
        self._form = self._form_of(problem, metric)
        self._few = problem if rows is None else problem.take(rows)
        self._few_form = self._form if rows is None else self._form_of(self._few, metric)

    def _form_of(self, problem: inputs.Problem, metric: str) -> CountForm:
        return count_form(metric, problem.codes, problem.shape[1], problem.weights)

    def quickly(self, logs: Singles) -> Floats:
        few = logs if self._rows is None else logs.take(self._rows, axis=1)
        lines = ClassLines(few, np.zeros(len(few)), self._few.codes, self._few.weights, self._few_form)
        lines.climb(np.random.default_rng(0), max_sweeps=_SWEEPS)
        return np.asarray(lines.biases - lines.biases.mean())

    def thoroughly(self, logs: Singles) -> Floats:
        return climb(self._problem, logs, self._form, np.random.default_rng(0), restarts=0)[0]

    def value(self, logs: Singles, biases: Floats) -> float:
        return ClassLines(logs, biases, self._problem.codes, self._problem.weights, self._form).value


class _Thresholds:
    """Thresholds of labels for a metric of label sets."""

    def __init__(self, truth: NDArray[np.bool_], metric: str, rows: NDArray[np.intp] | None) -> None:
        self._truth, self._metric = truth, metric
        # A label that the sample has not, or has everywhere, could not be fitted on it.
        fits = rows is not None and truth[rows].any(axis=0).all() and not truth[rows].all(axis=0).any()
        self._rows = rows if fits else None

    def quickly(self, probs: Singles) -> Floats:
        if self._rows is None:
            return self.thoroughly(probs)
        return self._fit(self._truth[self._rows], probs.take(self._rows, axis=1))

    def thoroughly(self, probs: Singles) -> Floats:
        return self._fit(self._truth, probs)

    def value(self, probs: Singles, cuts: Floats) -> float:
        rate = getattr(multilabel, self._metric)
        return float(rate(self._truth, np.greater_equal(probs.T, cuts), np.ones(len(self._truth))))

    def _fit(self, truth: NDArray[np.bool_], probs: Singles) -> Floats:
        return thresholds.fit(truth, probs.T, self._metric).thresholds


def _check_labels(stack: Singles) -> None:
    low, high = float(stack.min()), float(stack.max())
    if low < 0.0 or high > 1.0:
        raise UserError(
            f"probabilities lie in [{low:.3g}, {high:.3g}]",
            expected="[0, 1]",
            next="logits of labels become probabilities by a sigmoid",
        )


def _logits(stack: Singles) -> Singles:
    """Log-odds, a model at a time in float64: 1 − 1e-15 is no float32."""
    logits = np.empty_like(stack)
    for out, probs in zip(logits, stack, strict=True):
        p = np.clip(probs.astype(np.float64), FLOOR, 1.0 - FLOOR)
        out[:] = np.log(p) - np.log1p(-p)
    return logits
