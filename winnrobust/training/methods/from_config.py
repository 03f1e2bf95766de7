"""The optimizer, the ascent and the initial images that the settings of a run ask for."""

from collections.abc import Iterable

import torch

from winnrobust.models import IntrospectiveNetwork, build
from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import (
    Ascent,
    GaussianImages,
    InitialDistribution,
    ProjectedNetwork,
    RandomNetwork,
)
from winnrobust.training.config import TrainConfig

ASCENT_SETTINGS = frozenset(
    {"synthesis_lr", "synthesis_beta1", "synthesis_beta2", "synthesis_max_steps"}
)
"""What `ascent_of` reads, by the options' names."""

INITIAL: dict[str, frozenset[str]] = {
    "projected": frozenset({"noise_dim", "noise_weight_std"}),
    "appendix-d": frozenset({"noise_weight_std"}),
    "gaussian": frozenset(),
}
"""Initial distribution -> what it reads besides its name and the seed."""

INITIAL_SETTINGS = frozenset({"initial"}).union(*INITIAL.values())
"""What `initial_of` reads."""


def network_of(
    config: TrainConfig, shape: tuple[int, int, int], generator: torch.Generator
) -> IntrospectiveNetwork:
    """The network with fresh weights, for (channels, image size, classes)."""
    model = config.model
    return build(model.arch, *shape, generator, model.width, model.padding, model.initialization)


def adam_of(config: TrainConfig, parameters: Iterable[torch.Tensor]) -> torch.optim.Adam:
    """How weights are moved."""
    settings = config.optimization
    betas = (settings.adam_beta1, settings.adam_beta2)
    return torch.optim.Adam(parameters, lr=settings.lr, betas=betas, eps=settings.adam_eps)


def ascent_of(config: TrainConfig) -> Ascent:
    """How pixels are moved."""
    synthesis = config.synthesis
    return Ascent(synthesis.lr, synthesis.beta1, synthesis.beta2, synthesis.max_steps)


def initial_of(config: TrainConfig, channels: int, image_size: int) -> InitialDistribution:
    """Where the first images come from; random weights belong to the run's seed."""
    settings, weights = config.negatives, stream(config.seed, "initial distribution")
    if settings.initial == "gaussian":
        return GaussianImages(channels, image_size)
    if settings.initial == "appendix-d":
        return RandomNetwork(channels, image_size, settings.noise_weight_std, weights)
    return ProjectedNetwork(
        channels, image_size, settings.noise_dim, settings.noise_weight_std, weights
    )
