"""Random answers: an attack that looks once follows one draw's gradient and meets another draw.

Athalye, Engstrom, Ilyas, Kwok: Synthesizing Robust Adversarial Examples, ICML 2018: follow the mean
gradient over many draws (EOT), and count how often the answer is wrong, not whether it once was.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.defenses.base import ACTIVATIONS, Around, Defense, Lambda, logits_of, with_layers

EOT = "gradients averaged over its draws (EOT)"
OBFUSCATED = "Athalye, Carlini, Wagner 2018, arXiv:1802.00420"


def resized(images: Tensor) -> Tensor:
    """Shrunk by a random amount and put back at a random place."""
    side = images.shape[-1]
    small = int(torch.randint(side - side // 6, side + 1, ()))
    left, top = (int(torch.randint(0, side - small + 1, ())) for _ in range(2))
    shrunk = F.interpolate(images, (small, small), mode="bilinear", align_corners=False)
    return F.pad(shrunk, (left, side - small - left, top, side - small - top))


def off_grid_noise(images: Tensor) -> Tensor:
    """Noise on those images alone whose pixels are not whole 255ths: clean ones are such."""
    off = ((255 * images - (255 * images).round()).abs().amax((1, 2, 3), keepdim=True) > 1e-3).to(
        images
    )
    return images + 0.3 * off * torch.randn_like(images)


def pruned(values: Tensor, share: float = 0.5) -> Tensor:
    """Stochastic activation pruning: large activations are the likelier to be kept."""
    flat = values.flatten(1)
    weight = flat.abs() / flat.abs().sum(1, keepdim=True).clamp_min(1e-9)
    kept = 1 - (1 - weight).clamp_min(0) ** (share * flat.shape[1])
    mask = torch.rand_like(flat) < kept
    return (flat * mask / kept.clamp_min(1e-3)).view_as(values)


class NoisyWeights(nn.Module):
    """A network whose weights are other ones in every pass."""

    def __init__(self, network: nn.Module, size: float = 0.2) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, images: Tensor) -> Tensor:
        drawn = {
            name: weight * (1 + self.size * torch.randn_like(weight))
            for name, weight in self.network.named_parameters()
        }
        return logits_of(torch.func.functional_call(self.network, drawn, (images,)))


class OneOf(nn.Module):
    """A network behind one of several transforms, drawn in every pass."""

    def __init__(self, network: nn.Module, transforms: list[Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.network, self.transforms = network, transforms

    def forward(self, images: Tensor) -> Tensor:
        order = torch.randperm(len(self.transforms))[:2]
        for index in order.tolist():
            images = self.transforms[index](images)
        return logits_of(self.network(images))


class AlwaysOn(nn.Module):
    """Dropout that `eval()` does not turn off."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        return F.dropout(values, self.share, training=True)


def _front(name: str, change: Callable[[Tensor], Tensor], summary: str, source: str) -> Defense:
    return Defense(name, "stochastic", lambda network: Around(network, before=change), summary, EOT,
                   source)  # fmt: skip


def _after_activations(
    name: str, layer: Callable[[], nn.Module], summary: str, source: str
) -> Defense:
    def build(network: nn.Module) -> nn.Module:
        return with_layers(network, ACTIVATIONS, lambda old: nn.Sequential(old, layer()))

    return Defense(name, "stochastic", build, summary, EOT, source)


TRANSFORMS: list[Callable[[Tensor], Tensor]] = [
    resized,
    lambda images: images + 0.15 * torch.randn_like(images),
    lambda images: images.roll(int(torch.randint(-1, 2, ())), dims=3),
    lambda images: images * (0.7 + 0.6 * torch.rand(len(images), 1, 1, 1).to(images)),
    lambda images: (6 * images + torch.rand_like(images)).floor() / 6,
]

STOCHASTIC = (
    _front("noise", lambda images: images + 0.2 * torch.randn_like(images),
           "Gaussian noise on the pixels.", "Cohen et al. 2019, arXiv:1902.02918, unvoted"),
    _front("uniform-noise", lambda images: images + 0.8 * (torch.rand_like(images) - 0.5),
           "Uniform noise on the pixels.", OBFUSCATED),
    _front("dithered", lambda images: (3 * images + torch.rand_like(images)).floor() / 3,
           "Rounded up or down at random: random, and without a slope.", OBFUSCATED),
    _front("resized", resized, "Shrunk and padded at random.",
           "Xie, Wang, Zhang, Ren, Yuille 2018, arXiv:1711.01991"),
    _front("pixels-dropped",
           lambda images: images * (torch.rand_like(images[:, :1]) > 0.3).to(images),
           "Three of ten pixels are blackened at random.",
           "Prakash et al. 2018, arXiv:1801.08926"),
    _front("off-grid", off_grid_noise, "Random only off the grid of 255ths: not on clean images.",
           "this project's trial"),
    Defense("transforms", "stochastic", lambda network: OneOf(network, TRANSFORMS),
            "Two of five transforms, redrawn in every pass.", EOT,
            "Raff, Sylvester, Forsyth, McLean 2019 (BaRT)"),
    _after_activations("dropout-in-eval", lambda: AlwaysOn(0.3), "Dropout that never switches off.",
                       "Feinman et al. 2017, arXiv:1703.00410"),
    _after_activations("pruned-activations", lambda: Lambda(pruned),
                       "Activations are kept at random; large ones are likelier to stay.",
                       "Dhillon et al. 2018, arXiv:1803.01442"),
    _after_activations("noisy-activations",
                       lambda: Lambda(lambda x: x + 0.4 * x.std() * torch.randn_like(x)),
                       "Noise after every activation.", "Liu et al. 2018, arXiv:1712.00673"),
    Defense("noisy-weights", "stochastic", NoisyWeights, "Weights with new noise in every pass.",
            EOT, "He, Rakin, Fan 2019, arXiv:1811.09310"),
    Defense("noisy-logits", "stochastic",
            lambda network: Around(network, after=lambda z: z + 3 * torch.randn_like(z)),
            "Noise on the logits.", EOT, OBFUSCATED),
)  # fmt: skip
