"""The Scorer on a GPU against itself on the CPU."""

import numpy as np
import pytest
import torch

from models.inference.gate import GateBounds, try_precision
from models.inference.scorer import Scorer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TEXTS = [" ".join(f"w{(i * j) % 200}" for j in range(1, 2 + i % 30)) for i in range(500)]


@pytest.fixture(scope="module")
def model(tmp_path_factory, save_model):
    return save_model(tmp_path_factory.mktemp("models") / "tiny", 0)


def test_float32_scores_equal_those_of_the_cpu(model):
    on_cpu = Scorer(model, device="cpu", precision="fp32").score(TEXTS)["tiny"]
    on_gpu = Scorer(model, device="cuda", precision="fp32").score(TEXTS)["tiny"]
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-5)


def test_the_same_texts_give_the_same_bits_twice(model):
    scorer = Scorer(model, device="cuda", precision="bf16")
    np.testing.assert_array_equal(scorer.score(TEXTS)["tiny"], scorer.score(TEXTS)["tiny"])


def test_the_gate_lets_bf16_through_and_measures_it(model):
    scorer = Scorer(model, device="cuda", precision="fp32")
    report = try_precision(scorer, "bf16", TEXTS, GateBounds(flips=0.05, difference=0.1))
    assert report.passed
    assert report.difference > 0
