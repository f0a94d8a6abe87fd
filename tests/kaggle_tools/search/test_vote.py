from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, f1_score

from kaggle_tools.errors import UserError
from kaggle_tools.search import vote
from kaggle_tools.search._vote_kernels import count_votes, most_probable
from kaggle_tools.search.recipe import apply_stack, load, save
from kaggle_tools.search.recipe.rounds import RULES

from .data import make_stack


def elected(row, weights, rule):
    """One row by the book: (K, C) probabilities to the elected class and the (C,) mean of who stands behind it."""
    labels = [int(np.argmax(p)) for p in row]
    votes = Counter(labels)
    tied = {label for label, count in votes.items() if count == max(votes.values())}
    p = row.astype(np.float64)
    weighted, plain = sum(w * q for w, q in zip(weights, p, strict=True)), sum(p)
    if len(tied) == 1:
        winner = tied.pop()
    elif rule == "first":
        winner = next(label for label in labels if label in tied)
    elif rule == "best":
        winner = labels[max((i for i in range(len(labels)) if labels[i] in tied), key=lambda i: (weights[i], -i))]
    elif rule in ("probability", "score-weighted"):
        support = plain if rule == "probability" else weighted
        winner = max((label for label in labels if label in tied), key=lambda label: support[label])
    else:
        return int(np.argmax(weighted)), weighted / weighted.sum()
    return winner, p[[label == winner for label in labels]].mean(axis=0)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(RULES), st.integers(0, 10_000), st.integers(2, 6), st.integers(2, 5), st.booleans())
def test_vote_is_that_of_the_book(rule, seed, n_models, n_classes, coarse):
    stack, _ = make_stack(n_models, 40, n_classes, seed=seed, noise=3.0)
    if coarse:
        stack = np.round(stack * 8) / 8  # exact ties, even in sums
    weights = np.random.default_rng(seed).integers(1, 9, n_models) / 8
    found = vote.vote(stack, rule, weights)
    for n in range(40):
        winner, mean = elected(stack[:, n], weights, rule)
        assert found[n].argmax() == winner
        if mean.sum() > 0:
            np.testing.assert_allclose(found[n], mean / mean.sum(), atol=3e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_counted_votes_are_the_votes(rule, size):
    stack, codes = make_stack(6, 5000, 4, noise=3.0)  # more than one block of rows
    labels = most_probable(stack)
    weights = np.random.default_rng(0).random(6)
    subsets = np.array([*combinations(range(6), size)], np.uint64)
    rows = np.ascontiguousarray(stack.transpose(1, 0, 2))
    counts = count_votes(rows, labels, codes[:4500], subsets, weights, RULES.index(rule))
    for subset, matrix in zip(subsets, counts, strict=True):
        members = subset.astype(int)
        outcome = vote.vote(stack[members], rule, weights[members]).argmax(axis=1)
        expected = np.zeros((4, 4), int)
        np.add.at(expected, (codes[:4500], outcome[:4500]), 1)
        assert (matrix == expected).all()


@pytest.mark.parametrize("seed", [0, 5])  # with 5 less similar members win over a score that is hardly better
def test_first_round_is_the_best_of_all_triples_and_quadruples(seed):
    stack, codes = make_stack(6, 400, 3, noise=2.0, seed=seed)
    scores = [f1_score(codes, probs.argmax(axis=1), average="macro") for probs in stack]
    by_hand = {}
    for size in (3, 4):
        for subset in combinations(range(6), size):
            weights = np.array([scores[m] for m in subset])
            outcome = [elected(stack[list(subset), n], weights, "winners")[0] for n in range(400)]
            kappas = [
                cohen_kappa_score(stack[a].argmax(axis=1), stack[b].argmax(axis=1)) for a, b in combinations(subset, 2)
            ]
            by_hand[subset] = f1_score(codes, outcome, average="macro"), np.mean(kappas)
    best_score = max(value for value, _ in by_hand.values())
    near = [subset for subset, (value, _) in by_hand.items() if value >= best_score - 0.1 / np.sqrt(400)]
    best = min(near, key=lambda subset: by_hand[subset][1])
    found = vote.search(stack, codes, max_rounds=1, beam=1, n_bootstraps=200)
    assert found.rounds[0].members == tuple(f"model {m + 1}" for m in best)
    assert found.rounds[0].score == pytest.approx(by_hand[best][0], abs=1e-12)
    assert found.rounds[0].similarity == pytest.approx(by_hand[best][1], abs=1e-12)
    assert found.model_scores == pytest.approx(scores, abs=1e-12)


def test_search_becomes_a_recipe_that_replays(tmp_path):
    stack, codes = make_stack(7, 1500, 3, noise=2.0, seed=4)
    names = tuple("abcdefg")
    found = vote.search(stack, codes, names=names, max_rounds=3, n_bootstraps=200)
    save(found.recipe(("x", "y", "z")), tmp_path / "vote.json")
    recipe = load(tmp_path / "vote.json")
    used = np.stack([stack[names.index(name)] for name in recipe.models])
    outcome = apply_stack(recipe, used).argmax(axis=1)
    assert f1_score(codes, outcome, average="macro") == pytest.approx(found.score, abs=1e-12)
    last = found.rounds[-1]
    kappas = [cohen_kappa_score(outcome, probs.argmax(axis=1)) for probs in stack]
    assert last.resemblance == pytest.approx(kappas, abs=1e-12)
    assert {name for one in found.rounds for name in one.members if ":" not in name} == set(recipe.models)


def test_search_finds_rounds_where_they_help_and_says_why_it_stops():
    stack, codes = make_stack(8, 3000, 3, noise=2.0, seed=1)
    found = vote.search(stack, codes, n_bootstraps=500)
    assert found.comparison.low > 0
    assert found.rounds[-1].number > 1
    numbers = [one.number for one in found.rounds]
    assert numbers == sorted(numbers)
    assert len(found.honest) > found.rounds[-1].number
    assert found.stopped
    assert all(text in repr(found) for text in ("round 1", "similarity", "stopped", "gain"))


def test_honest_scores_come_from_votes_that_did_not_see_the_fold():
    """Labels that are noise: whatever a vote gains by choice among subsets is gone on rows it did not see."""
    gone = []
    for seed in range(4):
        stack, _ = make_stack(8, 400, 3, noise=3.0)
        codes = np.random.default_rng(seed).integers(0, 3, 400)
        found = vote.search(stack, codes, max_rounds=1, n_bootstraps=200, seed=seed)
        gone.append(found.score - found.honest[1])
    assert np.mean(gone) > 0.02


def test_the_number_of_rounds_is_no_free_choice():
    """Taken where the honest scores stop growing, it flatters the score it is taken by: so much is taken off."""
    counted = []
    for seed in range(3):
        stack, codes = make_stack(6, 300, 3, noise=2.0, seed=seed)
        found = vote.search(stack, codes, n_bootstraps=200, seed=seed)
        shown, honest = found.honest[found.rounds[-1].number], found.recipe(("x", "y", "z")).honest
        assert honest == pytest.approx(shown - found.choice_optimism)
        assert found.comparison.gain - found.choice_optimism <= found.gain[0] <= found.comparison.gain
        counted.append(shown - honest)
    assert min(counted) >= 0
    assert np.mean(counted) > 0.001
    one = vote.search(stack, codes, max_rounds=1, n_bootstraps=200)
    assert one.choice_optimism == 0  # nothing was chosen


def test_search_is_the_same_each_time():
    stack, codes = make_stack(6, 500, 3)
    assert vote.search(stack, codes, n_bootstraps=200) == vote.search(stack, codes, n_bootstraps=200)


def test_models_that_agree_everywhere_can_vote():
    stack, codes = make_stack(1, 300)
    found = vote.search(np.repeat(stack, 4, axis=0), codes, n_bootstraps=200)
    assert found.comparison.gain == 0
    assert "prefer the simpler recipe" in found.verdict


@pytest.mark.parametrize(
    ("n_models", "changes", "message"),
    [
        (1, {}, "one model only"),
        (2, {}, "2 models only"),
        (5, {"metric": "log_loss"}, "needs probabilities"),
        (5, {"rule": "frist"}, "unknown tie rule"),
        (5, {"sizes": (9,)}, "size of 9"),
        (5, {"beam": 0}, "1 or more"),
        (5, {"names": ["a"] * 5}, "1 distinct names for 5 models"),
        (5, {"folds": np.zeros(600)}, "in fold 0"),
    ],
)
def test_bad_search_is_told_clearly(n_models, changes, message):
    stack, codes = make_stack(n_models)
    with pytest.raises(UserError, match=message):
        vote.search(stack, codes, **changes)


def test_bad_votes_are_told_clearly():
    stack, _ = make_stack(3)
    with pytest.raises(UserError, match="do not fit 3 models"):
        vote.vote(stack, scores=[1, 2])
    with pytest.raises(UserError, match="unknown tie rule"):
        vote.vote(stack, "coin")
