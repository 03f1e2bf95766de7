"""HopSkipJump: it sees the model's decisions only, and walks along the boundary.

Chen, Jordan, Wainwright: HopSkipJumpAttack: A Query-Efficient Decision-Based Attack, IEEE S&P 2020,
algorithm 2 in L2. Batches of images take the same steps, with draws and distances of their own
(see CONTRIBUTING.md for why this is no library's).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.geometry import L2, per_image
from winnrobust.attacks.nearest import Nearest
from winnrobust.attacks.passes import NO_GRADIENTS, logits
from winnrobust.attacks.target import Target

QUERIES = 5000
STARTS = 50
"""How many random images are tried as starting points."""
FIRST_PROBES = 100
"""Queries for the first estimate of the boundary's direction; the paper's B_0."""
FIRST_RADIUS = 0.1
"""How far from the boundary the first estimate probes."""
HALVINGS = 20
"""How often a step that leads back to the right class is halved before it is given up."""


class _Searcher:
    """Asks the model, image by image the same number of times, and shows `Nearest` all answers.

    Attributes:
        rows: (n,) int64, the numbers of the images.
        asked: queries so far, for each image.
    """

    def __init__(self, target: Target, nearest: Nearest, budget: Budget) -> None:
        self.target, self.nearest, self.rows = target, nearest, target.standing
        self.originals = target.images[self.rows]
        self.queries, self.draws, self.asked = budget.queries or QUERIES, budget.eot, 0

    def spent(self) -> bool:
        """Tell whether nothing more may be asked, or there is nobody left to ask for."""
        return self.asked >= self.queries or not len(self.rows) or self.target.out_of_time()

    def wrong(self, points: Tensor) -> Tensor:
        """Tell which points (n, C, H, W) the model gets wrong; none any more once it is `spent`."""
        if self.spent():
            return torch.zeros_like(self.rows, dtype=torch.bool)
        self.asked += 1
        answers = logits(self.target.model, points, self.draws)
        reached = self.target.reached(answers, self.rows)
        self.nearest.see(self.rows, points, reached)
        return reached

    def keep(self, chosen: Tensor) -> None:
        """Go on with some of the images, a mask (n,)."""
        self.rows, self.originals = self.rows[chosen], self.originals[chosen]


def hopskipjump(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Walk along the boundary from random images, towards the originals, by decisions alone.

    Args:
        target: the model, the images and their true labels. Where none of 50 random images is
            misclassified, there is no start and nothing is found.
        epsilons: L2 bounds in the units of the images; one run serves them all.
        budget: queries for each image (5000), steps (as many as the queries allow), and answers
            averaged for a query (1).

    Raises:
        InputError: the model returns no logits.
    """
    nearest = Nearest(target, L2)
    search = _Searcher(target, nearest, budget)
    points, step = _start(search), 0
    while not search.spent() and step != budget.steps:
        points = _step(search, points, step)
        step += 1
    return nearest.result(epsilons, NO_GRADIENTS)


def _start(search: _Searcher) -> Tensor:
    """Find random images that the model gets wrong, and go on with the images that have one."""
    points = search.originals.clone()
    found = torch.zeros_like(search.rows, dtype=torch.bool)
    for trial in range(STARTS):
        # From full contrast to nearly black: of bright noise some models see one class only.
        drawn = search.target.uniform("hopskipjump", "start", trial)[search.rows]
        drawn = drawn * (1 - trial / STARTS)
        fresh = search.wrong(drawn) & ~found
        points[fresh] = drawn[fresh]
        found |= fresh
        if found.all():
            break
    search.keep(found)
    return _to_boundary(search, points[found])


def _step(search: _Searcher, points: Tensor, step: int) -> Tensor:
    """Take one step from points on the boundary, and go back to it."""
    pixels = points.shape[1:].numel()
    distances = L2.size(points - search.originals)
    radius = distances / pixels if step else torch.full_like(distances, FIRST_RADIUS)
    direction = _direction(search, points, radius, step)
    size = distances / math.sqrt(step + 1)
    ahead, moved = points, torch.zeros_like(search.rows, dtype=torch.bool)
    for _ in range(HALVINGS):
        tried = (points + per_image(size) * direction).clamp_(0, 1)
        fresh = search.wrong(tried) & ~moved
        ahead = torch.where(per_image(fresh), tried, ahead)
        moved |= fresh
        if moved.all():
            break
        size = size / 2
    return _to_boundary(search, ahead)


def _direction(search: _Searcher, points: Tensor, radius: Tensor, step: int) -> Tensor:
    """Estimate the direction in which a point becomes wrong fastest, from decisions around it.

    The paper's equation 16: the mean of random offsets, weighted by +1 where the model is wrong
    there and -1 where it is right, less the mean of the weights.
    """
    probes = int(FIRST_PROBES * math.sqrt(step + 1))
    weights = torch.zeros_like(radius)
    plain, weighted = torch.zeros_like(points), torch.zeros_like(points)
    for probe in range(probes):
        if search.spent():
            break
        offset = search.target.normal("hopskipjump", step, probe)[search.rows]
        offset = offset / per_image(L2.size(offset))
        around = (points + per_image(radius) * offset).clamp_(0, 1)
        weight = torch.where(search.wrong(around), 1.0, -1.0).to(points.dtype)
        offset = around - points  # what the clamping has left of it
        weights += weight
        plain += offset
        weighted += per_image(weight) * offset
    mean = weights / probes
    one_sided = mean.abs() == 1
    return L2.steepest(weighted - per_image(torch.where(one_sided, 0.0, mean)) * plain)


def _to_boundary(search: _Searcher, points: Tensor) -> Tensor:
    """Bisect between the originals, which are right, and points that are wrong."""
    near = torch.zeros_like(search.rows, dtype=points.dtype)
    far = torch.ones_like(near)
    for _ in range(math.ceil(1.5 * math.log2(points.shape[1:].numel()))):
        if search.spent():
            break
        middle = (near + far) / 2
        wrong = search.wrong(torch.lerp(search.originals, points, per_image(middle)))
        near, far = torch.where(wrong, near, middle), torch.where(wrong, middle, far)
    return torch.lerp(search.originals, points, per_image(far))


HOPSKIPJUMP = Attack(
    name="hopskipjump",
    norm="L2",
    access="black-box",
    cost=f"{QUERIES} queries",
    summary=(
        "Black-box, minimum norm: sees the predicted class only. From a random image to the"
        " boundary, then along it towards the image, in directions estimated from decisions around"
        f" the point, for {QUERIES} queries; the nearest misclassified point is kept."
    ),
    source="Chen, Jordan, Wainwright 2020, arXiv:1904.02144",
    function=hopskipjump,
    minimum_norm=True,
)
