"""FMN: the fast minimum-norm attack, in four norms.

Pintor, Roli, Brendel, Biggio: Fast Minimum-norm Adversarial Attacks through Adaptive Norm
Constraints, NeurIPS 2021, algorithm 1. Unlike there a point is brought into the ball and [0, 1] at
once, not first into the one and then into the other: in L1 little was left of it in between.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NORMS, NormName, l2_steepest
from winnrobust.attacks.progress import Nearest

FIRST_STEP, LAST_STEP = 1.0, 0.01
"""Euclidean lengths of the steps, the paper's alpha, with a cosine between them."""
FIRST_GAMMA, LAST_GAMMA = 0.05, 0.001
"""By what share the radius grows or shrinks with a step, with a cosine between them."""


def fmn(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: NormName = "linf",
    steps: int = 100,
    run: Run = Run(),
) -> AttackResult:
    """Step along the gradient of the margin in a ball that just holds a point that is wrong.

    Until there is such a point the ball reaches to where the margin, taken for linear, is 0. In L0,
    where it starts with a single value, it grows by at least one.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        norm: "linf", "l2", "l1" or "l0".
        steps: gradient steps.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    ball, next_radius = NORMS[norm], counted_radius if norm == "l0" else adapted_radius
    progress = Nearest(model, images, labels, run, norm)
    objective = progress.objective("margin")
    rows = progress.rows()
    points = originals = progress.images[rows]
    largest = ball.size(torch.maximum(originals, 1 - originals))
    radius = torch.ones_like(largest)
    for step in range(steps):
        if progress.over(rows):
            break
        seen = progress.gradient(rows, points, objective)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        gamma = LAST_GAMMA + (FIRST_GAMMA - LAST_GAMMA) * cosine
        slope = ball.dual(seen.gradient).clamp_min(torch.finfo(seen.gradient.dtype).tiny)
        boundary = ball.size(points - originals) + seen.losses.abs() / slope
        boundary = boundary.nextafter(largest)  # on it, to the bit, the label still counts as right
        smaller, larger = next_radius(radius, gamma, progress.distance[rows], boundary)
        radius = torch.where(progress.broken(rows, seen), smaller, larger).minimum(largest)
        length = LAST_STEP + (FIRST_STEP - LAST_STEP) * cosine
        points = points + length * l2_steepest(seen.gradient)
        points = ball.project(points, originals, radius)
    return progress.result()


def adapted_radius(
    radius: Tensor, gamma: float, nearest: Tensor, boundary: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the next radii (n,): where the model is wrong, and where it is not.

    Args:
        radius: (n,), the last ones.
        gamma: by what share they change.
        nearest: (n,), the distances of the nearest points found, infinite where there is none.
        boundary: (n,), how far away it seems to be.
    """
    smaller = torch.minimum(radius * (1 - gamma), nearest)
    return smaller, torch.where(nearest.isfinite(), radius * (1 + gamma), boundary)


def counted_radius(
    radius: Tensor, gamma: float, nearest: Tensor, boundary: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the same in L0: whole numbers of at least 1, which change by at least 1."""
    smaller = torch.minimum((radius * (1 - gamma)).floor(), radius - 1)
    larger = torch.maximum((radius * (1 + gamma)).floor(), radius + 1)
    return torch.minimum(smaller, nearest).clamp_min(1), larger


FMN = Attack(
    name="fmn",
    norm="linf",
    norms=("linf", "l2", "l1", "l0"),
    access="white-box",
    cost="100 gradients",
    summary=(
        "White-box, minimum norm: steps along the gradient of the label's lead, in a ball that"
        " adapts until it just holds a misclassified point; the nearest is kept."
    ),
    source="Pintor, Roli, Brendel, Biggio 2021, arXiv:2102.12827",
    function=fmn,
    minimum_norm=True,
    targeted=True,
)
