"""Auto-PGD: projected gradient ascent with momentum that finds its step size by itself.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020, section 3 and algorithm 1; as in the authors' code, but an image
leaves at its first misclassification (see CONTRIBUTING.md for why this is no library's).
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from winnrobust.attacks.ascent import Attempt, Move, State, Try, climb, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import LINF, per_image
from winnrobust.attacks.passes import LossGradient
from winnrobust.attacks.target import Objective, Target

STEPS = 100
MOMENTUM = 0.75
"""Share of the gradient step in a move; the rest goes on in the last one's direction."""
RISING = 0.75
"""The step is halved where the loss rose in at most this share of the steps since the last check;
the paper's rho."""
FIRST_CHECK, SOONER, SHORTEST = 0.22, 0.03, 0.06
"""In steps of the whole: when the step size is first checked, how much sooner every next time, and
the shortest time between two checks."""
MOST_CLASSES = 9
"""How many of the wrong classes a targeted run tries, the likeliest first."""


def apgd_ce(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Climb the cross-entropy of the true label, or descend that of the aim.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: steps (100), random starts (1), of which later ones attack what still stands, and
            gradients averaged (1).

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    return in_turn(
        target,
        epsilons,
        budget.eot,
        lambda which, epsilon: cross_entropy_starts(target, epsilon, budget),
    )


def apgd_t(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Climb the difference-of-logits ratio towards one wrong class after another.

    The ratio does not change when all logits are scaled, so a saturated softmax hides nothing.
    Every misclassification counts, whichever class the run was for.

    Args:
        target: the model, the images and their true labels; with aims, the aim is the one class.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: steps for each of 9 classes (100), random starts for each (1), gradients
            averaged (1).

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    return in_turn(
        target,
        epsilons,
        budget.eot,
        lambda which, epsilon: targeted_starts(target, epsilon, budget),
    )


def cross_entropy_starts(target: Target, epsilon: float, budget: Budget) -> list[Try]:
    """Return runs on the cross-entropy, one for each restart of the budget."""
    return [
        partial(_run, target, epsilon, budget, target.cross_entropy, ("apgd-ce", restart))
        for restart in range(budget.restarts or 1)
    ]


def targeted_starts(target: Target, epsilon: float, budget: Budget) -> list[Try]:
    """Return runs on the ratio, for each wrong class (`wrong_classes`) and each restart."""

    def ratio(classes: Tensor, logits: Tensor, rows: Tensor) -> Tensor:
        return difference_of_logits_ratio(logits, target.labels[rows], classes[rows])

    return [
        partial(_run, target, epsilon, budget, partial(ratio, classes), ("apgd-t", place, restart))
        for place, classes in enumerate(wrong_classes(target))
        for restart in range(budget.restarts or 1)
    ]


def wrong_classes(target: Target) -> list[Tensor]:
    """Return the classes (N,) to try on every image: its aim, or the likeliest wrong ones."""
    if target.aims is not None:
        return [target.aims]
    true = torch.zeros_like(target.clean_logits).scatter_(1, target.labels[:, None], torch.inf)
    likeliest = (target.clean_logits - true).argsort(1, descending=True)[:, :-1]
    return list(likeliest[:, :MOST_CLASSES].unbind(1))


def difference_of_logits_ratio(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return (z_class - z_label) / (z_1 - (z_3 + z_4) / 2), z_1 >= z_2 >= ... the sorted logits.

    The paper's equation 5, with its sign, rises towards the class. With three classes z_3 alone is
    subtracted; with two there is nothing to scale with, and the difference itself is returned.

    Args:
        logits: (n, K).
        labels: (n,) int64, the true classes.
        classes: (n,) int64, the wrong classes wanted.
    """
    difference = (_picked(logits, classes) - _picked(logits, labels)).squeeze(1)
    largest = logits.topk(min(4, logits.shape[1]), dim=1).values
    if logits.shape[1] < 3:
        return difference
    return difference / (largest[:, 0] - largest[:, 2:].mean(1)).clamp_min(1e-12)


def _picked(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes.unsqueeze(1))


def _run(
    target: Target,
    epsilon: float,
    budget: Budget,
    objective: Objective,
    names: tuple[str | int, ...],
    rows: Tensor,
) -> Attempt:
    """Climb from a random point on the surface of the ball."""
    offsets = LINF.draw(target, *names)[rows]
    offsets = offsets / per_image(LINF.size(offsets))
    points = (target.images[rows] + epsilon * offsets).clamp_(0, 1)
    steps = budget.steps or STEPS
    return climb(target, objective, rows, points, steps, _move(epsilon, steps), budget.eot)


def _move(epsilon: float, steps: int) -> Move:
    """Return the paper's move; what it remembers of an image is explained where it is kept."""
    checks = checkpoints(steps)

    def move(step: int, images: Tensor, points: Tensor, seen: LossGradient, state: State) -> Tensor:
        if step == 0:
            state["size"] = torch.full_like(seen.losses, 2 * epsilon)
            state["rises"] = torch.zeros_like(seen.losses)  # since the last check
            state["best"], state["best points"] = seen.losses, points
            state["best gradient"] = seen.gradient
            state["best at check"] = seen.losses
            state["halved"] = torch.ones_like(seen.losses, dtype=torch.bool)  # at the last check
            state["before"] = points
        else:
            state["rises"] = state["rises"] + (seen.losses > state["losses"])
            _keep_best(points, seen, state)
        state["losses"] = seen.losses
        gradient, before = seen.gradient, state["before"]
        if step in checks:
            halved = _halve(state, step - checks[step])
            points = torch.where(per_image(halved), state["best points"], points)
            gradient = torch.where(per_image(halved), state["best gradient"], gradient)
        state["before"] = points
        ahead = points + per_image(state["size"]) * gradient.sign()
        ahead = LINF.project(ahead, images, epsilon)
        share = MOMENTUM if step else 1.0
        ahead = points + share * (ahead - points) + (1 - share) * (points - before)
        return LINF.project(ahead, images, epsilon)

    return move


def _keep_best(points: Tensor, seen: LossGradient, state: State) -> None:
    better = seen.losses > state["best"]
    state["best"] = torch.where(better, seen.losses, state["best"])
    state["best points"] = torch.where(per_image(better), points, state["best points"])
    state["best gradient"] = torch.where(per_image(better), seen.gradient, state["best gradient"])


def _halve(state: State, since: int) -> Tensor:
    """Halve the steps of the images that got nowhere in `since` steps; returns which, a mask."""
    stuck = ~state["halved"] & (state["best at check"] >= state["best"])
    halved = stuck | (state["rises"] <= RISING * since)
    state["size"] = torch.where(halved, state["size"] / 2, state["size"])
    state["rises"] = torch.zeros_like(state["rises"])
    state["best at check"], state["halved"] = state["best"], halved
    return halved


def checkpoints(steps: int) -> dict[int, int]:
    """Return at which steps the step size is checked, and which check was before each."""
    length, last, found = max(int(FIRST_CHECK * steps), 1), 0, {}
    while last + length <= steps:
        found[last + length] = last
        last += length
        length = max(length - max(int(SOONER * steps), 1), int(SHORTEST * steps), 1)
    return found


APGD_CE = Attack(
    name="apgd-ce",
    norm="Linf",
    access="white-box",
    cost=f"{STEPS} gradients",
    summary=(
        f"White-box, untargeted: {STEPS} steps with momentum along the sign of the gradient of the"
        " true label's cross-entropy, from a random start; a step is halved where the loss stops"
        " rising. An image stops at its first misclassification."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690",
    function=apgd_ce,
    can_aim=True,
)

APGD_T = Attack(
    name="apgd-t",
    norm="Linf",
    access="white-box",
    cost=f"{MOST_CLASSES} x {STEPS} gradients",
    summary=(
        f"White-box: as apgd-ce, on the difference-of-logits ratio towards each of the"
        f" {MOST_CLASSES} likeliest wrong classes in turn; every misclassification counts."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690",
    function=apgd_t,
    can_aim=True,
)
