"""An adversarial patch: a square of any content, anywhere in the image.

Karmon, Zoran, Goldberg: LaVAN: Localized and Visible Adversarial Noise, ICML 2018 (content by
gradients, for one image); Rao, Stutz, Schiele: Adversarial Training against Location-Optimized
Adversarial Patches, 2020 (the place is searched, too).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss
from winnrobust.attacks.norms import per_image
from winnrobust.attacks.progress import Progress
from winnrobust.attacks.square_bumps import square_from
from winnrobust.runtime.errors import InputError


def patch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 40,
    step_size: float = 0.1,
    restarts: int = 5,
    places: int = 10,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Put a square where it raises the loss most, and make its content by sign steps.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: side of the square in pixels.
        steps: gradient steps on the content.
        step_size: of each, in the units of the images.
        restarts: places that the content is made for, one after the other.
        places: that are compared in each restart: the one where the gradient at the image is
            largest (in the first restart), and random ones.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the square is larger than the image; the model returns no logits, or its loss
            has no gradient.
    """
    side, (height, width) = int(epsilon), images.shape[2:]
    check_side(side, height, width)
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    rows = progress.rows()
    if not len(rows):
        return progress.result()
    gradient = torch.zeros_like(progress.images)
    gradient[rows] = progress.gradient(rows, progress.images[rows], objective).gradient
    mass = F.avg_pool2d(gradient.abs().sum(1, keepdim=True), side, stride=1).flatten(1)
    for restart in range(restarts):
        rows = progress.rows()
        if progress.over(rows):
            break
        originals, filled = progress.images[rows], (gradient[rows] > 0).to(images)
        drawn = draws.uniform(progress.numbers[rows], (places,), run.seed, "patch", restart)
        tried = (drawn * mass.shape[1]).long()
        if restart == 0:
            tried[:, 0] = mass[rows].argmax(1)
        inside = squares(tried[:, 0], side, height, width)
        highest = torch.full_like(drawn[:, 0], -torch.inf)
        for place in tried.unbind(1):
            mask = squares(place, side, height, width)
            seen = progress.look(rows, torch.where(mask, filled, originals))
            losses = objective(seen.logits, rows)
            inside = torch.where(per_image(losses > highest), mask, inside)
            highest = torch.maximum(losses, highest)
            if progress.out_of_time():
                break
        rows, inside, originals, filled = progress.compact(rows, inside, originals, filled)
        points = torch.where(inside, filled, originals)
        for _ in range(steps):
            if progress.over(rows):
                break
            uphill = progress.gradient(rows, points, objective).gradient.sign()
            points = torch.where(inside, (points + step_size * uphill).clamp(0, 1), originals)
            rows, points, inside, originals = progress.compact(rows, points, inside, originals)
        progress.leave(rows, points)
    return progress.result()


def check_side(side: int, height: int, width: int) -> None:
    """Check that a square fits into an image.

    Raises:
        InputError: it does not.
    """
    if side > min(height, width):
        raise InputError(f"a patch of {side} pixels does not fit into images of {width}x{height}")


def squares(places: Tensor, side: int, height: int, width: int) -> Tensor:
    """Return masks (n, 1, H, W) of squares.

    Args:
        places: (n,) int64, numbers of the places, row after row.

    >>> squares(torch.tensor([3]), 2, 3, 3).int()
    tensor([[[[0, 0, 0],
              [0, 1, 1],
              [0, 1, 1]]]], dtype=torch.int32)
    """
    across = width - side + 1
    *_, inside = square_from(places // across, places % across, side, height, width)
    return inside


PATCH = Attack(
    name="patch",
    norm="patch",
    access="white-box",
    cost="up to 201 gradients, 50 queries",
    summary=(
        "White-box, untargeted: of 10 places for a square of the given side the one where pixels of"
        " 0 and 1, as the gradient wants them, raise the cross-entropy most; then 40 sign steps of"
        " 0.1 on its content; from 5 such places. An image stops at its first misclassification."
    ),
    source="Karmon et al. 2018, arXiv:1801.02608; Rao, Stutz, Schiele 2020, arXiv:2005.02313",
    function=patch,
    targeted=True,
)
