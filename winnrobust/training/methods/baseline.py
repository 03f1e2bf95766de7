"""The baseline: the same network trained by cross-entropy alone (authors' code).

For images (x, y) it minimises E[-ln softmax_y(logits(x))].
"""

import torch.nn.functional as F

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.method import Batch, Losses, Method


class Baseline(Method):
    """Cross-entropy on real images; the critic stays untrained."""

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean softmax cross-entropy of the batch."""
        logits = network(batch.images).logits
        cross_entropy = batch.mean(F.cross_entropy(logits, batch.labels, reduction="none"))
        errors = batch.mean((logits.argmax(1) != batch.labels).float())
        return Losses(cross_entropy, {"cross_entropy": cross_entropy, "train_error": errors})
