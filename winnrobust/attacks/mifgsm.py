"""The momentum iterative fast gradient sign method.

Dong, Liao, Pang, Su, Zhu, Hu, Li: Boosting Adversarial Attacks with Momentum, CVPR 2018,
algorithm 1: its examples transfer to other models better than PGD's.
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss
from winnrobust.attacks.norms import NORMS, per_image
from winnrobust.attacks.progress import Progress


def mifgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    mu: float = 1.0,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Step from the image itself along the sign of the decaying sum of all gradients so far.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        steps: gradient steps.
        step_size: of each, in the units of the images; None: epsilon / steps.
        mu: how much of the sum the next step keeps.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    alpha = epsilon / steps if step_size is None else step_size
    ball = NORMS["linf"]
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    rows = progress.rows()
    points = originals = progress.images[rows]
    momentum = torch.zeros_like(points)
    for _ in range(steps):
        if progress.over(rows):
            break
        gradient = progress.gradient(rows, points, objective).gradient
        l1 = per_image(gradient.abs().flatten(1).sum(1))
        momentum = mu * momentum + gradient / l1.clamp_min(torch.finfo(l1.dtype).tiny)
        points = ball.project(points + alpha * momentum.sign(), originals, epsilon)
        rows, points, originals, momentum = progress.compact(rows, points, originals, momentum)
    progress.leave(rows, points)
    return progress.result()


MIFGSM = Attack(
    name="mifgsm",
    norm="linf",
    access="white-box",
    cost="10 gradients",
    summary=(
        "White-box, untargeted: steps of epsilon / steps along the sign of the sum of all gradients"
        " so far, each scaled to L1 norm 1, of the true label's cross-entropy, from the image"
        " itself, projected to the ball and to [0, 1]. An image stops at its first"
        " misclassification."
    ),
    source="Dong, Liao, Pang, Su, Zhu, Hu, Li 2018, arXiv:1710.06081",
    function=mifgsm,
    targeted=True,
)
