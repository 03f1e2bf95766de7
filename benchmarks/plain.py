"""FGSM by hand, in the usual form of the loss: what other libraries do, without them."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 0.125
OTHERS_BATCH = 500
"""Images per step of the contestants that do not choose it themselves."""

Contestant = Callable[[nn.Module, Tensor, Tensor], int]
"""Attacks a model that returns bare logits and counts its errors on what came out."""


class Logits(nn.Module):
    """What other libraries can attack: logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


def in_batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(images.split(OTHERS_BATCH), labels.split(OTHERS_BATCH), strict=True)


def batched(attack: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Contestant:
    def count(model: nn.Module, images: Tensor, labels: Tensor) -> int:
        errors = 0
        for pixels, truth in in_batches(images, labels):
            adversarials = attack(model, pixels, truth)
            with torch.no_grad():
                errors += int((model(adversarials).argmax(1) != truth).sum())
        return errors

    return count


def plain_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The least that FGSM can cost: one forward pass and one backward pass to the images."""
    pixels = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(
        F.cross_entropy(model(pixels), labels, reduction="sum"), pixels
    )
    return (images + EPSILON * gradient.sign()).clamp(0, 1)
