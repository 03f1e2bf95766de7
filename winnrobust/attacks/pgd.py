"""Projected gradient ascent on the pixels: BIM, and PGD in several norms.

Kurakin, Goodfellow, Bengio: Adversarial examples in the physical world, 2016 (BIM: from the image
itself); Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to
Adversarial Attacks, ICLR 2018, section 2.1 (PGD: from random points of the ball).
"""

from dataclasses import replace

from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss
from winnrobust.attacks.norms import NORMS, NormName
from winnrobust.attacks.progress import Progress

RELATIVE_STEP = 2.5
"""A step is this many times epsilon / steps: the path can cross the ball and turn."""


def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Raise the loss of the true label from the image itself, projecting every step.

    An image that is broken stays where it is. So does one that the model gets wrong to begin with.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        steps: gradient steps.
        step_size: of each, in the units of the images; None: 2.5 * epsilon / steps.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    size = RELATIVE_STEP * epsilon / steps if step_size is None else step_size
    ball = NORMS["linf"]
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    rows = progress.rows()
    points = originals = progress.images[rows]
    for _ in range(steps):
        if progress.over(rows):
            break
        gradient = progress.gradient(rows, points, objective).gradient
        points = ball.project(points + size * gradient.sign(), originals, epsilon)
        rows, points, originals = progress.compact(rows, points, originals)
    progress.leave(rows, points)
    return progress.result()


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    screen: bool = False,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Raise the loss of the true label from random points of the ball, projecting every step.

    An image that is broken stays where it is, and is not started again. So does one that the model
    gets wrong to begin with.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: bound in the units of the images and in the norm.
        norm: "linf" or "l2".
        steps: gradient steps.
        step_size: of each, in the norm; None: 2.5 * epsilon / steps.
        restarts: random starts.
        screen: first try one step of size epsilon (FGSM), which breaks many at the cost of one
            gradient. Not part of PGD.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.

    >>> import torch
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    >>> image = torch.tensor([[[[0.55, 0.5], [0.5, 0.5]]]])  # the first pixel wins: class 0
    >>> result = pgd(model, image, torch.tensor([0]), epsilon=0.1)
    >>> model(result.images).argmax(1)
    tensor([1])
    """
    size = RELATIVE_STEP * epsilon / steps if step_size is None else step_size
    ball = NORMS[norm]
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    if screen and len(rows := progress.rows()):
        originals = progress.images[rows]
        gradient = progress.gradient(rows, originals, objective).gradient
        points = ball.project(originals + epsilon * ball.steepest(gradient), originals, epsilon)
        progress.leave(rows, points)
    for restart in range(restarts):
        rows = progress.rows()
        originals = progress.images[rows]
        offsets = ball.random(progress.numbers[rows], images.shape[1:], run.seed, "pgd", restart)
        points = (originals + epsilon * offsets).clamp_(0, 1)
        for _ in range(steps):
            if progress.over(rows):
                break
            gradient = progress.gradient(rows, points, objective).gradient
            points = ball.project(points + size * ball.steepest(gradient), originals, epsilon)
            rows, points, originals = progress.compact(rows, points, originals)
        progress.leave(rows, points)
    return progress.result()


BIM = Attack(
    name="bim",
    norm="linf",
    access="white-box",
    cost="10 gradients",
    summary=(
        "White-box, untargeted: steps along the sign of the gradient of the true label's"
        f" cross-entropy, each {RELATIVE_STEP} * epsilon / steps, from the image itself, projected"
        " to the ball and to [0, 1]. An image stops at its first misclassification."
    ),
    source="Kurakin, Goodfellow, Bengio 2016, arXiv:1607.02533",
    function=bim,
    targeted=True,
)

PGD = Attack(
    name="pgd",
    norm="linf",
    norms=("linf", "l2"),
    access="white-box",
    cost="20 gradients",
    summary=(
        "White-box, untargeted: steps along which the true label's cross-entropy rises most in the"
        f" norm (in Linf the gradient's sign), each {RELATIVE_STEP} * epsilon / steps, from a"
        " random start, projected to the ball and to [0, 1]. An image stops at its first"
        " misclassification."
    ),
    source="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, arXiv:1706.06083",
    function=pgd,
    targeted=True,
)

PGD_L2 = replace(PGD.in_norm("l2"), name="pgd-l2", norms=("l2",))
"""Another name of PGD in L2."""
