"""The inner maximisation of adversarial training: a batch's worst images inside the ball."""

from collections.abc import Callable

import torch
from torch import Tensor

from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.method import Batch

RELATIVE_STEP = 2.5
"""A step is this many times epsilon / steps, unless told: the path can cross the ball and turn."""


def worst_images(loss: Callable[[Tensor], Tensor], batch: Batch, config: TrainConfig) -> Tensor:
    """Climb a loss by projected sign-gradient steps from a random point of the L-infinity ball.

    x^(t+1) = clip(x^t + step * sign(grad_x loss(x^t))) into the ball and [0, 1], for all
    `at_steps` steps: unlike an attack, it does not stop at an image that is wrong already, because
    the outer minimisation needs the largest loss, not merely an error (Madry et al. 2018, 2.1).

    Args:
        loss: images (N, C, H, W) in [0, 1] -> (N,), an image's loss depending on it alone.
        batch: where to start, and from what random numbers.
        config: `at_epsilon`, `at_steps` and `at_step_size`.

    Returns:
        (N, C, H, W) in [0, 1], at most `at_epsilon` away from the images, without a graph; the
        parameters' gradients are left alone.
    """
    epsilon = config.at_epsilon
    step_size = config.at_step_size or RELATIVE_STEP * epsilon / config.at_steps
    low, high = (batch.images - epsilon).clamp_(min=0), (batch.images + epsilon).clamp_(max=1)
    points = torch.clamp(batch.images + epsilon * batch.noise(), low, high)
    for _ in range(config.at_steps):
        points.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(points).sum(), points)
        points = torch.clamp(points.detach() + step_size * gradient.sign(), low, high)
    return points
