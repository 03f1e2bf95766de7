"""Projected gradient descent on the pixels.

Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial
Attacks, ICLR 2018, section 2.1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from winnrobust.attacks.attack import (
    DEFAULT_BUDGET,
    NO_GRADIENTS,
    Attack,
    AttackResult,
    Budget,
    GradientStatistics,
    gradient_statistics,
)
from winnrobust.attacks.fgsm import fgsm
from winnrobust.attacks.target import Target, logits, loss_gradient

STEPS = 20
RELATIVE_STEP = 2.5
"""A step is this many times epsilon / steps: the path can cross the ball and turn."""


class _Ascent(NamedTuple):
    """Where an ascent ended.

    Attributes:
        images: (N, C, H, W), where it broke the model or stopped.
        standing: (n,) int64, those of the N that broke before the last step, which is not judged,
            left out.
        gradients: what it followed.
    """

    images: Tensor
    standing: Tensor
    gradients: GradientStatistics


def pgd(target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET) -> AttackResult:
    """Climb the loss of the true label from a random point of the ball, projecting every step.

    An image that the model gets wrong as it is stays as it is. The others are first tried with a
    single step (FGSM), which breaks many at the cost of one pass, then climb; an image leaves the
    batch as soon as the model gets it wrong. An image that still stands is never given up before
    the last step. So no image is counted right that the whole path would break.

    Args:
        target: the model, the images and their true labels.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: gradient steps (20), each of size 2.5 * epsilon / steps, and random starts (1);
            later ones attack what still stands.

    Raises:
        InputError: the model returns no logits, or its loss has no usable gradient.
    """
    steps, restarts = budget.steps or STEPS, budget.restarts or 1
    single_steps, gradients, _ = fgsm(target, epsilons)
    right = (target.clean_logits.argmax(1) == target.labels).nonzero().flatten()
    starts = [target.uniform("pgd", restart) for restart in range(restarts)]
    adversarials = []
    for epsilon, single_step in zip(epsilons, single_steps, strict=True):
        found = target.images.clone()
        found[right] = single_step[right]
        standing = _still_right(target, found, right)
        for start in starts:
            if not len(standing):
                break
            ascent = _climb(
                target.model,
                target.images[standing],
                target.labels[standing],
                (2 * start[standing] - 1) * epsilon,
                epsilon,
                steps,
            )
            found[standing] = ascent.images
            gradients = gradients.plus(ascent.gradients)
            standing = standing[ascent.standing]
            if start is not starts[-1]:
                standing = _still_right(target, found, standing)
        adversarials.append(found)
    return AttackResult(adversarials, gradients)


def _still_right(target: Target, adversarials: Tensor, among: Tensor) -> Tensor:
    """Return those of the images numbered `among` that the model still gets right."""
    if not len(among):
        return among
    predicted = logits(target.model, adversarials[among]).argmax(1)
    return among[predicted == target.labels[among]]


def _climb(
    model: nn.Module, images: Tensor, labels: Tensor, offset: Tensor, epsilon: float, steps: int
) -> _Ascent:
    """Make `steps` steps from images + offset with whatever still stands."""
    step_size = RELATIVE_STEP * epsilon / steps
    low, high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)
    points = (images + offset).clamp_(0, 1)
    ended = points.clone()
    standing = torch.arange(len(images), device=images.device)
    gradients = NO_GRADIENTS
    for _ in range(steps):
        judged, gradient = loss_gradient(model, points, labels)
        gradients = gradients.plus(gradient_statistics(gradient))
        stands = judged.argmax(1) == labels
        if not stands.all():
            ended[standing[~stands]] = points[~stands]
            standing, points, gradient = standing[stands], points[stands], gradient[stands]
            labels, low, high = labels[stands], low[stands], high[stands]
            if not len(standing):
                break
        points = torch.clamp(points + step_size * gradient.sign(), low, high)
    ended[standing] = points
    return _Ascent(ended, standing, gradients)


PGD = Attack(
    name="pgd",
    norm="Linf",
    access="white-box",
    cost=f"{STEPS} gradients",
    summary=(
        f"White-box, untargeted: {STEPS} steps along the sign of the gradient of the true label's"
        f" cross-entropy, each {RELATIVE_STEP} * epsilon / {STEPS}, from a random start, projected"
        " to the ball and to [0, 1]; for images that neither need an attack nor fall to FGSM. An"
        " image stops at its first misclassification."
    ),
    source="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083",
    function=pgd,
)
