"""Auto-PGD: projected gradient ascent with momentum that finds its step size by itself.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020, section 3 and algorithm 1; as in the authors' code, but an image
leaves at its first misclassification (see CONTRIBUTING.md for why this is no library's). In L1 an
ascent is another one, which is in `apgd_l1.py`.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd_l1 import ascend_l1
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss
from winnrobust.attacks.norms import NORMS, NormName, per_image
from winnrobust.attacks.progress import BatchObjective, Progress

MOST_CLASSES = 9
"""How many of the wrong classes a targeted run tries, the likeliest first."""


def apgd_ce(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    steps: int = 100,
    restarts: int = 1,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Raise the cross-entropy of the true label, or lower that of the target.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: bound in the units of the images and in the norm.
        norm: "linf", "l2" or "l1".
        steps: gradient steps.
        restarts: random starts, of which later ones attack what is not broken yet.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    for restart in range(restarts):
        ASCENTS[norm](progress, objective, epsilon, steps, "apgd-ce", restart)
    return progress.result()


def apgd_t(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    steps: int = 100,
    restarts: int = 1,
    classes: int = MOST_CLASSES,
    run: Run = Run(),
) -> AttackResult:
    """Raise the difference-of-logits ratio towards one wrong class after another.

    The ratio does not change when all logits are scaled, so a saturated softmax hides nothing.
    Every misclassification counts, whichever class the run was for.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`); a target is the
            one class to try.
        epsilon: bound in the units of the images and in the norm.
        norm: "linf", "l2" or "l1".
        steps: gradient steps for each class.
        restarts: random starts for each class.
        classes: how many of the wrong classes are tried, the likeliest first.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    progress = Progress(model, images, labels, run)
    for place, wanted in enumerate(wrong_classes(progress, classes)):

        def ratio(logits: Tensor, rows: Tensor, wanted: Tensor = wanted) -> Tensor:
            return difference_of_logits_ratio(logits, labels[rows], wanted[rows])

        for restart in range(restarts):
            ASCENTS[norm](progress, ratio, epsilon, steps, "apgd-t", place, restart)
    return progress.result()


def ascend(
    progress: Progress,
    objective: BatchObjective,
    epsilon: float,
    steps: int,
    *names: str | int,
    norm: NormName,
) -> None:
    """Raise an objective from a random point on the surface of the ball: the paper's algorithm 1.

    Args:
        progress: the images; only those that are still active take part.
        objective: what to raise.
        epsilon, steps: as for `apgd_ce`.
        names: of the random start.
        norm: epsilon's, "linf" or "l2".
    """
    ball, alpha, rho = NORMS[norm], 0.75, 0.75
    rows = progress.rows()
    if progress.over(rows):
        return
    images = progress.images[rows]
    start = ball.random(progress.numbers[rows], images.shape[1:], progress.run.seed, *names)
    points = before = (images + epsilon * start / per_image(ball.size(start))).clamp_(0, 1)
    best_points = best_gradient = points
    eta = torch.full_like(images[:, :1, :1, :1], 2 * epsilon)  # the step sizes
    halved = torch.ones_like(rows, dtype=torch.bool)  # whether they were at the last check
    losses = images.new_full((len(rows), steps), -torch.inf)
    checks = checkpoints(steps)
    for step in range(steps):
        if progress.over(rows):
            break
        seen = progress.gradient(rows, points, objective)
        gradient = seen.gradient
        better = per_image(seen.losses > losses.amax(1))
        losses[:, step] = seen.losses
        best_points = torch.where(better, points, best_points)
        best_gradient = torch.where(better, gradient, best_gradient)
        if step in checks:
            since = checks[step]
            rises = (losses[:, since + 1 : step + 1] > losses[:, since:step]).sum(1)
            no_new_best = losses[:, : since + 1].amax(1) >= losses.amax(1)
            halved = (rises <= rho * (step - since)) | (~halved & no_new_best)
            back = per_image(halved)
            eta = torch.where(back, eta / 2, eta)
            points = torch.where(back, best_points, points)
            gradient = torch.where(back, best_gradient, gradient)
        share = alpha if step else 1.0
        ahead = ball.project(points + eta * ball.steepest(gradient), images, epsilon)
        ahead = points + share * (ahead - points) + (1 - share) * (points - before)
        points, before = ball.project(ahead, images, epsilon), points
        (
            rows, images, points, before, best_points, best_gradient, eta, halved, losses,
        ) = progress.compact(
            rows, images, points, before, best_points, best_gradient, eta, halved, losses
        )  # fmt: skip
    progress.leave(rows, points)


ASCENTS: dict[NormName, Callable[..., None]] = {
    "linf": partial(ascend, norm="linf"),
    "l2": partial(ascend, norm="l2"),
    "l1": ascend_l1,
}
"""How the objective is raised in a norm: f(progress, objective, epsilon, steps, *names)."""


def checkpoints(steps: int) -> dict[int, int]:
    """Return at which steps the step size is checked, and which check was before each.

    >>> list(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    length, last, found = max(int(0.22 * steps), 1), 0, {}
    while last + length <= steps:
        found[last + length] = last
        last += length
        length = max(length - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return found


def wrong_classes(progress: Progress, most: int = MOST_CLASSES) -> list[Tensor]:
    """Return the classes (N,) to try on every image: its target, or the likeliest wrong ones."""
    if progress.run.targets is not None:
        return [progress.run.targets]
    if progress.out_of_time():
        return []
    logits = progress.clean.answer.logits
    last = logits.scatter(1, progress.labels.unsqueeze(1), -torch.inf)
    likeliest = last.argsort(1, descending=True)[:, :-1]
    return list(likeliest[:, :most].unbind(1))


def difference_of_logits_ratio(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return (z_class - z_label) / (z_1 - (z_3 + z_4) / 2), z_1 >= z_2 >= ... the sorted logits.

    The paper's equation 5, with its sign, rises towards the class. With three classes z_3 alone is
    subtracted; with two there is nothing to scale with, and the difference itself is returned.

    Args:
        logits: (n, K).
        labels: (n,) int64, the true classes.
        classes: (n,) int64, the wrong classes wanted.
    """
    difference = difference_of_logits(logits, labels, classes)
    largest = logits.topk(min(4, logits.shape[1]), dim=1).values
    if logits.shape[1] < 3:
        return difference
    return difference / (largest[:, 0] - largest[:, 2:].mean(1)).clamp_min(1e-12)


def difference_of_logits(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return z_class - z_label (n,)."""
    pair = torch.stack([labels, classes], 1)
    return logits.gather(1, pair).diff(dim=1).squeeze(1)


APGD_CE = Attack(
    name="apgd-ce",
    norm="linf",
    norms=("linf", "l2", "l1"),
    access="white-box",
    cost="100 gradients",
    summary=(
        "White-box, untargeted: steps with momentum along which the true label's cross-entropy"
        " rises most in the norm (in Linf the gradient's sign), from a random start; a step is"
        " halved where the loss stops rising. In L1 steps change few values, in balls that shrink"
        " to epsilon. An image stops at its first misclassification."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690; in L1 2021, arXiv:2103.01208",
    function=apgd_ce,
    targeted=True,
)

APGD_T = Attack(
    name="apgd-t",
    norm="linf",
    norms=("linf", "l2", "l1"),
    access="white-box",
    cost=f"{MOST_CLASSES} x 100 gradients",
    summary=(
        f"White-box: as apgd-ce, on the difference-of-logits ratio towards each of the"
        f" {MOST_CLASSES} likeliest wrong classes in turn; every misclassification counts."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690; in L1 2021, arXiv:2103.01208",
    function=apgd_t,
    targeted=True,
)
