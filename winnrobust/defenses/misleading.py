"""Gradients that are not those of the answer: made up, of something else, or right at times.

They are planted rather than proposed; a bug does the same. Square, which asks for answers alone,
does not care, nor do examples that transfer from an honest model.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.defenses.base import Around, Defense, gradient_from, logits_of

PLANTED = "after Athalye, Carlini, Wagner 2018, arXiv:1802.00420, section 4"
STRAIGHT = "the gradient of the network inside (BPDA), square, transfer"


def _same(values: Tensor) -> Tensor:
    return values.clone()


def shuffled(_: Tensor, gradient: Tensor) -> Tensor:
    """The gradient with its pixels in another order, the same in every pass."""
    order = torch.randperm(gradient[0].numel(), generator=torch.Generator().manual_seed(0))
    return gradient.flatten(1)[:, order.to(gradient.device)].view_as(gradient)


class StandIn(nn.Module):
    """The answer of a network, with the gradient of an untrained linear one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.linear: nn.Linear | None = None

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            found = logits_of(self.network(images))
        weight = torch.randn(
            found.shape[1], images[0].numel(), generator=torch.Generator().manual_seed(0)
        ).to(images)
        linear = images.flatten(1) @ weight.T
        return found + (linear - linear.detach())


class BlurredStandIn(nn.Module):
    """The answer to an image, with the gradient at an inverted copy of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            found = logits_of(self.network(images))
        other = logits_of(self.network(1 - images.transpose(2, 3)))
        return found + (other - other.detach())


class OnGrid(nn.Module):
    """Its gradient is right at images of whole 255ths alone, so at clean ones."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        on = (255 * images - (255 * images).round()).abs().amax((1, 2, 3), keepdim=True) < 1e-3
        lie = gradient_from(_same, shuffled)(images)
        return logits_of(self.network(torch.where(on, images, lie)))


def _behind(
    name: str, backward: Callable[[Tensor, Tensor], Tensor], summary: str, by: str = STRAIGHT
) -> Defense:
    return Defense(
        name, "misleading",
        lambda network: Around(network, before=gradient_from(_same, backward)), summary, by,
        PLANTED,
    )  # fmt: skip


MISLEADING = (
    _behind("flipped-sign", lambda _, g: -g, "The gradient with its sign flipped."),
    _behind("shuffled", shuffled, "The gradient with its pixels shuffled."),
    _behind("turned", lambda _, g: g.flip(2, 3), "The gradient rotated by 180 degrees."),
    _behind("random-gradient", lambda _, g: torch.randn_like(g), "Noise instead of the gradient."),
    _behind("constant-gradient", lambda _, g: torch.ones_like(g), "The same gradient everywhere."),
    _behind("zero-gradient", lambda _, g: torch.zeros_like(g), "Zero instead of the gradient."),
    _behind("edge-gradient", lambda _, g: g - F.pad(g[:, :, 4:-4, 4:-4], (4, 4, 4, 4)),
            "A gradient only at the edge of the image."),
    _behind("noisy-gradient", lambda _, g: g + 5 * g.abs().mean() * torch.randn_like(g),
            "The gradient plus five times as much noise.", "more gradients, averaged"),
    _behind("half-gradient", lambda x, g: g * (x < 0.1), "A gradient for dark pixels only."),
    Defense("linear-stand-in", "misleading", StandIn, "The gradient of an untrained linear model.",
            "square, or transfer from an honest model", PLANTED),
    Defense("inverted-stand-in", "misleading", BlurredStandIn,
            "The gradient at a different image.",
            "square, or transfer from an honest model", PLANTED),
    Defense("right-on-the-grid", "misleading", OnGrid,
            "A gradient that is right only at clean images.", STRAIGHT, PLANTED),
    Defense("loss-in-reverse", "misleading",
            lambda network: Around(network, after=gradient_from(_same, lambda _, g: g.roll(1, 1))),
            "The gradient of the next class's logit.", "the logits inside (BPDA), square",
            PLANTED),
)  # fmt: skip
