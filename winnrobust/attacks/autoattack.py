"""AutoAttack, the standard version: four attacks in sequence, each on what the others left.

Croce, Hein: Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks, ICML 2020: APGD on the cross-entropy, APGD on the targeted
difference-of-logits ratio, targeted FAB, Square Attack with the first 5000 queries of its schedule.
In L1: Croce, Hein: Mind the box, ICML 2021, section 6.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from winnrobust.attacks.apgd import MOST_CLASSES, apgd_ce, apgd_t
from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.fab import fab
from winnrobust.attacks.norms import NormName, per_image
from winnrobust.attacks.progress import Progress
from winnrobust.attacks.square import FULL_SCHEDULE, square

STARTS: dict[NormName, int] = {"linf": 1, "l2": 1, "l1": 5}
"""How often apgd-ce starts where the other parts start once."""
CLASSES: dict[NormName, int] = {"linf": MOST_CLASSES, "l2": MOST_CLASSES, "l1": 5}
"""How many classes apgd-t tries."""


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    norm: NormName = "linf",
    steps: int = 100,
    restarts: int = 1,
    queries: int = 5000,
    run: Run = Run(),
) -> AttackResult:
    """Attack with apgd-ce, apgd-t, fab and square in turn; an image leaves once it is broken.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: bound in the units of the images and in the norm.
        norm: "linf", "l2" or "l1".
        steps: of apgd-ce, and of apgd-t and fab for each class.
        restarts: of apgd-ce (in L1 five times as many), apgd-t and square.
        queries: of square.

    Raises:
        InputError: the model returns no logits, or they have no gradient.
    """
    parts = (
        partial(apgd_ce, epsilon=epsilon, steps=steps, restarts=restarts * STARTS[norm]),
        partial(apgd_t, epsilon=epsilon, steps=steps, restarts=restarts, classes=CLASSES[norm]),
        partial(fab, steps=steps, enough=epsilon),
        partial(
            square, epsilon=epsilon, queries=queries, restarts=restarts, schedule=FULL_SCHEDULE
        ),
    )
    progress = Progress(model, images, labels, run)
    run = replace(run, clean=progress.clean)
    for part in parts:
        rows = progress.rows()  # looks at what the last part found
        if progress.over(rows):
            break
        result = part(model, images[rows], labels[rows], norm=norm, run=run.of(rows, images))
        progress.count(rows, result)
        found = result.images
        if result.distance is not None:
            inside = per_image(result.distance <= epsilon)
            found = torch.where(inside, found, progress.images[rows])
        progress.leave(rows, found)
    return progress.result()


AUTOATTACK = Attack(
    name="autoattack",
    norm="linf",
    norms=("linf", "l2", "l1"),
    access="white-box",
    cost="up to 1900 gradients, 5900 queries",
    summary=(
        "White-box, untargeted, and black-box: apgd-ce, apgd-t, fab and square in sequence, each on"
        " the images that are still classified right; with its default budget the standard version"
        " of AutoAttack in the norm."
    ),
    source="Croce, Hein 2020, arXiv:2003.01690",
    function=autoattack,
    targeted=True,
)
