"""The vanilla CNN: four 5x5 convolutions of stride 2.

The paper has one of four layers, smaller than ICN's, and says no more of it, nor is it in the
authors' code. The 5x5 convolutions of 64 channels, stride 2 and swish are those of a later paper
that builds on WINN and cites it for its simple CNN (Introspective Transformation Networks, arXiv
1805.06447). That has batch norm; here it is layer norm, as in the authors' ResNet, because the
gradient penalty is of each image, and batch norm would mix them. Padding is symmetric unless asked
for otherwise; TensorFlow's SAME is not where the stride leaves an odd number of pixels over.
"""

from torch import nn

from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork

CHANNELS = 64
DEPTH = 4
KERNEL = 5


PADDINGS = ("symmetric", "one-sided")
"""Two pixels on every side; or TensorFlow's SAME, with the odd pixel to the right and below."""


def vanilla(
    in_channels: int, image_size: int, num_classes: int, padding: str = "symmetric"
) -> IntrospectiveNetwork:
    """Build the vanilla CNN: 312,149 parameters for 28x28x1 and 10 classes, critic included."""
    layers: list[nn.Module] = []
    size = image_size
    for index in range(DEPTH):
        inputs = in_channels if index == 0 else CHANNELS
        if padding == "one-sided":
            layers.append(nn.ZeroPad2d(same_padding(size)))
        layers += [
            nn.Conv2d(inputs, CHANNELS, KERNEL, stride=2, padding=2 * (padding == "symmetric")),
            layer_norm(CHANNELS),
            nn.SiLU(),
        ]
        size = (size + 1) // 2
    features = nn.Sequential(*layers, nn.Flatten())
    return IntrospectiveNetwork(features, CHANNELS * size * size, num_classes)


def same_padding(size: int) -> tuple[int, int, int, int]:
    """TensorFlow's SAME padding of a convolution of stride 2: left, right, top, bottom.

    >>> [same_padding(size) for size in (28, 14, 7, 4)]
    [(1, 2, 1, 2), (1, 2, 1, 2), (2, 2, 2, 2), (1, 2, 1, 2)]
    """
    total = max(2 * ((size + 1) // 2 - 1) + KERNEL - size, 0)
    before = total // 2
    return (before, total - before, before, total - before)
