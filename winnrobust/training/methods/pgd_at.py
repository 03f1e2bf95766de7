"""Adversarial training: cross-entropy on PGD examples in place of the images.

Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial
Attacks, ICLR 2018, eq. 2.1.
"""

import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.training.methods.inner_maximization import INNER_SETTINGS, worst_images
from winnrobust.training.methods.method import Batch, Losses, Method


class PgdAdversarialTraining(Method):
    """min over the weights of E[max over |d| <= epsilon of CE(x + d, y)]; no critic is trained."""

    uses = INNER_SETTINGS
    selected_under_attack = True

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean cross-entropy of the adversarial images; the network never sees the images."""

        def cross_entropies(images: Tensor) -> Tensor:
            return F.cross_entropy(network(images).logits, batch.labels, reduction="none")

        adversarial = worst_images(cross_entropies, batch, self.config.adversarial)
        logits = network(adversarial).logits
        cross_entropy = batch.cross_entropy(logits)
        return Losses(
            cross_entropy,
            {"cross_entropy": cross_entropy, "adversarial_train_error": batch.error(logits)},
        )
