"""The Square Attack: random squares, kept when they help. It sees the model's logits, nothing else.

Andriushchenko, Croce, Flammarion, Hein: Square Attack: a query-efficient black-box adversarial
attack via random search, ECCV 2020, section 3 and algorithm 2. Unlike in the authors' code every
image has its own squares, whatever batch it is in.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from winnrobust.attacks.ascent import Attempt, Try, in_turn
from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import per_image
from winnrobust.attacks.passes import NO_GRADIENTS, logits
from winnrobust.attacks.target import Target

QUERIES = 5000
FIRST_SHARE = 0.8
"""The share of the image that the first squares cover; the paper's p."""
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The share is halved after this many squares of `FULL_SCHEDULE`."""
FULL_SCHEDULE = 10_000
"""With fewer queries the squares shrink sooner, in proportion."""


def square(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Try random squares of +-epsilon and keep those that bring the label closer to defeat.

    Args:
        target: the model, the images and their true labels, or aims.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: queries for each image (5000), random starts (1), each with as many queries, of
            which later ones attack what still stands, and answers averaged for a query (1).

    Raises:
        InputError: the model returns no logits.
    """
    return in_turn(
        target,
        epsilons,
        budget.eot,
        lambda which, epsilon: random_squares(target, epsilon, budget, budget.queries or QUERIES),
    )


def random_squares(target: Target, epsilon: float, budget: Budget, schedule: int) -> list[Try]:
    """Return random searches, one for each restart of the budget.

    Args:
        schedule: the number of queries in which the squares become smallest.
    """
    return [
        partial(_search, target, epsilon, budget, schedule, restart)
        for restart in range(budget.restarts or 1)
    ]


def _search(
    target: Target, epsilon: float, budget: Budget, schedule: int, restart: int, rows: Tensor
) -> Attempt:
    """Start from vertical stripes, then try one square with every query."""
    images = target.images[rows]
    low, high = (images - epsilon).clamp_(min=0), (images + epsilon).clamp_(max=1)
    best, ended = images, images.clone()
    closest = torch.full_like(rows, torch.inf, dtype=images.dtype)
    place = torch.arange(len(rows), device=rows.device)
    for query in range(budget.queries or QUERIES):
        if target.out_of_time():
            break
        chosen, upwards = _patch(target, restart, query, schedule, rows[place])
        tried = torch.where(chosen, torch.where(upwards, high, low), best)
        answers = logits(target.model, tried, budget.eot)
        distance = _distance(target, answers, rows[place])
        stands = ~target.reached(answers, rows[place])
        better = (distance < closest) | ~stands
        best = torch.where(per_image(better), tried, best)
        closest = torch.where(better, distance, closest)
        if not stands.all():
            ended[place[~stands]] = best[~stands]
            place, best, closest = place[stands], best[stands], closest[stands]
            low, high = low[stands], high[stands]
            if not len(place):
                break
    ended[place] = best
    return Attempt(ended, rows[place], NO_GRADIENTS)


def _patch(
    target: Target, restart: int, query: int, schedule: int, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return where a query changes the images, and where it does so upwards: two masks.

    The first query changes every column of every channel, the others a square with one sign for
    each channel.
    """
    channels, height, width = target.images.shape[1:]
    names = ("square", restart, query)
    if query == 0:
        columns = target.numbers(channels * width, *names)[rows].reshape(-1, channels, 1, width)
        return torch.ones_like(columns, dtype=torch.bool), columns < 0.5
    side = side_of_square(query, schedule, height, width)
    numbers = target.numbers(2 + channels, *names)[rows]
    top = per_image((numbers[:, 0] * (height - side + 1)).floor())
    left = per_image((numbers[:, 1] * (width - side + 1)).floor())
    row = torch.arange(height, device=rows.device).reshape(-1, 1) - top
    column = torch.arange(width, device=rows.device) - left
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return inside, numbers[:, 2:].reshape(-1, channels, 1, 1) < 0.5


def side_of_square(query: int, schedule: int, height: int, width: int) -> int:
    """Return the side in pixels of the square that a query (1, 2, ...) of a schedule tries."""
    place = (query - 1) * FULL_SCHEDULE / schedule
    halvings = sum(place > bound for bound in HALVED_AFTER)
    side = round((FIRST_SHARE / 2**halvings * height * width) ** 0.5)
    return min(max(side, 1), height, width)


def _distance(target: Target, answers: Tensor, rows: Tensor) -> Tensor:
    """Return by how much the logit to beat is ahead (n,): that of the label, or above the aim's."""
    wanted = target.labels[rows] if target.aims is None else target.aims[rows]
    one = answers.gather(1, wanted.unsqueeze(1)).squeeze(1)
    rest = answers.scatter(1, wanted.unsqueeze(1), -torch.inf).amax(1)
    return one - rest if target.aims is None else rest - one


SQUARE = Attack(
    name="square",
    norm="Linf",
    access="black-box",
    cost=f"{QUERIES} queries",
    summary=(
        "Black-box, untargeted: sees the logits only. Vertical stripes of +-epsilon, then"
        f" squares at random places; what brings another class closer is kept, for {QUERIES}"
        " queries. An image stops at its first misclassification."
    ),
    source="Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049",
    function=square,
    can_aim=True,
)
