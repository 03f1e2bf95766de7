"""Adversarial training: cross-entropy on PGD examples in place of the images.

Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial
Attacks, ICLR 2018, eq. 2.1.
"""

import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.inner_maximisation import worst_images
from winnrobust.training.methods.method import Batch, Losses, Method


class PgdAdversarialTraining(Method):
    """min over the weights of E[max over |d| <= epsilon of CE(x + d, y)]; no critic is trained."""

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean cross-entropy of the adversarial images; the images themselves are never judged."""

        def cross_entropies(images: Tensor) -> Tensor:
            return F.cross_entropy(network(images).logits, batch.labels, reduction="none")

        logits = network(worst_images(cross_entropies, batch, self.config)).logits
        cross_entropy = batch.mean(F.cross_entropy(logits, batch.labels, reduction="none"))
        errors = batch.mean((logits.argmax(1) != batch.labels).float())
        return Losses(
            cross_entropy, {"cross_entropy": cross_entropy, "adversarial_train_error": errors}
        )
