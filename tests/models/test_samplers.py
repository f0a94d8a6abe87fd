"""Samplers draw classes as often as their formula says."""

import numpy as np
import pytest

from models.training.samplers import SAMPLERS, class_balanced, draw, instance, power

CODES = np.repeat([0, 1, 2], [640, 250, 10])
SETS = np.array([[1, 0, 0]] * 90 + [[1, 1, 0]] * 9 + [[0, 0, 0]])


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
def test_classes_are_drawn_in_proportion_to_their_size_to_the_power_of_q(q):
    counts = np.array([640, 250, 10])
    weights = power(CODES, q=q)
    np.testing.assert_allclose(np.bincount(CODES, weights) / weights.sum(), counts**q / (counts**q).sum())
    drawn = np.bincount(CODES[np.concatenate([draw(weights, 900, np.random.default_rng(i)) for i in range(40)])])
    np.testing.assert_allclose(drawn / 36000, counts**q / (counts**q).sum(), atol=0.01)


def test_class_balanced_draws_each_class_equally_often():
    assert np.array_equal(class_balanced(CODES), power(CODES, q=0.0))


def test_instance_draws_each_row_once():
    assert instance(CODES) is None
    assert sorted(draw(None, 50, np.random.default_rng(0))) == list(range(50))


def test_of_several_labels_the_rarest_counts_and_bare_rows_are_a_class_of_their_own():
    weights = class_balanced(SETS)
    np.testing.assert_allclose(weights, [1 / 99] * 90 + [1 / 9] * 9 + [1])


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_every_sampler_takes_both_kinds_of_targets(name):
    for targets in (CODES, SETS):
        weights = SAMPLERS[name](targets)
        assert weights is None or (weights.shape == (len(targets),) and (weights > 0).all())
