"""The fast gradient sign method.

Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4;
as the WINN authors evaluate it: true labels, one step, clipped.
"""

from collections.abc import Sequence

from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.target import Target


def fgsm(
    target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
) -> AttackResult:
    """Move every pixel by epsilon in the direction that raises the loss of the true label.

    adversarial = clip(image + epsilon * sign(gradient), 0, 1) with sign(0) = 0. One gradient
    serves all epsilons. Where there are aims, the loss of the aim is lowered instead.

    Args:
        target: the model, the images and their true labels.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].
        budget: gradients averaged (1) for the one step.

    Raises:
        InputError: the model returns no logits, or its loss has no gradient.
    """
    seen = target.clean_gradient(budget.eot)
    direction = seen.gradient.sign()
    adversarials = [(target.images + epsilon * direction).clamp_(0, 1) for epsilon in epsilons]
    return AttackResult(adversarials, seen.statistics)


FGSM = Attack(
    name="fgsm",
    norm="Linf",
    access="white-box",
    cost="1 gradient",
    summary=(
        "White-box, untargeted: one step of size epsilon along the sign of the gradient of the"
        " true label's cross-entropy, clipped to [0, 1]."
    ),
    source="Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572",
    function=fgsm,
    uses_clean_gradient=True,
    can_aim=True,
)
