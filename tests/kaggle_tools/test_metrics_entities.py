import gzip
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2

from kaggle_tools.errors import UserError
from kaggle_tools.metrics import METRICS, count_entities, evaluate, evaluate_tags

TAG = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "I-PER.NAM", "B-PER.NAM", "B", "I"])


@st.composite
def tagged(draw: st.DrawFn):
    """Sentences, some of them empty, with any order of tags, legal or not; predictions are mostly right."""
    truth = draw(st.lists(st.lists(TAG, max_size=7), min_size=1, max_size=5).filter(any))
    predicted = [[draw(TAG) if draw(st.integers(0, 3)) == 0 else tag for tag in tags] for tags in truth]
    return truth, predicted


def strict(truth, predicted) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns where there is no entity at all, and gives 0
        return float(f1_score(truth, predicted, mode="strict", scheme=IOB2, zero_division=0))


@given(case=tagged())
@settings(max_examples=300, deadline=None)
def test_entity_f1_is_seqevals_strict_one(case) -> None:
    truth, predicted = case
    assert evaluate_tags("entity_f1", truth, predicted) == pytest.approx(strict(truth, predicted))


@given(case=tagged())
@settings(max_examples=60, deadline=None)
def test_counts_of_each_type_agree_with_seqeval(case) -> None:
    truth, predicted = case
    counts = count_entities(truth, predicted)
    if not any(tag.startswith("B") for tags in [*truth, *predicted] for tag in tags):
        assert counts == {}
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = classification_report(truth, predicted, mode="strict", scheme=IOB2, zero_division=0, output_dict=True)
    for name, found in counts.items():
        theirs = report[name or "_"]
        assert found.f1 == pytest.approx(theirs["f1-score"])
        assert found.true == theirs["support"]


@given(case=tagged(), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_sentence_of_weight_two_counts_as_two(case, seed: int) -> None:
    truth, predicted = case
    weights = np.random.default_rng(seed).integers(0, 3, len(truth))
    weights[-1] = 1
    repeated = [[tags for tags, n in zip(side, weights, strict=True) for _ in range(n)] for side in case]
    expected = evaluate_tags("entity_f1", *repeated)
    assert evaluate_tags("entity_f1", truth, predicted, weights=weights) == pytest.approx(expected)


def test_an_entity_does_not_go_on_into_the_next_sentence() -> None:
    assert evaluate_tags("entity_f1", [["B-PER"], ["I-PER"]], [["B-PER"], ["O"]]) == 1
    assert evaluate_tags("entity_f1", [["B-PER", "I-PER"]], [["B-PER", "O"]]) == 0


def test_real_tags_with_illegal_ones_are_scored_as_seqeval_does(shared_data) -> None:
    with gzip.open(shared_data / "weibo_ner" / "train.conll.gz", "rt", encoding="utf-8") as handle:
        blocks = handle.read().strip().split("\n\n")
    truth = [[line.split("\t")[-1] for line in block.splitlines()] for block in blocks]
    legal = {"O": {"O"}}
    illegal = sum(
        tag.startswith("I-") and before not in legal.setdefault(tag, {tag, "B" + tag[1:]})
        for tags in truth
        for before, tag in zip(["O", *tags], tags, strict=False)
    )
    assert illegal > 0
    rng = np.random.default_rng(0)
    known = sorted({tag for tags in truth for tag in tags})
    guessed = [[tag if rng.random() < 0.8 else str(rng.choice(known)) for tag in tags] for tags in truth]
    assert evaluate_tags("entity_f1", truth, guessed) == pytest.approx(strict(truth, guessed))
    assert evaluate_tags("entity_f1", truth, truth) == 1


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([["O"]], [["X-PER"]], "'X-PER' is not a BIO tag"),
        ([["O"]], [["BPER"]], "'BPER' is not a BIO tag"),
        ([["O"]], [["E-PER"]], "'E-PER' is not a BIO tag"),
        ([["O"]], [[None]], "None is not a BIO tag"),
        ([["O"]], [[float("nan")]], "nan is not a BIO tag"),
        ([["O", "O"]], [["O"]], "1 of 1 sentences have another number of predicted tags"),
        ([["O"], ["O"]], [["O"]], "1 predicted sentences"),
        ([], [], "no sentences"),
    ],
)
def test_unusable_tags_are_told(truth, predicted, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate_tags("entity_f1", truth, predicted)


def test_tags_and_classes_are_not_confused() -> None:
    with pytest.raises(UserError, match="'entity_f1' is not for single_label tasks"):
        evaluate("entity_f1", [0], [[0.5, 0.5]])
    with pytest.raises(UserError, match="'accuracy' is not for token tasks"):
        evaluate_tags("accuracy", [["O"]], [["O"]])
    assert METRICS["entity_f1"].greater_is_better
