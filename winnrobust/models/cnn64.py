"""The paper's CNN for 64x64 images (Table 5, authors' code)."""

from torch import nn

from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork

CHANNELS = ((32, 64), (64, 128), (128, 256), (256, 512))
"""Of the two convolutions before each pooling."""


def cnn64(
    in_channels: int, image_size: int, num_classes: int, width: float = 1.0
) -> IntrospectiveNetwork:
    """Build eight 3x3 convolutions with a mean over 2x2 pixels after every second.

    2,354,177 parameters for 64x64x3 images without classes; its norm layers are ours, with another
    variance epsilon than the authors' 64x64 code has, and so are the first weights (He's, as in
    their supervised code; there they are uniform with standard deviation 0.02). Any size from 16
    pixels does.

    Args:
        width: scale of all channels.
    """
    layers: list[nn.Module] = []
    inputs, size = in_channels, image_size
    for pair in CHANNELS:
        for channels in pair:
            outputs = max(1, round(width * channels))
            layers.append(nn.Conv2d(inputs, outputs, 3, padding=1))
            if len(layers) > 1:  # none after the first convolution
                layers.append(layer_norm(outputs))
            layers.append(nn.SiLU())
            inputs = outputs
        layers.append(nn.AvgPool2d(2))
        size //= 2
    return IntrospectiveNetwork(
        nn.Sequential(*layers, nn.Flatten()), inputs * size * size, num_classes
    )
