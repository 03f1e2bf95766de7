"""The average of the weights against sums worked out by hand."""

import pytest
import torch

from winnrobust.models import build
from winnrobust.runtime.randomness import stream
from winnrobust.training.averaging import WeightAverage


@pytest.fixture
def network():
    return build("vanilla", 1, 28, 10, stream(0, "weights"))


def step(network, average: WeightAverage, value: float) -> float:
    """Set a weight as a training step might; return what the average makes of it."""
    with torch.no_grad():
        network.critic.bias.fill_(value)
    average.update_parameters(network)
    return average.module.critic.bias.item()


def test_warm_up_then_decay_by_hand(network):
    average = WeightAverage(network, decay=0.25)
    assert step(network, average, 8.0) == 8.0  # the first step is all there is
    assert step(network, average, 19.0) == pytest.approx(8 * 2 / 11 + 19 * 9 / 11)
    after_two = average.module.critic.bias.item()
    # (1 + 2) / (10 + 2) = 0.25, and from here on the decay.
    assert step(network, average, 0.0) == pytest.approx(after_two / 4)
    assert step(network, average, 0.0) == pytest.approx(after_two / 16)


def test_no_decay_is_the_network_itself(network):
    average = WeightAverage(network, decay=0.0)
    for value in (3.0, 0.1, -7.3):
        assert step(network, average, value) == network.critic.bias.item()


def test_the_network_is_left_alone(network):
    average = WeightAverage(network, decay=0.9)
    for value in (1.0, 2.0):
        step(network, average, value)
        assert network.critic.bias.item() == value
