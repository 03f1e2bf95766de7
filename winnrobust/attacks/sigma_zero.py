"""Sigma-zero: the fewest changed values, by gradients of a smooth count.

Cinà, Villani, Pintor, Schönherr, Biggio, Pelillo: sigma-zero: Gradient-based Optimization of
L0-norm Adversarial Examples, ICLR 2025, algorithm 1; step sizes as in the authors' code.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import linf_size, per_image
from winnrobust.attacks.progress import Nearest

SIGMA = 1e-3
"""A change d counts as d^2 / (d^2 + sigma) of a value."""
FIRST_STEP, LAST_STEP = 1.0, 0.1
"""Adam's step sizes, with a cosine between them."""
FIRST_THRESHOLD = 0.3
"""Changes that are smaller are undone."""
THRESHOLD_STEP = 0.01
"""In step sizes: by how much the threshold grows where the model is wrong, and else shrinks."""
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8
"""Adam's."""


def sigma_zero(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = 1000, run: Run = Run()
) -> AttackResult:
    """Lower the label's lead, down to 0, and the smooth count of changes; undo the small changes.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        steps: of Adam.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Nearest(model, images, labels, run, "l0")
    margin = progress.objective("margin")

    def until_wrong(logits: Tensor, rows: Tensor) -> Tensor:
        return margin(logits, rows).clamp_max(0)

    rows = progress.rows()
    originals = progress.images[rows]
    offsets = mean = square = torch.zeros_like(originals)
    threshold = torch.full_like(rows, FIRST_THRESHOLD, dtype=originals.dtype)
    for step in range(steps):
        if progress.over(rows):
            break
        points = (originals + offsets).clamp_(0, 1)
        seen = progress.gradient(rows, points, until_wrong)
        count = 2 * offsets * SIGMA / (offsets**2 + SIGMA) ** 2 / images[0].numel()
        gradient = count - seen.gradient
        gradient = gradient / per_image(linf_size(gradient).clamp_min(1e-12))
        mean = BETA_1 * mean + (1 - BETA_1) * gradient
        square = BETA_2 * square + (1 - BETA_2) * gradient**2
        unbiased = (square / (1 - BETA_2 ** (step + 1))).sqrt()
        move = step_size(step, steps) * mean / (1 - BETA_1 ** (step + 1)) / (unbiased + TINY)
        offsets = (originals + offsets - move).clamp_(0, 1) - originals
        change = THRESHOLD_STEP * step_size(step + 1, steps)
        wrong = progress.broken(rows, seen)
        threshold = (threshold + torch.where(wrong, change, -change)).clamp_(0, 1)
        offsets = torch.where(offsets.abs() < per_image(threshold), 0, offsets)
    return progress.result()


def step_size(step: int, steps: int) -> float:
    """Return Adam's step size after `step` steps.

    >>> step_size(0, 10), step_size(10, 10)
    (1.0, 0.1)
    """
    return LAST_STEP + (FIRST_STEP - LAST_STEP) * (1 + math.cos(math.pi * step / steps)) / 2


SIGMA_ZERO = Attack(
    name="sigma-zero",
    norm="l0",
    access="white-box",
    cost="1000 gradients",
    summary=(
        "White-box, minimum norm: Adam on the label's lead and on a smooth count of the changed"
        " values; changes below a threshold that adapts are undone, and the misclassified point"
        " with the fewest is kept."
    ),
    source="Cinà et al. 2025, arXiv:2402.01879",
    function=sigma_zero,
    minimum_norm=True,
    targeted=True,
)
