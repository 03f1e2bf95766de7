"""Architectures by name. A new one is one file with a builder, named here."""

from collections.abc import Callable

import torch

from winnrobust.models.cnn64 import cnn64
from winnrobust.models.densenet import densenet20
from winnrobust.models.initialization import INITIALIZATIONS, initialize
from winnrobust.models.network import ClassifierOutput, IntrospectiveNetwork
from winnrobust.models.resnet import resnet13, resnet20, resnet32
from winnrobust.models.vanilla import PADDINGS, vanilla
from winnrobust.models.wgan_resnet import wgan_resnet

ARCHITECTURES: dict[str, Callable[[int, int, int], IntrospectiveNetwork]] = {
    "vanilla": vanilla,
    "resnet32": resnet32,
    "resnet20": resnet20,
    "resnet13": resnet13,
    "densenet20": densenet20,
    "cnn64": cnn64,
    "wgan-resnet": wgan_resnet,
}
"""Name -> builder taking (in_channels, image_size, num_classes)."""

SCALABLE: dict[str, Callable[[int, int, int, float], IntrospectiveNetwork]] = {
    "cnn64": cnn64,
    "wgan-resnet": wgan_resnet,
}
"""Those whose builder takes a width, too: the scale of its channels."""

PADDED: dict[str, Callable[[int, int, int, str], IntrospectiveNetwork]] = {"vanilla": vanilla}
"""Those whose builder takes a padding, too, one of `PADDINGS`."""


def blank(
    arch: str,
    in_channels: int,
    image_size: int,
    num_classes: int,
    width: float = 1.0,
    padding: str = PADDINGS[0],
) -> IntrospectiveNetwork:
    """Build the architecture `arch`; its weights are PyTorch's usual random ones.

    Raises:
        KeyError: there is no such architecture, or none of another width or padding.
    """
    if padding != PADDINGS[0]:
        return PADDED[arch](in_channels, image_size, num_classes, padding)
    if width == 1:
        return ARCHITECTURES[arch](in_channels, image_size, num_classes)
    return SCALABLE[arch](in_channels, image_size, num_classes, width)


def build(
    arch: str,
    in_channels: int,
    image_size: int,
    num_classes: int,
    generator: torch.Generator,
    width: float = 1.0,
    padding: str = PADDINGS[0],
    initialization: str = INITIALIZATIONS[0],
) -> IntrospectiveNetwork:
    """Build the architecture `arch` with fresh weights drawn from `generator`.

    Raises:
        KeyError: as `blank`.
    """
    network = blank(arch, in_channels, image_size, num_classes, width, padding)
    initialize(network, generator, initialization)
    return network


__all__ = [
    "ARCHITECTURES",
    "INITIALIZATIONS",
    "PADDED",
    "PADDINGS",
    "SCALABLE",
    "ClassifierOutput",
    "IntrospectiveNetwork",
    "blank",
    "build",
    "initialize",
]
