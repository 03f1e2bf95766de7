"""PGD adversarial training and TRADES, on a model whose worst images are known, and on the CNN."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnrobust.models import IntrospectiveNetwork, build
from winnrobust.runtime.randomness import stream
from winnrobust.training.config import AdversarialSettings, TrainConfig
from winnrobust.training.methods import METHODS, Batch
from winnrobust.training.methods.inner_maximization import worst_images
from winnrobust.training.methods.trades import kl_divergence

CPU = torch.device("cpu")


def batch_of(images: torch.Tensor, labels: list[int]) -> Batch:
    """The whole batch in this process; every call draws the same numbers."""
    part = slice(None)
    return Batch(images, torch.tensor(labels), len(labels), part, stream(0, "step"))


def pixels(*pairs: tuple[float, float]) -> torch.Tensor:
    """Images of one line of two pixels."""
    return torch.tensor(pairs).reshape(-1, 1, 1, 2)


def make(name: str, **settings):
    return METHODS[name](TrainConfig(method=name, **settings), 1, 28, 10, CPU)


@pytest.fixture
def linear() -> IntrospectiveNetwork:
    """Two pixels, two classes: the logits are 2 x - 1."""
    network = IntrospectiveNetwork(nn.Flatten(), 2, 2)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.eye(2))
        network.classifier.bias.zero_()
    return network


@pytest.fixture
def network() -> IntrospectiveNetwork:
    return build("vanilla", 1, 28, 10, stream(0, "weights"))


@pytest.fixture
def batch(digits) -> Batch:
    return batch_of(digits.train.images[:6].float() / 255, digits.train.labels[:6].tolist())


def cross_entropies(network, labels):
    return lambda images: F.cross_entropy(network(images).logits, labels, reduction="none")


def test_worst_images_of_a_linear_model_are_the_corners_of_the_ball(linear):
    """Down with the label's pixel, up with the other, from wherever the ball was entered, within
    [0, 1]; also for the second image, which is wrong to begin with."""
    batch = batch_of(pixels((0.5, 0.95), (0.9, 0.3), (0.05, 0.5)), [0, 1, 0])
    found = worst_images(
        cross_entropies(linear, batch.labels), batch, AdversarialSettings(epsilon=0.1)
    )
    torch.testing.assert_close(found, pixels((0.4, 1.0), (1.0, 0.2), (0.0, 0.6)))


def test_a_step_has_the_size_asked_for(linear):
    batch = batch_of(pixels((0.5, 0.5)), [0])
    settings = AdversarialSettings(epsilon=0.2, steps=3, step_size=0.01)
    found = worst_images(cross_entropies(linear, batch.labels), batch, settings)
    start = batch.images + 0.2 * batch._replace(generator=stream(0, "step")).noise()
    expected = (start + 0.03 * pixels((-1.0, 1.0))).clamp(0.3, 0.7)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.125, 1.0])
def test_worst_images_stay_in_the_ball_and_do_not_lower_the_loss(network, batch, epsilon):
    loss = cross_entropies(network, batch.labels)
    found = worst_images(loss, batch, AdversarialSettings(epsilon=epsilon))
    assert (found - batch.images).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert (loss(found) >= loss(batch.images)).all()


def test_pgd_at_is_cross_entropy_at_the_worst_images(linear):
    """Logits 2 x - 1 at (0.4, 1.0) and (0.7, 0.8), which the labels 0 and 1 leave."""
    losses = make("pgd-at", at_epsilon=0.1).loss(
        linear, batch_of(pixels((0.5, 0.95), (0.6, 0.9)), [0, 1])
    )
    expected = (math.log(1 + math.exp(1.2)) + math.log(1 + math.exp(-0.2))) / 2
    assert losses.total.item() == pytest.approx(expected, abs=1e-6)
    assert losses.parts["cross_entropy"] is losses.total
    assert losses.parts["adversarial_train_error"] == 0.5


def test_pgd_at_without_a_ball_is_the_baseline(network, batch):
    found = {}
    for method in (make("baseline"), make("pgd-at", at_epsilon=0.0, at_step_size=0.1)):
        network.zero_grad()
        total = method.loss(network, batch).total
        total.backward()
        found[type(method)] = [total, network.classifier.weight.grad.clone()]
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one, other)


def test_divergence_by_hand():
    """p = (1/4, 3/4), q = (1/2, 1/2): p log(p / q) = 1/4 log 1/2 + 3/4 log 3/2."""
    p, q = torch.tensor([[0.25, 0.75]]).log() + 5, torch.zeros(1, 2)
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert kl_divergence(p, q).tolist() == pytest.approx([expected], abs=1e-6)
    assert kl_divergence(q, q).tolist() == [0]


def test_trades_is_cross_entropy_plus_beta_times_divergence(linear):
    """Grey in the middle: p = (1/2, 1/2), the farthest q is that of black and white, which have
    the logits -1 and 1, on whichever side. With s = sigmoid(2), KL = -1/2 log(4 s (1 - s))."""
    losses = make("trades", at_epsilon=0.5, trades_beta=6.0).loss(
        linear, batch_of(pixels((0.5, 0.5)), [0])
    )
    sigmoid = 1 / (1 + math.exp(-2))
    divergence = -0.5 * math.log(4 * sigmoid * (1 - sigmoid))
    assert losses.parts["kl_divergence"].item() == pytest.approx(divergence, abs=1e-6)
    assert losses.total.item() == pytest.approx(math.log(2) + 6 * divergence, abs=1e-5)
    assert losses.parts["cross_entropy"].item() == pytest.approx(math.log(2), abs=1e-6)


def test_trades_logs_errors_before_and_after_the_ascent(linear):
    """(1, 0) climbs to (0.4, 0.6) and (0, 1) to (0.6, 0.4), and both answers change. The ascent
    knows no label: the third image, wrong to begin with, ends up right."""
    losses = make("trades", at_epsilon=0.6).loss(
        linear, batch_of(pixels((1.0, 0.0), (0.0, 1.0), (0.0, 1.0)), [0, 1, 0])
    )
    assert losses.parts["train_error"].item() == pytest.approx(1 / 3)
    assert losses.parts["adversarial_train_error"].item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["pgd-at", "trades"])
def test_the_weights_gradient_does_not_flow_through_the_attack(network, batch, name):
    """It is that of the loss at adversarial images held fixed; TRADES' has both sides of KL."""
    method = make(name, at_steps=2, trades_beta=3.0)
    method.loss(network, batch).total.backward()
    assert network.critic.weight.grad is None
    found = [parameter.grad.clone() for parameter in without_critic(network)]

    network.zero_grad()
    clean = network(batch.images).logits

    def divergences(images):
        return kl_divergence(clean.detach(), network(images).logits)

    climbed = divergences if name == "trades" else cross_entropies(network, batch.labels)
    again = batch._replace(generator=stream(0, "step"))
    fixed = worst_images(climbed, again, method.config.adversarial)
    assert not fixed.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    adversarial = network(fixed).logits
    if name == "trades":
        loss = F.cross_entropy(clean, batch.labels)
        loss = loss + 3 * kl_divergence(clean, adversarial).mean()
    else:
        loss = F.cross_entropy(adversarial, batch.labels)
    loss.backward()
    for mine, parameter in zip(found, without_critic(network), strict=True):
        torch.testing.assert_close(mine, parameter.grad)


def without_critic(network: IntrospectiveNetwork) -> list[nn.Parameter]:
    return [*network.features.parameters(), *network.classifier.parameters()]
