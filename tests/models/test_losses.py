"""Losses against naive float64 formulas, and at their limits."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from models.errors import ModelError
from models.losses import balanced_weights, bce, cross_entropy, focal, make_loss
from models.recipe import LossOptions

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(40, 5)) * 4
CODES = rng.integers(0, 5, 40)
SETS = (rng.random((40, 5)) < 0.3).astype(np.float64)
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.1, 3.0])


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def as_torch(*arrays):
    return [torch.from_numpy(a) if a.dtype == np.int64 else torch.from_numpy(a).float() for a in arrays]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_cross_entropy_is_the_naive_formula(smoothing, weights):
    p, w = softmax(LOGITS), np.ones(5) if weights is None else weights
    target = np.eye(5)[CODES] * (1 - smoothing) + smoothing / 5
    expected = -(target * w * np.log(p)).sum() / w[CODES].sum()
    logits, codes, tensor = *as_torch(LOGITS, CODES), None if weights is None else as_torch(weights)[0]
    assert float(cross_entropy(logits, codes, tensor, label_smoothing=smoothing)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_is_the_naive_formula(gamma, weights):
    p, w = softmax(LOGITS)[np.arange(40), CODES], np.ones(5) if weights is None else weights
    expected = (w[CODES] * -((1 - p) ** gamma) * np.log(p)).sum() / w[CODES].sum()
    logits, codes, tensor = *as_torch(LOGITS, CODES), None if weights is None else as_torch(weights)[0]
    assert float(focal(logits, codes, tensor, gamma=gamma)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bce_is_the_naive_formula(smoothing):
    p = 1 / (1 + np.exp(-LOGITS))
    target = SETS * (1 - smoothing) + smoothing / 2
    loss = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    assert float(bce(*as_torch(LOGITS, SETS), label_smoothing=smoothing)) == pytest.approx(loss.mean(), rel=1e-5)
    assert float(bce(*as_torch(LOGITS, SETS, WEIGHTS), label_smoothing=smoothing)) == pytest.approx(
        (loss * WEIGHTS).mean(), rel=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_extreme_logits_give_finite_losses_and_gradients(dtype, gamma):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    codes, sets = torch.tensor([0, 0, 1]), torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    for loss in (cross_entropy(logits, codes), focal(logits, codes, gamma=gamma), bce(logits, sets)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_balanced_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.arange(5), y=CODES)
    np.testing.assert_allclose(balanced_weights(CODES, 5), expected, rtol=1e-6)


def test_a_class_without_rows_weighs_nothing():
    assert balanced_weights(np.array([0, 0, 2]), 3).tolist() == [0.75, 0.0, 1.5]


def test_auto_takes_the_loss_of_the_task_and_the_other_task_is_refused():
    logits, codes, sets = as_torch(LOGITS, CODES, SETS)
    assert make_loss(LossOptions(), "single_label")(logits, codes) == cross_entropy(logits, codes)
    assert make_loss(LossOptions(), "multi_label")(logits, sets) == bce(logits, sets)
    with pytest.raises(ModelError, match="loss 'focal' is not for multi_label tasks"):
        make_loss(LossOptions("focal"), "multi_label")
