"""The fast adaptive boundary attack: the nearest image that the model gets wrong.

Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML
2020, algorithm 1, targeted as in AutoAttack (FAB-T): it steps to where the difference of two
logits, taken for linear, is 0, staying in [0, 1].
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd import MOST_CLASSES, difference_of_logits, wrong_classes
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NORMS, per_image
from winnrobust.attacks.progress import Nearest


def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 100,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    enough: float = 0.0,
    run: Run = Run(),
) -> AttackResult:
    """Walk along the boundary to each wrong class in turn, and keep the nearest example.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`); a target is the
            one class to try.
        steps: for each of the 9 likeliest wrong classes.
        alpha_max: the most that a step is drawn towards the boundary point nearest to the image.
        eta: a step goes this many times as far as the boundary seems to be.
        beta: from a misclassified point, the share of the way from the image that is kept.
        enough: an image is done once an example is found within this L-infinity distance.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    size = NORMS["linf"].size
    progress = Nearest(model, images, labels, run, "linf", enough)
    for classes in wrong_classes(progress):

        def lead(logits: Tensor, rows: Tensor, classes: Tensor = classes) -> Tensor:
            return difference_of_logits(logits, labels[rows], classes[rows])

        rows = progress.rows()
        points = originals = progress.images[rows]
        for _ in range(steps):
            if progress.over(rows):
                break
            seen = progress.gradient(rows, points, lead)
            there = seen.losses + (seen.gradient * (originals - points)).flatten(1).sum(1)
            ahead = offset_to_boundary(points, seen.gradient, seen.losses)
            direct = offset_to_boundary(originals, seen.gradient, there)
            far, near = (size(offset).clamp_min(1e-8) for offset in (ahead, direct))
            alpha = per_image((far / (far + near)).clamp_max(alpha_max))
            ahead, direct = points + eta * ahead, originals + eta * direct
            points = ((1 - alpha) * ahead + alpha * direct).clamp_(0, 1)
            broken = progress.broken(rows, progress.look(rows, points))
            back = originals + beta * (points - originals)
            points = torch.where(per_image(broken), back, points)
            rows, points, originals = progress.compact(rows, points, originals)
    return progress.result()


def offset_to_boundary(points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return the smallest offset in L-infinity that brings a linear function to 0 within [0, 1].

    All pixels move by the same amount, each until it is at 0 or 1. Where [0, 1] ends before the
    function is 0, all pixels end there.

    Args:
        points: (n, C, H, W) in [0, 1].
        gradient: (n, C, H, W), the function's slope.
        value: (n,), what it is at the points.
    """
    sign = -gradient.sign() * per_image(value.sign())
    room = torch.where(sign > 0, 1 - points, points) * sign.abs()
    # With all rooms in order: what the function has changed by when the k-th pixel stops, and the
    # slopes of the pixels that move until then.
    ordered, order = room.flatten(1).sort(1)
    slopes = gradient.abs().flatten(1).gather(1, order)
    moving = slopes.flip(1).cumsum(1).flip(1)
    changed = (slopes * ordered).cumsum(1) - slopes * ordered + moving * ordered
    wanted = value.abs().unsqueeze(1)
    last = (changed < wanted).sum(1, keepdim=True).clamp_max(ordered.shape[1] - 1)
    beyond = (changed.gather(1, last) - wanted).clamp_min(0)
    slope = moving.gather(1, last).clamp_min(torch.finfo(slopes.dtype).tiny)
    amount = ordered.gather(1, last) - beyond / slope
    return sign * torch.minimum(room, per_image(amount))


FAB = Attack(
    name="fab",
    norm="linf",
    access="white-box",
    cost=f"{MOST_CLASSES} x 100 gradients and queries",
    summary=(
        f"White-box, minimum norm: steps to the boundary with each of the {MOST_CLASSES}"
        " likeliest wrong classes in turn, each drawn back towards the image; the nearest"
        " misclassified point is kept."
    ),
    source="Croce, Hein 2020, arXiv:1907.02044",
    function=fab,
    minimum_norm=True,
    targeted=True,
)
