"""The paper's vanilla CNN: four 5x5 convolutions of stride 2 (method.md D)."""

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
