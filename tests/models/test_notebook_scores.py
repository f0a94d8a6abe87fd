"""`Scorer.score` and `Scorer.score_batches` as a notebook has them: the results, the stream, and what is refused."""

import copy
import dataclasses
import itertools
import pickle
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest
import torch
from scipy.special import softmax
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models import Scorer, Scores
from models.checkpoint import CheckpointSpec
from models.classifier import TextClassifier
from models.errors import ModelError
from models.inference.arithmetic import Due
from models.inference.shards import NonFinite
from models.inference.tokens import UnusableTexts
from models.linear import LinearModel, fit_vectorizer
from tests.conftest import CLASSES, ROOT, VOCABULARY

TEXTS = ["w1 w2 w3", "w9", None, "w4 w5 w6 w7", "w1 w2 w3", "w11 " * 60]


@pytest.fixture(scope="module")
def models(tmp_path_factory, save_model):
    root = tmp_path_factory.mktemp("models")
    save_model(root / "run" / "fold0", 0)
    save_model(root / "run" / "fold1", 1, classes=("emu", "cat", "dog"))
    save_model(root / "other", 2)
    return root


@pytest.fixture(scope="module")
def scorer(models):
    return Scorer([models / "run", models / "other"], precision="fp32")


def stock(folder, texts):
    """(N, C) logits by the plain forward pass, one text a time, columns as CLASSES."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    order = [model.config.label2id[name] for name in CLASSES]
    with torch.inference_mode():
        inputs = [tokenizer(text or "", truncation=True, max_length=40, return_tensors="pt") for text in texts]
        return np.stack([model(each["input_ids"]).logits[0, order].numpy() for each in inputs])


def test_scores_are_the_stock_forward_pass_averaged_over_folds_then_models(models, scorer):
    scores = scorer.score(TEXTS)
    folds = [softmax(stock(models / "run" / f"fold{k}", TEXTS), axis=1) for k in (0, 1)]
    other = softmax(stock(models / "other", TEXTS), axis=1)
    run = (folds[0] + folds[1]) / 2
    np.testing.assert_allclose(scores["run"], run, atol=1e-5)
    np.testing.assert_allclose(scores.probabilities, (run + other) / 2, atol=1e-5)
    assert (scores.probabilities.dtype, scores.probabilities.shape) == (np.float32, (6, 3))
    assert scores.labels.to_list() == [CLASSES[i] for i in ((run + other) / 2).argmax(1)]
    assert (list(scores), len(scores), scores.classes) == (["run", "other"], 6, CLASSES)


def test_logits_are_those_of_each_fold_and_only_kept_when_asked(models, scorer):
    assert scorer.score(TEXTS).logits is None
    scores = scorer.score(TEXTS, logits=True)
    assert {run: part.shape for run, part in scores.logits.items()} == {"run": (2, 6, 3), "other": (1, 6, 3)}
    for fold in (0, 1):
        np.testing.assert_allclose(scores.logits["run"][fold], stock(models / "run" / f"fold{fold}", TEXTS), atol=1e-4)
    np.testing.assert_allclose(softmax(scores.logits["run"], axis=2).mean(0), scores["run"], atol=1e-6)


def test_logits_of_a_linear_model_give_its_probabilities(tmp_path):
    texts = ["red fox", "green dog", "blue sea"] * 4
    vectorizer = fit_vectorizer(texts, min_df=1)
    codes = np.array([0, 1, 2] * 4)
    LinearModel.fit(vectorizer, vectorizer.transform(texts), codes, ("red", "green", "blue")).save(tmp_path / "linear")
    scores = Scorer(tmp_path / "linear").score(texts, logits=True)
    np.testing.assert_allclose(softmax(scores.logits["linear"][0], axis=1), scores["linear"], atol=1e-6)
    assert scores.labels.to_list() == ["red", "green", "blue"] * 4


def test_the_table_has_the_columns_of_cli_score(scorer):
    scores = scorer.score(TEXTS)
    frame = scores.to_polars()
    assert frame.columns == ["row", "label", "prob_cat", "prob_dog", "prob_emu"]
    assert frame["row"].to_list() == [0, 1, 2, 3, 4, 5]
    ids = pl.Series("id", list("abcdef"))
    wide = scores.to_polars(ids, each=True)
    assert wide.columns[0] == "id"
    np.testing.assert_array_equal(wide.select(f"run/prob_{c}" for c in CLASSES).to_numpy(), scores["run"])
    with pytest.raises(ModelError, match="2 ids for 6 texts"):
        scores.to_polars(ids[:2])
    for name, each in (("label", False), ("prob_cat", False), ("run/prob_cat", True)):
        with pytest.raises(ModelError, match=f"the ids are called '{name}'"):
            scores.to_polars(ids.alias(name), each=each)


def test_every_way_to_name_models_gives_the_same(models, scorer):
    expected = scorer.score(TEXTS)
    folds = [str(models / "run" / f"fold{k}") for k in (0, 1)]
    for named in ({"run": models / "run", "other": str(models / "other")}, {"run": folds, "other": [models / "other"]}):
        found = Scorer(named, precision="fp32").score(TEXTS)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    with pytest.raises(ModelError, match="two models are called 'fold0'"):
        Scorer([folds[0], str(models / "elsewhere" / "fold0")])


def test_lists_tuples_generators_and_series_are_the_same_texts(scorer):
    expected = scorer.score(TEXTS).probabilities
    for given in (tuple(TEXTS), iter(TEXTS), pl.Series("posts", TEXTS), np.array(TEXTS, dtype=object)):
        np.testing.assert_array_equal(scorer.score(given).probabilities, expected)


def test_pairs_are_tuples(scorer):
    pairs = [("w1", "w2 w3"), ("w4", None), ("w1", "w2 w3")]
    scores = scorer.score(pairs)
    np.testing.assert_array_equal(scores.probabilities[0], scores.probabilities[2])
    assert scores.n_missing == 1
    assert np.abs(scores.probabilities[0] - scorer.score(["w1 w2 w3"]).probabilities[0]).max() > 1e-4  # not glued


def test_results_are_frozen_and_readable(scorer):
    scores = scorer.score(TEXTS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scores.task = "x"
    lines = repr(scores).splitlines()
    assert lines[0] == (
        "Scores of 6 texts, 3 classes, by 2 models (run, other); fp32 on cpu; 1 without text; 1 truncated"
    )
    assert lines[1].split() == [*CLASSES, "label"]
    assert lines[2].split() == ["0", *(f"{p:.4f}" for p in scores.probabilities[0]), scores.labels[0]]
    assert (len(lines), lines[-1]) == (8, "…")
    with pytest.raises(ModelError, match="no scores of a model 'rum'") as caught:
        scores["rum"]
    assert caught.value.details["next"] == "did you mean 'run'?"


def test_no_texts_give_no_rows(scorer):
    scores = scorer.score([], logits=True)
    assert (scores.probabilities.shape, scores.logits["run"].shape) == ((0, 3), (2, 0, 3))
    assert (len(scores), scores.labels.to_list(), len(scores.to_polars())) == (0, [], 0)
    assert repr(scores).startswith("Scores of 0 texts")
    assert list(scorer.score_batches([])) == []


@pytest.mark.parametrize(
    ("texts", "rows", "message"),
    [
        (["w1", 3, "w2", float("nan")], [1, 3], "2 of 4 texts are no strings"),
        ([b"w1"], [0], "1 of 1 texts are no strings"),
        ([("w1", "w2"), None, "w3"], [2], "1 of 3 texts are one text among pairs"),
        ([("w1", "w2", "w3")], [0], "1 of 1 texts are no strings"),
        (["w1", "\ud800 w2", "é"], [1], "1 of 3 texts hold half of a character"),
        ([("w1", "w2"), ("w1", "\udfff")], [1], "1 of 2 texts hold half of a character"),
    ],
)
def test_what_is_no_text_is_refused_by_its_position(scorer, texts, rows, message):
    with pytest.raises(UnusableTexts, match=message) as caught:
        scorer.score(texts)
    assert caught.value.rows == rows
    assert caught.value.details["rows"] == ", ".join(map(str, rows))


TABLES = [pl.DataFrame({"t": ["w1"]}), {"t": ["w1"]}, np.array([["w1"]]), 7, None, "w1 w2", b"w1"]


@pytest.mark.parametrize("texts", [*TABLES, pl.Series("n", [1, 2])])
def test_what_is_no_list_of_texts_is_refused(scorer, texts):
    with pytest.raises(ModelError):
        scorer.score(texts)


@pytest.mark.parametrize("texts", TABLES)
def test_what_is_no_stream_of_texts_is_refused(scorer, texts):
    with pytest.raises(ModelError):
        next(scorer.score_batches(texts))


@pytest.mark.parametrize("settings", [{"max_length": 1}, {"max_length": 0}, {"token_budget": 0}])
def test_settings_that_leave_nothing_are_refused(models, settings):
    with pytest.raises(ModelError, match="=") as caught:
        Scorer(models / "other", **settings)
    assert "or more" in caught.value.details["expected"]
    with pytest.raises(ModelError, match="no models to score with"):
        Scorer(None)


def test_autocast_of_the_caller_changes_no_score(scorer):
    expected = scorer.score(TEXTS).probabilities
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(scorer.score(TEXTS).probabilities, expected)
        parts = [scores.probabilities for scores in scorer.score_batches(TEXTS, rows=3)]
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


def test_a_stream_gives_what_one_call_gives_in_order(scorer):
    texts = [f"w{i} w{(i * 7) % 90}" + " w5" * (i % 11) for i in range(50)]
    expected = scorer.score(texts).probabilities
    arrays = [np.array(texts[:11]), np.array(texts[11:])]
    nines = (texts[i : i + 9] for i in range(0, 50, 9))
    for stream in (iter(texts), nines, arrays, [pl.Series(texts[:30]), texts[30:]]):
        batches = list(scorer.score_batches(stream, rows=8))
        starts = np.cumsum([0, *map(len, batches)])
        assert [batch.first_row for batch in batches] == starts[:-1].tolist()
        np.testing.assert_allclose(np.concatenate([b.probabilities for b in batches]), expected, atol=1e-6)
    assert batches[1].to_polars()["row"][0] == 30


def test_of_an_endless_stream_no_more_than_two_batches_are_read_ahead(scorer):
    read = itertools.count()
    stream = (f"w{next(read) % 200}" for _ in itertools.count())
    batches = scorer.score_batches(stream, rows=16)
    for number in range(5):
        assert isinstance(batch := next(batches), Scores)
        assert batch.first_row == 16 * number
    batches.close()
    assert next(read) <= 16 * 6


def test_faults_in_a_stream_name_the_position_in_the_stream(models):
    scorer = Scorer(models / "other", precision="fp32")
    texts = ["w1"] * 20 + [7] + ["w2"] * 9
    batches = scorer.score_batches(texts, rows=8)
    assert len(next(batches)) == 8
    with pytest.raises(UnusableTexts) as caught:
        list(batches)
    assert caught.value.details["rows"] == "20"
    for rows in (0, 2.5):
        with pytest.raises(ModelError, match=f"batches of {rows} rows"):
            list(scorer.score_batches(["w1"], rows=rows))


def test_what_came_before_a_fault_in_a_stream_is_given_first(scorer):
    def stream():
        yield from ["w1"] * 10
        raise OSError("the connection is gone")

    given = []
    with pytest.raises(OSError, match="the connection is gone"):
        given.extend(len(scores) for scores in scorer.score_batches(stream(), rows=4))
    assert given == [4, 4, 2]
    given = []
    with pytest.raises(UnusableTexts):
        given.extend(len(scores) for scores in scorer.score_batches(["w1"] * 9 + [5], rows=4))
    assert given == [4, 4]


def test_threads_wait_until_the_format_is_settled(models, monkeypatch):
    scorer = Scorer(models / "other", precision="fp32", backend="torch")
    scorer.due = Due("bf16", "torch", (), gated=True, named=False)
    settling = threading.Event()

    def settle(scorer, *_):
        settling.set()
        time.sleep(0.3)
        scorer.gate = "settled"

    monkeypatch.setattr("models.inference.notebook._find_out", settle)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(scorer.score, ["w1"])
        assert settling.wait(10)
        second, stream = scorer.score(["w2"]), list(scorer.score_batches(["w3"]))
    assert [scores.gate for scores in (first.result(), second, *stream)] == ["settled"] * 3


def test_a_copy_of_a_scorer_takes_turns_of_its_own(models):
    scorer = Scorer(models / "other", precision="fp32")
    twin = copy.deepcopy(scorer)
    with scorer.turns.lock, ThreadPoolExecutor(1) as thread:
        scores = thread.submit(twin.score, ["w1"]).result(timeout=30)
    np.testing.assert_array_equal(scores.probabilities, scorer.score(["w1"]).probabilities)


def test_a_forked_process_is_told_that_it_would_wait_for_ever(scorer, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: -1)
    for work in (lambda: scorer.score(["w1"]), lambda: next(scorer.score_batches(["w1"]))):
        with pytest.raises(ModelError, match="made in another process"):
            work()


def test_scores_are_float32_whatever_torch_makes_by_default(scorer):
    expected = scorer.score(TEXTS).probabilities
    torch.set_default_dtype(torch.float64)
    try:
        found = scorer.score(TEXTS).probabilities
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_nan_logits_stop_and_name_the_rows(models):
    scorer = Scorer(models / "other", precision="fp32")
    weights = scorer.groups[0].networks[0].encoder.embeddings.word_embeddings.weight
    weights.data[VOCABULARY.index("w9")] = float("nan")
    with pytest.raises(NonFinite) as caught:
        scorer.score(["w1", "w9", "w2", "w3 w9"])
    assert caught.value.details["rows"] == "1, 3"
    batches = scorer.score_batches([["w1"] * 5, ["w2", "w9"], ["w3"]])
    assert len(next(batches)) == 5
    with pytest.raises(NonFinite) as caught:
        next(batches)
    assert (caught.value.rows, caught.value.details["rows"]) == ([6], "6")


def test_few_texts_do_not_settle_the_format_for_those_that_follow(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    exact = Scorer(models / "other", precision="fp32").score(["w1 w2"] * 99)
    scorer = Scorer(models / "other")
    few = scorer.score(["w1 w2"] * 99)
    assert (few.precision, few.gate) == ("fp32", None)
    np.testing.assert_array_equal(few.probabilities, exact.probabilities)
    assert scorer.score(["w1 w2"] * 300).gate.rows == 128
    named = Scorer(models / "other", precision="bf16")
    assert named.score(["w1 w2"]).precision == "bf16"


def test_auto_precision_passes_the_gate_on_the_first_texts(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    exact = Scorer(models / "other", precision="fp32").score(["w1 w2"] * 109).probabilities
    scorer = Scorer(models / "other")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.inference.gate.GateBounds.__init__.__defaults__", (0.0, 0.0))
        with pytest.warns(UserWarning, match="bf16 strays from float32"):
            scores = scorer.score(["w1 w2"] * 109)
    assert (scores.precision, scores.gate.passed, scores.gate.rows) == ("fp32", False, 109)
    np.testing.assert_array_equal(scores.probabilities, exact)
    scores = Scorer(models / "other").score(["w1 w2"] * 300)
    assert (scores.precision, scores.gate.rows) == (("bf16", 128) if scores.gate.passed else ("fp32", 128))


def test_a_format_that_was_asked_for_by_name_is_refused_as_often_as_it_is_asked(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    monkeypatch.setattr("models.inference.gate.GateBounds.__init__.__defaults__", (0.0, 0.0))
    scorer = Scorer(models / "other", precision="fp32", backend="torch")
    scorer.due = Due("bf16", "torch", (), gated=True, named=True)
    for _ in range(2):
        with pytest.raises(ModelError, match="bf16 strays too far from float32"):
            scorer.score(["w1 w2"] * 9)


def test_an_interrupted_gate_judges_the_next_texts(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    scorer = Scorer(models / "other", backend="torch")
    with pytest.MonkeyPatch.context() as patch:

        def interrupt(*_):
            raise KeyboardInterrupt

        patch.setattr("models.inference.gate._flips", interrupt)
        with pytest.raises(KeyboardInterrupt):
            scorer.score(["w1 w2"] * 109)
    assert scorer.precision == "fp32"
    assert scorer.score(["w1 w2"] * 109).gate is not None


def test_a_format_that_gives_nan_is_left_for_float32(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    expected = Scorer(models / "other", precision="fp32").score(["w1 w2"] * 109).probabilities
    scorer = Scorer(models / "other")

    real = TextClassifier.forward

    def overflow(network, *inputs, **named):
        logits = real(network, *inputs, **named)
        return logits * (torch.nan if next(network.parameters()).dtype == torch.bfloat16 else 1)

    monkeypatch.setattr(TextClassifier, "forward", overflow)
    with pytest.warns(UserWarning, match="bf16 strays from float32"):
        scores = scorer.score(["w1 w2"] * 109)
    assert (scores.precision, scores.gate.passed, scores.gate.flips) == ("fp32", False, 1.0)
    np.testing.assert_array_equal(scores.probabilities, expected)


def test_a_format_chosen_by_hand_is_not_settled_anew(models, monkeypatch):
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    scorer = Scorer(models / "other")
    scorer.set_precision("fp32")
    assert scorer.score(["w1", "w2"]).precision == "fp32"


def test_layers_are_compiled_once_it_is_settled_how_they_compute(models, monkeypatch):
    formats = []
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: True)
    monkeypatch.setattr(
        "models.inference.compiled.enable", lambda network, packed: formats.append(next(network.parameters()).dtype)
    )
    scorer = Scorer(models / "other", compile=True)
    assert not formats
    scorer.score(["w1 w2"] * 9)
    assert len(formats) == 1


def test_weights_that_do_not_fit_are_told(models, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("models.inference.groups.NetworkGroup.place", full)
    with pytest.raises(ModelError, match="out of memory for the networks' weights") as caught:
        Scorer(models / "other", precision="fp32")
    assert "fewer models" in caught.value.details["next"]


@pytest.mark.parametrize("error", [NonFinite("run", [3, 5]), UnusableTexts("pairs", [1], where="here", next="that")])
def test_errors_come_from_other_processes_as_they_were(error):
    error.add_note("in a worker")
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.rows, found.exit_code) == (type(error), str(error), error.rows, 2)
    assert found.__notes__ == ["in a worker"]


def test_multi_label_names_all_classes_of_at_least_one_half(tmp_path, save_model):
    folder = save_model(tmp_path / "m", 4, problem_type="multi_label_classification")
    scores = Scorer(folder, precision="fp32").score(TEXTS)
    expected = ["|".join(np.array(CLASSES)[row]) for row in scores.probabilities >= 0.5]
    assert scores.task == "multi_label"
    assert scores.labels.to_list() == expected


def test_several_label_groups_have_a_label_each(tmp_path, save_model):
    classes = ("a:x", "a:y", "b:u", "b:v", "b:w")
    folder = save_model(tmp_path / "m", 4, classes=classes)
    CheckpointSpec("transformer", classes, "multi_group", 40).save(tmp_path / "m")
    scores = Scorer(folder, precision="fp32").score(TEXTS, logits=True)
    probs = scores.probabilities
    expected = [
        f"{classes[a]}|{classes[2 + b]}" for a, b in zip(probs[:, :2].argmax(1), probs[:, 2:].argmax(1), strict=True)
    ]
    assert scores.labels.to_list() == expected
    np.testing.assert_allclose(softmax(scores.logits["m"][0][:, 2:], axis=1), probs[:, 2:], atol=1e-6)


def test_the_readme_passage_runs(tmp_path, models, monkeypatch, capsys):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.search(r"## From a notebook\n\n```python\n(.*?)```", readme, re.DOTALL)[1]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "roberta").symlink_to(models / "run")
    (tmp_path / "posts.txt").write_text("w1 w2\nw3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("models.inference.device.has_fast_bf16", lambda device: False)
    exec(code, {})
    assert capsys.readouterr().out.startswith("0 shape: (")
