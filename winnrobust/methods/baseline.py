"""The baseline: the same network trained by cross-entropy alone (method.md B)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.config import TrainConfig
from winnrobust.methods.method import Batch, EpochEnd, Losses
from winnrobust.models import IntrospectiveNetwork


class Baseline:
    """Cross-entropy on real images; nothing happens between epochs; the critic stays untrained."""

    def __init__(
        self,
        config: TrainConfig,
        channels: int,
        image_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None:
        """Nothing to prepare."""

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean softmax cross-entropy of the batch."""
        logits = network(batch.images).logits
        cross_entropy = batch.mean(F.cross_entropy(logits, batch.labels, reduction="none"))
        errors = batch.mean((logits.argmax(1) != batch.labels).float())
        return Losses(cross_entropy, {"cross_entropy": cross_entropy, "train_error": errors})

    def end_epoch(
        self,
        network: IntrospectiveNetwork,
        epoch: int,
        steps: dict[str, Tensor],
        tell: Callable[[str], None],
    ) -> EpochEnd:
        """Do nothing."""
        return EpochEnd({}, None)

    def state(self) -> dict[str, Tensor]:
        """There is nothing to keep."""
        return {}

    def restore(self, state: dict[str, Tensor], negatives: list[Tensor]) -> None:
        """There is nothing to restore."""
