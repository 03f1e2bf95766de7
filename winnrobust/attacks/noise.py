"""Random noise: controls. An attack that is no better than these found nothing."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from winnrobust.attacks.ascent import Attempt, Try, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import L2, LINF, per_image
from winnrobust.attacks.passes import NO_GRADIENTS
from winnrobust.attacks.target import Target

DRAWS = 10


def noise_uniform(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Add uniform noise from the L-infinity ball, clipped to [0, 1]; the first draw that works.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: random starts, here draws (10).
    """
    return _drawn(target, epsilons, budget, lambda draw: LINF.draw(target, "noise-uniform", draw))


def noise_gaussian(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Add Gaussian noise scaled to length epsilon, clipped to [0, 1]; the first draw that works.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L2 bounds in the units of the images.
        budget: random starts, here draws (10).
    """

    def direction(draw: int) -> Tensor:
        offsets = target.normal("noise-gaussian", draw)
        return offsets / per_image(L2.size(offsets))

    return _drawn(target, epsilons, budget, direction)


def _drawn(
    target: Target,
    epsilons: Sequence[float],
    budget: Budget,
    offsets: Callable[[int], Tensor],
) -> AttackResult:
    def attempts(which: int, epsilon: float) -> list[Try]:
        def add(draw: int, rows: Tensor) -> Attempt:
            points = (target.images[rows] + epsilon * offsets(draw)[rows]).clamp_(0, 1)
            return Attempt(points, rows, NO_GRADIENTS)

        return [partial(add, draw) for draw in range(budget.restarts or DRAWS)]

    return in_turn(target, epsilons, budget.eot, attempts)


NOISE_UNIFORM = Attack(
    name="noise-uniform",
    norm="Linf",
    access="none",
    cost=f"{DRAWS} queries",
    summary=(
        f"No access, a control: uniform noise of at most epsilon, clipped to [0, 1], the worst of"
        f" {DRAWS} draws."
    ),
    source="a control",
    function=noise_uniform,
    can_aim=True,
)

NOISE_GAUSSIAN = Attack(
    name="noise-gaussian",
    norm="L2",
    access="none",
    cost=f"{DRAWS} queries",
    summary=(
        f"No access, a control: Gaussian noise scaled to length epsilon, clipped to [0, 1], the"
        f" worst of {DRAWS} draws."
    ),
    source="a control",
    function=noise_gaussian,
    can_aim=True,
)
