"""The gradient penalty against values computed by hand and against finite differences."""

import pytest
import torch
from torch import nn

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.losses import gradient_penalty


def linear_network(slope: tuple[float, ...]) -> IntrospectiveNetwork:
    """f(x) = slope . x on 1x1x2 images: logits are the pixels, the critic weighs them."""
    network = IntrospectiveNetwork(nn.Flatten(), len(slope), len(slope))
    with torch.no_grad():
        network.classifier.weight.copy_(torch.eye(len(slope)))
        network.classifier.bias.zero_()
        network.critic.weight.copy_(torch.tensor([slope]))
        network.critic.bias.fill_(7.0)
    return network


@pytest.mark.parametrize(
    ("slope", "penalty"), [((3.0, 4.0), 16.0), ((0.6, 0.8), 0.0), ((0.0, 0.25), 0.5625)]
)
def test_penalty_of_a_linear_critic_is_two_sided(slope, penalty):
    """|grad f| is the slope's length everywhere: 5, 1 and 0.25."""
    real, fake = torch.rand(4, 1, 1, 2), torch.rand(4, 1, 1, 2)
    result = gradient_penalty(linear_network(slope), real, fake, torch.rand(4))
    length = sum(s * s for s in slope) ** 0.5
    assert result.penalty.tolist() == pytest.approx([penalty] * 4, abs=1e-5)
    assert result.gradient_norm.tolist() == pytest.approx([length] * 4, abs=1e-6)


class Square(nn.Module):
    """Pixels -> their squares, so that the gradient tells where it was taken."""

    def forward(self, x):
        return x.flatten(1) ** 2


def test_penalty_is_taken_between_partners_with_one_number_per_pair():
    """f = x1^2 + x2^2 has |grad f| = 2 |z|, with z = mix * real + (1 - mix) * fake."""
    network = linear_network((1.0, 1.0))
    network.features = Square()
    real = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).reshape(2, 1, 1, 2)
    fake = torch.zeros(2, 1, 1, 2)
    result = gradient_penalty(network, real, fake, torch.tensor([1.0, 0.25]))
    assert result.gradient_norm.tolist() == pytest.approx([2, 0.5])
    assert result.penalty.tolist() == pytest.approx([(2 - 1) ** 2, (0.5 - 1) ** 2])


def test_parameter_gradient_of_the_penalty_matches_finite_differences():
    """Double backward through convolution, layer norm and swish, in float64."""
    torch.manual_seed(0)
    features = nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        nn.GroupNorm(1, 3, eps=1e-12),
        nn.SiLU(),
        nn.Flatten(),
    )
    network = IntrospectiveNetwork(features, 3 * 3 * 3, 4).double()
    real, fake = (torch.rand(3, 1, 6, 6, dtype=torch.float64) * 2 - 1 for _ in range(2))
    mix = torch.rand(3, dtype=torch.float64)

    def penalty() -> float:
        return gradient_penalty(network, real, fake, mix).penalty.mean().item()

    gradient_penalty(network, real, fake, mix).penalty.mean().backward()
    step, compared = 1e-6, 0
    for parameter in network.parameters():
        flat = parameter.data.view(-1)
        gradient = torch.zeros_like(flat) if parameter.grad is None else parameter.grad.view(-1)
        for index in range(0, len(flat), max(1, len(flat) // 10)):
            original = flat[index].item()
            flat[index] = original + step
            above = penalty()
            flat[index] = original - step
            below = penalty()
            flat[index] = original
            numeric = (above - below) / (2 * step)
            assert gradient[index].item() == pytest.approx(numeric, rel=1e-5, abs=1e-8)
            compared += numeric != 0
    assert compared > 30


def test_a_flat_critic_has_a_finite_penalty_gradient():
    network = linear_network((0.0, 0.0))
    images = torch.rand(2, 1, 1, 2)
    gradient_penalty(network, images, images, torch.rand(2)).penalty.mean().backward()
    assert network.critic.weight.grad.isfinite().all()
