import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import evaluate_groups
from kaggle_tools.search import joint, joint_file


def linked(sizes=(3, 5), n_rows=200, *, seed=0, noise=1.5):
    """Codes of groups that determine each other in part, and noisy probabilities of each."""
    rng = np.random.default_rng(seed)
    last = rng.integers(0, sizes[-1], n_rows)
    columns = [np.where(rng.random(n_rows) < 0.9, last % size, rng.integers(0, size, n_rows)) for size in sizes[:-1]]
    codes = np.stack([*columns, last], axis=1)
    return codes, [noisy(rng, column, size, noise) for column, size in zip(codes.T, sizes, strict=True)]


def noisy(rng, column, size, noise):
    logits = 1.5 * np.eye(size)[column] + noise * rng.normal(size=(len(column), size))
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


def best_by_enumeration(decoder, probs):
    """The best combination of each row, and each combination's share, by plain Python."""
    decided, shares = [], []
    for row in range(len(probs[0])):
        values = {}
        for combination in itertools.product(*map(range, decoder.sizes)):
            value = sum(math.log(max(group[row][c], 1e-15)) for group, c in zip(probs, combination, strict=True))
            for table, (g, h) in zip(decoder.tables, itertools.combinations(range(len(decoder.sizes)), 2), strict=True):
                value += decoder.strength * table[combination[g]][combination[h]]
            values[combination] = value
        decided.append(max(values, key=values.get))
        powers = {combination: math.exp(value) for combination, value in values.items()}
        shares.append({combination: power / sum(powers.values()) for combination, power in powers.items()})
    return np.array(decided), shares


@given(
    sizes=st.sampled_from([(2, 2), (3, 4), (2, 3, 2), (2, 2, 3, 2)]),
    strength=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_decoding_is_the_best_of_all_combinations(sizes, strength, seed):
    codes, probs = linked(sizes, 20, seed=seed)
    decoder = dataclasses.replace(joint.fit(codes, probs, bags=0), strength=strength)
    decided, shares = best_by_enumeration(decoder, probs)
    assert (decoder.decode(probs) == decided).all()
    for g, group in enumerate(decoder.apply(probs)):
        assert group.dtype == np.float32
        for c in range(sizes[g]):
            of_class = [sum(share for k, share in row.items() if k[g] == c) for row in shares]
            assert group[:, c] == pytest.approx(of_class, abs=1e-6)


@pytest.mark.parametrize("metric", joint.METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_no_strength_on_a_fine_grid_scores_better_than_the_exact_fit(metric, seed):
    codes, probs = linked(n_rows=150, seed=seed)
    folds = np.arange(150) % 3
    found = joint.fit(codes, probs, metric, folds=folds, bags=0)
    tables = [joint.fit(codes[folds != f], [p[folds != f] for p in probs], bags=0) for f in range(3)]
    for strength in np.linspace(0, joint.LIMIT, 401):
        decided = np.empty_like(codes)
        for f, table in enumerate(tables):
            own = dataclasses.replace(table, strength=float(strength))
            decided[folds == f] = own.decode([p[folds == f] for p in probs])
        assert evaluate_groups(metric, codes, list(decided.T)) <= found.score + 1e-12
    assert found.score >= found.score_alone
    assert found.score_alone == evaluate_groups(metric, codes, [p.argmax(axis=1) for p in probs])


@pytest.mark.parametrize("metric", joint.METRICS)
def test_among_equally_probable_classes_the_score_of_the_strength_is_that_of_its_decisions(metric):
    for seed in range(40):
        codes, probs = linked((2, 3), 25, seed=seed)
        rounded = [np.round(group, 1) for group in probs]
        found = joint.fit(codes, rounded, metric, bags=0, folds=np.arange(25) % 3)
        assert found.score >= scores_on_a_grid(codes, rounded, metric, np.arange(25) % 3).max() - 1e-12


def scores_on_a_grid(codes, probs, metric, folds):
    """The scores of strengths from 0 to 10 with tables made of the other folds, by plain numpy."""
    pairs = np.stack(np.unravel_index(np.arange(6), (2, 3)), axis=1)
    bonds = np.empty((3, 6))
    for fold in range(3):
        known = codes[folds != fold]
        together = np.array([(known == pair).all(axis=1).sum() for pair in pairs])
        chance = np.array([np.prod((known == pair).mean(axis=0)) for pair in pairs]) * len(known)
        bonds[fold] = np.log((together + 0.5) / (chance + 0.5))
    alone = sum(np.log(np.maximum(group, 1e-15))[:, column] for group, column in zip(probs, pairs.T, strict=True))
    decided = [pairs[(alone + s * bonds[folds]).argmax(axis=1)] for s in np.linspace(0, 10, 201)]
    return np.array([evaluate_groups(metric, codes, list(one.T)) for one in decided])


def test_tables_are_shrunk_log_ratios_of_observed_to_expected():
    codes = np.array([[0, 0], [0, 0], [0, 1], [1, 1]])
    probs = [np.full((4, 2), 0.5), np.full((4, 3), 1 / 3)]
    (table,) = joint.fit(codes, probs, smoothing=0.5, folds=[0, 0, 1, 1]).tables
    together, rows, columns = np.array([[2, 1, 0], [0, 1, 0]]), np.array([3, 1]), np.array([2, 2, 0])
    for g, h in itertools.product(range(2), range(3)):
        assert table[g][h] == pytest.approx(np.log((together[g, h] + 0.5) / (rows[g] * columns[h] / 4 + 0.5)))


@pytest.mark.parametrize("bags", [0, 20])
def test_linked_groups_gain_on_rows_that_were_not_fitted(bags):
    codes, probs = linked((4, 12), 4000, noise=1.5)
    found = joint.fit(codes[:2000], [p[:2000] for p in probs], bags=bags)
    held_out = [p[2000:] for p in probs]
    alone = evaluate_groups("exact_match", codes[2000:], held_out)
    together = evaluate_groups("exact_match", codes[2000:], list(found.decode(held_out).T))
    assert together > alone + 0.05
    assert found.honest == pytest.approx(together, abs=0.04)
    assert evaluate_groups("group_accuracy", codes[2000:], found.apply(held_out)) > evaluate_groups(
        "group_accuracy", codes[2000:], held_out
    )


@pytest.mark.parametrize("metric", joint.METRICS)
def test_the_interval_of_the_gain_is_that_of_a_plain_paired_bootstrap(metric):
    codes, probs = linked((3, 5), 600, noise=1.5)
    folds = np.arange(600) % 3
    found = joint.fit(codes, probs, metric, folds=folds)
    assert evaluate_groups(metric, codes, list(found.held_out.T)) == pytest.approx(found.honest)
    low, high = found.gain_interval
    assert low < found.honest - found.score_alone < high
    chosen = np.empty_like(codes)
    for f in range(3):
        own = joint.fit(codes[folds != f], [p[folds != f] for p in probs], metric, bags=0)
        chosen[folds == f] = own.decode([p[folds == f] for p in probs])  # nearly what the fit chooses for these rows
    alone = np.stack([p.argmax(axis=1) for p in probs], axis=1)
    reduce = {"exact_match": np.all, "group_accuracy": np.mean}[metric]
    gains = reduce(chosen == codes, axis=1).astype(float) - reduce(alone == codes, axis=1)
    rng = np.random.default_rng(0)
    means = [gains[rng.integers(0, 600, 600)].mean() for _ in range(2000)]
    assert high - low == pytest.approx(np.subtract(*np.quantile(means, [0.975, 0.025])), rel=0.25)
    groups = np.argsort(np.argsort(gains)) // 60  # ten groups, whose rows gain alike
    sums = np.bincount(groups, gains)
    means = [sums[rng.integers(0, 10, 10)].mean() / 60 for _ in range(2000)]
    wide = joint.fit(codes, probs, metric, folds=folds, row_groups=groups).gain_interval
    # Student's t of nine degrees of freedom, and the spread of ten groups without its mean.
    factor = 2.262 / 1.960 * np.sqrt(10 / 9)
    assert np.subtract(*wide) == pytest.approx(factor * np.subtract(*np.quantile(means, [0.025, 0.975])), rel=0.15)


def test_a_file_of_an_older_version_has_no_interval(tmp_path):
    path = tmp_path / "joint.json"
    found = joint.fit(*linked(n_rows=40))
    joint_file.save(found, path)
    content = json.loads(path.read_text())
    del content["gain_interval"]
    path.write_text(json.dumps(content))
    assert joint_file.load(path) == dataclasses.replace(found, gain_interval=None)


def test_groups_that_are_not_linked_are_left_alone():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, 3, 3000), rng.integers(0, 4, 3000)], axis=1)
    probs = [noisy(rng, column, size, 1.0) for column, size in zip(codes.T, (3, 4), strict=True)]
    found = joint.fit(codes, probs)
    assert found.honest == pytest.approx(found.score_alone, abs=0.01)
    assert np.abs(found.tables[0]).max() < 0.3


def test_weights_are_repetitions_of_rows():
    codes, probs = linked(n_rows=60)
    times = np.random.default_rng(1).integers(0, 3, 60)
    folds = np.arange(60) % 3
    weighted = joint.fit(codes, probs, folds=folds, sample_weight=times, bags=0)
    repeated = joint.fit(
        np.repeat(codes, times, axis=0),
        [np.repeat(p, times, axis=0) for p in probs],
        folds=np.repeat(folds, times),
        bags=0,
    )
    same = dataclasses.replace(repeated, seconds=weighted.seconds)
    assert weighted.strength == pytest.approx(same.strength)
    assert np.allclose(weighted.tables, same.tables)
    assert (weighted.score, weighted.honest) == pytest.approx((same.score, same.honest))


def test_same_request_same_bits_and_a_file_gives_them_back(tmp_path):
    codes, probs = linked((2, 3, 4), 100)
    found, again = joint.fit(codes, probs), joint.fit(codes, probs)
    assert dataclasses.replace(found, seconds=0.0) == dataclasses.replace(again, seconds=0.0)
    joint_file.save(found, tmp_path / "joint.json")
    assert joint_file.load(tmp_path / "joint.json") == found
    assert "2 × 3 × 4 classes" in repr(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "recipe"}, "not a joint decoder"),
        ({"version": 9}, "of another version"),
        ({"extra": 1}, "is damaged"),
        ({"sizes": [3, 4]}, "tables of shapes"),
        ({"strength": "much"}, "is damaged"),
        ({"metric": "macro_f1"}, "unknown metric"),
    ],
)
def test_damaged_files_are_told(tmp_path, change, message):
    path = tmp_path / "joint.json"
    joint_file.save(joint.fit(*linked(n_rows=40)), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        joint_file.load(path)
    path.write_text("{")
    with pytest.raises(UserError, match="not a joint decoder, or damaged"):
        joint_file.load(path)
    with pytest.raises(UserError, match="no such joint decoder"):
        joint_file.load(tmp_path / "none.json")


def test_unusable_requests_are_told():
    codes, probs = linked(n_rows=40)
    broken = [probs[0], np.where(np.arange(40)[:, None] == 3, np.nan, probs[1])]
    for arguments, options, message in (
        ((codes, probs, "top_2_hit"), {}, "not fitted to top_2_hit"),
        ((codes, probs, "macro_f1"), {}, "'macro_f1' is not for multi_group tasks"),
        ((codes, broken), {}, "group 2: 1 of 40 rows"),
        ((codes[:, :1], probs[:1]), {}, "one label group only"),
        ((codes, [p.argmax(axis=1) for p in probs]), {}, "these are decisions"),
        ((codes, probs), {"smoothing": 0.0}, "smoothing must be above 0"),
        ((codes, probs), {"folds": np.zeros(40, int)}, "all 40 rows are in fold 0"),
        ((codes, [np.full((40, 400), 1 / 400)] * 2), {}, "160,000 combinations of 400 × 400 classes"),
        ((codes[:0], [p[:0] for p in probs]), {}, "no rows"),
    ):
        with pytest.raises(UserError, match=message):
            joint.fit(*arguments, **options)
    found = joint.fit(codes, probs)
    for wrong, message in (
        (probs[:1], "predictions of 1 label groups"),
        (probs[::-1], r"the label groups have \(5, 3\) classes"),
        ([probs[0], probs[1][:7]], "group 2 has 7 rows"),
    ):
        with pytest.raises(UserError, match=message):
            found.decode(wrong)
