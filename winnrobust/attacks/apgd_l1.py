"""Auto-PGD in L1: sparse steps of a sparsity that adapts, in balls that shrink to epsilon.

Croce, Hein: Mind the box: l1-APGD for sparse adversarial attacks on image classifiers, ICML 2021,
algorithm 1 and section 4.3; as in the authors' code for AutoAttack in L1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from winnrobust.attacks import draws
from winnrobust.attacks.gradients import LossGradient
from winnrobust.attacks.norms import l0_size, l1_project, per_image
from winnrobust.attacks.progress import BatchObjective, Progress

LARGER = (3, 2)
"""In multiples of epsilon: the balls in which the objective is raised before that of epsilon."""
SHARE = 0.3
"""The share of the steps that each of them has."""
CHECK_EVERY = 0.04
"""Sparsity and step size are checked after this share of a ball's steps."""
MUCH_SPARSER = 0.95
"""A best point that differs in less than this share of the values in which the one at the last
check did is gone back to, with the largest step size."""
SPARSER = 1.5
"""A step changes this many times fewer values than the best point differs in. Else the step size
becomes smaller by the same factor."""
SMALLEST_STEP = 0.1
"""In multiples of the ball's radius; the largest is the radius."""


def ascend_l1(
    progress: Progress, objective: BatchObjective, epsilon: float, steps: int, *names: str | int
) -> None:
    """Raise an objective from a random point in balls of 3, 2 and 1 times epsilon.

    Each begins at the best point of the one before. What is wrong in a larger ball counts for
    nothing, and to know which point was the best costs a gradient more than it has steps.

    Args:
        progress: the images; only those that are still active take part.
        objective: what to raise.
        epsilon, steps: as for `apgd.apgd_ce`.
        names: of the random start.
    """
    rows = progress.rows()
    if progress.over(rows):
        return
    images = progress.images[rows]
    shape = tuple(images.shape[1:])
    points = images + draws.normal(progress.numbers[rows], shape, progress.run.seed, *names)
    few = math.ceil(SHARE * steps)
    for radius in LARGER:
        points = l1_project(points, images, radius * epsilon)
        *_, last, best, highest = ascend_in_ball(
            progress, progress.explore, objective, rows, images, points, radius * epsilon, few
        )
        if progress.over(rows):
            return
        better = progress.explore(rows, last, objective).losses > highest
        points = torch.where(per_image(better), last, best)
    points = l1_project(points, images, epsilon)
    rows, points, *_ = ascend_in_ball(
        progress, progress.gradient, objective, rows, images, points, epsilon, steps - 2 * few
    )
    progress.leave(rows, points)


def ascend_in_ball(
    progress: Progress,
    look: Callable[[Tensor, Tensor, BatchObjective], LossGradient],
    objective: BatchObjective,
    rows: Tensor,
    images: Tensor,
    points: Tensor,
    radius: float,
    steps: int,
) -> tuple[Tensor, ...]:
    """Raise an objective in one ball: the paper's algorithm 1.

    Args:
        look: `progress.gradient`, or `progress.explore` where the points are no candidates.
        rows: (n,) int64, the numbers of the images in the batch.
        images, points: (n, C, H, W), the ball's centers and where to begin in it.
        radius, steps: the ball's.

    Returns:
        Of the images that are left: their numbers, the last point, which nobody has looked at, the
        best point before it, and how high the objective is there.
    """
    values, every = images[0].numel(), max(int(CHECK_EVERY * steps), 1)
    best = best_gradient = points
    highest = images.new_full((len(rows),), -torch.inf)
    changed = l0_size(points - images)
    share = changed / values / SPARSER  # of the values, that a step changes
    eta = torch.full_like(highest, radius)
    for step in range(steps):
        if progress.over(rows):
            break
        seen = look(rows, points, objective)
        gradient = seen.gradient
        better = seen.losses > highest
        best = torch.where(per_image(better), points, best)
        best_gradient = torch.where(per_image(better), gradient, best_gradient)
        highest = torch.where(better, seen.losses, highest)
        if step and step % every == 0:
            before, changed = changed, l0_size(best - images)
            share = changed / values / SPARSER
            sparser = changed < MUCH_SPARSER * before
            eta = torch.where(sparser, radius, (eta / SPARSER).clamp_min(SMALLEST_STEP * radius))
            points = torch.where(per_image(sparser), best, points)
            gradient = torch.where(per_image(sparser), best_gradient, gradient)
        points = l1_project(
            points + per_image(eta) * sparse_direction(gradient, share), images, radius
        )
        rows, images, points, best, best_gradient, highest, changed, share, eta = progress.compact(
            rows, images, points, best, best_gradient, highest, changed, share, eta
        )
    return rows, points, best, highest


def sparse_direction(gradient: Tensor, share: Tensor) -> Tensor:
    """Return the signs of the largest gradients, scaled to size 1 in L1.

    Args:
        gradient: (n, C, H, W).
        share: (n,), of the values, those that are not 0.
    """
    sizes = gradient.abs().flatten(1)
    values = sizes.shape[1]
    place = ((1 - share) * values).clamp(0, values - 1).long().unsqueeze(1)
    least = per_image(sizes.sort(1).values.gather(1, place))
    signs = torch.where(gradient.abs() >= least, gradient.sign(), 0)
    return signs / per_image(l0_size(signs) + 1e-10)
