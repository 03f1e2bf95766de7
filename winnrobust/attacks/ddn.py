"""DDN: decoupled direction and norm, for small perturbations in L2.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger: Decoupling Direction and Norm for Efficient
Gradient-Based L2 Adversarial Attacks and Defenses, CVPR 2019, algorithm 1.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import l2_size, l2_steepest, per_image
from winnrobust.attacks.progress import Nearest

GAMMA = 0.05
"""By what share the radius grows or shrinks with every step."""
FIRST_RADIUS = 1.0
FIRST_STEP, LAST_STEP = 1.0, 0.01
"""Lengths of the steps, with a cosine between them."""


def ddn(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = 100, run: Run = Run()
) -> AttackResult:
    """Step along the gradient, then go to a sphere that shrinks where the model is wrong.

    Where a gradient is zero, a random direction is taken in its place.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        steps: gradient steps.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Nearest(model, images, labels, run, "l2")
    objective = progress.objective("ce-stable")
    rows = progress.rows()
    points = originals = progress.images[rows]
    radius = torch.full_like(rows, FIRST_RADIUS, dtype=points.dtype)
    largest = l2_size(torch.maximum(originals, 1 - originals))
    shape = tuple(images.shape[1:])
    fallback = l2_steepest(draws.normal(progress.numbers[rows], shape, run.seed, "ddn"))
    for step in range(steps):
        if progress.over(rows):
            break
        seen = progress.gradient(rows, points, objective)
        direction = l2_steepest(seen.gradient)
        direction = torch.where(per_image(l2_size(direction) > 0), direction, fallback)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        offsets = points - originals
        offsets = offsets + (LAST_STEP + (FIRST_STEP - LAST_STEP) * cosine) * direction
        wrong = progress.broken(rows, seen)
        radius = torch.minimum(radius * torch.where(wrong, 1 - GAMMA, 1 + GAMMA), largest)
        points = (originals + per_image(radius) * l2_steepest(offsets)).clamp(0, 1)
    return progress.result()


DDN = Attack(
    name="ddn",
    norm="l2",
    access="white-box",
    cost="100 gradients",
    summary=(
        "White-box, minimum norm: steps along the gradient of the true label's cross-entropy, on a"
        " sphere that shrinks where the model is wrong and grows where it is right; the nearest"
        " misclassified point is kept."
    ),
    source="Rony et al. 2019, arXiv:1811.09600",
    function=ddn,
    minimum_norm=True,
    targeted=True,
)
