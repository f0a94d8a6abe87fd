import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import rankdata

from kaggle_tools.errors import UserError
from kaggle_tools.search._portable import portable_exp, portable_log
from kaggle_tools.search.recipe import KINDS, Recipe, apply, apply_stack, decide, explain, load, save

from .data import as_predictions, make_label_stack, make_stack

CLASSES = ("EAP", "HPL", "MWS")
MODELS = ("roberta", "bert", "linear")
ROUNDS = (
    {"name": "vote:1", "members": ("roberta", "bert", "linear"), "weights": (0.7, 0.6, 0.5)},
    {"name": "vote:2", "members": ("vote:1", "linear"), "weights": (0.75, 0.5)},
)
PARAMETERS = {
    "mean": {},
    "linear_pool": {"weights": (0.5, 0.3, 0.2)},
    "log_pool": {"exponents": (0.9, 0.4, -0.1), "biases": (0.1, 0.0, -0.2)},
    "geometric_mean": {"weights": (3, 2, 1)},
    "power_mean": {"power": 0.5},
    "rank_mean": {"weights": (1, 1, 2)},
    "logistic_stack": {"coefficients": np.arange(27).reshape(3, 9) / 30, "intercepts": (0.3, 0.1, -0.4)},
    "vote": {"rounds": ROUNDS, "rule": "winners"},
}


def make_recipe(kind="linear_pool", **changes):
    parameters = {**PARAMETERS[kind], **changes.pop("parameters", {})}
    return Recipe(kind, changes.pop("task", "single_label"), CLASSES, MODELS, "macro_f1", parameters, **changes)


def make_members(seed=0, n_rows=200, **changes):
    stack, codes = make_stack(len(MODELS), n_rows, len(CLASSES), seed=seed)
    labels = [CLASSES[code] for code in codes]
    return {
        name: as_predictions(probs, CLASSES, labels=labels, **changes)
        for name, probs in zip(MODELS, stack, strict=True)
    }


def test_every_kind_is_tested_here():
    assert set(PARAMETERS) == set(KINDS)


@settings(deadline=None)  # the first example compiles
@given(st.floats(1e-300, 1e300))
def test_portable_log_is_the_logarithm(x):
    assert portable_log(x) == pytest.approx(np.log(x), rel=1e-15, abs=1e-15)


@settings(deadline=None)
@given(st.floats(-740, 705))
def test_portable_exp_is_the_exponential(x):
    assert portable_exp(x) == pytest.approx(np.exp(x), rel=1e-15, abs=5e-324)


def test_kinds_agree_with_plain_numpy():
    stack, _ = make_stack(3, 300, 3)
    p = stack.astype(np.float64)
    w = np.array([0.5, 0.3, 0.2])
    logs = np.log(p)
    ranks = (np.stack([rankdata(model, axis=0) for model in p]) - 0.5) / 300
    stacked = logs.transpose(1, 0, 2).reshape(300, 9) @ (np.arange(27).reshape(3, 9) / 30).T + np.array(
        [0.3, 0.1, -0.4]
    )
    expected = {
        "mean": p.mean(axis=0),
        "linear_pool": np.tensordot(w, p, 1),
        "log_pool": softmax(np.tensordot([0.9, 0.4, -0.1], logs, 1) + np.array([0.1, 0.0, -0.2]), axis=1),
        "geometric_mean": softmax(np.tensordot(np.array([3, 2, 1]) / 6, logs, 1), axis=1),
        "power_mean": np.sqrt(p).mean(axis=0) ** 2,
        "rank_mean": np.tensordot(np.array([1, 1, 2]) / 4, ranks, 1),
        "logistic_stack": np.exp(log_softmax(stacked, axis=1)),
    }
    for kind, values in expected.items():
        values = values / values.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(apply_stack(make_recipe(kind), stack), values, atol=2e-7, err_msg=kind)


def test_weights_may_differ_between_classes():
    stack, _ = make_stack(3, 100, 3)
    weights = np.random.default_rng(0).random((3, 3))
    blend = np.einsum("mc,mnc->nc", weights, stack.astype(np.float64))
    replayed = apply_stack(make_recipe("linear_pool", parameters={"weights": weights}), stack)
    np.testing.assert_allclose(replayed, blend / blend.sum(axis=1, keepdims=True), atol=2e-7)


def test_a_bent_log_pool_agrees_with_plain_numpy_and_says_what_it_does():
    stack, _ = make_stack(3, 300, 3)
    stack[0, :5] = np.eye(3)[[0, 1, 2, 0, 1]]
    bends = {"bends": (0.2, -0.4, 0.3), "knee": 0.01}
    recipe = make_recipe("log_pool", parameters=bends)
    p = stack.astype(np.float64)
    scores = np.tensordot([0.9, 0.4, -0.1], np.log(np.maximum(p, 1e-15)), 1) + np.array([0.1, 0.0, -0.2])
    scores += np.tensordot(bends["bends"], np.log(p + 0.01), 1)
    np.testing.assert_allclose(apply_stack(recipe, stack), softmax(scores, axis=1), atol=2e-7)
    assert "well above 0.01, its exponent grows by: -0.4 × bert + 0.3 × linear + 0.2 × roberta" in explain(recipe)


@pytest.mark.parametrize(
    ("task", "parameters", "message"),
    [
        ("single_label", {"bends": (1, 1, 1)}, "'bends' and 'knee' belong together"),
        ("single_label", {"knee": 0.01}, "'bends' and 'knee' belong together"),
        ("single_label", {"bends": (1, 1, 1), "knee": 0.0}, "'knee' must be finite"),
        ("multi_label", {"bends": (1, 1, 1), "knee": 0.01}, "'bends' are for single_label"),
    ],
)
def test_bends_that_make_no_sense_are_refused(task, parameters, message):
    with pytest.raises(UserError, match=message):
        make_recipe("log_pool", task=task, parameters=parameters)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "vote"])
def test_multi_label_kinds_give_probabilities_of_each_label(kind):
    stack, _ = make_label_stack(3, 100, 3)
    parameters = {"logistic_stack": {"coefficients": np.full((3, 3), 0.5)}}.get(kind, {})
    recipe = make_recipe(kind, task="multi_label", parameters=parameters)
    blend = apply_stack(recipe, stack)
    assert ((blend >= 0) & (blend <= 1)).all()
    if kind == "log_pool":
        expected = expit(
            np.tensordot([0.9, 0.4, -0.1], logit(stack.astype(np.float64)), 1) + np.array([0.1, 0.0, -0.2])
        )
        np.testing.assert_allclose(blend, expected, atol=2e-7)
    if kind == "mean":
        np.testing.assert_allclose(blend, stack.mean(axis=0), atol=2e-7)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*KINDS]),
    st.integers(0, 100),
    st.booleans(),
    st.lists(st.floats(0.01, 100), min_size=3, max_size=3),
)
def test_saved_and_loaded_recipe_gives_the_same_bytes(tmp_path_factory, kind, seed, weighted, weights):
    recipe = make_recipe(
        kind,
        parameters={"class_weights": weights} if weighted else {},
        fitted=0.1 + 0.2,
        honest=1 / 3,
        provenance={"method": "test", "seed": seed},
    )
    path = tmp_path_factory.mktemp("recipe") / "recipe.json"
    save(recipe, path)
    assert load(path) == recipe
    members = make_members(seed, 50)
    assert apply(load(path), members).probs.tobytes() == apply(recipe, members).probs.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([*KINDS]), st.randoms(use_true_random=False), st.integers(0, 2))
def test_row_order_of_members_changes_nothing(kind, random, which):
    recipe, members = make_recipe(kind), make_members(n_rows=40)
    expected = apply(recipe, members)
    order = list(range(40))
    random.shuffle(order)
    name = MODELS[which]
    members[name] = members[name].align(members[name].ids.gather(order))
    found = apply(recipe, members)
    assert found.ids.to_list() == members[MODELS[0]].ids.to_list()
    assert found.align(expected.ids).probs.tobytes() == expected.probs.tobytes()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.lists(st.floats(0.1, 10), min_size=3, max_size=3))
def test_most_probable_class_is_the_largest_weighted_probability(seed, weights):
    stack, _ = make_stack(3, 60, 3, seed=seed)
    stack = np.round(stack, 1)  # many ties
    recipe = make_recipe("linear_pool", parameters={"class_weights": weights})
    blend = np.zeros((60, 3))
    for weight, probs in zip((0.5, 0.3, 0.2), stack.astype(np.float64), strict=True):
        blend += weight * probs
    expected = (blend * np.array(weights)).argmax(axis=1)
    assert (apply_stack(recipe, stack).argmax(axis=1) == expected).all()


def test_rounding_to_float32_makes_no_tie():
    stack = np.array([[[0.2, 0.4, 0.4]]], np.float32)
    nearly = Recipe("mean", "single_label", CLASSES, ("a",), "accuracy", {"class_weights": (1.0, 1.0, 1.0 + 1e-12)})
    blend = apply_stack(nearly, stack)
    assert blend.argmax(axis=1) == [2]
    assert blend[0, 2] > blend[0, 1]


def test_a_label_is_chosen_from_its_threshold_on():
    thresholds = (0.3, 0.5, 0.7, 0.0, 1.5)
    probs = np.random.default_rng(0).random((1, 500, 5)).astype(np.float32)
    probs[0, 0] = thresholds
    recipe = Recipe("mean", "multi_label", tuple("abcde"), ("m",), "macro_f1", {"thresholds": thresholds})
    blend = apply_stack(recipe, probs)
    assert ((blend >= 0.5) == (probs[0].astype(np.float64) >= np.array(thresholds))).all()
    assert (np.argsort(blend[:, 0], kind="stable") == np.argsort(probs[0, :, 0], kind="stable")).all()


def test_negative_weights_keep_rows_summing_to_one():
    stack, _ = make_stack(3, 200, 3)
    blend = apply_stack(make_recipe("linear_pool", parameters={"weights": (1.5, -0.7, 0.2)}), stack)
    assert blend.min() >= 0
    np.testing.assert_allclose(blend.sum(axis=1), 1, atol=1e-6)


def test_decisions_are_names():
    members = make_members()
    recipe = make_recipe("mean")
    names = [CLASSES[c] for c in apply(recipe, members).probs.argmax(axis=1)]
    assert decide(recipe, members).to_list() == names


def test_multi_label_decisions_are_joined():
    probs = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.3]], np.float32)
    recipe = Recipe("mean", "multi_label", CLASSES, ("m",), "macro_f1")
    found = decide(recipe, {"m": as_predictions(probs, CLASSES, task="multi_label")})
    assert found.to_list() == ["EAP|MWS", ""]


def test_labels_and_folds_come_along():
    members = make_members(folds=np.zeros(200, np.int16))
    blended = apply(make_recipe("mean"), members)
    assert blended.labels.equals(members["bert"].labels)
    assert (blended.folds == 0).all()


def test_missing_model_is_named_with_its_nearest():
    members = make_members()
    members["robberta"] = members.pop("roberta")
    with pytest.raises(UserError, match="'roberta' is missing") as error:
        apply(make_recipe(), members)
    assert "robberta" in error.value.details["next"]


def test_classes_in_another_order_are_refused():
    members = make_members()
    swapped = {n: as_predictions(p.probs[:, ::-1], CLASSES[::-1]) for n, p in members.items()}
    with pytest.raises(UserError, match="another order"):
        apply(make_recipe(), swapped)


def test_other_classes_are_refused_with_counts():
    members = {n: as_predictions(p.probs, ("EAP", "HPL", "XYZ")) for n, p in make_members().items()}
    with pytest.raises(UserError, match=r"1 only in the predictions \(XYZ\), 1 only in the recipe \(MWS\)"):
        apply(make_recipe(), members)


def test_rows_that_do_not_match_are_counted():
    members = make_members()
    members["bert"] = as_predictions(members["bert"].probs[:190], CLASSES)
    with pytest.raises(UserError, match=r"'bert' and 'roberta' do not hold the same rows.*10 missing"):
        apply(make_recipe(), members)


def test_folds_that_differ_between_models_are_refused():
    members = make_members(folds=np.zeros(200, np.int16))
    members["bert"] = as_predictions(
        members["bert"].probs, CLASSES, folds=np.r_[np.zeros(197), 1, 1, 1].astype(np.int16)
    )
    with pytest.raises(UserError, match="fold of 3 of 200 rows differs"):
        apply(make_recipe(), members)


def test_labels_that_differ_between_models_are_refused():
    members = make_members()
    labels = members["bert"].labels.to_list()
    labels[4] = "HPL" if labels[4] == "EAP" else "EAP"
    members["bert"] = as_predictions(members["bert"].probs, CLASSES, labels=labels)
    with pytest.raises(UserError, match="true label of 1 of 200 rows") as error:
        apply(make_recipe(), members)
    assert error.value.details["first"].startswith("r4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "liner_pool"}, "unknown kind of recipe"),
        ({"version": 2}, "version 2 is unknown"),
        ({"models": ["a", "a", "b"]}, "distinct models"),
        ({"models": "abc"}, "not a list of names"),
        ({"parameters": {}}, "needs 'weights'"),
        ({"parameters": {"weights": [0.5, 0.5]}}, "shape"),
        ({"parameters": {"weights": [0.5, 0.5, "x"]}}, "not made of numbers"),
        ({"parameters": {"weights": [0.5, 0.3, 0.2], "class_weight": [1, 1, 1]}}, "no parameter 'class_weight'"),
        ({"parameters": {"weights": [0.5, 0.3, 0.2], "class_weights": [1, 0, 1]}}, "above zero"),
        ({"parameters": {"weights": [0.5, 0.3, 0.2], "thresholds": [1, 0, 1]}}, "no parameter 'thresholds'"),
        ({"extra": 1}, "1 unknown"),
    ],
)
def test_damaged_file_is_told_clearly(tmp_path, changes, message):
    path = tmp_path / "recipe.json"
    save(make_recipe(), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=message) as error:
        load(path)
    assert str(path) == error.value.details["where"]


def test_truncated_file_is_told_clearly(tmp_path):
    path = tmp_path / "recipe.json"
    save(make_recipe(), path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(UserError, match="damaged"):
        load(path)
    with pytest.raises(UserError, match="no such recipe"):
        load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ([], "at least one round"),
        ([{"name": "vote:1", "members": ["roberta"]}], "damaged"),
        ([{"name": "bert", "members": ["roberta"], "weights": [1]}], "occurs twice"),
        ([{"name": "vote:1", "members": ["robert"], "weights": [1]}], "unknown member 'robert'"),
        ([{"name": "vote:1", "members": ["roberta", "bert"], "weights": [1]}], "one weight a member"),
    ],
)
def test_damaged_rounds_are_told_clearly(rounds, message):
    with pytest.raises(UserError, match=message):
        make_recipe("vote", parameters={"rounds": rounds})


def test_nan_parameters_and_unwritable_provenance_are_refused(tmp_path):
    with pytest.raises(UserError, match="finite"):
        make_recipe(parameters={"weights": (np.nan, 1, 1)})
    with pytest.raises(UserError, match="cannot be written as JSON"):
        save(make_recipe(provenance={"x": object()}), tmp_path / "recipe.json")
    assert not (tmp_path / "recipe.json").exists()


@pytest.mark.parametrize("kind", [*KINDS])
def test_every_kind_is_explained_in_words(kind):
    text = explain(
        make_recipe(kind, parameters={"class_weights": (1, 1.13, 0.9)}, fitted=0.7, honest=0.69), make_members()
    )
    assert all(name in text for name in MODELS)
    assert "HPL 1.13" in text
    assert "macro_f1: 0.70000 on the data it was fitted to, 0.69000 cross-validated" in text
    assert "class weights change" in text


def test_explanation_puts_the_heaviest_model_first():
    text = explain(make_recipe(parameters={"weights": (0.2, 0.52, -0.1)}))
    assert text == "0.52 × bert + 0.2 × roberta - 0.1 × linear"


def test_stack_of_other_size_is_refused():
    with pytest.raises(UserError, match="2 models and 3 classes"):
        apply_stack(make_recipe(), make_stack(2)[0])
