"""The random images, in [-1, 1], that synthesis starts from."""

import itertools
import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS = (512, 256, 128, 64)
"""Of the random networks, from 4x4 pixels up (paper, Appendix D)."""

GAUSSIAN_STD = 0.3
"""Of INN's start, before it is stretched to the range (its authors' code)."""


CPU = torch.device("cpu")


class InitialDistribution(Protocol):
    """Where the first images come from."""

    def sample(self, count: int, generator: torch.Generator, device: torch.device = CPU) -> Tensor:
        """Draw (count, C, H, W) images in [-1, 1]; random numbers are the CPU's on any device."""


class ProjectedNetwork:
    """The supervised code's random convolutional network, never trained.

    z ~ U(-1, 1)^noise_dim -> linear to 512x4x4 -> four times [layer norm, conv 5x5, nearest-
    neighbor upsampling to 8, 16, 32 and the image size, but no further] -> tanh.
    Its weights are uniform with standard deviation `weight_std`, drawn once from `generator`.

    Args:
        channels, image_size: shape of the images to draw.
        noise_dim: length of z.
        weight_std: standard deviation of all weights; biases are 0.
        generator: where the weights are drawn from.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        noise_dim: int,
        weight_std: float,
        generator: torch.Generator,
    ) -> None:
        shape = (CHANNELS[0] * 4 * 4, noise_dim)
        self.project = _uniform_weights(shape, weight_std, generator)
        self.layers = _layers(channels, image_size, weight_std, generator)

    def sample(self, count: int, generator: torch.Generator, device: torch.device = CPU) -> Tensor:
        z = torch.empty(count, self.project.shape[1]).uniform_(-1, 1, generator=generator)
        x = F.linear(z.to(device), self.project.to(device)).reshape(count, -1, 4, 4)
        for kernel, size in self.layers:
            x = F.conv2d(F.layer_norm(x, x.shape[1:]), kernel.to(device), padding=2)
            x = F.interpolate(x, size=(size, size), mode="nearest")
        return torch.tanh(x)


class RandomNetwork:
    """The random convolutional network of the paper's Appendix D, never trained.

    U(-1, 1)^(512x4x4) -> four times [conv 5x5, nearest-neighbor upsampling to 8, 16, 32 and the
    image size, but no further], with layer norms between; every image is stretched to [-1, 1]. The
    weights are uniform, as in the authors' code; the paper has normal ones.

    Args:
        channels, image_size, weight_std, generator: as for `ProjectedNetwork`.
    """

    def __init__(
        self, channels: int, image_size: int, weight_std: float, generator: torch.Generator
    ) -> None:
        self.layers = _layers(channels, image_size, weight_std, generator)

    def sample(self, count: int, generator: torch.Generator, device: torch.device = CPU) -> Tensor:
        x = torch.empty(count, CHANNELS[0], 4, 4).uniform_(-1, 1, generator=generator).to(device)
        for number, (kernel, size) in enumerate(self.layers):
            x = x if number == 0 else F.layer_norm(x, x.shape[1:])
            x = F.conv2d(x, kernel.to(device), padding=2)
            x = F.interpolate(x, size=(size, size), mode="nearest")
        return _stretched(x)


class GaussianImages:
    """Normal pixels, independent of each other; every image is stretched to [-1, 1]."""

    def __init__(self, channels: int, image_size: int) -> None:
        self.shape = (channels, image_size, image_size)

    def sample(self, count: int, generator: torch.Generator, device: torch.device = CPU) -> Tensor:
        drawn = torch.randn(count, *self.shape, generator=generator).to(device)
        return _stretched(GAUSSIAN_STD * drawn)


def _uniform_weights(
    shape: tuple[int, ...], weight_std: float, generator: torch.Generator
) -> Tensor:
    bound = weight_std * math.sqrt(3)
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def _layers(
    channels: int, image_size: int, weight_std: float, generator: torch.Generator
) -> list[tuple[Tensor, int]]:
    """Kernels, and the sizes of the images after them."""
    sizes = (*(min(size, image_size) for size in (8, 16, 32)), image_size)
    return [
        (_uniform_weights((outputs, inputs, 5, 5), weight_std, generator), size)
        for (inputs, outputs), size in zip(
            itertools.pairwise((*CHANNELS, channels)), sizes, strict=True
        )
    ]


def _stretched(images: Tensor) -> Tensor:
    """Bring the darkest value of every image to -1 and the brightest to 1."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return 2 * (images - low) / (high - low).clamp_min(1e-12) - 1
