"""The authors' weight initialization."""

import math

import torch
from torch import nn

from winnrobust.models.network import IntrospectiveNetwork

CRITIC_STD = 0.02
"""Standard deviation of the critic's initial weights (plain normal)."""


def initialize(network: IntrospectiveNetwork, generator: torch.Generator) -> None:
    """Draw all weights anew from `generator`, in place.

    Convolutions and the classifier: TensorFlow's `variance_scaling` defaults, a normal of standard
    deviation sqrt(1.3 * 2 / fan_in) cut at two standard deviations. Norm layers: scale 1, shift 0.
    Biases 0. The layer that gives the critic's value: normal with standard deviation 0.02.
    """
    critic = network.critic if isinstance(network.critic, nn.Linear) else network.classifier
    with torch.no_grad():
        for module in network.modules():
            if module is critic:
                nn.init.normal_(module.weight, 0.0, CRITIC_STD, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                std = math.sqrt(1.3 * 2 / fan_in)
                nn.init.trunc_normal_(
                    module.weight, 0.0, std, -2 * std, 2 * std, generator=generator
                )
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.GroupNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
