"""AutoAttack's verdict at a fraction of its cost: short ascents, from two starts, to every class.

What it is made of is of the literature: targets one after the other (Croce, Hein 2020,
arXiv:2003.01690), step sizes that fall as a cosine (Liu et al. 2022, arXiv:2203.05154; they also
leave images that will not break sooner), most of the effort where the margin is smallest (Melamed,
Yehudai, Shamir 2024, arXiv:2407.02240), random squares where gradients do not help (Andriushchenko
et al. 2020, arXiv:1912.00049). That a second ascent begins at the ball's grayest point is ours: a
model that is flat around the image is not so there.
"""

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd import difference_of_logits, wrong_classes
from winnrobust.attacks.apgd_l1 import ascend_l1, sparse_direction
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NORMS, NormName, per_image
from winnrobust.attacks.progress import BatchObjective, Progress
from winnrobust.attacks.square import PROPOSALS, drawing, side_of_square

LONGER = 5
"""The last ascents have so many times the steps of the others."""
PROMISING = 2
"""So many classes, those that came nearest, get one from each start."""
L1_STEPS = 4
"""So many times the steps have the ascents in L1, which are in larger balls first."""
LARGER: dict[NormName, float] = {"linf": 1, "l2": 3, "l1": 1}
"""In so many times epsilon the last ascents begin, where that helps; L1's have theirs by APGD."""
SHRINKING = 0.6
"""After this share of their steps they are in the ball of epsilon."""
GRAY = 0.5
BLOCK = 50
"""After so many queries an image's search ends if it is not worth going on with."""
CHANGED = (0.5, 2.0)
"""In L1 a step changes so many times epsilon, and so many times its own size, values: first many,
in the end few. Epsilon values can fill the ball."""


def aa_fast(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    steps: int = 7,
    queries: int = 1000,
    run: Run = Run(),
) -> AttackResult:
    """Ascend to any wrong class, to each, longer to those that came nearest; then try squares.

    Every ascent is made twice, from the image and from the point of the ball that is nearest to
    gray. In L1, only that to any wrong class is: those to each, and another to any, are APGD's, in
    balls of 3, 2 and 1 times epsilon, four times as long. An image leaves once it is broken.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`); a target is the
            one class to try.
        epsilon: bound in the units of the images and in the norm.
        norm: "linf", "l2" or "l1".
        steps: gradient steps of an ascent; the last ones have five times as many.
        queries: at most, of a search with squares that goes on from the best point of the ascents.

    Raises:
        InputError: the model returns no logits, or they have no gradient.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    >>> image = torch.tensor([[[[0.55, 0.5], [0.5, 0.5]]]])  # the first pixel wins: class 0
    >>> result = aa_fast(model, image, torch.tensor([0]), epsilon=0.1)
    >>> model(result.images).argmax(1), result.gradients
    (tensor([1]), tensor([2]))
    """
    progress = Progress(model, images, labels, run)
    best = Best(progress, epsilon, norm)
    gray = NORMS[norm].project(torch.full_like(best.points, GRAY), progress.images, epsilon)
    starts = progress.images, gray
    for start in starts:
        best.ascend(start, best.margin, steps)
    classes = wrong_classes(progress)
    leads: list[BatchObjective] = [partial(_lead, labels, wanted) for wanted in classes]
    if norm == "l1":
        for place, objective in enumerate([best.margin, *leads]):
            ascend_l1(progress, objective, epsilon, L1_STEPS * steps, "aa-fast", place)
    elif leads:
        reached = [
            torch.maximum(*(best.ascend(start, lead, steps) for start in starts)) for lead in leads
        ]
        order = torch.stack(reached, 1).argsort(dim=1, descending=True, stable=True)
        nearest = torch.stack(classes, 1).gather(1, order)
        for wanted in nearest[:, :PROMISING].unbind(1):
            for start in starts:
                lead = partial(_lead, labels, wanted)
                best.ascend(start, lead, LONGER * steps, LARGER[norm])
    best.search(queries)
    return progress.result()


def _lead(labels: Tensor, wanted: Tensor, logits: Tensor, rows: Tensor) -> Tensor:
    return difference_of_logits(logits, labels[rows], wanted[rows])


class Best:
    """The points of a batch where the margin is highest, and what raises it.

    Attributes:
        progress: the batch.
        margin: the largest other logit less the label's, or the target's less the largest other.
        points: (N, C, H, W), the best so far.
        margins: (N,), at those.
        led: (N,) bool, whether a step along a gradient ever raised what it was to raise.
    """

    def __init__(self, progress: Progress, epsilon: float, norm: NormName) -> None:
        self.progress, self.epsilon, self.norm = progress, epsilon, norm
        self.margin = progress.objective("margin")
        self.points = progress.images.clone()
        self.margins = self.points.new_full((len(self.points),), -torch.inf)
        self.led = torch.zeros_like(progress.active)

    def remember(self, rows: Tensor, points: Tensor, logits: Tensor) -> None:
        """Keep those points (n, C, H, W) that are better."""
        margins = self.margin(logits, rows).to(self.margins.dtype)
        better = margins > self.margins[rows]
        self.points[rows] = torch.where(per_image(better), points, self.points[rows])
        self.margins[rows] = torch.where(better, margins, self.margins[rows])

    def ascend(
        self, start: Tensor, objective: BatchObjective, steps: int, larger: float = 1
    ) -> Tensor:
        """Raise an objective, in steps from the ball's size down to 0.

        Args:
            start: (N, C, H, W), of all images of the batch.
            objective: what to raise.
            steps: how many.
            larger: in so many times epsilon it begins. What is wrong outside epsilon's ball counts
                for nothing.

        Returns:
            (N,), the highest that it was; -inf for images that were not active.
        """
        progress, ball = self.progress, NORMS[self.norm]
        radii = [
            self.epsilon * max(1.0, larger - (larger - 1) * step / (SHRINKING * steps))
            for step in range(steps + 1)
        ]
        highest = torch.full_like(self.margins, -torch.inf)
        rows = progress.rows()
        images, points = progress.images[rows], start[rows]
        for step, (radius, following) in enumerate(pairwise(radii)):
            size = radius * (1 + math.cos(math.pi * step / steps)) / 2
            if progress.over(rows):
                return highest
            inside = radius == self.epsilon
            look = progress.gradient if inside else progress.explore
            seen = look(rows, points, objective)
            if inside:
                self.remember(rows, points, seen.logits)
            before, losses = highest[rows], seen.losses.to(highest.dtype)
            self.led[rows] |= before.isfinite() & (losses > before)
            highest[rows] = torch.maximum(before, losses)
            ahead = points + size * direction(self.norm, seen.gradient, self.epsilon, size)
            points = ball.project(ahead, images, following)
            rows, images, points = progress.compact(rows, images, points)
        if not progress.over(rows):
            self.remember(rows, points, progress.look(rows, points).logits)
        return highest

    def search(self, queries: int) -> None:
        """Try squares on the best points, as long as that goes well.

        An image is given up after `BLOCK` queries in which its margin rose by so little that the
        queries that are left would not break it at that pace; but not where gradients led nowhere.
        """
        progress = self.progress
        rows = progress.rows()
        last = self.margins.clone()
        for query in range(1, queries + 1):
            if progress.over(rows):
                return
            images = progress.images[rows]
            draw = drawing(progress.numbers[rows], progress.run.seed, "aa-fast", query)
            side = side_of_square(query, queries, *images.shape[2:])
            tried = PROPOSALS[self.norm].change(self.points[rows], images, self.epsilon, side, draw)
            self.remember(rows, tried, progress.look(rows, tried).logits)
            (rows,) = progress.compact(rows)
            if query % BLOCK == 0:
                rise = (self.margins - last)[rows]
                goes_well = self.margins[rows] + rise * (queries - query) / BLOCK > 0
                rows = rows[goes_well | ~self.led[rows]]
                last = self.margins.clone()


def direction(norm: NormName, gradient: Tensor, epsilon: float, size: float) -> Tensor:
    """Return offsets of size 1 along which a linear function with that gradient rises.

    In L1 it is not the steepest direction, in which a step would change a single value.

    Args:
        norm: epsilon's.
        gradient: (n, C, H, W).
        epsilon: the ball's.
        size: of the step.
    """
    if norm != "l1":
        return NORMS[norm].steepest(gradient)
    values = CHANGED[0] * epsilon + CHANGED[1] * size
    share = min(max(values, 1.0) / gradient[0].numel(), 1.0)
    return sparse_direction(gradient, gradient.new_full((len(gradient),), share))


AA_FAST = Attack(
    name="aa-fast",
    norm="linf",
    norms=("linf", "l2", "l1"),
    access="white-box",
    cost="up to 320 gradients, 1000 queries",
    summary=(
        "White-box, and black-box where that helps: short ascents on the difference"
        " of logits, from the image and from the grayest point of the ball, to any wrong class, to"
        " each of the 9 likeliest, and longer to the 2 that came nearest (in L1 by APGD's steps);"
        " then random squares as long as they bring another class closer. An image stops at its"
        " first misclassification."
    ),
    source="this toolkit, after Croce, Hein 2020, arXiv:2003.01690 and others",
    function=aa_fast,
    targeted=True,
)
