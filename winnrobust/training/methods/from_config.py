"""What the settings of a run make of the synthesis."""

from collections.abc import Callable

from winnrobust.runtime.randomness import stream
from winnrobust.synthesis import (
    Ascent,
    GaussianImages,
    InitialDistribution,
    ProjectedNetwork,
    RandomNetwork,
)
from winnrobust.training.config import TrainConfig


def ascent_of(config: TrainConfig) -> Ascent:
    """How pixels are moved."""
    return Ascent(
        lr=config.synthesis_lr,
        beta1=config.synthesis_beta1,
        beta2=config.synthesis_beta2,
        max_steps=config.synthesis_max_steps,
    )


def initial_of(config: TrainConfig, channels: int, image_size: int) -> InitialDistribution:
    """Where the first images come from; random weights belong to the run's seed."""
    return INITIAL[config.initial](config, channels, image_size)


def _projected(config: TrainConfig, channels: int, image_size: int) -> ProjectedNetwork:
    weights = stream(config.seed, "initial distribution")
    return ProjectedNetwork(
        channels, image_size, config.noise_dim, config.noise_weight_std, weights
    )


def _appendix_d(config: TrainConfig, channels: int, image_size: int) -> RandomNetwork:
    weights = stream(config.seed, "initial distribution")
    return RandomNetwork(channels, image_size, config.noise_weight_std, weights)


def _gaussian(config: TrainConfig, channels: int, image_size: int) -> GaussianImages:
    return GaussianImages(channels, image_size)


INITIAL: dict[str, Callable[[TrainConfig, int, int], InitialDistribution]] = {
    "projected": _projected,
    "appendix-d": _appendix_d,
    "gaussian": _gaussian,
}
"""Name -> distribution of a run."""
