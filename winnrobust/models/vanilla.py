"""The vanilla CNN: four 5x5 convolutions of stride 2.

The paper has one of four layers, smaller than ICN's, and says no more of it, nor is it in the
authors' code. The 5x5 convolutions of 64 channels, stride 2 and swish are those of a later paper
that builds on WINN and cites it for its simple CNN (Introspective Transformation Networks, arXiv
1805.06447). That has batch norm; here it is layer norm, as in the authors' ResNet, because the
gradient penalty is of each image, and batch norm would mix them. Padding is symmetric.
"""

from torch import nn

from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork

CHANNELS = 64
DEPTH = 4


def vanilla(in_channels: int, image_size: int, num_classes: int) -> IntrospectiveNetwork:
    """Build the vanilla CNN: 312,149 parameters for 28x28x1 and 10 classes, critic included."""
    layers: list[nn.Module] = []
    size = image_size
    for index in range(DEPTH):
        inputs = in_channels if index == 0 else CHANNELS
        layers += [
            nn.Conv2d(inputs, CHANNELS, kernel_size=5, stride=2, padding=2),
            layer_norm(CHANNELS),
            nn.SiLU(),
        ]
        size = (size + 1) // 2
    features = nn.Sequential(*layers, nn.Flatten())
    return IntrospectiveNetwork(features, CHANNELS * size * size, num_classes)
