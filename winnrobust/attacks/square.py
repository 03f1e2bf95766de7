"""The Square Attack: random squares, kept when they help. It sees the model's logits, nothing else.

Andriushchenko, Croce, Flammarion, Hein: Square Attack: a query-efficient black-box adversarial
attack via random search, ECCV 2020, section 3 and algorithm 2 (Linf); what is tried in L2 and L1 is
in `square_bumps.py`. Unlike in the authors' code every image has its own squares, whatever batch it
is in.
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NormName, per_image
from winnrobust.attacks.progress import Progress
from winnrobust.attacks.square_bumps import L1_BUMPS, L2_BUMPS, Draw, Proposals, square_at

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
    norm: NormName = "linf",
    queries: int = 5000,
    restarts: int = 1,
    schedule: int | None = None,
    run: Run = Run(),
) -> AttackResult:
    """Try random squares and keep those that bring another class closer.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: bound in the units of the images and in the norm.
        norm: "linf", "l2" or "l1".
        queries: for each image and restart; the first changes the whole image.
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
    first, change = PROPOSALS[norm]
    progress = Progress(model, images, labels, run)
    objective = progress.objective("margin")
    for restart in range(restarts):
        rows = progress.rows()
        best = originals = progress.images[rows]
        highest = torch.full_like(rows, -torch.inf, dtype=best.dtype)
        for query in range(queries):
            if progress.over(rows):
                break
            draw = drawing(progress.numbers[rows], run.seed, "square", restart, query)
            if query == 0:
                tried = first(originals, epsilon, draw)
            else:
                side = side_of_square(query, schedule or queries, *images.shape[2:])
                tried = change(best, originals, epsilon, side, draw)
            margins = objective(progress.look(rows, tried).logits, rows)
            better = margins > highest
            best = torch.where(per_image(better), tried, best)
            highest = torch.where(better, margins, highest)
            rows, best, originals, highest = progress.compact(rows, best, originals, highest)
    progress.leave(rows, best)
    return progress.result()


def drawing(numbers: Tensor, seed: int, *names: str | int) -> Draw:
    """Return what draws for the images of these numbers (n,), as `draws.uniform` does."""
    return lambda shape: draws.uniform(numbers, shape, seed, *names)


def stripes(images: Tensor, epsilon: float, draw: Draw) -> Tensor:
    """Move all columns by +-epsilon, in every channel on its own."""
    channels, _, width = images.shape[1:]
    return _moved(images, draw((channels, 1, width)) < 0.5, epsilon)


def move_square(best: Tensor, images: Tensor, epsilon: float, side: int, draw: Draw) -> Tensor:
    """Move a square to +-epsilon from the images, in every channel on its own."""
    channels, height, width = images.shape[1:]
    inside, upwards = place_squares(draw((2 + channels,)), side, height, width)
    return torch.where(inside, _moved(images, upwards, epsilon), best)


def _moved(images: Tensor, upwards: Tensor, epsilon: float) -> Tensor:
    return torch.where(upwards, images + epsilon, images - epsilon).clamp_(0, 1)


PROPOSALS: dict[NormName, Proposals] = {
    "linf": Proposals(stripes, move_square),
    "l2": L2_BUMPS,
    "l1": L1_BUMPS,
}


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
    *_, inside = square_at(drawn[:, :2], side, height, width)
    return inside, drawn[:, 2:, None, None] < 0.5


SQUARE = Attack(
    name="square",
    norm="linf",
    norms=("linf", "l2", "l1"),
    access="black-box",
    cost="5000 queries",
    summary=(
        "Black-box, untargeted: sees the logits only. Changes the whole image at random, then"
        " squares at random places; what brings another class closer is kept. An image stops at its"
        " first misclassification."
    ),
    source="Andriushchenko, Croce, Flammarion, Hein 2020, arXiv:1912.00049",
    function=square,
    targeted=True,
)
