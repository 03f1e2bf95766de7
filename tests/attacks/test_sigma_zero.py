"""Sigma-zero: the points of its authors' code, and what is known on paper."""

import pytest
import torch

from tests.attacks.models import LABEL, Linear, image
from tests.attacks.trajectories import Recorder, start
from winnrobust.attacks import Run
from winnrobust.attacks.sigma_zero import sigma_zero

IMAGES = torch.cat([start(seed=seed) for seed in range(4)])
LABELS = torch.zeros(4, dtype=torch.int64)

# Of the authors' code (github.com/Cinofix/sigma-zero-adversarial-attack, commit efe146b) with torch
# 2.14.1, in float64, 60 steps on these images and `Recorder(lead=12.0)`: the sum of the values of
# each image at some of the points, and the numbers of changed values in the end. It needs
# adversarial-library, which does not install, so it was run once, on 26 November 2026; then all 60
# points were the same to 1e-11.
SUMS = {
    1: [18.0, 17.0, 17.0, 13.0],
    2: [17.024051, 17.959263, 17.481071, 13.35428],
    10: [19.084264, 16.264618, 15.263105, 15.516776],
    30: [18.600395, 17.497552, 17.036021, 16.799361],
    59: [16.070267, 18.444332, 16.994712, 16.233495],
}
CHANGED = [5, 4, 5, 7]


def test_every_point_is_its_authors():
    model = Recorder(lead=12.0)
    result = sigma_zero(model, IMAGES, LABELS, steps=60)
    points = model.points[1:]  # after the clean pass
    assert len(points) == 60
    for step, sums in SUMS.items():
        expected = torch.tensor(sums, dtype=torch.float64)
        torch.testing.assert_close(points[step].flatten(1).sum(1), expected, atol=1e-5, rtol=0)
    assert result.distance.tolist() == CHANGED


def test_it_finds_the_one_value_that_is_enough():
    # Every value counts, the second the most: it alone can change the answer.
    model = Linear([[0.0] * 4, [0.2, 1.0, 0.2, 0.2]], [1.2, 0.0])
    result = sigma_zero(model, image(*[0.5] * 4), LABEL, steps=100)
    assert result.distance.item() == 1
    assert (result.images != 0.5).flatten().tolist() == [False, True, False, False]
    assert model(result.images).argmax(1).item() == 1


def test_more_values_than_are_enough_are_given_back():
    model = Recorder(lead=12.0)
    short, long = (sigma_zero(model, IMAGES, LABELS, steps=steps) for steps in (40, 400))
    assert (long.distance <= short.distance).all()
    assert long.distance.sum() < short.distance.sum()


@pytest.mark.parametrize("target", [2, 3])
def test_a_target_is_reached(target):
    model = Recorder(lead=4.0)
    run = Run(targets=torch.full((4,), target))
    result = sigma_zero(model, IMAGES, LABELS, steps=60, run=run)
    assert model.answer(result.images).argmax(1).tolist() == [target] * 4
