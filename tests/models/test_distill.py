"""Distillation: the loss against naive float64 formulas and at its limits, rows without labels, micro-batches."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from models.build import build_classifier
from models.errors import ModelError
from models.losses import make_loss
from models.recipe import ContrastOptions, DistillOptions, LossOptions, PseudoLabelOptions, check_recipe
from models.schema import Place
from models.training.distill import Teaching, soft_loss
from models.training.sources import FoldRows, make_source
from models.training.step import MicroBatch, put_gradient
from tests.models import test_step
from tests.models.test_step import BATCH, CLASSES, gradients
from tests.models.test_training import train

source = test_step.source  # the fixture
draw = np.random.default_rng(0)
LOGITS = draw.normal(size=(20, 5)) * 3
TEACHER = draw.normal(size=(20, 5)) * 3


def kl_at(temperature, student, teacher):
    """Σ p log(p / q), mean over rows, times T²; both from logits."""
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    rows = [sum(a * np.log(a / b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)]
    return temperature**2 * np.mean(rows)


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array, np.float32)) for array in arrays]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
def test_the_loss_is_the_divergence_from_the_teacher_at_the_temperature(temperature):
    logits, probs = tensors(LOGITS, softmax(TEACHER, axis=1))
    found = float(soft_loss(logits, probs, "single_label", temperature))
    assert found == pytest.approx(kl_at(temperature, LOGITS, TEACHER), rel=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_several_labels_are_taught_by_binary_cross_entropy(temperature):
    logits, probs = tensors(LOGITS, expit(TEACHER))
    p, q = expit(TEACHER / temperature), expit(LOGITS / temperature)
    naive = temperature**2 * -np.mean(p * np.log(q) + (1 - p) * np.log(1 - q))
    assert float(soft_loss(logits, probs, "multi_label", temperature)) == pytest.approx(naive, rel=1e-4)


def test_label_groups_are_taught_group_by_group():
    classes = ("a:x", "a:y", "b:p", "b:q", "b:r")
    probs = np.hstack([softmax(TEACHER[:, :2], axis=1), softmax(TEACHER[:, 2:], axis=1)])
    found = float(soft_loss(*tensors(LOGITS, probs), "multi_group", 2.0, classes))
    naive = kl_at(2.0, LOGITS[:, :2], TEACHER[:, :2]) + kl_at(2.0, LOGITS[:, 2:], TEACHER[:, 2:])
    assert found == pytest.approx(naive, rel=1e-4)


@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_student_that_says_what_the_teacher_says_has_no_gradient(task):
    logits = torch.from_numpy(TEACHER).float().requires_grad_()
    probs = (softmax if task == "single_label" else lambda x, axis: expit(x))(TEACHER, axis=1)
    soft_loss(logits, *tensors(probs), task, 2.0).backward()
    assert float(logits.grad.abs().max()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("task", ["single_label", "multi_label"])
def test_a_teacher_without_doubt_and_extreme_logits_stay_finite(task, dtype):
    probs = torch.eye(5)
    logits = (torch.eye(5).flip(0) * 6e4).to(dtype).requires_grad_()
    loss = soft_loss(logits, probs, task, 1.0)
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(logits.grad).all())


def taught(source, alpha, *, n_labelled=11, temperature=2.0):
    generator = torch.Generator().manual_seed(1)
    probs = torch.rand(len(source.targets), 3, generator=generator).softmax(-1)
    labelled = torch.arange(len(source.targets)) < n_labelled
    options = DistillOptions("t", temperature=temperature, alpha=alpha)
    return dataclasses.replace(source, teaching=Teaching(options, "single_label", CLASSES, probs, labelled))


def test_the_two_terms_are_weighed_by_alpha(source):
    plain = put_gradient(source, BATCH, None)
    clean = gradients(source.network)
    assert put_gradient(taught(source, 0.0), BATCH, None) == pytest.approx(plain, rel=1e-5)
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, clean[name], rtol=1e-5, atol=1e-8)
    soft = put_gradient(taught(source, 1.0), BATCH, None)
    assert put_gradient(taught(source, 0.3), BATCH, None) == pytest.approx(0.3 * soft + 0.7 * plain, rel=1e-5)


def test_classes_are_balanced_by_the_rows_whose_label_counts(tiny_recipe, tiny_tokenizer, coloured):
    texts, labels = coloured
    recipe = dataclasses.replace(tiny_recipe, loss=LossOptions(class_weights="balanced"))
    teacher = np.full((24, 3), 1 / 3, np.float32)
    found = []
    for guess in (0, 1):
        guessed = np.where(np.arange(24) < 15, labels, guess)  # the teacher's decisions on rows without a label
        rows = FoldRows(list(texts), guessed, tuple(texts), np.arange(24) < 15, teacher)
        network = build_classifier(recipe, CLASSES, tiny_tokenizer, "single_label")
        loss = make_source(recipe, network, tiny_tokenizer, rows, "single_label", CLASSES, torch.device("cpu")).loss
        logits = torch.arange(9.0).reshape(3, 3).sin()
        found.append(float(loss(logits, torch.arange(3))))
    assert found[0] == found[1]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_micro_batches_add_up_with_rows_that_have_no_label(source, size):
    with_teacher = taught(source, 0.4, n_labelled=5)
    whole = put_gradient(with_teacher, BATCH, None)
    expected = gradients(source.network)
    parts = put_gradient(dataclasses.replace(with_teacher, micro=MicroBatch(size)), BATCH, None)
    assert parts == pytest.approx(whole, rel=1e-5)
    for name, gradient in gradients(source.network).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


def test_targets_of_rows_without_a_label_change_nothing(source):
    first = put_gradient(taught(source, 0.4, n_labelled=5), BATCH, None)
    other = source.targets.clone()
    other[5:] = (other[5:] + 1) % 3
    changed = dataclasses.replace(source, targets=other)
    assert put_gradient(taught(changed, 0.4, n_labelled=5), BATCH, None) == first
    assert put_gradient(taught(changed, 0.4, n_labelled=11), BATCH, None) != first


@pytest.mark.parametrize("size", [1, 3, 11])
def test_rows_that_are_not_taught_have_their_label_alone(source, size):
    with_teacher = taught(source, 0.4, n_labelled=5)
    probs = with_teacher.teaching.probs.clone()
    probs[:5] = torch.nan
    alone = dataclasses.replace(with_teacher.teaching, probs=probs)
    found = put_gradient(dataclasses.replace(with_teacher, teaching=alone, micro=MicroBatch(size)), BATCH, None)
    source.network.eval()
    with torch.no_grad():
        logits = torch.cat([source.network(torch.tensor(source.rows.ids[i])[None]) for i in range(11)])
    hard = torch.nn.functional.cross_entropy(logits[:5], source.targets[:5])
    soft = soft_loss(logits[5:], probs[5:11], "single_label", 2.0)
    assert found == pytest.approx(float(0.6 * 5 / 11 * hard + 0.4 * 6 / 11 * soft), rel=1e-4)


def test_a_batch_in_which_no_row_counts_has_a_gradient_of_zero(source):
    with_teacher = taught(source, 1.0, n_labelled=11)
    nobody = dataclasses.replace(with_teacher.teaching, probs=torch.full((24, 3), torch.nan))
    assert put_gradient(dataclasses.replace(with_teacher, teaching=nobody), BATCH, None) == 0.0
    assert all(float(gradient.abs().max()) == 0.0 for gradient in gradients(source.network).values())


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "mse"])
def test_each_loss_of_labels_goes_with_a_teacher(loss):
    logits, probs = tensors(LOGITS, softmax(TEACHER, axis=1))
    targets = torch.arange(20) % 5
    hard = make_loss(LossOptions(loss), "single_label")
    teaching = Teaching(DistillOptions("t", alpha=0.25), "single_label", (), probs, torch.arange(20) < 8)
    found = teaching.beside(hard, torch.arange(20))(logits, targets)
    expected = 0.25 * soft_loss(logits, probs, "single_label", 2.0) + 0.75 * 8 / 20 * hard(logits[:8], targets[:8])
    torch.testing.assert_close(found, expected)


def test_a_student_learns_from_its_teacher_alone(tmp_path, tiny_recipe, tiny_tokenizer, coloured):
    _, labels = coloured
    shown = np.concatenate([labels[::2], labels[1::2]])
    probs = np.full((len(labels), 3), 0.05, np.float32)
    probs[np.arange(len(labels)), (shown + 1) % 3] = 0.9  # the teacher calls red green, and so on
    recipe = dataclasses.replace(tiny_recipe, distill=DistillOptions("t", alpha=1.0))
    result = train(
        recipe, tiny_tokenizer, coloured, tmp_path / "f", epochs=12, keep="last", teacher_probs=probs, r_drop=0.1
    )
    assert (result.valid_probs.argmax(1) == (labels[::3] + 1) % 3).mean() > 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distill": DistillOptions(alpha=0.9)}, "names no teacher"),
        ({"distill": DistillOptions("t", source="fold")}, "teaches test rows alone"),
        (
            {"distill": DistillOptions("t"), "pseudo_labels": PseudoLabelOptions("other")},
            "pseudo-labels have no teacher's probabilities",
        ),
    ],
)
def test_a_recipe_that_contradicts_its_teacher_is_refused(tiny_recipe, changes, message):
    with pytest.raises(ModelError, match=message):
        check_recipe(dataclasses.replace(tiny_recipe, **changes), Place("r.toml"))


def test_contrast_and_a_teacher_exclude_each_other(tiny_recipe):
    apart = {"data": dataclasses.replace(tiny_recipe.data, form="apart")}
    head = dataclasses.replace(tiny_recipe.head, name="cosine")
    recipe = dataclasses.replace(
        tiny_recipe, head=head, contrast=ContrastOptions(weight=1.0), distill=DistillOptions("t"), **apart
    )
    with pytest.raises(ModelError, match="together with"):
        check_recipe(recipe, Place("r.toml"))
