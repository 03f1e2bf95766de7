"""The momentum iterative fast gradient sign method.

Dong, Liao, Pang, Su, Zhu, Hu, Li: Boosting Adversarial Attacks with Momentum, CVPR 2018,
algorithm 1: its examples transfer to other models better than PGD's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from winnrobust.attacks.ascent import Attempt, Move, State, climb, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import LINF, per_image
from winnrobust.attacks.passes import LossGradient
from winnrobust.attacks.target import Target

STEPS = 10
DECAY = 1.0
"""How much of the accumulated direction the next step keeps; the paper's mu."""


def mifgsm(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Climb from the image itself along the sign of the sum of all gradients so far.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: gradient steps (10), each of size epsilon / steps, and gradients averaged (1).

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    steps = budget.steps or STEPS

    def from_image(rows: Tensor, epsilon: float) -> Attempt:
        points, move = target.images[rows], momentum_move(epsilon, steps)
        return climb(target, target.cross_entropy, rows, points, steps, move, budget.eot)

    return in_turn(
        target,
        epsilons,
        budget.eot,
        lambda which, epsilon: [lambda rows: from_image(rows, epsilon)],
    )


def momentum_move(epsilon: float, steps: int) -> Move:
    """Return the move by epsilon / steps along the sign of the decaying sum of gradients."""

    def move(step: int, images: Tensor, points: Tensor, seen: LossGradient, state: State) -> Tensor:
        size = per_image(seen.gradient.abs().flatten(1).sum(1))
        unit = seen.gradient / size.clamp_min(torch.finfo(size.dtype).tiny)
        state["direction"] = DECAY * state["direction"] + unit if step else unit
        ahead = points + epsilon / steps * state["direction"].sign()
        return LINF.project(ahead, images, epsilon)

    return move


MIFGSM = Attack(
    name="mifgsm",
    norm="Linf",
    access="white-box",
    cost=f"{STEPS} gradients",
    summary=(
        f"White-box, untargeted: {STEPS} steps of epsilon / {STEPS} along the sign of the sum of"
        " all gradients so far, each scaled to L1 norm 1, of the true label's cross-entropy, from"
        " the image itself, projected to the ball and to [0, 1]."
    ),
    source="Dong, Liao, Pang, Su, Zhu, Hu, Li 2018, arXiv:1710.06081",
    function=mifgsm,
    can_aim=True,
)
