"""What the README says about notebooks: arrays in, frozen results with a readable repr out."""

import dataclasses
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from tests.conftest import ROOT


@pytest.fixture
def runs(tmp_path):
    """OOF and test predictions of three models, saved as runs are."""
    from kaggle_tools import Predictions

    draw = np.random.default_rng(0)
    classes = ("ant", "bee", "cow")
    for part, n in (("oof", 500), ("test", 100)):
        codes = draw.choice(3, n, p=(0.7, 0.2, 0.1))
        for name, noise in (("roberta", 1.0), ("bert", 1.2), ("linear", 1.6)):
            logits = np.log((0.8, 0.15, 0.05)) + 1.6 * np.eye(3)[codes] + noise * draw.standard_normal((n, 3))
            probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            ids, labels = pl.Series("id", [f"{part}{i}" for i in range(n)]), pl.Series([classes[c] for c in codes])
            folds = (np.arange(n) % 5).astype(np.int16)
            labelled = {"labels": labels, "folds": folds} if part == "oof" else {}
            found = Predictions(ids, classes, probs.astype(np.float32), **labelled)
            found.save(tmp_path / "runs" / name / f"{part}.parquet")
    return tmp_path / "runs"


def test_what_the_document_shows_works_as_it_stands_there(runs, monkeypatch):
    from kaggle_tools import Predictions

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "search.md").read_text(), re.DOTALL)
    monkeypatch.chdir(runs.parent)
    test = Predictions.load("runs/roberta/test.parquet")
    exec(compile(code, "docs/search.md", "exec"), {"test": test, "test_stack": np.stack([test.probs] * 3)})


def test_files_are_named_by_text_in_a_notebook(runs):
    from kaggle_tools import Predictions
    from kaggle_tools.report import Page, write_page

    oof = Predictions.load(f"{runs}/bert/oof.parquet")
    oof.save(f"{runs}/copy.parquet")
    assert (runs / "copy.parquet").read_bytes() == (runs / "bert" / "oof.parquet").read_bytes()
    write_page(Page("Mine", sections=()), f"{runs}/page.html")
    assert "<title>Mine" in (runs / "page.html").read_text()


def test_class_weights_from_a_notebook(runs):
    from kaggle_tools import Predictions, rescale

    oof = Predictions.load(runs / "roberta" / "oof.parquet")
    test = Predictions.load(runs / "roberta" / "test.parquet")

    found = rescale.fit(oof.label_codes, oof.probs, "macro_f1", certify_s=2)
    labels = found.apply(test.probs).argmax(axis=1)

    assert found.score > found.score_at_argmax
    assert labels.shape == (100,)
    assert repr(found).startswith(f"macro_f1 {found.score:.5f} with class weights ")
    assert "no weights exceed 0." in repr(found)


def test_a_blend_and_its_honest_score_from_a_notebook(runs):
    from kaggle_tools import Predictions, blend, honest, members

    oof = members.stack({name: Predictions.load(runs / name / "oof.parquet") for name in ("roberta", "bert", "linear")})
    test = members.stack({name: Predictions.load(runs / name / "test.parquet") for name in oof.names})

    found = blend.fit(oof.codes, oof.probs, "log_loss", family="log")
    probs = found.apply(test.probs)

    def fit(stack, codes, _folds):
        return blend.fit(codes, stack, "log_loss", family="log").apply

    worth = honest.evaluate(fit, oof.probs, oof.codes, "log_loss", folds=oof.folds)

    assert probs.shape == (100, 3)
    assert worth.fitted == pytest.approx(found.score, abs=1e-6)
    assert worth.honest > worth.fitted
    assert worth.comparison.low > 0
    assert repr(found).startswith(f"log_loss {found.score:.5f}")
    assert "log pool, exponents [" in repr(found)
    assert "the gain is real" in repr(worth)


def test_a_vote_from_a_notebook(runs):
    from kaggle_tools import Predictions, members, recipe, vote

    oof = members.stack({name: Predictions.load(runs / name / "oof.parquet") for name in ("roberta", "bert", "linear")})

    found = vote.search(oof.probs, oof.codes, "macro_f1", names=oof.names)
    one = vote.vote(oof.probs, "best", scores=(0.9, 0.8, 0.7))

    assert "stopped: " in repr(found)
    assert one.shape == (500, 3)
    replayed = recipe.apply_stack(found.recipe(oof.classes), oof.probs)
    assert replayed.shape == (500, 3)


def test_thresholds_from_a_notebook():
    from kaggle_tools import thresholds

    draw = np.random.default_rng(0)
    truth = draw.random((300, 4)) < (0.1, 0.2, 0.3, 0.4)
    probs = np.clip(0.25 * truth + 0.5 * draw.random((300, 4)), 0, 1)

    found = thresholds.fit(truth, probs, "macro_f1")

    assert found.labels(probs).shape == (300, 4)
    assert repr(found).startswith(f"macro_f1 {found.score:.5f} with thresholds ")


def test_results_are_frozen(runs):
    from kaggle_tools import Predictions, rescale

    oof = Predictions.load(runs / "roberta" / "oof.parquet")
    found = rescale.fit(oof.label_codes, oof.probs, "accuracy", bags=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.score = 1.0


def test_names_are_imported_when_asked_for_and_typos_fail():
    code = (
        "import sys, kaggle_tools; assert 'numpy' not in sys.modules; assert 'blend' in dir(kaggle_tools);"
        "from kaggle_tools import Predictions, blend, honest, rescale, vote;"
        "assert not {'torch', 'optuna', 'jobs', 'models'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    import kaggle_tools

    with pytest.raises(AttributeError, match="no attribute 'blnd'"):
        _ = kaggle_tools.blnd
