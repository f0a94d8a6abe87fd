"""Models whose outputs are numbers and no classes' logits: rerankers, quality scores, rewards; trained elsewhere."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from jobs import score
from jobs.resolve import InputOptions
from jobs.score import ScoreOptions
from kaggle_tools.errors import UserError
from models.errors import ModelError
from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer
from models.inference.scores import column_names

TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 13)) for i in range(40)]
PAIRS = [("w1 w2", "w3"), ("w4", "w5 w6 w7"), ("", "w1")]
SIX = ("cohesion", "syntax", "vocabulary", "phraseology", "grammar", "conventions")


@pytest.fixture
def make(tmp_path, save_model):
    """A tiny model with these outputs and settings, far from zero in its scores."""

    def save(outputs=("LABEL_0",), seed=0, name="model", **settings):
        folder = tmp_path / name
        save_model(folder, seed, classes=outputs)
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        model.classifier.weight.data *= 20
        model.classifier.bias.data += 3
        model.save_pretrained(folder)
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return str(folder)

    return save


def stock(folder, texts):
    """(N, C) logits by the plain forward pass, one text or pair a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        rows = [model(**tokenizer(*([t] if isinstance(t, str) else t), return_tensors="pt")).logits[0] for t in texts]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(
    ("outputs", "settings"),
    [
        (("LABEL_0",), {"problem_type": "regression"}),
        (("quality",), {}),  # as own training loops leave it
        (("LABEL_0",), {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}),
        (SIX, {"problem_type": "regression"}),
    ],
)
def test_outputs_are_those_of_the_stock_forward_pass(make, outputs, settings):
    folder = make(outputs, **settings)
    found = Scorer(folder, device="cpu", precision="fp32").score(TEXTS)
    np.testing.assert_allclose(found.outputs, stock(folder, TEXTS), rtol=1e-5, atol=1e-5)
    assert np.abs(found.outputs).max() > 1.5  # no probability
    names = ["score"] if len(outputs) == 1 else [f"score_{name}" for name in SIX]
    frame = found.to_polars()
    assert frame.columns == ["row", *names]
    np.testing.assert_array_equal(frame.select(names).to_numpy(), found.outputs)
    assert names[0].removeprefix("score_") in repr(found)
    for what in ("probabilities", "labels"):
        with pytest.raises(ModelError, match="neither probabilities nor labels"):
            getattr(found, what)


@pytest.mark.parametrize(
    "settings",
    [
        {"problem_type": "multi_label_classification"},
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.0"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"},
    ],
)
def test_one_output_is_a_probability_where_the_configuration_says_so(make, settings):
    folder = make(**settings)
    scores = Scorer(folder, precision="fp32", device="cpu").score(PAIRS)
    expected = 1 / (1 + np.exp(-stock(folder, PAIRS).astype(np.float64)))
    np.testing.assert_allclose(scores.probabilities, expected, atol=1e-6)
    assert scores.to_polars().columns == ["row", "label", "prob_LABEL_0"]


def test_several_are_averaged_and_none_goes_beside_a_classifier(make):
    one, other = make(seed=0, name="one"), make(seed=1, name="other")
    found = Scorer([one, other], device="cpu", precision="fp32").score(PAIRS)
    np.testing.assert_allclose(found.outputs, (stock(one, PAIRS) + stock(other, PAIRS)) / 2, rtol=1e-5)
    with pytest.raises(ModelError, match="task single_label beside regression"):
        Scorer([one, make(("a", "b"), name="classifier")], device="cpu")


@pytest.mark.parametrize(("outputs", "suffix"), [(("LABEL_0",), ".parquet"), (SIX, ".csv"), (SIX, ".jsonl")])
def test_a_table_gets_columns_of_scores(make, tmp_path, monkeypatch, outputs, suffix):
    monkeypatch.chdir(tmp_path)
    folder = make(outputs, problem_type="regression")
    pl.DataFrame({"id": [f"r{i}" for i in range(40)], "text": TEXTS}).write_csv("rows.csv")
    asked = ScoreOptions(InputOptions(("rows.csv",)), (folder,), tmp_path / f"out{suffix}", precision="fp32", each=True)
    result = score.run(asked, Quiet())
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".jsonl": pl.read_ndjson}[suffix]
    frame, names = read(result.output), column_names(outputs, "regression")
    assert frame.columns == ["id", *names, *(f"model/{name}" for name in names)]
    np.testing.assert_allclose(frame.select(names).to_numpy(), stock(folder, TEXTS), rtol=1e-4, atol=1e-4)
    assert result.predictions == {}
    assert result.submission is None
    again = score.run(asked, Quiet())
    assert again.was_complete


def test_an_id_column_called_score_is_refused_before_the_work(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("score,text\nr1,w1\n")
    asked = ScoreOptions(InputOptions(("rows.csv",), id_column="score"), (make(),), tmp_path / "out.parquet")
    with pytest.raises(UserError, match="the id column is called 'score'"):
        score.run(asked, Quiet())


class Strays:
    """Scores by another format are off by a share of their spread."""

    task, precision = "regression", "fp32"

    def __init__(self, outputs, off):
        self.outputs, self.off = outputs, off

    def set_precision(self, name, **_):
        self.precision = name

    def score(self, texts):
        return {"m": self.outputs if self.precision == "fp32" else self.outputs + self.off * self.outputs.std(0)}


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 5.0), (1e4, -1e5)])
def test_the_gate_judges_outputs_of_any_size_by_where_they_lie(scale, shift):
    outputs = np.random.default_rng(0).normal(shift, scale, (5000, 2)).astype(np.float32)
    report = try_precision(Strays(outputs, 0.1), "bf16", TEXTS, GateBounds())
    assert report.difference == pytest.approx(0.1 / 4, rel=0.05)  # the slope of the logistic function at its middle
    assert report.flips == pytest.approx(2 * 0.1 * 0.3989, rel=0.2)  # two outputs, the normal density at its middle
    assert not report.passed
    strays = Strays(outputs, 0.001)
    assert try_precision(strays, "bf16", TEXTS, GateBounds()).passed
    assert strays.precision == "bf16"


class Quiet:
    def note(self, text):
        pass

    def started(self, *_):
        pass

    def advanced(self, rows):
        pass

    def committed(self, *_):
        pass
