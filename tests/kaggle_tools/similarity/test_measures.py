"""Every measure against scikit-learn, scipy or brute force; tables joined by id whatever the order of rows."""

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import jensenshannon, squareform
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss

from kaggle_tools.errors import UserError
from kaggle_tools.predictions import Predictions
from kaggle_tools.similarity import cluster, complement, join, measure
from kaggle_tools.similarity.bits import count_common, count_equal, pack, pack_codes
from kaggle_tools.similarity.ranks import EXACT, mean_ranks
from kaggle_tools.submissions.answers import read_answers

CLASSES = ("a", "b", "c")


def predictions(n=300, seed=0, *, labels=True, classes=CLASSES):
    random = np.random.default_rng(seed)
    probs = random.dirichlet([0.4] * len(classes), n).astype(np.float32)
    truth = pl.Series("label", [classes[i] for i in np.random.default_rng(99).integers(0, len(classes), n)])
    return Predictions(pl.Series("id", [f"r{i}" for i in range(n)]), classes, probs, truth if labels else None)


def normalised(probs):
    return probs.astype(np.float64) / probs.sum(axis=1, keepdims=True, dtype=np.float64)


def pairs(k):
    return itertools.combinations(range(k), 2)


@pytest.fixture(scope="module")
def members():
    return {f"m{seed}": predictions(seed=seed) for seed in range(4)}


@pytest.fixture(scope="module")
def found(members):
    return measure(join(members))


def test_agreement_kappa_and_churn_are_those_of_scikit_learn(members, found):
    labels = [one.predicted.to_list() for one in members.values()]
    for a, b in pairs(4):
        share = accuracy_score(labels[a], labels[b])
        assert found.matrices["agreement"][a, b] == pytest.approx(share)
        assert found.matrices["churn"][b, a] == pytest.approx(1 - share)
        assert found.matrices["kappa"][a, b] == pytest.approx(cohen_kappa_score(labels[a], labels[b]))


def test_correlations_and_divergence_are_those_of_scipy(members, found):
    probs = [one.probs.astype(np.float64) for one in members.values()]
    for a, b in pairs(4):
        pearson = np.mean([np.corrcoef(probs[a][:, c], probs[b][:, c])[0, 1] for c in range(3)])
        spearman = np.mean([spearmanr(probs[a][:, c], probs[b][:, c]).statistic for c in range(3)])
        divergence = np.mean(jensenshannon(probs[a], probs[b], base=2, axis=1) ** 2)
        assert found.matrices["pearson"][a, b] == pytest.approx(pearson, abs=1e-5)
        assert found.matrices["spearman"][a, b] == pytest.approx(spearman, abs=1e-5)
        assert found.matrices["jensen_shannon"][a, b] == pytest.approx(divergence, abs=2e-6)


def test_errors_together_by_brute_force(members, found):
    right = [(one.predicted == one.labels).to_numpy() for one in members.values()]
    for a, b in pairs(4):
        n11, n00 = np.sum(right[a] & right[b]), np.sum(~right[a] & ~right[b])
        n10, n01 = np.sum(right[a] & ~right[b]), np.sum(~right[a] & right[b])
        assert found.matrices["double_fault"][a, b] == pytest.approx(n00 / 300)
        assert found.matrices["q_statistic"][a, b] == pytest.approx((n11 * n00 - n10 * n01) / (n11 * n00 + n10 * n01))
        assert found.matrices["error_overlap"][a, b] == pytest.approx(n00 / (n00 + n10 + n01))


def test_every_matrix_is_symmetric_and_a_model_is_like_itself(found):
    for name, matrix in found.matrices.items():
        assert np.allclose(matrix, matrix.T), name
        if name in ("agreement", "kappa", "pearson", "spearman", "q_statistic", "error_overlap"):
            assert np.allclose(np.diag(matrix), 1), name
        if name in ("churn", "jensen_shannon"):
            assert np.allclose(np.diag(matrix), 0), name


def test_rows_are_joined_by_id_whatever_their_order(members, found):
    order = np.random.default_rng(3).permutation(300)
    shuffled = dict(members) | {"m2": members["m2"].align(members["m2"].ids.gather(order))}
    again = measure(join(shuffled))
    for name, matrix in found.matrices.items():
        assert np.allclose(again.matrices[name], matrix), name


def test_multi_label_counts_each_decision():
    def labelled(seed):
        one = predictions(seed=seed)
        return Predictions(one.ids, one.classes, one.probs, one.labels, task="multi_label")

    a, b = labelled(1), labelled(2)
    found = measure(join({"a": a, "b": b}))
    left, right = (a.probs >= 0.5).ravel(), (b.probs >= 0.5).ravel()
    assert found.matrices["kappa"][0, 1] == pytest.approx(cohen_kappa_score(left, right))
    assert found.matrices["pearson"][0, 1] == pytest.approx(
        np.corrcoef(a.probs.ravel(), b.probs.ravel())[0, 1], abs=1e-5
    )
    assert found.notes[0].startswith("several labels a row")


def test_constant_columns_have_no_correlation_and_constant_decisions_no_kappa():
    flat = Predictions(pl.Series("id", ["x", "y"]), CLASSES, np.full((2, 3), 1 / 3, np.float32))
    found = measure(join({"a": flat, "b": flat}))
    assert np.isnan(found.matrices["pearson"]).all()
    assert np.isnan(found.matrices["kappa"]).all()
    assert (found.matrices["agreement"] == 1).all()


def test_labels_beside_probabilities_are_compared_by_decision_only(tmp_path, members):
    one = members["m1"]
    path = tmp_path / "labels.csv"
    pl.DataFrame([one.ids, one.predicted]).write_csv(path)
    found = measure(join({"m0": members["m0"], "m1": one, "labels": read_answers(str(path), tmp_path)}))
    assert found.matrices["agreement"][1, 2] == 1
    assert np.isnan(found.matrices["pearson"][:, 2]).all()
    assert not np.isnan(found.matrices["pearson"][0, 1])
    assert "labels" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: [*ids[:-1], "new"], "not about the same rows: 1 ids missing, 1 unexpected"),
        (lambda ids: [*ids[:-1], ids[0]], "1 ids occur more than once"),
    ],
)
def test_other_ids_are_refused(tmp_path, members, change, message):
    one = members["m0"]
    path = tmp_path / "other.csv"
    pl.DataFrame([pl.Series("id", change(one.ids.to_list())), one.predicted]).write_csv(path)
    with pytest.raises(UserError, match=message):
        join({"m0": one, "other": read_answers(str(path), tmp_path)})


def test_other_classes_or_a_single_member_are_refused(members):
    with pytest.raises(UserError, match="different classes"):
        join({"m0": members["m0"], "other": predictions(classes=("a", "b", "z"))})
    with pytest.raises(UserError, match="1 to compare"):
        join({"m0": members["m0"]})


def test_order_and_tree_are_those_of_scipy(found):
    matrix = found.matrices["agreement"]
    tree = cluster("agreement", matrix)
    merges = linkage(squareform(1 - matrix, checks=False), "average", optimal_ordering=True)
    assert list(tree.order) == leaves_list(merges).tolist()
    assert [link.height for link in tree.links] == pytest.approx(sorted(merges[:, 2]))


def test_pairs_are_scored_by_their_mean(members):
    found = complement(join(members), "log_loss")
    truth, probs = members["m0"].label_codes, [normalised(one.probs) for one in members.values()]
    alone = [log_loss(truth, one) for one in probs]
    assert found.scores == pytest.approx(alone, abs=1e-6)
    for a, b in pairs(4):
        together = log_loss(truth, (probs[a] + probs[b]) / 2)
        assert found.adds[a, b] == pytest.approx(alone[a] - together, abs=1e-6)
        assert found.gains[a, b] == pytest.approx(min(alone[a], alone[b]) - together, abs=1e-6)
        either = (probs[a].argmax(1) == truth) | (probs[b].argmax(1) == truth)
        assert found.oracle[a, b] == pytest.approx(either.mean())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 300), st.integers(1, 40), st.integers(0, 1000))
def test_bits_count_like_numpy(k, n, n_classes, seed):
    codes = np.random.default_rng(seed).integers(0, n_classes, (k, n)).astype(np.int8)
    equal = count_equal(pack_codes(codes), n)
    common = count_common(pack(codes == 0))
    for a, b in itertools.product(range(k), repeat=2):
        assert equal[a, b] == np.sum(codes[a] == codes[b])
        assert common[a, b] == np.sum((codes[a] == 0) & (codes[b] == 0))


def test_many_rows_are_ranked_by_bins_that_change_next_to_nothing():
    random = np.random.default_rng(0)
    few = np.round(random.random(1000), 2).astype(np.float32)
    assert (mean_ranks(few) == rankdata(few)).all()
    many = random.beta(0.3, 0.3, EXACT + 1).astype(np.float32)
    exact = rankdata(many)
    assert np.corrcoef(mean_ranks(many), exact)[0, 1] > 1 - 1e-6
