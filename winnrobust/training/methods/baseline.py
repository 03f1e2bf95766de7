"""The baseline: the same network trained by cross-entropy alone (authors' code).

For images (x, y) it minimizes E[-ln softmax_y(logits(x))].
"""

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.losses import class_loss
from winnrobust.training.methods.method import Batch, Losses, Method


class Baseline(Method):
    """Cross-entropy on real images; the critic stays untrained."""

    uses = frozenset({"margin_radius"})

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean softmax cross-entropy of the batch."""
        radius = self.config.optimization.margin_radius
        images = batch.signed.requires_grad_(radius > 0)
        logits = network.forward_signed(images).logits
        loss = class_loss(batch, images, logits, radius)
        return Losses(loss, {"cross_entropy": loss, "train_error": batch.error(logits)})
