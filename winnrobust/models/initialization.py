"""Weight initializations: the authors', and others that their networks may have had."""

import math

import torch
from torch import nn

from winnrobust.models.network import IntrospectiveNetwork

CRITIC_STD = 0.02
"""Standard deviation of the critic's initial weights (plain normal)."""


INITIALIZATIONS = ("tf", "dcgan", "torch")
"""Names for `initialize`."""
DCGAN_STD = 0.02


def initialize(network: IntrospectiveNetwork, generator: torch.Generator, kind: str = "tf") -> None:
    """Draw all weights anew from `generator`, in place.

    The convolutions and the classifier:

    * tf: TensorFlow's `variance_scaling` defaults, a normal of standard deviation
      sqrt(1.3 * 2 / fan_in) cut at two standard deviations (authors' ResNet code); biases 0.
    * dcgan: a normal of 0.02, in convolutions cut at two standard deviations (a helper in the
      authors' code, after Radford et al. 2016); biases 0.
    * torch: weights and biases uniform within 1 / sqrt(fan_in), PyTorch's default.

    Norm layers: scale 1, shift 0. The layer that gives the critic's value: normal with standard
    deviation 0.02, bias 0.
    """
    critic = network.critic if isinstance(network.critic, nn.Linear) else network.classifier
    with torch.no_grad():
        for module in network.modules():
            if module is critic:
                nn.init.normal_(module.weight, 0.0, CRITIC_STD, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                initialize_layer(module, generator, kind)
            elif isinstance(module, nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)


def initialize_layer(layer: nn.Conv2d | nn.Linear, generator: torch.Generator, kind: str) -> None:
    """Draw the weights of a convolution or linear layer anew, in place; `kind` as above."""
    fan_in = layer.weight[0].numel()
    if kind == "torch":
        bound = 1 / math.sqrt(fan_in)
        for values in (layer.weight, layer.bias):
            if values is not None:
                nn.init.uniform_(values, -bound, bound, generator=generator)
        return
    std = DCGAN_STD if kind == "dcgan" else math.sqrt(1.3 * 2 / fan_in)
    if kind == "dcgan" and isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0.0, std, generator=generator)
    else:
        nn.init.trunc_normal_(layer.weight, 0.0, std, -2 * std, 2 * std, generator=generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
