"""The fast adaptive boundary attack: the nearest image that the model gets wrong.

Croce, Hein: Minimally distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML
2020, algorithm 1, targeted as in AutoAttack (FAB-T): it steps to where the difference of two
logits, taken for linear, is 0, staying in [0, 1].
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd import MOST_CLASSES, difference_of_logits, wrong_classes
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NORMS, NormName, linf_size, per_image
from winnrobust.attacks.progress import Nearest


def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: NormName = "linf",
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
        norm: "linf", "l2" or "l1".
        steps: for each of the 9 likeliest wrong classes.
        alpha_max: the most that a step is drawn towards the boundary point nearest to the image.
        eta: a step goes this many times as far as the boundary seems to be.
        beta: from a misclassified point, the share of the way from the image that is kept.
        enough: an image is done once an example is found within this distance.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    size, offset_to_boundary = NORMS[norm].size, OFFSETS[norm]
    progress = Nearest(model, images, labels, run, norm, enough)
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


def linf_offset(points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return the smallest offset in L-infinity that brings a linear function to 0 within [0, 1].

    All pixels move by the same amount, each until it is at 0 or 1. Where [0, 1] ends before the
    function is 0, all pixels end there.

    Args:
        points: (n, C, H, W) in [0, 1].
        gradient: (n, C, H, W), the function's slope.
        value: (n,), what it is at the points.
    """
    return _move_together(points, gradient, value, gradient.sign().abs())


def l2_offset(points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return the smallest offset in L2, as `linf_offset`: pixels move in proportion to slopes."""
    slopes = gradient.abs()
    steepest = linf_size(slopes).clamp_min(torch.finfo(slopes.dtype).tiny)
    return _move_together(points, gradient, value, slopes / per_image(steepest))


def l1_offset(points: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
    """Return the smallest offset in L1, as `linf_offset`: the pixels move one after the other.

    The steepest comes first, each moves to 0 or 1, and the last one only as far as it must.
    """
    slopes, order = gradient.abs().flatten(1).sort(dim=1, descending=True, stable=True)
    sign, room = _way(points, gradient, value)
    ordered = room.flatten(1).gather(1, order)
    changed = (slopes * ordered).cumsum(1) - slopes * ordered  # before a pixel moves
    wanted = (value.abs().unsqueeze(1) - changed).clamp_min(0)
    moved = torch.minimum(ordered, wanted / slopes.clamp_min(torch.finfo(slopes.dtype).tiny))
    return sign * torch.zeros_like(moved).scatter(1, order, moved).reshape(points.shape)


def _move_together(points: Tensor, gradient: Tensor, value: Tensor, speed: Tensor) -> Tensor:
    """Move all pixels at once, each at its speed and until it is at 0 or 1, for the same time."""
    sign, room = _way(points, gradient, value)
    tiny = torch.finfo(speed.dtype).tiny
    # With all arrivals in order: what the function has changed by when the k-th pixel stops, and
    # how fast the pixels change it that move until then.
    times, order = (room / speed.clamp_min(tiny)).flatten(1).sort(1)
    changes = (gradient.abs() * room).flatten(1).gather(1, order)
    slopes = (gradient.abs() * speed).flatten(1).gather(1, order)
    moving = slopes.flip(1).cumsum(1).flip(1)
    changed = changes.cumsum(1) - changes + moving * times
    wanted = value.abs().unsqueeze(1)
    last = (changed < wanted).sum(1, keepdim=True).clamp_max(times.shape[1] - 1)
    beyond = (changed.gather(1, last) - wanted).clamp_min(0)
    time = times.gather(1, last) - beyond / moving.gather(1, last).clamp_min(tiny)
    return sign * torch.minimum(room, per_image(time) * speed)


def _way(points: Tensor, gradient: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return in which direction pixels bring the function to 0, and how far they can go."""
    sign = -gradient.sign() * per_image(value.sign())
    return sign, torch.where(sign > 0, 1 - points, points) * sign.abs()


OFFSETS: dict[NormName, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linf": linf_offset,
    "l2": l2_offset,
    "l1": l1_offset,
}


FAB = Attack(
    name="fab",
    norm="linf",
    norms=("linf", "l2", "l1"),
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
