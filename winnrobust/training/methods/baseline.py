"""The baseline: the same network trained by cross-entropy alone (authors' code).

For images (x, y) it minimizes E[-ln softmax_y(logits(x))].
"""

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.method import Batch, Losses, Method


class Baseline(Method):
    """Cross-entropy on real images; the critic stays untrained."""

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean softmax cross-entropy of the batch."""
        logits = network(batch.images).logits
        cross_entropy = batch.cross_entropy(logits)
        return Losses(
            cross_entropy, {"cross_entropy": cross_entropy, "train_error": batch.error(logits)}
        )
