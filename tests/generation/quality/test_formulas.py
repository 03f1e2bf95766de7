import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from winnrobust.generation.quality import classifier_score, frechet_distance, nearest


def test_the_score_is_the_number_of_classes_seen_with_certainty():
    certain = np.eye(4)[np.arange(40) % 4]
    assert classifier_score(certain) == pytest.approx((4, 0))
    assert classifier_score(np.full((40, 4), 0.25)) == pytest.approx((1, 0))
    assert classifier_score(np.eye(4)[np.zeros(40, int)]) == pytest.approx((1, 0))


def test_the_score_by_hand():
    """Two answers; p(y) = (1/2, 1/2): KL = 3/4 log(3/2) + 1/4 log(1/2) for both."""
    answers = np.array([[0.75, 0.25], [0.25, 0.75]])
    expected = math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert classifier_score(answers, splits=1) == pytest.approx((expected, 0))
    first, second = answers[[0, 0]], answers
    mean, sd = classifier_score(np.concatenate([first, second]), splits=2)
    assert mean == pytest.approx((1 + expected) / 2)
    assert sd == pytest.approx((expected - 1) / 2)


def test_the_distance_of_shifted_and_of_scaled_sets_by_hand():
    points = np.array([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])  # covariance 2/3 I
    assert frechet_distance(points, points) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(points, points + np.array([3, 4])) == pytest.approx(25)
    # tr(2/3 + 6 - 2 * sqrt(2/3 * 6)) in two dimensions
    assert frechet_distance(points, 3 * points) == pytest.approx(2 * (2 / 3 + 6 - 4))


@given(st.integers(0, 1000), st.integers(1, 6))
@settings(max_examples=25, deadline=None)
def test_the_distance_is_that_of_the_matrix_root_and_symmetric(seed, dimensions):
    generator = np.random.default_rng(seed)
    first, second = (
        generator.normal(size=(20, dimensions)) @ generator.normal(size=(dimensions, dimensions))
        for _ in range(2)
    )
    one, two = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (first, second))
    gap = first.mean(0) - second.mean(0)
    expected = gap @ gap + np.trace(one + two - 2 * sqrtm(one @ two).real)
    found = frechet_distance(first, second)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert found == pytest.approx(frechet_distance(second, first), rel=1e-6, abs=1e-8)


def test_fewer_rows_than_features_do_no_harm():
    generator = np.random.default_rng(0)
    assert frechet_distance(generator.normal(size=(3, 10)), generator.normal(size=(4, 10))) > 0


def test_nearest_images_in_the_l2_norm():
    among = torch.tensor([0, 100, 200], dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    images = torch.tensor([0.1, 0.75]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    distances, numbers = nearest(images, among)
    assert numbers.tolist() == [0, 2]
    assert distances.tolist() == pytest.approx([0.2, 2 * (200 / 255 - 0.75)], abs=1e-6)
