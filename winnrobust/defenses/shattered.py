"""Shattered gradients: steps and high frequencies, whose slope says nothing of where they lead.

Athalye, Carlini, Wagner: Obfuscated Gradients Give a False Sense of Security, ICML 2018, section 4:
attack through them with the gradient of the identity, or of something smooth (BPDA).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.defenses.base import (
    ACTIVATIONS,
    Around,
    Defense,
    Lambda,
    gradient_from,
    with_layers,
)

OBFUSCATED = "Athalye, Carlini, Wagner 2018, arXiv:1802.00420"
SQUEEZING = "Xu, Evans, Qi 2018, arXiv:1704.01155"
THERMOMETER = "Buckman, Roy, Raffel, Goodfellow 2018 (thermometer encoding)"
STRAIGHT = "the gradient of the identity in its place (BPDA)"


def rounded(levels: int) -> "type[Defense] | object":
    return lambda images: (images * levels).round() / levels


def blockwise_dct(images: Tensor, block: int = 7, step: float = 0.25) -> Tensor:
    """Round what blocks of pixels are made of, as JPEG does."""
    k = torch.arange(block, dtype=images.dtype, device=images.device)
    basis = torch.cos(math.pi / block * (k + 0.5) * k[:, None]) * math.sqrt(2 / block)
    basis[0] /= math.sqrt(2)
    height, width = images.shape[2] // block * block, images.shape[3] // block * block
    part = images[:, :, :height, :width]
    blocks = part.unfold(2, block, block).unfold(3, block, block)
    spectrum = ((basis @ blocks @ basis.T) / step).round() * step
    back = (basis.T @ spectrum @ basis).permute(0, 1, 2, 4, 3, 5).reshape(part.shape)
    return F.pad(back, (0, images.shape[3] - width, 0, images.shape[2] - height)).clamp(0, 1)


def median(images: Tensor, size: int = 3) -> Tensor:
    """The median of each pixel's neighborhood."""
    n, channels, height, width = images.shape
    near = F.unfold(F.pad(images, [size // 2] * 4, mode="reflect"), size)
    return near.view(n, channels, size * size, height, width).median(2).values


def thermometer(images: Tensor, levels: int = 10) -> Tensor:
    """How many of the levels a pixel exceeds; comparisons have no gradient."""
    bounds = (torch.arange(levels, device=images.device) + 0.5) / levels
    return (images.unsqueeze(-1) > bounds).to(images).mean(-1)


def through_bytes(images: Tensor) -> Tensor:
    """To bytes and back, as through a PNG."""
    bytes_ = (images.detach() * 15).round().to(torch.uint8).cpu().numpy()
    return torch.from_numpy(bytes_).to(images) / 15


def wave(images: Tensor) -> Tensor:
    """A ripple too fine to change a pixel by much, whose slope is eight times the image's."""
    return images + 0.02 * torch.sin(400 * images)


def teeth(images: Tensor) -> Tensor:
    """A sawtooth: it falls wherever it has a slope, and jumps up in between."""
    return (12 * images).round() / 12 - 0.5 * (images - (12 * images).round() / 12)


def cleaned(images: Tensor, rounds: int = 10) -> Tensor:
    """Smooth and sharpen again and again, as purifiers do that search for a likely image."""
    for _ in range(rounds):
        smooth = F.avg_pool2d(images, 3, 1, 1)
        images = (images + 0.3 * ((8 * smooth).round() / 8 - smooth)).clamp(0, 1)
        images = (16 * images).round() / 16
    return images


def projected(images: Tensor) -> Tensor:
    """Follow a likelihood's gradient inside, without telling autograd."""
    with torch.no_grad():
        for _ in range(5):
            images = images + 0.2 * (F.avg_pool2d(images, 3, 1, 1) - images)
    return images


def stepped(values: Tensor) -> Tensor:
    return (4 * F.relu(values)).round() / 4


class Thermometer(nn.Module):
    """One channel for each level that a pixel exceeds, which a linear layer puts together again."""

    def __init__(self, network: nn.Module, levels: int = 12) -> None:
        super().__init__()
        self.network = network
        self.mix = nn.Conv2d(levels, 1, 1, bias=False)
        nn.init.constant_(self.mix.weight, 1 / levels)
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        bounds = (torch.arange(self.levels, device=images.device) + 0.5) / self.levels
        code = (images.reshape(-1, 1, height, width) > bounds.view(-1, 1, 1)).to(images)
        out: Tensor = self.network(self.mix(code).view(n, channels, height, width))
        return out


class Looked(nn.Module):
    """Pixels by way of a table of 12 values."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.table = nn.Embedding.from_pretrained(torch.linspace(0, 1, 12).unsqueeze(1))

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.network(self.table((images * 11).round().long()).squeeze(-1))
        return out


class Rounding(nn.Module):
    """Rounding as a layer, with a name that --bpda can take."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.levels).round() / self.levels


def _front(name: str, change: object, summary: str, source: str, by: str = STRAIGHT) -> Defense:
    return Defense(
        name, "shattered", lambda network: Around(network, before=change),  # type: ignore[arg-type]
        summary, by, source,
    )  # fmt: skip


def _activation(name: str, layer: object, summary: str, source: str) -> Defense:
    def build(network: nn.Module) -> nn.Module:
        return with_layers(network, ACTIVATIONS, lambda _: layer())  # type: ignore[operator]

    return Defense(name, "shattered", build, summary, STRAIGHT, source)


class KeepLargest(nn.Module):
    """Only the largest share of all activations of an image; the rest is 0 (k winners take all)."""

    def __init__(self, share: float = 0.15) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        flat = values.flatten(1)
        least = flat.topk(max(int(self.share * flat.shape[1]), 1), 1).values[:, -1:]
        return (flat * (flat >= least)).view_as(values)


SHATTERED = (
    _front("quantized-16", rounded(16), "Pixels are rounded to 17 grays: no slope at all.",
           SQUEEZING),
    _front("quantized-8", rounded(8), "Pixels are rounded to 9 grays: no slope at all.", SQUEEZING),
    _front("bit-depth-3", lambda images: (8 * images).floor().clamp(max=7) / 7,
           "Only the highest three bits of a pixel are kept.", SQUEEZING),
    _front("thermometer-sum", thermometer, "The sum of comparisons with ten levels.", THERMOMETER),
    Defense("thermometer", "shattered", Thermometer,
            "A channel for each level that a pixel exceeds.", "square, or a smooth comparison",
            THERMOMETER),
    Defense("look-up", "shattered", Looked, "Pixels are indices into a table.", STRAIGHT,
            OBFUSCATED),
    Defense("rounding-layer", "shattered", lambda network: nn.Sequential(Rounding(10), network),
            "Rounding, as a layer with a name.", STRAIGHT, SQUEEZING),
    _front("jpeg", blockwise_dct, "Blocks of pixels are rounded in frequency space, as by JPEG.",
           "Guo, Rana, Cisse, van der Maaten 2018, arXiv:1711.00117"),
    _front("median", median, "The median of 3 x 3 pixels: one of nine has a slope.", SQUEEZING),
    _front("median-rounded", lambda images: (10 * median(images)).round() / 10,
           "A median filter and rounding.", SQUEEZING),
    _front("bytes", through_bytes, "Through bytes of numpy and back: autograd does not see them.",
           OBFUSCATED),
    _front("wave", wave, "x + 0.02 sin(400 x): the slope is different at every point.",
           OBFUSCATED, "steps along a gradient averaged over noise, or that of the identity"),
    _front("teeth", teeth, "A sawtooth, whose slope has the wrong sign everywhere.", OBFUSCATED),
    _front("straight-rounding-lie", gradient_from(rounded(10), lambda x, g: g * (x > 0.5)),  # type: ignore[arg-type]
           "Rounding with a made-up gradient, for bright pixels only.", OBFUSCATED),
    _front("cleaned", cleaned, "Ten rounds of smoothing and rounding in front.",
           "Song, Kim, Nowozin, Ermon, Kushman 2018, arXiv:1710.10766"),
    _front("no-grad-cleaner", projected, "Smoothing inside torch.no_grad().",
           OBFUSCATED),
    _activation("stepped-activations", lambda: Lambda(stepped), "Activations in steps of 1/4.",
                "Rakin et al. 2018, arXiv:1807.06714"),
    _activation("winners-take-all", KeepLargest,
                "Only the largest activations are kept: which ones changes with every step.",
                "Xiao, Zhong, Zheng 2020, arXiv:1905.10510; broken in Tramèr et al. 2020"),
)  # fmt: skip
