"""Rotations and translations: the worst of a grid.

Engstrom, Tran, Tsipras, Schmidt, Madry: Exploring the Landscape of Spatial Robustness, ICML 2019.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.progress import Progress

SHIFT = 3 / 28
"""The paper shifts images of 28 and 32 pixels by up to 3, those of 224 by up to 24."""


def spatial(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    shift: float = SHIFT,
    rotations: int = 31,
    translations: int = 5,
    run: Run = Run(),
) -> AttackResult:
    """Rotate and shift an image until the model gets it wrong, the largest movements first.

    Between pixels it is interpolated, and what comes in from outside is black.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: the largest rotation in degrees, either way.
        shift: the largest translation in each direction, as a share of the image's size.
        rotations, translations: how many of each are tried, evenly spread; of translations as many
            in both directions.

    Raises:
        InputError: the model returns no logits.
    """
    height, width = images.shape[2:]
    down, right = (_spread(round(shift * size), translations) for size in (height, width))
    grid = list(itertools.product(_spread(epsilon, rotations), down, right))
    # So the rotation counts as much as the translations.
    largest = (epsilon or 1.0, *(max(each) or 1.0 for each in (down, right)))
    grid.sort(key=lambda point: -sum(abs(x) / most for x, most in zip(point, largest, strict=True)))
    progress = Progress(model, images, labels, run)
    rows = points = progress.rows()
    for degrees, below, beside in grid:
        if progress.over(rows):
            break
        points = moved(progress.images[rows], degrees, below, beside)
        progress.look(rows, points)
        (rows,) = progress.compact(rows)
    return progress.result()


def _spread(most: float, count: int) -> list[float]:
    values = torch.linspace(-most, most, count).tolist() if count > 1 else [float(most)]
    return list(dict.fromkeys(values))


def moved(images: Tensor, degrees: float, down: float, right: float) -> Tensor:
    """Return images (n, C, H, W) turned around their middle, counterclockwise, and then shifted.

    >>> moved(torch.tensor([[[[0.1, 0.2], [0.3, 0.4]]]]), 90, 0, 0)
    tensor([[[[0.2000, 0.4000],
              [0.1000, 0.3000]]]])
    """
    height, width = images.shape[2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle = (height - 1) / 2, (width - 1) / 2
    rows = torch.arange(height, device=images.device) - middle[0] - down
    columns = torch.arange(width, device=images.device) - middle[1] - right
    # Where a pixel comes from, in pixels from the middle.
    from_right = cosine * columns - sine * rows[:, None]
    from_below = sine * columns + cosine * rows[:, None]
    grid = torch.stack([from_right / (width / 2), from_below / (height / 2)], 2)
    grid = grid.to(images).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, grid, align_corners=False).clamp_(0, 1)


SPATIAL = Attack(
    name="spatial",
    norm="spatial",
    access="black-box",
    cost="775 queries",
    summary=(
        "Black-box, untargeted: 31 rotations up to the bound times 5 x 5 translations of up to 3/28"
        " of the image's size, the largest first. An image stops at its first misclassification."
    ),
    source="Engstrom, Tran, Tsipras, Schmidt, Madry 2019, arXiv:1712.02779",
    function=spatial,
    targeted=True,
)
