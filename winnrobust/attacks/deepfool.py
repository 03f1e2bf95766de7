"""DeepFool: to the nearest boundary of the model, taken for linear, again and again.

Moosavi-Dezfooli, Fawzi, Frossard: DeepFool: a simple and accurate method to fool deep neural
networks, CVPR 2016, algorithm 2; clipped to [0, 1], and with the little more in every step that the
authors' code has.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd import difference_of_logits, wrong_classes
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import dtype_of
from winnrobust.attacks.norms import l2_size, l2_steepest, per_image
from winnrobust.attacks.progress import Nearest, Progress

ETA = 0.02
"""The share that the whole way is made longer by; the paper's eta."""
BEYOND = 1e-4
"""How much farther than to the boundary a step goes."""
ANY = 1e30
"""More than any distance: an image leaves at its first broken point."""


def deepfool(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int = 50,
    run: Run = Run(),
) -> AttackResult:
    """Step to the nearest of the boundaries with other classes, until the model is wrong.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        steps: each with a gradient for every one of the 9 likeliest wrong classes.

    Raises:
        InputError: the model returns no logits, or they have no gradient.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[3.0, 0, 0, 0], [0, 4.0, 0, 0]]))
    >>> image = torch.tensor([[[[0.5, 0.25], [0.5, 0.5]]]])  # logits 1.5 and 1; slopes 3 and 4
    >>> deepfool(model, image, torch.tensor([0])).distance  # 0.5 / 5, and a little more
    tensor([0.1021])
    """
    progress = Nearest(model, images, labels, run, "l2", enough=ANY)
    rows = progress.rows()
    points = originals = progress.images[rows]
    way = torch.zeros_like(points)
    classes = wrong_classes(progress)
    for _ in range(steps):
        if progress.over(rows):
            break
        way = way + to_nearest_boundary(progress, rows, points, classes)
        points = (originals + (1 + ETA) * way).clamp(0, 1)
        progress.look(rows, points)
        rows, points, originals, way = progress.compact(rows, points, originals, way)
    return progress.result()


def to_nearest_boundary(
    progress: Progress, rows: Tensor, points: Tensor, classes: list[Tensor]
) -> Tensor:
    """Return the offsets (n, C, H, W) from points to a little beyond the nearest boundary.

    It is between the label and one of the classes, each (N,), of a model taken for linear. Where no
    class has a gradient the offset is 0.
    """
    nearest = torch.full_like(rows, math.inf, dtype=points.dtype)
    offsets = torch.zeros_like(points)
    resolution = torch.finfo(dtype_of(progress.model, points)).eps
    for candidates in classes:

        def lead(logits: Tensor, rows: Tensor, candidates: Tensor = candidates) -> Tensor:
            return difference_of_logits(logits, progress.labels[rows], candidates[rows])

        seen = progress.gradient(rows, points, lead)
        # In half precision two logits can be equal well before the boundary: as far as rounding
        # may hide is added.
        hidden = resolution * seen.logits.abs().amax(1)
        distance = (seen.losses.abs() + hidden) / l2_size(seen.gradient)
        nearer = distance < nearest
        nearest = torch.where(nearer, distance, nearest)
        beyond = per_image(distance + BEYOND) * l2_steepest(seen.gradient)
        offsets = torch.where(per_image(nearer), beyond, offsets)
    return offsets


DEEPFOOL = Attack(
    name="deepfool",
    norm="l2",
    access="white-box",
    cost="up to 9 x 50 gradients, 50 queries",
    summary=(
        "White-box, minimum norm: steps to the nearest boundary of the model, taken for linear,"
        " among the 10 likeliest classes, until it is wrong."
    ),
    source="Moosavi-Dezfooli, Fawzi, Frossard 2016, arXiv:1511.04599",
    function=deepfool,
    minimum_norm=True,
)
