"""No attack goes blind on a model that is sure of itself, or that computes in half precision."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from tests.attacks.models import LABEL, Linear, attacked, configured, image
from winnrobust.attacks import ATTACKS, Run, logits, with_budget

EPSILON = {"linf": 0.02, "l2": 0.15}
WHITE_BOX = [name for name, attack in ATTACKS.items() if attack.access == "white-box"]
MARGIN = ["apgd-t", "fab", "deepfool", "fmn"]
COUNT = 32


class Scaled(nn.Module):
    """A network of ours with all logits times `scale` plus `constant`."""

    def __init__(self, network: nn.Module, scale: float, constant: float = 0.0) -> None:
        super().__init__()
        self.network, self.scale, self.constant = network, scale, constant

    def forward(self, images):
        return self.scale * self.network(images).logits + self.constant


def small(name):
    attack = with_budget(ATTACKS[name], steps=12, queries=12)
    return configured(attack, searches=4) if "searches" in attack.parameters else attack


@pytest.fixture
def problem(network):
    """Images that the network is right about."""
    images = torch.rand(COUNT, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    return network, images, logits(network.double(), images.double()).argmax(1)


def broken(name, model, images, labels):
    attack = small(name)
    result = attacked(attack, model, images, labels, EPSILON[attack.norm], Run())
    return logits(model, result.images).argmax(1) != labels


def differ(first, second):
    """How many images one breaks and the other does not; the first breaks some, not all."""
    assert 2 < first.sum() < len(first)
    return int((first != second).sum())


@pytest.mark.parametrize("name", WHITE_BOX)
@pytest.mark.parametrize(("scale", "constant"), [(1.0, 0.0), (100.0, 0.0), (1e4, 0.0), (1.0, 1e2)])
def test_float32_breaks_what_float64_breaks(name, scale, constant, problem):
    network, images, labels = problem
    exact = broken(name, Scaled(network.double(), scale, constant), images.double(), labels)
    rounded = broken(name, Scaled(network.float(), scale, constant), images, labels)
    assert differ(exact, rounded) <= 1  # one image may be at the very edge


@pytest.mark.parametrize("name", MARGIN)
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1e4])
def test_what_follows_margins_does_not_depend_on_the_scale(name, scale, problem):
    network, images, labels = problem
    usual, scaled = (broken(name, Scaled(network.float(), s), images, labels) for s in (1.0, scale))
    assert differ(usual, scaled) <= 1


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "pgd-l2", "mifgsm", "apgd-ce"])
def test_no_confidence_hides_a_direction(name):
    # Between two wrong classes the nearer one decides, however far ahead the label is.
    for scale in (1.0, 1e2, 1e4):
        rows = [[0.0] * 4, [scale, 0.0, 0.0, 0.0], [0.0, -scale, 0.0, 0.0]]
        model = Linear(rows, [scale * 0.545, 0.0, 0.0])
        result = attacked(name, model, image(*[0.5] * 4), LABEL, 0.05)
        assert model(result.images).argmax(1).item() == 1


@pytest.mark.parametrize("name", WHITE_BOX)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_breaks_what_float64_breaks(name, dtype, problem):
    network, images, labels = problem
    halved = deepcopy(network).to(dtype)
    exact = Scaled(deepcopy(halved).double(), 1.0)  # the same weights
    labels = logits(exact, images.double()).argmax(1)
    ours = broken(name, Scaled(halved, 1.0), images, labels)
    theirs = broken(name, exact, images.double(), labels)
    # A model in half precision has answers of its own near a boundary: bfloat16 has three digits.
    assert differ(theirs, ours) <= COUNT // 8
