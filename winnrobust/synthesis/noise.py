"""Noise in the ascent, in place of none: on the pixels, or in the network (paper 4.1)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.runtime.randomness import stream

PixelNoise = Callable[[int, int, Tensor], Tensor]
"""From the number of a step, of a group, and its images (n, C, H, W) to what is added to them."""


def langevin(std: float, seed: int, *names: str | int) -> PixelNoise:
    """Add normal noise to every pixel after every step, as Langevin dynamics do.

    The step itself stays Adam's, so this is a preconditioned relative of the paper's update, whose
    noise, of a variance equal to the step size, would drown a critic with gradients of norm 1. The
    authors' code has neither.

    Args:
        std: standard deviation of the noise, of pixels in [-1, 1].
        seed, names: of the draws, which belong to the group, whoever else is in the ascent.
    """

    def noise(step: int, group: int, images: Tensor) -> Tensor:
        generator = stream(seed, "langevin", *names, step, group)
        return std * torch.randn(images.shape, generator=generator).to(images)

    return noise


@contextmanager
def dropout(network: IntrospectiveNetwork, rate: float, generator: torch.Generator) -> Iterator:
    """Leave out features at random, others in every pass, for a `with` block.

    Args:
        rate: share of the features that are set to 0, from 0 to below 1; the others grow by
            1 / (1 - rate).
        generator: of the draws (CPU). Several processes that share an ascent draw other masks than
            one would.
    """

    def mask(module: torch.nn.Module, inputs: object, features: Tensor) -> Tensor:
        kept = torch.rand(features.shape, generator=generator) >= rate
        return features * kept.to(features) / (1 - rate)

    hook = network.features.register_forward_hook(mask)
    try:
        yield
    finally:
        hook.remove()
