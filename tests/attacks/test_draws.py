"""Random numbers that belong to an image."""

import math

import pytest
import torch

from winnrobust.attacks import draws

NUMBERS = torch.arange(2000)


def test_an_image_has_the_same_numbers_in_any_company():
    everyone = draws.uniform(NUMBERS, (3, 4), 7, "start", 1)
    few = torch.tensor([5, 1999, 0])
    assert torch.equal(draws.uniform(few, (3, 4), 7, "start", 1), everyone[few])
    assert draws.uniform(few[:0], (3, 4), 7, "start", 1).shape == (0, 3, 4)


@pytest.mark.parametrize("other", [(8, "start", 1), (7, "end", 1), (7, "start", 2)])
def test_every_seed_and_name_has_its_own(other):
    first, second = (draws.uniform(NUMBERS, (5,), *key) for key in ((7, "start", 1), other))
    assert (first != second).float().mean() > 0.99
    assert abs(correlation(first, second)) < 0.05


def test_uniform_numbers_are_spread_evenly_and_do_not_hang_together():
    drawn = draws.uniform(NUMBERS, (64,), 0, "x")
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, 16, 0, 1)
    # The number in a sixteenth is binomial; five standard deviations.
    spread = math.sqrt(drawn.numel() * (1 / 16) * (15 / 16))
    assert (counts - drawn.numel() / 16).abs().max() < 5 * spread
    assert abs(correlation(drawn[:, :-1], drawn[:, 1:])) < 0.015  # within an image
    assert abs(correlation(drawn[:-1], drawn[1:])) < 0.015  # from one image to the next


def test_normal_numbers_have_the_moments_of_a_normal_distribution():
    drawn = draws.normal(NUMBERS, (64,), 0, "x")
    assert drawn.isfinite().all()
    assert abs(drawn.mean()) < 0.015
    assert abs(drawn.var() - 1) < 0.02
    assert abs((drawn**4).mean() - 3) < 0.15
    assert abs((drawn.abs() > 1.96).float().mean() - 0.05) < 0.004


def correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()
