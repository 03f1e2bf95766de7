"""The two norms: properties for any images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnrobust.attacks import Target
from winnrobust.attacks.geometry import GEOMETRIES

NORMS = sorted(GEOMETRIES)


def random_images(seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    numbers = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * numbers


def test_sizes_by_hand():
    offset = torch.tensor([[[[3.0, -4.0]]]])
    assert GEOMETRIES["Linf"].size(offset).item() == 4
    assert GEOMETRIES["L2"].size(offset).item() == 5


def test_steepest_by_hand():
    gradient = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert GEOMETRIES["Linf"].steepest(gradient).flatten(1).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(
        GEOMETRIES["L2"].steepest(gradient).flatten(1), torch.tensor([[0.6, -0.8], [0.0, 0.0]])
    )


@given(st.sampled_from(NORMS), st.integers(0, 10**6), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_projection_stays_in_the_ball_and_in_the_box(norm, seed, epsilon):
    geometry = GEOMETRIES[norm]
    images, points = random_images(seed), random_images(seed + 1, -2, 3)
    found = geometry.project(points, images, epsilon)
    assert geometry.size(found - images).max() <= epsilon + 1e-5
    assert found.min() >= 0
    assert found.max() <= 1
    # What is inside already stays.
    torch.testing.assert_close(geometry.project(found, images, epsilon), found)


@given(st.sampled_from(NORMS), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_nothing_of_size_one_is_steeper_than_the_steepest(norm, seed):
    geometry = GEOMETRIES[norm]
    gradient, other = random_images(seed, -1, 1), random_images(seed + 1, -1, 1)
    steepest = geometry.steepest(gradient)
    torch.testing.assert_close(geometry.size(steepest), torch.ones(4))
    other = other / geometry.size(other).reshape(-1, 1, 1, 1)
    assert ((gradient * steepest).flatten(1).sum(1) >= (gradient * other).flatten(1).sum(1)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_draws_fill_the_ball_and_belong_to_the_image(norm):
    geometry = GEOMETRIES[norm]
    images = torch.zeros(2000, 1, 1, 2)
    drawn = geometry.draw(Target(torch.nn.Identity(), images, torch.zeros(2000)), "x", 1)
    sizes = geometry.size(drawn)
    assert sizes.max() <= 1 + 1e-6
    # In two dimensions half of a ball's volume is within 1 / sqrt(2) of its centre.
    assert abs((sizes < 0.5**0.5).float().mean() - 0.5) < 0.05
    assert drawn.mean(0).abs().max() < 0.05
    alone = Target(torch.nn.Identity(), images[:1], torch.zeros(1), first=7)
    torch.testing.assert_close(geometry.draw(alone, "x", 1)[0], drawn[7])
