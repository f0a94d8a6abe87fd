"""`models.heads.linked` and losses of label groups, against enumeration and the losses of single labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.errors import ModelError
from models.heads import HEADS
from models.heads.pooled import HeadShape
from models.label_groups import group_sizes, to_probabilities
from models.losses import make_loss, symmetric_kl
from models.recipe import LossOptions

CLASSES = ("a:1", "a:2", "b:1", "b:2", "b:3", "c:1", "c:2")
SHAPE = HeadShape(hidden=8, layers=1, classes=7, groups=group_sizes(CLASSES))


def make_head(**options):
    torch.manual_seed(0)
    head = HEADS["linked"](SHAPE, dropout=0.0, width=4, **options)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head, (torch.randn(5, 3, 8),)


def given_class(head, hidden, g, before):
    """Logits of group g where the class of the group before it is known."""
    text = hidden[-1].mean(dim=1)
    known = torch.full((len(text),), before)
    return head.classifiers[g](torch.cat([text, head.embeddings[g - 1](known)], dim=-1))


def test_sizes_of_groups_follow_from_their_names():
    assert group_sizes(CLASSES) == (2, 3, 2)


def test_unknown_classes_are_averaged_over_all_combinations():
    head, hidden = make_head()
    probs = to_probabilities(head.eval()(hidden, None), "multi_group", CLASSES).detach().numpy()
    first = head.classifiers[0](hidden[-1].mean(dim=1)).softmax(-1)
    expected = np.zeros((5, 2))
    for a in range(2):
        for b in range(3):
            p_b = given_class(head, hidden, 1, a).softmax(-1)[:, b]
            p_c = given_class(head, hidden, 2, b).softmax(-1)
            expected += (first[:, a] * p_b).unsqueeze(-1).mul(p_c).detach().numpy()
    assert np.allclose(probs[:, 5:], expected, atol=1e-6)
    assert np.allclose(probs[:, :2].sum(1), 1, atol=1e-6)


def test_the_teacher_shows_the_true_class_in_training_alone():
    head, hidden = make_head()
    targets = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 2, 0], [0, 0, 0], [1, 1, 1]])
    shown = head.train()(hidden, None, targets)
    for row in range(5):
        alone = given_class(head, hidden, 1, int(targets[row, 0]))[row]
        assert torch.allclose(shown[row, 2:5], alone, atol=1e-6)
    assert torch.equal(head.eval()(hidden, None, targets), head(hidden, None))
    soft, hidden = make_head(link="soft")
    assert torch.equal(soft.train()(hidden, None, targets), soft.eval()(hidden, None))


def test_the_loss_of_groups_is_the_weighted_sum_of_their_losses():
    torch.manual_seed(1)
    logits, targets = torch.randn(6, 7), torch.stack([torch.randint(0, n, (6,)) for n in (2, 3, 2)], dim=1)
    loss = make_loss(LossOptions(group_weights=(1.0, 0.5, 2.0)), "multi_group", None, CLASSES)
    parts = [F.cross_entropy(part, targets[:, g]) for g, part in enumerate(logits.split([2, 3, 2], -1))]
    assert loss(logits, targets) == pytest.approx(float(parts[0] + 0.5 * parts[1] + 2 * parts[2]))
    equal = make_loss(LossOptions(name="focal", options={"gamma": 0.0}), "multi_group", None, CLASSES)
    assert equal(logits, targets) == pytest.approx(float(sum(parts)), rel=1e-5)
    weights = torch.rand(7)
    weighted = make_loss(LossOptions(), "multi_group", weights, CLASSES)(logits, targets)
    by_hand = [
        F.cross_entropy(part, targets[:, g], weight=w)
        for g, (part, w) in enumerate(zip(logits.split([2, 3, 2], -1), weights.split([2, 3, 2]), strict=True))
    ]
    assert weighted == pytest.approx(float(sum(by_hand)))


def test_the_divergence_of_groups_is_the_sum_of_theirs():
    first, second = torch.randn(4, 7), torch.randn(4, 7)
    parts = zip(first.split([2, 3, 2], -1), second.split([2, 3, 2], -1), strict=True)
    expected = sum(float(symmetric_kl(a, b, "single_label")) for a, b in parts)
    assert float(symmetric_kl(first, second, "multi_group", CLASSES)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "task"),
    [(LossOptions(group_weights=(1.0,)), "multi_group"), (LossOptions(group_weights=(1.0, -1.0, 1.0)), "multi_group"),
     (LossOptions(group_weights=(1.0, 1.0)), "single_label"), (LossOptions(name="bce"), "multi_group")],
)  # fmt: skip
def test_losses_that_do_not_fit_the_groups_are_refused(options, task):
    with pytest.raises(ModelError):
        make_loss(options, task, None, CLASSES)
