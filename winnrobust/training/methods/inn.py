"""INN, WINN's predecessor: a logistic classifier of real images and pseudo-negatives.

Lazarow, Jin, Tu: Introspective Neural Networks for Generative Modeling, ICCV 2017.
It is compared with WINN on the same network and optimizer; the authors train a DCGAN discriminator
with batch norm by SGD.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import Goal, even_odds
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.method import Batch, Losses
from winnrobust.training.methods.unsupervised import UnsupervisedIntrospective


class Inn(UnsupervisedIntrospective):
    """Sigmoid cross-entropy; what it makes is to be taken for real as often as not."""

    has_thresholds = False

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images with a mean logistic loss of log 2 or less; thresholds have no part in it."""
        return even_odds()

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """Mean sigmoid cross-entropy of real images (1) and as many pseudo-negatives (0)."""
        both = torch.cat([batch.signed, self.partners_of(batch)])
        critic_real, critic_fake = network.forward_signed(both).critic.chunk(2)
        losses = torch.stack([F.softplus(-critic_real), F.softplus(critic_fake)])
        log_loss = batch.mean(losses.mean(0))
        mistakes = torch.stack([critic_real <= 0, critic_fake > 0]).float()
        return Losses(
            log_loss,
            {
                "log_loss": log_loss,
                "wasserstein": batch.mean(critic_real - critic_fake),
                "mistakes": batch.mean(mistakes.mean(0)),
            },
        )
