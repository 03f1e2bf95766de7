"""What a training method is: the loss of a batch, and what happens between epochs."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from winnrobust.config import TrainConfig
from winnrobust.models import IntrospectiveNetwork


class Batch(NamedTuple):
    """One step's real images.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64.
        generator: where the step's random draws come from (CPU).
    """

    images: Tensor
    labels: Tensor
    generator: torch.Generator


class Losses(NamedTuple):
    """The scalar to minimise, and scalars to log (averaged over the epoch)."""

    total: Tensor
    parts: dict[str, Tensor]


class EpochEnd(NamedTuple):
    """What a method did after an epoch.

    Attributes:
        metrics: numbers for the log.
        negatives: (num_classes, n, C, H, W) in [-1, 1] made in this epoch, or None.
    """

    metrics: dict[str, float]
    negatives: Tensor | None


class Method(Protocol):
    """How to train; one file per method implements it."""

    def __init__(
        self,
        config: TrainConfig,
        channels: int,
        image_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None: ...

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Compute the loss of one batch."""
        ...

    def end_epoch(
        self, network: IntrospectiveNetwork, epoch: int, tell: Callable[[str], None]
    ) -> EpochEnd:
        """Do what belongs between epochs; `epoch` counts from 1, `tell` shows a few words."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what a resumed run needs besides the negatives of every epoch."""
        ...

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """Go back to a saved state; `negatives` holds what each finished epoch returned."""
        ...
