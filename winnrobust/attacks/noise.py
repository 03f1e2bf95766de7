"""Random noise: controls. An attack that is no better than these found nothing."""

from torch import Tensor, nn

from winnrobust.attacks import draws
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.norms import NormName, l2_steepest, linf_random
from winnrobust.attacks.progress import Progress


def noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    restarts: int = 10,
    run: Run = Run(),
) -> AttackResult:
    """Add noise and clip to [0, 1]; the first draw that the model gets wrong.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: bound in the units of the images and in the norm.
        norm: "linf": uniform in the ball; "l2": Gaussian, scaled to length epsilon.
        restarts: draws.

    Raises:
        InputError: the model returns no logits.
    """
    shape = tuple(images.shape[1:])
    progress = Progress(model, images, labels, run)
    for draw in range(restarts):
        rows = progress.rows()
        if progress.over(rows):
            break
        numbers = progress.numbers[rows]
        if norm == "linf":
            offsets = linf_random(numbers, shape, run.seed, "noise-uniform", draw)
        else:
            offsets = l2_steepest(draws.normal(numbers, shape, run.seed, "noise-gaussian", draw))
        progress.leave(rows, (progress.images[rows] + epsilon * offsets).clamp_(0, 1))
    return progress.result()


NOISE_UNIFORM = Attack(
    name="noise-uniform",
    norm="linf",
    access="none",
    cost="10 queries",
    summary=(
        "No access, a control: uniform noise of at most epsilon, clipped to [0, 1], the worst of"
        " several draws."
    ),
    source="a control",
    function=noise,
    targeted=True,
)

NOISE_GAUSSIAN = Attack(
    name="noise-gaussian",
    norm="l2",
    access="none",
    cost="10 queries",
    summary=(
        "No access, a control: Gaussian noise scaled to length epsilon, clipped to [0, 1], the"
        " worst of several draws."
    ),
    source="a control",
    function=noise,
    targeted=True,
    settings={"norm": "l2"},
)
