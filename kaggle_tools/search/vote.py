"""Majority voting with named tie rules, and the search for the rounds in which models should vote.

    found = search(stack, codes, "macro_f1", names=names, folds=folds)
    print(found)                                   # each round's members, similarity and scores, and why it stopped
    recipe = found.recipe(classes)                 # replays on the test predictions

After "multi-round voting": three or four models of low similarity and high score vote, the outcome becomes a candidate
of its own and votes again, until the outcome resembles every model. Here every triple and quadruple is counted exactly,
the best few outcomes of a round are kept, and how many rounds there are is decided on rows that no round has seen. That
decision flatters the score on these rows in its turn: by how much, a bootstrap tells (`_selection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kaggle_tools.errors import UserError, did_you_mean
from kaggle_tools.metrics import confusion
from kaggle_tools.search._selection import gain_of_chosen, optimism_of_choice
from kaggle_tools.search._vote_kernels import elect, most_probable
from kaggle_tools.search._vote_search import Ground, Growth, Plan, add_round, begin, mean_of_pairs, survey
from kaggle_tools.search.compare import Comparison, compare, group_codes
from kaggle_tools.search.honest import stratified_folds, verdict_of
from kaggle_tools.search.inputs import Arrays, check_arrays, check_folds, check_stack
from kaggle_tools.search.recipe.data import Recipe
from kaggle_tools.search.recipe.rounds import RULES, Round
from kaggle_tools.search.threads import in_threads

Floats = NDArray[np.float64]

MAX_MODELS = 16  # beyond the best so many, subsets become too many to count


@dataclass(frozen=True)
class VoteRound:
    """One vote of the search's result.

    Attributes:
        name: What later rounds call its outcome.
        number: Of the round, from 1.
        members: Models or earlier outcomes, in voting order.
        weights: Their scores, which count in ties.
        similarity: Mean Cohen's kappa between members.
        agreement: Mean share of rows on which two members agree.
        score: On the rows it was fitted to.
        resemblance: (M,) Cohen's kappa between the outcome and each model.
    """

    name: str
    number: int
    members: tuple[str, ...]
    weights: tuple[float, ...]
    similarity: float
    agreement: float
    score: float
    resemblance: tuple[float, ...]


@dataclass(frozen=True, repr=False)
class VoteSearch:
    """A multi-round vote.

    Attributes:
        metric: Name.
        rule: Tie rule.
        models: M names.
        model_scores: (M,) their scores.
        rounds: The votes that the outcome rests on, in order; the last one's outcome is the result.
        score: Of the outcome on the rows it was fitted to.
        honest: (R + 1,) cross-validated scores of the best single model and after each round that was tried.
        comparison: The outcome against the best single model, cross-validated.
        choice_optimism: How much better it looks there for the choice of the number of rounds.
        stopped: Why there are no more rounds.
    """

    metric: str
    rule: str
    models: tuple[str, ...]
    model_scores: tuple[float, ...]
    rounds: tuple[VoteRound, ...]
    score: float
    honest: tuple[float, ...]
    comparison: Comparison = field(compare=False)
    choice_optimism: float
    stopped: str

    @property
    def gain(self) -> tuple[float, float, float]:
        """Over the best single model, and the ends of the 95 % interval, the choice of the number of rounds counted."""
        return gain_of_chosen(self.comparison, self.choice_optimism, len(self.honest) - 1)

    @property
    def verdict(self) -> str:
        """What the interval advises."""
        return verdict_of(*self.gain[1:])

    def __repr__(self) -> str:
        lines = [f"vote of {len(self.models)} models, {self.metric}, ties: {self.rule}"]
        for one in self.rounds:
            lines.append(
                f"  round {one.number}: {one.name} = {', '.join(one.members)}; similarity {one.similarity:.3f}, "
                f"agreement {one.agreement:.3f}, score {one.score:.5f}"
            )
        path = " → ".join(f"{value:.5f}" for value in self.honest)
        lines += [f"honest score from the best single model through the rounds: {path}", f"stopped: {self.stopped}"]
        return "\n".join([*lines, f"{self.comparison!r}", self.verdict])

    def recipe(self, classes: Sequence[str]) -> Recipe:
        """The vote as a recipe for predictions of `classes`."""
        used = [name for name in self.models if any(name in one.members for one in self.rounds)]
        rounds = tuple(Round(one.name, one.members, one.weights) for one in self.rounds)
        return Recipe(
            kind="vote",
            task="single_label",
            classes=tuple(classes),
            models=tuple(used),
            metric=self.metric,
            parameters={"rounds": rounds, "rule": self.rule},
            fitted=self.score,
            honest=self.comparison.ours - self.choice_optimism,
            provenance={"stopped": self.stopped, "verdict": self.verdict},
        )


def vote(stack: ArrayLike, rule: str = "winners", scores: ArrayLike | None = None) -> NDArray[np.float32]:
    """Let models vote by their most probable class.

    Args:
        stack: (M, N, C) probabilities, two models or more.
        rule: What breaks ties. ``first``: the model listed first among the tied; ``best``: the one with the best score;
            ``probability``: the tied class with the largest sum of all models' probabilities; ``score-weighted``: the
            same, weighted by score; ``winners``: the most probable class of the score-weighted mean of all models.
            What is still equal goes to the model listed first.
        scores: (M,) scores, none negative; None counts every model the same.

    Returns:
        (N, C) float32: mean probabilities of those who voted for the elected class, which is the most probable one
        (after a tie under ``winners`` the weighted mean of all).

    Raises:
        UserError: An unknown rule, one model only, NaN, or scores that do not fit.
    """
    probs = np.ascontiguousarray(check_stack(stack, least_models=2).transpose(1, 0, 2))
    n_models = probs.shape[1]
    weights = np.ones(n_models) if scores is None else np.asarray(scores, np.float64)
    if weights.shape != (n_models,) or not np.isfinite(weights).all() or weights.min() < 0:
        raise UserError(
            f"scores of shape {weights.shape} do not fit {n_models} models", expected="one a model, none negative"
        )
    elected: NDArray[np.float32] = elect(probs, weights, _rule_code(rule))
    return elected


def search(
    stack: ArrayLike,
    codes: ArrayLike,
    metric: str = "macro_f1",
    *,
    names: Sequence[str] | None = None,
    rule: str = "winners",
    sizes: Sequence[int] = (3, 4),
    beam: int = 3,
    max_rounds: int = 3,
    folds: ArrayLike | None = None,
    n_folds: int = 5,
    n_bootstraps: int = 10_000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> VoteSearch:
    """Find the rounds of a multi-round vote.

    It stops when the next round gains nothing on rows that it did not see; when it gains no more than noise and the
    outcome is already nearer to every model than any other model is, and a little nearer to the better ones; or when
    no vote of a round scores better than those before. Scores closer than 0.1/√N count as equal: then the members that
    are least similar to each other vote.

    Args:
        stack: (M, N, C) out-of-fold probabilities, three models or more; the best 16 by score are considered.
        codes: (N,) true classes.
        metric: A metric of counts: F1, accuracy, kappa, MCC, ….
        names: (M,) model names; None calls them ``model 1`` and so on.
        rule: Tie rule, as in `vote`; weights are the scores.
        sizes: How many vote together, alternatives.
        beam: How many outcomes of a round may vote in later ones.
        max_rounds: Rounds at most.
        folds: (N,) folds of the models; None makes `n_folds` stratified ones.
        n_folds: How many to make.
        n_bootstraps: Of the comparison with the best single model.
        seed: Of folds and bootstrap.
        groups: (N,) groups of rows that are not independent, which bootstraps draw whole; None: rows are.

    Raises:
        UserError: Fewer models than voters, a metric that needs probabilities, an unknown rule, and as
            `honest.evaluate`.
    """
    problem = check_arrays(stack, codes, metric, least_models=3)
    n_rows, n_classes = problem.stack.shape[1:]
    plan = _plan(problem, rule, sizes, beam, max_rounds)
    all_names = _checked_names(names, len(problem.stack))
    used = stratified_folds(problem.codes, n_folds, seed) if folds is None else check_folds(folds, n_rows)
    chosen = _best_models(problem, plan)
    labels = most_probable(problem.stack)[chosen]
    hidden = [np.zeros(n_rows, np.bool_), *(used == fold for fold in np.unique(used))]
    grounds = [survey(labels, problem.codes, rows, n_classes) for rows in hidden]
    units = group_codes(groups, n_rows)
    path = _grow(problem, np.ascontiguousarray(problem.stack[chosen]), labels, grounds, plan, max_rounds, units)
    name, rounds, taken = problem.metric.name, path.unseen[1:], path.n_rounds - 1
    comparison = compare(
        name, problem.codes, rounds[taken], path.unseen[0], n_bootstraps=n_bootstraps, seed=seed, groups=units
    )
    model_names = tuple(all_names[m] for m in chosen)
    return VoteSearch(
        metric=name,
        rule=rule,
        models=model_names,
        model_scores=tuple(path.whole.scores[: len(chosen)].tolist()),
        rounds=_rounds(path.whole, n_rows, model_names),
        score=float(path.whole.scores[path.whole.best]),
        honest=path.honest,
        comparison=comparison,
        choice_optimism=optimism_of_choice(name, problem.codes, rounds, _last_gains, taken, seed=seed, groups=units),
        stopped=path.stopped,
    )


def _last_gains(scores: Floats) -> list[int]:
    """For each of (B, R) scores of R rounds the last round before one that gains nothing."""
    stops = np.column_stack([np.diff(scores, axis=1) <= 0, np.ones(len(scores), np.bool_)])
    return [int(place) for place in stops.argmax(axis=1)]


@dataclass(frozen=True)
class _Path:
    """The growth on all rows when it stopped, after `n_rounds` rounds, and what each round said of unseen rows."""

    whole: Growth
    n_rounds: int
    unseen: tuple[NDArray[np.int64], ...]
    honest: tuple[float, ...]
    stopped: str


def _grow(
    problem: Arrays,
    stack: NDArray[np.float32],
    labels: NDArray[np.int16],
    grounds: list[Ground],
    plan: Plan,
    max_rounds: int,
    groups: NDArray[np.int64] | None,
) -> _Path:
    """Grow on all rows and on those outside each fold, side by side, round by round until there is reason to stop."""
    growths = [begin(stack, labels, ground, plan) for ground in grounds]
    unseen: list[NDArray[np.int64]] = []
    honest: list[float] = []
    for number in range(max_rounds + 1):
        before = growths
        if number:
            growths = in_threads(lambda pair: add_round(*pair, plan), zip(before, grounds, strict=True))
            if growths[0] is before[0]:
                why = f"no vote after round {number - 1} scores better than the best of those before"
                return _Path(before[0], number - 1, tuple(unseen), tuple(honest), why)
        unseen.append(_unseen_labels(growths[1:], grounds[1:], labels))
        honest.append(plan.score(confusion(problem.codes, unseen[-1], stack.shape[2])))
        if number > 1 and (why := _reason_to_stop(problem, before[0], honest, unseen, groups)):
            return _Path(before[0], number - 1, tuple(unseen), tuple(honest), why)
    return _Path(growths[0], max_rounds, tuple(unseen), tuple(honest), f"{max_rounds} rounds were asked for")


def _unseen_labels(parts: list[Growth], grounds: list[Ground], labels: NDArray[np.int16]) -> NDArray[np.int64]:
    """(N,): what the best candidate of each part says of the rows that the part's scores did not see."""
    outcome: NDArray[np.int64] = labels[0].astype(np.int64)  # right where all models agree
    for part, ground in zip(parts, grounds, strict=True):
        n_seen = len(ground.codes)
        outcome[ground.contested[n_seen:]] = part.labels[part.best, n_seen:]
    return outcome


def _reason_to_stop(
    problem: Arrays,
    before: Growth,
    honest: list[float],
    unseen: list[NDArray[np.int64]],
    groups: NDArray[np.int64] | None,
) -> str:
    """Why the last round is not worth having after those before it; empty where it is."""
    number = len(honest) - 1
    gain = honest[-1] - honest[-2]
    if gain <= 0:
        return f"round {number} gains nothing on rows it did not see ({gain:+.5f})"
    near = before.kappas[before.best, : before.n_models]
    nearest = (before.kappas - 2 * np.eye(len(before.kappas)))[: before.n_models, : before.n_models].max(axis=1)
    leaning = _rank_correlation(before.scores[: before.n_models], near)
    if (near < nearest).any() or leaning <= 0:
        return ""
    interval = compare(problem.metric.name, problem.codes, unseen[-1], unseen[-2], n_bootstraps=2000, groups=groups)
    if interval.low > 0:
        return ""
    return (
        f"after round {number - 1} the vote is nearer to every model than any other model is (kappa {near.min():.3f} "
        f"to {near.max():.3f}), a little more to the better ones (rank correlation {leaning:+.2f}), and the gain of "
        f"round {number} is within noise ({gain:+.5f})"
    )


def _rule_code(rule: str) -> int:
    if rule not in RULES:
        raise UserError(f"unknown tie rule '{rule}'", next=did_you_mean(rule, RULES))
    return RULES.index(rule)


def _plan(problem: Arrays, rule: str, sizes: Sequence[int], beam: int, max_rounds: int) -> Plan:
    code = _rule_code(rule)
    n_models, n_rows, _ = problem.stack.shape
    if problem.task != "single_label":
        raise UserError(f"a vote is for single_label tasks, not {problem.task}")
    score = problem.metric.from_confusion
    if score is None:
        raise UserError(
            f"a vote has decisions, {problem.metric.name} needs probabilities", next="name a metric such as macro_f1"
        )
    if beam < 1 or max_rounds < 1:
        raise UserError(f"beam {beam} and {max_rounds} rounds", expected="1 or more of each")
    usable = tuple(sorted({size for size in sizes if 2 <= size <= n_models}))
    if not usable:
        asked = ", ".join(map(str, sizes)) or "none"
        raise UserError(f"no vote of {n_models} models has a size of {asked}", expected=f"sizes from 2 to {n_models}")
    return Plan(score, code, usable, beam, 0.1 / float(np.sqrt(n_rows)))


def _checked_names(names: Sequence[str] | None, n_models: int) -> tuple[str, ...]:
    found = tuple(names) if names is not None else tuple(f"model {m + 1}" for m in range(n_models))
    if len(found) != n_models or len(set(found)) != n_models:
        raise UserError(f"{len(set(found))} distinct names for {n_models} models")
    return found


def _best_models(problem: Arrays, plan: Plan) -> list[int]:
    """Positions of the best `MAX_MODELS`, in the order given."""
    labels = most_probable(problem.stack).astype(np.int64)
    scores = [plan.score(confusion(problem.codes, model, problem.stack.shape[2])) for model in labels]
    return sorted(sorted(range(len(scores)), key=lambda m: -scores[m])[:MAX_MODELS])


def _rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's; 0 where one side is constant."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(a), rankdata(b)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks)[0, 1])


def _rounds(growth: Growth, n_rows: int, names: tuple[str, ...]) -> tuple[VoteRound, ...]:
    """The best vote and the votes that it rests on, named in order."""
    needed: set[int] = set()
    waiting = [growth.best]
    while waiting:
        at = waiting.pop()
        if at >= growth.n_models and at not in needed:
            needed.add(at)
            waiting += growth.votes[at - growth.n_models].members
    called = dict(enumerate(names)) | {at: f"vote:{i}" for i, at in enumerate(sorted(needed), start=1)}
    rounds = []
    for at in sorted(needed):
        one = growth.votes[at - growth.n_models]
        labels = growth.labels[list(one.members)]
        differ = (labels[:, None] != labels[None]).sum(axis=2) / n_rows
        rounds.append(
            VoteRound(
                name=called[at],
                number=one.round,
                members=tuple(called[m] for m in one.members),
                weights=one.weights,
                similarity=mean_of_pairs(growth.kappas, one.members),
                agreement=1.0 - mean_of_pairs(differ, range(len(labels))),
                score=one.score,
                resemblance=tuple(growth.kappas[at, : growth.n_models].tolist()),
            )
        )
    return tuple(rounds)
