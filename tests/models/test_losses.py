"""Losses against naive float64 formulas, and at their limits."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight

from models.errors import ModelError
from models.losses import (
    LOSSES,
    MULTI_LABEL,
    SINGLE_LABEL,
    balanced_weights,
    bce,
    binary_focal,
    cross_entropy,
    focal,
    make_loss,
    mse,
    multilabel_ce,
    smooth_f1,
    symmetric_kl,
)
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


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_multilabel_cross_entropy_is_the_naive_formula(weights):
    w = np.ones(5) if weights is None else weights
    absent = np.log(1 + (w * (1 - SETS) * np.exp(LOGITS)).sum(1))
    present = np.log(1 + (w * SETS * np.exp(-LOGITS)).sum(1))
    tensors = as_torch(LOGITS, SETS) if weights is None else as_torch(LOGITS, SETS, weights)
    assert float(multilabel_ce(*tensors)) == pytest.approx((absent + present).mean(), rel=1e-5)


def test_multilabel_cross_entropy_of_one_label_is_softmax_cross_entropy_with_a_threshold_class():
    """At the limit: with the label's logit s and no other label, log(1 + e^−s) is that of s against 0."""
    logits = torch.tensor([[3.0], [-2.0]])
    expected = torch.nn.functional.cross_entropy(torch.cat([logits, torch.zeros(2, 1)], 1), torch.tensor([0, 0]))
    torch.testing.assert_close(multilabel_ce(logits, torch.ones(2, 1)), expected)


def test_rows_without_labels_only_push_scores_down_and_rows_with_all_only_up():
    logits = torch.randn(4, 6, requires_grad=True)
    for targets, sign in ((torch.zeros(4, 6), 1), (torch.ones(4, 6), -1)):
        loss = multilabel_ce(logits, targets)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected = (1 + (sign * logits).exp().sum(1)).log().mean()
        torch.testing.assert_close(loss, expected)
        assert (gradient.sign() == sign).all()


def test_a_label_of_weight_zero_has_no_say():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = multilabel_ce(logits, torch.tensor([[1.0, 0.0, 1.0]] * 4), torch.tensor([0.0, 1.0, 1.0]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert (gradient[:, 0] == 0).all()


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_binary_focal_is_the_naive_formula(gamma):
    p = np.where(SETS > 0, sigmoid(LOGITS), 1 - sigmoid(LOGITS))
    loss = -((1 - p) ** gamma) * np.log(p)
    assert float(binary_focal(*as_torch(LOGITS, SETS), gamma=gamma)) == pytest.approx(loss.mean(), rel=1e-5)
    assert float(binary_focal(*as_torch(LOGITS, SETS, WEIGHTS), gamma=gamma)) == pytest.approx(
        (loss * WEIGHTS).mean(), rel=1e-5
    )


@pytest.mark.parametrize("targets", [CODES, SETS], ids=["single_label", "multi_label"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_smooth_f1_is_the_naive_formula(targets, weights):
    p, y = (softmax(LOGITS), np.eye(5)[CODES]) if targets.ndim == 1 else (sigmoid(LOGITS), SETS)
    w = np.ones(5) if weights is None else weights
    hits, both = (y * p).sum(0), (y + p).sum(0)
    macro = 1 - np.average((2 * hits + 0.5) / (both + 0.5), weights=w)
    micro = 1 - (2 * w @ hits + 0.5) / (w @ both + 0.5)
    tensors = as_torch(LOGITS, targets) if weights is None else as_torch(LOGITS, targets, weights)
    assert float(smooth_f1(*tensors, epsilon=0.5)) == pytest.approx(macro, rel=1e-5)
    assert float(smooth_f1(*tensors, average="micro", epsilon=0.5)) == pytest.approx(micro, rel=1e-5)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_certain_predictions_make_smooth_f1_the_true_f1(average):
    predicted = np.where(rng.random((40, 5)) < 0.8, SETS, 1 - SETS)
    loss = smooth_f1(*as_torch((predicted - 0.5) * 200, SETS), average=average, epsilon=1e-6)
    assert 1 - float(loss) == pytest.approx(f1_score(SETS, predicted, average=average), abs=1e-5)


def test_a_batch_without_a_class_still_pushes_its_probability_down():
    logits = torch.zeros(3, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(smooth_f1(logits, torch.zeros(3, 2)), logits)
    assert (gradient > 0).all()


def test_batches_that_lack_a_class_do_not_outweigh_the_one_that_has_it():
    # A class of 3 % is in one of two batches of 32, in one row; where ε = 1 its other rows push it away for good.
    logits = torch.tensor([[3.0, 0.0]] * 32, requires_grad=True)  # the class has 5 % everywhere
    lacking, having = torch.zeros(32, dtype=torch.int64), torch.zeros(32, dtype=torch.int64)
    having[0] = 1

    def push(codes, **options):
        (gradient,) = torch.autograd.grad(smooth_f1(logits, codes, **options), logits)
        return -gradient[:, 1]

    assert push(having)[0] > 20 * -push(lacking)[0] > 0
    assert push(having, epsilon=1.0)[0] < 5 * -push(lacking, epsilon=1.0)[0]


@pytest.mark.parametrize("targets", [CODES, SETS], ids=["single_label", "multi_label"])
def test_mse_is_the_naive_formula(targets):
    p, y = (softmax(LOGITS), np.eye(5)[CODES]) if targets.ndim == 1 else (sigmoid(LOGITS), SETS)
    loss = (y - p) ** 2 + 0.3 * (0.5 - p) ** 2
    assert float(mse(*as_torch(LOGITS, targets), pull=0.3)) == pytest.approx(loss.mean(), rel=1e-5)
    assert float(mse(*as_torch(LOGITS, targets, WEIGHTS), pull=0.3)) == pytest.approx((loss * WEIGHTS).mean(), rel=1e-5)


def test_symmetric_kl_is_the_mean_of_both_divergences():
    first, second = LOGITS, rng.normal(size=(40, 5)) * 4
    p, q = softmax(first), softmax(second)
    expected = 0.5 * (entropy(p.T, q.T) + entropy(q.T, p.T)).mean()
    assert float(symmetric_kl(*as_torch(first, second), "single_label")) == pytest.approx(expected, rel=1e-4)
    p, q = (np.stack([sigmoid(s), 1 - sigmoid(s)]) for s in (first, second))
    expected = 0.5 * (entropy(p, q) + entropy(q, p)).sum(1).mean()
    assert float(symmetric_kl(*as_torch(first, second), "multi_label")) == pytest.approx(expected, rel=1e-4)
    for task in ("single_label", "multi_label"):
        assert float(symmetric_kl(*as_torch(first, first), task)) == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0])])
@pytest.mark.parametrize("name", list(LOSSES))
def test_extreme_logits_give_finite_losses_and_gradients(name, dtype, weights):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]], dtype=dtype, requires_grad=True)
    codes, sets = torch.tensor([0, 0, 1]), torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    for task, targets in ((SINGLE_LABEL, codes), (MULTI_LABEL, sets)):
        if name in task:
            loss = task[name](logits, targets, weights)
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss.dtype == torch.float32
            assert torch.isfinite(loss)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_symmetric_kl_of_extreme_logits_has_finite_gradients(task):
    first = torch.tensor([[1e4, -1e4], [0.0, 0.0]], dtype=torch.bfloat16, requires_grad=True)
    loss = symmetric_kl(first, -first.detach(), task)
    (gradient,) = torch.autograd.grad(loss, first)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_a_certain_row_has_a_gradient_below_a_power_of_one(gamma):
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    (gradient,) = torch.autograd.grad(focal(logits, torch.tensor([0]), gamma=gamma), logits)
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


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_a_batch_of_rows_without_weight_has_no_loss_and_no_gradient(name):
    """`alpha` may be 0 for a class, and a small batch may hold no other."""
    loss = make_loss(LossOptions(name), "single_label", torch.tensor([0.0, 1.0]), ("a", "b"))
    logits = torch.randn(3, 2, requires_grad=True)
    value = loss(logits, torch.zeros(3, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0
    assert logits.grad.eq(0).all()


def test_smoothing_gives_rows_without_weight_no_loss_either():
    logits = torch.tensor([[3.0, -1.0], [0.5, 2.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1, 1]), torch.tensor([1.0, 0.0]), label_smoothing=0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad.abs().max() == 0.0


@pytest.mark.parametrize("name", list(MULTI_LABEL))
def test_rows_of_which_none_has_a_label_give_no_nan_when_classes_are_balanced(name):
    targets = torch.zeros(3, 4)
    weights = torch.from_numpy(balanced_weights(targets.numpy(), 4))
    logits = torch.randn(3, 4, requires_grad=True)
    value = MULTI_LABEL[name](logits, targets, weights)
    (gradient,) = torch.autograd.grad(value, logits)
    assert bool(torch.isfinite(value))
    assert bool(torch.isfinite(gradient).all())
