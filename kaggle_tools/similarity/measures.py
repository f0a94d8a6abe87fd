"""How alike models are, pair by pair: every measure of a table, and what each of them means.

    found = measure(table)
    found.matrices["agreement"]          # (K, K)

A multi-label table counts as N·C rows of yes and no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kaggle_tools.similarity import bits
from kaggle_tools.similarity.probabilities import jensen_shannon, pearson, spearman
from kaggle_tools.similarity.table import Table

Floats = NDArray[np.float64]

# Values of pairs, rows and classes that the Jensen-Shannon divergence is taken over; beyond, of evenly spread rows.
_MOST_VALUES = 8_000_000_000


@dataclass(frozen=True)
class Measure:
    """One way to compare.

    Attributes:
        title: For people.
        description: One line.
        alike: What more of it means: ``more``, ``less`` or ``neither`` alike.
        needs: ``decisions``, ``probs`` or ``truth``.
    """

    title: str
    description: str
    alike: Literal["more", "less", "neither"]
    needs: Literal["decisions", "probs", "truth"]


MEASURES: dict[str, Measure] = {
    "agreement": Measure("agreement", "share of rows with the same decision", "more", "decisions"),
    "kappa": Measure("Cohen's kappa", "agreement beyond chance", "more", "decisions"),
    "churn": Measure("churn", "share of rows that change from one to the other", "less", "decisions"),
    "pearson": Measure("Pearson", "correlation of the probabilities, mean of the classes", "more", "probs"),
    "spearman": Measure("Spearman", "rank correlation of the probabilities, mean of the classes", "more", "probs"),
    "jensen_shannon": Measure("Jensen–Shannon", "mean divergence of the rows in bits, 0 to 1", "less", "probs"),
    "double_fault": Measure("double fault", "share of rows that both get wrong", "more", "truth"),
    "q_statistic": Measure("Q-statistic", "Yule's Q of being right: 1 right together, -1 apart", "more", "truth"),
    "error_overlap": Measure("error overlap", "of the rows that either gets wrong, the share of both", "more", "truth"),
}


@dataclass(frozen=True, repr=False)
class Similarity:
    """All measures that the table allows.

    Attributes:
        names: K models.
        n_rows: N.
        matrices: Measure → (K, K) float64; NaN where a pair has none.
        notes: What was left out and why.
    """

    names: tuple[str, ...]
    n_rows: int
    matrices: Mapping[str, Floats]
    notes: tuple[str, ...]


def measure(table: Table) -> Similarity:
    """Compare every pair of models.

    References: Cohen 1960 (kappa); Lin 1991 (Jensen–Shannon); Kuncheva & Whitaker 2003, Measures of diversity in
    classifier ensembles (double fault, Q-statistic).
    """
    decisions = _flat(table.decisions)
    agreement, kappa = agreement_and_kappa(decisions)
    matrices = {"agreement": agreement, "kappa": kappa, "churn": 1.0 - agreement}
    notes: list[str] = []
    if table.task == "multi_label":
        notes.append("several labels a row: yes or no to one label counts as a row of its own, with two classes")
    if table.with_probs.any():
        matrices |= _of_probabilities(table, notes)
    if not table.with_probs.all():
        labels = ", ".join(name for name, has in zip(table.names, table.with_probs, strict=True) if not has)
        notes.append(f"labels only, so without correlations: {labels}")
    if table.truth is not None:
        truth = table.truth.ravel()
        matrices |= of_errors(np.stack([model == truth for model in decisions]))
    return Similarity(table.names, len(table.ids), matrices, tuple(notes))


def agreement_and_kappa(decisions: NDArray[Any]) -> tuple[Floats, Floats]:
    """(K, K) share of equal decisions, and Cohen's kappa (NaN where both always say the same), of (K, N) codes."""
    n = decisions.shape[1]
    codes = decisions.astype(np.int8) if decisions.dtype == np.bool_ else decisions
    equal = bits.count_equal(bits.pack_codes(codes), n)
    n_classes = int(codes.max(initial=0)) + 1
    margins = np.stack([np.bincount(model, minlength=n_classes) for model in codes]).astype(np.float64) / n
    observed, expected = equal / n, margins @ margins.T
    beyond = np.where(1.0 - expected > 1e-12, 1.0 - expected, np.nan)
    return observed, 1.0 - (1.0 - observed) / beyond


def of_errors(right: NDArray[np.bool_]) -> dict[str, Floats]:
    """Measures of which rows models get wrong together, of (K, N) whether each row is right."""
    n = right.shape[1]
    both_right = bits.count_common(bits.pack(right)).astype(np.float64)
    own = np.diag(both_right)
    only_a, only_b = own[:, None] - both_right, own[None, :] - both_right
    both_wrong = n - both_right - only_a - only_b
    together, apart = both_right * both_wrong, only_a * only_b
    return {
        "double_fault": both_wrong / n,
        "q_statistic": _ratio(together - apart, together + apart),
        "error_overlap": _ratio(both_wrong, n - both_right),
    }


def _of_probabilities(table: Table, notes: list[str]) -> dict[str, Floats]:
    has = table.with_probs
    stack = table.probs if has.all() else table.probs[has]
    if table.task == "multi_label":
        stack = np.stack([1.0 - stack, stack], axis=-1).reshape(len(stack), -1, 2)
    stack = np.ascontiguousarray(stack)
    k, n, c = stack.shape
    step = -(-(k * (k + 1) // 2 * n * c) // _MOST_VALUES)
    if step > 1:
        notes.append(f"Jensen–Shannon of every {step}th row")
    found = {"pearson": pearson(stack), "spearman": spearman(stack), "jensen_shannon": jensen_shannon(stack[:, ::step])}
    if has.all():
        return found
    return {name: _spread(values, has) for name, values in found.items()}


def _spread(values: Floats, has: NDArray[np.bool_]) -> Floats:
    whole = np.full((len(has), len(has)), np.nan)
    whole[np.ix_(has, has)] = values
    return whole


def _flat(decisions: NDArray[Any]) -> NDArray[Any]:
    return decisions if decisions.ndim == 2 else decisions.reshape(len(decisions), -1)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
