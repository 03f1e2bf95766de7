"""WINN without labels: the Wasserstein loss with gradient penalty (paper Eq. 5)."""

from torch import Tensor

from winnrobust.models import IntrospectiveNetwork
from winnrobust.synthesis import Goal, above
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.losses import critic_losses
from winnrobust.training.methods.method import Batch, Losses
from winnrobust.training.methods.unsupervised import UnsupervisedIntrospective


class UnsupervisedWinn(UnsupervisedIntrospective):
    """The critic is lowered on pseudo-negatives and raised on real images, with slope 1 between."""

    uses = UnsupervisedIntrospective.uses | {"gp_weight"}

    @staticmethod
    def goal(config: TrainConfig, classes: Tensor, thresholds: Tensor) -> Goal:
        """Images with a mean critic value of at least a threshold."""
        return above(thresholds)

    def loss(self, network: IntrospectiveNetwork, batch: Batch) -> Losses:
        """The critic's, on the pseudo-negatives from the pool."""
        fake = self.partners_of(batch)
        return critic_losses(network, batch, fake, self.config.optimization.gp_weight)
