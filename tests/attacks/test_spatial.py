"""Rotations and translations: by hand, and the worst of a grid."""

import pytest
import torch
from torch import nn

from tests.attacks.models import attacked
from winnrobust.attacks import Run, check_examples, find
from winnrobust.attacks.spatial import moved
from winnrobust.runtime.errors import InputError

SPATIAL = find("spatial")


class Corner(nn.Module):
    """Says 1 where the pixel in the upper left corner is bright."""

    def forward(self, images):
        corner = images[:, 0, 0, 0]
        return torch.stack([torch.full_like(corner, 0.5), corner], 1)


def dot(row: int, column: int, side: int = 5) -> torch.Tensor:
    image = torch.zeros(1, 1, side, side)
    image[0, 0, row, column] = 1
    return image


def test_a_quarter_turn_and_whole_pixels_by_hand():
    torch.testing.assert_close(moved(dot(0, 4), 90, 0, 0), dot(0, 0))
    torch.testing.assert_close(moved(dot(0, 4), -90, 0, 0), dot(4, 4))
    torch.testing.assert_close(moved(dot(1, 2), 0, 2, -1), dot(3, 1))
    assert moved(dot(0, 0), 0, -1, 0).sum() == 0  # outside it is black
    white = torch.ones(1, 1, 5, 5)
    assert moved(white, 0, 1, 0).sum((1, 3)).tolist() == [[0, 5, 5, 5, 5]]
    half = moved(dot(2, 2), 0, 0, 0.5)[0, 0, 2]
    torch.testing.assert_close(half, torch.tensor([0, 0, 0.5, 0.5, 0]))


def test_an_image_that_is_no_square_keeps_its_proportions():
    image = torch.zeros(1, 1, 3, 7)
    image[0, 0, 0, 3] = 1  # above the middle
    turned = torch.zeros(1, 1, 3, 7)
    turned[0, 0, 1, 2] = 1  # left of it
    torch.testing.assert_close(moved(image, 90, 0, 0), turned)
    torch.testing.assert_close(moved(image, 0, 1, 2)[0, 0, 1, 5], torch.tensor(1.0))


def test_the_grid_goes_both_ways_in_rows_and_in_columns():
    image = torch.zeros(1, 1, 4, 8)
    image[0, 0, 1, 5] = 1
    asked = []

    class Watching(Corner):
        def forward(self, images):
            asked.extend(tuple(place) for place in (images[:, 0] > 0.5).nonzero()[:, 1:].tolist())
            return super().forward(images)

    attack = SPATIAL(rotations=1, translations=3, shift=1 / 4)
    attacked(attack, Watching(), image, torch.tensor([0]), [360.0])
    # By up to a row and two columns.
    assert set(asked) == {(row, column) for row in (0, 1, 2) for column in (3, 5, 7)}


def test_an_image_is_moved_until_the_model_is_wrong():
    images = torch.cat([dot(0, 4), dot(2, 2), dot(0, 0)])
    labels = torch.tensor([0, 0, 1])
    attack = SPATIAL(rotations=3, translations=1, shift=0)
    (result,) = attacked(attack, Corner(), images, labels, [90.0])
    # The corner needs a quarter turn, the middle cannot get there, the third is turned away.
    seen = Corner()(result.images).argmax(1)
    assert seen.tolist() == [1, 0, 0]
    # Both quarter turns come before the image as it is.
    assert result.queries.tolist() == [2, 3, 1]
    assert result.gradients.tolist() == [0, 0, 0]


def test_by_default_it_is_the_papers_grid():
    images = torch.zeros(1, 1, 28, 28)  # nothing becomes bright
    (result,) = attacked(SPATIAL, Corner(), images, torch.tensor([0]), [30.0])
    assert result.queries.tolist() == [31 * 5 * 5] == [int(SPATIAL.cost.split()[0])]


def test_targets_count_and_wrong_images_stay():
    images, labels = torch.cat([dot(0, 4), dot(0, 0)]), torch.tensor([0, 0])
    run = Run(targets=torch.tensor([1, 1]))
    attack = SPATIAL(rotations=3, translations=1, shift=0)
    (result,) = attacked(attack, Corner(), images, labels, [90.0], run)
    assert Corner()(result.images).argmax(1).tolist() == [1, 1]
    assert result.queries.tolist() == [2, 0]
    assert torch.equal(result.images[1:], images[1:])


def test_an_image_cannot_become_brighter():
    with pytest.raises(InputError, match="did more than move an image: it made it brighter"):
        check_examples("mine", "spatial", 0.5 * dot(0, 0), dot(1, 1), 30)
    check_examples("mine", "spatial", dot(0, 0), 0.9 * dot(1, 1), 30)
