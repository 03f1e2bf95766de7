"""The norms: properties for any images."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyautoattack.autopgd_base import L1_projection

from winnrobust.attacks import NORMS
from winnrobust.attacks.norms import epsilon_text, per_image

NAMES = sorted(NORMS)


def random_images(seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    numbers = torch.rand(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * numbers


def test_sizes_by_hand():
    offset = torch.tensor([[[[3.0, -4.0]]]])
    assert NORMS["linf"].size(offset).item() == 4
    assert NORMS["l2"].size(offset).item() == 5
    assert NORMS["l1"].size(offset).item() == 7
    assert NORMS["l0"].size(torch.tensor([[[[3.0, 0.0, -1e-9]]]])).item() == 2


def test_steepest_by_hand():
    gradient = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]])
    assert NORMS["linf"].steepest(gradient).flatten(1).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(
        NORMS["l2"].steepest(gradient).flatten(1), torch.tensor([[0.6, -0.8], [0.0, 0.0]])
    )
    assert NORMS["l1"].steepest(gradient).flatten(1).tolist() == [[0, -1], [0, 0]]


def test_the_steepest_direction_of_a_gradient_whose_squares_vanish():
    gradient = torch.tensor([[[[3e-30, -4e-30]]]])  # squared they are 0 in float32
    torch.testing.assert_close(NORMS["l2"].steepest(gradient).flatten(), torch.tensor([0.6, -0.8]))


@given(st.integers(1, 254).filter(lambda steps: steps % 51))
def test_a_bound_of_whole_steps_of_255_is_written_as_such(steps):
    for epsilon in (steps / 255, steps / 255 + 5e-10, steps / 255 - 5e-10):
        assert epsilon_text(epsilon) == f"{steps}/255"
    assert "/" not in epsilon_text(steps / 255 + 2e-9)


@given(st.integers(0, 20_000))
def test_a_bound_of_four_decimals_is_written_as_such(number):
    assert epsilon_text(number / 10_000) == f"{number / 10_000:g}"  # 0.2 is 51/255 as well


@given(st.floats(0, 1e4) | st.integers(0, 600).map(lambda steps: steps / 255))
def test_a_bound_reads_back(epsilon):
    above, _, below = epsilon_text(epsilon).partition("/")
    exact = {"abs": 1e-9, "rel": 0} if below else {"abs": 0, "rel": 6e-6}
    assert float(above) / float(below or 1) == pytest.approx(epsilon, **exact)


def test_no_bound_at_all_is_written_too():
    assert epsilon_text(float("inf")) == "inf"


@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.floats(0, 5))
@settings(max_examples=100, deadline=None)
def test_projection_stays_in_the_ball_and_in_the_box(name, seed, epsilon):
    norm = NORMS[name]
    epsilon = int(epsilon) if name == "l0" else epsilon
    images, points = random_images(seed), random_images(seed + 1, -2, 3)
    found = norm.project(points, images, epsilon)
    assert norm.size(found - images).max() <= epsilon + 1e-5
    assert found.min() >= 0
    assert found.max() <= 1
    # What is inside already stays.
    torch.testing.assert_close(norm.project(found, images, epsilon), found)


@given(st.sampled_from(["linf", "l1", "l0"]), st.integers(0, 10**6), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_no_other_point_of_ball_and_box_is_nearer_than_the_projection(name, seed, size):
    norm, epsilon = NORMS[name], size if name == "l0" else size / 3
    images, points = random_images(seed).double(), random_images(seed + 1, -2, 3).double()
    found = norm.project(points, images, epsilon)
    nearest = (found - points).flatten(1).norm(dim=1)
    generator = torch.Generator().manual_seed(seed + 2)
    for spread in (0.01, 0.3, 2.0):
        noise = torch.randn(50, *found.shape, generator=generator).double()
        for other in found + spread * noise:
            inside = norm.project(other, images, epsilon)
            assert ((inside - points).flatten(1).norm(dim=1) >= nearest - 1e-9).all()


@given(st.integers(0, 10**6), st.floats(0.01, 6))
@settings(max_examples=50, deadline=None)
def test_the_projection_in_l1_is_that_of_mind_the_boxs_authors(seed, epsilon):
    images, points = random_images(seed), random_images(seed + 1, -2, 3)
    offsets = points - images
    theirs = points + L1_projection(images, offsets.clone(), epsilon)
    torch.testing.assert_close(NORMS["l1"].project(points, images, epsilon), theirs.clamp(0, 1))


def test_projections_in_l1_and_l0_by_hand():
    images, offsets = torch.tensor([[[[0.5, 0.9, 0.5]]]]), torch.tensor([[[[-0.4, 0.6, 0.1]]]])
    l1, l0 = NORMS["l1"], NORMS["l0"]
    # 0.1 off all of them leaves 0.3, 0.5 and 0, but the second value has room for 0.1 only.
    torch.testing.assert_close(
        l1.project(images + offsets, images, 0.4), torch.tensor([[[[0.2, 1.0, 0.5]]]])
    )
    # For the same reason it is the first value that the point gains most by.
    torch.testing.assert_close(
        l0.project(images + offsets, images, 1), torch.tensor([[[[0.1, 0.9, 0.5]]]])
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_image_can_have_a_radius_of_its_own(name):
    images, points = random_images(0), random_images(1, -2, 3)
    radii = torch.tensor([0.0, 1.0, 2.0, 100.0])
    found = NORMS[name].project(points, images, radii)
    for place, radius in enumerate(radii.tolist()):
        alone = NORMS[name].project(points, images, radius)[place]
        torch.testing.assert_close(found[place], alone)
    assert torch.equal(found[0], images[0])
    torch.testing.assert_close(found[3], points[3].clamp(0, 1))


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
    torch.testing.assert_close((gradient * steepest).flatten(1).sum(1), norm.dual(gradient))
    # In L0 it is one value, of at most 1.
    if name == "l0":
        other = norm.project(other, torch.zeros_like(other), 1)
    other = other / per_image(norm.size(other).clamp_min(1e-12))
    assert ((gradient * steepest).flatten(1).sum(1) >= (gradient * other).flatten(1).sum(1)).all()


@pytest.mark.parametrize("name", ["linf", "l2", "l1"])
def test_random_offsets_fill_the_ball(name):
    norm = NORMS[name]
    drawn = norm.random(torch.arange(4000), (1, 1, 2), 0, "x", 1)
    sizes = norm.size(drawn)
    assert sizes.max() <= 1 + 1e-6
    # In two dimensions half of a ball's volume is within 1 / sqrt(2) of its centre.
    assert abs((sizes < 0.5**0.5).float().mean() - 0.5) < 0.04
    assert drawn.mean(0).abs().max() < 0.04


def test_random_offsets_in_l0_are_one_value():
    drawn = NORMS["l0"].random(torch.arange(4000), (1, 1, 2), 0, "x", 1)
    assert NORMS["l0"].size(drawn).unique().tolist() == [1]
    assert drawn.abs().max() <= 1
    assert abs((drawn[:, 0, 0, 0] != 0).float().mean() - 0.5) < 0.04
    assert drawn.mean(0).abs().max() < 0.04


def test_the_projection_in_l1_stays_exact_with_many_values():
    numbers = torch.rand(2, 2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    images, points = numbers.unbind()
    found = NORMS["l1"].project(images + 4 * points - 2, images, 12.0)
    assert (NORMS["l1"].size(found - images) - 12).abs().max() < 2e-4
