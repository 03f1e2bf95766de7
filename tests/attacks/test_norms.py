"""The norms: properties for any images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from winnrobust.attacks import NORMS

NAMES = sorted(NORMS)


def random_images(seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    numbers = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * numbers


def test_sizes_by_hand():
    offset = torch.tensor([[[[3.0, -4.0]]]])
    assert NORMS["linf"].size(offset).item() == 4
    assert NORMS["l2"].size(offset).item() == 5


def test_steepest_by_hand():
    gradient = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert NORMS["linf"].steepest(gradient).flatten(1).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(
        NORMS["l2"].steepest(gradient).flatten(1), torch.tensor([[0.6, -0.8], [0.0, 0.0]])
    )


def test_the_steepest_direction_of_a_gradient_whose_squares_vanish():
    gradient = torch.tensor([[[[3e-30, -4e-30]]]])  # squared they are 0 in float32
    torch.testing.assert_close(NORMS["l2"].steepest(gradient).flatten(), torch.tensor([0.6, -0.8]))


@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.floats(0, 2))
@settings(max_examples=50, deadline=None)
def test_projection_stays_in_the_ball_and_in_the_box(name, seed, epsilon):
    norm = NORMS[name]
    images, points = random_images(seed), random_images(seed + 1, -2, 3)
    found = norm.project(points, images, epsilon)
    assert norm.size(found - images).max() <= epsilon + 1e-5
    assert found.min() >= 0
    assert found.max() <= 1
    # What is inside already stays.
    torch.testing.assert_close(norm.project(found, images, epsilon), found)


def test_a_projection_to_a_euclidean_ball_shortens_and_never_turns():
    images = torch.full((1, 1, 1, 2), 0.5)
    far, near = (images + scale * torch.tensor([0.3, -0.4]) for scale in (1.0, 0.1))
    torch.testing.assert_close(
        NORMS["l2"].project(far, images, 0.1), images + torch.tensor([0.06, -0.08])
    )
    torch.testing.assert_close(NORMS["l2"].project(near, images, 0.1), near)


@given(st.sampled_from(NAMES), st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_nothing_of_size_one_is_steeper_than_the_steepest(name, seed):
    norm = NORMS[name]
    gradient, other = random_images(seed, -1, 1), random_images(seed + 1, -1, 1)
    steepest = norm.steepest(gradient)
    torch.testing.assert_close(norm.size(steepest), torch.ones(4))
    other = other / norm.size(other).reshape(-1, 1, 1, 1)
    assert ((gradient * steepest).flatten(1).sum(1) >= (gradient * other).flatten(1).sum(1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_random_offsets_fill_the_ball(name):
    norm = NORMS[name]
    drawn = norm.random(torch.arange(4000), (1, 1, 2), 0, "x", 1)
    sizes = norm.size(drawn)
    assert sizes.max() <= 1 + 1e-6
    # In two dimensions half of a ball's volume is within 1 / sqrt(2) of its centre.
    assert abs((sizes < 0.5**0.5).float().mean() - 0.5) < 0.04
    assert drawn.mean(0).abs().max() < 0.04
