"""The authors' pre-activation ResNet with layer norm and swish.

Where a convolution halves the image, theirs pads by one pixel at the bottom and the right alone,
as TensorFlow does; here padding is symmetric.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from winnrobust.models.layers import layer_norm
from winnrobust.models.network import IntrospectiveNetwork

STAGE_CHANNELS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """[norm, swish, conv3x3, norm, swish, conv3x3] beside a parameter-free shortcut.

    The shortcut carries the raw input; where the block halves the image it is averaged over 2x2
    pixels and padded with zero channels, half of them before and half after.

    Args:
        inputs, outputs: channels in and out.
        stride: 1, or 2 to halve the image.
        preactivate: False for the first block of the network, whose input is normalized and
            activated already.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, preactivate: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = outputs - inputs
        self.norm1 = layer_norm(inputs) if preactivate else None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = layer_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = x if self.norm1 is None else F.silu(self.norm1(x))
        residual = self.conv2(F.silu(self.norm2(self.conv1(activated))))
        return residual + self.shortcut(x)

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            # ceil_mode keeps odd sizes in step with the convolution.
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        if self.extra_channels:
            before = self.extra_channels // 2
            x = F.pad(x, (0, 0, 0, 0, before, self.extra_channels - before))
        return x


def resnet(in_channels: int, num_classes: int, blocks_per_stage: int) -> IntrospectiveNetwork:
    """Build a ResNet of 6 * blocks_per_stage + 2 layers for square images of any size.

    Counted are the convolutions and the classifier.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, STAGE_CHANNELS[0], 3, padding=1, bias=False),
        layer_norm(STAGE_CHANNELS[0]),
        nn.SiLU(),
    ]
    channels = STAGE_CHANNELS[0]
    for stage, outputs in enumerate(STAGE_CHANNELS):
        for block in range(blocks_per_stage):
            halve = stage > 0 and block == 0
            first = stage == 0 and block == 0
            layers.append(ResidualBlock(channels, outputs, 2 if halve else 1, not first))
            channels = outputs
    features = nn.Sequential(
        *layers, layer_norm(channels), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return IntrospectiveNetwork(features, channels, num_classes)


def resnet13(in_channels: int, image_size: int, num_classes: int) -> IntrospectiveNetwork:
    """Build ResNet-13: 172,229 parameters for 28x28x1 and 10 classes, critic included.

    The paper names it (Fig. 8) and does not specify it. No number of such blocks makes 13 layers if
    the classifier counts, so here it does not: a first convolution and two blocks in each stage.
    """
    return resnet(in_channels, num_classes, blocks_per_stage=2)


def resnet20(in_channels: int, image_size: int, num_classes: int) -> IntrospectiveNetwork:
    """Build ResNet-20: 269,445 parameters for 28x28x1 and 10 classes, critic included."""
    return resnet(in_channels, num_classes, blocks_per_stage=3)


def resnet32(in_channels: int, image_size: int, num_classes: int) -> IntrospectiveNetwork:
    """Build ResNet-32: 463,877 parameters for 28x28x1 and 10 classes, critic included."""
    return resnet(in_channels, num_classes, blocks_per_stage=5)
