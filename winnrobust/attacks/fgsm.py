"""The fast gradient sign method.

Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4;
as the WINN authors evaluate it: true labels, one step, clipped.
"""

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import Loss, at_least_float32


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    loss: str | Loss = "ce-stable",
    run: Run = Run(),
) -> AttackResult:
    """Move every pixel by epsilon in the direction that raises the loss of the true label.

    adversarial = clip(image + epsilon * sign(gradient), 0, 1) with sign(0) = 0; an image that the
    model gets wrong already moves as well, as with the authors of WINN.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        loss: what to raise; of the target, if there is one, it is lowered.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    if run.out_of_time():
        return AttackResult.untouched(images, unfinished=True)
    seen = run.clean_pass(model, images, labels).gradient(loss)
    run.tell(1, seen.losses)
    moved = at_least_float32(images.detach()) + epsilon * seen.gradient.sign()
    passes = torch.full_like(labels, run.eot)
    return AttackResult(
        images=moved.clamp_(0, 1),
        gradients=passes,
        queries=torch.zeros_like(passes),
        unfinished=torch.zeros_like(passes, dtype=torch.bool),
        statistics=seen.statistics,
    )


FGSM = Attack(
    name="fgsm",
    norm="linf",
    access="white-box",
    cost="1 gradient",
    summary=(
        "White-box, untargeted: one step of size epsilon along the sign of the gradient of the"
        " true label's cross-entropy, clipped to [0, 1]."
    ),
    source="Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572",
    function=fgsm,
    targeted=True,
    single_step=True,
)
