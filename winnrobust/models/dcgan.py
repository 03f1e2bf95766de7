"""A small DCGAN generator with classes and layer norm (Radford, Metz, Chintala, ICLR 2016)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.models.layers import layer_norm

CHANNELS = (128, 64)
"""After the linear layer, at a quarter of the image's size, and at half of it."""
WEIGHT_STD = 0.02
"""Of all initial weights (plain normal), as the source has it."""


class DcganGenerator(nn.Module):
    """[z, one-hot y] -> linear -> two times [norm, ReLU, transposed convolution 4x4] -> tanh.

    Args:
        latents: length of z.
        channels, image_size: shape of the images; sizes that are no multiples of 4 are cut out of
            the next larger one.
        num_classes: number of classes.
    """

    def __init__(self, latents: int, channels: int, image_size: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes, self.image_size = num_classes, image_size
        self.side = -(-image_size // 4)
        first, second = CHANNELS
        self.project = nn.Linear(latents + num_classes, first * self.side**2)
        self.grow = nn.Sequential(
            layer_norm(first),
            nn.ReLU(),
            nn.ConvTranspose2d(first, second, 4, stride=2, padding=1),
            layer_norm(second),
            nn.ReLU(),
            nn.ConvTranspose2d(second, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Make images (N, C, H, W) in [-1, 1] of z (N, latents) in [-1, 1] and labels (N,)."""
        classes = F.one_hot(labels, self.num_classes).to(latents)
        x = self.project(torch.cat([latents, classes], dim=1))
        images: Tensor = self.grow(x.unflatten(1, (-1, self.side, self.side)))
        return images[..., : self.image_size, : self.image_size]


def dcgan_generator(
    latents: int, channels: int, image_size: int, num_classes: int, generator: torch.Generator
) -> DcganGenerator:
    """Build a generator with fresh weights drawn from `generator`."""
    module = DcganGenerator(latents, channels, image_size, num_classes)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
                nn.init.normal_(layer.weight, 0.0, WEIGHT_STD, generator=generator)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return module
