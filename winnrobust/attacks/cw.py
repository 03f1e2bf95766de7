"""Carlini and Wagner's attack in L2.

Carlini, Wagner: Towards Evaluating the Robustness of Neural Networks, IEEE S&P 2017, section VI-A.
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import per_image
from winnrobust.attacks.progress import Nearest

FIRST_CONSTANT = 1e-3
"""The first weight of the margin beside the squared distance; the paper's c."""
INSIDE = 0.999999
"""Images are drawn this much towards grey, so that 0 and 1 have a finite tanh^-1."""
BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8
"""Adam's (Kingma, Ba 2015)."""


def cw_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 200,
    searches: int = 9,
    step_size: float = 0.05,
    run: Run = Run(),
) -> AttackResult:
    """Minimize the squared distance plus c times the label's lead, for the smallest c that works.

    The image is (tanh(w) + 1) / 2, so that whatever w Adam comes to is an image. Each image has its
    own c: ten times the last one until the model gets some point wrong, then found by bisection.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        steps: of Adam for every c.
        searches: how many values of c.
        step_size: Adam's, in w.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Nearest(model, images, labels, run, "l2")
    objective = progress.objective("margin")
    rows = progress.rows()
    start = torch.atanh((2 * progress.images[rows] - 1) * INSIDE)
    originals = (torch.tanh(start) + 1) / 2
    constant = torch.full_like(rows, FIRST_CONSTANT, dtype=start.dtype)
    low, high = torch.zeros_like(constant), torch.full_like(constant, torch.inf)
    for _ in range(searches):
        w, mean, square = start, torch.zeros_like(start), torch.zeros_like(start)
        ever_wrong = torch.zeros_like(rows, dtype=torch.bool)
        for step in range(1, steps + 1):
            if progress.over(rows):
                break
            points = (torch.tanh(w) + 1) / 2
            seen = progress.gradient(rows, points, objective)
            ever_wrong |= progress.broken(rows, seen)
            weight = torch.where(seen.losses < 0, constant, 0.0)
            gradient = 2 * (points - originals) - per_image(weight) * seen.gradient
            gradient = gradient * 2 * points * (1 - points)  # d points / d w
            mean = BETA_1 * mean + (1 - BETA_1) * gradient
            square = BETA_2 * square + (1 - BETA_2) * gradient**2
            unbiased = (square / (1 - BETA_2**step)).sqrt()
            w = w - step_size * mean / (1 - BETA_1**step) / (unbiased + TINY)
        high = torch.where(ever_wrong, constant, high)
        low = torch.where(ever_wrong, low, constant)
        constant = torch.where(high.isinf(), 10 * constant, (low + high) / 2)
    return progress.result()


CW_L2 = Attack(
    name="cw-l2",
    norm="l2",
    access="white-box",
    cost="9 x 200 gradients",
    summary=(
        "White-box, minimum norm: Adam on the perturbation's squared length plus a constant times"
        " the label's lead, 200 steps for each of 9 constants found by bisection; the nearest"
        " misclassified point is kept."
    ),
    source="Carlini, Wagner 2017, arXiv:1608.04644",
    function=cw_l2,
    minimum_norm=True,
    targeted=True,
)
