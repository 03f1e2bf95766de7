"""WINN without labels: the Wasserstein loss with gradient penalty (paper Eq. 5)."""

import torch
from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import Goal, above
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.losses import gradient_penalty
from winnrobust.training.methods.method import Batch, Losses
from winnrobust.training.methods.unsupervised import UnsupervisedIntrospective


class UnsupervisedWinn(UnsupervisedIntrospective):
    """The critic is lowered on pseudo-negatives and raised on real images, with slope 1 between."""

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images with a mean critic value of at least a threshold."""
        return above(thresholds)

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The critic's, on the pseudo-negatives from the pool."""
        return critic_losses(network, batch, self.partners_of(batch), self.config.gp_weight)


def critic_losses(
    network: IntrospectiveNetwork, batch: Batch, fake: Tensor, gp_weight: float
) -> Losses:
    """mean f(fake) - mean f(real) + gp_weight * gradient penalty; one fake for each real."""
    real = 2 * batch.images - 1
    critic_real, critic_fake = network.judge(torch.cat([real, fake])).critic.chunk(2)
    wasserstein = batch.mean(critic_fake) - batch.mean(critic_real)
    penalties = gradient_penalty(network, real, fake, mix=batch.uniform())
    penalty = batch.mean(penalties.penalty)
    return Losses(
        wasserstein + gp_weight * penalty,
        {
            "wasserstein": -wasserstein,
            "gradient_penalty": penalty,
            "gradient_norm": batch.mean(penalties.gradient_norm),
        },
    )
