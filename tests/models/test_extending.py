"""What docs/extending.md shows is true: its head, loss and adversary work as they stand there."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from models import losses
from models.heads import HEADS, HeadShape
from models.inference.scorer import Scorer
from models.recipe import AdversaryOptions, HeadOptions, LossOptions
from models.training import adversary
from models.training.fold import train_fold

TEXT = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def shown():
    """The functions of the document, by name; what they lack in imports their modules have."""
    found = {**vars(losses), **vars(adversary)}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    for block in blocks:
        code = block.split("\n\n\nSINGLE_LABEL")[0]
        if "..." not in re.sub(r"\.\.\.\]", "", code).split("def ")[0]:
            exec(compile(code, "docs/extending.md", "exec"), found)
    return found


def test_the_head_is_between_mean_and_maximum(shown):
    hidden = (torch.rand(2, 5, 8) + 0.1,)
    shape = HeadShape(hidden=8, layers=1, classes=3)
    pooled = shown["power_mean"](shape, p=1.0).pool(hidden, None)
    torch.testing.assert_close(pooled, hidden[0].mean(1))
    near = shown["power_mean"](shape, p=16.0).pool(hidden, None)
    assert (near > pooled).all()
    assert (near <= hidden[0].amax(1)).all()


def test_the_loss_is_the_naive_formula(shown):
    logits, codes = np.random.default_rng(0).normal(size=(9, 4)), np.arange(9) % 4
    p = np.exp(logits)[np.arange(9), codes] / np.exp(logits).sum(1)
    found = shown["poly1"](torch.from_numpy(logits).float(), torch.from_numpy(codes), epsilon=2.0)
    assert float(found) == pytest.approx((-np.log(p) + 2 * (1 - p)).mean(), rel=1e-5)


def test_all_three_train_by_their_names_and_score(tmp_path, tiny_recipe, tiny_tokenizer, coloured, shown, monkeypatch):
    monkeypatch.setitem(HEADS, "power_mean", shown["power_mean"])
    monkeypatch.setitem(losses.SINGLE_LABEL, "poly1", shown["poly1"])
    monkeypatch.setitem(adversary.ADVERSARIES, "noise", shown["noise"])
    recipe = dataclasses.replace(
        tiny_recipe,
        head=HeadOptions("power_mean", {"p": 4.0}),
        loss=LossOptions("poly1", options={"epsilon": 2.0}),
        adversary=AdversaryOptions("noise"),
    )
    texts, labels = coloured
    result = train_fold(
        recipe, ("red", "green", "blue"), texts, labels, texts[::3], labels[::3], tiny_tokenizer,
        folder=tmp_path / "fold0", device="cpu",
    )  # fmt: skip
    scored = Scorer({"r": [str(tmp_path / "fold0")]}, device="cpu", precision="fp32").score(texts[::3])["r"]
    np.testing.assert_allclose(result.valid_probs, scored, atol=1e-5)
