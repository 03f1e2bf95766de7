"""Architectures by name. A new one is one file with a builder, named here."""

from collections.abc import Callable

import torch

from winnrobust.models.densenet import densenet20
from winnrobust.models.initialisation import initialise
from winnrobust.models.network import ClassifierOutput, IntrospectiveNetwork
from winnrobust.models.resnet import resnet13, resnet20, resnet32
from winnrobust.models.vanilla import vanilla

ARCHITECTURES: dict[str, Callable[[int, int, int], IntrospectiveNetwork]] = {
    "vanilla": vanilla,
    "resnet32": resnet32,
    "resnet20": resnet20,
    "resnet13": resnet13,
    "densenet20": densenet20,
}
"""Name -> builder taking (in_channels, image_size, num_classes)."""


def build(
    arch: str, in_channels: int, image_size: int, num_classes: int, generator: torch.Generator
) -> IntrospectiveNetwork:
    """Build the architecture `arch` with fresh weights drawn from `generator`.

    Raises:
        KeyError: there is no such architecture.
    """
    network = ARCHITECTURES[arch](in_channels, image_size, num_classes)
    initialise(network, generator)
    return network


__all__ = ["ARCHITECTURES", "ClassifierOutput", "IntrospectiveNetwork", "build", "initialise"]
