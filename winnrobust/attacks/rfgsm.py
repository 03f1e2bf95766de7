"""The fast gradient sign method after a random step.

Tramèr, Kurakin, Papernot, Goodfellow, Boneh, McDaniel: Ensemble Adversarial Training: Attacks and
Defenses, ICLR 2018, section 4.1: the random step leaves places where the gradient is masked.
"""

from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss
from winnrobust.attacks.norms import NORMS
from winnrobust.attacks.progress import Progress

RANDOM_PART = 0.5
"""The random step is this many times epsilon, the step along the gradient is the rest."""


def rfgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    restarts: int = 1,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Move every pixel by epsilon / 2 up or down at random, then by epsilon / 2 up the loss.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        restarts: random steps, of which later ones start what is not broken yet.
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    ball = NORMS["linf"]
    progress = Progress(model, images, labels, run)
    objective = progress.objective(loss)
    for restart in range(restarts):
        rows = progress.rows()
        if progress.over(rows):
            break
        originals = progress.images[rows]
        corner = ball.random(progress.numbers[rows], images.shape[1:], run.seed, "rfgsm", restart)
        points = (originals + RANDOM_PART * epsilon * corner.sign()).clamp_(0, 1)
        gradient = progress.gradient(rows, points, objective).gradient
        points = points + (1 - RANDOM_PART) * epsilon * gradient.sign()
        progress.leave(rows, ball.project(points, originals, epsilon))
    return progress.result()


RFGSM = Attack(
    name="rfgsm",
    norm="linf",
    access="white-box",
    cost="1 gradient",
    summary=(
        "White-box, untargeted: a step of epsilon / 2 to a random corner, then one of epsilon / 2"
        " along the sign of the gradient there of the true label's cross-entropy, clipped to"
        " [0, 1]."
    ),
    source="Tramèr et al. 2018, arXiv:1705.07204",
    function=rfgsm,
    targeted=True,
)
