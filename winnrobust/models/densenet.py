"""A small densely connected network with layer norm and swish.

The WINN paper names a "DenseNet-20" (Fig. 8) and does not specify it. Ours is the plain DenseNet of
Huang, Liu, van der Maaten, Weinberger, CVPR 2017, with their smallest growth rate and no
bottlenecks. Three equal blocks cannot make 20 layers (3n + 4), so the last block, at the lowest
resolution, has one layer more: 1 + (5 + 5 + 6) + 2 transitions + 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork

GROWTH = 12
STEM_CHANNELS = 16
LAYERS_PER_BLOCK = (5, 5, 6)


class DenseLayer(nn.Module):
    """x -> [x, conv3x3(swish(norm(x)))]: `GROWTH` channels more."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.norm = layer_norm(inputs)
        self.conv = nn.Conv2d(inputs, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.silu(self.norm(x)))], dim=1)


def densenet20(in_channels: int, image_size: int, num_classes: int) -> IntrospectiveNetwork:
    """Build DenseNet-20: 213,917 parameters for 28x28x1 and 10 classes, critic included."""
    channels = STEM_CHANNELS
    layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)]
    for block, count in enumerate(LAYERS_PER_BLOCK):
        if block > 0:  # the transition: mix the channels, halve the image
            layers += [
                layer_norm(channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.AvgPool2d(2, ceil_mode=True),
            ]
        for _ in range(count):
            layers.append(DenseLayer(channels))
            channels += GROWTH
    features = nn.Sequential(
        *layers, layer_norm(channels), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return IntrospectiveNetwork(features, channels, num_classes)
