"""AutoAttack, the standard version: four attacks in sequence, each on what still stands.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020: APGD on the cross-entropy, APGD on the targeted
difference-of-logits ratio, targeted FAB, Square Attack with the first 5000 queries of its schedule.
"""

from collections.abc import Sequence

from winnrobust.attacks.apgd import cross_entropy_starts, targeted_starts
from winnrobust.attacks.ascent import Try, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.fab import walks_within
from winnrobust.attacks.square import FULL_SCHEDULE, random_squares
from winnrobust.attacks.target import Target


def autoattack(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Attack with apgd-ce, apgd-t, fab and square in turn; each gets what the others left.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: of each of the four; with the default it is the standard version.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """

    def attempts(which: int, epsilon: float) -> list[Try]:
        return [
            *cross_entropy_starts(target, epsilon, budget),
            *targeted_starts(target, epsilon, budget),
            *walks_within(target, epsilon, budget),
            *random_squares(target, epsilon, budget, FULL_SCHEDULE),
        ]

    return in_turn(target, epsilons, budget.eot, attempts)


AUTOATTACK = Attack(
    name="autoattack",
    norm="Linf",
    access="white-box",
    cost="up to 1900 gradients, 5900 queries",
    summary=(
        "White-box, untargeted, and black-box: apgd-ce, apgd-t, fab and square in sequence, each on"
        " the images that are still classified right; with its default budget the standard version"
        " of AutoAttack."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690",
    function=autoattack,
    can_aim=True,
)
