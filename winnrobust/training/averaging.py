"""An average of the weights over the steps: the network that is validated and kept."""

import copy

import torch
from torch import nn

from winnrobust.models import IntrospectiveNetwork


class WeightAverage(nn.Module):
    """The exponential average of a network's weights; `update_parameters(network)` every step.

    After t steps it keeps min(decay, (1 + t) / (10 + t)) of itself at the next, so that the random
    weights of the start are soon forgotten. With decay 0 it equals the network after every step.

    Source: Polyak, Juditsky 1992; the warm-up is the one that TensorFlow recommends.

    Attributes:
        module: a network with the averaged weights.
        n_averaged: int64, the steps so far; on the CPU, where to read it is not to wait.
    """

    n_averaged: torch.Tensor

    def __init__(self, network: IntrospectiveNetwork, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))

    @torch.no_grad()
    def update_parameters(self, network: IntrospectiveNetwork) -> None:
        """Take in the weights of another step."""
        steps = int(self.n_averaged)
        kept = min(self.decay, (1 + steps) / (10 + steps)) if steps else 0.0
        averages: list[torch.Tensor] = list(self.module.parameters())
        weights: list[torch.Tensor] = list(network.parameters())
        if kept:
            torch._foreach_lerp_(averages, weights, 1 - kept)
        else:
            torch._foreach_copy_(averages, weights)
        self.n_averaged += 1
