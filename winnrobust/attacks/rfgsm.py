"""The fast gradient sign method after a random step.

Tramèr, Kurakin, Papernot, Goodfellow, Boneh, McDaniel: Ensemble Adversarial Training: Attacks and
Defenses, ICLR 2018, section 4.1: the random step leaves places where the gradient is masked.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from winnrobust.attacks.ascent import Attempt, State, Try, climb, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import LINF
from winnrobust.attacks.passes import LossGradient
from winnrobust.attacks.target import Target

RANDOM_PART = 0.5
"""The random step is this many times epsilon, the step along the gradient is the rest."""


def rfgsm(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Move every pixel by epsilon / 2 up or down at random, then by epsilon / 2 up the loss.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: random starts (1), of which later ones attack what still stands, and gradients
            averaged (1).

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """

    def attempts(which: int, epsilon: float) -> list[Try]:
        def move(step: int, images: Tensor, points: Tensor, seen: LossGradient, _: State) -> Tensor:
            ahead = points + (1 - RANDOM_PART) * epsilon * seen.gradient.sign()
            return LINF.project(ahead, images, epsilon)

        def step_from(restart: int, rows: Tensor) -> Attempt:
            corner = LINF.draw(target, "rfgsm", restart)[rows].sign()
            points = (target.images[rows] + RANDOM_PART * epsilon * corner).clamp_(0, 1)
            return climb(target, target.cross_entropy, rows, points, 1, move, budget.eot)

        return [partial(step_from, restart) for restart in range(budget.restarts or 1)]

    return in_turn(target, epsilons, budget.eot, attempts)


RFGSM = Attack(
    name="rfgsm",
    norm="Linf",
    access="white-box",
    cost="1 gradient",
    summary=(
        "White-box, untargeted: a step of epsilon / 2 to a random corner, then one of epsilon / 2"
        " along the sign of the gradient there of the true label's cross-entropy, clipped to"
        " [0, 1]."
    ),
    source="Tramèr et al. 2018, arXiv:1705.07204",
    function=rfgsm,
    can_aim=True,
)
