"""No attack goes blind on a model that is sure of itself, or that computes in half precision."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from tests.attacks.models import EVERY, LABEL, Linear, attacked, called, configured, image
from winnrobust.attacks import Run, find, logits, with_settings

EPSILON = {"linf": 0.05, "l2": 0.2, "l1": 0.8, "l0": 2}
WHITE_BOX = [attack for attack in EVERY if attack.access == "white-box"]
MARGIN = [each for each in EVERY if each.name in ("apgd-t", "fab", "deepfool", "fmn")]
COUNT = 24


class Sure(nn.Module):
    """A small network for 6x6 images, with all logits times `scale` plus `constant`."""

    def __init__(self, scale: float = 1.0, constant: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(36, 24, generator=generator) / 6)
        self.second = nn.Parameter(torch.randn(24, 6, generator=generator))
        self.scale, self.constant = scale, constant

    def forward(self, images):
        hidden = torch.tanh(4 * (images.flatten(1) - 0.5) @ self.first)
        return self.scale * (hidden @ self.second) + self.constant


IMAGES = torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(1))
LABELS = logits(Sure().double(), IMAGES).argmax(1)


def broken(attack, model, images, labels=LABELS):
    # DDN's radius is 1 at first, and shrinks by 5 % a step.
    steps = {"ddn": 60, "sigma-zero": 20}.get(attack.name, 10)
    attack = with_settings(attack, steps=steps, queries=10)
    if "searches" in attack.parameters:
        attack = configured(attack, searches=4)
    result = attacked(attack, model, images, labels, EPSILON[attack.norm], Run())
    return logits(model, result.images).argmax(1) != labels


def differ(first, second):
    """How many images one breaks and the other does not; the first breaks some, not all."""
    assert 2 < first.sum() < len(first)
    return int((first != second).sum())


@pytest.mark.parametrize("attack", WHITE_BOX, ids=called)
@pytest.mark.parametrize(("scale", "constant"), [(1.0, 0.0), (100.0, 0.0), (1e4, 0.0), (1.0, 1e2)])
def test_float32_breaks_what_float64_breaks(attack, scale, constant):
    exact = broken(attack, Sure(scale, constant).double(), IMAGES.double())
    rounded = broken(attack, Sure(scale, constant), IMAGES)
    assert differ(exact, rounded) <= 1  # one image may be at the very edge


@pytest.mark.parametrize("attack", MARGIN, ids=called)
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e4])
def test_what_follows_margins_does_not_depend_on_the_scale(attack, scale):
    usual, scaled = (broken(attack, Sure(each), IMAGES) for each in (1.0, scale))
    assert differ(usual, scaled) <= 1


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "pgd-l2", "mifgsm", "apgd-ce"])
def test_no_confidence_hides_a_direction(name):
    # Between two wrong classes the nearer one decides, however far ahead the label is.
    for scale in (1.0, 1e2, 1e4):
        rows = [[0.0] * 4, [scale, 0.0, 0.0, 0.0], [0.0, -scale, 0.0, 0.0]]
        model = Linear(rows, [scale * 0.545, 0.0, 0.0])
        result = attacked(name, model, image(*[0.5] * 4), LABEL, 0.05)
        assert model(result.images).argmax(1).item() == 1


@pytest.mark.parametrize("attack", WHITE_BOX, ids=called)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_breaks_what_float64_breaks(attack, dtype):
    halved = Sure().to(dtype)
    exact = deepcopy(halved).double()  # the same weights
    labels = logits(exact, IMAGES).argmax(1)
    # A model in half precision has answers of its own near a boundary: bfloat16 has three digits.
    theirs, ours = (
        broken(attack, exact, IMAGES.double(), labels),
        broken(attack, halved, IMAGES, labels),
    )
    assert differ(theirs, ours) <= COUNT // 6


@pytest.mark.slow
def test_a_trained_classifier_of_digits_hides_nothing_by_its_confidence(trained):
    model, images, labels = trained
    images, labels = images[:100], labels[:100]
    for name in ("fgsm", "pgd"):
        usual, *sure = (
            broken(find(name), Times(model, scale), images, labels) for scale in (1.0, 10.0, 1000.0)
        )
        assert 10 < usual.sum() < 95
        assert all(int((usual != other).sum()) <= 2 for other in sure)


class Times(nn.Module):
    """A model's logits times a number."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images):
        return self.scale * self.model(images).logits
