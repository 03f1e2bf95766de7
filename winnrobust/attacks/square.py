"""The Square Attack: random squares, kept when they help. It sees the model's logits, nothing else.

Andriushchenko, Croce, Flammarion, Hein: Square Attack: a query-efficient black-box adversarial
attack via random search, ECCV 2020, section 3 and algorithm 2. Unlike in the authors' code every
image has its own squares, whatever batch it is in.
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import per_image
from winnrobust.attacks.progress import Progress

FIRST_SHARE = 0.8
"""The share of the image that the first squares cover; the paper's p."""
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The share is halved after this many squares of `FULL_SCHEDULE`."""
FULL_SCHEDULE = 10_000
"""The queries that the paper's schedule is for."""


def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    queries: int = 5000,
    restarts: int = 1,
    schedule: int | None = None,
    run: Run = Run(),
) -> AttackResult:
    """Try random squares of +-epsilon and keep those that bring another class closer.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        queries: for each image and restart; the first is vertical stripes, each other a square.
        restarts: searches, of which later ones attack what is not broken yet.
        schedule: the number of queries in which the squares become smallest; None: `queries`.

    Raises:
        InputError: the model returns no logits.

    >>> class Rounded(nn.Module):  # it has no gradient
    ...     def forward(self, images):
    ...         brightness = images.mean((1, 2, 3)).mul(10).round()
    ...         return torch.stack([5.5 - brightness, brightness - 5.5], 1)
    >>> image = torch.full((1, 1, 8, 8), 0.5)
    >>> result = square(Rounded(), image, torch.tensor([0]), epsilon=0.1)
    >>> Rounded()(result.images).argmax(1)
    tensor([1])
    """
    channels, height, width = images.shape[1:]
    progress = Progress(model, images, labels, run)
    objective = progress.objective("margin")
    for restart in range(restarts):
        rows = progress.rows()
        best = progress.images[rows]
        low, high = (best - epsilon).clamp_(min=0), (best + epsilon).clamp_(max=1)
        highest = torch.full_like(rows, -torch.inf, dtype=best.dtype)
        for query in range(queries):
            if progress.over(rows):
                break
            shape = (channels, 1, width) if query == 0 else (2 + channels,)
            numbers = progress.numbers[rows]
            drawn = draws.uniform(numbers, shape, run.seed, "square", restart, query)
            if query == 0:
                changed, upwards = torch.ones_like(drawn, dtype=torch.bool), drawn < 0.5
            else:
                side = side_of_square(query, schedule or queries, height, width)
                changed, upwards = place_squares(drawn, side, height, width)
            tried = torch.where(changed, torch.where(upwards, high, low), best)
            margins = objective(progress.look(rows, tried).logits, rows)
            better = margins > highest
            best = torch.where(per_image(better), tried, best)
            highest = torch.where(better, margins, highest)
            rows, best, low, high, highest = progress.compact(rows, best, low, high, highest)
    progress.leave(rows, best)
    return progress.result()


def side_of_square(query: int, schedule: int, height: int, width: int) -> int:
    """Return the side in pixels of the square that a query (1, 2, ...) of a schedule tries.

    >>> [side_of_square(query, 10_000, 28, 28) for query in (1, 11, 12, 9000)]
    [25, 25, 18, 1]
    """
    place = (query - 1) * FULL_SCHEDULE // schedule
    halvings = sum(place > bound for bound in HALVED_AFTER)
    side = round((FIRST_SHARE / 2**halvings * height * width) ** 0.5)
    return min(max(side, 1), height, width)


def place_squares(drawn: Tensor, side: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return where images are changed, and in which channels upwards: two masks.

    Args:
        drawn: (n, 2 + C) uniform in [0, 1): where the square begins, and a sign for every channel.
        side: of the squares, in pixels.

    Returns:
        (n, 1, H, W) and (n, C, 1, 1).
    """
    top = per_image((drawn[:, 0] * (height - side + 1)).floor())
    left = per_image((drawn[:, 1] * (width - side + 1)).floor())
    row = torch.arange(height, device=drawn.device).reshape(-1, 1) - top
    column = torch.arange(width, device=drawn.device) - left
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return inside, drawn[:, 2:, None, None] < 0.5


SQUARE = Attack(
    name="square",
    norm="linf",
    access="black-box",
    cost="5000 queries",
    summary=(
        "Black-box, untargeted: sees the logits only. Vertical stripes of +-epsilon, then squares"
        " at random places; what brings another class closer is kept. An image stops at its first"
        " misclassification."
    ),
    source="Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049",
    function=square,
    targeted=True,
)
