"""Patches: a square of any content, where it does most."""

import pytest
import torch
from torch import nn

from tests.attacks.models import attacked
from winnrobust.attacks import Run, check_examples, find, measured
from winnrobust.runtime.errors import InputError

PATCH = find("patch")


class Sensitive(nn.Module):
    """Adds the pixels of a square up and says 1 above a bound."""

    def __init__(self, top: int, left: int, bound: float) -> None:
        super().__init__()
        self.place, self.bound = (slice(top, top + 3), slice(left, left + 3)), bound

    def forward(self, images):
        total = images[:, :, *self.place].sum((1, 2, 3))
        return torch.stack([torch.full_like(total, self.bound), total], 1)


GRAY = torch.full((2, 1, 12, 12), 0.5)  # 4.5 in a square of 3 x 3
LABELS = torch.tensor([0, 0])


def test_the_square_that_counts_is_found_by_the_gradient():
    (result,) = attacked(PATCH(places=1, restarts=1), Sensitive(7, 2, 8.5), GRAY, LABELS, [3.0])
    changed = (result.images - GRAY).ne(0)
    assert changed[:, :, 7:10, 2:5].all()
    assert changed.sum() == 2 * 9
    assert result.images[changed].unique().tolist() == [1]
    # A gradient at the image, and one look at the square.
    assert result.gradients.tolist() == result.queries.tolist() == [1, 1]


def test_no_more_than_the_square_can_do():
    model = Sensitive(7, 2, 8.5)
    (result,) = attacked(PATCH(steps=3, restarts=2), model, GRAY, LABELS, [2.0])
    # Four of nine pixels become 1: 6.5.
    assert model(result.images).argmax(1).tolist() == [0, 0]
    assert measured("patch", GRAY, result.images).max() <= 2
    assert result.gradients.tolist() == [1 + 2 * 3] * 2
    assert result.queries.tolist() == [2 * 10 + 1] * 2  # and a look between both


def test_content_is_made_where_the_first_guess_is_not_enough():
    class Middle(nn.Module):  # wants pixels that are neither 0 nor 1
        def forward(self, images):
            score = -(images[:, 0, 4, 4] - 0.8).abs()
            return torch.stack([torch.full_like(score, -0.06), score], 1)

    (result,) = attacked(PATCH(places=1), Middle(), GRAY, LABELS, [1.0])
    assert Middle()(result.images).argmax(1).tolist() == [1, 1]
    torch.testing.assert_close(
        result.images[:, 0, 4, 4], torch.tensor([0.8, 0.8]), atol=0.06, rtol=0
    )


def test_of_the_places_that_with_the_highest_loss_is_worked_on():
    class TwoPlaces(nn.Module):  # the steeper one is soon at its end
        def forward(self, images):
            steep, far = images[:, 0, :3, :3].sum((1, 2)), images[:, 0, 6:9, 6:9].sum((1, 2))
            score = (10 * (steep - 4.5)).clamp(max=1) + 4 - 3 * (far - 8.5).abs()
            return torch.stack([torch.full_like(score, 2.7), score], 1)

    attack = PATCH(places=300, restarts=1, steps=1)
    (result,) = attacked(attack, TwoPlaces(), GRAY, LABELS, [3.0])
    # All white it gives 2.5, and 2.8 with a step back; the other place never more than -7.
    assert TwoPlaces()(result.images).argmax(1).tolist() == [1, 1]
    assert result.images[:, 0, 6:9, 6:9].unique().tolist() == pytest.approx([0.9])


def test_every_restart_tries_other_places():
    tried = []

    class Watching(Sensitive):
        def forward(self, images):
            if not images.requires_grad:
                tried.append((images != 0.5).nonzero()[:1].tolist())
            return super().forward(images)

    attack = PATCH(places=6, restarts=2, steps=1)
    attacked(attack, Watching(0, 0, 99.0), GRAY[:1], LABELS[:1], [3.0])
    # The clean image, the places of both restarts, and between them what came of the first.
    assert len(tried) == 1 + 6 + 1 + 6
    assert tried[2:7] != tried[9:14]


def test_a_target_is_reached_and_what_is_wrong_stays():
    images = torch.cat([GRAY[:1], torch.ones(1, 1, 12, 12)])
    run = Run(targets=torch.tensor([1, 1]))
    (result,) = attacked(PATCH, Sensitive(0, 0, 8.5), images, LABELS, [3.0], run)
    assert Sensitive(0, 0, 8.5)(result.images).argmax(1).tolist() == [1, 1]
    assert torch.equal(result.images[1], images[1])
    assert result.gradients.tolist()[1] == 0


def test_a_square_must_fit():
    with pytest.raises(InputError, match="a patch of 13 pixels does not fit into images of 12x12"):
        attacked(PATCH, Sensitive(0, 0, 8.5), GRAY, LABELS, [13.0])


def test_more_than_a_square_is_refused():
    examples = GRAY.clone()
    examples[1, 0, 2, 3] = examples[1, 0, 5, 4] = 1
    check_examples("mine", "patch", GRAY, examples, 4)
    with pytest.raises(InputError, match="'mine' changed a square of 4 pixels, not of 3"):
        check_examples("mine", "patch", GRAY, examples, 3)
    assert measured("patch", GRAY, examples).tolist() == [0, 4]
    assert measured("spatial", GRAY, examples).isnan().tolist() == [False, True]
