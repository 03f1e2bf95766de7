"""Projected gradient ascent on the pixels: BIM, PGD in two norms.

Kurakin, Goodfellow, Bengio: Adversarial examples in the physical world, 2016 (BIM: from the image
itself); Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to
Adversarial Attacks, ICLR 2018, section 2.1 (PGD: from random points of the ball).
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from winnrobust.attacks.ascent import Attempt, Move, State, Try, climb, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.fgsm import fgsm
from winnrobust.attacks.geometry import L2, LINF, Geometry
from winnrobust.attacks.passes import NO_GRADIENTS, LossGradient
from winnrobust.attacks.target import Target

BIM_STEPS = 10
STEPS = 20
RELATIVE_STEP = 2.5
"""A step is this many times epsilon / steps: the path can cross the ball and turn."""


def bim(target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET) -> AttackResult:
    """Climb the loss of the true label from the image itself, projecting every step.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: gradient steps (10), each of size 2.5 * epsilon / steps, and gradients averaged (1).

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    steps = budget.steps or BIM_STEPS

    def attempts(which: int, epsilon: float) -> list[Try]:
        def from_image(rows: Tensor) -> Attempt:
            move = steepest_move(LINF, epsilon, steps)
            points = target.images[rows]
            return climb(target, target.cross_entropy, rows, points, steps, move, budget.eot)

        return [from_image]

    return in_turn(target, epsilons, budget.eot, attempts)


def pgd(target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET) -> AttackResult:
    """Climb the loss of the true label from random points of the ball, projecting every step.

    An image that the model gets wrong as it is stays as it is. The others are first tried with a
    single step (FGSM), which breaks many at the cost of one pass, then climb; an image leaves the
    batch as soon as the model gets it wrong.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: gradient steps (20), each of size 2.5 * epsilon / steps, random starts (1), of
            which later ones attack what still stands, and gradients averaged (1).

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    single_steps, gradients, _ = fgsm(target, epsilons, budget)

    def attempts(which: int, epsilon: float) -> list[Try]:
        def single_step(rows: Tensor) -> Attempt:
            return Attempt(single_steps[which][rows], rows, NO_GRADIENTS)

        return [single_step, *random_starts(target, LINF, epsilon, budget)]

    result = in_turn(target, epsilons, budget.eot, attempts)
    return result._replace(gradients=gradients.plus(result.gradients))


def pgd_l2(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Climb as PGD does, in the Euclidean ball: along the gradient, scaled to the step's length.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L2 bounds in the units of the images.
        budget: as for `pgd`; there is no single step before the first random start.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    return in_turn(
        target,
        epsilons,
        budget.eot,
        lambda which, epsilon: random_starts(target, L2, epsilon, budget),
    )


def random_starts(target: Target, geometry: Geometry, epsilon: float, budget: Budget) -> list[Try]:
    """Return climbs from random points of the ball, one for each restart of the budget."""
    steps = budget.steps or STEPS

    def climb_from(restart: int, rows: Tensor) -> Attempt:
        images = target.images[rows]
        points = (images + epsilon * geometry.draw(target, "pgd", restart)[rows]).clamp_(0, 1)
        move = steepest_move(geometry, epsilon, steps)
        return climb(target, target.cross_entropy, rows, points, steps, move, budget.eot)

    return [partial(climb_from, restart) for restart in range(budget.restarts or 1)]


def steepest_move(geometry: Geometry, epsilon: float, steps: int) -> Move:
    """Return the move along the gradient by 2.5 * epsilon / steps, and back into the ball."""
    size = RELATIVE_STEP * epsilon / steps

    def move(step: int, images: Tensor, points: Tensor, seen: LossGradient, _: State) -> Tensor:
        ahead = torch.add(points, geometry.steepest(seen.gradient), alpha=size)
        return geometry.project(ahead, images, epsilon)

    return move


BIM = Attack(
    name="bim",
    norm="Linf",
    access="white-box",
    cost=f"{BIM_STEPS} gradients",
    summary=(
        f"White-box, untargeted: {BIM_STEPS} steps along the sign of the gradient of the true"
        f" label's cross-entropy, each {RELATIVE_STEP} * epsilon / {BIM_STEPS}, from the image"
        " itself, projected to the ball and to [0, 1]."
    ),
    source="Kurakin, Goodfellow, Bengio 2016, arXiv:1607.02533",
    function=bim,
    can_aim=True,
)

PGD = Attack(
    name="pgd",
    norm="Linf",
    access="white-box",
    cost=f"{STEPS} gradients",
    summary=(
        f"White-box, untargeted: {STEPS} steps along the sign of the gradient of the true label's"
        f" cross-entropy, each {RELATIVE_STEP} * epsilon / {STEPS}, from a random start, projected"
        " to the ball and to [0, 1]; for images that neither need an attack nor fall to FGSM. An"
        " image stops at its first misclassification."
    ),
    source="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083",
    function=pgd,
    can_aim=True,
)

PGD_L2 = Attack(
    name="pgd-l2",
    norm="L2",
    access="white-box",
    cost=f"{STEPS} gradients",
    summary=(
        f"White-box, untargeted: {STEPS} steps along the gradient of the true label's"
        f" cross-entropy, each {RELATIVE_STEP} * epsilon / {STEPS} long, from a random start,"
        " projected to the ball and to [0, 1]. An image stops at its first misclassification."
    ),
    source="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083",
    function=pgd_l2,
    can_aim=True,
)
