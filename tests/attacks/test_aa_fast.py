"""aa-fast: exact on linear models, where its steps go, what it spends, and where gradients fail."""

import pytest
import torch

from tests.attacks.models import Answers, Linear, Wavy, attacked, image
from winnrobust.attacks import AA_FAST, APGD_T, NORMS
from winnrobust.attacks.aa_fast import direction

LABEL = torch.tensor([0])
WEIGHTS = [[0.0, 0.0, 0.0, 0.0], [4.0, -2.0, 1.0, 0.5]]
DUAL = {"linf": 7.5, "l2": 21.25**0.5, "l1": 4.0}
"""By how much class 1 gains on class 0 in a ball of size 1."""


@pytest.mark.parametrize("norm", DUAL)
def test_a_linear_model_breaks_just_where_it_must(norm):
    pixels = image(0.5, 0.5, 0.5, 0.5)
    needed = 0.2
    bias = -needed * DUAL[norm] - pixels.flatten() @ torch.tensor(WEIGHTS[1])
    model = Linear(WEIGHTS, [0.0, float(bias)])
    attack = AA_FAST.in_norm(norm)
    below, above = attacked(attack, model, pixels, LABEL, [0.99 * needed, 1.01 * needed])
    assert model(below.images).argmax(1).item() == 0
    assert model(above.images).argmax(1).item() == 1
    # The image, and the point where a single step of size epsilon takes it.
    assert (above.gradients.item(), above.queries.item()) == (2, 0)
    assert NORMS[norm].size(above.images - pixels).item() == pytest.approx(1.01 * needed, rel=1e-4)


def test_what_an_image_that_stands_is_spent_on():
    model = Linear([[100.0, 0, 0, 0], [0, 0, 0, 0.0], [0, 1, 0, 0]])
    result = attacked("aa-fast", model, image(0.9, 0.5, 0.5, 0.5), LABEL, 0.1)
    # Two starts: to any class, to each of 2, and five times as long to each of both again.
    ascents = 2 * (1 + 2 + 2)
    assert result.gradients.item() == 2 * 7 * (1 + 2 + 5 * 2)
    # A look at the end of each ascent, and 50 squares until the search is given up.
    assert result.queries.item() == ascents + 50


def test_it_goes_for_the_nearest_class_last_and_longest():
    asked = []

    class Watched(Linear):
        def forward(self, images):
            asked.append(images.requires_grad)
            return super().forward(images)

    model = Watched([[9.0, 0, 0, 0], [0, 3.0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1.0]])
    result = attacked("aa-fast", model, image(1, 0.5, 0.5, 0.5), LABEL, 0.1, steps=2)
    assert sum(asked) == result.gradients.item() == 2 * 2 * (1 + 3 + 5 * 2)  # 2 of 3 classes


@pytest.mark.parametrize(("norm", "farthest", "outside"), [("linf", 1, 0), ("l2", 3, 20)])
def test_in_l2_the_last_ascents_begin_in_a_larger_ball(norm, farthest, outside):
    """35 steps, of which 21 lead from a ball of 3 epsilon down to that of epsilon."""
    pixels, asked = image(0.5, 0.5, 0.5, 0.5), []

    class Watched(Linear):
        def forward(self, images):
            if images.requires_grad:
                asked.append(NORMS[norm].size(images.detach() - pixels).item() / 0.1)
            return super().forward(images)

    model = Watched([[100.0, 0, 0, 0], [0, 1.0, 0, 0]])
    result = attacked(AA_FAST.in_norm(norm), model, pixels, LABEL, 0.1)
    to_one_class = asked[2 * 2 * 7 :]  # after those to any class, and to each, from two starts
    ascents = to_one_class[:35], to_one_class[35:]
    for distances in ascents:
        assert sum(distance > 1 + 1e-5 for distance in distances) == outside
        assert max(distances) <= farthest + 1e-5
        assert max(distances) > 0.9 * farthest - 0.1
        assert all(distance <= 1 + 1e-5 for distance in distances[21:])
    assert NORMS[norm].size(result.images - pixels).item() <= 0.1 + 1e-6


def test_where_the_gradient_is_zero_squares_go_on():
    def stairs(images):
        bright = images.mean((1, 2, 3)).mul(400).floor() + 0 * images.sum((1, 2, 3))
        return torch.stack([244.5 - bright, bright - 244.5], 1)

    # 0.14 upwards nearly everywhere, a square at a time.
    pixels = torch.full((1, 1, 8, 8), 0.5)
    result = attacked("aa-fast", Answers(stairs), pixels, LABEL, 0.14)
    assert stairs(result.images).argmax(1).item() == 1
    assert not result.statistics.on_host().images - result.statistics.on_host().zero_images


def test_the_point_nearest_to_gray_is_a_start():
    def flat_around_the_image(images):
        middle = images.mean((1, 2, 3))
        slope = torch.where(middle < 0.85, 8 * (0.8 - middle), -0.4 + 0 * middle)
        return torch.stack([torch.zeros_like(slope), slope], 1)

    # From 0.9 no gradient leads anywhere; from 0.81 one does.
    pixels = torch.full((1, 1, 4, 4), 0.9)
    result = attacked("aa-fast", Answers(flat_around_the_image), pixels, LABEL, 0.11)
    assert flat_around_the_image(result.images).argmax(1).item() == 1
    assert result.gradients.item() <= 10


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_it_breaks_what_apgd_breaks(norm):
    epsilon = {"linf": 0.01, "l2": 0.03, "l1": 0.1}[norm]
    model = Wavy(classes=4)
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    broken = {
        name: model(
            attacked(found.in_norm(norm), model, images, labels, epsilon).images
        ).argmax(1) != labels
        for name, found in {"aa-fast": AA_FAST, "apgd-t": APGD_T}.items()
    }  # fmt: skip
    assert 5 < broken["apgd-t"].sum() < 40
    assert broken["aa-fast"].sum() >= broken["apgd-t"].sum()


def test_a_step_in_l1_changes_few_values_and_fewer_at_the_end():
    gradient = (torch.linspace(-1, 0.99, 100)).reshape(1, 1, 10, 10)
    wide = direction("l1", gradient, 8.0, 8.0)
    narrow = direction("l1", gradient, 8.0, 0.1)
    assert (wide != 0).sum() == 20  # 0.5 * 8 + 2 * 8
    assert (narrow != 0).sum() == 5  # 0.5 * 8 + 2 * 0.1, and the one at the bound
    for each in (wide, narrow):
        assert each.abs().sum().item() == pytest.approx(1)
        assert (each * gradient >= 0).all()
