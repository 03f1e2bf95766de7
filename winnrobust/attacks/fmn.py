"""FMN: the fast minimum-norm attack, in L-infinity.

Pintor, Roli, Brendel, Biggio: Fast Minimum-norm Adversarial Attacks through Adaptive Norm
Constraints, NeurIPS 2021, algorithm 1.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import l2_steepest, linf_size, per_image
from winnrobust.attacks.progress import Nearest

FIRST_STEP, LAST_STEP = 1.0, 0.01
"""Euclidean lengths of the steps, the paper's alpha, with a cosine between them."""
FIRST_GAMMA, LAST_GAMMA = 0.05, 0.001
"""By what share the radius grows or shrinks with a step, with a cosine between them."""


def fmn(
    model: nn.Module, images: Tensor, labels: Tensor, *, steps: int = 100, run: Run = Run()
) -> AttackResult:
    """Step along the gradient of the margin in a ball that just holds a point that is wrong.

    Until there is such a point the ball reaches to where the margin, taken for linear, is 0.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        steps: gradient steps.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Nearest(model, images, labels, run, "linf")
    objective = progress.objective("margin")
    rows = progress.rows()
    points = originals = progress.images[rows]
    largest = linf_size(torch.maximum(originals, 1 - originals))
    radius = largest
    for step in range(steps):
        if progress.over(rows):
            break
        seen = progress.gradient(rows, points, objective)
        cosine = (1 + math.cos(math.pi * step / steps)) / 2
        gamma = LAST_GAMMA + (FIRST_GAMMA - LAST_GAMMA) * cosine
        slope = seen.gradient.abs().flatten(1).sum(1)  # per L-infinity unit
        size = linf_size(points - originals)
        boundary = size + seen.losses.abs() / slope.clamp_min(torch.finfo(slope.dtype).tiny)
        nearest = progress.distance[rows]
        outside = torch.where(nearest.isfinite(), radius * (1 + gamma), boundary)
        inside = torch.minimum(radius * (1 - gamma), nearest)
        radius = torch.where(progress.broken(rows, seen), inside, outside).minimum(largest)
        length = LAST_STEP + (FIRST_STEP - LAST_STEP) * cosine
        offsets = points - originals + length * l2_steepest(seen.gradient)
        bound = per_image(radius)
        points = (originals + offsets.clamp(-bound, bound)).clamp_(0, 1)
    return progress.result()


FMN = Attack(
    name="fmn",
    norm="linf",
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
