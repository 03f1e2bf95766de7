"""The inner maximization of adversarial training: a batch's worst images inside the ball."""

from collections.abc import Callable

import torch
from torch import Tensor

from winnrobust.training.config import AdversarialSettings
from winnrobust.training.methods.method import Batch

INNER_SETTINGS = frozenset({"at_epsilon", "at_steps", "at_step_size"})
"""The settings that are read here, by their options' names."""

RELATIVE_STEP = 2.5
"""A step is this many times epsilon / steps, if none is given: the path can cross the ball and
turn."""


def worst_images(
    loss: Callable[[Tensor], Tensor], batch: Batch, settings: AdversarialSettings
) -> Tensor:
    """Raise a loss by projected sign-gradient steps from a random point of the L-infinity ball.

    x^(t+1) = clip(x^t + step * sign(grad_x loss(x^t))) into the ball and [0, 1], for all steps:
    unlike an attack, it does not stop at an image that is wrong already, because the outer
    minimization needs the largest loss, not merely an error (Madry et al. 2018, 2.1).

    Args:
        loss: images (N, C, H, W) in [0, 1] -> (N,), an image's loss depending on it alone.
        batch: where to start, and from what random numbers.

    Returns:
        (N, C, H, W) in [0, 1], at most `epsilon` away from the images, without a graph; the
        parameters' gradients are left alone.
    """
    epsilon, steps = settings.epsilon, settings.steps
    step_size = settings.step_size or RELATIVE_STEP * epsilon / steps
    low, high = (batch.images - epsilon).clamp_(min=0), (batch.images + epsilon).clamp_(max=1)
    points = torch.clamp(batch.images + epsilon * batch.noise(), low, high)
    for _ in range(steps):
        points.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(points).sum(), points)
        points = torch.clamp(points.detach() + step_size * gradient.sign(), low, high)
    return points
