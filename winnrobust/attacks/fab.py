"""The fast adaptive boundary attack: the nearest image that the model gets wrong.

Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML
2020, algorithm 1, targeted as in AutoAttack (FAB-T): it steps to where the difference of two
logits, taken for linear, is 0, staying in [0, 1].
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from winnrobust.attacks.apgd import MOST_CLASSES, wrong_classes
from winnrobust.attacks.ascent import Attempt, Try
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import LINF, per_image
from winnrobust.attacks.nearest import Nearest
from winnrobust.attacks.passes import NO_GRADIENTS, GradientStatistics, logits
from winnrobust.attacks.target import Target

STEPS = 100
PULL = 0.1
"""The most that a step is drawn towards the original; the paper's alpha_max."""
OVERSHOOT = 1.05
"""A step goes this many times as far as the boundary seems to be; the paper's eta."""
BACK = 0.9
"""From a misclassified point, the share of the way from the original that is kept; beta."""


def fab(target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET) -> AttackResult:
    """Walk along the boundary to each wrong class in turn, and keep the nearest example.

    Args:
        target: the model, the images and their true labels; with aims, the aim is the one class.
        epsilons: L-infinity bounds in the units of the images; one run serves them all.
        budget: steps for each of 9 classes (100), and gradients averaged (1).

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    nearest, gradients = Nearest(target, LINF), NO_GRADIENTS
    for classes in wrong_classes(target) if len(target.standing) else ():
        walked = _walk(target, nearest, target.standing, classes, budget, enough=0.0)
        gradients = gradients.plus(walked)
    return nearest.result(epsilons, gradients)


def walks_within(target: Target, epsilon: float, budget: Budget) -> list[Try]:
    """Return walks to each wrong class that end as soon as they are within epsilon."""

    def walk(classes: Tensor, rows: Tensor) -> Attempt:
        nearest = Nearest(target, LINF)
        gradients = _walk(target, nearest, rows, classes, budget, enough=epsilon)
        (found,) = nearest.result([epsilon], gradients).adversarials
        return Attempt(found[rows], rows[nearest.distances[rows] > epsilon], gradients)

    return [partial(walk, classes) for classes in wrong_classes(target)]


def _walk(
    target: Target, nearest: Nearest, rows: Tensor, classes: Tensor, budget: Budget, enough: float
) -> GradientStatistics:
    """Take steps to the boundary between label and class, until all are near `enough`.

    Args:
        nearest: gets to see every point on the way.
        rows: (n,) int64, the numbers of the images that walk.
        classes: (N,) int64, where to, for all images of the target.
    """

    def difference(logits: Tensor, rows: Tensor) -> Tensor:
        pair = torch.stack([classes[rows], target.labels[rows]], 1)
        return logits.gather(1, pair).diff(dim=1).neg().squeeze(1)

    points, gradients = target.images[rows], NO_GRADIENTS
    for _ in range(budget.steps or STEPS):
        if target.out_of_time():
            break
        seen = target.gradient(difference, points, rows, budget.eot)
        gradients = gradients.plus(seen.statistics)
        originals = target.images[rows]
        points = _stepped(originals, points, seen.gradient, seen.losses)
        reached = target.reached(logits(target.model, points, budget.eot), rows)
        nearest.see(rows, points, reached)
        back = originals + BACK * (points - originals)
        points = torch.where(per_image(reached), back, points)
        walks = nearest.distances[rows] > enough
        if not walks.all():
            rows, points = rows[walks], points[walks]
            if not len(rows):
                break
    return gradients


def _stepped(originals: Tensor, points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Step to the boundary, drawn towards the place on it that is nearest to the originals."""
    ahead = offset_to_boundary(points, gradient, value)
    value_there = value + (gradient * (originals - points)).flatten(1).sum(1)
    nearest = offset_to_boundary(originals, gradient, value_there)
    far, near = (LINF.size(offset).clamp_min(1e-8) for offset in (ahead, nearest))
    pull = per_image((far / (far + near)).clamp_max(PULL))
    ahead, nearest = points + OVERSHOOT * ahead, originals + OVERSHOOT * nearest
    return ((1 - pull) * ahead + pull * nearest).clamp_(0, 1)


def offset_to_boundary(points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return the smallest offset in L-infinity that brings a linear function to 0 within [0, 1].

    All pixels move by the same amount, each until it is at 0 or 1. Where [0, 1] ends before the
    function is 0, all pixels end there.

    Args:
        points: (n, C, H, W) in [0, 1].
        gradient: (n, C, H, W), the function's slope.
        value: (n,), what it is at the points.
    """
    sign = -gradient.sign() * per_image(value.sign())
    room = torch.where(sign > 0, 1 - points, points) * sign.abs()
    # With all rooms in order: what the function has changed by when the k-th pixel stops, and the
    # slopes of the pixels that move until then.
    ordered, order = room.flatten(1).sort(1)
    slopes = gradient.abs().flatten(1).gather(1, order)
    moving = slopes.flip(1).cumsum(1).flip(1)
    changed = (slopes * ordered).cumsum(1) - slopes * ordered + moving * ordered
    wanted = value.abs().unsqueeze(1)
    last = (changed < wanted).sum(1, keepdim=True).clamp_max(ordered.shape[1] - 1)
    beyond = (changed.gather(1, last) - wanted).clamp_min(0)
    slope = moving.gather(1, last).clamp_min(torch.finfo(slopes.dtype).tiny)
    amount = ordered.gather(1, last) - beyond / slope
    return sign * torch.minimum(room, per_image(amount))


FAB = Attack(
    name="fab",
    norm="Linf",
    access="white-box",
    cost=f"{MOST_CLASSES} x {STEPS} gradients and queries",
    summary=(
        f"White-box, minimum norm: {STEPS} steps to the boundary with each of the {MOST_CLASSES}"
        " likeliest wrong classes in turn, each drawn back towards the image; the nearest"
        " misclassified point is kept."
    ),
    source="Croce, Hein 2020, arXiv:1907.02044",
    function=fab,
    minimum_norm=True,
    can_aim=True,
)
