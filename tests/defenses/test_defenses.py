"""Every false defense answers nearly as the network that it is around."""

import pytest
import torch
from torch import nn

from winnrobust.defenses import DEFENSES, KINDS


@pytest.fixture(scope="module")
def network():
    """Which part of an image is the brightest, with an activation."""
    net = nn.Sequential(nn.AvgPool2d(14), nn.Flatten(), nn.ReLU(), nn.Linear(4, 4, bias=False))
    nn.init.eye_(net[3].weight)
    net[3].weight.data *= 20
    return net.eval()


@pytest.fixture(scope="module")
def images():
    """Of four classes, ten each, in whole 255ths."""
    bright = torch.eye(4).view(4, 1, 2, 2).repeat_interleave(14, 2).repeat_interleave(14, 3)
    return (200 * bright).round().repeat(10, 1, 1, 1) / 255


@pytest.mark.parametrize("name", DEFENSES)
def test_it_sees_what_the_network_sees(name, network, images):
    torch.manual_seed(0)
    before = [weight.clone() for weight in network.parameters()]
    defended = DEFENSES[name].build(network).eval()
    answers = defended(images.clone().requires_grad_(True))
    assert answers.shape == (40, 4)
    agree = (answers.argmax(1) == network(images).argmax(1)).float().mean()
    assert agree > 0.6
    assert all(map(torch.equal, before, network.parameters()))


def test_there_are_many_of_every_kind():
    kinds = [defense.kind for defense in DEFENSES.values()]
    assert len(DEFENSES) >= 40
    assert all(kinds.count(kind) >= 10 for kind in KINDS)
    assert all(each.summary and each.broken_by and each.source for each in DEFENSES.values())
