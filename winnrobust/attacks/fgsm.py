"""The fast gradient sign method.

Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples, ICLR 2015, section 4;
as the WINN authors evaluate it: true labels, one step, clipped (method.md C).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.attacks.attack import Attack, AttackResult, gradient_statistics, logits_of
from winnrobust.errors import InputError


def fgsm(
    model: nn.Module, images: Tensor, labels: Tensor, epsilons: Sequence[float]
) -> AttackResult:
    """Move every pixel by epsilon in the direction that raises the loss of the true label.

    adversarial = clip(image + epsilon * sign(gradient), 0, 1) with sign(0) = 0. One gradient
    serves all epsilons.

    Args:
        model: anything that returns logits (N, K), or an object with `.logits`.
        images: (N, C, H, W), floating point, in [0, 1].
        labels: (N,) int64, the true classes.
        epsilons: L-infinity bounds in the units of the images, each in [0, 1].

    Raises:
        InputError: the model returns no logits, or its loss has no usable gradient.
    """
    gradient = _loss_gradient(model, images, labels)
    direction = gradient.sign()
    pixels = images.detach()
    adversarials = [(pixels + epsilon * direction).clamp_(0, 1) for epsilon in epsilons]
    return AttackResult(adversarials, gradient_statistics(gradient))


def _loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return d loss / d images, whatever gradient mode the caller is in."""
    with torch.inference_mode(False), torch.enable_grad():
        # Clones: the caller's tensors stay as they are, and may come from inference mode.
        pixels = images.detach().clone().requires_grad_(True)
        # The sum, not the mean: no image's gradient depends on how many share its batch.
        loss = F.cross_entropy(logits_of(model(pixels)), labels.clone(), reduction="sum")
        gradient = None
        if loss.requires_grad:
            # Not backward(): the gradients of the parameters are none of our business.
            (gradient,) = torch.autograd.grad(loss, pixels, allow_unused=True)
    if gradient is None:
        raise InputError(
            "its logits do not depend on the images through differentiable operations"
            " (no_grad, detach or argmax inside?), so there is no gradient to follow"
        )
    if gradient.isnan().any():
        raise InputError("the gradient of its loss is NaN at some pixels; check the model's maths")
    return gradient


FGSM = Attack(
    name="fgsm",
    norm="Linf",
    summary=(
        "White-box, untargeted: one step of size epsilon along the sign of the gradient of the"
        " true label's cross-entropy, clipped to [0, 1]."
    ),
    source="Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572",
    function=fgsm,
)
