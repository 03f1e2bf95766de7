"""The critic's loss and its gradient penalty, on images in [-1, 1] (paper Eq. 5, authors' code),
and the class loss, with a penalty on the margins' gradient where that is asked for."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.attacks.gradients import log_odds
from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.method import Batch, Losses


class GradientPenalty(NamedTuple):
    """The penalty (N,), and the gradient norm (N,) it was computed from."""

    penalty: Tensor
    gradient_norm: Tensor


def gradient_penalty(
    network: IntrospectiveNetwork, real: Tensor, fake: Tensor, mix: Tensor
) -> GradientPenalty:
    """(||grad_z f(z)||_2 - 1)^2 at z = mix * real + (1 - mix) * fake, two-sided.

    It is given per pair of a real image and its pseudo-negative; the loss takes the mean.

    Args:
        network: its critic is f.
        real, fake: (N, C, H, W) in [-1, 1], partners at the same index.
        mix: (N,) in [0, 1], one number per pair.

    Returns:
        Two (N,) tensors; the penalty can be differentiated with respect to the parameters.
    """
    mix = mix.reshape(-1, 1, 1, 1)
    between = (mix * real + (1 - mix) * fake).requires_grad_()
    critic = network.forward_signed(between).critic
    (gradient,) = torch.autograd.grad(critic.sum(), between, create_graph=True)
    norm = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
    return GradientPenalty((norm - 1) ** 2, norm.detach())


def critic_losses(
    network: IntrospectiveNetwork, batch: Batch, fake: Tensor, gp_weight: float
) -> Losses:
    """E[f(u)] - E[f(x)] + gp_weight * gradient penalty, for real images x and a fake u for each.

    Args:
        fake: (N, C, H, W) in [-1, 1].
    """
    real = batch.signed
    critic_real, critic_fake = network.forward_signed(torch.cat([real, fake])).critic.chunk(2)
    wasserstein = batch.mean(critic_fake) - batch.mean(critic_real)
    penalties = gradient_penalty(network, real, fake, mix=batch.uniform())
    penalty = batch.mean(penalties.penalty)
    return Losses(
        wasserstein + gp_weight * penalty,
        {
            "wasserstein": -wasserstein,
            "gradient_penalty": penalty,
            "gradient_norm": batch.mean(penalties.gradient_norm),
        },
    )


def class_loss(batch: Batch, signed: Tensor, logits: Tensor, radius: float) -> Tensor:
    """The cross-entropy of margins that are shrunk by what they can lose near the image.

    With the margin m(x) = logit_y(x) - logsumexp of the other logits, cross-entropy is
    softplus(-m). To first order, no change of a pixel by at most `radius` lowers m by more than
    radius * ||grad m||_1, so this is the batch's share of the mean of

        softplus(-(m - radius * ||grad_x m||_1)).

    No adversarial example is made. Radius 0 is cross-entropy. A gradient penalty on the margin is
    that of Hein and Andriushchenko (2017), in the norm that is dual to L-infinity.

    Args:
        signed: the images (N, C, H, W) in [-1, 1]; for a radius above 0 with `requires_grad`.
        logits: (N, K), computed from them.
        radius: in [0, 1] pixel units.
    """
    if radius == 0:
        return batch.cross_entropy(logits)
    odds = log_odds(logits, batch.labels)
    (gradient,) = torch.autograd.grad(odds.sum(), signed, create_graph=True)
    slope = 2 * gradient.abs().flatten(1).sum(1)  # of a pixel in [0, 1]
    return batch.mean(F.softplus(odds + radius * slope))
