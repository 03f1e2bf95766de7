"""What the iterative attacks share: attempts in turn, each a climb that images leave early.

An image leaves as soon as the model answers what the attack wants, and is never given up before
the last step of the last attempt. So no image is counted right that the whole path would break.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from winnrobust.attacks.attack import AttackResult
from winnrobust.attacks.passes import NO_GRADIENTS, GradientStatistics, LossGradient
from winnrobust.attacks.target import Objective, Target


class Attempt(NamedTuple):
    """What became of the n images that were tried.

    Attributes:
        images: (n, C, H, W), where each broke the model or stopped.
        standing: (m,) int64, the numbers of those that are not known to have broken it.
        gradients: what it followed.
    """

    images: Tensor
    standing: Tensor
    gradients: GradientStatistics


Try = Callable[[Tensor], Attempt]
"""From the numbers (n,) of the images that still stand to what became of them."""

State = dict[str, Tensor]
"""What a climb remembers of each image, by name, (n, ...); empty before the first step."""

Move = Callable[[int, Tensor, Tensor, LossGradient, State], Tensor]
"""From (step, images, points, gradient at the points, state) to the next points.

Everything is of the images that still stand. The move may change `state`.
"""


def in_turn(
    target: Target,
    epsilons: Sequence[float],
    draws: int,
    attempts: Callable[[int, float], Sequence[Try]],
) -> AttackResult:
    """Attack whatever the model gets right, at every epsilon, with one attempt after another.

    Args:
        target: the model and the images.
        epsilons: bounds; at 0 there is nothing to attempt.
        draws: answers that are averaged when the model is asked whether an image still stands.
        attempts: (which epsilon, epsilon) -> what to try; each is tried on what still stands.
    """
    adversarials, gradients = [], NO_GRADIENTS
    for which, epsilon in enumerate(epsilons):
        found, standing = target.images.clone(), target.standing
        for number, attempt in enumerate(attempts(which, epsilon) if epsilon else ()):
            if number:
                standing = target.still_standing(found[standing], standing, draws)
            if not len(standing) or target.out_of_time():
                break
            became = attempt(standing)
            found[standing] = became.images
            standing = became.standing
            gradients = gradients.plus(became.gradients)
        adversarials.append(found)
    return AttackResult(adversarials, gradients)


def climb(
    target: Target,
    objective: Objective,
    rows: Tensor,
    points: Tensor,
    steps: int,
    move: Move,
    draws: int = 1,
) -> Attempt:
    """Let `move` take steps that raise `objective`, with whatever still stands.

    Args:
        rows: (n,) int64, the numbers of the images.
        points: (n, C, H, W), where to start.
        steps: how many steps; the points after the last one are not judged.
        draws: gradients averaged for every step.
    """
    images, ended, state = target.images[rows], points.clone(), State()
    place = torch.arange(len(rows), device=rows.device)
    gradients = NO_GRADIENTS
    for step in range(steps):
        if target.out_of_time():
            break
        seen = target.gradient(objective, points, rows[place], draws)
        gradients = gradients.plus(seen.statistics)
        stands = ~target.reached(seen.logits, rows[place])
        if not stands.all():
            ended[place[~stands]] = points[~stands]
            place, images, points = place[stands], images[stands], points[stands]
            state = {name: values[stands] for name, values in state.items()}
            if not len(place):
                break
            seen = seen.of(stands)
        points = move(step, images, points, seen, state)
    ended[place] = points
    return Attempt(ended, rows[place], gradients)
