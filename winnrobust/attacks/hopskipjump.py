"""HopSkipJump: it sees the model's decisions only, and walks along the boundary.

Chen, Jordan, Wainwright: HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, IEEE S&P 2020,
algorithm 2 in L2. The images of a batch take their steps together, but every image has draws,
distances and queries that do not depend on the others.
"""

import math

import torch
from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import l2_size, l2_steepest, per_image
from winnrobust.attacks.progress import Nearest

STARTS = 50
"""How many random images are tried as starting points."""
FIRST_PROBES = 100
"""Queries for the first estimate of the boundary's direction; the paper's B_0."""
FIRST_RADIUS = 0.1
"""How far from the boundary the first estimate probes."""
HALVINGS = 12
"""How often at most a step that leads back to the right class is halved."""


def hopskipjump(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    queries: int = 5000,
    steps: int | None = None,
    run: Run = Run(),
) -> AttackResult:
    """Walk along the boundary from random images, towards the originals, by decisions alone.

    Where none of 50 random images is misclassified there is no start, and nothing is found.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        queries: at most so many for each image; the last step probes with what is left.
        steps: at most so many; None: as many as the queries allow.

    Raises:
        InputError: the model returns no logits.
    """
    progress = Nearest(model, images, labels, run, "l2")
    bisections = math.ceil(1.5 * math.log2(images[0].numel()))
    rows, points = find_starts(progress, min(STARTS, queries))
    points = to_boundary(progress, rows, points, min(bisections, queries - STARTS))
    left = queries - STARTS - bisections
    step = 0
    while step != steps and not progress.over(rows):
        step += 1
        probes = min(int(FIRST_PROBES * math.sqrt(step)), left - HALVINGS - bisections)
        if probes < 1:
            break
        left -= probes + HALVINGS + bisections
        distance = l2_size(points - progress.images[rows])
        radius = distance / images[0].numel()
        if step == 1:
            radius = torch.full_like(distance, FIRST_RADIUS)
        direction = estimate_direction(progress, rows, points, radius, probes, step)
        points = jump(progress, rows, points, direction, distance / math.sqrt(step))
        points = to_boundary(progress, rows, points, bisections)
    return progress.result()


def is_wrong(progress: Nearest, rows: Tensor, points: Tensor) -> Tensor:
    """Ask the model about points (n, C, H, W) of the images numbered `rows`: a mask (n,)."""
    return progress.broken(rows, progress.look(rows, points))


def find_starts(progress: Nearest, trials: int) -> tuple[Tensor, Tensor]:
    """Find random images that the model gets wrong.

    Returns:
        The numbers (n,) of the images that have one, and these (n, C, H, W).
    """
    waiting = everyone = progress.rows()
    starts = progress.images.clone()
    shape, seed = tuple(starts.shape[1:]), progress.run.seed
    for trial in range(trials):
        if progress.over(waiting):
            break
        numbers = progress.numbers[waiting]
        # From full contrast to nearly black: of bright noise some models see one class only.
        noise = draws.uniform(numbers, shape, seed, "hopskipjump", "start", trial)
        noise = noise.to(starts.dtype) * (1 - trial / STARTS)
        wrong = is_wrong(progress, waiting, noise)
        starts[waiting[wrong]] = noise[wrong]
        waiting = waiting[~wrong]
    rows = everyone[~torch.isin(everyone, waiting)]
    return rows, starts[rows]


def estimate_direction(
    progress: Nearest, rows: Tensor, points: Tensor, radius: Tensor, probes: int, step: int
) -> Tensor:
    """Estimate the direction (n, C, H, W) in which a point becomes wrong fastest, of length 1.

    The paper's equation 16: the mean of random offsets, weighted by +1 where the model is wrong
    there and -1 where it is right, less the mean of the weights.
    """
    shape, seed = tuple(points.shape[1:]), progress.run.seed
    weights = torch.zeros_like(rows, dtype=points.dtype)
    plain, weighted = torch.zeros_like(points), torch.zeros_like(points)
    for probe in range(probes):
        if progress.over(rows):
            break
        numbers = progress.numbers[rows]
        offset = l2_steepest(draws.normal(numbers, shape, seed, "hopskipjump", step, probe))
        around = (points + per_image(radius) * offset).clamp(0, 1)
        weight = torch.where(is_wrong(progress, rows, around), 1.0, -1.0).to(points.dtype)
        offset = around - points  # what the clamping has left of it
        weights += weight
        plain += offset
        weighted += per_image(weight) * offset
    mean = weights / probes
    baseline = torch.where(mean.abs() == 1, 0.0, mean)  # one-sided: all there is, is the mean
    return l2_steepest(weighted - per_image(baseline) * plain)


def jump(
    progress: Nearest, rows: Tensor, points: Tensor, direction: Tensor, size: Tensor
) -> Tensor:
    """Return the first of points + (size, size / 2, ...) * direction that is wrong, if one is."""
    ahead = points.clone()
    waiting = torch.arange(len(rows), device=rows.device)
    for halving in range(HALVINGS):
        if progress.over(waiting):
            break
        tried = points + per_image(size / 2**halving) * direction
        tried = tried[waiting].clamp(0, 1)
        wrong = is_wrong(progress, rows[waiting], tried)
        ahead[waiting[wrong]] = tried[wrong]
        waiting = waiting[~wrong]
    return ahead


def to_boundary(progress: Nearest, rows: Tensor, points: Tensor, bisections: int) -> Tensor:
    """Bisect between the originals, which are right, and points that are wrong."""
    originals = progress.images[rows]
    near = torch.zeros_like(rows, dtype=points.dtype)
    far = torch.ones_like(near)
    for _ in range(bisections):
        if progress.over(rows):
            break
        middle = (near + far) / 2
        wrong = is_wrong(progress, rows, torch.lerp(originals, points, per_image(middle)))
        near, far = torch.where(wrong, near, middle), torch.where(wrong, middle, far)
    return torch.lerp(originals, points, per_image(far))


HOPSKIPJUMP = Attack(
    name="hopskipjump",
    norm="l2",
    access="black-box",
    cost="5000 queries",
    summary=(
        "Black-box, minimum norm: sees the predicted class only. From a random image to the"
        " boundary, then along it towards the image, in directions estimated from decisions around"
        " the point; the nearest misclassified point is kept."
    ),
    source="Chen, Jordan, Wainwright 2020, arXiv:1904.02144",
    function=hopskipjump,
    minimum_norm=True,
)
