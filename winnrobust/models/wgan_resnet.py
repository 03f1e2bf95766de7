"""The critic of WGAN-GP for 32x32 images: a residual network without normalization.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville: Improved Training of Wasserstein GANs, NIPS 2017.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.models.network import IntrospectiveNetwork

CHANNELS = 128


class CriticBlock(nn.Module):
    """[ReLU, conv3x3, ReLU, conv3x3] beside a shortcut; a mean over 2x2 pixels where it halves.

    Args:
        inputs, outputs: channels in and out.
        halve: whether both ways end in the mean over 2x2 pixels; the shortcut then has a 1x1
            convolution, else it is the input.
        first: for the first block of the network: no ReLU on the pixels.
    """

    def __init__(self, inputs: int, outputs: int, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv2(F.relu(self.conv1(x if self.first else F.relu(x))))
        if not self.halve:
            return x + residual
        # A 1x1 convolution and a mean may change places.
        return self.skip(F.avg_pool2d(x, 2)) + F.avg_pool2d(residual, 2)


def wgan_resnet(
    in_channels: int, image_size: int, num_classes: int, width: float = 1.0
) -> IntrospectiveNetwork:
    """Build four blocks, the first two of which halve the image: 1,053,825 parameters for RGB
    images without classes. Any size from 4 pixels does.

    Args:
        width: scale of all channels.
    """
    channels = max(1, round(width * CHANNELS))
    features = nn.Sequential(
        CriticBlock(in_channels, channels, halve=True, first=True),
        CriticBlock(channels, channels, halve=True),
        CriticBlock(channels, channels, halve=False),
        CriticBlock(channels, channels, halve=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return IntrospectiveNetwork(features, channels, num_classes)
