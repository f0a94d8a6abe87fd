"""The Scorer against the stock Hugging Face forward pass, one text at a time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.errors import ModelError
from models.inference import forward
from models.inference.device import resolve_device
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer
from models.inference.shards import NonFinite

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(200))]
CLASSES = ("cat", "dog", "emu")
TEXTS = ["w1 w2 w3", "w9", "", "w4 w5 w6 w7 w8 w9 w10", "w1 w2 w3", "w3 w2 w1", "w11 " * 60, None]


@pytest.fixture(scope="module")
def models(tmp_path_factory, save_model):
    root = tmp_path_factory.mktemp("models")
    return {
        "a0": save_model(root / "a0", 0),
        "a1": save_model(root / "a1", 1),
        "b": save_model(root / "b", 2, vocabulary=[*VOCABULARY, "extra"]),
        "roberta": save_model(root / "roberta", 3, architecture="roberta"),
        "permuted": save_model(root / "permuted", 4, classes=("emu", "cat", "dog")),
        "numbered": save_model(root / "numbered", 5, classes=("LABEL_0", "LABEL_1", "LABEL_2")),
        "other": save_model(root / "other", 6, classes=("cat", "dog", "fox")),
    }


def stock(folder, texts):
    """(N, C) probabilities by the plain forward pass, one text a time: no batch, no padding, no mask."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rows = []
    with torch.inference_mode():
        for text in texts:
            inputs = tokenizer(text or "", truncation=True, max_length=40, return_tensors="pt")
            rows.append(model(inputs["input_ids"]).logits.softmax(-1).numpy()[0])
    return np.stack(rows)


@pytest.mark.parametrize("budget", [1, 50, 100_000])
@pytest.mark.parametrize("name", ["a0", "roberta"])
def test_scores_equal_the_stock_forward_pass(models, name, budget):
    scorer = Scorer({"run": [models[name]]}, precision="fp32", token_budget=budget)
    np.testing.assert_allclose(scorer.score(TEXTS)["run"], stock(models[name], TEXTS), atol=1e-5)


def test_padded_batches_equal_the_stock_forward_pass(models):
    scorer = Scorer({"run": [models["roberta"]]}, precision="fp32")
    scorer.groups[0].packed = False
    scorer.budget.pass_cost = 10_000  # so that everything is merged into one padded batch
    prepared = scorer.prepare(TEXTS)
    scored = scorer.infer(prepared)
    assert scored.stats.padding > 0
    np.testing.assert_allclose(scored.probs["run"], stock(models["roberta"], TEXTS), atol=1e-5)


def test_a_checkpoint_that_is_written_over_meanwhile_changes_no_score(tmp_path, save_model):
    ours, other = (save_model(tmp_path / name, seed) for seed, name in enumerate(("ours", "other")))
    scorer = Scorer(ours, device="cpu", precision="fp32")
    before = scorer.score(["w1 w2", "w3"]).probabilities
    weights = (tmp_path / "other" / "model.safetensors").read_bytes()
    with (tmp_path / "ours" / "model.safetensors").open("r+b") as file:  # the same file, as `cp` and `rsync --inplace`
        file.write(weights)
    assert (scorer.score(["w1 w2", "w3"]).probabilities == before).all()
    assert (Scorer(other, device="cpu", precision="fp32").score(["w1 w2", "w3"]).probabilities != before).any()


def test_folds_are_averaged_and_runs_kept_apart(models):
    scorer = Scorer({"a": [models["a0"], models["a1"]], "b": [models["b"]]}, precision="fp32")
    probs = scorer.score(TEXTS)
    expected = (stock(models["a0"], TEXTS) + stock(models["a1"], TEXTS)) / 2
    np.testing.assert_allclose(probs["a"], expected, atol=1e-5)
    np.testing.assert_allclose(probs["b"], stock(models["b"], TEXTS), atol=1e-5)


def test_members_with_one_tokenizer_share_one_tokenisation(models):
    one = Scorer({"a": [models["a0"]]}, precision="fp32")
    three = Scorer({"a": [models["a0"], models["a1"]], "b": [models["b"]]}, precision="fp32")
    assert [len(group.members) for group in three.groups] == [2, 1]
    tokens = one.infer(one.prepare(TEXTS)).stats.tokens
    assert three.infer(three.prepare(TEXTS)).stats.tokens == 2 * tokens  # two tokenizers, three models


def test_each_distinct_text_is_scored_once(models):
    scorer = Scorer({"a": [models["a0"]]}, precision="fp32")
    stats = scorer.infer(scorer.prepare(["w1 w2"] * 10 + ["w3", None, ""])).stats
    assert (stats.rows, stats.scored) == (13, 3)
    assert stats.tokens == 4 + 3 + 2


def test_columns_follow_the_wanted_class_order_by_name(models):
    probs = Scorer({"p": [models["permuted"]]}, precision="fp32", classes=CLASSES).score(TEXTS)["p"]
    np.testing.assert_allclose(probs, stock(models["permuted"], TEXTS)[:, [1, 2, 0]], atol=1e-5)


def test_numbered_labels_are_taken_in_order(models):
    probs = Scorer({"n": [models["numbered"]]}, precision="fp32", classes=CLASSES).score(TEXTS)["n"]
    np.testing.assert_allclose(probs, stock(models["numbered"], TEXTS), atol=1e-5)


def test_classes_that_disagree_are_an_error(models):
    with pytest.raises(ModelError, match="classes differ") as caught:
        Scorer({"o": [models["other"]]}, precision="fp32", classes=CLASSES)
    assert caught.value.details["found"] == "cat, dog, fox"


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.sampled_from(["", "w1", "w2 w3", "w1 w2 w3 w4", "w5 " * 30]), max_size=12))
def test_any_list_of_texts_gets_the_scores_of_each_text_alone(models, texts):
    scorer = _cached_scorer(models["a0"])
    alone = {text: scorer.score([text])["a"][0] for text in set(texts)}
    probs = scorer.score(texts)["a"]
    assert probs.shape == (len(texts), 3)
    for text, row in zip(texts, probs, strict=True):
        np.testing.assert_allclose(row, alone[text], atol=1e-6)


_SCORERS = {}


def _cached_scorer(folder):
    if folder not in _SCORERS:
        _SCORERS[folder] = Scorer({"a": [folder]}, precision="fp32")
    return _SCORERS[folder]


def test_out_of_memory_halves_the_budget_and_goes_on(models, monkeypatch):
    scorer = Scorer({"a": [models["a0"]]}, precision="fp32", token_budget=80)
    expected = scorer.score(TEXTS)["a"]
    real = forward._run

    def run(networks, tokens, batches, *others):
        if max(batch.n_tokens for batch in batches) > 40:
            raise torch.OutOfMemoryError("no room")
        return real(networks, tokens, batches, *others)

    monkeypatch.setattr(forward, "_run", run)
    np.testing.assert_allclose(scorer.score(TEXTS)["a"], expected, atol=1e-6)
    assert (scorer.budget.tokens, scorer.budget.halvings) == (40, 1)


def test_out_of_memory_with_a_single_row_is_an_error_with_advice(models, monkeypatch):
    scorer = Scorer({"a": [models["a0"]]}, precision="fp32")

    def send(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(forward, "send", send)
    with pytest.raises(ModelError, match="out of memory with a single row of 40 tokens"):
        scorer.score(TEXTS)


def test_nan_logits_name_their_rows(models):
    scorer = Scorer({"a": [models["a0"]]}, precision="fp32")
    scorer.groups[0].networks[0].encoder.embeddings.word_embeddings.weight.data[VOCABULARY.index("w9")] = float("nan")
    with pytest.raises(NonFinite) as caught:
        scorer.score(TEXTS)
    assert caught.value.rows == [1, 3]


def test_shares_of_the_work_sum_to_one(models):
    scorer = Scorer({"a": [models["a0"], models["a1"]], "b": [models["b"]]}, precision="fp32", token_budget=16)
    shares = []
    scorer.infer(scorer.prepare(TEXTS), shares.append)
    assert len(shares) > 2
    assert sum(shares) == pytest.approx(1.0)


def test_the_gate_lets_a_faithful_format_through_and_refuses_the_other(models, monkeypatch):
    # bf16 in emulation is slow and exact enough: what is tested is the comparison, not the hardware.
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    texts = [f"w{i} w{i + 1}" for i in range(50)]
    scorer = Scorer({"a": [models["a0"]]}, precision="fp32")
    exact = scorer.score(texts)["a"]
    passed = try_precision(scorer, "bf16", texts, GateBounds(flips=1.0, difference=1.0))
    fast = scorer.score(texts)["a"]
    assert passed.passed
    assert scorer.precision == "bf16"
    assert 0 < passed.difference == pytest.approx(np.abs(exact - fast).max())
    assert passed.flips == np.mean(exact.argmax(1) != fast.argmax(1))

    scorer = Scorer({"a": [models["a0"]]}, precision="fp32")
    refused = try_precision(scorer, "bf16", texts, GateBounds(flips=1.0, difference=0.0))
    assert not refused.passed
    np.testing.assert_array_equal(scorer.score(texts)["a"], exact)  # float32 again, weights and all


@pytest.mark.parametrize(("task", "flips"), [("multi_label", 0.75), ("single_label", 0.25)])
def test_of_several_labels_the_gate_counts_rows_with_another_set_of_them(task, flips):
    exact = np.array([[0.9, 0.51, 0.0], [0.9, 0.2, 0.49], [0.9, 0.8, 0.1], [0.51, 0.52, 0.1]], np.float32)
    fast = np.array([[0.9, 0.49, 0.0], [0.9, 0.2, 0.50], [0.9, 0.8, 0.2], [0.51, 0.49, 0.1]], np.float32)

    class Fake:
        classes = ("a", "b", "c")
        precision = "fp32"

        def score(self, _):
            return {"run": exact if self.precision == "fp32" else fast}

        def set_precision(self, name):
            self.precision = name

    Fake.task = task
    assert try_precision(Fake(), "bf16", ["text"] * 4, GateBounds(1.0, 1.0)).flips == flips


def test_two_models_of_one_name_are_refused_rather_than_one_of_them_lost(models, save_model, tmp_path):
    namesake = save_model(tmp_path / "a0", 7)
    with pytest.raises(ModelError, match="two models are called 'a0'"):
        Scorer([models["a0"], namesake])


@pytest.mark.parametrize("name", ["cuda:x", "cuda:", "cpu:-1", "cuda:1.5"])
def test_a_device_without_a_number_is_unknown(name):
    with pytest.raises(ModelError, match=f"unknown device '{name}'"):
        resolve_device(name)


def test_an_empty_list_gives_no_rows(models):
    assert _cached_scorer(models["a0"]).score([])["a"].shape == (0, 3)
